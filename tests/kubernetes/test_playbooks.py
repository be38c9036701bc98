# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbooks on a cluster, from the inventories as they are: there, again, back, and when something is wrong."""

from __future__ import annotations

import contextlib
import datetime
import http.server
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.bluegreen.cutover.plugins.module_utils._core import artifact
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.slots import make_slots
from ansible_collections.bluegreen.cutover.plugins.module_utils._kubernetes import connect
from ansible_collections.bluegreen.cutover.plugins.module_utils._lease_objects import held
from ansible_collections.bluegreen.cutover.plugins.module_utils._slots import Environment
from cluster import node
from cluster.client import MERGE, STRATEGIC, Client
from cluster.proxy import Fault, Proxy, Seen
from cluster.starting import Cluster
from service.matching import LEAST, decide

from .conftest import account, deployment, documented, service, written

Until = Callable[..., Any]
ROOT = Path(__file__).resolve().parents[2]
APP = "nextstep-api"
GUARD = {"time": 900}
"""That a run on a slow machine is slow is not for the guard to judge here; test_guard.py has what it does in time."""
UNSERVED: dict[str, Any] = {"cutover_verify": [], "cutover_state": []}
"""Nothing answers in the pods of nextstep, and most tests are of the switch; test_r_b11_… has what it asks after that,
and test_promote.py its backup.
"""
LABELS = {colour: {"app": APP, "version": colour} for colour in ("blue", "green")}

ALWAYS = [{"from": "00:00", "to": "24:00"}]
ZONE = "UTC" if 3 <= datetime.datetime.now(datetime.UTC).hour < 21 else "Etc/GMT-12"
"""Where it is not nearly midnight, when that slot ends."""


def start(cluster: Path, inventory: str, playbook: str, *options: str, **extra: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [
            str(Path(sys.executable).parent / "ansible-playbook"),
            f"--inventory={ROOT}/inventories/{inventory}",
            f"--extra-vars={json.dumps({'cutover_guard': GUARD, **extra})}",
            *options,
            f"{ROOT}/playbooks/{playbook}.yml",
        ],
        env={
            **os.environ,
            "KUBECONFIG": str(cluster),
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "collections"),
        },
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@dataclass
class Service:
    """One of the inventories, in the namespace of the test; ``extra`` are the variables that say where."""

    inventory: str
    kubeconfig: Path
    admin: Client
    namespace: str
    until: Until
    extra: dict[str, Any]

    @property
    def state(self) -> Path:
        """Where the router host keeps what it does not keep in the cluster."""
        return self.kubeconfig.parent / f"state-{self.namespace}"

    def path(self, group: str, plural: str, name: str = "") -> str:
        base = "/api/v1" if group == "v1" else f"/apis/{group}"
        return f"{base}/namespaces/{self.namespace}/{plural}" + (f"/{name}" if name else "")

    def events(self) -> list[dict[str, Any]]:
        """Of the last migration."""
        name = f"bluegreen-{self.inventory.removesuffix('-cluster')}"
        config = self.admin.call("GET", self.path("v1", "configmaps", name))
        events: list[dict[str, Any]] = json.loads(config["data"]["journal.json"])["migrations"][-1]["events"]
        return events

    def report(self) -> tuple[dict[str, Any], str]:
        """What report.yml writes of the day: for programs, and the page."""
        folder = self.state / "reports"
        before = self.events()
        rc, told = self.run("report", f"--extra-vars=report_folder={folder}")
        assert (rc, self.events()) == (0, before), told
        (made,) = folder.glob("*.json")
        return json.loads(made.read_text()), made.with_suffix(".html").read_text()

    def start(self, playbook: str, *options: str, kubeconfig: Path | None = None) -> subprocess.Popen[str]:
        extra = {"cutover_state_dir": str(self.state), **self.extra}
        return start(kubeconfig or self.kubeconfig, self.inventory, playbook, *options, **extra)

    def run(self, playbook: str, *options: str, kubeconfig: Path | None = None) -> tuple[int, str]:
        """Exit status and what was told."""
        process = self.start(playbook, *options, kubeconfig=kubeconfig)
        told, _none = process.communicate(timeout=300)
        # Ansible breaks lines where it likes.
        return process.returncode, " ".join(told.split())

    def share(self) -> Environment:
        """Have its namespace be an environment that others use, too."""
        slot = {"namespace": self.namespace, "environment": "staging-shared", "slots": ALWAYS, "zone": ZONE}
        self.extra |= {
            "environment_application": "ours",
            "environment_all": {"staging": {"source": "old", "namespace": self.namespace}},
            "environment_slots": {"staging": slot},
        }
        return Environment(connect(str(self.kubeconfig)), self.namespace, "staging-shared")

    def slot(self) -> str | None:
        """The application that holds it."""
        lease = self.admin.call("GET", self.path("coordination.k8s.io/v1", "leases", "bluegreen-slot-staging-shared"))
        found = held(lease)
        return found and str(found["owner"]["application"])

    def ready(self, name: str, number: int) -> None:
        def look() -> bool:
            found = self.admin.call("GET", self.path("apps/v1", "deployments", name))
            status = found.get("status") or {}
            seen = status.get("observedGeneration") == found["metadata"]["generation"]
            return bool(seen and status.get("readyReplicas", 0) == number == status.get("replicas"))

        self.until(look)


class NextStep(Service):
    """Both Deployments, blue's with three pods, and an autoscaler each."""

    def deployment(self, colour: str) -> dict[str, Any]:
        return self.admin.call("GET", self.path("apps/v1", "deployments", f"{APP}-{colour}"))

    def autoscaler(self, colour: str) -> dict[str, Any]:
        return self.admin.call("GET", self.path("autoscaling/v2", "horizontalpodautoscalers", f"{APP}-{colour}"))

    def serving(self) -> list[str]:
        """Colours of what gets traffic now."""
        slices = self.admin.call("GET", self.path("discovery.k8s.io/v1", "endpointslices"))["items"]
        ends = [end for one in slices for end in one.get("endpoints") or ()]
        return sorted(one["targetRef"]["name"].split("-")[2] for one in ends if one["conditions"]["ready"])

    def objects(self) -> list[dict[str, Any]]:
        """All that a run might change."""
        kinds = (("v1", "services"), ("v1", "configmaps"), ("coordination.k8s.io/v1", "leases"))
        kinds += (("apps/v1", "deployments"), ("autoscaling/v2", "horizontalpodautoscalers"))
        return [written(one) for kind in kinds for one in self.admin.call("GET", self.path(*kind))["items"]]

    def selected(self) -> str:
        return str(self.admin.call("GET", self.path("v1", "services", APP))["spec"]["selector"]["version"])


def take(shared: Environment) -> None:
    """For another application."""
    shared.take(make_slots(ALWAYS, ZONE), ZONE, {"application": "theirs"}, "its tests")


def changed(told: str) -> int:
    found = re.findall(r"changed=(\d+)", told)
    assert found, told
    return sum(map(int, found))


def autoscaler(name: str, least: int, most: int) -> dict[str, Any]:
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": name}
    return {"metadata": {"name": name}, "spec": {"scaleTargetRef": target, "minReplicas": least, "maxReplicas": most}}


@pytest.fixture(autouse=True)
def _guarded(cluster: Cluster, admin: Client, namespace: str, tmp_path: Path) -> Iterator[None]:
    """Where the guard's pod runs."""
    with node.alone(cluster.kubeconfig, admin, namespace, tmp_path):
        yield


@pytest.fixture
def nextstep(cluster: Cluster, admin: Client, namespace: str, until: Until, tmp_path: Path) -> NextStep:
    """As an account with no more rights than docs/kubernetes.md gives."""
    names = {"web": APP, "web-v1": f"{APP}-blue", "web-v2": f"{APP}-green"}
    names |= {"bluegreen-shop": "bluegreen-nextstep", "cutover-guard-shop": "cutover-guard-nextstep"}
    kubeconfig = account(cluster, admin, namespace, tmp_path, documented("Role", names))
    extra = {**UNSERVED, "nextstep_namespace": namespace}
    return prepare(NextStep("nextstep", kubeconfig, admin, namespace, until, extra))


def prepare(made: NextStep) -> NextStep:
    """Put all that is there before into its namespace."""
    for colour, replicas, least in (("blue", 3, 2), ("green", 0, 1)):
        name = f"{APP}-{colour}"
        made.admin.call("POST", made.path("apps/v1", "deployments"), deployment(name, LABELS[colour], replicas))
        scalers = made.path("autoscaling/v2", "horizontalpodautoscalers")
        made.admin.call("POST", scalers, autoscaler(name, least, 10))
    made.admin.call("POST", made.path("v1", "services"), service(APP, LABELS["blue"]))
    made.ready(f"{APP}-blue", 3)
    made.until(lambda: made.serving() == ["blue"] * 3)
    return made


def annotations(document: Mapping[str, Any]) -> set[str]:
    """But for the fence, which stays, and what controllers write."""
    kept = ("bluegreen.cutover/token", "deployment.kubernetes.io/revision")
    return {one for one in document["metadata"].get("annotations") or {} if one not in kept}


def test_a_service_moves_stays_and_goes_back(nextstep: NextStep) -> None:
    """R-B5, R-B6, R-B9, R-B14, R-B15, R-D6, R-F2: nextstep, not in a source, nor in the time of others; there, again,
    told, and back.
    """
    before = nextstep.objects()
    source = {"environment_all": {"prod": {"source": nextstep.namespace, "namespace": "new"}}}
    rc, told = nextstep.run("cutover", f"--extra-vars={json.dumps(source)}")
    assert (rc, nextstep.objects()) == (2, before), told
    assert f"cutover_cluster.namespace is {nextstep.namespace}, the source of new" in told

    shared = nextstep.share()
    take(shared)
    before = nextstep.objects()
    rc, told = nextstep.run("cutover")
    assert (rc, nextstep.objects()) == (2, before), told
    assert "staging-shared is used by theirs until " in told
    assert "because 'its tests'; nothing was changed there. The next time for ours is " in told
    shared.give_back("theirs")
    before = nextstep.objects()
    rc, told = nextstep.run("cutover", "--check")
    assert (rc, "nextstep moves from blue to green" in told, nextstep.objects()) == (0, True, before), told

    rc, told = nextstep.run("cutover")
    assert rc == 0, told
    assert (nextstep.selected(), nextstep.serving()) == ("green", ["green"] * 3)
    # R-B8: its inventory names no digest for the guard's image.
    assert told.count("nextstep: the guard's pod is of ") == 1
    # Blue has its pods until it is finalised, and its autoscaler may not take them; green's is free again.
    assert nextstep.deployment("blue")["spec"]["replicas"] == 3
    assert nextstep.autoscaler("blue")["spec"]["minReplicas"] == 3
    assert nextstep.autoscaler("green")["spec"]["minReplicas"] == 1

    assert nextstep.slot() is None
    take(shared)
    # In the time of others as well: it needs none of it.
    rc, told = nextstep.run("cutover")
    assert (rc, changed(told), nextstep.slot()) == (0, 0, "theirs"), told
    assert "green serves nextstep alone. blue keeps its pods until the migration is finalised" in told

    rc, told = nextstep.run("status")
    assert rc == 0, told
    assert "nextstep: blue 0 %, green 100 %" in told
    assert "recorded and real: they agree" in told

    # What goes back asks nobody.
    rc, told = nextstep.run("rollback")
    assert (rc, nextstep.slot()) == (0, "theirs"), told
    assert f"staging-shared, which ends by itself at 24:00 ({ZONE}), was not given back: staging-shared is" in told
    assert (nextstep.selected(), nextstep.serving()) == ("blue", ["blue"] * 3)
    # bench/clusters.py measures how long that takes.
    assert [event["kind"] for event in nextstep.events()][-5:] == [
        "rollback_began",
        "weight_intended",
        "weight_set",
        "evidence_kept",
        "rolled_back",
    ]
    # Nothing of the way is left.
    assert nextstep.autoscaler("blue")["spec"]["minReplicas"] == 2
    left = [*map(nextstep.deployment, LABELS), *map(nextstep.autoscaler, LABELS)]
    assert [annotations(one) for one in left] == [set()] * 4


def test_numbers_of_pods_share_the_traffic_there_and_back(nextstep: NextStep) -> None:
    """R-D2, R-D3, R-B13: nextstep by k8s_replicas, told and refused in time; from the middle it goes back at once."""
    steps = [{"share": 25}, {"share": 50}, {"share": 100}]
    router = {"provider": "k8s_replicas", "name": APP, "selectors": LABELS, "both": {"app": APP}}
    nextstep.extra |= {"cutover_router": router, "cutover_steps": [{"share": 10}, *steps]}
    before = [nextstep.deployment(one)["spec"] for one in LABELS]
    rc, told = nextstep.run("cutover")
    assert (rc, nextstep.selected()) == (2, "blue"), told
    assert [nextstep.deployment(one)["spec"] for one in LABELS] == before
    assert "no number of pods of green makes 10 % beside the 3 of blue; 25, 40, 50, 57, " in told
    assert f"the autoscalers {APP}-blue, {APP}-green would change the numbers" in told
    for colour in LABELS:
        nextstep.admin.gone(nextstep.path("autoscaling/v2", "horizontalpodautoscalers", f"{APP}-{colour}"))

    held = {**steps[1], "hold": "1h"}
    nextstep.extra |= {"cutover_steps": [steps[0], held, steps[2]], "cutover_gate": None, "cutover_run_limit": 0}
    rc, told = nextstep.run("cutover")
    assert rc == 0, told
    assert "only as exact as connections spread" in told
    assert "Beside 3 pods of blue, 25 % is 1 of green, 50 % is 3 of green." in told
    assert nextstep.serving() == ["blue"] * 3 + ["green"] * 3
    rc, told = nextstep.run("rollback")
    assert (rc, nextstep.selected(), nextstep.serving()) == (0, "blue", ["blue"] * 3), told
    assert [event["weight"] for event in nextstep.events() if event["kind"] == "weight_set"] == [25, 50, 0]

    nextstep.extra |= {"cutover_steps": steps}
    rc, told = nextstep.run("cutover")
    assert (rc, nextstep.serving()) == (0, ["green"] * 3), told
    assert nextstep.deployment("blue")["spec"]["replicas"] == 3
    assert [annotations(nextstep.deployment(one)) for one in LABELS] == [set()] * 2


def test_a_rollout_that_is_stuck_fails_with_its_pods_and_leaves_nothing(nextstep: NextStep) -> None:
    """R-B13, R-D6: no traffic has moved, green is as it was, and blue never had fewer pods."""
    stuck = {"spec": {"template": {"metadata": {"annotations": {"tests/ready": "false"}}}}}
    path = nextstep.path("apps/v1", "deployments", f"{APP}-green")
    nextstep.admin.call("PATCH", path, {"spec": {"progressDeadlineSeconds": 1, **stuck["spec"]}}, STRATEGIC)
    rc, told = nextstep.run("cutover")
    assert rc == 2, told
    assert f"the rollout of {APP}-green is stuck (ProgressDeadlineExceeded)" in told
    assert re.search(rf"{APP}-green-\S+: not ready", told)
    assert "nextstep was not moved: all traffic is on blue again" in told
    assert nextstep.serving() == ["blue"] * 3
    kinds = [event["kind"] for event in nextstep.events()]
    assert kinds == ["began", "rollback_began", "evidence_kept", "rolled_back"]
    # R-A8: what was there when it failed, before it was scaled down.
    with tarfile.open(nextstep.events()[2]["path"]) as packed:
        files = ((name.partition("/")[2], packed.extractfile(name)) for name in packed.getnames())
        kept = {name: file.read().decode() for name, file in files if file is not None}
    assert "wanted replicas: 3\n" in kept[f"{nextstep.namespace}/deployment.txt"]
    assert "readyReplicas: 0\n" in kept[f"{nextstep.namespace}/deployment.txt"]
    assert kept[f"{nextstep.namespace}/pods.txt"].count("  Ready False since ") == 3
    assert nextstep.deployment("green")["spec"]["replicas"] == 0
    assert [nextstep.autoscaler(one)["spec"]["minReplicas"] for one in LABELS] == [2, 1]


def patches(seen: Seen) -> bool:
    return seen.method == "PATCH" and f"/services/{APP}" in seen.path


def test_pods_that_fail_right_after_the_switch_take_the_traffic_back(
    nextstep: NextStep, proxied: tuple[Proxy, Path]
) -> None:
    """R-B13, R-D6: a candidate without one ready pod is left after three seconds, not after half a minute."""
    proxy, kubeconfig = proxied
    path = nextstep.path("v1", "pods")

    def fail() -> None:
        for pod in nextstep.admin.call("GET", path, labelSelector="version=green")["items"]:
            unready = {"metadata": {"annotations": {"tests/ready": "false"}}}
            nextstep.admin.call("PATCH", f"{path}/{pod['metadata']['name']}", unready, MERGE)
        nextstep.until(lambda: "green" not in nextstep.serving())

    first = iter([True])
    proxy.fresh(lambda seen: Fault(cut="after", call=fail) if patches(seen) and next(first, False) else None)
    rc, told = nextstep.run("cutover", kubeconfig=kubeconfig)
    assert rc == 2, told
    assert "nextstep was not moved: all traffic is on blue again" in told
    assert (nextstep.selected(), nextstep.serving()) == ("blue", ["blue"] * 3)
    assert nextstep.deployment("green")["spec"]["replicas"] == 0


def test_a_run_that_is_killed_as_it_switches_is_ended_by_the_next(
    nextstep: NextStep, proxied: tuple[Proxy, Path]
) -> None:
    """The controller dies when the traffic has moved; test_cluster_killed.py has each of its other requests."""
    killed(nextstep, proxied)
    rc, told = nextstep.run("cutover")
    assert rc == 0, told
    assert (nextstep.selected(), nextstep.serving()) == ("green", ["green"] * 3)
    assert [nextstep.autoscaler(one)["spec"]["minReplicas"] for one in LABELS] == [3, 1]


def killed(nextstep: NextStep, proxied: tuple[Proxy, Path]) -> None:
    """A run that ends as the traffic has moved."""
    proxy, kubeconfig = proxied
    process: list[subprocess.Popen[str]] = []
    first = iter([True])

    def die(seen: Seen) -> Fault | None:
        dies = patches(seen) and next(first, False)
        return Fault(cut="after", call=lambda: kill(process[0].pid)) if dies else None

    proxy.fresh(die)
    process.append(nextstep.start("cutover", kubeconfig=kubeconfig))
    process[0].communicate(timeout=300)
    assert process[0].returncode == -signal.SIGKILL
    assert nextstep.selected() == "green"


def test_no_snapshot_is_removed_while_nobody_knows_what_is_needed(
    nextstep: NextStep, proxied: tuple[Proxy, Path], tmp_path: Path
) -> None:
    """R-E5: a timer runs expire.yml where nothing says how to reach the cluster, when it refuses, when the journal is
    damaged, and when that is gone, or another environment's.
    """
    (tmp_path / "uploads").mkdir()
    part = {"name": "uploads", "host": "control", "engine": "files", "options": {"paths": [str(tmp_path / "uploads")]}}
    nextstep.extra |= {"cutover_state": [part], "cutover_artifacts": {"destination": str(tmp_path / "kept")}}
    rc, told = nextstep.run("cutover")
    assert rc == 0, told
    # Each environment has its own folder, as it has its own journal.
    assert [one.name for one in (tmp_path / "kept").iterdir()] == [nextstep.namespace]
    [manifest] = (tmp_path / "kept" / nextstep.namespace).glob("*/manifest.json")
    old = {**json.loads(manifest.read_bytes())["manifest"], "expires": 1.0}
    manifest.write_bytes(artifact.render(old))
    config = nextstep.path("v1", "configmaps", "bluegreen-nextstep")
    refused = "Nothing was removed: what can still be needed is in the journal of nextstep, which cannot be read."
    rc, told = nextstep.run("expire", kubeconfig=tmp_path / "none")
    assert (rc, "none does not say how to reach a cluster" in told, manifest.exists()) == (2, True, True), told
    proxy, kubeconfig = proxied
    proxy.fresh(lambda seen: Fault(status=403) if seen.path == config else None)
    rc, told = nextstep.run("expire", kubeconfig=kubeconfig)
    assert (rc, refused in told, manifest.exists()) == (2, True, True), told
    nextstep.admin.call("PATCH", config, {"data": {"journal.json": "{"}}, MERGE)
    rc, told = nextstep.run("expire")
    assert (rc, refused in told, manifest.exists()) == (2, True, True), told
    nextstep.admin.gone(config)
    rc, told = nextstep.run("expire")
    why = f"it is the last one of {old['migration']}, which is not known to be over"
    assert (rc, why in told, manifest.exists()) == (0, True, True), told


@pytest.fixture
def settings(admin: Client, namespace: str) -> Iterator[str]:
    """The path of the Deployments of another namespace, where one is that no controller starts pods for."""
    name = f"{namespace}-settings"
    path = f"/apis/apps/v1/namespaces/{name}/deployments"
    admin.call("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
    admin.call("POST", path, deployment("worker", {"app": "worker"}, 0))
    yield path
    admin.gone(f"/api/v1/namespaces/{name}")


def test_data_is_restored_while_no_pod_runs_and_is_left_while_one_may_write(
    nextstep: NextStep, proxied: tuple[Proxy, Path], tmp_path: Path, cluster: Cluster, settings: str
) -> None:
    """R-B13, R-E7: green corrupts files, its guard still armed; a pod of it does not end, then it does. What the server
    would not take back keeps everything from being stopped.
    """
    uploads = tmp_path / "uploads"
    uploads.mkdir()
    (uploads / "order").write_text("as it was")
    files = {"name": "uploads", "host": "control", "engine": "files", "options": {"paths": [str(uploads)]}}
    options = {"namespace": settings.split("/")[-2], "secrets": "left_out", "kubeconfig": str(cluster.kubeconfig)}
    objects = {"name": "settings", "host": "control", "engine": "kubernetes", "options": options}
    nextstep.extra |= {"cutover_state": [files, objects], "cutover_artifacts": {"destination": str(tmp_path / "kept")}}
    for colour in LABELS:
        quick = {"spec": {"template": {"spec": {"terminationGracePeriodSeconds": 1}}}}
        nextstep.admin.call("PATCH", nextstep.path("apps/v1", "deployments", f"{APP}-{colour}"), quick, STRATEGIC)
    nextstep.ready(f"{APP}-blue", 3)
    killed(nextstep, proxied)
    (uploads / "order").write_text("corrupt")
    (uploads / "more").touch()

    path = nextstep.path("v1", "pods")
    pod = nextstep.admin.call("GET", path, labelSelector="version=green")["items"][0]["metadata"]["name"]
    nextstep.admin.call("PATCH", f"{path}/{pod}", {"metadata": {"finalizers": ["tests.invalid/keep"]}}, MERGE)
    nextstep.extra |= {"rollback_restore": True, "rollback_accept_data_loss": True, "rollback_pods_timeout": 2}
    rc, told = nextstep.run("rollback")
    assert rc == 2, told
    assert "All traffic of nextstep is on blue again, and its data was not restored: data may still be written" in told
    assert f"{pod} has not ended yet" in told
    # It would have taken the lease while nothing was there to send the traffic to.
    assert re.search(r"Disarm the guard\] \*+ (?:(?!TASK \[).)*changed: ", told), told
    assert (uploads / "order").read_text() == "corrupt"
    assert nextstep.events()[-1]["kind"] == "rolled_back"
    assert "data_left" in [event["kind"] for event in nextstep.events()]
    assert (nextstep.selected(), nextstep.serving()) == ("blue", ["blue"] * 3)
    assert [nextstep.deployment(one)["spec"]["replicas"] for one in LABELS] == [3, 0]

    nextstep.admin.call("PATCH", f"{path}/{pod}", {"metadata": {"finalizers": None}}, MERGE)
    nextstep.admin.gone(f"{settings}/worker")
    nextstep.admin.call("POST", settings, deployment("worker", {"app": "other"}, 0))
    generations = [nextstep.deployment(one)["metadata"]["generation"] for one in LABELS]
    rc, told = nextstep.run("rollback")
    assert rc == 2, told
    assert "its data was not restored: the server would not have it as it was; nothing was changed: Deploy" in told
    assert [nextstep.deployment(one)["metadata"]["generation"] for one in LABELS] == generations
    assert (uploads / "order").read_text() == "corrupt"
    since = [event["kind"] for event in nextstep.events()]
    since = since[len(since) - since[::-1].index("rollback_began") :]
    assert since == ["restore_counted", "data_left", "evidence_kept", "rolled_back"]

    # What comes after the restore fails: what it has cost is written down, and told.
    nextstep.admin.gone(f"{settings}/worker")
    nobody = [{"path": "/", "budget_ms": 500}]
    nextstep.extra |= {"cutover_front": "http://127.0.0.1:1", "cutover_verify": nobody}
    rc, told = nextstep.run("rollback")
    assert rc == 2, told
    assert {one.name: one.read_text() for one in uploads.iterdir()} == {"order": "as it was"}
    kinds = [event["kind"] for event in nextstep.events()]
    # Each of them renews the lease.
    each = ["restore_began", "data_restored"]
    restored = ["restore_counted", "restore_counted", "evidence_kept", *each, *each]
    assert [kind for kind in kinds if kind in restored][-7:] == restored
    assert kinds[-1] == "failed"
    config = nextstep.admin.call("GET", nextstep.path("v1", "configmaps", "bluegreen-nextstep"))["data"]
    [audit] = [text for name, text in config.items() if name.startswith("audit-")]
    assert f"- {uploads}: 3 files and folders changed" in audit
    assert re.search(r"What it has cost, and what is left of it, is in /namespaces/\S+/audit-\S+\.md on", told)

    del nextstep.extra["cutover_front"], nextstep.extra["rollback_restore"]
    nextstep.extra |= {"cutover_verify": UNSERVED["cutover_verify"]}
    rc, told = nextstep.run("rollback")
    assert rc == 0, told
    # As many as it had; of green nothing comes back that could write again.
    assert (nextstep.selected(), nextstep.serving()) == ("blue", ["blue"] * 3)
    assert [nextstep.deployment(one)["spec"]["replicas"] for one in LABELS] == [3, 0]
    assert [nextstep.autoscaler(one)["spec"]["minReplicas"] for one in LABELS] == [2, 1]
    left = [*map(nextstep.deployment, LABELS), *map(nextstep.autoscaler, LABELS)]
    assert [annotations(one) for one in left] == [set()] * 4


def kill(pid: int) -> None:
    """A process that we have started, with all that it has started: Ansible's workers have sessions of their own."""
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split():
        kill(int(child))
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


class Application(http.server.BaseHTTPRequestHandler):
    """v1 and v2 at once: they are healthy, follow the ConfigMap as a kubelet would bring it, and match as the lab's."""

    percentage: Callable[[], int]
    least = LEAST
    late: Mapping[str, float] = {}
    """Seconds by path."""

    def _answer(self, code: int, **body: Any) -> None:
        text = json.dumps(body).encode()
        # Who has waited for too long is gone.
        with contextlib.suppress(ConnectionError):
            self.send_response(code)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

    def do_GET(self) -> None:
        time.sleep(self.late.get(self.path, 0))
        if self.path == "/admin/config":
            self._answer(200, v2_traffic_percentage=type(self).percentage())
        else:
            self._answer(200, status="ok", enabled=True)

    def do_POST(self) -> None:
        sent = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path != "/api/v1/matches":
            self._answer(201)
            return
        try:
            self._answer(200, **decide(json.loads(sent), type(self).least))
        except ValueError as error:
            self._answer(422, error=str(error))

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name in the base class
        """Nobody reads it."""


@contextlib.contextmanager
def application(percentage: Callable[[], int]) -> Iterator[str]:
    """Its address."""
    handler = type("Its", (Application,), {"percentage": staticmethod(percentage)})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join(5)


def test_r_b11_answers_that_come_too_late_take_the_traffic_back(
    nextstep: NextStep, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of the three budgets of the inventory as it is, with answers that are far from it."""
    inventory = yaml.safe_load((ROOT / "inventories/nextstep/group_vars/all.yml").read_text(encoding="utf-8"))
    late = {"/health": (2000, 3.0), "/orchestration/health": (500, 0.8), "/safety-rails/health": (100, 0.5)}
    assert [one["path"] for one in inventory["cutover_verify"]] == list(late)
    monkeypatch.setattr(Application, "late", {path: seconds for path, (_budget, seconds) in late.items()})
    del nextstep.extra["cutover_verify"]
    with application(lambda: 0) as address:
        nextstep.extra["nextstep_api"] = address
        rc, told = nextstep.run("cutover")
    assert rc == 2, told
    assert "3 of 3 probes are unhealthy after 1 try" in told
    for path, (budget, _seconds) in late.items():
        found = re.search(rf"GET {address}{path}: [a-z ]* in ([0-9]+) ms, the budget is {budget} ms", told)
        assert found, told
        assert int(found[1]) > budget
    # What answers here does so for both colours, and as late for blue.
    assert "nextstep is not wholly back on blue: Ask the service as its clients do (control): 3 of 3 probes" in told
    assert (nextstep.selected(), nextstep.serving()) == ("blue", ["blue"] * 3)


def test_a_route_shares_by_steps_there_and_back(
    supersmartmatch: Service, routes: str, proxied: tuple[Proxy, Path]
) -> None:
    """R-B5, R-D2, R-D3, R-D7: the same service by the weights of an HTTPRoute, and not on in the time of others."""
    services = {"blue": "supersmartmatch-v1", "green": "supersmartmatch-v2"}
    backends = [{"name": name, "port": 80, "weight": 100 * (name[-1] == "1")} for name in services.values()]
    spec = {"parentRefs": [{"name": "front"}], "rules": [{"backendRefs": backends}]}
    kind = {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": {"name": "supersmartmatch"}}
    supersmartmatch.admin.call("POST", routes, {**kind, "spec": spec})
    supersmartmatch.extra |= {
        "cutover_router": {"provider": "k8s_httproute", "services": services},
        "cutover_steps": [{"share": 50}, {"share": 100}],
        "cutover_back": "progressive",
        "cutover_back_steps": {"shares": [25], "settle": 1},
    }

    def weights() -> list[int]:
        rules = supersmartmatch.admin.call("GET", f"{routes}/supersmartmatch")["spec"]["rules"]
        return [one["weight"] for one in rules[0]["backendRefs"]]

    # As it shares, its slot ends, and another application takes the next one.
    proxy, kubeconfig = proxied
    shared, first = supersmartmatch.share(), iter([True])

    def end() -> None:
        shared.give_back("ours")
        take(shared)

    def fault(seen: Seen) -> Fault | None:
        shares = seen.method == "PATCH" and "/httproutes/" in seen.path
        return Fault(cut="after", call=end) if shares and next(first, False) else None

    proxy.fresh(fault)
    rc, told = supersmartmatch.run("cutover", kubeconfig=kubeconfig)
    assert (rc, weights(), supersmartmatch.slot()) == (0, [50, 50], "theirs"), told
    assert "green gets no more than it has. staging-shared is used by theirs until " in told
    rc, told = supersmartmatch.run("advance")
    assert (rc, weights()) == (2, [50, 50]), told
    assert "staging-shared is used by theirs until " in told
    shared.give_back("theirs")
    rc, told = supersmartmatch.run("cutover")
    assert (rc, weights(), supersmartmatch.slot()) == (0, [0, 100], None), told
    rc, told = supersmartmatch.run("rollback")
    assert (rc, weights()) == (0, [100, 0]), told
    assert [one["weight"] for one in supersmartmatch.events() if one["kind"] == "weight_set"] == [50, 100, 25, 0]


@pytest.fixture
def supersmartmatch(cluster: Cluster, admin: Client, namespace: str, until: Until) -> Iterator[Service]:
    """Two Deployments with two pods each, the Services of both, and the flags in a ConfigMap."""
    made = Service("supersmartmatch-cluster", cluster.kubeconfig, admin, namespace, until, {})
    flags = {"ENABLE_V2": "true", "V2_TRAFFIC_PERCENTAGE": "0", "FALLBACK_TO_V1": "true"}
    config = {"metadata": {"name": "supersmartmatch-flags"}, "data": flags}
    admin.call("POST", made.path("v1", "configmaps"), config)
    for version in ("v1", "v2"):
        name, labels = f"supersmartmatch-{version}", {"app": "supersmartmatch", "version": version}
        admin.call("POST", made.path("apps/v1", "deployments"), deployment(name, labels, 2))
        admin.call("POST", made.path("v1", "services"), service(name, labels))
        admin.call("POST", made.path("autoscaling/v2", "horizontalpodautoscalers"), autoscaler(name, 1, 4))
    made.ready("supersmartmatch-v2", 2)

    quiet, pods = iter(("v1", "v2")), itertools.cycle((False, True))
    taken, since, before = 0, 0.0, 0

    def percentage() -> int:
        """In the first step each autoscaler finds once that one pod would do. Of two pods that answer in turn one takes
        a share a second later.
        """
        nonlocal taken, since, before
        share = flags()
        if share != taken:
            taken, since, before = share, time.monotonic(), taken
        for version in quiet if share else ():
            path = made.path("apps/v1", "deployments", f"supersmartmatch-{version}/scale")
            admin.call("PATCH", path, {"spec": {"replicas": 1}}, MERGE)
        return before if next(pods) and time.monotonic() < since + 1 else share

    def flags() -> int:
        return int(admin.call("GET", made.path("v1", "configmaps", config["metadata"]["name"]))["data"][KEY])

    with application(percentage) as address:
        made.extra = {
            "supersmartmatch_namespace": namespace,
            "supersmartmatch_urls": dict.fromkeys(("front", "blue", "green"), address),
            # What a gate says is not asked here, and nobody waits for days.
            "cutover_gate": None,
            "cutover_guard": {**GUARD, "triggers": []},
            "cutover_steps": [{"share": 5, "hold": "1h"}, {"share": 100}],
            "cutover_run_limit": 0,
        }
        yield made


KEY = "V2_TRAFFIC_PERCENTAGE"


def test_a_share_goes_from_run_to_run_and_back(supersmartmatch: Service, tmp_path: Path) -> None:
    """R-D1, R-D2, R-D3, R-D5, R-D6, R-D10, R-D12: supersmartmatch by its ConfigMap; each step is a run of its own."""

    def flags() -> dict[str, str]:
        path = supersmartmatch.path("v1", "configmaps", "supersmartmatch-flags")
        return dict(supersmartmatch.admin.call("GET", path)["data"])

    part = {"name": "models", "host": "control", "engine": "files", "options": {"paths": [str(tmp_path / "models")]}}
    (tmp_path / "models").mkdir()
    kept, away = tmp_path / "kept" / supersmartmatch.namespace, tmp_path / "away"
    # Its guard has the time that the plan gives it.
    supersmartmatch.extra |= {
        "cutover_state": [part],
        "cutover_artifacts": {"destination": str(kept.parent)},
        "cutover_guard": {"triggers": []},
    }
    rc, told = supersmartmatch.run("cutover")
    assert rc == 0, told
    assert "green is held at 5 %" in told
    shown = next(event for event in supersmartmatch.events() if event["kind"] == "probed")["checkpoints"]
    assert [one["seen"] for one in shown if one["name"] == "rules"] == ["7 of 7 cases passed"]
    assert flags() == {"ENABLE_V2": "true", KEY: "5", "FALLBACK_TO_V1": "true"}
    # An autoscaler that wanted fewer pods in the step was kept from it, on either side.
    for version in ("v1", "v2"):
        supersmartmatch.ready(f"supersmartmatch-{version}", 2)

    # Somebody applies manifests: the bound is the autoscaler's own again, and one pod would do.
    scaler = supersmartmatch.path("autoscaling/v2", "horizontalpodautoscalers", "supersmartmatch-v1")
    supersmartmatch.admin.call("PATCH", scaler, {"spec": {"minReplicas": 1}}, MERGE)
    scale = supersmartmatch.path("apps/v1", "deployments", "supersmartmatch-v1/scale")
    supersmartmatch.admin.call("PATCH", scale, {"spec": {"replicas": 1}}, MERGE)
    # A resumed run takes the plan as it is now. It moves nothing more without what it could go back to.
    supersmartmatch.extra["cutover_steps"][0]["hold"] = 1
    report, page = supersmartmatch.report()
    assert (report["migration"]["share"], report["recommendation"]["do"]) == (5, "advance"), report
    assert report["recommendation"]["sentence"] == "its hold is over; next is 100 %"
    assert [one["share"] for one in report["migration"]["path"]] == [0, 5]
    assert "<polyline" in page
    kept.rename(away)
    kept.mkdir()
    rc, told = supersmartmatch.run("advance")
    assert (rc, flags()[KEY]) == (2, "5"), told
    assert "is not there any more. Nothing was changed; the candidate keeps its share" in told
    kept.rmdir()
    away.rename(kept)
    # Nor does cutover.yml, which does not take another one: that would have what the candidate has written. R-E1.
    [archive] = kept.glob("*/data/*.tar.zst")
    whole = archive.read_bytes()
    archive.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    rc, told = supersmartmatch.run("cutover")
    assert (rc, flags()[KEY]) == (2, "5"), told
    assert re.search(rf"{archive.parents[1]} on \S+, is damaged: data/{archive.name} was changed after it was", told)
    assert "another snapshot would have what the candidate has written since: go back with rollback.yml; or" in told
    assert len(list(kept.glob("*/manifest.json"))) == 1
    archive.write_bytes(whole)
    # They are where they were put, whatever the inventory says of new ones by now.
    supersmartmatch.extra["cutover_artifacts"] = {"destination": str(tmp_path / "elsewhere")}
    report, _page = supersmartmatch.report()
    assert report["recommendation"]["do"] == "advance"
    rc, told = supersmartmatch.run("advance")
    assert (rc, flags()[KEY]) == (0, "100"), told
    assert "they are held again: keep supersmartmatch-v1 from going below 2." in told
    supersmartmatch.ready("supersmartmatch-v1", 2)
    rc, told = supersmartmatch.run("advance")
    assert (rc, changed(told)) == (0, 0), told

    rc, told = supersmartmatch.run("status")
    assert (rc, "supersmartmatch: blue 0 %, green 100 %" in told) == (0, True), told
    rc, told = supersmartmatch.run("rollback")
    assert (rc, flags()[KEY]) == (0, "0"), told
    assert [event["kind"] for event in supersmartmatch.events()][-1] == "rolled_back"
    scalers = supersmartmatch.path("autoscaling/v2", "horizontalpodautoscalers")
    assert [one["spec"]["minReplicas"] for one in supersmartmatch.admin.call("GET", scalers)["items"]] == [1, 1]
    report, page = supersmartmatch.report()
    assert [one["share"] for one in report["migration"]["path"]] == [0, 5, 100, 0]
    assert report["recommendation"] is None
    failed, recovered = (report["indicators"]["all"][name] for name in ("change_failure_rate", "time_to_recover"))
    assert failed["value"] == 1
    assert 0 < recovered["value"] < 60
    assert "100.0%: 1 of 1 went back" in page


def test_r_d11_a_candidate_that_decides_otherwise_gets_no_traffic(
    supersmartmatch: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Two would be matched that a person has to look at.
    monkeypatch.setattr(Application, "least", 0.5)
    rc, told = supersmartmatch.run("cutover")
    assert rc == 2, told
    assert "supersmartmatch was not moved: all traffic is on blue again" in told
    shown = next(event for event in supersmartmatch.events() if event["kind"] == "probed")["checkpoints"]
    [rules] = [one for one in shown if one["name"] == "rules"]
    assert rules["passed"] is False
    asked = '{"required": ["python", "sql"], "skills": ["python"]}'
    for text in (
        "5 of 7 cases passed. Failed: three of four skills are for a person to judge: {",
        f"half of the skills are for a person to judge: {asked} → decision is 'match', 'review' is expected (at http://",
    ):
        assert text in rules["seen"]
        assert text in told
    flags = supersmartmatch.admin.call("GET", supersmartmatch.path("v1", "configmaps", "supersmartmatch-flags"))
    assert flags["data"][KEY] == "0"
    assert "weight_intended" not in [event["kind"] for event in supersmartmatch.events()]
