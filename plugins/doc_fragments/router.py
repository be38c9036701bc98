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
      - The provider and its options, as C(cutover_router) has them in the inventory.
      - "C(provider: haproxy) takes C(socket), a stats socket of level admin
        (default C(/run/haproxy/admin.sock)), C(map), the map file as the configuration names it
        (default C(/etc/haproxy/cutover/<service>.map)), and C(backends), the backend of each colour
        (default C(<service>-blue) and C(<service>-green))."
      - "C(provider: nginx) takes C(conf), the include with the weight
        (default C(/etc/nginx/cutover/<service>.conf)), and
        C(socket), where the workers tell the weight they apply
        (default C(/run/bluegreen-cutover-nginx/<service>.sock))."
      - "C(provider: nginx_lua) takes C(file), the weight that a restart loads
        (default C(/etc/nginx/cutover/<service>.weight)), and C(socket) as above, where the weight is set, too."
      - "C(provider: nftables) takes C(port), the service's own port, and C(file), the ruleset that the boot loads
        (default C(/etc/bluegreen-cutover/nftables/<service>.nft)). It moves a service on one host."
      - "All but nftables take C(sticky), with one of C(cookie) and C(header), the name of what keeps a client on its
        side; only the role that writes the router's configuration reads it."
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
