# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    # What every module that talks to a router needs; ROUTER_ARGUMENTS in module_utils/_routing.py is its code.
    DOCUMENTATION = r"""
options:
  service:
    description: Name of the service, C(a-z), C(0-9) and C(-).
    type: str
    required: true
  router:
    description:
      - The provider and all of its options, as the plan has them under C(router).
      - "C(provider: haproxy) needs C(socket), a stats socket of level admin, C(map), the map file as the configuration
        names it, and C(backends), the backend of each colour."
      - "C(provider: nginx) needs C(conf), the include with the weight, and C(socket), where the workers tell the weight
        they apply."
      - "C(provider: nginx_lua) needs C(file), the weight that a restart loads, and C(socket), where the weight is told
        and set."
      - "C(provider: nftables) needs C(port), the service's own port, and C(file), the ruleset that the boot loads.
        It moves a service on one host."
      - "In a cluster (with C(kubeconfig) and C(context), or those of the environment) each needs C(namespace):
        C(provider: k8s_service) C(name) of a Service and C(selectors), its whole selector for each colour, all or
        nothing; C(provider: k8s_httproute) C(name) of an HTTPRoute and C(services), that of each colour;
        C(provider: k8s_ingress) C(stable) and C(canary), two Ingresses of ingress-nginx, and C(services);
        C(provider: k8s_configmap) C(name), C(key) and C(services), and what C(admin_api) needs, but C(file)."
      - "C(provider: k8s_replicas) needs C(name), C(selectors) and C(both), the selector that takes both colours, and
        what the plan adds: C(deployments), that of each colour, C(keeps), the colour whose Deployment is left as it is,
        and C(timeout), seconds for pods to become ready. Its weights are ratios of pods, only as exact as connections
        spread; one that the numbers of pods cannot make is refused."
      - "C(sticky), what keeps a client on its side, is read only by the role that writes the router's configuration."
    type: dict
    required: true
  colours:
    description:
      - What the plan has under C(colours), V(blue) and V(green).
      - Of each colour only C(instances) is read, a list of C(host) and C(port) as the router reaches them.
    type: dict
    required: true
  ready_path:
    description: The path that answers 200 when an instance is ready.
    type: str
    default: /health/ready
"""
