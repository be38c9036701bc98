# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The API server itself, without its sockets: a request in, an answer out.

What it does is what the real one does to a client of this project: names, statuses, conflicts, generations, who owns
a field. What only other clients would notice is left out: no OpenAPI, no tables, no protobuf, no admission but
of namespaces.
"""

from __future__ import annotations

import copy
import datetime
import json
import re
import secrets
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from . import applying, kinds, patching, rbac
from .applying import Manager
from .kinds import Kind
from .rbac import MASTERS, Ask, User
from .storage import Change, Key, Storage, TooOldError

ADMIN = "token-of-the-admin"
_APPLY = "application/apply-patch+yaml"
_PATCHES = ("application/json-patch+json", "application/merge-patch+json", "application/strategic-merge-patch+json")
_REASONS = {
    400: "BadRequest", 401: "Unauthorized", 403: "Forbidden", 404: "NotFound", 405: "MethodNotAllowed",
    409: "Conflict", 410: "Expired", 415: "UnsupportedMediaType", 422: "Invalid",
}  # fmt: skip
_SELECTORS = re.compile(r"\s*(?:(!)\s*(\S+)|(\S+?)\s*(==|!=|=)\s*([^,\s]*)|(\S+)\s+(in|notin)\s*\(([^)]*)\)|(\S+))\s*")


@dataclass(frozen=True)
class Request:
    """``headers`` have lower-case names."""

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True)
class Answer:
    """``events`` is there for a watch: an endless iterator of JSON objects, None where there is nothing for a while."""

    status: int
    body: Mapping[str, Any] = field(default_factory=dict)
    events: Iterator[Mapping[str, Any] | None] | None = None


class ApiError(Exception):
    """A request that is refused."""

    def __init__(self, code: int, message: str, *, reason: str = "", details: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.answer = Answer(code, status(code, message, reason, details))


def status(code: int, message: str, reason: str = "", details: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """A ``Status`` object that tells a failure."""
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason or _REASONS.get(code, "InternalError"),
        **({"details": dict(details)} if details else {}),
        "code": code,
    }


@dataclass(frozen=True)
class _Target:
    """What a path names."""

    kind: Kind
    namespace: str
    name: str
    subresource: str

    @property
    def key(self) -> Key:
        return (self.kind.resource, self.namespace, self.name)


_ONE_NAME = re.compile(r"metadata\.name==?([^=,]+)")


class Api:
    """One cluster's API. ``clock`` gives the time as the ``time`` module does."""

    def __init__(self, clock: Any = time) -> None:
        self.storage = Storage()
        self.clock = clock
        self.kinds = {(kind.group, kind.version, kind.plural): kind for kind in kinds.BUILT_IN}
        self.users = {ADMIN: (User("admin", (MASTERS,)), float("inf"))}
        for name in ("default", "kube-system"):
            self._create(
                _Target(self._kind("Namespace"), "", name, ""), _named("v1", "Namespace", name), Request("", "")
            )

    def answer(self, request: Request) -> Answer:
        """Everything that is refused is an answer, too."""
        try:
            user = self._authenticate(request)
            if request.path in ("/version", "/readyz", "/healthz"):
                return Answer(200, {"major": "1", "minor": "36", "gitVersion": "v1.36.0-tests"})
            found = self._discover(request.path)
            if found is not None:
                return Answer(200, found)
            target = self._target(request.path)
            return self._serve(target, request, user)
        except ApiError as error:
            return error.answer

    # --- who, and what

    def _authenticate(self, request: Request) -> User:
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        user, until = self.users.get(token, (None, 0.0))
        if user is None or self.clock.time() >= until:
            raise ApiError(401, "Unauthorized")
        return user

    def _kind(self, name: str) -> Kind:
        return next(kind for kind in self.kinds.values() if kind.kind == name)

    def _target(self, path: str) -> _Target:
        parts = [unquote(part) for part in path.strip("/").split("/")]
        if parts[:1] == ["api"] and len(parts) > 2:
            group, version, rest = "", parts[1], parts[2:]
        elif parts[:1] == ["apis"] and len(parts) > 3:
            group, version, rest = parts[1], parts[2], parts[3:]
        else:
            raise ApiError(404, "the server could not find the requested resource")
        namespace = ""
        if rest[0] == "namespaces" and len(rest) > 2 and rest[2] not in ("status", "finalize"):
            namespace, rest = rest[1], rest[2:]
        kind = self.kinds.get((group, version, rest[0]))
        if kind is None or len(rest) > 3 or (kind.namespaced and not namespace and len(rest) > 1):
            raise ApiError(404, "the server could not find the requested resource")
        name, subresource = (*rest[1:], "", "")[:2]
        return _Target(kind, namespace, name, subresource)

    def _serve(self, target: _Target, request: Request, user: User) -> Answer:
        watching = request.query.get("watch") in ("1", "true")
        verb = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}.get(request.method)
        verb = verb or ("get" if target.name else "watch" if watching else "list")
        resource = target.kind.plural + (f"/{target.subresource}" if target.subresource else "")
        # A list or watch of one object is of that name for those who give rights.
        one = _ONE_NAME.fullmatch(request.query.get("fieldSelector") or "")
        # A namespace is in itself: a Role in it can allow to read it.
        namespace = target.name if target.kind.kind == "Namespace" else target.namespace
        ask = Ask(verb, target.kind.group, resource, namespace, target.name or (one[1] if one else ""))
        if not rbac.allowed(self.storage, user, ask):
            details = {"name": target.name, "group": target.kind.group, "kind": target.kind.plural}
            raise ApiError(403, rbac.refusal(user, ask), details=details)
        if verb in ("create", "update", "patch") and target.kind.kind in ("Role", "RoleBinding"):
            self._check_rights(target, json.loads(request.body), user)
        if verb == "watch":
            return Answer(200, events=self._watch(target, request))
        with self.storage.lock:
            if target.subresource:
                return self._subresource(target, request)
            if verb == "get":
                return Answer(200, self._existing(target))
            if verb == "list":
                return Answer(200, self._list(target, request))
            if verb == "create":
                return self._post(target, request)
            if verb == "update":
                return Answer(200, self._replace(target, self._parsed(target, request), request))
            if verb == "patch":
                return self._patch(target, request)
            return self._delete(target, request)

    def _check_rights(self, target: _Target, written: Any, user: User) -> None:
        """Nobody gives what he does not have, by an object that is whole."""
        if not isinstance(written, dict) or "metadata" not in written:
            return
        more = rbac.excess(self.storage, user, target.namespace, {"kind": target.kind.kind, **written})
        if more:
            told = "is attempting to grant RBAC permissions not currently held"
            raise ApiError(403, f'{target.kind.plural} is forbidden: user "{user.name}" {told}: {more}')

    def _discover(self, path: str) -> dict[str, Any] | None:
        """What dynamic clients ask first; None for another path."""
        path = path.rstrip("/")
        groups: dict[str, list[str]] = {}
        for kind in self.kinds.values():
            if kind.version not in groups.setdefault(kind.group, []):
                groups[kind.group].append(kind.version)
        if path == "/api":
            return {"kind": "APIVersions", "versions": ["v1"]}
        if path == "/apis":
            listed = [_group(name, versions) for name, versions in groups.items() if name]
            return {"kind": "APIGroupList", "apiVersion": "v1", "groups": listed}
        for group, versions in groups.items():
            for version in versions:
                if path == (f"/apis/{group}/{version}" if group else f"/api/{version}"):
                    return self._resources(group, version)
        return None

    def _resources(self, group: str, version: str) -> dict[str, Any]:
        verbs = ["create", "delete", "get", "list", "patch", "update", "watch"]
        found = []
        for kind in self.kinds.values():
            if (kind.group, kind.version) != (group, version):
                continue
            common = {"singularName": kind.kind.lower(), "namespaced": kind.namespaced, "kind": kind.kind}
            found.append({"name": kind.plural, **common, "verbs": verbs})
            for name in [*(["status"] if kind.status else []), *(["scale"] if kind.scale else [])]:
                found.append({"name": f"{kind.plural}/{name}", **common, "verbs": ["get", "patch", "update"]})
        api_version = f"{group}/{version}" if group else version
        return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": api_version, "resources": found}

    # --- reading

    def _existing(self, target: _Target) -> dict[str, Any]:
        found = self.storage.get(target.key)
        if found is None:
            details = {"name": target.name, "group": target.kind.group, "kind": target.kind.plural}
            raise ApiError(404, f'{target.kind.resource} "{target.name}" not found', details=details)
        return found

    def _list(self, target: _Target, request: Request) -> dict[str, Any]:
        matches = _selector(target.kind, request.query)
        found = [one for one in self.storage.of(target.kind.resource, self._within(target)) if matches(one)]
        limit, offset = int(request.query.get("limit") or 0), int(request.query.get("continue") or 0)
        page = found[offset : offset + limit] if limit else found
        metadata: dict[str, Any] = {"resourceVersion": str(self.storage.revision)}
        if limit and offset + limit < len(found):
            metadata |= {"continue": str(offset + limit), "remainingItemCount": len(found) - offset - limit}
        kind = {"kind": f"{target.kind.kind}List", "apiVersion": target.kind.api_version}
        # The items of a typed list do not say what they are; those of a custom kind do.
        hidden = () if target.kind.custom else ("kind", "apiVersion")
        items = [{name: value for name, value in one.items() if name not in hidden} for one in page]
        return {**kind, "metadata": metadata, "items": items}

    @staticmethod
    def _within(target: _Target) -> str | None:
        return (target.namespace or None) if target.kind.namespaced else ""

    def _watch(self, target: _Target, request: Request) -> Iterator[Mapping[str, Any] | None]:
        query = request.query
        matches = _selector(target.kind, query)
        initial = query.get("sendInitialEvents") == "true"
        if initial and query.get("resourceVersionMatch") != "NotOlderThan":
            raise ApiError(
                422,
                'ListOptions.meta.k8s.io "" is invalid: resourceVersionMatch: sendInitialEvents needs NotOlderThan',
            )
        given = query.get("resourceVersion") or ""
        with self.storage.lock:
            revision = self.storage.revision
            # Without a version: everything there is, and what comes after it.
            snapshot = []
            if initial or given in ("", "0"):
                snapshot = [one for one in self.storage.of(target.kind.resource, self._within(target)) if matches(one)]
            else:
                revision = int(given)
        deadline = time.monotonic() + float(query.get("timeoutSeconds") or 1800)
        return self._events(target, matches, revision, snapshot, initial, deadline)

    def _events(
        self,
        target: _Target,
        matches: Callable[[Mapping[str, Any]], bool],
        revision: int,
        snapshot: list[dict[str, Any]],
        initial: bool,
        deadline: float,
    ) -> Iterator[Mapping[str, Any] | None]:
        for one in snapshot:
            yield {"type": "ADDED", "object": one}
        if initial:
            yield _bookmark(target.kind, revision, {"k8s.io/initial-events-end": "true"})
        where = self._within(target)
        while time.monotonic() < deadline:
            try:
                with self.storage.lock:
                    changes = self.storage.since(revision)
                    revision = max(revision, self.storage.revision)
            except TooOldError as error:
                yield {"type": "ERROR", "object": status(410, str(error))}
                return
            for change in changes:
                event = _event(change, matches) if _concerns(change, target.kind, where) else None
                if event is not None:
                    yield event
            if not self.storage.wait(revision, min(deadline, time.monotonic() + 0.5)):
                yield None

    # --- writing

    def _parsed(self, target: _Target, request: Request) -> dict[str, Any]:
        try:
            document = json.loads(request.body)
        except ValueError as error:
            raise ApiError(400, f"the object provided is unrecognized: {error}") from error
        expected = {"apiVersion": target.kind.api_version, "kind": target.kind.kind}
        if target.subresource == "scale":
            expected = {"apiVersion": "autoscaling/v1", "kind": "Scale"}
        document = {**expected, **document} if isinstance(document, dict) else {}
        if {name: document.get(name) for name in expected} != expected:
            raise ApiError(400, f"the API version or kind in the data does not match the expected one ({expected})")
        metadata = document.setdefault("metadata", {})
        for name, wanted in (("name", target.name), ("namespace", target.namespace)):
            if wanted and metadata.get(name, wanted) != wanted:
                raise ApiError(
                    400, f"the {name} of the object ({metadata[name]}) does not match the {name} on the URL ({wanted})"
                )
        return document

    def _post(self, target: _Target, request: Request) -> Answer:
        document = self._parsed(target, request)
        metadata = document["metadata"]
        if not metadata.get("name"):
            if not metadata.get("generateName"):
                raise ApiError(
                    422,
                    f'{target.kind.kind} "" is invalid: metadata.name: Required value: or generateName',
                )
            metadata["name"] = metadata["generateName"] + secrets.token_hex(3)[:5]
        named = _Target(target.kind, target.namespace, metadata["name"], "")
        if metadata.get("resourceVersion"):
            raise ApiError(400, "resourceVersion should not be set on objects to be created")
        if self.storage.get(named.key) is not None:
            details = {"name": named.name, "group": named.kind.group, "kind": named.kind.plural}
            raise ApiError(
                409, f'{named.kind.resource} "{named.name}" already exists', reason="AlreadyExists", details=details
            )
        return Answer(201, self._create(named, document, request))

    def _create(
        self, target: _Target, document: Mapping[str, Any], request: Request, *, applied: bool = False
    ) -> dict[str, Any]:
        self._check_namespace(target)
        document = copy.deepcopy(dict(document))
        metadata = document["metadata"]
        metadata |= {"name": target.name, "uid": str(uuid.uuid4()), "creationTimestamp": self._now()}
        if target.namespace:
            metadata["namespace"] = target.namespace
        if target.kind.counted:
            metadata["generation"] = 1
        if target.kind.status:
            document.pop("status", None)
        self._special(target, document)
        return self._store(target, None, document, request, applied=applied)

    def _special(self, target: _Target, document: dict[str, Any]) -> None:
        """What only a new object of a certain kind gets."""
        if target.kind.kind == "Namespace":
            document["spec"] = {"finalizers": ["kubernetes"]}
            document["status"] = {"phase": "Active"}
            document["metadata"].setdefault("labels", {})["kubernetes.io/metadata.name"] = target.name
        elif target.kind.kind == "Pod":
            document["status"] = {"phase": "Pending"}
        elif target.kind.kind == "Service":
            spec = document.setdefault("spec", {})
            if spec.get("type") != "ExternalName":
                number = self.storage.revision
                spec.setdefault("clusterIP", f"10.96.{number // 250 % 250}.{number % 250 + 1}")
                spec.setdefault("clusterIPs", [spec["clusterIP"]])
            document["status"] = {"loadBalancer": {}}

    def _check_namespace(self, target: _Target) -> None:
        if not target.namespace:
            return
        found = self.storage.get(("namespaces", "", target.namespace))
        if found is None:
            details = {"name": target.namespace, "kind": "namespaces"}
            raise ApiError(404, f'namespaces "{target.namespace}" not found', details=details)
        if found["metadata"].get("deletionTimestamp"):
            cause = {
                "reason": "NamespaceTerminating",
                "message": f"namespace {target.namespace} is being terminated",
                "field": "metadata.namespace",
            }
            details = {"name": target.name, "group": target.kind.group, "kind": target.kind.plural, "causes": [cause]}
            raise ApiError(
                403,
                f'{target.kind.resource} "{target.name}" is forbidden: unable to create new content in namespace '
                f"{target.namespace} because it is being terminated",
                details=details,
            )

    def _replace(self, target: _Target, document: dict[str, Any], request: Request) -> dict[str, Any]:
        before = self._existing(target)
        self._check_version(target, before, document["metadata"].get("resourceVersion"))
        uid = document["metadata"].get("uid")
        if uid and uid != before["metadata"]["uid"]:
            raise self._conflict(
                target,
                f"Precondition failed: UID in precondition: {uid}, UID in object meta: {before['metadata']['uid']}",
            )
        return self._store(target, before, self._carried(target, before, document), request)

    def _check_version(self, target: _Target, before: Mapping[str, Any], version: str | None) -> None:
        if version and version != before["metadata"]["resourceVersion"]:
            raise self._conflict(
                target,
                "the object has been modified; please apply your changes to the latest version and try again",
            )

    def _conflict(self, target: _Target, why: str) -> ApiError:
        details = {"name": target.name, "group": target.kind.group, "kind": target.kind.plural}
        return ApiError(
            409, f'Operation cannot be fulfilled on {target.kind.resource} "{target.name}": {why}', details=details
        )

    def _carried(self, target: _Target, before: Mapping[str, Any], document: Mapping[str, Any]) -> dict[str, Any]:
        """``document`` with what an ordinary write cannot change, or only of the subresource that it goes to."""
        kept = (
            "name", "namespace", "uid", "creationTimestamp", "generation", "deletionTimestamp",
            "deletionGracePeriodSeconds", "managedFields",
        )  # fmt: skip
        old = before["metadata"]
        metadata = {name: one for name, one in document["metadata"].items() if name not in kept}
        metadata |= {name: old[name] for name in kept if name in old}
        if target.subresource == "status":
            carried = {**before, "metadata": dict(old)}
            return {**carried, "status": document.get("status", {})}
        carried = {**document, "metadata": metadata}
        if target.kind.status:
            carried.pop("status", None)
            if "status" in before:
                carried["status"] = before["status"]
        if target.kind.kind == "Service" and "spec" in carried:
            # The addresses stay where a client leaves them out.
            spec = {name: before["spec"][name] for name in ("clusterIP", "clusterIPs") if name in before["spec"]}
            carried["spec"] = {**spec, **carried["spec"]}
        return carried

    def _store(
        self,
        target: _Target,
        before: dict[str, Any] | None,
        after: dict[str, Any],
        request: Request,
        *,
        applied: bool = False,
    ) -> dict[str, Any]:
        """Fill in, check, count and write ``after``; unchanged it stays what it was, with its resourceVersion."""
        kind = target.kind
        after = copy.deepcopy(after)
        if unreadable := kinds.unreadable(kind, after):
            raise ApiError(
                400, f'{kind.kind} in version "{kind.version}" cannot be handled as a {kind.kind}: {unreadable}'
            )
        kind.default(after)
        if problems := kinds.problems(kind, after, before):
            raise _invalid(kind, target.name, problems)
        if not applied:
            after = applying.update(before, after, self._manager(target, request, "Update"), kind.list_keys)
        if before is not None:
            after["metadata"]["resourceVersion"] = before["metadata"]["resourceVersion"]
            if kind.counted and _counted(after) != _counted(before):
                after["metadata"]["generation"] = before["metadata"]["generation"] + 1
            if _timeless(after) == _timeless(before):
                return before
        if request.query.get("dryRun") == "All":
            return after
        if before is not None and after["metadata"].get("deletionTimestamp") and not self._is_held(kind, after):
            return self._remove(target)
        stored = self.storage.put(target.key, after)
        if kind.kind == "CustomResourceDefinition":
            stored = self._establish(target, stored)
        return stored

    def _establish(self, target: _Target, definition: dict[str, Any]) -> dict[str, Any]:
        for kind in kinds.custom(definition):
            self.kinds[kind.group, kind.version, kind.plural] = kind
        conditions = [{"type": "Established", "status": "True"}, {"type": "NamesAccepted", "status": "True"}]
        return self.storage.put(target.key, {**definition, "status": {"conditions": conditions}})

    def _manager(self, target: _Target, request: Request, operation: str) -> Manager:
        agent = request.headers.get("user-agent", "unknown").partition("/")[0]
        name = request.query.get("fieldManager") or agent
        return Manager(name, operation, target.kind.api_version, target.subresource, self._now())

    def _patch(self, target: _Target, request: Request) -> Answer:
        media = request.headers.get("content-type", "").partition(";")[0]
        try:
            patch = json.loads(request.body)
        except ValueError as error:
            raise ApiError(400, f"error decoding patch: {error}") from error
        if media == _APPLY:
            return self._apply(target, patch, request)
        if media not in _PATCHES or (target.kind.custom and "strategic" in media):
            raise ApiError(
                415,
                f"the body of the request was in an unknown format - accepted: {', '.join(_PATCHES)}",
            )
        before = self._existing(target)
        return Answer(200, self._replace(target, self._patched(target.kind, before, media, patch), request))

    @staticmethod
    def _patched(kind: Kind, before: Mapping[str, Any], media: str, patch: Any) -> dict[str, Any]:
        if (media == _PATCHES[0]) != isinstance(patch, list):
            raise ApiError(400, "error decoding patch: json: cannot unmarshal into Go value")
        try:
            if media == _PATCHES[0]:
                patched = patching.json_patch(before, patch)
            elif media == _PATCHES[1]:
                patched = patching.merge_patch(before, patch)
            else:
                patched = patching.strategic_patch(before, patch, kind.merge_key)
        except patching.PatchError as error:
            # The real one does not say more either.
            raise ApiError(422, "the server rejected our request due to an error in our request") from error
        return dict(patched)

    def _apply(self, target: _Target, config: Mapping[str, Any], request: Request) -> Answer:
        if not request.query.get("fieldManager"):
            raise ApiError(
                422, 'PatchOptions.meta.k8s.io "" is invalid: fieldManager: Required value: is required for apply patch'
            )
        if config.get("metadata", {}).get("managedFields"):
            raise ApiError(400, "metadata.managedFields must be nil")
        before = self.storage.get(target.key)
        if before is not None:
            self._check_version(target, before, config.get("metadata", {}).get("resourceVersion"))
        config = {"apiVersion": target.kind.api_version, "kind": target.kind.kind, "metadata": {}, **config}
        manager = self._manager(target, request, "Apply")
        force = request.query.get("force") == "true"
        try:
            after = applying.apply(before, config, manager, target.kind.list_keys, force=force)
        except applying.ConflictError as error:
            causes = [
                {"reason": "FieldManagerConflict", "message": f'conflict with "{name}"', "field": field}
                for name, field in error.conflicts
            ]
            told = "; ".join(f'conflict with "{name}": {field}' for name, field in error.conflicts)
            number = len(causes)
            raise ApiError(
                409,
                f"Apply failed with {number} conflict{'s' if number > 1 else ''}: {told}",
                details={"causes": causes},
            ) from error
        if before is None:
            return Answer(201, self._create(target, after, request, applied=True))
        owners = after["metadata"]["managedFields"]
        after = self._carried(target, before, after)
        after["metadata"]["managedFields"] = owners
        return Answer(200, self._store(target, before, after, request, applied=True))

    def _delete(self, target: _Target, request: Request) -> Answer:
        if not target.name:
            raise ApiError(405, "the server does not allow this method on the requested resource")
        before = self._existing(target)
        # Where there is a body, the query is not looked at: a dry run has to be asked for in the body.
        options = json.loads(request.body) if request.body else _delete_options(request.query)
        wanted = options.get("preconditions") or {}
        for name in ("uid", "resourceVersion"):
            if wanted.get(name) not in (None, before["metadata"][name]):
                raise self._conflict(
                    target,
                    f"Precondition failed: {name}: {wanted[name]}, in object meta: {before['metadata'][name]}",
                )
        grace = self._grace(target.kind, before, options)
        if options.get("dryRun") == ["All"]:
            return Answer(200, before)
        finalizers = before["metadata"].get("finalizers", ())
        if options.get("propagationPolicy") == "Foreground" and "foregroundDeletion" not in finalizers:
            finalizers = [*finalizers, "foregroundDeletion"]
            before = {**before, "metadata": {**before["metadata"], "finalizers": finalizers}}
        marked = {
            **before,
            "metadata": {
                **before["metadata"],
                "deletionTimestamp": self._now(grace),
                "deletionGracePeriodSeconds": grace,
            },
        }
        if target.kind.kind == "Namespace":
            marked["status"] = {"phase": "Terminating"}
        if grace or self._is_held(target.kind, marked):
            already = before["metadata"].get("deletionTimestamp")
            return Answer(200, before if already else self.storage.put(target.key, marked))
        gone = self._remove(target)
        details = {
            "name": target.name,
            "group": target.kind.group,
            "kind": target.kind.plural,
            "uid": gone["metadata"]["uid"],
        }
        done = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}
        return Answer(200, gone if target.kind.kind == "Pod" else done)

    @staticmethod
    def _grace(kind: Kind, before: Mapping[str, Any], options: Mapping[str, Any]) -> int:
        """Only a pod that has a node is waited for."""
        if kind.kind != "Pod" or not before["spec"].get("nodeName"):
            return 0
        asked = options.get("gracePeriodSeconds")
        return int(before["spec"]["terminationGracePeriodSeconds"] if asked is None else asked)

    @staticmethod
    def _is_held(kind: Kind, document: Mapping[str, Any]) -> bool:
        own = kind.kind == "Namespace" and (document.get("spec") or {}).get("finalizers")
        waits = kind.kind == "Pod" and document["metadata"].get("deletionGracePeriodSeconds")
        return bool(document["metadata"].get("finalizers") or own or waits)

    def _remove(self, target: _Target) -> dict[str, Any]:
        gone = self.storage.remove(target.key)
        if target.kind.kind == "CustomResourceDefinition":
            for kind in kinds.custom(gone):
                self.kinds.pop((kind.group, kind.version, kind.plural), None)
        return gone

    # --- subresources

    def _subresource(self, target: _Target, request: Request) -> Answer:
        kind = target.kind
        if target.subresource == "status" and kind.status:
            if request.method == "GET":
                return Answer(200, self._existing(target))
            if request.method == "PUT":
                return Answer(200, self._replace(target, self._parsed(target, request), request))
            if request.method == "PATCH":
                return self._patch(target, request)
        if target.subresource == "scale" and kind.scale:
            return self._scale(target, request)
        if (kind.kind, target.subresource, request.method) == ("Pod", "binding", "POST"):
            before = self._existing(target)
            spec = {**before["spec"], "nodeName": json.loads(request.body)["target"]["name"]}
            self.storage.put(target.key, {**before, "spec": spec})
            return Answer(201, {"kind": "Status", "apiVersion": "v1", "status": "Success"})
        if (kind.kind, target.subresource, request.method) == ("ServiceAccount", "token", "POST"):
            return Answer(201, self._token(target, json.loads(request.body)))
        if (kind.kind, target.subresource, request.method) == ("Namespace", "finalize", "PUT"):
            before = self._existing(target)
            finalizers = json.loads(request.body)["spec"].get("finalizers") or []
            after = {**before, "spec": {**before["spec"], "finalizers": finalizers}}
            return Answer(200, self._store(target, before, after, request))
        raise ApiError(404, "the server could not find the requested resource")

    def _scale(self, target: _Target, request: Request) -> Answer:
        before = self._existing(target)
        scale = _scale_of(before)
        if request.method == "GET":
            return Answer(200, scale)
        if request.method == "PUT":
            wanted = self._parsed(target, request)
        elif request.method == "PATCH":
            media = request.headers.get("content-type", "").partition(";")[0]
            wanted = self._patched(target.kind, scale, media, json.loads(request.body))
        else:
            raise ApiError(405, "the server does not allow this method on the requested resource")
        self._check_version(target, before, wanted["metadata"].get("resourceVersion"))
        replicas = (wanted.get("spec") or {}).get("replicas", 0)
        if not isinstance(replicas, int) or replicas < 0:
            raise _invalid(
                target.kind,
                target.name,
                [("spec.replicas", "FieldValueInvalid", "Invalid value: must be greater than or equal to 0")],
            )
        after = {**before, "spec": {**before["spec"], "replicas": replicas}}
        return Answer(200, _scale_of(self._store(target, before, after, request)))

    def _token(self, target: _Target, asked: Mapping[str, Any]) -> dict[str, Any]:
        self._existing(target)
        seconds = (asked.get("spec") or {}).get("expirationSeconds", 3600)
        token = f"{target.namespace}.{target.name}.{secrets.token_urlsafe(16)}"
        groups = ("system:serviceaccounts", f"system:serviceaccounts:{target.namespace}", "system:authenticated")
        user = User(f"system:serviceaccount:{target.namespace}:{target.name}", groups)
        self.users[token] = (user, self.clock.time() + seconds)
        return {"kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1", "status": {"token": token}}

    def _now(self, later: float = 0) -> str:
        at = datetime.datetime.fromtimestamp(self.clock.time() + later, datetime.UTC)
        return at.strftime("%Y-%m-%dT%H:%M:%SZ")


def _delete_options(query: Mapping[str, str]) -> dict[str, Any]:
    options: dict[str, Any] = {name: one for name, one in query.items() if name != "dryRun"}
    return {**options, "dryRun": [query["dryRun"]]} if "dryRun" in query else options


def _named(api_version: str, kind: str, name: str) -> dict[str, Any]:
    return {"apiVersion": api_version, "kind": kind, "metadata": {"name": name}}


def _group(name: str, versions: list[str]) -> dict[str, Any]:
    listed = [{"groupVersion": f"{name}/{version}", "version": version} for version in versions]
    return {"name": name, "versions": listed, "preferredVersion": listed[0]}


def _invalid(kind: Kind, name: str, problems: list[kinds.Problem]) -> ApiError:
    causes = [{"reason": reason, "message": message, "field": where} for where, reason, message in problems]
    told = ", ".join(f"{where}: {message}" for where, _reason, message in problems)
    told = told if len(problems) == 1 else f"[{told}]"
    group = f".{kind.group}" if kind.group else ""
    details = {"name": name, "group": kind.group, "kind": kind.kind, "causes": causes}
    return ApiError(422, f'{kind.kind}{group} "{name}" is invalid: {told}', details=details)


def _counted(document: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in document.items() if name not in ("metadata", "status")}


def _timeless(document: Mapping[str, Any]) -> dict[str, Any]:
    """Without the times at which its fields were written: those alone are no change."""
    metadata = dict(document["metadata"])
    entries = [{**entry, "time": None} for entry in metadata.get("managedFields") or ()]
    return {**document, "metadata": {**metadata, "managedFields": entries}}


def _scale_of(document: Mapping[str, Any]) -> dict[str, Any]:
    kept = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    labels = (document["spec"].get("selector") or {}).get("matchLabels") or {}
    counted = document.get("status") or {}
    return {
        "apiVersion": "autoscaling/v1",
        "kind": "Scale",
        "metadata": {name: one for name, one in document["metadata"].items() if name in kept},
        "spec": {"replicas": document["spec"]["replicas"]},
        "status": {
            "replicas": counted.get("replicas", 0),
            "selector": ",".join(f"{name}={value}" for name, value in sorted(labels.items())),
        },
    }


def _bookmark(kind: Kind, revision: int, annotations: Mapping[str, str]) -> dict[str, Any]:
    metadata = {"resourceVersion": str(revision), "annotations": dict(annotations)}
    return {"type": "BOOKMARK", "object": {"kind": kind.kind, "apiVersion": kind.api_version, "metadata": metadata}}


def _concerns(change: Change, kind: Kind, namespace: str | None) -> bool:
    return change.key[0] == kind.resource and namespace in (None, change.key[1])


def _event(change: Change, matches: Callable[[Mapping[str, Any]], bool]) -> dict[str, Any] | None:
    """What a watch tells: an object that comes to be selected is added, one that ceases to be is deleted."""
    was = change.before is not None and matches(change.before)
    if change.after is None or not matches(change.after):
        last = change.after or change.before
        if not was or last is None:
            return None
        metadata = {**last["metadata"], "resourceVersion": str(change.revision)}
        return {"type": "DELETED", "object": {**last, "metadata": metadata}}
    return {"type": "MODIFIED" if was else "ADDED", "object": change.after}


def _selector(kind: Kind, query: Mapping[str, str]) -> Callable[[Mapping[str, Any]], bool]:
    labels = _label_tests(query.get("labelSelector") or "")
    fields = _field_tests(kind, query.get("fieldSelector") or "")

    def matches(document: Mapping[str, Any]) -> bool:
        have = document["metadata"].get("labels") or {}
        return all(test(have) for test in labels) and all(test(document) for test in fields)

    return matches


def _label_tests(text: str) -> list[Callable[[Mapping[str, str]], bool]]:
    tests: list[Callable[[Mapping[str, str]], bool]] = []
    for part in re.split(r",(?![^(]*\))", text) if text.strip() else ():
        found = _SELECTORS.fullmatch(part)
        if found is None:
            raise ApiError(400, f"unable to parse requirement: {part}")
        _no, absent, name, sign, value, listed, among, values, present = found.groups()
        if absent:
            tests.append(lambda have, name=absent: name not in have)  # type: ignore[misc]
        elif present:
            tests.append(lambda have, name=present: name in have)  # type: ignore[misc]
        elif among:
            wanted = {one.strip() for one in values.split(",")}
            tests.append(
                lambda have, name=listed, wanted=wanted, inside=among == "in": (have.get(name) in wanted) == inside  # type: ignore[misc]
            )
        else:
            tests.append(lambda have, name=name, value=value, same=sign != "!=": (have.get(name) == value) == same)  # type: ignore[misc]
    return tests


def _field_tests(kind: Kind, text: str) -> list[Callable[[Mapping[str, Any]], bool]]:
    known = {"metadata.name", "metadata.namespace", *({"spec.nodeName", "status.phase"} if kind.kind == "Pod" else ())}
    tests: list[Callable[[Mapping[str, Any]], bool]] = []
    for part in text.split(",") if text else ():
        name, sign, value = re.fullmatch(r"([^=!]*)(==|!=|=)(.*)", part).groups()  # type: ignore[union-attr]
        if name not in known:
            raise ApiError(400, f"field label not supported: {name}")

        def test(document: Mapping[str, Any], name: str = name, value: str = value, same: bool = sign != "!=") -> bool:
            found: Any = document
            for one in name.split("."):
                found = (found or {}).get(one)
            return ((found or "") == value) == same

        tests.append(test)
    return tests
