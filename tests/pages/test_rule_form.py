"""A rule as a sentence: the fields of its choices, its forecast, and the traits of a group as rows."""

from typing import Any, Final
from urllib.parse import urlencode

import pytest
from django.test import Client

from api.models import Rule
from tests.support.settings_pages import BASE, change, look
from tests.world import World

NEW: Final = f"{BASE}rules/new/"
FIELDS: Final = ("name_value", "path", "path_value", "argument", "trait", "trait_field")


def preview(person: Client, **form: Any) -> Any:
    response = person.post(NEW, {"do": "preview", "is_enabled": "on", **form})
    assert response.status_code == 200
    assert not Rule.objects.exists()
    return response


def fields_of(response: Any) -> list[str]:
    page = response.content.decode()
    return [name for name in FIELDS if f'name="{name}"' in page]


@pytest.mark.parametrize(
    ("choices", "fields"),
    [
        ({}, []),
        ({"name_test": "prefix"}, ["name_value"]),
        ({"path_test": "exists"}, ["path"]),
        ({"path_test": "equals"}, ["path", "path_value"]),
        ({"action": "no_goal"}, []),
        ({"action": "pattern_goal"}, ["argument"]),
        ({"action": "group_from"}, ["argument", "trait", "trait_field"]),
        ({"action": "nonsense", "source": "x", "event_type": "x"}, []),
    ],
    ids=lambda value: ",".join(value) or "none",
)
def test_form__of_some_choices__has_their_fields_alone(
    owner: Client, world: World, choices: dict[str, str], fields: list[str]
) -> None:
    response = preview(owner, name="Mine", **choices)

    assert fields_of(response) == fields
    page = response.content.decode()
    assert 'value="Mine"' in page
    assert "This field is required" not in page
    is_whole = choices == {"action": "no_goal"}
    assert (response.context["forecast"] is not None) is is_whole
    assert ("It appears here when the sentence is complete" in page) is not is_whole


def test_form__of_a_new_rule__has_no_field_before_a_choice(owner: Client, world: World) -> None:
    assert fields_of(owner.get(NEW)) == []


@pytest.mark.promise("N-08")
def test_preview__of_a_whole_sentence__has_its_forecast(owner: Client, world: World) -> None:
    world.send(world.event(event="Viewed order 1001"), world.event(event="Viewed order 1002"))

    response = preview(owner, action="pattern_goal", argument="Viewed order {n}")

    forecast = response.context["forecast"]
    assert (forecast.conversions_now, forecast.conversions_then, forecast.goals_made_then) == (2, 2, 1)
    assert "Conversions 2 → 2, new goals 0 → 1" in response.content.decode()


def test_forecast__of_some_goals__lists_those_that_change_and_an_amount_a_line(owner: Client, world: World) -> None:
    for name, currency in (("Viewed order 1001", "EUR"), ("Buy", "USD")):
        world.send(world.event(event=name, properties={"revenue": 5, "currency": currency}))

    response = preview(owner, action="pattern_goal", argument="Viewed order {n}")
    page = response.content.decode()

    assert page.count("EUR 5.00<br>USD 5.00") == 2
    assert '<td>Profiles changed</td><td class="gp-number">0</td><td class="gp-number">0</td>' in page
    assert {goal.name for goal in response.context["forecast"].changed_goals} == {
        "SegmentIO track – Viewed order 1001",
        "SegmentIO track – Viewed order {n}",
    }
    assert 'title="SegmentIO track – Buy"' not in page


def test_address__of_a_new_rule__fills_the_form_in_with_its_forecast(owner: Client, world: World) -> None:
    world.send(world.event(event="Viewed order 1001"))
    draft = {"name": "Orders", "event_type": "track", "action": "pattern_goal", "argument": "Viewed order {n}"}

    response: Any = owner.get(f"{NEW}?{urlencode(draft)}")

    assert {name: response.context["form"][name].value() for name in draft} == draft
    assert response.context["form"]["is_enabled"].value() is True
    assert response.context["forecast"].messages == 1
    change(owner, "rules/new/", **draft, is_enabled="on", do="save")
    assert "If the type is track, then make one goal of “Viewed order {n}”." in look(owner, "rules/")


def test_address__of_a_saved_rule__does_not_change_its_form(owner: Client, world: World) -> None:
    rule = Rule.objects.create(site=world.site, action="drop")

    response: Any = owner.get(f"{BASE}rules/{rule.pk}/?action=rename&argument=x")

    assert response.context["form"]["action"].value() == "drop"
    assert response.context["forecast"] is None


def test_save__of_choices_without_their_old_fields__forgets_these(owner: Client, world: World) -> None:
    rule = Rule.objects.create(
        site=world.site,
        name_test="prefix",
        name_value="A",
        path_test="equals",
        path="properties.a",
        path_value="b",
        action="group_from",
        argument="properties.c",
        group_traits={"d": "properties.d"},
    )
    left = {"name_value": "A", "path": "properties.a", "path_value": "x" * 501, "argument": "properties.c"}
    choices = {"name_test": "", "path_test": "exists", "action": "no_goal"}

    assert owner.post(f"{BASE}rules/{rule.pk}/", {**left, **choices, "do": "save"}).status_code == 302

    rule.refresh_from_db()
    assert (rule.name_value, rule.path, rule.path_value) == ("", "properties.a", "")
    assert (rule.argument, rule.group_traits) == ("", {})


def test_save__of_a_choice_without_its_field__asks_for_it(owner: Client, world: World) -> None:
    response = owner.post(NEW, {"action": "drop", "name_test": "prefix", "path_test": "exists", "do": "save"})

    assert response.status_code == 400
    assert fields_of(response) == ["name_value", "path", "argument"]
    assert "Say both how the name is compared and with what" in response.content.decode()
    assert "Name a field such as properties.plan" in response.content.decode()


def test_traits__of_a_group__are_rows(owner: Client, world: World) -> None:
    group = {"action": "group_from", "argument": "properties.id", "do": "save", "is_enabled": "on"}
    rows = {"trait": ["country", "", " dotted.x"], "trait_field": ["properties.country", "", "traits.x"]}

    change(owner, "rules/new/", **group, **rows)

    rule = Rule.objects.get()
    assert rule.group_traits == {"country": "properties.country", " dotted.x": "traits.x"}
    response: Any = owner.get(f"{BASE}rules/{rule.pk}/")
    pairs = [("country", "properties.country"), (" dotted.x", "traits.x")]
    assert response.context["form"]["group_traits"].value() == [*pairs, ("", ""), ("", "")]
    change(owner, f"rules/{rule.pk}/", **group)
    rule.refresh_from_db()
    assert rule.group_traits == {}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([("a", "")], "Give each trait a name and the field that holds it"),
        ([("", "properties.a")], "Give each trait a name and the field that holds it"),
        ([("a", "properties..a")], "Give each trait a name and the field that holds it"),
        ([("a", "properties.a"), ("a", "properties.b")], "Enter each trait once."),
    ],
    ids=["no field", "no name", "no path", "twice"],
)
def test_traits__that_are_wrong__are_told_and_not_saved(
    owner: Client, world: World, rows: list[tuple[str, str]], message: str
) -> None:
    traits, paths = zip(*rows, strict=True)
    form = {"action": "group_from", "argument": "properties.id", "trait": traits, "trait_field": paths, "do": "save"}

    response = owner.post(NEW, form)

    assert response.status_code == 400
    assert message in response.content.decode()
    assert not Rule.objects.exists()


def test_list__of_rules__says_each_as_a_sentence(owner: Client, world: World) -> None:
    source = world.site.sources.get()
    Rule.objects.create(site=world.site, name="No noise", action="drop", name_test="prefix", name_value="_")
    Rule.objects.create(site=world.site, action="hash_field", argument="traits.email", source=source)

    page = look(owner, "rules/")

    assert "If the name begins with “_”, then ignore the event." in page
    assert "No noise" in page
    assert f"If the source is “{source.name}”, then hash traits.email before the event is stored." in page
