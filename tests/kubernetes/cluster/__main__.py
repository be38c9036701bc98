# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``python -m cluster KUBECONFIG``: the API server with its controllers, until it is ended. The file is its address."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

from .api import ADMIN, Api
from .client import Client, write_kubeconfig
from .controllers import Controllers, Kubelet
from .serving import serving


def main() -> None:
    path = Path(sys.argv[1])
    with serving(Api()) as address:
        # Only whole, and only when there is somebody to talk to.
        write_kubeconfig(path.with_suffix(".new"), address, ADMIN).rename(path)
        loops = [Kubelet(Client(path)), Controllers(Client(path))]
        signal.sigwait({signal.SIGTERM, signal.SIGINT})
        for loop in loops:
            loop.end()


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    main()
