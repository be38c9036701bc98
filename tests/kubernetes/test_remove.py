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
    InputError,
    NotReadyError,
)
from ansible_collections.bluegreen.cutover.plugins.module_utils._kubernetes import connect
from cluster import node
from cluster.client import MERGE, Client
from cluster.starting import Cluster

from .conftest import deployment
from .test_playbooks import APP, UNSERVED, NextStep, prepare

Until = Callable[..., Any]


@pytest.fixture
def both(admin: Client, namespace: str, until: Until) -> str:
    """The namespace with both versions, one pod each, and an autoscaler of each."""
    for name in ("v1", "v2"):
        labels = {"app": "web", "version": name}
        made = deployment(name, labels)
        admin.call("POST", f"/apis/apps/v1/namespaces/{namespace}/deployments", made)
        target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": name}
        scaler = {"metadata": {"name": f"scales-{name}"}, "spec": {"scaleTargetRef": target, "maxReplicas": 3}}
        path = f"/apis/autoscaling/v2/namespaces/{namespace}/horizontalpodautoscalers"
        admin.call("POST", path, {"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", **scaler})

    def available() -> bool:
        found = admin.call("GET", f"/apis/apps/v1/namespaces/{namespace}/deployments")["items"]
        return all((one.get("status") or {}).get("availableReplicas") == 1 for one in found)

    until(available)
    return namespace


def left(admin: Client, namespace: str) -> list[str]:
    kinds = ("apps/v1/namespaces/{}/deployments", "autoscaling/v2/namespaces/{}/horizontalpodautoscalers")
    found = [one for path in kinds for one in admin.call("GET", f"/apis/{path.format(namespace)}")["items"]]
    return [one["metadata"]["name"] for one in found if not one["metadata"].get("deletionTimestamp")]


def test_r_d9_the_old_version_goes_and_the_new_one_stays(
    cluster: Cluster, admin: Client, both: str, until: Until
) -> None:
    runner = connect(str(cluster.kubeconfig))
    would = remove(runner, both, "v1", "v2", check_mode=True)
    assert (would["changed"], left(admin, both)) == (True, ["v1", "v2", "scales-v1", "scales-v2"])
    done = remove(runner, both, "v1", "v2", token=5)
    assert [path.rsplit("/", 1)[1] for path in done["removed"]] == ["scales-v1", "v1"]

    def gone() -> bool:
        pods = admin.call("GET", f"/api/v1/namespaces/{both}/pods")["items"]
        return left(admin, both) == ["v2", "scales-v2"] and {
            pod["metadata"]["labels"]["version"] for pod in pods if not pod["metadata"].get("deletionTimestamp")
        } == {"v2"}

    until(gone)
    assert remove(runner, both, "v1", "v2", token=5) == {"changed": False, "removed": []}


def test_nothing_goes_while_the_new_version_is_not_whole_or_another_run_came(
    cluster: Cluster, admin: Client, both: str
) -> None:
    runner = connect(str(cluster.kubeconfig))
    with pytest.raises(NotReadyError, match="v3 has 0 of 1 pods available, and what it replaces would go; nothing was"):
        remove(runner, both, "v1", "v3")
    with pytest.raises(InputError, match="v1 is what serves"):
        remove(runner, both, "v1", "v1")
    newer = {"metadata": {"annotations": {"bluegreen.cutover/token": "9"}}}
    for path in (
        "apps/v1/namespaces/{}/deployments/v1",
        "autoscaling/v2/namespaces/{}/horizontalpodautoscalers/scales-v1",
    ):
        admin.call("PATCH", f"/apis/{path.format(both)}", newer, MERGE)
    with pytest.raises(FencedError, match=r"overtaken by a newer one \(token 9\)"):
        remove(runner, both, "v1", "v2", token=8)
    assert left(admin, both) == ["v1", "v2", "scales-v1", "scales-v2"]


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
