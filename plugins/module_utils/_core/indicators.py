# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Indicators over time from a service's journal (R-D12): availability, time to recover, deployment frequency, change
failure rate.

The last three are DORA's (https://dora.dev/guides/dora-metrics-four-keys/), told in the words of a journal:

- A *deployment* is a migration whose candidate got traffic. A rehearsal is none, and neither is one that ended before.
- It *failed* where its traffic went back after it had some, whoever sent it back, and whatever came of it later.
- *Deployment frequency*: deployments that finished, a week. *Change failure rate*: those that failed, of those that
  have ended. *Time to recover*: seconds from when the failure was known, by a gate that fails, the guard, or whoever
  began the way back, to when the old version had all of the traffic again; how long it was there before is not known.

*Availability* is none of them: the share of good requests to both versions, as ``cutover_success`` measured it when a
migration finished. Nobody measures the time between two migrations, nor one that went back.

What cannot be known is None, and ``seen`` says why. The journal keeps its last 50 closed migrations.
"""

from __future__ import annotations

import datetime
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.bluegreen.cutover.plugins.module_utils._core import holding, journal

Indicator = dict[str, Any]
"""``{"value", "unit", "seen"}``; ``value`` is None where it was not measured."""

WEEK = 7 * 86_400
_GONE = frozenset({"finished", "rolled_back"})
_WEIGHED = frozenset({"weight_set", "reality_accepted", "finished", "rolled_back", "rollback_began"})


@dataclass(frozen=True)
class Deployment:
    """A migration whose candidate got traffic: when it ``began`` and how it went.

    ``finished`` is whether its last end was that the candidate serves alone, ``failed`` whether the traffic went back,
    ``recoveries`` are the seconds that each way back took, ``lost`` how many have not ended. ``requests`` and ``bad``
    were measured when it finished; None where nobody has.
    """

    began: float
    finished: bool
    failed: bool
    ended: bool
    recoveries: tuple[float, ...]
    lost: int
    requests: float | None
    bad: float | None


def indicators(document: Mapping[str, Any], now: float) -> dict[str, Any]:
    """The four of the whole journal under ``all``, and of each month (UTC) under ``months``, the oldest first.

    A month has ``month`` and the same four; a deployment belongs to the month in which it began.
    """
    began = [one["events"][0]["at"] for one in document["migrations"]]
    found = [one for one in map(_deployment, document["migrations"]) if one is not None]
    months: dict[str, list[Deployment]] = {}
    for one in found:
        months.setdefault(_month(one.began), []).append(one)
    return {
        "all": _four(found, now - min(began) if began else 0.0),
        "months": [{"month": month, **_four(those, None)} for month, those in sorted(months.items())],
    }


def _month(at: float) -> str:
    return datetime.datetime.fromtimestamp(at, datetime.timezone.utc).strftime("%Y-%m")


def _deployment(migration: Mapping[str, Any]) -> Deployment | None:
    events = migration["events"]
    if any(event.get("rehearsal") for event in events):
        return None
    old = next((journal.side(event["from"]) for event in events if "from" in event), 0)
    weight: int | None = old
    served, noticed, known = False, None, None
    recoveries: list[float] = []
    failed = False
    for event in events:
        kind = event["kind"]
        if kind == "gate_seen":
            goes_back = event["verdict"] == "fail" and event["wanted"] not in holding.GOES_ON
            known = event["at"] if goes_back else None
        if kind in ("rollback_began", "guard_fired") and weight != old and noticed is None:
            failed, noticed = True, event["at"] if known is None else known
        if kind in _WEIGHED and event["weight"] is not None:
            weight = event["weight"]
            served = served or weight != old
            known = None
            if weight == old and noticed is not None and kind != "rollback_began":
                recoveries.append(event["at"] - noticed)
                noticed = None
    if not served:
        return None
    phase = journal.fold({"migrations": [migration]}).phase
    measured = _measured(events)
    return Deployment(
        events[0]["at"],
        phase == journal.FINISHED,
        failed,
        failed or phase in _GONE,
        tuple(recoveries),
        int(noticed is not None),
        *measured,
    )


def _measured(events: Sequence[Mapping[str, Any]]) -> tuple[float | None, float | None]:
    """Requests and bad ones, of the last time that it finished."""
    findings = [one for event in events if event["kind"] == "finished" for one in event.get("success") or ()]
    counted = [one for one in findings if one["name"] == "availability" and one.get("requests")]
    return (float(counted[-1]["requests"]), float(counted[-1]["bad"])) if counted else (None, None)


def _four(those: Sequence[Deployment], span: float | None) -> dict[str, Indicator]:
    """Of some deployments; ``span`` in s is how long the journal goes back, None for a month, which is one."""
    return {
        "availability": _availability(those),
        "time_to_recover": _time_to_recover(those),
        "deployment_frequency": _frequency(those, span),
        "change_failure_rate": _failure_rate(those),
    }


def _availability(those: Sequence[Deployment]) -> Indicator:
    measured = [one for one in those if one.requests]
    total, bad = sum(one.requests or 0.0 for one in measured), sum(one.bad or 0.0 for one in measured)
    of = f"{len(measured)} of {len(those)} deployments were measured"
    if not total:
        return _indicator(None, "share", f"not measured: {of}; cutover_metrics measures one when it finishes")
    return _indicator(1 - bad / total, "share", f"{1 - bad / total:.4%} of {total:.0f} requests; {of}")


def _time_to_recover(those: Sequence[Deployment]) -> Indicator:
    took, lost = [seconds for one in those for seconds in one.recoveries], sum(one.lost for one in those)
    waits = f"; {lost} not back yet" if lost else ""
    if not took:
        return _indicator(None, "s", f"not measured: no deployment went back{waits}")
    value = statistics.median(took)
    told = f"{holding.span(value)} in the middle, {holding.span(max(took))} at most, of {len(took)}{waits}"
    return _indicator(value, "s", told)


def _frequency(those: Sequence[Deployment], span: float | None) -> Indicator:
    finished = sum(one.finished for one in those)
    if span is None:
        return _indicator(float(finished), "a month", f"{finished} finished")
    if span < WEEK:
        told = (
            f"not measured: {finished} finished, and the journal goes back for {holding.span(span)}; a week is needed"
        )
        return _indicator(None, "a week", told)
    value = finished / (span / WEEK)
    return _indicator(value, "a week", f"{value:.2g} a week: {finished} finished in {holding.span(span)}")


def _failure_rate(those: Sequence[Deployment]) -> Indicator:
    ended, failed = sum(one.ended for one in those), sum(one.failed for one in those)
    if not ended:
        return _indicator(None, "share", "not measured: no deployment has ended")
    return _indicator(failed / ended, "share", f"{failed / ended:.1%}: {failed} of {ended} went back")


def _indicator(value: float | None, unit: str, seen: str) -> Indicator:
    return {"value": value, "unit": unit, "seen": seen}
