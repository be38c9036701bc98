# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Artifacts of real files and a real repository, on this machine: what they keep, and what goes wrong on the way."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.bluegreen.cutover.plugins.module_utils import _artifacts
from ansible_collections.bluegreen.cutover.plugins.module_utils._artifacts import Log, Wanted
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.artifact import as_json
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import (
    DataLossError,
    InputError,
    SnapshotError,
)
from ansible_collections.bluegreen.cutover.plugins.module_utils._encryption import Encryption
from ansible_collections.bluegreen.cutover.plugins.module_utils._snapshots import Content, Engine
from ansible_collections.bluegreen.cutover.plugins.module_utils._snapshots import files as files_engine
from ansible_collections.bluegreen.cutover.plugins.module_utils._snapshots._postgresql_server import lent
from ansible_collections.bluegreen.cutover.plugins.module_utils._snapshots.files import Files
from ansible_collections.bluegreen.cutover.plugins.module_utils._snapshots.git import Git

ROOT = Path(__file__).resolve().parents[2]
ODD = ("it's", 'a "name"', "new\nline", "-rf", "*", "$(reboot)", "ü", "back\\slash", " ")
TAKE = """
import sys
from pathlib import Path
from ansible_collections.bluegreen.cutover.plugins.module_utils._artifacts import Log, Wanted, bounded, take
from ansible_collections.bluegreen.cutover.plugins.module_utils._snapshots.files import Files
paths, destination = sys.argv[1], Path(sys.argv[2])
with bounded(60, "Nothing was kept"):
    print(take(Wanted("tree", destination, 3600), Files({"paths": [paths]}, Log()), Log())["artifact"])
"""
GIT = """
import sys
from pathlib import Path
from ansible_collections.bluegreen.cutover.plugins.module_utils._artifacts import Log, Wanted, bounded, restore, take
from ansible_collections.bluegreen.cutover.plugins.module_utils._snapshots.git import Git
what, repository, path = sys.argv[1], sys.argv[2], Path(sys.argv[3])
engine = Git({"repository": repository, "tags": ["start", "back"], "remote": "origin"}, Log())
with bounded(600, "Run again"):
    if what == "take":
        take(Wanted("code", path, 3600), engine, Log())
    else:
        restore(path, engine, Log(), accept_data_loss=True)
"""
RESTORE = """
import sys
from pathlib import Path
from ansible_collections.bluegreen.cutover.plugins.module_utils._artifacts import Log, restore
from ansible_collections.bluegreen.cutover.plugins.module_utils._snapshots.files import Files
restore(Path(sys.argv[2]), Files({"paths": [sys.argv[1]]}, Log()), Log(), accept_data_loss=True)
"""
AS_NOBODY = "import os; os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"


def environment(**more: str) -> dict[str, str]:
    """What a process of its own needs to have the collection at hand."""
    return {**os.environ, "PYTHONPATH": str(ROOT / "collections"), "PYTHONDONTWRITEBYTECODE": "1", **more}


def python(code: str, *arguments: Path) -> subprocess.CompletedProcess[str]:
    """Run it in a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )


def wait_for(reached: Callable[[], Any], *running: subprocess.Popen[str]) -> None:
    """Until it is true; none of the processes may end before."""
    deadline = time.monotonic() + 90
    while not reached():
        assert time.monotonic() < deadline
        for one in running:
            assert one.poll() is None, one.communicate()
        time.sleep(0.01)


def end_at(
    reached: Callable[[], Any], code: str, *arguments: Path | str, number: int = signal.SIGKILL, **variables: str
) -> str:
    """Run it in a process of its own, and end that then, by SIGKILL with all that it has started; what it said."""
    running = begin(code, *arguments, **variables)
    try:
        wait_for(reached, running)
        if number != signal.SIGKILL:
            running.send_signal(number)
            running.wait(90)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(running.pid, signal.SIGKILL)
    assert running.wait() != 0
    return running.communicate()[1]


def begin(code: str, *arguments: Path | str, **variables: str) -> subprocess.Popen[str]:
    """Begin it in a process of its own, with a group of its own."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        env=environment(**variables),
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.fixture
def home(tmp_path: Path) -> Path:
    tmp_path.chmod(0o700)
    return tmp_path


@pytest.fixture
def tree(home: Path) -> Path:
    """Files with odd names, links of both kinds, owners, modes, extended attributes, an ACL, a hole, a pipe."""
    top = home / "srv" / "tree"
    (top / "sub" / "empty").mkdir(parents=True)
    for number, name in enumerate(ODD):
        (top / name).write_text(f"{number}\n" * 100)
    Path(os.fsdecode(bytes(top) + b"/not-\xff-utf8")).write_text("x")
    os.link(top / "*", top / "sub" / "hard")
    (top / "sub" / "dangling").symlink_to("../nowhere/at/all")
    (top / "sub" / "big").write_bytes(os.urandom(3 << 20))
    os.mkfifo(top / "pipe")
    os.chown(top / "ü", 12345, 54321)
    (top / "ü").chmod(0o4751)
    os.setxattr(top / "ü", "user.colour", b"green\0and blue")
    with open(top / "hole", "wb") as hole:
        hole.truncate(1 << 20)
    (top / "sub").chmod(0o2711)
    os.utime(top / "sub" / "big", (1_000_000_000, 1_000_000_000))
    os.utime(top / "sub", (1_100_000_000, 1_100_000_000))
    return top


def look(top: Path) -> dict[str, Any]:
    """All that a snapshot is to keep, read without tar."""
    found = {}
    for path in [top, *sorted(top.rglob("*"))]:
        about = path.lstat()
        regular = path.is_file() and not path.is_symlink()
        found[os.fsencode(path.relative_to(top))] = (
            (about.st_mode, about.st_uid, about.st_gid, about.st_nlink, int(about.st_mtime)),
            os.readlink(path) if path.is_symlink() else path.read_bytes() if regular else None,
            sorted((name, os.getxattr(path, name)) for name in os.listxattr(path)) if regular else None,
        )
    return found


def files(*paths: Path) -> Files:
    return Files({"paths": [str(path) for path in paths]}, Log())


def take(home: Path, engine: Engine, **changed: Any) -> Path:
    wanted = Wanted(**{"part": "tree", "destination": home / "kept", "keep": 3600.0, **changed})
    return Path(_artifacts.take(wanted, engine, Log())["artifact"])


def names(home: Path) -> list[str]:
    return sorted(one.name for one in (home / "kept").iterdir() if one.suffix != ".lock")


def test_a_tree_is_kept_and_brought_back_with_everything_it_has(home: Path, tree: Path) -> None:
    before = look(tree)
    engine = files(tree)
    path = take(home, engine)
    manifest = _artifacts.read_manifest(path)
    assert manifest["verified"]
    assert manifest["point_in_time"]
    assert manifest["contents"][str(tree)]["count"] == len(before)
    assert manifest["contents"] == as_json(engine.contents())
    assert manifest["mark"]["bytes"][str(tree)] > (tree / "sub" / "big").stat().st_size
    assert not _artifacts.restore(path, engine, Log())["changed"]
    assert look(tree) == before

    shutil.rmtree(tree / "sub")
    (tree / "it's").write_text("green was here")
    (tree / "more").write_text("")
    with pytest.raises(DataLossError, match=r"4 files and folders changed \(.*/srv/tree\)"):
        _artifacts.restore(path, engine, Log())
    assert (tree / "more").exists()
    result = _artifacts.restore(path, engine, Log(), accept_data_loss=True)
    assert result["changed"]
    assert look(tree) == before
    assert os.listdir(tree.parent) == ["tree"]
    assert not _artifacts.restore(path, engine, Log(), accept_data_loss=True)["changed"]


@pytest.mark.parametrize(
    "change",
    [
        lambda tree: (tree / "ü").chmod(0o751),
        lambda tree: os.chown(tree / "ü", 12345, 0),
        lambda tree: os.setxattr(tree / "ü", "user.colour", b"blue"),
        lambda tree: (tree / "sub" / "hard").unlink(),
        lambda tree: os.utime(tree / "sub" / "big", (5, 5)),
        lambda tree: (tree / "sub" / "empty").rmdir(),
        lambda tree: os.pwrite(os.open(tree / "sub" / "big", os.O_WRONLY), b"!", 1 << 20),
    ],
)
def test_any_change_of_a_tree_changes_its_digest(tree: Path, change: Callable[[Path], Any]) -> None:
    before = files(tree).contents()
    assert files(tree).contents() == before
    change(tree)
    assert files(tree).contents() != before


def test_what_is_gone_is_brought_back_too(home: Path, tree: Path) -> None:
    before = look(tree)
    path = take(home, files(tree))
    shutil.rmtree(tree)
    with pytest.raises(DataLossError, match="1 files and folders changed"):
        _artifacts.restore(path, files(tree), Log())
    _artifacts.restore(path, files(tree), Log(), accept_data_loss=True)
    assert look(tree) == before


def test_an_artifact_on_a_disk_that_is_read_only_is_restored(home: Path, tree: Path) -> None:
    before = look(tree)
    path = take(home, files(tree))
    (tree / "it's").write_text("two")
    subprocess.run(["mount", "--bind", path.parent, path.parent], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", path.parent], check=True)
        with pytest.raises(SnapshotError, match="Read-only file system. Choose a destination that is writable"):
            take(home, files(tree))
        _artifacts.restore(path, files(tree), Log(), accept_data_loss=True)
    finally:
        subprocess.run(["umount", path.parent], check=True)
    assert look(tree) == before


def test_several_paths_are_replaced_together_or_not_at_all(home: Path, tree: Path) -> None:
    single = home / "conf"
    single.write_text("one")
    engine = files(tree, single)
    path = take(home, engine)
    shutil.rmtree(tree / "sub")
    single.write_text("two")
    spoiled = _artifacts.open_whole(path).path / "data" / "1.tar.zst"
    # As if the disk went bad between the check and the reading.
    taken = _artifacts._taken(_artifacts.read_manifest(path))
    spoiled.write_bytes(b"no archive")
    with pytest.raises(SnapshotError, match="zstd ended with status 1: .*unsupported format"):
        engine.restore(path / "data", taken)
    assert not (tree / "sub").exists()
    assert single.read_text() == "two"
    assert sorted(os.listdir(home)) == ["conf", "kept", "srv"]


def test_what_was_not_proven_has_no_digest_and_does_not_pass_for_the_same(home: Path, tree: Path) -> None:
    before = look(tree)
    path = take(home, files(tree), verify=False)
    assert _artifacts.read_manifest(path)["contents"][str(tree)]["digest"] is None
    assert not _artifacts.restore(path, files(tree), Log())["changed"]
    (tree / "it's").write_text("another")
    with pytest.raises(DataLossError, match=r"1 files and folders changed \(.*/srv/tree\)"):
        _artifacts.restore(path, files(tree), Log())
    result = _artifacts.restore(path, files(tree), Log(), accept_data_loss=True)
    assert result["differences"] == [
        f"{tree} was written to, and whether it is as it was is not known: the snapshot was not proven"
    ]
    assert look(tree) == before


@pytest.mark.parametrize("verify", [True, False])
def test_what_comes_out_of_an_archive_and_is_not_unpacked_as_it_was_is_found(
    home: Path, tree: Path, monkeypatch: pytest.MonkeyPatch, verify: bool
) -> None:
    """As on a file system that cannot keep all of it."""
    engine = files(tree)
    inner = engine._read

    def read(path: Path, named: Path) -> Content:
        (path / "it's").chmod(0o600)
        return inner(path, named)

    monkeypatch.setattr(engine, "_read", read)
    if not verify:
        path = take(home, engine, verify=False)
    with pytest.raises(SnapshotError, match="what was unpacked is not what the archive has"):
        take(home, engine) if verify else engine.restore(
            path / "data", _artifacts._taken(_artifacts.read_manifest(path))
        )
    assert (tree / "it's").stat().st_mode & 0o777 != 0o600
    assert names(home) == ([] if verify else [path.name])
    assert os.listdir(tree.parent) == ["tree"]


def test_what_is_unpacked_is_compared_before_it_takes_the_place(home: Path, tree: Path) -> None:
    engine = files(tree)
    path = take(home, engine)
    (tree / "it's").write_text("two")
    taken = _artifacts._taken(_artifacts.read_manifest(path))
    other = {name: replace(one, digest="another") for name, one in taken.contents.items()}
    with pytest.raises(SnapshotError, match="what was unpacked is not what was taken: .*another content; all is as"):
        engine.restore(path / "data", replace(taken, contents=other))
    assert (tree / "it's").read_text() == "two"
    assert os.listdir(tree.parent) == ["tree"]


@pytest.mark.parametrize("atomic", [True, False])
def test_a_swap_that_fails_in_the_middle_is_undone(home: Path, monkeypatch: pytest.MonkeyPatch, atomic: bool) -> None:
    """Also on a file system that cannot exchange two names."""
    if not atomic:
        monkeypatch.setattr(files_engine, "_RENAME_EXCHANGE", 1 << 10)  # a flag that is none: EINVAL
    pairs = []
    for name in ("a", "b", "c"):
        new, old = home / f"new-{name}" / name, home / name
        new.parent.mkdir()
        new.write_text("new")
        old.write_text("old")
        pairs.append((new, old))
    (home / "b").unlink()
    (home / "new-c" / "c").unlink()
    with pytest.raises(SnapshotError, match=r"/c could not be replaced: No such file or directory; all is as it was"):
        files_engine._swap(pairs)
    assert ((home / "a").read_text(), (home / "b").exists(), (home / "c").read_text()) == ("old", False, "old")
    assert [new.read_text() for new, _old in pairs[:2]] == ["new", "new"]
    files_engine._swap(pairs[:2])
    assert [old.read_text() for _new, old in pairs[:2]] == ["new", "new"]
    assert (home / "new-a" / "a").read_text() == "old"


def test_what_a_killed_restore_left_is_removed_by_the_next(home: Path, tree: Path) -> None:
    path = take(home, files(tree))
    (tree / "it's").write_text("two")
    left = [tree.parent / f".restore-tree-{number}" for number in range(5)]
    for place, name in zip(left, ("tree", "tree", "somebody else's", "replaced", ""), strict=True):
        (place / name).mkdir(parents=True)
    descriptor = os.open(left[1], os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    _artifacts.restore(path, files(tree), Log(), accept_data_loss=True)
    os.close(descriptor)
    assert [place.exists() for place in left] == [False, True, True, False, False]


STOPS = {
    "zstd": "case $*/$STOP in *--decompress*/begun) : > $REACHED; exec sleep 600 ;; "
    '*--decompress*/halfway) REAL "$@" | head -c 2000000; : > $REACHED; exec sleep 600 ;; esac; exec REAL "$@"',
    "tar": 'case $*/$STOP in *--extract*/unpacked) REAL "$@" && exec touch $REACHED.soon ;; '
    '*--create*/unpacked) [ -e $REACHED.soon ] && : > $REACHED && exec sleep 600 ;; esac; exec REAL "$@"',
}
"""Where a restore stands still: before anything is unpacked, in the middle of it, when all of it is and is compared."""


@pytest.mark.parametrize("stop", ["begun", "halfway", "unpacked"])
def test_a_restore_of_files_that_is_killed_is_done_again_and_leaves_nothing(home: Path, tree: Path, stop: str) -> None:
    before = look(tree)
    path = take(home, files(tree))
    (tree / "it's").write_text("two")
    folder, reached = home / "bin", home / "reached"
    folder.mkdir()
    for tool, script in STOPS.items():
        (folder / tool).write_text(f"#!/bin/sh\n{script.replace('REAL', shutil.which(tool) or tool)}\n")
        (folder / tool).chmod(0o755)

    def is_there() -> bool:
        what = {"begun": "", "halfway": "/tree/sub/big", "unpacked": "/tree/sub/big"}[stop]
        return reached.exists() and bool(list(tree.parent.glob(f".restore-tree-*{what}")))

    variables = {"PATH": f"{folder}:{os.environ['PATH']}", "REACHED": str(reached), "STOP": stop}
    end_at(is_there, RESTORE, tree, path, **variables)
    assert (tree / "it's").read_text() == "two"
    assert len(os.listdir(tree.parent)) == 2
    _artifacts.restore(path, files(tree), Log(), accept_data_loss=True)
    assert look(tree) == before
    assert os.listdir(tree.parent) == ["tree"]


def test_a_link_in_the_place_of_a_tree_is_replaced_and_not_followed(home: Path, tree: Path, small: Path) -> None:
    """Nor does it matter what is mounted, and was written, where it leads to."""
    before = look(tree)
    path = take(home, files(tree))
    shutil.rmtree(tree)
    tree.symlink_to(small)
    for name in ("a", "b"):
        (small / name).touch()
    with pytest.raises(DataLossError, match="1 files and folders changed"):
        _artifacts.restore(path, files(tree), Log())
    ask(path, files(tree))
    _artifacts.restore(path, files(tree), Log(), accept_data_loss=True)
    assert not tree.is_symlink()
    assert look(tree) == before
    assert os.listdir(tree.parent) == ["tree"]
    assert sorted(os.listdir(small)) == ["a", "b"]


def test_who_may_write_beside_a_tree_leads_no_restore_elsewhere(home: Path, tree: Path, tools: Path) -> None:
    """Where the folder above belongs to a service, its user can rename what root unpacks into, and put a link there."""
    before = look(tree)
    path = take(home, files(tree))
    (tree / "it's").write_text("two")
    elsewhere = home / "etc"
    elsewhere.mkdir()
    planted = f"one=$(echo {tree.parent}/.restore-*); /bin/mv $one {tree.parent}/moved; /bin/ln -s {elsewhere} $one"
    replace_tool(tools, "tar", f'case $* in *--extract*) {planted} ;; esac; exec REAL "$@"')
    _artifacts.restore(path, files(tree), Log(), accept_data_loss=True)
    assert os.listdir(elsewhere) == []
    assert look(tree) == before
    assert [one.name for one in tree.parent.iterdir() if not one.is_symlink()] == ["tree"]


def test_a_folder_that_is_not_ours_is_not_unpacked_into(
    home: Path, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = take(home, files(tree))
    (tree / "it's").write_text("two")
    made = tempfile.mkdtemp

    def exchanged(*given: Any, **named: Any) -> str:
        name = made(*given, **named)
        if str(named.get("prefix")).startswith(".restore-"):
            os.rename(name, f"{name}-ours")
            os.mkdir(name)
            os.chown(name, 65534, 65534)
        return name

    monkeypatch.setattr(tempfile, "mkdtemp", exchanged)
    with pytest.raises(SnapshotError, match=f"a folder of his own in the place of ours in {tree.parent}. See who"):
        _artifacts.restore(path, files(tree), Log(), accept_data_loss=True)
    assert (tree / "it's").read_text() == "two"


def test_a_tree_that_is_written_to_meanwhile_is_refused(home: Path, tree: Path) -> None:
    engine = files(tree)
    inner = engine._pack

    def pack(path: Path, sink: int) -> Any:
        found = inner(path, sink)
        (tree / "it's").write_text("later")
        return found

    engine._pack = pack  # type: ignore[method-assign]
    with pytest.raises(SnapshotError, match=r"was written to while it was packed: 1 of .*it's"):
        take(home, engine)
    assert names(home) == []


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("relative", "absolute paths without"),
        ("/srv/../etc", "absolute paths without"),
        ("/", "not the root"),
        ("//", "not the root"),
        ("/srv\0", "absolute paths without"),
    ],
)
def test_a_hostile_path_is_refused(path: str, told: str) -> None:
    with pytest.raises(InputError, match=told):
        Files({"paths": [path]}, Log())


def test_what_is_mounted_in_a_tree_is_not_emptied_by_a_restore(home: Path, tree: Path) -> None:
    path = take(home, files(tree))
    volume = tree / "sub" / "a volume"
    volume.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(volume)], check=True)
    try:
        (volume / "precious").write_text("x")
        for attempt in (
            lambda: take(home, files(tree)),
            lambda: _artifacts.restore(path, files(tree), Log(), accept_data_loss=True),
        ):
            with pytest.raises(SnapshotError, match="no tree of its own: .*/sub/a volume is mounted in it"):
                attempt()
        assert (volume / "precious").read_text() == "x"
    finally:
        subprocess.run(["umount", str(volume)], check=True)


def test_a_path_that_could_not_be_restored_is_refused(home: Path, tree: Path) -> None:
    link = home / "link"
    link.symlink_to(tree)
    for engine, told in (
        (files(link), "is a link to"),
        (files(Path("/proc")), "is a mount point"),
        (files(home / "nothing"), "cannot be read: No such file"),
    ):
        with pytest.raises(SnapshotError, match=told):
            take(home, engine)
    with pytest.raises(InputError, match="is packed with it"):
        files(tree, tree / "sub")


@pytest.fixture
def small(home: Path) -> Iterator[Path]:
    """A file system of 4 MiB."""
    place = home / "small"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m,mode=0700", "tmpfs", str(place)], check=True)
    yield place
    subprocess.run(["umount", str(place)], check=True)


@pytest.mark.parametrize("megabytes", [9, 3])
def test_a_disk_that_is_full_in_the_middle_leaves_nothing(home: Path, small: Path, megabytes: int) -> None:
    """While the archive is written; while it is unpacked to prove it."""
    top = home / "tree"
    top.mkdir()
    (top / "big").write_bytes(os.urandom(megabytes << 20))
    with pytest.raises(SnapshotError, match=r"has \d MiB free: free some space there and run again"):
        _artifacts.take(Wanted("tree", small / "kept", 3600.0), files(top), Log())
    assert [one.name for one in (small / "kept").iterdir()] == [".tree.lock"]


def test_a_disk_without_room_for_a_restore_is_told_before_anything_is_stopped(home: Path, small: Path) -> None:
    """R-E7: asking finds it; where it is filled later, the restore says so and leaves what there is."""
    top = small / "tree"
    top.mkdir()
    (top / "big").write_bytes(os.urandom(5 << 19))
    path = take(home, files(top))
    (top / "more").touch()
    with pytest.raises(
        SnapshotError, match=f"needs 3 MiB beside what is there, and the disk of {small} has 1 MiB free"
    ):
        _artifacts.restore(path, files(top), Log(), accept_data_loss=True, check_mode=True)
    # As if it was filled after that look.
    taken = replace(_artifacts._taken(_artifacts.read_manifest(path)), mark={})
    with pytest.raises(
        SnapshotError, match=f"no room is left to unpack it in {small}, which has 0 MiB free: free some"
    ):
        files(top).restore(path / "data", taken)
    assert sorted(os.listdir(top)) == ["big", "more"]
    assert os.listdir(small) == ["tree"]


def ask(path: Path, engine: Engine, **more: Any) -> None:
    """What a restore asks while versions still run."""
    _artifacts.restore(path, engine, Log(), accept_data_loss=True, check_mode=True, **more)


def test_what_cannot_be_written_to_is_told_before_anything_is_stopped(
    home: Path, small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R-E7; and a tool that is missing is."""
    top = small / "tree"
    top.mkdir()
    path = take(home, files(top))
    (top / "more").touch()
    ask(path, files(top))
    subprocess.run(["mount", "-o", "remount,ro", str(small)], check=True)
    try:
        for check_mode in (True, False):
            with pytest.raises(SnapshotError, match=f"{small} cannot be written to by the user with uid 0.*read-only"):
                _artifacts.restore(path, files(top), Log(), accept_data_loss=True, check_mode=check_mode)
    finally:
        subprocess.run(["mount", "-o", "remount,rw", str(small)], check=True)
    which = shutil.which
    monkeypatch.setattr(shutil, "which", lambda tool: None if tool == "zstd" else which(tool))
    with pytest.raises(SnapshotError, match="zstd is not installed on this host"):
        ask(path, files(top))
    assert os.listdir(top) == ["more"]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_run_that_is_killed_in_the_middle_leaves_no_artifact(home: Path, number: signal.Signals) -> None:
    top = home / "tree"
    top.mkdir()
    (top / "big").write_bytes(os.urandom(1 << 20))
    with open(top / "big", "r+b") as big:
        big.truncate(20 << 30)  # zeros, which take tar a while and no space
    running = subprocess.Popen(
        [sys.executable, "-c", TAKE, str(top), str(home / "kept")], env=environment(), stderr=subprocess.PIPE
    )
    deadline = time.monotonic() + 90
    while not list((home / "kept").glob(".partial-*/data/*")):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    running.send_signal(number)
    said = running.communicate(timeout=90)[1].decode()
    assert running.returncode != 0
    left = list((home / "kept").glob(".partial-*"))
    if number == signal.SIGTERM:
        assert "was told to end by a signal. Nothing was kept" in said
        assert left == []
    assert _artifacts.find(home / "kept") == []
    (top / "big").write_bytes(b"small")
    path = take(home, files(top))
    assert names(home) == [path.name]


@pytest.mark.parametrize("damage", ["flip", "truncate", "remove", "manifest", "link"])
def test_a_damaged_artifact_is_found_and_never_restored(home: Path, tree: Path, damage: str) -> None:
    engine = files(tree)
    path = take(home, engine)
    (tree / "it's").write_text("green was here")
    archive = path / "data" / "0.tar.zst"
    raw = bytearray(archive.read_bytes())
    if damage == "flip":
        raw[len(raw) // 2] ^= 1
        archive.write_bytes(raw)
    elif damage == "truncate":
        os.truncate(archive, len(raw) - 1)
    elif damage == "remove":
        archive.unlink()
    elif damage == "link":
        archive.rename(home / "elsewhere")
        archive.symlink_to(home / "elsewhere")
    else:
        manifest = path / "manifest.json"
        manifest.write_bytes(manifest.read_bytes().replace(b'"count": ', b'"count":  ', 1))
    with pytest.raises(SnapshotError):
        _artifacts.restore(path, engine, Log(), accept_data_loss=True)
    [told] = _artifacts.describe(home / "kept", {}, sums=True)["artifacts"]
    assert told["problems"]
    assert (tree / "it's").read_text() == "green was here"


def test_without_permission_it_is_said_what_cannot_be_read() -> None:
    # Below /tmp itself: pytest's own folders are for root alone.
    with tempfile.TemporaryDirectory(prefix="cutover-nobody-") as name:
        home = Path(name)
        (home / "tree").mkdir()
        (home / "tree" / "secret").write_text("x")
        (home / "tree" / "secret").chmod(0o600)
        for path in (home, home / "tree"):
            os.chown(path, 65534, 65534)
        code = TAKE.replace("paths, destination", f"{AS_NOBODY}paths, destination", 1)
        done = python(code, home / "tree", home / "kept")
        assert "secret: Cannot open: Permission denied" in done.stderr
        assert [one.name for one in (home / "kept").iterdir()] == [".tree.lock"]


@pytest.mark.parametrize(
    ("kept", "prelude", "told"),
    [
        ("of-root/kept", AS_NOBODY, "of-root/kept: Permission denied. Run as root"),
        ("of-root", AS_NOBODY, "of-root/.tree.lock: Permission denied. Run as root"),
        ("mounted/kept", "", "mounted/kept: Read-only file system. Choose a destination that is writable"),
        ("mounted", "", "mounted/.tree.lock: Read-only file system. Choose a destination that is writable"),
    ],
)
def test_where_nothing_can_be_written_it_is_told_and_nothing_is_left(kept: str, prelude: str, told: str) -> None:
    with tempfile.TemporaryDirectory(prefix="cutover-nobody-") as name:
        home = Path(name)
        home.chmod(0o755)
        for folder in ("tree", "of-root", "mounted"):
            (home / folder).mkdir(0o755)
        (home / "tree" / "one").write_text("x")
        before = look(home / "tree")
        subprocess.run(["mount", "-t", "tmpfs", "-o", "ro,mode=0755", "tmpfs", str(home / "mounted")], check=True)
        try:
            code = TAKE.replace("paths, destination", f"{prelude}paths, destination", 1)
            done = python(code, home / "tree", home / kept)
            assert told in done.stderr
            assert [*(home / "of-root").iterdir(), *(home / "mounted").iterdir()] == []
        finally:
            subprocess.run(["umount", str(home / "mounted")], check=True)
        assert look(home / "tree") == before


@pytest.fixture
def tools(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is all of PATH, with the tools of this host, which tests replace."""
    folder = home / "bin"
    folder.mkdir()
    for tool in ("tar", "zstd", "git"):
        (folder / tool).symlink_to(shutil.which(tool) or tool)
    monkeypatch.setenv("PATH", str(folder))
    return folder


def replace_tool(tools: Path, tool: str, script: str) -> None:
    """Have it be a script, of which ``REAL`` is the tool itself; none where it is empty."""
    real = os.readlink(tools / tool)
    (tools / tool).unlink()
    if script:
        (tools / tool).write_text(f"#!/bin/sh\n{script.replace('REAL', real)}\n")
        (tools / tool).chmod(0o755)


# As GNU tar has said it before it could sort names.
OLD_TAR = """
case "$*" in *--sort=name*) echo "tar: unrecognized option '--sort=name'" >&2; exit 64 ;; esac
exec REAL "$@"
"""


@pytest.mark.parametrize(
    ("tool", "script", "told"),
    [
        ("tar", "", "tar is not installed on this host. Install the package tar"),
        ("zstd", "", "zstd is not installed on this host. Install the package zstd"),
        ("tar", "echo bsdtar 3.6.2", "tar is not GNU tar"),
        ("tar", OLD_TAR, "tar or zstd is too old on this host: tar ended with status 64: .*'--sort=name'. Install"),
    ],
)
def test_a_tool_that_is_missing_or_too_old_is_told_before_anything_is_touched(
    home: Path, tree: Path, tools: Path, tool: str, script: str, told: str
) -> None:
    path = take(home, files(tree))
    (tree / "it's").write_text("two")
    before = look(home / "srv")
    replace_tool(tools, tool, script)
    with pytest.raises(SnapshotError, match=told):
        take(home, files(tree), part="again")
    with pytest.raises(DataLossError):
        _artifacts.restore(path, files(tree), Log())
    for check_mode in (True, False):
        with pytest.raises(SnapshotError, match=told):
            _artifacts.restore(path, files(tree), Log(), accept_data_loss=True, check_mode=check_mode)
    assert look(home / "srv") == before
    assert names(home) == [path.name]


@pytest.fixture
def keys(home: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """A public and a private key of gpg, as files."""
    # A short path: that of the agent's socket may not be long.
    ring = Path(tempfile.mkdtemp(prefix="ring-"))
    monkeypatch.setenv("GNUPGHOME", str(ring))

    def gpg(*arguments: str) -> bytes:
        return subprocess.run(["gpg", "--batch", *arguments], capture_output=True, check=True).stdout

    gpg("--passphrase", "", "--quick-generate-key", "shop@localhost", "default", "default", "never")
    public, private = home / "public", home / "private"
    public.write_bytes(gpg("--export"))
    private.write_bytes(gpg("--export-secret-keys"))
    subprocess.run(["gpgconf", "--kill", "all"], check=True)
    # The agent removes its sockets while it ends.
    shutil.rmtree(ring, ignore_errors=True)
    monkeypatch.delenv("GNUPGHOME")
    return public, private


def test_gpg_encrypts_to_a_recipient_and_a_restore_needs_the_private_key(
    home: Path, tree: Path, keys: tuple[Path, Path]
) -> None:
    public, private = keys
    before = look(tree)
    path = take(home, files(tree), encryption=Encryption("gpg", str(public)))
    assert sorted(one.name for one in path.iterdir()) == ["data.tar.gpg", "manifest.json"]
    manifest = _artifacts.read_manifest(path)
    assert manifest["verified"]
    assert manifest["needs"][-1] == f"the private key of {public}"
    shutil.rmtree(tree / "sub")
    for restore in (_artifacts.restore, partial(_artifacts.restore, check_mode=True)):
        with pytest.raises(SnapshotError, match="Give the file of its private key as identity_file"):
            restore(path, files(tree), Log(), accept_data_loss=True)
        with pytest.raises(SnapshotError, match="gpg ended with status 2"):
            restore(path, files(tree), Log(), identity=public, accept_data_loss=True)
    ask(path, files(tree), identity=private)
    assert not (tree / "sub").exists()
    _artifacts.restore(path, files(tree), Log(), identity=private, accept_data_loss=True)
    assert look(tree) == before
    assert names(home) == [path.name]
    assert not list(Path(tempfile.gettempdir()).glob("bluegreen-gpg-*"))


def test_a_recipient_that_is_none_is_told_before_anything_is_read(home: Path, tree: Path) -> None:
    with pytest.raises(SnapshotError, match="gpg cannot encrypt to nobody@nowhere"):
        take(home, files(tree), encryption=Encryption("gpg", "nobody@nowhere"))
    with pytest.raises(InputError, match="is not one line of a public key"):
        take(home, files(tree), encryption=Encryption("gpg", "--output=/etc/passwd"))
    assert not (home / "kept").exists()


class Repository:
    def __init__(self, home: Path) -> None:
        self.path, self.origin = home / "code", home / "origin.git"
        self.path.mkdir()
        self.git("init", "--quiet", "--initial-branch=main")
        for name, value in (("user.name", "x"), ("user.email", "x@localhost")):
            self.git("config", name, value)
        self.commit("one")
        self.engine = Git({"repository": str(self.path), "tags": ["start", "back"], "remote": "origin"}, Log())

    def git(self, *arguments: str, at: Path | None = None) -> str:
        done = subprocess.run(
            ["git", "-C", str(at or self.path), *arguments], capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    def commit(self, text: str) -> None:
        (self.path / "code.py").write_text(text)
        self.git("add", "code.py")
        self.git("commit", "--quiet", "--message", text)

    def is_whole(self) -> bool:
        """Whether git finds nothing wrong with it, and nobody's lock is in it."""
        self.git("fsck", "--full", "--strict")
        return not list((self.path / ".git").rglob("*.lock"))

    def with_origin(self) -> None:
        self.git("init", "--quiet", "--bare", str(self.origin))
        self.git("remote", "add", "origin", str(self.origin))


@pytest.fixture
def repository(home: Path) -> Repository:
    return Repository(home)


class Stopped:
    """``GIT`` in processes of its own, whose git stands still once it works at what is given."""

    def __init__(self, home: Path, repository: Repository) -> None:
        self._reached, self._folder = home / "reached", home / "exec"
        self._repository = repository
        real = subprocess.run(["git", "--exec-path"], capture_output=True, text=True, check=True).stdout.strip()
        self._folder.mkdir()
        # git runs its own parts from there, and what a checkout writes goes through the filter.
        program = self._folder / "git"
        program.write_text(
            f"""#!/bin/sh
case "$1" in
"$STOP") : > {self._reached}; exec sleep 600 ;;
smudge) exec cat ;;
esac
exec {real}/git "$@"
"""
        )
        program.chmod(0o755)
        (repository.path / ".git" / "info" / "attributes").write_text("code.py filter=slow\n")
        repository.git("config", "filter.slow.smudge", f"{program} smudge")

    def at(self, stop: str, what: str, path: Path, number: signal.Signals = signal.SIGKILL) -> str:
        """Begin ``what``, and end it there, by SIGKILL with all that it has started; return what it said."""
        self._reached.unlink(missing_ok=True)
        arguments = (what, self._repository.path, path)
        return end_at(self._reached.exists, GIT, *arguments, number=number, GIT_EXEC_PATH=str(self._folder), STOP=stop)


@pytest.fixture
def stopped(home: Path, repository: Repository) -> Stopped:
    return Stopped(home, repository)


def test_code_is_tagged_pushed_and_brought_back(home: Path, repository: Repository) -> None:
    repository.with_origin()
    commit = repository.git("rev-parse", "HEAD")
    path = take(home, repository.engine)
    source = _artifacts.read_manifest(path)["source"]
    assert (source["commit"], source["branch"], source["pushed_to"]) == (commit, "main", "origin")
    for tag in ("start", "back"):
        assert repository.git("cat-file", "-t", f"refs/tags/{tag}") == "tag"
        assert repository.git("rev-parse", f"{tag}^{{commit}}", at=repository.origin) == commit
    repository.commit("two")
    (repository.path / "code.py").write_text("three")
    with pytest.raises(DataLossError, match=r"1 commits .* 1 tracked files changed and not committed"):
        _artifacts.restore(path, repository.engine, Log())
    two = repository.git("rev-parse", "HEAD")
    _artifacts.restore(path, repository.engine, Log(), accept_data_loss=True)
    assert (repository.path / "code.py").read_text() == "one"
    assert (repository.git("rev-parse", "HEAD"), repository.git("symbolic-ref", "--short", "HEAD")) == (commit, "main")
    # What was committed since is still there, under a name of its own.
    assert two in repository.git("for-each-ref", "--format=%(objectname)", "refs/heads/before-restore-*")


def test_what_was_committed_on_two_branches_is_counted_and_kept(home: Path, repository: Repository) -> None:
    path = take(home, repository.engine)
    one = repository.git("rev-parse", "HEAD")
    repository.commit("two, on main")
    repository.git("checkout", "--quiet", "-b", "green", one)
    repository.commit("three, on green")
    tips = {repository.git("rev-parse", branch) for branch in ("main", "green")}
    with pytest.raises(DataLossError, match="2 commits"):
        _artifacts.restore(path, repository.engine, Log())
    left = _artifacts.restore(path, repository.engine, Log(), accept_data_loss=True)
    assert len(left["kept"]) == 2
    assert (repository.git("rev-parse", "main"), repository.git("symbolic-ref", "--short", "HEAD")) == (one, "main")
    assert set(repository.git("for-each-ref", "--format=%(objectname)", "refs/heads/before-restore-*").split()) == tips


def test_files_that_are_not_tracked_any_more_are_counted(home: Path, repository: Repository) -> None:
    for name in ("kept.ini", "a", "b/c"):
        (repository.path / name).parent.mkdir(exist_ok=True)
        (repository.path / name).write_text("one")
    repository.git("add", "kept.ini", "a", "b")
    repository.git("commit", "--quiet", "--message", "more")
    path = take(home, repository.engine)
    repository.git("rm", "--quiet", "-r", "--cached", "kept.ini", "a", "b")
    shutil.rmtree(repository.path / "b")
    (repository.path / "a").unlink()
    (repository.path / "a").mkdir()
    # A file where it has a file, one where it has a folder, and the other way round; not counted is what may stay.
    for name in ("a/file", "b", "beside", "kept.ini"):
        (repository.path / name).write_text("edited by hand")
    (repository.path / ".gitignore").write_text("kept.ini\nbeside\n")
    repository.git("add", ".gitignore")
    repository.git("commit", "--quiet", "--message", "ours alone")
    with pytest.raises(DataLossError, match="3 untracked files where it has files .* 1 commits"):
        _artifacts.restore(path, repository.engine, Log())
    _artifacts.restore(path, repository.engine, Log(), accept_data_loss=True)
    assert [(repository.path / name).read_text() for name in ("kept.ini", "a", "b/c")] == ["one"] * 3
    assert (repository.path / "beside").read_text() == "edited by hand"


def test_a_branch_that_is_gone_is_made_again(home: Path, repository: Repository) -> None:
    path = take(home, repository.engine)
    repository.git("checkout", "--quiet", "-b", "green")
    repository.git("branch", "--quiet", "--delete", "main")
    repository.commit("two")
    _artifacts.restore(path, repository.engine, Log(), accept_data_loss=True)
    assert repository.git("symbolic-ref", "--short", "HEAD") == "main"
    assert (repository.path / "code.py").read_text() == "one"


def test_what_is_not_as_it_was_after_it_was_restored_is_told(home: Path, repository: Repository) -> None:
    path = take(home, repository.engine)
    repository.commit("two")
    (repository.path / ".git" / "info" / "attributes").write_text("code.py filter=odd\n")
    repository.git("config", "filter.odd.smudge", "echo odd")
    repository.git("config", "filter.odd.clean", "cat")
    with pytest.raises(SnapshotError, match="was restored, and is not what was taken: .* the branch before-restore-"):
        _artifacts.restore(path, repository.engine, Log(), accept_data_loss=True)


def test_the_commit_is_brought_back_into_a_clone_that_has_lost_it(
    home: Path, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = take(home, repository.engine)
    shutil.rmtree(repository.path / ".git")
    (repository.path / "code.py").unlink()
    repository.git("init", "--quiet", "--initial-branch=main")
    repository.git("config", "user.name", "x")
    repository.git("config", "user.email", "x@localhost")
    repository.commit("another history")
    with monkeypatch.context() as full:
        full.setattr(shutil, "disk_usage", lambda _path: SimpleNamespace(free=0))
        with pytest.raises(SnapshotError, match="Bringing back its history needs 0 MiB, and the disk of"):
            ask(path, repository.engine)
    _artifacts.restore(path, repository.engine, Log(), accept_data_loss=True)
    assert (repository.path / "code.py").read_text() == "one"


def test_a_working_tree_that_git_cannot_change_is_told_before_anything_is_stopped(
    home: Path, repository: Repository
) -> None:
    """R-E7: git was killed there; it is mounted read-only."""
    path = take(home, repository.engine)
    repository.commit("two")
    for name in ("index", "HEAD", "refs/heads/main"):
        lock = repository.path / ".git" / f"{name}.lock"
        lock.touch()
        with pytest.raises(SnapshotError, match=f"{lock} is there: git is at work in .*, or was killed"):
            ask(path, repository.engine)
        lock.unlink()
    ask(path, repository.engine)
    subprocess.run(["mount", "--bind", "-o", "ro", str(repository.path), str(repository.path)], check=True)
    try:
        with pytest.raises(SnapshotError, match=f"{repository.path} cannot be written to by the user with uid 0"):
            ask(path, repository.engine)
    finally:
        subprocess.run(["umount", str(repository.path)], check=True)
    assert (repository.path / "code.py").read_text() == "two"


def test_a_remote_that_refuses_leaves_no_tag(home: Path, repository: Repository) -> None:
    repository.with_origin()
    hook = repository.origin / "hooks" / "pre-receive"
    hook.write_text("#!/bin/sh\nexit 1\n")
    hook.chmod(0o755)
    with pytest.raises(SnapshotError, match="pre-receive hook declined"):
        take(home, repository.engine)
    assert repository.git("tag", "--list") == ""
    assert names(home) == []


def test_a_remote_that_is_gone_leaves_no_tag(home: Path, repository: Repository) -> None:
    repository.with_origin()
    shutil.rmtree(repository.origin)
    with pytest.raises(SnapshotError, match=r"origin\.git' does not appear to be a git repository"):
        take(home, repository.engine)
    assert repository.git("tag", "--list") == ""
    assert names(home) == []


def test_who_is_told_to_end_while_tags_are_pushed_leaves_none(home: Path, repository: Repository) -> None:
    repository.with_origin()
    hook = repository.origin / "hooks" / "pre-receive"
    hook.write_text("#!/bin/sh\nsleep 30\n")
    hook.chmod(0o755)
    with pytest.raises(SnapshotError, match="did not end within 1 s. Run again"), _artifacts.bounded(1, "Run again"):
        take(home, repository.engine)
    assert repository.git("tag", "--list") == ""
    assert names(home) == []


def test_a_disk_without_room_for_the_history_leaves_no_tag(small: Path, repository: Repository) -> None:
    (repository.path / "big").write_bytes(os.urandom(5 << 20))
    repository.git("add", "big")
    repository.commit("two")
    repository.with_origin()
    before = repository.git("for-each-ref")
    with pytest.raises(SnapshotError, match=r"free some space there and run again"):
        _artifacts.take(Wanted("code", small / "kept", 3600.0), repository.engine, Log())
    assert [one.name for one in (small / "kept").iterdir()] == [".code.lock"]
    assert repository.git("for-each-ref") == before
    assert repository.git("for-each-ref", at=repository.origin) == ""


def test_tags_that_a_run_had_pushed_when_it_was_ended_are_used_by_the_next(home: Path, repository: Repository) -> None:
    repository.with_origin()
    hook, reached = repository.origin / "hooks" / "post-receive", home / "reached"
    hook.write_text(f"#!/bin/sh\n: > {reached}\nexec sleep 600\n")
    hook.chmod(0o755)
    said = end_at(reached.exists, GIT, "take", repository.path, home / "kept", number=signal.SIGTERM)
    assert "was told to end by a signal. Run again" in said
    hook.unlink()
    assert repository.git("tag", "--list") == ""
    pushed = repository.git("for-each-ref", at=repository.origin)
    assert pushed.count("refs/tags/") == 2
    source = _artifacts.read_manifest(take(home, repository.engine))["source"]
    assert source["tags"] == ["start", "back"]
    assert repository.git("for-each-ref", at=repository.origin) == pushed
    assert repository.git("for-each-ref", "refs/tags") == pushed


def test_two_services_of_one_repository_are_taken_at_once(home: Path, repository: Repository) -> None:
    folder, reached, go = home / "bin", home / "reached", home / "go"
    folder.mkdir()
    waits = f"case $* in *'bundle create'*) : > {reached}; while [ ! -e {go} ]; do sleep 0.02; done ;; esac"
    (folder / "git").write_text(f'#!/bin/sh\n{waits}\nexec {shutil.which("git")} "$@"\n')
    (folder / "git").chmod(0o755)
    path = f"{folder}:{os.environ['PATH']}"
    other = begin(GIT, "take", repository.path, home / "kept", PATH=path)
    try:
        wait_for(reached.exists, other)
        take(home, repository.engine, part="shop")
        go.touch()
        assert (other.communicate()[1], other.returncode) == ("", 0)
    finally:
        go.touch()
        other.wait()
    found = [one.manifest or {} for one in _artifacts.find(home / "kept")]
    assert [(one["part"], bool(one["verified"]), one["source"]["tags"]) for one in found] == [
        (part, True, ["start", "back"]) for part in ("code", "shop")
    ]
    refs = repository.git("for-each-ref", "--format=%(refname)").split()
    assert refs == ["refs/heads/main", "refs/tags/back", "refs/tags/start"]


def test_tags_that_another_run_may_yet_take_back_are_waited_for(home: Path, repository: Repository) -> None:
    """Two services of one repository: a remote refuses what the first one pushes, while the second one comes."""
    repository.with_origin()
    hook, reached, go = repository.origin / "hooks" / "pre-receive", home / "reached", home / "go"
    wait = f": > {reached}; while [ ! -e {go} ]; do sleep 0.02; done; exit 1"
    hook.write_text(f"#!/bin/sh\n[ -e {reached} ] || {{ {wait}; }}\n")
    hook.chmod(0o755)
    running = [begin(GIT, "take", repository.path, home / "kept")]
    try:
        wait_for(reached.exists, *running)
        running.append(begin(GIT, "take", repository.path, home / "others"))
        waits = re.compile(rf"-> FLOCK .* {running[1].pid} ")
        wait_for(lambda: waits.search(Path("/proc/locks").read_text()), *running)
        go.touch()
        said = [one.communicate()[1] for one in running]
        assert [one.returncode for one in running] == [1, 0], said
    finally:
        go.touch()
        for one in running:
            one.wait()
    tags = repository.git("for-each-ref", "refs/tags")
    assert tags.count("refs/tags/") == 2
    assert repository.git("for-each-ref", at=repository.origin) == tags


def test_a_repository_of_another_user_is_told_with_who_to_be(
    home: Path, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = take(home, repository.engine)
    repository.commit("two")
    for name in ("GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM"):
        monkeypatch.setenv(name, os.devnull)
    monkeypatch.delenv("SUDO_UID", raising=False)
    os.chown(repository.path, 12345, 12345)
    for attempt in (
        lambda: take(home, repository.engine, part="again"),
        lambda: ask(path, repository.engine),
        lambda: _artifacts.restore(path, repository.engine, Log(), accept_data_loss=True),
    ):
        with pytest.raises(
            SnapshotError,
            match=r"(?s)in .*/code git .*dubious ownership.*Run this as the user who owns it \(become_user",
        ):
            attempt()
    assert names(home) == [path.name]
    assert (repository.path / "code.py").read_text() == "two"


@pytest.mark.parametrize("stop", ["pack-objects", "index-pack"])
def test_a_snapshot_that_is_killed_leaves_a_whole_repository(
    home: Path, repository: Repository, stopped: Stopped, stop: str
) -> None:
    """While the bundle is written; while it is proven."""
    stopped.at(stop, "take", home / "kept")
    assert _artifacts.find(home / "kept") == []
    assert len(list((home / "kept").glob(".partial-*"))) == 1
    assert repository.is_whole()
    path = take(home, repository.engine, part="code")
    assert _artifacts.read_manifest(path)["verified"]
    assert names(home) == [path.name]
    refs = repository.git("for-each-ref", "--format=%(refname)").split()
    assert refs == ["refs/heads/main", "refs/tags/back", "refs/tags/start"]
    assert repository.is_whole()


@pytest.mark.parametrize(
    ("stop", "number"),
    [("rev-list", signal.SIGKILL), ("smudge", signal.SIGKILL), ("smudge", signal.SIGTERM)],
)
def test_a_restore_that_is_killed_loses_nothing_and_is_done_again(
    home: Path, repository: Repository, stopped: Stopped, stop: str, number: signal.Signals
) -> None:
    """While the commit is fetched; in the middle of the checkout, of which git's lock stays where git is killed."""
    path = take(home, repository.engine)
    repository.commit("two")
    two = repository.git("rev-parse", "HEAD")
    said = stopped.at(stop, "restore", path, number)
    lock = repository.path / ".git" / "index.lock"
    if number == signal.SIGTERM:
        assert "was told to end by a signal. Run again" in said
    assert repository.git("rev-parse", "main") == two
    if (stop, number) == ("smudge", signal.SIGKILL):
        for check_mode in (True, False):
            with pytest.raises(SnapshotError, match=f"{lock} is there: .* remove that file, .*nothing was"):
                _artifacts.restore(path, repository.engine, Log(), accept_data_loss=True, check_mode=check_mode)
        lock.unlink()
    assert repository.is_whole()
    assert _artifacts.restore(path, repository.engine, Log(), accept_data_loss=True)["changed"]
    assert (repository.path / "code.py").read_text() == "one"
    assert two in repository.git("for-each-ref", "--format=%(objectname)", "refs/heads/before-restore-*")
    assert repository.is_whole()


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ("", "git is not installed on this host. Install the package git"),
        ('[ "$7" = version ] && echo git version 1.9.5 || exec REAL "$@"', "git is 1.9.5 here, and .* Install"),
    ],
)
def test_a_git_that_is_missing_or_older_is_told_before_anything_is_touched(
    home: Path, repository: Repository, tools: Path, script: str, told: str
) -> None:
    path = take(home, repository.engine)
    repository.commit("two")
    before = repository.git("for-each-ref")
    real = os.readlink(tools / "git")
    replace_tool(tools, "git", script)
    if not script:
        with pytest.raises(SnapshotError, match=told):
            take(home, repository.engine, part="again")
    for check_mode in (True, False):
        with pytest.raises(SnapshotError, match=told):
            _artifacts.restore(path, repository.engine, Log(), accept_data_loss=True, check_mode=check_mode)
    (tools / "git").unlink(missing_ok=True)
    (tools / "git").symlink_to(real)
    assert repository.git("for-each-ref") == before
    assert (repository.path / "code.py").read_text() == "two"


def test_the_next_migration_has_tags_of_its_own(home: Path, repository: Repository) -> None:
    """R-E1, again: no tag is moved, wherever it is, and a resumed run makes no others."""
    repository.with_origin()
    first = repository.git("rev-parse", "HEAD")
    take(home, repository.engine)
    # Another clone's, which this one has never fetched.
    repository.git("tag", "--delete", "start")
    repository.commit("two")
    # Here it is right, and there it is not.
    repository.git("tag", "--force", "--annotate", "--message=x", "back")
    sources = [_artifacts.read_manifest(take(home, repository.engine, part=part))["source"] for part in ("a", "b")]
    assert sources[0] == sources[1]
    for tag, name in zip(("start", "back"), sources[0]["tags"], strict=True):
        assert re.fullmatch(rf"{tag}-\d{{8}}T\d{{6}}Z", name)
        assert repository.git("rev-parse", f"{name}^{{commit}}", at=repository.origin) == sources[0]["commit"]
        assert repository.git("rev-parse", f"{tag}^{{commit}}", at=repository.origin) == first
    assert len(repository.git("tag", "--list").split()) == 3


def test_a_tag_that_another_clone_has_given_the_same_commit_is_left(home: Path, repository: Repository) -> None:
    """A remote refuses another one of that name."""
    repository.with_origin()
    take(home, repository.engine)
    pushed = repository.git("for-each-ref", "refs/tags", at=repository.origin)
    repository.git("tag", "--force", "--annotate", "--message=x", "start", "HEAD")
    source = _artifacts.read_manifest(take(home, repository.engine, part="again"))["source"]
    assert re.fullmatch(r"start-\d{8}T\d{6}Z", source["tags"][0])
    assert source["tags"][1:] == ["back"]
    now = repository.git("for-each-ref", "refs/tags", at=repository.origin)
    assert set(pushed.splitlines()) < set(now.splitlines())


def test_what_no_tag_would_have_is_refused(home: Path, repository: Repository) -> None:
    (repository.path / "code.py").write_text("not committed")
    with pytest.raises(SnapshotError, match=r"1 tracked files that are changed and not committed, such as 'code.py'"):
        take(home, repository.engine)


def test_a_submodule_that_no_bundle_would_have_is_refused(home: Path, repository: Repository) -> None:
    other = repository.git("rev-parse", "HEAD")
    repository.git("update-index", "--add", "--cacheinfo", f"160000,{other},sub/x")
    repository.git("commit", "--quiet", "--message", "with a submodule")
    # One that is not there is no change of the tree.
    (repository.path / "sub" / "x").mkdir(parents=True)
    with pytest.raises(SnapshotError, match=r"1 submodules, such as 'sub/x', .* engine files instead"):
        take(home, repository.engine)
    assert (names(home), repository.git("tag", "--list")) == ([], "")


def test_a_file_of_which_a_bundle_would_have_the_pointer_only_is_refused(home: Path, repository: Repository) -> None:
    (repository.path / ".gitattributes").write_text("*.bin filter=lfs diff=lfs merge=lfs -text\n")
    (repository.path / "a.bin").write_text("version https://git-lfs.github.com/spec/v1\n")
    repository.git("add", ".gitattributes", "a.bin")
    repository.git("commit", "--quiet", "--message", "with a large file")
    (repository.path / "untracked.bin").touch()
    with pytest.raises(SnapshotError, match=r"1 files in Git LFS, such as 'a.bin', .* engine files instead"):
        take(home, repository.engine)
    assert (names(home), repository.git("tag", "--list")) == ([], "")


@pytest.mark.parametrize("tag", ["-d", "a..b", "a b", "a\nb", ""])
def test_a_hostile_tag_is_refused(home: Path, tag: str) -> None:
    with pytest.raises(InputError, match="is not a name that git takes"):
        Git({"repository": str(home), "tags": [tag], "remote": "origin"}, Log())


def test_a_hook_of_the_repository_is_not_run(home: Path, repository: Repository) -> None:
    hook = repository.path / ".git" / "hooks" / "post-checkout"
    hook.write_text(f"#!/bin/sh\ntouch {home}/ran\n")
    hook.chmod(0o755)
    path = take(home, repository.engine)
    repository.commit("two")
    _artifacts.restore(path, repository.engine, Log(), accept_data_loss=True)
    assert not (home / "ran").exists()


def test_memory_stays_small_whatever_the_size(home: Path) -> None:
    top = home / "tree"
    top.mkdir()
    (top / "big").write_bytes(os.urandom(200 << 20))
    done = python(f"{TAKE}\nprint(Path('/proc/self/status').read_text())", top, home / "kept")
    [peak] = [line for line in done.stdout.splitlines() if line.startswith("VmHWM")]
    assert int(peak.split()[1]) < 100 << 10


def test_what_is_lent_to_an_account_is_no_way_to_what_is_not(home: Path) -> None:
    """A folder that a tool writes to as somebody else, who puts a link in it, and then one in its place."""
    precious, folder = home / "precious", home / "folder"
    precious.write_text("x")
    folder.mkdir()
    (folder / "link").symlink_to(precious)
    with lent(folder, "nobody"):
        assert (folder.stat().st_uid, (folder / "link").lstat().st_uid) == (pwd.getpwnam("nobody").pw_uid,) * 2
        assert precious.stat().st_uid == 0
    assert (folder.stat().st_uid, (folder / "link").lstat().st_uid) == (0, 0)
    os.chown(precious, 1, 1)
    again = lent(folder, "nobody")
    again.__enter__()
    folder.rename(home / "elsewhere")
    folder.symlink_to(precious.parent)
    with pytest.raises(OSError, match="folder"):
        again.__exit__(None, None, None)
    assert precious.stat().st_uid == 1
