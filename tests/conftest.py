# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""In which order files are taken, where two processes share them."""

from __future__ import annotations

import pytest

LONGEST = (
    "integration/test_faults.py",
    "integration/test_guard.py",
    "kubernetes/test_playbooks.py",
    "kubernetes/test_promote.py",
)
"""Files that take minutes come first: one that began last would leave the other process with nothing to do."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: "/".join(item.path.parts[-2:]) not in LONGEST)
