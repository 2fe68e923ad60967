"""Failed events: their reasons with sources and names, when the goal limit opens, and the retry."""

import html
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from api.insight import failures
from api.models import AuditEntry, Rule, Site, Source
from goals.models import GoalCreation
from tests.support.messages import store_received as store
from tests.support.pages import Enter, text_of
from tests.world import World

FAILED = "/admin/s/1q2w3e4r5t/delivery/failed/"
AGAIN = f"{FAILED}retry/"


def look(person: Client, path: str, **query: Any) -> str:
    return html.unescape(text_of(person.get(path, query)))


def test_failed__of_a_site_without_any__says_so(viewer: Client) -> None:
    assert "No rejected or failed events." in look(viewer, FAILED)


def test_failed__of_more_than_are_looked_at__is_neither_new_nor_has_a_first(
    viewer: Client, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failures, "FAILED_LOOK", 3)
    for reason in ("digest_failed", "worker_died", "worker_died"):
        store(site, status="failed", reason=reason, took=1)
    store(site, status="rejected", reason="no_identity", took=1)

    response = viewer.get(FAILED)
    page = text_of(response)

    cut = {row.found.reason: (row.found.is_cut, row.is_new) for row in response.context["rows"]}
    assert cut == {"digest_failed": (True, False), "worker_died": (True, False), "no_identity": (False, True)}
    assert (page.count("or more</a>"), page.count("· first")) == (2, 1)


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


def test_failed__of_several_names_and_sources__are_apart_with_their_times(
    viewer: Client, site: Site, source: Source
) -> None:
    now = timezone.now()
    for body, hours in ((b'{"event": "Buy"}', 50), (b'{"event": "Buy"}', 2), (b'{"event": "Sell"}', 1)):
        at = now - timedelta(hours=hours)
        store(site, source=source, status="rejected", reason="no_identity", took=1, at=at, body=body)
    store(site, status="rejected", reason="no_identity", took=1, at=now, body=b'{"event": "Buy"}')

    (row,) = viewer.get(FAILED).context["rows"]
    named = [(each.name, name, each.count, each.last_at - each.first_at) for each, name in row.names]

    assert named == [
        ("Buy", "Shop server", 2, timedelta(hours=48)),
        ("Buy", "", 1, timedelta()),
        ("Sell", "Shop server", 1, timedelta()),
    ]
    assert (row.found.count, row.found.first_at, row.found.last_at) == (4, now - timedelta(hours=50), now)
    assert (list(row.found.days)[-3:], row.is_new) == ([1, 0, 3], False)


def test_failed__first_seen_today__is_new(viewer: Client, site: Site) -> None:
    store(site, status="failed", reason="worker_died", took=1)

    assert [row.is_new for row in viewer.get(FAILED).context["rows"]] == [True]


def test_failed__more_than_are_read__says_of_how_many_the_names_are(
    viewer: Client, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failures, "NAMES_LOOK", 2)
    for name in "AB" * 4:
        store(site, status="failed", reason="worker_died", took=1, body=f'{{"event": "{name}"}}'.encode())

    (row,) = viewer.get(FAILED).context["rows"]

    assert (row.found.count, [each.name for each, _ in row.names]) == (8, ["B", "A"])
    assert "From the latest 2 of 8 events." in look(viewer, FAILED)


@pytest.mark.parametrize(
    ("reason", "who", "step"),
    [
        ("source_off", "owner", "settings/sources/"),
        ("source_off", "editor", "events/"),
        ("unknown_goal", "editor", "goals/new/"),
        ("goal_backlog_full", "owner", "settings/#id_max_waiting_names"),
        ("transform_failed", "owner", "events/"),
    ],
)
def test_failed__leads_to_the_next_step(enter: Enter, site: Site, reason: str, who: str, step: str) -> None:
    store(site, status="failed", reason=reason, took=1)

    (row,) = enter(who).get(FAILED).context["rows"]

    assert row.step[1].startswith(f"/admin/s/1q2w3e4r5t/{step}")
    assert f'href="{row.step[1]}"' in look(enter(who), FAILED)


def test_waiting__while_the_limit_is_reached__says_when_each_place_opens(
    viewer: Client, world: World, site: Site
) -> None:
    world.change_site(goals_per_10_seconds=1_000, goals_per_hour=3)
    now = timezone.now()
    ages = [timedelta(minutes=minutes) for minutes in (59, 50, 30, 20)]  # the first one has left the window
    GoalCreation.objects.bulk_create(GoalCreation(site=site, created_at=now - age) for age in ages)
    for name in ("A", "A", "B", "C"):
        store(site, status="deferred", reason="goal_quota", waiting_for=f"SegmentIO track – {name}")

    waiting = viewer.get(FAILED).context["waiting"]
    page = look(viewer, FAILED)

    assert (waiting.events, waiting.all_names, waiting.names[0]) == (4, 3, ("SegmentIO track – A", 2))
    assert waiting.opens_at == now + timedelta(minutes=10)
    assert waiting.done_at == now + timedelta(minutes=40)
    assert "Next goal at" in page
    assert "(limit: 1,000 in 10 seconds, 3 an hour)" in page


@pytest.mark.parametrize("who", ["owner", "editor"])
def test_waiting__of_names_with_ids__leads_owners_to_the_rule_that_combines_them(
    enter: Enter, site: Site, who: str
) -> None:
    for name in ("Viewed order 1001", "Viewed order 1002", "Viewed order 1003", "Viewed order 1003", "Paid 1001", "A"):
        store(site, status="deferred", reason="goal_quota", waiting_for=f"SegmentIO track – {name}")
    store(site, status="deferred", reason="goal_quota", waiting_for="SegmentIO page – Viewed order 1004")

    page = look(enter(who), FAILED)

    words = "<span>Make one goal of 3 names like <bdi>Viewed order {n}</bdi></span>"
    assert (words in page) is (who == "owner")
    assert "Paid {n}" not in page
    link = "settings/rules/new/?name=One+goal+for+Viewed+order+%7Bn%7D&event_type=track&action=pattern_goal"
    assert (f"{link}&argument=Viewed+order+%7Bn%7D" in page) is (who == "owner")
    Rule.objects.create(site=site, action="pattern_goal", argument="Viewed order {n}")
    assert "Make one goal of" not in look(enter(who), FAILED)


def test_failed__for_which_the_queue_had_no_place__leads_to_the_rule_that_combines_their_names(
    enter: Enter, site: Site
) -> None:
    for reason in ("goal_backlog_full", "worker_died"):
        for number in (1001, 1002):
            body = f'{{"event": "Viewed order {number}"}}'.encode()
            store(site, status="failed", reason=reason, took=1, body=body)

    page = look(enter("owner"), FAILED)

    assert page.count("Make one goal of 2 names like <bdi>Viewed order {n}</bdi>") == 1


def test_waiting__with_free_places__says_so(viewer: Client, site: Site) -> None:
    store(site, status="deferred", reason="goal_quota", waiting_for="SegmentIO track – A")

    assert viewer.get(FAILED).context["waiting"].opens_at is None
    assert "Next goal: at once; the last about" in look(viewer, FAILED)


def test_retry__in_vain__has_no_button_but_the_reason(editor: Client, site: Site) -> None:
    store(site, status="rejected", reason="no_identity", took=1, body=b'{"event": "Buy"}')

    page = look(editor, AGAIN, reason="no_identity")

    assert "It would fail again for the same reason." in page
    assert "gp-main" not in page


def test_retry__in_vain_of_those_that_were_read__may_be_tried_without_a_green_button(
    editor: Client, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.digest.replay.FORECAST_MESSAGES", 1)
    for body in (b'{"event": "Buy", "userId": "u"}', b'{"event": "Buy"}'):
        store(site, status="rejected", reason="no_identity", took=1, body=body)

    page = look(editor, AGAIN, reason="no_identity")

    assert "Retry 2 events anyway" in page
    assert "gp-main" not in page


@pytest.mark.parametrize("reason", ["", "too_large", "nonsense"])
def test_again__of_what_cannot_be_tried__is_not_there(editor: Client, site: Site, reason: str) -> None:
    assert editor.get(AGAIN, {"reason": reason}).status_code == 404
    assert editor.post(f"{AGAIN}?reason={reason}").status_code == 404


@pytest.mark.parametrize("path", [FAILED, f"{AGAIN}?reason=digest_failed"])
def test_pages__take_few_queries(editor: Client, site: Site, source: Source, path: str) -> None:
    for _ in range(30):
        store(site, source=source, status="failed", reason="digest_failed", took=1)
    store(site, status="deferred", reason="goal_quota")
    editor.get(path)

    with CaptureQueriesContext(connection) as queries:
        text_of(editor.get(path))

    assert len(queries) <= 12


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
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
