# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report reads what is there, asks the gate as a run would, and writes nothing (R-D10, R-D12)."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.bluegreen.cutover.plugins.module_utils import _migration
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.plan import make_plan
from ansible_collections.bluegreen.cutover.plugins.module_utils._prometheus import Answer, Prometheus, SourceDownError
from ansible_collections.bluegreen.cutover.plugins.module_utils._routers import Reading
from ansible_collections.bluegreen.cutover.plugins.module_utils._stores.files import FileStore
from ansible_collections.bluegreen.cutover.plugins.modules import migration, migration_report, prometheus_gate

RunModule = Callable[..., dict[str, Any]]
ALICE = {"user": "alice", "host": "ops1", "pid": 1}
PRECISION = {"name": "precision", "kind": "query", "query": "p", "baseline": "q", "min": 0.9, "for": 5}
CRITERIA = [
    PRECISION,
    {"name": "gain", "kind": "query", "query": "p - q", "fresh": "p", "min": -0.1, "reducer": "avg", "required": False},
    {
        "name": "errors", "kind": "ratio", "total": "n", "bad": 'code="500"', "baseline": "m", "max": 0.01,
        "required": False, "action": "notify",
    },
    {
        "name": "p95", "kind": "latency", "histogram": "h_bucket", "baseline": "b_bucket", "max_increase": 0.1,
        "required": False, "action": "notify",
    },
]  # fmt: skip


@dataclass
class Scene:
    """A service held at 5 % for an hour, with a router, a clock and a Prometheus that a test sets.

    ``numbers`` has what a query of the report gives, ``precision`` what the gate finds.
    """

    run_module: RunModule
    plan: dict[str, Any]
    store: FileStore
    now: float = 1_000_000.0
    weight: int = 5
    precision: float = 0.97
    down: bool = False
    numbers: dict[str, list[float]] = field(default_factory=dict)

    def query(self, text: str, at: float | None = None) -> Answer:
        if self.down:
            raise SourceDownError("it did not answer")
        if text == "time()":
            return Answer({"resultType": "scalar", "result": [self.now, str(self.now)]}, (), 200, 0.1)
        found = next((values for words, values in self.numbers.items() if re.search(words, text)), [])
        rows = [{"metric": {}, "value": [at or self.now, str(value)]} for value in found]
        return Answer({"resultType": "vector", "result": rows}, (), 200, 0.1)

    def query_range(self, text: str, start: float, end: float, step: float) -> Answer:
        points = [start + number * step for number in range(int((end - start) / step) + 1)]
        value = {"p": lambda _at: self.precision, "q": lambda _at: 0.95}.get(text, lambda at: at)
        rows = [{"metric": {}, "values": [[at, str(value(at))] for at in points]}]
        return Answer({"resultType": "matrix", "result": rows}, (), 200, 0.1)

    def workloads(self) -> list[dict[str, Any]]:
        return [{"host": "app1", "colour": one, "active": True, "enabled": True} for one in ("blue", "green")]

    def files(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.store.folder.iterdir()}

    def report(self) -> dict[str, Any]:
        before = self.files()
        made = self.run_module(migration_report, plan=self.plan, workloads=self.workloads())
        assert (made["rc"], made.get("changed"), self.files()) == (0, False, before), made
        return made

    def begin(self) -> dict[str, Any]:
        return self.run_module(migration, state="advancing", plan=self.plan, workloads=self.workloads(), owner=ALICE)

    def advance(self) -> dict[str, Any]:
        """One look at the hold, as roles/cutover/tasks/watch.yml takes it; where it is then."""
        begun, gate = self.begin(), self.plan["gate"]
        step = begun["decision"]["steps"][0]
        known = {"plan": self.plan, "token": begun["token"]}
        looking = {"state": "holding", "step": step, **known}
        asked = {
            "url": "http://p",
            "scrape_interval": str(self.plan["prometheus"]["scrape_interval"]),
            "criteria": gate["criteria"],
            "window": str(step["hold"]),
            "hold": str(gate["no_data"]),
            "alpha": gate["alpha"],
            "beta": gate["beta"],
            "state": self.run_module(migration, **looking)["hold"]["gate_state"],
            "max_wait": "0",
            "accept": ["open", "fail", "inconclusive"],
        }
        said = self.run_module(prometheus_gate, **asked)
        hold: dict[str, Any] = self.run_module(migration, **looking, gate=said)["hold"]
        self.run_module(migration, state="held", data={"message": "m"}, **known)
        return hold

    def figures(self) -> dict[str, dict[str, Any]]:
        return {one["name"]: one for one in self.report()["report"]["figures"]}


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_module: RunModule) -> Scene:
    plan = make_plan(
        {
            "cutover_service": "shop",
            "cutover_front": "http://router",
            "cutover_router": {"provider": "haproxy"},
            "cutover_colours": {"blue": {"unit": "b.service", "port": 1}, "green": {"unit": "g.service", "port": 2}},
            "cutover_state_dir": str(tmp_path),
            "cutover_steps": [{"share": 5, "hold": "1h"}, {"share": 100}],
            "cutover_gate": {"criteria": CRITERIA},
            "cutover_prometheus": {"url": "http://p", "scrape_interval": 1},
            "cutover_hooks": {"notify": {"url": "http://told"}},
        },
        routers=["router"],
        applications=["app1"],
        hosts={},
    )
    made = Scene(run_module, plan, FileStore(str(tmp_path), "shop"))

    class Dial:
        def read(self) -> Reading:
            return Reading(made.weight, made.weight, {"blue": 1, "green": 1}, {})

    monkeypatch.setattr(os, "fsync", lambda _descriptor: None)  # nobody waits for a disk here
    monkeypatch.setattr(_migration, "make_router", lambda _options, _service: Dial())
    monkeypatch.setattr(time, "time", lambda: made.now)
    monkeypatch.setattr(Prometheus, "query", lambda _self, text, at=None: made.query(text, at))
    monkeypatch.setattr(Prometheus, "query_range", lambda _self, *asked: made.query_range(*asked))
    owner = {"owner": ALICE, "reason": "r", "from": "blue", "to": "green", "weight": 0}
    for kind, data in (
        ("began", {"subject": {}, **owner}),
        ("weight_intended", {"before": 0, "weight": 5}),
        ("weight_set", {"weight": 5, "commands": [], "ms": 1.0}),
        ("hold_began", {"weight": 5, "seconds": 3600}),
        ("held", {"message": "m"}),
    ):
        made.store.record(1, made.now, kind, **data)
    made.now += 1800
    return made


def test_r_d10_the_figures_of_candidate_and_baseline(scene: Scene) -> None:
    scene.numbers = {
        r"avg_over_time\(\(\(p - q\) > -Inf\)": [0.01, 0.03],
        r"avg_over_time\(\(\(p\) > -Inf\)": [0.97],
        r"avg_over_time\(\(\(q\) > -Inf\)": [0.95],
        r"increase\(n\{\}": [1000],
        r'increase\(n\{code="500"\}': [],
        r"increase\(m\{\}": [4000],
        r'increase\(m\{code="500"\}': [8],
        r"histogram_quantile\(0.95, .*h_bucket": [0.09],
        r"histogram_quantile\(0.95, .*b_bucket": [0.1],
        r"max\(.*_bucket": [500],
    }
    figures = scene.figures()
    told = {name: (one["candidate"], one["baseline"]) for name, one in figures.items()}
    # No series of failures, while there are requests, is no failure.
    assert told == {"precision": (0.97, 0.95), "gain": (0.02, None), "errors": (0.0, 0.002), "p95": (0.09, 0.1)}
    assert figures["p95"]["relative"] == pytest.approx(-0.1)
    assert figures["precision"]["status"] == "proven"
    assert not any(one["missing"] for one in figures.values())


def test_r_d10_what_prometheus_does_not_have_is_not_measured(scene: Scene) -> None:
    scene.numbers = {
        r"p\)": [0.9, 0.8],
        r"max\(.*_bucket": [5],
        "histogram_quantile": [0.1],
        r"\(p - q": [float("nan")],
    }
    missing = {name: one["missing"].get("candidate") for name, one in scene.figures().items()}
    assert missing == {
        "precision": "the query gives 2 series",
        "gain": "Prometheus has no number for it in this time",
        "errors": "Prometheus has no requests of n{} in this time",
        "p95": "5 requests; 100 are needed",
    }
    scene.down = True
    found = scene.report()["report"]
    assert {one["candidate"] for one in found["figures"]} == {None}
    assert {one["missing"]["candidate"] for one in found["figures"]} == {"it did not answer"}


@pytest.mark.parametrize(
    ("precision", "held", "does", "told"),
    [
        (0.97, 1800, "hold", "29.5 minutes of its hold are left; the candidate keeps its share"),
        (0.5, 1800, "roll back", "the gate fails: precision: past the limit for 5 s of samples; the traffic goes back"),
        (0.97, 10, "advance", "its hold is over, and the gate passed; next is 100 %"),
    ],
)
def test_r_d10_the_recommendation_is_what_the_next_run_decides(
    scene: Scene, precision: float, held: int, does: str, told: str
) -> None:
    """With the modules of advance.yml: the gate goes on from what the run before has left."""
    scene.plan["steps"][0]["hold"] = held
    scene.now -= 1800
    assert scene.report()["report"]["recommendation"]["do"] == "hold"
    assert scene.advance()["kind"] == "waiting"
    scene.now += 30
    scene.precision = precision
    found = scene.report()["report"]["recommendation"]
    assert (found["do"], told in found["sentence"]) == (does, True), found
    decided = scene.advance()
    assert {"waiting": "hold", "failed": "roll back", "passed": "advance"}[decided["kind"]] == found["do"]
    assert found["sentence"].startswith(decided["sentence"])


def test_r_d10_a_gate_that_cannot_be_asked_is_a_reason_to_hold(scene: Scene) -> None:
    scene.plan["prometheus"]["token_file"] = "/nowhere"
    found = scene.report()["report"]
    assert found["recommendation"]["do"] == "hold"
    assert "the gate cannot tell" in found["recommendation"]["sentence"]
    assert found["gate"]["verdict"] == "inconclusive"
    assert all("/nowhere" in one["missing"]["candidate"] for one in found["figures"])


def test_r_d10_where_a_run_would_refuse_the_report_says_so(scene: Scene) -> None:
    scene.weight = 30
    found = scene.report()["report"]
    assert found["recommendation"]["do"] == "hold"
    assert "advance.yml would change nothing: shop is not as it was left" in found["recommendation"]["sentence"]
    assert found["migration"]["share"] == 30
    assert "the router sends 30 % to green" in found["differences"][0]


def test_r_d10_r_d12_after_the_end_and_without_a_gate(scene: Scene) -> None:
    scene.plan["gate"] = None
    assert scene.report()["report"]["recommendation"]["do"] == "hold"
    token = scene.run_module(migration, state="advancing", plan=scene.plan, workloads=scene.workloads(), owner=ALICE)[
        "token"
    ]
    scene.store.record(token, scene.now, "weight_intended", before=5, weight=100)
    scene.store.record(token, scene.now, "weight_set", weight=100, commands=[], ms=1.0)
    scene.weight = 100
    scene.run_module(migration, state="finished", plan=scene.plan, token=token, data={"success": []})
    scene.now += 14 * 86_400
    made = scene.report()
    found = made["report"]
    assert (found["recommendation"], found["figures"], found["gate"]) == (None, [], None)
    assert found["indicators"]["all"]["deployment_frequency"]["value"] == pytest.approx(0.5, abs=0.01)
    assert found["indicators"]["all"]["change_failure_rate"]["value"] == 0
    assert made["name"] == "shop-1970-01-26"
    assert "Not measured: the inventory has no cutover_gate" in made["page"]
    assert made["lines"][1] == "recommendation: none, no migration is open"


def test_an_inventory_that_is_wrong_is_told(scene: Scene) -> None:
    failed = scene.run_module(migration_report, plan={"service": "shop"}, workloads=[])
    assert (failed["rc"], failed["reason"]) == (1, "input")


def test_a_journal_that_cannot_be_read_is_not_one_of_a_service_that_was_never_migrated(scene: Scene) -> None:
    (scene.store.folder / "journal.json").write_text("{")
    made = scene.report()
    told = made["report"]
    assert (told["migration"], told["indicators"], told["recommendation"]["do"]) == (None, None, "hold")
    assert "journal.json is not JSON" in told["differences"][0]
    assert made["lines"][0] == "shop: what is recorded cannot be read"
    assert "never" not in made["page"]
