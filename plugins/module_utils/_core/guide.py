# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a person needs in writing: how to go back, made before traffic moves, and what a restore has cost."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.bluegreen.cutover.plugins.module_utils._core.artifact import moment


def rollback_guide(
    plan: Mapping[str, Any], migration: str, artifacts: Mapping[str, Mapping[str, Any]], how: Mapping[str, Any]
) -> str:
    """How the migration is taken back, as Markdown with the names, paths and sizes that it really has.

    ``artifacts`` are by part, as a journal has them. ``how`` has ``inventory``, a list of paths, and ``playbooks``,
    the folder of the playbooks.
    """
    inventory = [word for path in how["inventory"] for word in ("-i", str(path))]
    back = ["ansible-playbook", *inventory, f"{how['playbooks']}/rollback.yml"]
    identity = " -e rollback_identity_file=/path/of/the/private/key"
    key = identity if any(one["encrypted"] for one in artifacts.values()) else ""
    old, service = plan["from"], plan["service"]
    names = {colour: its["deployment" if plan["cluster"] else "unit"] for colour, its in plan["colours"].items()}
    journal = (
        f"the ConfigMap bluegreen-{service} in {plan['cluster']['namespace']}"
        if plan["cluster"]
        else f"{plan['state_dir']}/{service} on {plan['hosts']['router']}"
    )
    lines = [
        f"# Taking {service} back to {old}",
        "",
        f"For the migration {migration} from {old} to {plan['to']}. Its journal is in {journal}.",
        "Commands are for the machine that the migration was run from.",
        "",
        "## The traffic alone",
        "",
        f"Starts {old}, sends it the traffic, verifies it. Data stays as it is.",
        "",
        f"    {shlex.join(back)}",
        "",
        "## The traffic and the data",
        "",
        "First see in numbers what would be lost; nothing is restored then, and only the traffic goes back:",
        "",
        f"    {shlex.join(back)} -e rollback_restore=true{key}",
        "",
        "Then, if that may be lost:",
        "",
        f"    {shlex.join(back)} -e rollback_restore=true -e rollback_accept_data_loss=true{key}",
        "",
        "It takes these steps:",
        "",
        f"1. Stop user traffic: {_stopped(plan, names)}.",
        *(f"{number}. {line}" for number, line in enumerate(_restores(plan, artifacts), 2)),
    ]
    number = len(plan["state"]) + 2
    lines += [
        f"{number}. Restart: {names[old]}, and {plan['front']} goes to {old}.",
        f"{number + 1}. Verify: {plan['health']['ready']} of each instance"
        + "".join(f", {probe['path']} at {plan['front']}" for probe in plan["verify"])
        + ".",
        "",
        "## The snapshots",
        "",
        "| part | host | folder | bytes | taken | proven | kept until |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {name} | {one['host']} | `{one['path']}` | {one['bytes']} | {moment(one['consistent_at'])} "
        f"| {'yes' if one['verified'] else 'NO'} | {moment(one['expires'])} |"
        for name, one in artifacts.items()
    ]
    lines += ["", "## One part by hand", "", "With nobody writing to it:", ""]
    for part in plan["restore_order"]:
        one = artifacts.get(part["name"])
        if one is not None:
            given = {"path": one["path"], "accept_data_loss": True, part["engine"]: part["options"]}
            if one["encrypted"]:
                given["identity_file"] = "/path/of/the/private/key"
            module = "bluegreen.cutover.snapshot_restore"
            lines.append(
                f"    {shlex.join(['ansible', part['host'], *inventory, '-b', '-m', module, '-a', json.dumps(given)])}"
            )
    return "\n".join(lines) + "\n"


def places(plan: Mapping[str, Any], artifacts: Mapping[str, Mapping[str, Any]]) -> list[dict[str, str]]:
    """The hosts, by the inventory's name, and the folders that have ``artifacts``, each once: there a guide is looked
    for. New ones may be put elsewhere by now.
    """
    found = {
        (part["host"], os.path.dirname(artifacts[part["name"]]["path"]))
        for part in plan["state"]
        if part["name"] in artifacts
    }
    return [{"host": host, "folder": folder} for host, folder in sorted(found)]


def _stopped(plan: Mapping[str, Any], names: Mapping[str, str]) -> str:
    """What no longer runs while data is restored."""
    told = ", ".join(names.values())
    if plan["cluster"]:
        return f"{told} are scaled to 0 in {plan['cluster']['namespace']}, until none of their pods is left"
    return f"{told} are stopped on {', '.join(plan['hosts']['app'])}"


def _restores(plan: Mapping[str, Any], artifacts: Mapping[str, Mapping[str, Any]]) -> list[str]:
    told = []
    for part in plan["restore_order"]:
        one = artifacts.get(part["name"])
        what = f"{part['name']} ({part['engine']} on {part['host']})"
        if one is None:
            told.append(f"{what} cannot be restored: no snapshot was taken.")
        else:
            told.append(f"Restore {what} as of {moment(one['consistent_at'])}, from {one['path']}.")
    return told


def audit(service: str, migration: str, events: Sequence[Mapping[str, Any]]) -> str:
    """What the restores of a migration have cost, as Markdown; ``events`` are the journal's of that migration.

    Empty where no restore has begun.
    """
    sections: list[str] = []
    to_do: list[str] = []
    counted: dict[str, Mapping[str, Any]] = {}
    begun: dict[str, Mapping[str, Any]] = {}
    for event in events:
        kind = event["kind"]
        if kind == "restore_counted":
            counted[event["part"]] = event
        elif kind == "restore_began":
            begun[event["part"]] = event
        elif kind == "data_restored":
            begun.pop(event["part"], None)
            sections += _restored(event)
            to_do += [f"- Not proven: {one}." for one in event.get("unproven") or ()]
            to_do += [f"- Left for you: {one}." for one in event.get("kept") or ()]
        elif kind in ("data_left", "rollback_began"):
            sections += _unfinished(begun, counted, event.get("message"))
            begun, counted = {}, {}
    sections += _unfinished(begun, counted, None)
    if not sections:
        return ""
    lines = [
        f"# What the restore of {service} has cost",
        "",
        f"Migration {migration}.",
        "",
        *sections,
        "## To do",
        "",
        "- Find who wrote in that time, from the logs of the service and of its clients, and what they were told.",
        "- What left the service in that time (mails, payments, events, queues) is not taken back by this.",
        *to_do,
    ]
    return "\n".join(lines) + "\n"


def _restored(event: Mapping[str, Any]) -> list[str]:
    one, unproven = event["artifact"], event.get("unproven") or ()
    return [
        f"## {event['part']}",
        "",
        f"It is as it was at {moment(one['consistent_at'])} (`{one['path']}` on {one['host']})"
        + ("; that is not proven:" if unproven else "."),
        *(["", *(f"- {each}" for each in unproven), ""] if unproven else []),
        f"What was written from then until {moment(event['at'])} is lost:",
        "",
        *(_numbers(event["written"]) or ["- nothing: it was the same"]),
        "",
        "What was not the same, before it was restored:",
        "",
        *(f"- {each}" for each in event.get("differences") or ["nothing"]),
        "",
    ]


def _unfinished(
    begun: Mapping[str, Mapping[str, Any]], counted: Mapping[str, Mapping[str, Any]], problem: str | None
) -> list[str]:
    """Of parts whose restore has begun and is not recorded as done; ``problem`` is what that run said."""
    told: list[str] = []
    for part, event in begun.items():
        one, before = event["artifact"], counted.get(part, {})
        of = f"{moment(one['consistent_at'])} (`{one['path']}` on {one['host']})"
        end = f": {problem}" if problem else "."
        least = f" What was counted before, at {moment(before['at'])}, is what that costs at least:" if before else ""
        told += [
            f"## {part}",
            "",
            f"Its restore to {of} began at {moment(event['at'])}, and its end is not recorded{end}",
            f"It may be restored, or be as it was; rollback.yml with rollback_restore ends it.{least}",
            "",
            *(_numbers(before.get("written") or ()) or ["- nothing was counted"]),
            "",
        ]
    return told


def _numbers(written: Sequence[Mapping[str, Any]]) -> list[str]:
    return [f"- {each['name']}: {each['count']} {each['what']}" for each in written]
