# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Green's share as objects of Kubernetes hold it."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.bluegreen.cutover.plugins.module_utils._core import shares
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import RouterError

SERVICES = {"blue": "web-v1", "green": "web-v2"}
CANARY = "nginx.ingress.kubernetes.io/canary"


def backend(name: str, weight: int | None = None) -> dict[str, Any]:
    return {"name": name, "port": 80, **({} if weight is None else {"weight": weight})}


def route(*rules: list[dict[str, Any]], generation: int = 2, parents: Any = None) -> dict[str, Any]:
    return {
        "kind": "HTTPRoute",
        "metadata": {"name": "web", "uid": "u", "generation": generation},
        "spec": {"rules": [{"backendRefs": rule} for rule in rules]},
        **({} if parents is None else {"status": {"parents": parents}}),
    }


def rule(blue: int | None, green: int | None) -> list[dict[str, Any]]:
    return [backend("web-v1", blue), backend("web-v2", green)]


@pytest.mark.parametrize(
    ("rules", "weight"),
    [
        ([rule(100, 0)], 0),
        ([rule(0, 100)], 100),
        ([rule(3, 1)], 25),
        ([rule(None, None)], 50),
        ([rule(75, 25), rule(3, 1), [backend("other")]], 25),
    ],
)
def test_a_route_says_what_green_gets(rules: Any, weight: int) -> None:
    assert shares.of_route(route(*rules), SERVICES) == weight


@pytest.mark.parametrize(
    ("rules", "told"),
    [
        ([], "none of its rules has web-v1 or web-v2"),
        ([[backend("other")]], "none of its rules"),
        ([[backend("web-v1", 100)]], r"rule 0 does not have web-v2 \(green\) once"),
        ([[*rule(50, 50), backend("web-v2", 1)]], r"does not have web-v2 \(green\) once"),
        ([[*rule(50, 50), backend("other", 1)]], "sends requests to others, too"),
        ([rule(0, 0)], "has no weight above 0"),
        ([rule(2, 1)], "green 1 of 3, which is no whole percentage"),
        ([rule(100, 0), rule(50, 50)], "its rules do not agree: 0 %, 50 %"),
    ],
)
def test_a_route_that_is_not_clear_is_an_error(rules: Any, told: str) -> None:
    with pytest.raises(RouterError, match=told):
        shares.of_route(route(*rules), SERVICES)


def test_a_backend_at_0_beside_both_does_no_harm() -> None:
    assert shares.of_route(route([*rule(50, 50), backend("other", 0)]), SERVICES) == 50


def test_all_rules_are_changed_if_they_are_still_the_same() -> None:
    before = route(rule(100, 0), [backend("other")], rule(100, 0))
    operations = shares.to_route(before, SERVICES, 25)
    assert operations[:2] == [
        {"op": "test", "path": "/metadata/uid", "value": "u"},
        {"op": "test", "path": "/spec/rules", "value": before["spec"]["rules"]},
    ]
    assert [(one["path"], one["value"]) for one in operations[2:]] == [
        ("/spec/rules/0/backendRefs/0/weight", 75),
        ("/spec/rules/0/backendRefs/1/weight", 25),
        ("/spec/rules/2/backendRefs/0/weight", 75),
        ("/spec/rules/2/backendRefs/1/weight", 25),
    ]


def parent(accepted: str = "True", resolved: str = "True", generation: int = 2) -> dict[str, Any]:
    kinds = (("Accepted", accepted), ("ResolvedRefs", resolved))
    conditions = [
        {"type": kind, "status": status, "reason": "Because", "observedGeneration": generation}
        for kind, status in kinds
    ]
    return {"parentRef": {"name": "front"}, "conditions": conditions}


@pytest.mark.parametrize(
    ("parents", "told"),
    [
        (None, "no Gateway has taken the route"),
        ([], "no Gateway has taken the route"),
        ([parent(generation=1)], "front has not seen the last change"),
        ([{"parentRef": {"name": "front"}}], "front has not seen"),
        ([parent(), parent(resolved="False")], "front does not take it: Because"),
        ([parent(), parent()], ""),
    ],
)
def test_a_route_counts_when_every_gateway_has_taken_it(parents: Any, told: str) -> None:
    assert told in shares.route_problem(route(rule(100, 0), parents=parents))
    assert bool(shares.route_problem(route(rule(100, 0), parents=parents))) == bool(told)


def ingress(name: str, *places: str, **annotations: str) -> dict[str, Any]:
    hosts = [place.partition("/") for place in places or ("shop.example/",)]
    backend = {"service": {"name": SERVICES["blue" if name == "web" else "green"], "port": {"number": 80}}}
    rules = [
        {"host": host, "http": {"paths": [{"path": f"/{path}", "backend": backend}]}} for host, _slash, path in hosts
    ]
    named = {CANARY + key.replace("_", "-"): value for key, value in annotations.items()}
    return {
        "kind": "Ingress",
        "metadata": {"name": name, "uid": "u", "annotations": named},
        "spec": {"rules": rules},
    }


STABLE = ingress("web")


@pytest.mark.parametrize(
    ("annotations", "weight"), [({}, 0), ({"_weight": "25"}, 25), ({"_weight": "100", "_weight_total": "100"}, 100)]
)
def test_a_canary_says_what_green_gets(annotations: dict[str, str], weight: int) -> None:
    canary = ingress("web-green", **annotations)
    canary["metadata"]["annotations"][CANARY] = "true"
    assert shares.of_ingress(canary, STABLE, SERVICES) == weight


@pytest.mark.parametrize(
    ("places", "annotations", "told"),
    [
        ((), {}, "it is no canary"),
        ((), {"": "false", "_weight": "50"}, "it is no canary"),
        ((), {"": "true", "_weight": "half"}, "canary-weight is 'half'"),
        ((), {"": "true", "_weight": "101"}, "is '101'"),
        ((), {"": "true", "_weight_total": "1000"}, "canary-weight-total is 1000"),
        (("other.example/",), {"": "true"}, "other.example/ is not in web"),
    ],
)
def test_a_canary_that_is_not_clear_is_an_error(
    places: tuple[str, ...], annotations: dict[str, str], told: str
) -> None:
    with pytest.raises(RouterError, match=told):
        shares.of_ingress(ingress("web-green", *places, **annotations), STABLE, SERVICES)


def test_a_canary_whose_requests_go_elsewhere_is_an_error() -> None:
    """R-D2, R-D3: what its annotation says is no share of green where its rules, or the stable ones, are others."""
    canary = ingress("web-green", **{"": "true", "_weight": "100"})
    assert shares.of_ingress(canary, ingress("web", "shop.example/", "shop.example/other"), SERVICES) == 100
    blue, green = STABLE["spec"], canary["spec"]
    for ours, theirs, told in (
        (blue, blue, "Ingress web-green .*: shop.example/ goes to web-v1, where web-v2 .green. is needed"),
        (green, green, "Ingress web .*: shop.example/ goes to web-v2, where web-v1 .blue. is needed"),
        ({"defaultBackend": {}}, blue, "none of its rules has a path"),
        ({"rules": [{"host": "shop.example", "http": {"paths": [{"path": "/"}]}}]}, blue, "goes to no Service"),
    ):
        with pytest.raises(RouterError, match=told):
            shares.of_ingress({**canary, "spec": ours}, {**STABLE, "spec": theirs}, SERVICES)


def test_a_canary_is_changed_if_nobody_else_has() -> None:
    canary = ingress("web-green", _weight="10")
    assert shares.to_ingress(canary, 25)[1:] == [
        {"op": "test", "path": "/metadata/annotations", "value": {f"{CANARY}-weight": "10"}},
        {"op": "test", "path": "/spec/rules", "value": canary["spec"]["rules"]},
        {"op": "add", "path": "/metadata/annotations/nginx.ingress.kubernetes.io~1canary-weight", "value": "25"},
    ]


def test_a_config_map_has_the_weight_in_its_key() -> None:
    config = {"kind": "ConfigMap", "metadata": {"name": "flags", "uid": "u"}, "data": {"SHARE": "25"}}
    assert shares.of_config(config, "SHARE") == 25
    assert shares.to_config(config, "SHARE", 50)[1:] == [
        {"op": "test", "path": "/data/SHARE", "value": "25"},
        {"op": "replace", "path": "/data/SHARE", "value": "50"},
    ]
    with pytest.raises(RouterError, match="ConfigMap flags .* it has no key OTHER"):
        shares.of_config(config, "OTHER")
    with pytest.raises(RouterError, match="its key SHARE is '٢'"):
        shares.of_config({**config, "data": {"SHARE": "٢"}}, "SHARE")


@pytest.mark.parametrize(
    ("blue", "green", "weight"),
    [(3, 0, 0), (0, 3, 100), (0, 0, 0), (3, 1, 25), (3, 5, 63), (5, 3, 38), (400, 1, 1), (1, 400, 99), (2, 1, 33)],
)
def test_numbers_of_pods_make_a_share(blue: int, green: int, weight: int) -> None:
    """R-D2: to the whole percent; none and all are only where a colour has no pods."""
    assert shares.of_pods(blue, green) == weight


@pytest.mark.parametrize("keeps", ["blue", "green"])
@pytest.mark.parametrize(
    ("share", "kept", "number"),
    [(25, 3, 1), (40, 3, 2), (50, 3, 3), (57, 3, 4), (75, 3, 9), (33, 2, 1), (33, 200, 99), (1, 300, 3),
     (10, 3, None), (5, 3, None), (45, 3, None), (99, 1, 99), (50, 0, None)],
)  # fmt: skip
def test_a_share_is_so_many_pods_or_none(keeps: str, share: int, kept: int, number: int | None) -> None:
    weight = share if keeps == "blue" else 100 - share
    assert shares.pods_for(weight, kept, keeps) == number


@pytest.mark.parametrize("kept", [1, 2, 3, 7, 30, 99, 250])
def test_what_can_be_had_can_be_made(kept: int) -> None:
    for keeps in ("blue", "green"):
        found = shares.had_by_pods(kept, keeps)
        assert found == sorted(set(found))
        weights = [share if keeps == "blue" else 100 - share for share in found]
        assert None not in [shares.pods_for(weight, kept, keeps) for weight in weights]
    assert shares.had_by_pods(3, "blue")[:5] == [25, 40, 50, 57, 63]
