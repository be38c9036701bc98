# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The main job, end to end from each inventory, under load: there, and back (R-A1, R-A2, R-A3, R-A5, R-C5, R-C9)."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from .conftest import AT_ONCE

if TYPE_CHECKING:
    from load import Record, Result

    from .conftest import Lab, Run

# Whatever a playbook could touch: files by mode, size and time of change, units by invocation, rules by handle.
LOOK = """
cd / && find var/lib/bluegreen-cutover var/backups etc/haproxy etc/bluegreen-cutover etc/systemd/system \
    -printf '%p %m %s %T@ %l\\n' 2>/dev/null | sort
systemctl show --property=Id,ActiveState,UnitFileState,InvocationID,MainPID {units}
nft --handle list ruleset 2>/dev/null
pidof haproxy && python3 -c '
import socket
s = socket.socket(socket.AF_UNIX)
s.connect("/run/haproxy/admin.sock")
s.sendall(b"show map /etc/haproxy/cutover/shop.map" + bytes([10]))
print(s.recv(65536))
'
true
"""

PROVED = "/run/green-has-proved-itself"
# Beside green's own suite; {what} is done when that is run.
TEST_OF_GREEN = """
import pathlib
import unittest

class TestGreen(unittest.TestCase):
    def test_green(self):
        {what}
"""


@dataclass
class Story:
    """One inventory's service, and what happened to it.

    ``looks`` are before and after a run in check mode. ``result`` is the load's, from before the first one to the end;
    ``switched`` is when the weight changed meanwhile, or a colour had ended: seconds since the epoch.
    """

    lab: Lab
    inventory: str
    service: str
    router: str
    apps: tuple[str, ...]
    port: int
    steps: str
    looks: dict[str, tuple[dict[str, str], dict[str, str]]] = field(default_factory=dict)
    runs: dict[str, Run] = field(default_factory=dict)
    served: dict[str, str] = field(default_factory=dict)
    result: Result | None = None
    switched: list[float] = field(default_factory=list)

    @property
    def settings(self) -> dict[str, Any]:
        return AT_ONCE if self.inventory == "nextgeneration" else {}

    @property
    def front(self) -> str:
        return f"http://{self.lab.address(self.router)}:{self.port}"

    def look(self) -> dict[str, str]:
        units = f"haproxy nftables {self.service}-blue {self.service}-green"
        return {host: self.lab.ssh(host, LOOK.format(units=units)) for host in {self.router, *self.apps}}

    def serving(self) -> str:
        connection = http.client.HTTPConnection(self.lab.address(self.router), self.port, timeout=30)
        with contextlib.closing(connection):
            connection.request("GET", "/api/v1/ping")
            return str(json.load(connection.getresponse())["colour"])

    def play(self, name: str, playbook: str, **more: Any) -> Run:
        run = self.lab.playbook(playbook, self.inventory, **{"extra_vars": self.settings, **more}).ok()
        self.runs[name] = run
        self.served[name] = self.serving()
        return run

    def check(self, name: str, playbook: str) -> None:
        before = self.look()
        self.play(name, playbook, check=True)
        self.looks[name] = (before, self.look())

    def events(self) -> list[dict[str, Any]]:
        """Those of the last migration."""
        document = json.loads(self.lab.ssh(self.router, f"cat /var/lib/bluegreen-cutover/{self.service}/journal.json"))
        events: list[dict[str, Any]] = document["migrations"][-1]["events"]
        return events

    def units(self) -> list[list[str]]:
        both = f"{self.service}-blue {self.service}-green"
        told = f"systemctl is-active {both}; systemctl is-enabled {both}; true"
        return [self.lab.ssh(app, told).split() for app in self.apps]


SWITCHED = ("weight_set", "drained", "rolled_back")
"""Events after which clients may notice something: of a weight, of the end of a colour."""

BLUE_ALONE = ["active", "inactive", "enabled", "disabled"]
GREEN_ALONE = ["inactive", "active", "disabled", "enabled"]

INVENTORIES = {
    "local": ("shop", "router", ("app1", "app2"), 8080, "10 %, 50 %, 100 %"),
    "nextgeneration": ("nextgeneration", "solo", ("solo",), 8000, "100 %"),
}


@pytest.fixture(scope="module")
def _fresh(lab: Lab) -> None:
    lab.renew()


@pytest.fixture(scope="module", params=INVENTORIES)
def story(request: pytest.FixtureRequest, lab: Lab, _fresh: None) -> Story:
    """From a router that is not set up yet, to a rollback that has nothing left to do, on fresh hosts."""
    one = Story(lab, request.param, *INVENTORIES[request.param])
    lab.playbook("router", one.inventory).ok()
    if one.inventory == "nextgeneration":
        given = TEST_OF_GREEN.format(what=f'pathlib.Path("{PROVED}").open("a").write("yes ")')
        lab.ssh("solo", f"cat >/opt/nextgeneration-green/tests/test_proof.py <<'END'\n{given}\nEND")
    with lab.load(one.front, rate=300, idle=100, write_share=0.02, duration=3000) as running:
        one.check("check", "cutover")
        one.play("cutover", "cutover")
        one.play("cutover again", "cutover")
        one.play("status", "status")
        one.check("rollback check", "rollback")
        one.play("rollback", "rollback")
        one.play("rollback again", "rollback")
    one.result = running.result()
    one.switched = [event["at"] for event in one.events() if event["kind"] in SWITCHED]
    return one


def excused(story: Story, record: Record) -> bool:
    """Whether a request failed by nothing that was done here: the service answered a write that its stores were slower
    than it is patient, as on a machine that has much to do, and nothing was switched within 5 s of it.
    """
    answered = record.kind == "write" and record.status == 503 and record.colour
    return bool(answered) and all(abs(when - record.ended) > 5 for when in story.switched)


def test_check_mode_touches_nothing_and_says_what_would_happen(story: Story) -> None:
    before, after = story.looks["check"]
    assert before == after
    run = story.runs["check"]
    assert f"{story.service} moves from blue to green, which gets {story.steps}." in run.stdout
    assert "Start the candidate and wait until it is ready" in run.changed_tasks
    assert run.changed > 0
    assert story.served["check"] == "blue"


def test_check_mode_of_a_rollback_touches_nothing_and_says_what_would_happen(story: Story) -> None:
    before, after = story.looks["rollback check"]
    assert before == after
    run = story.runs["rollback check"]
    assert f"{story.service} goes back to blue" in run.stdout
    assert {"Send all traffic back to blue", "Drain and stop green"} <= set(run.changed_tasks)
    assert story.served["rollback check"] == "green"


def test_cutover_moves_everything_and_rollback_brings_it_back(story: Story) -> None:
    assert story.served["cutover"] == "green"
    assert story.served["rollback"] == "blue"
    assert story.units() == [BLUE_ALONE] * len(story.apps)


def test_no_request_fails(story: Story) -> None:
    assert story.result is not None
    wrong = [record for record in story.result.records if record.outcome != "ok"]
    assert [record for record in wrong if not excused(story, record)] == []
    # Or there would be nothing that a failure could be far from.
    assert story.switched
    kinds = Counter(record.kind for record in story.result.records)
    assert set(kinds) == {"keepalive", "new", "slow", "write", "idle"}
    assert {record.colour for record in story.result.records} == {"blue", "green"}


def test_no_write_is_lost_or_done_twice(story: Story) -> None:
    assert story.result is not None
    writes = [record for record in story.result.records if record.kind == "write"]
    confirmed = {record.name for record in writes if record.outcome == "ok"}
    query = "SELECT name FROM items WHERE name LIKE 'load-%'"
    told = story.lab.ssh("data", f'runuser -u postgres -- psql -At {story.service} -c "{query}"')
    found = Counter(told.split())
    assert set(found.values()) == {1}
    assert confirmed <= set(found) <= {record.name for record in writes}
    unconfirmed = [record for record in writes if record.name not in confirmed]
    assert all(excused(story, record) for record in unconfirmed)
    assert len(unconfirmed) < 0.01 * len(writes)


def test_again_changes_nothing(story: Story) -> None:
    for name, colour in (("cutover again", "green"), ("rollback again", "blue")):
        run = story.runs[name]
        assert run.changed == 0, run.stdout
        assert f"Nothing to do: {colour} serves {story.service} alone" in run.stdout


def test_status_tells_who_serves_and_agrees(story: Story) -> None:
    run = story.runs["status"]
    assert f"{story.service}: blue 0 %, green 100 %, since " in run.stdout
    assert "after a reload or a reboot: green 100 %" in run.stdout
    assert run.changed == 0
    assert story.lab.playbook("status", story.inventory, story.settings).ok().changed == 0


only_local = pytest.mark.parametrize("story", ["local"], indirect=True)
only_nextgeneration = pytest.mark.parametrize("story", ["nextgeneration"], indirect=True)


@only_local
def test_the_next_release_goes_the_other_way(story: Story) -> None:
    at_once = {"cutover_steps": [{"share": 100}]}
    back = {**at_once, "cutover_to": "blue"}
    with story.lab.load(story.front, rate=300, idle=50, duration=3000) as running:
        story.play("next", "cutover", extra_vars=at_once)
        assert story.units() == [GREEN_ALONE] * 2
        story.play("other way", "cutover", extra_vars=back)
    assert story.units() == [BLUE_ALONE] * 2
    assert (story.served["next"], story.served["other way"]) == ("green", "blue")
    assert "shop moves from green to blue, which gets 100 %." in story.runs["other way"].stdout
    assert story.play("other way again", "cutover", extra_vars=back).changed == 0
    story.play("status", "status", extra_vars=back)
    result = running.result()
    assert result.outcomes() == {"ok": result.count}


@only_nextgeneration
def test_r_a1_greens_own_tests_really_run_once(story: Story) -> None:
    assert story.lab.ssh("solo", f"cat {PROVED}").split() == ["yes"]


@only_nextgeneration
def test_r_a2_blue_is_backed_up_whole_with_a_stamp(story: Story) -> None:
    # The journal names a migration by when it began; the rollback belongs to the same one.
    recorded = story.lab.ssh("solo", "cat /var/lib/bluegreen-cutover/nextgeneration/journal.json")
    stamps = re.findall(r'"id": "(\d{8}T\d{6}Z)"', recorded)
    folder = "/var/backups/nextgeneration"
    [name, guide] = story.lab.ssh("solo", f"ls {folder}").split()
    assert re.fullmatch(r"nextgeneration\.blue\.\d{8}T\d{6}Z", name)
    assert name[-16:] >= stamps[0]
    assert guide == "nextgeneration.rollback.md"
    assert story.lab.ssh("solo", f"stat -c %a {folder}").split() == ["700"]
    unpack = f"zstd -dc {folder}/{name}/data/0.tar.zst | tar"
    packed = story.lab.ssh("solo", f"{unpack} --list").split()
    assert {"nextgeneration-blue/service.py", "nextgeneration-blue/tests/test_service.py"} <= set(packed)
    story.lab.ssh("solo", f"{unpack} --compare --directory /opt")
    [taken] = [event["artifact"] for event in story.events() if event["kind"] == "snapshot_taken"]
    assert (taken["path"], taken["verified"]) == (f"{folder}/{name}", True)


@only_nextgeneration
def test_r_a3_the_switch_is_one_task(story: Story) -> None:
    changed = story.runs["cutover"].changed_tasks
    proven = changed.index("Record what it has shown, and stop here when that is not enough")
    assert changed[proven + 1 :] == [
        "Arm the guard, or renew it",
        "Send the traffic over, verify it, and retire blue",
        "Close the record of this migration",
    ]


@only_nextgeneration
def test_r_a5_rollback_is_recorded_and_blue_is_healthy(story: Story) -> None:
    kinds = [event["kind"] for event in story.events()]
    there = ["began", "snapshot_taken", "started", "probed", "weight_intended", "weight_set", "drained", "finished"]
    assert kinds == [*there, "rollback_began", "weight_intended", "weight_set", "evidence_kept", "rolled_back"]
    assert story.serving() == "blue"


@only_nextgeneration
def test_r_a1_green_whose_tests_fail_gets_no_traffic(story: Story) -> None:
    given = TEST_OF_GREEN.format(what='self.fail("green is not fit")')
    proof = "/opt/nextgeneration-green/tests/test_proof.py"
    story.lab.ssh("solo", f"cp {proof} /root/proof; cat >{proof} <<'END'\n{given}\nEND")
    with story.lab.load(story.front, rate=100, duration=3000) as running:
        run = story.lab.playbook("cutover", "nextgeneration", story.settings)
    story.lab.ssh("solo", f"mv /root/proof {proof}")
    assert run.rc != 0
    assert "nextgeneration was not moved: all traffic is on blue again" in run.stdout
    said = " ".join(run.stdout.split())
    failed = "green may not get traffic: tests: solo: green's own test suite: non-zero return code"
    ends = "AssertionError: green is not fit"
    assert re.search(rf"{failed} \(exit status 1\); the end of its output: .*{ends}.* FAILED \(failures=1\)", said)
    result = running.result()
    assert result.outcomes() == {"ok": result.count}
    assert {record.colour for record in result.records} == {"blue"}
    assert "weight_intended" not in [event["kind"] for event in story.events()]
    assert story.units() == [BLUE_ALONE]
    story.play("status", "status")


BLUE = {"unit": "shop-blue.service", "port": 8001}
GREEN = {"unit": "shop-green.service", "port": 8002}
WRONG: dict[str, tuple[str, dict[str, Any], str]] = {
    "unknown variable": (
        "cutover",
        {"cutover_step": []},
        "cutover_step: there is no such variable; did you mean cutover_steps?",
    ),
    "unknown key": (
        "status",
        {"cutover_health": {"redy": "/health/ready"}},
        "cutover_health.redy: there is no such key; did you mean ready?",
    ),
    "unknown option": (
        "router",
        {"cutover_router": {"provider": "haproxy", "mapp": "/etc/haproxy/a.map"}},
        "cutover_router.mapp: there is no such key; did you mean map?",
    ),
    "shrinking steps": (
        "cutover",
        {"cutover_steps": [{"share": 50}, {"share": 10}, {"share": 100}]},
        "cutover_steps[1].share is 10 after 50; each step needs a larger share",
    ),
    "endless steps": (
        "cutover",
        {"cutover_steps": [{"share": 50}]},
        "cutover_steps ends at share 50; the last step needs 100",
    ),
    "more than all": (
        "cutover",
        {"cutover_steps": [{"share": 101}]},
        "cutover_steps[0].share is 101; a whole number 1…100 is needed",
    ),
    "same port twice": (
        "rollback",
        {"cutover_colours": {"blue": BLUE, "green": {**GREEN, "port": 8001}}},
        "both colours listen on port 8001; each needs a port of its own",
    ),
    "missing colour": ("cutover", {"cutover_colours": {"blue": BLUE}}, "cutover_colours.green is missing"),
}


@pytest.fixture
def trap(tmp_path: Path) -> tuple[dict[str, str], Path]:
    """In place of ssh a program that reaches nobody, and a file that is there once it was called."""
    program, called = tmp_path / "ssh", tmp_path / "called"
    program.write_text(f"#!/bin/sh\ntouch {called}\nexit 255\n")
    program.chmod(0o755)
    return {"ansible_ssh_executable": str(program)}, called


@pytest.mark.parametrize("name", WRONG)
def test_wrong_input_is_told_before_the_first_connection(
    lab: Lab, trap: tuple[dict[str, str], Path], name: str
) -> None:
    playbook, wrong, message = WRONG[name]
    unreachable, called = trap
    run = lab.playbook(playbook, "local", {**unreachable, **wrong})
    assert run.rc != 0
    assert message in run.stdout
    assert run.stdout.count("FAILED!") == 1
    assert "UNREACHABLE" not in run.stdout
    assert not called.exists()


def test_right_input_does_connect(lab: Lab, trap: tuple[dict[str, str], Path]) -> None:
    """Or the tests above would prove nothing."""
    unreachable, called = trap
    run = lab.playbook("cutover", "local", unreachable)
    assert run.rc != 0
    assert "UNREACHABLE" in run.stdout
    assert called.exists()
