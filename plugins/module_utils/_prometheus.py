# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A small client of Prometheus' HTTP API (and of Thanos, Mimir, VictoriaMetrics). Standard library only.

What an answer means is decided here once: answered (with warnings or not), not answered (down: try again later), or
refused (a mistake in the configuration: trying again would not help). No secret leaves this file.
"""

from __future__ import annotations

import base64
import http.client
import json
import math
import re
import socket
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import SplitResult, urlencode, urlsplit

from ._core.circuit import Circuit
from ._core.errors import CutoverError, InputError
from ._secrets import read_secret

RETRIES = (0.3,)
"""Pauses (s) before each further try of a request."""
MAX_ANSWER = 64 * 1024 * 1024
"""Bytes of an answer that are read at most."""
_TOO_MUCH = re.compile(r"too many samples|timed out|(exceed|more than).*(maximum|limit|max)", re.IGNORECASE)
"""How Prometheus, Thanos, Mimir and VictoriaMetrics say that a query asks for more than they are told to answer."""


class SourceDownError(CutoverError):
    """Prometheus did not answer, or not with an answer: nothing is known."""

    reason = "unreachable"


class TooMuchError(SourceDownError):
    """Prometheus did not answer a question that asks for too much at once, in samples, bytes or time."""


class SourceRefusedError(CutoverError):
    """Prometheus answered that the request, or who makes it, is wrong."""

    reason = "config"


@dataclass(frozen=True)
class Connection:
    """Where Prometheus is and who we are. ``timeout`` in s; files are on the host that asks."""

    url: str
    token: str | None = field(default=None, repr=False)
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    ca_path: str | None = None
    client_cert: str | None = None
    client_key: str | None = None
    timeout: float = 4.0


def connection_of(source: Mapping[str, Any]) -> Connection:
    """To the Prometheus that a plan or a module's arguments name; ``InputError`` where its secret cannot be read.

    A secret's file goes before the secret itself. It is read anew each time, because a token may be renewed.
    """
    known: dict[str, Any] = {name: source.get(name) for name in ("username", "ca_path", "client_cert", "client_key")}
    return Connection(source["url"], token=_secret(source, "token"), password=_secret(source, "password"), **known)


def _secret(source: Mapping[str, Any], name: str) -> str | None:
    """The ``token`` or ``password``, from its file on this host where one is given."""
    return read_secret(source.get(f"{name}_file"), f"{name} of Prometheus", InputError) or source.get(name)


@dataclass(frozen=True)
class Answer:
    """The data of an answer, and what an evaluation records of it. ``ms``: milliseconds."""

    data: Mapping[str, Any]
    warnings: tuple[str, ...]
    status: int
    ms: float

    def series(self) -> list[tuple[dict[str, str], list[tuple[float, float]]]]:
        """(labels, [(time in s, value)]) of every series, whatever the type of the result."""
        rows = self.data.get("result", [])
        if self.data.get("resultType") == "scalar":
            rows = [{"metric": {}, "value": rows}]
        try:
            return [
                (
                    {str(k): str(v) for k, v in row["metric"].items()},
                    [(float(t), float(v)) for t, v in (row["values"] if "values" in row else [row["value"]])],
                )
                for row in rows
            ]
        except (KeyError, TypeError, ValueError, AttributeError):
            raise SourceDownError("Prometheus answered with data that cannot be read.") from None


class Prometheus:
    """Asks, through a circuit breaker. ``clock`` gives wall-clock seconds, ``pause`` sleeps."""

    def __init__(
        self,
        connection: Connection,
        circuit: Circuit,
        clock: Callable[[], float] = time.time,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self.connection, self.circuit, self.clock, self.pause = connection, circuit, clock, pause
        parts = _checked(connection)
        self.host, self.path, self.secure = parts.hostname or "", parts.path.rstrip("/"), parts.scheme == "https"
        self.port = parts.port or (443 if self.secure else 80)
        self.where = f"{parts.scheme}://{self.host}:{self.port}{self.path}"
        self._headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
        self._secrets = [s for s in (connection.token, connection.password) if s]
        if connection.token:
            self._headers["Authorization"] = "Bearer " + connection.token
        elif connection.username:
            pair = base64.b64encode(f"{connection.username}:{connection.password or ''}".encode()).decode()
            self._headers["Authorization"] = "Basic " + pair
            self._secrets.append(pair)
        self._tls = self._context() if self.secure else None

    def _context(self) -> ssl.SSLContext:
        c = self.connection
        try:
            context = ssl.create_default_context(cafile=c.ca_path)
            if c.client_cert:
                # A key that needs a password would ask for it at a terminal.
                context.load_cert_chain(c.client_cert, c.client_key, password="")
        except (OSError, ssl.SSLError) as e:
            raise InputError(
                f"The certificate files cannot be used: {e}. Look at ca_path, client_cert, client_key."
            ) from e
        return context

    def now(self) -> float:
        """The server's time (s): the only clock that samples are compared with."""
        return self.query("time()").series()[0][1][0][1]

    def query(self, text: str, at: float | None = None) -> Answer:
        """An instant query, at the server's own time or ``at`` an earlier one (server time, s)."""
        return self._ask("/api/v1/query", {"query": text} if at is None else {"query": text, "time": f"{at:.3f}"})

    def query_range(self, text: str, start: float, end: float, step: float) -> Answer:
        """Values from ``start`` to ``end`` (server time, s), one each ``step`` s."""
        fields = {"query": text, "start": f"{start:.3f}", "end": f"{end:.3f}", "step": f"{max(step, 0.001):.3f}"}
        return self._ask("/api/v1/query_range", fields)

    def alertmanagers(self) -> list[str]:
        """The addresses that alerts are sent to."""
        active = self._ask("/api/v1/alertmanagers", None).data.get("activeAlertmanagers") or ()
        return [str(one.get("url")) for one in active]

    def rule_groups(self) -> list[dict[str, Any]]:
        """Every group of rules, with ``name`` and ``rules``, each of those with its ``name`` and ``health``."""
        return [dict(one) for one in self._ask("/api/v1/rules", None).data.get("groups") or ()]

    def _ask(self, path: str, fields: Mapping[str, str] | None) -> Answer:
        rest = self.circuit.rest(self.clock())
        if rest:
            raise SourceDownError(f"{self.where} failed too often; it is asked again in {rest:.0f} s (circuit open).")
        for wait in (*RETRIES, None):
            try:
                answer = self._once(path, fields)
            except SourceDownError as error:
                if isinstance(error, TooMuchError) and error.evidence:
                    # It is there, and would say the same again.
                    self.circuit.succeeded()
                    raise
                if wait is None:
                    self.circuit.failed(self.clock())
                    raise
                self.pause(wait)
            except SourceRefusedError:
                self.circuit.succeeded()
                raise
            else:
                break
        self.circuit.succeeded()
        return answer

    def _once(self, path: str, fields: Mapping[str, str] | None) -> Answer:
        """One request; what has no ``fields`` can only be got."""
        began = time.monotonic()
        timeout = self.connection.timeout
        link = (
            http.client.HTTPSConnection(self.host, self.port, timeout=timeout, context=self._tls)
            if self.secure
            else http.client.HTTPConnection(self.host, self.port, timeout=timeout)
        )
        reached = False
        try:
            link.connect()
            reached = True
            method, body = ("GET", None) if fields is None else ("POST", urlencode(fields))
            link.request(method, self.path + path, body, self._headers)
            response = link.getresponse()
            status, content = response.status, response.read(MAX_ANSWER + 1)
        except ssl.SSLCertVerificationError as e:
            raise SourceRefusedError(f"{self.where}: the certificate is not accepted: {e.verify_message}.") from None
        except ssl.SSLError as e:
            if "alert" in str(e).lower():
                raise SourceRefusedError(f"{self.where}: the TLS handshake was refused: {self._clean(e)}.") from None
            raise SourceDownError(f"{self.where}: {self._clean(e)}.") from None
        except (OSError, http.client.HTTPException) as e:
            slow = reached and isinstance(e, socket.timeout)
            kind = TooMuchError if slow else SourceDownError
            raise kind(f"{self.where} did not answer: {self._clean(e) or type(e).__name__}.") from None
        finally:
            link.close()
        return self._read(status, content, (time.monotonic() - began) * 1000)

    def _read(self, status: int, body: bytes, ms: float) -> Answer:
        evidence = {"http_status": status, "ms": round(ms, 1)}
        try:
            content = json.loads(body)
        except ValueError:
            content = None
        said = self._clean(content.get("error", "")) if isinstance(content, dict) else ""
        if 300 <= status < 400:
            raise SourceRefusedError(
                f"{self.where} redirects; that is not followed, for it would send the credentials elsewhere. "
                "Give the final address.", evidence,
            )  # fmt: skip
        if status in (401, 403):
            raise SourceRefusedError(
                f"{self.where} refuses us ({status}). Look at token, username, client_cert.", evidence
            )
        if status in (422, 503) and _TOO_MUCH.search(said):
            raise TooMuchError(f"{self.where} does not answer so much at once ({status}): {said}.", evidence)
        if 400 <= status < 500 and status not in (408, 429):
            raise SourceRefusedError(
                f"{self.where} refuses the query ({status}): {said or 'no reason given'}.", evidence
            )
        if status != 200:
            raise SourceDownError(f"{self.where} failed ({status}): {said or 'no reason given'}.", evidence)
        if len(body) > MAX_ANSWER:
            raise TooMuchError(f"{self.where} answers with more than {MAX_ANSWER} bytes.", evidence)
        data = content.get("data") if isinstance(content, dict) and content.get("status") == "success" else None
        if not isinstance(data, dict):
            raise SourceDownError(
                f"{self.where} answered 200 with something that is not a result of Prometheus.", evidence
            )
        warnings = tuple(self._clean(w) for w in content.get("warnings") or ())
        return Answer(data, warnings, status, round(ms, 1))

    def _clean(self, text: object) -> str:
        """Text from outside, short and without our secrets."""
        out = str(text)
        for secret in self._secrets:
            out = out.replace(secret, "***")
        return out[:500]


def _checked(connection: Connection) -> SplitResult:
    """The parts of the address, when everything given makes sense together. Never shows a value."""
    try:
        parts = urlsplit(connection.url)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        usable = None
    if not usable:
        raise InputError("url: give http://host:port or https://host:port, with a path if there is one.")
    if parts.username is not None or parts.password is not None:
        raise InputError("url: has a user or password in it; give username and password, which are never shown.")
    if parts.query or parts.fragment:
        raise InputError("url: has a query or fragment; give the address only.")
    _check_identity(connection, parts.scheme)
    return parts


def _check_identity(connection: Connection, scheme: str) -> None:
    if connection.token and connection.username:
        raise InputError("token and username exclude each other.")
    for name in ("token", "username", "password"):
        value = getattr(connection, name) or ""
        if not value.isprintable() or (name == "token" and not value.isascii()):
            raise InputError(f"{name}: has a line break or another character in it that cannot be sent.")
    if connection.password and not connection.username:
        raise InputError("password needs username.")
    if connection.client_key and not connection.client_cert:
        raise InputError("client_key needs client_cert.")
    if (connection.client_cert or connection.ca_path) and scheme != "https":
        raise InputError("client_cert and ca_path need an https url.")


def jsonable(value: float | None, digits: int = 6) -> float | None:
    """A number for a result: rounded to significant ``digits``; what is not finite becomes None."""
    return float(f"{value:.{digits}g}") if value is not None and math.isfinite(value) else None
