# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""systemd units as workloads, by ``systemctl``."""

from __future__ import annotations

import calendar
import re
import shlex
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible_collections.bluegreen.cutover.plugins.module_utils._command import CANNOT_RUN, Run
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import InputError, WorkloadError
from ansible_collections.bluegreen.cutover.plugins.module_utils._workloads import State

#: For what systemd answers from memory, in seconds.
QUICK = 30.0
JOURNAL_LINES = 30

# No glob characters, which `systemctl show` would expand, and nothing that looks like an option.
_UNIT = re.compile(r"[A-Za-z0-9_:.\\][A-Za-z0-9_:.\\@-]*\.service")
_PROPERTIES = (
    "LoadState",
    "ActiveState",
    "SubState",
    "UnitFileState",
    "MainPID",
    "ActiveEnterTimestamp",
    "ExecMainStatus",
    "NRestarts",
    "NeedDaemonReload",
    "FragmentPath",
)
_NOT_LOADED = {
    "not-found": "does not exist on this host. Install its unit file, or correct its name in cutover_colours",
    "masked": "is masked: it can be neither started nor enabled. Run 'systemctl unmask' for it",
    "bad-setting": "has a mistake in its unit file. 'systemd-analyze verify' shows it",
    "error": "cannot be loaded. 'systemctl status' says why",
}


def check_name(unit: str) -> str:
    """Return ``unit`` when it is the whole name of a service unit. Raises InputError."""
    if len(unit) > 255 or not _UNIT.fullmatch(unit):
        raise InputError(f"{unit!r} is not the name of a unit; one like 'shop-blue.service' is needed.")
    return unit


def _number(text: str) -> int | None:
    # systemd writes "[not set]" where it has no number.
    return int(text) if text.isdigit() else None


def _seconds(text: str) -> int | None:
    try:
        return calendar.timegm(time.strptime(text, "%a %Y-%m-%d %H:%M:%S UTC"))
    except ValueError:
        return None


def parse(text: str) -> list[dict[str, str]]:
    """Read the answer of ``systemctl show``: one mapping of properties per unit, in the order asked for."""
    blocks = (block for block in text.split("\n\n") if block.strip())
    return [dict(line.split("=", 1) for line in block.splitlines() if "=" in line) for block in blocks]


def to_state(properties: Mapping[str, str]) -> State:
    """Make a State of one unit's properties."""
    active = properties["ActiveState"]
    sub = properties["SubState"]
    return State(
        state=f"{active} ({sub})",
        running=active in ("active", "reloading"),
        # "activating (auto-restart)" has no process either, and will have one in a moment.
        stopped=active in ("inactive", "failed"),
        # enabled-runtime is forgotten by a reboot.
        enabled=properties["UnitFileState"] == "enabled",
        pid=_number(properties.get("MainPID", "")) or None,
        since=_seconds(properties.get("ActiveEnterTimestamp", "")) if active in ("active", "reloading") else None,
        restarts=_number(properties.get("NRestarts", "")) or 0,
        exit_status=_number(properties.get("ExecMainStatus", "")),
    )


def handles(process_status: str, signal_name: str) -> bool:
    """Say whether the process of this ``/proc/<pid>/status`` catches the signal, rather than dying of it."""
    found = re.search(r"^SigCgt:\s*([0-9a-fA-F]+)$", process_status, re.MULTILINE)
    return bool(found and int(found.group(1), 16) >> (signal.Signals[signal_name] - 1) & 1)


def _ran(run: Run, argv: Sequence[str], seconds: float) -> str:
    status, out, err = run(argv, seconds)
    if status:
        said = (err or out).strip()
        if status == CANNOT_RUN:
            said += "; is this host run by systemd?"
        raise WorkloadError(f"{shlex.join(argv)} failed with status {status}: {said}", {"stderr": err, "stdout": out})
    return out


def _show(run: Run, units: Sequence[str]) -> list[dict[str, str]]:
    if not units:
        return []
    argv = ["systemctl", "show", "--property=" + ",".join(_PROPERTIES), "--", *map(check_name, units)]
    out = _ran(run, argv, QUICK)
    found = parse(out)
    if len(found) != len(units) or not all("ActiveState" in properties for properties in found):
        raise WorkloadError(f"systemctl told of {len(found)} units when asked for {len(units)}.", {"stdout": out})
    return found


def read_units(run: Run, units: Sequence[str]) -> list[State]:
    """Read many units in one call, in their order; a unit that does not exist is "inactive" and not enabled."""
    return [to_state(properties) for properties in _show(run, units)]


class SystemdUnit:
    """One service unit; see ``Workload``."""

    def __init__(self, unit: str, run: Run, check_mode: bool = False) -> None:
        self.name = check_name(unit)
        self.commands: list[str] = []
        self._run = run
        self._check_mode = check_mode
        self._properties: dict[str, str] = {}

    def read(self) -> State:
        self._properties = _show(self._run, [self.name])[0]
        load = self._properties["LoadState"]
        if load != "loaded":
            raise WorkloadError(f"{self.name} {_NOT_LOADED.get(load, f'is {load}')}.", {"properties": self._properties})
        return to_state(self._properties)

    @property
    def check_mode(self) -> bool:
        return self._check_mode

    def fragment(self, units: Path) -> tuple[Path | None, str]:
        """Its file, None where there is none any more; and why it may not be removed, empty where it may."""
        self._properties = _show(self._run, [self.name])[0]
        if self._properties["LoadState"] == "not-found":
            return None, ""
        path, state = Path(self._properties.get("FragmentPath") or "/"), to_state(self._properties)
        problem = ""
        if path.name != self.name:
            problem = f"{path} is not its own file, others may need it. Use cutover_finalize.remove: nothing"
        elif path.parent != units:
            problem = f"{path} is not in {units}; remove the package that it belongs to"
        elif not state.stopped or state.enabled:
            problem = f"it is {state.state}{', and enabled' if state.enabled else ''}. Stop and disable it first"
        return path, problem

    def reload(self) -> None:
        """Have systemd read its files again."""
        self._change(["systemctl", "daemon-reload"], QUICK)

    def start(self, timeout: float) -> None:
        # What is not running is started as the operator has written it, not as systemd remembers it. `enable` and
        # `disable` reload all the same, so refusing would only move the moment.
        if self._properties.get("NeedDaemonReload") == "yes":
            self.reload()
        # Otherwise the failures of an earlier run may use up StartLimitBurst.
        if self._properties.get("ActiveState") == "failed":
            self._change(["systemctl", "reset-failed", "--", self.name], QUICK)
        self._change(["systemctl", "start", "--", self.name], timeout)

    def stop(self) -> None:
        self._change(["systemctl", "stop", "--no-block", "--", self.name], QUICK)

    def enable(self) -> None:
        if self._properties.get("UnitFileState") in ("static", "generated", "transient", "indirect", "alias"):
            raise WorkloadError(
                f"{self.name} cannot be enabled (it is {self._properties['UnitFileState']}), so a reboot would not "
                "start it. Give its unit file an [Install] section with WantedBy=multi-user.target."
            )
        self._change(["systemctl", "enable", "--", self.name], QUICK)

    def disable(self) -> None:
        self._change(["systemctl", "disable", "--", self.name], QUICK)

    def signal(self, name: str) -> None:
        pid = self._properties.get("MainPID", "0")
        try:
            status = Path("/proc", pid, "status").read_text(encoding="utf-8", errors="replace")
        except OSError as error:
            raise WorkloadError(f"{self.name} has no main process to send {name} to (MainPID={pid}).") from error
        if not handles(status, name):
            raise WorkloadError(
                f"{self.name} (pid {pid}) does not handle {name}: the signal would kill it. Teach the service to "
                "handle it, or take the signal out of cutover_drain."
            )
        self._change(["systemctl", "kill", "--kill-who=main", f"--signal={name}", "--", self.name], QUICK)

    def evidence(self) -> dict[str, Any]:
        _status, shown, err = self._run(["systemctl", "status", "--no-pager", "--full", "--lines=0", self.name], QUICK)
        lines = ["journalctl", "--no-pager", "--quiet", f"--lines={JOURNAL_LINES}", "--output=short-iso"]
        _status, journal, _err = self._run([*lines, f"--unit={self.name}"], QUICK)
        return {
            "unit": self.name,
            "status": (shown or err).splitlines(),
            "journal": journal.splitlines(),
            "properties": self._properties,
        }

    def _change(self, argv: Sequence[str], seconds: float) -> None:
        self.commands.append(shlex.join(argv))
        if not self._check_mode:
            _ran(self._run, argv, seconds)
