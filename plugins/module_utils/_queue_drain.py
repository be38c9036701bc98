# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Waiting until queues are empty: looked at all together, because what one worker ends another may begin with."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible_collections.bluegreen.cutover.plugins.module_utils._core import queues
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.queues import Depth
from ansible_collections.bluegreen.cutover.plugins.module_utils._queues import (
    Queue,
    celery,
    rabbitmq,
    redis_list,
    redis_stream,
)
from ansible_collections.bluegreen.cutover.plugins.module_utils._stores.files import Clock

PROVIDERS: dict[str, Callable[[Mapping[str, Any]], Queue]] = {
    "redis_list": redis_list.RedisList,
    "redis_stream": redis_stream.RedisStream,
    "celery": celery.Celery,
    "rabbitmq": rabbitmq.RabbitMQ,
}


def make_queues(given: Sequence[Mapping[str, Any]]) -> dict[str, Queue]:
    """The queues by name; of the same name, the next ones bear a number, too."""
    made: dict[str, Queue] = {}
    for options in given:
        queue = PROVIDERS[options["provider"]](options)
        made[queue.name if queue.name not in made else f"{queue.name} ({len(made) + 1})"] = queue
    return made


class Drain:
    """A wait that can be gone on with: ``state`` is what it has come to, of plain JSON types."""

    def __init__(
        self, given: Sequence[Mapping[str, Any]], state: Mapping[str, Any] | None, clock: Clock = time
    ) -> None:
        self._queues = make_queues(given)
        self._clock = clock
        known = state or {}
        # Not gone on with: what moves between two calls is not seen by all.
        self.zeros = 0
        self.looks = int(known.get("looks", 0))
        self.last = {name: Depth(**depth) for name, depth in known.get("last", {}).items()}
        # By the host's clock since it was booted, which is the same one in the next call.
        self._moved: dict[str, float] = dict(known.get("moved", {}))

    @property
    def state(self) -> dict[str, Any]:
        return {
            "looks": self.looks,
            "last": {name: depth.as_result() for name, depth in self.last.items()},
            "moved": self._moved,
        }

    def look(self) -> bool:
        """Look once; whether all of them are empty, and have been for long enough. Raises ``QueueError``."""
        at = self._clock.monotonic()
        now = {name: queue.read() for name, queue in self._queues.items()}
        self.zeros = queues.advance(self.zeros, self.last, now)
        self._moved = {**dict.fromkeys(now, at), **self._moved, **dict.fromkeys(queues.moved(self.last, now), at)}
        self.looks += 1
        self.last = now
        return self.zeros >= queues.ZEROS and queues.are_quiet(now, self._quiet(at))

    def wait(self, seconds: float) -> bool:
        """Look until they are empty; whether they are. It takes about ``seconds`` at most, and longer by the looks
        that have to follow one which has just found nothing.
        """
        end = self._clock.monotonic() + seconds
        while True:
            before = self.zeros
            if self.look():
                return True
            begun = before < self.zeros < queues.ZEROS
            if not begun and end - self._clock.monotonic() < queues.INTERVAL:
                return False
            self._clock.sleep(queues.INTERVAL)

    def describe(self) -> str:
        """Where it is, for a person."""
        return queues.describe(self.last, self._quiet(self._clock.monotonic()))

    def _quiet(self, at: float) -> dict[str, float]:
        """For how many seconds nothing was seen to move in each."""
        return {name: at - since for name, since in self._moved.items()}
