# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the queues in Redis have in common: how it is reached, what is asked at one moment, and what may go wrong."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Iterator, Mapping
from typing import Any

from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import QueueError
from ansible_collections.bluegreen.cutover.plugins.module_utils._secrets import read_secret

try:
    import redis
except ImportError:
    REDIS_PROBLEM = traceback.format_exc()
else:
    REDIS_PROBLEM = ""

OPTIONS: dict[str, Any] = {
    "host": {"type": "str", "default": "127.0.0.1"},
    "port": {"type": "int"},
    "db": {"type": "int", "default": 0},
    "user": {"type": "str"},
    "password_file": {"type": "path", "no_log": False},
}
PORT = 6379
ANSWER = 3.0
"""Seconds for an answer."""

_COUNTS = {"list": "llen", "hash": "hlen", "set": "scard", "zset": "zcard", "none": ""}


class Server:
    """Redis, asked again and again by one client, until the process ends."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._options = options
        self._client: Any = None
        self._watch: Any = None

    @contextlib.contextmanager
    def asked(self) -> Iterator[Any]:
        """The client; what goes wrong in the block is a ``QueueError``."""
        if REDIS_PROBLEM:
            raise QueueError("redis is missing on this host; install python3-redis, and run again")
        options = self._options
        port = options.get("port") or PORT
        if self._client is None:
            self._client = redis.Redis(
                host=options["host"],
                port=port,
                db=options["db"],
                username=options.get("user"),
                password=read_secret(options.get("password_file"), "password of Redis", QueueError),
                socket_timeout=ANSWER,
                socket_connect_timeout=ANSWER,
            )
        try:
            yield self._client
        except redis.RedisError as error:
            said = " ".join(str(error).split()) or type(error).__name__
            raise QueueError(
                f"Redis at {options['host']}:{port}/{options['db']}: {said}. See that it runs there, and that this "
                "user may read and watch these keys; then run again"
            ) from error

    def watched(self, keys: list[str], commands: list[tuple[Any, ...]]) -> tuple[list[Any], bool]:
        """What ``at_once`` answers, and whether one of ``keys`` was touched since the call before.

        From one call to the next the server watches the keys (WATCH), on a connection that stays open; one that broke
        has seen nothing, and they count as touched. The next watch begins before this one ends: no moment is unseen.
        """
        with self.asked() as client:
            watch = client.pipeline()
            watch.watch(*keys)
            before, self._watch = self._watch, watch
            try:
                return _together(client.pipeline() if before is None else before, commands), False
            except redis.WatchError:
                return at_once(client, commands), True


def at_once(client: Any, commands: list[tuple[Any, ...]]) -> list[Any]:
    """The answers to all ``commands``, at one moment: what moves from one key to another is in one of them."""
    return _together(client.pipeline(), commands)


def _together(pipeline: Any, commands: list[tuple[Any, ...]]) -> list[Any]:
    pipeline.multi()
    for command in commands:
        pipeline.execute_command(*command)
    return list(pipeline.execute())


def counting(client: Any, keys: list[str]) -> list[tuple[str, str]]:
    """Per key the command that counts what it holds; a key that is not there yet counts as a list does."""
    commands = []
    for key in keys:
        kind = client.type(key)
        kind = kind.decode() if isinstance(kind, bytes) else str(kind)
        if kind not in _COUNTS:
            raise QueueError(f"the key {key!r} is a {kind}: what it holds is no jobs. Correct cutover_queues")
        commands.append(((_COUNTS[kind] or "llen").upper(), key))
    return commands
