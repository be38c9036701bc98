# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Server-side apply: who owns which field (``managedFields``), and what happens when two want the same one.

A field is a path of ``f:name``, ``k:{"name":"web"}`` (an item of a keyed list) and ``v:"x"`` (an item of a set), as in
FieldsV1.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Path = tuple[str, ...]
Fields = dict[Path, Any]
ListKeys = Callable[[tuple[str, ...]], "tuple[str, ...] | None"]
"""Keys of the list at a path of field names: () for a set, None for a list that is one value."""

_SERVER_SET = {
    "name", "namespace", "uid", "resourceVersion", "generation", "creationTimestamp", "deletionTimestamp",
    "deletionGracePeriodSeconds", "managedFields", "generateName", "selfLink",
}  # fmt: skip
_ITEM = object()
"""The value of an item of a keyed list as such: that it is there."""


class ConflictError(Exception):
    """Fields that others own and that would get another value: ``[(manager, field), ...]``."""

    def __init__(self, conflicts: list[tuple[str, str]]) -> None:
        super().__init__(str(conflicts))
        self.conflicts = conflicts


@dataclass(frozen=True)
class Manager:
    """Who writes, and by what: ``operation`` is Apply or Update."""

    name: str
    operation: str
    api_version: str
    subresource: str
    time: str

    def owns(self, entry: Mapping[str, Any]) -> bool:
        key = (entry["manager"], entry["operation"], entry.get("subresource", ""))
        return key == (self.name, self.operation, self.subresource)


def fields_of(document: Mapping[str, Any], list_keys: ListKeys) -> Fields:
    """Every field that somebody can own, with its value."""
    found: Fields = {}
    for name, value in document.items():
        if name in ("apiVersion", "kind"):
            continue
        if name == "metadata":
            kept = {key: one for key, one in value.items() if key not in _SERVER_SET}
            _collect(kept, ("f:metadata",), ("metadata",), list_keys, found)
            found.pop(("f:metadata",), None)
        else:
            _collect(value, (f"f:{name}",), (name,), list_keys, found)
    return found


def _collect(value: Any, path: Path, names: tuple[str, ...], list_keys: ListKeys, found: Fields) -> None:
    if isinstance(value, Mapping) and value:
        for name, one in value.items():
            _collect(one, (*path, f"f:{name}"), (*names, name), list_keys, found)
        return
    keys = list_keys(names) if isinstance(value, list) else None
    if keys is None or not value:
        found[path] = value
        return
    for item in value:
        if keys:
            here = (*path, _item_key(item, keys))
            found[here] = _ITEM
            for name, one in item.items():
                _collect(one, (*here, f"f:{name}"), (*names, name), list_keys, found)
        else:
            found[(*path, "v:" + json.dumps(item))] = item


def _item_key(item: Mapping[str, Any], keys: tuple[str, ...]) -> str:
    # The only key with a default in what is used here.
    values = {key: item.get(key, "TCP" if key == "protocol" else None) for key in keys}
    return "k:" + json.dumps(values, sort_keys=True, separators=(",", ":"))


def update(
    before: Mapping[str, Any] | None, after: dict[str, Any], manager: Manager, list_keys: ListKeys
) -> dict[str, Any]:
    """``after`` with the managed fields of an ordinary write: what has changed belongs to who changed it."""
    old, new = fields_of(before or {}, list_keys), fields_of(after, list_keys)
    changed = {path for path, value in new.items() if path not in old or old[path] != value}
    entries = []
    mine: set[Path] = set()
    for entry in (before or {}).get("metadata", {}).get("managedFields") or ():
        owned = _unpack(entry["fieldsV1"])
        if manager.owns(entry):
            mine |= owned
        else:
            entries.append((entry, (owned - changed) & new.keys()))
    mine = (mine & new.keys()) | changed
    return _with_entries(after, entries, manager, mine)


def apply(
    live: Mapping[str, Any] | None, config: Mapping[str, Any], manager: Manager, list_keys: ListKeys, *, force: bool
) -> dict[str, Any]:
    """What ``live`` becomes when ``manager`` applies ``config``; ``ConflictError`` unless it is forced."""
    wanted = fields_of(config, list_keys)
    actual = fields_of(live or {}, list_keys)
    conflicts, others = [], []
    before: set[Path] = set()
    for entry in (live or {}).get("metadata", {}).get("managedFields") or ():
        owned = _unpack(entry["fieldsV1"])
        if manager.owns(entry):
            before = owned
            continue
        lost = {path for path in owned & wanted.keys() if wanted[path] != actual.get(path, _ITEM)}
        conflicts += [(entry["manager"], _readable(path)) for path in sorted(lost)]
        others.append((entry, owned - lost))
    if conflicts and not force:
        raise ConflictError(conflicts)
    result = _merge(live or {}, config, (), list_keys)
    kept = set().union(*(owned for _entry, owned in others)) if others else set()
    for path in sorted(before - wanted.keys() - kept, key=len, reverse=True):
        if not any(other[: len(path)] == path for other in kept | wanted.keys()):
            _drop(result, path)
    return _with_entries(result, others, manager, set(wanted))


def _merge(live: Any, config: Any, names: tuple[str, ...], list_keys: ListKeys) -> Any:
    if isinstance(live, Mapping) and isinstance(config, Mapping):
        merged = copy.deepcopy(dict(live))
        for name, value in config.items():
            merged[name] = _merge(merged.get(name), value, (*names, name), list_keys)
        return merged
    keys = list_keys(names) if isinstance(live, list) and isinstance(config, list) else None
    if keys is None:
        return copy.deepcopy(config)
    merged_list = list(live)
    for item in config:
        known = [_item_key(one, keys) for one in merged_list] if keys else merged_list
        wanted = _item_key(item, keys) if keys else item
        if wanted in known:
            at = known.index(wanted)
            merged_list[at] = _merge(merged_list[at], item, names, list_keys)
        else:
            merged_list.append(copy.deepcopy(item))
    return merged_list


def _drop(document: Any, path: Path) -> None:
    """Remove a field, and a map that is empty without it."""
    head, *rest = path
    if isinstance(document, list):
        wanted = json.loads(head[2:])
        at = next((number for number, item in enumerate(document) if _matches(item, wanted, head)), None)
        if at is None:
            return
        if rest:
            _drop(document[at], tuple(rest))
        else:
            document.pop(at)
        return
    name = head[2:]
    if not isinstance(document, dict) or name not in document:
        return
    if rest:
        _drop(document[name], tuple(rest))
        if document[name] in ({}, []):
            document.pop(name)
    else:
        document.pop(name)


def _matches(item: Any, wanted: Any, head: str) -> bool:
    if head.startswith("v:"):
        return bool(item == wanted)
    return all(item.get(key, "TCP" if key == "protocol" else None) == value for key, value in wanted.items())


def _with_entries(
    document: dict[str, Any], others: list[tuple[Mapping[str, Any], set[Path]]], manager: Manager, mine: set[Path]
) -> dict[str, Any]:
    entries = [{**entry, "fieldsV1": _pack(owned)} for entry, owned in others if owned]
    if mine:
        entry = {
            "manager": manager.name,
            "operation": manager.operation,
            "apiVersion": manager.api_version,
            "time": manager.time,
            "fieldsType": "FieldsV1",
            "fieldsV1": _pack(mine),
        }
        entries.append({**entry, **({"subresource": manager.subresource} if manager.subresource else {})})
    metadata = {**document.get("metadata", {}), "managedFields": entries}
    return {**document, "metadata": metadata}


def _pack(paths: set[Path]) -> dict[str, Any]:
    packed: dict[str, Any] = {}
    for path in sorted(paths):
        node = packed
        for part in path:
            node = node.setdefault(part, {})
        node["."] = {}
    return _without_leaf_dots(packed)


def _without_leaf_dots(node: dict[str, Any]) -> dict[str, Any]:
    if set(node) == {"."}:
        return {}
    return {name: _without_leaf_dots(child) if name != "." else {} for name, child in node.items()}


def _unpack(node: Mapping[str, Any], path: Path = ()) -> set[Path]:
    if not node:
        return {path} if path else set()
    found: set[Path] = {path} if "." in node else set()
    return found.union(*(_unpack(child, (*path, name)) for name, child in node.items() if name != "."))


def _readable(path: Path) -> str:
    return "".join(f".{part[2:]}" if part.startswith("f:") else f"[{part[2:]}]" for part in path)
