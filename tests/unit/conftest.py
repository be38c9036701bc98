# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What makes a test a unit test: it is fast, and it asks nobody (R-C2)."""

from __future__ import annotations

import contextlib
import gc
import os
import socket
import sys
import time
from collections.abc import Generator, Iterator
from typing import Any

import pytest
from _pytest.runner import runtestprotocol

LIMIT = 0.100
"""Seconds that the call of a unit test may take; its fixtures and its wait for a busy machine do not count."""

TRIES = 5
"""How often a test that was too slow is measured before it fails: what is slow by itself is so each time, and a disk, a
collection of garbage, or another guest of the same processor is not. Only the first time coverage is traced, too, which
takes as long as what it traces.
"""

TOOK = pytest.StashKey[float]()
SCHEDULED = os.open("/proc/thread-self/schedstat", os.O_RDONLY)
"""Opened once: tests replace what reads /proc."""

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


def _waited() -> float:
    """Seconds that this thread was ready to run and the machine was busy with others."""
    return int(os.pread(SCHEDULED, 100, 0).split()[1]) / 1e9


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None]:
    start = time.perf_counter() - _waited()
    try:
        return (yield)
    finally:
        item.stash[TOOK] = time.perf_counter() - _waited() - start


def _reports(item: pytest.Item, nextitem: pytest.Item | None) -> tuple[list[pytest.TestReport], float]:
    item.stash[TOOK] = 0.0
    return runtestprotocol(item, nextitem=nextitem, log=False), item.stash[TOOK]


@contextlib.contextmanager
def _untraced() -> Iterator[None]:
    tracer = sys.gettrace()
    sys.settrace(None)
    try:
        yield
    finally:
        sys.settrace(tracer)


def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool:
    """Measure a test that was too slow again; then fail it. One that fails is not run again."""
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    reports, last = _reports(item, nextitem)
    took = [last]
    while last > LIMIT and len(took) < TRIES and all(report.passed for report in reports):
        gc.collect()
        time.sleep(LIMIT * len(took))
        item._initrequest()  # type: ignore[attr-defined]  # fresh fixtures; there is no public way
        with _untraced():
            reports, last = _reports(item, nextitem)
        took.append(last)
    for report in reports:
        if last > LIMIT and report.when == "call" and report.passed:
            report.outcome = "failed"
            report.longrepr = (
                f"took {', '.join(f'{one * 1000:.0f}' for one in took)} ms; a unit test has "
                f"{LIMIT * 1000:.0f} ms: patch the clock, make the input smaller, or move it to tests/integration"
            )
    for report in reports:
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True
