# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A circuit breaker as a pure state machine: closed, open after 5 failures, half-open after 60 s (R-C6)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

FAILURES = 5
REST = 60.0


@dataclass
class Circuit:
    """Whether a source may be asked. ``opened`` is the wall-clock time (s) of the last opening; closed without one."""

    failures: int = 0
    opened: float | None = None

    @classmethod
    def load(cls, saved: Mapping[str, Any] | None) -> Circuit:
        """From what ``dump`` gave."""
        return cls(**saved) if saved else cls()

    def dump(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    def phase(self, now: float) -> str:
        """``closed``, ``open`` or ``half_open`` at ``now`` (s). A clock that went back counts as the rest taken."""
        if self.opened is None:
            return "closed"
        return "open" if 0 <= now - self.opened < REST else "half_open"

    def succeeded(self) -> None:
        """A request was answered: closed."""
        self.failures, self.opened = 0, None

    def failed(self, now: float) -> None:
        """A request was not answered: the fifth in a row opens; one while half-open opens again."""
        self.failures += 1
        if self.failures >= FAILURES:
            self.opened = now

    def rest(self, now: float) -> float:
        """Seconds until the next trial is allowed; 0 when it is."""
        return REST - (now - self.opened) if self.opened is not None and self.phase(now) == "open" else 0.0
