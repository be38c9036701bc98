# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The action k8s_discover: what roles get (R-B1)."""

from __future__ import annotations

from typing import Any
from unittest.mock import Mock

import pytest
from ansible_collections.bluegreen.cutover.plugins.action import k8s_discover
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import ClusterError

ENVIRONMENTS = {"prod": {"source": "nextstep-prod", "namespace": "blueocean-nextstep-prod"}}


def run(**arguments: Any) -> dict[str, Any]:
    action = k8s_discover.ActionModule(
        task=Mock(
            async_val=False,
            args={"application": "nextstep", "environments": ENVIRONMENTS, **arguments},
            check_mode=False,
            diff=False,
        ),
        connection=Mock(),
        play_context=Mock(),
        loader=Mock(),
        templar=Mock(),
        shared_loader_obj=None,
    )
    result: dict[str, Any] = action.run(task_vars={})
    return result


def test_what_is_wrong_with_the_inventory_is_told_beside_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(k8s_discover, "connect", lambda *given: given)
    monkeypatch.setattr(k8s_discover, "read", lambda cluster, given: asked.append((cluster, set(given))) or {})
    result = run(context="c", environments={**ENVIRONMENTS, "dev": {"source": "a"}})
    assert asked == [((None, "c"), {"prod"})]
    assert result["changed"] is False
    assert result["report"]["problems"] == ["dev.namespace is ''; the name of a namespace is needed"]
    assert "- dev.namespace is ''" in result["page"]


def test_a_cluster_that_cannot_be_read_is_a_failure_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def connect(*_given: Any) -> None:
        raise ClusterError("no answer", {"status": 0})

    monkeypatch.setattr(k8s_discover, "connect", connect)
    result = run()
    assert (result["failed"], result["reason"], result["msg"]) == (True, "cluster", "no answer")
    assert run(required={"SAFE": True})["msg"].startswith("required has SAFE with a value that is no text")
    assert run(colours={"blue": "v1"})["reason"] == "input"
