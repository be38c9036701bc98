# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Snapshots of a namespace's objects, against an API server: taken, proven, restored (R-B2)."""

from __future__ import annotations

import base64
import json
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.bluegreen.cutover.plugins.module_utils import _artifacts
from ansible_collections.bluegreen.cutover.plugins.module_utils._artifacts import Log
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import (
    DataLossError,
    InputError,
    SnapshotError,
)
from ansible_collections.bluegreen.cutover.plugins.module_utils._kubernetes import connect
from ansible_collections.bluegreen.cutover.plugins.module_utils._snapshots.kubernetes import SCRATCH, Kubernetes
from ansible_collections.bluegreen.cutover.plugins.module_utils._stores.cluster import ClusterStore
from cluster.client import MERGE, Client, RefusedError, write_kubeconfig
from cluster.proxy import Fault, Proxy, Seen
from cluster.starting import Cluster

from .conftest import deployment, documented, service, start

Until = Callable[..., Any]
LABELS = {"app": "shop"}
PASSWORD = "hunter2-of-the-shop"


class Shop:
    """A namespace with an application in it, and what asks about it."""

    def __init__(self, admin: Client, namespace: str) -> None:
        self.admin = admin
        self.namespace = namespace

    def path(self, plural: str, name: str = "") -> str:
        group = {
            "deployments": "/apis/apps/v1",
            "horizontalpodautoscalers": "/apis/autoscaling/v2",
            "ingresses": "/apis/networking.k8s.io/v1",
        }.get(plural, "/api/v1")
        return f"{group}/namespaces/{self.namespace}/{plural}" + (f"/{name}" if name else "")

    def get(self, plural: str, name: str) -> dict[str, Any]:
        return self.admin.call("GET", self.path(plural, name))

    def names(self, plural: str) -> set[str]:
        found = self.admin.call("GET", self.path(plural))["items"]
        return {one["metadata"]["name"] for one in found if not one["metadata"].get("deletionTimestamp")}

    def make(self, plural: str, document: dict[str, Any]) -> None:
        self.admin.call("POST", self.path(plural), document)

    def change(self, plural: str, name: str, patch: dict[str, Any]) -> None:
        self.admin.call("PATCH", self.path(plural, name), patch, MERGE)

    def scratches(self) -> list[str]:
        found = self.admin.call("GET", "/api/v1/namespaces", labelSelector=f"{SCRATCH}={self.namespace}")["items"]
        return [one["metadata"]["name"] for one in found]


@pytest.fixture
def shop(admin: Client, namespace: str, until: Until) -> Shop:
    found = Shop(admin, namespace)
    found.make("configmaps", {"metadata": {"name": "settings"}, "data": {"MODE": "safe"}})
    found.make("secrets", {"metadata": {"name": "database"}, "stringData": {"password": PASSWORD}})
    token = {"metadata": {"name": "bot"}, "type": "bootstrap.kubernetes.io/token", "data": {}}
    found.make("secrets", {**token, "data": {"token-id": base64.b64encode(b"abcdef").decode()}})
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    found.make("persistentvolumeclaims", {"metadata": {"name": "uploads"}, "spec": claim})
    found.make("services", service("web", LABELS))
    found.make("deployments", deployment("web", LABELS, 2))
    reference = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}
    scaler = {"scaleTargetRef": reference, "minReplicas": 1, "maxReplicas": 5}
    found.make("horizontalpodautoscalers", {"metadata": {"name": "web"}, "spec": scaler})
    backend = {"service": {"name": "web", "port": {"number": 80}}}
    paths = {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}
    found.make("ingresses", {"metadata": {"name": "web"}, "spec": {"rules": [{"host": "shop.local", "http": paths}]}})
    until(lambda: (found.get("deployments", "web").get("status") or {}).get("readyReplicas") == 2)
    return found


def engine(kubeconfig: Path, namespace: str, **options: Any) -> Kubernetes:
    return Kubernetes({"namespace": namespace, "secrets": "left_out", "kubeconfig": str(kubeconfig), **options}, Log())


def take(tmp_path: Path, of: Kubernetes, **more: Any) -> dict[str, Any]:
    wanted = _artifacts.Wanted(part="objects", destination=tmp_path / "kept", keep=3600, service="shop", **more)
    return _artifacts.take(wanted, of, Log())


@pytest.fixture
def keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """A public and a private key of gpg, as files."""
    # A short path: that of the agent's socket may not be long.
    ring = Path(tempfile.mkdtemp(prefix="ring-"))
    monkeypatch.setenv("GNUPGHOME", str(ring))

    def gpg(*arguments: str) -> bytes:
        return subprocess.run(["gpg", "--batch", *arguments], capture_output=True, check=True, timeout=60).stdout

    gpg("--passphrase", "", "--quick-generate-key", "shop@localhost", "future-default", "default", "never")
    public, private = tmp_path / "public", tmp_path / "private"
    public.write_bytes(gpg("--export"))
    private.write_bytes(gpg("--export-secret-keys"))
    subprocess.run(["gpgconf", "--kill", "all"], check=True, timeout=60)
    shutil.rmtree(ring)
    monkeypatch.delenv("GNUPGHOME")
    return public, private


def test_a_namespace_is_taken_and_proven_and_the_server_keeps_nothing_of_it(
    cluster: Cluster, shop: Shop, tmp_path: Path, until: Until
) -> None:
    store = ClusterStore(connect(str(cluster.kubeconfig)), shop.namespace, "shop")
    store.write_gate({"a": 1})
    done = take(tmp_path, engine(cluster.kubeconfig, shop.namespace))
    manifest = done["manifest"]
    assert manifest["verified"]
    counts = {name: one["count"] for name, one in manifest["contents"].items()}
    assert counts.pop("serviceaccounts", 1) == 1, "a real server makes the account default"
    assert counts == {
        "configmaps": 1,
        "deployments.apps": 1,
        "horizontalpodautoscalers.autoscaling": 1,
        "ingresses.networking.k8s.io": 1,
        "namespaces": 1,
        "persistentvolumeclaims": 1,
        "services": 1,
    }
    # A List, which kubectl applies anywhere; nothing of the server's is in it.
    written = json.loads((Path(done["artifact"]) / "data" / "objects.json").read_text())
    assert written["kind"] == "List"
    text = json.dumps(written)
    for word in ("uid", "resourceVersion", "managedFields", "creationTimestamp", "status", 'clusterIP"', PASSWORD):
        assert word not in text
    until(lambda: not shop.scratches())


def test_a_run_that_was_killed_leaves_a_namespace_only_until_the_next(
    shop: Shop, proxied: tuple[Proxy, Path], tmp_path: Path, until: Until
) -> None:
    """R-B2: killed in the middle of the proof. That of another run, which is at work, is left alone."""
    proxy, kubeconfig = proxied
    running: list[subprocess.Popen[str]] = []

    def kill() -> None:
        until(lambda: running)
        running[0].kill()
        running[0].wait()

    proxy.fresh(lambda seen: Fault(cut="before", call=kill) if seen.method == "POST" and seen.is_dry_run else None)
    with start(kubeconfig, shop.namespace, "snapshot", str(tmp_path / "kept")) as process:
        running.append(process)
        said, _none = process.communicate(timeout=90)
    assert process.returncode == -signal.SIGKILL, said
    assert len(shop.scratches()) == 1
    work = f"{shop.namespace}-work"
    labels = {SCRATCH: shop.namespace}
    shop.admin.call("POST", "/api/v1/namespaces", {"metadata": {"name": work, "labels": labels}})
    proxy.fresh()
    done = take(tmp_path, engine(kubeconfig, shop.namespace))
    assert (bool(done["manifest"]["verified"]), done["left"]) == (True, [])
    until(lambda: shop.scratches() == [work])
    shop.admin.gone(f"/api/v1/namespaces/{work}")
    assert {one.name for one in (tmp_path / "kept").iterdir()} == {".shop.objects.lock", Path(done["artifact"]).name}


def test_what_a_dry_run_does_not_bring_back_is_not_proven(
    cluster: Cluster, shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def damaged(self: Kubernetes, folder: Path) -> Any:
        taken = whole(self, folder)
        file = folder / "objects.json"
        raw = file.read_bytes().replace(b'"safe"', b'"sane"')
        file.write_bytes(raw)
        return taken

    whole = Kubernetes.take
    monkeypatch.setattr(Kubernetes, "take", damaged)
    with pytest.raises(SnapshotError, match="not proven.*configmaps has 1 as before, with another content"):
        take(tmp_path, engine(cluster.kubeconfig, shop.namespace))
    monkeypatch.setattr(Kubernetes, "take", lambda self, folder: _invalid(whole(self, folder), folder))
    with pytest.raises(SnapshotError, match="would not make Service web"):
        take(tmp_path, engine(cluster.kubeconfig, shop.namespace))
    assert list((tmp_path / "kept").iterdir()) == [tmp_path / "kept" / ".shop.objects.lock"]


def _invalid(taken: Any, folder: Path) -> Any:
    file = folder / "objects.json"
    file.write_bytes(file.read_bytes().replace(b'"port": 80,', b'"port": 0,'))
    return taken


@pytest.mark.parametrize("what", ["objects", "Secrets"])
def test_a_disk_that_is_full_in_the_middle_leaves_nothing(
    cluster: Cluster, shop: Shop, tmp_path: Path, keys: tuple[Path, Path], what: str
) -> None:
    much = {"metadata": {"name": "much"}, "data": {"much": secrets.token_hex(100_000)}}
    if what == "objects":
        of = engine(cluster.kubeconfig, shop.namespace)
        shop.make("configmaps", much)
    else:
        to = {"tool": "gpg", "recipient": str(keys[0])}
        of = engine(cluster.kubeconfig, shop.namespace, secrets="encrypted", encryption=to)
        shop.make("secrets", {**much, "data": {"much": base64.b64encode(secrets.token_bytes(100_000)).decode()}})
    before = of.contents()
    kept = tmp_path / "kept"
    kept.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=80k,mode=0700", "tmpfs", str(kept)], check=True)
    try:
        with pytest.raises(SnapshotError, match=r"(?i)free some space there and run again"):
            take(tmp_path, of)
        assert [one.name for one in kept.iterdir()] == [".shop.objects.lock"]
    finally:
        subprocess.run(["umount", str(kept)], check=True)
    assert of.contents() == before
    assert not shop.scratches()


def test_a_flipped_byte_is_found_before_anything_is_restored(cluster: Cluster, shop: Shop, tmp_path: Path) -> None:
    of = engine(cluster.kubeconfig, shop.namespace)
    path = Path(take(tmp_path, of, verify=False)["artifact"])
    file = path / "data" / "objects.json"
    raw = bytearray(file.read_bytes())
    raw[len(raw) // 2] ^= 1
    file.write_bytes(raw)
    shop.change("configmaps", "settings", {"data": {"MODE": "wild"}})
    with pytest.raises(SnapshotError, match="damaged: data/objects.json was changed after it was written"):
        _artifacts.restore(path, of, Log(), accept_data_loss=True)
    assert shop.get("configmaps", "settings")["data"] == {"MODE": "wild"}


def test_an_emptied_namespace_is_as_it_was_with_its_secrets(
    cluster: Cluster, shop: Shop, tmp_path: Path, keys: tuple[Path, Path]
) -> None:
    public, private = keys
    to = {"tool": "gpg", "recipient": str(public)}
    of = engine(cluster.kubeconfig, shop.namespace, secrets="encrypted", encryption=to)
    done = take(tmp_path, of)
    path = Path(done["artifact"])
    assert sorted(one.name for one in (path / "data").iterdir()) == ["objects.json", "secrets.json.gpg"]
    assert done["manifest"]["contents"]["secrets"]["count"] == 1, "a token is none"
    encoded = base64.b64encode(PASSWORD.encode())
    for file in path.rglob("*"):
        if file.is_file():
            assert not {one for one in (PASSWORD.encode(), encoded) if one in file.read_bytes()}
    for plural in ("deployments", "services", "configmaps", "secrets", "ingresses", "horizontalpodautoscalers"):
        for name in shop.names(plural):
            shop.admin.gone(shop.path(plural, name))
    with pytest.raises(DataLossError, match="1 removed"):
        _artifacts.restore(path, of, Log())
    with pytest.raises(SnapshotError, match="Give the file of its private key"):
        _artifacts.restore(path, of, Log(), accept_data_loss=True)
    # R-E7: that a key does not fit is known while versions still run.
    to["identity_file"] = str(public)
    locked = engine(cluster.kubeconfig, shop.namespace, secrets="encrypted", encryption=to)
    with pytest.raises(SnapshotError, match="gpg ended with status 2"):
        _artifacts.restore(path, locked, Log(), accept_data_loss=True, check_mode=True)
    assert shop.names("services") == set()
    to["identity_file"] = str(private)
    again = engine(cluster.kubeconfig, shop.namespace, secrets="encrypted", encryption=to)
    assert _artifacts.restore(path, again, Log(), accept_data_loss=True)["changed"]
    secret = base64.b64decode(shop.get("secrets", "database")["data"]["password"]).decode()
    assert (secret, shop.names("deployments"), shop.names("services")) == (PASSWORD, {"web"}, {"web"})
    assert not _artifacts.restore(path, again, Log())["changed"]


def test_what_was_changed_since_is_counted_and_changed_back_and_data_is_left(
    cluster: Cluster, shop: Shop, tmp_path: Path
) -> None:
    of = engine(cluster.kubeconfig, shop.namespace)
    path = Path(take(tmp_path, of, verify=False)["artifact"])
    # A fencing token goes up, never down; an autoscaler knows how many there are to be.
    token = {"metadata": {"annotations": {"bluegreen.cutover/token": "9"}}}
    shop.change("services", "web", {**token, "spec": {"selector": {"app": "other"}}})
    shop.change("deployments", "web", {"spec": {"replicas": 3}})
    shop.change("secrets", "database", {"metadata": {"labels": {"kept": "yes"}}})
    shop.make("configmaps", {"metadata": {"name": "extra"}})
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    shop.make("persistentvolumeclaims", {"metadata": {"name": "more"}, "spec": claim})
    address = shop.get("services", "web")["spec"]["clusterIP"]
    with pytest.raises(DataLossError) as caught:
        _artifacts.restore(path, of, Log())
    told = {(one["name"], one["what"]): one["count"] for one in caught.value.evidence["written"]}
    assert told == {("configmaps", "added"): 1, ("persistentvolumeclaims", "added"): 1, ("services", "changed"): 1}
    _artifacts.restore(path, of, Log(), accept_data_loss=True)
    web = shop.get("services", "web")
    assert (web["spec"]["selector"], web["spec"]["clusterIP"]) == (LABELS, address)
    assert web["metadata"]["annotations"]["bluegreen.cutover/token"] == "9"
    assert shop.get("deployments", "web")["spec"]["replicas"] == 3
    assert {one for one in shop.names("configmaps") if not one.endswith("-ca.crt")} == {"settings"}
    assert shop.names("persistentvolumeclaims") == {"uploads", "more"}
    assert shop.get("secrets", "database")["metadata"]["labels"] == {"kept": "yes"}


def test_a_restore_starts_no_pods_of_what_is_stopped(cluster: Cluster, shop: Shop, tmp_path: Path) -> None:
    """R-E7: they could write to parts that are not restored yet. They come when the Deployment is scaled up again."""
    shop.make("deployments", deployment("job", {"app": "job"}, 2))
    of = engine(cluster.kubeconfig, shop.namespace)
    path = Path(take(tmp_path, of, verify=False)["artifact"])
    note = "bluegreen.cutover/stopped-replicas"
    stopped = {"metadata": {"annotations": {note: "5"}}, "spec": {"replicas": 0, "progressDeadlineSeconds": 7}}
    for name in ("job", "web"):
        shop.change("deployments", name, stopped)
    assert _artifacts.restore(path, of, Log(), accept_data_loss=True)["changed"]
    job, web = shop.get("deployments", "job"), shop.get("deployments", "web")
    assert [one["spec"]["progressDeadlineSeconds"] for one in (job, web)] == [600, 600]
    assert [one["spec"]["replicas"] for one in (job, web)] == [0, 0]
    # An autoscaler knows how many there are to be.
    assert [one["metadata"]["annotations"][note] for one in (job, web)] == ["2", "5"]


def test_a_restore_that_others_write_into_is_taken_back(
    shop: Shop, proxied: tuple[Proxy, Path], tmp_path: Path
) -> None:
    proxy, kubeconfig = proxied
    of = engine(kubeconfig, shop.namespace)
    path = Path(take(tmp_path, of, verify=False)["artifact"])
    shop.change("configmaps", "settings", {"data": {"MODE": "wild"}})
    shop.change("services", "web", {"spec": {"selector": {"app": "other"}}})
    shop.make("configmaps", {"metadata": {"name": "extra"}})

    def meddle(seen: Seen) -> Fault | None:
        if seen.method == "PUT" and seen.path.endswith("/services/web"):
            return Fault(call=lambda: shop.change("services", "web", {"metadata": {"labels": {"by": "others"}}}))
        return None

    proxy.fresh(meddle)
    with pytest.raises(SnapshotError, match=r"\(409\).*What was changed was changed back"):
        _artifacts.restore(path, of, Log(), accept_data_loss=True)
    assert shop.get("configmaps", "settings")["data"] == {"MODE": "wild"}
    assert shop.get("services", "web")["spec"]["selector"] == {"app": "other"}
    assert "extra" in shop.names("configmaps")
    # An answer that is lost is no failure where it was done.
    proxy.fresh(lambda seen: Fault(cut="after") if _is_write(seen) else None)
    assert _artifacts.restore(path, of, Log(), accept_data_loss=True)["changed"]
    assert shop.get("services", "web")["spec"]["selector"] == LABELS


def _is_write(seen: Seen) -> bool:
    return seen.method in ("PUT", "DELETE") and not seen.is_dry_run


def test_what_the_server_would_refuse_is_told_before_anything_is_changed(
    cluster: Cluster, shop: Shop, tmp_path: Path
) -> None:
    of = engine(cluster.kubeconfig, shop.namespace)
    path = Path(take(tmp_path, of, verify=False)["artifact"])
    shop.change("configmaps", "settings", {"data": {"MODE": "wild"}})
    shop.admin.call("DELETE", shop.path("deployments", "web"))
    shop.make("deployments", deployment("web", {"app": "other"}))
    for check_mode in (True, False):
        with pytest.raises(SnapshotError, match=r"nothing was changed: Deployment web: .*immutable"):
            _artifacts.restore(path, of, Log(), accept_data_loss=True, check_mode=check_mode)
    assert shop.get("configmaps", "settings")["data"] == {"MODE": "wild"}
    other = Kubernetes({"namespace": "elsewhere", "secrets": "left_out", "kubeconfig": str(cluster.kubeconfig)}, Log())
    with pytest.raises(SnapshotError, match="and not of the namespace elsewhere"):
        _artifacts.restore(path, other, Log(), accept_data_loss=True)


def account(cluster: Cluster, shop: Shop, tmp_path: Path, role: dict[str, Any]) -> Path:
    """The kubeconfig of an account of the namespace that has this Role, or this ClusterRole everywhere."""
    everywhere = role["kind"] == "ClusterRole"
    base = "/apis/rbac.authorization.k8s.io/v1" + ("" if everywhere else f"/namespaces/{shop.namespace}")
    plural, bindings = ("clusterroles", "clusterrolebindings") if everywhere else ("roles", "rolebindings")
    name = f"{shop.namespace}-{role['kind'].lower()}"
    shop.admin.call("POST", f"{base}/{plural}", {**role, "metadata": {"name": name}})
    shop.make("serviceaccounts", {"metadata": {"name": name}})
    binding = {
        "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": role["kind"], "name": name},
        "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": shop.namespace}],
    }
    shop.admin.call("POST", f"{base}/{bindings}", binding)
    asked = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 600}}
    token = shop.admin.call("POST", shop.path("serviceaccounts", f"{name}/token"), asked)["status"]["token"]
    settings = yaml.safe_load(cluster.kubeconfig.read_text())["clusters"][0]["cluster"]
    return write_kubeconfig(tmp_path / f"{name}.kubeconfig", settings.pop("server"), token, **settings)


@pytest.fixture
def reader(cluster: Cluster, shop: Shop, tmp_path: Path, until: Until) -> Path:
    """The kubeconfig of an account that may read the namespace and its ConfigMaps and Services, and nothing else."""
    rules = [
        {"apiGroups": [""], "resources": ["configmaps", "services"], "verbs": ["get", "list"]},
        {"apiGroups": [""], "resources": ["namespaces"], "verbs": ["get"]},
    ]
    path = account(cluster, shop, tmp_path, {"kind": "Role", "rules": rules})
    until(lambda: allowed(path, shop))
    return path


def allowed(kubeconfig: Path, shop: Shop) -> bool:
    try:
        return bool(Client(kubeconfig).call("GET", shop.path("configmaps", "settings")))
    except RefusedError:
        return False


def test_the_rights_of_the_documentation_do(cluster: Cluster, shop: Shop, tmp_path: Path, until: Until) -> None:
    role = documented("ClusterRole")
    path = account(cluster, shop, tmp_path, role)
    until(lambda: allowed(path, shop))
    of = engine(path, shop.namespace)
    kept = Path(take(tmp_path, of)["artifact"])
    shop.change("configmaps", "settings", {"data": {"MODE": "wild"}})
    shop.make("configmaps", {"metadata": {"name": "extra"}})
    _artifacts.restore(kept, of, Log(), accept_data_loss=True)
    assert shop.get("configmaps", "settings")["data"] == {"MODE": "safe"}
    for plural in ("clusterrolebindings", "clusterroles"):
        shop.admin.gone(f"/apis/rbac.authorization.k8s.io/v1/{plural}/{shop.namespace}-clusterrole")


def test_kinds_that_may_not_be_read_are_told_all_at_once(reader: Path, shop: Shop, tmp_path: Path) -> None:
    with pytest.raises(SnapshotError, match="these may not be listed .*deployments.apps.*Give that right") as caught:
        take(tmp_path, engine(reader, shop.namespace))
    refused = caught.value.evidence["refused"]
    assert {"deployments.apps", "serviceaccounts"} <= set(refused)
    assert not {"configmaps", "services", "secrets"} & set(refused)
    narrow = engine(reader, shop.namespace, leave_out=refused)
    with pytest.raises(SnapshotError, match="cannot list resource .namespaces."):
        take(tmp_path, narrow)
    done = take(tmp_path, narrow, verify=False)
    assert set(done["manifest"]["contents"]) == {"namespaces", "configmaps", "services"}
    # Who may read may not write: R-E7, known while versions still run.
    shop.change("configmaps", "settings", {"data": {"MODE": "wild"}})
    with pytest.raises(SnapshotError, match=r"nothing was changed: ConfigMap settings: .*\(403\)"):
        _artifacts.restore(Path(done["artifact"]), narrow, Log(), accept_data_loss=True, check_mode=True)
    with pytest.raises(SnapshotError, match="leave_out has gadgets.acme.example, which this cluster does not have"):
        engine(reader, shop.namespace, leave_out=["gadgets.acme.example"]).check()


def test_a_namespace_that_is_missing_or_going_is_refused(cluster: Cluster, shop: Shop, tmp_path: Path) -> None:
    with pytest.raises(SnapshotError, match="there is no namespace nowhere"):
        take(tmp_path, engine(cluster.kubeconfig, "nowhere"))
    of = engine(cluster.kubeconfig, shop.namespace)
    path = Path(take(tmp_path, of, verify=False)["artifact"])
    # What keeps it from going is taken away at the end.
    keeper = {"metadata": {"name": "keeper", "finalizers": ["tests.invalid/keeper"]}}
    shop.make("configmaps", keeper)
    shop.admin.call("DELETE", f"/api/v1/namespaces/{shop.namespace}")
    try:
        with pytest.raises(SnapshotError, match="is being deleted"):
            take(tmp_path, of)
        with pytest.raises(SnapshotError, match="is being deleted"):
            _artifacts.restore(path, of, Log(), accept_data_loss=True)
    finally:
        shop.change("configmaps", "keeper", {"metadata": {"finalizers": None}})


def test_a_choice_is_made_for_secrets() -> None:
    for options in ({"secrets": "encrypted"}, {"secrets": "left_out", "encryption": {"tool": "gpg", "recipient": "x"}}):
        with pytest.raises(InputError, match="never written in clear"):
            Kubernetes({"namespace": "shop", **options}, Log())
    with pytest.raises(InputError, match="the name of a namespace is needed"):
        Kubernetes({"namespace": "shop/prod", "secrets": "left_out"}, Log())
