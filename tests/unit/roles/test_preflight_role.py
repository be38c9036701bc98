# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the role preflight looks for the snapshots of a migration: where they were put (R-E1)."""

from __future__ import annotations

import pytest

from .conftest import Role

PREFLIGHT = Role("preflight")


@pytest.mark.parametrize(("part", "place"), [("db", "/before"), ("uploads", "/now")])
def test_snapshots_are_looked_for_where_the_journal_says_they_are(part: str, place: str) -> None:
    """Not where new ones would be put: another folder may have come into the inventory since."""
    [look] = [task for task in PREFLIGHT.load("tasks/snapshots.yml") if "bluegreen.cutover.snapshot_info" in task]
    told = PREFLIGHT.templar(
        cutover_plan={"artifacts": {"destination": "/now"}},
        preflight_artifacts=[{"part": "code", "path": "/x/shop.code.1"}, {"part": "db", "path": "/before/shop.db.1"}],
        preflight_part={"name": part},
    )
    assert told.template(look["bluegreen.cutover.snapshot_info"]["destination"]) == place
