# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Probing in rounds; nobody is asked."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from ansible_collections.bluegreen.cutover.plugins.module_utils import _http, _probe
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.probes import Answer, Target


class Rounds:
    """Answers each round with the next list of status codes, and counts the sleeps."""

    def __init__(self, *rounds: Sequence[int]) -> None:
        self.rounds = list(rounds)
        self.slept: list[float] = []

    def __call__(self, targets: Sequence[Target]) -> list[Answer]:
        return [Answer(ms=1, status=status) for _target, status in zip(targets, self.rounds.pop(0), strict=True)]


TARGETS = [Target("http://app1/", name="one"), Target("http://app2/", name="two")]


def test_all_must_be_healthy_in_the_same_round() -> None:
    rounds = Rounds([200, 503], [503, 200], [200, 200], [503, 503])
    healthy, seen = _probe.probe(TARGETS, 10, 2.5, sleep=rounds.slept.append, ask_all=rounds)
    assert healthy
    assert rounds.slept == [2.5, 2.5]
    assert [(one["attempt"], one["name"], one["status"]) for one in seen] == [
        (1, "one", 200),
        (1, "two", 503),
        (2, "one", 503),
        (2, "two", 200),
        (3, "one", 200),
        (3, "two", 200),
    ]


def test_a_loop_that_ends_unhealthy_fails() -> None:
    rounds = Rounds([503, 200], [200, 503])
    healthy, seen = _probe.probe(TARGETS, 2, 1, sleep=rounds.slept.append, ask_all=rounds)
    assert not healthy
    error = _probe.unhealthy(seen)
    assert error.reason == "probe"
    assert error.message.startswith("1 of 2 probes are unhealthy after 2 tries: GET two: status 503, 200 is expected. ")
    assert [one["name"] for one in error.evidence["unhealthy"]] == ["two"]


def test_many_failures_make_a_short_message() -> None:
    targets = [Target("http://app1/", name=f"probe {number}") for number in range(9)]
    _healthy, seen = _probe.probe(targets, ask_all=Rounds([500] * 9))
    message = _probe.unhealthy(seen).message
    assert "9 of 9 probes are unhealthy after 1 try: " in message
    assert "GET probe 4: " in message
    assert "probe 5" not in message
    assert "; and 4 more. " in message


def test_check_mode_sends_nothing_that_may_change_something(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def ask(target: Target) -> Answer:
        asked.append(target.method)
        return Answer(ms=1, status=503)

    monkeypatch.setattr(_http, "ask", ask)
    result = _probe.probe_in_check_mode([*TARGETS, Target("http://app1/", name="order", method="POST")])
    assert asked == ["GET", "GET"]
    assert (result["healthy"], result["skipped"]) == (False, ["POST order"])
    assert result["would_fail"].startswith("2 of 2 probes are unhealthy")
    assert _probe.probe_in_check_mode([Target("http://app1/", method="PUT")])["would_fail"] == ""
