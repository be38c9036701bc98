# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys of one database of Redis: read with their digests, written to a file, and brought back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import IO

from ansible_collections.bluegreen.cutover.plugins.module_utils._core import keyspace
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import SnapshotError
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.keyspace import Tally
from ansible_collections.bluegreen.cutover.plugins.module_utils._redis import (
    PIECE,
    Connection,
    RefusedError,
)
from ansible_collections.bluegreen.cutover.plugins.module_utils._snapshots._redis_tools import Alive

STAGED = b"\x00bluegreen.cutover restore\x00"
"""Follows the prefix in the name of a key that is being restored."""
LATER_MS = 10 * 365 * 86_400_000
"""What is restored expires so much later until it has its place: none of it does meanwhile."""

_COUNT = 500
"""Entries of the server's table for one call: 2 to 5 ms, for which it serves nobody else."""
_ANSWER = 1 << 20
"""Bytes of payload after which a call ends early."""
_LARGE = 1 << 16
"""Bytes of a key's payload above which it is read by itself, in pieces."""
_LONGEST = 1 << 29
"""Bytes of the longest argument that a server takes, unless it is configured otherwise."""
_AT_ONCE = 1000
"""Commands that are sent before their answers are read; parts of a value between two signs of life."""
_HEADER = 4 << 20
"""Bytes of the longest line of a file's header: a key may have half a gigabyte, a prefix may not."""
_UNANSWERED = 8 << 20
"""Bytes that are sent before answers are read."""

# Only reads: the server refuses anything else from EVAL_RO. Types are told from the first byte of a payload where it is
# known, because asking costs a tenth of the whole.
_READ = """\
local cursor, pattern, count, prefix, staged = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local dumps, answer_bytes, large_bytes = ARGV[6] == '1', tonumber(ARGV[7]), tonumber(ARGV[8])
local call, sub, byte = redis.call, string.sub, string.byte
local named = {string = 1, list = 2, set = 3, zset = 4, hash = 5, stream = 6}
local coded = {[0] = 1, [1] = 2, [14] = 2, [18] = 2, [2] = 3, [11] = 3, [20] = 3, [3] = 4, [5] = 4, [12] = 4,
  [17] = 4, [4] = 5, [13] = 5, [16] = 5, [15] = 6, [19] = 6, [21] = 6}
local keys = KEYS
if #keys == 0 then
  local found = call('SCAN', cursor, 'MATCH', pattern, 'COUNT', count)
  cursor, keys = found[1], found[2]
end
local left, large, items, n, size = {}, {}, {}, 0, 0
for _, key in ipairs(keys) do
  if size > answer_bytes then
    left[#left + 1] = key
  elseif sub(key, 1, #prefix) == prefix and sub(key, 1, #staged) ~= staged then
    local payload, kind, bytes, name
    if dumps then
      payload = call('DUMP', key)
      if payload then
        kind, bytes = coded[byte(payload)], #payload
      end
    end
    if not kind and (payload or not dumps) then
      name = call('TYPE', key)['ok']
      kind = named[name]
      bytes = bytes or (kind and call('MEMORY', 'USAGE', key, 'SAMPLES', 1)) or 0
    end
    if kind and (bytes > large_bytes or kind == 6) then
      large[#large + 1], large[#large + 2] = key, kind
    elseif kind then
      local value
      if kind == 1 then value = call('GET', key)
      elseif kind == 5 then value = call('HGETALL', key)
      elseif kind == 2 then value = call('LRANGE', key, 0, -1)
      elseif kind == 3 then value = call('SMEMBERS', key)
      else value = call('ZRANGE', key, 0, -1, 'WITHSCORES') end
      items[n + 1], items[n + 2], items[n + 3] = key, kind, call('PEXPIRETIME', key)
      items[n + 4], items[n + 5] = payload or false, value
      n = n + 5
      size = size + bytes
    elseif name and name ~= 'none' then
      return redis.error_reply('UNKNOWNTYPE ' .. name .. ' is the type of the key ' .. key)
    end
  end
end
return {cursor, left, large, items}
"""
#: What tells a value of each type whole: a command, and what follows the key.
_VALUES: dict[int, tuple[list[str], list[str]]] = {
    keyspace.STRING: (["GET"], []),
    keyspace.LIST: (["LRANGE"], ["0", "-1"]),
    keyspace.SET: (["SMEMBERS"], []),
    keyspace.ZSET: (["ZRANGE"], ["0", "-1", "WITHSCORES"]),
    keyspace.HASH: (["HGETALL"], []),
    keyspace.STREAM: (["XINFO", "STREAM"], ["FULL", "COUNT", "0"]),
}

# All that follow take the same arguments: cursor, pattern, count, prefix, staged, later.

# The keys of a prefix that are not among the restored ones: before those get their names.
_REMOVE_OTHERS = """\
local cursor, pattern, count, prefix, staged = unpack(ARGV)
local found = redis.call('SCAN', cursor, 'MATCH', pattern, 'COUNT', count)
for _, key in ipairs(found[2]) do
  if string.sub(key, 1, #prefix) == prefix and string.sub(key, 1, #staged) ~= staged
      and redis.call('EXISTS', staged .. string.sub(key, #prefix + 1)) == 0 then
    redis.call('UNLINK', key)
  end
end
return found[1]
"""
# Each restored key gets its name and its expiry, which removes it where it has passed.
_NAME = """\
local cursor, pattern, count, prefix, staged, later = unpack(ARGV)
local found = redis.call('SCAN', cursor, 'MATCH', pattern, 'COUNT', count)
for _, key in ipairs(found[2]) do
  if string.sub(key, 1, #staged) == staged and redis.call('EXISTS', key) == 1 then
    local name = prefix .. string.sub(key, #staged + 1)
    local expires = redis.call('PEXPIRETIME', key)
    redis.call('UNLINK', name)
    redis.call('RENAME', key, name)
    if expires > 0 then
      redis.call('PEXPIREAT', name, string.format('%.0f', expires - tonumber(later)))
    end
  end
end
return found[1]
"""
_FORGET = """\
local cursor, pattern, count, _, staged = unpack(ARGV)
local found = redis.call('SCAN', cursor, 'MATCH', pattern, 'COUNT', count)
for _, key in ipairs(found[2]) do
  if string.sub(key, 1, #staged) == staged then
    redis.call('UNLINK', key)
  end
end
return found[1]
"""
# What a commit needs to be allowed to do, with keys that are not there: so what is forbidden is known before.
_PROBE = """\
redis.call('SCAN', 0)
redis.call('EXISTS', KEYS[1])
redis.call('UNLINK', KEYS[1])
redis.call('PEXPIRETIME', KEYS[1])
redis.call('PEXPIREAT', KEYS[1], 1)
local told = redis.pcall('RENAME', KEYS[1], KEYS[2])
if told['err'] and not string.find(told['err'], 'no such key') then
  return told
end
return true
"""


class Keys:
    """Those keys of one database that begin with ``prefix``; no other key is read or written.

    OSError and ``RefusedError`` are left to the caller.
    """

    def __init__(self, connection: Connection, database: int, prefix: bytes, alive: Alive) -> None:
        connection.call("SELECT", database)
        self._connection = connection
        self._prefix = prefix
        self._staged = prefix + STAGED
        self._alive = alive

    def read(self, tally: Tally, out: IO[bytes] | None = None, later_ms: int = 0) -> None:
        """Add every key to ``tally``, and write the file of them to ``out``.

        ``later_ms`` is how much later than they should the keys expire. Each key is read at one moment; one that others
        write, add or remove meanwhile is read before or after that. Where so many are removed meanwhile that the server
        makes its table smaller, a key may come twice.
        """
        before = tally.count
        if out:
            out.write(keyspace.file_header(self._prefix))
        self._ask(b"0", [], dumps=bool(out))
        while True:
            self._connection.head()
            cursor, left, large = self._connection.reply(), self._connection.reply(), self._connection.reply()
            more = bool(left) or cursor != b"0"
            # The server reads on while this is written, unless what is large is to be asked for.
            if more and not large:
                self._ask(cursor, left, dumps=bool(out))
            self._take(tally, out, later_ms)
            for key, kind in zip(large[::2], large[1::2]):
                self._take_large(key, kind, tally, out, later_ms)
            self._alive(f"{tally.count - before:,} keys read")
            if not more:
                break
            if large:
                self._ask(cursor, left, dumps=bool(out))
        if out:
            out.write(keyspace.file_end(tally.count - before))

    def probe(self) -> None:
        """Read the first keys and forget them: what this user may not do is refused."""
        self._ask(b"0", [], dumps=True)
        self._connection.reply()

    def restore(self, stream: IO[bytes]) -> None:
        """Restore the keys of a file that ``read`` wrote under names of their own, and forget those of an earlier try.

        Whatever is raised, no key that was there has changed; ``forget`` removes what was restored.
        """
        self.forget()
        self._connection.call("EVAL", _PROBE, 2, self._staged, self._staged + b"probe")
        self._load(stream, self._staged)

    def load(self, stream: IO[bytes]) -> None:
        """Restore the keys of a file under their own names, into an empty database, each to expire LATER_MS later."""
        self._load(stream, self._prefix)

    def commit(self) -> None:
        """Put the restored keys in the place of what is there.

        Where that is interrupted, some keys are as restored and the others as before; doing all again mends it.
        """
        self._alive("putting the restored keys in their place")
        self._each(_REMOVE_OTHERS, self._prefix)
        self._each(_NAME, self._staged)

    def forget(self) -> None:
        """Remove what was restored and has not got its place."""
        self._each(_FORGET, self._staged)

    def _each(self, script: str, scanned: bytes) -> None:
        cursor = b"0"
        while True:
            arguments = cursor, keyspace.pattern(scanned), _COUNT, self._prefix, self._staged, LATER_MS
            cursor = self._connection.call("EVAL", script, 0, *arguments)
            if cursor == b"0":
                return
            self._alive("going through the keys")

    def _ask(self, cursor: bytes, keys: list[bytes], dumps: bool) -> None:
        limits = int(dumps), _ANSWER, _LARGE
        arguments = cursor, keyspace.pattern(self._prefix), _COUNT, self._prefix, self._staged, *limits
        self._connection.send("EVAL_RO", _READ, len(keys), *keys, *arguments)
        self._connection.flush()

    def _take(self, tally: Tally, out: IO[bytes] | None, later_ms: int) -> None:
        reply = self._connection.reply
        for _key in range((self._connection.head() or 0) // 5):
            key, kind, expires_ms, payload, value = reply(), reply(), reply(), reply(), reply()
            expires_ms = expires_ms - later_ms if expires_ms > 0 else 0
            parts = (value,) if kind == keyspace.STRING else value
            tally.add(kind, expires_ms > 0, key, keyspace.digest(kind, expires_ms, key, keyspace.elements(kind, parts)))
            if out:
                out.write(keyspace.record(expires_ms, key, len(payload)))
                out.write(payload)

    def _take_large(self, key: bytes, kind: int, tally: Tally, out: IO[bytes] | None, later_ms: int) -> None:
        """Read a key piece by piece; between ``MULTI`` and ``EXEC``, so that all of it is from one moment."""
        connection = self._connection
        command, options = _VALUES[kind]
        commands: list[tuple[str | bytes, ...]] = [("TYPE", key), ("PEXPIRETIME", key), (*command, key, *options)]
        if out:
            commands.insert(2, ("DUMP", key))
        for one in (("MULTI",), *commands, ("EXEC",)):
            connection.send(*one)
        connection.flush()
        for _queued in range(1 + len(commands)):
            connection.reply()
        connection.head()
        name, expires_ms = connection.reply(), connection.reply()
        if keyspace.KINDS.get(name) != kind:
            for _rest in range(len(commands) - 2):
                connection.skip()
            if name in keyspace.KINDS:
                # Somebody has made it another one since.
                self._take_large(key, keyspace.KINDS[name], tally, out, later_ms)
            return
        expires_ms = expires_ms - later_ms if expires_ms > 0 else 0
        if out:
            self._write_large(key, expires_ms, out)
        size = connection.head() or 0
        if kind == keyspace.STREAM:
            parts: Iterable[bytes] = self._stream(size)
        elif kind == keyspace.STRING:
            parts = connection.pieces(size)
        else:
            parts = keyspace.elements(kind, self._parts(size))
        tally.add(kind, expires_ms > 0, key, keyspace.digest(kind, expires_ms, key, parts))

    def _write_large(self, key: bytes, expires_ms: int, out: IO[bytes]) -> None:
        size = self._connection.head() or 0
        if size > _LONGEST:
            raise SnapshotError(
                f"the key {key!r} is {size:,} bytes as a payload, and a server takes back {_LONGEST:,} at most: divide "
                "it, or give its part a prefix that leaves it out"
            )
        out.write(keyspace.record(expires_ms, key, size))
        for piece in self._connection.pieces(size):
            out.write(piece)
            self._alive(f"reading {key!r}")

    def _parts(self, number: int) -> Iterator[bytes]:
        """The parts of an answer that has so many."""
        for index in range(number):
            if index % _AT_ONCE == 0:
                self._alive(f"reading a value of {number:,} parts")
            yield self._part()

    def _part(self) -> bytes:
        """One part of a value: itself, or its hash where it is long."""
        size = self._connection.head() or 0
        pieces = self._connection.pieces(size)
        if size <= keyspace.LONG:
            return b"".join(pieces)
        state = keyspace.hashing()
        for piece in pieces:
            state.update(piece)
        return state.digest()

    def _stream(self, number: int) -> Iterator[bytes]:
        """What of a stream has to stay: its last id, its entries, its groups with what is pending in them."""
        told = {}
        for _field in range(number // 2):
            name = self._connection.reply()
            if name == b"last-generated-id":
                told[name] = self._connection.reply()
            elif name == b"entries":
                told[name] = self._nested()
            elif name == b"groups":
                told[name] = b"".join(sorted(self._group() for _group in range(self._connection.head() or 0)))
            else:
                self._connection.skip()
        yield keyspace.element(told[name] for name in sorted(told))

    def _group(self) -> bytes:
        told = {}
        for _field in range((self._connection.head() or 0) // 2):
            name = self._connection.reply()
            if name in (b"name", b"last-delivered-id"):
                told[name] = self._connection.reply()
            elif name == b"pel":
                told[name] = self._nested()
            elif name == b"consumers":
                # When each was last seen is no content, and what is pending for it is in the group's own list, too.
                names = [one[one.index(b"name") + 1] for one in self._connection.reply()]
                told[name] = keyspace.element(sorted(names))
            else:
                self._connection.skip()
        return keyspace.element(told[name] for name in sorted(told))

    def _nested(self) -> bytes:
        """The hash of an array of answers, one of which is held at a time."""
        state = keyspace.hashing()
        number = self._connection.head() or 0
        for index in range(number):
            if index % _AT_ONCE == 0:
                self._alive(f"reading a stream of {number:,} entries")
            state.update(keyspace.nested(self._connection.reply()))
        return state.digest()

    def _load(self, stream: IO[bytes], begin: bytes) -> None:
        keyspace.read_header(stream.readline(_HEADER), stream.readline(_HEADER), self._prefix)
        loaded = 0
        unanswered: list[bytes] = []
        size = 0
        while not isinstance(record := keyspace.read_record(stream.read(keyspace.RECORD.size)), int):
            key = b"".join(_pieces(stream, record.key_bytes))
            if not key.startswith(self._prefix):
                raise SnapshotError(f"the file of keys holds {key!r}, which does not begin with {self._prefix!r}")
            expires = b"%d" % (record.expires_ms + LATER_MS if record.expires_ms else 0)
            before = b"RESTORE", begin + key[len(self._prefix) :], expires
            pieces = _pieces(stream, record.payload_bytes)
            self._connection.send_around(before, record.payload_bytes, pieces, (b"REPLACE", b"ABSTTL"))
            loaded += 1
            unanswered.append(key)
            size += record.payload_bytes
            if len(unanswered) >= _AT_ONCE or size >= _UNANSWERED:
                self._answers(unanswered)
                unanswered, size = [], 0
                self._alive(f"{loaded:,} keys restored")
        self._answers(unanswered)
        if record != loaded:
            raise SnapshotError(f"the file of keys holds {loaded:,} of its {record:,} keys")

    def _answers(self, keys: list[bytes]) -> None:
        self._connection.flush()
        for key in keys:
            try:
                self._connection.reply()
            except RefusedError as refused:
                raise RefusedError(f"{refused} (said of the key {key!r})") from refused


def _pieces(stream: IO[bytes], length: int) -> Iterator[bytes]:
    while length:
        piece = stream.read(min(length, PIECE))
        if not piece:
            raise SnapshotError("the file of keys ends in the middle of a key")
        length -= len(piece)
        yield piece
