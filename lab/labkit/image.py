# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one Debian image all hosts share, built once and kept outside the repository."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import time
from pathlib import Path

from labkit.command import LabError, run, say

SUITE = "bookworm"
FALLBACK_MIRROR = f"deb http://deb.debian.org/debian {SUITE} main"

PACKAGES = [
    # the system
    "systemd",
    "systemd-sysv",
    "dbus",
    "openssh-server",
    "iproute2",
    "nftables",
    "procps",
    "ca-certificates",
    # what Ansible and the roles call
    "python3",
    "python3-apt",
    "sudo",
    "curl",
    "git",
    "rsync",
    "zstd",
    "acl",
    "attr",
    # routers, metrics, stores
    "haproxy",
    "nginx-light",
    "libnginx-mod-http-lua",
    "libnginx-mod-stream",
    "prometheus",
    "prometheus-node-exporter",
    "prometheus-alertmanager",
    "postgresql-15",
    "pgbouncer",
    "redis-server",
    "rabbitmq-server",
    # what snapshots are encrypted with
    "age",
    "gnupg",
    # the service
    "python3-aiohttp",
    "python3-asyncpg",
    "python3-psycopg2",
    "python3-redis",
    "python3-celery",
    "python3-prometheus-client",
]

# Nothing but sshd starts by itself; each host's role enables what it needs. Keys and ids are made
# per host at `up`. A resolv.conf without servers makes a forgotten look-up fail at once.
CUSTOMIZE = r"""
set -eu
printf 'enable ssh.service\ndisable *\n' > "$1/usr/lib/systemd/system-preset/00-lab.preset"
chroot "$1" systemctl preset-all
cat > "$1/etc/ssh/sshd_config.d/lab.conf" <<'END'
HostKey /etc/ssh/ssh_host_ed25519_key
PasswordAuthentication no
UseDNS no
MaxStartups 200
MaxSessions 100
END
rm -f "$1"/etc/ssh/ssh_host_* "$1/etc/machine-id" "$1/etc/hostname" "$1/etc/nginx/sites-enabled/default"
: > "$1/etc/resolv.conf"
rm -rf "$1"/var/cache/apt/archives/*.deb "$1"/var/lib/apt/lists/*
"""

OPTIONS = [
    "--mode=root",
    "--variant=minbase",
    "--format=directory",
    f"--include={','.join(PACKAGES)}",
    '--aptopt=APT::Install-Recommends "false"',
    "--dpkgopt=force-unsafe-io",
    *(f"--dpkgopt=path-exclude=/usr/share/{folder}/*" for folder in ("doc", "man", "locale")),
]


def digest() -> str:
    """What names a build: changes when the recipe does, not when Debian publishes updates."""
    recipe = json.dumps([SUITE, OPTIONS, CUSTOMIZE])
    return hashlib.sha256(recipe.encode()).hexdigest()[:12]


def directory() -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "bluegreen-cutover" / f"lab-{digest()}"


def is_built() -> bool:
    return os.path.isdir(directory())  # False, too, where this user may not look


def ensure() -> Path:
    """Return the image, building it if need be; a build that was cut short never looks like one."""
    target = directory()
    if is_built():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with open(target.parent / "build.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not is_built():
            partial = target.with_name(f"{target.name}.partial")
            shutil.rmtree(partial, ignore_errors=True)
            _build(partial)
            partial.rename(target)
    return target


def _build(partial: Path) -> None:
    command = ["mmdebstrap", *OPTIONS, f"--customize-hook={CUSTOMIZE}", SUITE, str(partial), *_sources()]
    log = partial.with_name("build.log")
    say(f"building the image {partial.parent}/lab-{digest()} (about a minute); log: {log}")
    start = time.monotonic()
    with open(log, "w") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        while True:
            try:
                status = process.wait(timeout=10)
                break
            except subprocess.TimeoutExpired:
                step = log.read_text(errors="replace").strip().rsplit("\n", 1)[-1]
                say(f"  {time.monotonic() - start:.0f} s: {step}")
    if status != 0:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
        raise LabError(f"mmdebstrap: exit status {status}; the end of {log}:\n{tail}")
    say(f"image built in {time.monotonic() - start:.0f} s")


def _sources() -> list[str]:
    """This machine's own Debian mirrors of the suite, else the public one."""
    template = "$(REPO_URI) $(RELEASE) $(COMPONENT)"
    suites = {SUITE, f"{SUITE}-updates", f"{SUITE}-security"}
    found = []
    for line in run("apt-get", "indextargets", "--format", template, "Created-By: Packages").splitlines():
        uri, release, component = line.split()
        if release in suites and component == "main" and "debian" in uri:
            found.append(f"deb {uri} {release} {component}")
    own = any(f" {SUITE} " in line for line in found)
    return found if own else [FALLBACK_MIRROR]
