# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When a queue is empty, and for how long it has to be."""

from __future__ import annotations

import pytest
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.queues import ZEROS, Depth, advance, describe

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
        zeros = advance(zeros, None, {"jobs": depth})
    assert zeros == ZEROS - 1


def test_all_queues_are_empty_at_the_same_time_or_none_is() -> None:
    assert advance(2, None, {"jobs": EMPTY, "mails": Depth(1, 0)}) == 0
    assert advance(2, None, {"jobs": EMPTY, "mails": EMPTY}) == 3


def test_what_is_added_between_two_looks_begins_anew() -> None:
    before = {"jobs": Depth(0, 0, added=7)}
    assert advance(2, before, {"jobs": Depth(0, 0, added=8)}) == 1
    assert advance(2, before, {"jobs": Depth(0, 0, added=7)}) == 3
    # A server that does not count says nothing.
    assert advance(2, {"jobs": EMPTY}, {"jobs": Depth(0, 0, added=8)}) == 3
    assert advance(2, {}, {"jobs": Depth(0, 0, added=8)}) == 3


def test_a_queue_is_described_for_whoever_waits() -> None:
    now = {"jobs": Depth(3, None), "a\n'b": Depth(0, 2, added=9, unknown="nobody answers")}
    before = {"a\n'b": Depth(0, 2, added=5)}
    assert (
        describe(now, before)
        == "'jobs': 3 waiting; \"a\\n'b\": 0 waiting, 2 in flight, 4 added meanwhile, nobody answers"
    )
