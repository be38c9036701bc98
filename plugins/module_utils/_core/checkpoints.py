# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checkpoints: what a candidate has to show before it gets traffic, each passed or not, with what was seen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

Checkpoint = dict[str, Any]
"""``{"name", "passed", "seen"}``: a word, whether, and a sentence."""

EXCERPT = 300
"""Characters of what a test said that are kept: its end, where the failure is."""


def judge(seen: Mapping[str, Any]) -> list[Checkpoint]:
    """All that ``seen`` tells of.

    ``tests``: results of commands by host, as Ansible registers a loop. ``health``, ``performance``, ``metrics``:
    results of the modules http_probe, http_compare and service_metrics. What was not asked for is left out.
    """
    found = list(_tests(seen.get("tests") or {}))
    if seen.get("health"):
        found.append(_health(seen["health"]))
    found += [_module(name, seen[name]) for name in ("performance", "metrics") if seen.get(name)]
    return found


def rehearsal(rehearsed: Mapping[str, Any] | None) -> list[Checkpoint]:
    """``rehearsed`` is the passed rehearsal that the journal has just before this migration, if any."""
    if rehearsed is None:
        return []
    return [_checkpoint("rehearsal", True, f"{rehearsed['switch']:.2f} s there, {rehearsed['back']:.2f} s back")]


def failed(checkpoints: list[Checkpoint]) -> str:
    """Those that did not pass, in one sentence; empty when all did."""
    return "; ".join(f"{one['name']}: {one['seen']}" for one in checkpoints if not one["passed"])


def _checkpoint(name: str, passed: bool, seen: str) -> Checkpoint:
    return {"name": name, "passed": passed, "seen": seen}


def _tests(hosts: Mapping[str, Any]) -> Iterator[Checkpoint]:
    """One for all tests on all hosts: 100 % of them have to pass."""
    results = [(host, one) for host, registered in hosts.items() for one in registered.get("results") or ()]
    wrong = [(host, one) for host, one in results if one.get("failed") or one.get("rc") != 0]
    if not results:
        return
    told = [f"{one['validate_test']['name']} on {host}: {_said(one)}" for host, one in wrong]
    count = f"{len(results) - len(wrong)} of {len(results)} passed"
    yield _checkpoint("tests", not wrong, "; ".join([count, *told]))


def _said(result: Mapping[str, Any]) -> str:
    """The end of what a command said, or why there was none."""
    text = " ".join(f"{result.get('stdout') or ''} {result.get('stderr') or ''}".split())
    return (text or str(result.get("msg") or "it said nothing"))[-EXCERPT:]


def _health(result: Mapping[str, Any]) -> Checkpoint:
    observations = result.get("observations") or ()
    passed = not result.get("failed") and bool(result.get("healthy"))
    return _checkpoint(
        "health", passed, f"{len(observations)} of {len(observations)} healthy" if passed else _why(result)
    )


def _module(name: str, result: Mapping[str, Any]) -> Checkpoint:
    passed = not result.get("failed") and bool(result.get("sentence"))
    return _checkpoint(name, passed, str(result["sentence"]) if passed else _why(result))


def _why(result: Mapping[str, Any]) -> str:
    return " ".join(str(result.get("msg") or "no answer").split())
