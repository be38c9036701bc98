# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    # What check_mode, diff_mode and idempotent mean; each module says how far it supports them.
    DOCUMENTATION = r"""
options: {}
attributes:
  check_mode:
    description: Can run in C(check_mode). It reads what really is, changes nothing, and tells what would be done.
  diff_mode:
    description: Returns in C(diff_mode) what has changed, or would change in C(check_mode).
  idempotent:
    description: Run a second time with the same arguments it reports no change, unless somebody else changed something.
"""

    # For a module that only reads; to be used beside the fragment above.
    READS = r"""
options: {}
attributes:
  check_mode:
    support: full
    details: It changes nothing.
  diff_mode:
    support: N/A
    details: It changes nothing.
  idempotent:
    support: full
    details: It changes nothing.
"""
