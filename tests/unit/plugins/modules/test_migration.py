# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The modules are wiring: arguments in, one result or one failure out."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.bluegreen.cutover.plugins.module_utils import _migration
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.plan import make_plan
from ansible_collections.bluegreen.cutover.plugins.module_utils._routers import Reading
from ansible_collections.bluegreen.cutover.plugins.modules import migration, migration_info, plan

RunModule = Callable[..., dict[str, Any]]

UNITS = [
    {"host": "app1", "colour": colour, "active": colour == "blue", "enabled": colour == "blue"}
    for colour in ("blue", "green")
]


class Still:
    def read(self) -> Reading:
        return Reading(0, 0, {"blue": 1, "green": 1}, {})


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setattr(os, "fsync", lambda _descriptor: None)  # nobody waits for a disk here
    monkeypatch.setattr(_migration, "make_router", lambda _options, _service: Still())
    return make_plan(
        {
            "cutover_service": "shop",
            "cutover_front": "http://router",
            "cutover_router": {"provider": "haproxy"},
            "cutover_colours": {"blue": {"unit": "b.service", "port": 1}, "green": {"unit": "g.service", "port": 2}},
            "cutover_state_dir": str(tmp_path),
        },
        routers=["router"],
        applications=["app1"],
        hosts={},
    )


def test_a_run_that_fails(made: dict[str, Any], run_module: RunModule) -> None:
    token = run_module(migration, state="begun", plan=made, workloads=UNITS, owner={"user": "alice"})["token"]
    data = {"colour": "green"}
    assert run_module(migration, state="recorded", plan=made, token=token, event="started", data=data)["changed"]
    assert run_module(migration, state="failed", plan=made, token=token, data={"reason": "probe"})["changed"]


def test_a_rehearsal_whose_candidate_shows_too_little(made: dict[str, Any], run_module: RunModule) -> None:
    opened = run_module(migration, state="rehearsing", plan=made, workloads=UNITS, owner={"user": "alice"})
    checkpoints = [{"name": "tests", "passed": False, "seen": "0 of 1"}]
    data = {"colour": "green", "checkpoints": checkpoints}
    failure = run_module(migration, state="probed", plan=made, token=opened["token"], data=data)
    assert (failure["reason"], failure["evidence"]) == ("checkpoint", {"checkpoints": checkpoints})
    told = run_module(migration_info, plan=made, workloads=UNITS)
    assert (told["checkpoints"], told["rehearsal"]["passed"], told["success"]) == (checkpoints, None, [])


def test_an_error_is_one_failure_with_its_reason(made: dict[str, Any], run_module: RunModule) -> None:
    failure = run_module(migration, state="finished", plan=made, token=1)
    assert (failure["failed"], failure["reason"]) == (True, "store")


def test_a_rollback_and_what_is_told_of_it(made: dict[str, Any], run_module: RunModule) -> None:
    running = [{**unit, "active": True} for unit in UNITS]
    token = run_module(migration, state="rolling_back", plan=made, workloads=running, reason="it burns")["token"]
    assert run_module(migration, state="rolled_back", plan=made, token=token)["changed"]
    told = run_module(migration_info, plan=made, workloads=UNITS)
    assert (told["changed"], told["phase"], told["agree"]) == (False, "rolled_back", True)


def test_what_is_missing_is_said(made: dict[str, Any], run_module: RunModule) -> None:
    assert "workloads" in run_module(migration, state="begun", plan=made)["msg"]
    assert "event" in run_module(migration, state="recorded", plan=made)["msg"]
    broken = {**made, "service": "../x"}
    assert run_module(migration_info, plan=broken)["reason"] == "input"


def test_the_plan_is_an_action(made: dict[str, Any]) -> None:
    assert "module: plan" in plan.DOCUMENTATION
    assert made["service"] == "shop"
