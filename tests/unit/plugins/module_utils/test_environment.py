# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bringing an environment to its namespace, on an API server in this process (R-B4, R-B15)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.environments import make_environments
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import (
    ClusterError,
    EnvironmentRefusedError,
    InputError,
)
from ansible_collections.bluegreen.cutover.plugins.module_utils._environment import Bringing
from cluster.inprocess import Answer

NEW = "/api/v1/namespaces/shop-new"
CONFIG = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}, "data": {"A": "1"}}


@pytest.fixture
def bringing(shop: Any) -> Bringing:
    environment = {"source": "shop", "namespace": "shop-new", "labels": {"team": "a"}}
    return Bringing(shop.cluster, "web", make_environments({"prod": environment}), {})


def test_a_namespace_that_is_missing_is_made_and_not_in_check_mode(bringing: Bringing, shop: Any) -> None:
    before = shop.get("/apis/apps/v1/namespaces/shop/deployments")
    would = bringing.bring("prod", check_mode=True)
    assert {one["done"] for one in would["objects"]} == {"created"}
    assert [method for method, _path in shop.pool.sent if method != "GET"] == []
    assert (would["tried"], bringing.bring("prod", check_mode=True)["tried"]) == (False, False)
    done = bringing.bring("prod")
    assert done["tried"]
    assert done["objects"] == would["objects"]
    assert shop.get(NEW)["metadata"]["labels"]["team"] == "a"
    assert {one["metadata"]["name"] for one in shop.get("/apis/apps/v1/namespaces/shop-new/deployments")["items"]} == {
        "blue",
        "green",
    }
    assert shop.get("/apis/apps/v1/namespaces/shop/deployments")["items"] == before["items"]
    again = bringing.bring("prod")
    assert (again["changed"], again["after"]) == (False, {})


def test_what_the_server_would_not_make_in_a_new_namespace_is_found_before_any_is_made(
    bringing: Bringing, shop: Any
) -> None:
    refused = Answer(422, json.dumps({"message": "made by a test"}).encode())
    shop.pool.fault = lambda method, path: refused if method == "PATCH" and "/services/" in path else None
    with pytest.raises(EnvironmentRefusedError, match="it would not do; shop-new is new and empty: .*made by a test"):
        bringing.bring("prod")
    shop.pool.fault = lambda _method, _path: None
    assert shop.get(NEW)["metadata"]["name"] == "shop-new"
    assert shop.get("/apis/apps/v1/namespaces/shop-new/deployments")["items"] == []
    assert bringing.bring("prod")["changed"]


@pytest.mark.parametrize("faulty", ["POST", "PATCH"])
def test_an_answer_that_is_lost_is_looked_for(bringing: Bringing, shop: Any, faulty: str) -> None:
    lost: list[str] = []

    def fault(method: str, path: str) -> Any:
        if method == faulty and not lost:
            lost.append(path)
            if method == "POST":
                shop.setter.make("/api/v1/namespaces", {"metadata": {"name": "shop-new"}})
            return Answer(500, json.dumps({"message": "made by a test"}).encode())
        return None

    shop.pool.fault = fault
    assert bringing.bring("prod")["changed"]
    assert lost
    assert shop.get(f"{NEW}/services/web")["spec"]["selector"]["version"] == "blue"


def test_a_refusal_that_is_none_of_the_servers_ends_it(bringing: Bringing, shop: Any) -> None:
    refused = Answer(403, json.dumps({"message": "made by a test"}).encode())
    shop.pool.fault = lambda method, _path: refused if method == "POST" else None
    with pytest.raises(ClusterError, match="made by a test"):
        bringing.bring("prod")
    shop.pool.fault = lambda _method, _path: None
    bringing.bring("prod")
    shop.pool.fault = lambda method, _path: refused if method == "PATCH" else None
    with pytest.raises(EnvironmentRefusedError, match="it would not do; nothing was touched: .*made by a test"):
        bringing.bring("prod")
    shop.pool.fault = lambda method, _path: (
        Answer(401, json.dumps({"message": "late"}).encode()) if method == "PATCH" else None
    )
    with pytest.raises(ClusterError, match="late"):
        bringing.bring("prod")


def test_manifests_are_judged_against_what_is_there(bringing: Bringing) -> None:
    with pytest.raises(EnvironmentRefusedError, match="Deployment blue is in shop, and would be missing"):
        bringing.bring("prod", [CONFIG])
    with pytest.raises(InputError, match="manifests has something of no kind of no version"):
        bringing.bring("prod", [CONFIG, {}])


def test_an_autoscaler_that_is_new_does_not_take_replicas_away(bringing: Bringing, shop: Any) -> None:
    bringing.bring("prod")
    reference = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "blue"}
    scaler = {"metadata": {"name": "blue"}, "spec": {"scaleTargetRef": reference, "minReplicas": 2, "maxReplicas": 5}}
    shop.setter.make("/apis/autoscaling/v2/namespaces/shop/horizontalpodautoscalers", scaler)
    with pytest.raises(EnvironmentRefusedError, match="Deployment blue has 2 replicas, and would have 1 until"):
        bringing.bring("prod")


def test_a_source_that_is_missing_is_not_taken_for_one_that_is_empty(shop: Any) -> None:
    made = make_environments({"prod": {"source": "shup", "namespace": "shop-new"}})
    with pytest.raises(InputError, match="there is no namespace shup at https://cluster"):
        Bringing(shop.cluster, "web", made, {}).bring("prod", [CONFIG])


def test_the_quota_of_the_source_stays_there(bringing: Bringing, shop: Any) -> None:
    shop.setter.make("/api/v1/namespaces/shop/resourcequotas", {"metadata": {"name": "q"}, "spec": {"hard": {}}})
    assert "ResourceQuota/q" not in {one["object"] for one in bringing.bring("prod")["objects"]}
