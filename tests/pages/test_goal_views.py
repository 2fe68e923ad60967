"""Saved views of the goal list."""

import re

import pytest
from django.contrib.auth.models import User

from api.models import AuditEntry, GoalView
from tests.support.goal_pages import BASE
from tests.support.pages import Enter, text_of
from tests.world import World

VIEWS = f"{BASE}views/"
RANGE = "&range=28d&compare=previous"  # that of a list without any


def save(enter: Enter, role: str, name: str, query: str, **more: str) -> str:
    return text_of(enter(role).post(f"{VIEWS}save/", {"name": name, "query": query, **more}, follow=True))


def views_seen(enter: Enter, role: str) -> dict[str, str]:
    """Return the saved views that a person sees, with the query string of each."""
    page = text_of(enter(role).get(VIEWS))
    links = re.search(r'id="view-links".*?</ul>', page, re.DOTALL)
    assert links is not None
    return {name: query.replace("&amp;", "&") for query, name in re.findall(r'\?([^"]*)">([^<]*)</a>', links[0])}


def test_view__saved__leads_to_its_list(world: World, enter: Enter) -> None:
    query = "q=buy&tag=vip&tag=a%26b&sort=-created&col=ever&range=7d&after=5&id=5&pick=1&x=1&made="

    page = save(enter, "editor", " Mine ", query, is_shared="on")

    assert "View “Mine” saved." in page
    assert views_seen(enter, "editor") == {"Mine": "q=buy&tag=vip&tag=a%26b&sort=-created&col=ever&range=7d"}
    assert AuditEntry.objects.latest("pk").what == "Saved a view of goals, Mine"


def test_view__saved_again__is_replaced(world: World, enter: Enter) -> None:
    save(enter, "viewer", "Mine", "q=a")
    save(enter, "viewer", "Mine", "q=b")

    assert views_seen(enter, "viewer") == {"Mine": f"q=b{RANGE}"}


def test_view__of_one_person__is_seen_by_others_only_if_an_editor_shares_it(world: World, enter: Enter) -> None:
    save(enter, "viewer", "Mine", "q=a", is_shared="on")
    save(enter, "editor", "Ours", "q=b", is_shared="on")
    save(enter, "editor", "Hers", "q=c")

    assert views_seen(enter, "viewer") == {"Mine": f"q=a{RANGE}", "Ours": f"q=b{RANGE}"}
    assert views_seen(enter, "editor") == {"Ours": f"q=b{RANGE}", "Hers": f"q=c{RANGE}"}


def test_view__of_a_list_with_the_range_of_the_session__keeps_that_range(world: World, enter: Enter) -> None:
    viewer = enter("viewer")
    viewer.get(f"{BASE}?range=7d&compare=year")
    viewer.post(f"{VIEWS}save/", {"name": "Mine", "query": "q=a"})

    assert views_seen(enter, "viewer") == {"Mine": "q=a&range=7d&compare=year"}


def test_view__of_one_person__is_in_no_log(world: World, enter: Enter) -> None:
    save(enter, "editor", "Mine", "q=secret")
    enter("editor").post(f"{VIEWS}{GoalView.objects.get().pk}/remove/", {"confirmed": "yes"})

    assert not AuditEntry.objects.filter(what__contains="view").exists()


def test_view__of_everybody__is_in_the_log_until_it_is_private(world: World, enter: Enter) -> None:
    save(enter, "editor", "Ours", "q=a", is_shared="on")
    save(enter, "editor", "Ours", "q=secret")
    save(enter, "editor", "Ours", "q=secret")

    entries = AuditEntry.objects.filter(what="Saved a view of goals, Ours").order_by("pk")
    assert [entry.after for entry in entries] == [{"query": f"q=a{RANGE}", "is_shared": True}, {"is_shared": False}]


def test_view__of_one_person__comes_before_those_of_everybody(
    world: World, enter: Enter, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("A", "B"):
        save(enter, "editor", name, "q=b", is_shared="on")
    save(enter, "viewer", "Mine", "q=a")
    monkeypatch.setattr("api.pages.goals.views.MOST_VIEWS", 1)  # the page lists twice as many

    assert list(views_seen(enter, "viewer")) == ["Mine", "A"]


@pytest.mark.parametrize(
    ("name", "query", "says"),
    [
        ("", "q=a", "Enter a name (1–100 characters)."),
        ("x" * 101, "q=a", "Enter a name (1–100 characters)."),
        ("Long", "q=" + "x" * 2_000, "This view has too many filters to be saved."),
    ],
)
def test_view__that_cannot_be_saved__is_not(world: World, enter: Enter, name: str, query: str, says: str) -> None:
    assert says in save(enter, "viewer", name, query)
    assert not GoalView.objects.exists()


def test_view__more_than_a_hundred__is_refused(world: World, enter: Enter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.pages.goals.views.MOST_VIEWS", 1)
    save(enter, "viewer", "One", "q=a")

    assert "You have 1 views. Remove one first." in save(enter, "viewer", "Two", "q=b")
    assert views_seen(enter, "viewer") == {"One": f"q=a{RANGE}"}


def test_view__removed__is_no_longer_seen(world: World, enter: Enter) -> None:
    save(enter, "editor", "Ours", "q=b", is_shared="on")
    view = GoalView.objects.get()
    address = f"{VIEWS}{view.pk}/remove/"

    assert enter("viewer").post(address).status_code == 403
    assert GoalView.objects.exists()
    assert "Other members no longer see it." in text_of(enter("owner").post(address, follow=True))
    assert not GoalView.objects.exists()


def test_view__of_another_person__is_absent(world: World, enter: Enter) -> None:
    save(enter, "viewer", "Mine", "q=b")
    view = GoalView.objects.get(user=User.objects.get(username="viewer"))

    assert enter("owner").post(f"{VIEWS}{view.pk}/remove/", {"confirmed": "yes"}).status_code == 404
