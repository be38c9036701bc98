# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a hold is, from its beginning, the clock and what the gate said."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.bluegreen.cutover.plugins.module_utils._core import holding

HOLD = {"weight": 50, "since": 1000.0, "seconds": 600, "verdict": None}
BLIND = {"verdict": "inconclusive", "message": "no samples", "left": 600.0}


def judge(gate: dict[str, Any] | None = None, *, gated: bool = True, **changes: Any) -> holding.Outcome:
    given = {"now": 1100.0, "run_left": 900.0, "slice_": 20.0, "patience": 3600.0, "back": "immediate", **changes}
    hold = {**HOLD, **{name: given.pop(name, None) for name in ("verdict", "wanted", "called", "blind")}}
    return holding.judge(hold, gate=gate, gated=gated, **given)


def test_without_a_gate_the_clock_decides() -> None:
    waiting = judge(gated=False)
    assert (waiting.kind, waiting.left, waiting.watch) == ("waiting", 500, 20)
    assert judge(gated=False, now=1595.0).watch == 5
    assert judge(gated=False, now=1600.0).kind == "passed"


def test_with_a_gate_the_clock_does_not_decide() -> None:
    assert judge(now=9000.0).kind == "waiting"
    assert judge({"verdict": "pass", "left": 0.0}).kind == "passed"


def test_what_a_gate_said_in_another_run_is_no_pass() -> None:
    """That run ended before it could take the next step: what has happened since has to be judged."""
    assert judge(verdict="pass", now=9000.0).kind == "waiting"


@pytest.mark.parametrize(("missing", "told"), [(7200.0, True), (30.0, False)])
def test_a_pass_says_for_how_long_nothing_was_known(missing: float, told: bool) -> None:
    sentence = judge({"verdict": "pass", "left": 0.0, "missing": missing}).sentence
    assert sentence.startswith("its hold is over, and the gate passed")
    assert ("for 2.0 hours since its beginning there was no data" in sentence) is told


@pytest.mark.parametrize(
    ("gate", "kind", "action", "says"),
    [
        ({"verdict": "open", "left": 300.0}, "waiting", None, "5.0 minutes of its hold"),
        ({"verdict": "open", "left": 90.0, "message": "stale"}, "waiting", None, "hold are left (stale)"),
        ({"verdict": "fail", "message": "errors", "wanted": "rollback"}, "failed", "rollback", "fails: errors"),
        ({"verdict": "fail", "reason": "breach", "wanted": None}, "failed", "rollback", "the gate fails: breach"),
        ({"verdict": "fail", "wanted": "rollback_progressive"}, "failed", "rollback_progressive", "the gate fails"),
        ({"verdict": "fail", "wanted": "notify", "left": 9}, "waiting", "notify", "the gate fails"),
        ({"verdict": "fail", "wanted": "performance_mode", "left": 9}, "waiting", "performance_mode", "the gate fails"),
        ({"verdict": "inconclusive", "message": "no samples"}, "unknown", None, "the gate cannot tell: no samples"),
    ],
)  # fmt: skip
def test_what_a_gate_says(gate: dict[str, Any], kind: str, action: str | None, says: str) -> None:
    outcome = judge(gate)
    assert (outcome.kind, outcome.action) == (kind, action)
    assert says in outcome.sentence
    assert outcome.as_result()["left"] == gate.get("left", 0.0)


@pytest.mark.parametrize(
    ("blind", "patience", "kind", "action", "says"),
    [
        (None, 3600.0, "unknown", None, "cannot tell: no samples; in 60.0 minutes that is a reason to go back"),
        (1000.0, 3600.0, "unknown", None, "in 58.3 minutes"),
        (
            1000.0,
            100.0,
            "failed",
            "rollback",
            "no samples; that for 100 seconds, and cutover_gate.patience",
        ),
        (None, 0.0, "failed", "rollback", "cutover_gate.patience is 0 seconds"),
    ],
)
def test_a_gate_that_cannot_tell_is_waited_for_so_long(
    blind: float | None, patience: float, kind: str, action: str | None, says: str
) -> None:
    outcome = judge(BLIND, blind=blind, patience=patience)
    assert (outcome.kind, outcome.action) == (kind, action)
    assert says in outcome.sentence


@pytest.mark.parametrize(("back", "action"), [("immediate", "rollback"), ("progressive", "rollback_progressive")])
def test_after_so_much_patience_it_goes_back_as_the_inventory_has_it(back: str, action: str) -> None:
    """R-D7: nothing has happened that would be a reason to hurry."""
    assert judge(BLIND, patience=0.0, back=back).action == action
    criteria = [{"required": True, "status": "breach"}]
    asks = {"verdict": "fail", "wanted": "notify", "message": "p95", "left": 0.0, "criteria": criteria}
    assert judge(asks, now=1700.0, patience=100.0, back=back).action == action
    # A criterion that says how is not asked again.
    assert judge({"verdict": "fail", "wanted": "rollback", "left": 9.0}, back=back).action == "rollback"


@pytest.mark.parametrize(("now", "kind"), [(1599.0, "waiting"), (1699.0, "waiting"), (1700.0, "failed")])
def test_help_that_does_not_help_has_an_end_as_well(now: float, kind: str) -> None:
    criteria = [{"required": True, "status": "breach"}]
    broken = {"verdict": "fail", "wanted": "performance_mode", "message": "p95", "left": 0.0, "criteria": criteria}
    outcome = judge(broken, now=now, patience=100.0)
    assert outcome.kind == kind
    assert outcome.action == ("rollback" if kind == "failed" else "performance_mode")
    assert ("p95; its hold was over 100 seconds ago" in outcome.sentence) is (kind == "failed")
    # Its window is not over, whatever the clock says: there was no data, or it is another gate.
    assert judge({**broken, "left": 9.0}, now=9000.0, patience=100.0).kind == "waiting"


@pytest.mark.parametrize(
    ("gate", "now", "kind", "accepted"),
    [
        (BLIND, 1599.0, "unknown", None),
        (BLIND, 1600.0, "passed", "seen by hand"),
        ({"verdict": "open", "message": "stale", "left": 60.0}, 1600.0, "passed", "seen by hand"),
        ({"verdict": "open", "left": 60.0, "behind": 60.0}, 1600.0, "waiting", None),
        ({"verdict": "fail", "wanted": "rollback"}, 1600.0, "failed", None),
        ({"verdict": "pass"}, 1600.0, "passed", None),
        (None, 1600.0, "waiting", None),
    ],
)
def test_what_is_not_proven_may_be_accepted_when_its_time_is_over(
    gate: dict[str, Any] | None, now: float, kind: str, accepted: str | None
) -> None:
    """Not before, not against what the gate has found, and not before it has been asked."""
    outcome = judge(gate, now=now, blind=1000.0, accepted="seen by hand")
    assert (outcome.kind, outcome.accepted) == (kind, accepted)
    assert ("without a proof: seen by hand" in outcome.sentence) is (accepted is not None)
    # Also where it would go back otherwise.
    assert judge(gate, now=now, blind=1000.0, patience=0.0, accepted="x").accepted == (accepted and "x")


@pytest.mark.parametrize(("run_left", "watch"), [(900.0, 20.0), (7.0, 7.0), (0.0, 0.0), (-5.0, 0.0)])
def test_a_run_looks_no_longer_than_it_may(run_left: float, watch: float) -> None:
    assert judge({"verdict": "open", "left": 300.0}, run_left=run_left).watch == watch


def test_what_was_missed_is_judged_before_the_run_ends() -> None:
    """Also where the run may wait for nothing, and where only a hook is called meanwhile."""
    outcome = judge({"verdict": "open", "left": 300.0, "behind": 7200.0}, run_left=0.0)
    assert (outcome.kind, outcome.watch) == ("waiting", 20)
    proven = {"verdict": "fail", "wanted": "notify", "left": 0, "criteria": [{"required": True, "status": "proven"}]}
    assert judge({**proven, "behind": 0.0}, run_left=0.0).kind == "passed"
    outcome = judge({**proven, "behind": 60.0}, run_left=0.0)
    assert (outcome.kind, outcome.watch, outcome.action) == ("waiting", 20, "notify")


def test_days_and_hours_are_told_as_such() -> None:
    assert judge({"verdict": "open", "left": 2.5 * 86_400}).sentence.startswith("2.5 days")
    assert judge({"verdict": "open", "left": 10_800.0}).sentence.startswith("3.0 hours")


@pytest.mark.parametrize(
    ("before", "now", "news"),
    [
        ((None, None), ("open", None), True),
        (("open", None), ("open", None), False),
        (("open", None), ("fail", "notify"), True),
        (("fail", "notify"), ("open", None), False),
        (("fail", "notify"), ("fail", "notify"), False),
        (("fail", "notify"), ("fail", "rollback"), True),
        (("fail", "notify"), ("inconclusive", None), True),
        (("fail", "notify"), ("pass", None), True),
        (("open", None), (None, None), False),
    ],
)
def test_what_is_news_of_a_gate(
    before: tuple[str | None, str | None], now: tuple[str | None, str | None], news: bool
) -> None:
    assert holding.is_news({"verdict": before[0], "wanted": before[1]}, *now) is news
