# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The action queue_drain: the module in slices, with a line in between, and an end."""

from __future__ import annotations

import time
from typing import Any
from unittest.mock import Mock

import pytest
from ansible_collections.bluegreen.cutover.plugins.action import queue_drain
from ansible_collections.bluegreen.cutover.plugins.action.queue_drain import SLICE, ActionModule


class Module:
    """The module, as a script; each call takes as long as it was given."""

    def __init__(self, *answers: dict[str, Any]) -> None:
        self.answers = list(answers)
        self.given: list[dict[str, Any]] = []
        self.now = 0.0
        self.lines: list[str] = []

    def __call__(self, module_name: str, module_args: dict[str, Any], task_vars: Any) -> dict[str, Any]:
        assert (module_name, task_vars) == (queue_drain.MODULE, {})
        self.given.append(module_args)
        self.now += module_args["timeout"] if isinstance(module_args.get("timeout"), float) else 0.0
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return {"described": "'jobs': 3 waiting", "depths": {}, "state": {"looks": 1}, "invocation": {}, **answer}


def run(module: Module, monkeypatch: pytest.MonkeyPatch, *, check_mode: bool = False, **given: Any) -> dict[str, Any]:
    monkeypatch.setattr(time, "monotonic", lambda: module.now)
    monkeypatch.setattr(queue_drain.display, "display", lambda line, **_more: module.lines.append(line))
    action = ActionModule(
        task=Mock(async_val=False, args=given, check_mode=check_mode, diff=False),
        connection=Mock(),
        play_context=Mock(),
        loader=None,
        templar=None,
        shared_loader_obj=None,
    )
    monkeypatch.setattr(action, "_execute_module", module)
    return action.run(task_vars={})


def test_it_is_called_again_until_it_is_drained(monkeypatch: pytest.MonkeyPatch) -> None:
    module = Module({"drained": False}, {"drained": False}, {"drained": True})
    result = run(module, monkeypatch, timeout=60, queues=[])
    assert (result["drained"], result["waited"]) == (True, 3 * SLICE)
    assert [given.get("state") for given in module.given] == [None, {"looks": 1}, {"looks": 1}]
    assert module.lines[0] == "queues, after 5 of 60 s: 'jobs': 3 waiting"
    assert not {"state", "invocation"} & set(result)


def test_the_last_depth_is_told_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    module = Module({"drained": False})
    result = run(module, monkeypatch, timeout=17, queues=[])
    assert (result["failed"], result["reason"]) == (True, "queue")
    assert result["msg"].startswith("the queues were not empty, or not quiet for long enough, after 17 s: 'jobs': 3")
    assert [given["timeout"] for given in module.given] == [5, 5, 5, 2]
    assert len(module.lines) == 3


def test_what_fails_is_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    module = Module({"failed": True, "msg": "gone"})
    assert run(module, monkeypatch, queues=[])["msg"] == "gone"
    assert len(module.given) == 1


@pytest.mark.parametrize("timeout", ["soon", ["5"]])
def test_the_module_says_what_is_wrong_with_its_arguments(monkeypatch: pytest.MonkeyPatch, timeout: Any) -> None:
    module = Module({"failed": True, "msg": "argument"})
    assert run(module, monkeypatch, queues=[], timeout=timeout)["msg"] == "argument"
    assert module.given[0]["timeout"] == timeout


def test_check_mode_looks_once(monkeypatch: pytest.MonkeyPatch) -> None:
    module = Module({"drained": False})
    assert not run(module, monkeypatch, check_mode=True, queues=[])["drained"]
    assert len(module.given) == 1
