"""Segments on custom data: what SDKs sent, and what Goalpost fills from a person, as its definition says."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from api.remote_data.definitions import WrongDefinitionError, delete_definition, save_definition
from cohorts.custom_data import SHAPES, Definition, Filling, definition_of
from cohorts.models import CustomData
from cohorts.segment_tables import SegmentRecheck
from tests.support.people import audience
from tests.support.sdk import custom_data, send_lines
from tests.support.segments import assert_exact, keep_up, make_segment, members
from tests.world import World

IS_VIP = {"on": "customData", "index": 1, "test": {"type": "text", "texts": ["vip"]}}


def define(world: World, filled_from: str = "sdk", filling: str = "", row: CustomData | None = None) -> CustomData:
    type_, format_ = SHAPES.get(Filling(filled_from), (CustomData.Type.UNIQUE, CustomData.Format.STRING))
    definition = Definition(index=1, name="kind", type=type_, format=format_, filled_from=filled_from, filling=filling)
    return save_definition(world.site, definition, row=row, by="ada", now=datetime.now(UTC))


@pytest.mark.parametrize(
    ("filled_from", "filling", "event"),
    [
        ("trait", "kind", {"type": "identify", "traits": {"kind": "vip"}}),
        ("trait", "shop.kinds", {"type": "identify", "traits": {"shop": {"kinds": ["new", "vip"]}}}),
        ("group", "", {"type": "group", "groupId": "vip"}),
        ("group", "", {"type": "identify", "traits": {"company": {"id": "vip"}}}),
        ("personas", "", None),
    ],
)
def test_membership__of_custom_data_filled_from_a_person__follows_the_person(
    world: World, filled_from: str, filling: str, event: Mapping[str, Any] | None
) -> None:
    world.change_site(company_is_group=True)
    define(world, filled_from, filling)
    segment = make_segment(world.site, [IS_VIP])

    world.send(audience(world, "vip", entered=True) if event is None else world.event(**event))

    assert members(segment) == {"user-1"}
    assert_exact(world)


def test_membership__of_custom_data_that_goalpost_fills__ignores_what_sdks_send(world: World) -> None:
    define(world, "trait", "kind")
    segment = make_segment(world.site, [IS_VIP])

    send_lines(world, custom_data(1, "vip"))

    assert members(segment) == set()
    assert_exact(world)


def test_membership__of_custom_data_that_is_set_again__loses_what_was_added_meanwhile(world: World) -> None:
    segment = make_segment(world.site, [IS_VIP])
    send_lines(world, custom_data(1, "new"))
    send_lines(world, custom_data(1, "vip", overwrite=False))
    assert members(segment) == {"v1"}

    send_lines(world, custom_data(1, "new"))

    assert members(segment) == set()
    assert_exact(world)


def test_membership__of_custom_data_filled_from_a_segment__is_empty(world: World) -> None:
    segment = make_segment(world.site, [{"on": "trait", "path": ["plan"], "test": {"type": "text", "texts": ["pro"]}}])
    define(world, "segment", str(segment.pk))
    other = make_segment(
        world.site, [{"on": "customData", "index": 1, "test": {"type": "text", "texts": ["true"]}}], name="other"
    )

    world.identify(traits={"plan": "pro"})

    assert (members(segment), members(other)) == ({"user-1"}, set())
    assert_exact(world)


def test_definition__that_is_saved_or_removed__evaluates_the_segments_that_ask_for_it(world: World) -> None:
    segment = make_segment(world.site, [IS_VIP])
    world.identify(traits={"kind": "vip"})
    send_lines(world, custom_data(1, "vip"))
    found = [members(segment)]

    row = define(world)
    assert not SegmentRecheck.objects.exists()  # its values are those that SDKs sent, as before
    for change in (
        lambda: define(world, "trait", "kind", row),
        lambda: define(world, "trait", "plan", row),
        lambda: delete_definition(row, by="ada", now=datetime.now(UTC)),
    ):
        change()
        keep_up()
        found.append(members(segment))
        assert_exact(world)

    assert found == [{"v1"}, {"user-1"}, set(), {"v1"}]


def test_definition__of_other_custom_data__evaluates_no_segment(world: World) -> None:
    make_segment(world.site, [{**IS_VIP, "index": 2}])

    row = define(world, "group")
    assert definition_of(row).filled_from == "group"

    assert not SegmentRecheck.objects.exists()


def test_definition__filled_from_a_segment_that_is_not_there__is_refused(world: World) -> None:
    with pytest.raises(WrongDefinitionError) as refused:
        define(world, "segment", "999999999")

    assert refused.value.problems == {"filling": "The site has no segment with the id 999999999."}
    assert not CustomData.objects.exists()
