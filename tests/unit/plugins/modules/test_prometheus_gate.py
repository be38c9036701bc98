# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The wiring: the module around the gate, and the action around the module."""

from __future__ import annotations

import json
import re
import time
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible.plugins.action import ActionBase
from ansible_collections.bluegreen.cutover.plugins.action import prometheus_gate as action
from ansible_collections.bluegreen.cutover.plugins.module_utils import _gate
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.gate.decide import Verdict
from ansible_collections.bluegreen.cutover.plugins.module_utils._prometheus import SourceRefusedError
from ansible_collections.bluegreen.cutover.plugins.modules import prometheus_gate as module

CRITERIA = [{"name": "e", "kind": "ratio", "total": "n", "bad": 'code="500"', "max": 0.01}]
ARGUMENTS = {"url": "http://p:9090", "window": "10m", "criteria": CRITERIA}


def result(verdict: str) -> _gate.Result:
    return _gate.Result(Verdict(verdict, "window"), [], {"version": 1}, [], 0, 5.0, 595.0)


def run(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, outcome: Any, **more: Any
) -> tuple[int, dict[str, Any]]:
    def answer(_self: _gate.Gate, max_wait: float | None, rehearse: bool = False) -> _gate.Result:
        if isinstance(outcome, Exception):
            raise outcome
        assert max_wait is None or max_wait == 7
        assert rehearse == bool(more.get("_ansible_check_mode"))
        return outcome  # type: ignore[no-any-return]

    monkeypatch.setattr(_gate.Gate, "run", answer)
    with patch_module_args({**ARGUMENTS, **more}), pytest.raises(SystemExit) as ended:
        module.main()
    return int(ended.value.code or 0), json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(
    ("verdict", "accept", "code"),
    [("pass", [], 0), ("fail", [], 1), ("fail", ["fail"], 0), ("open", [], 1), ("inconclusive", ["fail"], 1)],
)
def test_only_a_pass_or_what_is_accepted_succeeds(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, verdict: str, accept: list[str], code: int
) -> None:
    got, out = run(capsys, monkeypatch, result(verdict), accept=accept, max_wait="7s")
    assert got == code
    assert out["verdict"] == verdict
    assert out["left"] == 595


def test_check_mode_says_what_it_would_say(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    code, out = run(capsys, monkeypatch, result("fail"), _ansible_check_mode=True)
    assert (code, out["would_verdict"], out["changed"]) == (0, "fail", False)


def test_a_mistake_is_told_with_the_state(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    code, out = run(
        capsys, monkeypatch, SourceRefusedError("no such query", {"http_status": 400}), accept=["inconclusive"]
    )
    assert code == 1
    assert (out["msg"], out["reason"], out["verdict"]) == ("no such query", "config", "inconclusive")
    assert out["state"]["version"] == 1
    code, out = run(capsys, monkeypatch, result("pass"), window="soon")
    assert (code, out["reason"]) == (1, "input")
    assert "state" not in out
    code, out = run(capsys, monkeypatch, result("pass"), token_file="/nowhere/token", state={"version": 1})
    assert (code, out["reason"], out["verdict"], out["state"]) == (1, "input", "inconclusive", {"version": 1})


class Action(action.ActionModule):  # type: ignore[misc]
    """The action without Ansible around it."""

    def __init__(self, answers: list[dict[str, Any]], check_mode: bool = False, **args: Any) -> None:
        self._task = SimpleNamespace(args={**ARGUMENTS, **args}, check_mode=check_mode)
        self.answers, self.calls = answers, []

    def _execute_module(self, module_name: str, module_args: dict[str, Any], **_more: Any) -> dict[str, Any]:
        assert module_name == "bluegreen.cutover.prometheus_gate"
        self.calls.append(dict(module_args))
        return {"invocation": {}, "progress": ["e 0"], **self.answers[len(self.calls) - 1]}


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    out: list[str] = []
    monkeypatch.setattr(action.display, "display", lambda line, **_more: out.append(line))
    monkeypatch.setattr(ActionBase, "run", lambda *_: {})
    return out


def test_slices_hand_the_state_on_and_show_a_line_each(lines: list[str]) -> None:
    answers = [
        {"verdict": "open", "state": {"n": n}, "evaluations": [{"n": n}], "evaluations_dropped": 0} for n in range(3)
    ]
    act = Action([*answers, {"verdict": "pass", "evaluations": [{"n": 3}]}])
    out = act.run()
    assert [c.get("state") for c in act.calls] == [None, {"n": 0}, {"n": 1}, {"n": 2}]
    assert {c["max_wait"] for c in act.calls} == {"7.000"}
    assert [e["n"] for e in out["evaluations"]] == [0, 1, 2, 3]
    assert lines == ["gate open: e 0"] * 3 + ["gate pass: e 0"]
    assert "invocation" not in out
    assert not out.get("failed")


def test_while_prometheus_does_not_answer_the_last_lines_are_told_again(
    lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call ends only when a question that hangs does, which may begin at the end of its slice."""
    monkeypatch.setattr(action, "SILENCE", 0.001)
    act = Action([{"verdict": "open", "state": {}}, {"verdict": "pass"}])
    ask, said = act._execute_module, []

    def hang(**given: Any) -> dict[str, Any]:
        before, until = len(lines), time.monotonic() + 60
        while len(lines) == before and time.monotonic() < until:
            time.sleep(0.001)
        said.append(lines[before])
        return ask(**given)

    monkeypatch.setattr(act, "_execute_module", hang)
    assert act.run()["verdict"] == "pass"
    assert [re.sub(r"\d+ s$", "N s", line) for line in said] == [
        "gate open: waiting for the first look · nothing new for N s",
        "gate open: e 0 · nothing new for N s",
    ]
    count = len(lines)
    time.sleep(0.01)
    assert len(lines) == count


@pytest.mark.parametrize(
    ("verdict", "accept", "failed"),
    [("fail", [], True), ("fail", "fail,open", False), ("inconclusive", ["fail"], True)],
)
@pytest.mark.usefixtures("lines")
def test_the_action_fails_like_the_module(verdict: str, accept: Any, failed: bool) -> None:
    out = Action([{"verdict": verdict, "message": "why"}], accept=accept).run()
    assert bool(out.get("failed")) == failed
    assert out.get("msg") == (f"The gate says {verdict}: why." if failed else None)


@pytest.mark.usefixtures("lines")
def test_the_time_of_the_task_ends_it_open() -> None:
    out = Action([{"verdict": "open", "reason": "window", "state": {}}], max_wait="0s").run()
    assert (out["failed"], out["msg"]) == (True, "The gate says open: window.")
    assert not Action([{"verdict": "open", "state": {}}], max_wait=0.1, accept=["open"]).run().get("failed")


@pytest.mark.usefixtures("lines")
def test_what_the_module_refuses_ends_it() -> None:
    out = Action([{"failed": True, "msg": "no"}], accept=["fail"]).run()
    assert (out["failed"], out["msg"]) == (True, "no")
    assert Action([], max_wait="soon").run()["reason"] == "input"


@pytest.mark.usefixtures("lines")
def test_check_mode_is_one_slice() -> None:
    act = Action([{"would_verdict": "fail"}], check_mode=True)
    assert act.run()["would_verdict"] == "fail"
    assert "max_wait" not in act.calls[0]
