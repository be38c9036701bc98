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
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree as ET

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / ".build" / "results"
AIM = 1500
"""Seconds that all stages together are meant to take; a slower machine fails nothing."""


def say(text: str) -> None:
    print(text, flush=True)


def told(count: Counter[str]) -> str:
    """The words of pytest: passed and failed always, skipped when there are any."""
    return ", ".join(
        f"{count[word]} {word}" for word in ("passed", "failed", "skipped") if count[word] or word != "skipped"
    )


def counted(stage: str) -> Counter[str]:
    """Tests of a stage by what became of them, from its JUnit files."""
    count: Counter[str] = Counter()
    for path in [RESULTS / f"{stage}.xml", *sorted((RESULTS / stage).glob("*.xml"))]:
        if not path.exists():
            continue
        for suite in ET.parse(path).getroot().iter("testsuite"):  # noqa: S314  # written by our own tools just now
            tests, failures, errors, skipped = (
                int(suite.get(name, 0)) for name in ("tests", "failures", "errors", "skipped")
            )
            count["failed"] += failures + errors
            count["skipped"] += skipped
            count["passed"] += tests - failures - errors - skipped
    return count


def run(stage: str) -> Counter[str]:
    """Run a stage; what it counted agrees with its exit status, which decides."""
    status = subprocess.run(["make", "--no-print-directory", stage], cwd=ROOT, check=False).returncode
    count = counted(stage)
    if status != 0 and count["failed"] == 0:
        count["failed"] = 1
    elif status == 0 and count.total() == 0:
        count["passed"] = 1
    return count


def main(stages: list[str]) -> int:
    shutil.rmtree(RESULTS, ignore_errors=True)
    RESULTS.mkdir(parents=True)
    begin = time.monotonic()
    lines = []
    total: Counter[str] = Counter()
    for number, stage in enumerate(stages, 1):
        start = time.monotonic()
        say(f"\n=== {stage} ({number} of {len(stages)}, {start - begin:.0f} s so far)")
        count = run(stage)
        total.update(count)
        verdict = "FAILED" if count["failed"] else "ok"
        lines.append(f"{stage:12} {verdict:7} {time.monotonic() - start:6.0f} s  {told(count)}")
        say(f"=== {lines[-1]}")
    say("\n" + "\n".join(lines))
    say(f"{told(total)} in {time.monotonic() - begin:.0f} s (aim {AIM} s)")
    return 1 if total["failed"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
