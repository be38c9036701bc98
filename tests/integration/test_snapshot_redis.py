# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys of a real Redis are taken, proven and put back, and no key of another prefix is touched (R-B7, R-E1)."""

from __future__ import annotations

import io
import json
import re
import shlex
import subprocess
import tarfile
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from .conftest import ROOT
from .data_host import HOST, PASSWORDS, Data

if TYPE_CHECKING:
    from .conftest import Lab

KEPT = "/var/backups/cutover"
FOLDER = "/root/taken/data"
HOSTILE = "it's \"*[a-z]?\n\\:"
REDIS = {"password_file": f"{PASSWORDS}/redis"}
PROD = {**REDIS, "prefix": "nextstep:prod:"}
FEW = "nextstep:[a-z]*:[a-z]*[^0-9]"
"""All keys of ``fill``, and none that is numbered."""
REPACK = "(zstd -dcq {{0}} | LC_ALL=C {} | zstd -q > {{0}}.new; mv {{0}}.new {{0}})"
MANY_EVENTS = "for i = 1, 300 do redis.call('XADD', KEYS[1], i .. '-1', 'a', i) end"
"""A stream that is read by itself."""
KILL = "systemctl kill -s KILL --kill-who=main engine"
"""What was begun, and nothing that it has started."""
BULK = 100_000
"""Keys that take long enough to be disturbed."""

# Another client than the collection's own: commands from standard input, one JSON list a line. Or, of the keys of a
# pattern, what each holds, as the server's own digest, and when it expires.
CLIENT = """
import json, redis, sys
server = redis.Redis(password=open('/root/passwords/redis').read().strip(), db=int(sys.argv[1]))
def plain(one):
    if isinstance(one, bytes): return one.decode('latin-1')
    if isinstance(one, dict): return {plain(key): plain(value) for key, value in one.items()}
    if isinstance(one, set): return sorted(map(plain, one))
    return list(map(plain, one)) if isinstance(one, (list, tuple)) else one
if len(sys.argv) == 2:
    print(json.dumps([plain(server.execute_command(*json.loads(line))) for line in sys.stdin]))
else:
    digest = lambda key: plain(server.execute_command('DEBUG', 'DIGEST-VALUE', key))
    told = {key.decode(): (digest(key), server.pexpiretime(key)) for key in server.keys(sys.argv[2])}
    print(json.dumps(told))
"""
# The engine by itself, without the artifact around it.
ENGINE = """
import json, resource, sys
from dataclasses import asdict
from pathlib import Path
sys.path.insert(0, '/root/collections')
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.artifact import differences, to_contents
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import CutoverError
from ansible_collections.bluegreen.cutover.plugins.module_utils._snapshots import Taken
from ansible_collections.bluegreen.cutover.plugins.module_utils._snapshots.redis import OPTIONS, Redis
action, folder, options = sys.argv[1], Path(sys.argv[2]), json.loads(sys.argv[3])
note = folder.with_suffix('.json')
told = {}
try:
    given = {name: option.get('default') for name, option in OPTIONS.items()}
    engine = Redis({**given, **options}, lambda what: print(what, file=sys.stderr))
    if action == 'take':
        engine.check()
        folder.mkdir(mode=0o700, parents=True)
        taken = engine.take(folder)
        note.write_text(json.dumps(asdict(taken)))
        told = {'point_in_time': taken.point_in_time}
    else:
        document = json.loads(note.read_text())
        taken = Taken(**{**document, 'contents': to_contents(document['contents'])})
        if action == 'prove':
            with engine.scratch(folder, taken) as found:
                wrong = differences(taken.contents, found, later=True)
                files = sorted(one.name for one in Path('/tmp').glob('bluegreen-redis-*/*'))
                told = {'same': found == taken.contents, 'wrong': wrong, 'files': files}
        elif action == 'ask':
            engine.check_restore(folder, taken)
        elif action == 'written':
            told = {'written': [asdict(one) for one in engine.written_since(taken)]}
        else:
            engine.restore(folder, taken)
            told = {'same': engine.contents() == taken.contents}
except CutoverError as error:
    told = {'error': error.message}
print(json.dumps({**told, 'peak_mib': resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))
"""


class Server(Data):
    """The lab's Redis."""

    def pipe(self, command: str, given: bytes) -> bytes:
        """What a command says to what it is given: a command line has no room for much."""
        ssh = ["ssh", "-F", str(self.lab.state / "ssh_config"), HOST, command]
        return subprocess.run(ssh, input=given, stdout=subprocess.PIPE, timeout=180, check=True).stdout

    def ask(self, *commands: list[Any], database: int = 0, before: str = "") -> list[Any]:
        lines = "\n".join(json.dumps(command) for command in commands)
        told: list[Any] = json.loads(self.pipe(f"{before} python3 /root/client.py {database}", lines.encode()))
        return told

    def fill(self, before: str = "") -> None:
        """A key of each type, small and large, under three prefixes, with and without an expiry."""
        now = int(time.time() * 1000)
        commands: list[list[Any]] = [["FLUSHALL"], ["FUNCTION", "FLUSH"], ["CONFIG", "SET", "maxmemory", 0]]
        for prefix in ("nextstep:prod:", "nextstep:dev:", HOSTILE):
            commands += (
                ["SET", f"{prefix}text", "näïve \r\n"],
                ["SET", f"{prefix}number", 42],
                ["PFADD", f"{prefix}seen", *range(100)],
                ["RPUSH", f"{prefix}jobs", *range(50), "x" * 100_000],
                ["RPUSH", f"{prefix}steps", "b", "", "a"],
                ["SADD", f"{prefix}ids", *range(20)],
                ["SADD", f"{prefix}tags", *(f"tag {number} of many" for number in range(9000))],
                ["ZADD", f"{prefix}rank", 0.1, "a", "inf", "b", -3, "c", 1e300, "d"],
                ["HSET", f"{prefix}user", "name", "x" * 500, "empty", ""],
                ["SET", f"{prefix}session", "s", "PXAT", now + 7_200_123],
                ["XADD", f"{prefix}events", "1-1", "a", "1"],
                ["XADD", f"{prefix}events", "2-1", "b", ""],
                ["XGROUP", "CREATE", f"{prefix}events", "workers", "0"],
                ["XREADGROUP", "GROUP", "workers", "w1", "COUNT", 1, "STREAMS", f"{prefix}events", ">"],
                ["EVAL", MANY_EVENTS, 1, f"{prefix}history"],
            )
        self.ask(*commands, before=before)

    def damage(self, prefix: str) -> None:
        """What a faulty green does."""
        self.ask(
            ["DEL", f"{prefix}text"],
            ["SET", f"{prefix}number", 43],
            ["RPUSH", f"{prefix}jobs", "one more"],
            ["SREM", f"{prefix}tags", "tag 7 of many"],
            ["XACK", f"{prefix}events", "workers", "1-1"],
            ["PERSIST", f"{prefix}session"],
            ["SET", f"{prefix}new", "n"],
        )

    def look(self, database: int = 0, pattern: str = "*") -> dict[str, Any]:
        """What each key holds, as the server's own digest, and when it expires."""
        told: dict[str, Any] = json.loads(self.run(f"python3 /root/client.py {database} {shlex.quote(pattern)}"))
        return told

    def engine(self, action: str, options: dict[str, Any], folder: str = FOLDER, before: str = "") -> dict[str, Any]:
        command = f"{before} python3 /root/engine.py {action} {folder} {shlex.quote(json.dumps(options))}"
        told: dict[str, Any] = json.loads(self.run(command, timeout=300))
        return told

    def begin(self, action: str, options: dict[str, Any]) -> None:
        """Start the engine beside the test; ``end`` waits for it."""
        command = f"exec python3 /root/engine.py {action} {FOLDER} {shlex.quote(json.dumps(options))} > /root/told"
        self.run(f"systemd-run -q --unit=engine --setenv=HOME=/root -p KillMode=process sh -c {shlex.quote(command)}")

    def end(self) -> dict[str, Any]:
        self.run("while systemctl is-active -q engine; do sleep 0.05; done; systemctl reset-failed -q engine || true")
        told: dict[str, Any] = json.loads(self.run("cat /root/told") or "{}")
        return told

    def wait(self, command: str, then: str = "true") -> None:
        """Wait until a shell command succeeds, and run another one at once."""
        self.run(f"{until(command)} {then}")

    def cli(self, arguments: str) -> str:
        return f"REDISCLI_AUTH=$(cat {PASSWORDS}/redis) redis-cli {arguments}"


def until(command: str) -> str:
    """Shell commands that wait until a command succeeds."""
    return f"for i in $(seq 3000); do if {command}; then break; fi; sleep 0.02; done; test $i -lt 3000 || exit 1;"


def under(prefix: str, keys: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in keys.items() if key.startswith(prefix)}


def beside(prefix: str, keys: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in keys.items() if not key.startswith(prefix)}


@pytest.fixture(name="host", scope="module")
def _host(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Server:
    lab.command("up")
    host = Server(lab, tmp_path_factory.mktemp("redis"))
    host.furnish()
    host.put("/root/client.py", CLIENT)
    host.put("/root/engine.py", ENGINE)
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        inside = "collections/ansible_collections/bluegreen/cutover/plugins/module_utils"
        tar.add(ROOT / "plugins/module_utils", inside, filter=lambda one: None if "__pycache__" in one.name else one)
    host.pipe("tar -x -C /root", packed.getvalue())
    settings = ("enable-debug-command local", 'save ""', "repl-diskless-sync-delay 0")
    host.pipe("cat >> /etc/redis/redis.conf; systemctl restart redis-server", "\n".join(settings).encode())
    return host


@pytest.fixture(name="server")
def _server(host: Server) -> Iterator[Server]:
    begin = f"rm -rf {KEPT} /root/taken /var/lib/redis/dump.rdb; systemctl start redis-server;"
    host.fill(f"{begin} {until(host.cli('ping < /dev/null | grep -q PONG'))}")
    yield host
    # Whatever has happened: no server of our own is left, no half artifact, no key that is being restored.
    left = f"ls -d /tmp/bluegreen-redis-* {KEPT}/.partial-* 2>/dev/null; pgrep -f '[r]edis-server.*bluegreen';"
    assert host.run(f"{left} {host.cli('--no-raw keys *bluegreen*')}") == "(empty array)\n"


def test_a_prefix_comes_back_as_it_was_and_no_other_key_is_touched(server: Server) -> None:
    before = server.look()
    snapshot = {"do": "snapshot", "part": "cache", "destination": KEPT, "redis": PROD}
    planned, took = server.call({**snapshot, "check": True}, snapshot)
    assert not planned.get("failed"), planned["msg"]
    assert not took.get("failed"), took["msg"]
    manifest = took["manifest"]
    counts = {name: one["count"] for name, one in manifest["contents"].items()}
    assert counts == {"string": 3, "string, expiring": 1, "list": 2, "set": 2, "zset": 1, "hash": 1, "stream": 2}
    assert manifest["verified"]
    assert manifest["point_in_time"]
    assert server.look() == before

    server.damage("nextstep:prod:")
    server.ask(["SET", "nextstep:other", "of somebody else"])
    damaged = server.look()
    again = {"do": "snapshot_restore", "path": took["artifact"], "redis": PROD}
    refused, restored, nothing = server.call(again, {**again, "accept_data_loss": True}, again)
    assert refused["reason"] == "data_loss"
    written = {one["name"]: one["count"] for one in refused["evidence"]["written"]}
    # Of the seven lasting ones, two share a part.
    assert (written["lasting keys"], written["expiring keys"]) == (6, 1)
    assert restored["changed"], restored
    assert not nothing["changed"], nothing
    now = server.look()
    assert under("nextstep:prod:", now) == under("nextstep:prod:", before)
    assert beside("nextstep:prod:", now) == beside("nextstep:prod:", damaged)
    assert server.ask(["XPENDING", "nextstep:prod:events", "workers"])[0]["pending"] == 1


def test_a_hostile_prefix_is_only_a_name(server: Server) -> None:
    options = {**REDIS, "prefix": HOSTILE}
    before = server.look()
    assert server.engine("take", options)["point_in_time"]
    assert server.engine("prove", options)["same"]
    server.damage(HOSTILE)
    damaged = server.look()
    assert server.engine("restore", options)["same"]
    now = server.look()
    assert under(HOSTILE, now) == under(HOSTILE, before)
    assert beside(HOSTILE, now) == beside(HOSTILE, damaged)


def test_a_snapshot_only_comes_back_where_it_came_from(server: Server) -> None:
    server.engine("take", PROD)
    before = server.look()
    told = server.engine("restore", {**REDIS, "prefix": "nextstep:dev:"})
    assert "keys are only put back where they were taken from. Nothing was changed" in told["error"]
    assert server.look() == before


@pytest.mark.parametrize("options", [PROD, REDIS])
def test_what_has_expired_does_not_come_back(server: Server, options: dict[str, Any]) -> None:
    soon = int(time.time() * 1000) + 2500
    server.ask(*(["SET", f"nextstep:prod:brief:{number}", "b", "PXAT", soon] for number in range(50)))
    # While it is taken some expire, too.
    server.ask(*(["SET", f"nextstep:prod:briefer:{number}", "b", "PX", 10 + 10 * number] for number in range(200)))
    before = {key: value for key, value in server.look().items() if "brief" not in key}
    server.engine("take", options)
    time.sleep(max(0.0, soon / 1000 + 0.1 - time.time()))
    proven = server.engine("prove", options)
    # Of a prefix, all that was taken is looked at; an RDB file has lost some, and no other difference.
    assert proven["wrong"] == []
    assert proven["same"] or options is REDIS
    assert [one["name"] for one in server.engine("written", options)["written"]] in ([], ["expiring keys"])
    server.ask(["SET", "nextstep:prod:brief:1", "written again"])
    server.engine("restore", options)
    assert server.look() == before


def test_a_whole_instance_comes_back_with_its_databases_and_functions(server: Server) -> None:
    code = "#!lua name=lib\nredis.register_function('f', function(keys, args) return 1 end)"
    server.ask(["FUNCTION", "LOAD", code])
    server.ask(["SET", "a", 1], ["HSET", "b", "c", 2], database=3)
    before = [server.look(database) for database in (0, 3, 5)]
    snapshot = {"do": "snapshot", "part": "cache", "destination": KEPT, "redis": REDIS}
    [took] = server.call(snapshot)
    assert not took.get("failed"), took["msg"]
    contents = took["manifest"]["contents"]
    assert (contents["database 3, hash"]["count"], contents["functions"]["count"]) == (1, 1)
    server.ask(["FUNCTION", "FLUSH"], ["DEL", "nextstep:dev:jobs"], ["SET", "new", 1])
    server.ask(["SET", "a", 2], database=3)
    server.ask(["SET", "b", 2], database=5)
    server.ask(["ACL", "SETUSER", "shop", "reset", "on", ">x", "~*", "+@all", "-function|restore"])
    server.run("echo x > /root/shop")
    limited = {**REDIS, "username": "shop", "password_file": "/root/shop"}
    damaged = [server.look(database) for database in (0, 3, 5)]
    asked = {"do": "snapshot_restore", "path": took["artifact"], "accept_data_loss": True, "check": True}
    refused, possible = server.call({**asked, "redis": limited}, {**asked, "redis": REDIS})
    assert re.search("while restoring it; what was there is as it was: NOPERM .*function", refused["msg"]), refused
    assert possible["changed"], possible
    assert [server.look(database) for database in (0, 3, 5)] == damaged
    [restored] = server.call(
        {"do": "snapshot_restore", "path": took["artifact"], "redis": REDIS, "accept_data_loss": True}
    )
    assert restored["changed"], restored
    assert [server.look(database) for database in (0, 3, 5)] == before
    assert server.ask(["FCALL", "f", 0]) == [1]


def test_a_server_of_our_own_keeps_no_file_of_what_it_has_read(server: Server) -> None:
    """A restore needs that room for the keys."""
    server.engine("take", REDIS)
    proven = server.engine("prove", REDIS)
    assert proven["same"], proven
    assert proven["files"] == ["conf", "log", "socket"]


def test_an_instance_that_is_written_to_is_of_one_moment(server: Server) -> None:
    script = "i=0; while :; do echo SET load:$i $i; i=$((i+1)); sleep 0.002; done | " + server.cli("> /dev/null")
    server.run(f"systemd-run -q --unit=load sh -c {shlex.quote(script)}")
    try:
        assert server.engine("take", REDIS)["point_in_time"]
        taken, until = server.ask(["DBSIZE"])[0], time.monotonic() + 90
        while server.ask(["DBSIZE"])[0] <= taken + 100 and time.monotonic() < until:
            time.sleep(0.1)
    finally:
        server.run("systemctl stop load")
    proven = server.engine("prove", REDIS)
    assert proven["same"], proven
    written = {one["name"]: one["count"] for one in server.engine("written", REDIS)["written"]}
    assert written["lasting keys"] > 100
    assert written["the whole server"] > 100


def test_a_prefix_that_is_written_to_is_not_of_one_moment(server: Server) -> None:
    # Some hundred a second: some of them while the few keys of the prefix are read.
    script = server.cli("-r -1 -i 0.001 set nextstep:dev:load x > /dev/null")
    server.run(f"systemd-run -q --unit=load sh -c {shlex.quote(script)}")
    try:
        server.wait(server.cli("exists nextstep:dev:load | grep -q 1"))
        assert not server.engine("take", PROD)["point_in_time"]
    finally:
        server.run("systemctl stop load")
    # What others write elsewhere is neither in it nor counted.
    assert server.engine("prove", PROD)["same"]
    assert server.engine("written", PROD)["written"] == []


def test_a_large_value_is_never_held_whole(server: Server) -> None:
    server.ask(["FLUSHALL"], ["CONFIG", "SET", "rdbcompression", "no"])
    many = "for i = 1, 100000 do redis.call('RPUSH', KEYS[1], 'an element of a list that is long, number ' .. i) end"
    fields = "for i = 1, 100000 do redis.call('HSET', KEYS[1], 'field ' .. i, string.rep(i, 20)) end"
    server.ask(
        ["EVAL", many, 1, "nextstep:prod:list"],
        ["EVAL", fields, 1, "nextstep:prod:hash"],
        ["EVAL", "redis.call('SET', KEYS[1], string.rep('y', 90000000))", 1, "nextstep:prod:string"],
        ["EVAL", "redis.call('RPUSH', KEYS[1], 'a', string.rep('z', 90000000))", 1, "nextstep:prod:element"],
    )
    before = server.look()
    peaks = [server.engine(action, PROD)["peak_mib"] for action in ("take", "prove")]
    server.ask(["LPOP", "nextstep:prod:list"], ["SETRANGE", "nextstep:prod:string", 5, "!"])
    restored = server.engine("restore", PROD)
    server.ask(["CONFIG", "SET", "rdbcompression", "yes"])
    assert restored["same"], restored
    assert server.look() == before
    assert max(*peaks, restored["peak_mib"]) < 100


SPOILED = {
    "printf '\\377' | dd of={} bs=1 seek=300 conv=notrunc status=none": "damaged",
    "truncate -s -20 {}": "damaged",
    REPACK.format("head -c -40"): "the file of keys ends in the middle",
    REPACK.format(
        "sed s/nextstep:prod:number/nextstep:test:number/"
    ): "holds b'nextstep:test:number', which does not begin with b'nextstep:prod:'",
    "rm {}": "cannot be opened",
    "ln -sf /etc/passwd {}": "cannot be opened",
    # As a newer server writes it: the stream is the one that is in the payload of DUMP.
    REPACK.format(
        r"perl -0777 -pe 's/workers.*?\K\x0a\x00(?=.{{8}}[\x00-\x05\xff]\x00\x00)/\x63\x00/s'"
    ): "DUMP payload version or checksum",
}
"""What a shell command does to a file of keys, and what is said of it."""


def test_what_is_spoiled_leaves_everything_as_it_was(server: Server) -> None:
    """Beneath the checksums of an artifact, which find it before."""
    server.engine("take", PROD)
    server.damage("nextstep:prod:")
    before = server.look()
    file = f"{FOLDER}/keys.zst"
    server.run(f"cp {file} /root/whole")
    for spoil, told in SPOILED.items():
        server.run(f"rm -f {file}; cp /root/whole {file}; {spoil.format(file)}")
        for action in ("prove", "restore"):
            answer = server.engine(action, PROD)
            assert told in answer.get("error", ""), (spoil, answer)
        assert server.look() == before, spoil


def test_a_newer_snapshot_is_not_given_to_an_older_server(server: Server) -> None:
    server.engine("take", PROD)
    server.run(f'sed -i \'s/"redis": "7.0.15"/"redis": "7.2.4"/\' {FOLDER}.json')
    server.damage("nextstep:prod:")
    before = server.look()
    for action in ("prove", "ask", "restore"):
        assert "was taken from 7.2.4: an older server does not understand" in server.engine(action, PROD)["error"]
    assert server.look() == before


def test_a_server_that_is_not_there_or_refuses_is_told(server: Server) -> None:
    told = server.engine("take", {**PROD, "port": 6380})
    assert "Redis at 127.0.0.1:6380 cannot be talked to" in told["error"]
    assert "NOAUTH" in server.engine("take", {"prefix": "a:"})["error"]
    server.run("echo wrong > /root/wrong")
    told = server.engine("take", {"prefix": "a:", "password_file": "/root/wrong"})
    assert "WRONGPASS" in told["error"]
    assert "wrong\n" not in told["error"]
    for flags, said in (("--cluster-enabled yes", "a cluster's keys"), ("--replicaof 127.0.0.1 1", "is a replica of")):
        start = f"redis-server --port 7000 --save '' --dir /tmp --cluster-config-file n.conf {flags}"
        server.run(f"systemd-run -q --unit=other {start}")
        try:
            server.wait("redis-cli -p 7000 ping | grep -q PONG")
            assert said in server.engine("take", {"prefix": "a:", "port": 7000})["error"]
        finally:
            server.run("systemctl stop other; rm -f /tmp/n.conf")


def test_a_server_is_reached_over_tls(server: Server) -> None:
    """And only one whose certificate is known."""
    server.run(
        "cd /root && openssl req -x509 -newkey ed25519 -nodes -keyout tls.key -out tls.crt -days 2 -subj /CN=localhost"
        " -addext subjectAltName=DNS:localhost 2> /dev/null"
    )
    start = "--port 0 --tls-port 7001 --tls-cert-file /root/tls.crt --tls-key-file /root/tls.key"
    start += " --tls-ca-cert-file /root/tls.crt --tls-auth-clients no --save '' --repl-diskless-sync-delay 0"
    server.run(f"systemd-run -q --unit=other redis-server {start}")
    client = "redis-cli -h localhost -p 7001 --tls --cacert /root/tls.crt"
    server.wait(f"{client} set a:1 x > /dev/null 2>&1")
    try:
        options = {"host": "localhost", "port": 7001, "tls": True, "tls_ca": "/root/tls.crt"}
        for one in (options, {**options, "prefix": "a:"}):
            server.run("rm -rf /root/taken")
            assert server.engine("take", one)["point_in_time"]
            assert server.engine("prove", one)["same"]
        told = server.engine("take", {**options, "tls_ca": None}, "/root/taken/other")
        assert "certificate verify failed" in told["error"]
    finally:
        server.run("systemctl stop other")


def test_a_user_who_may_not_is_told_before_anything_is_touched(server: Server) -> None:
    """And one who may only touch the keys of the prefix is enough."""
    server.ask(["ACL", "SETUSER", "shop", "reset", "on", ">x", "~nextstep:prod:*", "+@all"])
    server.run("echo x > /root/shop")
    options = {"prefix": "nextstep:prod:", "username": "shop", "password_file": "/root/shop"}
    before = server.look()
    server.engine("take", options)
    server.damage("nextstep:prod:")
    assert server.engine("restore", options)["same"]
    assert under("nextstep:prod:", server.look()) == under("nextstep:prod:", before)
    server.damage("nextstep:prod:")
    damaged = server.look()
    assert "error" not in server.engine("ask", options)
    for command in ("rename", "unlink", "restore", "set", "rpush", "sadd", "zadd", "hset", "pexpireat", "eval"):
        server.ask(["ACL", "SETUSER", "shop", "+@all", f"-{command}"])
        for action in ("ask", "restore"):
            assert f"+{command}" in server.engine(action, options)["error"].replace("+@scripting", "+eval")
            assert server.look() == damaged
    server.ask(["ACL", "SETUSER", "shop", "+@all", "-dump"])
    assert "+@read" in server.engine("take", options, "/root/taken/other")["error"]
    server.ask(["ACL", "SETUSER", "shop", "resetkeys", "~nextstep:dev:*", "+@all"])
    assert "NOPERM" in server.engine("restore", options)["error"].upper()
    server.ask(["ACL", "DELUSER", "shop"])


READING = """
exists pexpiretime type getrange get lrange smembers zrange hgetall xlen scan eval_ro memory|usage xinfo|stream exec
"""


@pytest.mark.parametrize(("part", "commands"), [({"prefix": "nextstep:prod:"}, READING), ({}, "function|list")])
def test_a_user_who_may_write_and_not_read_is_told_before_anything_is_touched(
    server: Server, part: dict[str, str], commands: str
) -> None:
    """What was restored is read, and compared with what was taken."""
    server.engine("take", {**REDIS, **part})
    server.run("echo x > /root/shop")
    options = {**part, "username": "shop", "password_file": "/root/shop"}
    for command in commands.split():
        server.ask(["ACL", "SETUSER", "shop", "reset", "on", ">x", "~*", "+@all", f"-{command}"])
        told = server.engine("ask", options).get("error", "")
        assert f"'{command}'" in told
        assert "Give this user (redis.username)" in told
    server.ask(["ACL", "DELUSER", "shop"])


def test_a_server_without_room_refuses_before_anything_is_touched(server: Server) -> None:
    server.engine("take", PROD)
    server.damage("nextstep:prod:")
    used = int(server.run(server.cli("info memory | sed -n 's/^used_memory:\\([0-9]*\\).*/\\1/p'")))
    server.ask(["CONFIG", "SET", "maxmemory", used + 100_000])
    before = server.look()
    for action in ("ask", "restore"):
        assert "Raise maxmemory" in server.engine(action, PROD)["error"]
    assert server.look() == before


def test_a_disk_that_is_full_is_told(server: Server) -> None:
    server.run("mkdir -p /root/small && mount -t tmpfs -o size=64k none /root/small")
    try:
        server.ask(["EVAL", "for i = 1, 3000 do redis.call('SET', 'nextstep:prod:' .. i, redis.sha1hex(i)) end", 0])
        told = server.engine("take", PROD, "/root/small/data")
        assert "No space left on device" in told["error"]
    finally:
        server.run("umount /root/small")


def disturbed_reading(server: Server, disturb: str) -> dict[str, Any]:
    server.ask(["DEBUG", "POPULATE", 5 * BULK, "nextstep:prod:bulk", 200])
    server.begin("take", PROD)
    server.wait(f"test -s {FOLDER}/keys.zst", disturb)
    return server.end()


def test_a_server_that_dies_while_it_is_read_is_told(server: Server) -> None:
    told = disturbed_reading(server, "systemctl kill -s KILL redis-server")
    assert "cannot be talked to, while reading it: " in told["error"]
    assert server.run(f"test -e {FOLDER}.json || echo no").strip() == "no"


def test_a_run_that_is_killed_while_it_reads_leaves_the_server_as_it_was(server: Server) -> None:
    assert disturbed_reading(server, KILL) == {}
    assert server.ask(["DBSIZE"])[0] >= 5 * BULK
    # What it had started ends with it, once it has written what it got.
    server.wait("! pgrep -x zstd > /dev/null")


def test_a_run_that_is_killed_while_it_proves_leaves_no_server_of_its_own(server: Server) -> None:
    server.ask(["DEBUG", "POPULATE", BULK, "nextstep:prod:bulk", 200])
    server.engine("take", PROD)
    server.begin("prove", PROD)
    server.wait("pgrep -f '[r]edis-server.*bluegreen' > /dev/null", KILL)
    server.wait("! pgrep -f '[r]edis-server.*bluegreen' > /dev/null && ! ls -d /tmp/bluegreen-redis-* 2> /dev/null")
    server.end()


@pytest.mark.parametrize("victim", ["run", "server"])
def test_what_dies_while_it_restores_leaves_what_was_there_and_it_can_be_done_again(
    server: Server, victim: str
) -> None:
    server.ask(["DEBUG", "POPULATE", BULK, "nextstep:prod:bulk", 200])
    before = server.ask(["DEBUG", "DIGEST"])
    server.engine("take", PROD)
    server.damage("nextstep:prod:")
    damaged = server.look(pattern=FEW)
    server.begin("restore", PROD)
    # It saves what it has, so that the half restored keys are there when it is back.
    restart = server.cli("config set save '3600 1' > /dev/null") + "; systemctl restart redis-server"
    staged = server.cli("dbsize") + f" | awk '{{exit !($1 > {BULK + 1_000})}}'"
    server.wait(staged, KILL if victim == "run" else restart)
    server.wait(server.cli("ping | grep -q PONG"))
    told = server.end()
    assert told == {} or "what was there is as it was" in told["error"]
    assert server.look(pattern=FEW) == damaged
    assert server.engine("restore", PROD)["same"]
    assert server.ask(["DEBUG", "DIGEST"]) == before
