# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""R-D11: business rules by cases, in the plan and in the module; what proves nothing is refused before anything."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from ansible_collections.bluegreen.cutover.plugins.module_utils._core import cases
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.probes import Answer, Target
from ansible_collections.bluegreen.cutover.plugins.modules import http_cases

RunModule = Callable[..., dict[str, Any]]
BASES = ["http://app1:8002", "http://app2:8002"]
HIGH: dict[str, Any] = {"name": "a high score matches", "input": {"score": 9}, "expected": {"decision": "match"}}
LOW: dict[str, Any] = {"name": "a low one does not", "input": {"score": 1}, "expected": {"decision": "no", "odds": 0.1}}
ODD: dict[str, Any] = {"name": "nonsense is refused", "input": "x", "expected": {"error": "no"}, "status": 422}


def rules(*its: dict[str, Any], **more: Any) -> list[dict[str, Any]]:
    return [{"path": "/decide", "cases": list(its), **more}]


@pytest.fixture
def decide(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the candidate answers to each body, at app2 where it has one of its own."""
    says: dict[str, Any] = {
        '{"score": 9}': (200, {"decision": "match"}),
        '{"score": 1}': (200, {"decision": "no", "odds": 0.11}),
        "x": (422, {"error": "no"}),
    }

    def ask_all(targets: Sequence[Target]) -> list[Answer]:
        assert {target.method for target in targets} == {"POST"}
        sent = [((target.body or b"").decode(), target.url.split("//")[1][:4]) for target in targets]
        found = [says.get(f"{body} at {host}", says.get(body)) for body, host in sent]
        return [Answer(ms=1.0, status=status, body=json.dumps(told).encode()) for status, told in found]

    monkeypatch.setattr(http_cases, "ask_all", ask_all)
    return says


def test_r_d11_cases_that_are_decided_as_expected_pass(run_module: RunModule, decide: dict[str, Any]) -> None:
    assert decide
    result = run_module(http_cases, bases=BASES, rules=rules(HIGH, LOW, ODD, tolerance=0.01))
    assert (result["sentence"], result["passed"], result["total"]) == ("3 of 3 cases passed", 3, 3)
    assert (result["failed_cases"], result["rc"], result["changed"]) == ([], 0, False)


def test_r_d11_each_case_that_fails_is_told_with_its_input_and_what_came(
    run_module: RunModule, decide: dict[str, Any]
) -> None:
    decide['{"score": 9} at app2'] = (200, {"decision": "no"})
    result = run_module(http_cases, bases=BASES, rules=rules(HIGH, LOW, ODD))
    assert (result["rc"], result["reason"], result["evidence"]) == (1, "cases", {"passed": 1, "total": 3})
    assert result["msg"] == (
        "1 of 3 cases passed. Failed: "
        "a high score matches: {\"score\": 9} → decision is 'no', 'match' is expected (at http://app2:8002); "
        'a low one does not: {"score": 1} → odds is 0.11, 0.1 is expected (at http://app1:8002, http://app2:8002). '
        "Repair the rule, or the case where the decision is right"
    )
    [first, second] = result["failed_cases"]
    assert (first["input"], first["expected"], list(first["got"])) == (HIGH["input"], HIGH["expected"], BASES[1:])
    assert second["got"][BASES[0]]["body"] == '{"decision": "no", "odds": 0.11}'


def test_r_d11_a_message_ends_where_hundreds_fail() -> None:
    failed = [
        {"name": f"case {number}", "input": "x" * 900, "expected": {}, "got": {"http://app1": {"mismatches": ["no"]}}}
        for number in range(300)
    ]
    told = cases.told(301, failed)
    assert told.startswith("1 of 301 cases passed. Failed: case 0: xxx")
    assert told.endswith("; and 280 more")
    assert len(told) < 6000


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"rules": rules()}, "there is no case; at least one is needed"),
        ({"rules": []}, "there is no case; at least one is needed"),
        ({"rules": rules({**HIGH, "expected": {}})}, "'a high score matches' expects nothing; what the answer must"),
        ({"rules": rules(HIGH, HIGH)}, "'a high score matches' is there 2 times; each case needs a name of its own"),
        ({"rules": rules(HIGH, tolerance=-1)}, "the tolerance of /decide is -1.0; a number from 0 is needed"),
        ({"bases": []}, "bases is empty; at least one address is needed"),
        ({"bases": ["app1"]}, "the case 'a high score matches': 'app1/decide' cannot be asked"),
    ],
)
def test_r_d11_what_would_prove_nothing_is_refused(
    monkeypatch: pytest.MonkeyPatch, run_module: RunModule, given: dict[str, Any], says: str
) -> None:
    monkeypatch.setattr(http_cases, "ask_all", lambda _targets: pytest.fail("somebody was asked"))
    result = run_module(http_cases, **{"bases": BASES, "rules": rules(HIGH), **given})
    assert (result["rc"], result["reason"]) == (1, "input")
    assert says in result["msg"]


def test_r_d11_nobody_is_asked_in_check_mode(monkeypatch: pytest.MonkeyPatch, run_module: RunModule) -> None:
    monkeypatch.setattr(http_cases, "ask_all", lambda _targets: pytest.fail("somebody was asked"))
    assert run_module(http_cases, check_mode=True, bases=BASES, rules=rules(HIGH))["skipped"] is True
