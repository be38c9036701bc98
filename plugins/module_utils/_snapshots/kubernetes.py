# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The objects of a namespace, as somebody wrote them, and what a restore makes of those that are there.

Kinds are those that the server has. Secrets are left out, or encrypted before they come to a disk. What is written is
proven by a dry run of the server itself, in a namespace of its own in which nothing is ever made.
"""

from __future__ import annotations

import calendar
import contextlib
import json
import re
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ansible_collections.bluegreen.cutover.plugins.module_utils import _objects
from ansible_collections.bluegreen.cutover.plugins.module_utils._core import objects
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.artifact import differences, some
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import (
    ClusterError,
    InputError,
    SnapshotError,
    StoppedError,
)
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.objects import NAMESPACES, SECRETS, Document, Key
from ansible_collections.bluegreen.cutover.plugins.module_utils._encryption import TOOLS, Encryption
from ansible_collections.bluegreen.cutover.plugins.module_utils._kubernetes import Cluster, connect
from ansible_collections.bluegreen.cutover.plugins.module_utils._objects import Kind
from ansible_collections.bluegreen.cutover.plugins.module_utils._snapshots import (
    Content,
    Left,
    Notes,
    Progress,
    Taken,
    Written,
)
from ansible_collections.bluegreen.cutover.plugins.module_utils._snapshots._shared import new_file, old_file

OPTIONS: dict[str, Any] = {
    "namespace": {"type": "str", "required": True},
    "secrets": {"type": "str", "choices": ["encrypted", "left_out"], "required": True},
    "encryption": {
        "type": "dict",
        "options": {
            "tool": {"type": "str", "required": True, "choices": list(TOOLS)},
            "recipient": {"type": "str", "required": True},
            "identity_file": {"type": "path"},
        },
    },
    "leave_out": {"type": "list", "elements": "str", "default": []},
    "kubeconfig": {"type": "path"},
    "context": {"type": "str"},
}

OBJECTS = "objects.json"
"""What is not secret: a List, as kubectl reads and applies it."""
ENCRYPTED = "secrets.json."
"""Begins the name of the file with the Secrets, encrypted; it ends with the tool's name. A List, too."""
SCRATCH = "bluegreen.cutover/scratch"
"""Label of a namespace in which a snapshot is tried; its value is the snapshot's namespace."""

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_DRY = {"dryRun": "All"}
_NAMESPACE = Kind("v1", NAMESPACES, "Namespace", namespaced=False, verbs=frozenset())
_TICK = 5.0
_LOOKS = 3
"""At what is there, where it changes while a restore of it is tried."""
_ABANDONED = 86400.0
"""Seconds after which a scratch namespace is nobody's any more, also where no note of it is left."""


class Kubernetes:
    """See ``Engine``. Runs where the API can be reached, such as the control node."""

    name = "kubernetes"
    apart = False

    def __init__(self, options: Mapping[str, Any], progress: Progress) -> None:
        given = dict(options.get("encryption") or {})
        self._identity = given.pop("identity_file", None)
        self._encryption = Encryption(**given) if given else None
        self._namespace = str(options["namespace"])
        if not _NAME.fullmatch(self._namespace):
            raise InputError(f"kubernetes.namespace is {self._namespace!r}; the name of a namespace is needed")
        if (options["secrets"] == "encrypted") != bool(given):
            raise InputError(
                "kubernetes.secrets encrypted needs kubernetes.encryption, which says to whom, and left_out has none: "
                "a Secret is never written in clear"
            )
        self._left_out = frozenset(options.get("leave_out") or ()) | ({SECRETS} if not given else set())
        self._where = (options.get("kubeconfig"), options.get("context"))
        self._progress = progress
        self._told_at = time.monotonic()
        self._connected: Cluster | None = None
        self._known: list[Kind] | None = None
        # Of the run that took it, which proves it; nobody else can read them without the private key.
        self._secrets: dict[Key, Document] | None = None
        self._notes: Notes

    def remove_left(self, notes: Notes) -> list[str]:
        self._notes = notes
        return notes.settle(self._cluster.address, self._remove_noted)

    def _remove_noted(self, noted: Mapping[str, Any]) -> str:
        with _told():
            found = self._cluster.find(f"/api/v1/namespaces/{noted['scratch']}")
            # Whatever else has that name was there before.
            if found and (found["metadata"].get("labels") or {}).get(SCRATCH) == self._namespace:
                self._remove_scratch(found)
        return ""

    def check(self) -> None:
        if self._encryption is not None:
            self._encryption.check()
        with _told():
            self._found_namespace()
            refused = []
            for kind in self._kinds():
                try:
                    self._cluster.call("GET", kind.path(self._namespace), query={"limit": "1"})
                except ClusterError as error:
                    if error.status != 403:
                        raise
                    refused.append(kind.resource)
        if refused:
            raise SnapshotError(
                f"these may not be listed in the namespace {self._namespace}: {', '.join(refused)}. Give that right "
                "(docs/kubernetes.md has it), or name those in kubernetes.leave_out that nobody needs",
                {"refused": refused},
            )

    def take(self, folder: Path) -> Taken:
        with _told():
            read = self._read()
            at = self._cluster.time()
            # What nobody has written to from its first reading to its second was all there at one moment.
            again = self._read()
            version = str(self._cluster.call("GET", "/version")["gitVersion"])
        cleaned = _cleaned(read)
        contents, marks = objects.contents(cleaned), _marks(read)
        self._secrets = {key: one for key, one in cleaned.items() if key[0] == SECRETS}
        with new_file(folder / OBJECTS) as file:
            file.write(_list({key: one for key, one in cleaned.items() if key[0] != SECRETS}))
        if self._encryption is not None:
            self._encryption.encrypt_bytes(_list(self._secrets), folder / (ENCRYPTED + self._encryption.tool))
        return Taken(
            source=self._source,
            versions={"kubernetes": version, **self._tools},
            consistent_at=at,
            point_in_time=marks == _marks(again),
            contents=contents,
            mark={"objects": {"/".join(key): one for key, one in marks.items()}},
        )

    @contextlib.contextmanager
    def scratch(self, folder: Path, taken: Taken) -> Iterator[Mapping[str, Content]]:
        self.check_source(taken)
        if self._secrets is None:
            raise SnapshotError("only the run that takes a snapshot of Secrets can prove it. Take another one")
        wanted = {**self._load(folder / OBJECTS), **self._secrets}
        with _told(), self._scratch_namespace() as place:
            found = {key: self._try(wanted[key], place) for key in objects.in_order(wanted)}
        yield objects.contents(found)

    def check_source(self, taken: Taken) -> None:
        if taken.source != self._source:
            raise SnapshotError(
                f"the snapshot is of {_place(taken.source)}, and not of {_place(self._source)}. Nothing was changed"
            )

    def check_restore(self, folder: Path, taken: Taken) -> None:
        self._tried_steps(folder, taken, running=True)

    def _tried_steps(self, folder: Path, taken: Taken, *, running: bool) -> list[_Step]:
        """The steps of a restore. The server has tried all of them, and what it would refuse is raised.

        While versions are ``running``, pods that come and go change what was just read: that keeps nothing from being
        restored when they are stopped.
        """
        self.check_source(taken)
        if self._encryption is not None and self._identity is None:
            raise SnapshotError(
                f"the Secrets are encrypted to {self._encryption.recipient}. Give the file of its private key as "
                "kubernetes.encryption.identity_file; nothing was changed"
            )
        wanted = {**self._load(folder / OBJECTS), **self._load_secrets(folder)}
        looks = _LOOKS
        while True:
            looks -= 1
            with _told():
                namespace = self._found_namespace(missing_ok=True)
                steps = self._steps(wanted, self._read() if namespace else {})
                # Where it is missing, nothing can be tried but to make it.
                refused = self._try_steps(steps if namespace else steps[:1])
            lasting = any(not step.changed_meanwhile(error) for step, error in refused)
            if not refused or (running and not lasting):
                return steps
            if not looks or lasting:
                told = [f"{step.told}: {error.message}" for step, error in refused]
                advice = (
                    "Where a field cannot be changed back, delete that object by hand and run again"
                    if lasting
                    else "Somebody goes on writing there: stop that, and run again"
                )
                raise SnapshotError(
                    f"the server would not have it as it was; nothing was changed: {some(told)}. {advice}",
                    {"refused": told},
                )

    def restore(self, folder: Path, taken: Taken) -> Left:
        steps = self._tried_steps(folder, taken, running=False)
        with _told():
            self._do(steps)
        if wrong := differences(taken.contents, self.contents()):
            raise SnapshotError(
                f"the namespace {self._namespace} was restored, and is not what it was: {some(wrong)}. See what writes "
                "there, and restore it again",
                {"differences": wrong},
            )
        return Left()

    def contents(self) -> Mapping[str, Content]:
        with _told():
            return objects.contents(_cleaned(self._read()))

    def also_differs(self, _taken: Taken) -> list[str]:
        return []

    def written_since(self, taken: Taken) -> list[Written]:
        with _told():
            now = {"/".join(key): one for key, one in _marks(self._read()).items()}
        then = taken.mark["objects"]
        found: list[Written] = []
        for what, names in (
            ("added", now.keys() - then.keys()),
            ("changed", {name for name in now.keys() & then.keys() if now[name] != then[name]}),
            ("removed", then.keys() - now.keys()),
        ):
            resources = [name.partition("/")[0] for name in names]
            found += [Written(one, what, resources.count(one)) for one in sorted(set(resources))]
        return found

    # --- what is there

    @property
    def _cluster(self) -> Cluster:
        if self._connected is None:
            with _told():
                self._connected = connect(*self._where)
        return self._connected

    @property
    def _source(self) -> dict[str, Any]:
        return {"cluster": self._cluster.address, "namespace": self._namespace, "left_out": sorted(self._left_out)}

    @property
    def _tools(self) -> dict[str, str]:
        one = self._encryption
        return {one.tool: f"with the private key of {one.recipient}"} if one else {}

    def _found_namespace(self, *, missing_ok: bool = False) -> Document | None:
        """The namespace; raises where it is missing, or on its way out."""
        found = self._cluster.find(f"/api/v1/namespaces/{self._namespace}")
        if found is None and not missing_ok:
            raise SnapshotError(f"there is no namespace {self._namespace} at {self._cluster.address}. Correct its name")
        if found is not None and found["metadata"].get("deletionTimestamp"):
            raise SnapshotError(
                f"the namespace {self._namespace} is being deleted. Wait until it is gone, or see what keeps it; "
                "nothing was changed"
            )
        return found

    def _kinds(self) -> list[Kind]:
        """The kinds to read, in the versions that the server prefers."""
        if self._known is None:
            ignored = objects.IGNORED | self._left_out
            found = _objects.kinds(self._cluster, objects.IGNORED_GROUPS)
            unknown = self._left_out - {kind.resource for kind in found}
            if unknown:
                raise SnapshotError(
                    f"kubernetes.leave_out has {', '.join(sorted(unknown))}, which this cluster does not have. Names "
                    "are like configmaps and deployments.apps; kubectl api-resources -o name shows them"
                )
            self._known = [
                kind
                for kind in found
                if kind.namespaced and {"list", "create", "get"} <= kind.verbs and kind.resource not in ignored
            ]
        return self._known

    def _read(self) -> dict[Key, Document]:
        """All that a snapshot keeps, as it is."""
        namespace = self._found_namespace() or {}
        found: dict[Key, Document] = {
            (NAMESPACES, self._namespace): {**namespace, "apiVersion": "v1", "kind": "Namespace"}
        }
        for kind in self._kinds():
            self._alive(f"{len(found)} objects read, now {kind.resource}")
            for one in _objects.list_all(self._cluster, kind, self._namespace):
                found[kind.resource, one["metadata"]["name"]] = one
        plain = frozenset(
            name
            for (resource, name), one in found.items()
            if resource == "services" and not one["spec"].get("selector")
        )
        return {key: one for key, one in found.items() if not objects.why_left_out(key[0], one, plain)}

    # --- what was written

    def _load(self, file: Path) -> dict[Key, Document]:
        with old_file(file) as stream:
            return self._parse(stream.read(), file)

    def _load_secrets(self, folder: Path) -> dict[Key, Document]:
        if self._encryption is None or self._identity is None:
            return {}
        file = folder / (ENCRYPTED + self._encryption.tool)
        return self._parse(self._encryption.decrypt_bytes(file, Path(self._identity)), file)

    def _parse(self, text: bytes, file: Path) -> dict[Key, Document]:
        with _told():
            resources = {(kind.version, kind.kind): kind.resource for kind in [*self._kinds(), _NAMESPACE]}
        found = {}
        for one in json.loads(text)["items"]:
            resource = resources.get((one["apiVersion"], one["kind"]))
            if resource is None:
                raise SnapshotError(
                    f"{file} has {one['kind']} of {one['apiVersion']}, which {self._cluster.address} does not have or "
                    "does not prefer any more. Nothing was changed"
                )
            found[resource, one["metadata"]["name"]] = one
        return found

    # --- proving

    @contextlib.contextmanager
    def _scratch_namespace(self) -> Iterator[str]:
        """A namespace in which nothing is made; removed whatever happens."""
        self._remove_abandoned()
        place = f"{self._namespace[:40]}-bluegreen-{secrets.token_hex(4)}"
        labels = {**objects.OURS, SCRATCH: self._namespace}
        note = self._notes.add(self._cluster.address, f"the namespace {place}", scratch=place)
        try:
            made = self._cluster.call("POST", "/api/v1/namespaces", {"metadata": {"name": place, "labels": labels}})
        except ClusterError as error:
            if not error.unknown:
                note.unlink()
            raise
        try:
            yield place
        finally:
            self._remove_scratch(made)
            note.unlink()

    def _remove_abandoned(self) -> None:
        """What runs of other hosts have left that were killed, or whose notes are gone."""
        query = {"labelSelector": f"{SCRATCH}={self._namespace}"}
        for one in self._cluster.call("GET", "/api/v1/namespaces", query=query)["items"]:
            made = calendar.timegm(time.strptime(one["metadata"]["creationTimestamp"], "%Y-%m-%dT%H:%M:%SZ"))
            if self._cluster.time() - made > _ABANDONED and not one["metadata"].get("deletionTimestamp"):
                self._remove_scratch(one)

    def _remove_scratch(self, namespace: Mapping[str, Any]) -> None:
        # By its uid: whatever else has that name by now is not ours.
        precondition = {"preconditions": {"uid": namespace["metadata"]["uid"]}}
        try:
            self._cluster.call("DELETE", f"/api/v1/namespaces/{namespace['metadata']['name']}", precondition)
        except ClusterError as error:
            if error.status not in (404, 409):
                raise

    def _try(self, document: Document, place: str) -> Document:
        """What the server would make of an object; ``document`` itself where it is that."""
        self._alive(f"{document['kind']} {document['metadata']['name']} is tried")
        asked = objects.for_scratch(document)
        kind = self._kind(document)
        name = document["metadata"]["name"]
        if kind == _NAMESPACE:
            name = f"{place}-0"
            asked["metadata"]["name"] = name
        try:
            answer = self._cluster.call("POST", kind.path(place), asked, query=_DRY)
        except ClusterError as error:
            if error.status not in (400, 403, 404, 409, 422):
                raise
            if error.status != 409:
                raise SnapshotError(
                    f"the snapshot is not proven: in a namespace of its own the server would not make "
                    f"{document['kind']} {document['metadata']['name']}: {error.message}"
                ) from error
            # Some are in every namespace, such as the account default.
            live = self._cluster.call("GET", kind.path(place, name))
            answer = self._cluster.call("PUT", kind.path(place, name), objects.carried(asked, live), query=_DRY)
        made = objects.clean({**answer, "apiVersion": kind.version, "kind": kind.kind})
        return document if objects.for_scratch(made) == asked else made

    def _kind(self, document: Document) -> Kind:
        of = (document["apiVersion"], document["kind"])
        return next(kind for kind in [*self._kinds(), _NAMESPACE] if (kind.version, kind.kind) == of)

    # --- restoring

    def _steps(self, wanted: Mapping[Key, Document], live: Mapping[Key, Document]) -> list[_Step]:
        """What has to be made, changed and removed, in that order; data is never removed."""
        cleaned = _cleaned(live)
        then, now = objects.digests(wanted), objects.digests(cleaned)
        scaled = objects.autoscaled(wanted) | objects.autoscaled(cleaned)
        steps = []
        for key in objects.in_order(wanted):
            document, found = wanted[key], live.get(key)
            if found is None:
                steps.append(_Step(self._kind(document), self._namespace, document, None))
            elif then[key] != now[key] and not objects.holds_data(key[0]):
                if (document["kind"], key[1]) in scaled:
                    document = objects.with_replicas_of(document, cleaned[key])
                steps.append(_Step(self._kind(document), self._namespace, objects.carried(document, found), found))
        for key in reversed(objects.in_order(live)):
            if key not in wanted and not objects.holds_data(key[0]):
                steps.append(_Step(self._kind(live[key]), self._namespace, None, live[key]))
        return steps

    def _try_steps(self, steps: list[_Step]) -> list[tuple[_Step, ClusterError]]:
        """Those that the server would refuse; none is done."""
        refused = []
        for step in steps:
            self._alive(f"{step.told} is tried")
            try:
                step.send(self._cluster, dry_run=True)
            except ClusterError as error:
                if error.status not in (403, 404, 409, 422):
                    raise
                refused.append((step, error))
        return refused

    def _do(self, steps: list[_Step]) -> None:
        undo: list[tuple[str, Callable[[], Any]]] = []
        written = ""
        try:
            for step in steps:
                self._alive(f"{step.told} is restored")
                written = step.told
                done = step.send(self._cluster)
                undo.append((step.told, step.back(self._cluster, done)))
                written = ""
        except BaseException as error:
            left = []
            for told, back in reversed(undo):
                try:
                    back()
                except ClusterError as problem:
                    left.append(f"{told}: {problem.message}")
            if isinstance(error, StoppedError):
                error.left += [*left, *([f"{written} was just written, or was not"] if written else [])]
            if not isinstance(error, ClusterError):
                raise
            after = f"It could not be taken back: {some(left)}" if left else "What was changed was changed back"
            raise SnapshotError(f"{error.message}. {after}", {**error.evidence, "left": left}) from error

    def _alive(self, what: str) -> None:
        if time.monotonic() - self._told_at >= _TICK:
            self._told_at = time.monotonic()
            self._progress(f"namespace {self._namespace}: {what}")


class _Step:
    """One write of a restore: ``wanted`` in the place of ``live``, either of which may be None."""

    def __init__(self, kind: Kind, namespace: str, wanted: Document | None, live: Document | None) -> None:
        name = (wanted or live or {})["metadata"]["name"]
        self._all, self._path = kind.path(namespace), kind.path(namespace, name)
        self._wanted, self._live = wanted, live
        self.told = f"{kind.kind} {name}"

    def send(self, cluster: Cluster, *, dry_run: bool = False) -> Document:
        """Write it where it is still as it was read. Raises ClusterError."""
        if self._wanted is None:
            return _remove(cluster, self._path, self._live or {}, dry_run=dry_run)
        wanted, query = self._wanted, _DRY if dry_run else {}
        method, path = ("POST", self._all) if self._live is None else ("PUT", self._path)
        return _objects.write(
            cluster,
            self._path,
            lambda: cluster.call(method, path, wanted, query=query),
            lambda found: found is not None and not dry_run and _same(found, wanted),
        )

    def changed_meanwhile(self, error: ClusterError) -> bool:
        """Whether it was refused because the object is not as it was read, or not there any more."""
        return error.status == 409 or (error.status == 404 and self._live is not None)

    def back(self, cluster: Cluster, done: Document) -> Callable[[], Any]:
        """What makes it undone."""
        live = self._live
        if live is None:
            return lambda: _remove(cluster, self._path, done)
        if self._wanted is None:
            again = {name: one for name, one in live.items() if name != "status"}
            again["metadata"] = {
                name: one
                for name, one in live["metadata"].items()
                if name in ("name", "labels", "annotations", "ownerReferences")
            }
            return lambda: cluster.call("POST", self._all, again)
        version = done["metadata"]["resourceVersion"]
        before = {**live, "metadata": {**live["metadata"], "resourceVersion": version}}
        before["metadata"].pop("managedFields", None)
        return lambda: cluster.call("PUT", self._path, before)


def _remove(cluster: Cluster, path: str, live: Document, *, dry_run: bool = False) -> Document:
    metadata = live["metadata"]
    body = {
        "preconditions": {name: metadata[name] for name in ("uid", "resourceVersion")},
        "propagationPolicy": "Background",
        # Not in the query, which the server does not look at where there is a body: it would remove.
        **({"dryRun": ["All"]} if dry_run else {}),
    }
    return _objects.write(
        cluster,
        path,
        lambda: cluster.call("DELETE", path, body),
        lambda found: not dry_run and (found is None or found["metadata"]["uid"] != metadata["uid"]),
    )


def _same(found: Mapping[str, Any], wanted: Document) -> bool:
    named = {"apiVersion": wanted["apiVersion"], "kind": wanted["kind"]}
    return objects.clean({**found, **named}) == objects.clean(wanted)


def _cleaned(read: Mapping[Key, Document]) -> dict[Key, Document]:
    return {key: objects.clean(one) for key, one in read.items()}


def _marks(read: Mapping[Key, Document]) -> dict[Key, str]:
    """By which it is seen later whether an object was written to: of a Secret nothing of what it holds."""
    marks = objects.digests({key: objects.clean(one) for key, one in read.items() if key[0] != SECRETS})
    for key, one in read.items():
        if key[0] == SECRETS:
            marks[key] = f"{one['metadata']['uid']} {one['metadata']['resourceVersion']}"
    return marks


def _list(documents: Mapping[Key, Document]) -> bytes:
    items = [documents[key] for key in objects.in_order(documents)]
    whole = {"apiVersion": "v1", "kind": "List", "items": items}
    return json.dumps(whole, indent=1, sort_keys=True, allow_nan=False).encode() + b"\n"


def _place(source: Mapping[str, Any]) -> str:
    without = f", without {', '.join(source['left_out'])}" if source["left_out"] else ""
    return f"the namespace {source['namespace']} at {source['cluster']}{without}"


@contextlib.contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except ClusterError as error:
        raise SnapshotError(error.message, error.evidence) from error
