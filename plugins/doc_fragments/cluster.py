# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    # Which cluster; CLUSTER_ARGUMENTS in module_utils/_kubernetes.py is its code.
    DOCUMENTATION = r"""
options:
  kubeconfig:
    description:
      - The kubeconfig, on the host that runs the module.
      - Without it that of the environment variable E(KUBECONFIG), then the account of the pod that the module runs in,
        then C(~/.kube/config).
    type: path
  context:
    description: The context in it, when not its current one.
    type: str
requirements:
  - kubernetes (the Python package), on the host that runs the module
"""
