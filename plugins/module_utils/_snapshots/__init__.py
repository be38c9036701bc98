# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Snapshot engines: how one stateful part is written to files, and brought back. One file per engine, one protocol.

An engine knows its server and its formats. What makes files an artifact (the folder, its manifest, checksums, the
final name, encryption, expiry) is not its business.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from ansible_collections.bluegreen.cutover.plugins.module_utils._core.artifact import Content
from ansible_collections.bluegreen.cutover.plugins.module_utils._snapshots._notes import Notes

__all__ = ["Content", "Engine", "Left", "Notes", "Progress", "Taken", "Written"]

#: Says what is being done, for a person who waits; called at least every 10 s by whatever takes longer.
Progress = Callable[[str], None]


@dataclass(frozen=True)
class Taken:
    """What an engine wrote.

    ``source`` says where from (host, port, database, prefix, paths), with no secret in it. ``versions`` names the
    server and the tools. ``consistent_at`` is the moment that all of it shows, in unix seconds; ``point_in_time`` is
    false where others could write while it was read. ``contents`` were read in the same view of the data as the files,
    by name. ``mark`` is what ``written_since`` compares with later. ``sums`` are size and SHA-256, as a manifest has
    them, of those files that were summed up while they were written, by their path in the folder.
    """

    source: dict[str, Any]
    versions: dict[str, str]
    consistent_at: float
    point_in_time: bool
    contents: dict[str, Content]
    mark: dict[str, Any] = field(default_factory=dict)
    sums: dict[str, dict[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Written:
    """What one thing has had written to it since a snapshot: how many ``what`` (rows inserted, keys, bytes of WAL)."""

    name: str
    what: str
    count: int


@dataclass(frozen=True)
class Left:
    """What a restore leaves to people, one sentence each: what is ``kept`` of what was there, and how that is removed;
    and what is ``unproven`` of what was restored, because others wrote to it before it could be compared.
    """

    kept: list[str] = field(default_factory=list)
    unproven: list[str] = field(default_factory=list)


class Engine(Protocol):
    """A provider. Constructed with the part's options and a ``Progress``; everything raises ``SnapshotError``.

    Secrets come by files or by the environment of a child process, never on a command line, and are in no message.
    ``apart`` tells whether another process can prove what this one has taken: then it is, after writers were let go.
    """

    name: str
    apart: bool

    def remove_left(self, notes: Notes) -> list[str]:
        """Remove what runs that have died left on the server, by the ``notes`` that this run goes on with.

        It comes before ``take`` and ``scratch``. Returns one sentence for each thing that may still be there.
        """

    def check(self) -> None:
        """Raise what would keep ``take`` from succeeding: not reachable, no permission, tools older than the server."""

    def take(self, folder: Path) -> Taken:
        """Write the part into ``folder``, an empty directory of mode 0700; change nothing else."""

    def scratch(self, folder: Path, taken: Taken) -> AbstractContextManager[Mapping[str, Content]]:
        """Restore ``folder`` into a place of its own, give what it then holds, remove the place whatever happens."""

    def check_source(self, taken: Taken) -> None:
        """Raise where ``taken`` is of something else than the options name now."""

    def check_restore(self, folder: Path, taken: Taken) -> None:
        """Raise what would keep ``restore`` from succeeding, as far as it is known while versions still run (R-E7).

        Nothing is changed for it.
        """

    def restore(self, folder: Path, taken: Taken) -> Left:
        """Put ``folder`` in the place of what is there now; what fails on the way leaves what was there.

        It begins with what ``check_restore`` does. It is compared with ``taken.contents`` before, where that can be:
        afterwards others may write to it.
        """

    def contents(self) -> Mapping[str, Content]:
        """Read what the part holds now, as ``Taken.contents`` does."""

    def also_differs(self, taken: Taken) -> list[str]:
        """Where it is another than it was in what ``contents`` does not show, one sentence each."""

    def written_since(self, taken: Taken) -> list[Written]:
        """Count what was written since ``taken``; an empty list only when it is certain that nothing was."""
