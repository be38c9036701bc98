# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Job that builds an image, and what its pods tell (R-B8)."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.bluegreen.cutover.plugins.module_utils._core import builds
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.builds import Build
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import InputError

COMMIT = "6f1c2a7d9be04c53a1f0d2e8b7c6a5948372615e"
DIGEST = "sha256:" + "ab" * 32
GIVEN: dict[str, Any] = {
    "name": "api",
    "image": "registry:5000/nextstep/api",
    "repository": "https://git.example/nextstep.git",
    "revision": COMMIT,
    "path": "apps/api",
    "arguments": {"LEVEL": "a b; rm -rf /"},
    "push_secret": "registry",
}


def pod_of(**changes: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    job = builds.manifest(Build(**{**GIVEN, **changes}), deadline=600, ttl=60)
    return job, job["spec"]["template"]["spec"]


def test_kaniko_builds_one_commit_and_leaves_its_digest() -> None:
    job, pod = pod_of()
    assert pod["containers"][0]["args"] == [
        f"--context=git://git.example/nextstep.git#{COMMIT}",
        "--context-sub-path=apps/api",
        "--dockerfile=Dockerfile",
        "--destination=registry:5000/nextstep/api:6f1c2a7d9be0",
        "--digest-file=/dev/termination-log",
        "--build-arg=LEVEL=a b; rm -rf /",
    ]
    assert {"name": "GIT_PULL_METHOD", "value": "https"} in pod["containers"][0]["env"]
    assert pod["volumes"][0]["secret"]["items"] == [{"key": ".dockerconfigjson", "path": "config.json"}]
    assert (pod["automountServiceAccountToken"], pod["restartPolicy"]) == (False, "Never")
    ends = ("backoffLimit", "activeDeadlineSeconds", "ttlSecondsAfterFinished")
    assert [job["spec"][name] for name in ends] == [0, 600, 60]


def test_buildkits_script_passes_words_on_and_finds_the_digest(tmp_path: Path) -> None:
    _job, pod = pod_of(builder="buildkit", builder_image="mirror/buildkit@sha256:1", service_account="builder")
    container = pod["containers"][0]
    assert (container["image"], pod["serviceAccountName"]) == ("mirror/buildkit@sha256:1", "builder")
    assert f"--opt=context=https://git.example/nextstep.git#{COMMIT}:apps/api" in container["command"]
    # The script itself, by a real shell, with a builder that writes down what it got.
    metadata = '{\\n  "containerimage.descriptor": {"digest": "no"},\\n  "containerimage.digest": "' + DIGEST + '"\\n}'
    (tmp_path / "buildctl-daemonless.sh").write_text(
        f'#!/bin/sh\nprintf "%s\\n" "$@" >{tmp_path}/words\nprintf \'{metadata}\' >{tmp_path}/metadata.json\n'
    )
    (tmp_path / "buildctl-daemonless.sh").chmod(0o755)
    shell, option, script, *words = container["command"]
    script = script.replace("/tmp/", f"{tmp_path}/").replace("/dev/termination-log", f"{tmp_path}/log")  # noqa: S108
    subprocess.run([shell, option, script, *words], env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, check=True, timeout=60)
    assert "--opt=build-arg:LEVEL=a b; rm -rf /" in (tmp_path / "words").read_text().splitlines()
    assert (tmp_path / "log").read_text().strip() == DIGEST


def test_the_same_image_has_the_same_job_whoever_builds_it() -> None:
    one = Build(**GIVEN)
    assert Build(**{**GIVEN, "builder": "buildkit", "resources": {"limits": {"cpu": "1"}}}).job == one.job
    other = [Build(**{**GIVEN, **change}).job for change in ({"revision": "0" * 40}, {"path": ""}, {"arguments": {}})]
    assert len({one.job, *other}) == 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"revision": "main"}, "revision is 'main'; a whole commit's hash is needed"),
        ({"image": "registry/app:latest"}, "without tag or digest"),
        ({"image": "registry/app@sha256:1"}, "without tag or digest"),
        ({"repository": "git@github.com:a/b.git"}, "an address like https"),
        ({"repository": "https://bob:secret@git.example/a.git"}, "repository has a user or a password"),
        ({"path": "../other"}, "a path inside the repository"),
        ({"dockerfile": "/etc/passwd"}, "a path below path"),
        ({"name": "API"}, "name is 'API'"),
    ],
)
def test_what_cannot_be_built_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        Build(**{**GIVEN, **change})
    assert "secret" not in caught.value.message or "password" in caught.value.message
    assert "bob:" not in caught.value.message


def ended(message: str, code: int = 0) -> dict[str, Any]:
    state = {"terminated": {"exitCode": code, "message": message}}
    return {"metadata": {"name": "p"}, "status": {"phase": "Succeeded", "containerStatuses": [{"state": state}]}}


def test_only_a_digest_of_a_build_that_ended_well_counts() -> None:
    assert builds.digest([ended(DIGEST + "\n")]) == DIGEST
    assert builds.digest([ended(DIGEST, 1)]) is None
    assert builds.digest([ended("error: no space left")]) is None
    assert builds.digest([]) is None


def test_what_a_pod_waits_for_is_told() -> None:
    held = {"state": {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}}
    unscheduled = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes"}
    pods = [
        {"metadata": {"name": "a"}, "status": {"phase": "Pending", "containerStatuses": [held]}},
        {"metadata": {"name": "b"}, "status": {"phase": "Pending", "conditions": [unscheduled]}},
        {"metadata": {"name": "c"}, "status": {"phase": "Running"}},
    ]
    told = "a is ImagePullBackOff no such image; b is Unschedulable: 0/3 nodes; c is Running"
    assert builds.waiting(pods) == told
    assert builds.waiting([]) == "no pod is there yet"
