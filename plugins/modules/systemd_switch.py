#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: systemd_switch
short_description: Start one colour, send it the traffic, verify, drain and stop the other, in one task
version_added: 0.1.0
description:
  - Does O(start), O(route), O(verify) and O(stop), in this order, whichever of them are given. One that fails keeps
    the next from beginning.
  - Each of them is compared with what is before, so that a run that was killed anywhere is finished by running it
    again, and a run that is not needed changes nothing.
  - A unit whose file has changed is started as it is on disk now; C(systemctl daemon-reload) is run before.
author:
  - bluegreen.cutover contributors (@bluegreen-cutover)
extends_documentation_fragment:
  - bluegreen.cutover.attributes
attributes:
  check_mode:
    support: full
    details:
      - What is ready and how many connections are open is read for real. Nothing is waited for.
  diff_mode:
    support: full
  idempotent:
    support: full
    details: A signal that is sent to a unit that stays as it is does not count as a change.
options:
  start:
    description:
      - The unit to start, and to enable once it is ready.
      - When it dies, or does not get ready in time, the module fails with its status, its exit status and the last 30
        lines of its journal. If the module has started it, it is stopped again.
    type: dict
    suboptions:
      unit:
        description: The whole name of the unit, such as V(shop-green.service).
        type: str
        required: true
      ready:
        description: The address that answers 200 when the unit can take traffic.
        type: str
        required: true
      live:
        description: An address that must answer 200 as well.
        type: str
      timeout:
        description: How many seconds starting and getting ready may take together, from 1 to 86400.
        type: int
        default: 60
      resume_signal:
        description:
          - A signal that tells the service to leave its draining mode, one of V(SIGUSR1), V(SIGUSR2), V(SIGHUP) and
            V(SIGWINCH), or null for none.
          - It is sent when the unit runs already, which is how a colour is taken back that was being drained.
          - A service that does not handle the signal is refused, because the signal would kill it.
        type: str
  route:
    description:
      - The change of weight, made as M(bluegreen.cutover.router_weight) makes it. This host must be the router.
      - The ends of O(start) and O(stop) are recorded in the journal then, too.
    type: dict
    suboptions:
      router:
        description: The router's C(provider) and its options.
        type: dict
        required: true
      colours:
        description: Both colours, each with C(unit), C(port) and C(instances).
        type: dict
        required: true
      ready_path:
        description: The path that answers 200 when an instance can take traffic.
        type: str
        default: /health/ready
      weight:
        description: The percentage of traffic that green gets.
        type: int
        required: true
      allowed:
        description: The weights that may be found before; empty allows any.
        type: list
        elements: int
        default: []
      min_ready:
        description: How many instances of a colour that gets more traffic must be ready.
        type: int
        default: 1
  verify:
    description:
      - What is asked once the traffic has moved. Only when everything is healthy O(stop) begins.
      - Without any probe nothing is asked.
    type: dict
    suboptions:
      bases:
        description: Addresses that O(verify.probes) are asked at, such as V(http://127.0.0.1:8000).
        type: list
        elements: str
        required: true
      probes:
        description: Probes as in O(bluegreen.cutover.http_probe#module:probes), but without C(secret_headers).
        type: list
        elements: dict
        required: true
  stop:
    description:
      - The unit to drain, stop and disable.
      - It is stopped when two looks in a row see no connection and no request in flight.
      - Connections are counted in C(/proc/net/tcp) and C(tcp6). ESTABLISHED, SYN_RECV and CLOSE_WAIT count; what the
        service itself has closed does not.
    type: dict
    suboptions:
      unit:
        description: The whole name of the unit, such as V(shop-blue.service).
        type: str
        required: true
      port:
        description: The TCP port that it listens on.
        type: int
        required: true
      timeout:
        description: How many seconds draining may take, from 1 to 86400.
        type: int
        default: 60
      signal:
        description:
          - A signal that tells the service to let its clients go, by ending each connection with its answer; one of
            V(SIGUSR1), V(SIGUSR2), V(SIGHUP) and V(SIGWINCH), or null for none.
          - Without it a client that keeps its connection idle is waited for until O(stop.timeout).
          - A service that does not handle the signal is refused, because the signal would kill it.
        type: str
      in_flight_url:
        description:
          - Where the service tells its Prometheus metrics. Requests that it works on after their client has gone are
            waited for, too.
          - The metric must not count the request that asks for it. Metrics that cannot be read do not count as zero.
        type: str
      in_flight_metric:
        description: The name of the metric that counts requests in flight.
        type: str
        default: http_requests_in_flight
      on_timeout:
        description:
          - What to do when connections are left at the end of O(stop.timeout).
          - V(fail) stops nothing and fails, V(stop) cuts them off.
        type: str
        default: fail
        choices: [fail, stop]
  service:
    description: The name of the service; needed with O(token) and O(route).
    type: str
  state_dir:
    description: Where journal, lease and fence are kept on this host.
    type: path
    default: /var/lib/bluegreen-cutover
  token:
    description:
      - The fencing token of the lease under which this runs. It is checked before every change.
      - Without it nothing is fenced and nothing is recorded.
    type: int
  host:
    description: The name of this host in the journal.
    type: str
seealso:
  - module: bluegreen.cutover.systemd_info
  - module: bluegreen.cutover.router_weight
  - module: bluegreen.cutover.http_probe
"""

EXAMPLES = r"""
- name: Start the candidate and wait until it is ready
  bluegreen.cutover.systemd_switch:
    start:
      unit: shop-green.service
      ready: http://127.0.0.1:8002/health/ready
      live: http://127.0.0.1:8002/health/live

- name: Drain and stop the old version
  bluegreen.cutover.systemd_switch:
    stop:
      unit: shop-blue.service
      port: 8001
      signal: SIGUSR1

- name: Do the whole switch on a host that has no proxy
  bluegreen.cutover.systemd_switch:
    service: nextgeneration
    start:
      unit: nextgeneration-green.service
      ready: http://127.0.0.1:8002/health/ready
    route:
      router:
        provider: nftables
        port: 8000
      colours:
        blue:
          unit: nextgeneration-blue.service
          port: 8001
          instances:
            - {host: 127.0.0.1, port: 8001}
        green:
          unit: nextgeneration-green.service
          port: 8002
          instances:
            - {host: 127.0.0.1, port: 8002}
      weight: 100
    verify:
      bases: ["http://127.0.0.1:8000"]
      probes:
        - path: /api/v1/health
    stop:
      unit: nextgeneration-blue.service
      port: 8001
      signal: SIGUSR1
"""

RETURN = r"""
start:
  description: What was done about O(start).
  type: dict
  returned: when O(start) was given and has ended well
  contains:
    changed:
      description: Whether the unit was, or would be, changed.
      type: bool
      returned: always
    before:
      description: The unit before, with C(active), C(enabled) and systemd's own words in C(state).
      type: dict
      returned: always
    after:
      description: The unit after, with C(active) and C(enabled), and with C(state) unless in check mode.
      type: dict
      returned: always
    commands:
      description: The commands that were run, or would be.
      type: list
      elements: str
      returned: always
      sample: ["systemctl start -- shop-green.service", "systemctl enable -- shop-green.service"]
    ms:
      description: How many milliseconds all of it took.
      type: float
      returned: always
    observations:
      description:
        - What was seen while waiting, one entry whenever it changed, at most the last 100, each with its C(ms).
        - For O(start) the C(state) and what is C(unready); for O(stop) C(connections), C(in_flight) and C(error).
      type: list
      elements: dict
      returned: always
    note:
      description: What is to be said about it; usually empty.
      type: str
      returned: always
route:
  description: What M(bluegreen.cutover.router_weight) returns.
  type: dict
  returned: when O(route) was given and has ended well
verify:
  description: What M(bluegreen.cutover.http_probe) returns.
  type: dict
  returned: when O(verify) was given with a probe, and everything was healthy
stop:
  description: What was done about O(stop), with the same keys as RV(start).
  type: dict
  returned: when O(stop) was given and has ended well
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.bluegreen.cutover.plugins.module_utils._command import run
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import CutoverError
from ansible_collections.bluegreen.cutover.plugins.module_utils._switching import difference, switch


def main() -> None:
    """Wire the module."""
    module = AnsibleModule(
        argument_spec={
            "start": {
                "type": "dict",
                "options": {
                    "unit": {"type": "str", "required": True},
                    "ready": {"type": "str", "required": True},
                    "live": {"type": "str"},
                    "timeout": {"type": "int", "default": 60},
                    "resume_signal": {"type": "str"},
                },
            },
            "route": {
                "type": "dict",
                "options": {
                    "router": {"type": "dict", "required": True},
                    "colours": {"type": "dict", "required": True},
                    "ready_path": {"type": "str", "default": "/health/ready"},
                    "weight": {"type": "int", "required": True},
                    "allowed": {"type": "list", "elements": "int", "default": []},
                    "min_ready": {"type": "int", "default": 1},
                },
            },
            "verify": {
                "type": "dict",
                "options": {
                    "bases": {"type": "list", "elements": "str", "required": True},
                    "probes": {"type": "list", "elements": "dict", "required": True},
                },
            },
            "stop": {
                "type": "dict",
                "options": {
                    "unit": {"type": "str", "required": True},
                    "port": {"type": "int", "required": True},
                    "timeout": {"type": "int", "default": 60},
                    "signal": {"type": "str"},
                    "in_flight_url": {"type": "str"},
                    "in_flight_metric": {"type": "str", "default": "http_requests_in_flight"},
                    "on_timeout": {"type": "str", "default": "fail", "choices": ["fail", "stop"]},
                },
            },
            "service": {"type": "str"},
            "state_dir": {"type": "path", "default": "/var/lib/bluegreen-cutover"},
            "token": {"type": "int", "no_log": False},
            "host": {"type": "str"},
        },
        required_one_of=[("start", "route", "verify", "stop")],
        required_by={"token": "service", "route": "service"},
        supports_check_mode=True,
    )
    done: dict[str, Any] = {}
    try:
        switch(module.params, run, done, check_mode=module.check_mode)
    except CutoverError as error:
        module.fail_json(changed=any(result["changed"] for result in done.values()), **done, **error.as_result())
    module.exit_json(changed=any(result["changed"] for result in done.values()), diff=difference(done), **done)


if __name__ == "__main__":
    main()
