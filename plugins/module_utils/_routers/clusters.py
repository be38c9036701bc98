# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The routers of a cluster, by the names of their providers."""

from __future__ import annotations

from ansible_collections.bluegreen.cutover.plugins.module_utils._routers.k8s_configmap import K8sConfigMap
from ansible_collections.bluegreen.cutover.plugins.module_utils._routers.k8s_httproute import K8sHttpRoute
from ansible_collections.bluegreen.cutover.plugins.module_utils._routers.k8s_ingress import K8sIngress
from ansible_collections.bluegreen.cutover.plugins.module_utils._routers.k8s_replicas import K8sReplicas
from ansible_collections.bluegreen.cutover.plugins.module_utils._routers.k8s_service import K8sService

PROVIDERS: dict[str, type] = {
    "k8s_configmap": K8sConfigMap,
    "k8s_httproute": K8sHttpRoute,
    "k8s_ingress": K8sIngress,
    "k8s_replicas": K8sReplicas,
    "k8s_service": K8sService,
}
