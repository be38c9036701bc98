# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What stands in for a controller-manager and for a kubelet, as clients of any API server.

The kubelet is needed by every server here, because no node is there; the controllers by one that has no
controller-manager. They do what is seen from outside: Deployments make ReplicaSets, those make pods, Jobs make one and
end with it, EndpointSlices follow pods, autoscalers keep their bounds, a namespace that is deleted goes. A pod runs at
once, and is ready unless its annotation ``tests/ready`` is ``false``; one that is deleted goes after ``tests/grace``
seconds. One that a test has let end, or wait for its image, stays so.
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import json
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any

import urllib3

from .client import MERGE, Client, RefusedError

NODE = "node-1"
SLICES = "/apis/discovery.k8s.io/v1"
_WATCHED = {
    "namespaces": "/api/v1/namespaces",
    "deployments": "/apis/apps/v1/deployments",
    "replicasets": "/apis/apps/v1/replicasets",
    "jobs": "/apis/batch/v1/jobs",
    "pods": "/api/v1/pods",
    "services": "/api/v1/services",
    "slices": f"{SLICES}/endpointslices",
    "autoscalers": "/apis/autoscaling/v2/horizontalpodautoscalers",
}
_ROUND = 30
"""Seconds of one watch."""

Objects = dict[tuple[str, str], dict[str, Any]]


class Cache:
    """What is in the cluster, kept up by watches."""

    def __init__(self, client: Client, names: tuple[str, ...]) -> None:
        self.client = client
        self.changed = threading.Event()
        self.ended = threading.Event()
        self.objects: dict[str, Objects] = {name: {} for name in names}
        for name in names:
            threading.Thread(target=self._follow, args=(name,), daemon=True).start()

    def all(self, name: str) -> list[dict[str, Any]]:
        return list(self.objects[name].values())

    def _follow(self, name: str) -> None:
        while not self.ended.is_set():
            # A server that restarts, or a history that is cut off: begin anew.
            with contextlib.suppress(RefusedError, urllib3.exceptions.HTTPError, OSError, ValueError):
                listed = self.client.call("GET", _WATCHED[name])
                self.objects[name] = {_key(one): one for one in listed["items"]}
                self.changed.set()
                version = listed["metadata"]["resourceVersion"]
                for event in self.client.watch(_WATCHED[name], _ROUND, resourceVersion=version):
                    if event["type"] == "ERROR":
                        break
                    if event["type"] == "DELETED":
                        self.objects[name].pop(_key(event["object"]), None)
                    else:
                        self.objects[name][_key(event["object"])] = event["object"]
                    self.changed.set()
            time.sleep(0.02)


def _key(document: Mapping[str, Any]) -> tuple[str, str]:
    return document["metadata"].get("namespace", ""), document["metadata"]["name"]


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _at(text: str) -> float:
    return datetime.datetime.fromisoformat(text).timestamp()


def _selects(selector: Mapping[str, str], document: Mapping[str, Any]) -> bool:
    labels = document["metadata"].get("labels") or {}
    return bool(selector) and all(labels.get(name) == value for name, value in selector.items())


def _is_ready(pod: Mapping[str, Any]) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


def _has_ended(pod: Mapping[str, Any]) -> bool:
    return (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")


def _progressing(deployment: Mapping[str, Any]) -> str | None:
    """Why its rollout goes on, or does not."""
    conditions = (deployment.get("status") or {}).get("conditions") or ()
    return next((one["reason"] for one in conditions if one["type"] == "Progressing"), None)


def _owned(document: Mapping[str, Any], owner: Mapping[str, Any]) -> bool:
    references = document["metadata"].get("ownerReferences") or ()
    return any(one["uid"] == owner["metadata"]["uid"] for one in references)


def _owner(api_version: str, kind: str, document: Mapping[str, Any]) -> dict[str, Any]:
    name, uid = document["metadata"]["name"], document["metadata"]["uid"]
    return {"apiVersion": api_version, "kind": kind, "name": name, "uid": uid, "controller": True}


class Loop:
    """Something that is reconciled after each change, and every ``pause`` seconds."""

    names: tuple[str, ...] = ()
    pause = 0.25

    def __init__(self, client: Client) -> None:
        self.client = client
        self.cache = Cache(client, self.names)
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def end(self) -> None:
        self.cache.ended.set()
        self.cache.changed.set()
        self.thread.join(5)

    def reconcile(self) -> None:
        raise NotImplementedError

    def write(self, method: str, path: str, body: Any = None, media: str = "application/json") -> None:
        """A write that may be late: what has changed meanwhile comes again."""
        with contextlib.suppress(RefusedError):
            self.client.call(method, path, body, media)

    def _run(self) -> None:
        while not self.cache.ended.is_set():
            self.cache.changed.wait(self.pause)
            self.cache.changed.clear()
            with contextlib.suppress(urllib3.exceptions.HTTPError, OSError, RefusedError):
                self.reconcile()


class Kubelet(Loop):
    """One node that runs everything at once."""

    names = ("pods",)

    def __init__(self, client: Client) -> None:
        self._renewed = 0.0
        self._written: dict[str, str] = {}
        super().__init__(client)

    def reconcile(self) -> None:
        self._be_a_node()
        for pod in self.cache.all("pods"):
            metadata = pod["metadata"]
            path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}"
            if not pod["spec"].get("nodeName"):
                target = {"kind": "Node", "apiVersion": "v1", "name": NODE}
                binding = {
                    "apiVersion": "v1",
                    "kind": "Binding",
                    "metadata": {"name": metadata["name"]},
                    "target": target,
                }
                self.write("POST", f"{path}/binding", binding)
            elif metadata.get("deletionTimestamp"):
                self._let_go(pod, path)
            else:
                self._run_pod(pod, path)

    def _let_go(self, pod: Mapping[str, Any], path: str) -> None:
        metadata = pod["metadata"]
        deadline = _at(metadata["deletionTimestamp"])
        began = deadline - metadata.get("deletionGracePeriodSeconds", 0)
        grace = float((metadata.get("annotations") or {}).get("tests/grace", 0))
        # The API server's times are whole seconds.
        if time.time() >= min(began + grace, deadline):
            self.write("DELETE", path, {"gracePeriodSeconds": 0, "preconditions": {"uid": metadata["uid"]}})

    def _run_pod(self, pod: Mapping[str, Any], path: str) -> None:
        wanted = (pod["metadata"].get("annotations") or {}).get("tests/ready") != "false"
        old = pod.get("status") or {}
        waits = any((one.get("state") or {}).get("waiting") for one in old.get("containerStatuses") or ())
        if waits or _has_ended(pod) or (old.get("phase") == "Running" and _is_ready(pod) == wanted):
            return
        # By what the pod is: in a cluster that is there already, each process of a run has a kubelet, for all pods.
        number = bytes.fromhex(pod["metadata"]["uid"][:6])
        address = old.get("podIP") or f"10.{number[0]}.{number[1]}.{number[2]}"
        ready = "True" if wanted else "False"
        conditions = [
            {"type": name, "status": ready, "lastTransitionTime": _now()} for name in ("Ready", "ContainersReady")
        ]
        conditions += [{"type": name, "status": "True"} for name in ("PodScheduled", "Initialized")]
        status = {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}], "conditions": conditions}
        status |= {"startTime": old.get("startTime") or _now()}
        # A cache that lags takes back nothing of what a test has written.
        body = {"metadata": {"resourceVersion": pod["metadata"]["resourceVersion"]}, "status": status}
        self.write("PATCH", f"{path}/status", body, MERGE)

    def _be_a_node(self) -> None:
        """So that a real scheduler has one, and a real controller-manager believes in it."""
        if time.monotonic() - self._renewed < 10 and self._renewed:
            return
        self._renewed = time.monotonic()
        node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE}}
        room = {"cpu": "64", "memory": "256Gi", "pods": "1000"}
        ready = {"type": "Ready", "status": "True", "reason": "KubeletReady", "lastHeartbeatTime": _now()}
        self.write("POST", "/api/v1/nodes", node)
        status = {"capacity": room, "allocatable": room, "conditions": [{**ready, "lastTransitionTime": _now()}]}
        self.write("PATCH", f"/api/v1/nodes/{NODE}/status", {"status": status}, MERGE)
        leases = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
        renewed = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        spec = {"holderIdentity": NODE, "leaseDurationSeconds": 40, "renewTime": renewed}
        lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": NODE}, "spec": spec}
        self.write("POST", leases, lease)
        self.write("PATCH", f"{leases}/{NODE}", {"spec": spec}, MERGE)


class Controllers(Loop):
    """As much of a controller-manager as is needed."""

    names = tuple(_WATCHED)

    def __init__(self, client: Client) -> None:
        self._progressed: dict[str, tuple[Any, float]] = {}
        super().__init__(client)

    def reconcile(self) -> None:
        for namespace in self.cache.all("namespaces"):
            if namespace["metadata"].get("deletionTimestamp"):
                self._empty(namespace)
        for autoscaler in self.cache.all("autoscalers"):
            self._bound(autoscaler)
        for deployment in self.cache.all("deployments"):
            if not deployment["metadata"].get("deletionTimestamp"):
                self._deploy(deployment)
        for replica_set in self.cache.all("replicasets"):
            self._replicate(replica_set)
        for job in self.cache.all("jobs"):
            self._employ(job)
        self._collect()
        for service in self.cache.all("services"):
            if service["spec"].get("selector") and not service["metadata"].get("deletionTimestamp"):
                self._slice(service)

    # --- workloads

    def _deploy(self, deployment: Mapping[str, Any]) -> None:
        sets = [one for one in self.cache.all("replicasets") if _owned(one, deployment)]
        template = deployment["spec"]["template"]
        digest = hashlib.sha256(json.dumps(template, sort_keys=True).encode()).hexdigest()[:10]
        name = f"{deployment['metadata']['name']}-{digest}"
        newest = next((one for one in sets if one["metadata"]["name"] == name), None)
        wanted = deployment["spec"]["replicas"]
        base = f"/apis/apps/v1/namespaces/{deployment['metadata']['namespace']}/replicasets"
        if newest is None:
            self.write("POST", base, _replica_set(deployment, name, digest))
        elif newest["spec"]["replicas"] != wanted:
            self.write("PATCH", f"{base}/{name}", {"spec": {"replicas": wanted}}, MERGE)
        fresh = [] if newest is None else self._pods(newest)
        # The old pods go when the new ones can take their place.
        if newest is not None and sum(map(_is_ready, fresh)) >= wanted:
            for one in sets:
                if one is not newest and one["spec"]["replicas"]:
                    self.write("PATCH", f"{base}/{one['metadata']['name']}", {"spec": {"replicas": 0}}, MERGE)
        self._tell(deployment, [pod for one in sets for pod in self._pods(one)], fresh)

    def _tell(self, deployment: Mapping[str, Any], pods: list[dict[str, Any]], fresh: list[dict[str, Any]]) -> None:
        metadata, wanted = deployment["metadata"], deployment["spec"]["replicas"]
        ready = sum(map(_is_ready, pods))
        counts = {
            "replicas": len(pods),
            "updatedReplicas": len(fresh),
            "readyReplicas": ready,
            "availableReplicas": ready,
            "unavailableReplicas": max(0, wanted - ready),
        }
        complete = len(fresh) == len(pods) == wanted and ready == wanted
        seen = (metadata["generation"], tuple(counts.values()))
        last, since = self._progressed.get(metadata["uid"], (None, 0.0))
        if last != seen:
            since = time.monotonic()
            self._progressed[metadata["uid"]] = (seen, since)
        # One that was complete, and is only scaled, is not judged anew.
        complete |= len(fresh) == len(pods) and _progressing(deployment) == "NewReplicaSetAvailable"
        late = not complete and time.monotonic() - since > deployment["spec"]["progressDeadlineSeconds"]
        reason = "ProgressDeadlineExceeded" if late else "NewReplicaSetAvailable" if complete else "ReplicaSetUpdated"
        conditions = [
            {"type": "Available", "status": "True" if ready >= wanted else "False", "reason": "MinimumReplicas"},
            {"type": "Progressing", "status": "False" if late else "True", "reason": reason},
        ]
        # Zeros are left out (omitempty, k8s.io/api/apps/v1), so null takes away what was there.
        told = {name: count or None for name, count in counts.items()}
        status = {"observedGeneration": metadata["generation"], **told, "conditions": conditions}
        old = deployment.get("status") or {}
        if {name: old.get(name) for name in status} != status:
            path = f"/apis/apps/v1/namespaces/{metadata['namespace']}/deployments/{metadata['name']}/status"
            self.write("PATCH", path, {"status": status}, MERGE)

    def _pods(self, replica_set: Mapping[str, Any]) -> list[dict[str, Any]]:
        return [
            pod
            for pod in self.cache.all("pods")
            if _owned(pod, replica_set) and not pod["metadata"].get("deletionTimestamp")
        ]

    def _replicate(self, replica_set: Mapping[str, Any]) -> None:
        metadata = replica_set["metadata"]
        pods = self._pods(replica_set)
        missing = replica_set["spec"]["replicas"] - len(pods)
        base = f"/api/v1/namespaces/{metadata['namespace']}/pods"
        for _number in range(missing):
            template = replica_set["spec"]["template"]
            owner = _owner("apps/v1", "ReplicaSet", replica_set)
            # Counted from what is there: a cache that lags makes no pod twice.
            name = self._free_name(metadata, base)
            if name is None:
                return
            pod_metadata = {**(template.get("metadata") or {}), "name": name, "ownerReferences": [owner]}
            self.write(
                "POST", base, {"apiVersion": "v1", "kind": "Pod", "metadata": pod_metadata, "spec": template["spec"]}
            )
        for pod in sorted(pods, key=_is_ready)[: max(0, -missing)]:
            self.write("DELETE", f"{base}/{pod['metadata']['name']}")
        status = {
            "observedGeneration": metadata["generation"],
            "replicas": len(pods),
            "readyReplicas": sum(map(_is_ready, pods)) or None,
        }
        if {name: (replica_set.get("status") or {}).get(name) for name in status} != status:
            path = f"/apis/apps/v1/namespaces/{metadata['namespace']}/replicasets/{metadata['name']}/status"
            self.write("PATCH", path, {"status": status}, MERGE)

    def _free_name(self, metadata: Mapping[str, Any], base: str) -> str | None:
        """The first number that no pod of this set has; None when the cache lags behind what was just made."""
        listed = self.client.call("GET", base)["items"]
        mine = {one["metadata"]["name"]: one for one in listed if one["metadata"]["name"].startswith(metadata["name"])}
        alive = [one for one in mine.values() if not one["metadata"].get("deletionTimestamp")]
        wanted = self.cache.objects["replicasets"].get((metadata["namespace"], metadata["name"]), {})
        if len(alive) >= wanted.get("spec", {}).get("replicas", 0):
            return None
        return next(f"{metadata['name']}-{n}" for n in range(10_000) if f"{metadata['name']}-{n}" not in mine)

    def _employ(self, job: Mapping[str, Any]) -> None:
        """One pod at a time, until one succeeds, more than ``backoffLimit`` failed, or the time is over.

        As of Kubernetes 1.31 it is told first what the Job will be, and that it is when no pod of it runs.
        """
        metadata, old = job["metadata"], job.get("status") or {}
        conditions = list(old.get("conditions") or ())
        ended = any(one["type"] in ("Complete", "Failed") for one in conditions)
        if ended or metadata.get("deletionTimestamp"):
            return
        pods = [one for one in self.cache.all("pods") if _owned(one, job)]
        active = [one for one in pods if not _has_ended(one)]
        succeeded = sum(one["status"]["phase"] == "Succeeded" for one in pods if _has_ended(one))
        failed = len(pods) - len(active) - succeeded
        base = f"/api/v1/namespaces/{metadata['namespace']}/pods"
        if not conditions:
            conditions += _verdict(job, succeeded, failed)
        if conditions:
            for pod in active:
                if not pod["metadata"].get("deletionTimestamp"):
                    self.write("DELETE", f"{base}/{pod['metadata']['name']}")
        elif not active:
            # The same name for the same attempt: a cache that lags makes no pod twice.
            suffix = hashlib.sha256(f"{metadata['uid']} {failed}".encode()).hexdigest()[:5]
            template = job["spec"]["template"]
            made = {**(template.get("metadata") or {}), "name": f"{metadata['name']}-{suffix}"}
            labels = {
                **made.get("labels", {}),
                "batch.kubernetes.io/job-name": metadata["name"],
                "batch.kubernetes.io/controller-uid": metadata["uid"],
            }
            made |= {"labels": labels, "ownerReferences": [_owner("batch/v1", "Job", job)]}
            self.write("POST", base, {"apiVersion": "v1", "kind": "Pod", "metadata": made, "spec": template["spec"]})
        status = {"startTime": old.get("startTime") or _now(), "active": len(active)}
        status |= {"succeeded": succeeded, "failed": failed, "conditions": conditions}
        if conditions and not active:
            kind = "Complete" if conditions[0]["type"] == "SuccessCriteriaMet" else "Failed"
            conditions.append({**conditions[0], "type": kind})
            status |= {"completionTime": _now()} if kind == "Complete" else {}
        if {name: old.get(name) for name in status} != status:
            path = f"/apis/batch/v1/namespaces/{metadata['namespace']}/jobs/{metadata['name']}/status"
            # Of this Job, and none that has its name since.
            body = {"metadata": {"resourceVersion": metadata["resourceVersion"]}, "status": status}
            self.write("PATCH", path, body, MERGE)

    def _bound(self, autoscaler: Mapping[str, Any]) -> None:
        spec, metadata = autoscaler["spec"], autoscaler["metadata"]
        target = self.cache.objects["deployments"].get((metadata["namespace"], spec["scaleTargetRef"]["name"]))
        # At 0 an autoscaler is off.
        if target is None or not target["spec"]["replicas"]:
            return
        bounded = max(spec["minReplicas"], min(spec["maxReplicas"], target["spec"]["replicas"]))
        if bounded != target["spec"]["replicas"]:
            path = (
                f"/apis/apps/v1/namespaces/{metadata['namespace']}/deployments/{spec['scaleTargetRef']['name']}/scale"
            )
            self.write("PATCH", path, {"spec": {"replicas": bounded}}, MERGE)

    # --- traffic

    def _slice(self, service: Mapping[str, Any]) -> None:
        namespace, name = _key(service)
        pods = [
            pod
            for pod in self.cache.all("pods")
            if pod["metadata"]["namespace"] == namespace
            and _selects(service["spec"]["selector"], pod)
            and (pod.get("status") or {}).get("podIP")
        ]
        endpoints = [_endpoint(pod) for pod in sorted(pods, key=lambda one: str(one["metadata"]["name"]))]
        labels = {
            "kubernetes.io/service-name": name,
            "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
        }
        ports = [
            {"name": port.get("name", ""), "port": port["targetPort"], "protocol": port["protocol"]}
            for port in service["spec"].get("ports") or ()
            if isinstance(port["targetPort"], int)
        ]
        base = f"{SLICES}/namespaces/{namespace}/endpointslices"
        existing = self.cache.objects["slices"].get((namespace, f"{name}-tests"))
        if existing is None:
            metadata = {
                "name": f"{name}-tests",
                "labels": labels,
                "ownerReferences": [_owner("v1", "Service", service)],
            }
            kind = {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": metadata}
            self.write("POST", base, {**kind, "addressType": "IPv4", "endpoints": endpoints, "ports": ports})
        elif (existing.get("endpoints") or []) != endpoints or (existing.get("ports") or []) != ports:
            self.write("PATCH", f"{base}/{name}-tests", {"endpoints": endpoints, "ports": ports}, MERGE)

    # --- what goes

    def _collect(self) -> None:
        """What has lost its owner."""
        alive = {one["metadata"]["uid"] for name in self.cache.objects for one in self.cache.all(name)}
        paths = {"replicasets": "/apis/apps/v1", "pods": "/api/v1", "slices": SLICES}
        for name, base in paths.items():
            for one in self.cache.all(name):
                references = one["metadata"].get("ownerReferences") or ()
                if references and not any(reference["uid"] in alive for reference in references):
                    plural = "endpointslices" if name == "slices" else name
                    path = f"{base}/namespaces/{one['metadata']['namespace']}/{plural}/{one['metadata']['name']}"
                    # The cache of the owners may lag behind that of what they own: ask.
                    if not self._exists(one, references[0]):
                        self.write("DELETE", path)

    def _exists(self, document: Mapping[str, Any], reference: Mapping[str, Any]) -> bool:
        kinds = {"Deployment": "deployments", "ReplicaSet": "replicasets", "Job": "jobs", "Service": "services"}
        plural = kinds.get(reference["kind"])
        if plural is None:
            return True
        base = _WATCHED[plural].rpartition("/")[0]
        try:
            found = self.client.call(
                "GET", f"{base}/namespaces/{document['metadata']['namespace']}/{plural}/{reference['name']}"
            )
        except RefusedError:
            return False
        return bool(found["metadata"]["uid"] == reference["uid"])

    def _empty(self, namespace: Mapping[str, Any]) -> None:
        name = namespace["metadata"]["name"]
        for path in self._contents(name):
            self.write("DELETE", path, {"gracePeriodSeconds": 0})
        if not list(self._contents(name)):
            self.write("PUT", f"/api/v1/namespaces/{name}/finalize", {**namespace, "spec": {"finalizers": []}})

    def _contents(self, name: str) -> Iterator[str]:
        groups = self.client.call("GET", "/apis")["groups"]
        bases = ["/api/v1", *(f"/apis/{group['preferredVersion']['groupVersion']}" for group in groups)]
        for base in bases:
            for resource in self.client.call("GET", base)["resources"]:
                if resource["namespaced"] and "list" in resource["verbs"]:
                    path = f"{base}/namespaces/{name}/{resource['name']}"
                    for one in self.client.call("GET", path)["items"]:
                        yield f"{path}/{one['metadata']['name']}"


def _verdict(job: Mapping[str, Any], succeeded: int, failed: int) -> list[dict[str, Any]]:
    """What the Job will be, as a condition; nothing while that is open."""
    spec, since = job["spec"], (job.get("status") or {}).get("startTime")
    limit = spec.get("activeDeadlineSeconds")
    if succeeded:
        kind, reason, message = "SuccessCriteriaMet", "CompletionsReached", "Reached expected number of succeeded pods"
    elif failed > spec.get("backoffLimit", 6):
        kind, reason = "FailureTarget", "BackoffLimitExceeded"
        message = "Job has reached the specified backoff limit"
    elif limit is not None and since is not None and time.time() - _at(since) >= limit:
        kind, reason, message = "FailureTarget", "DeadlineExceeded", "Job was active longer than specified deadline"
    else:
        return []
    return [{"type": kind, "status": "True", "reason": reason, "message": message, "lastTransitionTime": _now()}]


def _replica_set(deployment: Mapping[str, Any], name: str, digest: str) -> dict[str, Any]:
    labels = {**(deployment["spec"]["template"].get("metadata") or {}).get("labels", {}), "pod-template-hash": digest}
    template = deployment["spec"]["template"]
    return {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {"name": name, "labels": labels, "ownerReferences": [_owner("apps/v1", "Deployment", deployment)]},
        "spec": {
            "replicas": deployment["spec"]["replicas"],
            "selector": {"matchLabels": labels},
            "template": {**template, "metadata": {**template.get("metadata", {}), "labels": labels}},
        },
    }


def _endpoint(pod: Mapping[str, Any]) -> dict[str, Any]:
    serving = _is_ready(pod)
    terminating = bool(pod["metadata"].get("deletionTimestamp"))
    namespace, name = _key(pod)
    return {
        "addresses": [pod["status"]["podIP"]],
        "conditions": {"ready": serving and not terminating, "serving": serving, "terminating": terminating},
        "targetRef": {"kind": "Pod", "name": name, "namespace": namespace, "uid": pod["metadata"]["uid"]},
    }
