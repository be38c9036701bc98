# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long a router in a cluster may take until it does what it was told: its adapter waits for that, and nobody renews
lease or guard meanwhile, so that the plan has to know it.
"""

from __future__ import annotations

from collections.abc import Mapping

SETTLE: Mapping[str, float] = {
    # The kubelet looks at what it has mounted once a minute, and may have it from a cache that is as old.
    "k8s_configmap": 120.0,
    # Every gateway has to say that it has seen a change.
    "k8s_httproute": 30.0,
    # EndpointSlices follow the selector; pods that are scaled have their own time besides.
    "k8s_replicas": 30.0,
    "k8s_service": 30.0,
}
"""Seconds by provider; the others do it, or are as far as they can tell, when they have answered."""
