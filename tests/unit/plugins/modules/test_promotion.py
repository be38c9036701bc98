# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module promotion: what it records, and what it refuses (R-B9, R-B12)."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.bluegreen.cutover.plugins.module_utils._stores.files import FileStore
from ansible_collections.bluegreen.cutover.plugins.modules import promotion

RunModule = Callable[..., dict[str, Any]]
PHASES = [{"name": "API", "command": ["true"]}, {"name": "flows", "tasks": "/srv/flows.yml"}]
ENVIRONMENTS = [{"name": "staging", "phases": PHASES}, {"name": "prod", "backup": True}]
Promote = Callable[..., dict[str, Any]]


@pytest.fixture
def promote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_module: RunModule) -> Promote:
    monkeypatch.setattr(os, "fsync", lambda _descriptor: None)  # nobody waits for a disk here

    def run(state: str, to: str = "staging", **more: Any) -> dict[str, Any]:
        plan = {"state_dir": str(tmp_path), "cluster": None, "state": [{"name": "db"}]}
        given = {"plan": plan, "application": "shop", "environments": ENVIRONMENTS, "release": "v2", "to": to}
        return run_module(promotion, state=state, owner={"user": "alice"}, **{**given, **more})

    return run


def ran(name: str, *, passed: bool = True) -> dict[str, Any]:
    return {"kind": "tested", "name": name, "passed": passed, "seen": "" if passed else "503"}


def test_a_release_is_validated_and_goes_on(promote: Promote, tmp_path: Path) -> None:
    refused = promote("judged", to="prod")
    assert (refused["rc"], refused["reason"]) == (1, "promotion")
    begun = promote("begun")
    assert (begun["changed"], begun["environment"]["phases"]) == (True, PHASES)
    assert promote("recorded", events=[ran("API")])["sentence"] == "1 of 2 phases passed"
    early = promote("validated")
    assert early["msg"] == "v2 is not validated in staging: 1 of 2 phases passed"
    unknown = promote("moved")
    assert unknown["changed"] is False
    assert unknown["problem"].endswith("nobody knows that it is v2")
    assert promote("moved", migration="7")["problem"] == promote("moved")["problem"] == ""
    assert promote("recorded", events=[ran("flows")])["sentence"] == "2 of 2 phases passed"
    assert promote("validated")["changed"]
    assert promote("begun", to="prod")["environment"]["backup"] is True
    record = FileStore(str(tmp_path), "shop").read_promotion()
    assert record is not None
    assert [one["environment"] for one in record["promotions"]] == ["staging", "prod"]
    assert record["promotions"][0]["owner"] == {"user": "alice"}


def test_one_that_failed_goes_no_further(promote: Promote) -> None:
    promote("begun")
    assert promote("recorded", events=[ran("API", passed=False)])["sentence"].endswith("failed: API (503)")
    promote("failed", reason="API: 503")
    assert "it failed in staging: API: 503" in promote("judged", to="prod")["msg"]
    assert "has ended" in promote("recorded", events=[ran("API")])["msg"]


def test_check_mode_records_nothing(promote: Promote, tmp_path: Path) -> None:
    assert promote("begun", check_mode=True)["changed"]
    assert promote("validated", check_mode=True)["changed"]
    assert list(tmp_path.iterdir()) == []


def test_a_cluster_needs_one_place_for_the_record(promote: Promote, tmp_path: Path) -> None:
    plan = {"state_dir": str(tmp_path), "cluster": {"namespace": "shop-prod"}, "state": []}
    refused = promote("judged", plan=plan)
    assert (refused["reason"], "promote_namespace is missing" in refused["msg"]) == ("input", True)


def test_r_b9_what_is_validated_is_what_was_tested(promote: Promote, monkeypatch: pytest.MonkeyPatch) -> None:
    release, images = "registry/api@sha256:ef", ["registry/api@sha256:ef"]
    monkeypatch.setattr(promotion, "read_images", lambda _plan: images)
    promote("begun", release=release)
    promote("recorded", release=release, events=[ran("API"), ran("flows")])
    images[:] = ["registry/api@sha256:ab"]
    refused = promote("validated", release=release)
    assert (refused["reason"], refused["evidence"]) == ("promotion", {"images": images})
    assert "somebody has changed what was tested, which is to run registry/api@sha256:ab now" in refused["msg"]
    assert "may not go to staging yet: what would get the traffic" in promote("judged", release=release)["msg"]
    images[:] = ["registry/api@sha256:ef"]
    assert promote("validated", release=release)["changed"]
