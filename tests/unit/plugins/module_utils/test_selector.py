# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The switch of a Service, and the Service as a router, against an API server in this process."""

from __future__ import annotations

from typing import Any

import pytest
import urllib3
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import (
    AmbiguousSelectorError,
    ClusterError,
    DriftError,
    FencedError,
    NotReadyError,
    NotSettledError,
    RouterError,
)
from ansible_collections.bluegreen.cutover.plugins.module_utils._routers import Service, _cluster, k8s_service
from ansible_collections.bluegreen.cutover.plugins.module_utils._routers.k8s_service import K8sService
from ansible_collections.bluegreen.cutover.plugins.module_utils._selector import Target, switch
from cluster.client import MERGE
from cluster.inprocess import Answer

SERVICE = "/api/v1/namespaces/shop/services/web"
SELECTORS = {colour: {"app": "web", "version": colour} for colour in ("blue", "green")}
TARGET = Target("shop", "web", SELECTORS)


def following(shop: Any, colour: str = "green") -> None:
    """Let the endpoints follow as soon as the Service was patched."""
    real = shop.pool.request

    def request(method: str, url: str, **options: Any) -> Answer:
        answer: Answer = real(method, url, **options)
        if method == "PATCH" and "dryRun" not in url and answer.status == 200:
            shop.serve(colour)
        return answer

    shop.pool.request = request


def test_a_switch_is_two_requests_and_a_second_one_a_question(shop: Any) -> None:
    following(shop)
    done = switch(shop.cluster, TARGET, "green")
    assert (done["changed"], done["requests"], done["needed"]) == (True, 2, 2)
    assert shop.get(SERVICE)["spec"]["selector"] == SELECTORS["green"]
    again = switch(shop.cluster, TARGET, "green")
    assert (again["changed"], again["requests"], again["settle_ms"] < 1000) == (False, 1, True)


def test_check_mode_is_a_dry_run_of_the_server(shop: Any) -> None:
    assert switch(shop.cluster, TARGET, "green", check_mode=True)["changed"]
    assert shop.get(SERVICE)["spec"]["selector"] == SELECTORS["blue"]
    assert shop.pool.sent == [("GET", SERVICE), ("PATCH", SERVICE)]


def test_nothing_is_asked_where_the_selectors_cannot_be_meant(shop: Any) -> None:
    with pytest.raises(AmbiguousSelectorError):
        switch(shop.cluster, Target("shop", "web", {"blue": {"a": "b"}, "green": {"a": "b"}}), "green")
    assert shop.pool.sent == []


def test_not_ready_is_before_anything_is_changed(shop: Any) -> None:
    path = "/apis/apps/v1/namespaces/shop/deployments/green"
    shop.patch(path, {"spec": {"replicas": 3}})
    with pytest.raises(NotReadyError, match="not been seen by a controller yet"):
        switch(shop.cluster, TARGET, "green", ready_wait=0.01)
    assert shop.pool.sent == [("GET", SERVICE)]
    assert shop.get(SERVICE)["spec"]["selector"] == SELECTORS["blue"]


def test_endpoints_that_do_not_follow_are_told(shop: Any) -> None:
    with pytest.raises(NotSettledError, match="2 endpoints are not ready pods of the new colour: blue-0, blue-1"):
        switch(shop.cluster, TARGET, "green", settle=0.01)


def test_a_conflict_is_decided_anew(shop: Any) -> None:
    def first(method: str, _path: str) -> None:
        if method == "PATCH":
            shop.patch(SERVICE, {"spec": {"selector": {"version": "other"}}})

    shop.pool.fault = first
    with pytest.raises(DriftError, match="version=other"):
        switch(shop.cluster, TARGET, "green")
    assert [method for method, _path in shop.pool.sent] == ["GET", "PATCH", "GET"]


def test_a_patch_that_may_have_been_done_is_looked_for(shop: Any) -> None:
    lost = []

    def lose(method: str, _path: str) -> Exception | None:
        if method != "PATCH" or lost:
            return None
        lost.append(method)
        shop.patch(SERVICE, {"spec": {"selector": SELECTORS["green"]}})
        shop.serve("green")
        return urllib3.exceptions.ProtocolError("cut")

    shop.pool.fault = lose
    done = switch(shop.cluster, TARGET, "green")
    assert (done["changed"], done["attempts"], done["requests"]) == (True, 2, 3)


@pytest.mark.parametrize(
    ("problem", "told"),
    [(Answer(409, b"{}"), "was written by others each of"), (Answer(500, b'{"message": "etcd"}'), "etcd")],
)
def test_it_does_not_go_on_for_ever(shop: Any, problem: Answer, told: str) -> None:
    shop.cluster.patience = 0.02
    shop.pool.fault = lambda method, _path: problem if method == "PATCH" else None
    with pytest.raises(ClusterError, match=told):
        switch(shop.cluster, TARGET, "green")


def test_what_is_not_there_or_going_is_told(shop: Any) -> None:
    with pytest.raises(ClusterError, match="no Service none in the namespace shop"):
        switch(shop.cluster, Target("shop", "none", SELECTORS), "green")
    shop.patch(SERVICE, {"metadata": {"finalizers": ["example.com/x"]}})
    shop.setter.ask("DELETE", SERVICE)
    with pytest.raises(ClusterError, match="is being deleted"):
        switch(shop.cluster, TARGET, "green")


def test_a_refusal_to_read_stays_what_it_is(shop: Any) -> None:
    shop.pool.fault = lambda _method, path: Answer(403, b'{"message": "forbidden"}') if path == SERVICE else None
    with pytest.raises(ClusterError, match="forbidden"):
        switch(shop.cluster, TARGET, "green")


def test_a_higher_token_fences(shop: Any) -> None:
    following(shop)
    switch(shop.cluster, TARGET, "green", token=5)
    with pytest.raises(FencedError, match="token 4"):
        switch(shop.cluster, TARGET, "blue", token=4)


# --- as a router


@pytest.fixture
def router(shop: Any, monkeypatch: pytest.MonkeyPatch) -> K8sService:
    monkeypatch.setattr(_cluster, "connect", lambda *_given: shop.cluster)
    service = Service("shop", {"blue": (), "green": ()}, "/")
    return K8sService(service, namespace="shop", name="web", selectors=SELECTORS)


def test_a_reading_has_the_weight_and_who_is_ready(shop: Any, router: K8sService) -> None:
    reading = router.read()
    assert (reading.weight, reading.persisted, reading.ready) == (0, 0, {"blue": 2, "green": 2})
    assert reading.detail["endpoints"] == {"IPv4": ["blue-0", "blue-1"]}
    shop.patch("/apis/apps/v1/namespaces/shop/deployments/green", {"spec": {"replicas": 3}})
    assert router.read().ready == {"blue": 2, "green": 0}


def test_a_pod_that_an_autoscaler_takes_away_is_nobodys_change(shop: Any, router: K8sService) -> None:
    """It is not ready any more a moment before the endpoints say so."""
    pod = "/api/v1/namespaces/shop/pods/blue-0"
    status = {"status": {"conditions": [{"type": "Ready", "status": "False"}]}}
    shop.setter.ask("PATCH", f"{pod}/status", status, MERGE)
    real = k8s_service.selector.unsettled
    told: list[str] = []

    def unsettled(*given: Any) -> str:
        told.append(real(*given))
        if len(told) == 1:
            shop.setter.ask("DELETE", pod)
            shop.serve("blue")
        return told[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(k8s_service.selector, "unsettled", unsettled)
        reading = router.read()
    assert "blue-0" in told[0]
    assert (reading.weight, reading.unclear, reading.ready) == (0, "", {"blue": 1, "green": 2})
    assert reading.detail["endpoints"] == {"IPv4": ["blue-1"]}


def test_a_selector_that_the_endpoints_do_not_follow_is_no_weight(
    shop: Any, router: K8sService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(k8s_service, "LAG", 0.01)
    shop.patch(SERVICE, {"spec": {"selector": SELECTORS["green"]}})
    reading = router.read()
    assert (reading.weight, reading.persisted) == (None, 100)
    assert "blue-0" in reading.unclear


def test_a_selector_of_somebody_else_is_no_weight(shop: Any, router: K8sService) -> None:
    shop.patch(SERVICE, {"spec": {"selector": {"version": "x"}}})
    reading = router.read()
    assert (reading.weight, reading.persisted) == (None, None)
    assert "version=x" in reading.unclear


def test_it_is_applied_all_or_nothing(shop: Any, router: K8sService) -> None:
    following(shop)
    with pytest.raises(RouterError, match="one colour or the other, not 50 %"):
        router.apply(50)
    router.fence(3)
    assert router.apply(100) == ["patch service shop/web selector app=web,version=green"]
    router.settle(100)
    assert router.persist(100) == []
    assert router.read().weight == 100
