# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A collection of Qdrant, by its REST API: its own snapshot, recovered into a new collection, to which an alias moves.

Aliases are not in a collection's snapshot, and a recovery that fails can leave a collection that keeps the server from
starting: so nothing is ever recovered into one that is there.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote

from ansible_collections.bluegreen.cutover.plugins.module_utils._core import keyspace
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import SnapshotError, StoppedError
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.probes import Answer, Target, api_address
from ansible_collections.bluegreen.cutover.plugins.module_utils._http import PIECE_BYTES, Body, transfer
from ansible_collections.bluegreen.cutover.plugins.module_utils._secrets import read_secret
from ansible_collections.bluegreen.cutover.plugins.module_utils._snapshots import (
    Content,
    Left,
    Notes,
    Progress,
    Taken,
    Written,
)
from ansible_collections.bluegreen.cutover.plugins.module_utils._snapshots._shared import (
    check_not_older,
    new_file,
    old_file,
)

OPTIONS: dict[str, Any] = {
    "url": {"type": "str", "default": "http://127.0.0.1:6333"},
    "collection": {"type": "str", "required": True},
    "api_key_file": {"type": "path"},
    "ca_path": {"type": "path"},
}

SNAPSHOT = "collection.snapshot"
POINTS = "points"
"""What a collection's points are called among its contents."""
SCRATCH = "bluegreen-scratch"
"""Follows a collection's name in that of one in which its snapshot is proven."""
RESTORED = "restored"
"""Follows a collection's name in that of what was restored from its snapshot."""

_QUICK = 30.0
_LONG = 3600.0
"""Seconds that the server may be silent while it makes or recovers a snapshot."""
_NEAR = 300.0
"""Seconds between the clocks of this host and of the server, at most."""
_TICK = 5.0
_PAGE = 100
"""Points that are read at once: of 1,536 numbers each, 2 MB."""
_PAGE_BYTES = 64 << 20


class Qdrant:
    """See ``Engine``. ``collection`` is a collection's name or, so that it can be restored, that of an alias."""

    name = "qdrant"
    apart = True

    def __init__(self, options: Mapping[str, Any], progress: Progress) -> None:
        self._url = api_address(options["url"], "qdrant.url", OPTIONS["url"]["default"], "api_key_file")
        self._collection = options["collection"]
        self._key_file = options.get("api_key_file")
        self._ca_path = options.get("ca_path")
        self._progress = progress
        self._told_at = time.monotonic()
        self._notes: Notes

    def remove_left(self, notes: Notes) -> list[str]:
        self._notes = notes
        return notes.settle(self._url, self._remove_noted)

    def _remove_noted(self, noted: Mapping[str, Any]) -> str:
        """Remove a scratch collection, or a snapshot that is known to be ours; what a person has to know of others."""
        if "scratch" in noted:
            self._remove(noted["scratch"])
            return ""
        collection = noted["collection"]
        if collection not in self._collections():
            return ""
        new = sorted(self._snapshots(collection) - {*noted["before"]})
        if "name" in noted:
            if noted["name"] in new:
                self._delete(_snapshot_path(collection, noted["name"]))
            return ""
        # The run died before it was told the name, in which there is nothing of whoever asked for it.
        place = f"{self._url}{_path(collection)}/snapshots"
        if possible := _begun_about(noted["began"], collection, new):
            whose = f"Qdrant does not say whose these are: {', '.join(possible)}"
            return f"{whose}. Delete what nobody needs: DELETE {place}/<name>"
        coming = time.time() < noted["until"]
        return f"It is not there yet; see later what GET {place} shows" if coming else ""

    def check(self) -> None:
        self._behind()
        self._check_peers()

    def _check_peers(self) -> None:
        cluster = self._get("/cluster")
        if len(cluster.get("peers") or {}) > 1:
            raise SnapshotError(
                f"{self._where} is one of {len(cluster['peers'])} peers, and a snapshot holds the shards of one. Only "
                "a server by itself is supported"
            )

    def take(self, folder: Path) -> Taken:
        began = time.time()
        behind = self._behind()
        with self._made(behind, began) as made:
            self._download(_snapshot_path(behind, made["name"]), folder / SNAPSHOT, made)
        content, parts = self._read(behind)
        return Taken(
            source={"url": self._url, "collection": self._collection, "behind": behind},
            versions={"qdrant": self._version()},
            consistent_at=began,
            point_in_time=False,
            contents={POINTS: content},
            mark={"parts": parts, "aliases": sorted(name for name, of in self._aliases().items() if of == behind)},
        )

    @contextlib.contextmanager
    def _made(self, behind: str, began: float) -> Iterator[Mapping[str, Any]]:
        """A snapshot that the server makes, on whose disk it would stay for ever."""
        what = f"a snapshot of the collection {behind}"
        noted: dict[str, Any] = {"collection": behind, "before": sorted(self._snapshots(behind))}
        # Without us the server goes on, and tells nobody what it has made.
        making = self._notes.add(self._url, what, until=began + _LONG, began=began, **noted)
        try:
            made = self._ask("POST", f"{_path(behind)}/snapshots?wait=true", "making its snapshot")
        except StoppedError as error:
            error.left.append(f"the server goes on making {what}, which stays on its disk: the next run tells its name")
            raise
        except SnapshotError as error:
            # Refused, and not given up by something in front of Qdrant.
            if error.evidence.get("status") in _ADVICE:
                making.unlink()
            raise
        noted["name"] = made["name"]
        try:
            note = self._notes.add(self._url, what, **noted)
            making.unlink()
            yield made
        except BaseException:
            with contextlib.suppress(SnapshotError):
                self._remove_noted(noted)
            raise
        self._remove_noted(noted)
        note.unlink()

    @contextlib.contextmanager
    def scratch(self, folder: Path, taken: Taken) -> Iterator[Mapping[str, Content]]:
        place = f"{taken.source['behind']}-{SCRATCH}-{secrets.token_hex(4)}"
        # Without us the server may go on recovering it, too.
        note = self._notes.add(self._url, f"the collection {place}", until=time.time() + _LONG, scratch=place)
        try:
            self._upload(place, folder / SNAPSHOT)
            yield {POINTS: self._read(place)[0]}
        finally:
            self._remove(place)
        note.unlink()

    def check_source(self, taken: Taken) -> None:
        if (taken.source["url"], taken.source["collection"]) != (self._url, self._collection):
            raise SnapshotError(
                f"the snapshot is of {taken.source['collection']!r} at {taken.source['url']}, and not of "
                f"{self._where}. Nothing was changed"
            )

    def check_restore(self, _folder: Path, taken: Taken) -> None:
        self._used_to_restore(taken)

    def _used_to_restore(self, taken: Taken) -> str:
        """The collection that the alias names now. Raises what would keep a restore from succeeding."""
        self.check_source(taken)
        aliases = self._aliases()
        if self._collection not in aliases:
            raise SnapshotError(
                f"{self._where} is a collection and not an alias: nothing can take its place at once. Let applications "
                f"use an alias, and name that in qdrant.collection. By hand: recover {SNAPSHOT} of the artifact into a "
                "new collection. Nothing was changed"
            )
        check_not_older(f"Qdrant at {self._url}", self._version(), taken.versions["qdrant"])
        self._check_peers()
        # No change of aliases: it is refused to whoever may not manage collections.
        self._change_aliases()
        return aliases[self._collection]

    def restore(self, folder: Path, taken: Taken) -> Left:
        used = self._used_to_restore(taken)
        base = taken.source["behind"].partition(f"-{RESTORED}-")[0]
        begin = f"{base}-{RESTORED}-"
        place = f"{begin}{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{secrets.token_hex(2)}"
        idle = sorted({one for one in self._collections() if one.startswith(begin)} - {*self._aliases().values()})
        try:
            self._upload(place, folder / SNAPSHOT)
            self._compare(self._read(place)[0], taken.contents[POINTS])
            # One action takes the alias from where it is, and no reader sees it missing.
            self._change_aliases({"create_alias": {"collection_name": place, "alias_name": self._collection}})
        except BaseException:
            with contextlib.suppress(SnapshotError):
                if self._aliases().get(self._collection) != place:
                    self._remove(place)
            raise
        kept = [f"what {self._where} was until now is the collection {used}. Delete it when nobody needs it"]
        # Of a restore that was killed, or what was there before one: nobody but a person can tell.
        kept += [
            f"no alias names the collection {one}, of an earlier restore. Delete it when nobody needs it"
            for one in idle
        ]
        return Left(kept)

    def contents(self) -> Mapping[str, Content]:
        return {POINTS: self._read(self._behind())[0]}

    def also_differs(self, _taken: Taken) -> list[str]:
        return []

    def written_since(self, taken: Taken) -> list[Written]:
        count = keyspace.differing(taken.mark["parts"], self._read(self._behind())[1])
        return [Written(POINTS, "at least, added, changed or removed", count)] if count else []

    def _compare(self, found: Content, expected: Content) -> None:
        if found != expected:
            raise SnapshotError(
                f"{self._where} was recovered as {found.count:,} points, and the snapshot has {expected.count:,}, or "
                "others. Applications still use what they used"
            )

    @property
    def _where(self) -> str:
        return f"{self._collection!r} of Qdrant at {self._url}"

    def _behind(self) -> str:
        """The collection that is meant. Raises where there is none that can be read."""
        name = self._aliases().get(self._collection, self._collection)
        state = self._get(_path(name))
        if state.get("status") == "red":
            raise SnapshotError(f"the collection {name!r} at {self._url} is damaged (status red). See the server's log")
        return str(name)

    def _aliases(self) -> dict[str, str]:
        return {one["alias_name"]: one["collection_name"] for one in self._get("/aliases")["aliases"]}

    def _collections(self) -> list[str]:
        return [str(one["name"]) for one in self._get("/collections")["collections"]]

    def _snapshots(self, collection: str) -> set[str]:
        return {str(one["name"]) for one in self._get(f"{_path(collection)}/snapshots")}

    def _version(self) -> str:
        return str(self._get("/", envelope=False)["version"])

    def _change_aliases(self, *actions: Mapping[str, Any]) -> None:
        """All of them at once."""
        self._ask("POST", "/collections/aliases", "moving the alias", {"actions": actions})

    def _read(self, collection: str) -> tuple[Content, str]:
        """All points, with payloads and vectors: their number and digest, and their parts."""
        count, total, parts = 0, 0, keyspace.Parts()
        asked: dict[str, Any] = {"limit": _PAGE, "with_payload": True, "with_vector": True}
        while True:
            page = self._ask("POST", f"{_path(collection)}/points/scroll", "reading its points", asked)
            for point in page["points"]:
                number = int.from_bytes(hashlib.blake2b(_canonical(point), digest_size=16).digest(), "big")
                parts.add(json.dumps(point["id"]).encode(), number)
                total += number
                count += 1
            self._alive(f"{count:,} points read")
            asked["offset"] = page.get("next_page_offset")
            if asked["offset"] is None:
                return Content(count, f"{total % (1 << 128):032x}"), parts.text()

    def _download(self, path: str, file: Path, made: Mapping[str, Any]) -> None:
        digest, size = hashlib.sha256(), 0
        with new_file(file) as out:

            def write(piece: bytes) -> None:
                nonlocal size
                try:
                    out.write(piece)
                except OSError as error:
                    raise SnapshotError(f"{file} cannot be written: {error}") from error
                digest.update(piece)
                size += len(piece)
                self._alive(f"{size >> 20:,} of {made['size'] >> 20:,} MiB of its snapshot")

            self._judge(transfer(self._target("GET", path), _QUICK, write=write), "sending its snapshot")
        if size != made["size"] or made.get("checksum") not in (None, digest.hexdigest()):
            raise SnapshotError(
                f"the snapshot of {self._where} came as {size:,} bytes with SHA-256 {digest.hexdigest()}; the server "
                f"had announced {made['size']:,} with {made.get('checksum')}"
            )

    def _upload(self, collection: str, file: Path) -> None:
        """Recover a snapshot into a new collection."""
        mark = secrets.token_hex(16)
        disposition = 'form-data; name="snapshot"; filename="bluegreen.snapshot"'
        head = f"--{mark}\r\nContent-Disposition: {disposition}\r\n\r\n".encode()
        tail = f"\r\n--{mark}--\r\n".encode()
        with old_file(file) as stream:
            digest = hashlib.sha256()
            for piece in _pieces(stream):
                digest.update(piece)
            size = stream.tell()
            stream.seek(0)

            def body() -> Iterator[bytes]:
                yield head
                yield from _pieces(stream)
                yield tail

            path = f"{_path(collection)}/snapshots/upload?wait=true&priority=snapshot&checksum={digest.hexdigest()}"
            target = self._target("POST", path, {"Content-Type": f"multipart/form-data; boundary={mark}"})
            doing = f"recovering {size >> 20:,} MiB into {collection}"
            sent = Body(len(head) + size + len(tail), body())
            self._judge(self._patiently(lambda: transfer(target, _LONG, sent), doing), doing)
        self._remove_snapshots(collection)

    def _remove(self, collection: str) -> None:
        """Leave nothing of a collection of our own."""
        if collection in self._aliases().values():
            raise SnapshotError(f"an alias of Qdrant at {self._url} names {collection!r}, which must be nobody's")
        if collection in self._collections():
            self._remove_snapshots(collection)
            self._delete(_path(collection))

    def _remove_snapshots(self, collection: str) -> None:
        """What was uploaded stays on the server's disk otherwise."""
        for name in self._snapshots(collection):
            self._delete(_snapshot_path(collection, name))

    def _get(self, path: str, envelope: bool = True) -> Any:
        return self._ask("GET", path, "looking at it", envelope=envelope)

    def _delete(self, path: str) -> None:
        self._ask("DELETE", path, "deleting what is not needed any more")

    def _ask(self, method: str, path: str, doing: str, document: Any = None, envelope: bool = True) -> Any:
        """The ``result`` of an answer, or without an envelope all of it."""
        raw = b"" if document is None else json.dumps(document).encode()
        target = self._target(method, path, {"Content-Type": "application/json"} if raw else {})
        said = bytearray()

        def write(piece: bytes) -> None:
            said.extend(piece)
            if len(said) > _PAGE_BYTES:
                raise SnapshotError(f"{self._where} answers with more than {_PAGE_BYTES >> 20} MiB, while {doing}")

        silence = _QUICK if method == "GET" else _LONG
        body = Body(len(raw), (raw,)) if raw else None
        self._judge(self._patiently(lambda: transfer(target, silence, body, write), doing), doing)
        try:
            answer = json.loads(bytes(said))
            return answer["result"] if envelope else answer
        except (ValueError, KeyError, TypeError) as error:
            raise SnapshotError(
                f"{self._url} does not answer like Qdrant, while {doing}: {bytes(said[:80])!r}"
            ) from error

    def _target(self, method: str, path: str, headers: Mapping[str, str] | None = None) -> Target:
        key = self._key()
        return Target(
            url=self._url + path,
            method=method,
            headers={**(headers or {}), **({"api-key": key} if key else {})},
            ca_path=self._ca_path,
        )

    def _key(self) -> str | None:
        key = read_secret(self._key_file, "API key of Qdrant", SnapshotError)
        return key or os.environ.get("QDRANT_API_KEY")

    def _judge(self, answer: Answer, doing: str) -> None:
        """Raise what is wrong with an answer."""
        if answer.status is None or (answer.status == 200 and answer.error):
            raise SnapshotError(
                f"{self._where} cannot be talked to, while {doing}: {answer.error}. See whether it runs"
            )
        if answer.status != 200:
            advice = _ADVICE.get(answer.status, "See the server's log")
            raise SnapshotError(
                f"{self._where} answered {answer.status}, while {doing}: {_error(answer.body)}. {advice}",
                {"status": answer.status},
            )

    def _patiently(self, call: Callable[[], Answer], doing: str) -> Answer:
        """Call it and show signs of life meanwhile; whoever is interrupted does not wait for it."""
        outcome: list[Answer | Exception] = []

        def run() -> None:
            try:
                outcome.append(call())
            except Exception as error:  # noqa: BLE001 - it is raised where it is waited for
                outcome.append(error)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        thread.join(_TICK)
        while thread.is_alive():
            self._alive(doing)
            thread.join(_TICK)
        [result] = outcome
        if isinstance(result, Exception):
            raise result
        return result

    def _alive(self, what: str) -> None:
        if time.monotonic() - self._told_at >= _TICK:
            self._told_at = time.monotonic()
            self._progress(f"{self._where}: {what}")


_ADVICE = {
    401: "Give qdrant.api_key_file",
    403: "Give a key that may manage collections (qdrant.api_key_file)",
    404: "See qdrant.collection",
    507: "Make room on the server's disk",
}


def _path(collection: str) -> str:
    return f"/collections/{quote(collection, safe='')}"


def _snapshot_path(collection: str, name: str) -> str:
    return f"{_path(collection)}/snapshots/{quote(name, safe='')}"


def _begun_about(moment: float, collection: str, names: Iterable[str]) -> list[str]:
    """Those of a collection's snapshots whose names say that the server began with them about that ``moment``."""
    first, last = (time.strftime("%Y-%m-%d-%H-%M-%S", time.gmtime(moment + far)) for far in (-_NEAR, _NEAR))
    named = re.compile(re.escape(collection) + r"-\d+-(\d{4}(?:-\d\d){5})\.snapshot")
    found = {name: named.fullmatch(name) for name in names}
    return [name for name, match in found.items() if match and first <= match[1] <= last]


def _error(body: bytes) -> str:
    """What an answer says went wrong."""
    try:
        return str(json.loads(body)["status"]["error"])
    except (ValueError, KeyError, TypeError):
        return repr(body[:200])


def _canonical(point: Mapping[str, Any]) -> bytes:
    """A point as its digest has it: its id, its payload and its vectors, of which a sparse one has no order."""
    vectors = point.get("vector")
    if isinstance(vectors, dict):
        vectors = {name: _sorted(vector) for name, vector in vectors.items()}
    kept = {"id": point["id"], "payload": point.get("payload"), "vector": vectors}
    return json.dumps(kept, sort_keys=True, separators=(",", ":")).encode()


def _sorted(vector: Any) -> Any:
    return sorted(zip(vector["indices"], vector["values"])) if isinstance(vector, dict) else vector


def _pieces(stream: IO[bytes]) -> Iterator[bytes]:
    while piece := stream.read(PIECE_BYTES):
        yield piece
