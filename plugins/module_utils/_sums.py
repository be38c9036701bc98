# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Size and SHA-256 of a file: of one that is there, and of one that is being written."""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

_CHUNK = 256 << 10
"""Bytes that are read at once: few enough to be in the processor's own memory still when they are summed up."""
_AT_ONCE = 16 << 20
"""Bytes of a file that is followed that are brought to the disk, and given up in memory, at once."""
_PAUSE = 0.05
"""Seconds between two looks at a file that is followed."""


class Sum:
    """The size in bytes and the SHA-256 of what was read of a file by now, from its beginning on."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._digest = hashlib.sha256()
        self._buffer = memoryview(bytearray(_CHUNK))
        self.size = 0

    def read_on(self) -> None:
        """Go on to the end that the file has now. Raises OSError."""
        while got := os.preadv(self._descriptor, [self._buffer], self.size):
            self._digest.update(self._buffer[:got])
            self.size += got

    def entry(self) -> dict[str, Any]:
        """As a manifest has it."""
        return {"size": self.size, "sha256": self._digest.hexdigest()}


@contextlib.contextmanager
def following(descriptor: int) -> Iterator[Sum]:
    """The sum of a file that somebody appends to meanwhile, and nothing else; it is whole when the context has ended.

    Afterwards one core would do it alone, and then wait for the disk: so what is there is summed up and brought to the
    disk while the next is written. The memory that it had is for the next then, which is quicker than memory that has
    to be found, and leaves that of the host to its services. The file's last part is for a sync by whoever made it.
    Raises OSError.
    """
    one, ended = Sum(descriptor), threading.Event()

    def follow() -> None:
        synced = 0
        while not ended.wait(_PAUSE):
            one.read_on()
            if one.size - synced >= _AT_ONCE:
                os.fdatasync(descriptor)
                os.posix_fadvise(descriptor, synced, one.size - synced, os.POSIX_FADV_DONTNEED)
                synced = one.size

    with ThreadPoolExecutor(max_workers=1) as aside:
        try:
            followed = aside.submit(follow)
            yield one
        finally:
            ended.set()
        followed.result()
    one.read_on()
