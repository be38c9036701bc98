# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The programs that a snapshot of Redis needs, with others in their place."""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO

import pytest
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import SnapshotError
from ansible_collections.bluegreen.cutover.plugins.module_utils._redis import Address
from ansible_collections.bluegreen.cutover.plugins.module_utils._snapshots import _redis_tools as tools


@pytest.fixture(name="programs", autouse=True)
def _programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of programs, the first that are found; what zstd writes is what it reads."""
    folder = tmp_path / "programs"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setattr(tools.tempfile, "tempdir", str(tmp_path))
    for name in ("zstd", "redis-server"):
        put(folder / name, "exec cat")
    return folder


def put(path: Path, script: str) -> None:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o700)


def test_whoever_sees_the_command_lines_of_a_host_sees_no_password(programs: Path, tmp_path: Path) -> None:
    put(programs / "redis-cli", """tr '\\0' '\\n' < /proc/$$/cmdline; echo "given: $REDISCLI_AUTH" """)
    address = Address(host="db1", username="shop", password="s3cret", tls=True, tls_ca="/ca.pem")
    tools.dump_rdb(address, tmp_path / "dump", lambda _what: None)
    *line, given = (tmp_path / "dump").read_text().splitlines()
    # The shell, and the program that it runs.
    assert line[2:] == ["-h", "db1", "-p", "6379", "--user", "shop", "--tls", "--cacert", "/ca.pem", "--rdb", "-"]
    assert given == "given: s3cret"


def test_a_temporary_folder_that_is_full_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And with what is free there, so that nobody takes the place of the artifacts for it."""
    (tmp_path / "dump.rdb.zst").write_bytes(b"x" * 100_000)

    def full(_path: Path) -> IO[bytes]:
        return open("/dev/full", "wb")

    monkeypatch.setattr(tools, "new_file", full)
    said = rf"^{tmp_path}/bluegreen-redis-[^ ]*: No space left on device. Free some space there"
    with (
        pytest.raises(SnapshotError, match=said) as caught,
        tools.own_server(1, lambda _what: None, tmp_path / "dump.rdb.zst"),
    ):
        pass
    assert "free" in caught.value.evidence
    assert not list(tmp_path.glob("bluegreen-redis-*"))
