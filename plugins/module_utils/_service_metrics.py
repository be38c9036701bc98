# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Prometheus knows of a service and its migration: whether metrics flow, and whether it was a success."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.bluegreen.cutover.plugins.module_utils import _probe
from ansible_collections.bluegreen.cutover.plugins.module_utils._core import success
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.circuit import Circuit
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import CutoverError, InputError
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.gate.counters import grown
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.probes import make_targets
from ansible_collections.bluegreen.cutover.plugins.module_utils._prometheus import Prometheus, connection_of
from ansible_collections.bluegreen.cutover.plugins.module_utils._stores.opening import open_store

SAMPLES = 20_000
"""Of each series that are looked at, the last ones: those of a migration of weeks would be too many."""
BEFORE = 3600.0
"""Seconds before a migration that tell how fast the old version was."""
QUANTILE = 0.95
POINTS = 720
"""Moments of a long time at which it is looked whether Prometheus has the service: in 30 days one each hour."""
COVERED = 0.99
"""Share of them that must have samples: Prometheus may have been restarted."""
LAST = 86_400
"""Seconds within which the old version must have had no request, before it is removed."""


class FlowError(CutoverError):
    """Prometheus does not have what the candidate should tell it."""

    reason = "metrics"


def source(plan: Mapping[str, Any]) -> Prometheus:
    """The Prometheus that ``plan`` names; ``InputError`` where it names none."""
    given = plan.get("prometheus") or {}
    if not plan.get("metrics") or not given.get("url"):
        raise InputError("the plan has no metrics; set cutover_metrics and cutover_prometheus")
    return Prometheus(connection_of(given), Circuit())


def began(plan: Mapping[str, Any]) -> float:
    """When the service's last migration began, in unix s; ``InputError`` where there was none."""
    migrations = open_store(plan["service"], plan["state_dir"], plan["cluster"]).read_journal()["migrations"]
    if not migrations:
        raise InputError(f"{plan['service']} was never migrated; there is nothing to measure")
    return float(migrations[-1]["events"][0]["at"])


def flowing(source: Prometheus, plan: Mapping[str, Any], pause: Callable[[float], None] = time.sleep) -> dict[str, Any]:
    """Wait until every target of the candidate is up and tells its requests; ``FlowError`` if not.

    For five scrapes and 5 s: the candidate has only just been started.
    """
    selectors, scrape = plan["metrics"][plan["to"]], plan["prometheus"]["scrape_interval"]
    wait = 5 * scrape + 5
    deadline = source.clock() + wait
    while True:
        problem, up, counted = _flow(source, selectors, scrape)
        if not problem:
            return {"sentence": f"{up} targets are up, {counted} series of requests", "targets": up, "series": counted}
        if source.clock() >= deadline:
            raise FlowError(f"{problem}; waited {wait:.0f} s. Look at Prometheus' targets, then run again", {})
        pause(min(1.0, scrape))


def _flow(source: Prometheus, selectors: Mapping[str, str], scrape: float) -> tuple[str, int, int]:
    """What is wrong, or nothing; targets that are up; series of requests."""
    # Multiplied, so that both are of the same moment.
    rows = source.query(
        f"({selectors['up']}) * (time() - timestamp({selectors['up']}) <= bool {3 * scrape:g})"
    ).series()
    values = [points[-1][1] for _labels, points in rows]
    counted = len(source.query(selectors["requests"]).series())
    if not values:
        return f"Prometheus has no target {selectors['up']}", 0, counted
    if min(values) != 1:
        return f"{values.count(1)} of {len(values)} targets {selectors['up']} are up", values.count(1), counted
    return ("" if counted else f"Prometheus has no {selectors['requests']}"), len(values), counted


def measure(source: Prometheus, plan: Mapping[str, Any], since: float) -> list[success.Finding]:
    """Every finding of a migration that began ``since`` (unix s); none raises: what cannot be asked is unknown."""
    front = make_targets([], [plan["front"]], plan["verify"]) if plan["verify"] else []
    old, new = (plan["metrics"][plan[name]] for name in ("from", "to"))
    scrape, wanted = plan["prometheus"]["scrape_interval"], plan["success"]

    def counted(kind: str) -> float:
        return sum(_counted(source, one[kind], since, scrape) for one in (old, new))

    asked: dict[str, Callable[[], success.Finding]] = {
        "availability": lambda: success.availability(counted("bad"), counted("requests"), wanted["availability"]),
        "response time": lambda: _response(source, old, new, since, wanted["increase"]),
        "features": lambda: success.features(_probe.probe(front)[1] if front else [], plan["front"]),
        "alerting": lambda: success.alerting(source.alertmanagers(), source.rule_groups(), plan["metrics"]["group"]),
    }
    found = []
    for name, ask in asked.items():
        try:
            found.append(ask())
        except CutoverError as error:
            found.append(success.unknown(name, error.message))
    return found


def steady(source: Prometheus, plan: Mapping[str, Any]) -> list[success.Finding]:
    """What Prometheus says of the new version over ``finalize.stable``, and of the old one's last day; none raises."""
    old, new = (plan["metrics"][plan[name]] for name in ("from", "to"))
    seconds, wanted = plan["finalize"]["stable"], plan["success"]["availability"]

    def added(selector: str, over: float) -> float:
        return number(source, f"sum(increase({selector}[{max(1, math.ceil(over))}s]))") or 0.0

    asked: dict[str, Callable[[], success.Finding]] = {
        "metrics": lambda: _covered(source, new["up"], seconds),
        "availability": lambda: success.availability(
            added(new["bad"], seconds), added(new["requests"], seconds), wanted
        ),
        f"requests to {plan['from']}": lambda: success.unused(plan["from"], added(old["requests"], LAST)),
    }
    for one in plan["finalize"]["criteria"]:
        asked[one["name"]] = lambda one=one: _criterion(source, one, seconds)  # type: ignore[misc]
    found = []
    for name, ask in asked.items():
        try:
            found.append(ask())
        except CutoverError as error:
            found.append(success.unknown(name, error.message))
    return found


def _covered(source: Prometheus, up: str, seconds: float) -> success.Finding:
    step = max(1, math.ceil(seconds / POINTS))
    points = max(1, math.floor(seconds / step))
    seen = number(source, f"count_over_time((max({up}))[{points * step}s:{step}s])") or 0.0
    days = [f"{math.floor(part * step / 8640) / 10:g}" for part in (min(seen, points), points)]
    return {
        "name": "metrics",
        "passed": seen >= COVERED * points,
        "seen": f"Prometheus has samples of {up} for {days[0]} of {days[1]} days"
        + ("" if seen >= COVERED * points else "; is its retention shorter?"),
    }


def _criterion(source: Prometheus, one: Mapping[str, Any], seconds: float) -> success.Finding:
    value = number(source, one["query"].replace("{window}", f"{math.ceil(seconds)}s"))
    if value is None:
        return success.unknown(one["name"], "its query does not give one number")
    low, high = one["min"], one["max"]
    right = (low is None or value >= low) and (high is None or value <= high)
    bounds = [f"at least {low:g}" if low is not None else "", f"at most {high:g}" if high is not None else ""]
    told = f"{value:g}; {' and '.join(filter(None, bounds))} is needed"
    return {"name": one["name"], "passed": right, "seen": told}


def _counted(source: Prometheus, selector: str, since: float, scrape: float) -> float:
    """By how much the counters of ``selector`` have grown ``since`` then.

    By raw samples: increase() does not see the first failure of a series that was not there before.
    """
    now = source.now()
    since = max(since, now - SAMPLES * scrape)
    rows = source.query(f"{selector}[{math.ceil(now - since + 2 * scrape)}s]").series()
    return sum(grown(points if points[0][0] <= since else [(since, 0.0), *points]) for _labels, points in rows)


def _response(
    source: Prometheus, old: Mapping[str, str], new: Mapping[str, str], since: float, increase: float
) -> success.Finding:
    """The candidate ``since`` then, against the old version in that time and ``BEFORE`` s before it."""
    span = max(1.0, source.now() - since)
    percentiles, counts = [], []
    for selectors, seconds in ((old, span + BEFORE), (new, span)):
        value, count = percentile(source, selectors["latency"], math.ceil(seconds), QUANTILE)
        percentiles.append(value)
        counts.append(count)
    return success.response(percentiles[0], percentiles[1], counts, increase)


def percentile(source: Prometheus, histogram: str, seconds: int, quantile: float) -> tuple[float | None, float]:
    """The ``quantile`` (0 to 1) of the last ``seconds`` in s, None where there is none, and of how many requests."""
    added = f"sum by (le) (increase({histogram}[{seconds}s]))"
    # The highest bucket has them all.
    return number(source, f"histogram_quantile({quantile}, {added})"), number(source, f"max({added})") or 0.0


def number(source: Prometheus, query: str) -> float | None:
    """The value of a query that gives one series; None where it gives none, or what is no number."""
    rows = source.query(query).series()
    value = rows[0][1][-1][1] if len(rows) == 1 else math.nan
    return value if math.isfinite(value) else None
