#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: router_info
short_description: Read what a router really does for a service
version_added: 0.1.0
description:
  - Asks the data plane, not only the configuration, which share of the traffic goes to green,
    and compares that with what is on disk.
  - To be run on the router host.
author:
  - bluegreen.cutover contributors (@bluegreen)
extends_documentation_fragment:
  - bluegreen.cutover.attributes
  - bluegreen.cutover.attributes.reads
  - bluegreen.cutover.router
seealso:
  - module: bluegreen.cutover.router_weight
"""

EXAMPLES = r"""
- name: Read what HAProxy does
  bluegreen.cutover.router_info:
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
  register: shop_router
"""

RETURN = r"""
weight:
  description: Green's percentage, as it is applied now.
  type: int
  returned: success
  sample: 50
persisted:
  description: Green's percentage that a reload or a reboot would apply; null where the file was edited by hand.
  type: int
  returned: success
  sample: 50
ready:
  description: Per colour, how many instances would get a request and answer it.
  type: dict
  returned: success
  sample: {blue: 2, green: 2}
in_flight:
  description: Per colour, how many requests are open; null where the router cannot know.
  type: dict
  returned: success
  sample: {blue: 3, green: 4}
detail:
  description: What else was seen, by provider.
  type: dict
  returned: success
drift:
  description: Where the data plane and the disk do not agree, in words; empty where they do.
  type: list
  elements: str
  returned: success
reason:
  description: A stable word for the kind of failure.
  type: str
  returned: failure
  sample: router
evidence:
  description: What was seen when it failed.
  type: dict
  returned: failure
"""

import dataclasses

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import CutoverError
from ansible_collections.bluegreen.cutover.plugins.module_utils._routing import (
    ROUTER_ARGUMENTS,
    disagreement,
    make_router,
    make_service,
)


def main() -> None:
    module = AnsibleModule(argument_spec=ROUTER_ARGUMENTS, supports_check_mode=True)
    given = module.params
    try:
        service = make_service(given["service"], given["colours"], given["ready_path"])
        reading = make_router(given["router"], service).read()
    except CutoverError as error:
        module.fail_json(**error.as_result())
    module.exit_json(changed=False, drift=disagreement(reading), **dataclasses.asdict(reading))


if __name__ == "__main__":
    main()
