# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The guard's process on its host: its program, made of the very code that changes weights for a run, and its units."""

from __future__ import annotations

import io
import os
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

from ansible_collections.bluegreen.cutover.plugins.module_utils import _guarding
from ansible_collections.bluegreen.cutover.plugins.module_utils._command import Run
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import StoreError, WorkloadError
from ansible_collections.bluegreen.cutover.plugins.module_utils._guarding import RUNTIME, unit_names
from ansible_collections.bluegreen.cutover.plugins.module_utils._stores.files import Clock, FileStore
from ansible_collections.bluegreen.cutover.plugins.module_utils._workloads.systemd import QUICK

UNITS = "/etc/systemd/system"
START_WAIT = 20.0
"""Seconds that the process has to tell that it has seen what was armed."""
ANSWER_WAIT = 3.0
"""The same for one that runs already, in seconds; then it is started anew."""
_POLL = 0.05
_PACKAGE = "ansible_collections.bluegreen.cutover.plugins.module_utils"
_MAIN = "import sys\nfrom {module} import {name}\n\nsys.exit({name}(sys.argv[1:]))\n"

_SERVICE = """\
# Written by bluegreen.cutover, which removes it again.
[Unit]
Description=Guard of {service}: sends its traffic back when its migration is not renewed
After={boot} {routers}
RequiresMountsFor="{folder}"
StartLimitIntervalSec=0

[Service]
Type=exec
ExecStart={program} run {arguments}
Restart=always
RestartSec=100ms
RestartPreventExitStatus=0
RuntimeDirectory={runtime}
RuntimeDirectoryMode=0700
RuntimeDirectoryPreserve=restart

[Install]
WantedBy=multi-user.target
"""

# Any start of a service makes systemd look at the units of sysinit.target again, hence the second condition.
_BOOT = """\
# Written by bluegreen.cutover, which removes it again.
[Unit]
Description=Guard of {service}: a router that was armed comes up with its traffic sent back
DefaultDependencies=no
After=local-fs.target
Before={routers} shutdown.target
Conflicts=shutdown.target
RequiresMountsFor="{folder}"
ConditionPathExists={folder}/guard.json
ConditionPathExists=!/run/{runtime}

[Service]
Type=oneshot
ExecStart={program} boot {arguments}
TimeoutStartSec=30s

[Install]
WantedBy=sysinit.target
"""


def program(main: Callable[..., int], *, packed: bool = False) -> bytes:
    """``main``, which takes arguments and returns an exit status, as one file that Python runs: with every module of
    this collection that is loaded now, which is all that it imports; the same bytes for the same sources.

    ``packed`` makes it a fifth as long, and its start longer.
    """
    archive = io.BytesIO()
    method = zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED
    with zipfile.ZipFile(archive, "w") as made:
        for name, text in sorted(_sources(main).items()):
            made.writestr(zipfile.ZipInfo(name), text, method)
    return archive.getvalue()


def _sources(main: Callable[..., int]) -> dict[str, bytes]:
    sources = {"__main__.py": _MAIN.format(module=main.__module__, name=main.__name__).encode()}
    parts = _PACKAGE.split(".")
    for depth in range(1, len(parts) + 1):
        sources["/".join([*parts[:depth], "__init__.py"])] = b""
    for name, module in list(sys.modules.items()):
        loader, origin = getattr(module, "__loader__", None), getattr(module, "__file__", None)
        if name.startswith(f"{_PACKAGE}.") and origin and loader is not None:
            path = name.replace(".", "/")
            sources[f"{path}/__init__.py" if hasattr(module, "__path__") else f"{path}.py"] = loader.get_data(origin)
    return sources


def install(store: FileStore, main: Callable[..., int], units: str = UNITS, python: str = sys.executable) -> bool:
    """Write the program, which is ``main``, and its units where they are not there yet; whether something was written.

    Call it inside ``store.locked()``, and write the guard there, too: a process that ends removes what nobody needs.
    """
    run, boot = unit_names(store.service)
    path = store.folder / "guard.pyz"
    words = {
        "service": store.service,
        "boot": boot,
        "routers": f"haproxy.service nginx.service bluegreen-cutover-nftables-{store.service}.service",
        "folder": escaped(store.folder),
        "program": f'"{escaped(python)}" -I "{escaped(path)}"',
        "arguments": f'"{escaped(store.folder.parent)}" {store.service}',
        "runtime": Path(RUNTIME.format(service=store.service)).name,
    }
    wanted = {
        path: program(main),
        Path(units, run): _SERVICE.format(**words).encode(),
        Path(units, boot): _BOOT.format(**words).encode(),
    }
    written = [write_file(one, content) for one, content in wanted.items() if _read(one) != content]
    return bool(written)


def remove(store: FileStore, run: Run, units: str = UNITS) -> bool:
    """Remove program, units and all, unless a guard is armed meanwhile; whether they are gone.

    The process does that itself, and ends with status 0: with any other systemd starts it again.
    """
    with store.locked():
        if store.read_guard() is not None:
            return False
        names = unit_names(store.service)
        links = [
            Path(units, f"{goal}.wants", name) for goal in ("multi-user.target", "sysinit.target") for name in names
        ]
        for path in [*links, *(Path(units, name) for name in names), store.folder / "guard.pyz"]:
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise StoreError(f"{path} cannot be removed: {error.strerror}. Remove it by hand") from error
    # systemd forgets the unit with that, and its runtime folder.
    run(["systemctl", "daemon-reload"], QUICK)
    shutil.rmtree(RUNTIME.format(service=store.service), ignore_errors=True)
    return True


def start(store: FileStore, run: Run, clock: Clock, *, anew: bool) -> dict[str, object]:
    """Have the process see the guard as it is now; start it first, ``anew`` or where it does not answer.

    Returns what it told. Raises ``WorkloadError`` when it does not.
    """
    began = clock.monotonic()
    if anew:
        _restart(store.service, run)
    restart_at = began + (START_WAIT / 2 if anew else ANSWER_WAIT)
    while True:
        armed, seen = store.read_guard(), _guarding.heard(store.service)
        if armed is None:
            # It has fired meanwhile, or somebody disarmed it: the next word is the fence's.
            return {}
        if seen is not None and (seen["token"], seen["generation"]) >= (armed["token"], armed["generation"]):
            return seen
        now = clock.monotonic()
        if now >= began + START_WAIT:
            unit = unit_names(store.service)[0]
            _rc, told, _err = run(["journalctl", "--no-pager", "-n", "20", "-u", unit], QUICK)
            raise WorkloadError(
                f"the guard of {store.service} does not run: {unit} has not told within {START_WAIT:.0f} s that it has "
                f"seen what was armed. No traffic may move without it. See 'systemctl status {unit}' on the router "
                "host, and run again",
                {"seen": seen, "journal": told.splitlines()},
            )
        if now >= restart_at:
            restart_at = float("inf")
            _restart(store.service, run)
        clock.sleep(_POLL)


def _restart(service: str, run: Run) -> None:
    # 'enable' reloads systemd, too.
    for command in (["enable", "--quiet", *unit_names(service)], ["restart", unit_names(service)[0]]):
        rc, _out, told = run(["systemctl", *command], QUICK)
        if rc:
            raise WorkloadError(
                f"'systemctl {' '.join(command)}' failed: {told.strip()}. No traffic may move without a guard; put it "
                "right on the router host, and run again",
                {"rc": rc},
            )


def escaped(path: object) -> str:
    """A path as unit files have it."""
    return str(path).replace("%", "%%")


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def write_file(path: Path, content: bytes) -> Path:
    """Replace a program, which only root may read, or a unit; durably."""
    try:
        descriptor, scratch = tempfile.mkstemp(prefix=".", dir=path.parent)
        try:
            with open(descriptor, "wb") as handle:
                os.fchmod(descriptor, 0o600 if path.suffix == ".pyz" else 0o644)
                handle.write(content)
                handle.flush()
                os.fsync(descriptor)
            os.replace(scratch, path)
        except OSError:
            os.unlink(scratch)
            raise
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror}. It is needed here; see that path on this host") from error
    return path
