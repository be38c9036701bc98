# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab that integration tests run against. Without it they fail; none is skipped."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import load
import pytest

ROOT = Path(__file__).resolve().parents[2]
NAME = "-".join(filter(None, (os.environ.get("LAB_NAME") or "cutover", os.environ.get("PYTEST_XDIST_WORKER"))))
"""Tests that run side by side have a lab each."""
RECAP = re.compile(r"^(\S+)\s+: ((?:\w+=\d+\s*)+)$", re.MULTILINE)
AT_ONCE: dict[str, Any] = {
    "cutover_steps": [{"share": 100}],
    "cutover_gate": None,
    "cutover_performance": None,
    "cutover_rehearsal": {"required": False},
}
"""Of the inventory nextgeneration: the shortest way, with nothing that takes its time. What that inventory asks for is
in test_nextgeneration.py.
"""


@dataclass(frozen=True)
class Run:
    """An ansible-playbook that has ended. ``recap`` counts by host: ``run.recap["app1"]["changed"]``."""

    rc: int
    stdout: str
    recap: dict[str, dict[str, int]]

    @property
    def changed(self) -> int:
        return sum(counts["changed"] for counts in self.recap.values())

    @property
    def changed_tasks(self) -> list[str]:
        """Names of the tasks that changed something, without their role."""
        parts = re.split(r"^TASK \[", self.stdout, flags=re.MULTILINE)[1:]
        changed = [part.partition("]")[0] for part in parts if re.search(r"^changed:", part, re.MULTILINE)]
        return [name.rpartition(" : ")[2] for name in changed]

    def ok(self) -> Run:
        """This run, if it succeeded and looked at a host: ansible-playbook also exits 0 when it matched none."""
        assert self.rc == 0, f"exit status {self.rc}\n{self.stdout}"
        assert self.recap, f"no host matched\n{self.stdout}"
        return self


class Lab:
    def __init__(self, name: str, scratch: pytest.TempPathFactory) -> None:
        self.name = name
        self.state = Path("/run/bluegreen-lab") / name
        self._scratch = scratch

    def command(self, *arguments: str, timeout: float = 900) -> str:
        """Run lab/lab.py and return what it said."""
        done = subprocess.run(
            [sys.executable, str(ROOT / "lab" / "lab.py"), *arguments],
            env=os.environ | {"LAB_NAME": self.name},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        assert done.returncode == 0, f"lab.py {' '.join(arguments)}: {done.stdout}{done.stderr}"
        return done.stdout

    def renew(self, inventory: str | None = None) -> None:
        """New hosts, blue serving; with an inventory also its router set up."""
        self.command("down")
        self.command("up")
        if inventory:
            self.playbook("router", inventory).ok()

    def address(self, host: str) -> str:
        recorded = json.loads((self.state / "lab.json").read_text())
        return str(recorded["hosts"][host]["address"])

    def ssh(self, host: str, command: str, *, check: bool = True, timeout: float = 180) -> str:
        """Run a shell command on a host and return its output."""
        done = subprocess.run(
            ["ssh", "-F", str(self.state / "ssh_config"), host, command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        assert done.returncode == 0 or not check, f"{host}: {command}: exit status {done.returncode}: {done.stderr}"
        return done.stdout

    def environment(self, collections: Path | None = None) -> dict[str, str]:
        """What ansible-playbook needs: this checkout's collection, or the one installed under ``collections``."""
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        return os.environ | {
            "ANSIBLE_COLLECTIONS_PATH": str(collections or ROOT / "collections"),
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_NOCOLOR": "1",
            "LAB_NAME": self.name,
            "PATH": path,
        }

    def start(
        self,
        playbook: str,
        inventory: str | Path = "local",
        extra_vars: Mapping[str, Any] | None = None,
        *,
        arguments: Sequence[str] = (),
        collections: Path | None = None,
    ) -> subprocess.Popen[str]:
        """Start ansible-playbook in a process group of its own, for tests that kill it.

        ``playbook`` is a name in playbooks/, or a full name like bluegreen.cutover.cutover, or a path.
        ``inventory`` is a name in inventories/, or a path.
        """
        named = f"{ROOT}/playbooks/{playbook}.yml"
        command = ["ansible-playbook", playbook if "." in playbook else named]
        command += ["--inventory", str(ROOT / "inventories" / inventory)]
        command += ["--extra-vars", json.dumps(dict(extra_vars or {})), *arguments]
        return subprocess.Popen(
            command,
            cwd=self.state,
            env=self.environment(collections),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    @staticmethod
    def processes() -> Iterator[tuple[int, int, str]]:
        """Id, parent's id and command line of every process of this machine."""
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):  # it has ended meanwhile
                parent = int(stat.read_text().rpartition(")")[2].split()[1])  # "pid (any name) state parent …"
                command = stat.with_name("cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                yield int(stat.parent.name), parent, command

    @staticmethod
    def kill(process: subprocess.Popen[str]) -> str:
        """SIGKILL a process and all that it has started, each by its id; return what it had said.

        A worker of ansible-playbook is in a session of its own: what kills the process group does not reach it. Each is
        stopped first, so that it starts nothing more while those that it has started are looked for.
        """
        ids: list[int] = []
        found = [process.pid]
        while found:
            for pid in found:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGSTOP)
            ids += found
            found = [pid for pid, parent, _command in Lab.processes() if parent in ids and pid not in ids]
        for pid in ids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return process.communicate()[0]

    def finish(self, process: subprocess.Popen[str], timeout: float = 600) -> Run:
        """Wait for what ``start`` started; what takes longer is killed whole, and fails."""
        try:
            stdout, _nothing = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            stdout = self.kill(process)
            pytest.fail(f"{process.args!r} took more than {timeout:.0f} s\n{stdout}")
        counts = {
            host: {name: int(count) for name, count in (field.split("=") for field in fields.split())}
            for host, fields in RECAP.findall(stdout)
        }
        return Run(process.returncode, stdout, counts)

    def playbook(
        self,
        playbook: str,
        inventory: str | Path = "local",
        extra_vars: Mapping[str, Any] | None = None,
        *,
        check: bool = False,
        arguments: Sequence[str] = (),
        collections: Path | None = None,
        timeout: float = 600,
    ) -> Run:
        """Run a playbook to its end, whatever that is."""
        added = [*arguments, "--check"] if check else arguments
        return self.finish(
            self.start(playbook, inventory, extra_vars, arguments=added, collections=collections), timeout
        )

    def load(self, target: str, **plan: Any) -> AbstractContextManager[load.Background]:
        """Load beside the block; see ``load.Plan`` for its fields. Ask ``result()`` after the block."""
        return load.background(load.Plan(target, **plan), self._scratch.mktemp("load"))


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A lab of this run's own. With LAB_KEEP=1 the one that runs is used, and runs on."""
    keep = os.environ.get("LAB_KEEP") == "1"
    the_lab = Lab(NAME, tmp_path_factory)
    if keep:
        the_lab.command("up")
    else:
        the_lab.renew()
    yield the_lab
    if not keep:
        the_lab.command("down")
