# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What several routers share: a file replaced durably, a program run, and instances asked whether they are ready."""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import RouterError
from ansible_collections.bluegreen.cutover.plugins.module_utils._folders import sync_folder
from ansible_collections.bluegreen.cutover.plugins.module_utils._routers import Instance, Service

TIMEOUT = 2.0
"""Seconds for one answer of a router's control socket or of a readiness path."""

_PROGRAM_TIMEOUT = 10.0
_SET_UP = "Set the router up with the router role (playbooks/router.yml)"


def read_file(path: str) -> str:
    """The text at ``path``."""
    try:
        with open(path, encoding="utf-8") as handle:
            return handle.read()
    except (OSError, UnicodeDecodeError) as error:
        raise _file_error(path, "read", error) from error


def replace_file(path: str, text: str) -> None:
    """Replace the content of ``path`` durably: after any crash the old or the new text is there, whole.

    Owner and mode stay. The file must exist, because whoever set the router up chose them.
    """
    path = os.path.realpath(path)
    folder = os.path.dirname(path)
    try:
        before = os.stat(path)
        descriptor, scratch = tempfile.mkstemp(prefix=".", dir=folder)
        try:
            with open(descriptor, "w", encoding="utf-8") as handle:
                os.fchmod(descriptor, before.st_mode & 0o7777)
                os.fchown(descriptor, before.st_uid, before.st_gid)
                handle.write(text)
                handle.flush()
                os.fsync(descriptor)
            os.replace(scratch, path)
        except OSError:
            os.unlink(scratch)
            raise
        sync_folder(Path(folder))
    except OSError as error:
        raise _file_error(path, "written", error) from error


def _file_error(path: str, verb: str, error: Exception) -> RouterError:
    advice = _SET_UP if isinstance(error, FileNotFoundError) else "Look at that path on the router host and run again"
    return RouterError(f"{path} cannot be {verb}: {error}. {advice}", {"path": path})


def run_program(argv: Sequence[str], stdin: str = "") -> str:
    """Run a program without a shell and return its standard output."""
    command = " ".join(argv)
    try:
        done = subprocess.run(
            list(argv), input=stdin, capture_output=True, text=True, timeout=_PROGRAM_TIMEOUT, check=False
        )
    except FileNotFoundError as error:
        raise RouterError(f"{argv[0]} is not installed on the router host. {_SET_UP}", {"command": command}) from error
    except subprocess.TimeoutExpired as error:
        raise RouterError(
            f"'{command}' did not end within {_PROGRAM_TIMEOUT:.0f} s. Run it by hand on the router host",
            {"command": command},
        ) from error
    if done.returncode != 0:
        raise RouterError(
            f"'{command}' failed: {done.stderr.strip() or done.stdout.strip()}",
            {"command": command, "rc": done.returncode, "stderr": done.stderr, "stdin": stdin},
        )
    return done.stdout


def socket_error(program: str, path: str, error: OSError) -> RouterError:
    """What to tell when a control socket cannot be talked to."""
    if isinstance(error, FileNotFoundError):
        told = f"does not exist. Start {program} (systemctl start {program}); if it runs, its configuration lacks it: "
        told += _SET_UP[0].lower() + _SET_UP[1:]
    elif isinstance(error, PermissionError):
        told = "may not be used by this user. Run as root (become: true)"
    elif isinstance(error, ConnectionRefusedError):
        told = f"has nobody listening: {program} has ended. Start it (systemctl start {program})"
    elif isinstance(error, (TimeoutError, socket.timeout)):  # two errors on Python 3.9
        told = f"did not answer within {TIMEOUT:.0f} s. See 'systemctl status {program}'"
    else:
        told = f"failed: {error}. See 'systemctl status {program}'"
    return RouterError(f"{program}'s control socket {path} {told}", {"socket": path, "error": str(error)})


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=TIMEOUT)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(TIMEOUT)
        self.sock.connect(self._path)


def ask_socket(program: str, path: str, method: str, url: str) -> str:
    """The body of the answer to one HTTP request on a unix socket; any status but 200 is an error."""
    connection = _UnixConnection(path)
    try:
        connection.request(method, url)
        answer = connection.getresponse()
        text = answer.read().decode("utf-8", "replace")
    except OSError as error:
        raise socket_error(program, path, error) from error
    except http.client.HTTPException as error:
        raise RouterError(f"{program}'s control socket {path} does not speak HTTP: {error!r}") from error
    finally:
        connection.close()
    if answer.status != 200:
        raise RouterError(
            f"{program} answered {answer.status} to {method} {url} on {path}: {text.strip()[:200]}",
            {"socket": path, "status": answer.status},
        )
    return text


def count_ready(service: Service) -> tuple[dict[str, int], dict[str, str]]:
    """Ask every instance's readiness path at once, for routers that make no health checks of their own.

    Returns how many answered 200 per colour, and what each instance said.
    """
    colours = [(colour, instance) for colour, instances in service.instances.items() for instance in instances]
    ready = dict.fromkeys(service.instances, 0)
    said = {}
    with ThreadPoolExecutor(max_workers=min(16, max(1, len(colours)))) as pool:
        answers = pool.map(lambda pair: _ask_ready(pair[1], service.ready_path), colours)
        for (colour, instance), answer in zip(colours, answers):
            ready[colour] += answer == "200"
            said[f"{instance.host}:{instance.port}"] = answer
    return ready, said


def _ask_ready(instance: Instance, path: str) -> str:
    connection = http.client.HTTPConnection(instance.host, instance.port, timeout=TIMEOUT)
    try:
        connection.request("GET", path, headers={"Connection": "close"})
        return str(connection.getresponse().status)
    except (OSError, http.client.HTTPException) as error:
        return str(error) or type(error).__name__
    finally:
        connection.close()


def read_weight(path: str) -> int | None:
    """The weight in a file that holds nothing else; None where it does not tell: it can be written anew."""
    text = read_file(path).strip()
    try:
        return to_weight(text, path)
    except RouterError:
        return None


def to_weight(text: str, where: str) -> int:
    """``text`` as a percentage; ``where`` it was found goes into the error."""
    if text.isascii() and text.isdigit() and int(text) <= 100:
        return int(text)
    raise RouterError(f"{where} is {text!r}; a whole number 0…100 is needed. {_SET_UP}", {"value": text})
