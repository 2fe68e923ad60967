"""Delivery of events, and the retry of failed ones."""

import html
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from api.ingest.provisioning import create_site
from api.insight import delivery
from api.insight.delivery import Lag
from api.models import Site, Source, SourceCount
from tests.support.messages import store_received as store
from tests.support.pages import Enter, text_of
from tests.support.source_counts import wait_until_counted
from tests.world import START, World

PATH = "/admin/s/1q2w3e4r5t/delivery/"


def look(person: Client, **query: Any) -> str:
    return html.unescape(text_of(person.get(PATH, query)))


def series(person: Client, name: str, **query: Any) -> dict[str, list[float]]:
    """Return the values of a chart's series, without empty steps."""
    response = person.get(PATH, query)
    text_of(response)
    return {each.label: [value for value in each.values if value] for each in response.context[name].series}


def stages(person: Client, **query: Any) -> dict[str, int]:
    """Return the counts of the pipeline's stages, without empty ones."""
    pipeline = person.get(PATH, query).context["pipeline"]
    return {stage.kind.code: stage.count for stage in (*pipeline.path, *pipeline.ends) if stage.count}


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
    refused = store(site, source=source, status="rejected", reason="no_identity", took=1)

    page = look(viewer)
    (row,) = [each for each in viewer.get(PATH).context["rows"] if each.id == source.pk]

    assert series(viewer, "received") == {"New": [6], "Duplicates": [2], "Rejected on arrival": [1]}
    assert series(viewer, "outcome_chart") == {
        "Converted": [1],
        "No effect": [1],
        "Queued": [1],
        "Rejected": [1],
    }
    assert (row.received.received, row.outcomes) == (
        9,
        [("Converted", 1), ("No effect", 1), ("Queued", 1), ("Rejected", 1)],
    )
    assert stages(viewer) == {"received": 9, "arrival": 1, "queued": 1, "converted": 1, "nothing": 1, "rejected": 1}
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
        label: [1] for label in ("Converted", "Other effect", "Queued (goal limit)", "Queued", "Rejected")
    }
    came = {label: sum(values) for label, values in series(viewer, "received").items()}
    assert came == {"New": 5, "Duplicates": 1, "Rejected on arrival": 0}
    assert "missing_name" in page


@pytest.mark.parametrize(("preset", "hours"), [("10m", 0.2), ("1h", 1.1), ("24h", 25), ("7d", 170), ("30d", 750)])
def test_delivery__older_than_the_range__is_left_out(
    viewer: Client, site: Site, source: Source, preset: str, hours: float
) -> None:
    store(site, source=source, at=timezone.now() - timedelta(hours=hours), status="failed", reason="worker_died")
    store(site, source=source, status="done", effects=["converted"])

    assert series(viewer, "outcome_chart", range=preset) == {"Converted": [1]}
    assert "failed" not in stages(viewer, range=preset)


def test_delivery__compared__has_the_change_of_each_stage(viewer: Client, site: Site, source: Source) -> None:
    now = timezone.now()
    hour = now.replace(minute=0, second=0, microsecond=0)
    for back, received in ((0, 8), (30, 4)):
        at = hour - timedelta(hours=back)
        counts = {"received": received, "duplicates": 0, "rejected": 0}
        SourceCount.objects.create(site_id=site.pk, source=source, hour=at, last_received_at=at, **counts)
    for back, count in ((0, 6), (30, 12)):
        for _ in range(count):
            store(site, source=source, at=now - timedelta(hours=back), status="failed", reason="worker_died")

    pipeline = viewer.get(PATH, {"range": "24h"}).context["pipeline"]
    alone = viewer.get(PATH, {"range": "24h", "compare": "none"}).context["pipeline"]
    changes = {stage.kind.code: stage.change for stage in (*pipeline.path, *pipeline.ends)}

    assert (changes["received"].text, changes["received"].tone) == ("▲ 4", "")
    assert (changes["failed"].text, changes["failed"].tone) == ("▼ 50 %", "good")
    assert {stage.change for stage in (*alone.path, *alone.ends)} == {None}


def test_delivery__compared_with_more_than_is_looked_at__has_no_change_of_outcomes(
    viewer: Client, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "OUTCOMES_LOOK", 3)
    for back in (30, 30, 0, 0):
        store(site, at=timezone.now() - timedelta(hours=back), status="failed", reason="worker_died")

    pipeline = viewer.get(PATH, {"range": "24h"}).context["pipeline"]

    assert {stage.kind.code: stage.count for stage in pipeline.ends if stage.count} == {"failed": 2}
    assert {stage.change for stage in pipeline.ends} == {None}


def test_delivery__of_a_range_with_deleted_events__counts_shares_of_those_that_are_left(
    viewer: Client, world: World, source: Source
) -> None:
    world.change_site(keeps_done_days=5)
    now = timezone.now()
    for days, received in ((9, 96), (2, 4)):
        at = now.replace(minute=0, second=0, microsecond=0) - timedelta(days=days)
        counts = {"received": received, "duplicates": 0, "rejected": 0}
        SourceCount.objects.create(site_id=world.site.pk, source=source, hour=at, last_received_at=at, **counts)
    for status, effects in (("done", ["converted"]), ("done", ["nothing"]), ("done", ["converted"]), ("failed", [])):
        store(world.site, source=source, at=now - timedelta(days=2), status=status, effects=effects)

    pruned, whole = (
        viewer.get(PATH, {"from": f"{now - timedelta(days=days):%Y-%m-%d}", "to": f"{now:%Y-%m-%d}"})
        for days in (10, 3)
    )

    share = {stage.kind.code: stage.share for stage in pruned.context["pipeline"].ends}
    assert share["converted"] == 0.5
    assert "Events are deleted after 5 days" in text_of(pruned)
    assert "There is no success rate" in text_of(pruned)
    assert "Events are deleted after" not in text_of(whole)
    assert "3 of 4 finished events succeeded" in text_of(whole)


@pytest.mark.parametrize(
    ("stage", "events", "fields"),
    [
        ("arrival", "outcome=rejected", {"status": "rejected", "reason": "invalid_json"}),
        ("ignored", "reason=dropped_by_rule", {"status": "done", "reason": "dropped_by_rule", "effects": ["nothing"]}),
        ("queued", "outcome=pending", {"status": "pending"}),
        ("converted", "outcome=converted", {"status": "done", "effects": ["converted", "linked"]}),
        ("profile", "All reasons", {"status": "done", "effects": ["linked"]}),
        ("nothing", "outcome=nothing", {"status": "done", "reason": "already_known", "effects": ["nothing"]}),
        ("rejected", "outcome=rejected", {"status": "rejected", "reason": "no_identity", "took": 1}),
        ("failed", "outcome=failed", {"status": "failed", "reason": "worker_died", "took": 1}),
    ],
)
def test_stage__chosen__shows_its_reasons_and_samples_and_leads_to_its_events(
    viewer: Client, site: Site, stage: str, events: str, fields: dict[str, Any]
) -> None:
    chosen = store(site, **fields)
    other = store(site, status="failed" if stage in {"arrival", "rejected"} else "rejected", reason="x", took=1)

    page = look(viewer, stage=stage, range="7d")
    since = viewer.get(PATH, {"range": "7d"}).context["range"].begin

    assert f"stage={stage}#stage" in page
    assert f"/events/{chosen.pk}/" in page
    assert f"/events/{other.pk}/" not in page
    assert events in page
    assert f"since={since:%Y-%m-%d}T00%3A00%3A00Z" in page


@pytest.mark.parametrize(
    ("stage", "fields", "other"),
    [
        ("arrival", {"status": "rejected", "reason": "x"}, {"status": "rejected", "reason": "x", "took": 1}),
        ("rejected", {"status": "rejected", "reason": "x", "took": 1}, {"status": "rejected", "reason": "x"}),
        ("queued", {"status": "pending"}, {"status": "deferred"}),
        (
            "nothing",
            {"status": "done", "effects": ["nothing"]},
            {"status": "done", "effects": ["nothing"], "reason": "dropped_by_rule"},
        ),
        ("failed", {"status": "failed", "reason": "x"}, None),
    ],
)
def test_stage__whose_list_has_other_events__has_no_link_to_it(
    viewer: Client, site: Site, stage: str, fields: dict[str, Any], other: dict[str, Any] | None
) -> None:
    store(site, **fields)
    alone = "All in Events" in look(viewer, stage=stage, range="10m")
    if other:
        store(site, **other)

    assert alone
    assert ("All in Events" in look(viewer, stage=stage, range="10m")) == (other is None)


def test_delivery__of_a_closed_range__leads_to_its_events_and_measures_its_lag(
    viewer: Client, site: Site, source: Source
) -> None:
    at = timezone.now() - timedelta(days=3)
    day = f"{at:%Y-%m-%d}"
    store(site, source=source, status="done", effects=["converted"], at=at, took=7)
    store(site, source=source, status="done", effects=["converted"], at=at, took=900, has_waited=True)
    store(site, source=source, status="done", effects=["converted"], took=1)

    response = viewer.get(PATH, {"from": day, "to": day, "stage": "converted"})
    page = text_of(response)

    lag = response.context["lag"]
    assert (lag.messages, lag.p50, lag.waited, lag.waited_p50) == (1, 7, 1, 900)
    assert "Wait for the goal limit" in page
    assert f"until={at + timedelta(days=1):%Y-%m-%d}T00%3A00%3A00Z" in page
    assert response.context["pipeline"].chosen.count == 2


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


def test_lag__of_an_ended_range__is_not_crowded_out_by_newer_events(
    viewer: Client, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "OUTCOMES_LOOK", 2)
    at = timezone.now() - timedelta(days=3)
    store(site, status="done", at=at, took=7)
    for _ in range(3):
        store(site, status="done", took=1)

    response = viewer.get(PATH, {"from": f"{at:%Y-%m-%d}", "to": f"{at:%Y-%m-%d}"})

    assert (response.context["lag"].messages, response.context["lag"].p50) == (1, 7)


def test_lag__of_none__is_none(viewer: Client, site: Site) -> None:
    store(site)

    assert delivery.measure_lag(site.pk, since=timezone.now() - timedelta(hours=1)) == Lag(0)
    assert "–" in look(viewer)


def test_reasons__of_many_messages__keep_the_ten_newest(site: Site) -> None:
    ids = [store(site, status="failed", reason="worker_died").pk for _ in range(12)]

    found = delivery.count_outcomes(site.pk, delivery.list_last_hours(24, now=timezone.now()))

    assert [(reason.count, reason.samples) for reason in found.reasons] == [(12, ids[:1:-1])]


def test_outcomes__of_more_messages_than_are_looked_at__say_so(
    viewer: Client, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "OUTCOMES_LOOK", 3)
    for _ in range(4):
        store(site, status="done", effects=["converted"])

    became = delivery.count_outcomes(site.pk, delivery.list_last_hours(24, now=timezone.now()))

    assert (became.messages, became.is_cut) == (3, True)
    assert "Outcomes are those of the latest" in look(viewer)


def test_outcomes__of_a_quiet_source_of_a_busy_site__say_that_they_are_cut(
    viewer: Client, site: Site, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "OUTCOMES_LOOK", 3)
    now = timezone.now()
    for back in (30, 2):
        store(site, source=source, status="failed", reason="worker_died", at=now - timedelta(hours=back))
    others = [store(site, status="done", effects=["converted"], at=now - timedelta(minutes=1)) for _ in range(3)]
    hours = delivery.list_last_hours(24, now=now)
    steps = delivery.Steps(hours.times, now, (now - timedelta(hours=48), now - timedelta(hours=24)))

    found = delivery.count_outcomes(site.pk, steps, source_id=source.pk)
    all_sources = delivery.count_outcomes(site.pk, delivery.list_last_hours(24, now=now + timedelta(days=9)))

    assert (found.messages, found.is_cut, found.before, found.since) == (0, True, None, others[0].received_at)
    assert (all_sources.messages, all_sources.is_cut, all_sources.since) == (0, False, None)
    assert "Outcomes are those of the latest" in look(viewer, source=source.pk)


@pytest.mark.parametrize(("back", "length"), [(9, 1), (99, 7)])
def test_charts__of_days__name_all_days_of_each_step(viewer: Client, back: int, length: int) -> None:
    today = timezone.now().date()
    first = today - timedelta(days=back)

    days = viewer.get(PATH, {"from": str(first), "to": str(today)}).context["outcome_chart"].days

    assert days[:2] == [
        (first, first + timedelta(days=length - 1)),
        (first + timedelta(days=length), first + timedelta(days=2 * length - 1)),
    ]
    assert days[-1][1] == today


def test_hours_of_day__at_midnight__are_whole() -> None:
    hours = delivery.list_last_hours(24, now=START).times

    assert (len(hours), hours[-1], hours[0]) == (24, START, START - timedelta(hours=23))


@pytest.mark.parametrize(
    "path",
    [
        PATH,
        f"{PATH}?range=7d&stage=failed",
        f"{PATH}?from=2026-01-01&to=2026-01-02&stage=failed",
    ],
)
def test_pages__take_few_queries(viewer: Client, site: Site, source: Source, path: str) -> None:
    for _ in range(30):
        store(site, source=source, status="failed", reason="digest_failed", took=1)
    viewer.get(path)

    with CaptureQueriesContext(connection) as queries:
        text_of(viewer.get(path))

    assert len(queries) <= 12


@pytest.mark.parametrize("who", ["anonymous", "outsider", "viewer", "editor", "owner"])
def test_page__is_for_members(site: Site, enter: Enter, who: str) -> None:
    assert enter(who).get(PATH).status_code == {"anonymous": 302, "outsider": 404}.get(who, 200)
