# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: confirm
short_description: Let a play go on only when somebody has typed the words that allow it
version_added: 0.1.0
description:
  - Compares what was given with the words that are needed, character by character. A variable carries it, which may
    come from the command line or from the survey of an AWX job.
  - Where nothing was given and Ansible has a terminal, it asks there, for O(timeout) seconds. Without a terminal it
    fails at once; it never waits without an end.
  - Runs on the control node, once for all hosts of the play; no host is connected to.
author:
  - bluegreen.cutover contributors (@bluegreen)
extends_documentation_fragment:
  - bluegreen.cutover.attributes
attributes:
  check_mode:
    support: full
    details: Without O(given) nobody is asked, and it succeeds. Wrong words fail.
  diff_mode:
    support: N/A
    details: It changes nothing.
  idempotent:
    support: full
options:
  phrase:
    description: The words, in one line.
    type: str
    required: true
  given:
    description: What was given; empty is nothing.
    type: str
    default: ''
  step:
    description: What needs the words, for a person.
    type: str
    required: true
  variable:
    description: The variable that O(given) comes from, for the message.
    type: str
    required: true
  timeout:
    description: Seconds for which somebody at a terminal is waited for.
    type: int
    default: 120
"""

EXAMPLES = r"""
- name: Let nobody deploy to production by habit
  bluegreen.cutover.confirm:
    phrase: DEPLOY NEXTSTEP PROD
    given: "{{ promote_confirm | default('') }}"
    step: the promotion of nextstep to production
    variable: promote_confirm
"""

RETURN = r"""
phrase:
  description: The words that were needed.
  type: str
  returned: success
how:
  description: V(given) by the variable, V(typed) at the terminal, or V(none) in check mode.
  type: str
  returned: success
reason:
  description: A stable word for the kind of failure; V(phrase) when the words are missing or others.
  type: str
  returned: failure
  sample: phrase
evidence:
  description: What was seen when it failed.
  type: dict
  returned: failure
"""
