#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: snapshot_info
short_description: Read which artifacts there are, and whether they are whole
version_added: 0.1.0
description:
  - Reads every artifact in a folder. One that is damaged, expired or left behind by a killed run is told, and is no
    failure.
author:
  - bluegreen.cutover contributors (@bluegreen)
extends_documentation_fragment:
  - bluegreen.cutover.attributes
  - bluegreen.cutover.attributes.reads
options:
  destination:
    description: The folder of the artifacts.
    type: path
    required: true
  service:
    description: Only those of this service.
    type: str
  part:
    description: Only those of this part.
    type: str
  migration:
    description: Only those of this migration.
    type: str
  checksums:
    description: Whether every file is read and compared with its SHA-256; otherwise only sizes are.
    type: bool
    default: false
seealso:
  - module: bluegreen.cutover.snapshot
"""

EXAMPLES = r"""
- name: Read whether the artifacts of the shop are whole
  bluegreen.cutover.snapshot_info:
    destination: /var/backups/cutover
    service: shop
    checksums: true
"""

RETURN = r"""
artifacts:
  description: By name, so that those of one part are in the order of time.
  type: list
  elements: dict
  returned: success
  contains:
    path:
      description: Its folder.
      type: str
      returned: success
    manifest:
      description: Its manifest; V(null) where that is damaged.
      type: dict
      returned: success
    expired:
      description: Whether its time is over.
      type: bool
      returned: success
    problems:
      description: Why it cannot be relied on; empty where it can.
      type: list
      elements: str
      returned: success
leftovers:
  description: Folders that are no artifacts, of runs that were killed or are at work.
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

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.bluegreen.cutover.plugins.module_utils import _artifacts
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import CutoverError


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "destination": {"type": "path", "required": True},
            "service": {"type": "str"},
            "part": {"type": "str"},
            "migration": {"type": "str"},
            "checksums": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    given = module.params
    only = {name: given[name] for name in ("service", "part", "migration") if given[name] is not None}
    try:
        result = _artifacts.describe(Path(given["destination"]), only, sums=given["checksums"])
    except CutoverError as error:
        module.fail_json(**error.as_result())
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
