# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A migration of twelve days, in minutes: the clocks of the hosts and of Prometheus are moved on between two runs."""

from __future__ import annotations

import contextlib
import json
import random
import shlex
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlencode

import pytest

from .gate_lab import RealPrometheus, program

if TYPE_CHECKING:
    from .conftest import Lab, Run

HOUR, DAY = 3600, 86_400
STEPS = [(5, 1), (10, 1), (15, 1), (25, 2), (50, 2), (75, 3), (100, 2)]
"""Share in percent, and its hold in days."""
LOOKED_AT = (5, 75, 100)
"""Shares at which a run comes in the middle of the hold; at the others nobody looks from its begin to its end."""
LATE = 300
"""Seconds after the end of a hold at which the next run comes."""
SCRAPE = 15
TOTAL = 100
"""Requests a second, of both colours."""
ERRORS = 0.001
"""What both colours fail of their requests; in the last hour of the last hold green fails REGRESSION."""
REGRESSION = 0.05

HOSTS = ("router", "app1", "app2")
PYTHON = "/usr/local/bin/python3-then"
"""On the hosts: the interpreter of the modules. It reads SET_BACK first, so that its wall clock is another one; clocks
that do not tell the time of day, and what systemd starts, are as they were.
"""
STATES = """
import csv, socket
s = socket.socket(socket.AF_UNIX)
s.connect("/run/haproxy/admin.sock")
s.sendall(b"show stat" + bytes([10]))
for row in csv.DictReader(s.makefile()):
    print(row["# pxname"], row["svname"], row["check_status"])
"""
SET_BACK = "import time; real = time.time; time.time = lambda: real() - {ago!r}"
JOB = 'http_requests_total{job="shop-%s"}'
VARIABLES = {
    "cutover_steps": [{"share": share, "hold": f"{days}d"} for share, days in STEPS],
    "cutover_run_limit": 0,
    "cutover_gate": {
        "criteria": [
            {
                "name": "errors", "kind": "ratio", "total": JOB % "green", "bad": 'status=~"5.."',
                "baseline": JOB % "blue", "max": 0.01,
            },
            {
                "name": "errors beside blue's", "kind": "ratio", "total": JOB % "green", "bad": 'status=~"5.."',
                "baseline": JOB % "blue", "max_ratio": 1.5, "floor": 0.003,
            },
            {
                "name": "traffic", "kind": "query", "query": f"sum(rate({JOB % 'green'}[5m]))",
                "fresh": JOB % "green", "min": 1, "for": "10m",
            },
        ],
    },
}  # fmt: skip


@dataclass(frozen=True)
class Calendar:
    """When each step begins, in unix seconds, and when the last hold is over; the latter lies before the real now."""

    begins: tuple[int, ...]
    end: int

    @classmethod
    def before(cls, now: float) -> Calendar:
        at = int(now) - 2 * HOUR - sum(days * DAY + LATE for _share, days in STEPS)
        begins = []
        for _share, days in STEPS:
            begins.append(at)
            at += days * DAY + LATE
        return cls(tuple(begins), at)

    def share(self, at: float) -> int:
        """Green's, in percent."""
        return max((share for (share, _days), begin in zip(STEPS, self.begins, strict=True) if at >= begin), default=0)


def history(folder: Path, calendar: Calendar, since: float, regression: bool) -> Path:
    """A data directory of Prometheus with what both colours on both hosts have counted from ``since`` on.

    Whatever ``since`` and ``regression`` are, what is told of a moment before the regression is the same.
    """
    folder.mkdir()
    first, last = calendar.begins[0] - 2 * HOUR, calendar.end + HOUR
    times = range(first - first % SCRAPE, last, SCRAPE)
    shares = [calendar.share(at) for at in times]
    with (folder / "history.txt").open("w") as out:
        out.write("# TYPE http_requests counter\n")
        for colour in ("blue", "green"):
            for host in ("app1", "app2"):
                good = bad = 0
                chance = random.Random(f"{colour} {host}")  # noqa: S311 - the same in each history
                labels = f'job="shop-{colour}",instance="{host}"'
                for at, share in zip(times, shares, strict=True):
                    mean = TOTAL * SCRAPE / 2 * (share if colour == "green" else 100 - share) / 100
                    count = max(0, round(chance.gauss(mean, mean**0.5)))
                    broken = regression and colour == "green" and at > calendar.end - LATE - HOUR
                    expected = count * (REGRESSION if broken else ERRORS)
                    wrong = int(expected + chance.random())
                    good, bad = good + count - wrong, bad + wrong
                    if at >= since:
                        out.write(f'http_requests_total{{{labels},status="200"}} {good} {at}\n')
                        out.write(f'http_requests_total{{{labels},status="500"}} {bad} {at}\n')
        out.write("# EOF\n")
    command = [program("promtool"), "tsdb", "create-blocks-from", "openmetrics", "--quiet", "--max-block-duration=162h"]
    subprocess.run([*command, str(folder / "history.txt"), str(folder / "data")], check=True, capture_output=True)
    (folder / "history.txt").unlink()
    return folder / "data"


@dataclass
class Elsewhen:
    """Prometheus as it was ``ago`` seconds ago: its own now is part of each question that has none."""

    address: str
    upstream: str
    ago: float = 0.0
    asked: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                given = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
                if self.path.endswith("/query"):
                    given.setdefault("time", [f"{time.time() - proxy.ago:.3f}"])
                with proxy._lock:
                    proxy.asked += 1
                request = urllib.request.Request(  # noqa: S310
                    proxy.upstream + self.path, urlencode(given, doseq=True).encode()
                )
                with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
                    body = answer.read()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer((self.address, 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://{self.address}:{self.server.server_address[1]}"

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@dataclass
class Site:
    """The lab with its clocks set back; each run is a process of its own."""

    lab: Lab
    prometheus: Elsewhen
    overlay: Path
    seconds: list[float] = field(default_factory=list)

    def run(self, playbook: str, at: float) -> Run:
        """Run it at that moment."""
        ago = time.time() - at
        self.prometheus.ago = ago
        hosts = {host: {"ansible_python_interpreter": PYTHON} for host in HOSTS}
        self.overlay.write_text(json.dumps({"all": {"hosts": hosts}}))
        told = f"echo {shlex.quote(SET_BACK.format(ago=ago))} >/usr/local/lib/then/sitecustomize.py"
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda host: self.lab.ssh(host, told), HOSTS))
        variables = {
            **VARIABLES,
            "cutover_prometheus": {"url": self.prometheus.url, "scrape_interval": SCRAPE},
        }
        began = time.monotonic()
        run = self.lab.playbook(playbook, "local", variables, arguments=["--inventory", str(self.overlay)])
        self.seconds.append(time.monotonic() - began)
        return run

    def events(self) -> list[dict[str, Any]]:
        document = json.loads(self.lab.ssh("router", "cat /var/lib/bluegreen-cutover/shop/journal.json"))
        return list(document["migrations"][-1]["events"])

    def sizes(self) -> dict[str, int]:
        told = self.lab.ssh("router", "cd /var/lib/bluegreen-cutover/shop && stat -c '%n %s' *.json")
        return {name: int(size) for name, size in (line.split() for line in told.splitlines())}

    def serve(self) -> set[str]:
        """The colours that answer now."""
        found = set()
        for _request in range(40):
            url = f"http://{self.lab.address('router')}:8080/api/v1/ping"
            with urllib.request.urlopen(url, timeout=10) as answer:
                found.add(str(json.load(answer)["colour"]))
        return found


@contextlib.contextmanager
def simulated(lab: Lab, folder: Path, data: Path) -> Iterator[Site]:
    interpreter = '#!/bin/sh\nPYTHONPATH=/usr/local/lib/then exec /usr/bin/python3 "$@"\n'
    for host in HOSTS:
        lab.ssh(host, f"mkdir -p /usr/local/lib/then; echo {shlex.quote(interpreter)} >{PYTHON}; chmod +x {PYTHON}")
    gateway = json.loads((lab.state / "lab.json").read_text())["gateway"]
    server = RealPrometheus(folder, None, data)
    try:
        proxy = Elsewhen(gateway, server.url)
        try:
            yield Site(lab, proxy, folder / "clock.json")
        finally:
            proxy.stop()
    finally:
        server.stop()


@pytest.fixture(scope="module")
def calendar() -> Calendar:
    return Calendar.before(time.time())


def kinds(events: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [event for event in events if event["kind"] == kind]


def test_a_regression_in_the_last_hour_of_twelve_days(lab: Lab, tmp_path: Path, calendar: Calendar) -> None:
    """Also what would have become of it without the regression: from the same state of the hosts on."""
    lab.renew("local")
    began = time.monotonic()
    bad = history(tmp_path / "bad", calendar, 0, regression=True)
    good = history(tmp_path / "good", calendar, calendar.begins[-1] - HOUR, regression=False)
    print(f"MEASURED {time.monotonic() - began:.0f} s to write the histories")
    with simulated(lab, tmp_path / "bad", bad) as site:
        with lab.load(f"http://{lab.address('router')}:8080", rate=20, duration=900) as running:
            began = time.monotonic()
            migrate(site, calendar)
            keep(lab)
            run = site.run("advance", calendar.end)
            took = time.monotonic() - began
            running.stop()
            result = running.result()
        events, sizes = site.events(), site.sizes()
        print(f"MEASURED {len(site.seconds)} runs, {took:.0f} s; each: {[round(one, 1) for one in site.seconds]}")
        print(f"MEASURED questions to Prometheus {site.prometheus.asked}; bytes {sizes}")
        assert run.rc != 0
        said = " ".join(run.stdout.split())
        assert "shop was not moved: all traffic is on blue again" in said
        assert "green at 100 %: the gate fails: errors: above the limit" in said
        assert [event["weight"] for event in kinds(events, "weight_set")] == [*[share for share, _ in STEPS], 0]
        assert events[-1]["kind"] == "rolled_back"
        assert site.serve() == {"blue"}
        assert result.outcomes() == {"ok": result.count}
        for (share, days), hold, begin in zip(STEPS, kinds(events, "hold_began"), calendar.begins, strict=True):
            assert (hold["weight"], hold["seconds"]) == (share, days * DAY)
            assert 0 <= hold["at"] - begin < 120
        assert [event["verdict"] for event in kinds(events, "gate_seen")] == [*["open", "pass"] * 6, "open", "fail"]

    bring_back(lab)
    with simulated(lab, tmp_path / "good", good) as site:
        site.run("advance", calendar.end + LATE).ok()
        events = site.events()
        assert kinds(events, "gate_seen")[-1]["verdict"] == "pass"
        assert events[-1]["kind"] == "finished"
        assert site.serve() == {"green"}
        for host in ("app1", "app2"):
            told = lab.ssh(host, "systemctl is-active shop-blue; systemctl is-enabled shop-blue", check=False)
            assert told.split() == ["inactive", "disabled"]
        assert set(site.sizes()) == {"fence.json", "journal.json"}
        # The hosts' real clock is two hours ahead of what they were told.
        assert "Nothing to advance" in lab.playbook("advance", "local").ok().stdout


def migrate(site: Site, calendar: Calendar) -> None:
    """Up to three hours before the last hold's end: a step at the end of each, and a look in the middle of some."""
    for number, ((share, days), begin) in enumerate(zip(STEPS, calendar.begins, strict=True)):
        stepped = site.run("cutover" if number == 0 else "advance", begin).ok()
        assert f"green is held at {share} %" in " ".join(stepped.stdout.split())
        if share in LOOKED_AT:
            looked = site.run("advance", begin + days * DAY / 2).ok()
            assert f"green is held at {share} %" in " ".join(looked.stdout.split())
        assert "lease.json" not in site.sizes()
    looked = site.run("advance", calendar.end - LATE - 3 * HOUR).ok()
    assert "green is held at 100 %: 3.0 hours of its hold are left" in " ".join(looked.stdout.split())


def keep(lab: Lab) -> None:
    """The router's state, and its weight."""
    lab.ssh("router", "tar -C / -cf /root/kept.tar var/lib/bluegreen-cutover/shop etc/haproxy/cutover")


def bring_back(lab: Lab) -> None:
    """What was kept, with both colours running as they were."""
    for host in ("app1", "app2"):
        lab.ssh(
            host, "systemctl enable --now shop-green; until curl -sf localhost:8002/health/ready; do sleep 0.1; done"
        )
    lab.ssh("router", "rm -r /var/lib/bluegreen-cutover/shop && tar -C / -xf /root/kept.tar")
    # HAProxy's own checks of two instances of two colours.
    checked = f"until [ $(python3 -c {shlex.quote(STATES)} | grep -c L7OK) = 4 ]; do sleep 0.2; done"
    lab.ssh("router", f"systemctl restart haproxy; timeout 60 bash -c {shlex.quote(checked)}", timeout=90)
