# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The comparison's module fails unless the candidate is proven as fast."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.probes import Target
from ansible_collections.bluegreen.cutover.plugins.modules import http_compare

RunModule = Callable[..., dict[str, Any]]
GIVEN = {"baseline": ["http://app1:8001"], "candidate": ["http://app1:8002"], "path": "/x"}


@pytest.mark.parametrize(
    ("ms", "failed", "reason"), [(10.0, False, None), (20.0, True, "slower"), (None, True, "slower")]
)
def test_only_what_is_proven_passes(
    monkeypatch: pytest.MonkeyPatch, run_module: RunModule, ms: float | None, failed: bool, reason: str | None
) -> None:
    def pairs(old: list[Target], new: list[Target], requests: int, seconds: float) -> list[tuple[float, float | None]]:
        assert ([one.url for one in old], [one.url for one in new]) == (["http://app1:8001/x"], ["http://app1:8002/x"])
        assert seconds == 60
        return [(10.0, ms)] * requests

    monkeypatch.setattr(http_compare, "ask_in_pairs", pairs)
    result = run_module(http_compare, **GIVEN)
    assert (bool(result.get("failed")), result.get("reason"), result["pairs"]) == (failed, reason, 100)


def test_an_old_version_that_does_not_answer_proves_nothing(
    monkeypatch: pytest.MonkeyPatch, run_module: RunModule
) -> None:
    monkeypatch.setattr(http_compare, "ask_in_pairs", lambda *_targets, **_more: [(None, 1.0)] * 100)
    assert run_module(http_compare, **GIVEN)["reason"] == "unclear"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [({"requests": 3}, "requests is 3"), ({"candidate": []}, "candidate is empty"), ({"path": "x"}, "does not begin")],
)
def test_what_cannot_be_asked_is_refused(run_module: RunModule, wrong: dict[str, Any], message: str) -> None:
    result = run_module(http_compare, **{**GIVEN, **wrong})
    assert result["reason"] == "input"
    assert message in result["msg"]
