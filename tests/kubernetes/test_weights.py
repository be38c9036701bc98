# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Weights as modules change them, against an API server: HTTPRoute and Ingress (R-D2, R-D3)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import DriftError, NotReadyError
from ansible_collections.bluegreen.cutover.plugins.module_utils._routing import change_weight, make_router, make_service
from cluster.client import MERGE, Client
from cluster.starting import Cluster

from .conftest import deployment, service

Until = Callable[..., Any]
CANARY = "nginx.ingress.kubernetes.io/canary"
COLOURS: dict[str, Any] = {"blue": {"instances": []}, "green": {"instances": []}}
SERVICE = make_service("shop", COLOURS, "/ready")
SERVICES = {"blue": "web-v1", "green": "web-v2"}


@pytest.fixture
def shop(admin: Client, namespace: str, until: Until) -> str:
    """Two Services, each with two ready endpoints."""
    for colour, name in SERVICES.items():
        labels = {"app": "shop", "version": colour}
        admin.call("POST", f"/apis/apps/v1/namespaces/{namespace}/deployments", deployment(colour, labels, 2))
        admin.call("POST", f"/api/v1/namespaces/{namespace}/services", service(name, labels))
    slices = f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices"

    def ready() -> bool:
        found = [one.get("endpoints") or [] for one in admin.call("GET", slices)["items"]]
        return [len([end for end in one if end["conditions"]["ready"]]) for one in found] == [2, 2]

    until(ready)
    return namespace


def test_a_route_goes_step_by_step_and_back(
    cluster: Cluster, admin: Client, shop: str, routes: str, until: Until
) -> None:
    backends = [{"name": "web-v1", "port": 80, "weight": 100}, {"name": "web-v2", "port": 80, "weight": 0}]
    spec = {"parentRefs": [{"name": "front"}], "rules": [{"backendRefs": backends}]}
    kind = {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": {"name": "web"}}
    admin.call("POST", routes, {**kind, "spec": spec})
    options = {"namespace": shop, "name": "web", "services": SERVICES, "kubeconfig": str(cluster.kubeconfig)}
    router = make_router({"provider": "k8s_httproute", **options}, SERVICE)
    until(lambda: router.read().weight == 0)
    before = 0
    for weight in (5, 25, 50, 100, 0):
        done = change_weight(router, SERVICE, weight, allowed=[before], min_ready=2)
        assert (done["changed"], done["after"]["weight"]) == (True, weight)
        again = change_weight(router, SERVICE, weight, allowed=[weight], min_ready=2)
        assert not again["changed"]
        before = weight
    refs = admin.call("GET", f"{routes}/web")["spec"]["rules"][0]["backendRefs"]
    assert [(one["name"], one["weight"]) for one in refs] == [("web-v1", 100), ("web-v2", 0)]
    with pytest.raises(NotReadyError, match="green has 2 instances ready"):
        change_weight(router, SERVICE, 5, allowed=[0], min_ready=3, ready_wait=0.1)


def test_a_canary_goes_step_by_step_and_is_not_overwritten(cluster: Cluster, admin: Client, shop: str) -> None:
    path = f"/apis/networking.k8s.io/v1/namespaces/{shop}/ingresses"
    for name, target, its in (("web", "web-v1", {}), ("web-green", "web-v2", {CANARY: "true"})):
        backend = {"service": {"name": target, "port": {"number": 80}}}
        rules = [{"host": "shop.example", "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}}]
        metadata = {"name": name, "annotations": its}
        kind = {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": metadata}
        admin.call("POST", path, {**kind, "spec": {"rules": rules}})
    options = {"namespace": shop, "stable": "web", "canary": "web-green", "services": SERVICES}
    router = make_router({"provider": "k8s_ingress", **options, "kubeconfig": str(cluster.kubeconfig)}, SERVICE)
    for before, weight in ((0, 10), (10, 50), (50, 0)):
        done = change_weight(router, SERVICE, weight, allowed=[before], min_ready=2)
        assert (done["changed"], done["after"]["weight"]) == (True, weight)
    router.read()
    other = {"metadata": {"annotations": {f"{CANARY}-weight": "33"}}}
    admin.call("PATCH", f"{path}/web-green", other, MERGE)
    with pytest.raises(DriftError, match="33 % for green"):
        router.apply(60)
    assert admin.call("GET", f"{path}/web-green")["metadata"]["annotations"][f"{CANARY}-weight"] == "33"
