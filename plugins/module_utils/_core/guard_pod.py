# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The guard of a service in a cluster: its objects, its rights, and what its process tells. Pure.

It is a Job: like the unit on a host it runs for as long as there is something to guard, ends by itself, and is removed
then (``ttlSecondsAfterFinished``), with no right of its own to do so. Until it has ended its controller replaces a pod
that is lost. A Deployment would run, and hold its rights, until somebody comes to remove it.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

Document = dict[str, Any]

IMAGE = "docker.io/library/python:3.13.7-slim"
"""Any that has ``python3`` of 3.9 or later. A tag may move: who cannot have that names another one, by its digest."""

IMAGES = (
    r"([a-z0-9.-]+(:[0-9]{1,5})?/)?[a-z0-9]+(([./]|__?|-+)[a-z0-9]+)*"
    r"(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(@sha256:[0-9a-f]{64})?"
)
"""The pattern of an image's name: its registry, its path, a tag, a digest."""

BOOT_ID = "kubernetes"
"""Of every moment in a cluster: its clock, which is that of the API server, does not begin anew."""

ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
"""Where a pod has the credentials of its ServiceAccount."""

SECRETS = "/secrets"
"""Where the guard's pod has the files of the Secret that it was given."""

_FILES = ("token_file", "password_file", "ca_path", "client_cert", "client_key")

PULSE = "bluegreen.cutover/guard"
"""The annotation of the guard's own Lease that has what its process told last."""

_LABELS = {"app.kubernetes.io/managed-by": "bluegreen.cutover", "app.kubernetes.io/component": "guard"}
_FOLLOWED = ["get", "list", "watch"]


def name_of(service: str) -> str:
    """The name of all objects of the guard of ``service``, which are no other service's record."""
    return f"cutover-guard-{service}"


def for_pod(plan: Mapping[str, Any]) -> dict[str, Any]:
    """``plan`` as a guard in a pod takes it: files are its Secret's, by their names, and the cluster is its own."""
    router = {name: value for name, value in plan["router"].items() if name not in ("kubeconfig", "context")}
    settings = plan["guard"]
    return {**plan, "router": _moved(router), "guard": {**settings, "prometheus": _moved(settings["prometheus"])}}


def files(options: Mapping[str, Any]) -> list[str]:
    """The files that options of a router or of Prometheus name."""
    return [str(options[name]) for name in _FILES if options.get(name)]


def in_pod(path: str) -> str:
    """Where the guard's pod has a file of a host: in its Secret, by its name."""
    return f"{SECRETS}/{PurePosixPath(path).name}"


def image_of(settings: Mapping[str, Any]) -> str:
    """The image of the guard's pod; ``settings`` are a plan's ``guard``."""
    return str(settings.get("image") or IMAGE)


def doubt(image: str) -> str:
    """Why nobody knows what an image will be when it is pulled, and what to do; empty where its digest says so."""
    if "@sha256:" in image:
        return ""
    return (
        f"the guard's pod is of {image}, which its registry may make another image at any time; name one by its digest "
        "with cutover_guard.image"
    )


def rights(service: str, router: Mapping[str, Any]) -> list[Document]:
    """The rules of the guard's Role: it may change what moves the traffic, and its record, and read who is ready."""
    moved = {
        "k8s_service": ("", "services", "name"),
        # It goes back by the selector alone: the numbers of pods are the run's.
        "k8s_replicas": ("", "services", "name"),
        "k8s_httproute": ("gateway.networking.k8s.io", "httproutes", "name"),
        "k8s_ingress": ("networking.k8s.io", "ingresses", "canary"),
        "k8s_configmap": ("", "configmaps", "name"),
    }
    group, resource, option = moved[router["provider"]]
    rules = [_rule(group, resource, ["get", "patch"], router[option])]
    if router["provider"] == "k8s_ingress":
        rules.append(_rule(group, resource, ["get"], router["stable"]))
    if router["provider"] in ("k8s_service", "k8s_replicas"):
        rules += [_rule("", "pods", _FOLLOWED), _rule("apps", "deployments", _FOLLOWED)]
    return [
        *rules,
        _rule("discovery.k8s.io", "endpointslices", _FOLLOWED),
        _rule("", "configmaps", [*_FOLLOWED, "patch"], f"bluegreen-{service}"),
        _rule("coordination.k8s.io", "leases", ["get", "update"], f"bluegreen-{service}"),
        _rule("coordination.k8s.io", "leases", ["patch"], name_of(service)),
    ]


def standing(service: str, router: Mapping[str, Any]) -> list[Document]:
    """The objects that may stay when nothing is guarded: who the guard is, what it may do, and where it tells."""
    rbac = "rbac.authorization.k8s.io"
    metadata = _metadata(service, router["namespace"])
    name = metadata["name"]
    return [
        {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": metadata,
            "automountServiceAccountToken": False,
        },
        {"apiVersion": f"{rbac}/v1", "kind": "Role", "metadata": metadata, "rules": rights(service, router)},
        {
            "apiVersion": f"{rbac}/v1",
            "kind": "RoleBinding",
            "metadata": metadata,
            "roleRef": {"apiGroup": rbac, "kind": "Role", "name": name},
            "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": metadata["namespace"]}],
        },
        {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata},
    ]


def program_map(service: str, namespace: str, program: bytes) -> Document:
    """The ConfigMap with the guard's program."""
    data = {"guard.pyz": base64.b64encode(program).decode("ascii")}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": _metadata(service, namespace), "binaryData": data}


def job(service: str, namespace: str, version: str, *, image: str = IMAGE, secret: str | None = None) -> Document:
    """The Job that runs the program. ``version`` tells one from another; ``secret`` has the files that it needs."""
    metadata = _metadata(service, namespace)
    name = metadata["name"]
    mounts = [{"name": "program", "mountPath": "/program", "readOnly": True}]
    volumes: list[Document] = [{"name": "program", "configMap": {"name": name}}]
    if secret:
        mounts.append({"name": "secrets", "mountPath": SECRETS, "readOnly": True})
        # 0444: the process is nobody's.
        volumes.append({"name": "secrets", "secret": {"secretName": secret, "defaultMode": 0o444}})
    container = {
        "name": "guard",
        "image": image,
        "command": ["python3", "-I", "/program/guard.pyz", "run", namespace, service, ACCOUNT, version],
        "resources": {"requests": {"cpu": "20m", "memory": "48Mi"}, "limits": {"memory": "192Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": mounts,
    }
    gone = {"operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5}
    pod = {
        "serviceAccountName": name,
        "automountServiceAccountToken": True,
        "restartPolicy": "OnFailure",
        "terminationGracePeriodSeconds": 2,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 65534,
            "runAsGroup": 65534,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        # Five minutes on a node that is lost would be too long.
        "tolerations": [{"key": f"node.kubernetes.io/{why}", **gone} for why in ("not-ready", "unreachable")],
        "containers": [container],
        "volumes": volumes,
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {**metadata, "annotations": {PULSE: version}},
        "spec": {
            # A pod that is lost or moved is no reason to give up.
            "backoffLimit": 1_000_000,
            "ttlSecondsAfterFinished": 60,
            "template": {"metadata": {"labels": metadata["labels"]}, "spec": pod},
        },
    }


def version_of(documents: Sequence[Mapping[str, Any]], program: bytes) -> str:
    """What tells these objects and this program from others."""
    return hashlib.sha256(json.dumps(documents, sort_keys=True).encode() + program).hexdigest()[:16]


def has(found: Any, wanted: Any) -> bool:
    """Has an object all that is wanted of it? What it has besides is the server's, or somebody else's."""
    if isinstance(found, Mapping) and isinstance(wanted, Mapping):
        return all(name in found and has(found[name], value) for name, value in wanted.items())
    return bool(found == wanted)


def is_ended(job: Mapping[str, Any]) -> bool:
    """Will this Job start no more pods?"""
    conditions = (job.get("status") or {}).get("conditions") or ()
    ended = any(one["type"] in ("Complete", "Failed") and one["status"] == "True" for one in conditions)
    return ended or bool(job["metadata"].get("deletionTimestamp"))


def pulse(seen: Mapping[str, Any], pod: str, at: str) -> Document:
    """The merge patch by which the process tells ``seen``; ``at`` is the same time as Leases have it."""
    return {
        "metadata": {"annotations": {PULSE: json.dumps(seen, sort_keys=True)}},
        "spec": {"holderIdentity": pod, "renewTime": at},
    }


def told(lease: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """What the process told last: ``token``, ``generation``, ``at``, ``problem``, ``version``; None before that."""
    text = ((lease or {}).get("metadata", {}).get("annotations") or {}).get(PULSE)
    try:
        seen = json.loads(text or "null")
    except ValueError:
        return None
    numbers = ("token", "generation", "at")
    whole = isinstance(seen, dict) and all(isinstance(seen.get(name), (int, float)) for name in numbers)
    return {"problem": "", "version": "", **seen} if whole else None


def why_not(pods: Sequence[Mapping[str, Any]]) -> list[str]:
    """What keeps pods from running, as their kubelets and the scheduler tell."""
    return [f"{pod['metadata']['name']}: {said}" for pod in pods for said in _said(pod.get("status") or {})]


def why_none(events: Sequence[Mapping[str, Any]], job: str) -> list[str]:
    """What keeps the Job ``job`` from having a pod, as its controller tells in ``events``, the last first."""
    mine = [
        one
        for one in events
        if one.get("type") == "Warning"
        and ((one.get("involvedObject") or {}).get("kind"), one["involvedObject"].get("name")) == ("Job", job)
    ]
    mine.sort(key=lambda one: str(one.get("lastTimestamp") or one.get("eventTime") or ""), reverse=True)
    said = (f"no pod is made: {one.get('reason')}: {' '.join(str(one.get('message')).split())}" for one in mine)
    # The same is told of each try.
    return list(dict.fromkeys(said))[:3]


def _said(status: Mapping[str, Any]) -> Iterator[str]:
    for one in status.get("containerStatuses") or ():
        for state in ("waiting", "terminated"):
            found = (one.get("state") or {}).get(state)
            if found:
                yield f"{state}, {found.get('reason')}: {found.get('message') or found.get('exitCode', '')}"
    for one in status.get("conditions") or ():
        if one["type"] == "PodScheduled" and one["status"] != "True":
            yield f"not scheduled: {one.get('message')}"


def _metadata(service: str, namespace: str) -> Document:
    labels = {**_LABELS, "app.kubernetes.io/instance": service}
    return {"name": name_of(service), "namespace": namespace, "labels": labels}


def _rule(group: str, resource: str, verbs: Sequence[str], name: str | None = None) -> Document:
    named = {} if name is None else {"resourceNames": [name]}
    return {"apiGroups": [group], "resources": [resource], **named, "verbs": list(verbs)}


def _moved(options: Mapping[str, Any]) -> dict[str, Any]:
    moved = {name: in_pod(options[name]) for name in _FILES if options.get(name)}
    return {**options, **moved}
