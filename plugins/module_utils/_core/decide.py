# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What to do next, from the plan, the journal and what really is."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.bluegreen.cutover.plugins.module_utils._core import journal
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.journal import State, side

NOTHING = "nothing"
BEGIN = "begin"
RESUME = "resume"
REFUSE = "refuse"
ROLL_BACK = "roll_back"


@dataclass(frozen=True)
class Reality:
    """What was read: green's percentage now and after a reload, how many instances of each colour are ready, and the
    units, ``{"host", "colour", "unit", "active", "enabled"}`` each; None where nobody asked for the units. ``unclear``
    says why the weight is not known.
    """

    weight: int | None
    persisted: int | None
    ready: Mapping[str, int] = field(default_factory=dict)
    workloads: Sequence[Mapping[str, Any]] | None = None
    unclear: str = ""


@dataclass(frozen=True)
class Decision:
    """``kind`` says what to do; traffic leaves ``from_colour`` and goes to ``to_colour``, alone at ``weight``.

    ``steps`` are those that remain, each with ``allowed``: the weights that may be found before it, and ``may_stay``:
    whether a run whose slot has ended before it ends at the share that there is, or goes back. ``partial``: the last of
    them is not all traffic, and the run ends with it. ``differences`` are what does not agree, one sentence each.
    ``sentence`` is for the person at the terminal. ``min_ready`` is how many instances of ``to_colour`` must be ready;
    ``at_once``: as many are, so that a way back has to start none first. ``scales``: the candidate gets its pods before
    the steps, and not by them.
    """

    kind: str
    from_colour: str
    to_colour: str
    weight: int
    sentence: str
    min_ready: int
    steps: tuple[dict[str, Any], ...] = ()
    differences: tuple[str, ...] = ()
    at_once: bool = False
    scales: bool = False

    @property
    def partial(self) -> bool:
        return self.kind != ROLL_BACK and bool(self.steps) and self.steps[-1]["share"] < 100

    def as_result(self) -> dict[str, Any]:
        """The same for JSON."""
        return {
            "kind": self.kind,
            "from": self.from_colour,
            "to": self.to_colour,
            "weight": self.weight,
            "steps": list(self.steps),
            "differences": list(self.differences),
            "sentence": self.sentence,
            "min_ready": self.min_ready,
            "at_once": self.at_once,
            "scales": self.scales,
            "partial": self.partial,
        }


def decide(
    plan: Mapping[str, Any],
    state: State,
    reality: Reality,
    *,
    check_mode: bool = False,
    advance: bool = False,
    rehearse: bool = False,
) -> Decision:
    """What ``cutover.yml`` has to do: ``nothing``, ``begin``, ``resume``, or ``refuse`` because of differences.

    In check mode every step will find what is there now, because the one before it moves nothing. ``advance.yml``
    begins nothing, and takes one new step at most; a rehearsal holds no step.
    """
    service, old, new = plan["service"], plan["from"], plan["to"]
    goal = side(new)
    closed = state.phase in journal.CLOSED
    found = differences(plan, state, reality)
    arrived = closed and reality.weight == reality.persisted == goal

    def decision(kind: str, sentence: str, steps: tuple[dict[str, Any], ...] = ()) -> Decision:
        # In a cluster as many as the old colour has, which keeps them until the migration is finalised.
        needed = plan["min_ready"] or max(1, reality.ready.get(old, 0))
        # Where a Service selects both colours, a pod more is a share more.
        scales = bool(plan["cluster"]) and (plan["router"]["provider"] != "k8s_replicas" or reality.weight in (0, 100))
        return Decision(kind, old, new, goal, sentence, needed, steps, tuple(found), scales=scales)

    if not closed and state.to_colour != new:
        return decision(REFUSE, _conflict(service, state, new))
    if not closed and (state.rehearsal is not None) != rehearse:
        return decision(REFUSE, _other_kind(service, state))
    if closed and advance:
        return decision(NOTHING, f"Nothing to advance: no migration of {service} is open.")
    kept = _kept(plan)
    if arrived and not found:
        does = "answers" if old == plan["entry"] else "serves"
        alone = f"{new} {does} {service} alone{'.' if kept else ', and is what a reboot brings up.'}"
        return decision(NOTHING, f"Nothing to do: {alone}{kept}")
    if found and (not plan["accept_reality"] or reality.weight is None):
        return decision(REFUSE, _refusal(service, found))
    going = state.phase in (journal.HELD, journal.MOVING) and reality.weight != side(old)
    if advance and not going:
        return decision(REFUSE, _not_to_advance(service, state))
    steps = _remaining(plan, state, reality, check_mode, at_most=1 if advance else None)
    if rehearse:
        # It would end well, with real traffic on the candidate and nobody to guard that.
        steps = tuple({**step, "hold": 0, "may_stay": False} for step in steps)
    ahead = ", ".join(f"{step['share']} %" for step in steps)
    accepted = f" Accepted as it is: {'; '.join(found)}." if found else ""
    if closed:
        how = "is rehearsed" if rehearse else "moves"
        return decision(BEGIN, f"{service} {how} from {old} to {new}, which gets {ahead}.{kept}{accepted}", steps)
    return decision(
        RESUME,
        f"{service}: the migration {state.id} to {new} was left {_left(state)}, with {_percent(reality.weight)} of the "
        f"traffic on green; it goes on with {ahead or 'the end'} for {new}.{accepted}",
        steps,
    )


def _kept(plan: Mapping[str, Any]) -> str:
    """That the old colour runs on, and why, for a sentence; empty where it is stopped in the end."""
    if plan["from"] == plan["entry"]:
        return f" {plan['from']} takes the connections, so it is kept running."
    return f" {plan['from']} keeps its pods until the migration is finalised." if plan["cluster"] else ""


def enough_to_return(min_ready: int, left: int) -> int:
    """How many instances of a colour must be ready to go back to it, from one that has ``left`` ready.

    As many as are left are enough: from a broken colour, or after a host is lost, any instance is a way out.
    """
    return max(1, min(min_ready, left))


def decide_rollback(plan: Mapping[str, Any], state: State, reality: Reality, *, progressive: bool = False) -> Decision:
    """What ``rollback.yml`` has to do: ``roll_back``, or ``nothing``. A difference never stops it.

    ``steps`` are the shares on a progressive way, without the last one, which is none.
    """
    service = plan["service"]
    back, left = state.from_colour or plan["from"], state.to_colour or plan["to"]
    goal = side(back)
    found = differences(plan, state, reality)
    at_rest = state.phase in journal.CLOSED and reality.weight == reality.persisted == goal
    there = reality.ready.get(left, 0)
    needed = enough_to_return(plan["min_ready"] or there, there)
    if plan["router"]["provider"] == "k8s_replicas" and state.min_ready:
        # A share above half of the traffic took more pods than the service needs; and each one more of those that it
        # goes back to would move shares on the way.
        needed = min(needed, state.min_ready)
    if at_rest and _whole(plan, back, reality):
        sentence = f"Nothing to do: {back} serves {service} alone."
        return Decision(NOTHING, left, back, goal, sentence, needed, differences=tuple(found))
    sentence = f"{service} goes back to {back}, from {_percent(reality.weight)} of the traffic on green."
    if state.fired:
        sentence += f" Before, {state.fired['reason']}."
    if found:
        sentence += f" Found on the way: {'; '.join(found)}."
    # Where nothing of it is ready any more, as after a restore that was killed, it could serve no share.
    steps = _back_steps(plan, left, reality.weight) if progressive and reality.ready.get(left) != 0 else ()
    if steps:
        sentence += f" {left} keeps {', '.join(str(step['share']) for step in steps)} % for a while each."
    at_once = not steps and reality.ready.get(back, 0) >= needed
    return Decision(ROLL_BACK, left, back, goal, sentence, needed, steps, tuple(found), at_once)


def _back_steps(plan: Mapping[str, Any], left: str, weight: int | None) -> tuple[dict[str, Any], ...]:
    """Those below the share that ``left`` has now."""
    share = shares(weight).get(left, 0)
    return tuple(
        {"share": one, "weight": one if side(left) else 100 - one, "settle": plan["back_steps"]["settle"]}
        for one in sorted(plan["back_steps"]["shares"], reverse=True)
        if one < share
    )


def differences(plan: Mapping[str, Any], state: State, reality: Reality) -> list[str]:
    """Where data plane, disk, journal and units do not agree, one sentence each; none when all is as it should be."""
    found = list(_traffic_differences(plan, state, reality))
    if state.phase not in journal.CLOSED:
        found += _subject_differences(subject(plan), state)
    if reality.workloads is not None and reality.weight is not None:
        found += _unit_differences(plan, state, reality.weight, reality.workloads)
    return found


_OTHERS = ("kubeconfig", "context", "deployments", "keeps", "timeout")
"""Of a router's options in a cluster, those that the plan has from other variables, or that may change on the way."""


def subject(plan: Mapping[str, Any]) -> dict[str, Any]:
    """What a migration moves, by the variables that say so: the same from its beginning to its end."""
    if plan["cluster"]:
        # How a control node reaches the cluster is its own affair.
        router = {name: value for name, value in plan["router"].items() if name not in _OTHERS}
        deployments = {colour: its["deployment"] for colour, its in plan["colours"].items()}
        return {"cutover_router": router, "cutover_colours": deployments}
    addresses = [instance["host"] for instance in plan["colours"]["blue"]["instances"]]
    colours = {
        f"cutover_colours.{colour}": {"unit": plan["colours"][colour]["unit"], "port": plan["colours"][colour]["port"]}
        for colour in ("blue", "green")
    }
    return {"cutover_router": plan["router"], "cutover_app": dict(zip(plan["hosts"]["app"], addresses)), **colours}


def shares(weight: int | None) -> dict[str, int]:
    """Each colour's percentage of the traffic; empty when it is not known."""
    return {} if weight is None else {"blue": 100 - weight, "green": weight}


def _traffic_differences(plan: Mapping[str, Any], state: State, reality: Reality) -> Iterator[str]:
    service, weight, persisted = plan["service"], reality.weight, reality.persisted
    if weight is None:
        why = f": {reality.unclear}" if reality.unclear else "; is it set up for it?"
        yield f"the router does not tell how it shares the traffic of {service}{why}"
        return
    explained = state.possible
    if state.phase == journal.NONE:
        explained = frozenset({side(plan["from"]), side(plan["to"])})
        if weight not in explained:
            yield f"no migration is recorded, yet the router sends {_percent(weight)} to green"
    elif weight not in explained:
        yield (
            f"the router sends {_percent(weight)} to green, and the migration {state.id} ({state.phase}) "
            f"left it at {' or '.join(map(_percent, sorted(explained)))}"
        )
    between = state.phase != journal.NONE and {weight, persisted} <= explained
    if persisted != weight and not between:
        yield f"the router sends {_percent(weight)} to green now, but {_percent(persisted)} after a reload or a reboot"


def _subject_differences(now: Mapping[str, Any], state: State) -> Iterator[str]:
    """Steps, probes and times may change on the way. With another subject parts of the service would be left behind."""
    for name, was in (state.subject or {}).items():
        if now.get(name) != was:
            told, before = (json.dumps(value, sort_keys=True) for value in (now.get(name), was))
            yield f"{name} is {told} in the inventory, and the migration {state.id} was begun with {before}"


def _unit_differences(
    plan: Mapping[str, Any], state: State, weight: int, workloads: Sequence[Mapping[str, Any]]
) -> list[str]:
    units = _units(workloads)
    found = [
        f"nothing is known of {_workload(plan, colour)} on {host}"
        for host in plan["hosts"]["app"]
        for colour in ("blue", "green")
        if (host, colour) not in units
    ]
    gone = state.ended["colour"] if state.ended is not None and state.ended["removed"] is not None else None
    found += [
        f"{_workload(plan, colour)} is not there; see cutover_colours, and which cluster the kubeconfig's context is"
        for (_host, colour), unit in units.items()
        # A candidate has to be, also where finalize.yml has removed that colour.
        if unit.get("absent") and (colour != gone or colour == plan["to"])
    ]
    gets = shares(weight)
    found += [
        f"{_workload(plan, colour)} on {host} is not active, and {colour} "
        + (f"gets {_percent(gets[colour])}" if gets[colour] else "takes the connections")
        for (host, colour), unit in units.items()
        if (gets[colour] or colour == plan["entry"]) and not unit["active"]
    ]
    # Before a new migration its candidate may run already; where the way has ended, what it left must not.
    ends = {journal.NONE: plan["to"], journal.FINISHED: state.to_colour, journal.ROLLED_BACK: state.from_colour}
    if ends.get(state.phase) == plan["to"] and weight == side(plan["to"]):
        found += [one for one in _unsettled(plan, plan["to"], workloads) if one not in found]
    return found


def _unsettled(plan: Mapping[str, Any], serving: str, workloads: Sequence[Mapping[str, Any]]) -> list[str]:
    """What a reboot would not bring up as it is when ``serving`` serves alone. A colour that is the entry runs on."""
    found = []
    for (host, colour), unit in _units(workloads).items():
        name = _workload(plan, colour)
        needed = colour in (serving, plan["entry"])
        if plan["cluster"] and not needed:
            # The old colour keeps its pods until the migration is finalised.
            continue
        if needed and not unit["active"]:
            does = "gets 100 %" if colour == serving else "takes the connections"
            found.append(f"{name} on {host} is not active, and {colour} {does}")
        if needed and not unit["enabled"]:
            found.append(f"{name} on {host} is not enabled: a reboot would not start it")
        if not needed and unit["active"]:
            found.append(f"{name} on {host} is active, and {serving} serves alone")
        if not needed and unit["enabled"]:
            found.append(f"{name} on {host} is enabled: a reboot would start it")
    return found


def _whole(plan: Mapping[str, Any], colour: str, reality: Reality) -> bool:
    """Is ``colour`` all there? By its units or, where nobody asked for those, as the router sees its instances."""
    if reality.workloads is None:
        return reality.ready.get(colour, 0) >= max(1, len(plan["colours"][colour]["instances"]))
    expected = {(host, one) for host in plan["hosts"]["app"] for one in ("blue", "green")}
    return expected <= set(_units(reality.workloads)) and not _unsettled(plan, colour, reality.workloads)


def _remaining(
    plan: Mapping[str, Any], state: State, reality: Reality, check_mode: bool, at_most: int | None
) -> tuple[dict[str, Any], ...]:
    """The steps to come. The share that is applied now comes again, because nobody knows that it is proven: what a gate
    said to a run that has ended since is none. It does not where it was left on purpose and has no hold, and where its
    hold has passed and the old colour is being retired. It is ``held`` where it was left in the middle of its hold,
    which was confirmed then. Before each of them but the first the candidate has a share, and before that one as well
    when it had one as this run began. ``at_most`` so many are new.
    """
    weight = reality.weight or 0
    share = weight if side(plan["to"]) else 100 - weight
    hold = state.hold if state.hold is not None and state.hold["weight"] == weight else None
    passed = hold is not None and hold["verdict"] == "pass" and _is_retired(plan, reality)
    confirmed = state.phase == journal.HELD
    # What is on disk and cannot be told was accepted as it is: then anything may be found.
    allowed = [] if reality.persisted is None else sorted({weight, reality.persisted})
    steps: list[dict[str, Any]] = []
    for step in plan["steps"]:
        here = step["share"] == share
        proven = passed or (confirmed and not step["hold"])
        if step["share"] > share or (here and not proven):
            held = here and confirmed and hold is not None
            steps.append({**step, "allowed": allowed, "held": held, "may_stay": bool(steps or share)})
            allowed = allowed if check_mode else [step["weight"]]
    return tuple(steps if at_most is None else steps[: at_most + sum(step["held"] for step in steps)])


def _is_retired(plan: Mapping[str, Any], reality: Reality) -> bool:
    """Has a unit of the old colour been stopped, where the new one has everything? Then there is nothing to compare
    with any more, and no way back but to start it again.
    """
    stopped = any(one["colour"] == plan["from"] and not one["active"] for one in reality.workloads or ())
    return stopped and reality.weight == side(plan["to"])


def _left(state: State) -> str:
    """How a migration that is open was left, for a sentence."""
    how = f"in the middle of setting {_percent(state.intent['weight'])}" if state.intent else "between two steps"
    if state.phase == journal.ROLLING_BACK:
        how = f"on its way back to {state.from_colour}"
    if state.phase == journal.HELD:
        how = "held"
    return f"{how} ({state.fired['reason']})" if state.fired else how


def _workload(plan: Mapping[str, Any], colour: str) -> str:
    its = plan["colours"][colour]
    return f"the Deployment {its['deployment']}" if plan["cluster"] else str(its["unit"])


def _units(workloads: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str], Mapping[str, Any]]:
    return {(unit["host"], unit["colour"]): unit for unit in workloads}


def _conflict(service: str, state: State, new: str) -> str:
    return (
        f"{service}: the migration {state.id} to {state.to_colour} is still open, and this one would go to {new}; "
        f"nothing was changed. Finish it with -e cutover_to={state.to_colour}, or go back with rollback.yml"
    )


def _other_kind(service: str, state: State) -> str:
    what, how = ("a rehearsal", "rehearse.yml") if state.rehearsal is not None else ("no rehearsal", "cutover.yml")
    return (
        f"{service}: the migration {state.id} is still open, and is {what}; nothing was changed. Go on with it by "
        f"{how}, or go back with rollback.yml"
    )


def _not_to_advance(service: str, state: State) -> str:
    why = state.failure["message"] if state.failure else "no step of it has been taken"
    return (
        f"{service}: the migration {state.id} is not held, so there is nothing to advance; nothing was changed. It is "
        f"{state.phase.replace('_', ' ')}: {why}. Go on with cutover.yml, or go back with rollback.yml"
    )


def _refusal(service: str, found: Sequence[str]) -> str:
    lines = "\n".join(f"- {one}" for one in found)
    return (
        f"{service} is not as it was left; nothing was changed:\n{lines}\n"
        "Put it right; or go on from what is there with -e cutover_accept_reality=true; or go back with rollback.yml"
    )


def _percent(weight: int | None) -> str:
    return "an unknown share" if weight is None else f"{weight} %"
