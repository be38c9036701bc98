# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who writes to a store, and how they are held for a while. One file per provider, all with this protocol.

A provider is constructed with its options, which ``OPTIONS`` in its file declares as an Ansible argument spec; the same
options must make it again in another process, which lets go what a killed one holds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True)
class Released:
    """How a hold ended: whether it ``lasted`` until then, and what is ``told`` of it."""

    lasted: bool
    told: dict[str, Any] = field(default_factory=dict)


class Writers(Protocol):
    """A provider. Everything raises ``FreezeError``; nothing takes longer than it says."""

    name: str

    def check(self, seconds: float) -> dict[str, Any]:
        """Raise what would keep them from being held for ``seconds``; change nothing.

        What is returned, of plain JSON types, is remembered before anybody is held, and given to the other two.
        """

    def hold(self, memory: dict[str, Any], wait: float) -> dict[str, Any]:
        """Hold them; what is in the middle of writing has ``wait`` seconds. What fails holds nobody. What is seen."""

    def release(self, memory: dict[str, Any]) -> Released:
        """Let them go, also where only some of ``hold`` was done; may be called again."""
