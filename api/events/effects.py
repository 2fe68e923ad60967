"""The effects of a processed event: a closed list, in the order in which pages and the API show them."""

from enum import StrEnum
from typing import Self


class Effect(StrEnum):
    """One effect; its value is stored and is the API's, its label is for pages."""

    label: str

    CONVERTED = "converted", "Converted"
    CANCELLED = "cancelled", "Conversion cancelled"
    GOAL_CREATED = "goal_created", "Goal created"
    PROFILE_UPDATED = "profile_updated", "Profile updated"
    LINKED = "linked", "Identities linked"
    RECORDED = "recorded", "Visit or exposure recorded"
    # Stored as `nothing` since the first version: most of the inbox would be rewritten to call it `none`.
    NONE = "nothing", "No effect"

    def __new__(cls, value: str, label: str) -> Self:
        effect = str.__new__(cls, value)
        effect._value_ = value
        effect.label = label
        return effect
