# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When nobody is being served any more."""

from __future__ import annotations

import pytest
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.draining import Look, is_drained, sum_metric

IDLE = Look(0)


@pytest.mark.parametrize(
    ("looks", "drained"),
    [
        ([], False),
        ([IDLE], False),
        ([IDLE, IDLE], True),
        ([Look(3), IDLE, IDLE], True),
        ([IDLE, Look(1)], False),
        ([Look(1), IDLE], False),
        ([IDLE, Look(1), IDLE], False),
        ([Look(0, 0.0), Look(0, 0.0)], True),
        ([IDLE, Look(0, 1.0)], False),
        ([IDLE, Look(0, None, "refused")], False),
    ],
)
def test_two_looks_in_a_row_must_see_nothing(looks: list[Look], drained: bool) -> None:
    assert is_drained(looks) is drained


def test_all_series_are_summed_and_no_other_metric() -> None:
    text = (
        "# HELP http_requests_in_flight Requests being answered\n"
        "# TYPE http_requests_in_flight gauge\n"
        "http_requests_in_flight_max 50\n"
        'http_requests_in_flight{path="/a b",x="}"} 2.0\n'
        'http_requests_in_flight{path="/slow"} 1 1700000000000\n'
        "http_requests_in_flight 0\n"
    )
    assert sum_metric(text, "http_requests_in_flight") == 3.0


@pytest.mark.parametrize(
    "text", ["", "other 0\n", "up\n", "up NaN\n", "up +Inf\n", "up -1\n", "up zero\n", "<html>up 0</html>\n"]
)
def test_what_cannot_be_told_is_not_zero(text: str) -> None:
    with pytest.raises(ValueError, match="up"):
        sum_metric(text, "up")
