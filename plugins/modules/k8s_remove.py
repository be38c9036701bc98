#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: k8s_remove
short_description: Remove the Deployment of an old version, and what scales it
version_added: 0.1.0
description:
  - Deletes the HorizontalPodAutoscalers of the old version's Deployment, then the Deployment, each only as it was read,
    and records that it is gone.
  - It does nothing unless the new version has all of its pods available and all of the traffic, and a way back that has
    begun since ends it. That is read anew before each deletion, and nobody can begin one meanwhile. Whether the old
    version may go is for M(bluegreen.cutover.finalize) to say.
author:
  - bluegreen.cutover contributors (@bluegreen)
extends_documentation_fragment:
  - bluegreen.cutover.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: full
options:
  plan:
    description: The plan of a service in a cluster, as M(bluegreen.cutover.plan) returns it.
    type: dict
    required: true
  token:
    description:
      - The token of the run, from M(bluegreen.cutover.finalize).
      - Needed, but for check mode.
    type: int
seealso:
  - module: bluegreen.cutover.finalize
"""

EXAMPLES = r"""
- name: Remove the old version
  bluegreen.cutover.k8s_remove:
    plan: "{{ cutover_plan }}"
    token: "{{ finalize_begun.token }}"
  run_once: true
  delegate_to: "{{ cutover_plan.hosts.router }}"
"""

RETURN = r"""
removed:
  description: The paths of what was removed, or would be.
  type: list
  elements: str
  returned: success
  sample: [/apis/apps/v1/namespaces/shop/deployments/web-v1]
reason:
  description: A stable word for the kind of failure.
  type: str
  returned: failure
  sample: not_ready
evidence:
  description: What was seen when it failed.
  type: dict
  returned: failure
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.bluegreen.cutover.plugins.module_utils._cluster_removing import remove
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import CutoverError


def main() -> None:
    """Wire the module."""
    module = AnsibleModule(
        argument_spec={
            "plan": {"type": "dict", "required": True},
            "token": {"type": "int", "no_log": False},
        },
        supports_check_mode=True,
    )
    given = module.params
    try:
        result = remove(given["plan"], given["token"], check_mode=module.check_mode)
    except CutoverError as error:
        module.fail_json(**error.as_result())
    module.exit_json(**result)


if __name__ == "__main__":
    main()
