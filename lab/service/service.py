#!/usr/bin/env python3
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's service: small, real, stateful, and able to misbehave on request.

Environment: COLOUR, VERSION, PORT, DSN (PostgreSQL), REDIS_URL, REDIS_PREFIX;
faults from the start on: START_DELAY (seconds before it listens), NEVER_READY=1, NOT_LIVE=1,
ERROR_RATIO (0 to 1 of API requests answer 500), LATENCY_MS (added to API requests).

Signals:
SIGTERM  no new connections; what was accepted is answered, slow requests included; exit status 0.
         Under load a client or two still sees a reset (a request on its way to a listener that closes):
         that is why traffic is routed elsewhere before a stop.
SIGUSR1  drain: goes on accepting and answering, each answer says `Connection: close`. A connection
         that is idle stays open until its client's next request: to close it from here would be a
         race with that request, and the client would see a reset. Readiness does not change.
SIGUSR2  no longer drain (a rollback returns here). A restart has the same effect.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, cast

import asyncpg
import redis.asyncio
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SLOW_SECONDS = 3.0
CHECK_TIMEOUT = 0.5
"""Seconds a store has to answer a readiness check."""
CHECK_VALID = 1.0
"""Seconds a readiness verdict is reused, so that health checks do not hammer the stores."""
ACCEPTED_GRACE = 0.3
"""Seconds for connections accepted just before a stop to send their request."""
STOP_TIMEOUT = 25.0
"""Seconds for requests in flight at a stop; below the unit's TimeoutStopSec."""
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.25, 0.5, 1, 2, 5)

STORE_ERRORS = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, redis.RedisError)
"""What the stores' clients raise; a time-out is an OSError."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True)
class Faults:
    """How the service misbehaves: the defaults are good behaviour."""

    errors: float = 0.0
    latency_ms: float = 0.0
    ready: bool = True
    live: bool = True

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Faults:
        return cls(
            errors=float(environment.get("ERROR_RATIO", 0)),
            latency_ms=float(environment.get("LATENCY_MS", 0)),
            ready=environment.get("NEVER_READY", "") != "1",
            live=environment.get("NOT_LIVE", "") != "1",
        )

    def changed(self, wish: Mapping[str, object]) -> Faults:
        """These faults with some replaced; ValueError on an unknown name or an unfit value."""
        for name, value in wish.items():
            current = getattr(self, name, None)
            if current is None:
                raise ValueError(f"unknown fault {name!r}; known: errors, latency_ms, ready, live")
            if isinstance(current, bool):
                fits = isinstance(value, bool)
            else:
                fits = isinstance(value, int | float) and not isinstance(value, bool) and value >= 0
            if not fits:
                raise ValueError(f"{name}: {value!r} does not fit")
        return replace(self, **wish)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Settings:
    colour: str
    version: str
    port: int
    dsn: str
    redis_url: str
    redis_prefix: str
    start_delay: float
    faults: Faults

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Settings:
        return cls(
            colour=environment["COLOUR"],
            version=environment["VERSION"],
            port=int(environment["PORT"]),
            dsn=environment["DSN"],
            redis_url=environment["REDIS_URL"],
            redis_prefix=environment.get("REDIS_PREFIX", ""),
            start_delay=float(environment.get("START_DELAY", 0)),
            faults=Faults.from_environment(environment),
        )


class Store(Protocol):
    """Where items live; the tests bring their own."""

    async def check(self) -> None: ...
    async def items(self) -> list[dict[str, Any]]: ...
    async def add(self, name: str, colour: str) -> int: ...
    async def close(self) -> None: ...


class RealStore:
    """Items in PostgreSQL, the number of additions in Redis. Connects when first asked, and again after a loss."""

    def __init__(self, settings: Settings) -> None:
        self._dsn = settings.dsn
        self._key = f"{settings.redis_prefix}additions"
        self._redis = redis.asyncio.from_url(settings.redis_url, socket_connect_timeout=1, socket_timeout=1)
        self._opened: asyncpg.Pool | None = None
        self._opening = asyncio.Lock()

    async def _pool(self) -> asyncpg.Pool:
        async with self._opening:
            if self._opened is None:
                self._opened = await asyncpg.create_pool(
                    self._dsn, min_size=0, max_size=8, timeout=1, command_timeout=2
                )
        return self._opened

    async def check(self) -> None:
        pool = await self._pool()
        await asyncio.gather(pool.fetchval("SELECT 1"), self._redis.ping())

    async def items(self) -> list[dict[str, Any]]:
        pool = await self._pool()
        rows = await pool.fetch("SELECT id, name, colour FROM items ORDER BY id DESC LIMIT 10")
        return [dict(row) for row in rows]

    async def add(self, name: str, colour: str) -> int:
        pool = await self._pool()
        number: int = await pool.fetchval("INSERT INTO items (name, colour) VALUES ($1, $2) RETURNING id", name, colour)
        await self._redis.incr(self._key)
        return number

    async def close(self) -> None:
        if self._opened is not None:
            await self._opened.close()
        await self._redis.close()


class Metrics:
    def __init__(self, settings: Settings) -> None:
        registry = self.registry = CollectorRegistry()
        self.requests = Counter(
            "http_requests_total", "Requests answered", ["method", "path", "status"], registry=registry
        )
        self.seconds = Histogram(
            "http_request_duration_seconds", "Time to answer", ["path"], buckets=BUCKETS, registry=registry
        )
        self.in_flight = Gauge("http_requests_in_flight", "Requests being answered", registry=registry)
        self.connections = Gauge("http_connections_open", "Open client connections", registry=registry)
        # Named without _total: a gauge is what alerts of the form `migration_errors > 0` are written for.
        self.errors = Gauge("migration_errors", "Answers with status 5xx since the start", registry=registry)
        Gauge("service_info", "Always 1", ["colour", "version"], registry=registry).labels(
            settings.colour, settings.version
        ).set(1)


@dataclass
class Service:
    settings: Settings
    store: Store
    draining: bool = False
    faults: Faults = field(init=False)
    metrics: Metrics = field(init=False)
    _verdict: tuple[float, str] = (0.0, "")
    _checking: asyncio.Lock = field(default_factory=asyncio.Lock)

    def __post_init__(self) -> None:
        self.faults = self.settings.faults
        self.metrics = Metrics(self.settings)

    def application(self) -> web.Application:
        application = web.Application(middlewares=[self._observe])
        application.router.add_get("/health/live", self._live)
        application.router.add_get("/health/ready", self._ready)
        application.router.add_get("/api/v1/health", self._health)
        application.router.add_get("/api/v1/ping", self._ping)
        application.router.add_get("/api/v1/items", self._items)
        application.router.add_post("/api/v1/items", self._add_item)
        application.router.add_get("/slow", self._slow)
        application.router.add_get("/metrics", self._metrics)
        application.router.add_get("/admin/misbehave", self._faults)
        application.router.add_post("/admin/misbehave", self._misbehave)
        return application

    @web.middleware  # type: ignore[untyped-decorator]
    async def _observe(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        # The route's own path, not the request's: the number of series stays bounded.
        resource = request.match_info.route.resource
        path = resource.canonical if resource is not None else "unknown"
        start = time.perf_counter()
        self.metrics.in_flight.inc()
        try:
            response = await self._answer(request, handler, path)
        finally:
            self.metrics.in_flight.dec()
        response.headers["X-Colour"] = self.settings.colour
        if self.draining:
            response.force_close()
        self.metrics.requests.labels(request.method, path, response.status).inc()
        self.metrics.seconds.labels(path).observe(time.perf_counter() - start)
        if response.status >= 500:
            self.metrics.errors.inc()
        return response

    async def _answer(self, request: web.Request, handler: Handler, path: str) -> web.StreamResponse:
        try:
            if path.startswith("/api/") or path == "/slow":
                if self.faults.latency_ms:
                    await asyncio.sleep(self.faults.latency_ms / 1000)
                if random.random() < self.faults.errors:  # noqa: S311 - no secret
                    return self._json({"error": "misbehaving as told"}, 500)
            return await handler(request)
        except web.HTTPException as error:
            return self._json({"error": error.reason}, error.status)
        except STORE_ERRORS as error:
            return self._json({"error": f"store: {type(error).__name__}"}, 503)

    def _json(self, document: dict[str, Any], status: int = 200) -> web.Response:
        return web.json_response({"colour": self.settings.colour, **document}, status=status)

    async def _live(self, _request: web.Request) -> web.Response:
        return self._json({"status": "ok"}) if self.faults.live else self._json({"status": "down"}, 503)

    async def _ready(self, _request: web.Request) -> web.Response:
        problem = await self._problem()
        if problem:
            return self._json({"status": "not ready", "problem": problem}, 503)
        return self._json({"status": "ready"})

    async def _health(self, _request: web.Request) -> web.Response:
        problem = await self._problem()
        document = {"status": "degraded" if problem else "ok", "version": self.settings.version}
        return self._json(document, 503 if problem else 200)

    async def _problem(self) -> str:
        """Why the service is not ready; empty if it is."""
        if not self.faults.ready:
            return "told not to be ready"
        async with self._checking:
            when, problem = self._verdict
            if time.monotonic() - when >= CHECK_VALID:
                try:
                    await asyncio.wait_for(self.store.check(), CHECK_TIMEOUT)
                    problem = ""
                except STORE_ERRORS as error:
                    problem = f"store: {type(error).__name__}"
                self._verdict = (time.monotonic(), problem)
        return problem

    async def _ping(self, _request: web.Request) -> web.Response:
        return self._json({"pong": True})

    async def _items(self, _request: web.Request) -> web.Response:
        return self._json({"items": await self.store.items()})

    async def _add_item(self, request: web.Request) -> web.Response:
        try:
            name = (await request.json())["name"]
        except (ValueError, KeyError, TypeError):
            name = None
        if not isinstance(name, str) or not 0 < len(name) <= 200:
            return self._json({"error": "name: 1 to 200 characters"}, 422)
        return self._json({"id": await self.store.add(name, self.settings.colour)}, 201)

    async def _slow(self, _request: web.Request) -> web.Response:
        await asyncio.sleep(SLOW_SECONDS)
        return self._json({"slow": SLOW_SECONDS})

    async def _metrics(self, _request: web.Request) -> web.Response:
        body = generate_latest(self.metrics.registry)
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})

    def _local(self, request: web.Request) -> None:
        if request.remote not in ("127.0.0.1", "::1"):
            raise web.HTTPForbidden(reason="from this host only")

    async def _faults(self, request: web.Request) -> web.Response:
        self._local(request)
        return self._json({"faults": vars(self.faults)})

    async def _misbehave(self, request: web.Request) -> web.Response:
        self._local(request)
        try:
            self.faults = self.faults.changed(await request.json())
        except (ValueError, TypeError, AttributeError) as error:
            return self._json({"error": str(error)}, 422)
        return self._json({"faults": vars(self.faults)})


async def serve(settings: Settings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    service = Service(settings, RealStore(settings))
    loop.add_signal_handler(signal.SIGUSR1, setattr, service, "draining", True)
    loop.add_signal_handler(signal.SIGUSR2, setattr, service, "draining", False)
    try:
        await asyncio.wait_for(stop.wait(), settings.start_delay)
        return
    except TimeoutError:
        pass

    runner = web.AppRunner(service.application(), access_log=None)
    await runner.setup()
    protocols = cast(web.Server, runner.server)  # there since setup
    service.metrics.connections.set_function(lambda: len(protocols.connections))
    listener = await loop.create_server(protocols, None, settings.port, backlog=1024)
    print(f"{settings.colour} {settings.version} listens on port {settings.port}", flush=True)
    await stop.wait()

    # aiohttp would cut connections that have not sent their request yet: answer those first.
    service.draining = True
    listener.close()
    await asyncio.sleep(ACCEPTED_GRACE)
    await protocols.shutdown(STOP_TIMEOUT)
    await runner.cleanup()
    await service.store.close()


if __name__ == "__main__":
    try:
        configured = Settings.from_environment(os.environ)
    except (KeyError, ValueError) as problem:
        sys.exit(f"configuration: {problem!r}")
    asyncio.run(serve(configured))
