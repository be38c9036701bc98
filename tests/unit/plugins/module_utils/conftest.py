# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A cluster in this process, for what talks to one: the API server of tests/kubernetes, without its sockets."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from ansible_collections.bluegreen.cutover.plugins.module_utils._kubernetes import Cluster
from cluster.api import Api
from cluster.client import MERGE
from cluster.inprocess import Pool, Setter


@dataclasses.dataclass
class Shop:
    """The namespace ``shop``: a Service ``web``, two ready pods of each colour, blue's as endpoints."""

    api: Api
    pool: Pool
    setter: Setter
    cluster: Cluster

    def serve(self, colour: str) -> None:
        """Make the endpoints those of ``colour``, as a controller would."""
        self.setter.serve(colour)

    def patch(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        return self.setter.ask("PATCH", path, body, MERGE)

    def get(self, path: str) -> dict[str, Any]:
        return self.setter.ask("GET", path)


@pytest.fixture
def empty() -> Shop:
    """The namespace alone."""
    api = Api()
    pool = Pool(api)
    setter = Setter(api)
    setter.make("/api/v1/namespaces", {"metadata": {"name": "shop"}})
    return Shop(api, pool, setter, Cluster(pool.connection, patience=0.2))


@pytest.fixture
def shop(empty: Shop) -> Shop:
    empty.setter.furnish()
    return empty
