"""Events become goals: names, lookup, renaming and deleting, and whose conversions they are."""

from typing import Any

import pytest

from goals import catalogue
from goals.matching import EventName
from goals.models import Conversion, Goal, Tag
from tests.world import START, World

TEMPLATE = "SegmentIO {type} – {name}"


def make_goal(world: World, name: str, origin: str = Goal.Origin.PERSON) -> Goal:
    return catalogue.create_goal(Goal(site=world.site, name=name, origin=origin), template=TEMPLATE)


@pytest.mark.promise("K-02", "K-28")
def test_lookup__event_named_like_a_persons_goal__converts_it(world: World) -> None:
    make_goal(world, "Purchase")

    world.track("Purchase")

    assert world.goals() == {"Purchase": 1}


@pytest.mark.promise("K-14")
def test_lookup__event_named_like_a_made_goal__makes_its_own(world: World) -> None:
    world.track("Purchase")

    world.track("SegmentIO track – Purchase")

    assert world.goals() == {"SegmentIO track – Purchase": 1, "SegmentIO track – SegmentIO track – Purchase": 1}


@pytest.mark.promise("K-04", "K-07", "K-86")
@pytest.mark.parametrize(
    "name",
    ["SegmentIO track – Buy", "SegmentIO track - Buy", "SegmentIO track — Buy", "Segment.io – Buy"],
)
def test_lookup__goal_in_another_spelling__keeps_counting(world: World, name: str) -> None:
    make_goal(world, name, Goal.Origin.IMPORT)

    world.track("Buy")

    assert world.goals() == {name: 1}


@pytest.mark.promise("K-12", "K-05")
def test_lookup__same_name_under_two_types__makes_two_goals(world: World) -> None:
    world.send(
        world.event("page", name="Home"), world.event("screen", name="Home"), world.event("screen", event="Home")
    )

    assert world.goals() == {"SegmentIO page – Home": 1, "SegmentIO screen – Home": 2}


@pytest.mark.promise("K-15")
def test_rename__made_goal__is_not_found_again(world: World) -> None:
    world.track("Old")
    goal = Goal.objects.get()
    goal.name = "Renamed"
    catalogue.change_goal(goal, template=TEMPLATE)

    world.track("Old")

    assert world.goals() == {"Renamed": 1, "SegmentIO track – Old": 1}


@pytest.mark.promise("K-16")
def test_rename__event_renamed_to_the_goals_new_name__converts_it(world: World) -> None:
    world.track("Old")
    goal = Goal.objects.get()
    goal.name = "Foo"
    catalogue.change_goal(goal, template=TEMPLATE)

    world.track("Foo")

    assert world.goals() == {"Foo": 2}


@pytest.mark.promise("K-17")
def test_rename__goal_renamed_along_with_its_event__keeps_converting(world: World) -> None:
    world.track("Old")
    goal = Goal.objects.get()
    goal.name = "SegmentIO track – New"
    catalogue.change_goal(goal, template=TEMPLATE)

    world.track("New")

    assert world.goals() == {"SegmentIO track – New": 2}


@pytest.mark.promise("K-15", "K-14")
def test_rename__with_its_events_bound__keeps_receiving_them(world: World) -> None:
    world.track("Old")
    goal = Goal.objects.get()
    catalogue.bind_event(goal, EventName("track", "Old"), template=TEMPLATE)
    goal.name = "Renamed"
    catalogue.change_goal(goal, template=TEMPLATE)
    make_goal(world, "Old")

    world.track("Old")

    assert world.goals() == {"Renamed": 2, "Old": 0}


@pytest.mark.promise("K-18")
def test_delete__goal_with_conversions__next_event_starts_a_new_one(world: World) -> None:
    world.track("Buy")
    old = Goal.objects.get()

    catalogue.delete_goal(old, now=START)
    world.track("Buy")

    new = Goal.objects.get(deleted_at=None)
    assert new.pk != old.pk
    assert world.goals() == {"SegmentIO track – Buy": 1}


@pytest.mark.promise("K-18")
def test_purge__deleted_goal__leaves_no_row(world: World) -> None:
    world.track("Buy")
    world.track("Keep")
    catalogue.delete_goal(Goal.objects.get(name__endswith="Buy"), now=START)

    while catalogue.purge_deleted():
        pass

    assert Goal.objects.count() == Conversion.objects.count() == 1


@pytest.mark.promise("K-19")
def test_archive__goal__still_converts_and_is_flagged(world: World) -> None:
    world.track("Buy")
    catalogue.archive_goal(Goal.objects.get(), now=START)

    world.track("Buy")

    assert world.goals() == {"SegmentIO track – Buy": 2}
    assert world.last_message().warnings == ["archived_goal"]


@pytest.mark.promise("K-19")
def test_create__name_of_a_live_goal__is_refused(world: World) -> None:
    make_goal(world, "Buy")

    with pytest.raises(catalogue.NameTakenError):
        make_goal(world, "Buy")


@pytest.mark.promise("K-08")
def test_tag__goals_made_by_events__share_one(world: World) -> None:
    world.track("One")
    world.track("Two")

    assert Tag.objects.get().name == "segment.io"
    assert Tag.objects.get().goals.count() == 2


@pytest.mark.promise("K-20")
@pytest.mark.parametrize("other", ["buy", " Buy", "Buy ", "BUY", "Buy\u200b"])
def test_matching__name_that_differs_in_anything__is_another_goal(world: World, other: str) -> None:
    world.send(world.event(event="Buy"), world.event(event=other))

    assert world.goals() == {"SegmentIO track – Buy": 1, f"SegmentIO track – {other}": 1}


@pytest.mark.promise("K-20")
def test_name__of_500_characters__is_stored_whole_and_longer_refused(world: World) -> None:
    world.send(world.event(event="é" * 500), world.event(event="é" * 501))

    assert world.goals() == {"SegmentIO track – " + "é" * 500: 1}
    assert world.statuses() == [("done", ""), ("rejected", "name_too_long")]


@pytest.mark.promise("K-20", "I-18")
@pytest.mark.parametrize("name", [None, "", "   ", {"a": 1}, True])
def test_track__without_a_name__is_rejected_with_a_reason(world: World, name: object) -> None:
    world.send(world.event(event=name))

    assert world.goals() == {}
    assert world.statuses() == [("rejected", "missing_name")]


@pytest.mark.promise("K-13")
@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"name": "Home", "properties": {"title": "T"}}, "Home"),
        ({"properties": {"name": "N", "title": "T"}, "category": "C"}, "N"),
        ({"properties": {"title": "T", "url": "https://x/y", "path": "/y"}, "category": "C"}, "C"),
        ({"properties": {"title": "T", "url": "https://x/y", "path": "/y"}}, "Unnamed page"),
        ({"properties": {"url": "https://x/y", "path": "/y"}, "category": "C"}, "C"),
        ({"properties": {"url": "https://x/y", "path": "/y"}}, "Unnamed page"),
        ({"name": "", "properties": {"name": " "}}, "Unnamed page"),
    ],
)
def test_page__without_a_name__falls_back_but_never_to_the_url(world: World, fields: dict[str, Any], name: str) -> None:
    world.send(world.event("page", **fields))

    assert world.goals() == {f"SegmentIO page – {name}": 1}


@pytest.mark.promise("K-13")
@pytest.mark.parametrize(("type_", "fixed"), [("page", "Unnamed page"), ("screen", "Unnamed screen")])
def test_page__with_a_title_only__has_a_goal_of_it_where_the_site_asks(world: World, type_: str, fixed: str) -> None:
    titled: dict[str, Any] = {"properties": {"title": "T"}, "category": "C"}
    world.send(world.event(type_, properties={"title": "T"}))
    world.change_site(names_pages_by_title=True)
    world.send(world.event(type_, **titled), world.event(type_, properties={"path": "/"}))

    assert world.goals() == {f"SegmentIO {type_} – T": 1, f"SegmentIO {type_} – {fixed}": 2}


def test_screen__without_a_name__has_a_fixed_one(world: World) -> None:
    world.send(world.event("screen"))

    assert world.goals() == {"SegmentIO screen – Unnamed screen": 1}


@pytest.mark.promise("K-78")
def test_conversion__properties__are_kept_without_the_visitor_code(world: World) -> None:
    properties = {"a": {"b": [1, 2.5, None, "x"]}, "kameleoonVisitorCode": "vc1", "revenue": "19.99"}
    world.track("Buy", properties=properties)

    conversion = Conversion.objects.get()
    assert conversion.properties == {"a": {"b": [1, 2.5, None, "x"]}, "revenue": "19.99"}
    assert str(conversion.revenue) == "19.990000"
    assert conversion.currency == "USD"


# Visitors of conversions


@pytest.mark.promise("K-45", "K-46", "K-47", "K-49", "K-50", "K-86", "W5", "W8")
@pytest.mark.parametrize(
    "fields",
    [
        {"properties": {"kameleoonVisitorCode": "vc1"}},
        {"traits": {"kameleoonVisitorCode": "vc1"}},
        {"context": {"kameleoonVisitorCode": "vc1"}},
        {"context": {"traits": {"kameleoonVisitorCode": "vc1"}}},
        {"kameleoonVisitorCode": "vc1"},
        {"properties": {"k_visitorCode": "vc1"}},
        {
            "properties": {"kameleoonVisitorCode": "vc1", "k_visitorCode": "vc2"},
            "context": {"kameleoonVisitorCode": "vc3"},
        },
        {"properties": {"kameleoonVisitorCode": None}, "traits": {"kameleoonVisitorCode": "vc1"}},
    ],
)
def test_visitor_code__wherever_a_sender_puts_it__is_found(world: World, fields: dict[str, Any]) -> None:
    world.track("Buy", **fields)

    assert world.visitors() == ["vc1"]


@pytest.mark.promise("K-51", "N-09")
@pytest.mark.parametrize("link_first", [True, False])
def test_visitor__learnt_before_or_after__owns_the_conversions_of_its_user(world: World, *, link_first: bool) -> None:
    hit = world.event(event="Buy", at=10)
    link = world.event("identify", at=20, properties={"kameleoonVisitorCode": "vc1"})

    world.send(*([link, hit] if link_first else [hit, link]))

    assert world.visitors() == ["vc1"]
    assert Conversion.objects.get().keyed_by == Conversion.KeyedBy.USER_LINK


@pytest.mark.promise("K-51")
def test_visitor__never_learnt__is_the_id_itself_and_unmatched(world: World) -> None:
    world.track("Buy", at=1)
    world.track("Buy", at=2, userId=None, anonymousId="anon-1")

    assert world.visitors() == ["user-1", "anon-1"]
    assert set(Conversion.objects.values_list("keyed_by", flat=True)) == {3, 4}


@pytest.mark.promise("K-51", "N-09")
def test_visitor__linked_to_user_and_to_anonymous_id__the_devices_link_outranks(world: World) -> None:
    hit = world.event(event="Buy", at=10, anonymousId="anon-1")
    user_link = world.event("identify", at=1, kameleoonVisitorCode="vcU")
    anonymous_link = world.event("identify", at=20, userId=None, anonymousId="anon-1", kameleoonVisitorCode="vcA")

    world.send(hit, user_link)
    assert world.visitors() == ["vcU"]
    world.send(anonymous_link)
    assert world.visitors() == ["vcA"]


@pytest.mark.promise("K-51", "N-09")
def test_visitor__known_by_a_device_of_the_user_only__owns_what_a_server_sends(world: World) -> None:
    world.send(
        world.event("page", userId=None, anonymousId="anon-1", name="Home", kameleoonVisitorCode="vc1"),
        world.event("identify", at=1, anonymousId="anon-1", traits={"plan": "x"}),
        world.event(event="Paid", at=2),
    )

    assert world.visitors() == ["vc1", "vc1"]
    assert Conversion.objects.get(goal__name__endswith="Paid").keyed_by == Conversion.KeyedBy.DEVICE_LINK
    assert world.traits("vc1") == {"plan": "x"}


@pytest.mark.promise("K-51", "N-09")
def test_visitor__of_an_id_that_an_alias_made_the_user__owns_the_users_conversions(world: World) -> None:
    world.send(
        world.event(event="Paid", at=2),
        world.event("identify", userId="ada@example.com", kameleoonVisitorCode="vc1"),
        world.event("alias", at=1, previousId="ada@example.com"),
    )

    assert world.visitors() == ["vc1"]


@pytest.mark.promise("K-51")
def test_visitor__of_a_second_browser_without_a_code_on_the_event__is_that_browsers(world: World) -> None:
    world.send(
        world.event("page", anonymousId="m1", name="Home", kameleoonVisitorCode="v1"),
        world.event("page", at=1, anonymousId="m2", name="Home", kameleoonVisitorCode="v2"),
        world.event(event="Paid", at=2, anonymousId="m2"),
    )

    assert world.visitors() == ["v1", "v2", "v2"]


@pytest.mark.promise("K-51", "N-09")
def test_visitor__of_a_device_that_another_user_has_now__still_owns_the_first_users(world: World) -> None:
    world.send(
        world.event("identify", at=0, anonymousId="anon-1"),
        world.event("identify", at=1, anonymousId="anon-1", userId="user-2"),
        world.event(event="Paid", at=2),
        world.event("page", at=3, userId=None, anonymousId="anon-1", name="Home", kameleoonVisitorCode="vc1"),
    )

    assert world.visitors() == ["vc1", "vc1"]


@pytest.mark.promise("N-09")
def test_visitor__earlier_link_arrives_late__conversions_change_hands(world: World) -> None:
    world.send(
        world.event(event="Buy", at=10),
        world.event("identify", at=20, kameleoonVisitorCode="vc-late"),
        world.event("identify", at=5, kameleoonVisitorCode="vc-early"),
    )

    assert world.visitors() == ["vc-early"]


@pytest.mark.promise("K-44")
def test_visitor__site_says_user_id_is_visitor_code__converts_under_it(world: World) -> None:
    world.change_site(user_id_is_visitor_code=True)

    world.track("Buy", userId="vc-user")

    assert world.visitors() == ["vc-user"]
    assert Conversion.objects.get().keyed_by == Conversion.KeyedBy.EVENT


@pytest.mark.promise("K-52", "W8")
def test_link_event__of_the_classic_destination__links_and_makes_no_goal(world: World) -> None:
    world.track("Buy", at=1, userId=None, anonymousId="anon-1")

    world.track("Kameleoon identifier", at=2, userId=None, anonymousId="anon-1", properties={"k_visitorCode": "vc1"})

    assert world.goals() == {"SegmentIO track – Buy": 1}
    assert world.visitors() == ["vc1"]
    assert world.last_message().effects == ["linked"]


@pytest.mark.promise("K-86")
def test_migration__classic_and_actions_shape_with_one_message_id__count_once(world: World) -> None:
    classic = world.event(event="Buy", messageId="same", properties={"k_visitorCode": "vc1"})
    actions = world.event(event="Buy", messageId="same", properties={"kameleoonVisitorCode": "vc1"})

    world.send(classic, actions)

    assert world.goals() == {"SegmentIO track – Buy": 1}


@pytest.mark.parametrize(
    "placeholder",
    ["null", "undefined", "NaN", "guest", 0, "-1", True, "[object Object]", "  ", "(null)", "0x0", "{{userId}}"],
)
def test_identity__placeholder__counts_as_absent(world: World, placeholder: object) -> None:
    world.track("Buy", userId=placeholder, anonymousId="anon-1")

    assert world.visitors() == ["anon-1"]


def test_identity__none_at_all__is_rejected(world: World) -> None:
    world.track("Buy", userId="null")

    assert world.statuses() == [("rejected", "no_identity")]
    assert world.last_message().warnings == ["placeholder_id"]
