# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An HTTPRoute of the Gateway API: the weights of two backends, taken by the gateways that it is attached to."""

from __future__ import annotations

from collections.abc import Mapping

from ansible_collections.bluegreen.cutover.plugins.module_utils._core import settling, shares
from ansible_collections.bluegreen.cutover.plugins.module_utils._kubernetes import path_of
from ansible_collections.bluegreen.cutover.plugins.module_utils._routers import Reading, Service
from ansible_collections.bluegreen.cutover.plugins.module_utils._routers._cluster import (
    Connected,
    count_ready,
    swap,
    wait,
)

SETTLE = settling.SETTLE["k8s_httproute"]
"""Seconds for every gateway to say that it has seen a change."""


class K8sHttpRoute(Connected):
    """The HTTPRoute ``name`` in ``namespace``, whose rules have the two ``services`` as backends.

    ``kubeconfig`` and ``context`` say which cluster; without them it is that of the environment.
    """

    def __init__(
        self,
        service: Service,
        *,
        namespace: str,
        name: str,
        services: Mapping[str, str],
        kubeconfig: str | None = None,
        context: str | None = None,
    ) -> None:
        super().__init__(kubeconfig, context)
        self.service = service
        self.namespace = namespace
        self.services = dict(services)
        self.path = path_of("gateway.networking.k8s.io/v1", namespace, "httproutes", name)
        self._seen: int | None = None

    def read(self) -> Reading:
        """The route's weights, whether the gateways have taken them, and the ready endpoints of both Services."""
        route = self.cluster.call("GET", self.path)
        self._seen = shares.of_route(route, self.services)
        problem = shares.route_problem(route)
        ready, names = count_ready(self.cluster, self.namespace, self.services)
        return Reading(
            weight=None if problem else self._seen,
            persisted=self._seen,
            ready=ready,
            in_flight=dict.fromkeys(ready),
            detail={"endpoints": names, "generation": route["metadata"]["generation"]},
            unclear=problem,
        )

    def apply(self, weight: int) -> list[str]:
        """Swap the weights of all rules."""
        swap(
            self.cluster,
            self.path,
            lambda route: shares.of_route(route, self.services),
            lambda route: shares.to_route(route, self.services, weight),
            seen=self._seen,
            weight=weight,
            token=self.token,
        )
        self._seen = weight
        return [f"patch {self.path} weights {100 - weight}:{weight}"]

    def settle(self, weight: int) -> None:
        """Wait until every gateway says that it has seen that."""
        del weight
        wait(self.cluster, self.path, shares.route_problem, SETTLE)
