# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A PostgreSQL server that lives for one restore: only a socket, no safety, the lowest priority, and gone afterwards.

The server that an artifact came from has no part in it: it writes no WAL for it, and may even be down.
"""

from __future__ import annotations

import fcntl
import os
import pwd
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from signal import SIGQUIT

from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import SnapshotError
from ansible_collections.bluegreen.cutover.plugins.module_utils._folders import unused
from ansible_collections.bluegreen.cutover.plugins.module_utils._snapshots import Progress
from ansible_collections.bluegreen.cutover.plugins.module_utils._snapshots._postgresql_server import (
    Server,
    Tool,
    Tools,
    connect,
    lent,
    since,
)
from ansible_collections.bluegreen.cutover.plugins.module_utils._snapshots._shared import require_space

#: Large, on a disk, and emptied by the host of what is forgotten.
DIRECTORY = "/var/tmp"  # noqa: S108 - mkdtemp makes a folder of its own
PREFIX = "bluegreen-scratch-"
USER = "bluegreen_scratch"
PORT = 5432
NICE = 10
START_SECONDS = 60.0
#: What a cluster needs beside its databases, in bytes: its own catalogue, WAL, room for sorting.
BESIDE = 512 * 2**20
#: The longest path of a socket.
SOCKET_PATH = 107

# It is thrown away if it crashes, so nothing is made safe. No library is loaded beforehand: what the real server loads
# may begin to work on what is restored (a scheduler of jobs, say).
_SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_wal_size": "512MB",
    "archive_mode": "off",
    "autovacuum": "off",
    "shared_preload_libraries": "",
    "max_connections": "40",
    "max_locks_per_transaction": "1024",
    "shared_buffers": "128MB",
    "maintenance_work_mem": "128MB",
    "dynamic_shared_memory_type": "mmap",
    "huge_pages": "off",
    "jit": "off",
    "logging_collector": "off",
    "log_destination": "stderr",
    "log_min_messages": "error",
}


def can_run(tools: Tools, account: str | None) -> bool:
    """Whether this host has the server's programs, and somebody to run them with: root may not."""
    with suppress(SnapshotError):
        return bool(tools.path("initdb") and tools.path("postgres") and (os.geteuid() != 0 or _runner(account)))
    return False


def _runner(account: str | None) -> str | None:
    if os.geteuid() != 0:
        return None
    with suppress(KeyError):
        return pwd.getpwnam(account or "postgres").pw_name
    return None


@contextmanager
def cluster(tools: Tools, account: str | None, directory: str, size: int, progress: Progress) -> Iterator[Server]:
    """A running server with no databases, for ``size`` bytes of them."""
    base = Path(directory)
    runner = _runner(account)
    remove_forgotten(base, runner)
    require_space(
        base, size + BESIDE, "Restoring into a scratch server", "Free some, or name another in scratch_directory."
    )
    with _folder(base) as folder, lent(folder, runner):
        start = time.monotonic()
        nobody = Server(None, PORT, USER, account=runner)
        data = str(folder / "data")
        made = [tools.path("initdb"), f"--pgdata={data}", f"--username={USER}", "--auth=trust", "--no-sync"]
        with Tool([*made, "--encoding=UTF8", "--locale=C"], nobody, nice=NICE) as tool:
            tool.wait(lambda: progress(f"making a scratch server: {since(start)}"))
        settings = {**_SETTINGS, "unix_socket_directories": str(folder), "port": str(PORT)}
        argv = [tools.path("postgres"), "-D", data]
        argv += [argument for name, value in settings.items() for argument in ("-c", f"{name}={value}")]
        # On SIGQUIT it ends at once, with all its processes.
        with Tool(argv, nobody, nice=NICE, told_to_end=SIGQUIT) as tool:
            # Whoever can enter the folder is let in: its account, and root.
            server = Server(str(folder), PORT, USER)
            _wait_until_up(tool, server)
            yield server


def _wait_until_up(tool: Tool, server: Server) -> None:
    end = time.monotonic() + START_SECONDS
    while True:
        try:
            connect(server, "postgres").close()
            return
        except SnapshotError as error:
            if tool.ended(0.05) or time.monotonic() > end:
                raise SnapshotError(f"The scratch server does not answer: {tool.said()} {error.message}") from error


@contextmanager
def _folder(base: Path) -> Iterator[Path]:
    """A folder that is locked while we live, so that others know a forgotten one."""
    while True:
        path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=base))
        if len(str(path / f".s.PGSQL.{PORT}")) > SOCKET_PATH:
            path.rmdir()
            raise SnapshotError(f"{base} is too long a path for a socket. Name a shorter one in scratch_directory.")
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if path.exists():
            break
        os.close(descriptor)  # Another run took it for a forgotten one before it was locked.
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(descriptor)


def remove_forgotten(base: Path, runner: str | None) -> None:
    """Remove what killed runs left; only what has our name, is ours or ``runner``'s, and is locked by nobody."""
    owners = {os.geteuid()} | ({pwd.getpwnam(runner).pw_uid} if runner else set())
    for path in base.glob(f"{PREFIX}*"):
        with suppress(OSError), unused(path) as descriptor:  # not a folder, in use, or gone
            if os.fstat(descriptor).st_uid in owners:
                shutil.rmtree(path, ignore_errors=True)
