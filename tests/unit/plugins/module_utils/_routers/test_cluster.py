# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Weights in a cluster: HTTPRoute, Ingress and ConfigMap as routers, against an API server in this process (D1, D5)."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import urllib3
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import (
    ClusterError,
    DriftError,
    FencedError,
    RouterError,
)
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.probes import Answer as HttpAnswer
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.probes import Target
from ansible_collections.bluegreen.cutover.plugins.module_utils._routers import Service, _cluster, admin_api
from ansible_collections.bluegreen.cutover.plugins.module_utils._routers.k8s_configmap import (
    LOOK,
    SETTLE,
    K8sConfigMap,
    enough,
)
from ansible_collections.bluegreen.cutover.plugins.module_utils._routers.k8s_httproute import K8sHttpRoute
from ansible_collections.bluegreen.cutover.plugins.module_utils._routers.k8s_ingress import K8sIngress
from cluster.inprocess import Answer

SERVICE = Service("shop", {"blue": (), "green": ()}, "/ready")
SERVICES = {"blue": "web-v1", "green": "web-v2"}
ROUTES = "/apis/gateway.networking.k8s.io/v1/namespaces/shop/httproutes"
INGRESSES = "/apis/networking.k8s.io/v1/namespaces/shop/ingresses"
CONFIGS = "/api/v1/namespaces/shop/configmaps"
CANARY = "nginx.ingress.kubernetes.io/canary"


class Clock:
    """Time that passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0
        self.then: list[Callable[[], Any]] = []

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        if self.then:
            self.then.pop(0)()


@pytest.fixture
def clock(empty: Any, monkeypatch: pytest.MonkeyPatch) -> Clock:
    """A cluster with two Services that have endpoints, connected to by the routers, and its time."""
    made = Clock()
    empty.cluster.clock = made
    empty.cluster.patience = 2.0
    monkeypatch.setattr(_cluster, "connect", lambda *_given: empty.cluster)
    for number, name in ((2, "web-v1"), (1, "web-v2")):
        endpoints = [
            {
                "addresses": [f"10.0.0.{at + 1}"],
                "targetRef": {"kind": "Pod", "name": f"{name}-{at}", "uid": f"{name}-{at}"},
            }
            for at in range(number)
        ]
        labels = {"kubernetes.io/service-name": name}
        document = {"metadata": {"name": name, "labels": labels}, "addressType": "IPv4", "endpoints": endpoints}
        empty.setter.make("/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices", document)
    return made


def gateway(shop: Any, generation: int | None = None, status: str = "True") -> None:
    """What a Gateway's controller does with the route."""
    seen = generation or shop.get(f"{ROUTES}/web")["metadata"]["generation"]
    conditions = [
        {"type": kind, "status": status, "reason": "Reason", "observedGeneration": seen}
        for kind in ("Accepted", "ResolvedRefs")
    ]
    parents = [{"parentRef": {"name": "front"}, "controllerName": "x", "conditions": conditions}]
    shop.patch(f"{ROUTES}/web/status", {"status": {"parents": parents}})


@pytest.fixture
def route(empty: Any, clock: Clock) -> K8sHttpRoute:
    assert clock
    path = Path(__file__).parents[4] / "kubernetes" / "httproute.json"
    empty.setter.make(
        "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", json.loads(path.read_text(encoding="utf-8"))
    )
    backends = [{"name": "web-v1", "port": 80, "weight": 100}, {"name": "web-v2", "port": 80, "weight": 0}]
    spec = {"parentRefs": [{"name": "front"}], "rules": [{"backendRefs": backends}]}
    empty.setter.make(ROUTES, {"metadata": {"name": "web"}, "spec": spec})
    gateway(empty)
    return K8sHttpRoute(SERVICE, namespace="shop", name="web", services=SERVICES)


def test_a_route_is_read_with_what_its_gateways_say(empty: Any, route: K8sHttpRoute) -> None:
    reading = route.read()
    assert (reading.weight, reading.persisted, reading.ready) == (0, 0, {"blue": 2, "green": 1})
    assert reading.detail["endpoints"] == {"web-v1": ["web-v1-0", "web-v1-1"], "web-v2": ["web-v2-0"]}
    gateway(empty, status="False")
    refused = route.read()
    assert (refused.weight, refused.persisted, refused.unclear) == (
        None,
        0,
        "the Gateway front does not take it: Reason",
    )


def test_a_route_is_applied_when_its_gateways_have_seen_it(empty: Any, route: K8sHttpRoute, clock: Clock) -> None:
    route.read()
    clock.then = [lambda: None, lambda: gateway(empty)]
    assert route.apply(25) == [f"patch {ROUTES}/web weights 75:25"]
    route.settle(25)
    assert route.persist(25) == []
    assert (route.read().weight, clock.now > 0) == (25, True)


def test_a_route_that_no_gateway_takes_is_told(empty: Any, route: K8sHttpRoute, clock: Clock) -> None:
    assert empty
    route.apply(25)
    with pytest.raises(RouterError, match="after 30 s it is not what serves: the Gateway front has not seen"):
        route.settle(25)
    assert clock.now > 25


def test_a_weight_that_somebody_else_has_changed_is_not_overwritten(empty: Any, route: K8sHttpRoute) -> None:
    route.read()
    empty.patch(
        f"{ROUTES}/web",
        {"spec": {"rules": [{"backendRefs": [{"name": "web-v1", "weight": 1}, {"name": "web-v2", "weight": 1}]}]}},
    )
    with pytest.raises(DriftError, match="says 50 % for green, where 0 % was read"):
        route.apply(25)


def test_a_change_of_something_else_is_read_and_decided_again(empty: Any, route: K8sHttpRoute, clock: Clock) -> None:
    route.read()
    times = []

    def meanwhile(method: str, _path: str) -> None:
        if method == "PATCH" and not times:
            times.append(1)
            rules = empty.get(f"{ROUTES}/web")["spec"]["rules"]
            empty.patch(f"{ROUTES}/web", {"spec": {"rules": [{**rules[0], "name": "main"}]}})

    empty.pool.fault = meanwhile
    assert clock.now == 0
    route.apply(25)
    rule = empty.get(f"{ROUTES}/web")["spec"]["rules"][0]
    assert (rule["name"], [one["weight"] for one in rule["backendRefs"]]) == ("main", [75, 25])


def test_a_patch_whose_answer_is_lost_is_looked_for(empty: Any, route: K8sHttpRoute, clock: Clock) -> None:
    answers: list[Exception] = [urllib3.exceptions.ProtocolError("cut")]
    empty.pool.fault = lambda method, _path: answers.pop() if method == "PATCH" and answers else None
    route.apply(25)
    gateway(empty)
    assert clock.now > 0
    assert route.read().weight == 25


def test_a_run_that_was_overtaken_writes_nothing(empty: Any, route: K8sHttpRoute) -> None:
    route.fence(8)
    route.apply(25)
    annotations = empty.get(f"{ROUTES}/web")["metadata"]["annotations"]
    assert annotations == {"bluegreen.cutover/token": "8"}
    route.fence(7)
    with pytest.raises(FencedError, match="token 7.*overtaken by a newer one .token 8"):
        route.apply(50)


@pytest.mark.parametrize(
    ("answer", "told"), [(Answer(409, b"{}"), "was written by others"), (Answer(500, b'{"message": "etcd"}'), "etcd")]
)
def test_it_does_not_go_on_for_ever(empty: Any, route: K8sHttpRoute, clock: Clock, answer: Answer, told: str) -> None:
    empty.pool.fault = lambda method, _path: answer if method == "PATCH" else None
    with pytest.raises(ClusterError, match=told):
        route.apply(25)
    assert clock.now >= 1


# --- Ingress


def ingress(name: str, service: str, **annotations: str) -> dict[str, Any]:
    backend = {"service": {"name": service, "port": {"number": 80}}}
    paths = [{"path": "/", "pathType": "Prefix", "backend": backend}]
    metadata = {"name": name, "annotations": {CANARY + key.replace("_", "-"): one for key, one in annotations.items()}}
    return {"metadata": metadata, "spec": {"rules": [{"host": "shop.example", "http": {"paths": paths}}]}}


def test_a_canary_is_read_and_applied(empty: Any, clock: Clock) -> None:
    assert clock
    empty.setter.make(INGRESSES, ingress("web", "web-v1"))
    canary = ingress("web-green", "web-v2")
    canary["metadata"]["annotations"][CANARY] = "true"
    empty.setter.make(INGRESSES, canary)
    router = K8sIngress(SERVICE, namespace="shop", stable="web", canary="web-green", services=SERVICES)
    reading = router.read()
    assert (reading.weight, reading.persisted, reading.ready) == (0, 0, {"blue": 2, "green": 1})
    assert router.apply(10) == [f"patch {INGRESSES}/web-green canary-weight 10"]
    assert router.persist(10) == []
    assert router.read().weight == 10
    assert empty.get(f"{INGRESSES}/web-green")["metadata"]["annotations"] == {CANARY: "true", f"{CANARY}-weight": "10"}
    empty.patch(f"{INGRESSES}/web-green", {"metadata": {"annotations": {f"{CANARY}-weight": "40"}}})
    with pytest.raises(DriftError, match="says 40 %"):
        router.apply(20)


# --- ConfigMap


Flags = tuple[K8sConfigMap, dict[str, Any], dict[str, Any]]


@pytest.fixture
def flags(empty: Any, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Flags:
    """The router, what the application tells, and what its second pod tells otherwise."""
    assert clock
    told: dict[str, Any] = {"v2_traffic_percentage": 0}
    late: dict[str, Any] = {}
    pods = itertools.cycle(range(2))
    data = {"ENABLE_V2": "true", "V2_TRAFFIC_PERCENTAGE": "0"}
    empty.setter.make(CONFIGS, {"metadata": {"name": "flags"}, "data": data})

    def ask_all(targets: list[Target]) -> list[HttpAnswer]:
        # The second pod may have its own.
        said = [{**told, **(late if next(pods) else {})} for _target in targets]
        return [HttpAnswer(ms=1.0, status=200, body=json.dumps(one).encode()) for one in said]

    monkeypatch.setattr(admin_api, "ask_all", ask_all)
    router = K8sConfigMap(
        SERVICE,
        namespace="shop",
        name="flags",
        key="V2_TRAFFIC_PERCENTAGE",
        services=SERVICES,
        endpoints=["http://shop.example"],
        path="/admin/config",
        field="v2_traffic_percentage",
        token_header="Authorization",
        budget_ms=500,
    )
    return router, told, late


def test_each_of_many_pods_is_most_likely_asked() -> None:
    for pods in (1, 2, 3, 10, 50):
        asked = enough(pods)
        assert pods * (1 - 1 / pods) ** asked < 0.01
        assert asked < 10 * pods


def test_a_config_map_counts_when_each_pod_has_taken_it(clock: Clock, flags: Flags) -> None:
    """R-D5: one of two pods behind the same address has it a minute later."""
    router, told, late = flags
    assert router.read().weight == 0
    router.apply(10)
    told.update(v2_traffic_percentage=10)
    late.update(v2_traffic_percentage=0)
    reading = router.read()
    assert reading.weight is None
    assert reading.unclear == "its pods do not agree: 10 % and 0 % are told by the same endpoint"
    clock.then = [*[lambda: None] * 70, late.clear]
    began = clock.now
    router.settle(10)
    assert clock.now - began > 50
    assert router.read().weight == 10


def test_pods_that_answer_slowly_are_not_asked_for_ever(
    clock: Clock, flags: Flags, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R-D3: a look is one under the lock, and lease and guard wait for a step no longer than the plan says."""
    router, told, _late = flags
    ask_all, slow = admin_api.ask_all, [LOOK + 1]

    def ask_slowly(targets: list[Target]) -> list[HttpAnswer]:
        clock.now += slow[0]
        return list(ask_all(targets))

    monkeypatch.setattr(admin_api, "ask_all", ask_slowly)
    reading = router.read()
    assert (reading.weight, reading.persisted, clock.now) == (None, 0, LOOK + 1)
    assert reading.unclear == "its pods answer so slowly that not all could be asked in time"
    slow[0] = LOOK / 2 - 1
    assert router.read().weight == 0
    router.apply(10)
    told["v2_traffic_percentage"], slow[0], began = 10, 50, clock.now
    with pytest.raises(RouterError, match="after 120 s the application does not do so: its pods answer so slowly"):
        router.settle(10)
    assert clock.now - began <= SETTLE + 50


def test_a_config_map_counts_when_the_application_has_taken_it(empty: Any, clock: Clock, flags: Flags) -> None:
    router, told, _late = flags
    assert (router.read().weight, router.read().persisted) == (0, 0)
    clock.then = [lambda: None, lambda: told.update(v2_traffic_percentage=10)]
    assert router.apply(10) == [f"patch {CONFIGS}/flags V2_TRAFFIC_PERCENTAGE=10"]
    router.settle(10)
    assert router.persist(10) == []
    assert (router.read().weight, router.read().persisted) == (10, 10)
    assert empty.get(f"{CONFIGS}/flags")["data"] == {"ENABLE_V2": "true", "V2_TRAFFIC_PERCENTAGE": "10"}


def test_an_application_that_does_not_follow_is_told(clock: Clock, flags: Flags) -> None:
    router, told, _late = flags
    router.apply(10)
    with pytest.raises(RouterError, match="after 120 s the application does not do so: it tells 0 %"):
        router.settle(10)
    assert clock.now >= 119
    told["v2_traffic_percentage"] = "much"
    reading = router.read()
    assert (reading.weight, reading.persisted) == (None, 10)
    assert 'is "much"' in reading.unclear
