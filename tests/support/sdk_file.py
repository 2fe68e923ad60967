"""A configuration file of Kameleoon's SDKs, as the unmodified SDKs take it."""

import copy
from typing import Any, Final

CONDITION: Final = {
    "targetingType": "CUSTOM_DATUM",
    "isInclude": True,
    "customDataIndex": "1",
    "valueMatchType": "EXACT",
    "value": "big_spenders",
}
FILE: Final[dict[str, Any]] = {
    "configuration": {"realTimeUpdate": False, "consentType": "NOT_REQUIRED"},
    "customData": [
        {
            "id": 11,
            "index": 1,
            "name": "personas",
            "localOnly": False,
            "isMappingIdentifier": False,
            "scope": "VISITOR",
        },
        {"id": 13, "index": 3, "name": "userId", "localOnly": False, "isMappingIdentifier": True, "scope": "VISITOR"},
        {"id": 14, "index": 4, "name": "secret", "localOnly": True, "isMappingIdentifier": False, "scope": "VISIT"},
    ],
    "segments": [
        {
            "id": 7,
            "name": "is a big spender",
            "audienceTracking": True,
            "conditionsData": {
                "firstLevelOrOperators": [],
                "firstLevel": [{"orOperators": [], "conditions": [CONDITION]}],
            },
        },
        {
            "id": 9,
            "name": "converted, and not a big spender",
            "audienceTracking": False,
            "conditionsData": {
                "firstLevelOrOperators": [False],
                "firstLevel": [
                    {
                        "orOperators": [True],
                        "conditions": [
                            {"targetingType": "CONVERSIONS", "isInclude": True, "goalId": 1001},
                            {**CONDITION, "valueMatchType": "AMONG_VALUES", "value": '["startup","scaleup"]'},
                        ],
                    },
                    {
                        "orOperators": [],
                        "conditions": [{"targetingType": "SEGMENT", "isInclude": False, "segmentId": 7}],
                    },
                ],
            },
        },
    ],
    "featureFlags": [
        {
            "id": 101,
            "featureKey": "persona_flag",
            "environmentEnabled": True,
            "defaultVariationKey": "off",
            "variations": [
                {"key": "off", "name": "Off", "variables": [{"key": "price", "type": "NUMBER", "value": 1}]},
                {"key": "on", "name": "On", "variables": [{"key": "price", "type": "NUMBER", "value": 2.5}]},
            ],
            "rules": [
                {
                    "id": 1011,
                    "order": 0,
                    "type": "EXPERIMENTATION",
                    "exposition": 1.0,
                    "experimentId": 5011,
                    "segmentId": 7,
                    "variationByExposition": [{"variationKey": "on", "exposition": 1.0, "variationId": 70111}],
                }
            ],
        },
        {
            "id": 103,
            "featureKey": "plan_flag",
            "environmentEnabled": False,
            "defaultVariationKey": "off",
            "variations": [
                {"key": "off", "name": "Off", "variables": []},
                {"key": "on", "name": "On", "variables": []},
            ],
            "rules": [
                {
                    "id": 1031,
                    "order": 0,
                    "type": "TARGETED_DELIVERY",
                    "exposition": 0.5,
                    "experimentId": 5031,
                    "segmentId": 9,
                    "variationByExposition": [{"variationKey": "on", "exposition": 1.0, "variationId": 70311}],
                }
            ],
        },
    ],
    "dateModified": 1790000000000,
}
ABSENT: Final = object()


def change(*path: str | int, to: Any) -> dict[str, Any]:
    """Return the file with another value at a path, or without it if the value is ABSENT."""
    file = copy.deepcopy(FILE)
    holder: Any = file
    for name in path[:-1]:
        holder = holder[name]
    if to is ABSENT:
        del holder[path[-1]]
    elif isinstance(holder, list) and path[-1] == len(holder):
        holder.append(to)
    else:
        holder[path[-1]] = to
    return file
