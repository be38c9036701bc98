#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: migration
short_description: Begin, record and close the migration of a service
version_added: 0.1.0
description:
  - Keeps the journal and the lease of a service; to be run on the router host, where both are.
  - V(begun) and V(rolling_back) read the router and the journal, decide what comes next, take the lease and set the
    fact C(cutover_run) with C(decision), C(id), C(from), C(to) and C(token). When there is nothing to do they write
    nothing.
  - When another run holds the lease, they say who, since when and why. They wait as long as C(cutover_lease_wait) says,
    and take the lease at once when its holder was on this control node and its process is gone.
author:
  - bluegreen.cutover contributors (@bluegreen)
extends_documentation_fragment:
  - bluegreen.cutover.attributes
  - bluegreen.cutover.migration
attributes:
  check_mode:
    support: full
    details: It gives no token, because it takes no lease.
  diff_mode:
    support: none
  idempotent:
    support: partial
    details: V(begun) and V(rolling_back) report no change when there is nothing to do; an event is recorded each time.
options:
  state:
    description:
      - V(awaited) waits until no other run holds the lease, as long as C(cutover_lease_wait) says. What runs is best
        read after that.
      - V(begun) begins a migration, or resumes the one that is open.
      - V(advancing) is V(begun) for a migration that is held; it begins none, and takes one new step at most.
      - V(rehearsing) is V(begun) for a migration that is a rehearsal, which V(rolled_back) ends.
      - V(probed) records what the candidate has shown, and fails with RV(reason=checkpoint) where that is not enough.
        O(data) has C(colour) and what was C(seen), of C(tests) by host, C(health), C(rules), C(performance) and
        C(metrics) what their tasks registered; the action plugin judges it.
      - V(recorded) appends O(event) with O(data). Of restores it writes beside the journal what they have cost.
      - V(holding) begins the hold of O(step), or says where it is, with what O(gate) has found.
      - V(held) ends this run in the middle of a hold, with C(message) and C(unknown) of O(data), and releases the
        lease. It fails, with RV(reason=held), where C(unknown) says that the hold cannot be judged.
      - V(finished) closes a migration whose candidate serves alone.
      - V(rolling_back) begins the way back, from any state; it takes the lease away from a cutover.
      - V(rolled_back) closes a migration whose old colour serves alone again.
      - V(frozen) keeps everybody else from migrating the service for C(cutover_freeze.time), without a migration of
        its own. Who froze it may migrate it, which ends the freeze; a rollback and the guard always may.
      - V(thawed) ends that, whoever began it.
      - V(failed) records O(data) and releases the lease; the migration stays open for the next run.
      - V(guided) writes beside the journal how the migration is taken back. O(data) has C(inventory), a list of paths,
        and C(playbooks), their folder.
    type: str
    required: true
    choices:
      - awaited
      - begun
      - advancing
      - rehearsing
      - probed
      - recorded
      - holding
      - held
      - finished
      - rolling_back
      - rolled_back
      - failed
      - guided
      - frozen
      - thawed
  token:
    description:
      - The token that V(begun) or V(rolling_back) returned.
      - Every other state but V(awaited), V(guided), V(frozen) and V(thawed) needs it, except in check mode.
      - With O(state=rolling_back) it is the token of the cutover that failed, which does not go back when another run
        has come since. Without it a rollback takes the lease from any cutover.
    type: int
  event:
    description: What happened.
    type: str
    choices:
      - started
      - rehearsed
      - drained
      - hook_called
      - snapshot_taken
      - restore_counted
      - restore_began
      - data_restored
      - data_left
      - queues_drained
      - thawed
      - evidence_kept
  data:
    description:
      - What the event tells, such as C(colour); with O(state=finished) what is recorded of the whole.
      - With O(state=failed) C(reason), a word, and C(message).
    type: dict
    default: {}
  snapshots:
    description:
      - What M(bluegreen.cutover.snapshot_info) told of each part of C(cutover_state), by its name. A migration whose
        candidate has had traffic does not go on where a snapshot of it is not there any more, damaged or past its
        time; another one would have what the candidate has written.
    type: dict
    default: {}
  step:
    description: The step of RV(decision) that is held.
    type: dict
  gate:
    description: What M(bluegreen.cutover.prometheus_gate) returned since the last look at the hold.
    type: dict
  progressive:
    description: Whether V(rolling_back) goes by the shares of C(cutover_back_steps).
    type: bool
    default: false
  restore:
    description: Whether V(rolling_back) is to restore data, so that there is something to do in any case.
    type: bool
    default: false
  reason:
    description: Why the service goes back; C(cutover_reason) when not given.
    type: str
  owner:
    description: Who runs this; set by the action plugin.
    type: dict
    default: {}
  takeover:
    description: The token of a lease whose holder is known to be dead; set by the action plugin.
    type: int
seealso:
  - module: bluegreen.cutover.plan
  - module: bluegreen.cutover.migration_info
"""

EXAMPLES = r"""
- name: Compare what serves with what is recorded, and begin
  bluegreen.cutover.migration:
    state: begun
    plan: "{{ cutover_plan }}"
    workloads: "{{ units }}"
  run_once: true
  delegate_to: "{{ cutover_plan.hosts.router }}"

- name: Record that the candidate has been started
  bluegreen.cutover.migration:
    state: recorded
    plan: "{{ cutover_plan }}"
    token: "{{ cutover_run.token | default(omit) }}"
    event: started
    data:
      colour: "{{ cutover_plan.to }}"
  run_once: true
  delegate_to: "{{ cutover_plan.hosts.router }}"

- name: Close the record of this migration
  bluegreen.cutover.migration:
    state: finished
    plan: "{{ cutover_plan }}"
    token: "{{ cutover_run.token | default(omit) }}"
  run_once: true
  delegate_to: "{{ cutover_plan.hosts.router }}"
"""

RETURN = r"""
decision:
  description: What comes next.
  returned: when O(state) is V(begun), V(advancing), V(rehearsing) or V(rolling_back)
  type: dict
  contains:
    kind:
      description: What to do; V(nothing), V(begin), V(resume) or V(roll_back).
      type: str
      returned: success
    from:
      description: The colour that traffic leaves.
      type: str
      returned: success
    to:
      description: The colour that traffic goes to; after a rollback it is the old one.
      type: str
      returned: success
    weight:
      description: The weight at which C(to) serves alone.
      type: int
      returned: success
    steps:
      description:
        - The steps that remain, each with C(share), C(weight), C(settle), C(hold), whether it is C(held) already, what
          is C(allowed) to be there before, and whether the run C(may_stay) at what is there when its slot has ended.
          On the way back those of a progressive one.
      type: list
      elements: dict
      returned: success
    differences:
      description: What did not agree, and was accepted or rolled back.
      type: list
      elements: str
      returned: success
    min_ready:
      description: How many instances of C(to) must be ready; on the way back no more than the colour that is left has.
      type: int
      returned: success
    at_once:
      description: On the way back, whether as many are ready now, so that none has to be started first.
      type: bool
      returned: success
    scales:
      description: Whether the candidate gets its pods before the steps, and not by them.
      type: bool
      returned: success
    partial:
      description: Whether the run ends with the share of its last step, because that is not all traffic.
      type: bool
      returned: success
    sentence:
      description: The same for a person.
      type: str
      returned: success
  sample:
    kind: begin
    from: blue
    to: green
    weight: 100
    steps:
      - {share: 50, weight: 50, settle: 5, hold: 0, held: false, allowed: [0], may_stay: false}
      - {share: 100, weight: 100, settle: 0, hold: 600, held: false, allowed: [50], may_stay: true}
    differences: []
    sentence: shop moves from blue to green, which gets 50 %, 100 %.
checkpoints:
  description: What the candidate has shown, each with C(name), whether it C(passed), and what was C(seen).
  returned: when O(state) is V(probed)
  type: list
  elements: dict
  sample:
    - {name: tests, passed: true, seen: 1 of 1 passed}
hold:
  description: Where the hold is; also the fact C(cutover_hold).
  returned: when O(state) is V(holding)
  type: dict
  contains:
    kind:
      description: V(passed), V(waiting), V(failed), or V(unknown) where the gate cannot tell.
      type: str
      returned: always
    left:
      description: Seconds of the hold that are left.
      type: float
      returned: always
    watch:
      description: Seconds that this run may look at it next; 0 when it has to end.
      type: float
      returned: always
    action:
      description: What a broken criterion wants.
      type: str
      returned: always
    sentence:
      description: The same for a person.
      type: str
      returned: always
    accepted:
      description: Why it has passed although its gate has not proven it, as C(cutover_accept_unproven) says.
      type: str
      returned: always
    gate_state:
      description: What the gate needs to go on.
      type: dict
      returned: always
  sample:
    kind: waiting
    left: 3412.0
    watch: 20.0
    action: null
    accepted: null
    sentence: 56.9 minutes of its hold are left
lease:
  description: The lease that is held now with O(state=frozen), and that was released with O(state=thawed).
  returned: when O(state) is V(frozen) or V(thawed)
  type: dict
rehearsal:
  description:
    - What a rehearsal came to, with its C(way), C(switch) and C(back), how many seconds each took, C(passed), when it
      did in unix seconds, null where it did not, and a C(sentence). Null for a migration that is none.
  returned: when O(state) is V(finished) or V(rolled_back)
  type: dict
id:
  description: The migration's name; the same when it is resumed.
  returned: when O(state) is V(begun), V(advancing), V(rehearsing), V(rolling_back), V(finished) or V(rolled_back)
  type: str
  sample: 20260730T120110Z
token:
  description: The fencing token of this run; null in check mode, and when there is nothing to do.
  returned: when O(state) is V(begun), V(advancing), V(rehearsing) or V(rolling_back)
  type: int
from:
  description: As in RV(decision).
  returned: when O(state) is V(begun), V(advancing), V(rehearsing) or V(rolling_back)
  type: str
to:
  description: As in RV(decision).
  returned: when O(state) is V(begun), V(advancing), V(rehearsing) or V(rolling_back)
  type: str
weight:
  description: Green's percentage of the traffic, as the router applies it.
  returned: when O(state) is V(begun), V(advancing), V(rehearsing) or V(rolling_back)
  type: int
persisted:
  description: Green's percentage after a reload or a reboot.
  returned: when O(state) is V(begun), V(advancing), V(rehearsing) or V(rolling_back)
  type: int
artifacts:
  description: The snapshots of this migration, by their part.
  returned: when O(state) is V(begun), V(advancing), V(rehearsing) or V(rolling_back)
  type: dict
earlier_hold:
  description:
    - The hold of the writers in which an earlier run of this migration has read all parts, or V(none) where it held
      nobody. Null where a snapshot is missing or has expired, and where they do not fit together.
  returned: when O(state) is V(begun), V(advancing), V(rehearsing) or V(rolling_back)
  type: str
served:
  description: Whether the migration goes on, and its candidate may have had traffic; no snapshots are taken then.
  returned: when O(state) is V(begun), V(advancing), V(rehearsing) or V(rolling_back)
  type: bool
text:
  description: The page that was written.
  returned: when O(state) is V(guided)
  type: str
places:
  description: C(host) and C(folder) of the snapshots that the migration has.
  returned: when O(state) is V(guided)
  type: list
  elements: dict
path:
  description: Where it is written what the migration's restores have cost, beside the journal; null where none began.
  returned: when O(state) is V(recorded)
  type: str
ready:
  description: How many instances of each colour are ready, as the router sees them.
  returned: when O(state) is V(begun), V(advancing), V(rehearsing) or V(rolling_back)
  type: dict
reason:
  description: A stable word for the kind of failure.
  returned: failure
  type: str
  sample: lease_held
evidence:
  description: What was seen when it failed.
  returned: failure
  type: dict
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import CutoverError
from ansible_collections.bluegreen.cutover.plugins.module_utils._migration import Migration, open_plan

EVENTS = (
    "started",
    "rehearsed",
    "drained",
    "hook_called",
    "evidence_kept",
    "snapshot_taken",
    "restore_counted",
    "restore_began",
    "data_restored",
    "data_left",
    "queues_drained",
    "thawed",
)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "state": {
                "type": "str",
                "required": True,
                "choices": [
                    "awaited",
                    "begun",
                    "advancing",
                    "rehearsing",
                    "probed",
                    "recorded",
                    "holding",
                    "held",
                    "finished",
                    "rolling_back",
                    "rolled_back",
                    "failed",
                    "guided",
                    "frozen",
                    "thawed",
                ],
            },
            "plan": {"type": "dict", "required": True},
            "workloads": {"type": "list", "elements": "dict"},
            "token": {"type": "int", "no_log": False},
            "event": {"type": "str", "choices": list(EVENTS)},
            "data": {"type": "dict", "default": {}},
            "snapshots": {"type": "dict", "default": {}},
            "step": {"type": "dict"},
            "gate": {"type": "dict"},
            "progressive": {"type": "bool", "default": False},
            "restore": {"type": "bool", "default": False},
            "reason": {"type": "str"},
            "owner": {"type": "dict", "default": {}},
            "takeover": {"type": "int"},
        },
        required_if=[
            ("state", "begun", ("workloads",)),
            ("state", "advancing", ("workloads",)),
            ("state", "rehearsing", ("workloads",)),
            ("state", "recorded", ("event",)),
            ("state", "holding", ("step",)),
        ],
        supports_check_mode=True,
    )
    given = module.params
    try:
        store, router = open_plan(given["plan"])
        migration = Migration(given["plan"], store, router, check_mode=module.check_mode)
        begins = (given["workloads"], given["owner"], given["takeover"])
        states = {
            "awaited": lambda: migration.wait(given["owner"], given["takeover"]),
            "begun": lambda: migration.begin(*begins, snapshots=given["snapshots"]),
            "advancing": lambda: migration.begin(*begins, advance=True, snapshots=given["snapshots"]),
            "rehearsing": lambda: migration.begin(*begins, rehearse=True, snapshots=given["snapshots"]),
            "probed": lambda: migration.probe(given["token"], given["data"]),
            "holding": lambda: migration.look(given["token"], given["step"], given["gate"]),
            "held": lambda: migration.stay(
                given["token"], str(given["data"].get("message")), unknown=bool(given["data"].get("unknown"))
            ),
            "recorded": lambda: migration.record(given["token"], given["event"], given["data"]),
            "finished": lambda: migration.close(given["token"], "finished", given["data"]),
            "rolling_back": lambda: migration.roll_back(
                given["workloads"],
                given["owner"],
                given["reason"],
                given["takeover"],
                given["token"],
                progressive=given["progressive"],
                restore=given["restore"],
            ),
            "rolled_back": lambda: migration.close(given["token"], "rolled_back"),
            "failed": lambda: migration.fail(given["token"], given["data"]),
            "guided": lambda: migration.guide(given["data"]),
            "frozen": lambda: migration.freeze(given["owner"]),
            "thawed": migration.thaw,
        }
        result = states[given["state"]]()
    except CutoverError as error:
        module.fail_json(**error.as_result())
    module.exit_json(**result)


if __name__ == "__main__":
    main()
