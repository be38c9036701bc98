# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan action takes what Ansible knows, and gives plain values."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from ansible import context
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from ansible_collections.bluegreen.cutover.plugins.action.plan import ActionModule, plain
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.plan import MARGIN

VARIABLES: dict[str, Any] = {
    "cutover_service": "shop",
    "cutover_front": trust_as_template("http://{{ front }}:8080"),
    "cutover_router": {"provider": "haproxy"},
    "cutover_colours": {
        "blue": {"unit": trust_as_template("{{ cutover_service }}-blue.service"), "port": 8001},
        "green": {"unit": "shop-green.service", "port": trust_as_template("{{ 8000 + 2 }}")},
    },
    "front": "router",
    "groups": {"cutover_router": ["router"], "cutover_app": ["app1"]},
    "hostvars": {"router": {"cutover_plan": {}}, "app1": {"cutover_address": "10.0.0.1", "other": 1}},
}


def run(**changes: Any) -> dict[str, Any]:
    variables = {**VARIABLES, **changes}
    loader = DataLoader()
    action = ActionModule(
        task=Mock(async_val=False, args={}, check_mode=False, diff=False),
        connection=Mock(),
        play_context=Mock(),
        loader=loader,
        templar=Templar(loader=loader, variables=variables),
        shared_loader_obj=None,
    )
    return action.run(task_vars=variables)


def test_nested_templates_are_resolved_to_plain_values() -> None:
    result = run()
    assert result["changed"] is False
    plan = result["plan"]
    assert result["ansible_facts"] == {"cutover_plan": plan}
    assert plan["front"] == "http://router:8080"
    assert plan["colours"]["blue"]["unit"] == "shop-blue.service"
    assert plan["colours"]["green"]["instances"] == [{"host": "10.0.0.1", "port": 8002}]
    assert type(plan["front"]) is str


def test_the_lease_knows_how_many_hosts_ansible_works_on(monkeypatch: pytest.MonkeyPatch) -> None:
    groups = {"cutover_router": ["router"], "cutover_app": ["app1", "app2"]}
    hosts = {"groups": groups, "hostvars": {"router": {}, "app1": {}, "app2": {}}}
    together = run(**hosts)["plan"]["lease"]["ttl"] - MARGIN
    monkeypatch.setattr(context, "CLIARGS", {"forks": 1})
    assert run(**hosts)["plan"]["lease"]["ttl"] - MARGIN == 2 * together


def test_problems_fail_the_task_with_all_of_them() -> None:
    result = run(cutover_front=trust_as_template("{{ nowhere }}"), cutover_stepz=[])
    assert (result["failed"], result["reason"]) == (True, "input")
    assert len(result["evidence"]["problems"]) == 2
    assert "'nowhere' is undefined; give it one" in result["msg"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("- name: [", "cutover_cases has no value: "),
        ("", "cutover_cases[0].cases is missing; a list is needed"),
        ("{}", "cutover_cases[0].cases is {}; a list is needed"),
        ("[]", "cutover_cases[0].cases is empty; at least one is needed"),
        ("[{name: due, input: 1, expected: {due: 2026-01-01}}]", "a value that JSON has is needed (put it in quotes)"),
    ],
)
def test_r_d11_a_file_of_cases_that_has_none_is_refused(text: str, says: str) -> None:
    its = trust_as_template("{{ text | from_yaml }}")
    result = run(text=text, cutover_cases=[{"path": "/decide", "cases": its}])
    assert (result["failed"], result["reason"]) == (True, "input")
    assert any(says in one for one in result["evidence"]["problems"]), result["evidence"]


def test_groups_that_are_not_there_are_problems_too() -> None:
    assert len(run(groups={}, hostvars={})["evidence"]["problems"]) == 2


@pytest.mark.parametrize(
    "value", [None, True, 3, 2.5, "text", [1, ["a"]], {"a": {"b": (1,)}}, datetime.date(2026, 1, 1)]
)
def test_plain(value: Any) -> None:
    assert plain(value) == (value if not isinstance(value, dict) else {"a": {"b": [1]}})


def test_a_hook_that_is_not_there_is_told_before_anything_is_touched(tmp_path: Path) -> None:
    tasks = tmp_path / "tell.yml"
    refused = run(cutover_hooks={"notify": {"tasks": str(tasks)}})
    assert refused["failed"]
    assert refused["msg"] == f"cutover_hooks.notify.tasks: there is no file {tasks} on this machine"
    tasks.write_text("[]")
    assert run(cutover_hooks={"notify": {"tasks": str(tasks)}})["plan"]["hooks"]["notify"]["tasks"] == str(tasks)


def test_a_part_that_no_engine_would_take_stops_before_the_first_connection() -> None:
    groups = {**VARIABLES["groups"], "all": ["router", "app1", "data"]}
    part = {"name": "db", "host": "data", "engine": "files", "options": {"paths": ["/srv"]}}
    assert run(groups=groups, cutover_state=[part])["plan"]["state"][0]["host"] == "data"
    wrong = [
        {**part, "host": "nowhere"},
        {**part, "name": "tape", "engine": "tape"},
        {**part, "name": "none", "options": {}},
        {**part, "name": "more", "options": {"paths": ["/srv"], "pathz": 1}},
        {**part, "name": "pg", "engine": "postgresql", "options": {"database": "shop", "password": "secret"}},
    ]
    result = run(groups=groups, cutover_state=wrong)
    assert (result["failed"], result["reason"]) == (True, "input")
    told = result["evidence"]["problems"]
    assert told[0] == "cutover_state: db is on nowhere, which is no host of the inventory"
    assert "cutover_state: tape has the engine 'tape'; one of files, git" in told[1]
    assert "cutover_state: none, options of files: missing required arguments: paths" in told[2]
    assert "pathz" in told[3]
    assert "password_file" in told[4]
    assert "secret" not in result["msg"]


CLUSTER: dict[str, Any] = {
    "cutover_router": {
        "provider": "k8s_service",
        "name": "web",
        "selectors": {"blue": {"v": "1"}, "green": {"v": "2"}},
    },
    "cutover_colours": {"blue": {"deployment": "web-v1"}, "green": {"deployment": "web-v2"}},
    "cutover_cluster": {"namespace": trust_as_template("{{ where }}")},
    "groups": {"cutover_router": ["router"], "cutover_app": [], "all": ["router"]},
    "environment_all": {"prod": {"source": trust_as_template("shop-{{ 'prod' }}"), "namespace": "new-prod"}},
}


def test_r_b5_a_plan_knows_the_slot_of_an_environment_that_is_shared() -> None:
    hours = [{"from": "09:00", "to": "12:00"}]
    slot = {"namespace": "shared", "environment": "staging-shared", "slots": hours, "zone": "Europe/Berlin"}
    given = {
        **CLUSTER,
        "environment_all": {"staging": {"source": "old", "namespace": "shared"}, "prod": {"namespace": "new-prod"}},
        "environment_slots": {"staging": slot},
        "environment_application": "shop",
    }
    plan = run(**given, where="shared")["plan"]
    # A step that begins is to end in the slot.
    assert plan["slot"] == {**slot, "application": "shop", "needs": plan["guard"]["time"]}
    longer = {"staging": {**slot, "needs": "7200"}}
    assert run(**{**given, "environment_slots": longer}, where="shared")["plan"]["slot"]["needs"] == 7200
    assert run(**given, where="new-prod")["plan"]["slot"] is None
    assert run()["plan"]["slot"] is None
    for wrong, says in (
        ({"environment_slots": {"stagin": slot}}, "environment_slots has stagin, and environment_all has not"),
        ({"environment_slots": {"staging": {**slot, "zone": ""}}}, "environment_slots.staging needs zone"),
        ({"environment_slots": []}, "environment_all and environment_slots need to be mappings"),
        ({"environment_application": ""}, "environment_application is missing"),
    ):
        refused = run(**{**given, **wrong}, where="shared")
        assert (refused["reason"], refused["msg"][: len(says)]) == ("input", says)


def test_r_b15_neither_a_migration_nor_its_way_back_writes_to_a_source() -> None:
    options = {"namespace": "new-prod", "secrets": "left_out"}
    part = {"name": "objects", "host": "router", "engine": "kubernetes", "options": options}
    assert run(**CLUSTER, where="new-prod", cutover_state=[part])["plan"]["cluster"]["namespace"] == "new-prod"
    refused = run(**CLUSTER, where="shop-prod", cutover_state=[part])
    assert (refused["failed"], refused["reason"], refused.get("ansible_facts")) == (True, "source", None)
    assert refused["msg"].startswith("cutover_cluster.namespace is shop-prod, the source of new-prod")
    restored = run(
        **CLUSTER, where="new-prod", cutover_state=[{**part, "options": {**options, "namespace": "shop-prod"}}]
    )
    assert restored["msg"].startswith("options.namespace of objects in cutover_state is shop-prod, the source of")
    # What cannot be read is not taken for none.
    unread = run(**{**CLUSTER, "environment_all": trust_as_template("{{ nowhere }}")}, where="shop-prod")
    assert (unread["reason"], unread["msg"][:31]) == ("input", "environment_all has no value: '")
