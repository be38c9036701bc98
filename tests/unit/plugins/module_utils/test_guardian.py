# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The guard's process: what it does when it is time, whatever happens meanwhile."""

from __future__ import annotations

import contextlib
import errno
import functools
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.bluegreen.cutover.plugins.module_utils import _guardian, _guarding
from ansible_collections.bluegreen.cutover.plugins.module_utils._core import guard, journal
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import (
    FencedError,
    LeaseHeldError,
    RouterError,
    StoreError,
)
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.guard import Cause, Moment
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.plan import make_plan
from ansible_collections.bluegreen.cutover.plugins.module_utils._guardian import Guardian
from ansible_collections.bluegreen.cutover.plugins.module_utils._migration import Migration
from ansible_collections.bluegreen.cutover.plugins.module_utils._routers import Reading, Router, Service
from ansible_collections.bluegreen.cutover.plugins.module_utils._routing import change_weight, make_service
from ansible_collections.bluegreen.cutover.plugins.module_utils._stores.files import FileStore
from ansible_collections.bluegreen.cutover.plugins.module_utils._triggers import Watch

ALICE = {"user": "alice", "host": "ops1", "pid": 1}
BOB = {"user": "bob", "host": "ops1", "pid": 2}
BOOT, WALL = 500.0, 1_785_412_870.0


class Dial:
    """A router that is set by hand; ``meanwhile`` happens just before the next reading or change."""

    def __init__(self) -> None:
        self.weight = self.persisted = 0
        self.ready = {"blue": 2, "green": 2}
        self.broken = False
        self.meanwhile: dict[str, Callable[[], object]] = {}

    def _now(self, what: str) -> None:
        self.meanwhile.pop(what, lambda: None)()
        if self.broken:
            raise RouterError("the socket is gone")

    def read(self) -> Reading:
        self._now("read")
        return Reading(self.weight, self.persisted, dict(self.ready), {"blue": 1, "green": None})

    def apply(self, weight: int) -> list[str]:
        self._now("apply")
        self.weight = weight
        return [f"set {weight}"]

    def persist(self, weight: int) -> list[str]:
        self.persisted = weight
        return [f"write {weight}"]


class Desk:
    """A service in the middle of its migration, with a guard, on clocks that are set by hand."""

    def __init__(self, folder: Path) -> None:
        self.router = Dial()
        self.folder = folder
        self.store = FileStore(str(folder), "shop")
        self.boottime, self.wall, self.boot_id = BOOT, WALL, "one"
        self.said: list[str] = []
        self.runtime = folder / "run"
        self.runtime.mkdir()
        self.guardian = self.new_guardian()
        self.plan = self.make_plan()
        self.token = 0

    def make_plan(self, source: str = "", **settings: Any) -> dict[str, Any]:
        variables = {
            "cutover_service": "shop",
            "cutover_front": "http://router",
            "cutover_router": {"provider": "haproxy"},
            "cutover_colours": {
                "blue": {"unit": "blue.service", "port": 8001},
                "green": {"unit": "green.service", "port": 8002},
            },
            "cutover_state_dir": str(self.folder),
            "cutover_guard": {"time": 10, **settings},
            "cutover_prometheus": {"url": source} if source else None,
        }
        return make_plan(variables, routers=["router"], applications=["app1", "app2"], hosts={})

    def new_guardian(self) -> Guardian:
        return Guardian(
            self.store,
            functools.partial(_guardian.show_in, self.runtime),
            moment=self.moment,
            clock=self,
            routed=self.routed,
            tell=self.said.append,
        )

    def routed(self, target: Any) -> tuple[Service, Router]:
        return make_service(target["service"], target["colours"], target["ready_path"]), self.router

    # The clock that a change of weight reads.
    def time(self) -> float:
        return self.wall

    def monotonic(self) -> float:
        return self.boottime

    def sleep(self, seconds: float) -> None:
        raise AssertionError(f"slept {seconds} s")

    def moment(self) -> Moment:
        return Moment(self.boottime, self.boot_id, self.wall)

    def wait(self, seconds: float) -> None:
        self.boottime += seconds
        self.wall += seconds

    def run(self) -> Migration:
        return Migration(self.plan, self.store, self.router, clock=SimpleNamespace(time=lambda: self.wall))

    @property
    def workloads(self) -> list[dict[str, Any]]:
        return [
            {"host": host, "colour": colour, "active": True, "enabled": True}
            for host in ("app1", "app2")
            for colour in ("blue", "green")
        ]

    def begin(self) -> None:
        """A run that has armed its guard and moved a part of the traffic."""
        self.token = self.run().begin(self.workloads, ALICE)["token"]
        self.arm(self.token)
        self.change(self.token, 50)

    def arm(self, token: int) -> None:
        with self.store.locked():
            document = guard.arm(self.store.read_guard(), self.plan, token, self.moment())
            self.store.fence(token, self.wall)
            self.store.write_guard(document)

    def change(self, token: int, weight: int) -> None:
        service = make_service("shop", self.plan["colours"], "/ready")
        change_weight(self.router, service, weight, store=self.store, token=token, clock=self, ready_wait=0)

    def confirm(self, token: int) -> bool:
        return _guarding.confirm(self.store, token, self.wall)

    @property
    def state(self) -> journal.State:
        return journal.fold(self.store.read_journal())

    @property
    def events(self) -> list[str]:
        return [event["kind"] for event in self.store.read_journal()["migrations"][-1]["events"]]


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.setattr(os, "fsync", lambda _descriptor: None)  # nobody waits for a disk here
    the_desk = Desk(tmp_path)
    monkeypatch.setattr(_guarding, "moment", the_desk.moment)
    the_desk.begin()
    return the_desk


def test_not_renewed_it_sends_the_traffic_back_and_says_so(desk: Desk) -> None:
    token = desk.token
    desk.wait(9.99)
    assert desk.guardian.look() == pytest.approx(0.011)
    assert desk.router.weight == 50
    desk.wait(0.01)
    desk.guardian.look()
    assert (desk.router.weight, desk.router.persisted) == (0, 0)
    assert desk.events[-4:] == ["guard_fired", "weight_intended", "weight_set", "failed"]
    assert (desk.state.phase, desk.state.weight, desk.state.possible) == ("failed", 0, {0})
    assert desk.state.failure == {
        "reason": "guard",
        "message": "the guard has sent the traffic of shop back to blue at 2026-07-30 12:01:20 UTC: "
        "nobody renewed it for 10 s",
    }
    assert desk.store.read_lease() is None
    assert desk.store.read_guard() is None
    assert desk.guardian.look() is None
    with pytest.raises(FencedError, match="has sent the traffic of shop back to blue .* nobody renewed it") as caught:
        desk.change(token, 100)
    assert caught.value.evidence["guard"]["cause"] == "time"
    assert desk.router.weight == 0


def test_the_next_run_knows_and_goes_on(desk: Desk) -> None:
    desk.wait(10)
    desk.guardian.look()
    resumed = desk.run().begin(desk.workloads, BOB)
    assert resumed["decision"]["kind"] == "resume"
    assert "the guard has sent the traffic of shop back to blue" in resumed["decision"]["sentence"]
    assert [step["allowed"] for step in resumed["decision"]["steps"]] == [[0]]
    assert desk.state.fired is None


def test_the_rollback_after_it_knows_too(desk: Desk) -> None:
    desk.wait(10)
    desk.guardian.look()
    back = desk.run().roll_back(None, BOB)
    assert "Before, the guard has sent the traffic" in back["decision"]["sentence"]
    desk.change(back["token"], 0)
    assert desk.run().close(back["token"], "rolled_back")["changed"]


def test_renewed_it_waits(desk: Desk) -> None:
    token = desk.token
    for _step in range(5):
        desk.wait(9)
        desk.arm(token)
        desk.guardian.look()
    assert desk.router.weight == 50
    assert desk.confirm(token)
    desk.wait(1000)
    assert desk.guardian.look() is None


@pytest.mark.parametrize("moment", ["before", "read", "apply", "after"])
def test_a_confirmation_at_any_moment_holds_or_is_refused(desk: Desk, moment: str) -> None:
    token = desk.token
    desk.wait(10)
    outcome: list[str] = []

    def confirm() -> None:
        try:
            desk.confirm(token)
            outcome.append("confirmed")
        except FencedError:
            outcome.append("fenced")

    if moment == "before":
        confirm()
    desk.router.meanwhile[moment] = confirm
    desk.guardian.look()
    if moment == "after":
        confirm()
    fired = "guard_fired" in desk.events
    assert (outcome, fired, desk.router.weight) in ((["confirmed"], False, 50), (["fenced"], True, 0))
    assert fired == (moment != "before")
    assert desk.store.read_guard() is None


def test_a_controller_that_wakes_up_while_it_fires_is_fenced(desk: Desk) -> None:
    token = desk.token
    desk.wait(10)
    outcome = []

    def step() -> None:
        for act in (lambda: desk.change(token, 100), lambda: desk.arm(token)):
            try:
                act()
            except FencedError as error:
                outcome.append(error.message)

    desk.router.meanwhile["apply"] = step
    desk.guardian.look()
    assert len(outcome) == 2
    assert "the guard took shop over" in outcome[0]
    assert "is taking the traffic back" in outcome[1]
    assert desk.router.weight == 0


def test_blue_that_is_not_ready_is_waited_for(desk: Desk) -> None:
    desk.router.ready["blue"] = 1
    desk.wait(10)
    for _look in range(20):
        desk.guardian.look()
        desk.wait(0.1)
    assert desk.router.weight == 50
    assert desk.events.count("guard_waits") == 1
    assert "blue has 1 of 2 instances ready" in desk.said[-1]
    seen = json.loads((desk.runtime / "seen.json").read_text())
    assert "blue has 1 of 2" in seen["problem"]
    with pytest.raises(LeaseHeldError, match="is being taken back by its guard by guard@.* because 'nobody renewed"):
        desk.run().begin(desk.workloads, BOB)
    desk.router.ready["blue"] = 2
    desk.wait(5)
    desk.guardian.look()
    assert desk.router.weight == 0
    assert desk.state.phase == "failed"


@pytest.mark.parametrize("green", [0, 1])
def test_as_much_of_blue_as_green_has_is_enough(desk: Desk, green: int) -> None:
    """A host that is lost takes an instance of both, and the run, too: nobody else would bring the traffic back."""
    desk.router.ready.update(blue=1, green=green)
    desk.wait(10)
    desk.guardian.look()
    assert desk.router.weight == 0


def test_a_runtime_folder_that_is_full_does_not_keep_it_from_firing(desk: Desk) -> None:
    desk.runtime.rmdir()
    desk.wait(10)
    desk.guardian.look()
    assert desk.router.weight == 0
    assert any("seen.tmp cannot be written" in line for line in desk.said)


def test_nobody_ready_leaves_it_as_it_is(desk: Desk) -> None:
    desk.router.ready.update(blue=0, green=0)
    desk.wait(10)
    desk.guardian.look()
    assert desk.router.weight == 50


def test_a_rollback_takes_over_from_a_guard_that_waits(desk: Desk) -> None:
    desk.router.ready["blue"] = 0
    desk.wait(10)
    desk.guardian.look()
    back = desk.run().roll_back(None, BOB)
    desk.guardian.look()
    assert (desk.store.read_lease() or {})["kind"] == "rollback"
    desk.router.ready["blue"] = 2
    desk.change(back["token"], 0)
    assert desk.store.read_guard() is None
    desk.run().close(back["token"], "rolled_back")
    assert desk.state.phase == "rolled_back"


def test_a_rollback_that_dies_on_its_way_is_guarded_too(desk: Desk) -> None:
    desk.wait(9)
    desk.run().roll_back(None, BOB)
    desk.wait(guard.ROLLBACK_TIME - 0.1)
    desk.guardian.look()
    assert desk.router.weight == 50
    desk.wait(0.1)
    desk.guardian.look()
    assert desk.router.weight == 0


def test_a_resumed_run_takes_it_over(desk: Desk) -> None:
    token = desk.token
    desk.wait(9)
    taken = desk.run().begin(desk.workloads, ALICE, takeover=token)
    desk.wait(9)
    desk.guardian.look()
    assert (desk.router.weight, (desk.store.read_guard() or {})["token"]) == (50, taken["token"])


def test_a_resumed_run_that_is_to_have_none_disarms_it(desk: Desk) -> None:
    desk.plan = desk.make_plan(enabled=False)
    desk.run().begin(desk.workloads, ALICE, takeover=desk.token)
    assert desk.store.read_guard() is None
    assert desk.guardian.look() is None


def test_a_step_back_to_where_it_came_from_disarms_it(desk: Desk) -> None:
    token = desk.token
    desk.change(token, 0)
    assert desk.store.read_guard() is None
    desk.arm(token)
    desk.change(token, 0)
    assert desk.store.read_guard() is None


class KilledError(BaseException):
    """Not an Exception: nothing catches it."""


def look_and_die(desk: Desk, monkeypatch: pytest.MonkeyPatch, at: int) -> int:
    """Let the guard look, and kill it just after its write number ``at``; how many it made."""
    real, writes = FileStore._write, 0

    def write(self: FileStore, path: Path, document: dict[str, Any]) -> None:
        nonlocal writes
        real(self, path, document)
        writes += 1
        if writes == at:
            raise KilledError

    with monkeypatch.context() as patched:
        patched.setattr(FileStore, "_write", write)
        with contextlib.suppress(KilledError):
            desk.guardian.look()
    return writes


@pytest.mark.parametrize("at", range(1, 13))
def test_killed_after_any_write_the_next_process_ends_it_whole(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    token = desk.token
    desk.wait(10)
    assert look_and_die(desk, monkeypatch, at) == min(at, 11)
    desk.guardian = desk.new_guardian()
    desk.guardian.look()
    assert (desk.router.weight, desk.router.persisted) == (0, 0)
    assert (desk.state.phase, desk.state.possible, desk.state.intent) == ("failed", {0}, None)
    assert desk.events.count("guard_fired") == 1
    assert desk.store.read_guard() is None
    assert desk.store.read_lease() is None
    with pytest.raises(FencedError):
        desk.change(token, 100)


def test_a_router_that_comes_up_was_told_before(desk: Desk) -> None:
    desk.boot_id, desk.boottime = "two", 3.0
    desk.router.broken = True  # it is not up yet
    desk.new_guardian().boot()
    assert (desk.router.weight, desk.router.persisted) == (50, 0)
    desk.router.weight, desk.router.broken = 0, False
    desk.guardian.look()
    assert desk.events[-4:] == ["guard_fired", "weight_intended", "weight_set", "failed"]
    assert (desk.state.phase, desk.state.weight, desk.state.possible) == ("failed", 0, {0})
    assert "its host was started anew" in (desk.state.failure or {})["message"]


def test_the_unit_for_the_boot_does_nothing_in_the_same_boot(desk: Desk) -> None:
    token = desk.token
    desk.wait(11)
    desk.guardian.boot()
    assert desk.router.persisted == 50
    desk.arm(token)
    desk.confirm(token)
    desk.boot_id = "two"
    desk.guardian.boot()
    assert desk.router.persisted == 50


def test_a_full_disk_does_not_keep_the_traffic_away(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.wait(10)

    def full(_self: FileStore, path: Path, _document: dict[str, Any]) -> None:
        raise StoreError(f"{path}: No space left on device", {"errno": errno.ENOSPC})

    with monkeypatch.context() as patched:
        patched.setattr(FileStore, "_write", full)
        desk.guardian.look()
        assert desk.router.weight == 0
        assert "without a record" in desk.said[-1]
    desk.wait(1)
    desk.guardian.look()
    assert desk.state.phase == "failed"
    assert desk.store.read_guard() is None


def test_a_router_that_fails_is_tried_again_with_growing_pauses(desk: Desk) -> None:
    desk.wait(10)
    desk.router.broken = True
    tried = 0

    def count() -> None:
        nonlocal tried
        tried += 1

    for _look in range(25):
        desk.router.meanwhile["read"] = count
        desk.guardian.look()
        desk.wait(0.4)
    assert 4 <= tried <= 6
    desk.router.broken = False
    desk.wait(30)
    desk.guardian.look()
    assert desk.router.weight == 0


def test_a_damaged_file_is_told_and_waited_for(desk: Desk) -> None:
    path = desk.folder / "shop" / "guard.json"
    text = path.read_text()
    path.write_text("{")
    assert desk.guardian.look() == _guardian.TICK
    assert "is not JSON" in desk.said[-1]
    path.write_text(text)
    desk.wait(10)
    desk.guardian.look()
    assert desk.router.weight == 0


def test_a_sign_of_life_is_given_at_once_for_what_is_new(desk: Desk) -> None:
    token = desk.token
    desk.guardian.look()
    seen = json.loads((desk.runtime / "seen.json").read_text())
    assert (seen["token"], seen["generation"], seen["at"]) == (token, 1, BOOT)
    desk.wait(0.1)
    desk.guardian.look()
    assert json.loads((desk.runtime / "seen.json").read_text()) == seen
    desk.arm(token)
    desk.guardian.look()
    assert json.loads((desk.runtime / "seen.json").read_text())["generation"] == 2


def test_a_trigger_that_holds_fires_a_confirmed_guard(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    trigger = {"name": "errors of green", "query": "q", "max": 0.05}
    desk.plan = desk.make_plan(triggers=[trigger], source="http://prometheus:9090")
    desk.arm(desk.token)
    assert desk.confirm(desk.token)
    monkeypatch.setattr(Watch, "set", lambda _self, _document: None)
    desk.wait(100_000)
    desk.guardian.look()
    assert desk.router.weight == 50
    monkeypatch.setattr(Watch, "pulled", lambda _self: Cause("trigger", "'errors of green' was 0.2 (limit 0.05)"))
    # The lease of the run that confirmed has ended long ago.
    desk.guardian.look()
    assert desk.router.weight == 0
    assert "'errors of green' was 0.2" in (desk.state.failure or {})["message"]


def test_a_trigger_that_a_rollback_has_taken_over_from_fires_nothing(desk: Desk) -> None:
    trigger = {"name": "errors of green", "query": "q", "max": 0.05}
    desk.plan = desk.make_plan(triggers=[trigger], source="http://prometheus:9090")
    desk.arm(desk.token)
    token = desk.run().roll_back(None, BOB)["token"]
    desk.guardian._fire(Cause("trigger", "'errors of green' was 0.2"))
    assert desk.state.fired is None
    assert (desk.store.read_lease() or {})["token"] == token


def test_status_tells_of_it(desk: Desk) -> None:
    told = desk.run().describe(desk.workloads)
    assert (told["guard"]["state"], told["guard"]["left"], told["guard"]["back_to"]) == ("armed", 10, "blue")
    assert not told["agree"]
    assert "its process is not there; see 'systemctl status bluegreen-guard-shop.service'" in told["differences"][-1]


def test_a_wall_clock_that_jumps_while_it_fires_costs_it_nothing(desk: Desk) -> None:
    desk.wait(10)

    def jump() -> None:
        desk.wall += 100_000

    desk.router.meanwhile["read"] = jump
    desk.guardian.look()
    desk.guardian.look()
    assert desk.router.weight == 0
    assert desk.state.phase == "failed"
    assert replace(desk.state, fired=None).fired is None
