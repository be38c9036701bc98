# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the module of the same name in short slices, so that progress is seen while the gate waits."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import InputError
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.gate.criteria import duration

MODULE = "bluegreen.cutover.prometheus_gate"
SLICE = 7.0
"""Seconds of one call of the module; with its start that is a line at least every 10 s."""
SILENCE = 9.0
"""Seconds after which a call that goes on, because Prometheus does not answer or this host is slow, has the last lines
told again.
"""
KEEP = 500
"""Evaluations in the result, as in the module."""

display = Display()


class ActionModule(ActionBase):  # type: ignore[misc]
    """The module decides; this only calls it again until it has decided."""

    _requires_connection = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """The result of the last slice, with the evaluations of all."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        args = dict(self._task.args)
        accept = args.get("accept") or []
        accept = accept.split(",") if isinstance(accept, str) else list(accept)
        try:
            wait = None if args.get("max_wait") is None else duration(args["max_wait"], "max_wait")
        except InputError as error:
            return {**result, "failed": True, **error.as_result()}
        if self._task.check_mode:
            return {**result, **self._slice(args, task_vars)}
        deadline = None if wait is None else time.monotonic() + wait
        seen: list[dict[str, Any]] = []
        dropped = 0
        told: list[str] = []
        while True:
            left = SLICE if deadline is None else max(0.0, min(SLICE, deadline - time.monotonic()))
            # The module checks `accept`; once it is known to be good, every verdict comes back to us.
            everything = sorted({*accept, "fail", "inconclusive", "open"})
            with _told_again(told):
                answer = self._slice({**args, "max_wait": f"{left:.3f}", "accept": everything}, task_vars)
            seen += answer.get("evaluations", [])
            dropped += answer.get("evaluations_dropped", 0) + max(0, len(seen) - KEEP)
            seen = seen[-KEEP:]
            answer.update(evaluations=seen, evaluations_dropped=dropped)
            told = answer.get("progress", [])
            for line in told:
                display.display(f"gate {answer.get('verdict')}: {line}", stderr=True)
            if answer.get("failed") or answer.get("verdict") != "open":
                break
            if deadline is not None and time.monotonic() >= deadline - 0.25:
                break
            args["state"] = answer["state"]
        verdict = answer.get("verdict")
        if not answer.get("failed") and verdict not in ("pass", *accept):
            answer["failed"] = True
            answer["msg"] = f"The gate says {verdict}: {answer.get('message') or answer.get('reason')}."
        return {**result, **answer}

    def _slice(self, args: dict[str, Any], task_vars: dict[str, Any] | None) -> dict[str, Any]:
        answer: dict[str, Any] = self._execute_module(module_name=MODULE, module_args=args, task_vars=task_vars)
        # It would show the state a second time.
        answer.pop("invocation", None)
        return answer


@contextlib.contextmanager
def _told_again(lines: Sequence[str]) -> Iterator[None]:
    """Tell ``lines`` again for as long as what is inside lasts."""
    over, began = threading.Event(), time.monotonic()

    def tell() -> None:
        while not over.wait(SILENCE):
            for line in lines or ["waiting for the first look"]:
                display.display(f"gate open: {line} · nothing new for {time.monotonic() - began:.0f} s", stderr=True)

    thread = threading.Thread(target=tell, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
