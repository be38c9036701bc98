# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the engine PostgreSQL asks a server, in which order, and what it makes of the answers."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace, TracebackType
from typing import Any

import pytest
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import SnapshotError
from ansible_collections.bluegreen.cutover.plugins.module_utils._snapshots import (
    Content,
    Taken,
    Written,
    _postgresql_contents,
    _postgresql_restore,
    _postgresql_scratch,
    _postgresql_server,
    postgresql,
)

PROPERTIES = {
    "name": "shop",
    "encoding": "UTF8",
    "collate": "C",
    "ctype": "C",
    "provider": "c",
    "locale": None,
    "rules": None,
    "owner": "shop",
    "tablespace": "fast",
    "connections": -1,
    "comment": None,
    "bytes": 1000,
    "grants": [],
    "settings": [],
    "roles": ["shop", "app"],
    "extensions": {"hstore": "1.8"},
    "tablespaces": ["large"],
}
MARK = ("1", 5, 1000, "x", True)
ITEMS = (1, "public", "items", "r", "", 8192, 1, ["a"])
COUNTER = (2, "public", "counter", "S", "", 0, 0, [])
ANSWERS: dict[str, list[tuple[Any, ...]]] = {
    "pg_is_in_recovery": [(False,)],
    "has_schema_privilege": [],
    "row_security_active": [],
    "pg_control_system": [MARK],
    "FROM pg_stat_user_tables": [("table public.items", 1, 10, 7)],
    "ev_action": [("99",)],
    "rolcreatedb": [(True, True)],
    "'grants'": [(PROPERTIES,)],
    "has_table_privilege\\('pg_authid'": [(True,)],
    "c.relkind IN \\('r', 'p', 'S'\\)": [ITEMS, COUNTER],
    "pg_export_snapshot": [("view-1", 1795290000.5)],
    "SELECT last_value": [(3, True)],
    "FROM pg_sequence": [(1, 1)],
    "pg_identify_object": [("indexes", 2, "77")],
    "has_table_privilege\\('pg_largeobject'": [(True,)],
    "pg_table_size\\('pg_largeobject'\\)": [(0,)],
    "FROM ONLY": [(4, "11")],
    "FROM pg_largeobject\\b": [(0, None)],
    "SELECT rolname": [("shop",), ("app",), ("postgres",)],
    "pg_available_extensions": [("hstore",)],
    "FROM pg_tablespace WHERE": [("fast",), ("large",)],
    "pg_prepared_xacts": [],
    "data_directory": [],
    "shobj_description\\(oid": [],
    "pg_terminate_backend": [],
    "pg_database_size\\(%s\\)": [(2**20,)],
    "SELECT FROM pg_database WHERE datname": [()],
}
CONTENTS = {
    "sequence public.counter": Content(3, None, at_least=True),
    "indexes": Content(2, "77"),
    "table public.items": Content(4, "11"),
    "large objects": Content(0, "0"),
}


class Session:
    """A connection whose answers are known; all sessions of a server write into one log."""

    server_version = 150020

    def __init__(self, server: Fake, database: str) -> None:
        self.server = server
        self.database = database
        self.info = SimpleNamespace(parameter_status=lambda _name: server.version)
        self._found: list[tuple[Any, ...]] = []

    def cursor(self) -> Session:
        return self

    def __enter__(self) -> Session:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        pass

    def execute(self, query: str, _values: Sequence[Any] | None = None) -> None:
        self.server.log.append((self.database, " ".join(query.split())))
        for pattern, answer in self.server.answers.items():
            if re.search(pattern, query):
                found = answer() if callable(answer) else answer
                if isinstance(found, Exception):
                    raise found
                self._found = found
                return
        self._found = []

    def fetchall(self) -> list[tuple[Any, ...]]:
        return self._found

    def cancel(self) -> None:
        self.server.log.append((self.database, "cancelled"))

    def close(self) -> None:
        self.server.log.append((self.database, "closed"))


class Fake:
    """A server, and the tools that were run for it."""

    def __init__(self) -> None:
        self.answers: dict[str, Any] = dict(ANSWERS)
        self.version = "15.20 (Debian 15.20-0+deb12u1)"
        self.log: list[tuple[str, str]] = []
        self.tools: list[list[str]] = []

    def connect(self, _server: Any, database: str) -> Session:
        self.log.append((database, "connected"))
        return Session(self, database)

    def said(self, word: str) -> list[tuple[str, str]]:
        return [(database, query) for database, query in self.log if word in query]


class Ran:
    """A tool that has ended well as soon as it is asked."""

    def __init__(self, argv: Sequence[str], *_more: Any, **_named: Any) -> None:
        Ran.server.tools.append(list(argv))

    server: Fake

    def __enter__(self) -> Ran:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        pass

    def ended(self, _seconds: float) -> bool:
        return True

    def wait(self, look: Any) -> None:
        look()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Fake:
    fake = Fake()
    Ran.server = fake
    monkeypatch.setattr(postgresql, "HAS_PSYCOPG2", True)
    for module in (postgresql, _postgresql_contents, _postgresql_restore):
        monkeypatch.setattr(module, "connect", fake.connect)
    for module in (postgresql, _postgresql_restore):
        monkeypatch.setattr(module, "Tool", Ran)
    monkeypatch.setattr(_postgresql_contents.time, "sleep", lambda _seconds: None)
    monkeypatch.setattr(_postgresql_server.Tools, "_find", lambda _self, tool: (f"/bin/{tool}", "15.20"))
    return fake


@pytest.fixture
def said() -> list[str]:
    return []


def _engine(said: list[str], **options: Any) -> postgresql.PostgreSQL:
    given = {"database": "shop", "host": "db.example", "port": 5432, "user": "postgres", "jobs": 2, **options}
    return postgresql.PostgreSQL(given, said.append)


@pytest.fixture
def taken(server: Fake, tmp_path: Path) -> Taken:
    found = _engine([]).take(tmp_path)
    server.log.clear()
    server.tools.clear()
    return found


def test_check_passes(server: Fake, said: list[str]) -> None:
    _engine(said).check()
    assert server.tools == []


@pytest.mark.parametrize(
    ("pattern", "answer", "message"),
    [
        ("pg_is_in_recovery", [(True,)], "db.example, port 5432 is a standby: nothing can be restored there"),
        ("has_schema_privilege", [("table a",)], "'postgres' may not read all of 'shop': table a. Grant it"),
        ("row_security_active", [("a",)], "Row-level security hides rows of a from 'postgres'"),
        # What is proven elsewhere could not be brought back here.
        ("rolcreatedb", [(False, True)], "'postgres' may not make a database on db.example, port 5432, or not rename"),
        ("rolcreatedb", [(True, False)], "or not rename 'shop', which a restore does. Give the role CREATEDB"),
        ("has_schema_privilege", _postgresql_server.DriverError("gone.\n"), "Looking at 'shop' failed: gone.$"),
    ],
)
def test_check_refuses(server: Fake, said: list[str], pattern: str, answer: Any, message: str) -> None:
    server.answers[pattern] = answer if isinstance(answer, list) else lambda: answer
    with pytest.raises(SnapshotError, match=message):
        _engine(said).check()


def test_old_server_is_refused(server: Fake, said: list[str]) -> None:
    server.version = "12.22"
    with pytest.raises(SnapshotError, match="db.example, port 5432 is PostgreSQL 12.22; 13 or newer is needed"):
        _engine(said).check()


def test_snapshot_is_of_one_moment(server: Fake, said: list[str], tmp_path: Path) -> None:
    found = _engine(said).take(tmp_path)
    assert found.contents == CONTENTS
    assert (found.consistent_at, found.point_in_time) == (1795290000.5, True)
    assert found.source == {"host": "db.example", "port": 5432, "database": "shop"}
    assert found.versions == {"PostgreSQL": "15.20", "pg_dump": "15.20"}
    assert found.mark["tables"] == {"table public.items": [1, 10, 7]}
    queries = [query for _database, query in server.log]
    # What is written between the mark and the view counts as written since; a lock after the view would come too late.
    order = ["pg_control_system", "LOCK TABLE ONLY", "pg_export_snapshot", "last_value", "FROM ONLY"]
    positions = [next(index for index, query in enumerate(queries) if word in query) for word in order]
    assert positions == sorted(positions)
    assert server.said("SET TRANSACTION SNAPSHOT 'view-1'")
    roles, dump = server.tools
    assert roles == ["/bin/pg_dumpall", "--globals-only", "--no-tablespaces", "--dbname=dbname='shop'"]
    assert dump[0] == "/bin/pg_dump"
    assert {"--snapshot=view-1", "--jobs=2", "--lock-wait-timeout=5s", "--dbname=dbname='shop'"} < set(dump)
    assert json.loads((tmp_path / "database.json").read_text()) == PROPERTIES
    assert (tmp_path / "database.json").stat().st_mode & 0o777 == 0o600


def test_role_that_may_not_see_passwords_dumps_none(server: Fake, said: list[str], tmp_path: Path) -> None:
    server.answers["has_table_privilege\\('pg_authid'"] = [(False,)]
    _engine(said).take(tmp_path)
    assert server.tools[0][-1] == "--no-role-passwords"


def test_tables_that_changed_before_they_were_locked_are_looked_for_again(
    server: Fake, said: list[str], tmp_path: Path
) -> None:
    other = (9, "public", "brief", "r", "", 0, 0, [])
    looks = iter([[ITEMS, COUNTER, other], [ITEMS, COUNTER]])
    server.answers["c.relkind IN \\('r', 'p', 'S'\\)"] = lambda: next(looks, [ITEMS, COUNTER])
    assert "table public.brief" not in _engine(said).take(tmp_path).contents
    assert len(server.said("pg_export_snapshot")) == 2


def test_tables_that_never_stay_are_told(server: Fake, said: list[str], tmp_path: Path) -> None:
    looks = ([ITEMS, (number, "public", f"t{number}", "r", "", 0, 0, [])] for number in range(100))
    server.answers["c.relkind IN \\('r', 'p', 'S'\\)"] = lambda: next(looks)
    with pytest.raises(SnapshotError, match="'shop' has other tables every time they are looked at .*Stop what"):
        _engine(said).take(tmp_path)


@pytest.mark.parametrize(
    ("problem", "views"), [("ERROR:  canceling statement due to statement timeout", 2), ("ERROR:  out of memory", 1)]
)
def test_who_waits_to_change_a_table_is_let_in_and_it_begins_again(
    server: Fake, said: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, problem: str, views: int
) -> None:
    problems = [SnapshotError(f"pg_dump failed with status 1: {problem}")]

    def ended(_self: Ran, _seconds: float) -> bool:
        if problems:
            raise problems.pop()
        return True

    monkeypatch.setattr(Ran, "ended", ended)
    with nullcontext() if views == 2 else pytest.raises(SnapshotError, match="out of memory"):
        assert _engine(said).take(tmp_path).contents == CONTENTS
    assert len(server.said("pg_export_snapshot")) == views


def test_digest_that_fails_fails_the_snapshot(server: Fake, said: list[str], tmp_path: Path) -> None:
    server.answers["FROM ONLY"] = lambda: _postgresql_server.DriverError("out of memory")
    with pytest.raises(SnapshotError, match="Reading table public.items failed: out of memory"):
        _engine(said).take(tmp_path)


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def cluster(*_given: Any) -> Iterator[_postgresql_server.Server]:
        yield _postgresql_server.Server("/scratch", 5432, "bluegreen_scratch")

    monkeypatch.setattr(_postgresql_scratch, "can_run", lambda _tools, _account: True)
    monkeypatch.setattr(_postgresql_scratch, "cluster", cluster)


@pytest.mark.usefixtures("elsewhere")
def test_proof_in_a_server_of_its_own(server: Fake, taken: Taken, said: list[str], tmp_path: Path) -> None:
    server.answers["SELECT rolname"] = [("shop",)]
    with _engine(said).scratch(tmp_path, taken) as found:
        assert found == CONTENTS
        [name] = {database for database, _query in server.log if database.startswith("bluegreen_restore_")}
        assert not server.said("DROP DATABASE")
    assert server.said("CREATE ROLE") == [("postgres", 'CREATE ROLE "app"')]
    [(_database, creation)] = server.said("CREATE DATABASE")
    assert creation.startswith(f'CREATE DATABASE "{name}" TEMPLATE template0 OWNER "shop"')
    assert "TABLESPACE" not in creation
    [restore] = server.tools
    assert {"--exit-on-error", "--no-publications", "--no-subscriptions", "--no-tablespaces"} < set(restore)
    assert server.said("DROP DATABASE") == [("postgres", f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')]


@pytest.mark.usefixtures("elsewhere")
def test_proof_in_the_same_server(server: Fake, taken: Taken, said: list[str], tmp_path: Path) -> None:
    with _engine(said, scratch="database").scratch(tmp_path, taken) as found:
        assert found == CONTENTS
    assert not server.said("CREATE ROLE")
    assert server.said("CREATE DATABASE")[0][1].endswith('TABLESPACE "fast"')


def test_proof_that_is_impossible_is_refused(
    server: Fake, taken: Taken, said: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_postgresql_scratch, "can_run", lambda _tools, _account: False)
    with (
        pytest.raises(SnapshotError, match="A scratch server needs initdb and postgres of version 15"),
        _engine(said, scratch="server").scratch(tmp_path, taken),
    ):
        pass
    assert server.tools == []


def test_snapshot_without_its_description_is_not_whole(
    server: Fake, taken: Taken, said: list[str], tmp_path: Path
) -> None:
    (tmp_path / "database.json").unlink()
    with pytest.raises(SnapshotError, match="The snapshot is not whole: .*database.json cannot be read"):
        _engine(said).restore(tmp_path, taken)
    assert server.tools == []


def test_restore_swaps_in_one_transaction_after_it_was_compared(
    server: Fake, taken: Taken, said: list[str], tmp_path: Path
) -> None:
    [left] = _engine(said).restore(tmp_path, taken).kept
    assert [tool[0] for tool in server.tools] == ["/bin/pg_restore", "/bin/vacuumdb"]
    [name] = {database for database, _query in server.log if database.startswith("bluegreen_restore_")}
    last = max(index for index, (_database, query) in enumerate(server.log) if query == "BEGIN")
    swap = [query for _database, query in server.log[last:] if "RENAME" in query or query == "COMMIT"]
    [kept] = re.findall(r'RENAME TO "(shop_before_\w+)"', swap[0])
    assert swap == [
        f'ALTER DATABASE "shop" RENAME TO "{kept}"',
        f'ALTER DATABASE "{name}" RENAME TO "shop"',
        "COMMIT",
    ]
    compared = max(index for index, (_database, query) in enumerate(server.log) if "FROM ONLY" in query)
    assert compared < last
    assert left.endswith(f'DROP DATABASE "{kept}"')


def test_restore_of_a_database_that_is_gone(server: Fake, taken: Taken, said: list[str], tmp_path: Path) -> None:
    server.answers["SELECT FROM pg_database WHERE datname"] = []
    assert _engine(said).restore(tmp_path, taken).kept == []
    assert len(server.said("RENAME")) == 1


def test_restore_that_is_not_the_same_leaves_what_was_there(
    server: Fake, taken: Taken, said: list[str], tmp_path: Path
) -> None:
    server.answers["FROM ONLY"] = [(3, "11")]
    with pytest.raises(SnapshotError, match="is not what the snapshot had: table public.items has 3, and had 4"):
        _engine(said).restore(tmp_path, taken)
    assert not server.said("RENAME")
    assert len(server.said("DROP DATABASE")) == 1


def test_what_killed_restores_left_is_dropped(server: Fake, taken: Taken, said: list[str], tmp_path: Path) -> None:
    server.answers["shobj_description\\(oid"] = [("bluegreen_restore_old",)]
    _engine(said).restore(tmp_path, taken)
    assert ("postgres", 'DROP DATABASE IF EXISTS "bluegreen_restore_old"') in server.log


@pytest.mark.parametrize(
    ("pattern", "answer", "message"),
    [
        ("rolcreatedb", [(False, True)], "'postgres' may not make a database on db.example, .* Nothing was changed"),
        ("rolcreatedb", [(True, False)], "or not rename 'shop', which a restore does. Give the role CREATEDB"),
        ("SELECT rolname", [("shop",)], "does not have them any more: app. Create them, as globals.sql"),
        ("pg_available_extensions", [], "does not have these extensions any more: hstore"),
        ("pg_is_in_recovery", [(True,)], "db.example, port 5432 is a standby: nothing can be restored there"),
        ("FROM pg_tablespace WHERE", [("large",)], "these tablespaces any more, or 'postgres' may not .*: fast. Make"),
        ("FROM pg_tablespace WHERE", [("fast",)], "these tablespaces any more, or 'postgres' may not .*: large. Make"),
        ("pg_prepared_xacts", [("tx",)], "'shop' has prepared transactions, .*: tx. COMMIT PREPARED or ROLLBACK"),
    ],
)
def test_restore_is_refused_before_anything_is_touched(
    server: Fake, taken: Taken, said: list[str], tmp_path: Path, pattern: str, answer: Any, message: str
) -> None:
    server.answers[pattern] = answer
    for refuses in (_engine(said).check_restore, _engine(said).restore):
        with pytest.raises(SnapshotError, match=message):
            refuses(tmp_path, taken)
    assert server.tools == []
    assert not server.said("CREATE DATABASE")


def test_a_database_is_only_put_back_where_it_was_taken_from(
    server: Fake, taken: Taken, said: list[str], tmp_path: Path
) -> None:
    other = _engine(said, database="other")
    attempts = (
        lambda: other.check_source(taken),
        lambda: other.check_restore(tmp_path, taken),
        lambda: other.restore(tmp_path, taken),
    )
    for attempt in attempts:
        with pytest.raises(SnapshotError, match="of the database 'shop', and not of 'other': .* Nothing was changed"):
            attempt()
    assert (server.tools, server.log) == ([], [])


def test_a_snapshot_is_of_a_server_whatever_its_address_is(
    server: Fake, taken: Taken, said: list[str], tmp_path: Path
) -> None:
    """Another host has taken over as the primary; or the inventory named another server by mistake."""
    moved = _engine(said, host="db2.example")
    moved.check_source(taken)
    server.answers["pg_control_system"] = [("2", *MARK[1:])]
    _engine(said).check_source(taken)
    with pytest.raises(SnapshotError, match="of the server at db.example, port 5432, and db2.example, .* is another"):
        moved.check_source(taken)
    # A server that was lost is no reason not to go back.
    moved.check_restore(tmp_path, taken)


def test_restore_into_an_older_server_is_refused(server: Fake, taken: Taken, said: list[str], tmp_path: Path) -> None:
    server.version = "14.1"
    with pytest.raises(SnapshotError, match="The snapshot is of PostgreSQL 15, and db.example, port 5432 is older: 14"):
        _engine(said).restore(tmp_path, taken)


def test_restore_looks_at_the_disk_of_a_server_that_is_here(
    server: Fake, taken: Taken, said: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.answers["data_directory"] = [(str(tmp_path),)]
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: SimpleNamespace(free=10))
    with pytest.raises(SnapshotError, match="Restoring 'shop' beside the one in use needs 0 MiB, and the disk of"):
        _engine(said, host="/run/postgresql", user="nobody-of-this-host").restore(tmp_path, taken)


def test_definitions_that_changed_are_told_of_the_very_same_database(
    server: Fake, taken: Taken, said: list[str]
) -> None:
    """R-E7: a view or a grant that green has changed comes back, too."""
    assert _engine(said).also_differs(taken) == []
    server.answers["ev_action"] = [("98",)]
    assert _engine(said).also_differs(taken) == ["definitions are others than they were"]
    assert _engine(said).written_since(taken) == [Written("definitions", "changed, at least", 1)]
    # What was restored has other rows in its catalogue, and an older snapshot has not kept what they were.
    older = replace(taken, mark={name: one for name, one in taken.mark.items() if name != "defined"})
    assert _engine(said).also_differs(older) == []
    server.answers["pg_control_system"] = [("1", 6, *MARK[2:])]
    assert _engine(said).also_differs(taken) == []


@pytest.mark.usefixtures("server")
def test_nothing_written_is_told_only_when_it_is_certain(taken: Taken, said: list[str]) -> None:
    assert _engine(said).written_since(taken) == []
    assert said == ["comparing shop with its snapshot"]


def test_what_counters_do_not_tell_is_found_by_comparing(server: Fake, taken: Taken, said: list[str]) -> None:
    server.answers["pg_control_system"] = [("1", 5, 1500, "x", True)]
    server.answers["pg_identify_object"] = [("indexes", 3, "78")]
    found = [(one.name, one.what, one.count) for one in _engine(said).written_since(taken)]
    assert found == [("indexes", "more", 1), ("server", "bytes of WAL, of all databases", 500)]


def test_what_counters_tell_is_not_compared(server: Fake, taken: Taken, said: list[str]) -> None:
    server.answers["FROM pg_stat_user_tables"] = [("table public.items", 1, 10, 9)]
    [one] = _engine(said).written_since(taken)
    assert (one.name, one.count) == ("table public.items", 2)
    assert said == []


class Process:
    """What subprocess would start."""

    def __init__(self, argv: list[str], **given: Any) -> None:
        Process.argv, Process.given = argv, given
        given["stderr"].write(Process.says)
        given["stderr"].flush()
        self.returncode: int | None = None
        self.pid = 4711
        self.signals: list[int] = []

    argv: list[str]
    given: dict[str, Any]
    status: int | None
    says: bytes

    def wait(self, timeout: float | None = None) -> int:
        if self.status is None and not self.signals:
            raise subprocess.TimeoutExpired(self.argv, timeout or 0)
        return self.status or 0

    def poll(self) -> int | None:
        return self.status

    def send_signal(self, number: int) -> None:
        self.signals.append(number)


@pytest.fixture
def process(monkeypatch: pytest.MonkeyPatch) -> type[Process]:
    monkeypatch.setattr(_postgresql_server.subprocess, "Popen", Process)
    Process.status, Process.says = 0, b"pg_dump: error: it says why\n"
    return Process


def test_tool_dies_with_us_and_has_its_password_in_a_file_without_a_name(
    process: type[Process], tmp_path: Path
) -> None:
    secret = _postgresql_server.Server("db", 5432, "shop", "hunter2")
    with _postgresql_server.Tool(["/bin/pg_dump", f"--file={_postgresql_server.FOLDER}"], secret, tmp_path) as tool:
        assert tool.ended(1)
    assert process.argv[:2] == ["setpriv", "--pdeathsig=TERM"]
    assert re.fullmatch(r"--file=/proc/self/fd/\d+", process.argv[-1])
    assert tool.command == f"/bin/pg_dump --file={tmp_path}"
    variables = process.given["env"]
    assert variables["PGPASSFILE"].startswith("/proc/self/fd/")
    assert "hunter2" not in str(process.argv) + str(variables)
    assert len(process.given["pass_fds"]) == 2


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (1, "pg_dump failed with status 1: pg_dump: error: it says why"),
        (-9, "pg_dump was ended by SIGKILL: pg_dump: error: it says why"),
    ],
)
def test_tool_that_fails_says_why(process: type[Process], status: int, message: str) -> None:
    process.status = status
    server = _postgresql_server.Server("db", 5432, "shop")
    with (
        pytest.raises(SnapshotError, match=message),
        _postgresql_server.Tool(["/bin/pg_dump"], server) as tool,
    ):
        tool.wait(lambda: None)


def test_rows_and_statements_are_in_no_message(process: type[Process]) -> None:
    """C1: what a server says of a row or of a statement would come into logs, journals and hooks."""
    process.status, process.says = (
        1,
        b"""alice\", \"S3CRET\"
pg_restore: error: COPY failed for table "u": ERROR:  new row violates check constraint "c"
DETAIL:  Failing row contains (alice, S3CRET
S3CRET).
CONTEXT:  COPY u, line 1: "alice\tS3CRET"
pg_restore: error: could not execute query: ERROR:  server "s" does not exist
LINE 1: CREATE USER MAPPING FOR x SERVER s OPTIONS (password 'S3CRET')
Command was: CREATE USER MAPPING FOR x SERVER s OPTIONS (
    password 'S3CRET');
pg_restore: detail: Command was: ALTER SUBSCRIPTION s CONNECTION 'password=S3CRET'
/bin/pg_restore: error while loading shared libraries
""",
    )
    server = _postgresql_server.Server("db", 5432, "shop")
    with pytest.raises(SnapshotError) as told, _postgresql_server.Tool(["/bin/pg_restore"], server) as tool:
        tool.wait(lambda: None)
    assert told.value.message.removeprefix("pg_restore failed with status 1: ").splitlines() == [
        'pg_restore: error: COPY failed for table "u": ERROR:  new row violates check constraint "c"',
        'pg_restore: error: could not execute query: ERROR:  server "s" does not exist',
        "/bin/pg_restore: error while loading shared libraries",
    ]


def test_a_session_that_fails_tells_neither_rows_nor_statements() -> None:
    its = SimpleNamespace(message_primary="syntax error", message_hint="Look.")
    refused = type("Refused", (_postgresql_server.DriverError,), {"diag": its})
    told = pytest.raises(SnapshotError, match=r"^Doing it failed: syntax error\. Look\.$")
    with told, _postgresql_server.explained("Doing it"):
        raise refused("syntax error\nLINE 1: ALTER DATABASE x SET a.key TO 'S3CRET'")


def test_what_a_scratch_server_logs_at_its_start_is_told(process: type[Process]) -> None:
    process.says = b"2026-11-22 08:00:00.000 UTC [12] FATAL:  no memory\n2026-11-22 08:00:00.000 UTC [12] DETAIL:  x\n"
    with _postgresql_server.Tool(["/bin/postgres"], _postgresql_server.Server(None, 1, "x")) as tool:
        assert tool.said() == "2026-11-22 08:00:00.000 UTC [12] FATAL:  no memory"


def test_tool_that_runs_is_ended_with_its_block(process: type[Process]) -> None:
    process.status = None
    with _postgresql_server.Tool(["/bin/pg_dump"], _postgresql_server.Server("db", 1, "x"), nice=10) as tool:
        assert not tool.ended(0)
    assert tool._process.signals == [15]  # type: ignore[attr-defined]
    assert process.argv[:3] == ["nice", "-n", "10"]
