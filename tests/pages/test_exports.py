"""Tables as CSV: all that the filter shows, harmless in a spreadsheet, exact for a program, and in the audit log."""

import csv
import json
from datetime import timedelta
from io import StringIO

import pytest
from django.test import Client
from django.utils import timezone

from api.models import AuditEntry, Message, Source, SourceCount
from tests.pages.catalogue import Place
from tests.support.pages import Enter, address, text_of
from tests.support.traces import names_nobody
from tests.world import START, World


def read(person: Client, page: str) -> list[dict[str, str]]:
    text = text_of(person.get(address(page)))
    assert text.startswith("\ufeff")
    return list(csv.DictReader(StringIO(text.removeprefix("\ufeff"), newline="")))


def test_events__that_pass_the_filter__are_all_in_the_file(
    world: World, enter: Enter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.pages.events.export.EXPORTED", 2)
    for number in range(5):
        world.track("=Buy", userId=f"@user-{number}", messageId=f"m{number}", at=number)
    world.identify(userId="other", traits={"plan": "pro"})
    editor, viewer = enter("editor"), enter("viewer")

    rows = read(editor, "events/export/?type=track")

    assert [row["messageId"] for row in rows] == [f"m{number}" for number in reversed(range(5))]
    first, message = rows[0], Message.objects.get(message_id="m4")
    assert (first["name"], first["id"], first["id from"]) == ("'=Buy", "'@user-4", "userId")
    assert (first["event"], first["goal"], first["status"]) == (str(message.pk), str(message.goal_id), "Converted")
    assert first["received"] == f"{message.received_at:%Y-%m-%dT%H:%M:%SZ}"
    assert len(read(editor, "events/export/")) == 6
    entries = AuditEntry.objects.filter(what="Exported events").order_by("pk")
    assert [entry.after for entry in entries] == [{"filtered": True}, {"filtered": False}]
    assert 'events/export/?type=track">Export as CSV' in text_of(editor.get(address("events/?type=track&before=9")))
    assert "Export as CSV" not in text_of(viewer.get(address("events/")))


def test_failed_events__by_reason_and_name__add_up_to_all(
    world: World, viewer: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.insight.failures.NAMES_LOOK", 2)
    for _ in range(3):
        names_nobody(world)

    rows = read(viewer, "delivery/failed/export/")

    assert [(row["reason"], row["status"], row["events"]) for row in rows] == [
        ("no_identity", "Rejected", "2"),
        ("no_identity", "Rejected", "1"),
    ]
    assert rows[0]["newest event"] == str(Message.objects.order_by("-pk")[0].pk)
    assert rows[0]["explanation"].startswith("The event names no person")


def test_audit_log__that_passes_the_filter__is_in_the_file(
    world: World, enter: Enter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.pages.settings.export.EXPORTED", 2)
    for number in range(5):
        AuditEntry.objects.create(
            site=world.site,
            who="=ada",
            at=START + timedelta(hours=number),
            what=f"Renamed {number}",
            after={"n": 1},
        )
    owner = enter("owner")

    rows = read(owner, "settings/changes/export/?what=renamed")

    assert [row["change"] for row in rows] == [f"Renamed {number}" for number in reversed(range(5))]
    assert {(row["user"], row["before"], row["after"]) for row in rows} == {("'=ada", "", json.dumps({"n": 1}))}
    assert len(read(owner, "settings/changes/export/?who=&what=&before=9")) == 7
    exports = AuditEntry.objects.filter(what="Exported the audit log").order_by("pk")
    assert [entry.after for entry in exports] == [{"filtered": True}, {"filtered": False}]
    assert 'changes/export/?what=renamed">Export' in text_of(owner.get(address("settings/changes/?what=renamed")))


def test_sources__with_their_counts__have_no_key(world: World, source: Source, viewer: Client) -> None:
    world.track("Buy")

    rows = read(viewer, "settings/sources/export/")

    assert [row["name"] for row in rows if row["source"] == str(source.pk)] == ["Shop server"]
    assert {row["enabled"] for row in rows} == {"yes"}
    assert source.write_keys.get().key not in str(rows)


def test_sources__in_the_file__have_the_24_hours_of_the_page(world: World, source: Source, viewer: Client) -> None:
    hour = timezone.now().replace(minute=0, second=0, microsecond=0)
    for back, received in ((23, 5), (24, 7)):
        at = hour - timedelta(hours=back)
        counts = {"received": received, "duplicates": 0, "rejected": 0}
        SourceCount.objects.create(site=world.site, source=source, hour=at, last_received_at=at, **counts)

    rows = {row["source"]: row for row in read(viewer, "settings/sources/export/")}
    page = {row.source.pk: row for row in viewer.get(address("settings/sources/")).context["rows"]}

    assert rows[str(source.pk)]["received, 24 h"] == "5" == str(page[source.pk].day.received)
    assert rows[str(source.pk)]["received, all"] == "12"


@pytest.mark.parametrize(
    ("page", "export"),
    [
        ("personas/persona/?name=vip", "people/export/?persona=vip"),
        ("groups/group/?id=acme", "people/export/?group=acme"),
    ],
    ids=["persona", "group"],
)
def test_members__of_a_persona_or_group__are_exported_as_people(
    world: World, enter: Enter, page: str, export: str
) -> None:
    world.track("Audience Entered", userId="u1", properties={"audience_key": "vip", "vip": True})
    world.send(world.event("group", userId="u1", groupId="acme", traits={}))
    world.identify(userId="u2", traits={"plan": "pro"})
    editor = enter("editor")

    assert f'{export}">Export as CSV' in text_of(editor.get(address(page)))
    assert [row["id"] for row in read(editor, export)] == ["u1"]
    assert "Export as CSV" not in text_of(enter("viewer").get(address(page)))


def test_members__of_a_segment__are_exported_as_people(place: Place, enter: Enter) -> None:
    page = text_of(enter("editor").get(place.address("segment-members")))

    export = f"people/export/?segment={place.numbers['segment_id']}"
    assert f'{export}">Export as CSV' in page
    assert "id" in text_of(enter("editor").get(address(export)))
