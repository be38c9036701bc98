# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# ruff: noqa: PT009 - run by unittest, on hosts that have no pytest
"""The service's own suite: `python3 -m unittest` in its directory; needs no store and no network."""

from __future__ import annotations

import itertools
from typing import Any

from aiohttp import web
from aiohttp.test_utils import AioHTTPTestCase, TestServer
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

    async def test_matches(self) -> None:
        asked = {"required": ["python", "sql"], "skills": ["python"]}
        for least, decision in ((None, "review"), (0.5, "match")):
            if least:
                await self.json("POST", "/admin/misbehave", json={"least_match": least})
            expected = {"colour": "green", "decision": decision, "score": 0.5}
            self.assertEqual(await self.json("POST", "/api/v1/matches", json=asked), (200, expected))
        bad: Any
        for bad in ({}, [], {"required": 7}, {"required": ["x"], "skills": ["x"], "years": "two"}):
            self.assertEqual((await self.json("POST", "/api/v1/matches", json=bad))[0], 422, bad)

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


class FrontTest(AioHTTPTestCase):  # type: ignore[misc]
    """The old version as the front of the new one."""

    token = {"Authorization": "Bearer secret"}  # noqa: RUF012 - nobody changes it

    async def get_application(self) -> web.Application:
        self.behind = Service(Settings.from_environment(ENVIRONMENT), MemoryStore())
        self.upstream = TestServer(self.behind.application())
        await self.upstream.start_server()
        front = {"COLOUR": "blue", "UPSTREAM": str(self.upstream.make_url("")), "ADMIN_TOKEN": "secret"}
        settings = Settings.from_environment({**ENVIRONMENT, **front, "FALLBACK_TO_V1": "true"})
        self.service = Service(settings, MemoryStore())
        # Every hundredth, in turn.
        self.service.front.draw = (number % 100 / 100 for number in itertools.count()).__next__  # type: ignore[union-attr]
        return self.service.application()

    async def asyncTearDown(self) -> None:
        await super().asyncTearDown()
        await self.upstream.close()

    async def set(self, percentage: object, path: str = "/admin/config") -> tuple[int, Any]:
        body = {"v2_traffic_percentage": percentage}
        async with self.client.post(path, json=body, headers=self.token) as answer:
            return answer.status, (await answer.json()).get("v2_traffic_percentage")

    async def colours(self, count: int = 100) -> int:
        """How many of so many requests green answers."""
        green = 0
        for _number in range(count):
            async with self.client.get("/api/v1/ping") as answer:
                self.assertEqual((answer.status, (await answer.json())["pong"]), (200, True))
                green += answer.headers["X-Colour"] == "green"
        return green

    async def metric(self, name: str) -> float:
        async with self.client.get("/metrics") as answer:
            lines = (await answer.text()).splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith(name))

    async def test_a_percentage_is_sent_on_and_counted_once(self) -> None:
        self.assertEqual(await self.colours(), 0)
        self.assertEqual(await self.set(25), (200, 25))
        self.assertEqual(await self.colours(), 25)
        self.assertEqual(await self.metric("front_forwarded_total"), 25)
        self.assertEqual(await self.metric('http_requests_total{method="GET",path="/api/v1/ping"'), 175)
        self.assertEqual(await self.metric("matching_requests_total"), 175)
        self.assertEqual(await self.set(None, "/admin/rollback"), (200, 0))
        self.assertEqual(await self.colours(), 0)

    async def test_a_write_is_sent_on_whole(self) -> None:
        await self.set(100)
        for expected in ((201, 1), (422, None)):
            name = {"name": "x"} if expected[0] == 201 else {}
            async with self.client.post("/api/v1/items", json=name) as answer:
                self.assertEqual((answer.status, (await answer.json()).get("id")), expected)
                self.assertEqual(answer.headers["X-Colour"], "green")

    async def test_only_with_the_token_and_only_a_percentage(self) -> None:
        for method, path in (("GET", "/admin/config"), ("POST", "/admin/config"), ("POST", "/admin/rollback")):
            for headers in ({}, {"Authorization": "Bearer wrong"}):
                async with self.client.request(method, path, json={}, headers=headers) as answer:
                    self.assertEqual(answer.status, 401)
        for wrong in (None, "5", 5.5, True, -1, 101):
            self.assertEqual(await self.set(wrong), (422, None), wrong)
        async with self.client.get("/admin/config", headers=self.token) as answer:
            self.assertEqual((await answer.json())["v2_traffic_percentage"], 0)
        self.service.faults = Faults(config_refused=True)
        self.assertEqual((await self.set(5))[0], 503)
        self.assertEqual((await self.set(None, "/admin/rollback"))[0], 200)

    async def test_what_the_other_version_fails_at_is_answered_here(self) -> None:
        await self.set(100)
        self.behind.faults = Faults(errors=1)
        self.assertEqual(await self.colours(10), 0)
        # It may have written something before it failed.
        async with self.client.post("/api/v1/items", json={"name": "x"}) as answer:
            self.assertEqual(answer.status, 500)
        self.assertEqual(await self.metric("front_fallbacks_total"), 10)
        await self.upstream.close()
        async with self.client.post("/api/v1/items", json={"name": "x"}) as answer:
            self.assertEqual((answer.status, answer.headers["X-Colour"]), (201, "blue"))

    async def test_who_is_no_front_has_no_such_api(self) -> None:
        url = self.upstream.make_url("/admin/config")
        async with self.client.session.get(url, headers=self.token) as answer:
            self.assertEqual(answer.status, 404)

    async def test_gauges_can_be_told_to_be_bad(self) -> None:
        self.assertEqual(await self.metric("matching_precision"), 0.97)
        async with self.client.post("/admin/misbehave", json={"precision": 0.8, "algorithm_share": 0}) as answer:
            self.assertEqual(answer.status, 200)
        self.assertEqual(await self.metric("matching_precision"), 0.8)
        await self.colours(5)
        self.assertEqual(await self.metric('matching_requests_total{algorithm="basic"}'), 5)
