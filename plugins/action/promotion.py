# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Add who promotes, and see that the record is in no source."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.bluegreen.cutover.plugins.action.migration import owner
from ansible_collections.bluegreen.cutover.plugins.action.plan import check_sources
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import CutoverError

MODULE = "bluegreen.cutover.promotion"


class ActionModule(ActionBase):  # type: ignore[misc]  # Ansible has no types
    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        try:
            check_sources(self._templar, task_vars, {"namespace": str(self._task.args.get("namespace") or "")})
        except CutoverError as error:
            return {**result, "failed": True, **error.as_result()}
        arguments = {**self._task.args, "owner": owner()}
        answer: dict[str, Any] = self._execute_module(module_name=MODULE, module_args=arguments, task_vars=task_vars)
        if "environment" in answer:
            answer["ansible_facts"] = {"promote_environment": answer["environment"]}
        return {**result, **answer}
