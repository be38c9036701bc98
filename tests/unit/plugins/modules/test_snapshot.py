# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module snapshot: what it hands on; tests/integration has what it does."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.bluegreen.cutover.plugins.module_utils import _artifacts
from ansible_collections.bluegreen.cutover.plugins.modules import snapshot

RunModule = Callable[..., dict[str, Any]]


@pytest.mark.parametrize(
    ("part", "said"),
    [
        ({"files": {"paths": ["/srv"]}}, "Nothing was kept; the part's data is as it was. Run again"),
        (
            {"git": {"repository": "/srv"}},
            "Nothing was kept; the part's data is as it was; tags that were made may stay. Run again",
        ),
    ],
)
def test_who_is_out_of_time_is_told_what_stays(
    run_module: RunModule, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, part: dict[str, Any], said: str
) -> None:
    told: list[str] = []
    warned: list[str] = []
    monkeypatch.setattr(snapshot.AnsibleModule, "warn", lambda _module, said: warned.append(said))

    @contextlib.contextmanager
    def bounded(_seconds: float, afterwards: str) -> Iterator[None]:
        told.append(afterwards)
        yield

    monkeypatch.setattr(_artifacts, "bounded", bounded)
    done = {"changed": True, "artifact": None, "left": ["something is left"]}
    monkeypatch.setattr(_artifacts, "take", lambda *_given, **_more: done)
    assert run_module(snapshot, part="code", destination=str(tmp_path), **part)["rc"] == 0
    assert told == [said]
    assert warned == done["left"]
