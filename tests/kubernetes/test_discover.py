# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What there is before anything is planned, read from an API server (R-B1)."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.environments import make_environments
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import ClusterError
from ansible_collections.bluegreen.cutover.plugins.module_utils._discover import read
from ansible_collections.bluegreen.cutover.plugins.module_utils._kubernetes import connect
from cluster.client import Client
from cluster.proxy import Fault, Proxy

from .conftest import deployment, service
from .test_actions import ROOT, play
from .test_environments import path

PASSWORD = "correct-horse"
ENCODED = "Y29ycmVjdC1ob3JzZQ=="


@pytest.fixture
def old(admin: Client, namespace: str) -> str:
    """A namespace with an API, and what it needs."""

    def make(plural: str, document: dict[str, Any]) -> None:
        admin.call("POST", path(namespace, plural), document)

    make("configmaps", {"metadata": {"name": "settings"}, "data": {"SAFETY_RAILS_ENABLED": "false", "URL": "hidden"}})
    make("secrets", {"metadata": {"name": "database"}, "stringData": {"password": PASSWORD}})
    api = deployment("api", {"app": "api"}, 2)
    api["spec"]["template"]["spec"]["containers"][0]["envFrom"] = [{"secretRef": {"name": "database"}}]
    make("deployments", api)
    make("services", service("web", {"app": "api"}))
    return namespace


def environments(old: str) -> dict[str, Any]:
    prod = {"source": old, "namespace": f"{old}-new", "database": "nextstep_production"}
    return {"prod": prod, "dev": {"source": f"{old}-dev", "namespace": f"{old}-dev-new"}}


def test_every_request_reads_and_no_value_of_a_secret_is_kept(proxied: tuple[Proxy, Path], old: str) -> None:
    proxy, kubeconfig = proxied
    given = make_environments(environments(old))
    found = read(connect(str(kubeconfig)), given)
    verbs = Counter(one.method for one in proxy.seen)
    # The kinds, four namespaces, and each resource of the one that is there.
    assert verbs.keys() == {"GET"}
    assert verbs["GET"] >= 15
    assert not any(one.is_watch or one.body for one in proxy.seen)
    assert {name for name, one in found.items() if one is not None} == {old}
    there = found[old]
    assert there is not None
    assert {("secrets", "database"), ("deployments.apps", "api"), ("services", "web")} <= there.objects.keys()
    assert any(f"/namespaces/{old}/secrets" in one.path for one in proxy.seen)
    assert PASSWORD not in repr(found)
    assert ENCODED not in repr(found)
    # Who may not list Secrets gets the rest; of anything else it is an error.
    proxy.fresh(lambda seen: Fault(status=403) if "/secrets" in seen.path else None)
    there = read(connect(str(kubeconfig)), given)[old]
    assert there is not None
    assert (there.unread, ("services", "web") in there.objects) == (frozenset({"secrets"}), True)
    proxy.fresh(lambda seen: Fault(status=403) if "/deployments" in seen.path else None)
    with pytest.raises(ClusterError, match=r"\(403\)"):
        read(connect(str(kubeconfig)), given)


def test_the_playbook_tells_what_is_there_in_a_page_where_it_is_asked_for(
    proxied: tuple[Proxy, Path], old: str, tmp_path: Path
) -> None:
    proxy, kubeconfig = proxied
    page = tmp_path / "nextstep.md"
    variables = {
        "environment_kubeconfig": str(kubeconfig),
        "environment_application": "nextstep",
        "environment_all": environments(old),
        "environment_required": {"SAFETY_RAILS_ENABLED": "true"},
        "cutover_router": {"selectors": {colour: {"app": "api", "version": colour} for colour in ("blue", "green")}},
        "discover_page": str(page),
    }
    file = tmp_path / "variables.yml"
    file.write_text(yaml.safe_dump(variables))
    rc, (_checked, told, written, shown) = play(
        tmp_path, ROOT / "playbooks" / "discover.yml", "--extra-vars", f"@{file}"
    )
    assert (rc, told["changed"], written["changed"], shown["skipped"]) == (0, False, True, True)
    assert {one.method for one in proxy.seen} == {"GET"}
    prod, dev = (told["report"]["environments"][name] for name in ("prod", "dev"))
    assert prod["source"]["services"][0]["selects"] == ["Deployment api"]
    assert prod["source"]["secrets"] == ["database"]
    assert prod["refused"] == [
        "ConfigMap settings has SAFETY_RAILS_ENABLED='false'; 'true' is required",
        f"the Secret database is needed by a workload, and {old}-new has none of that name",
    ]
    image, requests, probe, colour, database = prod["risks"]
    assert "registry.invalid/app:1 by a tag" in image
    assert "requests no cpu and no memory" in requests
    assert "has no readiness probe" in probe
    assert "selects its pods without version" in colour
    assert "names the database nextstep_production" in database
    assert dev["refused"] == [f"there is no namespace {old}-dev, which dev is to come from"]
    assert page.read_text() == told["page"]
    assert "# What there is: nextstep" in told["page"]
    assert all(hidden not in str(told) for hidden in (PASSWORD, ENCODED, "hidden"))
