# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From samples to requests per scrape."""

from __future__ import annotations

import json
import math

import pytest
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.gate.counters import (
    BAD,
    BLUE,
    GOOD,
    GREEN,
    TOTAL,
    Batch,
    Counters,
    Series,
    finite,
    grown,
)

Points = list[tuple[float, float]]


def series(role: str, points: Points, code: str = "200", instance: str = "a", arm: str = GREEN) -> Series:
    return Series(arm, role, {"job": "shop", "instance": instance, "code": code}, points)


def counters(since: float = 0.0, role: str = BAD) -> Counters:
    return Counters(scrape=10, max_age=30, since=since, role=role)


def both(code: str, points: Points, instance: str = "a") -> list[Series]:
    """A bad series is part of the total too."""
    return [series(TOTAL, points, code, instance), series(BAD, points, code, instance)]


def sums(batches: list[Batch]) -> tuple[float, float]:
    return sum(b.e_g for b in batches), sum(b.n_g for b in batches)


def test_increments_not_values_are_counted() -> None:
    out = counters().feed([series(TOTAL, [(10, 1000), (20, 1010), (30, 1030)])])
    assert [(b.time, b.n_g, b.e_g) for b in out] == [(20, 10, 0), (30, 20, 0)]


def test_a_sample_is_counted_once_however_often_it_is_seen() -> None:
    c = counters()
    points: Points = [(10, 0), (20, 5), (30, 9)]
    first = c.feed([series(TOTAL, points)])
    assert c.feed([series(TOTAL, points)]) == []
    again = Counters(10, 30, 0, BAD, json.loads(json.dumps(c.dump())))
    second = again.feed([series(TOTAL, [*points, (40, 12)])])
    assert sums(first + second) == (0, 12)


def test_a_series_born_on_a_watched_target_counts_from_zero() -> None:
    out = counters().feed([series(TOTAL, [(10, 100), (20, 110)]), *both("500", [(20, 7)])])
    assert sums(out) == (7, 17)


def test_a_target_seen_for_the_first_time_is_only_a_baseline() -> None:
    c = counters()
    c.feed([series(TOTAL, [(10, 0), (20, 10)])])
    out = c.feed([series(TOTAL, [(20, 10), (30, 20)]), series(TOTAL, [(30, 5000)], instance="new")])
    assert sums(out) == (0, 10)


def test_a_restart_resets_every_series_of_the_target() -> None:
    # The errors have already grown past their old value; that they are new is seen from the total.
    ok: Points = [(10, 100), (20, 200), (30, 50)]
    out = counters().feed([series(TOTAL, ok), *both("500", [(10, 1), (20, 1), (30, 4)])])
    assert sums(out) == (4, 100 + 50 + 4)


def test_what_a_gap_hid_is_counted_but_not_after_a_long_one() -> None:
    points: Points = [(10, 0), (20, 10), (100, 50), (110, 60)]
    assert sums(counters().feed([series(TOTAL, points), *both("500", [(100, 5), (110, 5)])])) == (5, 65)
    points = [(10, 0), (20, 10), (1000, 5000), (1010, 5010)]
    assert sums(counters().feed([series(TOTAL, points)])) == (0, 20)


def test_what_was_before_the_start_is_not_counted() -> None:
    assert sums(counters(since=20).feed([series(TOTAL, [(10, 0), (20, 10), (30, 30)])])) == (0, 20)


def test_good_requests_give_the_bad_ones_and_a_missing_good_series_means_all() -> None:
    total = series(TOTAL, [(10, 0), (20, 10)])
    assert sums(counters(role=GOOD).feed([total, series(GOOD, [(10, 0), (20, 8)])])) == (2, 10)
    assert sums(counters(role=GOOD).feed([total])) == (10, 10)


def test_a_slot_waits_for_every_live_target() -> None:
    c = counters()
    green: Points = [(10, 0), (21, 5)]
    assert c.feed([series(TOTAL, green), series(TOTAL, [(12, 0)], arm=BLUE)]) == []
    out = c.feed([series(TOTAL, green), series(TOTAL, [(12, 0), (23, 7)], arm=BLUE)])
    assert [(b.n_g, b.n_b, b.green_time, b.blue_time) for b in out] == [(5, 7, 21, 23)]


def test_a_dead_target_is_waited_for_no_longer_than_its_age() -> None:
    c = counters()
    c.feed([series(TOTAL, [(10, 0)]), series(TOTAL, [(10, 0)], arm=BLUE)])
    blue: Points = [(float(t), t) for t in range(10, 70, 10)]
    out = c.feed([series(TOTAL, blue, arm=BLUE)])
    assert [b.green_time for b in out] == [None] * 5
    assert c.newest(GREEN) == 10
    c.feed([series(TOTAL, [(float(t), t) for t in range(60, 400, 10)], arm=BLUE)])
    assert c.newest(GREEN) is None


def test_a_part_that_is_ahead_of_its_total_waits() -> None:
    c = counters()
    out = c.feed([series(TOTAL, [(10, 0), (20, 10)]), series(BAD, [(10, 0), (20, 1), (30, 5)], "500")])
    assert sums(out) == (1, 10)
    assert sums(c.feed([series(TOTAL, [(20, 10), (30, 20)]), series(BAD, [(20, 1), (30, 5)], "500")])) == (4, 10)


def test_a_part_without_a_total_is_nothing() -> None:
    assert counters().feed([series(BAD, [(10, 0), (20, 1)])]) == []


def test_growth_over_a_restart() -> None:
    assert grown([(1, 5), (2, 8), (3, 2), (4, 4)]) == 3 + 2 + 2
    assert grown([]) == 0


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_finite(value: float) -> None:
    assert not finite([series(TOTAL, [(1, 1), (2, value)])])
    assert finite([series(TOTAL, [(1, 1)])])
