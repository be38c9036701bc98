# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The evidence of a version that failed: what is read of it, and the bundle."""

from __future__ import annotations

import http.client
import json
import os
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.bluegreen.cutover.plugins.module_utils import _diagnostics
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import InputError, StoreError

START = {"unit": "shop-green.service", "ready": "http://127.0.0.1:8002/ready", "live": "http://127.0.0.1:8002/live"}


def systemd(pid: int) -> _diagnostics.Run:
    """Answers as its commands do: each says what it was asked, ``df`` cannot be run."""

    def run(argv: Sequence[str], _seconds: float) -> tuple[int, str, str]:
        if argv[0] == "df":
            return 127, "", "No such file"
        return 0, f"{' '.join(argv)}\nMainPID={pid}\n", ""

    return run


def collect(pid: int, run: _diagnostics.Run | None = None) -> dict[str, str]:
    asked = _diagnostics.collect(
        START, ["/api", "/ready"], run or systemd(pid), pause=lambda _s: None, ask=lambda url: f"asked {url}"
    )
    assert set(asked) == {"unit.txt", "journal.txt", "requests.txt", "profile.txt", "machine.txt"}
    return asked


def test_all_of_it_is_collected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_diagnostics, "SAMPLES", 2)
    files = collect(os.getpid())
    assert "systemctl status --no-pager --full --lines=0 -- shop-green.service" in files["unit.txt"]
    assert "journalctl --no-pager --quiet --lines=1000" in files["journal.txt"]
    paths = [line.rpartition("/")[2] for line in files["requests.txt"].splitlines()]
    assert paths == ["ready", "live", "api"]
    assert f"{os.getpid()} " in files["profile.txt"]
    assert "% of a processor; " in files["profile.txt"]
    assert "Max open files" in files["profile.txt"]
    assert "loadavg:\n" in files["machine.txt"]
    assert "df --human-readable --local: status 127: No such file" in files["machine.txt"]


def test_a_unit_without_a_process_has_no_profile_and_the_rest() -> None:
    files = collect(0)
    assert files["profile.txt"] == "shop-green.service has no process\n"
    assert "asked http://127.0.0.1:8002/live" in files["requests.txt"]


def test_a_process_that_is_gone_is_told(tmp_path: Path) -> None:
    assert "was gone before" in _diagnostics.profile(tmp_path / "4242", lambda _s: None)


def test_what_is_long_keeps_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_diagnostics, "LIMIT", 10)
    assert {len(text) for text in collect(0).values()} == {10}


def test_a_unit_is_a_name() -> None:
    with pytest.raises(InputError, match="not the name of a unit"):
        _diagnostics.collect({**START, "unit": "--root=/"}, [], systemd(0))


class Link:
    """Stands for http.client's connection."""

    status, reason = 503, "Service Unavailable"

    def __init__(self, host: str, port: int, timeout: float) -> None:
        self.to = (host, port, timeout)

    def connect(self) -> None:
        if self.to[1] == 1:
            raise ConnectionRefusedError(111, "Connection refused")

    def request(self, method: str, path: str, headers: dict[str, str]) -> None:
        assert (method, path[0], headers["Connection"]) == ("GET", "/", "close")

    def getresponse(self) -> Link:
        return self

    def getheaders(self) -> list[tuple[str, str]]:
        return [("Retry-After", "3")]

    def read(self, limit: int) -> bytes:
        return b"not ready\xff"[:limit]

    def close(self) -> None:
        pass


def test_a_request_is_told_as_it_went(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http.client, "HTTPConnection", Link)
    told = _diagnostics.request("http://127.0.0.1:8002/ready?x=1").splitlines()
    assert "> GET /ready?x=1 HTTP/1.1" in told
    assert [line for line in told if line.startswith("<")] == ["< 503 Service Unavailable", "< Retry-After: 3"]
    assert "not ready\N{REPLACEMENT CHARACTER}" in told
    assert [line.split()[1] for line in told if line.startswith("* ")][1:] == ["connected", "answered", "ended"]
    assert "ConnectionRefusedError: [Errno 111]" in _diagnostics.request("http://127.0.0.1:1/")


def test_a_bundle_is_whole_and_roots_and_old_ones_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda _descriptor: None)
    monkeypatch.setattr(_diagnostics, "KEPT", 2)
    folder = tmp_path / "diagnostics"
    about: dict[str, Any] = {"service": "shop", "at": 1000.0, "cause": "it was slow"}
    paths = [_diagnostics.pack(folder, f"m-{n}", {"app1/unit.txt": "ä"}, about) for n in (1, 2, 3)]
    assert sorted(folder.iterdir()) == paths[1:]
    assert (folder.stat().st_mode & 0o777, paths[2].stat().st_mode & 0o777) == (0o700, 0o600)
    with tarfile.open(paths[2]) as packed:
        assert packed.getnames() == ["m-3/manifest.json", "m-3/app1/unit.txt"]
        told = packed.extractfile("m-3/manifest.json")
        assert told is not None
        manifest = json.loads(told.read())
    assert (manifest["cause"], list(manifest["files"])) == ("it was slow", ["app1/unit.txt"])


def test_a_bundle_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="The evidence is not kept"):
        _diagnostics.pack(tmp_path / "file" / "x", "m", {}, {"at": 0})
