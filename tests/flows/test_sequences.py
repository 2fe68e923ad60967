"""Ids from sequences that several servers share: with gaps, and not in the order of time between sites."""

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from django.db import connection

from api.digest.partitions import IDS_A_DAY, last_id
from api.erasure import erase, removal
from api.http.credentials import encode_api_key
from api.ingest.provisioning import create_credential, create_site
from api.models import Message, Scope, Site
from cohorts.models import Persona
from goals.models import Conversion, Goal
from tests.support.erasures import finish_erasures
from tests.support.verifying import found_by_verify
from tests.world import World

SERVERS = 16
SECOND = "zzzzzzzzzz"
SECOND_SECRET = "secret-of-the-second"


def share_sequences(*, increment: int, start: int) -> None:
    """Let the sequences of all tables go on from a number in such steps; that of messages within its day."""
    day = last_id() // IDS_A_DAY * IDS_A_DAY
    with connection.cursor() as cursor:
        cursor.execute("SELECT sequencename FROM pg_sequences WHERE sequencename ~ '^(api|goals|cohorts)_'")
        for (name,) in cursor.fetchall():
            first = start + (day if name == "api_message_id_seq" else 0)
            cursor.execute(f'ALTER SEQUENCE "{name}" INCREMENT BY {increment} RESTART WITH {first}')


@pytest.fixture
def shared_sequences(transactional_db: None) -> Iterator[None]:
    """Draw ids as the fourth of 16 servers."""
    share_sequences(increment=SERVERS, start=160_003)
    yield
    share_sequences(increment=1, start=320_000)


@pytest.fixture
def second(shared_sequences: None, town: World) -> Site:
    """Make a site whose rows have smaller ids than the older rows of the town, as on another server."""
    share_sequences(increment=SERVERS, start=5)
    site = create_site(name="Second", sitecode=SECOND)
    create_credential([site], name="Second", scopes=Scope.values, client_id="second", secret=SECOND_SECRET)
    return site


def send(world: World, *events: dict[str, object]) -> None:
    """Send events to the second site and digest them."""
    authorization = f"Basic {encode_api_key('second', SECOND_SECRET)}"
    for event in events:
        response = world.post(event, sitecode=SECOND, authorization=authorization)
        assert response.status_code == 200, response.text
    world.digest()


def test_events__of_sites_with_ids_of_two_servers__are_digested_and_verified(second: Site, town: World) -> None:
    before = town.goals()

    send(town, town.event(event="Buy", userId="user-1"), town.event("identify", userId="user-1"))
    town.track("Buy", at=60, userId="user-9")

    newest, oldest = (
        Message.objects.filter(site=second).latest("pk"),
        Message.objects.filter(site=town.site).earliest("pk"),
    )
    assert newest.pk < oldest.pk
    assert [goal.conversions.count() for goal in Goal.objects.filter(site=second)] == [1]
    assert town.goals()["SegmentIO track – Buy"] == before["SegmentIO track – Buy"] + 1
    assert found_by_verify() == []


def test_erasure__of_a_person__leaves_the_other_server_alone(second: Site, town: World) -> None:
    send(town, town.event(event="Buy", userId="user-1"))

    erase.erase(town.site, "user-1", by="ada", now=datetime.now(UTC))
    finish_erasures()

    assert [conversion.user_id for conversion in Conversion.objects.filter(site=second)] == ["user-1"]
    assert not Conversion.objects.filter(site=town.site, user_id="user-1").exists()
    assert found_by_verify() == []


def test_removal__of_a_persona_and_a_site__takes_all_of_its_rows(second: Site, town: World) -> None:
    audience = {"audience_key": "big_spenders"}
    send(town, town.event(event="Audience Entered", userId="user-2", properties=audience))
    now = datetime.now(UTC)

    removal.remove_persona(Persona.objects.get(site=town.site), by="ada", now=now)
    while removal.sweep(now=now):
        pass

    assert [persona.name for persona in Persona.objects.all()] == ["big_spenders"]
    assert found_by_verify() == []
