# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The API as a pod reaches it, with the standard library alone (R-F2); over a real line in tests/kubernetes."""

from __future__ import annotations

import http.client
import json
import ssl
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.bluegreen.cutover.plugins.module_utils import _in_pod
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import ClusterError
from ansible_collections.bluegreen.cutover.plugins.module_utils._kubernetes import Cluster

WHERE = {"KUBERNETES_SERVICE_HOST": "10.96.0.1", "KUBERNETES_SERVICE_PORT": "443"}


class Line:
    """A connection, and its answers one after the other: an error, or a status with its body."""

    answers: list[Any]
    made: list[Line]

    def __init__(self, host: str, port: int, timeout: float, context: Any) -> None:
        assert context == "tls"
        self.where = (host, port, timeout)
        self.sock: Any = None
        self.readable = False
        self.sent: list[tuple[Any, ...]] = []
        self.ended = 0
        type(self).made.append(self)

    def connect(self) -> None:
        if isinstance(self.answers[0], ConnectionRefusedError):
            raise self.answers.pop(0)
        self.sock = self

    def setsockopt(self, *_options: int) -> None: ...

    def settimeout(self, timeout: float) -> None:
        self.where = (*self.where[:2], timeout)

    def shutdown(self, _how: int) -> None:
        self.ended += 1
        if self.ended > 1:
            raise OSError("not connected")

    def request(self, method: str, path: str, body: Any, headers: Any) -> None:
        self.sent.append((method, path, body, headers["authorization"]))

    def getresponse(self) -> Any:
        found = self.answers.pop(0)
        if isinstance(found, Exception):
            raise found
        return Response(*found)

    def close(self) -> None:
        self.sock = None


class Response:
    def __init__(self, status: int, body: bytes | Exception, *pieces: bytes | Exception) -> None:
        self.status, self.body, self.pieces = status, body, list(pieces)
        self.headers: dict[str, str] = {}

    def read(self) -> bytes:
        if isinstance(self.body, Exception):
            raise self.body
        return self.body

    def read1(self, _amount: int) -> bytes:
        piece = self.pieces.pop(0) if self.pieces else b""
        if isinstance(piece, Exception):
            raise piece
        return piece

    def close(self) -> None: ...


@pytest.fixture
def account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    class Its(Line):
        answers: list[Any] = []  # noqa: RUF012  # of one test
        made: list[Line] = []  # noqa: RUF012

    (tmp_path / "token").write_text("first\n")
    monkeypatch.setattr(http.client, "HTTPSConnection", Its)
    monkeypatch.setattr(ssl, "create_default_context", lambda cafile: "tls" if cafile.endswith("/ca.crt") else None)
    monkeypatch.setattr(
        _in_pod.select, "select", lambda read, _write, _error, _seconds: ([1] if read[0].readable else [], [], [])
    )
    return tmp_path


def lines() -> type[Line]:
    return http.client.HTTPSConnection  # type: ignore[return-value]


def body(**document: Any) -> tuple[int, bytes]:
    return 200, json.dumps(document).encode()


def cluster(account: Path) -> Cluster:
    made = _in_pod.connect(account, WHERE)
    made.patience = 0.06
    return made


def test_a_line_is_used_again_until_the_server_hangs_up(account: Path) -> None:
    asked = cluster(account)
    lines().answers[:] = [body(a=1), body(a=2), body(a=3)]
    assert asked.call("GET", "/a") == {"a": 1}
    assert asked.call("PATCH", "/b", {}) == {"a": 2}
    [first] = lines().made
    assert first.sent == [("GET", "/a", None, "Bearer first"), ("PATCH", "/b", "{}", "Bearer first")]
    assert first.where == ("10.96.0.1", 443, 5.0)
    first.readable = True
    assert asked.call("GET", "/c") == {"a": 3}
    assert len(lines().made) == 2


def test_a_line_that_the_server_has_ended_is_not_kept(account: Path) -> None:
    asked = cluster(account)
    lines().answers[:] = [body(a=1), body(a=2)]
    answer = asked._send("GET", "/a", None, "json", {}, 5)
    lines().made[0].close()
    answer.release_conn()
    asked.call("GET", "/b")
    assert len(lines().made) == 2


@pytest.mark.parametrize(
    ("error", "method", "unknown"),
    [
        (ConnectionRefusedError("no"), "PATCH", False),
        (http.client.RemoteDisconnected("gone"), "PATCH", True),
        (http.client.BadStatusLine("?"), "PATCH", True),
        ((200, http.client.IncompleteRead(b"{")), "PATCH", True),
    ],
)
def test_what_is_not_answered_may_have_been_done_where_a_line_was_made(
    account: Path, error: Any, method: str, unknown: bool
) -> None:
    asked = cluster(account)
    lines().answers[:] = [error] * (20 if not unknown else 1)
    with pytest.raises(ClusterError, match="did not answer PATCH /a") as caught:
        asked.call(method, "/a", {})
    assert caught.value.unknown is unknown


def test_reading_is_tried_again(account: Path) -> None:
    lines().answers[:] = [http.client.RemoteDisconnected("gone"), body(a=1)]
    assert cluster(account).call("GET", "/a") == {"a": 1}


def test_a_watch_is_read_in_pieces_and_ended_by_others(account: Path) -> None:
    asked = cluster(account)
    lines().answers[:] = [(200, b"", b'{"type": "A", "ob', b'ject": {}}\n'), (200, b"", ValueError("closed"))]
    answer, events = asked.watch("/a", {}, 5)
    assert list(events) == [{"type": "A", "object": {}}]
    answer.shutdown()  # type: ignore[attr-defined]
    answer.shutdown()  # type: ignore[attr-defined]
    assert lines().made[0].ended == 2
    answer.close()
    _answer, events = asked.watch("/a", {}, 5)
    with pytest.raises(ClusterError, match="closed"):
        list(events)


def test_a_renewed_token_is_read(account: Path) -> None:
    asked = cluster(account)
    (account / "token").write_text("second")
    lines().answers[:] = [(401, b"{}"), body(a=1)]
    assert asked.call("GET", "/a") == {"a": 1}
    assert [one.sent[0][3] for one in lines().made] == ["Bearer first", "Bearer second"]


@pytest.mark.parametrize("where", [{}, {**WHERE, "KUBERNETES_SERVICE_PORT": "https"}])
def test_what_is_no_pod_is_told(account: Path, where: dict[str, str]) -> None:
    with pytest.raises(ClusterError, match="do not say how to reach the cluster of this pod"):
        _in_pod.connect(account, where)
    with pytest.raises(ClusterError, match="See that its ServiceAccount is mounted"):
        _in_pod.connect(account / "none", WHERE)


def test_an_address_of_six_is_bracketed(account: Path) -> None:
    lines().answers[:] = [body(a=1)]
    made = _in_pod.connect(account, {**WHERE, "KUBERNETES_SERVICE_HOST": "fd00::1"})
    assert made.call("GET", "/a?b=c") == {"a": 1}
    assert lines().made[0].sent[0][1] == "/a?b=c"
