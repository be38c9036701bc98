# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""R-A8: what is left of a colour that failed in a cluster."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible_collections.bluegreen.cutover.plugins.module_utils import _cluster_diagnostics
from ansible_collections.bluegreen.cutover.plugins.module_utils._diagnostics import masked
from cluster.inprocess import Answer

POD = "/api/v1/namespaces/shop/pods/green-1"
EVENTS = [
    {
        "kind": "Pod",
        "name": "green-1",
        "reason": "BackOff",
        "message": "restarting\nfailed container",
        "at": "10:02",
        "count": 7,
    },
    {"kind": "Deployment", "name": "green", "reason": "ScalingReplicaSet", "message": "to 2", "at": "10:01"},
    {"kind": "Pod", "name": "other-1", "reason": "Killing", "message": "not ours", "at": "10:03"},
]


@pytest.fixture
def failing(shop: Any) -> Any:
    """One of green's pods is not ready: its container was killed, and waits to be started again."""
    ended = {"exitCode": 137, "reason": "OOMKilled", "finishedAt": "10:02:03Z"}
    waits = {"reason": "CrashLoopBackOff", "message": "back-off 5m0s"}
    container = {"name": "app", "image": "app:2", "ready": False, "restartCount": 4}
    states = {"state": {"waiting": waits}, "lastState": {"terminated": ended}}
    unready = {"type": "Ready", "status": "False", "reason": "ContainersNotReady", "message": "app"}
    status = {"conditions": [unready], "containerStatuses": [{**container, **states}]}
    shop.patch(f"{POD}/status", {"status": status})
    template = {"spec": {"containers": [{"name": "a", "image": "a:1", "env": [{"name": "PW", "value": "hunter2"}]}]}}
    shop.patch("/apis/apps/v1/namespaces/shop/deployments/green", {"spec": {"template": template}})

    def answer(_method: str, path: str) -> Answer | None:
        if "/log?" in path:
            return Answer(200, b"10:02 out of memory; DB_PASSWORD=hunter2\n") if "previous" in path else None
        if "/events" not in path:
            return None
        told = [
            {
                "metadata": {},
                "involvedObject": {"kind": one["kind"], "name": one["name"]},
                "lastTimestamp": one["at"],
                "type": "Warning",
                **{name: one[name] for name in ("reason", "message", "count") if name in one},
            }
            for one in EVENTS
        ]
        return Answer(200, json.dumps({"items": told}).encode())

    shop.pool.fault = answer
    return shop


def test_what_is_there_is_told_and_no_secret(failing: Any) -> None:
    files = _cluster_diagnostics.collect(failing.cluster, "shop", "green")
    assert list(files) == ["deployment.txt", "pods.txt", "events.txt", "log-green-1-app-before.txt"]
    assert "wanted replicas: 2" in files["deployment.txt"]
    # Who is not ready comes first.
    assert files["pods.txt"].startswith("green-1: Running on None, ")
    assert "  app: app:2, ready False, restarts 4" in files["pods.txt"]
    assert "    now: waiting, CrashLoopBackOff: back-off 5m0s" in files["pods.txt"]
    assert "    before: terminated, exit status 137, OOMKilled finishedAt 10:02:03Z" in files["pods.txt"]
    assert files["events.txt"].splitlines() == [
        "10:01 Warning Deployment green: ScalingReplicaSet: to 2",
        "10:02 Warning Pod green-1: BackOff: restarting failed container (7 times)",
    ]
    assert files["log-green-1-app-before.txt"] == "10:02 out of memory; DB_PASSWORD=***\n"
    assert "hunter2" not in str(files)


def test_it_has_an_end_and_bounds(failing: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_cluster_diagnostics, "LIMIT", 20)
    monkeypatch.setattr(_cluster_diagnostics, "LOGS", 0)
    files = _cluster_diagnostics.collect(failing.cluster, "shop", "green")
    assert {len(text) for text in files.values()} == {20}
    assert not any(name.startswith("log-") for name in files)
    assert failing.cluster.patience == _cluster_diagnostics.PATIENCE


@pytest.mark.parametrize(
    ("what", "file", "told"),
    [
        ("/log?", "log-green-1-app-before.txt", "pods/green-1/log"),
        ("/events", "events.txt", "/namespaces/shop/events"),
        ("/deployments", "unknown.txt", "/deployments/green (403): no"),
    ],
)
def test_what_cannot_be_had_is_told_in_its_place(failing: Any, what: str, file: str, told: str) -> None:
    before = failing.pool.fault
    refused = Answer(403, b'{"message": "no"}')
    failing.pool.fault = lambda method, path: refused if what in path else before(method, path)
    assert told in _cluster_diagnostics.collect(failing.cluster, "shop", "green")[file]


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("password=a1 b", "password=*** b"),
        ('{"api_key": "a1", "n": 1}', '{"api_key": ***", "n": 1}'),
        ("Authorization: Bearer abc.def", "Authorization: Bearer ***"),
        ("postgresql://app:a1@db/shop", "postgresql://***@db/shop"),
        ("http://h:8000/ready", "http://h:8000/ready"),
        ("a token is needed", "a token is needed"),
    ],
)
def test_what_is_told_as_a_secret_is_masked(text: str, left: str) -> None:
    assert masked(text) == left
