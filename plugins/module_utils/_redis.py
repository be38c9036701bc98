# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One connection to a Redis server, over which a value of any size goes in pieces, in and out.

The usual client holds every answer whole, several times over: a list of 300 MB would take a gigabyte. Adapters use it;
like ``_http`` it imports nothing of what is above them.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from types import TracebackType
from typing import Any, Union

PIECE = 1 << 18
"""Bytes of a value that are held at once."""

_ENDS = {b"$%d\r\n" % length: length + 2 for length in range(1024)}
"""Bytes to be read after a line, for the usual ones."""

Argument = Union[bytes, str, int]
#: bytes, int, str for a status, None, or a list of these, in which a RefusedError may be, too.
Reply = Any


class RefusedError(Exception):
    """The server's answer is an error; ``str()`` is what it said, ``code`` its first word."""

    @property
    def code(self) -> str:
        return str(self).partition(" ")[0]


@dataclass(frozen=True)
class Address:
    """Where a server is and who asks. ``socket`` is a path, and goes before ``host`` and ``port``."""

    host: str = "127.0.0.1"
    port: int = 6379
    socket: str | None = None
    username: str | None = None
    password: str | None = None
    tls: bool = False
    tls_ca: str | None = None
    tls_certificate: str | None = None
    tls_key: str | None = None

    def __str__(self) -> str:
        return self.socket or f"{self.host}:{self.port}"


class Connection:
    """One connection. What the network does raises OSError, what the server answers ``RefusedError``.

    ``seconds`` bounds each wait for the other side, not a whole answer.
    """

    def __init__(self, address: Address, seconds: float) -> None:
        self._socket = _connect(address, seconds)
        self._in = self._socket.makefile("rb", PIECE)
        self._out = self._socket.makefile("wb", PIECE)
        try:
            if address.password is not None:
                who = [] if address.username is None else [address.username]
                self.call("AUTH", *who, address.password)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        # What was not sent yet is not to be sent any more.
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        for end in (self._out, self._in, self._socket):
            with contextlib.suppress(OSError):
                end.close()

    def send(self, *arguments: Argument) -> None:
        """Send a command, without waiting for its answer; ``flush`` before you wait for one."""
        parts = [b"*%d\r\n" % len(arguments)]
        for argument in arguments:
            raw = argument if isinstance(argument, bytes) else str(argument).encode("utf-8", "surrogateescape")
            parts += (b"$%d\r\n" % len(raw), raw, b"\r\n")
        self._out.write(b"".join(parts))

    def send_around(self, before: Sequence[bytes], size: int, pieces: Iterable[bytes], after: Sequence[bytes]) -> None:
        """Send a command one argument of which, of ``size`` bytes, comes in pieces."""
        parts = [b"*%d\r\n" % (len(before) + 1 + len(after))]
        parts += (b"$%d\r\n%b\r\n" % (len(raw), raw) for raw in before)
        parts.append(b"$%d\r\n" % size)
        self._out.write(b"".join(parts))
        self._out.writelines(pieces)
        self._out.write(b"\r\n" + b"".join(b"$%d\r\n%b\r\n" % (len(raw), raw) for raw in after))

    def flush(self) -> None:
        self._out.flush()

    def call(self, *arguments: Argument) -> Reply:
        """Send a command and return its answer."""
        self.send(*arguments)
        self.flush()
        return self.reply()

    def head(self) -> int | None:
        """Read how many bytes or answers an answer has, and leave them to be read; None where it has none."""
        line = self._line()
        if line[:1] not in (b"$", b"*"):
            raise RefusedError(f"an answer of several parts was expected, and not {line!r}")
        return _length(line)

    def pieces(self, length: int) -> Iterator[bytes]:
        """Read the bytes that a head has announced, piece by piece; take them all before anything else."""
        left = length
        while left:
            piece = self._exactly(min(left, PIECE))
            left -= len(piece)
            yield piece
        self._exactly(2)

    def reply(self) -> Reply:
        """Read a whole answer. Raises ``RefusedError``; one inside of an array is returned."""
        line = self._line()
        kind = line[:1]
        if kind == b"$":
            length = _length(line)
            return None if length is None else self._exactly(length + 2)[:-2]
        if kind == b":":
            return int(line[1:])
        if kind == b"+":
            return line[1:-2].decode("utf-8", "replace")
        if kind != b"*":
            raise RefusedError(f"{line[:80]!r} is not an answer of Redis")
        length = _length(line)
        return None if length is None else [self._inside() for _item in range(length)]

    def rows(self) -> Iterator[tuple[bytes, int, int, list[bytes]]]:
        """Read an array whose answers are, in turn, bytes, two numbers, and an array of bytes: the quick way for many.

        What ends in the middle is only told by the answer after it.
        """
        readline, read, known = self._in.readline, self._in.read, _ENDS.get
        lines = iter(readline, None)
        try:
            for _row in range((self.head() or 0) // 4):
                line = readline()
                name = read(known(line) or int(line[1:]) + 2)[:-2]
                one, two, count = int(readline()[1:]), int(readline()[1:]), int(readline()[1:])
                parts = [read(known(line) or int(line[1:]) + 2)[:-2] for line in islice(lines, count)]
                yield name, one, two, parts
        except ValueError as error:
            raise ConnectionResetError("the server ended the connection in the middle of an answer") from error

    def skip(self) -> None:
        """Read an answer and forget it, whatever it is."""
        left = 1
        while left:
            left -= 1
            try:
                line = self._line()
            except RefusedError:
                continue
            if line[:1] == b"*":
                left += _length(line) or 0
            elif line[:1] == b"$" and (length := _length(line)) is not None:
                for _piece in self.pieces(length):
                    pass

    def _line(self) -> bytes:
        line = self._in.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionResetError("the server ended the connection")
        if line[:1] == b"-":
            raise RefusedError(line[1:-2].decode("utf-8", "replace"))
        return line

    def _inside(self) -> Reply:
        try:
            return self.reply()
        except RefusedError as refused:
            return refused

    def _exactly(self, length: int) -> bytes:
        raw: bytes = self._in.read(length)
        if len(raw) < length:
            raise ConnectionResetError("the server ended the connection in the middle of an answer")
        return raw


def _length(line: bytes) -> int | None:
    length = int(line[1:])
    return None if length < 0 else length


def _connect(address: Address, seconds: float) -> socket.socket:
    if address.socket:
        plain = socket.socket(socket.AF_UNIX)
        plain.settimeout(seconds)
        try:
            plain.connect(address.socket)
        except OSError:
            plain.close()
            raise
        return plain
    plain = socket.create_connection((address.host, address.port), timeout=seconds)
    try:
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if not address.tls:
            return plain
        tls = ssl.create_default_context(cafile=address.tls_ca)
        if address.tls_certificate:
            tls.load_cert_chain(address.tls_certificate, address.tls_key)
        return tls.wrap_socket(plain, server_hostname=address.host)
    except OSError:
        plain.close()
        raise
