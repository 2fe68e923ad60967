"""Segments on visits, and on the first and last time that a person was seen: by events, facts and heartbeats."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection as django_connection
from django.db.models import F, JSONField, Value

from api.ingest.known_facts import last_facts
from api.ingest.visit_activity import ActivityBuffer
from api.models import Message
from cohorts.models import Identity
from cohorts.segment_tables import SegmentMember, SegmentRecheck
from cohorts.segments import upkeep
from goals.models import Conversion
from goals.visit_facts import VisitHolder
from goals.visit_models import Exposure, VisitActivity, VisitFact
from tests.support.sdk import conversion, custom_data, flush_activity, line, send_lines
from tests.support.segments import assert_exact, keep_up, make_segment, members
from tests.support.verifying import found_by_verify
from tests.world import START, World

HOUR = timedelta(hours=1)
STATIC: dict[str, Any] = {"browserIndex": 0, "browserVersion": 156, "osIndex": 3, "deviceType": "DESKTOP"}


@pytest.fixture(autouse=True)
def _empty_memory(transactional_db: None) -> Iterator[None]:
    last_facts().clear()
    flush_activity()
    yield
    last_facts().clear()


def visits(how: str, number: int, **options: Any) -> dict[str, Any]:
    return {"on": "visits", "test": {"type": "number", "how": how, "number": number}, **options}


def seen(which: str, how: str, days: float) -> dict[str, Any]:
    return {"on": "seen", "which": which, "test": {"type": "date", "how": how, "days": days}}


def beat(world: World) -> None:
    send_lines(world, line("staticData", **STATIC))


def make_older(world: World, **span: float) -> None:
    """Move all that is known of visits into the past, and evaluate everybody."""
    flush_activity()
    earlier = timedelta(**span)
    VisitFact.objects.update(occurred_at=F("occurred_at") - earlier)
    VisitActivity.objects.update(started_at=F("started_at") - earlier, last_at=F("last_at") - earlier)
    last_facts().clear()
    upkeep.note_all(world.site.pk)
    keep_up()


def test_visits__of_a_person__count_with_the_first_fact_of_each(world: World) -> None:
    segment = make_segment(world.site, [visits("at_least", 2)])
    send_lines(world, line("page", href="/"))
    make_older(world, hours=1)
    assert members(segment) == set()

    send_lines(world, line("page", href="/again"))

    assert members(segment) == {"v1"}
    began = VisitFact.objects.earliest("occurred_at").occurred_at
    assert SegmentMember.objects.get(site=world.site).until == began + timedelta(days=365)
    flush_activity()
    keep_up()
    assert_exact(world)


def test_visits__of_two_devices_of_a_person__are_joined(world: World) -> None:
    segment = make_segment(world.site, [visits("equals", 1)])
    known = {"mappingIdentifier": True}
    send_lines(world, custom_data(3, "ann", visitor="v1", **known), custom_data(3, "ann", visitor="v2", **known))
    send_lines(world, line("page", "v1", href="/"), line("page", "v2", href="/"), line("page", "v3", href="/"))

    assert members(segment) == {"ann", "v3"}
    flush_activity()
    keep_up()
    assert members(segment) == {"ann", "v3"}
    assert_exact(world)


def test_visit__that_a_heartbeat_opens__counts_without_a_message(world: World) -> None:
    segment = make_segment(world.site, [visits("at_least", 2)])
    beat(world)
    make_older(world, hours=1)

    send_lines(world, line("activity"))
    flush_activity()
    assert Message.objects.count() == 1
    keep_up()

    assert members(segment) == {"v1"}
    assert_exact(world)


def test_heartbeats__of_a_visit_that_goes_on__evaluate_nobody(world: World) -> None:
    make_segment(world.site, [visits("at_least", 2)])
    beat(world)
    flush_activity()
    keep_up()

    for _ in range(3):
        beat(world)
        flush_activity()

    assert not SegmentRecheck.objects.exists()
    assert_exact(world)


def test_heartbeats__of_a_site_whose_segments_ask_for_no_visits__evaluate_nobody(world: World) -> None:
    make_segment(world.site, [{"on": "persona", "name": "vip"}])

    beat(world)
    flush_activity()

    assert not SegmentRecheck.objects.exists()


def test_activity__that_is_written_late__joins_two_visits(world: World) -> None:
    segment = make_segment(world.site, [visits("at_least", 2)])
    send_lines(world, line("page", href="/"))
    make_older(world, minutes=50)
    send_lines(world, line("page", href="/again"))
    flush_activity()
    keep_up()
    assert members(segment) == {"v1"}

    late = ActivityBuffer()  # of another process, which could not reach the database
    late.touch(world.site.pk, VisitHolder("v1", is_user=False), datetime.now(UTC) - timedelta(minutes=25))
    flush_activity(late)
    keep_up()

    assert members(segment) == set()
    assert_exact(world)


def test_visits__of_a_period__leave_the_segment_by_time(world: World) -> None:
    segment = make_segment(world.site, [visits("equals", 1, days=0.5)])
    send_lines(world, line("page", href="/"))
    make_older(world, hours=6)
    assert members(segment) == {"v1"}

    keep_up(datetime.now(UTC) + 7 * HOUR)

    assert members(segment) == set()


def test_visit__by_a_conversion_alone__counts_until_its_goal_is_deleted(world: World) -> None:
    segment = make_segment(world.site, [visits("at_least", 2)])
    world.track("Bought", at=0)
    world.track("Bought", at=1_799)
    assert members(segment) == set()

    world.track("Bought", at=1_799 + 1_800)

    assert Conversion.objects.count() == 3
    assert members(segment) == {"user-1"}
    assert_exact(world)


@pytest.mark.parametrize(
    "fields",
    [
        {"type": "identify", "userId": "ann"},
        {"type": "identify", "userId": "ann", "traits": {"plan": "pro"}},
        {"type": "group", "userId": "ann", "groupId": "acme"},
        {"type": "alias", "userId": "ann", "previousId": "old"},
        {"type": "track", "userId": "ann", "event": "Bought"},
        {"type": "track", "userId": "ann", "event": "Kameleoon identifier", "anonymousId": "a1"},
    ],
)
def test_seen__by_an_event_of_any_type__is_its_time(world: World, fields: dict[str, Any]) -> None:
    recent, old = (
        make_segment(world.site, [seen(which, how, 1)], name=which)
        for which, how in (("last", "within"), ("first", "longer_ago"))
    )
    now = datetime.now(UTC)

    world.send(world.event(**fields, timestamp=now.isoformat()))
    assert (members(recent) & {"ann"}, members(old) & {"ann"}) == ({"ann"}, set())
    world.send(world.event(**fields, timestamp=(now - timedelta(days=3)).isoformat()))

    assert (members(recent) & {"ann"}, members(old) & {"ann"}) == ({"ann"}, {"ann"})
    assert_exact(world)
    assert found_by_verify() == []


def test_seen__by_an_sdk__is_the_beginning_of_the_last_visit(world: World) -> None:
    segment = make_segment(world.site, [seen("last", "within", 1)])
    beat(world)
    make_older(world, days=2)
    assert members(segment) == set()
    beat(world)
    flush_activity()
    keep_up()

    assert members(segment) == {"v1"}
    assert_exact(world)


def test_seen__by_an_exposure_that_is_known__is_the_last_one(world: World) -> None:
    """The table has the first time of each exposure."""
    segment = make_segment(world.site, [seen("last", "within", 1)])
    send_lines(world, line("experiment", id=1, variationId=2))
    make_older(world, days=3)
    Exposure.objects.update(first_at=F("first_at") - timedelta(days=3))
    Identity.objects.update(registers=Value({}, JSONField()))
    last_facts().clear()

    send_lines(world, line("experiment", id=1, variationId=2))
    keep_up()

    assert members(segment) == {"v1"}


@pytest.mark.parametrize("more", [{}, {"negative": True}])
def test_seen__by_a_conversion_of_a_goal_that_is_not_there__is_its_time(world: World, more: dict[str, Any]) -> None:
    since = (START + timedelta(days=1)).isoformat()
    segment = make_segment(
        world.site, [{"on": "seen", "which": "last", "test": {"type": "date", "how": "since", "date": since}}]
    )
    world.identify(userId=None, traits={"kameleoonVisitorCode": "v1", "plan": "pro"})
    assert members(segment) == set()

    send_lines(world, conversion(999_999, **more))

    assert Message.objects.get(type="conversion").reason == "unknown_goal"
    assert members(segment) == {"v1"}
    assert_exact(world)


def test_first_seen__of_a_row_of_an_older_version__is_its_creation(world: World) -> None:
    segment = make_segment(world.site, [seen("first", "longer_ago", 30)])
    now = datetime.now(UTC)
    world.identify(userId="ann", traits={"plan": "free"}, timestamp=now.isoformat())
    with django_connection.cursor() as cursor:
        cursor.execute("UPDATE cohorts_identity SET registers = registers - 'first_seen' - 'last_seen'")
    Identity.objects.update(created_at=now - timedelta(days=60))

    world.identify(userId="ann", traits={"plan": "pro"}, timestamp=now.isoformat())

    assert members(segment) == {"ann"}
    assert "first_seen" not in Identity.objects.get(value="ann").registers
    assert found_by_verify() == []
