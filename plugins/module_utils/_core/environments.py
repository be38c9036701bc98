# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Environments of an application in a cluster: from the namespace that each had to the one that it gets.

What is in the old namespace, or manifests that somebody gives, is adapted to the new one; and what must not be is
found: capacity that gets lower, settings that are missing, two environments that would share a database, a prefix, a
host or a namespace.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from fractions import Fraction
from itertools import combinations
from typing import Any

from ansible_collections.bluegreen.cutover.plugins.module_utils._core import objects
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import InputError, SourceError
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.objects import Document, Key, Objects

ADAPTED = frozenset(
    {
        "configmaps",
        "deployments.apps",
        "horizontalpodautoscalers.autoscaling",
        "httproutes.gateway.networking.k8s.io",
        "ingresses.networking.k8s.io",
        "networkpolicies.networking.k8s.io",
        "poddisruptionbudgets.policy",
        "rolebindings.rbac.authorization.k8s.io",
        "roles.rbac.authorization.k8s.io",
        "serviceaccounts",
        "services",
        "statefulsets.apps",
    }
)
"""Resources that are taken along. Not among them: Secrets, data, and what runs by itself, such as CronJobs."""

QUOTA = "bluegreen-environment"
"""Name of the ResourceQuota."""

WORKLOADS = ("Deployment", "StatefulSet")
"""Kinds that run what is brought."""

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_HOST = re.compile(r"(\*\.)?[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
_LABEL = re.compile(r"([A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?")
_QUANTITY = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(n|u|m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei|[eE][+-]?\d+)?")
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}
_SHARED = frozenset({"cpu", "memory", "ephemeral-storage"})
"""What a container without a limit may take of its node, as far as nobody else needs it."""
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
# Whatever has a name beside one of these means another object of the namespace.
_REFERENCES = frozenset(
    {
        "backendRefs", "configMap", "configMapKeyRef", "configMapRef", "imagePullSecrets", "roleRef", "scaleTargetRef",
        "secretKeyRef", "secretRef", "service", "subjects",
    }
)  # fmt: skip
_NAMING = frozenset({"serviceAccountName", "serviceAccount", "secretName", "claimName", "serviceName"})


@dataclass(frozen=True)
class Environment:
    """One environment: what was in the namespace ``source`` comes to ``namespace``.

    ``hosts`` and ``names`` map old ones to new ones. ``labels`` are those that all objects get. ``settings`` are values
    of keys of ConfigMaps and of variables of containers. ``quota`` is what the new namespace may use, as in
    ``spec.hard`` of a ResourceQuota.
    """

    name: str
    source: str
    namespace: str
    hosts: Mapping[str, str] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)
    database: str = ""
    redis_prefix: str = ""
    quota: Mapping[str, str] = field(default_factory=dict)


Environments = Mapping[str, Environment]


_MAPS: dict[str, tuple[Callable[[str], Any], str]] = {
    "hosts": (_HOST.fullmatch, "a host's name"),
    "names": (_NAME.fullmatch, "a name of a-z, 0-9 and '-'"),
    "labels": (_LABEL.fullmatch, "a label's value"),
    "settings": (lambda _text: True, ""),
    "quota": (lambda text: quantity(text) is not None, "a quantity such as 500m or 1Gi"),
}
"""What is in an environment's mappings."""


def make_environments(given: Mapping[str, Any]) -> dict[str, Environment]:
    """The environments of an inventory. Raises ``InputError`` with every problem, also those between two of them."""
    made, problems = read_environments(given)
    if problems:
        raise InputError(
            "the environments cannot be meant; nothing was touched:\n" + "\n".join(f"- {one}" for one in problems),
            {"problems": problems},
        )
    return made


def read_environments(given: Mapping[str, Any]) -> tuple[dict[str, Environment], list[str]]:
    """Those environments of an inventory that can be read, and every problem, also those between two of them."""
    problems: list[str] = []
    made = {}
    for name, values in given.items():
        found = _made(str(name), values, problems)
        if found is not None:
            made[found.name] = found
    problems += _collisions(made)
    if not given:
        problems.append("there is no environment; name one, with its namespace and the source of that")
    return made, problems


def _made(name: str, values: Any, problems: list[str]) -> Environment | None:
    if not isinstance(values, Mapping):
        problems.append(f"{name} is no mapping; source and namespace are needed")
        return None
    before = len(problems)
    known = {one.name for one in fields(Environment)} - {"name"}
    unknown = ", ".join(sorted(map(str, values.keys() - known)))
    if unknown:
        problems.append(f"{name} has {unknown}; it can have {', '.join(sorted(known))}")
    texts: dict[str, Any] = {
        key: str(values.get(key) or "") for key in ("source", "namespace", "database", "redis_prefix")
    }
    problems += [
        f"{name}.{key} is {texts[key]!r}; the name of a namespace is needed"
        for key in ("source", "namespace")
        if not _NAME.fullmatch(texts[key])
    ]
    prefix = texts["redis_prefix"]
    if prefix and prefix[-1].isalnum():
        problems.append(f"{name}.redis_prefix is {prefix!r}; it needs to end in its separator, such as 'shop:dev:'")
    maps: dict[str, Any] = {key: _texts(f"{name}.{key}", values.get(key) or {}, problems) for key in _MAPS}
    return Environment(name=name, **texts, **maps) if len(problems) == before else None


def _texts(where: str, given: Any, problems: list[str]) -> dict[str, str]:
    """A mapping of texts, each of which is what its name says."""
    if not isinstance(given, Mapping) or any(isinstance(one, (Mapping, list, bool)) for one in given.values()):
        problems.append(f"{where} is no mapping of texts; write true and false in quotes")
        return {}
    found = {str(old): str(new) for old, new in given.items()}
    is_right, needs = _MAPS[where.rpartition(".")[2]]
    problems += [f"{where} has {one!r}; {needs} is needed" for one in found.values() if not is_right(one)]
    return found


def _collisions(made: Environments) -> Iterator[str]:
    """What an environment must not have, because of another one."""
    sources = {one.source: one.name for one in made.values()}
    served = {host: one.name for one in made.values() for host in one.hosts}
    for one in made.values():
        if one.namespace in sources:
            yield (
                f"{one.name}.namespace is {one.namespace}, which is the source of {sources[one.namespace]}: a source "
                "is never written to"
            )
        if one.namespace == "default" or one.namespace.startswith("kube-"):
            yield f"{one.name}.namespace is {one.namespace}, which belongs to the cluster"
        for host in sorted(set(one.hosts.values()) & served.keys()):
            yield f"{one.name}.hosts has {host}, which the source of {served[host]} serves: it would take its traffic"
    for one, other in combinations(made.values(), 2):
        yield from _shared(one, other)


def _shared(one: Environment, other: Environment) -> Iterator[str]:
    both = f"{one.name} and {other.name} have"
    if one.namespace == other.namespace:
        yield f"{both} the same namespace {one.namespace}"
    if one.database and one.database == other.database:
        yield f"{both} the same database {one.database}"
    shorter, longer = sorted((one.redis_prefix, other.redis_prefix), key=len)
    if shorter and longer.startswith(shorter):
        yield f"{both} the Redis prefixes {shorter!r} and {longer!r}: keys of one would be the other's"
    for host in sorted(set(one.hosts.values()) & set(other.hosts.values())):
        yield f"{both} the same host {host}"


def check_required(required: Mapping[str, Any]) -> None:
    """Raise ``InputError`` where a required setting has a value that no ConfigMap can have."""
    wrong = [name for name, value in required.items() if not isinstance(value, str)]
    if wrong:
        raise InputError(f"required has {', '.join(wrong)} with a value that is no text: write it in quotes")


def check_target(environments: Environments, namespace: str) -> None:
    """Raise ``SourceError`` unless ``namespace`` is where an environment is to be, and no environment's source.

    Everything that is written goes through here (R-B15).
    """
    sources = {one.source for one in environments.values()}
    if namespace in sources or namespace not in {one.namespace for one in environments.values()}:
        whose = "a source" if namespace in sources else "of no environment"
        raise SourceError(
            f"{namespace} was about to be written to, and is {whose}: nothing is ever written there. This is a mistake "
            "in the collection; nothing was touched",
            {"namespace": namespace, "sources": sorted(sources)},
        )


def check_sources(given: Any, written: Mapping[str, str]) -> None:
    """Raise ``SourceError`` where one of ``written``, namespaces by what names them, is a source in ``given``.

    That is ``environment_all`` as the inventory has it, of which only sources are read: what else is wrong there is for
    who brings an environment (R-B15).
    """
    if not isinstance(given, Mapping):
        raise InputError(f"environment_all is {given!r}; a mapping of environments is needed. Nothing was touched")
    sources = {
        str(one["source"]): one for one in given.values() if isinstance(one, Mapping) and one.get("source") is not None
    }
    wrong = [
        f"{name} is {namespace}, the source of {sources[namespace].get('namespace')}"
        for name, namespace in written.items()
        if namespace in sources
    ]
    if wrong:
        raise SourceError(
            f"{'; '.join(wrong)}, by environment_all: nothing is ever written to a source. Name the namespace that its "
            "environment comes to; nothing was touched",
            {"problems": wrong, "sources": sorted(sources)},
        )


def slot_of(given: Any, slots: Any, namespace: str) -> Mapping[str, Any] | None:
    """What ``slots``, ``environment_slots`` of an inventory, has for the environment that ``given``, its
    ``environment_all``, has in ``namespace``; None where nobody shares it (R-B5). Raises ``InputError``.
    """
    if not isinstance(given, Mapping) or not isinstance(slots, Mapping):
        raise InputError("environment_all and environment_slots need to be mappings; nothing was touched")
    unknown = sorted(map(str, slots.keys() - given.keys()))
    if unknown:
        raise InputError(
            f"environment_slots has {', '.join(unknown)}, and environment_all has not: nobody would keep to them. "
            "Nothing was touched"
        )
    for name, its in slots.items():
        one = given[name]
        if isinstance(one, Mapping) and one.get("namespace") == namespace:
            missing = [key for key in ("namespace", "environment", "slots", "zone") if not (its or {}).get(key)]
            if missing:
                raise InputError(f"environment_slots.{name} needs {', '.join(missing)}; nothing was touched")
            return {"needs": 0, **its}
    return None


# --- adapting


def adapt(environment: Environment, found: Objects) -> dict[Key, Document]:
    """Cleaned objects of the source as they are to be in the new namespace.

    Raises InputError where two of them would have one name.
    """
    adapted: dict[Key, Document] = {}
    for (resource, _name), document in found.items():
        if resource == "serviceaccounts" and document["metadata"]["name"] == "default":
            continue
        changed = _walk(copy.deepcopy(document), (), lambda path, value: _replaced(environment, path, value))
        metadata = changed["metadata"]
        metadata["name"] = environment.names.get(metadata["name"], metadata["name"])
        metadata["namespace"] = environment.namespace
        if environment.labels:
            metadata["labels"] = {**(metadata.get("labels") or {}), **environment.labels}
        metadata.get("annotations", {}).pop(_LAST_APPLIED, None)
        if changed.get("kind") == "Service":
            _drop_places(changed.get("spec") or {})
        if (resource, metadata["name"]) in adapted:
            raise InputError(
                f"{environment.name}.names gives two {resource} the name {metadata['name']}; nothing was touched"
            )
        adapted[resource, metadata["name"]] = changed
    scaled = objects.autoscaled(adapted)
    for document in adapted.values():
        if _called(document) in scaled:
            # An autoscaler and whoever applies would change it by turns.
            (document.get("spec") or {}).pop("replicas", None)
    if environment.quota:
        adapted["resourcequotas", QUOTA] = {
            "apiVersion": "v1",
            "kind": "ResourceQuota",
            "metadata": {"name": QUOTA, "namespace": environment.namespace},
            "spec": {"hard": dict(environment.quota)},
        }
    return adapted


def _drop_places(spec: Document) -> None:
    """What only one Service of a cluster can have."""
    for name in ("loadBalancerIP", "externalIPs"):
        spec.pop(name, None)
    for port in spec.get("ports") or ():
        port.pop("nodePort", None)


Path = tuple[str, ...]


def _walk(value: Any, path: Path, change: Callable[[Path, Any], Any]) -> Any:
    """``value`` with each text in it changed; what is in a list has the list's path."""
    if isinstance(value, Mapping):
        return {name: _walk(one, (*path, str(name)), change) for name, one in _set(path, value, change)}
    if isinstance(value, list):
        return [_walk(one, path, change) for one in value]
    return change(path, value) if isinstance(value, str) else value


def _set(path: Path, value: Mapping[str, Any], change: Callable[[Path, Any], Any]) -> Iterator[tuple[str, Any]]:
    """The items of a mapping; a container's variable is one of the name that it has."""
    variable = path[-1:] == ("env",) and isinstance(value.get("value"), str)
    for name, one in value.items():
        yield name, change((*path, str(value["name"]), "="), one) if variable and name == "value" else one


def _replaced(environment: Environment, path: Path, text: str) -> str:
    last, parent = path[-1], path[-2] if len(path) > 1 else ""
    key = parent if last == "=" else last if path[:-1] == ("data",) else None
    if key is not None:
        return environment.settings[key] if key in environment.settings else _addresses(environment, text)
    if last == "namespace":
        return environment.namespace if text == environment.source else text
    if last == "image" or path in (("apiVersion",), ("kind",)):
        return text
    if (last == "name" and parent in _REFERENCES) or last in _NAMING:
        return environment.names.get(text, text)
    if parent in ("labels", "matchLabels") or path[:-1] == ("spec", "selector"):
        return environment.labels.get(last, text)
    if last in ("host", "hosts", "hostnames"):
        return environment.hosts.get(text, text)
    if last in ("args", "command", "externalName") or parent == "annotations":
        return _addresses(environment, text)
    return text


def _addresses(environment: Environment, text: str) -> str:
    """Names of the cluster's DNS and virtual hosts in a text."""
    source = re.escape(environment.source)

    def moved(found: re.Match[str]) -> str:
        name = found.group(1)
        return f"{environment.names.get(name, name)}.{environment.namespace}.svc"

    text = re.sub(rf"(?<![\w.-])([a-z0-9-]+)\.{source}\.svc(?![\w-])", moved, text)
    for old, new in environment.hosts.items():
        text = re.sub(rf"(?<![\w.-]){re.escape(old)}(?![\w-])", new, text)
    return text


# --- what must not be


def problems(
    environments: Environments,
    name: str,
    adapted: Objects,
    before: Sequence[tuple[str, Objects]],
    required: Mapping[str, str],
) -> list[str]:
    """Why ``adapted`` may not come to the environment ``name``; one sentence each, none where it may.

    ``before`` are the objects that are not to become less, with words for where they are. ``required`` are settings
    and the values that they must have, an empty one where any will do.
    """
    environment = environments[name]
    found = [one for where, objects_ in before for one in lowered(where, objects_, adapted)]
    found += _hosts(environment, adapted)
    found += _settings(environment, adapted, required)
    found += _crossed(environments, environment, adapted)
    found += _over_quota(environment, adapted)
    return found


def lowered(where: str, before: Objects, after: Objects) -> list[str]:
    """Where ``after`` has less than ``before``, which is ``where``: a workload, replicas, requests, limits (R-B6)."""
    told = []
    now = {_called(one): one for one in after.values()}
    for old in before.values():
        called = _called(old)
        if called[0] not in (*WORKLOADS, "HorizontalPodAutoscaler"):
            continue
        if called not in now:
            told.append(f"{' '.join(called)} is in {where}, and would be missing")
            continue
        has = _capacity(now[called], after)
        for what, (amount, words) in _capacity(old, before).items():
            least, its = has.get(what, (None, "none"))
            if least is None or least < amount:
                told.append(f"{' '.join(called)}: {what} would be {its}, and is {words} in {where}")
        told += [
            f"{' '.join(called)}: {what} would be {text}, and there is none in {where}"
            for what, text in _capped(old, now[called])
        ]
    return told


def _capped(old: Document, new: Document) -> Iterator[tuple[str, str]]:
    """Limits of what containers could take without one before. Of what they have a number of, a limit asks for it."""
    before = {one["name"]: one for one in containers_of(old)}
    for container in containers_of(new):
        its = before.get(container["name"])
        had = None if its is None else {(which, name) for which, name, _text in _resources(its)}
        for which, name, text in _resources(container):
            if had is not None and which == "limits" and name in _SHARED and (which, name) not in had:
                yield f"{name} in {which} of container {container['name']}", text


def _called(document: Document) -> tuple[str, str]:
    return str(document.get("kind")), str(document["metadata"]["name"])


def scaled_down(before: Objects, after: Objects) -> list[str]:
    """Workloads that are there and would have fewer replicas: whoever had set them leaves that to an autoscaler."""
    told = []
    for key, old in before.items():
        had, has = ((one.get("spec") or {}).get("replicas", 1) for one in (old, after.get(key, old)))
        if _called(old)[0] in WORKLOADS and has < had:
            told.append(
                f"{' '.join(_called(old))} has {had} replicas, and would have {has} until its autoscaler acts: scale "
                "it up by hand first, which takes that number over"
            )
    return told


Capacity = dict[str, "tuple[Fraction, str]"]
"""By what it is of: a number of which less is worse, and the words for it."""


def _capacity(document: Document, among: Objects) -> Capacity:
    """What a workload or an autoscaler has."""
    if document.get("kind") == "HorizontalPodAutoscaler":
        return _bounds(document["spec"])
    found: Capacity = {}
    scaler = next((one for one in among.values() if scaled_by(one) == _called(document)), None)
    # What an autoscaler decides is compared by its bounds.
    replicas = document["spec"].get("replicas", 1) if scaler is None else scaler["spec"].get("minReplicas") or 1
    found["replicas"] = (Fraction(replicas), str(replicas))
    for container in containers_of(document):
        for which, name, text in _resources(container):
            found[f"{name} in {which} of container {container['name']}"] = (quantity(text) or Fraction(0), text)
    return found


def _bounds(spec: Mapping[str, Any]) -> Capacity:
    found: Capacity = {}
    for name in ("minReplicas", "maxReplicas"):
        number = spec.get(name) or 1
        found[name] = (Fraction(number), str(number))
    for metric in spec.get("metrics") or ():
        resource = metric.get("resource") or {}
        target = (resource.get("target") or {}).get("averageUtilization")
        if target:
            # The later it scales, the less there is.
            found[f"target of {resource.get('name')}"] = (Fraction(-target), f"{target} %")
    return found


def scaled_by(document: Document) -> tuple[str, str] | None:
    """What an autoscaler sets the replicas of."""
    if document.get("kind") != "HorizontalPodAutoscaler":
        return None
    target = document["spec"]["scaleTargetRef"]
    return str(target.get("kind")), str(target.get("name"))


def _resources(container: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    for which in ("requests", "limits"):
        for name, text in ((container.get("resources") or {}).get(which) or {}).items():
            yield which, str(name), str(text)


def containers_of(document: Document) -> list[Document]:
    """The containers of a workload's pods, those that run first among them."""
    template = ((document.get("spec") or {}).get("template") or {}).get("spec") or {}
    return [*(template.get("containers") or ()), *(template.get("initContainers") or ())]


def quantity(text: str) -> Fraction | None:
    """``500m``, ``1Gi``, ``0.5`` as a number; None where it is none."""
    found = _QUANTITY.fullmatch(text)
    if found is None:
        return None
    number, suffix = Fraction(found.group(1)), found.group(2) or ""
    if suffix in _BINARY:
        return number * (1 << _BINARY[suffix])
    power = _DECIMAL[suffix] if suffix in _DECIMAL else int(suffix[1:])
    return number * Fraction(10) ** power


def _hosts(environment: Environment, adapted: Objects) -> Iterator[str]:
    """Hosts of routes that nobody has given: the source has them, and would lose its traffic."""
    given = set(environment.hosts.values())
    for document in adapted.values():
        spec = document.get("spec") or {}
        if document.get("kind") == "Ingress":
            hosts = [rule.get("host") for rule in spec.get("rules") or ()] + (
                [None] if "defaultBackend" in spec else []
            )
            hosts += [host for one in spec.get("tls") or () for host in one.get("hosts") or ()]
        elif document.get("kind") == "HTTPRoute":
            hosts = spec.get("hostnames") or [None]
        else:
            continue
        for host in dict.fromkeys(hosts):
            if host not in given:
                which = f"the host {host}" if host else "every host"
                yield (
                    f"{' '.join(_called(document))} is for {which}, which {environment.source} has: give it one of its "
                    f"own in {environment.name}.hosts"
                )


def values_of(adapted: Objects) -> list[tuple[str, str, str]]:
    """Where, which and what: the values of ConfigMaps, and of containers' variables that are told in clear."""
    found: list[tuple[str, str, str]] = []
    for document in adapted.values():
        called = " ".join(_called(document))
        if document.get("kind") == "ConfigMap":
            found += [(called, str(key), str(value)) for key, value in (document.get("data") or {}).items()]
        for container in containers_of(document):
            found += [
                (called, str(one["name"]), str(one["value"])) for one in container.get("env") or () if "value" in one
            ]
    return found


def _referred(adapted: Objects) -> Iterator[tuple[str, str, str | None]]:
    """As ``values_of``, of containers' variables that are taken from elsewhere: from a ConfigMap, or from a Secret, of
    which nobody knows the value here. A reference to what is not there is none.
    """
    maps = {_called(one): one.get("data") or {} for one in adapted.values()}
    for document in adapted.values():
        for container in containers_of(document):
            for one in container.get("env") or ():
                taken = one.get("valueFrom") or {}
                of_map = taken.get("configMapKeyRef") or {}
                data = maps.get(("ConfigMap", str(of_map.get("name"))), {})
                if "secretKeyRef" in taken:
                    yield " ".join(_called(document)), str(one["name"]), None
                elif of_map.get("key") in data:
                    yield " ".join(_called(document)), str(one["name"]), str(data[of_map["key"]])


def _settings(environment: Environment, adapted: Objects, required: Mapping[str, str]) -> Iterator[str]:
    values = values_of(adapted)
    keys = {key for _where, key, _value in values}
    for key in environment.settings:
        if key not in keys:
            yield f"{environment.name}.settings has {key}, which no ConfigMap and no container has: it is for nothing"
    everywhere = [*values, *_referred(adapted)]
    for key, wanted in required.items():
        if all(name != key for _where, name, _value in everywhere):
            yield f"{key} is required, and no ConfigMap and no container has it"
        for where, name, value in everywhere:
            if name == key and value is None:
                if wanted:
                    yield f"{where} has {key} from a Secret, where nobody can see that it is {wanted!r}"
            elif name == key and (value != wanted if wanted else not value):
                yield f"{where} has {key}={value!r}; {repr(wanted) if wanted else 'a value'} is required"


def _crossed(environments: Environments, environment: Environment, adapted: Objects) -> Iterator[str]:
    """Values that lead to another environment's data (R-B7)."""
    for other in environments.values():
        if other is environment:
            continue
        patterns = {
            "database": rf"(?<![\w-]){re.escape(other.database)}(?![\w-])" if other.database else None,
            "Redis prefix": rf"(?<![\w-]){re.escape(other.redis_prefix)}" if other.redis_prefix else None,
            "namespace": rf"\.({re.escape(other.namespace)}|{re.escape(other.source)})\.svc(?![\w-])",
        }
        for where, key, value in values_of(adapted):
            for what, pattern in patterns.items():
                if pattern and re.search(pattern, value):
                    yield f"{key} of {where} names the {what} of {other.name}: set it in {environment.name}.settings"


def _over_quota(environment: Environment, adapted: Objects) -> Iterator[str]:
    """What all workloads need at their largest, and the quota does not allow."""
    needed: dict[str, Fraction] = {}
    largest = {scaled_by(one): one["spec"]["maxReplicas"] for one in adapted.values() if scaled_by(one)}
    for document in adapted.values():
        if document.get("kind") not in WORKLOADS:
            continue
        replicas = Fraction(largest.get(_called(document), document["spec"].get("replicas", 1)))
        needed["pods"] = needed.get("pods", Fraction(0)) + replicas
        for container in document["spec"]["template"]["spec"].get("containers") or ():
            for which, name, text in _resources(container):
                key = f"{which}.{name}"
                needed[key] = needed.get(key, Fraction(0)) + replicas * (quantity(text) or 0)
    for key, text in environment.quota.items():
        # A quota of cpu is one of requests.cpu.
        found = needed.get(key) or needed.get(f"requests.{key}") or Fraction(0)
        if found > (quantity(text) or 0):
            yield (
                f"{environment.name}.quota allows {key} {text}, and all that is adapted needs {float(found):g} at its "
                "largest: give it more"
            )


def secrets_needed(adapted: Objects) -> set[str]:
    """Names of the Secrets without which pods of the workloads do not start."""
    found: set[str] = set()
    for document in adapted.values():
        if document.get("kind") in WORKLOADS:
            template = document["spec"]["template"]["spec"]
            found |= set(_named_secrets(template))
            found |= {str(one["name"]) for one in template.get("imagePullSecrets") or ()}
    return found


def _named_secrets(value: Any) -> Iterator[str]:
    for one in value if isinstance(value, list) else value.values() if isinstance(value, Mapping) else ():
        yield from _named_secrets(one)
    for name in ("secretKeyRef", "secretRef", "secret") if isinstance(value, Mapping) else ():
        its = value.get(name)
        if isinstance(its, Mapping) and not its.get("optional"):
            yield str(its.get("name") or its.get("secretName"))
