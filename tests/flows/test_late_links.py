"""One id that is linked to very many others: a batch does a bounded part, steps do the rest, and nothing gets lost."""

import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import connection, transaction
from pytest_django import Settings

from api import tasks
from api.checks.run import verify
from api.digest import late_links
from api.http.database import connect, fetch_all
from api.models import LateLink
from cohorts import members, remote_data
from cohorts.models import Group, Identity
from cohorts.queries import find_person
from goals.models import Conversion
from tests.goals.recount import assert_exact
from tests.world import World

MANY = 23
AT_ONCE = 5


@pytest.fixture(autouse=True)
def bounds(settings: Settings) -> None:
    settings.MOST_REKEYED = settings.MOST_LINKED = AT_ONCE


def steps() -> Iterator[int]:
    """Do what the worker does every second, and count the steps."""
    number = 0
    while late_links.step_any(conversions=AT_ONCE, users=AT_ONCE):
        number += 1
        assert number < 500
        yield number


def finish() -> int:
    return sum(1 for _ in steps())


def contradictions() -> list[Any]:
    return [(report.check, report.found) for report in verify() if report.found]


def codes() -> set[str]:
    return set(Conversion.objects.values_list("visitor_code", flat=True))


def known_by_device() -> set[str | None]:
    """Return the first visitor codes of their devices that users know."""
    users = Identity.objects.filter(kind=Identity.Kind.USER)
    return {identity.registers.get("device_visitor", [None] * 4)[3] for identity in users}


def rows_written(work: Callable[[], object], *tables: str) -> int:
    """Return the number of rows of these tables that `work` inserted, updated or deleted."""
    return rows_counted("n_tup_ins + n_tup_upd + n_tup_del", work, *tables)


def rows_counted(columns: str, work: Callable[[], object], *tables: str) -> int:
    """Return how far PostgreSQL's counters of these tables moved while `work` ran."""

    def so_far() -> int:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_stat_force_next_flush()")
            cursor.execute("SELECT pg_stat_clear_snapshot()")
            cursor.execute(
                f"SELECT sum({columns}) FROM pg_stat_user_tables WHERE relname = ANY(%s)",
                [list(tables)],
            )
            return int(cursor.fetchone()[0])

    before = so_far()
    work()
    return so_far() - before


@pytest.mark.promise("K-51", "N-09")
@pytest.mark.parametrize("who", [{"userId": "kiosk"}, {"userId": None, "anonymousId": "kiosk"}], ids=["user", "device"])
def test_link__of_an_id_with_many_conversions__moves_them_step_by_step(world: World, who: dict[str, Any]) -> None:
    world.post([world.event(event="Buy", at=number, properties={"revenue": 1}, **who) for number in range(MANY)])
    world.digest()
    link = world.event("identify", at=100, kameleoonVisitorCode="v1", **who)

    written = rows_written(lambda: world.send(link), "goals_conversion", "goals_goalvisitor")
    assert written <= AT_ONCE
    assert codes() == {"kiosk"}
    assert contradictions() == []  # it is known to go on
    world.track("Buy", at=101, **who)
    assert world.visitors()[-1] == "v1"  # new conversions are right immediately

    for _ in steps():
        assert_exact()
        assert contradictions() == []
    assert codes() == {"v1"}
    assert not LateLink.objects.exists()


def test_link__earlier_while_another_is_followed__starts_the_same_steps_again(world: World) -> None:
    world.post([world.event(event="Buy", at=number) for number in range(MANY)])
    world.digest()
    world.send(world.event("identify", at=100, kameleoonVisitorCode="v1"))
    assert late_links.step_any(conversions=AT_ONCE)
    for number in range(3):
        world.send(world.event("identify", at=99 - number, kameleoonVisitorCode=f"v2-{number}"))

    assert LateLink.objects.get().conversions_after == 0
    assert contradictions() == []
    finish()
    assert codes() == {"v2-2"}
    assert_exact()
    assert contradictions() == []


def test_step__that_dies_on_its_way__is_done_again(world: World) -> None:
    world.post([world.event(event="Buy", at=number, anonymousId="a") for number in range(MANY)])
    world.digest()
    world.post([world.event("identify", userId=f"u{number}", anonymousId="a") for number in range(MANY)])
    world.digest()
    world.send(world.event("page", userId=None, anonymousId="a", at=100, name="Home", kameleoonVisitorCode="v1"))
    while True:
        with transaction.atomic():  # its worker was killed before the commit
            is_any = late_links.step_any(conversions=AT_ONCE, users=AT_ONCE)
            transaction.set_rollback(True)
        if not is_any:
            break
        assert_exact()
        assert contradictions() == []
        late_links.step_any(conversions=AT_ONCE, users=AT_ONCE)

    assert codes() == {"v1"}
    assert known_by_device() == {"v1"}
    assert_exact()
    assert contradictions() == []


@pytest.mark.promise("K-51", "N-09")
def test_device__of_many_users__shares_its_first_visitor_step_by_step(world: World) -> None:
    world.post([world.event("identify", userId=f"u{number}", anonymousId="kiosk") for number in range(MANY)])
    world.digest()
    world.post([world.event(event="Buy", userId=f"u{number}", properties={"revenue": 1}) for number in range(MANY)])
    world.digest()
    seen = world.event("page", userId=None, anonymousId="kiosk", at=50, name="Home", kameleoonVisitorCode="v2")
    earlier = world.event("page", userId=None, anonymousId="kiosk", at=40, name="Home", kameleoonVisitorCode="v1")

    for event in (seen, earlier):
        assert rows_written(lambda event=event: world.send(event), "cohorts_identity") < AT_ONCE  # type: ignore[misc]
        assert contradictions() == []
    world.identify(userId="u-new", anonymousId="kiosk", at=60)
    assert Identity.objects.get(value="u-new").registers["device_visitor"][3] == "v1"

    written = [rows_written(lambda: late_links.step_any(conversions=AT_ONCE, users=AT_ONCE), "cohorts_identity")]
    while LateLink.objects.exists():
        assert contradictions() == []
        assert_exact()
        written.append(
            rows_written(lambda: late_links.step_any(conversions=AT_ONCE, users=AT_ONCE), "cohorts_identity")
        )
    assert max(written) <= AT_ONCE
    assert known_by_device() == {"v1"}
    assert {code for code in codes() if code.startswith("u")} == set()
    assert contradictions() == []


def test_device__that_most_links_of_the_table_are_of__is_read_as_far_as_the_bound(
    world: World, settings: Settings
) -> None:
    settings.MOST_LINKED = 500  # as it is: few rows are read in any way
    world.identify(userId="u", anonymousId="kiosk", at=60)
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO cohorts_link (site_id, kind, value, user_value)
            SELECT site_id, kind, value, 'u' || number FROM cohorts_identity, generate_series(1, 10000) AS number
             WHERE value = 'kiosk'
            """
        )
        cursor.execute("ANALYZE cohorts_link")
    earlier = world.event("page", userId=None, anonymousId="kiosk", at=40, name="Home", kameleoonVisitorCode="v1")

    read = rows_counted("seq_tup_read + coalesce(idx_tup_fetch, 0)", lambda: world.send(earlier), "cohorts_link")
    assert read < 30_000


@pytest.mark.parametrize("is_ring", [False, True])
def test_aliases__in_a_long_chain_or_ring__share_a_first_visitor_to_their_end(world: World, *, is_ring: bool) -> None:
    for number in range(MANY - (not is_ring)):
        user = f"u{(number + 1) % MANY}"
        world.post(world.event("alias", userId=user, previousId=f"u{number}"))
    world.post([world.event(event="Buy", userId=f"u{number}") for number in range(MANY)])
    world.digest()

    first = world.event("identify", userId="u0", at=30, kameleoonVisitorCode="v1")
    # The user, the visitor, and one more than there is room for, which tells that there are more.
    assert rows_written(lambda: world.send(first), "cohorts_identity") <= 2 + AT_ONCE + 1
    assert contradictions() == []
    assert finish() < MANY  # several of the chain in one step

    assert known_by_device() - {None} == {"v1"}
    assert codes() == {"v1"}
    assert contradictions() == []
    assert_exact()


def test_batch__with_an_id_linked_to_many__moves_what_others_have_at_once(world: World) -> None:
    world.post([world.event(event="Buy", userId="kiosk", at=number) for number in range(MANY)])
    world.digest()
    world.send(world.event(event="Buy", userId="ada"))
    world.post(
        [world.event("identify", userId=user, at=100, kameleoonVisitorCode=f"of-{user}") for user in ("kiosk", "ada")]
    )
    world.digest()

    assert codes() == {"kiosk", "of-ada"}
    finish()
    assert codes() == {"of-kiosk", "of-ada"}


def test_task__with_many_steps_to_do__lets_the_digest_have_its_turn_soon(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    users = [f"u{number}" for number in range(6 * late_links.USERS)]
    world.post([world.event("identify", userId=user, anonymousId="kiosk") for user in users])
    world.digest()
    world.send(world.event("page", userId=None, anonymousId="kiosk", at=40, name="Home", kameleoonVisitorCode="v1"))
    ticks = itertools.count()
    monkeypatch.setattr("api.tasks.time.monotonic", lambda: 1_000 + next(ticks) * 0.2)  # a step takes as long

    tasks.follow_links()

    assert LateLink.objects.exists()
    assert known_by_device() == {None, "v1"}  # it has begun


def test_late_links__of_two_ids__take_turns(world: World) -> None:
    for user in ("one", "two"):
        world.post([world.event(event="Buy", userId=user, at=number) for number in range(MANY)])
        world.digest()
    world.send(*(world.event("identify", userId=user, at=99, kameleoonVisitorCode="v1") for user in ("one", "two")))

    for _ in range(2):
        late_links.step_any(conversions=AT_ONCE)

    moved = Conversion.objects.filter(visitor_code="v1")
    assert {user: moved.filter(user_id=user).count() for user in ("one", "two")} == {"one": AT_ONCE, "two": AT_ONCE}


def test_person__of_more_identities_than_are_read__is_walked_no_further(world: World) -> None:
    """A thousand devices of one user, each with many visitors; and a chain of aliases."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO cohorts_identity (site_id, kind, value, registers, parent_kind, parent_value, created_at,
                                          updated_at)
            SELECT %(site)s, 1, 'test', '{"traits": {"plan": [1, 0, "m", "pro"]}}'::jsonb, NULL, NULL, now(), now()
             UNION ALL
            SELECT %(site)s, 3, 'a' || n, '{"user": [1, 0, "m", "test"]}', 1, 'test', now(), now()
              FROM generate_series(1, 900) n
             UNION ALL
            SELECT %(site)s, 2, 'v' || n || '-' || m, '{}', 3, 'a' || n, now(), now()
              FROM generate_series(1, 900) n, generate_series(1, 5) m
             UNION ALL
            SELECT %(site)s, 1, 'u' || n, '{"personas": {"vip": [1, 0, "m", true]}}', 1, 'u' || n + 1, now(), now()
              FROM generate_series(1, 3000) n
            """,
            {"site": world.site.pk},
        )
        cursor.execute("ANALYZE cohorts_identity")  # as autovacuum does; statistics may be those of another test

    assert world.traits("test") == world.traits("v7-1") == {"plan": "pro"}
    for id_ in ("test", "v7-1", "u1", "u1500"):
        assert len(find_person(world.site.pk, [id_])) == remote_data.MOST_OF_PERSON
    read = fetch_all(remote_data.READ_PEOPLE, remote_data.parameters(world.site.pk, ["test", "u1"]))
    assert Counter(place for place, _ in read) == {1: remote_data.MOST_OF_PERSON, 2: remote_data.MOST_OF_PERSON}
    assert members.sizes(world.site.pk) == ({"vip": 1}, True)


def test_group__named_without_traits__waits_for_nobody_who_has_it_locked(world: World) -> None:
    """Everybody may be in one group, so that its row would be a queue of all workers."""
    world.send(world.event("group", groupId="all", traits={"plan": "pro"}))
    with connect() as other, other.transaction():
        other.execute("SELECT 1 FROM cohorts_group WHERE group_id = 'all' FOR UPDATE")
        with connection.cursor() as cursor:
            cursor.execute("SET lock_timeout = '1s'")
        world.send(world.event("group", userId="user-2", groupId="all"))

    assert set(world.statuses()) == {("done", "")}
    assert world.read("IDENTIFY_user-2") == {"traits": {}, "groupId": "all"}
    assert Group.objects.get().registers["traits"]["plan"][3] == "pro"


def test_group__named_without_traits_for_the_first_time__is_made(world: World) -> None:
    world.send(world.event("group", groupId="new"), world.event("group", userId="user-2", groupId="new"))

    assert [group.group_id for group in Group.objects.all()] == ["new"]
    assert contradictions() == []
