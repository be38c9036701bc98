# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who is being served at a port, from the kernel's tables."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.bluegreen.cutover.plugins.module_utils import _connections
from ansible_collections.bluegreen.cutover.plugins.module_utils._connections import Connection
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import WorkloadError

HEADING = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
REST = "00000000:00000000 00:00000000 00000000    33        0 21474 1 0000000000000000 20 4 30 10 -1\n"


@pytest.fixture(autouse=True)
def _little_endian(monkeypatch: pytest.MonkeyPatch) -> None:
    # The tables below are from such a host.
    monkeypatch.setattr(_connections.sys, "byteorder", "little")


def row(port: int, state: str, peer: str = "0B04580A:D431") -> str:
    return f"   0: 1504580A:{port:04X} {peer} {state} {REST}"


@pytest.fixture(name="tables")
def _tables(tmp_path: Path) -> Path:
    (tmp_path / "tcp").write_text(
        HEADING
        + row(8001, "0A", "00000000:0000")
        + row(8001, "01")
        + row(8001, "01", "0C04580A:D432")
        + row(8001, "06")
        + row(8002, "08")
        # An outgoing connection to somebody else's port 8001.
        + f"   5: 1504580A:D433 0B04580A:1F41 01 {REST}"
    )
    (tmp_path / "tcp6").write_text(
        HEADING
        + f"   0: 0000000000000000FFFF00001504580A:1F41 0000000000000000FFFF00000B04580A:D434 01 {REST}"
        + f"   1: B80D0120000000000000000001000000:1F41 B80D0120000000000000000002000000:D435 03 {REST}"
    )
    return tmp_path


def test_what_is_served_is_read_for_each_port(tables: Path) -> None:
    found = _connections.read([8001, 8002, 8003], tables)
    assert found == {
        8001: [
            Connection("10.88.4.11", 54321, "ESTABLISHED"),
            Connection("10.88.4.12", 54322, "ESTABLISHED"),
            Connection("10.88.4.11", 54324, "ESTABLISHED"),
            Connection("2001:db8::2", 54325, "SYN_RECV"),
        ],
        8002: [Connection("10.88.4.11", 54321, "CLOSE_WAIT")],
        8003: [],
    }


@pytest.mark.parametrize(
    ("state", "served"),
    [
        ("01", 1),
        ("02", 0),
        ("03", 1),
        ("04", 0),
        ("05", 0),
        ("06", 0),
        ("07", 0),
        ("08", 1),
        ("09", 0),
        ("0A", 0),
        ("0B", 0),
    ],
)
def test_only_connections_the_process_must_still_answer_count(state: str, served: int) -> None:
    assert len(_connections.parse([HEADING, row(8001, state)], frozenset({8001}))) == served


def test_a_host_without_ipv6_is_read(tables: Path) -> None:
    (tables / "tcp6").unlink()
    assert len(_connections.read([8001], tables)[8001]) == 2


def test_a_host_without_tables_is_not_idle(tmp_path: Path) -> None:
    with pytest.raises(WorkloadError, match="cannot be counted here"):
        _connections.read([8001], tmp_path)


@pytest.mark.parametrize("text", [row(8001, "01", "ZZ:1"), "\xff"])
def test_a_table_that_cannot_be_understood_is_not_idle(tables: Path, text: str) -> None:
    (tables / "tcp").write_text(text, encoding="latin-1")
    with pytest.raises(WorkloadError, match="cannot be read"):
        _connections.read([8001], tables)


def test_clients_are_summed_up_the_most_first() -> None:
    one, two = Connection("10.0.0.1", 1, "ESTABLISHED"), Connection("10.0.0.2", 2, "CLOSE_WAIT")
    assert _connections.summarize([two, one, one]) == [
        {"peer": "10.0.0.1", "state": "ESTABLISHED", "count": 2},
        {"peer": "10.0.0.2", "state": "CLOSE_WAIT", "count": 1},
    ]
    assert len(_connections.summarize([Connection(f"10.0.0.{n}", 1, "ESTABLISHED") for n in range(50)])) == 20
