# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the result of a failed task says, for a person."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

LINES = 10
"""Lines of a command's output that are told: the last ones, where test suites sum up."""


def describe(result: Mapping[str, Any]) -> str:
    """The message of a task's ``result``; of a loop, that of each item that failed, by the item's name.

    A command's exit status and the end of its output are added.
    """
    failed = [item for item in result.get("results") or () if item.get("failed")]
    return "\n".join(f"{_name(item)}: {_message(item)}" for item in failed) or _message(result)


def _name(item: Mapping[str, Any]) -> str:
    value = item.get(item.get("ansible_loop_var", "item"))
    return str(value.get("name", value) if isinstance(value, Mapping) else value)


def _message(result: Mapping[str, Any]) -> str:
    message = str(result.get("msg") or "no message")
    if "rc" not in result:
        return message
    output = f"{result.get('stdout', '')}\n{result.get('stderr', '')}"
    lines = [line for line in output.splitlines() if line.strip()][-LINES:]
    told = f"; the end of its output:\n{chr(10).join(lines)}" if lines else ""
    return f"{message} (exit status {result['rc']}){told}"
