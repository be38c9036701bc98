# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A proxy in front of any API server, which makes what goes wrong between a client and it.

``faults`` says what happens to a request, by its number from 1 on and what it asks for.
"""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import urllib3

from .client import Client, write_kubeconfig


@dataclass(frozen=True)
class Seen:
    """One request, as it came; ``token`` is who asked."""

    number: int
    method: str
    path: str
    token: str = ""
    body: bytes = b""

    @property
    def is_watch(self) -> bool:
        return "watch=" in self.path

    @property
    def is_dry_run(self) -> bool:
        return "dryRun" in self.path or b'"dryRun"' in self.body


@dataclass(frozen=True)
class Fault:
    """What to do instead of only handing on.

    ``delay`` waits that many seconds first. ``status`` answers so, with ``headers``, and does not ask the server.
    ``cut`` ends the connection ``before`` the server is asked, or ``after`` it has done it. ``call`` is called at that
    moment, before anything else is told to the client.
    """

    delay: float = 0.0
    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: str = ""
    call: Callable[[], None] | None = None


Faults = Callable[[Seen], "Fault | None"]


class Proxy:
    """``seen`` are all requests so far. ``faults`` may be replaced at any time."""

    def __init__(self, server: Client) -> None:
        self.server = server
        self.faults: Faults = lambda _seen: None
        self.seen: list[Seen] = []
        self.lock = threading.Lock()

    def note(self, method: str, path: str, token: str, body: bytes) -> Seen:
        with self.lock:
            seen = Seen(len(self.seen) + 1, method, path, token, body)
            self.seen.append(seen)
            return seen

    def fresh(self, faults: Faults | None = None) -> None:
        """Count from 1 again."""
        with self.lock:
            self.seen = []
        self.faults = faults or (lambda _seen: None)

    @property
    def requests(self) -> list[Seen]:
        """Without watches."""
        return [one for one in self.seen if not one.is_watch]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    disable_nagle_algorithm = True
    server: _Server

    def _hand_on(self) -> None:
        proxy = self.server.proxy
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        seen = proxy.note(self.command, self.path, token, body)
        fault = proxy.faults(seen) or Fault()
        time.sleep(fault.delay)
        if fault.call and fault.cut != "after":
            fault.call()
        if fault.cut == "before":
            self._cut()
            return
        if fault.status:
            told = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": fault.status}
            self._answer(fault.status, json.dumps({**told, "message": "made by a test"}).encode(), fault.headers)
            return
        kept = ("authorization", "content-type", "accept", "user-agent")
        headers = {name: value for name, value in self.headers.items() if name.lower() in kept}
        answer = proxy.server.raw(self.command, self.path, body or None, headers)
        if fault.cut == "after":
            answer.read()
            if fault.call:
                fault.call()
            self._cut()
        elif seen.is_watch and answer.status == 200:
            self._stream(answer)
        else:
            self._answer(answer.status, answer.read(), {})

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _hand_on  # noqa: N815

    def _answer(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        with contextlib.suppress(OSError):
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)
            self.wfile.flush()

    def _stream(self, answer: urllib3.BaseHTTPResponse) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.flush()
        with contextlib.suppress(OSError, urllib3.exceptions.HTTPError):
            for part in answer.stream(1 << 16):
                self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
                self.wfile.flush()
            self.wfile.write(b"0\r\n\r\n")
        answer.close()

    def _cut(self) -> None:
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name in the base class
        """Nobody reads it."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, proxy: Proxy, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.proxy = proxy
        if tls is not None:
            # In the thread of each connection.
            self.socket = tls.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that is gone is none."""


@contextlib.contextmanager
def proxying(kubeconfig: Path, scratch: Path) -> Iterator[tuple[Proxy, Path]]:
    """The proxy, and the kubeconfig that goes through it as the same user."""
    client = Client(kubeconfig)
    with _serving(Proxy(client), None) as (proxy, port):
        yield proxy, write_kubeconfig(scratch / "proxied.kubeconfig", f"http://127.0.0.1:{port}", client.token)


@contextlib.contextmanager
def for_pods(kubeconfig: Path, tls: ssl.SSLContext) -> Iterator[tuple[Proxy, int]]:
    """The proxy as pods reach the API, and its port: by TLS, and each as who it says it is."""
    with _serving(Proxy(Client(kubeconfig, "nobody")), tls) as found:
        yield found


@contextlib.contextmanager
def _serving(proxy: Proxy, tls: ssl.SSLContext | None) -> Iterator[tuple[Proxy, int]]:
    with _Server(proxy, tls) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield proxy, server.server_address[1]
        finally:
            server.shutdown()
            thread.join(5)
