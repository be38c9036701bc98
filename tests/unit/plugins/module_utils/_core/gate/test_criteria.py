# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Criteria as data: what is accepted, and what a mistake is answered with."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import InputError
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.gate.criteria import (
    Part,
    burn_query,
    duration,
    fingerprint,
    parse,
    selector,
)

RATIO: dict[str, Any] = {"name": "e", "kind": "ratio", "total": 'n{a="b"}', "bad": 'code=~"5.."', "max": 0.01}
LATENCY: dict[str, Any] = {"name": "l", "kind": "latency", "histogram": "s_bucket", "max": 0.1}
QUERY: dict[str, Any] = {"name": "q", "kind": "query", "query": "up", "min": 1}
BURN: dict[str, Any] = {"name": "b", "kind": "burn_rate", "total": "n", "bad": 'code="500"', "objective": 0.999}


def test_bad_narrows_the_total_in_both_arms() -> None:
    (c,) = parse([{**RATIO, "baseline": 'n{a="c"}'}])
    assert c.green is not None
    assert c.blue is not None
    assert str(c.green.part) == 'n{a="b",code=~"5.."}'
    assert str(c.blue.part) == 'n{a="c",code=~"5.."}'
    assert c.green.lazy
    assert c.green.new_labels == {"a", "code"}
    assert (c.limit, c.action, c.required) == (0.01, "rollback", True)


def test_a_part_of_its_own_must_exist() -> None:
    (c,) = parse([{**RATIO, "bad": "errors_total{}"}])
    assert c.green is not None
    assert not c.green.lazy
    assert c.green.new_labels == set()


def test_min_of_good_is_max_of_bad() -> None:
    (c,) = parse([{"name": "p", "kind": "ratio", "total": "n", "good": 'ok="1"', "min": 0.95}])
    assert c.limit == pytest.approx(0.05)
    assert c.green is not None
    assert c.green.role == "good"


def test_a_latency_is_a_share_above_a_bound() -> None:
    (c,) = parse([LATENCY])
    assert (c.limit, c.le, c.quantile) == (pytest.approx(0.05), 0.1, 0.95)
    (c,) = parse(
        [{"name": "l", "kind": "latency", "histogram": "s_bucket", "baseline": "t_bucket", "max_increase": 0.1}]
    )
    assert (c.limit, c.le, c.increase) == (None, None, 0.1)


def test_a_burn_rate_has_the_usual_windows() -> None:
    (c,) = parse([BURN])
    assert [(w.long, w.short, w.factor) for w in c.windows] == [(3600, 300, 14.4), (21600, 1800, 6)]
    assert c.budget == pytest.approx(0.001)
    assert c.green is not None
    assert burn_query(c.green, 300) == (
        '(sum(rate(n{code="500"}[300s])) or 0*sum(rate(n{}[300s]))) / sum(rate(n{}[300s]))'
    )


@pytest.mark.parametrize(
    ("criterion", "message"),
    [
        ({**RATIO, "basline": "n"}, "unknown key 'basline'; did you mean baseline?"),
        ({**RATIO, "zzz": 1}, "unknown key 'zzz'; known here: action, bad"),
        ({**RATIO, "kind": "ratoi"}, "kind is 'ratoi'; did you mean ratio?"),
        ({**RATIO, "kind": None}, "kind is None; known: burn_rate, latency, query, ratio"),
        ({**RATIO, "action": "rolback"}, "action is 'rolback'; did you mean rollback?"),
        ({**RATIO, "action": "x"}, "action is 'x'; one of"),
        ({**RATIO, "required": "yes"}, "required is 'yes', not true or false"),
        ({**RATIO, "total": None}, "total missing"),
        ({**RATIO, "total": "sum(rate(n[1m]))"}, "is not a plain selector"),
        ({**RATIO, "total": "n[5m]"}, "is not a plain selector"),
        ({**RATIO, "total": "n{a=b}"}, "cannot read the matchers at 'a=b'"),
        ({**RATIO, "good": 'x="1"'}, "give exactly one of bad, good; given: bad, good"),
        ({**RATIO, "max": None}, "give exactly one of max, min, max_ratio; given: none"),
        ({**RATIO, "max": "a lot"}, "max is 'a lot', not a number"),
        ({**RATIO, "max": True}, "max is True, not a number"),
        ({**RATIO, "max": float("nan")}, "max is nan, not a number"),
        ({**RATIO, "max": 1.5}, "max is 1.5, which is not between 0 and 1"),
        ({**RATIO, "max": 0}, "max is 0, which is not between 0 and 1"),
        ({**RATIO, "max": None, "max_ratio": 1.5}, "max_ratio compares with blue, so it needs baseline"),
        ({**RATIO, "floor": 0.001}, "floor belongs to max_ratio"),
        ({**RATIO, "bad": "e{}", "baseline": "n"}, "baseline needs baseline_bad too"),
        ({**LATENCY, "histogram": "s"}, "give the histogram's _bucket series without le"),
        ({**LATENCY, "histogram": 's_bucket{le="1"}'}, "give the histogram's _bucket series without le"),
        ({**LATENCY, "max": None, "max_increase": 0.1}, "max_increase compares with blue"),
        ({**LATENCY, "le": 0.1}, "le belongs to max_increase"),
        ({**QUERY, "min": None}, "without a limit nothing is judged"),
        ({**QUERY, "query": "sum(up) or vector(0)"}, "turns a label typing error into a pass"),
        ({**QUERY, "query": "sum(up) or on() (vector(0))"}, "turns a label typing error into a pass"),
        ({**QUERY, "query": "sum(up)"}, "fresh missing. An expression goes on answering"),
        ({**QUERY, "reducer": "last"}, "reducer is 'last'; one of min, max, sum, avg"),
        ({**QUERY, "for": "soon"}, "'soon' is not a duration"),
        ({**BURN, "windows": [{"long": "1h"}]}, "short, factor missing"),
        ({**BURN, "windows": [{"long": "1m", "short": "5m", "factor": 2}]}, "short must be shorter than long"),
        ({**BURN, "windows": ["1h"]}, "is not a mapping of long, short and factor"),
        ({k: v for k, v in RATIO.items() if k != "name"}, "name missing"),
    ],
)
def test_a_mistake_is_named(criterion: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        parse([criterion])
    assert message in caught.value.message
    assert caught.value.message.startswith("criteria[1]")


@pytest.mark.parametrize("criteria", [None, [], "up", {"a": 1}])
def test_a_gate_that_asks_nothing_is_refused(criteria: Any) -> None:
    with pytest.raises(InputError, match="at least one criterion"):
        parse(criteria)


def test_names_are_unique_and_criteria_are_mappings() -> None:
    with pytest.raises(InputError, match="the name 'e' is used twice"):
        parse([RATIO, RATIO])
    with pytest.raises(InputError, match=r"criteria\[1\]: is not a mapping"):
        parse(["up"])


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("1m30s", 90), ("48h", 172800), (15, 15), ("0.5", 0.5), ("500ms", 0.5), ("2d", 172800)],
)
def test_durations(text: Any, seconds: float) -> None:
    assert duration(text, "x") == seconds


@pytest.mark.parametrize("text", ["", "5 minutes", "-5s", True, None, -1, float("inf")])
def test_no_durations(text: Any) -> None:
    with pytest.raises(InputError):
        duration(text, "x")


def test_selectors_keep_their_quotes() -> None:
    text = "n{a=\"x, y}\",b!~'z\\'',c=`q`}"
    assert str(selector(text, "x")) == text
    assert str(selector(" n ", "x")) == "n{}"
    assert Part(selector("n", "x"), selector('m{a="b"}', "x"), "bad").lazy is False


def test_a_fingerprint_changes_with_what_it_is_of() -> None:
    assert fingerprint([RATIO]) == fingerprint([dict(reversed(RATIO.items()))])
    assert fingerprint([RATIO]) != fingerprint([{**RATIO, "max": 0.02}])
