# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module diagnostics: what it asks for, and where its bundle is."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.bluegreen.cutover.plugins.module_utils import _diagnostics
from ansible_collections.bluegreen.cutover.plugins.modules import diagnostics

RunModule = Callable[..., dict[str, Any]]


def plan(folder: Path) -> dict[str, Any]:
    probes = [{"path": "/a", "method": "GET"}, {"path": "/b", "method": "POST"}]
    start = {"unit": "g.service", "ready": "http://h/ready", "live": "http://h/live"}
    colours = {"green": {"start": start}}
    return {
        "service": "shop",
        "state_dir": str(folder),
        "colours": colours,
        "cluster": None,
        "probes": probes,
        "verify": [],
    }


def test_what_only_reads_is_asked_again(run_module: RunModule, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_diagnostics, "collect", lambda start, paths, _run: {start["unit"]: " ".join(paths)})
    told = run_module(diagnostics, state="collected", plan=plan(tmp_path), colour="green")
    assert (told["changed"], told["files"]) == (False, {"g.service": "/a"})


def test_one_bundle_of_all_hosts(run_module: RunModule, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda _descriptor: None)
    hosts = {"app1": {"unit.txt": "x"}, "../app2": {}}
    given = {"state": "packed", "plan": plan(tmp_path), "hosts": hosts, "cause": "c"}
    would = run_module(diagnostics, check_mode=True, **given)
    assert would["path"].startswith(f"{tmp_path}/shop/diagnostics/none-")
    assert list(tmp_path.iterdir()) == []
    with tarfile.open(run_module(diagnostics, **given)["path"]) as packed:
        names = [name.partition("/")[2] for name in packed.getnames()]
    assert names == ["manifest.json", ".._app2/unknown.txt", "app1/unit.txt", "migration.json"]
