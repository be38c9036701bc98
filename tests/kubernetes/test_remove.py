# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The end of an old version in a cluster: its Deployment and what scales it (R-D9)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.bluegreen.cutover.plugins.module_utils._cluster_removing import remove
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import (
    FencedError,
    FinalizeError,
    InputError,
    NotReadyError,
)
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.plan import make_plan
from ansible_collections.bluegreen.cutover.plugins.module_utils._finalizing import Finalization
from ansible_collections.bluegreen.cutover.plugins.module_utils._kubernetes import connect
from ansible_collections.bluegreen.cutover.plugins.module_utils._migration import Migration, open_plan
from ansible_collections.bluegreen.cutover.plugins.module_utils._routing import change_weight, make_service
from ansible_collections.bluegreen.cutover.plugins.module_utils._stores.cluster import ClusterStore
from cluster import node
from cluster.client import MERGE, Client
from cluster.proxy import Fault, Proxy, Seen
from cluster.starting import Cluster

from .conftest import deployment, service
from .test_playbooks import APP, UNSERVED, NextStep, prepare

Until = Callable[..., Any]


SELECTORS = {colour: {"app": "web", "version": version} for colour, version in (("blue", "v1"), ("green", "v2"))}
ALICE = {"user": "alice", "host": "ops", "pid": 1}


class Moved:
    """The service ``shop``, which has moved to v2 for good; each version has one pod and an autoscaler."""

    def __init__(self, cluster: Cluster, admin: Client, namespace: str) -> None:
        self.admin, self.namespace, self.kubeconfig = admin, namespace, str(cluster.kubeconfig)
        self.plan = self.make_plan()
        self.store = ClusterStore(connect(self.kubeconfig), namespace, "shop")

    def make_plan(self, **deployments: str) -> dict[str, Any]:
        variables = {
            "cutover_service": "shop",
            "cutover_front": "http://web",
            "cutover_cluster": {"namespace": self.namespace, "kubeconfig": self.kubeconfig},
            "cutover_router": {"provider": "k8s_service", "name": "web", "selectors": SELECTORS},
            "cutover_colours": {
                colour: {"deployment": deployments.get(colour, labels["version"])}
                for colour, labels in SELECTORS.items()
            },
            "cutover_finalize": {"stable": 0, "notice": 0},
            "cutover_accept_unproven": "nothing is measured in a test",
        }
        return make_plan(variables, routers=["router"], applications=[], hosts={})

    def finalization(self) -> Finalization:
        return Finalization(self.plan, *open_plan(self.plan))

    def begin(self) -> int:
        """The removal, as finalize.yml begins it."""
        self.finalization().deprecate([], ALICE, None)
        return int(self.finalization().remove([], ALICE, None)["token"])

    def go_back(self) -> None:
        """As rollback.yml does; blue has the pods that it needs, and is not written."""
        store, router = open_plan(self.plan)
        begun = Migration(self.plan, store, router).roll_back(None, ALICE)
        shop = make_service("shop", self.plan["colours"], "/ready")
        change_weight(router, shop, 0, min_ready=1, store=store, token=begun["token"])

    def left(self) -> list[str]:
        return left(self.admin, self.namespace)

    def selected(self) -> str:
        service = self.admin.call("GET", f"/api/v1/namespaces/{self.namespace}/services/web")
        return str(service["spec"]["selector"]["version"])


@pytest.fixture
def moved(cluster: Cluster, admin: Client, namespace: str, until: Until) -> Moved:
    for labels in SELECTORS.values():
        name = labels["version"]
        admin.call("POST", f"/apis/apps/v1/namespaces/{namespace}/deployments", deployment(name, labels))
        target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": name}
        scaler = {"metadata": {"name": f"scales-{name}"}, "spec": {"scaleTargetRef": target, "maxReplicas": 3}}
        path = f"/apis/autoscaling/v2/namespaces/{namespace}/horizontalpodautoscalers"
        admin.call("POST", path, {"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", **scaler})
    admin.call("POST", f"/api/v1/namespaces/{namespace}/services", service("web", SELECTORS["green"]))

    def available() -> bool:
        found = admin.call("GET", f"/apis/apps/v1/namespaces/{namespace}/deployments")["items"]
        return all((one.get("status") or {}).get("availableReplicas") == 1 for one in found)

    until(available)
    made = Moved(cluster, admin, namespace)
    router = open_plan(made.plan)[1]
    until(lambda: router.read().weight == 100)
    began = {"from": "blue", "to": "green", "subject": {}, "owner": ALICE, "reason": "r", "weight": 0}
    with made.store.locked():
        for kind, data in (
            ("began", began),
            ("weight_intended", {"before": 0, "weight": 100}),
            ("weight_set", {"weight": 100, "commands": [], "ms": 1.0}),
            ("finished", {"weight": 100}),
        ):
            made.store.record(1, made.store.clock.time(), kind, **data)
    return made


def left(admin: Client, namespace: str) -> list[str]:
    kinds = ("apps/v1/namespaces/{}/deployments", "autoscaling/v2/namespaces/{}/horizontalpodautoscalers")
    found = [one for path in kinds for one in admin.call("GET", f"/apis/{path.format(namespace)}")["items"]]
    return [one["metadata"]["name"] for one in found if not one["metadata"].get("deletionTimestamp")]


EVERYTHING = ["v1", "v2", "scales-v1", "scales-v2"]


def test_r_d9_the_old_version_goes_and_the_new_one_stays(moved: Moved, admin: Client, until: Until) -> None:
    token = moved.begin()
    would = remove(moved.plan, check_mode=True)
    assert (would["changed"], moved.left()) == (True, EVERYTHING)
    done = remove(moved.plan, token)
    assert [path.rsplit("/", 1)[1] for path in done["removed"]] == ["scales-v1", "v1"]
    # Its pods may be ready for a moment longer, and finalize.yml has told nobody yet.
    with pytest.raises(FinalizeError, match="blue of shop was removed by finalize.yml: there is nothing to go back to"):
        moved.go_back()

    def gone() -> bool:
        pods = admin.call("GET", f"/api/v1/namespaces/{moved.namespace}/pods")["items"]
        return moved.left() == ["v2", "scales-v2"] and {
            pod["metadata"]["labels"]["version"] for pod in pods if not pod["metadata"].get("deletionTimestamp")
        } == {"v2"}

    until(gone)
    assert remove(moved.plan, token) == {"changed": False, "removed": []}
    moved.finalization().end(token)
    kinds = [event["kind"] for event in moved.store.read_journal()["migrations"][-1]["events"]]
    assert kinds[-3:] == ["deprecated", "removal_began", "removed"]
    assert moved.store.read_lease() is None


def test_nothing_goes_when_a_way_back_has_begun_since(moved: Moved) -> None:
    """R-D6, R-D9: the run that removes was told that it may; by now the old version serves again."""
    token = moved.begin()
    moved.go_back()
    with pytest.raises(FencedError, match=f"token {token}"):
        remove(moved.plan, token)
    assert (moved.selected(), moved.left()) == ("v1", EVERYTHING)


def test_a_way_back_that_begins_meanwhile_keeps_the_old_version(moved: Moved, proxied: tuple[Proxy, Path]) -> None:
    """R-D9: its autoscaler is gone when somebody goes back, and no more."""
    token = moved.begin()
    proxy, kubeconfig = proxied
    watched = {**moved.plan, "cluster": {**moved.plan["cluster"], "kubeconfig": str(kubeconfig)}}
    began: list[Seen] = []

    def go_back(seen: Seen) -> Fault | None:
        # The next that is asked takes the lock for the Deployment.
        if began or "scales-v1" in moved.left() or seen.method != "GET":
            return None
        began.append(seen)
        return Fault(call=moved.go_back)

    proxy.fresh(go_back)
    with pytest.raises(FencedError):
        remove(watched, token)
    assert (moved.selected(), moved.left()) == ("v1", ["v1", "v2", "scales-v2"])


def test_nothing_goes_while_it_may_be_needed(moved: Moved, admin: Client) -> None:
    """R-D9: the new version is not whole, has not all of the traffic, or another run has written the old one."""
    token = moved.begin()
    with pytest.raises(
        NotReadyError, match="v3 has 0 of 1 pods available, and what it replaces would go: .*/scales-v1 was not"
    ):
        remove(moved.make_plan(green="v3"), token)
    with pytest.raises(InputError, match="needs the token of the run"):
        remove(moved.plan)
    newer = {"metadata": {"annotations": {"bluegreen.cutover/token": str(token + 1)}}}
    web = f"/api/v1/namespaces/{moved.namespace}/services/web"
    admin.call("PATCH", web, {"spec": {"selector": SELECTORS["blue"]}}, MERGE)
    with pytest.raises(FinalizeError, match="blue of shop may not be removed: green gets 0 %"):
        remove(moved.plan, token)
    admin.call("PATCH", web, {"spec": {"selector": SELECTORS["green"]}}, MERGE)
    scaler = f"/apis/autoscaling/v2/namespaces/{moved.namespace}/horizontalpodautoscalers/scales-v1"
    admin.call("PATCH", scaler, newer, MERGE)
    with pytest.raises(FencedError, match=rf"overtaken by a newer one \(token {token + 1}\)"):
        remove(moved.plan, token)
    assert moved.left() == EVERYTHING


def test_r_d9_finalize_takes_the_old_deployment_away_when_somebody_says_so(
    cluster: Cluster, admin: Client, namespace: str, until: Until, tmp_path: Path
) -> None:
    soon = {"stable": 0, "notice": 0}
    given: dict[str, Any] = {**UNSERVED, "nextstep_namespace": namespace, "cutover_finalize": soon}
    made = prepare(NextStep("nextstep", cluster.kubeconfig, admin, namespace, until, given))
    # Where the guard's pod runs.
    with node.alone(cluster.kubeconfig, admin, namespace, tmp_path):
        rc, told = made.run("cutover")
    assert rc == 0, told

    def finalize(words: str, **more: str) -> tuple[int, str]:
        return replace(made, extra={**given, "finalize_confirm": words, **more}).run("finalize")

    rc, told = finalize("DEPRECATE nextstep blue")
    assert (rc, "is deprecated, and may be removed from" in told) == (0, True), told
    rc, told = finalize("REMOVE nextstep blue")
    assert (rc, "Missing: metrics: cutover_metrics is not set" in told) == (2, True), told
    rc, told = finalize("REMOVE nextstep blue", cutover_accept_unproven="nothing is measured in a test")
    assert rc == 0, told
    assert left(admin, namespace) == [f"{APP}-green", f"{APP}-green"]
    assert (made.selected(), made.serving()) == ("green", ["green"] * 3)
    rc, told = made.run("status")
    assert (rc, "blue: removed on" in told) == (0, True), told
