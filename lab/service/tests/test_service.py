# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# ruff: noqa: PT009 - run by unittest, on hosts that have no pytest
"""The service's own suite: `python3 -m unittest` in its directory; needs no store and no network."""

from __future__ import annotations

from typing import Any

from aiohttp import web
from aiohttp.test_utils import AioHTTPTestCase
from service import Faults, Service, Settings

ENVIRONMENT = {
    "COLOUR": "green",
    "VERSION": "9.9.9",
    "PORT": "1",
    "DSN": "postgresql://nowhere/nothing",
    "REDIS_URL": "redis://nowhere",
}


class MemoryStore:
    def __init__(self) -> None:
        self.names: list[str] = []
        self.colours: set[str] = set()
        self.checks = 0
        self.broken = False

    async def check(self) -> None:
        self.checks += 1
        if self.broken:
            raise ConnectionRefusedError

    async def items(self) -> list[dict[str, Any]]:
        return [{"id": number, "name": name} for number, name in enumerate(self.names, 1)]

    async def add(self, name: str, colour: str) -> int:
        self.names.append(name)
        self.colours.add(colour)
        return len(self.names)

    async def close(self) -> None:
        return


class ServiceTest(AioHTTPTestCase):  # type: ignore[misc]
    async def get_application(self) -> web.Application:
        self.store = MemoryStore()
        self.service = Service(Settings.from_environment(ENVIRONMENT), self.store)
        return self.service.application()

    async def json(self, method: str, path: str, **options: Any) -> tuple[int, dict[str, Any]]:
        async with self.client.request(method, path, **options) as answer:
            self.assertEqual(answer.headers["X-Colour"], "green")
            return answer.status, await answer.json()

    async def test_health(self) -> None:
        for path in ("/health/live", "/health/ready", "/api/v1/health"):
            self.assertEqual((await self.json("GET", path))[0], 200, path)
        self.assertEqual((await self.json("GET", "/api/v1/health"))[1]["version"], "9.9.9")
        self.assertEqual(self.store.checks, 1, "a verdict is reused")

    async def test_not_ready_without_its_stores(self) -> None:
        self.store.broken = True
        self.assertEqual((await self.json("GET", "/health/ready"))[0], 503)
        self.assertEqual((await self.json("GET", "/health/live"))[0], 200)

    async def test_items(self) -> None:
        self.assertEqual(
            await self.json("POST", "/api/v1/items", json={"name": "x"}), (201, {"colour": "green", "id": 1})
        )
        self.assertEqual((await self.json("GET", "/api/v1/items"))[1]["items"], [{"id": 1, "name": "x"}])
        self.assertEqual(self.store.colours, {"green"})
        bad: Any
        for bad in ({}, {"name": ""}, {"name": 1}, []):
            self.assertEqual((await self.json("POST", "/api/v1/items", json=bad))[0], 422, bad)

    async def test_unknown_path_is_one_series(self) -> None:
        self.assertEqual((await self.json("GET", "/no/such"))[0], 404)
        async with self.client.get("/metrics") as answer:
            text = await answer.text()
        self.assertIn('http_requests_total{method="GET",path="unknown",status="404"} 1.0', text)
        self.assertIn("migration_errors 0.0", text)

    async def test_misbehaves_as_told(self) -> None:
        status, _ = await self.json("POST", "/admin/misbehave", json={"errors": 1, "ready": False, "live": False})
        self.assertEqual(status, 200)
        for path, expected in {"/api/v1/ping": 500, "/health/ready": 503, "/health/live": 503}.items():
            self.assertEqual((await self.json("GET", path))[0], expected, path)
        self.assertEqual((await self.json("POST", "/admin/misbehave", json={"nonsense": 1}))[0], 422)
        self.assertEqual(Faults.from_environment({"NEVER_READY": "1"}), Faults(ready=False))

    async def test_draining_answers_and_closes(self) -> None:
        self.service.draining = True
        async with self.client.get("/api/v1/ping") as answer:
            self.assertEqual((answer.status, answer.headers["Connection"]), (200, "close"))
