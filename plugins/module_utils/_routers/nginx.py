# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""nginx: an include holds the weight; it is tested, and a graceful reload applies it."""

from __future__ import annotations

import time
from pathlib import Path

from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import RouterError
from ansible_collections.bluegreen.cutover.plugins.module_utils._routers import Reading, Service
from ansible_collections.bluegreen.cutover.plugins.module_utils._routers._shared import (
    ask_socket,
    count_ready,
    read_file,
    replace_file,
    run_program,
    to_weight,
)

_RELOAD_TIMEOUT = 20.0
_POLL = 0.01
_PID_FILE = "/run/nginx.pid"


class Nginx:
    """A service behind nginx.

    ``conf`` is the include, in the context http. ``socket`` is where the running workers tell the weight they apply.
    """

    def __init__(self, service: Service, *, conf: str, socket: str) -> None:
        self.service = service
        self.conf = conf
        self.socket = socket

    def read(self) -> Reading:
        """Ask a worker for its weight and every instance for its readiness, and read the include."""
        ready, said = count_ready(self.service)
        text = read_file(self.conf)
        return Reading(
            weight=ask_weight(self.socket),
            # Only what we write ourselves is understood: anything else was edited by hand.
            persisted=next(
                (weight for weight in range(101) if render_include(self.service.name, weight) == text), None
            ),
            ready=ready,
            in_flight=dict.fromkeys(self.service.instances),
            detail={"instances": said, "file": self.conf},
        )

    def apply(self, weight: int) -> list[str]:
        """Write the include, test the configuration, reload, and wait until every worker that accepts is a new one.

        nginx has no other way in than its files, so here the disk goes first. It is put back when the test or the
        reload fails, so that nobody's later reload applies what was refused.
        """
        former = read_file(self.conf)
        replace_file(self.conf, render_include(self.service.name, weight))
        try:
            run_program(["nginx", "-t", "-q"])
            old = accepting_workers()
            run_program(["nginx", "-s", "reload"])
            self._wait_reloaded(weight, old)
        except RouterError:
            replace_file(self.conf, former)
            raise
        return [f"write {self.conf}", "nginx -t -q", "nginx -s reload"]

    def persist(self, weight: int) -> list[str]:
        """Write the include where it does not hold ``weight`` already, as it does after ``apply``."""
        text = render_include(self.service.name, weight)
        if read_file(self.conf) == text:
            return []
        replace_file(self.conf, text)
        return [f"write {self.conf}"]

    def _wait_reloaded(self, weight: int, old: set[int]) -> None:
        deadline = time.monotonic() + _RELOAD_TIMEOUT
        while True:
            accepting = accepting_workers()
            if accepting and not accepting & old and ask_weight(self.socket) == weight:
                return
            if time.monotonic() >= deadline:
                raise RouterError(
                    f"nginx took the reload, yet after {_RELOAD_TIMEOUT:.0f} s workers {sorted(accepting & old)} still "
                    "serve the former configuration. See nginx's error log on the router host",
                    {"accepting": sorted(accepting), "old": sorted(old)},
                )
            time.sleep(_POLL)


def ask_weight(socket: str) -> int:
    """The weight that a running worker applies."""
    return to_weight(ask_socket("nginx", socket, "GET", "/weight").strip(), f"the weight that nginx tells on {socket}")


def render_include(name: str, weight: int) -> str:
    """The include: the weight as a constant, and the colour of a request by it."""
    # nginx allows no '-' in the name of a variable.
    prefix = "$cutover_" + name.replace("-", "_")
    if weight in (0, 100):
        colour = f"map $host {prefix}_colour {{ default {'green' if weight else 'blue'}; }}\n"
    else:
        colour = f"split_clients {prefix}_key {prefix}_colour {{ {weight}% green; * blue; }}\n"
    return f"map $host {prefix}_weight {{ default {weight}; }}\n{colour}"


def accepting_workers(pid_file: str = _PID_FILE, proc: str = "/proc") -> set[int]:
    """The master's workers that take new connections; one that was told to end says so in its title."""
    try:
        master = int(Path(pid_file).read_text(encoding="ascii"))
        children = Path(proc, str(master), "task", str(master), "children").read_text(encoding="ascii").split()
    except (OSError, ValueError) as error:
        raise RouterError(
            f"nginx does not run ({error}). Start it (systemctl start nginx) and run again", {"pid_file": pid_file}
        ) from error
    return {int(pid) for pid in children if _title(Path(proc, pid, "cmdline")) == "nginx: worker process"}


def _title(path: Path) -> str:
    try:
        return path.read_bytes().rstrip(b"\0 ").decode("utf-8", "replace")
    except OSError:
        # It has ended between the two looks.
        return ""
