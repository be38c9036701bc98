# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module systemd_info: what roles get."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from ansible_collections.bluegreen.cutover.plugins.module_utils import _connections
from ansible_collections.bluegreen.cutover.plugins.module_utils._connections import Connection
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import WorkloadError
from ansible_collections.bluegreen.cutover.plugins.module_utils._workloads import State
from ansible_collections.bluegreen.cutover.plugins.modules import systemd_info

RunModule = Callable[..., dict[str, Any]]

UNITS = [
    {"colour": "blue", "unit": "shop-blue.service", "port": 8001},
    {"colour": "green", "unit": "shop-green.service", "port": 8002},
]


def test_both_colours_are_told(run_module: RunModule, monkeypatch: pytest.MonkeyPatch) -> None:
    states = [
        State("active (running)", True, False, True, 71, 1000, 2, 0),
        State("inactive (dead)", False, True, False, None, None, 0, 0),
    ]
    served = {8001: [Connection("10.0.0.1", 1, "ESTABLISHED")], 8002: []}
    monkeypatch.setattr(systemd_info, "read_units", lambda *_: states)
    monkeypatch.setattr(_connections, "read", lambda _ports: served)
    result = run_module(systemd_info, host="app1", units=UNITS)
    assert (result["rc"], result["changed"]) == (0, False)
    blue, green = result["units"]
    assert blue == {
        **UNITS[0],
        "host": "app1",
        "active": True,
        "enabled": True,
        "state": "active (running)",
        "pid": 71,
        "since": 1000,
        "exit_status": 0,
        "restarts": 2,
        "connections": 1,
    }
    assert (green["active"], green["pid"], green["connections"]) == (False, None, 0)


def test_a_host_that_cannot_be_read_fails(run_module: RunModule, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(run: Any, units: list[str]) -> list[State]:
        raise WorkloadError(f"{units} cannot be read by {run.__name__}")

    monkeypatch.setattr(systemd_info, "read_units", refuse)
    result = run_module(systemd_info, units=UNITS)
    assert (result["rc"], result["reason"]) == (1, "workload")
