# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Environments in new namespaces: collisions, adapting, and what must not be (R-B4, R-B5, R-B6, R-B7, R-B10, R-B15)."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.bluegreen.cutover.plugins.module_utils._core import environments
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.environments import adapt, make_environments
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import InputError, SourceError
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.slots import make_slots

ROOT = Path(__file__).resolve().parents[5]
DEV = {"source": "nextstep-dev", "namespace": "blueocean-nextstep-dev"}
PROD = {"source": "nextstep-prod", "namespace": "blueocean-nextstep-prod"}


def made(**prod: Any) -> dict[str, environments.Environment]:
    dev = {**DEV, "database": "nextstep_dev", "redis_prefix": "nextstep:dev:"}
    return make_environments({"dev": dev, "prod": {**PROD, **prod}})


@pytest.mark.parametrize(
    ("dev", "prod", "told"),
    [
        ({"source": None}, {}, "dev.source is ''; the name of a namespace is needed"),
        ({"namespace": "Dev"}, {}, "dev.namespace is 'Dev'; the name of a namespace is needed"),
        ({"host": "x"}, {}, "dev has host; it can have database, hosts"),
        ({"settings": {"SAFE": True}}, {}, "dev.settings is no mapping of texts; write true and false in quotes"),
        ({"quota": {"pods": "many"}}, {}, "dev.quota has 'many'; a quantity such as 500m or 1Gi is needed"),
        ({"names": {"api": "The Api"}}, {}, "dev.names has 'The Api'; a name of a-z"),
        ({"redis_prefix": "nextstep"}, {}, "dev.redis_prefix is 'nextstep'; it needs to end in its separator"),
        ({"namespace": "kube-system"}, {}, "dev.namespace is kube-system, which belongs to the cluster"),
        # R-B15: a mistake in the inventory never makes a source a target.
        ({"namespace": "nextstep-prod"}, {}, "nextstep-prod, which is the source of prod: a source is never written"),
        ({"namespace": "nextstep-dev"}, {}, "nextstep-dev, which is the source of dev: a source is never written"),
        ({"namespace": PROD["namespace"]}, {}, "dev and prod have the same namespace"),
        # R-B7
        ({"database": "d"}, {"database": "d"}, "dev and prod have the same database d"),
        ({"redis_prefix": "n:"}, {"redis_prefix": "n:prod:"}, "the Redis prefixes 'n:' and 'n:prod:': keys of one"),
        # R-B4
        ({"hosts": {"a.x": "n.y"}}, {"hosts": {"b.x": "n.y"}}, "dev and prod have the same host n.y"),
        ({"hosts": {"a.x": "b.x"}}, {"hosts": {"b.x": "n.y"}}, "dev.hosts has b.x, which the source of prod serves"),
    ],
)
def test_environments_that_cannot_be_meant_are_told(dev: dict[str, Any], prod: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError) as caught:
        make_environments({"dev": {**DEV, **dev}, "prod": {**PROD, **prod}})
    assert told in caught.value.message
    assert len(caught.value.evidence["problems"]) == 1


def test_every_problem_is_told_at_once() -> None:
    with pytest.raises(InputError, match="there is no environment"):
        make_environments({})
    with pytest.raises(InputError) as caught:
        make_environments({"dev": "x", "prod": {}})
    assert len(caught.value.evidence["problems"]) == 3


def test_the_inventory_of_nextstep_can_be_meant() -> None:
    """R-B4, R-B5, R-B7, R-B10, R-B14"""
    given = yaml.safe_load((ROOT / "inventories/nextstep/group_vars/cutover_router.yml").read_text(encoding="utf-8"))
    found = make_environments(given["environment_all"])
    assert {one.source for one in found.values()} == {"nextstep-dev", "nextstep-staging", "nextstep-prod"}
    assert {one.redis_prefix for one in found.values()} == {f"nextstep:{name}:" for name in found}
    slot = given["environment_slots"]["staging"]
    [hours] = make_slots(slot["slots"], slot["zone"])
    assert (hours.told, slot["namespace"]) == ("09:00 to 12:00 daily", found["staging"].namespace)
    assert "nextstep.staging-shared.local" in found["staging"].hosts.values()
    assert given["environment_required"]["SAFETY_RAILS_ENABLED"] == "true"


@pytest.mark.parametrize("namespace", ["nextstep-prod", "nextstep-dev", "default", ""])
def test_nothing_but_a_target_is_written_to(namespace: str) -> None:
    environments.check_target(made(), "blueocean-nextstep-prod")
    with pytest.raises(SourceError, match="nothing is ever written there"):
        environments.check_target(made(), namespace)


@pytest.mark.parametrize("given", [{}, {"dev": None, "old": {"namespace": "new"}}, {"dev": {"source": "elsewhere"}}])
def test_what_is_no_source_may_be_written(given: dict[str, Any]) -> None:
    environments.check_sources(given, {"cutover_cluster.namespace": "nextstep-prod", "namespace": ""})


def test_r_b15_a_namespace_that_somebody_names_is_no_source() -> None:
    # Also of an environment that could not be meant.
    given = {"prod": {"source": "nextstep-prod", "namespace": "blueocean-nextstep-prod", "quota": 1}, "dev": {}}
    named = {"cutover_cluster.namespace": "nextstep-prod", "namespace": "blueocean-nextstep-prod"}
    with pytest.raises(SourceError) as caught:
        environments.check_sources(given, named)
    problem = "cutover_cluster.namespace is nextstep-prod, the source of blueocean-nextstep-prod"
    assert caught.value.evidence["problems"] == [problem]
    assert "Name the namespace that its environment comes to; nothing was touched" in str(caught.value)
    with pytest.raises(InputError, match="environment_all is 'dev'; a mapping of environments is needed"):
        environments.check_sources("dev", {})


def document(kind: str, name: str, spec: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    found = {"apiVersion": "v1", "kind": kind, "metadata": {"name": name, **more.pop("metadata", {})}, **more}
    return found if spec is None else {**found, "spec": spec}


def workload(name: str, replicas: int = 1, memory: str = "128Mi", **container: Any) -> dict[str, Any]:
    resources = {"requests": {"memory": memory}}
    containers = [{"name": "app", "image": f"registry/{name}", "resources": resources, **container}]
    labels = {"app": name, "environment": "old"}
    template = {"metadata": {"labels": dict(labels)}, "spec": {"containers": containers}}
    spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
    return document("Deployment", name, spec)


def scaler(least: int = 3, most: int = 10, cpu: int = 70) -> dict[str, Any]:
    metric = {"resource": {"name": "cpu", "target": {"averageUtilization": cpu}}}
    reference = {"kind": "Deployment", "name": "api"}
    spec = {"scaleTargetRef": reference, "minReplicas": least, "maxReplicas": most, "metrics": [metric]}
    return document("HorizontalPodAutoscaler", "api", spec)


def keyed(*documents: dict[str, Any]) -> dict[Any, Any]:
    return {(one["kind"].lower() + "s", one["metadata"]["name"]): one for one in documents}


def moved(*documents: dict[str, Any], **prod: Any) -> dict[str, Any]:
    """What documents of production become, by kind."""
    found = adapt(made(**prod)["prod"], keyed(*documents))
    return {one["kind"]: one for one in found.values()}


def test_names_are_changed_wherever_they_are_meant() -> None:
    env = [
        {"name": "A", "valueFrom": {"configMapKeyRef": {"name": "api", "key": "api"}}},
        {"name": "URL", "value": "http://api.nextstep-prod.svc.cluster.local:7020/nextstep-prod"},
    ]
    volumes = [{"name": "api", "configMap": {"name": "api"}}]
    api = workload("api", env=env, image="registry/nextstep-prod/api:1")
    api["spec"]["template"]["spec"] |= {"volumes": volumes, "serviceAccountName": "api"}
    binding = document("RoleBinding", "api", roleRef={"kind": "Role", "name": "api"})
    binding["subjects"] = [{"kind": "ServiceAccount", "name": "api", "namespace": "nextstep-prod"}]
    found = moved(api, scaler(), binding, names={"api": "nextstep-api"})
    pod = found["Deployment"]["spec"]["template"]["spec"]
    [container] = pod["containers"]
    assert (container["name"], container["image"]) == ("app", "registry/nextstep-prod/api:1")
    assert container["env"][0]["valueFrom"]["configMapKeyRef"] == {"name": "nextstep-api", "key": "api"}
    assert container["env"][1]["value"] == (
        "http://nextstep-api.blueocean-nextstep-prod.svc.cluster.local:7020/nextstep-prod"
    )
    assert pod["volumes"] == [{"name": "api", "configMap": {"name": "nextstep-api"}}]
    assert pod["serviceAccountName"] == "nextstep-api"
    assert found["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]["name"] == "nextstep-api"
    assert found["RoleBinding"]["roleRef"]["name"] == "nextstep-api"
    subject = {"kind": "ServiceAccount", "name": "nextstep-api", "namespace": "blueocean-nextstep-prod"}
    assert found["RoleBinding"]["subjects"] == [subject]
    # The autoscaler has them from now on.
    assert "replicas" not in found["Deployment"]["spec"]


def test_two_objects_cannot_get_one_name() -> None:
    with pytest.raises(InputError, match="prod.names gives two services the name b"):
        moved(document("Service", "a"), document("Service", "b"), names={"a": "b"})


def test_labels_are_everywhere_and_change_selectors_that_have_them() -> None:
    service = document("Service", "api", {"selector": {"app": "api", "environment": "old"}})
    found = moved(workload("api"), service, labels={"environment": "prod", "team": "a"})
    spec = found["Deployment"]["spec"]
    assert spec["selector"]["matchLabels"] == {"app": "api", "environment": "prod"}
    assert spec["template"]["metadata"]["labels"] == {"app": "api", "environment": "prod"}
    assert found["Service"]["spec"]["selector"] == {"app": "api", "environment": "prod"}
    assert found["Service"]["metadata"]["labels"] == {"environment": "prod", "team": "a"}


def test_hosts_and_settings_are_changed_and_places_of_a_cluster_are_not_taken() -> None:
    ingress = document("Ingress", "web", {"rules": [{"host": "n.old"}], "tls": [{"hosts": ["n.old"]}]})
    ingress["metadata"]["annotations"] = {
        "dns/hostname": "n.old",
        "kubectl.kubernetes.io/last-applied-configuration": "",
    }
    config = document(
        "ConfigMap", "settings", data={"HOST": "https://n.old/x", "MODE": "a", "image": "a", "n": "un.old"}
    )
    ports = [{"port": 80, "nodePort": 30000}]
    service = document("Service", "api", {"loadBalancerIP": "192.0.2.1", "externalIPs": ["192.0.2.2"], "ports": ports})
    env = [{"name": "MODE", "value": "a"}, {"name": "OTHER", "value": "a"}]
    account = document("ServiceAccount", "default")
    found = moved(
        ingress, config, service, workload("api", env=env), account, hosts={"n.old": "n.new"}, settings={"MODE": ""}
    )
    assert found["Ingress"]["spec"] == {"rules": [{"host": "n.new"}], "tls": [{"hosts": ["n.new"]}]}
    assert found["Ingress"]["metadata"]["annotations"] == {"dns/hostname": "n.new"}
    assert found["ConfigMap"]["data"] == {"HOST": "https://n.new/x", "MODE": "", "image": "a", "n": "un.old"}
    assert found["Service"]["spec"] == {"ports": [{"port": 80}]}
    [container] = found["Deployment"]["spec"]["template"]["spec"]["containers"]
    assert container["env"] == [{"name": "MODE", "value": ""}, {"name": "OTHER", "value": "a"}]
    assert ("serviceaccounts", "default") not in adapt(made()["prod"], {("serviceaccounts", "default"): account})


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ([workload("api", 3)], [workload("api", 2)], "Deployment api: replicas would be 2, and is 3 in old"),
        ([workload("api", 3)], [workload("api", 3)], None),
        ([workload("api", 3)], [], "Deployment api is in old, and would be missing"),
        ([workload("api")], [workload("api", memory="0.125Gi")], None),
        ([workload("api")], [workload("api", memory="127Mi")], "memory in requests of container app would be 127Mi"),
        ([workload("api")], [workload("api", resources={})], "memory in requests of container app would be none"),
        # A limit where there was none takes away what it could have had; of a device it asks for it.
        (
            [workload("api")],
            [workload("api", resources={"requests": {"memory": "128Mi"}, "limits": {"memory": "128Mi"}})],
            "Deployment api: memory in limits of container app would be 128Mi, and there is none in old",
        ),
        (
            [workload("api")],
            [workload("api", resources={"requests": {"memory": "128Mi"}, "limits": {"example.com/gpu": "1"}})],
            None,
        ),
        ([workload("api"), scaler()], [workload("api"), scaler(least=2)], "minReplicas would be 2, and is 3"),
        ([workload("api"), scaler()], [workload("api"), scaler(most=9)], "maxReplicas would be 9, and is 10"),
        ([workload("api"), scaler()], [workload("api"), scaler(cpu=71)], "target of cpu would be 71 %, and is 70 %"),
        ([workload("api"), scaler()], [workload("api"), scaler(4, 20, 60)], None),
        ([workload("api", 4)], [workload("api", 9), scaler(3)], "replicas would be 3, and is 4"),
        ([workload("api", 9), scaler(3)], [workload("api", 1), scaler(3)], None),
    ],
)
def test_capacity_is_never_lowered(before: list[Any], after: list[Any], told: str | None) -> None:
    """R-B6"""
    found = environments.lowered("old", keyed(*before), keyed(*after))
    assert bool(found) == (told is not None)
    assert told is None or any(told in one for one in found)


def judged(*documents: dict[str, Any], required: dict[str, str] | None = None, **prod: Any) -> list[str]:
    all_of_them = made(**prod)
    return environments.problems(all_of_them, "prod", adapt(all_of_them["prod"], keyed(*documents)), [], required or {})


@pytest.mark.parametrize(
    ("value", "what"),
    [
        ("postgresql://db/nextstep_dev?x", "database"),
        ("nextstep:dev:sessions", "Redis prefix"),
        ("http://api.nextstep-dev.svc:80", "namespace"),
        ("http://api.blueocean-nextstep-dev.svc", "namespace"),
    ],
)
def test_a_value_that_leads_to_another_environment_is_refused(value: str, what: str) -> None:
    """R-B7"""
    config = document("ConfigMap", "settings", data={"URL": value})
    assert judged(config) == [f"URL of ConfigMap settings names the {what} of dev: set it in prod.settings"]
    assert judged(config, settings={"URL": "postgresql://db/nextstep_production"}) == []


def test_required_settings_are_there_with_their_values() -> None:
    """R-B10"""
    config = document("ConfigMap", "settings", data={"SAFE": "true", "MONITORING": ""})
    api = workload("api", env=[{"name": "SAFE", "value": "false"}, {"name": "SECRET", "valueFrom": {}}])
    required = {"SAFE": "true", "MONITORING": "", "MODE": "x"}
    assert judged(config, api, required=required) == [
        "Deployment api has SAFE='false'; 'true' is required",
        "ConfigMap settings has MONITORING=''; a value is required",
        "MODE is required, and no ConfigMap and no container has it",
    ]
    assert judged(config, required={"SAFE": "true"}) == []


def test_required_settings_are_followed_to_where_they_are_taken_from() -> None:
    """R-B10"""
    config = document("ConfigMap", "api", data={"safe": "false"})
    env = [
        {"name": "SAFE", "valueFrom": {"configMapKeyRef": {"name": "api", "key": "safe"}}},
        {"name": "MODE", "valueFrom": {"configMapKeyRef": {"name": "api", "key": "mode", "optional": True}}},
        {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "api", "key": "key"}}},
    ]
    api = workload("api", env=env)
    assert judged(config, api, required={"SAFE": "false", "KEY": ""}) == []
    assert judged(config, api, required={"SAFE": "true", "MODE": "x", "KEY": "y"}) == [
        "Deployment api has SAFE='false'; 'true' is required",
        "MODE is required, and no ConfigMap and no container has it",
        "Deployment api has KEY from a Secret, where nobody can see that it is 'y'",
    ]
    assert judged(config, api, required={"SAFE": "false"}, names={"api": "nextstep-api"}) == []


def test_a_route_that_keeps_its_host_would_take_the_traffic_of_the_source() -> None:
    """R-B4"""
    every = document("Ingress", "every", {"defaultBackend": {}, "rules": [{"host": "n.old"}]})
    route = document("HTTPRoute", "route", {})
    told = judged(every, route, hosts={"other.old": "n.new"})
    assert [one.partition(":")[0] for one in told] == [
        "Ingress every is for the host n.old, which nextstep-prod has",
        "Ingress every is for every host, which nextstep-prod has",
        "HTTPRoute route is for every host, which nextstep-prod has",
    ]


def test_a_quota_has_room_for_all_at_its_largest() -> None:
    """R-B5"""
    objects = (workload("api"), scaler(most=10))
    for quota in ({"memory": "1Gi"}, {"requests.memory": "1279Mi"}, {"pods": "9"}):
        [told] = judged(*objects, quota=quota)
        assert "at its largest: give it more" in told
    assert judged(*objects, quota={"requests.memory": "1280Mi", "pods": "10", "services": "0"}) == []
    found = adapt(made(quota={"pods": "10"})["prod"], {})
    assert found["resourcequotas", environments.QUOTA]["spec"] == {"hard": {"pods": "10"}}


def test_secrets_that_pods_need_are_known() -> None:
    env = [
        {"name": "A", "valueFrom": {"secretKeyRef": {"name": "a", "key": "x"}}},
        {"name": "B", "valueFrom": {"secretKeyRef": {"name": "b", "key": "x", "optional": True}}},
    ]
    api = workload("api", env=env, envFrom=[{"secretRef": {"name": "c"}}])
    api["spec"]["template"]["spec"] |= {
        "volumes": [{"name": "v", "secret": {"secretName": "d"}}],
        "imagePullSecrets": [{"name": "e"}],
    }
    assert environments.secrets_needed(keyed(api, document("ConfigMap", "x"))) == {"a", "c", "d", "e"}


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("500m", Fraction(1, 2)),
        ("1000m", Fraction(1)),
        ("1Gi", Fraction(1 << 30)),
        ("1e3", Fraction(1000)),
        ("1.5k", Fraction(1500)),
        ("x", None),
        ("1 Gi", None),
    ],
)
def test_quantities(text: str, number: Fraction | None) -> None:
    assert environments.quantity(text) == number
