# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One connection to Redis: what goes over it, in pieces, and what comes back."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from ansible_collections.bluegreen.cutover.plugins.module_utils import _redis
from ansible_collections.bluegreen.cutover.plugins.module_utils._redis import Address, Connection, RefusedError


@pytest.fixture
def ends(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Connection, socket.socket]]:
    """A connection, and the server's end of it."""
    ours, theirs = socket.socketpair()
    ours.settimeout(5)
    monkeypatch.setattr(_redis, "_connect", lambda _address, _seconds: ours)
    with theirs, Connection(Address(), 5) as connection:
        yield connection, theirs


def test_a_command_is_sent_when_it_is_flushed(ends: tuple[Connection, socket.socket]) -> None:
    connection, server = ends
    connection.send("SET", b"a\r\nb", 1)
    connection.flush()
    assert server.recv(100) == b"*3\r\n$3\r\nSET\r\n$4\r\na\r\nb\r\n$1\r\n1\r\n"


def test_an_argument_can_go_in_pieces(ends: tuple[Connection, socket.socket]) -> None:
    connection, server = ends
    connection.send_around((b"RESTORE", b"a", b"0"), 5, iter((b"ab", b"cde")), (b"REPLACE",))
    connection.flush()
    said = b"*5\r\n$7\r\nRESTORE\r\n$1\r\na\r\n$1\r\n0\r\n$5\r\nabcde\r\n$7\r\nREPLACE\r\n"
    assert server.recv(100) == said


def test_rows_are_read_the_quick_way(ends: tuple[Connection, socket.socket]) -> None:
    connection, server = ends
    long = b"x" * 2000
    server.sendall(b"*8\r\n$1\r\na\r\n:1\r\n:-1\r\n*1\r\n$2\r\n\r\n\r\n$2\r\nbc\r\n:2\r\n:99\r\n*2\r\n$0\r\n\r\n")
    server.sendall(b"$2000\r\n%b\r\n$5\r\nwhole\r\n" % long)
    assert list(connection.rows()) == [(b"a", 1, -1, [b"\r\n"]), (b"bc", 2, 99, [b"", long])]
    assert connection.reply() == b"whole"


@pytest.mark.parametrize(
    "said", [b"*4\r\n$1\r\na\r\n:1\r\n", *(b"*4\r\n$1\r\na\r\n:1\r\n:2\r\n*1\r\n" + end for end in (b"$", b"$5\r\nab"))]
)
def test_rows_that_end_are_never_an_answer(ends: tuple[Connection, socket.socket], said: bytes) -> None:
    connection, server = ends
    server.sendall(said)
    server.close()
    with pytest.raises(ConnectionResetError, match="the server ended the connection"):
        print(list(connection.rows()), connection.reply())


def test_every_kind_of_answer_is_read(ends: tuple[Connection, socket.socket]) -> None:
    connection, server = ends
    server.sendall(b"+OK\r\n:-2\r\n$4\r\na\r\nb\r\n$-1\r\n*-1\r\n*3\r\n:1\r\n*1\r\n$0\r\n\r\n-ERR no\r\n")
    assert [connection.reply() for _answer in range(5)] == ["OK", -2, b"a\r\nb", None, None]
    one, two, three = connection.reply()
    assert (one, two) == (1, [b""])
    assert isinstance(three, RefusedError)


def test_a_value_comes_in_pieces(ends: tuple[Connection, socket.socket], monkeypatch: pytest.MonkeyPatch) -> None:
    connection, server = ends
    monkeypatch.setattr(_redis, "PIECE", 4)
    server.sendall(b"$10\r\n0123456789\r\n:7\r\n")
    assert list(connection.pieces(connection.head() or 0)) == [b"0123", b"4567", b"89"]
    assert connection.reply() == 7


def test_an_answer_is_skipped_whatever_is_in_it(ends: tuple[Connection, socket.socket]) -> None:
    connection, server = ends
    server.sendall(b"*3\r\n*2\r\n$2\r\nab\r\n$-1\r\n-ERR no\r\n:1\r\n+OK\r\n")
    connection.skip()
    assert connection.reply() == "OK"


def test_an_error_is_raised_with_its_code(ends: tuple[Connection, socket.socket]) -> None:
    connection, server = ends
    server.sendall(b"-NOPERM this user has no permissions\r\n")
    with pytest.raises(RefusedError, match="NOPERM this user has no permissions") as caught:
        connection.reply()
    assert caught.value.code == "NOPERM"


def test_a_server_that_is_not_redis_is_told(ends: tuple[Connection, socket.socket]) -> None:
    connection, server = ends
    server.sendall(b"HTTP/1.1 400 Bad Request\r\n")
    with pytest.raises(RefusedError, match="HTTP/1.1 400 .* is not an answer of Redis"):
        connection.reply()


@pytest.mark.parametrize("said", [b"", b"$10\r\n0123", b"*2\r\n:1\r\n", b"+O"])
def test_a_connection_that_ends_is_never_an_answer(ends: tuple[Connection, socket.socket], said: bytes) -> None:
    connection, server = ends
    server.sendall(said)
    server.close()
    with pytest.raises(ConnectionResetError, match="the server ended the connection"):
        connection.reply()


def test_the_password_goes_first_and_with_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = socket.socketpair()
    monkeypatch.setattr(_redis, "_connect", lambda _address, _seconds: ours)
    theirs.sendall(b"-WRONGPASS invalid username-password pair\r\n")
    with theirs, pytest.raises(RefusedError, match="WRONGPASS"):
        Connection(Address(username="shop", password="secret"), 5)
    assert "secret" not in str(Address(password="secret"))
