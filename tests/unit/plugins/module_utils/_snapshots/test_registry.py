# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The engines by name."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import InputError
from ansible_collections.bluegreen.cutover.plugins.module_utils._snapshots.registry import (
    ENGINES,
    chosen_engine,
    engine_of,
)

ROLES = Path(__file__).resolve().parents[5] / "roles"


@pytest.mark.parametrize("file", ["snapshot/tasks/part.yml", "rollback/tasks/restore_part.yml"])
@pytest.mark.parametrize("engine", sorted(ENGINES))
def test_the_roles_hand_every_engine_its_options(file: str, engine: str) -> None:
    def modules(tasks: list[dict[str, object]]) -> list[dict[str, object]]:
        found = [task[name] for task in tasks for name in task if name.startswith("bluegreen.cutover.snapshot")]
        return [*found, *(inner for task in tasks if "block" in task for inner in modules(task["block"]))]  # type: ignore[arg-type]

    [arguments] = modules(yaml.safe_load((ROLES / file).read_text()))
    assert f"engine == '{engine}' else omit" in str(arguments.get(engine))


def test_an_engine_is_made_by_its_name() -> None:
    given = dict.fromkeys(ENGINES)
    assert chosen_engine({**given, "files": {"paths": ["/srv"]}}, print).name == "files"
    with pytest.raises(InputError, match="There is no engine 'tape'; one of files, git"):
        engine_of("tape", {}, print)
