# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writers that are held for a while: what is remembered of it on the host that holds them, and when it ends. Pure.

A hold is a document of plain JSON types, or None where there is none::

    None ─begin▶ held ─(its run lets go)▶ None
                 held ─(its time is over, or somebody let go by hand)▶ ended ─(its run is told, or another begins)▶ None

It is written before anybody is held, so that whatever comes after a kill knows whom to let go.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.bluegreen.cutover.plugins.module_utils._core.guard import Moment, clock

Hold = dict[str, Any]


def begin(
    service: str, token: int, writers: Sequence[Mapping[str, Any]], *, wait: float, limit: float, now: Moment
) -> Hold:
    """A hold that ends ``wait`` + ``limit`` seconds from ``now``; each writer has ``name``, ``options``, ``memory``."""
    return {
        "service": service,
        "token": token,
        "writers": [dict(one) for one in writers],
        "limit": limit,
        "since": now.boottime,
        "since_at": now.wall,
        "boot_id": now.boot_id,
        "deadline": now.boottime + wait + limit,
        "ended": None,
    }


def beginning(hold: Mapping[str, Any], now: Moment) -> Hold:
    """The hold from whose writers the first is held ``now``; its end stays."""
    return {**hold, "since": now.boottime, "since_at": now.wall}


def is_hold(document: Mapping[str, Any]) -> bool:
    """Has ``document`` all that a hold has?"""
    numbers = all(isinstance(document.get(name), (int, float)) for name in ("token", "since", "since_at", "deadline"))
    return numbers and isinstance(document.get("writers"), list) and "ended" in document


def is_due(hold: Mapping[str, Any], now: Moment) -> bool:
    """Is its time over? A host that was started anew holds nobody that anybody still counts on."""
    return hold["boot_id"] != now.boot_id or now.boottime >= float(hold["deadline"])


def held_for(hold: Mapping[str, Any], now: Moment) -> float:
    """Seconds since it began."""
    same = hold["boot_id"] == now.boot_id
    return now.boottime - float(hold["since"]) if same else now.wall - float(hold["since_at"])


def end(hold: Mapping[str, Any], now: Moment, *, by_hand: bool = False) -> Hold:
    """The hold that its run did not end, for that run to be told: its time was over, or somebody did it ``by_hand``."""
    after = f"at {clock(now.wall)}, after {held_for(hold, now):.1f} s"
    sentence = (
        f"the writers of {hold['service']} were let go by hand (thaw.yml) {after}, while a run held them"
        if by_hand
        else f"the writers of {hold['service']} were released by themselves {after}: the run that held them had not "
        "done it in its time"
    )
    return {**hold, "ended": sentence}
