# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The client: what each kind of answer means, on a connection made of canned answers."""

from __future__ import annotations

import http.client
import json
import ssl
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qs

import pytest
from ansible_collections.bluegreen.cutover.plugins.module_utils import _prometheus
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.circuit import Circuit
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import InputError
from ansible_collections.bluegreen.cutover.plugins.module_utils._prometheus import (
    Connection,
    Prometheus,
    SourceDownError,
    SourceRefusedError,
    TooMuchError,
    connection_of,
    jsonable,
)

TOKEN = "s3cr3t"
GOOD = (200, b'{"status":"success","data":{"resultType":"scalar","result":[1700000000.5,"1700000000.5"]}}')


class Link:
    """Stands for http.client's connection; answers are given one after the other, an exception is raised."""

    answers: ClassVar[list[Any]] = []
    seen: ClassVar[list[dict[str, Any]]] = []
    unreached: ClassVar[Exception | None] = None

    def __init__(self, host: str, port: int, **more: Any) -> None:
        self.to = (host, port, more)

    def connect(self) -> None:
        if self.unreached:
            raise self.unreached

    def request(self, method: str, path: str, body: str, headers: dict[str, str]) -> None:
        self.seen.append({"to": self.to, "method": method, "path": path, "fields": parse_qs(body), "headers": headers})
        self.answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(self.answer, Exception):
            raise self.answer

    def getresponse(self) -> Link:
        return self

    @property
    def status(self) -> int:
        return int(self.answer[0])

    def read(self, _limit: int) -> bytes:
        return bytes(self.answer[1])

    def close(self) -> None:
        pass


@pytest.fixture(autouse=True)
def _links(monkeypatch: pytest.MonkeyPatch) -> None:
    Link.answers, Link.seen, Link.unreached = [GOOD], [], None
    monkeypatch.setattr(http.client, "HTTPConnection", Link)
    monkeypatch.setattr(http.client, "HTTPSConnection", Link)


def client(circuit: Circuit | None = None, **more: Any) -> Prometheus:
    connection = Connection(more.pop("url", "http://p:9090/prom/"), **more)
    return Prometheus(connection, circuit or Circuit(), clock=lambda: 1000.0, pause=lambda _s: None)


def test_the_servers_time_and_what_is_sent() -> None:
    assert client(token=TOKEN).now() == 1700000000.5
    (seen,) = Link.seen
    assert (seen["to"][:2], seen["path"]) == (("p", 9090), "/prom/api/v1/query")
    assert seen["fields"] == {"query": ["time()"]}
    assert seen["headers"]["Authorization"] == "Bearer s3cr3t"


def test_basic_authentication_and_a_range(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ssl, "create_default_context", lambda cafile: cafile)
    client(username="u", password="p", url="https://p").query_range("up", 1, 2.25, 0.5)
    (seen,) = Link.seen
    assert seen["headers"]["Authorization"] == "Basic dTpw"
    assert seen["to"][1] == 443
    assert seen["fields"] == {"query": ["up"], "start": ["1.000"], "end": ["2.250"], "step": ["0.500"]}


def test_vectors_matrices_and_numbers_that_are_none() -> None:
    rows = [{"metric": {"a": "b"}, "values": [[1, "NaN"], [2, "+Inf"]]}, {"metric": {}, "value": [3, "4"]}]
    Link.answers = [(200, json.dumps({"status": "success", "data": {"resultType": "matrix", "result": rows}}).encode())]
    first, second = client().query("x").series()
    assert str(first) == "({'a': 'b'}, [(1.0, nan), (2.0, inf)])"
    assert second == ({}, [(3.0, 4.0)])


@pytest.mark.parametrize(
    "answer",
    [
        TimeoutError("timed out"),
        ConnectionRefusedError(111, "Connection refused"),
        http.client.IncompleteRead(b"x"),
        ssl.SSLError(1, "record layer failure"),
        (503, b"no upstream"),
        (429, b"slow down"),
        (200, b"<html>log in</html>"),
        (200, GOOD[1][:30]),
        (200, b"[]"),
        (200, b'{"status":"error","error":"x"}'),
    ],
)
def test_what_is_no_answer_is_tried_again_and_then_unknown(answer: Any) -> None:
    Link.answers = [answer]
    circuit = Circuit()
    with pytest.raises(SourceDownError) as caught:
        client(circuit).query("up")
    assert caught.value.reason == "unreachable"
    assert len(Link.seen) == 2
    assert circuit.failures == 1
    Link.answers = [answer, GOOD]
    assert client(circuit).now() == 1700000000.5
    assert circuit.failures == 0


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ((400, b'{"status":"error","error":"parse error: s3cr3t"}'), r"refuses the query \(400\): parse error: \*\*\*"),
        ((422, b'{"status":"error","error":"many-to-many"}'), "many-to-many"),
        ((404, b"not found"), r"\(404\): no reason given"),
        ((401, b"s3cr3t"), r"refuses us \(401\)"),
        ((403, b"{}"), r"refuses us \(403\)"),
        ((302, b""), "redirects; that is not followed"),
        (ssl.SSLCertVerificationError("x"), "certificate is not accepted"),
        (ssl.SSLError(1, "tlsv13 alert certificate required"), "handshake was refused"),
    ],
)
def test_what_is_refused_is_not_tried_again(answer: Any, message: str) -> None:
    if isinstance(answer, ssl.SSLCertVerificationError):
        answer.verify_message = "certificate has expired"
    Link.answers = [answer]
    with pytest.raises(SourceRefusedError, match=message) as caught:
        client(token=TOKEN).query("up")
    assert len(Link.seen) == 1
    assert TOKEN not in json.dumps(caught.value.as_result())


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (422, "query processing would load too many samples into memory in query execution"),
        (503, "query timed out in query execution"),
        (
            422,
            "the query exceeded the maximum number of chunks (err-mimir-max-chunks-per-query)",
        ),
        (422, "cannot select more than -search.maxSamplesPerQuery=1000000000 samples"),
    ],
)
def test_what_is_too_much_at_once_is_known_and_not_asked_again(status: int, said: str) -> None:
    Link.answers = [(status, json.dumps({"status": "error", "error": said}).encode())]
    circuit = Circuit(failures=3)
    with pytest.raises(TooMuchError, match="does not answer so much at once"):
        client(circuit).query("up")
    # It has answered: that is no failure of its.
    assert (len(Link.seen), circuit.failures) == (1, 0)


def test_an_answer_without_end_is_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_prometheus, "MAX_ANSWER", 20)
    with pytest.raises(TooMuchError, match="more than 20 bytes"):
        client().query("up")


def test_too_slow_may_be_too_much_and_not_there_is_not() -> None:
    Link.answers = [TimeoutError("timed out")]
    with pytest.raises(TooMuchError):
        client().query("up")
    Link.unreached = TimeoutError("timed out")
    with pytest.raises(SourceDownError) as caught:
        client().query("up")
    assert not isinstance(caught.value, TooMuchError)


def test_an_open_circuit_asks_nobody() -> None:
    with pytest.raises(SourceDownError, match=r"again in 50 s \(circuit open\)"):
        client(Circuit(5, 990.0)).query("up")
    assert Link.seen == []


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"url": "p:9090"}, "url: give http"),
        ({"url": "ftp://p"}, "url: give http"),
        ({"url": "http://p:99999999"}, "url: give http"),
        ({"url": "http://me:s3cr3t@p"}, "has a user or password in it"),
        ({"url": "http://p/?a=b"}, "has a query or fragment"),
        ({"token": TOKEN, "username": "u"}, "exclude each other"),
        ({"token": "s3cr3t\n"}, "token: has a line break"),
        ({"ca_path": "/x"}, "need an https url"),
        ({"url": "https://p", "ca_path": "/does/not/exist"}, "certificate files cannot be used"),
        ({"url": "https://p", "client_cert": "/does/not/exist"}, "certificate files cannot be used"),
        ({"url": "https://p", "client_key": "/x"}, "client_key needs client_cert"),
        ({"password": TOKEN}, "password needs username"),
        ({"token": "s3cr3t\N{RIGHTWARDS ARROW}"}, "another character in it that cannot be sent"),
    ],
)
def test_mistakes_in_the_connection(given: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        client(**given)
    assert "s3cr3t" not in str(caught.value.as_result())


def test_secrets_come_from_files_that_go_before_what_is_given(tmp_path: Path) -> None:
    for name in ("token", "password"):
        (tmp_path / name).write_text(f" {name} \n")
    source = {"url": "http://p", "token": "other", "token_file": str(tmp_path / "token")}
    assert connection_of(source) == Connection("http://p", token="token")
    source = {"url": "http://p", "username": "u", "password_file": str(tmp_path / "password")}
    assert connection_of(source) == Connection("http://p", username="u", password="password")
    assert connection_of({"url": "http://p", "client_cert": "/c", "client_key": "/k"}).client_key == "/k"


@pytest.mark.parametrize(
    ("content", "says"),
    [(None, "No such file"), (b"", "is empty"), (b"\xff" + TOKEN.encode(), "it is not UTF-8")],
)
def test_a_secret_that_cannot_be_read_is_named_and_not_shown(tmp_path: Path, content: bytes | None, says: str) -> None:
    if content is not None:
        (tmp_path / "it").write_bytes(content)
    with pytest.raises(InputError, match=f"password of Prometheus in {tmp_path}/it.*{says}") as caught:
        connection_of({"url": "http://p", "username": "u", "password_file": str(tmp_path / "it")})
    assert TOKEN not in str(caught.value.as_result())


def test_secrets_are_not_in_a_representation() -> None:
    assert "s3cr3t" not in repr(Connection("http://p", token=TOKEN, password=TOKEN))


def test_data_that_is_not_data() -> None:
    Link.answers = [(200, b'{"status":"success","data":{"resultType":"vector","result":[{"metric":{}}]}}')]
    with pytest.raises(SourceDownError, match="cannot be read"):
        client().query("up").series()


def test_numbers_for_json() -> None:
    assert jsonable(float("nan")) is None
    assert jsonable(float("inf")) is None
    assert jsonable(None) is None
    assert jsonable(1 / 3) == 0.333333
