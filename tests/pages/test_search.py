"""Search for anything: pages, settings and actions by words, the rows of a site by name or id."""

from urllib.parse import quote

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from api.ingest.provisioning import create_site
from api.models import Membership, Message, Role
from tests.bench.looks import MOST_QUERIES
from tests.pages.catalogue import Place
from tests.support.pages import Enter, text_of
from tests.world import SITECODE, World

SEARCH = f"/admin/s/{SITECODE}/search/"


def links_of(text: str) -> list[str]:
    """Return the addresses of the results, in their order, below the site's pages."""
    found = text.partition('class="gf-found"')[2] if "<html" in text else text
    parts = found.split('class="gf-result"')[1:]
    return [part.partition('href="')[2].partition('"')[0].removeprefix(f"/admin/s/{SITECODE}/") for part in parts]


@pytest.mark.parametrize(
    ("text", "link"),
    [
        ("deliv", "delivery/"),
        ("gdpr", "people/erased/"),
        ("new goal", "goals/new/"),
        ("bought", "goals/{goal_id}/"),
        ("lovelace", "people/person/?id=ada-king"),
        ("ada-ki", "people/person/?id=ada-king"),
        ("anon-", "people/person/?id=anon-1"),
        ("visitor-1", "people/person/?id=visitor-1"),
        ("vip", "personas/persona/?name=vip"),
        ("VIPs", "segments/{segment_id}/"),
        ("checkout-3", "experiments/{experiment_id}/"),
        ("acme", "groups/group/?id=acme"),
        ("{message_id}", "events/{message}/"),
        ("{number}", "events/{number}/"),
        ("currency", "settings/#id_default_currency"),
    ],
)
def test_search__for_a_text__finds_what_has_it(place: Place, enter: Enter, text: str, link: str) -> None:
    message = Message.objects.exclude(message_id="").earliest("pk")
    numbers = {**place.numbers, "message": message.pk, "message_id": message.message_id}
    found = links_of(text_of(enter("editor").get(SEARCH + "?q=" + quote(text.format(**numbers)))))

    assert link.format(**numbers) in found


def test_search__by_a_script__answers_options_without_the_frame(place: Place, enter: Enter) -> None:
    part = text_of(enter("viewer").get(f"{SEARCH}?q=goals", headers={"HX-Request": "true"}))

    assert "<html" not in part
    assert part.count('role="option"') == part.count("<a ") == len(links_of(part))


def test_search__by_a_script_after_the_session_ended__reloads_the_page(place: Place) -> None:
    answer = Client().get(f"{SEARCH}?q=goals", headers={"HX-Request": "true"})

    assert (answer.status_code, answer.headers["HX-Refresh"], answer.content) == (200, "true", b"")


@pytest.mark.parametrize("role", [*Role.values, "superuser"])
def test_search__for_pages_and_actions__lists_what_the_role_allows(place: Place, enter: Enter, role: str) -> None:
    browser = enter(role)
    for text in ("", "new", "alerts", "credentials", "members", "tokens", "audit"):
        for link in links_of(text_of(browser.get(f"{SEARCH}?q={text}"))):
            assert browser.get(f"/admin/s/{SITECODE}/{link.partition('#')[0]}").status_code == 200, (text, link)


def test_search__for_another_site__switches_to_own_ones_only(world: World, enter: Enter) -> None:
    editor = enter("editor")
    mine, other = create_site(name="Second shop"), create_site(name="Second secret")
    Membership.objects.create(user=User.objects.get(username="editor"), site=mine, role=Role.VIEWER)

    found = links_of(text_of(editor.get(f"{SEARCH}?q=switch second")))

    assert found == [f"/admin/s/{mine.sitecode}/"]
    assert other.sitecode not in "".join(found)


def test_search__for_what_another_site_has__finds_nothing(place: Place, enter: Enter) -> None:
    mine = create_site(name="Empty")
    enter("editor")
    Membership.objects.create(user=User.objects.get(username="editor"), site=mine, role=Role.VIEWER)
    editor = enter("editor")

    for text in ("lovelace", "ada-king", "acme", "ada-1", "VIPs", "bought", str(place.numbers["number"])):
        assert "Nothing found" in text_of(editor.get(f"/admin/s/{mine.sitecode}/search/?q={text}")), text


def test_search__of_everything__takes_few_queries(place: Place, enter: Enter) -> None:
    editor = enter("editor")
    editor.get(f"{SEARCH}?q=a")  # the session learns the site

    with CaptureQueriesContext(connection) as queries:
        text_of(editor.get(f"{SEARCH}?q=ada"))

    assert len(queries) <= MOST_QUERIES
