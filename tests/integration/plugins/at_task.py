# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""For tests only: something happens exactly between two tasks of a playbook, by no clock but its own."""

from __future__ import annotations

import os
import subprocess
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = r"""
name: at_task
type: notification
short_description: Run a shell command once, at the start of one task
description:
  - E(AT_TASK) says which one, by a part of its name; the end of the play counts as a task named C(the end). With
    C(after Start it) it is the one after a task of that name that has changed something.
  - E(AT_TASK_COMMAND) is the command. Ansible waits for it; its parent is ansible-playbook itself.
author:
  - bluegreen.cutover contributors (@bluegreen)
"""


class CallbackModule(CallbackBase):  # type: ignore[misc]  # Ansible has no types
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "at_task"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        self._wanted = os.environ["AT_TASK"]
        self._changed = ""
        self._done = False

    def v2_playbook_on_task_start(self, task: Any, **_more: Any) -> None:
        self._begin(task.get_name())

    def v2_playbook_on_stats(self, *_stats: Any) -> None:
        self._begin("the end")

    def v2_runner_on_ok(self, result: Any, **_more: Any) -> None:
        if result.result.get("changed"):
            self._changed = "after " + result.task.get_name().rpartition(" : ")[2]

    def _begin(self, name: str) -> None:
        changed, self._changed = self._changed, ""
        if not self._done and (self._wanted == changed or self._wanted in name):
            self._done = True
            subprocess.run(["/bin/sh", "-c", os.environ["AT_TASK_COMMAND"]], check=False)
