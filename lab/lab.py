#!/usr/bin/env python3
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A lab of real systemd hosts on one machine: router, app1, app2, data, solo.

    python3 lab/lab.py check | image | up [HOST...] | status | ssh HOST [COMMAND...] | down
    python3 lab/lab.py kill | reboot | cut | heal HOST

LAB_NAME (default: cutover) names the lab; several run side by side. Everything about a running lab is
in /run/bluegreen-lab/$LAB_NAME: ssh_config, id_ed25519, known_hosts, lab.json.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from labkit import cgroups, check, guest, image, plan, roles
from labkit.command import LabError, fail, run, say, succeeds, wait_until
from labkit.plan import HOSTS, PORTS, SERVICES, Lab


def main(arguments: Sequence[str]) -> int:
    options = _parse(arguments)
    try:
        name = plan.validate_name(os.environ.get("LAB_NAME") or "cutover")
        if options.verb == "check":
            return check_machine()
        if options.verb == "image":
            _require_machine()
            say(str(image.ensure()))
            return 0
        if options.verb == "up":
            with _lock(name):
                up(name, options.hosts or list(HOSTS))
            return 0
        if options.verb == "down":
            with _lock(name):
                down(name)
            return 0
        lab = _running(name)
        if options.verb == "status":
            return status(lab)
        if options.verb == "ssh":
            command = guest.ssh_command(lab, options.host, *options.command)
            os.execvp(command[0], command)  # noqa: S606 - ssh takes this process's place and terminal
        with _lock(name):
            fault(lab, options.verb, options.host)
        return 0
    except (LabError, ValueError) as error:
        return fail(str(error))


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="lab.py", description="real systemd hosts on one machine")
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("check", help="say whether this machine can run the lab, and what is missing")
    verbs.add_parser("image", help="build the image, if it is not there yet, and print where it is")
    starting = verbs.add_parser("up", help="start the hosts, or those that do not run")
    starting.add_argument("hosts", nargs="*", metavar="HOST", help=f"default: {' '.join(HOSTS)}")
    verbs.add_parser("down", help="end the lab and leave nothing of it")
    verbs.add_parser("status", help="one line per host; exit status 1 if one is not up")
    shell = verbs.add_parser("ssh", help="a shell or a command on a host")
    shell.add_argument("host", choices=HOSTS)
    shell.add_argument("command", nargs=argparse.REMAINDER)
    for verb, text in {
        "kill": "power loss; `up` starts it again",
        "reboot": "reboot and wait until it is back",
        "cut": "unplug its network cable",
        "heal": "plug it in again",
    }.items():
        verbs.add_parser(verb, help=text).add_argument("host", choices=HOSTS)
    options = parser.parse_args(arguments)
    for host in getattr(options, "hosts", []):
        if host not in HOSTS:
            parser.error(f"no such host: {host}")
    return options


@contextlib.contextmanager
def _lock(name: str) -> Iterator[None]:
    """One change of a lab at a time. An abstract socket: leaves no file and dies with its holder."""
    with socket.socket(socket.AF_UNIX) as lock:

        def free() -> bool:
            try:
                lock.bind(f"\0bluegreen-lab/{name}")
            except OSError:
                return False
            return True

        wait_until(f"another command is working on the lab {name}", free, 300)
        yield


def check_machine() -> int:
    for finding in check.findings():
        say(f"{'ok     ' if finding.passed else 'MISSING'} {finding.what}")
    return fail(message) if (message := check.missing()) else 0


def _require_machine() -> None:
    if message := check.missing():
        raise LabError(message)


def up(name: str, hosts: Sequence[str]) -> None:
    """Bring the hosts up; those which run are left alone, those which died boot again."""
    start = time.monotonic()
    _require_machine()
    base = image.ensure()
    lab = _existing(name) or _create(name)
    guest.allow_watches()
    started = [host for host in hosts if not guest.is_alive(lab, host)]
    fresh = [host for host in started if guest.prepare(lab, host, base)]
    for host in hosts:
        guest.set_cable(lab, host, "up")
    for host in started:
        guest.boot(lab, host)
    with ThreadPoolExecutor(len(HOSTS)) as pool:
        failed = dict(zip(hosts, pool.map(lambda host: guest.wait_ready(lab, host), hosts), strict=True))
    # What units do on a host that was in use is its user's affair; on a fresh one it is the lab's.
    for host in fresh:
        if failed[host]:
            raise LabError(f"{host} has booted, but these units failed:\n{failed[host]}")
    if guest.is_alive(lab, "data"):
        for host in (host for host in fresh if host in SERVICES):
            for service in SERVICES[host]:
                ready = functools.partial(_ready, lab.address(host), PORTS[service]["blue"])
                wait_until(f"{service}-blue on {host} is ready", ready)
    _record(lab)
    did = f"started {', '.join(started)}" if started else "all hosts were up already"
    say(f"lab {name}: {did}; {time.monotonic() - start:.1f} s; ssh -F {lab.ssh_config} HOST")


def _ready(address: str, port: int) -> bool:
    connection = http.client.HTTPConnection(address, port, timeout=2)
    try:
        connection.request("GET", "/health/ready")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _create(name: str) -> Lab:
    """Reserve a subnet by creating its uplink (the kernel refuses a second one), and the state directory."""
    taken = plan.indexes_in(run("ip", "-4", "route", "show", "table", "all"))
    for index in plan.free_indexes(taken):
        lab = Lab(name, index)
        try:
            run("ip", "link", "add", "name", lab.uplink, "type", "veth", "peer", "name", f"{lab.uplink}p")
        except LabError:
            if not Path(f"/sys/class/net/{lab.uplink}").exists():
                raise
            continue
        break
    # The alias is how `down` finds the uplink of a lab that never came to write its lab.json.
    run("ip", "link", "set", lab.uplink, "alias", plan.unit_prefix(name))
    run("ip", "address", "add", f"{lab.gateway}/24", "dev", lab.uplink)
    run("ip", "link", "set", lab.uplink, "up")
    run("ip", "netns", "add", lab.switch)
    run("ip", "link", "set", f"{lab.uplink}p", "netns", lab.switch, "name", "uplink")
    run("ip", "-n", lab.switch, "link", "add", "bridge", "type", "bridge")
    run("ip", "-n", lab.switch, "link", "set", "uplink", "master", "bridge")
    for interface in ("uplink", "bridge"):
        run("ip", "-n", lab.switch, "link", "set", interface, "up")
    lab.state.mkdir(parents=True)
    # 0755: load.py, run by anyone, reads the subnet; what is secret is 0600 itself.
    run("mount", "-t", "tmpfs", "-o", "mode=0755,size=80%", "bluegreen-lab", str(lab.state))
    roles.create_keys(lab)
    _record(lab)
    return lab


def _existing(name: str) -> Lab | None:
    """The lab as recorded; what an interrupted `up` left is cleared away first."""
    try:
        recorded = json.loads((plan.state_dir(name) / "lab.json").read_text())
    except FileNotFoundError:
        down(name)
        return None
    return Lab(name, recorded["index"])


def _running(name: str) -> Lab:
    lab = _existing(name) if (plan.state_dir(name) / "lab.json").exists() else None
    if lab is None:
        raise LabError(f"the lab {name} is not up (python3 lab/lab.py up)")
    return lab


def _record(lab: Lab) -> None:
    document = {
        "name": lab.name,
        "index": lab.index,
        "subnet": lab.subnet,
        "gateway": lab.gateway,
        "uplink": lab.uplink,
        "ssh_config": str(lab.ssh_config),
        "hosts": {
            host: {
                "address": lab.address(host),
                "netns": lab.netns(host),
                "cgroup": lab.cgroup(host),
                "pid": guest.init_pid(lab, host),  # changes when the host reboots
            }
            for host in HOSTS
            if lab.directory(host).exists()
        },
    }
    partial = lab.state / "lab.json.partial"
    partial.write_text(json.dumps(document, indent=2) + "\n")
    partial.rename(lab.state / "lab.json")


def down(name: str) -> None:
    """Remove everything that bears the lab's name, whatever state it is in."""
    prefix = f"{plan.unit_prefix(name)}."
    for group in cgroups.named(prefix):
        cgroups.kill(group)
        cgroups.remove(group)
    for link in json.loads(run("ip", "-json", "link", "show", "type", "veth")):
        if link.get("ifalias") == plan.unit_prefix(name):
            run("ip", "link", "delete", link["ifname"])
    for netns in Path("/run/netns").glob(f"{prefix}*"):
        run("ip", "netns", "delete", netns.name)  # takes the bridge and the cables with it
    state = plan.state_dir(name)
    mounts = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    for mount in reversed(mounts):  # innermost last in the list
        if Path(mount).is_relative_to(state) and not succeeds("umount", mount):
            say(f"{mount} is detached, and still in use by {', '.join(_users(Path(mount))) or 'somebody'}")
            run("umount", "--lazy", mount)
    if state.exists():
        shutil.rmtree(state)
    with contextlib.suppress(OSError):  # other labs are in it, or it is not there
        plan.STATE_ROOT.rmdir()


def _users(folder: Path) -> list[str]:
    """The processes that work in the folder or have a file of it open, as ``4242 (bash)``."""
    found = []
    for process in sorted(Path("/proc").glob("[0-9]*")):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            held = {link.readlink() for link in (process / "cwd", *(process / "fd").iterdir())}
            if any(path.is_relative_to(folder) for path in held):
                found.append(f"{process.name} ({(process / 'comm').read_text().strip()})")
    return found


def status(lab: Lab) -> int:
    say(f"lab {lab.name}  subnet {lab.subnet}  uplink {lab.uplink}  state {lab.state}")
    all_up = True
    for host in HOSTS:
        if not lab.directory(host).exists():
            continue
        alive = guest.is_alive(lab, host)
        state = "dead" if not alive else "up" if guest.is_plugged(lab, host) else "cut"
        all_up &= state == "up"
        memory = cgroups.memory(lab.cgroup(host)) / 2**20
        say(f"{host:8} {lab.address(host):12} {state:5} {memory:6.0f} MiB  pid {guest.init_pid(lab, host)}")
    return 0 if all_up else 1


def fault(lab: Lab, verb: str, host: str) -> None:
    if not lab.directory(host).exists():
        raise LabError(f"{host} is not part of the running lab {lab.name}")
    if verb == "kill":
        guest.kill(lab, host)
    elif verb == "reboot":
        before = guest.init_pid(lab, host)
        # The connection breaks as the host goes down: its exit status says nothing.
        subprocess.run(guest.ssh_command(lab, host, "systemctl", "reboot"), check=False, stdin=subprocess.DEVNULL)
        wait_until(f"{host} has gone down and up", lambda: guest.init_pid(lab, host) not in (before, None))
        guest.wait_ready(lab, host)
        _record(lab)
    else:
        guest.set_cable(lab, host, "down" if verb == "cut" else "up")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
