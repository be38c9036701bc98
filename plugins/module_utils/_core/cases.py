# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Business rules as cases, pure: an input, the decision that is expected, and what came instead (R-D11)."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import CaseError, InputError
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.probes import (
    Answer,
    Target,
    make_target,
    observe,
)

TOLD = 20
"""Failed cases that the message tells; all of them are in its evidence."""
INPUT_CHARACTERS = 200


def problems(rules: Sequence[Mapping[str, Any]]) -> list[str]:
    """Why ``rules`` would prove nothing, or nobody would know what, one sentence each."""
    cases = [case for rule in rules for case in rule["cases"]]
    found = [
        f"{case['name']!r} expects nothing; what the answer must say is needed"
        for case in cases
        if not case["expected"]
    ]
    found += [
        f"{name!r} is there {count} times; each case needs a name of its own"
        for name, count in Counter(case["name"] for case in cases).items()
        if count > 1
    ]
    found += [
        f"the tolerance of {rule['path']} is {rule['tolerance']}; a number from 0 is needed"
        for rule in rules
        if rule["tolerance"] < 0
    ]
    # None of them would pass for all of them.
    return found if cases else ["there is no case; at least one is needed, or leave it out"]


def make_cases(bases: Sequence[str], rules: Sequence[Mapping[str, Any]]) -> list[tuple[Mapping[str, Any], str, Target]]:
    """Every case at every base, and its request. ``rules`` are as in the plan's ``cases``.

    Raises InputError, also when nobody would be asked.
    """
    found = problems(rules) if bases else ["bases is empty; at least one address is needed"]
    if found:
        raise InputError("; ".join(found))
    made = []
    for rule in rules:
        for case in rule["cases"]:
            for base in bases:
                spec = {
                    "path": rule["path"],
                    "method": "POST",
                    "headers": {},
                    "body": case["input"],
                    "status": [case["status"]],
                    "json": case["expected"],
                    "tolerance": rule["tolerance"],
                    "budget_ms": rule["budget_ms"],
                }
                made.append((case, base, make_target(spec, base, f"the case {case['name']!r}")))
    return made


def judge(
    asked: Sequence[tuple[Mapping[str, Any], str, Target]], answers: Sequence[Answer]
) -> tuple[int, list[dict[str, Any]]]:
    """How many cases there are, and those that failed, in their order: ``name``, ``input`` and ``expected``, and in
    ``got`` what was seen at each base that decided otherwise.
    """
    failed: dict[str, dict[str, Any]] = {}
    for (case, base, target), answer in zip(asked, answers):
        seen = observe(target, answer, 1)
        if seen["mismatches"]:
            one = failed.setdefault(case["name"], {name: case[name] for name in ("name", "input", "expected")})
            one.setdefault("got", {})[base] = {name: seen[name] for name in ("mismatches", "status", "ms", "body")}
    return len({case["name"] for case, _base, _target in asked}), list(failed.values())


def told(total: int, failed: Sequence[Mapping[str, Any]]) -> str:
    """What the cases came to, in one sentence."""
    if not failed:
        return f"{total} of {total} cases passed"
    more = f"; and {len(failed) - TOLD} more" if len(failed) > TOLD else ""
    return f"{total - len(failed)} of {total} cases passed. Failed: {'; '.join(map(_told, failed[:TOLD]))}{more}"


def failure(total: int, failed: Sequence[Mapping[str, Any]]) -> CaseError:
    """The error where some have failed."""
    advice = "Repair the rule, or the case where the decision is right"
    return CaseError(f"{told(total, failed)}. {advice}", {"passed": total - len(failed), "total": total})


def _told(one: Mapping[str, Any]) -> str:
    sent = one["input"] if isinstance(one["input"], str) else json.dumps(one["input"], ensure_ascii=False)
    sent = sent if len(sent) <= INPUT_CHARACTERS else sent[: INPUT_CHARACTERS - 1] + "…"
    by_base = {base: ", ".join(got["mismatches"]) for base, got in one["got"].items()}
    where: dict[str, list[str]] = {}
    for base, got in by_base.items():
        where.setdefault(got, []).append(base)
    return f"{one['name']}: {sent} → " + " and ".join(f"{got} (at {', '.join(its)})" for got, its in where.items())
