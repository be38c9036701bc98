# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Steps that are held under a gate, on the lab's real Prometheus, under load (R-C7, R-D2, R-D3, R-D7, R-D8)."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from .conftest import Lab, Run

ERRORS = {
    "name": "errors of green",
    "kind": "ratio",
    "total": 'http_requests_total{job="shop-green",path=~"/api/.*"}',
    "bad": 'status=~"5.."',
    "max": 0.02,
}
# Two targets of green are always scraped; the bound decides how the criterion ends.
UP = {"name": "green is up", "kind": "query", "query": 'sum(up{job="shop-green"})', "fresh": 'up{job="shop-green"}'}

EVIDENCE = ("unit", "journal", "requests", "profile", "machine")
BACK = {"cutover_back": "progressive", "cutover_back_steps": {"shares": [60, 30], "settle": 3}}


def story(hold: str, *criteria: dict[str, Any], first: int = 50, **more: Any) -> dict[str, Any]:
    """Extra variables: one share that is held under a gate, then all."""
    return {
        "cutover_steps": [{"share": first, "hold": hold}, {"share": 100}],
        "cutover_prometheus": {"url": "http://127.0.0.1:9090", "scrape_interval": 1},
        "cutover_gate": {"criteria": list(criteria), "dispersion": 1, "no_data": 3},
        **more,
    }


@pytest.fixture(scope="module")
def held(lab: Lab) -> Iterator[Lab]:
    lab.renew("local")
    yield lab
    lab.ssh("router", "systemctl start prometheus")


@pytest.fixture(autouse=True)
def blue(held: Lab) -> Iterator[None]:
    """Each test begins and ends with blue alone."""
    yield
    for app in ("app1", "app2"):
        held.ssh(app, misbehave(0), check=False)
    held.playbook("rollback").ok()


def misbehave(errors: float) -> str:
    """Make green of a host fail so many of its requests."""
    return f"curl -sf -X POST -d '{json.dumps({'errors': errors})}' http://127.0.0.1:8002/admin/misbehave >/dev/null"


def events(lab: Lab) -> list[dict[str, Any]]:
    """Those of the last migration."""
    document = json.loads(lab.ssh("router", "cat /var/lib/bluegreen-cutover/shop/journal.json"))
    found: list[dict[str, Any]] = document["migrations"][-1]["events"]
    return found


def weights(lab: Lab) -> list[int]:
    return [event["weight"] for event in events(lab) if event["kind"] == "weight_set"]


def front(lab: Lab) -> str:
    return f"http://{lab.address('router')}:8080"


def advance_to_the_end(lab: Lab, variables: dict[str, Any]) -> None:
    """As a timer does, until the migration has ended, one way or the other."""
    until = time.monotonic() + 120
    while events(lab)[-1]["kind"] == "held" and time.monotonic() < until:
        lab.playbook("advance", extra_vars=variables)


def state(lab: Lab) -> str:
    return lab.ssh("router", "ls /var/lib/bluegreen-cutover/shop", check=False)


def test_a_hold_outlives_its_run_and_advance_goes_on(held: Lab, tmp_path: Path) -> None:
    """R-D10: meanwhile the report tells where it is, and leaves everything as it was."""
    # Long enough for a run that comes before its end, whatever that takes to start.
    started = time.monotonic()
    held.playbook("status")
    hold = max(30, math.ceil(6 * (time.monotonic() - started)))
    variables = story(f"{hold}s", ERRORS, cutover_run_limit=0)
    with held.load(front(held), rate=60, duration=600, slow_share=0.0) as running:
        held.playbook("cutover", extra_vars=variables).ok()
        assert (events(held)[-1]["kind"], weights(held)) == ("held", [50])
        assert "lease.json" not in state(held)
        early = held.playbook("advance", extra_vars=variables).ok()
        assert "left" in early.stdout
        assert (events(held)[-1]["kind"], weights(held)) == ("held", [50])
        before = held.ssh("router", "cat /var/lib/bluegreen-cutover/shop/*.json")
        told = held.playbook("report", extra_vars={**variables, "report_folder": str(tmp_path / "new")}).ok()
        assert held.ssh("router", "cat /var/lib/bluegreen-cutover/shop/*.json") == before
        (made,) = (tmp_path / "new").glob("shop-*.json")
        report, page = json.loads(made.read_text()), made.with_suffix(".html").read_text()
        assert (report["migration"]["share"], report["recommendation"]["do"]) == (50, "hold"), told.stdout
        # The gate goes on from what it has kept of the hold.
        began = next(event["at"] for event in events(held) if event["kind"] == "hold_began")
        assert 0 < report["gate"]["covered"] <= report["made"] - began + 2
        (figure,) = report["figures"]
        assert (figure["candidate"], figure["missing"]) == (0, {})
        assert f"<strong>hold</strong>: {report['recommendation']['sentence']}" in page
        status = held.playbook("status", extra_vars=variables).ok()
        assert "hold: green has 50 %" in status.stdout
        time.sleep(max(0.0, began + hold + 1 - time.time()))
        # Its window is counted on samples, of which a few may be missing.
        advance_to_the_end(held, variables)
        assert (events(held)[-1]["kind"], weights(held)) == ("finished", [50, 100])
        nothing = held.playbook("advance", extra_vars=variables).ok()
        assert "Nothing to advance" in nothing.stdout
        assert nothing.changed == 0
    assert set(running.result().outcomes()) == {"ok"}
    assert held.ssh("app1", "systemctl is-active shop-blue", check=False).strip() == "inactive"


def test_a_gate_that_fails_brings_all_back_and_tells(held: Lab, tmp_path: Path) -> None:
    told = tmp_path / "told.yml"
    told.write_text(
        "- name: Tell\n  ansible.builtin.copy:\n    content: '{{ hook_event.event }} {{ hook_event.message }}'\n"
        f"    dest: {tmp_path}/told\n    mode: '0600'\n  delegate_to: localhost\n"
    )
    variables = story("60s", ERRORS, cutover_hooks={"notify": {"tasks": str(told)}})
    with held.load(front(held), rate=100, duration=600, slow_share=0.0) as running:
        began = time.time()
        process = held.start("cutover", extra_vars=variables)
        until(held, "hold_began", began)
        for app in ("app1", "app2"):
            held.ssh(app, misbehave(0.2))
        run = held.finish(process)
    assert run.rc != 0
    assert "green at 50 %: the gate fails: errors of green" in flat(run)
    assert "all traffic is on blue again" in flat(run)
    assert weights(held) == [50, 0]
    assert "errors of green" in (tmp_path / "told").read_text()
    (kept,) = (event["path"] for event in events(held) if event["kind"] == "evidence_kept")
    assert f"The evidence is in {kept} on router" in flat(run)
    assert held.ssh("router", f"stat -c '%a %U' {kept}").split() == ["600", "root"]
    files = {f"{app}/{name}.txt" for app in ("app1", "app2") for name in EVIDENCE} | {"manifest.json", "migration.json"}
    assert {line.partition("/")[2] for line in held.ssh("router", f"tar -tzf {kept}").splitlines()} == files
    told = held.ssh("router", f"tar -xzOf {kept}")
    # It was collected before it was stopped, and with what it answered.
    for evidence in ("Active: active (running)", "< 200 OK", "* ended after", "% of a processor; ", "errors of green"):
        assert evidence in told
    result = running.result()
    assert {one.outcome for one in result.records if one.colour == "blue"} == {"ok"}


def test_a_gate_that_cannot_tell_keeps_the_share(held: Lab) -> None:
    variables = story("10s", ERRORS, cutover_run_limit=40)
    with held.load(front(held), rate=60, duration=600, slow_share=0.0) as running:
        held.ssh("router", "systemctl stop prometheus")
        blind = held.playbook("cutover", extra_vars=variables)
        assert blind.rc != 0
        assert "the candidate keeps its share" in flat(blind)
        assert (events(held)[-1]["kind"], weights(held)) == ("held", [50])
        held.ssh("router", "systemctl start prometheus")
        time.sleep(10)
        advance_to_the_end(held, variables)
        assert weights(held) == [50, 100]
    assert set(running.result().outcomes()) == {"ok"}


def test_what_a_gate_cannot_tell_may_be_accepted_and_is_a_reason_to_go_back_in_the_end(held: Lab) -> None:
    variables = story("5s", ERRORS)
    held.ssh("router", "systemctl stop prometheus")
    assert held.playbook("cutover", extra_vars=variables).rc != 0
    assert (events(held)[-1]["kind"], weights(held)) == ("held", [50])
    time.sleep(max(0.0, events(held)[-1]["at"] + 5 - time.time()))
    held.playbook("advance", extra_vars={**variables, "cutover_accept_unproven": "seen in the logs"}).ok()
    (accepted,) = (event for event in events(held) if event["kind"] == "unproven_accepted")
    assert (accepted["reason"], weights(held)) == ("seen in the logs", [50, 100])
    held.playbook("rollback").ok()
    impatient = {**variables, "cutover_gate": {**variables["cutover_gate"], "patience": 0}}
    back = held.playbook("cutover", extra_vars=impatient)
    held.ssh("router", "systemctl start prometheus")
    assert back.rc != 0
    assert "the gate cannot tell" in flat(back)
    assert "all traffic is on blue again" in flat(back)
    assert weights(held) == [50, 0]


def test_the_way_back_may_be_slow(held: Lab) -> None:
    slow = {**UP, "max": 1, "action": "rollback_progressive"}
    variables = story("30s", slow, ERRORS, first=90, cutover_back_steps=BACK["cutover_back_steps"])
    with held.load(front(held), rate=60, duration=600, slow_share=0.0) as running:
        run = held.playbook("cutover", extra_vars=variables)
        assert run.rc != 0
        assert weights(held) == [90, 60, 30, 0]
        deaf = {"notify": {"url": "http://127.0.0.1:9/nobody"}}
        moved = held.playbook("cutover", extra_vars={"cutover_steps": [{"share": 100}], "cutover_hooks": deaf}).ok()
        assert "The hook notify failed" in flat(moved)
        held.playbook("rollback", extra_vars=BACK).ok()
        assert weights(held) == [100, 60, 30, 0]
    assert set(running.result().outcomes()) == {"ok"}


def test_a_way_back_that_is_not_stable_ends_at_once_and_well(held: Lab) -> None:
    """What clients are answered decides: as long as green has a share, one of so many probes meets it."""
    held.playbook("cutover", extra_vars={"cutover_steps": [{"share": 100}]}).ok()
    for app in ("app1", "app2"):
        held.ssh(app, misbehave(1))
    probes = [{"path": f"/api/v1/ping?{number}", "budget_ms": 10_000} for number in range(15)]
    run = held.playbook("rollback", extra_vars={**BACK, "cutover_verify": probes}).ok()
    assert "Not stable at 60 %" in flat(run)
    assert weights(held) == [100, 60, 0]
    assert "failed" not in {event["kind"] for event in events(held)}


def test_a_criterion_may_ask_for_help_and_is_waited_for(held: Lab, tmp_path: Path) -> None:
    tasks = tmp_path / "faster.yml"
    tasks.write_text(
        "- name: Note it\n  ansible.builtin.lineinfile:\n    line: '{{ hook_event.message }}'\n"
        f"    path: {tmp_path}/called\n    create: true\n    mode: '0600'\n  delegate_to: localhost\n"
    )
    asks = {**UP, "max": 1, "action": "performance_mode", "required": False}
    variables = story("8s", asks, ERRORS, cutover_hooks={"performance_mode": {"tasks": str(tasks)}})
    with held.load(front(held), rate=60, duration=600, slow_share=0.0) as running:
        held.playbook("cutover", extra_vars={**variables, "cutover_run_limit": 60}).ok()
    assert "green is up" in (tmp_path / "called").read_text()
    # It is asked for once, and a criterion that is not required keeps nobody from going on when the others are proven.
    kinds = [event["kind"] for event in events(held)]
    assert (kinds.count("hook_called"), kinds[-1], weights(held)) == (1, "finished", [50, 100])
    assert set(running.result().outcomes()) == {"ok"}


def test_a_run_that_dies_in_a_hold_is_brought_back_by_the_guard(held: Lab) -> None:
    patience = 24
    variables = story("60s", ERRORS, cutover_guard={"time": patience})
    with held.load(front(held), rate=60, duration=600, slow_share=0.0) as running:
        began = time.time()
        process = held.start("cutover", extra_vars=variables)
        until(held, "hold_began", began)
        time.sleep(4)
        held.kill(process)
        died = time.time()
        until(held, "guard_fired", began)
        until(held, "failed", died)
    assert weights(held) == [50, 0]
    assert events(held)[-1]["at"] - died < patience + 2
    assert set(running.result().outcomes()) == {"ok"}


def test_a_prometheus_that_hangs_is_no_reason_for_the_guard(held: Lab) -> None:
    """Each question ends only by its time, twice; between two of them the guard, with the least time, is renewed."""
    variables = story("10s", ERRORS)
    variables["cutover_gate"]["no_data"] = 120
    with held.load(front(held), rate=60, duration=600, slow_share=0.0) as running:
        began = time.time()
        process = held.start("cutover", extra_vars=variables)
        until(held, "hold_began", began)
        held.ssh("router", "systemctl kill --signal=STOP prometheus; sleep 35; systemctl kill --signal=CONT prometheus")
        held.finish(process).ok()
    kinds = [event["kind"] for event in events(held)]
    assert "guard_fired" not in kinds
    assert kinds[-1] == "finished"
    assert set(running.result().outcomes()) == {"ok"}


def until(lab: Lab, kind: str, after: float, within: float = 120) -> None:
    """Wait for an event later than ``after``, in unix seconds: the hosts have this machine's clock."""
    end = time.monotonic() + within
    while time.monotonic() < end:
        if "journal.json" in state(lab) and any(e["kind"] == kind and e["at"] > after for e in events(lab)):
            return
        time.sleep(0.2)
    pytest.fail(f"no {kind} within {within} s: {events(lab)}")


def flat(run: Run) -> str:
    """Its output without line breaks, which depend on the width."""
    return " ".join(run.stdout.split())
