# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One connection to PostgreSQL, or to the console of PgBouncer, on which every question has an end."""

from __future__ import annotations

import select
import time
import traceback
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import FreezeError
from ansible_collections.bluegreen.cutover.plugins.module_utils._secrets import read_secret

try:
    import psycopg2
    import psycopg2.extensions
except ImportError:
    PSYCOPG2_PROBLEM = traceback.format_exc()
else:
    PSYCOPG2_PROBLEM = ""

CONNECT = 5.0
"""Seconds to connect."""
ANSWER = 5.0
"""Seconds for what is answered from memory."""


class NoAnswerError(FreezeError):
    """The time for an answer has ended; what was asked for may still be done."""


class Session:
    """An open connection; in autocommit mode, because an asynchronous one knows no other."""

    def __init__(self, options: Mapping[str, Any], database: str, settings: str = "") -> None:
        """``options`` has host, port, user and maybe password_file; ``settings`` is what libpq calls options."""
        if PSYCOPG2_PROBLEM:
            raise FreezeError("psycopg2 is missing on this host; install python3-psycopg2, and run again")
        self.where = f"{options['user']}@{options['host']}:{options['port']}/{database}"
        given = {"host": options["host"], "port": options["port"], "user": options["user"], "dbname": database}
        password = read_secret(options.get("password_file"), f"password of {options['user']}", FreezeError)
        if password is not None:
            given["password"] = password
        if settings:
            given["options"] = settings
        try:
            self._connection = psycopg2.connect(**given, application_name="bluegreen.cutover", async_=True)
            self._wait(CONNECT)
        except psycopg2.Error as error:
            raise self._error(error) from error

    def ask(self, query: str, values: Sequence[Any] | None = None, seconds: float = ANSWER) -> list[dict[str, Any]]:
        """The rows, by column. Raises ``NoAnswerError`` after ``seconds``; this session can then only be closed."""
        try:
            cursor = self._connection.cursor()
            cursor.execute(query, values)
            self._wait(seconds)
            if cursor.description is None:
                return []
            names = [column[0] for column in cursor.description]
            return [dict(zip(names, row)) for row in cursor.fetchall()]
        except psycopg2.Error as error:
            raise self._error(error) from error

    def close(self) -> None:
        """End it; whatever was begun on it, too."""
        self._connection.close()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def _wait(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while True:
            state = self._connection.poll()
            if state == psycopg2.extensions.POLL_OK:
                return
            left = end - time.monotonic()
            if left <= 0:
                raise NoAnswerError(f"{self.where} has not answered within {seconds:g} s")
            ours = [self._connection]
            reading = state == psycopg2.extensions.POLL_READ
            select.select(ours if reading else [], [] if reading else ours, [], left)

    def _error(self, error: Exception) -> FreezeError:
        said = " ".join(str(error).split()) or type(error).__name__
        return FreezeError(
            f"{self.where}: {said}. See that it runs there, and that this user may do that; then run again",
            {"where": self.where, "sqlstate": getattr(error, "pgcode", None)},
        )
