# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""nftables: one host without a proxy; its port is redirected to a colour's port by weight.

A table of the service's own is replaced in one transaction. conntrack keeps established connections where they are.
"""

from __future__ import annotations

import json
from typing import Any

from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import InputError, RouterError
from ansible_collections.bluegreen.cutover.plugins.module_utils._routers import Reading, Service
from ansible_collections.bluegreen.cutover.plugins.module_utils._routers._shared import (
    count_ready,
    read_file,
    replace_file,
    run_program,
)

CHAINS = ("prerouting", "output")
"""From other hosts, and from this one."""


class Nftables:
    """A service on one host: ``port`` is the service's, ``file`` what the boot loads."""

    def __init__(self, service: Service, *, port: int, file: str) -> None:
        self.service = service
        self.port = int(port)
        self.file = file
        self.table = f"cutover_{service.name}"
        self.ports = {colour: _one_port(colour, service) for colour in service.instances}
        if len({self.port, *self.ports.values()}) != len(self.ports) + 1:
            raise InputError(
                f"nftables redirects port {self.port} to {self.ports}; three different ports are needed",
            )

    def read(self) -> Reading:
        """Ask the kernel for the table, every instance for its readiness, and read the file."""
        ready, said = count_ready(self.service)
        listed = run_program(["nft", "--json", "list", "table", "inet", self.table])
        text = read_file(self.file)
        return Reading(
            weight=parse_table(listed, self.table, self.port, self.ports),
            # Only what we write ourselves is understood: anything else was edited by hand.
            persisted=next((weight for weight in range(101) if self.ruleset(weight) == text), None),
            ready=ready,
            in_flight=dict.fromkeys(self.ports),
            detail={"instances": said, "file": self.file},
        )

    def apply(self, weight: int) -> list[str]:
        """Replace the table in one transaction."""
        run_program(["nft", "--file", "-"], stdin=self.ruleset(weight))
        return [f"nft --file - # {weight} % of port {self.port} to {self.ports['green']}"]

    def persist(self, weight: int) -> list[str]:
        """Write the file that is loaded at boot."""
        replace_file(self.file, self.ruleset(weight))
        return [f"write {self.file}"]

    def ruleset(self, weight: int) -> str:
        """The whole transaction; the first line makes the second succeed where there is no table yet."""
        target = render_target(weight, self.ports)
        chains = "".join(
            f"    chain {chain} {{\n"
            f"        type nat hook {chain} priority -100; policy accept;\n"
            # Only what is meant for this host: neither forwarded packets nor its own calls to that port elsewhere.
            f"        fib daddr type local tcp dport {self.port} redirect to {target}\n"
            "    }\n"
            for chain in CHAINS
        )
        return (
            f"table inet {self.table} {{ }}\ndelete table inet {self.table}\ntable inet {self.table} {{\n{chains}}}\n"
        )


def _one_port(colour: str, service: Service) -> int:
    ports = {instance.port for instance in service.instances[colour]}
    if len(ports) != 1 or len(service.instances[colour]) != 1:
        raise InputError(
            f"nftables moves a service on one host; {colour} has {len(service.instances[colour])} instances. "
            "Put a proxy before several hosts (cutover_router.provider: haproxy)"
        )
    return ports.pop()


def render_target(weight: int, ports: dict[str, int]) -> str:
    """Where to redirect to, in nft's language."""
    if weight in (0, 100):
        return f":{ports['green' if weight else 'blue']}"
    return f":numgen random mod 100 map {{ 0-{weight - 1} : {ports['green']}, {weight}-99 : {ports['blue']} }}"


def parse_table(listed: str, table: str, port: int, ports: dict[str, int]) -> int:
    """The weight in ``nft --json list table``; ``RouterError`` where the table is not of our making."""
    entries = json.loads(listed)["nftables"]
    weights: dict[str, int | None] = {}
    for rule in (entry["rule"] for entry in entries if "rule" in entry):
        # Two rules in a chain: the second is not of our making.
        known = rule["chain"] in CHAINS and rule["chain"] not in weights
        weights[rule["chain"]] = _rule_weight(rule["expr"], port, ports) if known else None
    found = set(weights.values())
    weight = found.pop() if len(found) == 1 and len(weights) == len(CHAINS) else None
    if weight is None:
        raise RouterError(
            f"the nftables table inet {table} does not redirect port {port} as it was set up (per chain: {weights}). "
            "See 'nft list table inet " + table + "', and load the file of the router role again",
            {"weights": weights, "rules": [entry["rule"] for entry in entries if "rule" in entry]},
        )
    return weight


def _rule_weight(expressions: list[dict[str, Any]], port: int, ports: dict[str, int]) -> int | None:
    """Green's percentage in one rule, or None where it is another rule than ours."""
    matched = [one["match"]["right"] for one in expressions if "match" in one]
    target = [one["redirect"]["port"] for one in expressions if one.get("redirect")]
    if matched != ["local", port] or len(target) != 1:
        return None
    return next((weight for weight in range(101) if target[0] == _json_target(weight, ports)), None)


def _json_target(weight: int, ports: dict[str, int]) -> Any:
    """What nft lists for ``render_target(weight, ports)``."""
    if weight in (0, 100):
        return ports["green" if weight else "blue"]
    shares = ((0, weight - 1, ports["green"]), (weight, 99, ports["blue"]))
    pairs = [[first if first == last else {"range": [first, last]}, port] for first, last, port in shares]
    return {"map": {"key": {"numgen": {"mode": "random", "mod": 100, "offset": 0}}, "data": {"set": pairs}}}
