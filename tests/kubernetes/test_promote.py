# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""R-B9, R-B12, R-B13: nextstep from dev to production by promote.yml and its inventory, each in its own namespace."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.bluegreen.cutover.plugins.module_utils._core import promotion
from ansible_collections.bluegreen.cutover.plugins.module_utils._promoting import Promotion, open_record
from cluster import node
from cluster.client import STRATEGIC, Client
from cluster.starting import Cluster

from .conftest import account, documented
from .test_playbooks import APP, ROOT, NextStep, Until, application, prepare

RELEASE = "registry.invalid/nextstep@sha256:" + "ef" * 32
GROUP_VARS = ROOT / "inventories/nextstep/group_vars"
WORDS = "DEPLOY NEXTSTEP PROD"


class Pipeline:
    """The inventory's own environments, phases, phrase and backup. What is another here is where they are, and when."""

    def __init__(self, places: dict[str, NextStep], address: str, scratch: Path) -> None:
        self.places = places
        self.fault = scratch / "fault"
        (scratch / "tests").mkdir()
        for name in ("contracts", "data", "flows", "load"):
            its = scratch / "tests" / name
            # One of them looks whether somebody has broken the service.
            its.write_text(f'#!/bin/sh\ntest "$*" = {address} {f"-a ! -e {self.fault}" * (name == "flows")}\n')
            its.chmod(0o755)
        own = [yaml.safe_load((GROUP_VARS / f"{name}.yml").read_text()) for name in ("all", "cutover_router")]
        inventory = {**own[0], **own[1]}
        always = {"slots": [{"from": "00:00", "to": "24:00"}], "namespace": places["staging"].namespace}
        self.extra = {
            "environment_all": {
                name: {**its, "namespace": places[name].namespace} for name, its in inventory["environment_all"].items()
            },
            "environment_slots": {"staging": {**inventory["environment_slots"]["staging"], **always}},
            **dict.fromkeys(("nextstep_api", "nextstep_dashboard", "nextstep_production"), address),
            "nextstep_tests": str(scratch / "tests"),
            # What they are for is shown by test_r_b11_…: a good answer on a busy machine may take longer than 100 ms.
            "nextstep_budgets": dict.fromkeys(inventory["nextstep_budgets"], 60_000),
            # There are neither its stores here nor its repository: test_state.py has their engines.
            "nextstep_backup": [one for one in inventory["nextstep_backup"] if one["engine"] == "kubernetes"],
            "cutover_artifacts": {"destination": str(scratch / "kept")},
        }

    def promote(self, to: str, **extra: Any) -> tuple[int, str]:
        given = {**self.extra, "promote_to": to, "promote_release": RELEASE, **extra}
        return replace(self.places[to], extra=given).run("promote")

    def build(self, to: str) -> None:
        """Somebody gives the candidate there the release's image."""
        its = self.places[to]
        containers = [{"name": "app", "image": RELEASE}]
        path = its.path("apps/v1", "deployments", f"{APP}-green")
        its.admin.call("PATCH", path, {"spec": {"template": {"spec": {"containers": containers}}}}, STRATEGIC)

    def record(self) -> list[dict[str, Any]]:
        prod = self.places["prod"]
        data = prod.admin.call("GET", prod.path("v1", "configmaps", "bluegreen-nextstep"))["data"]
        found: list[dict[str, Any]] = json.loads(data["promotion.json"])["promotions"]
        return found


@pytest.fixture
def pipeline(cluster: Cluster, admin: Client, namespace: str, until: Until, tmp_path: Path) -> Iterator[Pipeline]:
    names = {"dev": f"{namespace}-dev", "staging": namespace, "prod": f"{namespace}-prod"}
    made = [name for name in names.values() if name != namespace]
    for name in made:
        admin.call("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
    with contextlib.ExitStack() as stack:
        for name in names.values():
            stack.enter_context(node.alone(cluster.kubeconfig, admin, name, tmp_path))
        address = stack.enter_context(application(lambda: 0))
        places = {
            environment: prepare(NextStep("nextstep", cluster.kubeconfig, admin, name, until, {}))
            for environment, name in names.items()
        }
        yield Pipeline(places, address, tmp_path)
    for name in made:
        admin.gone(f"/api/v1/namespaces/{name}")


def test_r_b9_a_release_goes_to_production_by_staging_or_not_at_all(pipeline: Pipeline) -> None:
    staging, prod = pipeline.places["staging"], pipeline.places["prod"]
    pipeline.build("dev")
    pipeline.build("staging")
    rc, told = pipeline.promote("dev")
    assert (rc, f"{RELEASE} is validated in dev: 4 of 4 phases passed." in told) == (0, True), told
    # R-B13: its pods do not get ready in staging: that is a failure of the release, with its cause, and its end.
    green = staging.path("apps/v1", "deployments", f"{APP}-green")
    stuck = {"progressDeadlineSeconds": 1, "template": {"metadata": {"annotations": {"tests/ready": "false"}}}}
    staging.admin.call("PATCH", green, {"spec": stuck}, STRATEGIC)
    rc, told = pipeline.promote("staging")
    assert rc == 2
    assert f"{RELEASE} failed in staging: Scale the candidate up and wait until it is ready: the rollout of" in told
    assert "It may go no further; promote it anew when that is repaired" in told
    ended = pipeline.record()[-1]["events"][-1]
    assert ended["kind"] == "failed"
    assert ended["message"].startswith("its traffic was not moved: Scale the candidate up ")
    rc, told = pipeline.promote("prod", promote_confirm=WORDS)
    assert rc == 2
    assert "may not go to prod yet: it failed in staging: its traffic was not moved: Scale the" in told
    healed = {"progressDeadlineSeconds": 600, "template": {"metadata": {"annotations": {"tests/ready": "true"}}}}
    staging.admin.call("PATCH", green, {"spec": healed}, STRATEGIC)

    # R-B13: the tests fail in staging: it goes back, and no further.
    pipeline.fault.touch()
    rc, told = pipeline.promote("staging")
    assert rc == 2
    assert "failed in staging, and its traffic went back: flows: " in told
    assert (staging.selected(), staging.serving()) == ("blue", ["blue"] * 3)
    assert pipeline.record()[-1]["events"][-1]["kind"] == "failed"
    pipeline.fault.unlink()
    rc, told = pipeline.promote("staging")
    assert rc == 0, told
    assert f"{RELEASE} is validated in staging: 8 of 8 phases passed." in told
    assert staging.selected() == "green"

    # R-B8: production's green is another image than the one that was tested.
    rc, told = pipeline.promote("prod", promote_confirm=WORDS)
    assert (rc, prod.selected()) == (2, "blue"), told
    assert "may not go to prod yet: what would get the traffic of prod runs registry.invalid/app:1" in told
    pipeline.build("prod")
    rc, told = pipeline.promote("prod", promote_confirm=WORDS.lower())
    assert (rc, "with other capitals. Nothing was changed" in told, prod.selected()) == (2, True, "blue"), told
    # A run that ends in a hold has validated nothing; promote.yml again goes on.
    held = {"promote_confirm": WORDS, "cutover_run_limit": 0, "cutover_steps": [{"share": 100, "hold": "1h"}]}
    rc, told = pipeline.promote("prod", **held)
    assert (rc, f"{RELEASE} is not validated in prod yet: green is held at 100 %" in told) == (0, True), told
    assert pipeline.record()[-1]["events"][-1]["kind"] == "moved"
    # A resumed run takes the plan as it is now.
    held["cutover_steps"] = [{"share": 100, "hold": 1}]
    rc, told = pipeline.promote("prod", **held)
    assert rc == 0, told
    assert (prod.selected(), prod.serving()) == ("green", ["green"] * 3)
    last = pipeline.record()[-1]
    assert (last["environment"], last["release"], last["owner"]["command"][-11:]) == ("prod", RELEASE, "promote.yml")
    kinds = [event["kind"] for event in last["events"]]
    assert kinds == ["checked", "moved", *["tested"] * 4, "checked", "validated"]
    # The backup is there, and proven, before any traffic moves.
    story = [event["kind"] for event in prod.events()]
    assert story.index("snapshot_taken") < story.index("weight_intended")
    assert next(event for event in prod.events() if event["kind"] == "snapshot_taken")["artifact"]["verified"] is True

    # Green serves in dev: that another release does is not true by being said.
    rc, told = pipeline.promote("dev", promote_release="another")
    assert rc == 2
    assert f"what a promotion moved there last is {RELEASE}; so nobody knows that it is another" in told
    assert pipeline.record()[-1]["events"][-1]["kind"] == "failed"
    assert pipeline.places["dev"].selected() == "green"


def test_r_b9_the_record_needs_no_more_rights_than_its_page_says(
    cluster: Cluster, admin: Client, namespace: str, tmp_path: Path
) -> None:
    role = documented("Role", page="promotion.md")
    role["metadata"].pop("namespace")
    narrow = account(cluster, admin, namespace, tmp_path, role)
    plan = {"cluster": {"kubeconfig": str(narrow), "namespace": "elsewhere"}, "state_dir": str(tmp_path)}
    environments = promotion.check("nextstep", [{"name": "dev"}, {"name": "staging"}])
    for to, kinds in (("dev", ["moved", "validated"]), ("staging", ["moved", "failed"])):
        made = Promotion(open_record(plan, "nextstep", namespace), environments, to, RELEASE)
        assert made.begin((), {"user": "tests"})["environment"]["name"] == to
        for kind in kinds:
            made.note([{"kind": kind, "message": "as told"}])
    its = admin.call("GET", f"/api/v1/namespaces/{namespace}/configmaps/bluegreen-nextstep")["data"]
    ended = [one["events"][-1]["kind"] for one in json.loads(its["promotion.json"])["promotions"]]
    assert ended == ["validated", "failed"]
