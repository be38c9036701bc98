# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What several engines share."""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO

from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import SnapshotError


def new_file(path: Path) -> IO[bytes]:
    """A new file, to be written by this user alone. Raises SnapshotError, also where there is one or a link."""
    return _opened(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, "wb")


def old_file(path: Path) -> IO[bytes]:
    """A file, to be read. Raises SnapshotError, also where it is a link."""
    return _opened(path, os.O_RDONLY, "rb")


def _opened(path: Path, flags: int, mode: str) -> IO[bytes]:
    try:
        return open(os.open(path, flags | os.O_NOFOLLOW, 0o600), mode)
    except OSError as error:
        raise SnapshotError(f"{path} cannot be opened: {error}") from error
