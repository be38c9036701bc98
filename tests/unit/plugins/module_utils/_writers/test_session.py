# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One connection on which every question has an end."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import psycopg2
import psycopg2.extensions
import pytest
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import FreezeError
from ansible_collections.bluegreen.cutover.plugins.module_utils._writers import _session
from ansible_collections.bluegreen.cutover.plugins.module_utils._writers._session import NoAnswerError, Session

OPTIONS = {"host": "db", "port": 5432, "user": "shop"}
READ, WRITE, OK = (
    psycopg2.extensions.POLL_READ,
    psycopg2.extensions.POLL_WRITE,
    psycopg2.extensions.POLL_OK,
)


class Connection:
    """An asynchronous connection that is ready after some polls, or fails, and its cursor."""

    def __init__(self, *states: Any) -> None:
        self.states = list(states)
        self.description: list[tuple[str]] | None = [("n",), ("s",)]
        self.asked: list[tuple[str, Any]] = []
        self.closed = False

    def poll(self) -> Any:
        state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        if isinstance(state, Exception):
            raise state
        return state

    def cursor(self) -> Connection:
        return self

    def execute(self, query: str, values: Any) -> None:
        self.asked.append((query, values))

    def fetchall(self) -> list[tuple[Any, ...]]:
        return [(1, "one"), (2, "two")]

    def close(self) -> None:
        self.closed = True


@pytest.fixture(name="connect")
def _connect(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Have sessions open this connection; what it was opened with is its attribute ``given``."""

    def use(connection: Connection) -> dict[str, Any]:
        given: dict[str, Any] = {}
        monkeypatch.setattr(psycopg2, "connect", lambda **options: given.update(options) or connection)
        return given

    monkeypatch.setattr(_session.select, "select", lambda *_arguments: ([], [], []))
    return use


def test_rows_come_by_their_columns(connect: Any) -> None:
    connection = Connection(READ, WRITE, OK)
    given = connect(connection)
    with Session(OPTIONS, "shop", "-c x=1") as session:
        assert session.ask("SELECT %s", (1,)) == [{"n": 1, "s": "one"}, {"n": 2, "s": "two"}]
        connection.description = None
        assert session.ask("PAUSE") == []
    assert connection.closed
    assert given["options"] == "-c x=1"
    assert "password" not in given


def test_the_password_comes_from_a_file_and_is_in_no_message(connect: Any, tmp_path: Path) -> None:
    (tmp_path / "password").write_text("s3cret\n")
    given = connect(Connection(psycopg2.OperationalError("refused\n")))
    with pytest.raises(FreezeError) as caught:
        Session({**OPTIONS, "password_file": str(tmp_path / "password")}, "shop")
    assert given["password"] == "s3cret"
    assert caught.value.message.startswith("shop@db:5432/shop: refused. See that it runs there")
    assert "s3cret" not in caught.value.message


def test_a_password_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(FreezeError, match="nowhere cannot be read on this host: No such file or directory"):
        Session({**OPTIONS, "password_file": str(tmp_path / "nowhere")}, "shop")


def test_what_does_not_answer_is_not_waited_for(connect: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(100))
    monkeypatch.setattr(time, "monotonic", lambda: float(next(clock)))
    connection = Connection(OK)
    connect(connection)
    session = Session(OPTIONS, "shop")
    connection.states = [READ]
    with pytest.raises(NoAnswerError, match="has not answered within 3 s"):
        session.ask("PAUSE shop", seconds=3)


def test_what_the_server_refuses_is_told(connect: Any) -> None:
    connection = Connection(OK)
    connect(connection)
    session = Session(OPTIONS, "shop")
    connection.states = [psycopg2.ProgrammingError("")]
    with pytest.raises(FreezeError, match="shop@db:5432/shop: ProgrammingError"):
        session.ask("SELECT")


def test_without_its_library_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_session, "PSYCOPG2_PROBLEM", "Traceback")
    with pytest.raises(FreezeError, match="install python3-psycopg2"):
        Session(OPTIONS, "shop")
