# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    # The options of every module that works with an engine: one option for each engine, with the engine's own in it.
    DOCUMENTATION = r"""
options:
  files:
    description: File trees, by GNU tar and zstd, with owners, modes, links, ACLs and extended attributes.
    type: dict
    suboptions:
      paths:
        description:
          - Absolute paths of folders or files. None may be a link or a mount point.
          - Nothing in them may change while they are read; when something does, the snapshot fails.
        type: list
        elements: str
        required: true
  git:
    description: The commit of a git working tree, with annotated tags and a bundle of all its history.
    type: dict
    suboptions:
      repository:
        description: Absolute path of the working tree. No tracked file may have changes that are not committed.
        type: path
        required: true
      tags:
        description: The tags to make on its commit; one that is there already must be on that commit.
        type: list
        elements: str
        default: [migration-start-point, migration-rollback-point]
      remote:
        description: Where the tags are pushed to; where there is no such remote they are not.
        type: str
        default: origin
"""
