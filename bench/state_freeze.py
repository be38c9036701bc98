# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writers that are held at PgBouncer: how long their clients wait, and that none of them fails."""

from __future__ import annotations

import re
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

import hosts
from figures import target
from report import table

HOST = "data"
CLIENTS = 20
RATE = 1000
"""Transactions a second, at most."""
LIMIT, WAIT = 6.0, 2.0
"""Seconds that a hold may last, and that open transactions get to end."""
EACH = 14.0
"""Seconds of load for each hold, its playbook included."""
LATE = 2.0
"""Seconds after that until a hold whose run has died is over."""
PLAYBOOK = hosts.ROOT / "bench/playbooks/freeze.yml"
SECRET = "/root/bench.password"  # noqa: S105 - where it is
STATE = "/var/lib/bluegreen-cutover/bench"
CONSOLE = "host=127.0.0.1 port=6432 user=bench dbname=pgbouncer"
_BIN = "/usr/lib/postgresql/15/bin/pgbench"

_POOLER = """
[databases]
bench = host=127.0.0.1 port=5432
[pgbouncer]
pidfile = /var/run/postgresql/pgbouncer.pid
listen_addr = 127.0.0.1
listen_port = 6432
unix_socket_dir =
auth_type = plain
auth_file = /etc/pgbouncer/userlist.txt
admin_users = bench
pool_mode = transaction
default_pool_size = 20
max_client_conn = 200
"""

_PREPARE = """
set -e
umask 077
password=$(head -c 18 /dev/urandom | base64 | tr '+/' '-_')
printf %s "$password" > {secret}
printf '127.0.0.1:*:*:bench:%s\\n' "$password" > /root/.pgpass
cat > /etc/pgbouncer/pgbouncer.ini
printf '"bench" "%s"\\n' "$password" > /etc/pgbouncer/userlist.txt
chown postgres /etc/pgbouncer/*
cd /tmp
runuser -u postgres -- psql --quiet --no-psqlrc <<END
CREATE ROLE bench LOGIN PASSWORD '$password';
CREATE DATABASE bench OWNER bench;
END
systemctl restart pgbouncer
{pgbench} -h 127.0.0.1 -U bench --initialize --quiet --scale=10 bench 2> /dev/null
"""

_LOAD = """
cd /tmp && rm -f bench.*
{pgbench} -h 127.0.0.1 -p 6432 -U bench -n -c {clients} -j 2 -R {rate} -T {seconds} --log --log-prefix=bench bench 2>&1
# A transaction's time without its wait for the schedule of -R.
awk '{{ took = $3 - $7; if (took > most) most = took }} END {{ print "slowest", most; print "count", NR }}' bench.*
"""

_LATE = """
import json, subprocess, time
hold = json.load(open("{state}/freeze.json"))
while subprocess.run(["psql", "-XqtA", "-c", "SHOW DATABASES", "{console}"],
                     capture_output=True, text=True, check=True).stdout.splitlines()[0].split("|")[-2] == "1":
    time.sleep(0.02)
print(time.clock_gettime(time.CLOCK_BOOTTIME) - hold["deadline"])
"""
"""How many seconds after its time a hold is over."""


def measure(quick: bool) -> dict[str, Any]:
    """Everything, in the lab that is up."""
    holds = 2 if quick else 9
    _prepare()
    measured: dict[str, Any] = {"holds": holds, "limit": LIMIT + WAIT}
    for name, hold in {"ours": _ours, "psql": _psql}.items():
        hosts.say(f"freeze: {holds} holds by {name}")
        clients, held = _under_load([hold] * holds)
        measured[name] = {**clients, "held": round(statistics.median(held), 3), "longest": round(max(held), 3)}
        hosts.say(f"freeze: {measured[name]}")
    hosts.say("freeze: a run that ends while it holds")
    clients, late = _under_load([_dies])
    measured["died"] = {**clients, "late": round(late[0], 2)}
    measured["ratio"] = round(measured["ours"]["held"] / measured["psql"]["held"], 2)
    return measured


def targets(measured: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What it must show."""
    ours, died = measured["ours"], measured["died"]
    return [
        target("PgBouncer: clients that failed while they were held", ours["failed"], 0),
        target("PgBouncer: the same when the run that held them died", died["failed"], 0),
        target("PgBouncer: seconds after its time until such a hold was over", died["late"], LATE),
    ]


_TEXT = """\
{clients} clients of pgbench at up to {rate} transactions a second, through PgBouncer in transaction mode, on the same
processors; {holds} holds with nothing in between, by the module `freeze` and by two tasks that run `psql`. *Held* is
from the first to the last moment in which a client waits, most of it Ansible's own way from one task to the next;
*slowest* is the longest transaction that a client saw."""

_DIED = """\
What is paused by `psql` and not resumed stays paused for ever. A run of ours that ended while it held them, for at most
{limit:g} s: they were let go {late} s after that time, and {failed} of {count} transactions failed."""


def render(measured: Mapping[str, Any]) -> str:
    """Its part of the page."""
    columns = ("held", "longest", "slowest", "count", "failed")
    heading = ("way", "held, median s", "longest, s", "slowest transaction, s", "transactions", "failed")
    rows = [(name, *(measured[name][column] for column in columns)) for name in ("ours", "psql")]
    sections = [
        "## Writers held at PgBouncer",
        _TEXT.format(clients=CLIENTS, rate=RATE, holds=measured["holds"]),
        table(heading, rows),
        f"Ours ÷ psql: {measured['ratio']}. " + _DIED.format(limit=measured["limit"], **measured["died"]),
    ]
    return "\n\n".join(sections)


def _prepare() -> None:
    hosts.ssh(HOST, _PREPARE.format(secret=SECRET, pgbench=_BIN), _POOLER)


def _under_load(holds: Sequence[Callable[[], float]]) -> tuple[dict[str, Any], list[float]]:
    """What clients saw while all ``holds`` were done, one after the other, and what each of these came to."""
    seconds = round(10 + EACH * len(holds))
    command = _LOAD.format(pgbench=_BIN, clients=CLIENTS, rate=RATE, seconds=seconds)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(hosts.ssh, HOST, command, timeout=seconds + 60)
        time.sleep(3)
        seen = [hold() for hold in holds]
        if running.done():
            raise hosts.BenchError(f"the load of {seconds} s ended before the holds did: {running.result()[-2000:]}")
        said = running.result()
    found = {name: re.search(pattern, said, re.MULTILINE) for name, pattern in _SAID.items()}
    missing = [name for name, match in found.items() if match is None]
    if missing:
        raise hosts.BenchError(f"pgbench does not say {missing[0]}: {said[-2000:]}")
    failed, slowest, count = (int(match[1]) for match in found.values() if match is not None)
    clients = {"failed": failed + said.count("aborted"), "slowest": round(slowest / 1e6, 3), "count": count}
    return clients, seen


_SAID = {
    "failed": r"number of failed transactions: (\d+)",
    "slowest": r"^slowest (\d+)$",
    "count": r"^count (\d+)$",
}


def _arguments(state: str) -> dict[str, Any]:
    return {"state": state, "service": "bench", "token": int(time.time())}


def _frozen() -> dict[str, Any]:
    pooler = {"database": "bench", "user": "bench", "password_file": SECRET}
    return {**_arguments("frozen"), "limit": LIMIT, "wait": WAIT, "pgbouncer": pooler}


def _ours() -> float:
    """Seconds that they were held by the module."""
    frozen = _frozen()
    variables = {"bench_frozen": frozen, "bench_thawed": {**_arguments("thawed"), "token": frozen["token"]}}
    played = hosts.play(PLAYBOOK, "local", variables, beside_load=True)
    return float(played.tasks["Let them go"][0]["held"])


def _psql() -> float:
    """The same by two tasks that run psql."""
    played = hosts.play(PLAYBOOK, "local", {"bench_console": CONSOLE}, beside_load=True)
    began, ended = (
        datetime.fromisoformat(played.tasks[name][0][moment])
        for name, moment in (("Pause", "start"), ("Resume", "end"))
    )
    return (ended - began).total_seconds()


def _dies() -> float:
    """Seconds after its time until a hold is over whose run has ended."""
    hosts.play(PLAYBOOK, "local", {"bench_frozen": _frozen(), "bench_dies": True}, beside_load=True)
    return float(hosts.ssh(HOST, f"python3 - <<'END'\n{_LATE.format(state=STATE, console=CONSOLE)}\nEND"))
