# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The guard's process in a cluster: its clock, what it has seen, and its end (R-B13, R-D6)."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.bluegreen.cutover.plugins.module_utils import _in_pod, _pod_guardian
from ansible_collections.bluegreen.cutover.plugins.module_utils._core import guard, guard_pod
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import ClusterError, StoreError
from ansible_collections.bluegreen.cutover.plugins.module_utils._pod_guardian import FollowedStore
from ansible_collections.bluegreen.cutover.plugins.module_utils._stores.cluster import ClusterStore
from cluster.inprocess import Answer

WALL = 1_800_000_000.0
SELECTORS = {colour: {"app": "web", "version": colour} for colour in ("blue", "green")}
PLAN: dict[str, Any] = {
    "service": "shop",
    "from": "blue",
    "router": {"provider": "k8s_service", "namespace": "shop", "name": "web", "selectors": SELECTORS},
    "colours": {colour: {"instances": []} for colour in SELECTORS},
    "health": {"ready": "/"},
    "min_ready": None,
    "lease": {"ttl": 60},
    "guard": {"time": 10, "triggers": [], "prometheus": {}},
}
CONFIG = "/api/v1/namespaces/shop/configmaps/bluegreen-shop"


@pytest.fixture
def now(empty: Any, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The API server's time as ``wall``, this machine's as ``boottime``."""
    told = SimpleNamespace(wall=WALL, boottime=50.0)
    empty.cluster.time = lambda: told.wall
    monkeypatch.setattr(time, "clock_gettime", lambda _clock: told.boottime)
    return told


@pytest.fixture
def run(empty: Any) -> ClusterStore:
    return ClusterStore(empty.cluster, "shop", "shop")


@pytest.fixture
def followed(empty: Any) -> FollowedStore:
    return FollowedStore(empty.cluster, "shop", "shop")


def arm(store: ClusterStore) -> None:
    store.write_guard(guard.arm(store.read_guard(), PLAN, 5, store.moment()))


def left(store: FollowedStore) -> float | None:
    document = store.read_guard()
    assert document is not None
    return guard.left(document, store.now())


def test_its_time_begins_when_it_is_seen(now: Any, run: ClusterStore, followed: FollowedStore) -> None:
    assert followed.read_guard() is None
    # Whatever the clock of the run says: nobody has to agree on the time.
    now.wall += 3600
    arm(run)
    now.wall -= 3600
    now.boottime += 2
    assert left(followed) == 10
    now.boottime += 4
    assert left(followed) == 6
    arm(run)
    assert left(followed) == 10
    # Let go, and armed again: the same generation as the first time.
    run.write_guard(None)
    now.wall += 1
    arm(run)
    now.boottime += 1
    assert left(followed) == 10
    run.write_guard(guard.fire(run.read_guard() or {}, 6, guard.Cause("time", "nobody renewed it")))
    document = followed.read_guard()
    assert (guard.due(document, followed.now()) or guard.Cause("", "")).kind == "time"


def test_one_that_is_started_anew_goes_by_the_servers_time(
    now: Any, run: ClusterStore, followed: FollowedStore
) -> None:
    arm(run)
    now.wall += 7
    assert left(followed) == 3
    # What comes while it is there is by its own clock.
    arm(run)
    now.wall += 60
    assert left(followed) == 10


@pytest.mark.parametrize(("ahead", "wanted"), [(60, 0), (-60, 10)])
def test_another_servers_time_makes_it_neither_later_nor_negative(
    now: Any, run: ClusterStore, followed: FollowedStore, ahead: float, wanted: float
) -> None:
    arm(run)
    now.wall += ahead
    assert left(followed) == wanted


def test_what_is_glanced_at_is_what_was_told_last(now: Any, run: ClusterStore, followed: FollowedStore) -> None:
    with pytest.raises(StoreError, match="has not told yet"):
        followed.glance()
    followed._note({"config": []})
    assert followed.glance() is None
    arm(run)
    assert followed.glance() is None
    followed._note({"config": [run.cluster.call("GET", CONFIG)]})
    asked = run.cluster.requests
    assert (followed.glance() or {})["generation"] == 1
    assert run.cluster.requests == asked
    assert now.wall == WALL


@pytest.fixture
def ends(empty: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The process with nothing to wait for."""
    monkeypatch.setattr(
        _in_pod, "connect", lambda account, _environment: empty.cluster if account == Path("/a") else None
    )
    monkeypatch.setattr(signal, "signal", lambda _number, _handler: None)
    monkeypatch.setattr(_pod_guardian, "IDLE", 0.0)
    monkeypatch.setattr(_pod_guardian, "TICK", 0.001)
    monkeypatch.setattr(_pod_guardian, "BEAT", 0.001)
    return empty


def test_it_ends_where_there_is_nothing_to_guard(ends: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[Any] = [RuntimeError("a mistake"), None]

    def look(_self: Any) -> None:
        found = looks.pop(0)
        if found is not None:
            raise found

    told: list[str] = []
    monkeypatch.setattr(_pod_guardian, "tell", told.append)
    monkeypatch.setattr(_pod_guardian.Guardian, "look", look)
    assert _pod_guardian.main(["run", "shop", "shop", "/a", "v1"]) == 0
    assert told == ["RuntimeError: a mistake"]
    assert ends.cluster.requests >= 0
    # A pod that is evicted and ends well would complete the Job.
    with pytest.raises(SystemExit, match="143"):
        _pod_guardian._end(15, None)


def test_it_tells_beside_its_work_and_again_where_nobody_heard(
    empty: Any, run: ClusterStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(_pod_guardian, "tell", said.append)
    monkeypatch.setattr(_pod_guardian, "TICK", 0.001)
    leases = "/apis/coordination.k8s.io/v1/namespaces/shop/leases"
    empty.setter.make(leases, {"metadata": {"name": guard_pod.name_of("shop")}})
    refusals = [Answer(403, b'{"message": "not now"}')]
    empty.pool.fault = lambda method, _path: refusals.pop() if refusals and method == "PATCH" else None
    pulse = _pod_guardian.Pulse(empty.cluster, "shop", "shop", "v1")
    pulse.show({"token": 5, "generation": 2, "at": 1.0, "problem": "p"})
    deadline = time.monotonic() + 60
    while run.heard() is None:
        assert time.monotonic() < deadline
    heard = run.heard() or {}
    assert (heard["token"], heard["generation"], heard["problem"], heard["version"]) == (5, 2, "p", "v1")
    assert abs(heard["at"] - time.time()) < 60
    assert "not now" in said[0]


def test_a_watch_that_fails_is_begun_again(
    empty: Any, followed: FollowedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    class EndedError(BaseException):
        pass

    said: list[str] = []
    monkeypatch.setattr(_pod_guardian, "tell", said.append)
    fails: list[BaseException] = [ClusterError("gone"), KeyError("object"), EndedError()]

    class Failing:
        def __init__(self, *_given: object) -> None:
            raise fails.pop(0)

    monkeypatch.setattr(_pod_guardian, "Following", Failing)
    monkeypatch.setattr(_pod_guardian, "TICK", 0.0)
    with pytest.raises(EndedError):
        followed._follow()
    with pytest.raises(StoreError, match="KeyError: 'object'"):
        followed.glance()
    assert (empty.pool.sent, said) == ([], ["KeyError: 'object'"])


def test_its_router_asks_the_cluster_of_its_pod(empty: Any) -> None:
    _service, router = _pod_guardian._routed(empty.cluster, guard.target(PLAN))
    assert router.cluster is empty.cluster  # type: ignore[attr-defined]


def test_a_server_that_does_not_even_tell_the_time_silences_it_no_longer_than_that(
    empty: Any, run: ClusterStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_pod_guardian, "tell", lambda _line: None)
    monkeypatch.setattr(_pod_guardian, "TICK", 0.001)
    leases = "/apis/coordination.k8s.io/v1/namespaces/shop/leases"
    empty.setter.make(leases, {"metadata": {"name": guard_pod.name_of("shop")}})
    refusals = [Answer(403, b'{"message": "no time"}')]
    empty.pool.fault = lambda _method, path: refusals.pop() if refusals and path == "/version" else None
    _pod_guardian.Pulse(empty.cluster, "shop", "shop", "v1").show({"token": 5, "generation": 2, "problem": ""})
    deadline = time.monotonic() + 60
    while run.heard() is None:
        assert time.monotonic() < deadline
    assert refusals == []
