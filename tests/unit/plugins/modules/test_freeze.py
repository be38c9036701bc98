# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module freeze: what it asks for, and what it hands on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import FreezeError
from ansible_collections.bluegreen.cutover.plugins.module_utils._freezing import Freezer
from ansible_collections.bluegreen.cutover.plugins.modules import freeze

RunModule = Callable[..., dict[str, Any]]
WRITERS = {"pgbouncer": {"database": "shop"}}


@pytest.fixture(name="asked")
def _asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Stands for who holds writers; what it was asked for."""
    asked: list[Any] = []

    def hold(_self: Freezer, *given: Any, **more: Any) -> dict[str, Any]:
        asked.append((given, more))
        return {"changed": True, "seen": {}}

    def release(_self: Freezer, token: int | None, check_mode: bool) -> dict[str, Any]:
        asked.append((token, check_mode))
        if token == 7:
            raise FreezeError("released by themselves", {"hold": {}})
        return {"changed": False, "held": 0.0, "told": {}}

    monkeypatch.setattr(Freezer, "freeze", hold)
    monkeypatch.setattr(Freezer, "thaw", release)
    return asked


def test_writers_come_with_all_their_options(run_module: RunModule, asked: list[Any], tmp_path: Path) -> None:
    common = {"service": "shop", "state_dir": str(tmp_path), "state": "frozen"}
    result = run_module(freeze, **common, token=5, **WRITERS)
    assert (result["rc"], result["changed"]) == (0, True)
    full = {"database": "shop", "host": "127.0.0.1", "port": 6432, "user": "pgbouncer", "password_file": None}
    assert asked == [((5, {"pgbouncer": full}), {"check_mode": False, "wait": 5.0, "limit": 30.0})]
    assert run_module(freeze, check_mode=True, **common, **WRITERS)["rc"] == 0


@pytest.mark.usefixtures("asked")
@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"state": "frozen", "token": 5}, "state is frozen but any of the following are missing: pgbouncer, read_only"),
        ({"state": "frozen", **WRITERS}, "needs the token of the run"),
        ({"state": "thawed", "service": "../x"}, "service is '../x'"),
        ({"state": "thawed", "token": 7}, "released by themselves"),
    ],
)
def test_what_is_missing_is_told(run_module: RunModule, given: dict[str, Any], said: str, tmp_path: Path) -> None:
    result = run_module(freeze, **{"service": "shop", "state_dir": str(tmp_path), **given})
    assert (result["rc"], said in result["msg"]) == (1, True)


def test_released(run_module: RunModule, asked: list[Any], tmp_path: Path) -> None:
    assert run_module(freeze, state="thawed", service="shop", state_dir=str(tmp_path), token=5)["rc"] == 0
    assert asked == [(5, False)]


def test_without_its_library_it_says_so(run_module: RunModule, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(freeze, "PSYCOPG2_PROBLEM", "Traceback")
    result = run_module(freeze, state="thawed", service="shop")
    assert "psycopg2" in result["msg"]
