# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The guard's program and units: what is written, what is started, what is left."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from ansible_collections.bluegreen.cutover.plugins.module_utils import _guard_service, _guardian, _guarding
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import StoreError, WorkloadError
from ansible_collections.bluegreen.cutover.plugins.module_utils._stores.files import FileStore

PACKAGE = "ansible_collections/bluegreen/cutover/plugins/module_utils"
ARMED = {"state": "armed", "generation": 2, "token": 7, "time": 10, "deadline": 1.0, "target": {}, "triggers": []}


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def time(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += 10 * seconds  # fewer looks


class Systemd:
    """Keeps what it was told; ``rc`` is its answer."""

    def __init__(self) -> None:
        self.commands: list[str] = []
        self.rc = 0

    def __call__(self, argv: Sequence[str], _seconds: float) -> tuple[int, str, str]:
        self.commands.append(" ".join(argv))
        return self.rc, "its journal", "it is masked"


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FileStore:
    monkeypatch.setattr(os, "fsync", lambda _descriptor: None)
    monkeypatch.setattr(_guard_service, "RUNTIME", str(tmp_path / "run-{service}"))
    (tmp_path / "units").mkdir()
    return FileStore(str(tmp_path / "a%b"), "shop")


def test_the_program_is_what_the_guard_imports_and_always_the_same() -> None:
    program = _guard_service.program(_guardian.main)
    assert program == _guard_service.program(_guardian.main)
    with zipfile.ZipFile(io.BytesIO(program)) as archive:
        names = set(archive.namelist())
        source = archive.read(f"{PACKAGE}/_guardian.py")
        assert b"module_utils._guardian import main\n" in archive.read("__main__.py")
    assert {"__main__.py", f"{PACKAGE}/__init__.py", f"{PACKAGE}/_core/__init__.py"} <= names
    assert {f"{PACKAGE}/{name}.py" for name in ("_routing", "_stores/files", "_core/guard", "_routers/nginx")} <= names
    assert source == Path(_guardian.__file__).read_bytes()


def test_installed_once_and_removed_whole(store: FileStore, tmp_path: Path) -> None:
    units = tmp_path / "units"
    with store.locked():
        assert _guard_service.install(store, _guardian.main, str(units))
        assert not _guard_service.install(store, _guardian.main, str(units))
        store.write_guard(ARMED)
    unit = (units / "bluegreen-guard-shop.service").read_text()
    assert f'-I "{tmp_path}/a%%b/shop/guard.pyz" run "{tmp_path}/a%%b" shop' in unit
    assert "Restart=always" in unit
    boot = (units / "bluegreen-guard-shop-boot.service").read_text()
    assert "Before=haproxy.service nginx.service bluegreen-cutover-nftables-shop.service" in boot
    assert (store.folder / "guard.pyz").stat().st_mode & 0o777 == 0o600

    systemd = Systemd()
    assert not _guard_service.remove(store, systemd, str(units))
    store.write_guard(None)
    assert _guard_service.remove(store, systemd, str(units))
    assert list(units.iterdir()) == []
    assert [path.name for path in store.folder.iterdir()] == ["lock"]
    assert systemd.commands == ["systemctl daemon-reload"]


def test_a_place_that_cannot_be_written_is_named(store: FileStore) -> None:
    with store.locked(), pytest.raises(StoreError, match="No such file or directory. It is needed here"):
        _guard_service.install(store, _guardian.main, "/nowhere")


def answers(monkeypatch: pytest.MonkeyPatch, clock: Clock, at: float) -> None:
    """The process tells at ``at`` that it has seen what is armed."""
    seen = {"token": 7, "generation": 2, "at": 0.0, "problem": ""}
    monkeypatch.setattr(_guarding, "heard", lambda _service: seen if clock.now >= at else None)


def test_a_process_that_runs_is_not_started(store: FileStore, monkeypatch: pytest.MonkeyPatch) -> None:
    with store.locked():
        store.write_guard(ARMED)
    systemd, clock = Systemd(), Clock()
    answers(monkeypatch, clock, 0.2)
    assert _guard_service.start(store, systemd, clock, anew=False)["generation"] == 2
    assert systemd.commands == []


@pytest.mark.parametrize(("anew", "at"), [(True, 1.0), (False, 5.0)])
def test_one_that_is_new_or_does_not_answer_is(
    store: FileStore, monkeypatch: pytest.MonkeyPatch, anew: bool, at: float
) -> None:
    with store.locked():
        store.write_guard(ARMED)
    systemd, clock = Systemd(), Clock()
    answers(monkeypatch, clock, at)
    _guard_service.start(store, systemd, clock, anew=anew)
    assert systemd.commands == [
        "systemctl enable --quiet bluegreen-guard-shop.service bluegreen-guard-shop-boot.service",
        "systemctl restart bluegreen-guard-shop.service",
    ]


def test_one_that_never_answers_stops_the_run(store: FileStore, monkeypatch: pytest.MonkeyPatch) -> None:
    with store.locked():
        store.write_guard(ARMED)
    systemd, clock = Systemd(), Clock()
    answers(monkeypatch, clock, 1e9)
    with pytest.raises(WorkloadError, match="No traffic may move without it") as caught:
        _guard_service.start(store, systemd, clock, anew=True)
    assert caught.value.evidence["journal"] == ["its journal"]
    systemd.rc = 1
    with pytest.raises(WorkloadError, match="it is masked"):
        _guard_service.start(store, systemd, clock, anew=True)


def test_one_that_fired_meanwhile_is_not_waited_for(store: FileStore, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    answers(monkeypatch, clock, 1e9)
    assert _guard_service.start(store, Systemd(), clock, anew=False) == {}
