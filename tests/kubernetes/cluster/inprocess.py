# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The API server without a network, for unit tests: what urllib3's pool is to the code under test."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from .api import ADMIN, Api, Request
from .client import MERGE


class Answer:
    """As of urllib3, as far as it is used."""

    def __init__(self, status: int, body: bytes = b"", events: Iterator[Any] | None = None, **headers: str) -> None:
        self.status = status
        self.headers: Mapping[str, str] = {name.replace("_", "-"): value for name, value in headers.items()}
        self._body = body
        self._events = events
        self._ended = False
        self.closed = False

    def read(self) -> bytes:
        return self._body

    def stream(self, _amount: int) -> Iterator[bytes]:
        for event in self._events or ():
            if self._ended:
                return
            if event is not None:
                yield json.dumps(event).encode() + b"\n"

    def release_conn(self) -> None: ...

    def close(self) -> None:
        self.closed = True

    def shutdown(self) -> None:
        if self.closed:
            raise ValueError("Cannot shutdown socket as self._sock_shutdown is not set")
        self._ended = True


Fault = Callable[[str, str], "Answer | Exception | None"]


class Pool:
    """``fault`` is asked before each request, by method and path: an answer in the place of the server's, an error that
    is raised, or None. ``sent`` are the requests, without watches.
    """

    def __init__(self, api: Api) -> None:
        self.api = api
        self.fault: Fault = lambda _method, _path: None
        self.sent: list[tuple[str, str]] = []

    def request(self, method: str, url: str, **options: Any) -> Answer:
        parts = urlsplit(url)
        if "watch=" not in parts.query:
            self.sent.append((method, parts.path))
        found = self.fault(method, parts.path + ("?" + parts.query if parts.query else ""))
        if isinstance(found, Exception):
            raise found
        if found is not None:
            return found
        body = options.get("body")
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        data = body.encode() if isinstance(body, str) else body or b""
        answer = self.api.answer(Request(method, parts.path, query, options["headers"], data))
        return Answer(answer.status, json.dumps(answer.body).encode(), answer.events)

    def connection(self) -> tuple[str, Pool, dict[str, str]]:
        return "https://cluster", self, {"authorization": f"Bearer {ADMIN}"}


class Setter:
    """Puts objects into an API as their controllers would."""

    def __init__(self, api: Api) -> None:
        self.api = api

    def ask(self, method: str, path: str, body: Any = None, media: str = "application/json") -> dict[str, Any]:
        headers = {"authorization": f"Bearer {ADMIN}", "content-type": media}
        answer = self.api.answer(Request(method, path, {}, headers, b"" if body is None else json.dumps(body).encode()))
        assert answer.status < 400, answer.body
        return dict(answer.body)

    def make(self, collection: str, document: dict[str, Any], status: dict[str, Any] | None = None) -> dict[str, Any]:
        """An object, with its status."""
        made = self.ask("POST", collection, document)
        if status is None:
            return made
        return self.ask("PATCH", f"{collection}/{made['metadata']['name']}/status", {"status": status}, MERGE)

    def furnish(self) -> None:
        """In the namespace ``shop`` a Service ``web``, and two ready pods of each colour, blue's as endpoints."""
        ready = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
        counts = dict.fromkeys(("replicas", "updatedReplicas", "readyReplicas", "availableReplicas"), 2)
        for colour in ("blue", "green"):
            labels = {"app": "web", "version": colour}
            template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "a", "image": "a:1"}]}}
            spec = {"replicas": 2, "selector": {"matchLabels": labels}, "template": template}
            done = {**counts, "observedGeneration": 1}
            self.make("/apis/apps/v1/namespaces/shop/deployments", {"metadata": {"name": colour}, "spec": spec}, done)
            for number in range(2):
                pod = {"metadata": {"name": f"{colour}-{number}", "labels": labels}, "spec": template["spec"]}
                self.make("/api/v1/namespaces/shop/pods", pod, ready)
        selector = {"app": "web", "version": "blue"}
        service = {"metadata": {"name": "web"}, "spec": {"selector": selector, "ports": [{"port": 80}]}}
        self.make("/api/v1/namespaces/shop/services", service)
        labels = {"kubernetes.io/service-name": "web"}
        slices = {"metadata": {"name": "web-1", "labels": labels}, "addressType": "IPv4", "endpoints": []}
        self.make("/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices", slices)
        self.serve("blue")

    def serve(self, colour: str | None) -> list[str]:
        """Make the endpoints those of ``colour``, or of both, as a controller would; the colour of each."""
        pods = self.ask("GET", "/api/v1/namespaces/shop/pods")["items"]
        chosen = [pod for pod in pods if colour in (None, pod["metadata"]["labels"]["version"])]
        endpoints = [
            {
                "addresses": [f"10.0.0.{number + 1}"],
                "conditions": {"ready": True},
                "targetRef": {"kind": "Pod", "name": pod["metadata"]["name"], "uid": pod["metadata"]["uid"]},
            }
            for number, pod in enumerate(chosen)
        ]
        path = "/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices/web-1"
        self.ask("PATCH", path, {"endpoints": endpoints}, MERGE)
        return [pod["metadata"]["labels"]["version"] for pod in chosen]
