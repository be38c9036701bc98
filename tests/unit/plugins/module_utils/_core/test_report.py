# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The day's report of a migration, in data, in lines and as a page (R-D10)."""

from __future__ import annotations

import html.parser
from typing import Any

import pytest
from ansible_collections.bluegreen.cutover.plugins.module_utils._core import holding, journal, report
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.indicators import indicators
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.report_page import page

STEP = {"share": 5, "weight": 5, "hold": 60, "held": True}
NEXT = {"share": 25, "weight": 25, "hold": 60, "held": False}
EVIL = '<script>alert("1")</script>&'

EVENTS = [
    {"kind": "began", "at": 0.0, "from": "blue", "to": "green", "weight": 0},
    {"kind": "weight_intended", "at": 1.0, "before": 0, "weight": 5},
    {"kind": "weight_set", "at": 2.0, "weight": 5},
    {"kind": "gate_seen", "at": 3.0, "verdict": "open", "wanted": None, "message": None},
    {"kind": "gate_seen", "at": 62.0, "verdict": "pass", "wanted": None, "message": "its hold is over"},
    {"kind": "weight_set", "at": 63.0, "weight": 25},
    {"kind": "guard_fired", "at": 70.0, "cause": "trigger", "reason": f"errors {EVIL}"},
    {"kind": "weight_set", "at": 71.0, "weight": 0},
    {"kind": "failed", "at": 72.0, "reason": "guard", "message": "sent back"},
]


def described(**changes: Any) -> dict[str, Any]:
    known = {
        "service": "shop",
        "serving": {"blue": 100, "green": 0},
        "since": 71.0,
        "phase": "failed",
        "migration": {"id": "20260101T000000Z", "events": EVENTS},
        "rehearsal": None,
        "success": [],
        "differences": [],
    }
    return {**known, **changes}


def whole(*figures: dict[str, Any], gate: Any = None, does: Any = None, **changes: Any) -> dict[str, Any]:
    made = report.day(described(**changes), made=100.0, recommendation=does, gate=gate)
    return {**made, "seconds": 100.0, "figures": list(figures), "indicators": indicators(journal.empty("shop"), 100.0)}


def test_r_d10_the_percentage_and_how_it_got_there() -> None:
    moved = whole()["migration"]
    assert (moved["share"], moved["from"], moved["to"], moved["phase"]) == (0, "blue", "green", "failed")
    assert [(one["at"], one["share"]) for one in moved["path"]] == [(0, 0), (2, 5), (63, 25), (71, 0)]
    assert [(one["at"], one["share"], one["verdict"]) for one in moved["marks"]] == [
        (3, 5, "open"), (62, 5, "pass"), (70, 25, "guard"), (72, 0, "failed"),
    ]  # fmt: skip
    back = [{"kind": "began", "at": 0.0, "from": "green", "to": "blue", "weight": 100}, {**EVENTS[2], "weight": 90}]
    other = whole(migration={"id": "x", "events": back}, serving={"blue": 10, "green": 90})["migration"]
    assert ([one["share"] for one in other["path"]], other["share"], other["from"]) == ([0, 10], 10, "green")
    assert whole(serving={})["migration"]["share"] is None
    assert whole(migration=None)["migration"] is None


def outcome(kind: str, action: str | None = None) -> holding.Outcome:
    return holding.Outcome(kind, 0.0, 0.0, "why", action)


@pytest.mark.parametrize(
    ("steps", "found", "does", "told"),
    [
        ([STEP, NEXT], outcome("passed"), "advance", "why; next is 25 %"),
        ([STEP], outcome("passed"), "advance", "why; the migration ends"),
        ([{**STEP, "held": False}], outcome("passed"), "advance", "why; the run after it takes the next step"),
        ([STEP, NEXT], outcome("waiting"), "hold", "why; the candidate keeps its share"),
        ([STEP, NEXT], outcome("unknown"), "hold", "why; the candidate keeps its share"),
        ([STEP, NEXT], outcome("failed", "rollback"), "roll back", "why; the traffic goes back at once"),
        ([STEP], outcome("failed", "rollback_progressive"), "roll back", "why; the traffic goes back step by step"),
        ([NEXT], None, "advance", "decided"),
        ([], None, "advance", "decided"),
        ([STEP], None, "hold", "decided"),
    ],
)
def test_r_d10_the_recommendation_is_what_a_run_would_do(
    steps: list[dict[str, Any]], found: holding.Outcome | None, does: str, told: str
) -> None:
    decision = {"kind": "resume", "steps": steps, "sentence": "decided"}
    assert report.recommend(decision, 5, found) == {"do": does, "sentence": told}


def test_r_d10_without_an_open_migration_nothing_is_recommended() -> None:
    assert report.recommend({"kind": "nothing", "steps": [], "sentence": ""}, 100, None) is None
    assert report.held_step({"steps": []}, 5) is None
    assert report.held_step({"steps": [NEXT]}, 5) is None
    assert report.held_step({"steps": [{**STEP, "hold": 0}]}, 5) is None
    assert report.held_step({"steps": [STEP]}, 5) == STEP
    assert report.refused("drift")["do"] == "hold"


def test_r_d10_the_candidate_against_the_baseline() -> None:
    asked = {"name": "p95", "kind": "latency", "max_increase": 0.1}
    one = report.figure(asked, {"candidate": 0.09, "baseline": 0.1}, {}, {"status": "proven", "message": ""})
    assert (one["unit"], one["limit"], one["status"]) == ("s", "at most the baseline and 10 %", "proven")
    assert (one["difference"], one["relative"]) == (pytest.approx(-0.01), pytest.approx(-0.1))
    assert report.told(one) == "candidate 90 ms; baseline 100 ms; -10 ms (-10.0 %)"
    # Of nothing no part can be told.
    none = report.figure({"name": "e", "kind": "ratio", "max": 0.001}, {"candidate": 0.0, "baseline": 0.0}, {}, None)
    assert (none["difference"], none["relative"], none["status"]) == (0, None, None)
    gain = report.figure({"name": "gain", "kind": "query", "min": -0.001}, {"candidate": 0.012}, {}, None)
    assert (report.told(gain), gain["limit"]) == ("candidate 0.012", "at least -0.001")


def test_r_d10_what_was_not_measured_says_why_and_is_no_number() -> None:
    missing = {"candidate": "Prometheus did not answer"}
    one = report.figure({"name": "e", "kind": "ratio", "max": 0.001}, {}, missing, None)
    assert [one[name] for name in ("candidate", "baseline", "difference", "relative")] == [None] * 4
    assert report.told(one) == "candidate not measured, Prometheus did not answer"
    assert "not measured: Prometheus did not answer" in page(whole(one))


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"kind": "ratio", "max_ratio": 1.5, "floor": 0.0005}, "at most 1.5 times the baseline, or below 0.05 %"),
        ({"kind": "query", "min": 0.9, "max": 1}, "at least 0.9, at most 1"),
        ({"kind": "latency", "max": 0.1}, "at most 100 ms"),
        ({"kind": "burn_rate", "objective": 0.999}, "at most 0.1 %"),
    ],
)
def test_limits_are_told_as_the_inventory_has_them(asked: dict[str, Any], told: str) -> None:
    assert report.limit(asked) == told


def test_the_lines_for_a_terminal() -> None:
    figure = report.figure({"name": "e", "kind": "ratio", "max": 0.001}, {"candidate": 0.0005}, {}, None)
    lines = list(report.sentences(whole(figure, does={"do": "hold", "sentence": "wait"})))
    assert lines[:3] == [
        "shop: green has 0 % (failed), by 0 %, 5 %, 25 %, 0 %",
        "e: candidate 0.05 % (limit: at most 0.1 %)",
        "recommendation: hold; wait",
    ]
    assert [line.partition(":")[0] for line in lines[3:]] == [
        "availability", "time to recover", "deployment frequency", "change failure rate",
    ]  # fmt: skip
    unread = {**whole(migration=None, phase=None), "indicators": None}
    assert next(report.sentences(unread)) == "shop: what is recorded cannot be read"
    assert "never migrated" not in page(unread)
    assert list(report.sentences(whole(migration=None)))[:2] == [
        "shop was never migrated",
        "recommendation: none, no migration is open",
    ]


class Reader(html.parser.HTMLParser):
    """The elements of a page, and all of its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        if tag not in ("meta", "br", "line", "circle", "rect", "polyline"):
            self.open.append(tag)
        assert not [name for name, _value in attrs if name.startswith("on") or name in ("src", "href")]

    def handle_endtag(self, tag: str) -> None:
        if tag in self.open:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_r_d10_the_page_is_whole_and_what_others_have_named_is_text() -> None:
    ratio, query = {"name": f"e {EVIL}", "kind": "ratio", "max": 0.1}, {"name": "n", "kind": "query", "min": -9}
    figures = [
        report.figure(ratio, {"candidate": 0.02, "baseline": 0.01}, {}, None),
        report.figure(query, {}, {"candidate": EVIL}, {"status": "unknown", "message": EVIL}),
        report.figure(query, {"candidate": -1.0, "baseline": -2.0}, {}, None),
    ]
    evil = described(
        service=EVIL,
        phase=EVIL,
        migration={"id": EVIL, "events": EVENTS},
        success=[{"name": EVIL, "passed": None, "seen": EVIL}],
        differences=[EVIL],
    )
    gate = {"verdict": EVIL, "message": EVIL, "covered": 30.0, "left": 0.0}
    told = page(whole(*figures, gate=gate, does={"do": "roll back", "sentence": EVIL}, **evil))
    read = Reader(told)
    assert "<script" not in told
    assert read.open == []
    assert read.elements.count("svg") == 3
    assert read.elements.count("circle") == 4
    for wanted in (f"roll back: {EVIL}", f"e {EVIL}", f"unknown, {EVIL}", f"errors {EVIL}", "+1 points (+100.0 %)"):
        assert wanted in read.text, wanted
    for seldom in (whole(migration=None), whole(phase="finished"), whole(serving={}, rehearsal={"passed": None})):
        assert Reader(page(seldom)).open == []
