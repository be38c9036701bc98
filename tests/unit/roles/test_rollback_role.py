# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role rollback says became of the data (R-E7)."""

from __future__ import annotations

from typing import Any

import pytest

from .conftest import Role

ROLLBACK = Role("rollback")
SHOP = {"cutover_plan": {"service": "shop"}}


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ([True, False], "Data of shop was restored."),
        ([False, True], "Data of shop was restored."),
        ([False, False], "Data of shop is as it was in its snapshots. Nothing was restored."),
    ],
)
def test_data_was_restored_is_only_said_where_something_was(parts: list[bool], said: str) -> None:
    [once] = ROLLBACK.load("tasks/restore_part.yml")
    [record] = [task for task in once["block"] if task["name"] == "Record it"]
    kept: dict[str, Any] = record["block"][-1]["ansible.builtin.set_fact"]
    facts: dict[str, Any] = {}
    for changed in parts:
        asked = {"changed": changed, "unproven": []}
        facts |= ROLLBACK.templar(rollback_asked=asked, **facts).template(kept)
    assert ROLLBACK.said("__rollback_data", **SHOP, **facts).strip() == said


@pytest.mark.parametrize(
    ("facts", "left"),
    [
        ({}, "The data of shop is left as it is"),
        ({"rollback_restored": False}, "The data of shop is left as it is"),
        ({"rollback_restored": True}, "Not all is well with the data of shop, of which some was restored"),
    ],
)
def test_data_is_left_as_it_is_where_none_was_restored(facts: dict[str, Any], left: str) -> None:
    assert ROLLBACK.said("__rollback_left", **SHOP, **facts).strip() == left


@pytest.mark.parametrize(
    ("facts", "tells"),
    [
        ({}, False),
        ({"rollback_restored": False}, True),
        ({"rollback_restored": True}, True),
        ({"rollback_restored": True, "rollback_data_problem": "the next one cannot be"}, True),
        ({"rollback_restored": False, "rollback_data_problem": "the next one cannot be"}, False),
    ],
)
def test_nothing_is_told_before_it_is_known(facts: dict[str, Any], tells: bool) -> None:
    [task] = [one for one in ROLLBACK.load("tasks/main.yml") if one["name"] == "Say what became of the data"]
    assert ROLLBACK.templar(**facts).evaluate_conditional(task["when"]) is tells
