# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module is wiring: what it is asked, and since when."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.bluegreen.cutover.plugins.module_utils import _service_metrics
from ansible_collections.bluegreen.cutover.plugins.module_utils._core import success
from ansible_collections.bluegreen.cutover.plugins.module_utils._stores.files import FileStore
from ansible_collections.bluegreen.cutover.plugins.modules import service_metrics

RunModule = Callable[..., dict[str, Any]]


@pytest.fixture
def plan(tmp_path: Path) -> dict[str, Any]:
    given = {"url": "http://127.0.0.1:9090", "scrape_interval": 1}
    return {
        "service": "shop",
        "state_dir": str(tmp_path),
        "cluster": None,
        "metrics": {"group": "g"},
        "prometheus": given,
    }


def test_success_is_measured_since_the_migration_began(
    plan: dict[str, Any], monkeypatch: pytest.MonkeyPatch, run_module: RunModule
) -> None:
    began = {"kind": "began", "at": 5.0}
    journal = {"migrations": [{"id": "a", "events": [{"kind": "began", "at": 1.0}]}, {"id": "b", "events": [began]}]}
    monkeypatch.setattr(FileStore, "read_journal", lambda _store: journal)
    monkeypatch.setattr(
        _service_metrics, "measure", lambda _source, _plan, since: [success.unknown("features", f"since {since}")]
    )
    result = run_module(service_metrics, state="success", plan=plan)
    assert result["sentence"] == "features: unknown; since 5.0"
    assert [one["passed"] for one in result["findings"]] == [None]


def test_what_was_never_migrated_cannot_be_measured(plan: dict[str, Any], run_module: RunModule) -> None:
    result = run_module(service_metrics, state="success", plan=plan)
    assert (result["failed"], result["reason"]) == (True, "input")


def test_flowing_is_told(plan: dict[str, Any], monkeypatch: pytest.MonkeyPatch, run_module: RunModule) -> None:
    monkeypatch.setattr(_service_metrics, "flowing", lambda _source, _plan: {"sentence": "1 targets are up"})
    assert run_module(service_metrics, state="flowing", plan=plan)["sentence"] == "1 targets are up"
