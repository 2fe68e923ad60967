"""The set-up guide: code for this host and site, a reference, and whether an event has come."""

import html
import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from api.http.error_codes import ERROR_CODES
from api.ingest.provisioning import create_site, create_source
from api.models import Site, Source, SourceCount
from api.pages.guide import INTEGRATIONS, REFERENCE
from tests.support.pages import Enter, text_of
from tests.world import World

BASE = "/admin/s/1q2w3e4r5t/guide/"
ROOT = Path(__file__).parents[2]
DOCUMENTS = ("README.md", "CONTRIBUTING.md", "SECURITY.md", "docker/README.md")
PAGES = (*INTEGRATIONS, *REFERENCE)


@pytest.fixture
def sources(site: Site) -> dict[str, Source]:
    """One of each kind."""
    made = {kind: create_source(site, name=f"Our {kind}", kind=kind) for kind in ("server", "browser", "altis")}
    return {**made, "destination": site.sources.get(kind="destination")}


def look(person: Client, way: str, **headers: str) -> str:
    return html.unescape(text_of(person.get(f"{BASE}{way}", headers=headers)))


@pytest.mark.promise("K-41")
@pytest.mark.parametrize("way", PAGES, ids=lambda way: way.name)
def test_page__of_each_way__holds_no_address_or_key_but_its_own(
    viewer: Client, sources: dict[str, Source], way: Any
) -> None:
    response = viewer.get(f"{BASE}{way.name}/")

    shown = html.unescape(text_of(response)).partition('<div class="gp">')[2]
    for code in response.context["code"].values():
        assert code in shown
        assert not re.search(r"https://[a-z]+\.example\.com|\bWRITE_KEY\b|SITECODE", code)
    assert response.context["code"].keys() == set(way.codes)
    if way.kind:
        source = sources[way.kind]
        assert f'data-first-event="{BASE}first-event/{source.pk}/"' in shown
        assert f"Waiting for the first event from “{source.name}”" in shown
    if way.kind and way.kind != "destination":
        assert source.write_keys.get().key in shown


def test_answers__of_events__are_codes_of_the_api(viewer: Client) -> None:
    rows = re.findall(r'<tr><td class="gp-name">(\d+)</td><td>(.*?)</td>', look(viewer, "answers/"))
    codes = {(status, code) for status, cell in rows for code in re.findall("<code>(.*?)</code>", cell)}

    assert len(codes) > 15
    assert not [code for status, code in codes if not ERROR_CODES[code].startswith(status)]


@pytest.mark.promise("K-41")
def test_page__behind_the_proxy__names_the_hosts_of_senders_and_readers(
    viewer: Client, sources: dict[str, Source], settings: Any
) -> None:
    settings.ALLOWED_HOSTS = ["api.shop.example"]
    asked = {"host": "api.shop.example", "x-forwarded-proto": "https"}

    assert "curl -sw '\\n' 'https://integrations.shop.example/v1/track'" in look(viewer, "curl/", **asked)
    assert "host = 'https://data.shop.example'" in look(viewer, "read/", **asked)
    assert 'network_domain="shop.example"' in look(viewer, "read/", **asked)


@pytest.mark.usefixtures("sources")
def test_page__with_a_public_address__names_it_whatever_the_proxy_hides(viewer: Client, settings: Any) -> None:
    for public_url, events, data in (
        ("https://goalpost.example:18942", "https://goalpost.example:18942", "https://goalpost.example:18942"),
        ("https://api.shop.example", "https://integrations.shop.example", "https://data.shop.example"),
    ):
        settings.PUBLIC_URL = public_url

        assert f"curl -sw '\\n' '{events}/v1/track'" in look(viewer, "curl/")
        assert f"host = '{data}'" in look(viewer, "read/")


@pytest.mark.promise("B-13", "B-14", "B-15")
def test_csp__of_the_configured_host__is_a_header_and_a_meta_tag_without_unsafe(viewer: Client, settings: Any) -> None:
    settings.ALLOWED_HOSTS = ["api.shop.example", "testserver"]
    asked = {"host": "api.shop.example", "x-forwarded-proto": "https"}

    shown = look(viewer, "csp/", **asked)

    policy = "connect-src 'self' https://integrations.shop.example https://data.shop.example"
    assert f"Content-Security-Policy: {policy}\n" in shown
    assert f'<meta http-equiv="Content-Security-Policy" content="{policy}">' in shown
    assert "unsafe" not in shown.partition('<div class="gp">')[2]
    assert "or your servers need no change" in shown  # the cloud route
    assert "connect-src 'self' http://testserver\n" in look(viewer, "csp/")  # one host, named once


@pytest.mark.promise("K-91")
def test_read__custom_data__has_key_path_and_call(viewer: Client) -> None:
    shown = look(viewer, "read/")

    for told in ("COHORTS_<id>", "IDENTIFY_<id>", "traits.plan", "groupId", "get_remote_data", "siteCode=1q2w3e4r5t"):
        assert told in shown


@pytest.mark.parametrize(
    ("way", "words"),
    [
        pytest.param("function/", "Basic Settings: Name, host, API key, sitecode", marks=pytest.mark.promise("B-03")),
        pytest.param(
            "migration/", "Live messages to a page (server-sent events) are optional", marks=pytest.mark.promise("B-17")
        ),
        pytest.param("migration/", "Feedback surveys are out of scope", marks=pytest.mark.promise("B-18")),
        pytest.param("", "Segment functions and webhooks use an API key instead", marks=pytest.mark.promise("I-04")),
        pytest.param(
            "altis/",
            "register_segment_group_field</code> (or <code>register_segment_group_map",
            marks=pytest.mark.promise("A-06"),
        ),
    ],
)
def test_guide__what_is_asked_about__is_said_where_it_is_looked_for(viewer: Client, way: str, words: str) -> None:
    assert words in look(viewer, way)


@pytest.mark.promise("K-90")
def test_guide__of_other_products__names_none_that_it_is_not_about(viewer: Client) -> None:
    pages = [look(viewer, ""), *(look(viewer, f"{page.name}/") for page in PAGES)]
    pages += [(ROOT / name).read_text() for name in DOCUMENTS]

    others = re.compile("amplitude|mixpanel|optimizely|posthog|braze|google analytics|snowplow", re.IGNORECASE)
    assert not [found for page in pages for found in others.findall(page)]


@pytest.mark.promise("K-91")
@pytest.mark.parametrize(
    ("asked", "shown"),
    [
        ({}, ("list of strings", "COHORTS_<id>", 'get_remote_data(f"COHORTS_{user_id}")')),
        ({"of": "trait", "trait": "tier"}, ("traits.tier", "IDENTIFY_<id>", '?.["tier"]', '.get("tier")', "public")),
        ({"of": "group", "name": "Company"}, ("groupId", "IDENTIFY_<id>", "Company")),
        ({"of": "trait", "trait": '"]; alert(1); //'}, (r'?.["\"]; alert(1); //"]',)),
    ],
)
def test_custom_data__of_each_kind__has_its_type_key_path_and_code(
    viewer: Client, asked: dict[str, str], shown: tuple[str, ...]
) -> None:
    page = html.unescape(text_of(viewer.get(f"{BASE}custom-data/", asked)))

    assert all(each in page for each in (*shown, "http://testserver/map/map?siteCode=1q2w3e4r5t"))


@pytest.mark.promise("K-46")
def test_apps__behind_the_proxy__name_the_host_without_a_scheme(
    viewer: Client, sources: dict[str, Source], settings: Any
) -> None:
    settings.ALLOWED_HOSTS = ["api.shop.example"]

    page = look(viewer, "apps/", host="api.shop.example", **{"x-forwarded-proto": "https"})

    assert page.count("integrations.shop.example/v1") >= 2 * 3
    assert (
        "https://integrations.shop.example/v1" not in page.partition('<div class="gp">')[2].partition("Send a test")[0]
    )
    assert page.count(sources["browser"].write_keys.get().key) >= 3


def tell(person: Client, source: Source) -> Any:
    return json.loads(text_of(person.get(f"{BASE}first-event/{source.pk}/")))


@pytest.mark.promise("K-41")
def test_check__first_event_of_the_source__is_heard(viewer: Client, world: World, sources: dict[str, Source]) -> None:
    server = sources["server"]
    nothing = {"received": 0, "taken": 0, "refused": [], "event": ""}
    assert tell(viewer, server) == nothing
    key = server.write_keys.get().key

    refused = world.client.post("/v1/track", json={"writeKey": key, "userId": "u"})
    taken = world.client.post("/v1/track", json={"writeKey": key, "userId": "u", "event": "Buy"})

    assert (refused.status_code, taken.status_code) == (400, 200)
    deadline = datetime.now(UTC).timestamp() + 60
    last = f"/admin/s/1q2w3e4r5t/events/{world.last_message().pk}/"
    while tell(viewer, server) != {"received": 2, "taken": 1, "refused": [], "event": last}:  # written once a second
        assert datetime.now(UTC).timestamp() < deadline, tell(viewer, server)
    assert tell(viewer, sources["browser"]) == nothing
    assert f'href="{last}"' in look(viewer, "curl/")
    assert "✓ Receiving events from “Our server”" in look(viewer, "curl/")


def test_page__refused_events_only__still_waits(viewer: Client, sources: dict[str, Source]) -> None:
    now = datetime.now(UTC)
    hour = now.replace(minute=0, second=0, microsecond=0)
    SourceCount.objects.create(
        site=sources["server"].site,
        source=sources["server"],
        hour=hour,
        received=2,
        duplicates=0,
        rejected=2,
        last_received_at=now,
    )

    assert "Waiting for the first event" in look(viewer, "curl/")


@pytest.mark.parametrize(("switch", "words"), [("is_enabled", "is disabled"), ("takes_track", "count track events")])
def test_page__of_a_source_that_does_not_convert__says_so(
    viewer: Client, sources: dict[str, Source], switch: str, words: str
) -> None:
    assert words not in look(viewer, "curl/")

    Source.objects.filter(pk=sources["server"].pk).update(**{switch: False})

    assert words in look(viewer, "curl/")


def test_page__without_a_source_of_the_kind__has_owners_create_one(enter: Enter) -> None:
    for who, button in (("viewer", False), ("owner", True)):
        shown = look(enter(who), "altis/")

        assert "no source of the kind “Altis Analytics”" in shown
        assert (">Create key</button>" in shown) is button


def test_page__one_source_of_several__is_chosen_by_its_number(viewer: Client, site: Site) -> None:
    for number in range(2):
        create_source(site, name=f"Server {number}", kind="server", write_key=f"key-{number}")
    other = create_source(create_site(name="Other"), name="Elsewhere", kind="server", write_key="key-elsewhere")

    second = site.sources.get(name="Server 1")
    assert "-u 'key-1:'" in look(viewer, f"curl/?source={second.pk}")
    for odd in (str(other.pk), "x", "9" * 30, "%00"):
        assert "-u 'key-0:'" in look(viewer, f"curl/?source={odd}")
    assert viewer.get(f"{BASE}first-event/{other.pk}/").status_code == 404
    assert viewer.get(f"{BASE}first-event/{'9' * 30}/").status_code == 404
    assert viewer.get(f"{BASE}nothing/").status_code == 404


@pytest.mark.parametrize("page", ["", *(f"{page.name}/" for page in PAGES), "first-event/{source}/"])
def test_page__whoever_asks__gets_what_is_theirs(
    enter: Enter, site: Site, django_assert_max_num_queries: Any, page: str
) -> None:
    path = BASE + page.format(source=site.sources.get().pk)

    for who, status in (("viewer", 200), ("owner", 200), ("outsider", 404), ("anonymous", 302)):
        assert enter(who).get(path).status_code == status
    person = enter("viewer")
    person.get(path)
    with django_assert_max_num_queries(12):
        person.get(path)
