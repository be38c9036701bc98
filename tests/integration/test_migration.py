# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Journal and lease on a real host: a full disk, a kill at any moment, two runs at once (R-C3, R-C9)."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .conftest import ROOT, Lab, Run
else:
    ROOT = Path(__file__).resolve().parents[2]

STATE = "/var/lib/cutover-test"
HERE = f"{STATE}/shop"
COLLECTION = "/tmp/cutover-test/ansible_collections/bluegreen/cutover"  # noqa: S108 - on a host of the lab

ROUTER: dict[str, Any] = {"run_once": True, "delegate_to": "router"}
WEIGHT = {
    "service": "shop",
    "state_dir": STATE,
    "token": "{{ cutover_run.token }}",
    "router": "{{ cutover_plan.router }}",
    "colours": "{{ cutover_plan.colours }}",
    "weight": 100,
    "min_ready": 0,
}


def migration(**arguments: Any) -> dict[str, Any]:
    given = {"plan": "{{ cutover_plan }}", "token": "{{ cutover_run.token }}", **arguments}
    return {"bluegreen.cutover.migration": given, **ROUTER}


UNITS = [
    {"host": host, "colour": colour, "active": colour == "blue", "enabled": colour == "blue"}
    for host in ("app1", "app2")
    for colour in ("blue", "green")
]
PLAN = {"bluegreen.cutover.plan": {}, "run_once": True}
BEGUN = migration(state="begun", token=None, workloads=UNITS)
GIVE_UP = migration(state="failed", data={"reason": "test", "message": "given up"})


@pytest.fixture(scope="module", name="shop")
def _shop(lab: Lab) -> Lab:
    """Blue serves behind the router, and nothing was ever migrated; the code is on the router host."""
    lab.renew("local")
    packed = subprocess.run(["tar", "-c", "plugins"], cwd=ROOT, stdout=subprocess.PIPE, check=True).stdout
    lab.ssh("router", f"mkdir -p {COLLECTION}")
    unpack = ["ssh", "-F", str(lab.state / "ssh_config"), "router", f"tar -x -C {COLLECTION}"]
    subprocess.run(unpack, input=packed, check=True, timeout=60)
    return lab


@pytest.fixture(autouse=True)
def _small_disk(shop: Lab) -> Iterator[None]:
    """The state of each test is on a small disk of its own, and goes with it."""
    shop.ssh("router", f"mkdir -p {STATE} && mount -t tmpfs -o size=128k,mode=700 tmpfs {STATE}")
    yield
    shop.ssh("router", f"umount -l {STATE}")


@pytest.fixture(name="play")
def _play(shop: Lab, tmp_path: Path) -> Any:
    """Start a play of these tasks on the shop's hosts."""
    numbers = itertools.count()

    def play(*tasks: dict[str, Any], **extra_vars: Any) -> subprocess.Popen[str]:
        playbook = tmp_path / f"{next(numbers)}.yml"
        hosts = {"hosts": "cutover_router:cutover_app", "gather_facts": False, "any_errors_fatal": True}
        playbook.write_text(json.dumps([{**hosts, "tasks": list(tasks)}]))
        return shop.start(str(playbook), "local", {"cutover_state_dir": STATE, **extra_vars})

    return play


def on_router(lab: Lab, code: str) -> str:
    """Run Python on the router host with the collection in its path; ``store`` is there."""
    head = f"""
        import os, sys, time
        sys.path.insert(0, "/tmp/cutover-test")
        from ansible_collections.bluegreen.cutover.plugins.module_utils._stores.files import FileStore
        store = FileStore("{STATE}", "shop")
    """
    program = textwrap.dedent(head) + textwrap.dedent(code)
    return lab.ssh("router", f"python3 - <<'END'\n{program}\nEND\n")


BEGIN = """
now = time.time()
owner = {"user": "test", "host": "router", "pid": os.getpid()}
lease = {"owner": owner, "kind": "cutover", "reason": "r", "since": now, "expires": now + 60, "ttl": 60, "token": 1}
with store.locked():
    store.write_lease(lease)
    began = {"from": "blue", "to": "green", "subject": {}, "owner": owner, "reason": "r", "weight": 0}
    store.record(1, now, "began", **began)
"""
EVENTS = 'events = [event for one in store.read_journal()["migrations"] for event in one["events"]]\n'


def events(lab: Lab) -> list[dict[str, Any]]:
    text = on_router(lab, EVENTS + "import json; print(json.dumps(events))")
    found: list[dict[str, Any]] = json.loads(text)
    return found


def wait_for_lease(lab: Lab) -> dict[str, Any]:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        text = lab.ssh("router", f"cat {HERE}/lease.json", check=False)
        if text:
            lease: dict[str, Any] = json.loads(text)
            return lease
        time.sleep(0.2)
    pytest.fail("nobody has taken the lease")


def hold(path: Path) -> dict[str, Any]:
    """A task that waits on the control node until ``path`` is there."""
    return {"ansible.builtin.wait_for": {"path": str(path)}, "delegate_to": "localhost", "run_once": True}


def read_until(process: subprocess.Popen[str], words: bytes) -> str:
    """What a play says, up to ``words`` and perhaps more."""
    said = b""
    while words not in said:
        more = os.read(process.stdout.fileno(), 65536) if process.stdout else b""
        assert more, said.decode()
        said += more
    return said.decode()


def ended(lab: Lab, process: subprocess.Popen[str], *, failed_with: str | None = None) -> Run:
    run = lab.finish(process)
    if failed_with is None:
        return run.ok()
    said = " ".join(run.stdout.split())
    assert run.rc != 0, run.stdout
    assert failed_with in said, run.stdout
    return run


def test_a_full_disk_stops_a_run_before_anything_moves(shop: Lab, play: Any) -> None:
    fill = f"dd if=/dev/zero of={STATE}/fill bs=1k 2>/dev/null || true"
    shop.ssh("router", fill)
    run = ended(shop, play(PLAN, BEGUN), failed_with="No space left on device. Free some space there and run again")
    assert f"{HERE}/" in run.stdout
    assert shop.ssh("router", f"ls {HERE}", check=False).split() in ([], ["lock"])

    shop.ssh("router", f"rm {STATE}/fill")
    full = [{"ansible.builtin.command": {"argv": ["sh", "-c", fill]}, **ROUTER}]
    move = {"bluegreen.cutover.router_weight": WEIGHT, **ROUTER}
    ended(shop, play(PLAN, BEGUN, *full, move), failed_with="No space left on device")
    assert shop.ssh("router", "cat /etc/haproxy/cutover/shop.map").split() == ["weight", "0"]

    shop.ssh("router", f"rm {STATE}/fill")
    ended(shop, play(PLAN, BEGUN, GIVE_UP))
    assert [event["kind"] for event in events(shop)] == ["began", "began", "failed"]


def test_a_writer_killed_at_any_moment_loses_nothing_it_has_said(shop: Lab) -> None:
    killed = """
        import subprocess
        writer = '''
        import sys
        sys.path.insert(0, "/tmp/cutover-test")
        from ansible_collections.bluegreen.cutover.plugins.module_utils._stores.files import FileStore
        store = FileStore(sys.argv[1], "shop")
        for number in range(int(sys.argv[2]), 10**6):
            store.record(1, float(sys.argv[3]), "probed", colour="green", number=number)
            print(number, flush=True)
        '''.replace("\\n        ", "\\n")
        said = -1
        for attempt in range(12):
            argv = [sys.executable, "-c", writer, store.folder.parent, str(said + 1), str(now)]
            process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
            first = process.stdout.readline()
            time.sleep(attempt * 0.0037)
            process.kill()
            numbers = [int(line) for line in (first + process.stdout.read()).split()]
            process.wait()
            kept = [event["number"] for one in store.read_journal()["migrations"] for event in one["events"][1:]]
            assert store.read_lease() is not None and store.read_fence() == 1
            # What was said is there; one more may be, written and not yet said.
            assert kept[: numbers[-1] + 1] == list(range(numbers[-1] + 1)), (numbers, kept)
            assert len(kept) - numbers[-1] in (1, 2), (numbers, kept)
            said = kept[-1]
        print(said)
    """
    assert int(on_router(shop, BEGIN + textwrap.dedent(killed))) >= 11
    assert shop.ssh("router", f"ls {HERE}").split() in (
        ["fence.json", "journal.json", "lease.json", "lock"],
        ["fence.json", "journal.json", "journal.tmp", "lease.json", "lock"],
        ["fence.json", "journal.json", "lease.json", "lease.tmp", "lock"],
    )


def test_two_writers_at_once_lose_no_event(shop: Lab) -> None:
    both = """
        pid = os.fork()
        for number in range(40):
            store.record(1, now, "probed", colour="green", writer=bool(pid), number=number)
        if pid:
            os.waitpid(pid, 0)
    """
    on_router(shop, BEGIN + textwrap.dedent(both))
    written = [(event["writer"], event["number"]) for event in events(shop)[1:]]
    assert sorted(written) == [(writer, number) for writer in (False, True) for number in range(40)]


def test_a_second_run_is_refused_or_waits(shop: Lab, play: Any, tmp_path: Path) -> None:
    first = play(PLAN, BEGUN, hold(tmp_path / "go"), GIVE_UP, cutover_reason="release 7")
    lease = wait_for_lease(shop)
    assert lease["owner"]["pid"] == first.pid
    refused = ended(shop, play(PLAN, BEGUN), failed_with="because 'release 7'; its lease ends in")
    assert f"(pid {first.pid}) since" in " ".join(refused.stdout.split())
    second = play(PLAN, BEGUN, GIVE_UP, cutover_lease_wait=240)
    said = read_until(second, b"; waiting for ")
    (tmp_path / "go").touch()
    ended(shop, first)
    waited = shop.finish(second)
    assert waited.rc == 0, said + waited.stdout
    assert [event["kind"] for event in events(shop)] == ["began", "failed"] * 2


def test_a_run_that_was_killed_is_replaced_at_once(shop: Lab, play: Any, tmp_path: Path) -> None:
    first = play(PLAN, BEGUN, hold(tmp_path / "never"))
    token = wait_for_lease(shop)["token"]
    shop.kill(first)
    # Neither does one of its workers run on, for as long as it would have waited. To end takes a moment.
    deadline = time.monotonic() + 60
    while left := [one for one in shop.processes() if f"{tmp_path}/" in one[2]]:
        assert time.monotonic() < deadline, left
        time.sleep(0.05)
    ended(shop, play(PLAN, BEGUN, GIVE_UP))
    taken = events(shop)
    assert [event["kind"] for event in taken] == ["began", "began", "failed"]
    assert taken[1]["token"] > token


def test_a_rollback_overtakes_a_living_cutover(shop: Lab, play: Any, tmp_path: Path) -> None:
    move = {"bluegreen.cutover.router_weight": WEIGHT, **ROUTER}
    first = play(PLAN, BEGUN, hold(tmp_path / "go"), move)
    wait_for_lease(shop)
    ended(shop, play(PLAN, migration(state="rolling_back", token=None), migration(state="rolled_back")))
    (tmp_path / "go").touch()
    ended(shop, first, failed_with="has been overtaken by a newer one")
    assert [event["kind"] for event in events(shop)] == ["began", "rollback_began", "rolled_back"]
    assert shop.ssh("router", "cat /etc/haproxy/cutover/shop.map").split() == ["weight", "0"]
