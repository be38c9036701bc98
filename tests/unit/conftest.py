# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What makes a test a unit test: it is fast, and it asks nobody (R-C2)."""

from __future__ import annotations

import socket
from typing import Any

import pytest
from _pytest.runner import runtestprotocol

LIMIT = 0.100
"""Seconds that the call of a unit test may take; its fixtures do not count."""

NETWORK_CALLS = ("bind", "connect", "connect_ex", "sendto")


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail a test that opens a network socket; pytest.fail is not an Exception, so no code under test swallows it."""

    def guarded(name: str) -> Any:
        real = getattr(socket.socket, name)

        def call(self: socket.socket, *args: Any) -> Any:
            if self.family == socket.AF_UNIX:
                return real(self, *args)
            return pytest.fail(f"a unit test called socket.{name}{args!r}: unit tests do not use the network")

        return call

    for name in NETWORK_CALLS:
        monkeypatch.setattr(socket.socket, name, guarded(name))


def _reports(item: pytest.Item, nextitem: pytest.Item | None) -> tuple[list[pytest.TestReport], float]:
    reports = runtestprotocol(item, nextitem=nextitem, log=False)
    return reports, max((report.duration for report in reports if report.when == "call"), default=0.0)


def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool:
    """Run a test that was too slow once more, so that a busy machine fails nobody; then fail it."""
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    reports, first = _reports(item, nextitem)
    if first > LIMIT and all(report.passed for report in reports):
        item._initrequest()  # type: ignore[attr-defined]  # fresh fixtures; there is no public way
        reports, second = _reports(item, nextitem)
        for report in reports:
            if second > LIMIT and report.when == "call" and report.passed:
                report.outcome = "failed"
                report.longrepr = (
                    f"took {first * 1000:.0f} ms, and {second * 1000:.0f} ms when tried again; a unit test has "
                    f"{LIMIT * 1000:.0f} ms: patch the clock, make the input smaller, or move it to tests/integration"
                )
    for report in reports:
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True
