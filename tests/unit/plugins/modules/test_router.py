# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The modules router_info and router_weight: what roles get."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.bluegreen.cutover.plugins.module_utils import _routing
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import RouterError
from ansible_collections.bluegreen.cutover.plugins.module_utils._routers import Reading
from ansible_collections.bluegreen.cutover.plugins.modules import router_info, router_weight

RunModule = Callable[..., dict[str, Any]]

ARGUMENTS = {
    "service": "shop",
    "router": {"provider": "fake"},
    "colours": {
        "blue": {"instances": [{"host": "app1", "port": 8001}]},
        "green": {"instances": [{"host": "app1", "port": 8002}]},
    },
}


class FakeRouter:
    weight = 0
    broken = False

    def __init__(self, service: object) -> None:
        assert service
        self.persisted = FakeRouter.weight

    def read(self) -> Reading:
        if self.broken:
            raise RouterError("it is gone", {"socket": "/x"})
        return Reading(self.weight, self.persisted, {"blue": 1, "green": 1}, {"blue": 0, "green": None})

    def apply(self, weight: int) -> list[str]:
        FakeRouter.weight = weight
        return [f"set {weight}"]

    def persist(self, weight: int) -> list[str]:
        self.persisted = weight
        return [f"write {weight}"]


@pytest.fixture(autouse=True)
def _fake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(_routing.PROVIDERS, "fake", FakeRouter)
    monkeypatch.setattr(FakeRouter, "weight", 0)


def test_info_tells_what_is_read(run_module: RunModule) -> None:
    result = run_module(router_info, **ARGUMENTS)
    assert (result["rc"], result["changed"]) == (0, False)
    assert (result["weight"], result["persisted"], result["ready"]) == (0, 0, {"blue": 1, "green": 1})
    assert (result["drift"], result["in_flight"]) == ([], {"blue": 0, "green": None})


def test_weight_is_set_once(run_module: RunModule, tmp_path: Path) -> None:
    arguments = {**ARGUMENTS, "weight": 50, "allowed": [0], "state_dir": str(tmp_path)}
    would = run_module(router_weight, check_mode=True, **arguments)
    assert (would["rc"], would["changed"], would["commands"]) == (0, True, [])
    first = run_module(router_weight, diff=True, **arguments)
    assert (first["changed"], first["commands"]) == (True, ["set 50", "write 50"])
    assert first["diff"]["after"] == "applied: 50 % for green\non disk: 50 % for green\n"
    assert not run_module(router_weight, **arguments)["changed"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("module", [router_info, router_weight])
def test_a_failure_carries_reason_and_evidence(
    run_module: RunModule, monkeypatch: pytest.MonkeyPatch, module: Any
) -> None:
    monkeypatch.setattr(FakeRouter, "broken", True)
    more = {"weight": 50} if module is router_weight else {}
    result = run_module(module, **ARGUMENTS, **more)
    assert result["failed"]
    assert (result["msg"], result["reason"], result["evidence"]) == ("it is gone", "router", {"socket": "/x"})
