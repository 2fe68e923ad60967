"""Names of the goals of events, and the other spellings that they may already have."""

import re
from typing import Final

GOAL_TYPES: Final = ("track", "page", "screen")  # the types that make goals (promise K-11)
EVENT_NAME_LENGTH: Final = 500  # a longer one makes no goal (K-20)
TEMPLATE: Final = "SegmentIO {type} – {name}"

# The spellings that Kameleoon's own pages and its classic destination have used (promise K-07).
OTHER_TEMPLATES: Final = ("SegmentIO {type} - {name}", "SegmentIO {type} — {name}", "Segment.io – {name}")


def name_goal(event_type: str, event_name: str, *, template: str = TEMPLATE) -> str:
    """Return the name of the goal that an event creates, e.g. `SegmentIO track – Clicked on Checkout` (K-06)."""
    # Not str.format, because a sender's event name may hold braces.
    before, after = template.split("{name}", 1)
    return before.replace("{type}", event_type) + event_name + after.replace("{type}", event_type)


def list_conventional_names(event_type: str, event_name: str, *, template: str = TEMPLATE) -> tuple[str, ...]:
    """Return the names that an event's goal may have, the site's own convention first (promises K-05 to K-07)."""
    templates = (template, TEMPLATE, *OTHER_TEMPLATES)
    return tuple(dict.fromkeys(name_goal(event_type, event_name, template=other) for other in templates))


def parse_goal_name(goal_name: str, *, template: str = TEMPLATE) -> tuple[tuple[str, str], ...]:
    """Return the events, as (type, name), that have this conventional name: the inverse of `list_conventional_names`.

    Three for a spelling without a type, such as `Segment.io – {name}`; none for a name that follows no convention.
    """
    templates = (template, TEMPLATE, *OTHER_TEMPLATES)
    events = [event for other in templates for event in _read_name(goal_name, other)]
    return tuple(dict.fromkeys(events))


def _read_name(goal_name: str, template: str) -> list[tuple[str, str]]:
    parts = {"{type}": f"(?P<type>{'|'.join(GOAL_TYPES)})", "{name}": "(?P<name>.+)"}
    pattern = "".join(parts.get(part, re.escape(part)) for part in re.split(r"({type}|{name})", template))
    match = re.fullmatch(pattern, goal_name, re.DOTALL)
    if match is None:
        return []
    types = (match["type"],) if "{type}" in template else GOAL_TYPES
    return [(event_type, match["name"]) for event_type in types]
