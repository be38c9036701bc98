# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A run that is killed at any of its requests to a cluster leaves one colour selected; the next one ends the work, or
takes it back, and leaves nothing of it. So does one that is killed while all is stopped to restore data.

In this process, without sockets and without controllers: some hundred runs in seconds.
"""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.bluegreen.cutover.plugins.module_utils._core import journal
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import CutoverError
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.plan import make_plan
from ansible_collections.bluegreen.cutover.plugins.module_utils._kubernetes import Cluster
from ansible_collections.bluegreen.cutover.plugins.module_utils._migration import Migration
from ansible_collections.bluegreen.cutover.plugins.module_utils._routers import Service
from ansible_collections.bluegreen.cutover.plugins.module_utils._routers.k8s_service import K8sService
from ansible_collections.bluegreen.cutover.plugins.module_utils._routing import change_weight
from ansible_collections.bluegreen.cutover.plugins.module_utils._stores import cluster as stores
from ansible_collections.bluegreen.cutover.plugins.module_utils._stores.cluster import ClusterStore
from ansible_collections.bluegreen.cutover.plugins.module_utils._workloads.deployment import Deployments
from cluster.api import Api
from cluster.client import MERGE
from cluster.inprocess import Answer, Pool, Setter

SERVICE = "/api/v1/namespaces/shop/services/web"
SELECTORS = {colour: {"app": "web", "version": colour} for colour in ("blue", "green")}
PLAN = make_plan(
    {
        "cutover_service": "shop",
        "cutover_front": "http://web.shop",
        "cutover_cluster": {"namespace": "shop"},
        "cutover_router": {"provider": "k8s_service", "name": "web", "selectors": SELECTORS},
        "cutover_colours": {colour: {"deployment": colour} for colour in SELECTORS},
        "cutover_guard": {"enabled": False},
    },
    routers=["control"],
    applications=[],
    hosts={},
)
DEPLOYMENTS = "/apis/apps/v1/namespaces/shop/deployments"
PODS = "/api/v1/namespaces/shop/pods"
SCALERS = "/apis/autoscaling/v2/namespaces/shop/horizontalpodautoscalers"
ME = {"user": "alice", "host": "ops", "pid": 1}
REQUESTS = 63
"""Of a whole run; the last test says when that is another number."""
FIRST = 6
"""The request from which on there is a migration to go back from."""
RESTORE = 84
"""Of a whole way back that restores data."""


def get(shop: Setter, path: str) -> dict[str, Any]:
    return shop.ask("GET", path)


class KilledError(BaseException):
    """Nothing catches it, and what runs on the way out reaches nobody."""


class Mortal(Pool):
    """Dies at request ``number``, before or after the server has done it. Controllers follow at once."""

    def __init__(self, shop: Setter, number: int = 10_000, when: str = "") -> None:
        super().__init__(shop.api)
        self.setter = shop
        self.number = number
        self.when = when

    def request(self, method: str, url: str, **options: Any) -> Answer:
        if "watch=" in url:
            return super().request(method, url, **options)
        number = self.count(method)
        if number > self.number or (number == self.number and self.when == "before"):
            raise KilledError
        answer = super().request(method, url, **options)
        if method == "PATCH" and answer.status == 200:
            self.follow(url)
        if number == self.number:
            raise KilledError
        return answer

    def count(self, method: str) -> int:
        """Which request this is."""
        del method
        return len(self.sent) + 1

    def follow(self, url: str) -> None:
        if "/services/" in url:
            self.serve()
        for colour in SELECTORS:
            if f"/deployments/{colour}" in url:
                found = get(self.setter, f"{DEPLOYMENTS}/{colour}")
                counts = ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas")
                status = dict.fromkeys(counts, found["spec"]["replicas"])
                status["observedGeneration"] = found["metadata"]["generation"]
                self.setter.ask("PATCH", f"{DEPLOYMENTS}/{colour}/status", {"status": status}, MERGE)
                self.run_pods(found)

    def run_pods(self, deployment: dict[str, Any]) -> None:
        """As many as it is to have, and those of the colour that is selected as endpoints."""
        colour, spec = deployment["metadata"]["name"], deployment["spec"]
        names = [one["metadata"]["name"] for one in get(self.setter, PODS)["items"]]
        for number in range(5):
            name = f"{colour}-{number}"
            if name in names and number >= spec["replicas"]:
                self.setter.ask("DELETE", f"{PODS}/{name}", {"gracePeriodSeconds": 0})
            elif name not in names and number < spec["replicas"]:
                pod = {"metadata": {"name": name, "labels": SELECTORS[colour]}, "spec": spec["template"]["spec"]}
                ready = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
                self.setter.make(PODS, pod, ready)
        self.serve()

    def serve(self) -> None:
        self.setter.serve(get(self.setter, SERVICE)["spec"]["selector"]["version"])


class Run:
    """What the playbooks do, in their order, with ``pool``."""

    def __init__(self, pool: Pool) -> None:
        self.cluster = Cluster(pool.connection, patience=0.2)
        self.store = ClusterStore(self.cluster, "shop", "shop")
        self.service = Service("shop", {"blue": (), "green": ()}, "/")
        self.router = K8sService(self.service, namespace="shop", name="web", selectors=SELECTORS)
        self.router._cluster = self.cluster
        self.migration = Migration(PLAN, self.store, self.router)
        self.takeover = (self.store.read_lease() or {}).get("token")

    def there(self) -> None:
        begun = self.migration.begin(self.deployments(None).read(), ME, self.takeover)
        token = begun["token"]
        if token is None:
            return
        self.make_ready(token, begun["weight"])
        self.migration.record(token, "started", {"colour": "green"})
        decision = begun["decision"]
        for step in decision["steps"]:
            self.send(token, step["weight"], step["allowed"], decision["min_ready"])
        self.deployments(token).release("green", scale=False)
        self.migration.close(token, "finished")

    def make_ready(self, token: int, weight: int) -> None:
        del weight
        self.deployments(token).make_ready("green", 5, keep=True)

    def back(self) -> None:
        begun = self.migration.roll_back(None, ME, takeover=self.takeover)
        if begun["token"] is not None:
            self.go_back(begun["token"], begun["decision"], at_once=begun["decision"]["at_once"])

    def restore(self) -> None:
        begun = self.migration.roll_back(None, ME, takeover=self.takeover, restore=True)
        token = begun["token"]
        its = {"part": "db", "artifact": {"path": "/kept/db", "host": "data", "consistent_at": 0.0}}
        self.migration.record(token, "restore_counted", {**its, "written": [], "differences": []})
        self.deployments(token).stop(1)
        self.migration.record(token, "restore_began", its)
        self.migration.record(token, "data_restored", {**its, "written": []})
        self.deployments(token).stop(1)
        self.go_back(token, begun["decision"], at_once=False)

    def go_back(self, token: int, decision: dict[str, Any], *, at_once: bool) -> None:
        if at_once:
            self.send(token, 0, [], decision["min_ready"])
        self.deployments(token).make_ready("blue", 5, least=decision["min_ready"])
        if not at_once:
            self.send(token, 0, [], 1)
        self.deployments(token).release("green", scale=True)
        self.deployments(token).release("blue", scale=False)
        self.migration.close(token, "rolled_back")

    def send(self, token: int, weight: int, allowed: list[int], min_ready: int) -> None:
        given: dict[str, Any] = {"allowed": allowed, "min_ready": min_ready, "store": self.store, "token": token}
        change_weight(self.router, self.service, weight, **given)

    def deployments(self, token: int | None) -> Deployments:
        return Deployments(self.cluster, "shop", {"blue": "blue", "green": "green"}, token=token)


@pytest.fixture
def shop(monkeypatch: pytest.MonkeyPatch) -> Setter:
    """With an autoscaler each; green is to have one pod of the two that there would be."""
    shop = Setter(Api())
    shop.make("/api/v1/namespaces", {"metadata": {"name": "shop"}})
    shop.furnish()
    # Of a run on the same machine that is known at once.
    monkeypatch.setattr(stores._process, "is_gone", lambda _holder, _here: True)
    shop.ask("PATCH", f"{DEPLOYMENTS}/green", {"spec": {"replicas": 1}}, MERGE)
    for name in SELECTORS:
        target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": name}
        spec = {"scaleTargetRef": target, "minReplicas": 1, "maxReplicas": 5}
        shop.make(SCALERS, {"metadata": {"name": name}, "spec": spec})
    Mortal(shop).follow(f"{DEPLOYMENTS}/green")
    return shop


def killed(shop: Setter, number: int, when: str) -> None:
    with pytest.raises(KilledError):
        Run(Mortal(shop, number, when)).there()
    assert get(shop, SERVICE)["spec"]["selector"] in SELECTORS.values()


def left(shop: Setter) -> dict[str, tuple[int, int]]:
    """Of each colour how many pods it is to have, and at least."""
    return {
        colour: (
            get(shop, f"{DEPLOYMENTS}/{colour}")["spec"]["replicas"],
            get(shop, f"{SCALERS}/{colour}")["spec"]["minReplicas"],
        )
        for colour in SELECTORS
    }


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("number", range(1, REQUESTS + 1))
def test_it_is_ended_by_the_next_run(shop: Setter, number: int, when: str) -> None:
    killed(shop, number, when)
    had_ended = "finished" in str(get(shop, "/api/v1/namespaces/shop/configmaps").get("items"))
    run = Run(Mortal(shop))
    run.there()
    assert get(shop, SERVICE)["spec"]["selector"] == SELECTORS["green"]
    assert left(shop) == {"blue": (2, 2), "green": (2, 1)}
    kinds = [event["kind"] for event in run.store.read_journal()["migrations"][-1]["events"]]
    assert (kinds[0], kinds[-1], kinds.count("finished")) == ("began", "finished", 1)
    # Where nothing was left to do but that, the lease ends by itself.
    assert run.store.read_lease() is None or had_ended
    assert "lock.json" not in get(shop, "/api/v1/namespaces/shop/configmaps/bluegreen-shop")["data"]


@pytest.mark.parametrize("number", range(1, REQUESTS + 1))
def test_it_is_taken_back_by_a_rollback(shop: Setter, number: int) -> None:
    killed(shop, number, "after")
    Run(Mortal(shop)).back()
    assert get(shop, SERVICE)["spec"]["selector"] == SELECTORS["blue"]
    assert left(shop)["blue"] == (2, 1)
    # One that had arrived keeps its pods.
    assert left(shop)["green"] in ((1, 1), (2, 1))


class Halting(Mortal):
    """Stands still before request ``number``, until somebody else has gone back."""

    def request(self, method: str, url: str, **options: Any) -> Answer:
        if "watch=" not in url and len(self.sent) + 1 == self.number:
            self.number = 10_000
            Run(Mortal(self.setter)).back()
        return super().request(method, url, **options)


@pytest.mark.parametrize("number", range(1, REQUESTS + 1))
def test_one_that_stood_still_meanwhile_does_not_move_the_traffic_any_more(shop: Setter, number: int) -> None:
    """Also where there was nothing to move for who went back, so that only its token can tell (R-D6)."""
    run = Run(Halting(shop, number))
    try:
        run.there()
    except CutoverError:
        assert get(shop, SERVICE)["spec"]["selector"] == SELECTORS["blue"]
        assert left(shop)["blue"] == (2, 1)
    else:
        # It had not begun, or had ended.
        assert number < FIRST or number == REQUESTS
    state = journal.fold(run.store.read_journal())
    assert SELECTORS["green" if state.weight else "blue"] == get(shop, SERVICE)["spec"]["selector"]


@pytest.mark.parametrize("number", range(1, RESTORE + 1))
def test_a_restore_is_ended_by_a_rollback(shop: Setter, number: int) -> None:
    """R-E7: both were stopped, or not yet; the old colour serves again with all that it had."""
    Run(Mortal(shop)).there()
    with pytest.raises(KilledError):
        Run(Mortal(shop, number)).restore()
    run = Run(Mortal(shop))
    run.back()
    assert get(shop, SERVICE)["spec"]["selector"] == SELECTORS["blue"]
    assert left(shop)["blue"] == (2, 1)
    # One that was stopped stays so: it could write again.
    assert left(shop)["green"] in ((2, 1), (0, 1))
    assert journal.fold(run.store.read_journal()).phase == "rolled_back"
    assert "stopped-replicas" not in str(get(shop, DEPLOYMENTS))


def test_a_run_has_no_more_requests(shop: Setter) -> None:
    pool = Mortal(shop)
    Run(pool).there()
    assert len(pool.sent) == REQUESTS, pool.sent
    pool = Mortal(shop)
    Run(pool).restore()
    assert len(pool.sent) == RESTORE, pool.sent
