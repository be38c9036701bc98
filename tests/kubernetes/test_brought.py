# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What environment.yml has made is what cutover.yml moves: nextstep's shared staging, by its own inventory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from cluster import node
from cluster.client import STRATEGIC, Client
from cluster.starting import Cluster

from .conftest import account, documented
from .test_playbooks import ALWAYS, APP, LABELS, ROOT, ZONE, NextStep, Until, application, changed, prepare

SETTINGS = {
    "SAFETY_RAILS_ENABLED": "true",
    "ORCHESTRATION_MODE": "guided",
    "MONITORING_ENDPOINT": "http://metrics:9090",
    "DATABASE_NAME": "nextstep_staging",
    "REDIS_PREFIX": "nextstep:staging:",
}
NEEDS = {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"cpu": "200m", "memory": "256Mi"}}


@pytest.fixture
def old(cluster: Cluster, admin: Client, namespace: str, until: Until) -> NextStep:
    """Both colours, blue serving, as an application has them in the namespace that it comes from."""
    made = NextStep("nextstep", cluster.kubeconfig, admin, namespace, until, {})
    admin.call("POST", made.path("v1", "configmaps"), {"metadata": {"name": "settings"}, "data": SETTINGS})
    backend = {"service": {"name": APP, "port": {"number": 80}}}
    paths = {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}
    ingress = {"metadata": {"name": "web"}, "spec": {"rules": [{"host": "nextstep.staging.local", "http": paths}]}}
    admin.call("POST", made.path("networking.k8s.io/v1", "ingresses"), ingress)
    prepare(made)
    containers = [{"name": "app", "resources": NEEDS, "envFrom": [{"configMapRef": {"name": "settings"}}]}]
    for colour in LABELS:
        path = made.path("apps/v1", "deployments", f"{APP}-{colour}")
        admin.call("PATCH", path, {"spec": {"template": {"spec": {"containers": containers}}}}, STRATEGIC)
    made.ready(f"{APP}-blue", 3)
    return made


@pytest.fixture
def new(cluster: Cluster, admin: Client, old: NextStep, tmp_path: Path) -> Iterator[NextStep]:
    """Where it comes to; nothing of it is there. What is another than in the inventory is where and when that is."""
    own = yaml.safe_load((ROOT / "inventories/nextstep/group_vars/cutover_router.yml").read_text(encoding="utf-8"))
    name = f"{old.namespace}-new"
    everywhere = {**own["environment_all"]}
    everywhere["staging"] = {**everywhere["staging"], "source": old.namespace, "namespace": name}
    slot = {**own["environment_slots"]["staging"], "namespace": name, "slots": ALWAYS, "zone": ZONE}
    extra = {
        "environment_all": everywhere,
        "environment_slots": {"staging": slot},
        "environment_name": "staging",
        "nextstep_environment": "staging",
        # What they are for is shown by test_r_b11_…: a good answer on a busy machine may take longer than 100 ms.
        "nextstep_budgets": dict.fromkeys(("api", "orchestration", "safety_rail"), 60_000),
    }
    with application(lambda: 0) as address, node.alone(cluster.kubeconfig, admin, name, tmp_path):
        yield replace(old, namespace=name, extra={**extra, "nextstep_api": address})
    admin.gone(f"/api/v1/namespaces/{name}")


def test_what_was_brought_moves_there_and_back(
    cluster: Cluster, admin: Client, old: NextStep, new: NextStep, tmp_path: Path
) -> None:
    """R-B4, R-B5, R-B6, R-B7, R-B10, R-B15, R-D6: with no more rights than documented, and nothing edited between."""
    before = old.objects()
    rc, told = new.run("environment")
    assert rc == 0, told
    # As many as its autoscaler keeps; a Deployment that has one begins with one pod.
    new.until(lambda: new.serving() == ["blue"] * 2)
    assert new.selected() == "blue"

    names = {"web": APP, "web-v1": f"{APP}-blue", "web-v2": f"{APP}-green"}
    names |= {"bluegreen-shop": "bluegreen-nextstep", "cutover-guard-shop": "cutover-guard-nextstep"}
    runner = replace(new, kubeconfig=account(cluster, admin, new.namespace, tmp_path, documented("Role", names)))
    rc, told = runner.run("cutover")
    assert rc == 0, told
    assert (new.selected(), new.serving()) == ("green", ["green"] * 2)
    # Who would bring it again would undo the switch: that is refused.
    rc, told = new.run("environment")
    assert (rc, new.selected()) == (2, "green"), told
    assert 'conflict with "bluegreen.cutover"' in told

    rc, told = runner.run("rollback")
    assert rc == 0, told
    assert (new.selected(), new.serving()) == ("blue", ["blue"] * 2)
    # Nothing of the way is left that would be another environment.
    rc, told = new.run("environment")
    assert (rc, changed(told)) == (0, 0), told
    assert old.objects() == before
