# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Asking over HTTP; the other side is one end of a socket pair, not the network."""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from ansible_collections.bluegreen.cutover.plugins.module_utils import _http
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import SnapshotError
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.probes import Answer, Target

Serve = Callable[[socket.socket], None]


class Server:
    """Answers one connection with ``serve``; keeps what was asked."""

    def __init__(self) -> None:
        self.asked = b""
        self.ends: list[socket.socket] = []
        self.serve: Serve = self.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    def connect(self, connection: http.client.HTTPConnection) -> None:
        ours, theirs = socket.socketpair()
        ours.settimeout(connection.timeout)
        connection.sock = ours
        self.ends.append(theirs)
        thread = threading.Thread(target=self._run, args=[theirs], daemon=True)
        thread.start()

    def _run(self, end: socket.socket) -> None:
        # Whoever has asked may be gone by now, and the test with it.
        with contextlib.suppress(OSError):
            self.asked = end.recv(65536)
            self.serve(end)

    @staticmethod
    def answer(raw: bytes, close: bool = False) -> Serve:
        def serve(end: socket.socket) -> None:
            end.sendall(raw)
            if close:
                end.shutdown(socket.SHUT_RDWR)

        return serve


@pytest.fixture(name="server")
def _server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    server = Server()

    def connect(connection: http.client.HTTPConnection) -> None:
        server.connect(connection)

    monkeypatch.setattr(http.client.HTTPConnection, "connect", connect)
    # Where a proxy is told to be used, it is not.
    monkeypatch.setenv("http_proxy", "http://proxy:3128")
    yield server
    for end in server.ends:
        end.close()


def ask(**changes: Any) -> Answer:
    return _http.ask(Target(**{"url": "http://app1:8001/health?deep=1", "budget_ms": 2000, **changes}))


def test_an_answer_is_read(server: Server) -> None:
    answer = ask(method="POST", body=b"{}", headers={"X-A": "1", "User-Agent": "me"})
    assert (answer.status, answer.body, answer.error, answer.location) == (200, b"ok", "", None)
    assert 0 < answer.ms < 2000
    lines = server.asked.decode().split("\r\n")
    assert lines[0] == "POST /health?deep=1 HTTP/1.1"
    assert {"Host: app1:8001", "X-A: 1", "User-Agent: me", "Connection: close", "Content-Length: 2"} <= set(lines)


def test_a_redirect_is_an_answer(server: Server) -> None:
    server.serve = server.answer(b"HTTP/1.1 302 Found\r\nLocation: http://other/\r\nContent-Length: 0\r\n\r\n")
    answer = ask(url="http://app1")
    assert (answer.status, answer.location, len(server.ends)) == (302, "http://other/", 1)
    assert server.asked.startswith(b"GET / HTTP/1.1\r\n")


@pytest.mark.parametrize(
    ("raw", "status", "error"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok", 200, "the body ends 7 bytes early"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nok", 200, "IncompleteRead: "),
        (b"SSH-2.0-OpenSSH_9.2\r\n", None, "BadStatusLine: SSH-2.0-OpenSSH_9.2"),
        (b"", None, "RemoteDisconnected: "),
    ],
)
def test_half_an_answer_is_an_error(server: Server, raw: bytes, status: int | None, error: str) -> None:
    server.serve = server.answer(raw, close=True)
    answer = ask()
    assert answer.status == status
    assert answer.error.startswith(error)


def test_an_endless_body_is_not_read_to_its_end(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_http, "BODY_BYTES", 10)
    server.serve = server.answer(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 50)
    answer = ask()
    assert (answer.body, answer.error) == (b"x" * 10, "the body is longer than 10 bytes")


def test_an_answer_that_drips_is_ended_after_twice_its_budget(server: Server) -> None:
    dripping = threading.Event()

    def drip(end: socket.socket) -> None:
        end.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        while not dripping.wait(0.005):
            try:
                end.sendall(b"x")
            except OSError:
                return

    server.serve = drip
    answer = ask(budget_ms=15)
    dripping.set()
    assert 30 <= answer.ms < 90
    assert answer.error.startswith("no whole answer in ")
    assert answer.error.endswith(" ms, the budget is 15 ms")


def test_a_refused_connection_is_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_connection: http.client.HTTPConnection) -> None:
        raise ConnectionRefusedError(111, "Connection refused")

    monkeypatch.setattr(http.client.HTTPConnection, "connect", refuse)
    answer = ask()
    assert (answer.status, answer.error) == (None, "ConnectionRefusedError: [Errno 111] Connection refused")


def test_answers_come_in_the_order_of_the_targets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_http, "ask", lambda target: Answer(ms=float(target.name)))
    targets = [Target("http://app1/", name=str(number)) for number in range(40)]
    assert [answer.ms for answer in _http.ask_all(targets)] == [float(number) for number in range(40)]
    assert _http.ask_all([]) == []


def test_a_file_of_certificates_that_cannot_be_read_is_an_answer() -> None:
    answer = ask(url="https://app1:8001/", ca_path="/nowhere/ca.pem")
    assert (answer.status, answer.error) == (None, "FileNotFoundError: [Errno 2] No such file or directory")


def test_its_certificates_are_those_that_are_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    trusted: list[str | None] = []

    def create(cafile: str | None = None) -> ssl.SSLContext:
        trusted.append(cafile)
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)

    def refuse(_connection: http.client.HTTPSConnection) -> None:
        raise ssl.SSLCertVerificationError("unknown authority")

    monkeypatch.setattr(_http.ssl, "create_default_context", create)
    monkeypatch.setattr(http.client.HTTPSConnection, "connect", refuse)
    answer = ask(url="https://app1:8001/", ca_path="/etc/ca.pem")
    assert trusted == ["/etc/ca.pem"]
    assert answer.error.startswith("SSLCertVerificationError: ")


def transfer(body: _http.Body | None = None, **changes: Any) -> tuple[Answer, list[bytes]]:
    written: list[bytes] = []
    return _http.transfer(Target(**{"url": "http://db1:6333/x", **changes}), 5, body, written.append), written


def test_a_long_body_is_sent_and_read_in_pieces(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_http, "PIECE_BYTES", 4)
    server.serve = server.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n0123456789")
    answer, written = transfer(_http.Body(5, (b"ab", b"cde")), method="POST", headers={"api-key": "k"})
    assert (answer.status, answer.error, answer.body) == (200, "", b"")
    assert written == [b"0123", b"4567", b"89"]
    assert {b"Content-Length: 5", b"api-key: k"} <= set(server.asked.split(b"\r\n"))


def test_what_was_not_expected_is_not_written(server: Server) -> None:
    server.serve = server.answer(b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno")
    answer, written = transfer()
    assert (answer.status, answer.body, written) == (404, b"no", [])


def test_a_long_answer_that_ends_early_is_an_error(server: Server) -> None:
    server.serve = server.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok", close=True)
    answer, written = transfer()
    assert (answer.error, b"".join(written)) == ("the body ends 7 bytes early", b"ok")


def test_who_refuses_a_long_body_is_heard(server: Server) -> None:
    server.serve = server.answer(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno", close=True)

    def endless() -> Iterator[bytes]:
        while True:
            yield b"x" * 65536

    answer, written = transfer(_http.Body(1 << 40, endless()))
    assert (answer.status, answer.body, written) == (401, b"no", [])


@pytest.mark.usefixtures("server")
def test_what_cannot_be_written_is_raised() -> None:
    def full(_piece: bytes) -> None:
        raise SnapshotError("no room")

    with pytest.raises(SnapshotError, match="no room"):
        _http.transfer(Target("http://db1:6333/x"), 5, None, full)
