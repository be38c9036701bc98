# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Environments of an application in new namespaces, against an API server (R-B4, R-B5, R-B6, R-B7, R-B10, R-B15)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.environments import make_environments
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import (
    EnvironmentRefusedError,
    InputError,
    SourceError,
)
from ansible_collections.bluegreen.cutover.plugins.module_utils._environment import Bringing
from ansible_collections.bluegreen.cutover.plugins.module_utils._kubernetes import connect
from cluster.client import MERGE, Client, RefusedError
from cluster.proxy import Fault, Proxy
from cluster.starting import Cluster

from .conftest import deployment, service, written
from .test_actions import ROOT, play

Until = Callable[..., Any]
GROUPS = {
    "deployments": "/apis/apps/v1",
    "horizontalpodautoscalers": "/apis/autoscaling/v2",
    "ingresses": "/apis/networking.k8s.io/v1",
}
PRODUCTION = {"requests": {"memory": "512Mi", "cpu": "500m"}, "limits": {"memory": "1Gi", "cpu": "1"}}
REQUIRED = {"SAFETY_RAILS_ENABLED": "true", "MONITORING": ""}


def path(namespace: str, plural: str, name: str = "") -> str:
    return f"{GROUPS.get(plural, '/api/v1')}/namespaces/{namespace}/{plural}" + (f"/{name}" if name else "")


@pytest.fixture
def old(admin: Client, namespace: str, until: Until) -> str:
    """The namespace that production has: an API with 3 to 10 replicas, its settings, and its host."""

    def make(plural: str, document: dict[str, Any]) -> None:
        admin.call("POST", path(namespace, plural), document)

    settings = {
        "SAFETY_RAILS_ENABLED": "true",
        "MONITORING": f"http://metrics.{namespace}.svc:9090",
        "REDIS_PREFIX": "nextstep:prod:",
        "DATABASE": "nextstep_production",
    }
    make("configmaps", {"metadata": {"name": "settings"}, "data": settings})
    make("secrets", {"metadata": {"name": "database"}, "stringData": {"password": "x"}})
    labels = {"app": "api", "environment": "old"}
    api = deployment("api", labels, 3)
    [container] = api["spec"]["template"]["spec"]["containers"]
    container["resources"] = PRODUCTION
    container["envFrom"] = [{"configMapRef": {"name": "settings"}}, {"secretRef": {"name": "database"}}]
    make("deployments", api)
    make("services", service("api", labels))
    reference = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "api"}
    target = {"type": "Utilization", "averageUtilization": 70}
    metrics = [{"type": "Resource", "resource": {"name": "cpu", "target": target}}]
    bounds = {"scaleTargetRef": reference, "minReplicas": 3, "maxReplicas": 10, "metrics": metrics}
    make("horizontalpodautoscalers", {"metadata": {"name": "api"}, "spec": bounds})
    backend = {"service": {"name": "api", "port": {"number": 80}}}
    rule = {"host": "nextstep.local", "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}}
    make("ingresses", {"metadata": {"name": "web"}, "spec": {"rules": [rule]}})
    until(
        lambda: (admin.call("GET", path(namespace, "deployments", "api")).get("status") or {}).get("readyReplicas") == 3
    )
    return namespace


@pytest.fixture
def new(admin: Client, old: str) -> Iterator[str]:
    """The name of the namespace that it gets, which has a Secret only."""
    name = f"{old}-new"
    admin.call("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
    admin.call("POST", path(name, "secrets"), {"metadata": {"name": "database"}, "stringData": {"password": "y"}})
    yield name
    admin.gone(f"/api/v1/namespaces/{name}")


def environments(old: str, new: str, **more: Any) -> dict[str, Any]:
    staging = {"source": f"{old}-staging", "namespace": f"{new}-staging", "database": "staging"}
    prod = {
        "source": old,
        "namespace": new,
        "hosts": {"nextstep.local": "nextstep.blueocean.local"},
        "names": {"api": "nextstep-api"},
        "labels": {"environment": "prod"},
        "database": "nextstep_production",
        "redis_prefix": "nextstep:prod:",
    }
    return {"staging": {**staging, "redis_prefix": "nextstep:staging:"}, "prod": {**prod, **more}}


def bring(kubeconfig: Path, old: str, new: str, application: str = "nextstep", **more: Any) -> dict[str, Any]:
    options = {name: more.pop(name) for name in ("manifests", "check_mode") if name in more}
    made = make_environments(environments(old, new, **more))
    return Bringing(connect(str(kubeconfig)), application, made, REQUIRED).bring("prod", **options)


def objects(admin: Client, namespace: str) -> dict[str, Any]:
    """Every object of a namespace."""
    plurals = ("configmaps", "secrets", "services", "deployments", "horizontalpodautoscalers", "ingresses")
    return {
        f"{plural}/{one['metadata']['name']}": written(one)
        for plural in plurals
        for one in admin.call("GET", path(namespace, plural))["items"]
    }


def test_an_environment_comes_to_its_namespace_and_its_source_is_as_it_was(
    cluster: Cluster, admin: Client, old: str, new: str, until: Until
) -> None:
    before = objects(admin, old)
    would = bring(cluster.kubeconfig, old, new, check_mode=True, quota={"requests.memory": "6Gi"})
    assert would["changed"]
    assert {one["done"] for one in would["objects"]} == {"created"}
    # Controllers put certificates into each namespace.
    assert {one for one in objects(admin, new) if not one.endswith("-ca.crt")} == {"secrets/database"}
    done = bring(cluster.kubeconfig, old, new, quota={"requests.memory": "6Gi"})
    assert (done["objects"], done["namespace"]) == (would["objects"], new)
    api = admin.call("GET", path(new, "deployments", "nextstep-api"))["spec"]
    assert api["selector"]["matchLabels"] == {"app": "api", "environment": "prod"}
    assert api["template"]["spec"]["containers"][0]["resources"] == PRODUCTION
    scaler = admin.call("GET", path(new, "horizontalpodautoscalers", "nextstep-api"))["spec"]
    assert (scaler["scaleTargetRef"]["name"], scaler["minReplicas"], scaler["maxReplicas"]) == ("nextstep-api", 3, 10)
    settings = admin.call("GET", path(new, "configmaps", "settings"))["data"]
    assert settings["MONITORING"] == f"http://metrics.{new}.svc:9090"
    [rule] = admin.call("GET", path(new, "ingresses", "web"))["spec"]["rules"]
    assert (rule["host"], rule["http"]["paths"][0]["backend"]["service"]["name"]) == (
        "nextstep.blueocean.local",
        "nextstep-api",
    )
    assert admin.call("GET", path(new, "resourcequotas", "bluegreen-environment"))["spec"]["hard"] == {
        "requests.memory": "6Gi"
    }
    until(lambda: admin.call("GET", path(new, "deployments", "nextstep-api"))["spec"]["replicas"] == 3)
    again = bring(cluster.kubeconfig, old, new, quota={"requests.memory": "6Gi"})
    assert (again["changed"], {one["done"] for one in again["objects"]}) == (False, {"as it is"})
    assert objects(admin, old) == before


def test_less_than_before_is_refused_and_nothing_is_touched(
    cluster: Cluster, admin: Client, old: str, new: str
) -> None:
    manifests = [admin.call("GET", path(old, plural, "api")) for plural in ("deployments", "horizontalpodautoscalers")]
    less, bounds = manifests
    less["spec"]["template"]["spec"]["containers"][0]["resources"] = {"requests": {"memory": "256Mi", "cpu": "0.5"}}
    bounds["spec"]["minReplicas"] = 1
    bounds["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"] = 80
    settings = admin.call("GET", path(old, "configmaps", "settings"))
    settings["data"] |= {"SAFETY_RAILS_ENABLED": "false", "REDIS_PREFIX": "nextstep:staging:"}
    with pytest.raises(EnvironmentRefusedError) as caught:
        bring(cluster.kubeconfig, old, new, manifests=[{"kind": "List", "items": [*manifests, settings]}])
    told = "\n".join(caught.value.evidence["problems"])
    for expected in (
        f"memory in requests of container app would be 256Mi, and is 512Mi in {old}",
        "memory in limits of container app would be none, and is 1Gi",
        "minReplicas would be 1, and is 3",
        "target of cpu would be 80 %, and is 70 %",
        "ConfigMap settings has SAFETY_RAILS_ENABLED='false'; 'true' is required",
        "REDIS_PREFIX of ConfigMap settings names the Redis prefix of staging",
    ):
        assert expected in told
    assert "cpu in requests" not in told
    # Controllers put certificates into each namespace.
    assert {one for one in objects(admin, new) if not one.endswith("-ca.crt")} == {"secrets/database"}


def test_what_is_missing_is_told_before_a_namespace_is_made(
    cluster: Cluster, admin: Client, old: str, new: str
) -> None:
    elsewhere = f"{new}-2"
    with pytest.raises(EnvironmentRefusedError, match="the Secret database is needed by a workload") as caught:
        bring(cluster.kubeconfig, old, elsewhere, hosts={}, settings={"NOWHERE": "1"}, quota={"pods": "9"})
    told = " ".join(caught.value.evidence["problems"])
    assert "Ingress web is for the host nextstep.local" in told
    assert "prod.settings has NOWHERE" in told
    assert "prod.quota allows pods 9, and all that is adapted needs 10" in told
    with pytest.raises(RefusedError):
        admin.call("GET", f"/api/v1/namespaces/{elsewhere}")


def test_what_others_have_written_is_a_conflict(cluster: Cluster, admin: Client, old: str, new: str) -> None:
    bring(cluster.kubeconfig, old, new)
    # Somebody has switched traffic since.
    switched = {"spec": {"selector": {"environment": "next"}}}
    admin.call("PATCH", path(new, "services", "nextstep-api"), switched, MERGE, fieldManager="bluegreen.cutover")
    with pytest.raises(EnvironmentRefusedError, match='conflict with "bluegreen.cutover"'):
        bring(cluster.kubeconfig, old, new)
    assert admin.call("GET", path(new, "services", "nextstep-api"))["spec"]["selector"]["environment"] == "next"
    admin.call("PATCH", path(old, "configmaps", "settings"), {"data": {"MODE": "fast"}}, MERGE)
    with pytest.raises(EnvironmentRefusedError, match='conflict with "bluegreen.cutover-nextstep"'):
        bring(cluster.kubeconfig, old, new, application="other", settings={"MODE": "slow"}, labels={"environment": "x"})


def test_more_that_is_there_already_is_not_lowered(cluster: Cluster, admin: Client, old: str, new: str) -> None:
    bring(cluster.kubeconfig, old, new)
    admin.call("PATCH", path(new, "horizontalpodautoscalers", "nextstep-api"), {"spec": {"minReplicas": 4}}, MERGE)
    with pytest.raises(EnvironmentRefusedError, match=f"minReplicas would be 3, and is 4 in {new}"):
        bring(cluster.kubeconfig, old, new)


def test_no_request_that_writes_ever_goes_to_a_source(proxied: tuple[Proxy, Path], old: str, new: str) -> None:
    proxy, kubeconfig = proxied
    lost = iter([True])
    proxy.fresh(lambda seen: Fault(cut="after") if seen.method == "PATCH" and next(lost, False) else None)
    assert bring(kubeconfig, old, new)["changed"]
    written = [one.path for one in proxy.requests if one.method != "GET"]
    assert len(written) >= 10
    assert all(f"/namespaces/{new}/" in one for one in written)
    # Whatever is wrong above, the last line of code before the request says no.
    proxy.fresh()
    made = make_environments(environments(old, new))
    bringing = Bringing(connect(str(kubeconfig)), "nextstep", made, REQUIRED)
    for namespace in (old, f"{old}-staging", "default"):
        document = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x", "namespace": namespace}}
        with pytest.raises(SourceError, match="nothing is ever written there"):
            bringing._apply(("configmaps", "x"), document)
        with pytest.raises(SourceError):
            bringing._make_namespace(namespace, {})
    assert proxy.requests == []


def test_the_playbook_brings_an_environment_in_its_slot_and_not_in_that_of_another(
    cluster: Cluster, admin: Client, old: str, new: str, tmp_path: Path
) -> None:
    for name in ("deployments", "horizontalpodautoscalers"):
        admin.call("DELETE", path(old, name, "api"))
    always = [{"from": "00:00", "to": "24:00"}]
    slot = {"namespace": new, "environment": "staging-shared", "slots": always, "zone": "Europe/Berlin"}
    variables = {
        "environment_kubeconfig": str(cluster.kubeconfig),
        "environment_name": "prod",
        "environment_all": environments(old, new),
        "environment_required": REQUIRED,
        "environment_slots": {"prod": slot},
    }
    file = tmp_path / "variables.yml"
    file.write_text(yaml.safe_dump(variables))

    def run(application: str, *options: str) -> tuple[int, list[dict[str, Any]]]:
        given = ("--extra-vars", f"@{file}", "--extra-vars", f"environment_application={application}", *options)
        return play(tmp_path, ROOT / "playbooks" / "environment.yml", *given)

    rc, (_checked, held, would, _not_freed) = run("nextstep", "--check", "--diff")
    assert (rc, held["changed"], would["changed"]) == (0, True, True)
    assert would["diff"]["after"]["ConfigMap/settings"]["data"]["DATABASE"] == "nextstep_production"
    assert "configmaps/settings" not in objects(admin, new)
    # What is refused leaves its slot to others.
    rc, (_checked, held, refused, freed) = run("nextstep", "--extra-vars", '{"environment_required": {"NOWHERE": ""}}')
    assert (rc, held["changed"], refused["reason"], freed["changed"]) == (2, True, "environment", True)
    rc, (_checked, held, done, _not_freed) = run("nextstep")
    assert (rc, held["slot"], done["changed"]) == (0, "00:00 to 24:00 daily", True)
    assert "configmaps/settings" in objects(admin, new)
    rc, (_checked, refused) = run("other")
    assert (rc, refused["reason"]) == (2, "slot")
    assert "used by nextstep until" in refused["msg"]


def test_manifests_of_other_kinds_are_told(cluster: Cluster, old: str, new: str) -> None:
    role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "all"}}
    with pytest.raises(InputError, match="manifests has ClusterRole all of rbac.authorization.k8s.io/v1"):
        bring(cluster.kubeconfig, old, new, manifests=[role])
