# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a run whose slot has ended stays at its share or goes back (R-B5)."""

from __future__ import annotations

from typing import Any

import pytest

from .conftest import Role

CUTOVER = Role("cutover")
STEPS = [{"share": 25}, {"share": 50}, {"share": 100}]


def may_stay(share: int, began: int | None = 0, old: str = "blue", **given: Any) -> bool:
    """As the task of a step says, which asks for the slot; green had ``began`` percent when the run began."""
    asks = CUTOVER.load("tasks/step.yml")[0]
    run = {"weight": began, "decision": {"steps": STEPS}}
    variables = {"cutover_step": {"share": share}, "cutover_run": run, **given}
    found = CUTOVER.templar(cutover_plan={"from": old}, **variables).template(asks["vars"]["preflight_may_stay"])
    assert isinstance(found, bool)
    return found


@pytest.mark.parametrize(("share", "stays"), [(25, False), (50, True), (100, True)])
def test_a_candidate_that_has_a_share_keeps_it(share: int, stays: bool) -> None:
    assert may_stay(share) is stays


@pytest.mark.parametrize(
    ("began", "old", "stays"),
    [
        (0, "blue", False),
        (25, "blue", True),
        (100, "blue", True),
        (100, "green", False),
        (75, "green", True),
        (0, "green", True),
        (None, "blue", False),
    ],
)
def test_so_does_one_that_had_it_when_the_run_began(began: int | None, old: str, stays: bool) -> None:
    assert may_stay(25, began, old) is stays


@pytest.mark.parametrize("share", [25, 50, 100])
def test_a_rehearsal_stays_nowhere(share: int) -> None:
    """R-A6: it would end well, with real traffic on the candidate and nobody to guard that."""
    [way] = [task for task in CUTOVER.load("tasks/rehearse.yml") if task["name"] == "Switch by steps"]
    assert may_stay(share, 25, **way["vars"]) is False
