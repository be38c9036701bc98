# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""R-B9: a real ansible-playbook asks at a real terminal for the words that allow a step, and without one it fails."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PLAY = """
- hosts: nowhere
  gather_facts: false
  tasks:
    - bluegreen.cutover.confirm:
        phrase: DEPLOY NEXTSTEP PROD
        step: the promotion
        variable: promote_confirm
        timeout: 120
"""


def command(tmp_path: Path) -> list[str]:
    book = tmp_path / "play.yml"
    book.write_text(PLAY)
    return [str(Path(sys.executable).parent / "ansible-playbook"), "--inventory", "nowhere,", str(book)]


ENVIRONMENT = {**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "collections"), "TERM": "dumb"}


@pytest.mark.parametrize(("typed", "status"), [("DEPLOY NEXTSTEP PROD", 0), ("deploy nextstep prod", 2)])
def test_r_b9_the_words_are_asked_for_at_a_terminal(tmp_path: Path, typed: str, status: int) -> None:
    ours, theirs = pty.openpty()
    # The terminal has to be the run's own, or it would be one in the background.
    own = "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
    run = subprocess.Popen(
        [sys.executable, "-c", own, *command(tmp_path)],
        env=ENVIRONMENT,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    said, deadline = b"", time.monotonic() + 110
    sent = 0.0
    try:
        while time.monotonic() < deadline:
            if select.select([ours], [], [], 0.2)[0]:
                try:
                    said += os.read(ours, 65536)
                except OSError:
                    break  # it has ended
            # Ansible throws away what was typed before it listens; until it ends, somebody types again.
            listens = b"Type them within 120 s" in said and not termios.tcgetattr(ours)[3] & termios.ICANON
            if listens and time.monotonic() > sent + 2:
                os.write(ours, typed.encode() + b"\r")
                sent = time.monotonic()
        assert run.wait(30) == status, said.decode()
    finally:
        run.kill()
        os.close(ours)
    assert sent


def test_without_a_terminal_it_fails_at_once(tmp_path: Path) -> None:
    began = time.monotonic()
    done = subprocess.run(
        command(tmp_path),
        env=ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 2
    assert "needs the words 'DEPLOY NEXTSTEP PROD', and none were given" in done.stdout
    # It has not waited for anybody.
    assert time.monotonic() - began < 100
