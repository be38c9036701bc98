# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report of what there is, as a page in Markdown.

It has no date: made twice of the same it is the same, so that it can be kept in git and compared.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any


def page(application: str, report: Mapping[str, Any]) -> str:
    """The page of what ``discovery.report`` has found."""
    lines = [f"# What there is: {_escaped(application)}", "", "Read from the cluster, which was not written to.", ""]
    lines += _overview(report["environments"])
    lines += _sentences("The inventory cannot be meant", [_escaped(one) for one in report["problems"]])
    for title, name in (("Would be refused", "refused"), ("To put right before a switch", "risks")):
        told = [
            f"**{_escaped(which)}**: {_escaped(one)}"
            for which, its in report["environments"].items()
            for one in its[name]
        ]
        lines += _sentences(title, told)
    lines += _differences(report)
    for name, its in report["environments"].items():
        lines += _environment(name, its)
    return "\n".join(lines).rstrip("\n") + "\n"


def _overview(environments: Mapping[str, Any]) -> Iterator[str]:
    def place(its: Mapping[str, Any]) -> str:
        return its["namespace"] if its["exists"] else f"{its['namespace']} (not there)"

    rows = [
        (
            name,
            place(one["source"]),
            place(one["target"]),
            one["database"],
            one["redis_prefix"],
            len(one["source"].get("workloads", ())),
            len(one["refused"]),
            len(one["risks"]),
        )
        for name, one in environments.items()
    ]
    heads = (
        "environment",
        "comes from",
        "comes to",
        "database",
        "Redis prefix",
        "workloads",
        "refused",
        "to put right",
    )
    yield from _table(heads, rows)


def _differences(report: Mapping[str, Any]) -> Iterator[str]:
    compared = [name for name, one in report["environments"].items() if one["source"]["exists"]]
    if len(compared) < 2:
        return
    yield from ("## How the environments differ", "")
    if not report["differences"]:
        yield from ("They do not.", "")
    rows = [(one["what"], *(one["values"][name] for name in compared)) for one in report["differences"]]
    yield from _table(("", *compared), rows)


def _environment(name: str, its: Mapping[str, Any]) -> Iterator[str]:
    yield from (f"## {_escaped(name)}", "")
    for which in ("source", "target"):
        yield from _namespace(its[which])
    if its["left"]:
        yield from (f"Not brought from {its['source']['namespace']}:", "")
        yield from _table(("object", "why"), [(one["object"], one["why"]) for one in its["left"]])


def _namespace(its: Mapping[str, Any]) -> Iterator[str]:
    yield from (f"### {_escaped(its['namespace'])}", "")
    if not its["exists"]:
        yield from ("It is not there.", "")
        return
    heads = ("workload", "pods", "container", "image", "requests", "limits", "probes")
    yield from _table(heads, [row for one in its["workloads"] for row in _workload(one)])
    for one in its["workloads"]:
        for sentence in one["unfinished"]:
            yield from (f"- {_escaped(sentence)}", "")
    scalers = [
        (one["name"], one["scales"], f"{one['least']} to {one['most']}", ", ".join(one["metrics"]))
        for one in its["autoscalers"]
    ]
    yield from _table(("autoscaler", "scales", "pods", "by"), scalers)
    services = [
        (one["name"], one["type"], ", ".join(one["ports"]), _pairs(one["selector"], "="), ", ".join(one["selects"]))
        for one in its["services"]
    ]
    yield from _table(("Service", "type", "ports", "selector", "selects"), services)
    routes = [
        (f"{one['kind']} {one['name']}", ", ".join(one["hosts"]), ", ".join(one["backends"])) for one in its["routes"]
    ]
    yield from _table(("route", "hosts", "to"), routes)
    volumes = [(f"{one['kind']} {one['name']}", volume) for one in its["workloads"] for volume in one["volumes"]]
    yield from _table(("of", "volume"), volumes)
    yield from _table(("claim", "size", "class"), [(one["name"], one["size"], one["class"]) for one in its["claims"]])
    quotas = [(one["name"], _pairs(one["hard"]), _pairs(one["used"])) for one in its["quotas"]]
    yield from _table(("quota", "allows", "used"), quotas)
    yield from _names("ConfigMaps", its["config_maps"])
    if "secrets" in its["unread"]:
        yield from ("Secrets: these credentials may not list them, so none is known to be there.", "")
    yield from _names("Secrets, by name only", its["secrets"])


def _workload(one: Mapping[str, Any]) -> Iterator[Sequence[Any]]:
    first = (f"{one['kind']} {one['name']}", f"{one['ready']} of {one['replicas']} ready")
    for container in one["containers"]:
        yield (
            *first,
            container["name"],
            container["image"],
            _pairs(container["requests"]),
            _pairs(container["limits"]),
            ", ".join(container["probes"]),
        )
        first = ("", "")


def _names(title: str, names: Sequence[str]) -> Iterator[str]:
    if names:
        yield from (f"{title}: {', '.join(map(_escaped, names))}", "")


def _sentences(title: str, told: Sequence[str]) -> Iterator[str]:
    if told:
        yield from (f"## {title}", "", *(f"- {one}" for one in told), "")


def _table(heads: Sequence[str], rows: Iterable[Sequence[Any]]) -> Iterator[str]:
    """Nothing where there is no row."""
    body = [f"| {' | '.join(_escaped(str(cell)) or '-' for cell in row)} |" for row in rows]
    if body:
        yield from (f"| {' | '.join(heads)} |", "|" + "---|" * len(heads), *body, "")


def _pairs(mapping: Mapping[str, str], between: str = " ") -> str:
    return ", ".join(f"{name}{between}{text}" for name, text in sorted(mapping.items()))


def _escaped(text: str) -> str:
    return re.sub(r"([\\|*<`])", r"\\\1", " ".join(text.split()))
