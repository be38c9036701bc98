# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: alert_rules
short_description: Make a service's alert rules for Prometheus from its plan
version_added: 0.1.0
description:
  - Alerts when the candidate has errors or goes down, when nobody serves, and when Prometheus does not watch it.
author:
  - bluegreen.cutover contributors (@bluegreen)
options:
  _input:
    description: The plan, as M(bluegreen.cutover.plan) returns it; its inventory has C(cutover_metrics).
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Write it
  ansible.builtin.copy:
    content: "{{ cutover_plan | bluegreen.cutover.alert_rules | to_nice_json }}"
    dest: /etc/prometheus/rules/shop.yml
    mode: "0644"
"""

RETURN = r"""
_value:
  description: A rule file; JSON is YAML.
  type: dict
"""

from collections.abc import Callable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.bluegreen.cutover.plugins.module_utils._core import observing


def alert_rules(plan: Mapping[str, Any]) -> dict[str, Any]:
    if not plan.get("metrics"):
        raise AnsibleFilterError("there is nothing to watch: the inventory has no cutover_metrics")
    return observing.alert_rules(plan)


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]]:
        """The filter by its name."""
        return {"alert_rules": alert_rules}
