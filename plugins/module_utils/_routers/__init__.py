# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Routers: what decides which colour gets a request. One file per provider, all with this protocol."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable


@dataclass(frozen=True)
class Instance:
    """One process of a colour, as the router reaches it."""

    host: str
    port: int


@dataclass(frozen=True)
class Service:
    """What an adapter must know of the service it routes: its name, both colours, and how readiness is asked for."""

    name: str
    instances: dict[str, tuple[Instance, ...]]
    ready_path: str


@dataclass(frozen=True)
class Reading:
    """What a router does now, as the data plane tells it.

    ``weight`` is green's percentage as it is applied now, ``persisted`` what a reload or a reboot would apply;
    None where it cannot be told. ``ready`` counts, per colour, the instances that would get a request and answer it.
    ``in_flight`` counts, per colour, the requests the router has open to it, None where the router cannot know.
    ``unclear`` says why ``weight`` is None, where more is known than that it cannot be told.
    """

    weight: int | None
    persisted: int | None
    ready: dict[str, int]
    in_flight: dict[str, int | None]
    detail: dict[str, Any] = field(default_factory=dict)
    unclear: str = ""


@runtime_checkable
class Remote(Protocol):
    """What a router has, too, that is not on this host: our lock does not hold there, and it follows later."""

    def fence(self, token: int | None) -> None:
        """From now on let ``apply`` write only what no higher token has written; None is without a fence."""

    def settle(self, weight: int) -> None:
        """Wait, without the lock, until what ``apply`` has taken is what serves."""


@runtime_checkable
class Scaling(Protocol):
    """What a router has, too, whose weights are numbers of pods. What it knows is from the last ``read``."""

    def check(self, weights: Sequence[int]) -> str:
        """What is to be known of ``weights`` before the first is set, in words; ``RouterError`` where one cannot be."""

    def way(self, weight: int, min_ready: int) -> list[int]:
        """The weights to go through, ``weight`` the last: each is one write, and none gives a colour more than the
        greater of the shares before and after. Raises ``RouterError`` where there is no way.
        """

    def prepare(self, weight: int, min_ready: int) -> list[str]:
        """Begin to have the pods that ``weight`` needs, moving no traffic; return the commands that did it."""

    def prepared(self) -> None:
        """Wait, without the lock, until they are there; raises ``NotReadyError``."""


class Router(Protocol):
    """A provider. Constructed with the service and the provider's own options; raises ``RouterError``."""

    def read(self) -> Reading:
        """Read the data plane and the disk; change nothing."""

    def apply(self, weight: int) -> list[str]:
        """Send ``weight`` percent of new requests to green, now; return the commands that did it."""

    def persist(self, weight: int) -> list[str]:
        """Make a reload or a reboot keep ``weight``; return the commands or paths that did it."""
