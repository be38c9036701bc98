# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The action k8s_slot: what roles get (R-B5)."""

from __future__ import annotations

from typing import Any, ClassVar
from unittest.mock import Mock

import pytest
from ansible.errors import AnsibleError
from ansible_collections.bluegreen.cutover.plugins.action import k8s_slot
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import SlotError

ARGUMENTS: dict[str, Any] = {
    "namespace": "shop",
    "environment": "staging",
    "application": "nextstep",
    "slots": [{"from": "09:00", "to": "12:00"}],
    "zone": "Europe/Berlin",
}


class Asked:
    """An Environment that notes what is asked of it."""

    calls: ClassVar[list[Any]] = []

    def __init__(self, *given: Any) -> None:
        self.given = given

    def take(self, *given: Any, **options: Any) -> dict[str, Any]:
        self.calls.append(("take", given, options))
        return {"changed": True}

    def give_back(self, *given: Any, **options: Any) -> dict[str, Any]:
        self.calls.append(("give_back", given, options))
        raise SlotError("it is used by other", {"holder": {}})


@pytest.fixture(autouse=True)
def _asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Asked, "calls", [])
    monkeypatch.setattr(k8s_slot, "Environment", Asked)
    monkeypatch.setattr(k8s_slot, "connect", lambda *given: given)


def run(variables: dict[str, Any] | None = None, **arguments: Any) -> dict[str, Any]:
    action = k8s_slot.ActionModule(
        task=Mock(async_val=False, args={**ARGUMENTS, **arguments}, check_mode=True, diff=False),
        connection=Mock(),
        play_context=Mock(),
        loader=Mock(),
        templar=Mock(template=lambda value: value),
        shared_loader_obj=None,
    )
    result: dict[str, Any] = action.run(task_vars=variables or {})
    return result


def test_a_slot_is_taken_for_the_application() -> None:
    assert run(needs="60")["changed"]
    ((what, given, options),) = Asked.calls
    assert (what, given[1], given[2]["application"], given[4], options) == (
        "take",
        "Europe/Berlin",
        "nextstep",
        60.0,
        {"labels": None, "check_mode": True},
    )


def test_a_refusal_carries_reason_and_evidence() -> None:
    result = run(state="free", slots=None, zone=None, reason="release 7")
    assert (result["failed"], result["reason"], result["evidence"]) == (True, "slot", {"holder": {}})
    assert Asked.calls == [("give_back", ("nextstep", "release 7"), {"check_mode": True})]


def test_a_slot_has_a_reason_when_it_is_taken_and_may_have_none_when_it_is_given_back() -> None:
    run()
    run(state="free")
    assert [given[3] if what == "take" else given for what, given, _options in Asked.calls] == [
        "no reason given",
        ("nextstep", None),
    ]


def test_r_b15_a_lease_is_never_made_in_a_source() -> None:
    result = run({"environment_all": {"prod": {"source": "shop", "namespace": "new"}}})
    assert (result["failed"], result["reason"], Asked.calls) == (True, "source", [])
    assert result["msg"].startswith("namespace is shop, the source of new")


def test_what_is_wrong_is_told_before_anything_is_asked() -> None:
    assert run(slots=[{"from": "9", "to": "12:00"}])["reason"] == "input"
    assert run(zone=None)["msg"].startswith("the time zone None is not known")
    assert run(slots=None)["msg"].startswith("slots is empty")
    with pytest.raises(AnsibleError, match="state must be one of"):
        run(state="mine")
    assert Asked.calls == []
