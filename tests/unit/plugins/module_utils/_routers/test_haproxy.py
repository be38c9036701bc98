# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""HAProxy's answers, as 2.6 gives them, errors with exit status 0 among them."""

from __future__ import annotations

import re
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import InputError, RouterError
from ansible_collections.bluegreen.cutover.plugins.module_utils._routers import Instance, Service
from ansible_collections.bluegreen.cutover.plugins.module_utils._routers.haproxy import HAProxy, parse_map, parse_stat

BACKENDS = {"blue": "shop-blue", "green": "shop-green"}
SERVICE = Service("shop", {"blue": (Instance("app1", 8001),), "green": (Instance("app1", 8002),)}, "/ready")
STAT = """# pxname,svname,qcur,scur,status,weight,
shop-blue,app1,0,2,UP,1,
shop-blue,app2,0,1,UP 2/3,1,
shop-blue,app3,0,0,no check,1,
shop-blue,BACKEND,1,3,UP,3,
shop-green,app1,0,0,DOWN,1,
shop-green,app2,0,0,UP,0,
shop-green,app3,0,0,MAINT,1,
shop-green,BACKEND,0,0,DOWN,0,

"""


class FakeHAProxy:
    """A runtime API: one command on a connection, then the end of it."""

    def __init__(self) -> None:
        self.weight = "0"
        self.map_file = "known.map"
        self.swallows = False
        self.says: dict[str, str] = {}

    def answer(self, command: str) -> str:
        for start, answer in self.says.items():
            if command.startswith(start):
                return answer
        words = command.split()
        if words[:2] == ["show", "stat"]:
            return STAT
        if words[2] != self.map_file:
            return "Unknown map identifier. Please use #<id> or <file>.\n\n"
        if words[0] == "set" and not self.swallows:
            self.weight = words[4]
        return "\n" if words[0] == "set" else f"0x55668db32b20 weight {self.weight}\n\n"


@contextmanager
def listening(path: Path, answer: Callable[[str], str]) -> Iterator[None]:
    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.wfile.write(answer(self.rfile.readline().decode().strip()).encode())

    class Server(socketserver.ThreadingUnixStreamServer):
        daemon_threads = True

    with Server(str(path), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.005}, daemon=True)
        thread.start()
        yield
        server.shutdown()
        thread.join()


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[FakeHAProxy]:
    one = FakeHAProxy()
    one.map_file = str(tmp_path / "shop.map")
    (tmp_path / "shop.map").write_text("weight 0\n")
    with listening(tmp_path / "admin.sock", one.answer):
        yield one


def haproxy(tmp_path: Path) -> HAProxy:
    return HAProxy(SERVICE, socket=str(tmp_path / "admin.sock"), map=str(tmp_path / "shop.map"), backends=BACKENDS)


def test_reads_map_file_and_servers(fake: FakeHAProxy, tmp_path: Path) -> None:
    fake.weight = "50"
    reading = haproxy(tmp_path).read()
    assert (reading.weight, reading.persisted) == (50, 0)
    assert reading.ready == {"blue": 3, "green": 0}
    assert reading.in_flight == {"blue": 4, "green": 0}
    assert reading.detail["servers"]["green"] == {"app1": "DOWN", "app2": "UP", "app3": "MAINT"}


def test_applies_and_persists(fake: FakeHAProxy, tmp_path: Path) -> None:
    router = haproxy(tmp_path)
    (tmp_path / "shop.map").chmod(0o640)
    assert router.apply(25) == [f"set map {tmp_path}/shop.map weight 25"]
    assert router.persist(25) == [f"write {tmp_path}/shop.map"]
    assert (tmp_path / "shop.map").read_text() == "weight 25\n"
    assert (tmp_path / "shop.map").stat().st_mode & 0o777 == 0o640
    assert sorted(path.name for path in tmp_path.iterdir()) == ["admin.sock", "shop.map"]
    assert fake.weight == "25"


@pytest.mark.parametrize(
    ("start", "answer", "message"),
    [
        ("set map", "entry not found.\n\n", "HAProxy refused 'set map .* weight 50': entry not found."),
        ("set map", "Permission denied\n", "Permission denied. The socket needs 'level admin'"),
        ("show map", "Unknown command, but maybe one of the following\n help", "Unknown command"),
        ("show map", "Unknown map identifier. Please\n\n", "HAProxy has not loaded the map"),
        ("show map", "\n", "in the running HAProxy has no entry 'weight'"),
        ("show map", "0x1 weight 5\n0x2 weight 6\n\n", "has 2 entries 'weight'; exactly one is needed"),
    ],
)
def test_errors_that_come_as_answers(fake: FakeHAProxy, tmp_path: Path, start: str, answer: str, message: str) -> None:
    fake.says[start] = answer
    with pytest.raises(RouterError, match=message):
        haproxy(tmp_path).apply(50)


def test_a_value_that_was_swallowed_is_noticed(fake: FakeHAProxy, tmp_path: Path) -> None:
    fake.swallows = True
    with pytest.raises(RouterError, match="yet applies 0"):
        haproxy(tmp_path).apply(50)


def test_a_socket_that_is_gone(tmp_path: Path) -> None:
    (tmp_path / "shop.map").write_text("weight 0\n")
    with pytest.raises(RouterError, match=r"admin.sock does not exist. Start haproxy \(systemctl start haproxy\)"):
        haproxy(tmp_path).apply(50)


def test_a_socket_that_nobody_listens_at(tmp_path: Path) -> None:
    with listening(tmp_path / "admin.sock", str):
        pass
    with pytest.raises(RouterError, match="has nobody listening"):
        haproxy(tmp_path).apply(50)


def test_a_map_file_that_is_gone(fake: FakeHAProxy, tmp_path: Path) -> None:
    (tmp_path / "shop.map").unlink()
    router = haproxy(tmp_path)
    for call in (router.read, lambda: router.persist(1)):
        with pytest.raises(RouterError, match=r"shop.map cannot be .*: .* Set the router up"):
            call()
    assert fake.weight == "0"


@pytest.mark.parametrize(
    ("text", "weight"), [("weight 0\n", 0), ("# a comment\n\nweight 100\nother 7\n", 100), ("weight  5", 5)]
)
def test_maps(text: str, weight: int) -> None:
    assert parse_map(text, "here") == weight


@pytest.mark.parametrize("value", ["101", "-1", "5.0", "abc", "", "5 6", "٣"])
def test_values_that_are_no_weight(value: str) -> None:
    with pytest.raises(RouterError, match=r"'weight' in here is .*; a whole number 0…100 is needed"):
        parse_map(f"weight {value}\n", "here")


def test_an_unknown_backend_names_the_known() -> None:
    message = re.escape("no backend 'nope' for blue; it has ['shop-blue', 'shop-green']")
    with pytest.raises(RouterError, match=message):
        parse_stat(STAT, {"blue": "nope"})


@pytest.mark.parametrize("name", ["shop.map; disable server x/y", "a b", "a\nb", ""])
def test_names_cannot_carry_another_command(name: str) -> None:
    with pytest.raises(InputError, match="cannot be given to HAProxy"):
        HAProxy(SERVICE, socket="/x", map=name, backends=BACKENDS)


def test_each_colour_has_a_backend() -> None:
    with pytest.raises(InputError, match=r"router.backends names"):
        HAProxy(SERVICE, socket="/x", map="/x.map", backends={"blue": "shop-blue"})


def test_a_map_file_that_tells_nothing_is_read_all_the_same(fake: FakeHAProxy, tmp_path: Path) -> None:
    """A rollback must not end at a damaged file that it will write anew."""
    (tmp_path / "shop.map").write_text("weight many\n")
    fake.weight = "50"
    reading = haproxy(tmp_path).read()
    assert (reading.weight, reading.persisted) == (50, None)
