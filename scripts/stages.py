# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run verbs of the Makefile one after another and sum them up: stages.py lint unit …

A stage that fails does not stop the next one: one run tells all that is wrong. The last line counts what the stages
counted themselves (JUnit files in .build/results/<stage>.xml and below .build/results/<stage>/); a stage that counts
nothing, a linter, counts as one.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path
from xml.etree import ElementTree as ET

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / ".build" / "results"


def say(text: str) -> None:
    print(text, flush=True)


def counted(stage: str) -> tuple[int, int]:
    """Tests of a stage that passed and that failed, from its JUnit files. One that was skipped did not pass."""
    total = bad = 0
    for path in [RESULTS / f"{stage}.xml", *sorted((RESULTS / stage).glob("*.xml"))]:
        if not path.exists():
            continue
        for suite in ET.parse(path).getroot().iter("testsuite"):  # noqa: S314  # written by our own tools just now
            total += int(suite.get("tests", 0))
            bad += int(suite.get("failures", 0)) + int(suite.get("errors", 0)) + int(suite.get("skipped", 0))
    return total - bad, bad


def run(stage: str) -> tuple[bool, float, int, int]:
    start = time.monotonic()
    status = subprocess.run(["make", "--no-print-directory", stage], cwd=ROOT, check=False).returncode
    passed, failed = counted(stage)
    if status != 0 and failed == 0:
        failed = 1
    elif status == 0 and passed + failed == 0:
        passed = 1
    return status == 0, time.monotonic() - start, passed, failed


def main(stages: list[str]) -> int:
    shutil.rmtree(RESULTS, ignore_errors=True)
    RESULTS.mkdir(parents=True)
    start = time.monotonic()
    lines = []
    all_passed = all_failed = 0
    for number, stage in enumerate(stages, 1):
        say(f"\n=== {stage} ({number} of {len(stages)}, {time.monotonic() - start:.0f} s so far)")
        good, seconds, passed, failed = run(stage)
        all_passed += passed
        all_failed += failed
        lines.append(f"{stage:12} {'ok' if good else 'FAILED':7} {seconds:6.0f} s  {passed} passed, {failed} failed")
        say(f"=== {lines[-1]}")
    say("\n" + "\n".join(lines))
    say(f"{all_passed} passed, {all_failed} failed in {time.monotonic() - start:.0f} s")
    return 1 if all_failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
