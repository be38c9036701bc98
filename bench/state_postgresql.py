# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""PostgreSQL: a snapshot under a write load, and a restore, beside the server's own tools with the same promise."""

from __future__ import annotations

import re
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import hosts
from figures import target
from report import table

PLAYBOOK = hosts.PLAYBOOKS / "snapshot.yml"
HOST = "data"
DATABASE = "load"
KEPT = "/var/backups/bench"
PLAIN = "/var/tmp/plain"  # noqa: S108 - on a host of our own
SCRIPT = "/var/tmp/plain_postgresql.sh"  # noqa: S108
WAYS = ("apart", "together")
"""Of the plain tools: digests after the dump, or meanwhile."""
CLIENTS = 4
STEADY = 8.0
"""Seconds of load before each snapshot, by which it is compared."""

_DATA = """
CREATE TABLE documents (id bigserial PRIMARY KEY, title text NOT NULL, body text NOT NULL);
INSERT INTO documents (title, body)
    SELECT 'document ' || n, (SELECT string_agg(md5(n || ' ' || m), ' ') FROM generate_series(1, 400) AS m)
    FROM generate_series(1, 40000 / {divisor}) AS n;
CREATE TABLE events (id bigserial PRIMARY KEY, at timestamptz NOT NULL, what jsonb NOT NULL);
INSERT INTO events (at, what)
    SELECT timestamptz '2026-01-01 00:00Z' + n * interval '1 second',
           jsonb_build_object('n', n, 'user', md5(n::text), 'path', '/api/v1/items/' || n % 1000,
                              'tags', jsonb_build_array(n % 7, md5((n % 50)::text)), 'price', n / 7.0)
    FROM generate_series(1, 1200000 / {divisor}) AS n;
CREATE INDEX ON events (at);
SELECT count(lo_from_bytea(0, decode((SELECT string_agg(md5(n || ' ' || m), '')
                                      FROM generate_series(1, 4096) AS m), 'hex')))
    FROM generate_series(1, 3000 / {divisor}) AS n;
VACUUM ANALYZE;
"""

_MEMORY = """
rm -f /tmp/enough; renice -n 19 $$ > /dev/null
until [ -e /tmp/enough ]; do
    for pid in $(pgrep -x python3); do awk '/^VmHWM/ {print $2}' /proc/$pid/status 2>/dev/null; done
    sleep 0.5
done | sort -n | tail -1
"""
"""The most memory that a process of Python on the host ever had, in KiB: modules are the only ones. Only ours is looked
at, so it must not take from what is measured; what is read is a peak itself.
"""


def measure(quick: bool) -> dict[str, Any]:
    """Everything, in the lab that is up."""
    divisor, repeats, restores = (40, 1, 1) if quick else (1, 3, 2)
    _prepare(divisor)
    measured: dict[str, Any] = {
        "bytes": int(_sql(f"SELECT pg_database_size('{DATABASE}')")),
        "version": _sql("SHOW server_version").split()[0],
        "repeats": repeats,
        "restores": restores,
    }
    snapshots: dict[str, list[dict[str, float]]] = {way: [] for way in (*WAYS, "ours")}
    for number in range(repeats):
        for way, taken in snapshots.items():
            hosts.say(f"postgresql: snapshot {way}, {number + 1} of {repeats}")
            taken.append(_under_writes(_ours if way == "ours" else _plain(way)))
            hosts.say(f"postgresql: {taken[-1]}")
    measured["snapshots"] = {way: _medians(taken) for way, taken in snapshots.items()}
    measured["snapshots"]["ours"]["peak_mib"] = max(one["peak_mib"] for one in snapshots["ours"])
    hosts.say("postgresql: a snapshot that is proven")
    measured["proof"] = _under_writes(lambda: _ours(verify=True))
    restored = []
    for number in range(restores):
        hosts.say(f"postgresql: restores, {number + 1} of {restores}")
        restored.append({"plain": _plain_restore(), "ours": _our_restore()})
        hosts.say(f"postgresql: {restored[-1]}")
    measured["restore"] = _medians(restored)
    _derive(measured)
    return measured


def _derive(measured: dict[str, Any]) -> None:
    snapshots, restore = measured["snapshots"], measured["restore"]
    fastest = min(WAYS, key=lambda way: float(snapshots[way]["seconds"]))
    measured["fastest"] = fastest
    measured["time_ratio"] = round(snapshots["ours"]["seconds"] / snapshots[fastest]["seconds"], 3)
    measured["load_ratio"] = round(snapshots["ours"]["tps"] / snapshots[fastest]["tps"], 3)
    measured["restore_ratio"] = round(restore["ours"] / restore["plain"], 3)


def targets(measured: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What it must show."""
    peak = measured["snapshots"]["ours"]["peak_mib"]
    return [
        target("PostgreSQL: snapshot ÷ the fastest plain tools with the same promise", measured["time_ratio"], 1.10),
        target("PostgreSQL: load beside it ÷ beside those tools", measured["load_ratio"], 0.9, at_least=True),
        target("PostgreSQL: peak memory of our process, MiB", peak, 100),
        target("PostgreSQL: compared restore ÷ plain restore and plain digests", measured["restore_ratio"], 1.25),
    ]


_TEXT = """\
A database of {mib} MiB in PostgreSQL {version}: large text, jsonb, 3,000 large objects, sequences, and pgbench's tables
at scale 10, which {clients} clients write to as fast as they can, on the same processors. All ways give a dump and
digests of one moment, the roles, SHA-256 of every file, all of it on the disk. *Apart* and *together* are `psql`,
`pg_dump --format=directory --jobs=2 --compress=1` and `sha256sum` ([plain_postgresql.sh](../plain_postgresql.sh)), with
the digests after the dump or beside it; *ours* is the module `snapshot`, from the moment that it has found nothing in
its way until all of it is on the disk. Medians of {repeats}. *Load*: transactions per second of pgbench meanwhile, and
in the {steady:.0f} s before."""

_PROOF = """\
Proven as well, that is restored whole into a server of its own and compared, with the lowest priority beside the same
load: {seconds} s, {proof} s of them for the proof, at {tps} transactions per second."""

_RESTORE = """\
Into a new database, without load, medians of {restores}: `createdb`, `pg_restore --jobs=2` and digests {plain} s; the
step of `snapshot_restore` that makes the database, restores, compares, analyzes and swaps {ours} s."""


def render(measured: Mapping[str, Any]) -> str:
    """Its part of the page."""
    rows = [
        (way, one["seconds"], one["tps"], one["steady_tps"], one.get("peak_mib", ""))
        for way, one in measured["snapshots"].items()
    ]
    proof = measured["proof"]
    sections = [
        "## PostgreSQL",
        _TEXT.format(
            mib=round(measured["bytes"] / 2**20),
            version=measured["version"],
            clients=CLIENTS,
            repeats=measured["repeats"],
            steady=STEADY,
        ),
        table(("way", "seconds", "load, tps", "load before, tps", "peak of our process, MiB"), rows),
        _PROOF.format(seconds=proof["seconds"], proof=proof["proof"], tps=proof["tps"]),
        _RESTORE.format(restores=measured["restores"], **measured["restore"]),
    ]
    return "\n\n".join(sections)


def _prepare(divisor: int) -> None:
    hosts.say("postgresql: making the database")
    hosts.write(HOST, SCRIPT, (hosts.ROOT / "bench/plain_postgresql.sh").read_text())
    hosts.ssh(HOST, f"chmod 755 {SCRIPT}")
    _as_postgres(f"createdb {DATABASE} && pgbench -q -i -s 10 {DATABASE} 2>/dev/null", timeout=300)
    _sql(_DATA.format(divisor=divisor), DATABASE, timeout=600)


def _as_postgres(command: str, stdin: str = "", timeout: float = 60) -> str:
    path = "PATH=/usr/lib/postgresql/15/bin:$PATH"
    return hosts.ssh(HOST, f"cd / && {path} runuser -u postgres -- bash -c '{command}'", stdin, timeout)


def _sql(commands: str, database: str = "postgres", timeout: float = 60) -> str:
    return _as_postgres(f"psql -XqtA -v ON_ERROR_STOP=1 {database}", commands, timeout).strip()


@contextmanager
def _writers() -> Iterator[None]:
    """pgbench on the host, which tells of every second."""
    pgbench = f"/usr/lib/postgresql/15/bin/pgbench -n -c {CLIENTS} -j 1 -T 1200 -P 1 --progress-timestamp {DATABASE}"
    command = f"cd / && (runuser -u postgres -- {pgbench} >/dev/null 2>/tmp/writers & echo $!) </dev/null"
    pid = int(hosts.ssh(HOST, command))
    try:
        yield
    finally:
        hosts.ssh(HOST, f"kill {pid}; while kill -0 {pid} 2>/dev/null; do sleep 0.1; done")


def _under_writes(take: Callable[[], dict[str, float]]) -> dict[str, float]:
    """What ``take`` measured, with the transactions per second while it ran, and before."""
    _sql("VACUUM pgbench_accounts, pgbench_branches, pgbench_tellers; CHECKPOINT;", DATABASE, 120)
    with _writers():
        time.sleep(STEADY)
        taken = take()
    seconds = per_second(hosts.ssh(HOST, "cat /tmp/writers"))
    began, ended = taken.pop("began"), taken.pop("ended")
    # A second is told of at its end; the first one has the connecting in it.
    before = [tps for at, tps in seconds if at < began][1:]
    meanwhile = [tps for at, tps in seconds if began + 1 <= at <= ended]
    if not before or not meanwhile:
        raise hosts.BenchError(f"pgbench told nothing between {began} and {ended}")
    return {
        "seconds": round(ended - began, 1),
        "tps": round(statistics.fmean(meanwhile)),
        "steady_tps": round(statistics.fmean(before)),
        **taken,
    }


def per_second(said: str) -> list[tuple[float, float]]:
    """When (unix seconds) and how many transactions per second pgbench told of."""
    found = re.findall(r"^progress: ([\d.]+) s, ([\d.]+) tps", said, re.MULTILINE)
    return [(float(at), float(tps)) for at, tps in found]


def _plain(way: str) -> Callable[[], dict[str, float]]:
    def take() -> dict[str, float]:
        script = f"{SCRIPT} {way} {DATABASE} {PLAIN}"
        began, ended = _as_postgres(f"date +%s.%N && {script} && date +%s.%N", timeout=600).split()
        return {"began": float(began), "ended": float(ended)}

    return take


def _ours(verify: bool = False) -> dict[str, float]:
    wanted = {"part": DATABASE, "destination": KEPT, "verify": verify, "postgresql": {"database": DATABASE}}
    with ThreadPoolExecutor(1) as pool:
        peak = pool.submit(hosts.ssh, HOST, _MEMORY, "", 1200)
        try:
            played = hosts.play(PLAYBOOK, "local", {"bench_snapshot": wanted}, beside_load=True)
        finally:
            hosts.ssh(HOST, "touch /tmp/enough")
    manifest = played.tasks["Take it"][0]["manifest"]
    taken = {"began": manifest["started"], "ended": manifest["completed"], "peak_mib": round(int(peak.result()) / 1024)}
    if verify:
        taken["proof"] = round(manifest["verified"]["seconds"], 1)
    return taken


def _plain_restore() -> float:
    began, ended = _as_postgres(f"date +%s.%N && {SCRIPT} restore plain {PLAIN} && date +%s.%N", timeout=600).split()
    _sql("DROP DATABASE plain; CHECKPOINT;", timeout=120)
    return round(float(ended) - float(began), 1)


def _our_restore() -> float:
    """Seconds of the step that restores, compares and swaps; the module compares before it once more."""
    newest = hosts.ssh(HOST, f"ls -d {KEPT}/{DATABASE}.*").split()[-1]
    wanted = {"path": newest, "accept_data_loss": True, "postgresql": {"database": DATABASE}}
    # What is restored has to differ from what is there, or nothing is done.
    _sql("UPDATE pgbench_branches SET bbalance = bbalance + 1 WHERE bid = 1;", DATABASE)
    played = hosts.play(PLAYBOOK, "local", {"bench_restore": wanted})
    for old in _sql(f"SELECT datname FROM pg_database WHERE datname LIKE '{DATABASE}_before_%'").split():  # noqa: S608
        _sql(f'DROP DATABASE "{old}"; CHECKPOINT;', timeout=120)
    return round(float(played.tasks["Bring it back"][0]["seconds"]), 1)


def _medians(measured: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: round(statistics.median(one[name] for one in measured), 1) for name in measured[0]}
