"""What the goal of an event is called, and the other spellings it may already have."""

from typing import Final

TEMPLATE: Final = "SegmentIO {type} – {name}"

# The spellings that Kameleoon's own pages and its classic destination have used (promises K-07).
OTHER_TEMPLATES: Final = ("SegmentIO {type} - {name}", "SegmentIO {type} — {name}", "Segment.io – {name}")


def name_goal(event_type: str, event_name: str, *, template: str = TEMPLATE) -> str:
    """The name of the goal that an event creates, e.g. `SegmentIO track – Clicked on Checkout` (promises K-06)."""
    # Not str.format: the name is a stranger's text and may hold braces.
    before, after = template.split("{name}", 1)
    return before.replace("{type}", event_type) + event_name + after.replace("{type}", event_type)


def conventional_names(event_type: str, event_name: str, *, template: str = TEMPLATE) -> tuple[str, ...]:
    """The names under which an event's goal may stand, the site's own convention first (promises K-05 to K-07)."""
    names = [name_goal(event_type, event_name, template=each) for each in (template, TEMPLATE, *OTHER_TEMPLATES)]
    return tuple(dict.fromkeys(names))
