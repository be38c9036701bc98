# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""R-B3: nextstep's code laid out anew by its inventory, with real git. No cluster is asked."""

from __future__ import annotations

import subprocess
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import LayoutError
from ansible_collections.bluegreen.cutover.plugins.module_utils._layout import Layout

from .test_playbooks import start

MOVES = [{"from": "dashboard", "to": "apps/nextstep"}, {"from": "api", "to": "apps/nextstep-api"}]
BRANCH = "blueocean-layout"


@pytest.fixture(autouse=True)
def _nobodys_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever git is told on this machine."""
    for name, value in (("GLOBAL", "/dev/null"), ("SYSTEM", "/dev/null")):
        monkeypatch.setenv(f"GIT_CONFIG_{name}", value)
    for role in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{role}_NAME", "tests")
        monkeypatch.setenv(f"GIT_{role}_EMAIL", "tests@localhost")


class Source:
    """A working copy with what is hard to keep as it is, and a remote that tells what it was sent."""

    def __init__(self, scratch: Path) -> None:
        self.path = scratch / "nextstep"
        self.remote = scratch / "remote.git"
        self.path.mkdir()
        self.git("init", "--quiet", "--initial-branch=main")
        self.write("dashboard/Dockerfile", b"FROM scratch\r\n# no newline at the end")
        self.write("dashboard/public/caf\u00e9 menu.txt", b"\0\xff")
        self.write("api/Dockerfile", b"FROM scratch\nCOPY . /\n")
        self.write("api/run", b"#!/bin/sh\n")
        self.write("api/.env.example", b"SAFETY_RAILS_ENABLED=true\n")
        self.write("docker-compose.yml", b"services: {api: {build: ./api}}\n")
        # What an ordinary checkout would change.
        self.write(".gitattributes", b"*.txt text eol=crlf\n*.yml filter=never\n")
        (self.path / "api/run").chmod(0o755)
        (self.path / "api/start").symlink_to("run")
        raw = self.path.joinpath("api").joinpath("\udcff-not-utf8")
        raw.write_bytes(b"x")
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message=all of it")
        self.git("clone", "--quiet", "--bare", str(self.path), str(self.remote))
        self.git("remote", "add", "origin", str(self.remote))
        # A repository's own settings are nobody's to run.
        hook = self.path / ".git/hooks/post-commit"
        for name in ("pre-commit", "post-commit", "reference-transaction"):
            hook.with_name(name).write_text(f"#!/bin/sh\ntouch {scratch}/hooked\nexit 1\n")
            hook.with_name(name).chmod(0o755)

    def write(self, name: str, content: bytes) -> None:
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    def git(self, *arguments: str, at: Path | None = None) -> str:
        command = ["git", "-C", str(at or self.path), "-c", "core.hooksPath=/dev/null", *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True, errors="surrogateescape").stdout

    def tree(self, commit: str) -> dict[str, tuple[str, str]]:
        lines = [one.split("\t", 1) for one in self.git("ls-tree", "-rz", commit).split("\0") if one]
        return {path: (its.split()[0], its.split()[2]) for its, path in lines}

    def state(self) -> tuple[str, ...]:
        """All that may not change: who is checked out, the index, every name of a commit, and what is not committed."""
        index = (self.path / ".git/index").read_bytes().hex()
        names = self.git("for-each-ref"), self.git("for-each-ref", at=self.remote)
        return (self.git("symbolic-ref", "HEAD"), index, *names, self.git("status", "--porcelain", "--ignored"))


@pytest.fixture
def source(tmp_path: Path) -> Source:
    return Source(tmp_path)


def play(source: Source, *options: str) -> tuple[int, str]:
    cluster = source.path / "no-cluster"
    process = start(cluster, "nextstep", "layout", *options, layout_repository=str(source.path))
    told, _none = process.communicate(timeout=300)
    return process.returncode, " ".join(told.split())


def test_r_b3_the_inventory_lays_the_code_out_with_every_file_as_it_is(source: Source, tmp_path: Path) -> None:
    before, old = source.state(), source.tree("HEAD")
    rc, told = play(source, "--check", "--diff")
    assert (rc, source.state()) == (0, before), told
    assert "7 of 9 paths would go elsewhere on the branch blueocean-layout" in told
    assert "-api/Dockerfile" in told
    assert "+apps/nextstep-api/Dockerfile" in told

    rc, told = play(source)
    assert rc == 0, told
    assert "dashboard → apps/nextstep, api → apps/nextstep-api" in told
    new = source.tree(BRANCH)
    assert Counter(new.values()) == Counter(old.values())
    renamed = {"api/": "apps/nextstep-api/", "dashboard/": "apps/nextstep/"}
    assert new == {
        next((to + path.removeprefix(top) for top, to in renamed.items() if path.startswith(top)), path): its
        for path, its in old.items()
    }
    # git itself knows each of them for what it was, and that nothing else is in the commit.
    seen = source.git("diff", "--find-renames=100%", "--name-status", "-z", f"{BRANCH}^", BRANCH).split("\0")
    assert seen[:-1:3] == ["R100"] * 7
    parent = source.git("rev-parse", "HEAD").strip()
    assert source.git("rev-list", "--parents", "--max-count=1", BRANCH).split()[1:] == [parent]
    assert f"Back: git -C {source.path} checkout {parent}" in told
    # Neither what is checked out nor the remote knows of it, and nobody's hook has run.
    source.git("branch", "--quiet", "backup", BRANCH)
    source.git("branch", "--quiet", "--delete", "--force", BRANCH, "backup")
    assert source.state() == before
    assert not (tmp_path / "hooked").exists()


def test_r_b3_it_is_there_once_and_is_known_again(source: Source) -> None:
    made = Layout(str(source.path), BRANCH, MOVES)
    first, again = made.make("once"), made.make("twice")
    assert (first["changed"], again["changed"], again["commit"]) == (True, False, first["commit"])
    source.git("switch", "--quiet", BRANCH)
    assert (source.path / "apps/nextstep-api/start").read_bytes() == b"#!/bin/sh\n"
    assert (source.path / "apps/nextstep/Dockerfile").read_bytes() == b"FROM scratch\r\n# no newline at the end"
    assert (source.path / "apps/nextstep-api/run").stat().st_mode & 0o111
    there = made.make("thrice")
    assert (there["changed"], there["sentence"]) == (False, f"{source.path} has this layout already")
    # A branch of somebody else's is not ours to move.
    source.git("switch", "--quiet", "main")
    source.git("branch", "--quiet", "--force", BRANCH, "main")
    with pytest.raises(LayoutError, match=f"the branch {BRANCH} is there, with something else"):
        made.make("again")
    assert source.git("rev-parse", BRANCH) == source.git("rev-parse", "main")


@pytest.mark.parametrize("name", ["api/run", "new"])
def test_r_b3_a_working_copy_that_is_not_clean_is_refused(source: Source, name: str) -> None:
    source.write(name, b"changed")
    before = source.state()
    with pytest.raises(LayoutError, match=f"1 paths that are changed, or new, and not committed, such as '{name}'"):
        Layout(str(source.path), BRANCH, MOVES).make("no")
    assert source.state() == before


def test_r_b3_nothing_is_left_where_it_fails(source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (source.path / "out").symlink_to(tmp_path)
    source.git("add", "out")
    source.git("commit", "--quiet", "--message=a way out")
    before = source.state()
    refused: list[tuple[str, list[dict[str, Any]]]] = [
        ("'out' would be a file or a link, and the folder of 'out/api/", [{"from": "api", "to": "out/api"}]),
        ("'none' is not in the tree", [{"from": "none", "to": "apps/none"}]),
        ("would both be 'same/Dockerfile'", [{"from": "api", "to": "same"}, {"from": "dashboard", "to": "same"}]),
    ]
    for says, moves in refused:
        with pytest.raises(LayoutError, match="nothing was changed") as caught:
            Layout(str(source.path), BRANCH, moves).make("no")
        assert says in caught.value.message
    with pytest.raises(LayoutError, match=f"is inside the working copy {source.path}; name that one"):
        Layout(str(source.path / "api"), BRANCH, MOVES).make("no")
    # All is made, and git cannot give it the branch's name.
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "scratch"))
    (source.path / ".git/refs/heads" / BRANCH).mkdir()
    (source.path / ".git/refs/heads" / BRANCH / "taken.lock").touch()
    with pytest.raises(LayoutError, match="Nothing was changed"):
        Layout(str(source.path), BRANCH, MOVES).make("no")
    assert source.state() == before
    assert list((tmp_path / "scratch").iterdir()) == []
