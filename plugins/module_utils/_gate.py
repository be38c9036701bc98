# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs a gate: asks Prometheus, feeds the judges, and waits between two looks."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Union

from ._core.circuit import Circuit
from ._core.errors import InputError, StateError
from ._core.gate import counters
from ._core.gate.counters import BAD, BLUE, GOOD, GREEN, TOTAL, Counters, Series
from ._core.gate.criteria import (
    REDUCERS,
    Criterion,
    Part,
    Selector,
    burn_query,
    duration,
    fingerprint,
    parse,
)  # fmt: skip
from ._core.gate.decide import (
    FAIL,
    INCONCLUSIVE,
    OPEN,
    CountJudge,
    Point,
    Reading,
    Settings,
    ValueJudge,
    Verdict,
    covered,
    decide,
    own,
)  # fmt: skip
from ._prometheus import (
    Answer,
    Connection,
    Prometheus,
    SourceDownError,
    SourceRefusedError,
    TooMuchError,
    connection_of,
    jsonable,
)  # fmt: skip

STATE_VERSION = 1
CHUNK = 3600.0
"""Seconds of samples that one request asks for at most; half as many where that is too much for Prometheus."""
CATCH_UP = 5.0
"""Seconds that one look spends at most on the samples that nobody has looked at for long: meanwhile nobody hears of it,
and no guard is renewed."""
PATIENCE = 10_000.0
"""Milliseconds of answers in one look, after which no more is asked in it: meanwhile no guard is renewed."""
MAX_POINTS = 10000
"""Points that one range query asks for at most (Prometheus allows 11,000)."""
MAX_PAUSE = 5.0
"""Seconds between two looks at most."""
SCRAPES_FOR_RATE = 3
"""Scrapes of the gate from which the traffic is measured."""
KEEP = 500
"""Evaluations that a result holds; the oldest go first."""

Judge = Union[CountJudge, ValueJudge]


@dataclass(frozen=True)
class Options:
    """What a gate is asked for. Times in s; ``expected_rps`` in requests a second to green."""

    criteria: Sequence[Mapping[str, Any]]
    settings: Settings
    history: float = 3600.0
    dispersion: float | None = None
    expected_rps: float | None = None
    warnings_allowed: Sequence[str] = ()


@dataclass
class Result:
    """What a run of the gate found; ``state`` resumes it. Of ``missing`` seconds since its begin it knows nothing."""

    verdict: Verdict
    readings: list[Reading]
    state: dict[str, Any]
    evaluations: list[dict[str, Any]]
    dropped: int
    covered: float
    left: float
    behind: float = 0.0
    missing: float = 0.0
    required_requests: int | None = None
    expected_requests: float | None = None


@dataclass
class _Look:
    """One evaluation: the server's time, and what was asked, each selector once. ``past``: a time that has gone by."""

    now: float
    past: bool = False
    answers: dict[str, Answer] = field(default_factory=dict)
    down: SourceDownError | None = None


class _UnknownError(Exception):
    """A criterion cannot be judged now."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason, self.message = reason, message


class Gate:
    """One gate on one Prometheus. ``clock`` (wall clock, s) is only used to bound how long nothing is known."""

    def __init__(
        self,
        options: Options,
        connection: Connection,
        state: Mapping[str, Any] | None = None,
        clock: Callable[[], float] = time.time,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self.options, self.settings, self.clock, self.pause = options, options.settings, clock, pause
        self.criteria = parse(options.criteria)
        self.digest = fingerprint([options.criteria, asdict(options.settings)])
        state = state or {}
        if state and (state.get("version") != STATE_VERSION or state.get("digest") != self.digest):
            raise StateError(
                "state: belongs to another gate (criteria, window or version differ). Start a new one without state; "
                "a hold does so by itself with its next look."
            )
        self.prometheus = Prometheus(connection, Circuit.load(state.get("circuit")), clock, pause)
        self.started: float | None = state.get("started")
        self.unknown_since: float | None = state.get("unknown_since")
        # The server's time of the last look, and how many seconds of samples were left to be judged then.
        self.seen: float | None = state.get("seen", self.started)
        self.behind = 0.0
        # The samples of one request overlap those of the one before by max_age.
        s = self.settings
        self.lookback = max(60.0, 5 * s.scrape, s.max_age)
        self.least = max(self.lookback, 2 * s.max_age)
        self.chunk: float = state.get("chunk", max(CHUNK, self.least))
        saved = state.get("criteria", {})
        self.judges: dict[str, Judge] = {}
        self.counters: dict[str, Counters] = {}
        self.ready: set[str] = {name for name, one in saved.items() if one.get("ready")}
        for c in self.criteria:
            mine = saved.get(c.name, {})
            if c.counts:
                self.judges[c.name] = CountJudge(c, own(self.settings, c, self.criteria), mine.get("judge"))
                if self.started is not None:
                    self.counters[c.name] = self._new_counters(c, self.started, mine.get("counters"))
            else:
                self.judges[c.name] = ValueJudge(c, self.settings, mine.get("judge"))
        self.checked: bool = state.get("checked", False)
        self.evaluations: list[dict[str, Any]] = []
        self.dropped = 0

    def dump(self) -> dict[str, Any]:
        """The state, for JSON."""
        return {
            "version": STATE_VERSION,
            "digest": self.digest,
            "started": self.started,
            "unknown_since": self.unknown_since,
            "seen": self.seen,
            "checked": self.checked,
            "chunk": self.chunk,
            "circuit": self.prometheus.circuit.dump(),
            "criteria": {
                c.name: {
                    "judge": self.judges[c.name].dump(),
                    "counters": self.counters[c.name].dump() if c.name in self.counters else None,
                    "ready": c.name in self.ready,
                }
                for c in self.criteria
            },
        }

    def run(self, max_wait: float | None, rehearse: bool = False) -> Result:
        """Until there is a verdict, or for ``max_wait`` s. ``rehearse``: one look, as if the window ended now."""
        deadline = None if max_wait is None else time.monotonic() + max_wait
        while True:
            readings = self.look(rehearse)
            unknown_for = self._unknown_for(readings)
            # Slower and slower while nobody answers, so that a blip does not open the circuit.
            every = min(MAX_PAUSE, max(0.25, self.settings.scrape / 4) * 2**self.prometheus.circuit.failures)
            verdict, required, expected = decide(readings, self.settings, unknown_for, rehearse), None, None
            if self.behind and verdict.verdict != FAIL:
                verdict = Verdict(OPEN, "behind", f"{self.behind / 3600:.1f} hours of samples are still to be judged")
            elif verdict.verdict == OPEN:
                verdict, required, expected = self._reachable(verdict)
            if verdict.verdict != OPEN or rehearse or (deadline is not None and time.monotonic() + every > deadline):
                done = covered(readings)
                missing = max(0.0, (self.seen or 0.0) - (self.started or 0.0) - done)
                return Result(
                    verdict, readings, self.dump(), self.evaluations, self.dropped, done,
                    max(0.0, self.settings.window - done), self.behind, missing, required, expected,
                )  # fmt: skip
            if not self.behind:
                self.pause(every)

    def _unknown_for(self, readings: Sequence[Reading]) -> float:
        required = [r for r in readings if r.required] or list(readings)
        if all(r.status not in ("unknown", "common_mode") for r in required):
            self.unknown_since = None
            return 0.0
        now = self.clock()
        if self.unknown_since is None or self.unknown_since > now:
            self.unknown_since = now
        return now - self.unknown_since

    def _reachable(self, verdict: Verdict) -> tuple[Verdict, int | None, float | None]:
        """Once, before the wait: whether the window can bring the requests that a pass needs."""
        given = self.options.expected_rps
        judges = [j for j in self.judges.values() if isinstance(j, CountJudge) and j.criterion.required]
        if self.checked or (given is None and any(j.batches < SCRAPES_FOR_RATE for j in judges)):
            return verdict, None, None
        self.checked = True
        for judge in judges:
            seconds = max(judge.batches * self.settings.scrape, judge.clock.seconds + self.settings.scrape)
            rps, blue_rps = judge.sums[1] / seconds, judge.sums[3] / seconds
            short = judge.unreachable(rps if given is None else given, blue_rps)
            if short:
                return Verdict(INCONCLUSIVE, "low_traffic", short[0]), short[1], short[2]
        return verdict, None, None

    def look(self, rehearse: bool = False) -> list[Reading]:
        """One evaluation of every criterion. What nobody has looked at for long is judged first, an hour at a time, so
        that neither memory nor the time of a query grows with it; for how long is bounded, but in a rehearsal. Where an
        hour is too much for Prometheus, it is less, for as long as this gate lasts.
        """
        try:
            now = self.prometheus.now()
        except SourceDownError as e:
            return self._all_unknown(e)
        if self.started is None:
            # A rehearsal judges the window that has just gone by.
            self.started = now - (self.settings.window if rehearse else 0.0)
        self.seen = self.started if self.seen is None else self.seen
        until = math.inf if rehearse else time.monotonic() + CATCH_UP
        while True:
            # A little less than one request brings: the newest sample is older than the look that saw it.
            stride = max(self.chunk / 2, self.chunk - self.settings.max_age - 2 * self.settings.scrape)
            past, chunk = now - self.seen > self.chunk, self.chunk
            look = _Look(self.seen + stride, past=True) if past else _Look(now)
            readings = [self._one(c, look) for c in self.criteria]
            if look.down is None:
                self.seen = look.now
            elif self.chunk < chunk and time.monotonic() < until:
                continue
            elif past:
                self.behind = 0.0
                return self._all_unknown(look.down)
            self.behind = now - look.now
            if not past or time.monotonic() > until:
                return readings
            # A time without data that was over before this look is no reason to give up now.
            self._unknown_for(readings)

    def _all_unknown(self, error: SourceDownError) -> list[Reading]:
        out = []
        for c in self.criteria:
            reading = self.judges[c.name].reading().but_unknown(error.reason, error.message)
            self._record(c, reading, None, None)
            out.append(reading)
        return out

    def _one(self, c: Criterion, look: _Look) -> Reading:
        judge = self.judges[c.name]
        asked = len(look.answers)
        try:
            if isinstance(judge, CountJudge):
                self._count(c, judge, look)
            else:
                self._value(c, judge, look)
            reading = judge.reading()
        except (_UnknownError, SourceDownError) as e:
            reading = judge.reading().but_unknown(e.reason, e.message)
        self._record(c, reading, look, list(look.answers.values())[asked:])
        return reading

    def _record(self, c: Criterion, r: Reading, look: _Look | None, answers: Sequence[Answer] | None) -> None:
        judge = self.judges[c.name]
        row = {
            "time": jsonable(look.now, 13) if look else None,
            "sample_time": jsonable(r.sample_time, 13),
            "criterion": c.name,
            "query": _query_text(c, judge),
            "value": jsonable(r.value),
            "threshold": jsonable(r.bound),
            "baseline": jsonable(r.baseline),
            "n": jsonable(r.n),
            "bad": jsonable(r.bad),
            "log_e": jsonable(r.log_e, 4),
            "status": r.status,
            "reason": r.reason,
            "message": r.message,
            "warnings": sorted({w for a in answers or () for w in a.warnings}),
            "http_status": answers[-1].status if answers else None,
            "ms": round(sum(a.ms for a in answers or ()), 1),
        }
        before = next((e for e in reversed(self.evaluations) if e["criterion"] == c.name), None)
        same = before is not None and all(
            before[k] == row[k] for k in ("sample_time", "status", "reason", "n", "value")
        )
        if same:
            # The same samples seen again are not another evaluation.
            return
        self.evaluations.append(row)
        if len(self.evaluations) > KEEP:
            self.dropped += 1
            del self.evaluations[0]

    # Asking

    def _fetch(self, look: _Look, key: str, ask: Callable[[], Answer]) -> Answer:
        if look.down is not None:
            # One request that is not answered in time is enough: people wait for a sign of life.
            raise look.down
        if key not in look.answers:
            spent = sum(answer.ms for answer in look.answers.values())
            if spent > PATIENCE:
                look.down = SourceDownError(f"{len(look.answers)} answers of Prometheus took {spent / 1000:.0f} s")
                raise look.down
            try:
                look.answers[key] = ask()
            except SourceDownError as e:
                look.down = e
                if isinstance(e, TooMuchError):
                    self.chunk = max(self.least, self.chunk / 2)
                raise
        answer = look.answers[key]
        bad = [w for w in answer.warnings if not any(re.search(p, w) for p in self.options.warnings_allowed)]
        if bad:
            raise _UnknownError("warnings", f"the answer is partial: {'; '.join(bad)}")
        return answer

    def _raw(self, look: _Look, selector: Selector, seconds: float, offset: float = 0.0) -> Answer:
        text = f"{selector}[{max(1, math.ceil(seconds))}s]" + (f" offset {math.floor(offset)}s" if offset >= 1 else "")
        return self._fetch(look, text, lambda: self.prometheus.query(text, look.now if look.past else None))

    def _part(self, look: _Look, arm: str, part: Part, seconds: float, offset: float = 0.0) -> list[Series]:
        """Raw samples of the total and then of its part, see ``Counters._feed_target``."""
        out = []
        for role, one in ((TOTAL, part.total), (part.role, part.part)):
            rows = self._raw(look, one, seconds, offset).series()
            out += [Series(arm, role, labels, points) for labels, points in rows]
        return out

    def _histogram(
        self, look: _Look, arm: str, sel: Selector, le: float, seconds: float, offset: float = 0.0
    ) -> list[Series]:
        out, bounds = [], set()
        for labels, points in self._raw(look, sel, seconds, offset).series():
            bound = _bound(labels)
            bounds.add(bound)
            if bound in (le, math.inf):
                out.append(Series(arm, GOOD if bound == le else TOTAL, labels, points))
        if bounds and le not in bounds:
            near = sorted((b for b in bounds if math.isfinite(b)), key=lambda b: abs(b - le))[:3]
            raise SourceRefusedError(
                f"{sel}: {le:g} is not a bound of the histogram, so the share above it cannot be counted. "
                f"Nearest: {', '.join(f'{b:g}' for b in sorted(near)) or 'none'}."
            )
        return out

    def _arms(self, c: Criterion, judge: CountJudge, look: _Look, seconds: float, offset: float = 0.0) -> list[Series]:
        out: list[Series] = []
        for arm, part, histogram in ((GREEN, c.green, c.histogram), (BLUE, c.blue, c.blue_histogram)):
            if part is not None:
                out += self._part(look, arm, part, seconds, offset)
            elif histogram is not None and judge.le is not None:
                out += self._histogram(look, arm, histogram, judge.le, seconds, offset)
        if not counters.finite(out):
            raise _UnknownError("not_finite", "a counter's sample is not a number")
        return out

    def _new_counters(self, c: Criterion, since: float, saved: Mapping[str, Any] | None = None) -> Counters:
        role = GOOD if c.kind == "latency" or (c.green is not None and c.green.role == GOOD) else BAD
        return Counters(self.settings.scrape, self.settings.max_age, since, role, saved)

    # Counters

    def _count(self, c: Criterion, judge: CountJudge, look: _Look) -> None:
        s = self.settings
        if c.name not in self.counters:
            self.counters[c.name] = self._new_counters(c, self.started or look.now)
        counter = self.counters[c.name]
        if c.name not in self.ready:
            self._prepare(c, judge, look)
        last = min((counter.newest(arm) or 0.0 for arm in self._arm_names(c)), default=0.0)
        behind = look.now - max(last, (self.started or look.now) - self.lookback) + s.scrape
        while behind > self.chunk:
            judge.feed(counter.feed(self._arms(c, judge, look, self.chunk, behind - self.chunk)))
            behind -= self.chunk - s.max_age
        judge.feed(counter.feed(self._arms(c, judge, look, max(behind, s.max_age))))
        for arm in self._arm_names(c):
            newest = counter.newest(arm)
            if newest is None:
                raise _UnknownError("no_data", f"no samples of {arm}: {_query_text(c, judge, arm)}")
            if look.now - newest > s.max_age:
                raise _UnknownError(
                    "stale", f"the newest sample of {arm} is {look.now - newest:.0f} s old (at most {s.max_age:g} s)"
                )

    def _arm_names(self, c: Criterion) -> list[str]:
        """The arms without which nothing can be said: blue only for a comparison."""
        relative = c.rho is not None or c.increase is not None
        return [GREEN, BLUE] if relative else [GREEN]

    def _prepare(self, c: Criterion, judge: CountJudge, look: _Look) -> None:
        """Once: check the labels, and learn from blue's history."""
        if (c.histogram is not None and judge.le is None) or (c.increase is not None and judge.rho is None):
            self._choose_bound(c, judge, look)
        series = self._arms(c, judge, look, self.lookback)
        for arm, part in ((GREEN, c.green), (BLUE, c.blue)):
            if part is not None:
                _check_part(arm, part, [x for x in series if x.arm == arm])
        if not any(x.arm == GREEN and x.role == TOTAL for x in series):
            raise _UnknownError("no_data", f"no samples of green: {_query_text(c, judge)}")
        history: list[tuple[float, float]] = []
        if c.blue is not None or c.blue_histogram is not None:
            past = self._new_counters(c, 0.0)
            span = self.options.history
            while span > 0:
                piece = min(span, self.chunk)
                if c.blue is not None:
                    rows = self._part(look, BLUE, c.blue, piece, span - piece)
                else:
                    rows = self._histogram(look, BLUE, c.blue_histogram, judge.le or 0.0, piece, span - piece)  # type: ignore[arg-type]
                if not counters.finite(rows):
                    raise _UnknownError("not_finite", "a sample of blue's history is not a number")
                history += [(b.e_b, b.n_b) for b in past.feed(rows)]
                span -= piece
        judge.learn(history, self.options.dispersion)
        self.ready.add(c.name)

    def _choose_bound(self, c: Criterion, judge: CountJudge, look: _Look) -> None:
        """For "blue + x %": a bound near blue's quantile, and how the share above it grows when all is x % slower.

        ``rho = (1 + x)^slope``, the slope of the logarithm of the survival function in the next bucket.
        """
        sel = c.blue_histogram
        if sel is None:
            return
        below: dict[float, float] = {}
        for labels, points in self._raw(look, sel, min(self.chunk, self.options.history)).series():
            bound = _bound(labels)
            below[bound] = below.get(bound, 0.0) + counters.grown(points)
        total = below.pop(math.inf, 0.0)
        if not total:
            raise _UnknownError("no_data", f"blue's history has no requests: {sel}")
        above = {b: max(0.0, 1.0 - n / total) for b, n in below.items() if b > 0}
        bounds = sorted(above)
        if judge.le is None:
            good = [b for b in bounds if above[b] >= 1.0 - (c.quantile or 0.95)]
            judge.le = max(good) if good else bounds[0] if bounds else None
        if judge.le not in above:
            raise SourceRefusedError(f"{sel}: {judge.le} is not a bound of the histogram; it has {bounds}.")
        after = [b for b in bounds if b > judge.le and above[b] > 0]
        if not after or above[judge.le] <= 0:
            raise _UnknownError("no_data", f"blue's history has too few requests above {judge.le:g} s to compare with")
        slope = math.log(above[judge.le] / above[after[0]]) / math.log(after[0] / judge.le)
        judge.rho = (1.0 + (c.increase or 0.0)) ** max(slope, 0.0)

    # Values

    def _value(self, c: Criterion, judge: ValueJudge, look: _Look) -> None:
        s = self.settings
        if judge.asked is None and self.started is not None and look.now - self.started > 2 * s.scrape:
            judge.asked = self.started
        start = look.now
        if judge.asked is not None and look.now - judge.asked > 2 * s.scrape:
            start = judge.asked + s.scrape
        self.ready.add(c.name)
        while True:
            end = min(look.now, start + min(self.chunk, (MAX_POINTS - 1) * s.scrape))
            for point in self._points(c, look, start, end):
                judge.feed(point)
            judge.asked = end
            if end >= look.now:
                return
            start = end + s.scrape

    def _points(self, c: Criterion, look: _Look, start: float, end: float) -> list[Point]:
        def ask(text: str) -> dict[float, list[float]]:
            answer = self._fetch(
                look, f"{text} @{start}", lambda: self.prometheus.query_range(text, start, end, self.settings.scrape)
            )
            out: dict[float, list[float]] = {}
            for _labels, points in answer.series():
                for when, value in points:
                    out.setdefault(round(when, 3), []).append(value)
            return out

        fresh = ask(f"timestamp({c.fresh})")
        parts = [[ask(q) for q in queries] for queries in self._queries(c)]
        baseline = ask(c.baseline) if c.baseline is not None else None
        times = [
            round(start + i * self.settings.scrape, 3) for i in range(int((end - start) / self.settings.scrape) + 1)
        ]
        out = []
        for when in times:
            point = self._point(c, when, fresh.get(when, []), [[m.get(when, []) for m in row] for row in parts])
            if baseline is not None and point.reason is None:
                reason, value = _reduce(baseline.get(when, []), c.reducer)
                if reason:
                    point = Point(None, point.sample_time, reason, f"{_SAYS[reason]} (baseline)")
                else:
                    point = Point(point.value, point.sample_time, baseline=value)
            out.append(point)
        return out

    def _queries(self, c: Criterion) -> list[list[str]]:
        if c.query is not None:
            return [[c.query]]
        part = c.green
        return [[burn_query(part, w.long), burn_query(part, w.short)] for w in c.windows] if part is not None else []

    def _point(self, c: Criterion, when: float, fresh: list[float], found: list[list[list[float]]]) -> Point:
        oldest = min(fresh, default=None)
        values = []
        for number, row in enumerate(found):
            reduced = [_reduce(one, c.reducer) for one in row]
            for reason, _number in reduced:
                if reason:
                    return Point(None, oldest, reason, _SAYS[reason])
            numbers = [value for reason, value in reduced if value is not None]
            values.append(min(numbers) / (c.windows[number].factor * (c.budget or 1.0)) if c.windows else numbers[0])
        if oldest is None:
            return Point(None, None, "no_data", f"no sample of {c.fresh}")
        if when - oldest > self.settings.max_age:
            text = f"{c.fresh}: its oldest series is {when - oldest:.0f} s old (at most {self.settings.max_age:g} s)"
            return Point(None, oldest, "stale", text)
        return Point(max(values), oldest)


_SAYS = {
    "no_data": "the answer is empty",
    "not_finite": "the answer is not a finite number",
    "several_series": "the answer has several series; aggregate them in the query or give a reducer",
}


def _reduce(values: list[float], reducer: str | None) -> tuple[str | None, float | None]:
    """(reason, None) or (None, the one value)."""
    if not values:
        return "no_data", None
    if not all(math.isfinite(v) for v in values):
        return "not_finite", None
    if len(values) > 1 and reducer is None:
        return "several_series", None
    return None, REDUCERS[reducer](values) if reducer else values[0]


def _bound(labels: Mapping[str, str]) -> float:
    """``le`` as a number: "1", "1.0" and "1e0" are the same bound."""
    try:
        return float(labels.get("le", "nan"))
    except ValueError:
        return math.nan


def _check_part(arm: str, part: Part, series: Sequence[Series]) -> None:
    """A part that finds nothing is "none yet" only when its labels exist."""
    totals = [x for x in series if x.role == TOTAL]
    if not totals:
        return
    labels = {label for x in totals for label in x.labels}
    for label in sorted(part.new_labels - labels - {"__name__"}):
        raise SourceRefusedError(
            f"{part.part}: no series of {arm} has the label {label!r}, so it could never find anything. "
            f"Labels there: {', '.join(sorted(labels - {'__name__'}))}."
        )
    if not part.lazy and not any(x.role == part.role for x in series):
        raise _UnknownError("no_data", f"no samples of {arm}: {part.part}")


def _query_text(c: Criterion, judge: Judge, arm: str = GREEN) -> str:
    """What is asked, for the record."""
    if c.query is not None:
        return c.query
    part = c.green if arm == GREEN else c.blue
    histogram = c.histogram if arm == GREEN else c.blue_histogram
    if part is not None:
        return f"{part.part} / {part.total}"
    le = judge.le if isinstance(judge, CountJudge) else None
    return f"{histogram}, share above {le if le is not None else 'a bound of blue'} s"


def _text(r: Reading) -> str:
    parts = [r.name, "?" if r.value is None else f"{r.value:.4g}"]
    if r.bound is not None:
        parts.append(f"(limit {r.bound:.4g})")
    if r.baseline is not None:
        parts.append(f"blue {r.baseline:.4g}")
    if r.n is not None:
        parts.append(f"· {r.bad or 0:.0f} bad of {r.n:.0f}")
    if r.log_e is not None and r.log_e_needed and r.log_proof is not None and r.log_proof_needed:
        against, proof = r.log_e / r.log_e_needed, r.log_proof / r.log_proof_needed
        parts.append(f"· against {max(0.0, against):.0%}, for {max(0.0, proof):.0%} of what decides")
    return " ".join(parts) + f" · {r.status}" + (f" ({r.message})" if r.message and r.status != "pending" else "")


def progress(result: Result) -> list[str]:
    """One line per criterion: what is measured, its bound, the evidence so far, and how much of the window is left."""
    return [f"{_text(r)} · {max(0.0, result.left):.0f} s left" for r in result.readings]


CONNECTION_ARGUMENTS: dict[str, Any] = {
    "url": {"type": "str", "required": True},
    "token": {"type": "str", "no_log": True},
    "token_file": {"type": "path", "no_log": False},
    "username": {"type": "str"},
    "password": {"type": "str", "no_log": True},
    "password_file": {"type": "path", "no_log": False},
    "ca_path": {"type": "path"},
    "client_cert": {"type": "path"},
    "client_key": {"type": "path", "no_log": False},
    "timeout": {"type": "float", "default": 4.0},
}

GATE_ARGUMENTS: dict[str, Any] = {
    "criteria": {"type": "list", "elements": "dict", "required": True},
    "window": {"type": "str", "required": True},
    "scrape_interval": {"type": "str", "default": "15s"},
    "max_age": {"type": "str"},
    "hold": {"type": "str", "default": "2m"},
    "history": {"type": "str", "default": "1h"},
    "alpha": {"type": "float", "default": 0.01},
    "beta": {"type": "float", "default": 0.05},
    "dispersion": {"type": "float"},
    "expected_rps": {"type": "float"},
    "warnings_allowed": {"type": "list", "elements": "str", "default": []},
    "state": {"type": "dict"},
    "max_wait": {"type": "str"},
    "accept": {"type": "list", "elements": "str", "choices": ["fail", "inconclusive", "open"], "default": []},
}


def make_connection(given: Mapping[str, Any]) -> Connection:
    """From ``CONNECTION_ARGUMENTS``."""
    if not 0 < given["timeout"] <= 300:
        raise InputError("timeout: give seconds between 0 and 300.")
    return replace(connection_of(given), timeout=given["timeout"])


def make_options(given: Mapping[str, Any]) -> Options:
    """From ``GATE_ARGUMENTS``, checked."""
    scrape, window = duration(given["scrape_interval"], "scrape_interval"), duration(given["window"], "window")
    max_age = 3 * scrape if given["max_age"] is None else duration(given["max_age"], "max_age")
    if not 0.1 <= scrape <= window:
        raise InputError("window must be at least scrape_interval, and that at least 100ms.")
    if max_age < scrape:
        raise InputError("max_age must be at least scrape_interval, or every sample would be too old.")
    for name in ("alpha", "beta"):
        if not 0 < given[name] <= 0.5:
            raise InputError(f"{name}: is a probability of a wrong decision, above 0 and at most 0.5.")
    for name, least in (("dispersion", 1.0), ("expected_rps", 0.0)):
        if given[name] is not None and not least <= given[name] < math.inf:
            raise InputError(f"{name}: give a number of at least {least:g}.")
    for pattern in given["warnings_allowed"]:
        try:
            re.compile(pattern)
        except re.error as e:
            raise InputError(f"warnings_allowed: {pattern!r} is not a regular expression: {e}.") from e
    settings = Settings(window, scrape, max_age, duration(given["hold"], "hold"), given["alpha"], given["beta"])
    return Options(
        given["criteria"],
        settings,
        duration(given["history"], "history"),
        given["dispersion"],
        given["expected_rps"],
        given["warnings_allowed"],
    )


def as_result(result: Result) -> dict[str, Any]:
    """What the module returns."""
    readings = []
    for r in result.readings:
        row = asdict(r)
        readings.append(
            {k: jsonable(v, 13 if k == "sample_time" else 6) if isinstance(v, float) else v for k, v in row.items()}
        )
    return {
        "verdict": result.verdict.verdict,
        "reason": result.verdict.reason,
        "message": result.verdict.message,
        "wanted": result.verdict.action,
        "criteria": readings,
        "evaluations": result.evaluations,
        "evaluations_dropped": result.dropped,
        "covered": jsonable(result.covered),
        "left": jsonable(result.left),
        "behind": jsonable(result.behind),
        "missing": jsonable(result.missing),
        "required_requests": result.required_requests,
        "expected_requests": jsonable(result.expected_requests),
        "progress": progress(result),
        "state": result.state,
    }
