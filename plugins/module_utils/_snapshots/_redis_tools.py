# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The programs that a snapshot of Redis needs: zstd, redis-cli, and a server of its own. None outlives its caller."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from ansible_collections.bluegreen.cutover.plugins.module_utils._command import end, widen
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import SnapshotError
from ansible_collections.bluegreen.cutover.plugins.module_utils._redis import PIECE, Address, Connection, RefusedError
from ansible_collections.bluegreen.cutover.plugins.module_utils._snapshots._shared import new_file, old_file

#: Called again and again while something lasts, with what it is.
Alive = Callable[[str], None]

_TICK = 1.0
_SILENCE = 60.0
"""Seconds that a program has to end after its output has, and a server to answer."""
_START = 20.0
"""Seconds that a server of our own has until it listens."""
_SAID = 2000

# Starts the server when it is told to; ends it and removes its folder when its own input ends, whatever has become of
# who holds the other end of that.
_KEEPER = """\
folder=$1; shift
if read -r start; then
  "$@" </dev/null >/dev/null 2>&1 & server=$!
  read -r nothing
  kill -9 $server; wait
fi
rm -rf "$folder"
"""

_CONFIGURATION = """\
port 0
unixsocket {folder}/socket
unixsocketperm 700
dir {folder}
logfile {folder}/log
save ""
appendonly no
databases {databases}
"""


def program(*names: str) -> str:
    """The path of the first of these programs that there is. Raises SnapshotError."""
    for name in names:
        path = shutil.which(name)
        if path:
            return path
    raise SnapshotError(f"{names[0]} is not installed on this host, and a snapshot of Redis needs it. Install it")


@contextlib.contextmanager
def writing_to(folder: Path) -> Iterator[None]:
    """Raise SnapshotError, with the name of a folder whose disk is full when it is written to: an OSError has none."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise SnapshotError(
            f"{folder}: {error.strerror}. Free some space there and run again",
            {"free": shutil.disk_usage(folder).free},
        ) from error


@contextlib.contextmanager
def packed(path: Path) -> Iterator[IO[bytes]]:
    """Write a new file through zstd; it is whole when the block has ended."""
    # The server waits for who reads its keys, and level 3 makes a file of them 3 % smaller.
    with new_file(path) as file, tempfile.TemporaryFile() as said:
        zstd = subprocess.Popen(
            [program("zstd"), "-q", "-1"], bufsize=PIECE, stdin=subprocess.PIPE, stdout=file, stderr=said
        )
        try:
            with zstd.stdin as out:  # type: ignore[union-attr]
                widen(out)
                yield out
            status = zstd.wait(_SILENCE)
        except BrokenPipeError as error:
            # By the other side of something else, unless zstd has ended: then it says why.
            if zstd.poll() is None:
                raise
            raise _failed(f"{path} cannot be written", "zstd", zstd, said) from error
        finally:
            end(zstd)
        if status:
            raise _failed(f"{path} cannot be written", "zstd", zstd, said)


@contextlib.contextmanager
def unpacked(path: Path) -> Iterator[IO[bytes]]:
    """Read a file through zstd; what is damaged raises SnapshotError, at the latest when the block ends."""
    with old_file(path) as file, tempfile.TemporaryFile() as said:
        zstd = subprocess.Popen(
            [program("zstd"), "-q", "-d", "-c"], bufsize=PIECE, stdin=file, stdout=subprocess.PIPE, stderr=said
        )
        try:
            with zstd.stdout as stream:  # type: ignore[union-attr]
                try:
                    yield stream
                    whole = not stream.read(1)
                except SnapshotError as error:
                    # Where that is because zstd has ended, it says why; otherwise it waits to be read.
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        if zstd.wait(_TICK):
                            raise _failed(f"{path} is damaged", "zstd", zstd, said) from error
                    raise
            if not whole:
                raise SnapshotError(f"{path} goes on behind its end")
            if zstd.wait(_SILENCE):
                raise _failed(f"{path} is damaged", "zstd", zstd, said)
        finally:
            end(zstd)


def dump_rdb(address: Address, path: Path, alive: Alive) -> None:
    """Write the RDB file of a whole instance, packed: what the server sends to a new replica."""
    argv = [program("redis-cli")]
    argv += ["-s", address.socket] if address.socket else ["-h", address.host, "-p", str(address.port)]
    argv += ["--user", address.username] if address.username else []
    if address.tls:
        named = ("--cacert", address.tls_ca), ("--cert", address.tls_certificate), ("--key", address.tls_key)
        argv += ["--tls", *(word for option, value in named if value for word in (option, value))]
    environment = {**os.environ, "LC_ALL": "C.UTF-8"}
    if address.password is not None:
        environment["REDISCLI_AUTH"] = address.password
    with tempfile.TemporaryFile() as said, packed(path) as out:
        # Behind the RDB file it writes the mark by which it knew the end, which no reader looks at.
        client = subprocess.Popen(
            [*argv, "--rdb", "-"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=said, env=environment
        )
        try:
            _copy(client, out, alive)
            if client.wait(_SILENCE):
                raise _failed(f"the RDB file of {address} was not sent whole", "redis-cli", client, said)
        finally:
            end(client)


def _copy(client: subprocess.Popen[bytes], out: IO[bytes], alive: Alive) -> None:
    done = 0
    with client.stdout as stream:  # type: ignore[union-attr]
        while True:
            if select.select([stream], [], [], _TICK)[0]:
                piece = os.read(stream.fileno(), PIECE)
                if not piece:
                    return
                out.write(piece)
                done += len(piece)
            alive(f"{done >> 20:,} MiB of its RDB file" if done else "waiting for its RDB file")


@contextlib.contextmanager
def own_server(databases: int, alive: Alive, rdb: Path | None = None) -> Iterator[Connection]:
    """A server that nobody else reaches and that keeps nothing, with what a packed RDB file holds."""
    server = program("redis-server", "valkey-server")
    folder = Path(tempfile.mkdtemp(prefix="bluegreen-redis-"))
    keeper = subprocess.Popen(
        ["/bin/sh", "-c", _KEEPER, "sh", str(folder), server, str(folder / "conf")],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        with writing_to(folder):
            (folder / "conf").write_text(_CONFIGURATION.format(folder=folder, databases=databases), encoding="utf-8")
            if rdb:
                alive("unpacking its RDB file")
                # pylint: disable-next=contextmanager-generator-missing-cleanup  # it has a finally
                with unpacked(rdb) as stream, new_file(folder / "dump.rdb") as file:
                    shutil.copyfileobj(stream, file, PIECE)
        keeper.stdin.write(b"start\n")  # type: ignore[union-attr]
        keeper.stdin.flush()  # type: ignore[union-attr]
        try:
            with _answering(folder, alive) as connection:
                # It has read that, and keeps nothing: the room is for what its keys are written to.
                (folder / "dump.rdb").unlink(missing_ok=True)
                yield connection
        except (OSError, RefusedError) as error:
            log = _read_log(folder / "log")
            raise SnapshotError(f"a server of our own, {server}, failed: {error}; its log ends with {log!r}") from error
    finally:
        keeper.stdin.close()  # type: ignore[union-attr]
        keeper.wait(_SILENCE)


def _answering(folder: Path, alive: Alive) -> Connection:
    """A connection to the server, when it has loaded what it has to."""
    until = time.monotonic() + _START
    while True:
        try:
            connection = Connection(Address(socket=str(folder / "socket")), _SILENCE)
            break
        except OSError:
            if time.monotonic() >= until:
                raise
            time.sleep(0.02)
    while True:
        try:
            connection.call("PING")
            return connection
        except RefusedError as refused:
            if refused.code != "LOADING":
                raise
        alive("loading its RDB file")
        time.sleep(0.05)


def _failed(what: str, name: str, process: subprocess.Popen[bytes], said: IO[bytes]) -> SnapshotError:
    process.wait()
    said.seek(max(0, said.seek(0, os.SEEK_END) - _SAID))
    text = " ".join(said.read().decode("utf-8", "replace").split())
    return SnapshotError(f"{what}: {name} ended with status {process.returncode}: {text}")


def _read_log(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")[-_SAID:].strip()
    except OSError as error:
        return str(error)
