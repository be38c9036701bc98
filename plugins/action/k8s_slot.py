# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Take or give back a slot of a shared environment, from the control node."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.bluegreen.cutover.plugins.action.migration import owner
from ansible_collections.bluegreen.cutover.plugins.action.plan import check_sources, plain
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import CutoverError
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.slots import make_slots
from ansible_collections.bluegreen.cutover.plugins.module_utils._kubernetes import CLUSTER_ARGUMENTS, connect
from ansible_collections.bluegreen.cutover.plugins.module_utils._slots import Environment

ARGUMENTS: dict[str, Any] = {
    **CLUSTER_ARGUMENTS,
    "namespace": {"type": "str", "required": True},
    "environment": {"type": "str", "required": True},
    "application": {"type": "str", "required": True},
    "state": {"type": "str", "choices": ["held", "free"], "default": "held"},
    "slots": {"type": "list", "elements": "dict"},
    "zone": {"type": "str"},
    "needs": {"type": "float", "default": 0.0},
    "reason": {"type": "str"},
    "namespace_labels": {"type": "dict"},
}


class ActionModule(ActionBase):  # type: ignore[misc]  # Ansible has no types
    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        _checked, valid = self.validate_argument_spec(argument_spec=ARGUMENTS)
        given = plain(valid)
        check_mode = bool(self._task.check_mode)
        try:
            check_sources(self._templar, task_vars, {"namespace": given["namespace"]})
            # What is wrong with the slots is told before a cluster is asked.
            slots = make_slots(given["slots"] or (), given["zone"]) if given["state"] == "held" else ()
            cluster = connect(given["kubeconfig"], given["context"])
            environment = Environment(cluster, given["namespace"], given["environment"])
            if given["state"] == "free":
                done = environment.give_back(given["application"], given["reason"], check_mode=check_mode)
            else:
                holder = {**owner(), "application": given["application"]}
                reason = given["reason"] or "no reason given"
                labels = given["namespace_labels"]
                if labels is not None:
                    # As YAML reads them, they may be numbers.
                    labels = {name: str(one) for name, one in labels.items()}
                done = environment.take(
                    slots, given["zone"], holder, reason, given["needs"], labels=labels, check_mode=check_mode
                )
        except CutoverError as error:
            return {**result, "failed": True, **error.as_result()}
        return {**result, **done}
