# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Asking over HTTP: many requests at once, each with an end, none through a proxy and none redirected."""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import ProbeError
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.probes import (
    AT_ONCE,
    SAFE_METHODS,
    Answer,
    Target,
    observe,
)

#: Argument spec of one probe, but for where it asks and for what nobody may see.
PROBE_ARGUMENTS: dict[str, Any] = {
    "name": {"type": "str"},
    "method": {
        "type": "str",
        "default": "GET",
        "choices": ["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"],
    },
    "body": {"type": "raw"},
    "headers": {"type": "dict", "default": {}},
    "status": {"type": "list", "elements": "int", "default": [200]},
    "json": {"type": "dict", "default": {}},
    "budget_ms": {"type": "int", "default": 2000},
}
#: What is read of a body, in bytes.
BODY_BYTES = 1 << 20


def _end(sock: socket.socket) -> None:
    # It may have ended by itself.
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)


def ask(target: Target) -> Answer:
    """Send one request and read its answer. It ends after twice the budget, so that a late answer has its number.

    Never raises for what the network or the other side does: that is an answer too.
    """
    parts = urlsplit(target.url)
    limit = 2 * target.budget_ms / 1000
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=limit)
    began = time.monotonic()
    status = None
    location = None
    body = b""
    error = ""
    try:
        connection.connect()
        # A socket's timeout starts again with each byte; this one does not.
        timer = threading.Timer(max(0.0, limit - (time.monotonic() - began)), _end, [connection.sock])
        timer.daemon = True
        timer.start()
        try:
            path = (parts.path or "/") + ("?" + parts.query if parts.query else "")
            headers = {"User-Agent": "bluegreen.cutover", "Connection": "close", **target.headers}
            connection.request(target.method, path, body=target.body, headers=headers)
            response = connection.getresponse()
            status = response.status
            location = response.getheader("Location")
            body = response.read(BODY_BYTES + 1)
        finally:
            timer.cancel()
        if len(body) > BODY_BYTES:
            body, error = body[:BODY_BYTES], f"the body is longer than {BODY_BYTES} bytes"
        elif response.length:
            error = f"the body ends {response.length} bytes early"
    except (OSError, http.client.HTTPException, UnicodeError) as caught:
        error = f"{type(caught).__name__}: {caught}" if str(caught) else type(caught).__name__
    finally:
        connection.close()
    ms = (time.monotonic() - began) * 1000
    if error and ms >= limit * 1000:
        error = f"no whole answer in {ms:.0f} ms, the budget is {target.budget_ms} ms"
    return Answer(ms=ms, status=status, location=location, body=body, error=error)


def ask_all(targets: Sequence[Target]) -> list[Answer]:
    """Ask all ``targets`` at the same time; return their answers in the same order."""
    with ThreadPoolExecutor(max_workers=max(1, min(AT_ONCE, len(targets)))) as pool:
        return list(pool.map(ask, targets))


def probe(
    targets: Sequence[Target],
    attempts: int = 1,
    interval: float = 1.0,
    *,
    sleep: Callable[[float], None] = time.sleep,
    ask_all: Callable[[Sequence[Target]], list[Answer]] = ask_all,
) -> tuple[bool, list[dict[str, Any]]]:
    """Ask until all ``targets`` are healthy in the same round, at most ``attempts`` rounds ``interval`` seconds apart.

    Returns whether the last round was healthy, and the observations of all rounds.
    """
    seen: list[dict[str, Any]] = []
    for attempt in range(1, attempts + 1):
        if attempt > 1:
            sleep(interval)
        latest = [observe(target, answer, attempt) for target, answer in zip(targets, ask_all(targets))]
        seen += latest
        if not any(observation["mismatches"] for observation in latest):
            return True, seen
    return False, seen


def probe_in_check_mode(targets: Sequence[Target]) -> dict[str, Any]:
    """Ask once what changes nothing; return ``healthy``, ``observations``, ``skipped`` and ``would_fail``."""
    healthy, observations = probe([target for target in targets if target.method in SAFE_METHODS])
    return {
        "healthy": healthy,
        "observations": observations,
        "skipped": [f"{target.method} {target.name}" for target in targets if target.method not in SAFE_METHODS],
        "would_fail": "" if healthy else unhealthy(observations).message,
    }


def unhealthy(observations: Sequence[dict[str, Any]]) -> ProbeError:
    """Make the error for observations whose last round was not healthy."""
    rounds = observations[-1]["attempt"]
    latest = [observation for observation in observations if observation["attempt"] == rounds]
    wrong = [observation for observation in latest if observation["mismatches"]]
    told = "; ".join(f"{item['method']} {item['name']}: {', '.join(item['mismatches'])}" for item in wrong[:5])
    more = f"; and {len(wrong) - 5} more" if len(wrong) > 5 else ""
    tries = "1 try" if rounds == 1 else f"{rounds} tries"
    return ProbeError(
        f"{len(wrong)} of {len(latest)} probes are unhealthy after {tries}: {told}{more}. "
        "All observations are in the result; repair what they show, then run again.",
        {"unhealthy": wrong},
    )
