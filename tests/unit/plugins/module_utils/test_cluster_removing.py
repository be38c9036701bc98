# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is looked at before each deletion of an old version (R-D9); the rest is in tests/kubernetes/test_remove.py."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.bluegreen.cutover.plugins.module_utils import _kubernetes
from ansible_collections.bluegreen.cutover.plugins.module_utils._cluster_removing import remove
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import NotReadyError
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.plan import make_plan
from ansible_collections.bluegreen.cutover.plugins.module_utils._finalizing import Finalization
from ansible_collections.bluegreen.cutover.plugins.module_utils._migration import open_plan
from ansible_collections.bluegreen.cutover.plugins.module_utils._routers import _cluster

DEPLOYMENTS = "/apis/apps/v1/namespaces/shop/deployments"
SCALERS = "/apis/autoscaling/v2/namespaces/shop/horizontalpodautoscalers"
SELECTORS = {colour: {"app": "web", "version": colour} for colour in ("blue", "green")}
ALICE = {"user": "alice", "host": "ops", "pid": 1}
PLAN = make_plan(
    {
        "cutover_service": "shop",
        "cutover_front": "http://web",
        "cutover_cluster": {"namespace": "shop"},
        "cutover_router": {"provider": "k8s_service", "name": "web", "selectors": SELECTORS},
        "cutover_colours": {colour: {"deployment": colour} for colour in SELECTORS},
        # In this cluster blue serves.
        "cutover_to": "blue",
        "cutover_finalize": {"stable": 0, "notice": 0},
        "cutover_accept_unproven": "nothing is measured in a test",
    },
    routers=["control"],
    applications=[],
    hosts={},
)


@pytest.fixture
def token(shop: Any, monkeypatch: pytest.MonkeyPatch) -> int:
    """Of the removal of green, which has an autoscaler; all is recorded as finalize.yml does."""
    for module in (_kubernetes, _cluster):
        monkeypatch.setattr(module, "connect", lambda *_given: shop.cluster)
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "green"}
    shop.setter.make(SCALERS, {"metadata": {"name": "green"}, "spec": {"scaleTargetRef": target, "maxReplicas": 3}})
    store, router = open_plan(PLAN)
    began = {"from": "green", "to": "blue", "subject": {}, "owner": ALICE, "reason": "r", "weight": 100}
    with store.locked():
        store.record(1, 1.0, "began", **began)
        store.record(1, 2.0, "weight_intended", before=100, weight=0)
        store.record(1, 3.0, "weight_set", weight=0, commands=[], ms=1.0)
        store.record(1, 4.0, "finished", weight=0)
    run = Finalization(PLAN, store, router)
    run.deprecate([], ALICE, None)
    return int(run.remove([], ALICE, None)["token"])


def left(shop: Any) -> tuple[int, int]:
    """How many autoscalers and Deployments there are."""
    return len(shop.get(SCALERS)["items"]), len(shop.get(DEPLOYMENTS)["items"])


def test_a_new_version_that_loses_a_pod_between_two_deletions_keeps_the_old_one(shop: Any, token: int) -> None:
    def lose(method: str, _path: str) -> None:
        if method == "DELETE":
            shop.patch(f"{DEPLOYMENTS}/blue/status", {"status": {"availableReplicas": 1}})

    shop.pool.fault = lose
    with pytest.raises(NotReadyError, match="blue has 1 of 2 pods available, .*/deployments/green was not removed"):
        remove(PLAN, token)
    assert left(shop) == (0, 2)
    shop.patch(f"{DEPLOYMENTS}/blue/status", {"status": {"availableReplicas": 2}})
    shop.pool.fault = lambda _method, _path: None
    assert remove(PLAN, token)["removed"] == [f"{DEPLOYMENTS}/green"]
