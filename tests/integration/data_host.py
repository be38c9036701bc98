# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's host data: its stores' passwords, PgBouncer and RabbitMQ once they are asked for, and modules run there."""

from __future__ import annotations

import json
import shlex
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import subprocess

    from .conftest import Lab, Run

HOST = "data"
BOUNCER = 6432
PASSWORDS = "/root/passwords"
"""Where each password of the lab is on that host, as a file of its name."""
REMEMBERED = "/var/lib/bluegreen-cutover/shop"


@dataclass
class Data:
    """The host, of one lab."""

    lab: Lab
    scratch: Path

    def run(self, command: str, *, check: bool = True, timeout: float = 180) -> str:
        return self.lab.ssh(HOST, command, check=check, timeout=timeout)

    def put(self, path: str, text: str) -> None:
        self.run(f"cat > {path} <<'END_OF_FILE'\n{text}\nEND_OF_FILE")

    def furnish(self) -> None:
        """Write the passwords where modules find them."""
        secrets: dict[str, str] = json.loads((self.lab.state / "secrets.json").read_text())
        self.run(f"mkdir -p -m 0700 {PASSWORDS}")
        for name, password in secrets.items():
            self.put(f"{PASSWORDS}/{name}", password)

    def psql(self, query: str, *, port: int = 5432, user: str = "shop", database: str = "shop") -> str:
        """What a query answers, without headings."""
        given = f"-h 127.0.0.1 -p {port} -U {user} -d {database} -qtA -v ON_ERROR_STOP=1"
        return self.run(f"PGPASSWORD=$(cat {PASSWORDS}/{user}) psql {given} <<'END'\n{query}\nEND").strip()

    def console(self, query: str) -> str:
        return self.psql(query, port=BOUNCER, user="lab", database="pgbouncer")

    def is_paused(self, database: str = "shop") -> bool:
        rows = [line.split("|") for line in self.console("SHOW DATABASES").splitlines()]
        return next(row[-2] == "1" for row in rows if row[0] == database)

    @contextmanager
    def working(self, queue: str) -> Iterator[None]:
        """Two jobs in a list of Redis, and a worker that does them two seconds after somebody asked how long it is."""
        redis = f"REDISCLI_AUTH=$(cat {PASSWORDS}/redis) redis-cli"
        self.run(f"{redis} RPUSH {queue} one two; {redis} CONFIG RESETSTAT")

        def work() -> None:
            asked = f"{redis} INFO commandstats | grep -q cmdstat_llen"
            self.run(f"timeout 170 sh -c {shlex.quote(f'until {asked}; do sleep 0.1; done')}")
            time.sleep(2)
            self.run(f"{redis} DEL {queue}")

        worker = threading.Thread(target=work)
        worker.start()
        try:
            yield
        finally:
            worker.join()

    def inventory(self) -> Path:
        """An inventory with that host, beside the local one, whose variables it gets."""
        path = self.scratch / "data.yml"
        path.write_text(json.dumps({"all": {"hosts": {HOST: None}}}))
        return path

    def start(self, *wanted: dict[str, Any]) -> subprocess.Popen[str]:
        """Start a play that runs modules one after the other, well or not; see ``call``."""
        tasks: list[dict[str, Any]] = []
        for index, arguments in enumerate(wanted):
            given = {name: value for name, value in arguments.items() if name not in ("do", "check")}
            name = arguments["do"] if "." in arguments["do"] else f"bluegreen.cutover.{arguments['do']}"
            common = {"register": f"answer{index}", "ignore_errors": True, "check_mode": arguments.get("check", False)}
            tasks.append({name: given, **common})
        names = ", ".join(f"answer{index}" for index in range(len(wanted)))
        report = {"content": f"{{{{ [{names}] | to_json }}}}", "dest": str(self.scratch / "answers.json")}
        tasks.append({"ansible.builtin.copy": {**report, "mode": "0600"}, "delegate_to": "localhost"})
        playbook = self.scratch / "call.yml"
        playbook.write_text(json.dumps([{"hosts": HOST, "gather_facts": False, "tasks": tasks}]))
        return self.lab.start(str(playbook), arguments=["--inventory", str(self.inventory())])

    def play(self, *wanted: dict[str, Any]) -> Run:
        return self.lab.finish(self.start(*wanted)).ok()

    def call(self, *wanted: dict[str, Any]) -> list[dict[str, Any]]:
        """What each module answered; each is given as its arguments, with its name under ``do``, and ``check: True``
        where it is to run in check mode.
        """
        self.play(*wanted)
        return self.answers()

    def answers(self) -> list[dict[str, Any]]:
        told: list[dict[str, Any]] = json.loads((self.scratch / "answers.json").read_text())
        return told
