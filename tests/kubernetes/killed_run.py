# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A process that holds the lock, says so, and stands still until it is killed; or that counts under the lock; or that
takes a snapshot of the objects.

``killed_run.py KUBECONFIG NAMESPACE hold``, ``… count NUMBER`` or ``… snapshot FOLDER``.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from ansible_collections.bluegreen.cutover.plugins.module_utils import _artifacts
from ansible_collections.bluegreen.cutover.plugins.module_utils._kubernetes import connect
from ansible_collections.bluegreen.cutover.plugins.module_utils._snapshots.kubernetes import Kubernetes
from ansible_collections.bluegreen.cutover.plugins.module_utils._stores.cluster import ClusterStore


def main() -> None:
    kubeconfig, namespace, what, *more = sys.argv[1:]
    if what == "snapshot":
        wanted = _artifacts.Wanted(part="objects", destination=Path(more[0]), keep=3600, service="shop")
        options = {"namespace": namespace, "secrets": "left_out", "kubeconfig": kubeconfig}
        _artifacts.take(wanted, Kubernetes(options, _artifacts.Log()), _artifacts.Log())
        return
    store = ClusterStore(connect(kubeconfig), namespace, "shop")
    if what == "hold":
        with store.locked():
            store.write_gate({"count": 100})
            print("held", flush=True)
            time.sleep(60)
    for _ in range(int(more[0])):
        with store.locked():
            store.write_gate({"count": (store.read_gate() or {"count": 0})["count"] + 1})


if __name__ == "__main__":
    main()
