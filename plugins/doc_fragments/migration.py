# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    # What every module needs that reads the journal beside the router.
    DOCUMENTATION = r"""
options:
  plan:
    description: The plan, as M(bluegreen.cutover.plan) returns it.
    type: dict
    required: true
  workloads:
    description:
      - What runs on the application hosts, as M(bluegreen.cutover.systemd_info) returns it under RV(ignore:units), of
        all hosts in one list.
      - Each is a mapping with C(host), C(colour), C(unit), C(active) and C(enabled).
    type: list
    elements: dict
"""
