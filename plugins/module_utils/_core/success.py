# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a migration was a success, from what Prometheus has of it. What cannot be known is unknown, never passed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

Finding = dict[str, Any]
"""``{"name", "passed", "seen"}`` at least; ``passed`` is None where it cannot be known."""

LEAST = 100
"""Requests of a colour below which its 95th percentile says nothing."""

_WORDS = {True: "passed", False: "failed", None: "unknown"}


def availability(bad: float, total: float, wanted: float) -> Finding:
    """``bad`` of ``total`` requests to both colours, against the ``wanted`` share of good ones.

    What was counted is beside the rest under ``requests`` and ``bad``, so that migrations can be added up.
    """
    if not total > 0:
        return _finding("availability", None, "Prometheus has no requests of this time")
    good = 1 - bad / total
    told = f"{good:.4%} of {total:.0f} requests, more than {wanted:.2%} are wanted"
    return {**_finding("availability", good > wanted, told), "requests": total, "bad": bad}


def response(old: float | None, new: float | None, counts: Sequence[float], increase: float) -> Finding:
    """The 95th percentiles (s) of the old version and the candidate; ``counts``: requests that each is made of."""
    if old is None or new is None or min(counts) < LEAST or not math.isfinite(old + new):
        told = " and ".join(f"{count:.0f}" for count in counts)
        return _finding("response time", None, f"{told} requests; {LEAST} of each colour are needed")
    return _finding(
        "response time",
        new <= old * (1 + increase),
        f"p95 {new * 1000:.1f} ms against {old * 1000:.1f} ms, at most {increase:.0%} more are wanted",
    )


def features(observations: Sequence[Mapping[str, Any]], where: str) -> Finding:
    """What was asked at the front in the end."""
    if not observations:
        return _finding("features", None, "cutover_verify asks for nothing")
    wrong = [one for one in observations if one["mismatches"]]
    told = "; ".join(f"{one['name']}: {', '.join(one['mismatches'])}" for one in wrong)
    count = f"{len(observations) - len(wrong)} of {len(observations)} answers at {where} are right"
    return _finding("features", not wrong, f"{count}; {told}" if wrong else count)


def alerting(alertmanagers: Sequence[str], groups: Sequence[Mapping[str, Any]], wanted: str) -> Finding:
    """``alertmanagers`` that Prometheus sends to, and its rule ``groups``; ``wanted`` is the name of this service's."""
    rules = [rule for group in groups if group.get("name") == wanted for rule in group.get("rules") or ()]
    ill = [str(rule.get("name")) for rule in rules if rule.get("health") != "ok"]
    if not rules:
        return _finding("alerting", False, f"Prometheus has no rules of the group {wanted}; run observability.yml")
    if ill:
        return _finding("alerting", False, f"rules that Prometheus cannot evaluate: {', '.join(ill)}")
    if not alertmanagers:
        return _finding("alerting", False, "Prometheus has no Alertmanager to send to")
    return _finding("alerting", True, f"{len(rules)} rules are evaluated, and sent to {', '.join(alertmanagers)}")


def unused(colour: str, requests: float) -> Finding:
    """``requests`` that a version had in the last day, which should have none any more."""
    return _finding(f"requests to {colour}", requests < 0.5, f"{requests:.0f} in the last day, none are wanted")


def unknown(name: str, why: str) -> Finding:
    """What could not be asked."""
    return _finding(name, None, why)


def tell(findings: Sequence[Finding]) -> list[str]:
    """A line each, for a person."""
    return [f"{one['name']}: {_WORDS[one['passed']]}; {one['seen']}" for one in findings]


def _finding(name: str, passed: bool | None, seen: str) -> Finding:
    return {"name": name, "passed": passed, "seen": seen}
