#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: systemd_info
short_description: Read what the units of both colours do, and how many connections they serve
version_added: 0.1.0
description:
  - Reads many service units in one call of C(systemctl show), and counts the TCP connections to their ports.
  - A unit that does not exist is returned as not active and not enabled.
author:
  - bluegreen.cutover contributors (@bluegreen-cutover)
extends_documentation_fragment:
  - bluegreen.cutover.attributes
  - bluegreen.cutover.attributes.reads
options:
  host:
    description: The name that this host has in what is returned, usually its name in the inventory.
    type: str
  units:
    description: The units to read.
    type: list
    elements: dict
    required: true
    suboptions:
      colour:
        description: The colour that the unit runs.
        type: str
        required: true
        choices: [blue, green]
      unit:
        description: The whole name of the unit, such as V(shop-blue.service).
        type: str
        required: true
      port:
        description: The TCP port that it listens on.
        type: int
        required: true
seealso:
  - module: bluegreen.cutover.systemd_switch
"""

EXAMPLES = r"""
- name: Read both colours' units
  bluegreen.cutover.systemd_info:
    host: "{{ inventory_hostname }}"
    units:
      - colour: blue
        unit: shop-blue.service
        port: 8001
      - colour: green
        unit: shop-green.service
        port: 8002
"""

RETURN = r"""
units:
  description: One entry per unit, in the order asked for.
  type: list
  elements: dict
  returned: success
  contains:
    host:
      description: What was given as O(host).
      type: str
      returned: success
      sample: app1
    colour:
      description: The colour.
      type: str
      returned: success
      sample: blue
    unit:
      description: The unit's name.
      type: str
      returned: success
      sample: shop-blue.service
    port:
      description: The unit's port.
      type: int
      returned: success
      sample: 8001
    active:
      description: Whether it runs and may serve.
      type: bool
      returned: success
    enabled:
      description: Whether a reboot would start it.
      type: bool
      returned: success
    state:
      description: The state in systemd's own words.
      type: str
      returned: success
      sample: active (running)
    pid:
      description: Its main process; null when there is none.
      type: int
      returned: success
    since:
      description: When it became active, in unix seconds; null when it is not active.
      type: int
      returned: success
    exit_status:
      description: How its main process ended last; 0 while it runs.
      type: int
      returned: success
    restarts:
      description: How often systemd has started it again by itself.
      type: int
      returned: success
    connections:
      description: How many connections to its port are being served.
      type: int
      returned: success
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.bluegreen.cutover.plugins.module_utils import _connections
from ansible_collections.bluegreen.cutover.plugins.module_utils._command import run
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import CutoverError
from ansible_collections.bluegreen.cutover.plugins.module_utils._workloads.systemd import read_units


def main() -> None:
    """Wire the module."""
    module = AnsibleModule(
        argument_spec={
            "host": {"type": "str"},
            "units": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "colour": {"type": "str", "required": True, "choices": ["blue", "green"]},
                    "unit": {"type": "str", "required": True},
                    "port": {"type": "int", "required": True},
                },
            },
        },
        supports_check_mode=True,
    )
    asked = module.params["units"]
    try:
        states = read_units(run, [one["unit"] for one in asked])
        served = _connections.read(one["port"] for one in asked)
    except CutoverError as error:
        module.fail_json(**error.as_result())
    module.exit_json(
        changed=False,
        units=[
            {
                "host": module.params["host"],
                **one,
                "active": state.running,
                "enabled": state.enabled,
                "state": state.state,
                "pid": state.pid,
                "since": state.since,
                "exit_status": state.exit_status,
                "restarts": state.restarts,
                "connections": len(served[one["port"]]),
            }
            for one, state in zip(asked, states)
        ],
    )


if __name__ == "__main__":
    main()
