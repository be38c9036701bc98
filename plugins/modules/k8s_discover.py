# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: k8s_discover
short_description: Tell what an application's environments hold before anything is planned
version_added: 0.1.0
description:
  - Reads the old and the new namespace of every environment, and tells in one report what runs there, how environments
    differ, what M(bluegreen.cutover.k8s_environment) would refuse, and what nobody refuses and has to be put right
    before traffic is switched.
  - Every request is a C(GET). So it does not try anything with the server; what that refuses in a dry run is not told.
  - Of Secrets only names are told. Values of ConfigMaps and of variables are not told either, except where a required
    setting has another value than it must have.
  - What is wrong with the inventory is told in the report; the module fails only where the cluster cannot be read.
  - Runs on the control node, whichever host the play is for; no host is connected to.
author:
  - bluegreen.cutover contributors (@bluegreen)
extends_documentation_fragment:
  - bluegreen.cutover.attributes
  - bluegreen.cutover.attributes.reads
  - bluegreen.cutover.cluster
options:
  application:
    description: Name of the application, for the page.
    type: str
    required: true
  environments:
    description: All environments of the application by name, as in M(bluegreen.cutover.k8s_environment).
    type: dict
    required: true
  required:
    description: Settings that must be there, with their values; an empty text where any value will do.
    type: dict
    default: {}
  colours:
    description:
      - By colour the labels of its pods, as C(selectors) of the router of provider C(k8s_service). With them it is told
        which Deployments select their pods without a label that tells the colours apart.
    type: dict
    default: {}
seealso:
  - module: bluegreen.cutover.k8s_environment
"""

EXAMPLES = r"""
- name: See what is there
  bluegreen.cutover.k8s_discover:
    application: nextstep
    environments:
      prod:
        source: nextstep-prod
        namespace: blueocean-nextstep-prod
        hosts:
          nextstep.local: nextstep.blueocean.local
        database: nextstep_production
        redis_prefix: 'nextstep:prod:'
    required:
      SAFETY_RAILS_ENABLED: 'true'
  register: discovered

- name: Keep the page
  ansible.builtin.copy:
    content: "{{ discovered.page }}"
    dest: nextstep.md
    mode: "0644"
  delegate_to: localhost
"""

RETURN = r"""
report:
  description:
    - C(problems) of the inventory; C(differences) between the old namespaces; and C(environments).
    - Each environment has C(source) and C(target), what is in the old namespace and in the new one; C(left), what is
      not brought and why; C(refused), why M(bluegreen.cutover.k8s_environment) would not bring it; and C(risks), what
      it would bring and has to be put right. Sentences are for people and may change.
  type: dict
  returned: success
  sample:
    problems: []
    differences:
      - what: 'Deployment api: replicas'
        values: {dev: '1', prod: '3'}
    environments:
      dev:
        refused: ['SAFETY_RAILS_ENABLED is required, and no ConfigMap and no container has it']
        risks: ['Deployment api has no readiness probe: its pods count as ready before they can answer, and a switch
          would send them requests']
page:
  description: The same for people, in Markdown. Without a date, so that it changes only when something has.
  type: str
  returned: success
reason:
  description: A stable word for the kind of failure.
  type: str
  returned: failure
  sample: cluster
evidence:
  description: What was seen when it failed.
  type: dict
  returned: failure
"""
