#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: http_cases
short_description: Validate business rules by cases, against an API that runs
version_added: 0.1.0
description:
  - Sends the input of every case to every one of O(bases) by C(POST), and compares the decision that it answers with
    the expected one.
  - A case passes when all of them decide as expected. When cases fail the module fails, and tells each of them with its
    input, what is expected and what came.
  - What has no case, and a case that expects nothing, is refused; it would pass for a rule that holds.
  - Inputs and decisions are in the result and in logs, so that real people's data are nothing for them.
author:
  - bluegreen.cutover contributors (@bluegreen)
extends_documentation_fragment:
  - bluegreen.cutover.attributes
attributes:
  check_mode:
    support: full
    details: It checks the cases and asks nothing, because deciding may change something; the task is skipped.
  diff_mode:
    support: N/A
    details: It changes nothing by itself.
  idempotent:
    support: full
    details: It changes nothing, unless deciding does.
options:
  bases:
    description: Addresses that are asked, such as V(http://app1:8002).
    type: list
    elements: str
    required: true
  rules:
    description: Cases by where they are asked.
    type: list
    elements: dict
    required: true
    suboptions:
      path:
        description: Where.
        type: str
        required: true
      tolerance:
        description: By how much a number may differ from the expected one.
        type: float
        default: 0.0
      budget_ms:
        description: How many milliseconds each whole answer may take.
        type: int
        default: 2000
      cases:
        description: The cases.
        type: list
        elements: dict
        required: true
        suboptions:
          name:
            description: The rule that it is an example of; no other case has it.
            type: str
            required: true
          input:
            description: What is sent. A text is sent as it is, everything else as JSON.
            type: raw
            required: true
          expected:
            description: The decision, as the value at each dotted path of the JSON answer, such as C(best.0.decision).
            type: dict
            required: true
          status:
            description: The status of the answer.
            type: int
            default: 200
seealso:
  - module: bluegreen.cutover.http_probe
"""

EXAMPLES = r"""
- name: See that the candidate decides as the business wants
  bluegreen.cutover.http_cases:
    bases: ["http://app1:8002"]
    rules:
      - path: /api/v1/matches
        tolerance: 0.01
        cases:
          - name: who lacks a required skill is looked at by a person
            input:
              required: [python, sql]
              skills: [python]
            expected:
              decision: review
              score: 0.5

- name: Those of a file
  bluegreen.cutover.http_cases:
    bases: ["http://app1:8002"]
    rules:
      - path: /api/v1/matches
        cases: "{{ lookup('ansible.builtin.file', 'cases.yml') | from_yaml }}"
"""

RETURN = r"""
total:
  description: How many cases there are.
  returned: when they were asked
  type: int
passed:
  description: How many of them passed.
  returned: when they were asked
  type: int
sentence:
  description: The same for a person.
  returned: success
  type: str
  sample: 9 of 9 cases passed
failed_cases:
  description: Those that did not pass.
  returned: when they were asked
  type: list
  elements: dict
  contains:
    name:
      description: The case.
      returned: always
      type: str
    input:
      description: What was sent.
      returned: always
      type: raw
    expected:
      description: The decision that is expected.
      returned: always
      type: dict
    got:
      description: By base, C(mismatches), C(status), C(ms) and the beginning of the C(body).
      returned: always
      type: dict
reason:
  description: A stable word for the kind of failure.
  returned: failure
  type: str
  sample: cases
evidence:
  description: What was seen when it failed.
  returned: failure
  type: dict
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.bluegreen.cutover.plugins.module_utils._core import cases
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import CutoverError
from ansible_collections.bluegreen.cutover.plugins.module_utils._http import ask_all

CASE = {
    "name": {"type": "str", "required": True},
    "input": {"type": "raw", "required": True},
    "expected": {"type": "dict", "required": True},
    "status": {"type": "int", "default": 200},
}
RULE = {
    "path": {"type": "str", "required": True},
    "tolerance": {"type": "float", "default": 0.0},
    "budget_ms": {"type": "int", "default": 2000},
    "cases": {"type": "list", "elements": "dict", "required": True, "options": CASE},
}


def main() -> None:
    """Wire the module."""
    module = AnsibleModule(
        argument_spec={
            "bases": {"type": "list", "elements": "str", "required": True},
            "rules": {"type": "list", "elements": "dict", "required": True, "options": RULE},
        },
        supports_check_mode=True,
    )
    try:
        asked = cases.make_cases(module.params["bases"], module.params["rules"])
    except CutoverError as error:
        module.fail_json(**error.as_result())
    if module.check_mode:
        module.exit_json(
            changed=False, skipped=True, msg="Nothing is asked in check mode: deciding may change something."
        )
    total, failed = cases.judge(asked, ask_all([target for _case, _base, target in asked]))
    seen = {"total": total, "passed": total - len(failed), "failed_cases": failed}
    if failed:
        module.fail_json(**seen, **cases.failure(total, failed).as_result())
    module.exit_json(changed=False, sentence=cases.told(total, failed), **seen)


if __name__ == "__main__":
    main()
