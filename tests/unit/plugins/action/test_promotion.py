# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The actions promotion and finalize say who acts."""

from __future__ import annotations

from typing import Any
from unittest.mock import Mock

import pytest
from ansible.plugins.action import ActionBase
from ansible_collections.bluegreen.cutover.plugins.action import finalize, promotion
from ansible_collections.bluegreen.cutover.plugins.action.migration import owner


def run(monkeypatch: pytest.MonkeyPatch, action: Any, answer: dict[str, Any], **arguments: Any) -> Any:
    asked: dict[str, Any] = {}
    variables = arguments.pop("variables", {})

    def execute(_self: ActionBase, module_name: str, module_args: dict[str, Any], task_vars: Any) -> dict[str, Any]:
        asked.update(module_args, module=module_name, variables=task_vars)
        return answer

    monkeypatch.setattr(action.ActionModule, "_execute_module", execute)
    made = action.ActionModule(
        task=Mock(async_val=False, args=arguments, check_mode=False, diff=False),
        connection=Mock(),
        play_context=Mock(),
        loader=Mock(),
        templar=Mock(template=lambda value: value),
        shared_loader_obj=None,
    )
    return asked, made.run(task_vars=variables)


def test_a_promotion_has_an_owner_and_its_environment_is_a_fact(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, result = run(monkeypatch, promotion, {"environment": {"name": "prod"}}, state="judged")
    assert (asked["module"], asked["owner"]) == ("bluegreen.cutover.promotion", owner())
    assert result["ansible_facts"] == {"promote_environment": {"name": "prod"}}


def test_r_b15_the_record_is_in_no_source(monkeypatch: pytest.MonkeyPatch) -> None:
    variables = {"environment_all": {"prod": {"source": "old", "namespace": "new"}}}
    asked, result = run(monkeypatch, promotion, {}, variables=variables, namespace="old", state="begun")
    assert (asked, result["failed"], result["reason"]) == ({}, True, "source")
    asked, _result = run(monkeypatch, promotion, {}, variables=variables, namespace="new", state="begun")
    assert asked["namespace"] == "new"


def test_what_takes_the_lease_has_an_owner_and_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = {"lease": {"wait": 0}}
    asked, result = run(monkeypatch, finalize, {"changed": True}, state="removing", plan=plan)
    assert (asked["module"], asked["owner"], result["changed"]) == ("bluegreen.cutover.finalize", owner(), True)
    held = {"failed": True, "reason": "lease_held", "msg": "x; y", "evidence": {"lease": {"token": 1, "owner": {}}}}
    assert run(monkeypatch, finalize, held, state="removing", plan=plan)[1]["failed"]
    asked, _result = run(monkeypatch, finalize, {"changed": False}, state="judged", plan=plan)
    assert "owner" not in asked
