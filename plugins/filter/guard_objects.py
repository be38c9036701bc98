# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: guard_objects
short_description: The objects of Kubernetes that give the guard of a service its rights
version_added: 0.1.0
description:
  - Makes of a plan the ServiceAccount, the Role, the RoleBinding and the Lease of its guard, for somebody to apply who
    may do so. Runs that may, make them themselves.
author:
  - bluegreen.cutover contributors (@bluegreen)
options:
  _input:
    description: The plan of a service in a cluster, as M(bluegreen.cutover.plan) returns it.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Make the plan
  bluegreen.cutover.plan:

- name: Write down what has to be applied
  ansible.builtin.copy:
    content: "{{ cutover_plan | bluegreen.cutover.guard_objects | to_nice_json }}"
    dest: guard.json
    mode: "0644"
  delegate_to: localhost
"""

RETURN = r"""
_value:
  description: A List of objects, as C(kubectl apply) takes it.
  type: dict
  sample:
    apiVersion: v1
    kind: List
    items:
      - apiVersion: v1
        kind: ServiceAccount
        metadata:
          name: cutover-guard-shop
          namespace: shop
"""

from collections.abc import Callable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.guard_pod import standing


def guard_objects(plan: Any) -> dict[str, Any]:
    if not isinstance(plan, Mapping) or not plan.get("cluster"):
        raise AnsibleFilterError("bluegreen.cutover.guard_objects needs the plan of a service in a cluster")
    return {"apiVersion": "v1", "kind": "List", "items": standing(plan["service"], plan["router"])}


class FilterModule:
    """Filters of this file."""

    def filters(self) -> dict[str, Callable[[Any], dict[str, Any]]]:
        return {"guard_objects": guard_objects}
