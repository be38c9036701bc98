# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the pods of Jobs, as processes of this machine: what a Job says is what they are started with.

They have the files of their volumes, a token of their ServiceAccount and the address of the API, and nothing else.
"""

from __future__ import annotations

import base64
import contextlib
import shutil
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import proxy
from .client import Client, RefusedError

ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"


def authority(folder: Path) -> tuple[Path, ssl.SSLContext]:
    """A certificate for loopback that is its own authority, and what serves with it."""
    certificate, key = folder / "ca.crt", folder / "ca.key"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-keyout", str(key), "-out", str(certificate), "-days", "2", "-subj", "/CN=tests"),
            *("-addext", "subjectAltName=IP:127.0.0.1"),
        ],
        check=True,
        capture_output=True,
        timeout=60,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return certificate, context


@dataclass
class Pod:
    """One of a Job. ``folder`` is all that it has; its ``log`` is what it said, ``started`` when each process was."""

    folder: Path
    command: list[str]
    environment: Mapping[str, str]
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)
    started: list[float] = field(default_factory=list)

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()

    def start(self) -> None:
        self.started.append(time.time())
        with (self.folder / "log").open("ab") as log:
            process = subprocess.Popen(
                self.command,
                env=dict(self.environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
            )
        self.processes.append(process)

    def kill(self) -> None:
        """As a machine that loses its power; a container that ended so is started again."""
        self.processes[-1].kill()

    def end(self) -> None:
        process = self.processes[-1]
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(5)


class Node:
    """``admin`` looks for Jobs; ``port`` is where pods have the API, and ``certificate`` who vouches for it."""

    def __init__(self, admin: Client, namespace: str, port: int, certificate: Path, scratch: Path) -> None:
        self.admin = admin
        self.namespace = namespace
        self.pods: dict[str, Pod] = {}
        self.port, self.certificate, self.scratch = port, certificate, scratch
        self._jobs = f"/apis/batch/v1/namespaces/{namespace}/jobs"
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def pod(self) -> Pod:
        """The only one."""
        [pod] = self.pods.values()
        return pod

    def end(self) -> None:
        self._ended.set()
        self._thread.join(10)
        for pod in self.pods.values():
            pod.end()

    def make(self, job: Mapping[str, Any], name: str) -> Pod:
        """A pod of ``job``, which is not looked after."""
        spec = job["spec"]["template"]["spec"]
        # What a pod needs may come after its Job: then it is made again.
        folder = self.scratch / name
        folder.mkdir(exist_ok=True)
        given = {volume["name"]: volume for volume in spec["volumes"]}
        container = spec["containers"][0]
        places = {mount["mountPath"]: folder / mount["name"] for mount in container["volumeMounts"]}
        for mount in container["volumeMounts"]:
            self._fill(given[mount["name"]], folder / mount["name"])
        places[ACCOUNT] = folder / "account"
        places[ACCOUNT].mkdir(exist_ok=True)
        shutil.copy(self.certificate, places[ACCOUNT])
        pod = Pod(folder, [], {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": str(self.port)})
        self.renew(pod, spec["serviceAccountName"])
        for word in container["command"]:
            inside = next((place for place in places if word == place or word.startswith(f"{place}/")), None)
            pod.command.append(word if inside is None else str(places[inside]) + word[len(inside) :])
        assert pod.command[0] == "python3"
        pod.command[0] = sys.executable
        return pod

    def renew(self, pod: Pod, account: str) -> str:
        """Give the pod another token."""
        path = f"/api/v1/namespaces/{self.namespace}/serviceaccounts/{account}/token"
        asked = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 600}}
        token: str = self.admin.call("POST", path, asked)["status"]["token"]
        place = pod.folder / "account" / "token"
        place.with_suffix(".new").write_text(token)
        place.with_suffix(".new").rename(place)
        return token

    def _fill(self, volume: Mapping[str, Any], folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        kind, name = ("configmaps", "name") if "configMap" in volume else ("secrets", "secretName")
        named = volume["configMap" if "configMap" in volume else "secret"][name]
        found = self.admin.call("GET", f"/api/v1/namespaces/{self.namespace}/{kind}/{named}")
        packed = found.get("binaryData") or {} if kind == "configmaps" else found["data"]
        for key, text in packed.items():
            (folder / key).write_bytes(base64.b64decode(text))

    def _run(self) -> None:
        while not self._ended.wait(0.02):
            found = {one["metadata"]["uid"]: one for one in self.admin.call("GET", self._jobs)["items"]}
            for uid in [*self.pods]:
                if uid not in found:
                    self.pods.pop(uid).end()
            for uid, job in found.items():
                with contextlib.suppress(RefusedError):
                    self._keep(uid, job)

    def _keep(self, uid: str, job: Mapping[str, Any]) -> None:
        pod = self.pods.get(uid)
        if pod is None:
            self.pods[uid] = pod = self.make(job, uid)
            pod.start()
        ended = pod.processes[-1].poll()
        if ended == 0:
            # As its time to live says.
            self.admin.gone(f"{self._jobs}/{job['metadata']['name']}")
        elif ended is not None:
            pod.start()


@contextlib.contextmanager
def alone(kubeconfig: Path, admin: Client, namespace: str, folder: Path) -> Iterator[Node]:
    """A node for the namespace, with a certificate of its own; nothing goes wrong with it."""
    scratch = folder / f"node-{namespace}"
    scratch.mkdir()
    certificate, tls = authority(scratch)
    with (
        proxy.for_pods(kubeconfig, tls) as (_front, port),
        running(admin, namespace, port, certificate, scratch) as node,
    ):
        yield node


@contextlib.contextmanager
def running(admin: Client, namespace: str, port: int, certificate: Path, scratch: Path) -> Iterator[Node]:
    """A node for the namespace."""
    node = Node(admin, namespace, port, certificate, scratch)
    try:
        yield node
    finally:
        node.end()
