# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A folder, or bytes, encrypted to one recipient as one file, and back, by age or gpg; no command line has a secret."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.bluegreen.cutover.plugins.module_utils._command import Ended, failure, pipeline, run
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import InputError, SnapshotError
from ansible_collections.bluegreen.cutover.plugins.module_utils._snapshots import Progress

TOOLS = ("age", "gpg")

_RECIPIENT = re.compile(r"[A-Za-z0-9/][ -~]{0,499}")
_PACK = ("tar", "--create", "--file=-", "--owner=0", "--group=0", "--numeric-owner")
_UNPACK = ("tar", "--extract", "--file=-", "--no-same-owner")
_QUICK = 30.0


@dataclass(frozen=True)
class Encryption:
    """To whom. ``recipient`` is a public key or what names it to the tool; a path is a file that holds the key."""

    tool: str
    recipient: str

    @property
    def suffix(self) -> str:
        """Of the file."""
        return f".tar.{self.tool}"

    def check(self) -> None:
        """Raise what would keep ``encrypt`` from succeeding, a recipient that the tool does not know included."""
        if self.tool not in TOOLS:
            raise InputError(f"encryption.tool is {self.tool!r}; one of {', '.join(TOOLS)} is needed")
        if not _RECIPIENT.fullmatch(self.recipient):
            raise InputError("encryption.recipient is not one line of a public key, a key's name or an absolute path")
        _installed(self.tool)
        try:
            with open(os.devnull, "wb") as nowhere:
                ended = pipeline([self._encrypting()], sink=nowhere.fileno())
        except OSError as error:
            raise SnapshotError(f"{self.tool} cannot be run: {error}") from error
        if ended[0].status:
            raise SnapshotError(
                f"{self.tool} cannot encrypt to {self.recipient}: {ended[0].said}. Give the public key, or a file of "
                "this host that holds it"
            )

    def encrypt(self, folder: Path, into: Path, progress: Progress) -> None:
        """Write ``folder`` encrypted as the new file ``into``."""
        sink = os.open(into, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        try:
            _ended_well(
                pipeline(
                    [[*_PACK, f"--directory={folder}", "--", "."], self._encrypting()],
                    sink=sink,
                    tick=lambda: progress(f"{self.tool} has written {os.fstat(sink).st_size >> 20} MiB"),
                )
            )
        finally:
            os.close(sink)

    def decrypt(self, file: Path, into: Path, identity: Path, progress: Progress) -> None:
        """Unpack ``file`` into the folder ``into``, with the private key in the file ``identity``."""
        _installed(self.tool)
        source = os.open(file, os.O_RDONLY | os.O_NOFOLLOW)
        try:
            with self._decrypting(identity) as (argv, variables):
                _ended_well(
                    pipeline(
                        [argv, [*_UNPACK, f"--directory={into}"]],
                        source=source,
                        tick=lambda: progress(f"{self.tool} decrypts"),
                        variables=variables,
                    )
                )
        finally:
            os.close(source)

    def encrypt_bytes(self, content: bytes, into: Path) -> None:
        """Write ``content`` encrypted as the new file ``into``; in clear it is on no disk."""
        sink = os.open(into, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        try:
            with _in_memory(content) as source:
                _ended_well(pipeline([self._encrypting()], source=source, sink=sink))
        finally:
            os.close(sink)

    def decrypt_bytes(self, file: Path, identity: Path) -> bytes:
        """What ``encrypt_bytes`` wrote, with the private key in the file ``identity``."""
        _installed(self.tool)
        source = os.open(file, os.O_RDONLY | os.O_NOFOLLOW)
        try:
            with self._decrypting(identity) as (argv, variables), _in_memory(b"") as sink:
                _ended_well(pipeline([argv], source=source, sink=sink, variables=variables))
                return os.pread(sink, os.fstat(sink).st_size, 0)
        finally:
            os.close(source)

    def _encrypting(self) -> list[str]:
        is_file = self.recipient.startswith("/")
        if self.tool == "age":
            return ["age", "--encrypt", "--recipients-file" if is_file else "--recipient", self.recipient]
        # What is encrypted is compressed already.
        options = ["--batch", "--no-tty", "--trust-model", "always", "--compress-algo", "none"]
        return ["gpg", *options, "--encrypt", "--recipient-file" if is_file else "--recipient", self.recipient]

    @contextlib.contextmanager
    def _decrypting(self, identity: Path) -> Iterator[tuple[list[str], Mapping[str, str]]]:
        if not identity.is_file():
            raise SnapshotError(f"there is no identity file {identity} on this host. Bring the private key there")
        if self.tool == "age":
            yield ["age", "--decrypt", "--identity", str(identity)], {}
            return
        # A keyring for this once. In /tmp, because the path of its agent's socket may not be long.
        home = tempfile.mkdtemp(prefix="bluegreen-gpg-")
        variables = {"GNUPGHOME": home}
        try:
            [imported] = pipeline(
                [["gpg", "--batch", "--no-tty", "--import", "--", str(identity)]], variables=variables
            )
            if imported.status:
                raise SnapshotError(f"gpg cannot use {identity}: {imported.said}. A key without a passphrase is needed")
            yield ["gpg", "--batch", "--no-tty", "--pinentry-mode", "error", "--decrypt"], variables
        finally:
            run(["gpgconf", "--homedir", home, "--kill", "all"], _QUICK)
            shutil.rmtree(home, ignore_errors=True)


@contextlib.contextmanager
def _in_memory(content: bytes) -> Iterator[int]:
    """A descriptor of a file that is on no disk."""
    descriptor = os.memfd_create("bluegreen")
    try:
        with os.fdopen(os.dup(descriptor), "wb") as handle:
            handle.write(content)
        os.lseek(descriptor, 0, os.SEEK_SET)
        yield descriptor
    finally:
        os.close(descriptor)


def _installed(tool: str) -> None:
    if shutil.which(tool) is None:
        raise SnapshotError(f"{tool} is not installed on this host. Install it")


def _ended_well(ended: list[Ended]) -> None:
    told = failure(ended)
    if told:
        raise SnapshotError(told)
