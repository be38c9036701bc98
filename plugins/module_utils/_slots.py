# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Taking and giving back a slot of a shared environment: a Lease in a cluster, one holder at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.bluegreen.cutover.plugins.module_utils import _lease_objects, _objects
from ansible_collections.bluegreen.cutover.plugins.module_utils._core import slots
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import ClusterError, SlotError
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.selector import token_of
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.slots import Slot
from ansible_collections.bluegreen.cutover.plugins.module_utils._kubernetes import PAUSES, Cluster
from ansible_collections.bluegreen.cutover.plugins.module_utils._lease_objects import LeaseObject


class Environment:
    """The environment ``name``, whose Lease ``bluegreen-slot-<name>`` is in ``namespace``."""

    def __init__(self, cluster: Cluster, namespace: str, name: str) -> None:
        self.name = name
        self._cluster = cluster
        self._namespace = namespace
        self._object = LeaseObject(cluster, namespace, f"bluegreen-slot-{name}")

    def take(
        self,
        given: Sequence[Slot],
        zone: str,
        owner: Mapping[str, Any],
        reason: str,
        needs: float = 0.0,
        *,
        labels: Mapping[str, str] | None = None,
        check_mode: bool = False,
    ) -> dict[str, Any]:
        """Hold the slot of now until its end for ``owner["application"]``, for ``needs`` seconds at least.

        With ``labels`` a namespace that is not there is made, and gets them. ``changed``, the lease, and when it ends
        in words. Raises ``SlotError`` with the holder and the next time.
        """
        for pause in PAUSES:
            found = self._object.find()
            current = self._held(found)
            now = self._cluster.time()
            application = str(owner["application"])
            opening = slots.decide(given, zone, now, application, environment=self.name, needs=needs, held=current)
            told = {"until": slots.told(opening.ends, zone), "slot": opening.slot.told}
            if current is not None and now < current["expires"] and current["expires"] == opening.ends:
                return {"changed": False, "lease": current, **told}
            wanted = {
                "owner": dict(owner),
                "kind": "slot",
                "reason": reason,
                "since": now,
                "expires": opening.ends,
                "ttl": opening.ends - now,
                "token": max(int(now), token_of(found) + 1 if found else 0),
            }
            if check_mode or self._put(found, wanted, labels) is not None:
                return {"changed": True, "lease": wanted, **told}
            self._cluster.clock.sleep(pause)
        raise self._contended()

    def give_back(self, application: str, reason: str | None = None, *, check_mode: bool = False) -> dict[str, Any]:
        """Let others have what is left of the slot. One that another application holds is not touched; nor is, with
        ``reason``, one that was taken for something else.

        ``changed``, and the lease that is left. Raises ``SlotError`` with the other application.
        """
        for pause in PAUSES:
            found = self._object.find()
            current = self._held(found)
            if current is None or self._cluster.time() >= current["expires"]:
                return {"changed": False, "lease": None}
            if current["owner"].get("application") != application:
                raise SlotError(
                    f"{self.name} is used by {current['owner'].get('application')}, not by {application}, because "
                    f"'{current['reason']}'; it was not given back",
                    {"holder": dict(current["owner"])},
                )
            if reason is not None and current["reason"] != reason:
                return {"changed": False, "lease": current}
            if check_mode or self._object.put(found, None) is not None:
                return {"changed": True, "lease": None}
            self._cluster.clock.sleep(pause)
        raise self._contended()

    def _put(
        self, found: Mapping[str, Any] | None, wanted: Mapping[str, Any], labels: Mapping[str, str] | None
    ) -> Mapping[str, Any] | None:
        try:
            return self._object.put(found, wanted)
        except ClusterError as error:
            if labels is None or found is not None or error.status != 404:
                raise
            _objects.make_namespace(self._cluster, self._namespace, labels)
            return self._object.put(found, wanted)

    def _held(self, found: Mapping[str, Any] | None) -> dict[str, Any] | None:
        try:
            return _lease_objects.held(found)
        except ValueError as error:
            raise SlotError(
                f"{self._object.path} {error}: nobody knows who uses {self.name}. See who wrote it, remove that "
                "annotation when nobody does, and run again"
            ) from error

    def _contended(self) -> ClusterError:
        return ClusterError(
            f"{self._object.path} was written by others each time that it was read and written; nothing was changed. "
            "Run again"
        )
