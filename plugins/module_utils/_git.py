# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""git, run in a repository whose settings may be anybody's: none of its hooks runs, and it never asks. Adapters use it,
too: like ``_core`` it imports nothing of what is above them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible_collections.bluegreen.cutover.plugins.module_utils._command import failure, pipeline

_SETTINGS = {
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_OPTIONAL_LOCKS": "0",
    # Who has no name here tags and commits all the same.
    **{
        f"GIT_{role}_{what}": value
        for role in ("AUTHOR", "COMMITTER")
        for what, value in (("NAME", "bluegreen.cutover"), ("EMAIL", "bluegreen.cutover@localhost"))
    },
}


def run_git(
    arguments: Sequence[str],
    at: Path,
    *,
    tap: Callable[[memoryview], Any],
    tick: Callable[[], Any] = lambda: None,
    source: int | None = None,
    variables: Mapping[str, str] | None = None,
) -> str:
    """Run git in the folder ``at``; why it failed, and what to do, or "".

    ``tap`` gets its output; ``source`` is a descriptor of its input, and ``tick`` is called every few seconds.
    """
    argv = ["git", "-C", str(at), "-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false", *arguments]
    ssh = {"GIT_SSH_COMMAND": os.environ.get("GIT_SSH_COMMAND", "ssh -oBatchMode=yes")}
    try:
        ended = pipeline([argv], source=source, tap=tap, tick=tick, variables={**_SETTINGS, **ssh, **(variables or {})})
    except OSError as error:
        return f"git cannot be run: {error}"
    told = failure(ended)
    advice = ". Run this as the user who owns it (become_user)" if "dubious ownership" in told else ""
    return f"in {at} {told}{advice}" if told else ""
