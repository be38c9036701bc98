# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: failure
short_description: Tell what the result of a failed task says
version_added: 0.1.0
description:
  - Makes one message of a result, such as C(ansible_failed_result). Of a loop, whose own message only says that an item
    failed, it tells each item that did, by its name.
  - A command's exit status and the last lines of its output are added.
author:
  - bluegreen.cutover contributors (@bluegreen)
options:
  _input:
    description: The result.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Run some tests, and tell which one failed
  block:
    - name: Run the tests
      ansible.builtin.command:
        argv: "{{ item.command }}"
      loop:
        - {name: the unit tests, command: [/opt/shop/unit-tests]}
        - {name: the contract tests, command: [/opt/shop/contract-tests]}
      changed_when: false
  rescue:
    - name: Tell which one failed
      ansible.builtin.fail:
        msg: "{{ ansible_failed_result | bluegreen.cutover.failure }}"
"""

RETURN = r"""
_value:
  description: The message, one or more lines.
  type: str
  sample: |-
    the contract tests: non-zero return code (exit status 1); the end of its output:
    FAILED (failures=1)
"""

from collections.abc import Callable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.failures import describe


def failure(result: Any) -> str:
    if not isinstance(result, Mapping):
        raise AnsibleFilterError(f"bluegreen.cutover.failure needs the result of a task, not {type(result).__name__}")
    return describe(result)


class FilterModule:
    """Filters of this file."""

    def filters(self) -> dict[str, Callable[[Any], str]]:
        return {"failure": failure}
