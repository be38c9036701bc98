# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A PostgreSQL database that is brought back beside the one in use, and takes its place in one transaction."""

from __future__ import annotations

import json
import os
import secrets
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import SnapshotError
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.sql import identifier, literal
from ansible_collections.bluegreen.cutover.plugins.module_utils._snapshots import Content, Progress
from ansible_collections.bluegreen.cutover.plugins.module_utils._snapshots._postgresql_contents import read_contents
from ansible_collections.bluegreen.cutover.plugins.module_utils._snapshots._postgresql_server import (
    FOLDER,
    DriverError,
    Server,
    Tool,
    Tools,
    connect,
    conninfo,
    execute,
    explained,
    lent,
    rows,
    since,
)

#: What a database that is ours to drop begins with, and has as its comment.
PREFIX = "bluegreen_restore_"
MARK = "bluegreen.cutover: a restore that is under way, or was killed"
#: Where a database is for which none is named: only a superuser may name it.
DEFAULT_TABLESPACE = "pg_default"
#: Bytes of a name.
NAME_BYTES = 63
#: Seconds between two tries to send away who is connected to a database that is being renamed.
INSIST = 0.05

# Of settings that are lists, the catalogue has the text of SQL; of others, the value.
_LISTS = ("search_path", "temp_tablespaces", "local_preload_libraries", "session_preload_libraries")
# What cutover_freeze.read_only holds writers by, while a snapshot is taken. What is restored has to take writes.
_HELD = (None, "default_transaction_read_only", "on")

_PROPERTIES = """
SELECT jsonb_build_object(
    'name', d.datname,
    'encoding', pg_encoding_to_char(d.encoding),
    'collate', d.datcollate,
    'ctype', d.datctype,
    'provider', coalesce(to_jsonb(d)->>'datlocprovider', 'c'),
    'locale', coalesce(to_jsonb(d)->>'datlocale', to_jsonb(d)->>'daticulocale'),
    'rules', to_jsonb(d)->>'daticurules',
    'owner', pg_get_userbyid(d.datdba),
    'tablespace', t.spcname,
    'connections', d.datconnlimit,
    'comment', shobj_description(d.oid, 'pg_database'),
    'bytes', pg_database_size(d.oid),
    'grants', (SELECT jsonb_agg(jsonb_build_array(
                   CASE WHEN grantee = 0 THEN NULL ELSE pg_get_userbyid(grantee) END, privilege_type, is_grantable))
               FROM aclexplode(coalesce(d.datacl, acldefault('d', d.datdba)))),
    'settings', (SELECT coalesce(jsonb_agg(jsonb_build_array(
                     CASE WHEN setrole = 0 THEN NULL ELSE pg_get_userbyid(setrole) END,
                     split_part(one, '=', 1), substr(one, strpos(one, '=') + 1))), '[]')
                 FROM pg_db_role_setting, unnest(setconfig) AS one WHERE setdatabase = d.oid),
    'roles', (SELECT jsonb_agg(DISTINCT pg_get_userbyid(role)) FROM (
                  SELECT refobjid FROM pg_shdepend WHERE refclassid = 'pg_authid'::regclass
                         AND (dbid = d.oid OR classid = 'pg_database'::regclass AND objid = d.oid)
                  UNION ALL SELECT setrole FROM pg_db_role_setting WHERE setdatabase = d.oid AND setrole <> 0
                  UNION ALL SELECT 10 UNION ALL SELECT d.datdba) AS used (role)),
    'extensions', (SELECT jsonb_object_agg(extname, extversion) FROM pg_extension),
    'tablespaces', (SELECT coalesce(jsonb_agg(spcname), '[]') FROM pg_tablespace
                    WHERE oid IN (SELECT reltablespace FROM pg_class
                                  WHERE NOT relisshared AND relpersistence <> 't')))
FROM pg_database AS d JOIN pg_tablespace AS t ON t.oid = d.dattablespace
WHERE d.datname = current_database()
"""

_FORGOTTEN = """
SELECT datname FROM pg_database AS d
WHERE datname LIKE %s AND shobj_description(oid, 'pg_database') = %s
  AND NOT EXISTS (SELECT FROM pg_stat_activity WHERE datid = d.oid)
"""

_SEND_AWAY = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = ANY (%s)"


def describe(session: Any, path: Path) -> None:
    """Write what belongs to the session's database and is in no dump of it; a setting may be a secret."""
    [(properties,)] = rows(session, _PROPERTIES)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with open(descriptor, "w", encoding="utf-8") as file:
        json.dump(properties, file, indent=2, sort_keys=True)


def described(path: Path) -> dict[str, Any]:
    """Read what ``describe`` wrote. Raises SnapshotError."""
    try:
        properties: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SnapshotError(f"The snapshot is not whole: {path} cannot be read ({error}).") from error
    return properties


def creation(name: str, properties: Mapping[str, Any], tablespace: str) -> str:
    """The command that makes a database with what cannot be changed later, and its owner."""
    parts = [
        f"CREATE DATABASE {identifier(name)} TEMPLATE template0 OWNER {identifier(properties['owner'])}",
        f"ENCODING {literal(properties['encoding'])}",
        f"LC_COLLATE {literal(properties['collate'])} LC_CTYPE {literal(properties['ctype'])}",
    ]
    provider, locale = properties["provider"], properties["locale"]
    if provider == "i":
        parts.append(f"LOCALE_PROVIDER icu ICU_LOCALE {literal(locale)}")
        if properties["rules"]:
            parts.append(f"ICU_RULES {literal(properties['rules'])}")
    elif provider == "b":
        parts.append(f"LOCALE_PROVIDER builtin BUILTIN_LOCALE {literal(locale)}")
    if tablespace != DEFAULT_TABLESPACE:
        parts.append(f"TABLESPACE {identifier(tablespace)}")
    return " ".join(parts)


def finish(name: str, properties: Mapping[str, Any]) -> list[str]:
    """The commands that give a database the rest of what it had: grants, settings, limit, comment."""
    database = f"DATABASE {identifier(name)}"
    everybody = ["PUBLIC", identifier(properties["owner"])]
    commands = [f"REVOKE ALL ON {database} FROM {', '.join(everybody)}"]
    for grantee, privilege, grantable in properties["grants"] or []:
        to = "PUBLIC" if grantee is None else identifier(grantee)
        commands.append(f"GRANT {privilege} ON {database} TO {to}{' WITH GRANT OPTION' if grantable else ''}")
    for role, setting, value in properties["settings"]:
        if (role, setting, value) == _HELD:
            continue
        where = database if role is None else f"ROLE {identifier(role)} IN {database}"
        if setting in _LISTS:
            # Only the server itself reads its list as it wrote it. For this transaction alone.
            commands.append(f"SELECT set_config({literal(setting)}, {literal(value)}, true)")
            commands.append(f"ALTER {where} SET {setting} FROM CURRENT")
        else:
            quoted = ".".join(identifier(part) for part in setting.split("."))
            commands.append(f"ALTER {where} SET {quoted} TO {literal(value)}")
    commands.append(f"ALTER {database} CONNECTION LIMIT {int(properties['connections'])}")
    comment = properties["comment"]
    commands.append(f"COMMENT ON {database} IS {'NULL' if comment is None else literal(comment)}")
    return commands


def name_before(database: str, moment: str) -> str:
    """The name that a database is kept under when another one takes its place; a name has 63 bytes at most."""
    suffix = f"_before_{moment}"
    kept = database.encode()[: NAME_BYTES - len(suffix)].decode(errors="ignore")
    return kept + suffix


def maintenance(database: str) -> str:
    """A database to be connected to while ``database`` is renamed."""
    return "postgres" if database != "postgres" else "template1"


class Restored:
    """A database of its own name that a dump is restored into, and which is dropped afterwards unless it was of use.

    ``elsewhere``: the server is not the one that the dump came from, and has none of its roles and tablespaces.
    """

    def __init__(
        self,
        server: Server,
        tools: Tools,
        properties: Mapping[str, Any],
        jobs: int,
        progress: Progress,
        *,
        elsewhere: bool = False,
    ) -> None:
        self.name = PREFIX + secrets.token_hex(6)
        self._server = server
        self._tools = tools
        self._properties = properties
        self._jobs = jobs
        self._progress = progress
        self._elsewhere = elsewhere
        self._around = maintenance(properties["name"])
        self._open = ExitStack()
        self._in_use = ExitStack()

    def __enter__(self) -> Restored:
        with ExitStack() as stack:
            self._session = stack.enter_context(closing(connect(self._server, self._around)))
            stack.enter_context(self._in_use)
            with explained(f"Making a database beside {self._properties['name']!r}"):
                self._drop_forgotten()
                tablespace = self._properties["tablespace"]
                if self._elsewhere:
                    self._create_roles()
                    tablespace = DEFAULT_TABLESPACE
                stack.callback(self._drop)
                execute(self._session, creation(self.name, self._properties, tablespace))
                # Somebody is connected as long as it is in use: one that nobody uses is a forgotten one.
                self._in_use.enter_context(closing(connect(self._server, self.name)))
                execute(self._session, f"COMMENT ON DATABASE {identifier(self.name)} IS {literal(MARK)}")
            self._open = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._open.close()

    def _drop_forgotten(self) -> None:
        for (name,) in rows(self._session, _FORGOTTEN, [PREFIX.replace("_", r"\_") + "%", MARK]):
            execute(self._session, f"DROP DATABASE IF EXISTS {identifier(name)}")

    def _create_roles(self) -> None:
        there = {name for (name,) in rows(self._session, "SELECT rolname FROM pg_roles")}
        for role in self._properties["roles"]:
            if role not in there:
                execute(self._session, f"CREATE ROLE {identifier(role)}")

    def _drop(self) -> None:
        """Drop it, by a new session where the one that made it was lost; one that cannot be dropped is for later."""
        self._in_use.close()
        command = f"DROP DATABASE IF EXISTS {identifier(self.name)} WITH (FORCE)"
        try:
            execute(self._session, command)
        except DriverError:
            with suppress(DriverError, SnapshotError), closing(connect(self._server, self._around)) as session:
                execute(session, command)

    def fill(self, dump: Path, without: Sequence[str] = (), nice: int = 0) -> None:
        """Restore the whole dump, and stop at the first error. ``without`` are options of pg_restore."""
        argv = [self._tools.path("pg_restore"), "--format=directory", "--exit-on-error", f"--jobs={self._jobs}"]
        argv += [*without, f"--dbname={conninfo(self.name)}", FOLDER]
        start = time.monotonic()

        def look() -> None:
            with explained("Restoring"):
                [(size,)] = rows(self._session, "SELECT pg_database_size(%s)", [self.name])
            self._progress(f"restoring {self._properties['name']}: {size / 2**20:.0f} MiB, {since(start)}")

        with lent(dump, self._server.account), Tool(argv, self._server, dump, nice=nice) as tool:
            tool.wait(look)

    def contents(self) -> dict[str, Content]:
        """What it holds."""
        return read_contents(self._server, self.name, self._jobs, self._progress)

    def analyze(self) -> None:
        """Gather the statistics that plans are made from: a dump has none, and without them queries are slow."""
        with Tool(
            [self._tools.path("vacuumdb"), "--analyze-only", f"--jobs={self._jobs}", f"--dbname={conninfo(self.name)}"],
            self._server,
        ) as tool:
            start = time.monotonic()
            tool.wait(lambda: self._progress(f"analyzing {self._properties['name']}: {since(start)}"))

    def take_the_place_of(self, database: str) -> str | None:
        """Give it the name ``database``; what had that is kept under the name which is returned.

        Both names change in one transaction. While it waits for those who are connected to leave, whoever comes waits,
        too; those who do not leave are sent away. Where that fails, nothing has changed.
        """
        with explained(f"Giving the restored database the name {database!r}"):
            for command in ("BEGIN", *finish(self.name, self._properties), "COMMIT"):
                execute(self._session, command)
            self._in_use.close()
            there = rows(self._session, "SELECT FROM pg_database WHERE datname = %s", [database])
            kept = name_before(database, time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())) if there else None
            with closing(connect(self._server, maintenance(database))) as session, ThreadPoolExecutor(1) as pool:
                swapped = pool.submit(_rename, session, [(database, kept), (self.name, database)])
                while not swapped.done():
                    rows(self._session, _SEND_AWAY, [[database, self.name]])
                    time.sleep(INSIST)
                swapped.result()
        return kept


def _rename(session: Any, names: Sequence[tuple[str, str | None]]) -> None:
    execute(session, "BEGIN")
    for old, new in names:
        if new is not None:
            execute(session, f"ALTER DATABASE {identifier(old)} RENAME TO {identifier(new)}")
    execute(session, "COMMIT")
