# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Is the process that holds a lease gone? Only a run on the same control node can tell."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_NODE = ("host", "boot_id", "pid_ns")
"""What makes two processes see the same process numbers."""


def process_start(stat: str) -> int | None:
    """When a process began, in clock ticks since boot, from its ``/proc/<pid>/stat``; None when it has ended.

    A zombie has ended: it is kept only until its parent asks for its status.
    """
    state, *fields = stat.rpartition(")")[2].split()
    return None if state in ("Z", "X", "x") else int(fields[18])


def same_node(holder: Mapping[str, Any], here: Mapping[str, Any]) -> bool:
    """Can ``here`` see the processes of ``holder``?"""
    return all(holder.get(name) and holder.get(name) == here.get(name) for name in _NODE)


def is_gone(holder: Mapping[str, Any], here: Mapping[str, Any], start: int | None) -> bool:
    """Is the holder's process known to be gone? ``start`` is that of the process which has its number now, if any."""
    return same_node(holder, here) and holder.get("pid_start") is not None and holder["pid_start"] != start
