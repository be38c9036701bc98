# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What was written to a PostgreSQL database since a moment, by its statistics, and where those can be believed."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from ansible_collections.bluegreen.cutover.plugins.module_utils._snapshots import Content, Written
from ansible_collections.bluegreen.cutover.plugins.module_utils._snapshots._postgresql_contents import LARGE_OBJECTS
from ansible_collections.bluegreen.cutover.plugins.module_utils._snapshots._postgresql_server import rows

ROWS = "rows inserted, updated or deleted"
PAGES = "pages of large objects written"
WAL = "bytes of WAL, of all databases"
#: What the server's log of changes is called among what was written.
THE_SERVER = "server"

# A crash throws statistics away and says so only here and there; what is written with bgwriter survives a clean stop.
_SERVER = """
SELECT (SELECT system_identifier FROM pg_control_system())::text, d.oid::bigint, pg_current_wal_lsn() - '0/0',
       concat_ws(' ', s.stats_reset, b.stats_reset), current_setting('track_counts')::boolean
FROM pg_database AS d JOIN pg_stat_database AS s ON s.datid = d.oid, pg_stat_bgwriter AS b
WHERE d.datname = current_database()
"""
_TABLES = """
SELECT 'table ' || schemaname || '.' || relname, relid::bigint, coalesce(pg_relation_filenode(relid), 0)::bigint,
       n_tup_ins + n_tup_upd + n_tup_del
FROM pg_stat_user_tables
UNION ALL
SELECT %s, relid::bigint, coalesce(pg_relation_filenode(relid), 0)::bigint, n_tup_ins + n_tup_upd + n_tup_del
FROM pg_stat_sys_tables WHERE relid = 'pg_largeobject'::regclass
"""

# What is defined, by the rows of the catalogue themselves: texts made of them need locks, and a restore brings others.
# What maintenance changes is left out, and where in its statement something was written, too; and whether the database
# is read-only by default, which it may be for as long as its writers are held off.
_DEFINED = r"""
WITH ours AS (SELECT * FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'),
relations AS (
    SELECT c.* FROM pg_class AS c WHERE relnamespace IN (SELECT oid FROM ours) AND relpersistence <> 't'
),
found (what, definition) AS (
    SELECT 'schema', concat_ws(' ', nspname, nspowner, nspacl) FROM ours
    UNION ALL
    SELECT 'relation', concat_ws(' ', relname, relkind, relowner, relacl, reloptions, relrowsecurity,
                                 relforcerowsecurity) FROM relations
    UNION ALL
    SELECT 'column', concat_ws(' ', relname, attname, atttypid, atttypmod, attcollation, attnotnull, attidentity,
                               attgenerated, attacl, attoptions)
    FROM pg_attribute JOIN relations AS r ON r.oid = attrelid WHERE attnum > 0 AND NOT attisdropped
    UNION ALL
    SELECT 'default', concat_ws(' ', adrelid, adnum, adbin) FROM pg_attrdef
    WHERE adrelid IN (SELECT oid FROM relations)
    UNION ALL
    SELECT 'rule', concat_ws(' ', relname, rulename, ev_enabled, ev_qual, ev_action)
    FROM pg_rewrite JOIN relations AS r ON r.oid = ev_class
    UNION ALL
    SELECT 'constraint', concat_ws(' ', conname, contype, conrelid, contypid, conkey, confrelid, confkey, confupdtype,
                                   confdeltype, confmatchtype, condeferrable, condeferred, convalidated, conbin)
    FROM pg_constraint WHERE connamespace IN (SELECT oid FROM ours)
    UNION ALL
    SELECT 'index', concat_ws(' ', relname, indrelid, indkey, indclass, indcollation, indoption, indexprs, indpred)
    FROM pg_index JOIN relations AS r ON r.oid = indexrelid
    UNION ALL
    SELECT 'trigger', concat_ws(' ', tgname, tgrelid, tgfoid, tgtype, tgenabled, tgattr, tgargs, tgqual)
    FROM pg_trigger WHERE NOT tgisinternal AND tgrelid IN (SELECT oid FROM relations)
    UNION ALL
    SELECT 'policy', concat_ws(' ', polname, polrelid, polcmd, polpermissive, polroles, polqual, polwithcheck)
    FROM pg_policy
    UNION ALL
    SELECT 'function', to_jsonb(p)::text FROM pg_proc AS p WHERE pronamespace IN (SELECT oid FROM ours)
    UNION ALL
    SELECT 'type', concat_ws(' ', typname, typtype, typowner, typacl, typnotnull, typdefault)
    FROM pg_type WHERE typnamespace IN (SELECT oid FROM ours)
    UNION ALL
    SELECT 'grants to come', concat_ws(' ', defaclrole, defaclnamespace, defaclobjtype, defaclacl) FROM pg_default_acl
    UNION ALL
    SELECT 'database', concat_ws(' ', datdba, datacl, datconnlimit) FROM pg_database WHERE datname = current_database()
    UNION ALL
    SELECT 'setting', concat_ws(' ', setrole, one)
    FROM pg_db_role_setting JOIN pg_database AS d ON d.oid = setdatabase, unnest(setconfig) AS one
    WHERE datname = current_database() AND (setrole <> 0 OR split_part(one, '=', 1) <> 'default_transaction_read_only')
)
SELECT sum(hashtextextended(
           what || ' ' || regexp_replace(definition, ':(stmt_)?(location|len) -?\d+', '', 'g'), 0))::text
FROM found
"""


def read_mark(session: Any) -> dict[str, Any]:
    """The counters of now. ``tables`` has, by title, its OID, its file and how many rows were ever written to it;
    ``defined`` is a digest of the catalogue.
    """
    [(system, database, wal, reset, counting)] = rows(session, _SERVER)
    [(defined,)] = rows(session, _DEFINED)
    tables = {title: [oid, file, written] for title, oid, file, written in rows(session, _TABLES, [LARGE_OBJECTS])}
    return {
        "system": system,
        "database": database,
        "wal": int(wal),
        "statistics_since": reset,
        "counting": counting,
        "tables": tables,
        "defined": defined,
    }


def redefined(then: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Whether definitions, owners, grants or settings have changed between two marks of the very same database.

    Of one that was restored it is not known: its catalogue has other rows.
    """
    known = then.get("defined") is not None and all(then[name] == now[name] for name in ("system", "database"))
    return known and bool(then["defined"] != now["defined"])


def compare_marks(then: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[list[Written], bool]:
    """What was written between two marks, and whether there is something that they cannot tell.

    They cannot when it is another database, when the statistics began anew, or when a table is new, gone, or was
    written anew as a whole, which a TRUNCATE does and which no counter counts.
    """
    if then["system"] != now["system"]:
        return [], True
    # A rolled-back statement counts, too: the server does not tell it apart, and more is the safe side.
    written = [Written(THE_SERVER, WAL, now["wal"] - then["wal"])] if now["wal"] > then["wal"] else []
    same = ("database", "statistics_since", "counting")
    if any(then[name] != now[name] for name in same) or not now["counting"]:
        return written, True
    doubtful = set(then["tables"]) != set(now["tables"])
    for title in sorted(set(then["tables"]) & set(now["tables"])):
        before, after = then["tables"][title], now["tables"][title]
        if before[:2] != after[:2] or after[2] < before[2]:
            doubtful = True
        elif after[2] > before[2]:
            what = PAGES if title == LARGE_OBJECTS else ROWS
            written.append(Written(title, what, after[2] - before[2]))
    return written, doubtful


def what_differs(then: Mapping[str, Content], now: Mapping[str, Content], known: Collection[str] = ()) -> list[Written]:
    """What two readings of a database have not in common, without what is ``known`` to have been written to."""
    found = []
    for title in sorted(set(then) | set(now) - set(known)):
        if title in known:
            continue
        before, after = then.get(title), now.get(title)
        if before is None or after is None:
            only = before or after or Content(0, None)
            found.append(Written(title, "in all, which came since" if after else "in all, which are gone", only.count))
        elif before.count != after.count:
            what = "values given out" if before.at_least else "more" if after.count > before.count else "fewer"
            found.append(Written(title, what, abs(after.count - before.count)))
        elif before.digest != after.digest and None not in (before.digest, after.digest):
            found.append(Written(title, "changed, at least", 1))
    return found
