# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""ingress-nginx with a canary: green's Ingress has a weight, blue's gets the rest.

ingress-nginx does not say what it applies. What its controller has seen is in the Ingress alone, and a request at the
front (``cutover_verify``) is what proves it.
"""

from __future__ import annotations

from collections.abc import Mapping

from ansible_collections.bluegreen.cutover.plugins.module_utils._core import shares
from ansible_collections.bluegreen.cutover.plugins.module_utils._kubernetes import path_of
from ansible_collections.bluegreen.cutover.plugins.module_utils._routers import Reading, Service
from ansible_collections.bluegreen.cutover.plugins.module_utils._routers._cluster import (
    Connected,
    Document,
    count_ready,
    swap,
)


class K8sIngress(Connected):
    """The Ingress ``canary`` in ``namespace``, which goes to green, beside the Ingress ``stable``, which goes to blue.

    ``services`` are what they have to go to. ``kubeconfig`` and ``context`` say which cluster; without them it is that
    of the environment.
    """

    def __init__(
        self,
        service: Service,
        *,
        namespace: str,
        stable: str,
        canary: str,
        services: Mapping[str, str],
        kubeconfig: str | None = None,
        context: str | None = None,
    ) -> None:
        super().__init__(kubeconfig, context)
        self.service = service
        self.namespace = namespace
        self.services = dict(services)
        self.stable = path_of("networking.k8s.io/v1", namespace, "ingresses", stable)
        self.canary = path_of("networking.k8s.io/v1", namespace, "ingresses", canary)
        self._seen: int | None = None

    def read(self) -> Reading:
        """The canary's weight, and the ready endpoints of both Services."""
        weight = self._seen = self._weight(self.cluster.call("GET", self.canary))
        ready, names = count_ready(self.cluster, self.namespace, self.services)
        return Reading(
            weight=weight,
            persisted=weight,
            ready=ready,
            in_flight=dict.fromkeys(ready),
            detail={"endpoints": names, "applied": "ingress-nginx does not tell; this is what it was told"},
        )

    def apply(self, weight: int) -> list[str]:
        """Swap the canary's weight."""
        swap(
            self.cluster,
            self.canary,
            self._weight,
            lambda canary: shares.to_ingress(canary, weight),
            seen=self._seen,
            weight=weight,
            token=self.token,
        )
        self._seen = weight
        return [f"patch {self.canary} canary-weight {weight}"]

    def settle(self, weight: int) -> None:
        """Nothing can be waited for: ingress-nginx does not tell what it applies."""

    def _weight(self, canary: Document) -> int:
        return shares.of_ingress(canary, self.cluster.call("GET", self.stable), self.services)
