# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys of one database of Redis: read with their digests, written to a file, and brought back."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate
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
"""Entries of the server's table for one call: 1 to 3 ms, for which it serves nobody else. The fewer they are, the more
often it waits for the next call. Usual answers are below the 64 KiB that it writes at once: with a longer one it makes
the next answer before the rest of it is written.
"""
_ANSWER = 1 << 20
"""Bytes of values after which a call ends early."""
_LARGE = 1 << 16
"""Bytes of a value above which it is read by itself, in pieces."""
_LONGEST = 1 << 29
"""Bytes of the longest argument that a server takes, unless it is configured otherwise."""
_AT_ONCE = 1000
"""Commands that are sent before their answers are read; parts of a value between two signs of life."""
_HEADER = 4 << 20
"""Bytes of the longest line of a file's header: a key may have half a gigabyte, a prefix may not."""
_UNANSWERED = 8 << 20
"""Bytes that are sent before answers are read."""

# Only reads: the server refuses anything else from EVAL_RO. SCAN gives no key of another prefix. Commands are given
# their numbers as texts, and a name is cut only where the byte after the prefix is that of a key that is being
# restored: both took 6 % of the server's time. What is large, or has more than few parts, is only named; of what has
# few, all are measured. Where fields of any hash expire, as INFO of Redis or of Valkey tells, a payload precedes the
# value of each hash: only that has when. A hash all fields of which have expired is not there. A stream is answered
# as MULTI would: of another shape than rows are, and its payload is what is written.
_READ = """\
local cursor, pattern, count, prefix, staged, dumps = unpack(ARGV)
local few, large_bytes, answer_bytes = tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9])
local samples, large_end = tostring(few + 1), ARGV[8]
local call, sub, byte, at = redis.call, string.sub, string.byte, #prefix + 1
local kinds = {string = 1, list = 2, set = 3, zset = 4, hash = 5, stream = 6}
local fields_expire
if dumps == '1' then
  local info = call('INFO', 'keyspace')
  fields_expire = string.find(info, 'subexpiry=[1-9]') or string.find(info, 'volatile_items=[1-9]')
end
local keys = KEYS
if #keys == 0 then
  local found = call('SCAN', cursor, 'MATCH', pattern, 'COUNT', count)
  cursor, keys = found[1], found[2]
end
local left, large, rows, streams, n, size = {}, {}, {}, {}, 0, 0
local function add(key, kind, value)
  rows[n + 1], rows[n + 2], rows[n + 3], rows[n + 4] = key, kind, call('PEXPIRETIME', key), value
  n = n + 4
end
for _, key in ipairs(keys) do
  if size > answer_bytes then
    left[#left + 1] = key
  elseif byte(key, at) ~= 0 or sub(key, 1, #staged) ~= staged then
    local name = call('TYPE', key)['ok']
    local kind, value, bytes = kinds[name], nil, 0
    if kind == 1 then
      value = {call('GETRANGE', key, '0', large_end)}
      bytes = #value[1]
    elseif kind then
      bytes = call('MEMORY', 'USAGE', key, 'SAMPLES', samples)
      if bytes <= large_bytes then
        if kind == 2 then value = call('LRANGE', key, '0', '-1')
        elseif kind == 3 then value = call('SMEMBERS', key)
        elseif kind == 4 then value = call('ZRANGE', key, '0', '-1', 'WITHSCORES')
        elseif kind == 5 then value = call('HGETALL', key)
        elseif call('XLEN', key) <= few then value = call('XINFO', 'STREAM', key, 'FULL', 'COUNT', 0) end
      end
    elseif not kind and name ~= 'none' then
      return redis.error_reply('UNKNOWNTYPE ' .. name .. ' is the type of the key ' .. key)
    end
    if kind and (not value or bytes > large_bytes or #value > few) then
      large[#large + 1], large[#large + 2] = key, kind
    elseif kind == 6 then
      streams[#streams + 1], streams[#streams + 2] = key, call('PEXPIRETIME', key)
      if dumps == '1' then streams[#streams + 1] = call('DUMP', key) end
      streams[#streams + 1] = value
      size = size + bytes
    elseif kind and #value > 0 then
      if kind == 5 and fields_expire then
        add(key, 0, {call('DUMP', key)})
      end
      add(key, kind, value)
      size = size + bytes
    end
  end
end
return {cursor, left, large, rows, streams, 'whole'}
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
_ADD = {keyspace.LIST: b"RPUSH", keyspace.SET: b"SADD", keyspace.ZSET: b"ZADD", keyspace.HASH: b"HSET"}

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
# What a restore does to keys, with enough behind the key to be announced.
_DONE_TO_KEYS: tuple[tuple[str, ...], ...] = (
    ("EXISTS",),
    ("UNLINK",),
    ("PEXPIRETIME",),
    ("PEXPIREAT", "1"),
    ("SET", "x"),
    ("RPUSH", "x"),
    ("SADD", "x"),
    ("ZADD", "1", "x"),
    ("HSET", "x", "x"),
    ("RESTORE", "0", "x"),
    # What compares them afterwards.
    ("TYPE",),
    ("DUMP",),
    ("GETRANGE", "0", "1"),
    ("GET",),
    ("LRANGE", "0", "1"),
    ("SMEMBERS",),
    ("ZRANGE", "0", "1", "WITHSCORES"),
    ("HGETALL",),
    ("XLEN",),
)


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
        self._unanswered: list[bytes] = []
        self._sent = 0

    def read(self, tally: Tally, out: IO[bytes] | None = None, later_ms: int = 0) -> None:
        """Add every key to ``tally``, and write the file of them to ``out``.

        ``later_ms`` is how much later than they should the keys expire. Each key is read at one moment; one that others
        write, add or remove meanwhile is read before or after that. Where so many are removed meanwhile that the server
        makes its table smaller, a key may come twice.
        """
        before = tally.count
        if out:
            out.write(keyspace.file_header(self._prefix))
        dumps = out is not None
        self._ask(b"0", [], dumps)
        while True:
            self._connection.head()
            cursor, left, large = self._connection.reply(), self._connection.reply(), self._connection.reply()
            more = bool(left) or cursor != b"0"
            # The server reads on while this is written, unless what is large is to be asked for.
            if more and not large:
                self._ask(cursor, left, dumps)
            self._take(tally, out, later_ms)
            for key, kind in zip(large[::2], large[1::2]):
                self._take_large(key, kind, tally, out, later_ms)
            self._alive(f"{tally.count - before:,} keys read")
            if not more:
                break
            if large:
                self._ask(cursor, left, dumps)
        if out:
            out.write(keyspace.file_end(tally.count - before))

    def probe(self) -> None:
        """Read the first keys and forget them: what this user may not do is refused."""
        self._connection.call("DUMP", self._staged)
        self._ask(b"0", [], dumps=True)
        self._connection.reply()

    def probe_restore(self, *, functions: bool) -> None:
        """Announce every command of a restore, which the server refuses at once where this user may not, or there is no
        memory for it. None is done: end the connection then. ``functions`` are restored, too.
        """
        commands: list[tuple[str | bytes, ...]] = [(name, self._staged, *rest) for name, *rest in _DONE_TO_KEYS]
        commands += [("RENAME", self._staged, self._staged + b"probe"), ("SCAN", "0"), ("EVAL", "", "0")]
        commands += [("EVAL_RO", "", "0"), ("MEMORY", "USAGE", self._staged), ("XINFO", "STREAM", self._staged)]
        commands += [("FUNCTION", "RESTORE", "x", "FLUSH"), ("FUNCTION", "LIST")] if functions else []
        # What is large is read in a transaction; only one that is ended tells whether that is allowed.
        for command in [("MULTI",), ("EXEC",), ("MULTI",), *commands]:
            self._connection.call(*command)

    def restore(self, stream: IO[bytes]) -> None:
        """Restore the keys of a file that ``read`` wrote under names of their own, and forget those of an earlier try.

        Whatever is raised, no key that was there has changed; ``forget`` removes what was restored.
        """
        self.forget()
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
        limits = int(dumps), keyspace.FEW, _LARGE, _ANSWER
        arguments = cursor, keyspace.pattern(self._prefix), _COUNT, self._prefix, self._staged, *limits
        self._connection.send("EVAL_RO", _READ, len(keys), *keys, *arguments)
        self._connection.flush()

    def _take(self, tally: Tally, out: IO[bytes] | None, later_ms: int) -> None:
        """Read what the script has answered after what is large."""
        payload = b""
        for key, kind, expires, parts in self._connection.rows():
            expires_ms = expires - later_ms if expires > 0 else 0
            if kind == keyspace.PAYLOAD:
                payload = keyspace.begin(kind, expires_ms, key) + keyspace.block(parts)
                continue
            raw, number = keyspace.small(kind, expires_ms, key, parts)
            tally.add(kind, expires_ms > 0, key, number)
            if out:
                out.write(payload or raw)
            payload = b""
        for _stream in range((self._connection.head() or 0) // (4 if out else 3)):
            key, expires = self._connection.reply(), self._connection.reply()
            self._take_whole(key, keyspace.STREAM, expires, tally, out, later_ms)
        self._connection.reply()

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
        self._take_whole(key, kind, expires_ms, tally, out, later_ms)

    def _take_whole(
        self, key: bytes, kind: int, expires: int, tally: Tally, out: IO[bytes] | None, later_ms: int
    ) -> None:
        """Read what follows of a key: its payload, where that is written, and its value."""
        expires_ms = expires - later_ms if expires > 0 else 0
        if out:
            self._write_payload(key, expires_ms, out)
        number = self._connection.head() or 0
        if kind == keyspace.STREAM:
            parts, number = iter([self._stream(number)]), 1
        elif kind == keyspace.STRING:
            parts, number = iter([self._part(number)]), 1
        else:
            parts = self._parts(number)
        tally.add(kind, expires_ms > 0, key, keyspace.digest(kind, expires_ms, key, parts, number))

    def _write_payload(self, key: bytes, expires_ms: int, out: IO[bytes]) -> None:
        size = self._connection.head() or 0
        if size > _LONGEST:
            raise SnapshotError(
                f"the key {key!r} is {size:,} bytes as a payload, and a server takes back {_LONGEST:,} at most: divide "
                "it, or give its part a prefix that leaves it out"
            )
        out.write(keyspace.begin(keyspace.PAYLOAD, expires_ms, key) + keyspace.payload_head(size))
        for piece in self._connection.pieces(size):
            out.write(piece)
            self._alive(f"reading {key!r}")

    def _parts(self, number: int) -> Iterator[bytes]:
        """The parts of an answer that has so many."""
        for index in range(number):
            if index % _AT_ONCE == 0:
                self._alive(f"reading a value of {number:,} parts")
            yield self._part(self._connection.head() or 0)

    def _part(self, size: int) -> bytes:
        """The next part of a value, which has so many bytes, ``shortened``."""
        pieces = self._connection.pieces(size)
        if size <= keyspace.LONG:
            return b"".join(pieces)
        state = keyspace.hashing()
        for piece in pieces:
            state.update(piece)
        return state.digest()

    def _stream(self, number: int) -> bytes:
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
        return keyspace.block([told[name] for name in sorted(told)])

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
                told[name] = keyspace.block(sorted(names))
            else:
                self._connection.skip()
        return keyspace.block([told[name] for name in sorted(told)])

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
        while not isinstance(record := keyspace.read_record(stream.read(keyspace.RECORD.size)), int):
            key = _exactly(stream, record.key_bytes)
            if not key.startswith(self._prefix):
                raise SnapshotError(f"the file of keys holds {key!r}, which does not begin with {self._prefix!r}")
            self._load_key(stream, record, begin + key[len(self._prefix) :])
            loaded += 1
            if loaded % _AT_ONCE == 0:
                self._alive(f"{loaded:,} keys restored")
        self._answers()
        if record != loaded:
            raise SnapshotError(f"the file of keys holds {loaded:,} of its {record:,} keys")

    def _load_key(self, stream: IO[bytes], record: keyspace.Record, name: bytes) -> None:
        """Send what makes a key, whose parts are next in the file."""
        expires = b"%d" % (record.expires_ms + LATER_MS if record.expires_ms else 0)
        [number] = keyspace.COUNT.unpack(_exactly(stream, keyspace.COUNT.size))
        lengths = [length for (length,) in keyspace.COUNT.iter_unpack(_exactly(stream, number * keyspace.COUNT.size))]
        size = sum(lengths)
        if record.kind == keyspace.PAYLOAD:
            before = b"RESTORE", name, expires
            self._connection.send_around(before, size, _pieces(stream, size), (b"REPLACE", b"ABSTTL"))
            self._expect(name, size)
            return
        raw = _exactly(stream, size)
        parts = [raw[end - length : end] for end, length in zip(accumulate(lengths), lengths)]
        if record.kind == keyspace.STRING:
            self._send(b"SET", name, *parts, *((b"PXAT", expires) if record.expires_ms else ()))
            return
        # One that has come twice is there.
        self._send(b"UNLINK", name)
        self._send(_ADD[record.kind], name, *keyspace.arguments(record.kind, parts))
        if record.expires_ms:
            self._send(b"PEXPIREAT", name, expires)

    def _send(self, *arguments: bytes) -> None:
        self._connection.send(*arguments)
        self._expect(arguments[1], sum(map(len, arguments)))

    def _expect(self, key: bytes, size: int) -> None:
        """An answer about this key will come, to ``size`` bytes; read it and those before it when it is time."""
        self._unanswered.append(key)
        self._sent += size
        if len(self._unanswered) >= _AT_ONCE or self._sent >= _UNANSWERED:
            self._answers()

    def _answers(self) -> None:
        self._connection.flush()
        for key in self._unanswered:
            try:
                self._connection.reply()
            except RefusedError as refused:
                said_of = self._prefix + key[len(self._prefix) :].removeprefix(STAGED)
                raise RefusedError(f"{refused} (said of the key {said_of!r})") from refused
        self._unanswered, self._sent = [], 0


def _exactly(stream: IO[bytes], length: int) -> bytes:
    return b"".join(_pieces(stream, length))


def _pieces(stream: IO[bytes], length: int) -> Iterator[bytes]:
    while length:
        piece = stream.read(min(length, PIECE))
        if not piece:
            raise SnapshotError("the file of keys ends in the middle of a key")
        length -= len(piece)
        yield piece
