# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Is the candidate as fast? With a known rate of error, and never by default (R-A6)."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from ansible_collections.bluegreen.cutover.plugins.module_utils._core import comparison
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import InputError

Pair = tuple[float | None, float | None]


def compare(pairs: Sequence[Pair], tolerance: float = 0.1, floor_ms: float = 0.0) -> comparison.Comparison:
    return comparison.compare(pairs, tolerance=tolerance, floor_ms=floor_ms)


def test_medians_and_verdict_are_told() -> None:
    found = compare([(10.0, 10.5)] * 20)
    assert (found.verdict, found.pairs, found.slower) == ("as_fast", 20, 0)
    assert found.sentence == (
        "as fast as the old version: median 10.5 ms against 10 ms; "
        "in 0 of 20 pairs it took more than 10% and 0 ms longer"
    )
    assert compare([(10.0, 11.5)] * 20).verdict == "slower"
    assert compare([(10.0, 11.5)] * 20, floor_ms=5).verdict == "as_fast"


@pytest.mark.parametrize(
    "pairs",
    [
        pytest.param([], id="nothing"),
        pytest.param([(10.0, 10.0)] * 6, id="too few"),
        pytest.param([(None, 10.0)] * 100, id="an old version that does not answer"),
        pytest.param([(10.0, 10.0), (10.0, 20.0)] * 50, id="half and half"),
    ],
)
def test_what_cannot_be_told_is_unclear(pairs: list[Pair]) -> None:
    assert compare(pairs).verdict == "unclear"


def test_a_candidate_that_does_not_answer_is_slower() -> None:
    found = compare([(10.0, None)] * 20)
    assert (found.verdict, found.candidate_ms) == ("slower", None)
    assert "no answer against 10 ms" in found.sentence


def test_the_fewest_requests_can_prove_it() -> None:
    assert compare([(10.0, 10.0)] * comparison.LEAST).verdict == "as_fast"
    assert compare([(10.0, 10.0)] * (comparison.LEAST - 1)).verdict == "unclear"


@pytest.mark.parametrize(("slower", "verdict"), [(37, "as_fast"), (38, "unclear"), (62, "unclear"), (63, "slower")])
def test_its_error_is_what_it_says(slower: int, verdict: str) -> None:
    """From a table: of 100 fair coins at most 37 are heads with 0.0060, at most 38 with 0.0105."""
    assert compare([(10.0, 20.0)] * slower + [(10.0, 10.0)] * (100 - slower)).verdict == verdict


@pytest.mark.parametrize(
    ("requests", "tolerance", "floor_ms", "message"),
    [
        (6, 0.1, 5, "requests is 6; a number from 7 to 10000"),
        (100, -0.1, 5, "tolerance is -0.1"),
        (100, float("nan"), 5, "tolerance is nan"),
        (100, 0.1, float("inf"), "floor_ms is inf"),
    ],
)
def test_options_that_prove_nothing_are_refused(requests: int, tolerance: float, floor_ms: float, message: str) -> None:
    with pytest.raises(InputError, match=message):
        comparison.check(requests, tolerance, floor_ms)
