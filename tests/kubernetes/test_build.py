# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Image builds (R-B8). The server is what the closing lines name; nothing here runs a container: the Job's controller
makes its pod, each test says of it what a kubelet would, and no image is built.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any

import pytest
from ansible_collections.bluegreen.cutover.plugins.module_utils import _building
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.builds import LABEL, Build
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import BuildError
from ansible_collections.bluegreen.cutover.plugins.module_utils._kubernetes import connect
from cluster.client import MERGE, Client
from cluster.starting import Cluster

Until = Callable[..., Any]
DIGEST = "sha256:" + "cd" * 32
API = Build(
    name="api",
    image="registry.invalid/nextstep/api",
    repository="https://git.invalid/nextstep.git",
    revision="6f1c2a7d9be04c53a1f0d2e8b7c6a5948372615e",
)


class Cast:
    """The kubelet, for one build in a thread beside the test."""

    def __init__(self, cluster: Cluster, admin: Client, namespace: str, until: Until) -> None:
        self.runner = connect(str(cluster.kubeconfig))
        self.admin = admin
        self.namespace = namespace
        self.until = until
        self.result: dict[str, Any] = {}
        self.error: BuildError | None = None
        self.told: list[str] = []
        self.jobs = f"/apis/batch/v1/namespaces/{namespace}/jobs"
        self.pods = f"/api/v1/namespaces/{namespace}/pods"

    def build(self, given: Build = API, timeout: int = 120, **options: Any) -> dict[str, Any]:
        told = self.told.append
        return _building.build(self.runner, self.namespace, given, timeout=timeout, ttl=60, tell=told, **options)

    def begin(self, timeout: int = 120) -> threading.Thread:
        def run() -> None:
            try:
                self.result = self.build(timeout=timeout)
            except BuildError as error:
                self.error = error

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        return thread

    def job(self) -> dict[str, Any]:
        def running() -> list[dict[str, Any]]:
            found = self.admin.call("GET", self.jobs)["items"]
            return [one for one in found if not (one.get("status") or {}).get("conditions")]

        found: list[dict[str, Any]] = self.until(running)
        return found[0]

    def pod(self, job: dict[str, Any]) -> str:
        """Its name, when it runs."""

        def running() -> list[str]:
            return [
                pod["metadata"]["name"]
                for pod in self.admin.call("GET", self.pods)["items"]
                if pod["metadata"]["ownerReferences"][0]["uid"] == job["metadata"]["uid"]
                and (pod.get("status") or {}).get("phase") == "Running"
            ]

        [name] = self.until(running)
        return str(name)

    def tell(self, pod: str, phase: str, state: dict[str, Any]) -> None:
        container = {"name": "build", "image": "builder", "imageID": "", "ready": False, "restartCount": 0}
        status = {"phase": phase, "containerStatuses": [{**container, "state": state}]}
        self.admin.call("PATCH", f"{self.pods}/{pod}/status", {"status": status}, MERGE)

    def end(self, pod: str, message: str, code: int = 0) -> None:
        ended = {"exitCode": code, "message": message, "finishedAt": "2026-01-01T00:00:00Z"}
        self.tell(pod, "Failed" if code else "Succeeded", {"terminated": ended})

    def built_anew(self, job: dict[str, Any]) -> None:
        """A next run builds by a Job of its own, and not by what is left of ``job``."""
        run = self.begin()
        again = self.job()
        assert again["metadata"]["uid"] != job["metadata"]["uid"]
        self.end(self.pod(again), DIGEST)
        run.join(60)
        assert self.result["digest"] == DIGEST


@pytest.fixture
def cast(cluster: Cluster, admin: Client, namespace: str, until: Until, monkeypatch: pytest.MonkeyPatch) -> Cast:
    monkeypatch.setattr(_building, "PROGRESS", 0.2)
    return Cast(cluster, admin, namespace, until)


def test_r_b8_an_image_is_built_once_and_known_by_its_digest(cast: Cast) -> None:
    would = cast.build(check_mode=True)
    assert (would["changed"], would["digest"], cast.admin.call("GET", cast.jobs)["items"]) == (True, None, [])
    run = cast.begin()
    job = cast.job()
    pod = cast.pod(job)
    cast.until(lambda: any(f"{API.job}: {pod} is Running; " in line for line in cast.told))
    cast.end(pod, DIGEST + "\n")
    run.join(60)
    assert cast.result["reference"] == f"registry.invalid/nextstep/api@{DIGEST}"
    assert job["metadata"]["labels"][LABEL] == f"api-{API.id}"
    # Its time to live is over: the Job is gone, and the image is known all the same.
    cast.admin.call("DELETE", f"{cast.jobs}/{job['metadata']['name']}")
    again = cast.build()
    assert (again["changed"], again["digest"], again["seconds"]) == (False, DIGEST, 0.0)
    kept = cast.admin.call("GET", f"/api/v1/namespaces/{cast.namespace}/configmaps/bluegreen-images-api")["data"]
    assert json.loads(kept[API.id])["revision"] == API.revision


def test_a_build_that_fails_tells_its_end_and_is_tried_anew(cast: Cast) -> None:
    run = cast.begin()
    job = cast.job()
    cast.end(cast.pod(job), "no such base image", 1)
    run.join(60)
    assert cast.error is not None
    assert (
        f"{API.job} of registry.invalid/nextstep/api in {cast.namespace} failed (BackoffLimitExceeded: "
        in cast.error.message
    )
    cast.built_anew(job)


def test_two_runs_at_once_share_one_job(cast: Cast) -> None:
    first, second = cast.begin(), cast.begin()
    job = cast.job()
    cast.end(cast.pod(job), DIGEST)
    first.join(60)
    second.join(60)
    assert cast.error is None
    assert len(cast.admin.call("GET", cast.jobs)["items"]) == 1


def test_a_build_that_never_begins_has_an_end_and_says_what_it_waits_for(cast: Cast) -> None:
    run = cast.begin(timeout=6)
    pod = cast.pod(cast.job())
    cast.tell(pod, "Pending", {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}})
    run.join(60)
    assert cast.error is not None
    # Who ends it first, the Job's controller or this run, is open; with the Job goes its pod.
    assert f"{pod} is ImagePullBackOff no such image" in cast.error.message


def test_one_that_ends_without_a_digest_is_no_success(cast: Cast) -> None:
    run = cast.begin()
    job = cast.job()
    cast.end(cast.pod(job), "done")
    run.join(60)
    assert cast.error is not None
    assert "does not tell the digest of what it pushed; its Job is deleted" in cast.error.message
    # At once, and not when its time to live is over.
    cast.built_anew(job)


def test_one_whose_job_is_deleted_ends_at_once(cast: Cast) -> None:
    run = cast.begin()
    job = cast.job()
    pod = cast.pod(job)
    cast.until(lambda: any(f"{pod} is Running" in line for line in cast.told))
    cast.admin.call("DELETE", f"{cast.jobs}/{job['metadata']['name']}")
    run.join(5)
    assert cast.error is not None
    assert "was deleted before it told a digest" in cast.error.message
