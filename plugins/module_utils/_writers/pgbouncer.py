# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Clients behind PgBouncer: PAUSE lets each transaction end and begins none, so that a query waits and none fails."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import FreezeError
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.sql import identifier
from ansible_collections.bluegreen.cutover.plugins.module_utils._writers import Released
from ansible_collections.bluegreen.cutover.plugins.module_utils._writers._session import NoAnswerError, Session

CONSOLE = "pgbouncer"
OPTIONS: dict[str, Any] = {
    "database": {"type": "str", "required": True},
    "host": {"type": "str", "default": "127.0.0.1"},
    "port": {"type": "int", "default": 6432},
    "user": {"type": "str", "default": "pgbouncer"},
    "password_file": {"type": "path", "no_log": False},
}
SPARE = 5.0
"""Seconds between the end of a hold and the end of PgBouncer's own patience with its clients, at least."""
_PATIENCE = ("query_wait_timeout", "client_login_timeout")
"""PgBouncer's settings, in seconds, after which it fails a client that waits; 0 is never."""


class PgBouncer:
    """One database of one PgBouncer; see ``Writers``. Sources: PgBouncer 1.18, its manual and its console."""

    name = "pgbouncer"

    def __init__(self, options: Mapping[str, Any], session: Callable[..., Session] = Session) -> None:
        self.options = options
        self.database = str(options["database"])
        self._session = session

    def check(self, seconds: float) -> dict[str, Any]:
        with self._session(self.options, CONSOLE) as console:
            row = self._row(console)
            settings = {one["key"]: one["value"] for one in console.ask("SHOW CONFIG")}
            pools = self._pools(console)
        modes = {row["pool_mode"] or settings["pool_mode"], *(pool["pool_mode"] for pool in pools)}
        if "session" in modes:
            raise FreezeError(
                f"PgBouncer serves {self.database} in session mode, where PAUSE waits until every client has gone; "
                "transaction mode is needed (pool_mode), or another way to hold the writers"
            )
        if int(row["paused"]):
            raise FreezeError(
                f"PgBouncer has {self.database} paused already, and not for this service. See who did that; "
                f"'RESUME {identifier(self.database)}' on its console ends it"
            )
        for name in _PATIENCE:
            patience = float(settings.get(name) or 0)
            if 0 < patience < seconds + SPARE:
                raise FreezeError(
                    f"PgBouncer fails a client that has waited for {patience:g} s ({name}), and {self.database} may be "
                    f"held for {seconds:g} s; less of cutover_freeze.limit, or {seconds + SPARE:g} s there, is needed"
                )
        return {}

    def hold(self, memory: dict[str, Any], wait: float) -> dict[str, Any]:  # noqa: ARG002 - the protocol's
        try:
            with self._session(self.options, CONSOLE) as console:
                console.ask(f"PAUSE {identifier(self.database)}", seconds=wait)
        except NoAnswerError as error:
            blockers = self._resume_and_see()
            told = ", ".join(f"{one['user']} at {one['addr']}:{one['port']}" for one in blockers) or "nobody by now"
            raise FreezeError(
                f"{self.database} was not paused within {wait:g} s, and is resumed: there are transactions that do not "
                f"end, of {told}. End them, or give them more time (cutover_freeze.wait); then run again",
                {"open": blockers},
            ) from error
        return {}

    def release(self, memory: dict[str, Any]) -> Released:  # noqa: ARG002 - the protocol's
        with self._session(self.options, CONSOLE) as console:
            paused = bool(int(self._row(console)["paused"]))
            waits = [float(pool["maxwait"]) + float(pool["maxwait_us"]) / 1e6 for pool in self._pools(console)]
            if paused:
                self._resume(console)
        return Released(paused, {"longest_wait": round(max(waits, default=0.0), 3)})

    def _row(self, console: Session) -> dict[str, Any]:
        rows = {str(row["name"]): row for row in console.ask("SHOW DATABASES")}
        if self.database not in rows:
            known = ", ".join(sorted(rows.keys() - {CONSOLE})) or "none"
            raise FreezeError(
                f"PgBouncer at {console.where} has no database {self.database!r}; it has {known}. One that only '*' "
                "stands for is there once a client has asked for it; correct cutover_freeze, or name it there"
            )
        return rows[self.database]

    def _pools(self, console: Session) -> list[dict[str, Any]]:
        return [pool for pool in console.ask("SHOW POOLS") if pool["database"] == self.database]

    def _resume(self, console: Session) -> None:
        try:
            console.ask(f"RESUME {identifier(self.database)}")
        except FreezeError:
            # Somebody else may have been faster; only one that is still paused is a failure.
            if int(self._row(console)["paused"]):
                raise

    def _resume_and_see(self) -> list[dict[str, Any]]:
        """Resume, and say whose transactions were in the way."""
        with self._session(self.options, CONSOLE) as console:
            clients: dict[str, dict[str, Any]] = {}
            with contextlib.suppress(FreezeError):
                clients = {str(one["ptr"]): one for one in console.ask("SHOW CLIENTS")}
            linked = []
            with contextlib.suppress(FreezeError):
                linked = [
                    str(server["link"])
                    for server in console.ask("SHOW SERVERS")
                    if server["database"] == self.database and server["link"]
                ]
            self._resume(console)
        names = ("user", "addr", "port", "application_name", "request_time")
        return [{name: clients[link].get(name) for name in names} for link in linked if link in clients]
