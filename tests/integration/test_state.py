# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A service with data: proven before the traffic moves, left or brought back afterwards (R-E1, R-E5, R-E7, R-B13)."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .conftest import Lab, Run

KEPT = "/var/backups/bluegreen-cutover"
UPLOADS = "/srv/shop/uploads"
CODE = "/srv/shop/code"
KEY = "/root/shop.key"
JOURNAL = "/var/lib/bluegreen-cutover/shop/journal.json"
PREPARE = f"""
set -e
rm -rf {KEPT} /srv/shop
install -d {UPLOADS}/a {CODE}
cd {UPLOADS}
for n in $(seq 200); do echo "upload $n" >a/$n; done
chown -R www-data a; chmod 640 a/7; ln -s 7 a/link; ln a/8 a/hard; touch "a/odd 'name'" "$(printf 'a/line\\nbreak')"
cd {CODE}
git init -q; git config user.name x; git config user.email x@localhost
echo one >code.py; git add code.py; git commit -qm one
git init -q --bare /srv/shop/origin.git; git remote add origin /srv/shop/origin.git
"""
LOOK = f"""
cd {UPLOADS} && find . -printf '%P %m %u %s %n %l\n' | sort
find . -type f -print0 | sort -z | xargs -0 sha256sum
git -C {CODE} rev-parse HEAD; cat {CODE}/code.py
"""
CORRUPT = f"""
set -e
cd {UPLOADS}; echo bad >a/1; rm a/2; echo more >b; chmod 600 a/3
cd {CODE}; echo two >code.py; git commit -qam two
"""


class Site:
    def __init__(self, lab: Lab, folder: Path) -> None:
        self.lab = lab
        # The inventory has no host for data: state may be anywhere.
        self.inventory = folder / "data.yml"
        self.inventory.write_text("all:\n  hosts:\n    data:\n")
        lab.ssh("data", PREPARE)
        # Where it is made it is for the tests alone: a private key belongs elsewhere.
        self.recipient = lab.ssh("data", f"age-keygen -o {KEY} 2>/dev/null; age-keygen -y {KEY}").strip()
        self.state: dict[str, Any] = {
            "cutover_steps": [{"share": 100}],
            "cutover_state": [
                {"name": "uploads", "host": "data", "engine": "files", "options": {"paths": [UPLOADS]}},
                {"name": "code", "host": "data", "engine": "git", "options": {"repository": CODE}},
            ],
            "cutover_artifacts": {"encryption": {"tool": "age", "recipient": self.recipient}},
        }

    def play(self, playbook: str, **more: Any) -> Run:
        return self.lab.playbook(
            playbook, "local", {**self.state, **more}, arguments=["--inventory", str(self.inventory)]
        )

    def events(self) -> list[dict[str, Any]]:
        events: list[dict[str, Any]] = json.loads(self.lab.ssh("router", f"cat {JOURNAL}"))["migrations"][-1]["events"]
        return events

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in self.events() if event["kind"] == kind]

    def look(self) -> str:
        return self.lab.ssh("data", LOOK)

    def kept(self) -> list[str]:
        return self.lab.ssh("data", f"ls -A {KEPT} 2>/dev/null || true").split()

    def green(self) -> int:
        """Percent of the traffic that green gets, as it was set last."""
        return int(self.of("weight_set")[-1]["weight"])


@pytest.fixture(scope="module")
def site(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Site:
    lab.renew("local")
    return Site(lab, tmp_path_factory.mktemp("state"))


@pytest.fixture
def moved(site: Site) -> Iterator[str]:
    """Green serves, and has corrupted what is kept. What it was before."""
    site.lab.ssh("data", PREPARE)
    before = site.look()
    site.play("cutover").ok()
    assert site.green() == 100
    site.lab.ssh("data", CORRUPT)
    yield before
    with contextlib.suppress(AssertionError):
        site.play("rollback")


def test_no_traffic_moves_without_a_proven_snapshot(site: Site) -> None:
    uploads, code = site.state["cutover_state"]
    unproven = {"cutover_state": [{**uploads, "verify": False}, code]}
    run = site.play("cutover", **unproven)
    assert run.rc != 0
    assert "shop may not move: the snapshot of uploads," in run.stdout
    assert site.of("weight_set") == []
    run = site.play("cutover", **unproven, cutover_accept_unverified="it is a copy")
    assert run.rc == 0, run.stdout
    assert site.of("began")[-1]["unverified"] == "it is a copy"
    assert site.green() == 100
    site.play("rollback").ok()


def test_a_part_that_cannot_be_read_stops_the_run_before_anything_moves(site: Site) -> None:
    missing = [{"name": "uploads", "host": "data", "engine": "files", "options": {"paths": ["/srv/nothing"]}}]
    run = site.play("cutover", cutover_state=missing)
    assert run.rc != 0
    assert "/srv/nothing cannot be read: No such file or directory. Correct files.paths" in run.stdout
    assert site.of("weight_set") == []


def test_without_a_yes_the_traffic_goes_back_and_the_data_is_left(site: Site, moved: str) -> None:
    corrupted = site.look()
    run = site.play("rollback", rollback_restore=True, rollback_identity_file=KEY)
    assert run.rc != 0
    assert "All traffic of shop is on blue again, and its data was not restored" in run.stdout
    assert "files and folders changed (/srv/shop/uploads)" in run.stdout
    assert "1 commits (/srv/shop/code)" in run.stdout
    assert (site.green(), site.look()) == (0, corrupted)
    [left] = site.of("data_left")
    assert {one["what"] for one in left["written"]} == {"files and folders changed", "commits"}
    # The decision can be taken later, too.
    run = site.play("rollback", rollback_restore=True, rollback_accept_data_loss=True, rollback_identity_file=KEY).ok()
    assert (site.green(), site.look()) == (0, moved)


def test_with_a_yes_everything_is_as_it_was(site: Site, moved: str) -> None:
    artifacts = {one["part"]: one["artifact"] for one in site.of("snapshot_taken")}
    assert {one["encrypted"] for one in artifacts.values()} == {True}
    assert "AGE-SECRET" not in json.dumps(site.events())
    guide = site.lab.ssh("data", f"cat {KEPT}/shop.rollback.md")
    for part in artifacts.values():
        assert f"{part['path']}` | {part['bytes']}" in guide
    assert "rollback.yml -e rollback_restore=true -e rollback_accept_data_loss=true" in guide
    assert guide == site.lab.ssh("router", "cat /var/lib/bluegreen-cutover/shop/rollback.md")
    tags = site.lab.ssh("data", "git -C /srv/shop/origin.git tag --list").split()
    assert tags == ["migration-rollback-point", "migration-start-point"]

    front = f"http://{site.lab.address('router')}:8080"
    with site.lab.load(front, rate=50, duration=120) as running:
        run = site.play(
            "rollback", rollback_restore=True, rollback_accept_data_loss=True, rollback_identity_file=KEY
        ).ok()
    assert running.result().records, "no request was made"
    assert (site.green(), site.look()) == (0, moved)
    restored = [event["part"] for event in site.of("data_restored")]
    assert restored == ["code", "uploads"]
    audit = site.lab.ssh("router", "cat /var/lib/bluegreen-cutover/shop/audit-*.md")
    assert "- /srv/shop/code: 1 commits" in audit
    assert "What was lost is in /var/lib/bluegreen-cutover/shop/audit-" in run.stdout
    assert not [name for name in site.kept() if name.startswith(".partial")]


def test_what_is_past_its_time_goes(site: Site) -> None:
    short = {"cutover_artifacts": {"keep": "20s"}, "cutover_state": site.state["cutover_state"][:1]}
    site.lab.ssh("data", f"rm -rf {KEPT}")
    site.play("cutover", **short).ok()
    artifacts = {one["artifact"]["name"] for one in site.of("snapshot_taken")}
    assert artifacts <= {*site.kept()}
    site.play("expire", **short).ok()
    site.lab.ssh("data", f"install -d {KEPT}/mine; sleep 20")
    site.play("expire", **short).ok()
    assert [name for name in site.kept() if not name.startswith(".")] == ["mine", "shop.rollback.md"]
    assert site.play("expire", **short).ok().changed == 0
    run = site.play("rollback", rollback_restore=True, rollback_accept_data_loss=True)
    assert run.rc != 0
    assert "manifest.json: No such file or directory" in run.stdout
    assert site.green() == 0
