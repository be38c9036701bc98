# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Queues in Redis, with a server as a script."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import QueueError
from ansible_collections.bluegreen.cutover.plugins.module_utils._queues import _redis, celery
from ansible_collections.bluegreen.cutover.plugins.module_utils._queues.celery import BOUND, Celery
from ansible_collections.bluegreen.cutover.plugins.module_utils._queues.redis_list import RedisList
from ansible_collections.bluegreen.cutover.plugins.module_utils._queues.redis_stream import MOST, RedisStream

REACHED = {"host": "127.0.0.1", "port": None, "db": 0, "user": None, "password_file": None}
KINDS = {list: "list", dict: "hash", set: "set", frozenset: "zset", str: "string"}


class RedisError(Exception):
    pass


class WatchError(RedisError):
    pass


class Pipeline:
    """Of one connection, which the server may watch keys for."""

    def __init__(self, server: Redis) -> None:
        self.server = server
        self.watched: dict[str, int] = {}
        self.queued: list[tuple[Any, ...]] = []
        self.transaction = False

    def watch(self, *keys: str) -> None:
        self.watched = {key: self.server.touched.get(key, 0) for key in keys}
        self.server.watches.append(self)

    def multi(self) -> None:
        self.transaction = True

    def execute_command(self, *command: Any) -> None:
        assert self.transaction
        self.queued.append(command)

    def execute(self) -> list[Any]:
        server = self.server
        if server.error is not None:
            raise server.error
        if self in server.watches:
            # Another watch has begun by now, or something would be missed.
            assert server.watches.index(self) < len(server.watches) - 1
            server.watches.remove(self)
            if any(server.touched.get(key, 0) != count for key, count in self.watched.items()):
                raise WatchError
        server.commands = self.queued
        return [server.answer(*command) for command in self.queued]


class Redis:
    """A server and its client in one: keys that hold Python's own kinds, and streams by what XINFO says."""

    def __init__(self, keys: dict[str, Any] | None = None, streams: dict[str, Any] | None = None) -> None:
        self.keys = keys or {}
        self.streams = streams or {}
        self.given: dict[str, Any] = {}
        self.error: RedisError | None = None
        self.commands: list[tuple[Any, ...]] = []
        self.touched: dict[str, int] = {}
        self.watches: list[Pipeline] = []

    def __call__(self, **given: Any) -> Redis:
        self.given = given
        return self

    def come_and_go(self, key: str) -> None:
        self.touched[key] = self.touched.get(key, 0) + 2

    def type(self, key: str) -> bytes:
        if key in self.streams:
            return b"stream"
        return KINDS[type(self.keys[key])].encode() if key in self.keys else b"none"

    def exists(self, key: str) -> int:
        return int(key in self.keys or key in self.streams)

    def pipeline(self) -> Pipeline:
        return Pipeline(self)

    def answer(self, command: str, key: str) -> Any:
        if command == "XLEN":
            return self.streams[key]["length"]
        if command.startswith("XINFO"):
            return self.streams[key][command.split()[1].lower()]
        if command == "SMEMBERS":
            return self.keys.get(key, set())
        return len(self.keys.get(key, ()))

    def xrange(self, key: str, min: str, count: int) -> list[Any]:  # noqa: A002 - the client's own name
        assert min.startswith("(")
        return list(self.streams[key]["left"])[:count]


@pytest.fixture(name="server")
def _server(monkeypatch: pytest.MonkeyPatch) -> Redis:
    one = Redis()
    monkeypatch.setattr(
        _redis, "redis", SimpleNamespace(Redis=one, RedisError=RedisError, WatchError=WatchError), raising=False
    )
    monkeypatch.setattr(_redis, "REDIS_PROBLEM", "")
    return one


def test_a_list_and_what_is_worked_at_are_counted_at_one_moment(server: Redis) -> None:
    server.keys = {"jobs": [1, 2], "wip": frozenset({"x"}), "busy": {"y": 1}, "set": {1, 2}}
    depth = RedisList({**REACHED, "name": "jobs", "processing": ["wip", "busy", "set", "not there"]}).read()
    assert (depth.waiting, depth.in_flight) == (2, 4)
    assert depth.parts == {"wip": 1, "busy": 1, "set": 2, "not there": 0}
    # All in one transaction.
    assert len(server.commands) == 5


def test_workers_that_leave_no_trace_are_not_counted_as_none(server: Redis) -> None:
    depth = RedisList({**REACHED, "name": "jobs", "processing": []}).read()
    assert (depth.waiting, depth.in_flight) == (0, None)
    assert server.commands == [("LLEN", "jobs")]


def test_what_comes_and_goes_between_two_looks_is_seen(server: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    inspecting(monkeypatch, Inspecting({}))
    jobs = RedisList({**REACHED, "name": "jobs", "processing": ["wip"]})
    mails = Celery(CELERY)
    for queue, key, other in ((jobs, "jobs", "wip"), (mails, "p:mails\x06\x169", "p:unacked")):
        assert not queue.read().touched
        server.come_and_go(key)
        depth = queue.read()
        assert (depth.is_empty, depth.touched, depth.unwatched) == (True, True, "")
        # Only workers touch where they keep what they are at.
        server.come_and_go(other)
        assert not queue.read().touched


def test_what_holds_no_jobs_is_refused(server: Redis) -> None:
    server.keys = {"text": "x"}
    with pytest.raises(QueueError, match="'text' is a string"):
        RedisList({**REACHED, "name": "jobs", "processing": ["text"]}).read()


def test_what_redis_refuses_is_told_without_the_password(server: Redis, tmp_path: Path) -> None:
    (tmp_path / "password").write_text("s3cret\n")
    server.error = RedisError("WRONGPASS  of\nthis user")
    with pytest.raises(QueueError) as caught:
        RedisList({**REACHED, "name": "q", "processing": [], "password_file": str(tmp_path / "password")}).read()
    assert caught.value.message.startswith("Redis at 127.0.0.1:6379/0: WRONGPASS of this user. See that")
    assert server.given["password"] == "s3cret"


def test_a_password_that_is_not_there_is_told(server: Redis, tmp_path: Path) -> None:
    missing = {**REACHED, "name": "q", "processing": [], "password_file": str(tmp_path / "no")}
    with pytest.raises(QueueError, match="no cannot be read on this host: No such file or directory"):
        RedisList(missing).read()
    assert server.given == {}


def test_without_its_library_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_redis, "REDIS_PROBLEM", "Traceback")
    with pytest.raises(QueueError, match="install python3-redis"):
        RedisList({**REACHED, "name": "q", "processing": []}).read()


def group(name: str, pending: int, lag: int | None) -> dict[str, Any]:
    return {"name": name.encode(), "pending": pending, "lag": lag, "last-delivered-id": b"5-0"}


def test_a_stream_is_read_when_all_groups_have_read_and_acknowledged(server: Redis) -> None:
    groups = [group("billing", 1, 2), group("shipping", 4, 0)]
    server.streams = {"orders": {"length": 9, "stream": {"entries-added": 12}, "groups": groups}}
    depth = RedisStream({**REACHED, "name": "orders"}).read()
    assert (depth.waiting, depth.in_flight, depth.moves, depth.unwatched) == (2, 5, 12, "")
    assert depth.parts == {"billing: lag": 2, "billing: pending": 1, "shipping: lag": 0, "shipping: pending": 4}
    only = RedisStream({**REACHED, "name": "orders", "groups": ["shipping"]}).read()
    assert (only.waiting, only.in_flight) == (0, 4)


@pytest.mark.parametrize(("left", "waiting"), [(0, 0), (3, 3), (5 * MOST, MOST)])
def test_a_lag_that_is_not_known_is_counted(server: Redis, left: int, waiting: int) -> None:
    server.streams = {"orders": {"length": 9, "stream": {}, "groups": [group("g", 0, None)], "left": range(left)}}
    depth = RedisStream({**REACHED, "name": "orders"}).read()
    assert (depth.waiting, depth.moves) == (waiting, None)
    assert depth.unwatched == "Redis before 7 does not count what is added to a stream"


def test_a_stream_that_nobody_reads_waits_whole(server: Redis) -> None:
    server.streams = {"orders": {"length": 9, "stream": {}, "groups": []}}
    depth = RedisStream({**REACHED, "name": "orders"}).read()
    assert (depth.waiting, depth.in_flight) == (9, 0)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"name": "nothing"}, "Redis has no stream 'nothing'"),
        ({"name": "text"}, "'text' is no stream"),
        ({"name": "orders", "groups": ["b"]}, "has no group 'b'; it has 'g'"),
    ],
)
def test_a_stream_that_cannot_be_judged_is_told(server: Redis, options: dict[str, Any], said: str) -> None:
    server.keys = {"text": "x"}
    server.streams = {"orders": {"length": 0, "stream": {}, "groups": [group("g", 0, 0)]}}
    with pytest.raises(QueueError, match=said):
        RedisStream({**REACHED, **options}).read()


class Inspecting:
    """Celery's remote control, as a script."""

    def __init__(self, active: dict[str, list[Any]] | None, error: Exception | None = None) -> None:
        self.told = active
        self.error = error
        self.conf = SimpleNamespace()
        self.control = self
        self.broker = ""
        self.closed = False

    def __call__(self, broker: str, set_as_current: bool) -> Inspecting:
        assert not set_as_current
        self.broker = broker
        return self

    def inspect(self, timeout: float, limit: int) -> Inspecting:
        assert timeout > 0
        assert limit > 0
        return self

    def active(self) -> dict[str, list[Any]] | None:
        if self.error is not None:
            raise self.error
        return self.told

    def close(self) -> None:
        self.closed = True


CELERY = {**REACHED, "name": "mails", "priorities": [0, 3, 9], "prefix": "p:", "ask_workers": True}
ONE = b"\x06\x16\x06\x16one@data.celery.pidbox"


def inspecting(monkeypatch: pytest.MonkeyPatch, one: Inspecting) -> Inspecting:
    monkeypatch.setattr(celery, "celery", SimpleNamespace(Celery=one), raising=False)
    monkeypatch.setattr(celery, "CELERY_PROBLEM", "")
    return one


def test_celerys_lists_by_priority_and_what_is_not_acknowledged(server: Redis) -> None:
    server.keys = {"p:mails": [1], "p:mails\x06\x163": [1, 2], "p:mails\x06\x169": [3], "p:unacked": {"a": 1}}
    depth = Celery(CELERY).read()
    assert (depth.waiting, depth.in_flight) == (4, 1)
    assert depth.parts == {"mails": 1, "mails priority 3": 2, "mails priority 9": 1, "unacked": 1}


def test_workers_are_asked_once_redis_holds_nothing(
    server: Redis, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    server.keys = {f"p:{BOUND}": {ONE, b"other"}}
    (tmp_path / "password").write_text("a/b@c")
    asked = inspecting(monkeypatch, Inspecting({"one@data": [{"name": "work"}]}))
    options = {**CELERY, "password_file": str(tmp_path / "password"), "port": 7, "db": 3}
    depth = Celery(options).read()
    assert (depth.waiting, depth.in_flight, depth.unknown) == (0, 1, "")
    assert asked.broker == "redis://:a%2Fb%40c@127.0.0.1:7/3"
    assert asked.conf.broker_transport_options["global_keyprefix"] == "p:"
    assert asked.closed


def test_a_worker_that_does_not_answer_is_not_idle(server: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    server.keys = {f"p:{BOUND}": {ONE, ONE.replace(b"one", b"two")}}
    inspecting(monkeypatch, Inspecting({"one@data": []}))
    depth = Celery(CELERY).read()
    assert not depth.is_empty
    assert depth.unknown.startswith("two@data does not say what it does")
    inspecting(monkeypatch, Inspecting(None))
    assert Celery(CELERY).read().unknown.startswith("one@data, two@data does not say")


def test_nobody_is_asked_where_nobody_can_be_at_work(server: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    inspecting(monkeypatch, Inspecting(None, AssertionError("nobody asks")))
    assert Celery(CELERY).read().is_empty
    server.keys = {f"p:{BOUND}": {ONE}}
    assert Celery({**CELERY, "ask_workers": False}).read().is_empty


def test_a_broker_that_fails_while_workers_are_asked(server: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    server.keys = {f"p:{BOUND}": {ONE}}
    asked = inspecting(monkeypatch, Inspecting(None, OSError("gone")))
    with pytest.raises(QueueError, match="the workers of 'mails' cannot be asked: OSError: gone"):
        Celery(CELERY).read()
    assert asked.closed
    monkeypatch.setattr(celery, "CELERY_PROBLEM", "Traceback")
    with pytest.raises(QueueError, match="install python3-celery"):
        Celery(CELERY).read()
