# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tell what an application's environments hold, from the control node."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.bluegreen.cutover.plugins.action.plan import plain
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.discovery import check_colours, report
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.discovery_page import page
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.environments import (
    check_required,
    read_environments,
)
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import CutoverError
from ansible_collections.bluegreen.cutover.plugins.module_utils._discover import read
from ansible_collections.bluegreen.cutover.plugins.module_utils._kubernetes import CLUSTER_ARGUMENTS, connect

ARGUMENTS: dict[str, Any] = {
    **CLUSTER_ARGUMENTS,
    "application": {"type": "str", "required": True},
    "environments": {"type": "dict", "required": True},
    "required": {"type": "dict", "default": {}},
    "colours": {"type": "dict", "default": {}},
}


class ActionModule(ActionBase):  # type: ignore[misc]  # Ansible has no types
    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        _checked, valid = self.validate_argument_spec(argument_spec=ARGUMENTS)
        given = plain(valid)
        # What is wrong with the inventory is part of what there is.
        environments, problems = read_environments(given["environments"])
        try:
            check_required(given["required"])
            check_colours(given["colours"])
            found = read(connect(given["kubeconfig"], given["context"]), environments)
        except CutoverError as error:
            return {**result, "failed": True, **error.as_result()}
        told = report(environments, problems, found, given["required"], given["colours"])
        return {**result, "changed": False, "report": told, "page": page(given["application"], told)}
