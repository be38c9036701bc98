# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab itself: it can be started twice, broken, rebooted, and it leaves nothing behind."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.bluegreen.cutover.lab import load

ROOT = Path(__file__).resolve().parents[2]
NAME = f"test-lab-{os.getpid()}"


def lab(*arguments: str, name: str = NAME, status: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, str(ROOT / "lab/lab.py"), *arguments],
        env=os.environ | {"LAB_NAME": name},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


def facts(name: str = NAME) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(Path(f"/run/bluegreen-lab/{name}/lab.json").read_text())
    return document


def address(host: str) -> str:
    found: str = facts()["hosts"][host]["address"]
    return found


def traces(name: str) -> list[str]:
    """Whatever on this machine bears the lab's name."""
    # Groups of other labs go away meanwhile, at which os.walk goes on.
    groups = (Path(folder, one) for folder, folders, _files in os.walk("/sys/fs/cgroup") for one in folders)
    found = [str(path) for path in groups if path.name.startswith(f"bluegreen-lab.{name}.")]
    found += [str(path) for path in Path("/run/netns").glob(f"bluegreen-lab.{name}.*")]
    found += [str(path) for path in Path("/run/bluegreen-lab").glob(f"{name}*")]
    found += [line for line in Path("/proc/self/mounts").read_text().splitlines() if f"/{name}" in line]
    links = json.loads(subprocess.run(["ip", "-json", "link"], capture_output=True, check=True).stdout)
    found += [link["ifname"] for link in links if link.get("ifalias") == f"bluegreen-lab.{name}"]
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = process.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if f"/{name}/" in command:
            found.append(command)
    return found


@pytest.fixture(scope="module", autouse=True)
def _running_lab() -> Iterator[None]:
    try:
        lab("up", "app1", "data")
        yield
    finally:
        lab("down")


def test_up_again_changes_nothing() -> None:
    before = facts()
    assert "all hosts were up already" in lab("up", "app1", "data")
    assert facts() == before


def test_status_and_ssh_reach_every_host() -> None:
    assert lab("status").count(" up ") == 2
    for host in ("app1", "data"):
        assert lab("ssh", host, "hostname").strip() == host
    assert lab("ssh", "app1", "getent", "hosts", "data").split() == [address("data"), "data"]


def test_secrets_are_on_no_command_line_and_in_no_readable_file() -> None:
    passwords = json.loads(Path(f"/run/bluegreen-lab/{NAME}/secrets.json").read_text()).values()
    for host in ("app1", "data"):
        commands = lab("ssh", host, "ps -eo args")
        readable = lab("ssh", host, "setpriv --reuid=nobody --clear-groups grep -rIhs '' /etc /opt /run || true")
        assert not any(password in commands + readable for password in passwords)


def test_green_is_installed_and_neither_runs_nor_starts_at_boot() -> None:
    assert lab("ssh", "app1", "systemctl is-active shop-blue shop-green || true").split() == ["active", "inactive"]
    assert lab("ssh", "app1", "systemctl is-enabled shop-blue shop-green || true").split() == ["enabled", "disabled"]
    assert "OK" in lab("ssh", "app1", "cd /opt/shop-green && python3 -m unittest 2>&1")


def test_reboot_comes_back_with_the_same_address_disk_and_identity() -> None:
    def identity() -> list[str]:
        return lab("ssh", "app1", "cat /etc/machine-id /root/kept; hostname -I").split()

    lab("ssh", "app1", "echo here > /root/kept")
    before = identity(), address("app1")
    pid = facts()["hosts"]["app1"]["pid"]
    lab("reboot", "app1")
    assert (identity(), address("app1")) == before
    assert facts()["hosts"]["app1"]["pid"] != pid


def test_up_starts_a_host_that_died_and_leaves_the_others() -> None:
    untouched = facts()["hosts"]["data"]
    lab("kill", "app1")
    assert "dead" in lab("status", status=1)
    assert "started app1;" in lab("up", "app1", "data")
    assert facts()["hosts"]["data"] == untouched


def test_up_does_not_judge_the_units_of_a_host_in_use() -> None:
    fails = "until systemctl is-failed broken; do sleep 0.1; done"
    lab("ssh", "app1", f"systemd-run --quiet --unit=broken false; timeout 50 sh -c '{fails}'")
    assert "all hosts were up already" in lab("up", "app1", "data")
    lab("ssh", "app1", "systemctl reset-failed broken")


def test_a_cut_host_is_unreachable_until_it_is_healed() -> None:
    lab("cut", "app1")
    with pytest.raises(OSError, match=r"timed out|No route"):
        socket.create_connection((address("app1"), 8001), timeout=0.5)
    assert "cut" in lab("status", status=1)
    lab("heal", "app1")
    socket.create_connection((address("app1"), 8001), timeout=60).close()


def test_labs_run_side_by_side_and_down_leaves_nothing_of_one() -> None:
    other = f"{NAME}-b"  # a name that starts with the first one's
    try:
        lab("up", "router", name=other)
        assert facts(other)["subnet"] != facts()["subnet"]
        assert (
            lab("ssh", "router", "systemctl is-active haproxy nginx prometheus", name=other).split() == ["active"] * 3
        )
        assert traces(other)
        # Somebody who stands in its folder is named, and keeps nothing of it.
        with subprocess.Popen(["sleep", "60"], cwd=f"/run/bluegreen-lab/{other}") as stands:
            said = lab("down", name=other)
            stands.kill()
        assert f"/run/bluegreen-lab/{other} is detached, and still in use by {stands.pid} (sleep)\n" in said
    finally:
        lab("down", name=other)
    assert traces(other) == []
    assert lab("status").count(" up ") == 2
    lab("down", name=other)


def test_down_clears_what_an_interrupted_up_left() -> None:
    other = f"{NAME}-c"
    command = [sys.executable, str(ROOT / "lab/lab.py"), "up", "router"]
    with subprocess.Popen(command, env=os.environ | {"LAB_NAME": other}, stdout=subprocess.DEVNULL) as interrupted:
        while not list(Path(f"/run/bluegreen-lab/{other}").glob("hosts/*")):
            assert interrupted.poll() is None
            time.sleep(0.005)
        interrupted.kill()
    assert traces(other)
    lab("down", name=other)
    assert traces(other) == []


def test_the_service_drains_without_an_error(tmp_path: Path) -> None:
    plan = load.Plan(f"http://{address('app1')}:8001", rate=200, duration=120, idle=50, idle_every=0.5, slow_share=0)
    few = "curl -s localhost:8001/metrics | awk '/^http_connections_open/ { exit !($2 < 25) }'"
    with load.background(plan, tmp_path) as running:
        lab("ssh", "app1", f"! {few}")
        lab(
            "ssh",
            "app1",
            f"systemctl kill -s USR1 shop-blue; for n in $(seq 300); do {few} && exit; sleep 0.2; done; exit 1",
        )
        lab("ssh", "app1", "systemctl kill -s USR2 shop-blue")
    result = running.result()
    assert result.outcomes() == {"ok": result.count}


def test_the_service_finishes_what_it_has_accepted() -> None:
    with contextlib.closing(http.client.HTTPConnection(address("app1"), 8001, timeout=30)) as slow:
        slow.request("GET", "/slow")
        accepted = "^http_requests_in_flight 1|path=./slow"
        seen = f"curl -s localhost:8001/metrics | grep -Eq '{accepted}'"
        lab("ssh", "app1", f"for n in $(seq 500); do {seen} && exit; sleep 0.05; done; exit 1")
        stopped = lab("ssh", "app1", "systemctl stop shop-blue; systemctl show -p Result -p ExecMainStatus shop-blue")
        assert slow.getresponse().status == 200
    assert "Result=success" in stopped
    assert "ExecMainStatus=0" in stopped
    lab("ssh", "app1", "systemctl start shop-blue; until curl -s localhost:8001/health/live; do sleep 0.1; done")


def test_the_service_misbehaves_for_its_own_host_only() -> None:
    with contextlib.closing(http.client.HTTPConnection(address("app1"), 8001, timeout=30)) as elsewhere:
        elsewhere.request("POST", "/admin/misbehave", '{"errors": 1.0}')
        assert b"from this host only" in elsewhere.getresponse().read()
    local = "curl -s -X POST localhost:8001/admin/misbehave -d"
    codes = "curl -s -o /dev/null -w '%{http_code} ' localhost:8001/api/v1/ping localhost:8001/health/ready"
    script = f'{local} \'{{"errors": 1, "ready": false}}\' -o /dev/null; {codes}'
    assert lab("ssh", "app1", script).split()[:1] == ["500"]
    lab("ssh", "app1", f'{local} \'{{"errors": 0, "ready": true}}\'')


def test_load_refuses_other_machines() -> None:
    done = subprocess.run(
        [sys.executable, load.__file__, "--target", "http://192.0.2.1:80"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "neither loopback nor in a running lab" in done.stderr
