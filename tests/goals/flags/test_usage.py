"""Flags by the segments that their rules name."""

from typing import Any

from goals.flags.models import FeatureFlag
from goals.flags.usage import find_flags_by_segment
from tests.world import World


def test_flags__by_segment__are_those_of_the_site_whose_rules_name_it(world: World) -> None:
    def make_flag(key: str, *segments: Any) -> None:
        rules = [{"segmentId": segment} for segment in segments]
        FeatureFlag.objects.create(site=world.site, key=key, document={"featureKey": key, "rules": rules})

    make_flag("two", 7, 7, 8)
    make_flag("one", 7, None)
    make_flag("none", "7")

    assert find_flags_by_segment(world.site.pk) == {7: ["one", "two"], 8: ["two"]}
