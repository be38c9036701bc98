# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Running commands, saying what happens, failing with one clear message."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable


class LabError(Exception):
    """Something the user has to know; its text is the whole message."""


def say(text: str) -> None:
    print(text, flush=True)


def run(*command: str, stdin: str = "") -> str:
    """Run a command to its end and return its output; LabError with its last words if it fails."""
    try:
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise LabError(f"{command[0]}: command not found (see `lab.py check`)") from None
    if done.returncode != 0:
        words = (done.stderr.strip() or done.stdout.strip())[-2000:]
        raise LabError(f"{' '.join(command)}: exit status {done.returncode}: {words}")
    return done.stdout


def succeeds(*command: str) -> bool:
    done = subprocess.run(
        command, check=False, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    return done.returncode == 0


def wait_until(what: str, predicate: Callable[[], bool], timeout: float = 180) -> None:
    """Poll until the predicate holds; seconds. Says so every 10 s while it does not."""
    start = time.monotonic()
    spoken = start
    while not predicate():
        now = time.monotonic()
        if now - start > timeout:
            raise LabError(f"{what}: not within {timeout:.0f} s")
        if now - spoken >= 10:
            spoken = now
            say(f"waiting: {what}: {now - start:.0f} of {timeout:.0f} s")
        time.sleep(0.05)


def fail(text: str) -> int:
    print(f"lab: {text}", file=sys.stderr)
    return 1
