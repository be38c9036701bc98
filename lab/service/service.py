#!/usr/bin/env python3
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's service: small, real, stateful, and able to misbehave on request.

Environment: COLOUR, VERSION, PORT, DSN (PostgreSQL), REDIS_URL, REDIS_PREFIX, POOLED=1 where DSN leads to a pooler in
transaction mode;
faults from the start on: START_DELAY (seconds before it listens), NEVER_READY=1, NOT_LIVE=1,
ERROR_RATIO (0 to 1 of API requests answer 500), LATENCY_MS (added to API requests), LEAST_MATCH (the share of skills
from which somebody matches, see matching.py).
As a front, with UPSTREAM (the other version's address): it sends V2_TRAFFIC_PERCENTAGE (default 0) of its API requests
on to that. ADMIN_TOKEN is the bearer token of GET and POST /admin/config, which tell and set the percentage until the
next start, and of POST /admin/rollback, which sets 0. With FALLBACK_TO_V1=true it answers itself what the other version
does not: where it did not get the request, or, for what only reads, where it failed.

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
import hmac
import json
import os
import random
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, cast

import aiohttp
import asyncpg
import matching
import redis.asyncio
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SLOW_SECONDS = 3.0
CHECK_TIMEOUT = 2.0
"""Seconds a store has to answer a readiness check: one that is slow on a busy machine is no reason to be taken out."""
QUERY_TIMEOUT = 10.0
"""Seconds a query may take."""
POOLED_CHECK_TIMEOUT, POOLED_QUERY_TIMEOUT = 4.0, 30.0
"""The same behind a pooler: it may be paused, and then all queries wait."""
CHECK_VALID = 1.0
"""Seconds a readiness verdict is reused, so that health checks do not hammer the stores."""
ACCEPTED_GRACE = 0.3
"""Seconds for connections accepted just before a stop to send their request."""
STOP_TIMEOUT = 25.0
"""Seconds for requests in flight at a stop; below the unit's TimeoutStopSec."""
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.25, 0.5, 1, 2, 5)

NEWEST = """
SELECT coalesce(json_agg(newest), '[]')
  FROM (SELECT id, name, colour FROM items ORDER BY id DESC LIMIT 10) AS newest
"""

UPSTREAM_TIMEOUT = aiohttp.ClientTimeout(total=10, sock_connect=1)
UPSTREAM_IDLE = 1.0
"""Seconds that an idle connection to the other version is kept: one that gets no more requests can be stopped soon."""

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
    precision: float = 0.97
    satisfaction: float = 0.97
    algorithm_share: float = 0.85
    config_refused: bool = False
    least_match: float = matching.LEAST

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Faults:
        return cls(
            errors=float(environment.get("ERROR_RATIO", 0)),
            latency_ms=float(environment.get("LATENCY_MS", 0)),
            ready=environment.get("NEVER_READY", "") != "1",
            live=environment.get("NOT_LIVE", "") != "1",
            least_match=float(environment.get("LEAST_MATCH", matching.LEAST)),
        )

    def changed(self, wish: Mapping[str, object]) -> Faults:
        """These faults with some replaced; ValueError on an unknown name or an unfit value."""
        for name, value in wish.items():
            current = getattr(self, name, None)
            if current is None:
                raise ValueError(f"unknown fault {name!r}; known: {', '.join(vars(self))}")
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
    pooled: bool
    start_delay: float
    faults: Faults
    upstream: str = ""
    percentage: int = 0
    fallback: bool = False
    admin_token: str = ""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Settings:
        return cls(
            colour=environment["COLOUR"],
            version=environment["VERSION"],
            port=int(environment["PORT"]),
            dsn=environment["DSN"],
            redis_url=environment["REDIS_URL"],
            redis_prefix=environment.get("REDIS_PREFIX", ""),
            pooled=environment.get("POOLED", "") == "1",
            start_delay=float(environment.get("START_DELAY", 0)),
            faults=Faults.from_environment(environment),
            upstream=environment.get("UPSTREAM", ""),
            percentage=int(environment.get("V2_TRAFFIC_PERCENTAGE", 0)),
            fallback=environment.get("FALLBACK_TO_V1", "") == "true",
            admin_token=environment.get("ADMIN_TOKEN", ""),
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
        self._pooled = settings.pooled
        self._key = f"{settings.redis_prefix}additions"
        self._redis = redis.asyncio.from_url(settings.redis_url, socket_connect_timeout=5, socket_timeout=5)
        self._opened: asyncpg.Pool | None = None
        self._opening = asyncio.Lock()

    async def _pool(self) -> asyncpg.Pool:
        async with self._opening:
            if self._opened is None:
                self._opened = await asyncpg.create_pool(
                    self._dsn,
                    min_size=0,
                    max_size=8,
                    timeout=5,
                    command_timeout=POOLED_QUERY_TIMEOUT if self._pooled else QUERY_TIMEOUT,
                    statement_cache_size=0 if self._pooled else 100,
                )
        return self._opened

    async def _value(self, query: str, *arguments: object) -> Any:
        async with (await self._pool()).acquire() as connection:
            if not self._pooled:
                return await connection.fetchval(query, *arguments)
            # A query is prepared and then run: a pooler keeps it with one server only for a transaction.
            async with connection.transaction():
                return await connection.fetchval(query, *arguments)

    async def check(self) -> None:
        await asyncio.gather(self._value("SELECT 1"), self._redis.ping())

    async def items(self) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = json.loads(await self._value(NEWEST))
        return items

    async def add(self, name: str, colour: str) -> int:
        number: int = await self._value("INSERT INTO items (name, colour) VALUES ($1, $2) RETURNING id", name, colour)
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
        self.precision = Gauge("matching_precision", "Of the matches made", registry=registry)
        self.satisfaction = Gauge("user_satisfaction", "Of those who were asked", registry=registry)
        self.matches = Counter("matching_requests_total", "API requests by algorithm", ["algorithm"], registry=registry)
        # What the other version answers is counted there, and here only that it was sent on.
        self.forwarded = Counter("front_forwarded_total", "Requests sent on to the other version", registry=registry)
        self.fallbacks = Counter("front_fallbacks_total", "Of those, answered here after all", registry=registry)
        Gauge("service_info", "Always 1", ["colour", "version"], registry=registry).labels(
            settings.colour, settings.version
        ).set(1)


class Front:
    """Sends a percentage of the requests on to the other version, over connections that are kept."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self.percentage = settings.percentage
        self.draw: Callable[[], float] = random.random
        self._settings = settings
        self._metrics = metrics

    async def context(self, _application: web.Application) -> AsyncIterator[None]:
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=UPSTREAM_IDLE)
        async with aiohttp.ClientSession(connector=connector, timeout=UPSTREAM_TIMEOUT) as self._session:
            yield

    async def forward(self, request: web.Request) -> web.Response | None:
        """The other version's answer, or None where this one is to answer."""
        if self.draw() * 100 >= self.percentage:
            return None
        self._metrics.forwarded.inc()
        try:
            answer = await self._send(request)
        except (aiohttp.ClientError, TimeoutError) as error:
            unsent = isinstance(error, aiohttp.ClientConnectorError)
            answer = web.json_response({"error": f"upstream: {type(error).__name__}"}, status=502)
        else:
            unsent = False
        # What may have been done once is not done again.
        if answer.status >= 500 and self._settings.fallback and (unsent or request.method in ("GET", "HEAD")):
            self._metrics.fallbacks.inc()
            return None
        return answer

    async def _send(self, request: web.Request) -> web.Response:
        headers = {"Content-Type": request.headers["Content-Type"]} if "Content-Type" in request.headers else {}
        url = self._settings.upstream + request.path_qs
        async with self._session.request(
            request.method, url, data=await request.read() or None, headers=headers, allow_redirects=False
        ) as answer:
            kept = {name: answer.headers[name] for name in ("Content-Type", "X-Colour") if name in answer.headers}
            return web.Response(body=await answer.read(), status=answer.status, headers=kept)

    def is_permitted(self, request: web.Request) -> bool:
        given = request.headers.get("Authorization", "")
        return hmac.compare_digest(given.encode(), f"Bearer {self._settings.admin_token}".encode())

    def set(self, wish: object) -> None:
        """Take ``{"v2_traffic_percentage": n}``; ValueError on anything else."""
        number = wish.get("v2_traffic_percentage") if isinstance(wish, dict) and len(wish) == 1 else None
        if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number <= 100:
            raise ValueError("v2_traffic_percentage: a whole number from 0 to 100")
        self.percentage = number


@dataclass
class Service:
    settings: Settings
    store: Store
    draining: bool = False
    faults: Faults = field(init=False)
    metrics: Metrics = field(init=False)
    front: Front | None = field(init=False)
    _verdict: tuple[float, str] = (0.0, "")
    _checking: asyncio.Lock = field(default_factory=asyncio.Lock)

    def __post_init__(self) -> None:
        self.faults = self.settings.faults
        self.metrics = Metrics(self.settings)
        self.metrics.precision.set_function(lambda: self.faults.precision)
        self.metrics.satisfaction.set_function(lambda: self.faults.satisfaction)
        self.front = Front(self.settings, self.metrics) if self.settings.upstream else None

    def application(self) -> web.Application:
        application = web.Application(middlewares=[self._observe])
        application.router.add_get("/health/live", self._live)
        application.router.add_get("/health/ready", self._ready)
        application.router.add_get("/api/v1/health", self._health)
        application.router.add_get("/api/v1/ping", self._ping)
        application.router.add_get("/api/v1/items", self._items)
        application.router.add_post("/api/v1/items", self._add_item)
        application.router.add_post("/api/v1/matches", self._match)
        application.router.add_get("/slow", self._slow)
        application.router.add_get("/metrics", self._metrics)
        application.router.add_get("/admin/misbehave", self._faults)
        application.router.add_post("/admin/misbehave", self._misbehave)
        if self.front is not None:
            application.cleanup_ctx.append(self.front.context)
            application.router.add_get("/admin/config", self._config)
            application.router.add_post("/admin/config", self._configure)
            application.router.add_post("/admin/rollback", self._emergency)
        return application

    @web.middleware  # type: ignore[untyped-decorator]
    async def _observe(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        # The route's own path, not the request's: the number of series stays bounded.
        resource = request.match_info.route.resource
        path = resource.canonical if resource is not None else "unknown"
        api = path.startswith("/api/") or path == "/slow"
        start = time.perf_counter()
        # Who asks how many requests are in flight does not count: the answer could never be none.
        counted = int(path != "/metrics")
        self.metrics.in_flight.inc(counted)
        try:
            forwarded = await self.front.forward(request) if self.front is not None and api else None
            response = forwarded if forwarded is not None else await self._answer(request, handler, api)
        finally:
            self.metrics.in_flight.dec(counted)
        response.headers.setdefault("X-Colour", self.settings.colour)
        if self.draining:
            response.force_close()
        if forwarded is not None:
            return response
        self.metrics.requests.labels(request.method, path, response.status).inc()
        self.metrics.seconds.labels(path).observe(time.perf_counter() - start)
        if response.status >= 500:
            self.metrics.errors.inc()
        return response

    async def _answer(self, request: web.Request, handler: Handler, api: bool) -> web.StreamResponse:
        try:
            if api:
                better = random.random() < self.faults.algorithm_share  # noqa: S311 - no secret
                self.metrics.matches.labels("advanced" if better else "basic").inc()
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
                    pooled = self.settings.pooled
                    await asyncio.wait_for(self.store.check(), POOLED_CHECK_TIMEOUT if pooled else CHECK_TIMEOUT)
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

    async def _match(self, request: web.Request) -> web.Response:
        try:
            return self._json(matching.decide(await request.json(), self.faults.least_match))
        except (ValueError, TypeError) as error:
            return self._json({"error": str(error)}, 422)

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

    async def _config(self, request: web.Request) -> web.Response:
        return self._told(request)

    async def _configure(self, request: web.Request) -> web.Response:
        if self.faults.config_refused:
            return self._json({"error": "told to refuse"}, 503)
        try:
            wish = await request.json()
        except ValueError:
            wish = None
        return self._told(request, wish)

    async def _emergency(self, request: web.Request) -> web.Response:
        return self._told(request, {"v2_traffic_percentage": 0})

    def _told(self, request: web.Request, *wishes: object) -> web.Response:
        """What the percentage is once ``wishes`` are granted; only who has the token may change or know it."""
        front = cast(Front, self.front)  # without one there is no route to here
        if not front.is_permitted(request):
            return self._json({"error": "a bearer token is needed"}, 401)
        try:
            for wish in wishes:
                front.set(wish)
        except ValueError as error:
            return self._json({"error": str(error)}, 422)
        return self._json({"v2_traffic_percentage": front.percentage})


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
