# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""PostgreSQL: one database, written by the server's own ``pg_dump``, and read by us in the same view of the data.

In the folder: ``dump/`` (pg_dump's directory format), ``globals.sql`` (roles), ``database.json`` (what belongs to the
database and is not in a dump of it).
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import missing_required_lib
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.artifact import differences, some
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import SnapshotError
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.sql import identifier
from ansible_collections.bluegreen.cutover.plugins.module_utils._secrets import read_secret
from ansible_collections.bluegreen.cutover.plugins.module_utils._snapshots import (
    Content,
    Left,
    Notes,
    Progress,
    Taken,
    Written,
)
from ansible_collections.bluegreen.cutover.plugins.module_utils._snapshots import _postgresql_scratch as scratching
from ansible_collections.bluegreen.cutover.plugins.module_utils._snapshots._postgresql_contents import (
    View,
    read_contents,
)
from ansible_collections.bluegreen.cutover.plugins.module_utils._snapshots._postgresql_restore import (
    DEFAULT_TABLESPACE,
    Restored,
    describe,
    described,
    maintenance,
)
from ansible_collections.bluegreen.cutover.plugins.module_utils._snapshots._postgresql_server import (
    FOLDER,
    HAS_PSYCOPG2,
    SILENCE,
    Server,
    Tool,
    Tools,
    account_of,
    connect,
    conninfo,
    explained,
    lent,
    major_of,
    rows,
    since,
    size_of,
    version_of,
)
from ansible_collections.bluegreen.cutover.plugins.module_utils._snapshots._postgresql_written import (
    THE_SERVER,
    compare_marks,
    read_mark,
    redefined,
    what_differs,
)
from ansible_collections.bluegreen.cutover.plugins.module_utils._snapshots._shared import require_space

#: The files of a snapshot.
DUMP = "dump"
ROLES = "globals.sql"
PROPERTIES = "database.json"

OPTIONS: dict[str, Any] = {
    "database": {"type": "str", "required": True},
    "host": {"type": "str"},
    "port": {"type": "int", "default": 5432},
    "user": {"type": "str", "default": "postgres"},
    "password_file": {"type": "path", "no_log": False},
    "ssl_mode": {"type": "str", "choices": ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"]},
    "ca_cert": {"type": "path"},
    "jobs": {"type": "int"},
    "tools": {"type": "path"},
    "scratch": {"type": "str", "choices": ["server", "database"]},
    "scratch_directory": {"type": "path", "default": scratching.DIRECTORY},
}

#: The oldest major version whose catalogue this reads.
OLDEST = 13
#: Busy sessions at most, if not told otherwise: more are sooner done, and leave less to everybody else.
JOBS = 2
#: How long pg_dump waits for a lock. Our own is there already, so that it only waits behind somebody who waits for us.
LOCK_WAIT = "5s"
#: How often it begins again behind such a one.
ATTEMPTS = 6
# pg_dump bounds its wait for locks by the time of a statement; its workers do not wait at all.
_WAITED = re.compile(r"statement timeout|lock timeout|could not obtain lock")
#: A restore needs so many times the bytes that the database had: indexes are built by sorting.
ROOM = 1.2

_UNREADABLE = """
SELECT 'schema ' || nspname FROM pg_namespace
WHERE nspname !~ '^pg_' AND nspname <> 'information_schema' AND NOT has_schema_privilege(oid, 'USAGE')
UNION ALL
SELECT CASE relkind WHEN 'S' THEN 'sequence ' ELSE 'table ' END || oid::regclass FROM pg_class
WHERE relkind IN ('r', 'p', 'S') AND relpersistence <> 't' AND relnamespace <> 'information_schema'::regnamespace
  AND relnamespace::regnamespace::text !~ '^"?pg_' AND NOT has_table_privilege(oid, 'SELECT')
"""
_MAY_REPLACE = """
SELECT rolsuper OR rolcreatedb,
       coalesce((SELECT pg_has_role(datdba, 'USAGE') FROM pg_database WHERE datname = %s), true)
FROM pg_roles WHERE rolname = current_user
"""
_USABLE_TABLESPACES = "SELECT spcname FROM pg_tablespace WHERE has_tablespace_privilege(oid, 'CREATE')"
_ROW_SECURITY = "SELECT oid::regclass::text FROM pg_class WHERE relrowsecurity AND row_security_active(oid)"


class PostgreSQL:
    """One database; see ``Engine``."""

    name = "postgresql"
    apart = True

    def __init__(self, options: Mapping[str, Any], progress: Progress) -> None:
        if not HAS_PSYCOPG2:
            raise SnapshotError(missing_required_lib("psycopg2"))
        host, user = options.get("host"), str(options["user"])
        password = read_secret(options.get("password_file"), f"password of {user}", SnapshotError)
        self._database = str(options["database"])
        if not self._database or "\0" in self._database:
            raise SnapshotError(f"{self._database!r} is not the name of a database.")
        self._server = Server(
            host,
            int(options["port"]),
            user,
            password,
            options.get("ssl_mode"),
            options.get("ca_cert"),
            account_of(host, user, password),
        )
        jobs = options.get("jobs")
        self._jobs = min(JOBS, os.cpu_count() or 1) if jobs is None else int(jobs)
        if self._jobs < 1:
            raise SnapshotError(f"jobs is {jobs}; at least one session is needed.")
        self._tools_folder = options.get("tools")
        self._scratch = options.get("scratch")
        self._scratch_directory = str(options.get("scratch_directory") or scratching.DIRECTORY)
        self._progress = progress

    def remove_left(self, _notes: Notes) -> list[str]:
        return []

    def check(self) -> None:
        with closing(connect(self._server, self._database)) as session, explained(f"Looking at {self._database!r}"):
            tools = self._tools_of(session)
            for tool in ("pg_dump", "pg_dumpall", "pg_restore"):
                tools.path(tool)
            closed = [name for (name,) in rows(session, _UNREADABLE)]
            if closed:
                raise SnapshotError(
                    f"{self._server.user!r} may not read all of {self._database!r}: {some(closed)}. Grant it, or name "
                    "a superuser in the option user."
                )
            hidden = [name for (name,) in rows(session, _ROW_SECURITY)]
            if hidden:
                raise SnapshotError(
                    f"Row-level security hides rows of {some(hidden)} from {self._server.user!r}: the snapshot would "
                    "not be whole. Give the role BYPASSRLS, or name a superuser in the option user."
                )
            self._check_may_replace(session)

    def take(self, folder: Path) -> Taken:
        with ExitStack() as stack:
            session = stack.enter_context(closing(connect(self._server, self._database)))
            stack.enter_context(explained(f"Reading {self._database!r}"))
            tools = self._tools_of(session)
            # Before the view begins: what is written in between counts as written since.
            mark = read_mark(session)
            describe(session, folder / PROPERTIES)
            self._dump_roles(tools, session, folder / ROLES)
            contents, at = self._read(tools, folder / DUMP)
            return Taken(
                source=self._source,
                versions={"PostgreSQL": _version(session), "pg_dump": tools.version("pg_dump")},
                consistent_at=at,
                point_in_time=True,
                contents=contents,
                mark=mark,
            )

    @contextmanager
    def scratch(self, folder: Path, taken: Taken) -> Iterator[Mapping[str, Content]]:
        properties = described(folder / PROPERTIES)
        tools = Tools(major_of(taken.versions["pg_dump"]), self._tools_folder)
        possible = scratching.can_run(tools, self._server.account)
        if self._scratch == "server" and not possible:
            raise SnapshotError(
                f"A scratch server needs initdb and postgres of version {tools.major} on this host, and an account to "
                "run them. Install the server's package, or set scratch to database."
            )
        with ExitStack() as stack:
            if elsewhere := possible and self._scratch != "database":
                make = scratching.cluster(
                    tools,
                    self._server.account,
                    self._scratch_directory,
                    int(properties["bytes"] * ROOM),
                    self._progress,
                )
                server = stack.enter_context(make)
            else:
                server = self._server
            restored = stack.enter_context(
                Restored(server, tools, properties, self._jobs, self._progress, elsewhere=elsewhere)
            )
            # Nothing in it may reach out to another server, or to a disk of the real one.
            without = ("--no-publications", "--no-subscriptions", "--no-tablespaces")
            restored.fill(folder / DUMP, without, scratching.NICE if elsewhere else 0)
            yield restored.contents()

    def check_source(self, taken: Taken) -> None:
        self._check_database(taken)
        if taken.source == self._source:
            return
        # A primary that another host has taken over from, or the same one by another name.
        if self._mark()["system"] != taken.mark["system"]:
            raise SnapshotError(
                f"The snapshot is of the server at {taken.source['host']}, port {taken.source['port']}, and "
                f"{self._server.name} is another one."
            )

    def check_restore(self, folder: Path, taken: Taken) -> None:
        self._tools_to_restore(described(folder / PROPERTIES), taken)

    def restore(self, folder: Path, taken: Taken) -> Left:
        properties = described(folder / PROPERTIES)
        tools = self._tools_to_restore(properties, taken)
        with Restored(self._server, tools, properties, self._jobs, self._progress) as restored:
            restored.fill(folder / DUMP)
            found = restored.contents()
            if differing := differences(taken.contents, found):
                raise SnapshotError(
                    f"What was restored of {self._database!r} is not what the snapshot had: {some(differing)}. It was "
                    "removed again, and the database is as it was.",
                    {"differences": differing},
                )
            restored.analyze()
            kept = restored.take_the_place_of(self._database)
        if not kept:
            return Left()
        drop = f"DROP DATABASE {identifier(kept)}"
        return Left([f"what {self._database} was until now is the database {kept}. When nobody needs it: {drop}"])

    def contents(self) -> Mapping[str, Content]:
        return read_contents(self._server, self._database, self._jobs, self._progress)

    def also_differs(self, taken: Taken) -> list[str]:
        return ["definitions are others than they were"] if redefined(taken.mark, self._mark()) else []

    def written_since(self, taken: Taken) -> list[Written]:
        now = self._mark()
        changed = [Written("definitions", "changed, at least", 1)] if redefined(taken.mark, now) else []
        written, doubtful = compare_marks(taken.mark, now)
        known = {one.name for one in written if one.name != THE_SERVER}
        if known and not doubtful:
            return [*changed, *written]
        # Counters tell nothing of what they lost, of definitions, and of a value that a sequence gave out.
        self._progress(f"comparing {self._database} with its snapshot")
        differing = what_differs(taken.contents, self.contents(), known)
        return [*differing, *changed, *written] if differing or changed or known else []

    def _mark(self) -> dict[str, Any]:
        with closing(connect(self._server, self._database)) as session, explained(f"Looking at {self._database!r}"):
            return read_mark(session)

    @property
    def _source(self) -> dict[str, Any]:
        server = self._server
        return {"host": server.host or "local socket", "port": server.port, "database": self._database}

    def _check_database(self, taken: Taken) -> None:
        if taken.source["database"] != self._database:
            raise SnapshotError(
                f"The snapshot is of the database {taken.source['database']!r}, and not of {self._database!r}: it is "
                "only put back where it was taken from. Nothing was changed."
            )

    def _tools_of(self, session: Any) -> Tools:
        version = _version(session)
        if major_of(version) < OLDEST:
            raise SnapshotError(f"{self._server.name} is PostgreSQL {version}; {OLDEST} or newer is needed.")
        return Tools(major_of(version), self._tools_folder)

    def _read(self, tools: Tools, folder: Path) -> tuple[dict[str, Content], float]:
        """Dump into ``folder``: the contents, and the moment that they show, in unix seconds.

        Whoever waits to change a table waits for our view, and pg_dump waits behind him: then he is let in first.
        """
        attempt = 1
        while True:
            with View(self._server, self._database, 1 + max(1, self._jobs // 2)) as view:
                contents = {**view.sequences(), **view.definitions()}
                try:
                    return contents | self._dump(tools, folder, view), view.at
                except SnapshotError as error:
                    if attempt == ATTEMPTS or not _WAITED.search(error.message):
                        raise
            self._progress(f"somebody waits to change a table of {self._database}: he is let in, and it begins again")
            shutil.rmtree(folder)
            attempt += 1

    def _dump(self, tools: Tools, folder: Path, view: View) -> dict[str, Content]:
        """Dump what ``view`` shows, and digest it meanwhile: that takes half as many sessions, and is done first."""
        start = time.monotonic()
        folder.mkdir(mode=0o700)
        argv = [tools.path("pg_dump"), "--format=directory", f"--jobs={self._jobs}", "--compress=1"]
        argv += [f"--snapshot={view.id}", f"--lock-wait-timeout={LOCK_WAIT}", f"--file={FOLDER}"]
        argv += [f"--dbname={conninfo(self._database)}"]
        with ExitStack() as stack:
            stack.enter_context(lent(folder, self._server.account))
            tool = stack.enter_context(Tool(argv, self._server, folder))
            digests = stack.enter_context(view.digesting())
            # Both are asked each time: one that failed ends the other.
            while not all([tool.ended(SILENCE / 2), digests.ended(SILENCE / 2)]):
                size = size_of(folder) / 2**20
                self._progress(f"dumping {self._database}: {size:.0f} MiB, {digests.said()}, {since(start)}")
            return digests.contents()

    def _dump_roles(self, tools: Tools, session: Any, path: Path) -> None:
        argv = [tools.path("pg_dumpall"), "--globals-only", "--no-tablespaces", f"--dbname={conninfo(self._database)}"]
        [(allowed,)] = rows(session, "SELECT has_table_privilege('pg_authid', 'SELECT')")
        if not allowed:
            argv.append("--no-role-passwords")
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with open(descriptor, "wb") as file, Tool(argv, self._server, output=file) as tool:
            tool.wait(lambda: self._progress("dumping roles"))

    def _check_may_replace(self, session: Any) -> None:
        [(standby,)] = rows(session, "SELECT pg_is_in_recovery()")
        if standby:
            raise SnapshotError(
                f"{self._server.name} is a standby: nothing can be restored there. Name the primary server."
            )
        if not all(rows(session, _MAY_REPLACE, [self._database])[0]):
            raise SnapshotError(
                f"{self._server.user!r} may not make a database on {self._server.name}, or not rename "
                f"{self._database!r}, which a restore does. Give the role CREATEDB and make it the owner, or name a "
                "superuser in the option user. Nothing was changed."
            )

    def _tools_to_restore(self, properties: Mapping[str, Any], taken: Taken) -> Tools:
        """The tools for it. Raises, before anything is touched, what would keep a restore from succeeding."""
        # Of the database alone: it may be that its server was lost, and this is a new one.
        self._check_database(taken)
        looking = explained(f"Looking at {self._server.name}")
        with looking, closing(connect(self._server, maintenance(self._database))) as session:
            tools = self._tools_of(session)
            self._require_needs(session, properties, taken, tools)
            return tools

    def _require_needs(self, session: Any, needs: Mapping[str, Any], taken: Taken, tools: Tools) -> None:
        version = major_of(taken.versions["pg_dump"])
        if tools.major < version:
            raise SnapshotError(
                f"The snapshot is of PostgreSQL {version}, and {self._server.name} is older: {tools.major}."
            )
        for tool in ("pg_restore", "vacuumdb"):
            tools.path(tool)
        self._check_may_replace(session)
        there = {name for (name,) in rows(session, "SELECT rolname FROM pg_roles")}
        if missing := sorted(set(needs["roles"]) - there):
            raise SnapshotError(
                f"These roles have something in the snapshot, and {self._server.name} does not have them any more: "
                f"{some(missing)}. Create them, as {ROLES} in the artifact's folder has them, and try again."
            )
        there = {name for (name,) in rows(session, "SELECT name FROM pg_available_extensions")}
        if missing := sorted(set(needs["extensions"]) - there):
            raise SnapshotError(f"{self._server.name} does not have these extensions any more: {some(missing)}.")
        may = {name for (name,) in rows(session, _USABLE_TABLESPACES)}
        if missing := sorted((set(needs.get("tablespaces", ())) | {needs["tablespace"]} - {DEFAULT_TABLESPACE}) - may):
            raise SnapshotError(
                f"{self._server.name} does not have these tablespaces any more, or {self._server.user!r} may not "
                f"create anything in them: {some(missing)}. Make them, or grant CREATE on them; nothing was changed."
            )
        prepared = rows(session, "SELECT gid FROM pg_prepared_xacts WHERE database = %s", [self._database])
        if prepared:
            raise SnapshotError(
                f"{self._database!r} has prepared transactions, and cannot be replaced before they end: "
                f"{some([gid for (gid,) in prepared])}. COMMIT PREPARED or ROLLBACK PREPARED them."
            )
        [(directory,)] = rows(session, "SELECT setting FROM pg_settings WHERE name = 'data_directory'") or [(None,)]
        if self._server.is_here and directory and Path(directory).is_dir():
            need = int(needs["bytes"] * ROOM)
            purpose = f"Restoring {self._database!r} beside the one in use"
            require_space(Path(directory), need, purpose, "Free some.")


def _version(session: Any) -> str:
    return version_of(session.info.parameter_status("server_version"))
