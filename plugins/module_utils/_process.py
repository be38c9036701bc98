# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which process this is, so that another one on the same machine can tell when it is gone.

Adapters use it: like ``_core`` it imports nothing of what is above them.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible_collections.bluegreen.cutover.plugins.module_utils._core import identity


def describe(pid: int) -> dict[str, Any]:
    """The process ``pid`` of this machine; what the system does not tell is None."""
    return {
        "host": socket.gethostname(),
        "boot_id": _text("/proc/sys/kernel/random/boot_id"),
        "pid_ns": _link("/proc/self/ns/pid"),
        "pid": pid,
        "pid_start": _start(pid),
    }


def is_gone(holder: Mapping[str, Any], here: Mapping[str, Any]) -> bool:
    """Is the process of ``holder`` known to be gone? Only ``here``, on the same machine, can tell."""
    return identity.same_node(holder, here) and identity.is_gone(holder, here, _start(holder["pid"]))


def _start(pid: int) -> int | None:
    stat = _text(f"/proc/{pid}/stat")
    return identity.process_start(stat) if stat else None


def _text(path: str) -> str | None:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError:
        return None


def _link(path: str) -> str | None:
    try:
        return str(Path(path).readlink())
    except OSError:
        return None
