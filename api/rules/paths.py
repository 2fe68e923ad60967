r"""Fields of an event, named by paths. Pure.

A path is `properties.items.0.price`, `context.page.title` or `event`; a dot within a name is written `\.`. `traits.…`
is looked for wherever senders put traits: `traits`, `context.traits`, and `properties` of an identify or group, where
Segment's Kameleoon destination puts them (promises W4, A-15), or of an event that says it computed this trait. Names
are compared exactly, letter case included, as traits of a profile are.
"""

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Final

Path = tuple[str, ...]

ABSENT: Final = object()
DOT: Final = re.compile(r"(?<!\\)\.")


def find(type_: str, fields: Mapping[str, Any], path: str) -> Any:
    """The value under a path, ABSENT where there is none."""
    if path == "type":
        return type_  # as it was taken: in lower case, or inferred
    for place in places(type_, fields, path):
        value = _walk(fields, place)
        if value is not ABSENT:
            return value
    return ABSENT


def change(type_: str, fields: Mapping[str, Any], path: str, new: Callable[[Any], Any]) -> dict[str, Any]:
    """A copy of the event with `new(value)` wherever the path leads; a field that becomes ABSENT is left out.

    Where a list stands and no number is given, each of its items is meant: what must not be stored is in none of them.
    """
    event = dict(fields)
    for place in places(type_, fields, path):
        event = _change(event, place, new)
    return event


def is_path(path: str) -> bool:
    """Whether all names of a path are there."""
    return bool(path) and all(parse_path(path))


@lru_cache(maxsize=4_096)
def parse_path(path: str) -> Path:
    """The names of a path."""
    return tuple(part.replace("\\.", ".") for part in DOT.split(path))


def places(type_: str, fields: Mapping[str, Any], path: str) -> list[Path]:
    """Where a path may lead in an event of this type; more than one place for traits."""
    names = parse_path(path)
    if names[0] != "traits":
        return [names]
    has_moved = type_ in {"identify", "group"} or names[1:2] in computed_traits(fields)
    moved = [("properties", *names[1:])] if has_moved else []
    return [names, *moved, ("context", *names)]


def computed_traits(fields: Mapping[str, Any]) -> list[Path]:
    """Return the names of the traits that an event says it computed: their values stand among its properties."""
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


def _change(value: Any, path: Path, new: Callable[[Any], Any]) -> Any:
    name, rest = path[0], path[1:]
    if isinstance(value, dict):
        if name not in value:
            return value
        changed = _change(value[name], rest, new) if rest else new(value[name])
        if changed is ABSENT:
            return {each: kept for each, kept in value.items() if each != name}
        return {**value, name: changed}
    if isinstance(value, list):
        if not (name.isascii() and name.isdigit()):
            return [_change(each, path, new) for each in value]
        if int(name) < len(value):
            changed = _change(value[int(name)], rest, new) if rest else new(value[int(name)])
            changed = None if changed is ABSENT else changed  # the others keep their places
            return [*value[: int(name)], changed, *value[int(name) + 1 :]]
    return value
