# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The action k8s_selector_patch: what roles get."""

from __future__ import annotations

from typing import Any
from unittest.mock import Mock

import pytest
from ansible.errors import AnsibleError
from ansible_collections.bluegreen.cutover.plugins.action import k8s_selector_patch
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import NotReadyError

ARGUMENTS: dict[str, Any] = {
    "namespace": "shop",
    "name": "web",
    "selectors": {"blue": {"version": "v1"}, "green": {"version": "v2"}},
    "to": "green",
}
SIDES = {"before": {"colour": "blue"}, "after": {"colour": "green"}}


def run(monkeypatch: pytest.MonkeyPatch, switch: Any, check_mode: bool = False, **arguments: Any) -> dict[str, Any]:
    monkeypatch.setattr(k8s_selector_patch, "connect", lambda *given: given)
    monkeypatch.setattr(k8s_selector_patch, "switch", switch)
    action = k8s_selector_patch.ActionModule(
        task=Mock(async_val=False, args={**ARGUMENTS, **arguments}, check_mode=check_mode, diff=False),
        connection=Mock(),
        play_context=Mock(),
        loader=Mock(),
        templar=Mock(template=lambda value: value),
        shared_loader_obj=None,
    )
    # R-B15: somewhere else there is a source.
    variables = {"environment_all": {"prod": {"source": "old", "namespace": "shop"}}}
    result: dict[str, Any] = action.run(task_vars=variables)
    return result


def test_it_hands_over_what_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def switch(*given: Any, **options: Any) -> dict[str, Any]:
        asked.append((given, options))
        return {"changed": True, **SIDES}

    result = run(monkeypatch, switch, check_mode=True, kubeconfig="/k", context="c", min_ready="3")
    ((cluster, target, to), options) = asked[0]
    assert (cluster, target.name, to) == (("/k", "c"), "web", "green")
    assert (options["min_ready"], options["check_mode"], options["settle"]) == (3, True, 30.0)
    assert (result["changed"], result["diff"]) == (True, SIDES)


def test_a_failure_carries_reason_and_evidence(monkeypatch: pytest.MonkeyPatch) -> None:
    def switch(*_given: Any, **_options: Any) -> dict[str, Any]:
        raise NotReadyError("green is not there", {"needed": 2})

    result = run(monkeypatch, switch)
    assert result["failed"]
    assert (result["msg"], result["reason"], result["evidence"]) == ("green is not there", "not_ready", {"needed": 2})


def test_no_pods_at_all_are_never_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    result = run(monkeypatch, None, min_ready=0)
    assert (result["failed"], result["reason"]) == (True, "input")


def test_an_argument_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AnsibleError, match="missing required arguments: green found in selectors"):
        run(monkeypatch, None, selectors={"blue": {"a": "b"}})


def test_r_b15_no_traffic_of_a_source_is_switched(monkeypatch: pytest.MonkeyPatch) -> None:
    result = run(monkeypatch, AssertionError, namespace="old")
    assert (result["failed"], result["reason"]) == (True, "source")
