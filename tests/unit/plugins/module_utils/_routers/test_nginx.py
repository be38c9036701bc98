# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""nginx by its include and a reload, and by shared memory."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import RouterError
from ansible_collections.bluegreen.cutover.plugins.module_utils._routers import Instance, Service, nginx, nginx_lua
from ansible_collections.bluegreen.cutover.plugins.module_utils._routers.nginx import (
    Nginx,
    accepting_workers,
    ask_weight,
    render_include,
)
from ansible_collections.bluegreen.cutover.plugins.module_utils._routers.nginx_lua import NginxLua

SERVICE = Service("shop-x", {"blue": (Instance("app1", 8001),), "green": (Instance("app1", 8002),)}, "/ready")
READY = ({"blue": 1, "green": 1}, {"app1:8001": "200", "app1:8002": "200"})


class FakeNginx:
    """Workers that apply the include after a reload, unless told otherwise."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.commands: list[str] = []
        self.applied = 0
        self.workers = {10, 11}
        self.refuses = ""
        self.keeps_old_workers = False
        self.now = itertools.count()

    def run_program(self, argv: list[str]) -> str:
        self.commands.append(" ".join(argv))
        if argv[1] == "-t" and self.refuses:
            raise RouterError(self.refuses)
        if argv[1] == "-s":
            if not self.keeps_old_workers:
                self.workers = {20, 21}
            text = self.path.read_text()
            self.applied = next(weight for weight in range(101) if render_include("shop-x", weight) == text)
        return ""


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeNginx:
    one = FakeNginx(tmp_path / "shop.conf")
    one.path.write_text(render_include("shop-x", 0))
    monkeypatch.setattr(nginx, "run_program", one.run_program)
    monkeypatch.setattr(nginx, "accepting_workers", lambda: one.workers)
    monkeypatch.setattr(nginx, "ask_weight", lambda _socket: one.applied)
    monkeypatch.setattr(nginx, "count_ready", lambda _service: READY)
    monkeypatch.setattr(nginx.time, "monotonic", lambda: float(next(one.now)))
    monkeypatch.setattr(nginx.time, "sleep", lambda _seconds: None)
    return one


def router(fake: FakeNginx) -> Nginx:
    return Nginx(SERVICE, conf=str(fake.path), socket="/x.sock")


def test_the_include() -> None:
    assert render_include("shop-x", 0).splitlines() == [
        "map $host $cutover_shop_x_weight { default 0; }",
        "map $host $cutover_shop_x_colour { default blue; }",
    ]
    assert render_include("shop-x", 5).splitlines() == [
        "map $host $cutover_shop_x_weight { default 5; }",
        "split_clients $cutover_shop_x_key $cutover_shop_x_colour { 5% green; * blue; }",
    ]
    assert "colour { default green; }" in render_include("shop-x", 100)


def test_reads_tests_reloads_and_waits_for_new_workers(fake: FakeNginx) -> None:
    one = router(fake)
    assert (one.read().weight, one.read().persisted) == (0, 0)
    assert one.apply(50) == [f"write {fake.path}", "nginx -t -q", "nginx -s reload"]
    assert fake.commands == ["nginx -t -q", "nginx -s reload"]
    reading = one.read()
    assert (reading.weight, reading.persisted, reading.ready) == (50, 50, {"blue": 1, "green": 1})
    assert reading.in_flight == {"blue": None, "green": None}
    assert one.persist(50) == []


def test_an_include_edited_by_hand_is_not_guessed_at(fake: FakeNginx) -> None:
    fake.path.write_text(fake.path.read_text() + "# mine\n")
    assert router(fake).read().persisted is None
    assert router(fake).persist(0) == [f"write {fake.path}"]
    assert router(fake).read().persisted == 0


def test_what_nginx_refuses_is_taken_back(fake: FakeNginx) -> None:
    fake.refuses = "'nginx -t -q' failed: unexpected }"
    with pytest.raises(RouterError, match="unexpected }"):
        router(fake).apply(50)
    assert fake.path.read_text() == render_include("shop-x", 0)
    assert fake.commands == ["nginx -t -q"]


def test_a_reload_that_does_not_happen_is_taken_back(fake: FakeNginx) -> None:
    fake.keeps_old_workers = True
    with pytest.raises(RouterError, match=r"workers \[10, 11\] still serve the former configuration"):
        router(fake).apply(50)
    assert fake.path.read_text() == render_include("shop-x", 0)


def test_workers_that_are_told_to_end_do_not_count(tmp_path: Path) -> None:
    titles = {"10": "nginx: worker process", "11": "nginx: worker process is shutting down", "12": "other"}
    for pid, title in titles.items():
        (tmp_path / pid).mkdir()
        (tmp_path / pid / "cmdline").write_bytes(title.encode() + b"\0\0\0")
    (tmp_path / "9" / "task" / "9").mkdir(parents=True)
    (tmp_path / "9" / "task" / "9" / "children").write_text("10 11 12 13 ")
    (tmp_path / "pid").write_text("9\n")
    assert accepting_workers(str(tmp_path / "pid"), str(tmp_path)) == {10}


def test_an_nginx_that_does_not_run(tmp_path: Path) -> None:
    with pytest.raises(RouterError, match=r"nginx does not run .* Start it \(systemctl start nginx\)"):
        accepting_workers(str(tmp_path / "pid"), str(tmp_path))


def test_an_answer_that_is_no_weight(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nginx, "ask_socket", lambda *_: "\n")
    with pytest.raises(RouterError, match=r"the weight that nginx tells on /x.sock is ''"):
        ask_weight("/x.sock")


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What nginx with Lua keeps in shared memory."""
    shared = {"weight": "0"}

    def ask(_program: str, _path: str, method: str, url: str) -> str:
        if method == "POST" and "deaf" not in shared:
            shared["weight"] = url.partition("=")[2]
        return shared["weight"] + "\n"

    for module in (nginx, nginx_lua):
        monkeypatch.setattr(module, "ask_socket", ask)
    monkeypatch.setattr(nginx_lua, "count_ready", lambda _service: READY)
    return shared


@pytest.fixture
def lua(memory: dict[str, str], tmp_path: Path) -> Callable[[], NginxLua]:
    assert memory
    (tmp_path / "shop.weight").write_text("0\n")
    return lambda: NginxLua(SERVICE, file=str(tmp_path / "shop.weight"), socket="/x.sock")


def test_lua_sets_the_memory_then_the_file(lua: Callable[[], NginxLua], tmp_path: Path) -> None:
    one = lua()
    assert one.apply(50) == ["POST /weight?set=50 on /x.sock"]
    assert (one.read().weight, one.read().persisted) == (50, 0)
    assert one.persist(50) == [f"write {tmp_path}/shop.weight"]
    assert one.read().persisted == 50


def test_lua_that_does_not_do_what_it_said(lua: Callable[[], NginxLua], memory: dict[str, str]) -> None:
    memory["deaf"] = "yes"
    with pytest.raises(RouterError, match=r"took the weight 50 on /x.sock, yet applies 0"):
        lua().apply(50)
