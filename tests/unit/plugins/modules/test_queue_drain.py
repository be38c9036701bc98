# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module queue_drain: what it asks for, and what it returns."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from ansible_collections.bluegreen.cutover.plugins.module_utils import _queue_drain
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import QueueError
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.queues import Depth
from ansible_collections.bluegreen.cutover.plugins.modules import queue_drain

RunModule = Callable[..., dict[str, Any]]
JOBS = {"provider": "redis_list", "name": "jobs", "processing": []}


class Line:
    """A queue that holds what the test says."""

    depth: Any = Depth(0, 0)

    def __init__(self, options: dict[str, Any]) -> None:
        self.name = options["name"]

    def read(self) -> Depth:
        if isinstance(self.depth, Exception):
            raise self.depth
        found: Depth = self.depth
        return found


@pytest.fixture(name="line")
def _line(monkeypatch: pytest.MonkeyPatch) -> type[Line]:
    monkeypatch.setattr(_queue_drain, "PROVIDERS", {"redis_list": Line})
    monkeypatch.setattr(Line, "depth", Depth(0, 0))
    monkeypatch.setattr(time, "sleep", lambda _seconds: None)
    return Line


@pytest.mark.usefixtures("line")
def test_check_mode_looks_once(run_module: RunModule) -> None:
    result = run_module(queue_drain, check_mode=True, queues=[JOBS])
    assert (result["drained"], result["looks"], result["changed"]) == (True, 1, False)
    assert result["depths"]["jobs"]["waiting"] == 0


def test_what_is_left_is_returned_for_the_next_call(run_module: RunModule, line: type[Line]) -> None:
    line.depth = Depth(2, 1)
    first = run_module(queue_drain, queues=[JOBS], timeout=0)
    assert (first["rc"], first["drained"], first["looks"]) == (0, False, 1)
    line.depth = Depth(0, 0)
    then = run_module(queue_drain, queues=[JOBS], timeout=0, state=first["state"])
    assert (then["drained"], then["looks"]) == (True, 4)


def test_who_was_not_watched_is_told_with_the_end(
    run_module: RunModule, line: type[Line], monkeypatch: pytest.MonkeyPatch
) -> None:
    warned: list[str] = []
    monkeypatch.setattr(queue_drain.AnsibleModule, "warn", lambda _module, said: warned.append(said))
    line.depth = Depth(1, 0, unwatched="it does not count")
    waits = run_module(queue_drain, queues=[JOBS], timeout=0)
    assert not warned
    assert "its producers are not watched (it does not count)" in waits["described"]
    line.depth = Depth(0, 0, unwatched="it does not count")
    for given in ({"state": waits["state"], "timeout": 0}, {"check_mode": True}):
        result = run_module(queue_drain, queues=[JOBS], **given)
        assert result["depths"]["jobs"]["unwatched"] == "it does not count"
        assert warned.pop() == "the producers of the queue 'jobs' were not watched: it does not count"


def test_what_was_there_last_is_told_when_it_cannot_be_read_any_more(run_module: RunModule, line: type[Line]) -> None:
    line.depth = Depth(2, 1)
    first = run_module(queue_drain, queues=[JOBS], timeout=0)
    line.depth = QueueError("gone")
    result = run_module(queue_drain, queues=[JOBS], timeout=0, state=first["state"])
    assert (result["reason"], result["msg"]) == ("queue", "gone")
    assert result["described"].startswith("'jobs': 2 waiting, 1 in flight, quiet for ")


@pytest.mark.parametrize(
    ("queue", "said"),
    [
        ({"provider": "redis_list", "name": "jobs"}, "all of the following are missing: processing"),
        ({"provider": "kafka", "name": "jobs"}, "value of provider must be one of"),
        ({"provider": "celery"}, "missing required arguments: name"),
    ],
)
def test_what_is_missing_is_told(run_module: RunModule, queue: dict[str, Any], said: str) -> None:
    result = run_module(queue_drain, queues=[queue])
    assert (result["rc"], said in result["msg"]) == (1, True)
