# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Switch a Service from the control node: no module is sent anywhere, so a loop over 50 Services connects 50 times."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.bluegreen.cutover.plugins.action.plan import check_sources, plain
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import CutoverError, InputError
from ansible_collections.bluegreen.cutover.plugins.module_utils._kubernetes import CLUSTER_ARGUMENTS, connect
from ansible_collections.bluegreen.cutover.plugins.module_utils._selector import READY_WAIT, SETTLE, Target, switch

_LABELS = {"type": "dict", "required": True}
ARGUMENTS: dict[str, Any] = {
    **CLUSTER_ARGUMENTS,
    "namespace": {"type": "str", "required": True},
    "name": {"type": "str", "required": True},
    "selectors": {"type": "dict", "required": True, "options": {"blue": _LABELS, "green": _LABELS}},
    "to": {"type": "str", "choices": ["blue", "green"], "required": True},
    "min_ready": {"type": "int"},
    "accept_rollout": {"type": "bool", "default": False},
    "ready_wait": {"type": "float", "default": READY_WAIT},
    "settle": {"type": "float", "default": SETTLE},
    "token": {"type": "int"},
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
            check_sources(self._templar, task_vars, {"namespace": given["namespace"]})
            least = given["min_ready"]
            if least is not None and least < 1:
                raise InputError(f"min_ready is {least}; at least 1 is needed, or the switch would be an outage")
            done = switch(
                connect(given["kubeconfig"], given["context"]),
                Target(given["namespace"], given["name"], given["selectors"]),
                given["to"],
                min_ready=least,
                accept_rollout=given["accept_rollout"],
                ready_wait=given["ready_wait"],
                settle=given["settle"],
                token=given["token"],
                check_mode=bool(self._task.check_mode),
            )
        except CutoverError as error:
            return {**result, "failed": True, **error.as_result()}
        return {**result, **done, "diff": {"before": done["before"], "after": done["after"]}}
