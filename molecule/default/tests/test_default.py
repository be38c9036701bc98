# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two hosts behind HAProxy, after the cutover: green serves, blue is stopped, and a restart keeps it so."""

from __future__ import annotations

from typing import Any

import pytest

FRONT = "http://router:8080/api/v1/health"


def test_looks_at_all_hosts(hosts: dict[str, Any]) -> None:
    assert sorted(hosts) == ["app1", "app2", "router"]


@pytest.mark.parametrize("name", ["app1", "app2"])
def test_green_runs_and_comes_back_after_a_reboot(hosts: dict[str, Any], name: str) -> None:
    green = hosts[name].service("shop-green")
    assert (green.is_running, green.is_enabled) == (True, True)


@pytest.mark.parametrize("name", ["app1", "app2"])
def test_blue_is_stopped_and_stays_so(hosts: dict[str, Any], name: str) -> None:
    blue = hosts[name].service("shop-blue")
    assert (blue.is_running, blue.is_enabled) == (False, False)


def test_green_answers_all_requests(hosts: dict[str, Any], colours: Any) -> None:
    assert colours(hosts["router"], FRONT) == {"green": 20}


def test_a_restart_of_the_router_changes_nothing(hosts: dict[str, Any], colours: Any) -> None:
    hosts["router"].check_output("systemctl restart haproxy")
    assert colours(hosts["router"], FRONT) == {"green": 20}


def test_the_record_is_for_root_only(hosts: dict[str, Any]) -> None:
    record = hosts["router"].file("/var/lib/bluegreen-cutover/shop")
    assert (record.user, oct(record.mode)) == ("root", "0o700")
