# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""HAProxy: one map entry holds the weight; ``set map`` changes it for the next request, with no reload."""

from __future__ import annotations

import csv
import re
import socket as sockets
from typing import Any

from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import InputError, RouterError
from ansible_collections.bluegreen.cutover.plugins.module_utils._routers import Reading, Service
from ansible_collections.bluegreen.cutover.plugins.module_utils._routers._shared import (
    TIMEOUT,
    read_file,
    replace_file,
    socket_error,
    to_weight,
)

KEY = "weight"
"""The map's only key."""

# A space would start a new argument, ';' or a newline a new command.
_ARGUMENT = re.compile(r"[A-Za-z0-9_./:-]+")


class HAProxy:
    """A service behind HAProxy's runtime API.

    ``socket`` is a stats socket of level admin, ``map`` the map file as the configuration names it, ``backends`` the
    backend of each colour.
    """

    def __init__(
        self,
        service: Service,
        *,
        socket: str,
        map: str,  # noqa: A002 - the option's name in the inventory
        backends: dict[str, str],
    ) -> None:
        self.socket = socket
        self.map = map
        self.backends = backends
        for name in (self.map, *self.backends.values()):
            if not _ARGUMENT.fullmatch(name):
                raise InputError(f"router: {name!r} cannot be given to HAProxy; use letters, digits and _ . / : - only")
        if set(self.backends) != set(service.instances):
            raise InputError(f"router.backends names {sorted(self.backends)}; {sorted(service.instances)} are needed")

    def read(self) -> Reading:
        """Ask the running HAProxy for the map and its servers, and read the map file."""
        ready, in_flight, servers = parse_stat(self._ask("show stat -1 6 -1"), self.backends)
        return Reading(
            weight=self._runtime_weight(),
            persisted=self._on_disk(),
            ready=ready,
            in_flight=dict(in_flight),
            detail={"servers": servers},
        )

    def _on_disk(self) -> int | None:
        """None where the file does not tell; it can be written anew."""
        text = read_file(self.map)
        try:
            return parse_map(text, f"the map file {self.map}")
        except RouterError:
            return None

    def apply(self, weight: int) -> list[str]:
        """``set map``; HAProxy tells errors in the answer, and swallows some, hence the reading back."""
        command = f"set map {self.map} {KEY} {weight}"
        answer = self._ask(command).strip()
        if answer:
            raise RouterError(f"HAProxy refused '{command}': {answer}", {"command": command, "answer": answer})
        applied = self._runtime_weight()
        if applied != weight:
            raise RouterError(
                f"HAProxy took '{command}', yet applies {applied}. See its log on the router host",
                {"command": command, "applied": applied},
            )
        return [command]

    def persist(self, weight: int) -> list[str]:
        """Write the map file, which a reload or a reboot loads."""
        replace_file(self.map, f"{KEY} {weight}\n")
        return [f"write {self.map}"]

    def _runtime_weight(self) -> int:
        answer = self._ask(f"show map {self.map}")
        if answer.startswith("Unknown map identifier"):
            raise RouterError(
                f"HAProxy has not loaded the map {self.map}. "
                "Set the router up with the router role (playbooks/router.yml)",
                {"answer": answer.strip()},
            )
        # A line is '<address> <key> <value>'.
        lines = [line.partition(" ")[2] for line in answer.splitlines()]
        return parse_map("\n".join(lines), f"the map {self.map} in the running HAProxy")

    def _ask(self, command: str) -> str:
        """One command on a connection of its own: HAProxy answers and closes."""
        answer = bytearray()
        try:
            with sockets.socket(sockets.AF_UNIX) as connection:
                connection.settimeout(TIMEOUT)
                connection.connect(self.socket)
                connection.sendall(command.encode() + b"\n")
                while chunk := connection.recv(65536):
                    answer += chunk
        except OSError as error:
            raise socket_error("haproxy", self.socket, error) from error
        text = answer.decode("utf-8", "replace")
        if text.startswith(("Permission denied", "Unknown command")):
            raise RouterError(
                f"HAProxy refused '{command}' on {self.socket}: {text.splitlines()[0]}. "
                "The socket needs 'level admin' in haproxy.cfg",
                {"command": command, "answer": text[:500]},
            )
        return text


def parse_map(text: str, where: str) -> int:
    """The weight in a map's text, lines of ``<key> <value>``; ``RouterError`` where there is not exactly one."""
    lines = (line.split() for line in text.splitlines() if not line.startswith("#"))
    values = [" ".join(words[1:]) for words in lines if words and words[0] == KEY]
    if len(values) != 1:
        found = "no entry" if not values else f"{len(values)} entries"
        raise RouterError(
            f"{where} has {found} '{KEY}'; exactly one is needed. Put one line '{KEY} N' into the map file, N being "
            "green's percentage, and reload HAProxy",
            {"values": values},
        )
    return to_weight(values[0], f"'{KEY}' in {where}")


def parse_stat(text: str, backends: dict[str, str]) -> tuple[dict[str, int], dict[str, int], dict[str, dict[str, str]]]:
    """Per colour: servers that are UP and take requests, requests open or queued, and each server's status."""
    rows = list(csv.DictReader(text.removeprefix("# ").splitlines()))
    ready: dict[str, int] = {}
    in_flight: dict[str, int] = {}
    servers: dict[str, dict[str, str]] = {}
    for colour, backend in backends.items():
        mine: list[dict[str, Any]] = [row for row in rows if row["pxname"] == backend]
        whole = [row for row in mine if row["svname"] == "BACKEND"]
        if not whole:
            known = sorted({row["pxname"] for row in rows})
            raise RouterError(
                f"HAProxy has no backend {backend!r} for {colour}; it has {known}. "
                "Correct cutover_router.backends, or set the router up with playbooks/router.yml",
                {"backend": backend, "known": known},
            )
        single = [row for row in mine if row["svname"] != "BACKEND"]
        # 'UP 2/3' has failed a check and still takes requests; 'no check' always does.
        ready[colour] = sum(row["status"].startswith(("UP", "no check")) and row["weight"] != "0" for row in single)
        in_flight[colour] = int(whole[0]["scur"]) + int(whole[0]["qcur"])
        servers[colour] = {row["svname"]: row["status"] for row in single}
    return ready, in_flight, servers
