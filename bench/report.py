# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A run's figures as a page of Markdown. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

_MACHINE = """\
Written by `make {verb}` in {minutes} minutes, from one run. {cores} cores of {processor}, {memory_gib} GiB, Linux
{kernel}: the routers, the application, its stores, the load and Ansible share them. Load average before the run
{load_average_before}, at its end {load_average_after}. On the hosts: {hosts}."""

_LOAD = """\
Load: open loop, 500 requests/s, half of them on connections of their own, half on a pool of kept ones, 1 % to an
endpoint that takes 3 s, and 300 connections that are idle but for one request every 5 s. Latency counts from when a
request was due. The client retries nothing. While the load runs, the control process has the lowest priority
(`nice -n 19`), as it would be on a machine of its own; what it starts on the hosts has the usual one."""

_LEGEND = """\
*Switch*: from the first command until the new colour alone serves, that is the last answer of the old one or the
last failed request; the 3 s endpoint is left aside, and for nftables the idle connections, which leave a colour at
their next request after it was told to drain. *Commands*: until the router had applied them. *p99 near*: of all
requests due within 1 s of a switch, pooled over the switches of a repeat; *near a task that does nothing*: the same
around an Ansible task that runs `true` on the router's host, so what it has above *steady* is Ansible's work on the
shared processors and not the switch; *steady*: of the others between the first and the last switch; *ratio*: near ÷
steady. Times are medians over the switches, p99 and its ratio over the repeats. *Idle resets*: the
request met a connection that the server was just closing."""

_ONE_TASK = """\
`systemd_switch` on the nftables host, {switches} times under the same load: {requests} requests, {failed} failed,
{idle_resets} idle resets. The playbook took {playbook_seconds} s: {start_ms} ms to start and get ready, {route_ms} ms
to route, {drain_ms} ms to drain until no connection was left and to stop."""

_PLAYBOOKS = "On the router host and two application hosts, from a finished cutover; no load, medians."


def render(document: Mapping[str, Any]) -> str:
    """The whole page; its every number was measured in this run."""
    machine, playbooks = document["machine"], document["playbooks"]
    mechanisms = {**document["routers"], **document["baselines"]}
    baselines = [_ratios(name, base, document["routers"]) for name, base in document["baselines"].items()]
    played = [
        ("one trivial task", playbooks["trivial_seconds"], 1),
        ("`rollback.yml` until 100 % blue", playbooks["until_blue_seconds"], playbooks["rollback_ratio"]),
        ("`rollback.yml`, whole", playbooks["rollback_seconds"], ""),
        ("`cutover.yml`, one step, no hold", playbooks["cutover_seconds"], playbooks["cutover_ratio"]),
        (f"`cutover.yml` again: changed={playbooks['changed_again']}", playbooks["again_seconds"], ""),
    ]
    sections = [
        "# What a switch costs",
        _MACHINE.format(**{**machine, "hosts": ", ".join(machine["hosts"])}, minutes=document["minutes"], verb="bench"),
        _LOAD,
        "## Verdict",
        table(("target", "measured", "limit", ""), _verdicts(document["targets"])),
        "## Switches under load",
        table(("mechanism", *_COLUMNS.values()), [(name, *_cells(one)) for name, one in mechanisms.items()]),
        _LEGEND,
        "## Beside the ways without this collection",
        table(("time of a switch, divided by ours", *document["routers"]), baselines),
        "## One host, one task",
        _ONE_TASK.format(**document["one_task"]),
        "## Whole playbooks",
        _PLAYBOOKS,
        table(("playbook", "seconds", "÷ trivial"), played),
    ]
    return "\n\n".join(sections) + "\n"


_DETECTION = """\
Half of 100 requests/s (open loop, on new and kept connections) go to green, which is held there by `cutover.yml` with a
gate: at most 1 % of its requests to the API may fail, `dispersion: 1`, no history. At a random moment, 5 to 15 s into
the hold, 5 % of green's answers begin to be errors. *Decision*: the way back is in the journal; *weight*: so is the
change of the weight; *back*: green's last answer. *Usual*: `uri` with `until` every 5 s on `rate()` over one minute,
more than 1 %, then the role `rollback` ([usual_watch.yml](../playbooks/usual_watch.yml)), after the same seconds.
*Failed*: requests that got an error from then on. Seconds count from the moment before the first of green's two hosts
is told to fail; medians but for *worst* and *each*."""

_DEPARTURE = {
    "repeats": "repeats",
    "decided": "decision, s",
    "weight": "weight, s",
    "back": "back, s",
    "worst": "worst",
    "failed": "failed",
}


def render_detection(document: Mapping[str, Any]) -> str:
    """The page of detection.py; its every number was measured in this run."""
    machine = document["machine"]
    rows = [
        (f"{one['scrape']} s", way, *(one[way][name] for name in _DEPARTURE), ", ".join(map(str, one[way]["each"])))
        for one in document["scrapes"]
        for way in ("gate", "usual")
    ]
    healthy = "; ".join(
        f"at {one['scrape']} s " + ", ".join(f"{count} {end}" for end, count in one["healthy"].items())
        for one in document["scrapes"]
    )
    sections = [
        "# How soon a green that fails is left",
        _MACHINE.format(
            **{**machine, "hosts": ", ".join(machine["hosts"])}, minutes=document["minutes"], verb="detection"
        ),
        _DETECTION,
        "## Verdict",
        table(("target", "measured", "limit", ""), _verdicts(document["targets"])),
        "## Medians",
        table(("scrape", "way", *_DEPARTURE.values(), "each"), rows),
        f"How the same cutover ended for a healthy green: {healthy}.",
    ]
    return "\n\n".join(sections) + "\n"


_STATE = """\
Each part of the state is taken and brought back by the collection's modules, beside the best that the tools of its
server do with the same promise, in one run."""


def render_state(document: Mapping[str, Any], name: str, part: str) -> str:
    """The page of state.py's measurement ``name``, with its own ``part``; its every number was measured in this run."""
    machine = document["machine"]
    sections = [
        "# What keeping the state safe costs",
        _MACHINE.format(
            **{**machine, "hosts": ", ".join(machine["hosts"])},
            minutes=document["minutes"],
            verb=f"bench-state ONLY={name}",
        ),
        _STATE,
        "## Verdict",
        table(("target", "measured", "limit", ""), _verdicts(document["targets"])),
        part,
    ]
    return "\n\n".join(sections) + "\n"


_CLUSTERS = """\
Written by `make bench-clusters` in {minutes} minutes, from one run. {cores} cores of {processor}, {memory_gib} GiB,
Linux {kernel}: the API server and Ansible share them. Load average before the run {load_average_before}, at its end
{load_average_after}. The server: {server}."""

_CLUSTERS_LEGEND = """\
*One task*: a play of one task that switches one Service, medians of {runs}. `k8s_selector_patch` checks who is ready
before, and waits for the endpoints after; `kubernetes.core.k8s` patches the selector and does neither. *Services*: so
many in one task, and the most memory of one process of that play."""


def render_clusters(document: Mapping[str, Any]) -> str:
    """The page of clusters.py; its every number was measured in this run."""
    measured = document["measured"]
    text = _CLUSTERS.format(**document["machine"], minutes=document["minutes"], server=document["server"])
    sections = [
        "# What a switch costs in a cluster",
        text,
        "## Verdict",
        table(("target", "measured", "limit", ""), _verdicts(document["targets"])),
        table(("one task", "s"), measured["one_task_seconds"].items()),
        table(("services", "s", "MB"), [tuple(one.values()) for one in measured["growth"]]),
        _CLUSTERS_LEGEND.format(runs=measured["runs"]),
    ]
    return "\n\n".join(sections) + "\n"


def _verdicts(targets: Iterable[Mapping[str, Any]]) -> list[tuple[Any, ...]]:
    return [(t["what"], t["figure"], t["limit"], "met" if t["met"] else "**MISSED**") for t in targets]


_COLUMNS = {
    "switches": "switches",
    "requests": "requests",
    "failed": "failed",
    "idle_resets": "idle resets",
    "switch_ms": "switch, ms",
    "switch_p90_ms": "its p90, ms",
    "switch_new_ms": "of new connections, ms",
    "command_ms": "commands, ms",
    "p99_near_ms": "p99 near, ms",
    "p99_control_ms": "p99 near a task that does nothing, ms",
    "p99_steady_ms": "p99 steady, ms",
    "p99_ratio": "ratio",
}


def _cells(one: Mapping[str, Any]) -> list[Any]:
    # The baselines have no controls beside them, and so no such figure.
    return ["" if key == "p99_control_ms" and not one[key] else one[key] for key in _COLUMNS]


def _ratios(name: str, base: Mapping[str, Any], routers: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """How many times as long the baseline takes; no ratio where ours left nothing to measure."""
    times = [router["switch_ms"] for router in routers.values()]
    return [name, *(f"{base['switch_ms'] / ms:.1f}" if ms else "no overlap" for ms in times)]


def table(heading: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A table of Markdown."""
    lines = [heading, ["---"] * len(heading), *rows]
    return "\n".join(f"| {' | '.join(str(cell) for cell in line)} |" for line in lines)
