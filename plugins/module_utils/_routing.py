# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Changing the weight of a service: read, compare, record, set, persist, read back, record."""

from __future__ import annotations

import dataclasses
import inspect
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from ansible_collections.bluegreen.cutover.plugins.module_utils import _guarding
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import (
    DriftError,
    InputError,
    NotReadyError,
    RouterError,
)
from ansible_collections.bluegreen.cutover.plugins.module_utils._routers import (
    Instance,
    Reading,
    Remote,
    Router,
    Scaling,
    Service,
)
from ansible_collections.bluegreen.cutover.plugins.module_utils._routers.admin_api import AdminApi
from ansible_collections.bluegreen.cutover.plugins.module_utils._routers.haproxy import HAProxy
from ansible_collections.bluegreen.cutover.plugins.module_utils._routers.nftables import Nftables
from ansible_collections.bluegreen.cutover.plugins.module_utils._routers.nginx import Nginx
from ansible_collections.bluegreen.cutover.plugins.module_utils._routers.nginx_lua import NginxLua
from ansible_collections.bluegreen.cutover.plugins.module_utils._stores.files import Clock, FileStore

PROVIDERS: dict[str, type] = {
    "haproxy": HAProxy,
    "nginx": Nginx,
    "nginx_lua": NginxLua,
    "nftables": Nftables,
    "admin_api": AdminApi,
}

CLUSTERS = ("k8s_configmap", "k8s_httproute", "k8s_ingress", "k8s_replicas", "k8s_service")
"""Their adapters are in ``_routers/clusters.py``."""

READY_WAIT = 10.0
"""Seconds for the router to see what has just become ready; HAProxy needs two checks, 500 ms apart, for that, and a
host that has much to do several times as long.
"""

_POLL = 0.1

ROUTER_ARGUMENTS: dict[str, Any] = {
    "service": {"type": "str", "required": True},
    "router": {"type": "dict", "required": True},
    "colours": {"type": "dict", "required": True},
    "ready_path": {"type": "str", "default": "/health/ready"},
}
"""Argument spec of every module that talks to a router; documented in the fragment ``router``."""


def make_service(name: str, colours: Mapping[str, Any], ready_path: str) -> Service:
    """The service as adapters need it, from the plan's ``colours``."""
    try:
        instances = {
            colour: tuple(Instance(str(one["host"]), int(one["port"])) for one in colours[colour]["instances"])
            for colour in ("blue", "green")
        }
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"colours of {name} cannot be understood ({error!r}); give blue and green, each with 'instances', "
            "a list of {host, port}"
        ) from error
    return Service(name=name, instances=instances, ready_path=ready_path)


def make_router(options: Mapping[str, Any], service: Service) -> Router:
    """The adapter of ``options['provider']``, constructed with the other options."""
    given = dict(options)
    provider = given.pop("provider", None)
    adapter = _adapter(provider)
    if adapter is None:
        known = ", ".join(sorted((*PROVIDERS, *CLUSTERS)))
        raise InputError(f"router.provider is {provider!r}; one of {known} is needed")
    # How a client sticks to a colour is written into the router's configuration by the role, and not asked for here.
    given.pop("sticky", None)
    parameters = inspect.signature(adapter).parameters
    options_of = [name for name in parameters if name != "service"]
    needed = {name for name in options_of if parameters[name].default is inspect.Parameter.empty}
    if not needed <= set(given) <= set(options_of):
        raise InputError(
            f"router {provider} needs the options {', '.join(options_of)}; it was given {', '.join(given) or 'none'}"
        )
    router: Router = adapter(service, **given)
    return router


def _adapter(provider: Any) -> type | None:
    if provider in CLUSTERS:
        # Not at the top: modules and guards begin from a zip file, where every import is compiled anew. Whoever has no
        # cluster does not pay for it.
        from ansible_collections.bluegreen.cutover.plugins.module_utils._routers import clusters  # noqa: PLC0415

        return clusters.PROVIDERS[provider]
    return PROVIDERS.get(provider)


def change_weight(
    router: Router,
    service: Service,
    weight: int,
    *,
    allowed: Collection[int] = (),
    min_ready: int = 1,
    store: FileStore | None = None,
    token: int | None = None,
    check_mode: bool = False,
    clock: Clock = time,
    ready_wait: float = READY_WAIT,
) -> dict[str, Any]:
    """Send ``weight`` percent to green, now and after a reboot, and prove it.

    ``allowed`` are the weights that may be found, applied or on disk, before; empty allows any. ``min_ready`` is how
    many instances of a colour that gains traffic must be ready. With ``token`` and ``store`` each write is fenced and
    recorded, and a guard that is there to set just this weight is disarmed. A colour has ``ready_wait`` seconds to
    become ready. Returns ``changed``, ``before``, ``after``, ``commands``, ``switch_ms``, ``drift``, ``note``.
    Raises ``InputError``, ``DriftError``, ``NotReadyError``, ``FencedError``, ``StoreError`` or ``RouterError``.
    """
    if not 0 <= weight <= 100:
        raise InputError(f"weight is {weight}; a whole number 0…100 is needed")
    before = router.read()
    unexplained = unexpected(before, allowed, weight)
    if unexplained:
        if not check_mode:
            _check_overtaken(store, token, clock)
        raise DriftError(
            f"{service.name} was changed by somebody else: {'; '.join(unexplained)}. See playbooks/status.yml; accept "
            "it with -e cutover_accept_reality=true, or go back with playbooks/rollback.yml",
            {"reading": dataclasses.asdict(before), "allowed": sorted(allowed), "weight": weight},
        )
    result: dict[str, Any] = {
        "changed": (before.weight, before.persisted) != (weight, weight),
        "before": dataclasses.asdict(before),
        "after": dataclasses.asdict(before),
        "commands": [],
        "switch_ms": 0.0,
        "drift": disagreement(before),
        "note": "",
    }
    if not result["changed"]:
        if store is not None and token is not None and not check_mode:
            _claim(router, weight, store, token, clock)
            _guarding.settle(store, token, weight, clock)
        return result
    gaining = gaining_colours(before.weight, weight)
    way = router.way(weight, min_ready) if isinstance(router, Scaling) else [weight]
    if check_mode:
        result["after"] = {**result["before"], "weight": weight, "persisted": weight}
        result["note"] = lacking(service, before, gaining, _needed(router, weight, min_ready))
        return result
    reading = before
    for one in way:
        commands = _prepare(router, one, min_ready, store, token, clock)
        gaining = gaining_colours(reading.weight, one)
        _wait_ready(router, service, reading, gaining, _needed(router, one, min_ready), clock, ready_wait)
        reading, switch_ms = _change(router, service, one, reading.weight, commands, store, token, clock)
        result["commands"] += commands
        result["switch_ms"] = round(result["switch_ms"] + switch_ms, 1)
    result["after"] = dataclasses.asdict(reading)
    return result


def _change(
    router: Router,
    service: Service,
    weight: int,
    before: int | None,
    commands: list[str],
    store: FileStore | None,
    token: int | None,
    clock: Clock,
) -> tuple[Reading, float]:
    """Set ``weight``, persist and prove it: what is read then, and how many milliseconds it took to set. ``commands``
    gets what did it.
    """
    fenced: AbstractContextManager[None] = nullcontext()
    if store is not None and token is not None:
        store.record(token, clock.time(), "weight_intended", before=before, weight=weight)
        fenced = writing(store, token, clock)
    _fence(router, token)
    with fenced:
        started = clock.monotonic()
        commands += router.apply(weight) if before != weight else []
        switch_ms = round((clock.monotonic() - started) * 1000, 1)
        commands += router.persist(weight)
    _settle(router, weight)
    after = router.read()
    if (after.weight, after.persisted) != (weight, weight):
        _check_overtaken(store, token, clock)
        raise RouterError(
            f"{service.name}: {percent(weight)} was set, yet {_applied(after)} is applied and "
            f"{percent(after.persisted)} is on disk. Look for whoever else changes this router, then run again",
            {"reading": dataclasses.asdict(after), "commands": commands},
        )
    if store is not None and token is not None:
        store.record(token, clock.time(), "weight_set", weight=weight, commands=commands, ms=switch_ms)
        _guarding.settle(store, token, weight, clock)
    return after, switch_ms


def weight_diff(result: Mapping[str, Any]) -> dict[str, str]:
    """What ``--diff`` shows of a result of ``change_weight``."""
    return {
        side: f"applied: {percent(result[side]['weight'])}\non disk: {percent(result[side]['persisted'])}\n"
        for side in ("before", "after")
    }


def percent(weight: int | None) -> str:
    """A weight as operators read it."""
    return "an unknown weight" if weight is None else f"{weight} % for green"


def _applied(reading: Reading) -> str:
    return percent(reading.weight) + (f" ({reading.unclear})" if reading.unclear else "")


def disagreement(reading: Reading) -> list[str]:
    """Where what is applied and what is on disk differ, in words; empty where they agree."""
    if reading.weight == reading.persisted:
        return []
    return [f"{_applied(reading)} is applied, but {percent(reading.persisted)} is on disk"]


def unexpected(reading: Reading, allowed: Collection[int], goal: int) -> list[str]:
    """What neither ``allowed`` nor the goal explains, in words; nothing is unexpected where ``allowed`` is empty."""
    if not allowed:
        return []
    words = " or ".join(percent(one) for one in sorted(allowed))
    found = ((reading.weight, _applied(reading), "applied"), (reading.persisted, percent(reading.persisted), "on disk"))
    return [
        f"{told} is {where}, where {words} was expected"
        for value, told, where in found
        if value != goal and value not in allowed
    ]


def gaining_colours(before: int | None, weight: int) -> list[str]:
    """The colours that get more traffic than before; with an unknown before, every colour that will get some."""
    if before is None:
        return [colour for colour, share in (("blue", 100 - weight), ("green", weight)) if share > 0]
    if weight == before:
        return []
    return ["green" if weight > before else "blue"]


def lacking(service: Service, reading: Reading, gaining: Collection[str], min_ready: int) -> str:
    """Which gaining colour has not enough ready instances, in words; empty where all have."""
    return "; ".join(
        f"{service.name}: {colour} has {reading.ready[colour]}{_of(service, colour)} instances ready as the router "
        f"sees them, {min_ready} needed"
        for colour in gaining
        if reading.ready[colour] < min_ready
    )


def _claim(router: Router, weight: int, store: FileStore, token: int, clock: Clock) -> None:
    """Leave the token where the weight already is. Our lock does not hold there: what a run that was overtaken has sent
    before, and comes late, would be taken, and nobody would go back any more.
    """
    if isinstance(router, Remote):
        _fence(router, token)
        with writing(store, token, clock):
            router.apply(weight)


def _needed(router: Router, weight: int, min_ready: int) -> int:
    """How many instances of a colour must be ready: where numbers of pods make a share, those are waited for."""
    return min(1, min_ready) if isinstance(router, Scaling) and 0 < weight < 100 else min_ready


def _prepare(
    router: Router, weight: int, min_ready: int, store: FileStore | None, token: int | None, clock: Clock
) -> list[str]:
    """Have the pods that ``weight`` needs, where that moves no traffic; what did it."""
    if not isinstance(router, Scaling):
        return []
    _fence(router, token)
    with nullcontext() if store is None or token is None else writing(store, token, clock):
        commands = router.prepare(weight, min_ready)
    router.prepared()
    return commands


def _fence(router: Router, token: int | None) -> None:
    if isinstance(router, Remote):
        router.fence(token)


def _settle(router: Router, weight: int) -> None:
    if isinstance(router, Remote):
        router.settle(weight)


def _of(service: Service, colour: str) -> str:
    # In a cluster nobody has counted them before.
    return f" of {len(service.instances[colour])}" if service.instances[colour] else ""


def _wait_ready(
    router: Router,
    service: Service,
    reading: Reading,
    gaining: Collection[str],
    min_ready: int,
    clock: Clock,
    ready_wait: float,
) -> None:
    deadline = clock.monotonic() + ready_wait
    while problem := lacking(service, reading, gaining, min_ready):
        if clock.monotonic() >= deadline:
            raise NotReadyError(
                f"{problem}, for {ready_wait:.0f} s. No traffic was moved. See why {service.ready_path} does not "
                "answer 200 there, and run again; or make do with fewer by -e cutover_min_ready=1",
                {"reading": dataclasses.asdict(reading), "min_ready": min_ready},
            )
        clock.sleep(_POLL)
        reading = router.read()


def _check_overtaken(store: FileStore | None, token: int | None, clock: Clock) -> None:
    """Raise ``FencedError`` for a run that was overtaken: to it the other one's work looks like somebody's change."""
    if store is not None and token is not None:
        with writing(store, token, clock):
            pass


@contextmanager
def writing(store: FileStore, token: int, clock: Clock) -> Iterator[None]:
    """What is changed inside was allowed when it was changed. Raises FencedError, StoreError."""
    with store.locked():
        store.fence(token, clock.time())
        yield
