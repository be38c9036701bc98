# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may do what: Roles and their bindings."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from .storage import Storage

_GROUP = "rbac.authorization.k8s.io"
MASTERS = "system:masters"


@dataclass(frozen=True)
class User:
    name: str
    groups: tuple[str, ...]


@dataclass(frozen=True)
class Ask:
    """``resource`` has its subresource behind a slash; ``namespace`` is empty for what has none or for all."""

    verb: str
    group: str
    resource: str
    namespace: str
    name: str


def allowed(storage: Storage, user: User, ask: Ask) -> bool:
    if MASTERS in user.groups:
        return True
    return any(_covers(rule, ask) for rule in _rules(storage, user, ask.namespace))


def excess(storage: Storage, user: User, namespace: str, document: Mapping[str, Any]) -> str:
    """What a Role or RoleBinding that ``user`` writes would give, and he does not have; empty where that is nothing."""
    if MASTERS in user.groups:
        return ""
    verb, resource = ("bind", "roles") if document["kind"] == "RoleBinding" else ("escalate", "roles")
    name = document["roleRef"]["name"] if verb == "bind" else document["metadata"]["name"]
    if allowed(storage, user, Ask(verb, _GROUP, resource, namespace, name)):
        return ""
    given = document if verb == "escalate" else storage.get((f"roles.{_GROUP}", namespace, name)) or {}
    for rule in given.get("rules") or ():
        for group, one, asked in itertools.product(rule["apiGroups"], rule["resources"], rule["verbs"]):
            for named in rule.get("resourceNames") or [""]:
                if not allowed(storage, user, Ask(asked, group, one, namespace, named)):
                    return f"{asked} {one} {named}".strip()
    return ""


def refusal(user: User, ask: Ask) -> str:
    """What the real one says."""
    kind = f"{ask.resource.partition('/')[0]}{'.' + ask.group if ask.group else ''}"
    name = f' "{ask.name}"' if ask.name else ""
    where = f' in the namespace "{ask.namespace}"' if ask.namespace else " at the cluster scope"
    return (
        f'{kind}{name} is forbidden: User "{user.name}" cannot {ask.verb} resource "{ask.resource}" '
        f'in API group "{ask.group}"{where}'
    )


def _rules(storage: Storage, user: User, namespace: str) -> Iterator[Mapping[str, Any]]:
    bindings = [(binding, "") for binding in storage.of(f"clusterrolebindings.{_GROUP}", None)]
    if namespace:
        bindings += [(binding, namespace) for binding in storage.of(f"rolebindings.{_GROUP}", namespace)]
    for binding, where in bindings:
        if not any(_is(user, subject) for subject in binding.get("subjects") or ()):
            continue
        reference = binding["roleRef"]
        kind, place = ("clusterroles", "") if reference["kind"] == "ClusterRole" else ("roles", where)
        role = storage.get((f"{kind}.{_GROUP}", place, reference["name"]))
        yield from (role or {}).get("rules") or ()


def _is(user: User, subject: Mapping[str, Any]) -> bool:
    if subject["kind"] == "ServiceAccount":
        return user.name == f"system:serviceaccount:{subject.get('namespace')}:{subject['name']}"
    if subject["kind"] == "Group":
        return subject["name"] in user.groups
    return bool(subject["name"] == user.name)


def _covers(rule: Mapping[str, Any], ask: Ask) -> bool:
    names = rule.get("resourceNames") or ()
    return (
        bool({"*", ask.verb} & set(rule.get("verbs") or ()))
        and bool({"*", ask.group} & set(rule.get("apiGroups") or ()))
        and bool({"*", ask.resource} & set(rule.get("resources") or ()))
        and (not names or ask.name in names)
    )
