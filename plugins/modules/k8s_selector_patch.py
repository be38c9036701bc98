#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: k8s_selector_patch
short_description: Move a Kubernetes Service from one colour's pods to the other's, compared and swapped
version_added: 0.1.0
description:
  - Reads the Service, and refuses when its selector is neither of O(selectors), when the colour O(to) has fewer ready
    pods than needed, when a change of its Deployments was not yet seen by a controller, and when their rollout has not
    ended.
  - Swaps the selector by a JSON patch that first tests that it still is what was read. When it is not, the Service is
    read again and everything is decided again.
  - Waits until the EndpointSlices hold only ready pods of that colour, and tells how long that took.
  - In check mode the API server itself judges the patch, by a dry run.
  - Runs on the control node, whichever host the play is for; no host is connected to.
author:
  - bluegreen.cutover contributors (@bluegreen)
extends_documentation_fragment:
  - bluegreen.cutover.attributes
  - bluegreen.cutover.cluster
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
options:
  namespace:
    description: Namespace of the Service.
    type: str
    required: true
  name:
    description: Name of the Service.
    type: str
    required: true
  selectors:
    description:
      - The Service's whole selector for V(blue) and for V(green), a mapping of labels each.
      - At least one label must be in both with different values, so that no pod can match both.
    type: dict
    required: true
    suboptions:
      blue:
        description: The labels of blue's pods.
        type: dict
        required: true
      green:
        description: The labels of green's pods.
        type: dict
        required: true
  to:
    description: The colour that the Service is to select.
    type: str
    choices: [blue, green]
    required: true
  min_ready:
    description:
      - How many pods of O(to) must be ready before, and be endpoints afterwards.
      - Without it, as many as the colour has that is selected now, and one at least.
    type: int
  accept_rollout:
    description:
      - Whether a rollout of O(to) that has not ended, or is stuck, is no hindrance when enough of its pods are ready.
      - For a way back. To send traffic to a candidate whose rollout is stuck is to send it to two versions.
    type: bool
    default: false
  ready_wait:
    description: Seconds that the pods have to become ready.
    type: float
    default: 4.0
  settle:
    description: Seconds that the EndpointSlices have to follow.
    type: float
    default: 30.0
  token:
    description:
      - The fencing token of the run. It is written into the annotation C(bluegreen.cutover/token) of the Service with
        the selector, and a Service that has a higher one is refused.
    type: int
seealso:
  - module: bluegreen.cutover.router_weight
"""

EXAMPLES = r"""
- name: Send the traffic to green
  bluegreen.cutover.k8s_selector_patch:
    namespace: shop
    name: web
    selectors:
      blue: {app: web, version: v1}
      green: {app: web, version: v2}
    to: green

- name: Go back at once, to whatever of blue is ready
  bluegreen.cutover.k8s_selector_patch:
    namespace: shop
    name: web
    selectors:
      blue: {app: web, version: v1}
      green: {app: web, version: v2}
    to: blue
    min_ready: 1
    accept_rollout: true
"""

RETURN = r"""
before:
  description: The colour that was selected, and its selector.
  type: dict
  returned: success
  sample: {colour: blue, selector: {app: web, version: v1}}
after:
  description: The colour that is selected now, or would be, and its selector.
  type: dict
  returned: success
  sample: {colour: green, selector: {app: web, version: v2}}
ready:
  description: Ready pods of each colour.
  type: dict
  returned: success
  sample: {blue: 3, green: 3}
needed:
  description: How many pods of O(to) had to be ready.
  type: int
  returned: success
  sample: 3
attempts:
  description: How often the Service was read and decided upon; more than once when others wrote it meanwhile.
  type: int
  returned: success
  sample: 1
requests:
  description: Requests that were made, without watches.
  type: int
  returned: success
  sample: 2
switch_ms:
  description: Milliseconds for the patch.
  type: float
  returned: success
  sample: 3.1
settle_ms:
  description: Milliseconds from then until the EndpointSlices had followed.
  type: float
  returned: success
  sample: 12.5
reason:
  description:
    - A stable word for the kind of failure.
    - V(not_ready), V(drift), V(no_selector), V(empty_selector), V(ambiguous_selector), V(fenced) and V(input) come
      before anything is changed; V(not_settled) after. After V(cluster) see what is selected.
  type: str
  returned: failure
  sample: not_ready
evidence:
  description: What was seen when it failed.
  type: dict
  returned: failure
"""
