# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Time slots of an environment that several applications share: one holder at a time, by the clock of a named zone.

Times are unix seconds. Nothing here reads a clock; what a zone's clock shows comes from the system's zone data.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import InputError, SlotError

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
AHEAD = 366
"""Days within which a slot is looked for."""

_TIME = re.compile(r"([01]\d|2[0-3]):([0-5]\d)|24:00")


@dataclass(frozen=True)
class Slot:
    """One time of an environment, from ``begin`` to ``end`` of a day in minutes after midnight, on ``days``.

    ``holders`` are the applications that it is kept for; empty: whoever comes first.
    """

    begin: int
    end: int
    days: frozenset[int]
    holders: tuple[str, ...]

    @property
    def told(self) -> str:
        days = "daily" if len(self.days) == 7 else ", ".join(DAYS[day] for day in sorted(self.days))
        return f"{_clock(self.begin)} to {_clock(self.end)} {days}"


@dataclass(frozen=True)
class Opening:
    """One slot on one day, in unix seconds."""

    slot: Slot
    begins: float
    ends: float


def make_slots(given: Sequence[Mapping[str, Any]], zone: str) -> tuple[Slot, ...]:
    """Slots of an inventory: ``{"from": "09:00", "to": "12:00", "days": ["mon"], "holders": ["nextstep"]}`` each."""
    zone_of(zone)
    slots = []
    for number, one in enumerate(given):
        where = f"slots[{number}]"
        begin, end = (_minutes(one.get(name), f"{where}.{name}") for name in ("from", "to"))
        if begin >= end:
            raise InputError(
                f"{where} is from {one['from']} to {one['to']}: it ends before it begins. A night is two slots, one to "
                "24:00 and one from 00:00"
            )
        days = one.get("days") or DAYS
        unknown = [day for day in days if day not in DAYS]
        if unknown:
            raise InputError(f"{where}.days has {', '.join(map(str, unknown))}; known are {', '.join(DAYS)}")
        holders = tuple(map(str, one.get("holders") or ()))
        slots.append(Slot(begin, end, frozenset(DAYS.index(day) for day in days), holders))
    if not slots:
        raise InputError("slots is empty: nobody could ever use the environment. Give one slot at least")
    _check_overlap(slots)
    return tuple(slots)


def zone_of(name: str) -> ZoneInfo:
    """The zone of that name, such as ``Europe/Berlin``."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, TypeError, OSError) as error:
        raise InputError(
            f"the time zone {name!r} is not known here; a name like Europe/Berlin or UTC is needed, and the system's "
            "zone data (Debian: tzdata)"
        ) from error


def openings(slots: Sequence[Slot], zone: str, now: float, days: int = AHEAD) -> list[Opening]:
    """What of the slots is open at ``now`` or later, within so many days, in the order of time.

    Where summer time skips an hour, a slot begins or ends with what follows it; where an hour comes twice, it lasts
    for both.
    """
    here = zone_of(zone)
    today = datetime.datetime.fromtimestamp(now, here).date()
    found = []
    for offset in range(-1, days):
        day = today + datetime.timedelta(days=offset)
        for slot in slots:
            if day.weekday() in slot.days:
                begins, ends = _moment(day, slot.begin, here, 0), _moment(day, slot.end, here, 1)
                if begins < ends and ends > now:
                    found.append(Opening(slot, begins, ends))
    return sorted(found, key=lambda one: one.begins)


def decide(
    slots: Sequence[Slot],
    zone: str,
    now: float,
    application: str,
    *,
    environment: str,
    needs: float = 0.0,
    held: Mapping[str, Any] | None = None,
) -> Opening:
    """The slot that ``application`` may use now, for ``needs`` seconds at least; or ``SlotError``.

    ``held`` is the lease of whoever uses the environment, expired or not. The error tells the holder, and when the
    next time is that this application may come.
    """
    theirs = held is not None and held["owner"].get("application") != application and now < held["expires"]
    busy_until = held["expires"] if held is not None and theirs else now
    coming = [one for one in openings(slots, zone, now) if not one.slot.holders or application in one.slot.holders]
    fits = [one for one in coming if one.ends - max(one.begins, busy_until) >= needs and one.ends > busy_until]
    later = next((max(one.begins, busy_until) for one in fits if max(one.begins, busy_until) > now), None)
    following = f"The next time for {application} is {told(later, zone)}" if later else "There is no other time for it"
    current = next((one for one in openings(slots, zone, now) if one.begins <= now), None)
    evidence = {"environment": environment, "application": application, "next": later, "now": now, "zone": zone}
    if theirs and held is not None:
        raise SlotError(
            f"{environment} is used by {held['owner'].get('application', 'another application')} until "
            f"{told(held['expires'], zone)}, because '{held['reason']}'; nothing was changed there. {following}",
            {**evidence, "holder": dict(held["owner"])},
        )
    if current is None:
        raise SlotError(
            f"{environment} is open {'; '.join(slot.told for slot in slots)} ({zone}), and it is {told(now, zone)}; "
            f"nothing was changed there. {following}",
            evidence,
        )
    if current not in coming:
        raise SlotError(
            f"{environment} is kept for {', '.join(current.slot.holders)} until {told(current.ends, zone)}; nothing "
            f"was changed there. {following}",
            evidence,
        )
    if current.ends - now < needs:
        raise SlotError(
            f"the slot of {environment} ends at {told(current.ends, zone)}, in {(current.ends - now) / 60:.0f} "
            f"minutes, and {needs / 60:.0f} are needed; nothing was changed there. {following}",
            evidence,
        )
    return current


def told(at: float, zone: str) -> str:
    """A moment as the people of that zone say it, with its distance to UTC, for an hour may come twice."""
    return datetime.datetime.fromtimestamp(at, zone_of(zone)).strftime(f"%a %Y-%m-%d %H:%M {zone} (UTC%z)")


def _minutes(text: Any, where: str) -> int:
    if not isinstance(text, str) or not _TIME.fullmatch(text):
        # YAML 1.1 reads 09:00 as a number.
        raise InputError(f"{where} is {text!r}; a time like '09:00', in quotes, is needed, up to '24:00'")
    hours, minutes = text.split(":")
    return 60 * int(hours) + int(minutes)


def _check_overlap(slots: Sequence[Slot]) -> None:
    for number, one in enumerate(slots):
        for other in slots[number + 1 :]:
            if one.days & other.days and one.begin < other.end and other.begin < one.end:
                raise InputError(
                    f"the slots {one.told} and {other.told} overlap; one holder at a time is what they are for"
                )


def _moment(day: datetime.date, minutes: int, zone: ZoneInfo, fold: int) -> float:
    """Unix seconds of a time of day; of one that comes twice the first, or the second with ``fold``."""
    midnight = datetime.datetime.combine(day, datetime.time())
    local = (midnight + datetime.timedelta(minutes=minutes)).replace(tzinfo=zone, fold=fold)
    at = local.timestamp()
    shown = datetime.datetime.fromtimestamp(at, zone).replace(tzinfo=None)
    if shown == local.replace(tzinfo=None):
        return at
    # Skipped: what comes next is the moment at which the clock was set.
    before = local.replace(fold=0).timestamp()
    after = local.replace(fold=1).timestamp()
    low, high = min(before, after), max(before, after)
    while high - low > 1:
        middle = (low + high) / 2
        offset = zone.utcoffset(datetime.datetime.fromtimestamp(middle, zone))
        if offset == zone.utcoffset(datetime.datetime.fromtimestamp(low, zone)):
            low = middle
        else:
            high = middle
    return round(high)


def _clock(minutes: int) -> str:
    return f"{minutes // 60:02d}:{minutes % 60:02d}"
