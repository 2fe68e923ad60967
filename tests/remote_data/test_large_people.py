"""Lookups of people whose remote data is large."""

import json
from collections.abc import Sequence
from typing import Any

import pytest

from api.http.database import fetch_all
from api.remote_data import map_reads
from cohorts import merge, remote_data
from cohorts import queries as finding
from cohorts.models import Identity
from tests.support.asgi import pending
from tests.support.people import audience, get_identity, save_registers, write_large
from tests.world import CLIENT_ID, SECRET, SITECODE, World


def test_lookup__large_person__is_not_read_with_others_and_is_answered_alike(world: World) -> None:
    world.change_site(public_traits=["plan", "name"], company_is_group=True)
    said = {"plan": "scale", "firstName": "Ada", "last_name": "Lovelace", "email": "a@b.c", "company": {"id": "c1"}}
    world.identify(traits=said, anonymousId="anon-1")
    world.send(audience(world, "vip", entered=True))
    keys = json.dumps(["IDENTIFY_user-1", "COHORTS_user-1", "COHORTS_anon-1", "IDENTIFY_nobody"])

    def read_all() -> list[Any]:
        parameters = {"siteCode": SITECODE, "keys": keys}
        return [
            *(world.read(key, token=False) for key in json.loads(keys)),
            world.client.get("/map/maps", params=parameters).json(),
            world.traits("user-1"),
            world.read("COHORTS_user-1"),
        ]

    small = read_all()
    registers = get_identity().registers
    registers["traits"]["more"] = [0, 0, "m", "x" * remote_data.ORDINARY_BYTES]
    save_registers("user-1", registers)

    calls = [pending([(world.site.pk, id_)]) for id_ in ("user-1", "nobody")]
    map_reads._fetch(calls)
    assert [call.error for call in calls] == [None, None]
    assert [(call.result or {})[call.argument[0]] for call in calls] == [None, []]
    large = read_all()
    assert large[-2].pop("more") == "x" * remote_data.ORDINARY_BYTES
    assert large == small


@pytest.mark.parametrize("key", ["IDENTIFY_user-1", "COHORTS_user-1"])
def test_lookup__large_person_without_token__takes_what_the_reader_sees_from_the_database(
    world: World, key: str
) -> None:
    world.identify(traits={"plan": "scale"})
    write_large("user-1")
    wanted = (world.site.pk, "user-1")

    (person,) = remote_data.find_large(world.site.pk, [key], {wanted: None}, remote_data.Reader(["t0"]))

    ((text,),) = fetch_all(remote_data.READ_LARGE_PERSON, person.parameters())
    assert len(text) < merge.VALUE_BYTES + 200


def test_lookup__person_beyond_the_bytes_of_a_read__is_what_is_nearest_to_the_id(world: World) -> None:
    for number in range(4):
        world.identify(anonymousId=f"anon-{number}", traits={"plan": "scale"})
        Identity.objects.filter(value=f"anon-{number}").update(
            registers={**get_identity(f"anon-{number}").registers, "personas": {f"p{number}": [1, 0, "", True]}},
            bytes=remote_data.LARGE_BYTES // 3,
        )

    assert world.read("COHORTS_user-1") == {"p0": True, "p1": True}
    assert world.read("COHORTS_anon-3") == {"p3": True, "p0": True}
    assert world.traits("anon-3") == {"plan": "scale"}
    unread = [each.value for each in finding.find_person(world.site.pk, ["anon-3"]) if each.is_unread]  # type: ignore[attr-defined]  # of the statement
    assert unread == ["anon-1", "anon-2"]


def test_lookup__large_people_beyond_one_answer__is_refused(world: World) -> None:
    ids = [f"user-{number}" for number in range(5)]
    for id_ in ids:
        world.identify(userId=id_)
        write_large(id_, size=merge.VALUE_BYTES * 2 - 200)
    keys = [f"IDENTIFY_{id_}" for id_ in ids]

    def read(keys: Sequence[str], **how: Any) -> Any:
        return world.client.get("/map/maps", params={"siteCode": SITECODE, "keys": json.dumps(keys)}, **how)

    refused = read(keys, auth=(CLIENT_ID, SECRET))
    assert (refused.status_code, refused.content) == (400, b"{}")
    assert refused.headers["goalpost-error"].startswith("too_many_keys: ")
    assert len(read(keys[:4], auth=(CLIENT_ID, SECRET)).content) > 15_000_000
    assert read(keys).json() == {key: {} for key in keys}
