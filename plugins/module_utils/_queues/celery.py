# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Celery with Redis as its broker: a list per priority, what workers have not acknowledged, and what they work at.

By default a worker acknowledges a task when it begins with it (``acks_late`` is off): from then on it is in no key of
Redis. So once these are empty, the workers are asked, by Celery's own remote control.
"""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import QueueError
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.queues import Depth
from ansible_collections.bluegreen.cutover.plugins.module_utils._queues import _redis
from ansible_collections.bluegreen.cutover.plugins.module_utils._secrets import read_secret

try:
    import celery
except ImportError:
    CELERY_PROBLEM = traceback.format_exc()
else:
    CELERY_PROBLEM = ""

OPTIONS: dict[str, Any] = {
    **_redis.OPTIONS,
    "priorities": {"type": "list", "elements": "int", "default": [3, 6, 9]},
    "prefix": {"type": "str", "default": ""},
    "ask_workers": {"type": "bool", "default": True},
}
ANSWER = 2.0
"""Seconds that workers have to tell what they do."""
SEPARATOR = "\x06\x16"
"""Between a queue's name and a priority, and in what is bound. Source: kombu 5.2, ``transport/redis.py``."""
UNACKED = "unacked"
BOUND = "_kombu.binding.celery.pidbox"
_BOX = ".celery.pidbox"


class Celery:
    """See ``Queue``. What is not acknowledged, and what workers do, is of all queues of that broker together."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self.name = str(options["name"])
        self.options = options
        self._server = _redis.Server(options)

    def read(self) -> Depth:
        prefix = self.options["prefix"]
        lists = [
            self.name,
            *(f"{self.name}{SEPARATOR}{priority}" for priority in self.options["priorities"] if priority),
        ]
        keys = [prefix + key for key in lists]
        (*lengths, unacked, bound), touched = self._server.watched(
            keys, [*(("LLEN", key) for key in keys), ("HLEN", prefix + UNACKED), ("SMEMBERS", prefix + BOUND)]
        )
        parts = {key.replace(SEPARATOR, " priority "): int(length) for key, length in zip(lists, lengths)}
        parts["unacked"] = int(unacked)
        waiting, in_flight, unknown = sum(map(int, lengths)), int(unacked), ""
        if self.options["ask_workers"] and not waiting and not in_flight:
            in_flight, unknown = self._active(_workers(bound))
            parts["active"] = in_flight
        return Depth(waiting, in_flight, touched=touched, parts=parts, unknown=unknown)

    def _active(self, workers: set[str]) -> tuple[int, str]:
        """How many tasks the workers are at, and who of them does not say."""
        if not workers:
            return 0, ""
        if CELERY_PROBLEM:
            raise QueueError(
                "celery is missing on this host, and without it its workers cannot be asked; install python3-celery. "
                "Where all tasks are acknowledged late, ask_workers: false needs none"
            )
        # Not a worker: no module of the application is needed.
        app = celery.Celery(broker=self._url(), set_as_current=False)
        app.conf.broker_transport_options = {
            "global_keyprefix": self.options["prefix"],
            "socket_timeout": _redis.ANSWER,
            "socket_connect_timeout": _redis.ANSWER,
        }
        try:
            told = app.control.inspect(timeout=ANSWER, limit=len(workers)).active() or {}
        except Exception as error:  # of kombu or of redis, whatever they make of it
            said = f"{type(error).__name__}: {error}"
            raise QueueError(f"the workers of {self.name!r} cannot be asked: {said}") from error
        finally:
            app.close()
        silent = ", ".join(sorted(workers - set(told)))
        why = (
            f"{silent} does not say what it does (where it was killed and will not come back, remove its entry from "
            f"the set {BOUND})"
        )
        return sum(len(tasks) for tasks in told.values()), why if silent else ""

    def _url(self) -> str:
        user = self.options.get("user") or ""
        password = read_secret(self.options.get("password_file"), "password of Redis", QueueError) or ""
        whose = f"{quote(user, safe='')}:{quote(password, safe='')}@" if user or password else ""
        port = self.options.get("port") or _redis.PORT
        return f"redis://{whose}{self.options['host']}:{port}/{self.options['db']}"


def _workers(bound: Any) -> set[str]:
    """The names of the workers that listen to the remote control; each is bound until it ends, unless it is killed."""
    queues = [
        entry.decode("utf-8", "replace").rpartition(SEPARATOR)[2] if isinstance(entry, bytes) else str(entry)
        for entry in bound
    ]
    return {name[: -len(_BOX)] for name in queues if name.endswith(_BOX)}
