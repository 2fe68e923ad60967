"""Segments as people ask about them: sizes, members, entries and exits, and the reasons for one person."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from api.insight import segments
from api.insight.segments import SegmentState
from api.models import Site
from cohorts.models import CustomData
from cohorts.segment_tables import Segment, SegmentMember
from cohorts.segments import listing
from cohorts.segments.conditions import read_conditions
from goals.models import Goal
from tests.support.segments import keep_up, make_segment, set_clock
from tests.world import START, World

PRO = {"on": "trait", "path": ["plan"], "test": {"type": "text", "texts": ["pro"]}}
RECENT = {"on": "trait", "path": ["seen"], "test": {"type": "date", "how": "within", "days": 1}}


def now() -> datetime:
    return datetime.now(UTC)


def people(world: World, number: int = 5) -> None:
    plans = ("pro", "free")
    world.send(*(world.event("identify", userId=f"u{n}", traits={"plan": plans[n % 2]}) for n in range(number)))


def test_report__of_segments__has_sizes_states_and_what_depends_on_them(world: World) -> None:
    people(world)
    pro = make_segment(world.site, [PRO], name="pro")
    other = make_segment(world.site, [{"on": "segment", "segment": pro.pk, "negated": True}], name="Other")
    third = make_segment(world.site, [{"on": "segment", "segment": other.pk}], name="third", is_filled=False)
    CustomData.objects.create(site=world.site, index=4, name="pro", filled_from="segment", filling=str(pro.pk))

    reports = segments.report(world.site.pk, segments.find_segments(world.site.pk), now=now())

    assert [(each.segment, each.members, each.is_counted, each.state, each.percent) for each in reports] == [
        (other, 2, True, SegmentState.READY, 100),
        (pro, 3, True, SegmentState.READY, 100),
        (third, 0, True, SegmentState.FILLING, 0),
    ]
    assert [list(each.dependents) for each in reports] == [[third], [other, third], []]
    assert [each.custom_data for each in reports] == [[], [4], []]
    (few,) = segments.report(world.site.pk, [pro], now=now(), most=2)
    assert (few.members, few.is_counted) == (2, False)
    assert segments.report_one(pro, now=now()).members == 3
    old = SegmentMember.objects.filter(segment=pro).order_by("identity_id").values_list("pk", flat=True)[:2]
    SegmentMember.objects.filter(pk__in=list(old)).update(version=0)
    (bounded,) = segments.report(world.site.pk, [pro], now=now(), most=2)
    assert (bounded.members, bounded.is_counted) == (1, False)  # members of an older version are examined, too
    assert segments.report(world.site.pk, [], now=now()) == []


def test_members__by_page__follow_each_other(world: World) -> None:
    people(world, 12)
    segment = make_segment(world.site, [PRO])

    seen, after = [], None
    while True:
        page = listing.list_members(segment, after=after, limit=2, now=now(), most=3)
        seen += [(member.kind.label, member.value) for member in page.members]
        assert len(page.members) <= 2
        if page.next is None:
            break
        after = page.next

    assert seen == sorted(("user", f"u{n}") for n in range(0, 12, 2))
    first = listing.list_members(segment, now=now()).members[0]
    assert first.since <= now()
    assert first.until is None


def test_members__whom_time_has_turned__are_those_of_the_moment(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = set_clock(monkeypatch, START)
    leaving = make_segment(world.site, [RECENT], name="leaving")
    entering = make_segment(world.site, [RECENT | {"negated": True}], name="entering")
    world.identify(traits={"seen": START.isoformat()})
    midnight = START + timedelta(days=1)

    for at, sizes in ((START, (1, 0)), (midnight, (0, 1))):
        counts = listing.count_members(world.site.pk, [leaving, entering], now=at)
        assert (counts[leaving.pk].members, counts[entering.pk].members) == sizes
    (before,) = listing.list_members(leaving, now=START).members
    (after,) = listing.list_members(entering, now=midnight).members
    assert (before.since, before.until, after.since, after.until) == (clock.value, midnight, midnight, None)
    assert listing.list_members(leaving, now=midnight).members == []
    assert listing.find_segments_of(world.site.pk, ["user-1", "nobody"], now=START) == {"user-1": ["leaving"]}
    assert listing.find_segments_of(world.site.pk, ["user-1"], now=midnight) == {"user-1": ["entering"]}
    assert listing.find_segments_of(world.site.pk, [], now=midnight) == {}


def test_changes__of_people__are_listed_and_counted_by_day(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = set_clock(monkeypatch, START)
    segment = make_segment(world.site, [PRO])
    people(world)
    clock.move(days=1)
    world.identify(at=1, userId="u0", traits={"plan": "free"})
    world.identify(at=1, userId="u1", traits={"plan": "pro"})

    newest = listing.list_changes(segment, limit=2)
    older = listing.list_changes(segment, before=(newest[-1].at, newest[-1].id))

    assert {(each.value, each.has_entered) for each in newest} == {("u0", False), ("u1", True)}
    assert {(each.value, each.has_entered) for each in older} == {("u0", True), ("u2", True), ("u4", True)}
    days = listing.count_changes(segment, since=START, zone="UTC")
    assert [(f"{each.day}", each.entered, each.left) for each in days] == [("2026-11-22", 3, 0), ("2026-11-23", 1, 1)]
    assert len(listing.count_changes(segment, since=START + timedelta(hours=1), zone="UTC")) == 1
    entered_and_left = sum(day.entered + day.left for day in days)
    assert listing.count_changes(segment, since=START, zone="UTC", most=entered_and_left) == days
    assert listing.count_changes(segment, since=START, zone="UTC", most=entered_and_left - 1) == days[1:]


def explain(site: Site, id_: str, at: datetime) -> dict[str, Any]:
    found = segments.explain(site, id_, now=at)
    assert found is not None
    return {reason.segment.name: reason for reason in found}


def test_reasons__for_a_person__name_each_condition_with_its_turn(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_clock(monkeypatch, START)
    segment = make_segment(world.site, [PRO, RECENT], [PRO | {"negated": True}], name="a")
    make_segment(world.site, [{"on": "segment", "segment": segment.pk}], name="B")
    world.identify(anonymousId="device", traits={"plan": "free", "seen": START.isoformat()})
    end = START + timedelta(days=1)

    by_user, by_device = explain(world.site, "user-1", START), explain(world.site, "device", START)

    assert by_user == by_device
    assert list(by_user) == ["a", "B"]
    reason = by_user["a"]
    assert (reason.is_member, reason.since, reason.until, reason.is_served) == (True, START, end, True)
    assert [[(each.holds, each.until) for each in group] for group in reason.groups] == [
        [(False, None), (True, end)],
        [(True, None)],
    ]
    assert reason.groups[0][0].condition == read_conditions([[PRO]])[0][0]
    assert (by_user["B"].is_member, by_user["B"].until) == (True, end)
    later = explain(world.site, "user-1", end)["a"]
    assert (later.is_member, later.since, later.until, later.is_served) == (False, end, None, False)
    assert segments.explain(world.site, "nobody", now=START) is None


def test_reasons__after_a_person_left__say_since_when(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = set_clock(monkeypatch, now() + timedelta(hours=1))
    segment = make_segment(world.site, [PRO])
    world.identify(traits={"plan": "pro"})
    clock.move(days=1)
    world.identify(at=1, traits={"plan": "free"})
    world.identify(userId="never", traits={"plan": "free"})

    left = explain(world.site, "user-1", clock.value)["segment"]
    never = explain(world.site, "never", clock.value)["segment"]

    assert (left.is_member, left.since, left.is_served) == (False, clock.value, False)
    assert (never.is_member, never.since, never.is_served) == (False, None, False)
    Segment.objects.filter(site=world.site).update(
        updated_at=clock.value + timedelta(days=1), version=2, is_filled=False
    )
    edited = explain(world.site, "user-1", clock.value)["segment"]
    assert (edited.since, edited.is_served) == (None, None)
    assert segment.pk == edited.segment.pk


def test_reasons__by_goals_and_custom_data__are_those_of_the_digest(world: World) -> None:
    world.track("Buy")
    goal = Goal.objects.get()
    make_segment(world.site, [{"on": "goal", "goal": goal.pk}])
    keep_up()

    assert explain(world.site, "user-1", now())["segment"].is_member


def test_reasons__without_segments__are_none(world: World) -> None:
    people(world, 1)

    assert segments.explain(world.site, "u0", now=now()) == []


def test_preview__of_an_edit__names_who_would_enter_and_leave(world: World) -> None:
    people(world)
    segment = make_segment(world.site, [PRO])

    preview = segments.preview(world.site, read_conditions([[PRO | {"negated": True}]]), segment=segment, now=now())

    assert (preview.people, preview.members, preview.entering, preview.leaving) == (5, 2, 2, 3)
    assert [value for _, value in preview.sample] == ["u1", "u3"]
    assert [value for _, value in preview.entering_sample] == ["u1", "u3"]
    assert [value for _, value in preview.leaving_sample] == ["u0", "u2", "u4"]
    new = segments.preview(world.site, read_conditions([[PRO]]), segment=None, now=now())
    assert (new.members, new.entering, new.leaving) == (3, 3, 0)
