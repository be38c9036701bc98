# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lease, journal and router together, from the begin of a migration to its end."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import (
    CheckpointError,
    ClusterError,
    CutoverError,
    DriftError,
    FencedError,
    HeldError,
    InputError,
    LeaseHeldError,
    RehearsalError,
    RouterError,
    SnapshotError,
    StoreError,
)
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.plan import make_plan
from ansible_collections.bluegreen.cutover.plugins.module_utils._migration import Migration, open_plan
from ansible_collections.bluegreen.cutover.plugins.module_utils._routers import Reading
from ansible_collections.bluegreen.cutover.plugins.module_utils._routers.haproxy import HAProxy
from ansible_collections.bluegreen.cutover.plugins.module_utils._stores.files import FileStore

ALICE = {"user": "alice", "host": "ops1", "pid": 1}
BOB = {"user": "bob", "host": "ops1", "pid": 2}


class Dial:
    """A router that is set by hand."""

    def __init__(self, weight: int | None = 0) -> None:
        self.weight = self.persisted = weight
        self.broken = False
        self.unclear = ""

    def read(self) -> Reading:
        if self.broken:
            raise RouterError("the socket is gone")
        ready, in_flight = {"blue": 2, "green": 2}, {"blue": 1, "green": None}
        return Reading(self.weight, self.persisted, ready, in_flight, unclear=self.unclear)

    def turn(self, weight: int) -> None:
        self.weight = self.persisted = weight

    def apply(self, weight: int) -> list[str]:
        raise NotImplementedError(weight)

    def persist(self, weight: int) -> list[str]:
        raise NotImplementedError(weight)


class Watch:
    """A clock that stands still until it is set."""

    def __init__(self, now: float) -> None:
        self.now = now

    def time(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class Desk:
    """One state directory, one router, and as many runs as a test wants."""

    def __init__(self, folder: Path) -> None:
        self.router = Dial()
        self.folder = folder
        self.store = FileStore(str(folder), "shop")
        self.serving = ["blue"]

    def plan(self, **changes: Any) -> dict[str, Any]:
        variables = {
            "cutover_service": "shop",
            "cutover_front": "http://router",
            "cutover_router": {"provider": "haproxy"},
            "cutover_colours": {
                "blue": {"unit": "blue.service", "port": 8001},
                "green": {"unit": "green.service", "port": 8002},
            },
            "cutover_state_dir": str(self.folder),
            **changes,
        }
        return make_plan(variables, routers=["router"], applications=["app1", "app2"], hosts={})

    def run(self, now: float = 1000, *, check_mode: bool = False, **changes: Any) -> Migration:
        return Migration(self.plan(**changes), self.store, self.router, check_mode=check_mode, clock=Watch(now))

    @property
    def workloads(self) -> list[dict[str, Any]]:
        return [
            {"host": host, "colour": colour, "active": colour in self.serving, "enabled": colour in self.serving}
            for host in ("app1", "app2")
            for colour in ("blue", "green")
        ]

    def switch(self, token: int, weight: int, now: float = 1000) -> None:
        self.store.record(token, now, "weight_intended", before=self.router.weight, weight=weight)
        self.router.turn(weight)
        self.store.record(token, now, "weight_set", weight=weight, commands=[], ms=1.0)
        self.serving = ["green" if weight else "blue"]

    def moved(self) -> int:
        """Move it to green; return the token that did it."""
        token: int = self.run().begin(self.workloads, ALICE)["token"]
        self.switch(token, 100)
        self.run().close(token, "finished")
        return token

    @property
    def events(self) -> list[str]:
        return [event["kind"] for one in self.store.read_journal()["migrations"] for event in one["events"]]


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.setattr(os, "fsync", lambda _descriptor: None)  # nobody waits for a disk here
    return Desk(tmp_path)


class Pods(Dial):
    """A router whose weights are numbers of pods."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[list[int]] = []

    def check(self, weights: Sequence[int]) -> str:
        self.asked.append(list(weights))
        if 10 in weights:
            raise RouterError("no number of pods makes 10 %")
        return "A share is a ratio of pods."

    def way(self, weight: int, min_ready: int) -> list[int]:
        raise NotImplementedError

    def prepare(self, weight: int, min_ready: int) -> list[str]:
        raise NotImplementedError

    def prepared(self) -> None:
        raise NotImplementedError


@pytest.mark.parametrize("check_mode", [False, True])
def test_all_shares_that_pods_have_to_make_are_looked_at_before_anything_begins(desk: Desk, check_mode: bool) -> None:
    """R-D2, R-D7: those of a progressive way back, too; that they are ratios is told."""
    desk.router = pods = Pods()
    steps = [{"share": 50}, {"share": 100}]
    with pytest.raises(RouterError, match="makes 10 %"):
        desk.run(check_mode=check_mode, cutover_steps=[{"share": 10}, *steps]).begin(desk.workloads, ALICE)
    assert (desk.events, desk.store.read_lease()) == ([], None)
    back = {"cutover_back": "progressive", "cutover_back_steps": {"shares": [33]}}
    begun = desk.run(check_mode=check_mode, cutover_steps=steps, **back).begin(desk.workloads, ALICE)
    assert begun["decision"]["sentence"].endswith("which gets 50 %, 100 %. A share is a ratio of pods.")
    assert pods.asked == [[10, 50, 100], [33, 50, 100]]


def test_a_migration_from_begin_to_end(desk: Desk) -> None:
    begun = desk.run(cutover_reason="release 7").begin(desk.workloads, ALICE)
    assert begun["changed"] is True
    assert begun["decision"]["kind"] == "begin"
    assert (begun["from"], begun["to"], begun["weight"], begun["ready"]) == (
        "blue",
        "green",
        0,
        {"blue": 2, "green": 2},
    )
    assert begun["token"] == 1000
    lease = desk.store.read_lease()
    assert lease is not None
    assert (lease["owner"], lease["reason"], lease["kind"]) == (ALICE, "release 7", "cutover")

    assert desk.run().record(begun["token"], "started", {"colour": "green"}) == {"changed": True, "path": None}
    desk.switch(begun["token"], 100)
    assert desk.run().close(begun["token"], "finished") == {"changed": True, "id": begun["id"], "rehearsal": None}
    assert desk.store.read_lease() is None
    assert desk.events == ["began", "started", "weight_intended", "weight_set", "finished"]

    before = (desk.folder / "shop" / "journal.json").read_bytes()
    again = desk.run(2000).begin(desk.workloads, ALICE)
    assert (again["changed"], again["decision"]["kind"], again["token"]) == (False, "nothing", None)
    assert (desk.folder / "shop" / "journal.json").read_bytes() == before
    assert desk.store.read_lease() is None


def test_what_a_restore_costs_is_on_the_disk_before_anything_is_restored(desk: Desk) -> None:
    """R-B13: whatever becomes of the run after that."""
    desk.moved()
    token = desk.run(1100).roll_back(None, ALICE, restore=True)["token"]
    its = {"part": "db", "artifact": {"path": "/kept/db", "host": "data", "consistent_at": 900.0}}
    lost = {"written": [{"name": "orders", "what": "rows inserted", "count": 4711}], "differences": []}
    assert desk.run(1101).record(token, "restore_counted", {**its, **lost})["path"] is None
    assert desk.run(1101, check_mode=True).record(None, "restore_began", its)["path"] is None
    page = desk.folder / "shop" / "audit-19700101T001640Z.md"
    assert not page.exists()
    # Each record renews the lease, for as long as what comes next may last.
    assert desk.run(1300).record(token, "restore_began", its)["path"] == str(page)
    assert (desk.store.read_lease() or {})["expires"] == 1300 + desk.run().plan["lease"]["ttl"]
    assert "- orders: 4711 rows inserted" in page.read_text()
    assert "began at 1970-01-01 00:21:40 UTC, and its end is not recorded." in page.read_text()
    desk.run(1301).record(token, "data_restored", {**its, **lost})
    assert "its end is not recorded" not in page.read_text()


def test_a_rehearsal_comes_before_the_migration_that_asks_for_it(desk: Desk) -> None:
    asked = {"cutover_rehearsal": {"required": True}}
    for check_mode in (True, False):
        with pytest.raises(RehearsalError, match="Run rehearse.yml first"):
            desk.run(check_mode=check_mode, **asked).begin(desk.workloads, ALICE)
    assert not (desk.folder / "shop" / "journal.json").exists()
    assert desk.store.read_lease() is None

    token = desk.run(1000, **asked).begin(desk.workloads, ALICE, rehearse=True)["token"]
    desk.switch(token, 100)
    desk.run(1001, **asked).record(token, "rehearsed", {})
    desk.run(1002, **asked).roll_back(None, ALICE, token=token)
    token = desk.store.read_fence()
    desk.switch(token, 0)
    closed = desk.run(1004, **asked).close(token, "rolled_back")
    assert closed["rehearsal"]["passed"] == 1004
    assert "it passed" in closed["rehearsal"]["sentence"]
    assert desk.run(1005, **asked).describe(None)["rehearsal"]["passed"] == 1004
    with pytest.raises(RehearsalError, match="the inventory has changed"):
        desk.run(1006, **asked, cutover_steps=[{"share": 5}, {"share": 100}]).begin(desk.workloads, ALICE)
    assert desk.run(1007, **asked).begin(desk.workloads, ALICE)["decision"]["kind"] == "begin"


def test_a_candidate_that_shows_too_little_gets_no_traffic(desk: Desk) -> None:
    token = desk.run().begin(desk.workloads, ALICE)["token"]
    shown = [{"name": "tests", "passed": True, "seen": "x"}, {"name": "metrics", "passed": False, "seen": "no target"}]
    data = {"colour": "green", "checkpoints": shown}
    with pytest.raises(CheckpointError, match=r"green may not get traffic: metrics: no target\. Repair"):
        desk.run().probe(token, data)
    assert desk.run().describe(None)["checkpoints"] == shown
    assert desk.run().probe(token, {**data, "checkpoints": shown[:1]})["checkpoints"] == shown[:1]
    assert desk.run(check_mode=True).probe(None, data) == {"changed": True}


def test_check_mode_answers_the_same_and_writes_nothing(desk: Desk) -> None:
    looked = desk.run(check_mode=True).begin(desk.workloads, ALICE)
    assert not (desk.folder / "shop").exists()
    begun = desk.run().begin(desk.workloads, ALICE)
    assert {**begun, "token": None} == looked

    checking = desk.run(check_mode=True)
    assert checking.record(None, "started", {"colour": "green"})["changed"] is True
    assert checking.close(None, "finished")["changed"] is True
    assert checking.fail(None, {"reason": "probe"})["changed"] is True
    assert checking.roll_back(None, BOB)["changed"] is True
    assert desk.events == ["began"]


def test_a_second_run_is_refused_until_the_first_is_known_dead(desk: Desk) -> None:
    first = desk.run().begin(desk.workloads, ALICE)["token"]
    with pytest.raises(LeaseHeldError, match=r"shop is being migrated by alice@ops1 \(pid 1\)"):
        desk.run(1010).begin(desk.workloads, BOB)
    second = desk.run(1010).begin(desk.workloads, BOB, takeover=first)
    assert second["decision"]["kind"] == "resume"
    assert second["token"] > first
    with pytest.raises(FencedError):
        desk.run(1020).record(first, "started", {"colour": "green"})
    assert desk.events == ["began", "began"]


def test_waiting_takes_nothing(desk: Desk) -> None:
    assert desk.run().wait(BOB) == {"changed": False}
    first = desk.run().begin(desk.workloads, ALICE)["token"]
    with pytest.raises(LeaseHeldError, match="alice@ops1"):
        desk.run(1010).wait(BOB)
    assert desk.run(1010).wait(BOB, takeover=first) == {"changed": False}
    held = desk.store.read_lease()
    assert held is not None
    assert (held["token"], desk.events) == (first, ["began"])


def test_a_failed_run_goes_back_unless_it_was_overtaken(desk: Desk) -> None:
    first = desk.run().begin(desk.workloads, ALICE)["token"]
    second = desk.run(1010).begin(desk.workloads, BOB, takeover=first)["token"]
    with pytest.raises(FencedError, match="overtaken"):
        desk.run(1020).roll_back(None, ALICE, token=first)
    desk.switch(second, 50)
    assert desk.run(1020).roll_back(None, BOB, token=second)["decision"]["kind"] == "roll_back"


def test_a_failed_run_goes_back_though_its_lease_has_ended(desk: Desk) -> None:
    first = desk.run().begin(desk.workloads, ALICE)["token"]
    assert desk.run(9000).roll_back(None, ALICE, token=first)["decision"]["kind"] == "roll_back"


def test_a_resumed_migration_keeps_its_name(desk: Desk) -> None:
    first = desk.run().begin(desk.workloads, ALICE)
    desk.run().fail(first["token"], {"reason": "probe", "message": "404\nnot found"})
    assert desk.store.read_lease() is None
    assert desk.store.read_journal()["migrations"][0]["events"][-1]["message"] == "404 not found"
    assert desk.run(1100).begin(desk.workloads, ALICE)["id"] == first["id"]


def test_drift_stops_a_cutover_before_anything_is_written(desk: Desk) -> None:
    desk.moved()
    desk.router.turn(30)
    with pytest.raises(DriftError, match="the router sends 30 % to green") as caught:
        desk.run(2000).begin(desk.workloads, ALICE)
    assert caught.value.evidence["reality"]["weight"] == 30
    assert desk.store.read_lease() is None

    desk.serving = ["blue", "green"]
    accepted = desk.run(2000, cutover_accept_reality=True).begin(desk.workloads, ALICE)
    assert accepted["decision"]["steps"][0]["allowed"] == [30]
    assert desk.events[-2:] == ["began", "reality_accepted"]


def test_a_rollback_overtakes_a_living_cutover(desk: Desk) -> None:
    first = desk.run().begin(desk.workloads, ALICE)["token"]
    desk.switch(first, 50)
    back = desk.run(1010).roll_back(None, BOB, reason="it\nburns")
    assert (back["decision"]["kind"], back["from"], back["to"]) == ("roll_back", "green", "blue")
    with pytest.raises(FencedError, match="overtaken"):
        desk.run(1011).record(first, "probed", {"colour": "green"})
    with pytest.raises(LeaseHeldError, match=r"is being rolled back by bob@ops1 \(pid 2\).*because 'it burns'"):
        desk.run(1012).roll_back(None, ALICE)

    desk.switch(back["token"], 0, now=1012)
    desk.run(1013).close(back["token"], "rolled_back")
    assert desk.run(1014).roll_back(desk.workloads, BOB)["decision"]["kind"] == "nothing"
    assert desk.run(1014).roll_back(None, BOB)["changed"] is False


def test_what_fails_after_the_end_moves_nothing_back(desk: Desk) -> None:
    token = desk.run().begin(desk.workloads, ALICE)["token"]
    desk.switch(token, 100)
    desk.run(1001).close(token, "finished")
    with pytest.raises(HeldError, match="was moved and stays so.*after that: Tell: no such file"):
        desk.run(1002).roll_back(desk.workloads, ALICE, reason="Tell: no such file", token=token)
    assert desk.events[-1] == "finished"
    assert desk.run(1003).roll_back(desk.workloads, ALICE)["decision"]["kind"] == "roll_back"


def test_the_time_is_taken_once_the_lock_is_had(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    first, late = desk.run(), desk.run()
    token = first.begin(desk.workloads, ALICE)["token"]
    held = desk.store.read_lease()
    assert held is not None
    take = desk.store._lock

    def wait() -> int:
        late.clock.sleep(1 + held["expires"] - 1000)
        return take()

    monkeypatch.setattr(desk.store, "_lock", wait)
    with pytest.raises(FencedError, match="ended 1 s ago"):
        late.record(token, "started", {"colour": "green"})
    assert late.begin(desk.workloads, BOB)["changed"]
    taken = desk.store.read_lease()
    assert taken is not None
    assert (taken["owner"], taken["since"], taken["token"]) == (BOB, late.clock.time(), int(late.clock.time()))


@pytest.mark.parametrize("name", ["journal.json", "lease.json", "fence.json"])
def test_a_damaged_file_stops_a_cutover_and_never_a_rollback(desk: Desk, name: str) -> None:
    desk.moved()
    (desk.folder / "shop" / name).write_text("{")
    with pytest.raises(StoreError, match=f"{name} is not JSON"):
        desk.run(2000).begin(desk.workloads, ALICE)
    assert desk.run(2000, check_mode=True).roll_back(None, ALICE)["changed"] is True
    back = desk.run(2000).roll_back(None, ALICE)
    assert back["decision"]["kind"] == "roll_back"
    assert (desk.folder / "shop" / f"{name}.damaged").read_text() == "{"
    told = desk.store.read_journal()["migrations"][-1]["events"][-1]["differences"][0]
    assert f"{name} is not JSON" in told
    assert told.endswith(f"it is now {desk.folder}/shop/{name}.damaged")


def test_what_cannot_be_recorded_does_not_keep_the_lease(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_document: dict[str, Any]) -> None:
        raise StoreError("journal.json: No space left on device")

    monkeypatch.setattr(desk.store, "write_journal", full)
    with pytest.raises(StoreError, match="No space"):
        desk.run().begin(desk.workloads, ALICE)
    assert desk.store.read_lease() is None
    assert desk.events == []


@pytest.mark.parametrize(("weight", "persisted"), [(50, 100), (100, 50)])
def test_it_is_finished_only_when_the_router_says_so(desk: Desk, weight: int, persisted: int) -> None:
    token = desk.run().begin(desk.workloads, ALICE)["token"]
    desk.switch(token, 100)
    desk.router.weight, desk.router.persisted = weight, persisted
    with pytest.raises(RouterError, match=f"green gets {weight} %, and {persisted} % after a reboot, where 100 %"):
        desk.run().close(token, "finished")
    assert desk.store.read_lease() is not None


def test_a_record_needs_a_token(desk: Desk) -> None:
    with pytest.raises(InputError, match=r"the event 'probed' needs the token of the run; it is cutover_run\.token"):
        desk.run().record(None, "probed", {"colour": "green"})


def test_status_tells_all_and_that_it_agrees(desk: Desk) -> None:
    desk.moved()
    told = desk.run(2000).describe(desk.workloads)
    assert (told["serving"], told["since"], told["phase"]) == ({"blue": 0, "green": 100}, 1000, "finished")
    assert (told["agree"], told["differences"], told["lease"]) == (True, [], None)
    assert told["in_flight"] == {"blue": 1, "green": None}
    assert told["migration"]["events"][-1]["kind"] == "finished"


def test_a_run_is_idle_where_it_would_have_nothing_to_do(desk: Desk) -> None:
    def idle(**kind: bool) -> bool:
        return bool(desk.run().describe(desk.workloads, **kind)["idle"])

    # A timer advances nothing that nobody has begun.
    assert [idle(), idle(advance=True), idle(rehearse=True)] == [False, True, False]
    token = desk.run().begin(desk.workloads, ALICE)["token"]
    desk.switch(token, 50)
    assert [idle(), idle(advance=True)] == [False, False]
    desk.switch(token, 100)
    desk.run().close(token, "finished")
    assert [idle(), idle(advance=True), idle(rehearse=True)] == [True, True, True]
    desk.router.broken = True
    assert idle() is False
    desk.router.broken = False
    # Without what is recorded, it would look as if nobody had begun.
    (desk.store.folder / "journal.json").write_text("{")
    assert idle(advance=True) is False


def test_status_tells_what_it_cannot_read(desk: Desk) -> None:
    desk.run().begin(desk.workloads, ALICE)
    desk.router.broken = True
    told = desk.run(9999).describe(None)
    assert (told["agree"], told["differences"], told["serving"]) == (False, ["the socket is gone"], {})
    assert told["lease"]["expired"] is True
    (desk.folder / "shop" / "journal.json").write_text("{")
    assert len(desk.run().describe(None)["differences"]) == 2


def test_a_weight_that_is_not_known_stops_a_cutover_and_never_a_rollback(desk: Desk) -> None:
    desk.router.weight, desk.router.unclear = None, "app2 does not answer"
    told = desk.run().describe(desk.workloads)
    why = "the router does not tell how it shares the traffic of shop: app2 does not answer"
    assert (told["weight"], told["differences"]) == (None, [why])
    with pytest.raises(DriftError, match=why):
        desk.run().begin(desk.workloads, ALICE)
    begun = desk.run().roll_back(None, ALICE)
    assert (begun["decision"]["kind"], begun["decision"]["weight"]) == ("roll_back", 0)


def test_the_plan_names_store_and_router(desk: Desk) -> None:
    store, router = open_plan(desk.plan())
    assert store.folder == desk.folder / "shop"
    assert isinstance(router, HAProxy)
    with pytest.raises(InputError, match="the plan lacks 'state_dir'; make it with the action"):
        open_plan({name: value for name, value in desk.plan().items() if name != "state_dir"})


def test_every_error_is_ready_for_fail_json() -> None:
    assert CutoverError("m", {"a": 1}).as_result() == {"msg": "m", "reason": "error", "evidence": {"a": 1}}


STEPS = [{"share": 50, "hold": "10m"}, {"share": 100}]
GATE = {"criteria": [{"name": "up", "kind": "query", "query": "up", "min": 1}]}
GATED = {"cutover_steps": STEPS, "cutover_gate": GATE, "cutover_prometheus": {"url": "http://prometheus:9090"}}


def said(verdict: str, **more: Any) -> dict[str, Any]:
    return {"verdict": verdict, "reason": None, "message": "", "left": 300.0, "state": {"n": 1}, "criteria": [], **more}


def held_at_50(desk: Desk, **changes: Any) -> tuple[int, dict[str, Any]]:
    """A run at its first step: its token, and that step."""
    run = desk.run(**changes)
    begun = run.begin(desk.workloads, ALICE)
    desk.switch(begun["token"], 50)
    return begun["token"], run.plan["steps"][0]


def test_a_hold_begins_once_and_gives_the_gate_its_state_back(desk: Desk) -> None:
    token, step = held_at_50(desk, **GATED)
    first = desk.run(**GATED).look(token, step, None)["hold"]
    assert (first["kind"], first["left"], first["gate_state"]) == ("waiting", 600, None)
    second = desk.run(1010, **GATED).look(token, step, said("open"))["hold"]
    assert (second["kind"], second["gate_state"]) == ("waiting", {"n": 1})
    assert desk.run(1020, **GATED).look(token, step, None)["hold"]["gate_state"] == {"n": 1}
    assert desk.events.count("hold_began") == 1
    # Another question is another gate.
    other = {**GATED, "cutover_gate": {**GATE, "alpha": 0.02}}
    assert desk.run(1020, **other).look(token, step, None)["hold"]["gate_state"] is None
    assert desk.run(1030, **GATED).look(token, step, said("pass"))["hold"]["kind"] == "passed"
    assert desk.events.count("gate_seen") == 2


def test_who_is_asked_for_help_is_asked_once_in_a_hold(desk: Desk) -> None:
    """The gate judges such a criterion anew in each look: between two calls it only gathers."""
    token, step = held_at_50(desk, **GATED)
    desk.run(**GATED).look(token, step, None)
    slow = {**said("fail"), "wanted": "performance_mode", "criteria": [], "left": 500}
    asked = []
    for look, gate in enumerate((slow, said("open"), slow, said("open"), slow)):
        run = desk.run(1001 + look, **GATED)
        asked.append(run.look(token, step, gate)["hold"]["action"])
        if look == 2:
            run.record(token, "hook_called", {"hook": "performance_mode", "message": "slow", "problem": ""})
    # The run that was told first died before it had called.
    assert asked == ["performance_mode", None, "performance_mode", None, None]
    assert desk.events.count("gate_seen") == 1


def test_a_hold_without_a_gate_passes_by_the_clock_and_is_recorded(desk: Desk) -> None:
    token, step = held_at_50(desk, cutover_steps=STEPS)
    assert desk.run(cutover_steps=STEPS).look(token, step, None)["hold"]["kind"] == "waiting"
    for now in (1200, 1400, 1590):
        desk.store.renew(token, now)
    assert desk.run(1601, cutover_steps=STEPS).look(token, step, None)["hold"]["kind"] == "passed"
    assert desk.store.read_journal()["migrations"][-1]["events"][-1]["verdict"] == "pass"


def test_a_run_that_may_last_no_longer_watches_no_longer(desk: Desk) -> None:
    changes = {**GATED, "cutover_run_limit": 30}
    token, step = held_at_50(desk, **changes)
    assert desk.run(1025, **changes).look(token, step, None)["hold"]["watch"] == 5
    assert desk.run(1031, **changes).look(token, step, said("open"))["hold"]["watch"] == 0


def test_a_run_ends_in_a_hold_and_another_one_advances(desk: Desk) -> None:
    token, step = held_at_50(desk, **GATED)
    desk.run(**GATED).look(token, step, said("open"))
    assert desk.run(**GATED).stay(token, "green is held", unknown=False) == {"changed": True}
    assert desk.store.read_lease() is None
    desk.serving = ["blue", "green"]
    next_run = desk.run(1100, **GATED).begin(desk.workloads, BOB, advance=True)
    assert [(one["share"], one["held"]) for one in next_run["decision"]["steps"]] == [(50, True), (100, False)]
    assert desk.run(1100, **GATED).look(next_run["token"], step, None)["hold"]["gate_state"] == {"n": 1}


def test_a_hold_that_cannot_be_judged_keeps_its_share_and_fails(desk: Desk) -> None:
    token, step = held_at_50(desk, **GATED)
    assert desk.run(**GATED).look(token, step, said("inconclusive"))["hold"]["kind"] == "unknown"
    with pytest.raises(HeldError, match="the candidate keeps its share"):
        desk.run(**GATED).stay(token, "the gate cannot tell", unknown=True)
    assert desk.store.read_lease() is None
    assert desk.events[-1] == "held"


def test_a_gate_that_never_tells_is_a_reason_to_go_back_in_the_end(desk: Desk) -> None:
    """However many looks there were, and without a line for each."""
    changes = {**GATED, "cutover_gate": {**GATE, "patience": "100s"}}
    token, step = held_at_50(desk, **changes)
    blind = {**said("inconclusive"), "message": "no samples"}
    found = [desk.run(1000 + later, **changes).look(token, step, blind)["hold"]["kind"] for later in (1, 50, 100, 101)]
    assert found == ["unknown"] * 3 + ["failed"]
    assert desk.events.count("gate_seen") == 1
    # Samples of the past that are judged meanwhile say nothing of now.
    desk.run(1101, **changes).look(token, step, {**said("open"), "behind": 7200.0})
    assert desk.run(1101, **changes).look(token, step, blind)["hold"]["kind"] == "failed"
    # A moment in which it could tell is a new beginning.
    desk.run(1102, **changes).look(token, step, said("open"))
    assert desk.run(1103, **changes).look(token, step, blind)["hold"]["kind"] == "unknown"
    # More of it does not make another gate.
    assert desk.run(1104, **GATED).look(token, step, None)["hold"]["gate_state"] == {"n": 1}


def test_a_gate_that_does_not_know_its_own_state_any_more_begins_anew(desk: Desk) -> None:
    """Such as after an update of the collection in the middle of weeks."""
    token, step = held_at_50(desk, **GATED)
    desk.run(**GATED).look(token, step, said("open"))
    refused = {**said("inconclusive"), "reason": "state", "message": "belongs to another gate"}
    hold = desk.run(1010, **GATED).look(token, step, refused)["hold"]
    assert (hold["kind"], hold["gate_state"]) == ("unknown", None)
    assert desk.run(1020, **GATED).look(token, step, None)["hold"]["gate_state"] is None


def test_a_hold_that_is_not_proven_may_be_accepted_with_a_reason(desk: Desk) -> None:
    token, step = held_at_50(desk, **GATED)
    changes = {**GATED, "cutover_accept_unproven": "precision was measured by hand"}
    desk.run(1000, **changes).look(token, step, None)
    for now in (1200, 1400, 1590):
        desk.store.renew(token, now)
    blind = {**said("inconclusive"), "message": "no samples"}
    assert desk.run(1600, **changes).look(token, step, blind)["hold"]["kind"] == "passed"
    seen, accepted = desk.store.read_journal()["migrations"][-1]["events"][-2:]
    assert (seen["kind"], seen["verdict"]) == ("gate_seen", "inconclusive")
    told = {name: accepted[name] for name in ("kind", "weight", "reason", "message")}
    assert told == {
        "kind": "unproven_accepted",
        "weight": 50,
        "reason": "precision was measured by hand",
        "message": "no samples",
    }


def test_to_advance_begins_nothing(desk: Desk) -> None:
    answer = desk.run().begin(desk.workloads, ALICE, advance=True)
    assert (answer["decision"]["kind"], answer["token"], desk.events) == ("nothing", None, [])
    desk.run().begin(desk.workloads, ALICE)
    desk.store.write_lease(None)
    with pytest.raises(DriftError, match="not held, so there is nothing to advance"):
        desk.run().begin(desk.workloads, ALICE, advance=True)


def test_a_reason_to_move_without_a_proof_is_not_for_the_next_advance(desk: Desk) -> None:
    """It is refused before it begins, and not at its step, which would go back."""
    part = {"name": "db", "host": "router", "engine": "postgresql", "options": {"database": "shop"}}
    changes = {**GATED, "cutover_state": [part]}
    accepted = {**changes, "cutover_accept_unverified": "it is a copy"}
    token, step = held_at_50(desk, **accepted)
    desk.run(**accepted).look(token, step, said("open"))
    desk.run(**accepted).stay(token, "green is held", unknown=False)
    desk.serving = ["blue", "green"]
    before = desk.events
    with pytest.raises(SnapshotError, match="no snapshot of db in this migration. Nothing was changed; the candidate"):
        desk.run(1100, **changes).begin(desk.workloads, BOB, advance=True)
    assert (desk.events, desk.store.read_lease()) == (before, None)
    assert desk.run(1100, **accepted).begin(desk.workloads, BOB, advance=True)["decision"]["kind"] == "resume"


def test_nothing_advances_when_its_snapshots_are_gone(desk: Desk) -> None:
    """Its journal has them, and the disk has not; where they are there it goes on."""
    part = {"name": "db", "host": "router", "engine": "postgresql", "options": {"database": "shop"}}
    changes = {**GATED, "cutover_state": [part]}
    token = desk.run(**changes).begin(desk.workloads, ALICE)["token"]
    kept = {"part": "db", "path": "/kept/shop.db.1", "host": "router", "verified": True, "expires": 9000}
    desk.store.record(token, 1000, "snapshot_taken", part="db", artifact=kept)
    desk.switch(token, 50)
    desk.run(**changes).stay(token, "green is held", unknown=False)
    desk.serving = ["blue", "green"]
    there = {"path": "/kept/shop.db.1", "problems": [], "expired": False}
    run, nobody, empty = desk.run(1100, **changes), "nobody has looked", {"db": {"artifacts": []}}
    with pytest.raises(SnapshotError, match=f"db, /kept/shop.db.1 on router, may not be there any more: {nobody}"):
        run.begin(desk.workloads, BOB, advance=True)
    with pytest.raises(SnapshotError, match=r"db, /kept/shop.db.1 on router, is not there any more"):
        run.begin(desk.workloads, BOB, advance=True, snapshots=empty)
    assert (desk.events[-1], desk.store.read_lease()) == ("held", None)
    begun = run.begin(desk.workloads, BOB, advance=True, snapshots={"db": {"artifacts": [there]}})
    assert begun["decision"]["kind"] == "resume"


def test_no_other_snapshot_is_taken_once_the_candidate_has_had_traffic(desk: Desk) -> None:
    """R-E1: it would be called the one of before, and have what the candidate has written."""
    part = {"name": "db", "host": "router", "engine": "postgresql", "options": {"database": "shop"}}
    changes = {"cutover_state": [part]}
    begun = desk.run(**changes).begin(desk.workloads, ALICE)
    kept = {"part": "db", "path": "/kept/shop.db.1", "host": "router", "verified": True, "expires": 9000}
    desk.store.record(begun["token"], 1000, "snapshot_taken", part="db", artifact=kept)
    # Until then another one may be taken.
    again = desk.run(1100, **changes).begin(desk.workloads, ALICE, begun["token"])
    assert (begun["served"], again["served"], desk.run().describe(None)["served"]) == (False, False, False)
    desk.switch(again["token"], 100, 1100)
    desk.switch(again["token"], 0, 1100)
    damaged = {"path": "/kept/shop.db.1", "problems": ["data/dump was changed after it was written"], "expired": False}
    before = desk.events
    run = desk.run(1200, **changes)
    for seen in ({"artifacts": []}, {"msg": "gone"}):
        with pytest.raises(SnapshotError, match="of db, /kept/shop.db.1 on router.*go back with rollback.yml; or give"):
            run.begin(desk.workloads, ALICE, again["token"], snapshots={"db": seen})
    with pytest.raises(SnapshotError, match="is damaged: data/dump was changed after it was written. Nothing was"):
        run.begin(desk.workloads, ALICE, again["token"], snapshots={"db": {"artifacts": [damaged]}})
    assert desk.events == before
    whole = {"db": {"artifacts": [{**damaged, "problems": []}]}}
    assert run.begin(desk.workloads, ALICE, again["token"], snapshots=whole)["served"]
    why = {**changes, "cutover_accept_unverified": "it is a copy"}
    accepted = desk.run(1300, **why).begin(desk.workloads, ALICE, desk.store.read_fence())
    assert (accepted["served"], accepted["decision"]["kind"]) == (True, "resume")
    assert desk.store.read_journal()["migrations"][-1]["events"][-1]["unverified"] == "it is a copy"


def test_a_run_that_goes_on_is_told_the_hold_of_the_one_before(desk: Desk) -> None:
    """R-E1: where all parts were read in it."""
    parts = [
        {"name": name, "host": "router", "engine": "postgresql", "options": {"database": name}} for name in ("a", "b")
    ]
    changes = {"cutover_state": parts}
    begun = desk.run(**changes).begin(desk.workloads, ALICE)
    token = begun["token"]
    told = [begun["earlier_hold"]]
    for part in ("a", "b"):
        kept = {"part": part, "path": part, "host": "router", "verified": True, "expires": 9000, "hold": "7"}
        desk.store.record(token, 1000, "snapshot_taken", part=part, artifact=kept)
        again = desk.run(1100, **changes).begin(desk.workloads, ALICE, token)
        told.append(again["earlier_hold"])
        token = again["token"]
    assert told == [None, None, "7"]


def test_what_rollback_can_go_back_from_needs_its_snapshots(desk: Desk) -> None:
    """R-E5: also when all has moved, until the old version is removed, or the next migration begins."""
    assert desk.run().describe(None)["over"] == []
    token = desk.moved()
    moved = desk.run(1001).describe(None)
    assert (moved["phase"], moved["over"], moved["served"]) == ("finished", [], False)
    conditions: list[Any] = []
    told = {"colour": "blue", "owner": ALICE, "reason": "old", "conditions": conditions}
    desk.store.record(token, 1002, "deprecated", sunset=2000, **told)
    assert desk.run(1003).describe(None)["over"] == []
    desk.store.record(token, 1004, "removal_began", **told)
    desk.store.record(token, 1005, "removed", colour="blue")
    assert desk.run(1006).describe(None)["over"] == ["19700101T001640Z"]
    begun = desk.run(1007, cutover_to="blue").begin(desk.workloads, ALICE)
    assert (begun["id"], desk.run(1008).describe(None)["over"]) == ("19700101T001647Z", ["19700101T001640Z"])


JOURNALS = {
    "cut off": "{",
    "of another service": '{"format": 1, "service": "other", "migrations": []}',
    "of a later version": '{"format": 2, "service": "shop", "migrations": []}',
    "not complete": '{"format": 1, "service": "shop", "migrations": [{"id": "x", "events": [{"kind": "began"}]}]}',
    "a folder": None,
}


@pytest.mark.parametrize("journal", JOURNALS)
def test_what_cannot_be_read_is_no_empty_journal(desk: Desk, journal: str) -> None:
    """R-E5: nobody knows then which snapshots are needed, nor what was recorded of a share that is there."""
    token = desk.moved()
    path, text = desk.folder / "shop" / "journal.json", JOURNALS[journal]
    if text is None:
        path.unlink()
        path.mkdir()
    else:
        path.write_text(text)
    desk.router.turn(50)
    told = desk.run(1001).describe(desk.workloads)
    assert (told["over"], told["phase"], told["idle"], told["agree"]) == (None, None, False, False)
    [why] = told["differences"]
    assert why.startswith(str(path))
    # rollback.yml sets a damaged one aside, and knows nothing of what came before.
    if text is not None:
        begun = desk.run(2000).roll_back(desk.workloads, ALICE)
        assert (begun["token"], desk.run(2001).describe(None)["over"]) == (2000, [])
        assert begun["token"] > token


def test_a_cluster_that_does_not_answer_does_not_say_what_is_needed(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R-E5: what is wrong is told, and no failure: it is an error of the router as well as of the store."""

    def down() -> None:
        raise ClusterError("the API server did not answer")

    desk.moved()
    monkeypatch.setattr(desk.store, "read_journal", down)
    told = desk.run().describe(None)
    assert (told["over"], told["phase"], told["differences"]) == (None, None, ["the API server did not answer"])


def test_in_check_mode_a_hold_is_not_waited_for(desk: Desk) -> None:
    step = {"weight": 50, "hold": 600}
    assert desk.run(check_mode=True, **GATED).look(None, step, None)["hold"]["kind"] == "passed"
    assert desk.run(check_mode=True).stay(None, "held", unknown=False) == {"changed": True}
    assert desk.events == []


def test_a_progressive_way_back_goes_by_the_shares_below(desk: Desk) -> None:
    token, _step = held_at_50(desk, **GATED)
    desk.store.write_lease(None)
    back = desk.run(1010, **GATED).roll_back(None, BOB, progressive=True)
    assert [(one["share"], one["weight"], one["settle"]) for one in back["decision"]["steps"]] == [(25, 25, 30)]
    assert token < back["token"]


def test_a_freeze_is_for_everybody_else(desk: Desk) -> None:
    frozen = desk.run(cutover_reason="stocktaking", cutover_freeze={"time": "10m"}).freeze(ALICE)
    assert (frozen["lease"]["expires"], frozen["lease"]["reason"]) == (1600, "stocktaking")
    with pytest.raises(LeaseHeldError, match="shop is frozen by alice@ops1"):
        desk.run(1100).begin(desk.workloads, BOB)
    assert desk.run(1100).describe(desk.workloads)["lease"]["kind"] == "freeze"
    with pytest.raises(LeaseHeldError):
        desk.run(1100).freeze(BOB)
    begun = desk.run(1100).begin(desk.workloads, {**ALICE, "pid": 9})
    assert begun["token"] > frozen["lease"]["token"]
    # A lease of somebody who acts is nothing to thaw.
    assert desk.run(1100).thaw() == {"changed": False, "lease": None}


def test_a_freeze_ends_when_somebody_says_so(desk: Desk) -> None:
    assert desk.run(check_mode=True).freeze(ALICE)["changed"]
    assert desk.run().thaw() == {"changed": False, "lease": None}
    desk.run().freeze(ALICE)
    assert desk.run(check_mode=True).thaw()["changed"]
    assert desk.run().thaw()["lease"]["owner"] == ALICE
    assert desk.run(1001).begin(desk.workloads, BOB)["changed"]
