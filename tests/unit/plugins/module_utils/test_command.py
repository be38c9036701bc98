# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Commands of the host."""

from __future__ import annotations

import pytest
from ansible_collections.bluegreen.cutover.plugins.module_utils._command import run


def test_a_command_has_an_end_and_speaks_english(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    # Not Python, which alone takes longer than a unit test may.
    assert run(["sh", "-c", "echo $LC_ALL $TZ; exit 3"], 5) == (3, "C.UTF-8 UTC\n", "")
    assert run(["sleep", "5"], 0.02) == (124, "", "it did not end within 0 s")
    status, _out, err = run(["/nonexistent/systemctl"], 5)
    assert status == 127
    assert "/nonexistent/systemctl" in err
