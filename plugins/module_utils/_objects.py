# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Objects of any kind in a cluster: which kinds there are, what there is of them, and writes of which the end is known.

Adapters use it: like ``_kubernetes`` it imports nothing of what is above them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import ClusterError
from ansible_collections.bluegreen.cutover.plugins.module_utils._kubernetes import Cluster, path_of

_PAGE = 500


@dataclass(frozen=True)
class Kind:
    """A kind that a server has. ``version`` has its group: ``v1``, ``apps/v1``."""

    version: str
    plural: str
    kind: str
    namespaced: bool
    verbs: frozenset[str]

    @property
    def resource(self) -> str:
        """``services``, ``deployments.apps``."""
        group = self.version.rpartition("/")[0]
        return f"{self.plural}.{group}" if group else self.plural

    def path(self, namespace: str, name: str = "") -> str:
        """The path of an object, or of all of the kind; ``namespace`` does not count for a kind that has none."""
        if self.namespaced:
            return path_of(self.version, namespace, self.plural, name)
        base = f"/apis/{self.version}" if "/" in self.version else f"/api/{self.version}"
        return f"{base}/{self.plural}" + (f"/{quote(name, safe='')}" if name else "")


def kinds(cluster: Cluster, without: Collection[str] = ()) -> list[Kind]:
    """Every kind that the server has, each in the version that it prefers; without those of some groups.

    Raises ClusterError, also where only one group cannot be asked: what is not known cannot be left out knowingly.
    """
    versions = ["v1"]
    for group in cluster.call("GET", "/apis")["groups"]:
        if group["name"] not in without:
            preferred = group["preferredVersion"]["groupVersion"]
            others = [one["groupVersion"] for one in group["versions"] if one["groupVersion"] != preferred]
            versions += [preferred, *others]
    found: dict[str, Kind] = {}
    for version in versions:
        for kind in kinds_of(cluster, version):
            found.setdefault(kind.resource, kind)
    return list(found.values())


def kinds_of(cluster: Cluster, version: str) -> list[Kind]:
    """The kinds of one version of a group, such as ``apps/v1``."""
    listed = cluster.call("GET", f"/apis/{version}" if "/" in version else f"/api/{version}")
    return [
        Kind(version, one["name"], one["kind"], bool(one["namespaced"]), frozenset(one["verbs"]))
        for one in listed["resources"]
        if "/" not in one["name"]
    ]


def list_all(cluster: Cluster, kind: Kind, namespace: str) -> Iterator[dict[str, Any]]:
    """All objects of a kind in a namespace, page by page. Each says what it is, which those of a list do not."""
    path, more = kind.path(namespace), ""
    while True:
        page = cluster.call("GET", path, query={"limit": str(_PAGE), **({"continue": more} if more else {})})
        for one in page["items"]:
            yield {**one, "apiVersion": kind.version, "kind": kind.kind}
        more = (page.get("metadata") or {}).get("continue") or ""
        if not more:
            return


def make_namespace(cluster: Cluster, name: str, labels: Mapping[str, str]) -> None:
    """Make the namespace ``name``, unless somebody has."""
    try:
        cluster.call("POST", "/api/v1/namespaces", {"metadata": {"name": name, "labels": dict(labels)}})
    except ClusterError:
        # Somebody was faster, or the answer was lost; what is there decides.
        if cluster.find(f"/api/v1/namespaces/{name}") is None:
            raise


def write(
    cluster: Cluster,
    path: str,
    send: Callable[[], dict[str, Any]],
    is_done: Callable[[Mapping[str, Any] | None], bool],
) -> dict[str, Any]:
    """What ``send`` answers; where nobody knows whether it was done, what is at ``path`` when ``is_done`` says so."""
    try:
        return send()
    except ClusterError as error:
        if not error.unknown:
            raise
        found = cluster.find(path)
        if not is_done(found):
            raise
        return found or {}
