# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""PostgreSQL that is taken, proven and brought back on a real server, whatever goes wrong (R-B2, R-E1, R-E7)."""

from __future__ import annotations

import json
import re
import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from .data_host import PASSWORDS, Data

if TYPE_CHECKING:
    from .conftest import Lab

KEPT = "/var/backups/state"
HOSTILE = "we\"ird\n'; -- =x %s \\ ../é"
ROLE = 'ro"le\n;'
SECRET = "a secret of the application"
ROWS = 81920
"""In each table of the database whose 160 MiB are dumped for long enough to be disturbed."""
LARGE = """
CREATE TABLE one AS
    SELECT n, (SELECT string_agg(md5(n || ' ' || m), '') FROM generate_series(1, 32) AS m) AS t
    FROM generate_series(1, 81920) AS n;
CREATE TABLE two AS SELECT * FROM one;
ALTER TABLE one ADD PRIMARY KEY (n);
"""
SESSIONS = "SELECT count(*) FROM pg_stat_activity WHERE datname = 'large' AND backend_type = 'client backend'"


class Postgres(Data):
    """The lab's PostgreSQL, as its superuser."""

    def sql(self, query: str, database: str = "postgres") -> str:
        """What commands answer, one after the other, without headings."""
        # The name goes through a shell, as a connection string: so that a hostile one is only a name.
        escaped = database.replace("\\", "\\\\").replace("'", "\\'")
        given = shlex.quote(f"dbname='{escaped}'")
        command = f"cd / && runuser -u postgres -- psql -XqtA -v ON_ERROR_STOP=1 -d {given} <<'END'\n{query}\nEND"
        return self.run(command).strip()

    def snapshot(self, part: str, database: str, **more: Any) -> dict[str, Any]:
        """The arguments of a task that takes one."""
        options = {"database": database, **more.pop("options", {})}
        return {"do": "snapshot", "part": part, "destination": KEPT, "postgresql": options, **more}

    def restore(self, artifact: str, database: str, **more: Any) -> dict[str, Any]:
        """The arguments of a task that brings one back."""
        options = {"database": database, **more.pop("options", {})}
        return {"do": "snapshot_restore", "path": artifact, "postgresql": options, **more}

    def databases(self) -> set[str]:
        return set(json.loads(self.sql("SELECT json_agg(datname) FROM pg_database")))

    def traces(self) -> list[str]:
        """What a run has left that it should not: processes, databases, scratch servers, what is no artifact."""
        found = [name for name in self.databases() if name.startswith("bluegreen_")]
        folders = f"ls -d /var/tmp/bluegreen-* {KEPT}/.partial-* 2>/dev/null"
        found += self.run(f"pgrep -a 'pg_(dump|restore)'; {folders} || true").splitlines()
        return found

    def once(self, tool: str, command: str) -> None:
        """Run ``command`` as soon as ``tool`` has begun to work, before it ends: all in one shell of the host. In it
        PARENT is the id of the process that has started the tool.
        """
        # Its workers are its children.
        begun = f"[ $(pgrep -c -x {tool}) -gt 1 ] && PARENT=$(ps -o ppid= -p $(pgrep -o -x {tool}))"
        self.run(f"for n in $(seq 3000); do {begun} && {command} && exit 0; sleep 0.02; done; exit 1")


@pytest.fixture(name="data", scope="module")
def _data(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Postgres:
    lab.command("up")
    one = Postgres(lab, tmp_path_factory.mktemp("postgresql"))
    one.furnish()
    one.run(f"install -d -m 0700 {KEPT}")
    name, role = (text.replace('"', '""') for text in (HOSTILE, ROLE))
    one.sql(
        f"""CREATE ROLE "{role}" LOGIN; CREATE ROLE plain LOGIN PASSWORD 'plain';
        CREATE DATABASE "{name}" OWNER "{role}";
        ALTER DATABASE "{name}" SET search_path TO app, public, "$user";
        ALTER DATABASE "{name}" SET app.secret TO '{SECRET}';
        ALTER ROLE plain IN DATABASE "{name}" SET work_mem TO '8MB';
        REVOKE ALL ON DATABASE "{name}" FROM PUBLIC; GRANT CONNECT ON DATABASE "{name}" TO plain WITH GRANT OPTION;
        COMMENT ON DATABASE "{name}" IS 'it''s'"""
    )
    one.sql((Path(__file__).parent / "everything.sql").read_text(), HOSTILE)
    one.sql("CREATE DATABASE large")
    one.sql(LARGE, "large")
    return one


PROPERTIES = """
SELECT pg_get_userbyid(datdba), datacl, shobj_description(d.oid, 'pg_database'),
       (SELECT json_agg(json_build_array(setrole::regrole, setconfig) ORDER BY setrole) FROM pg_db_role_setting
        WHERE setdatabase = d.oid)
FROM pg_database AS d WHERE datname = current_database()
"""


def test_all_of_a_database_with_a_hostile_name_is_proven_and_comes_back(data: Postgres) -> None:
    before = data.sql(PROPERTIES, HOSTILE)
    [taken, in_database] = data.call(
        data.snapshot("all", HOSTILE), data.snapshot("again", HOSTILE, options={"scratch": "database"})
    )
    artifact, manifest = taken["artifact"], taken["manifest"]
    assert manifest["verified"], taken
    assert in_database["manifest"]["verified"], in_database
    contents = manifest["contents"]
    assert contents == in_database["manifest"]["contents"]
    assert contents["table app.items"]["count"] == 3000
    assert contents["sequence app.down"]["count"] == 2
    assert contents["sequence app.down"]["at_least"] is True
    assert contents["large objects"]["count"] == 52
    assert {"indexes", "constraints", "functions", "policies", "extensions", "materialized views"} < set(contents)
    assert manifest["versions"]["pg_dump"].startswith("15.")
    assert manifest["point_in_time"] is True
    assert data.run(f"find {artifact} -type f ! -perm 600 -o ! -user root -o -type d ! -perm 700") == ""
    assert SECRET not in json.dumps([taken, in_database])
    assert data.traces() == []

    data.sql(
        """DELETE FROM app.items WHERE x % 2 = 0; UPDATE app.words SET t = 'b'; DROP TABLE app.nothing;
        SELECT lo_put(424242, 1, '\\xff'); SELECT nextval('app.unused'); CREATE TABLE app.fresh (a int);
        CREATE OR REPLACE VIEW app.seen AS SELECT x, body FROM app.items WHERE kind = 'b'""",
        HOSTILE,
    )
    # Backends tell of their work after a moment.
    time.sleep(2)
    [refused] = data.call(data.restore(artifact, HOSTILE))
    assert refused["reason"] == "data_loss", refused
    written = {(one["name"], one["what"]): one["count"] for one in refused["evidence"]["written"]}
    assert written["table app.items", "rows inserted, updated or deleted"] == 1500
    assert written["table app.words", "rows inserted, updated or deleted"] == 1
    assert written["table app.nothing", "in all, which are gone"] == 1
    assert written["table app.fresh", "in all, which came since"] == 0
    assert written["definitions", "changed, at least"] == 1
    assert written["server", "bytes of WAL, of all databases"] > 0
    assert data.sql("SELECT count(*) FROM app.items", HOSTILE) == "1500"

    [restored, again] = data.call(
        data.restore(artifact, HOSTILE, accept_data_loss=True), data.restore(artifact, HOSTILE, accept_data_loss=True)
    )
    assert restored["changed"] is True, restored
    assert again["changed"] is False
    assert data.sql("SELECT count(*) FROM app.items", HOSTILE) == "3000"
    assert data.sql(PROPERTIES, HOSTILE) == before
    assert "'a'" in data.sql("SELECT pg_get_viewdef('app.seen'::regclass)", HOSTILE)
    assert data.sql("SELECT count(*) FROM pg_stats WHERE schemaname = 'app'", HOSTILE) != "0"
    [kept] = [name for name in data.databases() if re.search(r"_before_\d{8}T\d{6}Z$", name)]
    drop = 'DROP DATABASE "{}"'.format(kept.replace('"', '""'))
    assert restored["kept"] == [f"what {HOSTILE} was until now is the database {kept}. When nobody needs it: {drop}"]
    assert data.sql("SELECT count(*) FROM app.items", kept) == "1500"
    assert data.traces() == []


def test_what_keeps_it_from_succeeding_is_told_before_anything_is_written(data: Postgres) -> None:
    data.run("mkdir -p /root/old && printf '#!/bin/sh\\necho pg_dump \\(PostgreSQL\\) 14.9\\n' >/root/old/pg_dump")
    data.run(f"chmod +x /root/old/pg_dump; echo plain >{PASSWORDS}/plain")
    data.sql("CREATE DATABASE rows")
    data.sql(
        """GRANT CREATE ON SCHEMA public TO plain; SET ROLE plain; CREATE TABLE hidden (a int);
        ALTER TABLE hidden ENABLE ROW LEVEL SECURITY; ALTER TABLE hidden FORCE ROW LEVEL SECURITY""",
        "rows",
    )
    plain = {"host": "127.0.0.1", "user": "plain", "password_file": f"{PASSWORDS}/plain"}
    owner = {"host": "127.0.0.1", "user": "shop", "password_file": f"{PASSWORDS}/shop"}
    cases: list[tuple[dict[str, Any], str]] = [
        ({"port": 1}, "port 1 as 'postgres' failed: .* No such file or directory"),
        ({"database": "nowhere"}, 'database "nowhere" does not exist'),
        ({"tools": "/root/old"}, r"there is no pg_dump of that version on this host \(/root/old/pg_dump is 14.9\)"),
        ({"database": "shop", **plain}, "'plain' may not read all of 'shop': .*table .*items"),
        ({"database": "rows", **plain}, "Row-level security hides rows of .*hidden from 'plain'"),
        ({"database": "shop", **owner}, "'shop' may not make a database on 127.0.0.1, port 5432, or not rename 'shop'"),
        ({**plain, "password_file": "/root/none"}, "the password of plain in /root/none cannot be read"),
    ]
    destination = "/var/backups/none"
    wanted = [data.snapshot("x", "shop", destination=destination, options=options) for options, _said in cases]
    for answer, (_options, said) in zip(data.call(*wanted), cases, strict=True):
        assert answer["reason"] == "snapshot", answer
        assert re.search(said, answer["msg"]), answer["msg"]
    assert data.run(f"find {destination} -mindepth 1 ! -name '.*'  2>/dev/null || true") == ""


# Until it is told that it is enough; each time it says so.
COME_AND_GO = """
until [ -e /tmp/enough ]; do
  psql -Xq -v ON_ERROR_STOP=1 -d large -c "CREATE TABLE brief (a int)" -c "SELECT pg_sleep(0.1)" -c "DROP TABLE brief"
  echo went
done
echo ended
"""


def test_tables_that_come_and_go_meanwhile_do_not_disturb(data: Postgres) -> None:
    data.put("/var/lib/postgresql/come_and_go", COME_AND_GO)
    data.run(
        "cd / && rm -f /tmp/enough && (timeout 300 runuser -u postgres --"
        " sh /var/lib/postgresql/come_and_go >/tmp/went 2>&1 &) </dev/null"
    )
    data.run("timeout 30 sh -c 'until grep -q went /tmp/went; do sleep 0.1; done'")
    before = int(data.run("grep -c went /tmp/went"))
    [taken] = data.call(data.snapshot("busy", "large"))
    after = int(data.run("grep -c went /tmp/went"))
    data.run("touch /tmp/enough; timeout 30 sh -c 'until grep -q ended /tmp/went; do sleep 0.1; done'")
    assert taken["changed"], taken["msg"]
    assert taken["manifest"]["verified"]
    assert after > before
    assert "ERROR" not in data.run("cat /tmp/went")


ENDED = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'bluegreen.cutover'"


@pytest.mark.parametrize(
    "what", ["our process is killed", "our sessions are ended", "the server is killed", "the disk is full"]
)
def test_nothing_is_left_when(data: Postgres, what: str) -> None:
    destination = KEPT
    before = data.run(f"ls {KEPT}")
    if what == "the disk is full":
        destination = "/mnt/small"
        data.run(f"mkdir -p {destination} && mount -t tmpfs -o size=20m,mode=0700 none {destination}")
    process = data.start(data.snapshot("large", "large", destination=destination))
    if what != "the disk is full":
        deeds = {
            "our process is killed": "kill -9 $PARENT",
            "our sessions are ended": f'runuser -u postgres -- psql -Xqd postgres -c "{ENDED}"',
            "the server is killed": "systemctl kill -s KILL postgresql@15-main",
        }
        data.once("pg_dump", deeds[what])
    run = data.lab.finish(process)
    if what == "our process is killed":
        # What it started ends with it; the folder stays, under a name that is no artifact's.
        deadline = time.monotonic() + 90
        while data.run("pgrep -x pg_dump || true") or data.sql(SESSIONS) != "0":
            assert time.monotonic() < deadline, data.sql(SESSIONS)
            time.sleep(0.5)
        [again] = data.call(data.snapshot("large", "large"))
        assert again["manifest"]["verified"], again
    else:
        [answer] = data.answers()
        assert answer["reason"] == "snapshot", run.stdout
        expected = "No space left on device" if what == "the disk is full" else "server closed the connection|terminat"
        assert re.search(expected, answer["msg"]), answer
        assert data.run(f"ls {destination}") == ("" if what == "the disk is full" else before)
        undo = {"the server is killed": "systemctl restart postgresql@15-main", "the disk is full": "umount /mnt/small"}
        data.run(undo.get(what, "true"))
    assert data.traces() == []


@pytest.mark.parametrize("victim", ["our process", "the server"])
def test_restore_that_is_killed_leaves_what_was_there(data: Postgres, victim: str) -> None:
    [taken] = data.call(data.snapshot("kill", "large", verify=False))
    data.sql("DELETE FROM two WHERE n <= 10", "large")
    process = data.start(data.restore(taken["artifact"], "large", accept_data_loss=True))
    server = victim == "the server"
    data.once("pg_restore", "systemctl kill -s KILL postgresql@15-main" if server else "kill -9 $PARENT")
    run = data.lab.finish(process)
    if server:
        [answer] = data.answers()
        assert answer["reason"] == "snapshot", run.stdout
        assert re.search("server closed the connection|terminat", answer["msg"]), answer
        data.run("systemctl restart postgresql@15-main")
    assert data.sql("SELECT count(*) FROM two", "large") == str(ROWS - 10)
    [left] = [name for name in data.databases() if name.startswith("bluegreen_")]

    # Who is connected is sent away, and what the killed one left is removed.
    data.run("cd / && (timeout 60 runuser -u postgres -- psql -Xq -d large -c 'SELECT pg_sleep(60)' &) >/dev/null 2>&1")
    [restored] = data.call(data.restore(taken["artifact"], "large", accept_data_loss=True))
    assert restored["changed"] is True, restored
    assert left not in data.databases()
    assert data.sql("SELECT count(*) FROM two", "large") == str(ROWS)
    assert data.traces() == []


def test_a_database_that_is_gone_comes_back(data: Postgres) -> None:
    # What other tests have written before is in it, too.
    before = data.sql("SELECT count(*) FROM items", "shop")
    hold = {"do": "freeze", "service": "gone", "token": 5}
    owner = {"database": "shop", "user": "shop", "password_file": f"{PASSWORDS}/shop"}
    held, taken, thawed, untouched = data.call(
        {**hold, "state": "frozen", "limit": 300, "wait": 2, "read_only": owner},
        data.snapshot("gone", "shop"),
        {**hold, "state": "thawed"},
        data.restore("{{ answer1.artifact }}", "shop"),
    )
    assert (held["changed"], thawed["changed"]) == (True, True), (held, thawed)
    # That its writers are not held any more is no change that a restore would take back.
    assert untouched["changed"] is False, untouched
    data.sql("DROP DATABASE shop WITH (FORCE)")
    [restored] = data.call(data.restore(taken["artifact"], "shop", accept_data_loss=True))
    assert restored["changed"] is True, restored
    assert data.sql("SELECT count(*) FROM items", "shop") == before != "0"
    assert data.sql("SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = 'shop'") == "shop"
    assert data.sql("SHOW default_transaction_read_only", "shop") == "off"


def test_statistics_that_began_anew_are_not_believed(data: Postgres) -> None:
    [taken] = data.call(data.snapshot("reset", "shop", verify=False))
    data.sql("INSERT INTO items (name, colour) VALUES ('a', 'b'); SELECT pg_stat_reset();", "shop")
    [refused] = data.call(data.restore(taken["artifact"], "shop"))
    written = {(one["name"], one["what"]): one["count"] for one in refused["evidence"]["written"]}
    assert written["table public.items", "more"] == 1
    assert written["sequence public.items_id_seq", "values given out"] == 1


def test_who_owns_a_database_and_may_make_others_brings_it_back(data: Postgres) -> None:
    """No superuser is needed. And what he may not is told in check mode: R-E7, before anything is stopped."""
    data.sql("CREATE ROLE maker LOGIN CREATEDB PASSWORD 'maker'")
    data.sql("CREATE DATABASE made OWNER maker")
    data.sql("SET ROLE maker; CREATE TABLE kept AS SELECT 1 AS a", "made")
    data.put(f"{PASSWORDS}/maker", "maker")
    options = {"host": "127.0.0.1", "user": "maker", "password_file": f"{PASSWORDS}/maker"}
    [taken] = data.call(data.snapshot("made", "made", options=options))
    assert not taken.get("failed"), taken["msg"]
    data.sql("INSERT INTO kept VALUES (2)", "made")
    wanted = data.restore(taken["artifact"], "made", accept_data_loss=True, options=options)
    data.sql("ALTER ROLE maker NOCREATEDB")
    [refused] = data.call({**wanted, "check": True})
    assert "'maker' may not make a database on 127.0.0.1" in refused["msg"]
    data.sql("ALTER ROLE maker CREATEDB")
    possible, restored = data.call({**wanted, "check": True}, wanted)
    assert possible["changed"], possible
    assert restored["changed"], restored
    assert data.sql("SELECT array_agg(a) FROM kept", "made") == "{1}"
    assert data.sql("SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = 'made'") == "maker"


def test_where_others_have_temporary_tables_keeps_no_restore_away(data: Postgres) -> None:
    """None of them is in the snapshot; and who restores it may make nothing there."""
    data.sql("CREATE ROLE tenant LOGIN CREATEDB PASSWORD 'tenant'")
    data.sql("CREATE DATABASE rented OWNER tenant")
    data.sql("SET ROLE tenant; CREATE TABLE kept AS SELECT 1 AS a", "rented")
    data.put(f"{PASSWORDS}/tenant", "tenant")
    data.run("install -d -o postgres /var/lib/postgresql/brief")
    data.sql("CREATE TABLESPACE brief LOCATION '/var/lib/postgresql/brief'")
    data.run(
        "systemd-run -q --collect --unit=brief -p User=postgres sh -c"
        " \"(echo 'CREATE TEMPORARY TABLE brief (a int) TABLESPACE brief;'; sleep 300) | psql -X rented\""
    )
    try:
        there = "SELECT count(*) FROM pg_class WHERE relpersistence = 't' AND relname = 'brief'"
        deadline = time.monotonic() + 60
        while data.sql(there, "rented") == "0":
            assert time.monotonic() < deadline
            time.sleep(0.1)
        options = {"host": "127.0.0.1", "user": "tenant", "password_file": f"{PASSWORDS}/tenant"}
        [taken] = data.call(data.snapshot("rented", "rented", verify=False, options=options))
        assert not taken.get("failed"), taken["msg"]
        data.sql("INSERT INTO kept VALUES (2)", "rented")
        wanted = data.restore(taken["artifact"], "rented", accept_data_loss=True, options=options)
        [possible] = data.call({**wanted, "check": True})
        assert data.sql(there, "rented") == "1"
    finally:
        data.run("systemctl stop brief")
    assert possible["changed"], possible["msg"]
