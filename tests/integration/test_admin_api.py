# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A service that shares its requests out by itself, moved by its own admin API (R-D5, R-D6), on real hosts.

The story is the inventory supersmartmatch, under load, there and back; the trials are what goes wrong with instances.
"""

from __future__ import annotations

import json
import math
import shlex
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from .conftest import ROOT

if TYPE_CHECKING:
    from load import Result

    from .conftest import Lab, Run

SERVICE = "supersmartmatch"
APPS = ("app1", "app2")
SHARES = [5, 10, 15, 25, 50, 75, 100]
ENDPOINTS = [f"http://{host}:8101" for host in APPS]
UNITS = f"{SERVICE}-blue {SERVICE}-green"
BOTH = ["active", "active", "enabled", "enabled"]
BLUE_ALONE = ["active", "inactive", "enabled", "disabled"]
INVENTORY = yaml.safe_load((ROOT / f"inventories/{SERVICE}/group_vars/all.yml").read_text())
HELD = {"share": 75, "hold": 45}
QUICK = {
    "cutover_steps": [HELD if share == HELD["share"] else {"share": share, "settle": 1} for share in SHARES],
    # The lab's blue has no history, and its green's errors are independent of each other.
    "cutover_gate": {**INVENTORY["cutover_gate"], "dispersion": 1},
}
"""The inventory's own shares and criteria; one hold, of seconds."""
AT_ONCE = {"cutover_steps": [{"share": 100}], "cutover_gate": None}

ASKED = {
    "service": "{{ cutover_plan.service }}",
    "router": "{{ cutover_plan.router }}",
    "colours": "{{ cutover_plan.colours }}",
    "ready_path": "{{ cutover_plan.health.ready }}",
}
MISBEHAVE = "curl -sSf --data '{}' http://127.0.0.1:8101/admin/misbehave"
AWAIT = "until curl -sSf http://127.0.0.1:8101/health/ready; do sleep 0.1; done"
REFUSE = MISBEHAVE.format('{"config_refused": true}')
OBEY = MISBEHAVE.format('{"config_refused": false}')
STOP = f"systemctl stop {SERVICE}-blue"
START = f"systemctl start {SERVICE}-blue; {AWAIT}"
FORGET = f"systemctl restart {SERVICE}-blue; {AWAIT}"


@dataclass
class Story:
    lab: Lab
    runs: dict[str, Run] = field(default_factory=dict)
    units: dict[str, list[list[str]]] = field(default_factory=dict)
    report: dict[str, Any] = field(default_factory=dict)
    results: list[Result] = field(default_factory=list)

    def play(self, name: str, playbook: str, **more: Any) -> Run:
        self.runs[name] = run = self.lab.playbook(playbook, SERVICE, **{"extra_vars": QUICK, **more})
        told = f"systemctl is-active {UNITS}; systemctl is-enabled {UNITS}; true"
        self.units[name] = [self.lab.ssh(host, told).split() for host in APPS]
        return run

    def events(self) -> list[dict[str, Any]]:
        """Those of the last migration."""
        document = json.loads(self.lab.ssh("router", f"cat /var/lib/bluegreen-cutover/{SERVICE}/journal.json"))
        events: list[dict[str, Any]] = document["migrations"][-1]["events"]
        return events


@pytest.fixture(scope="module")
def story(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Story:
    """There by all its steps and back, with everything that Ansible can tell."""
    one = Story(lab)
    verbose = {"arguments": ["-vvv"]}
    one.play("router", "router", **verbose).ok()
    fronts = [f"http://{lab.address(host)}:8101" for host in APPS]
    plan = {"rate": 150, "idle": 50, "write_share": 0.02, "duration": 3000}
    with lab.load(fronts[0], **plan) as first, lab.load(fronts[1], **plan, seed=2) as second:
        one.play("cutover", "cutover", **verbose).ok()
        one.play("cutover again", "cutover").ok()
        one.play("status", "status").ok()
        folder = tmp_path_factory.mktemp("reports")
        one.play("report", "report", extra_vars={**QUICK, "report_folder": str(folder)}).ok()
        (made,) = folder.glob("*.json")
        one.report = json.loads(made.read_text())
        one.play("rollback", "rollback", **verbose).ok()
    one.results = [first.result(), second.result()]
    return one


def test_no_request_fails_there_and_back(story: Story) -> None:
    for result in story.results:
        assert result.outcomes() == {"ok": result.count}
        assert {record.kind for record in result.records} == {"keepalive", "new", "slow", "write", "idle"}
        assert {record.colour for record in result.records} == {"blue", "green"}


def test_r_d5_each_weight_is_what_clients_get(story: Story) -> None:
    events = [event for event in story.events() if event["kind"] in ("weight_intended", "weight_set")]
    seen = {}
    for set_at, until in zip(events[1::2], events[2::2], strict=False):
        assert (set_at["kind"], until["kind"]) == ("weight_set", "weight_intended")
        share = set_at["weight"] / 100
        for host, result in zip(APPS, story.results, strict=True):
            answers = [
                record.colour
                for record in result.records
                if set_at["at"] < record.scheduled and record.ended < until["at"] and record.kind != "slow"
            ]
            assert len(answers) >= 150, (host, set_at["weight"])
            # Five standard errors: one of a million fair runs is outside.
            allowed = 5 * math.sqrt(share * (1 - share) / len(answers))
            green = answers.count("green") / len(answers)
            assert abs(green - share) <= allowed, (host, set_at["weight"], green, len(answers))
        seen[set_at["weight"]] = set_at["commands"]
    assert list(seen) == SHARES
    told = [f"POST {one}/admin/config v2_traffic_percentage=25" for one in ENDPOINTS]
    assert seen[25] == [*told, f"write /etc/bluegreen-cutover/admin_api/{SERVICE}.weight"]


def test_r_d4_the_hold_ends_when_every_criterion_is_proven(story: Story) -> None:
    seen = [event for event in story.events() if event["kind"] == "gate_seen"][-1]
    assert seen["verdict"] == "pass", seen
    asked = {criterion["name"]: criterion.get("required", True) for criterion in INVENTORY["cutover_gate"]["criteria"]}
    told = {criterion["name"]: criterion["status"] for criterion in seen["criteria"]}
    assert told.keys() == asked.keys()
    assert {told[name] for name, required in asked.items() if required} == {"proven"}, seen


def test_r_d10_the_report_has_every_criterion_of_the_inventory(story: Story) -> None:
    """Also v2's gain of precision over v1, and both in times and errors; and the way there."""
    figures = {one["name"]: one for one in story.report["figures"]}
    assert list(figures) == [one["name"] for one in INVENTORY["cutover_gate"]["criteria"]]
    assert {name: one["missing"] for name, one in figures.items() if one["missing"]} == {}
    assert 0.95 < figures["satisfaction above 95 %"]["candidate"] <= 1
    assert -0.001 < figures["precision at least that of v1"]["candidate"] < 0.1
    times = figures["p95 at most that of v1 and 10 %"]
    assert 0 < times["candidate"] < 0.15
    assert times["difference"] == pytest.approx(times["candidate"] - times["baseline"])
    assert [one["share"] for one in story.report["migration"]["path"]] == [0, *SHARES]
    assert "pass" in {one["verdict"] for one in story.report["migration"]["marks"]}
    assert (story.report["migration"]["phase"], story.report["recommendation"]) == ("finished", None)


def test_r_d11_green_decides_by_the_rules_before_it_gets_traffic(story: Story) -> None:
    """What becomes of one that does not: tests/kubernetes/test_playbooks.py."""
    kinds = [event["kind"] for event in story.events()]
    shown = story.events()[kinds.index("probed")]["checkpoints"]
    assert [one["seen"] for one in shown if one["name"] == "rules"] == ["7 of 7 cases passed"]
    assert kinds.index("probed") < kinds.index("weight_intended")


def test_blue_is_the_entry_and_is_kept_running(story: Story) -> None:
    assert story.units["cutover"] == story.units["cutover again"] == [BOTH] * 2
    assert "blue takes the connections, so it is kept running." in story.runs["cutover"].stdout
    assert story.units["rollback"] == [BLUE_ALONE] * 2
    events = story.events()
    kinds = [event["kind"] for event in events]
    assert kinds.index("finished") == kinds.index("rollback_began") - 1
    assert "drained" not in kinds
    assert kinds[-1] == "rolled_back"


def test_r_d6_the_way_back_is_the_emergency_endpoint(story: Story) -> None:
    last = [event for event in story.events() if event["kind"] == "weight_set"][-1]
    assert (last["weight"], last["commands"][:2]) == (0, [f"POST {one}/admin/rollback" for one in ENDPOINTS])


def test_again_changes_nothing_and_status_agrees(story: Story) -> None:
    for name in ("cutover again", "status"):
        assert story.runs[name].changed == 0, story.runs[name].stdout
    assert f"Nothing to do: green answers {SERVICE} alone." in story.runs["cutover again"].stdout
    assert f"{SERVICE}: blue 0 %, green 100 %, since " in story.runs["status"].stdout
    assert "recorded and real: they agree" in story.runs["status"].stdout


def test_the_token_is_nowhere(story: Story) -> None:
    lab = story.lab
    token = lab.ssh("router", f"cat /etc/bluegreen-cutover/admin_api/{SERVICE}.token").strip()
    assert token == json.loads((lab.state / "secrets.json").read_text())["admin"]
    assert lab.ssh("router", f"stat -c '%a %U' /etc/bluegreen-cutover/admin_api/{SERVICE}.token").split() == [
        "600",
        "root",
    ]
    for name in ("router", "cutover", "rollback"):
        out = story.runs[name].stdout
        assert "ESTABLISH SSH CONNECTION" in out
        assert f"{SERVICE}.token" in out
        assert token not in out, name
    assert token not in lab.ssh("router", f"cat /var/lib/bluegreen-cutover/{SERVICE}/*; journalctl --no-pager")


def sooner(criterion: dict[str, Any]) -> dict[str, Any]:
    """One of the inventory's own, in seconds."""
    if "for" not in criterion:
        return criterion
    return {**criterion, "query": criterion["query"].replace("[1m]", "[5s]"), "for": "3s"}


CRITERIA = INVENTORY["cutover_gate"]["criteria"]
ASKED_IN_SECONDS = {**QUICK["cutover_gate"], "criteria": [sooner(one) for one in CRITERIA]}


SECRET = "lab-password"
FILES = "/etc/prometheus"
SECURED = {
    **INVENTORY["cutover_prometheus"],
    "url": "https://127.0.0.1:9090",
    "username": "cutover",
    "password_file": f"{FILES}/password",
    "ca_path": f"{FILES}/cert.pem",
    "client_cert": f"{FILES}/cert.pem",
    "client_key": f"{FILES}/key.pem",
}
WEB = {
    "tls_server_config": {
        "cert_file": f"{FILES}/cert.pem",
        "key_file": f"{FILES}/key.pem",
        "client_ca_file": f"{FILES}/cert.pem",
        "client_auth_type": "RequireAndVerifyClientCert",
    },
    # SECRET, by bcrypt.
    "basic_auth_users": {"cutover": "$2b$04$dyadIouR.dwV6IUFCr515.lw9f/J/rpt8u2SHLvUQ3D5JRygqZBVW"},
}
CLOSE = f"""set -e; cd {FILES}; umask 077
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=lab \\
    -addext subjectAltName=IP:127.0.0.1 -keyout key.pem -out cert.pem 2>/dev/null
printf %s {SECRET} >password; echo '{json.dumps(WEB)}' >web.yml
chown prometheus key.pem cert.pem web.yml
echo 'ARGS="--web.config.file={FILES}/web.yml"' >/etc/default/prometheus; systemctl restart prometheus
"""
OPEN = "echo 'ARGS=\"\"' >/etc/default/prometheus; systemctl restart prometheus"
CURL = {
    "open": "curl -sf http://127.0.0.1:9090",
    "closed": f"cd {FILES} && curl -sf --cacert cert.pem --cert cert.pem --key key.pem -u cutover:$(cat password) "
    "https://127.0.0.1:9090",
}
TELLS = "journalctl --sync && journalctl --quiet --no-pager"
"""All that was said to it is in it."""
WEEKS = {
    "cutover_steps": [{"share": 50, "hold": "10m"}, {"share": 100}],
    "cutover_run_limit": 0,
    "cutover_gate": ASKED_IN_SECONDS,
    "cutover_guard": {"triggers": [sooner(one) for one in INVENTORY["cutover_guard"]["triggers"]]},
    "cutover_prometheus": SECURED,
}


def wait_prometheus(lab: Lab, door: str, query: str = "time()") -> None:
    """Until it answers, and there is something for ``query``."""
    asked = f"{CURL[door]}/api/v1/query --data-urlencode {shlex.quote(f'query={query}')} | grep -q '\"value\"\\|scalar'"
    lab.ssh("router", f"timeout 120 sh -c {shlex.quote(f'until {asked}; do sleep 0.2; done')}")


def query_of(name: str) -> str:
    """That of a criterion in seconds."""
    return next(str(one["query"]) for one in ASKED_IN_SECONDS["criteria"] if one["name"] == name)


@pytest.fixture
def secured(story: Story) -> Iterator[Lab]:
    """The router's Prometheus wants a certificate, a user and a password."""
    story.lab.ssh("router", CLOSE)
    wait_prometheus(story.lab, "closed")
    yield story.lab
    story.lab.ssh("router", OPEN)
    wait_prometheus(story.lab, "open")


def greens(lab: Lab, **faults: float) -> None:
    for host in APPS:
        lab.ssh(host, MISBEHAVE.replace("8101", "8102").format(json.dumps(faults)))


def test_r_d8_performance_mode_is_asked_for_and_the_trigger_acts_while_no_run_is_there(
    story: Story, secured: Lab
) -> None:
    """What the inventory is for, between two runs of advance.yml, with a Prometheus that lets nobody in."""
    lab = secured
    weight = f"systemctl show --value --property CPUWeight {SERVICE}-green"
    target = f"http://{lab.address('app1')}:8101"
    with lab.load(target, rate=150, idle=0, write_share=0.0, slow_share=0.0, duration=1200) as running:
        story.play("held", "cutover", extra_vars=WEEKS, arguments=["-vvv"]).ok()
        assert story.events()[-1]["kind"] == "held"
        greens(lab, latency_ms=300.0)
        wait_prometheus(
            lab, "closed", f"min_over_time(({query_of('p95 above 150 ms for five minutes')})[8s:1s]) > 0.05"
        )
        story.play("slow", "advance", extra_vars=WEEKS).ok()
        assert [event["hook"] for event in story.events() if event["kind"] == "hook_called"] == ["performance_mode"]
        assert [lab.ssh(host, weight).strip() for host in APPS] == ["1000"] * 2
        greens(lab, latency_ms=0.0, errors=0.5)
        until = time.monotonic() + 150
        while story.events()[-1]["kind"] != "failed" and time.monotonic() < until:
            time.sleep(0.5)
    fired = [event for event in story.events() if event["kind"] == "guard_fired"]
    assert [event["cause"] for event in fired] == ["trigger"], story.events()[-3:]
    assert "'more than 1 % errors for a minute' was" in fired[0]["reason"]
    back = [event for event in story.events() if event["kind"] == "weight_set"][-1]
    assert (back["weight"], back["commands"][:2]) == (0, [f"POST {one}/admin/rollback" for one in ENDPOINTS])
    result = running.result()
    assert result.outcomes() == {"ok": result.count}
    refused = story.play("refused advance", "advance", extra_vars=WEEKS)
    assert refused.rc != 0
    assert "the guard has sent the traffic of supersmartmatch back to blue" in " ".join(refused.stdout.split())
    greens(lab, errors=0.0)
    told = lab.ssh("router", f"{TELLS} -t {SERVICE}").splitlines()
    assert f"stopped: {SERVICE}: the migration" in told[-1]
    assert f"the guard has sent the traffic of {SERVICE} back to blue" in told[-1]
    # R-A8: the guard's process could not collect it.
    gone = story.play("back again", "rollback", extra_vars=WEEKS).ok()
    (kept,) = (event["path"] for event in story.events() if event["kind"] == "evidence_kept")
    assert f"The evidence is in {kept} on router" in " ".join(gone.stdout.split())
    cause = json.loads(lab.ssh("router", f"tar -xzOf {kept} --wildcards '*/manifest.json'"))["cause"]
    assert "the guard has sent the traffic of supersmartmatch back to blue" in cause
    told = lab.ssh("router", f"{TELLS} -t {SERVICE}").splitlines()
    assert told[-1].endswith(f"rolled_back: {SERVICE} is back on blue")
    assert SECRET not in "".join(run.stdout for run in story.runs.values())
    assert SECRET not in lab.ssh("router", f"cat /var/lib/bluegreen-cutover/{SERVICE}/*; journalctl --no-pager")


def test_r_d8_a_loss_of_precision_goes_back_step_by_step(story: Story) -> None:
    """R-D7. The next run of advance.yml finds it; with another criterion that only asks for help broken as well."""
    weeks = {**WEEKS, "cutover_prometheus": INVENTORY["cutover_prometheus"], "cutover_back_steps": {"settle": 2}}
    weeks["cutover_guard"] = {"triggers": INVENTORY["cutover_guard"]["triggers"]}
    story.play("held at half", "cutover", extra_vars=weeks).ok()
    greens(story.lab, precision=0.85)
    low = query_of("precision below 0.9 for two minutes")
    wait_prometheus(story.lab, "open", f"max_over_time(({low})[6s:1s]) < 0.9")
    back = story.play("step by step", "advance", extra_vars=weeks)
    assert back.rc != 0
    assert "precision below 0.9 for two minutes: past the limit for" in " ".join(back.stdout.split())
    assert [event["weight"] for event in story.events() if event["kind"] == "weight_set"] == [50, 25, 0]
    assert story.events()[-1]["kind"] == "rolled_back"


def play(steps: tuple[Any, ...], report: Path) -> list[dict[str, Any]]:
    """A play of one task per step: a number is a call of router_weight, a pair a command on that host, "read" a call
    of router_info.
    """
    tasks: list[dict[str, Any]] = [{"bluegreen.cutover.plan": {}}]
    for number, step in enumerate(steps):
        if isinstance(step, tuple):
            task: dict[str, Any] = {"ansible.builtin.shell": step[1], "delegate_to": step[0]}
        elif step == "read":
            task = {"bluegreen.cutover.router_info": ASKED}
        else:
            task = {"bluegreen.cutover.router_weight": {**ASKED, "weight": step, "min_ready": 1}, "ignore_errors": True}
        tasks.append({**task, "register": f"answer_{number}"})
    answers = ", ".join(f"answer_{number}" for number in range(len(steps)))
    copy = {"content": "{{ [" + answers + "] | to_json }}", "dest": str(report), "mode": "0600"}
    tasks.append({"ansible.builtin.copy": copy, "delegate_to": "localhost"})
    return [{"hosts": "cutover_router", "gather_facts": False, "tasks": tasks}]


Answers = list[dict[str, Any]]


@pytest.fixture(scope="module")
def trials(story: Story, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Answers]:
    """What each step of each trial answered; each begins and ends at 0 %, with everything in order."""
    scratch = tmp_path_factory.mktemp("trials")
    playbook, report = scratch / "steps.yml", scratch / "report.json"
    begin = tuple((host, f"systemctl start {SERVICE}-green; {AWAIT.replace('8101', '8102')}") for host in APPS)
    steps = [*begin, *(step for trial in TRIALS.values() for step in trial)]
    end = tuple((host, f"systemctl stop {SERVICE}-green") for host in APPS)
    playbook.write_text(json.dumps(play((*steps, *end), report)))
    story.lab.playbook(str(playbook), SERVICE).ok()
    told = iter(json.loads(report.read_text())[len(begin) :])
    return {name: [next(told) for _step in trial] for name, trial in TRIALS.items()}


TRIALS: dict[str, tuple[Any, ...]] = {
    "refuses": (10, ("app2", REFUSE), 50, "read", ("app2", OBEY), 0),
    "down": (10, ("app2", STOP), 50, ("app2", START), 10, 0),
    "forgets": (50, ("app2", FORGET), "read", 50, "read", ("app1", FORGET), ("app2", FORGET), "read", 0),
    "emergency": (50, ("app1", REFUSE), ("app2", REFUSE), 0, ("app1", OBEY), ("app2", OBEY), "read"),
    "back without one": (50, ("app2", STOP), 0, ("app2", START), 0, "read"),
}


def test_one_that_refuses_has_the_other_put_back(trials: dict[str, Answers]) -> None:
    _ten, _refuse, refused, after, _obey, back = trials["refuses"]
    assert (refused["failed"], refused["reason"]) == (True, "router")
    assert "50 % was not taken: http://app2:8101: POST /admin/config: status 503" in refused["msg"]
    assert "All are put back as they were" in refused["msg"]
    assert (after["weight"], after["persisted"], after["detail"]["endpoints"]) == (10, 10, dict.fromkeys(ENDPOINTS, 10))
    assert back["after"]["weight"] == 0


def test_while_one_is_down_nothing_is_set(trials: dict[str, Answers]) -> None:
    _ten, _stop, refused, _start, again, _back = trials["down"]
    assert (
        "50 % was not set, and nothing was changed: http://app2:8101: GET /admin/config: Connection" in refused["msg"]
    )
    # It came up with 0, the other one still had 10.
    assert again["before"]["detail"]["endpoints"] == {ENDPOINTS[0]: 10, ENDPOINTS[1]: 0}
    assert again["after"]["weight"] == 10


def test_one_that_has_forgotten_is_noticed(trials: dict[str, Answers]) -> None:
    _half, _forget, one, _again, mended, _first, _second, both, _back = trials["forgets"]
    assert (one["weight"], one["persisted"]) == (None, 50)
    assert "its instances do not agree: http://app1:8101 50 %, http://app2:8101 0 %" in one["drift"][0]
    assert (mended["weight"], mended["drift"]) == (50, [])
    assert both["drift"] == ["0 % for green is applied, but 50 % for green is on disk"]


def test_the_emergency_endpoint_is_heard_where_the_other_is_not(trials: dict[str, Answers]) -> None:
    _half, _one, _two, back, _first, _second, after = trials["emergency"]
    assert back["commands"][:2] == [f"POST {one}/admin/rollback" for one in ENDPOINTS]
    assert (after["weight"], after["persisted"]) == (0, 0)


def test_on_the_way_back_one_that_is_down_keeps_nobody_on_green(trials: dict[str, Answers]) -> None:
    _half, _stop, failed, _start, _again, after = trials["back without one"]
    assert "not all traffic is back on blue: http://app2:8101: POST /admin/config: Connection" in failed["msg"]
    assert ENDPOINTS[0] not in failed["evidence"]["endpoints"]
    assert (after["weight"], after["persisted"]) == (0, 0)


def test_a_cutover_that_is_refused_goes_back_and_the_router_playbook_mends_what_was_forgotten(story: Story) -> None:
    lab = story.lab
    lab.ssh("app2", REFUSE)
    with lab.load(f"http://{lab.address('app1')}:8101", rate=150, duration=3000) as running:
        refused = story.play("refused", "cutover", extra_vars=AT_ONCE)
        lab.ssh("app2", OBEY)
        assert refused.rc != 0
        assert f"{SERVICE} was not moved: all traffic is on blue again" in refused.stdout
        assert "100 % was not taken: http://app2:8101: POST /admin/config: status 503" in refused.stdout
        assert story.units["refused"] == [BLUE_ALONE] * 2
        assert story.events()[-1]["kind"] == "rolled_back"
        story.play("moved", "cutover", extra_vars=AT_ONCE).ok()
        lab.ssh("app2", FORGET)
        drifted = story.play("drifted", "status", extra_vars=AT_ONCE)
        assert drifted.rc != 0
        assert "its instances do not agree: http://app1:8101 100 %, http://app2:8101 0 %" in drifted.stdout
        assert story.play("mended", "router").ok().changed == 1
        story.play("back", "rollback").ok()
    result = running.result()
    assert result.outcomes() == {"ok": result.count}
    assert story.units["back"] == [BLUE_ALONE] * 2
