# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kubernetes objects as people wrote them: without what the server and its controllers set.

An object is plain JSON with ``apiVersion`` and ``kind``. Its *resource* is the plural of its kind with the group, such
as ``services`` and ``deployments.apps``.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from ansible_collections.bluegreen.cutover.plugins.module_utils._core import rollout
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.artifact import Content

Document = dict[str, Any]
Key = tuple[str, str]
"""Resource and name."""
Objects = Mapping[Key, Document]

NAMESPACES = "namespaces"
SECRETS = "secrets"
CLAIMS = "persistentvolumeclaims"
OURS = {"app.kubernetes.io/managed-by": "bluegreen.cutover"}
"""Labels of what this collection keeps in a cluster: journals, leases, guards."""

IGNORED_GROUPS = frozenset({"metrics.k8s.io", "custom.metrics.k8s.io", "external.metrics.k8s.io"})
"""What they list are measurements."""

IGNORED = frozenset(
    {
        "events",
        "events.events.k8s.io",
        "leases.coordination.k8s.io",
        "controllerrevisions.apps",
        "csistoragecapacities.storage.k8s.io",
        # What ought to run is in what makes them; a Job that is made again runs again.
        "pods",
        "jobs.batch",
    }
)
"""Resources that say what happens, not what ought to be."""

_HOLDS_DATA = frozenset({CLAIMS, "volumesnapshots.snapshot.storage.k8s.io"})
_MADE_CONFIGS = frozenset({"kube-root-ca.crt", "openshift-service-ca.crt"})
_TOKENS = frozenset({"kubernetes.io/service-account-token", "bootstrap.kubernetes.io/token"})
_ANNOTATIONS = (
    "autoscaling.alpha.kubernetes.io/",
    "bluegreen.cutover/",
    "deployment.kubernetes.io/",
    "deprecated.daemonset.template.generation",
    "endpoints.kubernetes.io/",
    "pv.kubernetes.io/",
    "volume.beta.kubernetes.io/storage-provisioner",
    "volume.kubernetes.io/",
)
"""What the names of annotations begin with that controllers, and this collection, write."""
_ADDRESSES = ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "healthCheckNodePort")
_SCRATCH_HOST = ".bluegreen-scratch.invalid"
_SLOW = 200_000
"""Rounds of PBKDF2 for the digest of Secrets: a manifest is not encrypted, and nobody is to guess passwords by it."""
_FIRST = (
    NAMESPACES,
    "serviceaccounts",
    "roles.rbac.authorization.k8s.io",
    "rolebindings.rbac.authorization.k8s.io",
    SECRETS,
    "configmaps",
    CLAIMS,
    "services",
)


def holds_data(resource: str) -> bool:
    """Whether data is gone when an object of it is deleted: it never is by us."""
    return resource in _HOLDS_DATA


def why_left_out(resource: str, document: Document, plain_services: frozenset[str] = frozenset()) -> str:
    """Why an object is none that a snapshot has to keep; empty where it is one.

    ``plain_services`` are the Services without a selector, whose endpoints somebody writes.
    """
    metadata = document["metadata"]
    labels = metadata.get("labels") or {}
    if metadata.get("deletionTimestamp"):
        return "it is being deleted"
    if any(one.get("controller") or one.get("kind") == "Pod" for one in metadata.get("ownerReferences") or ()):
        return "its owner makes it"
    if all(labels.get(name) == value for name, value in OURS.items()):
        return "it belongs to this collection"
    if resource == "configmaps" and metadata["name"] in _MADE_CONFIGS:
        return "each namespace gets one"
    if resource == SECRETS and document.get("type") in _TOKENS:
        return "it is a token"
    if resource == "endpoints" and metadata["name"] not in plain_services:
        return "its Service makes it"
    if str(labels.get("endpointslice.kubernetes.io/managed-by", "")).endswith(".k8s.io"):
        return "its Service makes it"
    return ""


def clean(document: Document) -> Document:
    """The object as somebody wrote it, with the server's defaults: it can be created from that in any namespace."""
    metadata = document["metadata"]
    kept: Document = {"name": metadata["name"]}
    if metadata.get("labels"):
        kept["labels"] = dict(metadata["labels"])
    annotations = {name: one for name, one in (metadata.get("annotations") or {}).items() if not _is_set(name)}
    if annotations:
        kept["annotations"] = annotations
    dropped = ("metadata", "status")
    found: Document = copy.deepcopy({name: one for name, one in document.items() if name not in dropped})
    found["metadata"] = kept
    kind = document.get("kind")
    if kind == "Namespace":
        found.pop("spec", None)
        kept.get("labels", {}).pop("kubernetes.io/metadata.name", None)
        if not kept.get("labels"):
            kept.pop("labels", None)
    elif kind == "Service":
        _drop_addresses(found.get("spec") or {})
    elif kind == "ServiceAccount":
        found.pop("secrets", None)
    elif kind == "PersistentVolumeClaim":
        (found.get("spec") or {}).pop("volumeName", None)
    elif kind == "Deployment" and rollout.stopped(document) is not None:
        found["spec"]["replicas"] = rollout.stopped(document)
    return found


def _is_set(annotation: str) -> bool:
    return annotation.startswith(_ANNOTATIONS)


def _drop_addresses(spec: Document) -> None:
    # A headless Service was asked for; any other address was given.
    for name in _ADDRESSES[2:] if spec.get("clusterIP") == "None" else _ADDRESSES:
        spec.pop(name, None)


def carried(document: Document, live: Document) -> Document:
    """``document``, cleaned, as it replaces ``live``: with what the server and its controllers have set there."""
    found = copy.deepcopy(document)
    metadata, old = found["metadata"], live["metadata"]
    for name in ("namespace", "uid", "resourceVersion", "finalizers", "ownerReferences"):
        if old.get(name):
            metadata[name] = old[name]
    theirs = {name: one for name, one in (old.get("annotations") or {}).items() if _is_set(name)}
    if theirs:
        metadata["annotations"] = {**(metadata.get("annotations") or {}), **theirs}
    kind = document.get("kind")
    if kind == "Service":
        spec = found.setdefault("spec", {})
        found["spec"] = {**{name: live["spec"][name] for name in _ADDRESSES if name in live["spec"]}, **spec}
    elif kind == "ServiceAccount" and "secrets" in live:
        found["secrets"] = live["secrets"]
    elif kind == "Namespace":
        found["spec"] = live.get("spec") or {}
    elif kind == "Deployment" and rollout.stopped(live) is not None:
        # While data is restored no pods may be started: they come when it is scaled up again.
        metadata["annotations"][rollout.STOPPED] = str(rollout.wanted(document))
        found["spec"]["replicas"] = rollout.wanted(live)
    return found


def with_replicas_of(document: Document, live: Document) -> Document:
    """``document`` with as many replicas as ``live`` has: an autoscaler knows better than a snapshot."""
    if "replicas" not in (live.get("spec") or {}):
        return document
    return {**document, "spec": {**document["spec"], "replicas": live["spec"]["replicas"]}}


def for_scratch(document: Document) -> Document:
    """``document`` as it can be tried beside itself: no port of a node, and no host of an Ingress, is had twice."""
    found = copy.deepcopy(document)
    spec = found.get("spec") or {}
    if found.get("kind") == "Service":
        for port in spec.get("ports") or ():
            port.pop("nodePort", None)
    elif found.get("kind") == "Ingress":
        for rule in spec.get("rules") or ():
            # What the server answers goes through here, too.
            if rule.get("host") and not rule["host"].endswith(_SCRATCH_HOST):
                rule["host"] += _SCRATCH_HOST
    return found


def autoscaled(objects: Objects) -> frozenset[tuple[str, str]]:
    """Kind and name of what autoscalers among the objects set the replicas of."""
    targets = [
        document["spec"]["scaleTargetRef"]
        for document in objects.values()
        if document.get("kind") == "HorizontalPodAutoscaler"
    ]
    return frozenset((str(one.get("kind")), str(one.get("name"))) for one in targets)


def digests(objects: Objects) -> dict[Key, str]:
    """A digest of each cleaned object; not of how many replicas it has, where an autoscaler decides that."""
    scaled = autoscaled(objects)
    return {key: hashlib.sha256(_canonical(one, scaled)).hexdigest() for key, one in objects.items()}


def contents(objects: Objects) -> dict[str, Content]:
    """What a snapshot's manifest says of cleaned objects, by resource."""
    found: dict[str, Content] = {}
    summed = digests({key: one for key, one in objects.items() if key[0] != SECRETS})
    for resource in sorted({resource for resource, _name in objects}):
        names = sorted(name for other, name in objects if other == resource)
        if holds_data(resource):
            found[resource] = Content(len(names), None, at_least=True)
        elif resource == SECRETS:
            text = b"\n".join(_canonical(objects[SECRETS, name]) for name in names)
            slow = hashlib.pbkdf2_hmac("sha256", text, b"bluegreen.cutover", _SLOW)
            found[resource] = Content(len(names), slow.hex())
        else:
            lines = "".join(f"{name} {summed[resource, name]}\n" for name in names)
            found[resource] = Content(len(names), hashlib.sha256(lines.encode()).hexdigest())
    return found


def _canonical(document: Document, scaled: frozenset[tuple[str, str]] = frozenset()) -> bytes:
    if (document.get("kind"), document["metadata"]["name"]) in scaled:
        spec = {name: one for name, one in (document.get("spec") or {}).items() if name != "replicas"}
        document = {**document, "spec": spec}
    return json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def in_order(objects: Objects) -> list[Key]:
    """Keys in an order in which they can be created: what others need comes first."""
    rank = {resource: number for number, resource in enumerate(_FIRST)}
    return sorted(objects, key=lambda key: (rank.get(key[0], len(_FIRST)), *key))
