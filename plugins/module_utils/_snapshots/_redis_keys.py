# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys of one database of Redis: read with their digests, written to a file, and brought back."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
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

# Only reads: the server refuses anything else from EVAL_RO. What is large, or has more than parts, is only named.
_READ = """\
local cursor, pattern, count, prefix, staged, whole = unpack(ARGV)
local few, large_bytes, answer_bytes = tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9])
local call, sub = redis.call, string.sub
local kinds = {string = 1, list = 2, set = 3, zset = 4, hash = 5, stream = 6}
local keys = KEYS
if #keys == 0 then
  local found = call('SCAN', cursor, 'MATCH', pattern, 'COUNT', count)
  cursor, keys = found[1], found[2]
end
local left, large, rows, n, size = {}, {}, {}, 0, 0
for _, key in ipairs(keys) do
  if size > answer_bytes then
    left[#left + 1] = key
  elseif sub(key, 1, #prefix) == prefix and sub(key, 1, #staged) ~= staged then
    local name = call('TYPE', key)['ok']
    local kind = kinds[name]
    local value, bytes
    if kind == 1 then
      value = {call('GETRANGE', key, 0, large_bytes)}
      bytes = #value[1]
    elseif kind then
      bytes = large_bytes + 1
      if not string.find(whole, kind, 1, true) then
        bytes = call('MEMORY', 'USAGE', key, 'SAMPLES', 1)
      end
      if bytes > large_bytes then
      elseif kind == 2 then value = call('LRANGE', key, 0, -1)
      elseif kind == 3 then value = call('SMEMBERS', key)
      elseif kind == 4 then value = call('ZRANGE', key, 0, -1, 'WITHSCORES')
      else value = call('HGETALL', key) end
    elseif name ~= 'none' then
      return redis.error_reply('UNKNOWNTYPE ' .. name .. ' is the type of the key ' .. key)
    end
    if kind and (bytes > large_bytes or #value > few) then
      large[#large + 1], large[#large + 2] = key, kind
    elseif kind then
      rows[n + 1], rows[n + 2], rows[n + 3], rows[n + 4] = key, kind, call('PEXPIRETIME', key), value
      n = n + 4
      size = size + bytes
    end
  end
end
return {cursor, left, large, rows, 'whole'}
"""
#: What tells a value of each type whole, and what adds parts to it.
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
        # Where single fields of hashes expire, only the payload has when.
        info = connection.call("INFO", "keyspace").decode()
        expiring = re.search(rf"^db{database}:.*subexpiry=[1-9]", info, re.MULTILINE)
        self._unanswered: list[bytes] = []
        self._sent = 0
        self._whole = (keyspace.STREAM, keyspace.HASH) if expiring else (keyspace.STREAM,)

    def read(self, tally: Tally, out: IO[bytes] | None = None, later_ms: int = 0) -> None:
        """Add every key to ``tally``, and write the file of them to ``out``.

        ``later_ms`` is how much later than they should the keys expire. Each key is read at one moment; one that others
        write, add or remove meanwhile is read before or after that. Where so many are removed meanwhile that the server
        makes its table smaller, a key may come twice.
        """
        before = tally.count
        if out:
            out.write(keyspace.file_header(self._prefix))
        self._ask(b"0", [])
        while True:
            self._connection.head()
            cursor, left, large = self._connection.reply(), self._connection.reply(), self._connection.reply()
            more = bool(left) or cursor != b"0"
            # The server reads on while this is written, unless what is large is to be asked for.
            if more and not large:
                self._ask(cursor, left)
            for key, kind, expires, parts in self._connection.rows():
                raw, number = keyspace.small(kind, expires - later_ms if expires > 0 else 0, key, parts)
                tally.add(kind, expires > 0, key, number)
                if out:
                    out.write(raw)
            self._connection.reply()
            for key, kind in zip(large[::2], large[1::2]):
                self._take_large(key, kind, tally, out, later_ms)
            self._alive(f"{tally.count - before:,} keys read")
            if not more:
                break
            if large:
                self._ask(cursor, left)
        if out:
            out.write(keyspace.file_end(tally.count - before))

    def probe(self) -> None:
        """Read the first keys and forget them: what this user may not do is refused."""
        self._ask(b"0", [])
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

    def _ask(self, cursor: bytes, keys: list[bytes]) -> None:
        limits = keyspace.FEW, _LARGE, _ANSWER
        whole = "".join(map(str, self._whole))
        arguments = cursor, keyspace.pattern(self._prefix), _COUNT, self._prefix, self._staged, whole, *limits
        self._connection.send("EVAL_RO", _READ, len(keys), *keys, *arguments)
        self._connection.flush()

    def _take_large(self, key: bytes, kind: int, tally: Tally, out: IO[bytes] | None, later_ms: int) -> None:
        """Read a key piece by piece; between ``MULTI`` and ``EXEC``, so that all of it is from one moment."""
        dumped = out is not None and kind in self._whole
        expires_ms = self._begin_large(key, kind, dumped)
        if expires_ms is None:
            return
        expires_ms = expires_ms - later_ms if expires_ms > 0 else 0
        if out:
            out.write(keyspace.begin(keyspace.PAYLOAD if dumped else kind, expires_ms, key))
        if dumped:
            self._element([], out)
        values = None if dumped else out
        number = 1
        parts: Iterable[bytes]
        if kind == keyspace.STRING:
            parts = self._element([], values)
        elif kind == keyspace.STREAM:
            parts = [self._stream(self._connection.head() or 0)]
        else:
            number = self._connection.head() or 0
            parts = self._elements(kind, number, values)
        tally.add(kind, expires_ms > 0, key, keyspace.digest(kind, expires_ms, key, parts, number))
        if out:
            out.write(keyspace.LAST)

    def _begin_large(self, key: bytes, kind: int, dumped: bool) -> int | None:
        """Ask for all of a key; return its expiry, with its payload, where it is to be ``dumped``, and its value to be
        read; None where it is not there any more.
        """
        connection = self._connection
        command, options = _VALUES[kind]
        commands: list[tuple[str | bytes, ...]] = [("TYPE", key), ("PEXPIRETIME", key), (*command, key, *options)]
        if dumped:
            commands.insert(2, ("DUMP", key))
        for one in (("MULTI",), *commands, ("EXEC",)):
            connection.send(*one)
        connection.flush()
        for _queued in range(1 + len(commands)):
            connection.reply()
        connection.head()
        name, expires_ms = connection.reply(), connection.reply()
        if keyspace.KINDS.get(name) == kind:
            return int(expires_ms)
        for _rest in range(len(commands) - 2):
            connection.skip()
        if name == "none":
            return None
        raise SnapshotError(f"the key {key!r} has become a {name} while it was read. Let nobody write meanwhile")

    def _elements(self, kind: int, number: int, out: IO[bytes] | None) -> Iterator[bytes]:
        """The parts of an answer that has so many, each shortened, and as they are written; write them to ``out``."""
        each = 2 if kind in (keyspace.HASH, keyspace.ZSET) else 1
        for index in range(number // each):
            if index % _AT_ONCE == 0:
                self._alive(f"reading a value of {number:,} parts")
            if kind == keyspace.ZSET:
                member, score = self._connection.reply(), keyspace.score(self._connection.reply())
                if out:
                    out.write(keyspace.block((score, member)))
                yield score
                yield keyspace.shortened(member)
            else:
                yield from self._element([self._connection.reply()] if kind == keyspace.HASH else [], out)

    def _element(self, held: list[bytes], out: IO[bytes] | None) -> list[bytes]:
        """Read one more part after those that are ``held``; write them together; return them shortened."""
        size = self._connection.head() or 0
        if size > _LONGEST:
            raise SnapshotError(
                f"a value has a part of {size:,} bytes, or as much as a payload, and a server takes back {_LONGEST:,} "
                "at most: divide it, or give its part a prefix that leaves it out"
            )
        if out:
            lengths = [*map(len, held), size]
            out.write(b"".join(map(keyspace.COUNT.pack, [len(lengths), *lengths])))
            out.writelines(held)
        pieces = []
        state = keyspace.hashing()
        for piece in self._connection.pieces(size):
            if out:
                out.write(piece)
            if size <= keyspace.LONG:
                pieces.append(piece)
            else:
                state.update(piece)
        last = b"".join(pieces) if size <= keyspace.LONG else state.digest()
        return [*map(keyspace.shortened, held), last]

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
            self._alive(f"{loaded:,} keys restored")
        self._answers()
        if record != loaded:
            raise SnapshotError(f"the file of keys holds {loaded:,} of its {record:,} keys")

    def _load_key(self, stream: IO[bytes], record: keyspace.Record, name: bytes) -> None:
        """Send what makes a key."""
        expires = b"%d" % (record.expires_ms + LATER_MS if record.expires_ms else 0)
        lengths = _lengths(stream)
        if record.kind == keyspace.PAYLOAD:
            self._stream_out((b"RESTORE", name, expires), stream, lengths, (b"REPLACE", b"ABSTTL"))
            _lengths(stream)
        elif record.kind == keyspace.STRING:
            self._stream_out((b"SET", name), stream, lengths, (b"PXAT", expires) if record.expires_ms else ())
            _lengths(stream)
        else:
            # There is one where a key has come twice.
            self._send(b"UNLINK", name)
            while lengths:
                self._add(stream, record.kind, name, lengths)
                lengths = _lengths(stream)
            if record.expires_ms:
                self._send(b"PEXPIREAT", name, expires)

    def _add(self, stream: IO[bytes], kind: int, name: bytes, lengths: Sequence[int]) -> None:
        """Send what adds the next parts to a value."""
        if sum(lengths) > PIECE and kind != keyspace.ZSET:
            self._stream_out((_ADD[kind], name), stream, lengths, ())
            return
        raw, at, parts = _exactly(stream, sum(lengths)), 0, []
        for length in lengths:
            parts.append(raw[at : at + length])
            at += length
        if kind == keyspace.ZSET:
            parts[::2] = map(keyspace.score_text, parts[::2])
        self._send(_ADD[kind], name, *parts)

    def _stream_out(
        self, before: Sequence[bytes], stream: IO[bytes], lengths: Sequence[int], after: Sequence[bytes]
    ) -> None:
        self._connection.begin(*before, more=len(lengths) + len(after))
        for length in lengths:
            self._connection.add(length, _pieces(stream, length))
        for one in after:
            self._connection.add(len(one), (one,))
        self._expect(before[1], sum(lengths))

    def _send(self, *arguments: bytes) -> None:
        self._connection.send(*arguments)
        self._expect(arguments[1], sum(map(len, arguments)))

    def _expect(self, key: bytes, size: int) -> None:
        """An answer is to come about this key; read it, and those before it, when it is time."""
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
                raise RefusedError(f"{refused} (said of the key {key!r})") from refused
        self._unanswered, self._sent = [], 0


def _lengths(stream: IO[bytes]) -> tuple[int, ...]:
    """The lengths of the parts that follow in a file; none after the last ones of a key."""
    [number] = keyspace.COUNT.unpack(_exactly(stream, keyspace.COUNT.size))
    raw = _exactly(stream, number * keyspace.COUNT.size)
    return tuple(length for (length,) in keyspace.COUNT.iter_unpack(raw))


def _exactly(stream: IO[bytes], length: int) -> bytes:
    return b"".join(_pieces(stream, length))


def _pieces(stream: IO[bytes], length: int) -> Iterator[bytes]:
    while length:
        piece = stream.read(min(length, PIECE))
        if not piece:
            raise SnapshotError("the file of keys ends in the middle of a key")
        length -= len(piece)
        yield piece
