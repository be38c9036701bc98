# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is remembered of a hold, and when it ends."""

from __future__ import annotations

from dataclasses import replace

from ansible_collections.bluegreen.cutover.plugins.module_utils._core import freeze
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.guard import Moment

NOW = Moment(boottime=100.0, boot_id="one", wall=1_785_412_870.0)


def hold() -> freeze.Hold:
    return freeze.begin("shop", 5, [{"name": "pgbouncer"}], wait=2, limit=10, now=NOW)


def test_its_time_is_the_wait_and_the_limit() -> None:
    one = hold()
    assert freeze.is_hold(one)
    assert not freeze.is_due(one, replace(NOW, boottime=111.9))
    assert freeze.is_due(one, replace(NOW, boottime=112.0))
    # What comes before anybody is held does not make it longer.
    later = freeze.beginning(one, replace(NOW, boottime=101.5))
    assert freeze.is_due(later, replace(NOW, boottime=112.0))
    assert freeze.held_for(later, replace(NOW, boottime=103.0)) == 1.5


def test_a_host_that_was_started_anew_holds_nobody_any_more() -> None:
    anew = Moment(boottime=3.0, boot_id="two", wall=NOW.wall + 40)
    assert freeze.is_due(hold(), anew)
    assert freeze.held_for(hold(), anew) == 40


def test_who_held_is_told_what_became_of_it() -> None:
    ended = freeze.end(hold(), replace(NOW, boottime=112.3, wall=NOW.wall + 12.3))
    assert ended["ended"] == (
        "the writers of shop were released by themselves at 2026-07-30 12:01:22 UTC, after 12.3 s: the run that held "
        "them had not done it in its time"
    )
    by_hand = freeze.end(hold(), replace(NOW, boottime=103.0, wall=NOW.wall + 3), by_hand=True)
    assert by_hand["ended"] == (
        "the writers of shop were let go by hand (thaw.yml) at 2026-07-30 12:01:13 UTC, after 3.0 s, while a run held "
        "them"
    )


def test_a_file_that_is_none_is_seen() -> None:
    assert not freeze.is_hold({"token": 5})
    assert not freeze.is_hold({**hold(), "writers": None})
