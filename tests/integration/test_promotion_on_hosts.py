# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""R-B9, R-B13: a promotion of a service of hosts. Who takes the steps is one of them, and what they show is for all."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
INVENTORY = """
all:
  vars:
    ansible_connection: local
    ansible_python_interpreter: "{{ ansible_playbook_python }}"
    cutover_service: shop
    cutover_front: http://127.0.0.1:8000
    cutover_state_dir: STATE
    cutover_router: {provider: haproxy}
    cutover_colours: {blue: {unit: blue.service, port: 8001}, green: {unit: green.service, port: 8002}}
    promote_application: shop
    promote_to: dev
    promote_release: v1
    promote_environments: [{name: dev, phases: [{name: one, command: ["true"]}]}]
  children:
    cutover_router: {hosts: {router: {}}}
    cutover_app: {hosts: {app1: {ansible_host: 127.0.0.2}}}
"""
# As playbooks/promote.yml, with nothing in the place of the cutover; and a step that fails before.
PLAYBOOK = """
- hosts: cutover_router
  gather_facts: false
  any_errors_fatal: true
  tasks:
    - ansible.builtin.import_role: {name: bluegreen.cutover.promote}
- hosts: cutover_router:cutover_app
  gather_facts: false
  any_errors_fatal: true
  tasks:
    - bluegreen.cutover.plan:
      run_once: true
    - ansible.builtin.include_role: {name: bluegreen.cutover.promote, tasks_from: steps.yml}
      vars: {promote_steps: [{name: broken, command: ["false"]}], promote_kind: checked}
    # On a host that is missing here nothing would be started again.
    - ansible.builtin.debug:
        msg: "{{ inventory_hostname }} knows of {{ promote_problems | length }} problem"
    - ansible.builtin.set_fact: {promote_problems: [], cutover_run: {id: 1, decision: {kind: begin}}}
    - ansible.builtin.import_role: {name: bluegreen.cutover.promote, tasks_from: validate.yml}
"""


def test_r_b13_a_step_that_fails_loses_no_host_and_one_that_passes_is_known_everywhere(tmp_path: Path) -> None:
    inventory, book = tmp_path / "hosts.yml", tmp_path / "play.yml"
    inventory.write_text(INVENTORY.replace("STATE", str(tmp_path / "state")))
    book.write_text(PLAYBOOK)
    done = subprocess.run(
        [str(Path(sys.executable).parent / "ansible-playbook"), "--inventory", str(inventory), str(book)],
        env={**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "collections")},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    for host in ("router", "app1"):
        assert f"{host} knows of 1 problem" in done.stdout
    assert "v1 is validated in dev: 1 of 1 phases passed." in done.stdout
