# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which keys a prefix means, what their digest covers, how they stand in a file."""

from __future__ import annotations

import io

import pytest
from ansible_collections.bluegreen.cutover.plugins.module_utils._core import keyspace
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import InputError, SnapshotError
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.keyspace import (
    HASH,
    LIST,
    SET,
    STREAM,
    STRING,
    ZSET,
    Counters,
    Parts,
    Record,
    Tally,
)

HOSTILE = "it's \"*[a-z]?\n\\:"
COUNTERS = Counters("a", "100, 1", 50, 2000)


def digest(kind: int, parts: list[bytes], key: bytes = b"shop:a", expires_ms: int = 0) -> int:
    return keyspace.small(kind, expires_ms, key, parts)[1]


def streamed(kind: int, parts: list[bytes]) -> int:
    """The digest of a value whose parts come one by one."""
    return keyspace.digest(kind, 0, b"shop:a", map(keyspace.shortened, parts), len(parts))


def test_a_prefix_is_the_bytes_that_its_keys_begin_with() -> None:
    assert keyspace.check_prefix("nextstep:prod:") == b"nextstep:prod:"
    assert keyspace.check_prefix(HOSTILE) == HOSTILE.encode()


@pytest.mark.parametrize(
    ("prefix", "said"),
    [
        ("", "redis.prefix is empty. Leave it out to mean the whole instance."),
        ("nextstep:prod:*", "it is not a pattern, .* Write 'nextstep:prod:'."),
        ("nextstep:prod", "the keys of 'nextstep:prod2:' would belong to it, too. End it with its separator"),
        ("nextstep:é", "ends in a letter"),
    ],
)
def test_a_prefix_that_could_mean_other_keys_is_refused(prefix: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        keyspace.check_prefix(prefix)


def test_a_pattern_means_the_characters_of_a_prefix_and_not_their_sense() -> None:
    assert keyspace.pattern(b"a*b?[c-d]\\e:") == b"a\\*b\\?\\[c-d\\]\\\\e:*"
    assert keyspace.pattern(b"") == b"*"


@pytest.mark.parametrize("kind", [SET, HASH])
def test_the_order_of_a_set_or_a_hash_is_not_in_its_digest(kind: int) -> None:
    pairs = [[b"a", b"1"], [b"b", b"2"], [b"c", b"3"]]
    swapped = [part for pair in reversed(pairs) for part in pair]
    assert digest(kind, [part for pair in pairs for part in pair]) == digest(kind, swapped)


def test_a_hash_with_its_values_swapped_has_another_digest() -> None:
    assert digest(HASH, [b"a", b"1", b"b", b"2"]) != digest(HASH, [b"a", b"2", b"b", b"1"])


@pytest.mark.parametrize(("kind", "parts"), [(LIST, [b"a", b"b"]), (ZSET, [b"a", b"1", b"b", b"2"])])
def test_the_order_of_a_list_or_a_sorted_set_is_in_its_digest(kind: int, parts: list[bytes]) -> None:
    assert digest(kind, parts) != digest(kind, [*parts[len(parts) // 2 :], *parts[: len(parts) // 2]])


def test_a_score_is_a_number_however_a_server_writes_it() -> None:
    assert digest(ZSET, [b"a", b"3.1000000000000001"]) == digest(ZSET, [b"a", b"3.1"])
    assert digest(ZSET, [b"a", b"-0"]) == digest(ZSET, [b"a", b"0"])
    assert digest(ZSET, [b"a", b"inf"]) != digest(ZSET, [b"a", b"-inf"])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ((STRING, [b"1"], b"shop:a", 0), (STRING, [b"2"], b"shop:a", 0)),
        ((STRING, [b"1"], b"shop:a", 0), (STRING, [b"1"], b"shop:b", 0)),
        ((STRING, [b"1"], b"shop:a", 0), (STRING, [b"1"], b"shop:a", 1)),
        ((STRING, [b"ab"], b"shop:", 0), (STRING, [b"b"], b"shop:a", 0)),
        ((LIST, [b"ab", b"c"], b"shop:a", 0), (LIST, [b"a", b"bc"], b"shop:a", 0)),
        ((LIST, [b"a"], b"shop:a", 0), (SET, [b"a"], b"shop:a", 0)),
    ],
)
def test_what_differs_has_another_digest(
    one: tuple[int, list[bytes], bytes, int], other: tuple[int, list[bytes], bytes, int]
) -> None:
    assert digest(*one) != digest(*other)


@pytest.mark.parametrize("kind", [STRING, LIST, SET, ZSET, HASH])
@pytest.mark.parametrize("long", [b"", b"x" * (keyspace.LONG + 1), b"y" * keyspace.LONG])
def test_a_value_has_one_digest_whichever_way_it_is_read(kind: int, long: bytes) -> None:
    parts = [long] if kind == STRING else [b"b", b"1", long, b"2", b"a", b"3"]
    if kind == HASH:
        parts += [b"c", long]
    assert streamed(kind, parts) == digest(kind, parts)


@pytest.mark.parametrize("kind", [SET, HASH])
def test_the_order_of_many_parts_is_not_in_their_digest(kind: int) -> None:
    pairs = [[b"%d" % number, b"v%d" % number] for number in range(keyspace.FEW)]
    parts = [part for pair in pairs for part in pair]
    swapped = [part for pair in reversed(pairs) for part in pair]
    assert streamed(kind, parts) == streamed(kind, swapped)
    assert streamed(kind, parts) != streamed(kind, [*parts[:-1], b"w"])


@pytest.mark.parametrize("kind", [LIST, ZSET])
def test_the_order_of_many_parts_is_in_their_digest(kind: int) -> None:
    parts = [b"%d" % number for number in range(2 * keyspace.FEW)]
    assert streamed(kind, parts) != streamed(kind, [*parts[2:], *parts[:2]])


@pytest.mark.parametrize(
    ("kind", "parts", "sent"),
    [
        (STRING, [b""], [b""]),
        (LIST, [b"b", b"a"], [b"b", b"a"]),
        (SET, [b"b", b"a"], [b"a", b"b"]),
        (HASH, [b"b", b"1", b"a", b"2"], [b"a", b"2", b"b", b"1"]),
        (ZSET, [b"a", b"0.10000000000000001", b"b", b"-0", b"c", b"inf"], [b"0.1", b"a", b"0.0", b"b", b"inf", b"c"]),
    ],
)
def test_what_is_written_of_a_small_key_is_read_and_sent(kind: int, parts: list[bytes], sent: list[bytes]) -> None:
    raw, _number = keyspace.small(kind, 1_800_000_000_000, b"shop:a", parts)
    stream = io.BytesIO(raw)
    assert keyspace.read_record(stream.read(keyspace.RECORD.size)) == Record(kind, 1_800_000_000_000, 6)
    assert stream.read(6) == b"shop:a"
    number, *lengths = (keyspace.COUNT.unpack(stream.read(keyspace.COUNT.size))[0] for _part in range(1 + len(parts)))
    assert number == len(parts)
    assert keyspace.arguments(kind, [stream.read(length) for length in lengths]) == sent
    assert stream.read() == b""


def test_answers_within_answers_keep_their_places() -> None:
    assert keyspace.nested([b"a", [b"b", 3]]) != keyspace.nested([b"a", b"b", 3])
    assert keyspace.nested([b"1-1", [b"a", b"1"]]) == keyspace.nested([b"1-1", [b"a", b"1"]])


def test_a_tally_is_the_same_in_any_order_and_apart_for_what_expires() -> None:
    keys = [(STRING, False, b"shop:%d" % number, number * 7919) for number in range(20)]
    keys += [(STREAM, True, b"shop:s", 5)]
    one, other = Tally(), Tally()
    for key in keys:
        one.add(*key)
    for key in reversed(keys):
        other.add(*key)
    assert one.count == 21
    assert one.types() == other.types()
    assert one.parts() == other.parts()
    assert {name: (count, expires) for name, (count, _digest, expires) in one.types().items()} == {
        "string": (20, False),
        "stream, expiring": (1, True),
    }


def test_one_changed_thing_differs_once_and_none_never() -> None:
    then, now = Parts(), Parts()
    for number in range(2000):
        then.add(b"shop:%d" % number, number)
        now.add(b"shop:%d" % number, number + (number == 1234))
    assert keyspace.differing(then.text(), then.text()) == 0
    assert keyspace.differing(then.text(), now.text()) == 1
    assert keyspace.differing(then.text(), None) > 800
    assert keyspace.differing(None, None) == 0


def test_a_file_is_told_by_its_header() -> None:
    magic, line = keyspace.file_header(HOSTILE.encode()).splitlines(keepends=True)
    keyspace.read_header(magic, line, HOSTILE.encode())
    with pytest.raises(SnapshotError, match="is not of the prefix b'shop:'"):
        keyspace.read_header(magic, line, b"shop:")
    with pytest.raises(SnapshotError, match="does not begin with .* but with b'REDIS0010'"):
        keyspace.read_header(b"REDIS0010", b"", b"shop:")


def test_a_record_says_what_follows_and_the_end_how_many_there_were() -> None:
    assert keyspace.read_record(keyspace.begin(LIST, 5, b"ab")[: keyspace.RECORD.size]) == Record(LIST, 5, 2)
    assert keyspace.read_record(keyspace.file_end(70)) == 70
    with pytest.raises(SnapshotError, match="a value of the type 9, which is not known"):
        keyspace.read_record(keyspace.begin(9, 5, b"ab")[: keyspace.RECORD.size])
    with pytest.raises(SnapshotError, match="ends in the middle, 7 bytes into the next key"):
        keyspace.read_record(keyspace.file_end(70)[:7])


def test_counters_are_read_from_info() -> None:
    info = {
        "run_id": "a",
        "rdb_last_save_time": "100",
        "rdb_saves": "1",
        "rdb_changes_since_last_save": "50",
        "repl_backlog_active": "1",
        "master_repl_offset": "2000",
    }
    assert Counters.of(info) == COUNTERS
    assert Counters.of({**info, "repl_backlog_active": "0"}).replicated is None


@pytest.mark.parametrize(
    ("now", "changes", "sent"),
    [
        (COUNTERS, 0, 0),
        (Counters("a", "100, 1", 57, 2300), 7, 300),
        (Counters("a", "160, 2", 3, 2300), None, 300),
        (Counters("b", "100, 1", 57, 300), None, None),
        (Counters("a", "100, 1", 3, None), None, None),
    ],
)
def test_what_was_written_is_only_told_where_it_is_known(now: Counters, changes: int | None, sent: int | None) -> None:
    assert now.changes_since(COUNTERS) == changes
    assert now.bytes_since(COUNTERS) == sent
