# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Moving a Service's selector from one colour to the other: compare and swap, then wait for what serves to follow.

The router ``k8s_service`` uses it, too: like ``_kubernetes`` it imports nothing of what is above adapters.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.bluegreen.cutover.plugins.module_utils._core import selector, settling
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import (
    ClusterError,
    NotReadyError,
    NotSettledError,
)
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.selector import Labels, Side
from ansible_collections.bluegreen.cutover.plugins.module_utils._kubernetes import (
    PAUSES,
    Clock,
    Cluster,
    Following,
    label_selector,
    path_of,
)

READY_WAIT = 4.0
"""Seconds for pods to become ready, and for a controller to see what was just changed."""

SETTLE = settling.SETTLE["k8s_service"]
"""Seconds for EndpointSlices to follow."""


DARK = 3.0
"""Seconds that the colour which was switched to may have no ready pod at all: as long nobody serves."""


@dataclass(frozen=True)
class Target:
    """A Service, and by which labels it selects either colour."""

    namespace: str
    name: str
    selectors: Mapping[str, Labels]

    @property
    def path(self) -> str:
        return path_of("v1", self.namespace, "services", self.name)

    def following(self, cluster: Cluster, seconds: float) -> Following:
        """The pods of both colours, their Deployments and the Service's EndpointSlices."""
        pods = {"labelSelector": label_selector(selector.union(self.selectors))}
        slices = {"labelSelector": f"kubernetes.io/service-name={self.name}"}
        sources: dict[str, tuple[str, Mapping[str, str]]] = {
            "pods": (path_of("v1", self.namespace, "pods"), pods),
            "deployments": (path_of("apps/v1", self.namespace, "deployments"), {}),
            "slices": (path_of("discovery.k8s.io/v1", self.namespace, "endpointslices"), slices),
        }
        return Following(cluster, sources, seconds)

    def side(self, colour: str, seen: Mapping[str, Any]) -> Side:
        return selector.side(self.selectors[colour], seen["pods"], seen["deployments"])


def switch(
    cluster: Cluster,
    target: Target,
    to: str,
    *,
    min_ready: int | None = None,
    accept_rollout: bool = False,
    ready_wait: float = READY_WAIT,
    settle: float | None = SETTLE,
    token: int | None = None,
    check_mode: bool = False,
    clock: Clock = time,
) -> dict[str, Any]:
    """Make ``target`` select the colour ``to``, and wait until its endpoints are only that colour's ready pods.

    ``min_ready`` pods must be ready, or as many as the other colour has; a rollout must have ended, unless it is
    accepted. With ``token`` the write is fenced. Times are in seconds; None as ``settle`` waits for no endpoints. In
    check mode the server judges a dry run.
    Returns ``changed``, ``before``, ``after``, ``ready``, ``needed``, ``attempts``, ``requests``, ``switch_ms``,
    ``settle_ms``. Raises ``NotReadyError`` before anything is changed, ``NotSettledError`` after; ``ClusterError``,
    ``FencedError`` and those of ``selector.colour_of``.
    """
    selector.check(target.name, target.selectors)
    began, deadline = cluster.requests, clock.monotonic() + cluster.patience
    with target.following(cluster, ready_wait + (settle or 0) + cluster.patience) as following:
        first, attempts, needed = "", 0, 0
        switch_ms = 0.0
        while True:
            attempts += 1
            service = _read(cluster, target)
            before = selector.colour_of(service, target.selectors)
            first = first or before
            selector.check_fence(service, token)
            needed = _wait_ready(following, target, before, to, min_ready, accept_rollout, ready_wait)
            if before == to and token in (None, selector.token_of(service)):
                break
            started = clock.monotonic()
            # Where it is selected already, whoever has a lower token is to be refused from now on all the same.
            changes = [] if before == to else selector.swap(service, target.selectors[to])
            operations = selector.fenced(service, changes, token)
            try:
                written = cluster.patch(target.path, operations, dry_run=check_mode)
            except ClusterError as error:
                if not error.unknown or clock.monotonic() >= deadline:
                    raise
                # It may have been done. What is there now decides.
                written = None
            switch_ms += (clock.monotonic() - started) * 1000
            if written is not None:
                break
            if clock.monotonic() >= deadline:
                raise ClusterError(
                    f"the Service {target.name} was written by others each of {attempts} times that it was read and "
                    "patched. Nothing was changed. See who writes it (its managedFields), and run again",
                    {"managed_fields": service["metadata"].get("managedFields")},
                )
            clock.sleep(PAUSES[min(attempts, len(PAUSES)) - 1])
        started = clock.monotonic()
        if settle is not None and not check_mode:
            _wait_settled(following, target, to, needed, settle)
        ready = following.wait(lambda seen: _ready(target, seen), 0)
    return {
        "changed": first != to,
        "before": {"colour": first, "selector": dict(target.selectors[first])},
        "after": {"colour": to, "selector": dict(target.selectors[to])},
        "ready": ready,
        "needed": needed,
        "attempts": attempts,
        "requests": cluster.requests - began,
        "switch_ms": round(switch_ms, 1),
        "settle_ms": round((clock.monotonic() - started) * 1000, 1),
    }


def await_settled(cluster: Cluster, target: Target, to: str) -> None:
    """Wait until the endpoints of ``target`` are only ready pods of ``to``, as ``switch`` does, and change nothing. Who
    has been overtaken since waits for nothing: what is selected then is to be read.

    Raises ``NotSettledError``, ``ClusterError`` and those of ``selector.colour_of``.
    """
    with target.following(cluster, SETTLE + cluster.patience) as following:
        if selector.colour_of(_read(cluster, target), target.selectors) == to:
            _wait_settled(following, target, to, 1, SETTLE)


def _read(cluster: Cluster, target: Target) -> dict[str, Any]:
    try:
        service = cluster.call("GET", target.path)
    except ClusterError as error:
        if error.status != 404:
            raise
        raise ClusterError(
            f"there is no Service {target.name} in the namespace {target.namespace}. See the names in the inventory "
            "and which cluster the kubeconfig's context is",
            error.evidence,
            status=404,
        ) from error
    if service["metadata"].get("deletionTimestamp"):
        raise ClusterError(f"the Service {target.name} is being deleted, so it was not changed", status=409)
    return service


def _wait_ready(
    following: Following,
    target: Target,
    before: str,
    to: str,
    min_ready: int | None,
    accept_rollout: bool,
    seconds: float,
) -> int:
    """How many ready pods are needed; ``NotReadyError`` where they do not come in time."""

    needed, problem = min_ready or 1, ""

    def look(seen: Mapping[str, Any]) -> bool:
        nonlocal needed, problem
        if before == to:
            return True
        needed = min_ready or max(1, len(target.side(before, seen).ready))
        problem = selector.obstacle(to, target.side(to, seen), needed, accept_rollout=accept_rollout)
        return not problem

    following.wait(look, seconds)
    if problem:
        raise NotReadyError(
            f"the Service {target.name} still selects {before}, and nothing was changed: {problem}, for "
            f"{seconds:.0f} s. See 'kubectl -n {target.namespace} get deployments,pods', then run again; or make do "
            "with fewer by min_ready",
            {"to": to, "needed": needed},
        )
    return needed


def _wait_settled(following: Following, target: Target, to: str, needed: int, seconds: float) -> None:
    left, dark = "", False

    def look(seen: Mapping[str, Any]) -> bool:
        nonlocal left, dark
        side = target.side(to, seen)
        left, dark = selector.unsettled(seen["slices"], side.ready, needed), not side.ready
        return not left

    waited = min(seconds, DARK)
    following.wait(look, waited)
    if not dark and waited < seconds:
        following.wait(look, seconds - waited)
        waited = seconds
    if left:
        raise NotSettledError(
            f"the Service {target.name} selects {to}, and after {waited:.0f} s its endpoints have not followed: "
            f"{left}. Nothing was put back. See its EndpointSlices and the pods of {to}; go back by switching to "
            "the other colour",
            {"to": to, "needed": needed, "left": left},
        )


def _ready(target: Target, seen: Mapping[str, Any]) -> dict[str, int]:
    return {colour: len(target.side(colour, seen).ready) for colour in target.selectors}
