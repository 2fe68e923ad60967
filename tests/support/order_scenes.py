"""Small scenes of events, each with a change of the product that the scene reveals."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

from api.digest import derivation, identified_event, mapping
from api.digest.readings import NEWEST_READING, Reading
from api.events.envelope import NumberReader
from cohorts import changes, links, merge, people
from cohorts.models import Identity
from cohorts.segments import facts
from goals import recording, rekeying
from tests.support.order_plans import Event
from tests.world import START


def at(second: int, **fields: Any) -> Event:
    """Return an event at some second without a messageId. By default it identifies the user u1."""
    return {"type": "identify", "userId": "u1", "timestamp": (START + timedelta(seconds=second)).isoformat(), **fields}


def hit(**fields: Any) -> Event:
    return at(3, type="track", event="A", **fields)


def link(second: int, code: str, **fields: Any) -> Event:
    return at(second, properties={"kameleoonVisitorCode": code}, **fields)


def audience(second: int, name: str) -> Event:
    return at(second, type="track", event=name, properties={"audience_key": "p1"})


def delete_when_null(registers: merge.Registers, name: str, key: str, register: merge.Register) -> merge.Move:
    move = set_in_map(registers, name, key, register)
    if move and register[3] is None:
        del registers[name][key]
    return move


def exit_at_once(registers: merge.Registers, name: str, key: str, register: merge.Register) -> merge.Move:
    if register[3] is False:
        registers.get(name, {}).pop(key, None)
    return set_in_map(registers, name, key, register)


def alias_backwards(event: Any) -> derivation.Derivation:
    effects = read_alias(event)
    change = effects.change
    assert change is not None
    return replace(effects, change=replace(change, user=change.previous_user, previous_user=change.user))


def context_wins(event: Any, *, traits: Any = None, **facts: Any) -> changes.Change:
    return change(event, traits={**(traits or {}), **event.context_traits}, **facts)


def forget_context(event: Any, **facts: Any) -> changes.Change:
    event.context_traits = {}
    return change(event, **facts)


def user_first(self: derivation.GoalHit, visitors: changes.Visitors) -> recording.Hit:
    firsts = {key: code for key, code in visitors.first.items() if key[0] == Identity.Kind.USER}
    return keyed(self, replace(visitors, first=firsts or visitors.first))


def device_first(self: derivation.GoalHit, visitors: changes.Visitors) -> recording.Hit:
    return keyed(self, replace(visitors, first={} if visitors.device else visitors.first))


def links_of_last_owners(site_id: int, keys: Sequence[changes.IdentityKey], _: int) -> list[changes.Link]:
    return [
        ((identity.kind, identity.value), identity.registers["user"][3])
        for identity in Identity.objects.filter(site_id=site_id, registers__has_key="user")
        if (identity.kind, identity.value) in keys
    ]


set_in_map, parent_of, keyed, change, read_alias = (
    merge.set_in_map,
    merge.parent_of,
    derivation.GoalHit.keyed,
    identified_event.IdentifiedEvent.change,
    mapping.READERS["alias"],
)
Broken = tuple[Any, str, Any]  # object, attribute, and the broken replacement
SCENES: dict[str, tuple[list[list[Event]], Broken]] = {
    "a group without a person": (
        [
            [at(1, type="group", userId=None, groupId="g1", traits={"plan": 1})],
            [at(0, type="group", userId="(null)", groupId="g1", traits={"plan": 2, "age": 2})],
            [at(0, type="group", groupId="g1")],
        ],
        (identified_event, "READINGS", {NEWEST_READING: Reading(takes_groups_alone=False)}),
    ),
    "an event that its sender does not want here": (
        [
            [hit(integrations={"All": False})],
            [at(0, traits={"plan": 1}, integrations={"Goalpost": False, "Kameleoon": True})],
            [at(1, traits={"age": 1}, integrations={"All": False, "Kameleoon": {}})],
        ],
        (mapping, "READINGS", {NEWEST_READING: Reading(heeds_integrations=False)}),
    ),
    "placeholders: strangers stay apart, and so do their messages": (
        [
            [at(0, userId=None, anonymousId="(null)", properties={"k_visitorCode": "v1"}, traits={"plan": 1})],
            [at(1, anonymousId="(null)", traits={"age": 1}), hit(messageId="(null)"), hit(messageId="(null)")],
            [at(2, userId="{{userId}}", anonymousId="a1", messageId="(null)", traits={"plan": 2})],
        ],
        (identified_event, "READINGS", {NEWEST_READING: Reading(is_placeholder=lambda _: False)}),
    ),
    "traits: time counts, not arrival": (
        [[at(1, traits={"plan": "new"})], [at(0, traits={"plan": "old"})]],
        (merge, "is_later", lambda *_: True),
    ),
    "equal times: the place in the request": (
        [[at(0, messageId="m2", traits={"plan": "first"}), at(0, messageId="m1", traits={"plan": "last"})]],
        (merge, "is_later", lambda new, old: (new[0], *new[2:]) > (old[0], *old[2:])),
    ),
    "equal places: the messageId": (
        [[at(0, messageId="m2", traits={"plan": "a"})], [at(0, messageId="m1", traits={"plan": "b"})]],
        (merge, "is_later", lambda new, old: (*new[:2], new[3]) > (*old[:2], old[3])),
    ),
    "no messageIds: the canonical JSON": (
        [[at(0, traits={"plan": 1})], [at(0, traits={"plan": True})], [at(0, traits={"plan": [{}]})]],
        (merge, "is_later", lambda new, old: new[:3] > old[:3]),
    ),
    "no messageIds: JSON as it comes back from the database": (
        [[at(0, traits={"plan": 1e22})], [at(0, traits={"plan": 1e-7})]],
        (NumberReader, "read", lambda _, text: float(text)),
    ),
    "one messageId under two types: two messages": (
        [[hit(messageId="m1")], [at(3, type="page", name="A", messageId="m1")]],
        (derivation.StoredMessage, "key", property(lambda self: self.message_id)),
    ),
    "null stays removed": (
        [[at(1, traits={"plan": None})], [at(0, traits={"plan": "old"})]],
        (merge, "set_in_map", delete_when_null),
    ),
    "an older exit undoes no enter": (
        [[audience(1, "Audience Entered")], [audience(0, "Audience Exited")]],
        (merge, "set_in_map", exit_at_once),
    ),
    "a device changes hands": (
        [[at(0, anonymousId="a1", traits={"plan": 1})], [at(1, anonymousId="a1", userId="u2", traits={"plan": 2})]],
        (merge, "is_later", lambda new, old: new < old),
    ),
    "a user owns a visitor before an anonymous id": (
        [[link(0, "v1")], [link(1, "v1", userId=None, anonymousId="a1")]],
        (
            merge,
            "parent_of",
            lambda registers: parent_of({"user": registers["anonymous"]} if "anonymous" in registers else registers),
        ),
    ),
    "an alias": (
        [[at(0, type="alias", previousId="u2")], [at(0, traits={"plan": 1})], [at(1, userId="u2", traits={"plan": 2})]],
        (mapping, "READERS", {**mapping.READERS, "alias": alias_backwards}),
    ),
    "an alias before and after what both ids did": (
        [[hit(userId="u2")], [at(1, type="alias", previousId="u2")], [link(2, "v2", userId="u2"), link(3, "v1")]],
        (mapping, "READERS", {**mapping.READERS, "alias": alias_backwards}),
    ),
    "traits in the context of any event": (
        [
            [hit(userId=None, anonymousId="a1", context={"traits": {"plan": 1}})],
            [at(1, type="group", userId=None, anonymousId="a1", groupId="g1", context={"traits": {"age": 1}})],
            [at(2, type="alias", previousId="a1", context={"traits": {"name": "Ada"}})],
        ],
        (identified_event.IdentifiedEvent, "change", forget_context),
    ),
    "an event's own traits before those of its context": (
        [[at(0, traits={"plan": 1}, context={"traits": {"plan": 2, "age": 2}})], [at(1, traits={"age": None})]],
        (identified_event.IdentifiedEvent, "change", context_wins),
    ),
    "a visitor code in the context": (
        [[hit(context={"kameleoonVisitorCode": "v1"})], [hit(context={"traits": {"k_visitorCode": "v2"}})]],
        (identified_event, "VISITOR_FIELDS", ()),
    ),
    "a name of its parts, until one is given": (
        [
            [at(0, traits={"firstName": "Ada"}), at(1, traits={"last_name": "é"})],
            [at(2, traits={"firstName": "Augusta"})],
            [at(3, userId="u2", traits={"name": "Ada", "first_name": "é", "lastName": "é"})],
        ],
        (facts, "full_name", lambda _: None),
    ),
    "a company is the group of whom no group call tells": (
        [
            [at(1, traits={"company": {"id": 7}})],
            [at(2, userId="u2", traits={"company": {"id": "c1"}})],
            [at(0, userId="u2", type="group", groupId="g1")],
        ],
        (facts, "company_id", lambda _: None),
    ),
    "links later than their conversions, and a code of the event's own": (
        [[hit(), hit(properties={"k_visitorCode": "v2"})], [link(2, "v2"), link(1, "v1")], [link(2, "é")]],
        (rekeying, "rekey", lambda *_, **__: rekeying.RekeyResult([], [])),
    ),
    "the first link": (
        [[hit()], [link(1, "v1")], [link(2, "v2")]],
        (merge, "is_earlier_link", lambda new, old: new[0] > old[0]),
    ),
    "links at one time: the bytes": (
        [[hit()], [link(1, "v1")], [link(1, "v2")]],
        (merge, "is_earlier_link", lambda new, old: new[0] < old[0]),
    ),
    "several links in one batch": (
        [[hit()], [link(2, "v2"), link(1, "v1"), link(0, "é", userId=None, anonymousId="a1")]],
        (merge, "is_earlier_link", lambda new, old: new[0] > old[0]),
    ),
    "a device is nearer than its user": (
        [[hit(anonymousId="a1")], [link(1, "v1", userId=None, anonymousId="a1")], [link(0, "v2")]],
        (derivation.GoalHit, "keyed", user_first),
    ),
    "a user whose device alone has a code": (
        [[hit()], [at(0, anonymousId="a1")], [link(1, "v1", userId=None, anonymousId="a1")]],
        (people, "new_links_of", lambda *_: []),
    ),
    "a user's own code before its device's": (
        [[hit()], [at(0, anonymousId="a1")], [link(0, "v1", userId=None, anonymousId="a1")], [link(1, "v2")]],
        (derivation.GoalHit, "keyed", device_first),
    ),
    "the earliest of several devices": (
        [
            [hit()],
            [at(0, anonymousId="a1"), at(0, anonymousId="a2")],
            [link(2, "v1", userId=None, anonymousId="a1")],
            [link(1, "v2", userId=None, anonymousId="a2")],
        ],
        (merge, "is_earlier_link", lambda new, old: new[0] > old[0]),
    ),
    "a device that belongs to another user since": (
        [
            [hit()],
            [at(0, anonymousId="a1")],
            [at(1, anonymousId="a1", userId="u2")],
            [link(2, "v1", userId=None, anonymousId="a1")],
        ],
        (links, "find_links", links_of_last_owners),
    ),
    "aliases of users whose devices have a code": (
        [
            [hit()],
            [at(0, type="alias", previousId="u2")],
            [at(0, type="alias", userId="u2", previousId="é")],
            [link(1, "v1", userId="é", anonymousId="a1"), link(2, "v2", userId=None, anonymousId="a2")],
        ],
        (links, "find_links", lambda *_: []),
    ),
}
