# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A list of Redis that workers take from, and the keys in which they keep what they work at."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.bluegreen.cutover.plugins.module_utils._core.queues import Depth
from ansible_collections.bluegreen.cutover.plugins.module_utils._queues import _redis

OPTIONS: dict[str, Any] = {**_redis.OPTIONS, "processing": {"type": "list", "elements": "str"}}


class RedisList:
    """See ``Queue``. RQ is one: ``rq:queue:NAME``, and ``rq:wip:NAME`` for what is worked at (see docs/freeze.md)."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self.name = str(options["name"])
        self._processing = list(options["processing"])
        self._server = _redis.Server(options)

    def read(self) -> Depth:
        with self._server.asked() as client:
            commands: list[tuple[Any, ...]] = [("LLEN", self.name), *_redis.counting(client, self._processing)]
        (waiting, *worked_at), touched = self._server.watched([self.name], commands)
        parts = dict(zip(self._processing, map(int, worked_at)))
        return Depth(int(waiting), sum(parts.values()) if self._processing else None, touched=touched, parts=parts)
