# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""R-B3: where each path of a tree goes, and which layouts are refused. tests/kubernetes/test_layout.py has real git."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.bluegreen.cutover.plugins.module_utils._core import layout
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import InputError, LayoutError
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.layout import LINK, MODULE, Entry

FILE, PROGRAM = "100644", "100755"
MOVES = {"dashboard": "apps/nextstep", "api": "apps/nextstep-api"}


def tree(*paths: str, mode: str = FILE) -> list[Entry]:
    return [Entry(mode, f"{number:040x}", path) for number, path in enumerate(paths)]


def refused(before: list[Entry], moves: dict[str, str], links: dict[str, str] | None = None) -> str:
    with pytest.raises(LayoutError, match="The new layout is refused; nothing was changed: ") as caught:
        layout.lay_out(before, links or {}, moves)
    return "; ".join(caught.value.evidence["problems"])


def test_r_b3_folders_and_files_go_with_contents_and_modes() -> None:
    before = [*tree("README.md", "api/Dockerfile", "api/src/x.py", "apiary/x", "dashboard/Dockerfile", "z/deep/x")]
    before[2] = replace(before[2], mode=PROGRAM)
    after = layout.lay_out(before, {}, {**MOVES, "z/deep/x": "y"})
    assert [one.path for one in after] == [
        "README.md",
        "apps/nextstep-api/Dockerfile",
        "apps/nextstep-api/src/x.py",
        "apiary/x",
        "apps/nextstep/Dockerfile",
        "y",
    ]
    assert [(one.mode, one.blob) for one in after] == [(one.mode, one.blob) for one in before]
    layout.prove(before, after, {**MOVES, "z/deep/x": "y"})


def test_r_b3_two_paths_may_change_places() -> None:
    before = tree("a/one", "b/two")
    assert [one.path for one in layout.lay_out(before, {}, {"a": "b", "b": "a"})] == ["b/one", "a/two"]


def test_r_b3_what_git_lists_is_read_and_written_as_it_is() -> None:
    digest = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"
    listed = f"100755 blob {digest}\ta b\n\tc\x00120000 blob {digest}\tlink\x00160000 commit {digest}\tsub\0"
    entries = layout.parse(listed)
    assert [(one.mode, one.path) for one in entries] == [(PROGRAM, "a b\n\tc"), (LINK, "link"), (MODULE, "sub")]
    assert layout.listing(entries).split("\0")[0] == f"100755 {digest}\ta b\n\tc"
    with pytest.raises(LayoutError, match="cannot be understood"):
        layout.parse("100644 blob\tx\0")


@pytest.mark.parametrize(
    ("source", "target", "says"),
    [
        ("../api", "apps/api", "'../api' has an empty name, '.' or '..' in it"),
        ("api", "apps/../../etc", "has an empty name, '.' or '..' in it"),
        ("api", "/etc/api", "'/etc/api' is not a relative path"),
        ("", "apps", "'' is not a relative path"),
        ("api", "/", "'/' is not a relative path"),
        ("api", "apps//api", "has an empty name"),
        (".", "apps", "has an empty name, '.'"),
        ("api", ".git/hooks", "'.git/hooks' is git's own"),
        ("api", "apps/.GIT/x", "is git's own"),
        (".git/config", "config", "is git's own"),
        ("api", "apps\\api", "has a character that no path needs"),
        ("api", "apps/a\npi", "has a character that no path needs"),
        ("api", "API", "are one path where case does not count"),
        ("caf\u00e9", "cafe\u0301", "are one path where case does not count"),
        ("api", "api", "are one path"),
        ("api", "api/v1", "'api/v1' is inside 'api', which goes away"),
    ],
)
def test_r_b3_hostile_paths_are_refused(source: str, target: str, says: str) -> None:
    with pytest.raises(InputError, match="The layout cannot be meant; nothing was touched") as caught:
        layout.check_moves("layout", [{"from": source, "to": target}])
    assert says in caught.value.message


def test_r_b3_moves_are_read_as_a_whole() -> None:
    pairs = [{"from": "api/", "to": "apps/api/"}, {"from": "web", "to": "apps/web"}]
    assert layout.check_moves("new/layout-1.2", pairs) == {"api": "apps/api", "web": "apps/web"}
    for moves, says in (
        ([], "moves is empty"),
        ([*pairs, {"from": "api", "to": "x"}], "moves[2].from: 'api' goes to 'apps/api' already"),
        ([*pairs, {"from": "api/src", "to": "x"}], "'api/src' is inside 'api', which goes too"),
    ):
        with pytest.raises(InputError) as caught:
            layout.check_moves("layout", moves)
        assert says in caught.value.message


@pytest.mark.parametrize("branch", ["", "-x", "a..b", "a b", "x/", "x.lock", "a//b", "@{1}", "refs~1"])
def test_r_b3_a_branch_that_git_would_not_take_is_refused(branch: str) -> None:
    with pytest.raises(InputError, match="a branch's name"):
        layout.check_moves(branch, [{"from": "a", "to": "b"}])


@pytest.mark.parametrize(
    ("paths", "moves", "says"),
    [
        (("api/x",), {"app": "apps"}, "'app' is not in the tree"),
        (("a/x", "b/x"), {"a": "c", "b": "c"}, "'a/x' and 'b/x' would both be 'c/x'"),
        (("a/x", "c/x"), {"a": "c"}, "'a/x' and 'c/x' would both be 'c/x'"),
        (("api/x", "apps"), {"api": "apps/api"}, "'apps' would be a file or a link, and the folder of 'apps/api/x'"),
        (("x", "apps/y"), {"x": "apps"}, "'apps' would be a file or a link, and the folder of 'apps/y'"),
        (("a/x", "c/X"), {"a": "c"}, "'c/X' and 'c/x' would be one path where case does not count"),
        (("a/x", "Apps/y"), {"a": "apps/a"}, "'Apps' and 'apps' would be one path where case does not count"),
        (("a/stra\u00dfe", "c/STRASSE"), {"a": "c"}, "would be one path where case does not count"),
    ],
)
def test_r_b3_collisions_are_refused(paths: tuple[str, ...], moves: dict[str, str], says: str) -> None:
    assert says in refused(tree(*paths), moves)


def test_r_b3_what_was_alike_before_may_stay_so() -> None:
    before = tree("kept/a", "kept/A", "api/x")
    assert layout.lay_out(before, {}, {"api": "apps/api"})[2].path == "apps/api/x"


def test_r_b3_a_submodule_is_not_for_this_to_move() -> None:
    before = [*tree("api/x"), *tree("api/lib", mode=MODULE)]
    assert "'api/lib' is a submodule, whose path is in .gitmodules, too" in refused(before, {"api": "apps/api"})
    assert layout.lay_out([*tree("api/x"), *tree("lib", mode=MODULE)], {}, {"api": "apps/api"})


@pytest.mark.parametrize(
    ("link", "target", "says"),
    [
        ("api/link", "x", None),
        (
            "api/link",
            "../web/x",
            "the link 'api/link' leads to 'web/x', and as 'apps/api/link' would lead to 'apps/web/x'",
        ),
        ("web/link", "../api/x", "the link 'web/link' leads to 'api/x', and as 'web/link' would lead to 'api/x'"),
        ("api/link", "../../etc/passwd", "leads out of the tree, to '../../etc/passwd', and would lead elsewhere"),
        ("web/link", "../../elsewhere", None),
        ("api/link", "/usr/share/x", None),
        ("web/link", "x", None),
    ],
)
def test_r_b3_a_link_that_would_lead_elsewhere_is_refused(link: str, target: str, says: str | None) -> None:
    before = [*tree("api/x", "web/x"), *tree(link, mode=LINK)]
    if says is None:
        assert len(layout.lay_out(before, {link: target}, {"api": "apps/api"})) == 3
    else:
        assert says in refused(before, {"api": "apps/api"}, {link: target})


def test_r_b3_all_that_is_wrong_is_told_at_once_and_has_an_end() -> None:
    told = refused(tree(*(f"{folder}/{n}" for folder in "ab" for n in range(30))), {"a": "c", "b": "c", "x": "y"})
    assert told.count("would both be") == 30
    with pytest.raises(LayoutError, match="; and 11 more"):
        layout.lay_out(
            tree(*(f"{folder}/{n}" for folder in "ab" for n in range(30))), {}, {"a": "c", "b": "c", "x": "y"}
        )


def test_r_b3_what_was_made_is_known_and_half_of_it_is_not() -> None:
    assert layout.is_there(tree("apps/nextstep/x", "apps/nextstep-api/x", "x"), MOVES)
    assert not layout.is_there(tree("apps/nextstep/x", "x"), MOVES)
    assert not layout.is_there(tree("apps/nextstep/x", "apps/nextstep-api/x", "api/x"), MOVES)


def change(index: int, **its: Any) -> list[Entry]:
    after = layout.lay_out(tree("api/x", "api/y", "z"), {}, {"api": "apps/api"})
    after[index] = replace(after[index], **its)
    return after


@pytest.mark.parametrize(
    ("after", "says"),
    [
        (change(0, blob="f" * 40), "other contents or modes"),
        (change(0, mode=PROGRAM), "other contents or modes"),
        (change(0, path="apps/api/w"), "not where they are to be"),
        (change(2)[:2], "other contents or modes"),
        ([*change(2), *tree("z")], "other contents or modes"),
        ([replace(one, path=f"x{one.path}") for one in change(2)], "not where they are to be"),
    ],
)
def test_r_b3_a_tree_that_is_not_the_old_one_moved_is_no_proof(after: list[Entry], says: str) -> None:
    with pytest.raises(LayoutError, match=says):
        layout.prove(tree("api/x", "api/y", "z"), after, {"api": "apps/api"})
