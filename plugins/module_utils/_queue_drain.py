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
        self.zeros = int(known.get("zeros", 0))
        self.looks = int(known.get("looks", 0))
        self.first = _depths(known.get("first"))
        self.last = _depths(known.get("last"))

    @property
    def state(self) -> dict[str, Any]:
        return {
            "zeros": self.zeros,
            "looks": self.looks,
            "first": {name: depth.as_result() for name, depth in (self.first or {}).items()},
            "last": {name: depth.as_result() for name, depth in (self.last or {}).items()},
        }

    def look(self) -> bool:
        """Look once; whether all of them are empty, and have been for long enough. Raises ``QueueError``."""
        now = {name: queue.read() for name, queue in self._queues.items()}
        self.zeros = queues.advance(self.zeros, self.last, now)
        self.looks += 1
        self.first, self.last = self.first or now, now
        return self.zeros >= queues.ZEROS

    def wait(self, seconds: float) -> bool:
        """Look until they are empty, for at most about ``seconds``; whether they are."""
        end = self._clock.monotonic() + seconds
        while not self.look():
            left = end - self._clock.monotonic()
            if left < queues.INTERVAL:
                return False
            self._clock.sleep(queues.INTERVAL)
        return True

    def describe(self) -> str:
        """Where it is, for a person."""
        return queues.describe(self.last or {}, self.first)


def _depths(known: Mapping[str, Mapping[str, Any]] | None) -> dict[str, Depth] | None:
    return {name: Depth(**depth) for name, depth in known.items()} if known else None
