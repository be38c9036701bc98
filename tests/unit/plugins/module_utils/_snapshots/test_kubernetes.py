# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine kubernetes, on an API server in this process; tests/kubernetes has the real way (R-B2)."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest
import urllib3
from ansible_collections.bluegreen.cutover.plugins.module_utils import _artifacts
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import SnapshotError
from ansible_collections.bluegreen.cutover.plugins.module_utils._snapshots import Notes, kubernetes
from cluster.inprocess import Answer

CONFIGS = "/api/v1/namespaces/shop/configmaps"


@pytest.fixture
def engine(shop: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> kubernetes.Kubernetes:
    monkeypatch.setattr(kubernetes, "connect", lambda *_given: shop.cluster)
    for name in ("settings", "words"):
        shop.setter.make(CONFIGS, {"metadata": {"name": name}, "data": {"a": name}})
    made = kubernetes.Kubernetes({"namespace": "shop", "secrets": "left_out"}, lambda _told: None)
    assert made.remove_left(notes(tmp_path)) == []
    return made


def notes(tmp_path: Path) -> Notes:
    return Notes(tmp_path, ".left-")


def test_it_is_taken_tried_and_restored(engine: kubernetes.Kubernetes, shop: Any, tmp_path: Path) -> None:
    engine.check()
    taken = engine.take(tmp_path)
    assert taken.point_in_time
    assert taken.contents["deployments.apps"].count == 2
    with engine.scratch(tmp_path, taken) as found:
        assert found == taken.contents
    assert engine.written_since(taken) == []
    shop.patch(f"{CONFIGS}/settings", {"data": {"a": "other"}})
    shop.setter.ask("DELETE", f"{CONFIGS}/words")
    shop.setter.make(CONFIGS, {"metadata": {"name": "extra"}})
    told = {(one.what, one.count) for one in engine.written_since(taken)}
    assert told == {("added", 1), ("changed", 1), ("removed", 1)}
    engine.restore(tmp_path, taken)
    assert engine.contents() == taken.contents


def test_what_was_deleted_on_the_way_is_made_again(engine: kubernetes.Kubernetes, shop: Any, tmp_path: Path) -> None:
    taken = engine.take(tmp_path)
    for name in ("extra-1", "extra-2"):
        shop.setter.make(CONFIGS, {"metadata": {"name": name}, "data": {"mine": name}})
    before = engine.contents()
    failing = json.dumps({"message": "made by a test"}).encode()

    asked: list[str] = []

    def fault(method: str, path: str) -> Any:
        asked.append(f"{method} {path}")
        # The first one is the rehearsal.
        second = asked[-1] == f"DELETE {CONFIGS}/extra-1" and asked.count(asked[-1]) == 2
        return Answer(403, failing) if second else None

    shop.pool.fault = fault
    with pytest.raises(SnapshotError, match=r"\(403\): made by a test.*What was changed was changed back"):
        engine.restore(tmp_path, taken)
    assert engine.contents() == before
    shop.pool.fault = lambda method, _path: Answer(403, failing) if "DELETE POST".count(method) else None
    with pytest.raises(SnapshotError, match="nothing was changed: ConfigMap extra-2"):
        engine.restore(tmp_path, taken)
    assert engine.contents() == before


def test_what_a_restore_that_is_stopped_cannot_take_back_is_told(
    engine: kubernetes.Kubernetes, shop: Any, tmp_path: Path
) -> None:
    """R-B13: its time ends in the middle, and the way out fails, too."""
    taken = engine.take(tmp_path)
    for name in ("extra-1", "extra-2"):
        shop.setter.make(CONFIGS, {"metadata": {"name": name}})
    failing = Answer(403, json.dumps({"message": "made by a test"}).encode())
    asked: list[str] = []

    def fault(method: str, path: str) -> Any:
        asked.append(f"{method} {path}")
        # The first one of each is the rehearsal.
        if asked[-1] == f"DELETE {CONFIGS}/extra-1" and asked.count(asked[-1]) == 2:
            signal.raise_signal(signal.SIGALRM)
        return failing if method == "POST" else None

    shop.pool.fault = fault
    with pytest.raises(SnapshotError) as caught, _artifacts.bounded(9, "Run again"):
        engine.restore(tmp_path, taken)
    left = ["ConfigMap extra-2: ", "ConfigMap extra-1 was just written, or was not"]
    assert [told.startswith(one) for told, one in zip(caught.value.evidence["left"], left, strict=True)] == [True, True]
    assert "did not end within 9 s. Something could not be taken back: ConfigMap extra-2: " in caught.value.message


def test_a_server_that_is_gone_is_told_and_what_it_was_left_with(
    engine: kubernetes.Kubernetes, shop: Any, tmp_path: Path
) -> None:
    taken = engine.take(tmp_path)
    for name in ("extra-1", "extra-2"):
        shop.setter.make(CONFIGS, {"metadata": {"name": name}})
    shop.cluster.patience = 0.001
    # Two are tried, and one is removed.
    left = iter(range(3))
    gone = urllib3.exceptions.ProtocolError("cut")
    shop.pool.fault = lambda method, _path: gone if method != "GET" and next(left, None) is None else None
    with pytest.raises(SnapshotError, match="cut.*It could not be taken back: ConfigMap extra-2: "):
        engine.restore(tmp_path, taken)
    shop.pool.fault = lambda _method, _path: gone
    for attempt in (engine.check, lambda: engine.take(tmp_path), engine.contents):
        with pytest.raises(SnapshotError, match="https://cluster.*cut"):
            attempt()
    shop.pool.fault = lambda _method, _path: None
    engine.restore(tmp_path, taken)
    assert engine.contents() == taken.contents


def test_what_the_server_would_refuse_is_known_before_anything_is_stopped(
    engine: kubernetes.Kubernetes, shop: Any, tmp_path: Path
) -> None:
    """R-E7. What only changes while versions run is not: a restore, when they are stopped, reads it again."""
    taken = engine.take(tmp_path)
    shop.patch(f"{CONFIGS}/settings", {"data": {"a": "other"}})
    before = engine.contents()
    conflicts = iter([409] * 3)
    asked: list[str] = []

    def fault(method: str, path: str) -> Any:
        asked.append(f"{method} {path}")
        status = next(conflicts, None) if method == "PUT" else None
        return Answer(status, json.dumps({"message": "made by a test"}).encode()) if status else None

    shop.pool.fault = fault
    engine.check_restore(tmp_path, taken)
    assert asked.count(f"PUT {CONFIGS}/settings?dryRun=All") == 1
    refusals = (engine.check_restore, [422]), (engine.restore, [409] * 3), (engine.restore, [404, 409, 422])
    for attempt, refusal in refusals:
        conflicts = iter(refusal)
        with pytest.raises(SnapshotError, match="nothing was changed: ConfigMap settings: .*made by a test"):
            attempt(tmp_path, taken)
        assert next(conflicts, None) is None
    assert engine.contents() == before
    conflicts = iter([404, 409])
    engine.restore(tmp_path, taken)
    assert engine.contents() == taken.contents


def test_a_namespace_that_is_gone_is_only_restored_by_who_may_make_it(
    engine: kubernetes.Kubernetes, shop: Any, tmp_path: Path
) -> None:
    taken = engine.take(tmp_path)
    gone = Answer(404, json.dumps({"message": "it is gone"}).encode())
    refused = Answer(403, json.dumps({"message": "made by a test"}).encode())
    asked: list[str] = []

    def fault(method: str, path: str) -> Any:
        asked.append(f"{method} {path}")
        return {"GET /api/v1/namespaces/shop": gone, "POST /api/v1/namespaces?dryRun=All": refused}.get(asked[-1])

    shop.pool.fault = fault
    with pytest.raises(SnapshotError, match="nothing was changed: Namespace shop: .*made by a test"):
        engine.check_restore(tmp_path, taken)
    assert [one for one in asked if not one.startswith("GET")] == ["POST /api/v1/namespaces?dryRun=All"]


class KilledError(BaseException):
    """Nothing catches it, and what runs on the way out reaches nobody."""


@pytest.mark.parametrize("done", [0, 1, 2])
def test_a_restore_that_is_killed_is_ended_by_the_next(
    engine: kubernetes.Kubernetes, shop: Any, tmp_path: Path, done: int
) -> None:
    taken = engine.take(tmp_path)
    shop.patch(f"{CONFIGS}/settings", {"data": {"a": "other"}})
    shop.setter.ask("DELETE", f"{CONFIGS}/words")
    shop.setter.make(CONFIGS, {"metadata": {"name": "extra"}})
    before = engine.contents()
    # All of it is tried first.
    left = iter(range(3 + done))

    def fault(method: str, _path: str) -> Any:
        if method != "GET" and next(left, None) is None:
            raise KilledError

    shop.pool.fault = fault
    with pytest.raises(KilledError):
        engine.restore(tmp_path, taken)
    shop.pool.fault = lambda _method, _path: None
    assert (engine.contents() == before) == (done == 0)
    engine.restore(tmp_path, taken)
    assert engine.contents() == taken.contents


def test_the_scratch_namespace_of_a_run_that_was_killed_is_removed_by_the_next(
    engine: kubernetes.Kubernetes, shop: Any, tmp_path: Path
) -> None:
    def going() -> dict[str, bool]:
        found = shop.get("/api/v1/namespaces")["items"]
        return {one["metadata"]["name"]: "deletionTimestamp" in one["metadata"] for one in found}

    def die(method: str, path: str) -> Any:
        if method == "DELETE" or (method == "POST" and "dryRun" in path):
            raise KilledError

    taken = engine.take(tmp_path)
    before = going()
    shop.pool.fault = die
    with pytest.raises(KilledError), engine.scratch(tmp_path, taken):
        pass
    shop.pool.fault = lambda _method, _path: None
    [left] = going().keys() - before.keys()
    # That of a run that is at work, and one that somebody has given a name of ours.
    shop.setter.make("/api/v1/namespaces", {"metadata": {"name": "work", "labels": {kubernetes.SCRATCH: "shop"}}})
    shop.setter.make("/api/v1/namespaces", {"metadata": {"name": "theirs"}})
    notes(tmp_path).add(engine._cluster.address, "the namespace theirs", scratch="theirs")
    notes(tmp_path).add(engine._cluster.address, "the namespace gone", scratch="gone")
    assert engine.remove_left(notes(tmp_path)) == []
    assert going() == {**before, left: True, "work": False, "theirs": False}
    assert list(tmp_path.glob(".left-*")) == []


@pytest.mark.parametrize("unknown", [False, True])
def test_a_scratch_namespace_is_looked_for_where_it_may_have_been_made(
    engine: kubernetes.Kubernetes, shop: Any, tmp_path: Path, unknown: bool
) -> None:
    taken = engine.take(tmp_path)
    failing = Answer(500 if unknown else 403, json.dumps({"message": "made by a test"}).encode())
    shop.pool.fault = lambda method, _path: failing if method == "POST" else None
    with pytest.raises(SnapshotError, match="made by a test"), engine.scratch(tmp_path, taken):
        pass
    assert len(list(tmp_path.glob(".left-*"))) == unknown


def test_scratch_namespaces_that_nobody_has_any_more_are_removed(
    engine: kubernetes.Kubernetes, shop: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = engine.take(tmp_path)
    for name, of in (("left", "shop"), ("theirs", "other")):
        shop.setter.make("/api/v1/namespaces", {"metadata": {"name": name, "labels": {kubernetes.SCRATCH: of}}})
    for seconds, going in ((1e9, False), (-1.0, True)):
        monkeypatch.setattr(kubernetes, "_ABANDONED", seconds)
        with engine.scratch(tmp_path, taken):
            pass
        for name, expected in (("left", going), ("theirs", False), ("shop", False)):
            found = shop.get(f"/api/v1/namespaces/{name}")["metadata"]
            assert ("deletionTimestamp" in found) == expected


def test_a_kind_that_a_server_has_no_more_is_told(engine: kubernetes.Kubernetes, tmp_path: Path) -> None:
    taken = engine.take(tmp_path)
    file = tmp_path / kubernetes.OBJECTS
    file.write_text(file.read_text().replace('"apps/v1"', '"apps/v0"'))
    with pytest.raises(SnapshotError, match="has Deployment of apps/v0, which .* does not have"):
        engine.restore(tmp_path, taken)
