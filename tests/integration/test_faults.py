# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What must go wrong safely: a clear error, somebody serving, nothing lost, and a further run that goes on.

Every test runs under load. Traffic moves from whichever colour serves to the other one, so that a test that ends well
needs no way back: the next one begins where it has left the service.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import signal
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from .conftest import AT_ONCE

if TYPE_CHECKING:
    from load import Background, Result

    from .conftest import Lab, Run

PLUGINS = Path(__file__).resolve().parent / "plugins"
APPS = ("app1", "app2")
PORTS = {"blue": 8001, "green": 8002}
MAP = "/etc/haproxy/cutover/shop.map"
SOCKET = "/run/haproxy/admin.sock"
STATE = "/var/lib/bluegreen-cutover/shop"
# Half of the traffic first, so that there is a middle; nothing to wait for.
STEPS = [{"share": 50}, {"share": 100}]
# Not by its stores, whose own patience ends on a machine that has much to do.
VERIFY = [{"path": "/api/v1/ping", "budget_ms": 10_000}]
# A controller stands still here, or is started again, for as long as the machine needs; test_guard.py has the guard's
# own time.
NO_HURRY = {"cutover_probes": VERIFY, "cutover_verify": VERIFY, "cutover_guard": {"time": 900}}
LAST_STEP = "Send the candidate its share, in percent: 100"

ASK_HAPROXY = """
import socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect("/run/haproxy/admin.sock")
s.sendall((sys.argv[1] + chr(10)).encode())
while chunk := s.recv(65536):
    sys.stdout.write(chunk.decode())
"""


def wait_until(what: str, condition: Callable[[], Any], timeout: float = 120) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout:.0f} s: {what}"
        time.sleep(0.1)


def said(run: Run, *texts: str) -> None:
    """Long lines are folded where Ansible likes."""
    unfolded = " ".join(run.stdout.split())
    for text in texts:
        assert text in unfolded, f"{text!r} is not in:\n{run.stdout}"


def refused(run: Run, *texts: str) -> None:
    """It failed, and said all of ``texts``."""
    assert run.rc != 0, run.stdout
    said(run, *texts)


def lost(result: Result, begin: float | None = None, end: float | None = None) -> Counter[str]:
    """Outcomes other than ok; not those of requests that were on their way between ``begin`` and ``end``."""
    wrong = (record for record in result.records if record.outcome != "ok")
    if begin is None or end is None:
        return Counter(record.outcome for record in wrong)
    return Counter(record.outcome for record in wrong if record.ended < begin or record.scheduled > end)


def at(patch: pytest.MonkeyPatch, task: str, command: str) -> None:
    """From now on, until ``patch`` is undone, a playbook runs ``command`` at the start of ``task``."""
    patch.setenv("ANSIBLE_CALLBACK_PLUGINS", str(PLUGINS))
    patch.setenv("ANSIBLE_CALLBACKS_ENABLED", "at_task")
    patch.setenv("AT_TASK", task)
    patch.setenv("AT_TASK_COMMAND", command)


def colours(result: Result, begin: float) -> set[str]:
    """Who answered what was asked after ``begin``."""
    return {record.colour for record in result.records if record.scheduled > begin and record.colour}


@dataclass
class Held:
    """A playbook that stands between two of its tasks."""

    lab: Lab
    process: subprocess.Popen[str]
    gate: Path

    def finish(self) -> Run:
        """Let it go on, to its end."""
        self.gate.touch()
        return self.lab.finish(self.process)

    def kill(self) -> None:
        self.lab.kill(self.process)


@dataclass
class Shop:
    """The service of the inventory local, all on ``old``; the next cutover takes it to ``new``."""

    lab: Lab
    patch: pytest.MonkeyPatch
    scratch: Path
    old: str = ""
    new: str = ""
    settings: dict[str, Any] = field(default_factory=dict)

    def look(self) -> bool:
        """Find out who serves; False where it is not exactly one colour, on units that a reboot keeps."""
        weight = self.disk()
        self.old, self.new = ("green", "blue") if weight == 100 else ("blue", "green")
        self.settings = {"cutover_to": self.new, "cutover_steps": STEPS, **NO_HURRY}
        serving, other = f"shop-{self.old}", f"shop-{self.new}"
        told = f"systemctl is-active {serving} {other}; systemctl is-enabled {serving} {other}; true"
        units = [self.lab.ssh(app, told).replace("failed", "inactive").split() for app in APPS]
        right = [["active", "inactive", "enabled", "disabled"]] * len(APPS)
        return weight in (0, 100) and self.weight() == weight and units == right

    def on(self, host: str, command: str) -> list[str]:
        return self.lab.ssh(host, command).split()

    def everywhere(self, command: str) -> None:
        for app in APPS:
            self.lab.ssh(app, command)

    def haproxy(self, command: str) -> str:
        return self.lab.ssh("router", f"python3 -c '{ASK_HAPROXY}' '{command}'")

    def weight(self) -> int:
        """Green's percentage, as HAProxy applies it."""
        return int(self.haproxy(f"show map {MAP}").split()[2])

    def disk(self) -> int:
        """The same, as a reload would have it."""
        return int(self.on("router", f"cat {MAP}")[1])

    def phase(self) -> str:
        """The last event in the journal."""
        document = json.loads(self.lab.ssh("router", f"cat {STATE}/journal.json"))
        return str(document["migrations"][-1]["events"][-1]["kind"])

    def run(self, playbook: str = "cutover", **more: Any) -> Run:
        return self.lab.playbook(playbook, "local", {**self.settings, **more})

    def moved(self, run: Run) -> None:
        """``run`` has taken the service to ``new``, and status.yml says so."""
        run.ok()
        assert (self.weight(), self.phase()) == ({"blue": 0, "green": 100}[self.new], "finished")
        self.run("status").ok()

    def still(self, result: Result | None = None) -> None:
        """The service is whole and on ``old``, recorded and real."""
        assert (self.weight(), self.disk()) == ({"blue": 0, "green": 100}[self.old],) * 2
        self.run("status").ok()
        if result is not None:
            assert lost(result) == {}

    def load(self, **more: Any) -> contextlib.AbstractContextManager[Background]:
        """Light, because what is watched here is what happens, not how fast."""
        plan = {"rate": 100, "idle": 20, "duration": 3000, "slow_share": 0.0, **more}
        return self.lab.load(f"http://{self.lab.address('router')}:8080", **plan)

    @contextlib.contextmanager
    def held(self, task: str, **more: Any) -> Iterator[Held]:
        """A cutover that stands before ``task`` until it is told to go on."""
        here, gate = self.scratch / "here", self.scratch / "gate"
        at(self.patch, task, f"touch {here}; until [ -e {gate} ]; do sleep 0.1; done")
        process = self.lab.start("cutover", "local", {**self.settings, **more})
        self.patch.undo()
        one = Held(self.lab, process, gate)
        try:
            wait_until(f"the cutover is at {task!r}", lambda: here.exists() or process.poll() is not None, 300)
            assert here.exists(), f"it never came to {task!r}:\n{one.finish().stdout}"
            yield one
        finally:
            gate.touch()
            if process.poll() is None:
                one.kill()
            here.unlink(missing_ok=True)
            gate.unlink()


@pytest.fixture(scope="module")
def _router(lab: Lab) -> None:
    """A service that is as it is recorded, or a new one."""
    if lab.playbook("status", "local").rc:
        lab.renew("local")


@pytest.fixture
def shop(lab: Lab, _router: None, tmp_path: Path) -> Iterator[Shop]:
    """The service at rest, whatever the test before has left."""
    with pytest.MonkeyPatch.context() as patch:
        one = Shop(lab, patch, tmp_path)
        if not one.look():
            lab.renew("local")
            assert one.look()
        yield one


def killed_after_every_change(
    patch: pytest.MonkeyPatch, cutover: Callable[[str], Run], to: str, back: str
) -> list[str]:
    """``kill -9`` of ansible-playbook after each of its tasks that changes something; each run goes on where the one
    before was killed, to the next change, and the last one finishes.

    After a task that changes nothing it would find what the kill before has found. ``cutover`` moves to the colour that
    it is given: first to ``to`` undisturbed, to know what changes, then ``back``. Returns the names of the tasks that
    it was killed after.
    """
    # A name may tell a colour: on the way back it is the other one.
    other = {to: back, back: to}
    told = cutover(to).ok().changed_tasks
    names = [" ".join(other.get(word, word) for word in name.split()) for name in told]
    for name in names:
        at(patch, f"after {name}", "kill -9 $PPID")
        run = cutover(back)
        patch.undo()
        assert run.rc == -signal.SIGKILL, f"never came to a change by {name!r}:\n{run.stdout}"
    run = cutover(back)
    assert run.rc == 0, f"killed after each of {names}:\n{run.stdout}"
    return names


def test_killed_after_every_change(shop: Shop) -> None:
    # The load sees more than probes would.
    no_probes: dict[str, Any] = {"cutover_probes": [], "cutover_verify": []}
    with shop.load(rate=50) as running:
        names = killed_after_every_change(
            shop.patch, lambda to: shop.run(**no_probes, cutover_to=to), shop.new, shop.old
        )
    result = running.result()
    shares = [f"Send the candidate its share, in percent: {share}" for share in (50, 100)]
    assert {"Start the candidate and wait until it is ready", *shares, "Drain and stop the old version"} <= set(names)
    assert lost(result) == {}
    assert colours(result, 0) == {"blue", "green"}
    assert shop.look()
    shop.run("status", cutover_to=shop.old).ok()


def test_killed_after_every_change_on_one_host(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """nextgeneration: a backup, green's own tests, the guard, the switch in one task; nftables."""
    lab.playbook("router", "nextgeneration").ok()
    # Only the first of all cutovers makes it.
    lab.ssh("solo", "install --directory --mode=0700 /var/backups/nextgeneration")
    with lab.load(f"http://{lab.address('solo')}:8000", rate=50, idle=10, duration=3000, slow_share=0.0) as running:
        names = killed_after_every_change(
            monkeypatch,
            lambda to: lab.playbook("cutover", "nextgeneration", {**AT_ONCE, **NO_HURRY, "cutover_to": to}),
            "green",
            "blue",
        )
    assert any(name.startswith("Send the traffic over, verify it, and retire") for name in names)
    result = running.result()
    assert lost(result) == {}
    assert colours(result, 0) == {"blue", "green"}
    lab.playbook("status", "nextgeneration").ok()


def test_green_that_never_gets_ready_gets_no_traffic(shop: Shop) -> None:
    """One of two instances is enough to refuse."""
    faults = f"/etc/shop/{shop.new}.faults.env"
    shop.on("app2", f"echo NEVER_READY=1 >{faults}")
    with shop.load() as running:
        run = shop.run(cutover_health={"timeout": 5})
    shop.on("app2", f"rm {faults}")
    refused(
        run,
        f"shop was not moved: all traffic is on {shop.old} again",
        f"on app2: shop-{shop.new}.service is not ready after 5 s",
        "/health/ready: status 503",
    )
    result = running.result()
    assert colours(result, 0) == {shop.old}
    shop.still(result)
    assert shop.phase() == "rolled_back"
    shop.moved(shop.run())


def test_green_that_dies_right_after_the_switch_is_left_by_itself(shop: Shop) -> None:
    with (
        shop.load() as running,
        # After the last step, before its verification.
        shop.held("Settle, for seconds: 0", cutover_steps=[{"share": 100}]) as held,
    ):
        assert shop.weight() == {"blue": 0, "green": 100}[shop.new]
        dies = time.time()
        shop.everywhere(f"systemctl kill --signal=KILL shop-{shop.new}")
        refused(
            held.finish(),
            f"shop was not moved: all traffic is on {shop.old} again",
            '"Ask the service as its clients do" on router',
            "status 503",
        )
        back = time.time()
        assert shop.look()
        time.sleep(2)  # for requests after the way back
    # What green was answering as it died, and what came before the traffic was back, nobody could answer.
    result = running.result()
    assert lost(result, dies, back) == {}
    assert colours(result, back) == {shop.old}
    shop.still()


def test_green_that_dies_later_is_told_and_rolled_back(shop: Shop) -> None:
    shop.moved(shop.run())
    with shop.load() as running:
        dies = time.time()
        shop.everywhere(f"systemctl kill --signal=KILL shop-{shop.new}")
        told = f"shop-{shop.new}.service on app1 is not active, and {shop.new} gets 100 %"
        refused(shop.run("status"), "shop is not as it is recorded", told, "go back with rollback.yml")
        # Neither does another cutover think that all is well.
        refused(shop.run(), told)
        shop.run("rollback").ok()
        back = time.time()
        time.sleep(2)  # for requests after the way back
    # Only one colour ran when it died.
    result = running.result()
    assert lost(result, dies, back) == {}
    assert colours(result, back) == {shop.old}
    shop.still()


def hear(shop: Shop) -> Callable[[], dict[str, str]]:
    """What the hook notify was told last."""
    told, tasks = shop.scratch / "told", shop.scratch / "tell.yml"
    tell = {"content": "{{ hook_event | to_json }}", "dest": str(told), "mode": "0600"}
    tasks.write_text(json.dumps([{"ansible.builtin.copy": tell, "delegate_to": "localhost"}]))
    shop.settings["cutover_hooks"] = {"notify": {"tasks": str(tasks)}}
    return lambda: dict(json.loads(told.read_text()))


def test_rollback_with_a_host_that_is_lost(shop: Shop) -> None:
    """One application host of two is gone: the other one's old colour gets the traffic all the same. People are told of
    whatever is left to do (R-C7).
    """
    heard = hear(shop)
    shop.moved(shop.run())
    assert heard()["event"] == "finished"
    side = {"blue": 0, "green": 100}[shop.old]
    try:
        shop.lab.command("kill", "app2")
        run = shop.run("rollback")
        assert run.rc != 0
        assert "app2" in run.stdout
        assert (shop.weight(), shop.disk()) == (side, side)
        assert heard()["event"] == "rollback_failed"
        assert f"shop is not wholly back on {shop.old}: a host cannot be reached any more" in heard()["message"]
    finally:
        shop.lab.command("up")
    # The host came back with the new colour, as its reboot does; the next rollback finishes.
    # One host that is there, and on which the old colour does not start, where one of it is enough.
    broken = f"/run/systemd/system/shop-{shop.old}.service.d"
    content = "[Service]\\nExecStart=\\nExecStart=/bin/false\\n"
    shop.on("app2", f"mkdir -p {broken}; printf '{content}' >{broken}/broken.conf; systemctl daemon-reload")
    assert shop.run("rollback", cutover_min_ready=1, cutover_health={"timeout": 5}).rc != 0
    assert heard()["event"] == "rollback_failed"
    assert heard()["message"].endswith(f"is back on {shop.old}, but that does not run on app2.")
    shop.on("app2", f"rm -r {broken}; systemctl daemon-reload; systemctl reset-failed shop-{shop.old}; true")
    shop.run("rollback").ok()
    assert heard()["event"] == "rolled_back"
    shop.still()


def test_router_socket_gone(shop: Shop) -> None:
    missing = f"haproxy's control socket {SOCKET} does not exist"
    heard = hear(shop)
    with shop.load() as running:
        shop.on("router", f"mv {SOCKET} {SOCKET}.gone")
        try:
            refused(shop.run(), missing)
            refused(shop.run("status"), missing)
        finally:
            shop.on("router", f"mv {SOCKET}.gone {SOCKET}")
        shop.still()

        # In the middle: neither forth nor back, but both serve, and the next run goes on.
        with shop.held(LAST_STEP) as held:
            shop.on("router", f"mv {SOCKET} {SOCKET}.gone")
            try:
                refused(held.finish(), missing)
            finally:
                shop.on("router", f"mv {SOCKET}.gone {SOCKET}")
        assert heard()["event"] == "rollback_failed"
        assert "And this run does not go back: " in heard()["message"]
        assert (shop.weight(), shop.disk()) == (50, 50)
        shop.moved(shop.run())
    assert lost(running.result()) == {}


def test_weight_set_by_hand_is_refused_until_accepted(shop: Shop) -> None:
    """With ``new`` stopped: HAProxy lets the other colour stand in."""
    rest = shop.weight()
    with shop.load() as running:
        shop.haproxy(f"set map {MAP} weight 30")
        told = [
            "shop is not as it was left; nothing was changed",
            "the router sends 30 % to green, and the migration",
            f"the router sends 30 % to green now, but {rest} % after a reload or a reboot",
            f"shop-{shop.new}.service on app1 is not active, and {shop.new} gets",
        ]
        refused(shop.run(), *told, "cutover_accept_reality=true")
        refused(shop.run("status"), *told[1:])
        assert (shop.weight(), shop.disk()) == (30, rest)
        shop.moved(shop.run(cutover_accept_reality=True))
    assert lost(running.result()) == {}


def test_map_file_edited_by_hand_is_refused_until_accepted(shop: Shop) -> None:
    rest = shop.weight()
    with shop.load() as running:
        shop.on("router", f"sed -i s/{rest}/40/ {MAP}")
        refused(shop.run(), f"the router sends {rest} % to green now, but 40 % after a reload or a reboot")
        assert (shop.weight(), shop.disk()) == (rest, 40)
        shop.moved(shop.run(cutover_accept_reality=True))
        assert shop.disk() == shop.weight()
    assert lost(running.result()) == {}


def test_a_second_run_is_refused_or_waits(shop: Shop) -> None:
    with shop.load() as running, shop.held(LAST_STEP, cutover_reason="release 7") as held:
        refused(
            shop.run(),
            "shop is being migrated by root@",
            f"(pid {held.process.pid})",
            "s ago, because 'release 7'",
            "cutover_lease_wait=120",
        )
        assert shop.weight() == 50
        waiting = shop.lab.start("cutover", "local", {**shop.settings, "cutover_lease_wait": 300})
        # It asks the router who holds the lease, again and again.
        time.sleep(3)
        assert waiting.poll() is None
        shop.moved(held.finish())
        run = shop.lab.finish(waiting).ok()
        said(run, f"Nothing to do: {shop.new} serves shop alone")
        assert run.changed == 0
    assert lost(running.result()) == {}


def test_rollback_wins_over_a_cutover_that_is_going(shop: Shop) -> None:
    with shop.load() as running, shop.held(LAST_STEP) as held:
        assert shop.weight() == 50
        shop.run("rollback").ok()
        shop.still()
        refused(held.finish(), "this run of shop (token", "has been overtaken by a newer one", "nothing was changed")
    shop.still(running.result())
    assert shop.phase() == "rolled_back"
    assert shop.look()


def test_a_run_whose_lease_has_ended_cannot_write(shop: Shop) -> None:
    ended = f"""python3 -c '
import json, time
path = "{STATE}/lease.json"
lease = json.load(open(path))
lease["expires"] = time.time() - 5
json.dump(lease, open(path, "w"))
'"""
    with shop.load() as running:
        with shop.held(LAST_STEP) as held:
            shop.on("router", ended)
            refused(held.finish(), "the lease of this run of shop ended", "Run again: it goes on from the journal")
        assert (shop.weight(), shop.disk()) == (50, 50)

        # Another run takes it and finishes; the first one wakes up afterwards.
        with shop.held(LAST_STEP) as held:
            shop.on("router", ended)
            shop.moved(shop.run())
            refused(held.finish(), "has been overtaken by a newer one", "nothing was changed")
        shop.run("status").ok()
    assert lost(running.result()) == {}


def test_a_clock_that_is_set_ends_no_lease(shop: Shop) -> None:
    """A day on, for every Python of the router host but the service's: the run goes on, and another one is refused."""
    code = "import time; time.time = lambda real=time.time: real() + 86400"
    folder = "/usr/local/lib/python3.11/dist-packages"
    with shop.load() as running, shop.held(LAST_STEP) as held:
        try:
            shop.on("router", f"mkdir -p {folder}; echo '{code}' >{folder}/set.pth")
            ahead = shop.on("router", 'python3 -c "import time; print(time.time())"; date +%s')
            assert float(ahead[0]) - float(ahead[1]) > 86_000
            refused(shop.run(), "shop is being migrated by root@", f"(pid {held.process.pid})")
            shop.moved(held.finish())
        finally:
            shop.on("router", f"rm {folder}/set.pth")
    assert lost(running.result()) == {}
    # Its records are of tomorrow; a token grows all the same.
    shop.run("rollback").ok()


def test_killed_on_its_host_while_it_drains(shop: Shop) -> None:
    """The module dies, not ansible-playbook: the play goes back by itself, and the next run finishes."""
    port = PORTS[shop.old]

    def drains() -> bool:
        # One that drains closes each connection with its answer.
        connection = http.client.HTTPConnection(shop.lab.address("app1"), port, timeout=10)
        with contextlib.closing(connection):
            connection.request("GET", "/api/v1/ping")
            return connection.getresponse().getheader("Connection") == "close"

    with shop.load() as running:
        # A client that neither asks nor leaves: the drain waits for it.
        with socket.create_connection((shop.lab.address("app1"), port)):
            process = shop.lab.start("cutover", "local", shop.settings)
            wait_until("the old colour drains", drains)
            shop.on("app1", "pkill --signal KILL --uid root --full --exact /usr/bin/python3")
            refused(shop.lab.finish(process), f"shop was not moved: all traffic is on {shop.old} again")
        shop.still()
        shop.moved(shop.run())
    assert lost(running.result()) == {}


def test_an_old_colour_that_crashes_again_and_again_is_retired(shop: Shop) -> None:
    """In the same run: it is never up for long enough to be told to drain."""
    unit, faults = f"shop-{shop.old}", f"/etc/shop/{shop.old}.faults.env"
    folder = f"/run/systemd/system/{unit}.service.d"
    restart = "[Unit]\nStartLimitIntervalSec=0\n[Service]\nRestart=on-failure\n"
    broken = f"mkdir {folder}; printf '{restart}' >{folder}/restart.conf; echo PORT=none >{faults}"
    restarts = f"systemctl show --property=NRestarts --value {unit}"
    try:
        with shop.load() as running:
            with shop.held("Drain and stop the old version") as held:
                shop.everywhere(f"{broken}; systemctl daemon-reload; systemctl kill --signal=KILL {unit}")
                wait_until("it has been started again", lambda: all(int(*shop.on(app, restarts)) > 1 for app in APPS))
                run = held.finish()
            shop.moved(run)
        assert lost(running.result()) == {}
    finally:
        shop.everywhere(f"rm -rf {folder} {faults}; systemctl daemon-reload; systemctl reset-failed {unit}; true")


def test_a_reboot_of_the_router_between_two_steps(shop: Shop) -> None:
    with shop.load(rate=50) as running:
        # Without a guard: with one the router comes up with its traffic sent back (test_guard.py).
        with shop.held(LAST_STEP, cutover_guard={"enabled": False}) as held:
            goes = time.time()
            shop.lab.command("reboot", "router")
            wait_until("HAProxy is back", lambda: shop.on("router", "systemctl is-active haproxy; true") == ["active"])
            wait_until("both colours serve", lambda: shop.haproxy("show stat").count(",UP,") >= 6)
            comes = time.time()
            assert (shop.weight(), shop.disk()) == (50, 50)
            held.kill()
        shop.run("status").ok()
        run = shop.run()
        left = "was left between two steps, with 50 % of the traffic on green"
        said(run, f"{left}; it goes on with 50 %, 100 % for {shop.new}")
        shop.moved(run)
    # Who was at the door while the house was away.
    result = running.result()
    assert lost(result, goes, comes) == {}
    assert colours(result, comes) == {"blue", "green"}


def test_a_full_disk_where_the_journal_is(shop: Shop) -> None:
    fill = f"dd if=/dev/zero of={STATE}/fill bs=4k 2>/dev/null; true"
    free = f"rm {STATE}/fill"
    full = "No space left on device. Free some space there and run again"
    shop.on("router", f"cp -a {STATE} /root/kept; mount -t tmpfs -o size=1m,mode=0700 full {STATE}")
    try:
        shop.on("router", f"cp -a /root/kept/. {STATE}; {fill}")
        with shop.load() as running:
            refused(shop.run(), STATE, full)
            shop.on("router", free)
            shop.still()
            assert shop.look()

            # In the middle: the step whose intention cannot be recorded is not taken.
            with shop.held(LAST_STEP) as held:
                shop.on("router", fill)
                refused(held.finish(), STATE, full)
            assert (shop.weight(), shop.disk()) == (50, 50)
            shop.on("router", free)
            shop.moved(shop.run())
        assert lost(running.result()) == {}
    finally:
        shop.on("router", f"rm -rf /root/kept; cp -a {STATE} /root/kept; umount {STATE}; cp -a /root/kept/. {STATE}")


def test_redirect_replaced_by_hand_is_refused_until_accepted(lab: Lab) -> None:
    """nftables: the service of the inventory nextgeneration."""
    lab.playbook("router", "nextgeneration").ok()
    lab.ssh("solo", "systemctl start nextgeneration-green")  # or whoever edits this by hand breaks the service
    wait_until("green is ready", lambda: lab.ssh("solo", "curl -fs localhost:8002/health/ready", check=False))
    table = "inet cutover_nextgeneration"
    half = ":numgen random mod 100 map { 0-29 : 8002, 30-99 : 8001 }"
    rule = "fib daddr type local tcp dport 8000 redirect to %s"
    hooks = ("prerouting", "output")
    chains = "".join(f"chain {hook} {{ type nat hook {hook} priority -100; {rule}; }}\n" for hook in hooks)
    replace = f"nft -f - <<'END'\ntable {table} {{ }}\ndelete table {table}\ntable {table} {{\n{chains}}}\nEND"
    with lab.load(f"http://{lab.address('solo')}:8000", rate=50, idle=10, duration=3000, slow_share=0.0) as running:
        # Not ours at all: nobody can tell what it does.
        lab.ssh("solo", replace % (":8001", ":8002"))
        refused(
            lab.playbook("cutover", "nextgeneration", AT_ONCE),
            f"the nftables table {table} does not redirect port 8000",
        )
        # Ours, with another weight.
        lab.ssh("solo", replace % (half, half))
        refused(
            lab.playbook("cutover", "nextgeneration", AT_ONCE),
            "the router sends 30 % to green now, but 0 % after a reload or a reboot",
            "cutover_accept_reality=true",
        )
        lab.playbook("cutover", "nextgeneration", {**AT_ONCE, "cutover_accept_reality": True}).ok()
        lab.playbook("status", "nextgeneration").ok()
    assert lost(running.result()) == {}
    lab.playbook("rollback", "nextgeneration").ok()
