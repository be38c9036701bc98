# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A queue of RabbitMQ, by the management API, which counts at once when it is told not to use its statistics.

Who adds to it is in these statistics only, and some seconds later. What a worker has acknowledged before it is done, as
Celery's do by default, is in none of it.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import quote

from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import QueueError
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.probes import Answer, Target, api_address
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.queues import Depth
from ansible_collections.bluegreen.cutover.plugins.module_utils._http import ask as ask_http
from ansible_collections.bluegreen.cutover.plugins.module_utils._secrets import read_secret

OPTIONS: dict[str, Any] = {
    "url": {"type": "str", "default": "http://127.0.0.1:15672"},
    "vhost": {"type": "str", "default": "/"},
    "ca_path": {"type": "path"},
    "user": {"type": "str"},
    "password_file": {"type": "path", "no_log": False},
}
USER = "guest"
ANSWER_MS = 3000
PAGE = 500
"""Queues in one answer, as many as the API gives."""
LATE = 11.0
"""Seconds after which the statistics have what was added: twice the 5 s between two collections of what its channels
count (``sample_retention_policies.detailed``; not ``collect_statistics_interval``), and one more.
"""
_TOTALS = "disable_stats=true&enable_queue_totals=true&columns=name,messages_ready,messages_unacknowledged"
_COUNTS = "columns=name,message_stats.publish,message_stats.deliver_get"
_SAID = {
    401: "the user or the password is not right",
    403: "this user may not see that; it needs the tag 'management' and the rights of the virtual host",
    404: "there is no such virtual host or queue, or this is not the management API",
}


class RabbitMQ:
    """See ``Queue``. Needs RabbitMQ 3.9, which is the first that counts without its statistics."""

    def __init__(self, options: Mapping[str, Any], ask: Callable[[Target], Answer] = ask_http) -> None:
        self.name = str(options["name"])
        self.options = options
        what = f"the url of the queue {self.name!r}"
        self._url = api_address(options["url"], what, OPTIONS["url"]["default"], "user and password_file")
        self._path = f"queues/{quote(options['vhost'], safe='')}"
        self._ask = ask

    def read(self) -> Depth:
        for queue in self._queues():
            if queue.get("name") == self.name:
                return self._depth(queue)
        raise QueueError(
            f"RabbitMQ at {self._url} has no queue {self.name!r} in the virtual host "
            f"{self.options['vhost']!r}. Correct cutover_queues"
        )

    def _queues(self) -> Iterator[Mapping[str, Any]]:
        """All whose name has ours in it: the API of one queue does not count at once."""
        page, pages = 0, 1
        while page < pages:
            page += 1
            answer = self._get(self._path, f"{_TOTALS}&page={page}&page_size={PAGE}&name={quote(self.name, safe='')}")
            pages = int(answer.get("page_count") or 1)
            yield from answer.get("items") or []

    def _depth(self, queue: Mapping[str, Any]) -> Depth:
        ready, unacked = queue.get("messages_ready"), queue.get("messages_unacknowledged")
        if not isinstance(ready, int) or not isinstance(unacked, int):
            return Depth(0, 0, unknown="RabbitMQ does not say how many messages it holds (is its node down?)")
        moves = self._moves()
        return Depth(
            ready,
            unacked,
            moves=moves,
            late=0.0 if moves is None else LATE,
            unwatched="RabbitMQ keeps no statistics" if moves is None else "",
            parts={"ready": ready, "unacknowledged": unacked},
        )

    def _moves(self) -> int | None:
        """How many messages were published to it and delivered; None where no statistics are kept.

        Deliveries, too, because what another queue dead-letters into it was published by nobody.
        """
        counts = self._get(f"{self._path}/{quote(self.name, safe='')}", _COUNTS).get("message_stats")
        if counts is None:
            # It has had no message yet, or nobody counts.
            about = self._get("overview", "columns=rates_mode,disable_stats")
            return None if about.get("disable_stats") or about.get("rates_mode") == "none" else 0
        return int(counts.get("publish") or 0) + int(counts.get("deliver_get") or 0)

    def _get(self, path: str, query: str) -> Mapping[str, Any]:
        base = f"{self._url}/api/{path}"
        user = self.options.get("user") or USER
        secret = read_secret(self.options.get("password_file"), "password of RabbitMQ", QueueError) or USER
        credentials = base64.b64encode(f"{user}:{secret}".encode()).decode()
        answer = self._ask(
            Target(
                url=f"{base}?{query}",
                headers={"Authorization": f"Basic {credentials}"},
                budget_ms=ANSWER_MS,
                ca_path=self.options.get("ca_path"),
            )
        )
        if answer.error or answer.status != 200:
            said = answer.error or _SAID.get(answer.status or 0) or "that is no answer"
            raise QueueError(
                f"{base} answers with status {answer.status}: {said}. See that RabbitMQ's management API is there, "
                "and run again"
            )
        try:
            document = json.loads(answer.body)
        except ValueError:
            document = None
        if not isinstance(document, dict):
            raise QueueError(f"{base} does not answer as the management API of RabbitMQ does; 3.9 or newer is needed")
        return document
