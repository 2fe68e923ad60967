"""Why not? begins with the verdict, and takes people and goals by what they are called."""

from typing import Any

import pytest
from django.test import Client

from tests.support.ada import send_ada
from tests.support.pages import address, browser_of, text_of
from tests.world import World


@pytest.fixture
def viewer(world: World) -> Client:
    send_ada(world)
    world.identify(at=9, userId="ada-king", traits={"name": "Ada King", "email": "ada@example.com"})
    world.identify(at=9, userId="ada-2", traits={"name": "Ada Queen"})
    return browser_of(world.site, "viewer")


def ask(viewer: Client, **query: str) -> Any:
    response: Any = viewer.get(address("why/"), query)
    text_of(response)
    return response


@pytest.mark.parametrize("person", ["ada-king", "visitor-1", "lovelace", "ada@", "king", " Ada King "])
def test_person__by_any_name__gets_the_answer_with_the_verdict_first(viewer: Client, person: str) -> None:
    response = ask(viewer, person=person, goal="Bought")

    assert response.context["answer"].has_converted
    page = text_of(response)
    assert page.index("Converted</h2>") < page.index("Yes. One conversion") < page.index("This person has")


def test_person__of_a_name_that_several_have__is_chosen(viewer: Client) -> None:
    response = ask(viewer, person="Ada", goal="Bought")

    assert response.context["answer"] is None
    assert {row.value for row in response.context["people"]} == {"ada-king", "ada-2"}
    assert "Which person?" in text_of(response)
    assert "?person=ada-king&amp;goal=Bought" in text_of(response)


def test_person__whom_no_event_named__is_unknown(viewer: Client) -> None:
    response = ask(viewer, person="nobody-at-all", goal="Bought")

    assert "No person has this identifier" in text_of(response)
    codes = [sentence.code for sentence in response.context["others"]]
    assert codes.index("unknown_person") < codes.index("names")


def test_suggestions__while_somebody_types__are_people_goals_and_queued_names(world: World, viewer: Client) -> None:
    world.change_site(goals_per_10_seconds=1)
    world.track("Clicked one", at=20)
    world.track("Clicked two", at=21)

    def options(**query: str) -> str:
        return text_of(viewer.get(address("why/suggest/"), query))

    assert '<option value="ada-king">Ada King · ada@example.com</option>' in options(person="ada")
    assert 'value="ada-2"' in options(person="ada")
    assert 'value="SegmentIO track – Bought"' in options(goal="bou")
    assert "queued (goal limit)" in options(goal="clicked")
    assert options().strip() == options(person="zz", goal="").strip() == ""
