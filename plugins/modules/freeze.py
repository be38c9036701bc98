#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: freeze
short_description: Hold the writers of a service for a while, and let them go again
version_added: 0.1.0
description:
  - Holds who writes to a service's database, so that what is copied meanwhile belongs together.
  - O(pgbouncer) pauses a database of PgBouncer. Transactions end, none begins, and clients wait; none of them fails.
    When a transaction does not end within O(wait), the database is resumed, and the module fails and says whose it is.
  - O(read_only) makes read-only what connects from now on. That is advice, which PostgreSQL does not enforce. The
    sessions that may still write are listed, and when it is over, what was written is counted.
  - Whatever becomes of the run that holds them, a timer of systemd on this host lets them go O(limit) seconds later.
    The timer is there before anybody is held, and survives a reboot.
  - To be run as root, on a host that reaches the database, always the same one for a service.
author:
  - bluegreen.cutover contributors (@bluegreen)
extends_documentation_fragment:
  - bluegreen.cutover.attributes
attributes:
  check_mode:
    support: full
    details: It asks the servers whether they can be held, and holds nobody.
  diff_mode:
    support: none
  idempotent:
    support: full
requirements:
  - python3-psycopg2 on that host
options:
  state:
    description:
      - V(frozen) holds them. What an earlier run of this service left is let go first.
      - V(thawed) lets them go. It fails with RV(reason=freeze) where the run with O(token) held them, and they were let
        go before by the timer or by somebody else; they are not held any more then either.
    type: str
    required: true
    choices: [frozen, thawed]
  service:
    description: The service's name.
    type: str
    required: true
  state_dir:
    description: Where it is remembered who is held.
    type: path
    default: /var/lib/bluegreen-cutover
  token:
    description:
      - The token of the run, from M(bluegreen.cutover.migration). Needed for V(frozen), but for check mode.
      - V(thawed) without it lets go whoever is held by any run. That run is told, and fails, when it comes to let them
        go itself.
    type: int
  limit:
    description:
      - Seconds that they are held at most, after O(wait).
      - PgBouncer must be more patient than both together (C(query_wait_timeout)), or nobody is held.
    type: float
    default: 30
  wait:
    description: Seconds that open transactions get to end.
    type: float
    default: 5
  pgbouncer:
    description: A database of PgBouncer, which serves it in transaction mode or statement mode.
    type: dict
    suboptions:
      database:
        description: The name of the database, as clients know it there.
        type: str
        required: true
      host:
        description: Where the server is, an address or the folder of its socket.
        type: str
        default: 127.0.0.1
      port:
        description: Its port.
        type: int
        default: 6432
      user:
        description: One of its C(admin_users).
        type: str
        default: pgbouncer
      password_file:
        description: A file on this host that holds the password. Without it libpq looks where it always does.
        type: path
  read_only:
    description: A database of PostgreSQL.
    type: dict
    suboptions:
      database:
        description: Its name.
        type: str
        required: true
      host:
        description: Where the server is, an address or the folder of its socket.
        type: str
        default: 127.0.0.1
      port:
        description: Its port.
        type: int
        default: 5432
      user:
        description:
          - The database's owner, or a superuser. Of the sessions of others it can end and tell more when it is a member
            of C(pg_signal_backend) and C(pg_read_all_stats).
        type: str
        default: postgres
      password_file:
        description: A file on this host that holds the password. Without it libpq looks where it always does.
        type: path
seealso:
  - module: bluegreen.cutover.migration
  - module: bluegreen.cutover.queue_drain
"""

EXAMPLES = r"""
- name: Hold the clients of the database
  bluegreen.cutover.freeze:
    state: frozen
    service: shop
    token: "{{ cutover_run.token }}"
    limit: 20
    pgbouncer:
      database: shop
      user: cutover
      password_file: /etc/bluegreen-cutover/pgbouncer.password
  delegate_to: data

- name: Let them go
  bluegreen.cutover.freeze:
    state: thawed
    service: shop
    token: "{{ cutover_run.token }}"
  delegate_to: data
"""

RETURN = r"""
seen:
  description: With V(frozen), what was seen of the writers of each provider when they were held.
  returned: when O(state=frozen)
  type: dict
  contains:
    read_only:
      description: The sessions that C(remaining) of before, which may go on writing, and the roles with a default of
        their own that C(overrides) this one.
      type: dict
      returned: when O(read_only) is held
  sample: {pgbouncer: {}, read_only: {remaining: [], overrides: []}}
held:
  description: Seconds from when the first was held until the last was let go.
  returned: when O(state=thawed)
  type: float
  sample: 1.214
told:
  description: With V(thawed), what is known of each provider now that it is over.
  returned: when O(state=thawed)
  type: dict
  contains:
    pgbouncer:
      description: The C(longest_wait) of a client in seconds, as PgBouncer told it just before the end.
      type: dict
      returned: when they were held by O(pgbouncer)
    read_only:
      description:
        - C(written) rows meanwhile, as far as statistics tell it already.
        - How many idle sessions were C(ended), because they had begun meanwhile and would have stayed read-only, and
          which of those C(still_read_only) are there.
      type: dict
      returned: when they were held by O(read_only)
  sample: {pgbouncer: {longest_wait: 1.207}}
reason:
  description: A stable word for the kind of failure.
  returned: failure
  type: str
  sample: freeze
evidence:
  description: What was seen when it failed.
  returned: failure
  type: dict
"""

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import CutoverError, InputError
from ansible_collections.bluegreen.cutover.plugins.module_utils._freezing import Freezer
from ansible_collections.bluegreen.cutover.plugins.module_utils._stores.files import FileStore
from ansible_collections.bluegreen.cutover.plugins.module_utils._writers import pgbouncer, read_only
from ansible_collections.bluegreen.cutover.plugins.module_utils._writers._session import PSYCOPG2_PROBLEM

WRITERS = {"pgbouncer": pgbouncer.OPTIONS, "read_only": read_only.OPTIONS}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "required": True, "choices": ["frozen", "thawed"]},
            "service": {"type": "str", "required": True},
            "state_dir": {"type": "path", "default": "/var/lib/bluegreen-cutover"},
            "token": {"type": "int", "no_log": False},
            "limit": {"type": "float", "default": 30},
            "wait": {"type": "float", "default": 5},
            **{name: {"type": "dict", "options": options} for name, options in WRITERS.items()},
        },
        required_if=[("state", "frozen", tuple(WRITERS), True)],
        supports_check_mode=True,
    )
    given = module.params
    writers = {name: given[name] for name in WRITERS if given[name] is not None}
    if PSYCOPG2_PROBLEM:
        module.fail_json(msg=missing_required_lib("psycopg2"), exception=PSYCOPG2_PROBLEM)
    try:
        freezer = Freezer(FileStore(given["state_dir"], given["service"]))
        if given["state"] == "thawed":
            result = freezer.thaw(given["token"], check_mode=module.check_mode)
        elif given["token"] is None and not module.check_mode:
            raise InputError("who holds writers needs the token of the run; it is cutover_run.token")
        else:
            times = {"wait": given["wait"], "limit": given["limit"]}
            result = freezer.freeze(given["token"], writers, check_mode=module.check_mode, **times)
    except CutoverError as error:
        module.fail_json(**error.as_result())
    module.exit_json(**result)


if __name__ == "__main__":
    main()
