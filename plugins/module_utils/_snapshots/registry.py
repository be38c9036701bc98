# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The engines by name, and the arguments that modules take for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import InputError
from ansible_collections.bluegreen.cutover.plugins.module_utils._snapshots import (
    Engine,
    Progress,
    files,
    git,
    kubernetes,
    postgresql,
    qdrant,
    redis,
)

#: By name: the class, constructed with its options and a Progress, and its options as an argument spec.
#: Imported by name above, because only so does Ansible send it to the host.
ENGINES: dict[str, tuple[Callable[[Mapping[str, Any], Progress], Engine], dict[str, Any]]] = {
    "files": (files.Files, files.OPTIONS),
    "git": (git.Git, git.OPTIONS),
    "kubernetes": (kubernetes.Kubernetes, kubernetes.OPTIONS),
    "postgresql": (postgresql.PostgreSQL, postgresql.OPTIONS),
    "qdrant": (qdrant.Qdrant, qdrant.OPTIONS),
    "redis": (redis.Redis, redis.OPTIONS),
}


def engine_arguments() -> dict[str, Any]:
    """Argument spec of every module that works with an engine: one option for each, with the engine's own in it."""
    return {name: {"type": "dict", "options": options} for name, (_engine, options) in ENGINES.items()}


def engine_of(name: str, options: Mapping[str, Any], progress: Progress) -> Engine:
    """The engine ``name``, constructed with ``options``. Raises InputError."""
    if name not in ENGINES:
        raise InputError(f"There is no engine {name!r}; one of {', '.join(sorted(ENGINES))} is needed")
    return ENGINES[name][0](options, progress)


def chosen_engine(arguments: Mapping[str, Any], progress: Progress) -> Engine:
    """The engine whose option a module was given; its argument spec sees to it that it is one."""
    [name] = [name for name in ENGINES if arguments.get(name) is not None]
    return engine_of(name, arguments[name], progress)
