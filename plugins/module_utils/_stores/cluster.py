# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Journal, lease, fence and guard of one service in a cluster: a ConfigMap, and a Lease of ``coordination.k8s.io``.

A process that stands still and wakes up late can hold no lock in a cluster. So the lock keeps runs out of each other's
way, and every write says which version it was made from: what was read before another one wrote is not written back.
What moves the traffic is fenced where it is written (``_routers/_cluster.py``).
"""

from __future__ import annotations

import contextlib
import json
import os
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ansible_collections.bluegreen.cutover.plugins.module_utils import _lease_objects, _process
from ansible_collections.bluegreen.cutover.plugins.module_utils._core import guard_pod
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import (
    ClusterError,
    FencedError,
    StoreError,
)
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.guard import Moment
from ansible_collections.bluegreen.cutover.plugins.module_utils._kubernetes import PAUSES, Cluster, path_of
from ansible_collections.bluegreen.cutover.plugins.module_utils._lease_objects import LeaseObject
from ansible_collections.bluegreen.cutover.plugins.module_utils._stores.files import (
    DamagedError,
    FileStore,
    LockedError,
)

LOCK_WAIT = 40.0
"""Seconds to wait for another run to leave its read-decide-write."""

LOCK_LIFE = 30.0
"""Seconds for which a lock is believed whose holder has not written: it asks a cluster once or twice in between. One
whose process is known to be gone is not believed at all.
"""

LIMIT = 900_000
"""Bytes of a journal: a ConfigMap has room for 1 MiB. Of a longer one the oldest closed migrations go."""

_LOCK = "lock.json"


class _ServersClock:
    """The API server's time, and pauses of this machine."""

    def __init__(self, cluster: Cluster) -> None:
        self.time = cluster.time
        self.monotonic = cluster.clock.monotonic
        self.sleep = cluster.clock.sleep


class ClusterStore(FileStore):
    """The ConfigMap and the Lease ``bluegreen-<service>`` in ``namespace``.

    As with files, reading needs no lock, and in check mode nothing but the ``read_`` methods is called. Times are those
    of the API server (``cluster.time``), for control nodes do not agree on theirs. ``guard_place`` shows the guard.
    """

    lock_life = LOCK_LIFE

    def __init__(self, cluster: Cluster, namespace: str, service: str) -> None:
        super().__init__("/", service)
        name = f"bluegreen-{service}"
        self.cluster = cluster
        self.clock = _ServersClock(cluster)
        self.folder = Path("/namespaces", namespace, "configmaps", name)
        self._configs = path_of("v1", namespace, "configmaps")
        self._config_path = path_of("v1", namespace, "configmaps", name)
        self._lease_object = LeaseObject(cluster, namespace, name)
        self._name = name
        self._pulse = LeaseObject(cluster, namespace, guard_pod.name_of(service))
        self.guard_place = f"kubectl -n {namespace} describe job {guard_pod.name_of(service)}"
        self._key = ""
        # What the last write said of which nobody knows whether it was done.
        self._doubt: ClusterError | None = None
        self._config: dict[str, Any] | None = None
        self._lease: dict[str, Any] | None = None
        self._lease_known = False

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the cluster's lock on the service; may be entered again by its holder. Never hold it across a wait."""
        if self._depth:
            self._depth += 1
            try:
                yield
            finally:
                self._depth -= 1
            return
        self._key = uuid.uuid4().hex
        self._config = self._take()
        self._lease_known = False
        self._depth = 1
        try:
            yield
        finally:
            self._depth = 0
            self._leave()

    def read_lease(self) -> dict[str, Any] | None:
        """The lease, expired or not; None where nobody holds one."""
        try:
            return _lease_objects.held(self._found_lease())
        except ValueError as error:
            raise DamagedError(Path(self._lease_object.path), str(error)) from error

    def write_lease(self, document: dict[str, Any] | None) -> None:
        """Replace the lease; None releases it. The Lease itself stays, and the highest token with it."""
        with self.locked():
            written = self._lease_object.put(self._found_lease(), document)
            if written is None:
                raise FencedError(
                    f"another run of {self.service} has written its lease meanwhile; this one was not written. See "
                    "status.yml, and run again"
                )
            self._lease = written

    def _found_lease(self) -> dict[str, Any] | None:
        """As it is; inside the lock as it was read first, or written since."""
        if not (self._depth and self._lease_known):
            self._lease, self._lease_known = self._lease_object.find(), True
        return self._lease

    def moment(self) -> Moment:
        """Now, as the API server tells it: what guards is a pod, whose own clock nobody knows."""
        now = self.cluster.time()
        return Moment(now, guard_pod.BOOT_ID, now)

    def heard(self) -> dict[str, Any] | None:
        """What the guard's pod told last, ``at`` in the API server's time; None where it has told nothing."""
        return guard_pod.told(self._pulse.find())

    def write_page(self, name: str, text: str, *, check_mode: bool = False) -> bool:
        """Replace a page for people; return whether it was another one before."""
        before = (self._data() or {}).get(name)
        if before != text and not check_mode:
            self._put({name: text})
        return before != text

    def set_aside(self, path: Path) -> Path:
        """Keep what is damaged under a name that nothing had; call it inside ``locked()``."""
        if str(path) == self._lease_object.path:
            self.write_lease(None)
            return path
        data = self._data() or {}
        aside, number = f"{path.name}.damaged", 1
        while aside in data:
            number += 1
            aside = f"{path.name}.damaged-{number}"
        self._put({aside: data[path.name], path.name: None})
        return path.with_name(aside)

    # --- what the files are there

    def _read(self, path: Path) -> dict[str, Any] | None:
        text = (self._data() or {}).get(path.name)
        if text is None:
            return None
        try:
            document = json.loads(text)
        except ValueError as error:
            raise DamagedError(path, f"is not JSON ({error})") from error
        if not isinstance(document, dict):
            raise DamagedError(path, "does not hold a JSON object")
        return document

    def _write(self, path: Path, document: dict[str, Any]) -> None:
        try:
            text = json.dumps(document, allow_nan=False, ensure_ascii=False, sort_keys=True)
        except (TypeError, ValueError) as error:
            raise StoreError(f"{path} was not written: its new content is not JSON ({error})") from error
        if path.name == "journal.json" and len(text.encode()) > LIMIT and len(document["migrations"]) > 1:
            self._write(path, {**document, "migrations": document["migrations"][1:]})
            return
        self._put({path.name: text})

    def _replace(self, path: Path, document: dict[str, Any] | None) -> None:
        if document is not None:
            self._write(path, document)
        elif path.name in (self._data() or {}):
            self._put({path.name: None})

    # --- the ConfigMap

    def _data(self) -> dict[str, str] | None:
        """What is there; inside the lock what was there when it was taken, with what was written since."""
        config = self._config if self._depth else self._find(self._config_path)
        return None if config is None else config.get("data") or {}

    def _find(self, path: str) -> dict[str, Any] | None:
        try:
            return self.cluster.call("GET", path)
        except ClusterError as error:
            if error.status == 404:
                return None
            raise

    def _put(self, changes: dict[str, str | None]) -> None:
        """Write keys, and remove those without a value, provided that the lock is still ours."""
        with self.locked():
            for pause in (*PAUSES, *PAUSES[-1:] * 10):
                # A lock is there, and so is what it is in.
                config = self._config or {}
                data = dict(config.get("data") or {})
                for name, text in changes.items():
                    data.pop(name, None)
                    if text is not None:
                        data[name] = text
                written = self._swap(config, data)
                if written is not None:
                    self._config = written
                    return
                self.cluster.clock.sleep(pause)
                self._config = self._still_ours()
        raise StoreError(f"{', '.join(changes)} of {self.folder} could not be written: the cluster failed. Run again")

    def _swap(self, config: dict[str, Any], data: dict[str, str]) -> dict[str, Any] | None:
        """Write all data if nobody has written since; None where that is not so, or not known."""
        version = {"op": "test", "path": "/metadata/resourceVersion", "value": config["metadata"]["resourceVersion"]}
        try:
            return self.cluster.patch(self._config_path, [version, {"op": "add", "path": "/data", "value": data}])
        except ClusterError as error:
            if error.unknown:
                self._doubt = error
                return None
            raise

    def _still_ours(self) -> dict[str, Any]:
        """What is there now, where somebody has only written beside us."""
        config = self._find(self._config_path)
        lock = _lock(config)
        if config is None or lock.get("key") != self._key:
            raise FencedError(
                f"this run of {self.service} has lost its lock on {self.folder} to {_told(lock)}: it stood still for "
                "too long, or the guard needed it. Nothing more was written; see status.yml, and run again",
                {"lock": lock},
            )
        return config

    # --- the lock

    def _take(self) -> dict[str, Any]:
        clock = self.cluster.clock
        deadline = clock.monotonic() + LOCK_WAIT
        here = _process.describe(os.getpid())
        mine = {**here, "key": self._key}
        seen, seen_at = None, clock.monotonic()
        for number in range(100_000):
            config = self._find(self._config_path)
            lock = _lock(config)
            if lock.get("key") == self._key:
                # An answer was lost.
                return config or {}
            # By our own clock: nobody has to agree with anybody on the time.
            version = config["metadata"]["resourceVersion"] if config else ""
            if version != seen:
                seen, seen_at = version, clock.monotonic()
            dead = _process.is_gone(lock, here) or clock.monotonic() - seen_at >= self.lock_life
            if not lock or dead:
                taken = self._make(mine) if config is None else self._take_over(config, mine)
                if taken is not None:
                    return taken
                if clock.monotonic() >= deadline:
                    # What can be read may be all that a cluster can do, with a full disk for one.
                    raise StoreError(
                        f"{self.folder} could not be locked for {LOCK_WAIT:.0f} s: "
                        + (self._doubt.message if self._doubt else "others wrote it each time. Run again"),
                        {"lock": lock},
                    )
            elif clock.monotonic() >= deadline:
                raise LockedError(
                    f"{self.folder} is held by {_told(lock)} since {LOCK_WAIT:.0f} s. See what that does, and "
                    "run again",
                    {"lock": lock},
                )
            clock.sleep(PAUSES[min(number, 2)])
        raise AssertionError  # pragma: no cover - the deadline is earlier

    def _make(self, mine: dict[str, Any]) -> dict[str, Any] | None:
        document = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": self._name, "labels": _lease_objects.LABELS},
            "data": {_LOCK: json.dumps(mine)},
        }
        try:
            return self.cluster.call("POST", self._configs, document)
        except ClusterError as error:
            if not error.unknown and error.status != 409:
                raise
            self._doubt = error
            return None

    def _take_over(self, config: dict[str, Any], mine: dict[str, Any]) -> dict[str, Any] | None:
        return self._swap(config, {**(config.get("data") or {}), _LOCK: json.dumps(mine)})

    def _leave(self) -> None:
        config, self._config = self._config or {}, None
        data = {name: text for name, text in (config.get("data") or {}).items() if name != _LOCK}
        # What cannot be told now is over by itself soon; the error that is on its way is more important.
        with contextlib.suppress(StoreError):
            if self._swap(config, data) is None:
                found = self._find(self._config_path) or {}
                if _lock(found).get("key") == self._key:
                    left = {name: text for name, text in found["data"].items() if name != _LOCK}
                    self._swap(found, left)


def _lock(config: dict[str, Any] | None) -> dict[str, Any]:
    text = ((config or {}).get("data") or {}).get(_LOCK)
    with contextlib.suppress(ValueError):
        document = json.loads(text or "{}")
        if isinstance(document, dict):
            return document
    # Nobody of ours has written that.
    return {}


def _told(lock: Mapping[str, Any]) -> str:
    return f"{lock['host']} (pid {lock['pid']})" if lock else "nobody"
