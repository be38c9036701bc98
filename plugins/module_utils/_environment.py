# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An environment of an application brought to its new namespace, by server-side apply; its old one is only read."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ansible_collections.bluegreen.cutover.plugins.module_utils import _objects
from ansible_collections.bluegreen.cutover.plugins.module_utils._core import environments, objects
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.artifact import some
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.environments import (
    ADAPTED,
    Environment,
    Environments,
)
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import (
    ClusterError,
    EnvironmentRefusedError,
    InputError,
)
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.objects import Document, Key
from ansible_collections.bluegreen.cutover.plugins.module_utils._kubernetes import APPLY, Cluster, path_of
from ansible_collections.bluegreen.cutover.plugins.module_utils._objects import Kind

_QUOTAS = "resourcequotas"


class Bringing:
    """Brings environments of ``application``. ``required`` are settings, with the values that they must have."""

    def __init__(
        self,
        cluster: Cluster,
        application: str,
        given: Environments,
        required: Mapping[str, str],
    ) -> None:
        self._cluster = cluster
        # Its own: what another application has applied is a conflict, and not overwritten.
        self._manager = f"bluegreen.cutover-{application}"
        self._environments = given
        self._required = required
        self._known: dict[str, Kind] = {}

    def bring(
        self, name: str, manifests: Sequence[Document] | None = None, *, check_mode: bool = False
    ) -> dict[str, Any]:
        """Make the namespace of the environment ``name`` what its source is, or ``manifests`` say, adapted.

        Everything is judged, and tried by the server, before any object is written. A namespace that is not there yet
        is made for that; in check mode it is not, and nothing is ``tried``. Returns that, ``changed``, ``namespace``,
        ``objects`` with what became of each, and ``before`` and ``after`` of those that changed. Raises InputError,
        EnvironmentRefusedError or ClusterError.
        """
        environment = self._environments[name]
        environments.check_target(self._environments, environment.namespace)
        self._known = {kind.resource: kind for kind in _objects.kinds(self._cluster, objects.IGNORED_GROUPS)}
        self._check_source(environment)
        source = self._read(environment.source, ADAPTED)
        adapted = environments.adapt(environment, source if manifests is None else self._given(manifests))
        namespace = self._cluster.find(f"/api/v1/namespaces/{environment.namespace}")
        live = self._read(environment.namespace, ADAPTED | {_QUOTAS}) if namespace else {}
        # What is there already is not to become less either; what is only there stays.
        kept = {key: one for key, one in live.items() if key in adapted}
        expected = environments.adapt(dataclasses.replace(environment, quota={}), source)
        before = [(environment.source, expected), (environment.namespace, kept)]
        problems = environments.problems(self._environments, name, adapted, before, self._required)
        problems += self._missing_secrets(environment.namespace, adapted)
        if problems:
            raise EnvironmentRefusedError(
                f"{name} of {environment.source} cannot come to {environment.namespace}; nothing was touched:\n"
                + "\n".join(f"- {one}" for one in problems),
                {"problems": problems},
            )
        new = namespace is None
        if new and check_mode:
            return {**self._told(environment.namespace, adapted, live, adapted, new), "tried": False}
        if new:
            self._make_namespace(environment.namespace, environment.labels)
        tried = self._try(adapted, live, f"{environment.namespace} is new and empty" if new else "nothing was touched")
        result = {**self._told(environment.namespace, adapted, live, tried, new), "tried": True}
        if check_mode or not result["changed"]:
            return result
        done = {key: self._apply(key, adapted[key]) for key in objects.in_order(adapted)}
        return {**result, **self._told(environment.namespace, adapted, live, done, new)}

    # --- reading

    def _check_source(self, environment: Environment) -> None:
        """What is not there would be taken for empty, and anything for enough."""
        if self._cluster.find(f"/api/v1/namespaces/{environment.source}") is None:
            raise InputError(
                f"there is no namespace {environment.source} at {self._cluster.address}, which {environment.name} is "
                "to come from, and to be compared with. Correct its source; nothing was touched"
            )

    def _read(self, namespace: str, resources: frozenset[str]) -> dict[Key, Document]:
        """What is in a namespace of some resources, cleaned."""
        found = {}
        for resource in sorted(resources & self._known.keys()):
            for one in _objects.list_all(self._cluster, self._known[resource], namespace):
                found[resource, one["metadata"]["name"]] = one
        return {key: objects.clean(one) for key, one in found.items() if not objects.why_left_out(key[0], one)}

    def _given(self, manifests: Sequence[Document]) -> dict[Key, Document]:
        resources = {
            (kind.version.rpartition("/")[0], kind.kind): resource
            for resource, kind in self._known.items()
            if resource in ADAPTED
        }
        found: dict[Key, Document] = {}
        wrong: list[str] = []
        for one in _flat(manifests):
            version, kind = str(one.get("apiVersion") or ""), str(one.get("kind") or "")
            name = str((one.get("metadata") or {}).get("name") or "")
            resource = resources.get((version.rpartition("/")[0], kind))
            if resource is None or not name:
                called = f"{kind or 'something of no kind'} {name}".rstrip()
                wrong.append(f"{called} of {version or 'no version'}")
            else:
                found[resource, name] = objects.clean(one)
        if wrong:
            raise InputError(
                f"manifests has {some(wrong)}, which this does not bring: {', '.join(sorted(ADAPTED))}. Apply the "
                "others yourself; nothing was touched",
                {"manifests": wrong},
            )
        return found

    def _missing_secrets(self, namespace: str, adapted: Mapping[Key, Document]) -> list[str]:
        return [
            f"the Secret {name} is needed by a workload, and {namespace} has none of that name: make it first"
            for name in sorted(environments.secrets_needed(adapted))
            if self._cluster.find(path_of("v1", namespace, "secrets", name)) is None
        ]

    # --- writing

    def _try(
        self, adapted: Mapping[Key, Document], live: Mapping[Key, Document], until_now: str
    ) -> dict[Key, Document]:
        """What the server would make of all of it; ``until_now`` says what was done before."""
        found: dict[Key, Document] = {}
        refused: list[str] = []
        for key in objects.in_order(adapted):
            try:
                found[key] = self._apply(key, adapted[key], dry_run=True)
            except ClusterError as error:
                if error.status not in (400, 403, 404, 409, 422):
                    raise
                refused.append(error.message)
        refused += environments.scaled_down(live, found)
        if refused:
            raise EnvironmentRefusedError(
                f"the server has tried it, and it would not do; {until_now}: {some(refused)}. A conflict is "
                "with who has written that field: such as who has switched traffic since, or another application",
                {"problems": refused},
            )
        return found

    def _apply(self, key: Key, document: Document, *, dry_run: bool = False) -> Document:
        namespace = document["metadata"]["namespace"]
        environments.check_target(self._environments, namespace)
        kind = dataclasses.replace(self._known[key[0]], version=document["apiVersion"])
        query = {"fieldManager": self._manager, **({"dryRun": "All"} if dry_run else {})}

        def send() -> Document:
            return self._cluster.call("PATCH", kind.path(namespace, key[1]), document, APPLY, query=query)

        try:
            return send()
        except ClusterError as error:
            if not error.unknown:
                raise
            # Applied twice it is the same.
            return send()

    def _make_namespace(self, namespace: str, labels: Mapping[str, str]) -> None:
        environments.check_target(self._environments, namespace)
        _objects.make_namespace(self._cluster, namespace, labels)

    @staticmethod
    def _told(
        namespace: str,
        adapted: Mapping[Key, Document],
        live: Mapping[Key, Document],
        now: Mapping[Key, Document],
        made: bool,
    ) -> dict[str, Any]:
        told: list[dict[str, str]] = []
        before: dict[str, Document | None] = {}
        after: dict[str, Document] = {}
        for key in objects.in_order(adapted):
            document = adapted[key]
            called = f"{document['kind']}/{key[1]}"
            new = objects.clean({**now[key], "apiVersion": document["apiVersion"], "kind": document["kind"]})
            old = live.get(key)
            what = "created" if old is None else "changed" if _content(old) != _content(new) else "as it is"
            told.append({"object": called, "done": what})
            if what != "as it is":
                before[called], after[called] = old, new
        changed = made or bool(after)
        return {"changed": changed, "namespace": namespace, "objects": told, "before": before, "after": after}


def _content(document: Document) -> Document:
    """Without its version: manifests may have another one than the server prefers."""
    return {name: one for name, one in document.items() if name != "apiVersion"}


def _flat(manifests: Iterable[Document]) -> Iterable[Document]:
    for one in manifests:
        yield from one["items"] if one.get("kind") == "List" else (one,)
