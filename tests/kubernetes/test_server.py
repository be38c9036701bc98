# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What this project relies on in an API server; the real one and the one of these tests must both do it."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cluster.client import APPLY, JSON_PATCH, MERGE, STRATEGIC, Client, RefusedError
from cluster.starting import Cluster

from .conftest import deployment, refused, service

Until = Callable[..., Any]
V1, V2 = {"app": "shop", "version": "v1"}, {"app": "shop", "version": "v2"}


def config_map(name: str, **data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


@pytest.fixture
def maps(namespace: str) -> str:
    return f"/api/v1/namespaces/{namespace}/configmaps"


@pytest.fixture
def services(namespace: str) -> str:
    return f"/api/v1/namespaces/{namespace}/services"


@pytest.fixture
def deployments(namespace: str) -> str:
    return f"/apis/apps/v1/namespaces/{namespace}/deployments"


def test_an_object_gets_what_identifies_it_and_a_change_a_new_version(admin: Client, maps: str) -> None:
    first = admin.call("POST", maps, config_map("a", x="1"))
    assert first["metadata"]["uid"]
    assert first["metadata"]["creationTimestamp"]
    second = admin.call("PATCH", f"{maps}/a", {"data": {"x": "2"}}, MERGE)
    assert second["metadata"]["uid"] == first["metadata"]["uid"]
    assert int(second["metadata"]["resourceVersion"]) > int(first["metadata"]["resourceVersion"])
    assert refused(lambda: admin.call("POST", maps, config_map("a"))).status["reason"] == "AlreadyExists"


def test_a_write_that_changes_nothing_has_no_new_version(admin: Client, maps: str) -> None:
    first = admin.call("POST", maps, config_map("a", x="1"))
    same = admin.call("PATCH", f"{maps}/a", {"data": {"x": "1"}}, MERGE)
    assert same["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]


def test_a_stale_put_and_a_stale_patch_are_refused(admin: Client, maps: str) -> None:
    stale = admin.call("POST", maps, config_map("a", x="1"))
    admin.call("PATCH", f"{maps}/a", {"data": {"x": "2"}}, MERGE)
    put = refused(lambda: admin.call("PUT", f"{maps}/a", {**stale, "data": {"x": "3"}}))
    version = {"metadata": {"resourceVersion": stale["metadata"]["resourceVersion"]}, "data": {"x": "3"}}
    patches = [
        refused(lambda media=media: admin.call("PATCH", f"{maps}/a", version, media)) for media in (MERGE, STRATEGIC)
    ]
    for error in (put, *patches):
        assert (error.code, error.status["reason"]) == (409, "Conflict")
        assert "the object has been modified" in error.status["message"]
    assert admin.call("GET", f"{maps}/a")["data"] == {"x": "2"}


def test_of_two_that_put_at_once_one_is_refused(cluster: Cluster, admin: Client, maps: str) -> None:
    admin.call("POST", maps, config_map("a", count="0"))
    refusals: list[int] = []

    def count() -> None:
        client = Client(cluster.kubeconfig)
        done = 0
        while done < 10:
            found = client.call("GET", f"{maps}/a")
            found["data"]["count"] = str(int(found["data"]["count"]) + 1)
            try:
                client.call("PUT", f"{maps}/a", found)
                done += 1
            except RefusedError as error:
                refusals.append(error.code)

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert admin.call("GET", f"{maps}/a")["data"] == {"count": "40"}
    assert set(refusals) <= {409}


def test_a_json_patch_tests_first(admin: Client, services: str) -> None:
    admin.call("POST", services, service("web", V1))

    def swap(seen: dict[str, str], to: dict[str, str]) -> list[dict[str, Any]]:
        return [
            {"op": "test", "path": "/spec/selector", "value": seen},
            {"op": "replace", "path": "/spec/selector", "value": to},
        ]

    swapped = admin.call("PATCH", f"{services}/web", swap(V1, V2), JSON_PATCH)
    assert swapped["spec"]["selector"] == V2
    late = refused(lambda: admin.call("PATCH", f"{services}/web", swap(V1, V2), JSON_PATCH))
    assert (late.code, late.status["reason"]) == (422, "Invalid")
    # By that it is told from an object that would be invalid.
    assert not (late.status.get("details") or {}).get("causes")
    version = [
        {"op": "test", "path": "/metadata/resourceVersion", "value": "1"},
        {"op": "replace", "path": "/spec/selector", "value": V1},
    ]
    assert refused(lambda: admin.call("PATCH", f"{services}/web", version, JSON_PATCH)).code == 422
    now = admin.call("GET", f"{services}/web")
    assert now["spec"]["selector"] == V2
    assert now["metadata"]["resourceVersion"] == swapped["metadata"]["resourceVersion"]


def test_all_operations_of_a_json_patch_or_none(admin: Client, maps: str) -> None:
    admin.call("POST", maps, config_map("a", x="1"))
    patch = [{"op": "replace", "path": "/data/x", "value": "2"}, {"op": "remove", "path": "/data/none"}]
    assert refused(lambda: admin.call("PATCH", f"{maps}/a", patch, JSON_PATCH)).code == 422
    assert admin.call("GET", f"{maps}/a")["data"] == {"x": "1"}
    slashed = [{"op": "add", "path": "/metadata/annotations", "value": {}}]
    slashed.append({"op": "add", "path": "/metadata/annotations/example.com~1x", "value": "y"})
    patched = admin.call("PATCH", f"{maps}/a", slashed, JSON_PATCH)
    assert patched["metadata"]["annotations"] == {"example.com/x": "y"}


def test_a_merge_patch_replaces_a_list_and_a_strategic_one_merges_it(admin: Client, deployments: str) -> None:
    admin.call("POST", deployments, deployment("web", V1, 0))
    sidecar = {"spec": {"template": {"spec": {"containers": [{"name": "proxy", "image": "registry.invalid/p:1"}]}}}}
    merged = admin.call("PATCH", f"{deployments}/web", sidecar, STRATEGIC)
    assert {one["name"] for one in merged["spec"]["template"]["spec"]["containers"]} == {"app", "proxy"}
    replaced = admin.call("PATCH", f"{deployments}/web", sidecar, MERGE)
    assert [one["name"] for one in replaced["spec"]["template"]["spec"]["containers"]] == ["proxy"]
    gone = {"metadata": {"labels": {"version": None}}}
    assert admin.call("PATCH", f"{deployments}/web", gone, MERGE)["metadata"]["labels"] == {"app": "shop"}


def test_a_generation_counts_changes_of_the_spec(admin: Client, deployments: str, until: Until) -> None:
    made = admin.call("POST", deployments, deployment("web", V1, 1))
    assert made["metadata"]["generation"] == 1
    labelled = admin.call("PATCH", f"{deployments}/web", {"metadata": {"labels": {"x": "y"}}}, MERGE)
    assert labelled["metadata"]["generation"] == 1
    scaled = admin.call("PATCH", f"{deployments}/web", {"spec": {"replicas": 2}}, MERGE)
    assert scaled["metadata"]["generation"] == 2

    def observed() -> bool:
        found = admin.call("GET", f"{deployments}/web")
        return bool(found["metadata"]["generation"] == 2 == found.get("status", {}).get("observedGeneration"))

    until(observed)


def test_a_dry_run_says_what_would_be_and_leaves_what_is(admin: Client, services: str) -> None:
    assert admin.call("POST", services, service("web", V1), dryRun="All")["spec"]["selector"] == V1
    assert refused(lambda: admin.call("GET", f"{services}/web")).code == 404
    made = admin.call("POST", services, service("web", V1))
    would = admin.call("PATCH", f"{services}/web", {"spec": {"selector": V2}}, MERGE, dryRun="All")
    assert would["spec"]["selector"] == V2
    assert admin.call("GET", f"{services}/web") == made
    invalid = {"spec": {"ports": [{"name": "http", "port": 0}]}}
    assert refused(lambda: admin.call("PATCH", f"{services}/web", invalid, MERGE, dryRun="All")).code == 422


def test_who_applies_owns_and_who_wants_the_same_must_force(admin: Client, deployments: str) -> None:
    path = f"{deployments}/web"
    admin.call("PATCH", path, deployment("web", V1, 2), APPLY, fieldManager="alice")
    three = {**deployment("web", V1, 3)}
    conflict = refused(lambda: admin.call("PATCH", path, three, APPLY, fieldManager="bob"))
    assert (conflict.code, conflict.status["reason"]) == (409, "Conflict")
    assert [(one["reason"], one["field"]) for one in conflict.status["details"]["causes"]] == [
        ("FieldManagerConflict", ".spec.replicas")
    ]
    assert "alice" in conflict.status["message"]
    forced = admin.call("PATCH", path, three, APPLY, fieldManager="bob", force="true")
    assert forced["spec"]["replicas"] == 3
    assert refused(lambda: admin.call("PATCH", path, three, APPLY)).code in (400, 422)


def test_what_is_applied_no_more_goes_unless_another_owns_it(admin: Client, maps: str) -> None:
    admin.call("PATCH", f"{maps}/a", config_map("a", x="1", y="1"), APPLY, fieldManager="alice")
    admin.call("PATCH", f"{maps}/a", config_map("a", y="1"), APPLY, fieldManager="bob")
    left = admin.call("PATCH", f"{maps}/a", config_map("a", z="1"), APPLY, fieldManager="alice")
    assert left["data"] == {"y": "1", "z": "1"}


def test_an_ordinary_write_takes_a_field_from_who_applied_it(admin: Client, maps: str) -> None:
    admin.call("PATCH", f"{maps}/a", config_map("a", x="1"), APPLY, fieldManager="alice")
    admin.call("PATCH", f"{maps}/a", {"data": {"x": "2"}}, MERGE, fieldManager="carol")
    again = refused(lambda: admin.call("PATCH", f"{maps}/a", config_map("a", x="1"), APPLY, fieldManager="alice"))
    assert (again.code, again.status["details"]["causes"][0]["field"]) == (409, ".data.x")
    assert "carol" in again.status["message"]


def test_a_watch_tells_what_comes_after_its_version(admin: Client, maps: str) -> None:
    admin.call("POST", maps, config_map("before", x="1"))
    version = admin.call("GET", maps)["metadata"]["resourceVersion"]
    watching = admin.watch(maps, 60, resourceVersion=version)
    admin.call("POST", maps, config_map("a", x="1"))
    admin.call("PATCH", f"{maps}/a", {"data": {"x": "2"}}, MERGE)
    admin.call("DELETE", f"{maps}/a")
    seen = []
    for event in watching:
        if event["object"]["metadata"]["name"] == "a":
            seen.append((event["type"], event["object"]["data"]["x"]))
        if event["type"] == "DELETED":
            break
    assert seen == [("ADDED", "1"), ("MODIFIED", "2"), ("DELETED", "2")]


def test_a_watch_may_begin_with_what_is_there(admin: Client, maps: str) -> None:
    admin.call("POST", maps, {**config_map("a", x="1"), "metadata": {"name": "a", "labels": {"mine": "yes"}}})
    asked = {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan", "allowWatchBookmarks": "true"}
    events = []
    for event in admin.watch(maps, 60, labelSelector="mine=yes", **asked):
        events.append(event)
        if event["type"] == "BOOKMARK":
            break
    assert [(event["type"], event["object"]["metadata"].get("name")) for event in events[:-1]] == [("ADDED", "a")]
    annotations = events[-1]["object"]["metadata"]["annotations"]
    assert annotations["k8s.io/initial-events-end"] == "true"


def test_a_watch_from_too_long_ago_is_gone(admin: Client, maps: str) -> None:
    event = next(admin.watch(maps, 60, resourceVersion="1"))
    assert (event["type"], event["object"]["code"]) == ("ERROR", 410)


def test_a_watch_by_labels_tells_what_comes_in_and_goes_out(admin: Client, maps: str) -> None:
    version = admin.call("GET", maps)["metadata"]["resourceVersion"]
    watching = admin.watch(maps, 60, resourceVersion=version, labelSelector="colour=green")
    admin.call("POST", maps, config_map("a", x="1"))
    for colour in ("green", "blue"):
        admin.call("PATCH", f"{maps}/a", {"metadata": {"labels": {"colour": colour}}}, MERGE)
    assert [next(watching)["type"] for _ in range(2)] == ["ADDED", "DELETED"]


def test_a_watch_ends_at_its_time(admin: Client, maps: str) -> None:
    began = time.monotonic()
    version = admin.call("GET", maps)["metadata"]["resourceVersion"]
    # A controller puts a map of its own into each namespace.
    assert list(admin.watch(maps, 1, resourceVersion=version, labelSelector="colour=green")) == []
    assert 0.5 < time.monotonic() - began < 30


def test_lists_are_selected_and_paged(admin: Client, maps: str) -> None:
    for number in range(3):
        labels = {"number": str(number)}
        admin.call("POST", maps, {**config_map(f"m{number}"), "metadata": {"name": f"m{number}", "labels": labels}})

    def names(**query: str) -> list[str]:
        return [
            one["metadata"]["name"]
            for one in admin.call("GET", maps, **query)["items"]
            if "number" in (one["metadata"].get("labels") or {})
        ]

    assert names(labelSelector="number=1") == ["m1"]
    assert names(labelSelector="number!=1") == ["m0", "m2"]
    assert names(labelSelector="number in (0,2)") == ["m0", "m2"]
    assert names(labelSelector="number notin (0,2),number") == ["m1"]
    assert names(labelSelector="!number") == []
    assert names(fieldSelector="metadata.name=m2") == ["m2"]
    page = admin.call("GET", maps, limit=2, labelSelector="number")
    rest = admin.call("GET", maps, limit=2, labelSelector="number", **{"continue": page["metadata"]["continue"]})
    assert [one["metadata"]["name"] for one in page["items"] + rest["items"]] == ["m0", "m1", "m2"]


def test_a_lease_is_taken_by_compare_and_swap(admin: Client, namespace: str) -> None:
    path = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
    lease = {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": "shop"},
        "spec": {"holderIdentity": "a", "leaseDurationSeconds": 15, "leaseTransitions": 0},
    }
    made = admin.call("POST", path, lease)
    assert refused(lambda: admin.call("POST", path, lease)).code == 409
    taken = admin.call("PUT", f"{path}/shop", {**made, "spec": {**made["spec"], "holderIdentity": "b"}})
    assert refused(lambda: admin.call("PUT", f"{path}/shop", {**made, "spec": {"holderIdentity": "c"}})).code == 409
    assert taken["spec"]["holderIdentity"] == "b"
    nothing = {"spec": {"leaseDurationSeconds": 0}}
    assert refused(lambda: admin.call("PATCH", f"{path}/shop", nothing, MERGE)).code == 422


def test_a_delete_with_a_precondition_that_fails_deletes_nothing(admin: Client, maps: str) -> None:
    made = admin.call("POST", maps, config_map("a", x="1"))
    admin.call("PATCH", f"{maps}/a", {"data": {"x": "2"}}, MERGE)
    stale = {"preconditions": {"resourceVersion": made["metadata"]["resourceVersion"]}}
    assert refused(lambda: admin.call("DELETE", f"{maps}/a", stale)).code == 409
    admin.call("DELETE", f"{maps}/a", {"preconditions": {"uid": made["metadata"]["uid"]}})
    assert refused(lambda: admin.call("GET", f"{maps}/a")).status["reason"] == "NotFound"


def test_a_delete_with_a_body_is_a_dry_run_only_where_the_body_says_so(admin: Client, maps: str) -> None:
    made = admin.call("POST", maps, config_map("a", x="1"))
    options = {"preconditions": {"uid": made["metadata"]["uid"]}}
    admin.call("DELETE", f"{maps}/a", dryRun="All")
    admin.call("DELETE", f"{maps}/a", {**options, "dryRun": ["All"]})
    assert admin.call("GET", f"{maps}/a") == made
    # The trap: the query is not looked at.
    admin.call("DELETE", f"{maps}/a", options, dryRun="All")
    assert refused(lambda: admin.call("GET", f"{maps}/a")).code == 404


def test_a_finalizer_keeps_what_is_deleted(admin: Client, maps: str) -> None:
    admin.call("POST", maps, {**config_map("a"), "metadata": {"name": "a", "finalizers": ["example.com/keep"]}})
    admin.call("DELETE", f"{maps}/a")
    assert admin.call("GET", f"{maps}/a")["metadata"]["deletionTimestamp"]
    admin.call("PATCH", f"{maps}/a", {"metadata": {"finalizers": None}}, MERGE)
    assert refused(lambda: admin.call("GET", f"{maps}/a")).code == 404


def test_scale_is_compare_and_swap_too(admin: Client, deployments: str, until: Until) -> None:
    admin.call("POST", deployments, deployment("web", V1, 1))

    def scaled() -> Any:
        scale = admin.call("GET", f"{deployments}/web/scale")
        assert (scale["kind"], scale["spec"]["replicas"]) == ("Scale", 1)
        scale["spec"]["replicas"] = 2
        try:
            return scale, admin.call("PUT", f"{deployments}/web/scale", scale)
        except RefusedError as error:
            # Its controller has just written its status.
            if error.code != 409:
                raise
            return None

    scale, after = until(scaled)
    assert after["spec"]["replicas"] == 2
    assert admin.call("GET", f"{deployments}/web")["spec"]["replicas"] == 2
    assert refused(lambda: admin.call("PUT", f"{deployments}/web/scale", scale)).code == 409


def test_a_status_is_written_by_its_own_way_alone(admin: Client, services: str, namespace: str) -> None:
    path = f"/apis/autoscaling/v2/namespaces/{namespace}/horizontalpodautoscalers"
    spec = {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "none"}, "maxReplicas": 3}
    kind = {"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "web"}}
    made = admin.call("POST", path, {**kind, "spec": spec, "status": {"desiredReplicas": 9, "currentReplicas": 9}})
    assert made.get("status", {}).get("desiredReplicas", 0) == 0
    told = {"spec": {"maxReplicas": 9}, "status": {"desiredReplicas": 2, "currentReplicas": 2}}
    after = admin.call("PATCH", f"{path}/web/status", told, MERGE)
    assert after["status"]["desiredReplicas"] == 2
    assert after["spec"]["maxReplicas"] == 3
    assert services


@pytest.mark.parametrize(
    ("collection", "document", "field"),
    [
        ("services", {**service("web", V1), "spec": {"ports": [{"port": 99999}]}}, "spec.ports[0].port"),
        ("services", {**service("Web", V1)}, "metadata.name"),
        ("services", service("web", {"version": "not a label"}), "spec.selector"),
        ("configmaps", config_map("a", **{"a b": "x"}), "data[a b]"),
    ],
)
def test_what_is_invalid_is_refused_with_its_field(
    admin: Client, namespace: str, collection: str, document: dict[str, Any], field: str
) -> None:
    error = refused(lambda: admin.call("POST", f"/api/v1/namespaces/{namespace}/{collection}", document))
    assert (error.code, error.status["reason"]) == (422, "Invalid")
    assert field in {cause["field"] for cause in error.status["details"]["causes"]}


def test_an_object_of_other_types_cannot_be_read(admin: Client, services: str) -> None:
    error = refused(lambda: admin.call("POST", services, service("web", {"version": 1})))  # type: ignore[dict-item]
    assert (error.code, error.status["reason"]) == (400, "BadRequest")


def test_a_deployment_needs_what_makes_it_one(admin: Client, deployments: str) -> None:
    wrong = deployment("web", V1)
    wrong["spec"]["template"]["metadata"]["labels"] = V2
    assert refused(lambda: admin.call("POST", deployments, wrong)).code == 422
    admin.call("POST", deployments, deployment("web", V1, 0))
    other = {"spec": {"selector": {"matchLabels": V2}, "template": {"metadata": {"labels": V2}}}}
    error = refused(lambda: admin.call("PATCH", f"{deployments}/web", other, MERGE))
    assert (error.code, error.status["details"]["causes"][0]["field"]) == (422, "spec.selector")


def test_a_selector_without_labels_is_none(admin: Client, services: str) -> None:
    assert "selector" not in admin.call("POST", services, service("web", {}))["spec"]


def test_a_loopback_address_is_no_endpoint(admin: Client, namespace: str) -> None:
    kind = {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": {"name": "a"}}
    document = {**kind, "addressType": "IPv4", "endpoints": [{"addresses": ["127.0.0.1"]}]}
    path = f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices"
    assert refused(lambda: admin.call("POST", path, document)).code == 422


def test_endpoints_follow_the_pods_that_a_service_selects(
    admin: Client, namespace: str, services: str, deployments: str, until: Until
) -> None:
    for name, labels, count in (("blue", V1, 2), ("green", V2, 1)):
        admin.call("POST", deployments, deployment(name, labels, count))
    admin.call("POST", services, service("web", V1))
    slices = f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices"

    def ready() -> list[str]:
        found = admin.call("GET", slices, labelSelector="kubernetes.io/service-name=web")["items"]
        endpoints = [endpoint for one in found for endpoint in one.get("endpoints") or ()]
        return sorted(one["targetRef"]["name"].partition("-")[0] for one in endpoints if one["conditions"]["ready"])

    until(lambda: ready() == ["blue", "blue"])
    admin.call("PATCH", f"{services}/web", {"spec": {"selector": {"version": "v2"}}}, MERGE)
    until(lambda: ready() == ["green"])
    admin.call("PATCH", f"{deployments}/green", {"spec": {"replicas": 3}}, MERGE)
    until(lambda: ready() == ["green"] * 3)
    pods = f"/api/v1/namespaces/{namespace}/pods"
    name = admin.call("GET", pods, labelSelector="version=v2")["items"][0]["metadata"]["name"]
    admin.call("PATCH", f"{pods}/{name}", {"metadata": {"annotations": {"tests/ready": "false"}}}, MERGE)
    until(lambda: ready() == ["green"] * 2)


def test_a_deployment_that_was_complete_and_is_scaled_up_is_never_called_late(
    admin: Client, deployments: str, until: Until
) -> None:
    document = deployment("web", V1, 0)
    document["spec"]["progressDeadlineSeconds"] = 1
    document["spec"]["template"]["metadata"].setdefault("annotations", {})["tests/ready"] = "false"
    admin.call("POST", deployments, document)

    def reason() -> Any:
        status = admin.call("GET", f"{deployments}/web").get("status", {})
        return {one["type"]: one.get("reason") for one in status.get("conditions") or ()}.get("Progressing")

    until(lambda: reason() == "NewReplicaSetAvailable")
    admin.call("PATCH", f"{deployments}/web", {"spec": {"replicas": 1}}, MERGE)
    until(lambda: admin.call("GET", f"{deployments}/web")["status"].get("unavailableReplicas") == 1)
    time.sleep(1.5)
    assert reason() == "NewReplicaSetAvailable"


def test_a_rollout_that_gets_nowhere_says_so(admin: Client, deployments: str, until: Until) -> None:
    document = deployment("web", V1, 1)
    admin.call("POST", deployments, document)

    def ready() -> bool:
        return bool(admin.call("GET", f"{deployments}/web").get("status", {}).get("readyReplicas") == 1)

    until(ready)
    annotations = {"tests/ready": "false"}
    stuck = {"progressDeadlineSeconds": 1, "minReadySeconds": 0}
    patch = {"spec": {**stuck, "template": {"metadata": {"annotations": annotations}}}}
    admin.call("PATCH", f"{deployments}/web", patch, STRATEGIC)

    def late() -> bool:
        status = admin.call("GET", f"{deployments}/web")["status"]
        reasons = {one["type"]: one.get("reason") for one in status.get("conditions") or ()}
        return reasons.get("Progressing") == "ProgressDeadlineExceeded" and status["readyReplicas"] == 1

    until(late)


def test_an_autoscaler_keeps_its_minimum(admin: Client, namespace: str, deployments: str, until: Until) -> None:
    admin.call("POST", deployments, deployment("web", V1, 1))
    spec = {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
        "minReplicas": 3,
        "maxReplicas": 10,
        "metrics": [
            {
                "type": "Resource",
                "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}},
            }
        ],
    }
    kind = {"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "web"}}
    admin.call("POST", f"/apis/autoscaling/v2/namespaces/{namespace}/horizontalpodautoscalers", {**kind, "spec": spec})
    # A real one looks every 15 s.
    until(lambda: admin.call("GET", f"{deployments}/web")["spec"]["replicas"] == 3)


def test_who_has_no_role_is_refused_and_a_token_that_is_none_too(
    cluster: Cluster, admin: Client, namespace: str, until: Until
) -> None:
    base = f"/api/v1/namespaces/{namespace}"
    roles = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}"
    for name in ("web", "other"):
        admin.call("POST", f"{base}/services", service(name, V1))
    admin.call("POST", f"{base}/serviceaccounts", {"metadata": {"name": "guard"}})
    asked = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 600}}
    token = admin.call("POST", f"{base}/serviceaccounts/guard/token", asked)["status"]["token"]
    guard = Client(cluster.kubeconfig, token)
    error = refused(lambda: guard.call("GET", f"{base}/services/web"))
    assert (error.code, error.status["reason"]) == (403, "Forbidden")
    assert f'User "system:serviceaccount:{namespace}:guard" cannot get resource "services"' in error.status["message"]
    rules = [{"apiGroups": [""], "resources": ["services"], "resourceNames": ["web"], "verbs": ["get", "patch"]}]
    admin.call("POST", f"{roles}/roles", {"metadata": {"name": "guard"}, "rules": rules})
    binding = {
        "metadata": {"name": "guard"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "guard"},
        "subjects": [{"kind": "ServiceAccount", "name": "guard", "namespace": namespace}],
    }
    admin.call("POST", f"{roles}/rolebindings", binding)

    def patched() -> Any:
        # A real server needs a moment to see a new role.
        try:
            return guard.call("PATCH", f"{base}/services/web", {"spec": {"selector": V2}}, MERGE)
        except RefusedError:
            return None

    assert until(patched)["spec"]["selector"] == V2
    for method, path in (
        ("PATCH", "services/other"),
        ("DELETE", "services/web"),
        ("GET", "services"),
        ("GET", "secrets/x"),
    ):
        body = {} if method == "PATCH" else None
        assert (
            refused(lambda method=method, path=path, body=body: guard.call(method, f"{base}/{path}", body, MERGE)).code
            == 403
        )
    # Nor may an account give what it does not have.
    mine = [{"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles"], "verbs": ["create"]}]
    rules = [*rules, *mine]
    admin.call("PATCH", f"{roles}/roles/guard", {"rules": rules}, MERGE)
    given = [{"apiGroups": [""], "resources": ["services"], "resourceNames": ["web"], "verbs": ["get"]}]
    more = [{**given[0], "resourceNames": ["other"]}]

    def may_create() -> bool:
        try:
            return bool(guard.call("POST", f"{roles}/roles", {"metadata": {"name": "less"}, "rules": given}))
        except RefusedError:
            return False

    until(may_create)
    error = refused(lambda: guard.call("POST", f"{roles}/roles", {"metadata": {"name": "more"}, "rules": more}))
    assert (error.code, "not currently held" in error.status["message"]) == (403, True)
    # To watch one object a right to that object is enough.
    admin.call("PATCH", f"{roles}/roles/guard", {"rules": [{**given[0], "verbs": ["get", "list", "watch"]}]}, MERGE)

    def may_list() -> bool:
        try:
            return len(guard.call("GET", f"{base}/services", fieldSelector="metadata.name=web")["items"]) == 1
        except RefusedError:
            return False

    until(may_list)
    assert refused(lambda: guard.call("GET", f"{base}/services", fieldSelector="metadata.name=other")).code == 403
    nobody = Client(cluster.kubeconfig, "no-such-token")
    assert refused(lambda: nobody.call("GET", f"{base}/services/web")).code == 401


def test_nothing_new_comes_into_a_namespace_that_goes(admin: Client, namespace: str, maps: str) -> None:
    admin.call("POST", maps, {**config_map("stays"), "metadata": {"name": "stays", "finalizers": ["example.com/keep"]}})
    admin.call("DELETE", f"/api/v1/namespaces/{namespace}")
    error = refused(lambda: admin.call("POST", maps, config_map("late")))
    assert error.code == 403
    assert error.status["details"]["causes"][0]["reason"] == "NamespaceTerminating"
    admin.call("PATCH", f"{maps}/stays", {"metadata": {"finalizers": None}}, MERGE)
    missing = refused(lambda: admin.call("POST", f"/api/v1/namespaces/{namespace}-none/configmaps", config_map("a")))
    assert missing.code == 404


def test_a_secret_is_stored_as_base64(admin: Client, namespace: str) -> None:
    document = {"metadata": {"name": "a"}, "stringData": {"password": "x y"}}
    made = admin.call("POST", f"/api/v1/namespaces/{namespace}/secrets", document)
    assert made["data"] == {"password": base64.b64encode(b"x y").decode()}
    assert made["type"] == "Opaque"


def test_a_kind_can_be_defined(admin: Client, namespace: str, until: Until) -> None:
    definition = json.loads((Path(__file__).parent / "httproute.json").read_text())
    crds = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    admin.call(
        "PATCH", f"{crds}/{definition['metadata']['name']}", definition, APPLY, fieldManager="tests", force="true"
    )
    path = f"/apis/gateway.networking.k8s.io/v1/namespaces/{namespace}/httproutes"

    def known() -> bool:
        try:
            return bool(admin.call("GET", path)["kind"])
        except RefusedError:
            return False

    until(known)
    kind = {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": {"name": "web"}}
    backends = [{"name": "blue", "port": 80, "weight": 100}, {"name": "green", "port": 80, "weight": 0}]
    made = admin.call(
        "POST", path, {**kind, "spec": {"parentRefs": [{"name": "front"}], "rules": [{"backendRefs": backends}]}}
    )
    assert made["metadata"]["generation"] == 1
    wrong = {"spec": {"rules": [{"backendRefs": [{"name": "blue", "port": 80, "weight": -1}]}]}}
    assert refused(lambda: admin.call("PATCH", f"{path}/web", wrong, MERGE)).code == 422
    assert refused(lambda: admin.call("PATCH", f"{path}/web", {}, STRATEGIC)).code == 415
    status = {"status": {"parents": []}}
    assert admin.call("PATCH", f"{path}/web/status", status, MERGE)["metadata"]["generation"] == 1
