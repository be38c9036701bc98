# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a candidate has to show: every checkpoint is told, and what says nothing has not passed (R-A6)."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.bluegreen.cutover.plugins.module_utils._core import checkpoints

TESTS = {"results": [{"rc": 0, "failed": False}, {"rc": 0, "failed": False}], "failed": False}
HEALTH = {"failed": False, "healthy": True, "observations": [{}, {}, {}]}
FAST = {"failed": False, "sentence": "as fast as the old version"}


def test_all_that_was_asked_is_told() -> None:
    found = checkpoints.judge({"tests": {"app1": TESTS, "app2": TESTS}, "health": {"r": HEALTH}, "performance": {}})
    assert found == [
        {"name": "tests", "passed": True, "seen": "2 of 2 passed; 2 of 2 passed"},
        {"name": "health", "passed": True, "seen": "3 answers are right"},
    ]
    assert checkpoints.failed(found) == ""


def test_one_that_fails_hides_no_other() -> None:
    item = {"failed": True, "rc": 1, "msg": "non-zero", "stdout": "E\nFAILED", "ansible_loop_var": "item"}
    broken = {"failed": True, "results": [{**item, "item": {"name": "suite"}}]}
    found = checkpoints.judge({"tests": {"app1": TESTS, "app2": broken}, "performance": {"r": FAST}})
    assert [one["passed"] for one in found] == [False, True]
    assert checkpoints.failed(found) == "tests: app2: suite: non-zero (exit status 1); the end of its output: E FAILED"


@pytest.mark.parametrize(
    "result",
    [
        pytest.param({}, id="no result"),
        pytest.param({"skipped": True, "sentence": "x"}, id="skipped"),
        pytest.param({"unreachable": True, "sentence": "x"}, id="unreachable"),
        pytest.param({"failed": True, "sentence": "x"}, id="failed"),
        pytest.param({"failed": False, "healthy": False, "observations": []}, id="not healthy"),
        pytest.param({"failed": False, "results": [{"rc": 0}, {}]}, id="a command without a status"),
        pytest.param({"failed": False, "results": []}, id="no commands"),
    ],
)
def test_what_says_nothing_has_not_passed(result: dict[str, Any]) -> None:
    (found,) = checkpoints.judge({"tests": {"app1": result}})
    assert found["passed"] is False
    assert found["seen"].startswith("app1: ")


def test_only_a_rehearsal_that_passed_is_one() -> None:
    assert checkpoints.rehearsal(None) == []
    assert checkpoints.rehearsal({"passed": None, "sentence": "it has not passed"}) == []
    assert checkpoints.rehearsal({"passed": 5.0, "sentence": "it passed"}) == [
        {"name": "rehearsal", "passed": True, "seen": "it passed"}
    ]
