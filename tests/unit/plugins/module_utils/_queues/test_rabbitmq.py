# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""RabbitMQ's management API, as a script."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import InputError, QueueError
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.probes import Answer, Target
from ansible_collections.bluegreen.cutover.plugins.module_utils._queues.rabbitmq import RabbitMQ

OPTIONS = {"url": "http://mq:15672/", "vhost": "a/b", "name": "ma ils&x", "user": None, "password_file": None}


class Api:
    """Gives one page after the other, and then what its statistics have of one queue, and of what they are."""

    def __init__(
        self,
        *pages: Any,
        stats: dict[str, Any] | None = None,
        about: dict[str, Any] | None = None,
        status: int | None = 200,
        error: str = "",
    ) -> None:
        self.pages = pages
        self.stats = {} if stats is None else {"message_stats": stats}
        self.about = about or {}
        self.status = status
        self.error = error
        self.asked: list[Target] = []

    def __call__(self, target: Target) -> Answer:
        self.asked.append(target)
        if "/api/overview?" in target.url:
            body = json.dumps(self.about)
        elif "/api/queues/a%2Fb/" in target.url:
            body = json.dumps({"name": "ma ils&x", **self.stats})
        else:
            page = self.pages[len(self.asked) - 1] if self.pages else ""
            body = page if isinstance(page, str) else json.dumps({"items": page, "page_count": len(self.pages)})
        return Answer(1.0, self.status, body=body.encode(), error=self.error)


def queue(name: str, ready: Any, unacknowledged: Any) -> dict[str, Any]:
    return {"name": name, "messages_ready": ready, "messages_unacknowledged": unacknowledged}


def test_a_queue_is_found_among_all_whose_name_has_its_own_in_it(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("s3cret\n")
    api = Api([queue("ma ils&x2", 9, 9)], [queue("ma ils&x", 3, 2)])
    depth = RabbitMQ({**OPTIONS, "user": "lab", "password_file": str(tmp_path / "password")}, api).read()
    assert (depth.waiting, depth.in_flight) == (3, 2)
    assert [target.url.partition("?")[0] for target in api.asked[:2]] == ["http://mq:15672/api/queues/a%2Fb"] * 2
    assert api.asked[1].url.endswith("&page=2&page_size=500&name=ma%20ils%26x")
    assert "disable_stats=true&enable_queue_totals=true" in api.asked[0].url
    given = api.asked[0].headers["Authorization"].removeprefix("Basic ")
    assert base64.b64decode(given) == b"lab:s3cret"


def test_what_comes_and_goes_is_in_its_statistics_later() -> None:
    """What another queue dead-letters into it is published by nobody, and delivered all the same."""
    api = Api([queue("ma ils&x", 0, 0)], stats={"publish": 40, "deliver_get": 42})
    depth = RabbitMQ(OPTIONS, api).read()
    assert (depth.moves, depth.late > 2 * 5, depth.unwatched) == (82, True, "")
    assert "/api/queues/a%2Fb/ma%20ils%26x?" in api.asked[-1].url
    # Totals would be all that it has.
    assert "disable_stats" not in api.asked[-1].url
    assert RabbitMQ(OPTIONS, Api([queue("ma ils&x", 0, 0)], stats={"deliver_get": 2})).read().moves == 2


@pytest.mark.parametrize(
    ("about", "moves"),
    [
        ({"rates_mode": "basic", "disable_stats": False}, 0),
        ({"rates_mode": "none", "disable_stats": False}, None),
        ({"rates_mode": "basic", "disable_stats": True}, None),
    ],
)
def test_a_queue_that_had_no_message_yet_is_not_one_without_statistics(
    about: dict[str, Any], moves: int | None
) -> None:
    depth = RabbitMQ(OPTIONS, Api([queue("ma ils&x", 0, 0)], about=about)).read()
    assert depth.is_empty
    assert depth.moves == moves
    assert (depth.late > 0, depth.unwatched) == (
        (True, "") if moves is not None else (False, "RabbitMQ keeps no statistics")
    )


def test_an_address_with_a_password_is_refused_and_not_told() -> None:
    """It would be in each error."""
    with pytest.raises(
        InputError, match="the url of the queue 'ma ils&x' must be like http:.* password_file"
    ) as caught:
        RabbitMQ({**OPTIONS, "url": "http://lab:s3cret@mq:15672"}, Api())
    assert "s3cret" not in caught.value.message


@pytest.mark.parametrize("numbers", [(None, 0), (0, None), (0, "0")])
def test_a_number_that_is_not_there_is_not_zero(numbers: tuple[Any, Any]) -> None:
    depth = RabbitMQ(OPTIONS, Api([queue(OPTIONS["name"] or "", *numbers)])).read()
    assert not depth.is_empty
    assert "does not say" in depth.unknown


@pytest.mark.parametrize(
    ("api", "said"),
    [
        (Api([]), "has no queue 'ma ils&x' in the virtual host 'a/b'"),
        (Api(status=401), "the user or the password is not right"),
        (Api(status=403), "the tag 'management'"),
        (Api(status=404), "no such virtual host"),
        (Api(status=500), "status 500: that is no answer"),
        (Api(status=None, error="ConnectionRefusedError"), "ConnectionRefusedError"),
        (Api("[]"), "does not answer as the management API"),
        (Api("<html>"), "does not answer as the management API"),
    ],
)
def test_what_cannot_be_read_is_told(api: Api, said: str) -> None:
    with pytest.raises(QueueError) as caught:
        RabbitMQ(OPTIONS, api).read()
    assert said in caught.value.message
