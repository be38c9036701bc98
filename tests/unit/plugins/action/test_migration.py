# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The migration action says who runs it, waits, and takes a dead run's lease."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any
from unittest.mock import Mock

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar
from ansible_collections.bluegreen.cutover.plugins.action import migration
from ansible_collections.bluegreen.cutover.plugins.action.migration import ActionModule, owner
from ansible_collections.bluegreen.cutover.plugins.module_utils import _process

DEAD = {**owner(), "pid": 2**22 + 1, "pid_start": 5}
OPENED = {
    "changed": True,
    "decision": {"kind": "begin"},
    "id": "x",
    "from": "blue",
    "to": "green",
    "token": 7,
    "artifacts": {},
    "earlier_hold": None,
    "served": False,
    "weight": 0,
}

Answer = Callable[[dict[str, Any]], dict[str, Any]]


def held(by: dict[str, Any], token: int = 3) -> dict[str, Any]:
    message = "shop is being migrated by alice@ops1 (pid 1) since 12:00, 3 s ago, because 'r'; its lease ends"
    return {
        "failed": True,
        "reason": "lease_held",
        "msg": message,
        "evidence": {"lease": {"owner": by, "token": token}},
    }


class Stage:
    """An action whose module is a list of answers, and a clock that only sleeping moves."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        self.shown: list[str] = []
        self.asked: list[dict[str, Any]] = []
        self.monkeypatch = monkeypatch
        monkeypatch.setattr(migration.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(migration.time, "sleep", self.sleep)
        monkeypatch.setattr(migration.Display, "display", lambda _self, text, **_more: self.shown.append(text))

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def run(self, answer: Answer, state: str = "begun", wait: int = 0, **more: Any) -> dict[str, Any]:
        def execute(
            _self: ActionModule, module_name: str, module_args: dict[str, Any], task_vars: Any
        ) -> dict[str, Any]:
            assert (module_name, task_vars) == (migration.MODULE, {})
            self.asked.append(dict(module_args))
            return answer(self.asked[-1])

        self.monkeypatch.setattr(ActionModule, "_execute_module", execute)
        arguments = {"state": state, "plan": {"lease": {"wait": wait, "ttl": 60}}, **more}
        loader = DataLoader()
        action = ActionModule(
            task=Mock(async_val=False, args=arguments, check_mode=False, diff=False),
            connection=Mock(),
            play_context=Mock(),
            loader=loader,
            templar=Templar(loader=loader, variables={}),
            shared_loader_obj=None,
        )
        return action.run(task_vars={})


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    return Stage(monkeypatch)


def test_what_a_candidate_has_shown_is_judged_before_it_is_sent(stage: Stage) -> None:
    seen = {"performance": {"solo": {"failed": True, "msg": "slower"}}}
    stage.run(lambda _asked: {"changed": True}, "probed", data={"colour": "green", "seen": seen})
    checkpoints = [{"name": "performance", "passed": False, "seen": "solo: slower"}]
    assert stage.asked[0]["data"] == {"colour": "green", "checkpoints": checkpoints}


def test_who_runs_it_is_the_parent_of_the_worker() -> None:
    me = owner()
    assert me["pid"] == os.getppid()
    assert isinstance(me["pid_start"], int)
    assert all(me[name] for name in ("user", "host", "boot_id", "pid_ns"))


def test_a_user_without_a_name_and_a_system_without_proc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SUDO_USER", raising=False)
    monkeypatch.setattr(migration.getpass, "getuser", Mock(side_effect=KeyError))
    monkeypatch.setattr(_process.Path, "read_text", Mock(side_effect=FileNotFoundError))
    monkeypatch.setattr(_process.Path, "readlink", Mock(side_effect=FileNotFoundError))
    me = owner()
    assert me["user"] == str(os.getuid())
    assert (me["boot_id"], me["pid_ns"], me["pid_start"]) == (None, None, None)


@pytest.mark.parametrize("state", ["begun", "rolling_back"])
def test_what_opens_a_migration_sets_the_fact(stage: Stage, state: str) -> None:
    result = stage.run(lambda _arguments: dict(OPENED), state)
    assert result["ansible_facts"]["cutover_run"] == {name: OPENED[name] for name in migration.RUN}
    assert stage.asked[0]["owner"] == owner()


def test_anything_else_is_passed_on(stage: Stage) -> None:
    assert "ansible_facts" not in stage.run(lambda _arguments: {"changed": True}, "finished")
    assert "owner" not in stage.asked[0]


def test_a_failure_sets_no_fact(stage: Stage) -> None:
    result = stage.run(lambda _arguments: {"failed": True, "reason": "drift", "msg": "m"})
    assert "ansible_facts" not in result


def test_a_dead_holder_is_taken_over_at_once(stage: Stage) -> None:
    result = stage.run(lambda arguments: dict(OPENED) if arguments.get("takeover") == 3 else held(DEAD))
    assert (result["token"], stage.now, len(stage.asked)) == (7, 0.0, 2)


def test_a_takeover_that_does_not_help_is_not_tried_again(stage: Stage) -> None:
    assert stage.run(lambda _arguments: held(DEAD))["reason"] == "lease_held"
    assert len(stage.asked) == 2


def test_a_living_holder_refuses_at_once_without_a_wait(stage: Stage) -> None:
    result = stage.run(lambda _arguments: held(owner()))
    assert (result["failed"], len(stage.asked), stage.shown) == (True, 1, [])


def test_a_wait_is_bounded_and_says_how_long_is_left(stage: Stage) -> None:
    result = stage.run(lambda _arguments: held(owner()), wait=25)
    assert (result["reason"], stage.now) == ("lease_held", 25)
    assert [text.rpartition("; ")[2] for text in stage.shown] == [
        "waiting for 25 s more",
        "waiting for 15 s more",
        "waiting for 5 s more",
    ]
    assert stage.shown[0].startswith("shop is being migrated by alice@ops1")


def test_a_wait_ends_with_the_lease(stage: Stage) -> None:
    result = stage.run(lambda _arguments: dict(OPENED) if stage.now >= 4 else held(owner()), wait=60)
    assert (result["token"], stage.now) == (7, 4.0)
