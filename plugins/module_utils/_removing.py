# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Taking the unit file of an old version off a host; a copy is kept."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import WorkloadError
from ansible_collections.bluegreen.cutover.plugins.module_utils._workloads.systemd import SystemdUnit

UNITS = Path("/etc/systemd/system")
"""Where an administrator's units are; others belong to packages."""


def remove(unit: SystemdUnit, keep: Path, fence: Callable[[], AbstractContextManager[None]]) -> dict[str, Any]:
    """Remove the file of ``unit``, and the folder with its drop-ins, after both are copied to the folder ``keep``.

    It must be stopped and disabled. Raises ``WorkloadError``, also for a unit whose file is not its own.
    """
    source, problem = unit.fragment(UNITS)
    if source is None:
        return {"changed": False, "removed": [], "kept": None, "commands": []}
    if problem:
        raise WorkloadError(f"{unit.name} was not removed: {problem}", {"path": str(source)})
    dropins = UNITS / f"{unit.name}.d"
    paths = [path for path in (source, dropins) if path.exists() or path.is_symlink()]
    if not unit.check_mode:
        try:
            _copy(paths, keep)
            with fence():
                for path in paths:
                    if path.is_dir() and not path.is_symlink():
                        shutil.rmtree(path)
                    else:
                        path.unlink()
        except OSError as error:
            raise WorkloadError(
                f"{unit.name} was not wholly removed: {error}. Repair that, then run again", {"keep": str(keep)}
            ) from error
    unit.reload()
    return {
        "changed": True,
        "removed": [str(path) for path in paths],
        "kept": str(keep),
        "commands": list(unit.commands),
    }


def _copy(paths: list[Path], keep: Path) -> None:
    keep.mkdir(mode=0o700, parents=True, exist_ok=True)
    for path in paths:
        if path.is_dir():
            shutil.copytree(path, keep / path.name, dirs_exist_ok=True)
        else:
            shutil.copy2(path, keep / path.name)
