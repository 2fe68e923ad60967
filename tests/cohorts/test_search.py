"""Search of people by the terms of a support desk."""

import re
from dataclasses import replace
from importlib import import_module

import pytest
from django.apps import apps
from django.db import connection
from django.test.utils import CaptureQueriesContext
from hypothesis import given, settings
from hypothesis import strategies as st

from api.ingest.provisioning import create_site
from cohorts import search
from cohorts.models import Identity, SearchText
from tests.world import World


def found(world: World, text: str) -> list[str]:
    return [identity.value for identity in search.find_people(world.site.pk, text)]


@pytest.fixture
def town(world: World) -> World:
    world.identify(
        userId="u-1001",
        anonymousId="anon-1",
        traits={"email": "Ada.King@Example.com", "name": "Ada King Lovelace", "username": "countess"},
    )
    world.identify(userId="u-1002", traits={"email": "grace@example.com", "firstName": "Grace", "last_name": "Hopper"})
    world.identify(userId="U-2001", traits={"name": "José  Álvarez"})
    world.identify(userId=None, anonymousId="anon-2", traits={"email": ["visitor@example.com"]})
    world.identify(userId="percent%_\\", traits={"name": "100% Sure"})
    return world


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ada.king@example.com", ["u-1001"]),
        ("ADA.KING@", ["u-1001"]),
        ("ada king lovelace", ["u-1001"]),
        ("Lovelace", ["u-1001"]),
        ("lovelace ada", ["u-1001"]),
        ("Ada  Lov", ["u-1001"]),
        ("Ada Hopper", []),
        ("Countess", ["u-1001"]),
        ("grace hopper", ["u-1002"]),
        ("hopp", ["u-1002"]),
        ("jose\u0301 a\u0301lvarez", ["U-2001"]),
        ("u-100", ["u-1001", "u-1002"]),
        ("u-2", ["U-2001"]),
        ("ANON-2", ["anon-2"]),
        ("anon-", ["u-1001", "anon-2"]),  # each person once, by the identifier that the others lead to
        ("visitor@", ["anon-2"]),
        ("%", []),
        ("100%", ["percent%_\\"]),
        ("percent%_", ["percent%_\\"]),
        ("_", []),
        ("nobody", []),
        ("u-1001", ["u-1001"]),
    ],
)
def test_find__as_people_write__finds_the_person(town: World, text: str, expected: list[str]) -> None:
    assert found(town, text) == expected


def test_find__after_a_change__forgets_the_former_name(town: World) -> None:
    town.identify(at=9, userId="u-1002", traits={"email": "admiral@example.com", "last_name": None})
    assert found(town, "grace@") == []
    assert found(town, "hopper") == []
    assert found(town, "admiral") == ["u-1002"]


def test_find__in_another_site__finds_nobody(town: World) -> None:
    other = replace(town, site=create_site(name="Other", sitecode="other00000"))
    assert [found(other, text) for text in ("ada", "u-1", "anon-1", "countess")] == [[], [], [], []]


def test_find__among_many__goes_by_the_indexes(town: World) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            """
            WITH many AS (
                INSERT INTO cohorts_identity (site_id, kind, value, registers, created_at, updated_at)
                SELECT %s, 1, 'many-' || n, '{}', now(), now() FROM generate_series(1, 20000) n RETURNING id, site_id
            )
            INSERT INTO cohorts_searchtext (site_id, identity_id, text)
            SELECT site_id, id, 'person ' || id FROM many
            """,
            [town.site.pk],
        )
        cursor.execute("ANALYZE cohorts_identity, cohorts_searchtext")
    with CaptureQueriesContext(connection) as queries:
        assert found(town, "ada lovelace") == ["u-1001"]
    with connection.cursor() as cursor:
        for query in queries.captured_queries:
            cursor.execute(f"EXPLAIN {query['sql']}")
            plan = "\n".join(row[0] for row in cursor.fetchall())
            assert not re.search("Seq Scan on cohorts_(identity|searchtext)", plan), plan
    assert len(found(town, "person")) == search.MOST_FOUND


names = st.sampled_from(["Ada King", " ", "", None, 7, ["Bob"], "É é", "ﬁne", "x" * 300, "a b c d e f g h i j"])


@settings(max_examples=15, derandomize=True)
@given(
    said=st.lists(
        st.tuples(
            st.sampled_from(["u1", "u2"]),
            st.integers(0, 3),
            st.dictionaries(st.sampled_from(sorted(search.FOUND_BY)), names, max_size=3),
        ),
        min_size=1,
        max_size=8,
    )
)
def test_texts__after_any_history__are_those_of_the_traits(
    world: World, said: list[tuple[str, int, dict[str, object]]]
) -> None:
    shop = replace(world, site=create_site(name="Random"))
    world.credential.sites.add(shop.site)
    shop.change_site(name="Random")
    try:
        for user, at, traits in said:
            shop.post(shop.event("identify", at=at, userId=user, traits=traits), sitecode=shop.site.sitecode)
            shop.digest()
        kept = texts_of(shop)
        assert kept == expected_texts(shop)
        SearchText.objects.filter(site=shop.site).delete()
        import_module("cohorts.migrations.0009_fill_search_texts").fill(apps, None)
        assert texts_of(shop) == kept
    finally:
        shop.site.delete()


def texts_of(shop: World) -> set[tuple[int, str]]:
    rows = list(SearchText.objects.filter(site=shop.site).values_list("identity", "text"))
    assert len(rows) == len(set(rows))
    return set(rows)


def expected_texts(shop: World) -> set[tuple[int, str]]:
    identities = Identity.objects.filter(site=shop.site)
    return {(each.pk, text) for each in identities for text in search.search_texts(each.registers)}
