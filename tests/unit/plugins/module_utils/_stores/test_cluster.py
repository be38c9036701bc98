# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The same documents in a cluster: compared and swapped, written only by who may, whole after anything."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import urllib3
from ansible_collections.bluegreen.cutover.plugins.module_utils._core import journal
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import (
    ClusterError,
    FencedError,
    InputError,
    StoreError,
)
from ansible_collections.bluegreen.cutover.plugins.module_utils._kubernetes import Cluster
from ansible_collections.bluegreen.cutover.plugins.module_utils._stores import cluster
from ansible_collections.bluegreen.cutover.plugins.module_utils._stores.cluster import ClusterStore
from ansible_collections.bluegreen.cutover.plugins.module_utils._stores.files import DamagedError, LockedError
from cluster.inprocess import Answer

CONFIG = "/api/v1/namespaces/shop/configmaps/bluegreen-shop"
LEASE = "/apis/coordination.k8s.io/v1/namespaces/shop/leases/bluegreen-shop"
HELD = {
    "owner": {"user": "alice", "host": "ops", "pid": 7},
    "kind": "cutover",
    "reason": "r",
    "since": 1.0,
    "expires": 101.0,
    "ttl": 60,
    "token": 5,
}
BEGAN = {"from": "blue", "to": "green", "subject": {}, "owner": {}, "reason": "r", "weight": 0}


class Clock:
    """Time that passes only while somebody sleeps, and what happens then."""

    def __init__(self) -> None:
        self.now = 50.0
        self.then: list[Callable[[], Any]] = []

    def time(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        if self.then:
            self.then.pop(0)()


@pytest.fixture
def clock(empty: Any) -> Clock:
    made = Clock()
    empty.cluster.clock = made
    return made


@pytest.fixture
def store(empty: Any, clock: Clock) -> ClusterStore:
    assert clock
    return ClusterStore(empty.cluster, "shop", "shop")


@pytest.fixture
def other(empty: Any, clock: Clock) -> ClusterStore:
    """Another run's view of the same service."""
    return ClusterStore(Cluster(empty.pool.connection, patience=0.2, clock=clock), "shop", "shop")


def data(empty: Any) -> dict[str, str]:
    return dict(empty.get(CONFIG)["data"])


def test_reading_makes_nothing(empty: Any, store: ClusterStore) -> None:
    assert store.read_journal() == journal.empty("shop")
    assert (store.read_lease(), store.read_guard(), store.read_fence()) == (None, None, 0)
    assert {method for method, _path in empty.pool.sent} == {"GET"}
    assert empty.get("/api/v1/namespaces/shop/configmaps")["items"] == []


def test_a_service_is_a_name(empty: Any) -> None:
    with pytest.raises(InputError):
        ClusterStore(empty.cluster, "shop", "../x")


def test_a_record_is_appended_and_renews_the_lease(empty: Any, store: ClusterStore) -> None:
    with store.locked():
        store.write_lease(HELD)
        store.record(5, 50, "began", **BEGAN)
    assert store.read_lease() == {**HELD, "expires": 110}
    assert store.read_fence() == 5
    assert store.read_journal()["migrations"][0]["events"][0] == {"kind": "began", "at": 50, "token": 5, **BEGAN}
    assert sorted(data(empty)) == ["fence.json", "journal.json"]
    spec = empty.get(LEASE)["spec"]
    assert (spec["holderIdentity"], spec["leaseDurationSeconds"], spec["leaseTransitions"]) == (
        "alice@ops (pid 7)",
        60,
        2,
    )
    assert spec["renewTime"] == "1970-01-01T00:00:50.000000Z"


def test_a_released_lease_leaves_its_token(empty: Any, store: ClusterStore) -> None:
    store.write_lease(HELD)
    store.write_lease(None)
    assert store.read_lease() is None
    found = empty.get(LEASE)
    assert found["metadata"]["annotations"] == {"bluegreen.cutover/token": "5"}
    assert "holderIdentity" not in found["spec"]


def test_what_is_replaced_by_nothing_goes(empty: Any, store: ClusterStore) -> None:
    store.write_gate({"asked": 1})
    assert store.read_gate() == {"asked": 1}
    store.write_gate(None)
    store.write_gate(None)
    assert (store.read_gate(), data(empty)) == (None, {})


def test_pages_for_people_are_beside(store: ClusterStore) -> None:
    assert store.write_page("guide.md", "a", check_mode=True)
    assert store.write_page("guide.md", "a")
    assert not store.write_page("guide.md", "a")


def test_a_lower_token_is_fenced(store: ClusterStore, other: ClusterStore) -> None:
    with store.locked():
        store.fence(7, 0)
    with other.locked(), pytest.raises(FencedError, match="overtaken"):
        other.fence(6, 0)


def test_an_expired_lease_fences(store: ClusterStore) -> None:
    store.write_lease(HELD)
    with pytest.raises(FencedError, match="ended 1 s ago"):
        store.record(5, 102, "began", **BEGAN)
    assert store.read_journal() == journal.empty("shop")


def test_inside_the_lock_reading_asks_nobody(empty: Any, store: ClusterStore) -> None:
    store.write_gate({"a": 1})
    with store.locked(), store.locked():
        before = len(empty.pool.sent)
        assert store.read_gate() == {"a": 1}
        store.write_gate({"a": 2})
        assert store.read_gate() == {"a": 2}
        assert [method for method, _path in empty.pool.sent[before:]] == ["PATCH"]


def test_the_lock_is_waited_for_and_its_holder_named(
    store: ClusterStore, other: ClusterStore, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "LOCK_WAIT", 5.0)
    with store.locked():
        began = clock.now
        with pytest.raises(LockedError, match=r"is held by .* \(pid \d+\) since 5 s"), other.locked():
            pass
        assert 5 <= clock.now - began < 6
    with other.locked():
        pass


def test_a_lock_that_is_left_is_had_at_once(store: ClusterStore, other: ClusterStore, clock: Clock) -> None:
    context = store.locked()
    context.__enter__()
    clock.then = [lambda: None, lambda: context.__exit__(None, None, None)]
    with other.locked():
        other.write_gate({"a": 1})
    assert clock.now < 51
    assert store.read_gate() == {"a": 1}


def test_who_stood_still_for_too_long_writes_nothing(
    empty: Any, store: ClusterStore, other: ClusterStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    with store.locked():
        store.write_lease(HELD)
        store.write_gate({"a": "mine"})
        monkeypatch.setattr(cluster, "LOCK_WAIT", 100.0)
        with other.locked():
            other.write_lease({**HELD, "token": 6})
            other.write_gate({"a": "theirs"})
        with pytest.raises(FencedError, match="has lost its lock.*stood still for too long"):
            store.write_gate({"a": "mine again"})
        with pytest.raises(FencedError, match="has written its lease meanwhile"):
            store.write_lease(None)
    assert other.read_gate() == {"a": "theirs"}
    assert (other.read_lease() or {})["token"] == 6
    assert "lock.json" not in data(empty)


def test_what_somebody_writes_beside_us_stays(empty: Any, store: ClusterStore) -> None:
    with store.locked():
        empty.patch(CONFIG, {"metadata": {"labels": {"team": "x"}}, "data": {"note": "hello"}})
        store.write_gate({"a": 1})
        empty.patch(CONFIG, {"data": {"note": "again"}})
    assert data(empty) == {"gate.json": '{"a": 1}', "note": "again"}
    assert empty.get(CONFIG)["metadata"]["labels"]["team"] == "x"


@pytest.mark.parametrize("number", range(1, 9))
def test_an_answer_that_is_lost_changes_nothing_about_what_is_written(
    empty: Any, store: ClusterStore, number: int
) -> None:
    """Each write in turn is done, and its answer lost."""
    real, writes = empty.pool.request, []

    def request(method: str, url: str, **options: Any) -> Answer:
        answer: Answer = real(method, url, **options)
        if method != "GET":
            writes.append(method)
            if len(writes) == number:
                raise urllib3.exceptions.ProtocolError("cut")
        return answer

    empty.pool.request = request
    with store.locked():
        store.write_lease(HELD)
        store.record(5, 50, "began", **BEGAN)
    with store.locked():
        store.write_gate({"a": 1})
    assert len(writes) >= 8
    assert (store.read_lease(), store.read_fence(), store.read_gate()) == ({**HELD, "expires": 110}, 5, {"a": 1})
    assert len(store.read_journal()["migrations"][0]["events"]) == 1
    assert "lock.json" not in data(empty)


def test_a_cluster_that_cannot_write_is_told(empty: Any, store: ClusterStore) -> None:
    with store.locked():
        empty.pool.fault = lambda method, _path: Answer(500, b"{}") if method == "PATCH" else None
        with pytest.raises(StoreError, match="gate.json of .* could not be written"):
            store.write_gate({"a": 1})
        empty.pool.fault = lambda method, _path: Answer(403, b'{"message": "no"}') if method == "PATCH" else None
        with pytest.raises(ClusterError, match="no"):
            store.write_gate({"a": 1})
        empty.pool.fault = lambda _method, _path: None


@pytest.mark.parametrize("there", [False, True])
def test_a_cluster_that_can_only_be_read_is_told_in_time(
    empty: Any, store: ClusterStore, there: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One whose etcd is full answers every GET."""
    if there:
        with store.locked():
            store.write_gate({"a": 1})
    monkeypatch.setattr(cluster, "LOCK_WAIT", 0.02)
    answer = Answer(500, b'{"message": "etcdserver: mvcc: database space exceeded"}')
    empty.pool.fault = lambda method, _path: None if method == "GET" else answer
    with pytest.raises(StoreError, match="could not be locked for 0 s: .*database space exceeded"), store.locked():
        pass


def test_a_lease_that_cannot_be_written_is_told(empty: Any, store: ClusterStore) -> None:
    for code in (500, 403):
        empty.pool.fault = lambda method, path, code=code: (
            Answer(code, b"{}") if path.endswith("/leases") and method == "POST" else None
        )
        with pytest.raises(ClusterError, match=str(code)):
            store.write_lease(HELD)


@pytest.mark.parametrize("done", [False, True])
def test_a_lease_whose_answer_is_lost_is_written_once(empty: Any, store: ClusterStore, done: bool) -> None:
    lost = [Answer(500, b"{}"), Answer(503, b"{}")]
    make = empty.pool.request

    def request(method: str, url: str, **options: Any) -> Answer:
        if "/leases/" not in url or method != "PUT" or not lost:
            return make(method, url, **options)
        if done:
            make(method, url, **options)
        return lost.pop()

    store.write_lease(HELD)
    empty.pool.request = request
    store.write_lease({**HELD, "reason": "another"})
    assert (store.read_lease() or {})["reason"] == "another"
    found = empty.get("/apis/coordination.k8s.io/v1/namespaces/shop/leases/bluegreen-shop")
    assert found["spec"]["leaseTransitions"] == 2


def test_a_cluster_that_is_gone_is_told_before_anything(empty: Any, store: ClusterStore) -> None:
    empty.pool.fault = lambda _method, _path: Answer(403, b'{"message": "configmaps is forbidden"}')
    with pytest.raises(ClusterError, match="configmaps is forbidden"), store.locked():
        pass
    empty.pool.fault = lambda method, _path: Answer(403, b'{"message": "may not create"}') if method == "POST" else None
    with pytest.raises(ClusterError, match="may not create"), store.locked():
        pass


def test_the_oldest_migrations_go_when_the_journal_is_full(
    store: ClusterStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "LIMIT", 400)
    migrations = [{"id": str(number), "events": [], "text": "ü" * 40} for number in range(9)]
    store.write_journal({**journal.empty("shop"), "migrations": migrations})
    kept = [one["id"] for one in store.read_journal()["migrations"]]
    assert kept == [str(number) for number in range(9)][-len(kept) :]
    assert 1 < len(kept) < 9
    monkeypatch.setattr(cluster, "LIMIT", 1)
    store.write_journal({**journal.empty("shop"), "migrations": migrations})
    assert [one["id"] for one in store.read_journal()["migrations"]] == ["8"]


@pytest.mark.parametrize(("name", "text"), [("journal.json", "{"), ("journal.json", "[]"), ("fence.json", "{}x")])
def test_what_is_damaged_is_named_and_can_be_set_aside(empty: Any, store: ClusterStore, name: str, text: str) -> None:
    for number in ("", "-2"):
        store.write_page(name, text)
        read: Any = store.read_journal if name == "journal.json" else store.read_fence
        with pytest.raises(DamagedError, match=f"configmaps/bluegreen-shop/{name}") as caught:
            read()
        with store.locked():
            assert store.set_aside(caught.value.path).name == f"{name}.damaged{number}"
        assert data(empty)[f"{name}.damaged{number}"] == text
        assert not read() or read() == journal.empty("shop")


@pytest.mark.parametrize("text", ["{", "[]", json.dumps({"token": 5})])
def test_a_lease_that_is_none_is_named_and_can_be_set_aside(empty: Any, store: ClusterStore, text: str) -> None:
    store.write_lease(HELD)
    empty.patch(LEASE, {"metadata": {"annotations": {"bluegreen.cutover/lease": text}}})
    with pytest.raises(DamagedError, match="is not a lease") as caught:
        store.read_lease()
    with store.locked():
        assert store.set_aside(caught.value.path) == Path(LEASE)
    assert store.read_lease() is None


def test_what_json_does_not_have_is_not_written(store: ClusterStore) -> None:
    with pytest.raises(StoreError, match="not JSON"):
        store.write_gate({"weight": float("nan")})


def test_a_lock_that_nobody_of_ours_has_written_is_none(empty: Any, store: ClusterStore, clock: Clock) -> None:
    store.write_gate({"a": 1})
    empty.patch(CONFIG, {"data": {"lock.json": "?"}})
    began = clock.now
    with store.locked():
        assert clock.now == began


def test_the_lock_of_a_process_that_is_gone_is_taken_at_once(
    store: ClusterStore, other: ClusterStore, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    with store.locked():
        began = clock.now
        monkeypatch.setattr(cluster._process, "is_gone", lambda holder, here: holder["pid"] == here["pid"])
        with other.locked():
            assert clock.now == began


def test_the_lock_of_another_machine_is_believed_while_its_holder_writes(
    store: ClusterStore, other: ClusterStore, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(other, "lock_life", 2.0)
    with store.locked():
        began = clock.now
        clock.then = [lambda: store.write_gate({"n": clock.now}) if clock.now < began + 3 else None] * 100
        with other.locked():
            assert 4.5 < clock.now - began < 5.5


def test_time_is_the_servers(empty: Any, clock: Clock) -> None:
    clock.now = 1_000_000.0
    real = empty.pool.request

    def request(*given: Any, **options: Any) -> Answer:
        answer: Answer = real(*given, **options)
        answer.headers = {"Date": "Mon, 12 Jan 1970 13:56:40 GMT"}  # 1,000,600
        return answer

    empty.pool.request = request
    assert empty.cluster.time() == 1_000_600.5
    clock.now += 7
    assert empty.cluster.time() == 1_000_607.5
