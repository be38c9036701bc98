# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a promotion ends whose cutover fails (R-B13)."""

from __future__ import annotations

from typing import Any

import pytest

from .conftest import Role

PROMOTE = Role("promote")
PLAN = {"hosts": {"router": "control"}}
REFUSED = {"failed": True, "msg": "shop is not as it was left"}
RUN = {"decision": {"kind": "begin"}}


def holds(when: str | list[str], **variables: Any) -> bool:
    conditions = [when] if isinstance(when, str) else when
    return all(PROMOTE.templar(**variables).evaluate_conditional(one) for one in conditions)


@pytest.mark.parametrize(
    ("begun", "found", "ends"),
    [
        (True, {"cutover_plan": PLAN}, True),
        (True, {"cutover_plan": PLAN, "cutover_run": RUN}, False),
        (False, {"cutover_plan": PLAN}, False),
        # Its inventory was refused.
        (False, {}, False),
    ],
)
def test_one_whose_cutover_cannot_begin_is_ended(begun: bool, found: dict[str, Any], ends: bool) -> None:
    [play] = PROMOTE.load("../../playbooks/cutover.yml")
    [end] = next(one for one in play["tasks"] if one["name"] == "Begin")["always"]
    assert end["ansible.builtin.include_role"]["tasks_from"] == "not_moved.yml"
    facts = {"promote_begun": {"changed": True}} if begun else {}
    assert holds(end["when"], hostvars={"control": facts}, **found) is ends


@pytest.mark.parametrize(
    ("found", "cause"),
    [
        ({"preflight_slot": {"changed": False}, "preflight_begun": REFUSED}, "shop is not as it was left"),
        ({"preflight_slot": {**REFUSED, "msg": "used by other"}}, "used by other"),
        ({"rollback_cause": {"task": "Probe", "message": "503"}, "preflight_begun": {}}, "Probe: 503"),
        ({}, "its cutover failed; why is told where it ran"),
    ],
)
def test_its_cause_is_told(found: dict[str, Any], cause: str) -> None:
    assert PROMOTE.said("__promote_cause", **found).strip() == cause


@pytest.mark.parametrize(
    ("found", "taken", "frees"),
    [
        ({}, True, True),
        # It goes on with one that may have a share.
        ({}, False, False),
        ({"cutover_run": RUN}, True, False),
        ({"cutover_run": RUN, "rollback_closed": {"changed": True}}, False, True),
        ({"cutover_run": RUN, "rollback_closed": {"failed": True}}, True, False),
        ({"cutover_run": RUN, "promote_moved": {"problem": "another"}}, False, True),
    ],
)
def test_the_slot_is_given_back_where_none_of_its_traffic_is_left(
    found: dict[str, Any], taken: bool, frees: bool
) -> None:
    [end] = PROMOTE.load("tasks/not_moved.yml")
    [free] = [one for one in end["block"] if one["name"] == "Leave the rest of the slot to others"]
    hostvars = {"control": {"promote_slot": {"changed": taken}}}
    assert holds(free["when"], cutover_plan=PLAN, hostvars=hostvars, **found) is frees
