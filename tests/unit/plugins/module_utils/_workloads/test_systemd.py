# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""systemd units: what systemctl says, and what it is told."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from typing import Any

import pytest
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import InputError, WorkloadError
from ansible_collections.bluegreen.cutover.plugins.module_utils._workloads import systemd
from ansible_collections.bluegreen.cutover.plugins.module_utils._workloads.systemd import SystemdUnit

RUNNING = {
    "MainPID": "71",
    "NRestarts": "0",
    "ExecMainStatus": "0",
    "LoadState": "loaded",
    "ActiveState": "active",
    "SubState": "running",
    "UnitFileState": "enabled",
    "NeedDaemonReload": "no",
    "ActiveEnterTimestamp": "Sat 2026-11-21 09:16:32 UTC",
}
STOPPED = {
    **RUNNING,
    "MainPID": "0",
    "ActiveState": "inactive",
    "SubState": "dead",
    "UnitFileState": "disabled",
    "ActiveEnterTimestamp": "",
}


def shown(*units: dict[str, str]) -> str:
    return "\n".join("".join(f"{key}={value}\n" for key, value in unit.items()) for unit in units)


class Systemctl:
    """Answers ``show`` with ``units``, and every other command with ``answer``; keeps the commands."""

    def __init__(self, *units: dict[str, str]) -> None:
        self.units = units
        self.answer = (0, "", "")
        self.asked: list[list[str]] = []
        self.longest = 0.0

    def __call__(self, argv: Sequence[str], seconds: float) -> tuple[int, str, str]:
        self.asked.append(list(argv))
        self.longest = max(self.longest, seconds)
        return (0, shown(*self.units), "") if argv[1] == "show" else self.answer


def unit(*properties: dict[str, str], check_mode: bool = False) -> tuple[SystemdUnit, Systemctl]:
    systemctl = Systemctl(*properties)
    made = SystemdUnit("shop-green.service", systemctl, check_mode)
    made.read()
    systemctl.asked.clear()
    return made, systemctl


def test_a_running_unit_is_read() -> None:
    (state,) = systemd.read_units(Systemctl(RUNNING), ["shop-green.service"])
    assert (state.state, state.running, state.stopped, state.enabled) == ("active (running)", True, False, True)
    assert (state.pid, state.since, state.restarts, state.exit_status) == (71, 1795252592, 0, 0)


@pytest.mark.parametrize(
    ("changes", "running", "stopped", "enabled"),
    [
        ({"ActiveState": "reloading"}, True, False, True),
        ({"ActiveState": "activating", "SubState": "auto-restart"}, False, False, True),
        ({"ActiveState": "deactivating"}, False, False, True),
        ({"ActiveState": "failed"}, False, True, True),
        ({"ActiveState": "inactive", "UnitFileState": "static"}, False, True, False),
        ({"UnitFileState": "enabled-runtime"}, True, False, False),
        ({"UnitFileState": ""}, True, False, False),
    ],
)
def test_running_stopped_and_enabled(changes: dict[str, str], running: bool, stopped: bool, enabled: bool) -> None:
    state = systemd.to_state({**RUNNING, **changes})
    assert (state.running, state.stopped, state.enabled) == (running, stopped, enabled)


def test_numbers_that_are_not_set_are_none() -> None:
    state = systemd.to_state({**STOPPED, "ExecMainStatus": "[not set]"})
    assert (state.pid, state.since, state.exit_status) == (None, None, None)


def test_many_units_take_one_call() -> None:
    systemctl = Systemctl(RUNNING, STOPPED)
    states = systemd.read_units(systemctl, ["shop-green.service", "shop-blue.service"])
    assert [state.running for state in states] == [True, False]
    assert len(systemctl.asked) == 1
    assert systemctl.asked[0][-3:] == ["--", "shop-green.service", "shop-blue.service"]
    assert systemd.read_units(systemctl, []) == []


def test_an_answer_about_fewer_units_is_refused() -> None:
    with pytest.raises(WorkloadError, match="told of 1 units when asked for 2"):
        systemd.read_units(Systemctl(RUNNING), ["a.service", "b.service"])


@pytest.mark.parametrize(
    "name",
    [
        "shop-blue",
        "-x.service",
        "--now.service",
        "*.service",
        "a b.service",
        "a;reboot.service",
        "a/b.service",
        "$(x).service",
        "a.service\n",
        ".service",
        "x" * 250 + ".service",
        "shop.timer",
        "@.service",
    ],
)
def test_a_hostile_name_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="is not the name of a unit"):
        SystemdUnit(name, Systemctl())


@pytest.mark.parametrize("name", ["shop-blue.service", "shop@1.service", "a_b:c.d\\x2d.service"])
def test_names_that_systemd_allows_are_taken(name: str) -> None:
    assert systemd.check_name(name) == name


@pytest.mark.parametrize(
    ("load", "said"),
    [("not-found", "does not exist on this host"), ("masked", "systemctl unmask"), ("merged", "is merged")],
)
def test_a_unit_that_cannot_run_is_refused(load: str, said: str) -> None:
    with pytest.raises(WorkloadError, match=said) as caught:
        SystemdUnit("shop-green.service", Systemctl({**STOPPED, "LoadState": load})).read()
    assert caught.value.evidence["properties"]["LoadState"] == load


@pytest.mark.parametrize(
    ("changes", "commands"),
    [
        ({}, ["start"]),
        ({"NeedDaemonReload": "yes"}, ["daemon-reload", "start"]),
        ({"ActiveState": "failed"}, ["reset-failed", "start"]),
    ],
)
def test_it_is_started_as_it_is_on_disk(changes: dict[str, str], commands: list[str]) -> None:
    green, systemctl = unit({**STOPPED, **changes})
    green.start(60)
    assert [argv[1] for argv in systemctl.asked] == commands
    assert systemctl.longest == 60
    assert green.commands[-1] == "systemctl start -- shop-green.service"


def test_check_mode_runs_nothing_and_tells_the_same_commands() -> None:
    green, systemctl = unit({**STOPPED, "NeedDaemonReload": "yes"}, check_mode=True)
    green.start(60)
    green.enable()
    green.stop()
    green.disable()
    assert systemctl.asked == []
    assert [command.split()[1] for command in green.commands] == ["daemon-reload", "start", "enable", "stop", "disable"]


def test_a_unit_without_install_section_is_refused() -> None:
    green, systemctl = unit({**RUNNING, "UnitFileState": "static"})
    with pytest.raises(WorkloadError, match=r"\[Install\]"):
        green.enable()
    assert systemctl.asked == []


def test_a_command_that_fails_is_told_with_its_words() -> None:
    green, systemctl = unit(RUNNING)
    systemctl.answer = (1, "", "Unit is busy\n")
    with pytest.raises(
        WorkloadError, match=r"systemctl stop --no-block -- shop-green\.service failed with status 1: Unit is busy"
    ):
        green.stop()


STATUS = "Name:\tpython3\nSigIgn:\t0000000000001000\nSigCgt:\t{:016x}\n"


@pytest.mark.parametrize(("caught", "handled"), [(signal.SIGUSR1, True), (signal.SIGUSR2, False)])
def test_only_a_caught_signal_is_handled(caught: int, handled: bool) -> None:
    assert systemd.handles(STATUS.format(1 << (caught - 1)), "SIGUSR1") is handled
    assert not systemd.handles("Name:\tkthreadd\n", "SIGUSR1")


def test_a_signal_is_sent_only_to_who_handles_it() -> None:
    green, systemctl = unit({**RUNNING, "MainPID": str(os.getpid())})
    before = signal.signal(signal.SIGUSR1, lambda *_: None)
    try:
        green.signal("SIGUSR1")
        assert systemctl.asked == [
            ["systemctl", "kill", "--kill-who=main", "--signal=SIGUSR1", "--", "shop-green.service"]
        ]
        with pytest.raises(WorkloadError, match="does not handle SIGUSR2: the signal would kill it"):
            green.signal("SIGUSR2")
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert len(systemctl.asked) == 1


def test_a_unit_without_main_process_gets_no_signal() -> None:
    green, _systemctl = unit(STOPPED)
    with pytest.raises(WorkloadError, match=r"no main process to send SIGUSR1 to \(MainPID=0\)"):
        green.signal("SIGUSR1")


def test_evidence_never_raises() -> None:
    green, systemctl = unit(RUNNING)
    systemctl.answer = (3, "", "no journal")
    found: dict[str, Any] = green.evidence()
    assert (found["unit"], found["status"], found["journal"]) == ("shop-green.service", ["no journal"], [])
    assert any("--lines=30" in argv for argv in systemctl.asked)


def test_a_host_without_systemd_is_told_of() -> None:
    with pytest.raises(WorkloadError, match=r"is this host run by systemd\?"):
        systemd.read_units(lambda _argv, _seconds: (127, "", "No such file"), ["shop-blue.service"])
