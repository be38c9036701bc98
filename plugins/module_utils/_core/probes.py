# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Probes, pure: what is asked, and what is wrong with an answer. Nothing here asks."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import InputError

#: How many targets are asked at the same time.
AT_ONCE = 32
EXCERPT_CHARACTERS = 300
#: These methods ask and change nothing (RFC 9110, 9.2.1): check mode may send them.
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")


@dataclass(frozen=True)
class Target:
    """One request and what its answer must be.

    ``status`` holds the accepted codes, ``json`` the expected value at each dotted path, ``tolerance`` by how much a
    number may differ from it, and ``budget_ms`` how many milliseconds the whole answer may take. ``ca_path`` is a file
    with the certificates that are trusted, instead of the system's.
    """

    url: str
    name: str = ""
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    status: tuple[int, ...] = (200,)
    json: Mapping[str, Any] = field(default_factory=dict)
    tolerance: float = 0.0
    budget_ms: int = 2000
    ca_path: str | None = None


@dataclass(frozen=True)
class Answer:
    """What came back within ``ms`` milliseconds. Without an answer ``status`` is None and ``error`` says why. The names
    of ``headers`` are in small letters.
    """

    ms: float
    status: int | None = None
    location: str | None = None
    body: bytes = b""
    error: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


def _url(url: str, where: str) -> str:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or not all("!" <= character <= "~" for character in url):
        raise InputError(f"{where}: {url!r} cannot be asked; an address like http://app1:8001/health/ready is needed.")
    if parts.username is not None or parts.password is not None:
        raise InputError(f"{where}: the address holds a user or a password, which would be logged; use secret_headers.")
    return url


def api_address(url: str, what: str, like: str, instead: str) -> str:
    """The address of a server's API, without a slash at its end. Raises InputError, which has nothing of it: a user, a
    password or a key in it would be in each error that says where something was asked. ``instead`` are the options for
    these.
    """
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        usable = usable and "@" not in parts.netloc and not (parts.query or parts.fragment)
    except ValueError:
        usable = False
    if not usable:
        raise InputError(f"{what} must be like {like}, with no user, password or query in it; give {instead}.")
    return url.rstrip("/")


def make_target(spec: Mapping[str, Any], base: str | None = None, where: str = "targets") -> Target:
    """Build a target from a module's suboptions: from ``url``, or from ``base`` and ``path``.

    Raises InputError when the request cannot be meant. ``where`` names it in the message.
    """
    if base is None:
        url = spec["url"]
    elif spec["path"].startswith("/"):
        url = base.rstrip("/") + spec["path"]
    else:
        raise InputError(f"{where}: the path {spec['path']!r} does not begin with '/'.")
    if spec["budget_ms"] < 1:
        raise InputError(f"{where}: budget_ms is {spec['budget_ms']}; a number of milliseconds from 1 is needed.")
    if not spec["status"]:
        raise InputError(f"{where}: status is empty; at least one status code is needed.")
    body = spec.get("body")
    headers = {str(key): str(value) for key, value in {**spec["headers"], **spec.get("secret_headers", {})}.items()}
    if body is not None and not isinstance(body, str):
        body = json.dumps(body)
        headers.setdefault("Content-Type", "application/json")
    for key, value in headers.items():
        if any(character in "\r\n\0" for character in key + value):
            raise InputError(f"{where}: the header {key!r} holds a line break.")
    return Target(
        url=_url(url, where),
        name=spec.get("name") or url,
        method=spec["method"],
        headers=headers,
        body=None if body is None else body.encode("utf-8"),
        status=tuple(spec["status"]),
        json=spec["json"],
        tolerance=spec.get("tolerance", 0.0),
        budget_ms=spec["budget_ms"],
        ca_path=spec.get("ca_path"),
    )


def make_targets(
    targets: Iterable[Mapping[str, Any]], bases: Iterable[str], probes: Iterable[Mapping[str, Any]]
) -> list[Target]:
    """Return ``targets``, then every probe at every base. Raises InputError, also when nothing would be asked."""
    made = [make_target(spec, where=f"targets[{index}]") for index, spec in enumerate(targets)]
    indexed = list(enumerate(probes))
    made += [make_target(spec, base, f"probes[{index}] at {base}") for base in bases for index, spec in indexed]
    if not made:
        # An empty list must not pass as "all of them are healthy".
        raise InputError("Nothing to ask: give targets, or bases and probes, with at least one entry each.")
    return made


def _refuse_constant(word: str) -> Any:
    raise ValueError(f"{word} is not JSON")


def _shortened(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 100 else text[:99] + "…"


def _is(value: Any, wanted: Any, tolerance: float) -> bool:
    """Is the one what the other asks for, also inside? In Python True == 1; in JSON it is not."""
    if isinstance(wanted, Mapping) and isinstance(value, Mapping):
        return value.keys() == wanted.keys() and all(_is(value[key], wanted[key], tolerance) for key in wanted)
    if isinstance(wanted, list) and isinstance(value, list):
        return len(value) == len(wanted) and all(_is(*pair, tolerance) for pair in zip(value, wanted))
    if isinstance(value, bool) != isinstance(wanted, bool):
        return False
    if value == wanted:
        return True
    numbers = isinstance(value, (int, float)) and isinstance(wanted, (int, float))
    # In decimals, as they are written: 0.83 is not more than 0.01 above 0.82.
    return numbers and abs(Decimal(str(value)) - Decimal(str(wanted))) <= Decimal(str(tolerance))


def _json_mismatches(expected: Mapping[str, Any], body: bytes, tolerance: float) -> list[str]:
    try:
        document = json.loads(body.decode("utf-8"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        return [f"the body is not JSON ({error})"]
    found = []
    for path, wanted in expected.items():
        value = document
        try:
            for key in path.split("."):
                value = value[int(key)] if isinstance(value, list) else value[key]
        except (KeyError, IndexError, TypeError, ValueError):
            found.append(f"{path} is missing, {_shortened(wanted)} is expected")
            continue
        if not _is(value, wanted, tolerance):
            found.append(f"{path} is {_shortened(value)}, {_shortened(wanted)} is expected")
    return found


def mismatches(target: Target, answer: Answer) -> list[str]:
    """Say everything that is not as ``target`` expects; an empty list means healthy."""
    if answer.status is None:
        return [answer.error]
    found = []
    if answer.status not in target.status:
        moved = f" (to {answer.location}; redirects are not followed)" if answer.location else ""
        accepted = " or ".join(str(code) for code in target.status)
        found.append(f"status {answer.status}{moved}, {accepted} is expected")
    if answer.error:
        found.append(answer.error)
    elif target.json:
        found += _json_mismatches(target.json, answer.body, target.tolerance)
    if answer.ms > target.budget_ms:
        found.append(f"answered in {answer.ms:.0f} ms, the budget is {target.budget_ms} ms")
    return found


def observe(target: Target, answer: Answer, attempt: int) -> dict[str, Any]:
    """Return one observation, ready for JSON and without the request's headers or body."""
    return {
        "attempt": attempt,
        "name": target.name,
        "method": target.method,
        "url": target.url,
        "status": answer.status,
        "ms": round(answer.ms, 1),
        "body": answer.body.decode("utf-8", "replace")[:EXCERPT_CHARACTERS],
        "mismatches": mismatches(target, answer),
    }
