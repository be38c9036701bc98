# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests whose error is controlled at every moment, not only at the end.

A false rollback, ever during the gate, has a probability of at most ``alpha``: an e-process starts at 1 and grows on
average only when the hypothesis "green is good enough" is false, so it reaches ``1/alpha`` with probability at most
``alpha`` otherwise (Ville's inequality). Everything is kept as natural logarithms.

- bets on the error ratio: Waudby-Smith and Ramdas, arXiv:2010.09686
- bets on green's share of the errors: after Lindon and Malek, arXiv:2011.03567
- likelihood ratio of two Bernoulli streams: Turner, Ly and Grünwald, arXiv:2106.02693 and 2203.09785
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

FLOOR = -700.0
"""The smallest logarithm kept: exp(FLOOR) is still a float, and JSON has no infinity."""
BETS = (0.2, 0.5, 0.9)
"""Parts of the stake that are put on "worse"; small ones find small regressions, large ones large."""
FACTORS = (2.0, 5.0, 15.0)
"""Alternatives of the likelihood ratios, as multiples of the odds that are still allowed."""
MARGIN = 1.3
"""How much more scatter than measured a likelihood ratio allows for, where there is more than chance."""
KNOWN_BAD = 10
"""Bad requests in the history from which its scatter is taken as known."""
LOOKS = 5.0
"""How often "is green worse than blue?" is asked during one shock; its error is shared out among them."""
UNKNOWN_CAP = 10.0
"""With a scatter that is not known, one scrape may multiply the evidence by (scrapes of history / this) at most: a
burst that the history could have missed cannot roll back alone."""


def log_mean(logs: Sequence[float]) -> float:
    """The logarithm of the mean of e-values given as logarithms."""
    top = max(logs)
    return top + math.log(sum(math.exp(x - top) for x in logs) / len(logs))


def _log_add(a: float, b: float) -> float:
    top = max(a, b)
    return top + math.log(math.exp(a - top) + math.exp(b - top))


def more(p: float, factor: float) -> float:
    """The probability whose odds are ``factor`` times those of ``p``; stays below 1."""
    odds = factor * p / (1.0 - p)
    return odds / (1.0 + odds)


def likelihood(k: float, m: float, q: float, p: float) -> float:
    """Log likelihood ratio of ``k`` bad in ``m``: probability ``q`` against ``p``."""
    if q <= 0.0:
        return FLOOR if k > 0 else -m * math.log1p(-p)
    return k * math.log(q / p) + (m - k) * math.log((1.0 - q) / (1.0 - p))


@dataclass
class Process:
    """An e-process with restarts, one component per bet or alternative.

    ``M ← (M + w_t)·L`` with ``w_1 = 1/2`` and ``w_t = 1/2/(horizon-1)``: a regression in the last hour of a window is
    not masked by the good hours before it. ``horizon`` is the number of scrapes in the window, in which the weights sum
    to 1. A window that nobody ends in time goes on with the same weight, or what comes after it would be masked: each
    of its lengths adds 1/2, and so half of the error.
    """

    horizon: int
    seen: int = 0
    bets: list[float] = field(default_factory=list)
    ratios: list[float] = field(default_factory=list)

    @classmethod
    def load(cls, horizon: int, saved: Mapping[str, Any] | None) -> Process:
        """From what ``dump`` gave; the horizon is the gate's."""
        return cls(horizon, **{k: v for k, v in (saved or {}).items() if k != "horizon"})

    def dump(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    def update(self, bets: Sequence[float], ratios: Sequence[float]) -> None:
        """One scrape: the log factor of every component. ``ratios`` is empty when nothing is known of the scatter."""
        self.seen += 1
        start = math.log(0.5 if self.seen == 1 else 0.5 / (self.horizon - 1))
        self.bets = self._step(self.bets, bets, start)
        self.ratios = self._step(self.ratios, ratios, start)

    @staticmethod
    def _step(logs: Sequence[float], factors: Sequence[float], start: float) -> list[float]:
        logs = logs or [FLOOR] * len(factors)
        return [max(FLOOR, _log_add(m, start) + f) for m, f in zip(logs, factors)]

    @property
    def log_e(self) -> float:
        """The evidence: the mean of the two families of components."""
        groups = [log_mean(g) for g in (self.bets, self.ratios) if g]
        return log_mean(groups) if groups else 0.0


@dataclass
class Scatter:
    """How clustered bad requests are: ``d`` divides log likelihood ratios; ``cap`` bounds one scrape's, see above."""

    d: float
    cap: float | None = None

    @classmethod
    def measure(cls, history: Iterable[tuple[float, float]]) -> Scatter | None:
        """From (bad, total) per scrape of blue before the gate: Pearson's dispersion. None when there is too little."""
        rows = [(e, n) for e, n in history if n > 0]
        bad, total = sum(e for e, n in rows), sum(n for e, n in rows)
        if len(rows) < 3 * UNKNOWN_CAP:
            return None
        cap = math.log(len(rows) / UNKNOWN_CAP)
        if not bad:
            return cls(MARGIN, cap)
        p = bad / total
        d = sum((e - n * p) ** 2 / (n * p) for e, n in rows) / (len(rows) - 1)
        error = math.sqrt(2.0 / len(rows))
        # What scatters no more than chance needs no more room than the error of that measurement.
        d = min(MARGIN, 1.0 + 2.0 * error) if d <= 1.0 + 2.0 * error else MARGIN * d
        return cls(d) if bad >= KNOWN_BAD else cls(d, cap)

    @property
    def excess(self) -> float:
        """The scatter without the margin: what divides the evidence *for* a pass."""
        return max(1.0, self.d / MARGIN)

    def temper(self, log_l: float) -> float:
        """A log likelihood ratio made safe. With a cap B = H/10 a missed burst (at most one in H scrapes) adds 1/10 to
        the mean, so 11/10 is divided out."""
        log_l = log_l / self.d
        return log_l if self.cap is None else min(log_l, self.cap) - math.log1p(1.0 / UNKNOWN_CAP)


def absolute_bets(e: float, n: float, p0: float) -> list[float]:
    """H0: error ratio ≤ ``p0``. ``L = 1 + c(x/p0 - 1)``; valid however errors cluster within a scrape."""
    x = min(1.0, e / n)
    return [math.log1p(c * (x / p0 - 1.0)) for c in BETS]


def absolute_ratios(e: float, n: float, p0: float, scatter: Scatter | None) -> list[float]:
    """H0: error ratio ≤ ``p0``, as a likelihood ratio against each alternative."""
    if scatter is None:
        return []
    return [scatter.temper(likelihood(min(e, n), n, more(p0, f), p0)) for f in FACTORS]


def share(n_g: float, n_b: float, rho: float) -> float:
    """Green's share of the bad requests when its ratio is exactly ``rho`` times blue's."""
    return rho * n_g / (rho * n_g + n_b)


def relative_bets(e_g: float, n_g: float, e_b: float, n_b: float, rho: float) -> list[float]:
    """H0: green's ratio ≤ ``rho`` times blue's, as bets on green's share of the bad requests."""
    if e_g + e_b <= 0:
        return [0.0] * len(BETS)
    x = e_g / (e_g + e_b)
    return [math.log1p(c * (x / share(n_g, n_b, rho) - 1.0)) for c in BETS]


def nearest_null(a: float, b: float, n_g: float, n_b: float, rho: float) -> tuple[float, float]:
    """The pair on ``p_g = rho·p_b`` nearest to (a, b) in Kullback-Leibler divergence (reverse projection)."""
    big_a = n_g * a + n_b * b
    s = big_a * (1.0 + rho) + rho * n_g * (1.0 - a) + n_b * (1.0 - b)
    b0 = 2.0 * big_a / (s + math.sqrt(max(0.0, s * s - 4.0 * rho * (n_g + n_b) * big_a)))
    return rho * b0, b0


def relative_ratios(
    e_g: float, n_g: float, e_b: float, n_b: float, rho: float, b: float, scatter: Scatter | None
) -> list[float]:
    """H0: green's ratio ≤ ``rho`` times blue's. ``b`` is blue's ratio as known *before* this scrape."""
    if scatter is None:
        return []
    out = []
    for factor in FACTORS:
        a = more(min(rho * b, 0.9), factor)
        a0, b0 = nearest_null(a, b, n_g, n_b, rho)
        log_l = likelihood(min(e_g, n_g), n_g, a, a0) + likelihood(min(e_b, n_b), n_b, b, b0)
        out.append(scatter.temper(log_l))
    return out


PROOF = (0.0, 0.25, 0.5, 0.75, 0.9, 0.97)
"""Alternatives of the proof of a pass, as parts of the limit. Those near it prove what is only just good enough, with
many requests; between the last one and the limit nothing can be proven.
"""
PROOF_WEIGHTS = (0.5, 0.2, 0.15, 0.075, 0.05, 0.025)


def proof_factors(k: float, m: float, p0: float, excess: float) -> list[float]:
    """H0: ratio ≥ ``p0``: log factor of each alternative below it."""
    return [max(FLOOR, likelihood(min(k, m), m, part * p0, p0) / excess) for part in PROOF]


def relative_proof_factors(e_g: float, n_g: float, e_b: float, n_b: float, rho: float, excess: float) -> list[float]:
    """H0: green's ratio ≥ ``rho`` times blue's: the same on green's share of the bad requests."""
    theta = share(n_g, n_b, rho)
    return [
        max(FLOOR, likelihood(e_g, e_g + e_b, share(n_g, n_b, part * rho) if part else 0.0, theta) / excess)
        for part in PROOF
    ]


def log_proof(logs: Sequence[float]) -> float:
    """The evidence for a pass, from the sums of ``proof_factors`` over the window."""
    top = max(logs)
    return top + math.log(sum(w * math.exp(x - top) for w, x in zip(PROOF_WEIGHTS, logs)))


def required_requests(p0: float, beta: float, excess: float = 1.0) -> int:
    """Requests that prove "ratio < p0" with error ``beta`` when none of them is bad."""
    return math.ceil(-excess * math.log(PROOF_WEIGHTS[0] * beta) / -math.log1p(-p0) - 1e-9)


def green_is_worse(e_g: float, n_g: float, e_b: float, n_b: float, alpha: float, d: float) -> bool:
    """Whether green's ratio is above blue's, with error ``alpha`` (Chernoff's bound on green's share of the bad).

    Asked before a rollback for an absolute limit: a shock to both arms is not green's fault.
    """
    e, theta = e_g + e_b, share(n_g, n_b, 1.0)
    if e <= 0 or e_g / e <= theta:
        return False
    deviance = e_g * math.log(e_g / (e * theta))
    if e_b > 0:
        deviance += e_b * math.log(e_b / (e * (1.0 - theta)))
    return deviance / d >= -math.log(alpha / LOOKS)
