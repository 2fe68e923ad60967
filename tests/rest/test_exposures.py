"""Exposures in the management API, in pages."""

from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from api.ingest.provisioning import create_site
from api.models import AuditEntry
from goals.exposures import list_exposures
from goals.visit_models import Exposure
from tests.support.management_api import Caller, message, refusal
from tests.support.sdk import custom_data, line, send_lines
from tests.world import SITECODE, World

PATH = f"/api/sites/{SITECODE}/exposures"
START = datetime(2026, 11, 22, 3, 0, tzinfo=UTC)


def expose(world: World, visitor: str, *, minute: int = 0, variation: int = 1, experiment: int = 5011) -> None:
    Exposure.objects.create(
        site=world.site,
        visitor_code=visitor,
        is_user=False,
        experiment_id=experiment,
        variation_id=variation,
        first_at=START + timedelta(minutes=minute),
    )


def visitors(page: Any) -> list[str]:
    return [row["visitorCode"] for row in page["results"]]


def test_exposures__of_sdks__are_listed_with_their_visitor_and_variation(world: World, owner: Caller) -> None:
    send_lines(
        world,
        line("experiment", "v1", id=5011, variationId=70111),
        line("experiment", "v1", id=5012, variationId=70121),
        line("experiment", None, id=5011, variationId=70112, mappingValue="user-9"),
        custom_data(1, "a"),
    )

    page = owner.get(f"{PATH}?experimentId=5011")

    assert page["next"] is None
    assert sorted((row["visitorCode"], row["isUser"], row["variationId"]) for row in page["results"]) == [
        ("user-9", True, 70112),
        ("v1", False, 70111),
    ]
    assert {row["experimentId"] for row in page["results"]} == {5011}
    assert AuditEntry.objects.filter(what__startswith="Read data of people").exists()


def test_exposures__of_equal_times_in_pages__are_each_listed_once(world: World, owner: Caller) -> None:
    for number in range(7):
        expose(world, f"v{number}", minute=number // 3)

    seen, path = [], f"{PATH}?experimentId=5011&limit=2"
    page = owner.get(path)
    while True:
        seen += visitors(page)
        if page["next"] is None:
            break
        expose(world, f"late-{len(seen)}", minute=100)  # a new event shifts no page
        page = owner.get(f"{path}&cursor={page['next']}")

    assert seen == ["v6", "v5", "v4", "v3", "v2", "v1", "v0"]


def test_exposures__of_a_time__are_those_from_since_until_before_until(world: World, owner: Caller) -> None:
    for minute in range(4):
        expose(world, f"v{minute}", minute=minute)

    page = owner.get(f"{PATH}?experimentId=5011&since=2026-11-22T03:01:00Z&until=2026-11-22T03:03:00Z")

    assert visitors(page) == ["v2", "v1"]


def test_exposures__asked_for_wrongly__are_refused_in_words(world: World, owner: Caller) -> None:
    assert refusal(owner.ask("GET", PATH)) == (400, "invalid_request")
    assert "experimentId" in message(owner.ask("GET", PATH))
    assert "This is no cursor" in message(owner.ask("GET", f"{PATH}?experimentId=1&cursor=nonsense"))


def test_exposures__of_another_site__are_not_listed(world: World, owner: Caller) -> None:
    there = create_site(name="Elsewhere")
    Exposure.objects.create(
        site=there, visitor_code="v", is_user=False, experiment_id=5011, variation_id=1, first_at=START
    )

    assert owner.get(f"{PATH}?experimentId=5011")["results"] == []


def test_exposures__of_a_deep_page__are_read_by_an_index_alone(world: World) -> None:
    for number in range(200):
        expose(world, f"v{number}", minute=number, experiment=5011 + number % 2)

    with CaptureQueriesContext(connection) as queries:
        found = list_exposures(world.site.pk, 5011, after=(START + timedelta(minutes=100), 0), limit=10)
    with transaction.atomic(), connection.cursor() as cursor:
        # So few rows are sorted otherwise. A sort that is left means that no index has the order.
        for way in ("seqscan", "bitmapscan", "sort"):
            cursor.execute(f"SET LOCAL enable_{way} = off")
        cursor.execute(f"EXPLAIN {queries.captured_queries[0]['sql']}")
        plan = "\n".join(line_ for (line_,) in cursor.fetchall())

    assert len(found) == 10
    assert "goals_exposure_experiment" in plan
    assert "Sort" not in plan
