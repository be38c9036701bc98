# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a run whose slot has ended stays at its share or goes back (R-B5), as its decision says of each step."""

from __future__ import annotations

import pytest

from .conftest import Role


@pytest.mark.parametrize(
    ("may_stay", "reason", "fails"), [(True, "slot", False), (False, "slot", True), (True, "", True)]
)
def test_r_b5_a_step_without_its_slot_stays_only_where_it_may(may_stay: bool, reason: str, fails: bool) -> None:
    asks, takes = Role("cutover").load("tasks/step.yml")[0], Role("preflight").load("tasks/slot.yml")[0]
    templar = Role("cutover").templar(cutover_step={"may_stay": may_stay})
    given = templar.template(asks["vars"]["preflight_may_stay"])
    answered = {"failed": True, "reason": reason}
    preflight = Role("preflight").templar(preflight_may_stay=given, preflight_slot=answered)
    assert all(preflight.evaluate_conditional(one) for one in takes["failed_when"]) is fails
