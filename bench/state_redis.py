# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Redis: the keys of a prefix, half of all, beside the plain ways to write them to a file."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping
from typing import Any

import hosts
from figures import target
from report import table

PLAYBOOK = hosts.PLAYBOOKS / "snapshot.yml"
HOST = "data"
KEPT = "/var/backups/bench-redis"
SCRIPT = "/var/tmp/plain_redis.py"  # noqa: S108 - on a host of our own
FILE = "/var/tmp/plain_redis"  # noqa: S108
SECRET = "/root/bench.redis"  # noqa: S105 - where it is
OPTIONS = {"prefix": "nextstep:prod:", "password_file": SECRET}
PLAIN = {
    "pipeline": ("SCAN, then DUMP and PTTL in pipelines of 1,000", f"python3 {SCRIPT} pipeline {FILE}"),
    "lua": ("the same by one Lua script for each step of SCAN", f"python3 {SCRIPT} lua {FILE}"),
    "rdb": ("`redis-cli --rdb`, all keys, of both prefixes", f"redis-cli --rdb {FILE} 2>/dev/null >&2"),
}
SAME = ("pipeline", "lua")
"""Of these, those that give what is asked for."""


def measure(quick: bool) -> dict[str, Any]:
    """Everything, in the lab that is up."""
    keys, repeats = (20_000, 1) if quick else (1_000_000, 5)
    hosts.say(f"redis: making {keys:,} keys")
    secrets = json.loads((hosts.STATE / "secrets.json").read_text())
    hosts.write(HOST, SECRET, secrets["redis"])
    hosts.write(HOST, SCRIPT, (hosts.ROOT / "bench/plain_redis.py").read_text())
    _redis("redis-cli config set save '' && redis-cli config set repl-diskless-sync-delay 0")
    _redis(f"python3 {SCRIPT} fill {keys}", timeout=600)
    seconds: dict[str, list[float]] = {way: [] for way in (*PLAIN, "ours")}
    size = 0
    for number in range(repeats):
        for way, taken in seconds.items():
            if way == "ours":
                manifest = _take(verify=False)
                taken.append(manifest["completed"] - manifest["started"])
                size = sum(one["size"] for one in manifest["files"].values())
            else:
                taken.append(_timed(PLAIN[way][1]))
        hosts.say(f"redis: {number + 1} of {repeats}: { ({way: round(one[-1], 2) for way, one in seconds.items()}) }")
    hosts.say("redis: a snapshot that is proven, and a restore")
    proof = _take(verify=True)["verified"]["seconds"]
    medians = {way: round(statistics.median(taken), 2) for way, taken in seconds.items()}
    best = min(SAME, key=medians.__getitem__)
    return {
        "keys": keys,
        "repeats": repeats,
        "seconds": medians,
        "best": best,
        "ratio": round(medians["ours"] / medians[best], 2),
        "mib": round(size / 2**20),
        "proof": round(proof, 1),
        "restore": _restore(),
    }


def targets(measured: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What it must show."""
    return [target("Redis: snapshot of half the keys ÷ the best plain way", measured["ratio"], 1.10)]


_TEXT = """\
{keys:,} keys of all types, three of ten of which expire; half of them have the prefix. The plain ways only write keys,
expiries and payloads of DUMP to a file. *Ours* is the module `snapshot`, from the moment that
it has found nothing in its way until all of it is on the disk: values (of streams payloads), digests of them,
compression ({mib} MiB), SHA-256. Medians of {repeats}, the best plain way that gives the same keys is *{best}*:
{ratio} times as long. Proven as well, that is restored into a
server of its own and compared: {proof} s more. A restore of all of it, beside what is there and then in its place:
{restore} s."""


def render(measured: Mapping[str, Any]) -> str:
    """Its part of the page."""
    rows = [(way, what, measured["seconds"][way]) for way, (what, _command) in PLAIN.items()]
    rows.append(("ours", "the module `snapshot`, not proven", measured["seconds"]["ours"]))
    return "\n\n".join(["## Redis", _TEXT.format(**measured), table(("way", "what", "seconds"), rows)])


def _redis(command: str, timeout: float = 60) -> str:
    return hosts.ssh(HOST, f"export REDISCLI_AUTH=$(cat {SECRET}); {command}", timeout=timeout)


def _timed(command: str) -> float:
    """Seconds on the host, until what was written is on the disk."""
    began, ended = _redis(f"rm -f {FILE}; sync; date +%s.%N; {command} && sync {FILE}; date +%s.%N", 300).split()
    return float(ended) - float(began)


def _take(verify: bool) -> dict[str, Any]:
    wanted = {"part": "keys", "destination": KEPT, "verify": verify, "redis": OPTIONS}
    played = hosts.play(PLAYBOOK, "local", {"bench_snapshot": wanted}, beside_load=True)
    manifest: dict[str, Any] = played.tasks["Take it"][0]["manifest"]
    return manifest


def _restore() -> float:
    newest = hosts.ssh(HOST, f"ls -d {KEPT}/keys.*").split()[-1]
    _redis("redis-cli set nextstep:prod:changed 1")
    wanted = {"path": newest, "accept_data_loss": True, "redis": OPTIONS}
    played = hosts.play(PLAYBOOK, "local", {"bench_restore": wanted})
    return round(float(played.tasks["Bring it back"][0]["seconds"]), 1)
