#!/usr/bin/env python3
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""On the host with Redis: keys for the bench, and the usual ways to write those of a prefix to a file, with their
expiry and with DUMP. No digests, no checksum, no compression: the least that can be restored.

Usage: plain_redis.py fill KEYS | pipeline FILE | lua FILE. The password is in the environment, as REDISCLI_AUTH.
"""

from __future__ import annotations

import json
import os
import random
import struct
import sys
from collections.abc import Iterator
from typing import Any

import redis

PREFIX = "nextstep:prod:"
BATCH = 1000
HEAD = struct.Struct(">qII")
LUA = """
local found = redis.call('SCAN', ARGV[1], 'MATCH', ARGV[2], 'COUNT', ARGV[3])
local out = {}
for _, key in ipairs(found[2]) do
  local payload = redis.call('DUMP', key)
  if payload then
    out[#out + 1] = key
    out[#out + 1] = redis.call('PTTL', key)
    out[#out + 1] = payload
  end
end
return {found[1], out}
"""


def main() -> None:
    server = redis.Redis(password=os.environ["REDISCLI_AUTH"])
    if sys.argv[1] == "fill":
        fill(server, int(sys.argv[2]))
        return
    dumped = {"pipeline": pipeline, "lua": lua}[sys.argv[1]](server)
    with open(sys.argv[2], "wb") as file:
        file.writelines(HEAD.pack(left, len(key), len(payload)) + key + payload for key, left, payload in dumped)
        file.flush()
        os.fsync(file.fileno())


def pipeline(server: Any) -> Iterator[tuple[bytes, int, bytes]]:
    """SCAN, then DUMP and PTTL of each key, many at once."""
    cursor = 0
    while True:
        cursor, keys = server.scan(cursor, match=f"{PREFIX}*", count=BATCH)
        pipe = server.pipeline(transaction=False)
        for key in keys:
            pipe.pttl(key)
            pipe.dump(key)
        told = pipe.execute()
        yield from zip(keys, told[::2], told[1::2], strict=True)
        if not cursor:
            return


def lua(server: Any) -> Iterator[tuple[bytes, int, bytes]]:
    """The same within the server, one script for each step of SCAN."""
    script, cursor = server.register_script(LUA), b"0"
    while True:
        cursor, told = script(args=[cursor, f"{PREFIX}*", BATCH])
        yield from zip(told[::3], told[1::3], told[2::3], strict=True)
        if cursor == b"0":
            return


def fill(server: Any, count: int) -> None:
    """As an application has them: sessions, users, queues, tags, rankings, events; three of ten expire."""
    some = random.Random(7)  # noqa: S311
    words = ["order", "paid", "basket", "green", "blue", "shop", "cart", "user", "session", "token", "price", "stock"]
    server.flushall()
    pipe = server.pipeline(transaction=False)
    for number in range(count):
        begin = PREFIX if number % 2 else "nextstep:dev:"
        kind = some.random()
        if kind < 0.6:
            key = f"{begin}session:{number}"
            about = {"id": number, "user": some.getrandbits(40), "words": some.choices(words, k=12)}
            pipe.set(key, json.dumps({**about, "mail": f"u{some.getrandbits(20)}@example.org"}))
        elif kind < 0.8:
            key = f"{begin}user:{number}"
            pipe.hset(key, mapping={f"f{n}": some.choice(words) + str(some.getrandbits(24)) for n in range(6)})
        elif kind < 0.88:
            key = f"{begin}queue:{number}"
            pipe.rpush(key, *(f"job-{some.getrandbits(30)}" for _ in range(10)))
        elif kind < 0.94:
            key = f"{begin}tags:{number}"
            pipe.sadd(key, *(some.choice(words) + str(some.getrandbits(8)) for _ in range(8)))
        elif kind < 0.995:
            key = f"{begin}rank:{number}"
            pipe.zadd(key, {f"m{some.getrandbits(20)}": some.random() * 1000 for _ in range(8)})
        else:
            key = f"{begin}events:{number}"
            for event in range(5):
                pipe.xadd(key, {"a": some.getrandbits(30)}, id=f"{event + 1}-1")
        if number % 10 < 3:
            pipe.expire(key, 86_400 + some.randrange(86_400))
        if number % BATCH == 0:
            pipe.execute()
    pipe.execute()


main()
