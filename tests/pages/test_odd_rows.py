"""Rows with times that Python cannot hold, as only a person writes them by hand: pages and API answer all the same."""

from typing import Any

import pytest
from django.apps import apps
from django.db import connection, models
from django.test import Client

import times
from api.http.credentials import encode_api_key
from api.models import Message
from cohorts.models import Identity
from goals.models import Goal
from tests.pages.catalogue import PAGES, Place
from tests.support.ada import send_ada
from tests.support.concurrency import are_done, digest_until
from tests.support.pages import Enter
from tests.world import CLIENT_ID, SECRET, SITECODE, World

ODD = ("infinity", "-infinity", "0044-03-15 BC", "20000-01-01")
OF_USERS = {"django_session", "auth_user"}  # of these `expire_date` decides who may come in


def write_everywhere(value: str) -> None:
    """Put a time into every column of every table that holds one."""
    with connection.cursor() as cursor:
        cursor.execute("SET session_replication_role = replica")  # the log of changes refuses changes
        for model in apps.get_models(include_auto_created=True):
            table = model._meta.db_table
            columns = [
                field.column
                for field in model._meta.concrete_fields
                if isinstance(field, models.DateField) and field.name not in {"revoked_at", "ends_at", "expires_at"}
            ]
            if columns and table not in OF_USERS and not table.startswith("django_"):
                given = ", ".join(f"{column} = '{value}'" for column in columns)
                wanted = " AND ".join(f"{column} IS NOT NULL" for column in columns[:1])
                cursor.execute(f"UPDATE {table} SET {given} WHERE {wanted}")
        cursor.execute("RESET session_replication_role")


def failures(client: Client, addresses: list[tuple[str, dict[str, Any]]]) -> list[tuple[str, int]]:
    answers = []
    for address, asked in addresses:
        response: Any = client.get(address, asked)
        if response.streaming:
            b"".join(response.streaming_content)
        answers.append((address, response.status_code))
    return [answer for answer in answers if answer[1] >= 500]


@pytest.mark.parametrize("value", ODD)
def test_page__with_times_that_python_cannot_hold__answers(place: Place, enter: Enter, value: str) -> None:
    client = enter("superuser")
    write_everywhere(value)
    Identity.objects.update(
        registers={"traits": {"plan": [9e30, 0, "m", "pro"]}, "personas": {"vip": [-(10**30), 0, "m", True]}}
    )

    pages = [name for name in sorted(PAGES) if PAGES[name].look]
    addresses: list[tuple[str, dict[str, Any]]] = [(place.address(name), {}) for name in pages]
    addresses += [(place.address(name), place.form(form)) for name, page in PAGES.items() for form in page.queries]
    assert failures(client, addresses) == []


@pytest.mark.parametrize("value", ODD)
def test_api__with_times_that_python_cannot_hold__answers(world: World, value: str) -> None:
    send_ada(world)
    write_everywhere(value)
    client = Client(
        raise_request_exception=False, headers={"authorization": f"Basic {encode_api_key(CLIENT_ID, SECRET)}"}
    )
    goal, message = Goal.objects.values_list("pk", flat=True)[0], Message.objects.values_list("pk", flat=True)[0]
    paths = [
        *("goals", f"goals/{goal}", f"goals/{goal}/conversions", f"goals/{goal}/breakdown?by=keyed_by", "sources"),
        *(f"messages/{message}/trace", "visitors/visitor-1/conversions", f"sites/{SITECODE}/rules"),
        "why-not?person=ada-king",
    ]
    answers = [(path, client.get(f"/api/{path}")) for path in paths]
    assert [(path, answer.status_code) for path, answer in answers if answer.status_code >= 500] == []
    assert client.get(f"/api/goals/{goal}/conversions").status_code == 200
    assert world.get("common").status_code == world.get("IDENTIFY_ada-king").status_code == 200


@pytest.mark.parametrize("value", ODD)
def test_digest__of_an_event_whose_time_python_cannot_hold__fails_it_and_no_other(world: World, value: str) -> None:
    world.post([world.event(messageId="odd"), world.event(messageId="good")])
    with connection.cursor() as cursor:
        cursor.execute("UPDATE api_message SET occurred_at = %s WHERE message_id = 'odd'", [value])

    world.digest()
    assert are_done("good")
    Message.objects.update(digested_at=None)
    Message.objects.filter(message_id="odd").update(attempts=2)
    digest_until(world, lambda: not Message.objects.filter(status="pending").exists())

    odd = Message.objects.get(message_id="odd")
    assert (odd.status, odd.reason) == ("failed", "digest_failed")
    assert "Correct `occurred_at`" in odd.detail
    assert times.EARLIEST <= odd.occurred_at <= times.LATEST
