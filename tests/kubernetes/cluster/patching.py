# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""JSON patch (RFC 6902), merge patch (RFC 7386) and strategic merge patch, as a Kubernetes API server applies them.

Everything here returns a new object and leaves its arguments alone.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

MergeKey = Callable[[tuple[str, ...]], "str | None"]
"""The key by which the items of the list at a path of field names are merged; None where it is replaced whole."""

_MISSING = object()


class PatchError(Exception):
    """A patch that cannot be applied to this object; an API server answers 422."""


def json_patch(document: Any, operations: Sequence[Mapping[str, Any]]) -> Any:
    """Apply all operations, or none and raise ``PatchError``."""
    holder = {"": copy.deepcopy(document)}
    for number, operation in enumerate(operations):
        try:
            _operate(holder, operation)
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise PatchError(
                f"{operation.get('op')} operation {number} does not apply: {operation.get('path')}: {error}"
            ) from error
    return holder[""]


def _operate(holder: dict[str, Any], operation: Mapping[str, Any]) -> None:
    name, path = operation["op"], _split(operation["path"])
    if name == "test":
        found = _get(holder, path, default=None)
        if not _same(found, operation.get("value")):
            raise PatchError(f"testing value {operation['path']} failed: test failed")
    elif name == "add":
        _add(holder, path, copy.deepcopy(operation["value"]))
    elif name == "replace":
        _remove(holder, path)
        _add(holder, path, copy.deepcopy(operation["value"]))
    elif name == "remove":
        _remove(holder, path)
    elif name == "move":
        _add(holder, path, _remove(holder, _split(operation["from"])))
    elif name == "copy":
        _add(holder, path, copy.deepcopy(_get(holder, _split(operation["from"]))))
    else:
        raise PatchError(f"unexpected kind: {name}")


def _same(one: Any, other: Any) -> bool:
    """Equality as JSON has it: true is not 1."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other)


def _split(pointer: str) -> list[str]:
    if pointer and not pointer.startswith("/"):
        raise PatchError(f"a path begins with '/', and this is {pointer!r}")
    return [part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")]


def _step(found: Any, part: str) -> Any:
    return found[_index(part, found)] if isinstance(found, list) else found[part]


def _index(part: str, items: list[Any]) -> int:
    number = int(part)
    if not 0 <= number < len(items):
        raise IndexError(f"index {part} is out of bounds")
    return number


def _get(holder: Any, path: Sequence[str], default: Any = _MISSING) -> Any:
    found = holder
    for part in path:
        try:
            found = _step(found, part)
        except (KeyError, IndexError):
            if default is _MISSING:
                raise
            return default
    return found


def _add(holder: Any, path: Sequence[str], value: Any) -> None:
    parent = _get(holder, path[:-1])
    if isinstance(parent, list):
        at = len(parent) if path[-1] == "-" else int(path[-1])
        if not 0 <= at <= len(parent):
            raise IndexError(f"index {path[-1]} is out of bounds")
        parent.insert(at, value)
    else:
        parent[path[-1]] = value


def _remove(holder: Any, path: Sequence[str]) -> Any:
    parent = _get(holder, path[:-1])
    return parent.pop(_index(path[-1], parent) if isinstance(parent, list) else path[-1])


def merge_patch(document: Any, patch: Any) -> Any:
    """RFC 7386: null removes, lists are replaced."""
    if not isinstance(patch, Mapping):
        return copy.deepcopy(patch)
    merged = dict(document) if isinstance(document, Mapping) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge_patch(merged.get(name), value)
    return merged


def strategic_patch(document: Any, patch: Any, merge_key: MergeKey, path: tuple[str, ...] = ()) -> Any:
    """Like a merge patch; a list with a merge key is merged item by item, with ``$patch`` and its like obeyed."""
    if not isinstance(patch, Mapping):
        return copy.deepcopy(patch)
    if patch.get("$patch") == "replace":
        return {name: copy.deepcopy(value) for name, value in patch.items() if name != "$patch"}
    if patch.get("$patch") == "delete":
        return {}
    merged = dict(document) if isinstance(document, Mapping) else {}
    if "$retainKeys" in patch:
        merged = {name: value for name, value in merged.items() if name in patch["$retainKeys"]}
    for name, value in patch.items():
        if name.startswith("$deleteFromPrimitiveList/"):
            field = name.partition("/")[2]
            merged[field] = [one for one in merged.get(field) or () if one not in value]
        elif name.startswith("$"):
            continue
        elif value is None:
            merged.pop(name, None)
        elif isinstance(value, list):
            merged[name] = _strategic_list(merged.get(name) or [], value, merge_key, (*path, name))
        else:
            merged[name] = strategic_patch(merged.get(name), value, merge_key, (*path, name))
    return merged


def _strategic_list(items: list[Any], patches: list[Any], merge_key: MergeKey, path: tuple[str, ...]) -> list[Any]:
    key = merge_key(path)
    if key is None:
        return copy.deepcopy(patches)
    if key == "":  # a set
        return [*items, *(one for one in patches if one not in items)]
    if {"$patch": "replace"} in patches:
        return [copy.deepcopy(one) for one in patches if one != {"$patch": "replace"}]
    merged = list(items)
    for patch in patches:
        if key not in patch:
            raise PatchError(f"map: {patch} does not contain declared merge key: {key}")
        at = next((number for number, item in enumerate(merged) if item.get(key) == patch[key]), None)
        if patch.get("$patch") == "delete":
            merged = [item for item in merged if item.get(key) != patch[key]]
        elif at is None:
            merged.append(strategic_patch({}, patch, merge_key, path))
        else:
            merged[at] = strategic_patch(merged[at], patch, merge_key, path)
    return merged
