# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Our leases as Leases of ``coordination.k8s.io``: whole in an annotation, and in the fields that tools show.

Adapters use it: like ``_kubernetes`` it imports nothing of what is above them.
"""

from __future__ import annotations

import contextlib
import datetime
import json
from collections.abc import Mapping
from typing import Any

from ansible_collections.bluegreen.cutover.plugins.module_utils._core import lease
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import ClusterError
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.objects import OURS
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.selector import TOKEN, token_of
from ansible_collections.bluegreen.cutover.plugins.module_utils._kubernetes import PAUSES, Cluster, path_of

ANNOTATION = "bluegreen.cutover/lease"
LABELS = OURS


class LeaseObject:
    """The Lease ``name`` in ``namespace``."""

    def __init__(self, cluster: Cluster, namespace: str, name: str) -> None:
        self.cluster = cluster
        self.name = name
        self._all = path_of("coordination.k8s.io/v1", namespace, "leases")
        self.path = path_of("coordination.k8s.io/v1", namespace, "leases", name)

    def find(self) -> dict[str, Any] | None:
        """The object as it is; None where there is none."""
        return self.cluster.find(self.path)

    def put(self, before: Mapping[str, Any] | None, document: Mapping[str, Any] | None) -> dict[str, Any] | None:
        """Write our lease, or that nobody has one, in the place of ``before``; None where another has written since."""
        wanted = self._make(before, document)
        method, path = ("POST", self._all) if before is None else ("PUT", self.path)
        for pause in (*PAUSES, None):
            try:
                return self.cluster.call(method, path, wanted)
            except ClusterError as error:
                if error.status == 409:
                    return None
                if not error.unknown:
                    raise
                found = self.find()
                if found is not None and found["metadata"].get("annotations") == wanted["metadata"]["annotations"]:
                    return found
                if _version(found) != _version(before):
                    return None
                if pause is None:
                    raise
            # Nobody has written at all.
            self.cluster.clock.sleep(pause)
        raise AssertionError  # pragma: no cover - the last try has no pause

    def _make(self, before: Mapping[str, Any] | None, document: Mapping[str, Any] | None) -> dict[str, Any]:
        metadata = (before or {}).get("metadata") or {"name": self.name, "labels": LABELS}
        annotations = {name: one for name, one in (metadata.get("annotations") or {}).items() if name != ANNOTATION}
        spec: dict[str, Any] = {"leaseTransitions": ((before or {}).get("spec") or {}).get("leaseTransitions", 0)}
        if document is not None:
            # The highest token stays when nobody holds the lease.
            token = max(document["token"], token_of(before) if before else 0)
            annotations |= {ANNOTATION: json.dumps(document, sort_keys=True), TOKEN: str(token)}
            spec = {
                "holderIdentity": lease.describe(document["owner"]),
                "leaseDurationSeconds": max(1, int(document["ttl"])),
                "acquireTime": _micro(document["since"]),
                "renewTime": _micro(document["expires"] - document["ttl"]),
                "leaseTransitions": spec["leaseTransitions"] + 1,
            }
        return {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {**metadata, "annotations": annotations},
            "spec": spec,
        }


def _version(found: Mapping[str, Any] | None) -> str | None:
    return None if found is None else found["metadata"]["resourceVersion"]


def held(found: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Our lease in an object, expired or not; None where nobody holds one. ``ValueError`` where it is none of ours."""
    text = ((found or {}).get("metadata", {}).get("annotations") or {}).get(ANNOTATION)
    if text is None:
        return None
    with contextlib.suppress(json.JSONDecodeError):
        document = json.loads(text)
        if isinstance(document, dict) and lease.is_lease(document):
            return document
    raise ValueError(f"has an annotation {ANNOTATION} that is not a lease")


def _micro(at: float) -> str:
    return datetime.datetime.fromtimestamp(at, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
