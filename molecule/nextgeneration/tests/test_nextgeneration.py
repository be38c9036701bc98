# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One host without a proxy, after the cutover: green serves, blue is stopped, and its directory is backed up."""

from __future__ import annotations

from typing import Any

import pytest

FRONT = "http://solo:8000/api/v1/health"


@pytest.fixture
def solo(hosts: dict[str, Any]) -> Any:
    return hosts["solo"]


def test_looks_at_all_hosts(hosts: dict[str, Any]) -> None:
    assert sorted(hosts) == ["router", "solo"]


def test_green_runs_and_comes_back_after_a_reboot(solo: Any) -> None:
    green = solo.service("nextgeneration-green")
    assert (green.is_running, green.is_enabled) == (True, True)


def test_blue_is_stopped_and_stays_so(solo: Any) -> None:
    blue = solo.service("nextgeneration-blue")
    assert (blue.is_running, blue.is_enabled) == (False, False)


def test_green_answers_all_requests(solo: Any, colours: Any) -> None:
    assert colours(solo, FRONT) == {"green": 20}


def test_a_restart_of_the_firewall_changes_nothing(solo: Any, colours: Any) -> None:
    solo.check_output("systemctl restart nftables")
    assert colours(solo, FRONT) == {"green": 20}


def test_blue_is_backed_up_once_a_migration_and_whole(solo: Any) -> None:
    """R-A2: by the rehearsal and by the cutover; the second run, the one for idempotence, made no backup."""
    archives = solo.check_output("ls /var/backups/nextgeneration/*/data/0.tar.zst").splitlines()
    assert len(archives) == 2
    for archive in archives:
        solo.check_output(f"zstd -dc {archive} | tar --compare --directory=/opt")


def test_prometheus_watches_it(hosts: dict[str, Any]) -> None:
    rules = hosts["router"].check_output("curl --silent http://127.0.0.1:9090/api/v1/rules")
    assert "bluegreen-cutover-nextgeneration" in rules
