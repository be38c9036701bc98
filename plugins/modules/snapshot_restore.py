#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: snapshot_restore
short_description: Put what a snapshot holds in the place of what is there now
version_added: 0.1.0
description:
  - Checks every file of the artifact, and compares what the part holds now with what it held then. Where that is the
    same, nothing is done.
  - Otherwise it counts what was written since. Without O(accept_data_loss) it fails with RV(reason=data_loss) and these
    numbers, and changes nothing.
  - What is restored takes the place of what was there only when it is whole and has the contents of the snapshot.
    Where that can only be seen afterwards, as with V(redis), and others write to it by then, it warns, and tells so in
    RV(unproven).
author:
  - bluegreen.cutover contributors (@bluegreen)
extends_documentation_fragment:
  - bluegreen.cutover.attributes
  - bluegreen.cutover.engines
attributes:
  check_mode:
    support: full
    details: >-
      It fails as it would without, for data that would be lost too, and for what would keep it from being restored, as
      far as that is known before. Servers are asked whether they would do it. An artifact that is encrypted is
      decrypted into a private folder, which is removed. The lock file of its part is written to.
  diff_mode:
    support: none
  idempotent:
    support: partial
    details: A snapshot of V(files) that was not proven has no digest. What was written to since is restored each time.
options:
  path:
    description: The folder of the artifact.
    type: path
    required: true
  accept_data_loss:
    description: Whether what was written since the snapshot may be lost.
    type: bool
    default: false
  accept_expired:
    description: Whether an artifact that is past its time may be restored.
    type: bool
    default: false
  identity_file:
    description: A file of this host with the private key, without a passphrase, of an artifact that is encrypted.
    type: path
  timeout:
    description: Seconds that all of it may take.
    type: int
    default: 3600
seealso:
  - module: bluegreen.cutover.snapshot
"""

EXAMPLES = r"""
- name: Bring the uploads back as they were, whatever was written since
  bluegreen.cutover.snapshot_restore:
    path: /var/backups/cutover/shop.uploads.20261121T194000Z
    accept_data_loss: true
    files:
      paths: [/srv/shop/uploads]
"""

RETURN = r"""
manifest:
  description: The artifact's manifest.
  type: dict
  returned: success
differences:
  description: Where the part was not what it had been, before it was restored.
  type: list
  elements: str
  returned: success
  sample: [/srv/shop/uploads has 12 as before, with another content]
written:
  description: What was written since the snapshot, and is lost now.
  type: list
  elements: dict
  returned: success
  sample: [{name: public.orders, what: rows inserted, count: 4711}]
kept:
  description: What is left of what was there, and how it is removed.
  type: list
  elements: str
  returned: success
  sample:
    - >-
      what shop was until now is the database shop_before_20261121T194000Z. When nobody needs it: DROP DATABASE
      "shop_before_20261121T194000Z"
unproven:
  description: >-
    Why it is not proven that what is there now is what the snapshot has, because others wrote to it before it could be
    compared; empty where it is.
  type: list
  elements: str
  returned: success
  sample:
    - >-
      Redis at 127.0.0.1:6379, 'shop:' in database 0 was restored while others write to that server: at least 2 keys are
      not what they were (string has 9, and had 7), and whether that is theirs cannot be told
seconds:
  description: >-
    How long it took to bring it back, decrypted, compared and put in its place; without what was compared and counted
    before. 0 where nothing was to be done, and in check mode.
  type: float
  returned: success
  sample: 12.345
progress:
  description: What was done, with the seconds since the beginning.
  type: list
  elements: str
  returned: always
reason:
  description: A stable word for the kind of failure.
  type: str
  returned: failure
  sample: data_loss
evidence:
  description: What was seen when it failed; with RV(reason=data_loss) C(written) and C(differences).
  type: dict
  returned: failure
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.bluegreen.cutover.plugins.module_utils import _artifacts
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import CutoverError
from ansible_collections.bluegreen.cutover.plugins.module_utils._snapshots.registry import (
    ENGINES,
    chosen_engine,
    engine_arguments,
)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "accept_data_loss": {"type": "bool", "default": False},
            "accept_expired": {"type": "bool", "default": False},
            "identity_file": {"type": "path"},
            "timeout": {"type": "int", "default": 3600},
            **engine_arguments(),
        },
        required_one_of=[list(ENGINES)],
        mutually_exclusive=[list(ENGINES)],
        supports_check_mode=True,
    )
    given = module.params
    log = _artifacts.Log()
    try:
        # It may have been at its very end.
        with _artifacts.bounded(given["timeout"], "Run again: where it is restored already, nothing is done"):
            result = _artifacts.restore(
                Path(given["path"]),
                chosen_engine(given, log),
                log,
                identity=Path(given["identity_file"]) if given["identity_file"] else None,
                accept_data_loss=given["accept_data_loss"],
                accept_expired=given["accept_expired"],
                check_mode=module.check_mode,
            )
    except CutoverError as error:
        module.fail_json(**error.as_result(), progress=log.lines)
    for one in result["unproven"]:
        module.warn(f"not proven: {one}")
    module.exit_json(**result, progress=log.lines)


if __name__ == "__main__":
    main()
