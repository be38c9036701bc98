# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From raw counter samples to requests per scrape: resets, new series, gaps, several targets.

Raw samples, not ``rate()``: they show the first burst of a series that did not exist, they are as fresh as the last
scrape, and they stop when the target does.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

GREEN, BLUE = "green", "blue"
TOTAL, BAD, GOOD = "total", "bad", "good"
FORGET = 10
"""After a gap of so many ``max_age`` a target is a new one."""


@dataclass
class Series:
    """The raw samples of one series: ``points`` are (server time in s, value)."""

    arm: str
    role: str
    labels: Mapping[str, str]
    points: list[tuple[float, float]]

    @property
    def target(self) -> str:
        """What is scraped together, and so restarts together."""
        return _key(self.arm, {k: self.labels.get(k, "") for k in ("job", "instance")})


@dataclass
class Batch:
    """What one scrape of every target added: bad and all requests of both arms, and the time of the newest sample."""

    time: float
    e_g: float = 0.0
    n_g: float = 0.0
    e_b: float = 0.0
    n_b: float = 0.0
    green_time: float | None = None
    blue_time: float | None = None


def _key(prefix: str, labels: Mapping[str, str]) -> str:
    text = prefix + json.dumps(sorted(labels.items()))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


class Counters:
    """Turns samples, given in any portions, into batches, each sample once.

    ``scrape`` and ``max_age`` in s. ``since``: increments that end at or before it are only a baseline. ``role`` says
    what is counted beside the total: bad requests, or good ones.
    """

    def __init__(
        self, scrape: float, max_age: float, since: float, role: str = BAD, saved: Mapping[str, Any] | None = None
    ) -> None:
        self.scrape, self.max_age, self.since, self.role = scrape, max_age, since, role
        saved = saved or {}
        # target -> {"arm", "t": last sample, "v": {series: value}}
        self.targets: dict[str, dict[str, Any]] = {k: dict(v) for k, v in saved.get("targets", {}).items()}
        # slot -> {"arm": [bad, total, newest sample]}
        self.open: dict[int, dict[str, list[float]]] = {int(k): dict(v) for k, v in saved.get("open", {}).items()}
        self.closed: int = saved.get("closed", 0)

    def dump(self) -> dict[str, Any]:
        """For JSON."""
        return {"targets": self.targets, "open": {str(k): v for k, v in self.open.items()}, "closed": self.closed}

    def newest(self, arm: str) -> float | None:
        """The time of the newest sample of an arm."""
        return max((t["t"] for t in self.targets.values() if t["arm"] == arm), default=None)

    def feed(self, series: Iterable[Series]) -> list[Batch]:
        """New samples; older ones than those already seen are ignored. Values must be finite (see ``finite``)."""
        by_target: dict[str, list[Series]] = {}
        for one in series:
            by_target.setdefault(one.target, []).append(one)
        for target, members in by_target.items():
            self._feed_target(target, members)
        return self._close()

    def _feed_target(self, target: str, members: list[Series]) -> None:
        # Totals are fetched first: where they end, the other series of the target are complete.
        end = max((p[0] for s in members if s.role == TOTAL for p in s.points), default=None)
        if end is None:
            return
        state = self.targets.setdefault(target, {"arm": members[0].arm, "t": None, "v": {}})
        at: dict[float, dict[str, tuple[str, float]]] = {}
        for one in members:
            key = _key(one.role, one.labels)
            for when, value in one.points:
                if when <= end and (state["t"] is None or when > state["t"]):
                    at.setdefault(when, {})[key] = (one.role, value)
        for when in sorted(at):
            self._sample(state, when, at[when])

    def _sample(self, state: dict[str, Any], when: float, values: Mapping[str, tuple[str, float]]) -> None:
        before, known = state["t"], state["v"]
        added = {TOTAL: 0.0, BAD: 0.0, GOOD: 0.0}
        # Counters count on while nobody looks, so what a gap hid is not lost; the clock stands still for it.
        connected = before is not None and when - before <= FORGET * self.max_age
        # A restart resets every counter of the process, also those that have already grown past their old value.
        reset = any(value < known[key] for key, (_role, value) in values.items() if key in known)
        if connected:
            for key, (role, value) in values.items():
                # A series that is new on a target we were watching was born since: it counts from 0.
                added[role] += value - (0.0 if reset else known.get(key, 0.0))
        fresh = {key: value for key, (_role, value) in values.items()}
        state["v"] = fresh if reset or not connected else {**known, **fresh}
        state["t"] = when
        if not connected or when <= self.since:
            return
        bad = added[BAD] if self.role == BAD else added[TOTAL] - added[GOOD]
        slot = max(math.floor(when / self.scrape), self.closed + 1)
        cell = self.open.setdefault(slot, {}).setdefault(state["arm"], [0.0, 0.0, when])
        cell[0] += max(0.0, bad)
        cell[1] += added[TOTAL]
        cell[2] = max(cell[2], when)

    def _close(self) -> list[Batch]:
        """The slots that every live target has passed or reached, in order."""
        times = [t["t"] for t in self.targets.values()]
        if not times:
            return []
        newest = max(times)
        self.targets = {k: t for k, t in self.targets.items() if newest - t["t"] <= FORGET * self.max_age}
        reached = math.floor(min(t for t in times if newest - t <= self.max_age) / self.scrape)
        out = []
        for slot in sorted(s for s in self.open if s <= reached):
            cells = self.open.pop(slot)
            batch = Batch(max(cell[2] for cell in cells.values()))
            if GREEN in cells:
                batch.e_g, batch.n_g, batch.green_time = cells[GREEN]
            if BLUE in cells:
                batch.e_b, batch.n_b, batch.blue_time = cells[BLUE]
            self.closed = slot
            out.append(batch)
        return out


def grown(points: Iterable[tuple[float, float]]) -> float:
    """What a counter gained over its samples; a fall is a restart from 0."""
    total, before = 0.0, None
    for _when, value in points:
        if before is not None:
            total += value - before if value >= before else value
        before = value
    return total


def finite(series: Iterable[Series]) -> bool:
    """Whether every value is a number."""
    return all(math.isfinite(value) for one in series for _when, value in one.points)
