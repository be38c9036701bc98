#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: diagnostics
short_description: Collect the evidence of a version that failed, and keep it in one bundle
version_added: 0.1.0
description:
  - V(collected), on an application host, reads what is known of a colour while it is still there. That is its unit's
    status, its journal, its requests and answers with their times, what each of its threads did for two seconds, and
    the load of the machine. It reads no environment.
  - For a service in a cluster V(collected), on the router host, reads the state of the Deployment and its pods, with
    how their containers ended last, their events, and the ends of their logs.
  - What follows the name of a secret, such as C(password=), is masked.
  - V(packed), on the router host, writes all that into one archive under C(cutover_state_dir), which only root can
    read, together with the migration's record. The last 10 are kept.
  - What a service writes into its journal may hold secrets; run both with C(no_log).
author:
  - bluegreen.cutover contributors (@bluegreen)
extends_documentation_fragment:
  - bluegreen.cutover.attributes
attributes:
  check_mode:
    support: full
    details: V(packed) writes nothing.
  diff_mode:
    support: none
  idempotent:
    support: partial
    details: V(packed) writes another bundle each time.
options:
  state:
    description: What to do.
    type: str
    choices: [collected, packed]
    required: true
  plan:
    description: The plan, as M(bluegreen.cutover.plan) returns it.
    type: dict
    required: true
  colour:
    description: Which version; needed for V(collected).
    type: str
    choices: [blue, green]
  hosts:
    description: What RV(files) was, by host; needed for V(packed).
    type: dict
  cause:
    description: Why it is collected.
    type: str
    default: ""
seealso:
  - module: bluegreen.cutover.systemd_info
"""

EXAMPLES = r"""
- name: Collect the evidence
  bluegreen.cutover.diagnostics:
    state: collected
    plan: "{{ cutover_plan }}"
    colour: green
  register: collected
  no_log: true

- name: Keep it
  bluegreen.cutover.diagnostics:
    state: packed
    plan: "{{ cutover_plan }}"
    hosts:
      app1: "{{ hostvars.app1.collected.files }}"
  run_once: true
  delegate_to: "{{ cutover_plan.hosts.router }}"
  no_log: true
"""

RETURN = r"""
files:
  description: Texts by name.
  returned: when O(state) is V(collected)
  type: dict
path:
  description: Where the bundle is; what it would be named in check mode.
  returned: when O(state) is V(packed)
  type: str
  sample: /var/lib/bluegreen-cutover/shop/diagnostics/20260730T120110Z-20260730T120544Z.tar.gz
reason:
  description: A stable word for the kind of failure.
  returned: failure
  type: str
  sample: store
evidence:
  description: What was seen when it failed.
  returned: failure
  type: dict
"""

import json
import re
import time
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.bluegreen.cutover.plugins.module_utils import _diagnostics
from ansible_collections.bluegreen.cutover.plugins.module_utils._command import run
from ansible_collections.bluegreen.cutover.plugins.module_utils._core import journal
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import CutoverError
from ansible_collections.bluegreen.cutover.plugins.module_utils._stores.opening import open_store


def collected(plan: dict[str, Any], colour: str) -> dict[str, Any]:
    """What is known of ``colour`` on this host, or in its cluster."""
    its = plan["colours"][colour]
    if plan["cluster"]:
        # Not at the top: hosts do without.
        from ansible_collections.bluegreen.cutover.plugins.module_utils import _cluster_diagnostics  # noqa: PLC0415
        from ansible_collections.bluegreen.cutover.plugins.module_utils._kubernetes import connect  # noqa: PLC0415

        where = plan["cluster"]
        cluster = connect(where.get("kubeconfig"), where.get("context"))
        return {"changed": False, "files": _cluster_diagnostics.collect(cluster, where["namespace"], its["deployment"])}
    asked = [probe["path"] for probe in [*plan["probes"], *plan["verify"]] if probe["method"] == "GET"]
    return {"changed": False, "files": _diagnostics.collect(its["start"], asked, run)}


def packed(plan: dict[str, Any], hosts: dict[str, Any], cause: str, now: float, check_mode: bool) -> dict[str, Any]:
    """One bundle of what all ``hosts`` have told."""
    store = open_store(plan["service"], plan["state_dir"], plan["cluster"])
    migrations = store.read_journal()["migrations"]
    last = migrations[-1] if migrations else {"id": "none"}
    files = {"migration.json": json.dumps(last, indent=2) + "\n"}
    for host, told in hosts.items():
        its = re.sub(r"[^A-Za-z0-9_.-]", "_", host)
        files.update({f"{its}/{file}": text for file, text in (told or {"unknown.txt": "not reached\n"}).items()})
    about = {"service": plan["service"], "migration": last["id"], "at": now, "cause": cause}
    name, folder = f"{last['id']}-{journal.identity(int(now))}", Path(plan["state_dir"], plan["service"], "diagnostics")
    path = folder / f"{name}.tar.gz" if check_mode else _diagnostics.pack(folder, name, files, about)
    return {"changed": True, "path": str(path)}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "required": True, "choices": ["collected", "packed"]},
            "plan": {"type": "dict", "required": True},
            "colour": {"type": "str", "choices": ["blue", "green"]},
            "hosts": {"type": "dict"},
            "cause": {"type": "str", "default": ""},
        },
        required_if=[("state", "collected", ("colour",)), ("state", "packed", ("hosts",))],
        supports_check_mode=True,
    )
    given = module.params
    try:
        if given["state"] == "collected":
            result = collected(given["plan"], given["colour"])
        else:
            result = packed(given["plan"], given["hosts"], given["cause"], time.time(), module.check_mode)
    except CutoverError as error:
        module.fail_json(**error.as_result())
    module.exit_json(**result)


if __name__ == "__main__":
    main()
