"""The events of a site: the list that fills by itself, its filters, and the page of an event."""

import html
import json
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from api.ingest.provisioning import create_site, create_source
from api.insight import messages
from api.models import Message, Site
from tests.support.messages import replace_bodies, store_message
from tests.support.pages import Enter, text_of

PATH = "/admin/s/1q2w3e4r5t/events/"
ROWS = f"{PATH}rows/"


def store(site: Site, **fields: Any) -> Message:
    """Insert a message, received now and pending unless fields say otherwise."""
    now = timezone.now()
    body = fields.pop("event", {"event": "Signed Up", "userId": "user-1"})
    return store_message(
        **{
            "site": site,
            "type": "track",
            "received_at": now,
            "occurred_at": now,
            "body": json.dumps(body).encode(),
            **fields,
        }
    )


def shown(person: Client, path: str = PATH, **query: Any) -> list[int]:
    """Return the messages of a list in its order."""
    response = person.get(path, query)
    text_of(response)
    return [row.id for row, _ in response.context["rows"]]


def poll(person: Client, **query: Any) -> tuple[int, str]:
    """Return the `after` of the next request, and the rows as HTML."""
    answer = json.loads(text_of(person.get(ROWS, query)))
    return answer["after"], answer["html"]


def ago(**span: float) -> datetime:
    return timezone.now() - timedelta(**span)


@pytest.mark.promise("B-04")
def test_list__of_messages__shows_who_did_what_and_what_came_of_it(viewer: Client, site: Site) -> None:
    source = create_source(site, name="Shop server", kind="server")
    event = {"event": "Ordered <b>", "properties": {"kameleoonVisitorCode": "visitor-7"}}
    store(site, source=source, event=event, status="done", effects=["converted", "goal_created"])
    store(site, event=[1], status="rejected", reason="no_identity")

    page = text_of(viewer.get(PATH))

    for part in ("Shop server", "Ordered &lt;b&gt;", "visitor-7", "properties.kameleoonVisitorCode"):
        assert part in page
    assert "Converted, Goal created" in page
    assert "The event names no person" in page


def test_list__of_a_site_without_messages__says_what_to_do(viewer: Client) -> None:
    assert "No events yet" in text_of(viewer.get(PATH))


@pytest.mark.promise("B-05")
def test_poll__after_what_the_page_shows__gives_what_came_since(viewer: Client, site: Site) -> None:
    old = store(site, received_at=ago(minutes=1), status="done")
    after = viewer.get(PATH).context["after"]
    new = store(site)

    _, rows = poll(viewer, after=after)

    assert (after, f'data-id="{new.pk}"' in rows, f'data-id="{old.pk}"' in rows) == (old.pk, True, False)


@pytest.mark.promise("B-05")
def test_poll__message_that_is_committed_after_a_later_one__is_not_missed(viewer: Client, site: Site) -> None:
    """Ids are drawn before the commit."""
    old = store(site, received_at=ago(minutes=1))
    late = Message(pk=old.pk + 1, site=site, type="track", occurred_at=timezone.now())
    store(site, pk=old.pk + 2)
    after, _ = poll(viewer, after=0)
    late.received_at = timezone.now()
    late.save()

    _, rows = poll(viewer, after=after)

    assert f'data-id="{late.pk}"' in rows


def test_poll__row_that_waited__says_what_became_of_it(viewer: Client, site: Site) -> None:
    waits = store(site, received_at=ago(hours=1), status="deferred", reason="goal_quota")
    last = store(site, received_at=ago(minutes=1), status="done")
    Message.objects.filter(pk=waits.pk).update(status="done", effects=["converted"], reason="")

    _, rows = poll(viewer, after=last.pk, open=f"{waits.pk},junk,{'9' * 30}")

    assert f'data-id="{waits.pk}"' in rows
    assert "Converted" in rows


def test_poll__of_many_rows__gives_a_hundred(viewer: Client, site: Site) -> None:
    for _ in range(101):
        store(site)

    _, rows = poll(viewer, after=0)

    assert rows.count("<tr") == 100


def test_list__of_another_sites_messages__shows_none(viewer: Client, site: Site) -> None:
    other = create_site(name="Other")
    theirs = store(other)

    assert shown(viewer) == []
    assert poll(viewer, after=0, open=theirs.pk)[1].strip() == ""
    assert viewer.get(f"{PATH}{theirs.pk}/").status_code == 404


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"outcome": "rejected"}, ["rejected"]),
        ({"outcome": "failed"}, ["failed"]),
        ({"outcome": "pending"}, ["pending"]),
        ({"outcome": "deferred"}, ["deferred"]),
        ({"outcome": "converted"}, ["converted"]),
        ({"outcome": "nothing"}, ["nothing"]),
        ({"reason": "no_identity"}, ["rejected"]),
        ({"type": "identify"}, ["nothing"]),
        ({"source": "{source}"}, ["converted"]),
        ({"message_id": "m-1"}, ["converted"]),
        ({"message_id": "m-2"}, ["rejected"]),
        ({"text": "Café “x”"}, ["failed"]),
        ({"text": "user-of-pending"}, ["pending"]),
        ({"since": "{yesterday}"}, ["failed", "rejected", "deferred", "pending", "nothing"]),
        ({"until": "{yesterday}"}, ["converted"]),
        ({"outcome": "junk", "source": "x", "type": "junk", "since": "2026-99-99T00:00"}, None),
    ],
)
def test_filter__by_what_is_offered__leaves_those(
    viewer: Client, site: Site, query: dict[str, str], expected: list[str] | None
) -> None:
    source = create_source(site, name="App", kind="server")
    made = {
        "converted": store(
            site, status="done", effects=["converted"], source=source, message_id="m-1", received_at=ago(days=3)
        ),
        "nothing": store(site, status="done", effects=["nothing"], type="identify"),
        "pending": store(site, event={"event": "x", "userId": "user-of-pending"}),
        "deferred": store(site, status="deferred", reason="goal_quota"),
        "rejected": store(site, status="rejected", reason="no_identity", message_id="m-2"),
        "failed": store(site, status="failed", reason="digest_failed", event={"event": "Café “x”"}),
    }
    names = {message.pk: name for name, message in made.items()}
    places = {"{source}": str(source.pk), "{yesterday}": f"{ago(days=1):%Y-%m-%dT%H:%M}"}

    found = shown(viewer, **{name: places.get(value, value) for name, value in query.items()})

    assert [names[id_] for id_ in found] == (expected or list(reversed(names.values())))


def test_pages__of_a_long_list__show_each_message_once(viewer: Client, site: Site) -> None:
    ids = [store(site).pk for _ in range(120)]
    seen: list[int] = []
    query = ""

    for _ in range(3):
        response = viewer.get(f"{PATH}?{query}")
        text_of(response)
        seen += [row.id for row, _ in response.context["rows"]]
        query = response.context["older"]

    assert seen == sorted(ids, reverse=True)


def test_filter__that_finds_nothing_near__says_how_far_it_looked_and_goes_on_from_there(
    viewer: Client, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(messages, "SEARCHED_MESSAGES", 10)
    wanted = store(site, type="page")
    for _ in range(15):
        store(site)

    first = viewer.get(PATH, {"type": "page"})
    further = viewer.get(f"{PATH}?{first.context['older']}")

    assert "Searched 10 events" in text_of(first)
    assert [row.id for row, _ in further.context["rows"]] == [wanted.pk]


def test_list__body_too_large_for_it__is_not_read(viewer: Client, site: Site) -> None:
    store(site, event={"event": "Big", "x": "y" * 70_000})

    assert "too large to show" in text_of(viewer.get(PATH))


@pytest.mark.parametrize("path", [PATH, ROWS])
def test_list__of_many_messages__takes_few_queries(viewer: Client, site: Site, path: str) -> None:
    for _ in range(60):
        store(site)
    viewer.get(path)

    with CaptureQueriesContext(
        connection,
    ) as queries:
        text_of(viewer.get(path))

    assert len(queries) <= 12


ODD = [b"", b"null", b"[1]", b'{"event": "\\u0000 \\ud800"}', b"\xff\xfe", b'{"a":' * 2_000, b'"x"', b"{" + b"}"]


@pytest.mark.parametrize("body", ODD)
@pytest.mark.parametrize("status", ["pending", "deferred", "done", "rejected", "failed"])
def test_pages__of_an_odd_body__open(viewer: Client, site: Site, body: bytes, status: str) -> None:
    message = store(site, status=status, digested_at=timezone.now(), reason="", type="track")
    replace_bodies(body)

    text_of(viewer.get(PATH))
    text_of(viewer.get(f"{PATH}{message.pk}/"))


def test_event__body__is_shown_with_indents_and_copied_so(viewer: Client, site: Site) -> None:
    message = store(site, event={"event": "<script>alert(1)</script>", "userId": "ü"})

    page = text_of(viewer.get(f"{PATH}{message.pk}/"))

    assert "<script>alert" not in page
    assert html.escape('{\n  "event": "<script>alert(1)</script>",\n  "userId": "ü"\n}') in page
    assert 'data-copy="{' in page


@pytest.mark.parametrize("path", [PATH, ROWS, f"{PATH}1/"])
@pytest.mark.parametrize(
    ("who", "status"), [("anonymous", 302), ("outsider", 404), ("viewer", 200), ("editor", 200), ("owner", 200)]
)
def test_pages__are_for_members(site: Site, enter: Enter, path: str, who: str, status: int) -> None:
    message = store(site)

    assert enter(who).get(path.replace("/1/", f"/{message.pk}/")).status_code == status
