"""From an event's name to its goal's, and back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from goals.naming import GOAL_TYPES, OTHER_TEMPLATES, TEMPLATE, list_conventional_names, name_goal, parse_goal_name

TEMPLATES = (
    TEMPLATE,
    *OTHER_TEMPLATES,
    "{name} ({type})",
    "{type}{name}",
    "Event: {name}|{type}|",
    "{name} – {type} – ",
)


@pytest.mark.parametrize(
    ("goal_name", "events"),
    [
        ("SegmentIO track – Buy", (("track", "Buy"),)),
        ("SegmentIO page - Home", (("page", "Home"),)),
        ("SegmentIO screen — Cart", (("screen", "Cart"),)),
        ("Segment.io – Buy", (("track", "Buy"), ("page", "Buy"), ("screen", "Buy"))),
        ("SegmentIO track – SegmentIO track – Buy", (("track", "SegmentIO track – Buy"),)),
        ("SegmentIO track –  two spaces", (("track", " two spaces"),)),
        ("SegmentIO track – a\nb", (("track", "a\nb"),)),
        ("SegmentIO identify – Buy", ()),
        ("segmentio track – Buy", ()),
        ("SegmentIO track – ", ()),
        ("Buy", ()),
        ("Shop/track/Buy", (("track", "Buy"),)),
    ],
)
def test_events_named__goal_name__are_those_it_conventionally_belongs_to(
    goal_name: str, events: tuple[tuple[str, str], ...]
) -> None:
    assert parse_goal_name(goal_name, template="Shop/{type}/{name}") == events


@given(st.sampled_from(GOAL_TYPES), st.text(min_size=1), st.sampled_from(TEMPLATES))
def test_events_named__any_event__is_found_from_its_goals_name(event_type: str, name: str, template: str) -> None:
    assert (event_type, name) in parse_goal_name(name_goal(event_type, name, template=template), template=template)


@given(st.sampled_from(GOAL_TYPES), st.text(min_size=1), st.sampled_from(TEMPLATES))
def test_events_named__whatever_it_finds__has_the_name_among_its_own(event_type: str, name: str, template: str) -> None:
    goal_name = name_goal(event_type, name, template=template)
    for event in parse_goal_name(goal_name, template=template):
        assert goal_name in list_conventional_names(*event, template=template)
