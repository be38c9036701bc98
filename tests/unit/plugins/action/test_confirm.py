# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The words that allow a step: from a variable, from a terminal, or not at all; never a hang (R-B9, R-D9)."""

from __future__ import annotations

from typing import Any
from unittest.mock import Mock

import pytest
from ansible.errors import AnsiblePromptInterrupt, AnsiblePromptNoninteractive
from ansible_collections.bluegreen.cutover.plugins.action import confirm

WORDS = "DEPLOY NEXTSTEP PROD"


def run(monkeypatch: pytest.MonkeyPatch, typed: bytes | Exception, given: str = "", **task: Any) -> dict[str, Any]:
    def prompt(_self: confirm.Display, asked: str, seconds: int) -> bytes:
        assert (WORDS in asked, seconds) == (True, 120)
        if isinstance(typed, Exception):
            raise typed
        return typed

    monkeypatch.setattr(confirm.Display, "prompt_until", prompt)
    arguments = {"phrase": WORDS, "given": given, "step": "the promotion", "variable": "promote_confirm"}
    action = confirm.ActionModule(
        task=Mock(async_val=False, args=arguments, diff=False, **{"check_mode": False, **task}),
        connection=Mock(),
        play_context=Mock(),
        loader=Mock(),
        templar=Mock(),
        shared_loader_obj=None,
    )
    result: dict[str, Any] = action.run(task_vars={})
    return result


NOBODY = AnsiblePromptNoninteractive("stdin is not interactive")


def test_words_are_given_or_typed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch, NOBODY, WORDS)["how"] == "given"
    assert run(monkeypatch, WORDS.encode())["how"] == "typed"


@pytest.mark.parametrize("nothing", [NOBODY, AnsiblePromptInterrupt("user interrupt"), b""])
def test_nobody_who_types_is_a_refusal(monkeypatch: pytest.MonkeyPatch, nothing: bytes | Exception) -> None:
    refused = run(monkeypatch, nothing)
    assert (refused["failed"], refused["reason"]) == (True, "phrase")
    assert "-e 'promote_confirm=\"DEPLOY NEXTSTEP PROD\"'" in refused["msg"]


def test_other_words_are_refused_and_not_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "with other capitals" in run(monkeypatch, WORDS.encode(), WORDS.lower())["msg"]
    assert run(monkeypatch, b"deploy nextstep prod")["failed"]


def test_check_mode_asks_nobody_and_refuses_wrong_words(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = AssertionError("somebody was asked")
    assert run(monkeypatch, asked, check_mode=True)["how"] == "none"
    assert run(monkeypatch, asked, "yes", check_mode=True)["failed"]
