# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report of a migration, with what Prometheus says now and what advance.yml would do; nothing is written."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.bluegreen.cutover.plugins.module_utils._core import journal, report, success
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.circuit import Circuit
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import CutoverError
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.gate.criteria import (
    REDUCERS,
    Criterion,
    Part,
    parse,
)
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.indicators import indicators
from ansible_collections.bluegreen.cutover.plugins.module_utils._gate import (
    GATE_ARGUMENTS,
    Gate,
    as_result,
    make_options,
)
from ansible_collections.bluegreen.cutover.plugins.module_utils._migration import Migration
from ansible_collections.bluegreen.cutover.plugins.module_utils._prometheus import Prometheus, connection_of
from ansible_collections.bluegreen.cutover.plugins.module_utils._service_metrics import number, percentile

DAY = 86_400
"""Seconds that the figures are of, or since the migration began, where that is less."""
POINTS = 720
"""Moments of that time at which the value of a query is looked at."""
PATIENCE = 60.0
"""Seconds that are spent at most on samples that nobody has looked at for long."""


class _UnmeasuredError(Exception):
    """Why a figure is not there."""


class Report(Migration):
    """Reads only: as a run in check mode, it takes no lease and writes nothing."""

    def make(
        self, workloads: Sequence[Mapping[str, Any]] | None, snapshots: Mapping[str, Mapping[str, Any]]
    ) -> dict[str, Any]:
        """The day's report; what cannot be read is told in it. ``snapshots`` as for ``begin``."""
        described = self.describe(workloads)
        recommendation, gate = self._recommended(workloads, snapshots)
        problems: list[str] = []
        recorded = self._readable(self.store.read_journal, None, problems)
        now = self.clock.time()
        made = report.day(described, made=now, recommendation=recommendation, gate=gate)
        readings = {one["name"]: one for one in (gate or {}).get("criteria") or ()}
        seconds = min(DAY, now - made["migration"]["began"]) if made["migration"] else DAY
        return {
            **made,
            "seconds": seconds,
            "figures": self._figures(seconds, readings),
            "indicators": indicators(recorded, now) if recorded else None,
        }

    def _recommended(
        self, workloads: Sequence[Mapping[str, Any]] | None, snapshots: Mapping[str, Mapping[str, Any]]
    ) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
        """What advance.yml would do, and what the gate says; each None where there is nothing to say."""
        try:
            begun = self.begin(workloads, {}, advance=True, snapshots=snapshots)
            decision, weight = begun["decision"], begun["weight"]
            hold = journal.fold(self.store.read_journal()).hold
            step = report.held_step(decision, weight)
            if step is None or hold is None or hold["weight"] != weight:
                return report.recommend(decision, weight, None), None
            gate = self._look(step) if self.plan["gate"] else None
            outcome = self._outcome(hold, step, gate, 0.0)
        except CutoverError as error:
            return report.refused(error.message), None
        return report.recommend(decision, weight, outcome), gate

    def _look(self, step: Mapping[str, Any]) -> dict[str, Any]:
        """What the gate would say in the hold of ``step`` to a run that comes now; nothing of that is kept."""
        its, source = self.plan["gate"], self.plan["prometheus"]
        given = {name: one.get("default") for name, one in GATE_ARGUMENTS.items()}
        given.update({name: value for name, value in its.items() if name in given})
        given.update(window=step["hold"], hold=its["no_data"], scrape_interval=source["scrape_interval"])
        saved = self._gate_state(step)
        try:
            gate = Gate(make_options(given), connection_of(source), saved)
            until = time.monotonic() + PATIENCE
            result = gate.run(0.0)
            while result.behind and time.monotonic() < until:
                result = gate.run(0.0)
        except CutoverError as error:
            return {"verdict": "inconclusive", "reason": error.reason, "message": error.message, "criteria": []}
        return as_result(result)

    def _figures(self, seconds: float, readings: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Every criterion of the gate, measured over the last ``seconds``."""
        if not self.plan["gate"]:
            return []
        asked = self.plan["gate"]["criteria"]
        # One for all: a Prometheus that does not answer is not waited for at each.
        circuit, made = Circuit(), []
        for raw, one in zip(asked, parse(asked)):
            found: dict[str, float] = {}
            missing: dict[str, str] = {}
            for which in ("candidate", "baseline"):
                try:
                    source = Prometheus(connection_of(self.plan["prometheus"]), circuit)
                    value = _measured(source, one, which, max(1, math.ceil(seconds)))
                except _UnmeasuredError as error:
                    missing[which] = str(error)
                except CutoverError as error:
                    missing[which] = error.message
                else:
                    found.update({} if value is None else {which: value})
            made.append(report.figure(raw, found, missing, readings.get(one.name)))
        return made


def _measured(source: Prometheus, one: Criterion, which: str, seconds: int) -> float | None:
    """The ``candidate`` or the ``baseline``, by what the criterion names; None where it names none."""
    part, histogram, query = one.green, one.histogram, one.query
    if which == "baseline":
        part, histogram, query = one.blue, one.blue_histogram, one.baseline
    if part is not None:
        return _share(source, part, seconds)
    if histogram is not None:
        return _latency(source, str(histogram), seconds, one.quantile or 0.0)
    return None if query is None else _value(source, query, seconds, one.reducer)


def _share(source: Prometheus, part: Part, seconds: int) -> float:
    """The part's share of all requests, 0 to 1."""
    total, some = (number(source, f"sum(increase({one}[{seconds}s]))") for one in (part.total, part.part))
    if not total:
        raise _UnmeasuredError(f"Prometheus has no requests of {part.total} in this time")
    if some is None and not part.lazy:
        raise _UnmeasuredError(f"Prometheus has no {part.part}")
    return (some or 0.0) / total


def _latency(source: Prometheus, histogram: str, seconds: int, quantile: float) -> float:
    """A quantile in s."""
    value, count = percentile(source, histogram, seconds, quantile)
    if value is None or count < success.LEAST:
        raise _UnmeasuredError(f"{count:.0f} requests; {success.LEAST} are needed")
    return value


def _value(source: Prometheus, query: str, seconds: int, reducer: str | None) -> float:
    """The mean of what the query gave, of the moments for which it gave a number: of no requests there is no share."""
    step = max(1, math.ceil(seconds / POINTS))
    # No comparison lets NaN through.
    rows = source.query(f"avg_over_time((({query}) > -Inf)[{seconds}s:{step}s])").series()
    values = [points[-1][1] for _labels, points in rows]
    if not values or not all(map(math.isfinite, values)):
        raise _UnmeasuredError("Prometheus has no number for it in this time")
    if len(values) > 1 and reducer is None:
        raise _UnmeasuredError(f"the query gives {len(values)} series")
    return REDUCERS[reducer](values) if reducer else values[0]
