# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may act on a service now."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import FencedError, LeaseHeldError
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.lease import (
    Clock,
    acquire,
    check,
    found,
    is_lease,
    kept,
    renew,
)

NOW = 1_785_412_870.0
ALICE = {"user": "alice", "host": "ops1", "pid": 4242}
BOB = {"user": "bob", "host": "ops2", "pid": 7}


def take(current: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    given: dict[str, Any] = {
        "owner": ALICE,
        "kind": "cutover",
        "reason": "release 7",
        "now": NOW,
        "ttl": 120,
        "last_token": 0,
        **changes,
    }
    return acquire("shop", current, **given)


def test_a_new_lease_says_who_why_and_how_long() -> None:
    lease = take()
    assert lease == {
        "owner": ALICE,
        "kind": "cutover",
        "reason": "release 7",
        "since": NOW,
        "expires": NOW + 120,
        "ttl": 120,
        "token": int(NOW),
    }
    assert is_lease(lease)


def test_a_held_lease_is_refused_with_owner_reason_and_age() -> None:
    with pytest.raises(LeaseHeldError) as caught:
        take(take(), owner=BOB, now=NOW + 35)
    assert caught.value.message == (
        "shop is being migrated by alice@ops1 (pid 4242) since 12:01:10 UTC, 35 s ago, because 'release 7'; "
        "its lease ends in 85 s unless renewed. "
        "Wait, run again with -e cutover_lease_wait=120, or go back with rollback.yml"
    )
    assert caught.value.evidence["lease"]["owner"] == ALICE


@pytest.mark.parametrize(
    ("held", "wanted", "free"),
    [
        ("cutover", "cutover", False),
        ("cutover", "rollback", True),
        ("rollback", "cutover", False),
        ("rollback", "rollback", False),
        ("cutover", "guard", True),
        ("rollback", "guard", True),
        ("guard", "guard", True),
        ("guard", "rollback", True),
        ("guard", "cutover", False),
    ],
)
def test_a_rollback_outranks_a_cutover_and_a_guard_both(held: str, wanted: str, free: bool) -> None:
    current = take(kind=held)
    if free:
        assert take(current, kind=wanted, last_token=current["token"])["token"] > current["token"]
        return
    with pytest.raises(LeaseHeldError, match={"rollback": "rolled back", "guard": "taken back"}.get(held, "migrated")):
        take(current, kind=wanted, now=NOW + 1)


@pytest.mark.parametrize("kind", ["cutover", "rollback"])
def test_an_expired_or_dead_holder_is_replaced(kind: str) -> None:
    current = take(kind=kind)
    assert take(current, owner=BOB, now=NOW + 120)["owner"] == BOB
    assert take(current, owner=BOB, now=NOW + 1, holder_dead=True)["owner"] == BOB


def test_tokens_grow_when_the_clock_goes_back_and_when_files_are_lost() -> None:
    first = take()["token"]
    assert take(last_token=first, now=NOW - 1000)["token"] == first + 1
    assert take(last_token=0, now=NOW + 1)["token"] > first


def test_renewing_never_shortens() -> None:
    lease = take()
    assert renew(lease, NOW + 10)["expires"] == NOW + 130
    assert renew(lease, NOW - 10)["expires"] == NOW + 120


def test_what_was_kept_by_another_version_is_a_lease_as_well() -> None:
    clock = Clock("boot", NOW - 1000)
    assert found(take(), clock) == found(kept(take(), clock), clock) == take()
    # To keep a clock right is not to set it.
    assert found(kept(take(), clock), Clock("boot", NOW - 1000.4)) == take()


def test_the_holder_may_write_and_nobody_else() -> None:
    lease = take(last_token=9, now=5)
    assert lease["token"] == 10
    check("shop", lease, 10, 10, 6)
    check("shop", None, 10, 10, 6)
    check("shop", None, 10, 11, 6)
    with pytest.raises(FencedError, match=r"token 10\) has been overtaken by a newer one \(token 11"):
        check("shop", lease, 11, 10, 6)
    with pytest.raises(FencedError, match=r"does not hold the lease any more: alice@ops1 \(pid 4242\) does"):
        check("shop", lease, 10, 12, 6)
    with pytest.raises(FencedError, match="ended 2 s ago"):
        check("shop", lease, 10, 10, 127)


@pytest.mark.parametrize("damage", [{"token": "x"}, {"owner": None}, {"kind": 3}, {"expires": None}])
def test_a_lease_that_lacks_something_is_none(damage: dict[str, Any]) -> None:
    assert not is_lease({**take(), **damage})


def test_a_freeze_keeps_others_away_and_gives_way_to_whoever_froze() -> None:
    frozen = take(kind="freeze", reason="stocktaking", ttl=3600)
    with pytest.raises(LeaseHeldError) as caught:
        take(frozen, owner=BOB, now=NOW + 60)
    assert caught.value.message == (
        "shop is frozen by alice@ops1 (pid 4242) since 12:01:10 UTC, because 'stocktaking', for 3540 s more. "
        "Wait, end that with thaw.yml, or go back with rollback.yml"
    )
    # Her next process is another one, and that which froze has ended long ago.
    again = {**ALICE, "pid": 1}
    assert take(frozen, owner=again, now=NOW + 60)["kind"] == "cutover"
    assert take(frozen, owner=again, kind="freeze", now=NOW + 60)["expires"] == NOW + 180
    assert take(frozen, owner=BOB, now=NOW + 3600)["owner"] == BOB


def test_a_freeze_outlives_the_process_that_began_it() -> None:
    frozen = take(kind="freeze")
    with pytest.raises(LeaseHeldError):
        take(frozen, owner=BOB, holder_dead=True)
    for kind in ("rollback", "guard"):
        assert take(frozen, owner=BOB, kind=kind)["kind"] == kind
    # Who acts is not frozen meanwhile, not by herself either.
    with pytest.raises(LeaseHeldError):
        take(take(), kind="freeze")


def test_an_owner_that_is_not_known_is_nobody() -> None:
    with pytest.raises(LeaseHeldError):
        take(take(kind="freeze", owner={}), owner={})
