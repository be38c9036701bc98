# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The guard as runs see it: renewed, confirmed, disarmed and described, all in the service's store."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from ansible_collections.bluegreen.cutover.plugins.module_utils._core import guard
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.guard import Moment
from ansible_collections.bluegreen.cutover.plugins.module_utils._stores.files import FileStore

RUNTIME = "/run/bluegreen-guard-{service}"
"""Made by systemd for the guard's process, and gone with it: who finds it there knows that this boot has seen it."""

DEAD = 15.0
"""Seconds since the process was last heard of, after which it is told to be dead. It asks a router in between."""


class Wall(Protocol):
    """A clock that people read."""

    def time(self) -> float: ...


@runtime_checkable
class Elsewhere(Protocol):
    """What a store has, too, whose guard is not on this host: a clock that both know, and a way to be told.

    ``guard_place`` is what shows the guard's process to people.
    """

    guard_place: str

    def moment(self) -> Moment: ...

    def heard(self) -> dict[str, Any] | None: ...


def moment_of(store: FileStore) -> Moment:
    """Now, by the clock that the guard of ``store`` goes by."""
    return store.moment() if isinstance(store, Elsewhere) else moment()


def moment() -> Moment:
    """Now, on this host."""
    boot_id = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return Moment(time.clock_gettime(time.CLOCK_BOOTTIME), boot_id, time.time())


def settle(store: FileStore, token: int, weight: int, clock: Wall) -> None:
    """Disarm a guard that is there to set ``weight``, which the run with ``token`` has just done itself."""
    if guard.is_settled(store.read_guard(), token, weight):
        disarm(store, token, clock.time())


def confirm(store: FileStore, token: int, now: float) -> bool:
    """Only the triggers stay armed, where there are any; whether that changed something. ``now`` in unix seconds."""
    with store.locked():
        current = store.read_guard()
        # Before the fence: a guard that fires tells more than a token does.
        left = guard.confirm(current, token)
        store.fence(token, now)
        if left != current:
            store.write_guard(left)
        return left != current


def disarm(store: FileStore, token: int, now: float) -> bool:
    """Nothing stays armed; whether that changed something. Raises ``FencedError`` where the guard was faster."""
    with store.locked():
        current = store.read_guard()
        guard.disarm(current, token)
        store.fence(token, now)
        store.write_guard(None)
        return current is not None


def describe(store: FileStore, document: Mapping[str, Any], problems: list[str]) -> dict[str, Any]:
    """What status tells of a guard; ``problems`` gets what is wrong with it."""
    now = moment_of(store)
    if isinstance(store, Elsewhere):
        seen, place = store.heard(), store.guard_place
    else:
        seen, place = heard(store.service), f"systemctl status {unit_names(store.service)[0]}"
    alive = seen is not None and now.boottime - seen["at"] < DEAD
    if not alive:
        problems.append(f"a guard is {document['state']}, and its process is not there; see '{place}'")
    return {
        "state": document["state"],
        "back_to": document["target"]["back_to"],
        "time": document["time"],
        "left": guard.left(document, now),
        "deadline_at": document["deadline_at"],
        "cause": document["cause"],
        "triggers": [one["name"] for one in document["triggers"]],
        "alive": alive,
        "problem": seen["problem"] if seen is not None else "",
    }


def unit_names(service: str) -> tuple[str, str]:
    """The unit that runs, and the one for a boot."""
    return f"bluegreen-guard-{service}.service", f"bluegreen-guard-{service}-boot.service"


def heard(service: str) -> dict[str, Any] | None:
    """What the guard's process told last: ``token`` and ``generation`` that it has seen, ``at`` in seconds since boot,
    and its ``problem``; None while it does not run.
    """
    try:
        told: dict[str, Any] = json.loads(
            Path(RUNTIME.format(service=service), "seen.json").read_text(encoding="utf-8")
        )
    except (OSError, ValueError):
        return None
    return told
