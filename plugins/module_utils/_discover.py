# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the namespaces of an application's environments hold. Every request here reads."""

from __future__ import annotations

from collections.abc import Iterable

from ansible_collections.bluegreen.cutover.plugins.module_utils import _objects
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.discovery import READ, Found, named_only
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.environments import Environments
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import ClusterError
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.objects import (
    IGNORED_GROUPS,
    SECRETS,
    Document,
    Key,
)
from ansible_collections.bluegreen.cutover.plugins.module_utils._kubernetes import Cluster
from ansible_collections.bluegreen.cutover.plugins.module_utils._objects import Kind


def read(cluster: Cluster, given: Environments) -> dict[str, Found | None]:
    """What is in each namespace of the environments, old and new; None where there is none.

    Raises ClusterError. Whoever may not list Secrets gets the rest.
    """
    known = [one for one in _objects.kinds(cluster, IGNORED_GROUPS) if one.resource in READ]
    names = {name for one in given.values() for name in (one.source, one.namespace)}
    return {name: _namespace(cluster, known, name) for name in sorted(names)}


def _namespace(cluster: Cluster, known: Iterable[Kind], name: str) -> Found | None:
    if cluster.find(f"/api/v1/namespaces/{name}") is None:
        return None
    found: dict[Key, Document] = {}
    unread: set[str] = set()
    for kind in known:
        try:
            for one in _objects.list_all(cluster, kind, name):
                # The values are forgotten before anything looks at them.
                document = named_only(one) if kind.resource == SECRETS else one
                found[kind.resource, str(one["metadata"]["name"])] = document
        except ClusterError as error:
            if kind.resource != SECRETS or error.status != 403:
                raise
            unread.add(kind.resource)
    return Found(found, frozenset(unread))
