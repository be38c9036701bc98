# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What etcd and the watch cache do: one revision for everything, compare-and-swap, and a history that is cut off."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Key = tuple[str, str, str]
"""Resource (``deployments.apps``), namespace, name."""

FIRST = 1000
"""Revision of a new server: a lower one is too old for a watch."""


class TooOldError(Exception):
    """The history does not go back that far: 410."""


@dataclass(frozen=True)
class Change:
    """One write. ``before`` or ``after`` is None where it made or removed the object."""

    revision: int
    key: Key
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None


class Storage:
    """Objects by key. ``lock`` is held for every read-decide-write and told of each change."""

    def __init__(self, history: int = 20_000) -> None:
        self.lock = threading.Condition(threading.RLock())
        self.revision = FIRST
        self._objects: dict[Key, dict[str, Any]] = {}
        self._history: deque[Change] = deque(maxlen=history)
        self._oldest = FIRST

    def get(self, key: Key) -> dict[str, Any] | None:
        return self._objects.get(key)

    def of(self, resource: str, namespace: str | None) -> list[dict[str, Any]]:
        """In the order of their keys, as etcd has them."""
        keys = sorted(key for key in self._objects if key[0] == resource and namespace in (None, key[1]))
        return [self._objects[key] for key in keys]

    def put(self, key: Key, document: Mapping[str, Any]) -> dict[str, Any]:
        """Write, and return what is stored: with the revision of this write."""
        with self.lock:
            self.revision += 1
            metadata = {**document["metadata"], "resourceVersion": str(self.revision)}
            stored = {**document, "metadata": metadata}
            self._append(Change(self.revision, key, self._objects.get(key), stored))
            self._objects[key] = stored
            return stored

    def remove(self, key: Key) -> dict[str, Any]:
        """The object as it was at last, with the revision of its removal, which is what a watch tells."""
        with self.lock:
            self.revision += 1
            gone = self._objects.pop(key)
            last = {**gone, "metadata": {**gone["metadata"], "resourceVersion": str(self.revision)}}
            self._append(Change(self.revision, key, last, None))
            return last

    def compact(self) -> None:
        """Forget all history, as etcd does every few minutes: watches from before now have to begin anew."""
        with self.lock:
            self._history.clear()
            self._oldest = self.revision
            self.lock.notify_all()

    def since(self, revision: int) -> list[Change]:
        """Changes after ``revision``, oldest first."""
        if revision < self._oldest:
            raise TooOldError(f"too old resource version: {revision} ({self._oldest})")
        found = []
        for change in reversed(self._history):
            if change.revision <= revision:
                break
            found.append(change)
        return found[::-1]

    def wait(self, revision: int, deadline: float) -> bool:
        """Wait for something after ``revision``, until the monotonic ``deadline``."""
        with self.lock:
            while self.revision <= revision:
                left = deadline - time.monotonic()
                if left <= 0 or not self.lock.wait(min(left, 1.0)):
                    return self.revision > revision
            return True

    def _append(self, change: Change) -> None:
        if len(self._history) == self._history.maxlen:
            self._oldest = self._history[0].revision
        self._history.append(change)
        self.lock.notify_all()
