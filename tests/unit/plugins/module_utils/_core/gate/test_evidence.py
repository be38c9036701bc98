# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tests of the gate: values that can be worked out by hand, and the properties that make them valid."""

from __future__ import annotations

import itertools
import math
from math import comb, exp, log

import pytest
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.gate import evidence
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.gate.evidence import Process, Scatter


def binomial(k: int, n: int, p: float) -> float:
    return comb(n, k) * p**k * (1 - p) ** (n - k)


@pytest.mark.parametrize("p", [0.001, 0.05, 0.1])
def test_absolute_factors_do_not_grow_on_average_when_green_is_good(p: float) -> None:
    n, p0 = 30, 0.1
    rows = [
        (binomial(e, n, p), evidence.absolute_bets(e, n, p0), evidence.absolute_ratios(e, n, p0, Scatter(1.0)))
        for e in range(n + 1)
    ]
    for i in range(3):
        assert sum(w * exp(bets[i]) for w, bets, _ in rows) <= 1 + 1e-9
        assert sum(w * exp(ratios[i]) for w, _, ratios in rows) <= 1 + 1e-9


@pytest.mark.parametrize(("p_g", "p_b"), [(0.15, 0.1), (0.1, 0.1), (0.3, 0.2), (0.01, 0.2)])
def test_relative_ratios_do_not_grow_on_average_when_green_is_like_blue(p_g: float, p_b: float) -> None:
    n_g, n_b, rho = 8, 12, 1.5
    means = [0.0] * 3
    for e_g, e_b in itertools.product(range(n_g + 1), range(n_b + 1)):
        weight = binomial(e_g, n_g, p_g) * binomial(e_b, n_b, p_b)
        ratios = evidence.relative_ratios(e_g, n_g, e_b, n_b, rho, 0.1, Scatter(1.0))
        means = [m + weight * exp(r) for m, r in zip(means, ratios, strict=True)]
    assert all(m <= 1 + 1e-9 for m in means)


def test_the_nearest_null_is_on_the_line_and_no_other_point_of_it_is_nearer() -> None:
    a, b, n_g, n_b, rho = 0.2, 0.05, 30, 70, 1.5

    def divergence(b0: float) -> float:
        a0 = rho * b0
        return n_g * (a * log(a / a0) + (1 - a) * log((1 - a) / (1 - a0))) + n_b * (
            b * log(b / b0) + (1 - b) * log((1 - b) / (1 - b0))
        )

    a0, b0 = evidence.nearest_null(a, b, n_g, n_b, rho)
    assert a0 == pytest.approx(rho * b0)
    assert divergence(b0) <= min(divergence(b0 * 1.01), divergence(b0 * 0.99))


@pytest.mark.parametrize(("p0", "needed"), [(0.001, 3688), (0.005, 736), (0.01, 368), (0.05, 72)])
def test_requests_that_prove_a_pass(p0: float, needed: int) -> None:
    assert evidence.required_requests(p0, 0.05) == needed

    def proof(n: int) -> float:
        return evidence.log_proof(evidence.proof_factors(0, n, p0, 1.0))

    # The other alternatives help a little, so the number is enough.
    assert proof(needed) >= log(20)
    assert proof(int(needed * 0.9)) < log(20)


@pytest.mark.parametrize(("p0", "part", "requests"), [(0.001, 0.8, 500_000), (0.05, 0.8, 10_000), (0.3, 0.83, 2_000)])
def test_what_is_just_good_enough_is_proven_with_time_and_stays_so(p0: float, part: float, requests: int) -> None:
    """Two days at 50 a second are 8.6 million requests."""
    for n in (requests, 8_640_000):
        factors = evidence.proof_factors(round(part * p0 * n), n, p0, 1.0)
        assert evidence.log_proof(factors) >= log(20), n


def test_what_is_at_the_limit_is_never_proven() -> None:
    for n in (10_000, 1_000_000, 100_000_000):
        assert evidence.log_proof(evidence.proof_factors(round(0.001 * n), n, 0.001, 1.0)) < 0


def test_one_bad_request_refutes_the_alternative_without_any() -> None:
    assert evidence.likelihood(1, 10, 0.0, 0.1) == evidence.FLOOR
    assert evidence.proof_factors(1, 10, 0.1, 1.0)[0] == evidence.FLOOR


def test_a_process_begins_at_a_half_and_its_weights_sum_to_one() -> None:
    process = Process(horizon=11)
    for _ in range(11):
        process.update([0.0], [])
    assert exp(process.log_e) == pytest.approx(1.0)
    process = Process(horizon=11)
    process.update([0.0], [])
    assert exp(process.log_e) == pytest.approx(0.5)


def test_a_late_regression_is_not_masked_by_the_good_hours_before() -> None:
    process = Process(horizon=2880)
    for _ in range(2800):
        process.update([-0.2, -0.7, -2.0], [])
    before = process.log_e
    for _ in range(10):
        process.update([0.6, 1.1, 1.5], [])
    assert before < 0
    assert process.log_e > log(100)


def test_a_window_that_goes_on_finds_a_regression_as_well() -> None:
    """The error that this costs is that of the weights: half of the window's for each of its lengths."""
    process = Process(horizon=100)
    for _ in range(1000):
        process.update([-0.2, -0.7, -2.0], [])
    for _ in range(10):
        process.update([0.6, 1.1, 1.5], [])
    assert process.log_e > log(100)
    neutral = Process(horizon=101)
    for scrapes, expected in ((101, 1.0), (100, 1.5), (200, 2.5)):
        for _ in range(scrapes):
            neutral.update([0.0, 0.0, 0.0], [])
        assert neutral.log_e == pytest.approx(log(expected))


def test_a_process_survives_json_and_huge_evidence() -> None:
    process = Process(horizon=10)
    for _ in range(3):
        process.update([500.0, -2000.0, 0.0], [])
    again = Process.load(10, process.dump())
    assert again.log_e == process.log_e
    assert math.isfinite(process.log_e)
    assert min(process.bets) >= evidence.FLOOR


def test_scatter_is_chance_for_independent_errors_and_large_for_bursts() -> None:
    # A repeating pattern with the variance of a Poisson variable of mean 1.
    calm = Scatter.measure([(e, 100) for e in (0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 3)] * 30)
    assert calm is not None
    assert calm.d == pytest.approx(1.156, abs=0.001)
    assert calm.cap is None
    assert calm.excess == 1.0
    burst = Scatter.measure([(10, 100), *[(0, 100)] * 9] * 30)
    assert burst is not None
    assert burst.d > 9
    assert burst.excess > 7


def test_scatter_is_not_known_without_a_history_and_capped_without_errors() -> None:
    assert Scatter.measure([]) is None
    assert Scatter.measure([(0, 100)] * 29) is None
    assert Scatter.measure([(0, 0)] * 500) is None
    capped = Scatter.measure([(0, 100)] * 240)
    assert capped is not None
    assert capped.temper(1000.0) == pytest.approx(log(24) - log(1.1))
    assert evidence.absolute_ratios(5, 10, 0.01, None) == []
    assert evidence.relative_ratios(5, 10, 1, 10, 1.0, 0.1, None) == []


def test_green_is_worse_only_when_blue_is_better() -> None:
    assert evidence.green_is_worse(30, 100, 0, 100, 0.01, 1.3)
    assert not evidence.green_is_worse(30, 100, 28, 100, 0.01, 1.3)
    assert not evidence.green_is_worse(0, 100, 0, 100, 0.01, 1.3)
    assert not evidence.green_is_worse(3, 100, 0, 100, 0.01, 1.3)
    assert evidence.green_is_worse(60, 100, 20, 100, 0.01, 1.3)


def test_no_bad_request_at_all_says_nothing_about_green_against_blue() -> None:
    assert evidence.relative_bets(0, 10, 0, 10, 1.5) == [0.0, 0.0, 0.0]
