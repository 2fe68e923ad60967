"""Changes of goals by people, also by two at a time."""

import pytest

from api.ingest.provisioning import create_site
from api.models import Site
from goals import catalogue
from goals.matching import EventName
from goals.models import Goal, GoalBinding, Tag
from tests.world import START

TEMPLATE = "SegmentIO {type} – {name}"
pytestmark = pytest.mark.django_db


@pytest.fixture
def site() -> Site:
    return create_site(name="Shop")


def make_goal(site: Site, name: str, *, by_event: bool = False) -> Goal:
    origin = Goal.Origin.EVENT if by_event else Goal.Origin.PERSON
    goal = Goal(site=site, name=name, origin=origin, is_named_by_event=by_event)
    return catalogue.create_goal(goal, template=TEMPLATE)


def bound_events(goal: Goal) -> set[tuple[str, str]]:
    return set(GoalBinding.objects.filter(goal=goal).values_list("event_type", "event_name"))


def test_change_goal__archived_meanwhile_by_somebody_else__stays_archived(site: Site) -> None:
    goal = make_goal(site, "Buy")
    catalogue.archive_goal(Goal.objects.get(), now=START)

    goal.description = "What counts"
    catalogue.change_goal(goal, template=TEMPLATE)

    assert Goal.objects.get().archived_at == START


def test_change_goal__deleted_meanwhile_by_somebody_else__stays_deleted(site: Site) -> None:
    goal = make_goal(site, "Buy")
    catalogue.delete_goal(Goal.objects.get(), now=START)

    goal.description = "What counts"
    with pytest.raises(Goal.DoesNotExist):
        catalogue.change_goal(goal, template=TEMPLATE)

    assert Goal.objects.get().deleted_at == START


def test_change_goal__renamed_meanwhile_by_somebody_else__keeps_that_name(site: Site) -> None:
    goal = make_goal(site, "Buy")
    Goal.objects.update(name="Bought")

    goal.description = "What counts"
    catalogue.change_goal(goal, fields=["description"], template=TEMPLATE)

    changed = Goal.objects.get()
    assert (changed.name, changed.description) == ("Bought", "What counts")


def test_change_goal__keeps_receiving__binds_the_event_of_a_made_goal(site: Site) -> None:
    goal = make_goal(site, "SegmentIO track – Buy", by_event=True)

    goal.name = "Bought"
    catalogue.change_goal(goal, keeps_receiving=True, template=TEMPLATE)

    assert bound_events(goal) == {("track", "Buy")}


def test_change_goal__keeps_receiving__binds_only_events_that_led_here(site: Site) -> None:
    """`Segment.io – Buy` is last in the lookup: tracks and screens go to other goals."""
    make_goal(site, "SegmentIO track – Buy", by_event=True)
    bound_elsewhere = make_goal(site, "Other")
    binding = GoalBinding(site=site, event_type="screen", event_name="Buy", goal=bound_elsewhere)
    binding.save()
    goal = make_goal(site, "Segment.io – Buy")

    goal.name = "Bought"
    catalogue.change_goal(goal, keeps_receiving=True, template=TEMPLATE)

    bare = {(event_type, "Segment.io – Buy") for event_type in ("track", "page", "screen")}
    assert bound_events(goal) == {("page", "Buy"), *bare}


def test_change_goal__keeps_receiving_under_a_persons_name__binds_that_bare_name(site: Site) -> None:
    goal = make_goal(site, "Buy")

    goal.name = "Bought"
    catalogue.change_goal(goal, keeps_receiving=True, template=TEMPLATE)

    assert bound_events(goal) == {("track", "Buy"), ("page", "Buy"), ("screen", "Buy")}


def test_change_goal__keeps_receiving_under_a_name_too_long_for_an_event__binds_nothing(site: Site) -> None:
    goal = make_goal(site, "B" * 501)

    goal.name = "Bought"
    catalogue.change_goal(goal, keeps_receiving=True, template=TEMPLATE)

    assert bound_events(goal) == set()


def test_unbind_event__bound_event__is_nobodys_again(site: Site) -> None:
    goal = make_goal(site, "Buy")
    binding = catalogue.bind_event(goal, EventName("track", "Old"), template=TEMPLATE)

    catalogue.unbind_event(binding)

    assert bound_events(goal) == set()


def test_tags__renamed_and_merged__stay_on_their_goals(site: Site) -> None:
    one, both = make_goal(site, "One"), make_goal(site, "Both")
    catalogue.set_tags(one, ["old"])
    catalogue.set_tags(both, ["old", "new"])
    old, new = Tag.objects.get(name="old"), Tag.objects.get(name="new")

    with pytest.raises(catalogue.TagTakenError) as taken:
        catalogue.rename_tag(old, "new")
    assert taken.value.tag_id == new.pk
    stale = Tag.objects.get(pk=old.pk)
    assert catalogue.merge_tags(old, new) == catalogue.merge_tags(new, new) == new
    with pytest.raises(Tag.DoesNotExist):  # two people at once, in both directions
        catalogue.merge_tags(new, stale)
    with pytest.raises(Tag.DoesNotExist):
        catalogue.rename_tag(stale, "another")
    assert catalogue.rename_tag(new, "newer").name == "newer"

    assert [list(goal.tags.values_list("name", flat=True)) for goal in (one, both)] == [["newer"], ["newer"]]
    assert not Tag.objects.filter(name="old").exists()
    with pytest.raises(ValueError, match="two sites"):
        catalogue.merge_tags(new, Tag.objects.create(site=create_site(name="Other"), name="newer"))
