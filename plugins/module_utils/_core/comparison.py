# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a candidate answers as fast as the old version, from requests that were made beside each other."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import InputError

ALPHA = 0.01
"""Probability of either wrong answer: calling a slower candidate as fast, or one that is as fast slower."""

AS_FAST = "as_fast"
SLOWER = "slower"
UNCLEAR = "unclear"

LEAST = 7
"""Pairs below which nothing can be proven: one half to the power of that is the largest below ``ALPHA``."""

BUDGET = 2000
"""Milliseconds that an answer may take."""

TIME = 60
"""Seconds after which no more pairs are asked; those that there are have to prove it."""


@dataclass(frozen=True)
class Comparison:
    """``verdict`` is ``as_fast``, ``slower`` or ``unclear``; of ``pairs`` so many were ``slower``. Medians in ms, None
    where nobody answered. ``sentence`` is for a person.
    """

    verdict: str
    pairs: int
    slower: int
    baseline_ms: float | None
    candidate_ms: float | None
    sentence: str

    def as_result(self) -> dict[str, Any]:
        """The same for JSON."""
        return asdict(self)


def check(requests: int, tolerance: float, floor_ms: float) -> None:
    """Raise ``InputError`` for options that could prove nothing."""
    if not LEAST <= requests <= 10_000:
        raise InputError(f"requests is {requests}; a number from {LEAST} to 10000 is needed to prove anything")
    if not 0 <= tolerance <= 10:
        raise InputError(f"tolerance is {tolerance}; a share like 0.1 is needed")
    if not 0 <= floor_ms < math.inf:
        raise InputError(f"floor_ms is {floor_ms}; milliseconds are needed")


def compare(pairs: Sequence[tuple[float | None, float | None]], *, tolerance: float, floor_ms: float) -> Comparison:
    """Judge ``pairs``: milliseconds of the old version and of the candidate, None where no right answer came.

    In a pair the candidate is slower when it took more than ``tolerance`` (0.1: 10 %) and more than ``floor_ms``
    longer, or did not answer. A sign test asks whether that is so in fewer than half of the pairs, which says that the
    median is within the tolerance; it holds whatever the times are distributed like. A pair whose old version did not
    answer says nothing.
    """
    usable = [(old, new) for old, new in pairs if old is not None]
    slower = sum(new is None or new > max(old * (1 + tolerance), old + floor_ms) for old, new in usable)
    count = len(usable)
    verdict = UNCLEAR
    if _tail(count, slower) < ALPHA:
        verdict = AS_FAST
    elif _tail(count, count - slower) < ALPHA:
        verdict = SLOWER
    old_ms = _median([old for old, _new in usable])
    new_ms = _median([new for _old, new in pairs if new is not None])
    said = {AS_FAST: "as fast as the old version", SLOWER: "slower than the old version", UNCLEAR: "not proven as fast"}
    return Comparison(
        verdict,
        count,
        slower,
        old_ms,
        new_ms,
        f"{said[verdict]}: median {_ms(new_ms)} against {_ms(old_ms)}; in {slower} of {count} pairs it took more than "
        f"{tolerance:.0%} and {floor_ms:g} ms longer",
    )


def _tail(count: int, hits: int) -> float:
    """Probability of at most ``hits`` heads of ``count`` fair coins."""
    return sum(math.comb(count, k) for k in range(hits + 1)) / (1 << count)


def _median(values: Sequence[float]) -> float | None:
    return round(statistics.median(values), 2) if values else None


def _ms(value: float | None) -> str:
    return "no answer" if value is None else f"{value:g} ms"
