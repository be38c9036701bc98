# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What comes next, from what is recorded and what is real; and that a crash anywhere is never a dead end."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from ansible_collections.bluegreen.cutover.plugins.module_utils._core import decide, journal
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.decide import Reality

HOSTS = ("app1", "app2")


def make_plan(to: str = "green", **changes: Any) -> dict[str, Any]:
    return {
        "service": "shop",
        "from": "blue" if to == "green" else "green",
        "to": to,
        "hosts": {"router": "router", "app": list(HOSTS)},
        "router": {"provider": "haproxy"},
        "colours": {
            colour: {
                "unit": f"shop-{colour}.service",
                "port": 1,
                "instances": [{"host": host, "port": 1} for host in HOSTS],
            }
            for colour in ("blue", "green")
        },
        "steps": [
            {"share": share, "weight": share if to == "green" else 100 - share, "settle": 0, "hold": 0}
            for share in (10, 50, 100)
        ],
        "accept_reality": False,
        "min_ready": 2,
        "entry": None,
        "cluster": None,
        **changes,
    }


@dataclass
class World:
    """A service and its journal. Each run is a generator that pauses after every single effect."""

    weight: int = 0
    persisted: int = 0
    units: dict[tuple[str, str], list[bool]] = field(
        default_factory=lambda: {
            (host, colour): [colour == "blue"] * 2 for host in HOSTS for colour in ("blue", "green")
        }
    )
    document: dict[str, Any] = field(default_factory=lambda: journal.empty("shop"))
    token: int = 0

    @property
    def state(self) -> journal.State:
        return journal.fold(self.document)

    @property
    def reality(self) -> Reality:
        workloads = [
            {"host": host, "colour": colour, "active": active, "enabled": enabled}
            for (host, colour), (active, enabled) in self.units.items()
        ]
        return Reality(self.weight, self.persisted, {}, workloads)

    def record(self, kind: str, **data: Any) -> None:
        event = {"kind": kind, "at": float(self.token), "token": self.token, **data}
        self.document = journal.append(self.document, event)

    def cutover(
        self, plan: dict[str, Any], *, advance: bool = False, over: Callable[[], bool] = lambda: True
    ) -> Iterator[None]:
        """``over`` says in each look at a hold whether it has passed."""
        decision = decide.decide(plan, self.state, self.reality, advance=advance)
        if advance and decision.kind == decide.REFUSE:
            assert "there is nothing to advance" in decision.sentence
            return
        assert decision.kind in (decide.NOTHING, decide.BEGIN, decide.RESUME), decision.sentence
        if decision.kind == decide.NOTHING:
            return
        self.token += 1
        moved = {"from": plan["from"], "to": plan["to"], "subject": decide.subject(plan)}
        self.record("began", **moved, owner={}, reason="", weight=self.weight)
        yield
        yield from self.start(plan["to"])
        self.record("started", colour=plan["to"])
        yield
        for step in decision.steps:
            yield from self.route(step["weight"], step["allowed"])
            if step["hold"]:
                yield from self.look(step, over)
            if self.state.phase == journal.HELD:
                return
        if decision.partial:
            self.record("held", message="")
            yield
            return
        if plan["from"] != plan["entry"]:
            yield from self.stop(plan["from"])
        self.record("finished", weight=journal.side(plan["to"]))
        yield

    def look(self, step: dict[str, Any], over: Callable[[], bool]) -> Iterator[None]:
        hold = self.state.hold
        if hold is None or hold["weight"] != step["weight"]:
            self.record("hold_began", weight=step["weight"], seconds=step["hold"])
            yield
        if over():
            self.record("gate_seen", verdict="pass", reason=None, wanted=None, message="", criteria=[])
        else:
            self.record("held", message="")
        yield

    def rollback(self, plan: dict[str, Any]) -> Iterator[None]:
        decision = decide.decide_rollback(plan, self.state, self.reality)
        assert decision.kind in (decide.NOTHING, decide.ROLL_BACK)
        assert not decision.differences
        if decision.kind == decide.NOTHING:
            return
        self.token += 1
        self.record(
            "rollback_began",
            **{"from": decision.to_colour},
            to=decision.from_colour,
            owner={},
            reason="",
            weight=self.weight,
            persisted=self.persisted,
            differences=[],
        )
        yield
        yield from self.start(decision.to_colour)
        yield from self.route(decision.weight, [])
        if decision.from_colour != plan["entry"]:
            yield from self.stop(decision.from_colour)
        self.record("rolled_back", weight=decision.weight)
        yield

    def start(self, colour: str) -> Iterator[None]:
        for host in HOSTS:
            for part in (0, 1):
                self.units[host, colour][part] = True
                yield

    def stop(self, colour: str) -> Iterator[None]:
        for host in HOSTS:
            for part in (0, 1):
                self.units[host, colour][part] = False
                yield
        self.record("drained", colour=colour)
        yield

    def route(self, weight: int, allowed: list[int]) -> Iterator[None]:
        assert not allowed or {self.weight, self.persisted} <= {*allowed, weight}
        if (self.weight, self.persisted) == (weight, weight):
            return
        self.record("weight_intended", before=self.weight, weight=weight)
        yield
        self.weight = weight
        yield
        self.persisted = weight
        yield
        self.record("weight_set", weight=weight, commands=[], ms=1.0)
        yield

    def reboot(self) -> None:
        self.weight = self.persisted
        for unit in self.units.values():
            unit[0] = unit[1]


def run(steps: Iterator[None], until: int | None = None) -> None:
    """Take up to ``until`` effects of a run, as if it was killed then."""
    for count, _effect in enumerate(steps, start=1):
        if count == until:
            return


def finished(*, to: str = "green") -> World:
    world = World()
    run(world.cutover(make_plan()))
    if to == "blue":
        run(world.rollback(make_plan()))
    return world


LENGTH = len(list(World().cutover(make_plan())))


def test_the_first_migration_begins_and_the_second_run_has_nothing_to_do() -> None:
    world = World()
    decision = decide.decide(make_plan(), world.state, world.reality)
    assert decision.as_result() == {
        "kind": "begin",
        "from": "blue",
        "to": "green",
        "weight": 100,
        "steps": [
            {"share": 10, "weight": 10, "settle": 0, "hold": 0, "allowed": [0], "held": False, "may_stay": False},
            {"share": 50, "weight": 50, "settle": 0, "hold": 0, "allowed": [10], "held": False, "may_stay": True},
            {"share": 100, "weight": 100, "settle": 0, "hold": 0, "allowed": [50], "held": False, "may_stay": True},
        ],
        "differences": [],
        "sentence": "shop moves from blue to green, which gets 10 %, 50 %, 100 %.",
        "min_ready": 2,
        "at_once": False,
        "scales": False,
        "partial": False,
    }
    run(world.cutover(make_plan()))
    again = decide.decide(make_plan(), world.state, world.reality)
    assert (again.kind, again.steps) == ("nothing", ())
    assert again.sentence == "Nothing to do: green serves shop alone, and is what a reboot brings up."


def test_in_check_mode_each_step_finds_what_is_there_now() -> None:
    decision = decide.decide(make_plan(), World().state, World().reality, check_mode=True)
    assert [step["allowed"] for step in decision.steps] == [[0], [0], [0]]


def test_a_resumed_migration_holds_the_applied_share_again_and_says_so() -> None:
    world = World(50, 10)
    world.record("began", **{"from": "blue"}, to="green", subject={}, owner={}, reason="", weight=0)
    world.record("weight_intended", before=10, weight=50)
    run(world.start("green"))
    decision = decide.decide(make_plan(), world.state, world.reality)
    assert decision.kind == "resume"
    assert [(step["share"], step["allowed"]) for step in decision.steps] == [(50, [10, 50]), (100, [50])]
    assert decision.sentence == (
        f"shop: the migration {world.state.id} to green was left in the middle of setting 50 %, with 50 % of the "
        "traffic on green; it goes on with 50 %, 100 % for green."
    )


def begun(**changes: Any) -> World:
    """A migration that was killed right after it began."""
    world = World()
    run(world.cutover(make_plan(**changes)), 1)
    return world


COLOURS = make_plan()["colours"]
OTHER_PORT = {**COLOURS, "green": {**COLOURS["green"], "port": 2}}
OTHER_UNIT = {**COLOURS, "blue": {**COLOURS["blue"], "unit": "old.service"}}
OTHER_ADDRESS = {
    **COLOURS,
    "blue": {**COLOURS["blue"], "instances": [{"host": "a", "port": 1}, {"host": "b", "port": 1}]},
}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"colours": OTHER_PORT},
            (
                'cutover_colours.green is {"port": 2, "unit": "shop-green.service"} in the inventory, '
                'and the migration 19700101T000001Z was begun with {"port": 1, "unit": "shop-green.service"}'
            ),
        ),
        ({"colours": OTHER_UNIT}, 'cutover_colours.blue is {"port": 1, "unit": "old.service"} in the inventory'),
        ({"colours": OTHER_ADDRESS}, 'cutover_app is {"app1": "a", "app2": "b"} in the inventory'),
        ({"hosts": {"router": "router", "app": ["app1"]}}, 'cutover_app is {"app1": "app1"} in the inventory'),
        ({"router": {"provider": "nginx"}}, 'cutover_router is {"provider": "nginx"} in the inventory'),
    ],
)
def test_a_migration_goes_on_with_what_it_began_with_or_is_told_otherwise(change: dict[str, Any], said: str) -> None:
    world = begun()
    refused = decide.decide(make_plan(**change), world.state, world.reality)
    assert refused.kind == "refuse"
    assert [one for one in refused.differences if one.startswith(said)]
    assert f"- {said}" in refused.sentence
    assert "go on from what is there with -e cutover_accept_reality=true" in refused.sentence
    assert decide.decide_rollback(make_plan(**change), world.state, world.reality).kind == "roll_back"

    accepting = make_plan(**change, accept_reality=True)
    assert decide.decide(accepting, world.state, world.reality).kind == "resume"
    # From there on that is what it goes on with.
    run(world.cutover(accepting), 1)
    assert not [
        one for one in decide.differences(make_plan(**change), world.state, world.reality) if "begun with" in one
    ]


def test_steps_may_change_on_the_way_and_anything_once_it_has_ended() -> None:
    world = begun()
    slower = [{"share": 5, "weight": 5, "settle": 60}, {"share": 100, "weight": 100, "settle": 0}]
    assert decide.decide(make_plan(steps=slower, min_ready=1), world.state, world.reality).kind == "resume"
    run(world.cutover(make_plan()))
    assert decide.decide(make_plan("blue", colours=OTHER_PORT), world.state, world.reality).kind == "begin"


@pytest.mark.parametrize("crash", range(1, LENGTH + 1))
def test_a_run_killed_anywhere_is_finished_by_the_next(crash: int) -> None:
    world = World()
    run(world.cutover(make_plan()), crash)
    run(world.cutover(make_plan()))
    assert (world.weight, world.persisted, world.state.phase) == (100, 100, "finished")
    assert decide.decide(make_plan(), world.state, world.reality).kind == "nothing"


@pytest.mark.parametrize("crash", range(1, LENGTH + 1))
def test_a_run_killed_anywhere_is_undone_by_a_rollback(crash: int) -> None:
    world = World()
    run(world.cutover(make_plan()), crash)
    run(world.rollback(make_plan()))
    assert (world.weight, world.persisted, world.state.phase) == (0, 0, "rolled_back")
    assert decide.decide_rollback(make_plan(), world.state, world.reality).kind == "nothing"
    assert decide.decide(make_plan(), world.state, world.reality).kind == "begin"


@pytest.mark.parametrize("entry", [None, "blue"])
@pytest.mark.parametrize("seed", range(250))
def test_whatever_runs_crash_in_whatever_order_none_is_refused(seed: int, entry: str | None) -> None:
    chance = random.Random(seed)  # noqa: S311 - the same chances every time
    world = World()
    for _attempt in range(3):
        state = world.state
        to = state.to_colour if state.phase not in journal.CLOSED else chance.choice(("blue", "green"))
        plan = make_plan(to or "green", entry=entry)
        serving = "green" if world.weight else "blue"
        if state.phase in journal.CLOSED and state.phase == journal.NONE and to == serving:
            continue
        steps = chance.choice((world.cutover, world.cutover, world.rollback))(plan)
        run(steps, chance.choice((None, chance.randint(1, LENGTH))))
        if chance.random() < 0.2:
            world.reboot()
        assert entry is None or all(world.units[host, entry] == [True, True] for host in HOSTS)
    state = world.state
    run(world.rollback(make_plan(state.to_colour or "green", entry=entry)))
    assert world.weight == world.persisted == journal.side(world.state.from_colour or "blue")


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        ({"weight": 50, "persisted": 50}, "the router sends 50 % to green, and the migration"),
        ({"weight": 0}, "the router sends 0 % to green now, but 100 % after a reload or a reboot"),
        ({"persisted": 0}, "the router sends 100 % to green now, but 0 % after a reload or a reboot"),
        ({"persisted": None}, "the router sends 100 % to green now, but an unknown share after a reload"),
        ({"weight": None}, "the router does not tell how it shares the traffic of shop; is it set up for it?"),
    ],
)
def test_traffic_edited_by_hand_is_refused_and_can_be_accepted(edit: dict[str, Any], said: str) -> None:
    world = finished()
    for name, value in edit.items():
        setattr(world, name, value)
    decision = decide.decide(make_plan(), world.state, world.reality)
    assert decision.kind == "refuse"
    assert any(one.startswith(said) for one in decision.differences)
    assert "cutover_accept_reality=true; or go back with rollback.yml" in decision.sentence
    accepted = decide.decide(make_plan(accept_reality=True), world.state, world.reality)
    assert accepted.kind == ("refuse" if world.weight is None else "begin")
    assert decide.decide_rollback(make_plan(), world.state, world.reality).kind == "roll_back"


@pytest.mark.parametrize(
    ("unit", "now", "said"),
    [
        (("app2", "green"), [False, True], "shop-green.service on app2 is not active, and green gets 100 %"),
        (("app1", "green"), [True, False], "shop-green.service on app1 is not enabled: a reboot would not start it"),
        (("app1", "blue"), [True, False], "shop-blue.service on app1 is active, and green serves alone"),
        (("app1", "blue"), [False, True], "shop-blue.service on app1 is enabled: a reboot would start it"),
    ],
)
@pytest.mark.parametrize("recorded", [True, False])
def test_units_changed_by_hand_are_refused(unit: tuple[str, str], now: list[bool], said: str, recorded: bool) -> None:
    world = finished()
    world.units[unit] = now
    state = world.state if recorded else journal.State()
    decision = decide.decide(make_plan(), state, world.reality)
    assert (decision.kind, decision.differences) == ("refuse", (said,))
    accepted = decide.decide(make_plan(accept_reality=True), state, world.reality)
    assert accepted.kind == "begin"
    assert [step["share"] for step in accepted.steps] == [100]
    assert said in accepted.sentence


def test_a_unit_that_nobody_read_is_not_taken_for_well() -> None:
    world = World()
    del world.units["app2", "green"]
    decision = decide.decide(make_plan(), world.state, world.reality)
    assert decision.differences == ("nothing is known of shop-green.service on app2",)


def test_without_a_journal_only_one_colour_alone_is_understood() -> None:
    world = finished()
    assert decide.decide(make_plan(), journal.State(), world.reality).kind == "nothing"
    half = World(37, 37)
    decision = decide.decide(make_plan(), half.state, half.reality)
    assert decision.differences[0] == "no migration is recorded, yet the router sends 37 % to green"
    apart = World(0, 100)
    assert "but 100 % after a reload" in decide.decide(make_plan(), apart.state, apart.reality).differences[0]


def test_an_edit_in_the_middle_of_a_migration_is_refused() -> None:
    world = World()
    run(world.cutover(make_plan()), LENGTH - 10)
    world.weight = 77
    decision = decide.decide(make_plan(), world.state, world.reality)
    assert decision.kind == "refuse"
    assert "(moving) left it at" in decision.differences[0]


def test_what_is_on_disk_and_cannot_be_told_may_be_there_once_it_is_accepted() -> None:
    reality = replace(World().reality, persisted=None)
    assert decide.decide(make_plan(), World().state, reality).kind == "refuse"
    decision = decide.decide(make_plan(accept_reality=True), World().state, reality)
    assert [step["allowed"] for step in decision.steps] == [[], [10], [50]]


def test_an_open_migration_is_not_turned_around() -> None:
    world = World()
    run(world.cutover(make_plan()), 3)
    decision = decide.decide(make_plan("blue", accept_reality=True), world.state, world.reality)
    assert decision.kind == "refuse"
    assert decision.sentence.endswith("Finish it with -e cutover_to=green, or go back with rollback.yml")


def test_the_next_release_goes_the_other_way() -> None:
    world = finished()
    decision = decide.decide(make_plan("blue"), world.state, world.reality)
    assert (decision.kind, decision.weight) == ("begin", 0)
    assert [step["allowed"] for step in decision.steps] == [[100], [90], [50]]
    run(world.cutover(make_plan("blue")))
    assert decide.decide(make_plan("blue"), world.state, world.reality).kind == "nothing"


def test_the_entry_runs_on_whoever_answers() -> None:
    plan = make_plan(entry="blue")
    world = World()
    kept = "blue takes the connections, so it is kept running."
    assert decide.decide(plan, world.state, world.reality).sentence.endswith(f"50 %, 100 %. {kept}")
    run(world.cutover(plan))
    again = decide.decide(plan, world.state, world.reality)
    assert (again.kind, again.sentence) == ("nothing", f"Nothing to do: green answers shop alone. {kept}")
    assert "drained" not in [event["kind"] for event in world.document["migrations"][0]["events"]]
    # The other way, green is nobody's entry: it is stopped.
    back = make_plan("blue", entry="blue")
    run(world.cutover(back))
    assert world.units["app1", "green"] == [False, False]
    assert decide.decide(back, world.state, world.reality).sentence.startswith("Nothing to do: blue serves shop alone,")


@pytest.mark.parametrize("weight", [10, 100])
def test_an_entry_that_is_gone_is_told(weight: int) -> None:
    plan = make_plan(entry="blue")
    world = World()
    run(world.cutover(plan), None if weight == 100 else LENGTH // 2)
    world.weight = world.persisted = weight
    world.units["app1", "blue"] = [False, True]
    told = "takes the connections" if weight == 100 else f"gets {100 - weight} %"
    found = decide.differences(plan, world.state, world.reality)
    assert f"shop-blue.service on app1 is not active, and blue {told}" in found
    world.units["app1", "blue"] = [True, False]
    found = decide.differences(plan, world.state, world.reality)
    assert ("shop-blue.service on app1 is not enabled: a reboot would not start it" in found) == (weight == 100)


def test_why_the_weight_is_not_known_is_told() -> None:
    seen = replace(World().reality, weight=None, unclear="app2 does not answer")
    decision = decide.decide(make_plan(accept_reality=True), World().state, seen)
    assert decision.kind == "refuse"
    assert decision.differences == ("the router does not tell how it shares the traffic of shop: app2 does not answer",)


def test_a_rollback_that_nobody_gave_the_units_asks_the_router() -> None:
    world = finished(to="blue")
    for ready, kind in ((2, "nothing"), (1, "roll_back")):
        seen = Reality(0, 0, {"blue": ready, "green": 0}, None)
        assert decide.decide_rollback(make_plan(), world.state, seen).kind == kind


def held_plan(**changes: Any) -> dict[str, Any]:
    """10 % and 75 % are held, 50 % is not."""
    holds = {10: 600, 75: 600}
    steps = [{"share": s, "weight": s, "settle": 0, "hold": holds.get(s, 0)} for s in (10, 50, 75, 100)]
    return make_plan(**{"steps": steps, **changes})


def shown(decision: decide.Decision) -> list[tuple[int, bool]]:
    return [(step["share"], step["held"]) for step in decision.steps]


def test_a_hold_comes_again_until_the_run_that_it_passed_for_has_taken_the_next_step() -> None:
    world = World()
    run(world.cutover(held_plan(), over=lambda: False))
    assert (world.weight, world.state.phase) == (10, "held")
    decision = decide.decide(held_plan(), world.state, world.reality)
    assert shown(decision) == [(10, True), (50, False), (75, False), (100, False)]
    assert "to green was left held, with 10 % of the traffic on green; it goes on with 10 %, 50 %" in decision.sentence

    run(world.cutover(held_plan(), over=iter([True, False]).__next__))
    assert (world.weight, world.state.phase) == (75, "held")
    once = world.state.hold
    assert once is not None
    # A run that dies before it says anything of the hold does not begin it anew.
    run(world.cutover(held_plan()), 1)
    assert world.state.hold == once
    # Nobody has confirmed it since: the step is guarded again.
    assert shown(decide.decide(held_plan(), world.state, world.reality)) == [(75, False), (100, False)]
    run(world.cutover(held_plan(), over=lambda: False))

    world.record("began", **{"from": "blue"}, to="green", subject={}, owner={}, reason="", weight=75)
    world.record("gate_seen", **PASSED)
    # That run died: what the gate said then may be days old.
    assert shown(decide.decide(held_plan(), world.state, world.reality)) == [(75, False), (100, False)]


PASSED = {"verdict": "pass", "reason": None, "wanted": None, "message": "", "criteria": []}


def test_the_last_hold_does_not_come_again_when_the_old_colour_is_being_retired() -> None:
    plan = held_plan(steps=[{"share": 100, "weight": 100, "settle": 0, "hold": 600}])
    world = World()
    run(world.cutover(plan, over=lambda: False))
    world.record("began", **{"from": "blue"}, to="green", subject={}, owner={}, reason="", weight=100)
    world.record("gate_seen", **PASSED)
    assert shown(decide.decide(plan, world.state, world.reality)) == [(100, False)]
    for _event in world.stop("blue"):
        assert shown(decide.decide(plan, world.state, world.reality)) == []


def test_to_advance_takes_one_new_step_at_most() -> None:
    world = World()
    run(world.cutover(held_plan(), over=lambda: False))
    assert decide.decide(held_plan(), world.state, world.reality, advance=True).partial
    assert not decide.decide(held_plan(), world.state, world.reality).partial
    told = []
    for over in (False, True, True, False, True):
        told.append(shown(decide.decide(held_plan(), world.state, world.reality, advance=True)))
        run(world.cutover(held_plan(), advance=True, over=lambda over=over: over))  # type: ignore[misc]
        told[-1].append((world.weight, world.state.phase == "held"))
    assert told == [
        [(10, True), (50, False), (10, True)],
        [(10, True), (50, False), (50, True)],
        # 50 % was left on purpose, has no hold, and does not come again.
        [(75, False), (75, True)],
        # The hold of 75 % had passed when that run ended; what has happened since is judged before the next step.
        [(75, True), (100, False), (75, True)],
        [(75, True), (100, False), (100, False)],
    ]
    assert world.state.phase == "finished"
    nothing = decide.decide(held_plan(), world.state, world.reality, advance=True)
    assert (nothing.kind, nothing.sentence) == ("nothing", "Nothing to advance: no migration of shop is open.")


@pytest.mark.parametrize(
    ("to", "began", "stays"),
    [
        ("green", 0, [(10, False), (50, True), (100, True)]),
        ("green", 10, [(10, True), (50, True), (100, True)]),
        ("green", 50, [(50, True), (100, True)]),
        ("green", 100, [(100, True)]),
        ("blue", 100, [(10, False), (50, True), (100, True)]),
        ("blue", 90, [(10, True), (50, True), (100, True)]),
        ("blue", 0, [(100, True)]),
    ],
)
def test_r_b5_a_run_whose_slot_has_ended_stays_where_its_candidate_has_a_share(
    to: str, began: int, stays: list[tuple[int, bool]]
) -> None:
    plan = make_plan(to, accept_reality=True)
    reality = replace(World().reality, weight=began, persisted=began)
    steps = decide.decide(plan, moving(plan), reality).steps
    assert [(step["share"], step["may_stay"]) for step in steps] == stays


def test_r_a6_a_rehearsal_whose_slot_has_ended_stays_nowhere() -> None:
    plan = make_plan(accept_reality=True)
    reality = replace(World().reality, weight=10, persisted=10)
    state = replace(moving(plan), rehearsal={})
    steps = decide.decide(plan, state, reality, rehearse=True).steps
    assert [(step["share"], step["may_stay"]) for step in steps] == [(10, False), (50, False), (100, False)]


def moving(plan: dict[str, Any]) -> journal.State:
    """A migration that is open, and may be anywhere."""
    return journal.State(phase=journal.MOVING, from_colour=plan["from"], to_colour=plan["to"])


@pytest.mark.parametrize(
    ("cluster", "provider", "weight", "scales"),
    [
        (None, "haproxy", 0, False),
        ({"namespace": "shop"}, "k8s_httproute", 0, True),
        ({"namespace": "shop"}, "k8s_httproute", 50, True),
        ({"namespace": "shop"}, "k8s_replicas", 0, True),
        ({"namespace": "shop"}, "k8s_replicas", 50, False),
        ({"namespace": "shop"}, "k8s_replicas", 100, True),
    ],
)
def test_the_candidate_gets_its_pods_first_where_a_pod_is_no_share(
    cluster: dict[str, str] | None, provider: str, weight: int, scales: bool
) -> None:
    plan = make_plan(cluster=cluster, router={"provider": provider}, accept_reality=True)
    for one in plan["colours"].values():
        one["deployment"] = "any"
    assert decide.decide(plan, moving(plan), Reality(weight, weight)).scales is scales


def test_to_advance_begins_nothing_and_repairs_nothing() -> None:
    world = World()
    assert decide.decide(held_plan(), world.state, world.reality, advance=True).kind == "nothing"
    run(world.cutover(held_plan()), 3)
    early = decide.decide(held_plan(), world.state, world.reality, advance=True)
    assert early.kind == "refuse"
    assert "is moving: no step of it has been taken. Go on with cutover.yml" in early.sentence

    run(world.cutover(held_plan(), over=lambda: False))
    run(world.cutover(held_plan()), 1)
    world.record("failed", reason="drain", message="3 connections are left")
    failed = decide.decide(held_plan(), world.state, world.reality, advance=True)
    assert failed.kind == "refuse"
    assert "It is failed: 3 connections are left." in failed.sentence

    run(world.rollback(held_plan()), 1)
    back = decide.decide(held_plan(), world.state, world.reality, advance=True)
    assert (back.kind, "It is rolling back" in back.sentence) == ("refuse", True)


@pytest.mark.parametrize("seed", range(250))
def test_whatever_runs_die_in_holds_each_hold_is_kept_and_none_is_a_dead_end(seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 - the same chances every time
    world, plan = World(), held_plan()

    def over() -> bool:
        return chance.random() < 0.5

    for _attempt in range(6):
        steps = chance.choice(
            (
                lambda: world.cutover(plan, over=over),
                lambda: world.cutover(plan, advance=True, over=over),
                lambda: world.cutover(plan, advance=True, over=over),
                lambda: world.rollback(plan),
            )
        )()
        run(steps, chance.choice((None, None, chance.randint(1, LENGTH))))
        if chance.random() < 0.1:
            world.reboot()
    events = [event for one in world.document["migrations"] for event in one["events"]]
    for count, event in enumerate(events):
        if event["kind"] == "weight_intended" and event["weight"] > event["before"] in (10, 75):
            state = journal.fold({"migrations": [{"id": "x", "events": events[:count]}]})
            assert state.hold is not None
            assert state.hold["verdict"] == "pass"
    run(world.cutover(plan, over=lambda: False))
    for _advance in range(8):
        run(world.cutover(plan, advance=True))
    assert (world.weight, world.persisted, world.state.phase) == (100, 100, "finished")


@pytest.mark.parametrize(
    ("to", "weight", "steps"),
    [
        ("green", 100, [(75, 75), (50, 50), (25, 25)]),
        ("green", 75, [(50, 50), (25, 25)]),
        ("green", 10, []),
        ("blue", 10, [(75, 25), (50, 50), (25, 75)]),
    ],
)
def test_a_progressive_way_back_takes_the_shares_below(to: str, weight: int, steps: list[tuple[int, int]]) -> None:
    plan = make_plan(to, back_steps={"shares": [25, 75, 50], "settle": 30})
    reality = replace(World().reality, weight=weight, persisted=weight)
    decision = decide.decide_rollback(plan, journal.State(), reality, progressive=True)
    assert [(step["share"], step["weight"]) for step in decision.steps] == steps
    assert {step["settle"] for step in decision.steps} <= {30}
    assert not decision.partial
    assert decision.sentence.endswith("75, 50, 25 % for a while each.") == (len(steps) == 3)
    assert decide.decide_rollback(plan, journal.State(), reality).steps == ()


def test_a_rollback_says_what_it_found() -> None:
    world = finished()
    world.weight = 40
    decision = decide.decide_rollback(make_plan(), world.state, world.reality)
    assert (decision.from_colour, decision.to_colour, decision.weight) == ("green", "blue", 0)
    assert decision.sentence.startswith("shop goes back to blue, from 40 % of the traffic on green. Found on the way: ")


def test_shares() -> None:
    assert decide.shares(30) == {"blue": 70, "green": 30}
    assert decide.shares(None) == {}


@pytest.mark.parametrize(("green", "needed"), [(2, 2), (1, 1), (0, 1)])
def test_the_way_back_needs_no_more_than_what_is_left_has(green: int, needed: int) -> None:
    """R-A5: from a broken green, one instance of blue is a way out."""
    reality = Reality(100, 100, {"blue": 1, "green": green})
    assert decide.decide_rollback(make_plan(), World().state, reality).min_ready == needed


@pytest.mark.parametrize(
    ("ready", "at_once"),
    [
        ({"blue": 2, "green": 2}, True),
        ({"blue": 1, "green": 2}, False),
        ({"blue": 1, "green": 1}, True),
        ({"blue": 1, "green": 0}, True),
        ({"blue": 0, "green": 0}, False),
        ({}, False),
    ],
)
def test_a_way_back_starts_nothing_first_where_enough_is_ready(ready: dict[str, int], at_once: bool) -> None:
    reality = Reality(50, 50, ready, None)
    assert decide.decide_rollback(make_plan(), journal.State(), reality).at_once is at_once
    by_steps = make_plan(back_steps={"shares": [25], "settle": 1})
    decision = decide.decide_rollback(by_steps, journal.State(), reality, progressive=True)
    # Of what is not there any more nobody gets a share.
    assert bool(decision.steps) is (ready.get("green") != 0)
    assert decision.at_once is (at_once and not decision.steps)


@pytest.mark.parametrize(
    ("gone", "to", "differs"),
    [(None, "green", True), ("blue", "green", False), ("blue", "blue", True), ("green", "green", True)],
)
def test_a_deployment_that_is_missing_is_a_difference_unless_finalize_removed_it(
    gone: str | None, to: str, differs: bool
) -> None:
    colours = {"blue": {"deployment": "web-v1"}, "green": {"deployment": "web-v2"}}
    plan = make_plan(to, cluster={"namespace": "shop"}, colours=colours, hosts={"router": "router", "app": []})
    ended = {"colour": gone, "deprecated": 1, "sunset": 2, "removed": 3} if gone else None
    state = journal.State(phase=journal.FINISHED, to_colour="green", possible=frozenset({100}), weight=100, ended=ended)
    workloads = [
        {"host": "shop", "colour": "blue", "active": False, "enabled": False, "absent": True},
        {"host": "shop", "colour": "green", "active": True, "enabled": True, "absent": False},
    ]
    found = decide.differences(plan, state, decide.Reality(100, 100, {"green": 3}, workloads))
    assert [one for one in found if "web-v1 is not there" in one] == found
    assert bool(found) is differs
