# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run makes on a server, noted before it is made: one that is killed leaves it there, and the next finds it."""

from __future__ import annotations

import json
import os
import secrets
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import SnapshotError
from ansible_collections.bluegreen.cutover.plugins.module_utils._folders import sync_folder
from ansible_collections.bluegreen.cutover.plugins.module_utils._snapshots._shared import new_file


class Notes:
    """Those of one part: files of ``folder`` whose names begin with ``begin``. Who has them is alone with the part."""

    def __init__(self, folder: Path, begin: str) -> None:
        self._folder = folder
        self._begin = begin

    def add(self, where: str, what: str, *, until: float = 0.0, **more: Any) -> Path:
        """Note ``what`` is made on the server ``where``, for a person, and ``more`` for whoever removes it.

        ``until`` that moment, in unix seconds, it may come to be there although it was not. Raises OSError or
        SnapshotError.
        """
        path = self._folder / f"{self._begin}{secrets.token_hex(4)}"
        with new_file(path) as file:
            file.write(json.dumps({"where": where, "what": what, "until": until, **more}).encode())
            file.flush()
            os.fsync(file.fileno())
        sync_folder(self._folder)
        return path

    def settle(self, where: str, remove: Callable[[Mapping[str, Any]], str]) -> list[str]:
        """Have ``remove`` remove from the server ``where`` what earlier runs have noted, and forget that.

        It returns what a person has to know, or nothing; what it raises is for a person, too, and the thing stays
        noted. So it does until it cannot come any more. Returns one sentence for each that may be left.
        """
        left = []
        for path in sorted(self._folder.glob(f"{self._begin}*")):
            try:
                noted = json.loads(path.read_bytes())
            except ValueError:
                # Whoever was killed while he wrote it had made nothing yet.
                path.unlink()
                continue
            keep = noted["until"] > time.time()
            try:
                elsewhere = noted["where"] != where
                why = "The inventory names another server by now: delete it there" if elsewhere else remove(noted)
            except SnapshotError as error:
                keep, why = True, error.message
            if why:
                left.append(f"{noted['what']} at {noted['where']} may be left of a run that has died. {why}")
            if not keep:
                path.unlink()
        return left
