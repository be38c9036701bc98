# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rollback guide has real names, paths, sizes and commands; the audit has the numbers."""

from __future__ import annotations

from typing import Any

from ansible_collections.bluegreen.cutover.plugins.module_utils._core import guide
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.plan import make_plan

DB = {
    "part": "db",
    "path": "/b/shop.db.x",
    "host": "data.example",
    "engine": "postgresql",
    "bytes": 123456,
    "verified": True,
    "encrypted": True,
    "consistent_at": 0.0,
    "expires": 259200.0,
}


def plan() -> dict[str, Any]:
    state = [
        {"name": "conf", "host": "app1", "engine": "files", "options": {"paths": ["/etc/shop's"]}},
        {"name": "db", "host": "data", "engine": "postgresql", "options": {"database": "shop"}},
    ]
    variables = {
        "cutover_service": "shop",
        "cutover_front": "http://router:8080",
        "cutover_router": {"provider": "haproxy"},
        "cutover_colours": {
            "blue": {"unit": "shop-blue.service", "port": 8001},
            "green": {"unit": "shop-green.service", "port": 8002},
        },
        "cutover_state": state,
        "cutover_verify": [{"path": "/api/health"}],
    }
    return make_plan(variables, routers=["router"], applications=["app1"], hosts={})


def test_the_guide_has_real_names_paths_sizes_and_commands() -> None:
    how = {"inventory": ["/opt/my inventory/hosts.yml"], "playbooks": "/opt/playbooks"}
    text = guide.rollback_guide(plan(), "m1", {"db": DB}, how)
    back = "    ansible-playbook -i '/opt/my inventory/hosts.yml' /opt/playbooks/rollback.yml"
    key = " -e rollback_identity_file=/path/of/the/private/key"
    lines = text.splitlines()
    assert back in lines
    assert f"{back} -e rollback_restore=true{key}" in lines
    assert f"{back} -e rollback_restore=true -e rollback_accept_data_loss=true{key}" in lines
    row = "| db | data.example | `/b/shop.db.x` | 123456 | 1970-01-01 00:00:00 UTC | yes | 1970-01-04 00:00:00 UTC |"
    assert row in lines
    steps = [line for line in lines if line[:2] in ("1.", "2.", "3.", "4.", "5.")]
    assert steps == [
        "1. Stop user traffic: shop-blue.service, shop-green.service are stopped on app1.",
        "2. Restore db (postgresql on data) as of 1970-01-01 00:00:00 UTC, from /b/shop.db.x.",
        "3. conf (files on app1) cannot be restored: no snapshot was taken.",
        "4. Restart: shop-blue.service, and http://router:8080 goes to blue.",
        "5. Verify: /health/ready of each instance, /api/health at http://router:8080.",
    ]
    [by_hand] = [line for line in lines if "snapshot_restore" in line]
    assert by_hand.startswith(
        "    ansible data -i '/opt/my inventory/hosts.yml' -b -m bluegreen.cutover.snapshot_restore"
    )
    assert '"postgresql": {"database": "shop"}' in by_hand


def test_a_guide_is_where_the_snapshots_are() -> None:
    its = plan()
    its["state"].append({**its["state"][1], "name": "more"})
    kept = {"db": DB, "more": {**DB, "path": "/b/shop.more.x"}}
    assert guide.places(its, kept) == [{"host": "data", "folder": "/b"}]
    kept["more"]["path"] = "/elsewhere/shop.more.x"
    assert [one["folder"] for one in guide.places(its, kept)] == ["/b", "/elsewhere"]
    assert guide.places(its, {}) == []


def test_the_guide_of_a_service_in_a_cluster_says_what_is_stopped() -> None:
    its = plan()
    its.update(
        cluster={"namespace": "shop-prod"}, colours={one: {"deployment": f"shop-{one}"} for one in its["colours"]}
    )
    its["hosts"]["app"] = []
    lines = guide.rollback_guide(its, "m1", {"db": DB}, {"inventory": [], "playbooks": "/p"}).splitlines()
    stop = "shop-blue, shop-green are scaled to 0 in shop-prod, until none of their pods is left."
    assert f"1. Stop user traffic: {stop}" in lines
    assert "4. Restart: shop-blue, and http://router:8080 goes to blue." in lines
    assert any("/p/rollback.yml -e rollback_restore=true -e rollback_accept_data_loss=true" in line for line in lines)
    assert any("Its journal is in the ConfigMap bluegreen-shop in shop-prod." in line for line in lines)


def test_the_audit_has_what_was_lost_in_numbers() -> None:
    written = [{"name": "public.orders", "what": "rows inserted", "count": 4711}]
    event = {
        "kind": "data_restored",
        "at": 60.0,
        "part": "db",
        "artifact": DB,
        "written": written,
        "differences": ["x"],
        "kept": ["what shop was is the database shop_before_1"],
    }
    text = guide.audit("shop", "m1", [{"kind": "began"}, event, {**event, "part": "conf", "written": []}])
    assert "- public.orders: 4711 rows inserted" in text
    assert "from then until 1970-01-01 00:01:00 UTC is lost" in text
    assert "- nothing: it was the same" in text
    assert "- Left for you: what shop was is the database shop_before_1." in text
    assert "not proven" not in text.lower()
    doubt = "2 keys are not what they were"
    text = guide.audit("shop", "m1", [{**event, "unproven": [doubt]}])
    assert f"that is not proven:\n\n- {doubt}\n" in text
    assert f"- Not proven: {doubt}." in text


def test_the_audit_has_the_numbers_of_a_restore_whose_end_nobody_knows() -> None:
    """R-B13: killed in the middle of it; another time it failed, and the next one found nothing to do."""
    its = {"part": "db", "artifact": DB}
    written = [{"name": "public.orders", "what": "rows inserted", "count": 4711}]
    counted = {"kind": "restore_counted", "at": 50.0, **its, "written": written, "differences": []}
    began = {"kind": "restore_began", "at": 60.0, **its}
    assert guide.audit("shop", "m1", [counted]) == ""
    events: list[Any] = [counted, began]
    text = guide.audit("shop", "m1", events)
    assert "began at 1970-01-01 00:01:00 UTC, and its end is not recorded.\n" in text
    assert "- public.orders: 4711 rows inserted" in text
    events.append({"kind": "data_left", "at": 61.0, "message": "the disk is full", "written": []})
    assert "its end is not recorded: the disk is full\n" in guide.audit("shop", "m1", events)
    restored = {"kind": "data_restored", "at": 90.0, **its, "written": []}
    events += [{"kind": "rollback_began", "at": 70.0}, began, restored]
    text = guide.audit("shop", "m1", events)
    assert text.count("## db") == 2
    assert "- public.orders: 4711 rows inserted" in text
    assert "- nothing: it was the same" in text
