# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The life of one colour on one host: started and ready before any traffic, stopped only when nobody is served."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ansible_collections.bluegreen.cutover.plugins.module_utils._connections import Connection, summarize
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.draining import STOP, Look, is_drained, sum_metric
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import (
    CutoverError,
    DrainError,
    NotReadyError,
    WorkloadError,
)
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.probes import Answer, Target, mismatches
from ansible_collections.bluegreen.cutover.plugins.module_utils._http import ask, ask_all
from ansible_collections.bluegreen.cutover.plugins.module_utils._workloads import State, Workload

if TYPE_CHECKING:
    from ansible_collections.bluegreen.cutover.plugins.module_utils._stores.files import Clock

#: Seconds between two looks.
INTERVAL = 0.2
#: Seconds between two looks at one that was told to stop.
STOP_INTERVAL = 0.05
#: One that its provider has started again so few seconds ago is taken to crash again and again.
LATELY = 60.0
#: A look that saw something else than the one before is kept; only this many of them, the latest.
KEPT_LOOKS = 100


@dataclass(frozen=True)
class Hands:
    """What a section acts with.

    ``fence`` raises FencedError when this run may not write any more, and keeps others from overtaking it while it is
    held: what is changed inside was allowed when it was changed. Never hold it across a wait.
    """

    workload: Workload
    fence: Callable[[], AbstractContextManager[None]]
    check_mode: bool = False
    clock: Clock = time


def start(hands: Hands, targets: Sequence[Target], timeout: float, resume_signal: str | None = None) -> dict[str, Any]:
    """Start a colour, wait until all ``targets`` are healthy, and enable it; at most ``timeout`` seconds.

    One that runs already is sent ``resume_signal``, which ends its draining, and is waited for in the same way. One
    that was started here and does not get ready is stopped again: a reboot or the next run finds what was before.

    Returns ``changed``, ``before``, ``after``, ``commands``, ``ms`` and ``observations`` and ``note``.
    Raises WorkloadError when the colour dies, NotReadyError when the time ends, FencedError.
    """
    workload, clock = hands.workload, hands.clock
    began = clock.monotonic()
    # Also where nothing is to be done: a run that was overtaken cannot stop this colour any more, and where it just has
    # told it to stop, that is seen here.
    with hands.fence():
        before = workload.read()
    deadline = began + timeout
    looks: deque[dict[str, Any]] = deque(maxlen=KEPT_LOOKS)
    note = ""
    try:
        if not before.running:
            workload.start(timeout)
        elif resume_signal:
            workload.signal(resume_signal)
        if not hands.check_mode:
            _await_ready(hands, targets, began, deadline, looks)
        elif before.running:
            unready = _unready(targets, ask_all(targets))
            note = f"not ready now ({unready}); the real run waits for it {timeout:.0f} s" if unready else ""
    except (WorkloadError, NotReadyError) as error:
        error.evidence.update(workload.evidence(), looks=list(looks))
        if before.stopped:
            _undo(hands, error)
        raise
    if not before.enabled:
        # Only now: a reboot must never bring up a colour that has not been ready once.
        with hands.fence():
            workload.enable()
    return _section(hands, began, before, looks, note, running=True, enabled=True)


def stop(
    hands: Hands,
    connections: Callable[[], Sequence[Connection]],
    timeout: float,
    drain_signal: str | None = None,
    in_flight: tuple[Target, str] | None = None,
    cut: bool = False,
) -> dict[str, Any]:
    """Drain a colour for at most ``timeout`` seconds, then stop and disable it.

    ``drain_signal`` tells the service to let its clients go. ``in_flight`` is where the service tells its metrics, and
    the name of the one that counts its requests. With ``cut`` what is left when the time ends is cut off; without it
    that raises DrainError, and the colour goes on serving it. One that ends by itself while it is drained raises
    DrainError too; one that crashes again and again, and so did before, is stopped.

    Returns ``changed``, ``before``, ``after``, ``commands``, ``ms``, ``observations`` and ``note``.
    Raises DrainError, WorkloadError, FencedError.
    """
    workload, clock = hands.workload, hands.clock
    began = clock.monotonic()
    before = workload.read()
    looks: deque[dict[str, Any]] = deque(maxlen=KEPT_LOOKS)
    note = ""
    if not before.stopped:
        crashing = _is_crashing(before, clock)
        if drain_signal and before.running:
            _tell_to_drain(hands, drain_signal, crashing)
        if not _lives(before):
            # Between two starts of Restart=: there is no process that could serve anybody, or tell its metrics.
            note = f"nothing to drain: it was {before.state}"
        elif not hands.check_mode:
            note = _drain(hands, connections, began, began + timeout, before, crashing, in_flight, cut, looks)
        else:
            _note_look(looks, began, clock, _look(connections(), in_flight))
        _end(hands)
    if before.enabled:
        with hands.fence():
            workload.disable()
    return _section(hands, began, before, looks, note, running=False, enabled=False)


def _section(
    hands: Hands,
    began: float,
    before: State,
    looks: Iterable[dict[str, Any]],
    note: str,
    *,
    running: bool,
    enabled: bool,
) -> dict[str, Any]:
    """Read back, compare with what was wanted, and report."""
    was = {"active": before.running, "enabled": before.enabled, "state": before.state}
    now: dict[str, Any] = {"active": running, "enabled": enabled}

    def reached(state: State) -> bool:
        return state.enabled == enabled and (state.running if running else state.stopped)

    if not hands.check_mode:
        after = hands.workload.read()
        if not reached(after):
            wanted = f"{'running' if running else 'stopped'} and {'enabled' if enabled else 'not enabled'}"
            raise WorkloadError(
                f"{hands.workload.name} was to be {wanted}; it is {after.state} and "
                f"{'enabled' if after.enabled else 'not enabled'}. See who else changes it, then run again.",
                hands.workload.evidence(),
            )
        now["state"] = after.state
    return {
        # A signal alone leaves the state as it was, and is told in the commands.
        "changed": not reached(before),
        "before": was,
        "after": now,
        "commands": list(hands.workload.commands),
        "ms": round((hands.clock.monotonic() - began) * 1000, 1),
        "observations": list(looks),
        "note": note,
    }


def _unready(targets: Sequence[Target], answers: Sequence[Answer]) -> str:
    """Say which targets are not healthy; empty when all are."""
    wrong = ((target, mismatches(target, answer)) for target, answer in zip(targets, answers))
    return "; ".join(f"{target.url}: {', '.join(found)}" for target, found in wrong if found)


def _await_ready(
    hands: Hands, targets: Sequence[Target], began: float, deadline: float, looks: deque[dict[str, Any]]
) -> None:
    workload, clock = hands.workload, hands.clock
    first = workload.read()
    while True:
        unready = _unready(targets, ask_all(targets))
        # After asking: what answered a moment ago may be dead now.
        now = workload.read()
        look = {"state": now.state, "unready": unready}
        if not looks or {key: looks[-1][key] for key in look} != look:
            looks.append({"ms": round((clock.monotonic() - began) * 1000, 1), **look})
        if not now.running or now.restarts != first.restarts:
            raise WorkloadError(
                f"{workload.name} died while it was waited for: it is {now.state}, exit status {now.exit_status}. "
                "No traffic was moved. Its status and journal are in the evidence; repair it, then run again."
            )
        if not unready:
            return
        if clock.monotonic() >= deadline:
            raise NotReadyError(
                f"{workload.name} is not ready after {deadline - began:.0f} s: {unready}. No traffic was moved. Its "
                "status and journal are in the evidence; repair it, or raise cutover_health.timeout, then run again."
            )
        clock.sleep(INTERVAL)


def _lives(state: State) -> bool:
    """Is there a process?"""
    return state.running or state.pid is not None


def _is_crashing(state: State, clock: Clock) -> bool:
    return state.restarts > 0 and (state.since is None or clock.time() - state.since < LATELY)


def _tell_to_drain(hands: Hands, drain_signal: str, crashing: bool) -> None:
    with hands.fence():
        try:
            hands.workload.signal(drain_signal)
        except WorkloadError:
            # It may not have come so far yet that it handles the signal, or has ended again.
            if not crashing:
                raise


def _end(hands: Hands) -> None:
    """Stop the colour and wait until nothing of it runs. Raises WorkloadError, FencedError."""
    workload, clock = hands.workload, hands.clock
    deadline = clock.monotonic() + STOP
    with hands.fence():
        workload.stop()
    while not hands.check_mode and not workload.read().stopped:
        if clock.monotonic() >= deadline:
            raise WorkloadError(
                f"{workload.name} was told to stop {STOP:.0f} s ago, and still runs. See what holds it with "
                f"'systemctl status {workload.name}', then run again.",
                workload.evidence(),
            )
        clock.sleep(STOP_INTERVAL)
        # A run that has overtaken this one may have started it again.
        with hands.fence():
            pass


def _undo(hands: Hands, error: CutoverError) -> None:
    """Stop what this run started; what hinders that is added to ``error``, which stays the first cause."""
    try:
        _end(hands)
        error.evidence["undone"] = f"{hands.workload.name} was stopped again"
    except CutoverError as hindrance:
        error.evidence["undone"] = f"{hands.workload.name} was not stopped again: {hindrance.message}"


def _look(connections: Sequence[Connection], in_flight: tuple[Target, str] | None) -> Look:
    if in_flight is None:
        return Look(len(connections))
    target, metric = in_flight
    answer = ask(target)
    wrong = mismatches(target, answer)
    if wrong:
        return Look(len(connections), error=f"{target.url}: {', '.join(wrong)}")
    try:
        return Look(len(connections), sum_metric(answer.body.decode("utf-8", "replace"), metric))
    except ValueError as error:
        return Look(len(connections), error=f"{target.url}: {error}")


def _note_look(kept: deque[dict[str, Any]], began: float, clock: Clock, look: Look) -> None:
    seen = {"connections": look.connections, "in_flight": look.in_flight, "error": look.error}
    if not kept or {key: kept[-1][key] for key in seen} != seen:
        kept.append({"ms": round((clock.monotonic() - began) * 1000, 1), **seen})


def _many(number: float, what: str) -> str:
    return f"{number:.0f} {what}{'' if number == 1 else 's'}"


def _drain(
    hands: Hands,
    connections: Callable[[], Sequence[Connection]],
    began: float,
    deadline: float,
    before: State,
    crashing: bool,
    in_flight: tuple[Target, str] | None,
    cut: bool,
    kept: deque[dict[str, Any]],
) -> str:
    """Wait until nobody is served; return what is to be said about it."""
    workload, clock = hands.workload, hands.clock
    looks: deque[Look] = deque(maxlen=2)
    while True:
        # Counted before the metrics are asked for: that is a connection too.
        open_now = connections()
        look = _look(open_now, in_flight)
        state = workload.read()
        if not _lives(state) or state.restarts != before.restarts:
            if crashing:
                return f"not drained to the end: it crashes again and again, and was {state.state}"
            # It cannot be told from here whether it had finished with its last clients.
            last = _many(looks[-1].connections, "connection") if looks else "an unknown number of connections"
            raise DrainError(
                f"{workload.name} ended by itself ({state.state}, exit status {state.exit_status}) while it was "
                f"drained; at the look before it had {last}, which may have been cut. Run again to finish.",
                {**workload.evidence(), "looks": list(kept)},
            )
        looks.append(look)
        _note_look(kept, began, clock, look)
        if is_drained(looks):
            return ""
        if clock.monotonic() >= deadline:
            if cut:
                return f"{_many(look.connections, 'connection')} cut off after {deadline - began:.0f} s"
            peers = summarize(open_now)
            told = ", ".join(f"{peer['count']} from {peer['peer']} ({peer['state']})" for peer in peers[:5])
            requests = f" and {_many(look.in_flight, 'request')} in flight" if look.in_flight else ""
            blind = f" Requests in flight cannot be read: {look.error}." if look.error else ""
            left = _many(look.connections, "connection") + requests
            raise DrainError(
                f"{workload.name} still has {left} after {deadline - began:.0f} s"
                f"{': ' + told if told else ''}.{blind} It was not stopped and goes on serving them. Run again to wait "
                "on, raise cutover_drain.timeout, let the service close idle connections on cutover_drain.signal, or "
                "cut them off with cutover_drain.on_timeout: stop.",
                {"connections": look.connections, "in_flight": look.in_flight, "peers": peers, "looks": list(kept)},
            )
        clock.sleep(INTERVAL)
