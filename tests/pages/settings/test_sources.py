"""The sources of a site, their write keys and budgets."""

from collections.abc import Mapping
from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from api.http.budgets import BudgetUse
from api.http.credentials import clear_lookups
from api.ingest.provisioning import create_site
from api.models import AuditEntry, Site, Source, WriteKey
from api.models.budgets import BUDGET_FIELDS, BudgetSpan
from api.pages.settings.sources import budget_rows
from tests.support.concurrency import wait_until
from tests.support.pages import Enter
from tests.support.settings_pages import BASE, change, last_entry, look, told
from tests.world import World


@pytest.mark.promise("A-01")
def test_sources__whoever_looks__reads_and_copies_the_write_keys(enter: Enter, source: Source) -> None:
    shown = look(enter("viewer"), "sources/")

    assert "<code>key-of-the-web</code>" in shown
    assert 'data-copy="key-of-the-web"' in shown
    assert 'name="do"' not in shown  # a viewer changes nothing


def test_source__made__may_send_at_once(owner: Client, site: Site, world: World) -> None:
    change(owner, "sources/change/", do="create", name="Altis", kind="altis")

    source = site.sources.get(name="Altis")
    key = source.write_keys.get().key
    assert source.rules.count() == 2
    answer = world.client.post("/v1/track", json={"writeKey": key, "userId": "u", "event": "Buy"})
    assert answer.status_code == 200
    what, _, after = last_entry()
    assert (what, after) == (f"Created the source {source.pk}", {"name": "Altis", "kind": "altis"})
    assert key not in str(AuditEntry.objects.values())


@pytest.mark.parametrize(
    "fields",
    [{"name": "", "kind": "server"}, {"name": "x" * 101, "kind": "server"}, {"name": "D", "kind": "destination"}],
)
def test_source__that_cannot_be__is_not_made(owner: Client, site: Site, fields: Mapping[str, str]) -> None:
    count = Source.objects.count()

    change(owner, "sources/change/", do="create", **fields)

    assert Source.objects.count() == count
    assert not AuditEntry.objects.exists()


@pytest.mark.promise("K-33", "B-12")
def test_source__switched_off_and_on__refuses_and_takes(owner: Client, site: Site, world: World) -> None:
    destination = site.sources.get(kind="destination")
    event = world.event()

    change(owner, "sources/change/", do="save", source=destination.pk, name=destination.name, takes_track="on")
    world.change_site()  # forgets what was looked up, as five seconds do
    off = world.post(event)
    change(
        owner,
        "sources/change/",
        do="save",
        source=destination.pk,
        name=destination.name,
        takes_track="on",
        is_enabled="on",
    )
    world.change_site()

    assert (off.status_code, off.json()["code"]) == (403, "integration_off")
    assert world.last_message().reason == "integration_off"
    assert world.post(event).status_code == 200
    entries = AuditEntry.objects.order_by("pk")
    assert [told(entry)[1:] for entry in entries] == [
        ({"is_enabled": True}, {"is_enabled": False}),
        ({"is_enabled": False}, {"is_enabled": True}),
    ]


def test_source__its_budget__is_shown_changed_and_noted(
    owner: Client, enter: Enter, source: Source, world: World
) -> None:
    world.client.post("/v1/track", json={"writeKey": "key-of-the-web", "userId": "u", "event": "Buy"})
    wait_until(lambda: "1 of 5,000,000 events" in look(enter("viewer"), f"sources/{source.pk}/"))

    change(
        owner,
        "sources/change/",
        do="budget",
        source=source.pk,
        events_per_day="1",
        mib_per_day="0.5",
        mib_per_minute="",
    )

    source.refresh_from_db()
    figures = {name: getattr(source, name) for name in BUDGET_FIELDS}
    assert figures == {
        "events_per_minute": None,
        "bytes_per_minute": None,
        "events_per_day": 1,
        "bytes_per_day": 524_288,
    }
    assert last_entry() == (
        f"Changed the source {source.pk}",
        {"events_per_day": None, "bytes_per_day": None},
        {"events_per_day": 1, "bytes_per_day": 524_288},
    )
    shown = look(owner, f"sources/{source.pk}/")
    assert "1 of 1 event and" in shown
    assert 'name="mib_per_day" value="0.5"' in shown
    clear_lookups()
    answer = world.client.post("/v1/track", json={"writeKey": "key-of-the-web", "userId": "u", "event": "Buy"})
    assert answer.status_code == 429
    wait_until(lambda: "1 request rejected over the budget" in look(owner, f"sources/{source.pk}/"))
    assert "over budget" in look(owner, "sources/")
    change(owner, "sources/change/", do="budget", source=source.pk)
    source.refresh_from_db()
    assert {getattr(source, name) for name in BUDGET_FIELDS} == {None}


@pytest.mark.parametrize("name", ["events_per_minute", "mib_per_minute", "events_per_day", "mib_per_day"])
@pytest.mark.parametrize("value", ["0", "-1", "1e9", "many", "9" * 30, "0.0000001", "²", "\0"])
def test_source__odd_budget__is_not_taken(owner: Client, source: Source, name: str, value: str) -> None:
    if name.startswith("events") and value == "0.0000001":
        value = "0.4"
    change(owner, "sources/change/", do="budget", source=source.pk, **{name: value})

    source.refresh_from_db()
    assert {getattr(source, each) for each in BUDGET_FIELDS} == {None}
    assert not AuditEntry.objects.exists()


def test_source__budget_of_any_number_of_bytes__is_shown_exactly(owner: Client, source: Source) -> None:
    for size in (1, 12_345_678, 10**15):
        Source.objects.filter(pk=source.pk).update(bytes_per_day=size)
        source.refresh_from_db()
        (_, row) = budget_rows(source, {span: BudgetUse() for span in BudgetSpan})
        change(owner, "sources/change/", do="budget", source=source.pk, mib_per_day=row.own_mib)
        source.refresh_from_db()
        assert source.bytes_per_day == size


def test_source__takes_no_track__is_noted_for_the_digest(owner: Client, site: Site, source: Source) -> None:
    change(owner, "sources/change/", do="save", source=source.pk, name="Web shop", is_enabled="on")

    source.refresh_from_db()
    site.refresh_from_db()
    assert (source.name, source.takes_track, source.is_enabled) == ("Web shop", False, True)
    assert site.rules_changed_at is not None


def test_key__rotated_and_revoked__ends_as_told(owner: Client, source: Source) -> None:
    change(owner, "sources/change/", do="rotate", source=source.pk, hours="2")
    old, new = source.write_keys.order_by("pk")
    assert old.ends_at is not None
    assert timedelta(hours=1) < old.ends_at - timezone.now() <= timedelta(hours=2)

    change(owner, "sources/change/", do="revoke", source=source.pk, key=old.key)

    old.refresh_from_db()
    assert old.ends_at <= timezone.now()
    shown = look(owner, "sources/")
    assert old.key not in shown
    assert new.key in shown
    assert AuditEntry.objects.count() == 2
    assert not any(key in str(list(AuditEntry.objects.values())) for key in (old.key, new.key))


@pytest.mark.parametrize("hours", ["", "-1", "721", "x", "9" * 30])
def test_key__rotated_with_an_odd_overlap__stays(owner: Client, source: Source, hours: str) -> None:
    change(owner, "sources/change/", do="rotate", source=source.pk, hours=hours)

    assert source.write_keys.get().ends_at is None


def test_key__of_another_site__cannot_be_revoked(owner: Client, source: Source) -> None:
    other = create_site(name="Other").sources.get()

    change(owner, "sources/change/", do="revoke", source=source.pk, key=other.write_keys.get().key)
    response = owner.post(
        BASE + "sources/change/", {"do": "rotate", "source": other.pk, "hours": "0", "confirmed": "yes"}
    )

    assert response.status_code == 404
    assert not WriteKey.objects.exclude(ends_at=None).exists()
