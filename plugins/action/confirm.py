# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask for the words that allow a step: from a variable or, where somebody sits at a terminal, from there."""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsiblePromptInterrupt, AnsiblePromptNoninteractive
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.bluegreen.cutover.plugins.action.plan import plain
from ansible_collections.bluegreen.cutover.plugins.module_utils._core import phrase
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import CutoverError

ARGUMENTS: dict[str, Any] = {
    "phrase": {"type": "str", "required": True},
    "given": {"type": "str", "default": ""},
    "step": {"type": "str", "required": True},
    "variable": {"type": "str", "required": True},
    "timeout": {"type": "int", "default": 120},
}


class ActionModule(ActionBase):  # type: ignore[misc]  # Ansible has no types
    BYPASS_HOST_LOOP = True
    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        _checked, valid = self.validate_argument_spec(argument_spec=ARGUMENTS)
        given = plain(valid)
        told = {"changed": False, "phrase": given["phrase"]}
        if self._task.check_mode and not given["given"]:
            return {**result, **told, "how": "none", "msg": f"A run needs the words {given['phrase']!r}."}
        how, words = "given", given["given"] or None
        if words is None:
            words = _typed(given)
            how = "none" if words is None else "typed"
        try:
            phrase.check(given["phrase"], words, step=given["step"], variable=given["variable"])
        except CutoverError as error:
            return {**result, "failed": True, **error.as_result()}
        return {**result, **told, "how": how}


def _typed(given: dict[str, Any]) -> str | None:
    """What somebody types within the time; None where there is no terminal, or nobody at it."""
    asked = f"{given['step']} needs the words {given['phrase']!r}. Type them within {given['timeout']} s: "
    try:
        answer = Display().prompt_until(asked, seconds=given["timeout"])
    except (AnsiblePromptNoninteractive, AnsiblePromptInterrupt):
        return None
    return bytes(answer).decode("utf-8", "replace") or None
