"""Personas and groups in their lists: size, change in 28 days, names, main traits; by name or by size."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.test import Client

from cohorts.models import Persona, PersonaFact
from cohorts.persona_history import count_changes
from tests.support.pages import address, text_of
from tests.support.people import audience
from tests.world import START, World


def rows_of(person: Client, page: str) -> list[Any]:
    response: Any = person.get(address(page))
    text_of(response)
    rows: list[Any] = response.context["rows"]
    return rows


def walk(person: Client, page: str) -> list[Any]:
    found: list[Any] = []
    for _ in range(20):
        response: Any = person.get(address(page))
        text_of(response)
        found += response.context["rows"]
        if not response.context["next"]:
            return found
        page = f"{page.partition('?')[0]}?{response.context['next']}"
    raise AssertionError("too many pages")


def enter(world: World, name: str, user: str, *, days: float = 0, entered: bool = True) -> dict[str, Any]:
    return audience(world, name, entered=entered, at=-days * 86_400, userId=user)


def test_changes__of_a_persona__count_turns_since_a_time(world: World) -> None:
    world.send(
        enter(world, "vip", "old", days=40),
        enter(world, "vip", "old", days=20),  # says again what was so before
        enter(world, "vip", "new", days=3),
        enter(world, "vip", "new", days=2),
        enter(world, "vip", "gone", days=50),
        enter(world, "vip", "gone", days=1, entered=False),
        enter(world, "vip", "never", days=1, entered=False),
        enter(world, "vip", "twice", days=3),
        enter(world, "vip", "twice", days=2, entered=False),
        enter(world, "vip", "twice", days=1),
        enter(world, "other", "new", days=1),
    )
    vip = Persona.objects.get(name="vip").pk

    changes = count_changes(world.site.pk, [vip], since=START - timedelta(days=28), zone="UTC")[vip]

    day = [(START - timedelta(days=days)).date() for days in range(4)]
    assert changes.days == [(day[3], 2, 0), (day[2], 0, 1), (day[1], 1, 1)]
    assert (changes.entered, changes.left, changes.change, changes.is_complete) == (3, 2, 1, True)
    few = count_changes(world.site.pk, [vip], since=START - timedelta(days=28), zone="UTC", most=2)[vip]
    assert not few.is_complete
    read = PersonaFact.objects.filter(persona=vip, occurred_at__gte=START - timedelta(days=28)).count()
    for most, is_complete in ((read - 1, False), (read, True)):
        found = count_changes(world.site.pk, [vip], since=START - timedelta(days=28), zone="UTC", most=most)[vip]
        assert found.is_complete is is_complete


def test_personas__in_the_list__have_size_and_change(world: World, viewer: Client) -> None:
    ago = (datetime.now(UTC) - START).total_seconds() / 86_400
    world.send(
        enter(world, "vip", "a", days=1 - ago),
        enter(world, "vip", "b", days=2 - ago),
        enter(world, "vip", "b", days=1 - ago, entered=False),
        enter(world, "old", "a", days=60),
        enter(world, "old", "b", days=60),
    )

    rows = rows_of(viewer, "personas/")
    page = text_of(viewer.get(address("personas/persona/?name=vip")))

    assert [(row.persona.name, row.members, row.changes.entered, row.changes.left) for row in rows] == [
        ("old", 2, 0, 0),
        ("vip", 1, 2, 1),
    ]
    assert [row.persona.name for row in rows_of(viewer, "personas/?sort=size")] == ["old", "vip"]
    assert "2 entered, 1 left" in page
    assert "Entries and exits by day" in page
    assert "No one entered or left" in text_of(viewer.get(address("personas/persona/?name=old")))


def test_persona__chart__has_whole_days_only(world: World, viewer: Client) -> None:
    """A part of the first day would look like a rise."""
    now = datetime.now(UTC)
    ago = (now - START).total_seconds() / 86_400
    times = (0.0, 28.9, 29.4, 29.9, 30.5)
    world.send(*(enter(world, "vip", f"u{days}", days=days - ago) for days in times))

    chart = viewer.get(address("personas/persona/?name=vip")).context["chart"]

    first = (now - timedelta(days=29)).replace(hour=0, minute=0, second=0, microsecond=0)
    assert (len(chart.labels), chart.labels[0]) == (30, first.date().isoformat())
    assert sum(chart.series[0].values) == sum(now - timedelta(days=days) >= first for days in times)


@pytest.mark.parametrize("sort", ["", "size"])
def test_personas__more_than_a_page__follow_each_other(
    world: World, viewer: Client, monkeypatch: pytest.MonkeyPatch, sort: str
) -> None:
    monkeypatch.setattr("api.pages.people.personas.PAGE", 2)
    world.send(*(enter(world, f"p{number}", f"u{user}") for number in range(5) for user in range(number)))
    Persona.objects.create(site=world.site, name="p0")

    found = [row.persona.name for row in walk(viewer, f"personas/?sort={sort}")]

    assert found == [f"p{number}" for number in (range(5) if not sort else reversed(range(5)))]


def test_groups__in_the_list__have_name_members_and_main_traits(world: World, viewer: Client) -> None:
    traits = {"name": "Acme Ltd", "plan": "gold", "city": "Bern", "tags": ["a"], "seats": 7, "zip": "1"}
    world.send(
        world.event("group", userId="u1", groupId="g1", traits=traits),
        world.event("group", userId="u2", anonymousId="a2", groupId="g1"),
        world.event("group", userId="u3", groupId="g0"),
    )
    world.identify(at=5, userId="u4", traits={"company": {"id": "g0", "name": "Zero"}})

    rows = rows_of(viewer, "groups/")

    assert [(row.group.group_id, row.summary.name, row.members, list(row.summary.main)) for row in rows] == [
        ("g0", "", 1, []),
        ("g1", "Acme Ltd", 2, [("plan", "gold"), ("city", "Bern"), ("seats", "7")]),
    ]
    assert [row.group.group_id for row in rows_of(viewer, "groups/?sort=size")] == ["g1", "g0"]
    response: Any = viewer.get(address("groups/group/?id=g1"))
    assert "Acme Ltd" in text_of(response)
    assert response.context["title"] == "Acme Ltd"
    world.change_site(company_is_group=True)
    assert [row.members for row in rows_of(viewer, "groups/")] == [2, 2]


@pytest.mark.parametrize("sort", ["", "size"])
def test_groups__more_than_a_page__follow_each_other(
    world: World, viewer: Client, monkeypatch: pytest.MonkeyPatch, sort: str
) -> None:
    monkeypatch.setattr("api.pages.people.personas.PAGE", 2)
    world.send(
        *(
            world.event("group", userId=f"u{number}-{user}", groupId=f"g{number}")
            for number in range(1, 6)
            for user in range(number)
        )
    )

    found = [row.group.group_id for row in walk(viewer, f"groups/?sort={sort}")]

    assert found == [f"g{number}" for number in (range(1, 6) if not sort else reversed(range(1, 6)))]
