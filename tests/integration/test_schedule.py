# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The timer that advances a migration, on a host of the lab, with a stand-in for ansible-playbook."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from .conftest import Lab, Run

HOST = "data"
UNIT = "bluegreen-cutover-advance@shop"
STAND_IN = "/usr/local/bin/stand in"
LOG = "/home/deploy/runs"
VARIABLES = {
    "schedule_user": "deploy",
    "schedule_directory": "/home/deploy",
    "schedule_inventory": "/home/deploy/100% shop",
    "schedule_ansible_playbook": STAND_IN,
    "schedule_calendar": "*:*:*",
}


@pytest.fixture(scope="module")
def inventory(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The service's inventory, with a control host."""
    lab.command("up", HOST)
    lab.ssh(HOST, "id deploy 2>/dev/null || useradd --create-home deploy")
    path = tmp_path_factory.mktemp("schedule") / "control.yml"
    path.write_text(f"cutover_control: {{hosts: {{{HOST}: }}}}\n")
    return path


def stand_in(lab: Lab, then: str) -> None:
    """The command says who was called where and how, and does ``then``."""
    script = f"""#!/bin/sh
echo "$(id -un) $PWD $HOME $(nproc >/dev/null && date +%s.%N): $*" >>{LOG}
{then}
"""
    lab.ssh(HOST, f"cat >'{STAND_IN}' <<'END'\n{script}END\nchmod +x '{STAND_IN}'; rm -f {LOG}")


def play(lab: Lab, inventory: Path, check: bool = False, **variables: Any) -> Run:
    return lab.playbook(
        "schedule", "local", VARIABLES | variables, check=check, arguments=["--inventory", str(inventory)]
    )


def shown(lab: Lab, unit: str, name: str) -> str:
    return lab.ssh(HOST, f"systemctl show --value --property {name} '{unit}'").strip()


def runs(lab: Lab) -> list[str]:
    return lab.ssh(HOST, f"cat {LOG} 2>/dev/null || true").splitlines()


def wait_for_runs(lab: Lab, count: int) -> list[str]:
    until = time.monotonic() + 20
    while len(runs(lab)) < count and time.monotonic() < until:
        time.sleep(0.3)
    assert len(runs(lab)) >= count
    return runs(lab)


def wait_for_result(lab: Lab, result: str) -> None:
    """For a moment at least: with a run each second the next one soon begins."""
    asked = f"systemctl show --value --property Result '{UNIT}.service'"
    lab.ssh(HOST, f'timeout 20 sh -c "until {asked} | grep -qx {result}; do sleep 0.05; done"')


def test_what_is_missing_is_told_before_anything_is_changed(lab: Lab, inventory: Path) -> None:
    run = lab.playbook("schedule", "local", {"schedule_user": "deploy"}, arguments=["--inventory", str(inventory)])
    assert run.rc != 0
    assert "schedule_user, schedule_directory and schedule_inventory are needed" in " ".join(run.stdout.split())
    assert run.changed == 0


def test_check_mode_then_the_timer_fires_as_it_was_told(lab: Lab, inventory: Path) -> None:
    stand_in(lab, "exit 0")
    assert play(lab, inventory, check=True).ok().changed == 1
    assert lab.ssh(HOST, "ls /etc/systemd/system | grep bluegreen || true") == ""
    assert play(lab, inventory).ok().changed == 2
    verified = f"systemd-analyze verify '/etc/systemd/system/{UNIT}.service' '/etc/systemd/system/{UNIT}.timer' 2>&1"
    assert lab.ssh(HOST, verified) == ""
    assert shown(lab, f"{UNIT}.timer", "UnitFileState") == "enabled"
    told = wait_for_runs(lab, 2)[0]
    who, arguments = told.split(": ", 1)
    assert who.split()[:3] == ["deploy", "/home/deploy", "/home/deploy"]
    assert arguments == "--inventory /home/deploy/100% shop bluegreen.cutover.advance"
    wait_for_result(lab, "success")
    assert play(lab, inventory).ok().changed == 0


@pytest.mark.usefixtures("inventory")
def test_a_run_that_fails_is_seen_and_the_timer_goes_on(lab: Lab) -> None:
    stand_in(lab, "echo 'shop was not moved' >&2; exit 2")
    wait_for_runs(lab, 3)
    # Between two runs, of which there is one each second here.
    lab.ssh(HOST, f"timeout 10 sh -c 'until systemctl --failed | grep -q {UNIT}.service; do sleep 0.05; done'")
    assert "shop was not moved" in lab.ssh(HOST, f"journalctl --no-pager --unit '{UNIT}.service'")


def test_runs_do_not_overlap_and_one_that_hangs_is_ended(lab: Lab, inventory: Path) -> None:
    stand_in(lab, f"sleep 3; echo end >>{LOG}")
    marks = [line.split()[0] for line in wait_for_runs(lab, 5)]
    assert marks[:4] == ["deploy", "end", "deploy", "end"]
    assert play(lab, inventory, schedule_timeout=2).ok().changed == 2
    wait_for_result(lab, "timeout")
    stand_in(lab, f"sleep 3; echo end >>{LOG}")
    assert "end" not in wait_for_runs(lab, 3)


def test_gone_without_a_trace(lab: Lab, inventory: Path) -> None:
    stand_in(lab, "exit 2")
    wait_for_runs(lab, 2)
    wait_for_result(lab, "exit-code")
    assert play(lab, inventory, schedule_state="absent").ok().changed == 2
    assert shown(lab, f"{UNIT}.timer", "LoadState") == "not-found"
    assert shown(lab, f"{UNIT}.service", "LoadState") == "not-found"
    assert UNIT not in lab.ssh(HOST, "systemctl --failed")
    assert lab.ssh(HOST, "find /etc/systemd /var/lib/systemd/timers -name '*bluegreen*'") == ""
    assert play(lab, inventory, schedule_state="absent").ok().changed == 0
