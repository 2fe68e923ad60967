"""Delivery of events, and the retry of failed ones."""

import html
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from api.ingest.provisioning import create_site, create_source
from api.insight import delivery
from api.insight.delivery import DeliveryPeriod, Lag
from api.models import AuditEntry, Message, Site, Source, SourceCount
from tests.support.messages import store_message
from tests.support.pages import Enter, text_of
from tests.support.source_counts import wait_until_counted
from tests.world import START, World

PATH = "/admin/s/1q2w3e4r5t/delivery/"
FAILED = "/admin/s/1q2w3e4r5t/events/failed/"
AGAIN = f"{FAILED}again/"


@pytest.fixture
def site(world: World) -> Site:
    return world.site


@pytest.fixture
def source(site: Site) -> Source:
    return create_source(site, name="Shop server", kind="server")


@pytest.fixture
def viewer(enter: Enter) -> Client:
    return enter("viewer")


@pytest.fixture
def editor(enter: Enter) -> Client:
    return enter("editor")


def store(site: Site, *, took: float | None = None, at: datetime | None = None, **fields: Any) -> Message:
    """Insert a message, processed `took` seconds after its receipt."""
    at = at or timezone.now()
    digested_at = at + timedelta(seconds=took) if took is not None else None
    return store_message(
        **{
            "site": site,
            "type": "track",
            "received_at": at,
            "occurred_at": at,
            "body": b'{"event": "Buy", "userId": "u"}',
            "digested_at": digested_at,
            **fields,
        }
    )


def look(person: Client, path: str = PATH, **query: Any) -> str:
    return html.unescape(text_of(person.get(path, query)))


def series(person: Client, name: str, **query: Any) -> dict[str, list[float]]:
    """Return the values of a chart's series, without empty steps."""
    response = person.get(PATH, query)
    text_of(response)
    return {each.label: [value for value in each.values if value] for each in response.context[name].series}


@pytest.mark.promise("K-84")
def test_delivery__of_a_source__says_what_came_in_and_what_became_of_it(
    viewer: Client, site: Site, source: Source
) -> None:
    now = timezone.now()
    hour = now.replace(minute=0, second=0, microsecond=0)
    SourceCount.objects.create(
        site_id=source.site_id, source=source, hour=hour, received=9, duplicates=2, rejected=1, last_received_at=now
    )
    for effect in ("converted", "nothing"):
        store(site, source=source, status="done", effects=[effect])
    store(site, source=source)
    refused = store(site, source=source, status="rejected", reason="no_identity")

    page = look(viewer)
    (row,) = [each for each in viewer.get(PATH).context["rows"] if each.id == source.pk]

    assert series(viewer, "received") == {"New": [6], "Duplicates": [2], "Rejected on arrival": [1]}
    assert series(viewer, "outcome_chart") == {
        "Converted": [1],
        "No effect": [1],
        "Queued": [1],
        "Rejected": [1],
    }
    assert (row.received.received, list(row.outcomes)) == (9, [1, 1, 1, 1])
    assert "The event names no person" in page
    assert f"/events/{refused.pk}/" in page


@pytest.mark.promise("K-84")
def test_delivery__of_real_events__follows_them_from_the_door_to_their_end(viewer: Client, world: World) -> None:
    world.change_site(goals_per_10_seconds=1)
    world.send(
        world.event(messageId="one"),
        world.event("identify", properties={"plan": "pro"}),
        world.event(event="Waits"),
        world.event(event=None),
    )
    world.post(world.event(messageId="one"))
    world.post(world.event())
    wait_until_counted(world.site, 6)

    page = look(viewer)

    assert series(viewer, "outcome_chart") == {
        label: [1] for label in ("Converted", "Processed, no conversion", "Queued (goal limit)", "Queued", "Rejected")
    }
    came = {label: sum(values) for label, values in series(viewer, "received").items()}
    assert came == {"New": 5, "Duplicates": 1, "Rejected on arrival": 0}
    assert "missing_name" in page


@pytest.mark.parametrize(("span", "days"), [(DeliveryPeriod.DAY, 2), (DeliveryPeriod.FORTNIGHT, 20)])
def test_delivery__older_than_the_span__is_left_out(
    viewer: Client, site: Site, source: Source, span: DeliveryPeriod, days: int
) -> None:
    store(site, source=source, at=timezone.now() - timedelta(days=days), status="failed", reason="worker_died")
    store(site, source=source, status="done", effects=["converted"])

    assert series(viewer, "outcome_chart", span=span) == {"Converted": [1]}


def test_delivery__of_one_source__leaves_the_others_out(viewer: Client, site: Site, source: Source) -> None:
    store(site, source=source, status="done", effects=["converted"])
    store(site, source=site.sources.get(kind="destination"), status="failed", reason="worker_died")
    store(create_site(name="Other"), status="failed", reason="worker_died")

    assert series(viewer, "outcome_chart", source=source.pk) == {"Converted": [1]}
    assert [row.id for row in viewer.get(PATH, {"source": source.pk}).context["rows"]] == [source.pk]


@pytest.mark.promise("K-84")
def test_lag__of_digested_messages__is_told_in_percentiles(site: Site) -> None:
    for took in range(1, 101):
        store(site, took=took, status="done")
    store(site)

    assert delivery.measure_lag(site.pk, since=timezone.now() - timedelta(hours=1)) == Lag(100, 50, 95, 99)


def test_lag__of_none__is_none(viewer: Client, site: Site) -> None:
    store(site)

    assert delivery.measure_lag(site.pk, since=timezone.now() - timedelta(hours=1)) == Lag(0)
    assert "–" in look(viewer)


def test_reasons__of_many_messages__keep_the_ten_newest(site: Site) -> None:
    ids = [store(site, status="failed", reason="worker_died").pk for _ in range(12)]

    (reason,) = delivery.count_failures(site.pk)

    assert (reason.count, reason.samples) == (12, ids[:1:-1])


def test_outcomes__of_more_messages_than_are_looked_at__say_so(
    viewer: Client, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "OUTCOMES_LOOK", 3)
    for _ in range(4):
        store(site, status="done", effects=["converted"])

    became = delivery.count_outcomes(site.pk, span=DeliveryPeriod.DAY, now=timezone.now())

    assert (became.messages, became.is_cut) == (3, True)
    assert "Based on the latest" in look(viewer)


def test_span__at_midnight__holds_whole_steps() -> None:
    hours, days = DeliveryPeriod.DAY.times(START), DeliveryPeriod.FORTNIGHT.times(START)

    assert (len(hours), hours[-1], hours[0]) == (24, START, START - timedelta(hours=23))
    assert (len(days), days[-1]) == (14, START.replace(hour=0))


def test_failed__of_a_site_without_any__says_so(viewer: Client) -> None:
    assert "No rejected or failed events." in look(viewer, FAILED)


@pytest.mark.promise("N-05")
def test_failed__tried_again_by_an_editor__is_shown_first_then_done_and_logged(
    editor: Client, world: World, site: Site, source: Source
) -> None:
    store(site, source=source, status="failed", reason="digest_failed", took=1, message_id="m-1")

    assert "Retry …" in look(editor, FAILED)
    seen = editor.get(AGAIN, {"reason": "digest_failed"}).context["plan"]
    done = editor.post(f"{AGAIN}?reason=digest_failed", follow=True)
    world.digest()

    assert (seen.messages, seen.forecast.conversions_then, seen.forecast.goals_made_then) == (1, 1, 1)
    assert "1 event retried." in text_of(done)
    assert world.goals() == {"SegmentIO track – Buy": 1}
    assert "digest_failed" in AuditEntry.objects.get().what
    assert "No events left to retry" in look(editor, AGAIN, reason="digest_failed")


def test_failed__deferred_ones__go_on_by_themselves(viewer: Client, site: Site) -> None:
    store(site, status="deferred", reason="goal_quota")

    assert "They will be processed as places free up" in look(viewer, FAILED)


@pytest.mark.parametrize("reason", ["", "too_large", "nonsense"])
def test_again__of_what_cannot_be_tried__is_not_there(editor: Client, site: Site, reason: str) -> None:
    assert editor.get(AGAIN, {"reason": reason}).status_code == 404
    assert editor.post(f"{AGAIN}?reason={reason}").status_code == 404


@pytest.mark.parametrize("path", [PATH, f"{PATH}?span=14d", FAILED, f"{AGAIN}?reason=digest_failed"])
def test_pages__take_few_queries(editor: Client, site: Site, source: Source, path: str) -> None:
    for _ in range(30):
        store(site, source=source, status="failed", reason="digest_failed", took=1)
    editor.get(path)

    with CaptureQueriesContext(connection) as queries:
        text_of(editor.get(path))

    assert len(queries) <= 12


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        (PATH, {"viewer", "editor", "owner"}),
        (FAILED, {"viewer", "editor", "owner"}),
        (f"{AGAIN}?reason=digest_failed", {"editor", "owner"}),
    ],
)
@pytest.mark.parametrize("who", ["anonymous", "outsider", "viewer", "editor", "owner"])
def test_pages__are_for_their_roles(site: Site, enter: Enter, path: str, allowed: set[str], who: str) -> None:
    refusals = {"anonymous": 302, "outsider": 404, "viewer": 403}
    expected = 200 if who in allowed else refusals[who]

    assert enter(who).get(path).status_code == expected
    if path.startswith(AGAIN):
        assert enter(who).post(path).status_code == (302 if who in allowed else expected)
