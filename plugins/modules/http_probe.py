#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: http_probe
short_description: Ask many HTTP endpoints at once, and judge their answers by status, content and time
version_added: 0.1.0
description:
  - Asks all O(targets), and every one of O(probes) at every one of O(bases), at the same time.
  - All of them must be healthy in the same round. With O(attempts) it asks again until they are; when the last round
    is not healthy the module fails.
  - Proxies are not used and redirects are not followed, so that what is judged is the host that was asked.
  - A request ends after twice its budget at the latest, so that an answer that comes too late still has its number.
author:
  - bluegreen.cutover contributors (@bluegreen-cutover)
extends_documentation_fragment:
  - bluegreen.cutover.attributes
attributes:
  check_mode:
    support: full
    details:
      - Asks once, and only with methods that change nothing. The other requests are in RV(skipped).
      - It does not fail when something is unhealthy, because what will make it healthy may not have been done; see
        RV(would_fail).
  diff_mode:
    support: N/A
    details: It changes nothing.
  idempotent:
    support: full
    details: It changes nothing, unless a request that you let it send does.
options:
  targets:
    description: What to ask, one whole address each.
    type: list
    elements: dict
    default: []
    suboptions:
      url:
        description: The address to ask, with C(http) or C(https).
        type: str
        required: true
      name:
        description: What the probe is called in messages; its address when not given.
        type: str
      method:
        description: The request's method.
        type: str
        default: GET
        choices: [GET, HEAD, OPTIONS, POST, PUT, PATCH, DELETE]
      body:
        description: The request's body. A text is sent as it is, everything else as JSON.
        type: raw
      headers:
        description: Headers of the request. They are logged.
        type: dict
        default: {}
      secret_headers:
        description: Headers whose values nobody may see, such as C(Authorization).
        type: dict
        default: {}
      status:
        description: The accepted status codes.
        type: list
        elements: int
        default: [200]
      json:
        description:
          - The expected value at each dotted path of the JSON body, such as C(checks.0.state).
          - A body that is not valid JSON, which C(NaN) is not either, fails.
        type: dict
        default: {}
      budget_ms:
        description: How many milliseconds the whole answer may take.
        type: int
        default: 2000
  bases:
    description: Addresses that O(probes) are asked at, such as V(http://app1:8002).
    type: list
    elements: str
    default: []
  probes:
    description: What to ask at each of O(bases).
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: The path to ask, with its query.
        type: str
        required: true
      name:
        description: What the probe is called in messages; its address when not given.
        type: str
      method:
        description: The request's method.
        type: str
        default: GET
        choices: [GET, HEAD, OPTIONS, POST, PUT, PATCH, DELETE]
      body:
        description: The request's body. A text is sent as it is, everything else as JSON.
        type: raw
      headers:
        description: Headers of the request. They are logged.
        type: dict
        default: {}
      secret_headers:
        description: Headers whose values nobody may see, such as C(Authorization).
        type: dict
        default: {}
      status:
        description: The accepted status codes.
        type: list
        elements: int
        default: [200]
      json:
        description:
          - The expected value at each dotted path of the JSON body, such as C(checks.0.state).
          - A body that is not valid JSON, which C(NaN) is not either, fails.
        type: dict
        default: {}
      budget_ms:
        description: How many milliseconds the whole answer may take.
        type: int
        default: 2000
  attempts:
    description: How many rounds at most, from 1 to 1000.
    type: int
    default: 1
  interval:
    description: Seconds between two rounds.
    type: float
    default: 1.0
"""

EXAMPLES = r"""
- name: Ask every instance of the candidate, ten times ten seconds apart at most
  bluegreen.cutover.http_probe:
    bases:
      - http://app1:8002
      - http://app2:8002
    probes:
      - path: /health/ready
      - path: /api/v1/health
        json:
          status: ok
        budget_ms: 500
    attempts: 10
    interval: 10

- name: Send a payload and look at the decision
  bluegreen.cutover.http_probe:
    targets:
      - name: an order is accepted
        url: http://app1:8002/api/v1/orders
        method: POST
        body:
          item: 7
          count: 1
        secret_headers:
          Authorization: "Bearer {{ shop_token }}"
        status: [200, 201]
        json:
          decision: accepted
"""

RETURN = r"""
healthy:
  description: Whether everything was as expected in the last round.
  type: bool
  returned: when something was asked
observations:
  description: Every answer of every round, in the order of the rounds.
  type: list
  elements: dict
  returned: when something was asked
  contains:
    attempt:
      description: The round, from 1.
      type: int
      returned: always
    name:
      description: What the probe is called.
      type: str
      returned: always
    method:
      description: The request's method.
      type: str
      returned: always
    url:
      description: The address that was asked.
      type: str
      returned: always
    status:
      description: The status code; null without an answer.
      type: int
      returned: always
    ms:
      description: How many milliseconds the whole answer took.
      type: float
      returned: always
    body:
      description: The beginning of the answer's body, at most 300 characters.
      type: str
      returned: always
    mismatches:
      description: Everything that was not as expected; empty when healthy.
      type: list
      elements: str
      returned: always
      sample: ["status 503, 200 is expected"]
skipped:
  description: The requests that were not sent because they might change something.
  type: list
  elements: str
  returned: in check mode
  sample: ["POST http://app1:8002/api/v1/orders"]
would_fail:
  description: The message with which the real run would fail if nothing changed until then; empty when healthy.
  type: str
  returned: in check mode
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import CutoverError, InputError
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.probes import make_targets
from ansible_collections.bluegreen.cutover.plugins.module_utils._probe import (
    PROBE_ARGUMENTS,
    probe,
    probe_in_check_mode,
    unhealthy,
)

PROBE = {**PROBE_ARGUMENTS, "secret_headers": {"type": "dict", "default": {}, "no_log": True}}


def main() -> None:
    """Wire the module."""
    module = AnsibleModule(
        argument_spec={
            "targets": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {"url": {"type": "str", "required": True}, **PROBE},
            },
            "bases": {"type": "list", "elements": "str", "default": []},
            "probes": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {"path": {"type": "str", "required": True}, **PROBE},
            },
            "attempts": {"type": "int", "default": 1},
            "interval": {"type": "float", "default": 1.0},
        },
        supports_check_mode=True,
    )
    params = module.params
    try:
        if not 1 <= params["attempts"] <= 1000 or not 0 <= params["interval"] <= 3600:
            raise InputError("attempts must be a number from 1 to 1000, and interval one from 0 to 3600 seconds.")
        targets = make_targets(params["targets"], params["bases"], params["probes"])
    except CutoverError as error:
        module.fail_json(**error.as_result())
    if module.check_mode:
        module.exit_json(changed=False, **probe_in_check_mode(targets))
    healthy, observations = probe(targets, params["attempts"], params["interval"])
    if not healthy:
        module.fail_json(healthy=False, observations=observations, **unhealthy(observations).as_result())
    module.exit_json(changed=False, healthy=True, observations=observations)


if __name__ == "__main__":
    main()
