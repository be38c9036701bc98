# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A key of a ConfigMap that the application follows; what it really does is asked of its admin API.

Kubernetes brings a ConfigMap to the pods that mount it within a minute or so, to each at another moment. Only the
application knows when it has taken it. An endpoint may be a Service, or what is before one, and nobody can say which of
its pods answers; so a weight counts when it was told so often in a row that each of them has most likely been asked.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from ansible_collections.bluegreen.cutover.plugins.module_utils._core import settling, shares
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import RouterError
from ansible_collections.bluegreen.cutover.plugins.module_utils._kubernetes import PAUSES, path_of
from ansible_collections.bluegreen.cutover.plugins.module_utils._routers import Reading, Service
from ansible_collections.bluegreen.cutover.plugins.module_utils._routers._cluster import Connected, count_ready, swap
from ansible_collections.bluegreen.cutover.plugins.module_utils._routers.admin_api import AdminApi, Told

SETTLE = settling.SETTLE["k8s_configmap"]
"""Seconds for the application to take what is in the ConfigMap."""

LOOK = 5.0
"""Seconds that one look may take, but for its last answer: it is read under the store's lock, which is not believed for
long, and the guard's time has only a margin for it.
"""


class K8sConfigMap(Connected):
    """The ``key`` of the ConfigMap ``name`` in ``namespace``; ``services`` are those of the two colours.

    ``endpoints``, ``path``, ``field``, ``token_header``, ``token_file``, ``ca_path`` and ``budget_ms`` are those of the
    admin API that tells the percentage, as of the provider ``admin_api``. ``kubeconfig`` and ``context`` say which
    cluster; without them it is that of the environment.
    """

    def __init__(
        self,
        service: Service,
        *,
        namespace: str,
        name: str,
        key: str,
        services: Mapping[str, str],
        endpoints: Sequence[str],
        path: str,
        field: str,
        token_header: str,
        budget_ms: int,
        token_file: str | None = None,
        ca_path: str | None = None,
        kubeconfig: str | None = None,
        context: str | None = None,
    ) -> None:
        super().__init__(kubeconfig, context)
        self.service = service
        self.namespace = namespace
        self.key = key
        self.services = dict(services)
        self.path = path_of("v1", namespace, "configmaps", name)
        self.api = AdminApi(
            service,
            endpoints=endpoints,
            path=path,
            field=field,
            token_header=token_header,
            budget_ms=budget_ms,
            file="",
            token_file=token_file,
            ca_path=ca_path,
        )
        self._seen: int | None = None
        self._pods = 1

    def read(self) -> Reading:
        """What the endpoints tell, asked once for each pod, what the ConfigMap holds, and the ready endpoints of both
        Services. Where not all can be asked within ``LOOK``, the weight is unclear.
        """
        self._seen = shares.of_config(self.cluster.call("GET", self.path), self.key)
        ready, names = count_ready(self.cluster, self.namespace, self.services)
        # Requests come to blue first, which shares them out.
        self._pods = max(1, ready["blue"])
        told = self._tell(self._pods, self.cluster.clock.monotonic() + LOOK)
        return Reading(
            weight=told.weight,
            persisted=self._seen,
            ready=ready,
            in_flight=dict.fromkeys(ready),
            detail={"endpoints": names, "told": told.said},
            unclear=told.unclear,
        )

    def apply(self, weight: int) -> list[str]:
        """Swap the key."""
        swap(
            self.cluster,
            self.path,
            lambda config: shares.of_config(config, self.key),
            lambda config: shares.to_config(config, self.key, weight),
            seen=self._seen,
            weight=weight,
            token=self.token,
        )
        self._seen = weight
        return [f"patch {self.path} {self.key}={weight}"]

    def settle(self, weight: int) -> None:
        """Wait until the new percentage is told so often in a row that hardly a pod is left without it (``enough``)."""
        clock = self.cluster.clock
        deadline = clock.monotonic() + SETTLE
        while True:
            told = self.api.tell()
            if told.weight == weight:
                told = self._tell(enough(self._pods), deadline)
            if told.weight == weight:
                return
            if clock.monotonic() >= deadline:
                raise RouterError(
                    f"{self.service.name}: {self.key} is {weight} in {self.path}, and after {SETTLE:.0f} s the "
                    f"application does not do so: {told.unclear or f'it tells {told.weight} %'}. See whether it "
                    "follows its ConfigMap",
                    {"told": told.said},
                )
            clock.sleep(PAUSES[-1])

    def _tell(self, times: int, deadline: float) -> Told:
        """What is told so many times in a row, by a connection for each; nobody is asked after one that differs, nor
        after ``deadline``, by the cluster's clock.
        """
        first = told = self.api.tell()
        for _number in range(math.ceil(times / len(self.api.endpoints)) - 1):
            if told.weight is None:
                break
            if self.cluster.clock.monotonic() >= deadline:
                return Told(None, told.said, "its pods answer so slowly that not all could be asked in time")
            told = self.api.tell()
            if told.weight not in (None, first.weight):
                both = f"{first.weight} % and {told.weight} %"
                return Told(None, told.said, f"its pods do not agree: {both} are told by the same endpoint")
        return told


def enough(pods: int) -> int:
    """How often to ask by random so that each of ``pods`` was asked, but for less than 1 in 100."""
    # One is missed by all with (1 - 1/n)^times < e^(-times/n), and any of n with n times as much: e^-5 here.
    return math.ceil(pods * (math.log(pods) + 5))
