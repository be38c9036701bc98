# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the module of the same name in short slices, so that progress is seen while queues are waited for."""

from __future__ import annotations

import time
from typing import Any

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import QueueError
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.queues import INTERVAL

MODULE = "bluegreen.cutover.queue_drain"
SLICE = 5.0
"""Seconds of one call of the module; with its start and the looks that may follow, a line at least every 10 s."""
TIMEOUT = 300.0
"""The module's default, in seconds."""

display = Display()


class ActionModule(ActionBase):  # type: ignore[misc]  # Ansible has no types
    """The module looks; this only calls it again until it has seen enough, or the time is over."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        arguments = dict(self._task.args)
        if self._task.check_mode:
            return {**result, **self._slice(arguments, task_vars)}
        try:
            timeout = TIMEOUT if arguments.get("timeout") is None else float(arguments["timeout"])
        except (TypeError, ValueError):
            # The module says what is wrong with it.
            return {**result, **self._slice(arguments, task_vars)}
        began = time.monotonic()
        while True:
            left = began + timeout - time.monotonic()
            answer = self._slice({**arguments, "timeout": max(0.0, min(SLICE, left))}, task_vars)
            waited = time.monotonic() - began
            if answer.get("failed"):
                return {**result, **answer}
            answer["waited"] = round(waited, 1)
            if answer["drained"]:
                return {**result, **_without_state(answer)}
            if waited >= timeout - INTERVAL:
                error = QueueError(
                    f"the queues were not empty, or not quiet for long enough, after {waited:.0f} s: "
                    f"{answer['described']}. See that nobody adds to them any more and that their workers run, and "
                    "give them time: one of RabbitMQ needs 15 s at least. Run again"
                )
                return {**result, **_without_state(answer), "failed": True, **error.as_result()}
            display.display(f"queues, after {waited:.0f} of {timeout:g} s: {answer['described']}", stderr=True)
            arguments["state"] = answer["state"]

    def _slice(self, arguments: dict[str, Any], task_vars: dict[str, Any] | None) -> dict[str, Any]:
        answer: dict[str, Any] = self._execute_module(module_name=MODULE, module_args=arguments, task_vars=task_vars)
        # It would show the state a second time.
        answer.pop("invocation", None)
        return answer


def _without_state(answer: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in answer.items() if name != "state"}
