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


@contextlib.contextmanager
def opened(options: Mapping[str, Any]) -> Iterator[Any]:
    """A client of the server, for as long as the block lasts; what goes wrong in it is a ``QueueError``."""
    if REDIS_PROBLEM:
        raise QueueError("redis is missing on this host; install python3-redis, and run again")
    port = options.get("port") or PORT
    client = redis.Redis(
        host=options["host"],
        port=port,
        db=options["db"],
        username=options.get("user"),
        password=read_secret(options.get("password_file"), "password of Redis", QueueError),
        socket_timeout=ANSWER,
        socket_connect_timeout=ANSWER,
    )
    try:
        yield client
    except redis.RedisError as error:
        said = " ".join(str(error).split()) or type(error).__name__
        raise QueueError(
            f"Redis at {options['host']}:{port}/{options['db']}: {said}. See that it runs there, and that this user "
            "may read these keys; then run again"
        ) from error
    finally:
        client.close()


def at_once(client: Any, commands: list[tuple[Any, ...]]) -> list[Any]:
    """The answers to all ``commands``, at one moment: what moves from one key to another is in one of them."""
    pipeline = client.pipeline(transaction=True)
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
