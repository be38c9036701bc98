# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys of Redis: which ones a prefix means, what they hold as a digest, how they stand in a file.

A digest is of what a key holds, not of how its server stores it: DUMP gives other bytes on another server, or after
another history. It covers type, key, time of expiry and value. A file holds DUMP's payloads, which keep everything.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, NamedTuple

from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import InputError, SnapshotError

#: Types whose value has a digest, by the number that they have in it. A module's types have none.
KINDS = {"string": 1, "list": 2, "set": 3, "zset": 4, "hash": 5, "stream": 6}
STRING, LIST, SET, ZSET, HASH, STREAM = KINDS.values()
_NAMES = {number: name for name, number in KINDS.items()}

BUCKETS = 1024
"""Into how many parts the keys are divided by their names, to tell how many of them differ."""
LONG = 1 << 18
"""Bytes of a part of a value above which its digest has the part's hash in its place."""

_BYTES = 16
_MASK = (1 << 8 * _BYTES) - 1
_GLOB = re.compile(rb"[\\*?\[\]]")
_KEY = struct.Struct(">BQI")
_LENGTH = struct.Struct(">I")
_SCORE = struct.Struct(">d")

MAGIC = b"bluegreen.cutover redis keys 1\n"
#: What precedes a key in a file: expiry in unix ms (0: none), bytes of the key, bytes of its payload.
RECORD = struct.Struct(">QII")
#: What a file ends with: this mark in the place of an expiry, and the number of keys.
_END = struct.Struct(">QQ")
_END_MARK = (1 << 64) - 1


def check_prefix(prefix: str) -> bytes:
    """The bytes that every key of the part begins with. Raises InputError where other keys could be meant, too."""
    if not prefix:
        raise InputError("redis.prefix is empty. Leave it out to mean the whole instance.")
    if prefix.endswith("*"):
        raise InputError(
            f"redis.prefix is {prefix!r}: it is not a pattern, every key that begins with it is meant. "
            f"Write {prefix.rstrip('*')!r}."
        )
    if prefix[-1].isalnum():
        raise InputError(
            f"redis.prefix {prefix!r} ends in a letter or a digit, so that the keys of {prefix + '2:'!r} would belong "
            "to it, too. End it with its separator, such as ':'."
        )
    return prefix.encode("utf-8", "surrogateescape")


def pattern(prefix: bytes) -> bytes:
    """The pattern of SCAN for all keys that begin with ``prefix``, whatever characters it has."""
    return _GLOB.sub(rb"\\\g<0>", prefix) + b"*"


def file_header(prefix: bytes) -> bytes:
    """How a file of the keys of a prefix begins."""
    return MAGIC + prefix.hex().encode() + b"\n"


def read_header(magic: bytes, line: bytes, prefix: bytes) -> None:
    """Look at the first two lines of a file. Raises SnapshotError where it is not of the keys of ``prefix``."""
    if magic != MAGIC:
        raise SnapshotError(f"the file of keys does not begin with {MAGIC!r}, but with {magic[:40]!r}")
    if line != file_header(prefix)[len(MAGIC) :]:
        raise SnapshotError(f"the file of keys is not of the prefix {prefix!r}, its header says {line[:80]!r} (in hex)")


def record(expires_ms: int, key: bytes, payload_bytes: int) -> bytes:
    """What precedes the payload of a key in a file. ``expires_ms`` is its expiry in unix ms, 0 for none."""
    return RECORD.pack(expires_ms, len(key), payload_bytes) + key


def file_end(keys: int) -> bytes:
    """How a file of that many keys ends: one that was cut short does not end so."""
    return _END.pack(_END_MARK, keys)


class Record(NamedTuple):
    """What precedes a key and its payload in a file."""

    expires_ms: int
    key_bytes: int
    payload_bytes: int


def read_record(raw: bytes) -> Record | int:
    """What precedes the next key, or after the last one the number of keys. Raises SnapshotError."""
    if len(raw) < RECORD.size:
        raise SnapshotError(f"the file of keys ends in the middle, {len(raw)} bytes into the next key")
    mark, keys = _END.unpack(raw)
    return int(keys) if mark == _END_MARK else Record(*RECORD.unpack(raw))


def hashing() -> blake2b:
    """The hash that stands for a part of a value which is not held whole."""
    return blake2b()


def nested(answer: Any) -> bytes:
    """An answer with answers in it, as one element."""
    if isinstance(answer, list):
        return element([nested(one) for one in answer])
    return answer if isinstance(answer, bytes) else repr(answer).encode()


def _whole(part: bytes) -> bytes:
    """A part of a value as its digest has it: one that is longer than is held at once is represented by its hash."""
    if len(part) <= LONG:
        return part
    state = hashing()
    state.update(part)
    return state.digest()


def element(parts: Iterable[bytes]) -> bytes:
    """One element of a value, made of parts, as the value's digest has it."""
    return b"".join([_LENGTH.pack(len(part)) + part for part in map(_whole, parts)])


def elements(kind: int, parts: Iterable[bytes]) -> Iterator[bytes]:
    """What ``digest`` needs of a value of this kind, whose parts come in the order in which the server tells them.

    A string is one part, in pieces of any size.
    """
    if kind == STRING:
        yield from parts
        return
    each = iter(parts)
    if kind in (LIST, SET):
        for part in each:
            yield element((part,))
    elif kind == HASH:
        for field, value in zip(each, each):
            yield element((field, value))
    else:
        for member, score in zip(each, each):
            # Servers write the same number in different ways.
            yield element((member, _SCORE.pack(float(score))))


def digest(kind: int, expires_ms: int, key: bytes, elements: Iterable[bytes]) -> int:
    """The digest of one key. ``expires_ms`` is its expiry in unix ms, 0 for none."""
    head = _KEY.pack(kind, expires_ms, len(key)) + key
    if kind in (SET, HASH):
        # In any order: the sum does not tell.
        total = sum(map(_hash, elements))
        return _hash(head + (total & _MASK).to_bytes(_BYTES, "big"))
    state = blake2b(head, digest_size=_BYTES)
    for one in elements:
        state.update(one)
    return int.from_bytes(state.digest(), "big")


def _hash(raw: bytes) -> int:
    return int.from_bytes(blake2b(raw, digest_size=_BYTES).digest(), "big")


class Parts:
    """1,024 parts of many things, by their names: what tells later how many of them differ, at least."""

    def __init__(self) -> None:
        self._sums = [0] * BUCKETS

    def add(self, name: bytes, number: int) -> None:
        """Add one thing, with the digest of what it holds."""
        bucket = zlib.crc32(name) % BUCKETS
        self._sums[bucket] = (self._sums[bucket] + number) & 0xFFFFFFFF

    def text(self) -> str:
        """What ``differing`` compares."""
        return "".join(f"{number:08x}" for number in self._sums)


class Tally:
    """Counts and digests of many keys, whatever their order: per type, those that expire apart from the others."""

    def __init__(self) -> None:
        self._counts: dict[tuple[int, bool], int] = {}
        self._sums: dict[tuple[int, bool], int] = {}
        self._parts = {False: Parts(), True: Parts()}

    @property
    def count(self) -> int:
        return sum(self._counts.values())

    def add(self, kind: int, expires: bool, key: bytes, number: int) -> None:
        """Add a key with its digest."""
        slot = kind, expires
        self._counts[slot] = self._counts.get(slot, 0) + 1
        self._sums[slot] = self._sums.get(slot, 0) + number
        self._parts[expires].add(key, number)

    def types(self) -> dict[str, tuple[int, str, bool]]:
        """By type, how many keys, their digest, and whether they expire: "string", "string, expiring"."""
        return {
            _NAMES[kind] + (", expiring" if expires else ""): (
                count,
                f"{self._sums[kind, expires] & _MASK:0{2 * _BYTES}x}",
                expires,
            )
            for (kind, expires), count in sorted(self._counts.items())
        }

    def parts(self) -> dict[str, str]:
        """What ``differing`` compares, of lasting keys and of those that expire."""
        return {"lasting": self._parts[False].text(), "expiring": self._parts[True].text()}


def differing(then: str | None, now: str | None) -> int:
    """How many things were added, changed or removed at least, by the ``text`` of their Parts; None for no thing.

    One changed thing makes one part differ; of many changed ones several share a part.
    """
    size = 8
    none = "0" * size * BUCKETS
    then, now = then or none, now or none
    return sum(then[at : at + size] != now[at : at + size] for at in range(0, len(none), size))


@dataclass(frozen=True)
class Counters:
    """What a server counts of its writes. ``run_id`` is new with each start, with which they begin again.

    ``changes`` counts since the server last saved its data, ``saved``. ``replicated`` is its replication offset in
    bytes; None where it keeps no backlog, which leaves the offset as it is.
    """

    run_id: str
    saved: str
    changes: int
    replicated: int | None

    @classmethod
    def of(cls, info: Mapping[str, str]) -> Counters:
        """Read what INFO has told."""
        return cls(
            run_id=info["run_id"],
            saved=f"{info['rdb_last_save_time']}, {info.get('rdb_saves')}",
            changes=int(info["rdb_changes_since_last_save"]),
            replicated=int(info["master_repl_offset"]) if info.get("repl_backlog_active") == "1" else None,
        )

    def changes_since(self, before: Counters) -> int | None:
        """How many changes the whole server has had since; None where it started or saved in between: not known."""
        if (self.run_id, self.saved) != (before.run_id, before.saved) or self.changes < before.changes:
            return None
        return self.changes - before.changes

    def bytes_since(self, before: Counters) -> int | None:
        """How many bytes it has had for its replicas since; None where that is not known."""
        if self.run_id != before.run_id or self.replicated is None or before.replicated is None:
            return None
        return self.replicated - before.replicated
