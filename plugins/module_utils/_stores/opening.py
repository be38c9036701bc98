# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a service keeps its state: in files of the router host, or in the cluster that it runs in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.bluegreen.cutover.plugins.module_utils._stores.files import FileStore


def open_store(service: str, state_dir: str, cluster: Mapping[str, Any] | None) -> FileStore:
    """The store in ``cluster``, the plan's, or in ``state_dir`` where there is none. Raises ``ClusterError``."""
    if not cluster:
        return FileStore(state_dir, service)
    # Not at the top: whoever has no cluster does not pay for it with the start of each module.
    from ansible_collections.bluegreen.cutover.plugins.module_utils._kubernetes import connect  # noqa: PLC0415
    from ansible_collections.bluegreen.cutover.plugins.module_utils._stores.cluster import (  # noqa: PLC0415
        ClusterStore,
    )

    return ClusterStore(connect(cluster.get("kubeconfig"), cluster.get("context")), cluster["namespace"], service)
