# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A holder that is dead on this control node is known to be."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.identity import is_gone, process_start

HERE: dict[str, Any] = {"host": "ops1", "boot_id": "b", "pid_ns": "pid:[1]"}
HOLDER = {**HERE, "pid": 42, "pid_start": 7000}
STAT = "42 (a) b (c) {state} 1 42 42 0 -1 4194304 0 0 0 0 1 1 0 0 20 0 1 0 7000 12345 99"


@pytest.mark.parametrize(("state", "start"), [("S", 7000), ("R", 7000), ("Z", None), ("X", None)])
def test_when_a_process_began_whatever_its_name(state: str, start: int | None) -> None:
    assert process_start(STAT.format(state=state)) == start


@pytest.mark.parametrize(
    ("change", "start", "gone"),
    [
        ({}, 7000, False),
        ({}, None, True),
        ({}, 8000, True),
        ({"host": "ops2"}, None, False),
        ({"boot_id": "other"}, None, False),
        ({"pid_ns": "pid:[2]"}, None, False),
        ({"pid_ns": None}, None, False),
        ({"pid_start": None}, None, False),
    ],
)
def test_only_the_same_node_can_tell(change: dict[str, Any], start: int | None, gone: bool) -> None:
    assert is_gone({**HOLDER, **change}, HERE, start) is gone
