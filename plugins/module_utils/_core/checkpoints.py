# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checkpoints: what a candidate has to show before it gets traffic, each passed or not, with what was seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.bluegreen.cutover.plugins.module_utils._core.failures import describe

Checkpoint = dict[str, Any]
"""``{"name", "passed", "seen"}``: a word, whether, and what was seen in a sentence."""


def judge(seen: Mapping[str, Mapping[str, Any]]) -> list[Checkpoint]:
    """``seen`` has per checkpoint the result of its task by host, as Ansible registers it; none where it is not asked.

    What says nothing has not passed.
    """
    return [_judge(name, hosts) for name, hosts in seen.items() if hosts]


def rehearsal(rehearsed: Mapping[str, Any] | None) -> list[Checkpoint]:
    """``rehearsed`` is the outcome of the migration just before, where that was a rehearsal."""
    if rehearsed is None or rehearsed["passed"] is None:
        return []
    return [{"name": "rehearsal", "passed": True, "seen": rehearsed["sentence"]}]


def failed(checkpoints: Sequence[Checkpoint]) -> str:
    """Those that did not pass, in one sentence; empty when all did."""
    return "; ".join(f"{one['name']}: {one['seen']}" for one in checkpoints if not one["passed"])


def _judge(name: str, hosts: Mapping[str, Any]) -> Checkpoint:
    wrong = [f"{host}: {' '.join(describe(result).split())}" for host, result in hosts.items() if not _shown(result)]
    return {"name": name, "passed": not wrong, "seen": "; ".join(wrong or map(_shown, hosts.values()))}


def _shown(result: Mapping[str, Any]) -> str:
    """What a result proves; empty when it proves nothing."""
    if any(result.get(name) for name in ("failed", "skipped", "unreachable")):
        return ""
    commands = result.get("results") or ()
    if commands:
        return f"{len(commands)} of {len(commands)} passed" if all(one.get("rc") == 0 for one in commands) else ""
    if result.get("healthy"):
        return f"{len(result['observations'])} answers are right"
    return str(result.get("sentence") or "")
