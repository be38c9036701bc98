#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: http_compare
short_description: Prove that a candidate answers as fast as the old version
version_added: 0.1.0
description:
  - Asks both in turns, O(requests) times each and one request at a time, so that what disturbs one disturbs the other.
  - In a pair the candidate is slower when it took more than O(tolerance) and more than O(floor_ms) longer, or gave no
    answer with status 200 within 2 seconds. A sign test then asks whether that is so in fewer than half of the pairs.
    It holds whatever the times are distributed like, with a probability of error of 0.01.
  - It fails unless that is proven, with RV(reason=slower) where the contrary is.
author:
  - bluegreen.cutover contributors (@bluegreen)
extends_documentation_fragment:
  - bluegreen.cutover.attributes
  - bluegreen.cutover.attributes.reads
options:
  baseline:
    description: Addresses of the old version's instances, such as V(http://app1:8001).
    type: list
    elements: str
    required: true
  candidate:
    description: Addresses of the candidate's instances.
    type: list
    elements: str
    required: true
  path:
    description: What is asked for, with the method GET.
    type: str
    required: true
  requests:
    description: How many requests to each; fewer where they take more than a minute together.
    type: int
    default: 100
  tolerance:
    description: How much longer the candidate may take, as a share of the old version's time.
    type: float
    default: 0.1
  floor_ms:
    description: Milliseconds longer that do not count, whatever share they are.
    type: float
    default: 5.0
seealso:
  - module: bluegreen.cutover.http_probe
"""

EXAMPLES = r"""
- name: Compare green with blue
  bluegreen.cutover.http_compare:
    baseline: ["http://app1:8001"]
    candidate: ["http://app1:8002"]
    path: /api/v1/items
"""

RETURN = r"""
verdict:
  description: V(as_fast), V(slower) or V(unclear).
  returned: always, but when the arguments are wrong
  type: str
pairs:
  description: Pairs whose old version answered.
  returned: always, but when the arguments are wrong
  type: int
slower:
  description: Those of them in which the candidate was slower.
  returned: always, but when the arguments are wrong
  type: int
baseline_ms:
  description: The old version's median time in milliseconds.
  returned: always, but when the arguments are wrong
  type: float
candidate_ms:
  description: The candidate's.
  returned: always, but when the arguments are wrong
  type: float
sentence:
  description: The same for a person.
  returned: always, but when the arguments are wrong
  type: str
  sample: >-
    as fast as the old version: median 3.1 ms against 3.2 ms; in 2 of 100 pairs it took more than 10% and 5 ms longer
reason:
  description: A stable word for the kind of failure.
  returned: failure
  type: str
  sample: slower
evidence:
  description: What was seen when it failed.
  returned: failure
  type: dict
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.bluegreen.cutover.plugins.module_utils._core import comparison
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import CutoverError, InputError
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.probes import Target, make_target
from ansible_collections.bluegreen.cutover.plugins.module_utils._probe import ask_in_pairs

PROBE = {"method": "GET", "headers": {}, "status": [200], "json": {}, "budget_ms": comparison.BUDGET}


def main() -> None:
    """Wire the module."""
    module = AnsibleModule(
        argument_spec={
            "baseline": {"type": "list", "elements": "str", "required": True},
            "candidate": {"type": "list", "elements": "str", "required": True},
            "path": {"type": "str", "required": True},
            "requests": {"type": "int", "default": 100},
            "tolerance": {"type": "float", "default": 0.1},
            "floor_ms": {"type": "float", "default": 5.0},
        },
        supports_check_mode=True,
    )
    given = module.params
    limits = {"tolerance": given["tolerance"], "floor_ms": given["floor_ms"]}
    try:
        comparison.check(given["requests"], **limits)
        old, new = _targets(given, "baseline"), _targets(given, "candidate")
    except CutoverError as error:
        module.fail_json(**error.as_result())
    found = comparison.compare(ask_in_pairs(old, new, given["requests"], seconds=comparison.TIME), **limits)
    if found.verdict != comparison.AS_FAST:
        module.fail_json(msg=f"The candidate is {found.sentence}.", reason=found.verdict, **found.as_result())
    module.exit_json(changed=False, **found.as_result())


def _targets(given: dict[str, object], name: str) -> list[Target]:
    bases = given[name]
    if not isinstance(bases, list) or not bases:
        raise InputError(f"{name} is empty; at least one address is needed")
    return [make_target({**PROBE, "path": given["path"]}, base, name) for base in bases]


if __name__ == "__main__":
    main()
