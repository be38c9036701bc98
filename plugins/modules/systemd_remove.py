#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: systemd_remove
short_description: Remove the unit file of a version that is not needed any more, and keep a copy
version_added: 0.1.0
description:
  - Removes the file of a stopped and disabled unit from C(/etc/systemd/system), and the folder with its drop-ins.
  - Both are copied first, to the folder C(removed-<unit>) of the service's state on this host.
  - A unit that runs or is enabled, one of a package and one made from a template are refused.
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
  unit:
    description: The whole name of the unit, such as V(shop-blue.service).
    type: str
    required: true
  service:
    description: The name of the service.
    type: str
    required: true
  state_dir:
    description: Where the service's state is kept on this host.
    type: path
    default: /var/lib/bluegreen-cutover
  token:
    description: The fencing token under which this runs, as M(bluegreen.cutover.finalize) returns it.
    type: int
seealso:
  - module: bluegreen.cutover.systemd_switch
"""

EXAMPLES = r"""
- name: Remove the old version's unit
  bluegreen.cutover.systemd_remove:
    unit: shop-blue.service
    service: shop
"""

RETURN = r"""
removed:
  description: What was removed, or would be.
  type: list
  elements: str
  returned: success
kept:
  description: The folder with the copies; null when there was nothing to remove.
  type: str
  returned: success
commands:
  description: The commands that were run, or would be.
  type: list
  elements: str
  returned: success
reason:
  description: A stable word for the kind of failure.
  type: str
  returned: failure
evidence:
  description: What was seen when it failed.
  type: dict
  returned: failure
"""

import time
from contextlib import nullcontext

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.bluegreen.cutover.plugins.module_utils import _removing, _routing
from ansible_collections.bluegreen.cutover.plugins.module_utils._command import run
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import CutoverError
from ansible_collections.bluegreen.cutover.plugins.module_utils._stores.files import FileStore
from ansible_collections.bluegreen.cutover.plugins.module_utils._workloads.systemd import SystemdUnit


def main() -> None:
    """Wire the module."""
    module = AnsibleModule(
        argument_spec={
            "unit": {"type": "str", "required": True},
            "service": {"type": "str", "required": True},
            "state_dir": {"type": "path", "default": "/var/lib/bluegreen-cutover"},
            "token": {"type": "int", "no_log": False},
        },
        supports_check_mode=True,
    )
    given = module.params
    try:
        store = FileStore(given["state_dir"], given["service"])
        unit = SystemdUnit(given["unit"], run, module.check_mode)
        token = given["token"]
        result = _removing.remove(
            unit,
            store.folder / f"removed-{unit.name}",
            nullcontext if token is None else lambda: _routing.writing(store, token, time),
        )
    except CutoverError as error:
        module.fail_json(**error.as_result())
    module.exit_json(**result)


if __name__ == "__main__":
    main()
