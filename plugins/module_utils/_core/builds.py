# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Images that are built in a cluster: the Job that does it, and what became of it (R-B8)."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import InputError

KANIKO = "kaniko"
BUILDKIT = "buildkit"
BUILDERS = {KANIKO: "gcr.io/kaniko-project/executor:v1.23.2", BUILDKIT: "moby/buildkit:rootless"}
"""The image of each builder, when none is given."""

LABEL = "bluegreen.cutover/build"
MANAGED = {"app.kubernetes.io/managed-by": "bluegreen.cutover"}

RUNNING = "running"
SUCCEEDED = "succeeded"
FAILED = "failed"

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")
_IMAGE = re.compile(r"[a-z0-9.-]+(:[0-9]{1,5})?(/[a-z0-9._-]+)+")
_REVISION = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_PATH = re.compile(r"(?!/)(?!.*(^|/)\.\.(/|$))[\w./-]*")
_SECRETS = "/docker"
# The digest is all of the metadata that has room in a termination message, which ends after 4096 bytes.
_BUILDKIT = (
    'buildctl-daemonless.sh build "$@" --metadata-file /tmp/metadata.json\n'
    'sed -n \'s/.*"containerimage.digest": *"\\([^"]*\\)".*/\\1/p\' /tmp/metadata.json >/dev/termination-log'
)


@dataclass(frozen=True)
class Build:
    """What is built: ``path`` of the commit ``revision`` of ``repository``, pushed to ``image``, without a tag.

    ``push_secret`` names a Secret of the type ``kubernetes.io/dockerconfigjson``. ``arguments`` are no secrets: whoever
    may read Jobs, or the image, can read them.
    """

    name: str
    image: str
    repository: str
    revision: str
    path: str = ""
    dockerfile: str = "Dockerfile"
    arguments: Mapping[str, str] = field(default_factory=dict)
    builder: str = KANIKO
    builder_image: str = ""
    push_secret: str = ""
    service_account: str = ""
    resources: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        parts = urlsplit(self.repository)
        wrong = [
            problem
            for right, problem in (
                (_NAME.fullmatch(self.name), f"name is {self.name!r}; 1…40 of a-z, 0-9 and '-' are needed"),
                (
                    _IMAGE.fullmatch(self.image),
                    f"image is {self.image!r}; like registry:5000/app, without tag or digest",
                ),
                (
                    parts.scheme in ("http", "https") and parts.hostname and not parts.fragment,
                    f"repository is {self.repository!r}; an address like https://git.example/app.git is needed",
                ),
                (
                    parts.username is None and parts.password is None,
                    "repository has a user or a password in it, which would be in the Job; give its account access",
                ),
                (
                    _REVISION.fullmatch(self.revision),
                    f"revision is {self.revision!r}; a whole commit's hash is needed, for a branch or a tag may move",
                ),
                (_PATH.fullmatch(self.path), f"path is {self.path!r}; a path inside the repository is needed"),
                (_PATH.fullmatch(self.dockerfile), f"dockerfile is {self.dockerfile!r}; a path below path is needed"),
                (self.builder in BUILDERS, f"builder is {self.builder!r}; one of {', '.join(BUILDERS)} is needed"),
            )
            if not right
        ]
        if wrong:
            raise InputError("; ".join(wrong) + ". Nothing was built")

    @property
    def id(self) -> str:
        """The same for what makes the same image; who builds it, and with how much, is no part of that."""
        of = ("image", "repository", "revision", "path", "dockerfile", "arguments")
        given = dataclasses.asdict(self)
        text = json.dumps({name: given[name] for name in of}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:10]

    @property
    def job(self) -> str:
        return f"build-{self.name}-{self.id}"

    @property
    def tagged(self) -> str:
        return f"{self.image}:{self.revision[:12]}"


def manifest(build: Build, *, deadline: int, ttl: int) -> dict[str, Any]:
    """The Job. It ends after ``deadline`` seconds, is tried once, and goes ``ttl`` seconds after its end."""
    labels = {**MANAGED, LABEL: f"{build.name}-{build.id}"}
    container, volumes = (_kaniko if build.builder == KANIKO else _buildkit)(build)
    container = {
        "name": "build",
        "image": build.builder_image or BUILDERS[build.builder],
        # What cannot be read there is the end of the log: a failure of the builder says why.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        **({"resources": dict(build.resources)} if build.resources else {}),
        **container,
    }
    if build.push_secret:
        key = {"key": ".dockerconfigjson", "path": "config.json"}
        volumes.append({"name": "docker", "secret": {"secretName": build.push_secret, "items": [key]}})
        container["volumeMounts"] = [
            *container.get("volumeMounts", []),
            {"name": "docker", "mountPath": _SECRETS, "readOnly": True},
        ]
    spec = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": bool(build.service_account),
        "containers": [container],
        **({"volumes": volumes} if volumes else {}),
        **({"serviceAccountName": build.service_account} if build.service_account else {}),
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": build.job,
            "labels": labels,
            "annotations": {"bluegreen.cutover/revision": build.revision, "bluegreen.cutover/image": build.image},
        },
        "spec": {
            "backoffLimit": 0,
            "activeDeadlineSeconds": deadline,
            "ttlSecondsAfterFinished": ttl,
            "template": {"metadata": {"labels": labels}, "spec": spec},
        },
    }


def _kaniko(build: Build) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    parts = urlsplit(build.repository)
    arguments = [
        f"--context=git://{parts.netloc}{parts.path}#{build.revision}",
        *([f"--context-sub-path={build.path}"] if build.path else []),
        f"--dockerfile={build.dockerfile}",
        f"--destination={build.tagged}",
        "--digest-file=/dev/termination-log",
        *(f"--build-arg={name}={value}" for name, value in sorted(build.arguments.items())),
    ]
    environment = {"GIT_PULL_METHOD": parts.scheme, "DOCKER_CONFIG": _SECRETS}
    return {"args": arguments, "env": _environment(environment)}, []


def _buildkit(build: Build) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    arguments = [
        "--frontend=dockerfile.v0",
        f"--opt=context={build.repository}#{build.revision}{':' + build.path if build.path else ''}",
        f"--opt=filename={build.dockerfile}",
        f"--output=type=image,name={build.tagged},push=true",
        *(f"--opt=build-arg:{name}={value}" for name, value in sorted(build.arguments.items())),
    ]
    # Rootless, as its documentation has it: no privileges, but none of the filters that keep user namespaces away.
    return {
        "command": ["sh", "-ec", _BUILDKIT, "build", *arguments],
        "env": _environment({"BUILDKITD_FLAGS": "--oci-worker-no-process-sandbox", "DOCKER_CONFIG": _SECRETS}),
        "securityContext": {
            "runAsUser": 1000,
            "runAsGroup": 1000,
            "seccompProfile": {"type": "Unconfined"},
            "appArmorProfile": {"type": "Unconfined"},
        },
        "volumeMounts": [{"name": "work", "mountPath": "/home/user/.local/share/buildkit"}],
    }, [{"name": "work", "emptyDir": {}}]


def _environment(values: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"name": name, "value": value} for name, value in values.items()]


def outcome(job: Mapping[str, Any] | None) -> tuple[str, str]:
    """Whether the Job runs, succeeded or failed, and why it failed."""
    for condition in ((job or {}).get("status") or {}).get("conditions") or ():
        if condition["status"] == "True" and condition["type"] in ("Complete", "Failed"):
            kind = SUCCEEDED if condition["type"] == "Complete" else FAILED
            return kind, f"{condition.get('reason', '')}: {condition.get('message', '')}".strip(": ")
    return RUNNING, ""


def digest(pods: Sequence[Mapping[str, Any]]) -> str | None:
    """The digest that a builder has left when it ended well; None where there is none."""
    found = [
        str(ended.get("message") or "").strip() for ended in map(_ended, pods) if ended and ended.get("exitCode") == 0
    ]
    return next((text for text in found if _DIGEST.fullmatch(text)), None)


def waiting(pods: Sequence[Mapping[str, Any]]) -> str:
    """What the pods are at, in words: why one does not begin, such as an image that cannot be pulled."""
    told = []
    for pod in pods:
        status = pod.get("status") or {}
        reasons = [
            f"{held.get('reason', '')} {held.get('message', '')}".strip()
            for one in status.get("containerStatuses") or ()
            if (held := (one.get("state") or {}).get("waiting"))
        ]
        refused = [
            f"{one.get('reason', '')}: {one.get('message', '')}"
            for one in status.get("conditions") or ()
            if one["type"] == "PodScheduled" and one["status"] == "False"
        ]
        told.append(f"{pod['metadata']['name']} is {', '.join(reasons + refused) or status.get('phase', 'Pending')}")
    return "; ".join(told) or "no pod is there yet"


def _ended(pod: Mapping[str, Any]) -> Mapping[str, Any] | None:
    statuses = (pod.get("status") or {}).get("containerStatuses") or ()
    return next((one["state"]["terminated"] for one in statuses if (one.get("state") or {}).get("terminated")), None)
