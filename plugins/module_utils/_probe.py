# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Probes: asked in rounds until all are healthy, and what is told when they are not."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import ProbeError
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.probes import (
    SAFE_METHODS,
    Answer,
    Target,
    observe,
)
from ansible_collections.bluegreen.cutover.plugins.module_utils._http import ask_all

#: Argument spec of one probe, but for where it asks and for what nobody may see.
PROBE_ARGUMENTS: dict[str, Any] = {
    "name": {"type": "str"},
    "method": {
        "type": "str",
        "default": "GET",
        "choices": ["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"],
    },
    "body": {"type": "raw"},
    "headers": {"type": "dict", "default": {}},
    "status": {"type": "list", "elements": "int", "default": [200]},
    "json": {"type": "dict", "default": {}},
    "budget_ms": {"type": "int", "default": 2000},
}


def probe(
    targets: Sequence[Target],
    attempts: int = 1,
    interval: float = 1.0,
    *,
    sleep: Callable[[float], None] = time.sleep,
    ask_all: Callable[[Sequence[Target]], list[Answer]] = ask_all,
) -> tuple[bool, list[dict[str, Any]]]:
    """Ask until all ``targets`` are healthy in the same round, at most ``attempts`` rounds ``interval`` seconds apart.

    Returns whether the last round was healthy, and the observations of all rounds.
    """
    seen: list[dict[str, Any]] = []
    for attempt in range(1, attempts + 1):
        if attempt > 1:
            sleep(interval)
        latest = [observe(target, answer, attempt) for target, answer in zip(targets, ask_all(targets))]
        seen += latest
        if not any(observation["mismatches"] for observation in latest):
            return True, seen
    return False, seen


def probe_in_check_mode(targets: Sequence[Target]) -> dict[str, Any]:
    """Ask once what changes nothing; return ``healthy``, ``observations``, ``skipped`` and ``would_fail``."""
    healthy, observations = probe([target for target in targets if target.method in SAFE_METHODS])
    return {
        "healthy": healthy,
        "observations": observations,
        "skipped": [f"{target.method} {target.name}" for target in targets if target.method not in SAFE_METHODS],
        "would_fail": "" if healthy else unhealthy(observations).message,
    }


def unhealthy(observations: Sequence[dict[str, Any]]) -> ProbeError:
    """Make the error for observations whose last round was not healthy."""
    rounds = observations[-1]["attempt"]
    latest = [observation for observation in observations if observation["attempt"] == rounds]
    wrong = [observation for observation in latest if observation["mismatches"]]
    told = "; ".join(f"{item['method']} {item['name']}: {', '.join(item['mismatches'])}" for item in wrong[:5])
    more = f"; and {len(wrong) - 5} more" if len(wrong) > 5 else ""
    tries = "1 try" if rounds == 1 else f"{rounds} tries"
    return ProbeError(
        f"{len(wrong)} of {len(latest)} probes are unhealthy after {tries}: {told}{more}. "
        "All observations are in the result; repair what they show, then run again.",
        {"unhealthy": wrong},
    )
