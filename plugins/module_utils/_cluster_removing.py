# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Removing the Deployment of an old version, and what scales it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import (
    ClusterError,
    FencedError,
    InputError,
    NotReadyError,
)
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.selector import token_of
from ansible_collections.bluegreen.cutover.plugins.module_utils._finalizing import Finalization
from ansible_collections.bluegreen.cutover.plugins.module_utils._kubernetes import PAUSES, Cluster, path_of
from ansible_collections.bluegreen.cutover.plugins.module_utils._migration import open_plan
from ansible_collections.bluegreen.cutover.plugins.module_utils._stores.cluster import ClusterStore


def remove(plan: Mapping[str, Any], token: int | None = None, *, check_mode: bool = False) -> dict[str, Any]:
    """Delete the autoscalers of the old version's Deployment, then itself, and record that it is gone.

    Nothing is deleted unless the new version has all of its pods available and all of the traffic, and no newer run has
    come; that is read anew for each, under the lock without which nobody begins a way back. Each is deleted only as it
    was read. Without ``token`` only in check mode. Raises ``NotReadyError``, ``FinalizeError``, ``FencedError``,
    ``StoreError``, ``RouterError``, ``ClusterError``, ``InputError``.
    """
    store, router = open_plan(plan)
    if not isinstance(store, ClusterStore):
        raise InputError(f"the plan of {plan['service']} has no cluster; on hosts systemd_remove is what is needed")
    run = Finalization(plan, store, router, check_mode=check_mode)
    cluster, namespace = store.cluster, plan["cluster"]["namespace"]
    name, serving = (plan["colours"][plan[side]]["deployment"] for side in ("from", "to"))
    deployments = path_of("apps/v1", namespace, "deployments")
    scalers = path_of("autoscaling/v2", namespace, "horizontalpodautoscalers")

    def check(path: str) -> None:
        _check_serving(cluster.find(f"{deployments}/{serving}"), serving, path)

    found = [
        f"{scalers}/{one['metadata']['name']}" for one in cluster.call("GET", scalers)["items"] if _scales(one, name)
    ]
    removed = [path for path in found if _delete(run, cluster, path, token, check)]
    path = f"{deployments}/{name}"
    # In one with its deletion: its pods are ready for a moment longer, and nobody may send the traffic back to them.
    if _delete(run, cluster, path, token, check, run.record_gone):
        removed.append(path)
    return {"changed": bool(removed), "removed": removed}


def _scales(scaler: Mapping[str, Any], name: str) -> bool:
    target = scaler["spec"]["scaleTargetRef"]
    return (target["kind"], target["name"]) == ("Deployment", name)


def _check_serving(found: Mapping[str, Any] | None, serving: str, path: str) -> None:
    status = (found or {}).get("status") or {}
    wanted = ((found or {}).get("spec") or {}).get("replicas", 1)
    available = status.get("availableReplicas", 0)
    if found is None or not available or available < wanted:
        raise NotReadyError(
            f"{serving} has {available} of {wanted} pods available, and what it replaces would go: {path} was not "
            "removed. See why, then run again",
            {"status": status},
        )


def _delete(
    run: Finalization,
    cluster: Cluster,
    path: str,
    token: int | None,
    check: Callable[[str], None],
    gone: Callable[[int | None], None] = lambda _token: None,
) -> bool:
    """Delete what is at ``path``, as it is now; whether there was anything. ``check``, which raises where it may not
    go, and ``gone`` are called under the same lock.
    """
    for pause in PAUSES:
        with run.unserved(token):
            check(path)
            there = _try(run, cluster, path, token)
            if there is not None:
                gone(token)
                return there
        cluster.clock.sleep(pause)
    raise ClusterError(f"{path} was written by others each time that it was read and deleted. Run again")


def _try(run: Finalization, cluster: Cluster, path: str, token: int | None) -> bool | None:
    """Whether there was anything, which is gone now; None where that is to be looked at again."""
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
    if run.check_mode:
        return True
    exactly = {"uid": metadata["uid"], "resourceVersion": metadata["resourceVersion"]}
    options = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background"}
    try:
        cluster.call("DELETE", path, {**options, "preconditions": exactly})
    except ClusterError as error:
        # Somebody has written it since, or nobody knows whether it was done: look again.
        if error.status not in (404, 409) and not error.unknown:
            raise
        return None
    return True
