# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The guard of a cluster: its program runs as its Job says, with the rights of its own ServiceAccount (R-B13, R-D6,
R-D8). Nobody here renews it, or everything goes wrong around it; traffic is back on blue all the same.
"""

from __future__ import annotations

import contextlib
import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from ansible_collections.bluegreen.cutover.plugins.module_utils._core import guard_pod, journal
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import FencedError
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.plan import make_plan
from ansible_collections.bluegreen.cutover.plugins.module_utils._kubernetes import connect
from ansible_collections.bluegreen.cutover.plugins.module_utils._migration import Migration
from ansible_collections.bluegreen.cutover.plugins.module_utils._routing import change_weight, make_router, make_service
from ansible_collections.bluegreen.cutover.plugins.module_utils._stores.cluster import ClusterStore
from ansible_collections.bluegreen.cutover.plugins.modules.guard import Guarding
from cluster import node, proxy
from cluster.client import MERGE, Client, RefusedError
from cluster.node import Node
from cluster.proxy import Fault, Proxy, Seen
from cluster.starting import Cluster

from .conftest import account, deployment, documented, service

Until = Callable[..., Any]
SELECTORS = {colour: {"app": "shop", "version": colour} for colour in ("blue", "green")}
ALICE = {"user": "alice", "host": "ops", "pid": 1}
LATE = 15.0
"""Seconds after its time in which the guard has to have brought the traffic back: far more than it takes, and no more
than its pod has to say that it lives.
"""


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ssl.SSLContext]:
    return node.authority(tmp_path_factory.mktemp("authority"))


class Site:
    """The Service ``web`` of a namespace, and a run that moves it. ``faults`` are for what the guard asks."""

    def __init__(self, kubeconfig: Path, admin: Client, namespace: str, machine: Node, front: Proxy) -> None:
        self.admin, self.namespace, self.node, self.front = admin, namespace, machine, front
        self.kubeconfig = str(kubeconfig)
        self.store = ClusterStore(connect(self.kubeconfig), namespace, "shop")
        self.token = 0
        self.plan = self.make_plan()

    def make_plan(
        self, url: str | None = None, router: dict[str, Any] | None = None, **settings: Any
    ) -> dict[str, Any]:
        variables = {
            "cutover_service": "shop",
            "cutover_front": "http://web",
            "cutover_cluster": {"namespace": self.namespace, "kubeconfig": self.kubeconfig},
            "cutover_router": {"name": "web", "selectors": SELECTORS, **(router or {"provider": "k8s_service"})},
            "cutover_colours": {colour: {"deployment": colour} for colour in SELECTORS},
            "cutover_guard": settings,
            "cutover_prometheus": {"url": url, "scrape_interval": 1} if url else None,
        }
        return make_plan(variables, routers=["router"], applications=[], hosts={})

    @property
    def selected(self) -> dict[str, str]:
        return dict(self.admin.call("GET", f"/api/v1/namespaces/{self.namespace}/services/web")["spec"]["selector"])

    @property
    def serves(self) -> str:
        """Exactly one colour is selected."""
        found = self.selected
        [colour] = [colour for colour, labels in SELECTORS.items() if labels == found]
        return colour

    def run(self) -> Migration:
        shop = make_service("shop", self.plan["colours"], "/ready")
        return Migration(self.plan, self.store, make_router(self.plan["router"], shop))

    def begin(self) -> dict[str, Any]:
        begun = self.run().begin(None, ALICE)
        self.token = begun["token"]
        return begun

    def arm(self, seconds: float = 1.5) -> None:
        Guarding({**self.plan, "guard": {**self.plan["guard"], "time": seconds}}, self.token).arm()

    def change(self, weight: int) -> None:
        shop = make_service("shop", self.plan["colours"], "/ready")
        router = make_router(self.plan["router"], shop)
        change_weight(router, shop, weight, min_ready=1, store=self.store, token=self.token)

    def leave(self, seconds: float = 1.5) -> float:
        """A run that moved everything to green and was never heard of again; when its guard is to act."""
        self.begin()
        # Renewed when all has moved, so that the time is there for the test.
        self.arm(60)
        self.change(100)
        assert self.serves == "green"
        self.arm(seconds)
        armed = self.store.read_guard()
        assert armed is not None
        return float(armed["deadline_at"])

    @property
    def events(self) -> list[str]:
        return [event["kind"] for event in self.store.read_journal()["migrations"][-1]["events"]]

    @property
    def state(self) -> journal.State:
        return journal.fold(self.store.read_journal())

    def is_back(self) -> bool:
        return self.selected == SELECTORS["blue"]

    def is_told(self) -> bool:
        # The lease is the last that the guard gives back.
        ended = self.store.read_guard() is None and self.store.read_lease() is None
        return ended and self.state.phase == journal.FAILED

    def wait_back(self, until: Until, due: float) -> float:
        """How many seconds after ``due`` the traffic was back; and until that is in the journal."""
        until(self.is_back, due - time.time() + 60)
        late = time.time() - due
        print(f"the traffic was back {late:.2f} s after its time")
        until(self.is_told)
        assert self.serves == "blue"
        assert self.state.weight == 0
        return late


@pytest.fixture
def site(
    cluster: Cluster,
    admin: Client,
    namespace: str,
    until: Until,
    tls: tuple[Path, ssl.SSLContext],
    tmp_path: Path,
) -> Iterator[Site]:
    """The run has no more rights than docs/kubernetes.md gives it."""
    for name, labels in SELECTORS.items():
        admin.call("POST", f"/apis/apps/v1/namespaces/{namespace}/deployments", deployment(name, labels, 1))
    admin.call("POST", f"/api/v1/namespaces/{namespace}/services", service("web", SELECTORS["blue"]))

    def ready() -> bool:
        found = admin.call("GET", f"/apis/apps/v1/namespaces/{namespace}/deployments")["items"]
        slices = admin.call("GET", f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices")["items"]
        ends = [end for one in slices for end in one.get("endpoints") or ()]
        return len(ends) == 1 and all((one.get("status") or {}).get("readyReplicas") == 1 for one in found)

    until(ready)
    certificate, context = tls
    with (
        proxy.for_pods(cluster.kubeconfig, context) as (front, port),
        node.running(admin, namespace, port, certificate, tmp_path) as machine,
    ):
        kubeconfig = account(cluster, admin, namespace, tmp_path, documented("Role"))
        yield Site(kubeconfig, admin, namespace, machine, front)
        for pod in machine.pods.values():
            print(pod.log)  # is shown where a test fails


def test_what_a_dead_run_left_is_undone_in_time_and_the_next_run_knows(site: Site, until: Until) -> None:
    first = site.leave()
    # The first time is over, and it was renewed.
    while time.time() < first + 0.5:
        site.arm()
    assert site.serves == "green"
    armed = site.store.read_guard()
    assert armed is not None
    late = site.wait_back(until, armed["deadline_at"])
    assert -0.2 < late < LATE
    assert site.events[-4:] == ["guard_fired", "weight_intended", "weight_set", "failed"]
    with pytest.raises(FencedError, match="has sent the traffic of shop back to blue .* nobody renewed it for 1.5 s"):
        site.change(100)
    assert site.serves == "blue"
    begun = site.begin()
    assert begun["decision"]["kind"] == "resume"
    assert "the guard has sent the traffic of shop back to blue" in begun["decision"]["sentence"]
    site.arm(60)
    site.change(100)
    site.arm()
    assert Guarding(site.plan, site.token).disarm()
    time.sleep(1.7)
    assert (site.serves, site.store.read_guard()) == ("green", None)
    # One process did all of it.
    assert len(site.node.pod.processes) == 1


def test_a_ratio_of_pods_is_undone_by_the_selector_alone(site: Site, until: Until) -> None:
    """R-D6: with no right to scale anything."""
    site.plan = site.make_plan(router={"provider": "k8s_replicas", "both": {"app": "shop"}})
    site.begin()
    site.arm(60)
    site.change(50)
    assert site.selected == {"app": "shop"}
    site.arm()
    armed = site.store.read_guard()
    assert armed is not None
    assert -0.2 < site.wait_back(until, armed["deadline_at"]) < LATE
    found = site.admin.call("GET", f"/apis/apps/v1/namespaces/{site.namespace}/deployments")["items"]
    assert [one["spec"]["replicas"] for one in found] == [1, 1]
    with pytest.raises(FencedError):
        site.change(100)


def test_a_process_that_has_just_ended_is_followed_by_another(site: Site, until: Until) -> None:
    """R-B13: it ends when it has nothing to guard for a while, which may be when the next run arms."""
    site.begin()
    site.arm(60)
    Guarding(site.plan, site.token).disarm()
    first = site.node.pod
    jobs = f"/apis/batch/v1/namespaces/{site.namespace}/jobs/{guard_pod.name_of('shop')}"
    site.admin.gone(jobs)
    until(lambda: first.processes[-1].poll() is not None)
    site.arm(3)
    assert site.node.pod is not first
    # All of its time begins with the second one.
    armed = site.store.read_guard()
    assert armed is not None
    site.change(100)
    assert -0.2 < site.wait_back(until, armed["deadline_at"]) < LATE


def test_it_may_change_what_moves_the_traffic_and_its_record_and_nothing_else(site: Site, cluster: Cluster) -> None:
    site.begin()
    site.arm(60)
    site.admin.call("POST", f"/api/v1/namespaces/{site.namespace}/services", service("other", SELECTORS["blue"]))
    token = (site.node.pod.folder / "account" / "token").read_text()
    guard = Client(cluster.kubeconfig, token)
    core, apps = f"/api/v1/namespaces/{site.namespace}", f"/apis/apps/v1/namespaces/{site.namespace}"
    leases = f"/apis/coordination.k8s.io/v1/namespaces/{site.namespace}/leases"
    roles = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{site.namespace}/roles"
    name = guard_pod.name_of("shop")
    mine = ("GET", f"{core}/services/web"), ("GET", f"{core}/configmaps/bluegreen-shop"), ("GET", f"{core}/pods")
    for method, path in mine:
        guard.call(method, path)
    forbidden = [
        ("PATCH", f"{core}/services/other"),
        ("GET", f"{core}/services/other"),
        ("GET", f"{core}/services"),
        ("DELETE", f"{core}/services/web"),
        ("GET", f"{core}/secrets/any"),
        ("GET", f"{core}/secrets"),
        ("GET", f"{core}/configmaps"),
        ("PATCH", f"{core}/configmaps/{name}"),
        ("DELETE", f"{core}/configmaps/bluegreen-shop"),
        ("PATCH", f"{core}/pods/any"),
        ("PATCH", f"{apps}/deployments/blue"),
        ("DELETE", f"{apps}/deployments/blue"),
        ("PATCH", f"{leases}/bluegreen-other"),
        ("DELETE", f"{leases}/bluegreen-shop"),
        ("PATCH", f"{roles}/{name}"),
        ("GET", f"/apis/batch/v1/namespaces/{site.namespace}/jobs"),
        ("GET", "/api/v1/namespaces/default/services/web"),
    ]
    for method, path in forbidden:
        with pytest.raises(RefusedError) as caught:
            guard.call(method, path, {} if method == "PATCH" else None, MERGE)
        assert (caught.value.code, method, path) == (403, method, path)


def test_an_api_that_fails_in_five_ways_and_takes_another_token_does_not_stop_it(site: Site, until: Until) -> None:
    due = site.leave(3)
    pod = site.node.pod
    old = (pod.folder / "account" / "token").read_text()
    site.node.renew(pod, guard_pod.name_of("shop"))
    ways = [Fault(status=429), Fault(status=500), Fault(status=503), Fault(cut="before"), Fault(cut="after")]

    def fail(seen: Seen) -> Fault | None:
        if seen.token == old:
            return Fault(status=401)
        return ways.pop() if ways and not seen.is_watch and seen.number % 3 == 0 else None

    site.front.fresh(fail)
    assert site.wait_back(until, due) < LATE
    assert ways == []
    assert {seen.token == old for seen in site.front.requests} == {True, False}
    assert site.events.count("guard_fired") == site.events.count("failed") == 1


def test_a_pod_that_is_killed_as_it_acts_is_followed_by_one_that_ends_the_work(site: Site, until: Until) -> None:
    cuts = ["after", "before"]

    def kill(seen: Seen) -> Fault | None:
        if seen.method != "PATCH" or "/services/web" not in seen.path or not cuts:
            return None
        return Fault(cut=cuts.pop(), call=site.node.pod.kill)

    site.front.fresh(kill)
    due = site.leave(3)
    # Once while it waits: the next one knows how much of the time is over.
    site.node.pod.kill()
    back = due + site.wait_back(until, due)
    started = site.node.pod.started
    assert (cuts, len(started)) == ([], 4)
    # How soon a container is started again is not the guard's.
    assert back - max(due, started[2]) < LATE
    assert site.events.count("guard_fired") == site.events.count("failed") == 1


def test_two_guards_do_it_once(site: Site, until: Until) -> None:
    due = site.leave()
    jobs = f"/apis/batch/v1/namespaces/{site.namespace}/jobs/{guard_pod.name_of('shop')}"
    second = site.node.make(site.admin.call("GET", jobs), "second")
    second.start()
    try:
        assert site.wait_back(until, due) < LATE
        assert site.events.count("guard_fired") == site.events.count("failed") == 1
        time.sleep(0.5)
        assert [pod.processes[-1].poll() for pod in (second, site.node.pod)] == [None, None]
    finally:
        second.end()
    assert site.serves == "blue"


def test_a_run_that_comes_back_in_the_same_moment_holds_or_is_refused(site: Site, until: Until) -> None:
    outcomes = []
    for offset in (-2.0, 0.0, 0.1, None):
        due = site.leave(2.5)
        if offset is None:
            # It has sent the traffic back, and may not have told so yet.
            until(site.is_back, due - time.time() + 60)
        else:
            time.sleep(max(0.0, due + offset - time.time()))
        held = False
        # What a run does that was suspended: it renews, and goes on. Any other error fails the test.
        with contextlib.suppress(FencedError):
            site.arm(60)
            site.change(100)
            held = True
        if held:
            time.sleep(0.3)
            assert (site.serves, site.state.weight, (site.store.read_guard() or {})["state"]) == ("green", 100, "armed")
            site.change(0)
            assert Guarding(site.plan, site.token).disarm() is False
            site.store.write_lease(None)
        else:
            site.wait_back(until, due)
        outcomes.append(held)
    # Long before it holds, after it does not; in between it is one of the two.
    assert (outcomes[0], outcomes[-1]) == (True, False)


class Prometheus(ThreadingHTTPServer):
    """Has one series, ``ill``, each second; ``since`` when it is 1 instead of 0."""

    daemon_threads = True
    since = float("inf")


class _Asked(BaseHTTPRequestHandler):
    server: Prometheus

    def do_POST(self) -> None:
        asked = {name: values[0] for name, values in parse_qs(self._body()).items()}
        now = time.time()
        result: list[Any] = []
        kind = "matrix"
        if "start" in asked:
            start, end, step = (float(asked[name]) for name in ("start", "end", "step"))
            times = [start + step * n for n in range(int((end - start) / step) + 1)]
            values = [[at, str(self._value(asked["query"], at))] for at in times if at <= now]
            result = [{"metric": {"__name__": "ill"}, "values": values}]
        else:
            at, kind = float(asked.get("time", now)), "vector"
            result = [{"metric": {}, "value": [at, str(self._value(asked["query"], at))]}]
        if asked["query"] == "time()":
            kind, result = "scalar", [now, str(now)]
        body = json.dumps({"status": "success", "data": {"resultType": kind, "result": result}}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _body(self) -> str:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()

    def _value(self, query: str, at: float) -> float:
        if query.startswith("timestamp("):
            return float(int(at))
        return float(at >= self.server.since)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name in the base class
        """Nobody reads it."""


@pytest.fixture
def prometheus() -> Iterator[tuple[Prometheus, str]]:
    with Prometheus(("127.0.0.1", 0), _Asked) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield server, f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join(5)


def test_a_trigger_takes_a_confirmed_step_back(site: Site, until: Until, prometheus: tuple[Prometheus, str]) -> None:
    server, url = prometheus
    site.plan = site.make_plan(url, triggers=[{"name": "ill", "query": "ill", "max": 0.5, "for": 1}])
    # The step is confirmed before its time is over.
    due = site.leave(5)
    assert Guarding(site.plan, site.token).confirm()
    time.sleep(max(0.0, due + 0.2 - time.time()))
    assert (site.serves, (site.store.read_guard() or {})["state"]) == ("green", "watching")
    server.since = time.time()
    # A scrape, a second of it, a look each second.
    assert site.wait_back(until, server.since + 3) < LATE
    assert (site.state.fired or {})["cause"] == "trigger"
