# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A Service of Kubernetes as a router: its selector takes the pods of one colour, all or nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.bluegreen.cutover.plugins.module_utils._core import selector
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import DriftError, RouterError
from ansible_collections.bluegreen.cutover.plugins.module_utils._routers import Reading, Service
from ansible_collections.bluegreen.cutover.plugins.module_utils._routers._cluster import Connected
from ansible_collections.bluegreen.cutover.plugins.module_utils._selector import (
    READY_WAIT,
    Target,
    await_settled,
    switch,
)

LAG = 1.0
"""Seconds by which endpoints may be behind their pods before that is told: a pod that an autoscaler takes away is none
of them a moment later, and nobody has changed anything.
"""

_COLOURS = {0: "blue", 100: "green"}


class K8sService(Connected):
    """The Service ``name`` in ``namespace``; ``selectors`` are its whole selector for each colour.

    ``kubeconfig`` and ``context`` say which cluster; without them it is that of the environment.
    """

    def __init__(
        self,
        service: Service,
        *,
        namespace: str,
        name: str,
        selectors: Mapping[str, Mapping[str, str]],
        kubeconfig: str | None = None,
        context: str | None = None,
    ) -> None:
        super().__init__(kubeconfig, context)
        selector.check(name, selectors)
        self.service = service
        self.target = Target(namespace, name, selectors)

    def read(self) -> Reading:
        """The Service, and whether its EndpointSlices agree; what etcd has taken is on disk."""
        service = self.cluster.call("GET", self.target.path)
        colour, weight, unclear = "", None, ""
        try:
            colour = selector.colour_of(service, self.target.selectors)
            weight = 100 if colour == "green" else 0
        except DriftError as error:
            unclear = error.message
        seen: dict[str, Any] = {}

        def unsettled(now: Mapping[str, Any]) -> str:
            seen.update(now)
            # Without any endpoint the selector alone says who would serve.
            return colour and selector.unsettled(now["slices"], self.target.side(colour, now).ready, 0)

        with self.target.following(self.cluster, READY_WAIT) as following:
            following.wait(lambda now: not unsettled(now), LAG)
        unclear = unclear or unsettled(seen)
        sides = {colour: self.target.side(colour, seen) for colour in self.target.selectors}
        detail: dict[str, Any] = {
            "selector": service["spec"].get("selector"),
            "endpoints": {
                family: sorted(names.values()) for family, names in selector.endpoints(seen["slices"]).items()
            },
            "unfinished": {colour: [*side.unseen, *side.unfinished] for colour, side in sides.items()},
        }
        return Reading(
            weight=None if unclear else weight,
            persisted=weight,
            ready={colour: side.count for colour, side in sides.items()},
            in_flight=dict.fromkeys(sides),
            detail=detail,
            unclear=unclear,
        )

    def apply(self, weight: int) -> list[str]:
        """Swap the selector."""
        if weight not in _COLOURS:
            raise RouterError(
                f"{self.service.name}: the Service {self.target.name} takes one colour or the other, not {weight} % of "
                "one. Make steps of 100 only (cutover_steps), or use a router with weights (k8s_httproute, k8s_ingress)"
            )
        # How many must be ready was decided before; here nobody may be sent to nothing.
        done = switch(
            self.cluster, self.target, _COLOURS[weight], min_ready=1, accept_rollout=True, settle=None, token=self.token
        )
        chosen = selector.told(done["after"]["selector"])
        return [f"patch service {self.target.namespace}/{self.target.name} selector {chosen}"]

    def settle(self, weight: int) -> None:
        """Wait until its endpoints are that colour's ready pods, and no others."""
        await_settled(self.cluster, self.target, _COLOURS[weight])
