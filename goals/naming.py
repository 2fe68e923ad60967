"""What the goal of an event is called, and the other spellings it may already have."""

import re
from typing import Final

EVENT_TYPES: Final = ("track", "page", "screen")  # those that make goals (promises K-11)
EVENT_NAME_LENGTH: Final = 500  # a longer one makes no goal (K-20)
TEMPLATE: Final = "SegmentIO {type} – {name}"

# The spellings that Kameleoon's own pages and its classic destination have used (promises K-07).
OTHER_TEMPLATES: Final = ("SegmentIO {type} - {name}", "SegmentIO {type} — {name}", "Segment.io – {name}")


def name_goal(event_type: str, event_name: str, *, template: str = TEMPLATE) -> str:
    """The name of the goal that an event creates, e.g. `SegmentIO track – Clicked on Checkout` (promises K-06)."""
    # Not str.format: the name is a stranger's text and may hold braces.
    before, after = template.split("{name}", 1)
    return before.replace("{type}", event_type) + event_name + after.replace("{type}", event_type)


def list_conventional_names(event_type: str, event_name: str, *, template: str = TEMPLATE) -> tuple[str, ...]:
    """The names under which an event's goal may stand, the site's own convention first (promises K-05 to K-07)."""
    names = [name_goal(event_type, event_name, template=each) for each in (template, TEMPLATE, *OTHER_TEMPLATES)]
    return tuple(dict.fromkeys(names))


def parse_goal_name(goal_name: str, *, template: str = TEMPLATE) -> tuple[tuple[str, str], ...]:
    """The events, as (type, name), whose conventional names include this one: the inverse of `list_conventional_names`.

    Three for a spelling without a type, such as `Segment.io – {name}`; none for a name that follows no convention.
    """
    events = [event for each in (template, TEMPLATE, *OTHER_TEMPLATES) for event in _read_name(goal_name, each)]
    return tuple(dict.fromkeys(events))


def _read_name(goal_name: str, template: str) -> list[tuple[str, str]]:
    parts = {"{type}": f"(?P<type>{'|'.join(EVENT_TYPES)})", "{name}": "(?P<name>.+)"}
    pattern = "".join(parts.get(part, re.escape(part)) for part in re.split(r"({type}|{name})", template))
    found = re.fullmatch(pattern, goal_name, re.DOTALL)
    if found is None:
        return []
    types = (found["type"],) if "{type}" in template else EVENT_TYPES
    return [(event_type, found["name"]) for event_type in types]
