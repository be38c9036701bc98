# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Asking over HTTP; the other side is one end of a socket pair, not the network."""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from ansible_collections.bluegreen.cutover.plugins.module_utils import _probe
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
    return _probe.ask(Target(**{"url": "http://app1:8001/health?deep=1", "budget_ms": 2000, **changes}))


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
    monkeypatch.setattr(_probe, "BODY_BYTES", 10)
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
    monkeypatch.setattr(_probe, "ask", lambda target: Answer(ms=float(target.name)))
    targets = [Target("http://app1/", name=str(number)) for number in range(40)]
    assert [answer.ms for answer in _probe.ask_all(targets)] == [float(number) for number in range(40)]
    assert _probe.ask_all([]) == []


class Rounds:
    """Answers each round with the next list of status codes, and counts the sleeps."""

    def __init__(self, *rounds: Sequence[int]) -> None:
        self.rounds = list(rounds)
        self.slept: list[float] = []

    def __call__(self, targets: Sequence[Target]) -> list[Answer]:
        return [Answer(ms=1, status=status) for _target, status in zip(targets, self.rounds.pop(0), strict=True)]


TARGETS = [Target("http://app1/", name="one"), Target("http://app2/", name="two")]


def test_all_must_be_healthy_in_the_same_round() -> None:
    rounds = Rounds([200, 503], [503, 200], [200, 200], [503, 503])
    healthy, seen = _probe.probe(TARGETS, 10, 2.5, sleep=rounds.slept.append, ask_all=rounds)
    assert healthy
    assert rounds.slept == [2.5, 2.5]
    assert [(one["attempt"], one["name"], one["status"]) for one in seen] == [
        (1, "one", 200),
        (1, "two", 503),
        (2, "one", 503),
        (2, "two", 200),
        (3, "one", 200),
        (3, "two", 200),
    ]


def test_a_loop_that_ends_unhealthy_fails() -> None:
    rounds = Rounds([503, 200], [200, 503])
    healthy, seen = _probe.probe(TARGETS, 2, 1, sleep=rounds.slept.append, ask_all=rounds)
    assert not healthy
    error = _probe.unhealthy(seen)
    assert error.reason == "probe"
    assert error.message.startswith("1 of 2 probes are unhealthy after 2 tries: GET two: status 503, 200 is expected. ")
    assert [one["name"] for one in error.evidence["unhealthy"]] == ["two"]


def test_many_failures_make_a_short_message() -> None:
    targets = [Target("http://app1/", name=f"probe {number}") for number in range(9)]
    _healthy, seen = _probe.probe(targets, ask_all=Rounds([500] * 9))
    message = _probe.unhealthy(seen).message
    assert "9 of 9 probes are unhealthy after 1 try: " in message
    assert "GET probe 4: " in message
    assert "probe 5" not in message
    assert "; and 4 more. " in message


def test_check_mode_sends_nothing_that_may_change_something(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def ask(target: Target) -> Answer:
        asked.append(target.method)
        return Answer(ms=1, status=503)

    monkeypatch.setattr(_probe, "ask", ask)
    result = _probe.probe_in_check_mode([*TARGETS, Target("http://app1/", name="order", method="POST")])
    assert asked == ["GET", "GET"]
    assert (result["healthy"], result["skipped"]) == (False, ["POST order"])
    assert result["would_fail"].startswith("2 of 2 probes are unhealthy")
    assert _probe.probe_in_check_mode([Target("http://app1/", method="PUT")])["would_fail"] == ""
