# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Taking and giving back a slot, by a Lease in a cluster (R-B5)."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import ClusterError, SlotError
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.slots import make_slots
from ansible_collections.bluegreen.cutover.plugins.module_utils._slots import Environment
from cluster.inprocess import Answer

LEASE = "/apis/coordination.k8s.io/v1/namespaces/shop/leases/bluegreen-slot-staging"
SLOTS = make_slots([{"from": "09:00", "to": "12:00"}], "Europe/Berlin")
NEXTSTEP, OTHER = ({"application": name, "user": "alice", "host": "ops", "pid": 1} for name in ("nextstep", "other"))


class Clock:
    def __init__(self, text: str) -> None:
        self.now = datetime.datetime.fromisoformat(text).timestamp()

    def time(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(empty: Any) -> Clock:
    made = Clock("2026-01-15T10:00+01:00")
    empty.cluster.clock = made
    return made


@pytest.fixture
def staging(empty: Any, clock: Clock) -> Environment:
    assert clock
    return Environment(empty.cluster, "shop", "staging")


def take(staging: Environment, owner: Any = NEXTSTEP, **more: Any) -> dict[str, Any]:
    return staging.take(SLOTS, "Europe/Berlin", owner, "release 7", **more)


def test_it_is_held_until_the_end_of_the_slot(empty: Any, staging: Environment, clock: Clock) -> None:
    done = take(staging)
    assert (done["changed"], done["slot"]) == (True, "09:00 to 12:00 daily")
    assert done["until"] == "Thu 2026-01-15 12:00 Europe/Berlin (UTC+0100)"
    assert done["lease"]["expires"] == clock.now + 7200
    assert empty.get(LEASE)["spec"]["holderIdentity"] == "alice@ops (pid 1)"
    assert not take(staging)["changed"]


def test_another_is_refused_until_it_is_given_back(staging: Environment) -> None:
    take(staging)
    with pytest.raises(SlotError, match="used by nextstep until Thu .* 12:00 .*'release 7'"):
        take(staging, OTHER)
    with pytest.raises(SlotError, match="used by nextstep, not by other"):
        staging.give_back("other")
    assert staging.give_back("nextstep")["changed"]
    assert not staging.give_back("nextstep")["changed"]
    second = take(staging, OTHER)
    assert second["changed"]
    assert second["lease"]["token"] > int(datetime.datetime(2026, 1, 15, 9, tzinfo=datetime.UTC).timestamp())


def test_what_was_taken_for_something_else_is_not_given_back(empty: Any, staging: Environment) -> None:
    """A migration that ends leaves the slot to the promotion, or the other service, that has taken it."""
    held = take(staging)["lease"]
    assert staging.give_back("nextstep", "shop moves") == {"changed": False, "lease": held}
    assert empty.get(LEASE)["spec"]["holderIdentity"] == "alice@ops (pid 1)"
    assert staging.give_back("nextstep", "release 7") == {"changed": True, "lease": None}


def test_a_slot_that_has_ended_is_free_without_anybody_giving_it_back(staging: Environment, clock: Clock) -> None:
    take(staging)
    clock.now += 7200
    with pytest.raises(SlotError, match="it is Thu 2026-01-15 12:00 .* next time for other is Fri 2026-01-16 09:00"):
        take(staging, OTHER)
    assert not staging.give_back("nextstep")["changed"]
    clock.now += 21 * 3600
    assert take(staging, OTHER)["changed"]


def test_check_mode_takes_nothing(empty: Any, staging: Environment) -> None:
    assert take(staging, check_mode=True)["changed"]
    assert empty.get("/apis/coordination.k8s.io/v1/namespaces/shop/leases")["items"] == []
    take(staging)
    assert staging.give_back("nextstep", check_mode=True)["changed"]
    assert not take(staging)["changed"]


def test_r_b4_the_first_that_comes_makes_the_namespace_where_it_may(empty: Any, clock: Clock) -> None:
    assert clock
    new = Environment(empty.cluster, "new", "staging")
    assert take(new, labels={"team": "web"}, check_mode=True)["changed"]
    with pytest.raises(ClusterError, match='namespaces "new" not found'):
        take(new)
    assert take(new, labels={"team": "web"})["changed"]
    assert empty.get("/api/v1/namespaces/new")["metadata"]["labels"]["team"] == "web"
    assert not take(new, labels={})["changed"]


def test_of_two_at_once_one_is_refused(empty: Any, staging: Environment) -> None:
    first = []

    def meanwhile(method: str, _path: str) -> None:
        if method == "POST" and not first:
            first.append(1)
            take(staging, OTHER)

    empty.pool.fault = meanwhile
    with pytest.raises(SlotError, match="used by other"):
        take(staging)


def test_it_does_not_go_on_for_ever(empty: Any, staging: Environment) -> None:
    empty.pool.fault = lambda method, _path: Answer(409, b"{}") if method in ("POST", "PUT") else None
    with pytest.raises(ClusterError, match="written by others"):
        take(staging)
    empty.pool.fault = lambda _method, _path: None
    take(staging)
    empty.pool.fault = lambda method, _path: Answer(409, b"{}") if method in ("POST", "PUT") else None
    with pytest.raises(ClusterError, match="written by others"):
        staging.give_back("nextstep")


def test_a_lease_that_nobody_can_read_is_told(empty: Any, staging: Environment) -> None:
    take(staging)
    empty.patch(LEASE, {"metadata": {"annotations": {"bluegreen.cutover/lease": "?"}}})
    with pytest.raises(SlotError, match="nobody knows who uses staging"):
        take(staging)
