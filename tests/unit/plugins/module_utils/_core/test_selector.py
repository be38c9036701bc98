# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a Service's selector says, whether a colour can serve, and whether the endpoints have followed."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.bluegreen.cutover.plugins.module_utils._core import selector
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import (
    AmbiguousSelectorError,
    DriftError,
    EmptySelectorError,
    FencedError,
    NoSelectorError,
)

BLUE, GREEN = {"app": "web", "version": "v1"}, {"app": "web", "version": "v2"}
BOTH = {"blue": BLUE, "green": GREEN}


def service(labels: dict[str, str] | None, **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": "web", "uid": "u", "resourceVersion": "7"}, "spec": {**spec, "selector": labels}}


def pod(uid: str, labels: dict[str, str], ready: bool = True, **metadata: Any) -> dict[str, Any]:
    conditions = [{"type": "Ready", "status": "True" if ready else "False"}]
    return {"metadata": {"uid": uid, "labels": labels, **metadata}, "status": {"conditions": conditions}}


def deployment(labels: dict[str, str], wanted: int = 2, generation: int = 1, **status: Any) -> dict[str, Any]:
    told = {"observedGeneration": 1, "replicas": wanted, "updatedReplicas": wanted, **status}
    template = {"metadata": {"labels": labels}}
    return {
        "metadata": {"name": "web", "generation": generation},
        "spec": {"replicas": wanted, "template": template},
        "status": told,
    }


def slices(*names: str, family: str = "IPv4", ready: bool | None = True) -> dict[str, Any]:
    conditions = {} if ready is None else {"ready": ready}
    return {
        "addressType": family,
        "endpoints": [
            {"addresses": ["10.0.0.1"], "conditions": conditions, "targetRef": {"name": name, "uid": name}}
            for name in names
        ],
    }


@pytest.mark.parametrize(
    ("blue", "green", "error"),
    [
        ({}, GREEN, EmptySelectorError),
        (BLUE, {}, EmptySelectorError),
        (BLUE, BLUE, AmbiguousSelectorError),
        ({"app": "web"}, GREEN, AmbiguousSelectorError),
        ({"app": "web", "version": "v1"}, {"app": "web", "track": "canary"}, AmbiguousSelectorError),
    ],
)
def test_selectors_that_do_not_tell_the_colours_apart_are_refused(
    blue: dict[str, str], green: dict[str, str], error: type[Exception]
) -> None:
    with pytest.raises(error):
        selector.check("web", {"blue": blue, "green": green})


@pytest.mark.parametrize(
    ("labels", "told"),
    [
        ({}, "has no labels"),
        ({"app": "web", "tier": "x"}, r"asks for tier=x, .* of blue"),
        (BLUE, "version=v1.* of green"),
    ],
)
def test_a_selector_of_both_colours_has_to_take_all_pods_of_both(labels: dict[str, str], told: str) -> None:
    selector.check_both("web", BOTH, {"app": "web"})
    with pytest.raises((AmbiguousSelectorError, EmptySelectorError), match=told):
        selector.check_both("web", BOTH, labels)


def test_selectors_that_differ_in_a_label_are_fine() -> None:
    selector.check("web", BOTH)
    assert selector.union(BOTH) == {"app": ["web"], "version": ["v1", "v2"]}


def test_a_service_selects_the_colour_whose_whole_selector_it_has() -> None:
    assert selector.colour_of(service(BLUE), BOTH) == "blue"
    assert selector.colour_of(service(GREEN), BOTH) == "green"
    for other in ({"app": "web"}, {**GREEN, "track": "x"}, {"version": "v2"}):
        with pytest.raises(DriftError, match="neither"):
            selector.colour_of(service(other), BOTH)


@pytest.mark.parametrize("found", [service(None), service({}), service(BLUE, type="ExternalName")])
def test_a_service_without_a_selector_is_no_router(found: dict[str, Any]) -> None:
    with pytest.raises(NoSelectorError):
        selector.colour_of(found, BOTH)


def test_a_side_counts_the_pods_that_would_serve() -> None:
    pods = [
        pod("a", GREEN),
        pod("b", GREEN, ready=False),
        pod("c", GREEN, deletionTimestamp="2026-01-01T00:00:00Z"),
        pod("d", BLUE),
        {"metadata": {"uid": "e", "labels": GREEN}},
    ]
    side = selector.side(GREEN, pods, [deployment(GREEN), deployment(BLUE, 5)])
    assert (side.ready, side.wanted, side.count) == (frozenset("a"), 2, 1)
    assert (side.unseen, side.unfinished) == ((), ())


def test_a_change_that_no_controller_has_seen_counts_for_nothing() -> None:
    side = selector.side(GREEN, [pod("a", GREEN)], [deployment(GREEN, generation=2)])
    assert (side.unseen, side.count) == (("web",), 0)
    assert "not been seen by a controller" in selector.obstacle("green", side, 1, accept_rollout=True)


@pytest.mark.parametrize(
    ("status", "told"),
    [
        ({"updatedReplicas": 1}, "1 new pods of 2, and 1 old ones"),
        ({"replicas": 3}, "2 new pods of 2, and 1 old ones"),
        (
            {"conditions": [{"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}]},
            "is stuck (ProgressDeadlineExceeded)",
        ),
    ],
)
def test_a_rollout_that_has_not_ended_is_an_obstacle_to_a_candidate(status: dict[str, Any], told: str) -> None:
    pods = [pod("a", GREEN), pod("b", GREEN)]
    side = selector.side(GREEN, pods, [deployment(GREEN, **status)])
    assert told in selector.obstacle("green", side, 2)
    assert selector.obstacle("green", side, 2, accept_rollout=True) == ""
    assert told in selector.obstacle("green", side, 3, accept_rollout=True)


def test_endpoints_follow_when_they_are_ready_pods_of_the_colour_and_enough() -> None:
    new = {"a", "b"}
    assert selector.unsettled([slices("a", "b")], new, 2) == ""
    assert selector.unsettled([slices("a", "b"), slices("old", ready=False)], new, 2) == ""
    assert "1 endpoints are not ready pods" in selector.unsettled([slices("a", "b", "old")], new, 2)
    assert "1 ready pods are endpoints, 2 needed" in selector.unsettled([slices("a")], new, 2)
    assert "0 ready pods" in selector.unsettled([], new, 1)
    # Whoever does not say is ready.
    assert "not ready pods" in selector.unsettled([slices("old", ready=None)], new, 1)


def test_each_family_of_addresses_has_to_follow() -> None:
    both = [slices("a", "b"), slices("a", family="IPv6")]
    assert "1 ready pods are endpoints" in selector.unsettled(both, {"a", "b"}, 2)
    assert selector.unsettled([slices("a"), slices("b"), slices("a", "b", family="IPv6")], {"a", "b"}, 2) == ""


def test_an_endpoint_without_a_pod_is_foreign() -> None:
    one = {"addressType": "IPv4", "endpoints": [{"addresses": ["10.0.0.9"]}]}
    assert "10.0.0.9" in selector.unsettled([one], {"a"}, 1)


def test_a_swap_tests_what_was_read() -> None:
    assert selector.swap(service(BLUE), GREEN) == [
        {"op": "test", "path": "/metadata/uid", "value": "u"},
        {"op": "test", "path": "/spec/selector", "value": BLUE},
        {"op": "replace", "path": "/spec/selector", "value": GREEN},
    ]


def test_a_fenced_patch_tests_that_nobody_has_written_since() -> None:
    change = {"op": "add", "path": "/spec/x", "value": 1}
    annotation = {"op": "add", "path": "/metadata/annotations/bluegreen.cutover~1token", "value": "12"}
    version = {"op": "test", "path": "/metadata/resourceVersion", "value": "7"}
    found = service(BLUE)
    assert selector.fenced(found, [change], None) == [change]
    first = {"op": "add", "path": "/metadata/annotations", "value": {}}
    assert selector.fenced(found, [change], 12) == [version, change, first, annotation]
    found["metadata"]["annotations"] = {"a": "b"}
    assert selector.fenced(found, [change], 12) == [version, change, annotation]
    found["metadata"]["annotations"] = {selector.TOKEN: "12"}
    selector.check_fence(found, 12)
    selector.check_fence(found, None)
    with pytest.raises(FencedError):
        selector.check_fence(found, 11)


def test_a_token_that_is_none_is_the_lowest() -> None:
    assert selector.token_of({"metadata": {}}) == 0
    assert selector.token_of({"metadata": {"annotations": {selector.TOKEN: "soon"}}}) == 0
    assert selector.token_of({"metadata": {"annotations": {selector.TOKEN: "12"}}}) == 12
