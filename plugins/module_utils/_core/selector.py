# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A Service's selector as a router: which colour it takes, whether a colour can serve, whether the endpoints follow.

Objects are the API's JSON. Nothing here asks the API.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import (
    AmbiguousSelectorError,
    DriftError,
    EmptySelectorError,
    FencedError,
    NoSelectorError,
)

Labels = Mapping[str, str]
Objects = Sequence[Mapping[str, Any]]
Operations = list[dict[str, Any]]

TOKEN = "bluegreen.cutover/token"  # noqa: S105 - the name of an annotation
"""The annotation of a Service with the highest token that has written it."""

STUCK = "ProgressDeadlineExceeded"
"""Why a rollout is not progressing any more, as its controller says."""


@dataclass(frozen=True)
class Side:
    """One colour. ``ready`` are the uids of its pods that would serve, ``wanted`` how many its Deployments are to have.

    ``unseen`` are its Deployments whose last change no controller has seen yet; ``unfinished`` says of those whose
    rollout has not ended how far it is.
    """

    ready: frozenset[str]
    wanted: int
    unseen: tuple[str, ...]
    unfinished: tuple[str, ...]

    @property
    def count(self) -> int:
        """Pods that can be counted on: none, while nobody knows what becomes of them."""
        return 0 if self.unseen else len(self.ready)


def check(name: str, selectors: Mapping[str, Labels]) -> None:
    """Raise unless every selector has labels, and no pod can match two of them."""
    for colour, labels in selectors.items():
        if not labels:
            raise EmptySelectorError(
                f"the selector of {colour} for the Service {name} has no labels: with it the Service would have no "
                "endpoints at all. Give the labels of that colour's pods"
            )
    blue, green = selectors["blue"], selectors["green"]
    if not any(label in green and green[label] != value for label, value in blue.items()):
        raise AmbiguousSelectorError(
            f"a pod can match both selectors for the Service {name}, {told(blue)} (blue) and {told(green)} (green). "
            "Name a label in both whose value tells the colours apart",
            {"blue": dict(blue), "green": dict(green)},
        )


def check_both(name: str, selectors: Mapping[str, Labels], both: Labels) -> None:
    """Raise unless ``both`` has labels, and every pod of either colour has them."""
    if not both:
        raise EmptySelectorError(
            f"the selector of both colours for the Service {name} has no labels: with it the Service would have no "
            "endpoints at all. Give the labels that the pods of both colours have"
        )
    for colour, labels in selectors.items():
        lacking = {label: value for label, value in both.items() if labels.get(label) != value}
        if lacking:
            raise AmbiguousSelectorError(
                f"the selector of both colours for the Service {name} asks for {told(lacking)}, which is not in that "
                f"of {colour}, {told(labels)}: it would not take all pods of {colour}. Give labels that are in both",
                {"both": dict(both), colour: dict(labels)},
            )


def union(selectors: Mapping[str, Labels]) -> dict[str, list[str]]:
    """By label, the values that the pods of any colour may have: what all of them have in common."""
    first, *others = selectors.values()
    common = [label for label in first if all(label in other for other in others)]
    return {label: sorted({one[label] for one in selectors.values()}) for label in common}


def colour_of(service: Mapping[str, Any], selectors: Mapping[str, Labels]) -> str:
    """The colour that a Service selects, by its whole selector."""
    name, spec = service["metadata"]["name"], service["spec"]
    found = spec.get("selector") or {}
    if spec.get("type") == "ExternalName" or not found:
        raise NoSelectorError(
            f"the Service {name} has no selector: what its endpoints are is decided elsewhere, and was not changed. "
            "Name the Service that selects the pods",
            {"type": spec.get("type"), "selector": found},
        )
    for colour, labels in selectors.items():
        if found == labels:
            return colour
    known = " nor ".join(f"{told(labels)} ({colour})" for colour, labels in selectors.items())
    raise DriftError(
        f"the Service {name} selects {told(found)}, which is neither {known}: somebody has changed it. Nothing was "
        "changed. Put one of the two back, or correct the selectors in the inventory",
        {"selector": found, "selectors": {colour: dict(labels) for colour, labels in selectors.items()}},
    )


def side(labels: Labels, pods: Objects, deployments: Objects) -> Side:
    """What there is of a colour."""
    mine = [one for one in deployments if matches(labels, one["spec"]["template"].get("metadata") or {})]
    unseen = [one["metadata"]["name"] for one in mine if is_unseen(one)]
    return Side(
        ready=frozenset(pod["metadata"]["uid"] for pod in pods if matches(labels, pod["metadata"]) and is_ready(pod)),
        wanted=sum(one["spec"].get("replicas", 1) for one in mine),
        unseen=tuple(unseen),
        unfinished=tuple(text for one in mine if not is_unseen(one) for text in unfinished(one)),
    )


def is_ready(pod: Mapping[str, Any]) -> bool:
    """Would a pod be an endpoint? One that is being deleted is none."""
    conditions = (pod.get("status") or {}).get("conditions") or ()
    ready = any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)
    return ready and not pod["metadata"].get("deletionTimestamp")


def obstacle(colour: str, to: Side, needed: int, *, accept_rollout: bool = False) -> str:
    """Why traffic may not go to a side now, in words; empty where it may."""
    if to.unseen:
        return (
            f"the last change of {', '.join(to.unseen)} ({colour}) has not been seen by a controller yet, so nobody "
            "knows which pods will be there"
        )
    if len(to.ready) < needed:
        why = f"; {'; '.join(to.unfinished)}" if to.unfinished else ""
        return f"{colour} has {len(to.ready)} ready pods, {needed} needed{why}"
    if to.unfinished and not accept_rollout:
        return f"the rollout of {colour} has not ended: {'; '.join(to.unfinished)}"
    return ""


def unsettled(slices: Objects, to: Collection[str], needed: int) -> str:
    """What EndpointSlices still hold that they should not, or lack, in words; empty when they have followed.

    ``to`` are the uids of the ready pods of the colour that is selected.
    """
    ready = endpoints(slices)
    foreign = sorted(name for family in ready.values() for uid, name in family.items() if uid not in to)
    if foreign:
        return f"{len(foreign)} endpoints are not ready pods of the new colour: {', '.join(foreign[:5])}"
    fewest = min((len(family) for family in ready.values()), default=0)
    if fewest < needed:
        return f"{fewest} ready pods are endpoints, {needed} needed"
    return ""


def endpoints(slices: Objects) -> dict[str, dict[str, str]]:
    """By family of addresses, the names by uid of what gets traffic now."""
    found: dict[str, dict[str, str]] = {}
    for one in slices:
        family = found.setdefault(one["addressType"], {})
        for endpoint in one.get("endpoints") or ():
            # Whoever does not say is ready.
            if (endpoint.get("conditions") or {}).get("ready", True) is not False:
                target = endpoint.get("targetRef") or {}
                name = str(target.get("name") or endpoint["addresses"][0])
                family[str(target.get("uid") or name)] = name
    return found


def token_of(document: Mapping[str, Any]) -> int:
    """The highest token that has written an object; 0 where none has."""
    text = (document["metadata"].get("annotations") or {}).get(TOKEN, "")
    return int(text) if text.isascii() and text.isdigit() else 0


def check_fence(document: Mapping[str, Any], token: int | None) -> None:
    """Raise ``FencedError`` where a higher token than this run's has written an object."""
    seen, name = token_of(document), document["metadata"]["name"]
    if token is not None and token < seen:
        raise FencedError(
            f"this run (token {token}) has been overtaken by a newer one (token {seen}), which has written {name}; "
            "nothing was changed. See what that one does with status.yml",
            {"token": token, "highest": seen},
        )


def fenced(document: Mapping[str, Any], operations: Operations, token: int | None) -> Operations:
    """The JSON patch ``operations`` of an object as the run with ``token`` makes it; without one as it is.

    The object must not have been written at all since it was read, for another token may be what has changed.
    """
    if token is None:
        return operations
    metadata = document["metadata"]
    annotation = {"op": "add", "path": f"/metadata/annotations/{TOKEN.replace('/', '~1')}", "value": str(token)}
    return [
        {"op": "test", "path": "/metadata/resourceVersion", "value": metadata["resourceVersion"]},
        *operations,
        *([] if metadata.get("annotations") else [{"op": "add", "path": "/metadata/annotations", "value": {}}]),
        annotation,
    ]


def swap(service: Mapping[str, Any], labels: Labels) -> Operations:
    """The JSON patch that puts ``labels`` in the place of the selector that ``service`` has, if it still has it."""
    return [
        # The same name may be another Service by now.
        {"op": "test", "path": "/metadata/uid", "value": service["metadata"]["uid"]},
        {"op": "test", "path": "/spec/selector", "value": service["spec"]["selector"]},
        {"op": "replace", "path": "/spec/selector", "value": dict(labels)},
    ]


def told(labels: Labels) -> str:
    """``app=shop,version=v1``."""
    return ",".join(f"{name}={value}" for name, value in sorted(labels.items())) or "nothing"


def matches(labels: Labels, metadata: Mapping[str, Any]) -> bool:
    """Has an object with ``metadata`` all of ``labels``?"""
    have = metadata.get("labels") or {}
    return all(have.get(name) == value for name, value in labels.items())


def is_unseen(deployment: Mapping[str, Any]) -> bool:
    """Has no controller seen the last change of a Deployment yet? Then its status is about something else."""
    observed = (deployment.get("status") or {}).get("observedGeneration", 0)
    return bool(observed < deployment["metadata"].get("generation", 0))


def unfinished(deployment: Mapping[str, Any]) -> Iterable[str]:
    """How far a rollout is that has not ended, in words."""
    name, status = deployment["metadata"]["name"], deployment.get("status") or {}
    wanted = deployment["spec"].get("replicas", 1)
    updated, total = status.get("updatedReplicas", 0), status.get("replicas", 0)
    # Fewer pods than wanted are told by their number; here only old ones count, and new ones that do not come up.
    reasons = {one["type"]: one.get("reason") for one in status.get("conditions") or ()}
    if reasons.get("Progressing") == STUCK:
        yield f"{name} is stuck ({STUCK}), {updated} of {wanted} pods are new"
    elif updated < wanted or total > updated:
        yield f"{name} has {updated} new pods of {wanted}, and {total - updated} old ones"
