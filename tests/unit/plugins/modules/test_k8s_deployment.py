# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module k8s_deployment: what roles get."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import RolloutError
from ansible_collections.bluegreen.cutover.plugins.modules import k8s_deployment

RunModule = Callable[..., dict[str, Any]]
GIVEN: dict[str, Any] = {"namespace": "shop", "deployments": {"blue": "v1", "green": "v2"}}


class Fake:
    """What the module asks for, in order."""

    asked: list[Any]

    def __init__(self, cluster: object, namespace: str, names: dict[str, str], **options: Any) -> None:
        assert (cluster, namespace, names) == ("cluster of x", "shop", GIVEN["deployments"])
        self.commands: list[str] = []
        Fake.asked.append(options)

    def make_ready(self, colour: str, timeout: float, **options: Any) -> int:
        Fake.asked.append((colour, timeout, options))
        if timeout == 1:
            raise RolloutError("it is stuck", {"pods": ["a: b"]})
        self.commands.append("scale v2 to 3")
        return 3

    def release(self, colour: str, *, scale: bool) -> None:
        Fake.asked.append((colour, scale))

    def stop(self, timeout: float) -> None:
        Fake.asked.append(timeout)

    def read(self) -> list[dict[str, Any]]:
        return [{"colour": "blue"}]


@pytest.fixture(autouse=True)
def _fake(monkeypatch: pytest.MonkeyPatch) -> None:
    Fake.asked = []
    monkeypatch.setattr(k8s_deployment, "Deployments", Fake)
    monkeypatch.setattr(k8s_deployment, "connect", lambda kubeconfig, _context: f"cluster of {kubeconfig}")


def test_states_do_what_they_say(run_module: RunModule) -> None:
    ready = run_module(k8s_deployment, **GIVEN, kubeconfig="x", state="ready", colour="green", keep=True, token=7)
    assert (ready["changed"], ready["needed"], ready["commands"]) == (True, 3, ["scale v2 to 3"])
    assert Fake.asked == [{"token": 7, "check_mode": False}, ("green", 60, {"least": None, "keep": True})]
    released = run_module(k8s_deployment, **GIVEN, kubeconfig="x", state="released", colour="green", scale=True)
    assert (released["changed"], Fake.asked[-1]) == (False, ("green", True))
    stopped = run_module(k8s_deployment, **GIVEN, kubeconfig="x", state="stopped", timeout=9)
    assert (stopped["changed"], Fake.asked[-1]) == (False, 9)
    read = run_module(k8s_deployment, **GIVEN, kubeconfig="x", check_mode=True)
    assert (read["changed"], read["workloads"]) == (False, [{"colour": "blue"}])


def test_what_is_wrong_is_told(run_module: RunModule) -> None:
    stuck = run_module(k8s_deployment, **GIVEN, kubeconfig="x", state="ready", colour="green", timeout=1)
    assert (stuck["failed"], stuck["reason"], stuck["evidence"]) == (True, "rollout", {"pods": ["a: b"]})
    none = run_module(k8s_deployment, **GIVEN, kubeconfig="x", state="ready", colour="green", min_ready=0)
    assert none["msg"] == "min_ready is 0; at least 1 is needed"
    assert "colour" in run_module(k8s_deployment, **GIVEN, state="ready")["msg"]
