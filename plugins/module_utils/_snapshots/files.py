# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""File trees, by GNU tar and zstd: owners, modes, links, ACLs and extended attributes included.

tar writes the names of a tree sorted and with nothing that differs from one reading to the next. So the SHA-256 of its
stream is the digest of the tree. It is taken of what comes out of the archive, which zstd compares with what went in,
and again of what was extracted: not while the archive is written, because writers are stopped for so long.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import glob
import hashlib
import os
import re
import shutil
import signal
import stat
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ansible_collections.bluegreen.cutover.plugins.module_utils._command import Ended, failure, pipeline, run
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.artifact import differences, some
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import InputError, SnapshotError
from ansible_collections.bluegreen.cutover.plugins.module_utils._folders import opened, remove, sync_folder, unused
from ansible_collections.bluegreen.cutover.plugins.module_utils._snapshots import (
    Content,
    Left,
    Notes,
    Progress,
    Taken,
    Written,
)
from ansible_collections.bluegreen.cutover.plugins.module_utils._snapshots._shared import require_writable
from ansible_collections.bluegreen.cutover.plugins.module_utils._sums import following

OPTIONS: dict[str, Any] = {"paths": {"type": "list", "elements": "str", "required": True}}

_QUICK = 30.0
_LEAST_FREE = 1 << 20
"""Bytes; with less free than that, a failure is explained by it."""
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2  # of linux/fcntl.h and linux/fs.h
_ASIDE = "replaced"
"""What a tree is called in the folder of the one that replaces it, where two names cannot be exchanged."""
_ESCAPED = re.compile(rb"\\([0-7]{3})")
"""How the kernel writes a space, a tab, a newline or a backslash in a path."""
_TICK = 0.01
"""Seconds by which the time of a file may lag behind: what the kernel stamps files with ticks this often at least."""
_BLOCKING = "--blocking-factor=1024"
"""512 KiB at once: with 10 KiB, as it has been since tapes, a pipe costs as much as the reading."""

# Times of reading and of the last change of an inode cannot be restored, and the fraction of a second is left out as in
# the usual format. The headers' own names have tar's process number in them otherwise.
_PACK = (
    "tar",
    "--create",
    "--file=-",
    "--format=posix",
    "--pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime,delete=mtime",
    "--sort=name",
    _BLOCKING,
    "--numeric-owner",
    "--xattrs",
    "--xattrs-include=*",
    "--acls",
)
# Level 2, as whoever writes there is stopped meanwhile: level 3 takes a third more time for archives 1 to 5 % smaller.
# Its checksum says, when it is unpacked, that what comes out is what tar has read.
_COMPRESS = ("zstd", "--threads=0", "--quiet", "-2", "--check")
_READ = re.compile(r"^Total bytes written: (\d+)", re.MULTILINE)
"""What tar says at its end of the stream, with --totals."""
_UNPACK = (
    "tar",
    "--extract",
    "--file=-",
    _BLOCKING,
    "--numeric-owner",
    "--preserve-permissions",
    "--same-owner",
    "--xattrs",
    "--xattrs-include=*",
    "--acls",
    "--delay-directory-restore",
)


class Files:
    """Trees or single files, each at an absolute path; see ``Engine``."""

    name = "files"
    apart = True

    def __init__(self, options: Mapping[str, Any], progress: Progress) -> None:
        self._paths = [_checked(str(path)) for path in options["paths"]]
        self._progress = progress
        for path in self._paths:
            inside = [other for other in self._paths if other is not path and path in (other, *other.parents)]
            if inside:
                raise InputError(f"files.paths has {path} and {inside[0]}; what is inside of another is packed with it")

    def remove_left(self, _notes: Notes) -> list[str]:
        return []

    def check(self) -> None:
        self._check_tools()
        for path in self._paths:
            self._check_path(path)

    @staticmethod
    def _check_tools() -> None:
        for tool in ("tar", "zstd"):
            if shutil.which(tool) is None:
                raise SnapshotError(f"{tool} is not installed on this host. Install the package {tool}")
        if "GNU tar" not in _version("tar"):
            raise SnapshotError("tar is not GNU tar, which alone keeps extended attributes. Install it")
        # What they are asked for, of nothing.
        told = failure(pipeline([[*_PACK, f"--files-from={os.devnull}"], _COMPRESS]))
        if told:
            raise SnapshotError(f"tar or zstd is too old on this host: {told}. Install GNU tar 1.28 and zstd, or later")

    @staticmethod
    def _check_path(path: Path) -> None:
        try:
            link = path.is_symlink()
            path.lstat()
        except OSError as error:
            raise SnapshotError(f"{path} cannot be read: {error.strerror}. Correct files.paths") from error
        if link:
            raise SnapshotError(f"{path} is a link to {os.readlink(path)!r}. Name what it leads to in files.paths")
        _check_mounts(path)

    def take(self, folder: Path) -> Taken:
        counts: dict[str, int] = {}
        sums: dict[str, dict[str, Any]] = {}
        sizes: dict[str, int] = {}
        began = _now(folder)
        # What is written from here on has a later time than that.
        time.sleep(_TICK)
        for index, path in enumerate(self._paths):
            archive = folder / f"{index}.tar.zst"
            sink = os.open(archive, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
            try:
                with following(sink) as written:
                    counts[str(path)], sizes[str(path)] = self._pack(path, sink)
                sums[archive.name] = written.entry()
            finally:
                os.close(sink)
        changed = {path: _changed_since(path, began) for path in self._paths}
        for path, (count, example) in changed.items():
            if count:
                raise SnapshotError(
                    f"{path} was written to while it was packed: {count} of its files and folders changed, such as "
                    f"{example!r}. Stop what writes there, or name only what is at rest in files.paths"
                )
        return Taken(
            source={"paths": [str(path) for path in self._paths]},
            versions={"tar": _version("tar"), "zstd": _version("zstd")},
            consistent_at=began / 1e9,
            point_in_time=True,
            contents={path: Content(count, None) for path, count in counts.items()},
            mark={"changed_ns": began, "bytes": sizes},
            sums=sums,
        )

    @contextlib.contextmanager
    def scratch(self, folder: Path, taken: Taken) -> Iterator[Mapping[str, Content]]:
        with _beside(folder, ".scratch-") as (place, _folder):
            found = {}
            for index, name in enumerate(taken.source["paths"]):
                into = place / str(index)
                into.mkdir(0o700)
                _new, found[name] = self._unpacked(folder, index, Path(name), into)
            yield found

    def check_source(self, taken: Taken) -> None:
        if taken.source["paths"] != [str(path) for path in self._paths]:
            raise SnapshotError(f"the snapshot is of {', '.join(taken.source['paths'])}; name these in files.paths")

    def check_restore(self, _folder: Path, taken: Taken) -> None:
        self.check_source(taken)
        self._check_tools()
        for path in self._paths:
            _check_mounts(path)
            require_writable(_place_of(path))
            if path.is_dir() and not path.is_symlink():
                # Its own entry of where it is changes, too.
                require_writable(path)
        # Of an older version's snapshot it is not known.
        _check_room({path: taken.mark.get("bytes", {}).get(str(path), 0) for path in self._paths})

    def restore(self, folder: Path, taken: Taken) -> Left:
        self.check_restore(folder, taken)
        with contextlib.ExitStack() as stack:
            swaps, found = [], {}
            for index, path in enumerate(self._paths):
                # On the same file system, so that a rename is all that is left to do.
                place, there = stack.enter_context(_beside(path, ".restore-"))
                new, found[str(path)] = self._unpacked(folder, index, path, place)
                swaps.append((new, there))
            if differing := differences(taken.contents, found):
                raise SnapshotError(f"what was unpacked is not what was taken: {some(differing)}; all is as it was")
            os.sync()
            _swap(swaps)
            self._progress("what was there before is removed")
        return Left()

    def contents(self) -> Mapping[str, Content]:
        self._check_tools()
        for path in self._paths:
            self._check_path(path)
        return {str(path): self._read(path, path) for path in self._paths}

    def also_differs(self, taken: Taken) -> list[str]:
        unproven = [path for path, one in taken.contents.items() if one.digest is None]
        written = [path for path in unproven if _changed_since(Path(path), int(taken.mark["changed_ns"]))[0]]
        told = "{} was written to, and whether it is as it was is not known: the snapshot was not proven"
        return [told.format(path) for path in written]

    def written_since(self, taken: Taken) -> list[Written]:
        since = int(taken.mark["changed_ns"])
        counts = {path: _changed_since(path, since)[0] for path in self._paths}
        return [Written(str(path), "files and folders changed", count) for path, count in counts.items() if count]

    def _pack(self, path: Path, sink: int) -> tuple[int, int]:
        """Write the archive of what is at ``path``; how much is in it, and the bytes of tar's stream."""
        began = time.monotonic()

        def tick() -> None:
            self._progress(f"{path}: {os.fstat(sink).st_size >> 20} MiB packed in {time.monotonic() - began:.0f} s")

        with _packing(path) as (pack, names):
            ended = pipeline([[*pack[:1], "--totals", *pack[1:]], _COMPRESS], sink=sink, tick=tick)
            _ended_well(path, ended)
            read = _READ.search(ended[0].said)
            return _lines(names), int(read[1]) if read else 0

    def _read(self, path: Path, named: Path) -> Content:
        """What is at ``path``, with its digest; people are told of ``named``."""
        stream = _Stream(self._progress, f"{named}: read")
        with _packing(path) as (pack, names):
            _ended_well(named, pipeline([pack], tap=stream.add, tick=stream.tick))
            return Content(_lines(names), stream.digest.hexdigest())

    def _unpacked(self, folder: Path, index: int, path: Path, into: Path) -> tuple[Path, Content]:
        """Unpack what was at ``path`` into a folder; where it is now, and what it is, which is what the archive has."""
        stream = _Stream(self._progress, f"{path}: unpacked")
        archive = os.open(folder / f"{index}.tar.zst", os.O_RDONLY | os.O_NOFOLLOW)
        try:
            ended = pipeline(
                [["zstd", "--decompress", "--quiet", "--stdout"], [*_UNPACK, f"--directory={into}"]],
                source=archive,
                tap=stream.add,
                tick=stream.tick,
            )
        finally:
            os.close(archive)
        free = _free(into)
        if failure(ended) and free < _LEAST_FREE:
            raise SnapshotError(
                f"{path}: no room is left to unpack it in {Path(os.path.realpath(into)).parent}, which has "
                f"{free >> 20} MiB free: free some space there and run again",
                {"free": free},
            )
        _ended_well(path, ended)
        new = into / path.name
        found = self._read(new, path)
        if found.digest != stream.digest.hexdigest():
            raise SnapshotError(f"{path}: what was unpacked is not what the archive has; all is as it was")
        return new, found


class _Stream:
    """What goes by in a stream of tar: its digest, and how far it has come, for a person who waits."""

    def __init__(self, progress: Progress, doing: str) -> None:
        self.digest = hashlib.sha256()
        self._size, self._began = 0, time.monotonic()
        self._progress, self._doing = progress, doing

    def add(self, chunk: memoryview) -> None:
        self.digest.update(chunk)
        self._size += len(chunk)

    def tick(self) -> None:
        self._progress(f"{self._doing} {self._size >> 20} MiB in {time.monotonic() - self._began:.0f} s")


@contextlib.contextmanager
def _packing(path: Path) -> Iterator[tuple[list[str], Path]]:
    """The command that packs what is at ``path``, and the file that it then lists the names in."""
    # A folder of its own for the list, which nobody else can write to.
    with tempfile.TemporaryDirectory() as listing:
        names = Path(listing, "names")
        yield [*_PACK, f"--index-file={names}", "--verbose", f"--directory={path.parent}", "--", path.name], names


def _lines(names: Path) -> int:
    with open(names, "rb") as lines:
        return sum(1 for _line in lines)


def _checked(text: str) -> Path:
    path = Path(os.path.normpath(text))
    if not text.startswith("/") or ".." in Path(text).parts or str(path) in ("/", "//") or "\0" in text:
        raise InputError(f"files.paths has {text!r}; absolute paths without '..' are needed, and not the root")
    return path


def _check_mounts(path: Path) -> None:
    """Raise where a file system is mounted at ``path`` or in it: the one cannot be replaced, and the other would be
    emptied when what was there before is removed.
    """
    place = _named(path)
    with open("/proc/self/mountinfo", "rb") as lines:
        points = [_ESCAPED.sub(lambda found: bytes([int(found[1], 8)]), line.split()[4]) for line in lines]
    for point in map(Path, map(os.fsdecode, points)):
        if place in (point, *point.parents):
            what = "a mount point" if point == place else f"no tree of its own: {point} is mounted in it"
            raise SnapshotError(
                f"{path} is {what}, which a restore could not replace. Name what is in it in files.paths"
            )


def _place_of(path: Path) -> Path:
    """The folder that ``path`` is in, or will be made in."""
    return next(one for one in path.parents if one.exists())


def _check_room(sizes: Mapping[Path, int]) -> None:
    """Raise where a disk has no room for what is unpacked beside what is there."""
    needed: dict[int, list[tuple[Path, int]]] = {}
    for path, size in sizes.items():
        place = _place_of(path)
        needed.setdefault(place.stat().st_dev, []).append((place, size))
    for places in needed.values():
        need, free = sum(size for _place, size in places), _free(places[0][0])
        if free < need:
            raise SnapshotError(
                f"a restore needs {need >> 20} MiB beside what is there, and the disk of {places[0][0]} has "
                f"{free >> 20} MiB free. Free some space there; nothing was changed"
            )


def _free(place: Path) -> int:
    """Bytes that this user can still write there."""
    about = os.statvfs(place)
    return (about.f_bfree if os.geteuid() == 0 else about.f_bavail) * about.f_frsize


def _version(tool: str) -> str:
    _status, out, _err = run([tool, "--version"], _QUICK)
    return out.partition("\n")[0].strip("* ")


def _ended_well(path: Path, ended: list[Ended]) -> None:
    told = failure(ended)
    if told:
        raise SnapshotError(f"{path}: {told}", {"commands": [list(one.argv) for one in ended]})


def _now(folder: Path) -> int:
    """The time that the kernel stamps files with, in nanoseconds; it is behind that of the clock."""
    descriptor, name = tempfile.mkstemp(dir=folder)
    try:
        return os.fstat(descriptor).st_ctime_ns
    finally:
        os.close(descriptor)
        os.unlink(name)


def _changed_since(path: Path, since: int) -> tuple[int, str]:
    """How many files and folders at ``path`` have changed after ``since``, and one of them. What was removed or renamed
    has changed the folder that it was in.
    """
    count, example = 0, ""
    waiting = [str(path)]
    while waiting:
        one = waiting.pop()
        try:
            about = os.lstat(one)
            if about.st_ctime_ns > since:
                count, example = count + 1, example or one
            if not stat.S_ISDIR(about.st_mode):
                continue
            with os.scandir(one) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                    elif entry.stat(follow_symlinks=False).st_ctime_ns > since:
                        count, example = count + 1, example or entry.path
        except (FileNotFoundError, NotADirectoryError):
            # It went while this was looking.
            count, example = count + 1, example or one
    return count, example


@contextlib.contextmanager
def _beside(path: Path, prefix: str) -> Iterator[tuple[Path, Path]]:
    """A private folder in the one that ``path`` is in, and ``path``; it is removed whatever happens, or by the next
    run, which sees by its lock that nobody is at work in it.

    Both go by descriptors of folders. Others may be allowed to write there, and whatever they rename, or put in the
    place of what they renamed, nothing goes into that.
    """
    begin = f"{prefix}{path.name[:40]}-"
    with contextlib.ExitStack() as stack:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            parent = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
            stack.callback(os.close, parent)
            there = _by_descriptor(parent) / path.name
            _remove_forgotten(there, begin)
            descriptor = stack.enter_context(opened(Path(tempfile.mkdtemp(prefix=begin, dir=there.parent))))
            about = os.fstat(descriptor)
            if about.st_uid != os.geteuid() or about.st_mode & 0o077 or os.listdir(descriptor):
                raise SnapshotError(
                    f"somebody has put a folder of his own in the place of ours in {path.parent}. See who may write "
                    "there, and run again; nothing was restored"
                )
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except OSError as error:
            raise SnapshotError(f"{path.parent}: {error.strerror}; nothing was restored") from error
        try:
            yield _by_descriptor(descriptor), there
        finally:
            _remove(descriptor)


def _by_descriptor(descriptor: int) -> Path:
    """A folder of which this process has the descriptor, whatever it is called: for commands that it runs, too."""
    return Path(f"/proc/{os.getpid()}/fd/{descriptor}")


def _named(path: Path) -> Path:
    """``path`` with no link on the way to it; what is there may be one."""
    return Path(os.path.realpath(path.parent), path.name)


def _remove(descriptor: int) -> None:
    """Remove a folder of which this process has the descriptor, whatever it is called."""
    place = _by_descriptor(descriptor)
    with contextlib.suppress(OSError):
        for name in os.listdir(descriptor):
            remove(place / name)
        os.rmdir(os.readlink(place))


def _remove_forgotten(path: Path, begin: str) -> None:
    """Remove what killed runs have left beside ``path``: what only has something of that name, or what was about to be
    replaced, while that is there.
    """
    for one in path.parent.glob(f"{glob.escape(begin)}*"):
        with contextlib.suppress(OSError), unused(one) as descriptor:  # not a folder, in use, or gone
            ours = os.fstat(descriptor).st_uid == os.geteuid()
            if ours and set(os.listdir(descriptor)) <= {path.name, _ASIDE} and os.path.lexists(path):
                _remove(descriptor)


def _exchange(one: Path, other: Path) -> None:
    """Have them change places at once; where the file system cannot, by three renames. Raises OSError."""
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename:
        if rename(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) == 0:
            return
        number = ctypes.get_errno()
        if number not in (errno.EINVAL, errno.ENOSYS):
            raise OSError(number, os.strerror(number))
    aside = one.with_name(_ASIDE)
    os.rename(other, aside)
    try:
        os.rename(one, other)
    except OSError:
        os.rename(aside, other)
        raise
    os.rename(aside, one)


def _swap(swaps: list[tuple[Path, Path]]) -> None:
    """Have each ``new`` and ``old`` change places, or ``new`` take it where there is no other; all of them, or none."""
    # Between a rename and the note of it no signal may come: what is in the wrong place would be removed.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        with contextlib.ExitStack() as undo:
            for new, old in swaps:
                try:
                    if os.path.lexists(old):
                        _exchange(new, old)
                        undo.callback(_exchange, new, old)
                    else:
                        os.rename(new, old)
                        undo.callback(os.rename, old, new)
                except OSError as error:
                    raise SnapshotError(
                        f"{_named(old)} could not be replaced: {error.strerror}; all is as it was"
                    ) from error
            undo.pop_all()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    for parent in {old.parent for _new, old in swaps}:
        sync_folder(parent)
