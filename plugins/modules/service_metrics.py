#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: service_metrics
short_description: Tell whether a candidate's metrics flow, and whether its migration was a success
version_added: 0.1.0
description:
  - Asks the Prometheus of O(plan), by what C(cutover_metrics) says; to be run on the router host.
author:
  - bluegreen.cutover contributors (@bluegreen)
extends_documentation_fragment:
  - bluegreen.cutover.attributes
  - bluegreen.cutover.attributes.reads
options:
  plan:
    description: The plan, as M(bluegreen.cutover.plan) returns it, with C(metrics).
    type: dict
    required: true
  state:
    description:
      - V(flowing) waits until every target of the candidate is up in Prometheus and tells its requests, and fails when
        they do not in five scrapes and 5 seconds.
      - V(success) measures the migration that is open, and asks the front once more; it never fails for what it finds.
        At most the last 20000 scrapes are looked at. A request that reached no process is in no counter, and neither
        is what a process did between its last scrape and its end.
      - V(steady) tells of the new version over C(cutover_finalize.stable), and whether the old one still had requests
        in the last day; it never fails for what it finds.
    type: str
    choices: [flowing, success, steady]
    required: true
seealso:
  - module: bluegreen.cutover.prometheus_gate
"""

EXAMPLES = r"""
- name: See that the candidate's metrics flow
  bluegreen.cutover.service_metrics:
    state: flowing
    plan: "{{ cutover_plan }}"
  run_once: true
  delegate_to: "{{ cutover_plan.hosts.router }}"
"""

RETURN = r"""
sentence:
  description: What was seen, for a person.
  returned: success
  type: str
  sample: 2 targets are up, 14 series of requests
targets:
  description: How many are up.
  returned: when O(state) is V(flowing)
  type: int
series:
  description: How many series of requests they have.
  returned: when O(state) is V(flowing)
  type: int
findings:
  description:
    - The availability, the response time, the features and the alerting, each with its C(name), whether it C(passed)
      (null where that cannot be known), and what was C(seen). With V(steady) those of C(cutover_finalize).
  returned: when O(state) is V(success) or V(steady)
  type: list
  elements: dict
  sample:
    - {name: availability, passed: true, seen: "99.9912% of 11342 requests, more than 99.90% are wanted"}
reason:
  description: A stable word for the kind of failure.
  returned: failure
  type: str
  sample: metrics
evidence:
  description: What was seen when it failed.
  returned: failure
  type: dict
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.bluegreen.cutover.plugins.module_utils import _service_metrics
from ansible_collections.bluegreen.cutover.plugins.module_utils._core import success
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import CutoverError


def main() -> None:
    """Wire the module."""
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["flowing", "success", "steady"], "required": True},
            "plan": {"type": "dict", "required": True},
        },
        supports_check_mode=True,
    )
    given = module.params
    plan = given["plan"]
    try:
        source = _service_metrics.source(plan)
        if given["state"] == "flowing":
            result = _service_metrics.flowing(source, plan)
        else:
            if given["state"] == "steady":
                findings = _service_metrics.steady(source, plan)
            else:
                findings = _service_metrics.measure(source, plan, _service_metrics.began(plan))
            result = {"findings": findings, "sentence": "; ".join(success.tell(findings))}
    except CutoverError as error:
        module.fail_json(**error.as_result())
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
