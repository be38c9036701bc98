# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs on the router host, with the guard's own program as its library: confirmations beside a firing, round by round.

    python3 guard_race.py PLAN.json ROUNDS

Prints one JSON line per round: the offset of the confirmation from the deadline in ms, its outcome, and what was left.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from pathlib import Path
from typing import Any


def main(plan: dict[str, Any], rounds: int) -> None:
    folder = Path(plan["state_dir"], plan["service"])
    library = folder.with_name("library.pyz")
    sys.path.insert(0, str(library))
    package = "ansible_collections.bluegreen.cutover.plugins.module_utils"
    core = ("errors", "guard", "journal", "lease")
    errors, guard, journal, lease = (importlib.import_module(f"{package}._core.{name}") for name in core)
    guarding, service, guardian = (
        importlib.import_module(f"{package}.{name}") for name in ("_guarding", "_guard_service", "_guardian")
    )
    routing = importlib.import_module(f"{package}._routing")
    run = importlib.import_module(f"{package}._command").run
    store = importlib.import_module(f"{package}._stores.files").FileStore(plan["state_dir"], plan["service"])
    shop, router = guardian.routed(guard.target(plan))
    short = {**plan, "guard": {**plan["guard"], "time": 0.5}}
    for number in range(rounds):
        with store.locked():
            state, now = journal.fold(store.read_journal()), time.time()
            owner = {"user": "race", "host": "router", "pid": number}
            taken = lease.acquire(
                "shop", store.read_lease(), owner=owner, kind="rollback", reason="race", now=now, ttl=120,
                last_token=max(store.read_fence(), state.token), holder_dead=True,
            )  # fmt: skip
            token = taken["token"]
            store.write_lease(taken)
            told = {"from": "blue", "to": "green", "subject": state.subject, "owner": owner, "reason": "race"}
            store.record(token, now, "began", weight=router.read().weight, **told)
        with store.locked():
            document = guard.arm(store.read_guard(), plan, token, guarding.moment())
            service.install(store, guardian.main, python=sys.executable)
            store.write_guard(document)
        service.start(store, run, time, anew=guarding.heard("shop") is None)
        routing.change_weight(router, shop, 50, store=store, token=token)
        # Little time, now that all is there.
        with store.locked():
            document = guard.arm(store.read_guard(), short, token, guarding.moment())
            store.write_guard(document)
        # Most of them within some ms of it, and the outermost so far away that each has one outcome on any machine.
        offset = 0.4 * (2 * number / (rounds - 1) - 1) ** 3
        while time.clock_gettime(time.CLOCK_BOOTTIME) < document["deadline"] + offset:
            pass
        try:
            guarding.confirm(store, token, time.time())
            outcome = "confirmed"
        except errors.FencedError:
            outcome = "fenced"
        # What a confirmed run would do next, or a fenced one must not.
        try:
            routing.change_weight(router, shop, 60, store=store, token=token)
            went_on = True
        except errors.FencedError:
            went_on = False
        until = time.monotonic() + 60
        while store.read_guard() is not None and time.monotonic() < until:
            time.sleep(0.02)
        time.sleep(0.3)
        reading = router.read()
        fired = any(
            event["kind"] == "guard_fired" and event["token"] > token
            for event in store.read_journal()["migrations"][-1]["events"]
        )
        left = {"weight": reading.weight, "persisted": reading.persisted, "armed": store.read_guard() is not None}
        line = {"offset_ms": round(offset * 1000, 1), "outcome": outcome, "went_on": went_on, "fired": fired, **left}
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text()), int(sys.argv[2]))
