# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The bench's own lab, and what is done to it: commands by SSH, playbooks, load."""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import load

T = TypeVar("T")

ROOT = Path(__file__).resolve().parent.parent
PLAYBOOKS = ROOT / "bench/playbooks"
LAB_NAME = "bench"
STATE = Path("/run/bluegreen-lab") / LAB_NAME
_LAB = [sys.executable, str(ROOT / "lab/lab.py")]


class BenchError(Exception):
    """Something that keeps a figure from being measured; its text is the whole message."""


@dataclass(frozen=True)
class Played:
    """A playbook that ended: the seconds it took, what it counted per host, and its tasks' results by name."""

    began: float
    seconds: float
    stats: dict[str, dict[str, int]]
    tasks: dict[str, list[dict[str, Any]]]
    failure: str = ""
    """Its last words, where it failed and was allowed to."""


def say(text: str) -> None:
    print(f"bench: {time.strftime('%H:%M:%S')} {text}", flush=True)


def describe_here() -> dict[str, Any]:
    """What the figures depend on, of this machine."""
    models = [line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    memory = next(int(line.split()[1]) for line in _lines("/proc/meminfo") if line.startswith("MemTotal"))
    return {
        "cores": os.cpu_count(),
        "processor": models[0] if models else platform.machine(),
        "memory_gib": round(memory / 2**20),
        "kernel": platform.release().split("-")[0],
        "load_average_before": round(os.getloadavg()[0], 2),
    }


def describe_machine() -> dict[str, Any]:
    """The same, and what the lab's hosts run."""
    versions = ssh(
        "router", "haproxy -v | head -1; nginx -v 2>&1; python3 --version; . /etc/os-release; echo $PRETTY_NAME"
    )
    return {**describe_here(), "hosts": [line.partition(" 20")[0] for line in versions.splitlines()]}


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines()


@contextmanager
def lab() -> Iterator[None]:
    """A lab of the bench's own, which goes away again whatever happens."""
    os.environ["LAB_NAME"] = LAB_NAME
    # Told to end, end as after Ctrl-C: by way of the finally below.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    subprocess.run([*_LAB, "down"], check=True)
    try:
        subprocess.run([*_LAB, "up"], check=True)
        yield
    finally:
        subprocess.run([*_LAB, "down"], check=True)


def ssh(host: str, command: str, stdin: str = "", timeout: float = 60) -> str:
    """The standard output of a shell command on a host of the lab."""
    argv = ["ssh", "-F", str(STATE / "ssh_config"), host, command]
    done = subprocess.run(argv, input=stdin, capture_output=True, text=True, timeout=timeout, check=False)
    if done.returncode != 0:
        raise BenchError(f"on {host}: '{command}' ended with {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def events(host: str, service: str) -> list[dict[str, Any]]:
    """What the journal tells of the last migration."""
    journal = json.loads(ssh(host, f"cat /var/lib/bluegreen-cutover/{service}/journal.json"))
    events: list[dict[str, Any]] = journal["migrations"][-1]["events"]
    return events


def forget(host: str, service: str) -> None:
    """Let the next migration be the first one."""
    ssh(host, f"rm -rf /var/lib/bluegreen-cutover/{service}")


def start(host: str, unit: str, port: int) -> None:
    """Start a unit of the lab's service, and wait until it answers."""
    ready = f"curl --silent --fail --output /dev/null http://127.0.0.1:{port}/health/ready"
    ssh(host, f"systemctl start {unit}; until {ready}; do sleep 0.1; done")


def write(host: str, path: str, text: str) -> None:
    """Put a file on a host of the lab."""
    ssh(host, f"mkdir -p $(dirname {path}) && cat > {path}", text)


def address(host: str) -> str:
    """The address that the load is sent to."""
    return str(json.loads((STATE / "lab.json").read_text())["hosts"][host]["address"])


def play(
    playbook: Path,
    inventory: str,
    variables: Mapping[str, Any] | None = None,
    *,
    beside_load: bool = False,
    may_fail: bool = False,
) -> Played:
    """Run a playbook to its end; raise ``BenchError`` with its last words where it fails, unless it may.

    Beside a load it gets the lowest priority: it stands for a control node, which is a machine of its own.
    """
    argv = [
        *(["nice", "-n", "19"] if beside_load else []),
        str(Path(sys.executable).with_name("ansible-playbook")),
        f"--inventory={ROOT / 'inventories' / inventory}",
        str(playbook),
        f"--extra-vars={json.dumps(dict(variables or {}))}",
    ]
    environment = {
        **os.environ,
        "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
        "ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json",
        # A connection that was kept open to a lab that is gone must not be taken for one to this lab.
        "ANSIBLE_SSH_CONTROL_PATH_DIR": str(STATE / "control"),
    }
    began, clock = time.time(), time.monotonic()
    done = subprocess.run(argv, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
    seconds = time.monotonic() - clock
    try:
        told = json.loads(done.stdout[done.stdout.index("{") :])
    except ValueError:
        told = {"plays": [], "stats": {}}
    failure = ""
    if done.returncode != 0:
        failure = f"{playbook.name} ended with {done.returncode}: {_last_words(told) or done.stderr[-2000:]}"
        if not may_fail:
            raise BenchError(failure)
    tasks: dict[str, list[dict[str, Any]]] = {}
    for task in (task for one in told["plays"] for task in one["tasks"]):
        tasks.setdefault(task["task"]["name"], []).extend(task["hosts"].values())
    return Played(began, seconds, told["stats"], tasks, failure)


def _last_words(told: Mapping[str, Any]) -> str:
    return "; ".join(
        f"{host}: {task['task']['name']}: {result.get('msg', result)}"
        for one in told["plays"]
        for task in one["tasks"]
        for host, result in task["hosts"].items()
        if result.get("failed") or result.get("unreachable")
    )


def under_load(
    host: str,
    port: int,
    act: Callable[[], T],
    *,
    rate: float = 500,
    slow_share: float = 0.01,
    idle: int = 300,
) -> tuple[load.Result, T]:
    """Do something while the load runs; its requests, and what was done."""
    target = f"http://{address(host)}:{port}"
    plan = load.Plan(target, rate=rate, duration=1200, slow_share=slow_share, idle=idle)
    with tempfile.TemporaryDirectory() as folder:
        with load.background(plan, Path(folder)) as running:
            time.sleep(LEAD)
            done = act()
            time.sleep(LEAD)
        return running.result(), done


LEAD = 1.5
"""Seconds of load before the first and after the last switch."""
