# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is written for nft, and what it lists."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import InputError, RouterError
from ansible_collections.bluegreen.cutover.plugins.module_utils._routers import Instance, Service, nftables
from ansible_collections.bluegreen.cutover.plugins.module_utils._routers.nftables import Nftables, parse_table

PORTS = {"blue": 8001, "green": 8002}
SERVICE = Service("shop-x", {colour: (Instance("127.0.0.1", port),) for colour, port in PORTS.items()}, "/ready")


def redirect(port: Any, dport: int = 8000) -> list[dict[str, Any]]:
    """A rule as nft 1.0.6 lists it."""
    return [
        {"match": {"op": "==", "left": {"fib": {"result": "type", "flags": ["daddr"]}}, "right": "local"}},
        {"match": {"op": "==", "left": {"payload": {"protocol": "tcp", "field": "dport"}}, "right": dport}},
        {"redirect": {"port": port}},
    ]


def by_chance(*pairs: Any) -> dict[str, Any]:
    numgen = {"numgen": {"mode": "random", "mod": 100, "offset": 0}}
    return {"map": {"key": numgen, "data": {"set": list(pairs)}}}


def listed(**chains: list[dict[str, Any]]) -> str:
    rules = [{"rule": {"chain": chain, "handle": 4, "expr": expr}} for chain, expr in chains.items()]
    return json.dumps({"nftables": [{"metainfo": {}}, {"table": {"name": "cutover_shop-x"}}, *rules]})


@pytest.mark.parametrize(
    ("target", "weight"),
    [
        (8001, 0),
        (8002, 100),
        (by_chance([0, 8002], [{"range": [1, 99]}, 8001]), 1),
        (by_chance([{"range": [0, 49]}, 8002], [{"range": [50, 99]}, 8001]), 50),
        (by_chance([{"range": [0, 98]}, 8002], [99, 8001]), 99),
    ],
)
def test_the_weight_of_a_table(target: Any, weight: int) -> None:
    text = listed(prerouting=redirect(target), output=redirect(target))
    assert parse_table(text, "cutover_shop-x", 8000, PORTS) == weight


@pytest.mark.parametrize(
    "chains",
    [
        {},
        {"prerouting": redirect(8001)},
        {"prerouting": redirect(8001), "output": redirect(8002)},
        {"prerouting": redirect(8003), "output": redirect(8003)},
        {"prerouting": redirect(8001, 9000), "output": redirect(8001, 9000)},
        {"prerouting": redirect(8001), "output": redirect(8001), "input": redirect(8001)},
        {"prerouting": [{"accept": None}], "output": [{"accept": None}]},
    ],
)
def test_a_table_that_somebody_edited(chains: dict[str, Any]) -> None:
    with pytest.raises(RouterError, match="does not redirect port 8000 as it was set up"):
        parse_table(listed(**chains), "cutover_shop-x", 8000, PORTS)


def test_a_second_rule_in_a_chain() -> None:
    document = json.loads(listed(prerouting=redirect(8001), output=redirect(8001)))
    document["nftables"].append(document["nftables"][-1])
    with pytest.raises(RouterError):
        parse_table(json.dumps(document), "cutover_shop-x", 8000, PORTS)


def test_the_ruleset_replaces_the_table_in_one_transaction() -> None:
    router = Nftables(SERVICE, port=8000, file="/x.nft")
    assert router.ruleset(0).splitlines() == [
        "table inet cutover_shop-x { }",
        "delete table inet cutover_shop-x",
        "table inet cutover_shop-x {",
        "    chain prerouting {",
        "        type nat hook prerouting priority -100; policy accept;",
        "        fib daddr type local tcp dport 8000 redirect to :8001",
        "    }",
        "    chain output {",
        "        type nat hook output priority -100; policy accept;",
        "        fib daddr type local tcp dport 8000 redirect to :8001",
        "    }",
        "}",
    ]
    assert "redirect to :numgen random mod 100 map { 0-24 : 8002, 25-99 : 8001 }" in router.ruleset(25)
    assert len({router.ruleset(weight) for weight in range(101)}) == 101


def test_reads_applies_and_persists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[list[str], str]] = []

    def run_program(argv: list[str], stdin: str = "") -> str:
        calls.append((argv, stdin))
        return listed(prerouting=redirect(8002), output=redirect(8002))

    monkeypatch.setattr(nftables, "run_program", run_program)
    monkeypatch.setattr(nftables, "count_ready", lambda service: (dict.fromkeys(service.instances, 1), {"x": "200"}))
    path = tmp_path / "shop.nft"
    path.write_text("# edited by hand\n")
    router = Nftables(SERVICE, port=8000, file=str(path))
    assert (router.read().weight, router.read().persisted) == (100, None)
    assert router.read().in_flight == {"blue": None, "green": None}
    assert router.apply(50) == ["nft --file - # 50 % of port 8000 to 8002"]
    assert calls[-1] == (["nft", "--file", "-"], router.ruleset(50))
    assert router.persist(50) == [f"write {path}"]
    assert router.read().persisted == 50


def test_one_host_only() -> None:
    two = {**SERVICE.instances, "green": (Instance("app1", 8002), Instance("app2", 8002))}
    with pytest.raises(InputError, match="nftables moves a service on one host; green has 2 instances"):
        Nftables(Service("shop", two, "/ready"), port=8000, file="/x")


@pytest.mark.parametrize("port", [8001, 8002])
def test_three_different_ports(port: int) -> None:
    with pytest.raises(InputError, match="three different ports are needed"):
        Nftables(SERVICE, port=port, file="/x")
