"""A username belongs to one user. A second user gets a warning, and users are not merged by it."""

import itertools
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from api.http.database import connection_parameters
from api.ingest.provisioning import create_site
from cohorts import people
from cohorts.changes import Change
from cohorts.models import Identity, Username
from tests.support.concurrency import count_lock_waits, in_threads, wait_until
from tests.world import START, World

Said = tuple[str, Any]  # (user, username)


def say(user: str | None, username: Any, *, at: float = 0, **fields: Any) -> Change:
    traits = {"username": username} if username != "absent" else {"plan": "scale"}
    return Change(START + timedelta(seconds=at), 0, f"{user} {username} {at}", user=user, traits=traits, **fields)


def apply(site_id: int, *changes: Change) -> list[bool]:
    """Apply changes in one batch. Return for each whether it had another user's name."""
    with transaction.atomic():
        return [outcome.has_taken_username for outcome in people.apply(site_id, changes, most_linked=500).applied]


def owners() -> dict[str, str]:
    return dict(Username.objects.values_list("name", "user_value"))


def follow(site_id: int, said: Sequence[Said], *, is_one_batch: bool) -> list[bool]:
    changes = [say(user, name, at=second) for second, (user, name) in enumerate(said)]
    if is_one_batch:
        return apply(site_id, *changes)
    return list(itertools.chain.from_iterable(apply(site_id, change) for change in changes))


@pytest.mark.promise("I-16")
@pytest.mark.parametrize("is_one_batch", [True, False])
@pytest.mark.parametrize(
    ("said", "warned", "owner"),
    [
        ([("u1", "ada"), ("u1", "ada")], [False, False], {"ada": "u1"}),
        ([("u1", "ada"), ("u2", "ada"), ("u1", "ada")], [False, True, False], {"ada": "u1"}),
        ([("u1", "ada"), ("u2", "Ada"), ("u3", "bob")], [False] * 3, {"ada": "u1", "Ada": "u2", "bob": "u3"}),
        ([("u1", " "), ("u2", " "), ("u1", 7), ("u2", 7), ("u1", None), ("u2", None)], [False] * 6, {}),
        ([("u1", "x" * 256), ("u2", "x" * 256)], [False] * 2, {}),
    ],
)
def test_username__of_two_users__is_the_firsts_and_warns_of_the_other(
    world: World, said: list[Said], warned: list[bool], owner: dict[str, str], *, is_one_batch: bool
) -> None:
    assert follow(world.site.pk, said, is_one_batch=is_one_batch) == warned
    assert owners() == owner


@pytest.mark.promise("I-16")
@pytest.mark.parametrize("new", ["lovelace", None, 7, ["ada"]])
def test_username__that_its_user_gave_up__is_free(world: World, new: object) -> None:
    said = [("u1", "ada"), ("u2", "ada"), ("u1", new), ("u2", "ada"), ("u1", "ada")]

    assert follow(world.site.pk, said, is_one_batch=False) == [False, True, False, False, True]
    assert owners()["ada"] == "u2"


@pytest.mark.promise("I-16")
def test_username__that_a_later_event_had_changed__is_not_claimed(world: World) -> None:
    assert apply(world.site.pk, say("u1", "new", at=2)) == [False]
    assert apply(world.site.pk, say("u1", "old", at=1), say("u2", "old", at=1)) == [False, False]
    assert owners() == {"new": "u1", "old": "u2"}


@pytest.mark.promise("I-16")
def test_username__of_one_person_under_two_ids__moves_with_the_alias(world: World) -> None:
    apply(world.site.pk, say("u1", "ada"))
    apply(world.site.pk, say("u2", "absent", previous_user="u1"))

    assert apply(world.site.pk, say("u2", "ada")) == [False]
    assert owners() == {"ada": "u2"}


@pytest.mark.promise("I-16")
def test_username__on_two_sites_or_without_user__is_nobody_elses(world: World) -> None:
    other = create_site(name="Other")

    assert apply(world.site.pk, say("u1", "ada"), say(None, "ada", anonymous="a1")) == [False, False]
    assert apply(other.pk, say("u2", "ada")) == [False]
    assert sorted(Username.objects.values_list("site_id", "user_value")) == [(world.site.pk, "u1"), (other.pk, "u2")]
    other.delete()
    assert owners() == {"ada": "u1"}


@pytest.mark.promise("I-16")
def test_username__that_clashes__merges_nobody_and_is_kept_as_sent(world: World) -> None:
    world.identify(userId="u1", traits={"username": "ada", "plan": "one"})
    world.identify(userId="u2", traits={"username": "ada", "plan": "two"})

    assert world.traits("u1") == {"username": "ada", "plan": "one"}
    assert world.traits("u2") == {"username": "ada", "plan": "two"}
    assert set(Identity.objects.values_list("value", "parent_value")) == {("u1", None), ("u2", None)}


@pytest.mark.promise("I-16")
def test_username__costs_three_queries__only_where_there_is_one(world: World) -> None:
    def count(*changes: Change) -> int:
        with CaptureQueriesContext(connection) as queries:
            apply(world.site.pk, *changes)
        return len(queries)

    apply(world.site.pk, *(say(f"u{number}", "absent") for number in range(40)))
    without = count(*(say(f"u{number}", "absent", at=1) for number in range(40)))
    claimed = count(*(say(f"u{number}", f"name {number}", at=2) for number in range(40)))
    taken = count(*(say(f"u{number}", f"name {number + 1}", at=3) for number in range(40)))

    assert (claimed, taken) == (without + 3, without + 3)  # with that of the texts that people are found by
    assert owners()["name 7"] == "u6"


@pytest.mark.promise("I-16")
def test_username__claimed_by_two_at_once__is_one_users_and_nobody_waits_in_a_ring(world: World) -> None:
    """Two batches claim the names in opposite orders while a third transaction makes both wait in the middle."""
    names = [f"name {number}" for number in range(9)]

    def claim(worker: int) -> list[bool]:
        turns = names[:: -1 if worker else 1]
        taken = apply(world.site.pk, *(say(f"u{worker} {name}", name) for name in turns))
        return [is_taken for _, is_taken in sorted(zip(turns, taken, strict=True))]

    with ThreadPoolExecutor(1) as both, psycopg.connect(**connection_parameters()) as other:
        other.execute(
            "INSERT INTO cohorts_username (site_id, name, user_value) VALUES (%s, 'name 4', 'x')", [world.site.pk]
        )
        answers = both.submit(in_threads, 2, claim)
        wait_until(lambda: answers.done() or count_lock_waits() == 2)
        other.rollback()
        first, second = answers.result()

    assert sorted(owners()) == names
    assert [not is_taken for is_taken in first] == second
