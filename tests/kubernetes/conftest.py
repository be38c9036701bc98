# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One cluster for the whole run, a namespace for each test, and the name of the server in the closing lines."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cluster import starting
from cluster.client import Client, RefusedError
from cluster.proxy import Proxy, proxying
from cluster.starting import Cluster

TOLD = pytest.StashKey[str]()
_NUMBERS = itertools.count(1)


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Iterator[Cluster]:
    with starting.cluster(tmp_path_factory.mktemp("cluster")) as found:
        pytestconfig.stash[TOLD] = found.told
        yield found


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    if TOLD in config.stash:
        terminalreporter.section("Kubernetes")
        terminalreporter.line(f"These tests ran against {config.stash[TOLD]}.")


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

    def wait(look: Callable[[], Any], seconds: float = 20) -> Any:
        deadline = time.monotonic() + seconds
        while True:
            found = look()
            if found:
                return found
            assert time.monotonic() < deadline, f"not within {seconds} s: {look.__name__}"
            time.sleep(0.01)

    return wait


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


def service(name: str, selector: dict[str, str] | None) -> dict[str, Any]:
    spec: dict[str, Any] = {"ports": [{"name": "http", "port": 80, "targetPort": 8080}]}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {**spec, **({} if selector is None else {"selector": selector})},
    }


def refused(call: Callable[[], Any]) -> RefusedError:
    """The refusal that must come."""
    with pytest.raises(RefusedError) as caught:
        call()
    return caught.value
