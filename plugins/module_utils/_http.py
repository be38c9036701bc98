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
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from urllib.parse import urlsplit

from ansible_collections.bluegreen.cutover.plugins.module_utils._core.probes import AT_ONCE, Answer, Target

#: What is read of a body, in bytes.
BODY_BYTES = 1 << 20
#: What is held of a body that is not, in bytes.
PIECE_BYTES = 1 << 18


@dataclass(frozen=True)
class Body:
    """What a request sends without holding it whole: ``size`` bytes, in pieces."""

    size: int
    pieces: Iterable[bytes]


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


def _path(target: Target) -> str:
    parts = urlsplit(target.url)
    return (parts.path or "/") + ("?" + parts.query if parts.query else "")


def _headers(target: Target) -> dict[str, str]:
    return {"User-Agent": "bluegreen.cutover", "Connection": "close", **target.headers}


def _told(caught: Exception) -> str:
    return f"{type(caught).__name__}: {caught}" if str(caught) else type(caught).__name__


def ask(target: Target) -> Answer:
    """Send one request and read its answer. It ends after twice the budget, so that a late answer has its number.

    Never raises for what the network or the other side does: that is an answer too.
    """
    limit = 2 * target.budget_ms / 1000
    began = time.monotonic()
    status = None
    location = None
    body = b""
    error = ""
    headers: dict[str, str] = {}
    try:
        with contextlib.closing(_connection(target, limit)) as connection:
            connection.connect()
            # A socket's timeout starts again with each byte; this one does not.
            timer = threading.Timer(max(0.0, limit - (time.monotonic() - began)), _end, [connection.sock])
            timer.daemon = True
            timer.start()
            try:
                connection.request(target.method, _path(target), body=target.body, headers=_headers(target))
                response = connection.getresponse()
                status = response.status
                location = response.getheader("Location")
                headers = {name.lower(): value for name, value in response.getheaders()}
                body = response.read(BODY_BYTES + 1)
            finally:
                timer.cancel()
        if len(body) > BODY_BYTES:
            body, error = body[:BODY_BYTES], f"the body is longer than {BODY_BYTES} bytes"
        elif response.length:
            error = f"the body ends {response.length} bytes early"
    except (OSError, http.client.HTTPException, UnicodeError) as caught:
        error = _told(caught)
    ms = (time.monotonic() - began) * 1000
    if error and ms >= limit * 1000:
        error = f"no whole answer in {ms:.0f} ms, the budget is {target.budget_ms} ms"
    return Answer(ms=ms, status=status, location=location, body=body, error=error, headers=headers)


def transfer(
    target: Target, silence: float, body: Body | None = None, write: Callable[[bytes], object] | None = None
) -> Answer:
    """Send one request, and read its answer, when one of the two is too large to be held.

    It may take any time, and be silent for ``silence`` seconds. ``write`` gets the body of an answer with a status that
    the target expects; any other one is in the Answer. An OSError of ``write`` or of the pieces is taken for one of the
    network, whatever else they raise is raised.
    """
    began = time.monotonic()
    status = None
    said = b""
    error = ""
    headers = _headers(target) if body is None else {**_headers(target), "Content-Length": str(body.size)}
    try:
        with contextlib.closing(_connection(target, silence)) as connection:
            # Who refuses a long body may answer and hang up before its end.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.request(target.method, _path(target), body=body.pieces if body else None, headers=headers)
            response = connection.getresponse()
            status = response.status
            if write and status in target.status:
                while piece := response.read(PIECE_BYTES):
                    write(piece)
                if response.length:
                    error = f"the body ends {response.length} bytes early"
            else:
                said = response.read(BODY_BYTES)
    except (OSError, http.client.HTTPException) as caught:
        error = _told(caught)
    return Answer(ms=(time.monotonic() - began) * 1000, status=status, body=said, error=error)


def ask_all(targets: Sequence[Target]) -> list[Answer]:
    """Ask all ``targets`` at the same time; return their answers in the same order."""
    with ThreadPoolExecutor(max_workers=max(1, min(AT_ONCE, len(targets)))) as pool:
        return list(pool.map(ask, targets))
