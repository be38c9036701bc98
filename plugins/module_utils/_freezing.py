# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Holding writers on this host for a while: remembered first, and let go by a timer of systemd when nobody does it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible_collections.bluegreen.cutover.plugins.module_utils import _guard_service, _guarding
from ansible_collections.bluegreen.cutover.plugins.module_utils._command import Run
from ansible_collections.bluegreen.cutover.plugins.module_utils._command import run as run_command
from ansible_collections.bluegreen.cutover.plugins.module_utils._core import freeze
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import (
    CutoverError,
    FencedError,
    FreezeError,
    StoreError,
)
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.guard import Moment
from ansible_collections.bluegreen.cutover.plugins.module_utils._guard_service import UNITS
from ansible_collections.bluegreen.cutover.plugins.module_utils._stores.files import FileStore
from ansible_collections.bluegreen.cutover.plugins.module_utils._workloads.systemd import QUICK
from ansible_collections.bluegreen.cutover.plugins.module_utils._writers import Writers
from ansible_collections.bluegreen.cutover.plugins.module_utils._writers.pgbouncer import PgBouncer
from ansible_collections.bluegreen.cutover.plugins.module_utils._writers.read_only import ReadOnly

PROVIDERS: dict[str, Callable[[Mapping[str, Any]], Writers]] = {"pgbouncer": PgBouncer, "read_only": ReadOnly}
"""In the order in which they are held; they are let go in the other one."""

NOT_YET = 75
"""Exit status of the program that lets go, when it is too early: systemd tries again (EX_TEMPFAIL of sysexits.h)."""

_SERVICE = """\
# Written by bluegreen.cutover, which removes it again.
[Unit]
Description=Writers of {service}: let go when the run that holds them does not do it
After=network.target postgresql.service pgbouncer.service
RequiresMountsFor="{folder}"
StartLimitIntervalSec=0

[Service]
Type=oneshot
ExecStart={program}
Restart=on-failure
RestartSec=1s
TimeoutStartSec=60s
"""

# Enabled, so that a host that is started anew lets go what it still holds.
_TIMER = """\
# Written by bluegreen.cutover, which removes it again.
[Unit]
Description=Time of the writers of {service}

[Timer]
OnActiveSec={seconds:.3f}s
AccuracySec=20ms

[Install]
WantedBy=timers.target
"""


def unit_names(service: str) -> tuple[str, str]:
    """The timer, and the service that it starts."""
    return f"bluegreen-thaw-{service}.timer", f"bluegreen-thaw-{service}.service"


class Freezer:
    """Holds and lets go the writers of one service on this host."""

    def __init__(
        self,
        store: FileStore,
        *,
        moment: Callable[[], Moment] = _guarding.moment,
        run: Run = run_command,
        units: str = UNITS,
        providers: Mapping[str, Callable[[Mapping[str, Any]], Writers]] | None = None,
    ) -> None:
        self.store = store
        self.moment = moment
        self.run = run
        self.units = units
        self.providers = providers or PROVIDERS

    def freeze(
        self,
        token: int | None,
        given: Mapping[str, Mapping[str, Any]],
        *,
        wait: float,
        limit: float,
        check_mode: bool = False,
    ) -> dict[str, Any]:
        """Hold the writers that ``given`` has options for, by provider; what was seen of each.

        Raises ``FreezeError`` and holds nobody where one of them cannot be held. What an earlier run left is let go
        first. For a run that holds them already nothing is done.
        """
        writers = [make(given[name]) for name, make in self.providers.items() if name in given]
        current = self.store.read_freeze()
        if check_mode or token is None:
            if current is None or current["ended"]:
                self._check(writers, wait + limit)
            return {"changed": True, "seen": {}}
        if current is not None and current["token"] == token:
            if current["ended"]:
                raise FreezeError(current["ended"])
            return {"changed": False, "seen": {}}
        with self.store.locked():
            self.store.fence(token, self.moment().wall)
            if current is not None:
                self._let_go(current)
        memories = self._check(writers, wait + limit)
        kept = [
            {"name": one.name, "options": dict(given[one.name]), "memory": memory}
            for one, memory in zip(writers, memories)
        ]
        with self.store.locked():
            self.store.fence(token, self.moment().wall)
            hold = freeze.begin(self.store.service, token, kept, wait=wait, limit=limit, now=self.moment())
            self.store.write_freeze(hold)
        try:
            self._start(wait + limit)
            with self.store.locked():
                self._must_be_ours(token)
                # What came before kept nobody waiting.
                hold = freeze.beginning(hold, self.moment())
                self.store.write_freeze(hold)
            seen = {}
            for one, memory in zip(writers, memories):
                self._must_be_ours(token)
                seen[one.name] = one.hold(memory, wait)
            self._must_be_ours(token)
        except BaseException:
            # Whatever ends this: nobody waits for a run that is not there any more.
            with self.store.locked():
                now = self.store.read_freeze()
                # Another run may hold them by now, which waits for nobody's end but its own.
                if now is None or now["token"] == token:
                    self._let_go(hold)
            raise
        return {"changed": True, "seen": seen}

    def thaw(self, token: int | None, check_mode: bool = False) -> dict[str, Any]:
        """Let them go: how long they were held, and what each provider tells.

        Raises ``FreezeError`` where the run with ``token`` held them, and they were let go before by somebody else.
        Without a token whoever holds them is not asked, but told as soon as it comes to let them go itself.
        """
        if check_mode:
            hold = self.store.read_freeze()
            changed = hold is not None and (token is not None or not hold["ended"])
            return {"changed": changed, "held": 0.0, "told": {}}
        with self.store.locked():
            hold = self.store.read_freeze()
            if token is not None:
                self.store.fence(token, self.moment().wall)
            # One that has ended stays for its run, which may still be at work.
            if hold is None or (token is None and hold["ended"]):
                return {"changed": False, "held": 0.0, "told": {}}
            released = self._let_go(hold, by_hand=token is None)
        told = {name: told for name, (_lasted, _at, told) in released.items()}
        held = max((freeze.held_for(hold, at) for _lasted, at, _told in released.values()), default=0.0)
        ours = hold["token"] == token
        gone = [name for name, (lasted, _at, _told) in released.items() if not lasted]
        if ours and hold["ended"]:
            raise FreezeError(f"{hold['ended']}. What was done meanwhile may have met writes", {"hold": hold})
        if ours and gone:
            raise FreezeError(
                f"the writers of {self.store.service} were let go by somebody else while this run held them "
                f"({', '.join(gone)}). What was done meanwhile may have met writes",
                {"hold": hold, "told": told},
            )
        return {"changed": True, "held": round(held, 3), "told": told}

    def expire(self) -> int:
        """Let them go because their time is over; an exit status, 0 when nobody is held any more."""
        with self.store.locked():
            hold = self.store.read_freeze()
            if hold is not None and not hold["ended"]:
                if not freeze.is_due(hold, self.moment()):
                    return NOT_YET
                self._release(hold)
                ended = freeze.end(hold, self.moment())
                self.store.write_freeze(ended)
                _tell(ended["ended"])
            self._remove()
        return 0

    @staticmethod
    def _check(writers: Sequence[Writers], seconds: float) -> list[dict[str, Any]]:
        return [one.check(seconds) for one in writers]

    def _must_be_ours(self, token: int) -> None:
        """A run that slept through its own time must hold nobody: the timer has come and gone."""
        hold = self.store.read_freeze()
        if hold is None or hold["token"] != token:
            raise FencedError(
                f"another run has let the writers of {self.store.service} go meanwhile; nothing is held. See status.yml"
            )
        if hold["ended"]:
            raise FreezeError(f"{hold['ended']}; nothing is held. See who did that, and run again")
        if freeze.is_due(hold, self.moment()):
            raise FreezeError(
                f"the time to hold the writers of {self.store.service} was over before all of them were held; nothing "
                "is held. See what keeps this host busy, and run again"
            )

    def _release(self, hold: Mapping[str, Any]) -> dict[str, tuple[bool, Moment, dict[str, Any]]]:
        """Each of them, whatever becomes of the others: by name whether it lasted, until when, and what it tells."""
        released, problems = {}, []
        for one in reversed(hold["writers"]):
            try:
                done = self.providers[one["name"]](one["options"]).release(one["memory"])
                released[one["name"]] = (done.lasted, self.moment(), done.told)
            except FreezeError as error:
                problems.append(f"{one['name']}: {error.message}")
        if problems:
            timer, _service = unit_names(self.store.service)
            raise FreezeError(
                f"writers of {self.store.service} may still be held: {'; '.join(problems)}. {timer} lets them go when "
                "their time is over, and tries it each second from then on; thaw.yml tries it at once"
            )
        return released

    def _let_go(
        self, hold: Mapping[str, Any], *, by_hand: bool = False
    ) -> dict[str, tuple[bool, Moment, dict[str, Any]]]:
        released = {} if hold["ended"] else self._release(hold)
        self.store.write_freeze(freeze.end(hold, self.moment(), by_hand=True) if by_hand else None)
        self._remove()
        return released

    def _install(self, seconds: float) -> None:
        words = {
            "service": self.store.service,
            "folder": _guard_service.escaped(self.store.folder),
            "program": " ".join(f'"{_guard_service.escaped(word)}"' for word in self._command()),
            "seconds": seconds,
        }
        timer, service = unit_names(self.store.service)
        _guard_service.write_file(self.store.folder / "thaw.pyz", _guard_service.program(main))
        _guard_service.write_file(Path(self.units, service), _SERVICE.format(**words).encode())
        _guard_service.write_file(Path(self.units, timer), _TIMER.format(**words).encode())

    def _start(self, seconds: float) -> None:
        """Start the timer, and see that the program which it will start works."""
        with self.store.locked():
            self._install(seconds)
        timer, _service = unit_names(self.store.service)
        for argv, good in (
            (["systemctl", "enable", "--quiet", timer], 0),
            (["systemctl", "restart", timer], 0),
            (self._command(), NOT_YET),
        ):
            status, out, err = self.run(argv, QUICK)
            if status != good:
                raise FreezeError(
                    f"'{' '.join(argv)}' ended with status {status}: {(err or out).strip()}. Nobody is held without a "
                    "timer that lets them go; put that right on this host, and run again"
                )

    def _command(self) -> list[str]:
        folder = self.store.folder
        return [sys.executable, "-I", str(folder / "thaw.pyz"), str(folder.parent), self.store.service]

    def _remove(self) -> None:
        timer, service = unit_names(self.store.service)
        paths = [Path(self.units, name) for name in (f"timers.target.wants/{timer}", timer, service)]
        if not any(path.is_symlink() or path.exists() for path in paths):
            return
        self.run(["systemctl", "stop", timer], QUICK)
        for path in [*paths, self.store.folder / "thaw.pyz"]:
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise StoreError(f"{path} cannot be removed: {error.strerror}. Remove it by hand") from error
        self.run(["systemctl", "daemon-reload"], QUICK)


def _tell(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def main(arguments: Sequence[str]) -> int:
    """``STATE_DIR SERVICE``, as the unit starts it."""
    state_dir, service = arguments
    try:
        return Freezer(FileStore(state_dir, service)).expire()
    except CutoverError as error:
        _tell(error.message)
        return 1
