# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The kinds that this server knows: where they are, what is filled in, and what is refused.

Others come as a CustomResourceDefinition, as with the real one.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import jsonschema

Problem = tuple[str, str, str]
"""A field, a reason as Kubernetes has it, and a message."""

_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?")
_LABEL_NAME = re.compile(r"([a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?")
_SUBDOMAIN = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
_DNS_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_DNS_1035 = re.compile(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?")
_RBAC_NAME = re.compile(r"[^/%]+")
_DATA_KEY = re.compile(r"[-._a-zA-Z0-9]{1,253}")
_QUANTITY = re.compile(r"[+-]?\d+(\.\d+)?(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei|[eE][+-]?\d+)?")

_LISTS: dict[tuple[str, ...], tuple[str | None, tuple[str, ...] | None]] = {
    ("metadata", "ownerReferences"): ("uid", ("uid",)),
    ("metadata", "finalizers"): ("", ()),
    ("status", "conditions"): ("type", ("type",)),
    ("containers",): ("name", ("name",)),
    ("initContainers",): ("name", ("name",)),
    ("volumes",): ("name", ("name",)),
    ("imagePullSecrets",): ("name", ("name",)),
    ("containers", "env"): ("name", ("name",)),
    ("containers", "ports"): ("containerPort", ("containerPort", "protocol")),
    ("containers", "volumeMounts"): ("mountPath", ("mountPath",)),
    ("spec", "ports"): ("port", ("port", "protocol")),
    ("endpoints", "addresses"): (None, ()),
}
"""By the end of a list's path: its key in a strategic patch, and its keys for who owns what."""


@dataclass(frozen=True)
class Kind:
    """One kind. ``counted``: a change of anything but metadata and status is a new generation."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True
    status: bool = False
    scale: bool = False
    counted: bool = False
    custom: bool = False
    lists: Mapping[tuple[str, ...], tuple[str | None, tuple[str, ...] | None]] = field(default_factory=dict)
    name: re.Pattern[str] = _SUBDOMAIN
    default: Callable[[dict[str, Any]], None] = lambda _document: None
    check: Callable[[Mapping[str, Any], Mapping[str, Any] | None], Iterator[Problem]] = lambda _new, _old: iter(())

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def resource(self) -> str:
        """``deployments.apps``, as messages have it."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    def merge_key(self, path: tuple[str, ...]) -> str | None:
        return self._list(path)[0]

    def list_keys(self, path: tuple[str, ...]) -> tuple[str, ...] | None:
        return self._list(path)[1]

    def _list(self, path: tuple[str, ...]) -> tuple[str | None, tuple[str, ...] | None]:
        for length in (len(path), 2, 1):
            found = {**_LISTS, **self.lists}.get(path[-length:])
            if found is not None:
                return found
        return None, None


def problems(kind: Kind, document: Mapping[str, Any], before: Mapping[str, Any] | None) -> list[Problem]:
    """Everything that is wrong with an object that is to be written."""
    metadata = document["metadata"]
    found: list[Problem] = []
    if not kind.name.fullmatch(metadata["name"]):
        found.append(("metadata.name", "FieldValueInvalid", f'Invalid value: "{metadata["name"]}"'))
    found += _labels("metadata.labels", metadata.get("labels") or {})
    found += [
        ("metadata.annotations", "FieldValueInvalid", f'Invalid value: "{name}"')
        for name in metadata.get("annotations") or {}
        if not _LABEL_NAME.fullmatch(name)
    ]
    return [*found, *kind.check(document, before)]


_STRINGS = "a map of strings"
_TYPES: dict[str, dict[str, Any]] = {
    "": {"metadata.labels": _STRINGS, "metadata.annotations": _STRINGS, "metadata.name": str},
    "ConfigMap": {"data": _STRINGS},
    "Service": {"spec.selector": _STRINGS},
    "Deployment": {"spec.replicas": int, "spec.selector": dict, "spec.template": dict},
    "Lease": {"spec.holderIdentity": str, "spec.leaseDurationSeconds": int, "spec.leaseTransitions": int},
    "HorizontalPodAutoscaler": {"spec.minReplicas": int, "spec.maxReplicas": int},
}


def unreadable(kind: Kind, document: Mapping[str, Any]) -> str:
    """Why ``document`` cannot be read as this kind at all, which comes before it can be wrong; empty where it can."""
    for path, wanted in {**_TYPES[""], **_TYPES.get(kind.kind, {})}.items():
        value: Any = document
        for part in path.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        if value is None:
            continue
        if wanted == _STRINGS:
            right = isinstance(value, Mapping) and all(isinstance(one, str) for one in value.values())
        else:
            right = isinstance(value, wanted) and not isinstance(value, bool)
        if not right:
            return f"json: cannot unmarshal {type(value).__name__} into Go struct field {kind.kind}.{path}"
    return ""


def _labels(where: str, labels: Mapping[str, str]) -> Iterator[Problem]:
    for name, value in labels.items():
        if not _LABEL_NAME.fullmatch(name):
            yield where, "FieldValueInvalid", f'Invalid value: "{name}": a qualified name is needed'
        if not _LABEL_VALUE.fullmatch(value):
            yield where, "FieldValueInvalid", f'Invalid value: "{value}": a valid label value is needed'


def _required(where: str, what: str = "") -> Problem:
    return where, "FieldValueRequired", f"Required value{': ' if what else ''}{what}"


def _immutable(where: str) -> Problem:
    return where, "FieldValueInvalid", "Invalid value: field is immutable"


# --- pods and what makes them


def _default_pod_spec(spec: dict[str, Any]) -> None:
    spec.setdefault("restartPolicy", "Always")
    spec.setdefault("terminationGracePeriodSeconds", 30)
    spec.setdefault("dnsPolicy", "ClusterFirst")
    for container in spec.get("containers") or ():
        image = str(container.get("image", ""))
        latest = image.endswith(":latest") or ":" not in image.rpartition("/")[2]
        container.setdefault("imagePullPolicy", "Always" if latest else "IfNotPresent")
        container.setdefault("terminationMessagePath", "/dev/termination-log")
        for port in container.get("ports") or ():
            port.setdefault("protocol", "TCP")


def _check_pod_spec(where: str, spec: Mapping[str, Any]) -> Iterator[Problem]:
    if not spec.get("containers"):
        yield _required(f"{where}.containers")
    names = [container.get("name") for container in spec.get("containers") or ()]
    for number, container in enumerate(spec.get("containers") or ()):
        here = f"{where}.containers[{number}]"
        if not container.get("name"):
            yield _required(f"{here}.name")
        elif names.index(container["name"]) != number:
            yield f"{here}.name", "FieldValueDuplicate", f'Duplicate value: "{container["name"]}"'
        if not container.get("image"):
            yield _required(f"{here}.image")
        resources = container.get("resources") or {}
        for which in ("requests", "limits"):
            for name, quantity in (resources.get(which) or {}).items():
                if not _QUANTITY.fullmatch(str(quantity)):
                    yield f"{here}.resources.{which}[{name}]", "FieldValueInvalid", f'Invalid value: "{quantity}"'


def _default_pod(document: dict[str, Any]) -> None:
    _default_pod_spec(document.setdefault("spec", {}))


def _check_pod(new: Mapping[str, Any], old: Mapping[str, Any] | None) -> Iterator[Problem]:
    yield from _check_pod_spec("spec", new["spec"])
    if old is not None and _fixed(new["spec"]) != _fixed(old["spec"]):
        yield (
            "spec",
            "FieldValueForbidden",
            "Forbidden: pod updates may not change fields other than `spec.containers[*].image`",
        )


def _fixed(spec: Mapping[str, Any]) -> dict[str, Any]:
    free = ("image",)
    containers = [{name: one for name, one in item.items() if name not in free} for item in spec["containers"]]
    return {**spec, "containers": containers, "activeDeadlineSeconds": None, "tolerations": None}


def _default_workload(document: dict[str, Any]) -> None:
    spec = document.setdefault("spec", {})
    spec.setdefault("replicas", 1)
    _default_pod_spec(spec.setdefault("template", {}).setdefault("spec", {}))


def _default_deployment(document: dict[str, Any]) -> None:
    _default_workload(document)
    spec = document["spec"]
    strategy = spec.setdefault("strategy", {})
    if strategy.setdefault("type", "RollingUpdate") == "RollingUpdate":
        rolling = strategy.setdefault("rollingUpdate", {})
        rolling.setdefault("maxSurge", "25%")
        rolling.setdefault("maxUnavailable", "25%")
    spec.setdefault("progressDeadlineSeconds", 600)
    spec.setdefault("revisionHistoryLimit", 10)


def _check_workload(new: Mapping[str, Any], old: Mapping[str, Any] | None) -> Iterator[Problem]:
    spec = new["spec"]
    if spec["replicas"] < 0:
        yield "spec.replicas", "FieldValueInvalid", "Invalid value: must be greater than or equal to 0"
    selector = spec.get("selector") or {}
    labels = (spec["template"].get("metadata") or {}).get("labels") or {}
    if not selector.get("matchLabels") and not selector.get("matchExpressions"):
        yield _required("spec.selector")
    elif any(labels.get(name) != value for name, value in (selector.get("matchLabels") or {}).items()):
        yield (
            "spec.template.metadata.labels",
            "FieldValueInvalid",
            "Invalid value: `selector` does not match template `labels`",
        )
    if old is not None and old["spec"].get("selector") != spec.get("selector"):
        yield _immutable("spec.selector")
    yield from _labels("spec.template.metadata.labels", labels)
    yield from _check_pod_spec("spec.template.spec", spec["template"]["spec"])


# --- traffic


def _default_service(document: dict[str, Any]) -> None:
    spec = document.setdefault("spec", {})
    for port in spec.get("ports") or ():
        port.setdefault("protocol", "TCP")
        port.setdefault("targetPort", port.get("port"))
    spec.setdefault("type", "ClusterIP")
    spec.setdefault("sessionAffinity", "None")
    if spec["type"] != "ExternalName":
        spec.setdefault("internalTrafficPolicy", "Cluster")
        spec.setdefault("ipFamilies", ["IPv4"])
        spec.setdefault("ipFamilyPolicy", "SingleStack")
    # What the real one does not store either: a selector without labels is none.
    if spec.get("selector") == {}:
        del spec["selector"]


def _check_service(new: Mapping[str, Any], old: Mapping[str, Any] | None) -> Iterator[Problem]:
    spec = new["spec"]
    if spec["type"] not in ("ClusterIP", "NodePort", "LoadBalancer", "ExternalName"):
        yield "spec.type", "FieldValueNotSupported", f'Unsupported value: "{spec["type"]}"'
    if not spec.get("ports") and spec["type"] != "ExternalName" and spec.get("clusterIP") != "None":
        yield _required("spec.ports")
    for number, port in enumerate(spec.get("ports") or ()):
        where = f"spec.ports[{number}]"
        if not isinstance(port.get("port"), int) or not 1 <= port["port"] <= 65535:
            yield f"{where}.port", "FieldValueInvalid", "Invalid value: must be between 1 and 65535, inclusive"
        if len(spec["ports"]) > 1 and not port.get("name"):
            yield _required(f"{where}.name")
    yield from _labels("spec.selector", spec.get("selector") or {})
    if old is not None and old["spec"].get("clusterIP") != spec.get("clusterIP"):
        yield _immutable("spec.clusterIP")


def _check_slice(new: Mapping[str, Any], old: Mapping[str, Any] | None) -> Iterator[Problem]:
    if new.get("addressType") not in ("IPv4", "IPv6", "FQDN"):
        yield _required("addressType")
    if old is not None and old.get("addressType") != new.get("addressType"):
        yield _immutable("addressType")
    for number, endpoint in enumerate(new.get("endpoints") or ()):
        if not endpoint.get("addresses"):
            yield _required(f"endpoints[{number}].addresses")
        for address in endpoint.get("addresses") or ():
            if address.startswith("127.") or address == "::1":
                where = f"endpoints[{number}].addresses"
                yield where, "FieldValueInvalid", f'Invalid value: "{address}": may not be in the loopback range'


def _check_ingress(new: Mapping[str, Any], _old: Mapping[str, Any] | None) -> Iterator[Problem]:
    spec = new.get("spec") or {}
    if not spec.get("rules") and not spec.get("defaultBackend"):
        yield "spec", "FieldValueInvalid", "Invalid value: either `defaultBackend` or `rules` must be specified"
    for number, rule in enumerate(spec.get("rules") or ()):
        for at, path in enumerate((rule.get("http") or {}).get("paths") or ()):
            if not path.get("pathType"):
                yield _required(f"spec.rules[{number}].http.paths[{at}].pathType", "pathType must be specified")


# --- the rest


def _check_config_map(new: Mapping[str, Any], old: Mapping[str, Any] | None) -> Iterator[Problem]:
    for name in [*(new.get("data") or {}), *(new.get("binaryData") or {})]:
        if not _DATA_KEY.fullmatch(name):
            yield f"data[{name}]", "FieldValueInvalid", f'Invalid value: "{name}"'
    size = sum(len(value.encode()) for value in (new.get("data") or {}).values())
    if size > 1 << 20:
        yield "", "FieldValueTooLong", "Too long: may not be more than 1048576 bytes"
    if old is not None and old.get("immutable") and (old.get("data") != new.get("data")):
        yield "data", "FieldValueForbidden", "Forbidden: field is immutable when `immutable` is set"


def _default_secret(document: dict[str, Any]) -> None:
    document.setdefault("type", "Opaque")
    for name, value in (document.pop("stringData", None) or {}).items():
        document.setdefault("data", {})[name] = base64.b64encode(value.encode()).decode()


def _check_secret(new: Mapping[str, Any], old: Mapping[str, Any] | None) -> Iterator[Problem]:
    for name, value in (new.get("data") or {}).items():
        try:
            base64.b64decode(value, validate=True)
        except binascii.Error:
            yield f"data[{name}]", "FieldValueInvalid", "Invalid value: illegal base64 data"
    if old is not None and old["type"] != new["type"]:
        yield _immutable("type")


def _check_lease(new: Mapping[str, Any], old: Mapping[str, Any] | None) -> Iterator[Problem]:
    spec = new.get("spec") or {}
    if spec.get("leaseDurationSeconds") is not None and spec["leaseDurationSeconds"] <= 0:
        yield "spec.leaseDurationSeconds", "FieldValueInvalid", "Invalid value: must be greater than 0"
    if (spec.get("leaseTransitions") or 0) < 0:
        yield "spec.leaseTransitions", "FieldValueInvalid", "Invalid value: must be greater than or equal to 0"
    _ = old


def _default_autoscaler(document: dict[str, Any]) -> None:
    document.setdefault("spec", {}).setdefault("minReplicas", 1)


def _check_autoscaler(new: Mapping[str, Any], _old: Mapping[str, Any] | None) -> Iterator[Problem]:
    spec = new["spec"]
    if not (spec.get("scaleTargetRef") or {}).get("name"):
        yield _required("spec.scaleTargetRef.name")
    if spec["minReplicas"] < 1:
        yield "spec.minReplicas", "FieldValueInvalid", "Invalid value: must be greater than or equal to 1"
    if (spec.get("maxReplicas") or 0) < spec["minReplicas"]:
        yield "spec.maxReplicas", "FieldValueInvalid", "Invalid value: must be greater than or equal to `minReplicas`"


def _check_role(new: Mapping[str, Any], _old: Mapping[str, Any] | None) -> Iterator[Problem]:
    for number, rule in enumerate(new.get("rules") or ()):
        if not rule.get("verbs"):
            yield _required(f"rules[{number}].verbs", "verbs must contain at least one value")


def _check_binding(new: Mapping[str, Any], old: Mapping[str, Any] | None) -> Iterator[Problem]:
    if old is not None and old["roleRef"] != new["roleRef"]:
        yield "roleRef", "FieldValueInvalid", "Invalid value: cannot change roleRef"


BUILT_IN = (
    Kind("", "v1", "namespaces", "Namespace", namespaced=False, status=True, name=_DNS_LABEL),
    Kind("", "v1", "nodes", "Node", namespaced=False, status=True),
    Kind("", "v1", "services", "Service", status=True, name=_DNS_1035, default=_default_service, check=_check_service),
    Kind("", "v1", "pods", "Pod", status=True, counted=True, default=_default_pod, check=_check_pod),
    Kind("", "v1", "configmaps", "ConfigMap", check=_check_config_map),
    Kind("", "v1", "secrets", "Secret", default=_default_secret, check=_check_secret),
    Kind("", "v1", "serviceaccounts", "ServiceAccount"),
    Kind("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim", status=True),
    Kind("", "v1", "resourcequotas", "ResourceQuota", status=True),
    Kind("apps", "v1", "deployments", "Deployment", status=True, scale=True, counted=True,
         default=_default_deployment, check=_check_workload),
    Kind("apps", "v1", "replicasets", "ReplicaSet", status=True, scale=True, counted=True,
         default=_default_workload, check=_check_workload),
    Kind("autoscaling", "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler", status=True,
         default=_default_autoscaler, check=_check_autoscaler),
    Kind("batch", "v1", "jobs", "Job", status=True, counted=True),
    Kind("coordination.k8s.io", "v1", "leases", "Lease", check=_check_lease),
    Kind("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice", counted=True, check=_check_slice),
    Kind("networking.k8s.io", "v1", "ingresses", "Ingress", status=True, counted=True, check=_check_ingress),
    Kind("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget", status=True, counted=True),
    Kind("rbac.authorization.k8s.io", "v1", "roles", "Role", name=_RBAC_NAME, check=_check_role),
    Kind("rbac.authorization.k8s.io", "v1", "rolebindings", "RoleBinding", name=_RBAC_NAME, check=_check_binding),
    Kind("rbac.authorization.k8s.io", "v1", "clusterroles", "ClusterRole", namespaced=False, name=_RBAC_NAME,
         check=_check_role),
    Kind("rbac.authorization.k8s.io", "v1", "clusterrolebindings", "ClusterRoleBinding", namespaced=False,
         name=_RBAC_NAME, check=_check_binding),
    Kind("apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", namespaced=False,
         status=True, counted=True),
)  # fmt: skip


def custom(definition: Mapping[str, Any]) -> Iterator[Kind]:
    """The kinds of a CustomResourceDefinition, one for each version that is served."""
    spec = definition["spec"]
    for version in spec["versions"]:
        if not version.get("served"):
            continue
        schema = version["schema"]["openAPIV3Schema"]
        subresources = version.get("subresources") or {}
        yield Kind(
            spec["group"],
            version["name"],
            spec["names"]["plural"],
            spec["names"]["kind"],
            namespaced=spec["scope"] == "Namespaced",
            status="status" in subresources,
            counted=True,
            custom=True,
            lists=dict(_schema_lists(schema, ())),
            default=lambda document, schema=schema: _fill(document, schema),  # type: ignore[misc]
            check=lambda new, _old, schema=schema: _check_schema(new, schema),  # type: ignore[misc]
        )


def _schema_lists(
    schema: Mapping[str, Any], path: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], tuple[str | None, tuple[str, ...] | None]]]:
    kind = schema.get("x-kubernetes-list-type")
    if kind == "map":
        keys = tuple(schema["x-kubernetes-list-map-keys"])
        yield path, (keys[0], keys)
    elif kind == "set":
        yield path, ("", ())
    for name, one in (schema.get("properties") or {}).items():
        yield from _schema_lists(one, (*path, name))
    if isinstance(schema.get("items"), Mapping):
        yield from _schema_lists(schema["items"], path)


def _fill(value: Any, schema: Mapping[str, Any]) -> None:
    """Defaults of the schema, and without the fields that it does not name."""
    known = schema.get("properties") or {}
    if isinstance(value, dict) and known:
        for name, one in known.items():
            if name not in value and "default" in one:
                value[name] = one["default"]
        if not schema.get("x-kubernetes-preserve-unknown-fields"):
            for name in [one for one in value if one not in known and one not in ("apiVersion", "kind", "metadata")]:
                del value[name]
        for name in value.keys() & known.keys():
            _fill(value[name], known[name])
    elif isinstance(value, list) and "items" in schema:
        for one in value:
            _fill(one, schema["items"])


def _check_schema(new: Mapping[str, Any], schema: Mapping[str, Any]) -> Iterator[Problem]:
    for error in jsonschema.Draft4Validator(schema).iter_errors(new):
        yield ".".join(map(str, error.absolute_path)), "FieldValueInvalid", f"Invalid value: {error.message}"
