# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The application's own admin API: blue takes every request, and sends a percentage of them on to green.

The percentage is in each instance of the application. So each is told and each is asked; they count as one only while
they agree.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import RouterError
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.probes import make_target, mismatches
from ansible_collections.bluegreen.cutover.plugins.module_utils._http import ask_all
from ansible_collections.bluegreen.cutover.plugins.module_utils._routers import Reading, Service
from ansible_collections.bluegreen.cutover.plugins.module_utils._routers._shared import (
    count_ready,
    read_weight,
    replace_file,
)
from ansible_collections.bluegreen.cutover.plugins.module_utils._secrets import read_secret

TAKEN = (200, 201, 202, 204)
"""Statuses of a POST that was taken; what it did is read back."""

_EXCERPT = 400
"""Characters that are told of an answer which is wrong, at most."""


@dataclass(frozen=True)
class Told:
    """What the instances tell: the percentage on which all agree, or None and why; and what each one ``said``."""

    weight: int | None
    said: dict[str, Any]
    unclear: str


class AdminApi:
    """A service whose blue shares the requests out.

    ``endpoints`` are the addresses of all instances that take requests. At ``path`` a GET tells, and a POST sets, a
    JSON object with the percentage in ``field``; ``emergency`` is a path whose POST sends everything to blue. The file
    ``file`` holds what was set last. ``token_file`` holds what the header ``token_header`` carries. Both files and
    ``ca_path`` are on this host. ``budget_ms`` is for one answer, in milliseconds.
    """

    def __init__(
        self,
        service: Service,
        *,
        endpoints: Sequence[str],
        path: str,
        field: str,
        token_header: str,
        budget_ms: int,
        file: str,
        emergency: str | None = None,
        token_file: str | None = None,
        ca_path: str | None = None,
    ) -> None:
        self.service = service
        self.endpoints = tuple(endpoints)
        self.path = path
        self.field = field
        self.token_header = token_header
        self.budget_ms = int(budget_ms)
        self.file = file
        self.emergency = emergency
        self.token_file = token_file
        self.ca_path = ca_path
        self._token = ""

    def read(self) -> Reading:
        """Ask every instance for its percentage and its readiness, and read the file."""
        ready, said = count_ready(self.service)
        told = self.tell()
        return Reading(
            weight=told.weight,
            persisted=read_weight(self.file),
            ready=ready,
            in_flight=dict.fromkeys(self.service.instances),
            detail={"instances": said, "endpoints": told.said, "file": self.file},
            unclear=told.unclear,
        )

    def tell(self) -> Told:
        """Ask every instance for its percentage alone."""
        self._token = self._read_token()
        weights, problems = self._ask(self.endpoints)
        agreed = set(weights.values()) if not problems else set()
        return Told(
            weight=agreed.pop() if len(agreed) == 1 else None,
            said={**weights, **problems},
            unclear=_told(problems) or _disagreement(weights),
        )

    def apply(self, weight: int) -> list[str]:
        """Tell every instance and read each back. When one does not take it, all are put back as they were.

        Not so for 0, which is the way back: there, one that cannot be told does not keep the others on green.
        """
        self._token = self._read_token()
        if weight == 0:
            return self._send_back()
        before, problems = self._ask(self.endpoints)
        if problems:
            raise self._error(f"{weight} % was not set, and nothing was changed: {_told(problems)}", problems)
        wanted = dict.fromkeys(self.endpoints, weight)
        posted = self._post(self.path, wanted)
        refused = {**self._unlike(wanted), **posted}
        if refused:
            self._post(self.path, before)
            left = self._unlike(before)
            others = f"These could not be put back: {_told(left)}" if left else "All are put back as they were"
            raise self._error(f"{weight} % was not taken: {_told(refused)}. {others}", {**refused, **left})
        return [self._command(endpoint, self.path, weight) for endpoint in self.endpoints]

    def persist(self, weight: int) -> list[str]:
        """Write the file. What an instance comes up with after a restart is its own to say, and is compared with it."""
        replace_file(self.file, f"{weight}\n")
        return [f"write {self.file}"]

    def _send_back(self) -> list[str]:
        commands = []
        left = dict.fromkeys(self.endpoints, 0)
        problems: dict[str, str] = {}
        # An emergency endpoint that fails leaves the ordinary one.
        for path in filter(None, (self.emergency, self.path)):
            posted = self._post(path, left)
            commands += [self._command(endpoint, path, 0) for endpoint in left]
            # One that has refused, and yet does what it should, is fine here.
            problems = {one: ", ".join(filter(None, (posted.get(one), why))) for one, why in self._unlike(left).items()}
            left = dict.fromkeys(problems, 0)
            if not left:
                return commands
        raise self._error(
            f"not all traffic is back on blue: {_told(problems)}. Every other instance sends nothing to green any more",
            problems,
        )

    def _post(self, path: str, weights: Mapping[str, int]) -> dict[str, str]:
        """Tell each endpoint its weight; of those that refuse why."""
        bodies = {endpoint: {} if path == self.emergency else {self.field: one} for endpoint, one in weights.items()}
        return {endpoint: problem for endpoint, (_body, problem) in self._request(path, bodies).items() if problem}

    def _unlike(self, weights: Mapping[str, int]) -> dict[str, str]:
        """Read each endpoint back; of those that do not tell their weight in ``weights`` why."""
        found, problems = self._ask(weights)
        unlike = {one: f"{self.field} is {told}, {weights[one]} was set" for one, told in found.items()}
        return {**problems, **{one: why for one, why in unlike.items() if found[one] != weights[one]}}

    def _ask(self, endpoints: Iterable[str]) -> tuple[dict[str, int], dict[str, str]]:
        """The weight that each endpoint tells, and of those that do not tell it why."""
        weights, problems = {}, {}
        for endpoint, (body, problem) in self._request(self.path, dict.fromkeys(endpoints)).items():
            if problem:
                problems[endpoint] = problem
                continue
            try:
                weights[endpoint] = parse_weight(body, self.field)
            except ValueError as error:
                problems[endpoint] = self._clean(f"GET {self.path}: {error}")
        return weights, problems

    def _request(self, path: str, bodies: Mapping[str, Any]) -> dict[str, tuple[bytes, str]]:
        """GET ``path`` of every endpoint in ``bodies``, or POST it the body; what it answers, and what is wrong."""
        carried = ("Bearer " if self.token_header == "Authorization" else "") + self._token  # noqa: S105 - a name
        targets = [
            make_target(
                {
                    "url": endpoint + path,
                    "method": "GET" if body is None else "POST",
                    "headers": {self.token_header: carried} if self._token else {},
                    "body": body,
                    "status": (200,) if body is None else TAKEN,
                    "json": {},
                    "budget_ms": self.budget_ms,
                    "ca_path": self.ca_path,
                },
                where="cutover_router.endpoints",
            )
            for endpoint, body in bodies.items()
        ]
        answers = {}
        for endpoint, target, answer in zip(bodies, targets, ask_all(targets)):
            problem = ", ".join(mismatches(target, answer))
            if problem:
                said = " ".join(answer.body.decode("utf-8", "replace").split())
                problem = self._clean(f"{target.method} {path}: {problem}" + (f" ({said})" if said else ""))
            answers[endpoint] = (answer.body, problem)
        return answers

    def _read_token(self) -> str:
        """What its file holds; empty where there is none."""
        token = read_secret(self.token_file, "token", RouterError) or ""
        if not (token.isascii() and token.isprintable()):
            raise RouterError(
                f"{self.token_file} does not hold a token, which is one line of ASCII. Write it there on the router "
                "host (cutover_router.token_file), or have the router role do it by router_token",
                {"path": self.token_file},
            )
        return token

    def _clean(self, text: str) -> str:
        """Text from outside, short and without the token."""
        return (text.replace(self._token, "***") if self._token else text)[:_EXCERPT]

    def _command(self, endpoint: str, path: str, weight: int) -> str:
        return f"POST {endpoint}{path}" + ("" if path == self.emergency else f" {self.field}={weight}")

    def _error(self, told: str, problems: Mapping[str, str]) -> RouterError:
        return RouterError(f"{self.service.name}: {told}. See playbooks/status.yml", {"endpoints": dict(problems)})


def parse_weight(body: bytes, field: str) -> int:
    """The percentage in an answer; ``ValueError`` says what is there instead."""
    try:
        document = json.loads(body.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"the body is not JSON ({error})") from error
    if not isinstance(document, dict) or field not in document:
        raise ValueError(f"the body has no key {field}")
    value = document[field]
    # Some applications have no other numbers than 50.0; in Python True is one, too.
    whole = isinstance(value, (int, float)) and not isinstance(value, bool) and value in range(101)
    if not whole:
        raise ValueError(f"{field} is {json.dumps(value)}; a whole number 0…100 is needed")
    return int(value)


def _told(problems: Mapping[str, str]) -> str:
    return "; ".join(f"{endpoint}: {problem}" for endpoint, problem in problems.items())


def _disagreement(weights: Mapping[str, int]) -> str:
    if len(set(weights.values())) < 2:
        return ""
    told = ", ".join(f"{endpoint} {weight} %" for endpoint, weight in weights.items())
    return (
        f"its instances do not agree: {told}. One that was started again may have forgotten it; playbooks/router.yml "
        "tells all of them what was set last"
    )
