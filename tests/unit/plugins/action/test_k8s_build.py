# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The action k8s_build: what roles get (R-B8)."""

from __future__ import annotations

from typing import Any
from unittest.mock import Mock

import pytest
from ansible_collections.bluegreen.cutover.plugins.action import k8s_build
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import BuildError

ARGUMENTS: dict[str, Any] = {
    "namespace": "dev",
    "name": "api",
    "image": "registry.invalid/api",
    "repository": "https://git.invalid/api.git",
    "revision": "6f1c2a7d9be04c53a1f0d2e8b7c6a5948372615e",
    "arguments": {"LEVEL": 3},
}


def run(
    monkeypatch: pytest.MonkeyPatch, build: Any, variables: dict[str, Any] | None = None, **arguments: Any
) -> dict[str, Any]:
    monkeypatch.setattr(k8s_build, "connect", lambda *given: given)
    monkeypatch.setattr(k8s_build, "build", build)
    action = k8s_build.ActionModule(
        task=Mock(async_val=False, args={**ARGUMENTS, **arguments}, check_mode=True, diff=False),
        connection=Mock(),
        play_context=Mock(),
        loader=Mock(),
        templar=Mock(template=lambda value: value),
        shared_loader_obj=None,
    )
    result: dict[str, Any] = action.run(task_vars=variables or {})
    return result


def test_it_builds_what_was_asked_for(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def build(_cluster: Any, namespace: str, given: Any, **options: Any) -> dict[str, Any]:
        options.pop("tell")("build-api: running")
        return {"changed": True, "asked": (namespace, given.arguments, given.builder, options)}

    asked = run(monkeypatch, build, timeout=60)["asked"]
    assert asked == ("dev", {"LEVEL": "3"}, "kaniko", {"timeout": 60, "ttl": 3600, "check_mode": True})
    assert "build-api: running" in capsys.readouterr().err


def test_a_build_that_fails_and_one_that_cannot_be_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_given: Any, **_options: Any) -> dict[str, Any]:
        raise BuildError("no space left", {"log": []})

    failed = run(monkeypatch, fail)
    assert (failed["failed"], failed["reason"], failed["msg"]) == (True, "build", "no space left")
    refused = run(monkeypatch, AssertionError, revision="main")
    assert (refused["failed"], refused["reason"]) == (True, "input")


def test_r_b15_nothing_is_built_in_a_source(monkeypatch: pytest.MonkeyPatch) -> None:
    refused = run(monkeypatch, AssertionError, {"environment_all": {"dev": {"source": "dev", "namespace": "new"}}})
    assert (refused["failed"], refused["reason"]) == (True, "source")
