#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: finalize
short_description: Tell whether a service's old version may be deprecated or removed, and keep the record of it
version_added: 0.1.0
description:
  - To be run on the router host, where journal and lease are. It removes nothing itself.
  - An old version is deprecated first, which fixes its sunset, and may be removed when C(cutover_finalize) is met.
author:
  - bluegreen.cutover contributors (@bluegreen)
extends_documentation_fragment:
  - bluegreen.cutover.attributes
attributes:
  check_mode:
    support: full
    details: It gives no token, because it takes no lease.
  diff_mode:
    support: none
  idempotent:
    support: partial
    details: V(judged) changes nothing. The others record an event each time, and V(deprecated) is refused twice.
options:
  plan:
    description: The plan, as M(bluegreen.cutover.plan) returns it.
    type: dict
    required: true
  state:
    description:
      - V(judged) tells what comes next, what that needs, and the words that allow it. It fails for nothing it finds.
      - V(deprecated) records that the old version is deprecated; its sunset is C(cutover_finalize.notice) away.
      - V(removing) takes the lease for the removal, and returns its token.
      - V(removed) records the end of the removal, and V(stopped) why it ended before; both release the lease.
      - V(deprecated) and V(removing) judge again, and fail with RV(reason=finalize) where that may not be.
    type: str
    choices: [judged, deprecated, removing, removed, stopped]
    required: true
  measured:
    description: What M(bluegreen.cutover.service_metrics) found with C(state=steady).
    type: list
    elements: dict
    default: []
  token:
    description: The token that V(removing) returned; needed by V(removed) and V(stopped) except in check mode.
    type: int
  reason:
    description: Why the removal has stopped.
    type: str
    default: no reason given
  owner:
    description: Who runs this; set by the action plugin.
    type: dict
    default: {}
  takeover:
    description: The token of a lease whose holder is known to be dead; set by the action plugin.
    type: int
seealso:
  - module: bluegreen.cutover.confirm
  - module: bluegreen.cutover.systemd_remove
"""

EXAMPLES = r"""
- name: See whether the old version may go
  bluegreen.cutover.finalize:
    state: judged
    plan: "{{ cutover_plan }}"
    measured: "{{ steady.findings }}"
  run_once: true
  delegate_to: "{{ cutover_plan.hosts.router }}"
"""

RETURN = r"""
stage:
  description: What comes next; V(deprecate), V(remove), or V(nothing) when the old version is removed.
  type: str
  returned: when O(state) is V(judged), V(deprecated) or V(removing)
  sample: remove
conditions:
  description: What that needs, each with C(name), whether it C(passed) (null where nobody knows), and what was C(seen).
  type: list
  elements: dict
  returned: when O(state) is V(judged), V(deprecated) or V(removing)
  sample:
    - {name: stable, passed: false, seen: "12.4 of 30 days without a way back, a guard that fired or another weight"}
missing:
  description: What is missing, in one sentence; empty when nothing is.
  type: str
  returned: when O(state) is V(judged), V(deprecated) or V(removing)
phrase:
  description: The words that allow it.
  type: str
  returned: when O(state) is V(judged), V(deprecated) or V(removing)
  sample: REMOVE shop blue
headers:
  description: What the old API's answers are to carry, by RFC 9745 and RFC 8594.
  type: dict
  returned: when O(state) is V(judged), V(deprecated) or V(removing)
  sample: {Deprecation: "@1767225600", Sunset: "Sat, 31 Jan 2026 00:00:00 GMT"}
sentence:
  description: The same for a person.
  type: str
  returned: when O(state) is V(judged), V(deprecated) or V(removing)
token:
  description: The fencing token of this run; null in check mode.
  type: int
  returned: when O(state) is V(deprecated) or V(removing)
reason:
  description: A stable word for the kind of failure.
  type: str
  returned: failure
  sample: finalize
evidence:
  description: What was seen when it failed.
  type: dict
  returned: failure
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import CutoverError
from ansible_collections.bluegreen.cutover.plugins.module_utils._finalizing import Finalization
from ansible_collections.bluegreen.cutover.plugins.module_utils._migration import open_plan


def main() -> None:
    """Wire the module."""
    module = AnsibleModule(
        argument_spec={
            "plan": {"type": "dict", "required": True},
            "state": {
                "type": "str",
                "required": True,
                "choices": ["judged", "deprecated", "removing", "removed", "stopped"],
            },
            "measured": {"type": "list", "elements": "dict", "default": []},
            "token": {"type": "int", "no_log": False},
            "reason": {"type": "str", "default": "no reason given"},
            "owner": {"type": "dict", "default": {}},
            "takeover": {"type": "int"},
        },
        supports_check_mode=True,
    )
    given = module.params
    measured = given["measured"]
    try:
        store, router = open_plan(given["plan"])
        run = Finalization(given["plan"], store, router, check_mode=module.check_mode)
        states = {
            "judged": lambda: run.judge(measured),
            "deprecated": lambda: run.deprecate(measured, given["owner"], given["takeover"]),
            "removing": lambda: run.remove(measured, given["owner"], given["takeover"]),
            "removed": lambda: run.end(given["token"]),
            "stopped": lambda: run.stop(given["token"], given["reason"]),
        }
        result = states[given["state"]]()
    except CutoverError as error:
        module.fail_json(**error.as_result())
    module.exit_json(**result)


if __name__ == "__main__":
    main()
