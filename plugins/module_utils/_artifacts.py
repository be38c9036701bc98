# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Artifacts on the disk of a host: taken, proven, found, checked, restored and removed.

``<destination>/<name>/`` has ``manifest.json`` and what the engine wrote. It gets its name by a rename, when all of it
is on the disk. Until then, and while it is removed, its name begins with ``.partial-``.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import signal
import socket
import stat
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ansible_collections.bluegreen.cutover.plugins.module_utils._core import artifact
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.artifact import (
    DATA,
    MANIFEST,
    PARTIAL,
    TAKEN_FILE,
)
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import (
    DataLossError,
    InputError,
    SnapshotError,
    StoppedError,
)
from ansible_collections.bluegreen.cutover.plugins.module_utils._encryption import Encryption
from ansible_collections.bluegreen.cutover.plugins.module_utils._folders import opened, remove, sync_folder, unused
from ansible_collections.bluegreen.cutover.plugins.module_utils._snapshots import (
    Engine,
    Left,
    Notes,
    Progress,
    Taken,
    Written,
)
from ansible_collections.bluegreen.cutover.plugins.module_utils._snapshots._shared import require_space
from ansible_collections.bluegreen.cutover.plugins.module_utils._sums import Sum

STATES = PRESENT, TAKEN, PROVEN = "present", "taken", "proven"
"""Whether it is to be an artifact, or only what of it has to be done while writers are held, or the rest of that."""

_ENDINGS = (signal.SIGALRM, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_LEAST_FREE = 16 << 20
"""Bytes; with less free than that, a failure is explained by it."""


class Log:
    """A Progress that keeps what it is told, for the result."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._began = time.monotonic()

    def __call__(self, told: str) -> None:
        self.lines.append(f"{time.monotonic() - self._began:.1f} s: {told}")


@dataclass(frozen=True)
class Wanted:
    """What is to be taken. ``keep`` is in seconds, from the artifact's completion.

    ``hold`` names the hold of the writers of now, and ``earlier_hold`` the one, of a run before, whose snapshots are as
    good.
    """

    part: str
    destination: Path
    keep: float
    service: str | None = None
    migration: str | None = None
    verify: bool = True
    encryption: Encryption | None = None
    hold: str | None = None
    earlier_hold: str | None = None

    def check(self) -> None:
        """Raises InputError."""
        artifact.check_word(self.part, "part")
        if self.service is not None:
            artifact.check_word(self.service, "service")
        if self.migration is not None:
            artifact.check_migration(self.migration)

    @property
    def prefix(self) -> str:
        """What the names of this part's artifacts begin with."""
        return ".".join(filter(None, (self.service, self.part))) + "."

    @property
    def read_in(self) -> str:
        """The hold that what is read now is read in, or that nobody is held."""
        return self.hold or artifact.NOBODY_HELD


@dataclass
class Found:
    """One folder in a destination. ``problems`` are why it cannot be relied on."""

    path: Path
    manifest: dict[str, Any] | None = None
    problems: list[str] = field(default_factory=list)


def take(
    wanted: Wanted, engine: Engine, progress: Progress, *, state: str = PRESENT, check_mode: bool = False
) -> dict[str, Any]:
    """Take a snapshot, prove it where that is wanted, and make it an artifact; or find the one of the same migration.

    With the ``state`` TAKEN it is read and brought to the disk and nothing else, so that writers are held for no
    longer than that; with PROVEN what was read so is proven and made an artifact.

    Returns ``changed``, ``artifact`` and ``manifest``, both None where there is none yet, and as ``left`` what of runs
    that have died may still be on the part's server. Raises InputError or SnapshotError, and leaves nothing behind
    then.
    """
    wanted.check()
    if not engine.apart:
        if state == TAKEN:
            # Nothing of it has to fit to what is held: all of it comes when that is let go.
            return {**_result(None, changed=False), "left": []}
        state = PRESENT
    if state != PRESENT and wanted.migration is None and not check_mode:
        raise InputError(f"state {state} needs a migration, by which what was read is found again")
    if wanted.encryption is not None:
        wanted.encryption.check()
    _check_place(wanted.destination)
    if check_mode:
        return {**_would_take(wanted, engine, state), "left": []}
    _make_place(wanted.destination)
    with _alone(wanted.destination, wanted.prefix):
        left = engine.remove_left(Notes(wanted.destination, f".{wanted.prefix}left-"))
        for one in left:
            progress(one)
        return {**_take(wanted, engine, progress, state), "left": left}


def _take(wanted: Wanted, engine: Engine, progress: Progress, state: str) -> dict[str, Any]:
    there = _usable(wanted, engine)
    read = _read_before(wanted, engine) if state == PROVEN and there is None else None
    _clear(wanted, read, progress)
    if there is not None:
        return _result(there, changed=False)
    if read is None and state == PROVEN:
        raise SnapshotError(
            f"what was read of {wanted.part} for the migration {wanted.migration} is not there any more. It is not "
            "read anew, because nobody is held now: run again"
        )
    if read is None:
        engine.check()
        read = _read(wanted, engine, progress)
    if state == TAKEN:
        _leave(read)
        return _result(None, changed=True)
    return _result(_finish(read, wanted, engine, progress), changed=True)


def _would_take(wanted: Wanted, engine: Engine, state: str) -> dict[str, Any]:
    there = _usable(wanted, engine) if wanted.destination.is_dir() else None
    if there is None and state != PROVEN:
        engine.check()
    return _result(there, changed=there is None)


def _clear(wanted: Wanted, read: Found | None, progress: Progress) -> None:
    """Remove what runs that have died left of this part, but for what was ``read``."""
    for leftover in leftovers(wanted.destination):
        ours = _part_of(leftover.name, wanted.service) == wanted.prefix
        if ours and (read is None or leftover != read.path) and _remove_forgotten(leftover):
            progress(f"{leftover} is removed: a run that made it has died")


def _read(wanted: Wanted, engine: Engine, progress: Progress) -> Found:
    """Have the part read into a folder that is no artifact yet; the manifest says so far what was read."""
    name = artifact.name_of(wanted.service, wanted.part, time.time())
    partial = wanted.destination / f"{PARTIAL}{name}"
    if os.path.lexists(wanted.destination / name):
        raise SnapshotError(f"{wanted.destination / name} is there already. Take the next snapshot a second later")
    with _unless_it_fails(partial):
        partial.mkdir(0o700)
        return Found(partial, _fill(partial, name, wanted, engine, progress))


def _leave(read: Found) -> None:
    """Note what was read, for a process that proves it later."""
    with _unless_it_fails(read.path):
        _write_new(read.path / TAKEN_FILE, artifact.render(read.manifest or {}))
        sync_folder(read.path)
        sync_folder(read.path.parent)


def _read_before(wanted: Wanted, engine: Engine) -> Found | None:
    """What the state TAKEN has read for the same migration, whole."""
    for partial in reversed(leftovers(wanted.destination)):
        try:
            found = Found(partial, _manifest_in(partial / TAKEN_FILE))
            files = hash_tree(partial / DATA, partial)
        except (SnapshotError, OSError):
            continue
        one = found.manifest or {}
        same = (one["service"], one["part"], one["migration"], one["engine"])
        right = same == (wanted.service, wanted.part, wanted.migration, engine.name) and _is_of(engine, one)
        if right and one["files"] == files:
            return found
    return None


def _finish(read: Found, wanted: Wanted, engine: Engine, progress: Progress) -> Found:
    """Prove what was read, encrypt it, and make it an artifact; each where that is wanted."""
    partial, manifest = read.path, dict(read.manifest or {})
    final = wanted.destination / manifest["name"]
    data = partial / DATA
    with _unless_it_fails(partial):
        if wanted.verify:
            manifest["verified"], contents = _prove(engine, data, _taken(manifest), progress)
            manifest["contents"] = artifact.as_json(contents)
        recipient = None
        if wanted.encryption is not None:
            recipient = wanted.encryption.recipient
            manifest["encryption"] = asdict(wanted.encryption)
            manifest["packed"], manifest["files"] = manifest["files"], _encrypt(wanted.encryption, data, progress)
        completed = time.time()
        manifest.update(
            completed=completed, expires=completed + wanted.keep, needs=artifact.needs(manifest["versions"], recipient)
        )
        _write_new(partial / MANIFEST, artifact.render(manifest))
        (partial / TAKEN_FILE).unlink(missing_ok=True)
        sync_folder(partial)
        os.rename(partial, final)
        sync_folder(wanted.destination)
    return Found(final, manifest)


@contextlib.contextmanager
def _unless_it_fails(partial: Path) -> Iterator[None]:
    """Whatever is raised, nothing of the folder is left."""
    with _naming(partial.parent):
        try:
            yield
        except BaseException:
            remove(partial)
            raise


def _fill(partial: Path, name: str, wanted: Wanted, engine: Engine, progress: Progress) -> dict[str, Any]:
    """Write what is read into ``partial``; its manifest, of what is neither proven nor encrypted."""
    started = time.time()
    data = partial / DATA
    data.mkdir(0o700)
    progress(f"{wanted.part} is read by the engine {engine.name}")
    taken = engine.take(data)
    progress("its files are summed up and brought to the disk")
    files = hash_tree(data, partial, sync=True, known={f"{DATA}/{name}": one for name, one in taken.sums.items()})
    if not files:
        raise SnapshotError(f"the engine {engine.name} wrote nothing")
    completed = time.time()
    return {
        "format": artifact.FORMAT,
        "name": name,
        "service": wanted.service,
        "part": wanted.part,
        "migration": wanted.migration,
        "hold": wanted.read_in if engine.apart else None,
        "host": socket.gethostname(),
        "engine": engine.name,
        "source": taken.source,
        "versions": taken.versions,
        "consistent_at": taken.consistent_at,
        "point_in_time": taken.point_in_time,
        "contents": artifact.as_json(taken.contents),
        "mark": taken.mark,
        "files": files,
        "packed": None,
        "encryption": None,
        "started": started,
        "completed": completed,
        "expires": completed + wanted.keep,
        "verified": None,
        "needs": artifact.needs(taken.versions, None),
    }


def _prove(
    engine: Engine, data: Path, taken: Taken, progress: Progress
) -> tuple[dict[str, float], dict[str, artifact.Content]]:
    """When it was proven, in how many seconds, and what is known of its contents by now."""
    progress("it is restored into a place of its own and compared")
    began = time.monotonic()
    with engine.scratch(data, taken) as found:
        wrong = artifact.differences(taken.contents, found, later=True)
        contents = artifact.known(taken.contents, found)
    if wrong:
        raise SnapshotError(
            f"the snapshot is not proven: restored into a place of its own, {artifact.some(wrong)}. It was not kept; "
            "the part's data is as it was",
            {"differences": wrong},
        )
    return {"at": time.time(), "seconds": round(time.monotonic() - began, 3)}, contents


def _encrypt(encryption: Encryption, data: Path, progress: Progress) -> dict[str, dict[str, Any]]:
    progress(f"it is encrypted by {encryption.tool}")
    encrypted = data.with_name(DATA + encryption.suffix)
    encryption.encrypt(data, encrypted, progress)
    shutil.rmtree(data)
    return hash_tree(encrypted, data.parent, sync=True)


def _result(found: Found | None, *, changed: bool) -> dict[str, Any]:
    if found is None:
        return {"changed": changed, "artifact": None, "manifest": None}
    return {"changed": changed, "artifact": str(found.path), "manifest": found.manifest}


def _usable(wanted: Wanted, engine: Engine) -> Found | None:
    """What an earlier run of the same migration took, whole, proven, not expired, and fitting to the other parts."""
    if wanted.migration is None:
        return None
    encryption = None if wanted.encryption is None else asdict(wanted.encryption)
    for found in reversed(find(wanted.destination)):
        one = found.manifest
        if one is None or (one["service"], one["part"]) != (wanted.service, wanted.part):
            continue
        same = (one["migration"], one["engine"], one["encryption"]) == (wanted.migration, engine.name, encryption)
        good = one["expires"] > time.time() and (one["verified"] or not wanted.verify)
        fits = not engine.apart or one["hold"] in (wanted.read_in, wanted.earlier_hold)
        if same and good and fits and _is_of(engine, one) and not check_files(found, sums=True):
            return found
    return None


def _is_of(engine: Engine, manifest: Mapping[str, Any]) -> bool:
    """Whether it was taken from what the inventory names now, which may have been corrected since."""
    try:
        engine.check_source(_taken(manifest))
    except SnapshotError:
        return False
    return True


def find(destination: Path) -> list[Found]:
    """Everything in ``destination`` that has a manifest, by name. What is damaged has its problems, and no manifest
    where that is what is damaged. Changes nothing; raises SnapshotError where the folder cannot be read.
    """
    with _naming(destination):
        folders = sorted(
            entry.name
            for entry in os.scandir(destination)
            if not entry.name.startswith(".") and entry.is_dir(follow_symlinks=False)
        )
    found = []
    for name in folders:
        path = destination / name
        if os.path.lexists(path / MANIFEST):
            found.append(Found(path))
            try:
                found[-1].manifest = read_manifest(path)
            except SnapshotError as error:
                found[-1].problems.append(error.message)
    return found


def describe(destination: Path, only: Mapping[str, str], *, sums: bool) -> dict[str, Any]:
    """The ``artifacts`` whose manifest says what ``only`` does, with those that are damaged, and the ``leftovers``."""
    told = []
    for found in find(destination):
        manifest = found.manifest
        if manifest is None or all(manifest[name] == value for name, value in only.items()):
            expired = manifest is not None and time.time() >= manifest["expires"]
            problems = check_files(found, sums=sums)
            told.append({"path": str(found.path), "manifest": manifest, "expired": expired, "problems": problems})
    return {"artifacts": told, "leftovers": [str(one) for one in leftovers(destination)]}


def leftovers(destination: Path) -> list[Path]:
    """What runs have left that were killed, or are at work now."""
    with _naming(destination):
        return sorted(destination.glob(f"{PARTIAL}*"))


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of the artifact at ``folder``. Raises SnapshotError."""
    path = folder / MANIFEST
    manifest = _manifest_in(path)
    if manifest["name"] != folder.name:
        raise SnapshotError(f"{path} is the manifest of {manifest['name']}. Give the folder its name back")
    return manifest


def _manifest_in(path: Path) -> dict[str, Any]:
    with _naming(path), open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as handle:
        raw = handle.read()
    try:
        return artifact.parse(raw)
    except SnapshotError as error:
        raise SnapshotError(f"{path} {error.message}. Do not rely on it; take another one") from error


def check_files(found: Found, *, sums: bool) -> list[str]:
    """Why the files are not those of the manifest; nothing where they are. Without ``sums`` only sizes are compared."""
    if found.manifest is None:
        return found.problems
    expected = found.manifest["files"]
    try:
        there = _sizes(found.path)
        told = artifact.file_problems(expected, there)
        if sums and not told:
            hashed = hash_tree(found.path, found.path)
            told = [f"{name} was changed after it was written" for name in expected if hashed[name] != expected[name]]
    except (OSError, SnapshotError) as error:
        told = [str(error)]
    return told


def open_whole(folder: Path) -> Found:
    """The artifact at ``folder``, each of whose files has the right checksum. Raises SnapshotError."""
    found = Found(folder, read_manifest(folder))
    wrong = check_files(found, sums=True)
    if wrong:
        raise SnapshotError(
            f"{folder} is damaged: {artifact.some(wrong)}. Nothing was restored; use another artifact",
            {"problems": wrong},
        )
    return found


@contextlib.contextmanager
def in_use(folder: Path) -> Iterator[None]:
    """Keep the artifact at ``folder`` from being removed. Raises SnapshotError."""
    if not os.path.lexists(folder):
        raise SnapshotError(
            f"there is no artifact {folder} on this host: it has expired and was removed, or is on another host"
        )
    with _naming(folder), opened(folder) as descriptor:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        yield


def restore(
    folder: Path,
    engine: Engine,
    progress: Progress,
    *,
    identity: Path | None = None,
    accept_data_loss: bool = False,
    accept_expired: bool = False,
    check_mode: bool = False,
) -> dict[str, Any]:
    """Put an artifact in the place of what is there now, and compare; nothing is done where that is the same already.

    What was written since is counted first: without ``accept_data_loss`` it is a DataLossError, and nothing is changed.
    Check mode raises that too, and what would keep it from being restored.
    Returns ``changed``, ``manifest``, ``written`` and ``differences``, those from before, ``kept`` and ``unproven`` as
    in ``Left``, and ``seconds``, how long it took to bring it back, without what was compared and counted before.
    Raises SnapshotError, also where another process of this host takes or restores the same part, from the same
    destination. Who restores it from another host, or from another destination, is not seen.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(in_use(folder))
        if not os.statvfs(folder).f_flag & os.ST_RDONLY:
            # In check mode, too: a snapshot of the part would remove what is decrypted here.
            stack.enter_context(_alone(folder.parent, _prefix(read_manifest(folder)["name"])))
        found = open_whole(folder)
        manifest = found.manifest or {}
        if manifest["engine"] != engine.name:
            raise InputError(f"{folder} was made by the engine {manifest['engine']}, not by {engine.name}")
        age = time.time() - manifest["expires"]
        if age > 0 and not accept_expired:
            raise SnapshotError(
                f"{folder} expired {age / 3600:.1f} h ago. Restore it nevertheless with accept_expired, or use another"
            )
        taken = _taken(manifest)
        told, now = _compare(engine, taken)
        result = {"changed": bool(told), "manifest": manifest, "differences": told, "written": [], **asdict(Left())}
        result["seconds"] = 0.0
        if not told:
            return result
        written = _written(engine, taken, now)
        result["written"] = [asdict(one) for one in written]
        if not accept_data_loss:
            raise DataLossError(
                f"restoring {manifest['part']} from {folder} would lose what was written since "
                f"{artifact.moment(manifest['consistent_at'])}: {numbers(written)}. Nothing was restored. Accept it "
                "with accept_data_loss, or leave the data as it is",
                {"written": result["written"], "differences": told},
            )
        began = time.monotonic()
        try:
            with _unpacked(found, identity, progress) as data:
                if check_mode:
                    engine.check_restore(data, taken)
                    return result
                progress(f"{manifest['part']} is restored")
                result.update(asdict(engine.restore(data, taken)))
        except SnapshotError as error:
            # The numbers are for who has to decide what becomes of it.
            error.evidence.update(written=result["written"], differences=told)
            raise
        return {**result, "seconds": round(time.monotonic() - began, 3)}


def _taken(manifest: Mapping[str, Any]) -> Taken:
    return Taken(
        source=manifest["source"],
        versions=manifest["versions"],
        consistent_at=manifest["consistent_at"],
        point_in_time=manifest["point_in_time"],
        contents=artifact.to_contents(manifest["contents"]),
        mark=manifest["mark"],
    )


def _compare(engine: Engine, taken: Taken) -> tuple[list[str], str]:
    """Where the part is another than it was, and why it could not be read, where it could not."""
    try:
        return [*artifact.differences(taken.contents, engine.contents()), *engine.also_differs(taken)], ""
    except SnapshotError as error:
        return [f"what is there now cannot be read: {error.message}"], error.message


def _written(engine: Engine, taken: Taken, unreadable: str) -> list[Written]:
    """What would be lost; where it cannot be counted, that is told in its place."""
    try:
        found = engine.written_since(taken)
    except SnapshotError as error:
        found, unreadable = [], error.message
    return found or [Written(unreadable or "the part", "changes that cannot be counted", 1)]


def numbers(written: Collection[Written]) -> str:
    """In words, the largest first."""
    ranked = sorted(written, key=lambda one: -one.count)
    return artifact.some([f"{one.count} {one.what} ({one.name})" for one in ranked])


@contextlib.contextmanager
def _unpacked(found: Found, identity: Path | None, progress: Progress) -> Iterator[Path]:
    """The folder as the engine wrote it; of an encrypted artifact in a private place, removed whatever happens."""
    manifest = found.manifest or {}
    if manifest["encryption"] is None:
        yield found.path / DATA
        return
    encryption = Encryption(**manifest["encryption"])
    if identity is None:
        raise SnapshotError(
            f"{found.path} is encrypted to {encryption.recipient}. Give the file of its private key as identity_file"
        )
    # A disk that runs full would harm whoever else writes there.
    size = sum(one["size"] for one in manifest["packed"].values())
    require_space(found.path.parent, size, f"Decrypting {found.path.name}", "Free some space there, and run again")
    # It has the name of a leftover of this part, which nobody removes while a restore is the only one at work.
    with _naming(found.path.parent):
        place = Path(tempfile.mkdtemp(prefix=f"{PARTIAL}{found.path.name}-", dir=found.path.parent))
        try:
            data = place / DATA
            data.mkdir(0o700)
            progress(f"it is decrypted by {encryption.tool}")
            encryption.decrypt(found.path / f"{DATA}{encryption.suffix}", data, identity, progress)
            if hash_tree(data, place) != manifest["packed"]:
                raise SnapshotError(f"{found.path} was decrypted, and has not what was encrypted. Use another artifact")
            yield data
        finally:
            shutil.rmtree(place, ignore_errors=True)


def expire(
    destination: Path, service: str | None, over: Collection[str], *, check_mode: bool = False
) -> dict[str, Any]:
    """Remove the artifacts of ``service`` that are past their time, and what killed runs left of it.

    ``over`` are the migrations that cannot go back any more. What has no whole manifest is left alone and told. Returns
    ``changed``, ``removed``, ``kept`` and ``problems``.
    """
    if not os.path.lexists(destination):
        return {"changed": False, "removed": [], "kept": [], "problems": []}
    _check_place(destination)
    result: dict[str, Any] = {"removed": [], "kept": [], "problems": []}
    ours: dict[str, Found] = {}
    for found in find(destination):
        if found.manifest is None:
            result["problems"] += found.problems
        elif found.manifest["service"] == service:
            ours[found.path.name] = found
    manifests = [one.manifest for one in ours.values() if one.manifest is not None]
    for fate in artifact.expire(manifests, over, time.time()):
        path = ours[fate.name].path
        why = "" if not fate.goes else "in use" if not check_mode and not _retire(path) else None
        if why is None:
            result["removed"].append({"path": str(path), "why": fate.why})
        else:
            result["kept"].append({"path": str(path), "why": why or fate.why})
    for leftover in leftovers(destination):
        part = _part_of(leftover.name, service)
        if part is not None:
            became, why = _expire_leftover(leftover, part, over, check_mode=check_mode)
            result[became].append({"path": str(leftover), "why": why})
    return {"changed": bool(result["removed"]), **result}


def _expire_leftover(leftover: Path, part: str, over: Collection[str], *, check_mode: bool) -> tuple[str, str]:
    """Whether it was ``removed`` or ``kept``, and why."""
    # Between the two halves of a run nobody is at work there.
    if _migration_of(leftover) not in (None, *over):
        return "kept", "it was read for a migration that is not known to be over"
    if _abandoned(leftover.parent, part, leftover, check_mode=check_mode):
        return "removed", "a run that took or removed it has died"
    return "kept", "in use"


def _retire(path: Path) -> bool:
    """Remove an artifact, unless it is in use: its name goes first, so that no half of one has it."""
    with _naming(path):
        try:
            with unused(path):
                going = path.with_name(PARTIAL + path.name)
                os.rename(path, going)
                sync_folder(path.parent)
                remove(going)
        except BlockingIOError:
            return False
        return True


def _migration_of(leftover: Path) -> str | None:
    try:
        migration: str | None = _manifest_in(leftover / TAKEN_FILE)["migration"]
    except SnapshotError:
        return None
    return migration


def _prefix(name: str) -> str:
    """What the names of all artifacts of a part begin with, by that of one."""
    return name.rpartition(".")[0] + "."


def _part_of(name: str, service: str | None) -> str | None:
    """The lock's prefix of a leftover of ``service``; None where it is another's."""
    words = name[len(PARTIAL) :].split(".")
    given = words[:-1]
    return ".".join(given) + "." if given and (given[:-1] == ([service] if service else [])) else None


def _abandoned(destination: Path, prefix: str, leftover: Path, *, check_mode: bool) -> bool:
    try:
        with _alone(destination, prefix, check_mode=check_mode):
            return _remove_forgotten(leftover, check_mode=check_mode)
    except SnapshotError:
        return False  # a run is at work there


@contextlib.contextmanager
def bounded(seconds: float, afterwards: str) -> Iterator[None]:
    """End what is inside when the time ends, or when this process is told to end, so that nothing is left of it.

    Raises SnapshotError, which says what is so ``afterwards``, in whole sentences.
    """

    def stop(number: int, _frame: Any) -> None:
        for one in _ENDINGS:
            signal.signal(one, signal.SIG_IGN)
        raise StoppedError(number)

    before = {one: signal.signal(one, stop) for one in _ENDINGS}
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    except StoppedError as stopped:
        timed = stopped.signal == signal.SIGALRM
        what = f"did not end within {seconds:.0f} s" if timed else "was told to end by a signal"
        left = f" Something could not be taken back: {artifact.some(stopped.left)}." if stopped.left else ""
        raise SnapshotError(f"this {what}.{left} {afterwards}", {"left": stopped.left}) from stopped
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for one, handler in before.items():
            signal.signal(one, handler)


def hash_tree(
    path: Path, base: Path, *, sync: bool = False, known: Mapping[str, dict[str, Any]] | None = None
) -> dict[str, dict[str, Any]]:
    """Size and SHA-256 of every file at ``path``, by its path from ``base``; an artifact's own manifest left out.

    With ``sync`` all of it is brought to the disk. What is ``known`` is not read again; only its size is looked at.
    Raises SnapshotError for what is neither file nor folder, or has another size than is known.
    """
    names = list(_walk(path, base))
    with ThreadPoolExecutor(max_workers=min(2, os.cpu_count() or 1)) as pool:
        hashed = list(pool.map(lambda name: _hash(base / name, sync, (known or {}).get(name)), names))
    if sync:
        for folder in {base, *((base / name).parent for name in names)}:
            sync_folder(folder)
    return dict(zip(names, hashed))


def _sizes(folder: Path) -> dict[str, int]:
    return {name: os.lstat(folder / name).st_size for name in _walk(folder, folder)}


def _walk(path: Path, base: Path) -> Iterator[str]:
    """Every file at ``path``, by its path from ``base``; the artifact's own manifest left out."""
    kind = os.lstat(path).st_mode
    if stat.S_ISREG(kind):
        name = str(path.relative_to(base))
        if name != MANIFEST:
            yield name
        return
    if not stat.S_ISDIR(kind):
        raise SnapshotError(f"{path} is neither a file nor a folder; nothing else belongs there")
    for one in sorted(os.listdir(path)):
        yield from _walk(path / one, base)


def _hash(path: Path, sync: bool, known: dict[str, Any] | None) -> dict[str, Any]:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        if known is None:
            one = Sum(descriptor)
            one.read_on()
            known = one.entry()
        elif os.fstat(descriptor).st_size != known["size"]:
            raise SnapshotError(f"{path} was changed after it was written. See who writes there, and run again")
        if sync:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return known


def _check_place(destination: Path) -> None:
    """Refuse a folder in which somebody else could plant something. Raises InputError or SnapshotError."""
    if not destination.is_absolute() or ".." in destination.parts or "\0" in str(destination):
        raise InputError(f"destination is {str(destination)!r}; an absolute path without '..' is needed")
    with _naming(destination):
        if destination.is_symlink():
            raise SnapshotError(f"{destination} is a link to {os.readlink(destination)!r}. Name what it leads to")
        place = Path(os.path.realpath(destination))
        for one in (place, *place.parents):
            if not os.path.lexists(one):
                continue
            about = os.lstat(one)
            if not stat.S_ISDIR(about.st_mode):
                raise SnapshotError(f"{one} is not a folder")
            # Whoever may write to a folder can replace what is in it; where its sticky bit is set, only what is his.
            open_to = about.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and (
                one == place or not about.st_mode & stat.S_ISVTX
            )
            if about.st_uid not in (0, os.geteuid()) or open_to:
                raise SnapshotError(
                    f"{one} is owned by uid {about.st_uid} with mode {stat.S_IMODE(about.st_mode):04o}: others could "
                    "put their own files into snapshots. Take a folder that only this user and root can write to, "
                    "and that lies in such folders"
                )


def _make_place(destination: Path) -> None:
    with _naming(destination):
        for folder in reversed([destination, *destination.parents]):
            if not os.path.lexists(folder):
                folder.mkdir(0o700)
                sync_folder(folder.parent)
    _check_place(destination)


@contextlib.contextmanager
def _alone(destination: Path, prefix: str, *, check_mode: bool = False) -> Iterator[None]:
    """Be the only one that takes or restores this part's snapshots. Raises SnapshotError, which says who else does.

    Check mode leaves the file as it is; where there is none, nobody is.
    """
    path = destination / f".{prefix}lock"
    if check_mode and not os.path.lexists(path):
        yield
        return
    with _naming(destination):
        descriptor = os.open(path, os.O_RDWR | (0 if check_mode else os.O_CREAT) | os.O_NOFOLLOW, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                who = os.read(descriptor, 200).decode("utf-8", "replace").strip()
                raise SnapshotError(
                    f"another run takes, restores or removes a snapshot of {prefix[:-1]} at the same time "
                    f"({who or 'a process unknown'}). Wait for its end, and run again"
                ) from error
            if not check_mode:
                who = f"process {os.getpid()}, since {artifact.moment(time.time())}\n"
                # A disk that is full keeps nobody from a restore.
                with contextlib.suppress(OSError):
                    os.ftruncate(descriptor, 0)
                    os.pwrite(descriptor, who.encode(), 0)
            yield
        finally:
            os.close(descriptor)


def _remove_forgotten(path: Path, *, check_mode: bool = False) -> bool:
    """Remove what has the name of a leftover, unless somebody has locked it, who is at work in it."""
    try:
        with unused(path):
            if not check_mode:
                remove(path)
    except BlockingIOError:
        return False
    except OSError:
        # No folder, so nobody is at work in it.
        if not check_mode:
            remove(path)
    return True


def _write_new(path: Path, content: bytes) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "wb") as handle:
        handle.write(content)
        handle.flush()
        os.fsync(handle.fileno())


_ADVICE = {
    errno.ENOSPC: "Free some space there and run again",
    errno.EDQUOT: "Free some space there and run again",
    errno.EACCES: "Run as root (become: true)",
    errno.EPERM: "Run as root (become: true)",
    errno.EROFS: "Choose a destination that is writable",
    errno.ELOOP: "Somebody has put a link there: see who, and remove it",
}


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Turn an ``OSError`` into a ``SnapshotError`` that says where and what to do; tell of a disk that is full."""
    try:
        yield
    except OSError as error:
        where = error.filename or path
        advice = _ADVICE.get(error.errno or 0, "Look at that path on this host and run again")
        raise SnapshotError(f"{where}: {error.strerror}. {advice}", {"errno": error.errno}) from error
    except SnapshotError as error:
        free = _free(path)
        if free is None or free >= _LEAST_FREE or "free" in error.evidence:
            raise
        raise SnapshotError(
            f"{error.message}. {path} has {free >> 20} MiB free: free some space there and run again",
            {**error.evidence, "free": free},
        ) from error


def _free(path: Path) -> int | None:
    """Bytes that are free where ``path`` is or will be."""
    for one in (path, *path.parents):
        with contextlib.suppress(OSError):
            about = os.statvfs(one)
            return about.f_bavail * about.f_frsize
    return None
