"""A person, a group and the personas of a site have limits: in any order of events the same, and read in time."""

import json
import random
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

import times
from api.checks import recount_rows
from api.erasure import removal
from api.models import Message
from cohorts import identities, merge, people, personas, remote_data
from cohorts.changes import Change
from cohorts.models import Group, Identity, Persona, PersonaFact
from tests.support.people import MOST_TRAITS, audience, get_identity
from tests.support.verifying import found_by_verify
from tests.world import START, World


def warned(code: str) -> list[str | None]:
    """Return the events with a warning."""
    found = Message.objects.filter(warnings__contains=[code]).order_by("occurred_at")
    return list(found.values_list("message_id", flat=True))


def stamp(event: Mapping[str, Any]) -> list[Any]:
    at = datetime.fromisoformat(event["timestamp"])
    return [(at - times.EPOCH) // times.RESOLUTION, 0, event["messageId"]]


def said_last(said: Iterable[tuple[Mapping[str, Any], str, Any]], *, most: int) -> dict[str, list[Any]]:
    """Return the registers that follow from (event, name, value), found by sorting all of them."""
    latest: dict[str, list[Any]] = {}
    for event, name, value in said:
        latest[name] = max(latest.get(name, [0, 0, ""]), [*stamp(event), value], key=lambda register: register[:3])
    return dict(sorted(latest.items(), key=lambda item: (item[1][:3], item[0]))[-most:])


@pytest.mark.parametrize(
    ("name", "value", "is_kept"),
    [
        ("plan", "x" * (merge.VALUE_BYTES - 2), True),
        ("plan", "x" * (merge.VALUE_BYTES - 1), False),
        ("plan", "é" * (merge.VALUE_BYTES // 2), False),
        ("plan", [1] * merge.VALUE_ELEMENTS, True),
        ("plan", [1] * (merge.VALUE_ELEMENTS + 1), False),
        ("plan", {"list": [{str(number): []} for number in range(merge.VALUE_ELEMENTS // 2)]}, False),
        ("plan", "1," * merge.VALUE_ELEMENTS, True),
        ("plan", {"list": ["x" * merge.VALUE_BYTES]}, False),
        ("x" * merge.NAME_BYTES, 1, True),
        ("x" * (merge.NAME_BYTES + 1), 1, False),
        ("é" * (merge.NAME_BYTES // 2 + 1), None, False),
    ],
)
@pytest.mark.parametrize("type_", ["identify", "group", "track"])
def test_trait__too_long__is_left_out_with_a_warning(
    world: World, type_: str, name: str, value: object, *, is_kept: bool
) -> None:
    traits = {"other": 1, name: value}
    fields: dict[str, Any] = {"context": {"traits": traits}} if type_ == "track" else {"traits": traits}
    fields |= {"groupId": "g1"} if type_ == "group" else {}
    world.identify(at=-1, traits={"plan": "before"})

    world.send(world.event(type_, **fields))

    holder = Group.objects.get() if type_ == "group" else get_identity()
    said = {each: register[3] for each, register in holder.registers["traits"].items()}
    before = {} if type_ == "group" else {"plan": "before"}
    assert said == before | {"other": 1} | ({name: value} if is_kept else {})
    assert ("long_trait" in world.last_message().warnings) is not is_kept
    assert (name[:100] in world.last_message().detail) is not is_kept
    assert found_by_verify() == []


@pytest.mark.promise("N-10")
@pytest.mark.parametrize("type_", ["identify", "group"])
@pytest.mark.parametrize("seed", [1, 2])
def test_traits__more_than_are_kept__are_those_said_last_in_any_order(world: World, type_: str, seed: int) -> None:
    names = [f"t{number}" for number in range(MOST_TRAITS + 40)]
    ids = {"groupId": "g1"} if type_ == "group" else {}
    events = [
        world.event(type_, at=number, traits=dict.fromkeys(names[number * 60 : (number + 1) * 60], number), **ids)
        for number in range(9)
    ]
    events.append(world.event(type_, at=1.5, traits={"t0": None, "t1": "late"}, **ids))
    random.Random(seed).shuffle(events)

    world.send(*events[:5])
    world.send(*events[5:])

    holder = Group.objects.get() if type_ == "group" else get_identity()
    said = [(event, name, value) for event in events for name, value in event["traits"].items()]
    latest = said_last(said, most=len(names))
    assert holder.registers["traits"] == said_last(said, most=MOST_TRAITS)
    assert holder.registers["left_out"] == {
        "traits": sorted(latest.values(), key=lambda each: each[:3])[-MOST_TRAITS - 1][0]
    }
    assert warned("many_traits")
    assert found_by_verify() == []


def test_traits__one_event_with_more_than_are_kept__keeps_as_many(world: World) -> None:
    names = [f"t{number:04}" for number in range(MOST_TRAITS + 3)]
    world.identify(traits=dict.fromkeys(names, 1))
    world.identify(at=-1, traits={"older": 1})

    assert get_identity().registers["traits"].keys() == set(names[3:])
    assert warned("many_traits") == ["message-2", "message-1"]
    assert found_by_verify() == []


def test_username__beyond_the_traits_that_are_kept__claims_no_name(world: World) -> None:
    world.identify(at=1, traits={f"t{number}": 1 for number in range(MOST_TRAITS)})

    world.identify(at=0, traits={"username": "ada"})

    assert world.statuses()[-1] == ("done", "already_known")
    assert "username" not in world.traits("user-1")


@pytest.mark.promise("N-10", "K-64")
@pytest.mark.parametrize("seed", [1, 2])
def test_personas__more_than_a_person_keeps__are_those_said_last_in_any_order(world: World, seed: int) -> None:
    most = merge.MOST_VALUES["personas"]
    events = [audience(world, f"p{number}", entered=number % 3 > 0, at=number) for number in range(most + 5)]
    events.append(audience(world, "p1", entered=False, at=most + 9))
    random.Random(seed).shuffle(events)

    world.send(*events)

    said = [(each, each["properties"]["audience_key"], each["event"] == "Audience Entered") for each in events]
    assert get_identity().registers["personas"] == said_last(said, most=most)
    assert world.read("COHORTS_user-1").keys() == said_last(said, most=most).keys()
    assert warned("many_personas")
    assert found_by_verify() == []


def test_person__at_the_limits__has_known_bytes(world: World) -> None:
    """As large as any events make a person: the figure of merge.MOST_VALUES and remote_data.LARGE_BYTES."""
    message_id = "\U0001f600" * 255
    long = {f"{number:0>{merge.NAME_BYTES}}": "x" * (merge.VALUE_BYTES - 2) for number in range(MOST_TRAITS + 100)}
    moment = datetime(2026, 11, 22, tzinfo=UTC)
    with transaction.atomic():
        changes = [
            Change(moment, 10**9, message_id, user="user-1", traits=dict(list(long.items())[begin : begin + 200]))
            for begin in range(0, len(long), 200)
        ]
        changes += [
            Change(moment, number, message_id, user="user-1", persona=(f"{number:é>250}", True))
            for number in range(merge.MOST_VALUES["personas"] + 100)
        ]
        for begin in range(0, len(changes), 200):
            people.apply(world.site.pk, changes[begin : begin + 200], most_linked=500)

    size = get_identity().bytes
    assert size is not None
    assert 3_000_000 < size < 3_800_000 < remote_data.LARGE_BYTES
    assert len(world.get("IDENTIFY_user-1").content) < 2_300_000
    assert len(world.get("COHORTS_user-1").content) < 160_000


def test_person__that_a_version_without_limits_left__is_brought_within_them_by_the_next_event(world: World) -> None:
    world.identify(at=0, traits={"long": "short", "plan": "scale"})
    registers = get_identity().registers
    registers["traits"]["long"] = [registers["traits"]["long"][0] + 1, 0, "before", "x" * 20_000]
    many = {f"t{number}": [number, 0, "before", 1] for number in range(MOST_TRAITS + 100)}
    registers["traits"] |= {**many, "n" * 300: [10**15, 0, "before", 1]}
    Identity.objects.update(registers=registers, bytes=None)
    assert found_by_verify() == []

    world.track("Buy")

    after = get_identity()
    assert after.bytes is not None
    assert after.bytes < 40_000
    assert len(after.registers["traits"]) == MOST_TRAITS
    assert after.registers["traits"]["long"] == [*registers["traits"]["long"][:3], None]
    assert after.registers["traits"]["plan"][3] == "scale"
    assert after.registers["left_out"] == {"traits": 101}
    assert found_by_verify() == []


def test_verify__people_of_whom_too_much_is_known_at_once__are_compared_in_parts(world: World) -> None:
    for number in range(3):
        world.identify(userId=f"user-{number}", traits={"plan": number})
        world.send(world.event("group", userId=f"user-{number}", groupId=f"g{number}", traits={"size": number}))
    Identity.objects.update(bytes=recount_rows.KNOWN_BYTES)
    Group.objects.update(bytes=recount_rows.KNOWN_BYTES)
    with CaptureQueriesContext(connection) as queries:
        assert found_by_verify() == []
    assert sum("t.registers::text" in each["sql"] and "cohorts_identity" in each["sql"] for each in queries) == 6

    registers = get_identity("user-2").registers
    Identity.objects.filter(value="user-2").update(registers={**registers, "traits": {}})

    assert len(found_by_verify()) == 1


def test_batch__of_people_of_whom_too_much_is_known__is_digested_in_parts(world: World) -> None:
    for number in range(6):
        world.identify(userId=f"user-{number}")
    Identity.objects.update(bytes=identities.MOST_BYTES // 3)
    changes = [Change(START, 0, f"m{number}", user=f"user-{number}", traits={"plan": number}) for number in range(6)]
    with pytest.raises(identities.TooManyBytesError), transaction.atomic():
        people.apply(world.site.pk, changes, most_linked=500)

    world.send(*(world.event("identify", userId=f"user-{number}", traits={"plan": number}) for number in range(6)))

    assert [world.traits(f"user-{number}") for number in range(6)] == [{"plan": number} for number in range(6)]
    assert {status for status, _ in world.statuses()} == {"done"}


def test_batch__of_one_event_of_a_person_of_whom_too_much_is_known__is_digested(world: World) -> None:
    world.identify()
    Identity.objects.update(bytes=identities.MOST_BYTES + 1)

    world.identify(traits={"plan": "scale"})

    assert world.traits("user-1") == {"plan": "scale"}
    assert get_identity().bytes == len(json.dumps(get_identity().registers, separators=(",", ":")))


def list_personas(world: World, *names: str) -> None:
    Persona.objects.bulk_create(Persona(site=world.site, name=name) for name in names)


def test_persona__beyond_what_a_site_lists__is_its_members_but_in_no_list(world: World) -> None:
    list_personas(world, *(f"p{number}" for number in range(remote_data.MOST_LISTED - 1)))

    world.send(audience(world, "last", entered=True), audience(world, "full", entered=True, at=1))
    world.send(audience(world, "last", entered=False, at=2), audience(world, "full", entered=False, at=3))

    assert world.read("COHORTS_user-1") == {"last": False, "full": False}
    listed = world.read("common")["cohorts"]
    assert len(listed) == remote_data.MOST_LISTED
    assert "last" in listed
    assert "full" not in listed
    assert warned("unlisted_persona") == ["message-2", "message-4"]
    assert PersonaFact.objects.count() == 2
    assert found_by_verify() == []

    removal.remove_persona(Persona.objects.get(name="p7"), by="ada", now=datetime.now(UTC))
    world.send(audience(world, "full", entered=True, at=4))
    assert "full" in world.read("common")["cohorts"]
    assert len(warned("unlisted_persona")) == 2
    assert found_by_verify() == []


def test_common__of_a_site_with_more_personas_than_are_listed__is_the_first_ones(world: World) -> None:
    """A version without a limit let 60,000 in."""
    most = remote_data.MOST_LISTED
    list_personas(world, *(f"p{number}" for number in reversed(range(most + 500))))
    world.site.refresh_from_db()

    listed = world.read("common")["cohorts"]

    assert set(listed) == {f"p{number}" for number in range(500, most + 500)}
    assert listed == sorted(listed)


def test_common__of_long_names__has_bounded_bytes(world: World) -> None:
    list_personas(world, *(f"{number:é>250}" for number in range(remote_data.MOST_LISTED)))

    content = world.get("common", token=False).content

    assert remote_data.COMMON_BYTES - 1_000 < len(content) < remote_data.COMMON_BYTES + 10_000


@pytest.mark.parametrize(
    ("name", "is_kept"), [("x" * 255, True), ("x" * 256, False), ("é" * 250, True), ("é" * 251, False)]
)
def test_persona__name_too_long_in_letters_or_bytes__is_ignored(world: World, name: str, *, is_kept: bool) -> None:
    world.send(audience(world, name, entered=True))

    assert world.read("common") == {"cohorts": [name] if is_kept else []}
    assert warned("long_persona") == ([] if is_kept else ["message-1"])


@pytest.mark.promise("N-10")
@pytest.mark.parametrize("seed", [1, 2])
def test_history__longer_than_is_kept__is_the_latest_in_any_order(world: World, seed: int) -> None:
    most = personas.MOST_HISTORY
    events = [audience(world, "vip", entered=number % 2 == 0, at=number) for number in range(most + 20)]
    random.Random(seed).shuffle(events)
    for begin in range(0, len(events), 100):
        world.post(events[begin : begin + 100])
        world.digest()

    kept = PersonaFact.objects.order_by("occurred_at")
    assert kept.count() == most
    first = kept[0].occurred_at
    assert (first - START).total_seconds() == 20
    assert get_identity().registers["left_out"]["history"] == (first - times.EPOCH) // times.RESOLUTION - 1_000_000
    assert found_by_verify() == []


@pytest.mark.parametrize("are_known", [False, True], ids=["new", "known"])
def test_batch__with_many_personas__asks_for_all_of_them_at_once(world: World, *, are_known: bool) -> None:
    def count_statements(first: int, count: int) -> int:
        for _ in range(1 + are_known):
            world.post([audience(world, f"p{number}", entered=True) for number in range(first, first + count)])
            with CaptureQueriesContext(connection) as queries:
                world.digest()
        return len(queries)

    count_statements(0, 1)  # and what a process asks once
    assert count_statements(100, 30) == count_statements(200, 2)
