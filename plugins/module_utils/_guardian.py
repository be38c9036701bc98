# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The guard's process: it waits for its time or its triggers, and then sends the traffic back as any run does."""

from __future__ import annotations

import functools
import json
import os
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible_collections.bluegreen.cutover.plugins.module_utils import _guard_service, _guarding
from ansible_collections.bluegreen.cutover.plugins.module_utils._command import run as run_command
from ansible_collections.bluegreen.cutover.plugins.module_utils._core import guard, journal, lease
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.decide import enough_to_return
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import (
    ClusterError,
    CutoverError,
    FencedError,
    NotReadyError,
    StoreError,
)
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.guard import Cause, Moment
from ansible_collections.bluegreen.cutover.plugins.module_utils._routers import Router, Service
from ansible_collections.bluegreen.cutover.plugins.module_utils._routing import (
    change_weight,
    make_router,
    make_service,
)
from ansible_collections.bluegreen.cutover.plugins.module_utils._stores.files import Clock, FileStore, LockedError
from ansible_collections.bluegreen.cutover.plugins.module_utils._triggers import Watch

TICK = 0.1
"""Seconds between two looks at what is armed."""
BEAT = 1.0
"""Seconds between two signs of life."""
RETRY = (0.5, 30.0)
"""Seconds until a failed attempt is made again: the first, doubled each time, up to the second."""


def routed(target: Mapping[str, Any]) -> tuple[Service, Router]:
    """The service of a guard's target, and what moves its traffic."""
    service = make_service(target["service"], target["colours"], target["ready_path"])
    return service, make_router(target["router"], service)


def tell(line: str) -> None:
    """One line for the system's journal, or the container's log."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


class Guardian:
    """The guard of one service.

    ``show`` takes what the process has seen, every ``beat`` seconds and whenever that is something new, and raises
    OSError where nobody can see that. ``glance`` reads what is armed, often; ``tell`` takes one line.
    """

    def __init__(
        self,
        store: FileStore,
        show: Callable[[dict[str, Any]], object],
        *,
        beat: float = BEAT,
        glance: Callable[[], dict[str, Any] | None] | None = None,
        moment: Callable[[], Moment] = _guarding.moment,
        clock: Clock = time,
        routed: Callable[[Mapping[str, Any]], tuple[Service, Router]] = routed,
        tell: Callable[[str], object] = tell,
    ) -> None:
        self.store = store
        self.show = show
        self.beat = beat
        self.glance = glance or store.read_guard
        self.moment = moment
        self.clock = clock
        self.routed = routed
        self.tell = tell
        self.watch = Watch(self.tell)
        self.problem = ""
        self._beaten: tuple[int, int, float] = (0, 0, 0.0)
        self._retry_at = 0.0
        self._pause = RETRY[0]

    def look(self) -> float | None:
        """Look once, and act where it is time; seconds until the next look, None when there is nothing to guard."""
        try:
            document = self.glance()
        except StoreError as error:
            # What cannot be read cannot be acted on; it was whole when it was armed.
            self._say(error.message)
            return TICK
        if document is None:
            self.watch.set(None)
            return None
        now = self.moment()
        self.watch.set(document if document["state"] != guard.FIRING else None)
        self._beat(document, now)
        cause = guard.due(document, now) or self.watch.pulled()
        if cause is None:
            self.problem, self._retry_at, self._pause = "", 0.0, RETRY[0]
            left = guard.left(document, now)
            return TICK if left is None else min(TICK, left + 0.001)
        if now.boottime >= self._retry_at and not self._fire(cause):
            self._retry_at, self._pause = self.moment().boottime + self._pause, min(2 * self._pause, RETRY[1])
        return TICK

    def boot(self) -> None:
        """Have a router that was armed when its host went down come up with the traffic sent back; it is not up yet."""
        document = self.store.read_guard()
        cause = guard.due(document, self.moment())
        if document is None or cause is None or document["boot_id"] == self.moment().boot_id:
            return
        try:
            self._take(cause)
        except StoreError as error:
            # A full disk, say: the traffic comes first, and the process tries again to record it.
            self._say(error.message)
        _service, router = self.routed(document["target"])
        with self.store.locked():
            router.persist(guard.goal(document))

    def _fire(self, cause: Cause) -> bool:
        """One attempt to bring the traffic back; whether it is done, or not ours to do any more."""
        token: int | None = None
        try:
            token = self._take(cause)
            if token is None:
                return True
        except (ClusterError, FencedError, LockedError) as error:
            # Where a cluster does not keep the record it does not move the traffic either; and another guard of the
            # same service may have written, of which a lost node has two for a while.
            return self._failed(error)
        except StoreError as error:
            self._say(f"{error.message}; the traffic is sent back without a record")
        try:
            document = self.store.read_guard()
            if document is None:
                return True
            self._send_back(document, token)
            if token is None:
                return False
            self._close(token)
        except FencedError as error:
            self._say(error.message)
            return True
        except CutoverError as error:
            return self._failed(error, token)
        return True

    def _take(self, cause: Cause) -> int | None:
        """The lease, with a token above all others, so that the run which is guarded cannot write any more.

        None when a confirmation, a renewal or a rollback was faster.
        """
        with self.store.locked():
            document, now = self.store.read_guard(), self.moment()
            if document is None:
                return None
            still = guard.due(document, now)
            if still is None and (cause.kind != "trigger" or not document["triggers"]):
                return None
            cause = still or cause
            held = self.store.read_lease()
            if document["state"] != guard.FIRING or held is None or held["token"] != document["token"]:
                taken = self._acquire(document, held, cause, now)
                document = guard.fire(document, taken["token"], cause)
                self.store.write_guard(document)
                self.store.write_lease(taken)
            else:
                self.store.write_lease(lease.renew(held, now.wall))
            token: int = document["token"]
            fired = journal.fold(self.store.read_journal()).fired
            if fired is None or fired["token"] != token:
                sentence = guard.takes(document, now.wall, cause)
                self.store.record(token, now.wall, "guard_fired", cause=cause.kind, reason=sentence, late=cause.late)
                self.tell(sentence)
            return token

    def _acquire(
        self, document: Mapping[str, Any], held: Mapping[str, Any] | None, cause: Cause, now: Moment
    ) -> lease.Lease:
        state = journal.fold(self.store.read_journal())
        return lease.acquire(
            self.store.service,
            held,
            owner={"user": "guard", "host": socket.gethostname(), "pid": os.getpid()},
            kind="guard",
            reason=cause.sentence,
            now=now.wall,
            ttl=document["target"]["ttl"],
            last_token=max(self.store.read_fence(), state.token, document["token"], held["token"] if held else 0),
        )

    def _send_back(self, document: Mapping[str, Any], token: int | None) -> None:
        target, goal = document["target"], guard.goal(document)
        service, router = self.routed(target)
        record = self.store if token is not None else None

        def change(needed: int) -> None:
            given: Any = {"store": record, "token": token, "clock": self.clock, "ready_wait": 0}
            change_weight(router, service, goal, min_ready=needed, **given)

        # In a cluster nobody knows how many there are before they are read; as many as the other side has are enough.
        wanted = target["min_ready"] or sys.maxsize
        try:
            change(wanted)
        except NotReadyError as error:
            ready = error.evidence["reading"]["ready"]
            left = max(n for colour, n in ready.items() if colour != target["back_to"])
            change(enough_to_return(wanted, left))

    def _close(self, token: int) -> None:
        """Record that it is done, and disarm."""
        with self.store.locked():
            document, now = self.store.read_guard(), self.moment()
            if document is None or document["token"] != token:
                return
            goal = guard.goal(document)
            state = journal.fold(self.store.read_journal())
            if state.intent is not None or state.weight != goal:
                # At a boot it was the disk that changed, and nothing had to be set.
                self.store.record(token, now.wall, "weight_intended", before=goal, weight=goal)
                self.store.record(token, now.wall, "weight_set", weight=goal, commands=[], ms=0.0)
            # A process that was killed after this record is followed by one that comes here again.
            if state.phase != journal.FAILED:
                sentence = guard.took(document, now.wall, Cause(**document["cause"]))
                self.store.record(token, now.wall, "failed", reason="guard", message=sentence)
                self.tell(sentence)
            self.store.write_guard(None)
            self.store.write_lease(None)

    def _failed(self, error: CutoverError, token: int | None = None) -> bool:
        if self._say(error.message) and token is not None:
            try:
                self.store.record(token, self.moment().wall, "guard_waits", message=error.message)
            except CutoverError as other:
                self.tell(other.message)
        return False

    def _say(self, problem: str) -> bool:
        """Tell a problem, once; whether it is a new one."""
        new = problem != self.problem
        self.problem = problem
        if new:
            self.tell(problem)
        return new

    def _beat(self, document: Mapping[str, Any], now: Moment) -> None:
        token, generation, at = self._beaten
        if (token, generation) == (document["token"], document["generation"]) and now.boottime - at < self.beat:
            return
        self._beaten = document["token"], document["generation"], now.boottime
        seen = {"token": document["token"], "generation": document["generation"]}
        try:
            self.show({**seen, "at": now.boottime, "problem": self.problem or self.watch.problem})
        except OSError as error:
            # Not to be seen is one thing, not to guard another.
            self._say(f"{error.filename} cannot be written: {error.strerror}")


def show_in(runtime: Path, seen: Mapping[str, Any]) -> None:
    """Replace what the process has told in its runtime folder. Raises OSError."""
    scratch = runtime / "seen.tmp"
    scratch.write_text(json.dumps(seen), encoding="utf-8")
    scratch.replace(runtime / "seen.json")


def main(arguments: Sequence[str]) -> int:
    """``run|boot STATE_DIR SERVICE``, as the units start it."""
    what, state_dir, service = arguments
    store = FileStore(state_dir, service)
    guardian = Guardian(store, functools.partial(show_in, Path(_guarding.RUNTIME.format(service=service))))
    try:
        if what == "boot":
            guardian.boot()
            return 0
        while True:
            pause = guardian.look()
            if pause is not None:
                time.sleep(pause)
            elif _guard_service.remove(store, run_command):
                return 0
    except CutoverError as error:
        tell(error.message)
        # Until systemd starts it again.
        time.sleep(BEAT)
        return 1
