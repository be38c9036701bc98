# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What there is before anything is planned: the namespaces of an application's environments, in one report.

It tells names, numbers and sizes. A value of a Secret never comes here, and none of a ConfigMap or a variable is told,
except where a required setting is another one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import permutations
from typing import Any

from ansible_collections.bluegreen.cutover.plugins.module_utils._core import environments, objects, selector
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.environments import (
    ADAPTED,
    WORKLOADS,
    Environment,
    Environments,
    containers_of,
    scaled_by,
)
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import InputError
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.objects import CLAIMS, SECRETS, Document, Objects

LEFT = {
    SECRETS: "its values are nobody's to carry: make it there",
    CLAIMS: "data is not brought",
    "cronjobs.batch": "it would run twice",
    "daemonsets.apps": "it runs on nodes, not in an environment",
    "limitranges": "whoever gives the new namespace sets its limits",
    "resourcequotas": "the inventory has the new one",
}
"""Resources that are read and not brought, and why not."""

READ = ADAPTED | LEFT.keys()
"""Resources that are read."""

_PROBES = {"readinessProbe": "readiness", "livenessProbe": "liveness", "startupProbe": "startup"}
_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "In": lambda value, values: value in values,
    "NotIn": lambda value, values: value not in values,
    "Exists": lambda value, _values: value is not None,
    "DoesNotExist": lambda value, _values: value is None,
}


@dataclass(frozen=True)
class Found:
    """What is in a namespace, as the server has it, without any value of a Secret.

    ``unread`` are the resources that nobody lets us list.
    """

    objects: Objects
    unread: frozenset[str] = frozenset()


Namespaces = Mapping[str, "Found | None"]
"""By name; None for one that is not there."""


def named_only(secret: Document) -> Document:
    """A Secret without its values; annotations can have them, too."""
    kept = ("name", "namespace", "labels", "ownerReferences", "deletionTimestamp")
    metadata = {name: secret["metadata"][name] for name in kept if name in secret["metadata"]}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": secret.get("type", "Opaque")}


def check_colours(colours: Mapping[str, Any]) -> None:
    """Raise ``InputError`` unless each colour has labels, and one of them tells it from the others."""
    for colour, labels in colours.items():
        if not isinstance(labels, Mapping) or any(not isinstance(one, str) for one in labels.values()):
            raise InputError(
                f"colours.{colour} is no mapping of texts; give the labels of its pods, such as app: shop, version: "
                "'1', with numbers in quotes"
            )
    if colours and not _telling(colours):
        raise InputError("colours has no label whose value tells them apart; name one that all of them have")


def _telling(colours: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Labels that all colours have, and not with one value."""
    return sorted(label for label, its in selector.union(colours).items() if len(its) > 1)


def report(
    given: Environments,
    problems: Iterable[str],
    found: Namespaces,
    required: Mapping[str, str],
    colours: Mapping[str, Mapping[str, str]],
) -> dict[str, Any]:
    """What is in the namespaces, how environments differ, and what has to be put right.

    ``problems`` are the inventory's own. ``required`` are settings that must be there. ``colours`` are the labels by
    which the pods of each colour are told, where they are.
    """
    return {
        "problems": list(problems),
        "environments": {name: _environment(given, one, found, required, colours) for name, one in given.items()},
        "differences": _differences(given, found),
    }


def _environment(
    given: Environments,
    environment: Environment,
    found: Namespaces,
    required: Mapping[str, str],
    colours: Mapping[str, Mapping[str, str]],
) -> dict[str, Any]:
    source, target = found.get(environment.source), found.get(environment.namespace)
    told: dict[str, Any] = {
        "source": _namespace(environment.source, source),
        "target": _namespace(environment.namespace, target),
        "database": environment.database,
        "redis_prefix": environment.redis_prefix,
        "left": [],
        "refused": [],
        "risks": [],
    }
    if source is None:
        told["refused"] = [f"there is no namespace {environment.source}, which {environment.name} is to come from"]
        return told
    told["left"] = list(_left(source))
    try:
        adapted = environments.adapt(environment, _brought(source))
    except InputError as error:
        told["refused"] = [error.message]
        return told
    told["refused"] = _refused(given, environment, adapted, found, required)
    told["risks"] = [
        *_images(adapted),
        *_requests(environment, adapted),
        *_probes(adapted),
        *_ambiguous(adapted, colours),
        *_unserved(adapted),
        *_unnamed(environment, adapted),
    ]
    return told


# --- what is there


def _namespace(name: str, found: Found | None) -> dict[str, Any]:
    """One namespace in plain data."""
    if found is None:
        return {"namespace": name, "exists": False}
    kept = {key: one for key, one in found.objects.items() if not _is_made(key[0], one)}
    by_kind: dict[str, list[Document]] = {}
    for _key, document in sorted(kept.items()):
        by_kind.setdefault(document["kind"], []).append(document)

    def all_of(*kinds: str) -> list[Document]:
        return [one for kind in kinds for one in by_kind.get(kind, ())]

    return {
        "namespace": name,
        "exists": True,
        "unread": sorted(found.unread),
        "workloads": [_workload(one, kept) for one in all_of(*WORKLOADS, "DaemonSet")],
        "autoscalers": [_autoscaler(one) for one in all_of("HorizontalPodAutoscaler")],
        "services": [_service(one, kept) for one in all_of("Service")],
        "routes": [_route(one) for one in all_of("Ingress", "HTTPRoute")],
        "config_maps": [_name(one) for one in all_of("ConfigMap")],
        "secrets": [_name(one) for one in all_of("Secret")],
        "claims": [_claim(one) for one in all_of("PersistentVolumeClaim")],
        "quotas": [_quota(one) for one in all_of("ResourceQuota")],
    }


def _is_made(resource: str, document: Document) -> bool:
    """Is it in every namespace, or does its owner make it beside what is told already?"""
    if resource in (SECRETS, "configmaps"):
        return bool(objects.why_left_out(resource, document))
    return resource == "serviceaccounts" and _name(document) == "default"


def _name(document: Document) -> str:
    return str(document["metadata"]["name"])


def _called(document: Document) -> str:
    return f"{document['kind']} {_name(document)}"


def _workload(document: Document, among: Objects) -> dict[str, Any]:
    spec, status = document["spec"], document.get("status") or {}
    template = spec["template"]["spec"]
    is_daemon = document["kind"] == "DaemonSet"
    scalers = [_name(one) for one in among.values() if scaled_by(one) == (document["kind"], _name(document))]
    claims = [f"{_name(one)}: claims of its own" for one in spec.get("volumeClaimTemplates") or ()]
    return {
        "kind": document["kind"],
        "name": _name(document),
        "replicas": status.get("desiredNumberScheduled", 0) if is_daemon else spec.get("replicas", 1),
        "ready": status.get("numberReady" if is_daemon else "readyReplicas") or 0,
        "autoscaler": next(iter(scalers), ""),
        "unfinished": list(selector.unfinished(document)) if document["kind"] == "Deployment" else [],
        "containers": [_container(one) for one in template.get("containers") or ()],
        "volumes": [_volume(one) for one in template.get("volumes") or ()] + claims,
    }


def _container(container: Mapping[str, Any]) -> dict[str, Any]:
    resources = container.get("resources") or {}
    image = str(container.get("image") or "")
    return {
        "name": str(container["name"]),
        "image": image,
        "by_digest": _by_digest(image),
        "requests": dict(resources.get("requests") or {}),
        "limits": dict(resources.get("limits") or {}),
        "probes": [word for name, word in _PROBES.items() if name in container],
    }


def _by_digest(image: str) -> bool:
    return "@sha256:" in image


def _volume(volume: Mapping[str, Any]) -> str:
    kind = next((name for name in volume if name != "name"), "emptyDir")
    its = volume.get(kind) or {}
    named = its.get("claimName") or its.get("secretName") or its.get("name")
    return f"{volume['name']}: {kind}{f' {named}' if named else ''}"


def _autoscaler(document: Document) -> dict[str, Any]:
    spec = document["spec"]
    metrics = []
    for one in spec.get("metrics") or ():
        resource = one.get("resource") or {}
        target = (resource.get("target") or {}).get("averageUtilization")
        metrics.append(f"{resource['name']} at {target} %" if target else str(one.get("type")))
    return {
        "name": _name(document),
        "scales": " ".join(scaled_by(document) or ()),
        "least": spec.get("minReplicas") or 1,
        "most": spec.get("maxReplicas"),
        "metrics": metrics,
    }


def _service(document: Document, among: Objects) -> dict[str, Any]:
    spec = document["spec"]
    return {
        "name": _name(document),
        "type": spec.get("type", "ClusterIP"),
        "ports": [str(one.get("port")) for one in spec.get("ports") or ()],
        "selector": dict(spec.get("selector") or {}),
        "selects": sorted(_called(one) for one in _workloads(among) if _is_selected(document, one)),
    }


def _workloads(among: Objects) -> list[Document]:
    return [one for one in among.values() if one["kind"] in WORKLOADS]


def _pods(workload: Document) -> Mapping[str, str]:
    """Labels of its pods."""
    labels: Mapping[str, str] = (workload["spec"]["template"].get("metadata") or {}).get("labels") or {}
    return labels


def _is_selected(service: Document, workload: Document) -> bool:
    wanted, has = service["spec"].get("selector") or {}, _pods(workload)
    return bool(wanted) and all(has.get(label) == value for label, value in wanted.items())


def _route(document: Document) -> dict[str, Any]:
    spec = document.get("spec") or {}
    if document["kind"] == "Ingress":
        hosts = [rule.get("host") for rule in spec.get("rules") or ()] + ([None] if "defaultBackend" in spec else [])
        paths = [path for rule in spec.get("rules") or () for path in (rule.get("http") or {}).get("paths") or ()]
        behind = [one["backend"] for one in paths] + [spec[name] for name in ("defaultBackend",) if name in spec]
        backends = [one["service"]["name"] for one in behind if one.get("service")]
    else:
        hosts = spec.get("hostnames") or [None]
        backends = [one["name"] for rule in spec.get("rules") or () for one in rule.get("backendRefs") or ()]
    return {
        "kind": document["kind"],
        "name": _name(document),
        "hosts": list(dict.fromkeys(host or "every host" for host in hosts)),
        "backends": list(dict.fromkeys(backends)),
    }


def _claim(document: Document) -> dict[str, Any]:
    spec = document.get("spec") or {}
    wanted = ((spec.get("resources") or {}).get("requests") or {}).get("storage", "")
    return {"name": _name(document), "size": wanted, "class": spec.get("storageClassName") or ""}


def _quota(document: Document) -> dict[str, Any]:
    status = document.get("status") or {}
    hard = (document.get("spec") or {}).get("hard") or {}
    return {"name": _name(document), "hard": dict(hard), "used": dict(status.get("used") or {})}


# --- what is brought


def _brought(found: Found) -> dict[objects.Key, Document]:
    """What k8s_environment takes along, cleaned as it does."""
    return {
        key: objects.clean(one)
        for key, one in found.objects.items()
        if key[0] in ADAPTED and not objects.why_left_out(key[0], one)
    }


def _left(found: Found) -> Iterator[dict[str, str]]:
    for (resource, _its), document in sorted(found.objects.items()):
        why = objects.why_left_out(resource, document) or LEFT.get(resource, "")
        if why and not _is_made(resource, document):
            yield {"object": _called(document), "why": why}


# --- what would be refused


def _refused(
    given: Environments, environment: Environment, adapted: Objects, found: Namespaces, required: Mapping[str, str]
) -> list[str]:
    source, target = found.get(environment.source), found.get(environment.namespace)
    before = []
    if source is not None:
        expected = environments.adapt(dataclasses.replace(environment, quota={}), _brought(source))
        before.append((environment.source, expected))
    if target is not None:
        kept = {key: one for key, one in _brought(target).items() if key in adapted}
        before.append((environment.namespace, kept))
    told = environments.problems(given, environment.name, adapted, before, required)
    if target is not None and SECRETS in target.unread:
        return told
    everything: Objects = {} if target is None else target.objects
    there = {name for resource, name in everything if resource == SECRETS}
    return told + [
        f"the Secret {name} is needed by a workload, and {environment.namespace} has none of that name"
        for name in sorted(environments.secrets_needed(adapted) - there)
    ]


# --- what nobody refuses, and goes wrong


def _images(adapted: Objects) -> Iterator[str]:
    for document in _workloads(adapted):
        for container in containers_of(document):
            if not _by_digest(str(container.get("image"))):
                yield (
                    f"{_called(document)}: container {container['name']} has the image {container.get('image')} by a "
                    "tag, which can be another image tomorrow: name it by its digest"
                )


def _requests(environment: Environment, adapted: Objects) -> Iterator[str]:
    for document in _workloads(adapted):
        for container in document["spec"]["template"]["spec"].get("containers") or ():
            has = (container.get("resources") or {}).get("requests") or {}
            limits = (container.get("resources") or {}).get("limits") or {}
            # Without a request of its own it has that of its limit.
            missing = [name for name in ("cpu", "memory") if name not in {**limits, **has}]
            if missing:
                counted = [name for name in missing if {name, f"requests.{name}"} & environment.quota.keys()]
                then = f", and the quota of {environment.namespace} would refuse its pods" if counted else ""
                yield (
                    f"{_called(document)}: container {container['name']} requests no {' and no '.join(missing)}: "
                    f"nothing is kept for it, and no autoscaler can count it{then}"
                )


def _probes(adapted: Objects) -> Iterator[str]:
    for document in _workloads(adapted):
        if not any("readinessProbe" in one for one in containers_of(document)):
            yield (
                f"{_called(document)} has no readiness probe: its pods count as ready before they can answer, and a "
                "switch would send them requests"
            )


def _ambiguous(adapted: Objects, colours: Mapping[str, Mapping[str, str]]) -> Iterator[str]:
    """Deployments beside which another colour cannot run: each would take the other's pods for its own."""
    deployments = [one for one in adapted.values() if one["kind"] == "Deployment"]
    for one, other in permutations(deployments, 2):
        if _takes(one, _pods(other)):
            yield (
                f"{_called(one)} selects the pods of {_called(other)}, too: give their selectors a label whose value "
                "tells them apart. A selector cannot be changed: it takes a new Deployment"
            )
    if not colours:
        return
    common = {label: its[0] for label, its in selector.union(colours).items() if len(its) == 1}
    telling = _telling(colours)
    for one in deployments:
        if not all(_pods(one).get(label) == value for label, value in common.items()):
            continue
        given = one["spec"].get("selector") or {}
        has = {*(given.get("matchLabels") or {}), *(each["key"] for each in given.get("matchExpressions") or ())}
        if not has & set(telling):
            yield (
                f"{_called(one)} selects its pods without {' or '.join(telling)}, by which the colours are told: it "
                "would take those of the other colour, too. A selector cannot be changed: it takes a new Deployment"
            )


def _takes(deployment: Document, labels: Mapping[str, str]) -> bool:
    given = deployment["spec"].get("selector") or {}
    matches = all(labels.get(name) == value for name, value in (given.get("matchLabels") or {}).items())
    return matches and all(
        _OPERATORS[one["operator"]](labels.get(one["key"]), one.get("values") or ())
        for one in given.get("matchExpressions") or ()
    )


def _unserved(adapted: Objects) -> Iterator[str]:
    for document in adapted.values():
        its = document["spec"].get("selector") if document["kind"] == "Service" else None
        if its and not any(_is_selected(document, one) for one in _workloads(adapted)):
            yield f"{_called(document)} selects {selector.told(its)}, which no workload's pods have"


def _unnamed(environment: Environment, adapted: Objects) -> Iterator[str]:
    """Data of the inventory that no setting leads to."""
    values = [value for _where, _key, value in environments.values_of(adapted)]
    for what, name in (("database", environment.database), ("Redis prefix", environment.redis_prefix)):
        if name and not any(name in value for value in values):
            yield (
                f"no ConfigMap and no variable names the {what} {name}: see in the Secrets, which are not read, that "
                f"{environment.name} uses it"
            )


# --- how environments differ


def _differences(given: Environments, found: Namespaces) -> list[dict[str, Any]]:
    """What is not the same in all old namespaces: ``what``, and ``values`` by environment."""
    seen = {}
    for environment in given.values():
        there = found.get(environment.source)
        if there is not None:
            seen[environment.name] = _properties(environment, there)
    told: list[dict[str, Any]] = []
    for thing in sorted({thing for its in seen.values() for thing in its}):
        has = {name: its.get(thing) for name, its in seen.items()}
        if None in has.values():
            told.append(
                {"what": thing, "values": {name: "-" if one is None else "is there" for name, one in has.items()}}
            )
            continue
        for what in sorted({what for its in has.values() for what in its or ()}):
            values = {name: (its or {}).get(what, "-") for name, its in has.items()}
            if len(set(values.values())) > 1:
                told.append({"what": f"{thing}: {what}", "values": values})
    return told


def _properties(environment: Environment, found: Found) -> dict[str, dict[str, str]]:
    """By object, under the name that it gets: what can be compared, without values of settings."""
    told: dict[str, dict[str, str]] = {}
    for (resource, name), document in found.objects.items():
        if resource == "serviceaccounts" or _is_made(resource, document):
            continue
        its = told.setdefault(f"{document['kind']} {environment.names.get(name, name)}", {})
        if document["kind"] in WORKLOADS:
            its["replicas"] = str(document["spec"].get("replicas", 1))
            for container in map(_container, containers_of(document)):
                its[f"image of {container['name']}"] = container["image"]
                its[f"probes of {container['name']}"] = ", ".join(container["probes"]) or "-"
                for which in ("requests", "limits"):
                    for what, text in container[which].items():
                        its[f"{which} of {container['name']}, {what}"] = str(text)
        elif document["kind"] == "HorizontalPodAutoscaler":
            one = _autoscaler(document)
            its["bounds"] = f"{one['least']} to {one['most']}"
            its["metrics"] = ", ".join(one["metrics"]) or "-"
    for where, key, _value in environments.values_of(found.objects):
        kind, _space, name = where.partition(" ")
        thing = f"{kind} {environment.names.get(name, name)}"
        if thing in told:
            told[thing][f"setting {key}"] = "is set"
    return told
