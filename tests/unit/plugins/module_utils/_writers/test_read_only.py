# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""default_transaction_read_only, with a server as a script."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import FreezeError
from ansible_collections.bluegreen.cutover.plugins.module_utils._writers.read_only import LEAVE, ReadOnly

OPTIONS = {"database": 'sh"op', "host": "127.0.0.1", "port": 5432, "user": "shop"}
SESSION = {"pid": 7, "user": "shop", "application_name": "pool", "addr": "local", "state": "idle", "writing": False}


class Server:
    """What the queries of read_only.py answer, and a clock."""

    def __init__(self, before: str | None = None, *, standby: bool = False, allowed: bool = True) -> None:
        self.where = 'shop@127.0.0.1:5432/sh"op'
        self.default = before
        self.standby = standby
        self.allowed = allowed
        self.sessions = [dict(SESSION)]
        self.rows = 100
        self.changed: list[str] = []
        self.given: list[tuple[Any, ...]] = []
        self.now = 0.0
        self.mine = True

    def __call__(self, *arguments: Any) -> Server:
        self.given.append(arguments)
        return self

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_error: object) -> None:
        pass

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def ask(self, query: str, values: Any = None) -> list[dict[str, Any]]:
        if "pg_is_in_recovery" in query:
            told = {"standby": self.standby, "me": "shop", "since": "then", "allowed": self.allowed}
            return [{**told, "before": self.default}]
        if "pg_stat_user_tables" in query:
            return [{"rows": self.rows}]
        if "pg_stat_activity" in query:
            return list(self.sessions)
        if "pg_db_role_setting" in query:
            return [{"role": "batch"}]
        if "clock_timestamp" in query:
            return [{"now": "now"}]
        if "pg_terminate_backend" in query:
            if not self.mine:
                raise FreezeError("permission denied")
            self.sessions = [one for one in self.sessions if one["pid"] != values[0]]
            return [{"done": True}]
        self.changed.append(query)
        self.default = None if query.endswith("RESET default_transaction_read_only") else query.rpartition(" ")[2]
        return []


def read_only(server: Server) -> ReadOnly:
    return ReadOnly(OPTIONS, server, server)  # type: ignore[arg-type]


def test_held_and_undone() -> None:
    server = Server()
    one = read_only(server)
    memory = one.check(30)
    assert memory == {"before": None, "since": "then", "rows": 100}
    assert one.hold(memory, 5) == {"remaining": [SESSION], "overrides": ["batch"]}
    assert server.changed == ['ALTER DATABASE "sh""op" SET default_transaction_read_only = on']
    server.rows = 103
    released = one.release(memory)
    assert released.lasted
    assert released.told == {"written": 3, "ended": 1, "still_read_only": []}
    assert server.changed[1:] == ['ALTER DATABASE "sh""op" RESET default_transaction_read_only']
    # Whoever undoes a default of read-only is not under it.
    assert {arguments[2] for arguments in server.given} == {"-c default_transaction_read_only=off"}


def test_what_it_was_before_comes_back() -> None:
    server = Server("off")
    one = read_only(server)
    memory = one.check(30)
    one.hold(memory, 5)
    one.release(memory)
    assert server.default == "off"


def test_what_somebody_else_has_undone_stays_so() -> None:
    server = Server()
    one = read_only(server)
    memory = one.check(30)
    released = one.release(memory)
    assert not released.lasted
    assert server.changed == []
    assert released.told["ended"] == 0


@pytest.mark.parametrize("state", ["active", "idle in transaction"])
def test_a_session_that_is_busy_is_left_and_listed(state: str) -> None:
    server = Server()
    server.sessions[0]["state"] = state
    one = read_only(server)
    memory = one.check(30)
    one.hold(memory, 5)
    told = one.release(memory).told
    assert (told["ended"], [left["pid"] for left in told["still_read_only"]]) == (0, [7])
    assert server.now >= LEAVE


def test_a_session_that_is_not_ours_to_end_is_listed() -> None:
    server = Server()
    server.mine = False
    one = read_only(server)
    memory = one.check(30)
    one.hold(memory, 5)
    assert one.release(memory).told["still_read_only"] == [SESSION]


@pytest.mark.parametrize(
    ("server", "said"),
    [
        (Server(standby=True), "is a standby"),
        (Server(allowed=False), "does not own the database"),
        (Server("on"), "read-only by default already, and not for this service"),
    ],
)
def test_what_cannot_be_held_is_refused(server: Server, said: str) -> None:
    with pytest.raises(FreezeError, match=said):
        read_only(server).check(30)
    assert server.changed == []
