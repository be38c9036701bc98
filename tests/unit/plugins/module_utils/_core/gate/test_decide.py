# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Judges and verdicts, on batches and points made by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.gate.counters import Batch
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.gate.criteria import parse
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.gate.decide import (
    CountJudge,
    Point,
    Reading,
    Settings,
    ValueJudge,
    covered,
    decide,
    own,
)

SETTINGS = Settings(window=600, scrape=10, max_age=30, hold=120)
HISTORY = [(e, 1000.0) for e in (0, 0, 1, 1, 1, 2, 2, 1, 0, 2)] * 24


def count_judge(settings: Settings = SETTINGS, **keys: Any) -> CountJudge:
    base = {"name": "e", "kind": "ratio", "total": "n", "bad": 'c="5"', "baseline": "m"}
    (criterion,) = parse([{**base, **keys}])
    judge = CountJudge(criterion, settings)
    judge.learn(HISTORY, None)
    return judge


def batches(count: int, green: float, blue: float = 1, n: float = 1000, start: int = 0) -> list[Batch]:
    return [Batch(t := (start + i) * 10.0, green, n, blue, n, t, t) for i in range(1, count + 1)]


def value_judge(**keys: Any) -> ValueJudge:
    (criterion,) = parse([{"name": "q", "kind": "query", "query": "up", **keys}])
    return ValueJudge(criterion, SETTINGS)


def test_a_healthy_green_is_proven() -> None:
    judge = count_judge(max=0.01)
    judge.feed(batches(60, 1))
    reading = judge.reading()
    assert reading.status == "proven"
    assert (reading.value, reading.baseline, reading.bound) == (0.001, 0.001, 0.01)
    assert reading.covered == 590


def test_a_broken_green_is_a_breach_at_once_and_stays_one() -> None:
    judge = count_judge(max=0.01)
    judge.feed(batches(30, 1))
    judge.feed(batches(2, 60, start=30))
    assert judge.reading().status == "breach"
    judge.feed(batches(100, 0, start=32))
    assert judge.reading().status == "breach"


def test_a_crossing_between_two_looks_is_not_missed() -> None:
    judge = count_judge(max=0.01)
    judge.feed([*batches(3, 100), *batches(50, 0, start=3)])
    assert judge.reading().status == "breach"


def test_a_shock_to_both_is_held_and_passes_away() -> None:
    judge = count_judge(max=0.01)
    judge.feed(batches(5, 60, 60))
    assert judge.reading().status == "common_mode"
    judge.feed(batches(60, 0, 0, start=5))
    assert judge.reading().status == "proven"
    judge.feed(batches(5, 90, 2, start=65))
    assert judge.reading().status == "breach"


def test_without_a_baseline_the_limit_decides_alone() -> None:
    (criterion,) = parse([{"name": "e", "kind": "ratio", "total": "n", "bad": 'c="5"', "max": 0.01}])
    judge = CountJudge(criterion, SETTINGS)
    for batch in batches(20, 60, 0):
        judge.feed([Batch(batch.time, batch.e_g, batch.n_g, green_time=batch.time)])
    assert judge.reading().status == "breach"


def test_green_worse_than_blue_and_not_worse() -> None:
    judge = count_judge(max_ratio=1.5)
    judge.feed(batches(40, 10, 10))
    assert judge.reading().status in ("pending", "proven")
    judge.feed(batches(10, 40, 10, start=40))
    assert judge.reading().status == "breach"


def test_below_the_floor_nothing_is_worse_than_blue() -> None:
    judge = count_judge(max_ratio=1.5, floor=0.01)
    judge.feed(batches(60, 4, 0.5))
    assert judge.reading().status == "proven"
    assert judge.relative.log_e > SETTINGS.needed
    judge.feed(batches(20, 60, 0.5, start=60))
    assert judge.reading().status == "breach"


def test_a_scrape_without_both_arms_is_no_comparison_and_no_time() -> None:
    judge = count_judge(max_ratio=1.5)
    judge.feed([Batch(t * 10.0, 50, 100, green_time=t * 10.0) for t in range(20)])
    assert judge.batches == 0
    assert judge.reading().covered == 0


def test_a_scrape_without_requests_is_time_but_no_evidence() -> None:
    judge = count_judge(max=0.01)
    judge.feed(batches(10, 0, 0, n=0))
    assert judge.log_e == 0
    assert judge.reading().covered == 90
    assert judge.reading().value is None


def test_state_goes_through_json_without_a_difference() -> None:
    one, two = count_judge(max=0.01), count_judge(max=0.01)
    one.feed(batches(40, 3))
    two.feed(batches(20, 3))
    two = CountJudge(two.criterion, SETTINGS, json.loads(json.dumps(two.dump())))
    two.feed(batches(20, 3, start=20))
    assert two.reading() == one.reading()
    assert two.dump() == one.dump()


def test_after_a_hook_the_criterion_is_judged_anew() -> None:
    judge = count_judge(max=0.01, action="notify")
    judge.feed(batches(5, 90))
    assert judge.reading().status == "breach"
    again = CountJudge(judge.criterion, SETTINGS, judge.dump())
    assert again.reading().status != "breach"
    again.feed(batches(5, 90, start=5))
    assert again.reading().status == "breach"
    final = count_judge(max=0.01)
    final.feed(batches(5, 90))
    assert CountJudge(final.criterion, SETTINGS, final.dump()).reading().status == "breach"


def test_criteria_that_go_back_by_evidence_share_the_error_of_their_gate() -> None:
    ratio = {"kind": "ratio", "total": "n", "bad": 'code="500"', "max": 0.01}
    asked = parse(
        [
            {"name": "a", **ratio},
            {"name": "b", **ratio, "action": "rollback_progressive", "required": False},
            {"name": "c", **ratio, "action": "notify"},
            {"name": "d", "kind": "query", "query": "up", "min": 1},
        ]
    )
    alphas = {one.name: own(SETTINGS, one, asked).alpha for one in asked}
    assert alphas == {"a": 0.005, "b": 0.005, "c": 0.01, "d": 0.01}
    assert own(SETTINGS, asked[3], asked[3:]) == own(SETTINGS, asked[0], asked[:1]) == SETTINGS


def test_a_regression_in_hour_47_of_48_rolls_back() -> None:
    settings = Settings(window=48 * 3600, scrape=600, max_age=1800, hold=600)
    judge = count_judge(settings, max=0.01)
    quiet, hour = 47 * 6, 6
    judge.feed([Batch(t * 600.0, 1, 1000, 1, 1000, t * 600.0, t * 600.0) for t in range(quiet)])
    assert judge.reading().status == "proven"
    late = [Batch(t * 600.0, 50, 1000, 1, 1000, t * 600.0, t * 600.0) for t in range(quiet, quiet + hour)]
    judge.feed(late[:3])
    assert judge.reading().status == "breach"
    assert judge.sums[0] / judge.sums[1] < 0.002


@pytest.mark.parametrize(
    ("keys", "rps", "blue_rps", "needed"),
    [
        ({"max": 0.01}, 0.1, 1.0, 368),
        ({"max": 0.01}, 10.0, 1.0, None),
        ({"max_ratio": 1.5}, 1.0, 1.0, 4026),
        ({"max_ratio": 1.5}, 100.0, 100.0, None),
        ({"max_ratio": 1.5, "floor": 0.01}, 1.0, 1.0, None),
        ({"max_ratio": 1.5, "floor": 0.001}, 1.0, 1.0, 3688),
    ],
)
def test_a_window_that_cannot_reach_a_proof(
    keys: dict[str, Any], rps: float, blue_rps: float, needed: int | None
) -> None:
    short = count_judge(**keys).unreachable(rps, blue_rps)
    assert (short[1] if short else None) == needed
    if short:
        assert str(needed) in short[0]
        assert short[2] == rps * 600


def test_for_is_counted_on_samples_and_frozen_by_missing_data() -> None:
    judge = value_judge(min=1, **{"for": "60s"})
    for when in (0, 10, 20, 30):
        judge.feed(Point(0.0, when))
    assert judge.reading().status == "in_breach"
    judge.feed(Point(None, None, "no_data", "the answer is empty"))
    assert judge.reading().reason == "no_data"
    # Two minutes without data are not two minutes of breach.
    judge.feed(Point(0.0, 150))
    assert judge.bad_clock.seconds == 30
    for when in (160, 170):
        judge.feed(Point(0.0, when))
    assert judge.reading().status == "in_breach"
    judge.feed(Point(0.0, 180))
    assert judge.reading().status == "breach"
    judge.feed(Point(1.0, 190))
    assert judge.reading().status == "breach"


def test_one_good_sample_clears_the_clock_and_the_same_sample_twice_does_not_count() -> None:
    judge = value_judge(max=1, **{"for": "15s"})
    for value, when in ((2, 0), (2, 10), (2, 10), (1, 11), (2, 20), (2, 30)):
        judge.feed(Point(value, when))
    assert judge.reading().status == "in_breach"
    assert judge.bad_clock.seconds == 10


def test_without_for_the_first_bad_sample_decides_and_either_limit_counts() -> None:
    for value, bound in ((0.5, 1.0), (3.0, 2.0)):
        judge = value_judge(min=1, max=2)
        judge.feed(Point(value, 0))
        assert judge.reading().status == "breach"
        assert judge.reading().bound == bound


def test_a_value_that_is_bad_in_both_arms_is_held() -> None:
    judge = value_judge(max=1, baseline="x")
    judge.feed(Point(5.0, 0, baseline=4.0))
    assert judge.reading().status == "common_mode"
    judge.feed(Point(5.0, 10, baseline=0.5))
    assert judge.reading().status == "breach"


def test_a_value_judge_resumes() -> None:
    judge = value_judge(max=1, action="notify")
    judge.feed(Point(5.0, 0))
    again = ValueJudge(judge.criterion, SETTINGS, json.loads(json.dumps(judge.dump())))
    assert judge.reading().status == "breach"
    assert again.reading().status == "in_breach"
    again.feed(Point(0.5, 10))
    assert ValueJudge(again.criterion, SETTINGS, again.dump()).reading() == again.reading()


def reading(status: str = "proven", **more: Any) -> Reading:
    base: dict[str, Any] = {"name": "a", "action": "rollback", "required": True, "covered": 600.0}
    return Reading(status=status, **{**base, **more})


@pytest.mark.parametrize(
    ("readings", "verdict", "reason"),
    [
        ([reading()], "pass", None),
        ([reading(covered=599.0)], "open", "window"),
        ([reading(), reading("pending")], "inconclusive", "low_traffic"),
        ([reading(), reading("pending", reason="near_limit")], "inconclusive", "near_limit"),
        ([reading("pending"), reading("pending", reason="near_limit")], "inconclusive", "low_traffic"),
        ([reading(), reading("pending", required=False)], "pass", None),
        ([reading("pending", required=False)], "inconclusive", "low_traffic"),
        ([reading("in_breach")], "open", "breach_pending"),
        ([reading("unknown", reason="stale")], "open", "stale"),
        ([reading(), reading("unknown", reason="stale", required=False)], "pass", None),
        ([reading("common_mode", reason="common_mode")], "open", "common_mode"),
        ([reading("unknown", reason="stale"), reading("breach")], "fail", "breach"),
        ([reading(), reading("breach", required=False)], "fail", "breach"),
    ],
)
def test_verdicts(readings: list[Reading], verdict: str, reason: str | None) -> None:
    got = decide(readings, SETTINGS, 0.0)
    assert (got.verdict, got.reason) == (verdict, reason)


def test_the_hold_ends_and_nothing_unknown_ever_passes() -> None:
    unknown = [reading("unknown", reason="unreachable", message="down")]
    assert decide(unknown, SETTINGS, 119.0).verdict == "open"
    got = decide(unknown, SETTINGS, 120.0)
    assert (got.verdict, got.reason, got.message) == ("inconclusive", "unreachable", "a: down")
    assert decide(unknown, SETTINGS, 0.0, final=True).verdict == "inconclusive"
    assert decide([reading("in_breach")], SETTINGS, 0.0, final=True).reason == "breach_pending"
    assert decide([reading(covered=0.0)], SETTINGS, 0.0, final=True).verdict == "pass"


@pytest.mark.parametrize(
    ("action", "unknown_for", "verdict"),
    [("notify", 0.0, "fail"), ("notify", 120.0, "inconclusive"), ("rollback_progressive", 120.0, "fail")],
)
def test_a_hook_that_is_called_does_not_hide_what_is_unknown(action: str, unknown_for: float, verdict: str) -> None:
    """Else a hold would never end, and no run fail, while the data of a required criterion is gone."""
    slow = reading("breach", action=action, message="slow")
    gone = reading("unknown", name="b", reason="no_data", message="gone")
    got = decide([slow, gone], SETTINGS, unknown_for)
    assert got.verdict == verdict
    if verdict == "inconclusive":
        assert (got.reason, got.message) == ("no_data", "b: gone; a: slow")
    assert decide([slow, replace(gone, required=False)], SETTINGS, unknown_for).verdict == "fail"


def test_the_gravest_action_is_wanted() -> None:
    actions: Callable[..., Reading] = lambda action: reading("breach", action=action)  # noqa: E731
    assert decide([actions("notify"), actions("rollback_progressive")], SETTINGS, 0).action == "rollback_progressive"
    assert decide([actions("notify")], SETTINGS, 0).action == "notify"


def test_what_is_decided_stays_decided_when_data_is_missing() -> None:
    assert reading("breach").but_unknown("stale", "").status == "breach"
    assert reading("proven").but_unknown("stale", "").status == "unknown"
    assert covered([reading(covered=5.0), reading(covered=1.0, required=False)]) == 5.0
    assert covered([]) == 0.0
