# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Add who runs this, wait for another run's lease, and take it at once from one that is known to be dead."""

from __future__ import annotations

import contextlib
import getpass
import os
import time
from typing import Any

from ansible import context
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.bluegreen.cutover.plugins.module_utils import _process
from ansible_collections.bluegreen.cutover.plugins.module_utils._core import checkpoints

MODULE = "bluegreen.cutover.migration"
OPENING = ("awaited", "begun", "advancing", "rehearsing", "rolling_back", "frozen")
RUN = ("decision", "id", "from", "to", "weight", "token", "artifacts", "earlier_hold", "served")
POLL = 2.0
"""Seconds between two questions whether the lease is free."""
PROGRESS = 10.0
"""Seconds between two lines that say how long is left to wait."""


class ActionModule(ActionBase):  # type: ignore[misc]  # Ansible has no types
    module = MODULE

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        arguments = dict(self._task.args)
        if arguments.get("state") == "probed":
            data = dict(arguments.get("data") or {})
            arguments["data"] = {"colour": data.get("colour"), "checkpoints": checkpoints.judge(data.get("seen") or {})}
        if arguments.get("state") not in OPENING:
            answer = self._ask(arguments, task_vars)
            if "hold" in answer:
                answer["ansible_facts"] = {"cutover_hold": answer["hold"]}
            return {**result, **answer}
        here = owner()
        answer = self._open({**arguments, "owner": here}, here, task_vars)
        if "decision" in answer:
            run = {name: answer[name] for name in RUN if name in answer}
            answer["ansible_facts"] = {"cutover_run": run}
        return {**result, **answer}

    def _ask(self, arguments: dict[str, Any], task_vars: dict[str, Any] | None) -> dict[str, Any]:
        answer: dict[str, Any] = self._execute_module(
            module_name=self.module, module_args=arguments, task_vars=task_vars
        )
        return answer

    def _open(
        self, arguments: dict[str, Any], here: dict[str, Any], task_vars: dict[str, Any] | None
    ) -> dict[str, Any]:
        """Ask until the lease is had, or ``cutover_lease_wait`` is over."""
        deadline = time.monotonic() + _wait_of(arguments)
        told = float("-inf")
        while True:
            answer = self._ask(arguments, task_vars)
            if answer.get("reason") != "lease_held":
                return answer
            lease = answer["evidence"]["lease"]
            if lease["token"] != arguments.get("takeover") and _process.is_gone(lease["owner"], here):
                arguments["takeover"] = lease["token"]
                continue
            now = time.monotonic()
            left = deadline - now
            if left <= 0:
                return answer
            if now - told >= PROGRESS:
                told = now
                # Standard output is kept back in a pipe, until much has come.
                told_of = answer["msg"].partition(";")[0]
                Display().display(f"{told_of}; waiting for {left:.0f} s more", stderr=True)
            time.sleep(min(POLL, left))


def owner() -> dict[str, Any]:
    """Who runs this. The process is the one of ansible-playbook, this worker's parent. Its playbook is named, its other
    arguments are not: these may hold secrets.
    """
    pid = os.getppid()
    playbooks = context.CLIARGS.get("args") or ()
    return {
        "user": os.environ.get("SUDO_USER") or _user(),
        **_process.describe(pid),
        "command": " ".join(map(str, playbooks)),
    }


def _wait_of(arguments: dict[str, Any]) -> float:
    plan = arguments.get("plan")
    return float(plan["lease"]["wait"]) if isinstance(plan, dict) and "lease" in plan else 0.0


def _user() -> str:
    # A container's user may have no name.
    with contextlib.suppress(KeyError, OSError):
        return getpass.getuser()
    return str(os.getuid())
