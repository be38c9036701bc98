# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A new layout of a source tree, pure: where each path goes, and what must not be (R-B3).

A tree is what ``git ls-tree -r`` tells: an ``Entry`` for each path. Paths are relative, with ``/`` between their names.
"""

from __future__ import annotations

import posixpath
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import InputError, LayoutError

LINK = "120000"
"""The mode of a symbolic link."""
MODULE = "160000"
"""The mode of a submodule."""
TOLD = 20
"""Problems that a message tells."""

_BRANCH = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,99}")
_ENTRY = re.compile(r"(?s)([0-7]{6}) [a-z]+ ([0-9a-f]{40,64})\t(.+)")


@dataclass(frozen=True)
class Entry:
    """One path of a tree: its mode, the digest of its content, and the path."""

    mode: str
    blob: str
    path: str


def parse(listed: str) -> list[Entry]:
    """The entries of what ``git ls-tree -r -z`` says."""
    found = [_ENTRY.fullmatch(one) for one in listed.split("\0") if one]
    if None in found:
        raise LayoutError("git ls-tree has said what cannot be understood; nothing was changed")
    return [Entry(*one.groups()) for one in found if one]


def listing(entries: Iterable[Entry]) -> str:
    """The same for ``git update-index -z --index-info``."""
    return "".join(f"{one.mode} {one.blob}\t{one.path}\0" for one in entries)


def check_moves(branch: str, moves: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """The moves, ``{from: to}``, without slashes at their ends; ``InputError`` with all that cannot be meant."""
    problems = []
    if not _BRANCH.fullmatch(branch) or ".." in branch or branch.endswith(("/", ".", ".lock")) or "//" in branch:
        problems.append(f"branch is {branch!r}; a branch's name of letters, digits, '.', '_', '/' and '-' is needed")
    if not moves:
        problems.append("moves is empty; at least one path that goes elsewhere is needed")
    made: dict[str, str] = {}
    for index, one in enumerate(moves):
        problems += [f"moves[{index}].{name}: {why}" for name in ("from", "to") for why in _unfit(one[name])]
        source, target = (one[name].rstrip("/") for name in ("from", "to"))
        if source in made:
            problems.append(f"moves[{index}].from: {source!r} goes to {made[source]!r} already")
        if _same_on_some(source) == _same_on_some(target):
            problems.append(f"moves[{index}]: {source!r} and {target!r} are one path where case does not count")
        if f"{target}/".startswith(f"{source}/") and target != source:
            problems.append(f"moves[{index}]: {target!r} is inside {source!r}, which goes away")
        made[source] = target
    for inner in made:
        problems += [f"moves: {inner!r} is inside {outer!r}, which goes too" for outer in made if _is_in(inner, outer)]
    if problems:
        raise InputError(f"The layout cannot be meant; nothing was touched: {_some(problems)}", {"problems": problems})
    return made


def _unfit(path: str) -> Iterator[str]:
    names = path.rstrip("/").split("/")
    if not path or path.startswith("/"):
        yield f"{path!r} is not a relative path"
    elif any(name in ("", ".", "..") for name in names):
        yield f"{path!r} has an empty name, '.' or '..' in it"
    elif any(name.lower() == ".git" for name in names):
        yield f"{path!r} is git's own"
    elif "\\" in path or any(unicodedata.category(one) in ("Cc", "Cs") for one in path):
        yield f"{path!r} has a character that no path needs"


def is_there(tree: Sequence[Entry], moves: Mapping[str, str]) -> bool:
    """Has every move been made? None of what goes is there, and all that it comes to."""
    paths = [one.path for one in tree]

    def found(name: str) -> bool:
        return any(path == name or _is_in(path, name) for path in paths)

    return not any(map(found, moves)) and all(map(found, moves.values()))


def lay_out(tree: Sequence[Entry], links: Mapping[str, str], moves: Mapping[str, str]) -> list[Entry]:
    """The tree with its paths moved, in its order; ``LayoutError`` with all that stands against it.

    ``links`` has where each symbolic link of the tree leads to, as it says so. Modes and contents stay as they are.
    """
    made = [replace(one, path=moved(one.path, moves)) for one in tree]
    problems = [
        f"{name!r} is not in the tree"
        for name in moves
        if not any(one.path == name or _is_in(one.path, name) for one in tree)
    ]
    problems += [
        f"{old.path!r} is a submodule, whose path is in .gitmodules, too; move it by git"
        for old, new in zip(tree, made)
        if old.mode == MODULE and old.path != new.path
    ]
    problems += _collisions(tree, made)
    problems += _misled(tree, links, moves)
    if problems:
        raise LayoutError(f"The new layout is refused; nothing was changed: {_some(problems)}", {"problems": problems})
    return made


def moved(path: str, moves: Mapping[str, str]) -> str:
    """Where ``path``, a file's or a folder's, is in the new layout."""
    for source, target in moves.items():
        if path == source or _is_in(path, source):
            return target + path[len(source) :]
    return path


def _collisions(tree: Sequence[Entry], made: Sequence[Entry]) -> Iterator[str]:
    sources = defaultdict(list)
    for old, new in zip(tree, made):
        sources[new.path].append(old.path)
    for path, its in sources.items():
        if len(its) > 1:
            yield f"{' and '.join(map(repr, its))} would both be {path!r}"
        for folder in _folders(path):
            if folder in sources:
                yield f"{folder!r} would be a file or a link, and the folder of {path!r}"
    # Such as where the code is checked out on a Mac: one of the two would be lost.
    known = _alike(tree)
    for key, names in _alike(made).items():
        if len(names) > 1 and not names <= known.get(key, set()):
            yield f"{' and '.join(map(repr, sorted(names)))} would be one path where case does not count"


def _alike(entries: Iterable[Entry]) -> dict[str, set[str]]:
    """Paths, folders too, by what they are where case does not count."""
    found: dict[str, set[str]] = defaultdict(set)
    for entry in entries:
        for path in (entry.path, *_folders(entry.path)):
            found[_same_on_some(path)].add(path)
    return found


def _misled(tree: Sequence[Entry], links: Mapping[str, str], moves: Mapping[str, str]) -> Iterator[str]:
    """Links that would lead elsewhere: their content stays, and what it says is relative to where they are."""
    for one in tree:
        if one.mode != LINK:
            continue
        target, new = links[one.path], moved(one.path, moves)
        if target.startswith("/"):
            # It leads to the same place from everywhere, and that is no part of the tree.
            continue
        was, would = (posixpath.normpath(posixpath.join(posixpath.dirname(path), target)) for path in (one.path, new))
        outside = was == ".." or was.startswith("../")
        if new != one.path and (outside or would == ".." or would.startswith("../")):
            yield f"the link {one.path!r} leads out of the tree, to {target!r}, and would lead elsewhere from {new!r}"
        elif not outside and would != moved(was, moves):
            yield f"the link {one.path!r} leads to {was!r}, and as {new!r} would lead to {would!r}"


def prove(before: Sequence[Entry], after: Sequence[Entry], moves: Mapping[str, str]) -> None:
    """Raise ``LayoutError`` unless each content and its mode is there as often as before, and each path where it is
    to be: what was read back, not what was meant.
    """
    if Counter((one.mode, one.blob) for one in before) != Counter((one.mode, one.blob) for one in after):
        raise LayoutError("the new tree has other contents or modes than the old one; nothing was changed")
    if {replace(one, path=moved(one.path, moves)) for one in before} != set(after):
        raise LayoutError("paths of the new tree are not where they are to be; nothing was changed")


def _is_in(path: str, folder: str) -> bool:
    return path.startswith(f"{folder}/")


def _folders(path: str) -> list[str]:
    names = path.split("/")
    return ["/".join(names[:count]) for count in range(1, len(names))]


def _same_on_some(path: str) -> str:
    """What file systems that fold case and compose characters take it for."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())


def _some(problems: Sequence[str]) -> str:
    more = f"; and {len(problems) - TOLD} more" if len(problems) > TOLD else ""
    return "; ".join(problems[:TOLD]) + more
