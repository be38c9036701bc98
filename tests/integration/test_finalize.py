# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""R-D9 on a real host: an old version is deprecated, kept while it may be needed, and removed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.request import urlopen

import pytest

from .conftest import AT_ONCE

if TYPE_CHECKING:
    from .conftest import Lab, Run

UNIT = "nextgeneration-blue.service"
# A snapshot would keep the old version for days.
MOVE: dict[str, Any] = {**AT_ONCE, "cutover_state": []}
SOON: dict[str, Any] = {**MOVE, "cutover_finalize": {"stable": 0, "notice": 0, "remove": "unit"}}


@pytest.fixture(scope="module")
def moved(lab: Lab) -> Lab:
    lab.renew("nextgeneration")
    lab.playbook("cutover", "nextgeneration", MOVE).ok()
    return lab


def finalize(lab: Lab, settings: dict[str, Any] = SOON, words: str = "", **more: Any) -> Run:
    return lab.playbook("finalize", "nextgeneration", {**settings, "finalize_confirm": words}, **more)


def events(lab: Lab) -> list[str]:
    document = json.loads(lab.ssh("solo", "cat /var/lib/bluegreen-cutover/nextgeneration/journal.json"))
    return [event["kind"] for event in document["migrations"][-1]["events"]]


def test_r_d9_the_end_of_an_old_version(moved: Lab) -> None:
    refused = finalize(moved)
    assert refused.rc == 2
    assert "needs the words 'DEPRECATE nextgeneration blue', and none were given" in refused.stdout
    assert events(moved)[-1] == "finished"
    assert finalize(moved, words="DEPRECATE nextgeneration blue").ok().changed_tasks == ["Record the deprecation"]

    early = finalize(moved, MOVE, "REMOVE nextgeneration blue")
    assert early.rc == 2
    assert "Missing: stable: 0 of 30 days without a way back" in early.stdout
    assert "of 30 days; is its retention shorter?" in early.stdout

    accepted = {**SOON, "cutover_accept_unproven": "a lab is too young"}
    finalize(moved, accepted, "REMOVE nextgeneration blue", check=True).ok()
    assert (events(moved)[-1], moved.ssh("solo", f"systemctl cat {UNIT}")[:1]) == ("deprecated", "#")
    # Somebody has started it meanwhile: it is drained and stopped like in a switch.
    moved.ssh("solo", f"systemctl start {UNIT}")
    done = finalize(moved, accepted, "REMOVE nextgeneration blue").ok()
    assert "Stop and disable its unit" in done.changed_tasks
    assert events(moved)[-2:] == ["removal_began", "removed"]
    assert moved.ssh("solo", f"systemctl show -P LoadState {UNIT}").strip() == "not-found"
    assert UNIT in moved.ssh("solo", "ls /var/lib/bluegreen-cutover/nextgeneration/removed-" + UNIT)
    with urlopen(f"http://{moved.address('solo')}:8000/api/v1/ping", timeout=10) as answer:
        assert json.load(answer)["colour"] == "green"

    assert finalize(moved, accepted).ok().changed == 0
    back = moved.playbook("rollback", "nextgeneration", MOVE)
    assert (back.rc, "there is nothing to go back to" in back.stdout) == (2, True)
    assert "blue: removed on" in moved.playbook("status", "nextgeneration", MOVE).ok().stdout
