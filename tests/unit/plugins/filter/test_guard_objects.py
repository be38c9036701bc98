# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What somebody applies for runs that may not give rights."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.bluegreen.cutover.plugins.filter.guard_objects import FilterModule

guard_objects = FilterModule().filters()["guard_objects"]


def test_they_are_a_list_that_can_be_applied() -> None:
    router = {"provider": "k8s_httproute", "namespace": "web", "name": "front"}
    made = guard_objects({"service": "shop", "cluster": {"namespace": "web"}, "router": router})
    assert (made["apiVersion"], made["kind"]) == ("v1", "List")
    assert [one["kind"] for one in made["items"]] == ["ServiceAccount", "Role", "RoleBinding", "Lease"]
    assert {(one["metadata"]["namespace"], one["metadata"]["name"]) for one in made["items"]} == {
        ("web", "cutover-guard-shop")
    }


@pytest.mark.parametrize("plan", ["shop", {"service": "shop", "cluster": None}])
def test_on_hosts_there_are_none(plan: Any) -> None:
    with pytest.raises(AnsibleFilterError, match="needs the plan of a service in a cluster"):
        guard_objects(plan)
