# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Waiting for queues: all at once, for so many looks, and gone on with by the next call."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible_collections.bluegreen.cutover.plugins.module_utils import _queue_drain
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import QueueError
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.queues import Depth
from ansible_collections.bluegreen.cutover.plugins.module_utils._queue_drain import Drain, make_queues


class Watch:
    def __init__(self) -> None:
        self.now = 0.0

    def time(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class Scripted:
    """Has one depth after the other, and then the last for ever."""

    def __init__(self, options: dict[str, Any]) -> None:
        self.name = options["name"]
        self._depths = options["depths"]

    def read(self) -> Depth:
        depth = self._depths.pop(0) if len(self._depths) > 1 else self._depths[0]
        if isinstance(depth, Exception):
            raise depth
        return Depth(*depth) if isinstance(depth, tuple) else depth


@pytest.fixture(autouse=True)
def _scripted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_queue_drain, "PROVIDERS", {"script": Scripted, "other": Scripted})


def script(*depths: Any, name: str = "jobs", provider: str = "script") -> dict[str, Any]:
    return {"provider": provider, "name": name, "depths": list(depths)}


def test_it_is_drained_after_three_looks_that_find_nothing() -> None:
    drain = Drain([script((2, 1), (0, 1), (0, 0))], None, Watch())
    assert drain.wait(60)
    assert drain.looks == 5
    assert drain.describe() == "'jobs': 0 waiting, 0 in flight, quiet for 4 s"


def test_queues_have_to_be_empty_together() -> None:
    one = script((0, 0), (0, 0), (1, 0), (0, 0))
    other = script((0, 0), (0, 0), (0, 0), (0, 0), (0, 1), (0, 0), name="mails")
    drain = Drain([one, other], None, Watch())
    assert drain.wait(60)
    assert drain.looks == 8


def test_the_wait_has_an_end_and_can_be_gone_on_with() -> None:
    clock = Watch()
    queues = [script((0, 3), (0, 3), (0, 0), (0, 1), (0, 0))]
    first = Drain(queues, None, clock)
    assert not first.wait(1.5)
    assert (first.looks, clock.now) == (2, 1)
    then = Drain(queues, json.loads(json.dumps(first.state)), clock)
    assert then.describe() == "'jobs': 0 waiting, 3 in flight, quiet for 1 s"
    assert then.wait(10)
    assert then.looks == 7


def test_a_look_that_finds_nothing_is_followed_by_the_others_even_when_the_time_is_over() -> None:
    clock = Watch()
    assert Drain([script((0, 3), (0, 0))], None, clock).wait(1.5)
    assert clock.now == 3
    # What moves meanwhile ends it, and nothing of it counts for the next call, in which nobody has watched yet.
    moving = Depth(0, 0, touched=True)
    queues = [script((0, 3), (0, 0), (0, 0), moving, (0, 0))]
    first = Drain(queues, None, clock)
    assert not first.wait(1)
    assert (first.looks, first.zeros) == (4, 1)
    then = Drain(queues, first.state, clock)
    assert then.wait(10)
    assert then.looks == 7


@pytest.mark.parametrize(
    "moving",
    [[Depth(0, 0, moves=moves) for moves in range(50)], [Depth(0, 0, touched=True)]],
    ids=["counted", "touched"],
)
def test_who_adds_all_the_time_keeps_it_from_being_drained(moving: list[Depth]) -> None:
    drain = Drain([script(*moving)], None, Watch())
    assert not drain.wait(20)
    assert drain.describe() == "'jobs': 0 waiting, 0 in flight, quiet for 0 s"


def test_what_a_server_tells_late_is_waited_for_across_calls() -> None:
    clock = Watch()
    queues = [script(*(Depth(0, 0, moves=moves, late=11) for moves in (7, 7, 8))), script((0, 0), name="mails")]
    state: dict[str, Any] | None = None
    for _call in range(3):
        drain = Drain(queues, state, clock)
        assert not drain.wait(3)
        state = drain.state
    assert "'jobs': 0 waiting, 0 in flight, quiet for 8 s of 11" in drain.describe()
    assert Drain(queues, state, clock).wait(30)
    assert clock.now == 13


def test_a_queue_that_cannot_be_read_ends_it() -> None:
    drain = Drain([script((5, 0), QueueError("gone"))], None, Watch())
    with pytest.raises(QueueError, match="gone"):
        drain.wait(20)
    # What was there last is still known.
    assert drain.describe() == "'jobs': 5 waiting, 0 in flight, quiet for 1 s"


def test_two_queues_of_one_name_are_told_apart() -> None:
    made = make_queues([script((0, 0)), script((0, 0), provider="other"), script((0, 0))])
    assert list(made) == ["jobs", "jobs (2)", "jobs (3)"]
