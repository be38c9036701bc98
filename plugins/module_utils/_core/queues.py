# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether queues are empty: what one look at them says, and how many looks in a row have to say the same. Pure."""

from __future__ import annotations

from collections.abc import Mapping
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
    seen. ``added`` counts all that were ever added, None where the server does not. ``parts`` says how the numbers came
    about. ``unknown`` is why they cannot be trusted now; such a queue is not empty.
    """

    waiting: int
    in_flight: int | None
    added: int | None = None
    parts: Mapping[str, int] = field(default_factory=dict)
    unknown: str = ""

    @property
    def is_empty(self) -> bool:
        return not self.waiting and not self.in_flight and not self.unknown

    def as_result(self) -> dict[str, Any]:
        return asdict(self)


def advance(zeros: int, before: Mapping[str, Depth] | None, now: Mapping[str, Depth]) -> int:
    """How many looks in a row have found nothing, and nobody who adds, once ``now`` is seen after ``before``."""
    if not all(depth.is_empty for depth in now.values()):
        return 0
    if before is not None and any(_grew(before.get(name), depth) for name, depth in now.items()):
        return 1
    return zeros + 1


def describe(now: Mapping[str, Depth], before: Mapping[str, Depth] | None = None) -> str:
    """The queues in one line; ``before`` is the first look, for what was added since."""
    return "; ".join(_describe(name, depth, (before or {}).get(name)) for name, depth in now.items())


def _describe(name: str, depth: Depth, before: Depth | None) -> str:
    said = [f"{depth.waiting} waiting"]
    if depth.in_flight is not None:
        said.append(f"{depth.in_flight} in flight")
    if before is not None and depth.added is not None and before.added is not None and depth.added > before.added:
        said.append(f"{depth.added - before.added} added meanwhile")
    if depth.unknown:
        said.append(depth.unknown)
    return f"{name!r}: {', '.join(said)}"


def _grew(before: Depth | None, now: Depth) -> bool:
    return before is not None and before.added is not None and now.added is not None and now.added > before.added
