# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Deprecating and removing a service's old version: what may be done, and its record."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ansible_collections.bluegreen.cutover.plugins.module_utils._core import finalize, journal
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import FinalizeError, InputError
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.probes import Target
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.success import Finding
from ansible_collections.bluegreen.cutover.plugins.module_utils._http import ask_all
from ansible_collections.bluegreen.cutover.plugins.module_utils._migration import Migration


class Finalization(Migration):
    """A run that ends the old version of ``plan``, whose migration has finished.

    ``measured`` is what Prometheus says of ``cutover_finalize.stable``.
    """

    def judge(self, measured: Sequence[Finding]) -> dict[str, Any]:
        """What comes next, what that needs, and the words that allow it; changes nothing."""
        state = journal.fold(self.store.read_journal())
        return self._judged(finalize.stage(self.plan, state), state, measured)

    def deprecate(self, measured: Sequence[Finding], owner: Mapping[str, Any], takeover: int | None) -> dict[str, Any]:
        """Record the deprecation and its sunset. ``FinalizeError`` where that may not be yet, or is not what comes."""
        return self._begin(finalize.DEPRECATE, measured, owner, takeover)

    def remove(self, measured: Sequence[Finding], owner: Mapping[str, Any], takeover: int | None) -> dict[str, Any]:
        """Take the lease for the removal and record that it begins; ``token`` is for what removes.

        ``FinalizeError`` where that may not be yet, or is not what comes.
        """
        return self._begin(finalize.REMOVE, measured, owner, takeover)

    @contextlib.contextmanager
    def unserved(self, token: int | None) -> Iterator[None]:
        """What is removed inside gets no traffic, and no way back to it begins meanwhile.

        Raises ``FencedError`` where one has begun, ``FinalizeError`` where the new version has not all of the traffic.
        """
        with self._locked():
            if not self.check_mode:
                if token is None:
                    raise InputError("what is removed needs the token of the run; it is finalize_begun.token")
                self.store.fence(token, self.clock.time())
            reality, goal = self._read(None), journal.side(self.plan["to"])
            if (reality.weight, reality.persisted) != (goal, goal):
                raise FinalizeError(
                    f"{self.plan['from']} of {self.plan['service']} may not be removed: green gets {reality.weight} %"
                    f"{f' ({reality.unclear})' if reality.unclear else ''}, and {reality.persisted} % after a reboot, "
                    f"where {goal} % is needed. See who changes this router with status.yml, then run again",
                    {"reality": dataclasses.asdict(reality)},
                )
            yield

    def record_gone(self, token: int | None) -> None:
        """Record that the old version is gone, unless that was done; from then on nobody goes back to it."""
        state = journal.fold(self.store.read_journal())
        if state.ended is None or state.ended["removed"] is None:
            self._write(token, "removed", colour=self.plan["from"])

    def end(self, token: int | None) -> dict[str, Any]:
        """Record that the old version is gone, where it is not yet, and release the lease."""
        with self._locked():
            self.record_gone(token)
            self._release(token)
        return {"changed": True}

    def stop(self, token: int | None, message: str) -> dict[str, Any]:
        """Record why the removal ends here, and release the lease; finalize.yml goes on with it."""
        with self._locked():
            self._write(token, "removal_stopped", message=" ".join(message.split()))
            self._release(token)
        return {"changed": True}

    def _begin(
        self, wanted: str, measured: Sequence[Finding], owner: Mapping[str, Any], takeover: int | None
    ) -> dict[str, Any]:
        with self._locked():
            state = journal.fold(self.store.read_journal())
            highest = max(self.store.read_fence(), state.token)
            held = self.store.read_lease()
            taken = self._acquire(held, "finalize", self.plan["reason"], owner, takeover, highest)
            judged = self._judged(finalize.stage(self.plan, state), state, measured)
            if judged["stage"] != wanted:
                raise FinalizeError(
                    f"{self.plan['from']} of {self.plan['service']} is not to be {wanted}d now: {judged['sentence']}",
                    judged,
                )
            if judged["missing"]:
                raise FinalizeError(judged["missing"], judged)
            told = {
                "colour": self.plan["from"],
                "owner": taken["owner"],
                "reason": taken["reason"],
                "conditions": judged["conditions"],
            }
            with self._holding(taken):
                if wanted == finalize.REMOVE:
                    self._write(taken["token"], "removal_began", **told)
                else:
                    sunset = self.clock.time() + self.plan["finalize"]["notice"]
                    self._write(taken["token"], "deprecated", sunset=sunset, **told)
                    if not self.check_mode:
                        self.store.write_lease(None)
            return {**judged, "changed": True, "token": None if self.check_mode else taken["token"]}

    def _release(self, token: int | None) -> None:
        if not self.check_mode and token is not None:
            self.store.fence(token, self.clock.time())
            self.store.write_lease(None)

    def _judged(self, stage: str, state: journal.State, measured: Sequence[Finding]) -> dict[str, Any]:
        now = self.clock.time()
        old, service = self.plan["from"], self.plan["service"]
        found: dict[str, Any] = {"changed": False, "stage": stage, "conditions": [], "missing": "", "headers": {}}
        if stage == finalize.NOTHING:
            return {**found, "phrase": "", "sentence": f"Nothing to do: {old} of {service} is removed."}
        removes = stage == finalize.REMOVE
        targets = [Target(self.plan["front"] + path) for path in self.plan["finalize"]["announced"]] if removes else []
        conditions = finalize.judge(
            self.plan,
            self.store.read_journal(),
            self._read(None),
            guarded=self.store.read_guard() is not None,
            measured=measured,
            announced={target.url: answer.headers for target, answer in zip(targets, ask_all(targets))},
            now=now,
        )
        missing = finalize.missing(self.plan, stage, conditions)
        dates = (now, now + self.plan["finalize"]["notice"])
        if stage == finalize.REMOVE and state.ended is not None:
            dates = (state.ended["deprecated"], state.ended["sunset"])
        return {
            **found,
            "conditions": conditions,
            "missing": missing,
            "headers": finalize.headers(*dates),
            "phrase": finalize.phrase(self.plan, stage),
            "sentence": missing or f"{old} of {service} may be {stage}d: all {len(conditions)} conditions are met.",
        }
