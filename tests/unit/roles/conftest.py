# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a role says, rendered from its own files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar

ROLES = Path(__file__).resolve().parents[3] / "roles"


class Role:
    def __init__(self, name: str) -> None:
        self.folder = ROLES / name

    def load(self, path: str) -> Any:
        return DataLoader().load_from_file(str(self.folder / path), trusted_as_template=True)

    def templar(self, **variables: Any) -> Templar:
        own = self.load("vars/main.yml") if (self.folder / "vars/main.yml").exists() else {}
        return Templar(loader=DataLoader(), variables={**own, **variables})

    def said(self, name: str, **variables: Any) -> Any:
        """One of its own variables."""
        return self.templar(**variables).template(self.load("vars/main.yml")[name])
