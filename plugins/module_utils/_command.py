# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Commands of the host: one that is run with an end, and several that are joined by pipes."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Any

#: Runs a command with an end: argument vector, seconds → exit status, standard output, standard error.
Run = Callable[[Sequence[str], float], "tuple[int, str, str]"]

#: Exit status when the time has ended, as timeout(1) has it, and when there is no such command, as a shell has it.
TIMED_OUT = 124
CANNOT_RUN = 127


def environment() -> dict[str, str]:
    """What a child gets as its environment, so that its answers come in English and UTC."""
    return {**os.environ, "LC_ALL": "C.UTF-8", "TZ": "UTC"}


def run(argv: Sequence[str], seconds: float) -> tuple[int, str, str]:
    """Run a command for at most ``seconds``; its answers come in English and UTC.

    Not AnsibleModule.run_command: that has no end, and now and then it sleeps for a second after the command's own.
    """
    try:
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=seconds,
            env={**environment(), "SYSTEMD_COLORS": "0", "SYSTEMD_PAGER": ""},
            check=False,
        )
    except subprocess.TimeoutExpired:
        return TIMED_OUT, "", f"it did not end within {seconds:.0f} s"
    except OSError as error:
        return CANNOT_RUN, "", str(error)
    return done.returncode, done.stdout, done.stderr


_PIPE = 1 << 20
"""Bytes that a pipe is to hold: as many as one of an unprivileged user may."""
_CHUNK = 256 << 10
"""Bytes that a tap is given at once: few enough to be in the processor's own memory still when it comes to them."""
_LIBC = ctypes.CDLL(None, use_errno=True)  # os has no tee
_LIBC.tee.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_size_t, ctypes.c_uint]
_LIBC.tee.restype = ctypes.c_ssize_t
_TICK = 5.0
"""Seconds between two signs of life."""
_GRACE = 5.0
"""Seconds that a command has to end by itself when it is told to."""
_F_SETPIPE_SZ = 1031  # fcntl.F_SETPIPE_SZ is only in Python 3.10
_SAID = 2000
"""Characters of what a command said that are kept: its last ones."""


@dataclass(frozen=True)
class Ended:
    """A command that has ended, with the end of what it said on standard error."""

    argv: tuple[str, ...]
    status: int
    said: str


def failure(ended: Sequence[Ended]) -> str:
    """Which of the commands failed, and what they said; empty where none has."""
    failed = [one for one in ended if one.status]
    # Who is ended because nobody reads any more says nothing that the reader does not.
    told = [one for one in failed if one.status != -signal.SIGPIPE] or failed
    return "; ".join(f"{one.argv[0]} ended with status {one.status}: {one.said or 'it said nothing'}" for one in told)


def pipeline(
    commands: Sequence[Sequence[str]],
    *,
    source: int | None = None,
    sink: int | None = None,
    tap: Callable[[memoryview], Any] | None = None,
    tick: Callable[[], Any] = lambda: None,
    variables: Mapping[str, str] | None = None,
) -> list[Ended]:
    """Run one or two commands, the first one's output being the second one's input; return how they ended.

    ``source`` and ``sink`` are descriptors of what the first reads and the last writes; nothing without. ``tap`` is
    given all that the first one writes, each time in the same memory. ``tick`` is called every few seconds. Whatever is
    raised meanwhile, by a signal too, none of the commands is left. Raises OSError where one cannot be started.
    """
    with contextlib.ExitStack() as stack:
        spoken: list[IO[bytes]] = []
        running: list[subprocess.Popen[bytes]] = []
        for index, argv in enumerate(commands):
            last = index == len(commands) - 1
            spoken.append(stack.enter_context(tempfile.TemporaryFile()))
            given: int | IO[bytes] | None = subprocess.DEVNULL if source is None else source
            if index:
                given = subprocess.PIPE if tap else running[0].stdout
            wanted = subprocess.PIPE if not last or (tap and index == 0) else sink
            one = subprocess.Popen(
                argv,
                stdin=given,
                stdout=subprocess.DEVNULL if wanted is None else wanted,
                stderr=spoken[-1],
                env={**environment(), **(variables or {})},
            )
            stack.callback(end, one)
            running.append(one)
        if tap:
            _copy(running[0], running[1] if len(running) > 1 else None, tap, tick)
        elif len(running) > 1 and running[0].stdout is not None:
            widen(running[0].stdout)
            # So that the first one is told when the second one has gone.
            running[0].stdout.close()
        for one in running:
            _wait(one, tick)
        return [Ended(tuple(argv), one.returncode, _last(said)) for argv, one, said in zip(commands, running, spoken)]


def _copy(
    first: subprocess.Popen[bytes],
    second: subprocess.Popen[bytes] | None,
    tap: Callable[[memoryview], Any],
    tick: Callable[[], Any],
) -> None:
    """All that the first one writes, to ``tap`` and to the second one."""
    out = first.stdout.fileno() if first.stdout else -1
    into = second.stdin if second else None
    for end in filter(None, (first.stdout, into)):
        widen(end)
    due = time.monotonic() + _TICK
    buffer = memoryview(bytearray(_CHUNK))
    try:
        while size := _tee(out, into.fileno()) if into else _CHUNK:
            got = os.readv(out, [buffer[:size]])
            # The second one has been given as much as was there, and nothing must be left out here.
            while into and got < size:
                got += os.readv(out, [buffer[got:size]])
            if not got:
                break
            tap(buffer[:got])
            if time.monotonic() >= due:
                due = time.monotonic() + _TICK
                tick()
    except BrokenPipeError:
        pass  # the second one has ended, and says why
    finally:
        for end in filter(None, (first.stdout, into)):
            with contextlib.suppress(BrokenPipeError):
                end.close()


def widen(pipe: IO[bytes]) -> None:
    """Have a pipe hold so much that its two ends seldom wait for each other."""
    with contextlib.suppress(OSError):  # more than an unprivileged user may have: then it takes longer
        fcntl.fcntl(pipe.fileno(), _F_SETPIPE_SZ, _PIPE)


def _tee(source: int, into: int) -> int:
    """Have the kernel give one pipe what there is in another, which keeps it, and no byte is copied; how much it was.

    As much as to write it again costs the hashing of it. Waits until there is something; 0 at the end. Raises OSError.
    """
    while (size := _LIBC.tee(source, into, _CHUNK, 0)) < 0:
        number = ctypes.get_errno()
        if number != errno.EINTR:
            raise OSError(number, os.strerror(number))
    return int(size)


def _wait(one: subprocess.Popen[bytes], tick: Callable[[], Any]) -> None:
    while True:
        try:
            one.wait(_TICK)
            return
        except subprocess.TimeoutExpired:
            tick()


def end(one: subprocess.Popen[bytes]) -> None:
    """Leave nothing of a command, whatever it was doing."""
    if one.poll() is None:
        try:
            # So that git removes its locks, which nobody could work with afterwards.
            one.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                one.wait(_GRACE)
        finally:
            # Also where a signal has ended the wait; of one that has ended, nothing is killed.
            one.kill()
            one.wait()
    for pipe in filter(None, (one.stdin, one.stdout)):
        with contextlib.suppress(OSError):
            pipe.close()


def _last(said: IO[bytes]) -> str:
    size = said.seek(0, os.SEEK_END)
    said.seek(max(0, size - _SAID))
    return said.read().decode("utf-8", "replace").strip()
