# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which namespace is made for the slot of an environment that is brought (R-B4, R-B5)."""

from __future__ import annotations

from typing import Any

import pytest

from .conftest import Role

LABELS = {"tier": "2"}


@pytest.mark.parametrize(
    ("slot", "environments", "labels"),
    [
        ("shop-staging", {"staging": {"namespace": "shop-staging", "labels": LABELS}}, LABELS),
        ("shop-staging", {"staging": {"namespace": "shop-staging"}}, {}),
        ("shop-stagging", {"staging": {"namespace": "shop-staging", "labels": LABELS}}, "left out"),
        ("shop-staging", {}, "left out"),
    ],
)
def test_r_b5_only_the_namespace_of_the_environment_is_made_for_its_slot(
    slot: str, environments: dict[str, Any], labels: Any
) -> None:
    asks = Role("environment").load("tasks/main.yml")[0]["bluegreen.cutover.k8s_slot"]
    given = {"environment_name": "staging", "environment_slots": {"staging": {"namespace": slot}}}
    templar = Role("environment").templar(environment_all=environments, omit="left out", **given)
    assert templar.template(asks["namespace_labels"]) == labels
