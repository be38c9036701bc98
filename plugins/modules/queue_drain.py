#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: queue_drain
short_description: Wait until queues are empty, and nothing of them is in flight
version_added: 0.1.0
description:
  - Looks at all of O(queues) once a second, until three looks in a row have found nothing waiting and nothing in
    flight, and nothing that came and went in between. Of RabbitMQ that is known later, so that it has to be so for 11
    seconds.
  - Fails when that is not so within O(timeout), and says what was there last. Takes nothing out of a queue and stops
    nobody; who adds to it has to have been stopped.
  - A number that is not known is not zero.
  - Where a server does not tell what comes and goes between two looks, it warns that producers were not watched.
  - While it waits, a line with what is left is shown at least every 10 seconds.
author:
  - bluegreen.cutover contributors (@bluegreen)
extends_documentation_fragment:
  - bluegreen.cutover.attributes
  - bluegreen.cutover.attributes.reads
requirements:
  - python3-redis on the host that it runs on, for all providers but V(rabbitmq)
  - python3-celery, for V(celery)
options:
  queues:
    description: The queues; they have to be empty at the same time.
    type: list
    elements: dict
    required: true
    suboptions:
      provider:
        description:
          - V(redis_list) is a list that workers take from. Of RQ it is C(rq:queue:NAME), with C(rq:wip:NAME) and
            C(rq:queue:NAME:intermediate) as O(queues[].processing).
          - V(redis_stream) is a stream with consumer groups. What a group has not been given waits, what it has not
            acknowledged is in flight.
          - V(celery) is a queue of Celery with Redis as its broker.
          - V(rabbitmq) is a queue of RabbitMQ 3.9 or newer. Messages that are not acknowledged are in flight.
            What is acknowledged when it begins, as Celery's tasks are by default, is not seen once a worker has it.
            It needs an O(timeout) of 15 seconds at least.
        type: str
        required: true
        choices: [redis_list, redis_stream, celery, rabbitmq]
      name:
        description: The key in Redis, or the queue's name.
        type: str
        required: true
      processing:
        description:
          - For V(redis_list), which needs it, the keys with what is worked at now; lists, sets, sorted sets or hashes.
            What waits elsewhere counts where its key is named, too, such as C(rq:scheduled:NAME) and
            C(rq:deferred:NAME) of RQ.
          - An empty list says that workers leave no trace of that; then only an empty queue is waited for.
        type: list
        elements: str
      groups:
        description: For V(redis_stream), the consumer groups that count; all that it has by default.
        type: list
        elements: str
      priorities:
        description: For V(celery), the C(priority_steps) of its broker's transport options.
        type: list
        elements: int
        default: [3, 6, 9]
      prefix:
        description: For V(celery), the C(global_keyprefix) of its broker's transport options.
        type: str
        default: ''
      ask_workers:
        description:
          - For V(celery), whether its workers are asked what they do, once nothing is left in Redis. By default Celery
            acknowledges a task when it begins, so that nothing else shows it.
          - V(false) is for an application whose tasks are all acknowledged late (C(acks_late)).
        type: bool
        default: true
      host:
        description: Where Redis is.
        type: str
        default: 127.0.0.1
      port:
        description: Its port; 6379 by default.
        type: int
      db:
        description: The number of its database.
        type: int
        default: 0
      url:
        description: For V(rabbitmq), the address of its management API, without a user or a password.
        type: str
        default: http://127.0.0.1:15672
      vhost:
        description: For V(rabbitmq), the virtual host.
        type: str
        default: /
      ca_path:
        description: For V(rabbitmq), a file with the certificates that are trusted.
        type: path
      user:
        description: As whom it is asked; for V(rabbitmq) C(guest) by default.
        type: str
      password_file:
        description: A file on the host that this runs on, which holds the password.
        type: path
  timeout:
    description: Seconds to wait.
    type: float
    default: 300
  state:
    description: What the call before has come to; set by the action plugin, which calls this module again and again.
    type: dict
seealso:
  - module: bluegreen.cutover.freeze
"""

EXAMPLES = r"""
- name: Wait until the workers are done
  bluegreen.cutover.queue_drain:
    timeout: 600
    queues:
      - provider: celery
        name: celery
        password_file: /etc/bluegreen-cutover/redis.password
      - provider: redis_stream
        name: orders
        groups: [billing, shipping]
        password_file: /etc/bluegreen-cutover/redis.password
      - provider: rabbitmq
        name: mails
        user: monitor
        password_file: /etc/bluegreen-cutover/rabbitmq.password
  delegate_to: data
"""

RETURN = r"""
drained:
  description: Whether all queues are empty, and stayed so. In check mode, whether they were empty when it looked.
  returned: when the queues could be read
  type: bool
depths:
  description:
    - What each queue had at the last look, by name. How much is C(waiting) and C(in_flight), null where that cannot be
      seen; the C(parts) of these numbers; and why they are C(unknown), where they are.
    - Of what comes and goes between two looks, C(touched) is whether there was something since the look before;
      C(moves) is the server's number that grows with it, null where it has none, and C(late) is how many seconds that
      may be behind. C(unwatched) is why none of it is known, and empty where it is.
  returned: when the queues could be read
  type: dict
  sample:
    orders:
      {waiting: 0, in_flight: 0, moves: 812, late: 0.0, touched: false, unwatched: "",
       parts: {"billing: lag": 0, "billing: pending": 0}, unknown: ""}
described:
  description: The same in one line.
  returned: when the queues could be read
  type: str
  sample: "'orders': 0 waiting, 0 in flight, quiet for 2 s"
looks:
  description: How many times it has looked.
  returned: when the queues could be read
  type: int
waited:
  description: Seconds that it took.
  returned: when the queues could be read, but not in check mode
  type: float
state:
  description: What O(state) of the next call needs.
  returned: when the queues could be read
  type: dict
reason:
  description: A stable word for the kind of failure.
  returned: failure
  type: str
  sample: queue
evidence:
  description: What was seen when it failed.
  returned: failure
  type: dict
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import CutoverError
from ansible_collections.bluegreen.cutover.plugins.module_utils._queue_drain import PROVIDERS, Drain
from ansible_collections.bluegreen.cutover.plugins.module_utils._queues import (
    celery,
    rabbitmq,
    redis_list,
    redis_stream,
)

QUEUE: dict[str, Any] = {
    "provider": {"type": "str", "required": True, "choices": list(PROVIDERS)},
    "name": {"type": "str", "required": True},
    **redis_list.OPTIONS,
    **redis_stream.OPTIONS,
    **celery.OPTIONS,
    **rabbitmq.OPTIONS,
}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "queues": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": QUEUE,
                "required_if": [("provider", "redis_list", ("processing",))],
            },
            "timeout": {"type": "float", "default": 300},
            "state": {"type": "dict"},
        },
        supports_check_mode=True,
    )
    given = module.params
    told: dict[str, str] = {}
    try:
        drain = Drain(given["queues"], given["state"])
        told["described"] = drain.describe()
        if module.check_mode:
            drain.look()
        drained = drain.zeros > 0 if module.check_mode else drain.wait(given["timeout"])
    except CutoverError as error:
        module.fail_json(**error.as_result(), **told)
    if drained:
        for name, depth in drain.last.items():
            if depth.unwatched:
                module.warn(f"the producers of the queue {name!r} were not watched: {depth.unwatched}")
    module.exit_json(
        changed=False,
        drained=drained,
        depths=drain.state["last"],
        described=drain.describe(),
        looks=drain.looks,
        state=drain.state,
    )


if __name__ == "__main__":
    main()
