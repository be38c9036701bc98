# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether queues are empty: what one look at them says, and how many looks in a row have to say the same. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

ZEROS = 3
"""Looks in a row that have to find nothing: on its way to a worker a job may be nowhere for a moment."""
INTERVAL = 1.0
"""Seconds between two looks."""


@dataclass(frozen=True)
class Depth:
    """What a queue holds at one moment.

    ``waiting`` are for nobody yet. ``in_flight`` are with a worker; None where the inventory says that they cannot be
    seen. ``parts`` says how these numbers came about. ``unknown`` is why they cannot be trusted now; such a queue is
    not empty.

    What comes and goes between two looks is in none of them: ``moves`` is a number of the server that grows with it,
    None where it has none, and ``late`` is how many seconds it may be behind; ``touched`` says that there was something
    since the look before. ``unwatched`` is why neither of them would tell it, and empty where one would.
    """

    waiting: int
    in_flight: int | None
    moves: int | None = None
    late: float = 0.0
    touched: bool = False
    unwatched: str = ""
    parts: Mapping[str, int] = field(default_factory=dict)
    unknown: str = ""

    @property
    def is_empty(self) -> bool:
        return not self.waiting and not self.in_flight and not self.unknown

    def as_result(self) -> dict[str, Any]:
        return asdict(self)


def moved(before: Mapping[str, Depth], now: Mapping[str, Depth]) -> set[str]:
    """The queues with something that came or went between two looks, as far as they tell."""
    return {
        name for name, depth in now.items() if depth.touched or (name in before and before[name].moves != depth.moves)
    }


def advance(zeros: int, before: Mapping[str, Depth], now: Mapping[str, Depth]) -> int:
    """How many looks in a row have found nothing, and nothing that moved, once ``now`` is seen after ``before``."""
    if not all(depth.is_empty for depth in now.values()):
        return 0
    return 1 if moved(before, now) else zeros + 1


def are_quiet(now: Mapping[str, Depth], quiet: Mapping[str, float]) -> bool:
    """Whether nothing has moved for longer than it may be seen too late; ``quiet`` has the seconds by name."""
    return all(quiet[name] >= depth.late for name, depth in now.items())


def describe(now: Mapping[str, Depth], quiet: Mapping[str, float]) -> str:
    """The queues in one line; ``quiet`` has the seconds, by name, for which nothing was seen to move."""
    return "; ".join(f"{name!r}: {', '.join(_describe(depth, quiet[name]))}" for name, depth in now.items())


def _describe(depth: Depth, quiet: float) -> Iterator[str]:
    yield f"{depth.waiting} waiting"
    if depth.in_flight is not None:
        yield f"{depth.in_flight} in flight"
    if depth.unwatched:
        yield f"its producers are not watched ({depth.unwatched})"
    else:
        yield f"quiet for {int(quiet)} s" + (f" of {depth.late:.0f}" if quiet < depth.late else "")
    if depth.unknown:
        yield depth.unknown
