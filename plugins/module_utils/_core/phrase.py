# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The words that somebody has to type before a step that must not be taken by habit."""

from __future__ import annotations

import unicodedata

from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import InputError, PhraseError


def check(wanted: str, given: str | None, *, step: str, variable: str) -> None:
    """Raise ``PhraseError`` unless ``given`` is ``wanted``, character by character.

    ``variable`` is where it is given: by ``-e``, or by a survey. None is that nobody gave it.
    """
    if not wanted.strip() or wanted != wanted.strip() or not wanted.isprintable():
        raise InputError(f"the phrase for {step} is {wanted!r}; words in one line are needed, without spaces around")
    if given == wanted:
        return
    how = f"Type it exactly: -e '{variable}=\"{wanted}\"', or in the survey of the job"
    if not given:
        raise PhraseError(f"{step} needs the words {wanted!r}, and none were given. Nothing was changed. {how}")
    raise PhraseError(
        f"{step} needs the words {wanted!r}, and {given!r} was given{_hint(wanted, given)}. Nothing was changed. {how}",
        {"given": given},
    )


def _hint(wanted: str, given: str) -> str:
    if given.strip() == wanted:
        return ", with spaces around"
    if given.casefold() == wanted.casefold():
        return ", with other capitals"
    if " ".join(given.split()) == wanted or unicodedata.normalize("NFKC", given) == wanted:
        return ", with other spaces or signs that look alike"
    return ""
