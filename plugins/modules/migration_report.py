#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: migration_report
short_description: Report a service's migration, what would be decided now, and its indicators over time
version_added: 0.1.0
description:
  - Reads the router, the journal, the lease and Prometheus; to be run on the router host. It takes no lease.
  - The figures are the criteria of C(cutover_gate), of the last day or since the migration began, where that is less.
    Counters and histograms are read by C(increase()), values as their mean; what decides is the gate itself, which
    counts samples.
  - The recommendation is what C(advance.yml) would do now. It is decided by the same code, with what the gate has kept
    of the hold, and kept nowhere.
  - What cannot be measured is null and told with its reason, and does not fail.
author:
  - bluegreen.cutover contributors (@bluegreen)
extends_documentation_fragment:
  - bluegreen.cutover.attributes
  - bluegreen.cutover.attributes.reads
  - bluegreen.cutover.migration
options:
  snapshots:
    description: What M(bluegreen.cutover.snapshot_info) found of each part, by its name.
    type: dict
    default: {}
seealso:
  - module: bluegreen.cutover.migration_info
  - module: bluegreen.cutover.prometheus_gate
  - name: DORA's metrics
    description: Where deployment frequency, change failure rate and time to recover come from.
    link: https://dora.dev/guides/dora-metrics-four-keys/
"""

EXAMPLES = r"""
- name: Make the report
  bluegreen.cutover.migration_report:
    plan: "{{ cutover_plan }}"
    workloads: "{{ units }}"
  run_once: true
  delegate_to: "{{ cutover_plan.hosts.router }}"
  register: made

- name: Keep the page
  ansible.builtin.copy:
    content: "{{ made.page }}"
    dest: "/srv/reports/{{ made.name }}.html"
    mode: "0644"
  delegate_to: localhost
  run_once: true
"""

RETURN = r"""
report:
  description: All of it, for programs. Times are unix seconds.
  returned: success
  type: dict
  contains:
    service:
      description: The service's name.
      type: str
      returned: always
    made:
      description: When this was read.
      type: float
      returned: always
    serving:
      description: Each colour's percentage of the traffic; empty when the router does not tell.
      type: dict
      returned: always
    since:
      description: Since when, as recorded.
      type: float
      returned: always
    migration:
      description:
        - The last one, open or not, with its C(id), C(from), C(to), C(phase), whether it is a C(rehearsal), when it
          C(began) and C(last) had an event, the candidate's C(share), the C(path) that the share took, and as C(marks)
          the verdicts on the way. Null when there was none, or the journal cannot be read.
      type: dict
      returned: always
    seconds:
      description: Of how many seconds the figures are.
      type: float
      returned: always
    figures:
      description:
        - Each criterion of the gate with its C(candidate) and C(baseline), in its C(unit) (C(s), C(share) from 0 to 1,
          or C(value)), the C(difference), the same as a part of the baseline, C(relative), its C(limit) in words, why
          something is C(missing), and the C(status) and C(message) that the gate has of it in this hold.
      type: list
      elements: dict
      returned: always
    gate:
      description: The gate's C(verdict) and C(message) of the hold of now, C(covered) and C(left) in seconds; or null.
      type: dict
      returned: always
    recommendation:
      description:
        - C(do) is V(advance), V(hold) or V(roll back), and C(sentence) says why. Null when no migration is open.
      type: dict
      returned: always
    indicators:
      description:
        - Under C(all) and for each of C(months), availability, time to recover (s), deployment frequency (a week, or
          in a month), and change failure rate (0 to 1), each with its C(value), null where it was not measured, its
          C(unit), and what was C(seen). Null where the journal cannot be read.
      type: dict
      returned: always
    success:
      description: What was measured when the migration finished.
      type: list
      elements: dict
      returned: always
    differences:
      description: Where data plane, disk, journal and units do not agree.
      type: list
      elements: str
      returned: always
page:
  description: The same as a page of HTML that needs nothing else.
  returned: success
  type: str
name:
  description: A name for it, without an ending; the service and the day (UTC).
  returned: success
  type: str
  sample: shop-2026-03-14
lines:
  description: The same in a few lines.
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
from ansible_collections.bluegreen.cutover.plugins.module_utils._core import report
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.artifact import moment
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import CutoverError
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.report_page import page
from ansible_collections.bluegreen.cutover.plugins.module_utils._migration import open_plan
from ansible_collections.bluegreen.cutover.plugins.module_utils._reporting import Report


def main() -> None:
    """Wire the module."""
    module = AnsibleModule(
        argument_spec={
            "plan": {"type": "dict", "required": True},
            "workloads": {"type": "list", "elements": "dict"},
            "snapshots": {"type": "dict", "default": {}},
        },
        supports_check_mode=True,
    )
    given = module.params
    try:
        store, router = open_plan(given["plan"])
        made = Report(given["plan"], store, router, check_mode=True).make(given["workloads"], given["snapshots"])
    except CutoverError as error:
        module.fail_json(**error.as_result())
    day = moment(made["made"]).partition(" ")[0]
    name = f"{made['service']}-{day}"
    module.exit_json(changed=False, report=made, page=page(made), name=name, lines=list(report.sentences(made)))


if __name__ == "__main__":
    main()
