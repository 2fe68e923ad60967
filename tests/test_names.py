"""Search and order of names for people. Events are still matched by their exact names."""

import random
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from django.utils import timezone

import names
from api.ingest.provisioning import create_site
from cohorts.models import Group, Persona
from goals.list_order import GoalOrder, find_goals
from goals.models import Goal, Tag
from goals.queries import GoalFilter

NAMES = ["apple", "Banana", "Ebene", "éclair", "été", "Goal 9", "Goal 10", "Goal 100", "sign-up", "Zebra", "Ж", "東"]


@pytest.fixture
def site(db: None) -> Any:
    return create_site(name="Shop", sitecode="1q2w3e4r5t")


def make(site: Any, *goal_names: str) -> None:
    Goal.objects.bulk_create(Goal(site=site, name=name) for name in goal_names)


def search_goals(site: Any, text: str) -> list[str]:
    page = find_goals([site.pk], GoalFilter(search=text), now=timezone.now())
    return [goal.name for goal in page.goals]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("Checkout", "Checkout "),
        ("Checkout", "\u00a0\tcheckout\n"),
        ("SegmentIO track – Clicked on Checkout", "SegmentIO track - Clicked on Checkout"),
        ("SegmentIO track – Clicked on Checkout", "checkout clicked"),
        ("SegmentIO track — Clicked", "segmentio track ‑ clicked"),
        ("Rock ’n’ Roll “live”", "rock 'n' roll \"live\""),
        ("Caf\u00e9", "cafe\u0301"),
        ("Cafe\u0301", "CAF\u00c9"),
        ("Übersicht", "ubersicht"),
        ("Straße", "STRASSE"),
        ("STRASSE", "straße"),
        ("Smørrebrød", "smorrebrod"),
        ("ｃｈｅｃｋｏｕｔ", "checkout"),
        ("oﬃce", "office"),
        ("ΟΔΟΣ", "οδος"),
        ("İstanbul", "istanbul"),
        ("Check\u200bout", "checkout"),
        ("checkout", "\ufeffcheckout"),
        ("100% off_season\\x", "100% OFF_ \\x"),
        ("a\u0000b".replace("\0", "\ufffd"), "A\ufffdB"),
    ],
)
def test_search__of_what_a_person_types__finds_the_name(site: Any, name: str, text: str) -> None:
    make(site, name, "Another")

    assert search_goals(site, text) == [name]
    Tag.objects.create(site=site, name=name)
    assert [tag.name for tag in names.search(Tag.objects.all(), text, "name")] == [name]


@pytest.mark.parametrize("text", ["checkout bought", "%", "_", "check.out", "checkouts"])
def test_search__of_another_name__finds_nothing(site: Any, text: str) -> None:
    make(site, "Clicked on Checkout")

    assert search_goals(site, text) == []


@pytest.mark.parametrize("text", ["", "  ", "\u200b"])
def test_search__of_nothing__finds_everything(site: Any, text: str) -> None:
    make(site, "A", "B")

    assert search_goals(site, text) == ["A", "B"]


@pytest.mark.parametrize("is_descending", [False, True])
def test_goals__by_name__are_in_the_order_people_read_them(site: Any, *, is_descending: bool) -> None:
    make(site, *random.Random(7).sample(NAMES, len(NAMES)))

    order, shown, after = GoalOrder("name", is_descending), list[str](), None
    for _ in NAMES:
        page = find_goals([site.pk], GoalFilter(), now=timezone.now(), order=order, after=after, limit=1)
        shown += [goal.name for goal in page.goals]
        after = page.next

    assert (shown, after) == (NAMES[::-1] if is_descending else NAMES, None)


@pytest.mark.parametrize(("model", "field"), [(Persona, "name"), (Group, "group_id")])
def test_list__of_names__goes_on_behind_the_last_one(site: Any, model: Any, field: str) -> None:
    shuffled = random.Random(7).sample(NAMES, len(NAMES))
    model.objects.bulk_create(model(site=site, **{field: name}) for name in shuffled)

    shown, after = list[str](), ""
    while page := list(names.in_order(model.objects.filter(site=site), field, after=after)[:5]):
        shown += [getattr(row, field) for row in page]
        after = shown[-1]

    assert shown == NAMES


def test_key__of_the_longest_name__fits_an_index(site: Any) -> None:
    for name in ("1 " * 127, "東" * 255, "ﷺ" * 255):
        Persona.objects.create(site=site, name=name)
        Group.objects.create(site=site, group_id=name)
    make(site, "1 " * 300, "ﷺ" * 600)

    assert Persona.objects.count() == 3


def test_functions__without_a_search_path__work_as_a_restored_dump_needs(site: Any) -> None:
    make(site, "Übersicht 9")
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL search_path = ''")
        cursor.execute("SELECT public.goalpost_sort_key('Übersicht 9'), public.goalpost_fold('Ü – ﬁ')")
        assert cursor.fetchone() == ("ubersicht 00000000000000000009", "u - fi")
        cursor.execute("UPDATE public.goals_goal SET name = 'Ä' RETURNING search_key, sort_key")
        assert cursor.fetchone() == ("a", "a")
        cursor.execute("SET LOCAL search_path = public")


def test_migrations__of_all_apps__say_what_the_models_say(db: None) -> None:
    call_command("makemigrations", check=True, dry_run=True, verbosity=0)
