# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module http_probe: its arguments and its answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from ansible_collections.bluegreen.cutover.plugins.module_utils import _http
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.probes import Answer, Target
from ansible_collections.bluegreen.cutover.plugins.modules import http_probe

RunModule = Callable[..., dict[str, Any]]


@pytest.fixture(name="asked")
def _asked(monkeypatch: pytest.MonkeyPatch) -> list[Target]:
    asked: list[Target] = []

    def ask(target: Target) -> Answer:
        asked.append(target)
        return Answer(ms=1, status=200 if "8001" in target.url else 503, body=b"seen hush-hush")

    monkeypatch.setattr(_http, "ask", ask)
    return asked


def test_healthy(run_module: RunModule, asked: list[Target]) -> None:
    result = run_module(
        http_probe,
        bases=["http://app1:8001", "http://app2:8001"],
        probes=[{"path": "/a"}, {"path": "/b", "secret_headers": {"Authorization": "hush-hush"}}],
    )
    assert (result["rc"], result["changed"], result["healthy"]) == (0, False, True)
    assert len(asked) == 4
    assert [one["url"] for one in result["observations"]][:2] == ["http://app1:8001/a", "http://app1:8001/b"]
    assert any(target.headers.get("Authorization") == "hush-hush" for target in asked)
    assert "hush-hush" not in str(result)


def test_unhealthy_after_all_tries(run_module: RunModule, asked: list[Target]) -> None:
    targets = [{"url": "http://app1:8002/", "name": "green"}, {"url": "http://app1:8001/"}]
    result = run_module(http_probe, targets=targets, attempts=3, interval=0)
    assert (result["rc"], result["failed"], result["reason"], result["healthy"]) == (1, True, "probe", False)
    assert result["msg"].startswith("1 of 2 probes are unhealthy after 3 tries: GET green: status 503, 200 is expected")
    assert len(result["observations"]) == len(asked) == 6


def test_check_mode_does_not_fail(run_module: RunModule, asked: list[Target]) -> None:
    targets = [{"url": "http://app1:8002/"}, {"url": "http://app1:8002/orders", "method": "POST"}]
    result = run_module(http_probe, check_mode=True, targets=targets, attempts=3)
    assert (result["rc"], result["healthy"], result["skipped"]) == (0, False, ["POST http://app1:8002/orders"])
    assert "status 503" in result["would_fail"]
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({}, "Nothing to ask"),
        ({"targets": [{"url": "http://app1/"}], "attempts": 0}, "attempts must be a number from 1 to 1000"),
        ({"targets": [{"url": "http://app1/"}], "interval": -1}, "interval one from 0 to 3600"),
        ({"targets": [{"url": "app1"}]}, r"targets[0]: 'app1' cannot be asked"),
        ({"targets": [{"name": "x"}]}, "missing required arguments: url"),
        ({"targets": [{"url": "http://app1/", "method": "BREW"}]}, "must be one of"),
        ({"targets": [{"url": "http://app1/", "statsu": 1}]}, "statsu"),
    ],
)
def test_wrong_arguments(run_module: RunModule, asked: list[Target], arguments: dict[str, Any], said: str) -> None:
    result = run_module(http_probe, **arguments)
    assert result["rc"] == 1
    assert said in result["msg"]
    assert asked == []
