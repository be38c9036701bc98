# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the routers share: files, programs, control sockets, readiness."""

from __future__ import annotations

import http.client
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import RouterError
from ansible_collections.bluegreen.cutover.plugins.module_utils._routers import Instance, Service, _shared


@contextmanager
def answering(path: Path, answer: bytes) -> Iterator[None]:
    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            while self.rfile.readline().strip():
                pass
            self.wfile.write(answer)

    with socketserver.UnixStreamServer(str(path), Handler) as server:
        thread = threading.Thread(target=server.handle_request, daemon=True)
        thread.start()
        yield
        thread.join()


def test_a_file_is_replaced_through_its_link(tmp_path: Path) -> None:
    real = tmp_path / "real"
    real.write_text("old")
    (tmp_path / "link").symlink_to(real)
    _shared.replace_file(str(tmp_path / "link"), "new")
    assert (tmp_path / "link").is_symlink()
    assert real.read_text() == "new"


def test_a_write_that_fails_leaves_the_old_text_and_no_litter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    path = tmp_path / "shop.map"
    path.write_text("old")
    monkeypatch.setattr(_shared.os, "replace", full)
    with pytest.raises(RouterError, match=r"shop.map cannot be written: .*No space left on device"):
        _shared.replace_file(str(path), "new")
    assert [one.name for one in tmp_path.iterdir()] == ["shop.map"]
    assert path.read_text() == "old"


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"\xff")
    with pytest.raises(RouterError, match="x cannot be read"):
        _shared.read_file(str(tmp_path / "x"))


def test_programs() -> None:
    assert _shared.run_program(["cat"], stdin="said") == "said"
    with pytest.raises(RouterError, match="'false' failed"):
        _shared.run_program(["false"])
    with pytest.raises(RouterError, match="no-such-program is not installed on the router host"):
        _shared.run_program(["no-such-program"])


def test_a_program_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_shared, "_PROGRAM_TIMEOUT", 0.01)
    with pytest.raises(RouterError, match="'sleep 5' did not end within"):
        _shared.run_program(["sleep", "5"])


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (FileNotFoundError(2, "No such file"), "does not exist. Start nginx"),
        (PermissionError(13, "Permission denied"), "may not be used by this user. Run as root"),
        (ConnectionRefusedError(111, "Connection refused"), "has nobody listening"),
        (TimeoutError("timed out"), "did not answer within 2 s"),
        (OSError(5, "Input/output error"), "failed: .*Input/output error"),
    ],
)
def test_a_control_socket_that_fails_says_what_to_do(error: OSError, words: str) -> None:
    with pytest.raises(RouterError, match=f"nginx's control socket /x.sock {words}"):
        raise _shared.socket_error("nginx", "/x.sock", error)


def test_a_control_socket_that_is_late_on_python_3_9(monkeypatch: pytest.MonkeyPatch) -> None:
    """There, ``socket.timeout`` is no TimeoutError."""

    class LateError(OSError):
        pass

    monkeypatch.setattr(_shared.socket, "timeout", LateError)
    with pytest.raises(RouterError, match="x.sock did not answer within 2 s"):
        raise _shared.socket_error("nginx", "/x.sock", LateError("timed out"))


def test_a_question_on_a_socket(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with answering(path, b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n50\n"):
        assert _shared.ask_socket("nginx", str(path), "GET", "/weight") == "50\n"


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b"HTTP/1.1 400 Bad Request\r\nContent-Length: 2\r\n\r\nno", "nginx answered 400 to POST /weight.*: no"),
        (b"SSH-2.0\r\n", "does not speak HTTP"),
    ],
)
def test_an_answer_that_is_wrong(tmp_path: Path, answer: bytes, message: str) -> None:
    path = tmp_path / "s"
    with answering(path, answer), pytest.raises(RouterError, match=message):
        _shared.ask_socket("nginx", str(path), "POST", "/weight?set=1")


def test_a_question_to_nobody(tmp_path: Path) -> None:
    with pytest.raises(RouterError, match="does not exist"):
        _shared.ask_socket("nginx", str(tmp_path / "s"), "GET", "/weight")


class FakeConnection:
    """app1 is ready, app2 is not, app3 refuses, app4 times out without a word."""

    def __init__(self, host: str, port: int, timeout: float) -> None:
        self.host, self.port, self.timeout = host, port, timeout
        self.status = 200 if host == "app1" else 503

    def request(self, method: str, path: str, headers: dict[str, str]) -> None:
        assert (method, path, headers, self.timeout) == ("GET", "/ready", {"Connection": "close"}, 2.0)
        if self.host == "app3":
            raise ConnectionRefusedError(111, "Connection refused")
        if self.host == "app4":
            raise TimeoutError

    def getresponse(self) -> FakeConnection:
        return self

    def close(self) -> None:
        pass


def test_ready_instances_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http.client, "HTTPConnection", FakeConnection)
    green = tuple(Instance(f"app{index}", 8002) for index in range(1, 5))
    ready, said = _shared.count_ready(Service("shop", {"blue": (), "green": green}, "/ready"))
    assert ready == {"blue": 0, "green": 1}
    assert said == {
        "app1:8002": "200",
        "app2:8002": "503",
        "app3:8002": "[Errno 111] Connection refused",
        "app4:8002": "TimeoutError",
    }
