# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Journal and lease in a cluster, written by several processes at once; one of them dies."""

from __future__ import annotations

import time

import pytest
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import ClusterError, FencedError
from ansible_collections.bluegreen.cutover.plugins.module_utils._kubernetes import connect
from ansible_collections.bluegreen.cutover.plugins.module_utils._stores.cluster import LOCK_LIFE, ClusterStore
from cluster.client import MERGE, Client
from cluster.starting import Cluster

from .conftest import start

LEASE = {
    "owner": {"user": "alice", "host": "ops", "pid": 7},
    "kind": "cutover",
    "reason": "r",
    "since": 1_700_000_000.0,
    "expires": 4_000_000_000.0,
    "ttl": 60,
    "token": 5,
}


@pytest.fixture
def store(cluster: Cluster, namespace: str) -> ClusterStore:
    return ClusterStore(connect(str(cluster.kubeconfig)), namespace, "shop")


def test_nothing_that_several_processes_write_is_lost(cluster: Cluster, namespace: str, store: ClusterStore) -> None:
    processes = [start(cluster.kubeconfig, namespace, "count", "15") for _ in range(3)]
    for process in processes:
        said, _none = process.communicate(timeout=120)
        assert process.returncode == 0, said
    assert store.read_gate() == {"count": 45}


def test_the_lock_of_a_process_that_was_killed_is_had_at_once(
    cluster: Cluster, namespace: str, store: ClusterStore
) -> None:
    with start(cluster.kubeconfig, namespace, "hold") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        process.kill()
        process.wait(10)
    began = time.monotonic()
    with store.locked():
        assert store.read_gate() == {"count": 100}
        store.write_lease(LEASE)
    # Long before a lock is disbelieved whose holder may live.
    assert time.monotonic() - began < LOCK_LIFE - 10


def test_a_lease_is_one_that_tools_can_read(admin: Client, namespace: str, store: ClusterStore) -> None:
    with store.locked():
        store.write_lease(LEASE)
        store.record(5, 1_700_000_050, "began", **{"from": "blue", "to": "green", "subject": {}}, **_SAID)
    found = admin.call("GET", f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/bluegreen-shop")
    assert found["spec"]["holderIdentity"] == "alice@ops (pid 7)"
    assert found["metadata"]["annotations"]["bluegreen.cutover/token"] == "5"
    assert store.read_lease() == LEASE
    with store.locked(), pytest.raises(FencedError, match="overtaken"):
        store.fence(4, 1_700_000_050)
    store.write_lease(None)
    assert store.read_lease() is None


_SAID = {"owner": {}, "reason": "r", "weight": 0}


def test_the_servers_time_is_about_ours(store: ClusterStore) -> None:
    assert abs(store.cluster.time() - time.time()) < 30


def test_a_namespace_that_goes_is_called_so(admin: Client, namespace: str, store: ClusterStore) -> None:
    """No right is missing, and nobody has to be asked for one."""
    maps = f"/api/v1/namespaces/{namespace}/configmaps"
    admin.call("POST", maps, {"metadata": {"name": "stays", "finalizers": ["example.com/keep"]}})
    admin.call("DELETE", f"/api/v1/namespaces/{namespace}")
    try:
        with pytest.raises(ClusterError, match=f"{namespace}.*Somebody is deleting that namespace: see who") as caught:
            store.write_gate({"count": 1})
        assert "right" not in caught.value.message
    finally:
        admin.call("PATCH", f"{maps}/stays", {"metadata": {"finalizers": None}}, MERGE)
