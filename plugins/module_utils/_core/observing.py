# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is watched of a migration (R-A4): alert rules for Prometheus and a dashboard for Grafana, made from the plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_WIDTH = 12
_HEIGHT = 8
_COLOURS = ("blue", "green")
_WINDOW = "1m"


def group(service: str) -> str:
    """The name of the service's rules."""
    return f"bluegreen-cutover-{service}"


def alert_rules(plan: Mapping[str, Any]) -> dict[str, Any]:
    """A rule file for Prometheus, of plain JSON types (JSON is YAML).

    The candidate is stopped before a migration and after a way back, and its target is then down on purpose: what
    alerts is that it goes down, for a quarter of an hour, and that nobody serves, always.
    """
    new, old = plan["metrics"][plan["to"]], plan["metrics"][plan["from"]]
    service, candidate = plan["service"], plan["to"]
    rules = [
        _rule("MigrationErrors", f"{new['errors']} > 0", "critical", f"{service}: {candidate} has migration errors"),
        _rule(
            "MigrationCandidateDown",
            f"{new['up']} == 0 and max_over_time({new['up']}[15m]) == 1",
            "critical",
            f"{service}: {candidate} has gone down",
        ),
        _rule(
            "MigrationServiceDown",
            f"sum({new['up']} or {old['up']}) == 0",
            "critical",
            f"{service}: neither colour is up",
        ),
        _rule(
            "MigrationNotWatched",
            f"absent({new['up']})",
            "warning",
            f"{service}: Prometheus does not scrape {candidate}",
            after="5m",
        ),
    ]
    for rule in rules:
        rule["labels"].update(service=service, colour=candidate)
    return {"groups": [{"name": group(service), "rules": rules}]}


def dashboard(plan: Mapping[str, Any]) -> dict[str, Any]:
    """A dashboard for Grafana 9 or newer, of plain JSON types; its data source is a variable."""
    metrics, service = plan["metrics"], plan["service"]
    new, old = plan["to"], plan["from"]

    mine, theirs = (f"sum(rate({metrics[colour]['requests']}[{_WINDOW}]))" for colour in (new, old))

    def both(expression: str) -> list[tuple[str, str]]:
        return [(colour, expression.format(**metrics[colour])) for colour in _COLOURS]

    panels = [
        _panel("Who is up", both("sum({up})"), "none", minimum=0),
        _panel("Migration errors", both("sum({errors})"), "none", minimum=0),
        _panel("Requests a second", both(f"sum(rate({{requests}}[{_WINDOW}]))"), "reqps", minimum=0),
        _panel(
            f"Share of the requests that {new} gets",
            [(new, f"{mine} / ({mine} + ({theirs} or vector(0)))")],
            "percentunit",
            minimum=0,
        ),
        # `or`: a colour that never failed has no series of failures.
        _panel(
            "Share of requests that fail",
            both(
                f"(sum(rate({{bad}}[{_WINDOW}])) or 0 * sum(rate({{requests}}[{_WINDOW}]))) / "
                f"sum(rate({{requests}}[{_WINDOW}]))"
            ),
            "percentunit",
            minimum=0,
        ),
        _panel(
            "95 % of the requests are faster than",
            both(f"histogram_quantile(0.95, sum by (le) (rate({{latency}}[{_WINDOW}])))"),
            "s",
            minimum=0,
        ),
    ]
    for index, panel in enumerate(panels):
        column, row = index % 2, index // 2
        panel.update(id=index + 1, gridPos={"h": _HEIGHT, "w": _WIDTH, "x": column * _WIDTH, "y": row * _HEIGHT})
    return {
        "uid": group(service)[:40],
        "title": plan["metrics"]["title"],
        "tags": ["bluegreen-cutover", service],
        "schemaVersion": 37,
        "editable": False,
        "refresh": "5s",
        "time": {"from": "now-30m", "to": "now"},
        "templating": {
            "list": [{"name": "source", "label": "Data source", "type": "datasource", "query": "prometheus"}]
        },
        "annotations": {"list": []},
        "panels": panels,
    }


def expressions(board: Mapping[str, Any]) -> list[str]:
    """Every PromQL expression of a dashboard."""
    return [target["expr"] for panel in board["panels"] for target in panel["targets"]]


def _rule(name: str, expression: str, severity: str, summary: str, after: str = "0s") -> dict[str, Any]:
    return {
        "alert": name,
        "expr": expression,
        "for": after,
        "labels": {"severity": severity},
        "annotations": {"summary": summary},
    }


def _panel(title: str, lines: Sequence[tuple[str, str]], unit: str, minimum: float) -> dict[str, Any]:
    source = {"type": "prometheus", "uid": "${source}"}
    return {
        "type": "timeseries",
        "title": title,
        "datasource": source,
        "targets": [
            {"refId": "AB"[index], "datasource": source, "expr": expression, "legendFormat": legend}
            for index, (legend, expression) in enumerate(lines)
        ],
        "fieldConfig": {
            "defaults": {"unit": unit, "min": minimum},
            "overrides": [
                {
                    "matcher": {"id": "byName", "options": legend},
                    "properties": [{"id": "color", "value": {"mode": "fixed", "fixedColor": legend}}],
                }
                for legend, _expression in lines
            ],
        },
    }
