# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: k8s_slot
short_description: Take a time slot of an environment that several applications share, or give it back
version_added: 0.1.0
description:
  - Holds an environment for one application until the end of the slot that is open now, by a Lease in the cluster.
  - Outside its slots, while another application holds it, and where too little of a slot is left, it fails, and tells
    who holds it and when the next time is.
  - Slots are by the clock of a named zone, summer time included. Now is what the API server says.
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
    support: none
  idempotent:
    support: full
options:
  namespace:
    description: Where the environment's Lease C(bluegreen-slot-<environment>) is; the same for all that share it.
    type: str
    required: true
  environment:
    description: Name of the environment.
    type: str
    required: true
  application:
    description: Name of the application that is to use it.
    type: str
    required: true
  state:
    description:
      - V(held) takes the slot that is open now.
      - V(free) gives it back before its end. One that another application holds is left alone, and that fails.
    type: str
    choices: [held, free]
    default: held
  slots:
    description:
      - The environment's slots; needed to take one. They must not overlap.
      - What a clock skips when summer time begins is not there, and what it shows twice counts twice.
    type: list
    elements: dict
    suboptions:
      from:
        description: Time of day, such as V('09:00'), in quotes.
        type: str
        required: true
      to:
        description: Time of day, up to V('24:00').
        type: str
        required: true
      days:
        description: C(mon) to C(sun); every day without it.
        type: list
        elements: str
      holders:
        description: The applications that the slot is kept for; anyone without it.
        type: list
        elements: str
  zone:
    description: The zone whose clock counts, such as V(Europe/Berlin); needed to take a slot.
    type: str
  needs:
    description: Seconds of the slot that must be left.
    type: float
    default: 0.0
  reason:
    description:
      - What for; others are told.
      - With V(state=free) a slot that was taken for something else is left alone; without this it is given back, too.
    type: str
  namespace_labels:
    description:
      - Labels of O(namespace), which is made with them where it is not there when a slot is taken. Without this a
        namespace that is not there is a failure.
    type: dict
"""

EXAMPLES = r"""
- name: Use the shared staging from 9 to 12
  bluegreen.cutover.k8s_slot:
    namespace: blueocean-staging-shared
    environment: staging-shared
    application: nextstep
    slots:
      - {from: '09:00', to: '12:00'}
    zone: Europe/Berlin
    needs: 1800

- name: Leave the rest to others
  bluegreen.cutover.k8s_slot:
    namespace: blueocean-staging-shared
    environment: staging-shared
    application: nextstep
    state: free
"""

RETURN = r"""
lease:
  description: Who holds the environment now, since when and until when; null when nobody does.
  type: dict
  returned: success
until:
  description: When the slot ends.
  type: str
  returned: when taken
  sample: Thu 2026-01-15 12:00 Europe/Berlin (UTC+0100)
slot:
  description: The slot.
  type: str
  returned: when taken
  sample: 09:00 to 12:00 daily
reason:
  description: A stable word for the kind of failure; V(slot) when the environment is not this application's now.
  type: str
  returned: failure
  sample: slot
evidence:
  description: What was seen when it failed; with RV(reason=slot) C(next), when the next time is, in unix seconds.
  type: dict
  returned: failure
"""
