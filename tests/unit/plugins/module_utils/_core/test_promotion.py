# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When a release may go to the next environment (R-B9, R-B12)."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.bluegreen.cutover.plugins.module_utils._core import promotion
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import InputError, PromotionError

PHASES = [{"name": f"phase {number}", "command": ["true"]} for number in range(1, 9)]
ENVIRONMENTS = promotion.check(
    "nextstep",
    [
        {"name": "dev"},
        {"name": "staging", "phases": PHASES, "valid_for": 7200},
        {"name": "prod", "phrase": "DEPLOY NEXTSTEP PROD", "backup": True},
    ],
)


def story(*promotions: tuple[str, str, list[dict[str, Any]]]) -> dict[str, Any]:
    """A record: the environment, the release, and the events of each promotion, each an hour after the one before."""
    record = promotion.empty("nextstep")
    for number, (environment, release, events) in enumerate(promotions):
        record = promotion.open_(record, environment, release, {"user": "alice"}, 3600 * number)
        for event in events:
            record = promotion.append(record, environment, release, {"at": 3600 * number, **event})
    return record


def ran(count: int, *failed: str) -> list[dict[str, Any]]:
    names = [one["name"] for one in PHASES[:count]]
    return [{"kind": "tested", "name": name, "passed": name not in failed, "seen": ""} for name in names]


VALIDATED = {"kind": "validated"}
WHOLE = ("staging", "1", [*ran(8), VALIDATED])


def missing(record: dict[str, Any], to: str = "prod", now: float = 3600, parts: tuple[str, ...] = ("db",)) -> str:
    with pytest.raises(PromotionError) as caught:
        promotion.begin(record, ENVIRONMENTS, to, "1", parts=parts, now=now)
    assert caught.value.message.endswith("Nothing was changed")
    return caught.value.message


def test_the_first_environment_takes_anything_and_the_next_what_was_validated() -> None:
    assert promotion.begin(promotion.empty("nextstep"), ENVIRONMENTS, "dev", "1", parts=(), now=0)["name"] == "dev"
    assert promotion.begin(story(WHOLE), ENVIRONMENTS, "prod", "1", parts=("db",), now=3600)["backup"] is True


@pytest.mark.parametrize(
    ("promotions", "told"),
    [
        ([], "it was never promoted to staging"),
        ([("staging", "0", [VALIDATED])], "never promoted to staging; what was there last is 0"),
        ([("staging", "1", [])], "not validated in staging: 0 of 8 phases have passed (not phase 1, phase 2"),
        ([("staging", "1", ran(8, "phase 3"))], "7 of 8 phases have passed (not phase 3)"),
        # All have passed, and nobody has said that continuity was well, too.
        ([("staging", "1", ran(8))], "it is not validated in staging: 8 of 8 phases have passed"),
        # A phase that the inventory has got since was never run.
        ([("staging", "1", [*ran(7), VALIDATED])], "7 of 8 phases have passed (not phase 8)"),
        ([("staging", "1", [{"kind": "failed", "message": "phase 2: 503"}])], "it failed in staging: phase 2: 503"),
        ([WHOLE, ("staging", "2", [])], "staging has had 2 since, so nobody knows that it still works there"),
        ([WHOLE, ("staging", "1", [])], "not validated in staging: 0 of 8"),
    ],
)
def test_what_is_missing_is_told(promotions: list[Any], told: str) -> None:
    assert told in missing(story(*promotions))


def test_a_validation_has_an_end() -> None:
    assert "it was validated in staging 2.5 h ago, and that is good for 2 h" in missing(story(WHOLE), now=9000)


def test_a_backup_needs_something_that_is_backed_up() -> None:
    assert "prod asks for a backup first, and cutover_state names nothing" in missing(story(WHOLE), parts=())


def test_what_another_release_has_shown_is_not_taken() -> None:
    record = story(WHOLE)
    for environment, release, message in (
        ("staging", "2", "the last promotion to staging is that of 1, not that of 2"),
        ("prod", "1", "the last promotion to prod is none"),
        ("staging", "1", "has ended"),
    ):
        with pytest.raises(PromotionError, match=message):
            promotion.append(record, environment, release, {"kind": "checked", "at": 1})
    with pytest.raises(InputError, match="there is no event 'blessed'"):
        promotion.append(record, "staging", "1", {"kind": "blessed", "at": 1})


def test_the_record_has_an_end() -> None:
    record = story(*(("dev", str(number), []) for number in range(promotion.KEPT + 5)))
    assert [len(record["promotions"]), record["promotions"][0]["release"]] == [promotion.KEPT, "5"]


def test_phases_are_counted() -> None:
    events = [{**one, "seen": "503"} for one in ran(3, "phase 2")]
    assert promotion.told(ENVIRONMENTS[1], events) == "2 of 8 phases passed; failed: phase 2 (503)"


@pytest.mark.parametrize(
    ("environments", "message"),
    [
        ([], "promote_environments is empty"),
        ([{"name": "Prod"}], r"promote_environments\[0\].name is 'Prod'"),
        ([{"name": "a"}, {"name": "a"}], "promote_environments has a twice"),
        ([{"name": "a", "fases": []}], r"promote_environments\[0\].fases is not known; known are name, phrase"),
        ([{"name": "a", "phases": "all"}], r"\.phases is 'all'; another kind of value is needed"),
        ([{"name": "a", "phases": [{"name": "x"}]}], r"\.phases\[0\] needs a name, and exactly one of command"),
        ([{"name": "a", "healthy": [{"name": "x", "tasks": "/x", "command": ["x"]}]}], "exactly one of command"),
        (["a"], "is no mapping"),
    ],
)
def test_what_cannot_be_meant_is_refused(environments: list[Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        promotion.check("nextstep", environments)


def test_names_that_cannot_be_meant_are_refused() -> None:
    with pytest.raises(InputError, match="promote_application is 'Next Step'"):
        promotion.check("Next Step", [{"name": "a"}])
    with pytest.raises(InputError, match="promote_to is 'live'; one of dev, staging, prod is needed"):
        promotion.begin(promotion.empty("x"), ENVIRONMENTS, "live", "1", parts=(), now=0)
    for release in ("", "a b", None):
        with pytest.raises(InputError, match="promote_release is"):
            promotion.release_of(release)


MOVED = {"kind": "moved", "migration": "1"}


@pytest.mark.parametrize(
    ("promotions", "known", "last"),
    [
        ([], False, "no promotion has moved anything there"),
        ([("staging", "2", [MOVED])], True, ""),
        ([("staging", "2", [MOVED]), ("staging", "2", [])], True, ""),
        ([("dev", "2", [MOVED, VALIDATED])], False, "no promotion has moved anything there"),
        ([("staging", "2", [MOVED]), ("staging", "1", [MOVED])], False, "moved there last is 1"),
        # What failed has gone back.
        ([("staging", "1", [MOVED]), ("staging", "2", [MOVED, {"kind": "failed", "message": "503"}])], False, "is 1"),
    ],
)
def test_what_serves_already_is_known_by_what_was_moved(promotions: Any, known: bool, last: str) -> None:
    told = promotion.unknown(story(*promotions), "staging", "2")
    assert (told == "") is known
    assert last in told


@pytest.mark.parametrize(
    ("release", "images", "same"),
    [
        ("registry/api@sha256:ef", ["registry/api@sha256:ef"], True),
        ("registry/api@sha256:ef", ["proxy", "mirror:5000/api:2@sha256:ef"], True),
        ("registry/api@sha256:ef", ["registry/api@sha256:ab"], False),
        ("registry/api@sha256:ef", ["registry/api:1", "proxy@sha256:ab"], False),
        ("registry/api@sha256:ef", ["registry/api:ef"], False),
        ("6f1c2a7d", ["registry/api:1"], True),
    ],
)
def test_r_b8_a_digest_is_what_runs_or_it_is_refused(release: str, images: list[str], same: bool) -> None:
    assert promotion.runs(release, images) is same
    if same:
        assert promotion.begin(promotion.empty("x"), ENVIRONMENTS, "dev", release, parts=(), now=0, images=images)
        return
    with pytest.raises(PromotionError) as caught:
        promotion.begin(promotion.empty("x"), ENVIRONMENTS, "dev", release, parts=(), now=0, images=images)
    lacks = f"what would get the traffic of dev runs {', '.join(images)}: give it the release's image"
    assert caught.value.evidence["missing"] == [lacks]
