# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Running a module's main() in this process."""

from __future__ import annotations

import json
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args

RunModule = Callable[..., dict[str, Any]]


@pytest.fixture(name="run_module")
def _run_module(capsys: pytest.CaptureFixture[str]) -> RunModule:
    """Return a function of a module and its arguments, which returns what the module answers; ``rc`` is added."""

    def run(module: ModuleType, check_mode: bool = False, diff: bool = False, **arguments: Any) -> dict[str, Any]:
        given = {**arguments, "_ansible_check_mode": check_mode, "_ansible_diff": diff}
        with patch_module_args(given), pytest.raises(SystemExit) as ended:
            module.main()
        result: dict[str, Any] = json.loads(capsys.readouterr().out)
        return {**result, "rc": ended.value.code}

    return run
