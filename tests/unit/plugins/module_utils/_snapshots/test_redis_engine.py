# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the engine of Redis refuses before it touches anything; tests/integration has what it does."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any

import pytest
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import InputError, SnapshotError
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.keyspace import Tally
from ansible_collections.bluegreen.cutover.plugins.module_utils._snapshots import Content, Taken
from ansible_collections.bluegreen.cutover.plugins.module_utils._snapshots import redis as engine
from ansible_collections.bluegreen.cutover.plugins.module_utils._snapshots.redis import OPTIONS, Redis

INFO = {
    "redis_version": "7.0.15",
    "redis_mode": "standalone",
    "cluster_enabled": "0",
    "role": "master",
    "maxmemory": "0",
    "total_system_memory": str(12 << 30),
    "used_memory": "1000000",
    "used_memory_dataset": "800000",
    "db0": "keys=300,expires=10,avg_ttl=5",
    "db3": "keys=100,expires=0,avg_ttl=0",
}


def options(**given: Any) -> dict[str, Any]:
    """As the module gives them."""
    return {**{name: option.get("default") for name, option in OPTIONS.items()}, **given}


def redis(**given: Any) -> Redis:
    return Redis(options(**given), lambda _what: None)


def taken(version: str = "7.0.15", memory_bytes: int = 0, **source: Any) -> Taken:
    return Taken(source, {"redis": version}, 0.0, True, {}, {"memory_bytes": memory_bytes})


def test_a_database_without_a_prefix_means_nothing() -> None:
    with pytest.raises(InputError, match="redis.database goes with redis.prefix"):
        redis(database=3)


def test_a_password_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(SnapshotError, match="the password of Redis in .*/none cannot be read"):
        redis(password_file=str(tmp_path / "none"))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"redis_version": "6.2.14"}, "is version 6.2.14, and 7.0 is the oldest"),
        ({"redis_mode": "cluster", "cluster_enabled": "1"}, "a cluster's keys are on several servers"),
        ({"redis_mode": "sentinel"}, "a sentinel has none"),
        ({"role": "slave", "master_host": "db1", "master_port": "6379"}, "is a replica of db1:6379.*Name its primary"),
    ],
)
def test_a_server_that_cannot_be_restored_is_refused(changed: dict[str, str], said: str) -> None:
    with pytest.raises(SnapshotError, match=said):
        engine._check_server({**INFO, **changed}, "Redis at db1:6379")


def test_a_server_by_itself_is_fine() -> None:
    engine._check_server(INFO, "Redis at db1:6379")


def test_an_older_server_does_not_get_what_a_newer_one_has_written() -> None:
    engine._check_versions(INFO, taken("7.0.1"), "the server")
    with pytest.raises(SnapshotError, match="the server is version 7.0.15, .* taken from 7.2.4: .* Install 7.2.4"):
        engine._check_versions(INFO, taken("7.2.4"), "the server")


def test_valkey_tells_both_its_versions() -> None:
    assert engine._versions({"redis_version": "7.2.4", "valkey_version": "8.0.1"}) == {
        "redis": "7.2.4",
        "valkey": "8.0.1",
    }


def test_memory_of_some_keys_is_their_share() -> None:
    assert engine._memory(INFO, 100) == 200_000
    assert engine._memory({"used_memory_dataset": "5"}, 0) == 0


def test_a_server_without_room_for_what_is_restored_is_refused() -> None:
    with pytest.raises(SnapshotError, match="has 2 MiB left below its maxmemory, and a restore needs about 3 MiB"):
        engine._check_room({**INFO, "maxmemory": str(3 << 20)}, taken(memory_bytes=3 << 20))


@pytest.mark.parametrize("maxmemory", ["0", str(100 << 30)])
def test_a_server_may_not_get_more_than_its_host_has(maxmemory: str) -> None:
    """Redis has no limit of its own by default; what ends it then is the host."""
    info = {**INFO, "maxmemory": maxmemory, "used_memory": str(8 << 30)}
    engine._check_room(info, taken(memory_bytes=4 << 30))
    said = "has 4,096 MiB left below all the memory of its host.* needs about 8,192 MiB .* Give that host more memory"
    with pytest.raises(SnapshotError, match=said):
        engine._check_room(info, taken(memory_bytes=8 << 30))
    # What nobody tells is no reason.
    engine._check_room({**INFO, "total_system_memory": "0"}, taken(memory_bytes=8 << 40))


def test_a_host_without_room_for_a_server_of_its_own_is_refused(tmp_path: Path) -> None:
    """For a restore, and for a copy that is read or proven."""
    whole = taken(host="127.0.0.1", port=6379, memory_bytes=10**14)
    with pytest.raises(SnapshotError, match="needs about 95,367,431 MiB"):
        redis().check_restore(tmp_path, whole)
    with pytest.raises(SnapshotError, match="needs about 95,367,431 MiB"), redis()._copy(tmp_path, 10**14):
        pass


def test_a_disk_that_is_full_while_keys_are_copied_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is neither this host's server that fails then, nor the one that is restored."""

    def full() -> IO[bytes]:
        return open("/dev/full", "w+b")

    keys = SimpleNamespace(read=lambda _tally, stream: stream.write(b"x" * 100_000), forget=lambda: None)
    monkeypatch.setattr(engine, "_info", lambda _connection: INFO)
    monkeypatch.setattr(engine.tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(engine.tempfile, "TemporaryFile", full)
    one: Any = redis(socket="/nowhere/socket")
    one._keys = lambda _connection, _database: keys
    with pytest.raises(SnapshotError, match=f"^{tmp_path}: No space left on device. Free some space there"):
        one._stage_copy(None, None, [])


def test_what_an_instance_is_restored_with_is_looked_for_before_anything_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R-E7: it goes through a server of this host, and through files of it."""
    whole = taken(host="127.0.0.1", port=6379, memory_bytes=5 << 20)
    monkeypatch.setattr(shutil, "which", lambda tool: "/usr/bin/zstd" if tool == "zstd" else None)
    with pytest.raises(SnapshotError, match="redis-server is not installed on this host"):
        redis().check_restore(tmp_path, whole)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: SimpleNamespace(free=4 << 20))
    with pytest.raises(SnapshotError, match="Unpacking it needs 5 MiB, and the disk of .* has 4 MiB free"):
        redis().check_restore(tmp_path, whole)


def test_keys_are_only_put_back_where_they_came_from(tmp_path: Path) -> None:
    source = {"host": "127.0.0.1", "port": 6379, "database": 0, "prefix": "nextstep:dev:"}
    with pytest.raises(SnapshotError, match="'nextstep:dev:' in database 0, and not of .* 'nextstep:prod:'"):
        redis(prefix="nextstep:prod:").restore(tmp_path, taken(**source))


@pytest.mark.parametrize(
    ("looks", "said"),
    [
        ([(1, 5), (1, 5)], "was restored, and is not what it was: string is missing"),
        # The server has saved meanwhile, each time: nobody knows.
        ([(1, 5), (2, 0), (2, 0), (3, 0), (3, 0), (4, 0)], "was restored, and is not what it was"),
        # Somebody else writes already, which is no failure of the restore; but it is not proven then.
        ([(1, 5), (1, 6)], ""),
        ([(1, 5), (2, 0), (2, 0), (2, 7)], ""),
    ],
)
def test_what_was_restored_is_judged_where_nobody_else_has_written(
    monkeypatch: pytest.MonkeyPatch, looks: list[tuple[int, int]], said: str
) -> None:
    told = iter(
        {"run_id": "a", "rdb_last_save_time": str(saved), "rdb_changes_since_last_save": str(changes)}
        for saved, changes in looks
    )
    monkeypatch.setattr(engine, "_info", lambda _connection: next(told))
    monkeypatch.setattr(Redis, "_read", lambda _self, _connection: {0: Tally()})
    then = {"0": {"lasting": "1" * 8 + "2" * 8 + "0" * 8 * 1022}}
    expected = replace(taken(), contents={"string": Content(1, "a")}, mark={"parts": then})
    one: Any = redis(prefix="nextstep:prod:")
    if said:
        with pytest.raises(SnapshotError, match=said):
            one._compare(None, expected)
    else:
        [doubt] = one._compare(None, expected)
        assert "while others write to that server: at least 2 keys are not what they were (string is missing)" in doubt
    assert next(told, None) is None
