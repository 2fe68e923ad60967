"""The list of people: one row a person, last seen first, with filters and as CSV."""

import csv
from io import StringIO
from typing import Any

import pytest
from django.db import connection
from django.test import Client

from api.insight import people_pages, person_rows
from api.models import AuditEntry
from cohorts.models import Identity
from tests.support.ada import ENTERED, send_ada
from tests.support.messages import forget_messages
from tests.support.pages import address, browser_of, text_of
from tests.support.segments import make_segment
from tests.world import World


def rows_of(person: Client, **query: Any) -> list[person_rows.PersonRow]:
    response: Any = person.get(address("people/"), query)
    text_of(response)
    rows: list[person_rows.PersonRow] = response.context["page"].rows
    return rows


def follow(person: Client, **query: Any) -> list[str]:
    """Return the people of all pages from one on."""
    found: list[str] = []
    link = None
    for _ in range(20):
        response: Any = person.get(address("people/") + (f"?{link}" if link else ""), None if link else query)
        text_of(response)
        found += [row.value for row in response.context["page"].rows]
        link = response.context["next"]
        if link is None:
            return found
    raise AssertionError("too many pages")


def test_list__of_people__has_each_once_with_what_lists_show(world: World, viewer: Client) -> None:
    send_ada(world)
    traits = {"name": "Clara  Novak", "email": "clara@example.com"}
    world.identify(at=20, userId="u-7", anonymousId="anon-7", traits=traits)
    world.send(world.event("track", at=30, event="Sold", userId=None, anonymousId="anon-7"))

    rows = rows_of(viewer)

    assert [row.value for row in rows] == ["u-7", "grace", "ada-king"]
    clara, grace, ada = rows
    assert (clara.label, clara.detail, clara.letter) == ("Clara Novak", "clara@example.com", "C")
    assert (clara.conversions, clara.last_seen and clara.last_seen.second) == (1, 30)
    assert (grace.label, grace.detail, grace.personas) == ("grace", "", ["vip"])
    assert (ada.label, ada.detail, ada.group, ada.personas) == ("lovelace", "ada-king", "acme", [])
    assert (ada.conversions, ada.last_seen and ada.last_seen.second) == (1, 5)


def test_list__behind_the_newest_events__has_everyone_once_by_identifier(
    world: World, viewer: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(people_pages.find_page, "__kwdefaults__", {"limit": 3})
    names = [f"user-{number}" for number in range(8)]
    world.send(*(world.event(at=number, userId=name) for number, name in enumerate(names)))

    assert follow(viewer) == [*reversed(names), *names]
    assert follow(viewer, by="id") == names
    forget_messages()
    assert follow(viewer) == names


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"persona": "vip"}, {"grace"}),
        ({"group": "acme"}, {"ada-king"}),
        ({"trait": "age", "value": "36"}, {"ada-king"}),
        ({"trait": "age", "value": "37"}, set()),
        ({"trait": "plan", "value": "pro", "group": "acme"}, {"ada-king"}),
        ({"trait": "plan", "value": "pro", "persona": "vip"}, set()),
        ({"q": "ada", "group": "umbrella"}, set()),
        ({"q": "a", "group": "acme"}, {"ada-king"}),
        ({"value": "pro"}, {"ada-king", "grace"}),
    ],
)
def test_list__with_filters__has_those_who_pass_all(
    world: World, viewer: Client, query: dict[str, str], expected: set[str]
) -> None:
    send_ada(world)
    assert {row.value for row in rows_of(viewer, **query)} == expected


def test_list__of_a_segment__has_its_members(world: World, viewer: Client) -> None:
    send_ada(world)
    segment = make_segment(world.site, [{"on": "persona", "name": "vip"}], name="VIPs")

    assert [row.value for row in rows_of(viewer, segment=segment.pk)] == ["grace"]
    assert [row.value for row in rows_of(viewer, segment=segment.pk, q="g")] == ["grace"]
    assert rows_of(viewer, segment=segment.pk, q="ada") == []
    assert "Segment: VIPs" in text_of(viewer.get(address("people/"), {"segment": segment.pk}))


def test_list__with_a_trait_of_a_device__finds_it_as_long_as_the_person_has_it(world: World, viewer: Client) -> None:
    world.identify(userId=None, anonymousId="anon-1", traits={"plan": "pro"})
    world.identify(at=1, userId="u-1", anonymousId="anon-1", traits={})
    assert [row.value for row in rows_of(viewer, trait="plan", value="pro")] == ["u-1"]
    world.identify(at=2, userId="u-1", traits={"plan": "free"})
    assert rows_of(viewer, trait="plan", value="pro") == []


def test_list__of_a_person_with_many_identifiers__has_the_identifier_alone(
    world: World, viewer: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    send_ada(world)
    monkeypatch.setattr(person_rows, "MOST_IDENTITIES", 2)
    ada = rows_of(viewer)[1]
    assert (ada.value, ada.label, ada.is_large) == ("ada-king", "ada-king", True)
    assert [row.value for row in rows_of(viewer, group="acme")] == ["ada-king"]
    export = text_of(browser_of(world.site, "editor").get(address("people/export/?group=acme")))
    (line,) = csv.DictReader(StringIO(export.removeprefix("\ufeff")))
    assert (line["id"], line["conversions"]) == ("ada-king", "")


@pytest.mark.parametrize(
    ("stored", "value"),
    [(["basic", "pro"], "pro"), ([1.5, 2], "1.5"), (1.50, "1.5"), ([True], "true"), ("1.50", "1.50")],
)
def test_list__with_a_value_of_a_trait__finds_it_as_pages_show_it(
    world: World, viewer: Client, stored: Any, value: str
) -> None:
    world.identify(userId="u-1", traits={"plan": stored})
    world.identify(userId="u-2", traits={"plan": {"pro": 1, "1.5": 2}})
    assert [row.value for row in rows_of(viewer, trait="plan", value=value)] == ["u-1"]


def test_list__of_a_trait_without_a_value__asks_for_one(world: World, viewer: Client) -> None:
    send_ada(world)
    assert "Enter a value of the trait" in text_of(viewer.get(address("people/"), {"trait": "plan"}))


def test_search__that_finds_more_than_it_reads__says_so(
    world: World, viewer: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cohorts.search.MOST_FOUND", 3)
    said = "Only the first 3 identifiers"
    world.send(*(world.event(at=number, userId=f"user-{number}") for number in range(3)))
    assert said not in text_of(viewer.get(address("people/"), {"q": "user", "persona": "vip"}))
    world.send(world.event("track", at=9, userId="user-3", **ENTERED))
    for query in ({"q": "user", "persona": "vip"}, {"q": "user"}):
        assert said in text_of(viewer.get(address("people/"), query))


def test_filter__of_a_persona_beyond_those_offered__stays_chosen(
    world: World, viewer: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    send_ada(world)
    monkeypatch.setattr("api.pages.people.people_list.MOST_OFFERED", 0)
    assert "<option selected>vip</option>" in text_of(viewer.get(address("people/"), {"persona": "vip"}))


def test_newest_events__with_a_large_body__do_not_read_it(world: World, viewer: Client) -> None:
    world.send(
        world.event("track", event="Bought", userId="large", properties={"text": "x" * 100_000}),
        world.event("track", at=1, event="Bought", userId="small"),
    )
    with connection.cursor() as cursor:
        cursor.execute(people_pages.NEWEST, {"site": world.site.pk, "before": None})
        bodies = [row[-1] for row in cursor.fetchall()]
    assert [body is None for body in bodies] == [False, True]
    assert [row.value for row in rows_of(viewer)] == ["small"]


def test_export__of_people__has_all_who_pass_and_no_formula(
    world: World, viewer: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.pages.people.people_list.EXPORTED", 2)
    world.send(*(world.event(at=number, userId=f"user-{number}", **ENTERED) for number in range(5)))
    world.identify(at=9, userId="user-3", traits={"name": "=1+1"})
    assert viewer.get(address("people/export/")).status_code == 403
    editor = browser_of(world.site, "editor")

    lines = list(csv.DictReader(StringIO(text_of(editor.get(address("people/export/"))).removeprefix("\ufeff"))))
    filtered = list(csv.DictReader(StringIO(text_of(editor.get(address("people/export/?persona=vip"))))))

    assert (
        [line["id"] for line in lines] == [f"user-{number}" for number in range(5)] == [line["id"] for line in filtered]
    )
    assert lines[3]["name"] == "'=1+1"
    assert lines[0]["last seen"] == "2026-11-22T03:00:00Z"
    assert {line["personas"] for line in lines} == {"vip"}
    entries = AuditEntry.objects.filter(what="Exported people").order_by("pk")
    assert [entry.after for entry in entries] == [{"filtered": False}, {"filtered": True}]


def test_list__of_events_that_name_no_stored_person__leaves_them_out(world: World, viewer: Client) -> None:
    send_ada(world)
    Identity.objects.filter(value="grace").delete()
    world.send(world.event("group", at=30, userId=None, groupId="ada-king", traits={}))
    assert [row.value for row in rows_of(viewer)] == ["ada-king"]
