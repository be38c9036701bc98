# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Passwords, tokens and keys that are in files of this host: what a plan, a log and a command line name is the file."""

from __future__ import annotations

from pathlib import Path

from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import CutoverError


def read_secret(path: str | None, what: str, error: type[CutoverError]) -> str | None:
    """The secret in a file, without the white space around it; None where no file is given.

    Raises ``error`` where it cannot be read or is empty, and never shows any of it; ``what`` is its name there.
    """
    if not path:
        return None
    try:
        secret = Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as problem:
        why = problem.strerror if isinstance(problem, OSError) else "it is not UTF-8"
        raise error(f"the {what} in {path} cannot be read on this host: {why}. Put it there, and run again") from None
    if not secret:
        raise error(f"the {what} in {path} is empty. Put it there, and run again")
    return secret
