# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a lab is made of: names, addresses and the texts that follow from them. Pure."""

from __future__ import annotations

import re
import uuid
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

STATE_ROOT = Path("/run/bluegreen-lab")
"""One directory per running lab; world-readable, so that load.py finds the labs' subnets."""

HOSTS = {"router": 11, "app1": 21, "app2": 22, "data": 31, "solo": 41}
"""Host name to the last octet of its address."""

GATEWAY = 1
"""Last octet of the uplink, which is where the control node and the load generator sit."""

SERVICES = {
    "app1": ("shop", "supersmartmatch"),
    "app2": ("shop", "supersmartmatch"),
    "solo": ("nextgeneration",),
}
"""Host to the services it runs, each in both colours."""

PORTS = {
    "shop": {"blue": 8001, "green": 8002},
    "supersmartmatch": {"blue": 8101, "green": 8102},
    "nextgeneration": {"blue": 8001, "green": 8002},
}
FRONTED = "supersmartmatch"
"""The service whose blue takes every request, and sends a percentage of them on to green."""

VERSIONS = {"blue": "1.0.0", "green": "2.0.0"}

_NAME = re.compile(r"[a-z][a-z0-9-]{0,29}")


@dataclass(frozen=True)
class Lab:
    """A lab by its name (LAB_NAME) and its subnet's third octet."""

    name: str
    index: int

    @property
    def state(self) -> Path:
        return state_dir(self.name)

    @property
    def subnet(self) -> str:
        return f"10.88.{self.index}.0/24"

    @property
    def uplink(self) -> str:
        """The control node's own interface into the lab."""
        return f"bglab{self.index}"

    @property
    def switch(self) -> str:
        """The network namespace in which the bridge joins the hosts' cables and the uplink.

        Not in the root namespace: there, the machine's own packet filter (Docker's drops forwarded
        packets) would judge what one host sends to another.
        """
        return f"{unit_prefix(self.name)}.switch"

    @property
    def gateway(self) -> str:
        return f"10.88.{self.index}.{GATEWAY}"

    @property
    def ssh_config(self) -> Path:
        return self.state / "ssh_config"

    def address(self, host: str) -> str:
        return f"10.88.{self.index}.{HOSTS[host]}"

    def netns(self, host: str) -> str:
        return f"{unit_prefix(self.name)}.{host}"

    def cgroup(self, host: str) -> str:
        return f"{unit_prefix(self.name)}.{host}"

    def machine_id(self, host: str) -> str:
        return uuid.uuid5(uuid.NAMESPACE_DNS, f"{host}.{self.name}.bluegreen-lab").hex

    def directory(self, host: str) -> Path:
        return self.state / "hosts" / host

    def etc_hosts(self) -> str:
        lines = ["127.0.0.1 localhost", *(f"{self.address(host)} {host}" for host in HOSTS)]
        return "\n".join(lines) + "\n"

    def ssh_config_text(self) -> str:
        blocks = [f"Host {host}\n  HostName {self.address(host)}\n" for host in HOSTS]
        return "".join(blocks) + (
            "Host *\n"
            "  User root\n"
            f"  IdentityFile {self.state}/id_ed25519\n"
            "  IdentitiesOnly yes\n"
            f"  UserKnownHostsFile {self.state}/known_hosts\n"
            "  GlobalKnownHostsFile /dev/null\n"
            "  StrictHostKeyChecking yes\n"
            "  ConnectTimeout 10\n"
            "  LogLevel ERROR\n"
        )


def validate_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"LAB_NAME {name!r} is not usable: lower-case letters, digits and hyphens, 30 at most, a letter first"
        )
    return name


def state_dir(name: str) -> Path:
    return STATE_ROOT / name


def unit_prefix(name: str) -> str:
    """What names of network namespaces and cgroups start with, before the dot and the host.

    A lab's name has no dot, so no lab's prefix is another one's.
    """
    return f"bluegreen-lab.{name}"


def free_indexes(taken: Collection[int]) -> list[int]:
    """Third octets that no link or route uses yet, in the order to try them."""
    free = [index for index in range(1, 255) if index not in taken]
    if not free:
        raise ValueError("all of 10.88.1.0/24 to 10.88.254.0/24 are in use")
    return free


def indexes_in(routes: str) -> set[int]:
    """Third octets of 10.88.0.0/16 that occur in the output of `ip route`."""
    return {int(octet) for octet in re.findall(r"\b10\.88\.(\d{1,3})\.\d", routes)}
