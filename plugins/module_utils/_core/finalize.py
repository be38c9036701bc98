# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The end of an old version: it is deprecated first, and removed when nobody can need it any more (R-D9).

Times are unix seconds. What is missing is told in numbers.
"""

from __future__ import annotations

import email.utils
import math
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.bluegreen.cutover.plugins.module_utils._core import checkpoints, journal
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.decide import Reality
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.success import Finding

DEPRECATE = "deprecate"
REMOVE = "remove"
NOTHING = "nothing"

_DAY = 86_400
_BROKEN = frozenset({"failed", "guard_fired", "rollback_began", "finished"})
"""Events after which the time of being stable begins anew."""


def stage(plan: Mapping[str, Any], state: journal.State) -> str:
    """What comes next for the old version of ``plan``."""
    ended = state.ended
    if ended is None or ended["colour"] != plan["from"]:
        return DEPRECATE
    return REMOVE if ended["removed"] is None else NOTHING


def phrase(plan: Mapping[str, Any], next_stage: str) -> str:
    """The words that allow it."""
    return f"{next_stage.upper()} {plan['service']} {plan['from']}"


def headers(deprecated: float, sunset: float) -> dict[str, str]:
    """What the answers of a deprecated version carry, by RFC 9745 and RFC 8594."""
    return {"Deprecation": f"@{int(deprecated)}", "Sunset": email.utils.formatdate(int(sunset), usegmt=True)}


def judge(
    plan: Mapping[str, Any],
    document: Mapping[str, Any],
    reality: Reality,
    *,
    guarded: bool,
    measured: Sequence[Finding],
    announced: Mapping[str, Mapping[str, str]],
    now: float,
) -> list[Finding]:
    """What the next stage needs, each met or not. A ``passed`` of None is unknown, and not met.

    ``document`` is the journal, ``guarded`` whether a guard is armed. ``measured`` is what Prometheus says of
    ``cutover_finalize.stable``, ``announced`` the headers that the old API answered, by address, their names
    in small letters. With ``accept_unproven`` in the plan what is unknown is taken as met, and says so.
    """
    state = journal.fold(document)
    needed = [_migration(plan, state), _traffic(plan, reality), _guard(guarded)]
    if plan["entry"] == plan["from"]:
        does = f"{plan['entry']} takes every connection and shares them out; another router has to, before it may end"
        needed.append(_finding("entry", False, does))
    if stage(plan, state) == REMOVE:
        needed += [_stable(plan, document, state, now), _notice(state, now), _snapshots(state, now)]
        needed += measured or [_finding("metrics", None, "cutover_metrics is not set, so Prometheus cannot be asked")]
        needed += [_announced(url, answered, state) for url, answered in announced.items()]
    accepted = plan["accept_unproven"]
    return [_accept(one, accepted) if accepted and one["passed"] is None else one for one in needed]


def missing(plan: Mapping[str, Any], next_stage: str, conditions: Sequence[Finding]) -> str:
    """Why the stage may not be taken, in one sentence; empty when it may."""
    lacks = checkpoints.failed(conditions)
    if not lacks:
        return ""
    met = sum(one["passed"] is True for one in conditions)
    unknown = any(one["passed"] is None for one in conditions)
    accept = " What is unknown can be accepted with -e 'cutover_accept_unproven=\"why\"'." if unknown else ""
    return (
        f"{plan['from']} of {plan['service']} may not be {next_stage}d yet, {met} of {len(conditions)} conditions are "
        f"met. Missing: {lacks}. Nothing was changed.{accept}"
    )


def _migration(plan: Mapping[str, Any], state: journal.State) -> Finding:
    way = (state.from_colour, state.to_colour)
    if state.phase != journal.FINISHED:
        last = f"the last migration, {state.id}, is {state.phase.replace('_', ' ')}" if state.id else "there is none"
        return _finding("migration", False, f"{last}; one that finished is needed")
    if way != (plan["from"], plan["to"]):
        told = f"the migration {state.id} went from {way[0]} to {way[1]}, and cutover_to is {plan['to']}"
        return _finding("migration", False, told)
    return _finding("migration", True, f"{state.id} finished")


def _traffic(plan: Mapping[str, Any], reality: Reality) -> Finding:
    goal, new = journal.side(plan["to"]), plan["to"]
    # In a cluster nobody has said how many; one that serves alone has some.
    ready, needed = reality.ready.get(new, 0), plan["min_ready"] or 1
    right = reality.weight == reality.persisted == goal and ready >= needed
    now, later = (_share(new, weight) for weight in (reality.weight, reality.persisted))
    told = f"{new} has {now} now and {later} after a reload, {ready} of {needed} instances are ready"
    return _finding("traffic", right, told)


def _share(colour: str, weight: int | None) -> str:
    return "an unknown share" if weight is None else f"{weight if journal.side(colour) else 100 - weight} %"


def _guard(guarded: bool) -> Finding:
    told = "one is armed and may send the traffic back" if guarded else "none is armed"
    return _finding("guard", not guarded, told)


def _stable(plan: Mapping[str, Any], document: Mapping[str, Any], state: journal.State, now: float) -> Finding:
    needed = plan["finalize"]["stable"]
    events = document["migrations"][-1]["events"] if document["migrations"] else []
    since = max([event["at"] for event in events if event["kind"] in _BROKEN], default=now)
    since = max(since, state.since if state.since is not None else now)
    for_ = max(0.0, now - since) if state.phase == journal.FINISHED else 0.0
    told = f"{_days(for_)} of {_days(needed)} days without a way back, a guard that fired or another weight"
    return _finding("stable", for_ >= needed, told)


def _notice(state: journal.State, now: float) -> Finding:
    sunset = (state.ended or {}).get("sunset", math.inf)
    left = sunset - now
    date = email.utils.formatdate(sunset, usegmt=True)
    return _finding("sunset", left <= 0, f"in {_days(left)} days, {date}" if left > 0 else f"was {date}")


def _snapshots(state: journal.State, now: float) -> Finding:
    left = {part: one["expires"] - now for part, one in state.artifacts.items() if one["expires"] > now}
    if not left:
        return _finding("snapshots", True, "none is kept for a way back any more")
    told = ", ".join(f"{part} for {_days(seconds)} days more" for part, seconds in sorted(left.items()))
    return _finding("snapshots", False, f"kept for a way back: {told}")


def _announced(url: str, answered: Mapping[str, str], state: journal.State) -> Finding:
    ended = state.ended or {}
    wanted = headers(ended["deprecated"], ended["sunset"])
    given = {name: answered.get(name.lower(), "").strip() for name in wanted}
    wrong = [f"{name} is {value or 'missing'}" for name, value in given.items() if value != wanted[name]]
    if not wrong:
        return _finding(f"announced at {url}", True, "both headers are sent")
    needed = ", ".join(f"'{name}: {value}'" for name, value in wanted.items())
    return _finding(f"announced at {url}", False, f"{' and '.join(wrong)}; {needed} are needed")


def _accept(one: Finding, why: str) -> Finding:
    return {**one, "passed": True, "seen": f"{one['seen']}; accepted, because '{why}'"}


def _days(seconds: float) -> str:
    """With one digit, and never rounded up to what is not reached."""
    return f"{math.floor(seconds / _DAY * 10) / 10:g}"


def _finding(name: str, passed: bool | None, seen: str) -> Finding:
    return {"name": name, "passed": passed, "seen": seen}
