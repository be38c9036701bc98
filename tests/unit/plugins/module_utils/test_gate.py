# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The runner, on a Prometheus made of functions of time; its clock advances when the gate pauses."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from ansible_collections.bluegreen.cutover.plugins.module_utils import _gate
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.circuit import Circuit
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import InputError, StateError
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.gate.decide import Settings
from ansible_collections.bluegreen.cutover.plugins.module_utils._gate import (
    CONNECTION_ARGUMENTS,
    Gate,
    Options,
    as_result,
    make_connection,
    make_options,
)
from ansible_collections.bluegreen.cutover.plugins.module_utils._prometheus import (
    Answer,
    Connection,
    SourceDownError,
    SourceRefusedError,
    TooMuchError,
)

START = 1_700_000_000.0
RAW = re.compile(r"(?P<selector>\w+\{.*\})\[(?P<span>\d+)s\](?: offset (?P<offset>\d+)s)?$")
Counter = Callable[[float], float]


class Source:
    """Answers like Prometheus: ``counters`` by selector and labels, ``values`` by query; scraped each ``scrape`` s."""

    def __init__(self, counters: Mapping[str, Mapping[str, Counter]], values: Mapping[str, Any] | None = None) -> None:
        self.counters, self.values, self.time, self.scrape = counters, dict(values or {}), START, 10.0
        self.circuit = Circuit()
        self.warnings: tuple[str, ...] = ()
        self.down = False
        self.asked: list[str] = []

    def pause(self, seconds: float) -> None:
        self.time += seconds

    def now(self) -> float:
        if self.down:
            raise SourceDownError("p did not answer")
        return self.time

    def _answer(self, kind: str, rows: list[dict[str, Any]]) -> Answer:
        return Answer({"resultType": kind, "result": rows}, self.warnings, 200, 0.5)

    def query(self, text: str, at: float | None = None) -> Answer:
        if self.down:
            raise SourceDownError("p did not answer")
        self.asked.append(text)
        found = RAW.match(text)
        assert found, text
        end = (self.time if at is None else at) - float(found["offset"] or 0)
        first = int((end - float(found["span"])) // self.scrape) + 1
        times = [n * self.scrape for n in range(first, int(end // self.scrape) + 1)]
        rows = []
        for labels, count in self.counters.get(found["selector"], {}).items():
            metric = dict(pair.split("=") for pair in labels.split(","))
            rows.append({"metric": metric, "values": [[t, str(count(t))] for t in times]})
        return self._answer("matrix", rows)

    def query_range(self, text: str, start: float, end: float, step: float) -> Answer:
        self.asked.append(text)
        count = int((end - start) / step) + 1
        times = [round(start + n * step, 3) for n in range(count)]
        if text.startswith("timestamp("):
            rows = [{"metric": {}, "values": [[t, str(t // self.scrape * self.scrape)] for t in times]}]
        else:
            series = self.values[text]
            rows = [{"metric": {}, "values": [[t, str(f(t))] for t in times]} for f in series]
        return self._answer("matrix", rows)


def rate(per_second: float, since: float = 0.0) -> Counter:
    return lambda t: int(max(0.0, t - since) * per_second)


HEALTHY = {"n{}": {"instance=a,code=200": rate(100)}, "m{}": {"instance=b,code=200": rate(100)}}
ERRORS = {"name": "e", "kind": "ratio", "total": "n", "bad": 'code="500"', "max": 0.01}
VALUE = {"name": "v", "kind": "query", "query": "up", "min": 1}


def make(source: Source, *criteria: dict[str, Any], state: Any = None, window: float = 60, **more: Any) -> Gate:
    options = Options(criteria, Settings(window, 10.0, 30.0, 60.0), history=more.pop("history", 600), **more)
    gate = Gate(options, Connection("http://p"), state, clock=lambda: source.time, pause=source.pause)
    gate.prometheus = source  # type: ignore[assignment]
    return gate


def test_a_healthy_green_passes_when_the_window_is_over() -> None:
    source = Source(HEALTHY, {"up": [lambda _t: 1.0]})
    result = make(source, ERRORS, VALUE).run(None)
    assert result.verdict.verdict == "pass"
    assert 60 <= source.time - START <= 90
    assert result.left == 0
    assert json.loads(json.dumps(as_result(result), allow_nan=False))["criteria"][0]["bad"] == 0


def test_two_criteria_share_the_error_of_their_gate() -> None:
    needed = [
        [one.log_e_needed for one in make(Source(HEALTHY), *criteria).run(0).readings]
        for criteria in ((ERRORS,), (ERRORS, {**ERRORS, "name": "other"}))
    ]
    assert needed == [[pytest.approx(math.log(100))], [pytest.approx(math.log(200))] * 2]


def test_a_slow_source_is_not_asked_for_longer_than_a_guard_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each answer takes 0.5 ms here. What was not asked is not known, and what was is not asked twice."""
    monkeypatch.setattr(_gate, "PATIENCE", 1.2)
    source = Source(HEALTHY, {"up": [lambda _t: 1.0]})
    gate = make(source, ERRORS, VALUE)
    result = gate.run(0)
    assert (result.verdict.verdict, result.verdict.reason) == ("open", "unreachable")
    assert "3 answers of Prometheus took 0 s" in result.readings[-1].message
    assert len(source.asked) == 3


def test_errors_from_a_moment_on_fail_with_their_action() -> None:
    counters = {
        "n{}": {"instance=a,code=200": rate(100), "instance=a,code=500": rate(20, START + 30)},
        'n{code="500"}': {"instance=a,code=500": rate(20, START + 30)},
        **{k: v for k, v in HEALTHY.items() if k == "m{}"},
    }
    source = Source(counters)
    result = make(source, {**ERRORS, "baseline": "m", "action": "rollback_progressive"}, window=600).run(None)
    assert (result.verdict.verdict, result.verdict.action) == ("fail", "rollback_progressive")
    assert source.time - START <= 80
    assert [e["status"] for e in result.evaluations][-1] == "breach"
    assert result.evaluations[-1]["http_status"] == 200


def test_an_open_window_goes_on_elsewhere_and_reads_what_it_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_gate, "CHUNK", 300.0)
    source = Source(HEALTHY, {"up": [lambda _t: 1.0]})
    first = make(source, ERRORS, VALUE, window=800).run(0)
    assert (first.verdict.verdict, first.verdict.reason) == ("open", "window")
    source.time += 820
    second = make(source, ERRORS, VALUE, window=800, state=json.loads(json.dumps(first.state))).run(0)
    assert second.verdict.verdict == "pass", second.verdict.message
    assert second.readings[0].n == pytest.approx(82000, rel=0.01)
    # What is asked for at once does not grow with the time in which nobody looked.
    assert max(int(found["span"]) for found in map(RAW.match, source.asked) if found) <= 600


def test_a_look_that_has_far_to_go_is_bounded_and_does_not_pass_before_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Green fails in what is judged last."""
    monkeypatch.setattr(_gate, "CHUNK", 300.0)
    monkeypatch.setattr(_gate, "CATCH_UP", 0.0)
    counters = {
        "n{}": {"instance=a,code=200": rate(100), "instance=a,code=500": rate(20, START + 1900)},
        'n{code="500"}': {"instance=a,code=500": rate(20, START + 1900)},
    }
    source = Source(counters)
    state = make(source, ERRORS, window=1950).run(0).state
    source.time += 2000
    verdicts = []
    for _run in range(20):
        result = make(source, ERRORS, window=1950, state=json.loads(json.dumps(state))).run(0)
        state = result.state
        verdicts.append((result.verdict.verdict, result.verdict.reason))
        if not result.behind:
            break
    assert verdicts == [*[("open", "behind")] * (len(verdicts) - 1), ("fail", "breach")]
    assert len(verdicts) > 5
    assert as_result(result)["behind"] == 0


def test_a_window_that_is_over_passes_only_when_all_is_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_gate, "CHUNK", 300.0)
    monkeypatch.setattr(_gate, "CATCH_UP", 0.0)
    source = Source(HEALTHY)
    state = make(source, ERRORS, window=400).run(0).state
    source.time += 1500
    gate = make(source, ERRORS, window=400, state=state)
    waits: list[float] = []
    gate.pause = waits.append
    early = gate.run(0)
    assert (early.verdict.verdict, early.behind) == ("open", pytest.approx(1500 - 250))
    result = gate.run(None)
    assert (result.verdict.verdict, result.behind) == ("pass", 0)
    assert result.readings[0].n == pytest.approx(150000, rel=0.02)
    # There was nothing to wait for.
    assert waits == []


def failing(since: float) -> dict[str, dict[str, Counter]]:
    """Counters of a green that fails a sixth of its requests from a moment on."""
    bad = rate(20, since)
    return {
        "n{}": {"instance=a,code=200": rate(100), "instance=a,code=500": bad},
        'n{code="500"}': {"instance=a,code=500": bad},
    }


def test_what_happens_after_the_end_of_a_window_is_judged_before_it_passes() -> None:
    """Nobody came at its end: half an hour later green is bad, for the last ten minutes."""
    source = Source(failing(START + 5400))
    state = make(source, ERRORS, window=3600).run(0).state
    source.time += 6000
    result = make(source, ERRORS, window=3600, state=json.loads(json.dumps(state))).run(0)
    assert (result.verdict.verdict, result.left) == ("fail", 0)


def test_time_of_which_nothing_is_known_is_told() -> None:
    """The window is covered; then Prometheus has nothing for two hours; then green is as good as before."""
    source = Source(HEALTHY)
    state = make(source, ERRORS, window=600).run(0).state
    source.time += 9000
    answer = source._answer
    gap = range(int(START) + 1000, int(START) + 8200)
    source._answer = lambda kind, rows: answer(  # type: ignore[method-assign]
        kind, [{**row, "values": [one for one in row["values"] if int(one[0]) not in gap]} for row in rows]
    )
    result = make(source, ERRORS, window=600, state=state).run(0)
    assert result.verdict.verdict == "pass"
    assert result.missing == pytest.approx(7200, abs=60)
    assert as_result(result)["missing"] == pytest.approx(7200, abs=60)


@pytest.mark.parametrize("most", [300, 150])
def test_where_an_hour_is_too_much_it_is_asked_for_less_at_a_time(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also before the window, for blue's history; the next run does not try an hour again."""
    monkeypatch.setattr(_gate, "CHUNK", 900.0)
    source = Source({**failing(START + 3000), "m{}": HEALTHY["m{}"]}, {"up": [lambda _t: 1.0]})
    query, query_range = source.query, source.query_range
    refused: list[float] = []

    def check(seconds: float) -> None:
        if seconds > most:
            refused.append(seconds)
            raise TooMuchError("too many samples", {"http_status": 422})

    def asked(text: str, at: float | None = None) -> Answer:
        found = RAW.match(text)
        check(float(found["span"]) if found else 0.0)
        return query(text, at)

    def ranged(text: str, start: float, end: float, step: float) -> Answer:
        check(end - start)
        return query_range(text, start, end, step)

    source.query, source.query_range = asked, ranged  # type: ignore[method-assign]
    criteria = ({**ERRORS, "baseline": "m"}, VALUE)
    first = make(source, *criteria, window=2000, history=900).run(0)
    assert (first.verdict.verdict, first.verdict.reason) == ("open", "window")
    assert refused != []
    refused.clear()
    source.time += 1500
    second = make(source, *criteria, window=2000, state=json.loads(json.dumps(first.state))).run(0)
    assert second.readings[0].n == pytest.approx(150_000, rel=0.03)
    assert refused == []
    source.time += 1600
    assert make(source, *criteria, window=2000, state=second.state).run(0).verdict.verdict == "fail"


def test_what_is_too_much_in_the_smallest_piece_is_unknown() -> None:
    source = Source(HEALTHY)

    def refuse(_text: str, _at: float | None = None) -> Answer:
        raise TooMuchError("too many samples", {"http_status": 422})

    source.query = refuse  # type: ignore[method-assign]
    result = make(source, ERRORS).run(0)
    assert (result.verdict.verdict, result.verdict.reason) == ("open", "unreachable")
    assert result.state["chunk"] == 60


def test_a_scrape_interval_of_an_hour_is_judged() -> None:
    source = Source(HEALTHY)
    source.scrape = 3600.0
    options = Options((ERRORS,), Settings(36000, 3600.0, 10800.0, 60.0), history=36000)
    gate = Gate(options, Connection("http://p"), None, clock=lambda: source.time, pause=source.pause)
    gate.prometheus = source  # type: ignore[assignment]
    state = gate.run(0).state
    source.time += 50000
    gate = Gate(options, Connection("http://p"), state, clock=lambda: source.time, pause=source.pause)
    gate.prometheus = source  # type: ignore[assignment]
    assert gate.run(0).verdict.verdict == "pass"


def test_a_source_that_goes_down_while_the_past_is_judged_is_no_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_gate, "CHUNK", 300.0)
    source = Source(HEALTHY)
    state = make(source, ERRORS, window=400).run(0).state
    source.time += 2000
    gate = make(source, ERRORS, window=400, state=state)
    seen, query = gate.seen, source.query
    monkeypatch.setattr(source, "query", lambda text, at=None: query(text, at) if (at or 0) < START + 900 else fail())

    def fail() -> Answer:
        raise SourceDownError("p did not answer")

    result = gate.run(0)
    assert (result.verdict.verdict, result.verdict.reason) == ("open", "unreachable")
    assert seen < result.state["seen"] < START + 900
    monkeypatch.setattr(source, "query", query)
    assert make(source, ERRORS, window=400, state=result.state).run(0).verdict.verdict == "pass"


def test_a_time_without_data_that_is_over_is_not_held_against_now(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing was known when the last run ended; then there was data; now there is none for a moment."""
    monkeypatch.setattr(_gate, "CHUNK", 300.0)
    source = Source(HEALTHY)
    first = make(source, ERRORS, window=4000)
    state = first.run(0).state
    state["unknown_since"] = source.time
    source.time += 2000
    gate = make(source, ERRORS, window=4000, state=state)
    answer = source._answer
    monkeypatch.setattr(
        source,
        "_answer",
        lambda kind, rows: answer(
            kind, [{**r, "values": [v for v in r["values"] if v[0] <= START + 1950]} for r in rows]
        ),
    )
    result = gate.run(0)
    assert (result.verdict.verdict, result.verdict.reason) == ("open", "stale")


def test_a_rehearsal_judges_the_window_that_has_gone_by() -> None:
    source = Source(HEALTHY, {"up": [lambda _t: 1.0]})
    result = make(source, ERRORS, VALUE, window=1000).run(None, rehearse=True)
    assert result.verdict.verdict == "pass"
    assert result.covered > 950
    assert source.time == START


def test_a_state_of_another_gate_is_refused() -> None:
    state = make(Source(HEALTHY), ERRORS).run(0).state
    with pytest.raises(StateError, match="belongs to another gate"):
        make(Source(HEALTHY), {**ERRORS, "max": 0.02}, state=state)
    with pytest.raises(StateError, match="belongs to another gate"):
        make(Source(HEALTHY), ERRORS, state={**state, "version": 0})


def test_nobody_answers_until_the_hold_ends() -> None:
    source = Source(HEALTHY)
    source.down = True
    result = make(source, ERRORS).run(None)
    assert (result.verdict.verdict, result.verdict.reason) == ("inconclusive", "unreachable")
    assert source.time - START >= 60
    assert len(result.evaluations) == 1


def test_the_hold_goes_on_between_runs_and_begins_anew_after_an_answer() -> None:
    source = Source(HEALTHY)
    state = make(source, ERRORS).run(0).state
    source.down = True
    state = make(source, ERRORS, state=state).run(0).state
    source.time += 50
    source.down = False
    state = make(source, ERRORS, state=state).run(0).state
    assert state["unknown_since"] is None
    source.down = True
    state = make(source, ERRORS, state=state).run(0).state
    source.time += 61
    assert make(source, ERRORS, state=state).run(0).verdict.verdict == "inconclusive"


@pytest.mark.parametrize(
    ("value", "more", "reason"),
    [
        ([lambda _t: float("nan")], {}, "not_finite"),
        ([lambda _t: float("-inf")], {}, "not_finite"),
        ([], {}, "no_data"),
        ([lambda _t: 1.0, lambda _t: 5.0], {}, "several_series"),
        ([lambda _t: 1.0, lambda _t: 5.0], {"reducer": "min"}, None),
        ([lambda _t: 1.0, lambda _t: 5.0], {"reducer": "avg", "min": 4}, "breach"),
        ([lambda _t: 0.0], {"baseline": "base"}, "common_mode"),
        ([lambda _t: 0.0], {"baseline": "none"}, "no_data"),
    ],
)
def test_values(value: list[Any], more: dict[str, Any], reason: str | None) -> None:
    source = Source({}, {"up": value, "base": [lambda _t: 0.5], "none": []})
    result = make(source, {**VALUE, **more}).run(None)
    assert result.verdict.reason == reason
    assert result.verdict.verdict == {None: "pass", "breach": "fail"}.get(reason, "inconclusive")
    json.dumps(as_result(result), allow_nan=False)


def test_a_value_whose_samples_are_old_is_stale() -> None:
    source = Source({}, {"up": [lambda _t: 1.0]})
    source.scrape = 100.0
    result = make(source, VALUE).run(None)
    assert result.verdict.reason == "stale"


def test_a_burn_rate_needs_both_windows() -> None:
    criterion = {"name": "b", "kind": "burn_rate", "total": "n", "bad": 'code="500"', "objective": 0.99,
                 "windows": [{"long": "60s", "short": "10s", "factor": 10}]}  # fmt: skip
    text = '(sum(rate(n{code="500"}[%ds])) or 0*sum(rate(n{}[%ds]))) / sum(rate(n{}[%ds]))'
    long, short = (text % (w, w, w) for w in (60, 10))
    assert (
        make(Source({}, {long: [lambda _t: 0.2], short: [lambda _t: 0.05]}), criterion).run(None).verdict.verdict
        == "pass"
    )
    result = make(Source({}, {long: [lambda _t: 0.2], short: [lambda _t: 0.15]}), criterion).run(None)
    assert result.verdict.verdict == "fail"
    assert result.readings[0].value == pytest.approx(1.5)


@pytest.mark.parametrize(
    ("criterion", "counters", "reason"),
    [
        (ERRORS, {}, "no_data"),
        ({**ERRORS, "bad": "errors_total{}"}, HEALTHY, "no_data"),
        ({**ERRORS, "max": None, "max_ratio": 1.5, "baseline": "nobody"}, HEALTHY, "no_data"),
        (ERRORS, {"n{}": {"instance=a,code=200": lambda _t: float("nan")}}, "not_finite"),
    ],
)
def test_counters_without_data(criterion: dict[str, Any], counters: Any, reason: str) -> None:
    result = make(Source(counters), criterion).run(None)
    assert (result.verdict.verdict, result.verdict.reason) == ("inconclusive", reason)


def test_samples_that_end_are_stale() -> None:
    source = Source(HEALTHY)
    gate = make(source, ERRORS, window=600)
    gate.look()
    real = source.query

    def frozen(text: str, at: float | None = None) -> Answer:
        late, source.time = source.time, START
        answer = real(text, at)
        source.time = late
        return answer

    source.query = frozen  # type: ignore[method-assign]
    result = gate.run(None)
    assert (result.verdict.verdict, result.verdict.reason) == ("inconclusive", "stale")


def test_a_label_that_no_series_has_is_a_mistake() -> None:
    with pytest.raises(SourceRefusedError, match="no series of green has the label 'cod'"):
        make(Source(HEALTHY), {**ERRORS, "bad": 'cod="500"'}).run(None)


def test_warnings_are_no_answer_unless_allowed() -> None:
    source = Source(HEALTHY)
    source.warnings = ("store 7 is away",)
    assert make(source, ERRORS).run(None).verdict.reason == "warnings"
    result = make(source, ERRORS, warnings_allowed=["^store"]).run(None)
    assert result.verdict.verdict == "pass"
    assert result.evaluations[0]["warnings"] == ["store 7 is away"]


def test_a_window_without_enough_requests_is_refused_with_the_number() -> None:
    slow = {"n{}": {"instance=a,code=200": rate(1)}}
    source = Source(slow)
    result = make(source, ERRORS).run(None)
    assert (result.verdict.reason, result.required_requests, result.expected_requests) == ("low_traffic", 368, 60)
    assert "the window would have to be 368 s" in result.verdict.message
    source = Source(slow)
    assert make(source, ERRORS, expected_rps=2.0).run(None).expected_requests == 120
    assert source.time == START


def bucket(arm: str, slow: float, speed: float = 100.0) -> dict[str, Counter]:
    shares = {"0.05": (1 - slow) * 0.6, "0.1": 1 - slow, "0.2": 1 - slow / 4, "+Inf": 1.0}
    return {f"instance={arm},le={le}": rate(speed * share) for le, share in shares.items()}


def test_a_latency_is_judged_at_its_bound() -> None:
    criterion = {"name": "p95", "kind": "latency", "histogram": "s_bucket", "max": 0.1}
    assert make(Source({"s_bucket{}": bucket("a", 0.01)}), criterion).run(None).verdict.verdict == "pass"
    assert make(Source({"s_bucket{}": bucket("a", 0.2)}), criterion, window=600).run(None).verdict.verdict == "fail"
    with pytest.raises(SourceRefusedError, match=r"0\.3 is not a bound of the histogram"):
        make(Source({"s_bucket{}": bucket("a", 0.2)}), {**criterion, "max": 0.3}).run(None)
    relative = {"name": "l", "kind": "latency", "histogram": "s_bucket", "baseline": "t_bucket", "max_increase": 0.1}
    gate = make(Source({"s_bucket{}": bucket("a", 0.2), "t_bucket{}": bucket("b", 0.2)}), {**relative, "le": 0.7})
    with pytest.raises(SourceRefusedError, match=r"0\.7 is not a bound"):
        gate.run(None)


def test_slower_than_blue_is_judged_at_a_bound_of_blue() -> None:
    criterion = {"name": "l", "kind": "latency", "histogram": "s_bucket", "baseline": "t_bucket", "max_increase": 0.1}
    source = Source({"s_bucket{}": bucket("a", 0.2), "t_bucket{}": bucket("b", 0.08)})
    result = make(source, criterion, window=6000).run(None)
    assert result.verdict.verdict == "fail"
    judge = result.state["criteria"]["l"]["judge"]
    # Four times fewer at twice the time: slope 2.
    assert judge["le"] == 0.1
    assert judge["rho"] == pytest.approx(1.21, rel=0.01)
    idle = Source({"s_bucket{}": bucket("a", 0.2), "t_bucket{}": bucket("b", 0.0, 0.0)})
    assert make(idle, criterion).run(None).verdict.reason == "no_data"
    fast = Source({"s_bucket{}": bucket("a", 0.2), "t_bucket{}": bucket("b", 0.0)})
    assert make(fast, {**criterion, "le": 0.1}).run(None).verdict.reason == "no_data"


def test_the_oldest_evaluations_go_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_gate, "KEEP", 3)
    result = make(Source(HEALTHY), ERRORS).run(None)
    assert len(result.evaluations) == 3
    assert result.dropped > 2


def test_progress_tells_what_is_left() -> None:
    result = make(Source(HEALTHY), {**ERRORS, "baseline": "m"}, window=100).run(0)
    (line,) = as_result(result)["progress"]
    assert line.startswith("e ? (limit 0.01) · 0 bad of 0 · against 0%, for 0%")
    assert line.endswith("· 100 s left")


GIVEN = {
    "criteria": [ERRORS], "window": "1h", "scrape_interval": "15s", "max_age": None, "hold": "2m", "history": "1h",
    "alpha": 0.01, "beta": 0.05, "dispersion": None, "expected_rps": None, "warnings_allowed": [],
}  # fmt: skip


def test_options_have_units() -> None:
    options = make_options(GIVEN)
    assert options.settings == Settings(3600, 15, 45, 120, 0.01, 0.05)
    assert options.settings.horizon == 240


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"window": "1s"}, "window must be at least scrape_interval"),
        ({"max_age": "1s"}, "max_age must be at least scrape_interval"),
        ({"alpha": 0.0}, "alpha: is a probability"),
        ({"beta": 0.9}, "beta: is a probability"),
        ({"dispersion": 0.5}, "dispersion: give a number of at least 1"),
        ({"expected_rps": float("nan")}, "expected_rps: give a number of at least 0"),
        ({"warnings_allowed": ["("]}, "is not a regular expression"),
    ],
)
def test_options_that_cannot_be_meant(given: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_options({**GIVEN, **given})


def test_a_connection() -> None:
    given = {"url": "http://p", "timeout": 4.0}
    keys = set(CONNECTION_ARGUMENTS)
    assert make_connection({**dict.fromkeys(keys), **given}) == Connection("http://p")
    assert make_connection({**dict.fromkeys(keys), **given, "timeout": 1.5}).timeout == 1.5
    with pytest.raises(InputError, match="timeout"):
        make_connection({**dict.fromkeys(keys), **given, "timeout": 0})
