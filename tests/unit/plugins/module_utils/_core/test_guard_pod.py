# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The objects of a guard in a cluster: what it may, what it is told, what it tells (R-B13, R-D6, R-D8)."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.bluegreen.cutover.plugins.module_utils._core import guard_pod

ROUTERS: dict[str, dict[str, Any]] = {
    "k8s_service": {"name": "web"},
    "k8s_replicas": {"name": "web"},
    "k8s_httproute": {"name": "web"},
    "k8s_ingress": {"stable": "web", "canary": "web-canary"},
    "k8s_configmap": {"name": "flags"},
}
PATCHED = {
    "k8s_service": ("services", "web"),
    "k8s_replicas": ("services", "web"),
    "k8s_httproute": ("httproutes", "web"),
    "k8s_ingress": ("ingresses", "web-canary"),
    "k8s_configmap": ("configmaps", "flags"),
}


@pytest.mark.parametrize("provider", ROUTERS)
def test_what_it_may_change_is_named(provider: str) -> None:
    rules = guard_pod.rights("shop", {"provider": provider, "namespace": "shop", **ROUTERS[provider]})
    changing = [rule for rule in rules if not set(rule["verbs"]) <= {"get", "list", "watch"}]
    may = {(rule["resources"][0], name): set(rule["verbs"]) for rule in changing for name in rule["resourceNames"]}
    assert may == {
        PATCHED[provider]: {"get", "patch"},
        ("configmaps", "bluegreen-shop"): {"get", "list", "watch", "patch"},
        ("leases", "bluegreen-shop"): {"get", "update"},
        ("leases", "cutover-guard-shop"): {"patch"},
    }
    assert not {"secrets", "*"} & {resource for rule in rules for resource in rule["resources"]}
    assert all(len(rule["resources"]) == 1 for rule in rules)


def test_its_pod_is_nobody_and_has_what_it_was_given() -> None:
    job = guard_pod.job("shop", "web", "v1", image="python:3", secret="files")
    pod = job["spec"]["template"]["spec"]
    [container] = pod["containers"]
    assert container["image"] == "python:3"
    assert container["command"][-5:] == ["run", "web", "shop", guard_pod.ACCOUNT, "v1"]
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert pod["securityContext"]["runAsNonRoot"]
    assert [volume["name"] for volume in pod["volumes"]] == ["program", "secrets"]
    assert [volume["name"] for volume in guard_pod.job("shop", "web", "v1")["spec"]["template"]["spec"]["volumes"]] == [
        "program"
    ]
    assert job["metadata"]["name"] == pod["serviceAccountName"] == "cutover-guard-shop"


def test_a_plan_for_a_pod_names_the_files_of_its_secret() -> None:
    source = {"url": "http://p", "token_file": "/etc/p/token"}
    router = {"provider": "k8s_configmap", "kubeconfig": "/root/k", "context": "c", "token_file": "/etc/api/admin"}
    made = guard_pod.for_pod({"service": "shop", "router": router, "guard": {"time": 3, "prometheus": source}})
    assert made["router"] == {"provider": "k8s_configmap", "token_file": "/secrets/admin"}
    assert made["guard"] == {"time": 3, "prometheus": {"url": "http://p", "token_file": "/secrets/token"}}
    assert guard_pod.files(router) == ["/etc/api/admin"]


@pytest.mark.parametrize(
    "lease", [None, {"metadata": {}}, {"metadata": {"annotations": {guard_pod.PULSE: "{"}}},
              {"metadata": {"annotations": {guard_pod.PULSE: '{"token": "7"}'}}}]
)  # fmt: skip
def test_what_was_not_told_is_nothing(lease: Any) -> None:
    assert guard_pod.told(lease) is None


def test_what_is_told_is_read_again() -> None:
    seen = {"token": 7, "generation": 2, "at": 5.0, "problem": "p", "version": "v"}
    patch = guard_pod.pulse(seen, "pod-1", "2026-01-01T00:00:00.000000Z")
    assert guard_pod.told(patch) == seen
    assert patch["spec"]["holderIdentity"] == "pod-1"


def test_a_job_that_has_ended_starts_no_more_pods() -> None:
    def with_status(**status: Any) -> dict[str, Any]:
        return {"metadata": {}, "status": status}

    assert not guard_pod.is_ended({"metadata": {}})
    assert not guard_pod.is_ended(with_status(conditions=[{"type": "Complete", "status": "False"}]))
    assert guard_pod.is_ended(with_status(conditions=[{"type": "Failed", "status": "True"}]))
    assert guard_pod.is_ended({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}})


def test_an_object_has_what_is_wanted_of_it() -> None:
    found = {"metadata": {"name": "a", "uid": "u"}, "rules": [{"verbs": ["get"]}]}
    assert guard_pod.has(found, {"metadata": {"name": "a"}, "rules": [{"verbs": ["get"]}]})
    assert not guard_pod.has(found, {"metadata": {"name": "b"}})
    assert not guard_pod.has(found, {"rules": [{"verbs": ["get", "list"]}]})
    assert not guard_pod.has(found, {"spec": {}})


def test_another_program_or_object_is_another_version() -> None:
    versions = {guard_pod.version_of([{"a": 1}], b"x"), guard_pod.version_of([{"a": 2}], b"x")}
    assert len(versions | {guard_pod.version_of([{"a": 1}], b"y"), guard_pod.version_of([{"a": 1}], b"x")}) == 3


def test_what_keeps_a_pod_from_running_is_told() -> None:
    waiting = {"state": {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}}
    ended = {"state": {"terminated": {"reason": "Error", "exitCode": 1}}}
    unplaced = {"type": "PodScheduled", "status": "False", "message": "0/3 nodes are available"}
    pods = [
        {"metadata": {"name": "a"}, "status": {"containerStatuses": [waiting, ended]}},
        {"metadata": {"name": "b"}, "status": {"conditions": [unplaced]}},
        {"metadata": {"name": "c"}},
    ]
    assert guard_pod.why_not(pods) == [
        "a: waiting, ImagePullBackOff: no such image",
        "a: terminated, Error: 1",
        "b: not scheduled: 0/3 nodes are available",
    ]


def test_r_b8_an_image_that_may_become_another_is_told() -> None:
    assert f"is of {guard_pod.IMAGE}, which" in guard_pod.doubt(guard_pod.image_of({"image": None}))
    assert "is of example/python:3, which" in guard_pod.doubt(guard_pod.image_of({"image": "example/python:3"}))
    assert not guard_pod.doubt(guard_pod.image_of({"image": "example/python@sha256:" + "ab" * 32}))
