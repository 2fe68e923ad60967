"""Segments of one person: in the export, and gone after an erasure."""

import json
from datetime import UTC, datetime

from api.erasure import erase
from api.insight import people
from api.insight.export import export
from cohorts.segment_tables import SegmentChange, SegmentMember, SegmentRecheck
from tests.support.erasures import finish_erasures
from tests.support.segments import assert_exact, keep_up, make_segment
from tests.world import World

PRO = {"on": "trait", "path": ["plan"], "test": {"type": "text", "texts": ["pro"]}}
RECENT = {"on": "trait", "path": ["seen"], "test": {"type": "date", "how": "in_next", "days": 1}}


def make_people(world: World) -> None:
    make_segment(world.site, [PRO], name="pro")
    make_segment(world.site, [RECENT], name="soon")
    world.identify(anonymousId="device", traits={"plan": "pro", "seen": "2126-11-22T00:00:00Z"})
    world.identify(userId="other", traits={"plan": "pro"})
    world.identify(at=1, traits={"plan": "free"})


def test_export__of_a_person__has_its_memberships_and_their_history(world: World) -> None:
    make_people(world)
    world.identify(at=2, traits={"plan": "pro"})
    person = people.look_up(world.site, "device")
    assert person is not None

    exported = json.loads(b"".join(export(world.site, person, now=datetime.now(UTC))))

    assert [(row["segment"], row["isMember"], row["until"]) for row in exported["segments"]] == [
        ("pro", True, None),
        ("soon", False, "2126-11-21T00:00:00Z"),
    ]
    assert [(row["segment"], row["change"]) for row in exported["segmentHistory"]] == [
        ("pro", "entered"),
        ("pro", "left"),
        ("pro", "entered"),
    ]
    assert exported["remoteData"]["SEGMENTS_device"] == {"pro": True, "soon": False}


def test_erasure__of_a_person__takes_its_memberships_and_their_history(world: World) -> None:
    make_people(world)
    assert SegmentMember.objects.count() == 2
    assert SegmentChange.objects.count() == 3

    erase.erase(world.site, "device", by="ada", now=datetime.now(UTC))
    finish_erasures()
    keep_up()

    for model in (SegmentMember, SegmentChange):
        assert {row.identity.value for row in model.objects.select_related("identity")} == {"other"}
        assert model.objects.count() == 1
    assert not SegmentRecheck.objects.exists()
    assert_exact(world)
