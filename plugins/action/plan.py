# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make the plan on the control node; no host is connected to."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible import context
from ansible.errors import AnsibleError
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.plugins.action import ActionBase
from ansible_collections.bluegreen.cutover.plugins.module_utils._core import environments
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import CutoverError, InputError
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.plan import PREFIX, make_plan
from ansible_collections.bluegreen.cutover.plugins.module_utils._snapshots.registry import ENGINES

ROUTERS = "cutover_router"
APPLICATIONS = "cutover_app"


class ActionModule(ActionBase):  # type: ignore[misc]  # Ansible has no types
    TRANSFERS_FILES = False
    _requires_connection = False
    _VALID_ARGS = frozenset[str]()

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        given = task_vars or {}
        groups, hostvars = given.get("groups", {}), given.get("hostvars", {})
        routers, applications = (list(map(str, groups.get(name, []))) for name in (ROUTERS, APPLICATIONS))
        variables, failed = self._template({name: given[name] for name in given if name.startswith(PREFIX)})
        hosts = {
            host: {str(name): None for name in hostvars[host] if name.startswith(PREFIX)}
            for host in {*routers, *applications}
        }
        for host in applications:
            if "cutover_address" in hosts[host]:
                hosts[host]["cutover_address"] = plain(hostvars[host]["cutover_address"])
        try:
            plan = make_plan(
                variables,
                routers=routers,
                applications=applications,
                hosts=hosts,
                failed=failed,
                forks=context.CLIARGS.get("forks"),
            )
            check_hooks(plan["hooks"])
            check_parts(plan["state"], list(map(str, groups.get("all", []))))
            check_sources(self._templar, given, namespaces(plan))
            plan["slot"] = find_slot(self._templar, given, plan)
        except CutoverError as error:
            return {**result, "failed": True, **error.as_result()}
        return {**result, "changed": False, "plan": plan, "ansible_facts": {"cutover_plan": plan}}

    def _template(self, raw: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
        """The values, and of those that have none why."""
        values: dict[str, Any] = {}
        failed: dict[str, str] = {}
        for name, value in raw.items():
            try:
                values[str(name)] = plain(self._templar.template(value))
            except AnsibleError as error:
                failed[str(name)] = " ".join(str(error).split())
        return values, failed


def check_hooks(hooks: Mapping[str, Mapping[str, Any]]) -> None:
    """Raise ``InputError`` for a file that is missing: found only at the end, what has moved would not be told."""
    for name, hook in hooks.items():
        if hook.get("tasks") and not Path(hook["tasks"]).is_file():
            raise InputError(f"cutover_hooks.{name}.tasks: there is no file {hook['tasks']} on this machine")


def check_parts(parts: Sequence[Mapping[str, Any]], hosts: Collection[str]) -> None:
    """Raise ``InputError`` for a part on no host of the inventory, or whose engine would not take its options."""
    problems = []
    for part in parts:
        where = f"cutover_state: {part['name']}"
        if part["host"] not in hosts:
            problems.append(f"{where} is on {part['host']}, which is no host of the inventory")
        if part["engine"] not in ENGINES:
            problems.append(f"{where} has the engine {part['engine']!r}; one of {', '.join(sorted(ENGINES))} is needed")
            continue
        spec = ENGINES[part["engine"]][1]
        told = ArgumentSpecValidator(spec).validate(dict(part["options"])).error_messages
        problems += [f"{where}, options of {part['engine']}: {one}" for one in told]
    if problems:
        raise InputError("; ".join(problems) + ". Nothing was touched", {"problems": problems})


def namespaces(plan: Mapping[str, Any]) -> dict[str, str]:
    """Those that a migration by this plan writes to, or that its way back restores, by what names them."""
    found = {
        f"options.namespace of {part['name']} in cutover_state": str(part["options"]["namespace"])
        for part in plan["state"]
        if part["engine"] == "kubernetes"
    }
    if plan["cluster"]:
        found["cutover_cluster.namespace"] = plan["cluster"]["namespace"]
    return found


def find_slot(templar: Any, variables: Mapping[str, Any], plan: Mapping[str, Any]) -> dict[str, Any] | None:
    """What the module k8s_slot needs, where the service is in an environment that is shared; None elsewhere (R-B5)."""
    if not plan["cluster"]:
        return None
    known, slots = (inventory(templar, variables, name) for name in ("environment_all", "environment_slots"))
    found = environments.slot_of(known, slots, plan["cluster"]["namespace"])
    if found is None:
        return None
    application = inventory(templar, variables, "environment_application")
    if not application:
        raise InputError("environment_application is missing: a slot is held for an application. Nothing was touched")
    # A step that has begun is to end in it.
    return {**found, "application": application, "needs": max(float(found["needs"]), float(plan["guard"]["time"]))}


def check_sources(templar: Any, variables: Mapping[str, Any] | None, written: Mapping[str, str]) -> None:
    """Raise ``SourceError`` where one of ``written`` is the source of an environment of the inventory (R-B15)."""
    environments.check_sources(inventory(templar, variables, "environment_all"), written)


def inventory(templar: Any, variables: Mapping[str, Any] | None, name: str) -> Any:
    """The value of a variable that an inventory need not have; an empty mapping then."""
    if name not in (variables or {}):
        return {}
    try:
        return plain(templar.template((variables or {})[name]))
    except AnsibleError as error:
        raise InputError(f"{name} has no value: {' '.join(str(error).split())}. Nothing was touched") from error


def plain(value: Any) -> Any:
    """``value`` without Ansible's tags; what JSON does not know stays, and is refused by the plan."""
    if isinstance(value, Mapping):
        return {plain(name): plain(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(inner) for inner in value]
    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            return kind(value)
    return value
