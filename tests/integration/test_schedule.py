# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The timer that advances a migration, on a host of the lab: when it fires and what is seen of it with a stand-in for
ansible-playbook, which ends at once; and the real one, which moves a service.
"""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ansible
import pytest

from .conftest import ROOT

if TYPE_CHECKING:
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
    """The command says who was called where and how, and does ``then``. No run of the one before writes to its log."""
    script = f"""#!/bin/sh
echo "$(id -un) $PWD $HOME $(nproc >/dev/null && date +%s.%N): $*" >>{LOG}
{then}
"""
    installed = f"[ -e '/etc/systemd/system/{UNIT}.timer' ]"
    lab.ssh(HOST, f"! {installed} || systemctl stop '{UNIT}.timer' '{UNIT}.service'")
    lab.ssh(HOST, f"cat >'{STAND_IN}' <<'END'\n{script}END\nchmod +x '{STAND_IN}'; rm -f {LOG}")
    lab.ssh(HOST, f"! {installed} || systemctl start '{UNIT}.timer'")


def play(lab: Lab, inventory: Path, check: bool = False, **variables: Any) -> Run:
    return lab.playbook(
        "schedule", "local", VARIABLES | variables, check=check, arguments=["--inventory", str(inventory)]
    )


def shown(lab: Lab, unit: str, name: str) -> str:
    return lab.ssh(HOST, f"systemctl show --value --property {name} '{unit}'").strip()


def runs(lab: Lab) -> list[str]:
    return lab.ssh(HOST, f"cat {LOG} 2>/dev/null || true").splitlines()


def wait_for_runs(lab: Lab, count: int) -> list[str]:
    until = time.monotonic() + 90
    while len(runs(lab)) < count and time.monotonic() < until:
        time.sleep(0.3)
    assert len(runs(lab)) >= count
    return runs(lab)


def wait_for_result(lab: Lab, result: str) -> None:
    """For a moment at least: with a run each second the next one soon begins."""
    asked = f"systemctl show --value --property Result '{UNIT}.service'"
    lab.ssh(HOST, f'timeout 90 sh -c "until {asked} | grep -qx {result}; do sleep 0.05; done"', timeout=120)


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
    failed = f"timeout 90 sh -c 'until systemctl --failed | grep -q {UNIT}.service; do sleep 0.05; done'"
    lab.ssh(HOST, failed, timeout=120)
    assert "shop was not moved" in lab.ssh(HOST, f"journalctl --sync; journalctl --no-pager --unit '{UNIT}.service'")


def test_runs_do_not_overlap_and_one_that_hangs_is_ended(lab: Lab, inventory: Path) -> None:
    stand_in(lab, f"sleep 3; echo end >>{LOG}")
    marks = [line.split()[0] for line in wait_for_runs(lab, 5)]
    assert marks[:4] == ["deploy", "end", "deploy", "end"]
    assert play(lab, inventory, schedule_timeout=2).ok().changed == 2
    wait_for_result(lab, "timeout")
    stand_in(lab, f"sleep 30; echo end >>{LOG}")
    assert "end" not in wait_for_runs(lab, 3)


CONTROL = "/home/deploy/shop"
STEPS = {"cutover_steps": [{"share": 50, "hold": 5}, {"share": 100}], "cutover_run_limit": 0}
WRAPPER = "/usr/local/bin/ansible-playbook"


def send(lab: Lab, folder: Path, names: list[str], to: str) -> None:
    """Copy some of a folder of this machine into one of the host's."""
    pack = ["tar", "--directory", str(folder), "--create", "--dereference", "--exclude=__pycache__", "--", *names]
    packed = subprocess.run(pack, check=True, capture_output=True).stdout
    unpack = ["ssh", "-F", str(lab.state / "ssh_config"), HOST, f"mkdir -p {to} && tar -C {to} -xf -"]
    subprocess.run(unpack, input=packed, check=True, timeout=60)


def make_control_node(lab: Lab) -> None:
    """Ansible, the collection, an inventory and keys: what docs/weeks.md says that a control host needs."""
    packages = Path(ansible.__file__).parents[1]
    wanted = ("ansible", "jinja2", "markupsafe", "yaml", "_yaml", "packaging", "resolvelib", "cryptography", "cffi")
    # It looks its own version up, and those of some others.
    found = [one.name for name in ("_cffi_backend*", "*.dist-info") for one in packages.glob(name)]
    send(lab, packages, [*wanted, *found], "/opt/ansible")
    send(lab, ROOT, ["plugins", "roles", "playbooks", "meta"], f"{COLLECTIONS}/ansible_collections/bluegreen/cutover")
    send(lab, ROOT / "inventories/local", ["hosts.yml", "group_vars"], CONTROL)
    # The inventory of the lab looks there for its keys, where nobody says which lab it is.
    keys = "/run/bluegreen-lab/cutover"
    send(lab, lab.state, ["ssh_config", "id_ed25519", "known_hosts"], keys)
    steps = json.dumps(STEPS)
    lab.ssh(
        HOST,
        f"sed -i 's|{lab.state}|{keys}|' {keys}/ssh_config; mkdir -p {CONTROL}/group_vars/cutover_router; "
        f"echo '{steps}' >{CONTROL}/group_vars/cutover_router/steps.json; "
        f"printf '%s\\n' '#!/bin/sh' 'PYTHONPATH=/opt/ansible exec python3 -m ansible playbook \"$@\"' >{WRAPPER}; "
        f"chmod +x {WRAPPER}; chown -R deploy: {keys} {CONTROL}; chmod 700 {keys}",
    )


COLLECTIONS = "/usr/share/ansible/collections"


def test_the_real_one_moves_a_service_on(lab: Lab, inventory: Path) -> None:
    """In the environment that the unit gives it: as that user, without a terminal, in its folder."""
    lab.command("up")
    lab.playbook("router", "local").ok()
    lab.playbook("cutover", "local", STEPS).ok()
    make_control_node(lab)
    real = {"schedule_inventory": CONTROL, "schedule_ansible_playbook": WRAPPER, "schedule_calendar": "*:*:0/5"}
    try:
        play(lab, inventory, **real).ok()
        last: dict[str, Any] = {}
        until = time.monotonic() + 300
        while last.get("kind") != "finished" and time.monotonic() < until:
            time.sleep(1)
            document = json.loads(lab.ssh("router", "cat /var/lib/bluegreen-cutover/shop/journal.json"))
            last = document["migrations"][-1]["events"][-1]
        log = lab.ssh(HOST, f"journalctl --no-pager --unit '{UNIT}.service' | tail -n 60")
        assert last["kind"] == "finished", log
        owner = [one["owner"] for one in document["migrations"][-1]["events"] if one["kind"] == "began"][-1]
        assert (owner["user"], owner["host"], owner["command"]) == ("deploy", HOST, "bluegreen.cutover.advance")
        wait_for_result(lab, "success")
    finally:
        play(lab, inventory).ok()
        lab.playbook("rollback", "local").ok()


def test_r_d10_the_report_has_a_timer_of_its_own(lab: Lab, inventory: Path) -> None:
    stand_in(lab, "exit 0")
    play(lab, inventory, schedule_job="report").ok()
    until = time.monotonic() + 60
    while not any(line.endswith(" bluegreen.cutover.report") for line in runs(lab)) and time.monotonic() < until:
        time.sleep(0.3)
    assert any(line.endswith(" bluegreen.cutover.report") for line in runs(lab))
    assert play(lab, inventory, schedule_job="report", schedule_state="absent").ok().changed == 2
    assert shown(lab, f"{UNIT}.timer", "ActiveState") == "active"


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
