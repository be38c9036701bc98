# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files: a tree of many small ones, beside `tar | zstd`."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from typing import Any

import hosts
from figures import target
from report import table

PLAYBOOK = hosts.PLAYBOOKS / "snapshot.yml"
HOST = "data"
TREE = "/srv/bench"
KEPT = "/var/backups/bench-files"
FILE = "/var/tmp/plain_files"  # noqa: S108 - on a host of our own
PLAIN = f"tar --create --file=- -C / {TREE[1:]} | zstd -q -T0 > {FILE}"
# Pages that nobody has read for half a minute may be gone, on a virtual machine that gives memory back.
WARM = f"tar --create --file=- -C / {TREE[1:]} | cat > /dev/null"
SAME_LEVEL = PLAIN.replace("zstd -q", "zstd -q -2")

# Half of each file is text, which zstd packs well, and half is not.
_FILL = """
import os, pathlib, random
some = random.Random(3)
words = [some.randbytes(4).hex() for _ in range(5000)]
texts = [' '.join(some.choices(words, k=2222)).encode() for _ in range(2000)]
for folder in range(500):
    place = pathlib.Path('{tree}', str(folder % 10), str(folder))
    place.mkdir(parents=True)
    for number in range({each}):
        (place / f'{{number}}.dat').write_bytes(some.choice(texts) + some.randbytes(20000))
"""


def measure(quick: bool) -> dict[str, Any]:
    """Everything, in the lab that is up."""
    each, repeats = (2, 1) if quick else (100, 9)
    hosts.say(f"files: making {500 * each:,} files")
    hosts.ssh(HOST, f"rm -rf {TREE}; python3", _FILL.format(tree=TREE, each=each), 600)
    mib = int(hosts.ssh(HOST, f"du -sm --apparent-size {TREE}").split()[0])
    ways = {"plain": lambda: _by(PLAIN), "same_level": lambda: _by(SAME_LEVEL), "ours": _ours}
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    size: dict[str, float] = {}
    for number in range(repeats):
        # Each comes first, second and last as often: what one leaves of the machine's memory is the next one's.
        first = number % len(ways)
        for way in [*ways, *ways][first : first + len(ways)]:
            hosts.ssh(HOST, f"rm -rf {KEPT} {FILE}; sync; {WARM}", timeout=300)
            taken, size[way] = ways[way]()
            seconds[way].append(taken)
        hosts.say(f"files: {number + 1} of {repeats}: { ({way: round(one[-1], 2) for way, one in seconds.items()}) }")
    hosts.ssh(HOST, f"rm -rf {TREE} {FILE} {KEPT}", timeout=300)
    medians = {way: round(statistics.median(taken), 2) for way, taken in seconds.items()}
    return {
        "files": 500 * each,
        "mib": mib,
        "repeats": repeats,
        "seconds": medians,
        "archive_mib": {way: round(one / 2**20) for way, one in size.items()},
        "ratio": round(medians["ours"] / medians["plain"], 2),
        "same_level_ratio": round(medians["ours"] / medians["same_level"], 2),
    }


def _by(command: str) -> tuple[float, float]:
    """Seconds that plain tools take, and bytes that they write."""
    timed = f"date +%s.%N; {command}; sync {FILE}; date +%s.%N; stat -c %s {FILE}"
    began, ended, size = map(float, hosts.ssh(HOST, timed, timeout=300).split())
    return ended - began, size


def _ours() -> tuple[float, float]:
    """The same of the module."""
    wanted = {"part": "tree", "destination": KEPT, "verify": False, "files": {"paths": [TREE]}}
    played = hosts.play(PLAYBOOK, "local", {"bench_snapshot": wanted}, beside_load=True)
    manifest = played.tasks["Take it"][0]["manifest"]
    return manifest["completed"] - manifest["started"], sum(one["size"] for one in manifest["files"].values())


def targets(measured: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What it must show."""
    return [target("Files: snapshot ÷ `tar | zstd`", measured["ratio"], 1.10)]


_TEXT = """\
{files:,} files of {mib} MiB together, all of them read once before each way. *Ours* is the module `snapshot`, from the
moment that it has found nothing in its way until all of it is on the disk: also owners, ACLs and extended attributes,
SHA-256, and if anything changed meanwhile; without the proof, as plain tools have none. Medians of {repeats}, each way
as often first as last; {ratio} times as long as zstd's usual level, 3, and {same_level_ratio} times as long as the
level that the module takes, 2."""


def render(measured: Mapping[str, Any]) -> str:
    """Its part of the page."""
    ways = {"plain": f"`{PLAIN}`", "same_level": f"`{SAME_LEVEL}`", "ours": "ours"}
    rows = [(told, measured["seconds"][way], measured["archive_mib"][way]) for way, told in ways.items()]
    return "\n\n".join(["## Files", _TEXT.format(**measured), table(("way", "seconds", "MiB of archive"), rows)])
