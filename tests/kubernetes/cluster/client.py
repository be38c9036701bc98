# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plain requests to an API server for the tests and their controllers: what is under test is not asked about itself."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import urllib3
from kubernetes.client.configuration import Configuration
from kubernetes.client.rest import RESTClientObject
from kubernetes.config.kube_config import load_kube_config

JSON = "application/json"
JSON_PATCH = "application/json-patch+json"
MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
APPLY = "application/apply-patch+yaml"


class RefusedError(Exception):
    """An answer that is a failure; ``status`` is the server's ``Status``."""

    def __init__(self, code: int, status: dict[str, Any]) -> None:
        super().__init__(f"{code}: {status.get('message')}")
        self.code = code
        self.status = status


class Client:
    """One user of one cluster. ``token`` goes in the place of the kubeconfig's own credentials."""

    def __init__(self, kubeconfig: Path, token: str | None = None) -> None:
        configuration = Configuration()
        load_kube_config(str(kubeconfig), client_configuration=configuration, persist_config=False)
        if token is not None:
            configuration.cert_file = configuration.key_file = None
        configuration.retries = False
        self.address = str(configuration.host)
        self._pool: urllib3.PoolManager = RESTClientObject(configuration).pool_manager
        self._headers = {"accept": JSON, "user-agent": "tests/1"}
        for auth in configuration.auth_settings().values():
            self._headers[auth["key"].lower()] = auth["value"]
        if token is not None:
            self._headers["authorization"] = f"Bearer {token}"

    def call(
        self, method: str, path: str, body: Any = None, media: str = JSON, timeout: float = 30, **query: Any
    ) -> dict[str, Any]:
        """The answer's object; RefusedError for any status from 400."""
        answer = self._send(method, path, body, media, urllib3.Timeout(timeout), query)
        text = answer.read()
        answer.release_conn()
        if answer.status >= 400:
            raise RefusedError(answer.status, _status(text))
        document: dict[str, Any] = json.loads(text or b"{}")
        return document

    def watch(self, path: str, timeout: int, **query: Any) -> Iterator[dict[str, Any]]:
        """Events until the server ends the watch after ``timeout`` seconds."""
        query = {**query, "watch": "1", "timeoutSeconds": timeout}
        answer = self._send("GET", path, None, JSON, urllib3.Timeout(connect=5, read=timeout + 10), query)
        try:
            if answer.status >= 400:
                raise RefusedError(answer.status, _status(answer.read()))
            rest = b""
            for part in answer.stream(1 << 16):
                *lines, rest = (rest + part).split(b"\n")
                yield from map(json.loads, lines)
        finally:
            answer.close()

    def _send(
        self, method: str, path: str, body: Any, media: str, timeout: urllib3.Timeout, query: dict[str, Any]
    ) -> urllib3.BaseHTTPResponse:
        return self._pool.request(
            method,
            self.address + path + (f"?{urlencode(query)}" if query else ""),
            body=None if body is None else json.dumps(body),
            headers={**self._headers, **({} if body is None else {"content-type": media})},
            preload_content=False,
            timeout=timeout,
        )

    def raw(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> urllib3.BaseHTTPResponse:
        """What a proxy hands on, as this client's user where ``headers`` name none; ``path`` has its query."""
        return self._pool.request(
            method,
            self.address + path,
            body=body,
            headers={**self._headers, **{name.lower(): value for name, value in headers.items()}},
            preload_content=False,
            timeout=urllib3.Timeout(connect=5, read=120),
        )

    @property
    def token(self) -> str:
        """The bearer token; empty for a user with a certificate."""
        return self._headers.get("authorization", "").removeprefix("Bearer ")

    def gone(self, path: str) -> None:
        """Delete, where it is there."""
        with contextlib.suppress(RefusedError):
            self.call("DELETE", path)


def _status(text: bytes) -> dict[str, Any]:
    """A path that the server does not know is answered in words."""
    try:
        document: dict[str, Any] = json.loads(text)
    except ValueError:
        return {"message": text.decode().strip()}
    return document


def write_kubeconfig(path: Path, address: str, token: str, **cluster: str) -> Path:
    """A kubeconfig of one cluster and one user."""
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "tests", "cluster": {"server": address, **cluster}}],
        "users": [{"name": "tests", "user": {"token": token}}],
        "contexts": [{"name": "tests", "context": {"cluster": "tests", "user": "tests"}}],
        "current-context": "tests",
    }
    path.write_text(json.dumps(document))
    path.chmod(0o600)
    return path
