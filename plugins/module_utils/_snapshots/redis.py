# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Redis, or Valkey: the keys of one prefix, or a whole instance.

A prefix is read key by key: expiry and value of a key are from one moment, different keys are not. An instance is the
RDB file that its server makes for a replica, which is of one moment. Both come back as keys, under names of their own
at first, so that what is there stays until all of it is there.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ansible_collections.bluegreen.cutover.plugins.module_utils._core import keyspace
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.artifact import differences, some
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import InputError, SnapshotError
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.keyspace import Counters, Tally
from ansible_collections.bluegreen.cutover.plugins.module_utils._redis import Address, Connection, RefusedError
from ansible_collections.bluegreen.cutover.plugins.module_utils._secrets import read_secret
from ansible_collections.bluegreen.cutover.plugins.module_utils._snapshots import (
    Content,
    Left,
    Notes,
    Progress,
    Taken,
    Written,
)
from ansible_collections.bluegreen.cutover.plugins.module_utils._snapshots._redis_keys import LATER_MS, Keys
from ansible_collections.bluegreen.cutover.plugins.module_utils._snapshots._redis_tools import (
    dump_rdb,
    own_server,
    packed,
    program,
    unpacked,
    writing_to,
)
from ansible_collections.bluegreen.cutover.plugins.module_utils._snapshots._shared import (
    check_not_older,
    numbers,
    require_space,
)

OPTIONS: dict[str, Any] = {
    "host": {"type": "str", "default": "127.0.0.1"},
    "port": {"type": "int", "default": 6379},
    "socket": {"type": "path"},
    "prefix": {"type": "str"},
    "database": {"type": "int", "default": 0},
    "username": {"type": "str"},
    "password_file": {"type": "path"},
    "tls": {"type": "bool", "default": False},
    "tls_ca": {"type": "path"},
    "tls_certificate": {"type": "path"},
    "tls_key": {"type": "path"},
}

KEYS = "keys.zst"
RDB = "dump.rdb.zst"
FUNCTIONS = "functions"
"""What the libraries of functions are called among the contents of an instance."""

_OLDEST = (7, 0)
"""Before that, no command tells at which moment a key expires."""
_LOOKS = 3
"""At what was restored, where the server has saved meanwhile and does not tell whether others have written."""
_KINDS = {"lasting": "at least, added, changed or removed", "expiring": "at least, added, changed or expired"}
"""Of keys, with what may have become of them."""
_MOST_DATABASES = 1024
_SILENCE = 60.0
"""Seconds that the server may be silent."""
_TICK = 5.0
"""Seconds between two signs of life."""

_LIMITS = {
    "maxmemory": ("its maxmemory", "Raise maxmemory"),
    "total_system_memory": ("all the memory of its host, which others use, too", "Give that host more memory"),
}
"""What of INFO limits a server's memory, 0 where it does not; in words, and what to do where that is too little."""

_RESTORING = "restoring it; what was there is as it was"
_COPY = "the server of this host that a copy is made with"
_ADVICE = {
    "NOAUTH": "Give redis.password_file",
    "WRONGPASS": "See redis.username and redis.password_file",
    "NOPERM": "Give this user (redis.username) the keys ~<prefix>*; to take a snapshot +@connection +@read +@scripting "
    "+info +multi +exec, and to restore one +set +rpush +sadd +zadd +hset +restore +rename +unlink +pexpireat, too",
    "OOM": "Give the server more memory (maxmemory)",
    "LOADING": "Wait until it has loaded its data",
    "UNKNOWNTYPE": "Only what a server without modules can hold can be compared, so only that is taken",
}


class Redis:
    """See ``Engine``. ``prefix`` means its keys in one ``database``; without one the whole instance is meant."""

    name = "redis"
    apart = True

    def __init__(self, options: Mapping[str, Any], progress: Progress) -> None:
        prefix = options.get("prefix")
        if prefix is None and options.get("database"):
            raise InputError("redis.database goes with redis.prefix: a whole instance has all databases.")
        self._address = _to_address(options)
        self._progress = progress
        self._told = time.monotonic()
        self._prefix = None if prefix is None else keyspace.check_prefix(prefix)
        self._database = int(options.get("database") or 0)
        where = self._address
        self._source: dict[str, Any] = (
            {"socket": where.socket} if where.socket else {"host": where.host, "port": where.port}
        )
        if prefix is not None:
            self._source.update(database=self._database, prefix=prefix)

    def remove_left(self, _notes: Notes) -> list[str]:
        return []

    def check(self) -> None:
        for name in ("zstd",) if self._prefix is not None else ("zstd", "redis-cli", "redis-server"):
            program(name)
        with self._connected("looking whether it can be read") as (connection, info):
            for database in self._databases(info):
                self._keys(connection, database).probe()

    def take(self, folder: Path) -> Taken:
        functions = None
        with self._connected("reading it") as (connection, info):
            before = Counters.of(info)
            began = time.time()
            if self._prefix is None:
                dump_rdb(self._address, folder / RDB, self._alive)
                tallies, functions = self._read(connection), _functions(connection)
            else:
                tallies = {self._database: Tally()}
                with packed(folder / KEYS) as out:
                    self._keys(connection, self._database).read(tallies[self._database], out)
            quiet = Counters.of(_info(connection)).changes_since(before) == 0
        needed = _memory(info, sum(tally.count for tally in tallies.values()))
        if self._prefix is None and not quiet:
            # Of the moment of the file, nothing but the file tells.
            with self._copy(folder, needed) as copy:
                tallies, functions = self._read(copy), _functions(copy)
        return Taken(
            source=dict(self._source),
            versions=_versions(info),
            consistent_at=began,
            point_in_time=quiet or self._prefix is None,
            contents=self._contents(tallies, functions),
            mark={
                "counters": asdict(before),
                "parts": {str(database): tally.parts() for database, tally in tallies.items()},
                "memory_bytes": needed,
            },
        )

    @contextlib.contextmanager
    def scratch(self, folder: Path, taken: Taken) -> Iterator[Mapping[str, Content]]:
        with self._copy(folder, int(taken.mark["memory_bytes"])) as copy:
            _check_versions(_info(copy), taken, _COPY)
            if self._prefix is None:
                contents = self._contents(self._read(copy), _functions(copy))
            else:
                keys, tally = Keys(copy, 0, self._prefix, self._alive), Tally()
                # pylint: disable-next=contextmanager-generator-missing-cleanup  # it has a finally
                with unpacked(folder / KEYS) as stream:
                    keys.load(stream)
                keys.read(tally, later_ms=LATER_MS)
                contents = self._contents({self._database: tally}, None)
                _check_count(tally.count, taken)
            yield contents

    def check_restore(self, _folder: Path, taken: Taken) -> None:
        self.check_source(taken)
        program("zstd")
        if self._prefix is None:
            need = int(taken.mark["memory_bytes"])
            _check_memory_here(need)
            # The RDB file, and then the keys of one database at a time.
            require_space(Path(tempfile.gettempdir()), need, "Unpacking it", "Free some there; nothing was changed")
            with own_server(_MOST_DATABASES, self._alive) as copy:
                _check_versions(_info(copy), taken, _COPY)
        with self._connected(_RESTORING) as (connection, info):
            _check_versions(info, taken, "the server")
            _check_room(info, taken)
            for database in map(int, taken.mark["parts"]):
                self._keys(connection, database)
            self._keys(connection, self._database).probe_restore(functions=self._prefix is None)

    def check_source(self, taken: Taken) -> None:
        if _part(taken.source) != _part(self._source):
            raise SnapshotError(
                f"the snapshot is of {_part(taken.source)}, and not of {_part(self._source)}: keys are only put back "
                "where they were taken from. Nothing was changed"
            )

    def restore(self, folder: Path, taken: Taken) -> Left:
        self.check_restore(folder, taken)
        with self._connected(_RESTORING) as (connection, info):
            if self._prefix is None:
                with self._copy(folder, int(taken.mark["memory_bytes"])) as copy:
                    databases = self._stage_copy(connection, copy, _used(info))
                    functions = copy.call("FUNCTION", "DUMP")
            else:
                databases, functions = [self._database], None
                with self._staging(databases), unpacked(folder / KEYS) as stream:
                    self._keys(connection, self._database).restore(stream)
        with self._connected("giving the restored keys their names; some may have theirs, so restore it again") as (
            connection,
            _info_now,
        ):
            for database in databases:
                self._keys(connection, database).commit()
            if functions is not None:
                connection.call("FUNCTION", "RESTORE", functions, "FLUSH")
            return Left(unproven=self._compare(connection, taken))

    def _compare(self, connection: Connection, taken: Taken) -> list[str]:
        """Raise where the restored keys are not those of the snapshot, and nobody else can have made them others.

        Where somebody can, who wrote cannot be told from what was not restored: that is told.
        """
        for _look in range(_LOOKS):
            before = Counters.of(_info(connection))
            functions = None if self._prefix is not None else _functions(connection)
            tallies = self._read(connection)
            wrong = differences(taken.contents, self._contents(tallies, functions), later=True)
            if not wrong:
                return []
            changes = Counters.of(_info(connection)).changes_since(before)
            if changes:
                count = sum(_differing(taken, tallies).values())
                doubt = (
                    f"{_part(self._source)} was restored while others write to that server: at least {count} keys are "
                    f"not what they were ({some(wrong)}), and whether that is theirs cannot be told"
                )
                return [doubt]
            if changes == 0:
                break
        raise SnapshotError(
            f"{_part(self._source)} was restored, and is not what it was: {some(wrong)}. Let nobody write to it, and "
            "restore it again",
            {"differences": wrong},
        )

    def contents(self) -> Mapping[str, Content]:
        with self._connected("reading it") as (connection, _info_now):
            return self._contents(self._read(connection), None if self._prefix is not None else _functions(connection))

    def also_differs(self, _taken: Taken) -> list[str]:
        return []

    def written_since(self, taken: Taken) -> list[Written]:
        before = Counters(**taken.mark["counters"])
        with self._connected("counting what was written to it") as (connection, info):
            now = Counters.of(info)
            changes = now.changes_since(before)
            if changes == 0:
                return []
            counts = _differing(taken, self._read(connection))
        written = [Written(f"{kind} keys", what, counts[kind]) for kind, what in _KINDS.items() if counts[kind]]
        if written:
            whole = {"changes": changes, "bytes of replication": now.bytes_since(before)}
            written += [Written("the whole server", what, count) for what, count in whole.items() if count is not None]
        return written

    def _stage_copy(self, connection: Connection, copy: Connection, used: list[int]) -> list[int]:
        """Restore all databases of ``copy`` beside those that are ``used``; return which they are together."""
        databases = sorted({*used, *_used(_info(copy))})
        with self._staging(databases):
            for database in databases:
                # In a file of its own, because both ends are waited for in turn.
                with writing_to(Path(tempfile.gettempdir())), tempfile.TemporaryFile() as stream:
                    self._keys(copy, database).read(Tally(), stream)
                    stream.seek(0)
                    with self._translated(_RESTORING):
                        self._keys(connection, database).restore(stream)
        return databases

    @contextlib.contextmanager
    def _staging(self, databases: list[int]) -> Iterator[None]:
        """Whatever ends the block early, of what it has restored nothing is left on a server that can be reached."""
        try:
            yield
        except BaseException:
            with contextlib.suppress(OSError, RefusedError), Connection(self._address, _SILENCE) as connection:
                for database in databases:
                    self._keys(connection, database).forget()
            raise

    @contextlib.contextmanager
    def _copy(self, folder: Path, needed: int) -> Iterator[Connection]:
        """A server of our own for ``needed`` bytes; of a whole instance, with what its RDB file in ``folder`` holds."""
        _check_memory_here(needed)
        rdb = folder / RDB if self._prefix is None else None
        with own_server(_MOST_DATABASES, self._alive, rdb) as copy:
            yield copy

    @contextlib.contextmanager
    def _connected(self, doing: str) -> Iterator[tuple[Connection, dict[str, str]]]:
        """A connection to a server that can be used, and what its INFO says."""
        with self._translated(doing), Connection(self._address, _SILENCE) as connection:
            info = _info(connection)
            _check_server(info, f"Redis at {self._address}")
            yield connection, info

    @contextlib.contextmanager
    def _translated(self, doing: str) -> Iterator[None]:
        """What the part's server does wrong in the block is told to the operator."""
        where = f"Redis at {self._address}"
        try:
            yield
        except RefusedError as refused:
            known = "NOPERM" if re.search("NOPERM|can't run this command", str(refused)) else refused.code
            advice = _ADVICE.get(known, "See the server's log")
            raise SnapshotError(f"{where} answered, while {doing}: {refused}. {advice}") from refused
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise SnapshotError(f"no room is left on this host, while {doing}: {error}") from error
            said = str(error) or type(error).__name__
            raise SnapshotError(f"{where} cannot be talked to, while {doing}: {said}. See whether it runs") from error

    def _databases(self, info: Mapping[str, str]) -> list[int]:
        return _used(info) if self._prefix is None else [self._database]

    def _keys(self, connection: Connection, database: int) -> Keys:
        return Keys(connection, database, self._prefix or b"", self._alive)

    def _read(self, connection: Connection) -> dict[int, Tally]:
        tallies = {database: Tally() for database in self._databases(_info(connection))}
        for database, tally in tallies.items():
            self._keys(connection, database).read(tally)
        return tallies

    def _contents(self, tallies: Mapping[int, Tally], functions: Content | None) -> dict[str, Content]:
        contents = {} if functions is None else {FUNCTIONS: functions}
        for database, tally in tallies.items():
            for name, (count, digest, expires) in tally.types().items():
                full = f"database {database}, {name}" if self._prefix is None else name
                contents[full] = Content(count, digest, at_most=expires)
        return contents

    def _alive(self, what: str) -> None:
        if time.monotonic() - self._told >= _TICK:
            self._told = time.monotonic()
            self._progress(f"{_part(self._source)}: {what}")


def _to_address(options: Mapping[str, Any]) -> Address:
    password = read_secret(options.get("password_file"), "password of Redis", SnapshotError)
    return Address(
        host=options["host"],
        port=options["port"],
        socket=options.get("socket"),
        username=options.get("username"),
        password=password or os.environ.get("REDISCLI_AUTH"),
        tls=bool(options.get("tls")),
        tls_ca=options.get("tls_ca"),
        tls_certificate=options.get("tls_certificate"),
        tls_key=options.get("tls_key"),
    )


def _info(connection: Connection) -> dict[str, str]:
    text = connection.call("INFO").decode("utf-8", "replace")
    return dict(line.split(":", 1) for line in text.splitlines() if ":" in line)


def _check_server(info: Mapping[str, str], where: str) -> None:
    """Raise what keeps a server from being read and restored key by key."""
    problem = None
    if numbers(info["redis_version"]) < _OLDEST:
        problem = (
            f"is version {info['redis_version']}, and {'.'.join(map(str, _OLDEST))} is the oldest that can tell when a "
            "key expires. Upgrade it first"
        )
    elif info.get("redis_mode") != "standalone" or info.get("cluster_enabled", "0") != "0":
        problem = (
            f"runs in the mode {info.get('redis_mode')!r}: a cluster's keys are on several servers, and a sentinel has "
            "none. Only a server by itself, with or without replicas, is supported"
        )
    elif info.get("role") != "master":
        problem = (
            f"is a replica of {info.get('master_host')}:{info.get('master_port')}: what it has may be late, and it "
            "cannot be restored. Name its primary"
        )
    if problem:
        raise SnapshotError(f"{where} {problem}")


def _versions(info: Mapping[str, str]) -> dict[str, str]:
    # Valkey tells both: its own version, and that of the Redis that it is like.
    return {name: info[f"{name}_version"] for name in ("redis", "valkey") if f"{name}_version" in info}


def _check_versions(info: Mapping[str, str], taken: Taken, who: str) -> None:
    check_not_older(who, info["redis_version"], taken.versions["redis"])


def _check_count(found: int, taken: Taken) -> None:
    """None of a prefix's keys expires while they are looked at, so that a missing one was never there."""
    expected = sum(content.count for content in taken.contents.values())
    if found != expected:
        raise SnapshotError(
            f"the snapshot of {_part(taken.source)} has {found:,} keys, and {expected:,} were counted when it was "
            "taken; where many keys were removed meanwhile, some came twice: take it again"
        )


def _used(info: Mapping[str, str]) -> list[int]:
    """The databases that hold anything."""
    return sorted(int(name[2:]) for name in info if name.startswith("db") and name[2:].isdigit())


def _differing(taken: Taken, tallies: Mapping[int, Tally]) -> dict[str, int]:
    """How many keys of each kind are others than in the snapshot, at least."""
    then: dict[str, dict[str, str]] = taken.mark["parts"]
    now = {str(database): tally.parts() for database, tally in tallies.items()}
    return {
        kind: sum(
            keyspace.differing(then.get(database, {}).get(kind), now.get(database, {}).get(kind))
            for database in {*then, *now}
        )
        for kind in _KINDS
    }


def _memory(info: Mapping[str, str], keys: int) -> int:
    """About how many bytes of the server's memory so many of its keys take."""
    every = sum(int(info[f"db{number}"].partition("=")[2].partition(",")[0]) for number in _used(info))
    return int(info["used_memory_dataset"]) * keys // max(1, every)


def _check_room(info: Mapping[str, str], taken: Taken) -> None:
    """Restored keys stand beside the old ones for a while. A server with no room for that refuses, evicts others, or is
    ended by its host. What others use there, and what a container may have, it does not tell: it may still be too much.
    """
    used, needed = int(info["used_memory"]), taken.mark["memory_bytes"]
    for name, (what, remedy) in _LIMITS.items():
        limit = int(info.get(name, 0))
        if limit and used + needed > limit:
            raise SnapshotError(
                f"the server has {_mib(max(0, limit - used))} left below {what}, and a restore needs about "
                f"{_mib(needed)} for a while, beside what is there. {remedy}"
            )


def _check_memory_here(needed: int) -> None:
    found = re.search(r"^MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text(encoding="ascii"), re.MULTILINE)
    if found and int(found.group(1)) * 1024 < needed:
        raise SnapshotError(
            f"this host has {_mib(int(found.group(1)) * 1024)} of memory left, and a server of its own that holds the "
            f"snapshot needs about {_mib(needed)}"
        )


def _mib(size: int) -> str:
    return f"{size >> 20:,} MiB"


def _functions(connection: Connection) -> Content:
    """The libraries of functions that an instance has."""
    libraries = []
    for one in connection.call("FUNCTION", "LIST", "WITHCODE"):
        told = dict(zip(one[::2], one[1::2]))
        libraries.append(keyspace.block((told[b"library_name"], told[b"library_code"])))
    return Content(len(libraries), hashlib.blake2b(b"".join(sorted(libraries)), digest_size=16).hexdigest())


def _part(source: Mapping[str, Any]) -> str:
    where = source.get("socket") or f"{source['host']}:{source['port']}"
    return f"Redis at {where}" + (
        f", {source['prefix']!r} in database {source['database']}" if "prefix" in source else ""
    )
