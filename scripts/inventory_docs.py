# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write docs/inventory.md from the plan's schema; with --check, fail when it is not what the schema says."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "collections"))

from ansible_collections.bluegreen.cutover.plugins.module_utils._core.plan import describe  # noqa: E402

PAGE = ROOT / "docs" / "inventory.md"
HEAD = """# The inventory

One inventory describes one service. Two groups say where it is: `cutover_router` holds the one host that decides which
colour gets a request, `cutover_app` the hosts that run both colours. `cutover_address`, a variable of an application
host, is how the router reaches it when its inventory name is not right for that. With `cutover_cluster` the service
runs in pods: `cutover_router` holds the host that talks to the cluster, usually this one, and `cutover_app` none.

Everything else is in the variables below, usually in `group_vars/all.yml`. They are checked as a whole before the first
connection; a name that is not known is refused, with the nearest one that is. `{service}` in a default stands for the
service's name. A name in brackets is the router's provider that the option belongs to.

This page is made from the schema by `make docs`.

| variable | what it is | meaning | default |
|---|---|---|---|
"""


def page() -> str:
    rows = [
        f"| `{name}` | {needs} | {meaning} | {default if default in ('', 'required') else f'`{default}`'} |\n"
        for name, needs, default, meaning in describe()
    ]
    return HEAD + "".join(rows)


def main(arguments: list[str]) -> int:
    text = page()
    if arguments == ["--check"]:
        if not PAGE.exists() or PAGE.read_text() != text:
            print(f"{PAGE.relative_to(ROOT)} is not what the schema says; run `make docs`")
            return 1
        return 0
    PAGE.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
