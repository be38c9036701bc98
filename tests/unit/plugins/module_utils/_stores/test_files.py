# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that are whole after anything, written only by who may."""

from __future__ import annotations

import errno
import json
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.bluegreen.cutover.plugins.module_utils._core import journal
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import FencedError, InputError, StoreError
from ansible_collections.bluegreen.cutover.plugins.module_utils._stores import files
from ansible_collections.bluegreen.cutover.plugins.module_utils._stores.files import DamagedError, FileStore

LEASE = {
    "owner": {"user": "alice"},
    "kind": "cutover",
    "reason": "r",
    "since": 1,
    "expires": 100,
    "ttl": 60,
    "token": 5,
}
BEGAN = {"from": "blue", "to": "green", "subject": {}, "owner": {}, "reason": "r", "weight": 0}


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FileStore:
    monkeypatch.setattr(os, "fsync", lambda _descriptor: None)  # nobody waits for a disk here
    return FileStore(str(tmp_path / "state"), "shop")


def test_reading_makes_nothing(store: FileStore) -> None:
    assert store.read_journal() == journal.empty("shop")
    assert store.read_lease() is None
    assert store.read_fence() == 0
    assert not store.folder.exists()


@pytest.mark.parametrize("name", ["", "../etc", "Shop", "a" * 41, "a b"])
def test_a_service_is_a_name_and_no_path(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="service is"):
        FileStore(str(tmp_path), name)


def test_only_root_can_look_in(store: FileStore) -> None:
    with store.locked():
        store.write_lease(LEASE)
    assert store.folder.stat().st_mode & 0o777 == 0o700
    assert (store.folder / "lease.json").stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in store.folder.iterdir()) == ["lease.json", "lock"]


def test_a_record_is_appended_and_renews_the_lease(store: FileStore) -> None:
    with store.locked():
        store.write_lease(LEASE)
        store.record(5, 50, "began", **BEGAN)
    assert store.read_lease() == {**LEASE, "expires": 110}
    assert store.read_fence() == 5
    event = store.read_journal()["migrations"][0]["events"][0]
    assert event == {"kind": "began", "at": 50, "token": 5, **BEGAN}


def test_a_released_lease_is_gone_and_may_be_released_again(store: FileStore) -> None:
    with store.locked():
        store.write_lease(LEASE)
        store.write_lease(None)
        store.write_lease(None)
    assert store.read_lease() is None


def test_a_fence_remembers_the_highest_token(store: FileStore) -> None:
    with store.locked():
        store.fence(7, 0)
        store.fence(7, 0)
        with pytest.raises(FencedError, match="overtaken"):
            store.fence(6, 0)
    assert store.read_fence() == 7


def test_an_expired_or_foreign_lease_fences(store: FileStore) -> None:
    with store.locked():
        store.write_lease(LEASE)
    with pytest.raises(FencedError, match="ended 1 s ago"):
        store.record(5, 101, "began", **BEGAN)
    with pytest.raises(FencedError, match="does not hold the lease"):
        store.record(6, 50, "began", **BEGAN)
    assert store.read_journal() == journal.empty("shop")
    assert store.read_fence() == 0


@pytest.mark.parametrize("step", [86_400.0, -86_400.0])
def test_a_clock_that_is_set_neither_ends_a_lease_nor_lengthens_it(
    store: FileStore, monkeypatch: pytest.MonkeyPatch, step: float
) -> None:
    """The unix time that everybody has is another one then. After a reboot nobody knows by how much."""
    with store.locked():
        store.write_lease(LEASE)
    real = time.time
    monkeypatch.setattr(files.time, "time", lambda: real() + step)
    moved = store.read_lease() or {}
    assert (moved["since"], moved["expires"]) == (pytest.approx(1 + step, abs=1), pytest.approx(100 + step, abs=1))
    store.record(5, 99 + step, "began", **BEGAN)
    assert (store.read_lease() or {})["expires"] == pytest.approx(159 + step, abs=1)
    with pytest.raises(FencedError, match="ended [12] s ago"):
        store.renew(5, 160.5 + step)
    clock = files._clock()
    monkeypatch.setattr(files, "_clock", lambda: replace(clock, boot_id="another", booted=clock.booted - 2 * step))
    assert (store.read_lease() or {})["expires"] == pytest.approx(159 + step, abs=1)


def test_the_lock_is_waited_for_and_its_file_named(store: FileStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "LOCK_WAIT", 0.02)
    monkeypatch.setattr(files, "_POLL", 0.001)
    other = FileStore(str(store.folder.parent), "shop")
    with store.locked(), store.locked():
        with pytest.raises(StoreError, match=r"/shop/lock is held by another process.*fuser"), other.locked():
            pass
        assert store.read_lease() is None
    with other.locked():
        pass


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.ENOSPC, "No space left on device. Free some space there and run again"),
        (errno.EACCES, r"Permission denied. Run as root \(become: true\)"),
        (errno.EIO, "Input/output error. Look at that path on this host and run again"),
    ],
)
def test_what_cannot_be_written_leaves_what_was(
    store: FileStore, monkeypatch: pytest.MonkeyPatch, number: int, advice: str
) -> None:
    with store.locked():
        store.write_lease(LEASE)

    def fails(_descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(StoreError, match=f"/shop/lease.json: {advice}") as caught, store.locked():
        store.write_lease({**LEASE, "token": 6})
    assert caught.value.evidence["errno"] == number
    assert store.read_lease() == LEASE
    assert sorted(path.name for path in store.folder.iterdir()) == ["lease.json", "lock"]


def test_what_is_written_is_on_disk_before_it_has_its_name(store: FileStore, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    replace = os.replace

    def fsync(descriptor: int) -> None:
        done.append(f"fsync {Path(os.readlink(f'/proc/self/fd/{descriptor}')).name}")

    def rename(source: Path, target: Path) -> None:
        done.append(f"rename {source.name} {target.name}")
        replace(source, target)

    with store.locked():
        monkeypatch.setattr(os, "fsync", fsync)
        monkeypatch.setattr(os, "replace", rename)
        store.write_lease(LEASE)
    assert done == ["fsync lease.tmp", "rename lease.tmp lease.json", "fsync shop"]


def test_what_json_does_not_have_is_not_written(store: FileStore) -> None:
    with store.locked(), pytest.raises(StoreError, match="its new content is not JSON"):
        store.write_journal({"weight": float("nan")})
    assert not (store.folder / "journal.json").exists()


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("journal.json", "{", "is not JSON"),
        ("journal.json", "[]", "does not hold a JSON object"),
        ("journal.json", '{"format": 9, "migrations": []}', "has the format 9"),
        ("lease.json", "{}", "is not a lease"),
        ("fence.json", '{"token": "x"}', "holds no token"),
        ("fence.json", "\xff\xfe", "is not JSON"),
    ],
)
def test_a_damaged_file_is_named_and_can_be_set_aside(store: FileStore, name: str, content: str, what: str) -> None:
    store.folder.mkdir(parents=True)
    (store.folder / name).write_text(content, encoding="latin-1")
    read: Any = {"journal.json": store.read_journal, "lease.json": store.read_lease, "fence.json": store.read_fence}[
        name
    ]
    with pytest.raises(DamagedError, match=f"{name} {what}") as caught:
        read()
    assert "Move the file aside" in caught.value.message
    assert store.set_aside(caught.value.path).name == f"{name}.damaged"
    assert not read() or read() == journal.empty("shop")


def test_what_was_set_aside_before_is_kept(store: FileStore) -> None:
    store.folder.mkdir(parents=True)
    path = store.folder / "journal.json"
    for number, name in enumerate(("journal.json.damaged", "journal.json.damaged-2", "journal.json.damaged-3")):
        path.write_text(str(number))
        assert store.set_aside(path).name == name
    assert [kept.read_text() for kept in sorted(store.folder.iterdir())] == ["0", "1", "2"]


def test_what_a_killed_writer_left_is_written_over(store: FileStore) -> None:
    store.folder.mkdir(parents=True)
    (store.folder / "fence.tmp").write_text('{"tok')
    with store.locked():
        store.fence(3, 0)
    assert json.loads((store.folder / "fence.json").read_text()) == {"token": 3}
    assert not (store.folder / "fence.tmp").exists()
