# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Removing the Deployment of an old version, and what scales it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import (
    ClusterError,
    FencedError,
    InputError,
    NotReadyError,
)
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.selector import token_of
from ansible_collections.bluegreen.cutover.plugins.module_utils._kubernetes import PAUSES, Cluster, path_of


def remove(
    cluster: Cluster, namespace: str, name: str, serving: str, *, token: int | None = None, check_mode: bool = False
) -> dict[str, Any]:
    """Delete the autoscalers of the Deployment ``name``, then itself; its pods go with it.

    Nothing is deleted unless the Deployment ``serving`` has all of its pods available. Each is deleted only as it was
    read. Raises ``NotReadyError``, ``FencedError``, ``ClusterError``, ``InputError``.
    """
    if name == serving:
        raise InputError(
            f"{name} is what serves; the Deployment of the old version is another one. Nothing was removed"
        )
    deployments = path_of("apps/v1", namespace, "deployments")
    scalers = path_of("autoscaling/v2", namespace, "horizontalpodautoscalers")
    _check_serving(cluster.find(f"{deployments}/{serving}"), serving)
    found = [
        f"{scalers}/{one['metadata']['name']}" for one in cluster.call("GET", scalers)["items"] if _scales(one, name)
    ]
    paths = [*found, f"{deployments}/{name}"]
    removed = [path for path in paths if _delete(cluster, path, token, check_mode=check_mode)]
    return {"changed": bool(removed), "removed": removed}


def _scales(scaler: Mapping[str, Any], name: str) -> bool:
    target = scaler["spec"]["scaleTargetRef"]
    return (target["kind"], target["name"]) == ("Deployment", name)


def _check_serving(found: Mapping[str, Any] | None, serving: str) -> None:
    status = (found or {}).get("status") or {}
    wanted = ((found or {}).get("spec") or {}).get("replicas", 1)
    available = status.get("availableReplicas", 0)
    if found is None or not available or available < wanted:
        raise NotReadyError(
            f"{serving} has {available} of {wanted} pods available, and what it replaces would go; nothing was "
            "removed. See why, then run again",
            {"status": status},
        )


def _delete(cluster: Cluster, path: str, token: int | None, *, check_mode: bool) -> bool:
    """Delete what is at ``path``, as it is now; whether there was anything."""
    for pause in PAUSES:
        found = cluster.find(path)
        if found is None:
            return False
        metadata = found["metadata"]
        if metadata.get("deletionTimestamp"):
            return True
        if token is not None and token_of(found) > token:
            raise FencedError(
                f"this run (token {token}) has been overtaken by a newer one (token {token_of(found)}), which has "
                f"written {path}; it was not removed. See what that one does with status.yml"
            )
        if check_mode:
            return True
        exactly = {"uid": metadata["uid"], "resourceVersion": metadata["resourceVersion"]}
        options = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background"}
        try:
            cluster.call("DELETE", path, {**options, "preconditions": exactly})
        except ClusterError as error:
            # Somebody has written it since, or nobody knows whether it was done: look again.
            if error.status not in (404, 409) and not error.unknown:
                raise
            cluster.clock.sleep(pause)
        else:
            return True
    raise ClusterError(f"{path} was written by others each time that it was read and deleted. Run again")
