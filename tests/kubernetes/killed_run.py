# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A process that holds the lock, says so, and stands still until it is killed; or that counts under the lock.

``killed_run.py KUBECONFIG NAMESPACE hold`` or ``… count NUMBER``.
"""

from __future__ import annotations

import sys
import time

from ansible_collections.bluegreen.cutover.plugins.module_utils._kubernetes import connect
from ansible_collections.bluegreen.cutover.plugins.module_utils._stores.cluster import ClusterStore


def main() -> None:
    kubeconfig, namespace, what, *number = sys.argv[1:]
    store = ClusterStore(connect(kubeconfig), namespace, "shop")
    if what == "hold":
        with store.locked():
            store.write_gate({"count": 100})
            print("held", flush=True)
            time.sleep(60)
    for _ in range(int(number[0])):
        with store.locked():
            store.write_gate({"count": (store.read_gate() or {"count": 0})["count"] + 1})


if __name__ == "__main__":
    main()
