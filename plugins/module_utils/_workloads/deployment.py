# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Deployments as workloads: enough pods of a colour, kept there by whatever scales them, while traffic moves."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible_collections.bluegreen.cutover.plugins.module_utils._core import rollout, selector
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import (
    ClusterError,
    NotReadyError,
    RolloutError,
    WorkloadError,
)
from ansible_collections.bluegreen.cutover.plugins.module_utils._kubernetes import (
    PAUSES,
    Clock,
    Cluster,
    Following,
    path_of,
)

Document = dict[str, Any]


class Deployments:
    """The Deployments of a service's two colours, by colour in ``names``, and what scales them.

    ``token`` fences each write. In check mode nothing is written; ``commands`` has what was, or would be.
    """

    def __init__(
        self,
        cluster: Cluster,
        namespace: str,
        names: Mapping[str, str],
        *,
        token: int | None = None,
        check_mode: bool = False,
        clock: Clock = time,
    ) -> None:
        self.cluster = cluster
        self.namespace = namespace
        self.names = names
        self.token = token
        self.check_mode = check_mode
        self.clock = clock
        self.commands: list[str] = []
        self._deployments = path_of("apps/v1", namespace, "deployments")
        self._autoscalers = path_of("autoscaling/v2", namespace, "horizontalpodautoscalers")
        self._pods = path_of("v1", namespace, "pods")

    def read(self) -> list[dict[str, Any]]:
        """What each Deployment is to have and has, as workloads are told. One that is not there is ``absent``."""
        return [self._read(colour) for colour in self.names]

    def _read(self, colour: str) -> dict[str, Any]:
        one = self.cluster.find(self._path(colour))
        told = {"host": self.namespace, "colour": colour, "deployment": self.names[colour], "absent": one is None}
        if one is None:
            return {**told, "replicas": 0, "available": 0, "active": False, "enabled": False, "state": "not there"}
        return {
            **told,
            "replicas": rollout.wanted(one),
            "available": rollout.available(one),
            "active": rollout.wanted(one) > 0,
            # What is in the cluster outlives any reboot.
            "enabled": True,
            "state": rollout.missing(one, rollout.wanted(one)) or "complete",
        }

    def images(self, colour: str) -> list[str]:
        """Images of the containers that its pods have, as it names them."""
        template = self._deployment(colour)["spec"]["template"]
        return [str(one.get("image") or "none") for one in template["spec"]["containers"]]

    def make_ready(self, colour: str, timeout: float, *, least: int | None = None, keep: bool = False) -> int:
        """Have as many available pods of ``colour`` as the other one is to have, or ``least``, and no fewer than it had
        before it was stopped, within ``timeout`` seconds, and keep their autoscaler from taking them away; with
        ``keep`` the other colour's, too.

        How many there are to be. Raises ``RolloutError``, ``NotReadyError``, ``WorkloadError``, ``ClusterError``.
        """
        other = "blue" if colour == "green" else "green"
        mine = self._deployment(colour)
        # Who goes back needs nothing of what it leaves, which may be gone.
        theirs = 0 if least and not keep else rollout.wanted(self._deployment(other))
        # An autoscaler may have any number; it is held at what there is now.
        needed = max(least or max(1, theirs), rollout.stopped(mine) or 0)
        scalers = self._scalers()
        scaler = rollout.autoscaler(self.names[colour], scalers)
        rollout.check_room(scaler, max(needed, rollout.wanted(mine)))
        if keep:
            self._hold(rollout.autoscaler(self.names[other], scalers), theirs)
        # First, or it would scale them down again.
        self._hold(scaler, max(needed, rollout.wanted(mine)))
        self._write(
            f"scale {self.names[colour]} to {needed}",
            self._path(colour),
            lambda found: rollout.scale(found, needed, self.token),
        )
        if not self.check_mode:
            self._wait(colour, needed, timeout)
        return needed

    def keep(self) -> None:
        """Raise the autoscalers of both colours once more to what they were raised to: somebody who applies manifests
        gives them their own bounds back.
        """
        scalers = self._scalers()
        for name in self.names.values():
            scaler = rollout.autoscaler(name, scalers)
            if scaler is not None:
                self._hold(scaler, rollout.kept(scaler))

    def stop(self, timeout: float) -> None:
        """Have no pod of either colour that could write; one that is ending still could. They have as long to end as
        they say themselves, and ``timeout`` seconds.

        Raises ``WorkloadError`` where it is not known which pods those are, or some are left, ``ClusterError``.
        """
        deployments = {colour: self._deployment(colour) for colour in self.names}
        for colour, name in self.names.items():
            self._write(f"scale {name} to 0", self._path(colour), lambda found: rollout.stop(found, self.token))
        if not self.check_mode:
            self._wait_stopped(deployments, timeout + max(map(rollout.grace, deployments.values())))

    def _wait_stopped(self, deployments: Mapping[str, Document], timeout: float) -> None:
        sources: dict[str, tuple[str, Mapping[str, str]]] = {
            "deployments": (self._deployments, {}),
            **{one: (self._pods, {"labelSelector": rollout.pods_of(its)}) for one, its in deployments.items()},
        }
        left: list[str] = []

        def look(seen: Mapping[str, Sequence[Document]]) -> bool:
            found = {one["metadata"]["name"]: one for one in seen["deployments"]}
            left[:] = [
                told
                for colour, name in self.names.items()
                for told in (rollout.left(found[name], seen[colour]) if name in found else [f"{name} is not there"])
            ]
            return not left

        with Following(self.cluster, sources, timeout + self.cluster.patience) as following:
            following.wait(look, timeout)
        if left:
            names = " and ".join(self.names.values())
            raise WorkloadError(
                f"data may still be written, {timeout:.0f} s after {names} were scaled to 0: {'; '.join(left[:5])}. "
                f"See 'kubectl -n {self.namespace} describe pod', end what is left, and run again",
                {"left": left},
            )

    def release(self, colour: str, *, scale: bool) -> None:
        """Give back what was changed for a migration: the bound of the autoscaler, and with ``scale`` the number of
        pods that it had before it was scaled up. One that was stopped stays so. What we have not changed, or is not
        there any more, is left alone.
        """
        scaler = rollout.autoscaler(self.names[colour], self._scalers())
        if scaler is not None:
            self._write(
                f"give {scaler['metadata']['name']} its minReplicas back",
                f"{self._autoscalers}/{scaler['metadata']['name']}",
                lambda found: rollout.let_go(found, self.token),
            )
        self._write(
            f"scale {self.names[colour]} back" if scale else f"leave {self.names[colour]} as it is",
            self._path(colour),
            lambda found: rollout.unscale(found, self.token, back=scale),
        )

    def _hold(self, scaler: Mapping[str, Any] | None, least: int) -> None:
        if scaler is not None:
            name = scaler["metadata"]["name"]
            self._write(
                f"keep {name} from going below {least}",
                f"{self._autoscalers}/{name}",
                lambda found: rollout.hold(found, least, self.token),
            )

    def _wait(self, colour: str, needed: int, timeout: float) -> None:
        name = self.names[colour]
        sources: dict[str, tuple[str, Mapping[str, str]]] = {
            "deployments": (self._deployments, {}),
            "pods": (self._pods, {}),
        }
        lacks, stuck, why = f"{name} is not there", False, [""]
        end = self.clock.monotonic() + timeout
        most: tuple[int, ...] = (-1, -1, -1)
        late = end

        def look(seen: Mapping[str, Sequence[Document]]) -> bool:
            nonlocal lacks, stuck, why, most, late
            found = next((one for one in seen["deployments"] if one["metadata"]["name"] == name), None)
            if found is None:
                return False
            now, there = self.clock.monotonic(), rollout.progress(found)
            if any(one > before for one, before in zip(there, most)):
                most, late = tuple(map(max, there, most)), now + rollout.deadline(found)
            lacks = rollout.missing(found, needed)
            # Its controller calls no Deployment stuck that was complete before it was scaled up (syncRolloutStatus in
            # Kubernetes' pkg/controller/deployment/progress.go), so the deadline is counted here, too.
            stuck = bool(lacks) and (rollout.is_stuck(found) or now >= late)
            why = rollout.reasons(found, seen["pods"])
            return stuck or not lacks

        with Following(self.cluster, sources, timeout + self.cluster.patience) as following:
            # Nobody tells that a deadline has passed.
            while not following.wait(look, min(1.0, end - self.clock.monotonic())) and self.clock.monotonic() < end:
                pass
        told = f"{'. ' if why else ''}{'; '.join(why[:5])}"
        evidence = {"deployment": name, "needed": needed, "pods": why}
        see = f"See 'kubectl -n {self.namespace} describe deployment {name}', and run again"
        if stuck:
            raise RolloutError(
                f"the rollout of {name} is stuck ({selector.STUCK}): {lacks}{told}. No traffic was moved. {see}",
                evidence,
            )
        if lacks:
            raise NotReadyError(f"{lacks}, after {timeout:.0f} s{told}. No traffic was moved. {see}", evidence)

    def _deployment(self, colour: str) -> Document:
        try:
            return self.cluster.call("GET", self._path(colour))
        except ClusterError as error:
            if error.status != 404:
                raise
            raise WorkloadError(
                f"there is no Deployment {self.names[colour]} in the namespace {self.namespace}, which is to run "
                f"{colour}. See cutover_colours, and which cluster the kubeconfig's context is",
                error.evidence,
            ) from error

    def _path(self, colour: str) -> str:
        return f"{self._deployments}/{self.names[colour]}"

    def _scalers(self) -> list[Document]:
        return list(self.cluster.call("GET", self._autoscalers)["items"])

    def _write(self, told: str, path: str, operations: Callable[[Document], rollout.Operations]) -> None:
        """Change an object as ``operations`` of what it is say, where they say anything; read again on a conflict."""
        deadline = self.clock.monotonic() + self.cluster.patience
        unknown = False
        for number in range(1000):
            found = self.cluster.find(path)
            wanted = operations(found) if found is not None else []
            if not wanted:
                # Its answer was lost, and it was done.
                self.commands += [told] if unknown else []
                return
            try:
                written = self.cluster.patch(path, wanted, dry_run=self.check_mode)
            except ClusterError as error:
                if not error.unknown or self.clock.monotonic() >= deadline:
                    raise
                written, unknown = None, True
            if written is not None:
                self.commands.append(told)
                return
            if self.clock.monotonic() >= deadline:
                break
            self.clock.sleep(PAUSES[min(number, len(PAUSES) - 1)])
        raise ClusterError(
            f"{path} was written by others each time that it was read and patched; it was not changed. See who writes "
            "it (its managedFields), and run again"
        )
