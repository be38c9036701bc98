# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The code of a service in a git working tree: annotated tags on its commit, pushed, and a bundle of that commit.

The tags are for people and for other clones. The bundle is what a restore can rely on: whatever becomes of the tags,
the clone or the remote, the commit with all of its history is in it.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from ansible_collections.bluegreen.cutover.plugins.module_utils._core.artifact import differences, some
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import InputError, SnapshotError
from ansible_collections.bluegreen.cutover.plugins.module_utils._folders import opened
from ansible_collections.bluegreen.cutover.plugins.module_utils._git import run_git
from ansible_collections.bluegreen.cutover.plugins.module_utils._snapshots import (
    Content,
    Left,
    Notes,
    Progress,
    Taken,
    Written,
)
from ansible_collections.bluegreen.cutover.plugins.module_utils._snapshots._shared import (
    require_space,
    require_writable,
)

OPTIONS: dict[str, Any] = {
    "repository": {"type": "path", "required": True},
    "tags": {
        "type": "list",
        "elements": "str",
        "default": ["migration-start-point", "migration-rollback-point"],
    },
    "remote": {"type": "str", "default": "origin"},
}

BUNDLE = "repository.bundle"
_TAG = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,99}")


class Git:
    """A working tree; see ``Engine``."""

    name = "git"
    apart = True

    def __init__(self, options: Mapping[str, Any], progress: Progress) -> None:
        self._repository = Path(options["repository"])
        self._tags = [str(tag) for tag in options["tags"]]
        self._remote = str(options["remote"])
        self._progress = progress
        if not self._repository.is_absolute():
            raise InputError(f"git.repository is {str(self._repository)!r}; an absolute path is needed")
        wrong = [one for one in (*self._tags, self._remote) if not _TAG.fullmatch(one) or ".." in one]
        if wrong:
            raise InputError(f"{wrong[0]!r} in git.tags or git.remote is not a name that git takes")

    def remove_left(self, _notes: Notes) -> list[str]:
        return []

    def check(self) -> None:
        self._check_installed()
        self._commit()
        changed = self._changed()
        if changed:
            raise SnapshotError(
                f"{self._repository} has {len(changed)} tracked files that are changed and not committed, such as "
                f"{changed[0]!r}, which no tag would have. Commit them, or take them back"
            )
        # Of a submodule, a repository of its own, a bundle has no more than the number; of a file in LFS, the pointer.
        entries = self._names("ls-tree", "-r", "HEAD")
        modules = [entry.partition("\t")[2] for entry in entries if entry.startswith("160000 ")]
        elsewhere = {"submodules": modules, "files in Git LFS": self._names("ls-files", ":(top,attr:filter=lfs)")}
        for what, found in elsewhere.items():
            if found:
                raise SnapshotError(
                    f"{self._repository} has {len(found)} {what}, such as {found[0]!r}, whose content would neither be "
                    "proven nor come back. Take the whole folder with the engine files instead"
                )

    def take(self, folder: Path) -> Taken:
        bundle = folder / BUNDLE
        # It wants a name for what it holds. A ref of our own would be seen, and left where this is killed, in a
        # repository that other services may have, too.
        self._git("bundle", "create", "--quiet", str(bundle), "HEAD")
        bundle.chmod(0o600)
        commit = self._git("bundle", "list-heads", str(bundle)).split()[0]
        branch = self._try("symbolic-ref", "--quiet", "--short", "HEAD")
        contents = {str(self._repository): self._content(self._repository, commit)}
        versions = {"git": self._version()}
        # Last, because what others may have fetched cannot be taken back.
        tags, pushed = self._publish(commit)
        return Taken(
            source={
                "repository": str(self._repository),
                "commit": commit,
                "branch": branch,
                "tags": tags,
                "pushed_to": pushed,
            },
            versions=versions,
            consistent_at=time.time(),
            point_in_time=True,
            contents=contents,
            mark={"commit": commit},
        )

    @contextlib.contextmanager
    def scratch(self, folder: Path, taken: Taken) -> Iterator[Mapping[str, Content]]:
        with tempfile.TemporaryDirectory(prefix=".scratch-", dir=folder.parent) as place:
            self._git("init", "--quiet", "--bare", place, at=Path(place))
            commit = taken.source["commit"]
            # It takes every object apart: what was damaged is found.
            self._git("-c", "fetch.fsckObjects=true", "fetch", "--quiet", str(folder / BUNDLE), commit, at=Path(place))
            yield {taken.source["repository"]: self._content(Path(place), commit)}

    def check_source(self, taken: Taken) -> None:
        if taken.source["repository"] != str(self._repository):
            raise SnapshotError(f"the snapshot is of {taken.source['repository']}; name that in git.repository")

    def check_restore(self, folder: Path, taken: Taken) -> None:
        self.check_source(taken)
        self._check_installed()
        self._check_version(taken)
        self._commit()
        own = Path(self._git("rev-parse", "--absolute-git-dir"))
        for one in (self._repository, own):
            require_writable(one)
        if self._try("rev-parse", "--verify", "--quiet", f"{taken.source['commit']}^{{commit}}") is None:
            need = (folder / BUNDLE).stat().st_size
            require_space(own, need, "Bringing back its history", "Free some there; nothing was changed")
        # With the last ones git would only fail when it has written all files.
        shared = self._shared()
        branch = taken.source["branch"]
        locks = [own / "index.lock", own / "HEAD.lock", *([shared / f"refs/heads/{branch}.lock"] if branch else [])]
        for lock in (one for one in locks if one.exists()):
            raise SnapshotError(
                f"{lock} is there: git is at work in {self._repository}, or was killed. Wait for it, or remove that "
                "file, and run again; nothing was changed"
            )

    def restore(self, folder: Path, taken: Taken) -> Left:
        self.check_restore(folder, taken)
        commit = taken.source["commit"]
        self._git("fetch", "--quiet", str(folder / BUNDLE), commit)
        differing = differences(taken.contents, {str(self._repository): self._content(self._repository, commit)})
        if differing:
            raise SnapshotError(f"{folder / BUNDLE} is not what was taken: {some(differing)}. Nothing was changed")
        kept = self._keep(taken)
        branch = taken.source["branch"]
        # In one command, also where the branch is gone or somewhere else.
        self._git("checkout", "--quiet", "--force", *(["-B", branch] if branch else ["--detach"]), commit)
        differing = differences(taken.contents, self.contents())
        if differing:
            raise SnapshotError(
                f"{self._repository} was restored, and is not what was taken: {some(differing)}. See with git status "
                f"who changes it, and run again. {'; '.join(kept)}"
            )
        return Left(kept)

    def contents(self) -> Mapping[str, Content]:
        one = self._content(self._repository, "HEAD")
        if not self._changed():
            return {str(self._repository): one}
        # As long as something is changed, the tree is none that has a name.
        digest = hashlib.sha256((one.digest or "").encode())
        self._run(["diff", "--binary", "--no-ext-diff", "HEAD", "--"], self._repository, digest.update)
        return {str(self._repository): Content(one.count, digest.hexdigest())}

    def also_differs(self, _taken: Taken) -> list[str]:
        return []

    def written_since(self, taken: Taken) -> list[Written]:
        name = str(self._repository)
        commit = taken.mark["commit"]
        told = [
            (int(self._git("rev-list", "--count", f"^{commit}", *self._tips(taken))), "commits"),
            (len(self._changed()), "tracked files changed and not committed"),
            (len(self._in_the_way(commit)), "untracked files where it has files"),
        ]
        return [Written(name, what, count) for count, what in told if count]

    def _tips(self, taken: Taken) -> list[str]:
        """The commits that a restore takes a name from: the one checked out, and the tip of the branch it goes to."""
        branch = taken.source["branch"]
        tip = self._try("rev-parse", "--verify", "--quiet", f"refs/heads/{branch}^{{commit}}") if branch else None
        return list(dict.fromkeys([self._commit(), *([tip] if tip else [])]))

    def _keep(self, taken: Taken) -> list[str]:
        """Give what was committed since names of its own, by which it is still found; in words, which."""
        kept = []
        now = int(time.time())
        for number, tip in enumerate(self._tips(taken), 1):
            if tip == taken.source["commit"]:
                continue
            name = f"before-restore-{now}" + (f"-{number}" if number > 1 else "")
            self._git("branch", "--force", name, tip)
            kept.append(
                f"what was committed in {self._repository} since is the branch {name}. When nobody needs it: "
                f"git branch --delete --force {name}"
            )
        return kept

    def _in_the_way(self, commit: str) -> list[str]:
        """What git does not track now, such as what is ignored since, and a checkout of ``commit`` writes over."""
        files = set(self._names("ls-tree", "-r", "--name-only", commit))
        folders = {str(folder) for file in files for folder in PurePosixPath(file).parents}
        untracked = (name.rstrip("/") for name in self._names("ls-files", "--others"))
        return [
            one
            for one in untracked
            if one in files or one in folders or any(str(above) in files for above in PurePosixPath(one).parents)
        ]

    def _names(self, *arguments: str) -> list[str]:
        """The paths that it tells, from the top of the working tree."""
        said = self._git(*arguments[:1], "-z", *arguments[1:], strip=False)
        return [one for one in said.split("\0") if one]

    @staticmethod
    def _check_installed() -> None:
        if shutil.which("git") is None:
            raise SnapshotError("git is not installed on this host. Install the package git")

    def _version(self) -> str:
        return self._git("version").replace("git version ", "")

    def _check_version(self, taken: Taken) -> None:
        now, then = self._version(), taken.versions["git"]
        # As long as the major version is the same, each reads what later ones have written.
        if int(now.partition(".")[0]) < int(then.partition(".")[0]):
            raise SnapshotError(
                f"git is {now} here, and the snapshot was written by {then}. Install that or later; nothing was changed"
            )

    def _commit(self) -> str:
        return self._git("rev-parse", "--verify", "HEAD^{commit}")

    def _shared(self) -> Path:
        """Where the repository itself is, of whose working trees this may be one."""
        return Path(self._git("rev-parse", "--path-format=absolute", "--git-common-dir"))

    def _changed(self) -> list[str]:
        said = self._git("status", "--porcelain", "-z", "--untracked-files=no", strip=False)
        return [one[3:] for one in said.split("\0") if len(one) > 3]

    def _content(self, repository: Path, commit: str) -> Content:
        """The tree of a commit: git's own digest of it, and its files."""
        tree = self._git("rev-parse", "--verify", f"{commit}^{{tree}}", at=repository)
        count = 0

        def tap(chunk: memoryview) -> None:
            nonlocal count
            count += bytes(chunk).count(b"\0")

        self._run(["ls-tree", "-r", "-z", "--name-only", tree], repository, tap)
        return Content(count, tree)

    def _publish(self, commit: str) -> tuple[list[str], str | None]:
        """Tag the commit, and push; the names that the tags have, and where they were pushed to."""
        made: list[str] = []
        with opened(self._shared()) as descriptor:
            # Services of one repository have the same tags. Where its file system has no locks, the later one may fail.
            with contextlib.suppress(OSError):
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            try:
                tags = self._tag(commit, made)
                return tags, self._push(tags)
            except BaseException:
                # What a remote has all the same, the next run uses.
                for tag in made:
                    self._try("tag", "--delete", tag)
                raise

    def _tag(self, commit: str, made: list[str]) -> list[str]:
        """Tag the commit, and note in ``made`` what is new. The names that the tags have.

        No tag is moved, because other clones would not follow: where an earlier migration has left it at another
        commit, here or at the remote, the new one has the time, too.
        """
        ours = self._git("tag", "--list").splitlines()
        theirs = self._remote_tags()
        there = [name for name, (_object, one) in theirs.items() if one == commit and name not in ours]
        here = self._git("tag", "--list", "--points-at", commit).splitlines()
        # Also of the same commit there may be two of one name, which a remote refuses.
        objects = {name: self._git("rev-parse", "--verify", f"refs/tags/{name}") for name in here}
        there += [name for name in here if name not in theirs or theirs[name][0] == objects[name]]
        tags = []
        for tag in self._tags:
            stamped = re.compile(rf"{re.escape(tag)}(-\d{{8}}T\d{{6}}Z)?")
            name = next((one for one in reversed(there) if stamped.fullmatch(one)), "")
            if not name:
                name = time.strftime(f"{tag}-%Y%m%dT%H%M%SZ", time.gmtime()) if tag in (*ours, *theirs) else tag
                self._git("tag", "--annotate", "--message=Before a migration", name, commit)
                made.append(name)
            elif name not in ours:
                self._git("fetch", "--quiet", "--no-tags", self._remote, f"refs/tags/{name}:refs/tags/{name}")
            tags.append(name)
        return tags

    def _remote_tags(self) -> dict[str, tuple[str, str]]:
        """The remote's tags: the number of each itself, and of what it is of."""
        if not self._has_remote():
            return {}
        said = self._git("ls-remote", "--tags", self._remote).splitlines()
        numbers = {name: number for number, name in (line.split("\trefs/tags/") for line in said)}
        # Of an annotated one there is its own, and under another name that of its commit.
        plain = {name: number for name, number in numbers.items() if not name.endswith("^{}")}
        return {name: (number, numbers.get(f"{name}^{{}}", number)) for name, number in plain.items()}

    def _has_remote(self) -> bool:
        return self._remote in self._git("remote").split()

    def _push(self, tags: list[str]) -> str | None:
        """Push the tags where there is such a remote, and see that it has them. Its name, or None."""
        if not self._has_remote():
            return None
        refs = [f"refs/tags/{tag}" for tag in tags]
        if refs:
            self._progress(f"the tags are pushed to {self._remote}")
            self._git("push", "--quiet", "--atomic", "--no-verify", self._remote, *refs)
            there = self._git("ls-remote", "--refs", self._remote, *refs).splitlines()
            expected = {self._git("rev-parse", ref) for ref in refs}
            if {line.split()[0] for line in there} != expected:
                raise SnapshotError(f"the tags were pushed to {self._remote}, and are not what it has. Look there")
        return self._remote

    def _try(self, *arguments: str) -> str | None:
        """What it says; None where it fails."""
        with contextlib.suppress(SnapshotError):
            return self._git(*arguments) or None
        return None

    def _git(self, *arguments: str, at: Path | None = None, strip: bool = True) -> str:
        said = bytearray()
        self._run(list(arguments), at or self._repository, said.extend)
        text = said.decode("utf-8", "replace")
        return text.strip() if strip else text

    def _run(self, arguments: list[str], at: Path, tap: Callable[[memoryview], Any]) -> None:
        began = time.monotonic()
        told = run_git(
            arguments,
            at,
            tap=tap,
            tick=lambda: self._progress(f"git {arguments[0]} has run for {time.monotonic() - began:.0f} s"),
        )
        if told:
            raise SnapshotError(told)
