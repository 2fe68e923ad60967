r"""Fields of an event, named by paths. Pure.

A path is `properties.items.0.price`, `context.page.title` or `event`; a dot within a name is written `\.`. A path
below `traits` leads to all places where senders put traits: `traits`, `context.traits`, and `properties` of some events
(promises W4, A-15). Names are compared exactly, with case, as the traits of a person are.
"""

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Final

from api.events.types import EVENT_TYPES

Path = tuple[str, ...]

ABSENT: Final = object()
DOT: Final = re.compile(r"(?<!\\)\.")
TYPES_WITH_MOVED_TRAITS: Final = {type_.name for type_ in EVENT_TYPES.values() if type_.has_traits_in_properties}


def find_value(type_: str, fields: Mapping[str, Any], path: str) -> Any:
    """Return the value of a path, ABSENT if it leads nowhere."""
    if path == "type":
        return type_  # in lower case, or inferred
    for place in expand_path(type_, fields, path):
        value = _walk(fields, place)
        if value is not ABSENT:
            return value
    return ABSENT


def replace_value(type_: str, fields: dict[str, Any], path: str, new: Callable[[Any], Any]) -> bool:
    """Replace the values of a path by `new(value)`, in place. Return False if the path leads nowhere.

    A field that becomes ABSENT is removed. A list without an index means each of its items, so that no item keeps a
    value that must not be stored.
    """
    return (
        sum(_change(fields, place, new) for place in expand_path(type_, fields, path)) > 0
    )  # all of them, unlike `any`


def may_exist(type_: str, fields: Mapping[str, Any], path: str) -> bool:
    """Return False if a path certainly leads nowhere in an event. Looks into objects only, not into lists."""
    return any(_may_lead(fields, place) for place in expand_path(type_, fields, path))


def is_path(path: str) -> bool:
    """Return True if all names of a path are non-empty."""
    return bool(path) and all(parse_path(path))


@lru_cache(maxsize=4_096)
def parse_path(path: str) -> Path:
    """Return the names of a path."""
    return tuple(part.replace("\\.", ".") for part in DOT.split(path))


def expand_path(type_: str, fields: Mapping[str, Any], path: str) -> list[Path]:
    """Return the places of a path in an event of this type: several for traits, otherwise one."""
    names = parse_path(path)
    if names[0] != "traits":
        return [names]
    has_moved = type_ in TYPES_WITH_MOVED_TRAITS or names[1:2] in find_computed_traits(fields)
    moved = [("properties", *names[1:])] if has_moved else []
    return [names, *moved, ("context", *names)]


def find_computed_traits(fields: Mapping[str, Any]) -> list[Path]:
    """Return the names of the computed traits of an event, the values of which are in its properties."""
    names = (_walk(fields, ("properties", "trait_key")), _walk(fields, ("context", "personas", "computation_key")))
    return [(name,) for name in names if isinstance(name, str)]


def _walk(value: Any, path: Path) -> Any:
    for name in path:
        if isinstance(value, dict):
            value = value.get(name, ABSENT)
        elif isinstance(value, list) and name.isascii() and name.isdigit() and int(name) < len(value):
            value = value[int(name)]
        else:
            return ABSENT
    return value


def _may_lead(value: Any, path: Path) -> bool:
    for name in path:
        if not isinstance(value, dict):
            return isinstance(value, list)
        if name not in value:
            return False
        value = value[name]
    return True


def _change(value: Any, path: Path, new: Callable[[Any], Any]) -> bool:
    name, rest = path[0], path[1:]
    if isinstance(value, dict):
        at: str | int | None = name if name in value else None
    elif not isinstance(value, list):
        at = None
    elif name.isascii() and name.isdigit():
        at = int(name) if int(name) < len(value) else None
    else:
        # A list may have a hundred thousand items: look only into those that may hold the field.
        items = (item for item in value if type(item) is list or (type(item) is dict and name in item))
        return sum(_change(item, path, new) for item in items) > 0
    if at is None:
        return False
    if rest:
        return _change(value[at], rest, new)
    _put(value, at, new(value[at]))
    return True


def _put(holder: Any, at: str | int, value: Any) -> None:
    """Put a value into an object or a list. ABSENT removes a field, and becomes null in a list."""
    if value is not ABSENT:
        holder[at] = value
    elif isinstance(holder, dict):
        del holder[at]
    else:
        holder[at] = None
