"""Visits, custom data and exposures of a person, on its page and in its export."""

import json
from datetime import UTC, datetime

from django.test import Client
from django.urls import reverse

from api.erasure.erase import erase
from api.insight.export import export
from api.insight.people import look_up
from api.insight.person_visits import last_visits, list_custom_data
from api.insight.timeline import MomentKind, load_timeline
from cohorts.models import CustomData
from goals.visit_models import Exposure, VisitActivity, VisitFact
from tests.support.sdk import custom_data, line, send_lines
from tests.world import SITECODE, World, owner_of


def send_all(world: World) -> None:
    CustomData.objects.create(site=world.site, index=1, name="Plan")
    send_lines(
        world,
        line("page", href="https://shop.example/first"),
        line("page", href="https://shop.example/second"),
        custom_data(1, "pro"),
        custom_data(9, "a", "b", overwrite=False),
        line("experiment", id=5011, variationId=70111),
    )


def test_person__of_sdk_lines__has_visits_custom_data_and_exposures(world: World) -> None:
    send_all(world)
    person = look_up(world.site, "v1")
    assert person is not None

    (visit,) = last_visits(world.site, person.identities)
    assert (visit.pages, visit.first_page) == (2, "https://shop.example/first")
    rows = list_custom_data(world.site, person.identities)
    assert [(row.index, row.name, row.values) for row in rows] == [(1, "Plan", "pro"), (9, "", "a, b")]
    (exposure,) = load_timeline(world.site, person, kinds={MomentKind.EXPOSURE}, place=None).moments
    assert exposure.name == "Variation 70111 of experiment 5011"

    client = Client()
    client.force_login(owner_of(world.site))
    page = client.get(reverse("pages:person", args=[SITECODE]), {"id": "v1"}).content.decode()
    assert "https://shop.example/first" in page
    assert "70111" in page


def test_export__of_a_person__has_every_fact_of_its_visits(world: World) -> None:
    send_all(world)
    person = look_up(world.site, "v1")
    assert person is not None

    exported = json.loads(b"".join(export(world.site, person, now=datetime.now(UTC))))

    types = [row["type"] for row in exported["visits"] if row["type"] != "activity"]
    assert types == ["page_view", "page_view", "custom_data", "custom_data", "exposure"]


def test_erasure__of_a_person__leaves_no_visit(world: World) -> None:
    send_all(world)
    send_lines(world, line("page", "v2", href="https://shop.example/?friend=v1"))

    erase(world.site, "v1", by="ada", now=datetime.now(UTC))

    for model in (VisitFact, VisitActivity, Exposure):
        assert not model._default_manager.filter(site_id=world.site.pk, visitor_code="v1").exists()
    assert VisitFact.objects.get(site=world.site).visitor_code == "v2"
