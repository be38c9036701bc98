# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The whole switch of one host: start one colour, send it the traffic, verify, drain and stop the other."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.bluegreen.cutover.plugins.module_utils import _connections, _guarding, _lifecycle, _routing
from ansible_collections.bluegreen.cutover.plugins.module_utils._command import Run
from ansible_collections.bluegreen.cutover.plugins.module_utils._connections import Connection
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import InputError
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.probes import Target, make_target, make_targets
from ansible_collections.bluegreen.cutover.plugins.module_utils._lifecycle import Hands
from ansible_collections.bluegreen.cutover.plugins.module_utils._probe import (
    PROBE_ARGUMENTS,
    probe,
    probe_in_check_mode,
    unhealthy,
)
from ansible_collections.bluegreen.cutover.plugins.module_utils._stores.files import Clock, FileStore
from ansible_collections.bluegreen.cutover.plugins.module_utils._workloads.systemd import SystemdUnit

#: For one question about readiness or metrics, in milliseconds; a slower answer is not a healthy one.
BUDGET_MS = 2000
#: What a service may be sent: no signal that is meant to end it.
SIGNALS = ("SIGUSR1", "SIGUSR2", "SIGHUP", "SIGWINCH")
#: What is recorded in the journal when a section has ended.
EVENTS = {"start": "started", "stop": "drained"}

Section = Callable[[], "dict[str, Any]"]


@dataclass(frozen=True)
class _Context:
    """What all sections share. ``store`` is there with a token, where this run is fenced."""

    params: Mapping[str, Any]
    run: Run
    store: FileStore | None
    check_mode: bool
    clock: Clock

    def fence(self) -> AbstractContextManager[None]:
        if self.store is None or self.check_mode:
            return nullcontext()
        return _routing.writing(self.store, self.params["token"], self.clock)

    def record(self, section: str) -> None:
        """Record the end of ``section``, if the journal is here: on the router's host. Elsewhere the play records."""
        route = self.params["route"]
        if section in EVENTS and route and self.store is not None and not self.check_mode:
            unit = self.params[section]["unit"]
            colour = next((name for name, its in route["colours"].items() if its.get("unit") == unit), None)
            token, host = self.params["token"], self.params["host"]
            with self.store.locked():
                self.store.record(token, self.clock.time(), EVENTS[section], colour=colour, host=host)

    def hands(self, unit: str) -> Hands:
        return Hands(SystemdUnit(unit, self.run, self.check_mode), self.fence, self.check_mode, self.clock)


def switch(params: Mapping[str, Any], run: Run, done: dict[str, Any], *, check_mode: bool, clock: Clock = time) -> None:
    """Do the sections ``start``, ``route``, ``verify`` and ``stop`` of ``params`` (the module's), in this order.

    Each section's result is put into ``done`` as it ends: when a later one raises, what was done before is still told.
    What is wrong with the input raises InputError before the first change; the rest are the sections' own errors.
    """
    store = None if params["token"] is None else FileStore(params["state_dir"], params["service"])
    context = _Context(params, run, store, check_mode, clock)
    if params["start"] and params["stop"] and params["start"]["unit"] == params["stop"]["unit"]:
        raise InputError(f"start and stop both name {params['start']['unit']}; two units are needed.")
    makers = {"start": _start, "route": _route, "verify": _verify, "stop": _stop}
    # All are made before the first is done: making them checks their input.
    sections = {name: make(params[name], context) for name, make in makers.items() if params[name]}
    for name, section in sections.items():
        if name == "stop" and "route" in sections and store is not None and not check_mode:
            # All traffic has moved and is verified: from here on the old colour is nothing to go back to.
            _guarding.disarm(store, params["token"], clock.time())
        done[name] = section()
        if done[name]["changed"]:
            context.record(name)


def _start(options: Mapping[str, Any], context: _Context) -> Section:
    timeout = _timeout(options, "start")
    targets = [_target(options[key], f"start.{key}") for key in ("ready", "live") if options[key]]
    resume_signal = _signal(options["resume_signal"], "start.resume_signal")
    hands = context.hands(options["unit"])
    return lambda: _lifecycle.start(hands, targets, timeout, resume_signal)


def _route(options: Mapping[str, Any], context: _Context) -> Section:
    service = _routing.make_service(context.params["service"], options["colours"], options["ready_path"])
    router = _routing.make_router(options["router"], service)
    return lambda: _routing.change_weight(
        router,
        service,
        options["weight"],
        allowed=options["allowed"],
        min_ready=options["min_ready"],
        store=context.store,
        token=context.params["token"],
        check_mode=context.check_mode,
        clock=context.clock,
    )


def _verify(options: Mapping[str, Any], context: _Context) -> Section:
    probes = []
    for index, given in enumerate(options["probes"]):
        result = ArgumentSpecValidator({"path": {"type": "str", "required": True}, **PROBE_ARGUMENTS}).validate(given)
        if result.error_messages:
            raise InputError(f"verify.probes[{index}]: {'; '.join(result.error_messages)}.")
        probes.append(result.validated_parameters)
    # A service may have nothing to verify; its play passes the empty list on.
    targets = make_targets([], options["bases"], probes) if probes else []

    def section() -> dict[str, Any]:
        if context.check_mode:
            return {"changed": False, **probe_in_check_mode(targets)}
        healthy, observations = probe(targets)
        if not healthy:
            raise unhealthy(observations)
        return {"changed": False, "healthy": True, "observations": observations}

    return section


def _stop(options: Mapping[str, Any], context: _Context) -> Section:
    timeout = _timeout(options, "stop")
    port = options["port"]
    drain_signal = _signal(options["signal"], "stop.signal")
    hands = context.hands(options["unit"])
    in_flight = None
    if options["in_flight_url"]:
        in_flight = (_target(options["in_flight_url"], "stop.in_flight_url"), options["in_flight_metric"])

    def connections() -> list[Connection]:
        return _connections.read([port])[port]

    cut = options["on_timeout"] == "stop"
    return lambda: _lifecycle.stop(hands, connections, timeout, drain_signal, in_flight, cut)


def _target(url: str, where: str) -> Target:
    spec = {"url": url, "method": "GET", "headers": {}, "status": [200], "json": {}}
    return make_target({**spec, "budget_ms": BUDGET_MS}, where=where)


def _signal(name: str | None, where: str) -> str | None:
    if name is not None and name not in SIGNALS:
        raise InputError(f"{where} is {name}; one of {', '.join(SIGNALS)} is needed, or none.")
    return name


def _timeout(options: Mapping[str, Any], section: str) -> float:
    if not 1 <= options["timeout"] <= 86_400:
        raise InputError(f"{section}.timeout is {options['timeout']}; a number of seconds from 1 to 86400 is needed.")
    return float(options["timeout"])


def difference(done: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``before`` and ``after`` of all sections that change something, for diff mode."""
    return {
        when: {name: result[when] for name, result in done.items() if when in result} for when in ("before", "after")
    }
