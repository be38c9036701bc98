# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The guard's pod as runs make it: once, anew where it is another one, and waited for (R-B13, R-D6)."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from ansible_collections.bluegreen.cutover.plugins.module_utils import _guard_pod, _guard_service, _guarding
from ansible_collections.bluegreen.cutover.plugins.module_utils._core import guard, guard_pod
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import ClusterError, WorkloadError
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.plan import make_plan
from ansible_collections.bluegreen.cutover.plugins.module_utils._guard_pod import GuardPod
from ansible_collections.bluegreen.cutover.plugins.module_utils._stores.cluster import ClusterStore
from ansible_collections.bluegreen.cutover.plugins.module_utils._stores.files import FileStore
from cluster.inprocess import Answer

SELECTORS = {colour: {"app": "web", "version": colour} for colour in ("blue", "green")}
PLAN = make_plan(
    {
        "cutover_service": "shop",
        "cutover_front": "http://web",
        "cutover_cluster": {"namespace": "shop"},
        "cutover_router": {"provider": "k8s_service", "name": "web", "selectors": SELECTORS},
        "cutover_colours": {colour: {"deployment": colour} for colour in SELECTORS},
        "cutover_guard": {"time": 31},
    },
    routers=["control"],
    applications=[],
    hosts={},
)
JOB = "/apis/batch/v1/namespaces/shop/jobs/cutover-guard-shop"
LEASE = "/apis/coordination.k8s.io/v1/namespaces/shop/leases/cutover-guard-shop"


class Clock:
    """Time that passes only while somebody sleeps; ``then`` is called each time."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0
        self.then: Callable[[], object] = lambda: None

    def time(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.then()


@pytest.fixture
def clock(empty: Any) -> Clock:
    made = Clock()
    empty.cluster.clock = made
    return made


@pytest.fixture
def store(empty: Any, clock: Clock) -> ClusterStore:
    made = ClusterStore(empty.cluster, "shop", "shop")
    assert made.cluster.clock is clock
    return made


@pytest.fixture
def pod(store: ClusterStore, monkeypatch: pytest.MonkeyPatch) -> GuardPod:
    monkeypatch.setattr(_guard_service, "program", lambda _main, packed=False: b"packed" if packed else b"program")
    return GuardPod(store, guard_pod.for_pod(PLAN))


def tells(empty: Any, pod: GuardPod, clock: Clock, **seen: Any) -> None:
    """What the process would tell."""
    told = {"token": 0, "generation": 0, "at": clock.now, "version": pod.version, **seen}
    empty.patch(LEASE, guard_pod.pulse(told, "pod", "2026-01-01T00:00:00.000000Z"))


def armed(token: int = 5) -> Callable[[Any], guard.Guard]:
    return lambda current: guard.arm(current, PLAN, token, guard.Moment(0.0, guard_pod.BOOT_ID, 0.0))


def test_it_is_made_once(empty: Any, pod: GuardPod, clock: Clock) -> None:
    clock.then = lambda: tells(empty, pod, clock)
    pod.ready()
    made = [path.rsplit("/", 2)[1] for method, path in empty.pool.sent if method == "PATCH"]
    assert made == ["serviceaccounts", "roles", "rolebindings", "leases", "configmaps"]
    assert empty.get(JOB)["metadata"]["annotations"][guard_pod.PULSE] == pod.version
    uid = empty.get(JOB)["metadata"]["uid"]
    empty.pool.sent.clear()
    pod.ready()
    assert empty.pool.sent == [("GET", LEASE)]
    # Silent for long: what it needs is looked at again, and its Job is waited for.
    clock.then = lambda: None
    clock.now += _guarding.DEAD
    clock.then = lambda: tells(empty, pod, clock)
    empty.pool.sent.clear()
    pod.ready()
    assert {method for method, _path in empty.pool.sent} == {"GET"}
    assert empty.get(JOB)["metadata"]["uid"] == uid


@pytest.mark.parametrize("why", ["another program", "ended"])
def test_a_job_that_is_of_no_use_is_replaced(empty: Any, pod: GuardPod, clock: Clock, why: str) -> None:
    clock.then = lambda: tells(empty, pod, clock)
    pod.ready()
    uid = empty.get(JOB)["metadata"]["uid"]
    if why == "ended":
        empty.patch(f"{JOB}/status", {"status": {"conditions": [{"type": "Complete", "status": "True"}]}})
        clock.now += _guarding.DEAD
    else:
        pod.version = pod.job["metadata"]["annotations"][guard_pod.PULSE] = "another"
    pod.ready()
    assert empty.get(JOB)["metadata"]["uid"] != uid


def test_one_that_never_tells_stops_the_run_before_anything_is_armed(
    empty: Any, pod: GuardPod, store: ClusterStore
) -> None:
    labels = {"job-name": "cutover-guard-shop"}
    waiting = {"reason": "ImagePullBackOff", "message": "no such image"}
    document = {
        "metadata": {"name": "guard-x", "labels": labels},
        "spec": {"containers": [{"name": "guard", "image": "a:1"}]},
    }
    status = {"phase": "Pending", "containerStatuses": [{"name": "guard", "state": {"waiting": waiting}}]}
    empty.setter.make("/api/v1/namespaces/shop/pods", document, status)
    with pytest.raises(WorkloadError, match="within 120 s.*guard-x: waiting, ImagePullBackOff.*No traffic may move"):
        pod.write(5, armed())
    assert store.read_guard() is None
    empty.pool.fault = lambda _method, path: Answer(403, b"{}") if "/pods" in path else None
    with pytest.raises(WorkloadError, match=r"\(403\)"):
        pod.ready()


def test_a_job_whose_pod_is_refused_says_so(empty: Any, pod: GuardPod) -> None:
    """A quota, or a rule for pods, refuses the Job's controller: there is no pod that could tell."""
    why = 'pods "cutover-guard-shop-x" is forbidden: exceeded quota: small, requested: pods=1'
    events: list[dict[str, Any]] = []

    def answer(_method: str, path: str) -> Answer | None:
        return Answer(200, json.dumps({"items": events}).encode()) if "/events?" in path else None

    empty.pool.fault = answer
    with pytest.raises(WorkloadError, match="within 120 s that it runs: its Job has no pod, and no event says why"):
        pod.ready()
    for name, about, kind in (("a", "cutover-guard-shop", "Warning"), ("b", "other", "Warning"), ("c", "x", "Normal")):
        told = {"reason": "FailedCreate", "message": f"Error creating: {why} ({name})", "type": kind}
        events.append({"involvedObject": {"kind": "Job", "name": about}, "lastTimestamp": "2026-01-01", **told})
    with pytest.raises(WorkloadError) as caught:
        pod.ready()
    assert caught.value.evidence["pods"] == [f"no pod is made: FailedCreate: Error creating: {why} (a)"]
    empty.pool.fault = lambda _method, path: Answer(403, b"{}") if "/events" in path else None
    with pytest.raises(WorkloadError, match=r"/events \(403\)"):
        pod.ready()


def test_what_is_no_right_is_not_called_one(empty: Any, pod: GuardPod) -> None:
    said = {"message": "exceeded quota: small, requested: count/jobs.batch=1"}
    empty.pool.fault = lambda method, _path: Answer(403, json.dumps(said).encode()) if method == "PATCH" else None
    with pytest.raises(ClusterError, match="exceeded quota.*Raise the quota") as caught:
        pod.ready()
    assert "let somebody who may do so" not in caught.value.message


def test_what_the_run_may_not_make_somebody_else_makes(empty: Any, pod: GuardPod, clock: Clock) -> None:
    clock.then = lambda: tells(empty, pod, clock)
    pod.ready()
    clock.now += _guarding.DEAD

    def refuse(method: str, path: str) -> Answer | None:
        return Answer(403, b"{}") if method == "PATCH" and "/roles" in path else None

    empty.pool.fault = refuse
    # They are as they must be.
    pod.ready()
    clock.now += _guarding.DEAD
    empty.patch("/apis/rbac.authorization.k8s.io/v1/namespaces/shop/roles/cutover-guard-shop", {"rules": []})
    with pytest.raises(ClusterError, match="let somebody who may do so apply its objects"):
        pod.ready()
    empty.pool.fault = lambda method, path: Answer(403, b"{}") if method == "POST" and path.endswith("jobs") else None
    empty.setter.ask("DELETE", JOB)
    with pytest.raises(ClusterError, match="let somebody who may do so"):
        pod.ready()


def test_what_is_not_answered_is_made_again(empty: Any, pod: GuardPod, clock: Clock) -> None:
    clock.then = lambda: tells(empty, pod, clock) if ("PATCH", LEASE) in empty.pool.sent else None
    lost = [Answer(500, b"{}")]
    empty.pool.fault = lambda method, _path: lost.pop() if lost and method == "PATCH" else None
    pod.ready()
    clock.now += _guarding.DEAD
    empty.patch("/api/v1/namespaces/shop/configmaps/cutover-guard-shop", {"binaryData": None})
    empty.pool.fault = lambda method, _path: Answer(500, b"{}") if method == "PATCH" else None
    with pytest.raises(ClusterError, match=r"\(500\)"):
        pod.ready()


def test_arming_ends_when_the_process_has_seen_it(empty: Any, pod: GuardPod, store: ClusterStore, clock: Clock) -> None:
    clock.then = lambda: tells(empty, pod, clock)
    pod.ready()
    seen = {"token": 5, "generation": 1, "problem": "p"}
    clock.then = lambda: tells(empty, pod, clock, **seen)
    _guard_pod.write(store, guard_pod.for_pod(PLAN), 5, armed())
    document = store.read_guard()
    assert document is not None
    problems: list[str] = []
    told = _guarding.describe(store, {**document, "deadline": clock.now + 3}, problems)
    assert (told["alive"], told["problem"], round(told["left"]), problems) == (True, "p", 3, [])
    clock.now += 20
    _guarding.describe(store, document, problems)
    assert "see 'kubectl -n shop describe job cutover-guard-shop'" in problems[0]

    clock.then = lambda: tells(empty, pod, clock)
    tells(empty, pod, clock)
    with pytest.raises(WorkloadError, match="has not told within 15 s that it has seen"):
        pod.write(6, armed(6))
    # What it has told of the guard before, which the same run has armed, is no answer.
    store.write_guard(None)
    tells(empty, pod, clock, token=6, generation=1)
    with pytest.raises(WorkloadError, match="has not told within 15 s that it has seen"):
        pod.write(6, armed(6))
    # It has fired meanwhile.
    tells(empty, pod, clock)
    clock.then = lambda: store.write_guard(None)
    pod.write(7, armed(7))


@pytest.mark.parametrize("gone", [False, True], ids=["ended", "removed"])
def test_a_process_that_ends_as_it_is_armed_is_followed_by_another(
    empty: Any, pod: GuardPod, store: ClusterStore, clock: Clock, monkeypatch: pytest.MonkeyPatch, gone: bool
) -> None:
    """It was heard of a moment ago; nothing is armed while the next one starts, however long that takes."""
    clock.then = lambda: tells(empty, pod, clock)
    pod.ready()
    uid = empty.get(JOB)["metadata"]["uid"]
    waited: list[bool] = []

    def start() -> None:
        if empty.get(JOB)["metadata"]["uid"] == uid:
            return
        waited.append(store.read_guard() is None)
        its = store.read_guard() or {"token": 0, "generation": 0}
        tells(empty, pod, clock, token=its["token"], generation=its["generation"])

    clock.then = start
    if gone:
        empty.setter.ask("DELETE", JOB)
    else:
        empty.patch(f"{JOB}/status", {"status": {"conditions": [{"type": "Complete", "status": "True"}]}})
    pod.write(5, armed())
    assert waited[0]
    document = store.read_guard()
    assert document is not None
    assert (document["token"], document["generation"]) == (5, 1)

    # Whatever ends it each time: that has an end.
    clock.then = lambda: tells(empty, pod, clock)
    monkeypatch.setattr(pod, "_has_ended", lambda: True)
    with pytest.raises(WorkloadError, match="has ended 3 times instead of seeing"):
        pod.write(6, armed(6))
    assert store.read_guard() == document


def test_a_store_of_a_host_is_none(tmp_path: Any) -> None:
    with pytest.raises(TypeError, match="is in no cluster"):
        _guard_pod.write(FileStore(str(tmp_path), "shop"), PLAN, 5, armed())
