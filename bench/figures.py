# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From single requests to figures, and from figures to a verdict. Pure: no clock, no I/O.

Times are unix seconds unless a name says ``ms``.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

AROUND = 1.0
"""Seconds before and after the first command of a switch that count as near it."""

IDLE_RESET = "idle_reset"
"""What load.py calls a request that was sent on a connection just when the server closed it; counted apart."""


class Request(Protocol):
    """A request as ``load.Record`` tells it."""

    @property
    def scheduled(self) -> float: ...
    @property
    def ended(self) -> float: ...
    @property
    def kind(self) -> str: ...
    @property
    def colour(self) -> str: ...
    @property
    def outcome(self) -> str: ...


@dataclass(frozen=True)
class Switch:
    """One change of colour: when its first command was about to run, who served before, and its own commands' ms."""

    at: float
    old: str
    command_ms: float


def switches_in(events: Iterable[Mapping[str, Any]]) -> list[Switch]:
    """The switches that a journal tells: each begins when its intention is recorded, before the first command."""
    switches = []
    began = math.nan
    for event in events:
        if event["kind"] == "weight_intended":
            began = event["at"]
        elif event["kind"] == "weight_set":
            old = "blue" if event["weight"] == 100 else "green"
            switches.append(Switch(at=began, old=old, command_ms=event["ms"]))
    return switches


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that ``share`` (0…1) of the values do not exceed; ValueError where there is none."""
    if not values:
        raise ValueError("a percentile of nothing")
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def handover_ms(requests: Iterable[Request], switch: Switch, until: float, aside: Collection[str]) -> float:
    """From the first command until the new colour alone serves: the old one's last answer, or the last failure.

    ``until`` is when the next switch begins; requests of the kinds ``aside`` do not count. 0 where neither happened.
    """
    last = max(
        (
            request.ended
            for request in requests
            if switch.at <= request.ended < until
            and request.kind not in aside
            and (request.colour == switch.old or request.outcome not in ("ok", IDLE_RESET))
        ),
        default=switch.at,
    )
    return round((last - switch.at) * 1000, 1)


def p99s(
    requests: Iterable[Request], switches: Sequence[Switch], controls: Sequence[float]
) -> tuple[float, float, float]:
    """p99 in ms of the requests due near a switch, near a control, and of the others; slow and failed ones aside.

    A control is the time of a task that does nothing, run as a switch is: what is slow near it is slow because Ansible
    works on the same processors. Near is within ``AROUND``, and all are pooled. Only what was due between the first
    and the last switch counts, so that all come from the same minute of the same machine. 0 for no controls.
    """
    begin, end = switches[0].at - AROUND, switches[-1].at + AROUND
    near: list[float] = []
    control: list[float] = []
    steady: list[float] = []
    for request in requests:
        if request.kind != "slow" and request.outcome == "ok" and begin <= request.scheduled <= end:
            if any(abs(request.scheduled - switch.at) <= AROUND for switch in switches):
                group = near
            elif any(abs(request.scheduled - at) <= AROUND for at in controls):
                group = control
            else:
                group = steady
            group.append((request.ended - request.scheduled) * 1000)
    return percentile(near, 0.99), percentile(control, 0.99) if controls else 0, percentile(steady, 0.99)


def summarize(
    requests: Sequence[Request],
    switches: Sequence[Switch],
    controls: Sequence[float] = (),
    aside: Collection[str] = ("slow",),
) -> dict[str, Any]:
    """The figures of one repeat: a load, and the switches and controls in it.

    ``aside`` is left out of the time of a switch.
    """
    ends = [*(switch.at for switch in switches[1:]), math.inf]
    near, control, steady = p99s(requests, switches, controls)
    of_new = [request for request in requests if request.kind == "new"]
    return {
        "requests": len(requests),
        "outcomes": dict(Counter(request.outcome for request in requests)),
        "switches": len(switches),
        "command_ms": [switch.command_ms for switch in switches],
        "switch_ms": [handover_ms(requests, switch, end, aside) for switch, end in zip(switches, ends, strict=True)],
        "switch_new_ms": [handover_ms(of_new, switch, end, aside) for switch, end in zip(switches, ends, strict=True)],
        "p99_near_ms": round(near, 1),
        "p99_control_ms": round(control, 1),
        "p99_steady_ms": round(steady, 1),
        "p99_ratio": round(near / steady, 2),
    }


def merge(repeats: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The figures of all repeats of one mechanism: sums of counts, medians of times and of ratios."""
    outcomes: Counter[str] = Counter()
    for repeat in repeats:
        outcomes.update(repeat["outcomes"])
    commands, times, of_new = (
        [ms for repeat in repeats for ms in repeat[name]] for name in ("command_ms", "switch_ms", "switch_new_ms")
    )
    return {
        "requests": sum(repeat["requests"] for repeat in repeats),
        "failed": failed(outcomes),
        "idle_resets": outcomes[IDLE_RESET],
        "outcomes": dict(outcomes),
        "switches": sum(repeat["switches"] for repeat in repeats),
        "command_ms": round(statistics.median(commands), 1),
        "switch_ms": round(statistics.median(times), 1),
        "switch_new_ms": round(statistics.median(of_new), 1),
        "switch_p90_ms": round(percentile(times, 0.9), 1),
        "p99_near_ms": round(statistics.median(repeat["p99_near_ms"] for repeat in repeats), 1),
        "p99_control_ms": round(statistics.median(repeat["p99_control_ms"] for repeat in repeats), 1),
        "p99_steady_ms": round(statistics.median(repeat["p99_steady_ms"] for repeat in repeats), 1),
        "p99_ratio": round(statistics.median(repeat["p99_ratio"] for repeat in repeats), 2),
        "p99_ratios": [repeat["p99_ratio"] for repeat in repeats],
    }


def failed(outcomes: Mapping[str, int]) -> int:
    """How many requests failed, were reset or refused; idle resets are counted apart."""
    return sum(count for outcome, count in outcomes.items() if outcome not in ("ok", IDLE_RESET))


def judge(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every target with its figure, its limit, and whether it is met."""
    targets = []
    for name, router in document["routers"].items():
        targets.append(target(f"{name}: failed, reset or refused requests", router["failed"], 0))
        if name != "nginx":
            # Old workers close their idle connections when nginx reloads; nginx_lua is there to avoid that.
            targets.append(target(f"{name}: resets of idle connections", router["idle_resets"], 0))
        targets.append(target(f"{name}: p99 near a switch ÷ steady p99", router["p99_ratio"], 1.25))
    targets.append(target("haproxy: median time of a switch, ms", document["routers"]["haproxy"]["switch_ms"], 50))
    one_task = document["one_task"]
    targets.append(target("one task on one host: failed, reset or refused requests", one_task["failed"], 0))
    playbooks = document["playbooks"]
    targets.append(target("rollback.yml until 100 % blue ÷ one trivial task", playbooks["rollback_ratio"], 4))
    targets.append(target("cutover.yml, one step ÷ one trivial task", playbooks["cutover_ratio"], 20))
    targets.append(target("a second cutover.yml: changed", playbooks["changed_again"], 0))
    return targets


def target(what: str, figure: float, limit: float, *, at_least: bool = False) -> dict[str, Any]:
    """A target with its figure, its limit, and whether it is met."""
    met = figure >= limit if at_least else figure <= limit
    return {"what": what, "figure": figure, "limit": f"≥ {limit}" if at_least else limit, "met": met}


def departure(
    requests: Sequence[Request], events: Sequence[Mapping[str, Any]], began: float
) -> dict[str, float | int | None]:
    """From the moment that green ``began`` to fail: seconds to the decision, to the change of the weight, and to
    green's last answer; and the requests that failed from then on.

    None for all three where it was not left: no way back is in the journal's ``events``.
    """
    decided = next((event["at"] for event in events if event["kind"] == "rollback_began"), None)
    weight = next((event["at"] for event in events if event["kind"] == "weight_set" and event["weight"] == 0), None)
    since = [request for request in requests if request.ended >= began]
    last = max((request.ended for request in since if request.colour == "green"), default=began)
    left = decided is not None and weight is not None and any(request.scheduled > last for request in since)
    return {
        "decided": round(decided - began, 2) if decided is not None and left else None,
        "weight": round(weight - began, 2) if weight is not None and left else None,
        "back": round(last - began, 2) if left else None,
        "failed": sum(request.outcome != "ok" for request in since),
    }


def merge_departures(departures: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The figures of all repeats of one way: medians, and each of the times to green's last answer."""
    backs = sorted(math.inf if one["back"] is None else one["back"] for one in departures)
    return {
        "repeats": len(departures),
        **{what: _median(one[what] for one in departures) for what in ("decided", "weight", "back", "failed")},
        "worst": backs[-1],
        "each": backs,
    }


def _median(values: Iterable[float | None]) -> float:
    """What never came is longer than all others."""
    return round(statistics.median(math.inf if value is None else value for value in values), 2)


def judge_detection(scrapes: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Both targets per interval of scrapes."""
    targets = []
    for one in scrapes:
        where = f"scrape every {one['scrape']} s"
        targets.append(target(f"{where}: all traffic on blue, median, s", one["gate"]["back"], one["limit"]))
        targets.append(target(f"{where}: healthy greens rolled back", one["healthy"].get("rolled_back", 0), 0))
    return targets
