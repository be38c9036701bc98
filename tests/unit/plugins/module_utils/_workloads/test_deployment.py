# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Deployments as workloads: scaled up and held before traffic moves, and given back (R-B6); stopped while data is
restored (R-E7).
"""

from __future__ import annotations

import threading
from typing import Any

import pytest
from ansible_collections.bluegreen.cutover.plugins.module_utils._core import objects, rollout
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import (
    ClusterError,
    FencedError,
    NotReadyError,
    RolloutError,
    WorkloadError,
)
from ansible_collections.bluegreen.cutover.plugins.module_utils._workloads import deployment
from ansible_collections.bluegreen.cutover.plugins.module_utils._workloads.deployment import Deployments
from cluster.inprocess import Answer

DEPLOYMENTS = "/apis/apps/v1/namespaces/shop/deployments"
PODS = "/api/v1/namespaces/shop/pods"
SCALERS = "/apis/autoscaling/v2/namespaces/shop/horizontalpodautoscalers"
NAMES = {"blue": "blue", "green": "green"}
TOKEN = "bluegreen.cutover/token"


@pytest.fixture
def shop(shop: Any) -> Any:
    """Blue is to have 3 pods, green 2, which are there; each has an autoscaler of 1 to 5."""
    shop.patch(f"{DEPLOYMENTS}/blue", {"spec": {"replicas": 3}})
    for name in NAMES:
        target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": name}
        spec = {"scaleTargetRef": target, "minReplicas": 1, "maxReplicas": 5}
        shop.setter.make(SCALERS, {"metadata": {"name": f"{name}-scaler"}, "spec": spec})
    return shop


def made(shop: Any, **options: Any) -> Deployments:
    return Deployments(shop.cluster, "shop", NAMES, **options)


def replicas(shop: Any, name: str) -> int:
    return int(shop.get(f"{DEPLOYMENTS}/{name}")["spec"]["replicas"])


def least(shop: Any, name: str) -> int:
    return int(shop.get(f"{SCALERS}/{name}-scaler")["spec"]["minReplicas"])


def annotations(shop: Any, path: str) -> dict[str, str]:
    return dict(shop.get(path)["metadata"].get("annotations") or {})


def tell(shop: Any, name: str, reason: str = "ReplicaSetUpdated", **counts: int) -> None:
    """What a controller tells of the Deployment as it is now."""
    generation = shop.get(f"{DEPLOYMENTS}/{name}")["metadata"]["generation"]
    conditions = [{"type": "Progressing", "status": "True", "reason": reason}]
    status = {"observedGeneration": generation, "conditions": conditions, **counts}
    shop.setter.ask("PATCH", f"{DEPLOYMENTS}/{name}/status", {"status": status}, "application/merge-patch+json")


def complete(shop: Any, name: str, number: int) -> None:
    tell(shop, name, replicas=number, updatedReplicas=number, readyReplicas=number, availableReplicas=number)


def served(shop: Any) -> None:
    """Green's controller, at once."""

    def fault(_method: str, path: str) -> None:
        if "watch=" in path and "/deployments" in path:
            complete(shop, "green", replicas(shop, "green"))

    shop.pool.fault = fault


def test_a_candidate_gets_as_many_pods_as_the_old_colour_and_both_keep_them(shop: Any) -> None:
    served(shop)
    deployments = made(shop, token=7)
    assert deployments.make_ready("green", 5, keep=True) == 3
    assert deployments.commands == [
        "keep blue-scaler from going below 3",
        "keep green-scaler from going below 3",
        "scale green to 3",
    ]
    assert (replicas(shop, "green"), least(shop, "green"), least(shop, "blue")) == (3, 3, 3)
    assert annotations(shop, f"{DEPLOYMENTS}/green") == {TOKEN: "7", "bluegreen.cutover/replicas": "2"}
    assert annotations(shop, f"{SCALERS}/blue-scaler") == {
        TOKEN: "7",
        "bluegreen.cutover/min-replicas": "1",
        "bluegreen.cutover/held-replicas": "3",
    }
    again = made(shop, token=7)
    assert (again.make_ready("green", 5, keep=True), again.commands) == (3, [])


def test_what_was_changed_is_given_back_and_nothing_else(shop: Any) -> None:
    served(shop)
    made(shop).make_ready("green", 5, keep=True)
    shop.patch(f"{SCALERS}/blue-scaler", {"metadata": {"annotations": {"mine": "1"}}})
    back = made(shop)
    back.release("green", scale=True)
    back.release("blue", scale=False)
    assert (replicas(shop, "green"), least(shop, "green"), least(shop, "blue")) == (2, 1, 1)
    assert replicas(shop, "blue") == 3
    assert annotations(shop, f"{DEPLOYMENTS}/green") == {}
    assert annotations(shop, f"{SCALERS}/blue-scaler") == {"mine": "1"}
    again = made(shop)
    again.release("green", scale=True)
    assert again.commands == []


def test_bounds_that_somebody_has_applied_meanwhile_are_held_again_and_given_back(shop: Any) -> None:
    """R-B6, R-D3: also where the autoscaler has taken pods away already."""
    served(shop)
    made(shop).make_ready("green", 5, keep=True)
    untouched = made(shop)
    # It has more for its load, which are no concern of ours.
    shop.patch(f"{DEPLOYMENTS}/blue", {"spec": {"replicas": 5}})
    untouched.keep()
    assert untouched.commands == []
    shop.patch(f"{SCALERS}/blue-scaler", {"spec": {"minReplicas": 2}})
    shop.patch(f"{DEPLOYMENTS}/blue", {"spec": {"replicas": 2}})
    again = made(shop)
    again.keep()
    assert (again.commands, least(shop, "blue")) == (["keep blue-scaler from going below 3"], 3)
    # It allows no more than that now.
    shop.patch(f"{SCALERS}/green-scaler", {"spec": {"minReplicas": 1, "maxReplicas": 2}})
    made(shop).keep()
    assert least(shop, "green") == 2
    for colour in NAMES:
        made(shop).release(colour, scale=False)
    assert (least(shop, "blue"), least(shop, "green")) == (2, 1)
    assert "bluegreen.cutover/held-replicas" not in annotations(shop, f"{SCALERS}/blue-scaler")


@pytest.mark.parametrize(
    ("share", "since", "back"),
    [
        # More and fewer than before, and what somebody has made of it since: never more than there are now.
        (4, 4, 2),
        (1, 1, 2),
        (4, 1, 1),
        (1, 0, 0),
    ],
)
def test_what_a_share_has_made_of_it_is_given_back(shop: Any, share: int, since: int, back: int) -> None:
    """R-D2, R-B6: two pods before."""
    path = f"{DEPLOYMENTS}/green"
    now = shop.get(path)
    assert rollout.resize(now, 2, 7) == []
    assert shop.cluster.patch(path, rollout.resize(now, share, 7)) is not None
    assert replicas(shop, "green") == share
    shop.patch(path, {"spec": {"replicas": since}})
    made(shop).release("green", scale=True)
    assert replicas(shop, "green") == back
    assert set(annotations(shop, path)) <= {TOKEN}


def test_a_colour_that_was_not_scaled_up_is_not_scaled_down(shop: Any) -> None:
    """Argo Rollouts 1292: an abort with nothing in progress scaled the stable side to 0."""
    made(shop).release("blue", scale=True)
    assert replicas(shop, "blue") == 3


def test_a_candidate_that_has_arrived_keeps_its_pods(shop: Any) -> None:
    served(shop)
    made(shop).make_ready("green", 5)
    made(shop).release("green", scale=False)
    assert (replicas(shop, "green"), least(shop, "green")) == (3, 1)
    # Nothing says any more that it had fewer: a later way back does not take them.
    made(shop).release("green", scale=True)
    assert replicas(shop, "green") == 3


def test_what_somebody_has_deleted_keeps_no_way_back_from_its_end(shop: Any) -> None:
    served(shop)
    made(shop).make_ready("green", 5, keep=True)
    shop.setter.ask("DELETE", f"{DEPLOYMENTS}/green")
    complete(shop, "blue", 3)
    shop.pool.fault = lambda _method, _path: None
    back = made(shop)
    assert back.make_ready("blue", 5, least=2) == 2
    back.release("green", scale=True)
    assert (back.commands, least(shop, "green")) == (["give green-scaler its minReplicas back"], 1)
    assert back.read()[1]["absent"]


def test_check_mode_asks_the_server_and_changes_nothing(shop: Any) -> None:
    would = made(shop, check_mode=True)
    would.make_ready("green", 5, keep=True)
    assert would.commands[-1] == "scale green to 3"
    assert (replicas(shop, "green"), least(shop, "green"), least(shop, "blue")) == (2, 1, 1)


def test_an_autoscaler_that_allows_too_few_is_told_before_anything_is_changed(shop: Any) -> None:
    """R-B6: a migration that would lower what there is is refused."""
    shop.patch(f"{SCALERS}/green-scaler", {"spec": {"maxReplicas": 2}})
    with pytest.raises(WorkloadError, match="green-scaler allows green 2 pods at most, and 3 are needed"):
        made(shop).make_ready("green", 5, keep=True)
    assert (least(shop, "blue"), replicas(shop, "green")) == (1, 2)


def test_without_an_autoscaler_there_is_none_to_hold(shop: Any) -> None:
    served(shop)
    for name in NAMES:
        shop.setter.ask("DELETE", f"{SCALERS}/{name}-scaler")
    deployments = made(shop)
    deployments.make_ready("green", 5, least=4)
    assert deployments.commands == ["scale green to 4"]


def test_a_stuck_rollout_fails_at_once_with_what_is_said_of_its_pods(shop: Any) -> None:
    pods = "/api/v1/namespaces/shop/pods"
    waiting = {"waiting": {"reason": "ImagePullBackOff", "message": 'pulling image\n"x:1"'}}
    status = {
        "phase": "Pending",
        "conditions": [{"type": "Ready", "status": "False"}],
        "containerStatuses": [{"name": "a", "ready": False, "state": waiting}],
    }
    shop.setter.ask("PATCH", f"{pods}/green-0/status", {"status": status}, "application/merge-patch+json")
    unscheduled = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "no node"}
    ended = {"name": "a", "ready": False, "state": {"terminated": {"exitCode": 3}}}
    status = {"conditions": [{"type": "Ready", "status": "False"}, unscheduled], "containerStatuses": [ended]}
    shop.setter.ask("PATCH", f"{pods}/green-1/status", {"status": status}, "application/merge-patch+json")

    def stuck(_method: str, path: str) -> None:
        if "watch=" in path and "/deployments" in path:
            tell(shop, "green", "ProgressDeadlineExceeded", replicas=2, updatedReplicas=2, availableReplicas=0)

    shop.pool.fault = stuck
    with pytest.raises(RolloutError) as caught:
        made(shop).make_ready("green", 60)
    assert caught.value.evidence["pods"] == [
        'green-0: a is waiting: ImagePullBackOff: pulling image "x:1"',
        "green-1: Unschedulable: no node; a ended with 3",
    ]
    assert (
        "the rollout of green is stuck (ProgressDeadlineExceeded): green has 0 available pods" in caught.value.message
    )


@pytest.mark.parametrize(
    ("counts", "told"),
    [
        ({"replicas": 3, "updatedReplicas": 3, "availableReplicas": 1}, "green has 1 available pods, 3 needed"),
        ({"replicas": 4, "updatedReplicas": 2, "availableReplicas": 4}, "green has 2 new pods of 3, and 2 old ones"),
    ],
)
def test_what_does_not_come_in_time_is_told(shop: Any, counts: dict[str, int], told: str) -> None:
    def late(_method: str, path: str) -> None:
        if "watch=" in path and "/deployments" in path:
            tell(shop, "green", **counts)

    shop.pool.fault = late
    with pytest.raises(NotReadyError, match=f"{told}, after 0 s.* No traffic was moved"):
        made(shop).make_ready("green", 0.02)


def test_a_change_that_no_controller_has_seen_is_none_to_count_on(shop: Any) -> None:
    with pytest.raises(NotReadyError, match="the last change of green has not been seen by a controller yet"):
        made(shop).make_ready("green", 0.02)


def test_a_deployment_that_is_not_there_is_named(shop: Any) -> None:
    with pytest.raises(WorkloadError, match="no Deployment web in the namespace shop, which is to run green"):
        Deployments(shop.cluster, "shop", {"blue": "blue", "green": "web"}).make_ready("green", 1)


def test_a_run_that_was_overtaken_changes_nothing(shop: Any) -> None:
    shop.patch(f"{SCALERS}/green-scaler", {"metadata": {"annotations": {TOKEN: "9"}}})
    with pytest.raises(FencedError, match="token 8.*overtaken by a newer one .token 9"):
        made(shop, token=8).make_ready("green", 1)
    assert (least(shop, "green"), replicas(shop, "green")) == (1, 2)


def test_what_others_write_meanwhile_is_read_again(shop: Any) -> None:
    served(shop)
    meanwhile = iter([True])

    def fault(method: str, path: str) -> None:
        if method == "PATCH" and "/deployments/green" in path and next(meanwhile, False):
            shop.patch(f"{DEPLOYMENTS}/green", {"metadata": {"annotations": {"mine": "1"}}})
        elif "watch=" in path and "/deployments" in path:
            complete(shop, "green", replicas(shop, "green"))

    shop.pool.fault = fault
    made(shop).make_ready("green", 5)
    assert annotations(shop, f"{DEPLOYMENTS}/green") == {"mine": "1", "bluegreen.cutover/replicas": "2"}


def test_a_patch_whose_answer_is_lost_is_done_once(shop: Any) -> None:
    lost = iter([Answer(503, b"{}")])

    def fault(method: str, path: str) -> Answer | None:
        if method == "PATCH" and "/deployments/green" in path:
            answer = next(lost, None)
            if answer is not None:
                shop.patch(
                    f"{DEPLOYMENTS}/green",
                    {"spec": {"replicas": 3}, "metadata": {"annotations": {"bluegreen.cutover/replicas": "2"}}},
                )
            return answer
        if "watch=" in path and "/deployments" in path:
            complete(shop, "green", replicas(shop, "green"))
        return None

    shop.pool.fault = fault
    deployments = made(shop)
    deployments.make_ready("green", 5)
    assert deployments.commands == ["keep green-scaler from going below 3", "scale green to 3"]


def test_it_does_not_go_on_for_ever(shop: Any) -> None:
    def contended(method: str, _path: str) -> None:
        if method == "PATCH":
            shop.patch(f"{SCALERS}/green-scaler", {"metadata": {"labels": {"n": str(len(shop.pool.sent))}}})

    shop.pool.fault = contended
    shop.cluster.patience = 0.02
    with pytest.raises(ClusterError, match="green-scaler was written by others each time"):
        made(shop).make_ready("green", 1)


STOPPED = "bluegreen.cutover/stopped-replicas"


def hurry(shop: Any) -> None:
    """Pods have no time to end."""
    for name in NAMES:
        shop.patch(f"{DEPLOYMENTS}/{name}", {"spec": {"template": {"spec": {"terminationGracePeriodSeconds": 0}}}})


def ends(shop: Any, *names: str) -> None:
    """These pods end as soon as somebody looks, and the controllers see both Deployments."""
    hurry(shop)
    lock, done = threading.Lock(), iter([True])

    def fault(_method: str, path: str) -> None:
        with lock:
            if "watch=" in path and next(done, False):
                for name in NAMES:
                    complete(shop, name, 0)
                for name in names:
                    shop.setter.ask("DELETE", f"{PODS}/{name}", {"gracePeriodSeconds": 0})

    shop.pool.fault = fault


def test_both_are_stopped_and_the_old_one_gets_what_it_had(shop: Any) -> None:
    ends(shop, "blue-0", "blue-1", "green-0", "green-1")
    deployments = made(shop, token=7)
    deployments.stop(5)
    assert deployments.commands == ["scale blue to 0", "scale green to 0"]
    assert [replicas(shop, name) for name in NAMES] == [0, 0]
    assert annotations(shop, f"{DEPLOYMENTS}/blue") == {TOKEN: "7", STOPPED: "3"}
    again = made(shop, token=7)
    again.stop(5)
    assert again.commands == []

    def follow(_method: str, path: str) -> None:
        if "watch=" in path and "/deployments" in path:
            complete(shop, "blue", replicas(shop, "blue"))

    shop.pool.fault = follow
    back = made(shop, token=8)
    # A run that comes after one that was killed sees none of the other colour, and would make do with one.
    assert back.make_ready("blue", 5, least=1) == 3
    back.release("green", scale=True)
    back.release("blue", scale=False)
    assert [replicas(shop, name) for name in NAMES] == [3, 0]
    assert [annotations(shop, f"{DEPLOYMENTS}/{name}") for name in NAMES] == [{TOKEN: "8"}] * 2
    assert [least(shop, name) for name in NAMES] == [1, 1]


def test_more_than_what_was_stopped_is_given_back(shop: Any) -> None:
    ends(shop, "blue-0", "blue-1", "green-0", "green-1")
    made(shop).stop(5)
    served(shop)
    assert made(shop).make_ready("green", 5, least=4) == 4
    made(shop).release("green", scale=True)
    assert (replicas(shop, "green"), annotations(shop, f"{DEPLOYMENTS}/green")) == (2, {})


def test_what_was_woken_is_stopped_again_and_keeps_no_less(shop: Any) -> None:
    ends(shop, "blue-0", "blue-1", "green-0", "green-1")
    made(shop).stop(5)
    shop.patch(f"{DEPLOYMENTS}/blue", {"spec": {"replicas": 1}})
    ends(shop)
    again = made(shop)
    again.stop(5)
    assert (again.commands, annotations(shop, f"{DEPLOYMENTS}/blue")) == (["scale blue to 0"], {STOPPED: "3"})


def test_one_without_pods_is_noted_as_stopped_too(shop: Any) -> None:
    """Or a restore of its objects would start them while other parts are restored."""
    shop.patch(f"{DEPLOYMENTS}/green", {"spec": {"replicas": 0}})
    ends(shop, "blue-0", "blue-1", "green-0", "green-1")
    made(shop, token=7).stop(5)
    green = shop.cluster.call("GET", f"{DEPLOYMENTS}/green")
    assert annotations(shop, f"{DEPLOYMENTS}/green") == {TOKEN: "7", STOPPED: "0"}
    taken = {**objects.clean(green), "spec": {**green["spec"], "replicas": 2}}
    assert objects.carried(taken, green)["spec"]["replicas"] == 0
    again = made(shop, token=7)
    again.stop(5)
    assert again.commands == []
    made(shop, token=7).release("green", scale=True)
    assert (replicas(shop, "green"), annotations(shop, f"{DEPLOYMENTS}/green")) == (0, {TOKEN: "7"})


def test_a_pod_that_may_still_write_is_told(shop: Any) -> None:
    ended = {"status": {"phase": "Failed"}}
    shop.setter.ask("PATCH", f"{PODS}/blue-0/status", ended, "application/merge-patch+json")
    shop.patch(f"{PODS}/blue-1", {"metadata": {"finalizers": ["tests.invalid/keep"]}})
    shop.setter.ask("DELETE", f"{PODS}/blue-1")
    ends(shop, "green-0")
    with pytest.raises(WorkloadError) as caught:
        made(shop).stop(0.02)
    assert caught.value.evidence == {"left": ["blue-1 has not ended yet", "green-1 runs"]}
    assert "may still be written, 0 s after blue and green were scaled to 0: blue-1 has not" in caught.value.message


def test_what_somebody_scales_up_again_has_not_stopped(shop: Any) -> None:
    ends(shop, "blue-0", "blue-1", "green-0", "green-1")
    woken = iter([True])
    follow = shop.pool.fault

    def wake(method: str, path: str) -> None:
        if "watch=" in path and next(woken, False):
            shop.patch(f"{DEPLOYMENTS}/blue", {"spec": {"replicas": 1}})
        follow(method, path)

    shop.pool.fault = wake
    with pytest.raises(WorkloadError, match="somebody has scaled blue to 1"):
        made(shop).stop(0.02)


def test_what_no_controller_has_seen_has_not_stopped(shop: Any) -> None:
    """Its controller may be about to make pods."""
    hurry(shop)
    for name in ("blue-0", "blue-1", "green-0", "green-1"):
        shop.setter.ask("DELETE", f"{PODS}/{name}", {"gracePeriodSeconds": 0})
    with pytest.raises(WorkloadError, match="the last change of blue has not been seen by a controller yet"):
        made(shop).stop(0.02)


def test_nothing_is_stopped_where_nobody_knows_whose_pods_are_left(shop: Any) -> None:
    shop.setter.ask("DELETE", f"{DEPLOYMENTS}/green")
    with pytest.raises(WorkloadError, match="no Deployment green in the namespace shop"):
        made(shop).stop(1)
    assert replicas(shop, "blue") == 3


def test_pods_have_as_long_as_they_say_themselves(shop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[float] = []

    class Following:
        def __init__(self, *_given: Any) -> None: ...

        def __enter__(self) -> Following:
            return self

        def __exit__(self, *_caught: object) -> None: ...

        def wait(self, _look: Any, seconds: float) -> None:
            asked.append(seconds)

    monkeypatch.setattr(deployment, "Following", Following)
    shop.patch(f"{DEPLOYMENTS}/green", {"spec": {"template": {"spec": {"terminationGracePeriodSeconds": 45}}}})
    made(shop).stop(7)
    assert asked == [52]


def test_check_mode_stops_nothing(shop: Any) -> None:
    would = made(shop, check_mode=True)
    would.stop(1)
    assert (would.commands, replicas(shop, "blue")) == (["scale blue to 0", "scale green to 0"], 3)


def test_pods_are_asked_for_by_the_whole_selector() -> None:
    expressions = [
        {"key": "tier", "operator": "In", "values": ["web", "job"]},
        {"key": "canary", "operator": "NotIn", "values": ["yes"]},
        {"key": "app", "operator": "Exists"},
        {"key": "old", "operator": "DoesNotExist"},
    ]
    whole = {"matchLabels": {"app": "web", "version": "v1"}, "matchExpressions": expressions}
    found = rollout.pods_of({"spec": {"selector": whole}})
    assert found == "app=web,version=v1,tier in (web,job),canary notin (yes),app,!old"
    assert rollout.pods_of({"spec": {"selector": {"matchExpressions": expressions[2:3]}}}) == "app"


def test_reading_tells_both(shop: Any) -> None:
    complete(shop, "green", 2)
    blue, green = made(shop).read()
    assert (blue["colour"], blue["replicas"], blue["active"]) == ("blue", 3, True)
    assert "not been seen" in blue["state"]
    assert (green["deployment"], green["available"], green["state"], green["host"]) == ("green", 2, "complete", "shop")


def test_one_that_is_not_there_is_told(shop: Any) -> None:
    shop.setter.ask("DELETE", "/apis/apps/v1/namespaces/shop/deployments/blue")
    blue, green = made(shop).read()
    assert (blue["absent"], blue["active"], blue["enabled"], blue["state"]) == (True, False, False, "not there")
    assert green["absent"] is False
