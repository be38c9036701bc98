# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An inventory is checked as a whole, and the plan says all that the phases need."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import InputError
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.plan import (
    GUARD_MARGIN,
    MARGIN,
    SCHEMA,
    STOP,
    describe,
    make_plan,
)

OPT = {"host": "data", "engine": "files", "options": {"paths": ["/opt"]}}
SHOP: dict[str, Any] = {
    "cutover_service": "shop",
    "cutover_front": "http://router:8080",
    "cutover_router": {"provider": "haproxy"},
    "cutover_colours": {
        "blue": {"unit": "shop-blue.service", "port": 8001},
        "green": {"unit": "shop-green.service", "port": 8002},
    },
}


def plan(
    *,
    routers: tuple[str, ...] = ("router",),
    applications: tuple[str, ...] = ("app1", "app2"),
    hosts: dict[str, dict[str, Any]] | None = None,
    failed: dict[str, str] | None = None,
    forks: int | None = None,
    **changes: Any,
) -> dict[str, Any]:
    variables = {**copy.deepcopy(SHOP), **changes}
    groups = {"routers": routers, "applications": applications}
    return make_plan(variables, **groups, hosts=hosts or {}, failed=failed, forks=forks)


def problems(**changes: Any) -> list[str]:
    with pytest.raises(InputError) as caught:
        plan(**changes)
    assert caught.value.reason == "input"
    found: list[str] = caught.value.evidence["problems"]
    assert all(problem in caught.value.message for problem in found)
    return list(found)


def test_what_the_readme_says_can_be_meant() -> None:
    """R-F1: who copies its inventory gets a plan, also with what its other chapters add."""
    readme = Path(__file__).resolve().parents[5].joinpath("README.md").read_text(encoding="utf-8")
    found = [yaml.safe_load(text) for text in re.findall(r"```yaml\n(.*?)```", readme, re.DOTALL)]
    groups, first, *more = found
    assert first["cutover_service"] == "shop"
    assert len(more) >= 2
    hosts = {"routers": [*groups["cutover_router"]["hosts"]], "applications": [*groups["cutover_app"]["hosts"]]}
    for added in ({}, *more):
        assert make_plan({**first, **added}, **hosts, hosts={})["service"] == "shop"


def test_a_minimal_inventory_gives_a_whole_plan() -> None:
    made = plan()
    assert (made["service"], made["from"], made["to"]) == ("shop", "blue", "green")
    assert made["router"] == {
        "provider": "haproxy",
        "socket": "/run/haproxy/admin.sock",
        "map": "/etc/haproxy/cutover/shop.map",
        "backends": {"blue": "shop-blue", "green": "shop-green"},
    }
    assert made["colours"]["green"]["instances"] == [{"host": "app1", "port": 8002}, {"host": "app2", "port": 8002}]
    assert made["colours"]["green"]["urls"] == ["http://app1:8002", "http://app2:8002"]
    assert made["colours"]["blue"]["start"]["ready"] == "http://127.0.0.1:8001/health/ready"
    stop = {"unit": "shop-blue.service", "port": 8001, "timeout": 60, "on_timeout": "fail"}
    assert made["colours"]["blue"]["stop"] == stop
    assert made["steps"] == [{"share": 100, "settle": 0, "hold": 0, "weight": 100}]
    assert made["min_ready"] == 2
    assert made["lease"] == {"ttl": 60 + STOP + MARGIN, "wait": 0}
    assert made["hosts"] == {"router": "router", "app": ["app1", "app2"], "tests": ["app1", "app2"]}
    assert made["one_host"] is False
    assert made["entry"] is None
    assert json.loads(json.dumps(made, allow_nan=False)) == made


def test_the_entry_is_blue_where_the_application_shares_out_itself() -> None:
    made = plan(cutover_router={"provider": "admin_api", "token_file": "/etc/token"})
    assert made["entry"] == "blue"
    assert made["router"] == {
        "provider": "admin_api",
        "endpoints": ["http://app1:8001", "http://app2:8001"],
        "path": "/admin/config",
        "field": "v2_traffic_percentage",
        "token_file": "/etc/token",
        "token_header": "Authorization",
        "budget_ms": 1000,
        "file": "/etc/bluegreen-cutover/admin_api/shop.weight",
    }
    # The way back goes to the same instances.
    assert plan(cutover_router={"provider": "admin_api"}, cutover_to="blue")["router"]["endpoints"] == [
        "http://app1:8001",
        "http://app2:8001",
    ]
    own = plan(cutover_router={"provider": "admin_api", "endpoints": ["https://match:8443"]})
    assert own["router"]["endpoints"] == ["https://match:8443"]


def test_an_entry_on_the_routers_host_keeps_its_port_and_is_not_retired() -> None:
    made = plan(
        routers=("solo",),
        applications=("solo",),
        cutover_router={"provider": "admin_api"},
        cutover_front="http://solo:8001",
    )
    assert (made["one_host"], made["router"]["endpoints"]) == (False, ["http://127.0.0.1:8001"])


def test_weight_is_always_greens_share() -> None:
    steps = [{"share": 10}, {"share": 100}]
    assert [step["weight"] for step in plan(cutover_steps=steps)["steps"]] == [10, 100]
    back = plan(cutover_steps=steps, cutover_to="blue")
    assert [step["weight"] for step in back["steps"]] == [90, 0]
    assert (back["from"], back["to"]) == ("green", "blue")


def test_text_from_the_command_line_is_understood() -> None:
    made = plan(cutover_lease_wait="120", cutover_accept_reality="true", cutover_min_ready="1")
    assert made["lease"]["wait"] == 120
    assert made["accept_reality"] is True
    assert made["min_ready"] == 1


def test_one_host_is_reached_by_its_loopback() -> None:
    made = plan(
        routers=("solo",),
        applications=("solo",),
        cutover_router={"provider": "nftables", "port": 8000},
        cutover_front="http://solo:8000",
    )
    assert made["colours"]["blue"]["instances"] == [{"host": "127.0.0.1", "port": 8001}]
    assert made["one_host"] is True


def test_an_address_of_its_own_goes_before_the_name() -> None:
    made = plan(hosts={"app1": {"cutover_address": "fd00::1"}})
    assert made["colours"]["blue"]["instances"][0] == {"host": "fd00::1", "port": 8001}
    assert made["colours"]["blue"]["urls"] == ["http://[fd00::1]:8001", "http://app2:8001"]


def test_the_lease_outlives_the_longest_stretch_of_work() -> None:
    # From the last step's weight to the end of the draining nothing is recorded.
    verify = [{"path": "/", "budget_ms": 1500}]
    last = plan(cutover_steps=[{"share": 100, "settle": 300}], cutover_verify=verify, cutover_drain={"timeout": 900})
    assert last["lease"]["ttl"] == 303 + 900 + STOP + MARGIN
    first = plan(cutover_steps=[{"share": 9, "settle": 300}, {"share": 100}], cutover_verify=verify)
    assert first["lease"]["ttl"] == 303 + MARGIN
    tests = [{"name": "unit", "command": ["true"], "timeout": 400}, {"name": "more", "command": ["true"]}]
    assert plan(cutover_tests=tests)["lease"]["ttl"] == 700 + MARGIN
    # Parts that are read in one hold are not recorded in between; what outlasts the hold is ended.
    part = {"host": "data", "engine": "files", "options": {"paths": ["/srv"]}, "timeout": 700}
    held = {"read_only": {"database": "shop"}, "limit": 600}
    parts = [{**part, "name": name} for name in ("a", "b")]
    assert plan(cutover_state=parts, cutover_freeze=held)["lease"]["ttl"] == 2 * 600 + MARGIN
    # A way back with data stops both versions between two records.
    quick = {"cutover_drain": {"timeout": 1}, "cutover_health": {"timeout": 1}}
    assert plan(cutover_state=[{**PART, "timeout": 1}], **quick)["lease"]["ttl"] == 2 * (1 + STOP) + MARGIN


@pytest.mark.parametrize(("forks", "batches"), [(None, 1), (80, 1), (40, 2), (7, 12)])
def test_the_lease_outlives_hosts_that_wait_for_each_other(forks: int | None, batches: int) -> None:
    hosts = tuple(f"app{number}" for number in range(80))

    def ttl(**changes: Any) -> int:
        return int(plan(applications=hosts, forks=forks, **changes)["lease"]["ttl"]) - MARGIN

    assert ttl(cutover_drain={"timeout": 900}) == batches * (900 + STOP)
    assert ttl(cutover_health={"timeout": 3600}) == batches * 3600
    # Three rounds of 32, whatever Ansible does: it is the router's host that asks.
    tests = [{"name": "unit", "command": ["true"], "timeout": 900}]
    probes = [{"path": "/", "budget_ms": 60_000}]
    assert ttl(cutover_tests=tests, cutover_probes=probes) == batches * 900 + 3 * 2 * 60


CASE = {"name": "half is for a person", "input": {"skills": 1}, "expected": {"decision": "review"}}


def test_r_d11_cases_are_in_the_plan_and_in_its_time() -> None:
    assert plan()["cases"] is None
    made = plan(cutover_cases=[{"path": "/decide", "cases": [{**CASE, "name": f"{n}"} for n in range(50)]}])
    rule = made["cases"][0]
    assert (rule["tolerance"], rule["budget_ms"], rule["cases"][7]) == (0, 2000, {**CASE, "name": "7", "status": 200})
    slow = [{"path": "/decide", "cases": [{**CASE, "name": f"{n}"} for n in range(50)], "budget_ms": 60_000}]
    # Of 50 cases at two hosts 32 are asked at once, each for twice its budget.
    assert plan(cutover_cases=slow)["lease"]["ttl"] == 4 * 120 + MARGIN


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ([], "cutover_cases: there is no case; at least one is needed, or leave it out"),
        ("- name", "cutover_cases is '- name'; a list is needed"),
        ([{"path": "/decide"}], "cutover_cases[0].cases is missing; a list is needed"),
        ([{"path": "/decide", "cases": []}], "cutover_cases[0].cases is empty; at least one is needed"),
        ([{"path": "/decide", "cases": "half"}], "cutover_cases[0].cases is 'half'; a list is needed"),
        ([{"path": "/decide", "cases": [None]}], "cutover_cases[0].cases[0] is None; a mapping with name, input"),
        ([{"path": "/decide", "cases": [{**CASE, "expected": {}}]}], "'half is for a person' expects nothing"),
        ([{"path": "/decide", "cases": [{**CASE, "expected": "match"}]}], "expected is 'match'; a mapping is needed"),
        ([{"path": "/decide", "cases": [{**CASE, "expect": 1}]}], "did you mean expected?"),
        ([{"path": "/decide", "cases": [CASE, CASE]}], "'half is for a person' is there 2 times; each case needs"),
        ([{"path": "/decide", "cases": [CASE], "tolerance": -0.1}], "the tolerance of /decide is -0.1; a number from"),
        (
            [{"path": "/a", "cases": [CASE]}, {"path": "/b", "cases": [CASE]}],
            "cutover_cases: 'half is for a person' is",
        ),
        ([{"cases": [CASE]}], "cutover_cases[0].path is missing"),
    ],
)
def test_r_d11_cases_that_prove_nothing_are_refused(given: Any, says: str) -> None:
    assert any(says in one for one in problems(cutover_cases=given))


def test_the_guard_outlives_the_longest_step() -> None:
    steps = [{"share": 10, "settle": 7}, {"share": 100, "settle": 3}]
    guarded = plan(cutover_steps=steps, cutover_verify=[{"path": "/", "budget_ms": 1500}])["guard"]
    assert guarded == {"enabled": True, "time": 7 + 3 + GUARD_MARGIN, "triggers": [], "prometheus": {}}
    assert plan(cutover_guard={"time": 9}, cutover_steps=steps)["guard"]["time"] == 9
    assert plan(cutover_guard={"enabled": False})["guard"]["enabled"] is False


def test_a_guard_that_makes_no_sense_is_refused() -> None:
    settles = [{"share": 100, "settle": 9}]
    assert "a step settles for 9 s" in problems(cutover_guard={"time": 9}, cutover_steps=settles)[0]
    trigger = {"name": "ill", "query": "up", "min": 1}
    assert problems(cutover_guard={"triggers": [trigger]}) == [
        "cutover_prometheus is missing; the triggers of cutover_guard are asked there"
    ]
    source = {"url": "http://127.0.0.1:9090", "scrape_interval": "1s"}
    made = plan(cutover_guard={"triggers": [{**trigger, "for": "2m"}]}, cutover_prometheus=source)["guard"]
    assert made["triggers"] == [{**trigger, "kind": "query", "for": 120.0}]
    assert made["prometheus"] == {**source, "scrape_interval": 1.0}
    for wrong in ("much", True, float("nan")):
        found = problems(cutover_guard={"triggers": [{**trigger, "max": wrong}]}, cutover_prometheus=source)
        assert "cutover_guard.triggers[0].max" in found[0]
    assert "cutover_guard.triggers[0].for" in problems(cutover_guard={"triggers": [{**trigger, "for": "long"}]})[0]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"min": None}, "give max, min or both"),
        ({"query": "sum(up)"}, "fresh missing"),
        ({"query": "sum(x) or vector(0)", "fresh": "x"}, "turns a label typing error into a pass"),
    ],
)
def test_a_trigger_is_refused_for_what_a_gates_criterion_is(change: dict[str, Any], says: str) -> None:
    trigger = {"name": "ill", "query": "up", "min": 1, **change}
    source = {"url": "http://127.0.0.1:9090"}
    (found,) = problems(cutover_guard={"triggers": [trigger]}, cutover_prometheus=source)
    assert found.startswith("cutover_guard.triggers: criteria[1] (ill): ")
    assert says in found


def test_triggers_that_nobody_would_ask_are_told() -> None:
    changes = {"triggers": [{"name": "ill", "query": "up", "min": 1}], "enabled": False}
    assert problems(cutover_guard=changes, cutover_prometheus={"url": "http://127.0.0.1:9090"}) == [
        "cutover_guard has triggers, and is not enabled: nobody would ask them"
    ]


def test_who_is_shown_to_prometheus_is_files_of_the_router_host() -> None:
    source = {
        "url": "https://mimir/prometheus",
        "username": "cutover",
        "password_file": "/etc/secret",
        "ca_path": "/etc/ca.pem",
        "client_cert": "/etc/cert.pem",
        "client_key": "/etc/key.pem",
    }
    made = plan(cutover_prometheus=source)
    assert made["prometheus"] == made["guard"]["prometheus"] == {**source, "scrape_interval": 15}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"token_file": "/t", "username": "u", "password_file": "/p"}, "only one of them can be sent"),
        ({"username": "u"}, "cutover_prometheus.username needs password_file too"),
        ({"password_file": "/p"}, "cutover_prometheus.password_file needs username too"),
        ({"client_key": "/k"}, "cutover_prometheus.client_key needs client_cert too"),
        ({"url": "http://p", "client_cert": "/c"}, "cutover_prometheus.client_cert needs an address that begins with"),
        ({"url": "https://me:s3cr3t@p"}, "cutover_prometheus.url has a user or a password in it"),
        ({"password": "s3cr3t"}, "cutover_prometheus.password: there is no such key; did you mean password_file?"),
    ],
)
def test_what_prometheus_cannot_be_shown_is_refused_without_a_secret(change: dict[str, Any], says: str) -> None:
    (found,) = problems(cutover_prometheus={"url": "https://p", **change})
    assert says in found
    assert "s3cr3t" not in found


def test_drain_and_stickiness_reach_those_who_act() -> None:
    made = plan(
        cutover_drain={"signal": "SIGUSR1", "resume_signal": "SIGUSR2", "in_flight": "/metrics"},
        cutover_router={"provider": "haproxy", "sticky": {"cookie": "sid"}},
    )
    assert made["colours"]["blue"]["stop"]["in_flight_url"] == "http://127.0.0.1:8001/metrics"
    assert made["colours"]["blue"]["start"]["resume_signal"] == "SIGUSR2"
    assert made["router"]["sticky"] == {"cookie": "sid"}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"cutover_stepz": []}, "cutover_stepz: there is no such variable; did you mean cutover_steps?"),
        (
            {"cutover_xyz": 1},
            "cutover_xyz: there is no such variable; known are cutover_accept_reality, ",
        ),
        (
            {"cutover_steps": [{"share": 100, "setle": 1}]},
            "cutover_steps[0].setle: there is no such key; did you mean settle?",
        ),
        (
            {"cutover_router": {"provider": "haproxy", "sokcet": "/x"}},
            "cutover_router.sokcet: there is no such key; did you mean socket?",
        ),
        (
            {"cutover_router": {"provider": "haprox"}},
            "cutover_router.provider is 'haprox'; one of haproxy, nginx, nginx_lua, nftables, admin_api, ",
        ),
        ({"cutover_router": "haproxy"}, "cutover_router is 'haproxy'; a mapping with 'provider' (haproxy, nginx, "),
        ({"cutover_service": None}, "cutover_service is missing; a name of 1…40 of a-z, 0-9 and '-' is needed"),
        ({"cutover_service": "Shop/.."}, "cutover_service is 'Shop/..'; a name of 1…40"),
        ({"cutover_steps": [{"share": 10}, {"share": "abc"}]}, "cutover_steps[1].share is 'abc'; a whole number 1…100"),
        ({"cutover_steps": [{"share": True}]}, "cutover_steps[0].share is True; a whole number 1…100 is needed"),
        ({"cutover_steps": [{"settle": 1}]}, "cutover_steps[0].share is missing; a whole number 1…100 is needed"),
        ({"cutover_steps": [{"share": 100, "settle": -1}]}, "cutover_steps[0].settle is -1; a whole number 0…86400"),
        ({"cutover_steps": []}, "cutover_steps is empty; at least the step with share 100 is needed"),
        ({"cutover_steps": 100}, "cutover_steps is 100; a list is needed"),
        ({"cutover_steps": [None]}, "cutover_steps[0] is None; a mapping with share, settle, hold is needed"),
        ({"cutover_steps": [{"share": 10}, {"share": 50}]}, "cutover_steps ends at share 50; the last step needs 100"),
        (
            {"cutover_steps": [{"share": 50}, {"share": 50}, {"share": 100}]},
            "cutover_steps[1].share is 50 after 50; each step needs a larger share",
        ),
        (
            {"cutover_front": "router:8080"},
            "cutover_front is 'router:8080'; an address like http://router:8080 is needed",
        ),
        ({"cutover_front": "http://u:p@router"}, "cutover_front has a user or a password in it, which"),
        ({"cutover_front": "http://router:99999"}, "cutover_front is 'http://router:99999'; an address like"),
        ({"cutover_front": 8080}, "cutover_front is 8080; an address like"),
        ({"cutover_to": "red"}, "cutover_to is 'red'; one of blue, green is needed"),
        ({"cutover_accept_unproven": " "}, "cutover_accept_unproven is ' '; one line that says why is needed"),
        ({"cutover_accept_reality": "maybe"}, "cutover_accept_reality is 'maybe'; true or false is needed"),
        ({"cutover_min_ready": 3}, "cutover_min_ready is 3, and cutover_app has 2 hosts; a whole number 1…2 is needed"),
        ({"cutover_probes": [{"path": "health"}]}, "cutover_probes[0].path is 'health'; a path that begins with '/'"),
        ({"cutover_probes": [{"path": "/", "status": []}]}, "cutover_probes[0].status is empty; at least one status"),
        ({"cutover_probes": [{"path": "/", "json": []}]}, "cutover_probes[0].json is []; a mapping is needed"),
        (
            {"cutover_probes": [{"path": "/", "headers": {"X-A": [1]}}]},
            "cutover_probes[0].headers.X-A is [1]; a text is needed",
        ),
        (
            {"cutover_verify": [{"path": "/", "headers": {"Authorization": "Bearer x"}}]},
            "cutover_verify[0].headers.Authorization would be in logs and in the journal; probe a path that needs none",
        ),
        (
            {"cutover_verify": [{"path": "/", "body": {"items": [float("nan")]}}]},
            "cutover_verify[0].body.items[0] is nan; a value that JSON has is needed (put it in quotes)",
        ),
        ({"cutover_health": "/ready"}, "cutover_health is '/ready'; a mapping with ready, live, timeout is needed"),
        ({"cutover_drain": {"signal": "KILL"}}, "cutover_drain.signal is 'KILL'; one of SIGUSR1, SIGUSR2,"),
        ({"cutover_state_dir": "/var/../etc"}, "cutover_state_dir is '/var/../etc'; an absolute path without '..'"),
        (
            {"cutover_tests": [{"name": "t", "command": []}]},
            "cutover_tests[0].command is empty; at least one is needed",
        ),
        (
            {"cutover_artifacts": {"keep": "47h"}},
            "cutover_artifacts.keep is 169200 s; 172800 are needed (48h)",
        ),
        (
            {"cutover_artifacts": {"destination": "/opt/backups"}, "cutover_state": [{**OPT, "name": "opt"}]},
            "cutover_artifacts.destination /opt/backups is inside /opt, of which it is to hold snapshots",
        ),
        (
            {"cutover_router": {"provider": "haproxy", "sticky": {"cookie": "a", "header": "b"}}},
            "cutover_router.sticky needs exactly one of cookie and header",
        ),
        (
            {"cutover_router": {"provider": "admin_api", "endpoints": []}},
            "cutover_router.endpoints is empty; at least one is needed, or leave it out for all of blue's",
        ),
        (
            {"cutover_router": {"provider": "admin_api", "endpoints": ["http://u:p@app1"]}},
            "cutover_router.endpoints[0] has a user or a password in it, which would be in logs",
        ),
        ({"routers": ()}, "the group cutover_router has no host; exactly one host is needed"),
        ({"routers": ("r1", "r2")}, "the group cutover_router has r1, r2; exactly one host is needed"),
        ({"applications": ()}, "the group cutover_app has no host; the hosts that the service runs on are needed"),
        (
            {"cutover_router": {"provider": "nftables", "port": 8000}},
            "cutover_router.provider nftables moves a service on one host; cutover_app has app1, app2, and only router",
        ),
        (
            {"hosts": {"app1": {"cutover_address": "10.0.0.1"}, "app2": {"cutover_address": "10.0.0.1"}}},
            "app1, app2 are all reached at 10.0.0.1, so the same port is there twice; set cutover_address",
        ),
        (
            {"hosts": {"app1": {"cutover_address": "a b"}}},
            "cutover_address of app1 is 'a b'; a host name or an address",
        ),
        (
            {"hosts": {"app1": {"cutover_adress": "app1"}}},
            "cutover_adress: there is no such variable; did you mean cutover_address?",
        ),
        (
            {"failed": {"cutover_front": "'nix' is undefined"}},
            "cutover_front has no value: 'nix' is undefined; give it one",
        ),
    ],
)
def test_a_problem_is_named_with_its_place_and_a_remedy(changes: dict[str, Any], expected: str) -> None:
    found = problems(**changes)
    assert len(found) == 1, found
    assert found[0].startswith(expected)


def test_colours_need_units_and_ports_of_their_own() -> None:
    same = {"unit": "shop.service", "port": 8001}
    assert problems(cutover_colours={"blue": same, "green": same}) == [
        "cutover_colours: shop.service is both blue and green; each colour needs a unit of its own",
        "cutover_colours: both colours listen on port 8001; each needs a port of its own",
    ]
    assert problems(cutover_colours={"blue": same}) == [
        "cutover_colours.green is missing; a mapping with unit, port, deployment, url is needed"
    ]


@pytest.mark.parametrize(
    ("router", "front", "port"),
    [
        ({"provider": "nftables", "port": 8001}, "http://solo:8000", 8001),
        ({"provider": "haproxy"}, "http://solo:8002", 8002),
    ],
)
def test_a_router_beside_the_application_takes_a_port_of_it(router: dict[str, Any], front: str, port: int) -> None:
    found = problems(routers=("solo",), applications=("solo",), cutover_router=router, cutover_front=front)
    assert len(found) == 1
    assert f"port is {port}, which the router listens on at the same host solo" in found[0]


def test_every_problem_is_in_one_message() -> None:
    with pytest.raises(InputError) as caught:
        plan(cutover_to="red", cutover_front="x", cutover_colours={})
    assert caught.value.message.startswith("The inventory of shop has 4 problems; nothing was touched:\n- ")
    assert caught.value.message.count("\n- ") == 4


def test_a_long_value_is_cut_in_its_message() -> None:
    assert "…; one line of" in problems(cutover_reason="x" * 300)[0]


def test_every_variable_is_described() -> None:
    rows = {name: (needs, default, meaning) for name, needs, default, meaning in describe()}
    assert set(SCHEMA) <= set(rows)
    assert rows["cutover_steps[].share"] == ("a whole number 1…100", "required", "Percentage for the candidate.")
    assert rows["cutover_router.port (nftables)"][1] == "required"
    assert rows["cutover_health.timeout"][1] == "60"
    assert all(needs and meaning for needs, _default, meaning in rows.values())


def test_metrics_are_made_selectors_of_each_colour() -> None:
    given = {"requests": 'requests_total{path=~"/api/.*"}', "latency": "seconds", "title": "{service} moves"}
    made = plan(cutover_metrics=given, cutover_prometheus={"url": "http://router:9090"})["metrics"]
    assert (made["title"], made["group"]) == ("shop moves", "bluegreen-cutover-shop")
    assert made["green"] == {
        "up": 'up{job="shop-green"}',
        "requests": 'requests_total{job="shop-green",path=~"/api/.*"}',
        "bad": 'requests_total{job="shop-green",status=~"5..",path=~"/api/.*"}',
        "latency": 'seconds_bucket{job="shop-green"}',
        "errors": 'migration_errors{job="shop-green"}',
    }
    assert plan()["metrics"] is None


def test_metrics_and_performance_that_can_show_nothing_are_refused() -> None:
    assert problems(cutover_metrics={}) == ["cutover_prometheus is missing; cutover_metrics are asked for there"]
    assert problems(cutover_performance={"path": "/x", "tolerance": -1}) == [
        "cutover_performance.tolerance is -1; a share like 0.1 is needed"
    ]
    assert problems(cutover_performance={"path": "/x", "requests": 6}) == [
        "cutover_performance.requests is 6; a whole number 7…10000 is needed"
    ]


def test_the_lease_outlives_what_is_asked_before_any_traffic() -> None:
    tests = [{"name": "suite", "command": ["true"], "timeout": 500}]
    without = plan(cutover_tests=tests)["lease"]["ttl"]
    given = {"cutover_performance": {"path": "/x"}, "cutover_metrics": {}, "cutover_prometheus": {"url": "http://r:1"}}
    assert plan(cutover_tests=tests, **given)["lease"]["ttl"] == without + 60 + 5 * 15 + 5


PART: dict[str, Any] = {"name": "db", "host": "app1", "engine": "files", "options": {"paths": ["/srv"]}}


def test_parts_of_the_state_have_names_of_their_own_and_snapshots_that_last() -> None:
    others = (("code", "git"), ("objects", "kubernetes"), ("pg", "x"))
    made = plan(cutover_state=[PART, *({**PART, "name": name, "engine": engine} for name, engine in others)])
    assert [part["name"] for part in made["state"]] == ["db", "code", "objects", "pg"]
    assert [part["name"] for part in made["restore_order"]] == ["pg", "code", "db", "objects"]
    assert made["artifacts"] == {"destination": "/var/backups/bluegreen-cutover", "keep": 72 * 3600}
    assert made["lease"]["ttl"] == 3600 + MARGIN
    assert problems(cutover_state=[PART, PART]) == ["cutover_state has db 2 times; each part needs a name of its own"]
    held = {"cutover_steps": [{"share": 10, "hold": "48h"}, {"share": 100, "hold": "24h"}]}
    assert "would expire on the way; more is needed" in problems(cutover_state=[PART], **held)[0]
    assert plan(**held)["state"] == []


@pytest.mark.parametrize("name", ["", "a/b", "../x", "a\n", "A", "'"])
def test_a_hostile_name_of_a_part_is_refused(name: str) -> None:
    assert "a name of 1…40" in problems(cutover_state=[{**PART, "name": name}])[0]


PGBOUNCER = {"database": "shop", "user": "cutover"}


def test_writers_are_held_at_the_router_unless_told_otherwise() -> None:
    assert plan()["freeze"] == {
        "host": "router",
        "until": "snapshot",
        "limit": 30,
        "wait": 5,
        "time": 3600,
        "writers": [],
    }
    made = plan(cutover_freeze={"host": "data", "pgbouncer": PGBOUNCER, "time": "2h"})["freeze"]
    assert (made["host"], made["writers"], made["time"]) == ("data", ["pgbouncer"], 7200)
    assert made["pgbouncer"] == {"host": "127.0.0.1", "port": 6432, **PGBOUNCER}
    assert "read_only" not in made


def test_writers_are_not_held_for_days() -> None:
    steps = [{"share": 50, "hold": 600}, {"share": 100}]
    (found,) = problems(cutover_freeze={"until": "switch", "read_only": {"database": "shop"}}, cutover_steps=steps)
    assert found == (
        "cutover_freeze.until is switch, and a step of cutover_steps is held for 600 s: writers would be held as long; "
        "until: snapshot, or steps without a hold, is needed"
    )
    assert plan(cutover_freeze={"until": "switch"}, cutover_steps=steps)["freeze"]["until"] == "switch"


def test_queues_are_checked_by_their_provider() -> None:
    assert plan()["queues"] is None
    queues = [{"provider": "redis_list", "name": "jo\nbs'", "processing": []}, {"provider": "celery", "name": "celery"}]
    made = plan(cutover_queues={"queues": queues})["queues"]
    assert (made["host"], made["timeout"]) == ("router", 300)
    assert made["queues"][0]["processing"] == []
    assert made["queues"][1]["priorities"] == [3, 6, 9]
    (missing,) = problems(cutover_queues={"queues": [{"provider": "redis_list", "name": "jobs"}]})
    assert missing == (
        "cutover_queues.queues[0].processing is missing; the keys with what workers are at are needed, or [] where "
        "they leave no trace of it"
    )
    found = problems(cutover_queues={"queues": [{"provider": "kafka"}, {"provider": "rabbitmq", "groups": ["g"]}]})
    assert found[0] == (
        "cutover_queues.queues[0].provider is 'kafka'; one of redis_list, redis_stream, celery, rabbitmq is needed"
    )
    assert found[1].startswith("cutover_queues.queues[1].groups: there is no such key; known are ca_path, name,")
    assert found[2:] == ["cutover_queues.queues[1].name is missing; a text is needed"]


def test_the_lease_outlives_the_wait_for_queues() -> None:
    queues = {"timeout": "30m", "queues": [{"provider": "celery", "name": "celery"}]}
    made = plan(cutover_queues=queues, cutover_freeze={"read_only": {"database": "shop"}, "wait": 7})
    assert made["lease"]["ttl"] == 1800 + 7 + MARGIN


@pytest.mark.parametrize(("settle", "window"), [(30, 30), (1, 20)])
def test_r_d7_a_way_back_is_hurried_by_what_asks_for_that(settle: int, window: int) -> None:
    """Two samples at least: of one nothing is known."""
    actions = {"silent": None, "worst": "rollback", "slow": "rollback_progressive", "odd": "notify"}
    criteria: list[dict[str, Any]] = [
        {"name": name, "kind": "query", "query": "up", "max": 1, **({"action": action} if action else {})}
        for name, action in actions.items()
    ]
    made = plan(
        cutover_steps=[{"share": 5, "hold": 60}, {"share": 100}],
        cutover_prometheus={"url": "http://prometheus:9090", "scrape_interval": 10},
        cutover_gate={"criteria": criteria},
        cutover_hooks={"notify": {"url": "http://chat"}},
        cutover_back_steps={"shares": [3], "settle": settle},
    )["back_steps"]
    assert ([one["name"] for one in made["criteria"]], made["window"]) == (["silent", "worst"], window)
    assert plan()["back_steps"]["criteria"] == []
