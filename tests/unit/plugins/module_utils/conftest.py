# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A cluster in this process, for what talks to one: the API server of tests/kubernetes, without its sockets."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from ansible_collections.bluegreen.cutover.plugins.module_utils._kubernetes import Cluster
from cluster.api import Api
from cluster.client import MERGE
from cluster.inprocess import Pool, Setter

READY = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
DONE = {"replicas": 2, "updatedReplicas": 2, "readyReplicas": 2, "availableReplicas": 2}


@dataclasses.dataclass
class Shop:
    """The namespace ``shop``: a Service ``web``, two ready pods of each colour, blue's as endpoints."""

    api: Api
    pool: Pool
    setter: Setter
    cluster: Cluster

    def serve(self, colour: str) -> None:
        """Make the endpoints those of ``colour``, as a controller would."""
        pods = self.setter.ask("GET", "/api/v1/namespaces/shop/pods")["items"]
        chosen = [pod for pod in pods if pod["metadata"]["labels"]["version"] == colour]
        endpoints = [
            {
                "addresses": [f"10.0.0.{number + 1}"],
                "conditions": {"ready": True},
                "targetRef": {"kind": "Pod", "name": pod["metadata"]["name"], "uid": pod["metadata"]["uid"]},
            }
            for number, pod in enumerate(chosen)
        ]
        path = "/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices/web-1"
        self.setter.ask("PATCH", path, {"endpoints": endpoints}, MERGE)

    def patch(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        return self.setter.ask("PATCH", path, body, MERGE)

    def get(self, path: str) -> dict[str, Any]:
        return self.setter.ask("GET", path)


@pytest.fixture
def empty() -> Shop:
    """The namespace alone."""
    api = Api()
    pool = Pool(api)
    setter = Setter(api)
    setter.make("/api/v1/namespaces", {"metadata": {"name": "shop"}})
    return Shop(api, pool, setter, Cluster(pool.connection, patience=0.2))


@pytest.fixture
def shop(empty: Shop) -> Shop:
    make = empty.setter.make
    for colour in ("blue", "green"):
        labels = {"app": "web", "version": colour}
        template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "a", "image": "a:1"}]}}
        spec = {"replicas": 2, "selector": {"matchLabels": labels}, "template": template}
        done = {**DONE, "observedGeneration": 1}
        make("/apis/apps/v1/namespaces/shop/deployments", {"metadata": {"name": colour}, "spec": spec}, done)
        for number in range(2):
            pod = {"metadata": {"name": f"{colour}-{number}", "labels": labels}, "spec": template["spec"]}
            make("/api/v1/namespaces/shop/pods", pod, READY)
    selector = {"app": "web", "version": "blue"}
    service = {"metadata": {"name": "web"}, "spec": {"selector": selector, "ports": [{"port": 80}]}}
    make("/api/v1/namespaces/shop/services", service)
    labels = {"kubernetes.io/service-name": "web"}
    slices = {"metadata": {"name": "web-1", "labels": labels}, "addressType": "IPv4", "endpoints": []}
    make("/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices", slices)
    empty.serve("blue")
    return empty
