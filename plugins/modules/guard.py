#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: guard
short_description: Arm, renew, confirm or disarm what takes the traffic back when a run dies
version_added: 0.1.0
description:
  - The guard is a service of systemd on the router host. When it is not renewed within its time, when one of its
    triggers holds in Prometheus, or when its host is started anew while it is armed, it sends the traffic back to the
    old colour, provided that this is ready, records that in the journal, and ends.
  - From then on the run that armed it can change nothing any more; it fails with what the guard did, and when.
  - A confirmation that meets the guard's firing ends one way or the other; it holds, or it fails with
    RV(reason=fenced).
  - The guard's program is made of this collection's own code. It needs nothing but Python where it runs.
  - To be run on the router host, as root.
  - Of a service in a cluster the guard is a Job of one pod, in the service's namespace, whose image needs Python and
    nothing else. Then this is run where the cluster can be reached, with the Python package C(kubernetes).
author:
  - bluegreen.cutover contributors (@bluegreen)
extends_documentation_fragment:
  - bluegreen.cutover.attributes
attributes:
  check_mode:
    support: full
    details: Triggers are not asked.
  diff_mode:
    support: none
  idempotent:
    support: partial
    details: O(state=armed) renews each time, and always reports a change.
options:
  state:
    description:
      - V(armed) arms the guard, or renews it. It has its whole time from then on. The module ends when the guard's
        process has told that it has seen this.
      - V(confirmed) leaves the triggers alone armed, for as long as a hold may last. Without triggers it is
        V(disarmed). Those of O(plan) take the place of others that are armed.
      - Triggers that are new are asked before they are armed. When that is not possible, and the candidate has a share
        already, it keeps that, what is armed stays so, and the run ends with RV(reason=held).
      - V(disarmed) leaves nothing behind.
    type: str
    required: true
    choices: [armed, confirmed, disarmed]
  plan:
    description: The plan, as M(bluegreen.cutover.plan) returns it; what the guard is like is under C(guard).
    type: dict
    required: true
  token:
    description:
      - The token of the run, from M(bluegreen.cutover.migration).
      - Needed, but for check mode.
    type: int
  min_ready:
    description:
      - How many instances of the old colour are enough to send it all traffic, where O(plan) does not say so. In a
        cluster nobody knows that before a run begins; it is C(cutover_run.decision.min_ready).
      - Never more are asked for than the colour has that the traffic leaves. Without this it is as many as that.
    type: int
seealso:
  - module: bluegreen.cutover.migration
  - module: bluegreen.cutover.router_weight
"""

EXAMPLES = r"""
- name: Arm the guard, or renew it
  bluegreen.cutover.guard:
    state: armed
    plan: "{{ cutover_plan }}"
    token: "{{ cutover_run.token }}"
    min_ready: "{{ cutover_run.decision.min_ready }}"
  run_once: true
  delegate_to: "{{ cutover_plan.hosts.router }}"

- name: Leave its triggers alone armed while this step is held
  bluegreen.cutover.guard:
    state: confirmed
    plan: "{{ cutover_plan }}"
    token: "{{ cutover_run.token }}"
    min_ready: "{{ cutover_run.decision.min_ready }}"
  run_once: true
  delegate_to: "{{ cutover_plan.hosts.router }}"
"""

RETURN = r"""
guard:
  description: What is armed now; null when nothing is, and in check mode.
  returned: success
  type: dict
  contains:
    state:
      description: V(armed) or V(watching), which is with its triggers alone.
      type: str
      returned: always
    back_to:
      description: The colour that it sends the traffic to.
      type: str
      returned: always
    time:
      description: How many seconds without a renewal it waits.
      type: int
      returned: always
    left:
      description: Seconds until it acts; null when it has no deadline.
      type: float
      returned: always
    deadline_at:
      description: The same in unix seconds.
      type: float
      returned: always
    triggers:
      description: The names of its triggers.
      type: list
      elements: str
      returned: always
    alive:
      description: Whether its process has been heard of.
      type: bool
      returned: always
  sample:
    state: armed
    back_to: blue
    time: 32
    left: 31.9
    deadline_at: 1785412902.1
    cause: null
    triggers: []
    alive: true
    problem: ""
reason:
  description: A stable word for the kind of failure.
  returned: failure
  type: str
  sample: fenced
evidence:
  description: What was seen when it failed.
  returned: failure
  type: dict
"""

import functools
import time
from collections.abc import Callable
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.bluegreen.cutover.plugins.module_utils import (
    _guard_service,
    _guardian,
    _guarding,
    _triggers,
)
from ansible_collections.bluegreen.cutover.plugins.module_utils._command import run
from ansible_collections.bluegreen.cutover.plugins.module_utils._core import guard, guard_pod, journal
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import CutoverError, HeldError, InputError
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.plan import GUARD_MARGIN
from ansible_collections.bluegreen.cutover.plugins.module_utils._stores.opening import open_store


class Guarding:
    """The guard of ``plan`` as the run with ``token`` sees it. ``min_ready`` instances of the old colour can serve
    everything, where the plan does not say how many. Raises ``CutoverError``.
    """

    def __init__(self, plan: dict[str, Any], token: int, min_ready: int | None = None) -> None:
        plan = {**plan, "min_ready": plan["min_ready"] or min_ready}
        self.given, self.plan, self.token = plan, plan, token
        self.write: Callable[[Callable[[guard.Guard | None], guard.Guard]], None] = self._write
        self.store = open_store(plan["service"], plan["state_dir"], plan["cluster"])
        if plan["cluster"]:
            # Not at the top: the modules of hosts, and the guard that is made of them, do without.
            from ansible_collections.bluegreen.cutover.plugins.module_utils import _guard_pod  # noqa: PLC0415

            self.plan = guard_pod.for_pod(plan)
            self.write = functools.partial(_guard_pod.write, self.store, self.plan, token)

    def arm(self) -> None:
        """Arm or renew, and wait until the guard's process has seen it."""
        plan = self.plan
        if journal.fold(self.store.read_journal()).phase == journal.ROLLING_BACK:
            # Triggers would say no more than what is done about them already.
            time_ = max(plan["guard"]["time"], plan["back_steps"]["time"] + GUARD_MARGIN)
            plan = {**plan, "guard": {**plan["guard"], "triggers": [], "time": time_}}
        self._ask(plan)
        self.write(lambda current: guard.arm(current, plan, self.token, self._now()))

    def confirm(self) -> bool:
        """Leave the triggers alone, those of the plan; whether that changed something."""
        armed = self.store.read_guard()
        if not _is_idle(armed) or not guard.is_edited(armed, self.plan):
            return _guarding.confirm(self.store, self.token, self._now().wall)
        if not self.plan["guard"]["triggers"]:
            return self.disarm()
        self._ask(self.plan)
        self.write(lambda current: guard.watch(current, self.plan, self.token, self._now()))
        return True

    def disarm(self) -> bool:
        """Leave nothing; whether that changed something."""
        return _guarding.disarm(self.store, self.token, self._now().wall)

    def _now(self) -> guard.Moment:
        return _guarding.moment_of(self.store)

    def _ask(self, plan: dict[str, Any]) -> None:
        """Ask triggers that are not those that are armed: a mistake in a query would never fire, and is better told
        before any traffic moves. Where the candidate has a share already, that is kept: what is armed stays so, and the
        run ends.
        """
        armed, settings = self.store.read_guard(), plan["guard"]
        if not settings["triggers"] or not guard.is_edited(armed, plan):
            return
        try:
            # With the files of this host.
            _triggers.check(settings["triggers"], self.given["guard"]["prometheus"])
        except CutoverError as error:
            shared = journal.fold(self.store.read_journal()).weight not in (None, journal.side(plan["from"]))
            if not shared or not _is_idle(armed):
                raise
            message = f"triggers of cutover_guard that are not armed yet cannot be asked: {error.message.rstrip('.')}"
            with self.store.locked():
                self.store.record(self.token, self._now().wall, "held", message=message)
                self.store.write_lease(None)
            names = ", ".join(f"'{one['name']}'" for one in armed["triggers"]) if armed is not None else "none"
            raise HeldError(
                f"{plan['service']}: {message}. The candidate keeps its share, and the guard its triggers of before "
                f"({names}). Put that right and run advance.yml, or go back with rollback.yml"
            ) from error

    def _write(self, make: Callable[[guard.Guard | None], guard.Guard]) -> None:
        """Write the guard that ``make`` makes of the one of now, and wait until its process has seen it."""
        with self.store.locked():
            document = make(self.store.read_guard())
            self.store.fence(self.token, time.time())
            written = _guard_service.install(self.store, _guardian.main)
            self.store.write_guard(document)
        anew = written or _guarding.heard(self.store.service) is None
        _guard_service.start(self.store, run, time, anew=anew)


def _is_idle(armed: guard.Guard | None) -> bool:
    """Is nothing armed that has a time?"""
    return armed is None or armed["state"] == guard.WATCHING


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "required": True, "choices": ["armed", "confirmed", "disarmed"]},
            "plan": {"type": "dict", "required": True},
            "token": {"type": "int", "no_log": False},
            "min_ready": {"type": "int"},
        },
        supports_check_mode=True,
    )
    state, plan, token, min_ready = (module.params[name] for name in ("state", "plan", "token", "min_ready"))
    try:
        guarding = Guarding(plan, token, min_ready)
        doubt = guard_pod.doubt(guard_pod.image_of(plan["guard"])) if plan["cluster"] and state == "armed" else ""
        if doubt:
            module.warn(f"{plan['service']}: {doubt}")
        if module.check_mode:
            module.exit_json(changed=state == "armed" or guarding.store.read_guard() is not None, guard=None)
        if token is None:
            raise InputError("the guard needs the token of the run; it is cutover_run.token")
        changed = True
        if state == "armed":
            guarding.arm()
        else:
            changed = guarding.confirm() if state == "confirmed" else guarding.disarm()
        left = guarding.store.read_guard()
        problems: list[str] = []
        described = _guarding.describe(guarding.store, left, problems) if left is not None else None
    except CutoverError as error:
        module.fail_json(**error.as_result())
    # What is left armed for days is of no use without its process.
    for problem in problems:
        module.warn(f"{plan['service']}: {problem}")
    module.exit_json(changed=changed, guard=described)


if __name__ == "__main__":
    main()
