# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: plan
short_description: Check a service's inventory and make the plan of its migration
version_added: 0.1.0
description:
  - Reads all variables whose name begins with C(cutover_), and the groups C(cutover_router) and C(cutover_app).
  - Checks them as a whole, names every problem in one message, and fills in the defaults.
  - Runs on the control node and connects to no host.
  - The variables are described in C(docs/inventory.md).
author:
  - bluegreen.cutover contributors (@bluegreen)
extends_documentation_fragment:
  - bluegreen.cutover.attributes
  - bluegreen.cutover.attributes.reads
seealso:
  - module: bluegreen.cutover.migration
"""

EXAMPLES = r"""
- name: Check the inventory and make the plan
  bluegreen.cutover.plan:
  run_once: true

- name: Say where it goes
  ansible.builtin.debug:
    msg: "{{ cutover_plan.service }} goes from {{ cutover_plan.from }} to {{ cutover_plan.to }}"
"""

RETURN = r"""
plan:
  description: The plan; the fact C(cutover_plan) has the same.
  returned: success
  type: dict
  contains:
    service:
      description: The service's name.
      type: str
      returned: success
    from:
      description: The colour that the traffic leaves.
      type: str
      returned: success
    to:
      description: The candidate.
      type: str
      returned: success
    hosts:
      description:
        - The router host under C(router), the application hosts under C(app), which are none in a cluster, and those
          that run C(cutover_tests) under C(tests).
      type: dict
      returned: success
    cluster:
      description: C(kubeconfig), C(context) and C(namespace), where the service is in a cluster; null otherwise.
      type: dict
      returned: success
    slot:
      description:
        - What M(bluegreen.cutover.k8s_slot) needs, where C(environment_all) and C(environment_slots) say that the
          cluster's namespace is shared; null otherwise.
      type: dict
      returned: success
    one_host:
      description:
        - Whether router and application are one host and there is one step that need not settle, so that one task
          does it all.
      type: bool
      returned: success
    router:
      description: The provider and all its options.
      type: dict
      returned: success
    colours:
      description:
        - Of each colour C(unit), C(port), C(instances) (a list of C(host) and C(port)), C(urls), and C(start) and
          C(stop) as M(bluegreen.cutover.systemd_switch) takes them; in a cluster C(deployment) and C(urls).
      type: dict
      returned: success
    units:
      description: Both units, for M(bluegreen.cutover.systemd_info); in a cluster both Deployments.
      type: list
      elements: dict
      returned: success
    steps:
      description: The steps, each with the candidate's C(share), the C(weight) of green, and C(settle) in seconds.
      type: list
      elements: dict
      returned: success
    min_ready:
      description:
        - How many instances of a colour must be ready before it gets more traffic; null where that is as many as the
          other colour has.
      type: int
      returned: success
    lease:
      description: C(ttl), seconds the lease is good for without a record, and C(wait), seconds to wait for another.
      type: dict
      returned: success
reason:
  description: A stable word for the kind of failure.
  returned: failure
  type: str
  sample: input
evidence:
  description: Every problem, under C(problems).
  returned: failure
  type: dict
"""
