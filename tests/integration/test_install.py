# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The collection as users get it: built, installed elsewhere, called by its full name (R-F1, R-F3)."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

if TYPE_CHECKING:
    from .conftest import Lab, Run

ROOT = Path(__file__).resolve().parents[2]
GALAXY = Path(sys.executable).parent / "ansible-galaxy"
MEBIBYTE = 1024 * 1024


def galaxy(directory: Path, *arguments: str) -> None:
    # Away from the checkout and its ansible.cfg: their paths already have this collection.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    done = subprocess.run(
        [str(GALAXY), "collection", *arguments],
        cwd=directory,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def tarball(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("built")
    galaxy(directory, "build", str(ROOT))
    return next(directory.glob("bluegreen-cutover-*.tar.gz"))


@pytest.fixture(scope="module")
def installed(tarball: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("installed")
    galaxy(path, "install", "--offline", "--no-deps", "--collections-path", str(path), str(tarball))
    return path


def test_tarball_has_what_ships_and_nothing_else(tarball: Path) -> None:
    with tarfile.open(tarball) as archive:
        top = {name.split("/")[0] for name in archive.getnames()}
    assert top <= {
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "FILES.json",
        "LICENSE",
        "MANIFEST.json",
        "README.md",
        "changelogs",
        "docs",
        "extensions",
        "inventories",
        "meta",
        "playbooks",
        "plugins",
        "roles",
    }
    assert tarball.stat().st_size < MEBIBYTE


def test_dependencies_are_those_that_are_used() -> None:
    """Every foreign collection that a playbook or a role names is declared, and no other."""
    declared = set(yaml.safe_load((ROOT / "galaxy.yml").read_text())["dependencies"])
    texts = "\n".join(path.read_text() for folder in ("roles", "playbooks") for path in (ROOT / folder).rglob("*.yml"))
    names = set(re.findall(r"^[ -]*(\w+\.\w+)\.\w+:", texts, re.MULTILINE))
    assert names - {"ansible.builtin", "bluegreen.cutover"} == declared


@pytest.mark.parametrize("mode", ["--syntax-check", "--list-tasks"])
def test_main_job_is_found_by_its_full_name(lab: Lab, installed: Path, mode: str) -> None:
    run = lab.playbook("bluegreen.cutover.cutover", arguments=[mode], collections=installed)
    assert run.rc == 0, run.stdout


def test_installed_moves_the_traffic_and_brings_it_back(lab: Lab, installed: Path) -> None:
    """R-F1: the playbooks, roles and modules are those of the tarball, and so is the inventory."""
    lab.renew()
    here = installed / "ansible_collections" / "bluegreen" / "cutover"

    def play(name: str) -> Run:
        # With -vvv each task and module says where it is from.
        named = f"bluegreen.cutover.{name}"
        run = lab.playbook(named, here / "inventories/local", arguments=["-vvv"], collections=installed).ok()
        assert f"task path: {here}/roles/" in run.stdout
        assert f"Using module file {here}/plugins/modules/" in run.stdout
        assert f"{ROOT}/roles" not in run.stdout
        assert f"{ROOT}/plugins" not in run.stdout
        return run

    def serving(moment: float) -> set[str]:
        return {record.colour for record in result.records if moment < record.scheduled < moment + 3}

    play("router")
    with lab.load(f"http://{lab.address('router')}:8080", rate=100, idle=20, duration=3000) as running:
        play("cutover")
        moved = time.time()
        status = play("status")
        play("rollback")
        back = time.time()
        time.sleep(3)  # for requests after the way back
    result = running.result()
    assert result.outcomes() == {"ok": result.count}
    assert (serving(moved), serving(back)) == ({"green"}, {"blue"})
    assert set(status.recap) == {"router", "app1", "app2"}
    assert status.changed == 0
    assert "shop: blue 0 %, green 100 %, since " in status.stdout
