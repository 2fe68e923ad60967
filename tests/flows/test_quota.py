"""Goals made by events stay within 50 in any 10 seconds and 1,000 in any hour, and nothing is lost over it."""

from datetime import timedelta
from itertools import pairwise

import pytest
from django.db.models import F

from api.models import Message
from api.sites import create_site
from goals import catalogue, quota
from goals.models import Conversion, Goal, GoalCreation, WaitingName
from tests.world import START, World

TEMPLATE = "SegmentIO {type} – {name}"


def pass_time(seconds: float) -> None:
    """Let the ledger, and nothing else, grow older."""
    GoalCreation.objects.update(created_at=F("created_at") - timedelta(seconds=seconds))


def names(world: World) -> list[str]:
    """The goals in the order in which they were made, by their events' names."""
    return [goal.name.rpartition(" ")[2] for goal in Goal.objects.filter(site=world.site).order_by("id")]


@pytest.fixture
def small_limit(world: World) -> None:
    world.change_site(goals_per_10_seconds=2)


@pytest.mark.promise("K-26", "K-31", "N-01")
def test_burst__of_60_names__makes_50_and_the_rest_when_the_window_opens(world: World) -> None:
    events = [world.event(event=f"E{number:02}", at=number) for number in range(60)]
    assert {world.post(event).status_code for event in events} == {200}
    world.digest()

    assert Goal.objects.count() == Conversion.objects.count() == 50
    assert Message.objects.filter(status="deferred", reason="goal_quota").count() == 10
    world.tend()
    assert Goal.objects.count() == 50

    pass_time(10.1)
    world.tend()

    assert names(world) == [f"E{number:02}" for number in range(60)]
    assert set(Message.objects.values_list("status", flat=True)) == {"done"}
    times = Conversion.objects.order_by("goal_id").values_list("occurred_at", flat=True)
    assert list(times) == [START + timedelta(seconds=number) for number in range(60)]
    assert WaitingName.objects.count() == 0


@pytest.mark.promise("K-26")
def test_window__slides__and_is_half_open(world: World, small_limit: None) -> None:
    world.track("A")
    pass_time(6)
    world.track("B")
    pass_time(3.5)
    world.track("C")  # 9.5 s after A: the window still holds A and B
    assert names(world) == ["A", "B"]

    pass_time(0.6)
    world.tend()  # A has left, B has not
    assert names(world) == ["A", "B", "C"]
    world.track("D")
    assert names(world) == ["A", "B", "C"]


@pytest.mark.promise("K-27")
def test_window__of_an_hour__holds_too(world: World) -> None:
    world.change_site(goals_per_hour=3)
    for name in "ABCD":
        world.track(name)
        pass_time(11)
    assert names(world) == ["A", "B", "C"]

    pass_time(3600)
    world.tend()
    assert names(world) == ["A", "B", "C", "D"]


@pytest.mark.promise("K-31")
def test_queue__newcomers__do_not_overtake(world: World, small_limit: None) -> None:
    for name in "ABCD":
        world.track(name)
    pass_time(11)

    world.track("E")  # there is room, but C and D came first
    assert names(world) == ["A", "B"]
    world.tend()
    assert names(world) == ["A", "B", "C", "D"]
    pass_time(11)
    world.tend()
    assert names(world) == ["A", "B", "C", "D", "E"]


def test_queue__many_messages_of_one_name__all_convert_in_the_end(world: World, small_limit: None) -> None:
    for name in "AB":
        world.track(name)
    for second in range(7):
        world.track("C", at=second)
    assert WaitingName.objects.count() == 1

    pass_time(11)
    world.tend()

    assert world.goals()["SegmentIO track – C"] == 7
    assert WaitingName.objects.count() == 0


@pytest.mark.promise("K-31", "K-32")
@pytest.mark.parametrize("name", ["C", "SegmentIO track – C", "SegmentIO track - C"])
def test_queue__goal_made_by_hand__wakes_its_waiters(world: World, small_limit: None, name: str) -> None:
    for event in "ABC":
        world.track(event)

    catalogue.create_goal(Goal(site=world.site, name=name, origin=Goal.Origin.PERSON), template=TEMPLATE)
    world.tend()

    assert world.goals()[name] == 1
    assert GoalCreation.objects.count() == 2


@pytest.mark.promise("K-32")
def test_quota__goals_by_hand__do_not_consume_it(world: World, small_limit: None) -> None:
    for number in range(5):
        catalogue.create_goal(Goal(site=world.site, name=f"G{number}"), template=TEMPLATE)

    world.track("A")

    assert world.goals()["SegmentIO track – A"] == 1


@pytest.mark.promise("K-28")
def test_quota__exhausted__holds_up_no_known_goal_nor_profile(world: World, small_limit: None) -> None:
    for event in "ABC":
        world.track(event)

    world.track("A", userId="user-2", kameleoonVisitorCode="vc1")
    world.track("D", userId="user-3", kameleoonVisitorCode="vc3")
    world.identify(traits={"plan": "scale"})

    assert world.goals()["SegmentIO track – A"] == 2
    assert world.traits("user-1") == {"plan": "scale"}
    message = Message.objects.get(waiting_for="SegmentIO track – D")
    assert (message.status, message.effects) == ("deferred", ["linked"])
    pass_time(11)
    world.tend()
    message.refresh_from_db()
    assert message.effects == ["converted", "goal_created", "linked"]


@pytest.mark.promise("K-29")
def test_quota__of_two_sites__is_apart(world: World) -> None:
    other = create_site(name="Other", sitecode="bbbbbbbbbb")
    world.credential.sites.add(other)
    world.change_site(goals_per_10_seconds=1)
    for event in (world.event(event="A"), world.event(event="B")):
        assert world.post(event).status_code == 200
        assert world.post(event, sitecode="bbbbbbbbbb").status_code == 200
    world.digest()

    assert Goal.objects.filter(site=world.site).count() == 1
    assert Goal.objects.filter(site=other).count() == 2


def test_backlog__full__makes_messages_dead_with_a_reason(world: World, small_limit: None) -> None:
    world.change_site(max_waiting_names=1)
    for event in "ABCDC":
        world.track(event)

    deferred, full = ("deferred", "goal_quota"), ("dead", "goal_backlog_full")
    assert world.statuses() == [("done", ""), ("done", ""), deferred, full, deferred]


@pytest.mark.parametrize(
    "change",
    [
        {"goal_name_template": "{name} ({type})"},
        {"link_event_names": ["C", "D", "E"]},
        {"trait_event_names": ["C", "D", "E"]},
    ],
)
def test_queue__names_that_the_sites_rules_no_longer_make__do_not_stand_in_the_way(
    world: World, small_limit: None, change: dict[str, object]
) -> None:
    for event in "ABCDE":
        world.track(event, kameleoonVisitorCode="vc1")
    world.change_site(**change)

    for _ in range(6):
        pass_time(11)
        world.tend()
    pass_time(11)
    world.track("Fresh")

    assert world.last_message().status == "done"
    assert set(Message.objects.values_list("status", flat=True)) == {"done"}
    assert WaitingName.objects.count() == 0


def test_queue__whose_only_message_died__does_not_stand_in_the_way(world: World, small_limit: None) -> None:
    for event in "ABCD":
        world.track(event)
    Message.objects.filter(status="deferred").update(status="dead", reason="worker_died")

    pass_time(11)
    world.tend()
    world.track("Fresh")

    assert world.last_message().status == "done"
    assert WaitingName.objects.count() == 0


def test_quota__goal_deleted__does_not_shorten_the_ledger(world: World, small_limit: None) -> None:
    world.track("A")
    world.track("B")
    for goal in Goal.objects.all():
        catalogue.delete_goal(goal, now=START)

    world.track("A")

    assert Goal.objects.filter(deleted_at=None).count() == 0
    assert world.statuses()[-1] == ("deferred", "goal_quota")


@pytest.mark.promise("K-26")
def test_ledger__after_a_long_burst__never_holds_more_than_the_limit_in_any_window(
    world: World, small_limit: None
) -> None:
    world.change_site(goals_per_10_seconds=5)
    events = [world.event(event=f"E{number:02}") for number in range(23)]
    world.post(events)
    world.digest()
    for _ in range(30):
        pass_time(1.7)
        world.tend()

    times = list(GoalCreation.objects.order_by("created_at").values_list("created_at", flat=True))
    assert len(times) == Goal.objects.count() == 23
    spans = [later - earlier for earlier, later in zip(times, times[5:], strict=False)]
    assert min(spans) >= timedelta(seconds=10)
    assert all(earlier <= later for earlier, later in pairwise(times))
    assert quota.windows(per_10_seconds=5, per_hour=7)[1].span == timedelta(hours=1)
