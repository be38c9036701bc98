# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The guard's process in a cluster: the one of hosts (``_guardian``), on a store that it follows by a watch."""

from __future__ import annotations

import datetime
import functools
import os
import signal
import socket
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from ansible_collections.bluegreen.cutover.plugins.module_utils import _in_pod
from ansible_collections.bluegreen.cutover.plugins.module_utils._core import guard_pod
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import ClusterError, StoreError
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.guard import Moment
from ansible_collections.bluegreen.cutover.plugins.module_utils._guardian import TICK, Guardian, routed, tell
from ansible_collections.bluegreen.cutover.plugins.module_utils._kubernetes import (
    MERGE_PATCH,
    Cluster,
    Following,
    path_of,
)
from ansible_collections.bluegreen.cutover.plugins.module_utils._routers import (  # pylint: disable=unused-import
    Router,
    Service,
    # make_router needs it, and it becomes part of the program.
    clusters,  # noqa: F401
)
from ansible_collections.bluegreen.cutover.plugins.module_utils._routers._cluster import Connected
from ansible_collections.bluegreen.cutover.plugins.module_utils._stores.cluster import ClusterStore

WATCH = 10.0
"""Seconds of one watch. A connection that died without a word is not believed for longer."""

BEAT = 4.0
"""Seconds between two signs of life, which cost a write each."""

LOCK_LIFE = 1.0
"""Seconds for which the guard believes a lock, when its time has come: the run that holds it did not renew in time."""

_KNOWN = 3

IDLE = 30.0
"""Seconds without anything to guard, after which the process ends: the next step of a run finds it still there."""


class FollowedStore(ClusterStore):
    """The store as the guard has it: what is armed is followed, and its deadline is by this process's own clock.

    That time begins when the guard is seen for the first time, so that nobody has to agree with anybody on the time.
    Only what was armed before this process began is due when the run has said, in the API server's time.
    """

    lock_life = LOCK_LIFE

    def __init__(self, cluster: Cluster, namespace: str, service: str) -> None:
        super().__init__(cluster, namespace, service)
        self._boot_id = uuid.uuid4().hex
        self._deadlines: dict[tuple[float, ...], float] = {}
        self._first = True
        self._glancing = False
        self._latest: dict[str, Any] | None = None
        self._problem = "the cluster has not told yet what is armed"
        self._watched = {"config": (self._configs, {"fieldSelector": f"metadata.name={self.folder.name}"})}

    def now(self) -> Moment:
        """Now, for the guard."""
        return Moment(time.clock_gettime(time.CLOCK_BOOTTIME), self._boot_id, self.cluster.time())

    def follow(self) -> None:
        """Keep ``glance`` up to date, for as long as the process lives."""
        threading.Thread(target=self._follow, daemon=True).start()

    def glance(self) -> dict[str, Any] | None:
        """What was armed when the cluster told last; ``StoreError`` while it has told nothing."""
        if self._latest is None:
            raise StoreError(self._problem)
        self._glancing = True
        try:
            return self.read_guard()
        finally:
            self._glancing = False

    def read_guard(self) -> dict[str, Any] | None:
        """The guard, with its deadline by the clock of this process."""
        document = super().read_guard()
        first, self._first = self._first, False
        if document is None or document["deadline"] is None:
            return document
        # Once again armed by the same run it may have the same generation, and not the same time.
        armed = (document["token"], document["generation"], document["deadline_at"])
        if armed not in self._deadlines:
            left = float(document["time"])
            if first:
                left = min(left, max(0.0, armed[-1] - self.cluster.time()))
            # What is glanced at may be older than what is read: several are known.
            kept = list(self._deadlines.items())[-_KNOWN:]
            self._deadlines = {**dict(kept), armed: self.now().boottime + left}
        return {**document, "boot_id": self._boot_id, "deadline": self._deadlines[armed]}

    def _find(self, path: str) -> dict[str, Any] | None:
        return (self._latest or None) if self._glancing else super()._find(path)

    def _follow(self) -> None:
        while True:
            try:
                with Following(self.cluster, self._watched, WATCH) as following:
                    following.wait(self._note, WATCH)
            except ClusterError as error:
                self._problem = error.message
                time.sleep(TICK)
            except Exception as error:  # noqa: BLE001  # a guard that is told nothing any more would guard nothing
                self._problem = f"{type(error).__name__}: {error}"
                tell(self._problem)
                time.sleep(TICK)

    def _note(self, seen: Mapping[str, Sequence[dict[str, Any]]]) -> bool:
        found = seen["config"]
        self._latest = found[0] if found else {}
        return False


class Pulse:
    """Tells of the process beside it: a slow answer delays nothing."""

    def __init__(self, cluster: Cluster, namespace: str, service: str, version: str) -> None:
        self._cluster = cluster
        self._path = path_of("coordination.k8s.io/v1", namespace, "leases", guard_pod.name_of(service))
        self._version = version
        self._seen: Mapping[str, Any] = {}
        self._new = threading.Event()
        threading.Thread(target=self._run, daemon=True).start()

    def show(self, seen: Mapping[str, Any]) -> None:
        """Tell this, as soon as can be."""
        self._seen = seen
        self._new.set()

    def _run(self) -> None:
        while True:
            self._new.wait()
            self._new.clear()
            try:
                now = self._cluster.time()
                at = datetime.datetime.fromtimestamp(now, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
                seen = {**self._seen, "at": now, "version": self._version}
                self._cluster.call("PATCH", self._path, guard_pod.pulse(seen, socket.gethostname(), at), MERGE_PATCH)
            except ClusterError as error:
                # Not to be heard is one thing, not to guard another.
                tell(error.message)
                time.sleep(TICK)
                self._new.set()


def _routed(cluster: Cluster, target: Mapping[str, Any]) -> tuple[Service, Router]:
    service, router = routed(target)
    if isinstance(router, Connected):
        router.use(cluster)
    return service, router


def _end(_signal: int, _frame: FrameType | None) -> None:
    # The first process of a container gets no signal that it does not ask for. As a failure: a pod that is evicted from
    # its node and ends well completes its Job, and none takes its place.
    raise SystemExit(128 + signal.SIGTERM)


def main(arguments: Sequence[str]) -> int:
    """``run NAMESPACE SERVICE ACCOUNT VERSION``, as the Job has it; ends when there is nothing to guard any more."""
    _what, namespace, service, account, version = arguments
    signal.signal(signal.SIGTERM, _end)
    cluster = _in_pod.connect(Path(account), os.environ)
    store = FollowedStore(cluster, namespace, service)
    pulse = Pulse(cluster, namespace, service, version)
    guardian = Guardian(
        store,
        pulse.show,
        beat=BEAT,
        glance=store.glance,
        moment=store.now,
        clock=store.clock,
        routed=functools.partial(_routed, cluster),
    )
    store.follow()
    guarded_at, told_at = time.monotonic(), 0.0
    while True:
        try:
            pause, now = guardian.look(), time.monotonic()
        except Exception as error:  # noqa: BLE001  # a container that ends with an error is started again late, and later
            tell(f"{type(error).__name__}: {error}")
            pause, now = BEAT / 4, time.monotonic()
        if pause is not None:
            guarded_at, told_at = now, 0.0
        elif now - guarded_at >= IDLE:
            return 0
        elif now - told_at >= BEAT:
            # A run waits for that before it arms.
            told_at = now
            pulse.show({"token": 0, "generation": 0, "problem": ""})
        time.sleep(TICK if pause is None else pause)
