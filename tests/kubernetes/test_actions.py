# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The modules as a play runs them, as a user with no more rights than docs/kubernetes.md gives (R-B5, R-D6, R-F2)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import ClusterError
from ansible_collections.bluegreen.cutover.plugins.module_utils._kubernetes import connect
from ansible_collections.bluegreen.cutover.plugins.module_utils._selector import Target, switch
from ansible_collections.bluegreen.cutover.plugins.module_utils._stores.cluster import ClusterStore
from cluster.client import Client, RefusedError
from cluster.starting import Cluster

from .conftest import account, deployment, documented, service

Until = Callable[..., Any]
ROOT = Path(__file__).resolve().parents[2]
SELECTORS = {"blue": {"app": "shop", "version": "v1"}, "green": {"app": "shop", "version": "v2"}}


@pytest.fixture
def shop(admin: Client, namespace: str, until: Until) -> str:
    """The namespace with the Service ``web`` on blue, and two ready pods of each colour."""
    for name, labels in SELECTORS.items():
        admin.call("POST", f"/apis/apps/v1/namespaces/{namespace}/deployments", deployment(name, labels, 2))
    admin.call("POST", f"/api/v1/namespaces/{namespace}/services", service("web", SELECTORS["blue"]))

    def ready() -> bool:
        found = admin.call("GET", f"/apis/apps/v1/namespaces/{namespace}/deployments")["items"]
        return all((one.get("status") or {}).get("readyReplicas") == 2 for one in found)

    until(ready)
    return namespace


@pytest.fixture
def narrow(cluster: Cluster, admin: Client, shop: str, tmp_path: Path, until: Until) -> Path:
    """The kubeconfig of an account that has the role of the documentation, and nothing else."""
    path = account(cluster, admin, shop, tmp_path, documented("Role"))

    def allowed() -> bool:
        try:
            return bool(Client(path).call("GET", f"/api/v1/namespaces/{shop}/services/web"))
        except RefusedError:
            return False

    until(allowed)
    return path


def play(tmp_path: Path, what: list[dict[str, Any]] | Path, *options: str) -> tuple[int, list[dict[str, Any]]]:
    """Exit status of a playbook, or of one of these tasks, and the results of the tasks in their order."""
    inventory = tmp_path / "inventory.ini"
    inventory.write_text("[cutover_router]\nnowhere\n")
    if isinstance(what, Path):
        book = what
    else:
        book = tmp_path / "play.yml"
        book.write_text(yaml.safe_dump([{"hosts": "nowhere", "gather_facts": False, "tasks": what}]))
    done = subprocess.run(
        [str(Path(sys.executable).parent / "ansible-playbook"), "--inventory", str(inventory), *options, str(book)],
        env={
            **os.environ,
            "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "collections"),
            "ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json",
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    told = json.loads(done.stdout[done.stdout.index("{") :])
    return done.returncode, [task["hosts"]["nowhere"] for task in told["plays"][0]["tasks"]]


def test_a_play_switches_and_takes_slots_with_the_rights_of_the_documentation(
    narrow: Path, shop: str, tmp_path: Path
) -> None:
    where = {"kubeconfig": str(narrow), "namespace": shop}
    patch = {"bluegreen.cutover.k8s_selector_patch": {**where, "name": "web", "selectors": SELECTORS, "to": "green"}}
    slot = {**where, "environment": "staging-shared", "zone": "Europe/Berlin"}
    always = [{"from": "00:00", "to": "24:00"}]
    ours = {"bluegreen.cutover.k8s_slot": {**slot, "application": "nextstep", "slots": always}}
    theirs = {"bluegreen.cutover.k8s_slot": {**slot, "application": "other", "slots": always}, "ignore_errors": True}
    free = {"bluegreen.cutover.k8s_slot": {**where, "environment": "staging-shared", "application": "nextstep"}}
    free["bluegreen.cutover.k8s_slot"]["state"] = "free"
    rc, results = play(tmp_path, [{**patch, "check_mode": True}, patch, patch, ours, ours, theirs, free, theirs])
    assert rc == 0
    would, done, again, taken, held, refused, freed, taken_by_other = results
    assert [one["changed"] for one in (would, done, again)] == [True, True, False]
    assert (done["requests"], done["diff"]["before"]["colour"], done["diff"]["after"]["colour"]) == (2, "blue", "green")
    assert [one["changed"] for one in (taken, held, freed, taken_by_other)] == [True, False, True, True]
    assert (refused["failed"], refused["reason"]) == (True, "slot")
    assert "used by nextstep until" in refused["msg"]


def test_a_run_with_the_rights_of_the_documentation_keeps_its_state_and_touches_nothing_else(
    narrow: Path, admin: Client, shop: str
) -> None:
    runner = connect(str(narrow))
    store = ClusterStore(runner, shop, "shop")
    store.write_gate({"a": 1})
    assert switch(runner, Target(shop, "web", SELECTORS), "green", token=9)["changed"]
    admin.call("POST", f"/api/v1/namespaces/{shop}/services", service("other", SELECTORS["blue"]))
    with pytest.raises(ClusterError, match=r'\(403\).*cannot get resource "services".*Give it that right'):
        switch(runner, Target(shop, "other", SELECTORS), "green")
    with pytest.raises(ClusterError, match="cannot get resource"):
        ClusterStore(runner, shop, "other").write_gate({"a": 1})
