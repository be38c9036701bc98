# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Was it a success? What cannot be known is unknown, and never passed (R-A7)."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.bluegreen.cutover.plugins.module_utils._core import success


@pytest.mark.parametrize(
    ("bad", "total", "passed"),
    [(0, 1000, True), (0, 1, True), (1, 1000, False), (1, 1001, True), (0, 0, None), (0, float("nan"), None)],
)
def test_availability_is_above_what_is_wanted(bad: float, total: float, passed: bool | None) -> None:
    assert success.availability(bad, total, 0.999)["passed"] is passed


def test_availability_tells_how_many() -> None:
    seen = success.availability(1, 12345, 0.999)["seen"]
    assert seen == "99.9919% of 12345 requests, more than 99.90% are wanted"


@pytest.mark.parametrize(
    ("old", "new", "counts", "passed"),
    [
        (0.1, 0.1099, (100, 100), True),
        (0.1, 0.1101, (100, 100), False),
        (0.1, 0.05, (100, 99), None),
        (0.1, 0.05, (99, 100), None),
        (None, 0.05, (100, 100), None),
        (0.1, None, (100, 100), None),
        (float("inf"), 0.1, (100, 100), None),
    ],
)
def test_response_needs_both_colours(
    old: float | None, new: float | None, counts: tuple[float, float], passed: bool | None
) -> None:
    assert success.response(old, new, counts, 0.1)["passed"] is passed


def test_features_are_what_was_asked_at_the_front() -> None:
    good, bad = {"name": "a", "mismatches": []}, {"name": "b", "mismatches": ["status 500"]}
    assert success.features([good], "http://shop")["passed"] is True
    found = success.features([good, bad], "http://shop")
    assert (found["passed"], found["seen"]) == (False, "1 of 2 answers at http://shop are right; b: status 500")
    assert success.features([], "http://shop")["passed"] is None


RULE = {"name": "MigrationErrors", "health": "ok"}


@pytest.mark.parametrize(
    ("managers", "groups", "passed", "seen"),
    [
        (["http://am"], [{"name": "g", "rules": [RULE]}], True, "1 rules are evaluated, and sent to http://am"),
        ([], [{"name": "g", "rules": [RULE]}], False, "no Alertmanager"),
        (["http://am"], [{"name": "other", "rules": [RULE]}], False, "no rules of the group g"),
        (["http://am"], [{"name": "g", "rules": [RULE, {**RULE, "health": "err"}]}], False, "cannot evaluate"),
        (["http://am"], [{"name": "g", "rules": [{**RULE, "health": "unknown"}]}], False, "cannot evaluate"),
    ],
)
def test_alerting_is_rules_that_reach_somebody(
    managers: list[str], groups: list[dict[str, Any]], passed: bool, seen: str
) -> None:
    found = success.alerting(managers, groups, "g")
    assert found["passed"] is passed
    assert seen in found["seen"]


def test_it_is_told_in_words() -> None:
    found = [success.unknown("features", "nobody answers"), success.availability(0, 5, 0.9)]
    assert success.tell(found) == [
        "features: unknown; nobody answers",
        "availability: passed; 100.0000% of 5 requests, more than 90.00% are wanted",
    ]
