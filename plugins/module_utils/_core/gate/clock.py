# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Time as the samples tell it: nothing here reads a clock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass
class SampleClock:
    """Seconds covered by samples. A gap longer than ``max_age`` (s) freezes it: missing data is not time."""

    seconds: float = 0.0
    last: float | None = None

    @classmethod
    def load(cls, saved: Mapping[str, Any] | None) -> SampleClock:
        """From what ``dump`` gave."""
        return cls(**saved) if saved else cls()

    def dump(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    def tick(self, sample: float, max_age: float) -> None:
        """A valid sample taken at ``sample`` (server time, s); an older one than the last changes nothing."""
        if self.last is None:
            self.last = sample
        elif sample > self.last:
            if sample - self.last <= max_age:
                self.seconds += sample - self.last
            self.last = sample

    def clear(self) -> None:
        """The condition does not hold any more."""
        self.seconds, self.last = 0.0, None
