# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The guard's pod in its cluster: made, started and waited for, with the rights of the run (docs/kubernetes.md)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible_collections.bluegreen.cutover.plugins.module_utils import _guard_service, _pod_guardian
from ansible_collections.bluegreen.cutover.plugins.module_utils._core import guard_pod
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import ClusterError, WorkloadError
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.guard import Guard
from ansible_collections.bluegreen.cutover.plugins.module_utils._guarding import DEAD
from ansible_collections.bluegreen.cutover.plugins.module_utils._kubernetes import APPLY, GIVE_RIGHT, PAUSES, path_of
from ansible_collections.bluegreen.cutover.plugins.module_utils._stores.cluster import ClusterStore
from ansible_collections.bluegreen.cutover.plugins.module_utils._stores.files import FileStore

START_WAIT = 120.0
"""Seconds for its pod to be scheduled, its image to be had, and its process to tell that it runs."""

ANSWER_WAIT = 15.0
"""Seconds that a process which runs has to tell that it has seen what was armed."""

ROUNDS = 3
"""How often a process is started and armed that ends in between, before that is an error."""

_PLURALS = {
    "ServiceAccount": "serviceaccounts",
    "Role": "roles",
    "RoleBinding": "rolebindings",
    "Lease": "leases",
    "ConfigMap": "configmaps",
    "Job": "jobs",
}


def write(store: FileStore, plan: Mapping[str, Any], token: int, make: Callable[[Guard | None], Guard]) -> None:
    """Write the guard that ``make`` makes of the one of now, as the run with ``token``; its pod has seen it then.

    ``plan`` is one of ``guard_pod.for_pod``. Raises ``ClusterError``, ``FencedError`` or ``WorkloadError``.
    """
    if not isinstance(store, ClusterStore):
        raise TypeError(f"{store!r} is in no cluster")
    GuardPod(store, plan).write(token, make)


class GuardPod:
    """The guard of one service, whose record is in ``store``; ``plan`` is one of ``guard_pod.for_pod``."""

    def __init__(self, store: ClusterStore, plan: Mapping[str, Any]) -> None:
        self.store = store
        self.cluster = store.cluster
        self.namespace = plan["router"]["namespace"]
        settings = {"image": guard_pod.image_of(plan["guard"]), "secret": plan["guard"].get("secret")}
        program = _guard_service.program(_pod_guardian.main, packed=True)
        self.documents = [
            *guard_pod.standing(store.service, plan["router"]),
            guard_pod.program_map(store.service, self.namespace, program),
        ]
        unversioned = guard_pod.job(store.service, self.namespace, "", **settings)
        # As it is packed it is another one where the library that packs is.
        sources = _guard_service.program(_pod_guardian.main)
        self.version = guard_pod.version_of([*self.documents[:-1], unversioned], sources)
        self.job = guard_pod.job(store.service, self.namespace, self.version, **settings)
        self._last: dict[str, Any] | None = None

    def ready(self) -> None:
        """Have a process that runs this program. Raises ``WorkloadError`` where there is none in time.

        It is started before anything is armed: an image that takes its time takes none of the guard's.
        """
        if self._runs():
            return
        for document in self.documents:
            self._apply(document)
        clock = self.cluster.clock
        deadline = clock.monotonic() + START_WAIT
        self._start()
        number = 0
        while not self._runs():
            if clock.monotonic() >= deadline:
                raise self._silent(f"has not told within {START_WAIT:.0f} s that it runs")
            clock.sleep(PAUSES[min(number, len(PAUSES) - 1)])
            number += 1
            self._start()

    def write(self, token: int, make: Callable[[Guard | None], Guard]) -> None:
        """Write the guard that ``make`` makes of the one of now, and wait until its process has seen it.

        A process that was heard of a moment ago may have ended since, having had nothing to guard: then nothing stays
        armed until another one runs.
        """
        for _number in range(ROUNDS):
            self.ready()
            with self.store.locked():
                before = self.store.read_guard()
                document = self._unheard(make(before))
                self.store.fence(token, self.cluster.time())
                self.store.write_guard(document)
            if self._is_seen(document):
                return
            with self.store.locked():
                if self.store.read_guard() == document:
                    self.store.write_guard(before)
        raise self._silent(f"has ended {ROUNDS} times instead of seeing what was armed")

    def _unheard(self, document: Guard) -> Guard:
        """As none that was told of: once again armed by the same run it would have the generation of before."""
        seen = self.store.heard()
        if seen is None or seen["token"] != document["token"]:
            return document
        return {**document, "generation": max(document["generation"], seen["generation"] + 1)}

    def _is_seen(self, document: Mapping[str, Any]) -> bool:
        """Wait for that; False when the process has ended. Raises ``WorkloadError`` when it says nothing."""
        clock = self.cluster.clock
        deadline = clock.monotonic() + ANSWER_WAIT
        number = 0
        while not self._has_seen(document):
            if self._has_ended():
                return False
            if clock.monotonic() >= deadline:
                raise self._silent(f"has not told within {ANSWER_WAIT:.0f} s that it has seen what was armed")
            clock.sleep(PAUSES[min(number, len(PAUSES) - 1)])
            number += 1
        return True

    def _has_ended(self) -> bool:
        found = self._find(self._path("Job"))
        if found is not None and not guard_pod.is_ended(found):
            return False
        # What it told last says nothing of the next one.
        self._last = self.store.heard()
        return True

    def _runs(self) -> bool:
        seen = self.store.heard()
        alive = seen is not None and seen != self._last and self.cluster.time() - seen["at"] < DEAD
        return seen is not None and alive and seen["version"] == self.version

    def _has_seen(self, document: Mapping[str, Any]) -> bool:
        seen = self.store.heard()
        if seen is not None and (seen["token"], seen["generation"]) >= (document["token"], document["generation"]):
            return True
        # It has fired meanwhile, or somebody disarmed it: the next word is the fence's.
        return self.store.read_guard() is None

    def _start(self) -> None:
        """Have the Job, unless it is there and has not ended."""
        path = self._path("Job")
        found = self._find(path)
        if found is not None:
            same = found["metadata"].get("annotations", {}).get(guard_pod.PULSE) == self.version
            if same and not guard_pod.is_ended(found):
                return
            # A Job cannot be changed; its pod may live for a moment longer, beside that of the next.
            self._try("DELETE", path, None, 404)
        self._try("POST", self._path("Job", ""), self.job, 409)

    def _try(self, method: str, path: str, body: Mapping[str, Any] | None, done: int) -> None:
        """Ask for it; ``done`` is how the cluster says that it is so already. It is looked for again in any case."""
        try:
            # Its pods go with a Job; asked for nothing, the server would leave them.
            self.cluster.call(method, path, body, query={"propagationPolicy": "Background"} if body is None else None)
        except ClusterError as error:
            if not error.unknown and error.status != done:
                raise self._advised(error) from error

    def _apply(self, document: Mapping[str, Any]) -> None:
        """Make it so, unless it is; somebody who may give rights may have done that before."""
        path = self._path(document["kind"])
        found = self._find(path)
        if found is not None and guard_pod.has(found, document):
            return
        query = {"fieldManager": "bluegreen.cutover", "force": "true"}
        for pause in (*PAUSES, None):
            try:
                self.cluster.call("PATCH", path, document, APPLY, query=query)
            except ClusterError as error:
                if not error.unknown or pause is None:
                    raise self._advised(error) from error
                self.cluster.clock.sleep(pause)
            else:
                return

    def _advised(self, error: ClusterError) -> ClusterError:
        if error.status != 403 or GIVE_RIGHT not in error.message:
            return error
        return ClusterError(
            f"{error.message}. The guard of {self.store.service} cannot be made by this run: let somebody who may do "
            "so apply its objects, or give the run these rights (docs/kubernetes.md has both)",
            error.evidence,
            status=403,
        )

    def _silent(self, what: str) -> WorkloadError:
        query = {"labelSelector": f"job-name={self.job['metadata']['name']}"}
        try:
            pods = self.cluster.call("GET", path_of("v1", self.namespace, "pods"), query=query)["items"]
            said = guard_pod.why_not(pods) or self._why_none(pods) or ["a pod is there, and nothing is wrong with it"]
        except ClusterError as error:
            said = [error.message]
        return WorkloadError(
            f"the guard of {self.store.service} {what}: {'; '.join(said)}. No traffic may move without it. See "
            f"'{self.store.guard_place}' and the log of its pod, and run again",
            {"seen": self.store.heard(), "pods": said},
        )

    def _why_none(self, pods: Sequence[Mapping[str, Any]]) -> list[str]:
        """Where there is no pod, what its Job's controller says of that: a quota, or a rule for pods, may refuse it."""
        if pods:
            return []
        events = self.cluster.call("GET", path_of("v1", self.namespace, "events"), query={"limit": "2000"})["items"]
        said = guard_pod.why_none(events, self.job["metadata"]["name"])
        return said or ["its Job has no pod, and no event says why"]

    def _find(self, path: str) -> dict[str, Any] | None:
        try:
            return self.cluster.call("GET", path)
        except ClusterError as error:
            if error.status == 404:
                return None
            raise

    def _path(self, kind: str, name: str | None = None) -> str:
        group = next(one["apiVersion"] for one in (*self.documents, self.job) if one["kind"] == kind)
        own = self.job["metadata"]["name"] if name is None else name
        return path_of(group, self.namespace, _PLURALS[kind], own)
