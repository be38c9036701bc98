# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is put into a statement is one name or one text, whatever is in it."""

from __future__ import annotations

import pytest
from ansible_collections.bluegreen.cutover.plugins.module_utils._core import sql

HOSTILE = "we\"ird\n'; DROP -- \\ %s"


@pytest.mark.parametrize(
    ("name", "quoted"), [("shop", '"shop"'), ('a"b', '"a""b"'), (HOSTILE, '"we""ird\n\'; DROP -- \\ %s"')]
)
def test_identifier(name: str, quoted: str) -> None:
    assert sql.identifier(name) == quoted


@pytest.mark.parametrize(("text", "quoted"), [("it's", "'it''s'"), ("a\\b'", " E'a\\\\b'''"), ("", "''")])
def test_literal(text: str, quoted: str) -> None:
    assert sql.literal(text) == quoted
