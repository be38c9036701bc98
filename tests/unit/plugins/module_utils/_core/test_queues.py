# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When a queue is empty, and for how long it has to be."""

from __future__ import annotations

import pytest
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.queues import (
    ZEROS,
    Depth,
    advance,
    are_quiet,
    describe,
    moved,
)

EMPTY = Depth(0, 0)


@pytest.mark.parametrize(
    ("depth", "empty"),
    [
        (EMPTY, True),
        (Depth(0, None), True),
        (Depth(1, 0), False),
        (Depth(0, 1), False),
        (Depth(1, None), False),
        (Depth(0, 0, unknown="its node is down"), False),
    ],
)
def test_what_waits_or_is_in_flight_or_is_not_known_is_not_empty(depth: Depth, empty: bool) -> None:
    assert depth.is_empty is empty


def test_zeros_have_to_follow_one_another() -> None:
    zeros = 0
    for depth in (EMPTY, EMPTY, Depth(0, 1), EMPTY, EMPTY):
        zeros = advance(zeros, {}, {"jobs": depth})
    assert zeros == ZEROS - 1


def test_all_queues_are_empty_at_the_same_time_or_none_is() -> None:
    assert advance(2, {}, {"jobs": EMPTY, "mails": Depth(1, 0)}) == 0
    assert advance(2, {}, {"jobs": EMPTY, "mails": EMPTY}) == 3


@pytest.mark.parametrize(
    ("before", "now", "is_told"),
    [
        ({"jobs": Depth(0, 0, moves=7)}, Depth(0, 0, moves=8), True),
        # A server that was started anew counts from the beginning.
        ({"jobs": Depth(0, 0, moves=7)}, Depth(0, 0, moves=0), True),
        ({"jobs": Depth(0, 0, moves=7)}, Depth(0, 0, moves=7), False),
        ({"jobs": EMPTY}, Depth(0, 0, touched=True), True),
        ({}, Depth(0, 0, touched=True), True),
        # What came before it counted is not known.
        ({"jobs": EMPTY}, Depth(0, 0, moves=8), True),
        ({}, Depth(0, 0, moves=8), False),
    ],
)
def test_what_comes_and_goes_between_two_looks_begins_anew(before: dict[str, Depth], now: Depth, is_told: bool) -> None:
    seen = {"jobs": now, "mails": EMPTY}
    assert moved(before, seen) == ({"jobs"} if is_told else set())
    assert advance(2, before, seen) == (1 if is_told else 3)


def test_what_is_told_late_has_to_be_quiet_for_longer() -> None:
    now = {"jobs": EMPTY, "mails": Depth(0, 0, moves=7, late=11)}
    assert not are_quiet(now, {"jobs": 60, "mails": 10.9})
    assert are_quiet(now, {"jobs": 0, "mails": 11})


def test_a_queue_is_described_for_whoever_waits() -> None:
    now = {
        "jobs": Depth(3, None),
        "mails": Depth(0, 0, moves=9, late=11),
        "a\n'b": Depth(0, 2, unwatched="it does not count", unknown="nobody answers"),
    }
    said = "'mails': 0 waiting, 0 in flight, quiet for 4 s of 11; \"a\\n'b\": 0 waiting, 2 in flight, "
    assert describe(now, {"jobs": 12.4, "mails": 4, "a\n'b": 0}) == (
        f"'jobs': 3 waiting, quiet for 12 s; {said}its producers are not watched (it does not count), nobody answers"
    )
