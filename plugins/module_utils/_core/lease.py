# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lease: who may act on a service now. Times are unix seconds of the router host; nothing here reads a clock.

A lease is ``{"owner": {...}, "kind": "cutover" | "rollback" | "guard" | "freeze" | "finalize", "reason", "since",
"expires", "ttl", "token"}``. While it is kept, it has a ``Clock`` as well: when the host's clock is set, neither does a
lease end, nor does one of a dead run last for longer.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import FencedError, LeaseHeldError

Lease = dict[str, Any]

STEP = 1.0
"""Seconds by which a clock is set at least; less is how clocks are kept right, and goes by the unix seconds."""


@dataclass(frozen=True)
class Clock:
    """A host's clock: ``boot_id`` and, in unix seconds, when that boot was. That changes when the clock is set."""

    boot_id: str
    booted: float


FREEZE = "freeze"
"""Nobody migrates the service for a while but who froze it; no process has to live as long."""

_GIVES_WAY = {
    "cutover": ("rollback", "guard"),
    "rollback": ("guard",),
    "guard": ("rollback", "guard"),
    FREEZE: ("rollback", "guard"),
    "finalize": ("rollback", "guard"),
}
"""To which kinds a live lease gives way. A guard fires only when its time is over, that of a rollback, too."""
_DOING = {
    "cutover": "migrated",
    "rollback": "rolled back",
    "guard": "taken back by its guard",
    "finalize": "finalized",
}


def acquire(
    service: str,
    current: Mapping[str, Any] | None,
    *,
    owner: Mapping[str, Any],
    kind: str,
    reason: str,
    now: float,
    ttl: float,
    last_token: int,
    holder_dead: bool = False,
) -> Lease:
    """A new lease, with a token higher than any before, or ``LeaseHeldError`` saying by whom it is held.

    ``last_token`` is the highest token that lease, fence or journal know. A live cutover gives way to a rollback, and
    both to a guard. A freeze gives way to whoever froze. ``holder_dead`` is true when the holder's process is known to
    be gone; that of a freeze need not be there.
    """
    frozen = current is not None and current["kind"] == FREEZE
    alive = current is not None and now < current["expires"] and (frozen or not holder_dead)
    passes = current is not None and (
        kind in _GIVES_WAY.get(current["kind"], ()) or (frozen and _same_person(current["owner"], owner))
    )
    if current is not None and alive and not passes:
        raise LeaseHeldError(_held(service, current, now), {"lease": dict(current), "now": now})
    return {
        "owner": dict(owner),
        "kind": kind,
        "reason": reason,
        "since": now,
        "expires": now + ttl,
        "ttl": ttl,
        # Not below the clock: tokens go on growing when every file with an older one is lost.
        "token": max(last_token + 1, int(now)),
    }


def is_lease(document: Mapping[str, Any]) -> bool:
    """Has ``document`` all that a lease has?"""
    numbers = all(isinstance(document.get(name), (int, float)) for name in ("since", "expires", "ttl", "token"))
    texts = all(isinstance(document.get(name), str) for name in ("kind", "reason"))
    return numbers and texts and isinstance(document.get("owner"), dict)


def kept(current: Mapping[str, Any], clock: Clock) -> Lease:
    """What is kept of a lease, on a host with that ``clock``."""
    return {**current, "clock": asdict(clock)}


def found(document: Mapping[str, Any], clock: Clock) -> Lease:
    """The lease of what ``kept`` gave, in the unix seconds of now: after a reboot its own are the best there are."""
    current = {name: value for name, value in document.items() if name != "clock"}
    was = document.get("clock") or {}
    step = clock.booted - was["booted"] if was.get("boot_id") == clock.boot_id else 0.0
    if abs(step) < STEP:
        return current
    return {**current, "since": current["since"] + step, "expires": current["expires"] + step}


def renew(current: Mapping[str, Any], now: float) -> Lease:
    """The same lease, good for its whole time again, and never for less than before."""
    return {**current, "expires": max(current["expires"], now + current["ttl"])}


def check(service: str, current: Mapping[str, Any] | None, highest: int, token: int, now: float) -> None:
    """Raise ``FencedError`` unless the run with ``token`` may still write on this host.

    ``highest`` is the highest token seen here; ``current`` the lease, where this host keeps it.
    """
    check_overtaken(service, current, highest, token, now)
    if current is not None and now >= current["expires"]:
        raise FencedError(
            f"the lease of this run of {service} ended {now - current['expires']:.0f} s ago, and another run may have "
            "started since; nothing was changed here. Run again: it goes on from the journal",
            _evidence(current, highest, token, now),
        )


def check_overtaken(service: str, current: Mapping[str, Any] | None, highest: int, token: int, now: float) -> None:
    """Raise ``FencedError`` if a newer run has come since the one with ``token``; its lease may have ended."""
    evidence = _evidence(current, highest, token, now)
    if token < highest:
        raise FencedError(
            f"this run of {service} (token {token}) has been overtaken by a newer one (token {highest}); "
            "nothing was changed here. See what that one does with status.yml",
            evidence,
        )
    if current is not None and current["token"] != token:
        raise FencedError(
            f"this run of {service} (token {token}) does not hold the lease any more: {describe(current['owner'])} "
            f"does, since {_clock(current['since'])} (token {current['token']}), because '{current['reason']}'; "
            "nothing was changed here",
            evidence,
        )


def describe(owner: Mapping[str, Any]) -> str:
    """``alice@ops1 (pid 4242)``."""
    return f"{owner.get('user', 'somebody')}@{owner.get('host', 'unknown')} (pid {owner.get('pid', 'unknown')})"


def _same_person(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return all(one.get(name) is not None and one.get(name) == other.get(name) for name in ("user", "host"))


def _evidence(current: Mapping[str, Any] | None, highest: int, token: int, now: float) -> dict[str, Any]:
    return {"token": token, "highest": highest, "lease": dict(current) if current else None, "now": now}


def _held(service: str, current: Mapping[str, Any], now: float) -> str:
    if current["kind"] == FREEZE:
        return (
            f"{service} is frozen by {describe(current['owner'])} since {_clock(current['since'])}, because "
            f"'{current['reason']}', for {current['expires'] - now:.0f} s more. Wait, end that with thaw.yml, or go "
            "back with rollback.yml"
        )
    doing = _DOING.get(current["kind"], "changed")
    back = "" if current["kind"] == "rollback" else ", or go back with rollback.yml"
    return (
        f"{service} is being {doing} by {describe(current['owner'])} since {_clock(current['since'])}, "
        f"{now - current['since']:.0f} s ago, because '{current['reason']}'; "
        f"its lease ends in {current['expires'] - now:.0f} s unless renewed. "
        f"Wait, run again with -e cutover_lease_wait=120{back}"
    )


def _clock(at: float) -> str:
    """Time of day in UTC, as logs have it."""
    return datetime.datetime.fromtimestamp(at, datetime.timezone.utc).strftime("%H:%M:%S UTC")
