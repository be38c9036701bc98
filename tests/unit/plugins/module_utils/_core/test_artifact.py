# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Manifests that protect themselves, contents that are compared, and what may go."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible_collections.bluegreen.cutover.plugins.module_utils._core import artifact
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.artifact import Content
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import InputError, SnapshotError

HOUR = 3600.0


def manifest(**changed: Any) -> dict[str, Any]:
    return {
        "format": 1,
        "name": "shop.db.20261121T194000Z",
        "service": "shop",
        "part": "db",
        "migration": "20261121T190000Z",
        "host": "data",
        "engine": "files",
        "source": {"paths": ["/srv/a\ud800\n\"'"]},
        "versions": {"tar": "1.34"},
        "consistent_at": 100.25,
        "point_in_time": True,
        "contents": {"/srv": {"count": 3, "digest": "aa", "at_least": False}},
        "mark": {},
        "files": {"data/0": {"size": 7, "sha256": "bb"}},
        "packed": None,
        "encryption": None,
        "started": 99.0,
        "completed": 110.0,
        "expires": 110.0 + 72 * HOUR,
        "verified": {"at": 109.0, "seconds": 1.5},
        "needs": ["tar (1.34)"],
        **changed,
    }


def test_a_manifest_is_read_as_it_was_written() -> None:
    assert artifact.parse(artifact.render(manifest())) == manifest()


@pytest.mark.parametrize("bit", [0x01, 0x20, 0x80])
def test_a_flipped_bit_of_a_manifest_is_found_wherever_it_is(bit: int) -> None:
    raw = artifact.render({**manifest(), "source": {}, "contents": {}, "files": {}})
    for place in range(len(raw)):
        changed = bytearray(raw)
        changed[place] ^= bit
        with pytest.raises(SnapshotError, match="is not a manifest|was changed after"):
            artifact.parse(bytes(changed))


@pytest.mark.parametrize("raw", [b"", b"{}", b"[]", b"null", b'{"manifest": 1}', b'{"manifest": {', b"\xff"])
def test_what_is_no_manifest_is_refused(raw: bytes) -> None:
    with pytest.raises(SnapshotError):
        artifact.parse(raw)


@pytest.mark.parametrize("length", [1, 100, 700])
def test_a_truncated_manifest_is_refused(length: int) -> None:
    with pytest.raises(SnapshotError):
        artifact.parse(artifact.render(manifest())[:length])


def test_a_manifest_of_another_format_or_with_less_in_it_is_refused() -> None:
    with pytest.raises(SnapshotError, match="has the format 2; this version of the collection knows 1"):
        artifact.parse(artifact.render(manifest(format=2)))
    with pytest.raises(SnapshotError, match="lacks engine"):
        artifact.parse(artifact.render(manifest(engine=None)))


def test_what_can_be_no_json_is_not_written() -> None:
    with pytest.raises(ValueError, match="Out of range"):
        artifact.render(manifest(consistent_at=float("nan")))


@pytest.mark.parametrize("name", ["", "-x", "../x", "a/b", "a b", "a\nb", "a'b", "x" * 41, "Ä", ".", "A"])
def test_a_hostile_name_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="a name of 1…40"):
        artifact.check_word(name, "part")
    with pytest.raises(InputError, match="an id like"):
        artifact.check_migration(f"{name} " if name == "A" else name)


def test_names_sort_by_time_and_tell_services_apart() -> None:
    first, second = artifact.name_of("shop", "db", 1.0), artifact.name_of("shop", "db", 2.0)
    assert first == "shop.db.19700101T000001Z"
    assert first < second
    assert artifact.name_of(None, "db", 1.0) == "db.19700101T000001Z"


A = Content(5, "d")


@pytest.mark.parametrize(
    ("expected", "found", "told"),
    [
        ({"t": A}, {"t": A}, []),
        ({"t": A}, {}, ["t is missing"]),
        ({}, {"t": A}, ["t is there, and was not in the snapshot"]),
        ({"t": A}, {"t": Content(4, "d")}, ["t has 4, and had 5"]),
        ({"t": A}, {"t": Content(5, "e")}, ["t has 5 as before, with another content"]),
        ({"t": A}, {"t": Content(5, None)}, ["t has 5 as before, with another content"]),
        ({"t": Content(5, None)}, {"t": A}, []),
        ({"s": Content(5, None, True)}, {"s": Content(6, None, True)}, []),
        ({"s": Content(5, None, True)}, {"s": Content(4, None, True)}, ["s is at 4, and was at 5"]),
    ],
)
def test_contents_are_compared(expected: dict[str, Content], found: dict[str, Content], told: list[str]) -> None:
    assert artifact.differences(expected, found) == told


def test_a_proof_tells_the_digests_that_nobody_knew_before() -> None:
    taken = {"tree": Content(3, None), "rows": Content(2, "aa", at_most=True), "gone": Content(1, None, at_most=True)}
    found = {"tree": Content(3, "bb"), "rows": Content(1, "cc")}
    assert artifact.known(taken, found) == {**taken, "tree": Content(3, "bb")}


def test_contents_go_through_json() -> None:
    contents = {"t": A, "s": Content(5, None, True)}
    assert artifact.to_contents(json.loads(json.dumps(artifact.as_json(contents)))) == contents


def test_files_are_compared() -> None:
    files = {"a": {"size": 1}, "b": {"size": 2}}
    assert artifact.file_problems(files, {"a": 1, "b": 2}) == []
    assert artifact.file_problems(files, {"a": 3, "c": 2}) == [
        "b is missing",
        "c does not belong there",
        "a has 3 bytes, and had 1",
    ]


def test_many_sentences_are_cut() -> None:
    assert artifact.some(["a", "b"]) == "a; b"
    assert artifact.some(list("abcdefg")) == "a; b; c; d; e; and 2 more"


def dated(name: str, hours: float, *, migration: str | None = "m", verified: bool = True) -> dict[str, Any]:
    """One that was completed so many hours ago, and kept for 48."""
    done = 1000 * HOUR - hours * HOUR
    proven = {"at": done, "seconds": 1.0} if verified else None
    return manifest(name=name, migration=migration, completed=done, expires=done + 48 * HOUR, verified=proven)


@pytest.mark.parametrize(
    ("there", "over", "gone"),
    [
        ([dated("a", 47)], ["m"], []),
        ([dated("a", 48)], ["m"], ["a"]),
        # The last verified one of a migration that may still go back stays; older and unverified ones go.
        ([dated("a", 60), dated("b", 50)], [], ["a"]),
        ([dated("a", 60), dated("b", 50, verified=False)], ["another"], ["b"]),
        ([dated("a", 60, verified=False), dated("b", 50, verified=False)], [], ["a"]),
        ([dated("a", 60), dated("b", 1)], [], ["a"]),
        ([dated("a", 60), dated("b", 50)], ["another", "m"], ["a", "b"]),
        ([dated("a", 60, migration=None), dated("b", 50, migration=None)], [], ["a", "b"]),
    ],
)
def test_what_is_past_its_time_goes_unless_it_can_be_needed(
    there: list[dict[str, Any]], over: list[str], gone: list[str]
) -> None:
    fates = artifact.expire(there, over, 1000 * HOUR)
    assert [one.name for one in fates if one.goes] == gone
    assert len(fates) == len(there)


def test_why_it_goes_or_stays_is_told() -> None:
    fates = artifact.expire([dated("a", 49), dated("b", 47), dated("c", 49, migration="n")], ["m"], 1000 * HOUR)
    assert [one.why for one in fates] == [
        "its time ended 3600 s ago",
        "it has 3600 s left",
        "it is the last one of n, which is not known to be over",
    ]


def test_the_summary_is_what_a_journal_keeps() -> None:
    told = artifact.summary("/b/x", manifest(files={"a": {"size": 3, "sha256": ""}, "b": {"size": 4, "sha256": ""}}))
    assert (told["bytes"], told["verified"], told["encrypted"], told["path"]) == (7, True, False, "/b/x")
    assert "contents" not in told


def test_what_a_restore_needs_is_told() -> None:
    assert artifact.needs({"tar": "1.34"}, "age1x") == ["tar (1.34)", "the private key of age1x"]


THERE = {"path": "/kept/shop.db.1", "problems": [], "expired": False}


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ({"artifacts": [THERE]}, []),
        ({"artifacts": []}, ["the snapshot of db, /kept/shop.db.1 on data, is not there any more"]),
        (
            {"artifacts": [{**THERE, "path": "/kept/shop.db.2"}]},
            ["the snapshot of db, /kept/shop.db.1 on data, is not there any more"],
        ),
        (
            {"artifacts": [{**THERE, "problems": ["data/0 is missing"]}]},
            ["the snapshot of db, /kept/shop.db.1 on data, is damaged: data/0 is missing"],
        ),
        (
            {"artifacts": [{**THERE, "expired": True}]},
            ["the snapshot of db, /kept/shop.db.1 on data, has expired"],
        ),
        (
            {"unreachable": True, "msg": "no route"},
            ["the snapshot of db, /kept/shop.db.1 on data, may not be there any more: no route"],
        ),
    ],
)
def test_what_a_journal_relies_on_is_looked_for(answer: dict[str, Any], told: list[str]) -> None:
    kept = {"db": {"path": "/kept/shop.db.1", "host": "data"}}
    assert artifact.lost(kept, {"db": answer}) == told
