# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sums of files, of such too as are being written."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.bluegreen.cutover.plugins.module_utils import _sums
from ansible_collections.bluegreen.cutover.plugins.module_utils._sums import following


@pytest.fixture
def file(tmp_path: Path) -> Iterator[int]:
    descriptor = os.open(tmp_path / "archive", os.O_RDWR | os.O_CREAT | os.O_APPEND)
    yield descriptor
    os.close(descriptor)


def test_a_file_is_summed_up_and_brought_to_the_disk_while_it_is_written(
    file: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    given_up, done = threading.Event(), []

    def give_up(_descriptor: int, start: int, size: int, how: int) -> None:
        done.append(("given up", start, size, how))
        given_up.set()

    monkeypatch.setattr(_sums, "_PAUSE", 0.001)
    monkeypatch.setattr(_sums, "_AT_ONCE", 1000)
    monkeypatch.setattr(os, "fdatasync", lambda _descriptor: done.append("synced"))
    monkeypatch.setattr(os, "posix_fadvise", give_up)
    with following(file) as one:
        os.write(file, b"a" * 1500)
        assert given_up.wait(5)
        # Before the end of the context, and not all of it: only what has been read, and is on the disk.
        assert one.size == 1500
        assert done == ["synced", ("given up", 0, 1500, os.POSIX_FADV_DONTNEED)]
        os.write(file, b"b" * 300_000)
    whole = b"a" * 1500 + b"b" * 300_000
    assert one.entry() == {"size": 301_500, "sha256": hashlib.sha256(whole).hexdigest()}


def test_a_disk_that_fails_meanwhile_is_told(file: int, monkeypatch: pytest.MonkeyPatch) -> None:
    failed = threading.Event()

    def fail(_descriptor: int) -> None:
        failed.set()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(_sums, "_PAUSE", 0.001)
    monkeypatch.setattr(_sums, "_AT_ONCE", 1)
    monkeypatch.setattr(os, "fdatasync", fail)
    os.write(file, b"more")
    with pytest.raises(OSError, match="No space left"), following(file):
        assert failed.wait(5)


def test_who_writes_and_fails_is_not_kept_waiting(file: int) -> None:
    before = threading.active_count()
    with pytest.raises(ValueError, match="the writer's own"), following(file):
        raise ValueError("the writer's own")
    # Those of other tests may have ended meanwhile.
    assert threading.active_count() <= before
