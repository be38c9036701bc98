# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module systemd_switch: its arguments, and what it answers when it ends well and when it does not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import DrainError
from ansible_collections.bluegreen.cutover.plugins.modules import systemd_switch

RunModule = Callable[..., dict[str, Any]]

START = {"unit": "shop-green.service", "ready": "http://127.0.0.1:8002/", "live": None, "resume_signal": None}
STOP = {"unit": "shop-blue.service", "port": 8001, "signal": None, "in_flight_url": None}


def test_what_was_done_is_told(run_module: RunModule, monkeypatch: pytest.MonkeyPatch) -> None:
    def switch(params: dict[str, Any], _run: Any, done: dict[str, Any], *, check_mode: bool) -> None:
        assert check_mode
        assert params["start"]["timeout"] == params["stop"]["timeout"] == 60
        done["start"] = {"changed": False, "before": 1, "after": 1}
        done["stop"] = {"changed": True, "before": 2, "after": 3}

    monkeypatch.setattr(systemd_switch, "switch", switch)
    result = run_module(systemd_switch, check_mode=True, diff=True, start=START, stop=STOP)
    assert result["rc"] == 0, result
    assert (result["rc"], result["changed"]) == (0, True)
    assert result["diff"] == {"before": {"start": 1, "stop": 2}, "after": {"start": 1, "stop": 3}}


def test_what_was_done_before_a_failure_is_told(run_module: RunModule, monkeypatch: pytest.MonkeyPatch) -> None:
    def switch(_params: dict[str, Any], _run: Any, done: dict[str, Any], *, check_mode: bool) -> None:
        done["start"] = {"changed": not check_mode}
        raise DrainError("somebody is left", {"connections": 3})

    monkeypatch.setattr(systemd_switch, "switch", switch)
    result = run_module(systemd_switch, start=START, stop=STOP)
    assert (result["rc"], result["changed"], result["reason"]) == (1, True, "drain")
    assert (result["start"], result["evidence"]) == ({"changed": True}, {"connections": 3})


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({}, "one of the following is required: start, route, verify, stop"),
        ({"stop": STOP, "token": 7}, "missing parameter(s) required by 'token': service"),
        ({"start": {"unit": "a.service"}}, "missing required arguments: ready"),
    ],
)
def test_wrong_arguments(run_module: RunModule, arguments: dict[str, Any], said: str) -> None:
    result = run_module(systemd_switch, **arguments)
    assert result["rc"] == 1
    assert said in result["msg"]
