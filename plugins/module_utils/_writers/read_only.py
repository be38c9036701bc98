# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whoever connects to a database from now on: ``default_transaction_read_only``, which is advice, and no more.

A session that is open already does not hear of it, any may begin a transaction READ WRITE, and a role may have a
default of its own. The first and the last are listed. What was written all the same is counted.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import FreezeError
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.sql import identifier
from ansible_collections.bluegreen.cutover.plugins.module_utils._writers import Released
from ansible_collections.bluegreen.cutover.plugins.module_utils._writers._session import Session

OPTIONS: dict[str, Any] = {
    "database": {"type": "str", "required": True},
    "host": {"type": "str", "default": "127.0.0.1"},
    "port": {"type": "int", "default": 5432},
    "user": {"type": "str", "default": "postgres"},
    "password_file": {"type": "path", "no_log": False},
}
LEAVE = 3.0
"""Seconds that sessions which have begun meanwhile get to end what they do, before they are only listed."""
_POLL = 0.2

_MAY = """
SELECT pg_is_in_recovery() AS standby, current_user AS me, clock_timestamp()::text AS since,
       (SELECT rolsuper FROM pg_roles WHERE rolname = current_user)
           OR pg_has_role(current_user, datdba, 'USAGE') AS allowed,
       (SELECT split_part(setting, '=', 2) FROM pg_db_role_setting, unnest(setconfig) AS setting
         WHERE setdatabase = d.oid AND setrole = 0 AND setting LIKE 'default_transaction_read_only=%') AS before
  FROM pg_database AS d WHERE datname = current_database()
"""
_WRITTEN = "SELECT coalesce(sum(n_tup_ins + n_tup_upd + n_tup_del), 0)::bigint AS rows FROM pg_stat_user_tables"
# Of somebody else's session one without the right to know is told no more than that it is there.
_SESSIONS = """
SELECT pid, usename AS user, application_name, coalesce(host(client_addr), 'local') AS addr, state,
       backend_xid IS NOT NULL AS writing
  FROM pg_stat_activity
 WHERE datname = current_database() AND pid <> pg_backend_pid()
   AND coalesce(backend_type, 'client backend') = 'client backend' AND {which}
 ORDER BY pid
"""
_BEFORE = "(backend_start IS NULL OR backend_start < %s::timestamptz)"
_SINCE = "backend_start >= %s::timestamptz"
_OVERRIDES = """
SELECT rolname AS role FROM pg_db_role_setting JOIN pg_roles ON pg_roles.oid = setrole
 WHERE setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
   AND 'default_transaction_read_only=off' = ANY (setconfig)
"""


class ReadOnly:
    """One database; see ``Writers``."""

    name = "read_only"

    def __init__(
        self,
        options: Mapping[str, Any],
        session: Callable[..., Session] = Session,
        clock: Any = time,
    ) -> None:
        self.options = options
        self.database = str(options["database"])
        self._session = session
        self._clock = clock

    def check(self, seconds: float) -> dict[str, Any]:  # noqa: ARG002 - the protocol's
        with self._open() as session:
            found = session.ask(_MAY)[0]
            rows = session.ask(_WRITTEN)[0]["rows"]
        if found["standby"]:
            raise FreezeError(f"{session.where} is a standby: nobody writes there. Name its primary in cutover_freeze")
        if not found["allowed"]:
            raise FreezeError(
                f"{found['me']} does not own the database {self.database}, and may not change its settings; "
                "its owner or a superuser is needed as cutover_freeze's user"
            )
        if found["before"] == "on":
            raise FreezeError(
                f"{self.database} is read-only by default already, and not for this service. See who did that; "
                f"'ALTER DATABASE {identifier(self.database)} RESET default_transaction_read_only' ends it"
            )
        return {"before": found["before"], "since": found["since"], "rows": int(rows)}

    def hold(self, memory: dict[str, Any], wait: float) -> dict[str, Any]:  # noqa: ARG002 - the protocol's
        with self._open() as session:
            session.ask(f"ALTER DATABASE {identifier(self.database)} SET default_transaction_read_only = on")
            remaining = session.ask(_SESSIONS.format(which=_BEFORE), (memory["since"],))
            roles = [row["role"] for row in session.ask(_OVERRIDES)]
        return {"remaining": remaining, "overrides": roles}

    def release(self, memory: dict[str, Any]) -> Released:
        with self._open() as session:
            lasted = session.ask(_MAY)[0]["before"] == "on"
            if lasted:
                session.ask(self._undoing(memory["before"]))
            ended, left = self._rid(session, memory["since"]) if lasted else (0, [])
            written = int(session.ask(_WRITTEN)[0]["rows"]) - int(memory["rows"])
        return Released(lasted, {"written": max(0, written), "ended": ended, "still_read_only": left})

    def _undoing(self, before: str | None) -> str:
        setting = f"ALTER DATABASE {identifier(self.database)}"
        if before is None:
            return f"{setting} RESET default_transaction_read_only"
        return f"{setting} SET default_transaction_read_only = {'on' if before == 'on' else 'off'}"

    def _rid(self, session: Session, since: str) -> tuple[int, list[dict[str, Any]]]:
        """End the idle sessions that have begun meanwhile: pooled, each would be read-only for as long as it lives.

        How many were ended, and those that are left.
        """
        ended = 0
        deadline = self._clock.monotonic() + LEAVE
        # Those that begin from here on have the new default.
        before = session.ask("SELECT clock_timestamp()::text AS now")[0]["now"]
        which = f"{_SINCE} AND backend_start < %s::timestamptz"
        while True:
            left = session.ask(_SESSIONS.format(which=which), (since, before))
            if not left or self._clock.monotonic() >= deadline:
                return ended, left
            for one in left:
                if one["state"] == "idle":
                    ended += self._terminate(session, one["pid"])
            self._clock.sleep(_POLL)

    @staticmethod
    def _terminate(session: Session, pid: int) -> int:
        try:
            return int(session.ask("SELECT pg_terminate_backend(%s) AS done", (pid,))[0]["done"])
        except FreezeError:
            # Not ours to end; it is listed.
            return 0

    def _open(self) -> Session:
        # What undoes a default of read-only must not be held by it.
        return self._session(self.options, self.database, "-c default_transaction_read_only=off")
