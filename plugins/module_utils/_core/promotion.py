# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Promotion of a release from one environment to the next, and what each has shown (R-B9, R-B12).

The record is ``{"format": 1, "application": name, "promotions": [{"release", "environment", "began", "events"}]}``; an
event is ``{"kind", "at", ...}``. Times are unix seconds; nothing here reads a clock.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import InputError, PromotionError

FORMAT = 1
KEPT = 100
"""Promotions that are kept."""

KINDS = ("checked", "tested", "moved", "validated", "failed")
"""What an event may be; the last two end a promotion."""

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")
_RELEASE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@/+-]{0,199}")
_WAYS = ("command", "tasks", "probe")
_KEYS: dict[str, type | tuple[type, ...]] = {
    "name": str, "phrase": str, "slot": dict, "backup": bool, "healthy": list, "phases": list,
    "valid_for": (int, float),
}  # fmt: skip


def check(application: Any, environments: Any) -> list[dict[str, Any]]:
    """The environments of an inventory in their order, with every key; ``InputError`` with all that is wrong."""
    problems = []
    if not isinstance(application, str) or not _NAME.fullmatch(application):
        problems.append(f"promote_application is {application!r}; a name of 1…40 of a-z, 0-9 and '-' is needed")
    if not isinstance(environments, list) or not environments:
        problems.append("promote_environments is empty; a list of environments in their order is needed")
        environments = []
    made = [_environment(one, f"promote_environments[{index}]", problems) for index, one in enumerate(environments)]
    names = [one["name"] for one in made]
    problems += [
        f"promote_environments has {name} twice" for name in sorted({one for one in names if names.count(one) > 1})
    ]
    if problems:
        lines = "\n".join(f"- {one}" for one in problems)
        raise InputError(f"The promotion cannot be meant; nothing was touched:\n{lines}", {"problems": problems})
    return made


def _environment(given: Any, where: str, problems: list[str]) -> dict[str, Any]:
    if not isinstance(given, Mapping):
        problems.append(f"{where} is no mapping")
        return {"name": ""}
    unknown = sorted(set(given) - set(_KEYS))
    problems += [f"{where}.{name} is not known; known are {', '.join(_KEYS)}" for name in unknown]
    problems += [
        f"{where}.{name} is {given[name]!r}; another kind of value is needed"
        for name, kind in _KEYS.items()
        if name in given and not isinstance(given[name], kind)
    ]
    if not _NAME.fullmatch(str(given.get("name") or "")):
        problems.append(f"{where}.name is {given.get('name')!r}; a name of a-z, 0-9 and '-' is needed")
    for kind in ("healthy", "phases"):
        steps = given.get(kind)
        for index, step in enumerate(steps if isinstance(steps, list) else ()):
            its = f"{where}.{kind}[{index}]"
            ways = [way for way in _WAYS if isinstance(step, Mapping) and step.get(way)]
            if len(ways) != 1 or not str(step.get("name") or "").strip():
                problems.append(f"{its} needs a name, and exactly one of {', '.join(_WAYS)}")
    defaults = {"phrase": "", "slot": {}, "backup": False, "healthy": [], "phases": [], "valid_for": 0}
    return {**defaults, **given, "name": str(given.get("name") or "")}


def empty(application: str) -> dict[str, Any]:
    """The record of an application of which nothing was promoted."""
    return {"format": FORMAT, "application": application, "promotions": []}


def release_of(given: Any) -> str:
    """The release, as it was given: the same text in every environment."""
    if not isinstance(given, str) or not _RELEASE.fullmatch(given):
        raise InputError(
            f"promote_release is {given!r}; what is promoted is needed, best an image's digest or a commit. "
            "Nothing was touched"
        )
    return given


def begin(
    record: Mapping[str, Any],
    environments: Sequence[Mapping[str, Any]],
    to: str,
    release: str,
    *,
    parts: Sequence[str],
    now: float,
    images: Sequence[str] = (),
) -> Mapping[str, Any]:
    """The environment that ``release`` may be promoted to now; or ``PromotionError`` with what is missing.

    ``parts`` are those that a snapshot is taken of and proven before any traffic moves. ``images`` are those that the
    candidate would run there, where that is known.
    """
    names = [one["name"] for one in environments]
    if to not in names:
        raise InputError(f"promote_to is {to!r}; one of {', '.join(names)} is needed. Nothing was touched")
    number = names.index(to)
    target = environments[number]
    lacks = []
    if number:
        before = environments[number - 1]
        lacks += _not_validated(record, before, release, now)
    if target["backup"] and not parts:
        lacks.append(
            f"{to} asks for a backup first, and cutover_state names nothing that one could be taken of and proven"
        )
    if images and not runs(release, images):
        lacks.append(f"what would get the traffic of {to} runs {', '.join(images)}: give it the release's image")
    if lacks:
        raise PromotionError(
            f"{release} may not go to {to} yet: {'; '.join(lacks)}. Nothing was changed",
            {"missing": lacks, "release": release, "environment": to},
        )
    return target


def runs(release: str, images: Sequence[str]) -> bool:
    """Whether one of ``images`` is ``release``: by its digest, whatever registry it is from (R-B8).

    A release without one, such as a commit, cannot be told from another; it is taken for what it is said to be.
    """
    digest = release.rpartition("@sha256:")[2]
    return digest == release or any(image.endswith(f"@sha256:{digest}") for image in images)


def _not_validated(record: Mapping[str, Any], before: Mapping[str, Any], release: str, now: float) -> list[str]:
    name = before["name"]
    its = [one for one in record["promotions"] if (one["environment"], one["release"]) == (name, release)]
    if not its:
        other = [one["release"] for one in record["promotions"] if one["environment"] == name]
        last = f"; what was there last is {other[-1]}" if other else ""
        return [f"it was never promoted to {name}{last}"]
    last_events = its[-1]["events"]
    ended: Mapping[str, Any] = last_events[-1] if last_events else {"kind": "none"}
    if ended["kind"] == "failed":
        return [f"it failed in {name}: {ended['message']}"]
    lacks = lacking(before, last_events)
    if ended["kind"] != "validated" or lacks:
        count = f"{len(before['phases']) - len(lacks)} of {len(before['phases'])} phases have passed"
        names = f" (not {', '.join(lacks)})" if lacks else ""
        return [f"it is not validated in {name}: {count}{names}"]
    newer = record["promotions"][record["promotions"].index(its[-1]) + 1 :]
    replaced = [one["release"] for one in newer if one["environment"] == name]
    if replaced:
        return [f"{name} has had {replaced[-1]} since, so nobody knows that it still works there"]
    age = now - ended["at"]
    if before["valid_for"] and age > before["valid_for"]:
        return [
            f"it was validated in {name} {age / 3600:.1f} h ago, and that is good for {before['valid_for'] / 3600:g} h"
        ]
    return []


def open_(
    record: Mapping[str, Any], environment: str, release: str, who: Mapping[str, Any], now: float
) -> dict[str, Any]:
    """The record with a new promotion."""
    began = {"release": release, "environment": environment, "began": now, "owner": dict(who), "events": []}
    return {**record, "promotions": [*record["promotions"], began][-KEPT:]}


def append(record: Mapping[str, Any], environment: str, release: str, event: Mapping[str, Any]) -> dict[str, Any]:
    """The record with ``event`` in the last promotion to ``environment``: that of ``release``, and open."""
    if event.get("kind") not in KINDS:
        raise InputError(f"there is no event {event.get('kind')!r} of a promotion; one of {', '.join(KINDS)} is needed")
    promotions = list(record["promotions"])
    its = [index for index, one in enumerate(promotions) if one["environment"] == environment]
    last = promotions[its[-1]] if its else None
    if last is None or last["release"] != release:
        found = f"that of {last['release']}" if last else "none"
        raise PromotionError(f"the last promotion to {environment} is {found}, not that of {release}; run promote.yml")
    if last["events"] and last["events"][-1]["kind"] in ("validated", "failed"):
        raise PromotionError(f"the promotion of {release} to {environment} has ended; run promote.yml")
    promotions[its[-1]] = {**last, "events": [*last["events"], dict(event)]}
    return {**record, "promotions": promotions}


def unknown(record: Mapping[str, Any], environment: str, release: str) -> str:
    """Why nobody knows that ``release`` serves in ``environment``, where nothing had to be moved; "" where one does."""
    moved = [
        one["release"]
        for one in record["promotions"]
        if one["environment"] == environment
        and any(event["kind"] == "moved" for event in one["events"])
        and one["events"][-1]["kind"] != "failed"
    ]
    if moved and moved[-1] == release:
        return ""
    last = f"what a promotion moved there last is {moved[-1]}" if moved else "no promotion has moved anything there"
    return f"the new version has all traffic in {environment} already, and {last}; so nobody knows that it is {release}"


def lacking(environment: Mapping[str, Any], events: Sequence[Mapping[str, Any]]) -> list[str]:
    """The phases of the environment that have not passed."""
    passed = {one["name"] for one in events if one["kind"] == "tested" and one["passed"]}
    return [one["name"] for one in environment["phases"] if one["name"] not in passed]


def told(environment: Mapping[str, Any], events: Sequence[Mapping[str, Any]]) -> str:
    """What the environment's phases came to, in one line."""
    passed = [one["name"] for one in events if one["kind"] == "tested" and one["passed"]]
    failed = [f"{one['name']} ({one['seen']})" for one in events if one["kind"] == "tested" and not one["passed"]]
    wanted = len(environment["phases"])
    return f"{len(passed)} of {wanted} phases passed" + (f"; failed: {', '.join(failed)}" if failed else "")
