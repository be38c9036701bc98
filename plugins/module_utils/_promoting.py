# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Promoting a release to an environment: what may be, and its record, in one place for all environments."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible_collections.bluegreen.cutover.plugins.module_utils._core import promotion
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import InputError, PromotionError
from ansible_collections.bluegreen.cutover.plugins.module_utils._kubernetes import connect
from ansible_collections.bluegreen.cutover.plugins.module_utils._stores.files import FileStore
from ansible_collections.bluegreen.cutover.plugins.module_utils._stores.opening import open_store
from ansible_collections.bluegreen.cutover.plugins.module_utils._workloads.deployment import Deployments


def open_record(plan: Mapping[str, Any], application: str, namespace: str) -> FileStore:
    """Where the record is: in ``namespace`` of the plan's cluster, or on the router's host."""
    cluster = plan.get("cluster")
    if cluster and not namespace:
        raise InputError(
            "promote_namespace is missing; the namespace is needed that keeps the record of all environments. "
            "Nothing was touched"
        )
    return open_store(application, plan["state_dir"], {**cluster, "namespace": namespace} if cluster else None)


def read_images(plan: Mapping[str, Any]) -> list[str]:
    """Images of the candidate's containers; none where it does not run in a cluster."""
    where = plan.get("cluster")
    if not where:
        return []
    to = plan["to"]
    cluster = connect(where.get("kubeconfig"), where.get("context"))
    return Deployments(cluster, where["namespace"], {to: plan["colours"][to]["deployment"]}).images(to)


class Promotion:
    """The promotion of ``release`` to the environment ``to``; in check mode nothing is written.

    ``images`` reads what the candidate runs.
    """

    def __init__(
        self,
        store: FileStore,
        environments: Sequence[Mapping[str, Any]],
        to: str,
        release: str,
        *,
        images: Callable[[], Sequence[str]] = tuple,
        check_mode: bool = False,
    ) -> None:
        self.store = store
        self.environments = environments
        self.to = to
        self.release = promotion.release_of(release)
        self.images = images
        self.check_mode = check_mode

    def judge(self, parts: Sequence[str]) -> dict[str, Any]:
        """The environment, if the release may go there; ``PromotionError`` if not. Changes nothing."""
        found = promotion.begin(
            self._record(),
            self.environments,
            self.to,
            self.release,
            parts=parts,
            now=self.store.clock.time(),
            images=self.images(),
        )
        return {"changed": False, "environment": dict(found)}

    def begin(self, parts: Sequence[str], owner: Mapping[str, Any]) -> dict[str, Any]:
        """The same, and record that it begins."""
        if self.check_mode:
            return {**self.judge(parts), "changed": True}
        with self.store.locked():
            found = self.judge(parts)
            now = self.store.clock.time()
            self.store.write_promotion(promotion.open_(self._record(), self.to, self.release, owner, now))
        return {**found, "changed": True}

    def moved(self, migration: str) -> dict[str, Any]:
        """Record that ``migration`` has moved its traffic; with "" there was nothing to move, and then ``problem`` says
        whether it is known that this release has it.
        """
        problem = "" if migration or self.check_mode else promotion.unknown(self._record(), self.to, self.release)
        if problem:
            return {"changed": False, "problem": problem}
        return {**self.note([{"kind": "moved", "migration": migration or None}]), "problem": ""}

    def note(self, given: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Record events. ``validated`` is refused unless every phase of the environment has passed, by this release."""
        if self.check_mode:
            return {"changed": True, "sentence": ""}
        validated = any(event["kind"] == "validated" for event in given)
        images = self.images() if validated else ()
        with self.store.locked():
            after = dict(self._record())
            for event in given:
                after = promotion.append(after, self.to, self.release, {**event, "at": self.store.clock.time()})
            events = [one for one in after["promotions"] if one["environment"] == self.to][-1]["events"]
            environment = next(one for one in self.environments if one["name"] == self.to)
            sentence = promotion.told(environment, events)
            lacks = promotion.lacking(environment, events)
            if lacks and validated:
                raise PromotionError(f"{self.release} is not validated in {self.to}: {sentence}", {"missing": lacks})
            if images and not promotion.runs(self.release, images):
                raise PromotionError(
                    f"{self.release} is not validated in {self.to}: somebody has changed what was tested, which is to "
                    f"run {', '.join(images)} now. Go back with rollback.yml, see who it was, and promote it anew",
                    {"images": list(images)},
                )
            self.store.write_promotion(after)
        return {"changed": True, "sentence": sentence}

    def _record(self) -> Mapping[str, Any]:
        return self.store.read_promotion() or promotion.empty(self.store.service)
