# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Criteria as data: what an inventory may ask of a gate, checked before the first request."""

from __future__ import annotations

import difflib
import hashlib
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import InputError

ACTIONS = ("rollback", "rollback_progressive", "performance_mode", "notify")
"""Gravest first: when several criteria fail at once, the first of these is asked for."""
REDUCERS: dict[str, Callable[[list[float]], float]] = {
    "min": min,
    "max": max,
    "sum": sum,
    "avg": lambda values: sum(values) / len(values),
}
BURN_WINDOWS = ({"long": "1h", "short": "5m", "factor": 14.4}, {"long": "6h", "short": "30m", "factor": 6.0})
"""The two paging rules of the Google SRE workbook, chapter 5."""

_COMMON = {"name", "kind", "action", "required"}
_KEYS = {
    "ratio": {"total", "bad", "good", "baseline", "baseline_bad", "baseline_good", "max", "min", "max_ratio", "floor"},
    "latency": {"histogram", "baseline", "quantile", "max", "max_increase", "le"},
    "query": {"query", "max", "min", "for", "reducer", "fresh", "baseline"},
    "burn_rate": {"total", "bad", "objective", "windows", "for"},
}
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_MATCHER = re.compile(r"""\s*([a-zA-Z_]\w*)\s*(=~|!~|!=|=)\s*("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|`[^`]*`)\s*(,|$)""")
_ALWAYS = re.compile(r"\bor\s+(?:on\s*\([^)]*\)\s*|ignoring\s*\([^)]*\)\s*)?\(*\s*vector\s*\(", re.IGNORECASE)


@dataclass(frozen=True)
class Selector:
    """An instant vector selector: a metric's name and its matchers (label, operator, quoted value)."""

    name: str
    matchers: tuple[tuple[str, str, str], ...]

    def __str__(self) -> str:
        return self.name + "{" + ",".join(label + op + value for label, op, value in self.matchers) + "}"

    def with_matchers(self, more: tuple[tuple[str, str, str], ...]) -> Selector:
        """The same selector, narrowed."""
        return Selector(self.name, self.matchers + more)

    def narrows(self, other: Selector) -> bool:
        """Whether this selects a part of what ``other`` selects, by construction."""
        return self.name == other.name and set(other.matchers) <= set(self.matchers)


@dataclass(frozen=True)
class Part:
    """The bad or the good requests among all of one arm. ``lazy``: no series means none yet, not a mistake."""

    total: Selector
    part: Selector
    role: str

    @property
    def lazy(self) -> bool:
        """Only a selector that narrows the total's can be trusted when it finds nothing."""
        return self.part.narrows(self.total)

    @property
    def new_labels(self) -> set[str]:
        """Labels that must exist on the total's series, else the part is a typing error."""
        return {label for label, op, value in self.part.matchers} if self.lazy else set()


@dataclass(frozen=True)
class Window:
    """One rule of a multi-window burn rate: both windows (s) burn faster than ``factor`` budgets."""

    long: float
    short: float
    factor: float


@dataclass(frozen=True)
class Criterion:
    """One thing asked of green. Which fields are set depends on ``kind``; ratios and shares are in 0..1, times in s."""

    name: str
    kind: str
    action: str = "rollback"
    required: bool = True
    green: Part | None = None
    blue: Part | None = None
    histogram: Selector | None = None
    blue_histogram: Selector | None = None
    quantile: float | None = None
    le: float | None = None
    limit: float | None = None
    rho: float | None = None
    increase: float | None = None
    floor: float | None = None
    query: str | None = None
    baseline: str | None = None
    fresh: str | None = None
    high: float | None = None
    low: float | None = None
    hold: float = 0.0
    reducer: str | None = None
    budget: float | None = None
    windows: tuple[Window, ...] = ()

    @property
    def counts(self) -> bool:
        """Whether it is judged on raw counters; the others are judged on values."""
        return self.kind in ("ratio", "latency")


def duration(value: Any, where: str) -> float:
    """Seconds from ``90``, ``"90s"``, ``"1m30s"``, ``"2d"``."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and value >= 0:
        return float(value)
    text = str(value).strip()
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return float(text)
    parts = re.findall(r"(\d+(?:\.\d+)?)(ms|s|m|h|d|w)", text)
    if isinstance(value, bool) or not parts or "".join(n + u for n, u in parts) != text:
        raise InputError(f"{where}: {value!r} is not a duration; write for example 90s, 5m or 48h.")
    return sum(float(n) * _UNITS[u] for n, u in parts)


def selector(text: Any, where: str) -> Selector:
    """Parses ``name{label="value", ...}``; anything else is refused, for it could not be read as raw samples."""
    source = str(text).strip()
    name = _NAME.match(source)
    rest = source[name.end() :].strip() if name else ""
    if not name or (rest and not (rest.startswith("{") and rest.endswith("}"))):
        raise InputError(
            f'{where}: {source!r} is not a plain selector such as http_requests_total{{job="green"}}. '
            "The gate reads raw counters itself; give no rate(), sum() or range."
        )
    return Selector(name.group(), _matchers(rest[1:-1], where))


def _matchers(text: str, where: str) -> tuple[tuple[str, str, str], ...]:
    out, at = [], 0
    while at < len(text.rstrip()):
        found = _MATCHER.match(text, at)
        if not found:
            raise InputError(
                f'{where}: cannot read the matchers at {text[at:]!r}; write label="value", separated by ",".'
            )
        out.append((found.group(1), found.group(2), found.group(3)))
        at = found.end()
    return tuple(out)


def _part(total: Selector, text: Any, role: str, where: str) -> Part:
    """``code=~"5.."`` narrows the total's selector; ``name{...}`` is a selector of its own."""
    source = str(text).strip()
    if _MATCHER.match(source):
        return Part(total, total.with_matchers(_matchers(source, where)), role)
    return Part(total, selector(source, where), role)


def _number(
    data: Mapping[str, Any], key: str, where: str, low: float, high: float, strict: bool = True
) -> float | None:
    """A finite number in (low, high), or [low, high] when not ``strict``; None when it is not given."""
    if data.get(key) is None:
        return None
    try:
        value = float(data[key])
    except (TypeError, ValueError):
        value = math.nan
    if isinstance(data[key], bool) or not math.isfinite(value):
        raise InputError(f"{where}: {key} is {data[key]!r}, not a number.")
    if not (low < value < high if strict else low <= value <= high):
        raise InputError(f"{where}: {key} is {value:g}, which is not between {low:g} and {high:g}.")
    return value


def _exactly_one(data: Mapping[str, Any], keys: Sequence[str], where: str) -> None:
    given = [k for k in keys if data.get(k) is not None]
    if len(given) != 1:
        raise InputError(f"{where}: give exactly one of {', '.join(keys)}; given: {', '.join(given) or 'none'}.")


def _needs(data: Mapping[str, Any], keys: Sequence[str], where: str) -> None:
    missing = [k for k in keys if data.get(k) is None]
    if missing:
        raise InputError(f"{where}: {', '.join(missing)} missing.")


def _unknown(data: Mapping[str, Any], known: set[str], where: str) -> None:
    for key in data:
        if key not in known:
            near = difflib.get_close_matches(str(key), sorted(known), 1, 0.5)
            hint = f"did you mean {near[0]}?" if near else f"known here: {', '.join(sorted(known))}."
            raise InputError(f"{where}: unknown key {key!r}; {hint}")


def parse(criteria: Any) -> list[Criterion]:
    """Every criterion, or an ``InputError`` that names the first mistake."""
    if not isinstance(criteria, Sequence) or isinstance(criteria, (str, bytes)) or not criteria:
        raise InputError(
            "criteria: give a list with at least one criterion; a gate that asks nothing would prove nothing."
        )
    out: list[Criterion] = []
    for number, data in enumerate(criteria, 1):
        if not isinstance(data, Mapping):
            raise InputError(f"criteria[{number}]: is not a mapping of keys.")
        out.append(_criterion(data, f"criteria[{number}] ({data.get('name', 'no name')})"))
    names = [c.name for c in out]
    twice = sorted({n for n in names if names.count(n) > 1})
    if twice:
        raise InputError(f"criteria: the name {twice[0]!r} is used twice; the state and the journal need one each.")
    return out


def _criterion(data: Mapping[str, Any], where: str) -> Criterion:
    kind = data.get("kind")
    if kind not in _KEYS:
        near = difflib.get_close_matches(str(kind), sorted(_KEYS), 1, 0.5)
        hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(sorted(_KEYS))}."
        raise InputError(f"{where}: kind is {kind!r}; {hint}")
    _unknown(data, _COMMON | _KEYS[kind], where)
    _needs(data, ["name"], where)
    action = data.get("action", "rollback")
    if action not in ACTIONS:
        near = difflib.get_close_matches(str(action), ACTIONS, 1, 0.5)
        raise InputError(
            f"{where}: action is {action!r}; " + (f"did you mean {near[0]}?" if near else f"one of {ACTIONS}.")
        )
    required = data.get("required", True)
    if not isinstance(required, bool):
        raise InputError(f"{where}: required is {required!r}, not true or false.")
    build = {"ratio": _ratio, "latency": _latency, "query": _query, "burn_rate": _burn_rate}[kind]
    return Criterion(name=str(data["name"]), kind=str(kind), action=action, required=required, **build(data, where))


def _ratio(data: Mapping[str, Any], where: str) -> dict[str, Any]:
    _needs(data, ["total"], where)
    _exactly_one(data, ["bad", "good"], where)
    _exactly_one(data, ["max", "min", "max_ratio"], where)
    role = "bad" if data.get("bad") is not None else "good"
    total = selector(data["total"], where + " total")
    green = _part(total, data[role], role, f"{where} {role}")
    blue = None
    if data.get("baseline") is not None:
        blue_total = selector(data["baseline"], where + " baseline")
        text = data.get("baseline_" + role)
        if text is None and not green.lazy:
            raise InputError(f"{where}: {role} is a selector of its own, so baseline needs baseline_{role} too.")
        extra = green.part.matchers[len(total.matchers) :]
        blue = (
            Part(blue_total, blue_total.with_matchers(extra), role)
            if text is None
            else _part(blue_total, text, role, f"{where} baseline_{role}")
        )
    low = _number(data, "min", where, 0, 1)
    rho = _number(data, "max_ratio", where, 0, 1000)
    floor = _number(data, "floor", where, 0, 1)
    if rho is not None and blue is None:
        raise InputError(f"{where}: max_ratio compares with blue, so it needs baseline.")
    if floor is not None and rho is None:
        raise InputError(f"{where}: floor belongs to max_ratio: an error ratio below it is fine whatever blue's is.")
    limit = _number(data, "max", where, 0, 1) if low is None else 1.0 - low
    return {"green": green, "blue": blue, "limit": limit, "rho": rho, "floor": floor}


def _latency(data: Mapping[str, Any], where: str) -> dict[str, Any]:
    _needs(data, ["histogram"], where)
    _exactly_one(data, ["max", "max_increase"], where)
    quantile = _number(data, "quantile", where, 0, 1)
    increase = _number(data, "max_increase", where, 0, 10)
    histograms = [
        selector(data[key], f"{where} {key}") if data.get(key) is not None else None
        for key in ("histogram", "baseline")
    ]
    for one in histograms:
        if one is not None and (not one.name.endswith("_bucket") or any(m[0] == "le" for m in one.matchers)):
            raise InputError(
                f"{where}: give the histogram's _bucket series without le; the gate picks the bounds itself."
            )
    if increase is not None and histograms[1] is None:
        raise InputError(f"{where}: max_increase compares with blue, so it needs baseline.")
    limit = _number(data, "max", where, 0, math.inf)
    if limit is not None and data.get("le") is not None:
        raise InputError(f"{where}: le belongs to max_increase; with max, the bound is max itself.")
    return {
        "histogram": histograms[0],
        "blue_histogram": histograms[1],
        "quantile": 0.95 if quantile is None else quantile,
        "le": limit if limit is not None else _number(data, "le", where, 0, math.inf),
        "limit": 1.0 - (0.95 if quantile is None else quantile) if limit is not None else None,
        "increase": increase,
    }


def _query(data: Mapping[str, Any], where: str) -> dict[str, Any]:
    _needs(data, ["query"], where)
    high = _number(data, "max", where, -math.inf, math.inf)
    low = _number(data, "min", where, -math.inf, math.inf)
    if high is None and low is None:
        raise InputError(f"{where}: give max, min or both; without a limit nothing is judged.")
    for key in ("query", "baseline"):
        if _ALWAYS.search(str(data.get(key) or "")):
            raise InputError(
                f'{where}: "or vector(...)" in {key} turns a label typing error into a pass. '
                "Use (sum(rate(bad[1m])) or 0*sum(rate(total[1m]))) / sum(rate(total[1m]))."
            )
    reducer = data.get("reducer")
    if reducer is not None and reducer not in REDUCERS:
        raise InputError(f"{where}: reducer is {reducer!r}; one of {', '.join(REDUCERS)}.")
    fresh = data.get("fresh")
    if fresh is None:
        try:
            fresh = data["query"]
            selector(fresh, where)
        except InputError:
            raise InputError(
                f"{where}: fresh missing. An expression goes on answering for minutes after its target died; "
                "name a selector whose samples show that it lives, such as the metric inside the expression."
            ) from None
    return {
        "query": str(data["query"]),
        "baseline": None if data.get("baseline") is None else str(data["baseline"]),
        "fresh": str(selector(fresh, where + " fresh")),
        "high": high,
        "low": low,
        "hold": duration(data.get("for", 0), where + " for"),
        "reducer": reducer,
    }


def _burn_rate(data: Mapping[str, Any], where: str) -> dict[str, Any]:
    _needs(data, ["total", "bad", "objective"], where)
    objective = _number(data, "objective", where, 0, 1)
    total = selector(data["total"], where + " total")
    rows = data.get("windows") or BURN_WINDOWS
    windows = []
    for number, row in enumerate(rows, 1):
        at = f"{where} windows[{number}]"
        if not isinstance(row, Mapping):
            raise InputError(f"{at}: is not a mapping of long, short and factor.")
        _unknown(row, {"long", "short", "factor"}, at)
        _needs(row, ["long", "short", "factor"], at)
        window = Window(
            duration(row["long"], at), duration(row["short"], at), _number(row, "factor", at, 0, math.inf) or 0.0
        )
        if not 0 < window.short < window.long:
            raise InputError(f"{at}: short must be shorter than long, and longer than 0.")
        windows.append(window)
    return {
        "green": _part(total, data["bad"], "bad", where + " bad"),
        "fresh": str(total),
        "high": 1.0,
        "budget": 1.0 - (objective or 0.0),
        "windows": tuple(windows),
        "hold": duration(data.get("for", 0), where + " for"),
    }


def burn_query(part: Part, seconds: float) -> str:
    """The ratio of bad requests over a window; 0 and not empty when there are requests and none is bad."""
    bad, total = f"sum(rate({part.part}[{int(seconds)}s]))", f"sum(rate({part.total}[{int(seconds)}s]))"
    return f"({bad} or 0*{total}) / {total}"


def fingerprint(value: Any) -> str:
    """What a saved state belongs to: the same criteria, else it must not be resumed."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]
