#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: snapshot_expire
short_description: Remove the artifacts of a service that are past their time
version_added: 0.1.0
description:
  - Removes artifacts whose time is over, counted from their completion, and what killed runs have left of others.
  - Keeps the last verified one of each part of a migration that is not known to be over, and what is being restored
    now.
  - Anything without a whole manifest is not known to be an artifact. It is told in RV(problems), and never removed.
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
  destination:
    description: The folder of the artifacts.
    type: path
    required: true
  service:
    description: The service whose artifacts these are; without it, those that were taken for none.
    type: str
  over:
    description:
      - The migrations that cannot go back any more, as M(bluegreen.cutover.migration_info) tells them. What was taken
        for no migration goes when its time is over.
    type: list
    elements: str
    required: true
seealso:
  - module: bluegreen.cutover.snapshot
"""

EXAMPLES = r"""
- name: Remove what nobody can need any more
  bluegreen.cutover.snapshot_expire:
    destination: /var/backups/cutover
    service: shop
    over: [20261118T194000Z]
"""

RETURN = r"""
removed:
  description: What was removed, each with C(path) and C(why).
  type: list
  elements: dict
  returned: success
  sample: [{path: /var/backups/cutover/shop.uploads.20261121T194000Z, why: its time ended 40 s ago}]
kept:
  description: What was kept, each with C(path) and C(why).
  type: list
  elements: dict
  returned: success
problems:
  description: What looks like an artifact and cannot be understood.
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
            "over": {"type": "list", "elements": "str", "required": True},
        },
        supports_check_mode=True,
    )
    given = module.params
    try:
        result = _artifacts.expire(
            Path(given["destination"]), given["service"], given["over"], check_mode=module.check_mode
        )
    except CutoverError as error:
        module.fail_json(**error.as_result())
    module.exit_json(**result)


if __name__ == "__main__":
    main()
