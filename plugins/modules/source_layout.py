#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: source_layout
short_description: Lay the code of a git working copy out anew, on a new branch, with every file as it is
version_added: 0.1.0
description:
  - Makes one commit on a new branch, whose parent is the one that is checked out, and in which paths have moved and
    nothing else has changed. What C(git mv) and C(git commit) would do, without touching the working copy or its index.
  - The commit is read back before the branch gets it. Each content with its mode has to be there as often as before,
    and each path where it was or where O(moves) say. So Dockerfiles and configuration are the same, byte for byte.
  - Nothing is checked out, and nothing is pushed; no remote is asked. C(git switch) goes there, and to go back is to
    switch back, or to remove the branch.
  - It moves files and does not rewrite them. What names a path, such as an import or a build's context, still names the
    old one.
  - Refused before anything is touched are a working copy that is not clean; a path that is absolute or has C(..) or
    C(.git) in it; one that would be at two places, or two that would be one, also where case does not count; a path
    below a file or a link; submodules; and symbolic links that would lead elsewhere.
author:
  - bluegreen.cutover contributors (@bluegreen)
extends_documentation_fragment:
  - bluegreen.cutover.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
    details: The paths that move, before and after.
  idempotent:
    support: full
    details: It changes nothing where the branch is there with just that, and where the layout is checked out.
options:
  repository:
    description: Absolute path of the working copy.
    type: path
    required: true
  branch:
    description: The branch to make.
    type: str
    required: true
  moves:
    description: What goes elsewhere; all of it at once, so that two paths may change places.
    type: list
    elements: dict
    required: true
    suboptions:
      from:
        description: A folder or a file, by its path in the repository.
        type: str
        required: true
      to:
        description: The path it gets. Folders on the way are made.
        type: str
        required: true
  commit_message:
    description: The commit's message.
    type: str
    default: Lay the code out anew
requirements:
  - git
seealso:
  - module: bluegreen.cutover.snapshot
"""

EXAMPLES = r"""
- name: Make a monorepo of it
  bluegreen.cutover.source_layout:
    repository: /srv/nextstep
    branch: blueocean-layout
    moves:
      - from: dashboard
        to: apps/nextstep
      - from: api
        to: apps/nextstep-api
"""

RETURN = r"""
moved:
  description: Each path that has moved, or would; empty where nothing was to be done.
  returned: success
  type: list
  elements: dict
  contains:
    from:
      description: Where it was.
      returned: always
      type: str
    to:
      description: Where it is.
      returned: always
      type: str
parent:
  description: The commit that was and is checked out; to go back is to go there.
  returned: success
  type: str
commit:
  description: The commit with the layout; null in check mode.
  returned: success
  type: str
sentence:
  description: The same for a person.
  returned: success
  type: str
  sample: >-
    112 of 140 paths go elsewhere on the branch blueocean-layout, all with the contents and modes of
    4f1c0a9d0c9a4b4a7f0d6f6f7d0c1b2a3e4d5f60
reason:
  description: A stable word for the kind of failure.
  returned: failure
  type: str
  sample: layout
evidence:
  description: What was seen when it failed.
  returned: failure
  type: dict
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import CutoverError
from ansible_collections.bluegreen.cutover.plugins.module_utils._layout import Layout


def main() -> None:
    """Wire the module."""
    module = AnsibleModule(
        argument_spec={
            "repository": {"type": "path", "required": True},
            "branch": {"type": "str", "required": True},
            "moves": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {"from": {"type": "str", "required": True}, "to": {"type": "str", "required": True}},
            },
            "commit_message": {"type": "str", "default": "Lay the code out anew"},
        },
        supports_check_mode=True,
    )
    params = module.params
    try:
        made = Layout(params["repository"], params["branch"], params["moves"])
        result = made.make(params["commit_message"], check_mode=module.check_mode)
    except CutoverError as error:
        module.fail_json(**error.as_result())
    names = ("from", "to")
    before, after = ("".join(f"{one[name]}\n" for one in result["moved"]) for name in names)
    module.exit_json(**result, diff={"before": before, "after": after})


if __name__ == "__main__":
    main()
