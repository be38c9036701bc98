# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Can this machine run the lab? Says what is missing, what that costs and what to do."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from labkit import image
from labkit.command import succeeds

COMMANDS = {
    "systemd-nspawn": "systemd-container",
    "ip": "iproute2",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
    "unshare": "util-linux",
    "chroot": "coreutils",
}
BUILD_COMMANDS = {"mmdebstrap": "mmdebstrap", "apt-get": "apt"}
SEARCH = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
"""Where commands are looked for: an ordinary user's PATH may lack the folders root has."""
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")

# Tried for real, in namespaces that end with the command: nothing of it stays.
TRY_OVERLAY = (
    "mount -t tmpfs x /mnt && mkdir /mnt/l /mnt/u /mnt/w /mnt/m && "
    "mount -t overlay -o lowerdir=/mnt/l,upperdir=/mnt/u,workdir=/mnt/w x /mnt/m"
)
TRY_LINKS = "ip link add br0 type bridge && ip link add v0 type veth peer name v1 && ip link set v0 master br0"

STILL_WORKS = (
    "without the lab these still work: the unit tests, the linters, lab/load.py, and "
    "lab/service/service.py started by hand"
)


@dataclass(frozen=True)
class Finding:
    what: str
    passed: bool
    remedy: str


def findings() -> list[Finding]:
    if sys.platform != "linux":
        return [Finding("Linux", False, "run it in a virtual machine with Debian")]
    checks = [Finding("root", os.geteuid() == 0, "run as root: namespaces and mounts need it")]
    commands = COMMANDS if image.is_built() else COMMANDS | BUILD_COMMANDS
    for command, package in commands.items():
        checks.append(
            Finding(f"command {command}", shutil.which(command, path=SEARCH) is not None, f"apt-get install {package}")
        )
    if not image.is_built():
        checks.append(Finding("Debian's archive keys", KEYRING.exists(), "apt-get install debian-archive-keyring"))
    checks.append(
        Finding(
            "cgroup v2 hierarchy",
            any(" cgroup2 " in line for line in Path("/proc/self/mounts").read_text().splitlines()),
            "mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified (or boot with it)",
        )
    )
    if os.geteuid() == 0:
        checks.append(
            Finding(
                "overlay on tmpfs, mount namespaces",
                succeeds("unshare", "--mount", "sh", "-c", TRY_OVERLAY),
                "needs CAP_SYS_ADMIN and the kernel's overlay module (modprobe overlay)",
            )
        )
        checks.append(
            Finding(
                "bridge, veth, network namespaces",
                succeeds("unshare", "--net", "sh", "-c", TRY_LINKS),
                "needs CAP_NET_ADMIN and the kernel's bridge and veth modules",
            )
        )
    return checks


def missing() -> str:
    """One message naming all that is missing, empty if nothing is."""
    failed = [finding for finding in findings() if not finding.passed]
    if not failed:
        return ""
    lines = [f"  {finding.what}: {finding.remedy}" for finding in failed]
    return "\n".join(["this machine cannot run the lab; missing:", *lines, STILL_WORKS])
