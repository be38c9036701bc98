# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Beginning, recording and closing a migration on the router host: lease, journal and router together."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from ansible_collections.bluegreen.cutover.plugins.module_utils import _guarding
from ansible_collections.bluegreen.cutover.plugins.module_utils._core import (
    artifact,
    checkpoints,
    decide,
    guard,
    guide,
    holding,
    journal,
    lease,
    rehearsal,
)
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.decide import Decision, Reality
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import (
    CheckpointError,
    CutoverError,
    DriftError,
    FinalizeError,
    HeldError,
    InputError,
    RehearsalError,
    RouterError,
    SnapshotError,
    StateError,
    StoreError,
)
from ansible_collections.bluegreen.cutover.plugins.module_utils._routers import Router, Scaling
from ansible_collections.bluegreen.cutover.plugins.module_utils._routing import make_router, make_service
from ansible_collections.bluegreen.cutover.plugins.module_utils._stores.files import Clock, DamagedError, FileStore
from ansible_collections.bluegreen.cutover.plugins.module_utils._stores.opening import open_store

_T = TypeVar("_T")

REASON_LENGTH = 500
"""Characters of a reason that are kept: it is shown in one line, and may be some module's whole message."""


def open_plan(plan: Mapping[str, Any]) -> tuple[FileStore, Router]:
    """The store and the router that ``plan`` names."""
    try:
        service = make_service(plan["service"], plan["colours"], plan["health"]["ready"])
        store = open_store(plan["service"], plan["state_dir"], plan["cluster"])
        return store, make_router(plan["router"], service)
    except KeyError as error:
        raise InputError(f"the plan lacks {error}; make it with the action bluegreen.cutover.plan") from error


class Migration:
    """One run's view of a service; in check mode nothing is written.

    ``clock``, the store's by default, is asked anew for each decision, under the lock: what was true before it was
    waited for may not be now.
    """

    def __init__(
        self,
        plan: Mapping[str, Any],
        store: FileStore,
        router: Router,
        *,
        check_mode: bool = False,
        clock: Clock | None = None,
    ) -> None:
        self.plan = plan
        self.store = store
        self.router = router
        self.check_mode = check_mode
        self.clock = clock or store.clock

    def wait(self, owner: Mapping[str, Any], takeover: int | None = None) -> dict[str, Any]:
        """Raise ``LeaseHeldError`` while another run holds the lease; take nothing."""
        self._acquire(self.store.read_lease(), "cutover", self.plan["reason"], owner, takeover, 0)
        return {"changed": False}

    def begin(
        self,
        workloads: Sequence[Mapping[str, Any]] | None,
        owner: Mapping[str, Any],
        takeover: int | None = None,
        *,
        advance: bool = False,
        rehearse: bool = False,
        snapshots: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> dict[str, Any]:
        """Take the lease and begin or resume, unless there is nothing to do; to ``advance`` is to begin nothing, to
        ``rehearse`` is to come back in the end.

        ``takeover`` is the token of a lease whose holder is known to be dead. ``snapshots`` are those that were seen
        before, see ``artifact.lost``; what goes on although its candidate has had traffic needs them. Raises
        ``DriftError``, ``LeaseHeldError``, ``RehearsalError``, ``RouterError``, ``SnapshotError`` or ``StoreError``.
        """
        with self._locked():
            held = self.store.read_lease()
            state = journal.fold(self.store.read_journal())
            highest = max(self.store.read_fence(), state.token)
            taken = self._acquire(held, "cutover", self.plan["reason"], owner, takeover, highest)
            reality = self._read(workloads)
            decision = decide.decide(
                self.plan, state, reality, check_mode=self.check_mode, advance=advance, rehearse=rehearse
            )
            if decision.kind == decide.REFUSE:
                raise DriftError(
                    decision.sentence,
                    {"differences": list(decision.differences), "reality": dataclasses.asdict(reality)},
                )
            if decision.kind == decide.NOTHING:
                return self._result(decision, state, reality, None)
            decision = self._ratios(decision)
            lacks = None if rehearse else rehearsal.missing(self.plan, state.rehearsal, self.clock.time())
            if decision.kind == decide.BEGIN and lacks:
                raise RehearsalError(lacks, {"rehearsal": state.rehearsal})
            parts = [part["name"] for part in self.plan["state"]]
            if decision.kind == decide.RESUME and (advance or state.served):
                self._check_snapshots(parts, state, snapshots or {})
            with self._holding(taken):
                way = rehearsal.way(self.plan) if rehearse else None
                self._record(
                    taken,
                    "began",
                    reality,
                    subject=decide.subject(self.plan),
                    rehearsal=way,
                    parts=parts,
                    unverified=self.plan["accept_unverified"],
                    min_ready=decision.min_ready,
                )
                if decision.differences:
                    self._write(
                        taken["token"],
                        "reality_accepted",
                        weight=reality.weight,
                        persisted=reality.persisted,
                        differences=list(decision.differences),
                    )
                armed = self.store.read_guard()
                if armed is not None and not self.check_mode:
                    ttl = self.plan["lease"]["ttl"]
                    adopted = guard.adopt(armed, taken["token"], ttl, _guarding.moment_of(self.store))
                    # Where this run is to have none, nobody would renew it.
                    self.store.write_guard(adopted if self.plan["guard"]["enabled"] else None)
            return self._result(decision, state, reality, taken["token"])

    def roll_back(
        self,
        workloads: Sequence[Mapping[str, Any]] | None,
        owner: Mapping[str, Any],
        reason: str | None = None,
        takeover: int | None = None,
        token: int | None = None,
        *,
        progressive: bool = False,
        restore: bool = False,
    ) -> dict[str, Any]:
        """Take the lease, also from a living cutover, and begin the way back, unless there is nothing to do; with
        ``restore`` there always is.

        Neither a difference nor a damaged file stops it: both are recorded. With ``token`` a cutover that failed goes
        back by itself, and only if no other run has come since. Raises ``FencedError``, ``LeaseHeldError``,
        ``RouterError`` or ``StoreError``.
        """
        with self._locked():
            damage: list[str] = []
            held = self._undamaged(self.store.read_lease, None, damage)
            document = self._undamaged(self.store.read_journal, journal.empty(self.plan["service"]), damage)
            highest = self._undamaged(self.store.read_fence, 0, damage)
            armed = self._undamaged(self.store.read_guard, None, damage)
            state = journal.fold(document)
            highest = max(highest, state.token)
            if state.ended is not None and state.ended["removed"] is not None:
                gone = state.ended["colour"]
                raise FinalizeError(
                    f"{gone} of {self.plan['service']} was removed by finalize.yml: there is nothing to go back to; "
                    f"nothing was changed. Install it anew, then move there with cutover.yml -e cutover_to={gone}",
                    {"ended": state.ended},
                )
            if token is not None:
                lease.check_overtaken(self.plan["service"], held, highest, token, self.clock.time())
                if state.phase == journal.FINISHED:
                    raise HeldError(
                        f"{self.plan['service']} was moved and stays so: its migration {state.id} is finished. What "
                        f"failed came after that: {reason}"
                    )
            why = reason or self.plan["reason"]
            taken = self._acquire(held, "rollback", why, owner, takeover, highest)
            reality = self._read(workloads)
            decision = decide.decide_rollback(self.plan, state, reality, progressive=progressive)
            if decision.kind == decide.NOTHING and not damage and not restore:
                return self._result(decision, state, reality, None)
            if restore:
                sentence = f"{decision.sentence} Its data is to be restored."
                decision = dataclasses.replace(decision, kind=decide.ROLL_BACK, sentence=sentence)
            with self._holding(taken):
                # The event tells the migration's direction; this run goes the other way.
                back = {"from": decision.to_colour, "to": decision.from_colour}
                self._record(
                    taken,
                    "rollback_began",
                    reality,
                    **back,
                    persisted=reality.persisted,
                    differences=[*damage, *decision.differences],
                )
                if armed is not None and not self.check_mode:
                    self.store.write_guard(guard.stand_back(armed, taken["token"], _guarding.moment_of(self.store)))
            return self._result(decision, state, reality, taken["token"])

    def _ratios(self, decision: Decision) -> Decision:
        """``decision``, and by which numbers of pods its shares are made; ``RouterError`` where one cannot be."""
        if not isinstance(self.router, Scaling):
            return decision
        back = self.plan["back_steps"]["shares"] if self.plan["back"] == "progressive" else ()
        goal = journal.side(decision.to_colour)
        weights = {step["weight"] for step in decision.steps} | {one if goal else 100 - one for one in back}
        told = self.router.check(sorted(weights, reverse=not goal))
        return dataclasses.replace(decision, sentence=f"{decision.sentence} {told}".rstrip())

    def _check_snapshots(
        self, parts: Sequence[str], state: journal.State, snapshots: Mapping[str, Mapping[str, Any]]
    ) -> None:
        """Raise SnapshotError before a run goes on that would be refused at its step, and go back then; or that would
        move more traffic when there is nothing left to bring back.
        """
        if self.plan["accept_unverified"]:
            return
        # What an earlier run was told is not for this one: the journal will not take it either.
        lacks = journal.unproven(parts, dataclasses.replace(state, unverified=None), self.clock.time())
        if not lacks:
            lacks = artifact.lost({part: state.artifacts[part] for part in parts}, snapshots)
        if lacks:
            # A guard may have taken all of it.
            gone = state.weight == journal.side(state.from_colour or "blue")
            keeps = " for the candidate" if gone else "; the candidate keeps its share"
            raise SnapshotError(
                f"{self.plan['service']} cannot go on: {'; '.join(lacks)}. Nothing was changed{keeps}. It has "
                f"had traffic, and {journal.ANOTHER}; or give a reason to go on, with no way back for the data, by "
                "-e 'cutover_accept_unverified=\"why\"', which the journal keeps",
                {"artifacts": dict(state.artifacts)},
            )

    def freeze(self, owner: Mapping[str, Any]) -> dict[str, Any]:
        """Keep everybody else from migrating this service for the plan's ``freeze.time``, or for as long again.

        Raises ``LeaseHeldError`` where somebody else acts, or has frozen it.
        """
        with self._locked():
            held = self.store.read_lease()
            highest = max(self.store.read_fence(), journal.fold(self.store.read_journal()).token)
            seconds = self.plan["freeze"]["time"]
            taken = self._acquire(held, lease.FREEZE, self.plan["reason"], owner, None, highest, seconds)
            if not self.check_mode:
                self.store.write_lease(taken)
        return {"changed": True, "lease": taken}

    def thaw(self) -> dict[str, Any]:
        """End a freeze, whoever began it; the lease that was released, None where it was none of a freeze."""
        with self._locked():
            held = self.store.read_lease()
            frozen = held if held is not None and held["kind"] == lease.FREEZE else None
            if frozen is not None and not self.check_mode:
                self.store.write_lease(None)
        return {"changed": frozen is not None, "lease": frozen}

    def record(self, token: int | None, kind: str, data: Mapping[str, Any]) -> dict[str, Any]:
        """Append one event of the run that holds ``token``, and renew its lease.

        What a restore costs is written beside the journal with it; ``path`` is where that is, None where nothing is.
        """
        with self._locked():
            self._write(token, kind, **data)
            path = None if self.check_mode else self._audit()
        return {"changed": True, "path": path}

    def guide(self, how: Mapping[str, Any]) -> dict[str, Any]:
        """Write beside the journal how this migration is taken back. Returns the ``text``, and the ``places`` of its
        snapshots.
        """
        state = journal.fold(self.store.read_journal())
        text = guide.rollback_guide(self.plan, state.id or "", state.artifacts, how)
        changed = self.store.write_page("rollback.md", text, check_mode=self.check_mode)
        return {"changed": changed, "text": text, "places": guide.places(self.plan, state.artifacts)}

    def _audit(self) -> str | None:
        """Write beside the journal what this migration's restores have cost, and say where; None where none began."""
        [*_before, last] = self.store.read_journal()["migrations"]
        text = guide.audit(self.plan["service"], last["id"], last["events"])
        if not text:
            return None
        name = f"audit-{last['id']}.md"
        self.store.write_page(name, text)
        return str(self.store.folder / name)

    def probe(self, token: int | None, data: Mapping[str, Any]) -> dict[str, Any]:
        """Record ``checkpoints`` of ``data``; ``CheckpointError`` where the candidate did not pass one."""
        if self.check_mode:
            return {"changed": True}
        with self.store.locked():
            rehearsed = journal.fold(self.store.read_journal()).rehearsed
            shown = [*(data.get("checkpoints") or ()), *checkpoints.rehearsal(rehearsed)]
            self._write(token, "probed", colour=data.get("colour"), checkpoints=shown)
        lacks = checkpoints.failed(shown)
        if lacks:
            raise CheckpointError(
                f"{self.plan['to']} may not get traffic: {lacks}. Repair what that shows, then run again",
                {"checkpoints": shown},
            )
        return {"changed": True, "checkpoints": shown}

    def look(self, token: int | None, step: Mapping[str, Any], gate: Mapping[str, Any] | None) -> dict[str, Any]:
        """Begin the hold of ``step``, or judge where it is; ``gate`` is what the gate said since the last look.

        The hold's outcome, and under ``gate_state`` what the gate needs to go on.
        """
        if self.check_mode:
            return {"changed": True, "hold": self._would_hold(step)}
        if token is None:
            raise InputError("a hold needs the token of the run; it is cutover_run.token")
        with self.store.locked():
            self.store.renew(token, self.clock.time())
            hold = journal.fold(self.store.read_journal()).hold
            began = hold is None or hold["weight"] != step["weight"]
            if hold is None or began:
                self.store.write_gate(None)
                self._write(token, "hold_began", weight=step["weight"], seconds=step["hold"])
                hold = {"since": self.clock.time(), "verdict": None, "wanted": None, "called": None, "blind": None}
            outcome = self._outcome(hold, step, gate, self._run_left())
            seen = {"message": outcome.sentence} if gate is None else gate
            if gate is not None:
                # What another version of the gate has left it does not take: then it begins anew.
                stale = gate.get("reason") == StateError.reason
                self.store.write_gate(None if stale else {"asked": self._asked(step), "state": gate["state"]})
            if outcome.kind == holding.PASSED and not outcome.accepted:
                seen = {**seen, "verdict": "pass", "message": holding.said(seen) or outcome.sentence}
            # A gate that still has samples of the past to judge, and has found nothing, says nothing of now.
            catching_up = seen.get("verdict") == "open" and bool(seen.get("behind"))
            if not catching_up and holding.is_news(hold, seen.get("verdict"), seen.get("wanted")):
                self._write(token, "gate_seen", **_seen(seen))
            if outcome.accepted:
                told = {"reason": _one_line(outcome.accepted), "message": holding.said(seen)}
                self._write(token, "unproven_accepted", weight=step["weight"], **told)
            state = self._gate_state(step)
        return {"changed": began or gate is not None, "hold": {**outcome.as_result(), "gate_state": state}}

    def _outcome(
        self, hold: Mapping[str, Any], step: Mapping[str, Any], gate: Mapping[str, Any] | None, run_left: float
    ) -> holding.Outcome:
        """Where ``hold`` is, as the journal's state has it, of a run that may go on for ``run_left`` seconds."""
        return holding.judge(
            {**hold, "seconds": step["hold"]},
            gate=gate,
            gated=self.plan["gate"] is not None,
            now=self.clock.time(),
            run_left=run_left,
            slice_=holding.look(self.plan["guard"]["time"]),
            patience=(self.plan["gate"] or {}).get("patience", 0.0),
            back=self.plan["back"],
            accepted=self.plan["accept_unproven"],
        )

    def _asked(self, step: Mapping[str, Any]) -> dict[str, Any]:
        """What the gate is asked in the hold of ``step``; it goes on only with what it was asked before."""
        scrape = self.plan["prometheus"].get("scrape_interval")
        its = {name: value for name, value in (self.plan["gate"] or {}).items() if name != "patience"}
        return {"weight": step["weight"], "seconds": step["hold"], "gate": its, "scrape": scrape}

    def _gate_state(self, step: Mapping[str, Any]) -> dict[str, Any] | None:
        """What the gate needs to go on with the hold of ``step``; None where it begins anew."""
        saved = self.store.read_gate() or {}
        return saved.get("state") if saved.get("asked") == self._asked(step) else None

    def _would_hold(self, step: Mapping[str, Any]) -> dict[str, Any]:
        """What a run would do with the hold of ``step``: wait for its end, or end itself before."""
        hold = journal.fold(self.store.read_journal()).hold
        begun = hold is not None and hold["weight"] == step["weight"]
        since = hold["since"] if hold is not None and begun else self.clock.time()
        left = max(0.0, since + step["hold"] - self.clock.time())
        kind = holding.PASSED if left <= self.plan["run_limit"] else holding.WAITING
        outcome = holding.Outcome(kind, left, 0.0, f"a run would find {holding.span(left)} of its hold left")
        return {**outcome.as_result(), "gate_state": None}

    def _run_left(self) -> float:
        """Seconds that this run may go on; below 0 when it has gone on for longer."""
        held = self.store.read_lease()
        return float(self.plan["run_limit"]) - (self.clock.time() - held["since"] if held else 0.0)

    def stay(self, token: int | None, message: str, *, unknown: bool) -> dict[str, Any]:
        """End this run in the middle of a hold, and release its lease; ``HeldError`` where the hold is ``unknown``."""
        with self._locked():
            self._write(token, "held", message=_one_line(message))
            if not self.check_mode:
                self.store.write_lease(None)
        if unknown:
            raise HeldError(
                f"{self.plan['service']}: {message}. Nothing was changed; the candidate keeps its share. Repair what "
                "keeps the gate from telling and run advance.yml; or, when the time of the hold is over, take it as "
                "passed with advance.yml -e 'cutover_accept_unproven=\"why\"'; or go back with rollback.yml"
            )
        return {"changed": True}

    def close(self, token: int | None, kind: str, data: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Record ``finished`` or ``rolled_back``, provided that the router says so too, and release the lease.

        ``data`` is recorded with it. After a rehearsal the result has what came of it.
        """
        if self.check_mode:
            return {"changed": True}
        with self.store.locked():
            state = journal.fold(self.store.read_journal())
            goal = journal.side((state.to_colour if kind == journal.FINISHED else state.from_colour) or "blue")
            reading = self.router.read()
            if (reading.weight, reading.persisted) != (goal, goal):
                raise RouterError(
                    f"{self.plan['service']}: the migration {state.id} is not {kind.replace('_', ' ')}: green gets "
                    f"{reading.weight} %, and {reading.persisted} % after a reboot, where {goal} % is needed. "
                    "Look for whoever else changes this router, then run again",
                    {"reading": dataclasses.asdict(reading), "goal": goal},
                )
            self._write(token, kind, **{**(data or {}), "weight": goal})
            self.store.write_guard(None)
            self.store.write_gate(None)
            self.store.write_lease(None)
            rehearsed = journal.fold(self.store.read_journal()).rehearsal
        return {"changed": True, "id": state.id, "rehearsal": rehearsed}

    def fail(self, token: int | None, data: Mapping[str, Any]) -> dict[str, Any]:
        """Record why this run ends here, and release its lease; the migration stays open for the next run."""
        with self._locked():
            reason, message = str(data.get("reason") or "error"), _one_line(str(data.get("message") or ""))
            self._write(token, "failed", reason=reason, message=message)
            if not self.check_mode:
                self.store.write_lease(None)
        return {"changed": True}

    def describe(
        self, workloads: Sequence[Mapping[str, Any]] | None, *, advance: bool = False, rehearse: bool = False
    ) -> dict[str, Any]:
        """Who serves, since when, what is recorded, and where these do not agree; what cannot be read is told too.

        ``idle``: a run that began now, or would ``advance`` or ``rehearse``, would have nothing to do. Where that is
        not known, it is false. ``over`` are the migrations whose snapshots nobody needs any more; like ``phase`` it is
        None where the journal cannot be read, and all else that is recorded is as if there were none.
        """
        idle = False
        problems: list[str] = []
        recorded = self._readable(self.store.read_journal, None, problems)
        document = recorded or journal.empty(self.plan["service"])
        held = self._readable(self.store.read_lease, None, problems)
        armed = self._readable(self.store.read_guard, None, problems)
        reading = self._readable(self.router.read, None, problems)
        state = journal.fold(document)
        unread = bool(problems)
        reality = Reality(None, None, {}, workloads)
        if reading is not None:
            reality = Reality(reading.weight, reading.persisted, reading.ready, workloads, reading.unclear)
            problems += decide.differences(self.plan, state, reality) if recorded else []
            would = decide.decide(self.plan, state, reality, advance=advance, rehearse=rehearse)
            idle = would.kind == decide.NOTHING and not unread
        return {
            "service": self.plan["service"],
            "serving": decide.shares(reality.weight),
            "since": state.since,
            "weight": reality.weight,
            "persisted": reality.persisted,
            "ready": dict(reality.ready),
            "in_flight": dict(reading.in_flight) if reading is not None else {},
            "phase": state.phase if recorded else None,
            "migration": document["migrations"][-1] if document["migrations"] else None,
            "failure": state.failure,
            "hold": state.hold,
            "rehearsal": state.rehearsal,
            "artifacts": [dict(one) for one in state.artifacts.values()],
            "over": journal.over(recorded) if recorded else None,
            "served": state.served and state.phase not in journal.CLOSED,
            "checkpoints": _last(document, "probed", "checkpoints"),
            "success": _last(document, "finished", "success"),
            "ended": state.ended,
            "lease": {**held, "expired": self.clock.time() >= held["expires"]} if held else None,
            "guard": _guarding.describe(self.store, armed, problems) if armed else None,
            "idle": idle,
            "agree": not problems,
            "differences": problems,
        }

    def _locked(self) -> contextlib.AbstractContextManager[None]:
        # Check mode makes no folder and no lock file; files are replaced whole, so it reads well without them.
        return contextlib.nullcontext() if self.check_mode else self.store.locked()

    def _read(self, workloads: Sequence[Mapping[str, Any]] | None) -> Reality:
        reading = self.router.read()
        return Reality(reading.weight, reading.persisted, reading.ready, workloads, reading.unclear)

    def _acquire(
        self,
        held: Mapping[str, Any] | None,
        kind: str,
        reason: str,
        owner: Mapping[str, Any],
        takeover: int | None,
        highest: int,
        ttl: float | None = None,
    ) -> lease.Lease:
        return lease.acquire(
            self.plan["service"],
            held,
            owner=owner,
            kind=kind,
            reason=_one_line(reason),
            now=self.clock.time(),
            ttl=self.plan["lease"]["ttl"] if ttl is None else ttl,
            last_token=max(highest, held["token"] if held else 0),
            holder_dead=held is not None and held["token"] == takeover,
        )

    @contextlib.contextmanager
    def _holding(self, taken: lease.Lease) -> Iterator[None]:
        """Write the lease; give it up again when what comes next cannot be recorded."""
        if self.check_mode:
            yield
            return
        self.store.write_lease(taken)
        try:
            yield
        except CutoverError:
            self.store.write_lease(None)
            raise

    def _record(self, taken: lease.Lease, kind: str, reality: Reality, **data: Any) -> None:
        direction = {"from": self.plan["from"], "to": self.plan["to"]}
        given = {"owner": taken["owner"], "reason": taken["reason"], "weight": reality.weight}
        self._write(taken["token"], kind, **{**direction, **given, **data})

    def _write(self, token: int | None, kind: str, **data: Any) -> None:
        if self.check_mode:
            return
        if token is None:
            raise InputError(f"the event {kind!r} needs the token of the run; it is cutover_run.token")
        with self.store.locked():
            self.store.record(token, self.clock.time(), kind, **data)

    def _undamaged(self, read: Callable[[], _T], otherwise: _T, damage: list[str]) -> _T:
        try:
            return read()
        except DamagedError as error:
            damage.append(error.what)
            if not self.check_mode:
                damage[-1] += f"; it is now {self.store.set_aside(error.path)}"
            return otherwise

    @staticmethod
    def _readable(read: Callable[[], _T], otherwise: _T, problems: list[str]) -> _T:
        try:
            return read()
        except (RouterError, StoreError) as error:
            problems.append(error.message)
            return otherwise

    def _result(self, decision: Decision, state: journal.State, reality: Reality, token: int | None) -> dict[str, Any]:
        """What the next tasks need. Check mode gives no token, because none was taken."""
        opens = state.phase == journal.NONE or (decision.kind == decide.BEGIN)
        parts = [part["name"] for part in self.plan["state"]]
        resumes = decision.kind == decide.RESUME
        return {
            "changed": token is not None,
            "decision": decision.as_result(),
            "id": journal.identity(token) if opens and token is not None else state.id,
            "from": decision.from_colour,
            "to": decision.to_colour,
            "weight": reality.weight,
            "persisted": reality.persisted,
            "ready": dict(reality.ready),
            "token": None if self.check_mode else token,
            "artifacts": {part: dict(one) for part, one in state.artifacts.items()},
            "earlier_hold": journal.earlier_hold(parts, state, self.clock.time()) if resumes else None,
            "served": resumes and state.served,
        }


def _seen(gate: Mapping[str, Any]) -> dict[str, Any]:
    """What the journal keeps of a gate's result."""
    kept = ("name", "status", "reason", "value", "bound", "baseline", "n", "bad", "covered")
    criteria = [{name: one[name] for name in kept if one.get(name) is not None} for one in gate.get("criteria") or ()]
    said = {name: gate.get(name) for name in ("verdict", "reason", "wanted")}
    return {**said, "message": holding.said(gate), "criteria": criteria}


def _last(document: Mapping[str, Any], kind: str, name: str) -> list[Any]:
    """What the last event of ``kind`` in the last migration has under ``name``."""
    events = document["migrations"][-1]["events"] if document["migrations"] else []
    found = [event.get(name) for event in events if event["kind"] == kind]
    return (found[-1] if found else None) or []


def _one_line(text: str) -> str:
    return " ".join(text.split())[:REASON_LENGTH]
