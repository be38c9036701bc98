# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What routers share whose weight is in an object of a cluster: read, compare and swap, ready endpoints."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.bluegreen.cutover.plugins.module_utils._core import selector
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import (
    ClusterError,
    DriftError,
    RouterError,
)
from ansible_collections.bluegreen.cutover.plugins.module_utils._kubernetes import (
    PAUSES,
    Cluster,
    connect,
    label_selector,
    path_of,
)

Document = dict[str, Any]


class Connected:
    """A cluster that is connected to when it is first needed: the plan makes a router only to check its options.

    ``token`` fences what is written there.
    """

    def __init__(self, kubeconfig: str | None, context: str | None) -> None:
        self._given = (kubeconfig, context)
        self._cluster: Cluster | None = None
        self.token: int | None = None

    def fence(self, token: int | None) -> None:
        """Let only what no higher token has written be written from now on."""
        self.token = token

    def use(self, cluster: Cluster) -> None:
        """Ask this one, whatever the options say: a pod has no kubeconfig."""
        self._cluster = cluster

    def persist(self, weight: int) -> list[str]:
        """Nothing is left to do: what the API has taken outlives a reboot."""
        del weight
        return []

    @property
    def cluster(self) -> Cluster:
        if self._cluster is None:
            self._cluster = connect(*self._given)
        return self._cluster


def swap(
    cluster: Cluster,
    path: str,
    weight_of: Callable[[Document], int],
    operations: Callable[[Document], list[Document]],
    *,
    seen: int | None,
    weight: int,
    token: int | None,
) -> Document:
    """Patch the object at ``path`` so that it says ``weight``, provided that it still says what was ``seen``.

    Whoever else writes it meanwhile is read again; ``DriftError`` where that has changed the weight, ``FencedError``
    where a higher ``token`` has written. None as ``seen`` is whatever is there. Where it says ``weight`` already, only
    the token is written, if it is not there yet. Returns the object as it is then.
    """
    deadline = cluster.clock.monotonic() + cluster.patience
    for number in range(1000):
        document = cluster.call("GET", path)
        selector.check_fence(document, token)
        now = weight_of(document)
        if now == weight and token in (None, selector.token_of(document)):
            return document
        if now != weight and seen is not None and now != seen:
            raise DriftError(
                f"{document.get('kind')} {document['metadata']['name']} says {now} % for green, where {seen} % was "
                "read a moment ago: somebody else is changing it. Nothing was changed; see playbooks/status.yml",
                {"seen": seen, "now": now, "wanted": weight},
            )
        try:
            changes = [] if now == weight else operations(document)
            written = cluster.patch(path, selector.fenced(document, changes, token))
        except ClusterError as error:
            if not error.unknown or cluster.clock.monotonic() >= deadline:
                raise
            written = None
        if written is not None:
            return written
        if cluster.clock.monotonic() >= deadline:
            break
        cluster.clock.sleep(PAUSES[min(number, len(PAUSES) - 1)])
    raise ClusterError(
        f"{path} was written by others each time that it was read and patched; nothing was changed. See who writes it "
        "(its managedFields), and run again"
    )


def wait(cluster: Cluster, path: str, problem: Callable[[Document], str], seconds: float) -> None:
    """Until there is no ``problem`` with the object at ``path``, or raise ``RouterError``."""
    deadline = cluster.clock.monotonic() + seconds
    number = 0
    while True:
        told = problem(cluster.call("GET", path))
        if not told:
            return
        if cluster.clock.monotonic() >= deadline:
            raise RouterError(
                f"{path} was changed, and after {seconds:.0f} s it is not what serves: {told}", {"path": path}
            )
        cluster.clock.sleep(PAUSES[min(number, len(PAUSES) - 1)])
        number += 1


def count_ready(cluster: Cluster, namespace: str, services: Mapping[str, str]) -> tuple[dict[str, int], dict[str, Any]]:
    """Per colour, how many ready endpoints its Service has, and their names."""
    query = {"labelSelector": label_selector({"kubernetes.io/service-name": sorted(services.values())})}
    slices = cluster.call("GET", path_of("discovery.k8s.io/v1", namespace, "endpointslices"), query=query)["items"]
    names = {}
    for colour, service in services.items():
        mine = [one for one in slices if one["metadata"]["labels"]["kubernetes.io/service-name"] == service]
        # A pod may have an address of either family.
        names[colour] = {uid: name for family in selector.endpoints(mine).values() for uid, name in family.items()}
    ready = {colour: len(mine) for colour, mine in names.items()}
    return ready, {services[colour]: sorted(mine.values()) for colour, mine in names.items()}
