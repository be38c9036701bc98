# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A rehearsal counts when the way there and back was taken in one run, by the same plan, as the last thing (R-A6)."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.bluegreen.cutover.plugins.module_utils._core import decide, journal, rehearsal
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.decide import Reality
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import StoreError

DAY = 86_400
WAY = {
    "from": "blue",
    "to": "green",
    "front": "http://shop",
    "hosts": {"router": "router", "app": []},
    "router": {},
    "colours": {colour: {"unit": f"shop-{colour}", "port": 8001, "instances": []} for colour in ("blue", "green")},
    "steps": [{"share": share, "weight": share, "settle": 1, "hold": 600} for share in (50, 100)],
    "verify": [],
    "min_ready": 1,
}
PLAN = {**WAY, "service": "shop", "cluster": None, "rehearsal": {"required": True, "age": 7 * DAY}, "lease": {}}

Event = tuple[str, float, dict[str, Any]]
BEGAN = {"from": "blue", "to": "green", "subject": {}, "owner": {}, "reason": "", "weight": 0, "rehearsal": WAY}
BACK = {"from": "blue", "to": "green", "owner": {}, "reason": "", "weight": 100, "persisted": 100, "differences": []}
THERE: list[Event] = [
    ("began", 100, BEGAN),
    ("weight_intended", 110, {"before": 0, "weight": 100}),
    ("weight_set", 112, {"weight": 100, "commands": [], "ms": 1}),
    ("rehearsed", 115, {}),
]
RETURN: list[Event] = [
    ("rollback_began", 120, BACK),
    ("weight_intended", 123, {"before": 100, "weight": 0}),
    ("weight_set", 124, {"weight": 0, "commands": [], "ms": 1}),
    ("rolled_back", 130, {"weight": 0}),
]
FAILED: Event = ("failed", 119, {"reason": "x", "message": "x"})


def fold(*events: Event) -> journal.State:
    document = journal.empty("shop")
    for kind, at, data in events:
        document = journal.append(document, {"kind": kind, "at": at, "token": 1, **data})
    return journal.fold(document)


def test_there_and_back_passes_and_is_measured() -> None:
    known = fold(*THERE, *RETURN).rehearsal
    assert known is not None
    assert (known["switch"], known["back"], known["passed"]) == (2, 4, 130)
    assert known["sentence"] == "it passed: 2.00 s to switch, 4.00 s to go back"
    assert rehearsal.missing(PLAN, known, 130 + 7 * DAY) is None


@pytest.mark.parametrize(
    "events",
    [
        pytest.param([*THERE[:-1], *RETURN], id="never proven at the front"),
        pytest.param([THERE[0], ("rehearsed", 101, {}), *RETURN], id="never moved"),
        pytest.param([*THERE, FAILED, *RETURN], id="the way back was taken by hand"),
        pytest.param(
            [*THERE[:3], ("guard_fired", 113, {"cause": {}, "reason": "r", "late": 0}), *RETURN],
            id="the guard went back",
        ),
        pytest.param([*THERE[:3], FAILED, ("began", 119, {**BEGAN, "weight": 100}), THERE[3], *RETURN], id="resumed"),
        pytest.param(THERE, id="still open"),
    ],
)
def test_anything_else_does_not(events: list[Event]) -> None:
    known = fold(*events).rehearsal
    assert known is not None
    assert known["passed"] is None
    assert "has not passed" in known["sentence"]
    assert "its last rehearsal did not pass" in (rehearsal.missing(PLAN, known, 131) or "")


def test_only_a_fresh_one_of_the_same_plan_that_came_last_counts() -> None:
    known = fold(*THERE, *RETURN).rehearsal
    assert rehearsal.missing({**PLAN, "lease": {"ttl": 1}}, known, 131) is None
    changed = {**PLAN, "verify": [{}], "min_ready": 2}
    assert "has changed since its rehearsal (cutover_verify, cutover_min_ready)" in (
        rehearsal.missing(changed, known, 131) or ""
    )
    assert "8.0 days ago, and is good for 7" in (rehearsal.missing(PLAN, known, 130 + 8 * DAY) or "")
    real = fold(*THERE, *RETURN, ("began", 140, {**BEGAN, "rehearsal": None})).rehearsal
    assert "no rehearsal came last" in (rehearsal.missing(PLAN, real, 150) or "")
    assert "Run rehearse.yml first" in (rehearsal.missing(PLAN, None, 0) or "")
    assert rehearsal.missing({**PLAN, "rehearsal": {"required": False, "age": 0}}, None, 0) is None


def test_a_migration_that_is_none_cannot_be_rehearsed() -> None:
    with pytest.raises(StoreError, match="is no rehearsal"):
        fold(("began", 100, {**BEGAN, "rehearsal": None}), *THERE[1:])


MADE = {**PLAN, "entry": None, "accept_reality": False}


def test_it_takes_every_step_and_holds_none() -> None:
    decision = decide.decide(MADE, journal.State(), Reality(0, 0, {}), rehearse=True)
    assert decision.kind == decide.BEGIN
    assert [(step["share"], step["settle"], step["hold"]) for step in decision.steps] == [(50, 1, 0), (100, 1, 0)]
    assert decision.sentence == "shop is rehearsed from blue to green, which gets 50 %, 100 %."


@pytest.mark.parametrize(("rehearses", "advice"), [(True, "rehearse.yml"), (False, "cutover.yml")])
def test_one_kind_does_not_go_on_with_the_other(rehearses: bool, advice: str) -> None:
    state = fold(("began", 100, {**BEGAN, "rehearsal": WAY if rehearses else None}))
    other = decide.decide(MADE, state, Reality(0, 0, {}), rehearse=not rehearses)
    assert other.kind == decide.REFUSE
    assert f"Go on with it by {advice}, or go back with rollback.yml" in other.sentence
    assert decide.decide(MADE, state, Reality(0, 0, {}), rehearse=rehearses).kind == decide.RESUME
