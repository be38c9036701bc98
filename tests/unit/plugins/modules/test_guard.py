# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module guard: what it asks for, and what roles get."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.basic import AnsibleModule
from ansible_collections.bluegreen.cutover.plugins.module_utils import _guard_service, _triggers
from ansible_collections.bluegreen.cutover.plugins.module_utils._core import journal
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import InputError, WorkloadError
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.plan import GUARD_MARGIN, make_plan
from ansible_collections.bluegreen.cutover.plugins.module_utils._guardian import Guardian
from ansible_collections.bluegreen.cutover.plugins.module_utils._prometheus import SourceDownError
from ansible_collections.bluegreen.cutover.plugins.module_utils._routers import Reading
from ansible_collections.bluegreen.cutover.plugins.module_utils._routing import make_service
from ansible_collections.bluegreen.cutover.plugins.module_utils._stores.files import FileStore
from ansible_collections.bluegreen.cutover.plugins.modules import guard

RunModule = Callable[..., dict[str, Any]]

TRIGGER = {"name": "ill", "query": "up", "min": 1}


@pytest.fixture(name="started")
def _started(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Stands for systemd: whether each start was a new one."""
    starts: list[bool] = []
    monkeypatch.setattr(os, "fsync", lambda _descriptor: None)
    monkeypatch.setattr(_guard_service, "install", lambda _store, _main: not starts)
    monkeypatch.setattr(_guard_service, "start", lambda _store, _run, _clock, anew: starts.append(anew))
    return starts


def plan(folder: Path, source: str = "", **settings: Any) -> dict[str, Any]:
    variables = {
        "cutover_service": "guarded",
        "cutover_front": "http://router",
        "cutover_router": {"provider": "haproxy"},
        "cutover_colours": {
            "blue": {"unit": "blue.service", "port": 8001},
            "green": {"unit": "green.service", "port": 8002},
        },
        "cutover_state_dir": str(folder),
        "cutover_guard": {"time": 10, **settings},
        "cutover_prometheus": {"url": source} if source else None,
    }
    return make_plan(variables, routers=["router"], applications=["app1"], hosts={})


@pytest.mark.usefixtures("started")
def test_armed_renewed_confirmed(run_module: RunModule, tmp_path: Path) -> None:
    made = plan(tmp_path)
    armed = run_module(guard, state="armed", plan=made, token=5)
    assert (armed["rc"], armed["changed"], armed["guard"]["state"], armed["guard"]["alive"]) == (
        0,
        True,
        "armed",
        False,
    )
    assert 9 < armed["guard"]["left"] <= 10
    again = run_module(guard, state="armed", plan=made, token=5)
    assert again["guard"]["deadline_at"] > armed["guard"]["deadline_at"]
    assert (FileStore(str(tmp_path), "guarded").read_guard() or {})["generation"] == 2
    confirmed = run_module(guard, state="confirmed", plan=made, token=5)
    assert (confirmed["changed"], confirmed["guard"]) == (True, None)
    assert run_module(guard, state="disarmed", plan=made, token=5)["changed"] is False


@pytest.mark.usefixtures("started")
def test_triggers_stay_armed_when_confirmed(
    run_module: RunModule, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    monkeypatch.setattr(_triggers, "check", lambda triggers, source: asked.append((source["url"], triggers)))
    made = plan(tmp_path, triggers=[TRIGGER], source="http://127.0.0.1:9090")
    run_module(guard, state="armed", plan=made, token=5)
    run_module(guard, state="armed", plan=made, token=5)
    # Once: a Prometheus that is away for a moment must not undo a step.
    assert asked == [("http://127.0.0.1:9090", made["guard"]["triggers"])]
    # Not in the answer: Ansible shows it itself where a test before this one has imported what runs on a control node.
    warned: list[str] = []
    monkeypatch.setattr(AnsibleModule, "warn", lambda _self, text: warned.append(text))
    confirmed = run_module(guard, state="confirmed", plan=made, token=5)["guard"]
    assert (confirmed["state"], confirmed["left"], confirmed["triggers"]) == ("watching", None, ["ill"])
    # Nobody runs it here, and whoever goes home now has to know.
    assert "guarded: a guard is watching, and its process is not there" in str(warned)


@pytest.mark.usefixtures("started")
def test_a_trigger_that_cannot_be_asked_arms_nothing(
    run_module: RunModule, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_triggers: Any, _source: Any) -> None:
        raise InputError("the query is wrong")

    monkeypatch.setattr(_triggers, "check", refuse)
    made = plan(tmp_path, triggers=[TRIGGER], source="http://127.0.0.1:9090")
    refused = run_module(guard, state="armed", plan=made, token=5)
    assert (refused["rc"], refused["reason"], refused["msg"]) == (1, "input", "the query is wrong")
    assert FileStore(str(tmp_path), "guarded").read_guard() is None


def moved(folder: Path) -> FileStore:
    """A service whose migration is under way: green has 50 %."""
    store = FileStore(str(folder), "guarded")
    given: dict[str, Any] = {"from": "blue", "to": "green", "subject": {}, "owner": {}, "reason": ""}
    store.record(5, 1.0, "began", weight=0, **given)
    store.record(5, 2.0, "weight_intended", before=0, weight=50)
    store.record(5, 3.0, "weight_set", weight=50, commands=[], ms=1.0)
    return store


@pytest.mark.usefixtures("started")
def test_on_the_way_back_it_has_the_time_of_a_step_back(run_module: RunModule, tmp_path: Path) -> None:
    back: dict[str, Any] = {"from": "green", "to": "blue", "owner": {}, "reason": "", "differences": []}
    moved(tmp_path).record(5, 4.0, "rollback_began", weight=50, persisted=50, **back)
    made = plan(tmp_path)
    made["back_steps"]["time"] = 150
    assert run_module(guard, state="armed", plan=made, token=5)["guard"]["time"] == 150 + GUARD_MARGIN


class Pods:
    """A router in a cluster, in which green has been scaled above blue."""

    weight = 50

    def read(self) -> Reading:
        return Reading(self.weight, self.weight, {"blue": 3, "green": 6}, {})

    def apply(self, weight: int) -> list[str]:
        self.weight = weight
        return []

    def persist(self, weight: int) -> list[str]:
        del weight
        return []


@pytest.mark.usefixtures("started")
@pytest.mark.parametrize("state", ["armed", "confirmed"])
def test_a_candidate_that_has_more_pods_than_the_old_colour_does_not_keep_the_traffic(
    run_module: RunModule, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    """R-B13, R-D6: what served everything when the run began is enough, where the inventory names no number."""
    monkeypatch.setattr(_triggers, "check", lambda _triggers, _source: None)
    made = {**plan(tmp_path, triggers=[TRIGGER], source="http://127.0.0.1:9090"), "min_ready": None}
    store, router = moved(tmp_path), Pods()
    run_module(guard, state=state, plan=made, token=5, min_ready=3)
    armed = store.read_guard() or {}
    assert armed["target"]["min_ready"] == 3
    service = make_service("guarded", made["colours"], "/ready")
    Guardian(store, lambda _seen: None, routed=lambda _target: (service, router))._send_back(armed, None)
    assert router.weight == 0


def unanswered(_triggers: Any, _source: Any) -> None:
    raise SourceDownError("http://127.0.0.1:9090 did not answer.")


OTHER = {**TRIGGER, "name": "worse"}


@pytest.mark.usefixtures("started")
def test_triggers_that_were_edited_take_the_place_of_the_old_ones(
    run_module: RunModule, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also while a step is only held, and none was armed before; and they are gone when there are none any more."""
    asked = []
    monkeypatch.setattr(_triggers, "check", lambda triggers, source: asked.append((triggers[0]["name"], source["url"])))
    moved(tmp_path)
    for triggers, url in (([TRIGGER], "a"), ([TRIGGER], "a"), ([OTHER], "a"), ([OTHER], "b"), ([], "b")):
        made = plan(tmp_path, triggers=triggers, source=f"http://{url}:9090")
        left = run_module(guard, state="confirmed", plan=made, token=5)["guard"]
        if triggers:
            assert (left["state"], left["left"], left["triggers"]) == ("watching", None, [triggers[0]["name"]])
        else:
            assert left is None
    assert asked == [("ill", "http://a:9090"), ("worse", "http://a:9090"), ("worse", "http://b:9090")]


@pytest.mark.parametrize("state", ["armed", "confirmed"])
@pytest.mark.parametrize("before", [True, False])
@pytest.mark.usefixtures("started")
def test_edited_triggers_that_cannot_be_asked_leave_the_share_and_the_old_ones(
    run_module: RunModule, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: str, before: bool
) -> None:
    store = moved(tmp_path)
    monkeypatch.setattr(_triggers, "check", lambda _triggers, _source: None)
    if before:
        run_module(guard, state="confirmed", plan=plan(tmp_path, triggers=[TRIGGER], source="http://a:9090"), token=5)
    armed = store.read_guard()
    monkeypatch.setattr(_triggers, "check", unanswered)
    made = plan(tmp_path, triggers=[OTHER], source="http://a:9090")
    refused = run_module(guard, state=state, plan=made, token=5)
    # Which is no reason to go back, and neither a lease nor an open step is left.
    assert refused["reason"] == "held"
    assert "cannot be asked: http://127.0.0.1:9090 did not answer. The candidate keeps its share" in refused["msg"]
    assert f"its triggers of before ({chr(39) + 'ill' + chr(39) if before else 'none'})" in refused["msg"]
    assert store.read_guard() == armed
    assert (journal.fold(store.read_journal()).phase, store.read_lease()) == ("held", None)


@pytest.mark.usefixtures("started")
def test_a_step_with_a_deadline_is_not_left_with_triggers_that_nobody_asked(
    run_module: RunModule, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved(tmp_path)
    run_module(guard, state="armed", plan=plan(tmp_path), token=5)
    monkeypatch.setattr(_triggers, "check", unanswered)
    made = plan(tmp_path, triggers=[OTHER], source="http://a:9090")
    assert run_module(guard, state="armed", plan=made, token=5)["reason"] == "unreachable"


def test_check_mode_says_what_it_would_do(run_module: RunModule, tmp_path: Path, started: list[bool]) -> None:
    made = plan(tmp_path)
    assert run_module(guard, check_mode=True, state="armed", plan=made)["changed"] is True
    assert run_module(guard, check_mode=True, state="disarmed", plan=made)["changed"] is False
    assert started == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("started")
def test_no_token_no_guard(run_module: RunModule, tmp_path: Path) -> None:
    refused = run_module(guard, state="armed", plan=plan(tmp_path))
    assert (refused["rc"], refused["reason"]) == (1, "input")
    assert "cutover_run.token" in refused["msg"]


@pytest.mark.usefixtures("started")
def test_an_older_run_is_fenced(run_module: RunModule, tmp_path: Path) -> None:
    made = plan(tmp_path)
    run_module(guard, state="armed", plan=made, token=6)
    for state in ("armed", "confirmed", "disarmed"):
        assert run_module(guard, state=state, plan=made, token=5)["reason"] == "fenced"


@pytest.mark.usefixtures("started")
def test_a_process_that_does_not_start_stops_the_run(
    run_module: RunModule, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_given: Any, **_named: Any) -> None:
        raise WorkloadError("it does not run", {"journal": []})

    monkeypatch.setattr(_guard_service, "start", fail)
    assert run_module(guard, state="armed", plan=plan(tmp_path), token=5)["reason"] == "workload"
