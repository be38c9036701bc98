# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module snapshot_restore: what it hands on; tests/integration has what it does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from ansible_collections.bluegreen.cutover.plugins.module_utils import _artifacts
from ansible_collections.bluegreen.cutover.plugins.modules import snapshot_restore

RunModule = Callable[..., dict[str, Any]]


def test_what_is_not_proven_is_a_warning(run_module: RunModule, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_artifacts, "restore", lambda *_given, **_more: {"changed": True, "unproven": ["x differs"]})
    warned: list[str] = []
    monkeypatch.setattr(snapshot_restore.AnsibleModule, "warn", lambda _self, told: warned.append(told))
    result = run_module(snapshot_restore, path="/kept/shop.cache", redis={"prefix": "shop:"})
    assert (result["rc"], result["unproven"], warned) == (0, ["x differs"], ["not proven: x differs"])
