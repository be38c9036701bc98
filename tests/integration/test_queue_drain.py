# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Queues on real servers: empty is empty only when nothing is in flight either, and nobody adds any more (R-E1)."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from .data_host import PASSWORDS, Data

if TYPE_CHECKING:
    from .conftest import Lab

REDIS = {"password_file": f"{PASSWORDS}/redis"}
RABBIT = {"provider": "rabbitmq", "user": "lab", "password_file": f"{PASSWORDS}/lab"}
HOSTILE = 'jo\'bs\n"*" ../é{}%s'

# Acknowledged when it begins, as Celery's default is: while it runs, nothing of it is in Redis.
TASKS = f"""
import celery, redis, time
password = open("{PASSWORDS}/redis").read().strip()
app = celery.Celery("tasks", broker=f"redis://:{{password}}@127.0.0.1:6379/3")
app.conf.update(broker_transport_options={{"queue_order_strategy": "priority"}}, worker_prefetch_multiplier=1)

@app.task(name="work", ignore_result=True)
def work(seconds):
    time.sleep(seconds)
    redis.Redis(password=password, db=4).incr("done")
"""
# Holds one message of a queue, the only one, and acknowledges it when there is a file of the name that is given.
HOLDER = f"""
import amqp, os, sys, time
connection = amqp.Connection("127.0.0.1:5672", userid="lab", password=open("{PASSWORDS}/lab").read().strip())
connection.connect()
channel = connection.channel()
channel.queue_declare(sys.argv[1], durable=True, auto_delete=False)
for number in range(int(sys.argv[2])):
    channel.basic_publish(amqp.Message(str(number)), routing_key=sys.argv[1])
channel.confirm_select()
channel.basic_publish(amqp.Message("last"), routing_key=sys.argv[1])
channel.wait_for_confirms() if hasattr(channel, "wait_for_confirms") else time.sleep(0.5)
message = channel.basic_get(sys.argv[1], no_ack=False)
channel.queue_purge(sys.argv[1])
print("ready", flush=True)
while not os.path.exists(sys.argv[3]):
    time.sleep(0.1)
channel.basic_ack(message.delivery_tag)
connection.close()
"""
# Whatever it adds is taken and done at once, so that each look finds nothing. The queue "again" gets what another one
# dead-letters, and nothing else.
CHURN = f"""
import amqp, redis, threading, time
password = open("{PASSWORDS}/redis").read().strip()
first, third = (redis.Redis(password=password, db=db) for db in (0, 3))

def connect():
    connection = amqp.Connection("127.0.0.1:5672", userid="lab", password=open("{PASSWORDS}/lab").read().strip())
    connection.connect()
    return connection

def take(client, key):
    while True:
        client.brpop(key)

def consume(connection):
    while True:
        connection.drain_events()

source, sink = connect(), connect()
out, into = source.channel(), sink.channel()
dead = {{"x-message-ttl": 1, "x-dead-letter-exchange": "", "x-dead-letter-routing-key": "again"}}
out.queue_declare("later", durable=True, auto_delete=False, arguments=dead)
for name in ("quick", "again"):
    out.queue_declare(name, durable=True, auto_delete=False)
    into.basic_consume(name, no_ack=True, callback=lambda message: None)
for target, given in ((take, (first, "jobs")), (take, (third, "celery\\x06\\x163")), (consume, (sink,))):
    threading.Thread(target=target, args=given, daemon=True).start()
while True:
    first.lpush("jobs", "x")
    third.lpush("celery\\x06\\x163", "x")
    first.xadd("busy", {{"n": 1}})
    for entry, _fields in first.xreadgroup("g", "c", {{"busy": ">"}})[0][1]:
        first.xack("busy", "g", entry)
    out.basic_publish(amqp.Message("x"), routing_key="quick")
    out.basic_publish(amqp.Message("x"), routing_key="later")
    print("round", flush=True)
    time.sleep(0.02)
"""


def drain(timeout: float, *queues: dict[str, Any]) -> dict[str, Any]:
    return {"do": "queue_drain", "timeout": timeout, "queues": list(queues)}


@pytest.fixture(name="data", scope="module")
def _data(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Data:
    lab.command("up")
    one = Data(lab, tmp_path_factory.mktemp("queues"))
    one.furnish()
    one.put("/root/tasks.py", TASKS)
    one.put("/root/holder.py", HOLDER)
    one.put("/root/churn.py", CHURN)
    one.run("systemctl start rabbitmq-server", timeout=300)
    return one


def redis(data: Data, script: str) -> str:
    """What a Python script says that has a client of Redis as ``r``."""
    head = f"import redis\nr = redis.Redis(password=open('{PASSWORDS}/redis').read().strip())\n"
    return data.run(f"python3 - <<'END'\n{head}{script}\nEND").strip()


@contextmanager
def unit(data: Data, name: str, command: str) -> Iterator[None]:
    """A service of systemd for as long as the block lasts."""
    data.run(f"systemd-run --unit={name} --quiet --working-directory=/root {command}")
    try:
        yield
    finally:
        data.run(f"systemctl stop {name}; systemctl reset-failed {name} 2>/dev/null; true")


def test_lists_and_streams_are_empty_when_nothing_is_in_flight(data: Data) -> None:
    name = repr(HOSTILE)
    redis(
        data,
        f"r.flushall()\nr.rpush({name}, 'a', 'b')\nr.zadd('wip', {{'x': 1}})\nr.hset('busy', 'y', 1)\n"
        "[r.xadd('orders', {'n': n}) for n in range(5)]\nr.xgroup_create('orders', 'billing', 0)\n"
        "r.xreadgroup('billing', 'c', {'orders': '>'}, count=2)\n"
        # From here on the server does not know the lag any more.
        "r.xdel('orders', r.xrange('orders')[3][0])\nassert r.xinfo_groups('orders')[0]['lag'] is None",
    )
    queues = [
        {"provider": "redis_list", "name": HOSTILE, "processing": ["wip", "busy", "not there"], **REDIS},
        {"provider": "redis_stream", "name": "orders", **REDIS},
    ]
    (first,) = data.call({**drain(30, *queues), "check": True})
    assert not first["drained"]
    depths = first["depths"]
    assert (depths[HOSTILE]["waiting"], depths[HOSTILE]["in_flight"]) == (2, 2)
    assert (depths["orders"]["waiting"], depths["orders"]["in_flight"]) == (2, 2)

    def work() -> None:
        # The list is empty before what was taken from it is done; the stream is read before it is acknowledged.
        redis(
            data,
            f"import time\ntime.sleep(2)\nr.delete({name})\nr.xreadgroup('billing', 'c', {{'orders': '>'}})\n"
            "time.sleep(3)\nr.delete('wip', 'busy')\nr.set('done', 1)\n"
            "[r.xack('orders', 'billing', entry) for entry, _ in r.xrange('orders')]\n"
            "left = r.xpending_range('orders', 'billing', '-', '+', 9)\n"
            "[r.xack('orders', 'billing', one['message_id']) for one in left]",
        )

    worker = threading.Thread(target=work)
    worker.start()
    (drained,) = data.call(drain(120, *queues))
    worker.join()
    assert drained["drained"]
    assert redis(data, "print(r.get('done'))") == "b'1'"


def test_a_queue_that_is_never_empty_ends_with_its_last_depth(data: Data) -> None:
    redis(data, "r.flushall()\nr.rpush('jobs', 'a', 'b', 'c')")
    run = data.play(drain(12, {"provider": "redis_list", "name": "jobs", "processing": [], **REDIS}))
    (full,) = data.answers()
    assert (full["failed"], full["reason"]) == (True, "queue")
    assert "'jobs': 3 waiting" in full["msg"]
    assert full["depths"]["jobs"]["in_flight"] is None
    # Who waits is told in between, too.
    assert "of 12 s: 'jobs': 3 waiting" in run.stdout


def test_who_adds_what_is_taken_at_once_is_seen_and_waited_for(data: Data) -> None:
    redis(data, "r.flushall()\nr.xgroup_create('busy', 'g', 0, mkstream=True)")
    at_once = [
        {"provider": "redis_list", "name": "jobs", "processing": [], **REDIS},
        {"provider": "redis_stream", "name": "busy", **REDIS},
        {"provider": "celery", "name": "celery", "db": 3, **REDIS},
    ]
    later = [{**RABBIT, "name": "quick"}, {**RABBIT, "name": "again"}]
    with unit(data, "churn", "--property=StandardOutput=file:/root/churned python3 /root/churn.py"):
        data.run("until grep -q round /root/churned; do sleep 0.1; done")
        answers = data.call(*(drain(5, queue) for queue in at_once), *(drain(15, queue) for queue in later))
    for answer in answers:
        assert (answer["failed"], answer["reason"]) == (True, "queue"), answer
        ((_name, depth),) = answer["depths"].items()
        assert not depth["unwatched"]
        assert "quiet for " in answer["msg"]
    # A list that somebody waits at holds nothing at any moment.
    assert {answer["depths"][name]["waiting"] for answer, name in ((answers[0], "jobs"), (answers[2], "celery"))} == {0}
    (drained,) = data.call(drain(120, *at_once, *later))
    assert drained["drained"], drained


def test_producers_that_nobody_watched_are_told(data: Data) -> None:
    data.run(
        "python3 - <<'END'\nimport amqp\n"
        f"password = open('{PASSWORDS}/lab').read().strip()\n"
        "connection = amqp.Connection('127.0.0.1:5672', userid='lab', password=password)\n"
        "connection.connect()\nconnection.channel().queue_declare('plain', durable=True, auto_delete=False)\nEND"
    )
    kept = "application:set_env(rabbitmq_management_agent, disable_metrics_collector, {})."
    data.run(f"rabbitmqctl eval '{kept.format('true')}'")
    try:
        run = data.play(drain(60, {**RABBIT, "name": "plain"}))
    finally:
        data.run(f"rabbitmqctl eval '{kept.format('false')}'")
    (drained,) = data.answers()
    assert drained["drained"]
    assert drained["depths"]["plain"]["unwatched"] == "RabbitMQ keeps no statistics"
    assert "the producers of the queue 'plain' were not watched" in " ".join(run.stdout.split())


def test_celery_is_drained_when_its_workers_are_done(data: Data) -> None:
    redis(data, "r.flushall()")
    queue = {"provider": "celery", "name": "celery", "db": 3, **REDIS}
    send = "import tasks; tasks.work.delay(9); [tasks.work.apply_async((0.2,), priority=p) for p in (0, 3, 9)]"
    data.run(f"cd /root && python3 -c '{send}'")
    (waiting,) = data.call({**drain(1, queue), "check": True})
    parts = waiting["depths"]["celery"]["parts"]
    assert (parts["celery"], parts["celery priority 3"], parts["celery priority 9"]) == (2, 1, 1)
    worker = "python3 -m celery -A tasks worker --pool=prefork --concurrency=2 --without-gossip -n one@data"
    with unit(data, "celery-one", worker):
        (drained,) = data.call(drain(180, queue))
        assert drained["drained"], drained
        # The long one was in no key of Redis for most of its time.
        assert redis(data, "print(r.execute_command('SELECT', 4) and r.get('done'))") == "b'4'"
        data.run("systemctl kill --signal=KILL celery-one")
        time.sleep(0.5)
        (silent,) = data.call(drain(1, queue))
        assert "one@data does not say what it does" in silent["msg"]


def test_rabbitmq_is_not_empty_while_a_message_is_unacknowledged(data: Data) -> None:
    hostile = 'it\'s "here"/..%2F?&é'
    data.run("rm -f /root/enough")
    for number, (name, until) in enumerate(((hostile, "/root/enough"), ("mails", "/"))):
        data.put("/root/arguments", name)
        data.run(
            f"systemd-run --unit=holder-{number} --quiet --property=StandardOutput=file:/root/held-{number} "
            f'python3 /root/holder.py "$(cat /root/arguments)" 5 {until}'
            f" && until grep -q ready /root/held-{number}; do sleep 0.1; done"
        )
    queues = [{**RABBIT, "name": hostile}, {**RABBIT, "name": "mails"}]
    let_go = {"do": "ansible.builtin.command", "cmd": "systemd-run --quiet sh -c 'sleep 3; touch /root/enough'"}
    held, _later, drained = data.call({**drain(1, *queues), "check": True}, let_go, drain(120, *queues))
    depth = held["depths"][hostile]
    assert (depth["waiting"], depth["in_flight"]) == (0, 1)
    assert drained["drained"]


def test_what_cannot_be_read_is_not_empty(data: Data) -> None:
    redis(data, "r.flushall()\nr.set('text', 'x')\nr.xadd('orders', {'n': 1})\nr.xgroup_create('orders', 'g', 0)")
    listed = {"provider": "redis_list", "processing": [], **REDIS}
    stream = {"provider": "redis_stream", "name": "orders", **REDIS}
    wrong: list[tuple[dict[str, Any], str]] = [
        ({**listed, "name": "jobs", "port": 1}, "Connection refused"),
        ({**listed, "name": "jobs", "password_file": f"{PASSWORDS}/lab"}, "WRONGPASS"),
        ({**listed, "name": "jobs", "password_file": "/nowhere"}, "/nowhere cannot be read on this host: No such"),
        ({**listed, "name": "text"}, "WRONGTYPE"),
        ({**listed, "name": "jobs", "processing": ["text"]}, "'text' is a string: what it holds is no jobs"),
        ({"provider": "redis_list", "name": "jobs"}, "provider is redis_list but all of the following are missing"),
        ({**stream, "name": "nothing"}, "Redis has no stream 'nothing'"),
        ({**stream, "name": "text"}, "'text' is no stream"),
        ({**stream, "groups": ["g", "other"]}, "has no group 'other'; it has 'g'"),
        ({**RABBIT, "name": "nothing"}, "has no queue 'nothing' in the virtual host '/'"),
        ({**RABBIT, "name": "mails", "vhost": "nowhere"}, "there is no such virtual host"),
        ({**RABBIT, "name": "mails", "user": "nobody"}, "the user or the password is not right"),
        ({**RABBIT, "name": "mails", "url": "http://127.0.0.1:1"}, "Connection refused"),
    ]
    answers = data.call(*(drain(20, queue) for queue, _said in wrong))
    for (_queue, said), answer in zip(wrong, answers, strict=True):
        assert answer["failed"]
        assert said in answer["msg"]
