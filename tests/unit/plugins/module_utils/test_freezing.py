# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Holding writers: remembered before anybody is held, and nobody is held by a run that is not there any more."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.bluegreen.cutover.plugins.module_utils import _freezing, _guard_service
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import (
    FencedError,
    FreezeError,
    StoreError,
)
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.guard import Moment
from ansible_collections.bluegreen.cutover.plugins.module_utils._freezing import NOT_YET, Freezer, main
from ansible_collections.bluegreen.cutover.plugins.module_utils._stores.files import FileStore
from ansible_collections.bluegreen.cutover.plugins.module_utils._writers import Released


class Host:
    """A host with two stores, a clock, and a systemd that remembers what it is told."""

    def __init__(self, folder: Path) -> None:
        self.store = FileStore(str(folder / "state"), "shop")
        self.units = folder / "units"
        self.units.mkdir()
        self.now = Moment(100.0, "one", 1_785_412_870.0)
        self.events: list[str] = []
        self.commands: list[Sequence[str]] = []
        self.broken: dict[str, Exception] = {}
        self.statuses: dict[str, int] = {}
        self.lasted = True
        self.on_hold: Any = lambda: None
        self.freezer = self.another()

    def another(self) -> Freezer:
        providers = {"first": self.maker("first"), "second": self.maker("second")}
        return Freezer(self.store, moment=lambda: self.now, run=self.run, units=str(self.units), providers=providers)

    def maker(self, name: str) -> Any:
        return lambda options: Provider(self, name, options)

    def run(self, argv: Sequence[str], _seconds: float) -> tuple[int, str, str]:
        self.commands.append(argv)
        own = NOT_YET if argv[0] != "systemctl" else 0
        return self.statuses.get(argv[0] if own else argv[1], own), "", "told"

    def later(self, seconds: float) -> None:
        self.now = replace(self.now, boottime=self.now.boottime + seconds, wall=self.now.wall + seconds)

    def freeze(self, token: int | None = 5, **more: Any) -> dict[str, Any]:
        given = {"first": {"database": "a"}, "second": {"database": "b"}}
        return self.freezer.freeze(token, given, wait=2, limit=10, **more)

    def is_clean(self) -> bool:
        return self.store.read_freeze() is None and not list(self.units.iterdir())


class Provider:
    def __init__(self, host: Host, name: str, options: dict[str, Any]) -> None:
        self.host = host
        self.name = name
        self.options = options

    def do(self, what: str) -> None:
        self.host.events.append(f"{what} {self.name}")
        error = self.host.broken.get(f"{what} {self.name}")
        if error is not None:
            raise error

    def check(self, seconds: float) -> dict[str, Any]:
        assert seconds == 12
        self.do("check")
        return {"of": self.options["database"]}

    def hold(self, memory: dict[str, Any], wait: float) -> dict[str, Any]:
        assert (memory, wait) == ({"of": self.options["database"]}, 2)
        # Whoever dies now leaves what is needed to let go.
        document = self.host.store.read_freeze()
        assert document is not None
        assert [one["memory"]["of"] for one in document["writers"]] == ["a", "b"]
        self.host.on_hold()
        self.do("hold")
        return {"saw": self.name}

    def release(self, memory: dict[str, Any]) -> Released:
        assert memory == {"of": self.options["database"]}
        self.do("release")
        return Released(self.host.lasted, {"told": self.name})


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    monkeypatch.setattr(os, "fsync", lambda _descriptor: None)
    monkeypatch.setattr(_guard_service, "program", lambda _main: b"program")
    return Host(tmp_path)


def test_all_are_held_and_let_go_the_other_way_round(host: Host) -> None:
    assert host.freeze() == {"changed": True, "seen": {"first": {"saw": "first"}, "second": {"saw": "second"}}}
    assert (host.units / "bluegreen-thaw-shop.timer").exists()
    assert [argv[:2] for argv in host.commands if argv[0] == "systemctl"] == [
        ["systemctl", "enable"],
        ["systemctl", "restart"],
    ]
    host.later(3)
    released = host.freezer.thaw(5)
    assert released == {
        "changed": True,
        "held": 3.0,
        "told": {"second": {"told": "second"}, "first": {"told": "first"}},
    }
    assert host.events == [
        *("check first", "check second", "hold first", "hold second"),
        *("release second", "release first"),
    ]
    assert host.is_clean()
    assert host.freezer.thaw(5) == {"changed": False, "held": 0.0, "told": {}}


def test_what_comes_before_anybody_is_held_does_not_count(host: Host) -> None:
    started = host.freezer._start
    host.freezer._start = lambda seconds: (host.later(1), started(seconds))[1]  # type: ignore[method-assign]
    host.freeze()
    host.later(3)
    assert host.freezer.thaw(5)["held"] == 3.0


def test_the_same_run_holds_them_once(host: Host) -> None:
    host.freeze()
    assert host.freeze() == {"changed": False, "seen": {}}


def test_check_mode_only_asks(host: Host) -> None:
    assert host.freeze(None, check_mode=True)["changed"]
    assert host.events == ["check first", "check second"]
    assert not host.store.folder.exists()
    host.freeze()
    host.events.clear()
    # What it would end first answers nothing by now.
    assert host.freeze(None, check_mode=True)["changed"]
    assert host.freezer.thaw(None, check_mode=True)["changed"]
    assert host.events == []


def test_what_cannot_be_held_holds_nobody(host: Host) -> None:
    host.broken["check second"] = FreezeError("no")
    with pytest.raises(FreezeError):
        host.freeze()
    assert host.events == ["check first", "check second"]
    assert host.is_clean()


@pytest.mark.parametrize("error", [FreezeError("blocked"), KeyboardInterrupt()])
def test_what_fails_on_the_way_lets_go_who_is_held(host: Host, error: BaseException) -> None:
    host.broken["hold second"] = error  # type: ignore[assignment]
    with pytest.raises(type(error)):
        host.freeze()
    assert host.events[-2:] == ["release second", "release first"]
    assert host.is_clean()


@pytest.mark.parametrize("command", ["enable", "restart", "python"])
def test_without_a_timer_that_works_nobody_is_held(host: Host, command: str) -> None:
    word = host.freezer._command()[0] if command == "python" else command
    host.statuses[word] = 3
    with pytest.raises(FreezeError, match="ended with status 3: told. Nobody is held without a timer"):
        host.freeze()
    assert "hold first" not in host.events
    assert host.is_clean()


def test_a_full_disk_holds_nobody(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, _content: bytes) -> Path:
        raise StoreError(f"{path}: No space left on device")

    monkeypatch.setattr(_guard_service, "write_file", full)
    with pytest.raises(StoreError, match="No space left"):
        host.freeze()
    assert "hold first" not in host.events
    assert host.is_clean()


def test_a_run_that_overslept_holds_nobody(host: Host) -> None:
    host.on_hold = lambda: host.later(20)
    with pytest.raises(FreezeError, match="was over before all of them were held"):
        host.freeze()
    assert host.events[-2:] == ["release second", "release first"]


def test_a_run_whose_writers_were_let_go_meanwhile_holds_nobody(host: Host) -> None:
    host.on_hold = lambda: host.another().thaw(None)
    with pytest.raises(FreezeError, match=r"let go by hand \(thaw.yml\) at .*; nothing is held"):
        host.freeze()
    assert host.is_clean()


def test_a_run_whose_writers_another_one_took_meanwhile_holds_nobody(host: Host) -> None:
    host.on_hold = lambda: host.another().thaw(6)
    with pytest.raises(FencedError, match="another run has let the writers of shop go"):
        host.freeze()
    assert host.is_clean()


def test_a_run_that_another_one_has_overtaken_leaves_its_writers_alone(host: Host) -> None:
    def overtake() -> None:
        host.on_hold = lambda: None
        given = {"first": {"database": "a"}, "second": {"database": "b"}}
        assert host.another().freeze(6, given, wait=2, limit=10)["changed"]

    host.on_hold = overtake
    with pytest.raises(FencedError):
        host.freeze()
    held = host.store.read_freeze()
    assert held is not None
    assert (held["token"], held["ended"]) == (6, None)
    assert (host.units / "bluegreen-thaw-shop.timer").exists()


def test_what_an_earlier_run_left_is_let_go_first(host: Host) -> None:
    host.freeze(5)
    host.events.clear()
    assert host.freeze(6)["changed"]
    assert host.events[:4] == ["release second", "release first", "check first", "check second"]
    with pytest.raises(FencedError):
        host.freezer.thaw(5)
    document = host.store.read_freeze()
    assert document is not None
    assert document["token"] == 6


def test_the_time_ends_and_the_run_is_told(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    host.freeze()
    assert host.freezer.expire() == NOT_YET
    host.later(12)
    assert host.freezer.expire() == 0
    assert host.events[-2:] == ["release second", "release first"]
    assert "released by themselves" in capsys.readouterr().err
    assert not list(host.units.iterdir())
    # Once is enough, and says so to its run, whatever that does next.
    assert host.freezer.expire() == 0
    with pytest.raises(FreezeError, match="released by themselves"):
        host.freeze()
    with pytest.raises(FreezeError, match="What was done meanwhile may have met writes"):
        host.freezer.thaw(5)
    assert host.is_clean()
    assert host.events.count("release first") == 1


def test_a_new_run_is_not_told_of_an_older_one(host: Host) -> None:
    host.freeze(5)
    host.later(12)
    host.freezer.expire()
    assert host.freezer.thaw(6)["changed"]
    assert host.is_clean()


def test_a_hold_that_somebody_else_ended_is_told(host: Host) -> None:
    host.freeze()
    host.lasted = False
    with pytest.raises(FreezeError, match="let go by somebody else while this run held them \\(second, first\\)"):
        host.freezer.thaw(5)
    assert host.is_clean()


def test_a_hold_that_was_let_go_by_hand_is_told_to_its_run(host: Host) -> None:
    """What the run has read since fits together with nothing: it must not go on as if its writers had been held."""
    host.freeze()
    host.later(3)
    other = host.another()
    assert other.thaw(None) == {
        "changed": True,
        "held": 3.0,
        "told": {"second": {"told": "second"}, "first": {"told": "first"}},
    }
    assert not list(host.units.iterdir())
    # Who does it again does not take that away from the run.
    assert other.thaw(None, check_mode=True) == other.thaw(None) == {"changed": False, "held": 0.0, "told": {}}
    with pytest.raises(FreezeError, match="let go by hand"):
        host.freeze()
    with pytest.raises(FreezeError, match=r"let go by hand \(thaw.yml\).* What was done meanwhile may have met writes"):
        host.freezer.thaw(5)
    assert host.events.count("release first") == 1
    assert host.is_clean()


def test_what_was_let_go_by_hand_keeps_nobody_from_holding_anew(host: Host) -> None:
    host.freeze(5)
    host.freezer.thaw(None)
    host.events.clear()
    assert host.freeze(None, check_mode=True)["changed"]
    assert host.events == ["check first", "check second"]
    assert host.freeze(6)["changed"]
    assert "release first" not in host.events


def test_one_that_cannot_be_let_go_keeps_nobody_else(host: Host) -> None:
    host.freeze()
    host.broken["release second"] = FreezeError("unreachable")
    with pytest.raises(FreezeError, match="may still be held: second: unreachable"):
        host.freezer.thaw(5)
    assert host.events[-1] == "release first"
    # The timer goes on trying.
    assert host.store.read_freeze() is not None
    assert (host.units / "bluegreen-thaw-shop.timer").exists()
    host.later(12)
    with pytest.raises(FreezeError):
        host.freezer.expire()
    host.broken.clear()
    assert host.freezer.expire() == 0


def test_a_timer_that_nobody_needs_removes_itself(host: Host) -> None:
    host.freeze()
    host.store.write_freeze(None)
    assert host.freezer.expire() == 0
    assert not list(host.units.iterdir())


def test_a_unit_that_cannot_be_removed_is_named(host: Host) -> None:
    host.freeze()
    unit = host.units / "bluegreen-thaw-shop.timer"
    unit.unlink()
    unit.mkdir()
    with pytest.raises(StoreError, match="bluegreen-thaw-shop.timer cannot be removed"):
        host.freezer.thaw(None)


def test_the_program_ends_with_what_it_came_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(_freezing, "_tell", told.append)
    monkeypatch.setattr(Freezer, "expire", lambda _self: NOT_YET)
    assert main([str(tmp_path), "shop"]) == NOT_YET

    def fail(_self: Freezer) -> int:
        raise FreezeError("unreachable")

    monkeypatch.setattr(Freezer, "expire", fail)
    assert main([str(tmp_path), "shop"]) == 1
    assert told == ["unreachable"]
