# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Events add up to a state, and only those are taken that can follow."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.bluegreen.cutover.plugins.module_utils._core import journal
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import SnapshotError, StoreError

OWNER = {"user": "alice"}
BEGAN = {"from": "blue", "to": "green", "subject": {}, "owner": OWNER, "reason": "r", "weight": 0}
BACK = {"from": "blue", "to": "green", "owner": OWNER, "reason": "r", "weight": 50, "persisted": 50, "differences": []}
SET = {"commands": [], "ms": 1.0}
SEEN = {"verdict": "open", "reason": None, "message": "", "wanted": None, "criteria": []}

Event = tuple[str, dict[str, Any]]


def write(*events: Event, document: dict[str, Any] | None = None, token: int = 1) -> dict[str, Any]:
    document = document or journal.empty("shop")
    at = 100 + sum(len(migration["events"]) for migration in document["migrations"])
    for offset, (kind, data) in enumerate(events):
        document = journal.append(document, {"kind": kind, "at": at + offset, "token": token, **data})
    return document


def switch(before: int, weight: int) -> list[Event]:
    return [("weight_intended", {"before": before, "weight": weight}), ("weight_set", {"weight": weight, **SET})]


MOVED: list[Event] = [("began", BEGAN), *switch(0, 50), *switch(50, 100), ("finished", {"weight": 100})]


def test_nothing_is_recorded_at_first() -> None:
    assert journal.fold(journal.empty("shop")) == journal.State()


def test_a_migration_from_its_begin_to_its_end() -> None:
    document = write(*MOVED, token=60)
    state = journal.fold(document)
    assert (state.phase, state.weight, state.possible) == ("finished", 100, frozenset({100}))
    assert (state.from_colour, state.to_colour, state.since, state.token) == ("blue", "green", 104, 60)
    assert state.id == document["migrations"][0]["id"] == "19700101T000100Z"


def test_an_open_intention_explains_both_weights() -> None:
    state = journal.fold(write(("began", BEGAN), ("weight_intended", {"before": 0, "weight": 50})))
    assert state.possible == {0, 50}
    assert state.intent == {"before": 0, "weight": 50}


def test_an_intention_over_an_intention_explains_all_three() -> None:
    document = write(("began", BEGAN), ("weight_intended", {"before": 0, "weight": 50}))
    document = write(("began", {**BEGAN, "weight": 50}), document=document, token=2)
    document = write(("weight_intended", {"before": 50, "weight": 100}), document=document, token=2)
    assert journal.fold(document).possible == {0, 50, 100}
    assert len(document["migrations"]) == 1


def test_accepted_reality_is_what_is_known_from_then_on() -> None:
    accepted = {"weight": 30, "persisted": 20, "differences": ["x"]}
    state = journal.fold(write(("began", {**BEGAN, "weight": 30}), ("reality_accepted", accepted)))
    assert (state.weight, state.possible, state.intent) == (30, {20, 30}, None)


def test_since_is_when_the_share_changed_also_in_an_earlier_migration() -> None:
    document = write(("began", {**BEGAN, "from": "green", "to": "blue", "weight": 100}), document=write(*MOVED))
    assert journal.fold(document).since == 104
    assert len(document["migrations"]) == 2


def test_a_failure_leaves_the_migration_open_for_the_next_run() -> None:
    document = write(("began", BEGAN), ("failed", {"reason": "probe", "message": "404"}))
    assert journal.fold(document).failure == {"reason": "probe", "message": "404"}
    state = journal.fold(write(("began", BEGAN), document=document, token=2))
    assert (state.phase, state.failure, state.token) == ("moving", None, 2)


def test_a_rollback_belongs_to_the_migration_it_undoes() -> None:
    document = write(("rollback_began", {**BACK, "weight": 100}), document=write(*MOVED), token=2)
    document = write(*switch(100, 0), ("rolled_back", {"weight": 0}), document=document, token=2)
    state = journal.fold(document)
    assert (state.phase, state.weight, len(document["migrations"])) == ("rolled_back", 0, 1)
    assert journal.fold(write(("rollback_began", BACK))).phase == "rolling_back"


def test_only_so_many_closed_migrations_are_kept_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "KEPT", 3)
    document = journal.empty("shop")
    for token in range(1, 6):
        document = write(*MOVED, document=document, token=token)
    kept = document["migrations"]
    assert len(kept) == 4
    assert all(len(migration["events"]) == len(MOVED) for migration in kept)
    assert journal.fold(document).token == 5


@pytest.mark.parametrize(
    ("before", "event", "why"),
    [
        ([], ("started", {"colour": "green"}), "the last migration is in the phase 'none'"),
        (MOVED, ("probed", {"colour": "green"}), "the last migration is in the phase 'finished'"),
        ([], ("exploded", {}), "there is no such kind; known are began, data_left,"),
        ([], ("began", {"from": "blue"}), "it lacks to, subject, owner, reason, weight"),
        (
            [("began", BEGAN)],
            ("began", {**BEGAN, "from": "green", "to": "blue"}),
            "the migration 19700101T000001Z to green is still open",
        ),
        ([("began", BEGAN)], ("weight_set", {"weight": 50, **SET}), "no intention to set that weight was recorded"),
        (
            [("began", BEGAN), ("weight_intended", {"before": 0, "weight": 10})],
            ("weight_set", {"weight": 50, **SET}),
            "no intention to set that weight was recorded",
        ),
        (
            [("began", BEGAN), *switch(0, 50)],
            ("finished", {"weight": 50}),
            "the weight is 50, and green serves alone only at 100",
        ),
        ([("began", BEGAN)], ("rolled_back", {"weight": 0}), "the last migration is in the phase 'moving'"),
        (
            [("rollback_began", BACK)],
            ("rolled_back", {"weight": 50}),
            "the weight is 50, and blue serves alone only at 0",
        ),
    ],
)
def test_an_event_that_cannot_follow_is_refused(before: list[Event], event: Event, why: str) -> None:
    with pytest.raises(StoreError) as caught:
        write(event, document=write(*before))
    assert caught.value.message.startswith(f"the journal of shop refuses the event '{event[0]}': {why}")


@pytest.mark.parametrize(
    ("document", "why"),
    [
        ([], "is not a journal"),
        ({"format": 1}, "is not a journal"),
        (
            {"format": 2, "service": "shop", "migrations": []},
            "has the format 2; this version of the collection knows 1",
        ),
        ({"format": 1, "service": "x", "migrations": []}, "is the journal of 'x', not of 'shop'"),
        (
            {"format": 1, "service": "shop", "migrations": [{"id": "a", "events": [{"at": 1}]}]},
            "holds an event that is not",
        ),
        ({"format": 1, "service": "shop", "migrations": [1]}, "holds an event that is not complete"),
    ],
)
def test_a_document_that_is_no_journal_is_named(document: Any, why: str) -> None:
    with pytest.raises(StoreError, match=why):
        journal.check(document, "shop")


def test_a_hundred_looks_at_a_hold_leave_what_one_does() -> None:
    began: Event = ("began", {**BEGAN, "weight": 50})
    held: Event = ("held", {"message": "m"})
    opened = [("began", BEGAN), *switch(0, 50), ("hold_began", {"weight": 50, "seconds": 60})]
    document = write(*opened, ("gate_seen", SEEN), held)
    short = len(document["migrations"][0]["events"])
    for token in range(2, 102):
        document = write(began, held, document=document, token=token)
    events = document["migrations"][0]["events"]
    assert len(events) == short
    assert (events[-1]["kind"], events[-1]["token"], events[-1]["looks"]) == ("held", 101, 100)
    state = journal.fold(document)
    assert (state.phase, state.token, state.weight, state.since) == ("held", 101, 50, 102)
    told = {"verdict": "open", "wanted": None, "called": None, "blind": None}
    assert state.hold == {"weight": 50, "since": 103, "seconds": 60, **told}


def test_since_when_a_gate_cannot_tell_is_known_until_it_can() -> None:
    opened = [("began", BEGAN), *switch(0, 50), ("hold_began", {"weight": 50, "seconds": 60})]
    cannot = ("gate_seen", {**SEEN, "verdict": "inconclusive"})
    document = write(*opened, ("gate_seen", SEEN), cannot)
    first = document["migrations"][0]["events"][-1]["at"]
    document = write(("gate_seen", {**SEEN, "verdict": "inconclusive", "wanted": "x"}), document=document)
    assert (journal.fold(document).hold or {})["blind"] == first
    assert (journal.fold(write(("gate_seen", SEEN), document=document)).hold or {})["blind"] is None


def test_a_look_that_has_something_to_tell_stays() -> None:
    opened = [
        ("began", BEGAN),
        *switch(0, 50),
        ("hold_began", {"weight": 50, "seconds": 60}),
        ("held", {"message": "m"}),
    ]
    look = [("began", {**BEGAN, "weight": 50}), ("gate_seen", SEEN), ("held", {"message": "n"})]
    kinds = [event["kind"] for event in write(*opened, *look)["migrations"][0]["events"]]
    assert kinds[-4:] == ["held", "began", "gate_seen", "held"]


PROVEN = {"path": "/b/db", "host": "data", "verified": True, "expires": 1e9}
WITH_DATA: Event = ("began", {**BEGAN, "parts": ["db", "files"]})
INTENDED: Event = ("weight_intended", {"before": 0, "weight": 10})


def taken(part: str, **changed: Any) -> Event:
    return ("snapshot_taken", {"part": part, "artifact": {**PROVEN, **changed}})


@pytest.mark.parametrize(
    ("events", "told"),
    [
        ([WITH_DATA], "there is no snapshot of db in this migration; there is no snapshot of files"),
        ([WITH_DATA, taken("db")], "there is no snapshot of files"),
        ([WITH_DATA, taken("db"), taken("files", verified=False)], "the snapshot of files, /b/db on data, is not pro"),
        ([WITH_DATA, taken("db", expires=102.0), taken("files")], "the snapshot of db, /b/db on data, has expired"),
        ([WITH_DATA, taken("db"), taken("files"), taken("files", verified=False)], "the snapshot of files"),
        ([WITH_DATA, taken("db", hold="1"), taken("files", hold="2")], "the snapshots of db, files do not fit"),
        ([WITH_DATA, taken("db", hold="1"), taken("files", hold="none")], "the snapshots of db, files do not fit"),
    ],
)
def test_no_traffic_moves_without_a_proven_snapshot_of_each_part(events: list[Event], told: str) -> None:
    with pytest.raises(SnapshotError, match=f"^shop may not move: {told}"):
        write(*events, INTENDED)


def test_traffic_moves_with_them_or_with_a_reason_to_do_without() -> None:
    write(WITH_DATA, taken("db", hold="1"), taken("files", hold=None), INTENDED)
    state = journal.fold(write(WITH_DATA, taken("db"), taken("files"), INTENDED))
    assert list(state.artifacts) == ["db", "files"]
    write(("began", {**BEGAN, "parts": ["db"], "unverified": "it is a copy"}), INTENDED)
    # A run that is resumed has to be told again.
    document = write(("began", {**BEGAN, "parts": ["db"], "unverified": "it is a copy"}), ("began", {**BEGAN}))
    with pytest.raises(SnapshotError, match="may not move"):
        write(INTENDED, document=document)


@pytest.mark.parametrize(
    ("events", "hold"),
    [
        ([taken("db", hold="1"), taken("files", hold="1")], "1"),
        ([taken("db", hold="none"), taken("files", hold="none")], "none"),
        # One needs no hold, such as a repository.
        ([taken("db", hold="1"), taken("files", hold=None)], "1"),
        ([taken("db", hold=None), taken("files", hold=None)], None),
        ([taken("db", hold="1")], None),
        ([taken("db", hold="1"), taken("files", hold="2")], None),
        ([taken("db", hold="1"), taken("files", hold="1", expires=9.0)], None),
        ([taken("db", hold="1"), taken("files", hold="2"), taken("db", hold="2")], "2"),
    ],
)
def test_what_an_earlier_run_has_read_is_used_as_a_whole(events: list[Event], hold: str | None) -> None:
    """R-E1: or all parts are read again, in one hold."""
    assert journal.earlier_hold(["db", "files"], journal.fold(write(WITH_DATA, *events)), 10.0) == hold


def test_traffic_goes_back_without_any() -> None:
    back: Event = ("weight_intended", {"before": 50, "weight": 0})
    write(WITH_DATA, back)
    write(WITH_DATA, ("rollback_began", BACK), ("weight_intended", {"before": 100, "weight": 50}))


def test_snapshots_are_those_of_one_migration() -> None:
    document = write(("began", BEGAN), taken("db"), *switch(0, 100), ("finished", {"weight": 100}))
    assert list(journal.fold(document).artifacts) == ["db"]
    document = write(("began", {**BEGAN, "from": "green", "to": "blue", "weight": 100}), document=document, token=9)
    assert journal.fold(document).artifacts == {}
