# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Shares by numbers of pods, against an API server with controllers (R-D2, R-D3)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import (
    DriftError,
    NotReadyError,
    RouterError,
)
from ansible_collections.bluegreen.cutover.plugins.module_utils._routers.k8s_replicas import K8sReplicas
from ansible_collections.bluegreen.cutover.plugins.module_utils._routing import change_weight, make_service
from cluster.client import MERGE, STRATEGIC, Client
from cluster.starting import Cluster

from .conftest import deployment, service

Until = Callable[..., Any]
SERVICE = make_service("shop", {"blue": {"instances": []}, "green": {"instances": []}}, "/ready")
LABELS = {colour: {"app": "shop", "version": colour} for colour in ("blue", "green")}
BOTH = {"app": "shop"}


class Shop:
    """The Service ``web``, which selects blue with three pods; green has none."""

    def __init__(self, cluster: Cluster, admin: Client, namespace: str) -> None:
        self.cluster, self.admin, self.namespace = cluster, admin, namespace
        for colour, replicas in (("blue", 3), ("green", 0)):
            admin.call("POST", self.path("apps/v1", "deployments"), deployment(colour, LABELS[colour], replicas))
        admin.call("POST", self.path("v1", "services"), service("web", LABELS["blue"]))

    def path(self, group: str, plural: str, name: str = "") -> str:
        base = "/api/v1" if group == "v1" else f"/apis/{group}"
        return f"{base}/namespaces/{self.namespace}/{plural}" + (f"/{name}" if name else "")

    def router(self, keeps: str = "blue", timeout: int = 60) -> K8sReplicas:
        return K8sReplicas(
            SERVICE,
            namespace=self.namespace,
            name="web",
            selectors=LABELS,
            both=BOTH,
            deployments={"blue": "blue", "green": "green"},
            keeps=keeps,
            timeout=timeout,
            kubeconfig=str(self.cluster.kubeconfig),
        )

    def change(self, weight: int, allowed: int, **given: Any) -> dict[str, Any]:
        return change_weight(self.router(), SERVICE, weight, allowed=[allowed], **{"min_ready": 3, **given})

    def pods(self) -> dict[str, int]:
        found = self.admin.call("GET", self.path("apps/v1", "deployments"))["items"]
        return {one["metadata"]["name"]: one["spec"]["replicas"] for one in found}

    def scale(self, name: str, replicas: int) -> None:
        self.admin.call("PATCH", self.path("apps/v1", "deployments", name), {"spec": {"replicas": replicas}}, MERGE)

    def selected(self) -> dict[str, str]:
        return dict(self.admin.call("GET", self.path("v1", "services", "web"))["spec"]["selector"])

    def serving(self) -> tuple[int, int]:
        """How many ready endpoints are blue's and green's."""
        slices = self.admin.call("GET", self.path("discovery.k8s.io/v1", "endpointslices"))["items"]
        ends = [end for one in slices for end in one.get("endpoints") or () if end["conditions"]["ready"]]
        names = [end["targetRef"]["name"].partition("-")[0] for end in ends]
        return names.count("blue"), names.count("green")


@pytest.fixture
def shop(cluster: Cluster, admin: Client, namespace: str, until: Until) -> Shop:
    made = Shop(cluster, admin, namespace)
    until(lambda: made.serving() == (3, 0))
    return made


@pytest.fixture
def shares(shop: Shop) -> Iterator[list[tuple[int, int]]]:
    """What served, at any time."""
    seen: list[tuple[int, int]] = []
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(0.005):
            now = shop.serving()
            if not seen or seen[-1] != now:
                seen.append(now)

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    yield seen
    ended.set()
    thread.join(10)


def test_shares_grow_by_pods_and_nothing_has_more_than_its_own(
    shop: Shop, shares: list[tuple[int, int]], until: Until
) -> None:
    """Blue keeps its pods; green has those of its share, and as many as blue before it has all. Back is one patch."""
    assert change_weight(shop.router(), SERVICE, 0)["changed"] is False
    # As the playbooks deploy: it has shown that there is room for all.
    shop.scale("green", 3)
    done = shop.change(25, 0)
    assert (done["commands"], done["after"]["weight"]) == (
        ["scale green to 1", f"patch service {shop.namespace}/web selector app=shop"],
        25,
    )
    assert "only as exact as connections spread" in done["after"]["detail"]["applied"]
    assert (shop.pods(), shop.serving()) == ({"blue": 3, "green": 1}, (3, 1))
    assert not shop.change(25, 25)["changed"]
    # All traffic needs as many pods as blue has: half of it on the way.
    done = shop.change(100, 25)
    assert done["commands"] == [
        "scale green to 3",
        f"patch service {shop.namespace}/web selector app=shop,version=green",
    ]
    assert shop.serving() == (0, 3)
    # And from there: blue helps before green has fewer.
    done = shop.change(25, 100)
    assert done["commands"] == [f"patch service {shop.namespace}/web selector app=shop", "scale green to 1"]
    assert shop.serving() == (3, 1)
    done = shop.change(0, 25)
    assert done["commands"] == [f"patch service {shop.namespace}/web selector app=shop,version=blue"]
    assert (shop.serving(), shop.pods()) == ((3, 0), {"blue": 3, "green": 1})
    until(lambda: shares[-1] == (3, 0))
    assert all(blue + green >= 3 for blue, green in shares)
    # What was seen on the way from 0 to 25 had never more than one of green's.
    first = shares[: next(at for at, one in enumerate(shares) if one == (3, 1))]
    assert first == [(3, 0)], shares


def test_what_pods_cannot_make_is_refused_before_anything_is_changed(shop: Shop) -> None:
    before = shop.admin.call("GET", shop.path("apps/v1", "deployments"))
    router = shop.router()
    router.read()
    with pytest.raises(RouterError, match="makes 5 % or 10 % beside the 3 of blue; 25, 40, 50, 57, ") as caught:
        router.check([5, 10, 50, 100])
    assert "k8s_httproute, k8s_ingress, k8s_configmap" in str(caught.value)
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "green"}
    spec = {"scaleTargetRef": target, "minReplicas": 1, "maxReplicas": 4}
    scalers = shop.path("autoscaling/v2", "horizontalpodautoscalers")
    shop.admin.call("POST", scalers, {"metadata": {"name": "its"}, "spec": spec})
    stranger = deployment("worker", {"app": "shop", "part": "worker"})
    shop.admin.call("POST", shop.path("apps/v1", "deployments"), stranger)
    pods = shop.path("v1", "pods")
    while not any("worker" in one["metadata"]["name"] for one in shop.admin.call("GET", pods)["items"]):
        pass
    with pytest.raises(RouterError, match="makes 10 % .*; the autoscalers its would .*; worker-.* is of neither"):
        shop.change(10, 0)
    # Where nothing is shared nothing of that is in the way.
    assert router.check([100]) == ""
    assert shop.selected() == LABELS["blue"]
    now = [
        one
        for one in shop.admin.call("GET", shop.path("apps/v1", "deployments"))["items"]
        if one["metadata"]["name"] != "worker"
    ]
    assert [one["spec"] for one in now] == [one["spec"] for one in before["items"]]


def test_pods_that_do_not_come_move_nothing(shop: Shop) -> None:
    unready = {"spec": {"template": {"metadata": {"annotations": {"tests/ready": "false"}}}}}
    shop.admin.call("PATCH", shop.path("apps/v1", "deployments", "green"), unready, STRATEGIC)
    router = shop.router(timeout=1)
    with pytest.raises(
        NotReadyError, match="green has 0 ready pods, and is to have 1, after 1 s. No traffic was moved"
    ):
        change_weight(router, SERVICE, 25, allowed=[0])
    assert shop.selected() == LABELS["blue"]


def test_who_changes_the_numbers_is_seen(shop: Shop, until: Until) -> None:
    shop.change(25, 0)
    router = shop.router()
    router.read()
    shop.scale("green", 2)
    with pytest.raises(DriftError, match="Deployment green says 40 % for green, where 25 % was read"):
        router.apply(50)
    until(lambda: shop.serving() == (3, 2))
    assert router.read().weight == 40
    with pytest.raises(DriftError, match="40 % for green is applied, where 25 % for green was expected"):
        shop.change(50, 25)
    # One that is broken makes another share than the numbers say.
    pod = next(
        one["metadata"]["name"]
        for one in shop.admin.call("GET", shop.path("v1", "pods"), labelSelector="version=green")["items"]
    )
    broken = {"metadata": {"annotations": {"tests/ready": "false"}}}
    shop.admin.call("PATCH", shop.path("v1", "pods", pod), broken, MERGE)
    until(lambda: shop.serving() == (3, 1))
    reading = router.read()
    assert (reading.weight, reading.persisted) == (None, 40)
    assert reading.unclear == "of the endpoints, green has 1 ready pods, and is to have 2"
    # The way back asks for none of that.
    assert change_weight(router, SERVICE, 0)["after"]["weight"] == 0
