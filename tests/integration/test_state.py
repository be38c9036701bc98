# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A service with data: proven before the traffic moves, left or brought back afterwards (R-E1, R-E5, R-E7, R-B13)."""

from __future__ import annotations

import base64
import json
import re
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.bluegreen.cutover.plugins.module_utils._core import artifact

from .data_host import PASSWORDS, Data

if TYPE_CHECKING:
    from .conftest import Lab, Run

KEPT = "/var/backups/bluegreen-cutover"
STATE = "/var/lib/bluegreen-cutover/shop"
UPLOADS = "/srv/shop/uploads"
CODE = "/srv/shop/code"
KEY = "/root/shop.key"
PREPARE = rf"""
set -e
rm -rf {KEPT} /srv/shop
install -d {UPLOADS}/a {CODE}
cd {UPLOADS}
for n in $(seq 200); do echo "upload $n" >a/$n; done
chown -R www-data a; chmod 640 a/7; ln -s 7 a/link; ln a/8 a/hard; touch "a/odd 'name'" "$(printf 'a/line\nbreak')"
cd {CODE}
git init -q; git config user.name x; git config user.email x@localhost
echo one >code.py; git add code.py; git commit -qm one
git init -q --bare /srv/shop/origin.git; git remote add origin /srv/shop/origin.git
age-keygen -o {KEY} 2>/dev/null; age-keygen -y {KEY}
"""
# Nothing of the collection's own.
LOOK = rf"""
cd {UPLOADS} && find . -printf '%P %m %u %s %n %l\n' | sort
find . -type f -print0 | sort -z | xargs -0 sha256sum
git -C {CODE} rev-parse HEAD; cat {CODE}/code.py
"""
CORRUPT = f"""
set -e
cd {UPLOADS}; echo bad >a/1; rm a/2; echo more >b; chmod 600 a/3
cd {CODE}; echo two >code.py; git commit -qam two
"""
# The columns by name, as the engine takes them: a restore may put them in another order.
ITEMS = "SELECT count(*), sum(hashtextextended(ROW(colour, created, id, name)::text, 0)) FROM items"


class Site:
    """The shop, whose data is on a host that neither routes nor serves."""

    def __init__(self, lab: Lab, data: Data) -> None:
        self.lab, self.data = lab, data
        lost = data.scratch / "lost.json"
        lost.write_text(json.dumps({"all": {"hosts": {"lost": {"ansible_host": "127.0.0.1", "ansible_port": 1}}}}))
        self.beside = ["--inventory", str(data.inventory()), "--inventory", str(lost)]
        recipient = data.run(f"rm -f {KEY}; {PREPARE}").split()[-1]
        uploads = {"name": "uploads", "host": "data", "engine": "files", "options": {"paths": [UPLOADS]}}
        self.parts: dict[str, dict[str, Any]] = {
            "uploads": uploads,
            "code": {"name": "code", "host": "data", "engine": "git", "options": {"repository": CODE}},
            "db": {"name": "db", "host": "data", "engine": "postgresql", "options": {"database": "shop"}},
        }
        self.encryption = {"encryption": {"tool": "age", "recipient": recipient}}

    def play(self, playbook: str, *parts: str, **more: Any) -> Run:
        state = {"cutover_steps": [{"share": 100}], "cutover_state": [self.parts[name] for name in parts]}
        return self.lab.playbook(playbook, "local", {**state, **more}, arguments=self.beside)

    def of(self, kind: str) -> list[dict[str, Any]]:
        """Those events of the last migration."""
        events = json.loads(self.lab.ssh("router", f"cat {STATE}/journal.json"))["migrations"][-1]["events"]
        return [event for event in events if event["kind"] == kind]

    def look(self) -> tuple[str, str]:
        return self.data.run(LOOK), self.data.psql(ITEMS)

    def kept(self) -> list[str]:
        return self.data.run(f"ls -A {KEPT}").split()

    def age(self, part: str) -> None:
        """As if the time of its artifacts were over."""
        for name in self.kept():
            if name.startswith(f"shop.{part}."):
                path = f"{KEPT}/{name}/manifest.json"
                manifest = json.loads(self.data.run(f"cat {path}"))["manifest"]
                old = base64.b64encode(artifact.render({**manifest, "expires": 1.0})).decode()
                self.data.run(f"echo {old} | base64 -d >{path}")

    def green(self) -> int:
        """Percent of the traffic that green gets, as it was set last."""
        return int(self.of("weight_set")[-1]["weight"])


@pytest.fixture(scope="module")
def site(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Site:
    lab.renew("local")
    data = Data(lab, tmp_path_factory.mktemp("state"))
    data.furnish()
    data.run("systemctl start pgbouncer")
    for app in ("app1", "app2"):
        lab.ssh(app, "sed -i s/:5432/:6432/ /etc/shop/common.env && echo POOLED=1 >> /etc/shop/common.env")
        lab.ssh(app, "systemctl restart shop-blue")
    return Site(lab, data)


def words(run: Run) -> str:
    return " ".join(run.stdout.split())


def test_a_part_that_cannot_be_read_stops_the_run_before_anything_moves(site: Site) -> None:
    missing = [{**site.parts["uploads"], "options": {"paths": ["/srv/nothing"]}}]
    run = site.play("cutover", cutover_state=missing)
    assert run.rc != 0
    assert "/srv/nothing cannot be read: No such file or directory. Correct files.paths" in words(run)
    assert site.of("weight_set") == []


def test_no_traffic_moves_without_a_proven_snapshot_and_what_is_past_its_time_goes(site: Site) -> None:
    unproven = {"cutover_state": [{**site.parts["uploads"], "verify": False}]}
    run = site.play("cutover", **unproven)
    assert run.rc != 0
    assert "shop may not move: the snapshot of uploads," in words(run)
    assert site.of("weight_set") == []
    site.data.run(f"install -d {KEPT}/mine")
    lost = {**site.parts["uploads"], "name": "elsewhere", "host": "lost"}
    parts = {"cutover_state": [lost, *unproven["cutover_state"]]}
    run = site.play("cutover", **parts)
    assert run.rc != 0
    assert "lost, the host of the part elsewhere, cannot be reached" in words(run)
    assert site.of("weight_set") == []
    moved = site.play("cutover", **parts, cutover_accept_unverified="it is a copy").ok()
    assert moved.recap["router"]["failed"] == 0
    assert site.of("began")[-1]["unverified"] == "it is a copy"
    assert site.green() == 100
    assert site.play("expire", **unproven).ok().changed == 0
    site.age("uploads")
    # A timer comes while nobody knows what can still go back.
    there = site.kept()
    site.lab.ssh("router", f"mv {STATE}/journal.json /root/ && echo '{{' >{STATE}/journal.json")
    run = site.play("expire", **unproven)
    site.lab.ssh("router", f"mv /root/journal.json {STATE}/")
    assert run.rc != 0
    assert "Nothing was removed: what can still be needed is in the journal of shop, which cannot be" in words(run)
    assert site.kept() == there
    # What has finished can still go back, and what came before it cannot: the last one that it has stays (R-E5).
    site.play("expire", **unproven).ok()
    [last] = site.of("snapshot_taken")
    assert [name for name in site.kept() if not name.startswith(".")] == [
        "mine",
        "shop.rollback.md",
        last["artifact"]["name"],
    ]
    # It is too old to bring back, where nobody says so; the traffic goes back all the same.
    run = site.play("rollback", **unproven, rollback_restore=True, rollback_accept_data_loss=True)
    assert run.rc != 0
    assert "h ago. Restore it nevertheless with accept_expired, or use another" in words(run)
    assert site.green() == 0
    site.play("expire", **unproven).ok()
    assert [name for name in site.kept() if not name.startswith(".")] == ["mine", "shop.rollback.md"]


def test_green_corrupts_data_and_nothing_is_lost_silently(site: Site) -> None:
    """Under load: freeze, drain, snapshot, prove, cut over; then back without a yes, and with one."""
    parts = ("uploads", "db", "code")
    queue = {"provider": "redis_list", "name": "jobs", "processing": [], "password_file": f"{PASSWORDS}/redis"}
    admin = {"database": "shop", "user": "lab", "password_file": f"{PASSWORDS}/lab"}
    settings = {
        "cutover_artifacts": site.encryption,
        "cutover_freeze": {"host": "data", "pgbouncer": admin, "limit": 50},
        "cutover_queues": {"host": "data", "timeout": 90, "queues": [queue]},
    }
    files_before, _items = site.look()
    front = f"http://{site.lab.address('router')}:8080"
    load = site.lab.load(front, rate=20, duration=200, path="/api/v1/items", write_share=0.3, timeout=130)
    with site.data.working("jobs"), load as running:
        site.play("cutover", *parts, **settings).ok()
        running.stop()
    assert running.result().outcomes() == {"ok": running.result().count}
    assert site.green() == 100
    [drained] = site.of("queues_drained")
    assert drained["depths"]["jobs"]["waiting"] == 0
    taken = site.of("snapshot_taken")
    # Nobody was held while they were proven.
    assert site.of("thawed")[0]["at"] < min(one["at"] for one in taken)
    artifacts = {one["part"]: one["artifact"] for one in taken}
    assert len({one["hold"] for one in artifacts.values()}) == 1
    assert {(one["encrypted"], one["verified"]) for one in artifacts.values()} == {(True, True)}
    manifest = json.loads(site.data.run(f"cat {artifacts['db']['path']}/manifest.json"))["manifest"]
    table = next(one for name, one in manifest["contents"].items() if name.endswith("items"))
    site.data.run(CORRUPT)
    site.data.psql("UPDATE items SET name = 'corrupt'; DELETE FROM items WHERE id % 2 = 0")
    corrupted = site.look()

    guide = site.data.run(f"cat {KEPT}/shop.rollback.md")
    assert all(f"{one['path']}` | {one['bytes']}" in guide for one in artifacts.values())
    assert "rollback.yml -e rollback_restore=true -e rollback_accept_data_loss=true" in guide
    assert guide == site.lab.ssh("router", f"cat {STATE}/rollback.md")
    tags = site.data.run("git -C /srv/shop/origin.git tag --list").split()
    assert tags == ["migration-rollback-point", "migration-start-point"]

    back = {**settings, "rollback_restore": True, "rollback_identity_file": KEY}
    with site.lab.load(front, rate=20, duration=200) as running:
        run = site.play("rollback", *parts, **back)
        running.stop()
    assert run.rc != 0
    assert "All traffic of shop is on blue again, and its data was not restored" in words(run)
    assert "files and folders changed (/srv/shop/uploads)" in words(run)
    assert "1 commits (/srv/shop/code)" in words(run)
    assert running.result().outcomes() == {"ok": running.result().count}
    assert (site.green(), site.look()) == (0, corrupted)
    [left] = site.of("data_left")
    assert {"files and folders changed", "commits"} < {one["what"] for one in left["written"]}

    # Nobody knows whether a host that is lost still writes: nothing is restored, and the others serve again.
    site.lab.command("kill", "app2")
    try:
        run = site.play("rollback", *parts, **back, rollback_accept_data_loss=True)
    finally:
        site.lab.command("up")
    assert run.rc != 0
    assert "nobody may write while it is restored, and what runs on app2 could not be stopped" in words(run)
    assert site.lab.ssh("app1", "systemctl is-active shop-blue").strip() == "active"
    assert (site.green(), site.look()) == (0, corrupted)

    # The decision can be taken later, too; after the time of a snapshot by saying so.
    site.age("code")
    run = site.play("rollback", *parts, **back, rollback_accept_data_loss=True, rollback_accept_expired=True).ok()
    files_after, items = site.look()
    assert files_after == files_before
    assert items == f"{table['count']}|{table['digest']}"
    assert site.green() == 0
    assert [event["part"] for event in site.of("data_restored")] == ["db", "code", "uploads"]
    audit = site.lab.ssh("router", f"cat {STATE}/audit-*.md")
    assert "- /srv/shop/code: 1 commits" in audit
    assert re.search(r"- Left for you: what shop was .* DROP DATABASE \"shop_before_\w+\"", audit)
    assert f"is in {STATE}/audit-" in words(run)
    assert not [name for name in site.kept() if name.startswith(".partial")]
    secrets = json.loads((site.lab.state / "secrets.json").read_text()).values()
    written = site.data.run(f"cat {KEPT}/*/manifest.json {KEPT}/*.md") + site.lab.ssh("router", f"cat {STATE}/*.json")
    assert not [secret for secret in [*secrets, "AGE-SECRET"] if secret in written]


def test_what_keeps_data_from_being_restored_is_known_before_anything_is_stopped(site: Site) -> None:
    """R-E7, under load: who restores the carts may not, any more; then he may."""
    redis = f"REDISCLI_AUTH=$(cat {PASSWORDS}/redis) redis-cli"
    may = f"{redis} acl setuser keeper on '>x' '~cart:*' +@all"
    site.data.run(f"{redis} set cart:1 mine; {may}; echo x >{PASSWORDS}/keeper")
    options = {"prefix": "cart:", "username": "keeper", "password_file": f"{PASSWORDS}/keeper"}
    site.parts["carts"] = {"name": "carts", "host": "data", "engine": "redis", "options": options}
    site.play("cutover", "carts").ok()
    site.data.run(f"{redis} set cart:1 corrupt; {may} -rename")
    back = {"rollback_restore": True, "rollback_accept_data_loss": True}
    with site.lab.load(f"http://{site.lab.address('router')}:8080", rate=20, duration=200) as running:
        run = site.play("rollback", "carts", **back)
        running.stop()
    assert run.rc != 0
    assert "All traffic of shop is on blue again, and its data was not restored" in words(run)
    assert "while restoring it; what was there is as it was: NOPERM" in words(run)
    assert running.result().outcomes() == {"ok": running.result().count}
    assert (site.green(), site.data.run(f"{redis} get cart:1").strip()) == (0, "corrupt")
    [left] = site.of("data_left")
    assert [one["name"] for one in left["written"]][:1] == ["lasting keys"], left
    assert site.of("restore_began") == []
    site.data.run(may)
    site.play("rollback", "carts", **back).ok()
    assert (site.green(), site.data.run(f"{redis} get cart:1").strip()) == (0, "mine")
