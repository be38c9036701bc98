# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What there is before anything is planned: facts, differences, refusals, and the page (R-B1)."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.discovery import (
    Found,
    check_colours,
    named_only,
    report,
)
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.discovery_page import page
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.environments import read_environments
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import InputError

DIGEST = "registry.example/api@sha256:" + "0" * 64
LABELS = {"app": "api", "version": "blue"}
COLOURS = {"blue": LABELS, "green": {"app": "api", "version": "green"}}
ENVIRONMENTS = {
    "dev": {"source": "old-dev", "namespace": "new-dev", "hosts": {"dev.x": "dev.y"}, "database": "shop_dev"},
    "prod": {
        "source": "old-prod",
        "namespace": "new-prod",
        "hosts": {"prod.x": "prod.y"},
        "redis_prefix": "shop:prod:",
    },
}


def thing(kind: str, name: str, **more: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": name}, **more}


def workload(name: str = "api", labels: dict[str, str] | None = None, **container: Any) -> dict[str, Any]:
    """A Deployment about which there is nothing to say."""
    whole = {
        "name": "app",
        "image": DIGEST,
        "resources": {"requests": {"cpu": "500m", "memory": "512Mi"}, "limits": {"memory": "1Gi"}},
        "readinessProbe": {},
        "env": [{"name": "DATABASE", "value": "shop_dev"}, {"name": "PREFIX", "value": "shop:prod:"}],
    }
    given = {key: one for key, one in {**whole, **container}.items() if one is not None}
    pods = {"metadata": {"labels": labels or LABELS}, "spec": {"containers": [given]}}
    spec = {"replicas": 3, "selector": {"matchLabels": labels or LABELS}, "template": pods}
    return thing("Deployment", name, spec=spec, status={"readyReplicas": 2, "updatedReplicas": 3, "replicas": 3})


def found(*documents: dict[str, Any]) -> Found:
    plurals = {
        "ConfigMap": "configmaps",
        "CronJob": "cronjobs.batch",
        "Deployment": "deployments.apps",
        "HorizontalPodAutoscaler": "horizontalpodautoscalers.autoscaling",
        "Ingress": "ingresses.networking.k8s.io",
        "PersistentVolumeClaim": "persistentvolumeclaims",
        "ResourceQuota": "resourcequotas",
        "Secret": "secrets",
        "Service": "services",
    }
    return Found({(plurals[one["kind"]], one["metadata"]["name"]): copy.deepcopy(one) for one in documents})


def told(*documents: dict[str, Any], colours: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """What is told of production, which has these, and of nothing else."""
    given, problems = read_environments({"prod": {**ENVIRONMENTS["prod"], **more}})
    its = report(given, problems, {"old-prod": found(*documents), "new-prod": None}, {}, colours or {})
    environment: dict[str, Any] = its["environments"]["prod"]
    return environment


def test_what_runs_is_told_with_what_it_needs_and_who_reaches_it() -> None:
    api = workload()
    api["spec"]["template"]["spec"]["volumes"] = [
        {"name": "data", "persistentVolumeClaim": {"claimName": "uploads"}},
        {"name": "tmp", "emptyDir": {}},
    ]
    target = {"type": "Utilization", "averageUtilization": 70}
    metrics = [{"type": "Resource", "resource": {"name": "cpu", "target": target}}]
    bounds = {
        "scaleTargetRef": {"kind": "Deployment", "name": "api"}, "minReplicas": 3, "maxReplicas": 10, "metrics": metrics
    }  # fmt: skip
    backend = {"service": {"name": "web", "port": {"number": 80}}}
    rules = [{"host": "prod.x", "http": {"paths": [{"backend": backend}]}}]
    claim = {"resources": {"requests": {"storage": "5Gi"}}, "storageClassName": "fast"}
    its = told(
        api,
        thing("HorizontalPodAutoscaler", "api", spec=bounds),
        thing("Service", "web", spec={"selector": {"app": "api"}, "ports": [{"port": 80}]}),
        thing("Service", "lost", spec={"selector": {"app": "nobody"}, "ports": [{"port": 80}]}),
        thing("Ingress", "web", spec={"rules": rules}),
        thing("PersistentVolumeClaim", "uploads", spec=claim),
        thing("ResourceQuota", "all", spec={"hard": {"pods": "9"}}, status={"used": {"pods": "3"}}),
        thing("ConfigMap", "kube-root-ca.crt", data={}),
        thing("CronJob", "nightly", spec={}),
    )
    source = its["source"]
    [one] = source["workloads"]
    assert (one["name"], one["ready"], one["replicas"], one["autoscaler"]) == ("api", 2, 3, "api")
    assert one["volumes"] == ["data: persistentVolumeClaim uploads", "tmp: emptyDir"]
    [container] = one["containers"]
    assert (container["by_digest"], container["probes"]) == (True, ["readiness"])
    assert container["requests"] == {"cpu": "500m", "memory": "512Mi"}
    assert source["autoscalers"] == [
        {"name": "api", "scales": "Deployment api", "least": 3, "most": 10, "metrics": ["cpu at 70 %"]}
    ]
    assert [(each["name"], each["selects"]) for each in source["services"]] == [
        ("lost", []),
        ("web", ["Deployment api"]),
    ]
    assert source["routes"] == [{"kind": "Ingress", "name": "web", "hosts": ["prod.x"], "backends": ["web"]}]
    assert source["claims"] == [{"name": "uploads", "size": "5Gi", "class": "fast"}]
    assert source["quotas"] == [{"name": "all", "hard": {"pods": "9"}, "used": {"pods": "3"}}]
    assert source["config_maps"] == []
    assert [each["object"] for each in its["left"]] == [
        "CronJob nightly", "PersistentVolumeClaim uploads", "ResourceQuota all"
    ]  # fmt: skip
    assert (its["target"], its["refused"]) == ({"namespace": "new-prod", "exists": False}, [])
    assert its["risks"] == ["Service lost selects app=nobody, which no workload's pods have"]


@pytest.mark.parametrize(
    ("container", "more", "expected"),
    [
        ({}, {}, ""),
        ({"image": "api:1"}, {}, "container app has the image api:1 by a tag"),
        ({"readinessProbe": None, "livenessProbe": {}}, {}, "Deployment api has no readiness probe"),
        ({"resources": {"requests": {"cpu": "1"}}}, {}, "requests no memory: nothing is kept for it"),
        ({"resources": {"limits": {"cpu": "1", "memory": "1Gi"}}}, {}, ""),
        (
            {"resources": None},
            {"quota": {"memory": "9Gi"}},
            "no cpu and no memory: nothing is kept for it, and no auto",
        ),
        ({"resources": None}, {"quota": {"requests.cpu": "9"}}, "and the quota of new-prod would refuse its pods"),
        ({"env": None}, {}, "no ConfigMap and no variable names the Redis prefix shop:prod:"),
    ],
)
def test_what_goes_wrong_without_being_refused_is_told(
    container: dict[str, Any], more: dict[str, Any], expected: str
) -> None:
    risks = told(workload(**container), **more)["risks"]
    assert len(risks) == bool(expected)
    assert expected in "".join(risks)


def test_a_deployment_whose_selector_cannot_tell_colours_apart_is_told() -> None:
    assert told(workload(), colours=COLOURS)["risks"] == []
    plain = workload()
    plain["spec"]["selector"]["matchLabels"] = {"app": "api"}
    [risk] = told(plain, colours=COLOURS)["risks"]
    assert risk.startswith("Deployment api selects its pods without version, by which the colours are told")
    # That of another application is none of a colour's.
    assert told(workload("cache", {"app": "cache"}), colours=COLOURS)["risks"] == []
    # Nobody needs to name the colours where there are two already.
    [risk] = told(plain, workload("api-green", COLOURS["green"]))["risks"]
    assert risk.startswith("Deployment api selects the pods of Deployment api-green, too")
    plain["spec"]["selector"]["matchExpressions"] = [{"key": "version", "operator": "NotIn", "values": ["green"]}]
    assert told(plain, workload("api-green", COLOURS["green"]), colours=COLOURS)["risks"] == []
    for wrong in ("v1", {"version": 1}):
        with pytest.raises(InputError, match="colours.blue is no mapping of texts"):
            check_colours({"blue": wrong})
    with pytest.raises(InputError, match="no label whose value tells them apart"):
        check_colours({"blue": {"app": "api"}, "green": {"app": "api"}})
    check_colours({})


def test_what_a_migration_would_be_refused_for_is_told_for_all_environments_at_once() -> None:
    """R-B6, R-B7 and R-B10, before anybody plans to."""
    same = {name: {**one, "database": "mine"} for name, one in ENVIRONMENTS.items()}
    given, problems = read_environments({**same, "qa": {"source": "old-qa", "namespace": "new-qa"}, "bad": {}})
    here = workload(envFrom=[{"secretRef": {"name": "database"}}], env=[{"name": "SAFE", "value": "false"}])
    smaller = workload()
    smaller["spec"]["replicas"] = 9
    rule = thing("Ingress", "web", spec={"rules": [{"host": "shop.x"}]})
    there = {
        "old-dev": found(here),
        "old-prod": found(workload(), rule),
        "new-prod": found(smaller),
        "new-dev": found(),
    }
    its = report(given, problems, there, {"SAFE": "true"}, {})
    assert its["problems"][-1] == "dev and prod have the same database mine"
    assert its["environments"].keys() == {"dev", "prod", "qa"}
    assert its["environments"]["qa"]["refused"] == ["there is no namespace old-qa, which qa is to come from"]
    assert its["environments"]["dev"]["refused"] == [
        "Deployment api has SAFE='false'; 'true' is required",
        "the Secret database is needed by a workload, and new-dev has none of that name",
    ]
    less, host, setting = its["environments"]["prod"]["refused"]
    assert less == "Deployment api: replicas would be 3, and is 9 in new-prod"
    assert host.startswith("Ingress web is for the host shop.x, which old-prod has")
    assert setting == "SAFE is required, and no ConfigMap and no container has it"
    # Who may not list Secrets is not told that they are missing.
    there["new-dev"] = Found({}, frozenset({"secrets"}))
    again = report(given, problems, there, {"SAFE": "true"}, {})
    assert len(again["environments"]["dev"]["refused"]) == 1
    assert "may not list them" in page("shop", again)


def test_how_environments_differ_is_told_without_values_of_settings() -> None:
    given, problems = read_environments(ENVIRONMENTS)
    small = workload(image="api:1")
    small["spec"]["replicas"] = 1
    there = {
        "old-dev": found(small, thing("ConfigMap", "settings", data={"URL": "secret-a", "DEBUG": "1"})),
        "old-prod": found(workload(), thing("ConfigMap", "settings", data={"URL": "secret-b"}), thing("Secret", "tls")),
    }
    its = report(given, problems, there, {}, {})
    assert its["differences"] == [
        {"what": "ConfigMap settings: setting DEBUG", "values": {"dev": "is set", "prod": "-"}},
        {"what": "Deployment api: image of app", "values": {"dev": "api:1", "prod": DIGEST}},
        {"what": "Deployment api: replicas", "values": {"dev": "1", "prod": "3"}},
        {"what": "Secret tls", "values": {"dev": "-", "prod": "is there"}},
    ]
    written = page("shop", its)
    assert "| Deployment api: replicas | 1 | 3 |" in written
    assert "secret-" not in written + repr(its)
    there["old-prod"] = there["old-dev"]
    assert "They do not." in page("shop", report(given, problems, there, {}, {}))


def test_of_a_secret_only_the_name_is_kept() -> None:
    secret = thing("Secret", "database", data={"password": "czNjcjN0"}, stringData={"x": "s3cr3t"}, type="Opaque")
    secret["metadata"]["annotations"] = {"kubectl.kubernetes.io/last-applied-configuration": '{"data": "czNjcjN0"}'}
    kept = named_only(secret)
    assert kept == {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "database"}, "type": "Opaque"}


def test_the_page_is_the_same_for_the_same_and_whole_in_its_tables() -> None:
    given, problems = read_environments({**ENVIRONMENTS, "a*<i>": "x"})
    odd = thing("ConfigMap", "a|b", data={})
    there = {"old-dev": found(workload(), odd, thing("Secret", "tls"))}
    written = page("shop", report(given, problems, there, {}, {}))
    assert written == page("shop", report(given, problems, copy.deepcopy(there), {}, {}))
    assert written.startswith("# What there is: shop\n")
    assert "| prod | old-prod (not there) | new-prod (not there) | - | shop:prod: | 0 | 1 | 0 |" in written
    assert f"| Deployment api | 2 of 3 ready | app | {DIGEST} | cpu 500m, memory 512Mi | memory 1Gi |" in written
    assert "ConfigMaps: a\\|b\n\nSecrets, by name only: tls" in written
    # What an inventory says is text, and no markup.
    assert "- a\\*\\<i> is no mapping" in written
    tables = [block.splitlines() for block in written.split("\n\n") if block.startswith("|")]
    assert all(len({row.replace("\\|", "").count("|") for row in rows}) == 1 for rows in tables)
