#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: router_weight
short_description: Send a share of a service's traffic to green, now and after a reboot
version_added: 0.1.0
description:
  - Reads the data plane and the disk, refuses what O(allowed) does not explain, waits until the colour that gains
    traffic has enough ready instances, sets the weight, writes it to disk, and reads both back.
  - To be run on the router host.
author:
  - bluegreen.cutover contributors (@bluegreen)
extends_documentation_fragment:
  - bluegreen.cutover.attributes
  - bluegreen.cutover.router
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
options:
  weight:
    description: Percentage of the traffic for green, whichever colour is the candidate.
    type: int
    required: true
  allowed:
    description:
      - The weights that may be found before, applied or on disk; O(weight) itself always may.
      - When empty, whatever is found is accepted and told in RV(drift).
    type: list
    elements: int
    default: []
  min_ready:
    description:
      - How many instances of the colour that gains traffic must be ready, as the router sees them.
      - The module waits up to 4 seconds for that, because a router notices later than the instance itself.
    type: int
    default: 1
  token:
    description:
      - The fencing token of the run, from M(bluegreen.cutover.migration).
      - With it each write is fenced and recorded in the journal; without it there is neither fence nor record.
    type: int
  state_dir:
    description: Where journal, lease and fence are kept.
    type: path
    default: /var/lib/bluegreen-cutover
  cluster:
    description:
      - The cluster that they are kept in, where they are not kept in O(state_dir), as the plan has it under
        C(cluster), with C(kubeconfig), C(context) and C(namespace).
    type: dict
seealso:
  - module: bluegreen.cutover.router_info
"""

EXAMPLES = r"""
- name: Send half of the traffic to green, provided that all went to blue before
  bluegreen.cutover.router_weight:
    service: shop
    router:
      provider: haproxy
      socket: /run/haproxy/admin.sock
      map: /etc/haproxy/cutover/shop.map
      backends: {blue: shop-blue, green: shop-green}
    colours:
      blue:
        instances: [{host: app1, port: 8001}, {host: app2, port: 8001}]
      green:
        instances: [{host: app1, port: 8002}, {host: app2, port: 8002}]
    weight: 50
    allowed: [0]
    min_ready: 2
"""

RETURN = r"""
before:
  description: What the router did before, as M(bluegreen.cutover.router_info) returns it.
  type: dict
  returned: success
  sample: {weight: 0, persisted: 0, ready: {blue: 2, green: 2}, in_flight: {blue: 3, green: 0}, detail: {}}
after:
  description: The same, read again afterwards; in check mode what it would be.
  type: dict
  returned: success
  sample: {weight: 50, persisted: 50, ready: {blue: 2, green: 2}, in_flight: {blue: 2, green: 1}, detail: {}}
commands:
  description: What was done, in order; empty when nothing was.
  type: list
  elements: str
  returned: success
  sample: [set map /etc/haproxy/cutover/shop.map weight 50, write /etc/haproxy/cutover/shop.map]
switch_ms:
  description: Milliseconds from the first command until the router said that it applies the weight.
  type: float
  returned: success
  sample: 1.4
drift:
  description: Where data plane and disk did not agree before, in words.
  type: list
  elements: str
  returned: success
note:
  description: In check mode, why the same call without check mode would have to wait, or be refused, now.
  type: str
  returned: success
  sample: "shop: green has 0 of 2 instances ready as the router sees them, 2 needed"
reason:
  description: A stable word for the kind of failure.
  type: str
  returned: failure
  sample: drift
evidence:
  description: What was seen when it failed.
  type: dict
  returned: failure
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import CutoverError
from ansible_collections.bluegreen.cutover.plugins.module_utils._routing import (
    ROUTER_ARGUMENTS,
    change_weight,
    make_router,
    make_service,
    weight_diff,
)
from ansible_collections.bluegreen.cutover.plugins.module_utils._stores.opening import open_store


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **ROUTER_ARGUMENTS,
            "weight": {"type": "int", "required": True},
            "allowed": {"type": "list", "elements": "int", "default": []},
            "min_ready": {"type": "int", "default": 1},
            "token": {"type": "int", "no_log": False},
            "state_dir": {"type": "path", "default": "/var/lib/bluegreen-cutover"},
            "cluster": {"type": "dict"},
        },
        supports_check_mode=True,
    )
    given = module.params
    try:
        service = make_service(given["service"], given["colours"], given["ready_path"])
        store = open_store(service.name, given["state_dir"], given["cluster"])
        result = change_weight(
            make_router(given["router"], service),
            service,
            given["weight"],
            allowed=given["allowed"],
            min_ready=given["min_ready"],
            store=store,
            token=given["token"],
            check_mode=module.check_mode,
            clock=store.clock,
        )
    except CutoverError as error:
        module.fail_json(**error.as_result())
    module.exit_json(diff=weight_diff(result), **result)


if __name__ == "__main__":
    main()
