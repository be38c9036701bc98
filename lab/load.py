#!/usr/bin/env python3
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Constant-rate load on a lab, with every request accounted for. Standard library only.

Open loop: requests are sent when they are due, whether or not earlier ones were answered, and latency
counts from the moment a request was *due* (no coordinated omission). Nothing is ever retried.

    python3 lab/load.py --target http://10.88.1.11:8000 --rate 500 --duration 60 --idle 300 --summary out.json

It prints `ready` once the idle connections are open, runs until the duration is over or SIGTERM or
SIGINT comes, waits for the answers still due and writes the summary. From Python:

    with load.background(Plan("http://10.88.1.11:8000"), directory) as running:
        ...  # switch
    result = running.result()
    assert result.outcomes() == {"ok": result.count}

All times are seconds since the epoch, all latencies milliseconds. Kinds of requests:
keepalive  on a connection of a pool which is reused        new    on a connection of its own
slow       like keepalive, to the slow path                 write  like keepalive, a POST with a unique name
idle       on one of N connections that are idle but for one request every few seconds

Outcomes:
ok               2xx, completely received
http_error       any other status
refused          no connection could be made
reset_in_flight  the connection ended before the answer was complete, and the server may have seen the request
idle_reset       the same, where the server had closed a reused connection before it could see the request: not
                 one byte of an answer, at once after sending. What is in doubt is not called so: requests
                 that take long (slow), and those that may not be sent twice (write)
timeout          no complete answer in time
A reused connection that was seen closed *before* sending is no error: the request goes out on a new one
and `idle_closed_seen` counts it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import ipaddress
import json
import random
import re
import signal
import socket
import subprocess
import sys
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple, cast
from urllib.parse import urlsplit

LAB_NETWORK = ipaddress.ip_network("10.88.0.0/16")
LAB_STATE = Path("/run/bluegreen-lab")
MAX_RATE = 3000.0
MAX_DURATION = 4000.0
MAX_IDLE = 5000
RAMP_SECONDS = 2.0
"""How long opening the idle connections takes at most."""
ON_ITS_WAY = 0.1
"""Seconds after sending in which a request may still be on its way; less than a millisecond of it is the network's."""


@dataclass(frozen=True)
class Plan:
    """What to send. Shares are between 0 and 1 and of `rate`; what they leave is `keepalive`."""

    target: str
    rate: float = 500.0
    duration: float = 60.0
    new_share: float = 0.5
    slow_share: float = 0.01
    write_share: float = 0.0
    idle: int = 0
    idle_every: float = 5.0
    timeout: float = 15.0
    path: str = "/api/v1/ping"
    slow_path: str = "/slow"
    write_path: str = "/api/v1/items"
    seed: int = 1

    def __post_init__(self) -> None:
        if not 0 < self.rate <= MAX_RATE:
            raise ValueError(f"rate: more than 0, at most {MAX_RATE:.0f} requests a second")
        if not 0 < self.duration <= MAX_DURATION:
            raise ValueError(f"duration: more than 0, at most {MAX_DURATION:.0f} seconds")
        if not 0 <= self.idle <= MAX_IDLE:
            raise ValueError(f"idle: 0 to {MAX_IDLE} connections")
        if self.idle_every <= 0 or self.timeout <= 0:
            raise ValueError("idle_every, timeout: more than 0 seconds")
        shares = (self.new_share, self.slow_share, self.write_share)
        if min(shares) < 0 or sum(shares) > 1:
            raise ValueError("shares: none below 0, not more than 1 together")

    @property
    def ramp(self) -> float:
        """Seconds in which the idle connections are opened."""
        return min(RAMP_SECONDS, self.idle_every)

    @property
    def address(self) -> tuple[str, int]:
        parts = urlsplit(self.target)
        if parts.scheme != "http" or not parts.hostname or parts.path not in ("", "/"):
            raise ValueError(f"target {self.target!r}: must look like http://10.88.1.11:8000")
        host = "127.0.0.1" if parts.hostname == "localhost" else parts.hostname
        return host, parts.port or 80

    def kind(self, chance: float) -> str:
        """The kind of a request by a random number from 0 to 1."""
        for kind, share in (("slow", self.slow_share), ("new", self.new_share), ("write", self.write_share)):
            if chance < share:
                return kind
            chance -= share
        return "keepalive"


class Record(NamedTuple):
    """One request. `sent` is 0 if it never was; `status` is 0 and `colour` empty without an answer."""

    scheduled: float
    sent: float
    ended: float
    kind: str
    status: int
    colour: str
    outcome: str
    name: str = ""
    """What a write has written."""

    @property
    def latency_ms(self) -> float:
        return (self.ended - self.scheduled) * 1000


class Response(NamedTuple):
    status: int
    colour: str
    keep_alive: bool


_COLOUR = re.compile(rb'"colour": ?"(\w+)"')


def parse_response(data: bytes, ended: bool) -> Response | None:
    """The response in `data` if it is complete, else None; `ended` says that nothing will follow."""
    head, separator, body = data.partition(b"\r\n\r\n")
    if not separator:
        return None
    status_line, *lines = head.split(b"\r\n")
    headers = {}
    for line in lines:
        key, _, value = line.partition(b":")
        headers[key.strip().lower()] = value.strip()
    length = headers.get(b"content-length")
    if length is not None:
        complete = len(body) >= int(length)
    elif b"chunked" in headers.get(b"transfer-encoding", b""):
        complete = body.endswith(b"0\r\n\r\n")
    else:
        complete = ended or status_line.split()[1] in (b"204", b"304")
    if not complete:
        return None
    colour = headers.get(b"x-colour")
    if colour is None:
        found = _COLOUR.search(body)
        colour = found.group(1) if found else b""
    keep_alive = not ended and status_line.startswith(b"HTTP/1.1")
    keep_alive = keep_alive and headers.get(b"connection", b"").lower() != b"close"
    return Response(int(status_line.split()[1]), colour.decode(), keep_alive)


def classify_break(kind: str, reused: bool, received: int, after: float) -> str:
    """What a connection's end before a complete answer is called.

    `received` bytes came before it, which was `after` seconds after the request was sent.
    """
    unseen = reused and received == 0 and after <= ON_ITS_WAY
    return "idle_reset" if unseen and kind not in ("slow", "write") else "reset_in_flight"


def percentile(ordered: Sequence[float], share: float) -> float | None:
    """Nearest-rank percentile of ascending values; None of none."""
    if not ordered:
        return None
    return ordered[min(len(ordered) - 1, max(0, -int(-share * len(ordered) // 1) - 1))]


def summarise(records: Iterable[Record]) -> dict[str, Any]:
    """Counts, latencies and colours of some requests."""
    records = list(records)
    latencies: dict[str, list[float]] = {}
    colours: dict[str, dict[str, Any]] = {}
    for record in records:
        if record.outcome == "ok":
            latencies.setdefault(record.kind, []).append(record.latency_ms)
        if record.colour:
            seen = colours.setdefault(
                record.colour, {"answers": 0, "ok": 0, "first": record.ended, "last": record.ended}
            )
            seen["answers"] += 1
            seen["ok"] += record.outcome == "ok"
            seen["first"] = min(seen["first"], record.ended)
            seen["last"] = max(seen["last"], record.ended)
    fast = sorted(value for kind, values in latencies.items() if kind != "slow" for value in values)
    by_kind: dict[str, Counter[str]] = {}
    for record in records:
        by_kind.setdefault(record.kind, Counter())[record.outcome] += 1
    return {
        "count": len(records),
        "outcomes": dict(Counter(record.outcome for record in records)),
        "statuses": dict(Counter(str(record.status) for record in records if record.status)),
        "kinds": {kind: dict(counts) for kind, counts in by_kind.items()},
        "colours": colours,
        # of the answers that came, without the slow path, which has its own
        "latency_ms": _spread(fast),
        "latency_ms_by_kind": {kind: _spread(sorted(values)) for kind, values in latencies.items()},
    }


def _spread(ordered: Sequence[float]) -> dict[str, float | None]:
    shares = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "max": 1.0}
    return {name: percentile(ordered, share) for name, share in shares.items()}


def window(records: Iterable[Record], start: float, end: float) -> list[Record]:
    """The requests that were due from `start` until before `end`."""
    return [record for record in records if start <= record.scheduled < end]


def require_permitted(host: str, subnets: Iterable[str]) -> None:
    """ValueError unless the address is this machine's loopback or in a running lab."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        raise ValueError(f"target {host}: an address is needed, not a name") from None
    if address.is_loopback:
        return
    if address in LAB_NETWORK and any(address in ipaddress.ip_network(subnet) for subnet in subnets):
        return
    raise ValueError(f"target {host} is neither loopback nor in a running lab: refused")


def lab_subnets() -> list[str]:
    found = []
    for file in LAB_STATE.glob("*/lab.json"):
        with contextlib.suppress(FileNotFoundError):  # another lab, which has just ended
            found.append(json.loads(file.read_text())["subnet"])
    return found


class _Exchange:
    """One request on its way."""

    __slots__ = ("kind", "name", "payload", "scheduled", "sent", "slot", "timer")

    def __init__(self, kind: str, scheduled: float, payload: bytes, slot: int, name: str) -> None:
        self.kind = kind
        self.scheduled = scheduled
        self.payload = payload
        self.slot = slot
        self.name = name
        self.sent = 0.0
        self.timer: asyncio.TimerHandle  # set once there is a loop that can hold it


class _Connection(asyncio.Protocol):
    def __init__(self, load: Load, sock: socket.socket) -> None:
        self._load = load
        self._socket = sock
        self._transport: asyncio.Transport | None = None
        self._exchange: _Exchange | None = None
        self._received = b""
        self._reused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def is_open(self) -> bool:
        """Whether the server has neither closed nor reset it, as the kernel knows at this instant."""
        if self._transport is None or self._transport.is_closing():
            return False
        try:
            self._socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return True
        except OSError:
            pass
        self.close()  # the end of the stream, a reset, or words nobody asked for (408)
        return False

    def send(self, exchange: _Exchange) -> None:
        if self._transport is None:  # reset between connecting and now
            self._load.broken(exchange, classify_break(exchange.kind, self._reused, 0, 0.0))
            return
        self._exchange = exchange
        self._received = b""
        exchange.sent = self._load.now()
        self._transport.write(exchange.payload)

    def data_received(self, data: bytes) -> None:
        self._received += data
        self._parse(ended=False)

    def eof_received(self) -> None:
        self._parse(ended=True)

    def _parse(self, ended: bool) -> None:
        exchange = self._exchange
        if exchange is None:
            return
        response = parse_response(self._received, ended)
        if response is not None:
            self._exchange = None
            self._reused = True
            self._load.answered(exchange, response, self)

    def connection_lost(self, _exc: Exception | None) -> None:
        self._transport = None
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            after = self._load.now() - exchange.sent
            self._load.broken(exchange, classify_break(exchange.kind, self._reused, len(self._received), after))

    def abandon(self) -> None:
        self._exchange = None
        self.close()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def close_after_server(self) -> None:
        """Let the server close first: who closes first keeps the port for a minute."""
        asyncio.get_running_loop().call_later(2, self.close)


class Load:
    """A run of a plan. `records` and `idle_closed_seen` grow while `run` runs."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.records: list[Record] = []
        self.idle_closed_seen = 0
        self.lag_max_ms = 0.0
        """How late the generator itself was at worst, to send what was due."""
        self._address = plan.address
        self._pool: deque[_Connection] = deque()
        self._slots: dict[int, _Connection] = {}
        self._pending: dict[_Exchange, _Connection | asyncio.Task[None]] = {}
        self._stop = asyncio.Event()
        self._epoch = time.time() - time.monotonic()
        self._start = 0.0
        head = f"Host: {self._address[0]}\r\n"
        self._payloads = {
            kind: f"GET {path} HTTP/1.1\r\n{head}{extra}\r\n".encode()
            for kind, path, extra in (
                ("keepalive", plan.path, ""),
                ("idle", plan.path, ""),
                ("slow", plan.slow_path, ""),
                ("new", plan.path, "Connection: close\r\n"),
            )
        }

    def now(self) -> float:
        """Seconds since the epoch by a clock that does not jump."""
        return time.monotonic() + self._epoch

    def stop(self) -> None:
        """Send nothing more; `run` returns when the last answer is there or overdue."""
        self._stop.set()

    async def run(self, ready: asyncio.Event | None = None) -> None:
        self._start = self.now()
        senders = [asyncio.create_task(self._send_steadily())]
        if self.plan.idle:
            senders.append(asyncio.create_task(self._send_on_idle()))
        if ready is not None:
            await self._pause_until(self._start + (self.plan.ramp if self.plan.idle else 0) + 0.5)
            ready.set()
        await asyncio.gather(*senders)
        while self._pending:  # each one ends by its own timeout at the latest
            await asyncio.sleep(0.02)
        for connection in (*self._pool, *self._slots.values()):
            connection.close()
        await asyncio.sleep(0)

    async def _pause_until(self, moment: float) -> bool:
        """Sleep until the moment; False if told to stop meanwhile."""
        delay = moment - self.now()
        if delay > 0:
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._stop.wait(), delay)
        return not self._stop.is_set()

    async def _send_steadily(self) -> None:
        chance = random.Random(self.plan.seed).random  # noqa: S311 - the same mix every time, no secret
        for number in range(int(self.plan.rate * self.plan.duration)):
            scheduled = self._start + number / self.plan.rate
            if scheduled > self.now() and not await self._pause_until(scheduled):
                return
            if self._stop.is_set():
                return
            kind = self.plan.kind(chance())
            name = f"load-{self._start:.6f}-{number}" if kind == "write" else ""
            self._issue(kind, scheduled, -1, name)

    async def _send_on_idle(self) -> None:
        count, every = self.plan.idle, self.plan.idle_every
        for turn in range(int(self.plan.duration / every) + 1):
            for slot in range(count):
                # The first turn opens the connections, quickly; the others are spread evenly.
                offset = slot / count * self.plan.ramp if turn == 0 else (turn + slot / count) * every
                if offset >= self.plan.duration or not await self._pause_until(self._start + offset):
                    return
                self._issue("idle", self._start + offset, slot, "")

    def _issue(self, kind: str, scheduled: float, slot: int, name: str) -> None:
        self.lag_max_ms = max(self.lag_max_ms, (self.now() - scheduled) * 1000)
        exchange = _Exchange(kind, scheduled, self._payload(kind, name), slot, name)
        loop = asyncio.get_running_loop()
        exchange.timer = loop.call_later(self.plan.timeout, self._expire, exchange)
        connection = None if kind == "new" else self._take(slot)
        if connection is not None:
            self._pending[exchange] = connection
            connection.send(exchange)
        else:
            self._pending[exchange] = loop.create_task(self._open(exchange))

    def _payload(self, kind: str, name: str) -> bytes:
        if kind != "write":
            return self._payloads[kind]
        body = json.dumps({"name": name})
        return (
            f"POST {self.plan.write_path} HTTP/1.1\r\nHost: {self._address[0]}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}"
        ).encode()

    def _take(self, slot: int) -> _Connection | None:
        """A connection that is still open, or None; those the server has closed are counted."""
        if slot >= 0:
            candidates = [self._slots.pop(slot)] if slot in self._slots else []
            if candidates and candidates[0].is_open():
                return candidates[0]
            self.idle_closed_seen += len(candidates)
            return None
        while self._pool:
            connection = self._pool.popleft()
            if connection.is_open():
                return connection
            self.idle_closed_seen += 1
        return None

    async def _open(self, exchange: _Exchange) -> None:
        loop = asyncio.get_running_loop()
        family = socket.AF_INET6 if ":" in self._address[0] else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            await loop.sock_connect(sock, self._address)
            _, connection = await loop.create_connection(lambda: _Connection(self, sock), sock=sock)
        except OSError:
            sock.close()
            self.broken(exchange, "refused")
            return
        except asyncio.CancelledError:  # overdue
            sock.close()
            raise
        self._pending[exchange] = connection
        connection.send(exchange)

    def answered(self, exchange: _Exchange, response: Response, connection: _Connection) -> None:
        if not response.keep_alive or exchange.kind == "new":
            connection.close_after_server()
        elif exchange.slot >= 0:
            self._slots[exchange.slot] = connection
        else:
            self._pool.append(connection)
        good = 200 <= response.status < 300
        self._record(exchange, response.status, response.colour, "ok" if good else "http_error")

    def broken(self, exchange: _Exchange, outcome: str) -> None:
        self._record(exchange, 0, "", outcome)

    def _expire(self, exchange: _Exchange) -> None:
        way = self._pending[exchange]
        if isinstance(way, _Connection):
            way.abandon()
        else:
            way.cancel()
        self._record(exchange, 0, "", "timeout")

    def _record(self, exchange: _Exchange, status: int, colour: str, outcome: str) -> None:
        del self._pending[exchange]
        exchange.timer.cancel()
        self.records.append(
            Record(
                exchange.scheduled,
                exchange.sent,
                self.now(),
                exchange.kind,
                status,
                colour,
                outcome,
                exchange.name,
            )
        )


@dataclass(frozen=True)
class Result:
    """What a run wrote down."""

    summary: dict[str, Any]
    records: list[Record]

    @property
    def count(self) -> int:
        return len(self.records)

    def outcomes(self) -> dict[str, int]:
        return dict(Counter(record.outcome for record in self.records))

    def window(self, start: float, end: float) -> dict[str, Any]:
        return summarise(window(self.records, start, end))


class Background:
    """A run in a process of its own."""

    def __init__(self, process: subprocess.Popen[str], summary: Path, records: Path) -> None:
        self._process = process
        self._summary = summary
        self._records = records

    def wait(self) -> None:
        """Let it come to its end."""
        if self._process.wait() != 0:
            raise RuntimeError(f"load.py ended with exit status {self._process.returncode}")

    def stop(self) -> None:
        self._process.terminate()
        self.wait()

    def result(self) -> Result:
        """Of a run that has ended."""
        with open(self._records) as lines:
            records = [Record(*json.loads(line)) for line in lines]
        return Result(json.loads(self._summary.read_text()), records)


@contextlib.contextmanager
def background(plan: Plan, directory: Path) -> Iterator[Background]:
    """Run the plan beside the block, from when it is ready; files go to the directory.

    Leaving the block stops it (waits for the answers still due); an exception kills it.
    """
    summary, records = directory / "load-summary.json", directory / "load-records.jsonl"
    command = [sys.executable, __file__, "--summary", str(summary), "--records", str(records)]
    for name, value in asdict(plan).items():
        command += [f"--{name.replace('_', '-')}", str(value)]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as process:
        try:
            if process.stdout is None or process.stdout.readline() != "ready\n":
                raise RuntimeError(f"load.py did not start; exit status {process.wait()}")
            running = Background(process, summary, records)
            yield running
            if process.poll() is None:
                running.stop()
        finally:
            process.kill()


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="load.py", description="constant-rate load on a lab")
    for item in fields(Plan):
        flag = f"--{item.name.replace('_', '-')}"
        if item.name == "target":
            parser.add_argument(flag, required=True, help="http://ADDRESS:PORT, loopback or in a lab")
        else:
            parser.add_argument(flag, type=type(item.default), default=item.default, help="%(default)s")
    parser.add_argument("--summary", type=Path, help="file for the summary (JSON); default: print it")
    parser.add_argument("--records", type=Path, help="file for all requests, a JSON list per line")
    options = vars(parser.parse_args(arguments))
    summary_file, records_file = options.pop("summary"), options.pop("records")
    try:
        plan = Plan(**options)
        require_permitted(plan.address[0], lab_subnets())
    except ValueError as error:
        parser.error(str(error))

    gc.freeze()
    gc.disable()  # a collection is a pause, and a pause looks like latency of the service
    summary, records = asyncio.run(_run(plan))
    if records_file:
        with open(records_file, "w") as output:
            output.writelines(f"{json.dumps(record)}\n" for record in records)
    text = json.dumps(summary, indent=2) + "\n"
    if summary_file:
        summary_file.write_text(text)
    else:
        sys.stdout.write(text)
    return 0


async def _run(plan: Plan) -> tuple[dict[str, Any], list[Record]]:
    load, ready = Load(plan), asyncio.Event()
    loop = asyncio.get_running_loop()
    stops = (signal.SIGTERM, signal.SIGINT)
    for number in stops:
        loop.add_signal_handler(number, load.stop)
    start = time.monotonic()
    running = asyncio.create_task(load.run(ready))
    await ready.wait()
    print("ready", flush=True)
    await running
    # The end of the loop takes the handlers away; a stop that comes now must not cost the results.
    signal.pthread_sigmask(signal.SIG_BLOCK, stops)
    elapsed = time.monotonic() - start
    summary = summarise(load.records) | {
        "plan": asdict(plan),
        "seconds": elapsed,
        "rate": len(load.records) / elapsed,
        "idle_closed_seen": load.idle_closed_seen,
        "generator": {"cpu_share": time.process_time() / elapsed, "lag_max_ms": load.lag_max_ms},
    }
    return summary, load.records


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
