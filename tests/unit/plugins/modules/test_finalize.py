# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The modules that end an old version: what is recorded, what is refused, what is removed (R-D9)."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.bluegreen.cutover.plugins.module_utils import _finalizing, _migration, _removing
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.plan import make_plan
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.probes import Answer
from ansible_collections.bluegreen.cutover.plugins.module_utils._routers import Reading
from ansible_collections.bluegreen.cutover.plugins.module_utils._stores.files import FileStore
from ansible_collections.bluegreen.cutover.plugins.modules import finalize, migration, systemd_remove

RunModule = Callable[..., dict[str, Any]]
DAY = 86_400
ALICE = {"user": "alice", "host": "ops1", "pid": 1}
GOOD = [{"name": "availability", "passed": True, "seen": "99.99 %"}]


@dataclass
class Moved:
    """A service that moved to green at ``now``, and a router and a clock that a test sets."""

    run_module: RunModule
    plan: dict[str, Any]
    store: FileStore
    now: float = 1_000_000.0
    weight: int = 100
    answered: dict[str, str] = field(default_factory=dict)

    def run(self, state: str, **more: Any) -> dict[str, Any]:
        opens = {"owner": ALICE} if state in ("deprecated", "removing") else {}
        return self.run_module(finalize, plan=self.plan, state=state, measured=GOOD, **opens, **more)

    @property
    def kinds(self) -> list[str]:
        return [event["kind"] for event in self.store.read_journal()["migrations"][-1]["events"]]


@pytest.fixture
def moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_module: RunModule) -> Moved:
    plan = make_plan(
        {
            "cutover_service": "shop",
            "cutover_front": "http://router",
            "cutover_router": {"provider": "haproxy"},
            "cutover_colours": {"blue": {"unit": "b.service", "port": 1}, "green": {"unit": "g.service", "port": 2}},
            "cutover_state_dir": str(tmp_path),
            "cutover_finalize": {"announced": ["/api/v1"]},
        },
        routers=["router"],
        applications=["app1"],
        hosts={},
    )
    made = Moved(run_module, plan, FileStore(str(tmp_path), "shop"))

    class Dial:
        def read(self) -> Reading:
            return Reading(made.weight, made.weight, {"blue": 0, "green": 1}, {})

    monkeypatch.setattr(os, "fsync", lambda _descriptor: None)  # nobody waits for a disk here
    monkeypatch.setattr(_migration, "make_router", lambda _options, _service: Dial())
    monkeypatch.setattr(time, "time", lambda: made.now)
    monkeypatch.setattr(
        _finalizing, "ask_all", lambda targets: [Answer(1.0, 200, headers=made.answered) for _one in targets]
    )
    began = {"from": "blue", "to": "green", "subject": {}, "owner": ALICE, "reason": "r", "weight": 0}
    for kind, data in (
        ("began", began),
        ("weight_intended", {"before": 0, "weight": 100}),
        ("weight_set", {"weight": 100, "commands": [], "ms": 1.0}),
        ("finished", {"weight": 100}),
    ):
        made.store.record(1, made.now, kind, **data)
    return made


def test_r_d9_an_old_version_is_deprecated_announced_and_removed(moved: Moved) -> None:
    judged = moved.run("judged")
    assert (judged["stage"], judged["phrase"], judged["missing"]) == ("deprecate", "DEPRECATE shop blue", "")
    done = moved.run("deprecated")
    assert done["changed"]
    assert moved.store.read_lease() is None
    assert moved.run("deprecated")["msg"].startswith("blue of shop is not to be deprecated now: blue of shop may not")
    moved.now += 29 * DAY
    refused = moved.run("removing")
    assert (refused["rc"], refused["reason"]) == (1, "finalize")
    assert "Missing: stable: 29 of 30 days" in refused["msg"]
    assert "; announced at http://router/api/v1: Deprecation is missing and Sunset is missing; " in refused["msg"]
    moved.now += DAY
    moved.answered = {name.lower(): value for name, value in done["headers"].items()}
    token = moved.run("removing")["token"]
    lease = moved.store.read_lease()
    assert lease is not None
    assert (lease["kind"], lease["token"]) == ("finalize", token)
    assert moved.run("stopped", token=token, reason="it still has\nconnections")["changed"]
    token = moved.run("removing")["token"]
    assert moved.run("removed", token=token)["changed"]
    assert moved.kinds[-5:] == ["deprecated", "removal_began", "removal_stopped", "removal_began", "removed"]
    assert moved.store.read_lease() is None
    assert moved.run("judged")["sentence"] == "Nothing to do: blue of shop is removed."
    back = moved.run_module(migration, state="rolling_back", plan=moved.plan, owner=ALICE)
    assert back["reason"] == "finalize"
    assert "there is nothing to go back to" in back["msg"]


def test_check_mode_records_nothing(moved: Moved) -> None:
    before = moved.kinds
    done = moved.run("deprecated", check_mode=True)
    assert (done["changed"], done["token"]) == (True, None)
    assert moved.kinds == before


def test_another_runs_lease_is_respected_and_a_rollback_takes_it_away(moved: Moved) -> None:
    moved.run("deprecated")
    moved.now += 30 * DAY
    moved.plan["finalize"]["announced"] = []
    token = moved.run("removing")["token"]
    other = moved.run_module(finalize, plan=moved.plan, state="removing", measured=GOOD, owner={**ALICE, "pid": 2})
    assert (other["reason"], "is being finalized by alice@ops1" in other["msg"]) == ("lease_held", True)
    assert moved.run_module(migration, state="rolling_back", plan=moved.plan, owner=ALICE)["changed"]
    assert moved.run("removed", token=token)["reason"] == "fenced"


def test_a_share_that_is_not_whole_keeps_the_old_version(moved: Moved) -> None:
    moved.weight = 90
    assert "Missing: traffic: green has 90 % now" in moved.run("deprecated")["msg"]
    assert "deprecated" not in moved.kinds


class Systemd:
    """``systemctl`` for one unit, whose file is in ``units``."""

    def __init__(self, units: Path, **properties: str) -> None:
        self.units = units
        self.ran: list[list[str]] = []
        self.properties = {
            "ActiveState": "inactive",
            "SubState": "dead",
            "UnitFileState": "disabled",
            "FragmentPath": str(units / "b.service"),
            **properties,
        }

    def __call__(self, argv: Sequence[str], _seconds: float) -> tuple[int, str, str]:
        self.ran.append(list(argv))
        load = "loaded" if (self.units / "b.service").exists() else "not-found"
        return 0, "\n".join(f"{name}={value}" for name, value in {**self.properties, "LoadState": load}.items()), ""


@pytest.fixture
def units(tmp_path: Path) -> Path:
    folder = tmp_path / "units"
    (folder / "b.service.d").mkdir(parents=True)
    (folder / "b.service").write_text("[Service]\n")
    (folder / "b.service.d" / "more.conf").write_text("[Service]\nNice=1\n")
    return folder


def remove(
    run_module: RunModule, monkeypatch: pytest.MonkeyPatch, systemd: Systemd, state: Path, **more: Any
) -> dict[str, Any]:
    monkeypatch.setattr(systemd_remove, "run", systemd)
    monkeypatch.setattr(_removing, "UNITS", systemd.units)
    return run_module(systemd_remove, unit="b.service", service="shop", state_dir=str(state), **more)


def test_a_unit_is_removed_once_and_a_copy_is_kept(
    run_module: RunModule, monkeypatch: pytest.MonkeyPatch, units: Path, tmp_path: Path
) -> None:
    systemd = Systemd(units)
    would = remove(run_module, monkeypatch, systemd, tmp_path, check_mode=True)
    assert (would["changed"], (units / "b.service").exists()) == (True, True)
    done = remove(run_module, monkeypatch, systemd, tmp_path)
    assert done["removed"] == [str(units / "b.service"), str(units / "b.service.d")]
    assert done["commands"] == ["systemctl daemon-reload"]
    assert list(units.iterdir()) == []
    kept = Path(done["kept"])
    assert (kept / "b.service").read_text() == "[Service]\n"
    assert (kept / "b.service.d" / "more.conf").exists()
    assert remove(run_module, monkeypatch, systemd, tmp_path)["changed"] is False


@pytest.mark.parametrize(
    ("properties", "message"),
    [
        ({"ActiveState": "active", "SubState": "running"}, "it is active (running). Stop and disable it first"),
        ({"UnitFileState": "enabled"}, "it is inactive (dead), and enabled."),
        ({"FragmentPath": "/usr/lib/systemd/system/b.service"}, "remove the package that it belongs to"),
        ({"FragmentPath": "{units}/b@.service"}, "is not its own file, others may need it"),
    ],
)
def test_a_unit_that_lives_or_is_not_its_own_is_kept(
    run_module: RunModule,
    monkeypatch: pytest.MonkeyPatch,
    units: Path,
    tmp_path: Path,
    properties: dict[str, str],
    message: str,
) -> None:
    systemd = Systemd(units, **{name: value.format(units=units) for name, value in properties.items()})
    refused = remove(run_module, monkeypatch, systemd, tmp_path)
    assert (refused["rc"], refused["reason"]) == (1, "workload")
    assert message in refused["msg"]
    assert (units / "b.service").exists()


def test_a_removal_that_was_overtaken_removes_nothing(
    run_module: RunModule, monkeypatch: pytest.MonkeyPatch, units: Path, tmp_path: Path
) -> None:
    monkeypatch.setattr(os, "fsync", lambda _descriptor: None)
    store = FileStore(str(tmp_path), "shop")
    with store.locked():
        store.fence(9, 1000.0)
    refused = remove(run_module, monkeypatch, Systemd(units), tmp_path, token=8)
    assert refused["reason"] == "fenced"
    assert (units / "b.service").exists()
