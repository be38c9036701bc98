# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan of a service in a cluster: the same inventory, with Deployments in the place of units (R-B14, R-F2)."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from ansible_collections.bluegreen.cutover.plugins.module_utils import _selector
from ansible_collections.bluegreen.cutover.plugins.module_utils._core import decide
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.decide import Reality
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import InputError
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.journal import State
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.plan import GUARD_MARGIN, MARGIN, make_plan
from ansible_collections.bluegreen.cutover.plugins.module_utils._routers import k8s_configmap, k8s_httproute

SELECTORS = {"blue": {"app": "web", "version": "v1"}, "green": {"app": "web", "version": "v2"}}
SERVICES = {"blue": "web-v1", "green": "web-v2"}
SHOP: dict[str, Any] = {
    "cutover_service": "shop",
    "cutover_front": "http://shop.example",
    "cutover_cluster": {"kubeconfig": "/root/.kube/config", "namespace": "shop"},
    "cutover_router": {"provider": "k8s_service", "name": "web", "selectors": SELECTORS},
    "cutover_colours": {"blue": {"deployment": "web-v1"}, "green": {"deployment": "web-v2"}},
}


def plan(*, applications: tuple[str, ...] = (), **changes: Any) -> dict[str, Any]:
    variables = {**copy.deepcopy(SHOP), **changes}
    variables = {name: value for name, value in variables.items() if value is not None}
    return make_plan(variables, routers=["control"], applications=applications, hosts={})


def problems(**changes: Any) -> list[str]:
    with pytest.raises(InputError) as caught:
        plan(**changes)
    return list(caught.value.evidence["problems"])


def test_environments_of_one_service_have_a_folder_each_for_their_snapshots() -> None:
    """As they have a journal each: one does not know what the other still needs (R-B5, R-E5)."""

    def places(**artifacts: Any) -> list[str]:
        clusters = [{"namespace": name} for name in ("shop-staging", "shop")]
        return [plan(cutover_cluster=one, cutover_artifacts=artifacts)["artifacts"]["destination"] for one in clusters]

    usual = "/var/backups/bluegreen-cutover"
    assert places() == [f"{usual}/shop-staging", f"{usual}/shop"]
    assert places(destination="/kept/") == ["/kept/shop-staging", "/kept/shop"]
    part = {"name": "all", "host": "control", "engine": "files", "options": {"paths": ["/kept/shop"]}}
    assert problems(cutover_state=[part], cutover_artifacts={"destination": "/kept"}) == [
        "cutover_artifacts.destination /kept/shop is inside /kept/shop, of which it is to hold snapshots"
    ]


def test_a_minimal_inventory_gives_a_whole_plan() -> None:
    made = plan()
    assert made["cluster"] == {"kubeconfig": "/root/.kube/config", "namespace": "shop"}
    assert made["hosts"] == {"router": "control", "app": [], "tests": ["control"]}
    assert made["router"] == {
        "provider": "k8s_service",
        "name": "web",
        "selectors": SELECTORS,
        "kubeconfig": "/root/.kube/config",
        "namespace": "shop",
    }
    assert made["colours"]["green"] == {"deployment": "web-v2", "instances": [], "urls": []}
    assert (made["units"], made["min_ready"], made["one_host"], made["entry"]) == (
        [{"colour": "blue", "deployment": "web-v1"}, {"colour": "green", "deployment": "web-v2"}],
        None,
        False,
        None,
    )
    assert plan(cutover_min_ready=3)["min_ready"] == 3
    assert json.loads(json.dumps(made, allow_nan=False)) == made


COLOURS = {"blue": {"deployment": "v1", "url": "http://v1"}, "green": {"deployment": "v2", "url": "http://v2"}}
WEIGHTED = [
    ({"provider": "k8s_httproute", "services": SERVICES}, {"name": "shop"}),
    ({"provider": "k8s_ingress", "services": SERVICES}, {"stable": "shop", "canary": "shop-canary"}),
    (
        {"provider": "k8s_configmap", "services": SERVICES},
        {"name": "shop", "key": "V2_TRAFFIC_PERCENTAGE", "endpoints": ["http://v1"], "budget_ms": 1000},
    ),
]


@pytest.mark.parametrize(("router", "filled"), WEIGHTED)
def test_guard_and_lease_outlive_what_a_router_waits_for(router: dict[str, Any], filled: dict[str, Any]) -> None:
    """R-B13, R-D3: nobody renews them while pods or gateways follow, and that may take its whole time."""
    del filled
    waits = {"k8s_configmap": k8s_configmap.SETTLE, "k8s_httproute": k8s_httproute.SETTLE, "k8s_ingress": 0}
    steps = [{"share": 5, "settle": 7}, {"share": 100, "settle": 3}]
    made = plan(
        cutover_router=router,
        cutover_colours=COLOURS,
        cutover_steps=steps,
        cutover_verify=[{"path": "/", "budget_ms": 1500}],
        cutover_health={"timeout": 1},
        cutover_drain={"timeout": 1},
    )
    longest = waits[router["provider"]] + 7 + 3
    assert made["guard"]["time"] == longest + GUARD_MARGIN
    assert made["lease"]["ttl"] >= longest + MARGIN


@pytest.mark.parametrize(("router", "filled"), WEIGHTED)
def test_guard_and_lease_outlive_it_on_the_way_back_too(router: dict[str, Any], filled: dict[str, Any]) -> None:
    """R-D7: a step of a progressive way back waits for the same router, and may settle longer than those forward."""
    del filled
    waits = {"k8s_configmap": k8s_configmap.SETTLE, "k8s_httproute": k8s_httproute.SETTLE, "k8s_ingress": 0}
    made = plan(
        cutover_router=router,
        cutover_colours=COLOURS,
        cutover_steps=[{"share": 5}, {"share": 100}],
        cutover_verify=[{"path": "/", "budget_ms": 1500}],
        cutover_back_steps={"shares": [3], "settle": 3600},
    )
    assert made["back_steps"]["time"] == waits[router["provider"]] + 3600 + 3
    assert made["guard"]["time"] == waits[router["provider"]] + 3 + GUARD_MARGIN
    assert made["lease"]["ttl"] == made["back_steps"]["time"] + MARGIN


def test_a_guard_that_would_act_while_its_router_follows_is_refused() -> None:
    steps = [{"share": 25, "settle": 4}, {"share": 100}]
    given = {"cutover_steps": steps, "cutover_router": REPLICAS, "cutover_health": {"timeout": 20}}
    (told,) = problems(cutover_guard={"time": 54}, **given)
    assert told.startswith(
        "cutover_guard.time is 54, and a step waits for its router for up to 50 s, and settles for 4 s: the guard"
    )
    assert plan(cutover_guard={"time": 55}, **given)["guard"]["time"] == 55
    # What else is wrong is told beside it.
    assert len(problems(cutover_guard={"time": 9}, cutover_router={"provider": "none"})) == 1
    assert len(problems(cutover_guard={"time": 34}, **{**given, "cutover_health": {"timeout": "long"}})) == 2


def test_the_guard_of_a_service_outlives_its_endpoints() -> None:
    assert plan()["guard"]["time"] == _selector.SETTLE + plan()["steps"][0]["settle"] + GUARD_MARGIN


def test_the_lease_outlives_what_the_candidate_is_asked() -> None:
    cases = [{"name": "half", "input": {"skills": 1}, "expected": {"decision": "review"}}]
    made = plan(
        cutover_colours=COLOURS,
        cutover_probes=[{"path": "/", "budget_ms": 60_000}] * 3,
        cutover_cases=[{"path": "/decide", "cases": cases, "budget_ms": 50_000}],
    )
    assert made["lease"]["ttl"] == 3 * 2 * 60 + 2 * 50 + MARGIN


@pytest.mark.parametrize(("router", "filled"), WEIGHTED)
def test_every_router_with_weights_has_its_options(router: dict[str, Any], filled: dict[str, Any]) -> None:
    made = plan(cutover_router=router, cutover_colours=COLOURS, cutover_steps=[{"share": 5}, {"share": 100}])
    assert {name: made["router"][name] for name in filled} == filled
    assert (made["router"]["services"], made["router"]["namespace"]) == (SERVICES, "shop")
    assert made["colours"]["green"]["urls"] == ["http://v2"]
    assert made["entry"] == ("blue" if router["provider"] == "k8s_configmap" else None)


REPLICAS = {"provider": "k8s_replicas", "name": "web", "selectors": SELECTORS, "both": {"app": "web"}}


@pytest.mark.parametrize(("to", "keeps"), [("green", "blue"), ("blue", "green")])
def test_numbers_of_pods_are_those_of_the_deployment_that_does_not_keep_its_own(to: str, keeps: str) -> None:
    """R-D2: a step waits for pods, and so do lease and guard; how long is not what a migration moves."""
    steps = [{"share": 25}, {"share": 100}]
    made = plan(cutover_router=REPLICAS, cutover_steps=steps, cutover_to=to, cutover_health={"timeout": 300})
    assert made["router"] == {
        **REPLICAS,
        **SHOP["cutover_cluster"],
        "deployments": {"blue": "web-v1", "green": "web-v2"},
        "keeps": keeps,
        "timeout": 300,
    }
    assert made["guard"]["time"] == 360
    # On the way back a step settles for 30 s.
    assert made["lease"]["ttl"] == 420
    assert decide.subject(made)["cutover_router"] == {**REPLICAS, "namespace": "shop"}


def test_how_the_cluster_is_reached_is_not_what_a_migration_moves() -> None:
    here, there = plan(), plan(cutover_cluster={"context": "admin@shop", "namespace": "shop"})
    assert decide.subject(here) == decide.subject(there)
    other = plan(cutover_cluster={"namespace": "other"})
    assert decide.subject(here) != decide.subject(other)


def deployments(**replicas: int) -> list[dict[str, Any]]:
    return [
        {"host": "shop", "colour": colour, "active": number > 0, "enabled": True} for colour, number in replicas.items()
    ]


def test_what_is_needed_is_what_the_old_colour_has() -> None:
    """Argo Rollouts 3941: a way back that goes ahead of the capacity; here it needs as many as are left, at most."""
    there = Reality(0, 0, {"blue": 3, "green": 0}, deployments(blue=3, green=0))
    assert decide.decide(plan(), State(), there).min_ready == 3
    assert decide.decide(plan(cutover_min_ready=1), State(), there).min_ready == 1
    back = decide.decide_rollback(plan(), State(), Reality(100, 100, {"blue": 2, "green": 4}))
    assert (back.kind, back.min_ready, back.at_once) == ("roll_back", 4, False)
    broken = decide.decide_rollback(plan(), State(), Reality(100, 100, {"blue": 2, "green": 0}))
    assert (broken.min_ready, broken.at_once) == (1, True)


@pytest.mark.parametrize(("phase", "weight"), [("moving", 67), ("moving", 100), ("finished", 100)])
def test_by_numbers_of_pods_a_way_back_needs_what_served_everything_before(phase: str, weight: int) -> None:
    """R-D6: not as many as a share above 50 % has made of the candidate, which would be scaled up first."""
    ratio = plan(cutover_router={**SHOP["cutover_router"], "provider": "k8s_replicas", "both": {"app": "web"}})
    state = State(phase=phase, from_colour="blue", to_colour="green", possible=frozenset({weight}), min_ready=3)

    def back(blue: int, made: dict[str, Any] = ratio) -> tuple[int, bool]:
        told = decide.decide_rollback(made, state, Reality(weight, weight, {"blue": blue, "green": 6}))
        return told.min_ready, told.at_once

    assert back(3) == (3, True)
    # One that has lost pods gets them back first, and no more.
    assert back(1) == (3, False)
    assert back(1, {**ratio, "min_ready": 1}) == (1, True)
    # Elsewhere more pods of the candidate are what its autoscaler found to be needed.
    assert back(3, plan()) == (6, False)


def test_the_old_colour_keeps_its_pods_and_that_is_no_difference() -> None:
    state = State(phase="finished", from_colour="blue", to_colour="green", possible=frozenset({100}))
    moved = Reality(100, 100, {"blue": 3, "green": 3}, deployments(blue=3, green=3))
    done = decide.decide(plan(), state, moved)
    assert (done.kind, done.differences) == ("nothing", ())
    assert done.sentence == (
        "Nothing to do: green serves shop alone. blue keeps its pods until the migration is finalised."
    )
    gone = decide.decide(plan(), state, Reality(100, 100, {"blue": 3, "green": 0}, deployments(blue=3, green=0)))
    assert gone.differences == ("the Deployment web-v2 on shop is not active, and green gets 100 %",)


ON_HOSTS = {"blue": {"unit": "b.service", "port": 1}, "green": {"unit": "g.service", "port": 2}}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"cutover_cluster": {}}, "cutover_cluster.namespace is missing; a namespace's name is needed"),
        ({"applications": ("app1",)}, "the group cutover_app has app1; with cutover_cluster the service runs in pods"),
        ({"cutover_router": {"provider": "haproxy"}}, "cutover_router.provider haproxy is none of a cluster"),
        ({"cutover_colours": ON_HOSTS}, "cutover_colours.blue.deployment is missing"),
        ({"cutover_colours": ON_HOSTS}, "cutover_colours.blue.unit is only for a service on hosts"),
        ({"cutover_steps": [{"share": 10}, {"share": 100}]}, "cutover_steps needs to be one step with share 100"),
        ({"cutover_probes": [{"path": "/"}]}, "cutover_colours.green.url is missing; cutover_probes asks that colour"),
        ({"cutover_performance": {"path": "/"}}, "cutover_colours.blue.url is missing; cutover_performance asks"),
        (
            {
                "cutover_guard": {"triggers": [{"name": "ill", "query": "ill", "max": 1}]},
                "cutover_prometheus": {"url": "http://p:9090", "token_file": "/etc/p/token"},
            },
            "cutover_guard.secret is missing; its pod needs /etc/p/token, and has no files of a host",
        ),
        (
            {
                "cutover_guard": {"secret": "files", "triggers": [{"name": "ill", "query": "ill", "max": 1}]},
                "cutover_prometheus": {"url": "http://p:9090", "username": "u", "password_file": "/etc/p/token"},
                "cutover_router": {
                    "provider": "k8s_configmap",
                    "services": SERVICES,
                    "endpoints": ["http://v1"],
                    "token_file": "/etc/a/token",
                },
            },
            "cutover_guard.secret cannot have both /etc/a/token and /etc/p/token: its pod knows them by their names",
        ),
        (
            {"cutover_guard": {"image": "mirror/python@sha256:12"}},
            "cutover_guard.image is 'mirror/python@sha256:12'",
        ),
        ({"cutover_guard": {"image": "mirror//python"}}, "cutover_guard.image is 'mirror//python'; an image, best by"),
        (
            {"cutover_colours": {"blue": {"deployment": "web"}, "green": {"deployment": "web"}}},
            "cutover_colours: web is both blue and green; each colour needs a Deployment of its own",
        ),
        (
            {"cutover_router": {"provider": "k8s_service", "selectors": {"blue": {"a": "1"}, "green": {}}}},
            "cutover_router.selectors: the selector of green for the Service shop has no labels",
        ),
        (
            {"cutover_router": {**REPLICAS, "both": {"app": "web", "version": "v1"}}},
            "cutover_router.both: the selector of both colours for the Service web asks for version=v1, which",
        ),
        (
            {"cutover_router": {**REPLICAS, "selectors": {"blue": {"app": "web"}, "green": {"app": "web"}}}},
            "cutover_router.selectors: a pod can match both selectors for the Service web",
        ),
        (
            {"cutover_router": {name: value for name, value in REPLICAS.items() if name != "both"}},
            "cutover_router.both is missing; a mapping of labels is needed",
        ),
        (
            {"cutover_router": {"provider": "k8s_configmap", "services": SERVICES}},
            "cutover_router.endpoints is missing; where the admin API tells the percentage is needed",
        ),
    ],
)
def test_what_cannot_be_meant_is_told_before_the_first_request(changes: dict[str, Any], told: str) -> None:
    assert any(one.startswith(told) for one in problems(**changes)), problems(**changes)


@pytest.mark.parametrize("tag", ["", ":3.13"])
def test_the_image_of_the_guard_may_be_named_by_its_digest(tag: str) -> None:
    """R-B8: a tag may move."""
    image = f"registry.example:5000/mirror/python{tag}@sha256:{'ab' * 32}"
    assert plan(cutover_guard={"image": image})["guard"]["image"] == image


def test_what_is_of_a_cluster_is_none_of_hosts() -> None:
    variables = {**SHOP, "cutover_cluster": None}
    with pytest.raises(InputError) as caught:
        make_plan(variables, routers=["control"], applications=["app1"], hosts={})
    assert caught.value.evidence["problems"] == [
        "cutover_colours.blue.unit is missing; the name of a .service unit is needed",
        "cutover_colours.blue.port is missing; a whole number 1…65535 is needed",
        "cutover_colours.blue.deployment is only for a service in a cluster, with cutover_cluster",
        "cutover_colours.green.unit is missing; the name of a .service unit is needed",
        "cutover_colours.green.port is missing; a whole number 1…65535 is needed",
        "cutover_colours.green.deployment is only for a service in a cluster, with cutover_cluster",
        "cutover_router.provider k8s_service is in a cluster, and cutover_cluster is missing",
    ]
