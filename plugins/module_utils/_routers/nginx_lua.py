# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""nginx with Lua: the weight is in shared memory, changed for the next request with no reload, so no idle resets."""

from __future__ import annotations

from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import RouterError
from ansible_collections.bluegreen.cutover.plugins.module_utils._routers import Reading, Service
from ansible_collections.bluegreen.cutover.plugins.module_utils._routers._shared import (
    ask_socket,
    count_ready,
    read_weight,
    replace_file,
)
from ansible_collections.bluegreen.cutover.plugins.module_utils._routers.nginx import ask_weight


class NginxLua:
    """A service behind nginx with ``libnginx-mod-http-lua``.

    ``file`` holds the weight for a restart. ``socket`` is where the weight is told and taken.
    """

    def __init__(self, service: Service, *, file: str, socket: str) -> None:
        self.service = service
        self.file = file
        self.socket = socket

    def read(self) -> Reading:
        """Ask the shared memory for the weight and every instance for its readiness, and read the file."""
        ready, said = count_ready(self.service)
        return Reading(
            weight=ask_weight(self.socket),
            persisted=read_weight(self.file),
            ready=ready,
            in_flight=dict.fromkeys(self.service.instances),
            detail={"instances": said, "file": self.file},
        )

    def apply(self, weight: int) -> list[str]:
        """POST the weight; all workers share the memory, so one answer speaks for all."""
        ask_socket("nginx", self.socket, "POST", f"/weight?set={weight}")
        applied = ask_weight(self.socket)
        if applied != weight:
            raise RouterError(
                f"nginx took the weight {weight} on {self.socket}, yet applies {applied}. "
                "Look for whoever else changes it, then run again",
                {"applied": applied},
            )
        return [f"POST /weight?set={weight} on {self.socket}"]

    def persist(self, weight: int) -> list[str]:
        """Write the file, which a restart loads."""
        replace_file(self.file, f"{weight}\n")
        return [f"write {self.file}"]
