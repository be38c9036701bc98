# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is told of tasks that last."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from ansible_collections.bluegreen.cutover.plugins.callback import progress
from ansible_collections.bluegreen.cutover.plugins.callback.progress import CallbackModule, waiting


def task(name: str) -> Any:
    return SimpleNamespace(get_name=lambda: name)


def test_a_task_that_lasts_is_told_with_its_hosts_and_its_time() -> None:
    running = {"app2": ("Drain", 100.0), "app1": ("Drain", 101.0), "router": ("Ask", 111.5)}

    assert waiting(running, 112.0) == ["... Drain: since 12 s, on app1, app2"]


def test_nothing_is_told_of_tasks_that_have_just_begun() -> None:
    assert waiting({"app1": ("Drain", 100.0)}, 104.9) == []


@pytest.mark.parametrize("end", ["v2_runner_on_ok", "v2_runner_on_failed", "v2_runner_on_unreachable"])
def test_a_task_that_has_ended_is_told_no_more(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], end: str
) -> None:
    monkeypatch.setattr(progress, "INTERVAL", 0.0)
    callback = CallbackModule()
    rounds = iter([False, True])
    monkeypatch.setattr(callback._over, "wait", lambda _seconds: next(rounds))

    callback.v2_runner_on_start("app1", task("Drain"))
    callback._tell()
    assert "... Drain: since 0 s, on app1\n" in capfd.readouterr().out

    getattr(callback, end)(SimpleNamespace(_host="app1"))
    rounds = iter([False, True])
    callback._tell()
    assert capfd.readouterr().out == ""
