"""Forms that the catalogue of pages sends."""

from typing import Final

from api.pages.people.segment_edit import fingerprint
from cohorts.segments.conditions import PersonaCondition

PERSON: Final = "?id=ada-king"
CUSTOM_DATA: Final = {
    "index": "1",
    "name": "plan",
    "type": "UNIQUE",
    "format": "STRING",
    "scope": "VISITOR",
    "filled_from": "sdk",
}
# The preview of these conditions was shown.
SEGMENT: Final = {
    "do": "save",
    "name": "Big spenders",
    "at": "0.0",
    "0.0.on": "persona",
    "0.0.persona": "vip",
    "previewed": fingerprint(((PersonaCondition("vip"),),)),
}
KINDS_OF_CONDITIONS: Final = [
    {"0.0.on": "trait", "0.0.path": "plan", "0.0.test": "number.between", "0.0.number": "1", "0.0.most": "2"},
    {"0.0.on": "groupTrait", "0.0.path": "plan", "0.0.test": "text.equals", "0.0.texts": "pro"},
    {"0.0.on": "customData", "0.0.index": "1", "0.0.test": "date.since", "0.0.date": "2026-11-22"},
    {"0.0.on": "goal", "0.0.goal": "{goal_id}", "0.0.times": "2", "0.0.days": "3", "0.0.revenue": "1"},
    {"0.0.on": "seen", "0.0.which": "last", "0.0.test": "date.within", "0.0.days": "3"},
]
EXPERIMENT: Final = {
    "name": "Checkout 3",
    "primary": "{goal_id}",
    "window_days": "7",
    "variations-TOTAL_FORMS": "2",
    "variations-INITIAL_FORMS": "0",
    "variations-0-key": "a",
    "variations-0-name": "Old",
    "variations-0-is_reference": "on",
    "variations-1-key": "b",
    "variations-1-name": "New",
}
