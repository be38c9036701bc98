# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A rehearsal: a migration that goes there and back again, and what must be known of it before the real one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_DAY = 86_400
_WAY = ("from", "to", "front", "hosts", "router", "colours", "steps", "verify", "min_ready")
_ONCE = ("began", "rehearsed", "rollback_began", "rolled_back")
_NOT_PASSED = "it has not passed; the way there and back must be taken in one run that nothing interrupts"


def way(plan: Mapping[str, Any]) -> dict[str, Any]:
    """What of a plan a rehearsal proves: where one of these is another one, so is the way there and back."""
    return {name: plan[name] for name in _WAY}


def outcome(events: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """What the events of one migration say of it as a rehearsal; None where it is none.

    ``{"way", "switch", "back", "passed", "sentence"}``. ``passed`` is when the old colour served alone again, in unix
    seconds, None where it has not passed: it has to go there and back once, and nobody must have helped, the guard
    neither. ``switch`` and ``back`` are seconds, each from the first record to the last weight of that way.
    """
    made = next((event["rehearsal"] for event in events if event.get("rehearsal")), None)
    if made is None:
        return None
    known = {"way": made, "switch": None, "back": None, "passed": None, "sentence": _NOT_PASSED}
    kinds = [event["kind"] for event in events]
    if {"failed", "guard_fired"} & {*kinds} or any(kinds.count(kind) != 1 for kind in _ONCE):
        return known
    there, back = events[: kinds.index("rehearsed")], events[kinds.index("rollback_began") :]
    first = [event["at"] for event in there if event["kind"] == "weight_intended"]
    arrived, returned = ([event["at"] for event in part if event["kind"] == "weight_set"] for part in (there, back))
    if not (first and arrived and returned):
        return known
    switch, return_ = arrived[-1] - first[0], returned[-1] - back[0]["at"]
    return {
        **known,
        "switch": switch,
        "back": return_,
        "passed": events[-1]["at"],
        "sentence": f"it passed: {switch:.2f} s to switch, {return_:.2f} s to go back",
    }


def missing(plan: Mapping[str, Any], last: Mapping[str, Any] | None, now: float) -> str | None:
    """Why the real migration may not begin, or None. ``last`` is the outcome of the service's last migration.

    It is the last one that counts: what a cutover or a failed rehearsal has shown since is newer than the proof.
    """
    asked = plan["rehearsal"]
    if not asked["required"]:
        return None
    if last is None:
        why = "no rehearsal came last"
    elif last["passed"] is None:
        why = "its last rehearsal did not pass"
    elif last["way"] != way(plan):
        changed = ", ".join(f"cutover_{name}" for name, value in way(plan).items() if last["way"].get(name) != value)
        why = f"the inventory has changed since its rehearsal ({changed})"
    elif now - last["passed"] > asked["age"]:
        ago = (now - last["passed"]) / _DAY
        why = f"its rehearsal was {ago:.1f} days ago, and is good for {asked['age'] / _DAY:g}"
    else:
        return None
    return (
        f"{plan['service']} may not move to {plan['to']} yet: {why}, and cutover_rehearsal asks for one; nothing was "
        "touched. Run rehearse.yml first: it goes there and back again"
    )
