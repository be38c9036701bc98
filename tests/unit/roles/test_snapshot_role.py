# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role snapshot asks for: each part in the hold of this run, or in the one of a run before (R-E1); and that
nothing is removed while nobody knows what is needed (R-E5).
"""

from __future__ import annotations

from typing import Any

import pytest

from .conftest import Role

SNAPSHOT = Role("snapshot")


@pytest.mark.parametrize(
    ("writers", "earlier", "asked"),
    [(["pgbouncer"], "3", ("7", "3")), (["pgbouncer"], None, ("7", "nothing")), ([], "none", ("nothing", "none"))],
)
def test_a_part_is_read_in_a_hold_or_used_from_an_earlier_one(
    writers: list[str], earlier: str | None, asked: tuple[str, str]
) -> None:
    [part] = [task for task in SNAPSHOT.load("tasks/part.yml") if "bluegreen.cutover.snapshot" in task]
    given = part["bluegreen.cutover.snapshot"]
    run: dict[str, Any] = {"token": 7, "earlier_hold": earlier}
    told = SNAPSHOT.templar(cutover_plan={"freeze": {"writers": writers}}, cutover_run=run, omit="nothing")
    assert tuple(told.template(given[name]) for name in ("hold", "earlier_hold")) == asked


@pytest.mark.parametrize(("over", "refused"), [(None, True), ([], False), (["m"], False)])
def test_nothing_is_removed_by_a_journal_that_cannot_be_read(over: list[str] | None, refused: bool) -> None:
    tasks = SNAPSHOT.load("tasks/expire.yml")
    [refusal] = [task for task in tasks if "ansible.builtin.fail" in task]
    [removal] = [task for task in tasks if "bluegreen.cutover.snapshot_expire" in task]
    assert tasks.index(refusal) < tasks.index(removal)
    known = {"over": over, "differences": ["journal.json is damaged", "the socket is gone"]}
    told = SNAPSHOT.templar(cutover_plan={"service": "shop"}, snapshot_known=known)
    assert told.evaluate_conditional(refusal["when"]) is refused
    assert told.template(refusal["ansible.builtin.fail"]["msg"]) == (
        "Nothing was removed: what can still be needed is in the journal of shop, which cannot be read. "
        "journal.json is damaged; the socket is gone"
    )
    assert told.template(removal["bluegreen.cutover.snapshot_expire"]["over"]) == over


@pytest.mark.parametrize("places", [None, [{"host": "data", "folder": "/before"}]])
def test_a_guide_goes_where_the_snapshots_are(places: list[dict[str, str]] | None) -> None:
    """Not where new ones would be put: a candidate that serves would lose its traffic for a folder that is not there.
    A service without state has none.
    """
    [written] = [task for task in SNAPSHOT.load("tasks/main.yml") if "block" in task]
    [copy] = [task for task in written["block"] if "ansible.builtin.copy" in task]
    given: dict[str, Any] = {"cutover_plan": {"service": "shop", "artifacts": {"destination": "/now"}}}
    if places is None:
        told = SNAPSHOT.templar(**given, snapshot_guide={"skipped": True})
        assert told.template(copy["loop"]) == []
        return
    told = SNAPSHOT.templar(**given, snapshot_guide={"places": places}, item=places[0])
    assert told.template(copy["loop"]) == places
    assert told.template(copy["ansible.builtin.copy"]["dest"]) == "/before/shop.rollback.md"
    assert told.template(copy["delegate_to"]) == "data"
