#!/usr/bin/env python3
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The main job under load, on a lab of real hosts: there, back, and a verdict. `make demo` runs it.

Starts the lab, puts HAProxy in front of blue, sends 500 requests a second, moves the traffic to green with
cutover.yml, goes back with rollback.yml, and counts what every single request got. Exits 0 only when none failed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import load

ROOT = Path(__file__).resolve().parent.parent
PLAYBOOK = Path(sys.executable).with_name("ansible-playbook")
RATE = 500.0
IDLE = 300
LONGEST = 300.0
"""Seconds of load at most; it ends with the last playbook."""
SHADES = " ▁▂▃▄▅▆▇█"


def say(text: str) -> None:
    print(text, flush=True)


def playbook(name: str, *arguments: str) -> float:
    """Run a playbook of this repository with its output; return its seconds. Ends the demo when it fails."""
    say(f"\n--- ansible-playbook -i inventories/local playbooks/{name} {' '.join(arguments)}".rstrip())
    began = time.monotonic()
    command = [PLAYBOOK, "-i", "inventories/local", f"playbooks/{name}", *arguments]
    done = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, check=False)
    if done.returncode:
        raise SystemExit(f"demo: {name} failed with exit status {done.returncode}; its messages are above")
    return time.monotonic() - began


def picture(records: list[load.Record]) -> str:
    """Green's share of the answers, second by second, as bars."""
    answered = [record for record in records if record.colour]
    first = int(min(record.ended for record in answered))
    seconds: list[list[str]] = [[] for _ in range(int(max(record.ended for record in answered)) - first + 1)]
    for record in answered:
        seconds[int(record.ended) - first].append(record.colour)
    return "".join(
        SHADES[round(colours.count("green") / len(colours) * (len(SHADES) - 1))] if colours else "?"
        for colours in seconds
    )


def verdict(result: load.Result, cutover: float, rollback: float) -> bool:
    """Print what was measured; whether every request was answered."""
    outcomes = result.outcomes()
    failed = result.count - outcomes.get("ok", 0)
    latency = result.summary["latency_ms"]
    wrong = ", ".join(f"{count} {outcome}" for outcome, count in outcomes.items() if outcome != "ok")
    say("\n=== Verdict")
    say(f"green's share   |{picture(result.records)}|  one column a second")
    say(f"requests        {result.count}, sent at {RATE:.0f}/s, {IDLE} idle connections beside them")
    say(f"failed          {failed}{f' ({wrong})' if wrong else ''}")
    say(f"latency         p50 {latency['p50']:.1f} ms, p99 {latency['p99']:.1f} ms")
    say(f"cutover.yml     {cutover:.1f} s, with its steps, and blue drained to its last connection")
    say(f"rollback.yml    {rollback:.1f} s, the same way back")
    say("PASSED: not one request was lost" if not failed else "FAILED: requests were lost")
    return failed == 0


def main() -> int:
    lab = [sys.executable, str(ROOT / "lab" / "lab.py")]
    name = os.environ.get("LAB_NAME") or "cutover"
    state = load.LAB_STATE / name
    already = (state / "lab.json").exists()
    if subprocess.run([*lab, "up"], stdin=subprocess.DEVNULL, check=False).returncode:
        return 1
    try:
        address = json.loads((state / "lab.json").read_text())["hosts"]["router"]["address"]
        playbook("router.yml")
        plan = load.Plan(f"http://{address}:8080", rate=RATE, duration=LONGEST, idle=IDLE)
        with tempfile.TemporaryDirectory() as directory, load.background(plan, Path(directory)) as running:
            say(f"\nLoad: {RATE:.0f} requests/s on {plan.target}, 1 % of them take 3 s")
            time.sleep(3)
            cutover = playbook("cutover.yml")
            playbook("status.yml")
            time.sleep(2)
            rollback = playbook("rollback.yml")
            time.sleep(2)
            running.stop()
            result = running.result()
        return 0 if verdict(result, cutover, rollback) else 1
    finally:
        if not already:
            subprocess.run([*lab, "down"], stdin=subprocess.DEVNULL, check=False)


if __name__ == "__main__":
    sys.exit(main())
