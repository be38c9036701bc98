#!/usr/bin/env python3
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How soon a green that begins to fail is left, beside the usual way. `make detection`, or with --quick by hand.

It brings up a lab of its own and takes it down again. Green gets half of 100 requests a second and is held there; at a
random moment of the hold 5 % of its answers begin to be errors. The clock stops at green's last answer. A full run is
written to bench/results/; the exit status is 1 when a target is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "lab"))

import figures  # noqa: E402 - the line above says where load.py is
import hosts  # noqa: E402
import report  # noqa: E402

RESULTS = ROOT / "bench/results"

LIMITS = {1: 10.0, 5: 20.0}
"""Seconds between two scrapes, and in which green has to be left, in the median."""
RATE = 100.0
ERRORS = 0.05
MOMENT = (5.0, 15.0)
"""Seconds of the hold after which green begins to fail."""
HOLD = 45
FORGOTTEN = 60
"""Seconds until the usual way's rate over a minute no longer holds the errors of the cutover before."""
PORT = {"router": 8080, "green": 8002}
APPLICATION = ("app1", "app2")

TOTAL = 'http_requests_total{job="shop-green",path=~"/api/.*"}'
BAD = 'status=~"5.."'
MAXIMUM = 0.01
QUERY = f"sum(rate({TOTAL.replace('}', f',{BAD}}}')}[1m])) / sum(rate({TOTAL}[1m]))"  # as people write it


@dataclass(frozen=True)
class Extent:
    """How often each is done, per interval of scrapes."""

    gate: int
    usual: int
    healthy: int


FULL = Extent(gate=10, usual=3, healthy=3)
QUICK = Extent(gate=1, usual=1, healthy=1)


def main() -> int:
    parser = argparse.ArgumentParser(description="how soon a green that begins to fail is left")
    parser.add_argument("--quick", action="store_true", help="one of everything, to see that it works; not kept")
    options = parser.parse_args()
    extent = QUICK if options.quick else FULL
    clock = time.monotonic()
    with hosts.lab():
        machine = hosts.describe_machine()
        hosts.play(ROOT / "playbooks/router.yml", "local")
        document: dict[str, Any] = {"machine": machine, "extent": asdict(extent)}
        document["scrapes"] = [measure(scrape, limit, extent) for scrape, limit in LIMITS.items()]
    machine["load_average_after"] = round(os.getloadavg()[0], 2)
    document["minutes"] = round((time.monotonic() - clock) / 60, 1)
    document["targets"] = figures.judge_detection(document["scrapes"])
    text = report.render_detection(document)
    print(text)
    if not options.quick:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / "detection.json").write_text(json.dumps(document, indent=2) + "\n")
        (RESULTS / "detection.md").write_text(text)
    missed = [target for target in document["targets"] if not target["met"]]
    print(f"detection: {len(document['targets']) - len(missed)} of {len(document['targets'])} targets met")
    return 1 if missed else 0


def measure(scrape: int, limit: float, extent: Extent) -> dict[str, Any]:
    """All of it at one interval of scrapes, s."""
    scrape_every(scrape)
    # The same moments in every run, and for both ways.
    moments = random.Random(scrape)  # noqa: S311 - no secret
    delays = [moments.uniform(*MOMENT) for _ in range(max(extent.gate, extent.usual))]
    measured: dict[str, list[dict[str, Any]]] = {"gate": [], "usual": []}
    ways: tuple[tuple[str, Callable[[int, float], dict[str, Any]], int], ...] = (
        ("gate", by_gate, extent.gate),
        ("usual", by_usual, extent.usual),
    )
    for name, way, times in ways:
        for number, delay in enumerate(delays[:times]):
            measured[name].append(way(scrape, delay))
            hosts.say(f"scrape {scrape} s, {name} {number + 1} of {times}: {measured[name][-1]}")
    healthy = []
    for number in range(extent.healthy):
        healthy.append(keep_healthy(scrape))
        hosts.say(f"scrape {scrape} s, healthy {number + 1} of {extent.healthy}: {healthy[-1]}")
    merged = {name: figures.merge_departures(departures) for name, departures in measured.items()}
    return {"scrape": scrape, "limit": limit, **merged, "healthy": dict(Counter(healthy))}


def variables(scrape: int) -> dict[str, Any]:
    """A cutover by one step of a half, which is watched for ``HOLD`` s."""
    errors = {"name": "errors", "kind": "ratio", "total": TOTAL, "bad": BAD, "max": MAXIMUM}
    return {
        "cutover_steps": [{"share": 50, "hold": HOLD}, {"share": 100}],
        "cutover_prometheus": {"url": "http://127.0.0.1:9090", "scrape_interval": scrape},
        # Green's errors are independent of each other, and the lab's blue has no history to see that from.
        "cutover_gate": {"criteria": [errors], "dispersion": 1},
    }


def by_gate(scrape: int, delay: float) -> dict[str, Any]:
    """Begin a cutover, let green fail ``delay`` s after its hold has begun, and see when it is left."""
    hosts.forget("router", "shop")

    def act() -> float:
        with ThreadPoolExecutor(1) as pool:
            playing = pool.submit(hosts.play, ROOT / "playbooks/cutover.yml", "local", variables(scrape), may_fail=True)
            _wait_for_hold(playing)
            began = _fail_after(delay)
            # Why it fails is told by the journal.
            playing.result()
        return began

    return _under_load(act)


def by_usual(scrape: int, delay: float) -> dict[str, Any]:
    """The same, but a loop of ``uri`` watches green, and the rollback's role follows."""
    hosts.forget("router", "shop")
    time.sleep(FORGOTTEN)
    held = {**variables(scrape), "cutover_run_limit": 0}
    watch = {**held, "bench_query": QUERY, "bench_limit": MAXIMUM, "bench_retries": 60}

    def act() -> float:
        hosts.play(ROOT / "playbooks/cutover.yml", "local", held)
        with ThreadPoolExecutor(1) as pool:
            playing = pool.submit(hosts.play, hosts.PLAYBOOKS / "usual_watch.yml", "local", watch)
            began = _fail_after(delay)
            playing.result()
        return began

    return _under_load(act)


def keep_healthy(scrape: int) -> str:
    """The same cutover with a green that does not fail: the kind of the journal's last event."""
    hosts.forget("router", "shop")
    hosts.under_load(
        "router",
        PORT["router"],
        lambda: hosts.play(ROOT / "playbooks/cutover.yml", "local", variables(scrape), may_fail=True),
        rate=RATE,
        slow_share=0,
        idle=0,
    )
    end = str(hosts.events("router", "shop")[-1]["kind"])
    if end != "rolled_back":
        hosts.play(ROOT / "playbooks/rollback.yml", "local")
    return end


def scrape_every(seconds: int) -> None:
    """Have the lab's Prometheus scrape at this interval."""
    path = "/etc/prometheus/prometheus.yml"
    configuration = json.loads(hosts.ssh("router", f"cat {path}"))
    configuration["global"] |= {"scrape_interval": f"{seconds}s", "scrape_timeout": f"{seconds}s"}
    hosts.write("router", path, json.dumps(configuration))
    ready = "curl --silent --fail --output /dev/null http://127.0.0.1:9090/-/ready"
    hosts.ssh("router", f"systemctl restart prometheus; until {ready}; do sleep 0.2; done")


def _under_load(act: Callable[[], float]) -> dict[str, Any]:
    loaded, began = hosts.under_load("router", PORT["router"], act, rate=RATE, slow_share=0, idle=0)
    return figures.departure(loaded.records, hosts.events("router", "shop"), began)


def _wait_for_hold(playing: Future[hosts.Played]) -> None:
    while not _holds():
        if playing.done():
            raise hosts.BenchError(f"it ended before its hold: {playing.result().failure}")
        time.sleep(0.3)


def _holds() -> bool:
    try:
        return any(event["kind"] == "hold_began" for event in hosts.events("router", "shop"))
    except hosts.BenchError:
        return False  # No journal yet.


def _fail_after(delay: float) -> float:
    """Wait, and have green fail on all its hosts; the moment (unix seconds) just before the first of them knew."""
    time.sleep(delay)
    with ThreadPoolExecutor() as pool:
        return min(pool.map(_fail, APPLICATION))


def _fail(host: str) -> float:
    """Only from its own host does the service take that."""
    told = json.dumps({"errors": ERRORS})
    url = f"http://127.0.0.1:{PORT['green']}/admin/misbehave"
    return float(hosts.ssh(host, f"date +%s.%N; curl --silent --fail --output /dev/null --data '{told}' {url}"))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (hosts.BenchError, subprocess.SubprocessError) as error:
        sys.exit(f"detection: {error}")
