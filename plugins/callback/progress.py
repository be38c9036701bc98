# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A line for what is still going on, never more than ten seconds apart: Ansible is silent until a task ends."""

from __future__ import annotations

DOCUMENTATION = r"""
name: progress
type: notification
short_description: Say at least every ten seconds what is still being waited for, and where
version_added: 0.1.0
description:
  - Ansible prints nothing between the start and the end of a task. A candidate that takes a minute to get ready, or an
    old version that takes as long to drain, looks like a run that hangs.
  - With this callback a line says which task runs, on which hosts, and since when.
author:
  - bluegreen.cutover contributors (@bluegreen)
requirements:
  - Enabled in C(ansible.cfg) with C(callbacks_enabled = bluegreen.cutover.progress).
"""

import os
import threading
import time
from typing import Any

from ansible.plugins.callback import CallbackBase

INTERVAL = 5.0
"""Seconds between two looks; a task that lasts has its first line between one and two of them after its start."""


class CallbackModule(CallbackBase):  # type: ignore[misc]  # Ansible has no types
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "bluegreen.cutover.progress"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        self._running: dict[str, tuple[str, float]] = {}
        self._over = threading.Event()

    def v2_playbook_on_start(self, playbook: Any) -> None:
        threading.Thread(target=self._tell, daemon=True).start()

    def v2_runner_on_start(self, host: Any, task: Any) -> None:
        self._running[str(host)] = (task.get_name(), time.monotonic())

    def _end(self, result: Any, **_more: Any) -> None:
        self._running.pop(str(result._host), None)  # pylint: disable=protected-access  # 2.19 has the only name

    v2_runner_on_ok = v2_runner_on_failed = v2_runner_on_skipped = v2_runner_on_unreachable = _end

    def v2_playbook_on_stats(self, stats: Any) -> None:
        self._over.set()

    def _tell(self) -> None:
        while not self._over.wait(INTERVAL):
            for line in waiting(dict(self._running), time.monotonic()):
                # Not through Display: its locks must not be held here while Ansible forks.
                os.write(1, f"{line}\n".encode())


def waiting(running: dict[str, tuple[str, float]], now: float) -> list[str]:
    """One line per task that began at least ``INTERVAL`` seconds before ``now``; ``running`` is host to (task, begin)."""
    tasks: dict[str, list[tuple[str, float]]] = {}
    for host, (task, began) in running.items():
        if now - began >= INTERVAL:
            tasks.setdefault(task, []).append((host, began))
    return [
        f"... {task}: since {now - min(began for _host, began in hosts):.0f} s, on "
        f"{', '.join(sorted(host for host, _began in hosts))}"
        for task, hosts in tasks.items()
    ]
