"""One event with the identifiers of its person, its name, facts and hit. Pure."""

from collections.abc import Mapping
from itertools import islice
from typing import Any, Final

import msgspec

from api.digest.derivation import GoalHit, RejectedError, SourceConfig, StoredMessage
from api.digest.readings import READINGS
from api.events.body import read_group_id, read_id, read_object
from api.ingest.erased import VISITOR_FIELDS
from api.rules.actions import NO_VALUE
from api.rules.rule import RuledEvent
from cohorts.changes import Change
from cohorts.merge import is_too_long
from goals.matching import EventName
from goals.money import NotMoneyError, parse_amount, parse_currency

NAME_LENGTH: Final = 500
PLACES: Final = ("properties.", "traits.", "context.", "context.traits.", "")  # of visitor codes
LONG_NAMES: Final = 5  # of traits that are left out, which the detail of a warning names
LONG_NAME: Final = 100  # characters of each


class IdentifiedEvent:
    """One event: its objects, and the ids of the person it is about. Raises RejectedError if it has no identity."""

    def __init__(
        self,
        message: StoredMessage,
        config: SourceConfig,
        fields: Mapping[str, Any],
        ruled: RuledEvent,
        warnings: set[str],
    ) -> None:
        self.message = message
        self.config = config
        self.fields = fields
        self.ruled = ruled
        self.warnings = warnings
        self.reading = READINGS[message.reading]
        self.oddities: list[str] = []  # warnings in words, if the code is not enough
        self.properties = read_object(fields.get("properties"), warnings)
        self.traits = read_object(fields.get("traits"), warnings)
        self.context = read_object(fields.get("context"), warnings)
        self.context_traits = read_object(self.context.get("traits"), warnings)
        self.user = self.read_id(fields.get("userId"))
        self.anonymous = self.read_id(fields.get("anonymousId"))
        self.visitor, self.visitor_field = self._find_visitor_code()
        if (self.user, self.anonymous, self.visitor) == (None, None, None) and not self._is_about_group_alone():
            raise RejectedError("no_identity")

    def read_id(self, value: Any) -> str | None:
        """Return an identifier as the event's reading takes it, or None with a warning."""
        return read_id(value, self.warnings, is_placeholder=self.reading.is_placeholder)

    def read_group_id(self, value: Any) -> str | None:
        """Return a group's id as the event's reading takes it, or None with a warning."""
        return read_group_id(value, self.warnings, is_placeholder=self.reading.is_placeholder)

    def _is_about_group_alone(self) -> bool:
        is_group = self.ruled.type == "group" and self.reading.takes_groups_alone
        return is_group and self.read_group_id(self.fields.get("groupId")) is not None

    def _find_visitor_code(self) -> tuple[str | None, str]:
        """Return the visitor code and its path (promises K-45, K-49; the classic name is K-86)."""
        places = (self.properties, self.traits, self.context, self.context_traits, self.fields)
        for name in VISITOR_FIELDS:
            for prefix, place in zip(PLACES, places, strict=True):
                value = place.get(name)
                if value is not None and (code := self.read_id(value)) is not None:
                    return code, prefix + name
        return (self.user, "userId") if self.config.user_id_is_visitor_code else (None, "")

    @property
    def name(self) -> str:
        """Return the name that the rules left. Raises RejectedError if it is missing or too long."""
        name = self.ruled.name
        if name is None or not name.strip():
            raise RejectedError("missing_name")
        if len(name) > NAME_LENGTH:
            raise RejectedError("name_too_long")
        return name

    def change(self, *, traits: Mapping[str, Any] | None = None, **facts: Any) -> Change:
        """Return the facts about its person: its own traits, those of its context, and the group that a rule found."""
        if self.ruled.group is not None:
            group = self.read_group_id(self.ruled.group)
            if group is not None:
                facts = {"group": group, "group_traits": self.ruled.group_traits, **facts}
        if facts.get("group_traits"):
            facts["group_traits"] = self._without_long(facts["group_traits"])
        return Change(
            occurred_at=self.message.occurred_at,
            position=self.message.position,
            message_id=self.message.message_id or "",
            user=self.user,
            anonymous=self.anonymous,
            visitor=self.visitor,
            traits=self._without_long(without_visitor_code({**self.context_traits, **(traits or {})})),
            **facts,
        )

    def _without_long(self, traits: Mapping[str, Any]) -> dict[str, Any]:
        """Leave out traits with a too long name or value, with a warning that names the first."""
        long = {name: None for name, value in traits.items() if is_too_long(name, value)}
        if not long:
            return dict(traits)
        self.warnings.add("long_trait")
        names = ", ".join(name[:LONG_NAME] for name in islice(long, LONG_NAMES))
        more = f" and {len(long) - LONG_NAMES:,} more" if len(long) > LONG_NAMES else ""
        self.oddities.append(f"Left out because they are too long: {names}{more}.")
        return {name: value for name, value in traits.items() if name not in long}

    def hit(self, event: EventName | None = None) -> GoalHit:
        """Return the event as a hit of the goal that its name leads to, or that `event` names."""
        given = self.properties.get("revenue")
        revenue = self._amount(given if given not in NO_VALUE else self.ruled.revenue, "invalid_revenue")
        currency = None
        if revenue is not None:
            currency, is_known = parse_currency(self.properties.get("currency"), default=self.config.default_currency)
            if not is_known:
                self.warnings.add("unknown_currency")
        return GoalHit(
            event=event or EventName(self.ruled.type, self.name),
            message_key=self.message.key,
            occurred_at=self.message.occurred_at,
            user_id=self.user,
            anonymous_id=self.anonymous,
            visitor_code=self.visitor,
            revenue=revenue,
            currency=currency,
            value=self._amount(self.properties.get("value"), "invalid_value"),
            properties=msgspec.json.encode(without_visitor_code(self.properties)).decode(),
            arrival=self.message.id,
            source_id=self.message.source_id,
        )

    def _amount(self, given: Any, warning: str) -> Any:
        try:
            return parse_amount(given)
        except NotMoneyError:
            self.warnings.add(warning)
            return None


def without_visitor_code(properties: Mapping[str, Any]) -> dict[str, Any]:
    """Return properties or traits without the visitor code among them (promise W5)."""
    return {name: value for name, value in properties.items() if name not in VISITOR_FIELDS}
