# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A collection of Qdrant is taken, proven and put back (R-E1, R-E7), against a STAND-IN of its REST contract.

Not against Qdrant itself: see qdrant_stand_in.py. Artifacts and HTTP are real.
"""

from __future__ import annotations

import copy
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.bluegreen.cutover.plugins.module_utils import _artifacts
from ansible_collections.bluegreen.cutover.plugins.module_utils._artifacts import Log, Wanted
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import DataLossError, SnapshotError
from ansible_collections.bluegreen.cutover.plugins.module_utils._snapshots import Notes
from ansible_collections.bluegreen.cutover.plugins.module_utils._snapshots.qdrant import Qdrant

from . import qdrant_stand_in

ROOT = Path(__file__).resolve().parents[2]
RUN = """
import sys
from pathlib import Path
from ansible_collections.bluegreen.cutover.plugins.module_utils._artifacts import Log, Wanted, bounded, restore, take
from ansible_collections.bluegreen.cutover.plugins.module_utils._snapshots.qdrant import Qdrant
url, key, what, path = sys.argv[1:]
engine = Qdrant({"url": url, "collection": "docs", "api_key_file": key}, Log())
with bounded(600, "Run again"):
    if what == "take":
        take(Wanted("vectors", Path(path), 3600.0), engine, Log())
    else:
        restore(Path(path), engine, Log(), accept_data_loss=True)
"""
POINTS = 450
KEY = "the-key-of-the-server"


class Place:
    """A server, and where artifacts are kept."""

    def __init__(self, server: qdrant_stand_in.Qdrant, url: str, folder: Path) -> None:
        self.server = server
        self.url = url
        self.folder = folder
        self.log = Log()

    def engine(self, **changed: Any) -> Qdrant:
        options = {"url": self.url, "collection": "docs", "api_key_file": str(self.folder / "key"), "ca_path": None}
        return Qdrant({**options, **changed}, self.log)

    def take(self, **changed: Any) -> Path:
        return Path(self._take("vectors", **changed)["artifact"])

    def take_more(self, part: str = "vectors") -> list[str]:
        """Take one that is thrown away; what it tells that may be left."""
        done = self._take(part)
        # The next one may come in the same second.
        shutil.rmtree(done["artifact"])
        return list(done["left"])

    def _take(self, part: str, **changed: Any) -> dict[str, Any]:
        return _artifacts.take(Wanted(part, self.folder / "kept", 3600.0), self.engine(**changed), self.log)

    def restore(self, path: Path, **changed: Any) -> dict[str, Any]:
        return _artifacts.restore(path, self.engine(**changed), self.log, accept_data_loss=True)

    def killed_at(self, hold: str, what: str, path: Path, number: signal.Signals = signal.SIGKILL) -> str:
        """Have a process of its own ``take`` or ``restore``, and end it when what it asks for there is done, and not
        answered; what it said.
        """
        self.server.hold = hold
        running = subprocess.Popen(
            [sys.executable, "-c", RUN, self.url, str(self.folder / "key"), what, str(path)],
            env={**os.environ, "PYTHONPATH": str(ROOT / "collections"), "PYTHONDONTWRITEBYTECODE": "1"},
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            assert self.server.held.wait(90)
            running.send_signal(number)
            return running.communicate(timeout=90)[1]
        finally:
            running.kill()
            running.wait()
            self.server.hold = ""
            self.server.released.set()
            # Two snapshots of one second have one name.
            self.server.clock = lambda: time.time() + 60

    def take_killed_at(self, hold: str, number: signal.Signals = signal.SIGKILL) -> str:
        return self.killed_at(hold, "take", self.folder / "kept", number)

    def look(self) -> Any:
        """All that the server holds."""
        return copy.deepcopy((self.server.collections, self.server.snapshots, self.server.aliases))

    def artifacts(self) -> list[str]:
        return [one.name for one in (self.folder / "kept").glob("*") if not one.name.startswith(".vectors.")]

    def notes(self) -> list[str]:
        return [one.name for one in (self.folder / "kept").glob(".vectors.left-*")]


@pytest.fixture(name="place")
def _place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Place]:
    with capsys.disabled():
        print(" [against a STAND-IN for Qdrant] ", end="")
    tmp_path.chmod(0o700)
    (tmp_path / "key").write_text(f"{KEY}\n")
    qdrant = qdrant_stand_in.Qdrant(KEY)
    some = random.Random(5)  # noqa: S311 - numbers for vectors
    qdrant.collections["docs-1"] = {
        number: {
            "id": number,
            "payload": {"title": f"ü {number}", "tags": [number % 7], "score": some.random()},
            "vector": {"text": [some.random() for _ in range(8)], "words": {"indices": [3, 1], "values": [0.1, 2.0]}},
        }
        for number in range(POINTS)
    }
    qdrant.collections["other"] = {1: {"id": 1, "payload": None, "vector": [0.5]}}
    qdrant.snapshots["docs-1"] = {"of-somebody-else.snapshot": b"tar of []"}
    qdrant.aliases = {"docs": "docs-1", "others": "other"}
    server = qdrant_stand_in.serve(qdrant)
    yield Place(qdrant, f"http://127.0.0.1:{server.server_address[1]}", tmp_path)
    server.shutdown()
    server.server_close()


def damage(place: Place) -> None:
    points = place.server.collections["docs-1"]
    del points[3]
    points[4]["payload"]["title"] = "green was here"
    points[5]["vector"]["text"][0] += 0.001
    points[9999] = {"id": 9999, "payload": {}, "vector": {}}


def test_a_collection_comes_back_behind_its_alias_and_what_was_there_is_left(place: Place) -> None:
    before = place.look()
    points = copy.deepcopy(place.server.collections["docs-1"])
    path = place.take()
    manifest = _artifacts.read_manifest(path)
    assert manifest["verified"]
    assert manifest["contents"]["points"]["count"] == POINTS
    assert manifest["versions"] == {"qdrant": "1.19.0"}
    assert manifest["mark"]["aliases"] == ["docs"]
    # Nothing of it is left on the server, in which it was proven.
    assert place.look() == before
    assert place.notes() == []
    assert not place.restore(path)["changed"]

    damage(place)
    damaged = copy.deepcopy(place.server.collections["docs-1"])
    with pytest.raises(DataLossError, match=r"4 at least, added, changed or removed \(points\)"):
        _artifacts.restore(path, place.engine(), place.log)
    assert place.restore(path)["changed"]
    serving = place.server.aliases["docs"]
    assert serving.startswith("docs-1-restored-")
    assert place.server.collections[serving] == points
    assert place.server.collections["docs-1"] == damaged
    assert place.server.aliases == {"docs": serving, "others": "other"}
    # What was uploaded is not left on its disk.
    assert place.server.snapshots == {"docs-1": {"of-somebody-else.snapshot": b"tar of []"}, serving: {}}
    # And again, from what was restored.
    place.server.collections[serving].pop(7)
    assert place.restore(path)["changed"]
    assert place.server.aliases["docs"].count("restored") == 1
    assert place.server.collections[place.server.aliases["docs"]] == points


def test_the_key_is_in_no_message_and_no_manifest(place: Place) -> None:
    path = place.take()
    assert KEY not in (path / "manifest.json").read_text()
    assert KEY not in str(place.log.lines)


def test_a_collection_without_an_alias_is_taken_and_not_put_back(place: Place) -> None:
    path = place.take(collection="docs-1")
    damage(place)
    before = place.look()
    with pytest.raises(SnapshotError, match=r"is a collection and not an alias: .* Nothing was changed"):
        place.restore(path, collection="docs-1")
    assert place.look() == before


def test_a_hostile_name_is_only_a_name(place: Place) -> None:
    name = '../it\'s a "name"?x=1#%2F'
    place.server.collections[name] = {1: {"id": 1, "payload": None, "vector": [0.5]}}
    place.server.aliases["docs"] = name
    path = place.take()
    place.server.collections[name][1]["vector"] = [0.6]
    place.restore(path)
    assert place.server.collections[place.server.aliases["docs"]] == {1: {"id": 1, "payload": None, "vector": [0.5]}}


def _set(**values: Any) -> Callable[[Place], None]:
    return lambda place: [setattr(place.server, name, value) for name, value in values.items()] and None


@pytest.mark.parametrize(
    ("fault", "changed", "told"),
    [
        (_set(key="another"), {}, "answered 401, .*Give qdrant.api_key_file"),
        (_set(), {"api_key_file": "/none"}, "the API key of Qdrant in /none cannot be read"),
        (_set(), {"collection": "nothing"}, "answered 404, .*See qdrant.collection"),
        (_set(), {"url": "http://127.0.0.1:1"}, "cannot be talked to, .*See whether it runs"),
        (_set(peers=3), {}, "is one of 3 peers"),
        (_set(status="red"), {}, "is damaged"),
        (_set(full=True), {}, "answered 507, .*Make room on the server's disk"),
        (_set(flip=True), {}, "the server had announced"),
        (_set(cut=True), {}, "bytes early"),
        (_set(lose=True), {}, "points has 449, and had 450"),
        (_set(hang_up="/snapshots/upload"), {}, "cannot be talked to, while recovering"),
        (_set(hang_up="/points/scroll"), {}, "cannot be talked to, while reading its points"),
    ],
)
def test_a_snapshot_that_fails_is_told_and_leaves_nothing(
    place: Place, fault: Callable[[Place], None], changed: dict[str, Any], told: str
) -> None:
    before = place.look()
    fault(place)
    with pytest.raises(SnapshotError, match=told):
        place.take(**changed)
    assert place.look() == before
    assert place.artifacts() == []


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (_set(hang_up="/snapshots/upload"), "cannot be talked to, while recovering"),
        (_set(lose=True), "was recovered as 449 points, and the snapshot has 450"),
        (_set(hang_up="create_alias"), "cannot be talked to, while moving the alias"),
    ],
)
def test_a_restore_that_fails_leaves_what_was_there(place: Place, fault: Callable[[Place], None], told: str) -> None:
    path = place.take()
    damage(place)
    before = place.look()
    fault(place)
    with pytest.raises(SnapshotError, match=told):
        place.restore(path)
    assert place.look() == before


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (_set(version="1.18.2"), "an older server does not understand"),
        (_set(peers=3), "is one of 3 peers"),
        (_set(read_only=True), "answered 403, .*Give a key that may manage collections"),
    ],
)
def test_what_keeps_it_from_being_restored_is_told_before_anything_is_stopped(
    place: Place, fault: Callable[[Place], None], told: str
) -> None:
    """R-E7."""
    path = place.take()
    damage(place)
    before = place.look()
    assert _artifacts.restore(path, place.engine(), place.log, accept_data_loss=True, check_mode=True)["changed"]
    assert place.look() == before
    fault(place)
    for check_mode in (True, False):
        with pytest.raises(SnapshotError, match=told):
            _artifacts.restore(path, place.engine(), place.log, accept_data_loss=True, check_mode=check_mode)
    assert place.look() == before


def test_a_disk_of_ours_that_is_full_leaves_nothing(place: Place) -> None:
    before = place.look()
    kept = place.folder / "kept"
    kept.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k,mode=0700", "tmpfs", str(kept)], check=True)
    try:
        with pytest.raises(SnapshotError, match="free some space there and run again"):
            place.take()
        assert place.artifacts() == []
    finally:
        subprocess.run(["umount", str(kept)], check=True)
    assert place.look() == before


MAKING = "POST /collections/docs-1/snapshots "
DOWNLOADING = "GET /collections/docs-1/snapshots/docs-1-"
PROVING = "-bluegreen-scratch-.*/snapshots/upload"


def made_by_others(place: Place) -> str:
    """A snapshot that somebody else has the server make now; its name."""
    stamp = time.strftime("%Y-%m-%d-%H-%M-%S", time.gmtime(time.time() + 30))
    name = f"docs-1-{qdrant_stand_in.PEER}-{stamp}.snapshot"
    place.server.snapshots["docs-1"][name] = b"tar of []"
    return name


@pytest.mark.parametrize("hold", [DOWNLOADING, PROVING])
def test_what_a_killed_run_has_left_is_removed_by_the_next(place: Place, hold: str) -> None:
    before = place.look()
    place.take_killed_at(hold)
    assert place.look() != before
    theirs = made_by_others(place)
    assert place.take_more() == []
    assert place.server.snapshots["docs-1"].pop(theirs)
    assert place.look() == before
    assert [one for one in place.artifacts() if one.startswith(".partial-")] == []


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_who_is_killed_while_the_server_makes_a_snapshot_leaves_its_name(place: Place, number: signal.Signals) -> None:
    """Nothing says whose it is, so that nobody but a person may delete it."""
    before = place.look()
    said = place.take_killed_at(MAKING, number)
    told_at_once = "the server goes on making a snapshot of the collection docs-1, which stays on its disk" in said
    assert told_at_once == (number == signal.SIGTERM)
    [ours] = place.server.snapshots["docs-1"].keys() - {"of-somebody-else.snapshot"}
    # The server has more to do, and is not ready with it when the next run begins.
    raw = place.server.snapshots["docs-1"].pop(ours)
    [told] = place.take_more()
    assert "It is not there yet; see later what GET http://" in told
    place.server.snapshots["docs-1"][ours] = raw
    theirs = made_by_others(place)
    for _run in range(2):
        [told] = place.take_more()
        assert f"Qdrant does not say whose these are: {', '.join(sorted([ours, theirs]))}. Delete what nobody" in told
    for name in (ours, theirs):
        assert place.server.snapshots["docs-1"].pop(name)
    assert place.look() == before


def test_a_snapshot_of_long_before_or_after_is_nobodys_business(place: Place) -> None:
    place.take_killed_at(MAKING)
    there = place.server.snapshots["docs-1"]
    [ours] = there.keys() - {"of-somebody-else.snapshot"}
    del there[ours]
    mine = ours.rpartition(f"-{qdrant_stand_in.PEER}-")[2]
    others = f"docs-10-4711-{mine}", f"docs-1-x-{mine}", "docs-1-4711-2001-01-01-00-00-00.snapshot", mine
    for name in (*others, "docs-1-4711-2999-01-01-00-00-00.snapshot", "docs-1-4711-99.snapshot"):
        there[name] = b"tar of []"
    assert "It is not there yet" in place.take_more()[0]
    # What was there before is not new, also where it has the name that ours would have.
    [note] = place.notes()
    (place.folder / "kept" / note).unlink()
    place.server.clock = lambda: 978307200.0
    assert place.take_more() == []
    assert "docs-1-4711-2001-01-01-00-00-00.snapshot" in there


def test_a_snapshot_that_the_server_refuses_is_not_looked_for(place: Place) -> None:
    place.server.full = True
    with pytest.raises(SnapshotError, match="507"):
        place.take()
    assert place.notes() == []
    place.server.full = False
    place.server.hang_up = MAKING
    with pytest.raises(SnapshotError, match="cannot be talked to, while making its snapshot"):
        place.take()
    assert len(place.notes()) == 1


def test_two_parts_of_one_collection_are_proven_at_once(place: Place) -> None:
    path = place.take()
    engine = place.engine()
    engine.remove_left(Notes(place.folder, ".first.left-"))
    taken = _artifacts._taken(_artifacts.read_manifest(path))
    with engine.scratch(path / "data", taken):
        [scratch] = place.server.collections.keys() - {"docs-1", "other"}
        place.take_more("more")
        assert place.server.collections.keys() == {"docs-1", "other", scratch}
    assert place.server.collections.keys() == {"docs-1", "other"}


def test_what_was_left_and_cannot_be_removed_is_told_and_tried_again(place: Place) -> None:
    place.take_killed_at(DOWNLOADING)
    [ours] = place.server.snapshots["docs-1"].keys() - {"of-somebody-else.snapshot"}
    place.server.read_only = True
    with pytest.raises(SnapshotError, match="answered 403"):
        place.take()
    assert "a snapshot of the collection docs-1 at http://" in str(place.log.lines)
    place.server.read_only = False
    assert place.take_more() == []
    assert ours not in place.server.snapshots["docs-1"]


@pytest.mark.parametrize(
    "hold", ["-restored-.*/snapshots/upload", "-restored-.*/points/scroll", "POST /collections/aliases .*create_alias"]
)
def test_a_restore_that_is_killed_loses_nothing_and_is_done_again(place: Place, hold: str) -> None:
    """When the new collection is there, while it is compared, and when the alias names it."""
    points = copy.deepcopy(place.server.collections["docs-1"])
    path = place.take()
    damage(place)
    damaged = copy.deepcopy(place.server.collections["docs-1"])
    place.killed_at(hold, "restore", path)
    [left] = place.server.collections.keys() - {"docs-1", "other"}
    moved = "aliases" in hold
    assert place.server.aliases == {"docs": left if moved else "docs-1", "others": "other"}
    again = place.restore(path)
    assert again["changed"] is not moved
    assert place.server.collections[place.server.aliases["docs"]] == points
    assert place.server.collections["docs-1"] == damaged
    # What the killed one has left is for a person to delete, who is told of it.
    assert any(left in one for one in again["kept"]) is not moved


def test_writes_during_a_snapshot_make_it_fail(place: Place) -> None:
    engine = place.engine()
    inner = engine._download

    def download(*arguments: Any) -> None:
        inner(*arguments)
        place.server.collections["docs-1"].pop(0)

    engine._download = download  # type: ignore[method-assign]
    with pytest.raises(SnapshotError, match="points has 450, and had 449"):
        _artifacts.take(Wanted("vectors", place.folder / "kept", 3600.0), engine, place.log)
    assert place.artifacts() == []
