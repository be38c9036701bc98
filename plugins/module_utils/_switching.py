# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The whole switch of one host: start one colour, send it the traffic, drain and stop the other."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.bluegreen.cutover.plugins.module_utils import _connections, _lifecycle, _routing
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import InputError
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.probes import Target, make_target
from ansible_collections.bluegreen.cutover.plugins.module_utils._lifecycle import Hands
from ansible_collections.bluegreen.cutover.plugins.module_utils._stores.files import FileStore
from ansible_collections.bluegreen.cutover.plugins.module_utils._workloads.systemd import Run, SystemdUnit

#: For one question about readiness or metrics, in milliseconds; a slower answer is not a healthy one.
BUDGET_MS = 2000
#: What is recorded in the journal when a section has ended.
EVENTS = {"start": "started", "stop": "drained"}

Section = Callable[[], "dict[str, Any]"]


def switch(
    params: Mapping[str, Any], run: Run, done: dict[str, Any], *, check_mode: bool, clock: _routing.Clock = time
) -> None:
    """Do the sections ``start``, ``route`` and ``stop`` of ``params`` (the module's), in this order.

    Each section's result is put into ``done`` as it ends: when a later one raises, what was done before is still told.
    What is wrong with the input raises InputError before the first change; the rest are the sections' own errors.
    """
    token = params["token"]
    store = None if token is None else FileStore(params["state_dir"], params["service"])

    def fence() -> None:
        if store is not None and not check_mode:
            with store.locked():
                store.fence(token, clock.time())

    def hands(section: str) -> Hands:
        return Hands(SystemdUnit(params[section]["unit"], run, check_mode), fence, check_mode, clock)

    sections: dict[str, Section] = {}
    if params["start"]:
        sections["start"] = _start(params["start"], hands("start"))
    if params["route"]:
        sections["route"] = _route(params["route"], params["service"], store, token, check_mode, clock)
    if params["stop"]:
        sections["stop"] = _stop(params["stop"], hands("stop"))
    if params["start"] and params["stop"] and params["start"]["unit"] == params["stop"]["unit"]:
        raise InputError(f"start and stop both name {params['start']['unit']}; two units are needed.")
    for name, section in sections.items():
        done[name] = section()
        # The journal is on the router's host; elsewhere the play records.
        if name in EVENTS and params["route"] and store is not None and done[name]["changed"] and not check_mode:
            colour = _colour_of(params[name]["unit"], params["route"]["colours"])
            store.record(token, clock.time(), EVENTS[name], colour=colour, host=params["host"])


def _start(options: Mapping[str, Any], hands: Hands) -> Section:
    timeout = _timeout(options, "start")
    targets = [_target(options[key], f"start.{key}") for key in ("ready", "live") if options[key]]
    return lambda: _lifecycle.start(hands, targets, timeout, options["resume_signal"])


def _route(
    options: Mapping[str, Any],
    name: str,
    store: FileStore | None,
    token: int | None,
    check_mode: bool,
    clock: _routing.Clock,
) -> Section:
    service = _routing.make_service(name, options["colours"], options["ready_path"])
    router = _routing.make_router(options["router"], service)
    return lambda: _routing.change_weight(
        router,
        service,
        options["weight"],
        allowed=options["allowed"],
        min_ready=options["min_ready"],
        store=store,
        token=token,
        check_mode=check_mode,
        clock=clock,
    )


def _stop(options: Mapping[str, Any], hands: Hands) -> Section:
    timeout = _timeout(options, "stop")
    port = options["port"]
    in_flight = None
    if options["in_flight_url"]:
        in_flight = (_target(options["in_flight_url"], "stop.in_flight_url"), options["in_flight_metric"])
    return lambda: _lifecycle.stop(
        hands,
        lambda: _connections.read([port])[port],
        timeout,
        options["signal"],
        in_flight,
        cut=options["on_timeout"] == "stop",
    )


def _target(url: str, where: str) -> Target:
    spec = {"url": url, "method": "GET", "headers": {}, "secret_headers": {}, "status": [200], "json": {}}
    return make_target({**spec, "budget_ms": BUDGET_MS}, where=where)


def _timeout(options: Mapping[str, Any], section: str) -> float:
    if not 1 <= options["timeout"] <= 3600:
        raise InputError(f"{section}.timeout is {options['timeout']}; a number of seconds from 1 to 3600 is needed.")
    return float(options["timeout"])


def _colour_of(unit: str, colours: Mapping[str, Any]) -> str | None:
    return next((colour for colour, how in colours.items() if how.get("unit") == unit), None)


def difference(done: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``before`` and ``after`` of all sections, for diff mode."""
    return {when: {name: result[when] for name, result in done.items()} for when in ("before", "after")}
