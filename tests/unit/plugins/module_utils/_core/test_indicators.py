# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Indicators over time, from a journal (R-D12)."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
from ansible_collections.bluegreen.cutover.plugins.module_utils._core import journal
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.indicators import indicators

DAY = 86_400
ALICE = {"user": "alice", "host": "ops1", "pid": 1}
FIRST = datetime.datetime(2026, 1, 10, tzinfo=datetime.UTC).timestamp()


class Book:
    """A journal that is written as runs write it: each event has to follow what is there."""

    def __init__(self) -> None:
        self.document = journal.empty("shop")
        self.at = FIRST

    def add(self, kind: str, after: float = 1, **data: Any) -> Book:
        self.at += after
        event = {"kind": kind, "at": self.at, "token": int(self.at), **data}
        self.document = journal.append(self.document, event)
        return self

    def begin(self, after: float = DAY, **more: Any) -> Book:
        direction = {"from": "blue", "to": "green", "owner": ALICE, "reason": "r", "subject": {}}
        return self.add("began", after, **direction, weight=0, **more)

    def weigh(self, weight: int, after: float = 1) -> Book:
        self.add("weight_intended", after, before=0, weight=weight)
        return self.add("weight_set", 0, weight=weight, commands=[], ms=1.0)

    def gate(self, verdict: str, wanted: str | None = None, after: float = 1) -> Book:
        return self.add("gate_seen", after, verdict=verdict, wanted=wanted, reason=None, message="m", criteria=[])

    def back(self, weight: int, after: float = 1) -> Book:
        direction = {"from": "blue", "to": "green", "owner": ALICE, "reason": "r"}
        return self.add("rollback_began", after, **direction, weight=weight, persisted=weight, differences=[])

    def finish(self, requests: float | None = None, bad: float = 0.0) -> Book:
        counted = {"requests": requests, "bad": bad} if requests else {}
        availability = {"name": "availability", "passed": None, "seen": "", **counted}
        return self.weigh(100).add("finished", weight=100, success=[availability])

    def four(self, now: float | None = None) -> dict[str, Any]:
        found: dict[str, Any] = indicators(self.document, self.at if now is None else now)["all"]
        return found


def values(found: dict[str, Any]) -> list[float | None]:
    return [one["value"] for name, one in found.items() if name != "month"]


def test_r_d12_what_was_not_measured_is_no_number() -> None:
    assert values(Book().four()) == [None] * 4
    told = Book().four()
    assert all(one["seen"].startswith("not measured") for one in told.values())
    # One that finished without metrics, yesterday: there is no rate of a week, and nothing to recover from.
    one = Book().begin().finish().four()
    assert values(one) == [None, None, None, 0.0]
    assert "1 finished, and the journal goes back for" in one["deployment_frequency"]["seen"]
    assert "0 of 1 deployments were measured" in one["availability"]["seen"]


def test_r_d12_four_weeks_of_deployments() -> None:
    book = Book().begin().finish(900, 9).begin(13 * DAY).finish(100)
    # It goes back, noticed by the gate: 40 s until the old version has everything again.
    book.begin(13 * DAY).weigh(5).gate("open").weigh(50).gate("fail", "rollback_progressive")
    book.back(50, 10).weigh(25, 10).weigh(0, 20).add("rolled_back", 5, weight=0)
    found = book.four(FIRST + 29 * DAY)
    assert found["availability"]["value"] == pytest.approx(0.991)
    assert "2 of 3 deployments were measured" in found["availability"]["seen"]
    assert found["time_to_recover"]["value"] == 40
    # From the beginning of the first to now.
    assert found["deployment_frequency"]["value"] == pytest.approx(2 / 4, rel=0.001)
    assert found["change_failure_rate"]["value"] == pytest.approx(1 / 3)
    months = indicators(book.document, book.at)["months"]
    assert [one["month"] for one in months] == ["2026-01", "2026-02"]
    assert [one["deployment_frequency"]["value"] for one in months] == [2, 0]
    assert [one["change_failure_rate"]["value"] for one in months] == [0, 1]


def test_r_d12_rehearsals_and_what_got_no_traffic_are_no_deployments() -> None:
    rehearsed = Book().begin(rehearsal={"from": "blue"}).weigh(100).add("rehearsed").back(100).weigh(0)
    rehearsed.add("rolled_back", weight=0)
    refused = Book().begin().back(0).add("rolled_back", weight=0)
    for book in (rehearsed, refused):
        assert values(book.four()) == [None] * 4
        assert indicators(book.document, book.at)["months"] == []


def test_r_d12_the_guard_sends_back_and_a_run_goes_on_to_the_end() -> None:
    """It failed once, although it finished; where the way back has not ended, no time is made up."""
    book = Book().begin().weigh(50).add("guard_fired", 1, cause="trigger", reason="r", late=0.0)
    assert book.four()["time_to_recover"]["value"] is None
    assert "1 not back yet" in book.four()["time_to_recover"]["seen"]
    book.weigh(0, 3).add("failed", reason="guard", message="m")
    assert values(book.four()) == [None, 3, None, 1.0]
    # Whoever only closes it does not send back anything.
    again = Book()
    again.document, again.at = book.document, book.at
    assert again.back(0, 500).add("rolled_back", weight=0).four()["time_to_recover"]["value"] == 3
    book.begin(60).finish()
    assert values(book.four(FIRST + 15 * DAY)) == [None, 3, pytest.approx(0.5), 1.0]


def test_r_d12_a_way_back_after_the_end_counts_and_an_open_migration_does_not() -> None:
    book = Book().begin().finish().back(100, 3600).weigh(0, 7).add("rolled_back", weight=0)
    assert values(book.four()) == [None, 7, None, 1.0]
    book.begin().weigh(5)
    assert "1 of 1 went back" in book.four()["change_failure_rate"]["seen"]


def test_r_d12_the_way_from_green_to_blue_is_the_same() -> None:
    book = Book().begin().finish()
    book.add("began", DAY, **{"from": "green", "to": "blue"}, owner=ALICE, reason="r", subject={}, weight=100)
    book.weigh(60).gate("fail", "rollback", 2)
    book.add(
        "rollback_began",
        1,
        **{"from": "green", "to": "blue"},
        owner=ALICE,
        reason="r",
        weight=60,
        persisted=60,
        differences=[],
    )
    book.weigh(100, 4).add("rolled_back", weight=100)
    assert book.four()["time_to_recover"]["value"] == 5
    assert book.four()["change_failure_rate"]["value"] == 0.5


def test_a_criterion_that_only_asks_for_help_is_no_failure() -> None:
    book = Book().begin().weigh(50).gate("fail", "notify").gate("open", after=9).back(50, 9).weigh(0, 2)
    assert book.four()["time_to_recover"]["value"] == 2
