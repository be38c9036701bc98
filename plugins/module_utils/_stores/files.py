# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Journal, lease, fence and guard of one service, as files that survive a kill, a reboot and a full disk."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from ansible_collections.bluegreen.cutover.plugins.module_utils._core import freeze, guard, journal, lease
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import FencedError, InputError, StoreError
from ansible_collections.bluegreen.cutover.plugins.module_utils._folders import sync_folder

LOCK_WAIT = 30.0
"""Seconds to wait for another process of this host to leave its read-decide-write, a reload of nginx included."""

_POLL = 0.05
_SERVICE = re.compile(r"[a-z0-9-]{1,40}")


class Clock(Protocol):
    """The functions of the ``time`` module that runs use, so that a test can bring its own; ``time`` is what leases and
    events are told in.
    """

    def time(self) -> float: ...

    def monotonic(self) -> float: ...

    def sleep(self, seconds: float, /) -> None: ...


class DamagedError(StoreError):
    """A file is there and cannot be understood."""

    def __init__(self, path: Path, what: str) -> None:
        self.path = path
        self.what = f"{path} {what}"
        super().__init__(
            f"{self.what}. Nothing was changed. Move the file aside, see what serves with status.yml, and run again",
            {"path": str(path)},
        )


class LockedError(StoreError):
    """Another process of this host is in its read-decide-write; trying again helps."""


class FileStore:
    """``<state_dir>/<service>/{lock,lease.json,fence.json,guard.json,gate.json,freeze.json,journal.json}``.

    Reading needs no lock, because files are only ever replaced whole. Everything raises ``StoreError``, naming the
    path. In check mode call nothing but the ``read_`` methods.
    """

    def __init__(self, state_dir: str, service: str) -> None:
        if not _SERVICE.fullmatch(service):
            raise InputError(f"service is {service!r}; a name of 1…40 of a-z, 0-9 and '-' is needed")
        self.service = service
        self.clock: Clock = time
        self.folder = Path(state_dir) / service
        self._depth = 0

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold this host's lock on the service; may be entered again by its holder. Never hold it across a wait."""
        if self._depth:
            self._depth += 1
            try:
                yield
            finally:
                self._depth -= 1
            return
        descriptor = self._lock()
        self._depth = 1
        try:
            yield
        finally:
            self._depth = 0
            os.close(descriptor)

    def read_journal(self) -> dict[str, Any]:
        """The journal; an empty one where none was written yet."""
        path = self.folder / "journal.json"
        document = self._read(path)
        if document is None:
            return journal.empty(self.service)
        try:
            return journal.check(document, self.service)
        except StoreError as error:
            raise DamagedError(path, error.message) from error

    def write_journal(self, document: dict[str, Any]) -> None:
        """Replace the journal, durably."""
        self._write(self.folder / "journal.json", document)

    def read_lease(self) -> dict[str, Any] | None:
        """The lease, expired or not; None where nobody holds one."""
        path = self.folder / "lease.json"
        document = self._read(path)
        if document is not None and not lease.is_lease(document):
            raise DamagedError(path, "is not a lease")
        return None if document is None else lease.found(document, _clock())

    def write_lease(self, document: dict[str, Any] | None) -> None:
        """Replace the lease, durably; None releases it."""
        self._replace(self.folder / "lease.json", None if document is None else lease.kept(document, _clock()))

    def read_guard(self) -> dict[str, Any] | None:
        """The guard; None where none is armed."""
        path = self.folder / "guard.json"
        document = self._read(path)
        if document is not None and not guard.is_guard(document):
            raise DamagedError(path, "is not a guard")
        return document

    def write_guard(self, document: dict[str, Any] | None) -> None:
        """Replace the guard, durably; None disarms it, and its process ends."""
        self._replace(self.folder / "guard.json", document)

    def read_gate(self) -> dict[str, Any] | None:
        """What a gate needs to go on, with what it was asked; None where there is none."""
        return self._read(self.folder / "gate.json")

    def write_gate(self, document: dict[str, Any] | None) -> None:
        """Replace what a gate needs to go on, durably; None forgets it."""
        self._replace(self.folder / "gate.json", document)

    def read_promotion(self) -> dict[str, Any] | None:
        """What was promoted where (``_core/promotion.py``); None where nothing was."""
        return self._read(self.folder / "promotion.json")

    def write_promotion(self, document: dict[str, Any]) -> None:
        """Replace that."""
        self._write(self.folder / "promotion.json", document)

    def read_freeze(self) -> dict[str, Any] | None:
        """The writers that are held on this host; None where none are."""
        path = self.folder / "freeze.json"
        document = self._read(path)
        if document is not None and not freeze.is_hold(document):
            raise DamagedError(path, "does not say which writers are held")
        return document

    def write_freeze(self, document: dict[str, Any] | None) -> None:
        """Replace what says which writers are held, durably; None where none are."""
        self._replace(self.folder / "freeze.json", document)

    def write_page(self, name: str, text: str, *, check_mode: bool = False) -> bool:
        """Replace a page for people, durably; return whether it was another one before."""
        path = self.folder / name
        with _naming(path):
            try:
                before = path.read_bytes()
            except FileNotFoundError:
                before = b""
        changed = before != text.encode()
        if changed and not check_mode:
            self._write_bytes(path, text.encode())
        return changed

    def read_fence(self) -> int:
        """The highest token seen on this host; 0 where none was."""
        path = self.folder / "fence.json"
        token = (self._read(path) or {"token": 0}).get("token")
        if not isinstance(token, int):
            raise DamagedError(path, "holds no token")
        return token

    def set_aside(self, path: Path) -> Path:
        """Rename a damaged file, so that the next one can be written; return its new name, which no other file had.

        Call it inside ``locked()``.
        """
        aside, number = path.with_name(f"{path.name}.damaged"), 1
        with _naming(path):
            while aside.exists():
                number += 1
                aside = path.with_name(f"{path.name}.damaged-{number}")
            os.replace(path, aside)
            sync_folder(path.parent)
        return aside

    def fence(self, token: int, now: float) -> None:
        """Let the run with ``token`` write, or raise ``FencedError``, which tells what the guard did where it was the
        guard that overtook; call it inside ``locked()``.

        A token higher than any seen here is remembered before this returns. ``now`` is in unix seconds.
        """
        highest = self.read_fence()
        try:
            lease.check(self.service, self.read_lease(), highest, token, now)
        except FencedError as error:
            fired = journal.fold(self.read_journal()).fired
            if fired is None or fired["token"] <= token:
                raise
            raise FencedError(
                f"this run of {self.service} (token {token}) may not go on: {fired['reason']}; nothing was changed "
                "here. See status.yml, and run again: it goes on from the journal",
                {**error.evidence, "guard": fired},
            ) from error
        if token > highest:
            self._write(self.folder / "fence.json", {"token": token})

    def record(self, token: int, now: float, kind: str, **data: Any) -> None:
        """Append one event to the journal as the run with ``token``, and renew its lease."""
        with self.locked():
            self.renew(token, now)
            event = {"kind": kind, "at": now, "token": token, **data}
            self.write_journal(journal.append(self.read_journal(), event))

    def renew(self, token: int, now: float) -> None:
        """Renew the lease of the run with ``token``, where this host keeps it; or raise ``FencedError``."""
        with self.locked():
            self.fence(token, now)
            held = self.read_lease()
            if held is not None:
                self.write_lease(lease.renew(held, now))

    def _replace(self, path: Path, document: dict[str, Any] | None) -> None:
        if document is not None:
            self._write(path, document)
            return
        with _naming(path):
            try:
                path.unlink()
            except FileNotFoundError:
                return
            sync_folder(self.folder)

    def _lock(self) -> int:
        path = self.folder / "lock"
        with _naming(path):
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
            deadline = time.monotonic() + LOCK_WAIT
            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    return descriptor
                except BlockingIOError:
                    pass
                if time.monotonic() >= deadline:
                    os.close(descriptor)
                    raise LockedError(
                        f"{path} is held by another process of this host since {LOCK_WAIT:.0f} s; "
                        f"see who it is with 'fuser {path}' and run again",
                        {"path": str(path)},
                    )
                time.sleep(_POLL)

    def _read(self, path: Path) -> dict[str, Any] | None:
        with _naming(path):
            try:
                text = path.read_bytes()
            except FileNotFoundError:
                return None
        try:
            document = json.loads(text)
        except ValueError as error:
            raise DamagedError(path, f"is not JSON ({error})") from error
        if not isinstance(document, dict):
            raise DamagedError(path, "does not hold a JSON object")
        return document

    def _write(self, path: Path, document: dict[str, Any]) -> None:
        """Temporary file, fsync, rename, fsync of the folder: after a crash either the old or the new one is there."""
        try:
            text = json.dumps(document, allow_nan=False, ensure_ascii=False, sort_keys=True).encode()
        except (TypeError, ValueError) as error:
            raise StoreError(f"{path} was not written: its new content is not JSON ({error})") from error
        self._write_bytes(path, text + b"\n")

    @staticmethod
    def _write_bytes(path: Path, text: bytes) -> None:
        scratch = path.with_suffix(".tmp")
        with _naming(path):
            try:
                with open(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as handle:
                    handle.write(text)
                    handle.flush()
                    os.fsync(handle.fileno())
            except OSError:
                scratch.unlink(missing_ok=True)
                raise
            os.replace(scratch, path)
            sync_folder(path.parent)


def _clock() -> lease.Clock:
    """This host's."""
    boot_id = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return lease.Clock(boot_id, time.time() - time.clock_gettime(time.CLOCK_BOOTTIME))


_ADVICE = {
    errno.ENOSPC: "Free some space there and run again",
    errno.EDQUOT: "Free some space there and run again",
    errno.EACCES: "Run as root (become: true)",
    errno.EPERM: "Run as root (become: true)",
    errno.EROFS: "Make the file system writable, or set cutover_state_dir to a place that is",
}


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Turn an ``OSError`` into a ``StoreError`` that names ``path`` and says what to do."""
    try:
        yield
    except OSError as error:
        advice = _ADVICE.get(error.errno or 0, "Look at that path on this host and run again")
        raise StoreError(f"{path}: {error.strerror}. {advice}", {"path": str(path), "errno": error.errno}) from error
