# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The inventory nextgeneration as it is, under load: the rehearsal before the cutover, and what is watched (R-A4, R-A6,
R-A7).
"""

from __future__ import annotations

import json
import math
import re
import time
import urllib.parse
import urllib.request
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from load import Record, Result

    from .conftest import Lab, Run

INVENTORY = "nextgeneration"
STATE = "/var/lib/bluegreen-cutover/nextgeneration"
FAULTS = "/etc/nextgeneration/green.faults.env"
RULES = "/etc/prometheus/rules/bluegreen-cutover-nextgeneration.yml"
DASHBOARD = "/var/lib/grafana/dashboards/bluegreen-cutover-nextgeneration.json"
LOOK = f"""
find {STATE} /var/backups -type f ! -name lock 2>/dev/null
systemctl show --property=Id,ActiveState,UnitFileState,InvocationID nextgeneration-blue nextgeneration-green
nft --handle list ruleset
"""


@dataclass
class Story:
    """What happened from a router that is just set up to a rollback; ``result`` is the load's, over all of it."""

    lab: Lab
    looks: list[str]
    runs: dict[str, Run]
    result: Result
    migrations: list[list[dict[str, Any]]]
    """Events of the rehearsal, and of the migration."""

    def between(self, start: float, end: float) -> list[Record]:
        """Requests that were sent and answered in that time."""
        return [one for one in self.result.records if start <= one.sent and one.ended <= end]


def at(events: list[dict[str, Any]], kind: str, number: int = 0) -> float:
    """When that happened."""
    return float([event for event in events if event["kind"] == kind][number]["at"])


def only(events: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    (found,) = (event for event in events if event["kind"] == kind)
    return found


def prometheus(lab: Lab, path: str, **fields: Any) -> Any:
    url = f"http://{lab.address('router')}:9090/api/v1/{path}?{urllib.parse.urlencode(fields)}"
    with urllib.request.urlopen(url, timeout=60) as answer:
        return json.load(answer)["data"]


@pytest.fixture(scope="module")
def story(lab: Lab) -> Story:
    lab.renew(INVENTORY)
    lab.playbook("observability", INVENTORY).ok()
    look = lambda: lab.ssh("solo", LOOK)  # noqa: E731  # two of them are compared
    front = f"http://{lab.address('solo')}:8000"
    runs = {}
    # No writes: one that a slow store makes fail is an error of green, for which the gate would go back.
    with lab.load(front, rate=200, idle=50, duration=3000) as running:
        looks = [look()]
        runs["refused"] = lab.playbook("cutover", INVENTORY)
        looks.append(look())
        for name, playbook in (
            ("rehearsal", "rehearse"),
            ("rehearsed", "status"),
            ("cutover", "cutover"),
            ("status", "status"),
            ("rollback", "rollback"),
        ):
            runs[name] = lab.playbook(playbook, INVENTORY).ok()
    document = json.loads(lab.ssh("solo", f"cat {STATE}/journal.json"))
    return Story(lab, looks, runs, running.result(), [one["events"] for one in document["migrations"]])


def test_cutover_is_refused_before_the_rehearsal_and_touches_nothing(story: Story) -> None:
    run = story.runs["refused"]
    assert run.rc != 0
    assert "nextgeneration may not move to green yet: no rehearsal came last" in run.stdout
    assert run.changed == 0
    before, after = story.looks
    assert before == after


def test_the_rehearsal_really_goes_there_and_back(story: Story) -> None:
    rehearsal, migration = story.migrations
    moves = ["weight_intended", "weight_set"]
    assert [event["kind"] for event in rehearsal] == [
        *("began", "snapshot_taken", "started", "probed"),
        *(moves * 2),
        *("drained", "rehearsed", "rollback_began"),
        *moves,
        "rolled_back",
    ]
    # The old version was stopped on the way, and there was nobody but the candidate.
    alone = story.between(at(rehearsal, "drained"), at(rehearsal, "rollback_began"))
    assert {record.colour for record in alone} == {"green"}
    back = story.between(at(rehearsal, "rolled_back") + 1, at(migration, "weight_intended"))
    assert {record.colour for record in back} == {"blue"}
    assert re.search(
        r"is back on blue: it passed: \d+\.\d\d s to switch,", " ".join(story.runs["rehearsal"].stdout.split())
    )
    assert "a rehearsal: it passed: " in story.runs["rehearsed"].stdout


def test_then_the_cutover_may_begin_and_goes_by_its_hold(story: Story) -> None:
    _rehearsal, events = story.migrations
    kinds = [event["kind"] for event in events]
    assert kinds[:4] == ["began", "snapshot_taken", "started", "probed"]
    assert events[0]["rehearsal"] is None
    held = at(events, "weight_intended", 1) - at(events, "hold_began")
    assert held >= 15
    assert [event["verdict"] for event in events if event["kind"] == "gate_seen"][-1] == "pass"
    back = ["rollback_began", "weight_intended", "weight_set", "evidence_kept", "rolled_back"]
    assert kinds[-6:] == ["finished", *back]
    alone = story.between(at(events, "drained"), at(events, "rollback_began"))
    assert {record.colour for record in alone} == {"green"}


def test_no_request_fails(story: Story) -> None:
    assert story.result.outcomes() == {"ok": story.result.count}
    assert set(Counter(one.kind for one in story.result.records)) == {"keepalive", "new", "slow", "idle"}


def test_r_a6_every_checkpoint_is_told(story: Story) -> None:
    rehearsal, migration = (only(events, "probed")["checkpoints"] for events in story.migrations)
    assert [one["name"] for one in rehearsal] == ["tests", "health", "performance", "metrics"]
    assert [one["name"] for one in migration] == [*(one["name"] for one in rehearsal), "rehearsal"]
    assert all(one["passed"] for one in [*rehearsal, *migration])
    for one in migration:
        assert f"checkpoint {one['name']}: passed; " in story.runs["status"].stdout


def test_r_a7_success_is_measured(story: Story) -> None:
    events = story.migrations[1]
    found = {one["name"]: one for one in only(events, "finished")["success"]}
    assert list(found) == ["availability", "response time", "features", "alerting"]
    assert (found["features"]["passed"], found["alerting"]["passed"]) == (True, True), found
    # Two who count the same, one in the service and one at its front: probes and the last second are the difference.
    told = re.match(r"(\d+\.\d+)% of (\d+) requests", found["availability"]["seen"])
    assert told is not None, found
    sent = [one for one in story.between(at(events, "began"), at(events, "finished")) if one.kind != "slow"]
    assert int(told[2]) == pytest.approx(len(sent), rel=0.2)
    good = sum(one.outcome == "ok" for one in sent) / len(sent)
    assert float(told[1]) == pytest.approx(100 * good, abs=0.05)
    assert found["availability"]["passed"] == (float(told[1]) > 99.9)
    assert found["response time"]["passed"] is not None, found
    for one in found.values():
        assert f"success, {one['name']}: " in story.runs["status"].stdout


def test_r_a4_every_line_of_the_dashboard_has_data(story: Story) -> None:
    events = story.migrations[1]
    held = at(events, "hold_began") + 10
    board = json.loads(story.lab.ssh("router", f"cat {DASHBOARD}"))
    assert board["title"] == "NextGeneration Migration"
    targets = [target for panel in board["panels"] for target in panel["targets"]]
    assert len(targets) == 2 * 5
    for target in targets:
        series = prometheus(story.lab, "query", query=target["expr"], time=held)["result"]
        assert len(series) == 1, target
        assert math.isfinite(float(series[0]["value"][1])), (target, series)


def alerts(lab: Lab) -> set[str]:
    """Names of the alerts that Alertmanager has of this service."""
    url = f"http://{lab.address('router')}:9093/api/v2/alerts?active=true"
    with urllib.request.urlopen(url, timeout=60) as answer:
        return {
            one["labels"]["alertname"] for one in json.load(answer) if one["labels"].get("service") == "nextgeneration"
        }


def wait_for_alert(lab: Lab, name: str) -> None:
    deadline = time.monotonic() + 120
    while name not in alerts(lab):
        assert time.monotonic() < deadline, f"{name} has not arrived: {alerts(lab)}"
        time.sleep(0.5)


def test_r_a4_an_alert_arrives_when_green_breaks(story: Story) -> None:
    lab = story.lab
    assert "MigrationErrors" not in alerts(lab)
    lab.ssh("solo", f"echo ERROR_RATIO=1 >{FAULTS}; systemctl start nextgeneration-green")
    fails = "until curl -s http://127.0.0.1:8002/api/v1/ping | grep -q misbehaving; do sleep 0.1; done"
    lab.ssh("solo", f"timeout 60 sh -c '{fails}'", timeout=90)
    wait_for_alert(lab, "MigrationErrors")
    lab.ssh("solo", f"rm {FAULTS}; systemctl kill --signal=KILL nextgeneration-green")
    wait_for_alert(lab, "MigrationCandidateDown")
    lab.ssh("solo", "systemctl reset-failed nextgeneration-green")


def test_r_a4_rules_that_prometheus_refuses_are_not_put_in_place(story: Story) -> None:
    before = story.lab.ssh("router", f"cat {RULES}")
    run = story.lab.playbook("observability", INVENTORY, {"cutover_metrics": {"selector": "job="}})
    assert run.rc != 0
    assert "failed to validate" in run.stdout
    assert story.lab.ssh("router", f"cat {RULES}") == before
    assert story.lab.playbook("observability", INVENTORY).ok().changed == 0


def test_r_a6_a_green_that_is_slower_gets_no_traffic_and_all_is_told(story: Story) -> None:
    lab = story.lab
    lab.ssh("solo", f"echo LATENCY_MS=60 >{FAULTS}")
    run = lab.playbook("rehearse", INVENTORY)
    lab.ssh("solo", f"rm {FAULTS}")
    assert run.rc != 0
    assert "green may not get traffic: performance: solo: The candidate is slower than the old version" in " ".join(
        run.stdout.split()
    )
    events = json.loads(lab.ssh("solo", f"cat {STATE}/journal.json"))["migrations"][-1]["events"]
    assert [(one["name"], one["passed"]) for one in only(events, "probed")["checkpoints"]] == [
        ("tests", True),
        ("health", True),
        ("performance", False),
        ("metrics", True),
    ]
    assert "weight_intended" not in [event["kind"] for event in events]
    refused = lab.playbook("cutover", INVENTORY)
    assert refused.rc != 0
    assert "its last rehearsal did not pass" in refused.stdout
