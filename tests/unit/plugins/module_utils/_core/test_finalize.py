# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When an old version may be deprecated and removed, in numbers (R-D9)."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.bluegreen.cutover.plugins.module_utils._core import finalize, journal
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.decide import Reality
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import StoreError

DAY = 86_400.0
DONE = Reality(100, 100, {"green": 2})
PLAN: dict[str, Any] = {
    "service": "shop",
    "from": "blue",
    "to": "green",
    "entry": None,
    "min_ready": 2,
    "accept_unproven": None,
    "finalize": {"stable": 30 * DAY, "notice": 30 * DAY},
}
WHO: dict[str, Any] = {"owner": {}, "reason": "r"}
GOOD = {"name": "availability", "passed": True, "seen": "99.99 %"}
UNKNOWN = {"name": "availability", "passed": None, "seen": "Prometheus did not answer"}


def story(*events: tuple[float, str, dict[str, Any]]) -> dict[str, Any]:
    """A journal with one migration from blue to green that finished at day 0, and what came after (in days)."""
    way = {"from": "blue", "to": "green"}
    told: list[tuple[float, str, dict[str, Any]]] = [
        (-1, "began", {**way, **WHO, "subject": {}, "weight": 0}),
        (-0.2, "weight_intended", {"before": 0, "weight": 100}),
        (-0.1, "weight_set", {"weight": 100, "commands": [], "ms": 1.0}),
        (0, "finished", {"weight": 100}),
        *events,
    ]
    document = journal.empty("shop")
    for at, kind, data in told:
        document = journal.append(document, {"kind": kind, "at": 100 * DAY + at * DAY, "token": 1, **data})
    return document


def deprecated(at: float, sunset: float) -> tuple[float, str, dict[str, Any]]:
    return at, "deprecated", {"colour": "blue", "sunset": (100 + sunset) * DAY, "conditions": [], **WHO}


def judged(document: dict[str, Any], day: float, **given: Any) -> dict[str, tuple[Any, str]]:
    arguments: dict[str, Any] = {"guarded": False, "measured": [GOOD], "announced": {}, **given}
    plan, reality = {**PLAN, **arguments.pop("plan", {})}, arguments.pop("reality", DONE)
    found = finalize.judge(plan, document, reality, now=(100 + day) * DAY, **arguments)
    return {one["name"]: (one["passed"], one["seen"]) for one in found}


def unmet(found: dict[str, tuple[Any, str]]) -> list[str]:
    return [name for name, (passed, _seen) in found.items() if passed is not True]


def test_an_old_version_is_deprecated_then_removed_then_gone() -> None:
    def stage(document: dict[str, Any]) -> str:
        return finalize.stage(PLAN, journal.fold(document))

    removal = (60.0, "removal_began", {"colour": "blue", "conditions": [], **WHO})
    events = [deprecated(1, 31), removal, (60.1, "removed", {"colour": "blue"})]
    assert [stage(story(*events[:count])) for count in range(4)] == ["deprecate", "remove", "remove", "nothing"]
    assert finalize.phrase(PLAN, "remove") == "REMOVE shop blue"


def test_a_removal_needs_a_deprecation() -> None:
    with pytest.raises(StoreError, match="the old version was not deprecated before"):
        story((60, "removal_began", {"colour": "blue", "conditions": [], **WHO}))


def test_the_next_migration_begins_anew() -> None:
    again = {"from": "green", "to": "blue", "subject": {}, "weight": 100, **WHO}
    assert journal.fold(story(deprecated(1, 31), (2, "began", again))).ended is None


def test_a_deprecation_needs_no_time() -> None:
    assert unmet(judged(story(), 0)) == []


@pytest.mark.parametrize(
    ("day", "lacks"),
    [
        (12.46, ["stable: 12.4 of 30 days", "sunset: in 18.5 days, "]),
        (29.99, ["stable: 29.9 of 30 days", "sunset: in 1 days, "]),
        (30, ["sunset: in 1 days, "]),
        (31, []),
    ],
)
def test_a_removal_says_in_days_what_is_missing(day: float, lacks: list[str]) -> None:
    document = story(deprecated(1, 31))
    conditions = finalize.judge(
        PLAN, document, DONE, guarded=False, measured=[GOOD], announced={}, now=(100 + day) * DAY
    )
    sentence = finalize.missing(PLAN, "remove", conditions)
    assert all(one in sentence for one in lacks)
    assert bool(sentence) == bool(lacks)
    assert f"{len(conditions) - len(lacks)} of {len(conditions)} conditions are met" in sentence or not lacks


def test_every_condition_can_keep_the_old_version() -> None:
    def found(**given: Any) -> list[str]:
        return unmet(judged(story(deprecated(0, 30)), 40, **given))

    assert found() == []
    assert found(reality=Reality(90, 90, {"green": 2})) == ["traffic"]
    assert found(reality=Reality(100, 50, {"green": 2})) == ["traffic"]
    assert found(reality=Reality(100, 100, {"green": 1})) == ["traffic"]
    assert found(guarded=True) == ["guard"]
    assert found(measured=[{**GOOD, "passed": False}]) == ["availability"]
    assert found(measured=[]) == ["metrics"]
    assert found(plan={"entry": "blue"}) == ["entry"]
    assert found(plan={"from": "green", "to": "blue"}, reality=Reality(0, 0, {"blue": 2})) == ["migration"]


def test_a_version_that_went_back_has_no_end() -> None:
    back = {"from": "blue", "to": "green", "weight": 100, "persisted": 100, "differences": [], **WHO}
    ended = (10.3, "rolled_back", {"weight": 0})
    moved = [
        (10.1, "weight_intended", {"before": 100, "weight": 0}),
        (10.2, "weight_set", {"weight": 0, "commands": [], "ms": 1.0}),
    ]
    document = story(deprecated(1, 31), (10, "rollback_began", back), *moved, ended)
    found = judged(document, 60)
    assert unmet(found) == ["migration", "stable"]
    assert found["migration"][1].endswith("is rolled back; one that finished is needed")


def test_snapshots_that_are_kept_for_a_way_back_keep_the_old_version() -> None:
    artifact = {"path": "/a", "host": "data", "verified": True, "expires": 142 * DAY}
    document = story(deprecated(0, 30))
    taken = {"kind": "snapshot_taken", "at": 1.0, "token": 1, "part": "main", "artifact": artifact}
    document["migrations"][0]["events"].insert(1, taken)
    assert judged(document, 40)["snapshots"] == (False, "kept for a way back: main for 2 days more")
    assert judged(document, 43)["snapshots"][0] is True


def test_what_is_unknown_is_accepted_with_a_reason_and_what_failed_is_not() -> None:
    accept = {"accept_unproven": "Prometheus lost its disk"}
    document = story(deprecated(0, 30))
    found = judged(document, 40, measured=[UNKNOWN], plan=accept)
    assert unmet(found) == []
    assert found["availability"][1].endswith("accepted, because 'Prometheus lost its disk'")
    assert unmet(judged(document, 40, measured=[UNKNOWN])) == ["availability"]
    assert unmet(judged(document, 40, measured=[{**GOOD, "passed": False}], plan=accept)) == ["availability"]


def test_the_old_api_has_to_say_so_itself() -> None:
    document = story(deprecated(0, 30))
    headers = finalize.headers(100 * DAY, 130 * DAY)
    assert headers == {"Deprecation": "@8640000", "Sunset": "Mon, 11 May 1970 00:00:00 GMT"}
    url = "http://shop/api/v1"
    right = {name.lower(): value for name, value in headers.items()}
    assert judged(document, 40, announced={url: right})[f"announced at {url}"][0] is True
    silent = judged(document, 40, announced={url: {}})[f"announced at {url}"]
    assert silent[0] is False
    assert silent[1].startswith("Deprecation is missing and Sunset is missing; 'Deprecation: @8640000', 'Sunset: Mon")
    other = judged(document, 40, announced={url: {**right, "sunset": "Tue, 12 May 1970 00:00:00 GMT"}})
    assert other[f"announced at {url}"][1].startswith("Sunset is Tue, 12 May 1970 00:00:00 GMT; ")
