# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The application's own admin API, of several instances: told, read back, put back (R-D5, R-D6)."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import RouterError
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.probes import Answer, Target
from ansible_collections.bluegreen.cutover.plugins.module_utils._routers import Instance, Service, admin_api
from ansible_collections.bluegreen.cutover.plugins.module_utils._routers.admin_api import AdminApi, parse_weight

SERVICE = Service("match", {"blue": (Instance("app1", 8001),), "green": (Instance("app1", 8002),)}, "/ready")
ONE, TWO = "http://app1:8001", "http://app2:8001"
TOKEN = "very-secret-1"
UNREACHABLE = Answer(ms=1, error="ConnectionRefusedError: [Errno 111] Connection refused")

Way = Callable[[Target], Answer]


def tell(document: Any, status: int = 200, ms: float = 1) -> Answer:
    return Answer(ms=ms, status=status, body=json.dumps(document).encode())


class Application:
    """Two instances that do what they are told; ``ways`` replaces what one answers to a method and path."""

    def __init__(self) -> None:
        self.weights = {ONE: 0, TWO: 0}
        self.asked: list[str] = []
        self.targets: list[Target] = []
        self.ways: dict[str, Answer | Way] = {}

    def ask_all(self, targets: Sequence[Target]) -> list[Answer]:
        return [self.answer(target) for target in targets]

    def answer(self, target: Target) -> Answer:
        endpoint = next(one for one in self.weights if target.url.startswith(one))
        words = f"{target.method} {target.url}" + (f" {target.body.decode()}" if target.body else "")
        self.asked.append(words)
        self.targets.append(target)
        way = next((way for start, way in self.ways.items() if words.startswith(start)), None)
        if way is not None:
            return way(target) if callable(way) else way
        return self.obey(endpoint, target)

    def obey(self, endpoint: str, target: Target) -> Answer:
        if target.url.endswith("/admin/rollback"):
            self.weights[endpoint] = 0
        elif target.method == "POST":
            self.weights[endpoint] = json.loads(target.body or b"")["percentage"]
        return tell({"percentage": self.weights[endpoint]})

    def posts(self) -> list[str]:
        return [words for words in self.asked if words.startswith("POST")]


@pytest.fixture(name="application")
def _application(monkeypatch: pytest.MonkeyPatch) -> Application:
    application = Application()
    monkeypatch.setattr(admin_api, "ask_all", application.ask_all)
    monkeypatch.setattr(admin_api, "count_ready", lambda _service: ({"blue": 1, "green": 1}, {}))
    return application


Make = Callable[..., AdminApi]


@pytest.fixture(name="make")
def _make(application: Application, tmp_path: Path) -> Make:
    assert application
    (tmp_path / "weight").write_text("0\n")
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    given: dict[str, Any] = {
        "endpoints": [ONE, TWO],
        "path": "/admin/config",
        "field": "percentage",
        "emergency": "/admin/rollback",
        "token_header": "Authorization",
        "token_file": str(tmp_path / "token"),
        "budget_ms": 500,
        "file": str(tmp_path / "weight"),
    }
    return lambda **changes: AdminApi(SERVICE, **{**given, **changes})


def test_every_instance_is_told_and_read_back(make: Make, application: Application, tmp_path: Path) -> None:
    router = make()
    assert router.apply(25) == [f"POST {one}/admin/config percentage=25" for one in (ONE, TWO)]
    assert application.weights == {ONE: 25, TWO: 25}
    # Before, then told, then read back.
    assert [words.split()[0] for words in application.asked] == ["GET"] * 2 + ["POST"] * 2 + ["GET"] * 2
    assert router.persist(25) == [f"write {tmp_path}/weight"]
    reading = router.read()
    assert (reading.weight, reading.persisted, reading.unclear) == (25, 25, "")
    assert (reading.ready, reading.in_flight) == ({"blue": 1, "green": 1}, {"blue": None, "green": None})
    assert reading.detail["endpoints"] == {ONE: 25, TWO: 25}


def test_what_is_asked_carries_the_token_the_budget_and_the_certificates(make: Make, application: Application) -> None:
    make(ca_path="/etc/ca.pem").read()
    make(token_header="X-Admin-Token").read()
    make(token_file=None).read()
    assert [target.headers for target in application.targets[::2]] == [
        {"Authorization": f"Bearer {TOKEN}"},
        {"X-Admin-Token": TOKEN},
        {},
    ]
    first = application.targets[0]
    assert (first.url, first.budget_ms, first.ca_path) == (f"{ONE}/admin/config", 500, "/etc/ca.pem")


MOVED = Answer(ms=1, status=302, location="http://elsewhere/")
WRONG: dict[str, tuple[Answer, str]] = {
    "unreachable": (UNREACHABLE, "GET /admin/config: ConnectionRefusedError: [Errno 111] Connection refused"),
    "error": (tell({"error": "sorry"}, 500), 'GET /admin/config: status 500, 200 is expected ({"error": "sorry"})'),
    "refused": (tell({}, 401), "status 401, 200 is expected"),
    "redirect": (MOVED, "status 302 (to http://elsewhere/; redirects are not followed), 200 is expected"),
    "slow": (tell({"percentage": 0}, ms=600), "answered in 600 ms, the budget is 500 ms"),
    "no JSON": (Answer(ms=1, status=200, body=b"<html>"), "the body is not JSON (Expecting value: "),
    "not text": (Answer(ms=1, status=200, body=b"\xff"), "the body is not JSON ("),
    "no object": (tell([0]), "the body has no key percentage"),
    "no field": (tell({"percent": 0}), "the body has no key percentage"),
    "text": (tell({"percentage": "0"}), 'percentage is "0"; a whole number 0…100 is needed'),
    "flag": (tell({"percentage": True}), "percentage is true; a whole number 0…100 is needed"),
    "nothing": (tell({"percentage": None}), "percentage is null; a whole number 0…100 is needed"),
    "too much": (tell({"percentage": 101}), "percentage is 101; a whole number 0…100 is needed"),
    "negative": (tell({"percentage": -1}), "percentage is -1; a whole number 0…100 is needed"),
    "fraction": (tell({"percentage": 0.5}), "percentage is 0.5; a whole number 0…100 is needed"),
    "not a number": (tell({"percentage": float("nan")}), "percentage is NaN; a whole number 0…100 is needed"),
}


@pytest.mark.parametrize("name", WRONG)
def test_an_instance_that_does_not_tell_makes_the_weight_unknown(
    make: Make, application: Application, name: str
) -> None:
    application.ways[f"GET {TWO}"], words = WRONG[name]
    reading = make().read()
    assert reading.weight is None
    assert reading.unclear.startswith(f"{TWO}: GET /admin/config: ")
    assert words in reading.unclear
    assert reading.detail["endpoints"][ONE] == 0


@pytest.mark.parametrize("name", WRONG)
def test_nothing_is_set_while_an_instance_does_not_tell(make: Make, application: Application, name: str) -> None:
    application.ways[f"GET {TWO}"], words = WRONG[name]
    with pytest.raises(RouterError) as caught:
        make().apply(50)
    assert caught.value.message.startswith(f"match: 50 % was not set, and nothing was changed: {TWO}: ")
    assert words in caught.value.message
    assert application.posts() == []


def test_one_that_has_forgotten_is_noticed(make: Make, application: Application) -> None:
    router = make()
    router.apply(50)
    router.persist(50)
    application.weights[TWO] = 0
    reading = router.read()
    assert (reading.weight, reading.persisted) == (None, 50)
    assert reading.unclear.startswith(f"its instances do not agree: {ONE} 50 %, {TWO} 0 %. ")
    assert "playbooks/router.yml" in reading.unclear
    application.weights[ONE] = 0
    reading = router.read()
    assert (reading.weight, reading.persisted, reading.unclear) == (0, 50, "")


REFUSALS: dict[str, tuple[Answer, str]] = {
    "error": (tell({"error": "read-only"}, 503), 'status 503, 200 or 201 or 202 or 204 is expected ({"error": "read-'),
    "redirect": (MOVED, "redirects are not followed"),
    "slow": (tell({}, ms=501), "answered in 501 ms, the budget is 500 ms"),
    "unreachable": (UNREACHABLE, "POST /admin/config: ConnectionRefusedError"),
    "a lie": (tell({"percentage": 50}), "percentage is 10, 50 was set"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_one_that_refuses_has_all_put_back(make: Make, application: Application, name: str) -> None:
    application.weights = {ONE: 10, TWO: 10}
    application.ways[f'POST {TWO}/admin/config {{"percentage": 50}}'], words = REFUSALS[name]
    with pytest.raises(RouterError) as caught:
        make().apply(50)
    assert application.weights == {ONE: 10, TWO: 10}
    assert caught.value.message.startswith(f"match: 50 % was not taken: {TWO}: ")
    assert words in caught.value.message
    assert "All are put back as they were" in caught.value.message
    assert list(caught.value.evidence["endpoints"]) == [TWO]


def test_one_that_took_it_late_is_put_back_too(make: Make, application: Application) -> None:
    def late(target: Target) -> Answer:
        application.obey(TWO, target)
        return Answer(ms=1000, error="no whole answer in 1000 ms, the budget is 500 ms")

    application.ways[f'POST {TWO}/admin/config {{"percentage": 50}}'] = late
    with pytest.raises(RouterError, match="no whole answer in 1000 ms.*All are put back"):
        make().apply(50)
    assert application.weights == {ONE: 0, TWO: 0}


def test_one_that_cannot_be_put_back_is_named(make: Make, application: Application) -> None:
    application.ways[f"POST {TWO}"] = tell({}, 503)
    application.ways[f'POST {ONE}/admin/config {{"percentage": 10}}'] = UNREACHABLE
    application.weights = {ONE: 10, TWO: 10}
    with pytest.raises(RouterError) as caught:
        make().apply(50)
    assert f"These could not be put back: {ONE}: percentage is 50, 10 was set" in caught.value.message
    assert "All are" not in caught.value.message


def test_the_way_back_takes_the_emergency_endpoint(make: Make, application: Application) -> None:
    application.weights = {ONE: 50, TWO: 50}
    assert make().apply(0) == [f"POST {one}/admin/rollback" for one in (ONE, TWO)]
    assert application.posts() == [f"POST {one}/admin/rollback {{}}" for one in (ONE, TWO)]
    assert application.weights == {ONE: 0, TWO: 0}


def test_without_one_the_way_back_is_the_ordinary_one(make: Make, application: Application) -> None:
    application.weights = {ONE: 50, TWO: 50}
    assert make(emergency=None).apply(0) == [f"POST {one}/admin/config percentage=0" for one in (ONE, TWO)]
    assert application.weights == {ONE: 0, TWO: 0}


@pytest.mark.parametrize("answer", [tell({}, 404), tell({"done": True}), UNREACHABLE], ids=["404", "a lie", "gone"])
def test_an_emergency_endpoint_that_fails_leaves_the_ordinary_one(
    make: Make, application: Application, answer: Answer
) -> None:
    application.weights = {ONE: 50, TWO: 50}
    application.ways[f"POST {TWO}/admin/rollback"] = answer
    assert make().apply(0)[-1] == f"POST {TWO}/admin/config percentage=0"
    assert application.weights == {ONE: 0, TWO: 0}


def test_on_the_way_back_one_that_is_gone_keeps_nobody_on_green(make: Make, application: Application) -> None:
    application.weights = {ONE: 50, TWO: 50}
    for method in ("GET", "POST"):
        application.ways[f"{method} {TWO}"] = UNREACHABLE
    with pytest.raises(RouterError, match=f"match: not all traffic is back on blue: {TWO}: POST .*Connection refused"):
        make().apply(0)
    assert application.weights == {ONE: 0, TWO: 50}
    application.ways.clear()
    make().apply(0)
    assert application.weights == {ONE: 0, TWO: 0}


def test_on_the_way_back_what_it_does_counts_not_what_it_says(make: Make, application: Application) -> None:
    application.weights = {ONE: 50, TWO: 50}

    def rude(target: Target) -> Answer:
        application.obey(TWO, target)
        return tell({}, 500)

    application.ways[f"POST {TWO}"] = rude
    assert len(make().apply(0)) == 2


def test_the_token_is_told_to_nobody_else(make: Make, application: Application) -> None:
    application.ways[f"GET {TWO}"] = Answer(
        ms=1, status=302, location=f"http://x/?t={TOKEN}", body=f"you said Bearer {TOKEN}".encode()
    )
    reading = make().read()
    assert TOKEN not in repr(reading)
    assert "you said Bearer ***" in reading.unclear
    application.ways[f"GET {TWO}"] = tell({"percentage": TOKEN})
    with pytest.raises(RouterError) as caught:
        make().apply(50)
    assert TOKEN not in repr(caught.value.as_result())
    assert 'percentage is "***"' in caught.value.message


@pytest.mark.parametrize("content", ["", "\n", "two\nlines", "öffne", "a\x00b"])
def test_a_file_without_a_token(make: Make, application: Application, tmp_path: Path, content: str) -> None:
    (tmp_path / "token").write_text(content)
    with pytest.raises(
        RouterError, match="token (does not hold a token, which is one line of ASCII|is empty)"
    ) as caught:
        make().read()
    assert not content.strip() or content.strip() not in caught.value.message
    (tmp_path / "token").unlink()
    with pytest.raises(RouterError, match="token cannot be read"):
        make().apply(0)
    assert application.asked == []


def test_what_is_on_disk_and_no_weight(make: Make, tmp_path: Path) -> None:
    (tmp_path / "weight").write_text("half\n")
    assert make().read().persisted is None
    (tmp_path / "weight").unlink()
    with pytest.raises(RouterError, match="Set the router up with the router role"):
        make().read()


@pytest.mark.parametrize(("body", "weight"), [(b'{"p": 0}', 0), (b'{"p": 100, "q": 1}', 100), (b'{"p": 50.0}', 50)])
def test_what_is_a_weight(body: bytes, weight: int) -> None:
    found = parse_weight(body, "p")
    assert (found, type(found)) == (weight, int)


def test_an_answer_without_end() -> None:
    with pytest.raises(ValueError, match="the body is not JSON"):
        parse_weight(b"[" * 100_000, "p")
