# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Draining, pure: when nobody is being served any more, and how requests in flight are read."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

STOP = 120
"""Seconds that a workload may take to stop once it is drained; systemd itself kills after 90."""


@dataclass(frozen=True)
class Look:
    """One look at a colour: connections being served, and requests in flight as the service itself counts them.

    ``in_flight`` is None when it was not asked for, and also when it could not be told; then ``error`` says why.
    """

    connections: int
    in_flight: float | None = None
    error: str = ""

    @property
    def idle(self) -> bool:
        """Nothing was seen, and everything that was asked for was told."""
        return not self.connections and not self.in_flight and not self.error


def is_drained(looks: Sequence[Look]) -> bool:
    """Say whether the last two looks saw nothing.

    Two, because the kernel's table of connections may change while it is read, and because a client may open its next
    connection just after its last one ended.
    """
    return len(looks) >= 2 and looks[-1].idle and looks[-2].idle


def sum_metric(exposition: str, metric: str) -> float:
    """Sum all series of ``metric`` in a text in Prometheus' exposition format.

    Raises ValueError when there is none, or when one is not a finite number from 0: neither means zero.
    """
    pattern = re.compile(re.escape(metric) + r"(?:\{.*\})?\s+(\S+)(?:\s+-?\d+)?\s*")
    values = [found.group(1) for found in map(pattern.fullmatch, exposition.splitlines()) if found]
    if not values:
        raise ValueError(f"there is no series of {metric}")
    try:
        numbers = [float(value) for value in values]
    except ValueError:
        raise ValueError(f"{metric} has a value that is not a number") from None
    if not all(math.isfinite(number) and number >= 0 for number in numbers):
        raise ValueError(f"{metric} is {', '.join(values)}; numbers from 0 are expected")
    return sum(numbers)
