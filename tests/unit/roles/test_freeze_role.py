# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role freeze tells of a hold: who may go on writing, and what was written all the same (R-E1)."""

from __future__ import annotations

from typing import Any

import pytest

from .conftest import Role

FREEZE = Role("freeze")
SESSION = {"pid": 7, "user": "shop", "application_name": "worker", "addr": "local", "state": "idle", "writing": False}


def test_who_may_go_on_writing_is_said_while_they_do() -> None:
    [said] = [task for task in FREEZE.load("tasks/main.yml") if task["name"] == "Say who may go on writing"]
    held = {"seen": {"pgbouncer": {}, "read_only": {"remaining": [SESSION], "overrides": ["admin"]}}}
    told = FREEZE.templar(freeze_held=held)
    assert list(told.template(said["ansible.builtin.debug"]["msg"]).values()) == [[SESSION], ["admin"]]
    assert told.evaluate_conditional(said["when"])


@pytest.mark.parametrize("held", [{}, {"skipped": True}, {"seen": {}}, {"seen": {"pgbouncer": {}}}])
def test_where_nobody_can_nothing_is_said(held: dict[str, Any]) -> None:
    assert FREEZE.said("__freeze_remaining", freeze_held=held) == []
    assert FREEZE.said("__freeze_overrides", freeze_held=held) == []


def test_who_was_seen_comes_into_the_journal_when_they_are_let_go() -> None:
    [block] = FREEZE.load("tasks/thaw.yml")
    [record] = [task["bluegreen.cutover.migration"] for task in block["block"] if task["name"].startswith("Record")]
    seen = {"read_only": {"remaining": [SESSION], "overrides": []}}
    assert FREEZE.templar(freeze_held={"seen": seen}).template(record["data"]["seen"]) == seen
    # In the rescue of a run that held nobody yet, and in rollback.yml.
    assert FREEZE.said("__freeze_seen") == {}


def test_rows_that_were_written_all_the_same_are_told_with_what_that_means() -> None:
    told = {"read_only": {"written": 3, "ended": 0, "still_read_only": []}}
    said = " ".join(FREEZE.said("__freeze_rest", freeze_released={"told": told}).split())
    assert said == (
        "; 3 rows were written while the database was read-only by default, so that parts which were read meanwhile "
        "may not fit together"
    )
