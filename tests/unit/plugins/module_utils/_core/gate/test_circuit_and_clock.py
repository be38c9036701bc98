# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The breaker and the clock of samples."""

from __future__ import annotations

from ansible_collections.bluegreen.cutover.plugins.module_utils._core.circuit import Circuit
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.gate.clock import SampleClock


def test_closed_open_after_five_half_open_after_sixty_seconds() -> None:
    circuit = Circuit()
    for now in range(4):
        circuit.failed(now)
    assert circuit.phase(4) == "closed"
    circuit.failed(4)
    assert circuit.phase(63.9) == "open"
    assert circuit.rest(44) == 20
    assert circuit.phase(64) == "half_open"
    assert circuit.rest(64) == 0
    circuit.failed(64)
    assert circuit.phase(100) == "open"
    again = Circuit.load(circuit.dump())
    assert again.phase(124) == "half_open"
    again.succeeded()
    assert again.phase(124) == "closed"
    assert Circuit.load(None) == again


def test_a_clock_that_went_back_does_not_lock_the_source_out() -> None:
    circuit = Circuit(5, 1000.0)
    assert circuit.phase(500) == "half_open"


def test_time_is_what_samples_cover() -> None:
    clock = SampleClock()
    for sample in (10, 20, 20, 15, 30, 100, 110):
        clock.tick(sample, 15)
    assert clock.seconds == 30
    assert SampleClock.load(clock.dump()) == clock
    clock.clear()
    assert clock == SampleClock.load(None)
