# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report of a migration as one page of HTML that needs nothing else: no script, no style and no picture of others.

Names and messages come from inventories, journals and Prometheus: each is escaped where it is written.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ansible_collections.bluegreen.cutover.plugins.module_utils._core import holding
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.artifact import moment
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.report import change, number

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2em auto; max-width: 62em; padding: 0 1em; color: #1b1f24 }
h1 { margin-bottom: 0 }
h2 { margin-top: 1.8em; border-bottom: 1px solid #d0d7de }
table { border-collapse: collapse; width: 100% }
th, td { text-align: left; padding: .3em .8em .3em 0; vertical-align: top; border-bottom: 1px solid #eaeef2 }
.quiet { color: #57606a }
.does { font-size: 1.2em; padding: .6em 1em; background: #f6f8fa; border-left: 6px solid #57606a }
.advance { border-color: #1a7f37 }
.hold { border-color: #9a6700 }
.back { border-color: #cf222e }
svg { max-width: 100% }
svg text { font: 12px system-ui, sans-serif; fill: #57606a }
svg text.sign { fill: #fff; text-anchor: middle }
"""
_MARKS = {
    "pass": ("✓", "#1a7f37"),
    "fail": ("✗", "#cf222e"),
    "inconclusive": ("?", "#9a6700"),
    "open": ("·", "#57606a"),
    "accepted": ("!", "#9a6700"),
    "guard": ("✗", "#cf222e"),
    "failed": ("✗", "#cf222e"),
}
"""Of each verdict: by its sign as well, for who cannot tell the colours."""
_CLASSES = {"advance": "advance", "hold": "hold", "roll back": "back"}
_WIDTH, _HEIGHT, _LEFT, _TOP = 760, 220, 44, 18
"""Of the picture of the share, and its margins, in pixels."""
_BAR, _LONGEST = 14, 420
_NAMES = {
    "availability": "availability",
    "time_to_recover": "time to recover",
    "deployment_frequency": "deployment frequency",
    "change_failure_rate": "change failure rate",
}


def page(report: Mapping[str, Any]) -> str:
    """The page of a report as ``Report.make`` gives it."""
    service, recorded = _escaped(report["service"]), report["indicators"] is not None
    lines = [
        "<!DOCTYPE html>",
        '<html lang="en"><head><meta charset="utf-8">',
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">",
        '<meta name="viewport" content="width=device-width">',
        f"<title>{service}: migration</title><style>{_STYLE}</style></head><body>",
        f'<h1>{service}</h1><p class="quiet">{moment(report["made"])}</p>',
        *_recommendation(report["recommendation"]),
        *_list("Not as it is recorded", report["differences"]),
        *(_way(report["migration"], report["made"]) if recorded else ["<p>What is recorded cannot be read.</p>"]),
        *_figures(report["figures"], report["seconds"]),
        *_gate(report["gate"]),
        *_success(report["success"]),
        *(_indicators(report["indicators"]) if recorded else ()),
        "</body></html>",
    ]
    return "\n".join(lines) + "\n"


def _recommendation(does: Mapping[str, Any] | None) -> Iterator[str]:
    if does is None:
        yield '<p class="does">No migration is open, so there is nothing to decide.</p>'
        return
    what = does["do"]
    yield f'<p class="does {_CLASSES[what]}"><strong>{_escaped(what)}</strong>: {_escaped(does["sentence"])}</p>'


def _way(moved: Mapping[str, Any] | None, made: float) -> Iterator[str]:
    if moved is None:
        yield "<p>It was never migrated.</p>"
        return
    share = "an unknown share" if moved["share"] is None else f"{moved['share']} %"
    kind = "rehearsal" if moved["rehearsal"] else "migration"
    yield "<h2>Share of the traffic</h2>"
    yield (
        f"<p>{_escaped(moved['to'])} has <strong>{share}</strong>; the {kind} {_escaped(moved['id'])} from "
        f"{_escaped(moved['from'])} is {_escaped(moved['phase'].replace('_', ' '))}.</p>"
    )
    closed = moved["phase"] in ("finished", "rolled_back")
    yield _picture_of_shares(moved, moved["last"] if closed else made)
    rows = [(one["at"], f"{one['share']} %", "") for one in moved["path"]]
    rows += [(one["at"], one["verdict"], one["told"]) for one in moved["marks"]]
    yield from _table(("when", "what", ""), [(moment(at), *rest) for at, *rest in sorted(rows, key=lambda row: row[0])])


def _picture_of_shares(moved: Mapping[str, Any], end: float) -> str:
    """The candidate's share over time, with a sign for each verdict."""
    begin = float(moved["began"])
    span = max(1.0, end - begin)

    def x(at: float) -> float:
        return round(_LEFT + (min(max(at, begin), end) - begin) / span * (_WIDTH - _LEFT - 20), 1)

    def y(share: float) -> float:
        return round(_TOP + (100 - share) / 100 * (_HEIGHT - 2 * _TOP - 10), 1)

    drawn = [f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="Share of the candidate over time">']
    for share in (0, 25, 50, 75, 100):
        drawn.append(
            f'<line x1="{_LEFT}" x2="{_WIDTH - 20}" y1="{y(share)}" y2="{y(share)}" stroke="#eaeef2"/>'
            f'<text x="{_LEFT - 6}" y="{y(share) + 4}" text-anchor="end">{share} %</text>'
        )
    points, before = [], None
    for one in moved["path"]:
        if before is not None:
            points.append(f"{x(one['at'])},{y(before)}")
        points.append(f"{x(one['at'])},{y(one['share'])}")
        before = one["share"]
    if before is not None:
        points.append(f"{x(end)},{y(before)}")
    drawn.append(f'<polyline points="{" ".join(points)}" fill="none" stroke="#0969da" stroke-width="2"/>')
    for one in (mark for mark in moved["marks"] if mark["share"] is not None):
        sign, colour = _MARKS[one["verdict"]]
        told = f"{moment(one['at'])}: {one['verdict']}" + (f", {one['told']}" if one["told"] else "")
        across, down = x(one["at"]), y(one["share"])
        drawn.append(
            f'<g><title>{_escaped(told)}</title><circle cx="{across}" cy="{down}" r="8" fill="{colour}"/>'
            f'<text class="sign" x="{across}" y="{down + 4}">{sign}</text></g>'
        )
    for at, anchor in ((begin, "start"), (end, "end")):
        drawn.append(f'<text x="{x(at)}" y="{_HEIGHT - 4}" text-anchor="{anchor}">{moment(at)}</text>')
    return "".join([*drawn, "</svg>"])


def _figures(figures: Sequence[Mapping[str, Any]], seconds: float) -> Iterator[str]:
    yield "<h2>Candidate against baseline</h2>"
    if not figures:
        yield "<p>Not measured: the inventory has no cutover_gate.</p>"
        return
    yield f'<p class="quiet">Of the last {holding.span(seconds)}, by the criteria of cutover_gate.</p>'
    rows = []
    for one in figures:
        values = [_value(one, which) for which in ("candidate", "baseline")]
        gate = ", ".join(filter(None, (one["status"], one["message"])))
        rows.append((one["name"], *values, change(one) or "-", one["limit"], gate))
    yield from _table(("", "candidate", "baseline", "change", "limit", "the gate, in this hold"), rows)
    for one in figures:
        if one["candidate"] is not None and one["baseline"] is not None:
            yield _picture_of_bars(one)


def _value(one: Mapping[str, Any], which: str) -> str:
    if one[which] is not None:
        return number(one[which], str(one["unit"]))
    return f"not measured: {one['missing'][which]}" if which in one["missing"] else "-"


def _picture_of_bars(one: Mapping[str, Any]) -> str:
    """Two bars, as long as their numbers are large; a number below zero has none."""
    longest = max(one["candidate"], one["baseline"], 0.0) or 1.0
    drawn = [f'<p>{_escaped(one["name"])}<br><svg width="{_WIDTH}" height="48" viewBox="0 0 {_WIDTH} 48" role="img">']
    for row, (which, colour) in enumerate((("candidate", "#0969da"), ("baseline", "#8c959f"))):
        length = round(max(0.0, one[which]) / longest * _LONGEST, 1)
        top = 4 + row * 22
        drawn.append(
            f'<text x="0" y="{top + 12}">{which}</text>'
            f'<rect x="80" y="{top}" width="{length}" height="{_BAR}" fill="{colour}"/>'
            f'<text x="{86 + length}" y="{top + 12}">{_escaped(number(one[which], one["unit"]))}</text>'
        )
    return "".join([*drawn, "</svg></p>"])


def _gate(gate: Mapping[str, Any] | None) -> Iterator[str]:
    if gate is None:
        return
    yield "<h2>The gate of this hold</h2>"
    seen = "" if gate["covered"] is None else f", with data for {holding.span(gate['covered'])} of the hold"
    why = f": {_escaped(gate['message'])}" if gate["message"] else ""
    yield f"<p>It says <strong>{_escaped(gate['verdict'])}</strong>{why}{seen}.</p>"


def _success(findings: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    words = {True: "passed", False: "failed", None: "unknown"}
    rows = [(one["name"], words[one["passed"]], one["seen"]) for one in findings]
    if rows:
        yield "<h2>What was measured at the end</h2>"
        yield from _table(("", "", "seen"), rows)


def _indicators(found: Mapping[str, Any]) -> Iterator[str]:
    yield "<h2>Over time</h2>"
    yield from _table(("", ""), [(title, found["all"][name]["seen"]) for name, title in _NAMES.items()])
    rows = [(one["month"], *(one[name]["seen"] for name in _NAMES)) for one in found["months"]]
    yield from _table(("month", *_NAMES.values()), rows)


def _list(title: str, told: Sequence[str]) -> Iterator[str]:
    if told:
        yield f"<h2>{_escaped(title)}</h2><ul>{''.join(f'<li>{_escaped(one)}</li>' for one in told)}</ul>"


def _table(heads: Sequence[str], rows: Iterable[Sequence[Any]]) -> Iterator[str]:
    """Nothing where there is no row."""
    body = ["<tr>" + "".join(f"<td>{_escaped(cell)}</td>" for cell in row) + "</tr>" for row in rows]
    if body:
        head = "".join(f"<th>{_escaped(one)}</th>" for one in heads)
        yield "\n".join(["<table>", f"<tr>{head}</tr>", *body, "</table>"])


def _escaped(text: object) -> str:
    return html.escape(str(text))
