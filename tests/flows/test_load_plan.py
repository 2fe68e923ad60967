"""Tracking plans become goals ahead of the first event."""

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from api.ingest.provisioning import create_site
from api.models import Site
from goals import tracking_plan
from goals.matching import EventName
from goals.models import Goal, GoalCreation, WaitingName
from goals.tracking_plan import CreatedChunk, TrackingPlan, UnreadablePlanError, create_goals, read_plan
from tests.world import World

Row = tuple[str, str]


def as_csv(rows: Sequence[Row], *, header: bool = True, separator: str = ",", bom: bool = False) -> bytes:
    file = io.StringIO()
    writer = csv.writer(file, delimiter=separator, quoting=csv.QUOTE_ALL)
    writer.writerows([("type", "name"), *rows] if header else rows)
    return file.getvalue().encode("utf-8-sig" if bom else "utf-8")


def as_segment(rows: Sequence[Row]) -> bytes:
    """Return an answer of Segment's Public API to `GET /tracking-plans/{id}/rules`."""
    rules = [{"key": name, "type": type_.upper(), "version": 1, "jsonSchema": {}} for type_, name in rows]
    return json.dumps({"data": {"rules": rules, "pagination": {"current": "MA=="}}}).encode()


def as_export(rows: Sequence[Row]) -> bytes:
    """Return only the rules, as scripts store them."""
    return json.dumps({"rules": [{"key": name, "type": type_.upper()} for type_, name in rows]}).encode()


def as_rudderstack(rows: Sequence[Row]) -> bytes:
    events = [{"id": "ev_1", "name": name, "eventType": type_, "description": ""} for type_, name in rows]
    return json.dumps({"data": events, "total": len(rows), "currentPage": 1}).encode()


ROWS = [
    ("track", "Signed Up"),
    ("page", 'A "quoted" page, with a comma'),
    ("screen", "Café; two\nlines"),
    ("track", "  kept as it is  "),
]


@pytest.mark.parametrize(
    "content",
    [
        as_csv(ROWS),
        as_csv(ROWS, header=False),
        as_csv(ROWS, separator=";", bom=True),
        as_csv(ROWS, separator=";", header=False),
        as_csv(ROWS).replace(b"\r\n", b"\n").replace(b'"type","name"', b" Type , Name"),
        as_csv(ROWS).replace(b'"track","Signed Up"', b"Track, Signed Up"),
        b"\n" + as_csv(ROWS) + b"\n\n",
        as_segment(ROWS),
        as_export(ROWS),
        b"\xef\xbb\xbf" + as_rudderstack(ROWS),
        json.dumps(json.loads(as_export(ROWS))["rules"]).encode(),
    ],
)
@pytest.mark.promise("K-23")
def test_plan__in_each_form_that_tools_give__has_the_same_events(content: bytes) -> None:
    found = read_plan(content)
    assert [(event.type, event.name) for event in found.events] == ROWS
    assert found.refused == []


def test_plan__with_a_header_of_more_columns__finds_them() -> None:
    found = read_plan(b"Name;Owner;Type;Description\nSigned Up;Ada;TRACK;\nHome;Ada;page\n")
    assert found.events == [EventName("track", "Signed Up"), EventName("page", "Home")]


def test_plan__of_the_older_api__has_its_track_events_and_counts_the_rest() -> None:
    rules = {
        "global": {"properties": {}},
        "identify_traits": [{"name": "plan"}],
        "group_traits": [],
        "group": {"properties": {}},
        "events": [{"name": "Signed Up", "description": "", "rules": {"events": 1}, "version": 1}],
    }
    found = read_plan(json.dumps({"name": "workspaces/w/tracking-plans/rs_1", "rules": rules}).encode())
    assert found.events == [EventName("track", "Signed Up")]
    assert (found.ignored, found.refused) == ({"global": 1, "identify": 1, "group": 1}, [])


def test_plan__with_rules_that_name_no_event__counts_them() -> None:
    types = ["IDENTIFY", "GROUP", "COMMON", "PAGE", "SCREEN"]
    rules: list[Any] = [{"type": each, "jsonSchema": {}} for each in types]
    found = read_plan(json.dumps({"data": {"rules": [*rules, {"type": "IDENTIFY", "key": "x"}]}}).encode())
    assert (found.events, found.refused) == ([], [])
    assert found.ignored == {"identify": 2, "group": 1, "common": 1, "page": 1, "screen": 1}


@pytest.mark.parametrize(
    ("content", "place", "word"),
    [
        (b"type,name\ntrack,A\ntrack,\n", "line 3:", "empty"),
        (b"track\ntrack,A\n", "line 1:", "empty"),
        (b"track,A\n\n" + b"track," + b"x" * 501 + b"\n", "line 3:", "501 characters"),
        (b"track,A\nclick,B\n", "line 2:", "'click'"),
        (b"track,A\ntrack,a\0b\n", "line 2:", "character"),
        (b'track,A\ntrack,"never closed\ntrack,B\n', "line 2:", "unexpected end"),
        (b"track,A\ntrack," + b"x" * 200_000 + b"\n", "line 2:", "field"),
        (json.dumps([{"type": "TRACK", "key": "A"}, {"type": "TRACK"}]).encode(), "rule 2:", "empty"),
        (json.dumps([{"type": "TRACK", "key": "A"}, {"type": "TRACK", "key": 7}]).encode(), "rule 2:", "empty"),
        (json.dumps([{"type": "TRACK", "key": "A"}, "B"]).encode(), "rule 2:", "object"),
        (json.dumps([{"type": "TRACK", "key": "A"}, {"key": "\ud800"}]).encode(), "rule 2:", "character"),
    ],
)
def test_plan__with_something_wrong__names_the_line_and_keeps_the_others(content: bytes, place: str, word: str) -> None:
    found = read_plan(content)
    assert found.events == [EventName("track", "A")]
    assert len(found.refused) == 1
    assert found.refused[0].startswith(place)
    assert word in found.refused[0]


@pytest.mark.parametrize("content", [b"\xff\xfet\0r", b"\xe9", b"{", b'{"plans": []}', b'{"rules": 1}', b"[" * 100_000])
def test_plan__that_is_none__says_so(content: bytes) -> None:
    with pytest.raises(UnreadablePlanError):
        read_plan(content)


def test_plan__of_nothing__has_no_events() -> None:
    assert read_plan(b"") == TrackingPlan()


def load(content: bytes, directory: Path, *options: str) -> str:
    """Return the output of the command."""
    file, out = directory / "plan.csv", io.StringIO()
    file.write_bytes(content)
    call_command("load_plan", str(file), *options, stdout=out, stderr=out)
    return out.getvalue()


@pytest.mark.promise("K-23")
def test_load_plan__of_30_events__makes_30_tagged_goals_that_the_events_convert(world: World, tmp_path: Path) -> None:
    names = [f"Step {number}" for number in range(30)]
    assert load(as_csv([("track", name) for name in names]), tmp_path) == "30 made, 0 existed, 0 refused\n"

    goals = Goal.objects.filter(site=world.site)
    assert {goal.name for goal in goals} == {f"SegmentIO track – {name}" for name in names}
    assert all(goal.origin == Goal.Origin.IMPORT and goal.is_named_by_event for goal in goals)
    assert goals.filter(tags__name="segment.io").count() == 30

    world.send(*[world.event(event=name) for name in names])
    assert set(world.goals().values()) == {1}
    assert goals.count() == 30
    assert load(as_csv([("track", name) for name in names]), tmp_path) == "0 made, 30 existed, 0 refused\n"


@pytest.mark.promise("K-23", "K-32")
def test_load_plan__of_more_than_the_quota__makes_all_and_leaves_the_quota_to_events(
    world: World, tmp_path: Path
) -> None:
    world.change_site(goals_per_10_seconds=2, goals_per_hour=2)
    rows = [("page", f"Page {number}") for number in range(2_500)]
    assert load(as_csv(rows), tmp_path) == "2,500 made, 0 existed, 0 refused\n"
    assert GoalCreation.objects.count() == 0

    world.send(*[world.event(event=name) for name in ("First", "Second", "Third")])
    assert Goal.objects.filter(site=world.site, origin=Goal.Origin.EVENT).count() == 2
    assert world.statuses()[-1][0] == "deferred"


@pytest.mark.parametrize("convention", ["SegmentIO {type} – {name}", "{type}: {name}"])
def test_load_plan__with_names_that_wait_for_quota__wakes_them(world: World, tmp_path: Path, convention: str) -> None:
    world.change_site(goals_per_10_seconds=1, goals_per_hour=1)
    world.send(*[world.event(event=name) for name in ("First", "Second", "Third")])
    world.change_site(goal_name_template=convention)
    load(b"track,Second\ntrack,Fourth\n", tmp_path)

    world.tend()
    assert world.goals() == {
        "SegmentIO track – First": 1,
        convention.format(type="track", name="Fourth"): 0,
        convention.format(type="track", name="Second"): 1,
    }
    assert list(WaitingName.objects.values_list("event_name", flat=True)) == ["Third"]


def test_load_plan__that_was_interrupted__goes_on(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracking_plan, "CHUNK", 10)
    rows = [("track", f"Step {number}") for number in range(25)]
    site = world.site
    steps = create_goals(site.pk, read_plan(as_csv(rows)).events, template=site.goal_name_template, tag=site.auto_tag)
    assert next(steps) == CreatedChunk(10, 0)
    del steps
    assert Goal.objects.count() == 10
    assert load(as_csv(rows), tmp_path) == "15 made, 10 existed, 0 refused\n"


@pytest.mark.parametrize(
    "name", ["Signed Up", "SegmentIO track - Signed Up", "SegmentIO track — Signed Up", "Segment.io – Signed Up"]
)
def test_load_plan__of_an_event_whose_goal_exists_by_any_spelling__makes_none(
    world: World, tmp_path: Path, name: str
) -> None:
    Goal.objects.create(site=world.site, name=name)
    assert load(b"track,Signed Up\ntrack,Signed Up\n", tmp_path) == "0 made, 2 existed, 0 refused\n"
    assert list(world.goals()) == [name]


def test_load_plan__for_a_site_with_its_own_convention__follows_it(world: World, tmp_path: Path) -> None:
    world.change_site(goal_name_template="{name} ({type})", auto_tag="")
    load(b"screen,Home\n", tmp_path, "--site", world.site.sitecode)
    goal = Goal.objects.get()
    assert (goal.name, goal.tags.count()) == ("Home (screen)", 0)


def test_load_plan__with_lines_that_are_refused__makes_the_others_and_fails(world: World, tmp_path: Path) -> None:
    file, out = tmp_path / "plan.csv", io.StringIO()
    file.write_bytes(b"type,name\ntrack,\nidentify,\ntrack,Kept\n")
    with pytest.raises(CommandError):
        call_command("load_plan", str(file), stdout=out, stderr=out)
    assert out.getvalue().splitlines() == [
        "line 2: the name is empty",
        "1 made, 0 existed, 1 refused, 1 of identify ignored",
    ]
    assert list(world.goals()) == ["SegmentIO track – Kept"]


def test_load_plan__with_several_sites__needs_to_know_which(world: World, tmp_path: Path) -> None:
    other = create_site(name="Other")
    with pytest.raises(CommandError, match="--site"):
        load(b"track,A\n", tmp_path)
    with pytest.raises(CommandError, match="no site nowhere"):
        load(b"track,A\n", tmp_path, "--site", "nowhere")
    load(b"track,A\n", tmp_path, "--site", other.sitecode)
    assert [goal.site_id for goal in Goal.objects.all()] == [other.pk]
    assert Site.objects.count() == 2


def test_load_plan__of_a_file_that_is_not_there__fails(world: World, tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="cannot be loaded"):
        call_command("load_plan", str(tmp_path / "nothing.csv"))
