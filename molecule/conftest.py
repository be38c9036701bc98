# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the scenarios' checks share. They look at the hosts by themselves, not through the collection."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import testinfra


@pytest.fixture(scope="session")
def hosts(pytestconfig: pytest.Config) -> dict[str, Any]:
    """All hosts of the scenario's inventory, by name."""
    option = pytestconfig.option
    found = testinfra.get_hosts(
        ["ansible://all"], ansible_inventory=option.ansible_inventory, force_ansible=option.force_ansible
    )
    return {host.backend.get_hostname(): host for host in found}


@pytest.fixture(scope="session")
def colours() -> Callable[[Any, str], Counter[str]]:
    def who_answers(host: Any, url: str) -> Counter[str]:
        """Twenty requests from a host, each on a connection of its own."""
        answers = host.check_output(f"for i in $(seq 20); do curl --silent --show-error --fail {url}; echo; done")
        return Counter(json.loads(line)["colour"] for line in answers.splitlines())

    return who_answers
