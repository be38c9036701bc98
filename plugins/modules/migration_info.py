#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: migration_info
short_description: Tell who serves, since when, what is recorded, and whether these agree
version_added: 0.1.0
description:
  - Reads the router, the journal and the lease; to be run on the router host.
  - What cannot be read is told as a difference, and does not fail. Where that is the journal, RV(phase) and RV(over)
    are null, and whatever else is recorded is null, empty or false.
author:
  - bluegreen.cutover contributors (@bluegreen)
extends_documentation_fragment:
  - bluegreen.cutover.attributes
  - bluegreen.cutover.attributes.reads
  - bluegreen.cutover.migration
options:
  state:
    description: What the run would be that RV(idle) is about, as M(bluegreen.cutover.migration) has it.
    type: str
    choices: [begun, advancing, rehearsing]
    default: begun
seealso:
  - module: bluegreen.cutover.migration
"""

EXAMPLES = r"""
- name: Read what serves and what is recorded
  bluegreen.cutover.migration_info:
    plan: "{{ cutover_plan }}"
    workloads: "{{ units }}"
  run_once: true
  delegate_to: "{{ cutover_plan.hosts.router }}"
  register: status

- name: Fail when these do not agree
  ansible.builtin.assert:
    that: status.agree
    fail_msg: "{{ status.differences | join('; ') }}"
"""

RETURN = r"""
service:
  description: The service's name.
  returned: success
  type: str
serving:
  description: Each colour's percentage of the traffic; empty when the router does not tell.
  returned: success
  type: dict
  sample: {blue: 0, green: 100}
since:
  description: Since when it has been shared like that, in unix seconds, as recorded; null when nothing is recorded.
  returned: success
  type: float
weight:
  description: Green's percentage of the traffic, as the router applies it.
  returned: success
  type: int
persisted:
  description: Green's percentage after a reload or a reboot.
  returned: success
  type: int
ready:
  description: How many instances of each colour are ready, as the router sees them.
  returned: success
  type: dict
  sample: {blue: 2, green: 2}
in_flight:
  description: How many requests the router has open to each colour; null where it does not know.
  returned: success
  type: dict
phase:
  description:
    - Of the last migration; V(none), V(moving), V(held), V(failed), V(finished), V(rolling_back) or V(rolled_back);
      null where the journal cannot be read.
  returned: success
  type: str
hold:
  description:
    - The hold of the weight of now, with C(weight), C(since), C(seconds), the gate's last C(verdict) and, while it
      cannot tell, since when, C(blind); null when none has begun.
  returned: success
  type: dict
rehearsal:
  description:
    - Where the last migration is a rehearsal, its C(way), how many seconds it took to C(switch) and to go C(back), when
      it C(passed), and a C(sentence); null otherwise.
  returned: success
  type: dict
artifacts:
  description: The snapshots of the last migration, each as M(bluegreen.cutover.snapshot) sums it up.
  type: list
  elements: dict
  returned: success
over:
  description:
    - The migrations that need their snapshots no more, because C(rollback.yml) cannot go back from them. All that are
      recorded, but for one that is open, or has finished last and whose old version is not removed.
    - Null where the journal cannot be read; nobody knows then what is needed.
  type: list
  elements: str
  returned: success
served:
  description: Whether the candidate of the migration that is open may have had traffic.
  type: bool
  returned: success
checkpoints:
  description: What the candidate of the last migration has shown, each with C(name), C(passed) and C(seen).
  returned: success
  type: list
  elements: dict
success:
  description:
    - What was measured of the last migration when it was over, each with C(name), C(passed), null where that cannot be
      known, and C(seen).
  returned: success
  type: list
  elements: dict
migration:
  description: The last migration, with its C(id) and C(events); null when there was none.
  returned: success
  type: dict
failure:
  description: Why the last run ended, with C(reason) and C(message), when it failed; null otherwise.
  returned: success
  type: dict
lease:
  description: Who acts now, with C(owner), C(kind), C(reason), C(since), C(expires), C(expired); null when nobody does.
  returned: success
  type: dict
guard:
  description:
    - What takes the traffic back by itself, as M(bluegreen.cutover.guard) returns it, with its C(cause) when it does so
      now, and its C(problem) when something hinders it.
    - Null when none is armed.
  returned: success
  type: dict
idle:
  description: Whether a run that began now would have nothing to do; false where that cannot be told.
  returned: success
  type: bool
agree:
  description: Whether data plane, disk, journal and units agree.
  returned: success
  type: bool
differences:
  description: Where they do not, one sentence each.
  returned: success
  type: list
  elements: str
reason:
  description: A stable word for the kind of failure.
  returned: failure
  type: str
  sample: input
evidence:
  description: What was seen when it failed.
  returned: failure
  type: dict
"""


from ansible.module_utils.basic import AnsibleModule
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import CutoverError
from ansible_collections.bluegreen.cutover.plugins.module_utils._migration import Migration, open_plan


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "plan": {"type": "dict", "required": True},
            "workloads": {"type": "list", "elements": "dict"},
            "state": {"type": "str", "choices": ["begun", "advancing", "rehearsing"], "default": "begun"},
        },
        supports_check_mode=True,
    )
    given = module.params
    try:
        store, router = open_plan(given["plan"])
        kinds = {"advance": given["state"] == "advancing", "rehearse": given["state"] == "rehearsing"}
        result = Migration(given["plan"], store, router).describe(given["workloads"], **kinds)
    except CutoverError as error:
        module.fail_json(**error.as_result())
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
