# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's business rules: whether somebody fits a job. Standard library only, for who runs it elsewhere."""

from __future__ import annotations

from typing import Any

LEAST = 0.8
"""The share of the required skills from which somebody matches."""
WORTH_A_LOOK = 0.5


def decide(asked: Any, least: float = LEAST) -> dict[str, Any]:
    """``decision`` and ``score`` for ``{"required": [skill], "skills": [skill], "years_required": n, "years": n}``.

    Who has too few years is looked at by a person, however many skills there are. ValueError on anything else.
    """
    if not isinstance(asked, dict):
        raise ValueError("a JSON object is needed")  # noqa: TRY004 - it is the client's, not the program's
    required, skills = (set(map(str, asked.get(name) or ())) for name in ("required", "skills"))
    if not required:
        raise ValueError("required: at least one skill")
    score = round(len(required & skills) / len(required), 2)
    decision = "match" if score >= least else "review" if score >= WORTH_A_LOOK else "no_match"
    if decision == "match" and asked.get("years", 0) < asked.get("years_required", 0):
        decision = "review"
    return {"decision": decision, "score": score}
