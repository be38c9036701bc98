# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bring an environment of an application to its new namespace, from the control node."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.bluegreen.cutover.plugins.action.plan import plain
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.environments import (
    check_required,
    make_environments,
)
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import CutoverError, InputError
from ansible_collections.bluegreen.cutover.plugins.module_utils._environment import Bringing
from ansible_collections.bluegreen.cutover.plugins.module_utils._kubernetes import CLUSTER_ARGUMENTS, connect

ARGUMENTS: dict[str, Any] = {
    **CLUSTER_ARGUMENTS,
    "application": {"type": "str", "required": True},
    "environment": {"type": "str", "required": True},
    "environments": {"type": "dict", "required": True},
    "required": {"type": "dict", "default": {}},
    "manifests": {"type": "list", "elements": "dict"},
}


class ActionModule(ActionBase):  # type: ignore[misc]  # Ansible has no types
    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        _checked, valid = self.validate_argument_spec(argument_spec=ARGUMENTS)
        given = plain(valid)
        try:
            # What is wrong with the inventory is told before a cluster is asked.
            environments = make_environments(given["environments"])
            if given["environment"] not in environments:
                known = ", ".join(sorted(environments))
                raise InputError(f"there is no environment {given['environment']!r}; one of {known} is needed")
            check_required(given["required"])
            bringing = Bringing(
                connect(given["kubeconfig"], given["context"]), given["application"], environments, given["required"]
            )
            done = bringing.bring(given["environment"], given["manifests"], check_mode=bool(self._task.check_mode))
        except CutoverError as error:
            return {**result, "failed": True, **error.as_result()}
        if not done["tried"]:
            Display().warning(
                f"{done['namespace']} is not there yet, so the server has tried nothing of this. Without check mode it "
                "tries all of it in the new namespace, before any object is made"
            )
        diff = {"before": done.pop("before"), "after": done.pop("after")}
        return {**result, **done, **({"diff": diff} if self._task.diff else {})}
