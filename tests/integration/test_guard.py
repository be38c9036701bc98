# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The guard on the lab's hosts: whatever becomes of the controller, the traffic goes back, and nobody is failed."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import math
import os
import shlex
import signal
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from .conftest import AT_ONCE

if TYPE_CHECKING:
    from .conftest import Lab, Run

TIME = 8
"""Seconds that the guard has in these tests, at least: several times what a step takes (see the fixture ``site``)."""
BOUND = 2.0
"""Seconds after its time until the traffic is back (issue: "The controller killed …")."""
BEGUN_ANEW = 10.0
"""The same where its process is killed at the last moment: to start Python takes its time on a busy machine."""
SHARES = (10, 50, 100)

HALF = """
- hosts: cutover_router:cutover_app
  gather_facts: false
  tasks:
    - ansible.builtin.import_role: {name: bluegreen.cutover.preflight}
    - ansible.builtin.import_role: {name: bluegreen.cutover.deploy}
    # Only what comes last has the time that a test gives: the tasks before it may take theirs.
    - bluegreen.cutover.guard:
        state: armed
        plan: "{{ cutover_plan | combine({'guard': {'time': 600}}, recursive=true) }}"
        token: "{{ cutover_run.token }}"
      run_once: true
      delegate_to: "{{ cutover_plan.hosts.router }}"
    - bluegreen.cutover.router_weight:
        service: "{{ cutover_plan.service }}"
        token: "{{ cutover_run.token }}"
        router: "{{ cutover_plan.router }}"
        colours: "{{ cutover_plan.colours }}"
        weight: 50
        min_ready: "{{ cutover_plan.min_ready }}"
      run_once: true
      delegate_to: "{{ cutover_plan.hosts.router }}"
    - ansible.builtin.copy: {content: "{{ cutover_plan | to_json }}", dest: /root/plan.json, mode: "0600"}
      run_once: true
      delegate_to: "{{ cutover_plan.hosts.router }}"
      when: keep_plan | default(false)
    - ansible.builtin.import_role: {name: bluegreen.cutover.guard, tasks_from: "{{ then }}.yml"}
"""


@dataclass
class Site:
    """One service behind its provider, and its guard."""

    lab: Lab
    scratch: Path
    host: str = "router"
    inventory: str = "local"
    service: str = "shop"
    port: int = 8080
    settings: dict[str, Any] = field(default_factory=dict)
    time: int = TIME

    def variables(self, **guard: Any) -> dict[str, Any]:
        steps = [{"share": share, "settle": 0} for share in SHARES]
        return {"cutover_guard": {"time": self.time, **guard}, "cutover_steps": steps, **self.settings}

    def play(self, playbook: str, **guard: Any) -> Run:
        return self.lab.playbook(playbook, self.inventory, self.variables(**guard))

    def half(self, then: str = "arm", keep_plan: bool = False, **guard: Any) -> Run:
        """A run that armed its guard, sent green half of the traffic, and was never heard of again."""
        path = self.scratch / "half.yml"
        path.write_text(HALF)
        return self.lab.playbook(
            str(path), self.inventory, self.variables(**guard) | {"then": then, "keep_plan": keep_plan}
        ).ok()

    def on_host(self, command: str, timeout: float = 60) -> str:
        return self.lab.ssh(self.host, command, timeout=timeout)

    @property
    def state(self) -> str:
        return f"/var/lib/bluegreen-cutover/{self.service}"

    @property
    def unit(self) -> str:
        return f"bluegreen-guard-{self.service}.service"

    def wait_for(self, kind: str, count: int, timeout: float = 240) -> float:
        """Wait on the host until the journal has ``count`` events like that; unix seconds of the moment."""
        pattern = shlex.quote(f'"kind": "{kind}"')
        loop = f"until [ $(grep -o {pattern} {self.state}/journal.json | wc -l) -ge {count} ]; do sleep 0.05; done"
        said = self.on_host(f"timeout {timeout} sh -c {shlex.quote(loop)} && date +%s.%N", timeout + 10)
        return float(said)

    def journal(self) -> list[dict[str, Any]]:
        text = self.on_host(f"cat {self.state}/journal.json 2>/dev/null || true")
        document = json.loads(text) if text else {"migrations": []}
        return [event for one in document["migrations"] for event in one["events"]]

    def count(self, kind: str) -> int:
        return sum(event["kind"] == kind for event in self.journal())

    def fired(self) -> tuple[dict[str, Any], float]:
        """The last firing, and how many seconds after the deadline the traffic was back."""
        events = self.journal()
        at = max(number for number, event in enumerate(events) if event["kind"] == "guard_fired")
        back = next(event for event in events[at:] if event["kind"] == "weight_set")
        return events[at], (events[at]["late"] or 0.0) + back["at"] - events[at]["at"]

    def weights(self) -> tuple[int, int]:
        described = self.play_status()
        return described["weight"], described["persisted"]

    def play_status(self) -> dict[str, Any]:
        path = self.scratch / "info.yml"
        path.write_text(
            "- hosts: cutover_router\n  gather_facts: false\n  tasks:\n    - bluegreen.cutover.plan:\n"
            "    - bluegreen.cutover.migration_info: {plan: '{{ cutover_plan }}'}\n      register: told\n"
            "    - ansible.builtin.copy: {content: '{{ told | to_json }}', dest: "
            + str(self.scratch / "told.json")
            + "}\n"
            "      delegate_to: localhost\n"
        )
        self.lab.playbook(str(path), self.inventory, self.variables()).ok()
        told: dict[str, Any] = json.loads((self.scratch / "told.json").read_text())
        return told

    def serve(self, count: int = 30) -> set[str]:
        """The colours that answer now."""
        return {self.ask() for _request in range(count)}

    def ask(self) -> str:
        # Not its health, which is that of its stores, too.
        url = f"http://{self.lab.address(self.host)}:{self.port}/api/v1/ping"
        with urllib.request.urlopen(url, timeout=10) as answer:
            return str(json.load(answer)["colour"])

    def misbehave(self, errors: float) -> None:
        """Green's share of answers that are errors, from 0 to 1."""
        for app in ("app1", "app2"):
            self.lab.ssh(app, f"curl -s -X POST localhost:8002/admin/misbehave -d '{{\"errors\": {errors}}}'")

    def traces(self) -> str:
        """Whatever is on the host of a guard."""
        return self.on_host(
            "ls -d /run/bluegreen-guard-* /var/lib/bluegreen-cutover/*/guard* 2>/dev/null; "
            "find /etc/systemd/system /run/systemd -name '*bluegreen-guard*'; "
            "systemctl list-units --all --no-legend 'bluegreen-guard*'; pgrep -af '[g]uard.pyz' || true"
        ).strip()

    def assert_no_traces(self) -> None:
        until = time.monotonic() + 60
        while (left := self.traces()) and time.monotonic() < until:
            time.sleep(0.3)
        assert left == ""


@pytest.fixture(scope="module")
def site(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Site:
    lab.renew("local")
    one = Site(lab, tmp_path_factory.mktemp("guard"))
    began = time.monotonic()
    one.play_status()
    # A playbook of two tasks takes as long as a step; a machine that is busy needs more time for it, now and later.
    one.time = max(TIME, math.ceil(7 * (time.monotonic() - began)))
    return one


@contextlib.contextmanager
def cable_cut(lab: Lab, host: str) -> Iterator[None]:
    """No packet of an SSH connection gets to the host; all others do."""
    netns = ["ip", "netns", "exec", f"bluegreen-lab.{lab.name}.{host}", "nft"]
    rule = "add table inet cut; add chain inet cut in { type filter hook input priority -300; }; "
    subprocess.run([*netns, f"{rule} add rule inet cut in tcp dport 22 drop"], check=True)
    try:
        yield
    finally:
        subprocess.run([*netns, "delete table inet cut"], check=True)


@pytest.mark.parametrize(
    ("death", "step"),
    [*itertools.product(("SIGKILL", "SIGTERM", "cut"), (0, 1, 2)), ("SIGSTOP", 1)],
)
def test_a_controller_that_is_lost_at_any_step(site: Site, death: str, step: int) -> None:
    """The traffic is back within the guard's time + 2 s, and not one request failed."""
    sets, fires = site.count("weight_set"), site.count("failed")
    target = f"http://{site.lab.address('router')}:8080"
    with site.lab.load(target, rate=40, duration=900, idle=20) as running:
        # It stays in the step where it is lost; those before are quick.
        steps = [
            {"share": share, "settle": site.time - 2 if number == step else 0} for number, share in enumerate(SHARES)
        ]
        process = site.lab.start("cutover", site.inventory, {**site.variables(), "cutover_steps": steps})
        moved = site.wait_for("weight_set", sets + step + 1)
        with contextlib.ExitStack() as stack:
            if death == "cut":
                stack.enter_context(cable_cut(site.lab, "router"))
            elif death == "SIGSTOP":
                os.killpg(process.pid, signal.SIGSTOP)
            else:
                os.kill(process.pid, signal.Signals[death])
            lost = time.time()
            if death == "cut":
                time.sleep(site.time + BOUND)
        site.wait_for("failed", fires + 1)
        if death == "SIGSTOP":
            os.killpg(process.pid, signal.SIGCONT)
        run = site.lab.finish(process)
        assert site.serve() == {"blue"}
        running.stop()
        result = running.result()
    fired, late = site.fired()
    back = [event["at"] for event in site.journal() if event["kind"] == "weight_set"][-1]
    print(
        f"MEASURED {death} step {step}: back {back - lost:.2f} s after the loss, "
        f"acted {fired['late']} s late, back {late:.3f} s"
    )
    assert back - lost <= site.time + BOUND
    assert late <= BOUND
    assert moved <= lost
    assert site.count("weight_set") == sets + step + 2
    assert result.outcomes() == {"ok": result.count}
    assert run.rc != 0
    if death == "SIGSTOP":
        # Who wakes up later is told, and changes nothing.
        assert "the guard has sent the traffic of shop back to blue" in " ".join(run.stdout.split())
    assert site.weights() == (0, 0)
    site.assert_no_traces()


def test_the_next_run_says_what_the_guard_did_and_arrives(site: Site) -> None:
    run = site.play("cutover", time=600).ok()
    assert "the guard has sent the traffic of shop back to blue" in " ".join(run.stdout.split())
    assert site.serve() == {"green"}
    site.assert_no_traces()
    site.play("rollback").ok()
    site.assert_no_traces()


def test_a_step_that_fails_leaves_no_guard(site: Site) -> None:
    fires = site.count("guard_fired")
    verify = [{"path": "/api/v1/health", "json": {"colour": "blue"}}]
    broken = replace(site, settings={"cutover_verify": verify, "cutover_steps": [{"share": 100}]})
    assert "all traffic is on blue again" in " ".join(broken.play("cutover", time=600).stdout.split())
    site.assert_no_traces()
    assert site.count("guard_fired") == fires


def test_status_tells_of_it_and_a_rollback_ends_it(site: Site) -> None:
    site.half(time=600)
    told = site.play_status()["guard"]
    assert (told["state"], told["back_to"], told["alive"]) == ("armed", "blue", True)
    assert 0 < told["left"] <= 600
    run = site.play("status")
    assert "guard: armed, sends the traffic back to blue in" in " ".join(run.stdout.split())
    site.play("rollback").ok()
    assert site.weights() == (0, 0)
    site.assert_no_traces()


@pytest.mark.parametrize(
    ("what", "bound"),
    [
        # The first leave its process alone, the others do not: each kind alone must not hide what the other breaks.
        ("systemctl daemon-reload; systemctl daemon-reexec", BOUND),
        ("for one in KILL TERM SEGV; do systemctl kill --signal=$one UNIT; sleep 0.7; done", BOUND),
        (
            "sleep SECONDS; while [ $(date +%s%N) -lt JUST_BEFORE ]; do :; done; systemctl kill --signal=KILL UNIT",
            BEGUN_ANEW,
        ),
    ],
    ids=["systemd", "killed", "killed 50 ms before its time"],
)
def test_it_is_on_time_whatever_becomes_of_systemd_and_its_process(site: Site, what: str, bound: float) -> None:
    fires = site.count("failed")
    site.half()
    deadline = json.loads(site.on_host(f"cat {site.state}/guard.json"))["deadline_at"]
    words = {
        "UNIT": site.unit,
        "JUST_BEFORE": str(int((deadline - 0.05) * 1e9)),
        "SECONDS": f"{max(0.0, deadline - time.time() - 2):.1f}",
    }
    for word, meant in words.items():
        what = what.replace(word, meant)
    site.on_host(what, timeout=site.time + 60)
    assert site.wait_for("failed", fires + 1) >= deadline
    fired, late = site.fired()
    print(f"MEASURED {what[:40]!r}: acted {fired['late']} s late, back {late:.3f} s")
    assert fired["cause"] == "time"
    assert late <= bound
    assert site.serve() == {"blue"}
    site.assert_no_traces()


def test_blue_that_is_not_ready_gets_no_traffic(site: Site) -> None:
    """Green serves; a guard that sent everything to a dead blue would end the service."""
    fires, waits = site.count("failed"), site.count("guard_waits")
    # HAProxy has to see that it is gone, which takes it several seconds, before the guard's time is over.
    site.half(time=site.time + 15)
    for host in ("app1", "app2"):
        site.lab.ssh(host, "systemctl stop shop-blue")
    site.wait_for("guard_waits", waits + 1)
    assert site.serve() == {"green"}
    told = site.play_status()["guard"]
    assert told["state"] == "firing"
    assert "blue has 0 of 2 instances ready" in told["problem"]
    refused = site.play("cutover")
    assert refused.rc != 0
    assert "is being taken back by its guard" in " ".join(refused.stdout.split())
    for host in ("app1", "app2"):
        site.lab.ssh(host, "systemctl start shop-blue")
    site.wait_for("failed", fires + 1)
    assert site.serve() == {"blue"}
    site.assert_no_traces()


def test_a_confirmation_beside_a_firing_ends_one_way_or_the_other(site: Site) -> None:
    rounds = 20
    site.half(keep_plan=True, time=600)
    site.on_host(f"cp {site.state}/guard.pyz /var/lib/bluegreen-cutover/library.pyz")
    script = Path(__file__).with_name("guard_race.py").read_text()
    site.on_host(f"cat > /root/race.py <<'EOF'\n{script}\nEOF")
    said = site.on_host(f"python3 /root/race.py /root/plan.json {rounds} 2>&1", timeout=600)
    results = [json.loads(line) for line in said.splitlines()]
    assert len(results) == rounds
    for one in results:
        if one["outcome"] == "confirmed":
            assert (one["fired"], one["went_on"], one["weight"], one["persisted"]) == (False, True, 60, 60), one
        else:
            assert (one["fired"], one["went_on"], one["weight"], one["persisted"]) == (True, False, 0, 0), one
        assert not one["armed"]
    fenced = sum(one["outcome"] == "fenced" for one in results)
    print(f"MEASURED race: {rounds - fenced} confirmed, {fenced} fenced")
    assert 0 < fenced < rounds
    site.on_host("rm -f /root/race.py /var/lib/bluegreen-cutover/library.pyz")
    site.play("rollback").ok()
    site.assert_no_traces()


def test_a_confirmed_hold_has_no_deadline_and_its_trigger_acts(site: Site) -> None:
    """A hold of days: only the triggers stay armed, in the Prometheus of the router host."""
    fires = site.count("failed")
    requests_total = 'http_requests_total{job="shop-green"}'
    errors = f'sum(rate({requests_total[:-1]},status=~"5.."}}[5s])) or 0 * sum(rate({requests_total}[5s]))'
    trigger = {"name": "the service looks ill", "query": errors, "fresh": requests_total, "max": 0.5, "for": "2s"}
    watched = replace(site, settings={"cutover_prometheus": {"url": "http://127.0.0.1:9090", "scrape_interval": "1s"}})
    watched.half("confirm", triggers=[trigger])
    assert site.serve(60) == {"blue", "green"}
    told = site.play_status()["guard"]
    assert (told["state"], told["left"], told["triggers"]) == ("watching", None, ["the service looks ill"])

    def requests() -> None:
        while not done.is_set():
            with contextlib.suppress(OSError, http.client.HTTPException):
                site.ask()
            time.sleep(0.02)

    done = threading.Event()
    thread = threading.Thread(target=requests)
    thread.start()
    try:
        began = time.time()
        site.misbehave(1)
        site.wait_for("failed", fires + 1)
    finally:
        site.misbehave(0)
        done.set()
        thread.join()
    fired, _late = site.fired()
    print(f"MEASURED trigger: acted {fired['at'] - began:.1f} s after green began to fail")
    assert fired["cause"] == "trigger"
    assert "'the service looks ill' was" in fired["reason"]
    assert site.serve() == {"blue"}
    site.assert_no_traces()
    site.play("rollback").ok()


@dataclass
class Seen:
    """What a client gets of a service whose router is rebooted: when it asked, by the clock of the machine and of its
    hosts that is never set, and the colour that answered.
    """

    answers: list[tuple[float, str]] = field(default_factory=list)

    def ask(self, site: Site, while_true: Callable[[], bool]) -> None:
        while while_true():
            asked = time.monotonic()
            # Nobody may be there; and an answer that is cut short by the end of the host is no answer.
            with contextlib.suppress(OSError, ValueError, http.client.HTTPException):
                self.answers.append((asked, site.ask()))
            time.sleep(0.01)


def test_a_router_that_is_rebooted_comes_up_on_blue(site: Site) -> None:
    """All of them, from their first answer on: the weight is put back before the data plane starts. A hold that was
    confirmed keeps its share, and its triggers.
    """
    nginx, lua, confirmed = (
        Site(
            site.lab, site.scratch, service=service, port=port,
            settings={
                "cutover_service": service,
                "cutover_router": {"provider": provider},
                "cutover_front": f"http://router:{port}",
                "cutover_prometheus": {"url": "http://127.0.0.1:9090", "scrape_interval": "1s"},
            },
        )
        for provider, service, port in (
            ("nginx", "shop-n", 8081), ("nginx_lua", "shop-l", 8082), ("nginx", "shop-c", 8083),
        )
    )  # fmt: skip
    nftables = Site(
        site.lab,
        site.scratch,
        "solo",
        "nextgeneration",
        "nextgeneration",
        8000,
        # Half a migration takes no snapshot.
        {**AT_ONCE, "cutover_state": []},
    )
    sites = [site, nginx, lua, nftables]
    for one in (nginx, lua, confirmed, nftables):
        one.play("router").ok()
    confirmed.half("confirm", triggers=[{"name": "ill", "query": "up", "reducer": "max", "max": 1}])
    kinds = [event["kind"] for event in confirmed.journal()]
    fires = []
    for one in sites:
        one.half(time=3000)
        assert one.serve(60) == {"blue", "green"}
        fires.append(one.count("failed"))
    reboots = [threading.Thread(target=site.lab.command, args=("reboot", host)) for host in ("router", "solo")]
    asked = [Seen() for _site in sites]
    began = time.monotonic()
    going = lambda: any(reboot.is_alive() for reboot in reboots)  # noqa: E731  # shared by all who ask
    asking = [threading.Thread(target=seen.ask, args=(one, going)) for one, seen in zip(sites, asked, strict=True)]
    for thread in (*reboots, *asking):
        thread.start()
    for thread in (*reboots, *asking):
        thread.join()
    for one, seen, count in zip(sites, asked, fires, strict=True):
        one.wait_for("failed", count + 1)
        fired, _late = one.fired()
        assert fired["cause"] == "reboot"
        assert one.serve() == {"blue"}
        booted = int(one.on_host("systemctl show --value --property=UserspaceTimestampMonotonic")) / 1e6
        assert booted > began
        assert {colour for asked, colour in seen.answers if asked > booted} <= {"blue"}, one.service
        assert one.weights() == (0, 0)
    told = confirmed.play_status()
    assert (told["weight"], told["persisted"], told["guard"]["state"]) == (50, 50, "watching")
    assert (told["guard"]["alive"], told["guard"]["triggers"]) == (True, ["ill"])
    assert confirmed.serve(60) == {"blue", "green"}
    assert [event["kind"] for event in confirmed.journal()] == kinds
    confirmed.play("rollback").ok()
    for one in sites:
        one.assert_no_traces()
