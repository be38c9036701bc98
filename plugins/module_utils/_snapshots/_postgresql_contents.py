# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a PostgreSQL database holds at one moment: rows and their digests, sequences, large objects, definitions.

A digest is the sum of a hash of every row's text, which depends neither on the order of the rows nor on the server that
has them. ``hash_record_extended`` is faster and useless here: it hashes the OID of an enum's label.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import SnapshotError
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.sql import identifier
from ansible_collections.bluegreen.cutover.plugins.module_utils._snapshots import Content, Progress
from ansible_collections.bluegreen.cutover.plugins.module_utils._snapshots._postgresql_server import (
    CHANGED,
    SILENCE,
    DriverError,
    Server,
    connect,
    execute,
    explained,
    rows,
    since,
)

_SEQUENCE = "SELECT seqstart, seqincrement FROM pg_sequence WHERE seqrelid = %s"

LARGE_OBJECTS = "large objects"
#: Bytes of a table, with what is stored out of line, that one query digests: what is larger is read in parts.
PART = 128 * 2**20
#: How often the tables are looked for anew, when one came or went before all were locked.
ATTEMPTS = 5
#: Seconds between two of them.
PAUSE = 1.0
#: From this version on a range of ctid is read without the rest of its table.
TID_RANGES = 140000

# Of a table that belongs to an extension pg_dump takes the rows that the extension calls its configuration, or none.
_RELATIONS = """
SELECT c.oid::bigint, n.nspname, c.relname, c.relkind::text,
       coalesce(e.extcondition[array_position(e.extconfig, c.oid)], ''),
       CASE c.relkind WHEN 'r' THEN pg_table_size(c.oid) ELSE 0 END,
       CASE WHEN c.relkind = 'r' AND a.amname = 'heap' THEN pg_relation_size(c.oid) / s.setting::int ELSE 0 END,
       ARRAY(SELECT t.attname::text FROM pg_attribute AS t
             WHERE t.attrelid = c.oid AND t.attnum > 0 AND NOT t.attisdropped ORDER BY t.attname COLLATE "C")
FROM pg_class AS c
JOIN pg_namespace AS n ON n.oid = c.relnamespace
JOIN pg_settings AS s ON s.name = 'block_size'
LEFT JOIN pg_am AS a ON a.oid = c.relam
LEFT JOIN pg_depend AS d ON d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.objsubid = 0
                        AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
LEFT JOIN pg_extension AS e ON e.oid = d.refobjid
WHERE c.relkind IN ('r', 'p', 'S') AND c.relpersistence <> 't'
  AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
  AND (e.oid IS NULL OR c.oid = ANY (e.extconfig))
ORDER BY n.nspname, c.relname
"""

# A page may end early or be missing where zeros were never written, and is written out by a restore: what is compared
# is each page without the zeros at its end (rtrim is slow, so only where there are any), and where the object ends.
_LARGE_OBJECTS = """
SELECT count(*), sum(hash)::text FROM (
    SELECT sum(CASE WHEN text <> '' THEN hashtextextended(loid || ' ' || pageno || ' ' || text, 0) ELSE 0 END)
           + hashtextextended(loid || ' ' || max(pageno::bigint * size + octet_length(data)), 0) AS hash
    FROM (SELECT loid, pageno, size, data,
                 CASE WHEN octet_length(data) = size AND get_byte(data, size - 1) <> 0 THEN encode(data, 'hex')
                      ELSE rtrim(encode(data, 'hex'), '0') END AS text
          FROM pg_largeobject,
               (SELECT setting::int / 4 FROM pg_settings WHERE name = 'block_size') AS page (size)) AS pages
    GROUP BY loid) AS objects
"""

# Names and what a name does not say; not the text of expressions, which a server writes in other words after a restore.
# What pg_dump leaves out is left out: members of extensions, invalid indexes, what partitions inherit. The schema
# public and the language plpgsql are in every new database.
_DEFINITIONS = """
WITH ours AS (SELECT oid FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'),
members AS (SELECT classid, objid FROM pg_depend WHERE refclassid = 'pg_extension'::regclass AND deptype = 'e'),
relations AS (
    SELECT c.* FROM pg_class AS c
    WHERE relnamespace IN (SELECT oid FROM ours) AND relpersistence <> 't'
      AND NOT EXISTS (SELECT FROM members WHERE classid = 'pg_class'::regclass AND objid = c.oid)
),
found AS (
    SELECT 'schemas' AS kind, 'pg_namespace'::regclass AS class, oid, '' AS more FROM pg_namespace
    WHERE oid IN (SELECT oid FROM ours) AND nspname <> 'public'
    UNION ALL
    SELECT 'extensions', 'pg_extension'::regclass, oid, '' FROM pg_extension WHERE extname <> 'plpgsql'
    UNION ALL
    SELECT CASE relkind WHEN 'v' THEN 'views' WHEN 'm' THEN 'materialized views' WHEN 'f' THEN 'foreign tables'
                        WHEN 'c' THEN 'composite types' ELSE 'partitioned tables' END,
           'pg_class'::regclass, oid, relispopulated::text
    FROM relations WHERE relkind IN ('v', 'm', 'f', 'c', 'p')
    UNION ALL
    SELECT 'indexes', 'pg_class'::regclass, i.indexrelid, concat_ws(' ', indisunique, indisprimary, indnkeyatts)
    FROM pg_index AS i JOIN relations AS r ON r.oid = i.indrelid WHERE i.indisvalid
    UNION ALL
    SELECT 'constraints', 'pg_constraint'::regclass, k.oid, concat_ws(' ', contype, convalidated, condeferrable)
    FROM pg_constraint AS k
    WHERE contype IN ('c', 'f', 'p', 'u', 'x') AND conparentid = 0
      AND (conrelid = 0 AND connamespace IN (SELECT oid FROM ours) OR conrelid IN (SELECT oid FROM relations))
    UNION ALL
    SELECT 'triggers', 'pg_trigger'::regclass, t.oid, tgenabled::text
    FROM pg_trigger AS t JOIN relations AS r ON r.oid = t.tgrelid WHERE NOT tgisinternal AND tgparentid = 0
    UNION ALL
    SELECT 'rules', 'pg_rewrite'::regclass, w.oid, ev_enabled::text
    FROM pg_rewrite AS w JOIN relations AS r ON r.oid = w.ev_class WHERE rulename <> '_RETURN'
    UNION ALL
    SELECT 'policies', 'pg_policy'::regclass, p.oid, concat_ws(' ', polcmd, polpermissive, relrowsecurity)
    FROM pg_policy AS p JOIN relations AS r ON r.oid = p.polrelid
    UNION ALL
    SELECT 'functions', 'pg_proc'::regclass, oid, concat_ws(' ', prokind, provolatile, md5(prosrc))
    FROM pg_proc WHERE pronamespace IN (SELECT oid FROM ours)
    UNION ALL
    SELECT 'types', 'pg_type'::regclass, t.oid, concat_ws(' ', typtype,
               (SELECT string_agg(quote_literal(enumlabel), ',' ORDER BY enumsortorder) FROM pg_enum
                WHERE enumtypid = t.oid))
    FROM pg_type AS t WHERE typtype IN ('d', 'e', 'r') AND typnamespace IN (SELECT oid FROM ours)
    UNION ALL
    SELECT 'event triggers', 'pg_event_trigger'::regclass, oid, evtenabled::text FROM pg_event_trigger
    UNION ALL
    SELECT 'statistics objects', 'pg_statistic_ext'::regclass, oid, '' FROM pg_statistic_ext
    WHERE stxnamespace IN (SELECT oid FROM ours)
),
named AS (
    SELECT kind, (pg_identify_object(class, oid, 0)).identity AS name, more FROM found
    WHERE NOT EXISTS (SELECT FROM members WHERE classid = found.class AND objid = found.oid)
    UNION ALL
    SELECT 'columns', (pg_identify_object('pg_class'::regclass, r.oid, 0)).identity || ' ' || quote_ident(attname),
           concat_ws(' ', format_type(atttypid, atttypmod), attnotnull, attidentity, attgenerated, atthasdef)
    FROM pg_attribute JOIN relations AS r ON r.oid = attrelid
    WHERE relkind IN ('r', 'p', 'f') AND attnum > 0 AND NOT attisdropped
)
SELECT kind, count(*), sum(hashtextextended(name || ' ' || more, 0))::text FROM named GROUP BY kind ORDER BY kind
"""


@dataclass(frozen=True)
class Relation:
    """A table, partitioned table or sequence, as the catalogue has it.

    ``condition`` limits the rows that belong to the database, as a clause; ``size`` is in bytes with what is stored out
    of line, ``pages`` are those of the rows alone, 0 where it has no such pages.
    """

    oid: int
    schema: str
    name: str
    kind: str
    condition: str
    size: int
    pages: int
    columns: Sequence[str]

    @property
    def quoted(self) -> str:
        """Its name in SQL."""
        return f"{identifier(self.schema)}.{identifier(self.name)}"

    @property
    def title(self) -> str:
        """Its name among the contents."""
        return f"{'sequence' if self.kind == 'S' else 'table'} {self.schema}.{self.name}"


@dataclass(frozen=True)
class Part:
    """A query that gives the count and the digest of something, or of a part of it."""

    title: str
    query: str
    size: int


def parts_of(table: Relation, tid_ranges: bool) -> list[Part]:
    """The queries whose counts and digests, added up, are those of ``table``.

    Columns are taken by their names: a restore may put those of a child table in another order.
    """
    row = ", ".join(f"x.{identifier(column)}" for column in table.columns)
    digest = f"sum(hashtextextended(ROW({row})::text, 0))::text"
    select = f"SELECT count(*), {digest} FROM ONLY {table.quoted} AS x"  # noqa: S608 - names are quoted
    if table.condition or not tid_ranges or not table.pages:
        return [Part(table.title, f"{select} {table.condition}".rstrip(), table.size)]
    number = min(table.pages, -(-table.size // PART) or 1)
    if number == 1:
        return [Part(table.title, select, table.size)]
    starts = [table.pages * part // number for part in range(number)]
    # The last part has no end: pages may have come since they were counted.
    ends = [f" AND x.ctid < '({end},0)'::tid" for end in starts[1:]] + [""]
    return [
        Part(table.title, f"{select} WHERE x.ctid >= '({start},0)'::tid{end}", table.size // number)
        for start, end in zip(starts, ends)
    ]


def values_given(last: int, called: bool, start: int, increment: int) -> int:
    """How far a sequence is: the values it has given out, whichever way it counts."""
    return (last - start) // increment + called


class View:
    """One moment of a database, seen by several sessions. All its tables stay locked against being changed in kind.

    The locks come before the view: what is dropped or truncated under a view that is already there is lost from it.
    """

    def __init__(self, server: Server, database: str, sessions: int) -> None:
        self.server = server
        self.database = database
        self.sessions: list[Any] = []
        self.relations: list[Relation] = []
        self.id = ""
        self.at = 0.0
        self._count = sessions
        self._open = ExitStack()

    def __enter__(self) -> View:
        with ExitStack() as stack:
            self.sessions = [
                stack.enter_context(closing(connect(self.server, self.database))) for _number in range(self._count)
            ]
            self._take()
            self._open = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._open.close()

    @property
    def version(self) -> int:
        """The server's, as a number: 150008."""
        return int(self.sessions[0].server_version)

    def _take(self) -> None:
        doing = f"Locking the tables of {self.database!r} against changes of their definition"
        with explained(doing):
            for _attempt in range(ATTEMPTS - 1):
                with suppress(*CHANGED, _ChangedError):
                    self._attempt()
                    return
                for session in self.sessions:
                    execute(session, "ROLLBACK")
                time.sleep(PAUSE)
            try:
                self._attempt()
            except _ChangedError as error:
                raise SnapshotError(
                    f"{self.database!r} has other tables every time they are looked at ({error}). Stop what creates "
                    "and drops them; temporary tables do not disturb."
                ) from error

    def _attempt(self) -> None:
        first, *others = self.sessions
        found = _relations(first)
        tables = [f"ONLY {one.quoted}" for one in found if one.kind != "S"]
        lock = f"LOCK TABLE {', '.join(tables)} IN ACCESS SHARE MODE" if tables else "SELECT"
        execute(first, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        if tables:
            execute(first, lock)
        # The view begins here.
        [(self.id, self.at)] = rows(
            first, "SELECT pg_export_snapshot(), extract(epoch FROM clock_timestamp())::double precision"
        )
        self.relations = _relations(first)
        if {(one.oid, one.quoted) for one in self.relations} != {(one.oid, one.quoted) for one in found}:
            differ = {one.title for one in self.relations} ^ {one.title for one in found}
            raise _ChangedError(", ".join(sorted(differ)[:5]))
        for other in others:
            execute(other, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            execute(other, f"SET TRANSACTION SNAPSHOT '{self.id}'")
            # Who waits to change a table now waits for the first session, and would keep this one waiting, too.
            execute(other, "SET LOCAL lock_timeout = '2s'")
            execute(other, lock)

    def sequences(self) -> dict[str, Content]:
        """Sequences as they are *now*: they do not take part in views, so that they are read before they are dumped."""
        found = {}
        for one in self.relations:
            if one.kind != "S":
                continue
            state = f"SELECT last_value, is_called FROM {one.quoted}"  # noqa: S608 - the name is quoted
            [(last, called)] = rows(self.sessions[0], state)
            [(start, increment)] = rows(self.sessions[0], _SEQUENCE, [one.oid])
            found[one.title] = Content(values_given(last, called, start, increment), None, at_least=True)
        return found

    def parts(self) -> list[Part]:
        """All that has a digest, the largest first."""
        tables = [one for one in self.relations if one.kind == "r"]
        parts = [part for one in tables for part in parts_of(one, self.version >= TID_RANGES)]
        first = self.sessions[0]
        [(readable,)] = rows(first, "SELECT has_table_privilege('pg_largeobject', 'SELECT')")
        [(size,)] = rows(first, "SELECT pg_table_size('pg_largeobject')")
        count = "SELECT count(*), NULL FROM pg_largeobject_metadata"
        parts.append(Part(LARGE_OBJECTS, _LARGE_OBJECTS if readable else count, size))
        return sorted(parts, key=lambda part: -part.size)

    def definitions(self) -> dict[str, Content]:
        """How many there are of each kind of definition, with a digest of their names."""
        return {kind: Content(count, total) for kind, count, total in rows(self.sessions[0], _DEFINITIONS)}

    @contextmanager
    def digesting(self) -> Iterator[Digests]:
        """Digest in all sessions but the first while the block runs; or in that one, where there is no other."""
        digests = Digests(self.sessions[1:] or self.sessions, self.parts())
        try:
            yield digests
        finally:
            digests.end()


def _relations(session: Any) -> list[Relation]:
    return [Relation(*one) for one in rows(session, _RELATIONS)]


class _ChangedError(Exception):
    """The tables changed between two looks."""


class Digests:
    """Counts and digests that are being computed by the server, a part of a table at a time in each session."""

    def __init__(self, sessions: Sequence[Any], parts: Sequence[Part]) -> None:
        self._parts: queue.SimpleQueue[Part] = queue.SimpleQueue()
        for part in parts:
            self._parts.put(part)
        self._all = len(parts)
        self._done: list[tuple[str, int, str | None]] = []
        self._failed: list[tuple[Part, BaseException]] = []
        self._stop = threading.Event()
        self._sessions = sessions
        self._threads = [threading.Thread(target=self._work, args=[session], daemon=True) for session in sessions]
        for thread in self._threads:
            thread.start()

    def _work(self, session: Any) -> None:
        while not self._stop.is_set():
            try:
                part = self._parts.get_nowait()
            except queue.Empty:
                return
            try:
                [(count, total)] = rows(session, part.query)
            except DriverError as error:
                self._failed.append((part, error))
                self._stop.set()
            else:
                self._done.append((part.title, int(count), total))

    def said(self) -> str:
        """How far it is."""
        return f"{len(self._done)} of {self._all} digests"

    def ended(self, seconds: float) -> bool:
        """Wait for all of them for at most ``seconds``; raise what failed."""
        end = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))
        if self._failed:
            part, error = self._failed[0]
            with explained(f"Reading {part.title}"):
                raise error
        return not any(thread.is_alive() for thread in self._threads)

    def end(self) -> None:
        """Have the server stop what it computes, if it does."""
        self._stop.set()
        for session, thread in zip(self._sessions, self._threads):
            if thread.is_alive():
                with suppress(DriverError):
                    session.cancel()
                thread.join(SILENCE)

    def contents(self) -> dict[str, Content]:
        """What was found; only when it has ended."""
        return add_up(self._done)


def add_up(done: Iterable[tuple[str, int, str | None]]) -> dict[str, Content]:
    """Contents of their parts: title, count, and the digest where there can be one."""
    found: dict[str, Content] = {}
    for title, count, total in done:
        before = found.get(title, Content(0, "0"))
        # The sum over no rows is NULL, too.
        known = before.digest is not None and (total is not None or count == 0)
        digest = str(int(before.digest or 0) + int(total or 0)) if known else None
        found[title] = Content(before.count + count, digest)
    return found


def read_contents(server: Server, database: str, jobs: int, progress: Progress) -> dict[str, Content]:
    """What a database holds now."""
    start = time.monotonic()
    with View(server, database, 1 + jobs) as view, explained(f"Reading {database!r}"):
        contents = {**view.sequences(), **view.definitions()}
        with view.digesting() as digests:
            while not digests.ended(SILENCE):
                progress(f"reading {database}: {digests.said()}, {since(start)}")
        return {**contents, **digests.contents()}
