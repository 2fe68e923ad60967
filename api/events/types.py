"""The closed list of event types: how senders name them, and what an event of each must hold. Pure.

Everything else derives from this list: paths, inference, validation, names of goals, rules, samples and the API's
documentation. What an event of a type means is decided by its reader in api.digest.mapping.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from goals.naming import GOAL_TYPES

PERSON: Final = {"userId": "tester-1", "anonymousId": "tester-browser-1"}


@dataclass(frozen=True, slots=True)
class Need:
    """The fields that an event of a type must have, and the refusal of one that lacks them."""

    code: str
    fields: tuple[str, ...]  # attributes of the envelope
    message: str
    is_name: bool = False  # one of the fields must hold a name; otherwise all of them must hold ids


@dataclass(frozen=True, slots=True)
class EventType:
    """A type of event.

    It makes goals if it is in goals.naming.GOAL_TYPES. Its goal has the first name found in `name_fields`, which are
    paths below the event (`title` only if the site asks for it), otherwise the name `unnamed`.
    """

    name: str
    short_path: str  # analytics-next sends to `/v1/` and this letter
    sample: Mapping[str, Any] = field(hash=False)  # for the event tester
    own_field: str = ""  # attribute of the envelope that tells the type of an event that names none
    need: Need | None = None
    is_of_person: bool = True  # otherwise its events may name no person if they have what they need
    name_fields: tuple[str, ...] = ()
    unnamed: str = ""
    has_traits_in_properties: bool = False  # Segment's Kameleoon destination puts them there (promises W4, A-15)

    @property
    def makes_goals(self) -> bool:
        return self.name in GOAL_TYPES


PAGE_NAMES: Final = ("name", "event", "properties.name", "properties.title", "category")
EVENT_TYPES: Final[Mapping[str, EventType]] = {
    type_.name: type_
    for type_ in (
        EventType(
            "track",
            "t",
            {
                "event": "Clicked on Checkout",
                **PERSON,
                "properties": {"revenue": 25.5, "currency": "EUR", "kameleoonVisitorCode": "vc-tester-1"},
            },
            own_field="event",
            need=Need("missing_name", ("event", "name"), "Send `event`, the name of what was done.", is_name=True),
            name_fields=("event", "name"),
        ),
        EventType(
            "page",
            "p",
            {"name": "Home", **PERSON, "properties": {"path": "/", "title": "Home"}},
            name_fields=PAGE_NAMES,
            unnamed="Unnamed page",
        ),
        EventType(
            "screen",
            "s",
            {"name": "Welcome", **PERSON, "properties": {}},
            name_fields=PAGE_NAMES,
            unnamed="Unnamed screen",
        ),
        EventType("identify", "i", {**PERSON, "traits": {"plan": "enterprise"}}, has_traits_in_properties=True),
        EventType(
            "group",
            "g",
            {"groupId": "tester-group", **PERSON, "traits": {"name": "Testers"}},
            own_field="group_id",
            need=Need("missing_group_id", ("group_id",), "Send `groupId`, the id of the group."),
            is_of_person=False,  # analytics-elixir and others sync accounts without a member
            has_traits_in_properties=True,
        ),
        EventType(
            "alias",
            "a",
            {"previousId": "tester-0", "userId": "tester-1"},
            own_field="previous_id",
            need=Need(
                "missing_previous_id",
                ("previous_id", "user_id"),
                "Send `previousId`, the id so far, and `userId`, the one from now on.",
            ),
        ),
    )
}
TYPES: Final[Sequence[str]] = tuple(EVENT_TYPES)
# Types of the lines of Kameleoon's SDKs (api.events.sdk_facts). They come to `/visit/events`; no sender names one.
SDK_TYPES: Final = ("conversion", "custom_data", "page_view", "static_data", "geolocation", "exposure")
ALL_TYPES: Final = (*TYPES, *SDK_TYPES)  # of stored messages
TYPE_PATHS: Final[Mapping[str, str]] = {
    path: type_.name for type_ in EVENT_TYPES.values() for path in (type_.name, type_.short_path)
}


def infer_type(is_given: Callable[[str], bool]) -> str | None:
    """Return the type of an event that names none, by the fields of the envelope that it has (promise W6).

    The last type in the list whose own field is given wins: `previousId` makes an alias of an event that also has a
    `groupId`. A `name` alone fits a page as well as a screen.
    """
    for type_ in reversed(tuple(EVENT_TYPES.values())):
        if type_.own_field and is_given(type_.own_field):
            return type_.name
    is_ambiguous = is_given("name")
    has_person = any(map(is_given, ("user_id", "anonymous_id", "properties", "traits")))
    return "identify" if has_person and not is_ambiguous else None
