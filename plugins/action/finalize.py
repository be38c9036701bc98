# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Add who runs this, and wait for another run's lease, as for a migration."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.bluegreen.cutover.plugins.action import migration

OPENING = ("deprecated", "removing")


class ActionModule(migration.ActionModule):
    module = "bluegreen.cutover.finalize"

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = ActionBase.run(self, tmp, task_vars)
        arguments = dict(self._task.args)
        if arguments.get("state") not in OPENING:
            return {**result, **self._ask(arguments, task_vars)}
        here = migration.owner()
        return {**result, **self._open({**arguments, "owner": here}, here, task_vars)}
