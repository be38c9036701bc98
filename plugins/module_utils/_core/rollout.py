# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A colour's Deployment and its autoscaler: how many pods it is to have, whether they are there, why they are not.

Objects are the API's JSON. Nothing here asks the API.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ansible_collections.bluegreen.cutover.plugins.module_utils._core import selector
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import WorkloadError

Document = Mapping[str, Any]
Operations = list[dict[str, Any]]

REPLICAS = "bluegreen.cutover/replicas"
"""The annotation of a Deployment with how many replicas it had before we scaled it."""

SHARED = "bluegreen.cutover/share-replicas"
"""The annotation of a Deployment with how many replicas a share of the traffic has made of that."""

STOPPED = "bluegreen.cutover/stopped-replicas"
"""The annotation of a Deployment with how many replicas it had before we stopped it."""

LEAST = "bluegreen.cutover/min-replicas"
"""The annotation of an autoscaler with its minReplicas before we raised it."""

HELD = "bluegreen.cutover/held-replicas"
"""The annotation of an autoscaler with what we raised its minReplicas to."""


def wanted(deployment: Document) -> int:
    """How many pods a Deployment is to have."""
    return int(deployment["spec"].get("replicas", 1))


def available(deployment: Document) -> int:
    return int((deployment.get("status") or {}).get("availableReplicas", 0))


def is_stuck(deployment: Document) -> bool:
    """Has its rollout made no progress for its ``progressDeadlineSeconds``?"""
    conditions = (deployment.get("status") or {}).get("conditions") or ()
    return not selector.is_unseen(deployment) and any(
        one["type"] == "Progressing" and one.get("reason") == selector.STUCK for one in conditions
    )


def deadline(deployment: Document) -> int:
    """Seconds that its rollout may make no progress for."""
    return int(deployment["spec"].get("progressDeadlineSeconds", 600))


def progress(deployment: Document) -> tuple[int, ...]:
    """How far it is: a rollout goes on when one of these is more than it ever was."""
    status = deployment.get("status") or {}
    return tuple(int(status.get(name, 0)) for name in ("updatedReplicas", "readyReplicas", "availableReplicas"))


def missing(deployment: Document, needed: int) -> str:
    """What a Deployment lacks of ``needed`` available pods, all of its newest version, in words; empty if nothing."""
    name, there = deployment["metadata"]["name"], available(deployment)
    if selector.is_unseen(deployment):
        return f"the last change of {name} has not been seen by a controller yet"
    if there < needed:
        return f"{name} has {there} available pods, {needed} needed"
    return "; ".join(selector.unfinished(deployment))


def pods_of(deployment: Document) -> str:
    """The label selector of all pods of a Deployment, as a query has it."""
    selected = deployment["spec"]["selector"]
    signs = {"In": "{0} in ({1})", "NotIn": "{0} notin ({1})", "Exists": "{0}", "DoesNotExist": "!{0}"}
    return ",".join(
        [f"{name}={value}" for name, value in (selected.get("matchLabels") or {}).items()]
        + [
            signs[one["operator"]].format(one["key"], ",".join(one.get("values") or ()))
            for one in selected.get("matchExpressions") or ()
        ]
    )


def grace(deployment: Document) -> int:
    """Seconds that its pods may take to end, before they are killed."""
    return int(deployment["spec"]["template"]["spec"].get("terminationGracePeriodSeconds", 30))


def left(deployment: Document, pods: Sequence[Document]) -> list[str]:
    """What keeps a Deployment from having stopped, one line each: until there is nothing, its ``pods`` may write."""
    name = deployment["metadata"]["name"]
    told: list[str] = []
    if selector.is_unseen(deployment):
        # Its controller may be about to make pods.
        told.append(f"the last change of {name} has not been seen by a controller yet")
    if wanted(deployment):
        told.append(f"somebody has scaled {name} to {wanted(deployment)}")
    return told + [
        f"{pod['metadata']['name']} {'has not ended yet' if pod['metadata'].get('deletionTimestamp') else 'runs'}"
        for pod in pods
        # Of one in such a phase no container runs any more, and none is started again.
        if (pod.get("status") or {}).get("phase") not in ("Succeeded", "Failed")
    ]


def reasons(deployment: Document, pods: Sequence[Document]) -> list[str]:
    """Why those of ``pods`` that are this Deployment's and not ready are so, one line each."""
    labels = deployment["spec"]["selector"].get("matchLabels") or {}
    mine = [one for one in pods if all((one["metadata"].get("labels") or {}).get(n) == v for n, v in labels.items())]
    return [
        f"{pod['metadata']['name']}: {'; '.join(_why(pod)) or 'not ready'}"
        for pod in mine
        if not selector.is_ready(pod) and not pod["metadata"].get("deletionTimestamp")
    ]


def _why(pod: Document) -> Iterator[str]:
    """What the scheduler and the kubelet say of a pod."""
    status = pod.get("status") or {}
    conditions = {one["type"]: one for one in status.get("conditions") or ()}
    scheduled = conditions.get("PodScheduled") or {}
    if scheduled.get("status") == "False":
        yield _told(scheduled)
    for container in (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())):
        state = container.get("state") or {}
        ended = state.get("terminated") or (container.get("lastState") or {}).get("terminated") or {}
        if state.get("waiting"):
            yield f"{container['name']} is waiting: {_told(state['waiting'])}"
        elif state.get("running") and not container.get("ready"):
            yield f"{container['name']} runs and is not ready"
        if ended.get("exitCode"):
            yield f"{container['name']} ended with {ended['exitCode']}"


def _told(what: Document) -> str:
    """A reason, and what is said of it."""
    return " ".join(": ".join(filter(None, (what.get("reason"), what.get("message")))).split())[:200]


def autoscaler(deployment: str, autoscalers: Sequence[Document]) -> Document | None:
    """The one that scales a Deployment; None where none does."""
    for one in autoscalers:
        target = one["spec"]["scaleTargetRef"]
        if target.get("kind") == "Deployment" and target["name"] == deployment:
            return one
    return None


def check_room(scaler: Document | None, needed: int) -> None:
    """Raise ``WorkloadError`` where an autoscaler would take away what is needed."""
    if scaler is not None and scaler["spec"]["maxReplicas"] < needed:
        name, most = scaler["metadata"]["name"], scaler["spec"]["maxReplicas"]
        target = scaler["spec"]["scaleTargetRef"]["name"]
        raise WorkloadError(
            f"the autoscaler {name} allows {target} {most} pods at most, and {needed} are needed. Nothing was changed. "
            "Raise its maxReplicas, or make do with fewer by cutover_min_ready",
            {"max_replicas": most, "needed": needed},
        )


def hold(scaler: Document, least: int, token: int | None) -> Operations:
    """Keep an autoscaler from going below ``least``; nothing where it does not anyway."""
    now = scaler["spec"].get("minReplicas", 1)
    if now >= least:
        return []
    before, held = _annotation(scaler, LEAST), _annotation(scaler, HELD)
    if before is None or (held is not None and now != int(held)):
        # Somebody may have given it another bound since we raised it: that one is its own then.
        before = str(now)
    changed = {"op": "add", "path": "/spec/minReplicas", "value": least}
    return _annotated(scaler, {LEAST: before, HELD: str(least)}, [changed], token)


def kept(scaler: Document) -> int:
    """What we have raised its bound to, as far as it allows so many; 0 where we raised none. More pods than that, which
    it has for its load, are its own to take away.
    """
    return min(int(_annotation(scaler, HELD) or 0), int(scaler["spec"]["maxReplicas"]))


def let_go(scaler: Document, token: int | None) -> Operations:
    """Give an autoscaler the bound back that it had before; nothing where we raised none."""
    before = _annotation(scaler, LEAST)
    if before is None:
        return []
    least = min(int(before), scaler["spec"]["maxReplicas"])
    return _annotated(
        scaler, {LEAST: None, HELD: None}, [{"op": "add", "path": "/spec/minReplicas", "value": least}], token
    )


def scale(deployment: Document, replicas: int, token: int | None) -> Operations:
    """Scale a Deployment up to ``replicas``; nothing where it has so many."""
    now, before, had = wanted(deployment), _annotation(deployment, REPLICAS), stopped(deployment)
    if now >= replicas:
        return []
    had = now if had is None else had
    changed: Operations = [{"op": "add", "path": "/spec/replicas", "value": replicas}]
    # What it has again it was not scaled up to.
    told = {} if before is not None or had >= replicas else {REPLICAS: str(had)}
    return _annotated(deployment, {STOPPED: None, **told}, changed, token)


def resize(deployment: Document, replicas: int, token: int | None) -> Operations:
    """Give a Deployment ``replicas``, more or fewer, for a share of the traffic; nothing where it has so many."""
    now, before = wanted(deployment), _annotation(deployment, REPLICAS)
    if now == replicas:
        return []
    told = {} if before is not None else {REPLICAS: str(now)}
    changed = {"op": "add", "path": "/spec/replicas", "value": replicas}
    return _annotated(deployment, {STOPPED: None, SHARED: str(replicas), **told}, [changed], token)


def unscale(deployment: Document, token: int | None, *, back: bool) -> Operations:
    """Forget that we scaled a Deployment, or stopped it; with ``back`` it has as many replicas as before it was
    scaled. Scales up only what a share has left smaller, and nothing where we did none of it.
    """
    before, now = _annotation(deployment, REPLICAS), wanted(deployment)
    if before is None and stopped(deployment) is None:
        return []
    changed: Operations = []
    if back and before is not None:
        # One that somebody has stopped since could write again.
        most = int(before) if _annotation(deployment, SHARED) == str(now) else now
        changed.append({"op": "add", "path": "/spec/replicas", "value": min(int(before), most)})
    return _annotated(deployment, {REPLICAS: None, SHARED: None, STOPPED: None}, changed, token)


def stop(deployment: Document, token: int | None) -> Operations:
    """Scale a Deployment to 0, and note how many replicas it had; nothing where it is stopped already. The note is what
    keeps a restore from starting its pods, so one that has none gets it, too.
    """
    now, had = wanted(deployment), stopped(deployment)
    if not now and had is not None:
        return []
    # One that we have stopped already was woken: it is to have no fewer than before.
    had = max(now, had or 0)
    changed = {"op": "add", "path": "/spec/replicas", "value": 0}
    return _annotated(deployment, {STOPPED: str(had)}, [changed], token)


def stopped(deployment: Document) -> int | None:
    """How many replicas it had before we stopped it; None where we have not."""
    text = _annotation(deployment, STOPPED)
    return None if text is None else int(text)


def _annotation(document: Document, name: str) -> str | None:
    """A number that we have left there; what is none was not ours."""
    text = (document["metadata"].get("annotations") or {}).get(name, "")
    return text if text.isascii() and text.isdigit() else None


def _annotated(
    document: Document, changes: Mapping[str, str | None], operations: Operations, token: int | None
) -> Operations:
    """``operations`` with annotations; a change of None removes one. Nobody may have written the object meanwhile."""
    selector.check_fence(document, token)
    given = {selector.TOKEN: None if token is None else str(token), **changes}
    annotations = {
        **(document["metadata"].get("annotations") or {}),
        **{name: text for name, text in given.items() if text is not None},
    }
    for name, text in changes.items():
        if text is None:
            annotations.pop(name, None)
    return [
        {"op": "test", "path": "/metadata/resourceVersion", "value": document["metadata"]["resourceVersion"]},
        *operations,
        {"op": "add", "path": "/metadata/annotations", "value": annotations},
    ]
