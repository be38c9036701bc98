# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan: one service's inventory, checked as a whole before the first connection.

``SCHEMA`` is what an inventory may say. It checks, fills in defaults, and is what docs/inventory.md is made from.
"""

from __future__ import annotations

import difflib
import itertools
import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlsplit

from ansible_collections.bluegreen.cutover.plugins.module_utils._core import (
    cases,
    comparison,
    guard_pod,
    holding,
    selector,
)
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.draining import STOP
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import CutoverError, InputError
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.gate import criteria
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.journal import side
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.probes import AT_ONCE
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.settling import SETTLE

MARGIN = 60
"""Seconds that a lease outlives the longest stretch of work without a record."""

LEAST_KEPT = 48 * 3600
"""Seconds that a snapshot is kept at least (R-E5)."""

GUARD_MARGIN = 30
"""Seconds that a guard outlives the longest stretch of work without its renewal: the router's own time to see what is
ready, some tasks, and the first ones of a rollback.
"""

MOST_LOOKS = 100
"""In one run; with twice as many Ansible still works."""

LOCAL = "127.0.0.1"

_METRIC = r"[a-zA-Z_:][a-zA-Z0-9_:]*(\{[^\n{}]+\})?"
_METRIC_NEEDED = 'a metric like name or name{path=~"/api/.*"}'

PREFIX = "cutover_"
"""Of every variable in an inventory."""


@dataclass(frozen=True)
class Spec:
    """What one value must be.

    ``kind`` names a reader in ``_READERS``. ``needs`` says in words what is right. A text's ``default`` may hold
    ``{service}``. ``keys`` is for ``keys`` and, per provider, for ``provider``; ``of`` is for ``list``.
    """

    kind: str
    help: str
    needs: str = ""
    required: bool = False
    default: Any = None
    low: int = 0
    high: int = 0
    pattern: str = ""
    choices: tuple[str, ...] = ()
    of: Spec | None = None
    keys: Mapping[str, Any] = field(default_factory=dict)


def _text(text: str, pattern: str, needs: str, **more: Any) -> Spec:
    return Spec("text", text, needs, pattern=pattern, **more)


def _whole(text: str, low: int, high: int, **more: Any) -> Spec:
    return Spec("whole", text, f"a whole number {low}…{high}", low=low, high=high, **more)


def _duration(text: str, **more: Any) -> Spec:
    return Spec("duration", text, "a duration like 90s, 5m or 48h", **more)


def _choice(text: str, *choices: str, **more: Any) -> Spec:
    return Spec("choice", text, "one of " + ", ".join(choices), choices=choices, **more)


def _flag(text: str, default: bool = False) -> Spec:
    return Spec("flag", text, "true or false", default=default)


def _list(text: str, of: Spec, **more: Any) -> Spec:
    return Spec("list", text, "a list", of=of, **more)


def _keys(text: str, keys: Mapping[str, Spec], **more: Any) -> Spec:
    return Spec("keys", text, "a mapping with " + ", ".join(keys), keys=keys, **more)


def _url_path(text: str, **more: Any) -> Spec:
    return _text(text, r"/[!-~]*", "a path that begins with '/'", **more)


def _file_path(text: str, **more: Any) -> Spec:
    return _text(text, r"/(?!.*/\.\.(/|$))[^\0]*", "an absolute path without '..'", **more)


def _signal(text: str) -> Spec:
    return _choice(text, "SIGUSR1", "SIGUSR2", "SIGHUP", "SIGWINCH")


_OBJECT = r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?"


def _object(text: str, **more: Any) -> Spec:
    return _text(text, _OBJECT, "a name of a-z, 0-9, '-' and '.'", **more)


_COLOUR = _keys(
    "How this colour runs.",
    {
        "unit": _text(
            "Its systemd unit; needed on hosts.", r"[A-Za-z0-9:_.@\\-]+\.service", "the name of a .service unit"
        ),
        "port": _whole("The port it listens on, the same on every application host; needed on hosts.", 1, 65535),
        "deployment": _object("Its Deployment; needed in a cluster."),
        "url": Spec(
            "url",
            "In a cluster, where this colour alone is reached by the host of cutover_router, such as by a Service of "
            "its own; cutover_probes, cutover_cases and cutover_performance need it.",
            "an address like http://web-v2.shop:8080",
        ),
    },
    required=True,
)

_ON_HOSTS = ("unit", "port")
_IN_CLUSTERS = ("deployment", "url")

_PROBE = _keys(
    "A request and what its answer must be.",
    {
        "path": _url_path("What is asked for.", required=True),
        "method": _choice("How.", "GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", default="GET"),
        "body": Spec("any", "What is sent: text as it is, anything else as JSON."),
        "headers": Spec("map", "Headers to send.", "a mapping", default={}),
        "status": _list("The statuses that are right.", _whole("A status.", 100, 599), default=[200]),
        "json": Spec("map", "Dotted paths in the JSON answer, and the value each must have.", "a mapping", default={}),
        "budget_ms": _whole("Milliseconds that the whole answer may take.", 1, 600_000, default=2000),
    },
)

_CASE = _keys(
    "One.",
    {
        "name": _text(
            "The rule that it is an example of; no other case has it.", r"\S[^\n]*", "one line", required=True
        ),
        "input": Spec("any", "What is sent: text as it is, anything else as JSON.", "an input", required=True),
        "expected": Spec(
            "map", "The decision: dotted paths in the JSON answer, and the value of each.", "a mapping", required=True
        ),
        "status": _whole("The status of the answer.", 100, 599, default=200),
    },
)

_STICKY = _keys(
    "What keeps a client on its side; one of the two.",
    {
        "cookie": _text("A cookie's name.", r"[A-Za-z0-9_-]+", "a cookie's name"),
        "header": _text("A header's name.", r"[A-Za-z0-9-]+", "a header's name"),
    },
)


def _server(port: int, user: str, what: str) -> dict[str, Spec]:
    """Where a server of PostgreSQL's kind is, and as whom it is asked."""
    return {
        "database": _text("The database, by its name there.", r"[^\0]+", "a database's name", required=True),
        "host": _text("Where it is, or the folder of its socket.", r"\S+", "a host name or a path", default=LOCAL),
        "port": _whole("Its port.", 1, 65535, default=port),
        "user": _text(what, r"[^\0]+", "a user's name", default=user),
        "password_file": _file_path("A file on cutover_freeze.host that holds the password."),
    }


_REDIS = {
    "name": _text("The key.", r"(?s).+", "a text", required=True),
    "host": _text("Where Redis is.", r"\S+", "a host name or an address", default=LOCAL),
    "port": _whole("Its port.", 1, 65535, default=6379),
    "db": _whole("The number of its database.", 0, 65535, default=0),
    "user": _text("As whom it is asked.", r"[^\0]+", "a user's name"),
    "password_file": _file_path("A file on cutover_queues.host that holds the password."),
}

QUEUES: dict[str, dict[str, Spec]] = {
    "redis_list": {
        **_REDIS,
        "processing": _list(
            "The keys with what workers are at, or waits elsewhere; [] where they leave no trace. It has to be given.",
            _text("A key.", r"(?s).+", "a text"),
        ),
    },
    "redis_stream": {
        **_REDIS,
        "groups": _list("The consumer groups that count; all by default.", _text("One.", r"(?s).+", "a text")),
    },
    "celery": {
        **_REDIS,
        "priorities": _list("The broker's priority_steps.", _whole("A priority.", 0, 255), default=[3, 6, 9]),
        "prefix": _text("The broker's global_keyprefix.", r"(?s).*", "a text", default=""),
        "ask_workers": _flag(
            "Whether workers are asked what they do; false where every task is acknowledged late.", default=True
        ),
    },
    "rabbitmq": {
        "name": _text("The queue.", r"(?s).+", "a text", required=True),
        "url": Spec(
            "url", "Its management API.", "an address like http://127.0.0.1:15672", default="http://127.0.0.1:15672"
        ),
        "vhost": _text("The virtual host.", r"(?s).+", "a text", default="/"),
        "user": _text("As whom it is asked.", r"[^\0]+", "a user's name", default="guest"),
        "password_file": _file_path("A file on cutover_queues.host that holds the password."),
        "ca_path": _file_path("A file on cutover_queues.host with the certificates that are trusted."),
    },
}

_HOST = r"[A-Za-z0-9_.:-]+"

_NGINX_SOCKET = _file_path(
    "Where its workers tell the weight they apply.", default="/run/bluegreen-cutover-nginx/{service}.sock"
)


def _both(text: str, one: Callable[[str], Spec]) -> Spec:
    return _keys(text, {"blue": one("Blue's."), "green": one("Green's.")}, required=True)


_SERVICES = _both("The Service that has only pods of this colour.", lambda text: _object(text, required=True))

_LABELS = _both(
    "The whole selector that the Service has for each colour.",
    lambda text: Spec("map", text, "a mapping of labels", required=True),
)

_ADMIN_API: dict[str, Spec] = {
    "path": _url_path("Where the percentage is read by GET and set by POST.", default="/admin/config"),
    "field": _text(
        "The key of green's percentage in that JSON object.", r"\S+", "a word", default="v2_traffic_percentage"
    ),
    "token_file": _file_path("A file on the router host that holds the API's token."),
    "token_header": _text(
        "The header that carries it; Authorization says Bearer before it.",
        r"[A-Za-z0-9-]+",
        "a header's name",
        default="Authorization",
    ),
    "ca_path": _file_path("A file on the router host with the certificates that are trusted."),
    # The service's lock is held for up to ten times as long, and a run's lease has a minute to spare.
    "budget_ms": _whole("Milliseconds that one answer may take.", 1, 3000, default=1000),
}

_HOOK = _keys(
    "One of the two: tasks, or an HTTP call.",
    {
        "tasks": _file_path(
            "A file of tasks on the control node; hook_event tells what happened. For a call that needs headers, too."
        ),
        "url": _text("What is called, from the router host.", r"https?://[!-~]+", "an address like http://ops:8000/x"),
        "method": _choice("How.", "POST", "PUT", "GET", default="POST"),
        "body": Spec("any", "What is sent, as JSON; by default the event.", default=None),
    },
)

PROVIDERS: dict[str, dict[str, Spec]] = {
    "haproxy": {
        "socket": _file_path("The runtime API's socket, of level admin.", default="/run/haproxy/admin.sock"),
        "map": _file_path("The map file, as the configuration names it.", default="/etc/haproxy/cutover/{service}.map"),
        "backends": _keys(
            "The backend of each colour.",
            {
                "blue": _text("Blue's.", r"[A-Za-z0-9_.:-]+", "a backend's name", default="{service}-blue"),
                "green": _text("Green's.", r"[A-Za-z0-9_.:-]+", "a backend's name", default="{service}-green"),
            },
            default={},
        ),
        "sticky": _STICKY,
    },
    "nginx": {
        "conf": _file_path("The included file that holds the weight.", default="/etc/nginx/cutover/{service}.conf"),
        "socket": _NGINX_SOCKET,
        "sticky": _STICKY,
    },
    "nginx_lua": {
        "file": _file_path("The weight that a restart loads.", default="/etc/nginx/cutover/{service}.weight"),
        "socket": _NGINX_SOCKET,
        "sticky": _STICKY,
    },
    "nftables": {
        "port": _whole("The service's own port, redirected to the colour's.", 1, 65535, required=True),
        "file": _file_path("The ruleset that the boot loads.", default="/etc/bluegreen-cutover/nftables/{service}.nft"),
    },
    "admin_api": {
        "endpoints": _list(
            "Every instance that takes requests and shares them out; all of blue's by default.",
            Spec("url", "An instance.", "an address like http://app1:8001"),
        ),
        **_ADMIN_API,
        "emergency": _url_path("What is sent an empty JSON object by POST when everything goes to blue."),
        "file": _file_path(
            "What was set last, on the router host.", default="/etc/bluegreen-cutover/admin_api/{service}.weight"
        ),
    },
    "k8s_service": {
        "name": _object("The Service whose selector is moved.", default="{service}"),
        "selectors": _LABELS,
    },
    "k8s_httproute": {
        "name": _object("The HTTPRoute whose rules have both Services as backends.", default="{service}"),
        "services": _SERVICES,
    },
    "k8s_ingress": {
        "stable": _object("The Ingress that goes to blue.", default="{service}"),
        "canary": _object("Its canary, which goes to green.", default="{service}-canary"),
        "services": _SERVICES,
    },
    "k8s_configmap": {
        "name": _object("The ConfigMap that the application follows.", default="{service}"),
        "key": _text("Its key with green's percentage.", r"[-._a-zA-Z0-9]+", "a key", default="V2_TRAFFIC_PERCENTAGE"),
        "services": _SERVICES,
        "endpoints": _list(
            "Where the admin API of every instance tells the percentage; blue's url by default.",
            Spec("url", "An instance.", "an address like http://web-v1.shop:8001"),
        ),
        **_ADMIN_API,
    },
    "k8s_replicas": {
        "name": _object("The Service whose selector is moved.", default="{service}"),
        "selectors": _LABELS,
        "both": Spec(
            "map",
            "The whole selector that it has while both colours get traffic: labels that are in both.",
            "a mapping of labels",
            required=True,
        ),
    },
}

CLUSTERS = frozenset(name for name in PROVIDERS if name.startswith("k8s_"))
"""Providers that are in a cluster."""

ENTRIES = {"admin_api": "blue", "k8s_configmap": "blue"}
"""Per provider that has it, the colour that takes every connection whatever the weight, and shares requests out."""

SCHEMA: dict[str, Spec] = {
    "cutover_service": _text(
        "The service's name.", r"[a-z0-9-]{1,40}", "a name of 1…40 of a-z, 0-9 and '-'", required=True
    ),
    "cutover_front": Spec(
        "url", "Where clients reach the service.", "an address like http://router:8080", required=True
    ),
    "cutover_cluster": _keys(
        "The cluster that the service runs in, where it is no service of hosts; as the modules of kubernetes.core have "
        "it. Its journal and lease are kept there, too.",
        {
            "kubeconfig": _file_path("The kubeconfig on the host of cutover_router, when not that of its environment."),
            "context": _text("The context in it, when not its current one.", r"\S+", "a context's name"),
            "namespace": _text(
                "The namespace.", r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", "a namespace's name", required=True
            ),
        },
    ),
    "cutover_router": Spec(
        "provider",
        "What decides which colour gets a request.",
        keys=PROVIDERS,
        required=True,
        needs="a mapping with 'provider' (" + ", ".join(PROVIDERS) + ") and its options",
    ),
    "cutover_colours": _keys("The two versions.", {"blue": _COLOUR, "green": _COLOUR}, required=True),
    "cutover_to": _choice("The colour to move to.", "blue", "green", default="green"),
    "cutover_health": _keys(
        "How an instance tells that it can serve; in a cluster its pods' own probes do, and timeout alone counts.",
        {
            "ready": _url_path("200 here means ready for traffic.", default="/health/ready"),
            "live": _url_path("200 here means alive.", default="/health/live"),
            "timeout": _whole("Seconds that a started instance has to become ready.", 1, 3600, default=60),
        },
        default={},
    ),
    "cutover_probes": _list(
        "What every instance of the candidate must answer before it gets traffic.", _PROBE, default=[]
    ),
    "cutover_cases": _list(
        "The business rules: cases that every instance of the candidate must decide as expected before it gets "
        "traffic. Inputs and decisions are logged.",
        _keys(
            "Cases that are asked by POST in one place, with what they have in common.",
            {
                "path": _url_path("Where.", required=True),
                "cases": _list("The cases, as a rule those of a file beside the inventory.", _CASE, required=True),
                "tolerance": Spec(
                    "number", "By how much a number may differ from the expected one.", "a number", default=0
                ),
                "budget_ms": _whole("Milliseconds that each whole answer may take.", 1, 600_000, default=2000),
            },
        ),
    ),
    "cutover_verify": _list("What the service must answer at cutover_front after each step.", _PROBE, default=[]),
    "cutover_steps": _list(
        "The shares of traffic that the candidate gets, one after the other; they grow, and the last is 100.",
        _keys(
            "One step.",
            {
                "share": _whole("Percentage for the candidate.", 1, 100, required=True),
                "settle": _whole("Seconds to wait before the service is verified.", 0, 86_400, default=0),
                "hold": _duration(
                    "How long the candidate keeps this share before the next step. The window of cutover_gate.",
                    default=0,
                ),
            },
        ),
        default=[{"share": 100}],
    ),
    "cutover_gate": _keys(
        "What is asked of the candidate in Prometheus while a step is held; without it a hold is only a wait.",
        {
            "criteria": _list(
                "As in the module bluegreen.cutover.prometheus_gate.", Spec("map", "One.", "a mapping"), required=True
            ),
            "no_data": _duration("How long nothing may be known before the gate is inconclusive.", default=120),
            "patience": _duration(
                "How long the gate may be unable to tell, without a break, before the candidate goes back; also how "
                "long a criterion that has only asked for help may keep a hold that is over.",
                default=7 * 86_400,
            ),
            "alpha": Spec(
                "number",
                "Probability of going back from a good candidate, in each hold, by the criteria that count requests.",
                "a number",
                default=0.01,
            ),
            "beta": Spec("number", "Probability of passing a bad one.", "a number", default=0.05),
            "dispersion": Spec("number", "How errors cluster, where that is known; 1: not at all.", "a number"),
            "expected_rps": Spec("number", "Requests a second that the candidate will get.", "a number"),
        },
    ),
    "cutover_prometheus": _keys(
        "Where metrics are, as the router host reaches them.",
        {
            "url": Spec(
                "url",
                "Its address; what comes before /api/v1 may be part of it.",
                "an address like http://127.0.0.1:9090",
                required=True,
                pattern=r"/[\w./-]*",
            ),
            # Secrets stay in files of the router host: modules print the plan, and the guard keeps a part of it.
            "token_file": _file_path("A file on the router host that holds a bearer token."),
            "username": _text("Its user of basic authentication.", r"[^:\s]+", "a name without ':' and blanks"),
            "password_file": _file_path("A file on the router host that holds that user's password."),
            "ca_path": _file_path("A file on the router host with the certificates that are trusted."),
            "client_cert": _file_path("A file on the router host with the certificate that it shows."),
            "client_key": _file_path("A file with its key, when that is not in client_cert."),
            "scrape_interval": _duration(
                "How often it scrapes the service; a sample three times as old tells nothing.", default=15
            ),
        },
    ),
    "cutover_metrics": _keys(
        "What the service tells Prometheus: for a checkpoint, the dashboard, alerts, and the measure of success.",
        {
            "selector": _text(
                "Label matchers of one colour's series.",
                r"[^\n{}]*(\{(service|colour)\}[^\n{}]*)*",
                'matchers like job="{service}-{colour}"',
                default='job="{service}-{colour}"',
            ),
            "requests": _text("The counter of requests.", _METRIC, _METRIC_NEEDED, default="http_requests_total"),
            "bad": _text(
                "Matchers of those that fail.", r"[^\n{}]+", 'matchers like status=~"5.."', default='status=~"5.."'
            ),
            "latency": _text(
                "The histogram of their times in seconds, without _bucket.",
                _METRIC,
                _METRIC_NEEDED,
                default="http_request_duration_seconds",
            ),
            "errors": _text("A gauge that must be 0.", _METRIC, _METRIC_NEEDED, default="migration_errors"),
            "title": _text("The dashboard's title.", r"\S[^\n]*", "one line", default="{service} migration"),
        },
    ),
    "cutover_performance": _keys(
        "Requests to both colours beside each other, before the candidate gets traffic: it must be as fast.",
        {
            "path": _url_path("What is asked for.", required=True),
            "requests": _whole("How many of each colour.", comparison.LEAST, 10_000, default=100),
            "tolerance": Spec("number", "How much longer it may take, as a share.", "a number", default=0.1),
            "floor_ms": Spec("number", "Milliseconds longer that do not count.", "a number", default=5),
        },
    ),
    "cutover_success": _keys(
        "What makes a migration a success, measured in cutover_metrics when it ends, and told by status.yml.",
        {
            "availability": Spec("number", "Share of the requests that must not fail.", "a number", default=0.999),
            "increase": Spec("number", "How much longer the candidate may take, as a share.", "a number", default=0.1),
        },
        default={},
    ),
    "cutover_run_limit": _duration(
        "How long one run may last when it comes to waiting in a hold; advance.yml goes on from there.", default=900
    ),
    "cutover_back": _choice(
        "How rollback.yml goes back, and a hold after cutover_gate.patience.",
        "immediate",
        "progressive",
        default="immediate",
    ),
    "cutover_back_steps": _keys(
        "A progressive way back: the shares that the candidate keeps for a while, those below its share of then.",
        {
            "shares": _list("In percent.", _whole("A share.", 1, 99), default=[75, 50, 25]),
            "settle": _whole("Seconds that each is watched; an unstable one ends them all.", 0, 3600, default=30),
        },
        default={},
    ),
    "cutover_hooks": _keys(
        "What is called from a migration.",
        {
            "notify": replace(_HOOK, help="When the service has moved or gone back, a run stops, and by a criterion."),
            "performance_mode": replace(_HOOK, help="By a criterion with that action."),
            "deprecated": replace(_HOOK, help="By finalize.yml; its event has the headers for the old API."),
        },
        default={},
    ),
    "cutover_min_ready": _whole(
        "How many instances of a colour must be ready before it gets more traffic; all of them by default, and in a "
        "cluster as many as the other colour has.",
        1,
        10_000,
    ),
    "cutover_drain": _keys(
        "How the old colour is emptied before it is stopped; not in a cluster, where it keeps its pods.",
        {
            "timeout": _whole("Seconds to wait for its last connection.", 1, 86_400, default=60),
            "on_timeout": _choice(
                "What becomes of clients that are left then: the run fails, or they are cut off.",
                "fail",
                "stop",
                default="fail",
            ),
            "signal": _signal("Tells the service to close its idle connections."),
            "resume_signal": _signal("Takes that back, when traffic returns to it."),
            "in_flight": _url_path("Where the service tells the metric http_requests_in_flight, which must be 0 too."),
        },
        default={},
    ),
    "cutover_tests": _list(
        "The candidate's own tests, run on each application host before it gets traffic; in a cluster on the host of "
        "cutover_router.",
        _keys(
            "One command.",
            {
                "name": _text("What it proves.", r"\S.*", "a text", required=True),
                "command": _list(
                    "The program and its arguments; no shell.", _text("A word.", r"(?s).*", "a text"), required=True
                ),
                "chdir": _file_path("Where it runs."),
                "timeout": _whole("Seconds it may take.", 1, 86_400, default=300),
            },
        ),
        default=[],
    ),
    "cutover_state": _list(
        "What the service keeps: of each part a snapshot is taken and restored into a place of its own to prove it, "
        "before any traffic moves.",
        _keys(
            "One part.",
            {
                "name": _text(
                    "Its name.", r"[a-z0-9][a-z0-9_-]{0,39}", "a name of 1…40 of a-z, 0-9, '_' and '-'", required=True
                ),
                "host": _text(
                    "The host of the inventory that its snapshot is taken on, and kept.",
                    r"\S+",
                    "a host's name",
                    required=True,
                ),
                "engine": _text(
                    "What reads and restores it: an engine of the module bluegreen.cutover.snapshot.",
                    r"[a-z0-9_]+",
                    "the name of an engine",
                    required=True,
                ),
                "options": Spec("map", "The engine's options, as that module has them.", "a mapping", default={}),
                "verify": _flag("Whether the snapshot is proven; without, cutover_accept_unverified is needed.", True),
                "timeout": _whole(
                    "Seconds that taking and proving its snapshot may take, and restoring it.", 1, 86_400, default=3600
                ),
            },
        ),
        default=[],
    ),
    "cutover_artifacts": _keys(
        "The snapshots of cutover_state, on each part's own host.",
        {
            "destination": _file_path(
                "The folder; only root may be able to write to it. In it, a namespace of a cluster has one of its own.",
                default="/var/backups/bluegreen-cutover",
            ),
            "keep": _duration(
                "How long each is kept, from its completion; 48 h at least, and longer than the steps are held. Then "
                "expire.yml removes it.",
                default=259_200,
            ),
            "encryption": _keys(
                "To whom they are encrypted.",
                {
                    "tool": _choice("By what.", "age", "gpg", required=True),
                    "recipient": _text(
                        "The public key, or a file of the host that holds it.", r"[ -~]+", "one line", required=True
                    ),
                },
            ),
        },
        default={},
    ),
    "cutover_queues": _keys(
        "What has to be empty, with nothing in flight, before writers are held and snapshots taken.",
        {
            "host": _text("The host that asks; the router's by default.", _HOST, "a host of the inventory"),
            "timeout": _duration("How long that may take.", default=300),
            "queues": _list(
                "The queues, which have to be empty at the same time.",
                Spec(
                    "provider",
                    "One.",
                    "a mapping with 'provider' (" + ", ".join(QUEUES) + ") and its options",
                    keys=QUEUES,
                ),
                required=True,
            ),
        },
    ),
    "cutover_freeze": _keys(
        "Which writers are held while snapshots are taken; without pgbouncer and read_only none.",
        {
            "host": _text("The host that holds them; the router's by default.", _HOST, "a host of the inventory"),
            "until": _choice(
                "What ends it: the snapshots are taken, or all of the traffic has moved.",
                "snapshot",
                "switch",
                default="snapshot",
            ),
            "limit": _whole(
                "Seconds that they are held at most; then a timer on that host lets them go, and the run fails. Until "
                "snapshot, that is for as long as the parts of cutover_state are read; their proof comes after it.",
                1,
                86_400,
                default=30,
            ),
            "wait": _whole("Seconds that open transactions get to end.", 1, 60, default=5),
            "pgbouncer": _keys(
                "Clients behind PgBouncer wait, and none fails. Not in session mode.",
                _server(6432, "pgbouncer", "One of its admin_users."),
            ),
            "read_only": _keys(
                "Who connects from now on is read-only by default. Who may write all the same is listed.",
                _server(5432, "postgres", "The database's owner, or a superuser."),
            ),
            "time": _duration("How long freeze.yml keeps others from migrating the service.", default=3600),
        },
        default={},
    ),
    "cutover_rehearsal": _keys(
        "Whether the way there and back must have been taken before cutover.yml may begin.",
        {
            "required": _flag("Whether it must: the last migration is then a rehearsal that passed, by the same plan."),
            "age": _duration("How long a rehearsal counts.", default=7 * 86_400),
        },
        default={},
    ),
    "cutover_guard": _keys(
        "What takes the traffic back by itself, on the router host or in the cluster, when a run dies before a step is "
        "confirmed.",
        {
            "enabled": _flag("Whether there is one.", default=True),
            "image": _text(
                "In a cluster, the image of its pod, which needs Python 3.9 and nothing else; by default "
                f"{guard_pod.IMAGE}.",
                guard_pod.IMAGES,
                "an image, best by its digest, like registry.example/python@sha256: and 64 hexadecimal digits",
            ),
            "secret": _object(
                "In a cluster, a Secret with the files that cutover_prometheus and cutover_router name, by their names."
            ),
            "time": _whole(
                "Seconds without a renewal, which each step makes, after which it acts; by default what the longest "
                "step may take, and 30 more.",
                1,
                86_400,
            ),
            "triggers": _list(
                "What makes it act at once: criteria of a gate, of the kind query.",
                _keys(
                    "One condition.",
                    {
                        "name": _text("What it says of the service.", r"\S[^\n]*", "one line", required=True),
                        "kind": _choice("What it is.", "query", default="query"),
                        "query": _text("Any PromQL.", r"\S(?s:.*)", "a text", required=True),
                        "max": Spec("number", "It acts above that.", "a number"),
                        "min": Spec("number", "It acts below that.", "a number"),
                        "for": _duration("How long it must be past them, in the time of the samples.", default=0),
                        "reducer": _choice("What makes one value of several series.", *criteria.REDUCERS),
                        "fresh": _text(
                            "A selector whose samples show that the data lives; needed unless the query is a selector.",
                            r"\S(?s:.*)",
                            "a text",
                        ),
                        "baseline": _text(
                            "The same query for the old colour: what is as bad there is not the new one's fault.",
                            r"\S(?s:.*)",
                            "a text",
                        ),
                    },
                ),
                default=[],
            ),
        },
        default={},
    ),
    "cutover_finalize": _keys(
        "What finalize.yml asks for before the old version is removed.",
        {
            "stable": _duration(
                "How long the new version must have served alone, with no way back and no guard that fired.",
                default=30 * 86_400,
            ),
            "notice": _duration("From the old version's deprecation to its sunset.", default=30 * 86_400),
            "announced": _list(
                "Paths of the old API whose answers at cutover_front must carry the headers Deprecation and Sunset.",
                _url_path("One."),
                default=[],
            ),
            "criteria": _list(
                "What Prometheus must say besides.",
                _keys(
                    "One condition.",
                    {
                        "name": _text("What it says of the service.", r"\S[^\n]*", "one line", required=True),
                        "query": _text(
                            "PromQL that gives one number; {window} in it is cutover_finalize.stable.",
                            r"\S(?s:.*)",
                            "a text",
                            required=True,
                        ),
                        "min": Spec("number", "The least that is right.", "a number"),
                        "max": Spec("number", "The most that is right.", "a number"),
                    },
                ),
                default=[],
            ),
            "remove": _choice(
                "What is removed of the old version: nothing, so that it is stopped and disabled; or its unit's file.",
                "nothing",
                "unit",
                default="nothing",
            ),
        },
        default={},
    ),
    "cutover_state_dir": _file_path(
        "Where journal, lease, fence and guard are kept.", default="/var/lib/bluegreen-cutover"
    ),
    "cutover_reason": _text(
        "Why, for the journal and for whoever finds the service taken.",
        r"[^\n]{1,200}",
        "one line of 1…200 characters",
        default="no reason given",
    ),
    "cutover_lease_wait": _whole("Seconds to wait for another run on the same service to end.", 0, 86_400, default=0),
    "cutover_accept_unproven": _text(
        "Why a hold whose time is over is taken as passed where its gate has not proven it. For the command line.",
        r"[^\n]*\S[^\n]*",
        "one line that says why",
    ),
    "cutover_accept_unverified": _text(
        "Why traffic may move without a proven snapshot of each part. For the command line.",
        r"[^\n]*\S[^\n]*",
        "one line that says why",
    ),
    "cutover_accept_reality": _flag("Record a difference between journal and reality, and go on from reality."),
}

_RESTORED = {"git": 1, "files": 2, "kubernetes": 2}
"""R-E7: first what a server keeps, then the code, then configuration: files, and objects of a cluster."""

FACTS = frozenset({"cutover_plan", "cutover_run", "cutover_hold", "cutover_watched", "cutover_measured"})
"""Set while a playbook runs; not for an inventory."""

HOST_VARIABLES = frozenset({"cutover_address"})
"""Of one application host: how the router reaches it, when not by its inventory name."""


class _Problems(list[str]):
    """What is wrong, one line each."""

    def unknown(self, path: str, name: str, known: Iterable[str], kind: str) -> None:
        # The prefix that all variables have makes none of them more alike.
        stems = {one.removeprefix(PREFIX): one for one in known}
        nearest = difflib.get_close_matches(name.removeprefix(PREFIX), list(stems), n=1, cutoff=0.5)
        advice = f"did you mean {stems[nearest[0]]}?" if nearest else f"known are {', '.join(sorted(stems.values()))}"
        self.append(f"{path}: there is no such {kind}; {advice}")


def make_plan(
    variables: Mapping[str, Any],
    *,
    routers: Sequence[str],
    applications: Sequence[str],
    hosts: Mapping[str, Mapping[str, Any]],
    failed: Mapping[str, str] | None = None,
    forks: int | None = None,
) -> dict[str, Any]:
    """The plan, of plain JSON types; or ``InputError`` with every problem, one line each.

    ``variables`` are the ``cutover_*`` variables of the play, ``hosts`` those of each host of the two groups.
    ``routers`` and ``applications`` are the groups' hosts, the latter none in a cluster. ``failed`` says of a variable
    why it has no value. ``forks`` is how many hosts Ansible works on at the same time; all of them by default.
    """
    problems = _Problems(f"{name} has no value: {why}; give it one" for name, why in (failed or {}).items())
    _check_names(variables, hosts, problems)
    values = {
        name: _read(spec, variables.get(name), name, problems)
        for name, spec in SCHEMA.items()
        if name not in (failed or {})
    }
    _check_groups(values, routers, applications, problems)
    for rule in _RULES:
        rule(values, problems)
    addresses = _addresses(routers, applications, hosts, problems)
    if not problems:
        _check_hosts(values, routers[0], addresses, problems)
    if problems:
        name = variables.get("cutover_service", "this service")
        count = "one problem" if len(problems) == 1 else f"{len(problems)} problems"
        lines = "\n".join(f"- {problem}" for problem in problems)
        raise InputError(f"The inventory of {name} has {count}; nothing was touched:\n{lines}", {"problems": problems})
    return _assemble(values, routers[0], addresses, math.ceil(len(addresses) / (forks or len(addresses) or 1)) or 1)


def describe() -> list[tuple[str, str, str, str]]:
    """Every variable and key as (name, what it must be, default, meaning), in the order of ``SCHEMA``."""
    rows: list[tuple[str, str, str, str]] = []
    for name, spec in SCHEMA.items():
        _describe(name, spec, rows)
    return rows


def _describe(path: str, spec: Spec, rows: list[tuple[str, str, str, str]]) -> None:
    default = "required" if spec.required else "" if spec.default is None else json.dumps(spec.default)
    rows.append((path, spec.needs or "anything", default, spec.help))
    if spec.kind == "list" and spec.of and spec.of.keys:
        path, spec = f"{path}[]", spec.of
    for name, inner in spec.keys.items():
        if spec.kind == "keys":
            _describe(f"{path}.{name}", inner, rows)
        else:
            for option, its in inner.items():
                _describe(f"{path}.{option} ({name})", its, rows)


# Reading a value: each reader returns what the plan holds, or notes a problem and returns None.


def _read(spec: Spec, value: Any, path: str, problems: _Problems) -> Any:
    if value is None:
        if spec.required:
            problems.append(f"{path} is missing; {spec.needs} is needed")
            return None
        if spec.kind not in ("keys", "list"):
            return spec.default
        if spec.default is None:
            return None
        value = spec.default
    return _READERS[spec.kind](spec, value, path, problems)


def _wrong(spec: Spec, value: Any, path: str, problems: _Problems) -> None:
    problems.append(f"{path} is {_short(value)}; {spec.needs} is needed")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"


def _read_text(spec: Spec, value: Any, path: str, problems: _Problems) -> Any:
    if isinstance(value, str) and re.fullmatch(spec.pattern, value):
        return value
    return _wrong(spec, value, path, problems)


def _read_choice(spec: Spec, value: Any, path: str, problems: _Problems) -> Any:
    return value if value in spec.choices else _wrong(spec, value, path, problems)


def _read_whole(spec: Spec, value: Any, path: str, problems: _Problems) -> Any:
    # What comes from the command line (-e cutover_lease_wait=120) is text.
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,9}", value):
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and spec.low <= value <= spec.high:
        return value
    return _wrong(spec, value, path, problems)


def _read_duration(spec: Spec, value: Any, path: str, problems: _Problems) -> Any:
    try:
        seconds = criteria.duration(value, path)
    except InputError:
        return _wrong(spec, value, path, problems)
    return int(seconds) if seconds.is_integer() else seconds


def _read_flag(spec: Spec, value: Any, path: str, problems: _Problems) -> Any:
    words = {"true": True, "yes": True, "false": False, "no": False}
    flag = words.get(value.lower()) if isinstance(value, str) else value
    return flag if isinstance(flag, bool) else _wrong(spec, value, path, problems)


def _read_number(spec: Spec, value: Any, path: str, problems: _Problems) -> Any:
    if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
        return value
    return _wrong(spec, value, path, problems)


def _read_url(spec: Spec, value: Any, path: str, problems: _Problems) -> Any:
    try:
        parts = urlsplit(value)
        whole = parts.path in ("", "/") or bool(spec.pattern and re.fullmatch(spec.pattern, parts.path))
        good = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and whole
        bare = not (parts.query or parts.fragment)
        secret = parts.username is not None or parts.password is not None
    except (ValueError, AttributeError, TypeError):
        good = bare = secret = False
    if secret:
        problems.append(f"{path} has a user or a password in it, which would be in logs; {spec.needs} is needed")
        return None
    if good and bare and re.fullmatch(r"[!-~]+", value):
        return value.rstrip("/")
    return _wrong(spec, value, path, problems)


def _read_list(spec: Spec, value: Any, path: str, problems: _Problems) -> Any:
    if not isinstance(value, list) or spec.of is None:
        return _wrong(spec, value, path, problems)
    if not value and spec.required:
        problems.append(f"{path} is empty; at least one is needed")
    return [_read_item(spec.of, item, f"{path}[{index}]", problems) for index, item in enumerate(value)]


def _read_item(spec: Spec, value: Any, path: str, problems: _Problems) -> Any:
    return _wrong(spec, value, path, problems) if value is None else _read(spec, value, path, problems)


def _read_keys(spec: Spec, value: Any, path: str, problems: _Problems) -> Any:
    if not isinstance(value, Mapping):
        return _wrong(spec, value, path, problems)
    return _read_known(spec.keys, value, path, problems)


def _read_known(known: Mapping[str, Spec], value: Mapping[str, Any], path: str, problems: _Problems) -> dict[str, Any]:
    for name in value:
        if name not in known:
            problems.unknown(f"{path}.{name}", str(name), known, "key")
    return {name: _read(inner, value.get(name), f"{path}.{name}", problems) for name, inner in known.items()}


def _read_provider(spec: Spec, value: Any, path: str, problems: _Problems) -> Any:
    if not isinstance(value, Mapping):
        return _wrong(spec, value, path, problems)
    provider = value.get("provider")
    if not isinstance(provider, str) or provider not in spec.keys:
        problems.append(f"{path}.provider is {_short(provider)}; one of {', '.join(spec.keys)} is needed")
        return None
    options = {name: option for name, option in value.items() if name != "provider"}
    read = _read_known(spec.keys[provider], options, path, problems)
    return {"provider": provider, **_given(read)}


def _given(options: Mapping[str, Any]) -> dict[str, Any]:
    """What is not None, also inside."""
    return {
        name: _given(value) if isinstance(value, dict) else value
        for name, value in options.items()
        if value is not None
    }


def _read_map(spec: Spec, value: Any, path: str, problems: _Problems) -> Any:
    if isinstance(value, Mapping) and all(isinstance(name, str) for name in value):
        return _read_any(spec, value, path, problems)
    return _wrong(spec, value, path, problems)


def _read_any(_spec: Spec, value: Any, path: str, problems: _Problems) -> Any:
    """Anything that JSON can say; not-a-number and dates it cannot."""
    if isinstance(value, Mapping):
        return {str(name): _read_any(_spec, inner, f"{path}.{name}", problems) for name, inner in value.items()}
    if isinstance(value, list):
        return [_read_any(_spec, inner, f"{path}[{index}]", problems) for index, inner in enumerate(value)]
    plain = value is None or isinstance(value, (str, int)) or (isinstance(value, float) and math.isfinite(value))
    if not plain:
        problems.append(f"{path} is {_short(value)}; a value that JSON has is needed (put it in quotes)")
    return value


_READERS: dict[str, Callable[[Spec, Any, str, _Problems], Any]] = {
    "text": _read_text,
    "choice": _read_choice,
    "whole": _read_whole,
    "duration": _read_duration,
    "flag": _read_flag,
    "number": _read_number,
    "url": _read_url,
    "list": _read_list,
    "keys": _read_keys,
    "provider": _read_provider,
    "map": _read_map,
    "any": _read_any,
}


# Rules between values. A value with a problem of its own is None here, and says nothing more.


def _check_names(variables: Mapping[str, Any], hosts: Mapping[str, Mapping[str, Any]], problems: _Problems) -> None:
    known = {*SCHEMA, *HOST_VARIABLES}
    for name in sorted({*variables, *(name for own in hosts.values() for name in own)} - known - FACTS):
        problems.unknown(name, name, known, "variable")


def _check_groups(
    values: Mapping[str, Any], routers: Sequence[str], applications: Sequence[str], problems: _Problems
) -> None:
    if len(routers) != 1:
        found = ", ".join(routers) or "no host"
        problems.append(f"the group cutover_router has {found}; exactly one host is needed")
    if values.get("cutover_cluster"):
        if applications:
            problems.append(
                f"the group cutover_app has {', '.join(applications)}; with cutover_cluster the service runs in pods, "
                "and the group needs to be empty"
            )
        return
    if not applications:
        problems.append("the group cutover_app has no host; the hosts that the service runs on are needed")
    local = (values.get("cutover_router") or {}).get("provider") == "nftables"
    if local and routers and applications and list(routers) != list(applications):
        problems.append(
            "cutover_router.provider nftables moves a service on one host; "
            f"cutover_app has {', '.join(applications)}, and only {routers[0]} (of cutover_router) can be there"
        )
    needed = values.get("cutover_min_ready")
    if needed is not None and applications and needed > len(applications):
        problems.append(
            f"cutover_min_ready is {needed}, and cutover_app has {len(applications)} hosts; "
            f"a whole number 1…{len(applications)} is needed"
        )


def _check_colours(values: Mapping[str, Any], problems: _Problems) -> None:
    colours = values.get("cutover_colours") or {}
    blue, green = (colours.get(colour) or {} for colour in ("blue", "green"))
    where = (
        (_IN_CLUSTERS[:1], _ON_HOSTS, "on hosts, without")
        if values.get("cutover_cluster")
        else (_ON_HOSTS, _IN_CLUSTERS, "in a cluster, with")
    )
    needed, foreign, there = where
    for colour, its in (("blue", blue), ("green", green)):
        for name in needed:
            # What is wrong has been told, and is None as well.
            if its and its[name] is None and not any(f".{colour}.{name} is" in one for one in problems):
                problems.append(f"cutover_colours.{colour}.{name} is missing; {_COLOUR.keys[name].needs} is needed")
        problems += [
            f"cutover_colours.{colour}.{name} is only for a service {there} cutover_cluster"
            for name in foreign
            if its.get(name) is not None
        ]
    if blue.get("deployment") and blue.get("deployment") == green.get("deployment"):
        problems.append(
            f"cutover_colours: {blue['deployment']} is both blue and green; each colour needs a Deployment of its own"
        )
    if blue.get("unit") and blue.get("unit") == green.get("unit"):
        problems.append(f"cutover_colours: {blue['unit']} is both blue and green; each colour needs a unit of its own")
    if blue.get("port") and blue.get("port") == green.get("port"):
        problems.append(f"cutover_colours: both colours listen on port {blue['port']}; each needs a port of its own")


def _check_cluster(values: Mapping[str, Any], problems: _Problems) -> None:
    router, cluster = values.get("cutover_router") or {}, values.get("cutover_cluster")
    provider = router.get("provider")
    if provider and (provider in CLUSTERS) != bool(cluster):
        where = "is in a cluster, and cutover_cluster is missing" if provider in CLUSTERS else "is none of a cluster"
        problems.append(f"cutover_router.provider {provider} {where}")
    if not cluster or not provider:
        return
    _check_selectors(values, router, problems)
    _check_urls(values, router, problems)
    _check_pod(values, router, problems)


def _check_pod(values: Mapping[str, Any], router: Mapping[str, Any], problems: _Problems) -> None:
    """The guard's pod has no files of a host."""
    guard = values.get("cutover_guard") or {}
    source = (values.get("cutover_prometheus") or {}) if guard.get("triggers") else {}
    files = [*guard_pod.files(router), *guard_pod.files(source)]
    if guard.get("enabled") and files and not guard.get("secret"):
        problems.append(
            f"cutover_guard.secret is missing; its pod needs {', '.join(files)}, and has no files of a host. Put them "
            "into a Secret of the namespace, by their names, and name it"
        )
    for one, other in itertools.combinations(sorted(set(files)), 2) if guard.get("enabled") else ():
        if guard_pod.in_pod(one) == guard_pod.in_pod(other):
            problems.append(
                f"cutover_guard.secret cannot have both {one} and {other}: its pod knows them by their names alone; "
                "two names are needed"
            )


def _check_selectors(values: Mapping[str, Any], router: Mapping[str, Any], problems: _Problems) -> None:
    """A Service takes one colour or the other, or, where numbers of pods make the shares, both."""
    if router["provider"] not in ("k8s_service", "k8s_replicas"):
        return
    shares = [step["share"] for step in values.get("cutover_steps") or [] if step]
    if router["provider"] == "k8s_service" and shares != [100]:
        problems.append(
            "cutover_steps needs to be one step with share 100: a Service takes one colour or the other; "
            "k8s_httproute, k8s_ingress and k8s_configmap have weights"
        )
    if None in (router["selectors"] or {"": None}).values():
        return
    name, option = _fill(router["name"], str(values.get("cutover_service"))), "selectors"
    try:
        selector.check(name, router["selectors"])
        option = "both"
        if router.get("both") is not None:
            selector.check_both(name, router["selectors"], router["both"])
    except CutoverError as error:
        problems.append(f"cutover_router.{option}: {error.message}")


def _check_urls(values: Mapping[str, Any], router: Mapping[str, Any], problems: _Problems) -> None:
    """What asks one colour alone has to know where that is."""
    colours = values.get("cutover_colours") or {}
    candidate = ("green", "blue") if values.get("cutover_to") == "blue" else ("green",)
    needing = {
        "cutover_probes": candidate,
        "cutover_cases": candidate,
        "cutover_performance": ("blue", "green"),
    }
    for name, wanted in needing.items():
        for colour in wanted if values.get(name) else ():
            if not (colours.get(colour) or {}).get("url"):
                problems.append(f"cutover_colours.{colour}.url is missing; {name} asks that colour alone")
    if (
        router["provider"] == "k8s_configmap"
        and not router.get("endpoints")
        and not (colours.get("blue") or {}).get("url")
    ):
        problems.append("cutover_router.endpoints is missing; where the admin API tells the percentage is needed")


def _check_steps(values: Mapping[str, Any], problems: _Problems) -> None:
    steps = values.get("cutover_steps")
    if steps == []:
        problems.append("cutover_steps is empty; at least the step with share 100 is needed")
    shares = [step and step.get("share") for step in steps or []]
    if not shares or None in shares:
        return
    for index, (before, share) in enumerate(zip(shares, shares[1:]), start=1):
        if share <= before:
            problems.append(f"cutover_steps[{index}].share is {share} after {before}; each step needs a larger share")
    if shares[-1] != 100:
        problems.append(f"cutover_steps ends at share {shares[-1]}; the last step needs 100")


_CREDENTIALS = frozenset({"authorization", "cookie", "proxy-authorization", "x-api-key"})


def _check_probes(values: Mapping[str, Any], problems: _Problems) -> None:
    for name in ("cutover_probes", "cutover_verify"):
        for index, probe in enumerate(values.get(name) or []):
            if probe and probe["status"] == []:
                problems.append(f"{name}[{index}].status is empty; at least one status is needed")
            for header, value in ((probe or {}).get("headers") or {}).items():
                if not isinstance(value, (str, int)):
                    problems.append(f"{name}[{index}].headers.{header} is {_short(value)}; a text is needed")
                if str(header).lower() in _CREDENTIALS:
                    problems.append(
                        f"{name}[{index}].headers.{header} would be in logs and in the journal; probe a path that "
                        "needs none, or one that takes it from this host's address"
                    )


def _check_cases(values: Mapping[str, Any], problems: _Problems) -> None:
    rules = values.get("cutover_cases")
    # What is wrong with a value has been told, and is None.
    if rules is None or any(not rule or None in (*rule.values(), *(rule["cases"] or ())) for rule in rules):
        return
    if all(case[key] is not None for rule in rules for case in rule["cases"] for key in ("name", "expected")):
        problems += [f"cutover_cases: {one}" for one in cases.problems(rules)]


def _check_sticky(values: Mapping[str, Any], problems: _Problems) -> None:
    sticky = (values.get("cutover_router") or {}).get("sticky")
    if sticky is not None and len(sticky) != 1:
        problems.append("cutover_router.sticky needs exactly one of cookie and header")


def _check_endpoints(values: Mapping[str, Any], problems: _Problems) -> None:
    if (values.get("cutover_router") or {}).get("endpoints") == []:
        problems.append("cutover_router.endpoints is empty; at least one is needed, or leave it out for all of blue's")


def _check_state(values: Mapping[str, Any], problems: _Problems) -> None:
    parts = [part for part in values.get("cutover_state") or [] if part]
    for name, count in Counter(part["name"] for part in parts).items():
        if name and count > 1:
            problems.append(f"cutover_state has {name} {count} times; each part needs a name of its own")
    artifacts = values.get("cutover_artifacts") or {}
    destination = _destination(values).rstrip("/")
    for part in parts:
        paths = (part["options"] or {}).get("paths") if part["engine"] == "files" else None
        for path in paths if isinstance(paths, list) else []:
            if destination and f"{destination}/".startswith(str(path).rstrip("/") + "/"):
                problems.append(
                    f"cutover_artifacts.destination {destination} is inside {path}, of which it is to hold snapshots"
                )
    holds = sum(step["hold"] or 0 for step in values.get("cutover_steps") or [] if step)
    keep = artifacts.get("keep")
    if keep is not None and keep < LEAST_KEPT:
        problems.append(
            f"cutover_artifacts.keep is {keep} s; {LEAST_KEPT} are needed (48h), because what is wrong with a new "
            "version may show only after days"
        )
    if parts and keep is not None and keep <= holds:
        problems.append(
            f"cutover_artifacts.keep is {keep} s, and the steps are held for {holds} s: the snapshots would expire on "
            "the way; more is needed"
        )


def _check_guard(values: Mapping[str, Any], problems: _Problems) -> None:
    guard = values.get("cutover_guard") or {}
    if not values.get("cutover_cluster"):
        problems += [
            f"cutover_guard.{name} is only for a service in a cluster, with cutover_cluster"
            for name in ("image", "secret")
            if guard.get(name)
        ]
    settles = [step["settle"] for step in values.get("cutover_steps") or [] if step and step["settle"] is not None]
    following = _following(values)
    if guard.get("time") and settles and guard["time"] <= following + max(settles):
        waited = f"waits for its router for up to {following} s, and " if following else ""
        problems.append(
            f"cutover_guard.time is {guard['time']}, and a step {waited}settles for {max(settles)} s: the guard would "
            "take it back meanwhile; more is needed"
        )
    if guard.get("triggers") and guard["enabled"] is False:
        problems.append("cutover_guard has triggers, and is not enabled: nobody would ask them")
    if guard.get("triggers") and not values.get("cutover_prometheus"):
        problems.append("cutover_prometheus is missing; the triggers of cutover_guard are asked there")
    if guard.get("triggers") and None not in guard["triggers"]:
        try:
            criteria.parse(guard["triggers"])
        except InputError as error:
            problems.append(f"cutover_guard.triggers: {error.message}")


def _check_gate(values: Mapping[str, Any], problems: _Problems) -> None:
    gate = values.get("cutover_gate")
    if not gate:
        return
    if not values.get("cutover_prometheus"):
        problems.append("cutover_prometheus is missing; cutover_gate is asked there")
    holds = [step["hold"] for step in values.get("cutover_steps") or [] if step and step["hold"]]
    if not holds:
        problems.append("cutover_gate is never asked: no step of cutover_steps has a hold")
    scrape = (values.get("cutover_prometheus") or {}).get("scrape_interval")
    if scrape is not None and holds and min(holds) < 2 * scrape:
        problems.append(
            f"cutover_steps has a hold of {min(holds)} s, and Prometheus scrapes each {scrape} s; "
            "a hold of at least two scrapes is needed"
        )
    for name, low, high in (("alpha", 0, 0.5), ("beta", 0, 0.5), ("dispersion", 1, None), ("expected_rps", 0, None)):
        value = gate[name]
        if value is not None and (value < low or (high is not None and not low < value <= high)):
            needed = f"a number of at least {low}" if high is None else f"a number above {low}, at most {high}"
            problems.append(f"cutover_gate.{name} is {value}; {needed} is needed")
    try:
        criteria.parse(gate["criteria"] or [])
    except InputError as error:
        problems.append(f"cutover_gate.criteria: {error.message}")


def _check_prometheus(values: Mapping[str, Any], problems: _Problems) -> None:
    given = values.get("cutover_prometheus") or {}
    if given.get("token_file") and given.get("username"):
        problems.append("cutover_prometheus has token_file and username; only one of them can be sent")
    for name, other in (("username", "password_file"), ("password_file", "username"), ("client_key", "client_cert")):
        if given.get(name) and not given.get(other):
            problems.append(f"cutover_prometheus.{name} needs {other} too")
    files = [name for name in ("ca_path", "client_cert") if given.get(name)]
    if files and str(given.get("url")).startswith("http:"):
        problems.append(f"cutover_prometheus.{files[0]} needs an address that begins with https")


def _check_metrics(values: Mapping[str, Any], problems: _Problems) -> None:
    if values.get("cutover_metrics") and not values.get("cutover_prometheus"):
        problems.append("cutover_prometheus is missing; cutover_metrics are asked for there")
    performance = values.get("cutover_performance")
    if performance and None not in performance.values():
        try:
            comparison.check(performance["requests"], performance["tolerance"], performance["floor_ms"])
        except InputError as error:
            problems.append(f"cutover_performance.{error.message}")


def _check_finalize(values: Mapping[str, Any], problems: _Problems) -> None:
    criteria_ = (values.get("cutover_finalize") or {}).get("criteria") or []
    for index, one in enumerate(criteria_):
        if one and one["min"] is None and one["max"] is None:
            problems.append(f"cutover_finalize.criteria[{index}] needs min, max or both")
    if criteria_ and not values.get("cutover_metrics"):
        problems.append("cutover_metrics is missing; the criteria of cutover_finalize are asked beside it")


def _check_looks(values: Mapping[str, Any], problems: _Problems) -> None:
    """Each look at a hold is a task file in the one of the look before, and Ansible's stack has an end."""
    limit = values.get("cutover_run_limit")
    each = holding.look((values.get("cutover_guard") or {}).get("time") or GUARD_MARGIN)
    longest = max((step["hold"] or 0 for step in values.get("cutover_steps") or [] if step), default=0)
    if limit is not None and min(limit, longest) > MOST_LOOKS * each:
        problems.append(
            f"cutover_run_limit is {limit} s, and a run that looks at a hold each {each:g} s, as its guard needs it, "
            f"has an end after {MOST_LOOKS * each:g} s; no more than that, or a longer cutover_guard.time, is needed"
        )


def _check_freeze(values: Mapping[str, Any], problems: _Problems) -> None:
    freeze = values.get("cutover_freeze") or {}
    held = [step["hold"] for step in values.get("cutover_steps") or [] if step and step["hold"]]
    if freeze.get("until") == "switch" and held and _writers(freeze):
        problems.append(
            f"cutover_freeze.until is switch, and a step of cutover_steps is held for {held[0]} s: writers would be "
            "held as long; until: snapshot, or steps without a hold, is needed"
        )
    for index, queue in enumerate((values.get("cutover_queues") or {}).get("queues") or []):
        if queue and queue["provider"] == "redis_list" and "processing" not in queue:
            problems.append(
                f"cutover_queues.queues[{index}].processing is missing; the keys with what workers are at are needed, "
                "or [] where they leave no trace of it"
            )


def _check_hooks(values: Mapping[str, Any], problems: _Problems) -> None:
    for name, hook in (values.get("cutover_hooks") or {}).items():
        if hook and (hook["tasks"] is None) == (hook["url"] is None):
            problems.append(f"cutover_hooks.{name} needs exactly one of tasks and url")
    for criterion in (values.get("cutover_gate") or {}).get("criteria") or []:
        action = (criterion or {}).get("action")
        if action in holding.GOES_ON and not (values.get("cutover_hooks") or {}).get(action):
            problems.append(f"cutover_hooks.{action} is missing; the criterion {criterion.get('name')!r} asks for it")


_RULES: tuple[Callable[[Mapping[str, Any], _Problems], None], ...] = (
    _check_colours,
    _check_cluster,
    _check_steps,
    _check_probes,
    _check_cases,
    _check_sticky,
    _check_endpoints,
    _check_state,
    _check_guard,
    _check_prometheus,
    _check_gate,
    _check_metrics,
    _check_finalize,
    _check_looks,
    _check_freeze,
    _check_hooks,
)


def _addresses(
    routers: Sequence[str],
    applications: Sequence[str],
    hosts: Mapping[str, Mapping[str, Any]],
    problems: _Problems,
) -> dict[str, str]:
    """How the router reaches each application host."""
    spec = _text("", r"[A-Za-z0-9_.:-]+", "a host name or an address")
    addresses = {}
    for host in applications:
        given = hosts.get(host, {}).get("cutover_address")
        address = LOCAL if host in routers else host
        if given is not None:
            address = _read(spec, given, f"cutover_address of {host}", problems)
        addresses[host] = address
    for address, count in Counter(addresses.values()).items():
        if address and count > 1:
            twice = ", ".join(host for host in applications if addresses[host] == address)
            problems.append(
                f"{twice} are all reached at {address}, so the same port is there twice; set cutover_address"
            )
    return addresses


def _check_hosts(values: Mapping[str, Any], router: str, addresses: Mapping[str, str], problems: _Problems) -> None:
    """A router beside the application takes a port of the same host, unless a colour is the entry itself."""
    if router not in addresses or values["cutover_router"]["provider"] in ENTRIES:
        return
    front = urlsplit(values["cutover_front"])
    taken = values["cutover_router"].get("port") or front.port or (443 if front.scheme == "https" else 80)
    for colour, its in values["cutover_colours"].items():
        if its["port"] == taken:
            problems.append(
                f"cutover_colours.{colour}.port is {taken}, which the router listens on at the same host {router}; "
                "another port is needed"
            )


def _assemble(values: dict[str, Any], router: str, addresses: Mapping[str, str], batches: int) -> dict[str, Any]:
    service = values["cutover_service"]
    candidate = values["cutover_to"]
    cluster = _given(values["cutover_cluster"]) if values["cutover_cluster"] else None
    entry = ENTRIES.get(values["cutover_router"]["provider"])
    colours = {
        colour: _in_cluster(its) if cluster else _on_hosts(its, list(addresses.values()), values)
        for colour, its in values["cutover_colours"].items()
    }
    return {
        "service": service,
        "from": "blue" if candidate == "green" else "green",
        "to": candidate,
        "state_dir": values["cutover_state_dir"],
        "front": values["cutover_front"],
        "cluster": cluster,
        # In a cluster nothing of the service is on a host; what it brings to test it runs where the cluster is asked.
        "hosts": {"router": router, "app": list(addresses), "tests": list(addresses) or [router]},
        "one_host": list(addresses) == [router]
        and values["cutover_steps"] == [{"share": 100, "settle": 0, "hold": 0}]
        and entry is None,
        "router": _fill(
            {
                **({"endpoints": colours[entry]["urls"]} if entry else {}),
                **(cluster or {}),
                **(_scaled(values) if _is_scaled(values) else {}),
                **values["cutover_router"],
            },
            service,
        ),
        "entry": entry,
        "colours": colours,
        "units": [{"colour": colour, **_given(its)} for colour, its in values["cutover_colours"].items()],
        "health": values["cutover_health"],
        "probes": values["cutover_probes"],
        "cases": values["cutover_cases"],
        "verify": values["cutover_verify"],
        "steps": [
            {**step, "weight": step["share"] if side(candidate) else 100 - step["share"]}
            for step in values["cutover_steps"]
        ],
        # In a cluster nobody knows how many there are before they are asked for: as many as the other colour has.
        "min_ready": values["cutover_min_ready"] or len(addresses) or None,
        "tests": values["cutover_tests"],
        "lease": {
            "ttl": _longest_stretch(values, len(addresses) or 1, batches) + MARGIN,
            "wait": values["cutover_lease_wait"],
        },
        "guard": _guard(values),
        "prometheus": _given(values["cutover_prometheus"] or {}),
        "gate": _given(values["cutover_gate"]) if values["cutover_gate"] else None,
        "run_limit": values["cutover_run_limit"],
        "back": values["cutover_back"],
        "back_steps": _back_steps(values),
        "rehearsal": values["cutover_rehearsal"],
        "freeze": _freeze(values["cutover_freeze"], router),
        "queues": {"host": router, **_given(values["cutover_queues"])} if values["cutover_queues"] else None,
        "metrics": _metrics(values["cutover_metrics"], service),
        "performance": values["cutover_performance"],
        "success": values["cutover_success"],
        "finalize": values["cutover_finalize"],
        # An address or a body may hold a secret, and modules print the plan: these stay where the inventory has them.
        "hooks": {
            name: {"tasks": hook["tasks"]} if hook["tasks"] else {"method": hook["method"]}
            for name, hook in values["cutover_hooks"].items()
            if hook
        },
        "reason": values["cutover_reason"],
        "accept_reality": values["cutover_accept_reality"],
        "accept_unproven": values["cutover_accept_unproven"],
        "accept_unverified": values["cutover_accept_unverified"],
        "state": values["cutover_state"],
        "restore_order": sorted(values["cutover_state"], key=lambda part: _RESTORED.get(part["engine"], 0)),
        "artifacts": {**_given(values["cutover_artifacts"]), "destination": _destination(values)},
    }


def _destination(values: Mapping[str, Any]) -> str:
    """The folder of the artifacts; empty where the value is wrong. Environments of one service may share a host: they
    are told apart by the namespace, as their journals are.
    """
    given = (values.get("cutover_artifacts") or {}).get("destination") or ""
    namespace = (values.get("cutover_cluster") or {}).get("namespace")
    return f"{given.rstrip('/')}/{namespace}" if given and namespace else given


def _back_steps(values: Mapping[str, Any]) -> dict[str, Any]:
    """A progressive way back; ``time`` is what a step of it may take.

    Each is watched for ``settle`` seconds by ``criteria``, over a ``window`` of two samples at least. What asks for
    less than to go back at once is not among them: it is known already, and would hurry each time.
    """
    its, scrape = values["cutover_back_steps"], (values["cutover_prometheus"] or {}).get("scrape_interval", 0)
    at_once = holding.BACK["immediate"]
    criteria = [
        one for one in (values["cutover_gate"] or {}).get("criteria", ()) if one.get("action", at_once) == at_once
    ]
    return {
        **its,
        "time": _step(values, [its["settle"]]),
        "criteria": criteria,
        "window": max(its["settle"], 2 * scrape),
    }


def _is_scaled(values: Mapping[str, Any]) -> bool:
    """Do numbers of pods make the shares? Then a step waits for pods."""
    return bool((values.get("cutover_router") or {}).get("provider") == "k8s_replicas")


def _scaled(values: Mapping[str, Any]) -> dict[str, Any]:
    """What the router has from other variables: which Deployment it scales, and for how long it waits for pods."""
    return {
        "deployments": {colour: its["deployment"] for colour, its in values["cutover_colours"].items()},
        "keeps": "blue" if values["cutover_to"] == "green" else "green",
        "timeout": values["cutover_health"]["timeout"],
    }


def _following(values: Mapping[str, Any]) -> int:
    """Seconds that a router may take at most until it does what it was told; what is wrong with it counts for none."""
    scaling: int = (_is_scaled(values) and (values.get("cutover_health") or {}).get("timeout")) or 0
    return scaling + math.ceil(SETTLE.get(str((values.get("cutover_router") or {}).get("provider")), 0))


def _step(values: Mapping[str, Any], settles: Iterable[int]) -> int:
    """Seconds of the longest step, there or back, at most, but for its hold."""
    return _following(values) + max(settles) + _budget(values["cutover_verify"])


def _settles(values: Mapping[str, Any]) -> list[int]:
    return [step["settle"] for step in values["cutover_steps"]]


def _in_cluster(colour: Mapping[str, Any]) -> dict[str, Any]:
    """A colour whose instances are pods: they come and go, and only the cluster knows them."""
    return {"deployment": colour["deployment"], "instances": [], "urls": [colour["url"]] if colour["url"] else []}


def _on_hosts(colour: Mapping[str, Any], addresses: Sequence[str], values: Mapping[str, Any]) -> dict[str, Any]:
    its = _given(colour)
    return {
        **its,
        "instances": [{"host": address, "port": its["port"]} for address in addresses],
        "urls": [f"http://{_bracket(address)}:{its['port']}" for address in addresses],
        **_life(its, values["cutover_health"], values["cutover_drain"]),
    }


def _life(colour: Mapping[str, Any], health: Mapping[str, Any], drain: Mapping[str, Any]) -> dict[str, Any]:
    """The sections ``start`` and ``stop`` of the module systemd_switch, for one colour."""
    here = f"http://{LOCAL}:{colour['port']}"
    start = {
        "unit": colour["unit"],
        "ready": here + health["ready"],
        "live": here + health["live"],
        "timeout": health["timeout"],
        "resume_signal": drain["resume_signal"],
    }
    stop = {
        "unit": colour["unit"],
        "port": colour["port"],
        "timeout": drain["timeout"],
        "on_timeout": drain["on_timeout"],
        "signal": drain["signal"],
        "in_flight_url": here + drain["in_flight"] if drain["in_flight"] else None,
    }
    return {"start": _given(start), "stop": _given(stop)}


def _guard(values: Mapping[str, Any]) -> dict[str, Any]:
    """Its time covers all from one renewal to the next, which is a step."""
    given = values["cutover_guard"]
    return {
        **_given(given),
        "time": given["time"] or _step(values, _settles(values)) + GUARD_MARGIN,
        "triggers": [_given(trigger) for trigger in given["triggers"]],
        "prometheus": _given(values["cutover_prometheus"] or {}),
    }


def _freeze(given: Mapping[str, Any], router: str) -> dict[str, Any]:
    return {"host": router, **_given(given), "writers": _writers(given)}


def _writers(freeze: Mapping[str, Any]) -> list[str]:
    return [name for name in ("pgbouncer", "read_only") if freeze.get(name)]


def _metrics(given: Mapping[str, Any] | None, service: str) -> dict[str, Any] | None:
    """The selectors of each colour's series, the name of its alert rules, and the dashboard's title."""
    if given is None:
        return None
    its = _fill(given, service)
    made: dict[str, Any] = {"title": its["title"], "group": f"bluegreen-cutover-{service}"}
    for colour in ("blue", "green"):
        of = its["selector"].replace("{colour}", colour)
        made[colour] = {
            "up": f"up{{{of}}}",
            "requests": _select(its["requests"], of),
            "bad": _select(its["requests"], of, its["bad"]),
            "latency": _select(its["latency"], of, suffix="_bucket"),
            "errors": _select(its["errors"], of),
        }
    return made


def _select(metric: str, *matchers: str, suffix: str = "") -> str:
    """A selector: ``metric``, which may have matchers already, with more of them."""
    name, _brace, own = metric.rstrip("}").partition("{")
    return f"{name}{suffix}{{{','.join(filter(None, (*matchers, own)))}}}"


def _fill(value: Any, service: str) -> Any:
    if isinstance(value, dict):
        return {name: _fill(inner, service) for name, inner in value.items()}
    return value.replace("{service}", service) if isinstance(value, str) else value


def _bracket(address: str) -> str:
    """An IPv6 address as URLs have it."""
    return f"[{address}]" if ":" in address else address


def _budget(probes: Sequence[Mapping[str, Any]], bases: int = 1) -> int:
    """Seconds that asking all of them at ``bases`` places may take; a request ends after twice its budget."""
    return math.ceil(2 * sum(int(probe["budget_ms"]) for probe in probes) * math.ceil(bases / AT_ONCE) / 1000)


def _longest_stretch(values: Mapping[str, Any], hosts: int, batches: int) -> int:
    """Seconds between two records at most: the lease is renewed by each, and must not end in between.

    What is done on each of the ``hosts`` is done in so many ``batches``, one after the other. In a cluster the
    candidate is asked at its one address.
    """
    queues, freeze = values["cutover_queues"], values["cutover_freeze"]
    stretches: list[int] = [
        # Each part is recorded.
        max((part["timeout"] for part in values["cutover_state"]), default=0),
        (math.ceil(queues["timeout"]) if queues else 0) + (freeze["wait"] if _writers(freeze) else 0),
        # Before data is restored both versions are stopped, without being drained.
        2 * batches * (1 + STOP) if values["cutover_state"] else 0,
        # All are read in one hold.
        sum(min(part["timeout"], freeze["limit"]) for part in values["cutover_state"]) if _writers(freeze) else 0,
        batches * values["cutover_health"]["timeout"],
        batches * sum(test["timeout"] for test in values["cutover_tests"])
        + _budget(values["cutover_probes"], hosts)
        + sum(_budget([rule], hosts * len(rule["cases"])) for rule in values["cutover_cases"] or [])
        + (comparison.TIME if values["cutover_performance"] else 0)
        # What waits for metrics does so for five scrapes and 5 s.
        + (5 * values["cutover_prometheus"]["scrape_interval"] + 5 if values["cutover_metrics"] else 0),
        _step(values, [*_settles(values), values["cutover_back_steps"]["settle"]]),
        # Nothing is recorded between the last step's weight and the end of the draining.
        values["cutover_steps"][-1]["settle"]
        + _budget(values["cutover_verify"])
        + batches * (values["cutover_drain"]["timeout"] + STOP),
    ]
    return max(stretches)
