# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What several engines share."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import IO

from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import SnapshotError


def new_file(path: Path) -> IO[bytes]:
    """A new file, to be written by this user alone. Raises SnapshotError, also where there is one or a link."""
    return _opened(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, "wb")


def old_file(path: Path) -> IO[bytes]:
    """A file, to be read. Raises SnapshotError, also where it is a link."""
    return _opened(path, os.O_RDONLY, "rb")


def require_space(path: Path, need: int, purpose: str, remedy: str) -> None:
    """Raise SnapshotError when the disk of ``path`` has less than ``need`` bytes."""
    free = shutil.disk_usage(path).free
    if free < need:
        raise SnapshotError(
            f"{purpose} needs {need / 2**20:.0f} MiB, and the disk of {path} has {free / 2**20:.0f} MiB free. {remedy}",
            {"free": free},
        )


def require_writable(folder: Path) -> None:
    """Raise SnapshotError where this user may not write to a folder, its disk is read-only, or it is immutable."""
    if not os.access(folder, os.W_OK | os.X_OK):
        raise SnapshotError(
            f"{folder} cannot be written to by the user with uid {os.geteuid()}, which a restore does. See who may, "
            "and whether its file system is read-only; nothing was changed"
        )


def check_not_older(who: str, now: str, then: str) -> None:
    """Raise SnapshotError where the version of ``who`` has lower first two numbers than that of the snapshot."""
    if numbers(now) < numbers(then):
        raise SnapshotError(
            f"{who} is version {now}, and the snapshot was taken from {then}: an older server does not understand what "
            f"a newer one has written. Install {then} or later"
        )


def numbers(version: str) -> tuple[int, ...]:
    """The first two numbers of a version."""
    return tuple(int(part) for part in version.split(".")[:2])


def _opened(path: Path, flags: int, mode: str) -> IO[bytes]:
    try:
        return open(os.open(path, flags | os.O_NOFOLLOW, 0o600), mode)
    except OSError as error:
        raise SnapshotError(f"{path} cannot be opened: {error}") from error
