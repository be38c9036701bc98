#!/usr/bin/env python3
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a switch costs, beside the ways it is done without this collection. `make bench`, or with --quick by hand.

It brings up a lab of its own (LAB_NAME=bench) and takes it down again. A full run is written to bench/results/; the
exit status is 1 when a target is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "lab"))

import baselines  # noqa: E402 - the line above says where load.py is
import figures  # noqa: E402
import hosts  # noqa: E402
import report  # noqa: E402
from figures import Switch  # noqa: E402

RESULTS = ROOT / "bench/results"


@dataclass(frozen=True)
class Extent:
    """How much is measured: repeats of loads, switches in each of them, and repeats of whole playbooks."""

    repeats: int
    switches: int
    baseline_switches: int
    one_task_switches: int
    playbooks: int


FULL = Extent(repeats=4, switches=10, baseline_switches=6, one_task_switches=4, playbooks=3)
QUICK = Extent(repeats=1, switches=4, baseline_switches=2, one_task_switches=2, playbooks=1)


@dataclass(frozen=True)
class Routed:
    """A router to measure: how it is set up, and what its clients ask."""

    provider: str
    inventory: str
    host: str
    port: int
    service: str
    options: dict[str, Any]
    drains: bool = False
    """Whether connections stay with a colour until it is drained."""

    @property
    def variables(self) -> dict[str, Any]:
        return {"cutover_router": {"provider": self.provider, **self.options}, "router_bind": f"*:{self.port}"}


ROUTERS = (
    Routed("haproxy", "local", "router", 8080, "shop", {}),
    Routed("nginx", "local", "router", 8081, "shop", {}),
    Routed("nginx_lua", "local", "router", 8081, "shop", {}),
    Routed("nftables", "nextgeneration", "solo", 8000, "nextgeneration", {"port": 8000}, drains=True),
)

HOLD = 2.0
"""Seconds between the end of one switch and the beginning of the next."""
BASELINE_HOLD = 3.0


def main() -> int:
    parser = argparse.ArgumentParser(description="what a switch costs, beside the ways it is done without us")
    parser.add_argument("--quick", action="store_true", help="a few of everything, to see that it works; not kept")
    options = parser.parse_args()
    extent = QUICK if options.quick else FULL
    clock = time.monotonic()
    with hosts.lab():
        machine = hosts.describe_machine()
        for host, unit in (("app1", "shop-green"), ("app2", "shop-green"), ("solo", "nextgeneration-green")):
            hosts.start(host, unit, 8002)
        document: dict[str, Any] = {"machine": machine, "extent": asdict(extent)}
        document["routers"] = {one.provider: measure_router(one, extent) for one in ROUTERS}
        document["one_task"] = measure_one_task(extent)
        document["playbooks"] = measure_playbooks(extent)
        document["baselines"] = measure_baselines(extent)
    machine["load_average_after"] = round(os.getloadavg()[0], 2)
    document["minutes"] = round((time.monotonic() - clock) / 60, 1)
    document["targets"] = figures.judge(document)
    text = report.render(document)
    print(text)
    if not options.quick:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / "results.json").write_text(json.dumps(document, indent=2) + "\n")
        (RESULTS / "README.md").write_text(text)
    missed = [target for target in document["targets"] if not target["met"]]
    print(
        f"bench: {len(document['targets']) - len(missed)} of {len(document['targets'])} targets met, "
        f"{document['minutes']} minutes"
    )
    return 1 if missed else 0


def measure_router(router: Routed, extent: Extent) -> dict[str, Any]:
    """The collection's own change of weight, there and back, under load."""
    hosts.say(f"{router.provider}: setting it up")
    hosts.play(ROOT / "playbooks/router.yml", router.inventory, router.variables)
    variables = {
        **router.variables,
        "bench_weights": [100, 0] * (extent.switches // 2),
        "bench_hold": HOLD,
        "bench_drains": router.drains,
    }

    def switch() -> tuple[list[Switch], list[float]]:
        played = hosts.play(hosts.PLAYBOOKS / "switches.yml", router.inventory, variables, beside_load=True)
        controls = [float(one["stdout"]) for one in played.tasks["Do nothing"]]
        return figures.switches_in(hosts.events(router.host, router.service)), controls

    repeats = []
    for number in range(extent.repeats):
        hosts.say(f"{router.provider}: {extent.switches} switches, repeat {number + 1} of {extent.repeats}")
        hosts.forget(router.host, router.service)
        loaded, (switches, controls) = hosts.under_load(router.host, router.port, switch)
        # An idle connection to one host without a proxy leaves its colour at its next request, seconds later.
        aside = ("slow", "idle") if router.drains else ("slow",)
        repeats.append(figures.summarize(loaded.records, switches, controls, aside))
        hosts.say(f"{router.provider}: {_short(repeats[-1])}")
    return figures.merge(repeats)


def measure_one_task(extent: Extent) -> dict[str, Any]:
    """Start, route, drain and stop in one task, on one host without a proxy, under load."""
    hosts.forget("solo", "nextgeneration")
    hosts.ssh("solo", "systemctl disable --now nextgeneration-green")

    def switch() -> list[dict[str, Any]]:
        done = []
        for number in range(extent.one_task_switches):
            to = "blue" if number % 2 else "green"
            hosts.say(f"one task on one host: to {to}, {number + 1} of {extent.one_task_switches}")
            played = hosts.play(
                hosts.PLAYBOOKS / "one_task.yml", "nextgeneration", {"cutover_to": to}, beside_load=True
            )
            done.append({"seconds": played.seconds, **played.tasks["Start, route, drain, stop"][0]})
        return done

    loaded, done = hosts.under_load("solo", 8000, switch)
    outcomes = loaded.outcomes()
    return {
        "requests": loaded.count,
        "failed": figures.failed(outcomes),
        "idle_resets": outcomes.get(figures.IDLE_RESET, 0),
        "outcomes": outcomes,
        "switches": len(done),
        "playbook_seconds": round(statistics.median(one["seconds"] for one in done), 2),
        "start_ms": round(statistics.median(one["start"]["ms"] for one in done)),
        "route_ms": round(statistics.median(one["route"]["switch_ms"] for one in done), 1),
        "drain_ms": round(statistics.median(one["stop"]["ms"] for one in done)),
    }


def measure_playbooks(extent: Extent) -> dict[str, Any]:
    """Whole playbooks, with no load, beside one that runs a trivial task on the same host."""
    hosts.say("playbooks: setting HAProxy up")
    hosts.play(ROOT / "playbooks/router.yml", "local")
    hosts.forget("router", "shop")
    for host in ("app1", "app2"):
        hosts.ssh(host, "systemctl disable --now shop-green; systemctl enable --now shop-blue")
    trivial, cutover, again, rollback, until_blue, changed = [], [], [], [], [], 0
    one_step = {"cutover_steps": [{"share": 100, "settle": 0}]}
    for number in range(extent.playbooks):
        hosts.say(f"playbooks: repeat {number + 1} of {extent.playbooks}")
        trivial += [hosts.play(hosts.PLAYBOOKS / "trivial.yml", "local").seconds for _ in range(3)]
        cutover.append(hosts.play(ROOT / "playbooks/cutover.yml", "local", one_step).seconds)
        second = hosts.play(ROOT / "playbooks/cutover.yml", "local", one_step)
        again.append(second.seconds)
        changed += sum(counts["changed"] for counts in second.stats.values())
        back = hosts.play(ROOT / "playbooks/rollback.yml", "local")
        rollback.append(back.seconds)
        blue = next(one["at"] for one in reversed(hosts.events("router", "shop")) if one["kind"] == "weight_set")
        until_blue.append(blue - back.began)
    task = statistics.median(trivial)
    return {
        "repeats": extent.playbooks,
        "trivial_seconds": round(task, 2),
        "cutover_seconds": round(statistics.median(cutover), 2),
        "cutover_ratio": round(statistics.median(cutover) / task, 2),
        "again_seconds": round(statistics.median(again), 2),
        "changed_again": changed,
        "rollback_seconds": round(statistics.median(rollback), 2),
        "until_blue_seconds": round(statistics.median(until_blue), 2),
        "rollback_ratio": round(statistics.median(until_blue) / task, 2),
    }


def measure_baselines(extent: Extent) -> dict[str, Any]:
    """The same load while it is done without this collection."""
    hosts.say("baselines: setting them up")
    baselines.prepare()
    measured = {}
    for baseline in baselines.BASELINES:
        hosts.say(f"{baseline.name}: {extent.baseline_switches} switches")
        loaded, switches = hosts.under_load(
            baseline.host, baseline.port, partial(baseline.there_and_back, extent.baseline_switches, BASELINE_HOLD)
        )
        summary = figures.summarize(loaded.records, switches)
        hosts.say(f"{baseline.name}: {_short(summary)}")
        measured[baseline.name] = figures.merge([summary])
    return measured


def _short(summary: dict[str, Any]) -> str:
    times = statistics.median(summary["switch_ms"])
    return (
        f"switch {times:.1f} ms, p99 {summary['p99_near_ms']} / {summary['p99_control_ms']} / "
        f"{summary['p99_steady_ms']} ms, {summary['outcomes']}"
    )


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (hosts.BenchError, subprocess.SubprocessError) as error:
        sys.exit(f"bench: {error}")
