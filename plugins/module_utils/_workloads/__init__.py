# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Workloads: how one colour runs. One file per provider; those of a host have this protocol.

A Deployment has no boot and no signal: its pods come and go, and ``deployment.py`` says how many are to be there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True)
class State:
    """What a workload does now.

    ``state`` is the provider's own word for it. ``running`` is true while it serves, ``stopped`` when nothing of it
    runs and nothing is about to start it; on the way between the two both are false. ``enabled`` says whether a reboot
    would start it. ``since`` is when it began to serve, in unix seconds. ``restarts`` counts how often the provider
    has started it again by itself.
    """

    state: str
    running: bool
    stopped: bool
    enabled: bool
    pid: int | None
    since: int | None
    restarts: int
    exit_status: int | None


class Workload(Protocol):
    """A provider. Constructed for one workload; everything raises ``WorkloadError``.

    In check mode what would change something is added to ``commands`` and not run.
    """

    name: str
    commands: list[str]

    def read(self) -> State:
        """Read the state; change nothing. Raises also when the workload cannot be run at all."""

    def start(self, timeout: float) -> None:
        """Start it, as it is defined on disk now, and wait at most ``timeout`` seconds until the provider has."""

    def stop(self) -> None:
        """Have it stopped; return when the provider has begun to, at once."""

    def enable(self) -> None:
        """Make a reboot start it."""

    def disable(self) -> None:
        """Keep a reboot from starting it."""

    def signal(self, name: str) -> None:
        """Send a signal to its main process; refuse one that would kill it."""

    def evidence(self) -> dict[str, Any]:
        """Collect what a person needs to understand a failure. Never raises."""
