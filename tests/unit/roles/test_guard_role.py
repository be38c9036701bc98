# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role guard tells its module (R-B13)."""

from __future__ import annotations

import pytest

from .conftest import Role

GUARD = Role("guard")


@pytest.mark.parametrize("name", ["arm", "confirm"])
def test_the_guard_is_told_how_many_served_everything(name: str) -> None:
    """In a cluster the plan cannot say so: only the decision of the run does."""
    [task] = GUARD.load(f"tasks/{name}.yml")
    run = {"token": 5, "decision": {"min_ready": 3}}
    told = GUARD.templar(cutover_plan={"min_ready": None}, cutover_run=run).template(task["bluegreen.cutover.guard"])
    assert (told["token"], told["min_ready"]) == (5, 3)
