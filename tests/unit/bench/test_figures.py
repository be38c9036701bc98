# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import math
from typing import Any, NamedTuple

import pytest
from ansible_collections.bluegreen.cutover.bench import figures, report
from ansible_collections.bluegreen.cutover.bench.figures import Switch


class Request(NamedTuple):
    scheduled: float
    ended: float
    kind: str = "new"
    colour: str = ""
    outcome: str = "ok"


def load(end: int, switches: tuple[int, ...], near_ms: float, steady_ms: float) -> list[Request]:
    """100 requests a second, answered by green after an odd number of switches."""
    requests = []
    for index in range(end * 100):
        due = index / 100
        near = any(abs(due - at) <= figures.AROUND for at in switches)
        colour = ("blue", "green")[sum(at <= due for at in switches) % 2]
        requests.append(Request(due, due + (near_ms if near else steady_ms) / 1000, colour=colour))
    return requests


def summary(**other: Any) -> dict[str, Any]:
    return {
        "requests": 10, "outcomes": {"ok": 7, "refused": 1, "idle_reset": 2}, "switches": 2, "command_ms": [1, 3],
        "switch_ms": [10, 20], "switch_new_ms": [5, 6],
        "p99_near_ms": 12, "p99_control_ms": 11, "p99_steady_ms": 10, "p99_ratio": 1.2, **other,
    }  # fmt: skip


def document(failed: int = 0, ratio: float = 1.0) -> dict[str, Any]:
    one = figures.merge([summary(outcomes={"ok": 10, "refused": failed}, p99_ratio=ratio)])
    whole = dict.fromkeys(("trivial_seconds", "cutover_seconds", "again_seconds", "rollback_seconds"), 1.0)
    return {
        "machine": {
            "cores": 2, "processor": "x", "memory_gib": 8, "kernel": "6", "hosts": ["a", "b"],
            "load_average_before": 0, "load_average_after": 1,
        },
        "minutes": 12.0,
        "routers": {"haproxy": one, "nginx": {**one, "idle_resets": 9}},
        "baselines": {"stop and start": {**one, "switch_ms": 3000.0}},
        "one_task": {
            "switches": 4, "requests": 100, "failed": 0, "idle_resets": 0, "playbook_seconds": 9.0, "start_ms": 900,
            "route_ms": 2.5, "drain_ms": 5000,
        },
        "playbooks": {**whole, "until_blue_seconds": 0.9, "rollback_ratio": 4, "cutover_ratio": 20, "changed_again": 0},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("values", "share", "expected"), [([3], 0.99, 3), (range(1, 101), 0.99, 99), (range(1, 101), 0, 1), ([1, 2], 1, 2)]
)
def test_percentile(values: list[float], share: float, expected: float) -> None:
    assert figures.percentile(list(values), share) == expected


def test_percentile_of_nothing() -> None:
    with pytest.raises(ValueError, match="nothing"):
        figures.percentile([], 0.5)


def test_a_switch_begins_with_its_intention() -> None:
    events = [
        {"kind": "began", "at": 1.0},
        {"kind": "weight_intended", "at": 2.0, "before": 0, "weight": 100},
        {"kind": "weight_set", "at": 2.5, "weight": 100, "ms": 3.5},
        {"kind": "weight_intended", "at": 4.0, "before": 100, "weight": 0},
        {"kind": "weight_set", "at": 4.5, "weight": 0, "ms": 4.5},
    ]
    assert figures.switches_in(events) == [Switch(2.0, "blue", 3.5), Switch(4.0, "green", 4.5)]


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (Request(1.01, 1.04, colour="blue"), 40),
        (Request(1.01, 1.04, colour="green"), 0),
        (Request(1.01, 2.0, outcome="refused"), 1000),
        (Request(1.01, 2.0, outcome="idle_reset"), 0),
        (Request(0.9, 3.9, "slow", "blue"), 0),
        (Request(0.9, 0.99, colour="blue"), 0),
        (Request(4.9, 5.1, colour="blue"), 0),
    ],
)
def test_a_switch_ends_with_the_last_answer_of_the_old_colour_or_the_last_failure(
    request_: Request, expected: float
) -> None:
    assert figures.handover_ms([request_], Switch(1.0, "blue", 3.0), until=5.0, aside=("slow",)) == expected


def test_near_and_steady_are_kept_apart() -> None:
    requests = [
        *load(12, switches=(3, 7), near_ms=12, steady_ms=10),
        Request(3.1, 6.2, "slow", "green"),
        *[Request(3.2, 9.2, outcome="timeout")] * 50,
    ]
    found = figures.summarize(requests, [Switch(3, "blue", 2), Switch(7, "green", 4)])
    assert (found["p99_near_ms"], found["p99_steady_ms"], found["p99_ratio"]) == (12, 10, 1.2)
    assert found["outcomes"] == {"ok": 1201, "timeout": 50}
    assert found["switch_ms"] == [2, 2200]


def test_a_control_is_neither_near_nor_steady() -> None:
    requests = [
        request._replace(ended=request.scheduled + 0.02) if abs(request.scheduled - 5) <= figures.AROUND else request
        for request in load(12, switches=(2, 8), near_ms=12, steady_ms=10)
    ]
    found = figures.summarize(requests, [Switch(2, "blue", 2), Switch(8, "green", 4)], [5.0])
    assert (found["p99_near_ms"], found["p99_control_ms"], found["p99_steady_ms"]) == (12, 20, 10)


def test_merge_takes_medians_of_times_and_sums_of_counts() -> None:
    merged = figures.merge([summary(), summary(outcomes={"ok": 10}, p99_ratio=1.0), summary(p99_ratio=3.0)])
    assert (merged["requests"], merged["failed"], merged["idle_resets"], merged["switches"]) == (30, 2, 4, 6)
    assert (merged["command_ms"], merged["switch_ms"], merged["switch_new_ms"]) == (2, 15, 5.5)
    assert merged["p99_ratio"] == 1.2


def test_what_is_at_its_limit_is_met() -> None:
    targets = figures.judge(document())
    assert all(target["met"] for target in targets)
    assert not any("nginx: resets" in target["what"] for target in targets)


def test_what_is_missed_is_said() -> None:
    missed = document(failed=1, ratio=1.26)
    missed["targets"] = figures.judge(missed)
    assert [target["what"] for target in missed["targets"] if not target["met"]] == [
        "haproxy: failed, reset or refused requests",
        "haproxy: p99 near a switch ÷ steady p99",
        "nginx: failed, reset or refused requests",
        "nginx: p99 near a switch ÷ steady p99",
    ]
    assert report.render(missed).count("**MISSED**") == 4


def test_the_page_has_the_ratios() -> None:
    text = report.render({**document(), "targets": []})
    assert "| stop and start | 200.0 | 200.0 |" in text
    nothing = document()
    nothing["routers"]["haproxy"]["switch_ms"] = 0
    assert "| stop and start | no overlap | 200.0 |" in report.render({**nothing, "targets": []})


def departures() -> list[dict[str, Any]]:
    return [{"decided": 6, "weight": 8, "back": back, "failed": 20} for back in (8.1, 8.3, None)]


BACK = [{"kind": "weight_set", "at": 5.0, "weight": 50}, {"kind": "rollback_began", "at": 17.0},
        {"kind": "weight_set", "at": 18.0, "weight": 0}]  # fmt: skip


def test_green_is_left_at_its_last_answer() -> None:
    requests = [
        Request(9.0, 9.1, colour="green", outcome="http_error"),
        Request(11.0, 11.1, colour="green", outcome="http_error"),
        Request(17.9, 18.2, colour="green"),
        Request(18.3, 18.4, colour="blue"),
    ]
    left = {"decided": 7, "weight": 8, "back": 8.2, "failed": 1}
    assert figures.departure(requests, BACK, began=10.0) == left


@pytest.mark.parametrize(
    ("events", "last"),
    [(BACK, Request(18.3, 18.4, colour="green")), (BACK[:1], Request(18.3, 18.4, colour="blue"))],
    ids=["green goes on", "no way back"],
)
def test_green_that_is_not_left_has_no_time(events: list[dict[str, Any]], last: Request) -> None:
    found = figures.departure([Request(17.9, 18.2, colour="green", outcome="http_error"), last], events, began=10.0)
    assert found == {"decided": None, "weight": None, "back": None, "failed": 1}


def test_what_never_came_is_longer_than_all_others() -> None:
    merged = figures.merge_departures(departures())
    assert (merged["back"], merged["worst"], merged["repeats"]) == (8.3, math.inf, 3)
    assert figures.merge_departures(departures()[1:])["back"] == math.inf


@pytest.mark.parametrize(
    ("limit", "healthy", "met"),
    [(8.3, {"finished": 4, "held": 1}, [True, True]), (8.2, {"finished": 4, "rolled_back": 1}, [False, False])],
)
def test_detection_is_judged_and_told(limit: float, healthy: dict[str, int], met: list[bool]) -> None:
    merged = figures.merge_departures(departures())
    one = {"scrape": 1, "limit": limit, "gate": merged, "usual": merged, "healthy": healthy}
    targets = figures.judge_detection([one])
    assert [target["met"] for target in targets] == met
    text = report.render_detection({**document(), "scrapes": [one], "targets": targets})
    assert f"| scrape every 1 s: all traffic on blue, median, s | 8.3 | {limit} | {'met' if met[0] else '**M'}" in text
    assert "| 1 s | usual | 3 | 6 | 8 | 8.3 | inf | 20 | 8.1, 8.3, inf |" in text
    assert f"for a healthy green: at 1 s 4 finished, 1 {list(healthy)[1]}." in text
