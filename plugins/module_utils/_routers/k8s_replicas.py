# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Numbers of pods behind one Service as a router, for a cluster in which nothing better shares the traffic.

At 0 and 100 % the Service selects one colour; in between it selects both, and the share is what the numbers of their
pods make. It is a ratio of pods, not of requests: kube-proxy chooses a pod for each new connection, and a connection
that stays open keeps its pod.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from ansible_collections.bluegreen.cutover.plugins.module_utils._core import rollout, selector, shares
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import (
    DriftError,
    NotReadyError,
    NotSettledError,
    RouterError,
)
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.journal import side
from ansible_collections.bluegreen.cutover.plugins.module_utils._kubernetes import path_of
from ansible_collections.bluegreen.cutover.plugins.module_utils._routers import Reading, Service
from ansible_collections.bluegreen.cutover.plugins.module_utils._routers._cluster import Connected, Document, swap
from ansible_collections.bluegreen.cutover.plugins.module_utils._selector import READY_WAIT, Target, await_settled

LAG = 1.0
"""Seconds by which endpoints may be behind their pods before that is told."""

RATIO = (
    "a ratio of pods, only as exact as connections spread: a pod is chosen for each new connection, and one that is "
    "kept alive stays with its pod"
)

BETTER = "k8s_httproute, k8s_ingress, k8s_configmap"

_SPREAD = {"sessionAffinity": "None", "internalTrafficPolicy": "Cluster", "externalTrafficPolicy": "Cluster"}
"""What a Service must say, where it says so, for each pod to get as much as any other; no ``trafficDistribution``."""

_BOTH = "both"
_ALONE = {0: "blue", 100: "green"}

Seen = Mapping[str, Sequence[Document]]


class K8sReplicas(Connected):
    """The Service ``name`` in ``namespace``; ``selectors`` are its whole selector for each colour alone, and ``both``
    that for the two together.

    ``deployments`` run the colours. That of the colour ``keeps`` is left as it is, the other one's is scaled, and its
    pods have ``timeout`` seconds for that. ``kubeconfig`` and ``context`` say which cluster; without them it is that of
    the environment.
    """

    def __init__(
        self,
        service: Service,
        *,
        namespace: str,
        name: str,
        selectors: Mapping[str, Mapping[str, str]],
        both: Mapping[str, str],
        deployments: Mapping[str, str],
        keeps: str,
        timeout: int,
        kubeconfig: str | None = None,
        context: str | None = None,
    ) -> None:
        super().__init__(kubeconfig, context)
        selector.check(name, selectors)
        selector.check_both(name, selectors, both)
        self.service = service
        self.colours = dict(selectors)
        self.target = Target(namespace, name, {**selectors, _BOTH: both})
        self.deployments = dict(deployments)
        self.keeps = keeps
        self.other = "blue" if keeps == "green" else "green"
        self.timeout = timeout
        self._scaled = path_of("apps/v1", namespace, "deployments", self.deployments[self.other])
        self._now: Seen = {}
        self._spec: Document = {}
        self._selected = ""
        self._seen: int | None = None
        self._on_the_way: dict[int, int] = {}
        self._waits = False

    def read(self) -> Reading:
        """The Service's selector and the Deployments' replicas, and whether the EndpointSlices agree."""
        service = self.cluster.call("GET", self.target.path)
        self._spec = service["spec"]
        self._selected, unclear = "", ""
        try:
            self._selected = selector.colour_of(service, self.target.selectors)
        except DriftError as error:
            unclear = error.message
        problem = self._wait(lambda seen: self._unsettled(self._selected, seen) if self._selected else "", LAG)
        self._seen = self._weight(self._selected) if self._selected else None
        unclear = unclear or self._missing() or problem
        sides = {colour: self.target.side(colour, self._now) for colour in self.colours}
        return Reading(
            weight=None if unclear else self._seen,
            persisted=self._seen,
            ready={colour: one.count for colour, one in sides.items()},
            in_flight=dict.fromkeys(sides),
            detail={
                "selector": self._spec.get("selector"),
                "pods": self._pods,
                "endpoints": {
                    family: sorted(names.values()) for family, names in selector.endpoints(self._now["slices"]).items()
                },
                "unfinished": {colour: [*one.unseen, *one.unfinished] for colour, one in sides.items()},
                "applied": RATIO,
            },
            unclear=unclear,
        )

    def check(self, weights: Sequence[int]) -> str:
        """Raise where one of ``weights`` cannot be a ratio of these pods; else by which pods each is one."""
        between = [weight for weight in weights if weight not in _ALONE]
        if not between:
            return ""
        problems = list(self._problems(between))
        if problems:
            raise RouterError(
                f"{self.service.name} cannot share its traffic by numbers of pods: {'; '.join(problems)}. Nothing was "
                f"changed. Correct that, or use a router with weights ({BETTER})",
                {"pods": self._pods, "weights": between},
            )
        made = (f"{self._told(weight)} is {self._needed(weight)} of {self.other}" for weight in between)
        return f"A share is {RATIO}. Beside {self._pods[self.keeps]} pods of {self.keeps}, {', '.join(made)}."

    def way(self, weight: int, min_ready: int) -> list[int]:
        """One weight, but where pods of the other colour have to come before all traffic does, or go after that."""
        self._on_the_way = {}
        self.check([weight])
        now, number, first = self._pods[self.other], self._needed(weight), 0
        if self._selected == _BOTH and weight == side(self.other) and now < min_ready:
            first = min_ready
        elif self._selected == self.other and number is not None and now > number:
            # It has all of the traffic, so that it may have fewer pods only when the others have begun to help.
            first = now
        if not first or self._of(first) == weight:
            return [weight]
        # Other numbers may make the same whole percent.
        self._on_the_way = {self._of(first): first}
        return [*self._on_the_way, weight]

    def prepare(self, weight: int, min_ready: int) -> list[str]:
        """Scale the other colour while that moves nothing, because the Service selects one colour alone."""
        self._waits = False
        if self._selected not in self.colours:
            return []
        now, number = self._pods[self.other], self._needed(weight)
        self._waits = number is not None
        if number is None:
            number = max(now, min_ready) if weight == side(self.other) else now
        elif self._selected == self.other:
            number = max(now, number)
        if number == now:
            return []
        self._waits = True
        self._claim()
        return self._scale(number, None)

    def prepared(self) -> None:
        """Wait until the other colour has as many ready pods as it was scaled to, and no more."""
        problem = self._wait(lambda seen: self._lacking(self.other, seen), self.timeout) if self._waits else ""
        if problem:
            raise NotReadyError(
                f"{problem}, after {self.timeout} s. No traffic was moved. See 'kubectl -n {self.target.namespace} "
                f"describe deployment {self.deployments[self.other]}', and run again",
                {"pods": self._pods},
            )

    def apply(self, weight: int) -> list[str]:
        """Swap the selector or, where it selects both and goes on to, scale the other colour."""
        chosen = _ALONE.get(weight, _BOTH)
        number = self._needed(weight)
        if number is not None and self._selected == _BOTH and weight != self._seen:
            self._claim()
            done = self._scale(number, self._seen)
        else:
            if chosen != self._selected:
                self._check_ready(chosen)
            labels = self.target.selectors[chosen]
            swap(
                self.cluster,
                self.target.path,
                self._weight_of,
                lambda service: selector.swap(service, labels),
                seen=self._seen,
                weight=weight,
                token=self.token,
            )
            done = [f"patch service {self.target.namespace}/{self.target.name} selector {selector.told(labels)}"]
        self._selected, self._seen = chosen, weight
        return done

    def settle(self, weight: int) -> None:
        """Wait until the endpoints are the ready pods of what is selected, and make that share."""
        chosen = _ALONE.get(weight, _BOTH)
        if chosen != _BOTH:
            await_settled(self.cluster, self.target, chosen)
            return
        problem = self._wait(lambda seen: self._unsettled(_BOTH, seen), self.timeout)
        if problem:
            raise NotSettledError(
                f"the Service {self.target.name} selects both colours, and after {self.timeout} s its endpoints do not "
                f"make {weight} % for green: {problem}. Nothing was put back. See its EndpointSlices and the pods; go "
                "back with playbooks/rollback.yml",
                {"pods": self._pods, "weight": weight},
            )

    @property
    def _pods(self) -> dict[str, int]:
        """How many each colour is to have, as its Deployment says."""
        found = {one["metadata"]["name"]: rollout.wanted(one) for one in self._now["deployments"]}
        return {colour: found.get(name, 0) for colour, name in self.deployments.items()}

    def _wait(self, problem: Callable[[Seen], str], seconds: float) -> str:
        """Until there is no ``problem`` with what is there, or for ``seconds``; what is left of it."""
        told = [""]

        def look(seen: Seen) -> bool:
            self._now = seen
            told[0] = problem(seen)
            return not told[0]

        with self.target.following(self.cluster, seconds + self.cluster.patience) as following:
            following.wait(look, seconds)
        return told[0]

    def _weight(self, selected: str) -> int:
        return shares.of_pods(**self._pods) if selected == _BOTH else side(selected)

    def _weight_of(self, service: Document) -> int:
        """What the Service says: as long as it selects the same, that is what was read."""
        selected = selector.colour_of(service, self.target.selectors)
        return self._seen if selected == self._selected and self._seen is not None else self._weight(selected)

    def _of(self, number: int) -> int:
        """Green's percentage with ``number`` pods of the other colour."""
        return shares.of_pods(**{**self._pods, self.other: number})

    def _needed(self, weight: int) -> int | None:
        """How many pods of the other colour make ``weight``; None where it is no ratio."""
        if weight in _ALONE:
            return None
        return self._on_the_way.get(weight) or shares.pods_for(weight, self._pods[self.keeps], self.keeps)

    def _told(self, weight: int) -> str:
        return f"{weight if self.other == 'green' else 100 - weight} %"

    def _missing(self) -> str:
        """Which colour has no pods, although the Service selects both."""
        without = [self.deployments[colour] for colour, number in self._pods.items() if not number]
        if self._selected != _BOTH or not without:
            return ""
        return f"the Service {self.target.name} selects both colours, and {' and '.join(without)} is to have no pods"

    def _lacking(self, colour: str, seen: Seen, there: int | None = None) -> str:
        """Why a colour has not just the pods that it is to have; ``there`` are those that count."""
        one = self.target.side(colour, seen)
        if one.unseen:
            return f"the last change of {', '.join(one.unseen)} has not been seen by a controller yet"
        wanted, found = self._pods[colour], len(one.ready) if there is None else there
        return "" if found == wanted else f"{colour} has {found} ready pods, and is to have {wanted}"

    def _unsettled(self, selected: str, seen: Seen) -> str:
        foreign = selector.unsettled(seen["slices"], self.target.side(selected, seen).ready, 0)
        if foreign or selected != _BOTH:
            return foreign
        families = selector.endpoints(seen["slices"]).values()
        for colour in self.colours:
            mine = self.target.side(colour, seen).ready
            lacking = self._lacking(colour, seen, min((len(mine & set(one)) for one in families), default=0))
            if lacking:
                return f"of the endpoints, {lacking}"
        return ""

    def _problems(self, weights: Sequence[int]) -> Iterator[str]:
        """What keeps ``weights`` from being ratios of pods."""
        kept = self._pods[self.keeps]
        if not kept:
            yield f"{self.deployments[self.keeps]} ({self.keeps}), which keeps its pods, is to have none"
        lost = [self._told(weight) for weight in weights if kept and self._needed(weight) is None]
        if lost:
            had = ", ".join(map(str, shares.had_by_pods(kept, self.keeps)))
            yield (
                f"no number of pods of {self.other} makes {' or '.join(lost)} beside the {kept} of {self.keeps}; "
                f"{had} % can be had, and other shares with other numbers of pods of {self.keeps}"
            )
        scalers = self.cluster.call("GET", self._autoscalers)["items"]
        found = [rollout.autoscaler(name, scalers) for name in self.deployments.values()]
        named = ", ".join(one["metadata"]["name"] for one in found if one is not None)
        if named:
            yield f"the autoscalers {named} would change the numbers; remove them for the time of the migration"
        uneven = [name for name, even in _SPREAD.items() if self._spec.get(name, even) != even]
        uneven += [name for name in ("trafficDistribution",) if self._spec.get(name)]
        if uneven:
            told = ", ".join(f"{name}: {self._spec[name]}" for name in uneven)
            yield f"the Service {self.target.name} has {told}, with which not every pod gets as much as any other"
        yield from self._strangers()

    def _strangers(self) -> Iterator[str]:
        """What else would get traffic, or count as a colour's."""
        labels = self.target.selectors[_BOTH]
        for colour, its in self.colours.items():
            found = [
                one["metadata"]["name"]
                for one in self._now["deployments"]
                if selector.matches(its, one["spec"]["template"].get("metadata") or {})
            ]
            if found != [self.deployments[colour]]:
                names = " and ".join(found) or "no Deployment"
                yield f"{names} makes pods with {selector.told(its)} ({colour}), not {self.deployments[colour]} alone"
        pods = [
            pod["metadata"]["name"]
            for pod in self._now["pods"]
            if selector.matches(labels, pod["metadata"])
            and not any(selector.matches(its, pod["metadata"]) for its in self.colours.values())
        ]
        if pods:
            yield f"{', '.join(sorted(pods)[:5])} has {selector.told(labels)}, too, and is of neither colour"

    @property
    def _autoscalers(self) -> str:
        return path_of("autoscaling/v2", self.target.namespace, "horizontalpodautoscalers")

    def _claim(self) -> None:
        """Leave the token at the Service, which has to say what was read: what an overtaken run has sent is refused."""
        now = self._seen
        if now is not None:
            path = self.target.path
            swap(self.cluster, path, self._weight_of, lambda _service: [], seen=now, weight=now, token=self.token)

    def _check_ready(self, chosen: str) -> None:
        """Nobody may be sent to nothing; how many must be ready was decided before."""
        problem = self._wait(
            lambda seen: selector.obstacle(chosen, self.target.side(chosen, seen), 1, accept_rollout=True), READY_WAIT
        )
        if problem:
            raise NotReadyError(
                f"the selector of the Service {self.target.name} was left as it is: {problem}, for {READY_WAIT:.0f} s. "
                f"See 'kubectl -n {self.target.namespace} get deployments,pods', then run again",
                {"to": chosen},
            )

    def _scale(self, number: int, seen: int | None) -> list[str]:
        """Give the other colour ``number`` pods, if its Deployment still makes the weight that was ``seen``."""
        swap(
            self.cluster,
            self._scaled,
            lambda found: self._of(rollout.wanted(found)),
            lambda found: rollout.resize(found, number, self.token),
            seen=seen,
            weight=self._of(number),
            # The change has its own fence, which keeps the Deployment's other annotations.
            token=None,
        )
        return [f"scale {self.deployments[self.other]} to {number}"]
