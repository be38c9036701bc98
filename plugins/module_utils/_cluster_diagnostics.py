# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is left of a colour that failed in a cluster, while its pods are still there.

Of objects only what is named here is told, never their environment, arguments, volumes or annotations: that is where
services have their secrets.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ansible_collections.bluegreen.cutover.plugins.module_utils._core import rollout, selector
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import ClusterError
from ansible_collections.bluegreen.cutover.plugins.module_utils._diagnostics import LIMIT, LINES, masked
from ansible_collections.bluegreen.cutover.plugins.module_utils._kubernetes import Cluster, path_of

PATIENCE = 2.0
"""Seconds for which an API that cannot answer now is asked again: the rest of the way back waits for this."""
LOGS = 8
"""Containers whose logs are read: those of pods that are not ready come first."""
EVENTS = 200
"""Events that are told: the last ones."""
TOGETHER = 4
"""Requests at a time."""

Document = Mapping[str, Any]


def collect(cluster: Cluster, namespace: str, deployment: str) -> dict[str, str]:
    """Texts by file name, of a Deployment and its pods. What cannot be had is told in its place; never raises
    ``ClusterError``.
    """
    cluster.patience = PATIENCE
    try:
        found = cluster.call("GET", path_of("apps/v1", namespace, "deployments", deployment))
        query = {"labelSelector": rollout.pods_of(found)}
        pods = cluster.call("GET", path_of("v1", namespace, "pods"), query=query)["items"]
    except ClusterError as error:
        return {"unknown.txt": f"{error.message}\n"}
    pods.sort(key=lambda pod: (selector.is_ready(pod), pod["metadata"]["name"]))
    files = {
        "deployment.txt": "\n".join(_deployment(found)) + "\n",
        "pods.txt": "".join("\n".join(_pod(pod)) + "\n" for pod in pods) or "there are none\n",
        "events.txt": _events(cluster, namespace, deployment, [pod["metadata"]["name"] for pod in pods]),
    }
    asked = [log for pod in pods for log in _logs(pod)][:LOGS]
    with ThreadPoolExecutor(max_workers=TOGETHER) as pool:
        texts = pool.map(lambda log: _log(cluster, namespace, *log), asked)
    names = [f"log-{pod}-{container}{'-before' if before else ''}.txt" for pod, container, before in asked]
    files.update(zip(names, texts))
    return {name: masked(text)[-LIMIT:] for name, text in files.items()}


def _deployment(found: Document) -> Iterator[str]:
    # The API leaves zeros out, and that none is ready is what matters here.
    status = {"readyReplicas": 0, "availableReplicas": 0, **(found.get("status") or {})}
    yield f"{found['metadata']['name']}: generation {found['metadata'].get('generation')}"
    yield f"wanted replicas: {found['spec'].get('replicas')}"
    yield from (f"{name}: {value}" for name, value in sorted(status.items()) if isinstance(value, int))
    yield from _conditions(status)


def _pod(pod: Document) -> Iterator[str]:
    status = pod.get("status") or {}
    yield f"{pod['metadata']['name']}: {status.get('phase')} on {pod['spec'].get('nodeName')}, {_reason(status)}"
    yield from _conditions(status)
    for one in (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())):
        yield f"  {one['name']}: {one.get('image')}, ready {one.get('ready')}, restarts {one.get('restartCount')}"
        for when, states in (("now", one.get("state") or {}), ("before", one.get("lastState") or {})):
            for state, its in states.items():
                times = " ".join(f"{name} {its[name]}" for name in ("startedAt", "finishedAt") if its.get(name))
                code = f", exit status {its['exitCode']}" if "exitCode" in its else ""
                yield f"    {when}: {state}{code}, {_reason(its)} {times}".rstrip()


def _conditions(status: Document) -> Iterator[str]:
    for one in status.get("conditions") or ():
        yield f"  {one['type']} {one['status']} since {one.get('lastTransitionTime')}: {_reason(one)}"


def _reason(what: Document) -> str:
    said = ": ".join(str(what[name]) for name in ("reason", "message") if what.get(name))
    return " ".join(said.split()) or "no reason is told"


def _events(cluster: Cluster, namespace: str, deployment: str, pods: Sequence[str]) -> str:
    """Those of the Deployment, of its ReplicaSets and of its pods."""
    try:
        listed = cluster.call("GET", path_of("v1", namespace, "events"), query={"limit": "2000"})["items"]
    except ClusterError as error:
        return f"{error.message}\n"
    sets = {name.rpartition("-")[0] for name in pods}
    named = {("Deployment", deployment), *(("Pod", name) for name in pods), *(("ReplicaSet", name) for name in sets)}
    mine = []
    for one in listed:
        about = one.get("involvedObject") or {}
        if (about.get("kind"), about.get("name")) in named:
            at = one.get("lastTimestamp") or one.get("eventTime") or one["metadata"].get("creationTimestamp") or ""
            many = f" ({one['count']} times)" if one.get("count", 1) > 1 else ""
            mine.append(f"{at} {one.get('type')} {about['kind']} {about['name']}: {_reason(one)}{many}")
    return "".join(f"{line}\n" for line in sorted(mine)[-EVENTS:]) or "there are none\n"


def _logs(pod: Document) -> Iterator[tuple[str, str, bool]]:
    """Pod, container, and whether it is the log of the process before, which is the one that failed."""
    status = pod.get("status") or {}
    for one in (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())):
        if (one.get("lastState") or {}).get("terminated"):
            yield pod["metadata"]["name"], one["name"], True
        if not (one.get("state") or {}).get("waiting"):
            yield pod["metadata"]["name"], one["name"], False


def _log(cluster: Cluster, namespace: str, pod: str, container: str, before: bool) -> str:
    # The server keeps the first ones of so many bytes, and what matters is at the end.
    query = {"container": container, "tailLines": str(LINES), "limitBytes": str(5 * LIMIT), "timestamps": "true"}
    if before:
        query["previous"] = "true"
    try:
        return cluster.text(f"{path_of('v1', namespace, 'pods', pod)}/log", query) or "it is empty\n"
    except ClusterError as error:
        return f"{error.message}\n"
