# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Triggers: what pulls one, what does not, and what is said."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.bluegreen.cutover.plugins.module_utils import _triggers
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.circuit import FAILURES, Circuit
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import CutoverError, InputError
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.guard import Cause
from ansible_collections.bluegreen.cutover.plugins.module_utils._prometheus import (
    Answer,
    Connection,
    SourceDownError,
    SourceRefusedError,
)
from ansible_collections.bluegreen.cutover.plugins.module_utils._triggers import Triggers, Watch

SOURCE = {"url": "http://prometheus:9090", "scrape_interval": 1.0}
TRIGGER = {"name": "errors", "kind": "query", "query": "errors", "max": 0.05, "for": 3.0}
START = 1_700_000_000.0


class Source:
    """A Prometheus whose time goes on by 1 s with each look, to ``at`` seconds.

    ``value`` is what it has at a time, and ``error`` what it answers with instead.
    """

    def __init__(self) -> None:
        self.at = 0
        self.value: Callable[[int], float | None] = lambda _at: 0.0
        self.error: Callable[[int], CutoverError | None] = lambda _at: None
        self.connections: list[Connection] = []
        self.circuits: list[Circuit] = []

    def made(self, connection: Connection, circuit: Circuit) -> Source:
        self.connections.append(connection)
        self.circuits.append(circuit)
        return self

    def now(self) -> float:
        self.at += 1
        if error := self.error(self.at):
            raise error
        return START + self.at

    def query_range(self, text: str, start: float, end: float, step: float) -> Answer:
        assert step == 1
        times = range(int(start - START), int(end - START) + 1)
        points = [(START + at, START + at if text.startswith("timestamp(") else self.value(at)) for at in times]
        known = [[at, str(value)] for at, value in points if value is not None]
        rows = [{"metric": {}, "values": known}] if known else []
        return Answer({"resultType": "matrix", "result": rows}, (), 200, 1.0)


class Stop:
    """Ends a watch after so many looks; before each of the pauses in between ``between`` is called."""

    def __init__(self, looks: int, between: Callable[[int], object] = lambda _look: None) -> None:
        self.looks, self.between, self.pauses = looks, between, 0

    def is_set(self) -> bool:
        return self.pauses == self.looks

    def wait(self, _seconds: float) -> None:
        self.pauses += 1
        self.between(self.pauses)


@pytest.fixture(name="source")
def _source(monkeypatch: pytest.MonkeyPatch) -> Source:
    source = Source()
    monkeypatch.setattr(_triggers, "Prometheus", source.made)
    return source


def watch(stop: Stop, said: list[str] | None = None, **changes: Any) -> list[Cause]:
    found: list[Cause] = []
    told = said if said is not None else []
    Watch(told.append).watch([{**TRIGGER, **changes}], SOURCE, stop, found)  # type: ignore[arg-type]  # what it needs of an Event
    return found


def test_one_that_has_held_for_its_time_pulls(source: Source) -> None:
    source.value = lambda _at: 0.2
    stop = Stop(10)
    assert watch(stop) == [Cause("trigger", "'errors' was 0.2 (limit 0.05), past the limit for 3 s of samples")]
    # Its first look begins its time, the fourth ends it.
    assert stop.pauses == 3
    assert watch(Stop(3)) == []
    assert watch(Stop(1), **{"for": 0.0}) != []


def test_one_that_is_interrupted_begins_anew(source: Source) -> None:
    source.value = lambda at: 0.2 if at % 4 else 0.01
    assert watch(Stop(30)) == []


@pytest.mark.parametrize("limit", [{"max": 5}, {"max": None, "min": 1}])
def test_what_is_within_its_limits_pulls_nothing(source: Source, limit: dict[str, Any]) -> None:
    source.value = lambda _at: 3.0
    assert watch(Stop(10), **limit) == []


def test_what_is_as_bad_in_the_old_colour_pulls_nothing(source: Source) -> None:
    source.value = lambda _at: 0.2
    assert watch(Stop(10), baseline="errors of blue") == []


@pytest.mark.parametrize("nothing", [None, float("nan")])
def test_nothing_known_is_neither_bad_nor_time(source: Source, nothing: float | None) -> None:
    source.value = lambda at: nothing if 2 < at < 8 else 0.2
    # One second before, and two after what was missing for longer than a sample may be old.
    assert len(watch(Stop(20))) == 1
    assert source.at == 10


def test_what_was_not_answered_is_asked_again(source: Source) -> None:
    source.value = lambda _at: 0.2
    source.error = lambda at: SourceDownError("p did not answer") if 2 < at < 8 else None
    said: list[str] = []
    assert len(watch(Stop(20), said)) == 1
    assert source.at == 8
    assert said == ["triggers: p did not answer"]


def test_a_problem_is_told_once_and_again_after_it_was_gone(source: Source) -> None:
    source.error = lambda at: SourceRefusedError("refuses us (401)") if at in (3, 4, 5, 9) else None
    said: list[str] = []
    assert watch(Stop(12), said) == []
    assert said == ["triggers: refuses us (401)"] * 2


def test_a_watch_outlives_what_nobody_has_thought_of(source: Source) -> None:
    """Without a watch nobody would pull, and nobody know."""
    source.value = lambda _at: 0.2
    source.error = lambda at: IndexError("list index out of range") if at in (3, 4) else None
    said: list[str] = []
    assert len(watch(Stop(20), said)) == 1
    assert said == ["triggers: IndexError: list index out of range"]


def test_a_watch_begins_when_its_token_is_there(source: Source, tmp_path: Path) -> None:
    source.value = lambda _at: 0.2
    path = tmp_path / "token"
    said: list[str] = []
    found: list[Cause] = []
    one = Watch(said.append)
    stop = Stop(20, lambda look: path.write_text("late\n") if look == 3 else None)
    one.watch([TRIGGER], {**SOURCE, "token_file": str(path)}, stop, found)  # type: ignore[arg-type]  # what it needs of an Event
    assert len(found) == 1
    assert len(said) == 1
    assert "cannot be read on this host" in said[0]


def test_what_an_old_watch_finds_wrong_is_nobodys(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    watched: list[tuple[Any, ...]] = []
    monkeypatch.setattr(_triggers.threading, "Thread", lambda **given: Quiet(watched, given["args"]))
    said: list[str] = []
    one = Watch(said.append)
    one.set({"triggers": [TRIGGER], "prometheus": SOURCE})
    one.problem = "p did not answer"

    def ended(_at: int) -> CutoverError:
        one.set(None)
        return SourceDownError("p did not answer")

    source.error = ended
    one.watch(*watched[0])
    assert (one.problem, said) == ("", [])


def test_one_that_knows_nothing_says_so(source: Source) -> None:
    source.value = lambda _at: None
    one = Watch(lambda _line: None)
    one.watch([TRIGGER], SOURCE, Stop(3), [])  # type: ignore[arg-type]  # what it needs of an Event
    assert one.problem.startswith("'errors' is not known: ")


def test_its_token_is_read_for_each_look(source: Source, tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("first\n")
    triggers = Triggers([TRIGGER], {**SOURCE, "token_file": str(path)})
    triggers.look()
    path.write_text("second\n")
    triggers.look()
    assert [one.token for one in source.connections][-2:] == ["first", "second"]
    path.unlink()
    with pytest.raises(InputError, match="token of Prometheus in .* cannot be read on this host"):
        triggers.look()


def test_checked_before_it_is_armed(source: Source) -> None:
    source.value = lambda _at: None
    _triggers.check([TRIGGER], SOURCE)
    source.error = lambda _at: SourceDownError("p did not answer")
    with pytest.raises(SourceDownError, match="trigger 'errors': p did not answer"):
        _triggers.check([TRIGGER], SOURCE)


def test_watching_goes_on_while_the_triggers_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    watched: list[tuple[Any, ...]] = []
    monkeypatch.setattr(_triggers.threading, "Thread", lambda **given: Quiet(watched, given["args"]))
    one = Watch(lambda _line: None)
    document = {"triggers": [TRIGGER], "prometheus": SOURCE}
    one.set(document)
    one.set({**document, "generation": 2})
    assert len(watched) == 1
    _triggers_of, _source_of, stop, found = watched[0]
    found.append(Cause("trigger", "ill"))
    assert one.pulled() == Cause("trigger", "ill")
    one.set({**document, "triggers": []})
    assert stop.is_set()
    assert one.pulled() is None
    # What an old watch still finds is nobody's any more.
    found.append(Cause("trigger", "late"))
    assert one.pulled() is None
    one.set(None)
    assert len(watched) == 1


class Quiet:
    """A thread that never runs."""

    def __init__(self, watched: list[tuple[Any, ...]], args: tuple[Any, ...]) -> None:
        watched.append(args)

    def start(self) -> None:
        pass


def test_a_circuit_of_its_own_each_time(source: Source) -> None:
    """A Prometheus that was away for long is asked again at once when it is back."""
    triggers = Triggers([TRIGGER], SOURCE)
    for look in range(2 * FAILURES):
        triggers.look()
        assert source.circuits[-1].rest(START) == 0, look
        source.circuits[-1].failed(START)
