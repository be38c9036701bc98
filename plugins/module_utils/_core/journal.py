# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The journal: what happened to a service, as events, and the state they add up to.

A document is ``{"format": 1, "service": name, "migrations": [{"id": str, "events": [event, ...]}, ...]}``; an event is
``{"kind": str, "at": unix seconds, "token": of the run that wrote it, ...}``. Nothing here reads a clock or a file.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ansible_collections.bluegreen.cutover.plugins.module_utils._core import rehearsal
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import SnapshotError, StoreError

FORMAT = 1
KEPT = 50
"""Closed migrations that are kept, each whole; older ones go when a new one begins."""

ANOTHER = "another snapshot would have what the candidate has written since: go back with rollback.yml"
"""Why none is taken once the candidate has had traffic, and what to do."""

NONE = "none"
MOVING = "moving"
ROLLING_BACK = "rolling_back"
HELD = "held"
FAILED = "failed"
FINISHED = "finished"
ROLLED_BACK = "rolled_back"

_OPEN = frozenset({MOVING, ROLLING_BACK})
CLOSED = frozenset({NONE, FINISHED, ROLLED_BACK})
_EVERY = _OPEN | CLOSED | {HELD, FAILED}


@dataclass(frozen=True)
class _Rule:
    phases: frozenset[str]
    data: tuple[str, ...] = ()


_RULES: dict[str, _Rule] = {
    "began": _Rule(_EVERY, ("from", "to", "subject", "owner", "reason", "weight")),
    "started": _Rule(_OPEN, ("colour",)),
    "probed": _Rule(_OPEN, ("colour",)),
    "weight_intended": _Rule(_OPEN, ("before", "weight")),
    "weight_set": _Rule(_OPEN, ("weight", "commands", "ms")),
    "drained": _Rule(_OPEN, ("colour",)),
    "reality_accepted": _Rule(_OPEN, ("weight", "persisted", "differences")),
    "hold_began": _Rule(frozenset({MOVING}), ("weight", "seconds")),
    "gate_seen": _Rule(frozenset({MOVING}), ("verdict", "reason", "wanted", "message", "criteria")),
    "snapshot_taken": _Rule(frozenset({MOVING}), ("part", "artifact")),
    "restore_counted": _Rule(frozenset({ROLLING_BACK}), ("part", "artifact", "written", "differences")),
    "restore_began": _Rule(frozenset({ROLLING_BACK}), ("part", "artifact")),
    "data_restored": _Rule(frozenset({ROLLING_BACK}), ("part", "artifact", "written")),
    "data_left": _Rule(frozenset({ROLLING_BACK}), ("message", "written")),
    "unproven_accepted": _Rule(frozenset({MOVING}), ("weight", "reason", "message")),
    "queues_drained": _Rule(_OPEN, ("depths", "waited")),
    "thawed": _Rule(_OPEN, ("held", "told")),
    "evidence_kept": _Rule(_OPEN, ("path",)),
    "hook_called": _Rule(_OPEN, ("hook", "message", "problem")),
    "held": _Rule(frozenset({MOVING}), ("message",)),
    "rehearsed": _Rule(frozenset({MOVING})),
    "finished": _Rule(frozenset({MOVING}), ("weight",)),
    "rollback_began": _Rule(_EVERY, ("from", "to", "owner", "reason", "weight", "persisted", "differences")),
    "rolled_back": _Rule(frozenset({ROLLING_BACK}), ("weight",)),
    "deprecated": _Rule(frozenset({FINISHED}), ("colour", "sunset", "owner", "reason", "conditions")),
    "removal_began": _Rule(frozenset({FINISHED}), ("colour", "owner", "reason", "conditions")),
    "removal_stopped": _Rule(frozenset({FINISHED}), ("message",)),
    "removed": _Rule(frozenset({FINISHED}), ("colour",)),
    "guard_fired": _Rule(_OPEN | {HELD, FAILED}, ("cause", "reason", "late")),
    "guard_waits": _Rule(frozenset({ROLLING_BACK}), ("message",)),
    "failed": _Rule(_OPEN, ("reason", "message")),
}


@dataclass(frozen=True)
class State:
    """What the last migration's events add up to.

    ``weight`` is green's percentage as recorded last. ``possible`` holds every weight that the data plane or the disk
    may have now: one number, or, while an intention is open, all that a run may have left behind when it died.
    ``since`` is when ``weight`` got its value. ``subject`` is what is moved, as the last run of the migration was told;
    None where none has said. ``fired`` is what the guard recorded when it sent the traffic back, until a run goes on
    from there. ``hold`` is the hold of the weight of now, once it has begun: ``{"weight", "since", "seconds",
    "verdict", "wanted", "called", "blind"}``, where the last four are what the gate said last, None before it was
    asked, the hook that was called since, and since when it cannot tell, None where it can. ``rehearsal``
    is what a migration that is one has come to (see ``rehearsal.outcome``), and ``rehearsed`` that of the one just
    before. ``artifacts`` are the snapshots of this migration by their part, ``parts`` those that must be there before
    traffic moves, and ``unverified`` is why it may move without. ``served`` is whether the candidate may have had
    traffic in this migration, so that what is there now has what it wrote. ``min_ready`` is how many instances served
    everything when it began; None where that is not recorded. ``ended`` is how far the old version's end
    has come since the migration finished: ``{"colour", "deprecated", "sunset", "removed"}``, the last None before it
    is removed.
    ``token`` is the highest one in the whole journal.
    """

    phase: str = NONE
    id: str | None = None
    from_colour: str | None = None
    to_colour: str | None = None
    weight: int | None = None
    intent: dict[str, int] | None = None
    possible: frozenset[int] = frozenset()
    since: float | None = None
    failure: dict[str, str] | None = None
    subject: dict[str, Any] | None = None
    fired: dict[str, Any] | None = None
    hold: dict[str, Any] | None = None
    rehearsal: dict[str, Any] | None = None
    rehearsed: dict[str, Any] | None = None
    parts: tuple[str, ...] = ()
    artifacts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    unverified: str | None = None
    served: bool = False
    min_ready: int | None = None
    ended: dict[str, Any] | None = None
    token: int = 0


def side(colour: str) -> int:
    """The weight at which ``colour`` gets everything."""
    return 100 if colour == "green" else 0


def empty(service: str) -> dict[str, Any]:
    """The journal of a service that was never migrated."""
    return {"format": FORMAT, "service": service, "migrations": []}


def check(document: Any, service: str) -> dict[str, Any]:
    """Return ``document`` when it is a journal of ``service``; raise ``StoreError`` saying what it is instead."""
    if not isinstance(document, dict) or not isinstance(document.get("migrations"), list):
        raise StoreError("is not a journal")
    if document.get("format") != FORMAT:
        raise StoreError(f"has the format {document.get('format')!r}; this version of the collection knows {FORMAT}")
    if document.get("service") != service:
        raise StoreError(f"is the journal of {document.get('service')!r}, not of {service!r}")
    try:
        fold(document)
    except (KeyError, TypeError, AttributeError) as error:
        raise StoreError(f"holds an event that is not complete ({error!r})") from error
    return document


def fold(document: Mapping[str, Any]) -> State:
    """The state of the last migration; ``weight`` and ``since`` come from earlier ones where it has not changed."""
    state = State()
    for migration in document["migrations"]:
        state = State(
            id=migration["id"],
            weight=state.weight,
            since=state.since,
            rehearsed=state.rehearsal,
            token=state.token,
        )
        for event in migration["events"]:
            state = replace(_advance(state, event), served=state.served or _serves(state, event))
            if event["token"] > state.token:
                state = replace(state, token=event["token"])
        state = replace(state, rehearsal=rehearsal.outcome(migration["events"]))
    return state


def append(document: Mapping[str, Any], event: Mapping[str, Any]) -> dict[str, Any]:
    """A new document with ``event`` in the open migration, or in a new one where ``event`` opens it.

    Raises ``StoreError`` for an event that cannot follow what is recorded.
    """
    state = fold(document)
    problem = _problem(state, event)
    if problem:
        raise StoreError(
            f"the journal of {document['service']} refuses the event {event['kind']!r}: {problem}",
            {"event": dict(event), "phase": state.phase, "migration": state.id},
        )
    lacks = unproven(state.parts, state, event["at"]) if _moves(state, event) else []
    if lacks:
        raise SnapshotError(
            f"{document['service']} may not move: {'; '.join(lacks)}. "
            + (ANOTHER if state.served else "cutover.yml takes what is missing")
            + "; to move without, give a reason with -e 'cutover_accept_unverified=\"why\"'",
            {"parts": list(state.parts), "artifacts": dict(state.artifacts)},
        )
    migrations = list(document["migrations"])
    opens = (event["kind"] == "began" and state.phase in CLOSED) or state.phase == NONE
    if opens:
        migrations = migrations[-KEPT:]
        migrations.append({"id": identity(event["token"]), "events": [dict(event)]})
    else:
        migrations[-1] = {**migrations[-1], "events": _joined(migrations[-1]["events"], event)}
    return {**document, "migrations": migrations}


def unproven(parts: Sequence[str], state: State, now: float) -> list[str]:
    """Why the data of this migration could not be brought back, one sentence each of ``parts``; none where it could,
    or where somebody has said why it need not be.
    """
    if state.unverified:
        return []
    told = []
    for part in parts:
        one = state.artifacts.get(part)
        if one is None:
            told.append(f"there is no snapshot of {part} in this migration")
        elif not one["verified"]:
            told.append(f"the snapshot of {part}, {one['path']} on {one['host']}, is not proven")
        elif one["expires"] <= now:
            told.append(f"the snapshot of {part}, {one['path']} on {one['host']}, has expired")
    if not told and len(_holds(parts, state)) > 1:
        told.append(
            f"the snapshots of {', '.join(parts)} do not fit together: a run died while it took them, and writers were "
            "held anew for the others"
        )
    return told


def earlier_hold(parts: Sequence[str], state: State, now: float) -> str | None:
    """The hold in which all of ``parts`` that need one were read in this migration, or that nobody was held then; None
    where a snapshot is missing or has expired, or they do not fit together: then all are read again.
    """
    there = all(part in state.artifacts and state.artifacts[part]["expires"] > now for part in parts)
    holds = _holds(parts, state) if there else set()
    return holds.pop() if len(holds) == 1 else None


def _holds(parts: Sequence[str], state: State) -> set[str]:
    # Parts that need no hold have None; those that were read with nobody held say that.
    return {str(hold) for part in parts if (hold := state.artifacts[part].get("hold")) is not None}


def can_go_back(state: State) -> bool:
    """Whether a rollback of this migration still has something to go back from and to; one that has finished has, until
    its old version is removed or the next migration begins.
    """
    gone = state.ended is not None and state.ended["removed"] is not None
    return state.phase not in (NONE, ROLLED_BACK) and not gone


def over(document: Mapping[str, Any]) -> list[str]:
    """The migrations of which nothing can be taken back any more, so that nobody needs their snapshots."""
    known = [str(one["id"]) for one in document["migrations"]]
    return known[:-1] if can_go_back(fold(document)) else known


def _serves(state: State, event: Mapping[str, Any]) -> bool:
    """Whether the event tells of traffic for the candidate, found or about to be given."""
    old = event.get("from") or state.from_colour
    told = event["kind"] in ("began", "rollback_began", "weight_intended", "reality_accepted")
    return told and old is not None and event["weight"] not in (None, side(old))


def _moves(state: State, event: Mapping[str, Any]) -> bool:
    """Whether the event is about to give traffic to the candidate."""
    return (
        event["kind"] == "weight_intended"
        and state.phase == MOVING
        and state.from_colour is not None
        and event["weight"] != side(state.from_colour)
    )


def identity(token: int) -> str:
    """The name of the migration that ``token`` opens: readable, sorted by time, never given twice."""
    return datetime.datetime.fromtimestamp(token, datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")


def _joined(events: Sequence[Mapping[str, Any]], event: Mapping[str, Any]) -> list[dict[str, Any]]:
    """``events`` and the next one. A run that has only looked at a hold leaves no more than its end, in the place of
    the last one's: in weeks there are thousands. ``looks`` counts those that are told of by the last alone.
    """
    joined = [*map(dict, events), dict(event)]
    if [one["kind"] for one in joined[-3:]] != ["held", "began", "held"]:
        return joined
    return [*joined[:-3], {**event, "looks": joined[-3].get("looks", 0) + 1}]


def _problem(state: State, event: Mapping[str, Any]) -> str | None:
    """Why ``event`` cannot come next, or None."""
    kind = event["kind"]
    rule = _RULES.get(kind)
    if rule is None:
        return f"there is no such kind; known are {', '.join(sorted(_RULES))}"
    missing = [name for name in ("at", "token", *rule.data) if name not in event]
    if missing:
        return f"it lacks {', '.join(missing)}"
    if state.phase not in rule.phases:
        return f"the last migration is in the phase {state.phase!r}"
    if kind == "began" and state.phase not in CLOSED and event["to"] != state.to_colour:
        return f"the migration {state.id} to {state.to_colour} is still open"
    before = {
        "rehearsed": (state.rehearsal is not None, f"the migration {state.id} is no rehearsal"),
        "removal_began": (state.ended is not None, "the old version was not deprecated before"),
        "weight_set": (
            event.get("weight") == (state.intent or {}).get("weight"),
            "no intention to set that weight was recorded before",
        ),
    }
    prepared, problem = before.get(kind, (True, ""))
    if not prepared:
        return problem
    goal = {"finished": state.to_colour, "rolled_back": state.from_colour}.get(kind)
    if goal and event["weight"] != side(goal):
        return f"the weight is {event['weight']}, and {goal} serves alone only at {side(goal)}"
    return None


def _advance(state: State, event: Mapping[str, Any]) -> State:
    """The state after one more event."""
    kind = event["kind"]
    if kind in ("began", "rollback_began"):
        # The weight read now does not close an open intention: the disk may still hold another one.
        return replace(
            _weigh(state, event["weight"], event["at"]),
            phase=MOVING if kind == "began" else ROLLING_BACK,
            from_colour=event["from"],
            to_colour=event["to"],
            possible=state.possible | _known(event["weight"], event.get("persisted")),
            failure=None,
            subject=event.get("subject", state.subject),
            parts=tuple(event.get("parts", state.parts)),
            unverified=event.get("unverified") if kind == "began" else state.unverified,
            min_ready=state.min_ready or event.get("min_ready"),
            fired=None,
        )
    if kind == "weight_intended":
        left = _known(event["before"], event["weight"])
        return replace(
            state,
            intent={"before": event["before"], "weight": event["weight"]},
            possible=state.possible | left,
        )
    if kind == "reality_accepted":
        accepted = _known(event["weight"], event["persisted"])
        return replace(_weigh(state, event["weight"], event["at"]), intent=None, possible=accepted)
    if kind in ("weight_set", "finished", "rolled_back"):
        phase = state.phase if kind == "weight_set" else kind
        settled = _weigh(state, event["weight"], event["at"])
        return replace(settled, phase=phase, intent=None, possible=_known(event["weight"]))
    return _phase_or_end(replace(state, hold=_hold(state, event)), event)


def _hold(state: State, event: Mapping[str, Any]) -> dict[str, Any] | None:
    """The hold of the weight of now, after any event that leaves the weight alone."""
    kind, hold = event["kind"], state.hold
    if kind == "hold_began":
        began = {"weight": event["weight"], "since": event["at"], "seconds": event["seconds"]}
        return {**began, "verdict": None, "wanted": None, "called": None, "blind": None}
    if kind == "gate_seen" and hold is not None:
        blind = None
        if event["verdict"] == "inconclusive":
            blind = event["at"] if hold["blind"] is None else hold["blind"]
        return {**hold, "verdict": event["verdict"], "wanted": event["wanted"], "called": None, "blind": blind}
    if kind == "hook_called" and hold is not None:
        return {**hold, "called": event["hook"]}
    return hold


def _phase_or_end(state: State, event: Mapping[str, Any]) -> State:
    """The state after an event that leaves the weight alone, but for its hold."""
    kind = event["kind"]
    if kind == "snapshot_taken":
        return replace(state, artifacts={**state.artifacts, event["part"]: event["artifact"]})
    if kind in ("deprecated", "removed"):
        return replace(state, ended=_end(state.ended, event))
    if kind == "held":
        return replace(state, phase=HELD)
    if kind == "guard_fired":
        return replace(state, phase=ROLLING_BACK, failure=None, fired=dict(event))
    if kind == "failed":
        # A guard that has done its work ends like this, and says so.
        fired = {**state.fired, "reason": event["message"]} if state.fired else None
        failure = {"reason": event["reason"], "message": event["message"]}
        return replace(state, phase=FAILED, failure=failure, fired=fired)
    return state


def _end(ended: Mapping[str, Any] | None, event: Mapping[str, Any]) -> dict[str, Any]:
    """How far the old version's end has come, after ``deprecated`` or ``removed``."""
    if event["kind"] == "removed":
        return {**(ended or {}), "removed": event["at"]}
    return {"colour": event["colour"], "deprecated": event["at"], "sunset": event["sunset"], "removed": None}


def _weigh(state: State, weight: int | None, at: float) -> State:
    return state if weight == state.weight else replace(state, weight=weight, since=at, hold=None)


def _known(*weights: int | None) -> frozenset[int]:
    return frozenset(weight for weight in weights if weight is not None)
