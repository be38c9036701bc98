# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What runs note that they make on servers, and the next runs remove."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import SnapshotError
from ansible_collections.bluegreen.cutover.plugins.module_utils._snapshots import Notes


def left(folder: Path, answer: str | SnapshotError = "") -> tuple[list[str], list[str]]:
    """The numbers of the things that were to be removed, and what was told."""
    asked = []

    def remove(noted: Any) -> str:
        asked.append(noted["number"])
        if isinstance(answer, SnapshotError):
            raise answer
        return answer

    return asked, Notes(folder, ".shop.text.left-").settle("here", remove)


def test_what_was_noted_is_removed_once(tmp_path: Path) -> None:
    notes = Notes(tmp_path, ".shop.text.left-")
    notes.add("here", "a thing", number=1)
    Notes(tmp_path, ".shop.other.left-").add("here", "a thing", number=2)
    notes.add("here", "a thing", number=3).unlink()
    assert left(tmp_path) == ([1], [])
    assert left(tmp_path) == ([], [])


def test_what_may_still_come_is_looked_for_until_then(tmp_path: Path) -> None:
    Notes(tmp_path, ".shop.text.left-").add("here", "a thing", until=time.time() + 600, number=1)
    Notes(tmp_path, ".shop.text.left-").add("here", "a thing", until=time.time() - 1, number=2)
    assert sorted(left(tmp_path)[0]) == [1, 2]
    assert left(tmp_path)[0] == [1]


def test_what_a_person_has_to_know_is_told_and_what_fails_is_tried_again(tmp_path: Path) -> None:
    Notes(tmp_path, ".shop.text.left-").add("here", "a thing", number=1)
    for _time in range(2):
        assert left(tmp_path, SnapshotError("no"))[1] == ["a thing at here may be left of a run that has died. no"]
    assert left(tmp_path, "Look")[1] == ["a thing at here may be left of a run that has died. Look"]
    assert left(tmp_path) == ([], [])


def test_what_is_on_another_server_is_told_and_forgotten(tmp_path: Path) -> None:
    Notes(tmp_path, ".shop.text.left-").add("there", "a thing", number=1)
    asked, [told] = left(tmp_path)
    assert asked == []
    assert told.startswith("a thing at there may be left of a run that has died. The inventory names another server")
    assert left(tmp_path) == ([], [])


def test_a_note_that_was_not_written_whole_is_of_nothing(tmp_path: Path) -> None:
    (tmp_path / ".shop.text.left-1").write_text('{"where": "he')
    assert left(tmp_path) == ([], [])
    assert list(tmp_path.iterdir()) == []
