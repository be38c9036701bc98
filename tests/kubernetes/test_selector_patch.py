# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""k8s_selector_patch against an API server: what it refuses, what it changes, and what goes wrong meanwhile (R-D6)."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.bluegreen.cutover.plugins.module_utils import _kubernetes, _selector
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import (
    AmbiguousSelectorError,
    ClusterError,
    DriftError,
    EmptySelectorError,
    FencedError,
    NoSelectorError,
    NotReadyError,
    NotSettledError,
)
from ansible_collections.bluegreen.cutover.plugins.module_utils._routers import Service
from ansible_collections.bluegreen.cutover.plugins.module_utils._routers.k8s_service import K8sService
from ansible_collections.bluegreen.cutover.plugins.module_utils._selector import Target, switch
from cluster.client import MERGE, STRATEGIC, Client
from cluster.proxy import Fault, Proxy, Seen
from cluster.starting import Cluster

from .conftest import deployment, service

Until = Callable[..., Any]
BLUE, GREEN = {"app": "shop", "version": "v1"}, {"app": "shop", "version": "v2"}
SELECTORS = {"blue": BLUE, "green": GREEN}


@dataclass
class Shop:
    """A Service ``web`` that selects blue, with Deployments of both colours."""

    admin: Client
    namespace: str
    until: Until

    @property
    def path(self) -> str:
        return f"/api/v1/namespaces/{self.namespace}/services/web"

    @property
    def target(self) -> Target:
        return Target(self.namespace, "web", SELECTORS)

    def deployment(self, name: str) -> str:
        return f"/apis/apps/v1/namespaces/{self.namespace}/deployments/{name}"

    def patch(self, path: str, body: dict[str, Any], media: str = MERGE) -> dict[str, Any]:
        return self.admin.call("PATCH", path, body, media)

    def serving(self) -> list[str]:
        """Colours of what gets traffic now."""
        path = f"/apis/discovery.k8s.io/v1/namespaces/{self.namespace}/endpointslices"
        slices = self.admin.call("GET", path, labelSelector="kubernetes.io/service-name=web")["items"]
        endpoints = [endpoint for one in slices for endpoint in one.get("endpoints") or ()]
        return sorted(one["targetRef"]["name"].partition("-")[0] for one in endpoints if one["conditions"]["ready"])

    def selected(self) -> dict[str, str]:
        return dict(self.admin.call("GET", self.path)["spec"].get("selector") or {})

    def ready(self, name: str, number: int) -> None:
        def look() -> bool:
            found = self.admin.call("GET", self.deployment(name))
            status = found.get("status") or {}
            seen = status.get("observedGeneration") == found["metadata"]["generation"]
            return bool(seen and status.get("readyReplicas", 0) == number == status.get("replicas"))

        self.until(look)


@pytest.fixture
def shop(admin: Client, namespace: str, until: Until) -> Shop:
    made = Shop(admin, namespace, until)
    for name, labels in SELECTORS.items():
        admin.call("POST", f"/apis/apps/v1/namespaces/{namespace}/deployments", deployment(name, labels, 2))
    admin.call("POST", f"/api/v1/namespaces/{namespace}/services", service("web", BLUE))
    for name in SELECTORS:
        made.ready(name, 2)
    until(lambda: made.serving() == ["blue", "blue"])
    return made


@pytest.fixture
def direct(cluster: Cluster) -> _kubernetes.Cluster:
    return _kubernetes.connect(str(cluster.kubeconfig))


def test_a_switch_takes_two_requests_and_ends_when_the_endpoints_have_followed(
    shop: Shop, direct: _kubernetes.Cluster
) -> None:
    done = switch(direct, shop.target, "green")
    assert shop.serving() == ["green", "green"]
    assert (done["changed"], done["before"]["colour"], done["after"]["colour"]) == (True, "blue", "green")
    assert (done["requests"], done["attempts"], done["needed"]) == (2, 1, 2)
    assert done["ready"] == {"blue": 2, "green": 2}
    again = switch(direct, shop.target, "green")
    assert (again["changed"], again["requests"]) == (False, 1)
    back = switch(direct, shop.target, "blue")
    assert (back["changed"], shop.serving()) == (True, ["blue", "blue"])


def test_check_mode_asks_the_server_and_changes_nothing(shop: Shop, direct: _kubernetes.Cluster) -> None:
    before = shop.admin.call("GET", shop.path)
    would = switch(direct, shop.target, "green", check_mode=True)
    assert (would["changed"], would["after"]["colour"]) == (True, "green")
    assert shop.admin.call("GET", shop.path) == before


def test_a_colour_without_pods_gets_no_traffic(shop: Shop, direct: _kubernetes.Cluster) -> None:
    shop.patch(shop.deployment("green"), {"spec": {"replicas": 0}})
    shop.until(lambda: not _pods(shop, "v2"))
    with pytest.raises(NotReadyError, match="green has 0 ready pods, 2 needed"):
        switch(direct, shop.target, "green", ready_wait=0.2)
    assert shop.selected() == BLUE


def _pods(shop: Shop, version: str) -> list[dict[str, Any]]:
    path = f"/api/v1/namespaces/{shop.namespace}/pods"
    return list(shop.admin.call("GET", path, labelSelector=f"version={version}")["items"])


def test_a_colour_with_less_capacity_than_the_one_that_serves_is_refused(
    shop: Shop, direct: _kubernetes.Cluster
) -> None:
    shop.patch(shop.deployment("blue"), {"spec": {"replicas": 3}})
    shop.ready("blue", 3)
    with pytest.raises(NotReadyError, match="green has 2 ready pods, 3 needed"):
        switch(direct, shop.target, "green", ready_wait=0.2)
    assert switch(direct, shop.target, "green", min_ready=2)["changed"]


def test_pods_may_become_ready_while_it_waits(shop: Shop, direct: _kubernetes.Cluster) -> None:
    shop.patch(shop.deployment("blue"), {"spec": {"replicas": 3}})
    shop.ready("blue", 3)
    later = threading.Timer(0.3, shop.patch, [shop.deployment("green"), {"spec": {"replicas": 3}}])
    later.start()
    done = switch(direct, shop.target, "green", ready_wait=90)
    later.join()
    assert done["ready"] == {"blue": 3, "green": 3}
    assert shop.serving() == ["green"] * 3


def test_a_rollout_that_is_stuck_is_refused_and_may_be_gone_back_to(shop: Shop, direct: _kubernetes.Cluster) -> None:
    stuck = {"metadata": {"annotations": {"tests/ready": "false"}}}
    shop.patch(shop.deployment("green"), {"spec": {"progressDeadlineSeconds": 1, "template": stuck}}, STRATEGIC)

    def late() -> bool:
        conditions = shop.admin.call("GET", shop.deployment("green"))["status"].get("conditions") or ()
        return any(one.get("reason") == "ProgressDeadlineExceeded" for one in conditions)

    shop.until(late)
    with pytest.raises(NotReadyError, match="green is stuck .ProgressDeadlineExceeded"):
        switch(direct, shop.target, "green", min_ready=1, ready_wait=0.2)
    assert switch(direct, shop.target, "green", min_ready=1, accept_rollout=True)["changed"]


def test_what_is_neither_colour_is_not_overwritten(shop: Shop, direct: _kubernetes.Cluster) -> None:
    shop.patch(shop.path, {"spec": {"selector": {"version": "v9"}}})
    with pytest.raises(DriftError, match="version=v9, which is neither"):
        switch(direct, shop.target, "green")
    assert shop.selected()["version"] == "v9"


def test_selectors_that_cannot_be_meant_have_errors_of_their_own(shop: Shop, direct: _kubernetes.Cluster) -> None:
    with pytest.raises(EmptySelectorError, match="no labels"):
        switch(direct, Target(shop.namespace, "web", {"blue": BLUE, "green": {}}), "green")
    with pytest.raises(AmbiguousSelectorError, match="a pod can match both"):
        switch(direct, Target(shop.namespace, "web", {"blue": BLUE, "green": {"app": "shop"}}), "green")
    shop.patch(shop.path, {"spec": {"selector": None}})
    with pytest.raises(NoSelectorError, match="has no selector"):
        switch(direct, shop.target, "green")


def test_a_service_that_is_not_there_is_named(shop: Shop, direct: _kubernetes.Cluster) -> None:
    with pytest.raises(ClusterError, match=f"no Service none in the namespace {shop.namespace}"):
        switch(direct, Target(shop.namespace, "none", SELECTORS), "green")


def test_a_token_fences_an_older_one(shop: Shop, direct: _kubernetes.Cluster) -> None:
    assert switch(direct, shop.target, "green", token=7)["changed"]
    annotations = shop.admin.call("GET", shop.path)["metadata"]["annotations"]
    assert annotations["bluegreen.cutover/token"] == "7"
    with pytest.raises(FencedError, match="token 6.*overtaken by a newer one .token 7"):
        switch(direct, shop.target, "blue", token=6)
    assert switch(direct, shop.target, "blue", token=7)["changed"]


# --- two at once


def test_on_a_conflict_it_reads_again_and_decides_again(shop: Shop, proxied: tuple[Proxy, Path]) -> None:
    proxy, kubeconfig = proxied

    def meanwhile(seen: Seen) -> Fault | None:
        first = seen.method == "PATCH" and sum(one.method == "PATCH" for one in proxy.seen) == 1
        return Fault(call=lambda: shop.patch(shop.path, {"spec": {"selector": {"version": "v9"}}})) if first else None

    proxy.fresh(meanwhile)
    with pytest.raises(DriftError, match="version=v9"):
        switch(_kubernetes.connect(str(kubeconfig)), shop.target, "green")
    assert shop.selected()["version"] == "v9"
    assert [one.method for one in proxy.requests] == ["GET", "PATCH", "GET"]


def test_of_many_that_switch_at_once_all_end_and_one_colour_serves(shop: Shop, cluster: Cluster) -> None:
    ends: list[str] = []

    def run(to: str) -> None:
        mine = _kubernetes.connect(str(cluster.kubeconfig))
        try:
            switch(mine, shop.target, to, settle=6)
            ends.append("done")
        except (NotSettledError, ClusterError) as error:
            # The other one was the last; who was first sees its endpoints gone.
            ends.append(error.reason)

    threads = [threading.Thread(target=run, args=(to,)) for to in ("green", "blue", "green", "blue")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert len(ends) == 4
    assert "done" in ends
    assert shop.selected() in (BLUE, GREEN)
    colour = "blue" if shop.selected() == BLUE else "green"
    shop.until(lambda: shop.serving() == [colour, colour])


# --- faults


def _what(seen: Seen) -> tuple[str, str]:
    return seen.method, seen.path.partition("?")[0]


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_server_that_is_busy_for_a_while_is_asked_again(shop: Shop, proxied: tuple[Proxy, Path], status: int) -> None:
    proxy, kubeconfig = proxied

    def at_first(seen: Seen) -> Fault | None:
        """Twice each: the reading, the writing, and the three watches."""
        before = [one for one in proxy.seen if (one.method, one.path.partition("?")[0]) == _what(seen)]
        return Fault(status=status, headers={"Retry-After": "0"}) if len(before) <= 2 else None

    proxy.fresh(at_first)
    done = switch(_kubernetes.connect(str(kubeconfig)), shop.target, "green")
    assert (done["changed"], shop.serving()) == (True, ["green", "green"])


def test_a_server_that_answers_late_is_waited_for(shop: Shop, proxied: tuple[Proxy, Path]) -> None:
    proxy, kubeconfig = proxied
    proxy.fresh(lambda _seen: Fault(delay=0.3))
    assert switch(_kubernetes.connect(str(kubeconfig)), shop.target, "green")["changed"]


@pytest.mark.parametrize("cut", ["before", "after"])
def test_a_patch_whose_answer_is_lost_is_looked_for(shop: Shop, proxied: tuple[Proxy, Path], cut: str) -> None:
    proxy, kubeconfig = proxied
    proxy.fresh(lambda seen: Fault(cut=cut) if seen.method == "PATCH" and seen.number < 8 else None)
    done = switch(_kubernetes.connect(str(kubeconfig)), shop.target, "green")
    assert (done["changed"], shop.serving()) == (True, ["green", "green"])
    patches = [one for one in proxy.requests if one.method == "PATCH"]
    # Done already: nothing is sent twice.
    assert len(patches) == (1 if cut == "after" else done["attempts"])


def test_a_watch_that_breaks_is_begun_again(shop: Shop, proxied: tuple[Proxy, Path]) -> None:
    proxy, kubeconfig = proxied
    broken: set[str] = set()

    def once(seen: Seen) -> Fault | None:
        path = seen.path.partition("?")[0]
        if not seen.is_watch or path in broken:
            return None
        broken.add(path)
        return Fault(cut="before")

    proxy.fresh(once)
    assert switch(_kubernetes.connect(str(kubeconfig)), shop.target, "green")["changed"]
    assert len(broken) == 3


def test_a_server_without_watches_that_begin_with_what_is_there_is_listed(
    shop: Shop, proxied: tuple[Proxy, Path]
) -> None:
    proxy, kubeconfig = proxied
    proxy.fresh(lambda seen: Fault(status=422) if "sendInitialEvents" in seen.path else None)
    done = switch(_kubernetes.connect(str(kubeconfig)), shop.target, "green")
    assert (done["changed"], done["requests"]) == (True, 5)


def test_a_server_that_is_gone_is_named(shop: Shop, proxied: tuple[Proxy, Path]) -> None:
    proxy, kubeconfig = proxied
    proxy.fresh(lambda _seen: Fault(cut="before"))
    gone = _kubernetes.connect(str(kubeconfig))
    gone.patience = 0.3
    with pytest.raises(ClusterError, match="did not answer GET .*/services/web"):
        switch(gone, shop.target, "green")
    assert shop.selected() == BLUE


def test_credentials_that_are_not_accepted_are_told(shop: Shop, cluster: Cluster, tmp_path: Path) -> None:
    text = cluster.kubeconfig.read_text().replace(Client(cluster.kubeconfig).token, "expired-token")
    path = tmp_path / "expired.kubeconfig"
    path.write_text(text)
    with pytest.raises(ClusterError, match=r"\(401\).*may have expired"):
        switch(_kubernetes.connect(str(path)), shop.target, "green")
    assert shop.selected() == BLUE


def test_pods_that_fail_right_after_the_switch_are_told(shop: Shop, proxied: tuple[Proxy, Path]) -> None:
    proxy, kubeconfig = proxied
    names = [pod["metadata"]["name"] for pod in _pods(shop, "v2")]

    def fail() -> None:
        for name in names:
            pod = f"/api/v1/namespaces/{shop.namespace}/pods/{name}"
            shop.patch(pod, {"metadata": {"annotations": {"tests/ready": "false"}}})

        def unready() -> bool:
            found = [(pod.get("status") or {}).get("conditions") for pod in _pods(shop, "v2")]
            return all(one["status"] == "False" for each in found for one in each if one["type"] == "Ready")

        shop.until(unready)

    proxy.fresh(lambda seen: Fault(cut="after", call=fail) if seen.method == "PATCH" else None)
    with pytest.raises((NotSettledError, NotReadyError), match="ready pods"):
        switch(_kubernetes.connect(str(kubeconfig)), shop.target, "green", settle=0.5, ready_wait=0.5)
    proxy.fresh()
    assert switch(_kubernetes.connect(str(kubeconfig)), shop.target, "blue", min_ready=1)["changed"]
    assert shop.serving() == ["blue", "blue"]


# --- as a router


def test_as_a_router_it_reads_applies_and_tells_what_does_not_agree(shop: Shop, cluster: Cluster) -> None:
    router = K8sService(
        Service("web", {"blue": (), "green": ()}, "/"),
        namespace=shop.namespace,
        name="web",
        selectors=SELECTORS,
        kubeconfig=str(cluster.kubeconfig),
    )
    reading = router.read()
    assert (reading.weight, reading.persisted, reading.ready) == (0, 0, {"blue": 2, "green": 2})
    assert router.apply(100) == [f"patch service {shop.namespace}/web selector app=shop,version=v2"]
    router.settle(100)
    assert router.read().weight == 100
    shop.patch(shop.path, {"spec": {"selector": {"version": "v9"}}})
    drifted = router.read()
    assert drifted.weight is None
    assert "version=v9" in drifted.unclear


def test_the_time_to_settle_is_short_on_this_server(shop: Shop, direct: _kubernetes.Cluster) -> None:
    """R-D6: from deciding until the endpoints hold only v1 there are 2 s at most, by the emergency path, too."""
    took = []
    # A machine that has other things to do adds to what is measured, and not each time.
    while len(took) < 5 and min(took, default=2000) >= 2000:
        switch(direct, shop.target, "green")
        back = switch(direct, shop.target, "blue", min_ready=1, accept_rollout=True)
        took.append(back["switch_ms"] + back["settle_ms"])
    assert min(took) < 2000
    assert _selector.SETTLE > 2
