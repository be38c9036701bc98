# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A hold: the time that a step is kept, and what ends it. It outlives the runs that look at it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

PASSED = "passed"
WAITING = "waiting"
FAILED = "failed"
UNKNOWN = "unknown"

BACK = {"immediate": "rollback", "progressive": "rollback_progressive"}
"""What ``cutover_back`` asks for."""

GOES_ON = ("performance_mode", "notify")
"""Actions of a broken criterion after which the hold goes on."""


WATCH = 20
"""Seconds that one look lasts at most: between two of them guard and lease are renewed."""


@dataclass(frozen=True)
class Outcome:
    """``kind`` is ``passed``, ``waiting``, ``failed`` or ``unknown``; ``left`` seconds of the hold.

    ``watch``: seconds that this run may look at it next; 0 when the run has to end. ``action`` is what the broken
    criterion wants, ``sentence`` for a person. ``accepted``: why it has passed without a proof.
    """

    kind: str
    left: float
    watch: float
    sentence: str
    action: str | None = None
    accepted: str | None = None

    def as_result(self) -> dict[str, Any]:
        """The same for JSON."""
        return asdict(self)


def judge(
    hold: Mapping[str, Any],
    *,
    gate: Mapping[str, Any] | None,
    gated: bool,
    now: float,
    run_left: float,
    slice_: float,
    patience: float,
    back: str,
    accepted: str | None = None,
) -> Outcome:
    """Where ``hold`` (as the journal's state has it) is at ``now``.

    ``hold`` has ``since``, ``seconds``, ``called``, the hook that was called since the gate last said something new,
    and ``blind``, since when it cannot tell. ``gate`` is what the module prometheus_gate returned in this look;
    ``gated`` whether there is one at all. Its window is counted on samples, so that missing data makes a hold longer;
    without a gate the clock decides. ``run_left``: seconds that this run may go on; ``slice_``: seconds of one look at
    most.

    A gate that cannot tell for ``patience`` seconds, without a break, fails: what is not known for so long is no reason
    to stay; and so does one with a criterion that has only asked for help, and is broken so long after the end. There
    is no hurry then: it goes ``back`` as the inventory has it, ``immediate`` or ``progressive``.
    Somebody may go on before, with ``accepted`` saying why, but not before the time of the hold is over.

    What the gate said to another run proves nothing any more: since then the candidate may have become bad.

    A broken criterion that lets the hold go on wants its action once, not again in each look, and does not keep the
    others from passing when the window is over. Who dies before the action is recorded leaves it to the next run.
    """
    late = now - hold["since"] - hold["seconds"]
    left = max(0.0, -late)
    if gate is not None:
        left = max(0.0, gate.get("left") or 0.0)
    watch = max(0.0, min(slice_, run_left))
    behind = gate is not None and bool(gate.get("behind"))
    if behind:
        # Samples that are there are judged in this run, however long it may last.
        watch = slice_
    if not gated and left <= 0:
        return Outcome(PASSED, 0.0, 0.0, "its hold is over")
    if gate is None:
        return Outcome(WAITING, left, watch if gated else min(watch, left), f"{span(left)} of its hold are left")
    if gate["verdict"] == "pass":
        return Outcome(PASSED, 0.0, 0.0, "its hold is over, and the gate passed" + _unseen(hold, gate))
    if gate["verdict"] == "fail":
        too_late = None if late < patience else late
        return _fails(hold, gate, Outcome(WAITING, left, watch, ""), behind, too_late, BACK[back])
    if accepted and late >= 0 and not behind:
        sentence = f"its hold is over, and is taken as passed without a proof: {accepted}; the gate said: {said(gate)}"
        return Outcome(PASSED, 0.0, 0.0, sentence, accepted=accepted)
    if gate["verdict"] == "open":
        why = f" ({gate['message']})" if gate.get("message") else ""
        return Outcome(WAITING, left, watch, f"{span(left)} of its hold are left{why}")
    blind = now - (now if hold["blind"] is None else hold["blind"])
    return _cannot_tell(gate, left, blind, patience, BACK[back])


def _fails(
    hold: Mapping[str, Any], gate: Mapping[str, Any], waiting: Outcome, behind: bool, late: float | None, back: str
) -> Outcome:
    """What becomes of a gate that fails; ``waiting`` is where the hold is. ``late``: seconds since it was over, where
    that is longer than anybody waits, and then ``back`` is the action.
    """
    sentence, wanted = f"the gate fails: {said(gate)}", gate.get("wanted") or "rollback"
    if wanted not in GOES_ON:
        return Outcome(FAILED, waiting.left, 0.0, sentence, wanted)
    if waiting.left <= 0 and not behind:
        if _required_are_proven(gate["criteria"]):
            return Outcome(PASSED, 0.0, 0.0, f"its hold is over; {sentence}")
        if late is not None:
            sentence += f"; its hold was over {span(late)} ago, longer than cutover_gate.patience"
            return Outcome(FAILED, 0.0, 0.0, sentence, back)
    return replace(waiting, sentence=sentence, action=None if hold["called"] == wanted else wanted)


def _unseen(hold: Mapping[str, Any], gate: Mapping[str, Any]) -> str:
    """What to say of the time of which a gate that passes knows nothing, where that is more than some scrapes."""
    missing = gate.get("missing") or 0.0
    if missing <= max(60.0, hold["seconds"] / 100):
        return ""
    return f"; for {span(missing)} since its beginning there was no data"


def _cannot_tell(gate: Mapping[str, Any], left: float, blind: float, patience: float, back: str) -> Outcome:
    """What becomes of a gate that has not been able to tell for ``blind`` seconds."""
    why = f"the gate cannot tell: {said(gate)}"
    if blind >= patience:
        sentence = f"{why}; that for {span(blind)}, and cutover_gate.patience is {span(patience)}"
        return Outcome(FAILED, left, 0.0, sentence, back)
    return Outcome(UNKNOWN, left, 0.0, f"{why}; in {span(patience - blind)} that is a reason to go back")


def is_news(hold: Mapping[str, Any], verdict: str | None, wanted: str | None) -> bool:
    """Whether what a look found is to be recorded: the journal of weeks has no line for each look.

    The gate judges a criterion anew that only asked for help: while it gathers again, nothing has changed.
    """
    if verdict is None or (verdict == "open" and hold["wanted"] in GOES_ON):
        return False
    return (hold["verdict"], hold["wanted"]) != (verdict, wanted)


def _required_are_proven(criteria: Sequence[Mapping[str, Any]]) -> bool:
    required = [one for one in criteria if one["required"]]
    return bool(required) and all(one["status"] == "proven" for one in required)


def look(guard_time: float) -> float:
    """Seconds of one look at most, with a guard that waits for ``guard_time`` seconds."""
    return min(WATCH, guard_time / 2)


def said(gate: Mapping[str, Any]) -> str:
    """Why a gate says what it says; one that could not even ask has a message of its own."""
    return str(gate.get("message") or gate.get("msg") or gate.get("reason") or "")


def span(seconds: float) -> str:
    """A length of time for people."""
    for name, unit in (("days", 86_400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.1f} {name}"
    return f"{seconds:.0f} seconds"
