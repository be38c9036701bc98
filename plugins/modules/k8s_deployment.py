#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: k8s_deployment
short_description: Have enough ready pods of a colour before traffic moves, and give back afterwards what that took
version_added: 0.1.0
description:
  - V(ready) scales the Deployment of O(colour) up to as many pods as the other colour is to have, keeps its
    autoscaler from taking them away, and waits until they are available and the rollout has ended. A rollout that is
    stuck fails at once, with what the scheduler and the kubelet say of its pods.
  - V(kept) raises the C(minReplicas) of both autoscalers once more to what V(ready) has raised them to, where somebody
    has given them their own bounds back since.
  - V(stopped) scales both Deployments to 0, and ends when none of their pods is left that could write, those that are
    ending included. V(ready) gives a colour at least as many pods as it had before that.
  - V(released) gives the autoscaler its C(minReplicas) back and, with O(scale), the Deployment the number of pods that
    it had before V(ready) has scaled it up. One that was stopped stays so. What was not changed by this module is left
    alone; the annotations C(bluegreen.cutover/replicas), C(bluegreen.cutover/stopped-replicas),
    C(bluegreen.cutover/min-replicas) and C(bluegreen.cutover/held-replicas) say what was.
  - V(read) changes nothing.
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
    description: Namespace of the Deployments.
    type: str
    required: true
  deployments:
    description: The name of the Deployment of each colour.
    type: dict
    required: true
    suboptions:
      blue:
        description: Blue's.
        type: str
        required: true
      green:
        description: Green's.
        type: str
        required: true
  state:
    description: What to do.
    type: str
    choices: [ready, kept, stopped, released, read]
    default: read
  colour:
    description: The colour to make ready or to release.
    type: str
    choices: [blue, green]
  min_ready:
    description:
      - How many pods of O(colour) are needed.
      - Without it, as many as the other colour is to have, and one at least.
    type: int
  keep:
    description:
      - Whether the other colour's autoscaler is kept from scaling that down as it loses traffic, so that it can take
        all of it again.
    type: bool
    default: false
  timeout:
    description:
      - Seconds for the pods to become available.
      - With O(state=stopped), seconds for them to end, beyond the C(terminationGracePeriodSeconds) that they have.
    type: int
    default: 60
  scale:
    description:
      - Whether a colour that is released gets the number of pods back that it had before.
      - It is for a colour that gets no traffic any more.
    type: bool
    default: false
  token:
    description:
      - The fencing token of the run. It is written into the annotation C(bluegreen.cutover/token) of what is changed,
        and what has a higher one is refused.
    type: int
seealso:
  - module: bluegreen.cutover.systemd_switch
"""

EXAMPLES = r"""
- name: Have as many pods of green as blue has, and keep blue's
  bluegreen.cutover.k8s_deployment:
    namespace: shop
    deployments: {blue: web-v1, green: web-v2}
    state: ready
    colour: green
    keep: true
    timeout: 300

- name: Have nobody write while data is restored
  bluegreen.cutover.k8s_deployment:
    namespace: shop
    deployments: {blue: web-v1, green: web-v2}
    state: stopped
    timeout: 30

- name: Leave green as it was
  bluegreen.cutover.k8s_deployment:
    namespace: shop
    deployments: {blue: web-v1, green: web-v2}
    state: released
    colour: green
    scale: true
"""

RETURN = r"""
workloads:
  description: Both Deployments, blue's first, as they are afterwards.
  type: list
  elements: dict
  returned: success
  contains:
    host:
      description: The namespace.
      type: str
      returned: success
    colour:
      description: The colour.
      type: str
      returned: success
    deployment:
      description: The Deployment's name.
      type: str
      returned: success
    replicas:
      description: How many pods it is to have.
      type: int
      returned: success
    available:
      description: How many are available.
      type: int
      returned: success
    active:
      description: Whether it is to have any.
      type: bool
      returned: success
    enabled:
      description: Whether it is there; what is in a cluster outlives a reboot.
      type: bool
      returned: success
    absent:
      description: Whether it is not there.
      type: bool
      returned: success
    state:
      description: What it lacks, in words; V(complete) where it lacks nothing.
      type: str
      returned: success
needed:
  description: How many pods were needed.
  type: int
  returned: when O(state=ready)
commands:
  description: What was changed, in order; in check mode what would be.
  type: list
  elements: str
  returned: success
  sample: [keep web-v2 from going below 3, scale web-v2 to 3]
reason:
  description:
    - A stable word for the kind of failure; V(rollout) when a rollout is stuck, V(not_ready) when its time has ended,
      V(workload) when pods are left that should have ended.
  type: str
  returned: failure
  sample: rollout
evidence:
  description: What was seen when it failed, with what is said of each pod that is not ready under C(pods).
  type: dict
  returned: failure
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import CutoverError, InputError
from ansible_collections.bluegreen.cutover.plugins.module_utils._kubernetes import CLUSTER_ARGUMENTS, connect
from ansible_collections.bluegreen.cutover.plugins.module_utils._workloads.deployment import Deployments

_NAME = {"type": "str", "required": True}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **CLUSTER_ARGUMENTS,
            "namespace": {"type": "str", "required": True},
            "deployments": {"type": "dict", "required": True, "options": {"blue": _NAME, "green": _NAME}},
            "state": {"type": "str", "choices": ["ready", "kept", "stopped", "released", "read"], "default": "read"},
            "colour": {"type": "str", "choices": ["blue", "green"]},
            "min_ready": {"type": "int"},
            "keep": {"type": "bool", "default": False},
            "timeout": {"type": "int", "default": 60},
            "scale": {"type": "bool", "default": False},
            "token": {"type": "int", "no_log": False},
        },
        required_if=[("state", "ready", ("colour",)), ("state", "released", ("colour",))],
        supports_check_mode=True,
    )
    given = module.params
    result: dict[str, Any] = {}
    try:
        if given["min_ready"] is not None and given["min_ready"] < 1:
            raise InputError(f"min_ready is {given['min_ready']}; at least 1 is needed")
        deployments = Deployments(
            connect(given["kubeconfig"], given["context"]),
            given["namespace"],
            given["deployments"],
            token=given["token"],
            check_mode=module.check_mode,
        )
        if given["state"] == "ready":
            result["needed"] = deployments.make_ready(
                given["colour"], given["timeout"], least=given["min_ready"], keep=given["keep"]
            )
        if given["state"] == "kept":
            deployments.keep()
        if given["state"] == "stopped":
            deployments.stop(given["timeout"])
        if given["state"] == "released":
            deployments.release(given["colour"], scale=given["scale"])
        result["workloads"] = deployments.read()
    except CutoverError as error:
        module.fail_json(**error.as_result())
    module.exit_json(changed=bool(deployments.commands), commands=deployments.commands, **result)


if __name__ == "__main__":
    main()
