# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a failed task tells."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.bluegreen.cutover.plugins.filter.failure import FilterModule

failure = FilterModule().filters()["failure"]

PASSED = {"failed": False, "rc": 0, "msg": "", "stdout": "fine", "test": {"name": "lint"}, "ansible_loop_var": "test"}
FAILED = {
    "failed": True,
    "rc": 1,
    "msg": "non-zero return code",
    "stdout": "\n".join(f"line {number}\n" for number in range(20)),
    "stderr": "FAILED (failures=1)\n",
    "test": {"name": "unit"},
    "ansible_loop_var": "test",
}


def test_of_a_loop_each_item_that_failed_is_named_with_the_end_of_its_output() -> None:
    missing = {"failed": True, "msg": "No such file", "rc": 2, "item": "contracts"}
    told = failure({"msg": "One or more items failed", "results": [PASSED, FAILED, missing]}).splitlines()
    assert told[0] == "unit: non-zero return code (exit status 1); the end of its output:"
    assert told[1:-1] == [*(f"line {number}" for number in range(11, 20)), "FAILED (failures=1)"]
    assert told[-1] == "contracts: No such file (exit status 2)"


@pytest.mark.parametrize(
    ("result", "told"),
    [
        ({"msg": "shop-green.service is not ready"}, "shop-green.service is not ready"),
        ({"msg": "Timed out", "results": []}, "Timed out"),
        ({}, "no message"),
        (
            {"results": [{"failed": True, "msg": "Timed out after 2 s", "item": {"path": "/x"}}]},
            "{'path': '/x'}: Timed out after 2 s",
        ),
    ],
)
def test_what_has_no_output_tells_its_message(result: dict[str, Any], told: str) -> None:
    assert failure(result) == told


def test_what_is_no_result_is_refused() -> None:
    with pytest.raises(AnsibleFilterError, match="needs the result of a task, not str"):
        failure("failed")
