# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""systemd_switch, systemd_info and http_probe on real hosts (R-A1, R-A3, R-C8)."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .conftest import Lab

BLUE, GREEN = "shop-blue.service", "shop-green.service"
START = {
    "unit": GREEN,
    "ready": "http://127.0.0.1:8002/health/ready",
    "live": "http://127.0.0.1:8002/health/live",
    "timeout": 60,
    "resume_signal": "SIGUSR2",
}
STOP = {"unit": GREEN, "port": 8002, "timeout": 60, "signal": "SIGUSR1"}
FAULTS = "/etc/shop/green.faults.env"

Call = Callable[..., Any]


@pytest.fixture(name="call")
def _call(lab: Lab, tmp_path: Path) -> Call:
    """Run modules one after the other on a host; returns what each answered, well or not.

    Each is a mapping of the module's arguments, with its name under ``do`` (systemd_switch unless told otherwise)
    and ``check: True`` for check mode. One play for all: a play of its own for each would take seconds.
    """

    def call(*wanted: dict[str, Any], host: str = "app1") -> Any:
        tasks: list[dict[str, Any]] = []
        for index, arguments in enumerate(wanted):
            given = {name: value for name, value in arguments.items() if name not in ("do", "check")}
            module = f"bluegreen.cutover.{arguments.get('do', 'systemd_switch')}"
            common = {"register": f"answer{index}", "ignore_errors": True, "check_mode": arguments.get("check", False)}
            tasks.append({module: given, **common})
        names = ", ".join(f"answer{index}" for index in range(len(wanted)))
        report = {"content": f"{{{{ [{names}] | to_json }}}}", "dest": str(tmp_path / "answers.json"), "mode": "0600"}
        tasks.append({"ansible.builtin.copy": report, "delegate_to": "localhost"})
        playbook = tmp_path / "call.yml"
        playbook.write_text(json.dumps([{"hosts": host, "gather_facts": False, "tasks": tasks}]))
        lab.playbook(str(playbook), "nextgeneration" if host == "solo" else "local").ok()
        answers = json.loads((tmp_path / "answers.json").read_text())
        return answers if len(answers) > 1 else answers[0]

    return call


@pytest.fixture(autouse=True)
def _green_stopped(lab: Lab) -> Iterator[None]:
    """Green is stopped, disabled and without faults, before and after each test."""
    tidy = (
        f"rm -rf {FAULTS} /var/lib/bluegreen-cutover; systemctl disable --now --quiet {GREEN}; systemctl reset-failed"
    )
    lab.ssh("app1", tidy)
    yield
    lab.ssh("app1", tidy)


def unit(lab: Lab, name: str = GREEN) -> tuple[str, str]:
    said = lab.ssh("app1", f"systemctl is-active {name}; systemctl is-enabled {name}", check=False).split()
    return said[0], said[1]


def connect(lab: Lab, port: int = 8002) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(lab.address("app1"), port, timeout=30)


def get(connection: http.client.HTTPConnection, path: str = "/api/v1/ping") -> http.client.HTTPResponse:
    connection.request("GET", path)
    answer = connection.getresponse()
    answer.read()
    return answer


def asked_anew(lab: Lab) -> http.client.HTTPResponse:
    with closing(connect(lab)) as connection:
        return get(connection)


def test_there_and_back(call: Call) -> None:
    units = [{"colour": "green", "unit": GREEN, "port": 8002}, {"colour": "blue", "unit": "nope.service", "port": 9}]
    info = {"do": "systemd_info", "host": "app1", "units": units}
    start, stop = {"start": START}, {"stop": STOP}
    told, untouched, started, again, running = call({**start, "check": True}, info, start, start, info)
    assert [one["changed"] for one in (told, started, again)] == [True, True, False]
    assert started["start"]["commands"] == told["start"]["commands"]
    assert [untouched["units"][0][key] for key in ("active", "enabled", "pid", "since")] == [False, False, None, None]
    green, nope = running["units"]
    assert [green[key] for key in ("host", "active", "enabled")] == ["app1", True, True]
    assert abs(time.time() - green["since"]) < 300
    assert [nope[key] for key in ("active", "enabled", "pid", "connections")] == [False, False, None, 0]

    told, untouched, stopped, again, last = call({**stop, "check": True}, info, stop, stop, info)
    assert [one["changed"] for one in (told, stopped, again)] == [True, True, False]
    assert stopped["stop"]["commands"] == told["stop"]["commands"]
    assert again["stop"]["commands"] == []
    assert [one["units"][0]["active"] for one in (untouched, last)] == [True, False]
    assert [one["units"][0]["enabled"] for one in (untouched, last)] == [True, False]


def test_green_that_never_gets_ready_is_stopped_again(lab: Lab, call: Call) -> None:
    lab.ssh("app1", f"echo NEVER_READY=1 >{FAULTS}")
    # Time enough for it to listen, and to be asked.
    answer = call({"start": {**START, "timeout": 8}})
    assert (answer["failed"], answer["reason"], answer["changed"]) == (True, "not_ready", False)
    assert "shop-green.service is not ready after 8 s" in answer["msg"]
    assert "status 503" in answer["msg"]
    assert any("listens on port 8002" in line for line in answer["evidence"]["journal"])
    assert any("Active: active" in line for line in answer["evidence"]["status"])
    assert unit(lab) == ("inactive", "disabled")


def test_green_that_dies_is_not_waited_for(lab: Lab, call: Call) -> None:
    lab.ssh("app1", f"echo PORT=none >{FAULTS}")
    answer = call({"start": START})
    assert answer["reason"] == "workload"
    assert "died while it was waited for: it is failed (failed), exit status 1" in answer["msg"]
    assert any("invalid literal" in line for line in answer["evidence"]["journal"])
    assert unit(lab) == ("failed", "disabled")
    lab.ssh("app1", f"rm {FAULTS}")
    assert call({"start": START})["start"]["commands"][0] == f"systemctl reset-failed -- {GREEN}"


def test_a_changed_unit_file_is_what_is_started(lab: Lab, call: Call) -> None:
    path = f"/etc/systemd/system/{GREEN}"
    # systemd remembers an enabled unit; one that nothing refers to it reads anew by itself.
    lab.ssh("app1", f"systemctl enable --quiet {GREEN}; sed -i 's/(lab)/(new)/' {path}")
    try:
        assert call({"start": START})["start"]["commands"][0] == "systemctl daemon-reload"
        assert "(new)" in lab.ssh("app1", f"systemctl show --property=Description {GREEN}")
    finally:
        lab.ssh("app1", f"sed -i 's/(new)/(lab)/' {path}; systemctl daemon-reload")


def test_the_last_request_is_answered_before_green_stops(lab: Lab, call: Call) -> None:
    call({"start": START})
    last = connect(lab)
    assert get(last).getheader("Connection") != "close"
    with ThreadPoolExecutor() as pool:
        stopping = pool.submit(call, {"stop": STOP})
        while not stopping.done() and asked_anew(lab).getheader("Connection") != "close":
            time.sleep(0.05)
        # It is being drained, and waits for this client, whose last request takes 3 s.
        answer = get(last, "/slow")
        stopped = stopping.result()
    assert (answer.status, answer.getheader("Connection")) == (200, "close")
    looks = [look["connections"] for look in stopped["stop"]["observations"]]
    assert (looks[0] >= 1, looks[-1]) == (True, 0)
    assert stopped["stop"]["ms"] > 3000
    assert unit(lab) == ("inactive", "disabled")


def test_an_idle_client_keeps_green_until_told_otherwise(lab: Lab, call: Call) -> None:
    call({"start": START})
    idle = connect(lab)
    assert get(idle).getheader("Connection") != "close"
    answer = call({"stop": {**STOP, "timeout": 1}})
    assert (answer["reason"], answer["changed"], unit(lab)) == ("drain", False, ("active", "enabled"))
    assert answer["evidence"]["connections"] >= 1
    assert answer["evidence"]["peers"][0]["state"] == "ESTABLISHED"
    # It is being drained still: the client's next request is answered, and is its last one here.
    assert get(idle).getheader("Connection") == "close"

    # A rollback takes it back.
    call({"start": START})
    idle = connect(lab)
    assert get(idle).getheader("Connection") != "close"
    answer = call({"stop": {**STOP, "timeout": 1, "signal": None, "on_timeout": "stop"}})
    assert answer["stop"]["note"].endswith(" cut off after 1 s")
    assert unit(lab) == ("inactive", "disabled")
    idle.close()


def test_a_service_that_does_not_know_the_signal_lives_on(lab: Lab, call: Call) -> None:
    lab.ssh("app1", "systemd-run --quiet --unit=deaf sleep 300")
    try:
        answer = call({"stop": {**STOP, "unit": "deaf.service"}})
        assert "does not handle SIGUSR1: the signal would kill it" in answer["msg"]
        assert unit(lab, "deaf.service")[0] == "active"
    finally:
        lab.ssh("app1", "systemctl stop deaf")


def test_a_unit_that_cannot_be_switched_is_refused(call: Call) -> None:
    # Journald runs, so that its turn comes with a probe of blue, which is ready.
    ready = "http://127.0.0.1:8001/health/ready"
    refused = {
        "nope.service": "nope.service does not exist on this host",
        "systemd-journald.service": "cannot be enabled (it is static)",
        "shop-green": "is not the name of a unit",
    }
    answers = call(*({"start": {"unit": name, "ready": ready}} for name in refused))
    for answer, said in zip(answers, refused.values(), strict=True):
        assert said in answer["msg"]


def test_a_run_that_was_overtaken_changes_nothing(call: Call) -> None:
    new, old = {"service": "shop", "token": 10}, {"service": "shop", "token": 9}
    started, refused, stopped = call({"start": START, **new}, {"stop": STOP, **old}, {"stop": STOP, **new})
    assert (refused["reason"], refused["changed"]) == ("fenced", False)
    assert (started["changed"], stopped["changed"]) == (True, True)


def test_a_run_that_was_killed_is_finished(lab: Lab, call: Call) -> None:
    lab.ssh("app1", f"systemctl start {GREEN}")
    assert call({"start": START})["start"]["commands"][-1] == f"systemctl enable -- {GREEN}"
    lab.ssh("app1", f"systemctl stop {GREEN}")
    assert call({"stop": STOP})["stop"]["commands"] == [f"systemctl disable -- {GREEN}"]


def test_many_endpoints_at_once(call: Call) -> None:
    asking = {"do": "http_probe", "bases": [f"http://{host}:8001" for host in ("app1", "app2")]}
    ping = {"path": "/api/v1/ping", "json": {"pong": True}, "budget_ms": 10_000}
    slow = {"path": "/slow", "budget_ms": 2900}
    healthy, late = call(
        {**asking, "probes": [ping, {"path": "/health/live", "budget_ms": 10_000}]},
        {**asking, "probes": [slow, {"path": "/nope"}], "attempts": 2, "interval": 0.1},
    )
    assert (healthy["healthy"], len(healthy["observations"])) == (True, 4)
    assert (late["reason"], late["healthy"], len(late["observations"])) == ("probe", False, 8)
    assert "answered in " in late["msg"]
    assert "the budget is 2900 ms" in late["msg"]
    assert "status 404, 200 is expected" in late["msg"]


def test_the_whole_switch_of_one_host_is_one_task(lab: Lab, call: Call) -> None:
    lab.playbook("router", "nextgeneration").ok()
    names = {"blue": "nextgeneration-blue.service", "green": "nextgeneration-green.service"}
    ports = {"blue": 8001, "green": 8002}

    def sections(to: str, off: str) -> dict[str, Any]:
        instances = {colour: [{"host": "127.0.0.1", "port": ports[colour]}] for colour in ports}
        return {
            "service": "nextgeneration",
            "start": {**START, "unit": names[to], "ready": f"http://127.0.0.1:{ports[to]}/health/ready", "live": None},
            "route": {
                "router": {
                    "provider": "nftables",
                    "port": 8000,
                    "file": "/etc/bluegreen-cutover/nftables/nextgeneration.nft",
                },
                "colours": {colour: {"unit": names[colour], "instances": instances[colour]} for colour in ports},
                "weight": 100 if to == "green" else 0,
            },
            "verify": {
                "bases": ["http://solo:8000"],
                "probes": [{"path": "/api/v1/ping", "json": {"pong": True, "colour": to}, "budget_ms": 10_000}],
            },
            "stop": {**STOP, "unit": names[off], "port": ports[off]},
        }

    target = f"http://{lab.address('solo')}:8000"
    there, back = sections("green", "blue"), sections("blue", "green")
    with lab.load(target, rate=100, duration=600, slow_share=0.01) as running:
        told, moved, again, returned = call({**there, "check": True}, there, there, back, host="solo")
    assert [one["changed"] for one in (told, moved, again, returned)] == [True, True, False, True]
    for answer in (moved, returned):
        assert answer["verify"]["healthy"]
        assert answer["stop"]["observations"][-1]["connections"] == 0
    outcomes = running.result().outcomes()
    assert set(outcomes) == {"ok"}, outcomes
