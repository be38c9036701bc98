# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One host: overlay root, network, systemd-nspawn, and its end."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
from pathlib import Path

from labkit import cgroups, roles
from labkit.command import run, say, succeeds, wait_until
from labkit.plan import Lab

# systemd-nspawn ends with 133 when its guest reboots; anything else is the end of the host.
# Arguments: process lists of the keeper, "--", those of the machine, "--", the command.
KEEPER = r"""
while [ "$1" != -- ]; do echo $$ > "$1"; shift; done; shift
while :; do
    sh -c 'while [ "$1" != -- ]; do echo $$ > "$1"; shift; done; shift; exec "$@"' machine "$@"
    [ $? = 133 ] || exit 0
done
"""

INOTIFY_LIMIT = Path("/proc/sys/fs/inotify/max_user_instances")
INOTIFY_ENOUGH = 4096
"""A host uses seven; the usual limit, 128 for all of root's, is full with four labs."""


def allow_watches() -> None:
    """Raise the kernel's limit on file watches: it is one for the machine and all its guests.

    The one thing `down` does not put back: nobody knows who else has come to need it.
    """
    limit = int(INOTIFY_LIMIT.read_text())
    if limit < INOTIFY_ENOUGH:
        INOTIFY_LIMIT.write_text(str(INOTIFY_ENOUGH))
        say(f"raised {INOTIFY_LIMIT} from {limit} to {INOTIFY_ENOUGH}, until this machine reboots")


def is_alive(lab: Lab, host: str) -> bool:
    return bool(cgroups.processes(lab.cgroup(host)))


def init_pid(lab: Lab, host: str) -> int | None:
    """The process that is PID 1 inside, as seen from here."""
    for pid in cgroups.processes(lab.cgroup(host)):
        try:
            status = Path(f"/proc/{pid}/status").read_text()
        except OSError:
            continue
        ids = next(line.split()[1:] for line in status.splitlines() if line.startswith("NSpid:"))
        if len(ids) > 1 and ids[-1] == "1":
            return pid
    return None


def prepare(lab: Lab, host: str, image: Path) -> bool:
    """Make the host's disk and cable unless they are there; what an interrupted call left is made anew."""
    directory = lab.directory(host)
    if (directory / "prepared").exists():
        return False
    destroy(lab, host)
    for folder in ("upper", "work", "root"):
        (directory / folder).mkdir(parents=True)
    options = f"lowerdir={image},upperdir={directory}/upper,workdir={directory}/work"
    run("mount", "-t", "overlay", "-o", options, "bluegreen-lab", f"{directory}/root")
    roles.furnish(lab, host, directory / "root")
    _connect(lab, host)
    (directory / "prepared").touch()
    return True


def _connect(lab: Lab, host: str) -> None:
    # The address is set from here, so it is there before the guest boots and after it reboots.
    netns = lab.netns(host)
    run("ip", "netns", "add", netns)
    run("ip", "-n", lab.switch, "link", "add", host, "type", "veth", "peer", "name", "eth0", "netns", netns)
    run("ip", "-n", lab.switch, "link", "set", host, "master", "bridge")
    run("ip", "-n", netns, "address", "add", f"{lab.address(host)}/24", "dev", "eth0")
    for interface in ("lo", "eth0"):
        run("ip", "-n", netns, "link", "set", interface, "up")


def set_cable(lab: Lab, host: str, state: str) -> None:
    """Plug (`up`) or unplug (`down`) the host at the switch."""
    run("ip", "-n", lab.switch, "link", "set", host, state)


def is_plugged(lab: Lab, host: str) -> bool:
    return " UP " in run("ip", "-n", lab.switch, "-brief", "link", "show", host)


def boot(lab: Lab, host: str) -> None:
    """Start the machine; returns at once, the machine outlives the caller."""
    directory = lab.directory(host)
    lists = cgroups.create(lab.cgroup(host))
    half = len(lists) // 2
    nspawn = [
        "systemd-nspawn",
        "--quiet",
        "--keep-unit",
        "--register=no",
        "--boot",
        f"--machine={host}",
        f"--directory={directory}/root",
        f"--network-namespace-path=/run/netns/{lab.netns(host)}",
        "--capability=CAP_NET_ADMIN",
        "--resolv-conf=off",
        "--timezone=off",
        "--link-journal=no",
        "--console=pipe",
        "--kill-signal=SIGRTMIN+3",
    ]
    arguments = [*map(str, lists[:half]), "--", *map(str, lists[half:]), "--", *nspawn]
    with open(directory / "console.log", "ab") as console:
        subprocess.Popen(
            ["sh", "-c", KEEPER, "keeper", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=console,
            start_new_session=True,
            cwd="/",
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"},
        )


def ssh_command(lab: Lab, host: str, *command: str) -> list[str]:
    return ["ssh", "-F", str(lab.ssh_config), host, *command]


def wait_ready(lab: Lab, host: str, timeout: float = 180) -> str:
    """Wait until systemd inside has finished booting; return the units that have failed, a line each."""

    def answers() -> bool:
        try:
            with socket.create_connection((lab.address(host), 22), timeout=1) as connection:
                return connection.recv(4) == b"SSH-"
        except OSError:
            return False

    state = ""

    def booted() -> bool:
        nonlocal state
        with contextlib.suppress(subprocess.TimeoutExpired):  # one unit that never ends its start
            state = subprocess.run(
                ssh_command(lab, host, "systemctl", "is-system-running", "--wait"),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=timeout,
                check=False,
            ).stdout.strip()
        return state in ("running", "degraded")

    log = lab.directory(host) / "console.log"
    wait_until(f"{host} answers on port 22 (console: {log})", answers, timeout)
    wait_until(f"{host} has booted (console: {log})", booted, timeout)
    if state == "degraded":
        return run(*ssh_command(lab, host, "systemctl", "--failed", "--no-legend", "--plain")).rstrip()
    return ""


def kill(lab: Lab, host: str) -> None:
    """Power loss: every process of the host ends at once."""
    cgroups.kill(lab.cgroup(host))


def destroy(lab: Lab, host: str) -> None:
    """Remove all there is of the host, in whatever state it is."""
    kill(lab, host)
    cgroups.remove(lab.cgroup(host))
    if succeeds("ip", "-n", lab.switch, "link", "show", host):
        run("ip", "-n", lab.switch, "link", "delete", host)
    if Path(f"/run/netns/{lab.netns(host)}").exists():
        run("ip", "netns", "delete", lab.netns(host))
    directory = lab.directory(host)
    while succeeds("mountpoint", "--quiet", f"{directory}/root"):
        run("umount", f"{directory}/root")
    shutil.rmtree(directory, ignore_errors=True)
