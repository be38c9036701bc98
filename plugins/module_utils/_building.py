# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Building an image in a cluster: a Job, watched to its end, and the digest of what it has pushed."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible_collections.bluegreen.cutover.plugins.module_utils._core import builds
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.builds import Build
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import BuildError, ClusterError
from ansible_collections.bluegreen.cutover.plugins.module_utils._kubernetes import (
    PAUSES,
    Cluster,
    Following,
    path_of,
)

PROGRESS = 10.0
"""Seconds between two lines that say what a build is at."""
LINES = 40
"""Of a builder's log, in an error."""
KEPT = 50
"""Images whose digests are kept."""


def build(
    cluster: Cluster,
    namespace: str,
    given: Build,
    *,
    timeout: int,
    ttl: int,
    tell: Callable[[str], None] = lambda _line: None,
    check_mode: bool = False,
) -> dict[str, Any]:
    """Build and push it within ``timeout`` seconds, unless that was done before.

    The ``digest``, and the ``reference`` that names the image by it. One that another run has begun is waited for; one
    that failed is tried anew. Raises ``BuildError`` with the end of the builder's log, ``ClusterError``.
    """
    record = Record(cluster, namespace, given)
    known = record.read()
    told = {"job": given.job, "image": given.image, "revision": given.revision, "tag": given.tagged}
    if known is not None:
        return {**told, "changed": False, "digest": known, "reference": f"{given.image}@{known}", "seconds": 0.0}
    jobs = path_of("batch/v1", namespace, "jobs")
    wanted = builds.manifest(given, deadline=timeout, ttl=ttl)
    if check_mode:
        _create(cluster, jobs, wanted, {"dryRun": "All"})
        return {**told, "changed": True, "digest": None, "reference": None, "seconds": 0.0}
    began = cluster.clock.monotonic()
    _begin(cluster, jobs, wanted)
    digest = _await(cluster, namespace, given, timeout, tell)
    record.write(digest)
    seconds = round(cluster.clock.monotonic() - began, 1)
    return {**told, "changed": True, "digest": digest, "reference": f"{given.image}@{digest}", "seconds": seconds}


def _begin(cluster: Cluster, jobs: str, wanted: Mapping[str, Any]) -> None:
    """Have the Job there: a new one, or that of another run which has not failed."""
    path = f"{jobs}/{wanted['metadata']['name']}"
    for pause in (*PAUSES, *PAUSES):
        found = cluster.find(path)
        if found is None:
            if _create(cluster, jobs, wanted, {}):
                return
        elif not found["metadata"].get("deletionTimestamp"):
            if builds.outcome(found)[0] != builds.FAILED:
                return
            _delete(cluster, path, found)
        cluster.clock.sleep(pause)
    raise BuildError(f"the Job {path} of a build that failed does not go. See what keeps it, delete it, then run again")


def _create(cluster: Cluster, jobs: str, wanted: Mapping[str, Any], query: Mapping[str, str]) -> bool:
    """Whether it is there now by us; not, where another run was first."""
    try:
        cluster.call("POST", jobs, wanted, query=query)
    except ClusterError as error:
        # Where nobody knows, what is there tells.
        if error.status == 409 or error.unknown:
            return False
        raise
    return True


def _delete(cluster: Cluster, path: str, job: Mapping[str, Any]) -> None:
    """This Job, and none that has its name since."""
    options = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background"}
    try:
        cluster.call("DELETE", path, {**options, "preconditions": {"uid": job["metadata"]["uid"]}})
    except ClusterError as error:
        if error.status not in (404, 409) and not error.unknown:
            raise


def _await(cluster: Cluster, namespace: str, given: Build, timeout: int, tell: Callable[[str], None]) -> str:
    """The digest, when the Job has ended."""
    jobs, pods = path_of("batch/v1", namespace, "jobs"), path_of("v1", namespace, "pods")
    labelled = {"labelSelector": f"{builds.LABEL}={given.name}-{given.id}"}
    sources = {"jobs": (jobs, labelled), "pods": (pods, labelled)}
    seen: dict[str, Any] = {"jobs": [], "pods": []}
    gone = False

    def look(found: Mapping[str, Sequence[dict[str, Any]]]) -> bool:
        nonlocal gone
        gone = bool(seen["jobs"]) and not found["jobs"]
        if gone:
            return True
        # A Job whose time is over takes its pods with it; what they were at last tells why.
        seen.update({name: objects for name, objects in found.items() if objects})
        kind = builds.outcome(_one(found["jobs"]))[0]
        # The pod's own end may be told after the Job's.
        return kind == builds.FAILED or (kind == builds.SUCCEEDED and builds.digest(found["pods"]) is not None)

    # The cluster ends the Job by itself then; a little later it has told.
    deadline = cluster.clock.monotonic() + timeout + PROGRESS
    with Following(cluster, sources, timeout + 2 * PROGRESS) as following:
        while not following.wait(look, min(PROGRESS, max(0.0, deadline - cluster.clock.monotonic()))):
            left = deadline - cluster.clock.monotonic()
            if left <= 0:
                break
            if builds.outcome(_one(seen["jobs"]))[0] == builds.SUCCEEDED:
                break
            tell(f"{given.job}: {builds.waiting(seen['pods'])}; {left:.0f} s are left")
    kind, why = builds.outcome(_one(seen["jobs"]))
    digest = builds.digest(seen["pods"])
    if kind == builds.SUCCEEDED and digest is not None:
        return digest
    log = _log(cluster, pods, seen["pods"])
    if gone:
        what = "was deleted before it told a digest"
    elif kind == builds.SUCCEEDED:
        what = "succeeded, and its pod does not tell the digest of what it pushed; its Job is deleted"
        # Or it would be what the next run finds, until its time to live is over.
        _delete(cluster, f"{jobs}/{given.job}", seen["jobs"][0])
    elif kind == builds.FAILED:
        what = f"failed ({why}): {builds.waiting(seen['pods'])}"
    else:
        what = f"did not end in {timeout} s: {builds.waiting(seen['pods'])}"
    raise BuildError(
        f"the build {given.job} of {given.image} in {namespace} {what}. The end of its log:\n{log}\n"
        "Repair that, then run again: a build that failed is tried anew",
        {"job": given.job, "log": log.splitlines(), "pods": builds.waiting(seen["pods"])},
    )


def _one(jobs: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    return jobs[0] if jobs else None


def _log(cluster: Cluster, pods: str, found: Sequence[Mapping[str, Any]]) -> str:
    if not found:
        return "(no pod is there that could have one)"
    path = f"{pods}/{found[-1]['metadata']['name']}/log"
    try:
        return cluster.text(path, {"tailLines": str(LINES), "limitBytes": "65536"}).strip() or "(it is empty)"
    except ClusterError as error:
        return f"(it cannot be read: {error.message})"


class Record:
    """The digests of what was built, in the ConfigMap ``bluegreen-images-<name>``: a Job does not stay."""

    def __init__(self, cluster: Cluster, namespace: str, given: Build) -> None:
        self._cluster = cluster
        self._given = given
        self._name = f"bluegreen-images-{given.name}"
        self._all = path_of("v1", namespace, "configmaps")
        self._path = f"{self._all}/{self._name}"

    def read(self) -> str | None:
        found = self._cluster.find(self._path)
        entry = ((found or {}).get("data") or {}).get(self._given.id)
        return str(json.loads(entry)["digest"]) if entry else None

    def write(self, digest: str) -> None:
        given = self._given
        entry = {"digest": digest, "image": given.image, "revision": given.revision, "at": int(self._cluster.time())}
        for pause in PAUSES:
            found = self._cluster.find(self._path)
            if found is None:
                metadata = {"name": self._name, "labels": builds.MANAGED}
                body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}
                if _create(self._cluster, self._all, {**body, "data": {given.id: json.dumps(entry)}}, {}):
                    return
            else:
                data = {**(found.get("data") or {}), given.id: json.dumps(entry)}
                kept = sorted(data, key=lambda one: json.loads(data[one])["at"])[-KEPT:]
                try:
                    self._cluster.call("PUT", self._path, {**found, "data": {one: data[one] for one in kept}})
                except ClusterError as error:
                    if error.status != 409 and not error.unknown:
                        raise
                else:
                    return
            self._cluster.clock.sleep(pause)
        if self.read() != digest:
            raise ClusterError(f"{self._path} was written by others each time that it was read and written. Run again")
