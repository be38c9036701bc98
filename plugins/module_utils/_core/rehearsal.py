# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A rehearsal: a migration that goes there and back again, and what must be known of it before the real one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_DAY = 86_400


def advance(rehearsal: dict[str, Any] | None, event: Mapping[str, Any]) -> dict[str, Any] | None:
    """What is known of a rehearsal after one more event of its migration; None where that is the real one.

    ``{"digest", "moving", "set", "proved", "returning", "switch", "back", "passed"}``. ``digest`` is the plan's.
    ``switch`` and ``back`` are seconds, each from the first record to the last weight of that way; ``passed`` is when
    the old colour served alone again, in unix seconds, None where it did not pass. The others are on the way to that.
    """
    kind, at = event["kind"], event["at"]
    if kind == "began":
        unknown = dict.fromkeys(("moving", "set", "returning", "switch", "back", "passed"))
        return {"digest": event["digest"], "proved": False, **unknown} if event.get("rehearsal") else None
    if rehearsal is None:
        return None
    known: dict[str, Any] = {}
    if kind == "weight_intended" and rehearsal["moving"] is None:
        known = {"moving": at}
    elif kind == "weight_set":
        known = {"set": at}
    elif kind == "rehearsed" and None not in (rehearsal["moving"], rehearsal["set"]):
        known = {"proved": True, "switch": rehearsal["set"] - rehearsal["moving"]}
    elif kind == "rollback_began":
        known = {"returning": at}
    elif kind in ("failed", "guard_fired"):
        # Somebody had to help, or the guard: what was to be proven is not.
        known = {"proved": False}
    elif kind == "rolled_back" and rehearsal["proved"]:
        known = {"back": rehearsal["set"] - rehearsal["returning"], "passed": at}
    return {**rehearsal, **known}


def missing(plan: Mapping[str, Any], rehearsal: Mapping[str, Any] | None, now: float) -> str | None:
    """Why the real migration may not begin, or None. ``rehearsal`` is what is known of the service's last migration.

    It is the last one that counts: what a cutover or a failed rehearsal has shown since is newer than the proof.
    """
    if not plan["rehearsal"]["required"]:
        return None
    why = None
    if rehearsal is None:
        why = "its last migration was no rehearsal"
    elif rehearsal["passed"] is None:
        why = "its last rehearsal did not pass"
    elif rehearsal["digest"] != plan["digest"]:
        why = "the inventory has changed since its rehearsal"
    elif now - rehearsal["passed"] > plan["rehearsal"]["age"]:
        why = (
            f"its rehearsal was {(now - rehearsal['passed']) / _DAY:.1f} days ago, and is good for "
            f"{plan['rehearsal']['age'] / _DAY:g}"
        )
    if why is None:
        return None
    return (
        f"{plan['service']} may not move to {plan['to']} yet: {why}, and cutover_rehearsal asks for one; nothing was "
        "touched. Run rehearse.yml first: it goes there and back again"
    )


def tell(rehearsal: Mapping[str, Any]) -> str:
    """The outcome of a rehearsal that is over, for a person."""
    if rehearsal["passed"] is None:
        return "it did not pass, for it was interrupted; the way there and back must be taken in one run"
    return f"it passed: {rehearsal['switch']:.2f} s to switch, {rehearsal['back']:.2f} s to go back"
