# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kubernetes objects without what the server and its controllers set (R-B2)."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.bluegreen.cutover.plugins.module_utils._core import objects

SET = {
    "uid": "1",
    "resourceVersion": "2",
    "generation": 3,
    "creationTimestamp": "2026-01-01T00:00:00Z",
    "managedFields": [{}],
    "namespace": "shop",
    "selfLink": "/x",
    "finalizers": ["a/b"],
}


def made(kind: str, name: str = "web", **more: Any) -> dict[str, Any]:
    metadata = {**SET, "name": name, **more.pop("metadata", {})}
    return {"apiVersion": "v1", "kind": kind, "metadata": metadata, "status": {"x": 1}, **more}


def test_what_the_server_sets_is_left_out() -> None:
    annotations = {"deployment.kubernetes.io/revision": "7", "bluegreen.cutover/token": "9"}
    found = objects.clean(made("ConfigMap", data={"a": "b"}, metadata={"annotations": {**annotations, "mine": "1"}}))
    metadata = {"name": "web", "annotations": {"mine": "1"}}
    assert found == {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"a": "b"}}
    assert "annotations" not in objects.clean(made("ConfigMap", metadata={"annotations": annotations}))["metadata"]


@pytest.mark.parametrize(
    ("kind", "before", "after"),
    [
        ("Service", {"clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"], "type": "ClusterIP"}, {"type": "ClusterIP"}),
        ("Service", {"clusterIP": "None", "clusterIPs": ["None"]}, {"clusterIP": "None", "clusterIPs": ["None"]}),
        ("Service", {"type": "NodePort", "ports": [{"nodePort": 30000}]}, None),
        ("PersistentVolumeClaim", {"volumeName": "pv-1", "storageClassName": "fast"}, {"storageClassName": "fast"}),
    ],
)
def test_addresses_and_volumes_that_were_given_are_left_out_and_those_asked_for_are_kept(
    kind: str, before: dict[str, Any], after: dict[str, Any] | None
) -> None:
    assert objects.clean(made(kind, spec=before))["spec"] == (before if after is None else after)


def test_a_namespace_has_its_labels_and_an_account_no_tokens() -> None:
    own = {"kubernetes.io/metadata.name": "shop"}
    assert objects.clean(made("Namespace", "shop", metadata={"labels": own}, spec={}))["metadata"] == {"name": "shop"}
    labelled = objects.clean(made("Namespace", "shop", metadata={"labels": {**own, "team": "a"}}))
    assert labelled["metadata"]["labels"] == {"team": "a"}
    assert "secrets" not in objects.clean(made("ServiceAccount", secrets=[{"name": "t"}], imagePullSecrets=[]))


@pytest.mark.parametrize(
    ("resource", "document", "why"),
    [
        ("replicasets.apps", made("ReplicaSet", metadata={"ownerReferences": [{"controller": True}]}), "its owner"),
        ("x.example", made("X", metadata={"ownerReferences": [{"kind": "Pod"}]}), "its owner"),
        ("configmaps", made("ConfigMap", metadata={"ownerReferences": [{"kind": "Deployment"}]}), ""),
        ("configmaps", made("ConfigMap", metadata={"labels": objects.OURS}), "this collection"),
        ("configmaps", made("ConfigMap", "kube-root-ca.crt"), "each namespace"),
        ("secrets", made("Secret", type="kubernetes.io/service-account-token"), "a token"),
        ("secrets", made("Secret", type="Opaque"), ""),
        ("endpoints", made("Endpoints"), "its Service"),
        ("endpoints", made("Endpoints", "outside"), ""),
        (
            "endpointslices.discovery.k8s.io",
            made(
                "EndpointSlice",
                metadata={"labels": {"endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io"}},
            ),
            "its Service",
        ),
        ("services", made("Service", metadata={"deletionTimestamp": "2026-01-01T00:00:00Z"}), "being deleted"),
    ],
)
def test_what_is_left_out(resource: str, document: dict[str, Any], why: str) -> None:
    found = objects.why_left_out(resource, document, frozenset({"outside"}))
    assert (why in found) if why else not found


def test_what_replaces_an_object_has_what_was_set_there() -> None:
    spec = {"clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"], "selector": {"v": "2"}}
    live = made("Service", spec=spec, metadata={"annotations": {"bluegreen.cutover/token": "9", "theirs": "1"}})
    wanted = objects.clean(made("Service", spec={"selector": {"v": "1"}}))
    found = objects.carried(wanted, live)
    assert found["spec"] == {**spec, "selector": {"v": "1"}}
    assert found["metadata"]["annotations"] == {"bluegreen.cutover/token": "9"}
    assert (found["metadata"]["resourceVersion"], found["metadata"]["finalizers"]) == ("2", ["a/b"])
    account = objects.carried(objects.clean(made("ServiceAccount")), made("ServiceAccount", secrets=[{"name": "t"}]))
    assert account["secrets"] == [{"name": "t"}]
    place = objects.carried(objects.clean(made("Namespace")), made("Namespace", spec={"finalizers": ["kubernetes"]}))
    assert place["spec"] == {"finalizers": ["kubernetes"]}


def test_what_is_stopped_while_data_is_restored_stays_so_and_gets_the_snapshots_number_later() -> None:
    """R-E7: pods that a restore starts would write to the parts that are not restored yet."""
    note = {"bluegreen.cutover/stopped-replicas": "5"}
    live = made("Deployment", spec={"replicas": 0, "paused": True}, metadata={"annotations": note})
    assert objects.clean(live)["spec"] == {"replicas": 5, "paused": True}
    wanted = objects.clean(made("Deployment", spec={"replicas": 3}))
    found = objects.carried(wanted, live)
    assert found["spec"] == {"replicas": 0}
    assert found["metadata"]["annotations"] == {"bluegreen.cutover/stopped-replicas": "3"}
    assert objects.clean(found) == wanted
    # Where an autoscaler decides that, it gets what it had.
    kept = objects.carried(objects.with_replicas_of(wanted, objects.clean(live)), live)
    assert (kept["spec"], kept["metadata"]["annotations"]) == ({"replicas": 0}, note)


def _shop(replicas: int, *, scaled: bool = True, word: str = "a") -> dict[objects.Key, objects.Document]:
    web = made("Deployment", spec={"replicas": replicas})
    scaler = made("HorizontalPodAutoscaler", spec={"scaleTargetRef": {"kind": "Deployment", "name": "web"}})
    found = {
        ("deployments.apps", "web"): web,
        ("persistentvolumeclaims", "data"): made("PersistentVolumeClaim"),
        ("secrets", "db"): made("Secret", data={"password": word}),
        **({("horizontalpodautoscalers.autoscaling", "web"): scaler} if scaled else {}),
    }
    return {key: objects.clean(one) for key, one in found.items()}


def test_contents_tell_every_change_but_the_replicas_that_an_autoscaler_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "_SLOW", 2)
    before = objects.contents(_shop(2))
    assert objects.contents(_shop(3)) == before
    assert objects.contents(_shop(2, scaled=False)) != objects.contents(_shop(3, scaled=False))
    assert objects.contents(_shop(2, word="b"))["secrets"] != before["secrets"]
    assert (before["persistentvolumeclaims"].digest, before["persistentvolumeclaims"].at_least) == (None, True)
    assert before["secrets"].digest != objects.digests(_shop(2))["secrets", "db"]


def test_replicas_are_kept_where_there_are_any() -> None:
    wanted, live = _shop(2)["deployments.apps", "web"], _shop(5)["deployments.apps", "web"]
    assert objects.with_replicas_of(wanted, live)["spec"]["replicas"] == 5
    assert objects.with_replicas_of(wanted, made("Deployment", spec={})) is wanted


def test_a_trial_beside_the_real_one_has_neither_its_ports_nor_its_hosts() -> None:
    ported = objects.for_scratch(made("Service", spec={"ports": [{"port": 80, "nodePort": 30000}]}))
    assert ported["spec"]["ports"] == [{"port": 80}]
    routed = objects.for_scratch(made("Ingress", spec={"rules": [{"host": "shop.local"}, {}]}))
    assert routed["spec"]["rules"] == [{"host": "shop.local.bluegreen-scratch.invalid"}, {}]
    assert objects.for_scratch(routed) == routed


def test_what_others_need_is_made_first() -> None:
    keys = [("deployments.apps", "b"), ("secrets", "x"), ("namespaces", "n"), ("deployments.apps", "a")]
    ordered = objects.in_order({key: {} for key in keys})
    assert ordered == [("namespaces", "n"), ("secrets", "x"), ("deployments.apps", "a"), ("deployments.apps", "b")]
