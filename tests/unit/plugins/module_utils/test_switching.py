# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The sections of a switch: their order, their input, their fences and their records."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.bluegreen.cutover.plugins.module_utils import _connections, _lifecycle, _routing, _switching
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import (
    DrainError,
    FencedError,
    InputError,
    ProbeError,
)
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.probes import Answer
from ansible_collections.bluegreen.cutover.plugins.module_utils._stores.files import FileStore

START = {
    "unit": "shop-green.service",
    "ready": "http://127.0.0.1:8002/health/ready",
    "live": None,
    "timeout": 60,
    "resume_signal": "SIGUSR2",
}
ROUTE = {
    "router": {"provider": "nftables", "port": 8000, "file": "/etc/shop.nft"},
    "colours": {
        "blue": {"unit": "shop-blue.service", "instances": [{"host": "127.0.0.1", "port": 8001}]},
        "green": {"unit": "shop-green.service", "instances": [{"host": "127.0.0.1", "port": 8002}]},
    },
    "ready_path": "/health/ready",
    "weight": 100,
    "allowed": [0],
    "min_ready": 1,
}
VERIFY = {"bases": ["http://127.0.0.1:8000"], "probes": [{"path": "/api/v1/health"}]}
STOP = {
    "unit": "shop-blue.service",
    "port": 8001,
    "timeout": 60,
    "signal": "SIGUSR1",
    "in_flight_url": None,
    "in_flight_metric": "http_requests_in_flight",
    "on_timeout": "fail",
}


class Clock:
    def time(self) -> float:
        return 2_000_000_000.0

    def monotonic(self) -> float:
        return 0.0

    def sleep(self, seconds: float) -> None:
        raise AssertionError(f"slept {seconds} s")


class Sections:
    """Stands for what the sections do; keeps what they were given."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.given: dict[str, Any] = {}
        self.order: list[str] = []
        self.changed = True
        self.error: Exception | None = None
        self.answer = Answer(ms=1, status=200)
        monkeypatch.setattr(_lifecycle, "start", self._section("start"))
        monkeypatch.setattr(_routing, "change_weight", self._section("route"))
        monkeypatch.setattr(_lifecycle, "stop", self._section("stop"))
        monkeypatch.setattr("ansible_collections.bluegreen.cutover.plugins.module_utils._http.ask", self._ask)

    def _section(self, name: str) -> Any:
        def do(*given: Any, **named: Any) -> dict[str, Any]:
            self.order.append(name)
            self.given[name] = (given, named)
            if name in ("start", "stop"):
                with given[0].fence():
                    pass
            if name == "stop" and self.error:
                raise self.error
            return {"changed": self.changed, "before": f"{name} before", "after": f"{name} after"}

        return do

    def _ask(self, target: Any) -> Answer:
        self.order.append(target.url)
        return self.answer


@pytest.fixture(name="sections")
def _sections(monkeypatch: pytest.MonkeyPatch) -> Sections:
    # Durable is what integration tests show; here it only takes time.
    monkeypatch.setattr("os.fsync", lambda _descriptor: None)
    return Sections(monkeypatch)


def run_nothing(*_: Any) -> tuple[int, str, str]:
    raise AssertionError("a command was run")


def params(state: Path, **changes: Any) -> dict[str, Any]:
    given = {"start": START, "route": ROUTE, "verify": VERIFY, "stop": STOP, "service": "shop", "host": "solo"}
    return {**given, "state_dir": str(state), "token": None, **changes}


def switch(given: dict[str, Any], check_mode: bool = False) -> dict[str, Any]:
    done: dict[str, Any] = {}
    _switching.switch(given, run_nothing, done, check_mode=check_mode, clock=Clock())
    return done


def begun(state: Path, token: int) -> FileStore:
    """A store in which the run with ``token`` holds the lease of an open migration."""
    store = FileStore(str(state), "shop")
    with store.locked():
        lease = {"owner": {}, "kind": "cutover", "reason": "", "since": 0, "expires": 2e9 + 60, "ttl": 60}
        store.write_lease({**lease, "token": token})
    began = {"from": "blue", "to": "green", "subject": {}, "owner": {}, "reason": "", "weight": 0}
    store.record(token, 2e9, "began", **began)
    return store


def events(store: FileStore) -> list[tuple[str, str, str]]:
    recorded = store.read_journal()["migrations"][0]["events"]
    return [(event["kind"], event["colour"], event["host"]) for event in recorded if event["kind"] != "began"]


def test_the_sections_are_done_in_their_order(sections: Sections, tmp_path: Path) -> None:
    done = switch(params(tmp_path))
    assert sections.order == ["start", "route", "http://127.0.0.1:8000/api/v1/health", "stop"]
    assert list(done) == ["start", "route", "verify", "stop"]
    assert done["verify"]["healthy"]
    assert not list(tmp_path.iterdir())
    assert _switching.difference(done) == {
        "before": {"start": "start before", "route": "route before", "stop": "stop before"},
        "after": {"start": "start after", "route": "route after", "stop": "stop after"},
    }


def test_only_what_is_given_is_done(sections: Sections, tmp_path: Path) -> None:
    switch(params(tmp_path, start=None, route=None, verify={**VERIFY, "probes": []}, service=None))
    assert sections.order == ["stop"]


def test_sections_get_what_they_need(sections: Sections, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    live = "http://127.0.0.1:8002/health/live"
    metrics = "http://127.0.0.1:8001/metrics"
    stop = {**STOP, "in_flight_url": metrics, "on_timeout": "stop"}
    switch(params(tmp_path, start={**START, "live": live}, stop=stop))
    hands, targets, timeout, resume = sections.given["start"][0]
    assert (hands.workload.name, timeout, resume) == ("shop-green.service", 60.0, "SIGUSR2")
    assert [target.url for target in targets] == [START["ready"], live]
    (router, service, weight), named = sections.given["route"]
    assert (router.port, service.name, weight) == (8000, "shop", 100)
    assert (named["allowed"], named["min_ready"], named["store"], named["token"]) == ([0], 1, None, None)
    hands, connections, timeout, signal, in_flight, cut = sections.given["stop"][0]
    assert (hands.workload.name, timeout, signal, cut) == ("shop-blue.service", 60.0, "SIGUSR1", True)
    assert (in_flight[0].url, in_flight[1]) == (metrics, "http_requests_in_flight")
    monkeypatch.setattr(_connections, "read", lambda ports: {port: ["somebody"] for port in ports})
    assert connections() == ["somebody"]


def test_the_ends_are_recorded_where_the_journal_is(sections: Sections, tmp_path: Path) -> None:
    store = begun(tmp_path, 7)
    switch(params(tmp_path, token=7))
    assert events(store) == [("started", "green", "solo"), ("drained", "blue", "solo")]
    sections.changed = False
    switch(params(tmp_path, token=7))
    assert len(events(store)) == 2


def test_nothing_is_recorded_where_there_is_no_journal(sections: Sections, tmp_path: Path) -> None:
    switch(params(tmp_path, route=None, verify=None, token=7))
    assert sections.order == ["start", "stop"]
    assert FileStore(str(tmp_path), "shop").read_fence() == 7
    assert not (tmp_path / "shop" / "journal.json").exists()


def test_check_mode_writes_nothing(sections: Sections, tmp_path: Path) -> None:
    sections.answer = Answer(ms=1, status=503)
    done = switch(params(tmp_path, token=7), check_mode=True)
    assert "would_fail" in done["verify"]
    assert not list(tmp_path.iterdir())


def test_a_run_that_is_overtaken_does_nothing(sections: Sections, tmp_path: Path) -> None:
    begun(tmp_path, 8)
    with pytest.raises(FencedError):
        switch(params(tmp_path, token=7))
    assert sections.order == ["start"]


def test_an_unhealthy_front_keeps_the_old_colour_running(sections: Sections, tmp_path: Path) -> None:
    sections.answer = Answer(ms=1, status=503)
    with pytest.raises(ProbeError, match="status 503"):
        switch(params(tmp_path))
    assert "stop" not in sections.order


def test_what_was_done_before_a_failure_is_still_told(sections: Sections, tmp_path: Path) -> None:
    sections.error = DrainError("somebody is left")
    done: dict[str, Any] = {}
    with pytest.raises(DrainError):
        _switching.switch(params(tmp_path), run_nothing, done, check_mode=False, clock=Clock())
    assert list(done) == ["start", "route", "verify"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"start": {**START, "unit": "shop-blue.service"}}, "both name shop-blue.service"),
        ({"start": {**START, "unit": "*.service"}}, "is not the name of a unit"),
        ({"start": {**START, "ready": "/health/ready"}}, "start.ready: '/health/ready' cannot be asked"),
        ({"start": {**START, "timeout": 0}}, "start.timeout is 0"),
        ({"start": {**START, "resume_signal": "SIGTERM"}}, "start.resume_signal is SIGTERM"),
        ({"stop": {**STOP, "signal": "SIGKILL"}}, "stop.signal is SIGKILL"),
        ({"stop": {**STOP, "timeout": 86_401}}, "stop.timeout is 86401"),
        ({"stop": {**STOP, "in_flight_url": "metrics"}}, "stop.in_flight_url"),
        ({"route": {**ROUTE, "router": {"provider": "iptables"}}}, "router.provider"),
        ({"verify": {**VERIFY, "probes": [{"path": "/", "statsu": 200}]}}, r"verify.probes\[0\]: .*statsu"),
        ({"verify": {**VERIFY, "bases": []}}, "Nothing to ask"),
    ],
)
def test_wrong_input_is_refused_before_the_first_change(
    sections: Sections, tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        switch(params(tmp_path, **changes))
    assert sections.order == []


ARMED = {
    "state": "armed",
    "generation": 1,
    "token": 7,
    "time": 10,
    "deadline": 1.0,
    "target": {"service": "shop", "back_to": "blue"},
    "triggers": [],
    "cause": {"kind": "time", "sentence": "nobody renewed it for 10 s", "late": 0.0},
}


@pytest.mark.usefixtures("sections")
def test_the_guard_is_disarmed_before_the_old_colour_goes(tmp_path: Path) -> None:
    store = begun(tmp_path, 7)
    store.write_guard(ARMED)
    switch(params(tmp_path, token=7), check_mode=True)
    assert store.read_guard() == ARMED
    switch(params(tmp_path, token=7, route=None))
    assert store.read_guard() == ARMED
    switch(params(tmp_path, token=7))
    assert store.read_guard() is None


def test_a_guard_that_was_faster_keeps_the_old_colour(sections: Sections, tmp_path: Path) -> None:
    begun(tmp_path, 7).write_guard({**ARMED, "state": "firing"})
    with pytest.raises(FencedError, match="taking the traffic back to blue, because nobody renewed it"):
        switch(params(tmp_path, token=7))
    assert "stop" not in sections.order
