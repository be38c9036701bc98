# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the load generator calls an answer, a reset, a percentile; what it refuses to do."""

from __future__ import annotations

import socket
from pathlib import Path
from unittest.mock import Mock

import pytest
from ansible_collections.bluegreen.cutover.lab import load
from ansible_collections.bluegreen.cutover.lab.load import Plan, Record, Response

TARGET = "http://127.0.0.1:8000"
OK = b"HTTP/1.1 200 OK\r\nX-Colour: green\r\nContent-Length: 2\r\n\r\nok"


def record(due: float, ended: float, outcome: str = "ok", colour: str = "blue", kind: str = "new") -> Record:
    return Record(due, due, ended, kind, 200 if colour else 0, colour, outcome)


def test_complete_response() -> None:
    assert load.parse_response(OK, ended=False) == Response(200, "green", keep_alive=True)


@pytest.mark.parametrize("cut", [0, 5, 20, len(OK) - 1])
@pytest.mark.parametrize("ended", [False, True])
def test_part_of_a_response_is_none(cut: int, ended: bool) -> None:
    assert load.parse_response(OK[:cut], ended) is None


def test_response_that_ends_with_the_connection() -> None:
    data = b"HTTP/1.0 503 Service Unavailable\r\nConnection: close\r\n\r\nno server"
    assert load.parse_response(data, ended=False) is None
    assert load.parse_response(data, ended=True) == Response(503, "", keep_alive=False)


def test_chunked_response() -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert load.parse_response(head + b"2\r\nok\r\n", ended=False) is None
    assert load.parse_response(head + b"2\r\nok\r\n0\r\n\r\n", ended=False) == Response(200, "", keep_alive=True)


@pytest.mark.parametrize(
    ("response", "keep_alive"),
    [
        (OK.replace(b"X-Colour", b"Connection: close\r\nX-Colour"), False),
        (OK.replace(b"X-Colour", b"connection: Close\r\nX-Colour"), False),
        (OK.replace(b"HTTP/1.1", b"HTTP/1.0"), False),
        (OK, True),
    ],
)
def test_which_connections_are_used_again(response: bytes, keep_alive: bool) -> None:
    parsed = load.parse_response(response, ended=False)
    assert parsed is not None
    assert parsed.keep_alive is keep_alive


def test_colour_from_the_body_when_no_header_says_it() -> None:
    data = b'HTTP/1.1 200 OK\r\nContent-Length: 18\r\n\r\n{"colour": "blue"}'
    assert load.parse_response(data, ended=False) == Response(200, "blue", keep_alive=True)


@pytest.mark.parametrize(
    ("kind", "reused", "received", "after", "outcome"),
    [
        ("keepalive", True, 0, 0.05, "idle_reset"),
        ("idle", True, 0, 0.0, "idle_reset"),
        ("keepalive", True, 0, 0.11, "reset_in_flight"),
        ("keepalive", True, 10, 0.0, "reset_in_flight"),
        ("new", False, 0, 0.0, "reset_in_flight"),
        ("new", False, 10, 0.0, "reset_in_flight"),
        ("slow", True, 0, 0.01, "reset_in_flight"),
        ("write", True, 0, 0.01, "reset_in_flight"),
    ],
)
def test_what_a_broken_connection_is_called(kind: str, reused: bool, received: int, after: float, outcome: str) -> None:
    assert load.classify_break(kind, reused, received, after) == outcome


@pytest.mark.parametrize(("after", "outcome"), [(0.05, "idle_reset"), (2.0, "reset_in_flight")])
def test_a_request_that_was_sent_long_before_the_cut_is_lost(after: float, outcome: str) -> None:
    run = Mock()
    run.now.return_value = 100.0
    with socket.socket() as unused:
        connection = load._Connection(run, unused)
        connection.connection_made(Mock())
        first, second = (load._Exchange("keepalive", 100.0, b"GET", -1, "") for _ in range(2))
        connection.send(first)
        connection.data_received(OK)
        connection.send(second)
        run.now.return_value = 100.0 + after
        connection.connection_lost(None)
    run.broken.assert_called_once_with(second, outcome)


@pytest.mark.parametrize(("share", "expected"), [(0.0, 1), (0.5, 50), (0.95, 95), (0.99, 99), (0.991, 100), (1.0, 100)])
def test_percentile_is_the_nearest_rank(share: float, expected: float) -> None:
    assert load.percentile([float(value) for value in range(1, 101)], share) == expected


def test_percentile_of_nothing_is_not_zero() -> None:
    assert load.percentile([], 0.95) is None


def test_latency_counts_from_when_a_request_was_due() -> None:
    late = Record(scheduled=10.0, sent=12.0, ended=12.5, kind="new", status=200, colour="blue", outcome="ok")
    assert late.latency_ms == 2500


def test_summary() -> None:
    records = [
        record(1.0, 1.1),
        record(2.0, 2.3, colour="green"),
        record(3.0, 6.0, kind="slow", colour="green"),
        record(4.0, 4.1, outcome="refused", colour=""),
    ]
    summary = load.summarise(records)
    assert summary["count"] == 4
    assert summary["outcomes"] == {"ok": 3, "refused": 1}
    assert summary["kinds"] == {"new": {"ok": 2, "refused": 1}, "slow": {"ok": 1}}
    assert summary["colours"]["green"] == {"answers": 2, "ok": 2, "first": 2.3, "last": 6.0}
    assert summary["latency_ms"]["max"] == pytest.approx(300), "neither the slow path nor the refused one"


def test_window_takes_what_was_due_in_it() -> None:
    records = [record(1.0, 9.0), record(2.0, 2.1), record(3.0, 3.1)]
    assert load.window(records, 1.0, 3.0) == records[:2]


def test_shares_of_kinds() -> None:
    plan = Plan(TARGET, slow_share=0.1, new_share=0.4, write_share=0.2)
    kinds = [plan.kind((number + 0.5) / 100) for number in range(100)]
    assert {kind: kinds.count(kind) for kind in kinds} == {"slow": 10, "new": 40, "write": 20, "keepalive": 30}


@pytest.mark.parametrize(
    "wrong",
    [
        {"rate": 0},
        {"rate": load.MAX_RATE + 1},
        {"duration": load.MAX_DURATION + 1},
        {"idle": load.MAX_IDLE + 1},
        {"idle_every": 0},
        {"timeout": 0},
        {"new_share": 0.9, "slow_share": 0.2},
        {"new_share": -0.1},
        {"rate": float("nan")},
    ],
)
def test_plans_out_of_bounds_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong)).split("_")[-1]):
        Plan(TARGET, **wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("target", ["https://127.0.0.1", "127.0.0.1:8000", "http://", f"{TARGET}/path"])
def test_targets_must_look_like_one(target: str) -> None:
    with pytest.raises(ValueError, match="must look like"):
        _ = Plan(target).address


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "10.88.1.11"])
def test_loopback_and_running_labs_are_permitted(host: str) -> None:
    load.require_permitted(host, ["10.88.1.0/24"])


@pytest.mark.parametrize("host", ["10.88.2.11", "192.0.2.1", "8.8.8.8", "router", "::ffff:8.8.8.8"])
def test_everything_else_is_refused(host: str) -> None:
    with pytest.raises(ValueError, match="target"):
        # A state file that names a network which is no lab's opens nothing.
        load.require_permitted(host, ["10.88.1.0/24", "192.0.2.0/24"])


def test_a_lab_that_ends_meanwhile_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "lab.json").write_text('{"subnet": "10.88.1.0/24"}')
    gone = tmp_path / "gone" / "lab.json"
    monkeypatch.setattr(load, "LAB_STATE", Mock(glob=lambda _pattern: [gone, tmp_path / "here" / "lab.json"]))
    assert load.lab_subnets() == ["10.88.1.0/24"]
