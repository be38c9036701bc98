# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A stream of Redis, and the consumer groups that have to have read and acknowledged all of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import QueueError
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.queues import Depth
from ansible_collections.bluegreen.cutover.plugins.module_utils._queues import _redis

OPTIONS: dict[str, Any] = {**_redis.OPTIONS, "groups": {"type": "list", "elements": "str"}}

MOST = 100
"""Entries that are counted one by one where the server does not know a group's lag; more are told as so many."""


class RedisStream:
    """See ``Queue``. Sources: XINFO of Redis 7; 6.2 is the oldest that has what is asked for."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self.name = str(options["name"])
        self.options = options
        self._server = _redis.Server(options)

    def read(self) -> Depth:
        with self._server.asked() as client:
            if not client.exists(self.name):
                raise QueueError(f"Redis has no stream {self.name!r}. Correct cutover_queues, or create it")
            kind = client.type(self.name)
            if kind not in (b"stream", "stream"):
                raise QueueError(f"the key {self.name!r} is no stream. Correct cutover_queues")
            length, about, groups = _redis.at_once(
                client, [("XLEN", self.name), ("XINFO STREAM", self.name), ("XINFO GROUPS", self.name)]
            )
            found = {_text(group["name"]): group for group in groups}
            wanted = self.options.get("groups") or sorted(found)
            missing = sorted(set(wanted) - set(found))
            if missing:
                known = ", ".join(map(repr, sorted(found))) or "none"
                raise QueueError(f"the stream {self.name!r} has no group {missing[0]!r}; it has {known}")
            lags = {name: self._lag(client, found[name]) for name in wanted}
        pending = {name: int(found[name]["pending"]) for name in wanted}
        parts = {f"{name}: lag": lag for name, lag in lags.items()}
        parts.update({f"{name}: pending": count for name, count in pending.items()})
        added = about.get("entries-added")
        # Each group has work of its own. Without one nobody reads what is there.
        return Depth(
            waiting=sum(lags.values()) if lags else int(length),
            in_flight=sum(pending.values()),
            moves=None if added is None else int(added),
            unwatched="Redis before 7 does not count what is added to a stream" if added is None else "",
            parts=parts,
        )

    def _lag(self, client: Any, group: Mapping[str, Any]) -> int:
        """How many entries the group has not been given; the server does not know it after XDEL, nor before Redis 7."""
        if group.get("lag") is not None:
            return int(group["lag"])
        return len(client.xrange(self.name, min=f"({_text(group['last-delivered-id'])}", count=MOST))


def _text(value: Any) -> str:
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else str(value)
