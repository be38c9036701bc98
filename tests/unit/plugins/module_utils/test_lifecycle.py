# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Started and ready before any traffic, stopped only when nobody is served: with a unit and a clock of straw."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.bluegreen.cutover.plugins.module_utils import _lifecycle
from ansible_collections.bluegreen.cutover.plugins.module_utils._connections import Connection
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.draining import STOP
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import (
    DrainError,
    FencedError,
    NotReadyError,
    WorkloadError,
)
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.probes import Answer, Target
from ansible_collections.bluegreen.cutover.plugins.module_utils._lifecycle import Hands
from ansible_collections.bluegreen.cutover.plugins.module_utils._workloads import State

DEAD = State("inactive (dead)", False, True, False, None, None, 0, 0)
RUNNING = State("active (running)", True, False, False, 71, 1000, 0, 0)
SERVING = replace(RUNNING, enabled=True)
FAILED = replace(DEAD, state="failed (failed)", exit_status=3)
READY = Target("http://127.0.0.1:8002/health/ready")
METRICS = (Target("http://127.0.0.1:8001/metrics"), "in_flight")
CLIENT = Connection("10.0.0.1", 4242, "ESTABLISHED")


class Clock:
    """Time passes only in sleep."""

    def __init__(self) -> None:
        self.now = 1000.0

    def time(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class Unit:
    """A workload whose commands work at once; ``fate`` may change its state at each reading."""

    name = "shop.service"

    def __init__(self, state: State, check_mode: bool = False) -> None:
        self.state = state
        self.check_mode = check_mode
        self.commands: list[str] = []
        self.fate: Callable[[State], State] = lambda state: state
        self.refuses: set[str] = set()

    def read(self) -> State:
        self.state = self.fate(self.state)
        return self.state

    def _do(self, command: str, **changes: Any) -> None:
        self.commands.append(command)
        if command in self.refuses:
            raise WorkloadError(f"{command} failed")
        if not self.check_mode:
            self.state = replace(self.state, **changes)

    def start(self, timeout: float) -> None:
        self._do(f"start {timeout:.0f}", state="active (running)", running=True, stopped=False, pid=71)

    def stop(self) -> None:
        self._do("stop", state="inactive (dead)", running=False, stopped=True, pid=None)

    def enable(self) -> None:
        self._do("enable", enabled=True)

    def disable(self) -> None:
        self._do("disable", enabled=False)

    def signal(self, name: str) -> None:
        self._do(name)

    def evidence(self) -> dict[str, Any]:
        return {"journal": ["the last line"]}


class Fence:
    """Lets ``left`` changes pass."""

    def __init__(self, left: int = 100) -> None:
        self.left = left
        self.asked = 0
        self.held = False

    @contextlib.contextmanager
    def __call__(self) -> Iterator[None]:
        self.asked += 1
        if self.asked > self.left:
            raise FencedError("overtaken")
        self.held = True
        yield
        self.held = False


def hands(unit: Unit, fence: Fence | None = None) -> Hands:
    return Hands(unit, fence or Fence(), unit.check_mode, Clock())


@pytest.fixture(name="answers")
def _answers(monkeypatch: pytest.MonkeyPatch) -> list[Answer]:
    """What is answered, one after the other; the last one again and again."""
    answers = [Answer(ms=1, status=200)]

    def ask(_target: Target) -> Answer:
        return answers.pop(0) if len(answers) > 1 else answers[0]

    monkeypatch.setattr(_lifecycle, "ask", ask)
    monkeypatch.setattr(_lifecycle, "ask_all", lambda targets: [ask(target) for target in targets])
    return answers


def refused(times: int) -> list[Answer]:
    return [Answer(ms=1, error="refused")] * times


def counts(*numbers: int) -> Callable[[], Sequence[Connection]]:
    """The connections at each look; the last number again and again."""
    left: Iterator[int] = iter(numbers)
    last = [0]

    def look() -> Sequence[Connection]:
        last[0] = next(left, last[0])
        return [CLIENT] * last[0]

    return look


def test_it_is_enabled_only_when_it_is_ready(answers: list[Answer]) -> None:
    unit = Unit(DEAD)
    answers[:0] = refused(3)
    result = _lifecycle.start(hands(unit), [READY], 60)
    assert unit.commands == ["start 60", "enable"]
    assert result["changed"]
    assert result["before"] == {"active": False, "enabled": False, "state": "inactive (dead)"}
    assert result["after"] == {"active": True, "enabled": True, "state": "active (running)"}
    # One entry for three refusals, one for the answer.
    assert [bool(look["unready"]) for look in result["observations"]] == [True, False]
    assert result["ms"] == pytest.approx(600)


def test_one_that_serves_is_left_alone(answers: list[Answer]) -> None:
    del answers
    unit = Unit(SERVING)
    result = _lifecycle.start(hands(unit), [READY], 60)
    assert (result["changed"], unit.commands, result["note"]) == (False, [], "")


def test_one_that_was_draining_is_taken_back(answers: list[Answer]) -> None:
    del answers
    unit = Unit(SERVING)
    result = _lifecycle.start(hands(unit), [READY], 60, "SIGUSR2")
    assert (result["changed"], result["commands"]) == (False, ["SIGUSR2"])


def test_a_run_that_was_killed_before_enabling_is_finished(answers: list[Answer]) -> None:
    del answers
    unit = Unit(RUNNING)
    assert _lifecycle.start(hands(unit), [READY], 60)["changed"]
    assert unit.commands == ["enable"]


def test_one_that_never_gets_ready_is_stopped_again(answers: list[Answer]) -> None:
    answers[:] = [Answer(ms=1, status=503)]
    unit = Unit(DEAD)
    with pytest.raises(
        NotReadyError, match=r"not ready after 5 s: http://127\.0\.0\.1:8002/health/ready: status 503"
    ) as caught:
        _lifecycle.start(hands(unit), [READY], 5)
    assert unit.commands == ["start 5", "stop"]
    assert unit.state.stopped
    assert not unit.state.enabled
    assert caught.value.evidence["journal"] == ["the last line"]
    assert caught.value.evidence["undone"] == "shop.service was stopped again"
    assert len(caught.value.evidence["looks"]) == 1


def test_one_that_was_running_before_is_not_stopped(answers: list[Answer]) -> None:
    answers[:] = [Answer(ms=1, status=503)]
    unit = Unit(SERVING)
    with pytest.raises(NotReadyError) as caught:
        _lifecycle.start(hands(unit), [READY], 5)
    assert unit.commands == []
    assert "undone" not in caught.value.evidence


@pytest.mark.parametrize("death", [FAILED, replace(RUNNING, restarts=1), replace(RUNNING, running=False)])
def test_one_that_dies_is_not_waited_for(answers: list[Answer], death: State) -> None:
    answers[:] = refused(1)
    unit = Unit(DEAD)
    readings = 0

    def die(state: State) -> State:
        nonlocal readings
        readings += 1
        return death if readings == 4 else state

    unit.fate = die
    acting = hands(unit)
    with pytest.raises(WorkloadError, match="died while it was waited for"):
        _lifecycle.start(acting, [READY], 60)
    assert acting.clock.monotonic() - 1000 < 1
    assert unit.commands == ["start 60", "stop"]


def test_one_that_answers_and_dies_at_once_is_not_ready(answers: list[Answer]) -> None:
    del answers
    unit = Unit(DEAD)
    unit.fate = lambda state: FAILED if state.running else state
    with pytest.raises(WorkloadError, match="exit status 3"):
        _lifecycle.start(hands(unit), [READY], 60)


def test_a_start_that_fails_carries_evidence(answers: list[Answer]) -> None:
    del answers
    unit = Unit(DEAD)
    unit.refuses = {"start 60", "stop"}
    with pytest.raises(WorkloadError, match="start 60 failed") as caught:
        _lifecycle.start(hands(unit), [READY], 60)
    assert caught.value.evidence["undone"] == "shop.service was not stopped again: stop failed"


def test_a_run_that_is_overtaken_starts_nothing(answers: list[Answer]) -> None:
    del answers
    unit = Unit(DEAD)
    with pytest.raises(FencedError):
        _lifecycle.start(hands(unit, Fence(0)), [READY], 60)
    assert unit.commands == []


def test_a_colour_that_serves_is_kept_from_runs_that_were_overtaken(answers: list[Answer]) -> None:
    del answers
    unit = Unit(SERVING)
    fence = Fence()
    _lifecycle.start(hands(unit, fence), [READY], 60)
    assert (unit.commands, fence.asked) == ([], 1)


def test_check_mode_starts_nothing(answers: list[Answer]) -> None:
    answers[:] = refused(1)
    unit = Unit(DEAD, check_mode=True)
    result = _lifecycle.start(hands(unit), [READY], 60)
    assert (unit.state, result["changed"], result["commands"]) == (DEAD, True, ["start 60", "enable"])
    assert result["after"] == {"active": True, "enabled": True}


def test_check_mode_looks_at_one_that_runs(answers: list[Answer]) -> None:
    answers[:] = refused(1)
    unit = Unit(SERVING, check_mode=True)
    result = _lifecycle.start(hands(unit), [READY], 60)
    assert not result["changed"]
    assert result["note"] == (
        "not ready now (http://127.0.0.1:8002/health/ready: refused); the real run waits for it 60 s"
    )


def test_it_is_stopped_when_two_looks_see_nobody() -> None:
    unit = Unit(SERVING)
    result = _lifecycle.stop(hands(unit), counts(3, 3, 1, 0, 2, 0, 0), 60, "SIGUSR1")
    assert unit.commands == ["SIGUSR1", "stop", "disable"]
    assert [look["connections"] for look in result["observations"]] == [3, 1, 0, 2, 0]
    assert result["after"] == {"active": False, "enabled": False, "state": "inactive (dead)"}
    assert result["changed"]
    assert result["ms"] == pytest.approx(1200)


def test_it_is_not_stopped_while_somebody_is_served() -> None:
    unit = Unit(SERVING)
    with pytest.raises(DrainError, match=r"2 connections after 5 s: 2 from 10\.0\.0\.1 \(ESTABLISHED\)") as caught:
        _lifecycle.stop(hands(unit), counts(2), 5, "SIGUSR1")
    assert unit.commands == ["SIGUSR1"]
    assert caught.value.evidence["peers"] == [{"peer": "10.0.0.1", "state": "ESTABLISHED", "count": 2}]
    assert caught.value.evidence["connections"] == 2


def test_what_is_left_is_cut_only_when_told_to() -> None:
    unit = Unit(SERVING)
    result = _lifecycle.stop(hands(unit), counts(2), 5, cut=True)
    assert unit.commands == ["stop", "disable"]
    assert result["note"] == "2 connections cut off after 5 s"


def test_requests_without_connection_are_waited_for(answers: list[Answer]) -> None:
    answers[:] = [Answer(ms=1, status=200, body=f"in_flight {number}\n".encode()) for number in (2, 1, 0)]
    unit = Unit(SERVING)
    result = _lifecycle.stop(hands(unit), counts(0), 60, in_flight=METRICS)
    assert [look["in_flight"] for look in result["observations"]] == [2, 1, 0]
    assert unit.state.stopped


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Answer(ms=1, status=200, body=b"in_flight 1\n"), "0 connections and 1 request in flight after 5 s."),
        (Answer(ms=1, status=200, body=b"in_flight NaN\n"), "Requests in flight cannot be read: .* is NaN"),
        (Answer(ms=1, status=500), "Requests in flight cannot be read: .* status 500"),
    ],
)
def test_requests_that_are_not_known_to_be_zero_keep_it_running(
    answers: list[Answer], answer: Answer, said: str
) -> None:
    answers[:] = [answer]
    unit = Unit(SERVING)
    with pytest.raises(DrainError, match=said):
        _lifecycle.stop(hands(unit), counts(0), 5, in_flight=METRICS)
    assert unit.commands == []


@pytest.mark.parametrize("death", [FAILED, replace(SERVING, restarts=1)])
def test_one_that_ends_while_it_is_drained_is_told(death: State) -> None:
    unit = Unit(SERVING)
    readings = 0

    def die(state: State) -> State:
        nonlocal readings
        readings += 1
        return death if readings == 3 else state

    unit.fate = die
    with pytest.raises(DrainError, match="at the look before it had 4 connections, which may have been cut"):
        _lifecycle.stop(hands(unit), counts(4), 60)


def test_one_that_ends_before_the_first_look_is_told() -> None:
    unit = Unit(SERVING)
    readings = 0

    def die(state: State) -> State:
        nonlocal readings
        readings += 1
        return FAILED if readings == 2 else state

    unit.fate = die
    with pytest.raises(DrainError, match="an unknown number of connections"):
        _lifecycle.stop(hands(unit), counts(4), 60)


@pytest.mark.parametrize(
    ("state", "commands", "changed"),
    [
        (DEAD, [], False),
        (replace(DEAD, enabled=True), ["disable"], True),
        (RUNNING, ["SIGUSR1", "stop"], True),
        # Between two starts of Restart=: nobody to signal, and not stopped either.
        (replace(RUNNING, running=False, state="activating (auto-restart)"), ["stop"], True),
    ],
)
def test_only_what_is_missing_is_done(state: State, commands: list[str], changed: bool) -> None:
    unit = Unit(state)
    result = _lifecycle.stop(hands(unit), counts(0), 60, "SIGUSR1")
    assert (unit.commands, result["changed"]) == (commands, changed)


def test_one_that_crashes_again_and_again_is_stopped(answers: list[Answer]) -> None:
    answers[:] = refused(1)
    unit = Unit(replace(RUNNING, running=False, pid=None, enabled=True, state="activating (auto-restart)"))
    result = _lifecycle.stop(hands(unit), counts(0), 60, "SIGUSR1", in_flight=METRICS)
    assert unit.commands == ["stop", "disable"]
    assert result["note"] == "nothing to drain: it was activating (auto-restart)"


@pytest.mark.parametrize("end", [FAILED, replace(FAILED, stopped=False), replace(SERVING, restarts=8)])
def test_one_that_crashed_before_and_does_again_is_stopped(end: State) -> None:
    unit = Unit(replace(SERVING, restarts=7, since=990))
    readings = 0

    def die(state: State) -> State:
        nonlocal readings
        readings += 1
        return replace(end, enabled=True) if readings == 3 else state

    unit.fate = die
    # It has only just begun, and does not handle the signal yet.
    unit.refuses = {"SIGUSR1"}
    result = _lifecycle.stop(hands(unit), counts(4), 60, "SIGUSR1")
    assert unit.commands == ["SIGUSR1", "stop", "disable"]
    assert result["note"] == f"not drained to the end: it crashes again and again, and was {end.state}"


def test_one_that_crashed_long_ago_is_drained_like_any_other() -> None:
    unit = Unit(replace(SERVING, restarts=7, since=900))
    unit.refuses = {"SIGUSR1"}
    with pytest.raises(WorkloadError, match="SIGUSR1 failed"):
        _lifecycle.stop(hands(unit), counts(4), 60, "SIGUSR1")
    unit = Unit(unit.state)
    restarts = iter([7, 7, 8])
    unit.fate = lambda state: replace(state, restarts=next(restarts))
    with pytest.raises(DrainError, match="ended by itself"):
        _lifecycle.stop(hands(unit), counts(4), 60)


def test_one_that_crashed_and_serves_again_is_drained() -> None:
    unit = Unit(replace(SERVING, restarts=7, since=990))
    result = _lifecycle.stop(hands(unit), counts(4, 2, 0, 0), 60, "SIGUSR1")
    assert unit.commands == ["SIGUSR1", "stop", "disable"]
    assert [look["connections"] for look in result["observations"]] == [4, 2, 0]


@pytest.mark.parametrize(("left", "commands"), [(0, []), (1, ["SIGUSR1"]), (2, ["SIGUSR1", "stop"])])
def test_a_run_that_is_overtaken_changes_nothing_more(left: int, commands: list[str]) -> None:
    unit = Unit(SERVING)
    with pytest.raises(FencedError):
        _lifecycle.stop(hands(unit, Fence(left)), counts(0), 60, "SIGUSR1")
    assert unit.commands == commands


def test_one_that_does_not_stay_stopped_is_told() -> None:
    unit = Unit(SERVING)
    unit.fate = lambda state: SERVING if state.stopped else state
    acting = hands(unit, Fence(10_000))
    with pytest.raises(WorkloadError, match="was told to stop 120 s ago, and still runs"):
        _lifecycle.stop(acting, counts(0), 60)
    assert acting.clock.monotonic() - 1000 == pytest.approx(0.2 + STOP, abs=0.1)


def test_one_that_ends_slowly_is_waited_for() -> None:
    unit = Unit(SERVING)
    ends = iter([True, True, False, False])
    unit.fate = lambda state: replace(state, stopped=next(ends, True)) if "stop" in unit.commands else state
    result = _lifecycle.stop(hands(unit), counts(0), 60)
    assert unit.commands == ["stop", "disable"]
    assert result["after"]["active"] is False


def test_one_that_another_run_starts_again_is_left_to_it() -> None:
    unit = Unit(SERVING)
    fence = Fence()

    def start_again(state: State) -> State:
        if state.stopped:
            fence.left = 0
            return SERVING
        return state

    unit.fate = start_again
    with pytest.raises(FencedError):
        _lifecycle.stop(hands(unit, fence), counts(0), 60)
    assert unit.commands == ["stop"]


def test_one_that_is_enabled_again_is_told() -> None:
    unit = Unit(SERVING)
    unit.fate = lambda state: replace(state, enabled=True)
    with pytest.raises(WorkloadError, match="was to be stopped and not enabled; it is inactive .* and enabled"):
        _lifecycle.stop(hands(unit), counts(0), 60)


def test_nothing_comes_between_a_check_and_the_change_that_it_allows() -> None:
    """Or a rollback might find a colour running that the cutover which it has overtaken is just about to stop."""
    unit = Unit(SERVING)
    fence = Fence()
    held: list[tuple[str, bool]] = []
    do = unit._do

    def note(command: str, **changes: Any) -> None:
        held.append((command, fence.held))
        do(command, **changes)

    unit._do = note  # type: ignore[method-assign]
    _lifecycle.stop(hands(unit, fence), counts(0), 60, "SIGUSR1")
    assert held == [("SIGUSR1", True), ("stop", True), ("disable", True)]


def test_a_colour_that_an_overtaken_run_has_told_to_stop_is_started_again(answers: list[Answer]) -> None:
    del answers
    unit = Unit(SERVING)
    fence = Fence()
    # The other run's command comes before this one's token is known here, and no later.
    unit.fate = lambda state: replace(state, running=False) if fence.held and not unit.commands else state
    _lifecycle.start(hands(unit, fence), [READY], 60)
    assert unit.commands == ["start 60"]


def test_check_mode_counts_and_stops_nothing() -> None:
    unit = Unit(SERVING, check_mode=True)
    acting = hands(unit)
    result = _lifecycle.stop(acting, counts(7), 60, "SIGUSR1")
    assert (unit.state, result["changed"]) == (SERVING, True)
    assert result["commands"] == ["SIGUSR1", "stop", "disable"]
    assert [look["connections"] for look in result["observations"]] == [7]
    assert acting.clock.monotonic() == 1000
