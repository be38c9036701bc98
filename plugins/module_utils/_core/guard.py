# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The guard: what takes traffic back by itself when nobody renews it, or when a trigger holds. Pure.

A guard is a document of plain JSON types, or None where there is none::

    None ─arm▶ armed ─arm▶ armed (renewed) ─confirm▶ watching (only its triggers are left), or None
               watching, None ─watch▶ watching (its triggers were edited meanwhile)
               armed, watching ─disarm▶ None
               armed, watching ─fire▶ firing ─(traffic is back, and that is recorded)▶ None
               armed, watching, firing ─stand back▶ armed (a rollback has taken over)

Whoever writes one holds the store's lock, so that a confirmation and a firing come one after the other.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import FencedError
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.journal import side

Guard = dict[str, Any]

ARMED = "armed"
WATCHING = "watching"
FIRING = "firing"

ROLLBACK_TIME = 15
"""Seconds that a rollback has at least to bring the traffic back itself, before the guard does."""


@dataclass(frozen=True)
class Moment:
    """Now, on the guard's host: ``boottime`` in seconds since the boot ``boot_id``, which never jumps, and ``wall`` in
    unix seconds, which is for people.
    """

    boottime: float
    boot_id: str
    wall: float


@dataclass(frozen=True)
class Cause:
    """Why a guard fires: ``kind`` is ``time``, ``reboot`` or ``trigger``; ``late``, in seconds, where it has a time."""

    kind: str
    sentence: str
    late: float | None = None


def is_guard(document: Mapping[str, Any]) -> bool:
    """Has ``document`` all that a guard has?"""
    numbers = all(isinstance(document.get(name), (int, float)) for name in ("generation", "token", "time"))
    timed = document.get("state") != ARMED or isinstance(document.get("deadline"), (int, float))
    parts = isinstance(document.get("target"), dict) and isinstance(document.get("triggers"), list)
    return numbers and timed and parts and document.get("state") in (ARMED, WATCHING, FIRING)


def target(plan: Mapping[str, Any]) -> dict[str, Any]:
    """What a guard must know to bring the traffic back with no plan at hand."""
    return {
        "service": plan["service"],
        "back_to": plan["from"],
        "router": plan["router"],
        "colours": {colour: {"instances": its["instances"]} for colour, its in plan["colours"].items()},
        "ready_path": plan["health"]["ready"],
        "min_ready": plan["min_ready"],
        "ttl": plan["lease"]["ttl"],
    }


def goal(guard: Mapping[str, Any]) -> int:
    """The weight that it sets."""
    return side(guard["target"]["back_to"])


def arm(current: Mapping[str, Any] | None, plan: Mapping[str, Any], token: int, now: Moment) -> Guard:
    """A guard with all of its time ahead of it; where one is armed already, the same renewed."""
    _must_be_ours(current, token)
    return {
        "state": ARMED,
        "generation": _next(current),
        "token": token,
        **_timed(plan["guard"]["time"], now),
        "target": target(plan),
        "triggers": plan["guard"]["triggers"],
        "prometheus": plan["guard"]["prometheus"],
        "cause": None,
    }


def watch(current: Mapping[str, Any] | None, plan: Mapping[str, Any], token: int, now: Moment) -> Guard:
    """A guard with the triggers of ``plan`` alone, which are not those of ``current``."""
    return {**arm(current, plan, token, now), "state": WATCHING, **_untimed()}


def is_edited(current: Mapping[str, Any] | None, plan: Mapping[str, Any]) -> bool:
    """Are the triggers of ``plan``, or where they are asked, others than those that are armed?"""
    its, wanted = current or {"triggers": []}, plan["guard"]
    if its["triggers"] != wanted["triggers"]:
        return True
    return bool(wanted["triggers"]) and its["prometheus"] != wanted["prometheus"]


def confirm(current: Mapping[str, Any] | None, token: int) -> Guard | None:
    """What is left of a guard when a step is confirmed: its triggers, where it has some."""
    _must_be_ours(current, token)
    if current is None or not current["triggers"]:
        return None
    if current["state"] == WATCHING:
        return {**current, "token": token}
    return {**current, "state": WATCHING, "generation": _next(current), "token": token, **_untimed()}


def disarm(current: Mapping[str, Any] | None, token: int) -> None:
    """Nothing is left; or ``FencedError``, where it fires already."""
    _must_be_ours(current, token)


def adopt(current: Mapping[str, Any], token: int, time: float, now: Moment) -> Guard:
    """The same guard in the hands of a cutover that has just taken the lease, and goes on: with ``time`` until it is
    armed again, unless only its triggers were left.
    """
    changed = {**current, "generation": _next(current), "token": token, "cause": None}
    return changed if current["state"] == WATCHING else {**changed, "state": ARMED, **_timed(time, now)}


def stand_back(current: Mapping[str, Any], token: int, now: Moment) -> Guard:
    """The same guard in the hands of a rollback that has just taken the lease, also from the guard itself.

    Should it die on its way, the guard does its work. Triggers would say no more than what is done about them already.
    """
    time = max(current["time"], ROLLBACK_TIME)
    changed = {**current, "state": ARMED, "generation": _next(current), "token": token, "cause": None}
    return {**changed, "triggers": [], **_timed(time, now)}


def is_settled(current: Mapping[str, Any] | None, token: int, weight: int) -> bool:
    """Has the run with ``token`` done what the guard is there for?"""
    mine = current is not None and current["state"] != FIRING and token >= current["token"]
    return mine and current is not None and weight == goal(current)


def due(current: Mapping[str, Any] | None, now: Moment) -> Cause | None:
    """Why the guard must fire now, as far as time goes; one that began to fire goes on."""
    if current is None or current["state"] == WATCHING:
        return None
    if current["state"] == FIRING:
        return Cause(**current["cause"])
    if current["boot_id"] != now.boot_id:
        return Cause("reboot", "its host was started anew while it was armed")
    late = now.boottime - current["deadline"]
    if late < 0:
        return None
    return Cause("time", f"nobody renewed it for {current['time']:g} s", round(late, 3))


def fire(current: Mapping[str, Any], token: int, cause: Cause) -> Guard:
    """The guard while it brings the traffic back, with a token of its own that fences the run it guards against."""
    told = {"kind": cause.kind, "sentence": cause.sentence, "late": cause.late}
    return {
        **current,
        "state": FIRING,
        "generation": _next(current),
        "token": token,
        "cause": told,
        **_untimed(),
    }


def left(current: Mapping[str, Any], now: Moment) -> float | None:
    """Seconds until it fires; None where it has no deadline."""
    if current["deadline"] is None:
        return None
    return 0.0 if current["boot_id"] != now.boot_id else max(0.0, float(current["deadline"]) - now.boottime)


def takes(guard: Mapping[str, Any], at: float, cause: Cause) -> str:
    """What a guard does that fires, for whoever comes meanwhile; ``at`` in unix seconds."""
    service, back_to = guard["target"]["service"], guard["target"]["back_to"]
    return f"at {clock(at)} the guard took {service} over, to send its traffic to {back_to}: {cause.sentence}"


def took(guard: Mapping[str, Any], at: float, cause: Cause) -> str:
    """What a guard did, for whoever comes later; ``at`` in unix seconds."""
    service, back_to = guard["target"]["service"], guard["target"]["back_to"]
    return f"the guard has sent the traffic of {service} back to {back_to} at {clock(at)}: {cause.sentence}"


def clock(at: float) -> str:
    """Date and time of day in UTC."""
    return datetime.datetime.fromtimestamp(at, datetime.timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")


def _must_be_ours(current: Mapping[str, Any] | None, token: int) -> None:
    """Raise ``FencedError`` where the guard fires, or belongs to a newer run."""
    if current is None:
        return
    service, back_to = current["target"]["service"], current["target"]["back_to"]
    if current["state"] == FIRING:
        raise FencedError(
            f"the guard of {service} is taking the traffic back to {back_to}, because {current['cause']['sentence']}; "
            "this run may not go on. See status.yml; when the guard is done, run again",
            {"guard": dict(current)},
        )
    if current["token"] > token:
        raise FencedError(
            f"the guard of {service} belongs to a newer run (token {current['token']}) than this one (token {token}); "
            "nothing was changed here. See what that one does with status.yml",
            {"guard": dict(current)},
        )


def _next(current: Mapping[str, Any] | None) -> int:
    return current["generation"] + 1 if current is not None else 1


def _timed(time: float, now: Moment) -> dict[str, Any]:
    return {
        "time": time,
        "boot_id": now.boot_id,
        "deadline": now.boottime + time,
        "deadline_at": now.wall + time,
    }


def _untimed() -> dict[str, Any]:
    return {"deadline": None, "deadline_at": None}
