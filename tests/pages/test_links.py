"""Every link and form of every page leads a member to something that they may see or do."""

import re
from datetime import timedelta
from pathlib import Path
from typing import Final
from urllib.parse import urldefrag, urlsplit

import pytest
from django.urls import resolve
from django.utils import timezone
from django.utils.html import escape

import api
from api.ingest.provisioning import create_source
from api.models import Alert, DuplicateSources, Role, Site, Source, SourceCount
from goals import catalogue
from goals.models import Goal, WaitingName
from tests.pages.catalogue import PAGES, Page, Place
from tests.support.messages import store_message
from tests.support.page_rights import MEMBERS, expected, outcome
from tests.support.pages import Enter, text_of
from tests.world import SITECODE, World

HREF: Final = re.compile(r'<a\b[^>]*\bhref="([^"]*)"')
FORM: Final = re.compile(r"(<form\b[^>]*>)(.*?)</form>", re.DOTALL)
BUTTON: Final = re.compile(r"<button\b[^>]*>")
ACTION: Final = re.compile(r'\b(?:form)?action="([^"]*)"')
SAVED_AS: Final = re.compile(r"{%\s*url\b[^%]*\bas\s+\w+\s*%}")
TEMPLATES: Final = Path(api.__file__).parent / "templates"


@pytest.fixture
def troubled(world: World, place: Place) -> Place:
    """Return a site with everything that the home page mentions."""
    now = timezone.now()
    site = world.site
    silent, off = (create_source(site, name=name, kind="server") for name in ("Silent", "Off"))
    for source in (silent, off):
        at = now - timedelta(days=2)
        SourceCount.objects.create(
            site_id=source.site_id, source=source, hour=at, received=5, duplicates=0, rejected=0, last_received_at=at
        )
    Source.objects.filter(pk=off.pk).update(is_enabled=False)
    DuplicateSources.objects.create(site=site, one=silent, other=off, count=3, last_seen_at=now)
    Alert.objects.update(firing_since=now, held_at=now, checked_at=now, notified_at=now, finding="It lags.")
    Goal.objects.filter(site=site, pk=place.numbers["goal_id"]).update(archived_at=now - timedelta(days=4000))
    WaitingName.objects.create(site=site, name="SegmentIO track – W", event_type="track", event_name="W")
    for status in ("pending", "deferred"):
        at = now - timedelta(hours=1)
        body = b'{"type":"track","event":"W","userId":"ada-king"}'
        store_message(
            site=site,
            type="track",
            received_at=at,
            occurred_at=at,
            body=body,
            status=status,
            waiting_for="SegmentIO track – W" if status == "deferred" else "",
            reason="goal_quota" if status == "deferred" else "",
        )
    return place


def links_of(text: str, page: str) -> set[str]:
    """Return the addresses of this server that a page links to, without fragments."""
    links = {urldefrag(link.replace("&amp;", "&")).url for link in HREF.findall(text)}
    return {urlsplit(page).path + link if link.startswith("?") else link for link in links if link[:1] in {"/", "?"}}


def targets_of(text: str, page: str) -> set[str]:
    """Return the names of the pages that the buttons of a page post to, which are what their forms are for."""
    targets = set()
    for form, body in FORM.findall(text):
        for button in BUTTON.findall(body):
            if 'method="post"' not in form or 'type="button"' in button:
                continue
            action = ACTION.search(button) or ACTION.search(form)
            targets.add(str(resolve(urlsplit(action[1] if action else page).path).url_name))
    return targets


def test_links__are_found_with_their_queries() -> None:
    text = '<a class="x" href="/a/?b=1&amp;c=2#d">A</a> <a href="?e=1">E</a> <a href="https://elsewhere/">F</a>'
    assert links_of(text, "/page/?z=1") == {"/a/?b=1&c=2", "/page/?e=1"}


@pytest.mark.parametrize("role", MEMBERS)
def test_links__of_every_page__lead_a_member_to_what_they_may_see(troubled: Place, enter: Enter, role: Role) -> None:
    """None of them is staff. A link to the tables of the administrators would send them to the login."""
    member = enter(role)
    found: dict[str, str] = {}
    for name in PAGES:
        address = troubled.address(name)
        response = member.get(address)
        if response.status_code == 200 and response.headers["Content-Type"].startswith("text/html"):
            found |= dict.fromkeys(links_of(text_of(response), address), name)
    wrong = []
    for link, page in sorted(found.items()):
        response = member.get(link)
        is_login = response.status_code == 302 and "/login/" in response.headers["Location"]
        if is_login or response.status_code not in {200, 302}:
            wrong.append((page, link, response.status_code))

    assert len(found) > 60
    assert wrong == []


@pytest.mark.parametrize("role", MEMBERS)
def test_forms__of_every_page__are_shown_to_who_may_send_them(troubled: Place, enter: Enter, role: Role) -> None:
    member = enter(role)
    wrong = []
    for name in PAGES:
        address = troubled.address(name)
        response = member.get(address)
        if response.status_code == 200 and response.headers["Content-Type"].startswith("text/html"):
            for target in targets_of(text_of(response), address):
                page = PAGES.get(target, Page())
                if expected(role, page.act or page.look) != {"allowed"}:
                    wrong.append((name, target))

    assert wrong == []


@pytest.mark.parametrize("steps", range(4))
def test_links__of_what_a_deleted_goal_converted__lead_nowhere_else(
    world: World, enter: Enter, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    """Its conversions stop counting at once, and their rows go in steps."""
    monkeypatch.setattr(catalogue, "PURGE_CHUNK", 1)
    world.track("Buy", kameleoonVisitorCode="vc1")
    world.track("Sell", kameleoonVisitorCode="vc1")
    goal = Goal.objects.get(name="SegmentIO track – Sell")
    viewer, event = enter("viewer"), f"/admin/s/{SITECODE}/events/{world.last_message().pk}/"
    person = f"/admin/s/{SITECODE}/people/person/?id=user-1"
    catalogue.delete_goal(goal, now=timezone.now())
    for _ in range(steps):
        catalogue.purge_deleted()

    for page in (event, person):
        shown = text_of(viewer.get(page))
        assert f"/goals/{goal.pk}/" not in shown
    assert "Its goal was deleted" in text_of(viewer.get(event))


def test_templates__save_no_address_that_may_be_missing() -> None:
    """`{% url … as x %}` hides a wrong name, where `{% url … %}` fails in the first test that shows the page."""
    hidden = [str(path) for path in TEMPLATES.rglob("*.html") if SAVED_AS.search(path.read_text())]
    assert hidden == []


def test_home__what_needs_a_person__leads_to_where_it_is_mended(troubled: Place, enter: Enter) -> None:
    owner = enter("owner")
    text = text_of(owner.get(troubled.address("home")))
    site = Site.objects.get(sitecode=troubled.sitecode)
    sources = f"/admin/s/{site.sitecode}/settings/sources/"

    for sentence in ("“Off” is disabled", "No events from “Silent”", "are double-counting"):
        (note,) = [note for note in re.findall(r"<li class=\"gp-note.*?</li>", text) if escape(sentence) in note]
        assert sources in note
    assert outcome(owner.get(sources)) == "allowed"
