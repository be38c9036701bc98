# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Numbers of pods as a router, against an API server in this process: who may write, and what is lost (R-D2, R-D6).

Pods come and go in tests/kubernetes/test_replicas.py.
"""

from __future__ import annotations

from typing import Any

import pytest
import urllib3
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import (
    AmbiguousSelectorError,
    DriftError,
    FencedError,
    NotReadyError,
    NotSettledError,
    RouterError,
)
from ansible_collections.bluegreen.cutover.plugins.module_utils._routers import Service, _cluster, k8s_replicas
from ansible_collections.bluegreen.cutover.plugins.module_utils._routers.k8s_replicas import K8sReplicas

WEB = "/api/v1/namespaces/shop/services/web"
DEPLOYMENTS = "/apis/apps/v1/namespaces/shop/deployments"
PODS = "/api/v1/namespaces/shop/pods"
SELECTORS = {colour: {"app": "web", "version": colour} for colour in ("blue", "green")}
TOKEN = "bluegreen.cutover/token"
OPTIONS: dict[str, Any] = {
    "namespace": "shop",
    "name": "web",
    "selectors": SELECTORS,
    "both": {"app": "web"},
    "deployments": {"blue": "blue", "green": "green"},
    "keeps": "blue",
    "timeout": 0,
}


def router(shop: Any, **options: Any) -> K8sReplicas:
    made = K8sReplicas(Service("shop", {"blue": (), "green": ()}, "/ready"), **{**OPTIONS, **options})
    made.use(shop.cluster)
    return made


@pytest.fixture
def shop(shop: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Two pods of each colour, blue's as endpoints; nobody waits."""
    for name in ("LAG", "READY_WAIT"):
        monkeypatch.setattr(k8s_replicas, name, 0.01)
    monkeypatch.setattr(_cluster, "PAUSES", (0.0,))
    return shop


def both(shop: Any) -> None:
    shop.patch(WEB, {"spec": {"selector": {"version": None}}})
    shop.setter.serve(None)


def one_is_left(shop: Any) -> None:
    """What controllers do when green is to have one pod."""
    counts = ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas")
    status = {
        **dict.fromkeys(counts, 1),
        "observedGeneration": shop.get(f"{DEPLOYMENTS}/green")["metadata"]["generation"],
    }
    shop.patch(f"{DEPLOYMENTS}/green/status", {"status": status})
    shop.setter.ask("DELETE", f"{PODS}/green-1", {"gracePeriodSeconds": 0})


def replicas(shop: Any, colour: str = "green") -> int:
    return int(shop.get(f"{DEPLOYMENTS}/{colour}")["spec"]["replicas"])


def written(shop: Any) -> list[str]:
    return [path.rpartition("/")[2] for method, path in shop.pool.sent if method == "PATCH"]


def test_it_reads_the_selector_and_the_numbers_and_says_what_they_are(shop: Any) -> None:
    reading = router(shop).read()
    assert (reading.weight, reading.persisted, reading.ready) == (0, 0, {"blue": 2, "green": 2})
    assert reading.detail["pods"] == {"blue": 2, "green": 2}
    assert "only as exact as connections spread" in reading.detail["applied"]
    both(shop)
    assert router(shop).read().weight == 50
    shop.patch(WEB, {"spec": {"selector": SELECTORS["green"]}})
    shop.serve("green")
    assert router(shop).read().weight == 100


def test_what_the_numbers_do_not_tell_is_unclear(shop: Any) -> None:
    both(shop)
    shop.serve("blue")
    reading = router(shop).read()
    assert (reading.weight, reading.persisted) == (None, 50)
    assert reading.unclear == "of the endpoints, green has 0 ready pods, and is to have 2"
    shop.patch(f"{DEPLOYMENTS}/green", {"spec": {"replicas": 0}})
    assert router(shop).read().unclear == "the Service web selects both colours, and green is to have no pods"
    shop.patch(WEB, {"spec": {"selector": {"app": "other"}}})
    reading = router(shop).read()
    assert (reading.weight, reading.persisted) == (None, None)
    assert "which is neither" in reading.unclear


def test_who_was_overtaken_scales_nothing_and_moves_nothing(shop: Any) -> None:
    """A newer run, or the guard, has written the Service."""
    late = router(shop)
    late.fence(7)
    late.read()
    shop.patch(WEB, {"metadata": {"annotations": {TOKEN: "8"}}})
    for step in (lambda: late.prepare(33, 1), lambda: late.apply(33)):
        with pytest.raises(FencedError, match="overtaken by a newer one"):
            step()
    both(shop)
    late.read()
    with pytest.raises(FencedError, match="overtaken by a newer one"):
        late.apply(33)
    assert written(shop) == []


def test_what_it_writes_has_its_token(shop: Any) -> None:
    mine = router(shop)
    mine.fence(7)
    mine.read()
    assert mine.prepare(33, 1) == ["scale green to 1"]
    one_is_left(shop)
    mine.prepared()
    assert mine.apply(33) == ["patch service shop/web selector app=web"]
    for path in (WEB, f"{DEPLOYMENTS}/green"):
        assert shop.get(path)["metadata"]["annotations"][TOKEN] == "7"
    shop.patch(f"{DEPLOYMENTS}/green", {"metadata": {"annotations": {TOKEN: "8"}}})
    with pytest.raises(FencedError):
        mine.apply(60)
    assert replicas(shop) == 1


@pytest.mark.parametrize("weight", [0, 50])
def test_where_the_weight_already_is_the_token_is_left(shop: Any, weight: int) -> None:
    """What an overtaken run has sent before, and comes late, is refused; nothing has to be ready for that."""
    if weight:
        both(shop)
    mine = router(shop)
    mine.fence(7)
    mine.read()
    for number in range(0 if weight else 2):
        shop.setter.ask("DELETE", f"{PODS}/blue-{number}", {"gracePeriodSeconds": 0})
    mine.apply(weight)
    assert shop.get(WEB)["metadata"]["annotations"][TOKEN] == "7"
    assert written(shop) == ["web"]


def test_what_somebody_else_has_selected_meanwhile_is_left_alone(shop: Any) -> None:
    late = router(shop)
    late.read()
    shop.patch(WEB, {"spec": {"selector": SELECTORS["green"]}})
    for step in (lambda: late.prepare(33, 1), lambda: late.apply(33)):
        with pytest.raises(DriftError):
            step()
    assert (written(shop), replicas(shop)) == ([], 2)


@pytest.mark.parametrize("path", [WEB, f"{DEPLOYMENTS}/green"])
def test_an_answer_that_is_lost_is_looked_for(shop: Any, path: str) -> None:
    real, lost = shop.pool.request, [path]

    def request(method: str, url: str, **options: Any) -> Any:
        answer = real(method, url, **options)
        if method == "PATCH" and lost and lost[0] in url:
            lost.clear()
            raise urllib3.exceptions.ProtocolError("cut")
        return answer

    shop.pool.request = request
    mine = router(shop)
    mine.fence(7)
    mine.read()
    mine.prepare(33, 1)
    one_is_left(shop)
    mine.apply(33)
    assert (lost, replicas(shop), shop.get(WEB)["spec"]["selector"]) == ([], 1, {"app": "web"})
    # The token is left before anything is scaled.
    assert written(shop) == ["web", "green", "web"]


def test_back_at_once_is_one_patch_whatever_became_of_the_numbers(shop: Any) -> None:
    """What a guard may do, which has no right to read autoscalers or to scale."""
    both(shop)
    mine = router(shop)
    mine.read()
    shop.patch(f"{DEPLOYMENTS}/green", {"spec": {"replicas": 5}})
    del shop.pool.sent[:]
    assert (mine.way(0, 1), mine.prepare(0, 1)) == ([0], [])
    mine.prepared()
    mine.apply(0)
    assert shop.pool.sent == [("GET", WEB), ("PATCH", WEB)]
    assert shop.get(WEB)["spec"]["selector"] == SELECTORS["blue"]


def test_a_way_gives_nobody_more_than_before_or_after(shop: Any) -> None:
    """R-D3: all traffic needs the pods first, and who has all of it gives some away before it has fewer."""
    both(shop)
    mine = router(shop)
    mine.read()
    assert (mine.way(100, 2), mine.way(100, 3), mine.way(33, 2)) == ([100], [60, 100], [33])
    # From green alone, of whose pods there are two.
    shop.patch(WEB, {"spec": {"selector": SELECTORS["green"]}})
    shop.serve("green")
    mine.read()
    assert (mine.way(33, 2), mine.way(50, 2), mine.way(67, 2), mine.way(0, 2)) == ([50, 33], [50], [67], [0])
    assert mine.prepare(50, 2) == []
    assert mine.prepare(67, 2) == ["scale green to 4"]
    # Who comes from green scales blue.
    other = router(shop, keeps="green")
    other.read()
    assert (other.way(80, 2), other.prepare(80, 2)) == ([80], ["scale blue to 1"])


def test_pods_that_are_not_there_in_time_are_told(shop: Any) -> None:
    mine = router(shop)
    mine.read()
    mine.prepare(33, 1)
    with pytest.raises(
        NotReadyError, match="last change of green has not been seen .*, after 0 s. No traffic was moved"
    ):
        mine.prepared()
    both(shop)
    shop.serve("blue")
    with pytest.raises(NotSettledError, match="after 0 s its endpoints do not make 33 % for green"):
        mine.settle(33)


def test_nobody_is_sent_to_nothing(shop: Any) -> None:
    mine = router(shop)
    mine.read()
    for number in range(2):
        shop.setter.ask("DELETE", f"{PODS}/green-{number}", {"gracePeriodSeconds": 0})
    with pytest.raises(NotReadyError, match="was left as it is: green has 0 ready pods, 1 needed"):
        mine.apply(100)
    assert written(shop) == []


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ({"sessionAffinity": "ClientIP"}, "the Service web has sessionAffinity: ClientIP, with which"),
        ({"trafficDistribution": "PreferClose"}, "the Service web has trafficDistribution: PreferClose, with which"),
    ],
)
def test_a_service_that_spreads_otherwise_is_refused(shop: Any, spec: dict[str, str], told: str) -> None:
    shop.patch(WEB, {"spec": spec})
    mine = router(shop)
    mine.read()
    with pytest.raises(RouterError, match=told):
        mine.check([50])


def test_who_else_makes_pods_of_a_colour_is_refused(shop: Any) -> None:
    more = {**shop.get(f"{DEPLOYMENTS}/green"), "metadata": {"name": "more"}}
    shop.setter.make(DEPLOYMENTS, more)
    mine = router(shop)
    mine.read()
    with pytest.raises(RouterError, match=r"green and more makes pods with app=web,version=green \(green\), not green"):
        mine.way(50, 1)
    shop.patch(f"{DEPLOYMENTS}/blue", {"spec": {"replicas": 0}})
    mine.read()
    with pytest.raises(RouterError, match=r"blue \(blue\), which keeps its pods, is to have none; green and more"):
        mine.way(50, 1)


def test_labels_that_do_not_take_both_are_refused_at_once(shop: Any) -> None:
    with pytest.raises(AmbiguousSelectorError):
        router(shop, both={"app": "web", "version": "blue"})
    assert shop.pool.sent == []
