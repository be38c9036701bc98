#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: snapshot
short_description: Take a snapshot of a stateful part, and prove it by restoring it into a place of its own
version_added: 0.1.0
description:
  - Writes what a part of a service holds into an artifact, which is a folder with a manifest. The manifest has where it
    is from, when it was consistent, the SHA-256 of every file, counts and digests of the contents taken in the same
    view of the data, and when it expires.
  - The artifact gets its name only when it is whole and on the disk. Until then it is a folder whose name begins with
    C(.partial-), that only this user can read; the next run removes what a killed run has left, also on the part's
      server.
  - With O(verify) it is restored into a scratch database, prefix or folder, which is removed again, and what that holds
    is compared with what was read. A snapshot that is not the same is not kept.
  - The part's data is only read. O(git) also makes tags, and pushes them, before the proof; they stay where that fails.
author:
  - bluegreen.cutover contributors (@bluegreen)
extends_documentation_fragment:
  - bluegreen.cutover.attributes
  - bluegreen.cutover.engines
attributes:
  check_mode:
    support: full
    details: It checks what would keep a snapshot from succeeding, and takes none.
  diff_mode:
    support: none
  idempotent:
    support: partial
    details: >-
      With O(migration) a second run finds the artifact of the first, checks every file of it, and changes nothing.
      Without it each run takes another one.
options:
  part:
    description: What this part of the service is called; the artifact's name begins with it.
    type: str
    required: true
  service:
    description: The service that the part belongs to; it goes before O(part) in the artifact's name.
    type: str
  migration:
    description: The migration that the artifact is for.
    type: str
  state:
    description:
      - V(taken) only reads the part and brings that to the disk, for whoever holds writers meanwhile. It is no artifact
        yet, whether one could be made of it is not known, and O(migration) is needed.
      - V(proven) goes on with what V(taken) has read, and fails where that is not there.
      - V(present) does both.
    type: str
    choices: [present, taken, proven]
    default: present
  hold:
    description:
      - Names the hold of the writers that the part is read in. The journal of a migration takes only parts that were
        read in the same one, or all of them without.
    type: str
  earlier_hold:
    description:
      - Names the hold in which an earlier run of the migration has read all of its parts, C(cutover_run.earlier_hold).
        Its artifact is as good as a new one. Without it, one that was read in another hold than O(hold) is not used;
        it would not fit to the parts that are read now.
    type: str
  destination:
    description:
      - The folder for artifacts. It is made where it is missing.
      - Nobody but root and this user may be able to write to it or to replace it, and it may not be a link.
    type: path
    required: true
  keep:
    description: How long after its completion the artifact is kept, such as V(72h).
    type: str
    default: 72h
  verify:
    description: Whether it is restored into a place of its own and compared before it becomes an artifact.
    type: bool
    default: true
  encryption:
    description:
      - To whom the artifact is encrypted, after it was verified. It takes the space of the snapshot twice meanwhile.
      - What is in the manifest (names, counts, digests, sizes) is not encrypted.
    type: dict
    suboptions:
      tool:
        description: What encrypts it; it must be installed on this host.
        type: str
        required: true
        choices: [age, gpg]
      recipient:
        description:
          - The public key that it is encrypted to, or for V(gpg) what names one in the keyring.
          - A path that begins with V(/) is a file of this host with public keys.
        type: str
        required: true
  timeout:
    description: Seconds that all of it may take.
    type: int
    default: 3600
seealso:
  - module: bluegreen.cutover.snapshot_info
  - module: bluegreen.cutover.snapshot_restore
  - module: bluegreen.cutover.snapshot_expire
"""

EXAMPLES = r"""
- name: Take a snapshot of the uploads, and prove it
  bluegreen.cutover.snapshot:
    service: shop
    part: uploads
    destination: /var/backups/cutover
    files:
      paths: [/srv/shop/uploads]

- name: Tag the code that serves now
  bluegreen.cutover.snapshot:
    service: shop
    part: code
    destination: /var/backups/cutover
    encryption:
      tool: age
      recipient: age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p
    git:
      repository: /opt/shop
"""

RETURN = r"""
artifact:
  description: The artifact's folder; V(null) where check mode took none, and with O(state=taken).
  type: str
  returned: success
  sample: /var/backups/cutover/shop.uploads.20261121T194000Z
manifest:
  description: The artifact's manifest; V(null) where check mode took none.
  type: dict
  returned: success
summary:
  description: What the journal of a migration keeps of it; V(null) where check mode took none.
  type: dict
  returned: success
  sample:
    part: uploads
    name: shop.uploads.20261121T194000Z
    path: /var/backups/cutover/shop.uploads.20261121T194000Z
    host: data
    engine: files
    bytes: 1048576
    verified: true
    consistent_at: 1795289999.1
    expires: 1795549200.5
left:
  description:
    - What may be left on the part's server of runs that have died, and was not removed or cannot be without a doubt
      whose it is. Each is a warning, too.
  type: list
  elements: str
  returned: success
  sample:
    - >-
      a snapshot of the collection docs-1 at http://127.0.0.1:6333 may be left of a run that has died. Qdrant does not
      say whose these are: docs-1-4711-2026-11-21-19-40-00.snapshot. Delete what nobody needs: DELETE
      http://127.0.0.1:6333/collections/docs-1/snapshots/<name>
progress:
  description: What was done, with the seconds since the beginning.
  type: list
  elements: str
  returned: always
reason:
  description: A stable word for the kind of failure.
  type: str
  returned: failure
  sample: snapshot
evidence:
  description: What was seen when it failed.
  type: dict
  returned: failure
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.bluegreen.cutover.plugins.module_utils import _artifacts
from ansible_collections.bluegreen.cutover.plugins.module_utils._core import artifact
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import CutoverError
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.gate.criteria import duration
from ansible_collections.bluegreen.cutover.plugins.module_utils._encryption import TOOLS, Encryption
from ansible_collections.bluegreen.cutover.plugins.module_utils._snapshots.registry import (
    ENGINES,
    chosen_engine,
    engine_arguments,
)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "part": {"type": "str", "required": True},
            "service": {"type": "str"},
            "migration": {"type": "str"},
            "state": {"type": "str", "default": _artifacts.PRESENT, "choices": list(_artifacts.STATES)},
            "hold": {"type": "str"},
            "earlier_hold": {"type": "str"},
            "destination": {"type": "path", "required": True},
            "keep": {"type": "str", "default": "72h"},
            "verify": {"type": "bool", "default": True},
            "encryption": {
                "type": "dict",
                "options": {
                    "tool": {"type": "str", "required": True, "choices": list(TOOLS)},
                    "recipient": {"type": "str", "required": True},
                },
            },
            "timeout": {"type": "int", "default": 3600},
            **engine_arguments(),
        },
        required_one_of=[list(ENGINES)],
        mutually_exclusive=[list(ENGINES)],
        supports_check_mode=True,
    )
    given = module.params
    log = _artifacts.Log()
    tags = "; tags that were made may stay" if given["git"] else ""
    try:
        with _artifacts.bounded(given["timeout"], f"Nothing was kept; the part's data is as it was{tags}. Run again"):
            wanted = _artifacts.Wanted(
                part=given["part"],
                destination=Path(given["destination"]),
                keep=duration(given["keep"], "keep"),
                service=given["service"],
                migration=given["migration"],
                verify=given["verify"],
                encryption=Encryption(**given["encryption"]) if given["encryption"] else None,
                hold=given["hold"],
                earlier_hold=given["earlier_hold"],
            )
            engine = chosen_engine(given, log)
            result = _artifacts.take(wanted, engine, log, state=given["state"], check_mode=module.check_mode)
    except CutoverError as error:
        module.fail_json(**error.as_result(), progress=log.lines)
    for one in result["left"]:
        module.warn(one)
    summary = artifact.summary(result["artifact"], result["manifest"]) if result["artifact"] else None
    module.exit_json(**result, summary=summary, progress=log.lines)


if __name__ == "__main__":
    main()
