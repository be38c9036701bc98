# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""TCP connections to a port of this host, from ``/proc/net``: who is still being served there."""

from __future__ import annotations

import ipaddress
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import WorkloadError

#: A client would notice if the process ended now.
#:
#: CLOSE_WAIT counts: the client has said its last word, and may still wait for the answer. The states after the
#: server's own FIN (FIN_WAIT1, FIN_WAIT2, CLOSING, LAST_ACK, TIME_WAIT) do not count: the process has nothing more to
#: say, the kernel delivers what is left without it, and TIME_WAIT lasts a minute after the last request.
SERVED = {"01": "ESTABLISHED", "03": "SYN_RECV", "08": "CLOSE_WAIT"}


@dataclass(frozen=True)
class Connection:
    """One connection that is being served: the client's address and port, and the state's name."""

    peer: str
    peer_port: int
    state: str


def _address(text: str) -> str:
    # The kernel prints each 32-bit word as a number of the host's byte order.
    words = (int(text[start : start + 8], 16).to_bytes(4, sys.byteorder) for start in range(0, len(text), 8))
    address = ipaddress.ip_address(b"".join(words))
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)


def parse(lines: Iterable[str], ports: frozenset[int]) -> list[tuple[int, Connection]]:
    """Read the lines of ``/proc/net/tcp`` or ``tcp6``: what is being served at ``ports``, as (port, connection)."""
    wanted = {f"{port:04X}": port for port in ports}
    found = []
    for line in lines:
        # "sl: local:port remote:port state …"; this also passes over the heading.
        fields = line.split(None, 4)
        if len(fields) < 4 or fields[3] not in SERVED:
            continue
        port = wanted.get(fields[1].rpartition(":")[2])
        if port is not None:
            address, _colon, peer_port = fields[2].rpartition(":")
            found.append((port, Connection(_address(address), int(peer_port, 16), SERVED[fields[3]])))
    return found


def read(ports: Iterable[int], folder: Path = Path("/proc/net")) -> dict[int, list[Connection]]:
    """Read what is being served at each of ``ports`` now, in this network namespace; one pass for all of them.

    The kernel's table may change while it is read: one look that shows nothing is not yet a proof.
    Raises WorkloadError when it cannot be read.
    """
    wanted = frozenset(ports)
    found: dict[int, list[Connection]] = {port: [] for port in wanted}
    for name in ("tcp", "tcp6"):
        try:
            with (folder / name).open(encoding="ascii") as lines:
                for port, connection in parse(lines, wanted):
                    found[port].append(connection)
        except FileNotFoundError:
            # A kernel without IPv6 has no tcp6; without tcp there is nothing to count.
            if name == "tcp6":
                continue
            raise WorkloadError(f"{folder / name} does not exist: connections cannot be counted here.") from None
        except (OSError, ValueError) as error:
            raise WorkloadError(
                f"{folder / name} cannot be read, so connections cannot be counted: {error}."
            ) from error
    return found


def summarize(connections: Sequence[Connection]) -> list[dict[str, Any]]:
    """Count connections by client address and state, the most first, at most 20 entries."""
    counted = Counter((connection.peer, connection.state) for connection in connections)
    return [{"peer": peer, "state": state, "count": count} for (peer, state), count in counted.most_common(20)]
