# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A command of the host, run with an end."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Sequence

#: Runs a command with an end: argument vector, seconds → exit status, standard output, standard error.
Run = Callable[[Sequence[str], float], "tuple[int, str, str]"]

#: Exit status when the time has ended, as timeout(1) has it, and when there is no such command, as a shell has it.
TIMED_OUT = 124
CANNOT_RUN = 127


def environment() -> dict[str, str]:
    """What a child gets as its environment, so that its answers come in English and UTC."""
    return {**os.environ, "LC_ALL": "C.UTF-8", "TZ": "UTC"}


def run(argv: Sequence[str], seconds: float) -> tuple[int, str, str]:
    """Run a command for at most ``seconds``; its answers come in English and UTC.

    Not AnsibleModule.run_command: that has no end, and now and then it sleeps for a second after the command's own.
    """
    try:
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=seconds,
            env={**environment(), "SYSTEMD_COLORS": "0", "SYSTEMD_PAGER": ""},
            check=False,
        )
    except subprocess.TimeoutExpired:
        return TIMED_OUT, "", f"it did not end within {seconds:.0f} s"
    except OSError as error:
        return CANNOT_RUN, "", str(error)
    return done.returncode, done.stdout, done.stderr
