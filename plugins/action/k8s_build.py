# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Build an image in a cluster, from the control node, and tell what the build is at."""

from __future__ import annotations

import dataclasses
from typing import Any

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.bluegreen.cutover.plugins.action.plan import check_sources, plain
from ansible_collections.bluegreen.cutover.plugins.module_utils._building import build
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.builds import BUILDERS, KANIKO, Build
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import CutoverError
from ansible_collections.bluegreen.cutover.plugins.module_utils._kubernetes import CLUSTER_ARGUMENTS, connect

ARGUMENTS: dict[str, Any] = {
    **CLUSTER_ARGUMENTS,
    "namespace": {"type": "str", "required": True},
    "name": {"type": "str", "required": True},
    "image": {"type": "str", "required": True},
    "repository": {"type": "str", "required": True},
    "revision": {"type": "str", "required": True},
    "path": {"type": "str", "default": ""},
    "dockerfile": {"type": "str", "default": "Dockerfile"},
    "arguments": {"type": "dict", "default": {}},
    "builder": {"type": "str", "choices": list(BUILDERS), "default": KANIKO},
    "builder_image": {"type": "str", "default": ""},
    "push_secret": {"type": "str", "default": ""},
    "service_account": {"type": "str", "default": ""},
    "resources": {"type": "dict", "default": {}},
    "timeout": {"type": "int", "default": 1800},
    "ttl": {"type": "int", "default": 3600},
}


class ActionModule(ActionBase):  # type: ignore[misc]  # Ansible has no types
    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        _checked, valid = self.validate_argument_spec(argument_spec=ARGUMENTS)
        given = plain(valid)
        fields = {one.name: given[one.name] for one in dataclasses.fields(Build)}
        fields["arguments"] = {str(name): str(value) for name, value in given["arguments"].items()}
        try:
            check_sources(self._templar, task_vars, {"namespace": given["namespace"]})
            # What is wrong with them is told before a cluster is asked.
            wanted = Build(**fields)
            done = build(
                connect(given["kubeconfig"], given["context"]),
                given["namespace"],
                wanted,
                timeout=given["timeout"],
                ttl=given["ttl"],
                # Standard output is kept back in a pipe, until much has come.
                tell=lambda line: Display().display(line, stderr=True),
                check_mode=bool(self._task.check_mode),
            )
        except CutoverError as error:
            return {**result, "failed": True, **error.as_result()}
        return {**result, **done}
