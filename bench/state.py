#!/usr/bin/env python3
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What snapshots and restores cost, beside the servers' own tools. `make bench-state`, or with --quick by hand.

It brings up a lab of its own and takes it down again. A full run of everything is written to bench/results/; the exit
status is 1 when a target is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "lab"))

import hosts  # noqa: E402 - the line above says where load.py is
import report  # noqa: E402
import state_files  # noqa: E402
import state_freeze  # noqa: E402
import state_postgresql  # noqa: E402
import state_redis  # noqa: E402

RESULTS = ROOT / "bench/results"

MEASUREMENTS: dict[str, ModuleType] = {
    "postgresql": state_postgresql,
    "redis": state_redis,
    "files": state_files,
    "freeze": state_freeze,
}
"""By name, a module with ``measure(quick)``, a document of figures; ``targets(document)``, see ``figures.target``; and
``render(document)``, its part of the page.
"""


def main() -> int:
    parser = argparse.ArgumentParser(description="what snapshots and restores cost, beside the servers' own tools")
    parser.add_argument("--quick", action="store_true", help="a little of everything, to see that it works; not kept")
    parser.add_argument("--only", choices=list(MEASUREMENTS), help="one measurement; not kept")
    options = parser.parse_args()
    chosen = {name: one for name, one in MEASUREMENTS.items() if options.only in (None, name)}
    clock = time.monotonic()
    with hosts.lab():
        machine = hosts.describe_machine()
        document: dict[str, Any] = {"machine": machine}
        for name, measurement in chosen.items():
            document[name] = measurement.measure(options.quick)
    machine["load_average_after"] = round(os.getloadavg()[0], 2)
    document["minutes"] = round((time.monotonic() - clock) / 60, 1)
    document["targets"] = [one for name, measured in chosen.items() for one in measured.targets(document[name])]
    text = report.render_state(document, [measured.render(document[name]) for name, measured in chosen.items()])
    print(text)
    if not options.quick and options.only is None:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / "state.json").write_text(json.dumps(document, indent=2) + "\n")
        (RESULTS / "state.md").write_text(text)
    missed = [one for one in document["targets"] if not one["met"]]
    met = len(document["targets"]) - len(missed)
    print(f"state: {met} of {len(document['targets'])} targets met, {document['minutes']} minutes")
    return 1 if missed else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (hosts.BenchError, subprocess.SubprocessError) as error:
        sys.exit(f"state: {error}")
