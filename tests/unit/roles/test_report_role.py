# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What status.yml says of what is recorded."""

from __future__ import annotations

import pytest
from ansible.template import trust_as_template

from .conftest import Role

REPORT = Role("report")


@pytest.mark.parametrize(
    ("phase", "first", "last"),
    [
        ("none", "shop: blue 100 %, green 0 %, nothing recorded", "last migration: none"),
        (None, "shop: blue 100 %, green 0 %", "last migration: not known"),
    ],
)
def test_what_cannot_be_read_is_not_called_missing(phase: str | None, first: str, last: str) -> None:
    nothing = ("since", "migration", "hold", "rehearsal", "ended", "failure", "guard", "lease")
    status = {
        **dict.fromkeys(nothing),
        **{name: [] for name in ("checkpoints", "success", "artifacts")},
        "serving": {"blue": 100, "green": 0},
        "ready": {"blue": 2, "green": 2},
        "agree": phase is not None,
        "phase": phase,
    }
    page = (REPORT.folder / "templates/status.txt.j2").read_text()
    told = REPORT.templar(
        cutover_plan={"service": "shop", "cluster": {}}, report_status=status, preflight_workloads=[]
    ).template(trust_as_template(page))
    lines = [line for line in told.splitlines() if line]
    assert (lines[0], lines[2]) == (first, last)
