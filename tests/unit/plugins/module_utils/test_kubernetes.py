# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests that are tried again, and those that are not; errors that say what to do; watches that go on."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
import urllib3
from ansible_collections.bluegreen.cutover.plugins.module_utils import _kubernetes
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import (
    ClusterError,
    RouterError,
    StoreError,
)
from ansible_collections.bluegreen.cutover.plugins.module_utils._kubernetes import Cluster, Following, path_of
from cluster.inprocess import Answer

PODS = path_of("v1", "shop", "pods")
SERVICE = path_of("v1", "shop", "services", "web")


class Clock:
    """Time that passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def clock(empty: Any) -> Clock:
    made = Clock()
    empty.cluster.clock = made
    empty.cluster.patience = 5.0
    return made


def refusal(code: int, message: str = "no", **headers: str) -> Answer:
    body = {"kind": "Status", "message": message, "code": code}
    return Answer(code, json.dumps(body).encode(), **headers)


def cut() -> Exception:
    return urllib3.exceptions.ProtocolError("Connection aborted.")


def never() -> Exception:
    pool = urllib3.connectionpool.HTTPConnectionPool("cluster")
    return urllib3.exceptions.NewConnectionError(urllib3.connection.HTTPConnection(pool.host), "refused")


@pytest.mark.parametrize("problem", [refusal(429), refusal(500), refusal(503), cut(), never()])
def test_a_question_is_asked_again_until_it_is_answered(empty: Any, clock: Clock, problem: Any) -> None:
    answers = [problem, problem]
    empty.pool.fault = lambda _method, _path: answers.pop() if answers else None
    assert empty.cluster.call("GET", PODS)["items"] == []
    assert empty.cluster.requests == 3
    assert clock.slept == [0.05, 0.1]


@pytest.mark.parametrize(("problem", "unknown"), [(refusal(500), True), (refusal(503), True), (cut(), True)])
def test_a_write_that_may_have_been_done_is_not_repeated(empty: Any, clock: Clock, problem: Any, unknown: bool) -> None:
    empty.pool.fault = lambda _method, _path: problem
    with pytest.raises(ClusterError) as caught:
        empty.cluster.call("POST", PODS, {})
    assert (caught.value.unknown, empty.cluster.requests, clock.slept) == (unknown, 1, [])


@pytest.mark.parametrize("problem", [refusal(429), never()])
def test_a_write_that_was_not_begun_is_sent_again(empty: Any, clock: Clock, problem: Any) -> None:
    answers = [problem]
    empty.pool.fault = lambda _method, _path: answers.pop() if answers else None
    config = {"metadata": {"name": "a"}}
    assert empty.cluster.call("POST", path_of("v1", "shop", "configmaps"), config)["metadata"]["uid"]
    assert len(clock.slept) == 1


def test_a_server_that_says_when_is_asked_then(empty: Any, clock: Clock) -> None:
    answers = [refusal(429, Retry_After="2")]
    empty.pool.fault = lambda _method, _path: answers.pop() if answers else None
    empty.cluster.call("GET", PODS)
    assert clock.slept == [2.0]


def test_patience_ends(empty: Any, clock: Clock) -> None:
    empty.pool.fault = lambda _method, _path: refusal(503, "etcd is away")
    with pytest.raises(ClusterError, match=r"refused GET .*/pods \(503\): etcd is away. See the API server's log"):
        empty.cluster.call("GET", PODS)
    assert 4 < clock.now <= 5


@pytest.mark.parametrize(
    ("code", "advice"),
    [(401, "may have expired"), (403, "Give it that right"), (404, "names are right"), (409, "Somebody else")],
)
def test_a_refusal_says_what_to_do(empty: Any, clock: Clock, code: int, advice: str) -> None:
    empty.pool.fault = lambda _method, _path: refusal(code, "because")
    with pytest.raises(ClusterError, match=rf"\({code}\): because. .*{advice}") as caught:
        empty.cluster.call("GET", PODS)
    assert (caught.value.status, caught.value.unknown, clock.slept) == (code, False, [])
    assert isinstance(caught.value, RouterError)
    assert isinstance(caught.value, StoreError)


@pytest.mark.parametrize(
    ("told", "advice"),
    [
        (
            {"details": {"causes": [{"reason": "NamespaceTerminating"}]}, "message": "it is being terminated"},
            "Somebody is deleting that namespace: see who",
        ),
        ({"message": "exceeded quota: small, requested: pods=1"}, "Raise the quota of that namespace"),
    ],
)
def test_a_refusal_that_is_for_no_want_of_a_right_says_another_thing(
    empty: Any, told: dict[str, Any], advice: str
) -> None:
    empty.pool.fault = lambda _method, _path: Answer(403, json.dumps(told).encode())
    with pytest.raises(ClusterError, match=advice) as caught:
        empty.cluster.call("GET", PODS)
    assert "right" not in caught.value.message


def test_credentials_that_were_renewed_are_read_again(empty: Any) -> None:
    tokens = iter(["old", "new"])

    def opener() -> Any:
        address, pool, headers = empty.pool.connection()
        return address, pool, headers if next(tokens) == "new" else {"authorization": "Bearer old"}

    renewed = Cluster(opener, patience=1)
    assert renewed.call("GET", PODS)["items"] == []
    assert renewed.requests == 2


def test_a_wait_outlasts_its_credentials(shop: Any) -> None:
    """Both of two that follow at once are refused, and one of them is the second to read the new ones."""
    address, pool, good = shop.pool.connection()
    given = [{"authorization": "Bearer old"}]
    renewed = Cluster(lambda: (address, pool, given.pop() if given else good), patience=1)
    sources = {"pods": (PODS, {"labelSelector": "version=blue"}), "services": (f"{SERVICE.rpartition('/')[0]}", {})}
    with Following(renewed, sources, 5) as following:
        assert following.wait(names, 1) == ["blue-0", "blue-1"]


def test_an_answer_that_is_no_object_is_not_believed(empty: Any) -> None:
    for body in (b"<html>", b"[]"):
        empty.pool.fault = lambda _method, _path, body=body: Answer(200, body)
        with pytest.raises(ClusterError, match="Is this a Kubernetes API"):
            empty.cluster.call("GET", PODS)


def test_a_failed_test_is_none_and_what_would_be_invalid_an_error(shop: Any) -> None:
    test = {"op": "test", "path": "/spec/type", "value": "NodePort"}
    assert shop.cluster.patch(SERVICE, [test]) is None
    ports = {"op": "replace", "path": "/spec/ports/0/port", "value": 0}
    with pytest.raises(ClusterError, match="between 1 and 65535") as caught:
        shop.cluster.patch(SERVICE, [ports])
    assert caught.value.status == 422
    assert shop.cluster.patch(SERVICE, [{**test, "value": "ClusterIP"}], dry_run=True)["metadata"]["name"] == "web"


def follow(cluster: Cluster, seconds: float = 5) -> Following:
    return Following(cluster, {"pods": (PODS, {"labelSelector": "version=blue"})}, seconds)


def names(seen: Any) -> list[str]:
    return sorted(pod["metadata"]["name"] for pod in seen["pods"])


def test_following_begins_with_what_is_there_and_goes_on(shop: Any) -> None:
    with follow(shop.cluster) as following:
        assert following.wait(names, 1) == ["blue-0", "blue-1"]
        shop.setter.ask("DELETE", f"{PODS}/blue-0")
        assert following.wait(lambda seen: names(seen) == ["blue-1"], 1)
        assert following.wait(lambda seen: names(seen) == [], 0.01) is False
    assert shop.cluster.requests == 0


def test_following_a_server_without_such_watches_lists_first(shop: Any) -> None:
    shop.pool.fault = lambda _method, path: refusal(422) if "sendInitialEvents" in path else None
    with follow(shop.cluster) as following:
        assert following.wait(names, 1) == ["blue-0", "blue-1"]
        shop.setter.ask("DELETE", f"{PODS}/blue-0")
        assert following.wait(lambda seen: names(seen) == ["blue-1"], 1)
    assert shop.cluster.requests == 1


def test_following_begins_anew_where_a_watch_breaks(shop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_kubernetes, "PAUSES", (0.001,))
    answers: list[Any] = [cut(), refusal(503), Answer(200, events=iter([{"type": "ERROR", "object": {"code": 410}}]))]
    shop.pool.fault = lambda _method, _path: answers.pop() if answers else None
    with follow(shop.cluster) as following:
        assert following.wait(names, 1) == ["blue-0", "blue-1"]
    assert answers == []


def test_following_ends_where_the_server_has_ended_the_watch_just_before(shop: Any) -> None:
    end = {"metadata": {"annotations": {"k8s.io/initial-events-end": "true"}}}
    watch = Answer(200, events=iter([{"type": "BOOKMARK", "object": end}]))
    shop.pool.fault = lambda _method, _path: watch
    with follow(shop.cluster, 0) as following:
        assert following.wait(names, 0) == []
        deadline = time.monotonic() + 1
        while not watch.closed and time.monotonic() < deadline:
            time.sleep(0.001)
    with pytest.raises(ValueError, match="Cannot shutdown"):
        watch.shutdown()


def test_following_what_may_not_be_seen_is_an_error(shop: Any) -> None:
    shop.pool.fault = lambda _method, _path: refusal(403, "forbidden")
    with follow(shop.cluster) as following, pytest.raises(ClusterError, match="forbidden"):
        following.wait(names, 1)


def test_following_a_server_that_is_gone_is_an_error(shop: Any) -> None:
    shop.pool.fault = lambda _method, _path: cut()
    shop.cluster.patience = 0.03
    with follow(shop.cluster) as following, pytest.raises(ClusterError, match="did not tell what there is of /api"):
        following.wait(names, 0.01)


def test_a_kubeconfig_that_is_none_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "none"
    with pytest.raises(ClusterError, match=f"{missing} does not say how to reach a cluster"):
        _kubernetes.connect(str(missing))
    bad = tmp_path / "bad"
    bad.write_text("clusters: [")
    with pytest.raises(ClusterError, match="does not say"):
        _kubernetes.connect(str(bad), "there")


def test_a_kubeconfig_says_where_and_who(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "a", "cluster": {"server": "https://cluster:6443/"}}],
        "users": [{"name": "a", "user": {"token": "secret"}}],
        "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}],
        "current-context": "a",
    }
    path = tmp_path / "config"
    path.write_text(json.dumps(document))
    monkeypatch.setenv("KUBECONFIG", str(path))
    address, pool, headers = _kubernetes._open(None, None)
    assert (address, headers["authorization"]) == ("https://cluster:6443", "Bearer secret")
    # A write is never repeated behind our back.
    assert pool.connection_pool_kw["retries"].total is False  # type: ignore[attr-defined]


def test_without_its_package_the_error_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr(_kubernetes.importlib, "import_module", missing)
    with pytest.raises(ClusterError, match="package kubernetes cannot be imported.*pip install"):
        _kubernetes.connect("/none")


def test_names_are_quoted_in_paths() -> None:
    assert path_of("apps/v1", "a b", "deployments", "x/y") == "/apis/apps/v1/namespaces/a%20b/deployments/x%2Fy"
