# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A guard's triggers: criteria of a gate, looked at for as long as they are armed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible_collections.bluegreen.cutover.plugins.module_utils._core.circuit import Circuit
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import CutoverError
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.gate.decide import Reading, Settings
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.guard import Cause
from ansible_collections.bluegreen.cutover.plugins.module_utils._gate import Gate, Options
from ansible_collections.bluegreen.cutover.plugins.module_utils._prometheus import (
    Prometheus,
    SourceDownError,
    connection_of,
)

EVERY = 1.0
"""Seconds between two looks at most."""


class Triggers:
    """``triggers`` are criteria of the kind ``query``, ``source`` is where they are asked, both as in the plan."""

    def __init__(self, triggers: Sequence[Mapping[str, Any]], source: Mapping[str, Any]) -> None:
        self.source = source
        scrape = float(source["scrape_interval"])
        self.every = min(EVERY, scrape)
        settings = Settings(window=scrape, scrape=scrape, max_age=3 * scrape, hold=0.0)
        self._gate = Gate(Options(triggers, settings), connection_of(source))

    def look(self) -> list[Reading]:
        """Where each stands now. Raises ``CutoverError`` where the question, or who asks, is wrong."""
        # Its token may have been renewed; and with a circuit of its own each time, a guard does not rest for a minute.
        self._gate.prometheus = Prometheus(connection_of(self.source), Circuit())
        return self._gate.look()


def check(triggers: Sequence[Mapping[str, Any]], source: Mapping[str, Any]) -> None:
    """Raise ``CutoverError`` where they cannot be asked; that there is no data yet is no mistake."""
    for reading in Triggers(triggers, source).look():
        if reading.reason == SourceDownError.reason:
            raise SourceDownError(f"trigger {reading.name!r}: {reading.message}")


class Watch:
    """Looks at triggers beside the guard's loop, so that a slow answer delays nothing. ``tell`` takes one line."""

    def __init__(self, tell: Callable[[str], object]) -> None:
        self.tell = tell
        self.problem = ""
        self._asked: list[Any] | None = None
        self._stop = threading.Event()
        self._found: list[Cause] = []

    def set(self, document: Mapping[str, Any] | None) -> None:
        """Watch the triggers of ``document``, as long as they are the same."""
        wanted = (
            [document["triggers"], document["prometheus"]] if document is not None and document["triggers"] else None
        )
        if wanted == self._asked:
            return
        self._stop.set()
        self._stop, self._asked, self._found, self.problem = threading.Event(), wanted, [], ""
        if wanted is not None:
            watched = (*wanted, self._stop, self._found)
            threading.Thread(target=self.watch, args=watched, daemon=True).start()

    def pulled(self) -> Cause | None:
        """Why to fire."""
        return self._found[0] if self._found else None

    def watch(
        self,
        triggers: Sequence[Mapping[str, Any]],
        source: Mapping[str, Any],
        stop: threading.Event,
        found: list[Cause],
    ) -> None:
        """Look until ``stop`` is set or a trigger has held for its time, which is ``found`` then.

        Whatever is wrong, a token's file that is missing or an answer that is none, is told, and asked again.
        """
        watched: Triggers | None = None
        while not stop.is_set():
            readings: list[Reading] = []
            try:
                watched = watched or Triggers(triggers, source)
                readings, wrong = watched.look(), ""
            except CutoverError as error:
                wrong = error.message
            except Exception as error:  # noqa: BLE001  # or nobody would watch any more, and nobody know
                wrong = f"{type(error).__name__}: {error}"
            for reading in readings:
                if reading.status == "breach":
                    found.append(Cause("trigger", _sentence(reading)))
                    return
                if reading.status == "unknown":
                    down = reading.reason == SourceDownError.reason
                    wrong = reading.message if down else f"{reading.name!r} is not known: {reading.message}"
            if stop.is_set():
                # What an old watch still finds is nobody's any more.
                return
            if wrong and wrong != self.problem:
                self.tell(f"triggers: {wrong}")
            self.problem = wrong
            stop.wait(watched.every if watched else EVERY)


def _sentence(reading: Reading) -> str:
    value = "unknown" if reading.value is None else f"{reading.value:g}"
    return f"'{reading.name}' was {value} (limit {reading.bound:g}), {reading.message}"
