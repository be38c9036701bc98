# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A Service switched by its selector: k8s_selector_patch beside kubernetes.core.k8s, one task and up to 50 of them.

And the way back: how long from its decision until the EndpointSlices hold the old colour's pods alone, by the playbook
and without Ansible.

Runs against the API server that tests/kubernetes runs against (docs/kubernetes.md), which is named in its page. The
peer patches the selector and checks nothing. Exits with 1 when a target is missed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / one) for one in ("lab", "tests/kubernetes", "collections")]

# Where they are, is only known now.
import hosts  # noqa: E402
import report  # noqa: E402
from ansible_collections.bluegreen.cutover.plugins.module_utils import _kubernetes  # noqa: E402
from ansible_collections.bluegreen.cutover.plugins.module_utils._selector import Target, switch  # noqa: E402
from cluster import node, starting  # noqa: E402
from cluster.client import Client  # noqa: E402
from figures import target  # noqa: E402

COLOURS = {"blue": {"app": "shop", "version": "v1"}, "green": {"app": "shop", "version": "v2"}}
PODS = 2
SIZES = (1, 10, 25, 50)
RESULTS = ROOT / "bench/results"


def make(admin: Client, number: int) -> list[str]:
    """So many namespaces, each with a Service and both colours of an application, all ready."""
    names = [f"bench-{os.getpid()}-{one}" for one in range(number)]
    for name in names:
        admin.call("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
        for colour, labels in COLOURS.items():
            template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "app", "image": "app:1"}]}}
            spec = {"replicas": PODS, "selector": {"matchLabels": labels}, "template": template}
            path = f"/apis/apps/v1/namespaces/{name}/deployments"
            admin.call("POST", path, {"metadata": {"name": colour}, "spec": spec})
        spec = {"selector": COLOURS["blue"], "ports": [{"port": 80}]}
        admin.call("POST", f"/api/v1/namespaces/{name}/services", {"metadata": {"name": "web"}, "spec": spec})
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        found = admin.call("GET", "/apis/apps/v1/deployments")["items"]
        mine = [one for one in found if one["metadata"]["namespace"] in names]
        if all((one.get("status") or {}).get("readyReplicas") == PODS for one in mine):
            return names
        time.sleep(0.2)
    raise SystemExit("the pods of the bench are not ready after 120 s")


def task(name: str, kubeconfig: Path, namespaces: list[str], to: str) -> dict[str, Any]:
    """One task that switches the Service of each namespace."""
    common = {"kubeconfig": str(kubeconfig), "namespace": "{{ item }}", "name": "web"}
    if name == "k8s_selector_patch":
        action = {"bluegreen.cutover.k8s_selector_patch": {**common, "selectors": COLOURS, "to": to}}
    else:
        definition = {"spec": {"selector": {"version": COLOURS[to]["version"]}}}
        kind = {"state": "patched", "api_version": "v1", "kind": "Service", "definition": definition}
        action = {"kubernetes.core.k8s": {**common, **kind}}
    return {**action, "loop": namespaces, "loop_control": {"label": ""}}


def go_back(kubeconfig: Path, admin: Client, namespace: str, scratch: Path) -> float:
    """Seconds of a rollback, by the journal: what it has decided, and that the endpoints have followed."""
    extra = {
        "cutover_cluster": {"kubeconfig": str(kubeconfig), "namespace": namespace},
        "cutover_state_dir": str(scratch / "state"),
        "cutover_router": {"provider": "k8s_service", "name": "web", "selectors": COLOURS},
        "cutover_colours": {colour: {"deployment": colour} for colour in COLOURS},
        # Nothing answers in these pods, and it is the switch that is measured.
        "cutover_verify": [],
        "cutover_state": [],
    }
    # Nothing moves without a guard, and its pod needs a node.
    with node.alone(kubeconfig, admin, namespace, scratch):
        for playbook in ("cutover", "rollback"):
            ansible(
                f"--inventory={ROOT}/inventories/nextstep",
                f"--extra-vars={json.dumps(extra)}",
                f"{ROOT}/playbooks/{playbook}.yml",
            )
    config = admin.call("GET", f"/api/v1/namespaces/{namespace}/configmaps/bluegreen-nextstep")
    events = json.loads(config["data"]["journal.json"])["migrations"][-1]["events"]
    at = {event["kind"]: float(event["at"]) for event in events}
    return at["weight_set"] - at["rollback_began"]


def ansible(*arguments: str) -> float:
    """Run that playbook; the most memory of one of its processes, in MB."""
    command = [str(Path(sys.executable).parent / "ansible-playbook"), *arguments]
    limited = ["timeout", "--kill-after=10", "600", *command]
    environment = {**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "collections")}
    with tempfile.TemporaryFile("w+") as told:
        process = subprocess.Popen(limited, env=environment, stdin=subprocess.DEVNULL, stdout=told, stderr=told)
        # Of this play alone, and of whom it has waited for; getrusage has the most of all plays so far.
        _pid, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            told.seek(0)
            raise SystemExit(told.read())
    return used.ru_maxrss / 1024


def play(scratch: Path, one: dict[str, Any]) -> tuple[float, float]:
    """Seconds of one play with that task, and the most memory of one of its processes in MB."""
    book = scratch / "play.json"
    hosts = {"hosts": "localhost", "connection": "local", "gather_facts": False}
    variables = {"ansible_python_interpreter": sys.executable}
    book.write_text(json.dumps([{**hosts, "vars": variables, "tasks": [one]}]))
    began = time.monotonic()
    memory = ansible("--inventory", "localhost,", str(book))
    return time.monotonic() - began, memory


def rollbacks(kubeconfig: Path, admin: Client, namespace: str, number: int) -> dict[str, Any]:
    """So many rollbacks by the emergency path: milliseconds from deciding until the endpoints are only blue's."""
    cluster, target = _kubernetes.connect(str(kubeconfig)), Target(namespace, "web", COLOURS)
    slices = f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices"
    took, requests = [], set()
    for _number in range(number):
        switch(cluster, target, "green")
        began = time.monotonic()
        done = switch(cluster, target, "blue", min_ready=1, accept_rollout=True)
        took.append((time.monotonic() - began) * 1000)
        requests.add(done["requests"])
        found = admin.call("GET", slices, labelSelector="kubernetes.io/service-name=web")["items"]
        pods = [end["targetRef"]["name"] for one in found for end in one.get("endpoints") or ()]
        if sorted(pod.partition("-")[0] for pod in pods) != ["blue"] * PODS:
            raise SystemExit(f"after a rollback the endpoints are {pods}")
    return {
        "rollbacks": number,
        "milliseconds": {"median": round(statistics.median(took)), "max": round(max(took))},
        "requests": sorted(requests),
    }


def measure(kubeconfig: Path, scratch: Path, runs: int) -> dict[str, Any]:
    admin = Client(kubeconfig)
    namespaces = make(admin, max(SIZES))
    try:
        colours = ["green", "blue"] * (runs * len(SIZES))
        times: dict[str, list[float]] = {"k8s_selector_patch": [], "kubernetes.core.k8s": []}
        for number in range(runs):
            # Each begins every other time: what warms up helps both.
            for name in list(times)[:: 1 if number % 2 else -1]:
                times[name].append(play(scratch, task(name, kubeconfig, namespaces[:1], colours.pop(0)))[0])
        growth = []
        for size in SIZES:
            seconds, memory = play(scratch, task("k8s_selector_patch", kubeconfig, namespaces[:size], colours.pop(0)))
            growth.append({"services": size, "seconds": round(seconds, 2), "peak_mb": round(memory)})
        slope = (growth[-1]["seconds"] - growth[0]["seconds"]) / (growth[-1]["services"] - growth[0]["services"])
        medians = {name: round(statistics.median(one), 2) for name, one in times.items()}
        back = sorted(round(go_back(kubeconfig, admin, name, scratch), 2) for name in namespaces[:runs])
        return {
            "rollback_seconds": {"median": statistics.median(back), "most": back[-1]},
            "one_task_seconds": medians,
            "ratio": round(medians["k8s_selector_patch"] / medians["kubernetes.core.k8s"], 2),
            "runs": runs,
            "growth": growth,
            "seconds_per_service": round(slope, 3),
            "back_without_ansible": rollbacks(kubeconfig, admin, namespaces[0], 2 * runs),
        }
    finally:
        for name in namespaces:
            admin.gone(f"/api/v1/namespaces/{name}")


def targets(measured: dict[str, Any]) -> list[dict[str, Any]]:
    """What it must show."""
    least, most = measured["growth"][0], measured["growth"][-1]
    return [
        target("one task ÷ `kubernetes.core.k8s`", measured["ratio"], 1.5),
        target(f"each of {most['services']} Services more in one task, s", measured["seconds_per_service"], 0.15),
        target(
            f"memory with {most['services']} Services ÷ with {least['services']}",
            round(most["peak_mb"] / least["peak_mb"], 2),
            1.1,
        ),
        target(
            "`rollback.yml`, from its decision until the endpoints are back, s",
            measured["rollback_seconds"]["median"],
            2,
        ),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5, help="plays of one task for each (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="one of each, to see that it works; not kept")
    given = parser.parse_args()
    began, machine = time.monotonic(), hosts.describe_here()
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        found = stack.enter_context(starting.cluster(Path(folder)))
        result = measure(found.kubeconfig, Path(folder), 1 if given.quick else given.runs)
    machine["load_average_after"] = round(os.getloadavg()[0], 2)
    minutes = round((time.monotonic() - began) / 60, 1)
    verdicts = targets(result)
    document = {
        "machine": machine,
        "server": found.told,
        "minutes": minutes,
        "measured": result,
        "targets": verdicts,
    }
    text = report.render_clusters(document)
    print(text)
    if not given.quick:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / "clusters.json").write_text(json.dumps(document, indent=2) + "\n")
        (RESULTS / "clusters.md").write_text(text)
    return 0 if all(one["met"] for one in verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
