# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The action k8s_environment: what roles get (R-B4)."""

from __future__ import annotations

from typing import Any, ClassVar
from unittest.mock import Mock

import pytest
from ansible.errors import AnsibleError
from ansible_collections.bluegreen.cutover.plugins.action import k8s_environment
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import EnvironmentRefusedError

ARGUMENTS: dict[str, Any] = {
    "application": "nextstep",
    "environment": "prod",
    "environments": {"prod": {"source": "nextstep-prod", "namespace": "blueocean-nextstep-prod"}},
    "required": {"SAFETY_RAILS_ENABLED": "true"},
}


class Asked:
    """A Bringing that notes what is asked of it."""

    calls: ClassVar[list[Any]] = []
    problem: ClassVar[Exception | None] = None
    tried: ClassVar[bool] = True

    def __init__(self, *given: Any) -> None:
        self.given = given

    def bring(self, *given: Any, **options: Any) -> dict[str, Any]:
        self.calls.append((self.given, given, options))
        if self.problem:
            raise self.problem
        told = {"namespace": "new", "tried": self.tried, "objects": []}
        return {"changed": True, **told, "before": {}, "after": {"Service/api": {}}}


@pytest.fixture(autouse=True)
def _asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Asked, "calls", [])
    monkeypatch.setattr(Asked, "problem", None)
    monkeypatch.setattr(k8s_environment, "Bringing", Asked)
    monkeypatch.setattr(k8s_environment, "connect", lambda *given: given)


def run(diff: bool = False, **arguments: Any) -> dict[str, Any]:
    action = k8s_environment.ActionModule(
        task=Mock(async_val=False, args={**ARGUMENTS, **arguments}, check_mode=True, diff=diff),
        connection=Mock(),
        play_context=Mock(),
        loader=Mock(),
        templar=Mock(),
        shared_loader_obj=None,
    )
    result: dict[str, Any] = action.run(task_vars={})
    return result


def test_that_nothing_was_tried_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    warned: list[str] = []
    monkeypatch.setattr(k8s_environment.Display, "warning", lambda _self, told: warned.append(told))
    assert run()["tried"] is True
    assert warned == []
    monkeypatch.setattr(Asked, "tried", False)
    assert run()["tried"] is False
    [told] = warned
    assert told.startswith("new is not there yet, so the server has tried nothing of this")


def test_it_hands_over_what_is_asked_for() -> None:
    result = run(context="c", diff=True)
    assert result["diff"] == {"before": {}, "after": {"Service/api": {}}}
    [(given, asked, options)] = Asked.calls
    assert (given[0], given[1], given[2]["prod"].source, given[3]) == (
        (None, "c"),
        "nextstep",
        "nextstep-prod",
        ARGUMENTS["required"],
    )
    assert (asked, options) == (("prod", None), {"check_mode": True})
    assert "diff" not in run()


def test_a_refusal_carries_reason_and_evidence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Asked, "problem", EnvironmentRefusedError("less", {"problems": ["a"]}))
    result = run()
    assert (result["failed"], result["reason"], result["evidence"]) == (True, "environment", {"problems": ["a"]})


def test_what_is_wrong_is_told_before_anything_is_asked() -> None:
    assert run(environments={"prod": {}})["reason"] == "input"
    assert run(environment="dev")["msg"] == "there is no environment 'dev'; one of prod is needed"
    assert run(required={"SAFE": True})["msg"].startswith("required has SAFE with a value that is no text")
    with pytest.raises(AnsibleError, match="argument .environments. .*unable to convert to dict"):
        run(environments="prod")
    assert Asked.calls == []
