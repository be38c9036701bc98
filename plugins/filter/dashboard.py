# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: dashboard
short_description: Make a service's dashboard for Grafana from its plan
version_added: 0.1.0
description:
  - Who is up, errors, requests, shares and times of both colours.
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
    content: "{{ cutover_plan | bluegreen.cutover.dashboard | to_nice_json }}"
    dest: /var/lib/grafana/dashboards/shop.json
    mode: "0644"
"""

RETURN = r"""
_value:
  description: A dashboard for Grafana 9 or newer.
  type: dict
"""

from collections.abc import Callable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.bluegreen.cutover.plugins.module_utils._core import observing


def dashboard(plan: Mapping[str, Any]) -> dict[str, Any]:
    if not plan.get("metrics"):
        raise AnsibleFilterError("there is nothing to watch: the inventory has no cutover_metrics")
    return observing.dashboard(plan)


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]]:
        """The filter by its name."""
        return {"dashboard": dashboard}
