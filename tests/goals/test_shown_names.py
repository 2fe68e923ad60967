"""Names of goals as pages show them, and their order."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from goals.models import Goal
from goals.naming import OTHER_TEMPLATES, TEMPLATE, name_goal
from goals.shown_names import show_name, shown_sort_key
from tests.world import World

TEMPLATES = (TEMPLATE, *OTHER_TEMPLATES, "{name}", "{name} ({type})", "Event: {name}|{type}|")


@pytest.mark.parametrize(
    ("name", "template", "shown"),
    [
        ("SegmentIO track – Order Completed", TEMPLATE, ("Order Completed", "track")),
        ("SegmentIO page - Home", TEMPLATE, ("Home", "page")),
        ("Segment.io – Buy", TEMPLATE, ("Buy", "")),
        ("SegmentIO track – SegmentIO track – Buy", TEMPLATE, ("SegmentIO track – Buy", "track")),
        ("SegmentIO track – ", TEMPLATE, ("SegmentIO track – ", "")),
        ("Purchase", TEMPLATE, ("Purchase", "")),
        ("Buy (track)", "{name} ({type})", ("Buy", "track")),
        ("SegmentIO screen – Cart", "{name}", ("Cart", "screen")),  # made before the site chose its template
        ("Cart", "{name}", ("Cart", "")),
        ("SegmentIO track – طلب", TEMPLATE, ("طلب", "track")),
    ],
)
def test_shown_name__of_a_goal_without_a_display_name__is_that_of_its_event(
    name: str, template: str, shown: tuple[str, str]
) -> None:
    seen = show_name(name, template=template)

    assert (seen.text, seen.event_type) == shown
    assert str(seen) == f"{shown[1]} {shown[0]}".removeprefix(" " if not shown[1] else "")


def test_shown_name__with_a_display_name__is_that() -> None:
    seen = show_name("SegmentIO track – Buy", "Orders", template=TEMPLATE)

    assert (seen.text, seen.event_type) == ("Orders", "")


@given(st.sampled_from(TEMPLATES), st.sampled_from(("track", "page", "screen")), st.text(min_size=1, max_size=40))
def test_shown_name__of_an_events_goal__is_a_part_of_the_name_that_ends_the_search(
    template: str, event_type: str, event: str
) -> None:
    name = name_goal(event_type, event, template=template)

    seen = show_name(name, template=template)

    assert seen.text in name
    assert seen.text
    assert len(seen.text) <= len(event)


@pytest.mark.parametrize("template", [TEMPLATE, "{name} ({type})", "G1{name}", "{name}"])
def test_sort_key__of_shown_names__is_that_of_their_text(world: World, template: str) -> None:
    names = ["a10", "a9", "Äpfel", "zebra", "(x)", "SegmentIO track – Buy", "a"]
    for name in names:
        for type_ in ("track", "page"):
            Goal.objects.create(site=world.site, name=name_goal(type_, name, template=TEMPLATE)[:600])
        Goal.objects.get_or_create(site=world.site, name=name)
    Goal.objects.create(site=world.site, name="hidden", display_name="b")

    ordered = Goal.objects.filter(site=world.site).order_by(shown_sort_key(template), "pk")

    shown = [show_name(goal.name, goal.display_name, template=template).text.casefold() for goal in ordered]
    expected = ["(x)"] * 3 + ["a"] * 3 + ["a9"] * 3 + ["a10"] * 3 + ["äpfel"] * 3 + ["b"]
    assert shown[: len(expected)] == expected
    assert shown[-3:] == ["zebra"] * 3
