# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The API of the cluster that a pod runs in, with the credentials of its ServiceAccount and nothing but the standard
library: what the guard has, whose image brings Python alone.
"""

from __future__ import annotations

import http.client
import select
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import ClusterError
from ansible_collections.bluegreen.cutover.plugins.module_utils._kubernetes import (
    JSON,
    Cluster,
    Connection,
    UnheardError,
)

_KEPT = 4
"""Connections that are kept for the next request."""


def connect(account: Path, environment: Mapping[str, str]) -> Cluster:
    """The cluster of the pod with this ``environment``; ``account`` is the folder with its ``token`` and the
    authority's ``ca.crt``.

    The token is read anew when the server does not take it any more: the kubelet renews it there.
    """
    return Cluster(lambda: _open(account, environment))


def _open(account: Path, environment: Mapping[str, str]) -> Connection:
    try:
        token = (account / "token").read_text(encoding="ascii").strip()
        tls = ssl.create_default_context(cafile=str(account / "ca.crt"))
        host, port = environment["KUBERNETES_SERVICE_HOST"], int(environment["KUBERNETES_SERVICE_PORT"])
    except (OSError, KeyError, ValueError) as error:
        raise ClusterError(
            f"{account} and the environment do not say how to reach the cluster of this pod: {error!r}. See that its "
            "ServiceAccount is mounted there"
        ) from error
    headers = {"accept": JSON, "user-agent": "bluegreen.cutover/guard", "authorization": f"Bearer {token}"}
    return f"https://{f'[{host}]' if ':' in host else host}:{port}", _Pool(host, port, tls), headers


class _Pool:
    """Connections to one server, as far as ``_kubernetes`` uses one of urllib3. May be used by several threads."""

    def __init__(self, host: str, port: int, tls: ssl.SSLContext) -> None:
        self._host, self._port, self._tls = host, port, tls
        self._idle: list[http.client.HTTPSConnection] = []
        self._lock = threading.Lock()

    def request(self, method: str, url: str, **options: Any) -> _Answer:
        connection = self._take(options["timeout"])
        path = url[url.index("/", len("https://")) :]
        try:
            connection.request(method, path, body=options["body"], headers=options["headers"])
            # The connection forgets it when the server says that this answer is the last one.
            line = connection.sock
            return _Answer(self, connection, line, connection.getresponse())
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise _as_os_error(error) from error

    def give_back(self, connection: http.client.HTTPSConnection) -> None:
        with self._lock:
            if connection.sock is not None and len(self._idle) < _KEPT:
                self._idle.append(connection)
                return
        connection.close()

    def _take(self, timeout: float) -> http.client.HTTPSConnection:
        while True:
            with self._lock:
                connection = self._idle.pop() if self._idle else None
            if connection is None:
                break
            # One that can be read has been closed by the server.
            if not select.select([connection.sock], [], [], 0)[0]:
                connection.sock.settimeout(timeout)
                return connection
            connection.close()
        connection = http.client.HTTPSConnection(self._host, self._port, timeout=timeout, context=self._tls)
        try:
            connection.connect()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise UnheardError(f"no connection to {self._host}:{self._port}: {error}") from error
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection


class _Answer:
    """As of urllib3, as far as it is used."""

    def __init__(
        self,
        pool: _Pool,
        connection: http.client.HTTPSConnection,
        line: socket.socket,
        answer: http.client.HTTPResponse,
    ) -> None:
        self._pool, self._connection, self._line, self._answer = pool, connection, line, answer
        self.status = answer.status
        self.headers: Mapping[str, str] = answer.headers  # type: ignore[assignment]  # has what is used of a mapping

    def read(self) -> bytes:
        try:
            return self._answer.read()
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise _as_os_error(error) from error

    def stream(self, amt: int) -> Iterator[bytes]:
        try:
            while piece := self._answer.read1(amt):
                yield piece
        except (OSError, http.client.HTTPException, ValueError) as error:
            # ValueError: another thread has closed it.
            raise _as_os_error(error) from error

    def release_conn(self) -> None:
        self._pool.give_back(self._connection)

    def shutdown(self) -> None:
        """End the reading of another thread."""
        try:
            self._line.shutdown(socket.SHUT_RDWR)
        except OSError:
            # It has ended by itself.
            return

    def close(self) -> None:
        self._answer.close()
        self._connection.close()


def _as_os_error(error: Exception) -> OSError:
    return error if isinstance(error, OSError) else OSError(f"{type(error).__name__}: {error}")
