# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One control group per host in every hierarchy: what keeps hosts apart and what finds their processes."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

from labkit.command import LabError


def hierarchies() -> list[Path]:
    """Mount points of all cgroup v1 hierarchies and of the v2 one, each once."""
    lines = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    return [Path(mount) for _, mount, kind, *_ in lines if kind in ("cgroup", "cgroup2")]


def create(name: str) -> list[Path]:
    """Make the group with its two halves and return the halves' process lists, `keeper` ones first.

    The keeper restarts the machine after a reboot and must stay out of the machine's own half: on
    cgroup v2 systemd takes that for itself and allows no process beside its sub-groups.
    """
    roots = hierarchies()
    for root in roots:
        for folder in (root / name, root / name / "keeper", root / name / "machine"):
            folder.mkdir(exist_ok=True)
            for setting in ("cpuset.cpus", "cpuset.mems"):  # empty in a new v1 cpuset: no process may enter
                file = folder / setting
                if (folder / "cpuset.cpu_exclusive").exists() and not file.read_text().strip():
                    file.write_text((folder.parent / setting).read_text())
    return [root / name / half / "cgroup.procs" for half in ("keeper", "machine") for root in roots]


def processes(name: str) -> list[int]:
    """Ids of all processes of the group."""
    found: set[int] = set()
    for root in hierarchies():
        # Path.rglob fails where a group goes away while it looks; os.walk goes on.
        for folder, _folders, _files in os.walk(root / name):
            with contextlib.suppress(OSError):
                found.update(int(line) for line in Path(folder, "cgroup.procs").read_text().split())
    return sorted(found)


def memory(name: str) -> int:
    """Bytes in use by the group including its files on tmpfs, 0 if unknown."""
    for root in hierarchies():
        for file in (root / name / "memory.usage_in_bytes", root / name / "memory.current"):
            if file.exists():
                return int(file.read_text())
    return 0


def kill(name: str) -> None:
    """SIGKILL every process of the group and wait until none is left."""
    deadline = time.monotonic() + 60
    while pids := processes(name):
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        if time.monotonic() > deadline:
            raise LabError(f"processes of {name} survive SIGKILL: {pids}")
        time.sleep(0.01)


def remove(name: str) -> None:
    for root in hierarchies():
        top = root / name
        if top.is_dir():
            folders = [top, *(path for path in top.rglob("*") if path.is_dir())]
            for folder in sorted(folders, key=lambda path: len(path.parts), reverse=True):
                folder.rmdir()


def named(prefix: str) -> list[str]:
    """Groups whose names start with the prefix."""
    return sorted({path.name for root in hierarchies() for path in root.glob(f"{prefix}*")})
