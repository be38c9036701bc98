# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the samples mean: one judge per criterion, one verdict for the gate."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from . import evidence
from .clock import SampleClock
from .counters import Batch
from .criteria import ACTIONS, Criterion
from .evidence import Process, Scatter

PASS, FAIL, INCONCLUSIVE, OPEN = "pass", "fail", "inconclusive", "open"
VERDICTS = (PASS, FAIL, INCONCLUSIVE, OPEN)
NEAR_LIMIT = "near_limit"
"""The reason of a criterion that has all the requests it needs and is not proven."""
FINAL_ACTIONS = ("rollback", "rollback_progressive")
"""After these the gate is over; after the others it may go on."""


@dataclass(frozen=True)
class Settings:
    """``alpha``: probability of a false rollback; ``beta``: of a false pass; the rest in s. ``own`` gives those of one
    criterion of a gate.
    """

    window: float
    scrape: float
    max_age: float
    hold: float
    alpha: float = 0.01
    beta: float = 0.05

    @property
    def horizon(self) -> int:
        """Scrapes in the window."""
        return max(2, math.ceil(self.window / self.scrape))

    @property
    def needed(self) -> float:
        """The log evidence that rolls back."""
        return -math.log(self.alpha)

    @property
    def needed_proof(self) -> float:
        """The log evidence that passes."""
        return -math.log(self.beta)


def own(settings: Settings, criterion: Criterion, criteria: Sequence[Criterion]) -> Settings:
    """The settings of one criterion of a gate. What may go back by evidence shares ``alpha``, so that all of them
    together are wrong no more often than that (Bonferroni); a hook that is called in vain takes nothing back, and has
    all of it.
    """
    if not criterion.counts or criterion.action not in FINAL_ACTIONS:
        return settings
    sharing = sum(one.counts and one.action in FINAL_ACTIONS for one in criteria)
    return replace(settings, alpha=settings.alpha / max(1, sharing))


@dataclass(frozen=True)
class Reading:
    """Where one criterion stands.

    ``status``: ``breach`` (decided), ``common_mode`` (both arms are bad), ``unknown`` (see ``reason``), ``in_breach``
    (bad, not for long enough yet), ``proven``, ``pending``. ``value`` and ``bound`` in the criterion's unit,
    ``covered``, ``sample_time`` in s, evidence as natural logarithms.
    """

    name: str
    status: str
    action: str
    required: bool
    reason: str | None = None
    message: str = ""
    value: float | None = None
    bound: float | None = None
    baseline: float | None = None
    n: float | None = None
    bad: float | None = None
    log_e: float | None = None
    log_e_needed: float | None = None
    log_proof: float | None = None
    log_proof_needed: float | None = None
    covered: float = 0.0
    sample_time: float | None = None

    def but_unknown(self, reason: str, message: str) -> Reading:
        """The same reading, when the newest data could not be had. What is decided stays decided."""
        return self if self.status == "breach" else replace(self, status="unknown", reason=reason, message=message)


class CountJudge:
    """Judges a ratio or a share of slow requests, one scrape after the other."""

    def __init__(self, criterion: Criterion, settings: Settings, saved: Mapping[str, Any] | None = None) -> None:
        saved = saved or {}
        self.criterion, self.settings = criterion, settings
        self.clock = SampleClock.load(saved.get("clock"))
        self.absolute = Process.load(settings.horizon, saved.get("absolute"))
        self.relative = Process.load(settings.horizon, saved.get("relative"))
        self.proof: list[float] = saved.get("proof") or [0.0] * len(evidence.PROOF)
        self.relative_proof: list[float] = saved.get("relative_proof") or [0.0] * len(evidence.PROOF)
        self.sums: list[float] = saved.get("sums") or [0.0] * 4
        # Since green last looked healthy: the log evidence, and the sums over that time.
        self.recent: list[float] = saved.get("recent") or [0.0] * 5
        self.batches: int = saved.get("batches", 0)
        self.breach: bool = saved.get("breach", False)
        self.common: bool = saved.get("common", False)
        self.rho: float | None = saved.get("rho", criterion.rho)
        self.le: float | None = saved.get("le", criterion.le)
        self.scatter = Scatter(**saved["scatter"]) if saved.get("scatter") else None
        self.history: list[float] = saved.get("history") or [0.0, 0.0]
        if self.breach and criterion.action not in FINAL_ACTIONS:
            # The hook has been called; what follows is judged anew.
            self.breach, self.absolute, self.relative = False, Process(settings.horizon), Process(settings.horizon)

    def dump(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "clock": self.clock.dump(),
            "absolute": self.absolute.dump(),
            "relative": self.relative.dump(),
            "proof": self.proof,
            "relative_proof": self.relative_proof,
            "sums": self.sums,
            "batches": self.batches,
            "recent": self.recent,
            "breach": self.breach,
            "common": self.common,
            "rho": self.rho,
            "le": self.le,
            "scatter": asdict(self.scatter) if self.scatter else None,
            "history": self.history,
        }

    @property
    def is_relative(self) -> bool:
        """Whether green is compared with blue (else with a limit)."""
        return self.criterion.rho is not None or self.criterion.increase is not None

    @property
    def p0(self) -> float | None:
        """The limit that a ratio of green alone is compared with: the criterion's, or the floor of a comparison."""
        return self.criterion.floor if self.is_relative else self.criterion.limit

    @property
    def excess(self) -> float:
        """Scatter beyond chance, 1 when it is not known."""
        return self.scatter.excess if self.scatter else 1.0

    def learn(self, history: Sequence[tuple[float, float]], known: float | None) -> None:
        """Blue's (bad, total) per scrape before the gate; ``known`` is a dispersion given by the user."""
        self.history = [sum(e for e, n in history), sum(n for e, n in history)]
        self.scatter = Scatter(known) if known is not None else Scatter.measure(history)

    def feed(self, batches: Iterable[Batch]) -> None:
        """New scrapes, oldest first; each is looked at, so that a first crossing is not missed."""
        for batch in batches:
            if batch.green_time is None or (self.is_relative and batch.blue_time is None):
                continue
            self.clock.tick(batch.time, self.settings.max_age)
            if not self.breach:
                self._update(batch)

    def _update(self, b: Batch) -> None:
        if b.n_g > 0 and self.p0 is not None:
            bets = evidence.absolute_bets(b.e_g, b.n_g, self.p0)
            self.absolute.update(bets, evidence.absolute_ratios(b.e_g, b.n_g, self.p0, self.scatter))
            factors = evidence.proof_factors(b.e_g, b.n_g, self.p0, self.excess)
            self.proof = [max(evidence.FLOOR, x + f) for x, f in zip(self.proof, factors)]
            since = self.recent[0] + bets[1]
            added = (b.e_g, b.n_g, b.e_b, b.n_b)
            self.recent = [since] + [x + y for x, y in zip(self.recent[1:], added)] if since > 0 else [0.0] * 5
        if b.n_g > 0 and b.n_b > 0 and self.rho is not None:
            known_bad, known = self.history[0] + self.sums[2], self.history[1] + self.sums[3]
            blue = min(0.5, (known_bad + 0.5) / (known + 1.0))
            counts = (b.e_g, b.n_g, b.e_b, b.n_b)
            self.relative.update(
                evidence.relative_bets(*counts, self.rho),
                evidence.relative_ratios(*counts, self.rho, blue, self.scatter),
            )
            factors = evidence.relative_proof_factors(*counts, self.rho, self.excess)
            self.relative_proof = [max(evidence.FLOOR, x + f) for x, f in zip(self.relative_proof, factors)]
        self.batches += 1
        self.sums = [x + y for x, y in zip(self.sums, (b.e_g, b.n_g, b.e_b, b.n_b))]
        if self.log_e >= self.settings.needed:
            self.common = not self._is_greens_fault()
            self.breach = not self.common
        else:
            self.common = False

    def _is_greens_fault(self) -> bool:
        has_blue = self.criterion.blue is not None or self.criterion.blue_histogram is not None
        if self.is_relative or not has_blue:
            return True
        if self.recent[2] <= 0:
            # Green looks healthy again; the evidence is what a shock has left.
            return False
        if self.recent[4] <= 0:
            # Without blue's traffic there is nothing to compare with: the limit decides alone.
            return True
        d = self.scatter.d if self.scatter else evidence.MARGIN
        e_g, n_g, e_b, n_b = self.recent[1:]
        return evidence.green_is_worse(e_g, n_g, e_b, n_b, self.settings.alpha, d)

    @property
    def log_e(self) -> float:
        """The evidence against green: above the limit; for a comparison above blue *and* above the floor."""
        if not self.is_relative:
            return self.absolute.log_e
        return self.relative.log_e if self.p0 is None else min(self.relative.log_e, self.absolute.log_e)

    @property
    def log_proof(self) -> float:
        """The evidence for green: below the limit; for a comparison below blue's *or* below the floor."""
        absolute = evidence.log_proof(self.proof) if self.p0 is not None else 0.0
        return max(absolute, evidence.log_proof(self.relative_proof)) if self.is_relative else absolute

    def required(self) -> int | None:
        """Requests that green needs to pass when none is bad; None when that depends on blue's errors alone."""
        return None if self.p0 is None else evidence.required_requests(self.p0, self.settings.beta, self.excess)

    def unreachable(self, rps: float, blue_rps: float) -> tuple[str, int, float] | None:
        """Whether the window cannot reach a proof at these rates (1/s): why, requests needed, requests expected."""
        s = self.settings
        expected = rps * s.window
        needed = self.required()
        if needed is not None and expected >= needed:
            return None
        if self.is_relative and rps > 0 and blue_rps > 0 and self.rho is not None and self.history[1] > 0:
            # No bad request in green, and as many in blue as its history promises.
            per_bad = -math.log1p(-evidence.share(rps, blue_rps, self.rho)) / self.excess
            blue_bad = max(self.history[0], 3.0) / self.history[1]
            enough = -math.log(evidence.PROOF_WEIGHTS[0] * s.beta) / per_bad / (blue_rps * blue_bad) * rps
            if expected >= enough:
                return None
            needed = math.ceil(enough) if needed is None else min(needed, math.ceil(enough))
        if needed is None:
            return None
        longer = f"; the window would have to be {needed / rps:.0f} s" if rps > 0 else ""
        text = (
            f"{self.criterion.name}: {needed} requests to green are needed to prove a pass, and at {rps:.3g} a second "
            f"the window of {s.window:g} s brings {expected:.0f}{longer}"
        )
        return text, needed, expected

    def reading(self) -> Reading:
        """Where it stands."""
        c, s = self.criterion, self.settings
        e_g, n_g, e_b, n_b = self.sums
        blue = e_b / n_b if n_b else None
        bound = c.limit
        if self.is_relative:
            bound = None if blue is None or self.rho is None else max(self.rho * blue, c.floor or 0.0)
        status, reason, message = "pending", None, ""
        if self.breach:
            status = "breach"
            message = "worse than blue" if self.is_relative else "above the limit"
        elif self.common:
            status, reason, message = "common_mode", "common_mode", "blue is as bad as green: not green's fault"
        elif self.log_proof >= s.needed_proof:
            status = "proven"
        else:
            needed = self.required()
            message = f"{n_g:.0f} requests seen" + (f", {needed} needed if none is bad" if needed else "")
            if needed and n_g >= needed and bound is not None:
                reason = NEAR_LIMIT
                message = f"{e_g / n_g:.4g} of {n_g:.0f} requests is not far enough below the limit {bound:.4g}"
        return Reading(
            c.name, status, c.action, c.required, reason, message, e_g / n_g if n_g else None, bound, blue, n_g, e_g,
            self.log_e, s.needed, self.log_proof, s.needed_proof, self.clock.seconds, self.clock.last,
        )  # fmt: skip


@dataclass(frozen=True)
class Point:
    """A value at one moment; ``reason`` when there is none. ``sample_time`` (s) is that of the data behind it."""

    value: float | None
    sample_time: float | None
    reason: str | None = None
    message: str = ""
    baseline: float | None = None


class ValueJudge:
    """Judges the value of a query or a burn rate: bad for long enough, counted on the times of the samples."""

    def __init__(self, criterion: Criterion, settings: Settings, saved: Mapping[str, Any] | None = None) -> None:
        saved = saved or {}
        self.criterion, self.settings = criterion, settings
        self.clock = SampleClock.load(saved.get("clock"))
        self.bad_clock = SampleClock.load(saved.get("bad_clock"))
        self.breach: bool = saved.get("breach", False)
        self.point = Point(**saved["point"]) if saved.get("point") else Point(None, None, "no_data", "not asked yet")
        self.asked: float | None = saved.get("asked")
        if self.breach and criterion.action not in FINAL_ACTIONS:
            self.breach = False
            self.bad_clock.clear()

    def dump(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "clock": self.clock.dump(),
            "bad_clock": self.bad_clock.dump(),
            "breach": self.breach,
            "point": asdict(self.point),
            "asked": self.asked,
        }

    def is_bad(self, value: float | None) -> bool:
        """Whether a value is past a limit."""
        c = self.criterion
        return value is not None and ((c.high is not None and value > c.high) or (c.low is not None and value < c.low))

    def feed(self, point: Point) -> None:
        """The next moment. Without data, both clocks stand still."""
        self.point = point
        if point.reason is not None or point.sample_time is None or self.breach:
            return
        self.clock.tick(point.sample_time, self.settings.max_age)
        if not self.is_bad(point.value):
            self.bad_clock.clear()
        elif not self.is_bad(point.baseline):
            self.bad_clock.tick(point.sample_time, self.settings.max_age)
            self.breach = self.bad_clock.seconds >= self.criterion.hold

    def reading(self) -> Reading:
        """Where it stands."""
        c, p = self.criterion, self.point
        status, reason, message = "proven", None, ""
        if self.breach:
            status, message = "breach", f"past the limit for {self.bad_clock.seconds:.0f} s of samples"
        elif p.reason is not None:
            status, reason, message = "unknown", p.reason, p.message
        elif self.is_bad(p.value) and self.is_bad(p.baseline):
            status, reason, message = "common_mode", "common_mode", "blue is as bad as green: not green's fault"
        elif self.is_bad(p.value):
            status, reason = "in_breach", "breach_pending"
            message = f"past the limit for {self.bad_clock.seconds:.0f} s of {c.hold:g} s"
        bound = c.high if c.low is None or (c.high is not None and (p.value or 0.0) > c.low) else c.low
        return Reading(
            c.name, status, c.action, c.required, reason, message, p.value, bound, p.baseline,
            covered=self.clock.seconds, sample_time=p.sample_time,
        )  # fmt: skip


@dataclass(frozen=True)
class Verdict:
    """What the gate says. ``reason`` and ``message`` say why, ``action`` what a failed criterion asks for."""

    verdict: str
    reason: str | None = None
    message: str = ""
    action: str | None = None


def _join(readings: Iterable[Reading]) -> str:
    return "; ".join(f"{r.name}: {r.message or r.reason or r.status}" for r in readings)


def covered(readings: Sequence[Reading]) -> float:
    """Seconds of the window for which every required criterion had data."""
    return min((r.covered for r in _required(readings)), default=0.0)


def _required(readings: Sequence[Reading]) -> list[Reading]:
    return [r for r in readings if r.required] or list(readings)


def decide(readings: Sequence[Reading], settings: Settings, unknown_for: float, final: bool = False) -> Verdict:
    """The verdict. ``unknown_for``: seconds since a required criterion could last be judged. ``final``: no waiting.

    A broken criterion that only calls a hook must not hide for ever that another one cannot be judged.
    """
    broken = sorted((r for r in readings if r.status == "breach"), key=lambda r: ACTIONS.index(r.action))
    required = _required(readings)
    unknown = [r for r in required if r.status in ("unknown", "common_mode")]
    goes_back = bool(broken) and broken[0].action in FINAL_ACTIONS
    if unknown and not goes_back and (final or unknown_for >= settings.hold):
        return Verdict(INCONCLUSIVE, unknown[0].reason, _join([*unknown, *broken]))
    if broken:
        return Verdict(FAIL, "breach", _join(broken), broken[0].action)
    if unknown:
        return Verdict(OPEN, unknown[0].reason, _join(unknown))
    if not final and covered(readings) < settings.window:
        return Verdict(OPEN, "window")
    pending = [r for r in required if r.status == "in_breach"]
    if pending:
        return Verdict(INCONCLUSIVE if final else OPEN, "breach_pending", _join(pending))
    unproven = [r for r in required if r.status != "proven"]
    if unproven:
        few = [r for r in unproven if r.reason != NEAR_LIMIT]
        return Verdict(INCONCLUSIVE, "low_traffic" if few else NEAR_LIMIT, "not proven: " + _join(unproven))
    return Verdict(PASS)
