# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Artifacts: what the manifest of a snapshot says, whether its contents agree with others, and when it may go.

A manifest is a JSON object::

    {"format": 1, "name", "service", "part", "migration", "hold", "host", "engine", "source", "versions",
     "consistent_at", "point_in_time", "contents": {name: {"count", "digest", "at_least"}}, "mark",
     "files": {path: {"size", "sha256"}}, "encryption": None | {"tool", "recipient"}, "packed": None | files as above,
     "started", "completed", "expires", "verified": None | {"at", "seconds"}, "needs": [str]}

Times are unix seconds. ``files`` are those in the artifact's folder; where they are encrypted, ``packed`` are those
that the engine wrote. ``needs`` tells what must be at hand for a restore besides the folder. ``hold``
names the hold of the writers in which it was read, or says that nobody was held; it is None for what needs no hold.
Parts that were read in one hold fit together.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import InputError, SnapshotError

FORMAT = 1
MANIFEST = "manifest.json"
DATA = "data"
"""The folder in an artifact that holds what the engine wrote; encrypted, it is one file with the tool's suffix."""
TAKEN_FILE = "taken.json"
"""A manifest before its time: of what was read, and is not proven yet."""
NOBODY_HELD = "none"
"""The hold of a part that was read while its writers went on."""
PARTIAL = ".partial-"
"""Begins the name of what is not an artifact yet."""

_TYPES: dict[str, Any] = {
    "format": int,
    "name": str,
    "part": str,
    "host": str,
    "engine": str,
    "source": dict,
    "versions": dict,
    "consistent_at": (int, float),
    "point_in_time": bool,
    "contents": dict,
    "mark": dict,
    "files": dict,
    "started": (int, float),
    "completed": (int, float),
    "expires": (int, float),
    "needs": list,
}

_WORD = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")
_MIGRATION = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}")
_SHOWN = 5


@dataclass(frozen=True)
class Content:
    """One thing that a part holds: a table, the keys of one type, a file tree, a collection.

    ``count`` is how many rows, keys, files or points it has. ``digest`` does not depend on their order; None where only
    the count can be known, or nothing is proven yet. ``at_least`` is for what goes on outside of a snapshot, such as a
    sequence: a restored one may be ahead, never behind. ``at_most`` is for what goes by itself, such as keys that
    expire: later there may be fewer.
    """

    count: int
    digest: str | None
    at_least: bool = False
    at_most: bool = False


def check_word(text: str, what: str) -> str:
    """``text`` when it can be a part of an artifact's name. Raises InputError."""
    if not _WORD.fullmatch(text):
        raise InputError(
            f"{what} is {text!r}; a name of 1…40 of a-z, 0-9, '_' and '-' that begins with a letter or digit is needed"
        )
    return text


def check_migration(text: str) -> str:
    """``text`` when it can name a migration. Raises InputError."""
    if not _MIGRATION.fullmatch(text):
        raise InputError(f"migration is {text!r}; an id like 20261121T194000Z is needed")
    return text


def name_of(service: str | None, part: str, now: float) -> str:
    """The name of the artifact that is begun ``now``: readable, sorted by time within a part."""
    stamp = datetime.datetime.fromtimestamp(now, datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")
    return ".".join(filter(None, (service, part, stamp)))


def render(manifest: Mapping[str, Any]) -> bytes:
    """The manifest as it is written: with its own checksum, so that one flipped bit of any of its bytes is found."""
    body = json.dumps(manifest, allow_nan=False, sort_keys=True, indent=1).encode()
    digest = hashlib.sha256(body).hexdigest().encode()
    return b'{"manifest":\n' + body + b',\n"sha256": "' + digest + b'"}\n'


def parse(raw: bytes) -> dict[str, Any]:
    """The manifest that ``render`` wrote; ``SnapshotError`` says what it is instead."""
    try:
        manifest = json.loads(raw)["manifest"]
        whole = render(manifest) == raw
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise SnapshotError(f"is not a manifest ({' '.join(str(error).split())[:100]})") from error
    if not whole:
        raise SnapshotError("was changed after it was written: its checksum is not right")
    if manifest.get("format") != FORMAT:
        raise SnapshotError(f"has the format {manifest.get('format')!r}; this version of the collection knows {FORMAT}")
    wrong = [name for name, kind in _TYPES.items() if not isinstance(manifest.get(name), kind)]
    if wrong:
        raise SnapshotError(f"lacks {', '.join(wrong)}")
    return dict(manifest)


def as_json(contents: Mapping[str, Content]) -> dict[str, dict[str, Any]]:
    """Contents as a manifest has them."""
    return {
        name: {"count": one.count, "digest": one.digest, "at_least": one.at_least, "at_most": one.at_most}
        for name, one in contents.items()
    }


def to_contents(document: Mapping[str, Mapping[str, Any]]) -> dict[str, Content]:
    """The contents of a manifest."""
    return {
        name: Content(one["count"], one["digest"], one["at_least"], one.get("at_most", False))
        for name, one in document.items()
    }


def differences(expected: Mapping[str, Content], found: Mapping[str, Content], later: bool = False) -> list[str]:
    """Where ``found`` is not what was ``expected``, one sentence each; none when it is.

    ``later`` is for what was restored some time after it was taken: what goes by itself may have gone since.
    """
    gone = {name for name, one in expected.items() if later and one.at_most}
    told = [f"{name} is missing" for name in expected if name not in found and name not in gone]
    told += [f"{name} is there, and was not in the snapshot" for name in found if name not in expected]
    for name, one in expected.items():
        other = found.get(name)
        if other is None or (name in gone and other.count < one.count):
            continue
        if one.at_least:
            if other.count < one.count:
                told.append(f"{name} is at {other.count}, and was at {one.count}")
        elif other.count != one.count:
            told.append(f"{name} has {other.count}, and had {one.count}")
        elif one.digest is not None and other.digest != one.digest:
            told.append(f"{name} has {other.count} as before, with another content")
    return told


def known(taken: Mapping[str, Content], found: Mapping[str, Content]) -> dict[str, Content]:
    """What was ``taken``, with digests of what was ``found`` where it was proven to be that and had none of its own."""
    return {
        name: replace(one, digest=found[name].digest) if one.digest is None and name in found else one
        for name, one in taken.items()
    }


def needs(versions: Mapping[str, str], recipient: str | None) -> list[str]:
    """What must be at hand for a restore besides the folder, in words."""
    key = [f"the private key of {recipient}"] if recipient else []
    return [*(f"{name} ({version})" for name, version in sorted(versions.items())), *key]


def summary(path: str, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """What a journal keeps of an artifact."""
    kept = ("part", "name", "host", "engine", "migration", "hold", "consistent_at", "expires")
    return {
        **{name: manifest.get(name) for name in kept},
        "path": path,
        "bytes": sum(one["size"] for one in manifest["files"].values()),
        "verified": manifest["verified"] is not None,
        "encrypted": manifest["encryption"] is not None,
    }


def moment(at: float) -> str:
    """A time for people."""
    return datetime.datetime.fromtimestamp(at, datetime.timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")


def some(sentences: Sequence[str]) -> str:
    """The first of many, for a message."""
    more = len(sentences) - _SHOWN
    return "; ".join(sentences[:_SHOWN]) + (f"; and {more} more" if more > 0 else "")


def file_problems(expected: Mapping[str, Mapping[str, Any]], found: Mapping[str, int]) -> list[str]:
    """Where the files that were ``found``, by their size, are not those that were ``expected``; one sentence each."""
    told = [f"{path} is missing" for path in expected if path not in found]
    told += [f"{path} does not belong there" for path in found if path not in expected]
    told += [
        f"{path} has {found[path]} bytes, and had {one['size']}"
        for path, one in expected.items()
        if path in found and found[path] != one["size"]
    ]
    return told


def lost(artifacts: Mapping[str, Mapping[str, Any]], seen: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Why nobody could rely on ``artifacts`` any more, one sentence each of them; none where all are there.

    They are by part, as a journal has them. ``seen`` is by part what ``snapshot_info`` told of its host.
    """
    told = []
    for part, one in artifacts.items():
        its, answer = f"the snapshot of {part}, {one['path']} on {one['host']},", seen.get(part, {})
        if "artifacts" not in answer:
            told.append(f"{its} may not be there any more: {answer.get('msg', 'nobody has looked')}")
            continue
        found = next((each for each in answer["artifacts"] if each["path"] == one["path"]), None)
        if found is None:
            told.append(f"{its} is not there any more")
        elif found["problems"]:
            told.append(f"{its} is damaged: {some(found['problems'])}")
        elif found["expired"]:
            told.append(f"{its} has expired")
    return told


@dataclass(frozen=True)
class Fate:
    """Whether an artifact goes, and why it goes or stays."""

    name: str
    goes: bool
    why: str


def expire(manifests: Sequence[Mapping[str, Any]], over: Collection[str], now: float) -> list[Fate]:
    """What becomes of each: what is past its time goes, except the last verified one of each part of a migration that
    is not ``over``; where none of those is verified, the last one that there is.

    A migration that nobody has heard of is not known to be over: its journal may be lost, or another environment's.
    """
    last: dict[tuple[str | None, str, str], Mapping[str, Any]] = {}
    for one in sorted(manifests, key=lambda one: (one["verified"] is not None, one["completed"])):
        if one["migration"] is not None and one["migration"] not in over:
            last[one["service"], one["part"], one["migration"]] = one
    why_kept = "it is the last one of {}, which is not known to be over"
    kept = {one["name"]: why_kept.format(one["migration"]) for one in last.values()}
    fates = []
    for one in sorted(manifests, key=lambda one: one["name"]):
        left = one["expires"] - now
        why = f"it has {left:.0f} s left" if left > 0 else kept.get(one["name"])
        fates.append(Fate(one["name"], why is None, why or f"its time ended {-left:.0f} s ago"))
    return fates
