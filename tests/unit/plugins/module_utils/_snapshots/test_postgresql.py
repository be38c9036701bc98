# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the engine PostgreSQL knows without a server: quoting, versions, digests in parts, what marks can tell."""

from __future__ import annotations

import fcntl
import os
import pwd
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import SnapshotError
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.sql import identifier
from ansible_collections.bluegreen.cutover.plugins.module_utils._snapshots import (
    Content,
    Written,
    _postgresql_contents,
    _postgresql_restore,
    _postgresql_scratch,
    _postgresql_server,
    _postgresql_written,
    postgresql,
)
from ansible_collections.bluegreen.cutover.plugins.module_utils._snapshots._postgresql_contents import Relation

HOSTILE = "we\"ird\n'; DROP -- \\ %s"


def test_database_is_never_taken_for_a_connection_string() -> None:
    assert _postgresql_server.conninfo("host=evil") == "dbname='host=evil'"
    assert _postgresql_server.conninfo("a'b\\c") == "dbname='a\\'b\\\\c'"


def test_passfile_escapes_what_separates() -> None:
    assert _postgresql_server.passfile("a:b\\c") == "*:*:*:*:a\\:b\\\\c\n"


@pytest.mark.parametrize(
    ("said", "version", "major"),
    [
        ("pg_dump (PostgreSQL) 15.8 (Debian 15.8-0+deb12u1)", "15.8", 15),
        ("pg_dump (PostgreSQL) 18beta1", "18beta1", 18),
        ("15.20 (Debian 15.20-0+deb12u1)", "15.20", 15),
    ],
)
def test_versions(said: str, version: str, major: int) -> None:
    assert _postgresql_server.version_of(said) == version
    assert _postgresql_server.major_of(version) == major


def test_version_that_is_none() -> None:
    with pytest.raises(SnapshotError, match="No version can be read from 'nonsense'"):
        _postgresql_server.major_of("nonsense")


def _has_tools(monkeypatch: pytest.MonkeyPatch, versions: dict[str, str]) -> None:
    def run(argv: Sequence[str], _seconds: float) -> tuple[int, str, str]:
        return 0, f"{Path(argv[0]).name} (PostgreSQL) {versions[argv[0]]}\n", ""

    monkeypatch.setenv("PATH", "/usr/bin")
    monkeypatch.setattr(os, "access", lambda path, _mode: str(path) in versions)
    monkeypatch.setattr(_postgresql_server, "run", run)


def test_tools_are_those_of_the_servers_version(monkeypatch: pytest.MonkeyPatch) -> None:
    _has_tools(monkeypatch, {"/usr/bin/pg_dump": "17.2", "/usr/pgsql-15/bin/pg_dump": "15.20"})
    tools = _postgresql_server.Tools(15)
    assert tools.path("pg_dump") == "/usr/pgsql-15/bin/pg_dump"
    assert tools.version("pg_dump") == "15.20"


@pytest.mark.parametrize("version", ["14.13", "17.2"])
def test_tools_of_another_version_are_refused(monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    _has_tools(monkeypatch, {"/usr/bin/pg_dump": version})
    with pytest.raises(
        SnapshotError, match=f"no pg_dump of that version on this host \\(/usr/bin/pg_dump is {version}"
    ):
        _postgresql_server.Tools(15).path("pg_dump")


@pytest.mark.parametrize(
    ("host", "user", "password", "account"),
    [
        (None, "postgres", None, "postgres"),
        ("/run/postgresql", "postgres", None, "postgres"),
        ("db.example", "postgres", None, None),
        (None, "postgres", "secret", None),
        (None, "nobody-of-this-host", None, None),
        (None, "root", None, None),
    ],
)
def test_account(
    monkeypatch: pytest.MonkeyPatch, host: str | None, user: str, password: str | None, account: str | None
) -> None:
    ids = {"postgres": 101, "root": 0}
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(pwd, "getpwnam", lambda name: SimpleNamespace(pw_uid=ids[name]))
    assert _postgresql_server.account_of(host, user, password) == account


def test_account_of_somebody_who_is_not_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert _postgresql_server.account_of(None, "postgres", None) is None


def test_password_is_in_no_description() -> None:
    assert "hunter2" not in repr(_postgresql_server.Server("db", 5432, "shop", "hunter2"))


def _table(**more: Any) -> Relation:
    given = {"oid": 1, "schema": "app", "name": 'i"t', "kind": "r", "condition": "", "size": 8192, "pages": 1}
    return Relation(**{**given, "columns": ("a", "b c"), **more})


def test_small_table_is_one_query_over_its_columns() -> None:
    [part] = _postgresql_contents.parts_of(_table(), tid_ranges=True)
    assert part.title == 'table app.i"t'
    assert part.query == (
        'SELECT count(*), sum(hashtextextended(ROW(x."a", x."b c")::text, 0))::text FROM ONLY "app"."i""t" AS x'
    )


def test_large_table_is_read_in_parts_without_a_gap() -> None:
    size = 5 * _postgresql_contents.PART
    parts = _postgresql_contents.parts_of(_table(size=size, pages=1001), tid_ranges=True)
    ranges = [part.query.partition(" WHERE ")[2] for part in parts]
    assert ranges == [
        "x.ctid >= '(0,0)'::tid AND x.ctid < '(200,0)'::tid",
        "x.ctid >= '(200,0)'::tid AND x.ctid < '(400,0)'::tid",
        "x.ctid >= '(400,0)'::tid AND x.ctid < '(600,0)'::tid",
        "x.ctid >= '(600,0)'::tid AND x.ctid < '(800,0)'::tid",
        # Pages may have come since they were counted.
        "x.ctid >= '(800,0)'::tid",
    ]


@pytest.mark.parametrize(
    "more", [{"condition": "WHERE a > 1"}, {"pages": 0}, {"pages": 1}], ids=["configuration", "no pages", "one page"]
)
def test_table_that_cannot_be_read_in_parts(more: dict[str, Any]) -> None:
    [part] = _postgresql_contents.parts_of(_table(**{"size": 2**40, "pages": 10**6, **more}), tid_ranges=True)
    assert "ctid" not in part.query
    assert part.query.endswith(more.get("condition", "AS x"))


def test_old_server_reads_no_ranges() -> None:
    assert len(_postgresql_contents.parts_of(_table(size=2**40, pages=10**6), tid_ranges=False)) == 1


def test_parts_add_up() -> None:
    done = [("table a", 2, "-5"), ("table b", 0, None), ("table a", 3, "7"), ("large objects", 2, None)]
    assert _postgresql_contents.add_up(done) == {
        "table a": Content(5, "2"),
        "table b": Content(0, "0"),
        "large objects": Content(2, None),
    }


@pytest.mark.parametrize(
    ("last", "called", "start", "increment", "given"),
    [(1, False, 1, 1, 0), (1, True, 1, 1, 1), (10, True, 1, 1, 10), (97, True, 100, -3, 2), (77, False, 1, 1, 76)],
)
def test_sequence_counts_up_whichever_way_it_goes(
    last: int, called: bool, start: int, increment: int, given: int
) -> None:
    assert _postgresql_contents.values_given(last, called, start, increment) == given


PROPERTIES: dict[str, Any] = {
    "encoding": "UTF8",
    "collate": "C.UTF-8",
    "ctype": "C",
    "provider": "c",
    "locale": None,
    "rules": None,
    "owner": 'o"wner',
    "connections": 20,
    "comment": "it's",
    "grants": [[None, "CONNECT", False], ["app", "CREATE", True]],
    "settings": [
        [None, "search_path", '"$user", public'],
        [None, "app.key", "it's"],
        ["app", "work_mem", "8MB"],
    ],
}


@pytest.mark.parametrize(
    ("more", "end"),
    [
        ({}, "LC_COLLATE 'C.UTF-8' LC_CTYPE 'C'"),
        ({"provider": "i", "locale": "de"}, "LC_CTYPE 'C' LOCALE_PROVIDER icu ICU_LOCALE 'de'"),
        ({"provider": "i", "locale": "de", "rules": "&a < b"}, "ICU_LOCALE 'de' ICU_RULES '&a < b'"),
        ({"provider": "b", "locale": "C.UTF-8"}, "LOCALE_PROVIDER builtin BUILTIN_LOCALE 'C.UTF-8'"),
    ],
)
def test_database_is_made_as_it_was(more: dict[str, Any], end: str) -> None:
    command = _postgresql_restore.creation(HOSTILE, {**PROPERTIES, **more}, "pg_default")
    name = identifier(HOSTILE)
    assert command.startswith(f'CREATE DATABASE {name} TEMPLATE template0 OWNER "o""wner" ENCODING \'UTF8\' ')
    assert command.endswith(end)
    elsewhere = _postgresql_restore.creation(HOSTILE, {**PROPERTIES, **more}, 'fa"st')
    assert elsewhere == f'{command} TABLESPACE "fa""st"'


def test_database_gets_the_rest_of_what_it_had() -> None:
    assert _postgresql_restore.finish("new", PROPERTIES) == [
        'REVOKE ALL ON DATABASE "new" FROM PUBLIC, "o""wner"',
        'GRANT CONNECT ON DATABASE "new" TO PUBLIC',
        'GRANT CREATE ON DATABASE "new" TO "app" WITH GRANT OPTION',
        "SELECT set_config('search_path', '\"$user\", public', true)",
        'ALTER DATABASE "new" SET search_path FROM CURRENT',
        'ALTER DATABASE "new" SET "app"."key" TO \'it\'\'s\'',
        'ALTER ROLE "app" IN DATABASE "new" SET "work_mem" TO \'8MB\'',
        'ALTER DATABASE "new" CONNECTION LIMIT 20',
        "COMMENT ON DATABASE \"new\" IS 'it''s'",
    ]


def test_what_held_its_writers_off_while_it_was_read_is_not_restored() -> None:
    """R-E1: cutover_freeze.read_only; what somebody else has set, or for a role alone, is."""
    name = "default_transaction_read_only"
    settings = [[None, name, "on"], ["app", name, "on"], [None, "work_mem", "8MB"]]
    found = _postgresql_restore.finish("new", {**PROPERTIES, "settings": settings})
    assert [command for command in found if " SET " in command] == [
        f'ALTER ROLE "app" IN DATABASE "new" SET "{name}" TO \'on\'',
        'ALTER DATABASE "new" SET "work_mem" TO \'8MB\'',
    ]
    off = _postgresql_restore.finish("new", {**PROPERTIES, "settings": [[None, name, "off"]]})
    assert f'ALTER DATABASE "new" SET "{name}" TO \'off\'' in off


def test_what_is_replaced_keeps_a_name_that_fits() -> None:
    moment = "20261121T194000Z"
    assert _postgresql_restore.name_before("shop", moment) == "shop_before_20261121T194000Z"
    long = _postgresql_restore.name_before("é" * 31, moment)
    assert len(long.encode()) <= 63
    assert long == "é" * 19 + "_before_20261121T194000Z"


@pytest.mark.parametrize(("database", "other"), [("shop", "postgres"), ("postgres", "template1")])
def test_nobody_renames_a_database_from_inside(database: str, other: str) -> None:
    assert _postgresql_restore.maintenance(database) == other


def test_disk_that_is_too_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_postgresql_scratch.shutil, "disk_usage", lambda _path: SimpleNamespace(free=2**20))
    with pytest.raises(SnapshotError, match="Restoring needs 2 MiB, and the disk of /data has 1 MiB free. Free some."):
        _postgresql_scratch.require_space(Path("/data"), 2**21, "Restoring", "Free some.")


def test_what_killed_runs_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    for name in ("bluegreen-scratch-dead", "bluegreen-scratch-alive", "somebody-elses"):
        (tmp_path / name).mkdir(mode=0o700)
        (tmp_path / name / "file").touch()
    (tmp_path / "bluegreen-scratch-link").symlink_to(tmp_path / "somebody-elses")
    alive = os.open(tmp_path / "bluegreen-scratch-alive", os.O_RDONLY)
    try:
        fcntl.flock(alive, fcntl.LOCK_EX)
        _postgresql_scratch.remove_forgotten(tmp_path, None)
    finally:
        os.close(alive)
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == ["bluegreen-scratch-alive", "bluegreen-scratch-link", "somebody-elses"]
    assert (tmp_path / "somebody-elses" / "file").exists()


def test_folder_of_a_scratch_server_is_gone_afterwards() -> None:
    # tmp_path may be too long a path for a socket, depending on where and how often the tests ran.
    with tempfile.TemporaryDirectory() as made:
        base = Path(made)
        with _postgresql_scratch._folder(base) as folder:
            (folder / "file").touch()
            assert folder.stat().st_mode & 0o777 == 0o700
            _postgresql_scratch.remove_forgotten(base, None)
            assert folder.exists()
        assert list(base.iterdir()) == []


def test_path_that_is_too_long_for_a_socket(tmp_path: Path) -> None:
    base = tmp_path / ("x" * 100)
    base.mkdir()
    with (
        pytest.raises(SnapshotError, match="is too long a path for a socket. Name a shorter one in scratch_directory"),
        _postgresql_scratch._folder(base),
    ):
        pass
    assert list(base.iterdir()) == []


def _mark(**more: Any) -> dict[str, Any]:
    tables = {"table a": [1, 10, 100], "table b": [2, 20, 5], "large objects": [2613, 30, 0]}
    given = {"system": "1", "database": 5, "wal": 1000, "statistics_since": "x", "counting": True, "tables": tables}
    return {**given, **more}


def _tables(**more: list[int]) -> dict[str, Any]:
    changed = {title.replace("_", " "): value for title, value in more.items()}
    return _mark(wal=1500, tables={**_mark()["tables"], **changed})


WAL = Written("server", "bytes of WAL, of all databases", 500)


def test_marks_tell_what_was_written() -> None:
    now = _tables(table_a=[1, 10, 103], large_objects=[2613, 30, 4])
    assert _postgresql_written.compare_marks(_mark(), now) == (
        [
            WAL,
            Written("large objects", _postgresql_written.PAGES, 4),
            Written("table a", _postgresql_written.ROWS, 3),
        ],
        False,
    )


def test_marks_that_are_the_same() -> None:
    assert _postgresql_written.compare_marks(_mark(), _mark()) == ([], False)


@pytest.mark.parametrize(
    "now",
    [
        _tables(table_a=[1, 11, 100]),
        _tables(table_a=[9, 10, 100]),
        _tables(table_a=[1, 10, 99]),
        _tables(table_c=[3, 30, 0]),
        _mark(wal=1500, tables={}),
        _mark(wal=1500, statistics_since="y"),
        _mark(wal=1500, database=6),
        _mark(wal=1500, counting=False),
    ],
    ids=["written anew", "another of its name", "counted anew", "new", "gone", "reset", "replaced", "not counting"],
)
def test_marks_that_cannot_tell(now: dict[str, Any]) -> None:
    assert _postgresql_written.compare_marks(_mark(), now) == ([WAL], True)


def test_marks_of_another_server() -> None:
    assert _postgresql_written.compare_marks(_mark(), _mark(system="2", wal=5)) == ([], True)


def test_what_differs_is_counted() -> None:
    then = {
        "table more": Content(5, "1"),
        "table fewer": Content(5, "1"),
        "table changed": Content(5, "1"),
        "table gone": Content(5, "1"),
        "table same": Content(5, "1"),
        "table known": Content(5, "1"),
        "sequence s": Content(5, None, at_least=True),
        "large objects": Content(5, None),
    }
    now = {
        "table more": Content(7, "2"),
        "table fewer": Content(2, "2"),
        "table changed": Content(5, "2"),
        "table same": Content(5, "1"),
        "table known": Content(9, "9"),
        "table new": Content(3, "1"),
        "sequence s": Content(6, None, at_least=True),
        "large objects": Content(5, "8"),
    }
    assert _postgresql_written.what_differs(then, now, {"table known"}) == [
        Written("sequence s", "values given out", 1),
        Written("table changed", "changed, at least", 1),
        Written("table fewer", "fewer", 3),
        Written("table gone", "in all, which are gone", 5),
        Written("table more", "more", 2),
        Written("table new", "in all, which came since", 3),
    ]


def test_without_psycopg2_it_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgresql, "HAS_PSYCOPG2", False)
    with pytest.raises(SnapshotError, match="psycopg2"):
        postgresql.PostgreSQL({"database": "shop", "user": "postgres", "port": 5432}, print)


def test_no_session_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgresql, "HAS_PSYCOPG2", True)
    with pytest.raises(SnapshotError, match="jobs is 0; at least one session is needed"):
        postgresql.PostgreSQL({"database": "shop", "user": "shop", "port": 5432, "jobs": 0}, print)


@pytest.mark.parametrize("name", ["", "a\0b"])
def test_database_without_a_possible_name(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(postgresql, "HAS_PSYCOPG2", True)
    with pytest.raises(SnapshotError, match="is not the name of a database"):
        postgresql.PostgreSQL({"database": name, "user": "postgres", "port": 5432}, print)


def test_password_that_cannot_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgresql, "HAS_PSYCOPG2", True)
    options = {"database": "shop", "user": "shop", "port": 5432, "password_file": "/nowhere/password"}
    with pytest.raises(SnapshotError, match="the password of shop in /nowhere/password cannot be read"):
        postgresql.PostgreSQL(options, print)
