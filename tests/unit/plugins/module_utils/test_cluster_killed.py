# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A run that is killed at any of its requests to a cluster leaves one colour selected; the next one ends the work."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.plan import make_plan
from ansible_collections.bluegreen.cutover.plugins.module_utils._kubernetes import Cluster
from ansible_collections.bluegreen.cutover.plugins.module_utils._migration import Migration
from ansible_collections.bluegreen.cutover.plugins.module_utils._routers import Service
from ansible_collections.bluegreen.cutover.plugins.module_utils._routers.k8s_service import K8sService
from ansible_collections.bluegreen.cutover.plugins.module_utils._routing import change_weight
from ansible_collections.bluegreen.cutover.plugins.module_utils._stores import cluster as stores
from ansible_collections.bluegreen.cutover.plugins.module_utils._stores.cluster import ClusterStore
from cluster.inprocess import Answer, Pool

SERVICE = "/api/v1/namespaces/shop/services/web"
SELECTORS = {colour: {"app": "web", "version": colour} for colour in ("blue", "green")}
PLAN = make_plan(
    {
        "cutover_service": "shop",
        "cutover_front": "http://router",
        "cutover_router": {"provider": "haproxy"},
        "cutover_colours": {"blue": {"unit": "b.service", "port": 1}, "green": {"unit": "g.service", "port": 2}},
    },
    routers=["router"],
    applications=["app1"],
    hosts={},
)
REQUESTS = 41
"""Of a whole run; the last test says when that is another number."""


class KilledError(BaseException):
    """Nothing catches it, and what runs on the way out reaches nobody."""


class Mortal(Pool):
    """Dies at request ``number``, before or after the server has done it."""

    def __init__(self, shop: Any, number: int, when: str) -> None:
        super().__init__(shop.api)
        self.shop = shop
        self.number = number
        self.when = when

    def request(self, method: str, url: str, **options: Any) -> Answer:
        if "watch=" in url:
            return super().request(method, url, **options)
        number = len(self.sent) + 1
        if number > self.number or (number == self.number and self.when == "before"):
            raise KilledError
        answer = super().request(method, url, **options)
        if method == "PATCH" and url.endswith("/services/web?fieldManager=bluegreen.cutover") and answer.status == 200:
            self.shop.serve("green")
        if number == self.number:
            raise KilledError
        return answer


def run(pool: Pool) -> ClusterStore:
    """From the beginning to the end, as far as it comes."""
    cluster = Cluster(pool.connection, patience=0.2)
    store = ClusterStore(cluster, "shop", "shop")
    service = Service("shop", {"blue": (), "green": ()}, "/")
    router = K8sService(service, namespace="shop", name="web", selectors=SELECTORS)
    router._cluster = cluster
    migration = Migration(PLAN, store, router)
    held = store.read_lease()
    me = {"user": "alice", "host": "ops", "pid": 1}
    begun = migration.begin(None, me, held["token"] if held else None)  # type: ignore[arg-type]
    if begun["token"] is not None:
        allowed = [0, 100]
        token = begun["token"]
        change_weight(router, service, 100, allowed=allowed, min_ready=2, store=store, token=token)  # type: ignore[arg-type]
        migration.close(token, "finished")
    return store


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("number", range(1, REQUESTS + 1))
def test_it_is_ended_by_the_next_run(shop: Any, monkeypatch: pytest.MonkeyPatch, number: int, when: str) -> None:
    with pytest.raises(KilledError):
        run(Mortal(shop, number, when))
    assert shop.get(SERVICE)["spec"]["selector"] in SELECTORS.values()
    # Of a run on the same machine that is known at once.
    monkeypatch.setattr(stores._process, "is_gone", lambda _holder, _here: True)
    had_ended = "finished" in str(shop.get("/api/v1/namespaces/shop/configmaps").get("items"))
    store = run(Mortal(shop, 10_000, ""))
    assert shop.get(SERVICE)["spec"]["selector"] == SELECTORS["green"]
    kinds = [event["kind"] for event in store.read_journal()["migrations"][-1]["events"]]
    assert (kinds[0], kinds[-1], kinds.count("finished")) == ("began", "finished", 1)
    # Where nothing was left to do but that, the lease ends by itself.
    assert store.read_lease() is None or had_ended
    assert "lock.json" not in shop.get("/api/v1/namespaces/shop/configmaps/bluegreen-shop")["data"]


def test_a_run_has_no_more_requests(shop: Any) -> None:
    pool = Mortal(shop, 10_000, "")
    run(pool)
    assert len(pool.sent) == REQUESTS, pool.sent
