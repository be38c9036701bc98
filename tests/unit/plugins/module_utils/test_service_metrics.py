# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Do metrics flow, and what became of a migration? A Prometheus that answers as a test says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from ansible_collections.bluegreen.cutover.plugins.module_utils import _probe, _service_metrics
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import InputError
from ansible_collections.bluegreen.cutover.plugins.module_utils._prometheus import Answer, SourceDownError

NOW = 1000.0


def selectors(colour: str) -> dict[str, str]:
    names = ("up", "requests", "bad", "latency", "errors")
    return {name: f"{name}_{colour}{{}}" for name in names}


PLAN: dict[str, Any] = {
    "service": "shop",
    "from": "blue",
    "to": "green",
    "front": "http://shop",
    "verify": [{"path": "/x", "method": "GET", "headers": {}, "status": [200], "json": {}, "budget_ms": 100}],
    "prometheus": {"url": "http://127.0.0.1:9090", "scrape_interval": 1},
    "success": {"availability": 0.999, "increase": 0.1},
    "metrics": {"group": "g", "blue": selectors("blue"), "green": selectors("green")},
}


class Source:
    """``answers`` gives what a query returns: points of each series, the first query that has one of its words."""

    def __init__(self, answers: dict[str, list[list[tuple[float, float]]]]) -> None:
        self.answers = answers
        self.time = 0.0

    def clock(self) -> float:
        return self.time

    def wait(self, seconds: float) -> None:
        self.time += seconds

    def now(self) -> float:
        return NOW

    def query(self, text: str) -> Answer:
        found = next((series for word, series in self.answers.items() if word in text), [])
        rows = [{"metric": {}, "values": points} for points in found]
        return Answer({"resultType": "matrix", "result": rows}, (), 200, 1.0)

    def alertmanagers(self) -> list[str]:
        return ["http://am"]

    def rule_groups(self) -> list[dict[str, Any]]:
        return [{"name": "g", "rules": [{"name": "a", "health": "ok"}]}]


class Down(Source):
    def now(self) -> float:
        raise SourceDownError("it did not answer")

    query = alertmanagers = rule_groups = now  # type: ignore[assignment]


def flowing(source: Source) -> dict[str, Any]:
    return _service_metrics.flowing(source, PLAN, pause=source.wait)  # type: ignore[arg-type]


def test_metrics_flow_when_all_are_up_and_tell_their_requests() -> None:
    found = flowing(Source({"up_green": [[(NOW, 1)], [(NOW, 1)]], "requests_green": [[(NOW, 5)]]}))
    assert found == {"sentence": "2 targets are up, 1 series of requests", "targets": 2, "series": 1}


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ({}, "has no target up_green"),
        ({"up_green": [[(NOW, 1)], [(NOW, 0)]], "requests_green": [[(NOW, 5)]]}, "1 of 2 targets up_green{} are up"),
        ({"up_green": [[(NOW, 1)]]}, "has no requests_green"),
    ],
)
def test_metrics_that_do_not_flow_are_waited_for_and_told(
    answers: dict[str, list[list[tuple[float, float]]]], message: str
) -> None:
    source = Source(answers)
    with pytest.raises(_service_metrics.FlowError, match=message):
        flowing(source)
    assert source.time == 10


def measure(source: Source, monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, Any]]:
    seen: Callable[..., Any] = lambda _targets: (True, [{"name": "x", "mismatches": []}])  # noqa: E731
    monkeypatch.setattr(_probe, "probe", seen)
    found = _service_metrics.measure(source, PLAN, NOW - 100)  # type: ignore[arg-type]
    return {one["name"]: one for one in found}


def test_both_colours_are_counted_from_the_beginning(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {
        # It ran before, and ends; its counter fell once, when it was started anew.
        "requests_blue": [[(NOW - 101, 5000), (NOW - 50, 5600), (NOW - 40, 100)]],
        # They begin in the migration: all that they have is of it.
        "requests_green": [[(NOW - 60, 200), (NOW, 1200)]],
        "bad_green": [[(NOW - 1, 3)]],
    }
    found = measure(Source(answers), monkeypatch)
    assert found["availability"]["seen"].startswith("99.8421% of 1900 requests")
    assert found["availability"]["passed"] is False
    assert (found["features"]["passed"], found["alerting"]["passed"]) == (True, True)
    assert found["response time"]["passed"] is None


def test_response_times_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {
        "histogram_quantile(0.95, sum by (le) (increase(latency_blue": [[(NOW, 0.1)]],
        "histogram_quantile(0.95, sum by (le) (increase(latency_green": [[(NOW, 0.12)]],
        "latency": [[(NOW, 500)]],
    }
    found = measure(Source(answers), monkeypatch)["response time"]
    assert found["passed"] is False
    assert found["seen"] == "p95 120.0 ms against 100.0 ms, at most 10% more are wanted"


def test_what_cannot_be_asked_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    found = measure(Down({}), monkeypatch)
    assert {name: one["passed"] for name, one in found.items()} == {
        "availability": None,
        "response time": None,
        "features": True,
        "alerting": None,
    }


def test_a_plan_without_metrics_is_refused() -> None:
    with pytest.raises(InputError, match="the plan has no metrics"):
        _service_metrics.source({**PLAN, "metrics": None})
    with pytest.raises(InputError, match="the plan has no metrics"):
        _service_metrics.source({**PLAN, "prometheus": {}})


FINALIZE = {**PLAN, "finalize": {"stable": 30 * 86_400, "criteria": [
    {"name": "precision", "query": "avg_over_time(precision[{window}])", "min": 0.95, "max": None},
]}}  # fmt: skip


def steady(source: Source) -> dict[str, tuple[Any, str]]:
    found = _service_metrics.steady(source, FINALIZE)  # type: ignore[arg-type]
    return {one["name"]: (one["passed"], one["seen"]) for one in found}


def test_r_d9_all_of_the_time_is_asked_for() -> None:
    answers = {
        "count_over_time((max(up_green{}))[2592000s:3600s])": [[(NOW, 718)]],
        "increase(bad_green{}[2592000s])": [[(NOW, 40)]],
        "increase(requests_green{}[2592000s])": [[(NOW, 100_000)]],
        "avg_over_time(precision[2592000s])": [[(NOW, 0.97)]],
    }
    found = steady(Source(answers))
    assert found["metrics"] == (True, "Prometheus has samples of up_green{} for 29.9 of 30 days")
    assert found["availability"] == (True, "99.9600% of 100000 requests, more than 99.90% are wanted")
    assert found["requests to blue"] == (True, "0 in the last day, none are wanted")
    assert found["precision"] == (True, "0.97; at least 0.95 is needed")


def test_a_retention_that_is_too_short_and_what_is_not_right_are_told() -> None:
    answers = {
        "count_over_time": [[(NOW, 360)]],
        "requests_green": [[(NOW, 1000)]],
        "bad_green": [[(NOW, 5)]],
        "requests_blue{}[86400s]": [[(NOW, 12)]],
    }
    found = steady(Source(answers))
    assert found["metrics"] == (
        False, "Prometheus has samples of up_green{} for 15 of 30 days; is its retention shorter?"
    )  # fmt: skip
    assert found["availability"][0] is False
    assert found["requests to blue"] == (False, "12 in the last day, none are wanted")
    assert found["precision"] == (None, "its query does not give one number")


def test_a_prometheus_that_is_down_knows_nothing_of_it() -> None:
    down = Down({})
    down.query = lambda _text: down.now()  # type: ignore[method-assign, assignment, return-value]
    assert {passed for passed, _seen in steady(down).values()} == {None}
