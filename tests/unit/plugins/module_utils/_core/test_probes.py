# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is asked, and what is wrong with an answer."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.bluegreen.cutover.plugins.module_utils._core import probes
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import InputError
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.probes import Answer, Target


def spec(**changes: Any) -> dict[str, Any]:
    return {"method": "GET", "headers": {}, "status": [200], "json": {}, "budget_ms": 2000, **changes}


def judged(body: str, json: dict[str, Any], **answer: Any) -> list[str]:
    target = Target("http://app1/", json=json)
    return probes.mismatches(target, Answer(**{"ms": 1.0, "status": 200, "body": body.encode(), **answer}))


def test_every_probe_is_asked_at_every_base() -> None:
    made = probes.make_targets(
        [spec(url="http://router:8080/x", name="the front")],
        ["http://app1:8002", "http://app2:8002/"],
        [spec(path="/health/ready"), spec(path="/api?page=2")],
    )
    assert [target.url for target in made] == [
        "http://router:8080/x",
        "http://app1:8002/health/ready",
        "http://app1:8002/api?page=2",
        "http://app2:8002/health/ready",
        "http://app2:8002/api?page=2",
    ]
    assert made[0].name == "the front"
    assert made[1].name == made[1].url


@pytest.mark.parametrize(("bases", "asked"), [([], [spec(path="/")]), (["http://app1"], [])])
def test_nothing_to_ask_is_not_healthy(bases: list[str], asked: list[dict[str, Any]]) -> None:
    with pytest.raises(InputError, match="Nothing to ask"):
        probes.make_targets([], bases, asked)


@pytest.mark.parametrize(
    "url",
    [
        "app1:8001/health",
        "ftp://app1/",
        "http:///health",
        "http://app1:0/",
        "http://app1:70000/",
        "http://app1/a b",
        "http://app1/\r\nHost: other",
        "http://app1/ü",
        "http://[::1/",
    ],
)
def test_an_address_that_cannot_be_asked_is_refused(url: str) -> None:
    with pytest.raises(InputError, match=r"targets\[0\].*http://app1:8001"):
        probes.make_targets([spec(url=url)], [], [])


def test_a_password_in_the_address_is_refused_and_not_repeated() -> None:
    with pytest.raises(InputError, match="secret_headers") as caught:
        probes.make_target(spec(url="http://me:hush@app1/"))
    assert "hush" not in caught.value.message


def test_a_path_without_slash_is_refused() -> None:
    with pytest.raises(InputError, match=r"probes\[0\] at http://app1: the path 'health'"):
        probes.make_targets([], ["http://app1"], [spec(path="health")])


def test_a_budget_of_nothing_is_refused() -> None:
    with pytest.raises(InputError, match="budget_ms is 0"):
        probes.make_target(spec(url="http://app1/", budget_ms=0))


def test_no_accepted_status_is_refused() -> None:
    with pytest.raises(InputError, match="status is empty"):
        probes.make_target(spec(url="http://app1/", status=[]))


def test_a_header_with_a_line_break_is_refused() -> None:
    with pytest.raises(InputError, match="X-A"):
        probes.make_target(spec(url="http://app1/", headers={"X-A": "1\r\nX-B: 2"}))


@pytest.mark.parametrize(
    ("body", "sent", "kind"),
    [
        (None, None, None),
        ("text=1", b"text=1", None),
        ({"item": 7}, b'{"item": 7}', "application/json"),
        ([], b"[]", "application/json"),
    ],
)
def test_a_body_that_is_not_text_is_sent_as_json(body: Any, sent: bytes | None, kind: str | None) -> None:
    target = probes.make_target(spec(url="http://app1/", body=body, secret_headers={"Authorization": "Bearer x"}))
    assert target.body == sent
    assert target.headers.get("Content-Type") == kind
    assert target.headers["Authorization"] == "Bearer x"


def test_an_answer_as_expected_has_no_mismatch() -> None:
    body = '{"status": "ok", "checks": [{"state": "up"}], "load": 1}'
    assert judged(body, {"status": "ok", "checks.0.state": "up", "load": 1.0}) == []


@pytest.mark.parametrize(
    "body", ["<html></html>", "", '{"status": NaN}', '{"status": Infinity}', "\ud800", "[" * 100_000]
)
def test_what_is_not_json_is_not_healthy(body: str) -> None:
    target = Target("http://app1/", json={"status": "ok"})
    answer = Answer(ms=1, status=200, body=body.encode("utf-8", "surrogatepass"))
    (mismatch,) = probes.mismatches(target, answer)
    assert mismatch.startswith("the body is not JSON (")


@pytest.mark.parametrize("path", ["absent", "status.deeper", "checks.7", "checks.name"])
def test_a_missing_value_is_named(path: str) -> None:
    assert judged('{"status": "ok", "checks": []}', {path: 1}) == [f"{path} is missing, 1 is expected"]


@pytest.mark.parametrize(
    ("value", "wanted"), [("true", 1), ("1", True), ('"1"', 1), ("null", False), ('"' + "x" * 500 + '"', "y")]
)
def test_another_value_is_told(value: str, wanted: Any) -> None:
    (mismatch,) = judged(f'{{"a": {value}}}', {"a": wanted})
    assert f"{wanted!r} is expected" in mismatch
    assert len(mismatch) < 200


@pytest.mark.parametrize(
    ("value", "wanted", "fits"),
    [
        ("0.83", 0.82, True),
        ("0.8301", 0.82, False),
        ("1", 1.01, True),
        ('{"odds": [0.5, "x"]}', {"odds": [0.51, "x"]}, True),
        ('{"odds": [0.5, 1]}', {"odds": [0.51]}, False),
        ('{"odds": true}', {"odds": 1}, False),
        ('{"odds": 1, "more": 1}', {"odds": 1}, False),
        ("true", 1, False),
        ('"0.82"', 0.82, False),
        ("1" + "0" * 400, 0.5, False),
        ("1e400", 0.5, False),
    ],
)
def test_r_d11_a_number_may_differ_by_the_tolerance(value: str, wanted: Any, fits: bool) -> None:
    target = Target("http://app1/", json={"a": wanted}, tolerance=0.01)
    answer = Answer(ms=1.0, status=200, body=f'{{"a": {value}}}'.encode())
    assert (probes.mismatches(target, answer) == []) is fits


def test_a_redirect_is_told_with_its_goal() -> None:
    assert judged("", {}, status=302, location="http://other/") == [
        "status 302 (to http://other/; redirects are not followed), 200 is expected"
    ]


def test_no_answer_is_told() -> None:
    assert judged("", {"a": 1}, status=None, error="TimeoutError") == ["TimeoutError"]


def test_half_an_answer_is_not_judged_by_its_content() -> None:
    assert judged("{", {"a": 1}, error="the body ends 5 bytes early") == ["the body ends 5 bytes early"]


def test_a_late_answer_is_told_with_both_numbers() -> None:
    assert judged("", {}, ms=2345.6) == ["answered in 2346 ms, the budget is 2000 ms"]


def test_an_observation_holds_no_request_header() -> None:
    target = Target("http://app1/", name="one", headers={"Authorization": "hush"}, body=b"hush")
    seen = probes.observe(target, Answer(ms=1.234, status=200, body=b"\xff" + b"x" * 1000), 3)
    assert "hush" not in str(seen)
    assert (seen["attempt"], seen["ms"], seen["status"], len(seen["body"])) == (3, 1.2, 200, 300)
