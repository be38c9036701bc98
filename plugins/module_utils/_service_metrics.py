# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Prometheus knows of a service and its migration: whether metrics flow, and whether it was a success."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible_collections.bluegreen.cutover.plugins.module_utils import _probe
from ansible_collections.bluegreen.cutover.plugins.module_utils._core import observing, success
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.circuit import Circuit
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import CutoverError, InputError
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.gate.counters import (
    BAD,
    BLUE,
    GREEN,
    TOTAL,
    Counters,
    Series,
)
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.probes import make_targets
from ansible_collections.bluegreen.cutover.plugins.module_utils._prometheus import Connection, Prometheus, read_token
from ansible_collections.bluegreen.cutover.plugins.module_utils._stores.files import FileStore

LONGEST = 86_400.0
"""Seconds of a migration that are looked at, the last ones: raw samples of weeks would be too many."""
CHUNK = 3600.0
"""Seconds of raw samples that one request asks for."""
BEFORE = 3600.0
"""Seconds before a migration that tell how fast the old version was."""
QUANTILE = 0.95


class FlowError(CutoverError):
    """Prometheus does not have what the candidate should tell it."""

    reason = "metrics"


def source(plan: Mapping[str, Any]) -> Prometheus:
    """The Prometheus that ``plan`` names; ``InputError`` where it names none."""
    given = plan.get("prometheus") or {}
    if not plan.get("metrics") or not given.get("url"):
        raise InputError("the plan has no metrics; set cutover_metrics and cutover_prometheus")
    token = read_token(given["token_file"]) if given.get("token_file") else None
    return Prometheus(Connection(given["url"], token=token, ca_path=given.get("ca_path")), Circuit())


def began(plan: Mapping[str, Any], now: float) -> float:
    """When the service's last migration began, in unix s; ``now`` where there was none."""
    migrations = FileStore(plan["state_dir"], plan["service"]).read_journal()["migrations"]
    return float(migrations[-1]["events"][0]["at"]) if migrations else now


def flowing(
    source: Prometheus,
    plan: Mapping[str, Any],
    wait: float | None = None,
    pause: Callable[[float], None] = time.sleep,
) -> dict[str, Any]:
    """Wait at most ``wait`` s until every target of the candidate is up and tells its requests; ``FlowError`` if not.

    By default five scrapes and 5 s: the candidate has only just been started.
    """
    selectors, scrape = plan["metrics"][plan["to"]], plan["prometheus"]["scrape_interval"]
    wait = 5 * scrape + 5 if wait is None else wait
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
    metrics, wanted = plan["metrics"], plan["success"]
    old, new = metrics[plan["from"]], metrics[plan["to"]]
    now = source.clock()
    span = min(max(1.0, now - since), LONGEST)
    scrape = plan["prometheus"]["scrape_interval"]
    asked: dict[str, Callable[[], success.Finding]] = {
        "availability": lambda: success.availability(
            *_requests(source, (old, new), span, scrape), wanted["availability"]
        ),
        "response time": lambda: _response(source, old, new, span, wanted["increase"]),
        "features": lambda: success.features(_probe.probe(front)[1] if front else [], plan["front"]),
        "alerting": lambda: success.alerting(
            source.alertmanagers(), source.rule_groups(), observing.group(plan["service"])
        ),
    }
    found = []
    for name, ask in asked.items():
        try:
            found.append(ask())
        except CutoverError as error:
            found.append(success.unknown(name, error.message))
    return found


def _requests(
    source: Prometheus, colours: Sequence[Mapping[str, str]], span: float, scrape: float
) -> tuple[float, float]:
    """Bad and all requests to both ``colours`` in the last ``span`` s."""
    now = source.now()
    # The gate's way to count: raw samples see the first failure of a series that did not exist, and a restart.
    counters = Counters(scrape, 3 * scrape, now - span)
    batches = []
    left = span + scrape
    while left > 0:
        length, offset = min(left, CHUNK), max(0.0, left - CHUNK)
        fed: list[Series] = []
        for arm, selectors in zip((BLUE, GREEN), colours):
            for role, name in ((TOTAL, "requests"), (BAD, "bad")):
                text = f"{selectors[name]}[{math.ceil(length)}s]" + (f" offset {math.floor(offset)}s" if offset else "")
                fed += [Series(arm, role, labels, points) for labels, points in source.query(text).series()]
        batches += counters.feed(fed)
        left -= CHUNK
    return sum(one.e_b + one.e_g for one in batches), sum(one.n_b + one.n_g for one in batches)


def _response(
    source: Prometheus, old: Mapping[str, str], new: Mapping[str, str], span: float, increase: float
) -> success.Finding:
    """The candidate in the last ``span`` s, against the old version in that time and ``BEFORE`` s before it."""
    percentiles, counts = [], []
    for selectors, seconds in ((old, span + BEFORE), (new, span)):
        added = f"sum by (le) (increase({selectors['latency']}[{math.ceil(seconds)}s]))"
        percentiles.append(_number(source, f"histogram_quantile({QUANTILE}, {added})"))
        counts.append(
            _number(source, f'sum by () ({added} and on(le) label_replace(vector(1), "le", "+Inf", "", ""))') or 0.0
        )
    return success.response(percentiles[0], percentiles[1], counts, increase)


def _number(source: Prometheus, query: str) -> float | None:
    """The value of a query that gives one series; None where it gives none, or what is no number."""
    rows = source.query(query).series()
    value = rows[0][1][-1][1] if len(rows) == 1 else math.nan
    return value if math.isfinite(value) else None
