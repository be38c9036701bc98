# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A cluster's API: requests with an end, errors that say what to do, and objects followed by watches.

The ``kubernetes`` package reads the kubeconfig and makes the connections; objects are plain JSON, because all that is
done here is to read a few fields and to compare and swap. Adapters use it: like ``_core`` it imports nothing of what is
above them. The package is imported when a cluster is connected to, for hosts do without it.
"""

from __future__ import annotations

import contextlib
import email.utils
import importlib
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol, TypeVar
from urllib.parse import quote, urlencode

from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import ClusterError

JSON = "application/json"
JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
APPLY = "application/apply-patch+yaml"

TIMEOUT = 5.0
"""Seconds for one answer."""

PATIENCE = 15.0
"""Seconds for which a server that cannot answer now is asked again."""

CLUSTER_ARGUMENTS: dict[str, Any] = {
    "kubeconfig": {"type": "path"},
    "context": {"type": "str"},
}
"""Argument spec of every module that talks to a cluster; documented in the fragment ``cluster``."""

_AGENT = "bluegreen.cutover"
PAUSES = (0.05, 0.1, 0.2, 0.4, 0.8)
"""Seconds between two tries, growing to the last."""
_ALIKE = 2.0
"""Seconds by which two clocks may differ and be taken for one: the API server tells whole seconds, a while ago."""
_IN_CLUSTER = "/var/run/secrets/kubernetes.io/serviceaccount/token"
_BUSY = (429, 500, 502, 503, 504)
GIVE_RIGHT = "Give it that right (docs/kubernetes.md has the roles), or use other credentials"
_ADVICE = {
    401: "The credentials may have expired: log in again, or renew the token in the kubeconfig",
    403: GIVE_RIGHT,
    404: "See that the names are right and that it is there",
    409: "Somebody else writes it; see who, and run again",
}

_T = TypeVar("_T")
Objects = dict[str, dict[str, Any]]
"""By uid."""


class UnheardError(OSError):
    """A connection that was never made: nobody has heard of the request."""


class Answer(Protocol):
    """What is used of an answer of urllib3."""

    status: int
    headers: Mapping[str, str]

    def read(self) -> bytes: ...

    def stream(self, amt: int) -> Iterator[bytes]: ...

    def release_conn(self) -> None: ...

    def close(self) -> None: ...


class Pool(Protocol):
    """What is used of a pool of urllib3. One of our own raises OSError, and ``UnheardError`` where that is so."""

    def request(self, method: str, url: str, **options: Any) -> Answer: ...


class Clock(Protocol):
    """The functions of the ``time`` module that are used here, so that a test can bring its own."""

    def time(self) -> float: ...

    def monotonic(self) -> float: ...

    def sleep(self, seconds: float, /) -> None: ...


Connection = tuple[str, Pool, dict[str, str]]
"""Address, connections, and the headers with the credentials."""


def connect(kubeconfig: str | None = None, context: str | None = None) -> Cluster:
    """The cluster of ``context`` in ``kubeconfig``, of ``KUBECONFIG``, of the pod that this runs in, or of ``~/.kube``.

    Raises ``ClusterError``; nothing is asked yet.
    """
    return Cluster(lambda: _open(kubeconfig, context))


def _open(kubeconfig: str | None, context: str | None) -> Connection:
    config = _library("kubernetes.config")
    configuration = _library("kubernetes.client.configuration").Configuration()
    path = kubeconfig or os.environ.get("KUBECONFIG")
    where = path or "~/.kube/config"
    try:
        if path is None and context is None and os.path.exists(_IN_CLUSTER):
            where = "the pod that this runs in"
            config.load_incluster_config(configuration)
        else:
            config.load_kube_config(path, context, configuration, persist_config=False)
    except (config.ConfigException, _library("yaml").YAMLError, OSError, TypeError, KeyError, ValueError) as error:
        raise ClusterError(
            f"{where} does not say how to reach a cluster{f' with the context {context}' if context else ''}: {error}. "
            "Name a kubeconfig that does, and one of its contexts (kubectl config get-contexts)",
            {"kubeconfig": path, "context": context},
        ) from error
    # What is asked again, and what must not be, is decided here and not below.
    configuration.retries = False
    headers = {"accept": JSON, "user-agent": f"{_AGENT}/1"}
    for auth in configuration.auth_settings().values():
        headers[auth["key"].lower()] = auth["value"]
    pool = _library("kubernetes.client.rest").RESTClientObject(configuration).pool_manager
    return str(configuration.host).rstrip("/"), pool, headers


def _library(name: str) -> Any:
    """A module that hosts do without: it is imported only where a cluster is talked to."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ClusterError(
            f"the Python package kubernetes cannot be imported by {sys.executable} ({error}). Install it there: "
            "pip install kubernetes",
            {"error": str(error)},
        ) from error


class Cluster:
    """A cluster's API at ``address``. ``requests`` counts those that were sent, without watches.

    Methods raise ``ClusterError``. Reading is tried again while the server is busy or gone, for ``patience`` seconds;
    so is a write that the server says it has not begun. A write of which nobody knows is for the caller to decide.
    """

    def __init__(self, opener: Callable[[], Connection], *, patience: float = PATIENCE, clock: Clock = time) -> None:
        self._opener = opener
        self.address, self._pool, self._headers = opener()
        self.patience = patience
        self.clock = clock
        self.requests = 0
        self._ahead: float | None = None

    def time(self) -> float:
        """Now, in unix seconds of the API server: control nodes do not agree on theirs. It asks only once."""
        if self._ahead is None:
            self.call("GET", "/version")
        # One that does not tell has ours.
        self._ahead = self._ahead or 0.0
        return self.clock.time() + self._ahead

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        media: str = JSON,
        *,
        query: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """Send one request, and return the object that is answered."""
        deadline = self.clock.monotonic() + self.patience
        renewed = False
        for number in range(1000):
            self.requests += 1
            headers = self._headers
            try:
                answer = self._send(method, path, body, media, query or {}, TIMEOUT)
                text = answer.read()
                answer.release_conn()
                self._compare_clocks(answer.headers)
            except _network_errors() as error:
                problem = self._unanswered(method, path, error)
                again, pause = not problem.unknown or method == "GET", 0.0
            else:
                if answer.status < 400:
                    return _parsed(text, method, path)
                problem = _refused(method, path, answer.status, text, self.address)
                again = answer.status == 429 or (answer.status in _BUSY and method == "GET")
                pause = _retry_after(answer.headers)
                if answer.status == 401 and not renewed:
                    # A token that is renewed beside us, as in a pod.
                    again = renewed = self._renew(headers)
            pause = max(pause, PAUSES[min(number, len(PAUSES) - 1)])
            if not again or self.clock.monotonic() + pause >= deadline:
                raise problem
            self.clock.sleep(pause)
        raise AssertionError  # pragma: no cover - the pauses are longer

    def find(self, path: str) -> dict[str, Any] | None:
        """The object at ``path``; None where there is none."""
        try:
            return self.call("GET", path)
        except ClusterError as error:
            if error.status == 404:
                return None
            raise

    def text(self, path: str, query: Mapping[str, str]) -> str:
        """What is no object, such as a pod's log. It is asked for once."""
        self.requests += 1
        headers = {**self._headers, "accept": f"{JSON}, */*"}
        address = f"{self.address}{path}?{urlencode(query)}"
        try:
            answer = self._pool.request(
                "GET", address, headers=headers, preload_content=False, redirect=False, timeout=TIMEOUT
            )
            text = answer.read()
            answer.release_conn()
        except _network_errors() as error:
            raise self._unanswered("GET", path, error) from error
        if answer.status >= 400:
            raise _refused("GET", path, answer.status, text, self.address)
        return text.decode("utf-8", "replace")

    def patch(
        self, path: str, operations: Sequence[Mapping[str, Any]], *, dry_run: bool = False
    ) -> dict[str, Any] | None:
        """A JSON patch that begins with what it takes for granted; None where that is not so any more.

        Where nobody knows whether it was done (``unknown``), the caller has to look.
        """
        query = {"fieldManager": _AGENT, **({"dryRun": "All"} if dry_run else {})}
        try:
            return self.call("PATCH", path, list(operations), JSON_PATCH, query=query)
        except ClusterError as error:
            # A failed test has no causes; an object that would be invalid has.
            if error.status == 409 or (error.status == 422 and not error.evidence.get("causes")):
                return None
            raise

    def watch(self, path: str, query: Mapping[str, str], seconds: float) -> tuple[Answer, Iterator[dict[str, Any]]]:
        """The events of a watch, which the server ends after so many seconds, and the answer, to end it earlier."""
        asked = {**query, "watch": "true", "allowWatchBookmarks": "true", "timeoutSeconds": str(max(1, int(seconds)))}
        for renewed in (False, True):
            headers = self._headers
            try:
                answer = self._send("GET", path, None, JSON, asked, seconds + TIMEOUT)
            except _network_errors() as error:
                raise self._unanswered("GET", path, error) from error
            if answer.status < 400:
                return answer, self._events(path, answer)
            with contextlib.closing(answer):
                problem = _refused("GET", path, answer.status, answer.read(), self.address)
            # A long wait may outlast a token, as ``call`` may.
            if answer.status != 401 or renewed or not self._renew(headers):
                break
        raise problem

    def _events(self, path: str, answer: Answer) -> Iterator[dict[str, Any]]:
        rest = b""
        try:
            for part in answer.stream(1 << 16):
                *lines, rest = (rest + part).split(b"\n")
                for line in lines:
                    yield _parsed(line, "GET", path)
        except _network_errors() as error:
            raise self._unanswered("GET", path, error) from error

    def _send(self, method: str, path: str, body: Any, media: str, query: Mapping[str, str], seconds: float) -> Answer:
        return self._pool.request(
            method,
            self.address + path + (f"?{urlencode(query)}" if query else ""),
            body=None if body is None else json.dumps(body, allow_nan=False),
            headers={**self._headers, **({} if body is None else {"content-type": media})},
            preload_content=False,
            redirect=False,
            timeout=seconds,
        )

    def _compare_clocks(self, headers: Mapping[str, str]) -> None:
        if self._ahead is None and headers.get("Date"):
            # Whole seconds, the next of which may be near.
            told = email.utils.parsedate_to_datetime(headers["Date"]).timestamp() + 0.5
            ahead = told - self.clock.time()
            self._ahead = ahead if abs(ahead) > _ALIKE else 0.0

    def _renew(self, refused: Mapping[str, str]) -> bool:
        """Read the credentials again; whether they are others than those that were ``refused``. Several threads may."""
        self.address, self._pool, self._headers = self._opener()
        return self._headers != refused

    def _unanswered(self, method: str, path: str, error: Exception) -> ClusterError:
        unheard = isinstance(error, (UnheardError, *_urllib3("NewConnectionError", "ConnectTimeoutError")))
        return ClusterError(
            f"the cluster's API at {self.address} did not answer {method} {path}: {error}. "
            "See whether it runs and can be reached from here, then run again",
            {"address": self.address, "request": f"{method} {path}", "error": str(error)},
            unknown=not unheard,
        )


def _network_errors() -> tuple[type[Exception], ...]:
    return *_urllib3("HTTPError"), OSError


def _urllib3(*names: str) -> tuple[type[Exception], ...]:
    """Exceptions of what makes the connections, unless it is something else (``_in_pod``)."""
    errors = sys.modules.get("urllib3.exceptions")
    return tuple(getattr(errors, name) for name in names) if errors is not None else ()


def _parsed(text: bytes, method: str, path: str) -> dict[str, Any]:
    try:
        document = json.loads(text)
    except ValueError as error:
        raise ClusterError(f"{method} {path} was not answered with JSON: {error}. Is this a Kubernetes API?") from error
    if not isinstance(document, dict):
        raise ClusterError(f"{method} {path} was answered with no object. Is this a Kubernetes API?")
    return document


def _refused(method: str, path: str, status: int, text: bytes, address: str) -> ClusterError:
    told: dict[str, Any] = {}
    with contextlib.suppress(ValueError):
        parsed = json.loads(text)
        told = parsed if isinstance(parsed, dict) else {}
    said = str(told.get("message") or text[:200].decode("utf-8", "replace") or "nothing more").strip()
    causes = (told.get("details") or {}).get("causes") or []
    advice = _ADVICE.get(status, "See the API server's log, then run again" if status >= 500 else "")
    if status == 403:
        advice = _forbidden(said, causes)
    return ClusterError(
        f"the cluster refused {method} {path} ({status}): {said.rstrip('.')}{'. ' + advice if advice else ''}",
        {
            "address": address,
            "request": f"{method} {path}",
            "status": status,
            "message": said,
            "causes": causes,
        },
        status=status,
        unknown=status >= 500,
    )


def _forbidden(said: str, causes: Sequence[Mapping[str, Any]]) -> str:
    """What to do: not every 403 is for want of a right."""
    if any(one.get("reason") == "NamespaceTerminating" for one in causes):
        return "Somebody is deleting that namespace: see who, and whether it is the one that you mean"
    if "exceeded quota" in said:
        return "Raise the quota of that namespace (kubectl describe quota), or free some of it, and run again"
    return GIVE_RIGHT


def _retry_after(headers: Mapping[str, str]) -> float:
    said = str(headers.get("Retry-After") or "")
    return float(said) if said.isdigit() else 0.0


def path_of(group: str, namespace: str, plural: str, name: str = "") -> str:
    """The path of an object, or of all of a kind in a namespace. ``group`` has its version: ``v1``, ``apps/v1``."""
    base = f"/apis/{group}" if "/" in group else f"/api/{group}"
    return f"{base}/namespaces/{quote(namespace, safe='')}/{plural}" + (f"/{quote(name, safe='')}" if name else "")


def label_selector(labels: Mapping[str, Sequence[str]]) -> str:
    """The selector of all that has one of the values for each label."""
    return ",".join(f"{name} in ({','.join(values)})" for name, values in sorted(labels.items()))


class Following:
    """What is there, kept up by watches while it is looked at.

    ``sources`` are a path and a query each. Use it in a ``with``; everything is asked for at once.
    """

    def __init__(self, cluster: Cluster, sources: Mapping[str, tuple[str, Mapping[str, str]]], seconds: float) -> None:
        self._cluster = cluster
        self._sources = sources
        self._seconds = seconds
        self._seen: dict[str, Objects] = {}
        self._problem: Exception | None = None
        self._changed = threading.Condition()
        self._ended = False
        self._answers: dict[str, Answer] = {}

    def __enter__(self) -> Following:
        for name in self._sources:
            threading.Thread(target=self._run, args=(name,), daemon=True).start()
        return self

    def __exit__(self, *_caught: object) -> None:
        with self._changed:
            self._ended = True
            answers = list(self._answers.values())
        for answer in answers:
            # Ends the other thread's reading, where urllib3 knows how (from 2.3); else that ends with the process. It
            # refuses to where the server has ended it just now.
            with contextlib.suppress(ValueError, RuntimeError):
                getattr(answer, "shutdown", lambda: None)()

    def wait(self, look: Callable[[Mapping[str, Sequence[dict[str, Any]]]], _T], seconds: float) -> _T:
        """What ``look`` makes of all that is there: as soon as that is true, or as it is when the time has ended."""
        deadline = time.monotonic() + seconds
        grace = time.monotonic() + max(seconds, self._cluster.patience)
        with self._changed:
            while True:
                if self._problem is not None:
                    raise self._problem
                whole = len(self._seen) == len(self._sources)
                if whole:
                    found = look({name: list(objects.values()) for name, objects in self._seen.items()})
                    if found or time.monotonic() >= deadline:
                        return found
                left = (deadline if whole else grace) - time.monotonic()
                if not whole and left <= 0:
                    missing = ", ".join(
                        path for name, (path, _query) in self._sources.items() if name not in self._seen
                    )
                    raise ClusterError(f"the cluster's API did not tell what there is of {missing}. Run again")
                self._changed.wait(max(0.001, left))

    def _run(self, name: str) -> None:
        try:
            path, query = self._sources[name]
            deadline = time.monotonic() + self._seconds
            for number in range(1_000_000):
                try:
                    self._follow(name, path, query, max(1.0, deadline - time.monotonic()))
                except ClusterError as error:
                    if error.status not in (0, 410, *_BUSY):
                        raise
                if self._ended or time.monotonic() >= deadline:
                    return
                time.sleep(PAUSES[min(number, len(PAUSES) - 1)])
        except Exception as error:  # noqa: BLE001 - told where it is waited for
            with self._changed:
                self._problem = error
                self._changed.notify_all()

    def _follow(self, name: str, path: str, query: Mapping[str, str], seconds: float) -> None:
        """One watch that begins with what is there. It ends without error when the server ends it."""
        initial = {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan"}
        gathered: Objects = {}
        begun = False
        try:
            answer, events = self._cluster.watch(path, {**query, **initial}, seconds)
        except ClusterError as error:
            # A server that cannot begin a watch so: list first.
            if error.status not in (400, 422):
                raise
            listed = self._cluster.call("GET", path, query=query)
            gathered = {one["metadata"]["uid"]: one for one in listed["items"]}
            begun = True
            self._tell(name, gathered)
            version = listed["metadata"]["resourceVersion"]
            answer, events = self._cluster.watch(path, {**query, "resourceVersion": version}, seconds)
        with contextlib.closing(answer):
            with self._changed:
                self._answers[name] = answer
                if self._ended:
                    return
            self._gather(name, path, events, gathered, begun)

    def _gather(self, name: str, path: str, events: Iterator[dict[str, Any]], gathered: Objects, begun: bool) -> None:
        for event in events:
            kind, document = event["type"], event["object"]
            if kind == "ERROR":
                raise _refused("GET", path, document.get("code", 0), json.dumps(document).encode(), "")
            if kind == "BOOKMARK":
                begun = begun or "k8s.io/initial-events-end" in (document["metadata"].get("annotations") or {})
            elif kind == "DELETED":
                gathered.pop(document["metadata"]["uid"], None)
            else:
                gathered[document["metadata"]["uid"]] = document
            if begun:
                self._tell(name, gathered)

    def _tell(self, name: str, gathered: Objects) -> None:
        with self._changed:
            self._seen[name] = dict(gathered)
            self._changed.notify_all()
