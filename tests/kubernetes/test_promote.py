# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""R-B9, R-B12, R-B13: nextstep from staging to production, each in a namespace of its own, by promote.yml."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cluster import node
from cluster.client import STRATEGIC, Client
from cluster.starting import Cluster

from .test_playbooks import APP, NextStep, Until, prepare

RELEASE = "registry.invalid/nextstep@sha256:" + "ef" * 32
WORDS = "DEPLOY NEXTSTEP PROD"


class Pipeline:
    """Staging's namespace has the record, too; production is another one."""

    def __init__(self, staging: NextStep, prod: NextStep, scratch: Path) -> None:
        self.places = {"staging": staging, "prod": prod}
        self.fault = scratch / "fault"
        # Each phase is a real command; the third one looks whether somebody has broken the service.
        commands = [["test", "!", "-e", str(self.fault)] if number == 3 else ["true"] for number in range(1, 9)]
        phases = [{"name": f"phase {number}", "command": one} for number, one in enumerate(commands, 1)]
        slots = [{"from": "00:00", "to": "24:00"}]
        slot = {"namespace": staging.namespace, "environment": "staging-shared", "slots": slots, "zone": "UTC"}
        healthy = [{"name": "prod serves", "command": ["true"]}]
        self.environments = [
            {"name": "staging", "phases": phases, "slot": slot, "healthy": healthy},
            {"name": "prod", "phrase": WORDS, "healthy": healthy, "backup": True},
        ]
        options = {"namespace": prod.namespace, "secrets": "left_out"}
        part = {"name": "objects", "host": "control", "engine": "kubernetes", "options": options}
        self.backup = {"cutover_state": [part], "cutover_artifacts": {"destination": str(scratch / "kept")}}

    def promote(self, to: str, **extra: Any) -> tuple[int, str]:
        given = {
            "promote_application": "nextstep",
            "promote_namespace": self.places["staging"].namespace,
            "promote_environments": self.environments,
            "promote_to": to,
            "promote_release": RELEASE,
        }
        place = self.places[to]
        given = {**given, **(self.backup if to == "prod" else {}), "nextstep_namespace": place.namespace, **extra}
        return replace(place, extra=given).run("promote")

    def record(self) -> list[dict[str, Any]]:
        staging = self.places["staging"]
        data = staging.admin.call("GET", staging.path("v1", "configmaps", "bluegreen-nextstep"))["data"]
        found: list[dict[str, Any]] = json.loads(data["promotion.json"])["promotions"]
        return found


@pytest.fixture
def pipeline(cluster: Cluster, admin: Client, namespace: str, until: Until, tmp_path: Path) -> Iterator[Pipeline]:
    name = f"{namespace}-prod"
    admin.call("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
    places = [prepare(NextStep("nextstep", cluster.kubeconfig, admin, place, until, {})) for place in (namespace, name)]
    with (
        node.alone(cluster.kubeconfig, admin, namespace, tmp_path),
        node.alone(cluster.kubeconfig, admin, name, tmp_path),
    ):
        yield Pipeline(places[0], places[1], tmp_path)
    admin.gone(f"/api/v1/namespaces/{name}")


def test_r_b9_a_release_goes_to_production_by_staging_or_not_at_all(pipeline: Pipeline) -> None:
    staging, prod = pipeline.places["staging"], pipeline.places["prod"]
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
    assert "failed in staging, and its traffic went back: phase 3: " in told
    assert (staging.selected(), staging.serving()) == ("blue", ["blue"] * 3)
    assert pipeline.record()[-1]["events"][-1]["kind"] == "failed"
    pipeline.fault.unlink()
    rc, told = pipeline.promote("staging")
    assert rc == 0, told
    assert f"{RELEASE} is validated in staging: 8 of 8 phases passed." in told
    assert staging.selected() == "green"

    rc, told = pipeline.promote("prod", promote_confirm=WORDS.lower())
    assert (rc, "with other capitals. Nothing was changed" in told, prod.selected()) == (2, True, "blue"), told
    # A run that ends in a hold has validated nothing; promote.yml again goes on.
    held = {"promote_confirm": WORDS, "cutover_run_limit": 0, "cutover_steps": [{"share": 100, "hold": "5s"}]}
    rc, told = pipeline.promote("prod", **held)
    assert (rc, f"{RELEASE} is not validated in prod yet: green is held at 100 %" in told) == (0, True), told
    assert pipeline.record()[-1]["events"][-1]["kind"] == "moved"
    rc, told = pipeline.promote("prod", **held)
    assert rc == 0, told
    assert (prod.selected(), prod.serving()) == ("green", ["green"] * 3)
    last = pipeline.record()[-1]
    assert (last["environment"], last["release"], last["owner"]["command"][-11:]) == ("prod", RELEASE, "promote.yml")
    assert [event["kind"] for event in last["events"]] == ["checked", "moved", "checked", "validated"]
    # The backup is there, and proven, before any traffic moves.
    story = [event["kind"] for event in prod.events()]
    assert story.index("snapshot_taken") < story.index("weight_intended")
    assert next(event for event in prod.events() if event["kind"] == "snapshot_taken")["artifact"]["verified"] is True

    # Green serves in staging: that another release does is not true by being said.
    rc, told = pipeline.promote("staging", promote_release="another")
    assert rc == 2
    assert f"what a promotion moved there last is {RELEASE}; so nobody knows that it is another" in told
    assert pipeline.record()[-1]["events"][-1]["kind"] == "failed"
    assert staging.selected() == "green"
