# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A stand-in for Qdrant: no vector database, but its REST contract of 1.19 as far as snapshots, points and aliases go.

Qdrant is in no package registry that the tests can use. What is known of its answers is from its source: envelopes,
statuses, names and checksums of snapshots, what an upload leaves behind, what a collection's deletion does to aliases.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

PEER = 4711


class RefusedError(Exception):
    def __init__(self, status: int, said: str) -> None:
        super().__init__(said)
        self.status = status


class Qdrant:
    """What the server holds. Faults are switched on by tests."""

    def __init__(self, key: str | None = None) -> None:
        self.key = key
        self.version = "1.19.0"
        self.collections: dict[str, dict[Any, dict[str, Any]]] = {}
        self.snapshots: dict[str, dict[str, bytes]] = {}
        self.aliases: dict[str, str] = {}
        self.peers = 1
        self.clock: Callable[[], float] = time.time
        self.full = False
        self.status = "green"
        self.flip = False
        """One byte of what is downloaded differs."""
        self.cut = False
        """What is downloaded ends early."""
        self.hang_up = ""
        """The connection ends without an answer to requests whose method, path or body has this."""
        self.read_only = False
        """Its key may not manage collections."""
        self.lose = False
        """A recovered collection lacks a point."""
        self.hold = ""
        """A request whose method, path and body this matches is done, and not answered: it ends when it is released."""
        self.held, self.released = threading.Event(), threading.Event()
        self.asked: list[str] = []
        self.lock = threading.Lock()

    def points(self, name: str) -> dict[Any, dict[str, Any]]:
        name = self.aliases.get(name, name)
        if name not in self.collections:
            raise RefusedError(404, f"Not found: Collection `{name}` doesn't exist!")
        return self.collections[name]

    def answer(self, method: str, path: str, query: dict[str, list[str]], body: bytes) -> Any:
        if self.read_only and method != "GET" and not path.endswith("/points/scroll"):
            raise RefusedError(403, "Forbidden: Global manage access is required")
        known = (
            (r"GET /aliases", self._aliases),
            (r"GET /cluster", self._cluster),
            (r"GET /collections", self._list),
            (r"POST /collections/aliases", self._change_aliases),
            (r"GET /collections/([^/]+)", self._describe),
            (r"DELETE /collections/([^/]+)", self._delete),
            (r"POST /collections/([^/]+)/points/scroll", self._scroll),
            (r"POST /collections/([^/]+)/snapshots", self._snapshot),
            (r"GET /collections/([^/]+)/snapshots", self._snapshots),
            (r"GET /collections/([^/]+)/snapshots/([^/]+)", self._download),
            (r"DELETE /collections/([^/]+)/snapshots/([^/]+)", self._delete_snapshot),
            (r"POST /collections/([^/]+)/snapshots/upload", self._upload),
        )
        for pattern, method_of in known:
            found = re.fullmatch(pattern, f"{method} {path}")
            if found and not (method_of == self._snapshot and path.endswith("/upload")):
                return method_of(*map(unquote, found.groups()), query=query, body=body)
        raise RefusedError(404, "Not found")

    def _aliases(self, **_more: Any) -> Any:
        return {"aliases": [{"alias_name": one, "collection_name": of} for one, of in self.aliases.items()]}

    def _cluster(self, **_more: Any) -> Any:
        if self.peers == 1:
            return {"status": "disabled"}
        return {"status": "enabled", "peers": {str(PEER + one): {"uri": "http://x"} for one in range(self.peers)}}

    def _list(self, **_more: Any) -> Any:
        return {"collections": [{"name": name} for name in self.collections]}

    def _change_aliases(self, body: bytes, **_more: Any) -> Any:
        for action in json.loads(body)["actions"]:
            made = action["create_alias"]
            if made["collection_name"] not in self.collections:
                raise RefusedError(404, f"Not found: Collection `{made['collection_name']}` doesn't exist!")
            if made["alias_name"] in self.collections:
                raise RefusedError(409, f"Wrong input: Collection `{made['alias_name']}` already exists!")
            self.aliases[made["alias_name"]] = made["collection_name"]
        return True

    def _describe(self, name: str, **_more: Any) -> Any:
        return {"status": self.status, "points_count": len(self.points(name)), "config": {}}

    def _delete(self, name: str, **_more: Any) -> Any:
        self.aliases = {one: of for one, of in self.aliases.items() if of != name}
        self.snapshots.pop(name, None)
        return self.collections.pop(name, None) is not None

    def _scroll(self, name: str, body: bytes, **_more: Any) -> Any:
        asked = json.loads(body)
        points = sorted(self.points(name).values(), key=lambda point: point["id"])
        points = [point for point in points if asked.get("offset") is None or point["id"] >= asked["offset"]]
        page, rest = points[: asked["limit"]], points[asked["limit"] :]
        return {"points": page, "next_page_offset": rest[0]["id"] if rest else None}

    def _snapshot(self, name: str, **_more: Any) -> Any:
        points = self.points(name)
        if self.full:
            raise RefusedError(
                507, "Insufficient storage: No space left on device: WAL buffer size exceeds available disk space"
            )
        raw = b"tar of " + json.dumps(list(points.values())).encode()
        made = f"{name}-{PEER}-{time.strftime('%Y-%m-%d-%H-%M-%S', time.gmtime(self.clock()))}.snapshot"
        self.snapshots.setdefault(self.aliases.get(name, name), {})[made] = raw
        return self._about(made, raw)

    @staticmethod
    def _about(name: str, raw: bytes) -> dict[str, Any]:
        return {
            "name": name,
            "creation_time": "2026-11-21T19:40:00",
            "size": len(raw),
            "checksum": hashlib.sha256(raw).hexdigest(),
        }

    def _snapshots(self, name: str, **_more: Any) -> Any:
        self.points(name)
        return [self._about(one, raw) for one, raw in self.snapshots.get(name, {}).items()]

    def _download(self, name: str, snapshot: str, **_more: Any) -> bytes:
        raw = self.snapshots.get(name, {}).get(snapshot)
        if raw is None:
            raise RefusedError(404, f"Not found: Snapshot {snapshot} not found")
        return bytes([raw[0] ^ 1]) + raw[1:] if self.flip else raw

    def _delete_snapshot(self, name: str, snapshot: str, **_more: Any) -> Any:
        if self.snapshots.get(name, {}).pop(snapshot, None) is None:
            raise RefusedError(404, f"Not found: Snapshot {snapshot} not found")
        return True

    def _upload(self, name: str, query: dict[str, list[str]], body: bytes) -> Any:
        head, _, rest = body.partition(b"\r\n\r\n")
        if b'name="snapshot"' not in head:
            raise RefusedError(400, "Multipart: field `snapshot` is required")
        raw = rest[: rest.rindex(b"\r\n--")]
        [expected] = query["checksum"]
        if not re.fullmatch("[0-9a-f]{64}", expected):
            raise RefusedError(422, "Validation error in query parameters: checksum")
        actual = hashlib.sha256(raw).hexdigest()
        if actual != expected:
            # As the server has them: the wrong way round.
            raise RefusedError(400, f"Checksum mismatch: expected {actual}, actual {expected}")
        self.snapshots.setdefault(name, {})["bluegreen.snapshot"] = raw
        try:
            points = json.loads(raw.removeprefix(b"tar of "))
        except ValueError as error:
            raise RefusedError(500, "Service internal error: failed to unpack the archive") from error
        self.collections[name] = {point["id"]: point for point in (points[1:] if self.lose else points)}
        return True


def serve(qdrant: Qdrant, port: int = 0) -> ThreadingHTTPServer:
    """Serve it on loopback, in a thread."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _any(self) -> None:
            parts = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            qdrant.asked.append(f"{self.command} {parts.path}")
            asked = f"{qdrant.asked[-1]} {body.decode('latin-1')}"
            if qdrant.hang_up and qdrant.hang_up in asked:
                self.close_connection = True
                return
            try:
                if qdrant.key and self.headers.get("api-key") != qdrant.key:
                    self._say(401, b"Must provide an API key or an Authorization bearer token")
                    return
                if parts.path == "/":
                    about = {"title": "a stand-in for Qdrant, not Qdrant", "version": qdrant.version}
                    self._say(200, json.dumps(about).encode())
                    return
                with qdrant.lock:
                    result = qdrant.answer(self.command, parts.path, parse_qs(parts.query), body)
            except RefusedError as refused:
                said = {"status": {"error": str(refused)}, "time": 0.0}
                self._say(refused.status, json.dumps(said).encode())
                return
            if qdrant.hold and re.search(qdrant.hold, asked):
                # For a client that is killed meanwhile.
                self.close_connection = True
                qdrant.held.set()
                qdrant.released.wait()
                return
            raw = result if isinstance(result, bytes) else None
            self._say(
                200, raw or json.dumps({"result": result, "status": "ok", "time": 0.0}).encode(), qdrant.cut and raw
            )

        def _say(self, status: int, raw: bytes, cut: Any = False) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw[: len(raw) // 2] if cut else raw)
            self.close_connection = True

        do_GET = do_POST = do_PUT = do_DELETE = _any  # noqa: N815 - http.server looks for these names

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - as it is called there
            pass

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    # It looks so often whether it is to end, and whoever ends it waits for that.
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    return server
