# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""That the gate's error is what it says, by simulation of one-hour gates. Minutes, so apart from the unit tests."""

from __future__ import annotations

import math

import pytest
from ansible_collections.bluegreen.cutover.bench import gate_simulation as simulation

GATES = 1000
ALPHA = 0.01
ALLOWED = ALPHA + 3 * math.sqrt(ALPHA * (1 - ALPHA) / GATES)


@pytest.mark.parametrize("health", ["healthy", "bursty"])
def test_18_a_thousand_healthy_gates(health: str) -> None:
    """Case 18: at most alpha and three standard errors rolled back, by both criteria together."""
    wrong = simulation.false_rollbacks(100, 0.2, 15, simulation.NULLS[health], GATES, seed=18)
    assert wrong["gate"] <= ALLOWED


def test_a_gate_of_many_criteria_holds_its_error_too() -> None:
    """Each at its limit, and all independent: undivided, a quarter of such gates would roll back."""
    gates, alpha = 100, 0.05
    wrong = simulation.several(10, alpha, 1, gates, seed=5)
    assert wrong <= alpha + 3 * math.sqrt(alpha * (1 - alpha) / gates)


def test_the_usual_rule_is_wrong_under_bursts() -> None:
    """The simulation can tell a rule that does not hold its error."""
    wrong = simulation.false_rollbacks(100, 0.2, 15, simulation.BURSTY, 50, seed=1)
    assert wrong["for 1m"] > 0.1


@pytest.mark.parametrize(("rps", "green"), [c for c in simulation.CELLS if c[0] * c[1] / 100 >= 10])
@pytest.mark.parametrize("scrape", [15.0, 1.0])
def test_detection_is_never_slower_than_a_threshold_for_a_minute(rps: int, green: int, scrape: float) -> None:
    found = simulation.detection(rps, green / 100, scrape, 20, seed=3)
    assert found["gate"] <= found["for 1m"]


@pytest.mark.parametrize("cell", [(100, 20), (100, 50), (1000, 50)])
def test_16_a_shock_to_both_arms(cell: tuple[int, int]) -> None:
    """Case 16: held, not rolled back."""
    assert simulation.shocks(cell[0], cell[1] / 100, 15, 200, seed=16) <= 0.03
