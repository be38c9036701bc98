# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the engine of Qdrant makes of options, points and answers; tests/integration has what it does."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import InputError, SnapshotError
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.probes import Answer
from ansible_collections.bluegreen.cutover.plugins.module_utils._snapshots import qdrant as engine
from ansible_collections.bluegreen.cutover.plugins.module_utils._snapshots.qdrant import Qdrant


def qdrant(**given: Any) -> Qdrant:
    return Qdrant({"url": "http://127.0.0.1:6333", "collection": "docs", **given}, lambda _what: None)


@pytest.mark.parametrize(
    "url",
    [
        "127.0.0.1:6333",
        "ftp://db1",
        "http://user:secret@db1:6333",
        "http://:secret@db1:6333",
        "http://db1?api_key=secret",
        "http://secret@[db1",
    ],
)
def test_an_address_that_cannot_be_meant_is_refused_and_its_secrets_are_not_told(url: str) -> None:
    with pytest.raises(InputError, match="qdrant.url must be like http://127.0.0.1:6333") as caught:
        qdrant(url=url)
    assert "secret" not in caught.value.message


def test_the_names_of_collections_cannot_leave_their_place_in_an_address() -> None:
    assert engine._path("../a b?c#d") == "/collections/..%2Fa%20b%3Fc%23d"


def test_a_point_is_its_id_payload_and_vectors_in_any_order_of_names() -> None:
    one = {
        "id": 1,
        "payload": {"a": 1, "b": [2, 3]},
        "vector": {"x": [0.5], "y": {"indices": [2, 1], "values": [5, 4]}},
    }
    other = {
        "vector": {"y": {"indices": [1, 2], "values": [4, 5]}, "x": [0.5]},
        "payload": {"b": [2, 3], "a": 1},
        "id": 1,
    }
    assert engine._canonical(one) == engine._canonical(other)
    assert engine._canonical(one) != engine._canonical({**one, "payload": {"a": 1, "b": [3, 2]}})
    assert engine._canonical(one) != engine._canonical({**one, "id": "1"})


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (
            Answer(1, error="ConnectionRefusedError: [Errno 111]"),
            "cannot be talked to, while looking at it: ConnectionRef",
        ),
        (Answer(1, 200, error="the body ends 5 bytes early"), "cannot be talked to, .* 5 bytes early"),
        (
            Answer(1, 404, body=b'{"status":{"error":"Not found"}}'),
            "answered 404, .*: Not found. See qdrant.collection",
        ),
        (Answer(1, 403, body=b"Forbidden"), "answered 403, .*: b'Forbidden'. Give a key that may manage collections"),
        (Answer(1, 500, body=b'{"status":"error"}'), "answered 500, .*See the server's log"),
    ],
)
def test_what_is_wrong_with_an_answer_is_told(answer: Answer, said: str) -> None:
    with pytest.raises(SnapshotError, match=said):
        qdrant()._judge(answer, "looking at it")
