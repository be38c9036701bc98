# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A source tree laid out anew: one commit on a new branch, made of the objects that are there.

No file is checked out, copied or written: git gets a list of paths for contents that it has. So there is nothing that a
filter, an end of line or a link in the working copy could change, and nothing to clean up but an index of our own.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible_collections.bluegreen.cutover.plugins.module_utils._core import layout
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import InputError, LayoutError
from ansible_collections.bluegreen.cutover.plugins.module_utils._git import run_git


class Layout:
    """The moves of ``moves``, on the branch ``branch`` of the working copy ``repository``.

    Raises ``InputError`` where they cannot be meant. Reads with no lock and never asks a remote.
    """

    def __init__(self, repository: str, branch: str, moves: Sequence[Mapping[str, Any]]) -> None:
        self._repository = Path(repository)
        self._branch = branch
        self._moves = layout.check_moves(branch, moves)
        if not self._repository.is_absolute():
            raise InputError(f"repository is {repository!r}; an absolute path is needed. Nothing was touched")

    def make(self, message: str, *, check_mode: bool = False) -> dict[str, Any]:
        """Lay it out, or say what would be done; where it is done already nothing is. ``LayoutError`` otherwise.

        The result: ``changed``, ``commit``, ``parent``, ``moved`` as ``{"from", "to"}`` for each path, ``sentence``.
        """
        self._check_clean()
        parent = self._git("rev-parse", "--verify", "HEAD^{commit}").strip()
        before = self._tree(parent)
        there = self._git("for-each-ref", "--format=%(objectname)", f"refs/heads/{self._branch}").strip()
        done = {"changed": False, "parent": parent, "moved": []}
        if layout.is_there(before, self._moves):
            return {**done, "commit": parent, "sentence": f"{self._repository} has this layout already"}
        after = layout.lay_out(before, self._links(before), self._moves)
        if there:
            self._check_same(there, parent, after)
            return {**done, "commit": there, "sentence": f"the branch {self._branch} has this layout already"}
        pairs = [(old.path, new.path) for old, new in zip(before, after) if old.path != new.path]
        commit = None if check_mode else self._commit(parent, before, after, message)
        does = "would go" if check_mode else "go"
        went = f"{len(pairs)} of {len(before)} paths {does} elsewhere on the branch {self._branch}"
        return {
            "changed": True,
            "commit": commit,
            "parent": parent,
            "moved": [{"from": _told(old), "to": _told(new)} for old, new in pairs],
            "sentence": f"{went}, all with the contents and modes of {parent}",
        }

    def _check_clean(self) -> None:
        top = self._git("rev-parse", "--show-toplevel").strip()
        if os.path.realpath(top) != os.path.realpath(self._repository):
            raise LayoutError(f"{self._repository} is inside the working copy {top}; name that one")
        said = self._git("status", "--porcelain", "-z", "--untracked-files=normal", "--ignore-submodules=none")
        changed = [one[3:] for one in said.split("\0") if len(one) > 3]
        if changed:
            raise LayoutError(
                f"{self._repository} has {len(changed)} paths that are changed, or new, and not committed, such as "
                f"{changed[0]!r}: the new layout would not have them. Commit them, or take them back"
            )

    def _check_same(self, there: str, parent: str, after: Sequence[layout.Entry]) -> None:
        """The branch may be ours, of a run before."""
        parents = self._git("rev-parse", f"{there}^@").split()
        if parents != [parent] or set(self._tree(there)) != set(after):
            raise LayoutError(
                f"the branch {self._branch} is there, with something else at {there[:12]}. Name another one, or "
                f"remove it: git -C {self._repository} branch --delete --force {self._branch}"
            )

    def _commit(self, parent: str, before: list[layout.Entry], after: list[layout.Entry], message: str) -> str:
        """Make the commit, prove it as it was read back, and only then give it the branch's name."""
        with tempfile.TemporaryDirectory(prefix="cutover-layout-") as place:
            index = {"GIT_INDEX_FILE": str(Path(place) / "index")}
            self._git("update-index", "-z", "--index-info", given=layout.listing(after), variables=index)
            # Contents are not looked at: of a clone that has not all of them, a remote would be asked.
            tree = self._git("write-tree", "--missing-ok", variables=index).strip()
        commit = self._git("commit-tree", tree, "-p", parent, "-m", message).strip()
        layout.prove(before, self._tree(commit), self._moves)
        # Only where there is none: 40 or 64 zeros are no commit.
        self._git("update-ref", "-m", message, f"refs/heads/{self._branch}", commit, "0" * len(commit))
        return commit

    def _tree(self, commit: str) -> list[layout.Entry]:
        return layout.parse(self._git("ls-tree", "-r", "-z", "--full-tree", commit))

    def _links(self, tree: Sequence[layout.Entry]) -> dict[str, str]:
        """Where each symbolic link leads, as its content says."""
        its = [one for one in tree if one.mode == layout.LINK]
        if not its:
            return {}
        said = os.fsencode(self._git("cat-file", "--batch", given="".join(f"{one.blob}\n" for one in its)))
        found = {}
        for one in its:
            head, _newline, rest = said.partition(b"\n")
            size = int(head.split()[2])
            found[one.path], said = os.fsdecode(rest[:size]), rest[size + 1 :]
        return found

    def _git(self, *arguments: str, given: str = "", variables: Mapping[str, str] | None = None) -> str:
        """What git says there. Paths may be any bytes."""
        said = bytearray()
        # What replaces an object on this machine is in no other clone.
        settings = {"GIT_NO_REPLACE_OBJECTS": "1", **(variables or {})}
        with tempfile.TemporaryFile() as source:
            source.write(os.fsencode(given))
            source.seek(0)
            told = run_git(arguments, self._repository, tap=said.extend, source=source.fileno(), variables=settings)
        if told:
            raise LayoutError(f"{told}. Nothing was changed")
        return os.fsdecode(bytes(said))


def _told(path: str) -> str:
    return os.fsencode(path).decode("utf-8", "backslashreplace")
