# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a build's error has of its log, and what becomes of answers that are lost (R-B8)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.bluegreen.cutover.plugins.module_utils import _building
from ansible_collections.bluegreen.cutover.plugins.module_utils._building import Record
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.builds import Build, manifest
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import BuildError, ClusterError
from cluster.inprocess import Answer

if TYPE_CHECKING:
    from .conftest import Shop

JOBS = "/apis/batch/v1/namespaces/shop/jobs"
PODS = "/api/v1/namespaces/shop/pods"
API = Build(
    name="api",
    image="registry.invalid/api",
    repository="https://git.invalid/api.git",
    revision="6f1c2a7d9be04c53a1f0d2e8b7c6a5948372615e",
)


@pytest.fixture
def failed(empty: Shop) -> Shop:
    """The namespace with a Job that has failed as soon as it is there, and its pod."""
    job = manifest(API, deadline=60, ttl=60)
    template = job["spec"]["template"]
    empty.setter.make(PODS, {"metadata": {"name": "p", **template["metadata"]}, "spec": template["spec"]})
    post = empty.pool.request

    def request(method: str, url: str, **options: Any) -> Any:
        answer = post(method, url, **options)
        if method == "POST" and url.split("?", maxsplit=1)[0].endswith("/jobs") and answer.status == 201:
            status = {"conditions": [{"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded"}]}
            empty.patch(f"{JOBS}/{API.job}/status", {"status": status})
        return answer

    empty.pool.request = request  # type: ignore[method-assign]
    return empty


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (Answer(200, b"step 3\nno space left\n"), "The end of its log:\nstep 3\nno space left\n"),
        (Answer(200, b""), "The end of its log:\n(it is empty)\n"),
        (
            Answer(403, json.dumps({"message": "pods/log is forbidden"}).encode()),
            "(it cannot be read: the cluster refused",
        ),
        (TimeoutError("it took too long"), "(it cannot be read: the cluster's API at https://cluster did not answer"),
    ],
)
def test_an_error_has_the_end_of_the_log_or_says_why_not(failed: Shop, answer: Any, told: str) -> None:
    failed.pool.fault = lambda _method, path: answer if "/log?" in path else None
    with pytest.raises(BuildError) as caught:
        _building.build(failed.cluster, "shop", API, timeout=5, ttl=60)
    assert told in caught.value.message
    assert "failed (BackoffLimitExceeded)" in caught.value.message


def test_a_record_is_written_beside_others_and_over_nobody(empty: Shop) -> None:
    record = Record(empty.cluster, "shop", API)
    record.write("sha256:1")
    other = Build(**{**API.__dict__, "revision": "0" * 40})
    path = "/api/v1/namespaces/shop/configmaps/bluegreen-images-api"
    raced: list[str] = []

    def race(method: str, _path: str) -> None:
        if method == "PUT" and not raced:
            raced.append("once")
            empty.patch(path, {"metadata": {"labels": {"somebody": "else"}}})

    empty.pool.fault = race  # type: ignore[assignment]
    Record(empty.cluster, "shop", other).write("sha256:2")
    assert (record.read(), Record(empty.cluster, "shop", other).read()) == ("sha256:1", "sha256:2")
    assert empty.get(path)["metadata"]["labels"]["somebody"] == "else"


def test_a_job_that_does_not_go_is_told(failed: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_building, "PAUSES", (0.001, 0.001))
    with pytest.raises(BuildError):
        _building.build(failed.cluster, "shop", API, timeout=5, ttl=60)
    failed.pool.fault = lambda method, _path: Answer(409, b"{}") if method == "DELETE" else None
    with pytest.raises(BuildError, match="of a build that failed does not go"):
        _building.build(failed.cluster, "shop", API, timeout=5, ttl=60)


def test_a_server_that_refuses_the_job_is_told(empty: Shop) -> None:
    empty.pool.fault = lambda method, _path: (
        Answer(403, json.dumps({"message": "exceeded quota"}).encode()) if method == "POST" else None
    )
    with pytest.raises(ClusterError, match="exceeded quota"):
        _building.build(empty.cluster, "shop", API, timeout=5, ttl=60)
