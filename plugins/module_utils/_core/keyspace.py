# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys of Redis: which ones a prefix means, what they hold as a digest, how they stand in a file.

A digest covers type, key, time of expiry and value, not how a server stores them: that differs from one to another, and
with the history. The value of a key is a list of parts: one of a string; the elements of a list or a set; field after
field of a hash, each with its value; member after member of a sorted set, each with its score. In a file a key has its
parts, or one that is the payload of DUMP: where it is large, or has more than parts, as streams do.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from itertools import chain, cycle, islice
from typing import Any, NamedTuple

from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import InputError, SnapshotError

#: Types whose value has a digest, by the number that they have in it. A module's types have none.
KINDS = {"string": 1, "list": 2, "set": 3, "zset": 4, "hash": 5, "stream": 6}
STRING, LIST, SET, ZSET, HASH, STREAM = KINDS.values()
_NAMES = {number: name for name, number in KINDS.items()}

BUCKETS = 1024
"""Into how many parts the keys are divided by their names, to tell how many of them differ."""
LONG = 1 << 14
"""Bytes of a part above which its hash has its place in a digest."""
FEW = 255
"""Parts up to which a value is read, sorted where its order does not count, and written at once."""

_BYTES = 16
_MASK = (1 << 8 * _BYTES) - 1
_SCORE = struct.Struct(">d")
_GLOB = re.compile(rb"[\\*?\[\]]")

MAGIC = b"bluegreen.cutover redis keys 2\n"
#: What precedes a key in a file: type, or PAYLOAD; expiry in unix ms (0: none); bytes of the key.
RECORD = struct.Struct(">BQI")
PAYLOAD = 0
"""The value is one part, and it is what DUMP gives."""
COUNT = struct.Struct(">I")
"""Precedes the parts of a key in a file: how many, and then the length of each."""
_END = struct.Struct(">BQI")
_END_MARK = 255


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


def file_end(keys: int) -> bytes:
    """How a file of that many keys ends: one that was cut short does not end so."""
    return _END.pack(_END_MARK, keys, 0)


class Record(NamedTuple):
    """What precedes a key and its value in a file."""

    kind: int
    expires_ms: int
    key_bytes: int


def read_record(raw: bytes) -> Record | int:
    """What precedes the next key, or after the last one the number of keys. Raises SnapshotError."""
    if len(raw) < RECORD.size:
        raise SnapshotError(f"the file of keys ends in the middle, {len(raw)} bytes into the next key")
    record = Record(*RECORD.unpack(raw))
    if record.kind == _END_MARK:
        return record.expires_ms
    if not PAYLOAD <= record.kind < STREAM:
        raise SnapshotError(f"the file of keys has a value of the type {record.kind}, which is not known")
    return record


def begin(kind: int, expires_ms: int, key: bytes) -> bytes:
    """How a key begins in a file, and in its digest."""
    return RECORD.pack(kind, expires_ms, len(key)) + key


def block(parts: Sequence[bytes]) -> bytes:
    """Parts in a file, and in a digest: how many, the length of each, all of them."""
    number = len(parts)
    return _numbers(number + 1)(number, *map(len, parts)) + b"".join(parts)


@lru_cache(maxsize=2 * FEW)
def _numbers(count: int) -> Callable[..., bytes]:
    return struct.Struct(f">{count}I").pack


def payload_head(size: int) -> bytes:
    """What precedes a payload of so many bytes in a file, as ``block`` has it."""
    return _numbers(2)(1, size)


def ordered(kind: int, parts: list[bytes]) -> list[bytes]:
    """The parts of a value as they are written, from those of an answer: sorted where their order does not count."""
    if kind == SET:
        return sorted(parts)
    if kind == HASH:
        return list(chain.from_iterable(sorted(zip(parts[::2], parts[1::2]))))
    if kind == ZSET:
        return [_score(part) if odd else part for part, odd in zip(parts, cycle((False, True)))]
    return parts


def _score(text: bytes) -> bytes:
    """A score as it is written: servers write the same number in different ways, and some keep the sign of zero."""
    return _SCORE.pack(float(text) + 0.0)


def arguments(kind: int, parts: list[bytes]) -> list[bytes]:
    """The parts of a value that was written, as the command takes them that makes one of this kind."""
    if kind != ZSET:
        return parts
    scores = (repr(_SCORE.unpack(part)[0]).encode() for part in parts[1::2])
    return list(chain.from_iterable(zip(scores, parts[::2])))


def shortened(part: bytes) -> bytes:
    """A part as a digest has it."""
    if len(part) <= LONG:
        return part
    state = hashing()
    state.update(part)
    return state.digest()


def small(kind: int, expires_ms: int, key: bytes, parts: list[bytes]) -> tuple[bytes, int]:
    """A key with a value of up to FEW parts, as it is written, and its digest. ``parts`` are those of an answer."""
    head = RECORD.pack(kind, expires_ms, len(key)) + key
    raw = head + block(parts if kind in (STRING, LIST) else ordered(kind, parts))
    if len(raw) <= LONG:
        # No part is longer, then.
        return raw, _hash(raw)
    return raw, _hash(head + block(ordered(kind, [shortened(part) for part in parts])))


def digest(kind: int, expires_ms: int, key: bytes, parts: Iterable[bytes], number: int) -> int:
    """The digest of a key whose ``number`` parts come one by one, each ``shortened``; the same as that of ``small``."""
    head = begin(kind, expires_ms, key)
    each = iter(parts)
    if number <= FEW:
        return _hash(head + block(ordered(kind, list(each))))
    if kind in (SET, HASH):
        # In any order: a sum does not tell.
        elements = ((part,) for part in each) if kind == SET else zip(each, each)
        total = sum(_hash(block(element)) for element in elements)
        return _hash(head + (total & _MASK).to_bytes(_BYTES, "big"))
    state = blake2b(head, digest_size=_BYTES)
    # An even number, so that no member is without its score.
    while held := list(islice(each, FEW - 1)):
        state.update(block(ordered(kind, held)))
    return int.from_bytes(state.digest(), "big")


def hashing() -> blake2b:
    """The hash that stands for a part of a value which is not held whole."""
    return blake2b()


def nested(answer: Any) -> bytes:
    """An answer with answers in it, as one part."""
    if isinstance(answer, list):
        return block([nested(one) for one in answer])
    return answer if isinstance(answer, bytes) else repr(answer).encode()


def _hash(raw: bytes) -> int:
    return int.from_bytes(blake2b(raw, digest_size=_BYTES).digest(), "big")


class Parts:
    """1,024 parts of many things, by their names: what tells later how many of them differ, at least."""

    def __init__(self) -> None:
        self._sums = [0] * BUCKETS

    def add(self, name: bytes, number: int) -> None:
        """Add one thing, with the digest of what it holds."""
        self._sums[zlib.crc32(name) % BUCKETS] += number

    def text(self) -> str:
        """What ``differing`` compares."""
        return "".join(f"{number & 0xFFFFFFFF:08x}" for number in self._sums)


class _Slot:
    """The keys of one type, those that expire apart from the others."""

    def __init__(self, parts: Parts) -> None:
        self.count = 0
        self.total = 0
        self.parts = parts


class Tally:
    """Counts and digests of many keys, whatever their order: per type, those that expire apart from the others."""

    def __init__(self) -> None:
        self._parts = {False: Parts(), True: Parts()}
        self._slots: dict[tuple[int, bool], _Slot] = {}

    @property
    def count(self) -> int:
        return sum(slot.count for slot in self._slots.values())

    def add(self, kind: int, expires: bool, key: bytes, number: int) -> None:
        """Add a key with its digest."""
        slot = self._slots.get((kind, expires))
        if slot is None:
            slot = self._slots[kind, expires] = _Slot(self._parts[expires])
        slot.count += 1
        slot.total += number
        slot.parts.add(key, number)

    def types(self) -> dict[str, tuple[int, str, bool]]:
        """By type, how many keys, their digest, and whether they expire: "string", "string, expiring"."""
        return {
            _NAMES[kind] + (", expiring" if expires else ""): (
                slot.count,
                f"{slot.total & _MASK:0{2 * _BYTES}x}",
                expires,
            )
            for (kind, expires), slot in sorted(self._slots.items(), key=lambda one: one[0])
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
