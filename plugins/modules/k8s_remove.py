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
  - Deletes the HorizontalPodAutoscalers of a Deployment, then the Deployment, each only as it was read.
  - It does nothing unless the Deployment that serves has all of its pods available. Whether the old one may go is for
    M(bluegreen.cutover.finalize) to say.
author:
  - bluegreen.cutover contributors (@bluegreen)
extends_documentation_fragment:
  - bluegreen.cutover.attributes
  - bluegreen.cutover.cluster
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: full
options:
  namespace:
    description: The namespace of both Deployments.
    type: str
    required: true
  name:
    description: The Deployment of the old version.
    type: str
    required: true
  serving:
    description: The Deployment that serves.
    type: str
    required: true
  token:
    description: The fencing token under which this runs; what a newer one has written is not removed.
    type: int
seealso:
  - module: bluegreen.cutover.finalize
"""

EXAMPLES = r"""
- name: Remove the old version
  bluegreen.cutover.k8s_remove:
    namespace: shop
    name: web-v1
    serving: web-v2
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
from ansible_collections.bluegreen.cutover.plugins.module_utils._kubernetes import CLUSTER_ARGUMENTS, connect


def main() -> None:
    """Wire the module."""
    module = AnsibleModule(
        argument_spec={
            **CLUSTER_ARGUMENTS,
            "namespace": {"type": "str", "required": True},
            "name": {"type": "str", "required": True},
            "serving": {"type": "str", "required": True},
            "token": {"type": "int", "no_log": False},
        },
        supports_check_mode=True,
    )
    given = module.params
    try:
        cluster = connect(given["kubeconfig"], given["context"])
        result = remove(
            cluster,
            given["namespace"],
            given["name"],
            given["serving"],
            token=given["token"],
            check_mode=module.check_mode,
        )
    except CutoverError as error:
        module.fail_json(**error.as_result())
    module.exit_json(**result)


if __name__ == "__main__":
    main()
