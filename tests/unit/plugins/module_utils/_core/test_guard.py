# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The states of a guard, and when it is due."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.bluegreen.cutover.plugins.module_utils._core import guard
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import FencedError
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.guard import Cause, Moment

NOW = Moment(boottime=100.0, boot_id="one", wall=1_785_412_870.0)
TRIGGER = {"name": "errors", "kind": "query", "query": "q", "max": 0.05, "for": 10.0}
PLAN: dict[str, Any] = {
    "service": "shop",
    "from": "blue",
    "router": {"provider": "haproxy"},
    "colours": {colour: {"unit": f"{colour}.service", "instances": []} for colour in ("blue", "green")},
    "health": {"ready": "/ready"},
    "min_ready": 2,
    "lease": {"ttl": 120},
    "guard": {"time": 30, "triggers": [], "prometheus": {}},
}
WITH_TRIGGER = {**PLAN, "guard": {**PLAN["guard"], "triggers": [TRIGGER], "prometheus": {"url": "http://p"}}}
TIME = Cause("time", "nobody renewed it for 30 s", 0.0)


def later(seconds: float, now: Moment = NOW) -> Moment:
    return replace(now, boottime=now.boottime + seconds, wall=now.wall + seconds)


def test_it_has_its_time_and_then_is_due() -> None:
    armed = guard.arm(None, PLAN, 7, NOW)
    assert guard.is_guard(armed)
    assert (armed["state"], armed["deadline"], armed["deadline_at"], guard.goal(armed)) == (
        "armed",
        130.0,
        NOW.wall + 30,
        0,
    )
    assert guard.due(armed, later(29.999)) is None
    assert guard.left(armed, later(10)) == 20
    assert guard.due(armed, later(30.25)) == Cause("time", "nobody renewed it for 30 s", 0.25)
    assert guard.left(armed, later(40)) == 0
    assert guard.due(None, NOW) is None


def test_a_clock_that_is_set_neither_hurries_nor_delays_it() -> None:
    armed = guard.arm(None, PLAN, 7, NOW)
    assert guard.due(armed, replace(later(1), wall=NOW.wall + 1e6)) is None
    assert guard.due(armed, replace(later(31), wall=NOW.wall - 1e6)) is not None


def test_a_boot_makes_an_armed_one_due_and_no_other() -> None:
    boot = replace(later(-99), boot_id="two")
    armed = guard.arm(None, WITH_TRIGGER, 7, NOW)
    cause = guard.due(armed, boot)
    assert cause is not None
    assert cause.kind == "reboot"
    assert guard.left(armed, boot) == 0
    watching = guard.confirm(armed, 7)
    assert guard.due(watching, boot) is None


def test_renewing_gives_it_its_time_again_and_tells_the_process() -> None:
    first = guard.arm(None, PLAN, 7, NOW)
    again = guard.arm(first, PLAN, 7, later(20))
    assert (again["deadline"], again["generation"]) == (150.0, first["generation"] + 1)


def test_confirmed_only_the_triggers_are_left() -> None:
    assert guard.confirm(guard.arm(None, PLAN, 7, NOW), 7) is None
    assert guard.confirm(None, 7) is None
    watching = guard.confirm(guard.arm(None, WITH_TRIGGER, 7, NOW), 7)
    assert watching is not None
    assert guard.is_guard(watching)
    assert (watching["state"], guard.left(watching, later(1e6)), guard.due(watching, later(1e6))) == (
        "watching",
        None,
        None,
    )
    assert guard.confirm(watching, 7) == watching
    assert guard.arm(watching, WITH_TRIGGER, 7, NOW)["state"] == "armed"


def test_an_older_run_is_refused_and_a_newer_one_is_not() -> None:
    armed = guard.arm(None, PLAN, 7, NOW)
    for act in (
        lambda: guard.arm(armed, PLAN, 6, NOW),
        lambda: guard.confirm(armed, 6),
        lambda: guard.disarm(armed, 6),
    ):
        with pytest.raises(FencedError, match=r"belongs to a newer run \(token 7\) than this one \(token 6\)"):
            act()
    assert guard.arm(armed, PLAN, 8, NOW)["token"] == 8


def test_one_that_fires_is_nobodys_to_confirm() -> None:
    firing = guard.fire(guard.arm(None, PLAN, 7, NOW), 9, TIME)
    assert guard.is_guard(firing)
    assert guard.due(firing, NOW) == TIME
    for act in (
        lambda: guard.arm(firing, PLAN, 9, NOW),
        lambda: guard.confirm(firing, 10),
        lambda: guard.disarm(firing, 7),
    ):
        with pytest.raises(
            FencedError, match=r"is taking the traffic back to blue, because nobody renewed it for 30 s"
        ):
            act()
    assert not guard.is_settled(firing, 9, 0)


def test_a_confirmation_and_a_firing_end_one_way_or_the_other() -> None:
    """Every order of what a run and the guard may do around the deadline, each under the lock."""
    for order in set(itertools.permutations(["confirm", "fire", "fire", "confirm"])):
        state: dict[str, Any] | None = guard.arm(None, PLAN, 7, NOW)
        outcomes = []
        for act in order:
            if act == "fire" and guard.due(state, later(31)) is not None and state is not None:
                state = guard.fire(state, 9, TIME)
                outcomes.append("fired")
            elif act == "confirm":
                try:
                    state = guard.confirm(state, 7)
                    outcomes.append("confirmed")
                except FencedError:
                    outcomes.append("fenced")
        assert (set(outcomes) == {"confirmed"}) != ("fired" in outcomes), (order, outcomes)
        assert ("fired" in outcomes) == (order[0] == "fire")
        assert "confirmed" not in outcomes or "fenced" not in outcomes


def test_a_resumed_cutover_takes_it_over_with_the_time_it_needs() -> None:
    adopted = guard.adopt(guard.arm(None, PLAN, 7, NOW), 8, 120, later(29))
    assert (adopted["token"], adopted["state"], adopted["deadline"]) == (8, "armed", 249.0)
    watching = guard.confirm(guard.arm(None, WITH_TRIGGER, 7, NOW), 7)
    assert watching is not None
    assert (guard.adopt(watching, 8, 120, NOW)["state"], guard.adopt(watching, 8, 120, NOW)["token"]) == ("watching", 8)


def test_a_rollback_makes_it_stand_back_without_triggers() -> None:
    firing = guard.fire(guard.arm(None, WITH_TRIGGER, 7, NOW), 9, TIME)
    back = guard.stand_back(firing, 10, later(5))
    assert (back["state"], back["token"], back["deadline"], back["triggers"]) == ("armed", 10, 135.0, [])
    short = {**PLAN, "guard": {**PLAN["guard"], "time": 3}}
    assert guard.stand_back(guard.arm(None, short, 7, NOW), 8, NOW)["deadline"] == 100 + guard.ROLLBACK_TIME


def test_who_has_done_its_work_needs_it_no_more() -> None:
    armed = guard.arm(None, PLAN, 7, NOW)
    assert guard.is_settled(armed, 7, 0)
    assert not guard.is_settled(armed, 7, 50)
    assert not guard.is_settled(armed, 6, 0)
    assert not guard.is_settled(None, 7, 0)
    assert guard.is_settled(guard.arm(None, {**PLAN, "from": "green"}, 7, NOW), 7, 100)


@pytest.mark.parametrize(
    "damage", [{"state": "asleep"}, {"token": "7"}, {"deadline": None}, {"target": None}, {"triggers": None}]
)
def test_a_guard_that_lacks_something_is_none(damage: dict[str, Any]) -> None:
    assert not guard.is_guard({**guard.arm(None, PLAN, 7, NOW), **damage})
