#!/usr/bin/env python3
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What snapshots and restores cost, beside the servers' own tools. `make bench-state`, or with --quick by hand.

Each measurement has a lab of its own, which is taken down again, and a page of its own in bench/results/; the exit
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
    parser.add_argument("--only", choices=list(MEASUREMENTS), help="one measurement")
    options = parser.parse_args()
    chosen = [name for name in MEASUREMENTS if options.only in (None, name)]
    missed = [name for name in chosen if not measure(name, options.quick)]
    print(f"state: targets missed: {', '.join(missed) or 'none'}")
    return 1 if missed else 0


def measure(name: str, quick: bool) -> bool:
    """Measure ``name`` of ``MEASUREMENTS`` and keep its page, unless it is ``quick``; whether its targets are met."""
    measurement = MEASUREMENTS[name]
    clock = time.monotonic()
    with hosts.lab():
        machine = hosts.describe_machine()
        document: dict[str, Any] = {"machine": machine, "measured": measurement.measure(quick)}
    machine["load_average_after"] = round(os.getloadavg()[0], 2)
    document["minutes"] = round((time.monotonic() - clock) / 60, 1)
    document["targets"] = measurement.targets(document["measured"])
    text = report.render_state(document, name, measurement.render(document["measured"]))
    print(text)
    if not quick:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / f"state-{name}.json").write_text(json.dumps(document, indent=2) + "\n")
        (RESULTS / f"state-{name}.md").write_text(text)
    return all(target["met"] for target in document["targets"])


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (hosts.BenchError, subprocess.SubprocessError) as error:
        sys.exit(f"state: {error}")
