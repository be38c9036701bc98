# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writers that are held, on real servers: clients wait and none fails, and whatever dies, they are let go (R-E1)."""

from __future__ import annotations

import json
import re
import shlex
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from .data_host import BOUNCER, PASSWORDS, REMEMBERED, Data

if TYPE_CHECKING:
    from .conftest import Lab

SLACK = 30.0
"""Seconds after its time until a hold that nobody ends has ended: far more than it takes, less than clients wait."""
LONGEST = 50
"""Seconds that PgBouncer can be held for, with its client_login_timeout of 60 s."""
ADMIN = {"database": "shop", "user": "lab", "password_file": f"{PASSWORDS}/lab"}
OWNER = {"database": "shop", "user": "shop", "password_file": f"{PASSWORDS}/shop"}
FROZEN = {"do": "freeze", "state": "frozen", "service": "shop", "limit": 30, "wait": 2}
THAWED = {"do": "freeze", "state": "thawed", "service": "shop"}
TRAFFIC = "SELECT count(*) FROM items;\nINSERT INTO items (name, colour) VALUES ('bench', 'bench');\n"


def wait(seconds: float) -> dict[str, Any]:
    return {"do": "ansible.builtin.wait_for", "timeout": seconds}


@pytest.fixture(name="data", scope="module")
def _data(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Data:
    lab.command("up")
    one = Data(lab, tmp_path_factory.mktemp("freeze"))
    one.furnish()
    one.put("/root/traffic.sql", TRAFFIC)
    one.run(
        "sed -i -e '/^shop_session /d' -e '/^shop = /i shop_session = host=127.0.0.1 dbname=shop pool_mode=session'"
        "       -e '/^stats_users/d' -e '/^admin_users/a stats_users = shop' /etc/pgbouncer/pgbouncer.ini"
        " && systemctl restart pgbouncer"
    )
    return one


@pytest.fixture(autouse=True)
def _nobody_held(data: Data) -> Iterator[None]:
    data.run(f"rm -rf {REMEMBERED}")
    yield
    assert not data.is_paused()
    assert setting(data) == ""
    # systemd forgets a unit that has ended when it comes to it, long before a hold would end by itself.
    until = time.monotonic() + 20
    while (left := traces(data)) and time.monotonic() < until:
        time.sleep(0.2)
    assert left == ""


def traces(data: Data) -> str:
    """Whatever is there of a hold."""
    return data.run(
        "find /etc/systemd/system /run/systemd -name '*bluegreen-thaw*'; ls /var/lib/bluegreen-cutover/shop/thaw* "
        "/var/lib/bluegreen-cutover/shop/freeze.json 2>/dev/null; "
        "systemctl list-units --all --no-legend 'bluegreen-thaw*'",
        check=False,
    ).strip()


def setting(data: Data) -> str:
    """The default of the database, as somebody else has set it."""
    return data.psql("SELECT setconfig FROM pg_db_role_setting WHERE setrole = 0")


ROUNDS = f"""
cd /tmp && export PGPASSWORD=$(cat {PASSWORDS}/shop)
until [ -e enough ]; do
    /usr/lib/postgresql/15/bin/pgbench -n -h 127.0.0.1 -p {BOUNCER} -U shop -c 8 -j 2 -T 2 -f /root/traffic.sql \\
        --log --log-prefix=slow shop > round 2>&1
    echo "rc=$?"; cat round
done
echo "slowest $(cat slow.* | sort -n -k3 | tail -1 | cut -d' ' -f3)"
"""
"""Clients that come and go, until told to end; then the longest transaction's microseconds."""


class Clients:
    """pgbench on the data host, through PgBouncer, for as long as the block lasts; what it said, once it has ended."""

    def __init__(self, data: Data) -> None:
        self._data = data
        self._said = ""

    def __enter__(self) -> Clients:
        self._data.run("rm -f /tmp/slow.* /tmp/enough")
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        try:
            self._data.run("timeout 120 sh -c 'until cat /tmp/slow.* 2>/dev/null | grep -q .; do sleep 0.1; done'")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_error: object) -> None:
        self._data.run("touch /tmp/enough")
        self._thread.join()

    def _run(self) -> None:
        self._said = self._data.run(ROUNDS, timeout=600)

    @property
    def failed(self) -> int:
        """Transactions that failed, and clients that were cut off."""
        statuses = re.findall(r"^rc=(\d+)$", self._said, re.MULTILINE)
        counts = re.findall(r"number of failed transactions: (\d+)", self._said)
        assert statuses, self._said
        return sum(map(int, counts)) + sum(status != "0" for status in statuses) + self._said.count("aborted")

    @property
    def longest(self) -> float:
        """Seconds of the longest transaction."""
        return int(self._said.rpartition("slowest ")[2]) / 1e6


PAUSED = f"""
export PGPASSWORD=$(cat {PASSWORDS}/lab)
until [ -e {REMEMBERED}/freeze.json ] &&
    psql -qtA -h 127.0.0.1 -p {BOUNCER} -U lab -d pgbouncer -c 'SHOW DATABASES' | grep -q '^shop|.*|1|[^|]*$'
do sleep 0.1; done
"""
"""Waits until they are held."""
COUNT = "SELECT count(*) FROM items"
ITEMS = f"items() {{ PGPASSWORD=$(cat {PASSWORDS}/shop) psql -h 127.0.0.1 -U shop -d shop -qtA -c '{COUNT}'; }}"
WAITING = f"""{ITEMS}
until PGPASSWORD=$(cat {PASSWORDS}/lab) psql -qtA -h 127.0.0.1 -p {BOUNCER} -U lab -d pgbouncer -c 'SHOW POOLS' |
    grep -q '^shop|shop|[0-9]*|[1-9]'
do sleep 0.1; done
items; sleep 1; items
"""
"""Waits until clients wait at PgBouncer; then how many rows there are, twice, past PgBouncer."""
GOING_ON = f"""{ITEMS}
before=$(items)
until [ "$(items)" -gt "$before" ]; do sleep 0.1; done
"""
"""Waits until clients have written."""


def test_clients_wait_and_none_of_them_fails(data: Data) -> None:
    with Clients(data) as clients:
        frozen = {**FROZEN, "limit": LONGEST, "token": 5, "pgbouncer": ADMIN}
        checked, held, again, waiting, released, twice, going_on = data.call(
            {**frozen, "check": True},
            frozen,
            frozen,
            {"do": "ansible.builtin.command", "argv": ["timeout", "60", "sh", "-c", WAITING]},
            {**THAWED, "token": 5},
            {**THAWED, "token": 5},
            {"do": "ansible.builtin.command", "argv": ["timeout", "60", "sh", "-c", GOING_ON]},
        )
    assert [one["changed"] for one in (checked, held, again, released, twice)] == [True, True, False, True, False]
    assert clients.failed == 0
    # While they wait nobody writes, and as soon as they are let go they do.
    before, after = waiting["stdout_lines"]
    assert before == after
    assert (waiting["rc"], going_on["rc"]) == (0, 0)
    assert 0 < released["told"]["pgbouncer"]["longest_wait"] <= released["held"]
    print(f"MEASURED held {released['held']} s, the longest transaction took {clients.longest:.3f} s")


@pytest.mark.parametrize("writers", [{"pgbouncer": ADMIN}, {"pgbouncer": ADMIN, "read_only": OWNER}])
def test_a_run_that_is_killed_holds_nobody_for_longer(data: Data, writers: dict[str, Any]) -> None:
    limit, grace = 4.0, 2.0
    began = int(time.time())
    with Clients(data) as clients:
        process = data.start({**FROZEN, "token": 6, "limit": limit, "wait": grace, **writers}, wait(60))
        # On the host, where looking takes no time of the hold.
        data.run(f"timeout 120 sh -c {shlex.quote(PAUSED)}")
        data.lab.kill(process)
        killed = time.monotonic()
        while data.is_paused():
            assert time.monotonic() < killed + limit + grace + SLACK
            time.sleep(0.1)
        took = time.monotonic() - killed
    # Writes that meet the advice of read-only fail; that is what it is for, and only PgBouncer's promise is not to.
    if "read_only" not in writers:
        assert clients.failed == 0
    print(f"MEASURED resumed {took:.2f} s after the run was killed; its time was {limit + grace:g} s")
    # That is told when it is done.
    line = f"journalctl -u bluegreen-thaw-shop.service --since=@{began} --no-pager | grep -q 'released by themselves'"
    data.run(f"timeout 60 sh -c {shlex.quote(f'until {line}; do sleep 0.1; done')}")
    # The run is told, should it still be there; one that comes later begins anew.
    (told,) = data.call({**THAWED, "token": 6})
    assert (told["failed"], told["reason"]) == (True, "freeze")
    assert "released by themselves" in told["msg"]


def test_what_a_killed_run_holds_the_next_one_lets_go(data: Data) -> None:
    held, other, late, released, told = data.call(
        {**FROZEN, "token": 6, "pgbouncer": ADMIN},
        {**FROZEN, "token": 7, "pgbouncer": ADMIN},
        {**THAWED, "token": 6},
        THAWED,
        {**THAWED, "token": 7},
    )
    assert held["changed"]
    assert other["changed"]
    assert (late["failed"], late["reason"]) == (True, "fenced")
    assert released["changed"]
    # Whom thaw.yml let go was this run's, and it is told.
    assert (told["failed"], told["reason"]) == (True, "freeze")
    assert "let go by hand (thaw.yml)" in told["msg"]


def sessions(data: Data) -> list[str]:
    """Which client is at what."""
    return data.psql("SELECT application_name, state FROM pg_stat_activity").splitlines()


def wait_session(data: Data, name: str, state: str) -> None:
    """Until the client of that name has got so far."""
    until = time.monotonic() + 60
    while f"{name}|{state}" not in sessions(data):
        assert time.monotonic() < until, f"{name} is not {state}"
        time.sleep(0.1)


@contextmanager
def open_transaction(data: Data, port: int = BOUNCER) -> Iterator[None]:
    """A client that is in the middle of a transaction for as long as the block lasts."""
    data.run(
        f"PGPASSWORD=$(cat {PASSWORDS}/shop) PGAPPNAME=sleeper systemd-run --unit=sleeper --quiet -E PGPASSWORD -E "
        f"PGAPPNAME sh -c \"(echo 'BEGIN; SELECT 1;'; sleep 300) | psql -h 127.0.0.1 -p {port} -U shop shop\""
    )
    try:
        wait_session(data, "sleeper", "idle in transaction")
        yield
    finally:
        data.run("systemctl stop sleeper; systemctl reset-failed sleeper 2>/dev/null; true")


def test_a_transaction_that_does_not_end_is_named_and_nobody_is_held(data: Data) -> None:
    with open_transaction(data), Clients(data) as clients:
        (refused,) = data.call({**FROZEN, "token": 5, "wait": 1, "pgbouncer": ADMIN})
        assert not data.is_paused()
        # The others go on, and the transaction has not ended.
        data.run(f"timeout 60 sh -c {shlex.quote(GOING_ON)}")
        assert "sleeper|idle in transaction" in sessions(data)
    assert refused["reason"] == "freeze"
    assert "not paused within 1 s, and is resumed" in refused["msg"]
    assert [one["user"] for one in refused["evidence"]["open"]] == ["shop"]
    assert clients.failed == 0


REFUSALS = {
    "session mode": ({**ADMIN, "database": "shop_session"}, "in session mode"),
    "unknown": ({**ADMIN, "database": "no'such\n\"one"}, "has no database"),
    "unreachable": ({**ADMIN, "port": 1}, "Connection refused"),
    "password": ({**ADMIN, "password_file": f"{PASSWORDS}/redis"}, "password authentication failed"),
    "no file": ({**ADMIN, "password_file": "/nowhere"}, "in /nowhere cannot be read on this host: No such file"),
    "no console": (
        {**ADMIN, "user": "supersmartmatch", "password_file": f"{PASSWORDS}/supersmartmatch"},
        "not allowed",
    ),
    "no admin": ({**ADMIN, "user": "shop", "password_file": f"{PASSWORDS}/shop"}, "admin access needed"),
}


def test_what_cannot_be_held_is_refused_and_nobody_is_held(data: Data) -> None:
    asked = [{**FROZEN, "token": 5, "pgbouncer": options} for options, _said in REFUSALS.values()]
    patience = {**FROZEN, "token": 5, "limit": 200, "pgbouncer": ADMIN}
    foreign = {
        **FROZEN,
        "token": 5,
        "read_only": {**OWNER, "user": "nextgeneration", "password_file": f"{PASSWORDS}/nextgeneration"},
    }
    nothing = {**FROZEN, "token": 5}
    checked = {**FROZEN, "token": 5, "pgbouncer": ADMIN, "read_only": OWNER, "check": True}
    *answers, impatient, stranger, empty, rehearsed = data.call(*asked, patience, foreign, nothing, checked)
    for (name, (_options, said)), answer in zip(REFUSALS.items(), answers, strict=True):
        assert answer["failed"], name
        assert said in answer["msg"], name
        assert answer["reason"] == "freeze", name
    assert "PgBouncer fails a client that has waited for 120 s (query_wait_timeout)" in impatient["msg"]
    assert "does not own the database shop" in stranger["msg"]
    assert "state is frozen but any of the following are missing: pgbouncer, read_only" in empty["msg"]
    assert rehearsed["changed"]


def test_what_somebody_else_has_paused_stays_paused(data: Data) -> None:
    data.console("PAUSE shop")
    try:
        refused, released = data.call({**FROZEN, "token": 5, "pgbouncer": ADMIN}, {**THAWED, "token": 5})
        assert "paused already, and not for this service" in refused["msg"]
        assert not released["changed"]
        assert data.is_paused()
    finally:
        data.console("RESUME shop")


def test_a_hold_that_somebody_else_ended_is_told(data: Data) -> None:
    resume = {
        "do": "ansible.builtin.command",
        "cmd": f"psql postgresql://lab@127.0.0.1:{BOUNCER}/pgbouncer -c 'RESUME shop'",
    }
    data.run(f'echo "127.0.0.1:{BOUNCER}:*:lab:$(cat {PASSWORDS}/lab)" > /root/.pgpass; chmod 600 /root/.pgpass')
    _held, resumed, told = data.call({**FROZEN, "token": 5, "pgbouncer": ADMIN}, resume, {**THAWED, "token": 5})
    assert resumed["rc"] == 0
    assert (told["failed"], told["reason"]) == (True, "freeze")
    assert "let go by somebody else while this run held them (pgbouncer)" in told["msg"]


def test_read_only_is_advice_and_says_so(data: Data) -> None:
    data.psql("ALTER DATABASE shop SET default_transaction_read_only = off")
    with open_transaction(data, port=5432):
        (held,) = data.call({**FROZEN, "token": 5, "read_only": OWNER})
        remaining = held["seen"]["read_only"]["remaining"]
        assert "sleeper" in [one["application_name"] for one in remaining]
        with pytest.raises(AssertionError, match="cannot execute INSERT in a read-only transaction"):
            data.psql("INSERT INTO items (name, colour) VALUES ('a', 'b')")
        data.psql("BEGIN READ WRITE; INSERT INTO items (name, colour) VALUES ('all the same', 'b'); COMMIT;")
        # A pooled session that begins now would stay read-only for ever.
        data.run(
            f"systemd-run --unit=pooled --quiet -E PGPASSWORD=$(cat {PASSWORDS}/shop) -E PGAPPNAME=pooled "
            "sh -c \"(echo 'SELECT 1;'; sleep 300) | psql -h 127.0.0.1 -U shop shop\""
        )
        wait_session(data, "pooled", "idle")
        (released,) = data.call({**THAWED, "token": 5})
        data.run("systemctl stop pooled; systemctl reset-failed pooled 2>/dev/null; true")
    told = released["told"]["read_only"]
    assert told["written"] >= 1
    assert (told["ended"], told["still_read_only"]) == (1, [])
    data.psql("INSERT INTO items (name, colour) VALUES ('c', 'd')")
    # What it was before it is again.
    assert setting(data) == "{default_transaction_read_only=off}"
    data.psql("ALTER DATABASE shop RESET default_transaction_read_only")


def test_a_host_that_is_started_anew_lets_go(data: Data) -> None:
    (held,) = data.call({**FROZEN, "token": 5, "limit": 3, "wait": 1, "read_only": OWNER})
    assert held["changed"]
    data.lab.command("reboot", "data")
    data.run("systemctl start pgbouncer; until pg_isready -q; do sleep 0.1; done")
    until = time.monotonic() + 4 + 5 + SLACK
    while setting(data):
        assert time.monotonic() < until
        time.sleep(0.2)
    while "bluegreen-thaw" in traces(data):
        assert time.monotonic() < until
        time.sleep(0.2)
    data.call({**THAWED, "token": 5})


SETTINGS: dict[str, Any] = {
    "cutover_steps": [{"share": 100}],
    "cutover_freeze": {"host": "data", "pgbouncer": ADMIN, "limit": LONGEST},
    "cutover_queues": {
        "host": "data",
        "timeout": 90,
        "queues": [{"provider": "redis_list", "name": "jobs", "processing": [], "password_file": f"{PASSWORDS}/redis"}],
    },
}


def test_r_e1_a_service_moves_frozen_and_drained(lab: Lab, data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its clients wait at PgBouncer while it is copied, its queue is empty by then, and not one request fails."""
    for app in ("app1", "app2"):
        lab.ssh(app, "sed -i s/:5432/:6432/ /etc/shop/common.env && echo POOLED=1 >> /etc/shop/common.env")
        lab.ssh(app, "systemctl restart shop-blue")
    lab.playbook("router").ok()
    beside = ["--inventory", str(data.inventory())]
    frozen = lab.playbook("freeze", extra_vars={"cutover_reason": "stocktaking"}).ok()
    assert "shop is frozen until" in " ".join(frozen.stdout.split())
    assert "because stocktaking" in " ".join(lab.playbook("status").ok().stdout.split())
    with monkeypatch.context() as other:
        other.setenv("SUDO_USER", "mallory")
        refused = lab.playbook("cutover", extra_vars=SETTINGS, arguments=beside)
    assert refused.rc != 0
    assert "shop is frozen by" in " ".join(refused.stdout.split())
    front = f"http://{lab.address('router')}:8080"
    with data.working("jobs"), lab.load(front, rate=20, duration=600, timeout=130, path="/api/v1/items") as running:
        time.sleep(1)
        lab.playbook("cutover", extra_vars=SETTINGS, arguments=beside).ok()
        running.stop()
        result = running.result()
    assert result.outcomes() == {"ok": result.count}
    document = json.loads(lab.ssh("router", "cat /var/lib/bluegreen-cutover/shop/journal.json"))
    events = {event["kind"]: event for event in document["migrations"][-1]["events"]}
    # They are done only when it has looked once: it has waited.
    assert events["queues_drained"]["depths"]["jobs"]["waiting"] == 0
    assert 0 < events["thawed"]["told"]["pgbouncer"]["longest_wait"] <= events["thawed"]["held"]
    assert "pgbouncer" in events["thawed"]["seen"]
    print(f"MEASURED clients waited for at most {events['thawed']['held']} s")
    # Whoever froze it moved it, and that ended the freeze.
    assert "frozen:" not in lab.playbook("status").ok().stdout
