# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Slots of a shared environment: by the clock of a zone, through summer time, with the next time in every refusal."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
from ansible_collections.bluegreen.cutover.plugins.module_utils._core import phrase, slots
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import InputError, PhraseError, SlotError

BERLIN = "Europe/Berlin"
MORNING = {"from": "09:00", "to": "12:00"}


def at(text: str) -> float:
    """Unix seconds of an ISO time, which has its distance to UTC."""
    return datetime.datetime.fromisoformat(text).timestamp()


def utc(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def spans(given: list[dict[str, Any]], day: str, zone: str = BERLIN) -> list[tuple[str, str]]:
    found = slots.openings(slots.make_slots(given, zone), zone, at(day), days=1)
    return [(utc(one.begins), utc(one.ends)) for one in found]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ([], "slots is empty"),
        ([{"from": 540, "to": "12:00"}], r"slots\[0\].from is 540; a time like '09:00', in quotes"),
        ([{"from": "9:00", "to": "12:00"}], "'9:00'; a time like"),
        ([{"from": "09:00", "to": "25:00"}], "'25:00'"),
        ([{"to": "12:00"}], "from is None"),
        ([{"from": "22:00", "to": "06:00"}], "it ends before it begins. A night is two slots"),
        ([{**MORNING, "days": ["mon", "someday"]}], "days has someday"),
        (
            [MORNING, {"from": "11:00", "to": "13:00", "days": ["fri"]}],
            "12:00 daily and 11:00 to 13:00 fri overlap",
        ),
    ],
)
def test_slots_that_cannot_be_meant_are_refused(given: list[dict[str, Any]], told: str) -> None:
    with pytest.raises(InputError, match=told):
        slots.make_slots(given, BERLIN)


@pytest.mark.parametrize("zone", ["Europe/Berlim", "", "../etc/passwd", "CET+1"])
def test_a_zone_has_a_name_that_is_known(zone: str) -> None:
    with pytest.raises(InputError, match="time zone"):
        slots.make_slots([MORNING], zone)


def test_slots_that_touch_or_are_on_other_days_do_not_overlap() -> None:
    made = slots.make_slots(
        [MORNING, {"from": "12:00", "to": "24:00", "days": ["mon"]}, {"from": "12:00", "to": "13:00", "days": ["tue"]}],
        "UTC",
    )
    assert [slot.told for slot in made] == ["09:00 to 12:00 daily", "12:00 to 24:00 mon", "12:00 to 13:00 tue"]


def test_a_slot_is_by_the_clock_of_its_zone_in_winter_and_in_summer() -> None:
    assert spans([MORNING], "2026-01-15T00:00+01:00")[0] == ("2026-01-15T08:00:00Z", "2026-01-15T11:00:00Z")
    assert spans([MORNING], "2026-07-15T00:00+02:00")[0] == ("2026-07-15T07:00:00Z", "2026-07-15T10:00:00Z")
    assert spans([MORNING], "2026-07-15T00:00+09:00", "Asia/Tokyo")[0][0] == "2026-07-15T00:00:00Z"


@pytest.mark.parametrize(
    ("begin", "end", "expected"),
    [
        # On 2026-03-29 in Berlin 02:00 to 03:00 does not exist; the clock is set at 01:00 UTC.
        ("01:00", "04:00", [("2026-03-29T00:00:00Z", "2026-03-29T02:00:00Z")]),
        ("02:30", "04:00", [("2026-03-29T01:00:00Z", "2026-03-29T02:00:00Z")]),
        ("01:00", "02:30", [("2026-03-29T00:00:00Z", "2026-03-29T01:00:00Z")]),
        ("02:00", "03:00", []),
        ("02:15", "02:45", []),
    ],
)
def test_an_hour_that_summer_time_skips(begin: str, end: str, expected: list[tuple[str, str]]) -> None:
    found = spans([{"from": begin, "to": end}], "2026-03-29T00:00+01:00")
    assert [one for one in found if one[0].startswith("2026-03-29")] == expected


@pytest.mark.parametrize(
    ("begin", "end", "expected"),
    [
        # On 2026-10-25 in Berlin 02:00 to 03:00 comes twice; the clock is set back at 01:00 UTC.
        ("01:00", "04:00", ("2026-10-24T23:00:00Z", "2026-10-25T03:00:00Z")),
        ("02:00", "03:00", ("2026-10-25T00:00:00Z", "2026-10-25T02:00:00Z")),
        ("02:30", "04:00", ("2026-10-25T00:30:00Z", "2026-10-25T03:00:00Z")),
        ("01:00", "02:30", ("2026-10-24T23:00:00Z", "2026-10-25T01:30:00Z")),
    ],
)
def test_an_hour_that_comes_twice(begin: str, end: str, expected: tuple[str, str]) -> None:
    assert spans([{"from": begin, "to": end}], "2026-10-25T00:00+02:00")[0] == expected


def test_a_day_that_ends_at_midnight() -> None:
    found = spans([{"from": "22:00", "to": "24:00"}], "2026-01-15T12:00+01:00")
    assert found[0] == ("2026-01-15T21:00:00Z", "2026-01-15T23:00:00Z")


def decide(now: str, application: str = "nextstep", given: Any = None, **more: Any) -> slots.Opening:
    made = slots.make_slots(given or [MORNING], BERLIN)
    return slots.decide(made, BERLIN, at(now), application, environment="staging-shared", **more)


def test_inside_its_slot_an_application_may_come() -> None:
    opening = decide("2026-01-15T09:00+01:00")
    assert utc(opening.ends) == "2026-01-15T11:00:00Z"
    assert decide("2026-01-15T11:59+01:00") == opening


@pytest.mark.parametrize(
    ("now", "following"),
    [
        ("2026-01-15T08:59+01:00", "Thu 2026-01-15 09:00 Europe/Berlin .UTC.0100"),
        ("2026-01-15T12:00+01:00", "Fri 2026-01-16 09:00 Europe/Berlin .UTC.0100"),
        ("2026-03-28T13:00+01:00", "Sun 2026-03-29 09:00 Europe/Berlin .UTC.0200"),
    ],
)
def test_outside_it_is_refused_with_the_next_time(now: str, following: str) -> None:
    with pytest.raises(SlotError, match=f"open 09:00 to 12:00 daily .Europe/Berlin.*nextstep is {following}"):
        decide(now)


def held(application: str, until: str) -> dict[str, Any]:
    return {"owner": {"application": application}, "reason": "release 7", "expires": at(until)}


def test_while_another_holds_it_it_is_refused_with_the_holder() -> None:
    lease = held("other", "2026-01-15T10:30+01:00")
    with pytest.raises(
        SlotError, match="used by other until Thu .* 10:30 .*'release 7'.* next time .* 10:30 "
    ) as caught:
        decide("2026-01-15T09:30+01:00", held=lease)
    assert caught.value.evidence["holder"] == {"application": "other"}
    assert caught.value.evidence["next"] == at("2026-01-15T10:30+01:00")
    assert decide("2026-01-15T10:30+01:00", held=lease)
    assert decide("2026-01-15T09:30+01:00", held=held("nextstep", "2026-01-15T10:30+01:00"))


def test_a_holder_to_the_end_of_the_slot_leaves_the_next_day() -> None:
    with pytest.raises(SlotError, match="next time for nextstep is Fri 2026-01-16 09:00"):
        decide("2026-01-15T09:30+01:00", held=held("other", "2026-01-15T12:00+01:00"))


def test_a_slot_that_is_kept_for_others_is_not_ours() -> None:
    given = [
        {**MORNING, "days": ["thu"], "holders": ["other"]},
        {"from": "13:00", "to": "14:00", "days": ["sat"], "holders": ["nextstep", "x"]},
    ]
    with pytest.raises(SlotError, match="kept for other until Thu .* next time for nextstep is Sat 2026-01-17 13:00"):
        decide("2026-01-15T09:30+01:00", given=given)
    with pytest.raises(SlotError, match="There is no other time for it"):
        decide("2026-01-15T09:30+01:00", "nobody", given=given)


def test_what_does_not_fit_waits_for_a_slot_in_which_it_does() -> None:
    with pytest.raises(SlotError, match="in 30 minutes, and 60 are needed.*Fri 2026-01-16 09:00"):
        decide("2026-01-15T11:30+01:00", needs=3600)
    assert decide("2026-01-15T11:00+01:00", needs=3600)
    with pytest.raises(SlotError, match="no other time"):
        decide("2026-01-15T09:00+01:00", needs=4 * 3600)


# --- the typed phrase


def test_the_phrase_is_compared_character_by_character() -> None:
    phrase.check("DEPLOY NEXTSTEP PROD", "DEPLOY NEXTSTEP PROD", step="production", variable="nextstep_confirm")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (None, "none were given"),
        ("", "none were given"),
        ("deploy nextstep prod", "other capitals"),
        ("DEPLOY NEXTSTEP PROD ", "with spaces around"),
        ("DEPLOY  NEXTSTEP PROD", "other spaces"),
        ("DEPLOY\u00a0NEXTSTEP PROD", "look alike"),
        ("DEPLOY NEXTSTEP", "'DEPLOY NEXTSTEP' was given. Nothing"),
    ],
)
def test_other_words_are_refused_and_say_how(given: str | None, told: str) -> None:
    with pytest.raises(PhraseError, match=told) as caught:
        phrase.check("DEPLOY NEXTSTEP PROD", given, step="production", variable="nextstep_confirm")
    assert "-e 'nextstep_confirm=\"DEPLOY NEXTSTEP PROD\"'" in caught.value.message


@pytest.mark.parametrize("wanted", ["", " ", "YES ", "A\nB"])
def test_a_phrase_that_nobody_could_type_is_refused(wanted: str) -> None:
    with pytest.raises(InputError):
        phrase.check(wanted, wanted, step="production", variable="x")
