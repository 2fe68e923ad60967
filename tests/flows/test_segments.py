"""Segments over the whole: memberships follow the events, the time and the changes of a segment."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from api.digest import segments
from cohorts.segment_tables import Segment, SegmentChange, SegmentMember, SegmentRecheck
from goals import merging
from goals.models import Goal
from tests.support.ada import ENTERED, EXITED
from tests.support.segments import assert_exact, keep_up, make_segment, members, set_clock
from tests.world import CLIENT_ID, SECRET, START, World


def trait(name: str, text: str, **options: Any) -> dict[str, Any]:
    return {"on": "trait", "path": [name], "test": {"type": "text", "texts": [text]}, **options}


VIP = {"on": "persona", "name": "vip"}
PRO = trait("plan", "pro")


def test_membership__of_a_trait_that_an_event_sets_and_removes__follows_at_once(world: World) -> None:
    segment = make_segment(world.site, [PRO])

    world.identify(traits={"plan": "pro"})
    assert members(segment) == {"user-1"}
    world.identify(at=1, traits={"plan": "free"})
    assert members(segment) == set()
    changes = SegmentChange.objects.filter(site=world.site).order_by("id")
    assert list(changes.values_list("is_member", flat=True)) == [True, False]
    assert_exact(world)


def test_membership__of_a_negated_condition__holds_for_everybody_else(world: World) -> None:
    segment = make_segment(world.site, [{**PRO, "negated": True}])

    world.track("Signed Up", userId=None, anonymousId="a1")

    assert members(segment) == {"a1"}
    assert_exact(world)


@pytest.mark.promise("K-61")
def test_membership__of_a_persona__follows_entry_and_exit(world: World) -> None:
    segment = make_segment(world.site, [VIP])

    world.send(world.event("track", **ENTERED))
    assert members(segment) == {"user-1"}
    world.send(world.event("track", at=1, **EXITED))
    assert members(segment) == set()
    assert_exact(world)


def test_membership__of_persons_that_are_joined_and_parted__moves_to_their_roots(world: World) -> None:
    segment = make_segment(world.site, [PRO], [{"on": "group", "ids": ["g1"]}])
    world.send(
        world.event("identify", userId=None, anonymousId="a1", traits={"plan": "pro"}),
        world.event("group", userId="u1", groupId="g1"),
    )
    assert members(segment) == set()

    world.send(world.event("track", at=1, userId="u1", anonymousId="a1"))
    assert members(segment) == {"u1"}
    world.send(world.event("track", at=2, userId="u2", anonymousId="a1"))
    assert members(segment) == set()
    world.send(world.event("group", at=3, userId="u2", groupId="g1"))
    assert members(segment) == {"u2"}
    assert_exact(world)


def test_membership__of_a_user_whose_device_has_an_event__is_found_by_its_root(world: World) -> None:
    segment = make_segment(world.site, [PRO])
    world.send(world.event("track", userId="u1", anonymousId="a1"))

    world.send(world.event("identify", at=1, userId=None, anonymousId="a1", traits={"plan": "pro"}))

    assert members(segment) == {"u1"}
    assert_exact(world)


@pytest.mark.promise("K-88")
def test_membership__of_a_goal_converted_twice_in_a_day__ends_by_time(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = set_clock(monkeypatch, START + timedelta(hours=2))
    world.track("Bought")
    goal = Goal.objects.get(site=world.site)
    segment = make_segment(world.site, [{"on": "goal", "goal": goal.pk, "times": 2, "days": 1}], is_filled=False)
    keep_up(clock.value)
    assert members(segment) == set()

    world.track("Bought", at=3_600, kameleoonVisitorCode="v1")

    assert members(segment) == {"user-1"}
    (row,) = SegmentMember.objects.filter(site=world.site)
    assert row.until == START + timedelta(days=1)
    clock.move(hours=22)
    keep_up(clock.value)
    assert members(segment) == set()
    assert SegmentChange.objects.get(site=world.site, is_member=False).at == START + timedelta(days=1)
    assert_exact(world)


def test_membership__of_another_conversion_by_known_ids__follows(world: World) -> None:
    world.track("Bought", anonymousId="a1")
    goal = Goal.objects.get(site=world.site)
    segment = make_segment(world.site, [{"on": "goal", "goal": goal.pk, "times": 2}])

    world.track("Bought", at=1, anonymousId="a1")

    assert members(segment) == {"user-1"}
    assert_exact(world)


def test_membership__of_a_goal_that_is_merged_and_parted__is_swept(world: World) -> None:
    world.track("Bought")
    world.track("Paid", userId="user-2")
    bought, paid = Goal.objects.filter(site=world.site).order_by("id")
    segment = make_segment(world.site, [{"on": "goal", "goal": paid.pk}])
    assert members(segment) == {"user-2"}

    merging.merge(bought, paid)
    segments.note_goals(world.site.pk)
    keep_up()
    assert members(segment) == {"user-1", "user-2"}
    world.track("Bought", at=1, userId="user-3")
    assert members(segment) == {"user-1", "user-2", "user-3"}
    bought.refresh_from_db()
    merging.unmerge(bought)
    segments.note_goals(world.site.pk)
    keep_up()
    assert members(segment) == {"user-2"}
    assert_exact(world)


def test_membership__of_group_traits__is_swept_for_other_members(world: World) -> None:
    test = {"type": "number", "how": "at_least", "number": 100}
    segment = make_segment(world.site, [{"on": "groupTrait", "path": ["seats"], "test": test}])
    world.send(
        world.event("group", userId="u1", groupId="g1", traits={"seats": 5}),
        world.event("group", userId="u2", groupId="g1"),
    )
    assert not SegmentRecheck.objects.exists()

    world.send(world.event("group", at=1, userId="u1", groupId="g1", traits={"seats": 500}))

    assert members(segment) == {"u1"}
    keep_up()
    assert members(segment) == {"u1", "u2"}
    assert_exact(world)


def test_membership__of_a_segment_that_names_another__follows_it(world: World) -> None:
    vip = make_segment(world.site, [VIP], name="vip")
    both = make_segment(world.site, [{"on": "segment", "segment": vip.pk}], [PRO], name="both")

    world.identify(traits={"plan": "pro"})
    assert members(both) == set()
    world.send(world.event("track", at=1, **ENTERED))

    assert members(both) == {"user-1"}
    assert_exact(world)


def test_sweep__of_an_edited_segment__leaves_no_member_of_its_older_version(world: World) -> None:
    segment = make_segment(world.site, [PRO])
    world.send(*(world.event("identify", userId=f"u{n}", traits={"plan": ["pro", "free"][n % 2]}) for n in range(6)))
    assert members(segment) == {"u0", "u2", "u4"}

    Segment.objects.filter(site=world.site, pk=segment.pk).update(
        conditions=[[trait("plan", "free")]], version=2, is_filled=False, sweep=True
    )
    world.identify(at=1, userId="u1", traits={"plan": "gold"})
    keep_up()

    assert members(segment) == {"u3", "u5"}
    assert set(SegmentMember.objects.filter(site=world.site).values_list("version", flat=True)) == {2}
    assert_exact(world)


def test_sweep__in_steps_of_many_people__comes_to_everybody(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cohorts.segments.upkeep.sweep.__kwdefaults__", {"limit": 2})
    world.send(*(world.event("identify", userId=f"u{n}", anonymousId=f"a{n % 3}") for n in range(9)))
    world.send(world.event("alias", userId="u1", previousId="u2"), world.event("alias", userId="u2", previousId="u1"))

    segment = make_segment(world.site, [{**PRO, "negated": True}])

    assert len(members(segment)) == 8
    assert_exact(world)


def test_erasure__of_a_member__removes_the_membership(world: World) -> None:
    from api.erasure import erase

    make_segment(world.site, [PRO])
    world.identify(traits={"plan": "pro"})
    world.track("Bought", at=1)

    receipt = erase.erase(world.site, "user-1", by="ada", now=datetime.now(UTC))

    assert receipt is not None
    assert not SegmentMember.objects.exists()
    assert not SegmentChange.objects.exists()


def test_remote_data__of_segments__says_in_or_out_of_each(world: World) -> None:
    make_segment(world.site, [PRO], name="pros")
    make_segment(world.site, [VIP], name="vips")
    assert world.read("SEGMENTS_user-1") == {}
    assert world.read("common") == {"cohorts": [], "segments": ["pros", "vips"]}

    world.identify(traits={"plan": "pro"}, anonymousId="a1")

    assert world.read("SEGMENTS_user-1") == {"pros": True, "vips": False}
    assert world.read("SEGMENTS_a1", token=False) == {"pros": True, "vips": False}
    assert world.read("COHORTS_user-1") == {}


def test_remote_data__of_a_segment_that_is_not_filled__knows_members_only(world: World) -> None:
    world.identify(traits={"plan": "pro"})
    segment = make_segment(world.site, [PRO], is_filled=False)
    assert world.read("SEGMENTS_user-1") == {}

    world.identify(at=1, userId="user-2", traits={"plan": "pro"})
    assert world.read("SEGMENTS_user-2") == {"segment": True}
    keep_up()
    assert world.read("SEGMENTS_user-1") == {"segment": True}
    Segment.objects.filter(site=world.site, pk=segment.pk).update(version=2, is_filled=False, sweep=True)
    assert world.read("SEGMENTS_user-1") == {}


def test_remote_data__of_a_membership_whose_time_has_come__has_turned(world: World) -> None:
    make_segment(world.site, [PRO])
    world.identify(traits={"plan": "pro"})

    SegmentMember.objects.filter(site=world.site).update(until=START)

    assert world.read("SEGMENTS_user-1") == {"segment": False}


def test_remote_data__of_many_keys_at_once__keeps_them_apart(world: World) -> None:
    make_segment(world.site, [PRO])
    world.identify(traits={"plan": "pro"})
    world.identify(at=1, userId="user-2", traits={"plan": "free"})
    keys = ["SEGMENTS_user-2", "IDENTIFY_user-1", "common", "SEGMENTS_user-1", "own", "SEGMENTS_nobody"]

    answer = world.client.get(
        "/map/maps", params={"siteCode": world.site.sitecode, "keys": json.dumps(keys)}, auth=(CLIENT_ID, SECRET)
    )

    assert answer.json() == {
        "SEGMENTS_user-1": {"segment": True},
        "SEGMENTS_user-2": {"segment": False},
        "SEGMENTS_nobody": {},
        "IDENTIFY_user-1": {"traits": {"plan": "pro"}},
        "common": {"cohorts": [], "segments": ["segment"]},
        "own": {},
    }
