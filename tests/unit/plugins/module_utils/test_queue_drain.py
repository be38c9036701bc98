# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Waiting for queues: all at once, for so many looks, and gone on with by the next call."""

from __future__ import annotations

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
        return Depth(*depth)


@pytest.fixture(autouse=True)
def _scripted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_queue_drain, "PROVIDERS", {"script": Scripted, "other": Scripted})


def script(*depths: Any, name: str = "jobs", provider: str = "script") -> dict[str, Any]:
    return {"provider": provider, "name": name, "depths": list(depths)}


def test_it_is_drained_after_three_looks_that_find_nothing() -> None:
    drain = Drain([script((2, 1), (0, 1), (0, 0))], None, Watch())
    assert drain.wait(60)
    assert drain.looks == 5
    assert drain.describe() == "'jobs': 0 waiting, 0 in flight"


def test_queues_have_to_be_empty_together() -> None:
    one = script((0, 0), (0, 0), (1, 0), (0, 0))
    other = script((0, 0), (0, 0), (0, 0), (0, 0), (0, 1), (0, 0), name="mails")
    drain = Drain([one, other], None, Watch())
    assert drain.wait(60)
    assert drain.looks == 8


def test_the_wait_has_an_end_and_can_be_gone_on_with() -> None:
    clock = Watch()
    queues = [script((0, 3), (0, 0))]
    first = Drain(queues, None, clock)
    assert not first.wait(1.5)
    assert clock.now == 1
    assert (first.looks, first.zeros) == (2, 1)
    then = Drain(queues, first.state, clock)
    assert then.wait(10)
    assert then.looks == 4
    assert then.first == {"jobs": Depth(0, 3)}


def test_who_adds_all_the_time_keeps_it_from_being_drained() -> None:
    drain = Drain([script(*((0, 0, added) for added in range(50)))], None, Watch())
    assert not drain.wait(20)
    assert "added meanwhile" in drain.describe()


def test_a_queue_that_cannot_be_read_ends_it() -> None:
    drain = Drain([script((5, 0), QueueError("gone"))], None, Watch())
    with pytest.raises(QueueError, match="gone"):
        drain.wait(20)
    # What was there last is still known.
    assert drain.describe() == "'jobs': 5 waiting, 0 in flight"


def test_two_queues_of_one_name_are_told_apart() -> None:
    made = make_queues([script((0, 0)), script((0, 0), provider="other"), script((0, 0))])
    assert list(made) == ["jobs", "jobs (2)", "jobs (3)"]
