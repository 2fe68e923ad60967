r"""Fields of an event, named by paths. Pure.

A path is `properties.items.0.price`, `context.page.title` or `event`; a dot within a name is written `\.`. `traits.…`
is looked for wherever senders put traits: `traits`, `context.traits`, and `properties`. The last are
those of an identify or group (Segment's Kameleoon destination puts traits there: promises W4, A-15) or of the event of
a computed trait. Names are compared exactly, letter case included, as traits of a profile are.
"""

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Final

Path = tuple[str, ...]

ABSENT: Final = object()
DOT: Final = re.compile(r"(?<!\\)\.")


def find_value(type_: str, fields: Mapping[str, Any], path: str) -> Any:
    """The value under a path, ABSENT where there is none."""
    if path == "type":
        return type_  # as it was taken: in lower case, or inferred
    for place in expand_path(type_, fields, path):
        value = _walk(fields, place)
        if value is not ABSENT:
            return value
    return ABSENT


def replace_value(type_: str, fields: dict[str, Any], path: str, new: Callable[[Any], Any]) -> bool:
    """Put `new(value)` wherever the path leads, in place, and return whether it leads anywhere.

    A field that becomes ABSENT is left out. A list without a number means each of its items, so that no item
    keeps what must not be stored.
    """
    return (
        sum(_change(fields, place, new) for place in expand_path(type_, fields, path)) > 0
    )  # all of them, unlike `any`


def may_exist(type_: str, fields: Mapping[str, Any], path: str) -> bool:
    """Return whether a path may lead somewhere in an event: False only where objects alone tell that it does not."""
    return any(_may_lead(fields, place) for place in expand_path(type_, fields, path))


def is_path(path: str) -> bool:
    """Whether all names of a path are there."""
    return bool(path) and all(parse_path(path))


@lru_cache(maxsize=4_096)
def parse_path(path: str) -> Path:
    """The names of a path."""
    return tuple(part.replace("\\.", ".") for part in DOT.split(path))


def expand_path(type_: str, fields: Mapping[str, Any], path: str) -> list[Path]:
    """Where a path may lead in an event of this type; more than one place for traits."""
    names = parse_path(path)
    if names[0] != "traits":
        return [names]
    has_moved = type_ in {"identify", "group"} or names[1:2] in find_computed_traits(fields)
    moved = [("properties", *names[1:])] if has_moved else []
    return [names, *moved, ("context", *names)]


def find_computed_traits(fields: Mapping[str, Any]) -> list[Path]:
    """Return the names of the traits that an event says it computed; their values are among its properties."""
    found = (_walk(fields, ("properties", "trait_key")), _walk(fields, ("context", "personas", "computation_key")))
    return [(name,) for name in found if isinstance(name, str)]


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
        # A list may have a hundred thousand items: only those that may hold the field are looked into.
        items = (each for each in value if type(each) is list or (type(each) is dict and name in each))
        return sum(_change(each, path, new) for each in items) > 0
    if at is None:
        return False
    if rest:
        return _change(value[at], rest, new)
    _put(value, at, new(value[at]))
    return True


def _put(holder: Any, at: str | int, value: Any) -> None:
    """Put a value into an object or a list, ABSENT by leaving it out; the other items of a list keep their places."""
    if value is not ABSENT:
        holder[at] = value
    elif isinstance(holder, dict):
        del holder[at]
    else:
        holder[at] = None
