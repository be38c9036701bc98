# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One exception tree for the whole collection; every module turns it into one ``fail_json``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class CutoverError(Exception):
    """Something that stops a run.

    ``message`` says what is wrong, where, and what to do. ``reason`` is a stable word for machines.
    ``evidence`` is what was seen, ready for JSON.
    """

    reason = "error"

    def __init__(self, message: str, evidence: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.evidence = dict(evidence or {})

    def as_result(self) -> dict[str, Any]:
        """The keyword arguments of ``fail_json``."""
        return {"msg": self.message, "reason": self.reason, "evidence": self.evidence}


class StoppedError(BaseException):
    """The time of a module is over, or its process was told to end: by ``signal``, a number.

    Not an Exception: nothing on the way takes it for an error of its own and goes on. Who cannot take back what he has
    done says so in ``left``, one sentence each.
    """

    def __init__(self, signal: int) -> None:
        super().__init__(signal)
        self.signal = signal
        self.left: list[str] = []


class InputError(CutoverError):
    """The inventory asks for something that cannot be meant; nothing was touched."""

    reason = "input"


class StateError(InputError):
    """What a gate is to go on from was left by another one, or by another version."""

    reason = "state"


class DriftError(CutoverError):
    """Reality, configuration on disk and journal do not agree."""

    reason = "drift"


class RehearsalError(CutoverError):
    """A rehearsal is asked for before this migration, and there is none that counts."""

    reason = "rehearsal"


class CheckpointError(CutoverError):
    """The candidate has not shown what it must before it gets traffic."""

    reason = "checkpoint"


class LeaseHeldError(CutoverError):
    """Another run is acting on this service."""

    reason = "lease_held"


class FencedError(CutoverError):
    """This run has been overtaken, or its lease has expired: it may not write any more."""

    reason = "fenced"


class StoreError(CutoverError):
    """The journal, lease or fence cannot be read or written."""

    reason = "store"


class RouterError(CutoverError):
    """The router refused, did not answer, or did not do what it said."""

    reason = "router"


class ClusterError(RouterError, StoreError):
    """A cluster's API could not be reached, refused, or does not have what it must: router and journal may be there.

    ``status`` is that of HTTP, 0 where there was no answer. ``unknown``: what was asked for may have been done.
    """

    reason = "cluster"

    def __init__(
        self, message: str, evidence: Mapping[str, Any] | None = None, *, status: int = 0, unknown: bool = False
    ) -> None:
        super().__init__(message, evidence)
        self.status = status
        self.unknown = unknown


class EmptySelectorError(RouterError):
    """A selector without labels: it would take all endpoints away."""

    reason = "empty_selector"


class AmbiguousSelectorError(RouterError):
    """A selector that may match pods of both colours."""

    reason = "ambiguous_selector"


class NoSelectorError(RouterError):
    """A Service that selects no pods: its endpoints come from elsewhere, and a selector would not move them."""

    reason = "no_selector"


class NotSettledError(RouterError):
    """The switch was made, and what serves has not followed in time."""

    reason = "not_settled"


class NotReadyError(CutoverError):
    """The colour that should get traffic has not enough ready instances."""

    reason = "not_ready"


class WorkloadError(CutoverError):
    """A unit could not be started, stopped or read."""

    reason = "workload"


class RolloutError(WorkloadError):
    """A rollout has made no progress for as long as it may (ProgressDeadlineExceeded)."""

    reason = "rollout"


class DrainError(CutoverError):
    """Connections or requests were left when the time for draining ended; nothing was stopped."""

    reason = "drain"


class ProbeError(CutoverError):
    """A probe was not answered as expected."""

    reason = "probe"


class CaseError(CutoverError):
    """A candidate decides otherwise than its business rules say."""

    reason = "cases"


class HeldError(CutoverError):
    """A hold cannot be judged: the candidate keeps its share until somebody has looked."""

    reason = "held"


class FinalizeError(CutoverError):
    """The old version may not be deprecated or removed yet, or is gone already."""

    reason = "finalize"


class SlotError(CutoverError):
    """A shared environment is not this application's now."""

    reason = "slot"


class PromotionError(CutoverError):
    """A release may not go to an environment yet."""

    reason = "promotion"


class PhraseError(CutoverError):
    """The words that allow a step were not given, or others."""

    reason = "phrase"


class SourceError(CutoverError):
    """A namespace that a migration comes from was about to be written to; nothing was."""

    reason = "source"


class EnvironmentRefusedError(CutoverError):
    """An environment would have less than before, settings of another one, or none that it needs; nothing was touched.

    ``evidence`` has ``problems``, one sentence each.
    """

    reason = "environment"


class LayoutError(CutoverError):
    """A source tree cannot be laid out anew as it is asked for; nothing was changed."""

    reason = "layout"


class SnapshotError(CutoverError):
    """A snapshot cannot be taken, proven, found whole or restored; what was there is as it was."""

    reason = "snapshot"


class DataLossError(SnapshotError):
    """A restore would lose what was written since, and nobody has accepted that; nothing was restored."""

    reason = "data_loss"


class BuildError(CutoverError):
    """An image was not built, or nobody knows what it is."""

    reason = "build"


class QueueError(CutoverError):
    """A queue could not be read, or was not empty when the time for draining it ended."""

    reason = "queue"


class FreezeError(CutoverError):
    """Writers could not be held, or are not held any more."""

    reason = "freeze"
