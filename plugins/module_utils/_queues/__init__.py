# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Queues: how much waits in them, and how much is in flight. One file per provider, all with this protocol.

A provider is constructed with its options, which ``OPTIONS`` in its file declares as an Ansible argument spec.
"""

from __future__ import annotations

from typing import Protocol

from ansible_collections.bluegreen.cutover.plugins.module_utils._core.queues import Depth


class Queue(Protocol):
    """A provider. It only reads, and raises ``QueueError``. What it needs from one look to the next it keeps open."""

    name: str

    def read(self) -> Depth:
        """How much there is now, waiting and in flight at one moment; within some seconds."""
