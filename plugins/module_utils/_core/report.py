# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report of a migration (R-D10): its share and how it got there, its figures, and what would be decided now.

Times are in unix seconds, shares in percent of the traffic, unless a name says otherwise. What was not measured is None
and says why; it never is 0, and never 100 %.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ansible_collections.bluegreen.cutover.plugins.module_utils._core import decide, holding

ADVANCE = "advance"
HOLD = "hold"
ROLL_BACK = "roll back"

_WEIGHED = frozenset({"began", "weight_set", "reality_accepted", "rollback_began", "finished", "rolled_back"})
_LIMITS = {"min": "at least {}", "max": "at most {}", "floor": "or below {}"}
_DOES = {holding.PASSED: ADVANCE, holding.WAITING: HOLD, holding.UNKNOWN: HOLD, holding.FAILED: ROLL_BACK}


def candidate(migration: Mapping[str, Any]) -> str:
    """The colour that a migration of the journal goes to."""
    return next((str(event["to"]) for event in migration["events"] if "to" in event), "green")


def path(migration: Mapping[str, Any]) -> list[dict[str, Any]]:
    """How the candidate's share came to be what it is: ``{"at", "share"}`` each time that it changed."""
    to = candidate(migration)
    found: list[dict[str, Any]] = []
    for event in migration["events"]:
        share = decide.shares(event["weight"]).get(to) if event["kind"] in _WEIGHED else None
        if share is not None and (not found or found[-1]["share"] != share):
            found.append({"at": event["at"], "share": share})
    return found


def marks(migration: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What was judged on the way, as far as the journal has it: ``{"at", "share", "verdict", "told"}``.

    ``verdict`` is the gate's (``pass``, ``fail``, ``inconclusive``, ``open``), ``accepted`` where somebody took a hold
    as passed without a proof, ``guard`` where the guard sent the traffic back, ``failed`` where a run ended so.
    ``share`` is None where none was known by then.
    """
    steps, found = path(migration), []
    for event in migration["events"]:
        told = _mark(event)
        if told is not None:
            share = next((one["share"] for one in reversed(steps) if one["at"] <= event["at"]), None)
            found.append({"at": event["at"], "share": share, "verdict": told[0], "told": told[1]})
    return found


def _mark(event: Mapping[str, Any]) -> tuple[str, str] | None:
    kind = event["kind"]
    if kind == "gate_seen":
        return str(event["verdict"]), str(event["message"] or "")
    verdicts = {"unproven_accepted": "accepted", "guard_fired": "guard", "failed": "failed"}
    if kind not in verdicts:
        return None
    return verdicts[kind], str(event["message"] if kind == "failed" else event["reason"])


def held_step(decision: Mapping[str, Any], weight: int | None) -> Mapping[str, Any] | None:
    """The step whose hold advance.yml would look at first, by its ``decision``; None where it would look at none."""
    first = next(iter(decision["steps"]), None)
    return first if first is not None and first["hold"] and first["weight"] == weight else None


def recommend(
    decision: Mapping[str, Any], weight: int | None, outcome: holding.Outcome | None
) -> dict[str, Any] | None:
    """What advance.yml would do now, ``{"do", "sentence"}``; None where no migration is open.

    ``decision`` is its decision at ``weight``, green's percentage; ``outcome`` is where the hold is that it would go on
    with, None where none has begun.
    """
    if decision["kind"] == decide.NOTHING:
        return None
    if outcome is None:
        # A step that a run has died in is taken anew before the next one.
        again = any(step["weight"] == weight for step in decision["steps"][:1])
        return {"do": HOLD if again else ADVANCE, "sentence": decision["sentence"]}
    does = _DOES[outcome.kind]
    then = "the candidate keeps its share"
    if does == ADVANCE:
        then = _next(decision["steps"])
    elif does == ROLL_BACK:
        then = "the traffic goes back " + ("step by step" if outcome.action == "rollback_progressive" else "at once")
    return {"do": does, "sentence": f"{outcome.sentence}; {then}"}


def _next(steps: Sequence[Mapping[str, Any]]) -> str:
    """What comes after a hold, the first of ``steps``, has passed."""
    if len(steps) > 1:
        return f"next is {steps[1]['share']} %"
    return "the migration ends" if steps[0]["held"] else "the run after it takes the next step"


def refused(message: str) -> dict[str, Any]:
    """The same where advance.yml would refuse: nothing moves, and somebody has to look."""
    return {"do": HOLD, "sentence": f"advance.yml would change nothing: {message}"}


def figure(
    asked: Mapping[str, Any],
    found: Mapping[str, float],
    missing: Mapping[str, str],
    reading: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """One criterion of the gate, measured: the candidate against the baseline, where the criterion names one.

    ``asked`` is the criterion as in the inventory, ``found`` its ``candidate`` and ``baseline``, in the unit that the
    result names: ``s``, ``share`` (0 to 1) or ``value``. ``missing`` says why one of them was not measured.
    ``difference`` is the candidate's less the baseline's, ``relative`` the same as a part of the baseline's.
    ``reading`` is where the gate itself stands with it in the hold of now: its ``status`` and ``message``, if any.
    """
    new, old = found.get("candidate"), found.get("baseline")
    difference = None if new is None or old is None else new - old
    return {
        "name": str(asked["name"]),
        "unit": _unit(asked),
        "candidate": new,
        "baseline": old,
        "difference": difference,
        "relative": difference / abs(old) if difference is not None and old else None,
        "limit": limit(asked),
        "missing": dict(missing),
        "status": (reading or {}).get("status"),
        "message": (reading or {}).get("message"),
    }


def limit(asked: Mapping[str, Any]) -> str:
    """What a criterion of the inventory allows, in words and in the unit of its figure."""
    unit = _unit(asked)
    given = {
        name: float(asked[name]) for name in (*_LIMITS, "max_ratio", "max_increase") if asked.get(name) is not None
    }
    if asked.get("objective") is not None:
        given["max"] = 1 - float(asked["objective"])
    told = [words.format(number(given[name], unit)) for name, words in _LIMITS.items() if name in given]
    if "max_ratio" in given:
        told.insert(0, f"at most {given['max_ratio']:g} times the baseline")
    if "max_increase" in given:
        told.insert(0, f"at most the baseline and {given['max_increase'] * 100:.4g} %")
    return ", ".join(told)


def _unit(asked: Mapping[str, Any]) -> str:
    return {"latency": "s", "query": "value"}.get(str(asked["kind"]), "share")


def day(
    described: Mapping[str, Any],
    *,
    made: float,
    recommendation: Mapping[str, Any] | None,
    gate: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """What is known of the service's last migration, from what ``Migration.describe`` returned at ``made``.

    ``gate`` is what the gate says of the hold of now, as the module prometheus_gate returns it; None where there is no
    hold, or no gate.
    """
    migration = described["migration"]
    moved = None if migration is None else _migration(described, migration)
    return {
        "service": described["service"],
        "made": made,
        "serving": dict(described["serving"]),
        "since": described["since"],
        "migration": moved,
        "gate": None if gate is None else {name: gate.get(name) for name in ("verdict", "message", "covered", "left")},
        "recommendation": recommendation,
        "success": list(described["success"]),
        "differences": list(described["differences"]),
    }


def _migration(described: Mapping[str, Any], migration: Mapping[str, Any]) -> dict[str, Any]:
    to, events = candidate(migration), migration["events"]
    return {
        "id": migration["id"],
        "to": to,
        "from": "green" if to == "blue" else "blue",
        "phase": described["phase"],
        "rehearsal": described["rehearsal"] is not None,
        "began": events[0]["at"],
        "last": events[-1]["at"],
        "share": dict(described["serving"]).get(to),
        "path": path(migration),
        "marks": marks(migration),
    }


def sentences(report: Mapping[str, Any]) -> Iterator[str]:
    """The report in a few lines, for a terminal."""
    moved, does = report["migration"], report["recommendation"]
    if report["indicators"] is None:
        yield f"{report['service']}: what is recorded cannot be read"
    elif moved is None:
        yield f"{report['service']} was never migrated"
    else:
        share = "an unknown share" if moved["share"] is None else f"{moved['share']} %"
        way = ", ".join(f"{one['share']} %" for one in moved["path"])
        yield f"{report['service']}: {moved['to']} has {share} ({moved['phase'].replace('_', ' ')}), by {way}"
    for one in report["figures"]:
        yield f"{one['name']}: {told(one)}" + (f" (limit: {one['limit']})" if one["limit"] else "")
    yield f"recommendation: {does['do']}; {does['sentence']}" if does else "recommendation: none, no migration is open"
    for name, one in (report["indicators"] or {"all": {}})["all"].items():
        yield f"{name.replace('_', ' ')}: {one['seen']}"


def told(one: Mapping[str, Any]) -> str:
    """A figure in words."""
    parts = []
    for which in ("candidate", "baseline"):
        if one[which] is not None:
            parts.append(f"{which} {number(one[which], one['unit'])}")
        elif which in one["missing"]:
            parts.append(f"{which} not measured, {one['missing'][which]}")
    return "; ".join(filter(None, (*parts, change(one))))


def number(value: float, unit: str) -> str:
    """A figure's value with its unit."""
    if unit == "s":
        return f"{value * 1000:.4g} ms"
    return f"{value * 100:.4g} %" if unit == "share" else f"{value:.4g}"


def change(one: Mapping[str, Any]) -> str:
    """How the candidate's figure differs from the baseline's; empty where one of them is not known."""
    if one["difference"] is None:
        return ""
    # Of two percentages the difference is in points: "10 % more" would be another thing.
    told = number(one["difference"], one["unit"]).replace(" %", " points")
    sign = "+" if one["difference"] >= 0 else ""
    return sign + told + (f" ({one['relative'] * 100:+.1f} %)" if one["relative"] is not None else "")
