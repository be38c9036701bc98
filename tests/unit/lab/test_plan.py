# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's names and addresses."""

from __future__ import annotations

import pytest
from ansible_collections.bluegreen.cutover.lab.labkit import plan
from ansible_collections.bluegreen.cutover.lab.labkit.plan import HOSTS, Lab


def test_addresses_follow_from_the_index() -> None:
    lab = Lab("cutover", 7)
    assert lab.subnet == "10.88.7.0/24"
    assert lab.gateway == "10.88.7.1"
    assert {host: lab.address(host) for host in HOSTS} == {
        "router": "10.88.7.11",
        "app1": "10.88.7.21",
        "app2": "10.88.7.22",
        "data": "10.88.7.31",
        "solo": "10.88.7.41",
    }


@pytest.mark.parametrize("index", [1, 254])
def test_interface_names_fit_the_kernel(index: int) -> None:
    lab = Lab("a" * 30, index)
    assert all(len(name) <= 15 for name in (*HOSTS, lab.uplink, f"{lab.uplink}p"))


def test_machine_ids_are_stable_and_differ_by_host_and_lab() -> None:
    ids = {Lab(name, 1).machine_id(host) for name in ("one", "two") for host in HOSTS}
    assert len(ids) == 2 * len(HOSTS)
    assert Lab("one", 1).machine_id("data") == Lab("one", 9).machine_id("data")
    assert all(len(value) == 32 for value in ids)


@pytest.mark.parametrize("name", ["cutover", "a", "ci-12"])
def test_good_names(name: str) -> None:
    assert plan.validate_name(name) == name


@pytest.mark.parametrize("name", ["", "Lab", "1st", "a.b", "a/b", "..", "a" * 31, "a b", "a\n"])
def test_names_that_could_be_another_labs_or_a_path_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="LAB_NAME"):
        plan.validate_name(name)


def test_no_labs_names_start_with_another_labs() -> None:
    assert not Lab("ci-1", 1).netns("data").startswith(f"{plan.unit_prefix('ci')}.")


def test_free_indexes_leave_out_what_routes_use() -> None:
    routes = "default via 192.0.2.1 dev eth0\n10.88.1.0/24 dev bglab1\nlocal 10.88.3.1 dev bglab3\n10.99.2.0/24 dev x"
    assert plan.indexes_in(routes) == {1, 3}
    assert plan.free_indexes({1, 3})[:2] == [2, 4]
    with pytest.raises(ValueError, match="in use"):
        plan.free_indexes(set(range(256)))


def test_every_host_is_in_both_host_files() -> None:
    lab = Lab("cutover", 7)
    for host in HOSTS:
        assert f"{lab.address(host)} {host}\n" in lab.etc_hosts()
        assert f"Host {host}\n  HostName {lab.address(host)}\n" in lab.ssh_config_text()
