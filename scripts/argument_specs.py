# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare each role's meta/argument_specs.yml with its defaults/main.yml: the same names, the same defaults.

Ansible checks a run against the first and takes values from the second; nothing else notices when they disagree.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import yaml

ROLES = Path(__file__).resolve().parent.parent / "roles"


def load(path: Path) -> dict[str, Any]:
    loaded = yaml.safe_load(path.read_text(encoding="utf-8")) if path.exists() else None
    return loaded or {}


def differences(role: Path) -> list[str]:
    specs = load(role / "meta" / "argument_specs.yml").get("argument_specs")
    if not specs or "main" not in specs:
        return ["has no meta/argument_specs.yml with an entry point main"]
    # Defaults are the role's, so every entry point sees them; one that does not use a variable need not name it.
    defaults = load(role / "defaults" / "main.yml")
    options = specs["main"].get("options") or {}
    found = [f"{name} has a default but is not in the argument specs" for name in defaults.keys() - options.keys()]
    for entry in specs:
        for name, option in (specs[entry].get("options") or {}).items():
            if "default" in option and name not in defaults:
                found.append(f"{name} ({entry}) has a default in the argument specs only")
            elif name in defaults and option.get("required"):
                found.append(f"{name} ({entry}) is required and has a default")
            elif name in defaults and option.get("default") != defaults[name]:
                found.append(f"{name} ({entry}): default {option.get('default')!r}, but {defaults[name]!r} in defaults")
    return sorted(found)


def main() -> int:
    roles = sorted(path for path in ROLES.iterdir() if path.is_dir())
    found = [f"roles/{role.name}: {text}" for role in roles for text in differences(role)]
    print("\n".join([*found, f"argument specs of {len(roles)} roles, {len(found)} differences"]))
    return 1 if found or not roles else 0


if __name__ == "__main__":
    sys.exit(main())
