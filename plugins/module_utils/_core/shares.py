# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Green's share as objects of Kubernetes hold it: what an HTTPRoute, a canary Ingress and a ConfigMap say, and the
patch that makes them say something else; and what numbers of pods make of it.

Objects are the API's JSON. Every patch begins with a test of what it was made from. Nothing here asks the API.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import RouterError

Operations = list[dict[str, Any]]

CANARY = "nginx.ingress.kubernetes.io/canary"
_WEIGHT = f"{CANARY}-weight"
_TOTAL = f"{CANARY}-weight-total"


def of_route(route: Mapping[str, Any], services: Mapping[str, str]) -> int:
    """Green's percentage in an HTTPRoute whose rules share the requests out between two Services."""
    found = set()
    for number, rule in _rules(route, services):
        weights = {colour: _weights(rule, name) for colour, name in services.items()}
        lacking = [f"{services[colour]} ({colour})" for colour, mine in weights.items() if len(mine) != 1]
        if lacking:
            raise _wrong(
                route, f"rule {number} does not have {' and '.join(lacking)} once; give it both, one of them at 0"
            )
        others = sum(one.get("weight", 1) for one in rule["backendRefs"] if one["name"] not in services.values())
        blue, green = weights["blue"][0], weights["green"][0]
        if others or not blue + green:
            what = "sends requests to others, too" if others else "has no weight above 0, so it answers 500"
            raise _wrong(route, f"rule {number} {what}; share 100 between {' and '.join(services.values())}")
        if 100 * green % (blue + green):
            raise _wrong(route, f"rule {number} gives green {green} of {blue + green}, which is no whole percentage")
        found.add(100 * green // (blue + green))
    if len(found) != 1:
        what = f"its rules do not agree: {', '.join(f'{one} %' for one in sorted(found))} for green"
        raise _wrong(route, what if found else f"none of its rules has {' or '.join(services.values())}")
    return found.pop()


def to_route(route: Mapping[str, Any], services: Mapping[str, str], weight: int) -> Operations:
    """The JSON patch that gives green ``weight`` percent in every rule, if the rules are still those of ``route``."""
    shares = {services["blue"]: 100 - weight, services["green"]: weight}
    changes = [
        {"op": "add", "path": f"/spec/rules/{number}/backendRefs/{at}/weight", "value": shares[one["name"]]}
        for number, rule in _rules(route, services)
        for at, one in enumerate(rule["backendRefs"])
        if one["name"] in shares
    ]
    return [*_same(route), {"op": "test", "path": "/spec/rules", "value": route["spec"]["rules"]}, *changes]


def route_problem(route: Mapping[str, Any]) -> str:
    """Why the gateways do not do yet what an HTTPRoute says, in words; empty where all have taken it."""
    parents = (route.get("status") or {}).get("parents") or ()
    if not parents:
        return "no Gateway has taken the route"
    for parent in parents:
        name = parent["parentRef"]["name"]
        conditions = {one["type"]: one for one in parent.get("conditions") or ()}
        for kind in ("Accepted", "ResolvedRefs"):
            one = conditions.get(kind)
            if one is None or one.get("observedGeneration", 0) < route["metadata"]["generation"]:
                return f"the Gateway {name} has not seen the last change"
            if one["status"] != "True":
                return f"the Gateway {name} does not take it: {one.get('reason')}: {one.get('message', '')}".rstrip(
                    ": "
                )
    return ""


def of_ingress(canary: Mapping[str, Any], stable: Mapping[str, Any], services: Mapping[str, str]) -> int:
    """Green's percentage in an Ingress that is the canary, for ingress-nginx, of another one.

    The requests to its places have to go to green's Service, and without it to blue's.
    """
    annotations = canary["metadata"].get("annotations") or {}
    if annotations.get(CANARY) != "true":
        raise _wrong(canary, f'it is no canary; set its annotation {CANARY} to "true"')
    if annotations.get(_TOTAL, "100") != "100":
        raise _wrong(canary, f"its annotation {_TOTAL} is {annotations[_TOTAL]}; leave it out, for 100")
    ours, theirs = list(_backends(canary)), list(_backends(stable))
    places = {place for place, _service in ours}
    if not places:
        raise _wrong(canary, f"none of its rules has a path; give it those that {services['green']} is to share in")
    lost = sorted(places - {place for place, _service in theirs})
    if lost:
        # Such a canary takes its host for itself, whatever its weight.
        raise _wrong(
            canary,
            f"{', '.join(lost)} is not in {stable['metadata']['name']}, whose canary it is to be; make them alike",
        )
    for ingress, backends, colour in ((canary, ours, "green"), (stable, theirs, "blue")):
        for place, service in backends:
            if place in places and service != services[colour]:
                told = service or "no Service"
                raise _wrong(ingress, f"{place} goes to {told}, where {services[colour]} ({colour}) is needed")
    return _percentage(canary, annotations.get(_WEIGHT, "0"), f"its annotation {_WEIGHT}")


def to_ingress(canary: Mapping[str, Any], weight: int) -> Operations:
    """The JSON patch that gives the canary ``weight`` percent, if nobody has changed its annotations and rules."""
    path = f"/metadata/annotations/{_escaped(_WEIGHT)}"
    annotations = canary["metadata"]["annotations"]
    return [
        *_same(canary),
        {"op": "test", "path": "/metadata/annotations", "value": annotations},
        {"op": "test", "path": "/spec/rules", "value": canary["spec"]["rules"]},
        {"op": "add", "path": path, "value": str(weight)},
    ]


def of_config(config: Mapping[str, Any], key: str) -> int:
    """Green's percentage in a ConfigMap."""
    data = config.get("data") or {}
    if key not in data:
        raise _wrong(config, f"it has no key {key}; add it, with 0 for none")
    return _percentage(config, data[key], f"its key {key}")


def to_config(config: Mapping[str, Any], key: str, weight: int) -> Operations:
    """The JSON patch that writes ``weight``, if the key still has the value that it has in ``config``."""
    path = f"/data/{_escaped(key)}"
    return [
        *_same(config),
        {"op": "test", "path": path, "value": config["data"][key]},
        {"op": "replace", "path": path, "value": str(weight)},
    ]


def of_pods(blue: int, green: int) -> int:
    """Green's percentage of so many pods, rounded; neither 0 nor 100 where both colours have some."""
    total = blue + green
    if not blue or not green:
        return 100 if green else 0
    return min(99, max(1, (200 * green + total) // (2 * total)))


def pods_for(weight: int, kept: int, keeps: str) -> int | None:
    """How many pods of the other colour make green's percentage ``weight``, 1…99, of ``kept`` pods of the colour
    ``keeps``; None where no number does, to the whole percent.
    """
    share = weight if keeps == "blue" else 100 - weight
    exact = share * kept / (100 - share)
    near = sorted({int(exact), int(exact) + 1}, key=lambda number: abs(number - exact))
    return next((one for one in near if one and kept and _beside(one, kept, keeps) == weight), None)


def had_by_pods(kept: int, keeps: str) -> list[int]:
    """The first percentages that the other colour can have beside ``kept`` pods of the colour ``keeps``."""
    weights = [_beside(number, kept, keeps) for number in range(1, 2 * kept + 3)]
    found = sorted({weight if keeps == "blue" else 100 - weight for weight in weights})
    return found[: max(8, kept)]


def _beside(number: int, kept: int, keeps: str) -> int:
    return of_pods(kept, number) if keeps == "blue" else of_pods(number, kept)


def _rules(route: Mapping[str, Any], services: Mapping[str, str]) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Those that have one of the Services at least; others are for other requests."""
    for number, rule in enumerate(route["spec"].get("rules") or ()):
        if any(one["name"] in services.values() for one in rule.get("backendRefs") or ()):
            yield number, rule


def _weights(rule: Mapping[str, Any], name: str) -> list[int]:
    return [one.get("weight", 1) for one in rule["backendRefs"] if one["name"] == name]


def _backends(ingress: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Each place that has requests, and the Service that they go to; empty where that is something else."""
    for rule in ingress["spec"].get("rules") or ():
        for path in (rule.get("http") or {}).get("paths") or ():
            service = (path.get("backend") or {}).get("service") or {}
            yield f"{rule.get('host', '*')}{path.get('path', '/')}", service.get("name", "")


def _percentage(document: Mapping[str, Any], text: str, where: str) -> int:
    if text.isascii() and text.isdigit() and int(text) <= 100:
        return int(text)
    raise _wrong(document, f"{where} is {text!r}; a whole number 0…100 is needed")


def _same(document: Mapping[str, Any]) -> Operations:
    # The same name may be another object by now.
    return [{"op": "test", "path": "/metadata/uid", "value": document["metadata"]["uid"]}]


def _escaped(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")


def _wrong(document: Mapping[str, Any], what: str) -> RouterError:
    named = f"the {document.get('kind', 'object')} {document['metadata']['name']}"
    return RouterError(
        f"{named} does not say how the traffic is shared: {what}", {"name": document["metadata"]["name"]}
    )
