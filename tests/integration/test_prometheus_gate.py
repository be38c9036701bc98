# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The gate against a real Prometheus: the twenty nasty cases of the field, each by its number (R-D8, R-C6, R-C8)."""

from __future__ import annotations

import datetime
import ipaddress
import json
import os
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

sys.path.insert(0, str(Path(__file__).parent))

from ansible_collections.bluegreen.cutover.plugins.module_utils import _service_metrics
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import InputError
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.gate.decide import Settings
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.plan import make_plan
from ansible_collections.bluegreen.cutover.plugins.module_utils._gate import Gate, Options, as_result
from ansible_collections.bluegreen.cutover.plugins.module_utils._prometheus import (
    Connection,
    Prometheus,
    SourceRefusedError,
)
from ansible_collections.bluegreen.cutover.plugins.module_utils._triggers import Triggers
from gate_lab import Exporter, Proxy, RealPrometheus, Target, program, running

ROOT = Path(__file__).resolve().parents[2]
TOKEN = "s3cr3t-token"
HASHED = "$2b$04$BIz9y6aqi9jCUK2/7qAYrORJGnkC9Yhut0prIqNI3Vcx2Xe3opw9a"
"""The same as a password, by bcrypt: Prometheus' web configuration has no other way."""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RealPrometheus, Exporter]]:
    with running(tmp_path_factory.mktemp("prometheus")) as both:
        yield both


def labels(target: Target) -> str:
    return f'job="shop",instance="{target.slot}"'


def errors(green: Target, blue: Target | None = None, **more: Any) -> dict[str, Any]:
    out: dict[str, Any] = {
        "name": "errors",
        "kind": "ratio",
        "total": f"requests_total{{{labels(green)}}}",
        "bad": 'code=~"5.."',
    }
    if blue is not None:
        out["baseline"] = f"requests_total{{{labels(blue)}}}"
    return {**out, **(more or {"max": 0.01})}


def make(
    url: str, *criteria: dict[str, Any], window: float = 4, hold: float = 30, clock: Any = time.time, **more: Any
) -> Gate:
    """``hold``: seconds in which a busy machine may be too slow to tell anything."""
    connection = Connection(url, **more.pop("connection", {}))
    options = Options(list(criteria), Settings(window, 1.0, 3.0, hold), history=30, **more)
    return Gate(options, connection, clock=clock)


def judge(url: str, *criteria: dict[str, Any], **more: Any) -> dict[str, Any]:
    return as_result(make(url, *criteria, **more).run(60))


def samples(url: str, query: str) -> list[float]:
    rows = Prometheus(
        Connection(url), make(url, {"name": "x", "kind": "query", "query": "up", "max": 1}).prometheus.circuit
    )
    return [points[-1][1] for _labels, points in rows.query(query).series()]


def scraped(url: str, *targets: Target, at_least: int = 3) -> None:
    """Wait until each target has so many samples."""
    until = time.monotonic() + 90
    while time.monotonic() < until:
        counts = [
            samples(url, f"count_over_time(up{{{labels(t)}}}[30s:1s]) and up{{{labels(t)}}} == 1") for t in targets
        ]
        seen = [samples(url, f"sum_over_time(up{{{labels(t)}}}[1m])") for t in targets]
        if all(counts) and all(s and s[0] >= at_least for s in seen):
            return
        time.sleep(0.1)
    pytest.fail(f"not scraped: {[t.slot for t in targets]}")


def found(url: str, query: str) -> None:
    """Wait until a query has an answer."""
    until = time.monotonic() + 90
    while not samples(url, query):
        assert time.monotonic() < until, query
        time.sleep(0.1)


def once(gate: Gate, *stages: tuple[Callable[[dict[str, Any]], bool], Callable[[], object]]) -> Gate:
    """The gate; while it runs, each action is done as soon as it has made such an evaluation, one after the other."""

    def watch() -> None:
        until = time.monotonic() + 120
        for seen, action in stages:
            while not any(seen(one) for one in list(gate.evaluations)):
                if time.monotonic() > until:
                    return
                time.sleep(0.02)
            action()

    threading.Thread(target=watch, daemon=True).start()
    return gate


def counted(least: float = 1) -> Callable[[dict[str, Any]], bool]:
    """An evaluation of so many requests."""
    return lambda one: (one["n"] or 0) >= least


def pair(lab: tuple[RealPrometheus, Exporter]) -> tuple[str, Target, Target]:
    server, exporter = lab
    green, blue = exporter.target(ok=200), exporter.target(ok=200)
    scraped(server.url, green, blue)
    return server.url, green, blue


@pytest.fixture(scope="module")
def steady(lab: tuple[RealPrometheus, Exporter]) -> tuple[str, Target, Target]:
    """Two healthy targets that no test changes."""
    return pair(lab)


@pytest.fixture
def proxies(steady: tuple[str, Target, Target]) -> Iterator[Callable[..., Proxy]]:
    """Makes proxies in front of Prometheus, and ends them."""
    made: list[Proxy] = []

    def make_one(**how: Any) -> Proxy:
        made.append(Proxy(steady[0], **how))
        return made[-1]

    yield make_one
    for one in made:
        one.stop()


def test_01_no_error_series_and_healthy_is_a_pass(steady: tuple[str, Target, Target]) -> None:
    url, green, blue = steady
    result = judge(url, errors(green, blue))
    assert result["verdict"] == "pass", result["message"]
    assert result["criteria"][0]["bad"] == 0
    assert result["criteria"][0]["n"] > 368


def test_02_a_label_typing_error_is_never_a_pass(steady: tuple[str, Target, Target]) -> None:
    url, green, blue = steady
    with pytest.raises(SourceRefusedError, match="no series of green has the label 'cod'"):
        judge(url, errors(green, blue, bad='cod=~"5.."', max=0.01))
    wrong = errors(green, max=0.01, total='requests_total{job="shpo"}')
    result = judge(url, wrong, hold=1)
    assert (result["verdict"], result["reason"]) == ("inconclusive", "no_data")
    query = 'sum(rate(requests_total{code="5x"}[5s])) or vector(0)'
    with pytest.raises(InputError, match="turns a label typing error into a pass"):
        make(url, {"name": "q", "kind": "query", "query": query, "fresh": "up", "max": 1})


@pytest.mark.parametrize("limit", [{"max": 0.5}, {"min": 0.5}])
def test_03_nan_at_zero_traffic(lab: tuple[RealPrometheus, Exporter], limit: dict[str, float]) -> None:
    server, exporter = lab
    idle = exporter.target(ok=1)
    scraped(server.url, idle)
    idle.set(ok=0)
    time.sleep(1.5)
    selector = f"requests_total{{{labels(idle)}}}"
    query = f"sum(0*rate({selector}[5s])) / sum(0*rate({selector}[5s]))"
    result = judge(server.url, {"name": "q", "kind": "query", "query": query, "fresh": selector, **limit}, hold=1)
    assert (result["verdict"], result["reason"]) == ("inconclusive", "not_finite")
    assert result["criteria"][0]["value"] is None
    assert "NaN" not in json.dumps(result)


@pytest.mark.parametrize("sign", ["", "-"])
def test_04_infinity_is_no_value(steady: tuple[str, Target, Target], sign: str) -> None:
    url, green, _blue = steady
    selector = f"requests_total{{{labels(green)}}}"
    criterion = {
        "name": "q",
        "kind": "query",
        "query": f"{sign}1 * {selector} / 0",
        "fresh": selector,
        "max": 1,
        "min": -1,
    }
    result = judge(url, criterion, hold=1)
    assert (result["verdict"], result["reason"]) == ("inconclusive", "not_finite")
    assert "Infinity" not in json.dumps(result)


def test_05_two_pods_and_only_the_second_is_bad(lab: tuple[RealPrometheus, Exporter]) -> None:
    url, first, second = pair(lab)
    second.set(ok=150, bad=50)
    both = f'job="shop",instance=~"{first.slot}|{second.slot}"'
    ratio = errors(first, max=0.01, total=f"requests_total{{{both}}}")
    assert judge(url, ratio, window=20)["verdict"] == "fail"
    query = f'rate(requests_total{{{both},code="500"}}[5s]) or 0*rate(requests_total{{{both},code="200"}}[5s])'
    criterion = {"name": "q", "kind": "query", "query": query, "fresh": f"requests_total{{{both}}}", "max": 1}
    result = judge(url, criterion, hold=1)
    assert (result["verdict"], result["reason"]) == ("inconclusive", "several_series")
    assert judge(url, {**criterion, "reducer": "max"})["verdict"] == "fail"


def test_06_the_first_burst_creates_the_series_and_is_counted(lab: tuple[RealPrometheus, Exporter]) -> None:
    url, green, blue = pair(lab)
    gate = make(url, errors(green, blue, max=0.5), window=5)
    result = as_result(once(gate, (counted(), lambda: green.add("bad", 60))).run(60))
    assert result["criteria"][0]["bad"] == 60
    # increase() does not see it: the series began with it.
    assert samples(url, f'increase(requests_total{{{labels(green)},code="500"}}[1m])') == [0.0]


def test_07_a_pod_restarts_within_the_window(lab: tuple[RealPrometheus, Exporter]) -> None:
    url, green, blue = pair(lab)
    green.add("ok", 100000)
    found(url, f'requests_total{{{labels(green)},code="200"}} > 100000')
    result = as_result(once(make(url, errors(green, blue), window=6), (counted(200), green.restart)).run(60))
    assert result["verdict"] == "pass", result["message"]
    assert 800 < result["criteria"][0]["n"] < 2000


def test_08_green_is_dead_while_its_rate_still_answers(lab: tuple[RealPrometheus, Exporter]) -> None:
    url, green, blue = pair(lab)
    gate = make(url, errors(green, blue), window=30, hold=2)
    result = as_result(once(gate, (counted(), lambda: setattr(green, "alive", False))).run(60))
    assert (result["verdict"], result["reason"]) == ("inconclusive", "stale")
    assert samples(url, f"rate(requests_total{{{labels(green)}}}[5m])")


def test_09_prometheus_crashed_and_serves_a_stale_up(tmp_path: Path) -> None:
    exporter = Exporter()
    green = exporter.target(ok=200)
    server = RealPrometheus(tmp_path, exporter.port)
    try:
        scraped(server.url, green)
        server.stop(kill=True)
        config = tmp_path / "prometheus.yml"
        config.write_text(
            config.read_text().replace(f":{exporter.port}'", ":1'").replace("instance: t", "instance: gone")
        )
        time.sleep(3)
        server.start()
        assert samples(server.url, f"up{{{labels(green)}}}") == [1.0]
        result = judge(server.url, {"name": "up", "kind": "query", "query": f"up{{{labels(green)}}}", "min": 1}, hold=1)
        assert (result["verdict"], result["reason"]) == ("inconclusive", "stale")
    finally:
        server.stop()
        exporter.stop()


def test_10_an_answer_with_warnings_and_half_of_the_series(
    steady: tuple[str, Target, Target], proxies: Callable[..., Proxy]
) -> None:
    _url, green, blue = steady
    proxy = proxies(mode="warnings")
    result = judge(proxy.url, errors(green, blue), hold=1)
    assert (result["verdict"], result["reason"]) == ("inconclusive", "warnings")
    assert "did not answer" in result["evaluations"][0]["message"]
    result = judge(proxy.url, errors(green, blue), hold=1, warnings_allowed=["^store .* did not answer"])
    assert result["reason"] != "warnings"


@pytest.mark.parametrize("mode", ["503", "hang"])
def test_11_recovery_within_the_hold(
    steady: tuple[str, Target, Target], proxies: Callable[..., Proxy], mode: str
) -> None:
    _url, green, blue = steady
    proxy = proxies()
    gate = once(
        make(proxy.url, errors(green, blue), window=5, connection={"timeout": 0.9}),
        (counted(), lambda: setattr(proxy, "mode", mode)),
        (lambda one: one["reason"] == "unreachable", lambda: setattr(proxy, "mode", "through")),
    )
    result = as_result(gate.run(60))
    assert result["verdict"] == "pass", result["message"]
    assert "unreachable" in [e["reason"] for e in result["evaluations"]]


def test_11_without_recovery_the_circuit_opens_and_nothing_passes(
    steady: tuple[str, Target, Target], proxies: Callable[..., Proxy]
) -> None:
    _url, green, blue = steady
    proxy = proxies(mode="503")
    # Nine seconds of which are the pauses before the fifth failure.
    result = judge(proxy.url, errors(green, blue), hold=18)
    assert (result["verdict"], result["reason"]) == ("inconclusive", "unreachable")
    # Five failures, each tried twice, and then nothing more.
    assert len(proxy.requests) == 10
    assert "circuit open" in result["message"]
    assert result["state"]["circuit"]["failures"] == 5


@pytest.mark.parametrize(("query", "status"), [("sum(", 400), ("up / on(job) up", 422)])
def test_12_a_wrong_query_is_not_retried(
    steady: tuple[str, Target, Target], proxies: Callable[..., Proxy], query: str, status: int
) -> None:
    _url, _green, _blue = steady
    proxy = proxies()
    with pytest.raises(SourceRefusedError) as caught:
        judge(proxy.url, {"name": "q", "kind": "query", "query": query, "fresh": "up", "max": 1})
    assert caught.value.evidence["http_status"] == status
    assert [r["query"] for r in proxy.requests].count(query) == 1


def certificates(folder: Path, *, expired: bool) -> tuple[Path, ssl.SSLContext]:
    """A CA that is its own server certificate for 127.0.0.1."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.UTC)
    end = now - datetime.timedelta(days=1) if expired else now + datetime.timedelta(days=1)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=2))
        .not_valid_after(end)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / "both.pem"
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(certificate.public_bytes(pem) + private)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return path, context


@pytest.mark.parametrize("mode", ["401", "redirect"])
def test_13_refused_and_redirected_without_a_secret(
    steady: tuple[str, Target, Target], proxies: Callable[..., Proxy], mode: str
) -> None:
    _url, green, _blue = steady
    proxy = proxies(mode=mode)
    gate = make(proxy.url, errors(green), connection={"token": TOKEN})
    with pytest.raises(SourceRefusedError) as caught:
        gate.run(10)
    assert len(proxy.requests) == 1
    assert proxy.requests[0]["auth"] == f"Bearer {TOKEN}"
    assert TOKEN not in json.dumps([caught.value.as_result(), gate.dump(), gate.evaluations]) + repr(
        gate.prometheus.connection
    )


def test_13_certificates(steady: tuple[str, Target, Target], proxies: Callable[..., Proxy], tmp_path: Path) -> None:
    _url, green, _blue = steady
    ca, context = certificates(tmp_path, expired=False)
    proxy = proxies(tls=context)
    assert judge(proxy.url, errors(green), connection={"ca_path": str(ca)})["verdict"] == "pass"
    with pytest.raises(SourceRefusedError, match="certificate is not accepted"):
        judge(proxy.url, errors(green))
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(ca)
    mine = {"ca_path": str(ca), "client_cert": str(ca)}
    assert judge(proxies(tls=context).url, errors(green), connection=mine)["verdict"] == "pass"
    with pytest.raises(SourceRefusedError, match="handshake was refused"):
        judge(proxies(tls=context).url, errors(green), connection={"ca_path": str(ca)})
    (tmp_path / "old").mkdir()
    old, context = certificates(tmp_path / "old", expired=True)
    with pytest.raises(SourceRefusedError, match="expired"):
        judge(proxies(tls=context).url, errors(green), connection={"ca_path": str(old)})


def test_13_one_that_wants_all_of_it_is_asked_by_gate_triggers_and_checkpoint(
    lab: tuple[RealPrometheus, Exporter], tmp_path: Path
) -> None:
    """A certificate of ours, a user and a password, as ``cutover_prometheus`` has them: no secret is anywhere."""
    _server, exporter = lab
    green = exporter.target(ok=100)
    both, _context = certificates(tmp_path, expired=False)
    (tmp_path / "password").write_text(f"{TOKEN}\n")
    given = {"username": "cutover", "password_file": "password", "ca_path": both.name, "client_cert": both.name}
    source = {name: str(tmp_path / value) if name != "username" else value for name, value in given.items()}
    tls = {
        "cert_file": str(both), "key_file": str(both), "client_ca_file": str(both),
        "client_auth_type": "RequireAndVerifyClientCert",
    }  # fmt: skip
    server = RealPrometheus(
        tmp_path, exporter.port, web={"tls_server_config": tls, "basic_auth_users": {"cutover": HASHED}}, **source
    )
    try:
        source |= {"url": server.url, "scrape_interval": "1s"}
        variables = {
            "cutover_service": "shop",
            "cutover_front": "http://127.0.0.1:1",
            "cutover_router": {"provider": "haproxy"},
            "cutover_colours": {
                "blue": {"unit": "blue.service", "port": 8001}, "green": {"unit": "green.service", "port": 8002},
            },
            "cutover_prometheus": source,
            "cutover_metrics": {"selector": labels(green), "requests": "requests_total", "bad": 'code="500"'},
            "cutover_guard": {
                "triggers": [{"name": "many", "query": f"requests_total{{{labels(green)}}}", "max": 0}],
            },
        }  # fmt: skip
        plan = make_plan(variables, routers=["r"], applications=["a"], hosts={})
        assert _service_metrics.flowing(_service_metrics.source(plan), plan)["targets"] == 1
        settings = plan["guard"]
        assert [one.status for one in Triggers(settings["triggers"], settings["prometheus"]).look()] == ["breach"]
        shown = {name: value for name, value in plan["prometheus"].items() if name != "scrape_interval"}
        task = {**shown, "window": "3s", "scrape_interval": "1s", "criteria": [errors(green)], "expected_rps": 1000}
        done = play(tmp_path, task, "-vvvv")
        assert done.returncode == 0, done.stdout
        assert TOKEN not in done.stdout + done.stderr + json.dumps(plan)
        (tmp_path / "password").write_text("wr0ng-secret")
        done = play(tmp_path, task, "-vvvv")
        assert done.returncode == 2
        assert "refuses us (401). Look at token, username, client_cert" in done.stdout
        assert "wr0ng-secret" not in done.stdout + done.stderr
    finally:
        server.stop()


@pytest.mark.parametrize("mode", ["html", "json cut", "cut"])
def test_14_an_answer_that_is_none(
    steady: tuple[str, Target, Target], proxies: Callable[..., Proxy], mode: str
) -> None:
    _url, green, _blue = steady
    proxy = proxies(mode=mode)
    result = judge(proxy.url, errors(green), hold=1)
    assert (result["verdict"], result["reason"]) == ("inconclusive", "unreachable")


@pytest.mark.parametrize("wrong", [60, -60])
def test_15_the_clock_of_the_controller_is_wrong(steady: tuple[str, Target, Target], wrong: int) -> None:
    url, green, blue = steady
    value = {"name": "up", "kind": "query", "query": f"up{{{labels(green)}}}", "min": 1}
    result = judge(url, errors(green, blue), value, clock=lambda: time.time() + wrong)
    assert result["verdict"] == "pass", result["message"]


def test_16_a_shock_to_both_arms_holds(lab: tuple[RealPrometheus, Exporter]) -> None:
    url, green, blue = pair(lab)
    for one in (green, blue):
        one.set(ok=180, bad=20)
    result = judge(url, errors(green, blue), window=60, hold=4)
    assert (result["verdict"], result["reason"]) == ("inconclusive", "common_mode")
    # The same green beside a healthy blue is rolled back.
    blue.set(ok=200)
    assert judge(url, errors(green, blue), window=60)["verdict"] == "fail"


def test_17_a_ramp_with_a_drifting_baseline(lab: tuple[RealPrometheus, Exporter]) -> None:
    """All traffic together would say "green is worse" (Simpson): it has most of its requests when errors are many."""
    url, green, blue = pair(lab)
    green.set(ok=20, bad=0.2)
    blue.set(ok=380, bad=3.8)
    gate = make(
        url, errors(green, blue, max_ratio=1.5, required=False), errors(green, max=0.5) | {"name": "n"}, window=8
    )
    result = as_result(once(gate, (counted(60), lambda: (green.set(ok=342, bad=38), blue.set(ok=18, bad=2)))).run(60))
    relative = result["criteria"][0]
    assert relative["value"] > 1.5 * relative["baseline"]
    assert relative["status"] != "breach"
    assert result["verdict"] == "pass"


def backfill(folder: Path, hours: float, broken_from: float) -> Path:
    """Two days of blue and green, a sample a minute, up to now; green fails in its last hour."""
    step, now = 60, int(time.time())
    start = now - int(hours * 3600)
    lines = ["# TYPE requests counter"]
    for arm in ("blue", "green"):
        for code, rate in (("200", 300), ("500", 0)):
            count = 0
            for number in range(int(hours * 3600 / step) + 1):
                when = start + number * step
                bad = arm == "green" and when > start + broken_from * 3600
                count += rate - 15 if bad and code == "200" else 15 if bad else rate
                lines.append(f'requests_total{{job="old",instance="{arm}",code="{code}"}} {count} {when}')
    (folder / "old.txt").write_text("\n".join([*lines, "# EOF\n"]))
    command = [program("promtool"), "tsdb", "create-blocks-from", "openmetrics"]
    subprocess.run([*command, str(folder / "old.txt"), str(folder / "data")], check=True, capture_output=True)
    return folder / "data"


@pytest.mark.parametrize("flags", [(), ("--query.max-samples=70",)], ids=["", "an hour is too much"])
def test_19_a_regression_in_hour_47_of_48(tmp_path: Path, flags: tuple[str, ...]) -> None:
    exporter = Exporter()
    server = RealPrometheus(tmp_path, exporter.port, backfill(tmp_path, 50, 49.2), flags=flags)
    try:
        total = 'requests_total{job="old",instance="%s"}'
        criterion = {
            "name": "errors", "kind": "ratio", "total": total % "green", "bad": 'code="500"',
            "baseline": total % "blue", "max": 0.01,
        }  # fmt: skip
        query = f"sum(rate({total % 'green'}[5m]))"
        value = {"name": "traffic", "kind": "query", "query": query, "fresh": total % "green", "min": 1}
        options = Options([criterion, value], Settings(48 * 3600, 60.0, 180.0, 120))
        result = as_result(Gate(options, Connection(server.url)).run(0, rehearse=True))
        assert (result["verdict"], result["wanted"]) == ("fail", "rollback"), result["message"]
        # Over the whole window it looks healthy.
        assert result["criteria"][0]["value"] < 0.001
        assert result["criteria"][1]["covered"] > 47 * 3600
        # The same in a window of a day, which was over a day before, and which nobody has looked at since it began.
        day = replace(options, settings=replace(options.settings, window=24 * 3600))
        unseen = {**Gate(day, Connection(server.url)).dump(), "started": time.time() - 49 * 3600}
        result = as_result(Gate(day, Connection(server.url), unseen).run(None))
        assert (result["verdict"], result["left"]) == ("fail", 0), result["message"]
    finally:
        server.stop()
        exporter.stop()


def histogram(target: Target, slow: float, spelling: str = "1.0") -> None:
    """A hundred requests a second, a part of them (0..1) between 0.1 s and 1 s."""
    began = time.monotonic()

    def text() -> str:
        n = int((time.monotonic() - began) * 100)
        counts = (("0.05", int(n * (1 - slow) * 0.6)), ("0.1", int(n * (1 - slow))), (spelling, n), ("+Inf", n))
        return "\n".join(f'seconds_bucket{{le="{le}"}} {count}' for le, count in counts)

    target.extra["histogram"] = text


def test_20_bounds_of_the_histogram(lab: tuple[RealPrometheus, Exporter]) -> None:
    server, exporter = lab
    green, blue = exporter.target(), exporter.target()
    histogram(green, 0.0)
    histogram(blue, 0.3, "1")
    scraped(server.url, green, blue)
    criterion = {"name": "p95", "kind": "latency", "histogram": f"seconds_bucket{{{labels(green)}}}", "max": 0.1}
    assert judge(server.url, criterion, window=2)["verdict"] == "pass"
    for arm in (green, blue):
        same = {**criterion, "histogram": f"seconds_bucket{{{labels(arm)}}}", "max": 1}
        assert judge(server.url, same, window=2)["verdict"] == "pass"
    with pytest.raises(SourceRefusedError, match=r"0\.07 is not a bound .* Nearest: 0\.05, 0\.1, 1\."):
        judge(server.url, {**criterion, "max": 0.07})
    slow = {**criterion, "histogram": f"seconds_bucket{{{labels(blue)}}}"}
    assert judge(server.url, slow, window=60)["verdict"] == "fail"


def test_green_slower_than_blue(lab: tuple[RealPrometheus, Exporter]) -> None:
    server, exporter = lab
    green, blue = exporter.target(), exporter.target()
    histogram(blue, 0.06)
    histogram(green, 0.5)
    scraped(server.url, green, blue, at_least=5)
    criterion = {
        "name": "p95", "kind": "latency", "histogram": f"seconds_bucket{{{labels(green)}}}",
        "baseline": f"seconds_bucket{{{labels(blue)}}}", "max_increase": 0.1, "le": 0.05,
    }  # fmt: skip
    result = judge(server.url, criterion, window=60, dispersion=1.0)
    assert result["verdict"] == "fail", result["message"]
    assert result["state"]["criteria"]["p95"]["judge"]["rho"] > 1.1


def test_burn_rate(lab: tuple[RealPrometheus, Exporter]) -> None:
    url, green, _blue = pair(lab)
    windows = [{"long": "6s", "short": "3s", "factor": 10}]
    criterion = {**errors(green), "kind": "burn_rate", "objective": 0.99, "windows": windows, "for": "2s"}
    del criterion["max"]
    assert judge(url, criterion)["verdict"] == "pass"
    green.set(ok=100, bad=100)
    result = judge(url, criterion, window=30)
    assert result["verdict"] == "fail"
    assert result["criteria"][0]["value"] > 1


def test_a_window_that_cannot_prove_anything_is_refused_with_the_number(lab: tuple[RealPrometheus, Exporter]) -> None:
    server, exporter = lab
    green = exporter.target(ok=3)
    scraped(server.url, green)
    result = judge(server.url, errors(green), window=60)
    assert (result["verdict"], result["reason"]) == ("inconclusive", "low_traffic")
    assert result["required_requests"] == 368
    # It does not wait for the window to end, and with a number from us for nothing at all.
    assert result["left"] > 30
    result = judge(server.url, errors(green), window=60, expected_rps=6.0)
    assert result["expected_requests"] == 360
    assert len(result["evaluations"]) == 1


def test_state_resumes_in_another_process_and_counts_what_it_missed(steady: tuple[str, Target, Target]) -> None:
    url, green, blue = steady
    options = Options([errors(green, blue)], Settings(9, 1.0, 3.0, 30), history=30)
    first = Gate(options, Connection(url)).run(2)
    assert first.verdict.verdict == "open"
    time.sleep(5)
    saved = json.loads(json.dumps(first.state))
    assert len(json.dumps(saved)) < 4000
    began = time.monotonic()
    second = Gate(options, Connection(url), saved).run(60)
    assert second.verdict.verdict == "pass", second.verdict.message
    # A window of its own would have taken nine seconds.
    assert time.monotonic() - began < 8
    with pytest.raises(InputError, match="belongs to another gate"):
        Gate(Options([errors(green, max=0.02)], options.settings), Connection(url), saved)


# Through Ansible


def play(tmp_path: Path, task: dict[str, Any], *arguments: str) -> subprocess.CompletedProcess[str]:
    tasks = [
        {"bluegreen.cutover.prometheus_gate": task, "register": "gate"},
        {"ansible.builtin.debug": {"var": "gate"}},
    ]
    book = tmp_path / "play.json"
    host = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    book.write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, "vars": host, "tasks": tasks}]))
    environment = {
        **os.environ,
        "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "collections"),
        "ANSIBLE_LOCALHOST_WARNING": "false",
        "ANSIBLE_CALLBACK_RESULT_FORMAT": "json",
        "ANSIBLE_INVENTORY_UNPARSED_WARNING": "false",
    }
    command = [str(Path(sys.executable).parent / "ansible-playbook"), str(book), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)


def test_a_task_shows_progress_and_no_secret(steady: tuple[str, Target, Target], tmp_path: Path) -> None:
    url, green, blue = steady
    task = {
        "url": url, "token": TOKEN, "window": "16s", "scrape_interval": "1s", "criteria": [errors(green, blue)],
    }  # fmt: skip
    done = play(tmp_path, task, "-vvvv")
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("gate ")]
    # One every 10 s, and the last one.
    assert len(lines) >= 2
    # On a slow host a line comes before there is something to tell.
    first = next(line for line in lines if "nothing new" not in line)
    assert first.startswith("gate open: errors 0 (limit 0.01)")
    assert "s left" in first
    assert lines[-1].startswith("gate pass: ")
    assert TOKEN not in done.stdout + done.stderr


def test_a_task_fails_unless_the_verdict_is_accepted(lab: tuple[RealPrometheus, Exporter], tmp_path: Path) -> None:
    url, green, blue = pair(lab)
    green.set(ok=150, bad=50)
    task = {"url": url, "window": "1m", "scrape_interval": "1s", "criteria": [errors(green, blue)]}
    done = play(tmp_path, task)
    assert done.returncode == 2
    assert "The gate says fail: errors: above the limit." in done.stdout
    assert play(tmp_path, {**task, "accept": ["fail"]}).returncode == 0
    done = play(tmp_path, {**task, "accept": ["everything"]})
    assert done.returncode == 2
    assert "value of accept must be one or more of" in done.stdout


def test_check_mode_judges_the_window_that_has_gone_by(lab: tuple[RealPrometheus, Exporter], tmp_path: Path) -> None:
    url, green, blue = pair(lab)
    scraped(url, green, blue, at_least=8)
    task = {"url": url, "window": "5s", "scrape_interval": "1s", "criteria": [errors(green, blue)]}
    done = play(tmp_path, task, "--check")
    assert done.returncode == 0, done.stdout
    assert '"would_verdict": "pass"' in done.stdout, done.stdout
    green.set(ok=100, bad=100)
    found(url, f'count_over_time(requests_total{{{labels(green)},code="500"}}[1m]) >= 4')
    done = play(tmp_path, task, "--check")
    assert done.returncode == 0
    assert '"would_verdict": "fail"' in done.stdout


def test_a_wrong_criterion_is_named_before_any_request(
    steady: tuple[str, Target, Target], proxies: Callable[..., Proxy], tmp_path: Path
) -> None:
    _url, green, _blue = steady
    proxy = proxies()
    task = {
        "url": proxy.url,
        "window": "5s",
        "scrape_interval": "1s",
        "criteria": [{**errors(green), "basline": "x{}"}],
    }
    done = play(tmp_path, task)
    assert done.returncode == 2
    assert "unknown key 'basline'; did you mean baseline?" in done.stdout
    assert proxy.requests == []
