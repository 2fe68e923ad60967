"""Heartbeats and repetitions of SDKs: they extend the visit and are no messages."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from django.db import connection as django_connection
from django.db import transaction
from django.db.models import F

from api.erasure.erase import erase
from api.http.database import connect
from api.ingest.known_facts import last_facts
from api.ingest.visit_activity import MOST_HOLDERS, ActivityBuffer, activity_buffer
from api.models import Message
from cohorts.custom_values import read_custom_values
from cohorts.models import Identity
from goals.models import Goal
from goals.visit_facts import VisitHolder
from goals.visit_models import VisitActivity, VisitFact
from tests.support.concurrency import count_lock_waits, holding, wait_until
from tests.support.sdk import conversion, custom_data, flush_activity, line, post_lines, send_lines
from tests.support.verifying import found_by_verify
from tests.world import World

STATIC: dict[str, Any] = {"browserIndex": 0, "browserVersion": 156, "osIndex": 3, "deviceType": "DESKTOP"}


@pytest.fixture(autouse=True)
def _empty_memory() -> Iterator[None]:
    last_facts().clear()
    flush_activity()
    yield
    last_facts().clear()


def stored() -> list[str]:
    return list(Message.objects.order_by("id").values_list("type", flat=True))


def load_activity(world: World) -> VisitActivity:
    """Return the only stretch of the site. Other tests' signs may be written late."""
    flush_activity()
    return VisitActivity.objects.get(site=world.site)


def beat(world: World, **parameters: Any) -> None:
    send_lines(world, line("staticData", **{**STATIC, "visitNumber": 0, "timeSincePreviousVisit": 0, **parameters}))


def make_older(**span: float) -> None:
    """Move all that is known of visits into the past."""
    flush_activity()
    earlier = timedelta(**span)
    VisitFact.objects.update(occurred_at=F("occurred_at") - earlier)
    VisitActivity.objects.update(started_at=F("started_at") - earlier, last_at=F("last_at") - earlier)
    last_facts().clear()


@pytest.mark.parametrize("forgets", [True, False])
def test_heartbeats__of_an_open_page__are_one_message_and_one_stretch(world: World, forgets: bool) -> None:  # noqa: FBT001
    beat(world)
    for _ in range(5):
        flush_activity()
        if forgets:  # another process answers
            last_facts().clear()
        beat(world)

    assert stored() == ["static_data"]
    activity = load_activity(world)
    assert activity.last_at > activity.started_at
    assert found_by_verify() == []


def test_heartbeats__while_no_worker_runs__are_one_message(world: World) -> None:
    for _ in range(3):
        post_lines(world, line("staticData", **STATIC))

    assert stored() == ["static_data"]


def test_heartbeats__over_hours__are_one_visit_and_one_message(world: World) -> None:
    beat(world)
    for _ in range(20):
        make_older(minutes=20)
        beat(world)

    assert stored() == ["static_data"]
    activity = load_activity(world)
    assert activity.last_at - activity.started_at >= timedelta(minutes=400)


def test_heartbeat__after_thirty_minutes_of_silence__is_a_fact_of_a_new_visit(world: World) -> None:
    beat(world)
    make_older(minutes=30)
    beat(world)
    flush_activity()

    assert stored() == ["static_data"] * 2
    assert VisitActivity.objects.filter(site=world.site).count() == 2


def test_static_data__that_changes_and_changes_back__is_stored_each_time(world: World) -> None:
    for version in (156, 157, 156, 156):
        beat(world, browserVersion=version)

    assert stored() == ["static_data"] * 3


def test_lines__that_say_part_of_what_is_known__are_dropped(world: World) -> None:
    send_lines(world, line("staticData", **STATIC), line("geolocation", country="France"))
    send_lines(world, line("staticData", osIndex=3), line("geolocation", country="France"), line("activity"))
    send_lines(world, line("geolocation", country="France", city="Paris"))

    assert stored() == ["static_data", "geolocation", "geolocation"]


def test_exposure__that_is_known__is_no_message_in_any_visit(world: World) -> None:
    exposure: dict[str, Any] = {"id": 5011, "variationId": 70111}
    send_lines(world, line("experiment", **exposure), line("experiment", **exposure))
    make_older(hours=5)
    send_lines(world, line("experiment", **exposure), line("experiment", **{**exposure, "variationId": 2}))

    assert stored() == ["exposure"] * 2


def test_custom_data__that_is_known__is_no_message_unless_it_may_have_changed(world: World) -> None:
    send_lines(world, custom_data(1, "a"))
    send_lines(world, custom_data(1, "a"))
    assert stored() == ["custom_data"]

    post_lines(world, custom_data(1, "b"))  # waits for the digest
    post_lines(world, custom_data(1, "a"))
    world.digest()
    assert stored() == ["custom_data"] * 3
    send_lines(world, custom_data(1, "a"), custom_data(1, "c"), custom_data(1, "a"), custom_data(1, "a"))
    assert stored() == ["custom_data"] * 5
    send_lines(world, custom_data(1, "a", overwrite=False))  # adds
    assert stored() == ["custom_data"] * 6


def test_custom_data__of_a_user_with_another_device__is_stored_again(world: World) -> None:
    send_lines(world, custom_data(3, "known-1", mappingIdentifier=True), custom_data(1, "a"))
    send_lines(world, custom_data(3, "known-1", mappingIdentifier=True), custom_data(1, "a"))

    assert stored() == ["custom_data"] * 3


def test_custom_data__of_a_user_that_a_device_changed__is_stored_again(world: World) -> None:
    of_user = custom_data(1, "a", visitor=None, mappingValue="known-1")
    send_lines(world, custom_data(3, "known-1", mappingIdentifier=True), of_user)
    send_lines(world, custom_data(1, "b"))

    send_lines(world, custom_data(1, "a", visitor=None, mappingValue="known-1"))

    assert stored() == ["custom_data"] * 4
    assert read_custom_values(Identity.objects.get(value="known-1").registers)[1] == {"a": 1}


def test_mapping__of_a_visitor_code_that_changed_hands__is_stored_again(world: World) -> None:
    def give_to_bob() -> None:
        event = world.event(userId="bob", kameleoonVisitorCode="v1", timestamp=datetime.now(UTC).isoformat())
        assert world.post(event).status_code == 200

    mapping: dict[str, Any] = {"mappingIdentifier": True}
    send_lines(world, custom_data(3, "ada", **mapping))
    give_to_bob()  # waits for the digest
    send_lines(world, custom_data(3, "ada", **mapping))
    assert stored().count("custom_data") == 2
    give_to_bob()
    world.digest()
    assert Identity.objects.get(value="v1").registers["user"][3] == "bob"

    send_lines(world, custom_data(3, "ada", **mapping), custom_data(3, "ada", **mapping))

    assert stored().count("custom_data") == 3
    assert Identity.objects.get(value="v1").registers["user"][3] == "ada"


@pytest.mark.parametrize("status", ["failed", "rejected"])
def test_custom_data__after_a_change_that_failed__is_stored_again(world: World, status: str) -> None:
    send_lines(world, custom_data(1, "a"))
    post_lines(world, custom_data(1, "b"))
    Message.objects.filter(status="pending").update(status=status)

    send_lines(world, custom_data(1, "a"))

    assert stored() == ["custom_data"] * 3


def test_conversions_and_pages__that_are_equal__are_each_a_message(world: World) -> None:
    goal = Goal.objects.create(site=world.site, name="Order")
    for _ in range(2):
        send_lines(world, conversion(goal.pk), line("page", href="/"))

    assert stored() == ["conversion", "page_view"] * 2


def test_activity__of_two_processes__is_one_stretch(world: World) -> None:
    now = datetime.now(UTC)
    VisitActivity.objects.create(
        site=world.site,
        visitor_code="v1",
        is_user=False,
        started_at=now - timedelta(hours=1),
        last_at=now - timedelta(minutes=29),
    )

    post_lines(world, line("activity"))

    assert stored() == []
    activity = load_activity(world)
    assert activity.last_at >= now


def test_activity__of_an_erased_person__is_not_written(world: World) -> None:
    send_lines(world, line("page", href="/"))
    flush_activity()
    erase(world.site, "v1", by="ada", now=datetime.now(UTC))
    assert not VisitActivity.objects.filter(site=world.site).exists()

    post_lines(world, line("activity"), line("activity", "v2"))
    flush_activity()

    assert load_activity(world).visitor_code == "v2"


def test_activity__that_is_being_written__belongs_to_the_visit(world: World) -> None:
    """Otherwise what repeats the visit's facts in this moment would be stored again."""
    send_lines(world, line("staticData", **STATIC))
    with ThreadPoolExecutor(1) as threads:
        with holding("LOCK TABLE goals_visitactivity IN SHARE MODE"):
            flushed = threads.submit(flush_activity)
            wait_until(lambda: count_lock_waits() >= 1)
            post_lines(world, line("staticData", **STATIC))
        flushed.result()

    assert stored() == ["static_data"]


def test_activity__that_cannot_be_written__stays_for_the_next_time(world: World) -> None:
    post_lines(world, line("activity"))
    closed = connect()
    closed.close()

    with pytest.raises(psycopg.Error):
        activity_buffer().flush(closed)

    assert load_activity(world).visitor_code == "v1"


def test_activity__before_and_after_a_stretch_of_another_process__extends_it_both_ways(world: World) -> None:
    now = datetime.now(UTC)
    begun_at, ended_at = now - timedelta(hours=3), now - timedelta(hours=1)
    VisitActivity.objects.create(
        site=world.site, visitor_code="v1", is_user=False, started_at=begun_at, last_at=ended_at
    )
    before, after = begun_at - timedelta(minutes=20), ended_at + timedelta(minutes=20)

    for at in (before, after, now + timedelta(hours=1)):
        activity_buffer().touch(world.site.pk, VisitHolder("v1", is_user=False), at)
    flush_activity()

    stretches = VisitActivity.objects.filter(site=world.site).order_by("started_at")
    assert list(stretches.values_list("started_at", "last_at")) == [
        (before, after),
        (now + timedelta(hours=1), now + timedelta(hours=1)),
    ]


def test_activity__of_more_visitors_than_are_kept__is_dropped_except_of_those_who_are_kept() -> None:
    now = datetime.now(UTC)
    later = now + timedelta(minutes=1)
    buffer = ActivityBuffer()
    *kept, dropped = [VisitHolder(str(number), is_user=False) for number in range(MOST_HOLDERS + 1)]
    for holder in kept:
        buffer.touch(1, holder, now)

    for holder in (kept[0], kept[-1], dropped):
        buffer.touch(1, holder, later)

    assert [buffer.find(1, holder) for holder in (kept[0], kept[-1], dropped)] == [[(now, later)], [(now, later)], []]


def test_lines__while_the_known_facts_cannot_be_read__are_stored(world: World) -> None:
    beat(world)
    with transaction.atomic(), django_connection.cursor() as cursor:
        cursor.execute("LOCK TABLE goals_visitfact IN ACCESS EXCLUSIVE MODE")
        response = post_lines(world, line("staticData", **STATIC))

    assert response.status_code == 204
    world.digest()
    assert stored() == ["static_data"] * 2
    assert found_by_verify() == []
