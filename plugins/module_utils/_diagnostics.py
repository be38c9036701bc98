# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is left of a colour that failed, while it is still there: its unit, its journal, what it answers, what it does.

Nothing here reads an environment: that is where services have their secrets.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import io
import json
import os
import re
import tarfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ansible_collections.bluegreen.cutover.plugins.module_utils._command import Run
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import StoreError
from ansible_collections.bluegreen.cutover.plugins.module_utils._workloads.systemd import check_name

QUICK = 10.0
"""Seconds that a command, or a request, may take."""
LINES = 1000
"""Of the unit's journal."""
LIMIT = 200_000
"""Characters of one file; the last ones are kept."""
BODY = 4096
"""Bytes of an answer that are kept."""
SAMPLES, EVERY = 20, 0.1
"""Of a profile: how often the threads are looked at, and the seconds in between."""
KEPT = 10
"""Bundles of a service; older ones go."""

_SHOWN = (
    "Result,ActiveState,SubState,UnitFileState,MainPID,ExecMainCode,ExecMainStatus,NRestarts,ActiveEnterTimestamp,"
    "StateChangeTimestamp,MemoryCurrent,MemoryMax,TasksCurrent,TasksMax,CPUUsageNSec,CPUWeight,LimitNOFILE"
)
_MACHINE = ("loadavg", "pressure/cpu", "pressure/io", "pressure/memory", "meminfo")


def collect(
    start: Mapping[str, Any],
    paths: Sequence[str],
    run: Run,
    *,
    pause: Callable[[float], None] = time.sleep,
    ask: Callable[[str], str] | None = None,
) -> dict[str, str]:
    """Texts by file name, of the unit that ``start`` (of a plan's colour) names; ``paths`` are asked for besides
    readiness and liveness. What cannot be had is told in its place.
    """
    unit = check_name(start["unit"])
    base = start["ready"][: -len(urlsplit(start["ready"]).path)]
    urls = list(dict.fromkeys([start["ready"], start["live"], *(base + path for path in paths)]))
    shown = _said(run, ["systemctl", "show", f"--property={_SHOWN}", "--", unit])
    with ThreadPoolExecutor(max_workers=len(urls)) as pool:
        answers = pool.map(ask or request, urls)
    pid = re.search(r"^MainPID=([1-9]\d*)$", shown, re.MULTILINE)
    files = {
        "unit.txt": _said(run, ["systemctl", "status", "--no-pager", "--full", "--lines=0", "--", unit]) + "\n" + shown,
        "journal.txt": _said(run, [*_JOURNAL, f"--unit={unit}"]),
        "requests.txt": "\n".join(answers),
        "profile.txt": profile(Path("/proc", pid.group(1)), pause) if pid else f"{unit} has no process\n",
        "machine.txt": "".join(f"{name}:\n{_text(Path('/proc', name))}\n" for name in _MACHINE)
        + _said(run, ["df", "--human-readable", "--local"]),
    }
    return {name: masked(text)[-LIMIT:] for name, text in files.items()}


_SECRET = re.compile(
    r"((?:password|passwd|secret|token|api[_-]?key|credentials?)[\"']?\s*[=:]\s*|bearer\s+|basic\s+)[\"']?[^\s\"',;&]+"
    r"|(?<=://)[^\s/@:]*:[^\s/@]+(?=@)",
    re.IGNORECASE,
)


def masked(text: str) -> str:
    """``text`` without what follows the name of a secret, and without the passwords of addresses; of a secret that
    nothing tells as one nobody can know.
    """
    return _SECRET.sub(lambda found: f"{found.group(1) or ''}***", text)


_JOURNAL = ["journalctl", "--no-pager", "--quiet", f"--lines={LINES}", "--output=short-iso-precise"]


def _said(run: Run, argv: Sequence[str]) -> str:
    status, out, err = run(argv, QUICK)
    return out or f"{' '.join(argv)}: status {status}: {err.strip()}\n"


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        return f"cannot be read: {error.strerror}\n"


def request(url: str) -> str:
    """A request and its answer as they went over the wire, each with when it did; never raises."""
    parts = urlsplit(url)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    sent = {"Host": parts.netloc, "User-Agent": "bluegreen.cutover", "Accept": "*/*", "Connection": "close"}
    began, lines = time.monotonic(), [f"* {url}"]

    def mark(what: str) -> None:
        lines.append(f"* {what} after {(time.monotonic() - began) * 1000:.1f} ms")

    try:
        with contextlib.closing(http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=QUICK)) as link:
            link.connect()
            mark("connected")
            link.request("GET", path, headers=sent)
            lines += [f"> GET {path} HTTP/1.1", *(f"> {name}: {value}" for name, value in sent.items())]
            answer = link.getresponse()
            mark("answered")
            lines.append(f"< {answer.status} {answer.reason}")
            lines += [f"< {name}: {value}" for name, value in answer.getheaders()]
            lines.append(answer.read(BODY).decode("utf-8", "replace"))
            mark("ended")
    except (OSError, http.client.HTTPException) as error:
        mark(f"{type(error).__name__}: {error}")
    return "\n".join(lines) + "\n"


def profile(process: Path, pause: Callable[[float], None] = time.sleep) -> str:
    """What each thread of a process did for two seconds, as the kernel tells: how much of a processor it had, and where
    it waited; then its limits and its open files. ``process`` is its folder in /proc.
    """
    seen: dict[str, Counter[str]] = {}
    ticks: dict[str, list[int]] = {}
    names: dict[str, str] = {}
    for number in range(SAMPLES):
        if number:
            pause(EVERY)
        for thread, name, state, used, waits in _threads(process):
            names[thread] = name
            seen.setdefault(thread, Counter())[f"{state} {waits}"] += 1
            ticks.setdefault(thread, []).append(used)
    if not seen:
        return f"{process} was gone before it could be looked at\n"
    span = (SAMPLES - 1) * EVERY * os.sysconf("SC_CLK_TCK")
    rows = []
    for thread, told in sorted(ticks.items(), key=lambda item: item[1][0] - item[1][-1]):
        where = ", ".join(f"{what} {count}" for what, count in seen[thread].most_common())
        rows.append(f"{thread} {names[thread]}: {100 * (told[-1] - told[0]) / span:.0f} % of a processor; {where}")
    said = [f"{SAMPLES} looks at each thread, {EVERY:g} s apart: its state, and where in the kernel it waits", *rows]
    try:
        said.append(f"open files: {len(list((process / 'fd').iterdir()))}")
    except OSError as error:
        said.append(f"open files: {error.strerror}")
    return "\n".join([*said, *(f"{name}:\n{_text(process / name)}" for name in ("status", "limits", "io"))])


def _threads(process: Path) -> Iterator[tuple[str, str, str, int, str]]:
    """Id, name, state, ticks of a processor, and where it waits, of every thread."""
    with contextlib.suppress(OSError):
        for task in sorted((process / "task").iterdir()):
            try:
                before, _bracket, after = (task / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")
                waits = (task / "wchan").read_text(encoding="ascii").strip()
            except OSError:
                # It has ended meanwhile.
                continue
            fields = after.split()
            yield task.name, before.partition("(")[2], fields[0], int(fields[11]) + int(fields[12]), waits


def pack(folder: Path, name: str, files: Mapping[str, str], about: Mapping[str, Any]) -> Path:
    """Write one archive of ``files`` (texts by path), with a manifest that has ``about`` and their checksums; return
    where it is. Only root can read it. Raises ``StoreError``.
    """
    sums = {path: hashlib.sha256(text.encode()).hexdigest() for path, text in files.items()}
    manifest = json.dumps({**about, "files": sums}, indent=2, sort_keys=True) + "\n"
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as packed:
        for inner, text in [("manifest.json", manifest), *sorted(files.items())]:
            content = text.encode()
            entry = tarfile.TarInfo(f"{name}/{inner}")
            entry.size, entry.mode, entry.mtime = len(content), 0o600, int(about["at"])
            packed.addfile(entry, io.BytesIO(content))
    path = folder / f"{name}.tar.gz"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        scratch = path.with_suffix(".tmp")
        with open(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as handle:
            handle.write(archive.getvalue())
            handle.flush()
            os.fsync(handle.fileno())
        os.replace(scratch, path)
        for old in sorted(folder.glob("*.tar.gz"))[:-KEPT]:
            old.unlink()
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror}. The evidence is not kept; see that path on this host") from error
    return path
