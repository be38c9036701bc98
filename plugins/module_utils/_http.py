# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Asking over HTTP: many requests at once, each with an end, none through a proxy and none redirected.

Adapters use it, too: like ``_core`` it imports nothing of what is above them.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

from ansible_collections.bluegreen.cutover.plugins.module_utils._core.probes import AT_ONCE, Answer, Target

#: What is read of a body, in bytes.
BODY_BYTES = 1 << 20


def _end(sock: socket.socket) -> None:
    # It may have ended by itself.
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)


def _connection(target: Target, timeout: float) -> http.client.HTTPConnection:
    parts = urlsplit(target.url)
    if parts.scheme != "https":
        return http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=timeout)
    tls = ssl.create_default_context(cafile=target.ca_path)
    return http.client.HTTPSConnection(parts.hostname or "", parts.port, timeout=timeout, context=tls)


def ask(target: Target) -> Answer:
    """Send one request and read its answer. It ends after twice the budget, so that a late answer has its number.

    Never raises for what the network or the other side does: that is an answer too.
    """
    parts = urlsplit(target.url)
    limit = 2 * target.budget_ms / 1000
    began = time.monotonic()
    status = None
    location = None
    body = b""
    error = ""
    try:
        with contextlib.closing(_connection(target, limit)) as connection:
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
    ms = (time.monotonic() - began) * 1000
    if error and ms >= limit * 1000:
        error = f"no whole answer in {ms:.0f} ms, the budget is {target.budget_ms} ms"
    return Answer(ms=ms, status=status, location=location, body=body, error=error)


def ask_all(targets: Sequence[Target]) -> list[Answer]:
    """Ask all ``targets`` at the same time; return their answers in the same order."""
    with ThreadPoolExecutor(max_workers=max(1, min(AT_ONCE, len(targets)))) as pool:
        return list(pool.map(ask, targets))
