# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One cluster for each process, a namespace for each test, and the servers' names in the closing lines."""

from __future__ import annotations

import itertools
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from cluster import starting
from cluster.client import APPLY, MERGE, Client, RefusedError, write_kubeconfig
from cluster.proxy import Proxy, proxying
from cluster.starting import Cluster

ROOT = Path(__file__).resolve().parents[2]
TOLD = pytest.StashKey[dict[str, str | None]]()
"""By process what it said of its server: empty where none of its tests asked for one, None where it never said."""
_NUMBERS = itertools.count(1)


def pytest_configure(config: pytest.Config) -> None:
    config.stash[TOLD] = {}


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Iterator[Cluster]:
    with starting.cluster(tmp_path_factory.mktemp("cluster")) as found:
        pytestconfig.stash[TOLD]["here"] = found.told
        yield found


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """A worker of pytest-xdist has ended, by itself or not."""
    node.config.stash[TOLD][node.gateway.id] = getattr(node, "workeroutput", {}).get("server")


def pytest_sessionfinish(session: pytest.Session) -> None:
    told = session.config.stash[TOLD]
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["server"] = told.get("here", "")
    # Nobody would know what its tests have shown.
    elif None in told.values() and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    told = config.stash[TOLD]
    if any(server != "" for server in told.values()):
        terminalreporter.section("Kubernetes")
    for server in sorted({server for server in told.values() if server}):
        terminalreporter.line(f"These tests ran against {server}.")
    for process in sorted(name for name, server in told.items() if server is None):
        terminalreporter.line(f"{process} ended and did not tell what its tests ran against: this run proves nothing.")


@pytest.fixture(scope="session")
def admin(cluster: Cluster) -> Client:
    return Client(cluster.kubeconfig)


@pytest.fixture
def namespace(admin: Client) -> Iterator[str]:
    """A name that no other run has either: a real namespace takes its time to go."""
    name = f"tests-{os.getpid()}-{int(time.time()) % 100_000}-{next(_NUMBERS)}"
    admin.call("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
    yield name
    admin.gone(f"/api/v1/namespaces/{name}")


@pytest.fixture
def proxied(cluster: Cluster, tmp_path: Path) -> Iterator[tuple[Proxy, Path]]:
    with proxying(cluster.kubeconfig, tmp_path) as found:
        yield found


@pytest.fixture
def until() -> Callable[..., Any]:
    """Wait for what a function returns to be true, and return it."""

    def wait(look: Callable[[], Any], seconds: float = 90) -> Any:
        deadline = time.monotonic() + seconds
        while True:
            found = look()
            if found:
                return found
            assert time.monotonic() < deadline, f"not within {seconds} s: {look.__name__}"
            time.sleep(0.01)

    return wait


@pytest.fixture
def routes(admin: Client, namespace: str, until: Callable[..., Any]) -> Iterator[str]:
    """The path of HTTPRoutes, with something that takes them as a Gateway's controller does."""
    definition = json.loads((Path(__file__).parent / "httproute.json").read_text())
    crds = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    path = f"{crds}/{definition['metadata']['name']}"
    admin.call("PATCH", path, definition, APPLY, fieldManager="tests", force="true")
    found = f"/apis/gateway.networking.k8s.io/v1/namespaces/{namespace}/httproutes"

    def known() -> bool:
        try:
            return bool(admin.call("GET", found))
        except RefusedError:
            return False

    until(known)
    ended = threading.Event()

    def take() -> None:
        while not ended.wait(0.02):
            for route in admin.call("GET", found)["items"]:
                seen = route["metadata"]["generation"]
                kinds = ("Accepted", "ResolvedRefs")
                conditions = [
                    {
                        "type": kind,
                        "status": "True",
                        "reason": kind,
                        "message": "",
                        "observedGeneration": seen,
                        "lastTransitionTime": "2026-01-01T00:00:00Z",
                    }
                    for kind in kinds
                ]
                parent = {"parentRef": {"name": "front"}, "controllerName": "tests/x", "conditions": conditions}
                body = {"status": {"parents": [parent]}}
                admin.call("PATCH", f"{found}/{route['metadata']['name']}/status", body, MERGE)

    thread = threading.Thread(target=take, daemon=True)
    thread.start()
    yield found
    ended.set()
    thread.join(10)


def start(kubeconfig: Path, namespace: str, *what: str) -> subprocess.Popen[str]:
    """A process of its own that does ``what`` of killed_run.py."""
    script = Path(__file__).with_name("killed_run.py")
    return subprocess.Popen(
        [sys.executable, str(script), str(kubeconfig), namespace, *what],
        env={"PYTHONPATH": str(ROOT / "collections")},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def deployment(name: str, labels: dict[str, str], replicas: int = 1, **annotations: str) -> dict[str, Any]:
    """A Deployment that any server takes."""
    # A real server owns and compares an empty map, which it does not store.
    noted = {"annotations": annotations} if annotations else {}
    container = {"name": "app", "image": "registry.invalid/app:1", "ports": [{"containerPort": 8080}]}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "labels": labels},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels, **noted},
                "spec": {"containers": [container]},
            },
        },
    }


def documented(kind: str, names: Mapping[str, str] | None = None, page: str = "kubernetes.md") -> dict[str, Any]:
    """The Role or ClusterRole of a page of docs; ``names`` has those of a test's objects for the page's."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    pages = map(yaml.safe_load, re.findall(r"```yaml\n(.*?)```", text, re.DOTALL))
    [role] = [one for one in pages if one.get("kind") == kind]
    for rule in role["rules"]:
        if "resourceNames" in rule:
            rule["resourceNames"] = [(names or {}).get(name, name) for name in rule["resourceNames"]]
    return dict(role)


def account(cluster: Cluster, admin: Client, namespace: str, folder: Path, role: dict[str, Any]) -> Path:
    """The kubeconfig of an account that has ``role``, and nothing else."""
    rbac = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}"
    admin.call("POST", f"{rbac}/roles", role)
    admin.call("POST", f"/api/v1/namespaces/{namespace}/serviceaccounts", {"metadata": {"name": "runner"}})
    binding = {
        "metadata": {"name": "runner"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": role["metadata"]["name"]},
        "subjects": [{"kind": "ServiceAccount", "name": "runner", "namespace": namespace}],
    }
    admin.call("POST", f"{rbac}/rolebindings", binding)
    asked = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 600}}
    path = f"/api/v1/namespaces/{namespace}/serviceaccounts/runner/token"
    token = admin.call("POST", path, asked)["status"]["token"]
    settings = yaml.safe_load(cluster.kubeconfig.read_text())["clusters"][0]["cluster"]
    return write_kubeconfig(folder / "narrow.kubeconfig", settings.pop("server"), token, **settings)


def service(name: str, selector: dict[str, str] | None) -> dict[str, Any]:
    spec: dict[str, Any] = {"ports": [{"name": "http", "port": 80, "targetPort": 8080}]}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {**spec, **({} if selector is None else {"selector": selector})},
    }


def written(document: Mapping[str, Any]) -> dict[str, Any]:
    """An object without its status, which controllers write when they like, and without what follows from that."""
    metadata = {name: value for name, value in document["metadata"].items() if name != "resourceVersion"}
    owners = metadata.get("managedFields") or ()
    metadata["managedFields"] = [owner for owner in owners if owner.get("subresource") != "status"]
    return {**document, "metadata": metadata, "status": None}


def refused(call: Callable[[], Any]) -> RefusedError:
    """The refusal that must come."""
    with pytest.raises(RefusedError) as caught:
        call()
    return caught.value
