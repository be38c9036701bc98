# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Artifacts on a disk: whole or not there, found when they are damaged, never where others could plant something."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import itertools
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.bluegreen.cutover.plugins.module_utils import _artifacts
from ansible_collections.bluegreen.cutover.plugins.module_utils._artifacts import Log, Wanted
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import (
    DataLossError,
    InputError,
    SnapshotError,
)
from ansible_collections.bluegreen.cutover.plugins.module_utils._encryption import Encryption
from ansible_collections.bluegreen.cutover.plugins.module_utils._snapshots import (
    Content,
    Left,
    Notes,
    Progress,
    Taken,
    Written,
)


class Shelf:
    """An engine whose part is a text."""

    name = "shelf"
    apart = True

    def __init__(self, text: str = "hello") -> None:
        self.text = text
        self.written: list[Written] = [Written("text", "letters", 3)]
        self.hook: Callable[[Path], None] = lambda _folder: None
        self.spoils = ""
        self.takes = 0
        self.problem = ""
        self.refuses = ""
        self.looked_at = ""
        self.number = 1
        self.others: list[str] = []

    def remove_left(self, notes: Notes) -> list[str]:
        return notes.settle("shelf", lambda noted: f"It has {noted['letters']}")

    def check(self) -> None:
        if self.problem:
            raise SnapshotError(self.problem)

    def take(self, folder: Path) -> Taken:
        self.takes += 1
        (folder / "sub").mkdir()
        (folder / "sub" / "text").write_text(self.text)
        self.hook(folder)
        return Taken({"shelf": self.number}, {"shelf": "1.0"}, 5.0, True, self.contents(), {"m": 1})

    @contextlib.contextmanager
    def scratch(self, folder: Path, _taken: Taken) -> Iterator[Mapping[str, Content]]:
        yield {"text": Content(1, (folder / "sub" / "text").read_text() + self.spoils)}

    def check_source(self, taken: Taken) -> None:
        if taken.source["shelf"] != self.number:
            raise SnapshotError(f"it is of shelf {taken.source['shelf']}")

    def check_restore(self, folder: Path, _taken: Taken) -> None:
        self.looked_at = (folder / "sub" / "text").read_text()
        if self.refuses:
            raise SnapshotError(self.refuses)

    def restore(self, folder: Path, taken: Taken) -> Left:
        self.check_restore(folder, taken)
        self.hook(folder)
        before, self.text = self.text, (folder / "sub" / "text").read_text()
        return Left([f"{before} is left"])

    def contents(self) -> dict[str, Content]:
        if self.problem:
            raise SnapshotError(self.problem)
        return {"text": Content(1, self.text)}

    def also_differs(self, _taken: Taken) -> list[str]:
        return self.others

    def written_since(self, _taken: Taken) -> list[Written]:
        return self.written


class Clock:
    """Each look at it is a second later."""

    def __init__(self) -> None:
        self.now = time.time()

    def __call__(self) -> float:
        self.now += 1
        return self.now


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    one = Clock()
    monkeypatch.setattr(_artifacts.time, "time", one)
    return one


@pytest.fixture
def place(tmp_path: Path) -> Path:
    tmp_path.chmod(0o700)
    return tmp_path / "snapshots"


def wanted(place: Path, **changed: Any) -> Wanted:
    given: dict[str, Any] = {"part": "text", "destination": place, "keep": 3600.0, "service": "shop"}
    return Wanted(**{**given, **changed})


def taken(place: Path, engine: Shelf | None = None, **changed: Any) -> Path:
    return Path(_artifacts.take(wanted(place, **changed), engine or Shelf(), Log())["artifact"])


def visible(place: Path) -> list[str]:
    return sorted(one.name for one in place.iterdir() if not one.name.endswith(".lock")) if place.exists() else []


def test_an_artifact_is_whole_private_and_proven(place: Path) -> None:
    result = _artifacts.take(wanted(place, migration="m1"), Shelf(), Log())
    path = Path(result["artifact"])
    assert result["changed"]
    assert visible(place) == [path.name]
    assert path.name.startswith("shop.text.2")
    assert {oct(one.stat().st_mode & 0o777) for one in (place, path, path / "data", path / "manifest.json")} == {
        "0o700",
        "0o600",
    }
    manifest = _artifacts.read_manifest(path)
    assert manifest == result["manifest"]
    assert manifest["verified"]["at"] <= manifest["completed"]
    assert manifest["expires"] == manifest["completed"] + 3600
    assert list(manifest["files"]) == ["data/sub/text"]
    assert _artifacts.open_whole(path).problems == []


def test_what_was_summed_up_while_it_was_written_is_not_read_again_and_has_its_size(tmp_path: Path) -> None:
    path = tmp_path / "data" / "archive"
    path.parent.mkdir()
    path.write_text("whole")
    known = {"data/archive": {"size": 5, "sha256": "summed up before"}}
    assert _artifacts.hash_tree(path.parent, tmp_path, sync=True, known=known) == known
    path.write_text("whole, and more")
    with pytest.raises(SnapshotError, match="archive was changed after it was written"):
        _artifacts.hash_tree(path.parent, tmp_path, sync=True, known=known)


def test_a_second_run_of_the_same_migration_finds_it(place: Path) -> None:
    engine = Shelf()
    first = taken(place, engine, migration="m1")
    again = _artifacts.take(wanted(place, migration="m1"), engine, Log())
    assert (again["changed"], again["artifact"], engine.takes) == (False, str(first), 1)


def test_what_may_be_left_on_the_server_is_told(place: Path) -> None:
    taken(place)
    Notes(place, ".shop.text.left-").add("shelf", "a letter", letters=7)
    log = Log()
    told = _artifacts.take(wanted(place), Shelf(), log)["left"]
    assert told == ["a letter at shelf may be left of a run that has died. It has 7"]
    assert told[0] in str(log.lines)
    assert _artifacts.take(wanted(place), Shelf(), Log())["left"] == []


@pytest.mark.parametrize("changed", [{"migration": "m2"}, {"part": "other"}, {"service": None}])
def test_another_migration_part_or_service_gets_its_own(place: Path, changed: dict[str, Any]) -> None:
    taken(place, migration="m1")
    engine = Shelf()
    taken(place, engine, **{"migration": "m1", **changed})
    assert engine.takes == 1


@pytest.mark.parametrize(
    "damage", ["flipped", "truncated", "missing", "more", "manifest", "expired", "unverified", "source"]
)
def test_a_run_that_is_resumed_takes_another_where_the_first_is_no_use(place: Path, damage: str, clock: Clock) -> None:
    path = taken(place, migration="m1", verify=damage != "unverified")
    file = path / "data" / "sub" / "text"
    engine = Shelf()
    spoil: dict[str, Callable[[], Any]] = {
        "flipped": lambda: file.write_text("hellp"),
        "truncated": lambda: os.truncate(file, 3),
        "missing": file.unlink,
        "more": lambda: (path / "data" / "more").write_text(""),
        "manifest": lambda: (path / "manifest.json").write_text("{}"),
        "expired": lambda: setattr(clock, "now", clock.now + 4000),
        "unverified": lambda: None,
        # The inventory named another one by mistake, and was corrected.
        "source": lambda: setattr(engine, "number", 2),
    }
    spoil[damage]()
    assert _artifacts.take(wanted(place, migration="m1"), engine, Log())["changed"]


def test_what_is_not_the_same_after_a_restore_is_not_kept(place: Path) -> None:
    engine = Shelf()
    engine.spoils = "!"
    with pytest.raises(SnapshotError, match="not proven: .* text has 1 as before, with another content. It was not"):
        taken(place, engine)
    assert visible(place) == []


def test_what_is_not_to_be_proven_says_so(place: Path) -> None:
    assert _artifacts.read_manifest(taken(place, verify=False))["verified"] is None


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/x"), "/x: No space left on device. Free some space"),
        (SnapshotError("the server has gone"), "the server has gone"),
    ],
)
def test_what_fails_in_the_middle_leaves_nothing(place: Path, error: Exception, told: str) -> None:
    engine = Shelf()

    def fail(_folder: Path) -> None:
        raise error

    engine.hook = fail
    with pytest.raises(SnapshotError, match=told):
        taken(place, engine)
    assert visible(place) == []


def test_an_engine_that_writes_nothing_or_a_link_has_failed(place: Path) -> None:
    engine = Shelf()
    engine.hook = lambda folder: (folder / "sub" / "text").unlink()
    with pytest.raises(SnapshotError, match="wrote nothing"):
        taken(place, engine)
    engine.hook = lambda folder: (folder / "link").symlink_to("/etc/passwd")
    with pytest.raises(SnapshotError, match="neither a file nor a folder"):
        taken(place, engine)
    assert visible(place) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGALRM])
def test_who_is_told_to_end_leaves_nothing(place: Path, number: signal.Signals) -> None:
    engine = Shelf()
    engine.hook = lambda _folder: signal.raise_signal(number)
    told = "this (did not end within 9 s|was told to end by a signal). Look"
    with pytest.raises(SnapshotError, match=told), _artifacts.bounded(9, "Look"):
        taken(place, engine)
    assert visible(place) == []
    assert signal.getsignal(number) == signal.SIG_DFL


def test_what_a_killed_run_left_is_removed_by_the_next(place: Path) -> None:
    taken(place)
    left = place / ".partial-shop.text.20200101T000000Z"
    (left / "data").mkdir(parents=True)
    other = place / ".partial-shop.other.20200101T000000Z"
    other.mkdir()
    assert _artifacts.describe(place, {}, sums=False)["leftovers"] == [str(other), str(left)]
    taken(place)
    assert not left.exists()
    assert other.exists()


def halves(place: Path, engine: Shelf, state: str, **changed: Any) -> dict[str, Any]:
    return _artifacts.take(wanted(place, migration="m1", **changed), engine, Log(), state=state)


def test_what_is_read_while_writers_are_held_is_proven_when_they_are_let_go(place: Path) -> None:
    """R-E1: clients wait for the reading, and for nothing else."""
    engine = Shelf()
    read = halves(place, engine, "taken", hold="7")
    assert (read["changed"], read["artifact"], engine.takes) == (True, None, 1)
    [partial] = visible(place)
    assert partial.startswith(".partial-shop.text.")
    assert _artifacts.find(place) == []
    engine.text = "written since"
    # A timer meanwhile, of this environment or of one that knows nothing of its migrations; it is open.
    told = _artifacts.expire(place, "shop", ["m0"])
    why = "it was read for a migration that is not known to be over"
    assert (told["changed"], told["kept"]) == (False, [{"path": str(place / partial), "why": why}])
    result = halves(place, engine, "proven", hold="7")
    manifest = result["manifest"]
    assert (manifest["contents"]["text"]["digest"], manifest["hold"], engine.takes) == ("hello", "7", 1)
    assert manifest["verified"]
    assert visible(place) == [Path(result["artifact"]).name] == [partial[len(".partial-") :]]
    assert sorted(one.name for one in Path(result["artifact"]).iterdir()) == ["data", "manifest.json"]
    assert _artifacts.open_whole(Path(result["artifact"])).problems == []
    # A run that is resumed, after all parts were read in that hold, has nothing to do in either half.
    again = [halves(place, engine, state, hold="8", earlier_hold="7") for state in ("taken", "proven")]
    assert [(one["changed"], one["manifest"], engine.takes) for one in again] == [(False, manifest, 1)] * 2


@pytest.mark.parametrize("damage", ["flipped", "source"])
def test_what_was_read_and_is_no_use_is_not_proven(place: Path, damage: str) -> None:
    engine = Shelf()
    halves(place, engine, "taken")
    [partial] = place.glob(".partial-*")
    if damage == "flipped":
        (partial / "data" / "sub" / "text").write_text("hellp")
    else:
        engine.number = 2
    with pytest.raises(SnapshotError, match="is not there any more. It is not read anew, because nobody is held now"):
        halves(place, engine, "proven")
    assert (visible(place), engine.takes) == ([], 1)
    halves(place, engine, "taken")
    engine.spoils = "!"
    with pytest.raises(SnapshotError, match="is not proven"):
        halves(place, engine, "proven")
    assert visible(place) == []
    with pytest.raises(InputError, match="state taken needs a migration"):
        _artifacts.take(wanted(place), engine, Log(), state="taken")


def test_the_first_half_reads_anew_what_a_dead_run_has_read(place: Path) -> None:
    """Its writers were let go since, and the other parts are read in another hold."""
    engine = Shelf()
    halves(place, engine, "taken", hold="1")
    engine.text = "later"
    halves(place, engine, "taken", hold="2")
    assert len(visible(place)) == 1
    manifest = halves(place, engine, "proven", hold="2")["manifest"]
    assert (manifest["contents"]["text"]["digest"], manifest["hold"]) == ("later", "2")
    assert not _artifacts.expire(place, "shop", [])["changed"]
    halves(place, Shelf(), "taken", part="other")
    assert _artifacts.expire(place, "shop", ["m1"])["changed"]


@pytest.mark.parametrize(("first", "then"), [("1", "2"), ("1", None), (None, "2")])
def test_a_part_that_was_read_in_another_hold_is_read_again_with_the_others(
    place: Path, first: str | None, then: str | None
) -> None:
    """R-E1: the writers of both were let go when a run was killed while it proved the next part; or ``cutover_freeze``
    has come into the inventory since, or is gone.
    """
    engine = Shelf()
    for state in ("taken", "proven"):
        halves(place, engine, state, hold=first)
    assert not halves(place, engine, "taken", hold=first)["changed"]
    engine.text = "later"
    _read, proven = [halves(place, engine, state, hold=then) for state in ("taken", "proven")]
    manifest = proven["manifest"]
    assert (manifest["contents"]["text"]["digest"], manifest["hold"], engine.takes) == ("later", then or "none", 2)


def test_what_needs_no_hold_is_used_again_in_any(place: Path) -> None:
    engine = Shelf()
    engine.apart = False
    assert [halves(place, engine, "proven", hold=hold)["changed"] for hold in ("1", "2")] == [True, False]


def test_what_was_read_with_nobody_held_says_so(place: Path) -> None:
    """Unlike what needs no hold it does not fit to what was read in one (R-E1)."""
    engine = Shelf()
    assert _artifacts.take(wanted(place), engine, Log())["manifest"]["hold"] == "none"
    engine.apart = False
    assert _artifacts.take(wanted(place), engine, Log())["manifest"]["hold"] is None


def test_what_contents_do_not_show_is_a_difference_too(place: Path) -> None:
    """R-E7: nothing passes for the same that a restore would bring back."""
    engine = Shelf()
    path = taken(place, engine)
    engine.others = ["its labels are others"]
    with pytest.raises(DataLossError) as told:
        _artifacts.restore(path, engine, Log())
    assert told.value.evidence["differences"] == ["its labels are others"]


def test_what_only_its_own_process_can_prove_is_taken_whole_when_writers_were_let_go(place: Path) -> None:
    engine = Shelf()
    engine.apart = False
    read = halves(place, engine, "taken", hold="7")
    assert (read["changed"], engine.takes) == (False, 0)
    manifest = halves(place, engine, "proven", hold="7")["manifest"]
    assert (bool(manifest["verified"]), manifest["hold"], engine.takes) == (True, None, 1)


def test_a_service_does_not_remove_what_is_another_ones(place: Path) -> None:
    left = place / ".partial-text.db.20200101T000000Z"
    taken(place)
    left.mkdir()
    taken(place, service=None)
    assert left.exists()


def test_two_at_once_are_refused_and_the_second_is_told_who_is_first(place: Path) -> None:
    engine = Shelf()

    def again(_folder: Path) -> None:
        with pytest.raises(SnapshotError, match=f"restores or removes a snapshot of shop.text .*process {os.getpid()}"):
            taken(place, Shelf())
        taken(place, Shelf(), part="other")

    engine.hook = again
    taken(place, engine)
    assert len(visible(place)) == 2


def test_check_mode_takes_nothing_and_finds_what_would_fail(place: Path) -> None:
    engine = Shelf()
    result = _artifacts.take(wanted(place), engine, Log(), check_mode=True)
    assert (result["changed"], result["artifact"], engine.takes, place.exists()) == (True, None, 0, False)
    engine.problem = "it cannot be reached"
    with pytest.raises(SnapshotError, match="it cannot be reached"):
        _artifacts.take(wanted(place), engine, Log(), check_mode=True)


def test_a_destination_that_others_can_write_to_is_refused(place: Path, tmp_path: Path) -> None:
    place.mkdir()
    place.chmod(0o770)
    with pytest.raises(SnapshotError, match=f"{place} is owned by uid .* mode 0770"):
        taken(place)
    place.chmod(0o700)
    tmp_path.chmod(0o777)
    with pytest.raises(SnapshotError, match=f"{tmp_path} is owned by uid .* mode 0777"):
        taken(place)


def test_planted_links_are_not_followed(place: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "kept").write_text("kept")
    place.symlink_to(elsewhere)
    with pytest.raises(SnapshotError, match="is a link to"):
        taken(place)
    place.unlink()
    place.mkdir(0o700)
    (place / ".partial-shop.text.x").symlink_to(elsewhere)
    (place / ".shop.text.lock").symlink_to(elsewhere / "lock")
    with pytest.raises(SnapshotError, match="put a link there"):
        taken(place)
    (place / ".shop.text.lock").unlink()
    path = taken(place)
    assert [one.name for one in elsewhere.iterdir()] == ["kept"]
    (path / "data" / "sub" / "text").unlink()
    (path / "data" / "sub" / "text").symlink_to(elsewhere / "kept")
    with pytest.raises(SnapshotError, match="neither a file nor a folder"):
        _artifacts.open_whole(path)


@pytest.mark.parametrize("name", ["relative", "/a/../b"])
def test_a_path_that_does_not_say_where_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="an absolute path without"):
        taken(Path(name))


def test_what_is_restored_is_what_was_taken(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Shelf("first")
    path = taken(place, engine)
    assert not _artifacts.restore(path, engine, Log())["changed"]
    engine.text = "second"
    with pytest.raises(DataLossError, match=r"would lose .* 1970-01-01 00:00:05 UTC: 3 letters \(text\). Nothing was"):
        _artifacts.restore(path, engine, Log())
    assert engine.text == "second"
    result = _artifacts.restore(path, engine, Log(), accept_data_loss=True, check_mode=True)
    assert (result["changed"], engine.text, result["seconds"]) == (True, "second", 0.0)
    monkeypatch.setattr(_artifacts.time, "monotonic", itertools.count(100.0).__next__)
    result = _artifacts.restore(path, engine, Log(), accept_data_loss=True)
    assert (result["changed"], engine.text) == (True, "first")
    assert result["written"] == [{"name": "text", "what": "letters", "count": 3}]
    assert result["differences"] == ["text has 1 as before, with another content"]
    assert (result["kept"], result["unproven"]) == (["second is left"], [])
    assert result["seconds"] >= 1.0


def test_check_mode_finds_what_would_keep_it_from_being_restored(place: Path) -> None:
    engine = Shelf("first")
    path = taken(place, engine)
    engine.text, engine.refuses = "second", "a role is gone"
    for check_mode in (True, False):
        with pytest.raises(SnapshotError, match="a role is gone"):
            _artifacts.restore(path, engine, Log(), accept_data_loss=True, check_mode=check_mode)
    assert engine.text == "second"


def test_who_writes_at_once_does_not_make_a_restore_fail(place: Path) -> None:
    """Engines compare before they swap: the next part of a rollback is not kept back by a service that goes on."""

    class Busy(Shelf):
        def restore(self, folder: Path, taken: Taken) -> Left:
            left = super().restore(folder, taken)
            self.text = "written right after"
            return replace(left, unproven=["others write"])

    engine = Busy("first")
    path = taken(place, engine)
    engine.text = "second"
    result = _artifacts.restore(path, engine, Log(), accept_data_loss=True)
    assert (result["changed"], result["unproven"]) == (True, ["others write"])


def test_data_that_cannot_be_read_or_counted_is_not_lost_silently(place: Path) -> None:
    engine = Shelf("first")
    path = taken(place, engine)
    engine.problem, engine.written = "the database is gone", []
    with pytest.raises(DataLossError, match=r"1 changes that cannot be counted \(the database is gone\)"):
        _artifacts.restore(path, engine, Log())


def test_a_damaged_or_expired_artifact_is_not_restored(place: Path, clock: Clock) -> None:
    engine = Shelf("first")
    path = taken(place, engine)
    engine.text = "second"
    clock.now += 3 * 3600
    with pytest.raises(SnapshotError, match="expired 2.0 h ago"):
        _artifacts.restore(path, engine, Log(), accept_data_loss=True)
    clock.now -= 3 * 3600
    (path / "data" / "sub" / "text").write_text("fIrst")
    with pytest.raises(SnapshotError, match="is damaged: data/sub/text was changed after it was written. Nothing was"):
        _artifacts.restore(path, engine, Log(), accept_data_loss=True)
    assert engine.text == "second"


def test_an_artifact_is_restored_by_the_engine_that_made_it(place: Path) -> None:
    path = taken(place)
    engine = Shelf()
    engine.name = "another"
    with pytest.raises(InputError, match="was made by the engine shelf, not by another"):
        _artifacts.restore(path, engine, Log())


@pytest.mark.parametrize("check_mode", [False, True])
def test_a_part_is_restored_by_one_run_at_a_time(place: Path, check_mode: bool) -> None:
    """From whatever artifact: two halves are not a whole. Other parts are restored meanwhile."""
    engine = Shelf("first")
    path, other = taken(place, engine), taken(place, part="other")
    engine.text = "second"
    later = taken(place, engine)
    engine.text = "third"
    done: list[str] = []

    def restore_too(_data: Path) -> None:
        with pytest.raises(SnapshotError) as caught:
            _artifacts.restore(later, Shelf(), Log(), accept_data_loss=True, check_mode=check_mode)
        done.append(caught.value.message)
        with pytest.raises(SnapshotError, match=r"restores or removes a snapshot of shop\.text at the same time"):
            taken(place, Shelf())
        _artifacts.restore(other, Shelf("x"), Log(), accept_data_loss=True, check_mode=check_mode)

    engine.hook = restore_too
    _artifacts.restore(path, engine, Log(), accept_data_loss=True)
    [said] = done
    assert (
        f"another run takes, restores or removes a snapshot of shop.text at the same time (process {os.getpid()}, "
        in said
    )
    assert engine.text == "first"
    engine.hook = lambda _data: None
    _artifacts.restore(later, engine, Log(), accept_data_loss=True)
    assert engine.text == "second"


def test_an_artifact_that_was_renamed_is_told(place: Path) -> None:
    path = taken(place)
    moved = path.rename(path.with_name("shop.text.new"))
    [told] = _artifacts.describe(place, {}, sums=False)["artifacts"]
    assert (told["manifest"], told["path"]) == (None, str(moved))
    assert "is the manifest of shop.text.2" in told["problems"][0]


def test_only_what_is_past_its_time_ours_and_not_in_use_is_removed(place: Path, clock: Clock) -> None:
    path = taken(place, migration="m1")
    foreign = place / "foreign"
    foreign.mkdir()
    (place / "damaged").mkdir()
    (place / "damaged" / "manifest.json").write_text("{}")
    assert not _artifacts.expire(place, "shop", ["m1"])["changed"]
    clock.now += 4000
    # Of a migration that is open, whose journal is lost, or which is another environment's.
    assert not _artifacts.expire(place, "shop", ["m0"])["changed"]
    assert not _artifacts.expire(place, None, ["m1"])["changed"]
    assert _artifacts.expire(place, "shop", ["m1"], check_mode=True)["changed"]
    with _artifacts.in_use(path):
        told = _artifacts.expire(place, "shop", ["m1"])
        assert told["kept"] == [{"path": str(path), "why": "in use"}]
        assert path.exists()
    told = _artifacts.expire(place, "shop", ["m1"])
    assert [one["path"] for one in told["removed"]] == [str(path)]
    assert "damaged" in told["problems"][0]
    assert visible(place) == ["damaged", "foreign"]


def test_leftovers_go_unless_their_run_is_at_work(place: Path) -> None:
    taken(place)
    left = place / ".partial-shop.text.20200101T000000Z"
    left.mkdir()
    with open(place / ".shop.text.lock", "r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert not _artifacts.expire(place, "shop", [])["changed"]
    assert not _artifacts.expire(place, "other", [])["changed"]
    assert _artifacts.expire(place, "shop", [])["changed"]
    assert not left.exists()


@pytest.fixture
def clear(monkeypatch: pytest.MonkeyPatch) -> None:
    """Encrypted is what it was."""

    def encrypt(_self: Encryption, folder: Path, into: Path, _progress: Progress) -> None:
        into.write_bytes((folder / "sub" / "text").read_bytes())

    def decrypt(_self: Encryption, file: Path, into: Path, _identity: Path, _progress: Progress) -> None:
        (into / "sub").mkdir()
        (into / "sub" / "text").write_bytes(file.read_bytes())

    monkeypatch.setattr(Encryption, "check", lambda _self: None)
    monkeypatch.setattr(Encryption, "encrypt", encrypt)
    monkeypatch.setattr(Encryption, "decrypt", decrypt)


@pytest.mark.usefixtures("clear")
def test_what_is_encrypted_is_looked_at_before_anything_is_stopped(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R-E7: the engine sees what it would restore, and nothing is left of it."""
    engine = Shelf("first")
    path = taken(place, engine, encryption=Encryption("age", "me"))
    engine.text = "second"

    def ask() -> None:
        _artifacts.restore(path, engine, Log(), identity=place, accept_data_loss=True, check_mode=True)

    ask()
    assert (engine.looked_at, engine.text) == ("first", "second")
    engine.refuses = "a role is gone"
    with pytest.raises(SnapshotError, match="a role is gone"):
        ask()
    monkeypatch.setattr(Encryption, "decrypt", lambda *_given: None)
    with pytest.raises(SnapshotError, match="was decrypted, and has not what was encrypted"):
        ask()
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: SimpleNamespace(free=4))
    with pytest.raises(SnapshotError, match=f"Decrypting {path.name} needs 0 MiB, and the disk of {place} has 0 MiB"):
        ask()
    assert visible(place) == [path.name]


@pytest.mark.usefixtures("clear")
@pytest.mark.parametrize("service", ["shop", None])
def test_what_a_restore_decrypts_is_not_removed_from_under_it_nor_left_for_ever(
    place: Path, service: str | None
) -> None:
    engine = Shelf("first")
    path = taken(place, engine, encryption=Encryption("age", "me"), service=service)
    engine.text = "second"
    with pytest.raises(SnapshotError, match="Give the file of its private key"):
        _artifacts.restore(path, engine, Log(), accept_data_loss=True, check_mode=True)
    unpacked: list[Path] = []

    def look(data: Path) -> None:
        unpacked.append(data)
        assert not _artifacts.expire(place, service, [])["changed"]
        with pytest.raises(SnapshotError, match="at the same time"):
            taken(place, Shelf(), service=service)
        assert (data / "sub" / "text").read_text() == "first"

    engine.hook = look
    _artifacts.restore(path, engine, Log(), identity=place, accept_data_loss=True)
    [data] = unpacked
    assert (engine.text, data.exists()) == ("first", False)
    # As a run that is killed leaves it.
    (data / "sub").mkdir(parents=True)
    assert _artifacts.expire(place, service, [], check_mode=True)["changed"]
    assert data.exists()
    assert _artifacts.expire(place, service, [])["changed"]
    assert not data.parent.exists()


@pytest.mark.parametrize("lock", ["who was here before\n", None])
def test_check_mode_of_expire_writes_nothing(place: Path, lock: str | None) -> None:
    place.mkdir(0o700)
    leftover = place / ".partial-shop.db.20260730T120000Z"
    leftover.mkdir()
    file = place / ".shop.db.lock"
    if lock is not None:
        file.write_text(lock)
    told = _artifacts.expire(place, "shop", [], check_mode=True)
    assert [one["path"] for one in told["removed"]] == [str(leftover)]
    assert leftover.is_dir()
    assert (file.read_text() if file.exists() else None) == lock
    # Nor does it call dead who is at work.
    with _artifacts._alone(place, "shop.db."):
        assert not _artifacts.expire(place, "shop", [], check_mode=True)["changed"]


def test_a_folder_that_is_not_there_has_nothing_to_expire(place: Path) -> None:
    assert not _artifacts.expire(place, "shop", [])["changed"]
