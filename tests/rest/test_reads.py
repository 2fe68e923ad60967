"""Reads of personal data through the management API are in the audit log, once per day and caller."""

import json
from datetime import timedelta
from typing import Final

import pytest
from django.test import Client
from django.utils import timezone

from api.http.tokens import make_token
from api.ingest.provisioning import create_site
from api.models import AuditEntry, Message
from goals.models import Goal
from tests.support.management_api import Caller
from tests.world import World, owner_of

PERSON: Final = "ada@example.com"
READS: Final = (
    "/api/goals/{goal}/conversions",
    "/api/goals/{goal}/breakdown?by=trait&name=email",
    "/api/visitors/ada%40example.com/conversions",
    "/api/messages/{message}/trace",
    "/api/trace?messageId=ada-1",
    "/api/why-not?goal={goal}&visitor=ada%40example.com",
)
# Figures, names and settings without personal data.
OTHERS: Final = ("/api/goals", "/api/goals/{goal}", "/api/sources", "/api/sites/1q2w3e4r5t/rules", "/api/schema")


@pytest.fixture
def numbers(world: World) -> dict[str, int]:
    world.send(world.event("track", userId=PERSON, messageId="ada-1"))
    return {"goal": Goal.objects.get().pk, "message": Message.objects.get().pk}


def lines() -> list[AuditEntry]:
    return list(AuditEntry.objects.order_by("pk"))


@pytest.mark.parametrize("path", READS)
def test_read__of_peoples_data__is_in_the_log_once_a_day_without_it(
    world: World, owner: Caller, numbers: dict[str, int], path: str
) -> None:
    for _ in range(3):
        owner.get(path.format(**numbers))

    (line,) = lines()
    assert (line.site, line.who) == (world.site, f"credential {owner.credential.client_id}")
    assert line.what == "Read data of people through the management API"
    assert PERSON not in json.dumps([line.what, line.before, line.after])


@pytest.mark.parametrize("path", OTHERS)
def test_read__of_nobodys_data__is_not_in_the_log(
    world: World, owner: Caller, numbers: dict[str, int], path: str
) -> None:
    assert owner.ask("GET", path.format(**numbers)).status_code == 200

    assert not lines()


def test_read__by_another_caller_or_on_another_day__is_in_the_log_again(
    world: World, owner: Caller, numbers: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = READS[0].format(**numbers)
    _, value = make_token([world.site], description="CI", role="viewer", made_by=owner_of(world.site), expires_at=None)

    for _ in range(2):
        owner.get(path)
        assert Client().get(path, headers={"authorization": f"Bearer {value}"}).status_code == 200
    assert len({line.who for line in lines()}) == len(lines()) == 2

    tomorrow = timezone.now() + timedelta(days=1)
    monkeypatch.setattr(timezone, "now", lambda: tomorrow)
    owner.get(path)
    owner.get(path)
    assert [line.who for line in lines()[2:]] == [lines()[0].who]


def test_read__that_finds_nothing__is_not_in_the_log(world: World, owner: Caller) -> None:
    create_site(name="Other")
    assert owner.get("/api/visitors/nobody/conversions")["results"] == []

    assert not lines()
