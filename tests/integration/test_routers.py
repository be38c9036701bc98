# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every router, set up by the role and moved by router_weight, on real hosts (R-C1, R-C5, R-C9)."""

from __future__ import annotations

import http.client
import json
import statistics
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .conftest import Lab

# Calls the module as often as it is told to, and brings what it answered back.
PLAYBOOK = """
- hosts: cutover_router
  gather_facts: false
  tasks:
    - bluegreen.cutover.plan:
    - bluegreen.cutover.router_weight:
        service: "{{ cutover_plan.service }}"
        router: "{{ cutover_plan.router }}"
        colours: "{{ cutover_plan.colours }}"
        ready_path: "{{ cutover_plan.health.ready }}"
        weight: "{{ item.weight }}"
        allowed: "{{ item.allowed | default([]) }}"
        min_ready: "{{ cutover_plan.min_ready }}"
      check_mode: "{{ item.check | default(false) }}"
      ignore_errors: true
      register: answers
      loop: "{{ calls }}"
    - bluegreen.cutover.router_info:
        service: "{{ cutover_plan.service }}"
        router: "{{ cutover_plan.router }}"
        colours: "{{ cutover_plan.colours }}"
      ignore_errors: true
      register: after
    - ansible.builtin.copy:
        content: "{{ {'answers': answers.results, 'after': after} | to_json }}"
        dest: "{{ report }}"
        mode: "0600"
      delegate_to: localhost
"""


@dataclass
class Routed:
    """A service of the lab behind one provider."""

    lab: Lab
    scratch: Path
    provider: str
    host: str
    inventory: str
    port: int
    units: str
    disk: str
    settings: dict[str, Any] = field(default_factory=dict)
    after: dict[str, Any] = field(default_factory=dict)

    def set_up(self) -> Any:
        return self.lab.playbook("router", self.inventory, self.settings).ok()

    def call(self, *calls: dict[str, Any]) -> list[dict[str, Any]]:
        """Call router_weight once per mapping; ``after`` is what router_info says at the end."""
        playbook, report = self.scratch / "calls.yml", self.scratch / "report.json"
        playbook.write_text(PLAYBOOK)
        given = {**self.settings, "calls": list(calls), "report": str(report)}
        self.lab.playbook(str(playbook), self.inventory, given).ok()
        told = json.loads(report.read_text())
        self.after = told["after"]
        answers: list[dict[str, Any]] = told["answers"]
        return answers

    def weights(self) -> tuple[Any, Any]:
        return self.after["weight"], self.after["persisted"]

    def green(self, verb: str) -> None:
        for host in ["solo"] if self.host == "solo" else ["app1", "app2"]:
            self.lab.ssh(host, f"systemctl {verb} {self.units}-green.service")

    def serve(self, count: int = 60, user: str = "") -> Counter[str]:
        """Which colour answered, per request on a connection of its own."""
        seen: Counter[str] = Counter()
        for _index in range(count):
            connection = http.client.HTTPConnection(self.lab.address(self.host), self.port, timeout=5)
            connection.request("GET", "/api/v1/health", headers={"X-User": user} if user else {})
            answer = connection.getresponse()
            assert answer.status == 200
            seen[json.load(answer)["colour"]] += 1
            connection.close()
        return seen


PROVIDERS = {
    "haproxy": ("router", "local", 8080, "shop", "/etc/haproxy/cutover/shop.map", {}),
    "nginx": ("router", "local", 8081, "shop", "/etc/nginx/cutover/shop-n.conf", {"cutover_service": "shop-n"}),
    "nginx_lua": ("router", "local", 8082, "shop", "/etc/nginx/cutover/shop-l.weight", {"cutover_service": "shop-l"}),
    "nftables": (
        "solo",
        "nextgeneration",
        8000,
        "nextgeneration",
        "/etc/bluegreen-cutover/nftables/nextgeneration.nft",
        {},
    ),
}


@pytest.fixture(scope="module", params=PROVIDERS)
def routed(request: pytest.FixtureRequest, lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Routed]:
    """A service behind its provider, everything to blue, green stopped; and left so."""
    host, inventory, port, units, disk, settings = PROVIDERS[request.param]
    one = Routed(lab, tmp_path_factory.mktemp(request.param), request.param, host, inventory, port, units, disk)
    if settings:
        router = {"provider": request.param, "sticky": {"header": "X-User"}}
        one.settings = {**settings, "cutover_router": router, "cutover_front": f"http://router:{port}"}
    one.set_up()
    yield one
    one.call({"weight": 0})
    one.green("stop")


def test_set_up_twice_changes_nothing_and_serves_blue(routed: Routed) -> None:
    assert routed.set_up().changed == 0
    assert routed.serve(20) == {"blue": 20}
    check = routed.lab.playbook("router", routed.inventory, routed.settings, check=True).ok()
    assert check.changed == 0


def test_refused_while_green_is_not_ready(routed: Routed) -> None:
    told, refused = routed.call({"weight": 50, "check": True}, {"weight": 50, "allowed": [0]})
    assert told["changed"]
    assert "needed" in told["note"]
    assert told["commands"] == []
    assert refused["reason"] == "not_ready"
    assert "No traffic was moved" in refused["msg"]
    assert routed.weights() == (0, 0)


def test_there_and_back(routed: Routed) -> None:
    routed.green("start")
    checked, half, again, drifted = routed.call(
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
    whole, none = routed.call({"weight": 100, "allowed": [50]}, {"weight": 1, "allowed": [100]})
    assert whole["changed"]
    assert none["changed"]
    assert routed.weights() == (1, 1)
    routed.call({"weight": 100})
    assert routed.serve(20) == {"green": 20}
    routed.call({"weight": 0})
    assert routed.serve(20) == {"blue": 20}


def test_a_file_edited_by_hand_is_drift(routed: Routed) -> None:
    routed.green("start")
    routed.call({"weight": 50})
    routed.lab.ssh(routed.host, f"cp -p {routed.disk} /root/kept; sed -i 's/50/40/g; s/49/39/g' {routed.disk}")
    refused, accepted = routed.call({"weight": 100, "allowed": [50]}, {"weight": 50})
    assert refused["reason"] == "drift"
    assert "on disk" in refused["msg"]
    assert "50 % for green is applied" in accepted["drift"][0]
    assert routed.weights() == (50, 50)
    routed.lab.ssh(routed.host, f"cmp {routed.disk} /root/kept")


def test_a_restart_of_the_router_keeps_the_weight(routed: Routed) -> None:
    routed.green("start")
    routed.call({"weight": 30})
    unit = {"nginx_lua": "nginx"}.get(routed.provider, routed.provider)
    for verb in ("reload", "restart"):
        routed.lab.ssh(routed.host, f"systemctl {verb} {unit}.service")
        routed.call({"weight": 30, "allowed": [30]})
        assert routed.weights() == (30, 30)


def test_a_stopped_router_says_what_to_do(routed: Routed) -> None:
    if routed.provider == "nftables":
        routed.lab.ssh("solo", "nft flush ruleset")
        missing = "nft --json list table inet cutover_nextgeneration"
        undo = "systemctl restart bluegreen-cutover-nftables-nextgeneration.service"
    else:
        unit = routed.provider.replace("_lua", "")
        routed.lab.ssh(routed.host, f"systemctl stop {unit}.service")
        missing = f"systemctl start {unit}"
        undo = f"systemctl start {unit}.service"
    try:
        (refused,) = routed.call({"weight": 100})
    finally:
        routed.lab.ssh(routed.host, undo)
    assert refused["reason"] == "router"
    assert missing in refused["msg"]


@pytest.mark.parametrize("routed", ["nginx", "nginx_lua"], indirect=True)
def test_sticky_clients_stay(routed: Routed) -> None:
    routed.green("start")
    routed.call({"weight": 50})
    sides = [routed.serve(4, f"user-{index}") for index in range(20)]
    assert all(len(seen) == 1 for seen in sides)
    assert {colour for seen in sides for colour in seen} == {"blue", "green"}


# Not nftables: without a proxy these are the clients' own connections, which stay where they are.
@pytest.mark.parametrize("routed", ["haproxy", "nginx", "nginx_lua"], indirect=True)
def test_connections_to_a_colour_without_traffic_end(routed: Routed) -> None:
    routed.green("start")
    routed.call({"weight": 50})
    routed.serve(20)
    routed.call({"weight": 0})
    deadline = time.monotonic() + 3
    count = "ss --no-header --tcp --numeric state established '( sport = :8002 )' | wc -l"
    while (left := sum(int(routed.lab.ssh(host, count)) for host in ("app1", "app2"))) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert left == 0


def test_haproxy_switches_under_load_within_50_ms(lab: Lab, tmp_path: Path) -> None:
    host, inventory, port, units, disk, _settings = PROVIDERS["haproxy"]
    routed = Routed(lab, tmp_path, "haproxy", host, inventory, port, units, disk)
    routed.set_up()
    routed.green("start")
    with lab.load(f"http://{lab.address('router')}:8080", rate=200, duration=20, idle=50) as running:
        answers = routed.call(*({"weight": weight} for weight in (50, 100, 50, 0, 100, 0, 100, 0)))
    result = running.result()
    assert result.outcomes() == {"ok": result.count}
    assert all(answer["changed"] for answer in answers)
    assert statistics.median(answer["switch_ms"] for answer in answers) <= 50


def test_a_reboot_keeps_the_redirect(lab: Lab, tmp_path: Path) -> None:
    host, inventory, port, units, disk, _settings = PROVIDERS["nftables"]
    routed = Routed(lab, tmp_path, "nftables", host, inventory, port, units, disk)
    routed.set_up()
    routed.green("start")
    routed.lab.ssh("solo", "systemctl enable --quiet nextgeneration-green.service")
    routed.call({"weight": 100})
    lab.command("reboot", "solo")
    routed.call()
    assert routed.weights() == (100, 100)
    assert routed.serve(10) == {"green": 10}
    routed.call({"weight": 0})
    routed.lab.ssh("solo", "systemctl disable --now --quiet nextgeneration-green.service")
