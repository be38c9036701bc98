# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How often a gate is wrong and how fast it is right, by simulation of the very code that the module runs.

    python bench/gate_simulation.py            # the figures, as JSON
    python bench/gate_simulation.py --write    # and the table of docs/gate.md

One gate is one hour. Requests are Poisson; bad ones are Poisson too or, where it says bursty, come in groups of
geometric size. Blue's errors in the hour before are what the gate learns from.
"""

from __future__ import annotations

import argparse
import bisect
import functools
import itertools
import json
import math
import random
import statistics
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "collections"))

from ansible_collections.bluegreen.cutover.plugins.module_utils._core.gate.counters import Batch  # noqa: E402
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.gate.criteria import Criterion, parse  # noqa: E402
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.gate.decide import (  # noqa: E402
    CountJudge,
    Settings,
    own,
)

PAGE = ROOT / "docs" / "gate.md"
BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"
CELLS = tuple(itertools.product((1, 10, 100, 1000), (5, 20, 50)))
"""Requests a second of the service, percentage of them to green."""
HOUR = 3600.0
LIMIT, RATIO = 0.01, 1.5
"""The two criteria: at most 1 % errors; at most 1.5 times blue's."""
BURST = 10.0
"""Mean size of a group of errors where they are bursty."""


@functools.lru_cache(maxsize=4096)
def _cumulative(mean: float) -> list[float]:
    """The distribution function of a Poisson variable, up to where nothing is left."""
    out, term, total, k = [], math.exp(-mean), 0.0, 0
    while total < 1 - 1e-12 and k < mean + 20 * math.sqrt(mean) + 30:
        total += term
        out.append(total)
        k += 1
        term *= mean / k
    return out


def poisson(rng: random.Random, mean: float) -> int:
    """A Poisson variable; a rounded normal one where the mean is large."""
    if mean <= 0:
        return 0
    if mean > 300:
        return max(0, round(rng.gauss(mean, math.sqrt(mean))))
    return bisect.bisect_left(_cumulative(mean), rng.random())


def bad_of(rng: random.Random, n: int, p: float, bursty: bool) -> int:
    """Bad ones among ``n`` requests."""
    if not bursty:
        return min(n, poisson(rng, round(n * p, 6)))
    groups = poisson(rng, round(n * p / BURST, 6))
    return min(n, sum(1 + int(math.log(1 - rng.random()) / math.log(1 - 1 / BURST)) for _ in range(groups)))


@dataclass(frozen=True)
class Truth:
    """Error ratios of both arms at a time (s) of the gate, and how errors come."""

    green: Callable[[float], float]
    blue: Callable[[float], float]
    bursty: bool = False


def flat(p: float) -> Callable[[float], float]:
    """The same at every time."""
    return lambda _when: p


HEALTHY = Truth(flat(0.001), flat(0.001))
BURSTY = Truth(flat(0.005), flat(0.005), bursty=True)
AT_LIMIT = Truth(flat(LIMIT), flat(LIMIT / RATIO))
DRIFT = Truth(lambda t: 0.001 + 0.004 * t / HOUR, lambda t: 0.001 + 0.004 * t / HOUR)
RARE = Truth(flat(0.0002), flat(0.0002), bursty=True)
NULLS = {"healthy": HEALTHY, "bursty": BURSTY, "rare bursts": RARE, "at the limit": AT_LIMIT, "drifting": DRIFT}


def scrapes(rng: random.Random, rps: float, green: float, scrape: float, truth: Truth, span: float) -> Iterator[Batch]:
    """Batches of a gate, one a scrape; ``green`` is a share in 0..1."""
    for number in range(int(span / scrape)):
        when = (number + 1) * scrape
        n_g = poisson(rng, round(rps * green * scrape, 6))
        n_b = poisson(rng, round(rps * (1 - green) * scrape, 6))
        e_g = bad_of(rng, n_g, truth.green(when), truth.bursty)
        e_b = bad_of(rng, n_b, truth.blue(when), truth.bursty)
        yield Batch(when, e_g, n_g, e_b, n_b, when, when)


def criteria() -> list[Criterion]:
    """The two of ``LIMIT`` and ``RATIO``."""
    common = {"kind": "ratio", "total": 'n{colour="green"}', "bad": 'code="500"', "baseline": 'n{colour="blue"}'}
    return parse([{"name": "errors", "max": LIMIT, **common}, {"name": "than blue", "max_ratio": RATIO, **common}])


def judges(rng: random.Random, rps: float, scrape: float, truth: Truth) -> list[CountJudge]:
    """Fresh judges that have seen an hour of blue alone."""
    before = [
        (b.e_b, b.n_b) for b in scrapes(rng, rps, 0.0, scrape, Truth(flat(0), flat(truth.blue(0)), truth.bursty), HOUR)
    ]
    settings = Settings(window=HOUR, scrape=scrape, max_age=3 * scrape, hold=120)
    out = [CountJudge(c, own(settings, c, criteria())) for c in criteria()]
    for judge in out:
        judge.learn(before, None)
    return out


@dataclass
class ForOneMinute:
    """The usual rule: the error ratio of the last minute above the limit, for one minute."""

    scrape: float
    since: float | None = None

    def __post_init__(self) -> None:
        self.rows: list[Batch] = []

    def feed(self, batch: Batch) -> bool:
        """Whether it rolls back now."""
        self.rows = [*self.rows, batch][-max(1, round(60 / self.scrape)) :]
        n, e = sum(b.n_g for b in self.rows), sum(b.e_g for b in self.rows)
        if not n or e / n <= LIMIT:
            self.since = None
        elif self.since is None:
            self.since = batch.time
        return self.since is not None and batch.time - self.since >= 60


RULES = ("errors", "than blue", "for 1m")


def false_rollbacks(rps: float, green: float, scrape: float, truth: Truth, runs: int, seed: int) -> dict[str, float]:
    """The part of gates that each rule rolled back, where none should be."""
    hits = dict.fromkeys((*RULES, "gate"), 0)
    for run in range(runs):
        rng = random.Random(f"{seed} {rps} {green} {scrape} {run}")  # noqa: S311
        mine, plain, plain_hit = judges(rng, rps, scrape, truth), ForOneMinute(scrape), False
        for batch in scrapes(rng, rps, green, scrape, truth, HOUR):
            for judge in mine:
                judge.feed([batch])
            plain_hit = plain_hit or plain.feed(batch)
        for judge in mine:
            hits[judge.criterion.name] += judge.breach
        hits["gate"] += any(judge.breach for judge in mine)
        hits["for 1m"] += plain_hit
    return {rule: count / runs for rule, count in hits.items()}


def several(count: int, alpha: float, rps: float, runs: int, seed: int) -> float:
    """The part of gates rolled back by any of ``count`` criteria. Each counts something else, with errors of its own
    and exactly at its limit: the worst there can be. A scrape is 15 s, and ``rps`` what each gets.
    """
    total = {"kind": "ratio", "total": "n", "bad": 'code="500"', "max": LIMIT}
    asked = parse([{"name": str(number), **total} for number in range(count)])
    settings = Settings(window=HOUR, scrape=15, max_age=45, hold=120, alpha=alpha)
    hits = 0
    for run in range(runs):
        rng = random.Random(f"{seed} {count} {rps} {run} several")  # noqa: S311
        mine = [CountJudge(c, own(settings, c, asked)) for c in asked]
        for judge in mine:
            judge.learn((), 1.0)
            judge.feed(scrapes(rng, rps, 1.0, 15, AT_LIMIT, HOUR))
        hits += any(judge.breach for judge in mine)
    return hits / runs


def detection(
    rps: float, green: float, scrape: float, runs: int, seed: int, healthy: float = 0.001, broken: float = 0.05
) -> dict[str, float]:
    """Median seconds from the moment green begins to fail, after ten good minutes, to each rule's rollback."""
    times: dict[str, list[float]] = {rule: [] for rule in (*RULES, "gate")}
    for run in range(runs):
        rng = random.Random(f"{seed} {rps} {green} {scrape} {run} detection")  # noqa: S311
        onset = 600 + scrape * rng.random()
        # The scrape in which it begins has only a part of the errors.
        part = 1 - (onset % scrape) / scrape
        first = math.ceil(onset / scrape) * scrape
        truth = Truth(
            lambda t, first=first, part=part: (
                healthy  # type: ignore[misc]
                if t < first
                else healthy + (broken - healthy) * (part if t == first else 1)
            ),
            flat(healthy),
        )
        mine, plain = judges(rng, rps, scrape, truth), ForOneMinute(scrape)
        found: dict[str, float] = {}
        for batch in scrapes(rng, rps, green, scrape, truth, HOUR):
            for judge in mine:
                judge.feed([batch])
                if judge.breach:
                    found.setdefault(judge.criterion.name, batch.time - onset)
            if plain.feed(batch):
                found.setdefault("for 1m", batch.time - onset)
            if len(found) == len(RULES):
                break
        for rule in RULES:
            times[rule].append(found.get(rule, math.inf))
        times["gate"].append(min(found.get("errors", math.inf), found.get("than blue", math.inf)))
    return {rule: statistics.median(values) for rule, values in times.items()}


def shocks(rps: float, green: float, scrape: float, runs: int, seed: int) -> float:
    """The part of gates rolled back when both arms fail together, 5 % of all requests for ten minutes."""
    hits = 0
    for run in range(runs):
        rng = random.Random(f"{seed} {rps} {green} {run} shock")  # noqa: S311
        shape = lambda t: 0.05 if 600 < t <= 1200 else 0.001  # noqa: E731
        mine = judges(rng, rps, scrape, Truth(shape, shape))
        for batch in scrapes(rng, rps, green, scrape, Truth(shape, shape), 1500):
            for judge in mine:
                judge.feed([batch])
        hits += any(judge.breach for judge in mine)
    return hits / runs


def seconds(value: float) -> str:
    """For the table."""
    return "not within the hour" if math.isinf(value) else f"{value:.1f}" if value < 10 else f"{value:.0f}"


def figures(runs: int, seed: int) -> list[dict[str, object]]:
    """One row per cell."""
    out: list[dict[str, object]] = []
    for rps, percent in CELLS:
        green = percent / 100
        wrong = {name: false_rollbacks(rps, green, 15, truth, runs, seed) for name, truth in NULLS.items()}
        row = {
            "rps": rps,
            "green": percent,
            "false": wrong,
            "shock": shocks(rps, green, 15, max(1, runs // 2), seed),
            "detect_15s": detection(rps, green, 15, max(1, runs // 10), seed),
            "detect_1s": detection(rps, green, 1, max(1, runs // 20), seed),
        }
        out.append(row)
        print(json.dumps(row), file=sys.stderr, flush=True)
    return out


def table(rows: list[dict[str, object]], runs: int) -> str:
    """The figures as Markdown."""
    made = (
        f"Made by `python bench/gate_simulation.py --write --runs {runs}`: {runs} gates of one hour per cell and kind "
        "of health, scrape 15 s, alpha 0.01. The first column of figures is either criterion."
    )
    heads = (
        "requests/s", "to green", "false rollback, worst kind of health", "`max: 0.01`", "`max_ratio: 1.5`",
        "threshold for 1m", "both shocked", "5 % errors found, scrape 15 s", "threshold for 1m", "scrape 1 s",
        "threshold for 1m",
    )  # fmt: skip
    lines = [made, "", "| " + " | ".join(heads) + " |", "|" + "---:|" * len(heads)]
    worst: dict[str, float] = {}
    for row in rows:
        wrong: dict[str, dict[str, float]] = row["false"]  # type: ignore[assignment]
        top = {rule: max(one[rule] for one in wrong.values()) for rule in ("errors", "than blue", "for 1m")}
        top["gate"] = max(one["gate"] for one in wrong.values())
        top["for 1m, below the limit"] = max(one["for 1m"] for name, one in wrong.items() if name != "at the limit")
        for key, value in top.items():
            worst[key] = max(worst.get(key, 0.0), value)
        slow: dict[str, float] = row["detect_15s"]  # type: ignore[assignment]
        fast: dict[str, float] = row["detect_1s"]  # type: ignore[assignment]
        cells = [
            f"{row['rps']:,}", f"{row['green']} %", f"{top['gate']:.3f}", f"{top['errors']:.3f}",
            f"{top['than blue']:.3f}", f"{top['for 1m']:.3f}", f"{row['shock']:.3f}",
            seconds(slow["gate"]), seconds(slow["for 1m"]), seconds(fast["gate"]), seconds(fast["for 1m"]),
        ]  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    lines += ["", "Worst of all cells: " + ", ".join(f"{rule} {part:.3f}" for rule, part in worst.items()) + "."]
    return "\n".join(lines)


def main() -> None:
    """Simulate, print, and write the page when asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1000, help="gates per cell and kind of health")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--write", action="store_true", help="put the table into docs/gate.md")
    given = parser.parse_args()
    rows = figures(given.runs, given.seed)
    text = table(rows, given.runs)
    print(text)
    if given.write:
        page = PAGE.read_text(encoding="utf-8")
        before, rest = page.split(BEGIN)
        PAGE.write_text(f"{before}{BEGIN}\n{text}\n{END}{rest.split(END)[1]}", encoding="utf-8")


if __name__ == "__main__":
    main()
