# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real Prometheus on loopback, targets that do what a test says, and a proxy that breaks answers.

Its programs are those in the lab's image: Debian's package would start a service on this machine.
"""

from __future__ import annotations

import contextlib
import json
import random
import socket
import ssl
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from ansible_collections.bluegreen.cutover.plugins.module_utils._core.circuit import Circuit
from ansible_collections.bluegreen.cutover.plugins.module_utils._prometheus import (
    Prometheus,
    SourceDownError,
    connection_of,
)
from labkit import image

SCRAPE = 1.0
SLOTS = 40


def program(name: str) -> str:
    """Where a program of the lab's image is, which is built if need be: prometheus, promtool."""
    return str(image.ensure() / "usr" / "bin" / name)


def free_port() -> int:
    """A port that nobody has at the moment, and that no outgoing connection gets: those are given higher ones."""
    while True:
        port = random.randrange(20_000, 32_000)  # noqa: S311 - no secret
        with socket.socket() as s, contextlib.suppress(OSError):
            s.bind(("127.0.0.1", port))
            return port


def _serve(handler: type[BaseHTTPRequestHandler], tls: ssl.SSLContext | None = None) -> ThreadingHTTPServer:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    if tls:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    return server


@dataclass
class Target:
    """One scraped process: counters that grow with time, at rates (1/s) that a test may change."""

    slot: str
    rates: dict[str, float] = field(default_factory=dict)
    extra: dict[str, Callable[[], str]] = field(default_factory=dict)
    alive: bool = True
    _counts: dict[str, float] = field(default_factory=dict)
    _at: float = field(default_factory=time.monotonic)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def set(self, **rates: float) -> None:
        """``ok=50, bad=2``: requests a second by code; ``None`` is not a rate, a missing one is a missing series."""
        with self._lock:
            self._advance()
            self.rates = dict(rates)

    def add(self, code: str, count: float) -> None:
        """A burst, now."""
        with self._lock:
            self._advance()
            self._counts[code] = self._counts.get(code, 0.0) + count

    def restart(self) -> None:
        """Counters from 0; series of codes that do not occur any more are gone."""
        with self._lock:
            self._counts, self._at = {}, time.monotonic()

    def _advance(self) -> None:
        now = time.monotonic()
        for code, rate in self.rates.items():
            if rate > 0 or code in self._counts:
                self._counts[code] = self._counts.get(code, 0.0) + rate * (now - self._at)
        self._at = now

    def text(self) -> str:
        """In the exposition format. Codes ``ok`` and ``bad`` are 200 and 500."""
        with self._lock:
            self._advance()
            names = {"ok": "200", "bad": "500"}
            lines = [
                f'requests_total{{code="{names.get(code, code)}"}} {int(count)}' for code, count in self._counts.items()
            ]
        return "\n".join(lines + [make() for make in self.extra.values()]) + "\n"


class Exporter:
    """All targets, each under a path of its own."""

    def __init__(self) -> None:
        self.targets: dict[str, Target] = {}
        targets = self.targets

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                target = targets.get(self.path.strip("/"))
                body = target.text().encode() if target and target.alive else b""
                self.send_response(200 if target and target.alive else 503)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.send_header("Content-Length", str(len(body)))
                with contextlib.suppress(OSError):
                    self.end_headers()
                    self.wfile.write(body)

            def log_message(self, *args: Any) -> None:
                pass

        self.server = _serve(Handler)
        self.port = self.server.server_address[1]

    def stop(self) -> None:
        """Targets are gone."""
        self.server.shutdown()
        self.server.server_close()

    def target(self, **rates: float) -> Target:
        """The next free target, from now on scraped."""
        slot = f"t{len(self.targets):02d}"
        one = Target(slot, dict(rates))
        self.targets[slot] = one
        return one


class RealPrometheus:
    """Debian's Prometheus in a directory of its own. ``blocks`` is a data directory to begin with; without a port of an
    exporter it scrapes nothing. ``web`` is its web configuration, and ``shown`` who we are then.
    """

    def __init__(
        self,
        folder: Path,
        exporter_port: int | None,
        blocks: Path | None = None,
        web: dict[str, Any] | None = None,
        flags: Sequence[str] = (),
        **shown: str,
    ) -> None:
        self.folder, self.port, self.shown, self.flags = folder, free_port(), shown, flags
        self.url = f"{'https' if web else 'http'}://127.0.0.1:{self.port}"
        # YAML's flow style is JSON.
        (folder / "web.yml").write_text(json.dumps(web or {}))
        self.data = blocks or folder / "data"
        rows = "".join(
            f"      - targets: ['127.0.0.1:{exporter_port}']\n"
            f"        labels: {{__metrics_path__: /t{n:02d}, instance: t{n:02d}}}\n"
            for n in range(SLOTS if exporter_port else 0)
        )
        (folder / "prometheus.yml").write_text(
            f"global: {{scrape_interval: {SCRAPE:g}s, scrape_timeout: {SCRAPE:g}s}}\n"
            f"scrape_configs:\n  - job_name: shop\n    static_configs:\n{rows}"
        )
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        """Start and wait until it answers."""
        log = (self.folder / "log").open("ab")
        self.process = subprocess.Popen(
            [
                program("prometheus"), f"--config.file={self.folder}/prometheus.yml",
                f"--storage.tsdb.path={self.data}", f"--web.listen-address=127.0.0.1:{self.port}",
                "--storage.tsdb.retention.time=60d", f"--web.config.file={self.folder}/web.yml",
                *self.flags,
            ],
            stdout=log, stderr=log,
        )  # fmt: skip
        log.close()
        until = time.monotonic() + 120
        while time.monotonic() < until and self.process.poll() is None:
            with contextlib.suppress(SourceDownError):
                Prometheus(connection_of({"url": self.url, **self.shown}), Circuit(), pause=lambda _s: None).now()
                return
            time.sleep(0.05)
        raise RuntimeError(f"Prometheus did not start; look at {self.folder}/log")

    def stop(self, *, kill: bool = False) -> None:
        """End it; ``kill`` as a crash does, without staleness markers."""
        if self.process:
            (self.process.kill if kill else self.process.terminate)()
            self.process.wait(60)
            self.process = None


@dataclass
class Proxy:
    """Stands in front of Prometheus and does what ``mode`` says to the answer."""

    upstream: str
    tls: ssl.SSLContext | None = None
    mode: str = "through"
    requests: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
                query = parse_qs(body.decode()).get("query", [""])[0]
                proxy.requests.append({"path": self.path, "query": query, "auth": self.headers.get("Authorization")})
                status, headers, answer = proxy.answer(self.path, body, query)
                with contextlib.suppress(OSError):
                    self.send_response(status)
                    for key, value in headers.items():
                        self.send_header(key, value)
                    self.send_header("Content-Length", str(len(answer)))
                    self.end_headers()
                    self.wfile.write(answer[: len(answer) // 2] if proxy.mode == "cut" else answer)

            def log_message(self, *args: Any) -> None:
                pass

        self.server = _serve(Handler, self.tls)
        self.port = self.server.server_address[1]
        self.url = f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    def stop(self) -> None:
        """Nobody answers there any more."""
        self.server.shutdown()
        self.server.server_close()

    def _through(self, path: str, body: bytes) -> tuple[int, bytes]:
        request = urllib.request.Request(self.upstream + path, body)  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    def answer(self, path: str, body: bytes, query: str) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body for a request."""
        fixed: dict[str, tuple[int, dict[str, str], bytes]] = {
            "503": (503, {}, b"no healthy upstream"),
            "401": (401, {}, b'{"status":"error","error":"token s3cr3t-token is wrong"}'),
            "html": (200, {"Content-Type": "text/html"}, b"<html><body>please log in</body></html>"),
            "redirect": (302, {"Location": "http://127.0.0.1:1/elsewhere"}, b""),
        }
        if self.mode in fixed:
            return fixed[self.mode]
        if self.mode == "hang":
            time.sleep(1.2)
        status, answer = self._through(path, body)
        if self.mode == "json cut":
            answer = answer[: len(answer) // 2]
        if self.mode == "warnings" and query != "time()":
            data = json.loads(answer)
            data["warnings"] = ["store 10.0.0.7:10901 did not answer"]
            data["data"]["result"] = data["data"]["result"][: len(data["data"]["result"]) // 2]
            answer = json.dumps(data).encode()
        return status, {"Content-Type": "application/json"}, answer


@contextlib.contextmanager
def running(folder: Path) -> Iterator[tuple[RealPrometheus, Exporter]]:
    """Prometheus with its exporter."""
    exporter = Exporter()
    server = RealPrometheus(folder, exporter.port)
    try:
        yield server, exporter
    finally:
        server.stop()
        exporter.stop()
