"""Feature flags of a shop, whose targeting asks for a persona, a plan, a converted goal or a segment."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from api.models import Site
from api.remote_data.flag_import import import_file
from tests.contract.server import Shop

PERSONAS, PLAN, MAPPING, SEGMENTS = 1, 2, 3, 4  # indexes of custom data


def import_flags(
    shop: Shop, goal_id: int, *, has_segment: str = "loyal", segment_ids: Mapping[str, int] | None = None
) -> None:
    """Import the flags into the shop's site. `segment_ids` names segments of Goalpost in place of those of the file."""
    conditions = {
        "persona": has_value(PERSONAS, "big_spenders"),
        "plan": has_value(PLAN, "enterprise"),
        "goal": {"targetingType": "CONVERSIONS", "isInclude": True, "goalId": goal_id},
        "segment": has_value(SEGMENTS, has_segment),
    }
    names = {PERSONAS: "personas", PLAN: "plan", MAPPING: "userId", SEGMENTS: "segments"}
    numbered = list(enumerate(conditions.items(), 1))
    file = {
        "configuration": {},
        "customData": [
            {
                "id": index,
                "index": index,
                "name": name,
                "localOnly": False,
                "isMappingIdentifier": index == MAPPING,
                "scope": "VISITOR",
            }
            for index, name in names.items()
        ],
        "segments": [
            {
                "id": number,
                "name": name,
                "conditionsData": {
                    "firstLevelOrOperators": [],
                    "firstLevel": [{"orOperators": [], "conditions": [condition]}],
                },
            }
            for number, (name, condition) in numbered
        ],
        "featureFlags": [
            flag(number, f"{name}_flag", (segment_ids or {}).get(name, number)) for number, (name, _) in numbered
        ],
    }
    site = Site.objects.get(pk=shop.site_id)
    result = import_file(site, json.dumps(file), environment="production", actor="tests", now=datetime.now(UTC))
    assert not result.problems


def has_value(index: int, value: str) -> dict[str, Any]:
    return {
        "targetingType": "CUSTOM_DATUM",
        "isInclude": True,
        "customDataIndex": str(index),
        "valueMatchType": "EXACT",
        "value": value,
    }


def flag(number: int, key: str, segment_id: int) -> dict[str, Any]:
    """Return a flag that is on for its segment, and tracked as an experiment."""
    return {
        "id": number,
        "featureKey": key,
        "environmentEnabled": True,
        "defaultVariationKey": "off",
        "variations": [
            {"key": key, "name": key, "variables": [{"key": "price", "type": "NUMBER", "value": price}]}
            for key, price in (("off", 1.0), ("on", 2.5))
        ],
        "rules": [
            {
                "id": 10 * number,
                "order": 0,
                "type": "EXPERIMENTATION",
                "exposition": 1.0,
                "experimentId": 5_000 + number,
                "segmentId": segment_id,
                "variationByExposition": [{"variationKey": "on", "variationId": 7_000 + number, "exposition": 1.0}],
            }
        ],
    }
