# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every router, set up by the role and moved by router_weight, on real hosts (R-C1, R-C5, R-C9)."""

from __future__ import annotations

import http.client
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .conftest import Lab

ASKED = {
    "service": "{{ cutover_plan.service }}",
    "router": "{{ cutover_plan.router }}",
    "colours": "{{ cutover_plan.colours }}",
    "ready_path": "{{ cutover_plan.health.ready }}",
}

Step = dict[str, Any] | str


def play(steps: tuple[Step, ...], report: Path) -> list[dict[str, Any]]:
    """A play of one task per step: a mapping is a call of router_weight, a text a command on the router's host."""
    tasks: list[dict[str, Any]] = [{"bluegreen.cutover.plan": {}}]
    for step in steps:
        if isinstance(step, str):
            tasks.append({"ansible.builtin.shell": step})
        else:
            asked = {**ASKED, "min_ready": "{{ cutover_plan.min_ready }}", **step}
            task = {"check_mode": asked.pop("check", False), "bluegreen.cutover.router_weight": asked}
            tasks.append(task | {"ignore_errors": True})
        tasks[-1]["register"] = f"answer_{len(tasks)}"
    answers = [f"answer_{number}" for number in range(2, len(tasks) + 1)]
    tasks.append({"bluegreen.cutover.router_info": ASKED, "register": "after", "ignore_errors": True})
    content = "{{ {'answers': [" + ", ".join(answers) + "], 'after': after} | to_json }}"
    copy = {"content": content, "dest": str(report), "mode": "0600"}
    tasks.append({"ansible.builtin.copy": copy, "delegate_to": "localhost"})
    return [{"hosts": "cutover_router", "gather_facts": False, "tasks": tasks}]


@dataclass
class Routed:
    """A service of the lab behind one provider."""

    lab: Lab
    scratch: Path
    provider: str
    after: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.host, self.inventory, self.port, self.units, self.disk = PROVIDERS[self.provider]
        self.settings: dict[str, Any] = {}
        if self.provider.startswith("nginx"):
            self.settings = {
                "cutover_service": Path(self.disk).stem,
                "cutover_router": {"provider": self.provider, "sticky": HEADER},
                "cutover_front": f"http://router:{self.port}",
            }

    def set_up(self) -> Any:
        return self.lab.playbook("router", self.inventory, self.settings).ok()

    def do(self, *steps: Step) -> list[dict[str, Any]]:
        """What each step answered; ``after`` is what router_info says at the end."""
        playbook, report = self.scratch / "steps.yml", self.scratch / "report.json"
        playbook.write_text(json.dumps(play(steps, report)))
        self.lab.playbook(str(playbook), self.inventory, self.settings).ok()
        told = json.loads(report.read_text())
        self.after = told["after"]
        answers: list[dict[str, Any]] = told["answers"]
        return answers

    def weights(self) -> tuple[Any, Any]:
        return self.after["weight"], self.after["persisted"]

    def green(self, verb: str) -> None:
        for host in ["solo"] if self.host == "solo" else ["app1", "app2"]:
            self.lab.ssh(host, f"systemctl {verb} {self.units}-green.service")

    def empty_green(self) -> None:
        self.do({"weight": 0})
        self.green("stop")

    def serve(self, count: int = 60, user: str = "") -> Counter[str]:
        """Which colour answered, per request on a connection of its own."""
        seen: Counter[str] = Counter()
        for _index in range(count):
            connection = http.client.HTTPConnection(self.lab.address(self.host), self.port, timeout=30)
            headers = {"X-User": user, "Cookie": f"lang=en; user={user}"} if user else {}
            connection.request("GET", "/api/v1/ping", headers=headers)
            answer = connection.getresponse()
            assert answer.status == 200
            seen[json.load(answer)["colour"]] += 1
            connection.close()
        return seen


HEADER, COOKIE = {"header": "X-User"}, {"cookie": "user"}

# Host, inventory, port, units, and the file that holds the weight.
PROVIDERS = {
    "haproxy": ("router", "local", 8080, "shop", "/etc/haproxy/cutover/shop.map"),
    "nginx": ("router", "local", 8081, "shop", "/etc/nginx/cutover/shop-n.conf"),
    "nginx_lua": ("router", "local", 8082, "shop", "/etc/nginx/cutover/shop-l.weight"),
    "nftables": (
        "solo",
        "nextgeneration",
        8000,
        "nextgeneration",
        "/etc/bluegreen-cutover/nftables/nextgeneration.nft",
    ),
}


@pytest.fixture(scope="module", params=PROVIDERS)
def routed(request: pytest.FixtureRequest, lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Routed]:
    """A service behind its provider, everything to blue, green stopped; and left so."""
    one = Routed(lab, tmp_path_factory.mktemp(request.param), request.param)
    one.set_up()
    one.empty_green()
    yield one
    one.empty_green()


def test_set_up_twice_changes_nothing_and_serves_blue(routed: Routed) -> None:
    assert routed.set_up().changed == 0
    assert routed.serve(20) == {"blue": 20}


def test_refused_while_green_is_not_ready(routed: Routed) -> None:
    told, refused = routed.do({"weight": 50, "check": True}, {"weight": 50, "allowed": [0]})
    assert told["changed"]
    assert "needed" in told["note"]
    assert told["commands"] == []
    assert refused["reason"] == "not_ready"
    assert "No traffic was moved" in refused["msg"]
    assert routed.weights() == (0, 0)


def test_there_and_back(routed: Routed) -> None:
    routed.green("start")
    checked, half, again, drifted = routed.do(
        {"weight": 50, "check": True},
        {"weight": 50, "allowed": [0]},
        {"weight": 50, "allowed": [0]},
        {"weight": 100, "allowed": [0]},
    )
    assert (checked["changed"], checked["commands"]) == (True, [])
    assert (half["changed"], half["after"]["weight"], half["after"]["persisted"]) == (True, 50, 50)
    assert (again["changed"], again["commands"]) == (False, [])
    assert drifted["reason"] == "drift"
    assert "50 % for green is applied, where 0 % for green was expected" in drifted["msg"]
    # 60 fair draws: fewer than 12 of a colour in one of a million runs.
    assert min(routed.serve().values()) >= 12
    routed.do({"weight": 1, "allowed": [50]}, {"weight": 99, "allowed": [1]}, {"weight": 100, "allowed": [99]})
    assert routed.weights() == (100, 100)
    assert routed.serve(20) == {"green": 20}
    routed.do({"weight": 0})
    assert routed.serve(20) == {"blue": 20}


def test_a_file_edited_by_hand_is_drift(routed: Routed) -> None:
    routed.green("start")
    edit = f"cp -p {routed.disk} /root/kept; sed -i 's/50/40/g; s/49/39/g' {routed.disk}"
    _half, _edited, refused, accepted, _same = routed.do(
        {"weight": 50}, edit, {"weight": 100, "allowed": [50]}, {"weight": 50}, f"cmp {routed.disk} /root/kept"
    )
    assert refused["reason"] == "drift"
    assert "on disk" in refused["msg"]
    assert "50 % for green is applied" in accepted["drift"][0]
    assert routed.weights() == (50, 50)


def test_a_reload_and_a_restart_keep_the_weight(routed: Routed) -> None:
    routed.green("start")
    unit = routed.provider.replace("_lua", "")
    seen = {"weight": 30, "check": True}
    answers = routed.do(
        {"weight": 30}, f"systemctl reload {unit}.service", seen, f"systemctl restart {unit}.service", seen
    )
    assert [answer["changed"] for answer in answers] == [True, True, False, True, False]


def test_a_router_that_is_gone_says_what_to_do(routed: Routed) -> None:
    unit = routed.provider.replace("_lua", "")
    stop, start, advice = f"systemctl stop {unit}", f"systemctl start {unit}", f"systemctl start {unit}"
    if routed.provider == "nftables":
        stop, advice = "nft flush ruleset", "nft --json list table inet cutover_nextgeneration"
        start = "systemctl restart bluegreen-cutover-nftables-nextgeneration"
    _stopped, refused, _started = routed.do(stop, {"weight": 100}, start)
    assert refused["reason"] == "router"
    assert advice in refused["msg"]


@pytest.mark.parametrize(
    ("routed", "sticky"),
    [("haproxy", HEADER), ("haproxy", COOKIE), ("nginx", HEADER), ("nginx_lua", HEADER)],
    indirect=["routed"],
)
def test_sticky_clients_stay(routed: Routed, sticky: dict[str, str]) -> None:
    wanted = {"provider": routed.provider, "sticky": sticky}
    if routed.settings.get("cutover_router") != wanted:
        routed.settings["cutover_router"] = wanted
        routed.set_up()
    routed.green("start")
    routed.do({"weight": 50})
    users = [f"user-{index}" for index in range(20)]
    sides = {user: routed.serve(4, user) for user in users}
    assert all(len(seen) == 1 for seen in sides.values())
    assert {colour for seen in sides.values() for colour in seen} == {"blue", "green"}
    # Who says nothing is drawn. A growing weight takes nobody back.
    assert len(routed.serve(40)) == 2
    routed.do({"weight": 80})
    assert all("green" in routed.serve(1, user) for user in users if "green" in sides[user])


# Not nftables: without a proxy these are the clients' own connections, which stay where they are.
@pytest.mark.parametrize("routed", ["haproxy", "nginx", "nginx_lua"], indirect=True)
def test_connections_to_a_colour_without_traffic_end(routed: Routed) -> None:
    routed.green("start")
    routed.do({"weight": 50})
    routed.serve(20)
    # Prometheus has connections there, too.
    program = "haproxy" if routed.provider == "haproxy" else "nginx"
    count = f"ss -Htnp state established '( dport = :8002 )' | grep -c '\"{program}\"' || true"
    # What is shipped closes them in a second or less; 5 s and 60 s are what these programs do by themselves.
    gone = f"for _ in $(seq 16); do [ $({count}) = 0 ] && break; sleep 0.2; done; {count}"
    _none, left = routed.do({"weight": 0}, gone)
    assert left["stdout"] == "0"


CHECKS = """
import csv, socket
s = socket.socket(socket.AF_UNIX)
s.connect("/run/haproxy/admin.sock")
s.sendall(b"show stat" + bytes([10]))
for row in csv.DictReader(s.makefile()):
    if row["# pxname"].startswith("shop-") and row["svname"] != "BACKEND":
        print(row["check_fall"], row["check_rise"])
"""


@pytest.mark.parametrize("routed", ["haproxy"], indirect=True)
def test_haproxys_health_checks(routed: Routed) -> None:
    """R-C5: a check every 5 s, down after 3 failures, up after 2 successes."""
    told = routed.lab.ssh("router", f"python3 -c '{CHECKS}'").splitlines()
    assert told == ["3 2"] * 4, "two instances of two colours"
    asked = """curl -s localhost:8001/metrics | grep '^http_requests_total.*path="/health/ready"'"""
    before, after = routed.lab.ssh("app1", f"{asked}; sleep 10.5; {asked}").splitlines()
    assert float(after.split()[-1]) - float(before.split()[-1]) in (2, 3), "checks in 10.5 s"


def test_haproxy_switches_under_load_without_an_error(lab: Lab, tmp_path: Path) -> None:
    routed = Routed(lab, tmp_path, "haproxy")
    routed.set_up()
    routed.green("start")
    with lab.load(f"http://{lab.address('router')}:8080", rate=200, duration=3000, slow_share=0.0, idle=50) as running:
        answers = routed.do(*({"weight": weight} for weight in (50, 100, 50, 0, 100, 0)))
    result = running.result()
    assert result.outcomes() == {"ok": result.count}
    assert all(answer["changed"] for answer in answers)
    # Requests from before the first switch until after the last, answered by both.
    assert set(result.summary["colours"]) == {"blue", "green"}
    blue, green = result.summary["colours"]["blue"], result.summary["colours"]["green"]
    assert blue["first"] < green["first"] < green["last"] < blue["last"]
    routed.empty_green()


def test_a_reboot_keeps_the_redirect(lab: Lab, tmp_path: Path) -> None:
    routed = Routed(lab, tmp_path, "nftables")
    routed.set_up()
    routed.green("start")
    routed.do({"weight": 100}, "systemctl enable --quiet nextgeneration-green.service")
    lab.command("reboot", "solo")
    ready = "until curl -sf localhost:8002/health/ready; do sleep 0.1; done"
    lab.ssh("solo", f"timeout 90 sh -c '{ready}'", timeout=120)
    routed.do()
    assert routed.weights() == (100, 100)
    assert routed.serve(10) == {"green": 10}
    routed.do("systemctl disable --quiet nextgeneration-green.service")
    routed.empty_green()
