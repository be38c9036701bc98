# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A change of weight: what is compared, in which order things are done, and what a failure leaves behind."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from ansible_collections.bluegreen.cutover.plugins.module_utils import _routing
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import (
    DriftError,
    FencedError,
    InputError,
    NotReadyError,
    RouterError,
)
from ansible_collections.bluegreen.cutover.plugins.module_utils._routers import Instance, Reading, Service

SHOP = Service(
    name="shop",
    instances={
        "blue": (Instance("app1", 8001), Instance("app2", 8001)),
        "green": (Instance("app1", 8002), Instance("app2", 8002)),
    },
    ready_path="/health/ready",
)
COLOURS = {
    "blue": {"unit": "b.service", "port": 8001, "instances": [{"host": "app1", "port": 8001}]},
    "green": {"unit": "g.service", "port": 8002, "instances": [{"host": "app1", "port": 8002}]},
}
NFTABLES = {"provider": "nftables", "port": 8000, "file": "/etc/x.nft"}


class Clock:
    """Time that passes only in ``sleep``."""

    def __init__(self) -> None:
        self.now = 1000.0

    def time(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class FakeRouter:
    """A router that does what it is told, and writes into ``log`` what it was told."""

    def __init__(self, weight: int | None = 0, persisted: int | None = 0, log: list[str] | None = None) -> None:
        self.weight = weight
        self.persisted = persisted
        self.log = [] if log is None else log
        self.ready = {"blue": 2, "green": 2}
        self.deaf = False
        self.unclear = ""

    def read(self) -> Reading:
        in_flight = {"blue": None, "green": None}
        return Reading(self.weight, self.persisted, dict(self.ready), in_flight, unclear=self.unclear)

    def apply(self, weight: int) -> list[str]:
        self.log.append(f"apply {weight}")
        if not self.deaf:
            self.weight = weight
        return [f"set {weight}"]

    def persist(self, weight: int) -> list[str]:
        self.log.append(f"persist {weight}")
        self.persisted = weight
        return [f"write {weight}"]


class FakeStore:
    def __init__(self, log: list[str]) -> None:
        self.log = log
        self.overtaken = False

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        self.log.append("lock")
        yield
        self.log.append("unlock")

    def read_guard(self) -> None:
        return None

    def fence(self, token: int, now: float) -> None:
        if self.overtaken:
            raise FencedError(f"{token} at {now}")
        self.log.append(f"fence {token}")

    def record(self, token: int, now: float, kind: str, **data: Any) -> None:
        self.log.append(f"{kind} {sorted(data)} by {token} at {now:.0f}")


def change(router: FakeRouter, weight: int, **more: Any) -> dict[str, Any]:
    return _routing.change_weight(router, SHOP, weight, clock=more.pop("clock", Clock()), **more)


def test_runtime_first_then_disk_between_intention_and_record() -> None:
    log: list[str] = []
    result = change(FakeRouter(log=log), 50, allowed=[0], min_ready=2, store=FakeStore(log), token=7)
    assert log == [
        "weight_intended ['before', 'weight'] by 7 at 1000",
        "lock",
        "fence 7",
        "apply 50",
        "persist 50",
        "unlock",
        "weight_set ['commands', 'ms', 'weight'] by 7 at 1000",
    ]
    assert result["changed"]
    assert result["commands"] == ["set 50", "write 50"]
    assert (result["before"]["weight"], result["after"]["weight"], result["after"]["persisted"]) == (0, 50, 50)
    assert result["drift"] == []


class PodsRouter(FakeRouter):
    """One whose weights are numbers of pods: it passes 50 %, and its pods come when they are waited for."""

    def check(self, weights: Sequence[int]) -> str:
        return str(weights)

    def way(self, weight: int, min_ready: int) -> list[int]:
        self.log.append(f"way to {weight} with {min_ready}")
        if weight == 99:
            raise RouterError("no number of pods makes 99 %")
        return [50, weight]

    def prepare(self, weight: int, min_ready: int) -> list[str]:
        self.log.append(f"prepare {weight} with {min_ready}")
        return [f"scale for {weight}"]

    def prepared(self) -> None:
        self.log.append("wait")
        self.ready["green"] += 1


def test_a_way_by_numbers_of_pods_is_recorded_weight_by_weight() -> None:
    """R-D2: what a run that dies leaves is a weight of its journal. Pods are waited for without the lock, and as many
    as were asked for are needed for all of the traffic alone.
    """
    log: list[str] = []
    router = PodsRouter(log=log)
    router.ready["green"] = 0
    result = change(router, 100, allowed=[0], min_ready=2, store=FakeStore(log), token=7)
    change_of = [
        "weight_intended ['before', 'weight'] by 7 at 1000",
        "lock",
        "fence 7",
        "apply {}",
        "persist {}",
        "unlock",
        "weight_set ['commands', 'ms', 'weight'] by 7 at 1000",
    ]
    each = ["lock", "fence 7", "prepare {} with 2", "unlock", "wait", *change_of]
    assert log == ["way to 100 with 2", *(line.format(one) for one in (50, 100) for line in each)]
    assert result["commands"] == [f"{what} {one}" for one in (50, 100) for what in ("scale for", "set", "write")]
    assert (result["before"]["weight"], result["after"]["weight"]) == (0, 100)


def test_what_no_number_of_pods_makes_is_refused_in_check_mode_too() -> None:
    for check_mode in (True, False):
        router = PodsRouter()
        with pytest.raises(RouterError, match="no number of pods makes 99 %"):
            change(router, 99, check_mode=check_mode)
        assert router.log == ["way to 99 with 1"]
    router = PodsRouter()
    router.ready["green"] = 1
    # Half of the traffic needs its pods, which would come; all of it needs two now.
    assert change(router, 50, min_ready=2, check_mode=True)["note"] == ""
    assert "green has 1 of 2 instances ready" in change(router, 100, min_ready=2, check_mode=True)["note"]


def test_without_a_token_nothing_is_recorded() -> None:
    log: list[str] = []
    change(FakeRouter(log=log), 50, store=FakeStore(log))
    assert log == ["apply 50", "persist 50"]


def test_the_same_weight_again_changes_nothing() -> None:
    log: list[str] = []
    result = change(FakeRouter(50, 50, log), 50, allowed=[0], store=FakeStore(log), token=7)
    assert not result["changed"]
    assert (result["commands"], log) == ([], [])


def test_a_run_that_died_before_the_disk_is_finished_without_another_switch() -> None:
    log: list[str] = []
    router = FakeRouter(50, 0, log)
    router.ready = {"blue": 0, "green": 0}
    result = change(router, 50, allowed=[0])
    assert result["changed"]
    assert log == ["persist 50"]
    assert len(result["drift"]) == 1


@pytest.mark.parametrize(("weight", "persisted"), [(25, 25), (0, 25), (25, 0), (None, 0)])
def test_what_the_journal_does_not_explain_stops(weight: int | None, persisted: int | None) -> None:
    router = FakeRouter(weight, persisted)
    with pytest.raises(DriftError, match=r"shop was changed by somebody else: .* 0 % for green or 50 % for green was"):
        change(router, 100, allowed=[0, 50])
    assert router.log == []


def test_why_the_weight_is_not_known_is_told() -> None:
    router = FakeRouter(None, 0)
    router.unclear = "app2 does not answer"
    with pytest.raises(DriftError, match=r"an unknown weight \(app2 does not answer\) is applied, where 0 % for green"):
        change(router, 50, allowed=[0])
    router.deaf = True
    with pytest.raises(RouterError, match=r"50 % for green was set, yet an unknown weight \(app2 does not answer\) is"):
        change(router, 50)


def test_anything_is_accepted_and_told_when_nothing_is_allowed() -> None:
    result = change(FakeRouter(25, None), 100)
    assert result["drift"] == ["25 % for green is applied, but an unknown weight is on disk"]
    assert result["changed"]


def test_not_enough_ready_is_waited_for_then_refused() -> None:
    router, clock = FakeRouter(), Clock()
    router.ready["green"] = 1
    message = "green has 1 of 2 instances ready as the router sees them, 2 needed, for 10 s. No traffic was moved"
    with pytest.raises(NotReadyError, match=message):
        change(router, 50, min_ready=2, clock=clock)
    assert clock.now == pytest.approx(1000 + _routing.READY_WAIT, abs=0.2)
    assert router.log == []


def test_a_colour_that_becomes_ready_in_time_gets_its_traffic() -> None:
    router, clock = FakeRouter(), Clock()
    router.ready["green"] = 0

    def sleep(seconds: float) -> None:
        clock.now += seconds
        router.ready["green"] = 2

    clock.sleep = sleep  # type: ignore[method-assign]
    assert change(router, 50, min_ready=2, clock=clock)["changed"]


@pytest.mark.parametrize(
    ("before", "weight", "gaining"),
    [(0, 50, ["green"]), (100, 0, ["blue"]), (50, 50, []), (None, 0, ["blue"]), (None, 50, ["blue", "green"])],
)
def test_only_who_gains_traffic_must_be_ready(before: int | None, weight: int, gaining: list[str]) -> None:
    assert _routing.gaining_colours(before, weight) == gaining


def test_check_mode_tells_and_touches_nothing() -> None:
    router, log = FakeRouter(), []  # type: tuple[FakeRouter, list[str]]
    router.ready["green"] = 0
    result = change(router, 50, min_ready=2, store=FakeStore(log), token=7, check_mode=True)
    assert result["changed"]
    assert (result["after"]["weight"], result["after"]["persisted"], result["commands"]) == (50, 50, [])
    assert "green has 0 of 2" in result["note"]
    assert router.log == log == []
    assert _routing.weight_diff(result) == {
        "before": "applied: 0 % for green\non disk: 0 % for green\n",
        "after": "applied: 50 % for green\non disk: 50 % for green\n",
    }


def test_an_overtaken_run_writes_nothing() -> None:
    router = FakeRouter()
    store = FakeStore([])
    store.overtaken = True
    with pytest.raises(FencedError):
        change(router, 50, store=store, token=7)
    # What the other run has set is no drift.
    with pytest.raises(FencedError):
        change(router, 50, allowed=[20], store=store, token=7)
    assert router.log == []


def test_a_router_that_does_not_do_what_it_said() -> None:
    router = FakeRouter()
    router.deaf = True
    with pytest.raises(RouterError, match="yet 0 % for green is applied and 50 % for green is on disk"):
        change(router, 50)


@pytest.mark.parametrize("weight", [-1, 101])
def test_a_weight_is_a_percentage(weight: int) -> None:
    with pytest.raises(InputError, match="whole number 0…100"):
        change(FakeRouter(), weight)


def test_a_service_is_made_from_the_plans_colours() -> None:
    service = _routing.make_service("shop", COLOURS, "/ready")
    assert service == Service("shop", {"blue": (Instance("app1", 8001),), "green": (Instance("app1", 8002),)}, "/ready")


@pytest.mark.parametrize(
    "colours", [{}, {"blue": {}}, {**COLOURS, "green": {"instances": [{"host": "x", "port": "y"}]}}]
)
def test_colours_that_cannot_be_understood(colours: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="colours of shop"):
        _routing.make_service("shop", colours, "/ready")


def test_a_router_is_made_from_its_options() -> None:
    service = _routing.make_service("shop", COLOURS, "/ready")
    given = {
        "endpoints": ["http://app1"],
        "path": "/a",
        "field": "f",
        "token_header": "T",
        "budget_ms": 1,
        "file": "/f",
    }
    for more in ({}, {"emergency": "/e", "token_file": "/t", "ca_path": "/c"}):
        assert type(_routing.make_router({"provider": "admin_api", **given, **more}, service)).__name__ == "AdminApi"
    assert type(_routing.make_router({**NFTABLES, "sticky": None}, service)).__name__ == "Nftables"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "router.provider is None; one of admin_api, haproxy, k8s_configmap, .*nginx_lua is needed"),
        ({**NFTABLES, "provider": "varnish"}, "router.provider is 'varnish'"),
        ({**NFTABLES, "map": "x"}, "router nftables needs the options port, file; it was given port, file, map"),
        ({"provider": "nftables"}, "it was given none"),
    ],
)
def test_options_of_no_router(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        _routing.make_router(options, _routing.make_service("shop", COLOURS, "/ready"))
