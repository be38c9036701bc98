# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Commands of the host."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.bluegreen.cutover.plugins.module_utils import _command
from ansible_collections.bluegreen.cutover.plugins.module_utils._command import end, failure, pipeline, run


def test_a_command_has_an_end_and_speaks_english(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    # Not Python, which alone takes longer than a unit test may.
    assert run(["sh", "-c", "echo $LC_ALL $TZ; exit 3"], 5) == (3, "C.UTF-8 UTC\n", "")
    assert run(["sleep", "5"], 0.02) == (124, "", "it did not end within 0 s")
    status, _out, err = run(["/nonexistent/systemctl"], 5)
    assert status == 127
    assert "/nonexistent/systemctl" in err


def test_two_commands_are_joined_and_what_goes_through_is_seen(tmp_path: Path) -> None:
    seen = bytearray()
    with open(tmp_path / "out", "wb") as sink, open(os.devnull, "rb") as source:
        commands = [["sh", "-c", "echo one; echo two >&2"], ["tr", "a-z", "A-Z"]]
        ended = pipeline(commands, source=source.fileno(), sink=sink.fileno(), tap=seen.extend)
    assert bytes(seen) == b"one\n"
    assert (tmp_path / "out").read_bytes() == b"ONE\n"
    assert [(one.status, one.said) for one in ended] == [(0, "two"), (0, "")]
    assert failure(ended) == ""


def test_without_a_tap_the_pipe_is_the_kernels(tmp_path: Path) -> None:
    with open(tmp_path / "out", "wb") as sink:
        ended = pipeline([["echo", "one"], ["cat"]], sink=sink.fileno(), variables={"LC_ALL": "C"})
    assert (tmp_path / "out").read_bytes() == b"one\n"
    assert failure(ended) == ""


@pytest.mark.parametrize("tap", [None, lambda _chunk: None])
def test_who_fails_is_told_and_not_who_was_left_without_a_reader(tap: Callable[[bytes], None] | None) -> None:
    ended = pipeline([["yes"], ["sh", "-c", "echo full >&2; exit 3"]], tap=tap)
    assert failure(ended) == "sh ended with status 3: full"
    assert failure(pipeline([["sh", "-c", "exit 1"]], tap=tap)) == "sh ended with status 1: it said nothing"


def test_an_error_of_the_tap_ends_all_of_them() -> None:
    def refuse(_chunk: bytes) -> None:
        raise ValueError

    with pytest.raises(ValueError, match="^$"):
        pipeline([["yes"], ["cat"]], tap=refuse)


@pytest.mark.parametrize(("trap", "grace", "left"), [("rm $0; exit", 60, False), ("", 0.01, True)])
def test_who_is_ended_can_clean_up_and_who_does_not_end_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trap: str, grace: float, left: bool
) -> None:
    def refuse(_chunk: bytes) -> None:
        raise ValueError

    monkeypatch.setattr(_command, "_GRACE", grace)
    lock = tmp_path / "lock"
    script = f"trap '{trap}' TERM; : > $0; echo; while :; do :; done"
    with pytest.raises(ValueError, match="^$"):
        pipeline([["sh", "-c", script, str(lock)]], tap=refuse)
    assert lock.exists() == left


def test_who_ignores_its_end_is_killed_when_a_signal_ends_the_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_signal: int, _frame: Any) -> None:
        raise ValueError

    monkeypatch.setattr(_command, "_GRACE", 60)
    before = signal.signal(signal.SIGALRM, refuse)
    # It sends the signal when it is told to end: that is after the wait for it has begun.
    script = "trap 'kill -ALRM $PPID' TERM; echo; while :; do :; done"
    with subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE) as child:
        try:
            assert child.stdout is not None
            child.stdout.readline()
            with pytest.raises(ValueError, match="^$"):
                end(child)
            # Not asked for here: whoever ended it has waited for it, too.
            assert child.returncode == -signal.SIGKILL
        finally:
            child.kill()
            signal.signal(signal.SIGALRM, before)


def test_a_command_that_is_none_is_an_error_and_leaves_nothing_running() -> None:
    with pytest.raises(FileNotFoundError):
        pipeline([["yes"], ["/nonexistent/tool"]])
