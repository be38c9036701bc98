# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which API server the tests have: somebody's, the binaries of envtest, or the one in this folder.

``KUBECONFIG`` names a cluster; everything is done in namespaces of its own, and the pods want a node that is not
there, so it should be a cluster for tests. Without it, envtest's ``etcd`` and ``kube-apiserver`` are looked for where
its users put them: in ``KUBEBUILDER_ASSETS``, then in setup-envtest's own folder. ``kube-controller-manager`` and
``kube-scheduler`` are started too where they lie beside them.
"""

from __future__ import annotations

import contextlib
import os
import platform
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import urllib3

from .client import Client, write_kubeconfig
from .controllers import Controllers, Kubelet

START = 90.0
"""Seconds that a server has to become ready."""

_PRIVILEGED = "system:masters"


@dataclass(frozen=True)
class Cluster:
    """A server that answers. ``told`` says which, for the end of a test run; ``real`` is one that we did not write."""

    kubeconfig: Path
    told: str
    real: bool


def assets(environment: Mapping[str, str] = os.environ) -> Path | None:
    """The folder with envtest's binaries; None where there is none."""
    named = environment.get("KUBEBUILDER_ASSETS")
    if named:
        return Path(named) if (Path(named) / "kube-apiserver").exists() else None
    data = Path(environment.get("XDG_DATA_HOME") or Path(environment.get("HOME", "/")) / ".local" / "share")
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    found = (data / "kubebuilder-envtest" / "k8s").glob(f"*-linux-{machine}/kube-apiserver")
    newest = sorted(
        found, key=lambda path: [int(n) for n in path.parent.name.partition("-")[0].split(".") if n.isdigit()]
    )
    return newest[-1].parent if newest else None


@contextlib.contextmanager
def cluster(scratch: Path, environment: Mapping[str, str] = os.environ) -> Iterator[Cluster]:
    """The best server that there is, with a node that runs pods."""
    if environment.get("KUBECONFIG"):
        path = Path(environment["KUBECONFIG"])
        with _looped(
            Cluster(path, f"the cluster of KUBECONFIG, {_version(path)}", real=True), controllers=False
        ) as found:
            yield found
        return
    folder = assets(environment)
    if folder is not None:
        with _envtest(folder, scratch) as (path, managed):
            where = "KUBEBUILDER_ASSETS" if environment.get("KUBEBUILDER_ASSETS") else "setup-envtest"
            told = f"kube-apiserver {_version(path)} of {where}, " + (
                "with its controller-manager" if managed else "with the controllers of these tests"
            )
            with _looped(Cluster(path, told, real=True), controllers=not managed) as found:
                yield found
        return
    with _own(scratch) as path:
        yield Cluster(path, "the API server in tests/kubernetes/cluster; no real one was found", real=False)


@contextlib.contextmanager
def _looped(found: Cluster, *, controllers: bool) -> Iterator[Cluster]:
    loops = [Kubelet(Client(found.kubeconfig)), *([Controllers(Client(found.kubeconfig))] if controllers else [])]
    try:
        yield found
    finally:
        for loop in loops:
            loop.end()


@contextlib.contextmanager
def _own(scratch: Path) -> Iterator[Path]:
    """A process of its own: what is measured does not share its interpreter."""
    path = scratch / "kubeconfig"
    command = [sys.executable, "-m", "cluster", str(path)]
    log = scratch / "server.log"
    with log.open("wb") as output, _process(command, output.fileno(), Path(__file__).parents[1]) as process:
        _wait(path.exists, log, "the API server of the tests", process)
        yield path


@contextlib.contextmanager
def _envtest(folder: Path, scratch: Path) -> Iterator[tuple[Path, bool]]:
    """etcd and kube-apiserver on loopback; whether a controller-manager runs beside them."""
    etcd, peer, port = _free_ports(3)
    token = secrets.token_urlsafe(24)
    tokens = scratch / "tokens.csv"
    tokens.write_text(f'{token},admin,admin,"{_PRIVILEGED}"\n')
    tokens.chmod(0o600)
    key = scratch / "service-accounts.key"
    subprocess.run(["openssl", "genrsa", "-out", str(key), "2048"], check=True, capture_output=True, timeout=60)
    log = scratch / "server.log"
    with contextlib.ExitStack() as stack:
        output = stack.enter_context(log.open("wb")).fileno()

        def start(name: str, *options: str) -> subprocess.Popen[bytes]:
            return stack.enter_context(_process([str(folder / name), *options], output))

        process = start(
            "etcd",
            f"--data-dir={scratch / 'etcd'}",
            "--unsafe-no-fsync",
            f"--listen-client-urls=http://127.0.0.1:{etcd}",
            f"--advertise-client-urls=http://127.0.0.1:{etcd}",
            f"--listen-peer-urls=http://127.0.0.1:{peer}",
            f"--initial-advertise-peer-urls=http://127.0.0.1:{peer}",
            f"--initial-cluster=default=http://127.0.0.1:{peer}",
        )
        _wait(lambda: _listens(etcd), log, "etcd", process)
        _age(etcd)
        process = start(
            "kube-apiserver",
            f"--etcd-servers=http://127.0.0.1:{etcd}",
            f"--secure-port={port}",
            "--bind-address=127.0.0.1",
            # The machine's own address may be loopback, which the server refuses to tell its clients.
            "--advertise-address=192.0.2.1",
            f"--cert-dir={scratch / 'certificates'}",
            f"--token-auth-file={tokens}",
            "--authorization-mode=RBAC",
            "--service-cluster-ip-range=10.96.0.0/16",
            f"--service-account-key-file={key}",
            f"--service-account-signing-key-file={key}",
            "--service-account-issuer=https://tests.invalid",
            # No controller makes the account that it would ask for.
            "--disable-admission-plugins=ServiceAccount",
        )
        authority = scratch / "certificates" / "apiserver.crt"
        _wait(lambda: _listens(port) and authority.exists(), log, "kube-apiserver", process)
        path = write_kubeconfig(
            scratch / "kubeconfig",
            f"https://127.0.0.1:{port}",
            token,
            **{"certificate-authority": str(authority)},
        )
        _wait(lambda: _ready(path), log, "kube-apiserver", process)
        managed = (folder / "kube-controller-manager").exists()
        if managed:
            start(
                "kube-controller-manager",
                f"--kubeconfig={path}",
                f"--service-account-private-key-file={key}",
                "--leader-elect=false",
                "--secure-port=0",
                "--controllers=*",
            )
        if (folder / "kube-scheduler").exists():
            start("kube-scheduler", f"--kubeconfig={path}", "--leader-elect=false", "--secure-port=0")
        yield path, managed


@contextlib.contextmanager
def _process(command: Sequence[str], output: int, cwd: Path | None = None) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=cwd)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(5)


def _age(etcd: int) -> None:
    """Writes before the first of the API server: with a new etcd, even a watch from version 1 misses nothing."""
    for _ in range(10):
        body = {"key": "YWdl", "value": "YWdl"}
        answer = urllib3.request("POST", f"http://127.0.0.1:{etcd}/v3/kv/put", json=body, timeout=10)
        if answer.status != 200:
            raise RuntimeError(f"etcd: {answer.data!r}")


def _wait(done: Callable[[], bool], log: Path, what: str, process: subprocess.Popen[bytes]) -> None:
    """Also fails where ``process`` has ended: another one may answer at its port."""
    deadline = time.monotonic() + START
    while not done() or process.poll() is not None:
        if time.monotonic() >= deadline or process.poll() is not None:
            said = log.read_text(errors="replace")[-4000:]
            raise RuntimeError(f"{what} has ended, or was not ready within {START:.0f} s; it said:\n{said}")
        time.sleep(0.05)


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def _ready(kubeconfig: Path) -> bool:
    with contextlib.suppress(Exception):
        Client(kubeconfig).call("GET", "/api/v1/namespaces/kube-system", timeout=2)
        return True
    return False


def _version(kubeconfig: Path) -> str:
    return str(Client(kubeconfig).call("GET", "/version")["gitVersion"])


def _free_ports(number: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]
