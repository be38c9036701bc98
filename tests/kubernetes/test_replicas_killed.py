# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Shares by numbers of pods: a run that dies after any of its patches leaves what the next one understands (R-D6)."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.plan import make_plan
from ansible_collections.bluegreen.cutover.plugins.module_utils._migration import Migration
from ansible_collections.bluegreen.cutover.plugins.module_utils._routers.k8s_replicas import K8sReplicas
from ansible_collections.bluegreen.cutover.plugins.module_utils._stores import cluster as stores
from cluster.api import Api
from cluster.client import MERGE
from cluster.inprocess import Pool, Setter

from . import test_cluster_killed as killed
from .test_cluster_killed import DEPLOYMENTS, ME, SELECTORS, SERVICE, KilledError, Mortal, get

BOTH = {"app": "web"}
PLAN = make_plan(
    {
        "cutover_service": "shop",
        "cutover_front": "http://web.shop",
        "cutover_cluster": {"namespace": "shop"},
        "cutover_router": {"provider": "k8s_replicas", "name": "web", "selectors": SELECTORS, "both": BOTH},
        "cutover_colours": {colour: {"deployment": colour} for colour in SELECTORS},
        "cutover_steps": [{"share": 33}, {"share": 100}],
        "cutover_guard": {"enabled": False},
    },
    routers=["control"],
    applications=[],
    hosts={},
)
PATCHES = 46
"""Of a whole run; the last test says when that is another number."""


class Follower(Mortal):
    """Dies after patch ``number``: a run that dies after it has read something has left no more.

    Its controllers follow a Service that selects both colours, too, and note how many of each have traffic.
    """

    def __init__(self, shop: Setter, number: int = 10_000) -> None:
        super().__init__(shop, number, "after")
        self.shares: list[tuple[int, int]] = []

    def count(self, method: str) -> int:
        return [one for one, _path in (*self.sent, (method, ""))].count("PATCH")

    def serve(self) -> None:
        chosen = get(self.setter, SERVICE)["spec"]["selector"].get("version")
        names = self.setter.serve(chosen)
        self.shares.append((names.count("blue"), names.count("green")))


class Run(killed.Run):
    """What the playbooks do: while both colours are selected nobody but the router scales."""

    def __init__(self, pool: Pool) -> None:
        super().__init__(pool)
        options = {name: value for name, value in PLAN["router"].items() if name != "provider"}
        self.router: Any = K8sReplicas(self.service, **{**options, "timeout": 1})
        self.router._cluster = self.cluster
        self.migration = Migration(PLAN, self.store, self.router)

    def make_ready(self, token: int, weight: int) -> None:
        if weight in (0, 100):
            super().make_ready(token, weight)


@pytest.fixture
def shop(monkeypatch: pytest.MonkeyPatch) -> Setter:
    """Two pods of blue, one of green."""
    shop = Setter(Api())
    shop.make("/api/v1/namespaces", {"metadata": {"name": "shop"}})
    shop.furnish()
    monkeypatch.setattr(stores._process, "is_gone", lambda _holder, _here: True)
    shop.ask("PATCH", f"{DEPLOYMENTS}/green", {"spec": {"replicas": 1}}, MERGE)
    Follower(shop).follow(f"{DEPLOYMENTS}/green")
    return shop


def pods(shop: Setter) -> dict[str, int]:
    return {colour: get(shop, f"{DEPLOYMENTS}/{colour}")["spec"]["replicas"] for colour in SELECTORS}


@pytest.mark.parametrize("number", range(1, PATCHES + 1))
def test_it_is_ended_by_the_next_run_or_taken_back(shop: Setter, number: int) -> None:
    """Forwards after an even number, back after an odd one."""
    with pytest.raises(KilledError):
        Run(Follower(shop, number)).there()
    pool = Follower(shop)
    run = Run(pool)
    if number % 2:
        run.back()
        assert get(shop, SERVICE)["spec"]["selector"] == SELECTORS["blue"]
        assert pods(shop)["blue"] == 2
        # One that had arrived keeps its pods.
        assert pods(shop)["green"] in ((1, 2) if number > PATCHES - 6 else (1,))
    else:
        run.there()
        assert get(shop, SERVICE)["spec"]["selector"] == SELECTORS["green"]
        assert pods(shop) == {"blue": 2, "green": 2}
    assert all(blue + green >= 2 for blue, green in pool.shares)


@pytest.mark.parametrize("weights", [(67,), (67, 100)])
def test_from_more_pods_than_the_service_needs_it_goes_back_at_once(shop: Setter, weights: tuple[int, ...]) -> None:
    """R-D6: before anything else is done, and with the old version's pods as they are."""
    run = Run(Follower(shop))
    begun = run.migration.begin(run.deployments(None).read(), ME, run.takeover)
    run.make_ready(begun["token"], 0)
    allowed = 0
    for weight in weights:
        run.send(begun["token"], weight, [allowed], begun["decision"]["min_ready"])
        allowed = weight
    assert pods(shop) == {"blue": 2, "green": 4}
    if weights[-1] == 100:
        run.deployments(begun["token"]).release("green", scale=False)
        run.migration.close(begun["token"], "finished")
    pool = Follower(shop)
    Run(pool).back()
    assert get(shop, SERVICE)["spec"]["selector"] == SELECTORS["blue"]
    assert pods(shop) == {"blue": 2, "green": 4 if weights[-1] == 100 else 1}
    patched = [path for method, path in pool.sent if method == "PATCH" and "configmaps" not in path]
    assert (patched[0], f"{DEPLOYMENTS}/blue" in patched) == (SERVICE, False)


def test_a_run_has_no_more_patches(shop: Setter) -> None:
    pool = Follower(shop)
    Run(pool).there()
    assert pool.count("") == PATCHES, pool.sent
    # At 33 % one of three; then as many as blue has, and then all.
    assert [one for one, _times in itertools.groupby(pool.shares)] == [(2, 0), (2, 1), (2, 2), (0, 2)]
    events = Run(pool).store.read_journal()["migrations"][-1]["events"]
    assert [event["weight"] for event in events if event["kind"] == "weight_set"] == [33, 50, 100]
