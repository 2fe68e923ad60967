"""Goals made by events stay within 50 in any 10 seconds and 1,000 in any hour, and nothing is lost over it."""

import threading
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

import times
from api.digest import run, segments
from api.digest.claims import Claims
from api.digest.digest import digest_pending
from api.digest.site_config import load_site_config
from api.ingest.provisioning import create_site
from api.models import Message
from goals import catalogue, quota
from goals.models import Conversion, Goal, GoalCreation, WaitingName
from tests.support.clock import Clock
from tests.support.concurrency import in_threads
from tests.world import START, World

TEMPLATE = "SegmentIO {type} – {name}"
pytestmark = pytest.mark.usefixtures("clock")


def names(world: World) -> list[str]:
    """Return the goals by their events' names, in the order of their creation."""
    return [goal.name.rpartition(" ")[2] for goal in Goal.objects.filter(site=world.site).order_by("id")]


@pytest.fixture
def small_limit(world: World) -> None:
    world.change_site(goals_per_10_seconds=2)


@pytest.mark.promise("K-26", "K-31", "N-01")
def test_burst__of_60_names__makes_50_and_the_rest_when_the_window_opens(world: World, clock: Clock) -> None:
    events = [world.event(event=f"E{number:02}", at=number) for number in range(60)]
    assert {world.post(event).status_code for event in events} == {200}
    world.digest()

    assert Goal.objects.count() == Conversion.objects.count() == 50
    assert Message.objects.filter(status="deferred", reason="goal_quota").count() == 10
    world.tend()
    assert Goal.objects.count() == 50

    clock.forward(10.1)
    world.tend()

    assert names(world) == [f"E{number:02}" for number in range(60)]
    assert set(Message.objects.values_list("status", flat=True)) == {"done"}
    times = Conversion.objects.order_by("goal_id").values_list("occurred_at", flat=True)
    assert list(times) == [START + timedelta(seconds=number) for number in range(60)]
    assert WaitingName.objects.count() == 0


@pytest.mark.promise("K-26", "K-27")
@pytest.mark.parametrize(("limits", "span"), [("goals_per_10_seconds", 10), ("goals_per_hour", 3600)])
def test_window__slides__and_is_half_open(world: World, clock: Clock, limits: str, span: float) -> None:
    world.change_site(**{limits: 2})
    world.track("A")
    clock.forward(0.6 * span)
    world.track("B")
    clock.forward(0.4 * span - 0.000001)
    world.track("C")  # the window still holds A and B
    world.tend()
    assert names(world) == ["A", "B"]

    clock.forward(0.000001)
    world.tend()  # A has left, B has not
    assert names(world) == ["A", "B", "C"]
    world.track("D")
    assert names(world) == ["A", "B", "C"]


def room_in_windows_that_do_not_slide(site_id: int, limits: tuple[quota.Window, ...], *, now: datetime) -> int:
    """Replace `quota.count_free` by a defect that counts from the last full ten seconds and the last full hour."""
    rooms = []
    for window in limits:
        begin = times.EPOCH + (now - times.EPOCH) // window.span * window.span
        rooms.append(window.limit - GoalCreation.objects.filter(site_id=site_id, created_at__gte=begin).count())
    return max(0, min(rooms))


@pytest.mark.promise("K-26", "K-27")
@pytest.mark.parametrize(("limit", "span"), [("goals_per_10_seconds", 10), ("goals_per_hour", 3600)])
@pytest.mark.parametrize(("room", "is_held"), [(quota.count_free, True), (room_in_windows_that_do_not_slide, False)])
def test_ledger__of_a_long_burst__holds_the_limit_in_every_window_and_reaches_it(
    world: World, clock: Clock, monkeypatch: pytest.MonkeyPatch, *, room: Any, is_held: bool, limit: str, span: float
) -> None:
    monkeypatch.setattr(quota, "count_free", room)
    world.change_site(**{limit: 5})
    world.post([world.event(event=f"E{number}") for number in range(30)])
    clock.forward(0.9 * span)
    world.digest()
    until = clock.now + timedelta(seconds=20 * span)
    while WaitingName.objects.exists():
        clock.forward(0.13 * span)
        world.tend()
        assert clock.now < until, "it takes for ever"

    assert len(world.creations()) == 30
    most, _ = quota.find_peak(world.creations(), timedelta(seconds=span))
    assert most == 5 if is_held else most > 5


@pytest.mark.promise("K-30")
@pytest.mark.parametrize(("is_locked", "made"), [(True, 50), (False, 100)])
def test_quota__checked_by_two_workers_at_once__holds_because_of_the_lock(
    world: World, clock: Clock, monkeypatch: pytest.MonkeyPatch, *, is_locked: bool, made: int
) -> None:
    """With a defect, no lock, both are made to look before either creates: they create twice as many."""
    look, both = quota.count_free, threading.Barrier(2)

    def look_together(site_id: int, limits: tuple[quota.Window, ...], *, now: datetime) -> int:
        room = look(site_id, limits, now=now)
        with suppress(threading.BrokenBarrierError):
            both.wait(0.2 if is_locked else 30)  # with the lock the second thread never arrives
        return room

    monkeypatch.setattr(quota, "count_free", look_together)
    if not is_locked:
        monkeypatch.setattr(quota, "lock_names", lambda _: clock.now)
    for worker in range(2):
        world.post([world.event(event=f"E{worker}.{number}", userId=f"user-{worker}") for number in range(60)])
    config = load_site_config(world.site)

    def digest(_: int) -> int:
        claims = Claims()
        taken = digest_pending(config, claims, limit=60, now=START)
        claims.close()
        return taken

    assert in_threads(2, digest) == [60, 60]
    assert quota.find_peak(world.creations(), timedelta(seconds=10))[0] == Goal.objects.count() == made


@pytest.mark.promise("K-31")
def test_queue__newcomers__do_not_overtake(world: World, clock: Clock, small_limit: None) -> None:
    for name in "ABCD":
        world.track(name)
    clock.forward(11)

    world.track("E")  # there is room, but C and D came first
    assert names(world) == ["A", "B"]
    world.tend()
    assert names(world) == ["A", "B", "C", "D"]
    clock.forward(11)
    world.tend()
    assert names(world) == ["A", "B", "C", "D", "E"]


def test_queue__many_messages_of_one_name__all_convert_in_the_end(
    world: World, clock: Clock, small_limit: None
) -> None:
    for name in "AB":
        world.track(name)
    for second in range(7):
        world.track("C", at=second)
    assert WaitingName.objects.count() == 1

    clock.forward(11)
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
def test_quota__exhausted__holds_up_no_known_goal_nor_profile(world: World, clock: Clock, small_limit: None) -> None:
    for event in "ABC":
        world.track(event)

    world.track("A", userId="user-2", kameleoonVisitorCode="vc1")
    world.track("D", userId="user-3", kameleoonVisitorCode="vc3")
    world.identify(traits={"plan": "scale"})

    assert world.goals()["SegmentIO track – A"] == 2
    assert world.traits("user-1") == {"plan": "scale"}
    message = Message.objects.get(waiting_for="SegmentIO track – D")
    assert (message.status, message.effects) == ("deferred", ["linked"])
    clock.forward(11)
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

    deferred, full = ("deferred", "goal_quota"), ("failed", "goal_backlog_full")
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
    world: World, clock: Clock, small_limit: None, change: dict[str, object]
) -> None:
    for event in "ABCDE":
        world.track(event, kameleoonVisitorCode="vc1")
    world.change_site(**change)

    for _ in range(6):
        clock.forward(11)
        world.tend()
    clock.forward(11)
    world.track("Fresh")

    assert world.last_message().status == "done"
    assert set(Message.objects.values_list("status", flat=True)) == {"done"}
    assert WaitingName.objects.count() == 0


def test_queue__whose_only_message_died__does_not_stand_in_the_way(
    world: World, clock: Clock, small_limit: None
) -> None:
    for event in "ABCD":
        world.track(event)
    Message.objects.filter(status="deferred").update(status="failed", reason="worker_died")

    clock.forward(11)
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
@pytest.mark.parametrize("seconds", [5, 30, 4000])
def test_quota__databases_clock_set_back__still_holds_in_every_window(
    world: World, clock: Clock, small_limit: None, seconds: float
) -> None:
    world.track("A")
    world.track("B")
    clock.forward(-seconds)

    world.track("C")  # the ledger's latest lies ahead of now
    assert names(world) == ["A", "B"]

    clock.forward(seconds + 10.1)
    world.tend()
    assert names(world) == ["A", "B", "C"]
    assert quota.find_peak(world.creations(), timedelta(seconds=10))[0] == 2


@pytest.mark.promise("K-28", "K-29", "N-01")
def test_queue__of_1150_names__costs_known_goals_and_other_sites_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = create_site(name="Other", sitecode="bbbbbbbbbb")
    world.credential.sites.add(other)

    def send_both() -> None:
        world.post([world.event(event="Known", userId=None, anonymousId=f"a{number}") for number in range(100)])
        world.post(world.event(event="Known"), sitecode="bbbbbbbbbb")

    def count_statements() -> tuple[int, int]:
        """Of a digest of the same messages, and of what a second brings."""
        send_both()
        with CaptureQueriesContext(connection) as digesting:
            world.digest()
        with CaptureQueriesContext(connection) as tending:
            run.tend_queues(world.claims)
        return len(digesting), len(tending)

    for module, name in ((run, "TEND_EVERY"), (segments, "LOOKUP_LASTS")):
        monkeypatch.setattr(module, name, 3600)  # also on a machine that takes seconds for this
    world.change_site(goals_per_10_seconds=1)
    send_both()
    world.track("Waits")
    before = count_statements()
    for start in range(0, 1200, 600):
        world.post([world.event(event=f"E{number}") for number in range(start, start + 600)])
    world.digest()
    assert WaitingName.objects.filter(has_goal=False).count() >= 1150

    assert count_statements() == before
    assert Goal.objects.get(site=world.site, name="SegmentIO track – Known").conversions.count() == 300
    assert Goal.objects.get(site=other, name="SegmentIO track – Known").conversions.count() == 3


def test_places__of_two_windows__open_when_both_have_room(world: World) -> None:
    windows = quota.build_windows(per_10_seconds=2, per_hour=5)
    for seconds in (3_599, 8, 4, 0):
        quota.consume(world.site.pk, 1, now=START - timedelta(seconds=seconds))

    places = quota.find_places(world.site.pk, windows, 6, now=START)

    assert [(place - START).total_seconds() for place in places] == [6, 10, 3_592, 3_596, 3_602, 3_606]
    assert quota.find_places(world.site.pk, windows, 1, now=START + timedelta(seconds=7)) == [
        START + timedelta(seconds=7)
    ]
