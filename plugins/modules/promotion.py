#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: promotion
short_description: Tell whether a release may go to an environment, and keep the record of it
version_added: 0.1.0
description:
  - A release may go to an environment when it was validated in the one before, with all of its phases, and nothing else
    was promoted there since.
  - In a cluster a release that is named by its digest (C(@sha256:)) is what a container of the candidate's Deployment
    has to run. Any other text is only compared with what was promoted before.
  - The record of all environments is in one place, the ConfigMap C(bluegreen-<application>) of O(namespace), or beside
    the journal on the router host. To be run on the router host.
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
    support: partial
    details: V(judged) changes nothing; the others record an event each time.
options:
  plan:
    description: The plan, as M(bluegreen.cutover.plan) returns it.
    type: dict
    required: true
  application:
    description: Name of the application.
    type: str
    required: true
  environments:
    description:
      - The environments in their order. Each has a C(name), and can have C(phrase), C(slot), C(backup), C(valid_for) in
        seconds, and C(healthy) and C(phases), lists of steps.
      - A step has a C(name) and one of C(command), C(tasks) and C(probe).
    type: list
    elements: dict
    required: true
  to:
    description: The environment.
    type: str
    required: true
  release:
    description: What is promoted, by the same text in each environment; best an image's digest or a commit.
    type: str
    required: true
  namespace:
    description: The namespace with the record; needed for a plan of a cluster.
    type: str
    default: ''
  state:
    description:
      - V(judged) fails with RV(reason=promotion), and says what is missing, where the release may not go there.
      - V(begun) does the same, and records that it begins.
      - V(recorded) records O(events).
      - V(moved) records that its traffic has moved, by O(migration).
      - V(validated) ends it; it fails unless every phase has passed, and the candidate still runs the release.
      - V(failed) ends it with O(reason).
    type: str
    choices: [judged, begun, recorded, moved, validated, failed]
    required: true
  events:
    description:
      - What happened, each with its C(kind), C(checked) or C(tested), its C(name), whether it C(passed), and what was
        C(seen).
    type: list
    elements: dict
    default: []
  migration:
    description:
      - The migration that has moved the traffic; empty where the cutover found nothing to do. Then the release has to
        be the one that a promotion moved there last, or RV(problem) says so and nothing is recorded.
    type: str
    default: ''
  reason:
    description: Why it failed.
    type: str
    default: no reason given
  owner:
    description: Who promotes; set by the action plugin.
    type: dict
    default: {}
seealso:
  - module: bluegreen.cutover.confirm
"""

EXAMPLES = r"""
- name: See whether the release may go to production
  bluegreen.cutover.promotion:
    plan: "{{ cutover_plan }}"
    application: nextstep
    environments: "{{ promote_environments }}"
    to: prod
    release: registry.example/nextstep@sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
    namespace: blueocean-nextstep-prod
    state: judged
"""

RETURN = r"""
environment:
  description: The environment with all of its keys; also the fact C(promote_environment).
  type: dict
  returned: when O(state) is V(judged) or V(begun)
sentence:
  description: What the phases have come to.
  type: str
  returned: when O(state) is V(recorded), V(validated) or V(failed), or V(moved) and it is recorded
  sample: 8 of 8 phases passed
problem:
  description: Why nobody knows that this release serves there; empty where it is known.
  type: str
  returned: when O(state) is V(moved)
  sample: ""
reason:
  description: A stable word for the kind of failure.
  type: str
  returned: failure
  sample: promotion
evidence:
  description: What was seen when it failed.
  type: dict
  returned: failure
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.bluegreen.cutover.plugins.module_utils._core import promotion
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import CutoverError
from ansible_collections.bluegreen.cutover.plugins.module_utils._promoting import Promotion, open_record, read_images


def main() -> None:
    """Wire the module."""
    module = AnsibleModule(
        argument_spec={
            "plan": {"type": "dict", "required": True},
            "application": {"type": "str", "required": True},
            "environments": {"type": "list", "elements": "dict", "required": True},
            "to": {"type": "str", "required": True},
            "release": {"type": "str", "required": True},
            "namespace": {"type": "str", "default": ""},
            "state": {
                "type": "str",
                "required": True,
                "choices": ["judged", "begun", "recorded", "moved", "validated", "failed"],
            },
            "events": {"type": "list", "elements": "dict", "default": []},
            "migration": {"type": "str", "default": ""},
            "reason": {"type": "str", "default": "no reason given"},
            "owner": {"type": "dict", "default": {}},
        },
        supports_check_mode=True,
    )
    given = module.params
    try:
        environments = promotion.check(given["application"], given["environments"])
        store = open_record(given["plan"], given["application"], given["namespace"])
        run = Promotion(
            store,
            environments,
            given["to"],
            given["release"],
            images=lambda: read_images(given["plan"]),
            check_mode=module.check_mode,
        )
        parts = [one["name"] for one in given["plan"].get("state") or ()]
        states = {
            "judged": lambda: run.judge(parts),
            "begun": lambda: run.begin(parts, given["owner"]),
            "recorded": lambda: run.note(given["events"]),
            "moved": lambda: run.moved(given["migration"]),
            "validated": lambda: run.note([{"kind": "validated"}]),
            "failed": lambda: run.note([{"kind": "failed", "message": given["reason"]}]),
        }
        result = states[given["state"]]()
    except CutoverError as error:
        module.fail_json(**error.as_result())
    module.exit_json(**result)


if __name__ == "__main__":
    main()
