"""Names that wait for quota become goals in the order in which their events arrived, whatever changes meanwhile."""

from collections.abc import Callable
from typing import Any

import pytest
from django.utils import timezone

from api.digest.replay import replay
from api.ingest.provisioning import change_source, create_source, note_rules_changed, replace_rules
from api.models import Message, Rule
from goals import catalogue, merging
from goals.matching import EventName
from goals.models import Goal, WaitingName
from tests.support.clock import Clock
from tests.world import START, World

TEMPLATE = "SegmentIO {type} – {name}"
OTHER_TEMPLATE = "{name} ({type})"
pytestmark = pytest.mark.usefixtures("clock")


@pytest.fixture
def queue(world: World) -> World:
    """Create a goal for A, and let B and C wait."""
    world.change_site(goals_per_10_seconds=1)
    for name in "ABC":
        world.track(name)
    return world


def made(world: World) -> str:
    """Return the letters of the goals made by events, in the order of their creation."""
    goals = Goal.objects.filter(site=world.site, deleted_at=None, origin=Goal.Origin.EVENT).order_by("id")
    return "".join(goal.name.removesuffix(" (track)").rpartition(" ")[2] for goal in goals)


def let_time_pass(world: World, clock: Clock) -> None:
    for _ in range(12):
        clock.forward(11)
        world.tend()


def change_rules(world: World) -> None:
    note_rules_changed(world.site.pk, now=timezone.now())


def change_template(world: World) -> None:
    world.change_site(goal_name_template=OTHER_TEMPLATE)
    note_rules_changed(world.site.pk, now=timezone.now())


def change_template_twice(world: World) -> None:
    change_template(world)
    world.tend()
    world.change_site(goal_name_template=TEMPLATE)
    note_rules_changed(world.site.pk, now=timezone.now())


def change_a_source(world: World) -> None:
    source = create_source(world.site, name="Shop", kind="server")
    change_source(source, fields={"takes_track": False}, now=timezone.now())


def change_rules_again_and_again(world: World) -> None:
    for _ in range(3):
        change_rules(world)
        world.tend()


def make_a_goal_and_delete_it(world: World) -> None:
    goal = catalogue.create_goal(Goal(site=world.site, name="B", origin=Goal.Origin.PERSON), template=TEMPLATE)
    catalogue.delete_goal(goal, now=timezone.now())


def make_a_goal_and_rename_it(world: World) -> None:
    goal = catalogue.create_goal(Goal(site=world.site, name="B", origin=Goal.Origin.PERSON), template=TEMPLATE)
    goal.name = "Another"
    catalogue.change_goal(goal, fields=["name"], template=TEMPLATE)


def bind_and_unbind(world: World) -> None:
    goal = Goal.objects.get(site=world.site)
    catalogue.unbind_event(catalogue.bind_event(goal, EventName("track", "B"), template=TEMPLATE))


def merge_and_delete(world: World) -> None:
    target = catalogue.create_goal(Goal(site=world.site, name="All", origin=Goal.Origin.PERSON), template=TEMPLATE)
    goal = catalogue.create_goal(Goal(site=world.site, name="B", origin=Goal.Origin.PERSON), template=TEMPLATE)
    merging.merge(goal, target)
    catalogue.delete_goal(target, now=timezone.now())


def raise_the_quota(world: World) -> None:
    world.change_site(goals_per_hour=2000)


CHANGES: list[Callable[[World], None]] = [
    change_rules,
    change_rules_again_and_again,
    change_template,
    change_template_twice,
    change_a_source,
    make_a_goal_and_delete_it,
    make_a_goal_and_rename_it,
    bind_and_unbind,
    merge_and_delete,
    raise_the_quota,
]


@pytest.mark.promise("K-31")
@pytest.mark.parametrize("has_room", [False, True], ids=["full", "room"])
@pytest.mark.parametrize("is_tended", [False, True], ids=["at-once", "after-a-second"])
@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_queue__something_changes__keeps_its_order(
    queue: World, clock: Clock, change: Callable[[World], None], *, is_tended: bool, has_room: bool
) -> None:
    change(queue)
    if is_tended:
        queue.tend()
    if has_room:
        clock.forward(11)
    queue.track("D")  # it must not overtake B and C, which the change has sent round once more
    let_time_pass(queue, clock)

    assert made(queue) == "ABCD"
    assert set(Message.objects.values_list("status", flat=True)) == {"done"}
    assert WaitingName.objects.count() == 0


@pytest.mark.promise("K-31")
@pytest.mark.parametrize("reason", ["goal_backlog_full", "digest_failed", "source_off"])
def test_queue__a_message_that_is_tried_again__goes_to_its_place(queue: World, clock: Clock, reason: str) -> None:
    """C came before D: it is made before D, also where its message had to be tried again."""
    status = "rejected" if reason == "source_off" else "failed"
    Message.objects.filter(waiting_for="SegmentIO track – C").update(status=status, reason=reason, waiting_for="")
    WaitingName.objects.filter(name="SegmentIO track – C").delete()
    queue.track("D")

    assert replay(queue.site.pk, reason, who="test").messages == 1
    queue.digest()
    let_time_pass(queue, clock)

    assert made(queue) == "ABCD"


@pytest.mark.promise("K-31")
def test_queue__an_older_event_of_a_waiting_name__moves_it_forward(queue: World, clock: Clock) -> None:
    first = Message.objects.filter(waiting_for="SegmentIO track – B")
    first.update(status="failed", reason="digest_failed", waiting_for="")
    WaitingName.objects.filter(name="SegmentIO track – B").delete()
    queue.track("B")

    replay(queue.site.pk, "digest_failed", who="test")
    queue.digest()
    let_time_pass(queue, clock)

    assert made(queue) == "ABC"


def test_queue__a_full_one_under_other_names__loses_no_message(queue: World, clock: Clock) -> None:
    """The names that are looked at once more take the places of those that they had before."""
    queue.change_site(max_waiting_names=2)
    change_template(queue)
    queue.track("D")
    let_time_pass(queue, clock)

    assert made(queue) == "ABC"
    assert queue.statuses() == [("done", "")] * 3 + [("failed", "goal_backlog_full")]


@pytest.mark.parametrize("batch", [1, 2, 500])
def test_queue__a_rule_takes_its_names_out__frees_their_places_at_once(
    queue: World, clock: Clock, settings: Any, batch: int
) -> None:
    """Every message that waits is looked at once more, however many there are, and once only."""
    settings.DIGEST_BATCH = batch
    for name in "BCBCB":
        queue.track(name)
    rule = Rule(action=Rule.Action.NO_GOAL, name_test="equals", name_value="B")
    replace_rules(queue.site, [rule], now=timezone.now())
    while WaitingName.objects.filter(look_again_at__isnull=False):
        queue.tend()

    assert set(WaitingName.objects.values_list("name", flat=True)) == {"SegmentIO track – C"}
    assert Message.objects.filter(reason="no_goal_by_rule").count() == 4
    clock.forward(11)
    queue.tend()
    assert made(queue) == "AC"


def test_queue__looked_at_again_by_a_worker_whose_clock_is_behind__comes_to_an_end(queue: World) -> None:
    note_rules_changed(queue.site.pk, now=timezone.now().replace(year=START.year + 1))

    for _ in range(3):
        queue.tend()

    assert not WaitingName.objects.filter(look_again_at__isnull=False).exists()
