# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""PgBouncer's console, as a script: what is refused before anybody is held, and what is undone."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import FreezeError
from ansible_collections.bluegreen.cutover.plugins.module_utils._writers._session import NoAnswerError
from ansible_collections.bluegreen.cutover.plugins.module_utils._writers.pgbouncer import PgBouncer

OPTIONS = {"database": 'sh"op', "host": "127.0.0.1", "port": 6432, "user": "lab"}


class Console:
    """Answers as PgBouncer 1.18 does, and remembers what changed."""

    def __init__(self, *, pool_mode: str = "transaction", patience: str = "120", blocked: bool = False) -> None:
        self.where = "lab@127.0.0.1:6432/pgbouncer"
        self.paused = 0
        self.pool_mode = pool_mode
        self.own_mode: str | None = None
        self.patience = patience
        self.blocked = blocked
        self.changed: list[str] = []
        self.deaf: tuple[str, ...] = ()

    def __call__(self, *_arguments: Any) -> Console:
        return self

    def __enter__(self) -> Console:
        return self

    def __exit__(self, *_error: object) -> None:
        pass

    def ask(self, query: str, _values: Any = None, seconds: float = 5.0) -> list[dict[str, Any]]:
        if query in self.deaf:
            raise FreezeError(f"{query}: no")
        if query == "SHOW DATABASES":
            own = {"name": OPTIONS["database"], "pool_mode": self.own_mode, "paused": self.paused}
            return [own, {"name": "pgbouncer", "pool_mode": "statement", "paused": 0}]
        if query == "SHOW CONFIG":
            settings = {"pool_mode": "transaction", "query_wait_timeout": self.patience, "client_login_timeout": "60"}
            return [{"key": key, "value": value} for key, value in settings.items()]
        if query == "SHOW POOLS":
            pool = {"database": OPTIONS["database"], "pool_mode": self.pool_mode, "maxwait": 1, "maxwait_us": 250_000}
            return [pool, {**pool, "database": "other", "pool_mode": "session", "maxwait": 99}]
        if query == "SHOW CLIENTS":
            return [{"ptr": "0x1", "user": "eve", "addr": "10.0.0.1", "port": 5, "link": "0x2"}, {"ptr": "0x9"}]
        if query == "SHOW SERVERS":
            own = {"database": OPTIONS["database"], "link": "0x1"}
            return [own, {**own, "link": ""}, {"database": "other", "link": "0x9"}]
        return self._change(query, seconds)

    def _change(self, query: str, seconds: float) -> list[dict[str, Any]]:
        self.changed.append(query)
        word, _space, name = query.partition(" ")
        assert name == '"sh""op"'
        if word == "RESUME" and not self.paused:
            raise FreezeError("database is not paused")
        self.paused = int(word == "PAUSE")
        if word == "PAUSE" and self.blocked:
            raise NoAnswerError(f"not within {seconds} s")
        return []


def bouncer(console: Console) -> PgBouncer:
    return PgBouncer(OPTIONS, console)  # type: ignore[arg-type]


def test_held_and_released() -> None:
    console = Console()
    one = bouncer(console)
    assert one.check(35) == {}
    assert one.hold({}, 5) == {}
    released = one.release({})
    assert (released.lasted, released.told) == (True, {"longest_wait": 1.25})
    assert console.changed == ['PAUSE "sh""op"', 'RESUME "sh""op"']
    # Once more is no failure: there is nobody to release.
    assert not one.release({}).lasted


@pytest.mark.parametrize(
    ("console", "said"),
    [
        (Console(pool_mode="session"), "in session mode"),
        (Console(patience="39"), "has waited for 39 s (query_wait_timeout)"),
    ],
)
def test_what_cannot_end_well_is_refused(console: Console, said: str) -> None:
    with pytest.raises(FreezeError) as caught:
        bouncer(console).check(35)
    assert said in caught.value.message
    assert console.changed == []


def test_a_database_may_have_a_mode_of_its_own() -> None:
    console = Console()
    console.own_mode = "session"
    with pytest.raises(FreezeError, match="in session mode"):
        bouncer(console).check(1)


def test_patience_without_an_end_is_enough() -> None:
    bouncer(Console(patience="0")).check(50)
    with pytest.raises(FreezeError, match="client_login_timeout"):
        bouncer(Console(patience="0")).check(56)


def test_what_is_paused_by_somebody_else_is_theirs() -> None:
    console = Console()
    console.paused = 1
    with pytest.raises(FreezeError, match="paused already, and not for this service"):
        bouncer(console).check(1)


def test_a_database_that_is_not_there_is_named_with_those_that_are() -> None:
    with pytest.raises(FreezeError, match="has no database 'no\\\\nsuch'; it has sh\"op"):
        PgBouncer({**OPTIONS, "database": "no\nsuch"}, Console()).check(1)  # type: ignore[arg-type]


def test_a_transaction_that_does_not_end_is_named_and_all_are_released() -> None:
    console = Console(blocked=True)
    with pytest.raises(FreezeError, match="not paused within 5 s.*eve at 10.0.0.1:5") as caught:
        bouncer(console).hold({}, 5)
    assert console.paused == 0
    assert [one["user"] for one in caught.value.evidence["open"]] == ["eve"]


def test_nobody_stays_held_because_nobody_can_be_named() -> None:
    console = Console(blocked=True)
    console.deaf = ("SHOW CLIENTS", "SHOW SERVERS")
    with pytest.raises(FreezeError, match="of nobody by now"):
        bouncer(console).hold({}, 5)
    assert console.paused == 0


def test_what_stays_paused_is_a_failure() -> None:
    console = Console()
    console.paused = 1
    console.deaf = ('RESUME "sh""op"',)
    with pytest.raises(FreezeError, match="RESUME"):
        bouncer(console).release({})
